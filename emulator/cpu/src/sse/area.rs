//! FXSAVE, FXRSTOR, XSAVE, XRSTOR, LDMXCSR, STMXCSR.

use super::MXCSR_MASK;
use crate::access::canonical;
use crate::core::{Core, Fault};
use crate::state::reg;
use crate::system::CR4_OSXSAVE;
use crate::uop::{Op, Uop};
use crate::x87;

/// x87 and SSE: the components that there are (SDM vol. 1, 13.1).
const X87: u64 = 1;
const SSE: u64 = 2;

impl Core<'_> {
    pub(crate) fn save_area(&mut self, uop: &Uop) -> Result<(), Fault> {
        match uop.op {
            Op::Ldmxcsr => {
                self.check_sse()?;
                let address = self.address(uop);
                let value = self.load::<u32>(address)? as u32;
                if value & !MXCSR_MASK != 0 {
                    return Err(self.protect());
                }
                self.state.mxcsr = value;
                Ok(())
            }
            Op::Stmxcsr => {
                self.check_sse()?;
                let address = self.address(uop);
                self.store::<u32>(address, self.state.mxcsr.into())
            }
            Op::Fxsave => {
                self.check_fpu()?;
                let address = self.aligned(uop, 15)?;
                let area = self.area(uop);
                // Bytes 464 to 511 are software's; in 32-bit modes so are XMM8 to XMM15.
                let length = if self.long() { 416 } else { 288 };
                self.probe_write(address, 512)?;
                self.store_bytes(address, &area[..length])
            }
            Op::Fxrstor => {
                self.check_fpu()?;
                let address = self.aligned(uop, 15)?;
                let mut area = [0; 512];
                self.load_bytes(address, &mut area)?;
                let mxcsr = mxcsr_of(&area);
                if mxcsr & !MXCSR_MASK != 0 {
                    return Err(self.protect());
                }
                self.state.set_x87_area(&area);
                self.restore_sse(&area);
                self.state.mxcsr = mxcsr;
                Ok(())
            }
            _ => self.extended_area(uop),
        }
    }

    fn aligned(&mut self, uop: &Uop, mask: u64) -> Result<u64, Fault> {
        let address = self.address(uop);
        if self.long() && !canonical(address) {
            self.noncanonical = Some(address);
            return Err(self.protect());
        }
        if address & mask != 0 {
            return Err(self.protect());
        }
        Ok(address)
    }

    /// The legacy area; without REX.W the pointers are selector and offset, and the selectors
    /// are zero on processors of today.
    fn area(&self, uop: &Uop) -> [u8; 512] {
        let mut area = self.state.legacy_area();
        if uop.size != 3 {
            area[12..16].fill(0);
            area[20..24].fill(0);
        }
        area
    }

    fn restore_sse(&mut self, area: &[u8; 512]) {
        let high: [u128; 8] = std::array::from_fn(|n| self.state.xmm[8 + n]);
        self.state.set_xmm_area(area);
        if !self.long() {
            self.state.xmm[8..].copy_from_slice(&high);
        }
    }

    /// XSAVE and XRSTOR of the components in EDX:EAX that XCR0 has.
    fn extended_area(&mut self, uop: &Uop) -> Result<(), Fault> {
        if self.state.cr4 & CR4_OSXSAVE == 0 {
            return Err(self.undefined());
        }
        if self.state.cr0 & 8 != 0 {
            self.check_fpu()?;
        }
        let address = self.aligned(uop, 63)?;
        let asked = self.reg(reg::RAX as u8, 2) & self.state.xcr0;
        if uop.op == Op::Xsave {
            return self.xsave(uop, address, asked);
        }
        self.xrstor(address, asked)
    }

    fn xsave(&mut self, uop: &Uop, address: u64, asked: u64) -> Result<(), Fault> {
        let area = self.area(uop);
        self.probe_write(address, 576)?;
        let header = address.wrapping_add(512);
        let old = self.load::<u64>(header)?;
        if asked & X87 != 0 {
            self.store_bytes(address, &area[..24])?;
            self.store_bytes(address.wrapping_add(32), &area[32..160])?;
        }
        if asked & SSE != 0 {
            self.store_bytes(address.wrapping_add(24), &area[24..32])?;
            let end = if self.long() { 416 } else { 288 };
            self.store_bytes(address.wrapping_add(160), &area[160..end])?;
        }
        // Every component counts as in use: that is always allowed.
        self.store::<u64>(header, old & !asked | asked)
    }

    fn xrstor(&mut self, address: u64, asked: u64) -> Result<(), Fault> {
        let mut area = [0; 512];
        self.load_bytes(address, &mut area)?;
        let mut header = [0; 64];
        self.load_bytes(address.wrapping_add(512), &mut header)?;
        let present = u64::from_le_bytes(header[..8].try_into().unwrap_or_default());
        let clean = header[8..24].iter().all(|byte| *byte == 0);
        if present & !self.state.xcr0 != 0 || !clean {
            return Err(self.protect());
        }
        let mxcsr = mxcsr_of(&area);
        if asked & SSE != 0 && mxcsr & !MXCSR_MASK != 0 {
            return Err(self.protect());
        }
        if asked & X87 != 0 {
            if present & X87 != 0 {
                self.state.set_x87_area(&area);
            } else {
                self.state.x87 = x87::X87::default();
            }
        }
        if asked & SSE != 0 {
            self.state.mxcsr = mxcsr;
            if present & SSE != 0 {
                self.restore_sse(&area);
            } else {
                let count = if self.long() { 16 } else { 8 };
                self.state.xmm[..count].fill(0);
            }
        }
        Ok(())
    }
}

fn mxcsr_of(area: &[u8; 512]) -> u32 {
    u32::from_le_bytes([area[24], area[25], area[26], area[27]])
}
