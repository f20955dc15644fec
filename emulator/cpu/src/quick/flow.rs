//! Short cuts that lead elsewhere: the stack, targets of branches, conditions.

use super::unit::Unit;
use crate::flags::{Kind, extend, mask, sign};
use crate::state::reg;
use crate::uop::Uop;

impl Unit<'_> {
    #[inline(always)]
    pub(super) fn push<const SIZE: u8>(&mut self, value: u64) -> Option<()> {
        let top = self.state.gpr[reg::RSP].wrapping_sub(1 << SIZE) & self.wrap;
        self.store::<SIZE>(top, value)?;
        self.state.gpr[reg::RSP] = top;
        Some(())
    }

    /// The value on top of the stack, and the stack pointer without it.
    #[inline(always)]
    pub(super) fn top<const SIZE: u8>(&self) -> Option<(u64, u64)> {
        let top = self.state.gpr[reg::RSP] & self.wrap;
        Some((self.load::<SIZE>(top)?, top.wrapping_add(1 << SIZE) & self.wrap))
    }

    #[inline(always)]
    pub(super) fn pop<const SIZE: u8>(&mut self, uop: &Uop) -> Option<()> {
        let (value, behind) = self.top::<SIZE>()?;
        self.state.gpr[reg::RSP] = behind;
        self.set_reg::<SIZE>(uop.dst, value);
        Some(())
    }

    /// LEAVE.
    #[inline(always)]
    pub(super) fn leave(&mut self, uop: &Uop) -> Option<()> {
        let frame = self.state.gpr[reg::RBP] & self.wrap;
        let (value, size) =
            if uop.size == 3 { (self.load::<3>(frame)?, 8) } else { (self.load::<2>(frame)?, 4) };
        self.state.gpr[reg::RSP] = frame.wrapping_add(size) & self.wrap;
        self.state.gpr[reg::RBP] = value;
        Some(())
    }

    /// Where an indirect branch leads.
    #[inline(always)]
    pub(super) fn target(&self, uop: &Uop, register: bool) -> Option<u64> {
        match (register, uop.size) {
            (true, _) => Some(self.reg::<3>(uop.dst) & self.wrap),
            (false, 3) => self.memory::<3>(uop),
            (false, _) => self.memory::<2>(uop),
        }
    }

    /// Compares; does a condition hold?
    #[inline(always)]
    pub(super) fn compare<const SIZE: u8>(&mut self, condition: u8, a: u64, b: u64) -> bool {
        let r = a.wrapping_sub(b) & mask(SIZE);
        self.state.flags.set(Kind::Sub, SIZE, a, b, r);
        let holds = match condition >> 1 {
            1 => a < b,
            2 => a == b,
            3 => a <= b,
            6 => extend(SIZE, a) < extend(SIZE, b),
            _ => extend(SIZE, a) <= extend(SIZE, b),
        };
        holds != (condition & 1 != 0)
    }

    /// Tests; does a condition hold?
    #[inline(always)]
    pub(super) fn test<const SIZE: u8>(&mut self, condition: u8, a: u64, b: u64) -> bool {
        let r = a & b;
        self.state.flags.set_logic(SIZE, r);
        let holds = match condition >> 1 {
            2 => r == 0,
            4 => r & sign(SIZE) != 0,
            _ => r == 0 || r & sign(SIZE) != 0,
        };
        holds != (condition & 1 != 0)
    }
}
