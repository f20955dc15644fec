//! The x87 unit: eight registers of 80 bits, their stack, and exceptions that are reported
//! by the next instruction.
use crate::core::{Core, Fault};
use crate::state::State;
use crate::uop::Uop;

/// A number of 80 bits as it lies in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// Integer bit and fraction.
    pub significand: u64,
    /// Sign and biased exponent.
    pub exponent: u16,
}

/// The state of the x87 unit; the MMX registers are the significands.
#[derive(Clone, Copy, Debug)]
pub struct X87 {
    /// Registers by their physical number, not by their place on the stack.
    pub registers: [Extended; 8],
    /// Control word.
    pub control: u16,
    /// Status word, TOP included.
    pub status: u16,
    /// One bit for each physical register: it is in use.
    pub tags: u8,
    /// Opcode of the last instruction that was not a control instruction.
    pub opcode: u16,
    /// Its address.
    pub instruction: u64,
    /// The address of its memory operand.
    pub data: u64,
}

impl Default for X87 {
    fn default() -> Self {
        X87 {
            registers: [Extended::default(); 8],
            control: 0x37F,
            status: 0,
            tags: 0,
            opcode: 0,
            instruction: 0,
            data: 0,
        }
    }
}

impl X87 {
    /// The physical number of the register on the top of the stack.
    #[inline]
    pub fn top(&self) -> usize {
        (self.status >> 11 & 7) as usize
    }
}

impl State {
    /// x87, MMX, XMM and MXCSR in the 64-bit layout of FXSAVE (SDM vol. 1, 10.5.1).
    pub fn legacy_area(&self) -> [u8; 512] {
        let mut area = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| area[at..at + bytes.len()].copy_from_slice(bytes);
        let x87 = &self.x87;
        put(0, &x87.control.to_le_bytes());
        put(2, &x87.status.to_le_bytes());
        put(4, &[x87.tags]);
        put(6, &x87.opcode.to_le_bytes());
        put(8, &x87.instruction.to_le_bytes());
        put(16, &x87.data.to_le_bytes());
        put(24, &self.mxcsr.to_le_bytes());
        put(28, &crate::sse::MXCSR_MASK.to_le_bytes());
        for place in 0..8 {
            let register = x87.registers[(x87.top() + place) & 7];
            put(32 + 16 * place, &register.significand.to_le_bytes());
            put(40 + 16 * place, &register.exponent.to_le_bytes());
        }
        for (number, register) in self.xmm.iter().enumerate() {
            put(160 + 16 * number, &register.to_le_bytes());
        }
        area
    }

    /// The reverse of [`State::legacy_area`]. Reserved bits are dropped.
    pub fn set_legacy_area(&mut self, area: &[u8; 512]) {
        self.set_x87_area(area);
        self.set_xmm_area(area);
        self.mxcsr = word(area, 24) as u32 & crate::sse::MXCSR_MASK;
    }

    /// The x87 part of a legacy area.
    pub(crate) fn set_x87_area(&mut self, area: &[u8; 512]) {
        let x87 = &mut self.x87;
        x87.control = word(area, 0) as u16 & 0x1F7F | 0x40;
        x87.status = word(area, 2) as u16;
        x87.tags = area[4];
        x87.opcode = word(area, 6) as u16 & 0x7FF;
        x87.instruction = word(area, 8);
        x87.data = word(area, 16);
        let top = x87.top();
        for place in 0..8 {
            x87.registers[(top + place) & 7] = Extended {
                significand: word(area, 32 + 16 * place),
                exponent: word(area, 40 + 16 * place) as u16,
            };
        }
    }

    /// The XMM part of a legacy area.
    pub(crate) fn set_xmm_area(&mut self, area: &[u8; 512]) {
        for (number, register) in self.xmm.iter_mut().enumerate() {
            let low = word(area, 160 + 16 * number);
            let high = word(area, 168 + 16 * number);
            *register = u128::from(low) | u128::from(high) << 64;
        }
    }
}

fn word(area: &[u8; 512], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&area[at..at + 8]);
    u64::from_le_bytes(word)
}

pub(crate) fn lower(_i: &iced_x86::Instruction) -> Option<Uop> {
    None
}

impl Core<'_> {
    /// #MF if an exception of an earlier instruction waits.
    pub(crate) fn check_pending(&mut self) -> Result<(), Fault> {
        if self.state.x87.status & 0x80 != 0 {
            return Err(self.raise(crate::exception::Exception::plain(16)));
        }
        Ok(())
    }
    pub(crate) fn x87(&mut self, _uop: &Uop) -> Result<(), Fault> {
        Err(self.undefined())
    }
}
