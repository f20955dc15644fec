//! Moves between XMM, MMX and general registers and memory.

use super::Move;
use crate::core::{Core, Fault};
use crate::state::{reg, segment};
use crate::uop::{ADDR32, MEM_DST, MEM_SRC, MMX, Uop};

pub(crate) const LOW: u128 = u64::MAX as u128;
const SINGLE: u128 = u32::MAX as u128;

/// The instruction touches MMX registers, which puts the x87 unit into MMX mode.
fn uses_mmx(uop: &Uop) -> bool {
    uop.has(MMX)
}

impl Core<'_> {
    /// Checks for MMX or SSE, whichever the registers are.
    #[inline(always)]
    pub(crate) fn check_vector(&mut self, uop: &Uop) -> Result<(), Fault> {
        if uses_mmx(uop) { self.enter_mmx() } else { self.check_sse() }
    }

    /// An MMX instruction: pending x87 exceptions come first, then all registers are in use
    /// and the stack begins at the first.
    pub(crate) fn enter_mmx(&mut self) -> Result<(), Fault> {
        if self.state.cr0 & 4 != 0 {
            return Err(self.undefined());
        }
        self.check_fpu()?;
        self.check_pending()
    }

    /// The MMX instruction completes.
    #[inline(always)]
    pub(crate) fn mmx_done(&mut self, uop: &Uop) {
        if uses_mmx(uop) {
            self.state.x87.enter_mmx();
        }
    }

    #[inline(always)]
    pub(crate) fn xmm(&self, number: u8) -> u128 {
        self.state.xmm[(number & 15) as usize]
    }

    #[inline(always)]
    pub(crate) fn set_xmm(&mut self, number: u8, value: u128) {
        self.state.xmm[(number & 15) as usize] = value;
    }

    pub(crate) fn mmx(&self, number: u8) -> u64 {
        self.state.x87.registers[(number & 7) as usize].significand
    }

    pub(crate) fn set_mmx(&mut self, number: u8, value: u64) {
        let register = &mut self.state.x87.registers[(number & 7) as usize];
        register.significand = value;
        register.exponent = 0xFFFF;
    }

    /// A vector register of the instruction's kind.
    #[inline(always)]
    pub(crate) fn vector(&self, uop: &Uop, number: u8) -> u128 {
        if uses_mmx(uop) { self.mmx(number).into() } else { self.xmm(number) }
    }

    #[inline(always)]
    pub(crate) fn set_vector(&mut self, uop: &Uop, value: u128) {
        if uses_mmx(uop) {
            self.set_mmx(uop.dst, value as u64);
        } else {
            self.set_xmm(uop.dst, value);
        }
    }

    /// A load of up to sixteen bytes; sixteen must be aligned if the instruction says so.
    #[inline(always)]
    pub(crate) fn load_vector(&mut self, uop: &Uop, aligned: bool) -> Result<u128, Fault> {
        let address = self.address(uop);
        if uop.size < 4 {
            return Ok(self.load_sized(address, uop.size)?.into());
        }
        if aligned && address & 15 != 0 {
            return Err(self.protect());
        }
        self.load_wide(address)
    }

    #[inline(always)]
    fn store_vector(&mut self, uop: &Uop, value: u128, aligned: bool) -> Result<(), Fault> {
        if uses_mmx(uop) {
            // Even if the store faults.
            self.state.x87.status &= !0x3800;
        }
        let address = self.address(uop);
        if uop.size < 4 {
            return self.store_sized(address, uop.size, value as u64);
        }
        if aligned && address & 15 != 0 {
            return Err(self.protect());
        }
        self.store_wide(address, value)
    }

    /// All of [`Move`].
    pub(crate) fn sse_move(&mut self, uop: &Uop) -> Result<(), Fault> {
        self.check_vector(uop)?;
        match Move::from_sub(uop.sub) {
            Move::Movaps
            | Move::Movapd
            | Move::Movdqa
            | Move::Movntps
            | Move::Movntpd
            | Move::Movntdq
            | Move::Movntdqa => self.whole(uop, true)?,
            Move::Movups | Move::Movupd | Move::Movdqu | Move::Lddqu | Move::Movntq => {
                self.whole(uop, false)?;
            }
            Move::Movd | Move::Movq => self.word(uop)?,
            Move::Movss => self.scalar(uop, SINGLE)?,
            Move::Movsd => self.scalar(uop, LOW)?,
            Move::Movlps | Move::Movlpd | Move::Movhlps => self.half(uop, false)?,
            Move::Movhps | Move::Movhpd | Move::Movlhps => self.half(uop, true)?,
            Move::Movddup | Move::Movsldup | Move::Movshdup => self.duplicate(uop)?,
            Move::Movq2dq => {
                let value = self.mmx(uop.src).into();
                self.set_xmm(uop.dst, value);
            }
            Move::Movdq2q => self.set_mmx(uop.dst, self.xmm(uop.src) as u64),
            Move::Maskmovdqu | Move::Maskmovq => self.masked(uop)?,
            Move::Pmovmskb | Move::Movmskps | Move::Movmskpd => self.signs(uop),
            Move::Pextrb | Move::Pextrw | Move::Pextrd | Move::Pextrq | Move::Extractps => {
                self.extract(uop)?;
            }
            Move::Insertps => self.insert_single(uop)?,
            _ => self.insert(uop)?,
        }
        self.mmx_done(uop);
        Ok(())
    }

    #[inline(always)]
    fn whole(&mut self, uop: &Uop, aligned: bool) -> Result<(), Fault> {
        if uop.has(MEM_DST) {
            let value = self.vector(uop, uop.src);
            return self.store_vector(uop, value, aligned);
        }
        let value = if uop.has(MEM_SRC) {
            self.load_vector(uop, aligned)?
        } else {
            self.vector(uop, uop.src)
        };
        self.set_vector(uop, value);
        Ok(())
    }

    /// MOVD, MOVQ: between a vector register and a general register, memory, or its like.
    fn word(&mut self, uop: &Uop) -> Result<(), Fault> {
        let from = if uop.imm == super::FROM_GENERAL {
            self.reg(uop.src, uop.size).into()
        } else if uop.has(MEM_SRC) {
            self.load_vector(uop, false)?
        } else {
            self.vector(uop, uop.src) & LOW
        };
        if uop.has(MEM_DST) {
            return self.store_vector(uop, from, false);
        }
        if uop.imm == super::TO_GENERAL {
            self.set_reg(uop.dst, uop.size, from as u64);
        } else {
            self.set_vector(uop, from);
        }
        Ok(())
    }

    /// MOVSS, MOVSD: a load clears the rest, a move between registers keeps it.
    #[inline(always)]
    fn scalar(&mut self, uop: &Uop, mask: u128) -> Result<(), Fault> {
        if uop.has(MEM_DST) {
            let value = self.xmm(uop.src) & mask;
            return self.store_vector(uop, value, false);
        }
        let value = if uop.has(MEM_SRC) {
            self.load_vector(uop, false)?
        } else {
            self.xmm(uop.dst) & !mask | self.xmm(uop.src) & mask
        };
        self.set_xmm(uop.dst, value);
        Ok(())
    }

    fn half(&mut self, uop: &Uop, high: bool) -> Result<(), Fault> {
        if uop.has(MEM_DST) {
            let value = self.xmm(uop.src) >> if high { 64 } else { 0 };
            return self.store_vector(uop, value & LOW, false);
        }
        let from = if uop.has(MEM_SRC) {
            self.load_vector(uop, false)?
        } else if high {
            self.xmm(uop.src) & LOW
        } else {
            // MOVHLPS takes the upper half.
            self.xmm(uop.src) >> 64
        };
        let old = self.xmm(uop.dst);
        let value = if high { old & LOW | from << 64 } else { old & !LOW | from };
        self.set_xmm(uop.dst, value);
        Ok(())
    }

    fn duplicate(&mut self, uop: &Uop) -> Result<(), Fault> {
        let from = if uop.has(MEM_SRC) { self.load_vector(uop, true)? } else { self.xmm(uop.src) };
        let even = SINGLE | SINGLE << 64;
        let value = match Move::from_sub(uop.sub) {
            Move::Movddup => from & LOW | from << 64,
            Move::Movsldup => from & even | (from & even) << 32,
            _ => from >> 32 & even | from & even << 32,
        };
        self.set_xmm(uop.dst, value);
        Ok(())
    }

    /// MASKMOVDQU, MASKMOVQ: bytes whose mask has its sign set.
    fn masked(&mut self, uop: &Uop) -> Result<(), Fault> {
        let bytes = self.vector(uop, uop.dst).to_le_bytes();
        let mask = self.vector(uop, uop.src).to_le_bytes();
        let count = if uses_mmx(uop) { 8 } else { 16 };
        let offset = self.state.gpr[reg::RDI];
        let offset = if uop.has(ADDR32) { offset & 0xFFFF_FFFF } else { offset };
        let which = match uop.segment() {
            0 => segment::DS,
            override_ => override_ - 1,
        };
        let address = self.in_segment(which, offset);
        self.mmx_done(uop);
        // Today's processors fault for bytes that the mask leaves out, too (SDM vol. 2 leaves
        // it to them).
        self.probe_write(address, count)?;
        for at in (0..count).filter(|at| mask[*at] & 0x80 != 0) {
            self.store::<u8>(address.wrapping_add(at as u64), bytes[at].into())?;
        }
        Ok(())
    }

    fn signs(&mut self, uop: &Uop) {
        let from = self.vector(uop, uop.src);
        let (lanes, bits) = match Move::from_sub(uop.sub) {
            Move::Pmovmskb if uses_mmx(uop) => (8, 8),
            Move::Pmovmskb => (16, 8),
            Move::Movmskps => (4, 32),
            _ => (2, 64),
        };
        let mut mask = 0;
        for lane in 0..lanes {
            mask |= ((from >> (lane * bits + bits - 1) & 1) as u64) << lane;
        }
        self.set_reg(uop.dst, 2, mask);
    }

    fn extract(&mut self, uop: &Uop) -> Result<(), Fault> {
        let from = self.vector(uop, uop.src);
        let size = match Move::from_sub(uop.sub) {
            Move::Pextrb => 0,
            Move::Pextrw => 1,
            Move::Pextrq => 3,
            _ => 2,
        };
        let lanes = if uses_mmx(uop) { 8u64 } else { 16 } >> size;
        let lane = uop.imm as u64 & (lanes - 1);
        let value = (from >> (lane * (8 << size))) as u64 & crate::flags::mask(size);
        if uop.has(MEM_DST) {
            let address = self.address(uop);
            return self.store_sized(address, size, value);
        }
        self.set_reg(uop.dst, if size == 3 { 3 } else { 2 }, value);
        Ok(())
    }

    fn insert(&mut self, uop: &Uop) -> Result<(), Fault> {
        let size = match Move::from_sub(uop.sub) {
            Move::Pinsrb => 0,
            Move::Pinsrw => 1,
            Move::Pinsrd => 2,
            _ => 3,
        };
        let value = if uop.has(MEM_SRC) {
            let address = self.address(uop);
            self.load_sized(address, size)?
        } else {
            self.reg(uop.src, 3) & crate::flags::mask(size)
        };
        let lanes = if uses_mmx(uop) { 8u64 } else { 16 } >> size;
        let shift = (uop.imm as u64 & (lanes - 1)) * (8 << size);
        let mask = u128::from(crate::flags::mask(size)) << shift;
        let old = self.vector(uop, uop.dst);
        self.set_vector(uop, old & !mask | u128::from(value) << shift);
        Ok(())
    }

    fn insert_single(&mut self, uop: &Uop) -> Result<(), Fault> {
        let control = uop.imm as u32;
        let from = if uop.has(MEM_SRC) {
            self.load_vector(uop, false)?
        } else {
            self.xmm(uop.src) >> (32 * (control >> 6 & 3))
        };
        let shift = 32 * (control >> 4 & 3);
        let mut value = self.xmm(uop.dst) & !(SINGLE << shift) | (from & SINGLE) << shift;
        for lane in (0..4).filter(|lane| control >> lane & 1 != 0) {
            value &= !(SINGLE << (32 * lane));
        }
        self.set_xmm(uop.dst, value);
        Ok(())
    }
}
