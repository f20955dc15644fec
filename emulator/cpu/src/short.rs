//! What the short cuts of `select` do. Sizes are constants here, so that nothing of the
//! general operations is left to decide when they execute.

use crate::core::{Core, Fault};
use crate::flags::{Flags, Kind, extend, mask, sign};
use crate::integer::{alu, of_product};
use crate::state::reg;
use crate::uop::{Op, Uop};

impl Core<'_> {
    #[inline(always)]
    fn finish<const SIZE: u8>(&mut self, op: Op, uop: &Uop, a: u64, b: u64) {
        let r = alu(&mut self.state.flags, op, SIZE, a, b);
        if !matches!(op, Op::Cmp | Op::Test) {
            self.set_reg(uop.dst, SIZE, r);
        }
    }

    #[inline(always)]
    pub(crate) fn alu_rr<const SIZE: u8>(&mut self, op: Op, uop: &Uop) -> Result<(), Fault> {
        let (a, b) = (self.reg(uop.dst & 31, SIZE), self.reg(uop.src & 31, SIZE));
        self.finish::<SIZE>(op, uop, a, b);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn alu_ri<const SIZE: u8>(&mut self, op: Op, uop: &Uop) -> Result<(), Fault> {
        let a = self.reg(uop.dst & 31, SIZE);
        self.finish::<SIZE>(op, uop, a, uop.imm as u64 & mask(SIZE));
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn alu_rm<const SIZE: u8>(&mut self, op: Op, uop: &Uop) -> Result<(), Fault> {
        let address = self.address(uop);
        let b = self.load_sized(address, SIZE)?;
        let a = self.reg(uop.dst & 31, SIZE);
        self.finish::<SIZE>(op, uop, a, b);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn compare_mi<const SIZE: u8>(&mut self, op: Op, uop: &Uop) -> Result<(), Fault> {
        let address = self.address(uop);
        let a = self.load_sized(address, SIZE)?;
        self.finish::<SIZE>(op, uop, a, uop.imm as u64 & mask(SIZE));
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn compare_mr<const SIZE: u8>(&mut self, uop: &Uop) -> Result<(), Fault> {
        let address = self.address(uop);
        let a = self.load_sized(address, SIZE)?;
        let b = self.reg(uop.src & 31, SIZE);
        self.finish::<SIZE>(Op::Cmp, uop, a, b);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn mov_rr<const SIZE: u8>(&mut self, uop: &Uop) -> Result<(), Fault> {
        let value = self.reg(uop.src, SIZE);
        self.set_reg(uop.dst, SIZE, value);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn mov_ri<const SIZE: u8>(&mut self, uop: &Uop) -> Result<(), Fault> {
        self.set_reg(uop.dst, SIZE, uop.imm as u64);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn mov_rm<const SIZE: u8>(&mut self, uop: &Uop) -> Result<(), Fault> {
        let address = self.address(uop);
        let value = self.load_sized(address, SIZE)?;
        self.set_reg(uop.dst & 31, SIZE, value);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn mov_mr<const SIZE: u8>(&mut self, uop: &Uop) -> Result<(), Fault> {
        let address = self.address(uop);
        self.store_sized(address, SIZE, self.reg(uop.src & 31, SIZE))
    }

    #[inline(always)]
    pub(crate) fn mov_mi<const SIZE: u8>(&mut self, uop: &Uop) -> Result<(), Fault> {
        let address = self.address(uop);
        self.store_sized(address, SIZE, uop.imm as u64)
    }

    #[inline(always)]
    pub(crate) fn step_r<const SIZE: u8>(&mut self, up: bool, uop: &Uop) -> Result<(), Fault> {
        let carry = self.state.flags.carry().into();
        let a = self.reg(uop.dst, SIZE);
        let r = if up { a.wrapping_add(1) } else { a.wrapping_sub(1) } & mask(SIZE);
        self.state.flags.set(if up { Kind::Inc } else { Kind::Dec }, SIZE, 0, carry, r);
        self.set_reg(uop.dst, SIZE, r);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn lea<const SIZE: u8>(&mut self, uop: &Uop) -> Result<(), Fault> {
        let offset = self.offset(uop);
        self.set_reg(uop.dst, SIZE, offset);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn shift_ri<const SIZE: u8>(&mut self, op: Op, uop: &Uop) -> Result<(), Fault> {
        let count = uop.imm as u32 & if SIZE == 3 { 63 } else { 31 };
        let a = self.reg(uop.dst, SIZE);
        let bits = 8u32 << SIZE;
        let (r, carry, overflow) = match op {
            Op::Shl => {
                let r = a << count & mask(SIZE);
                let carry = a >> (bits - count) & 1;
                (r, carry, u64::from(r & sign(SIZE) != 0) ^ carry)
            }
            Op::Shr => {
                let overflow = count == 1 && a & sign(SIZE) != 0;
                (a >> count, a >> (count - 1) & 1, overflow.into())
            }
            _ => {
                let a = extend(SIZE, a);
                ((a >> count) as u64 & mask(SIZE), (a >> (count - 1)) as u64 & 1, 0)
            }
        };
        self.state.flags.set(Kind::Shift, SIZE, carry, overflow, r);
        self.set_reg(uop.dst, SIZE, r);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn imul_rr<const SIZE: u8>(&mut self, uop: &Uop) -> Result<(), Fault> {
        let a = extend(SIZE, self.reg(uop.dst, SIZE));
        let b = extend(SIZE, self.reg(uop.src, SIZE));
        let (low, wide) = if SIZE == 3 {
            let (low, wide) = a.overflowing_mul(b);
            (low as u64, wide)
        } else {
            let product = a.wrapping_mul(b);
            let low = product as u64 & mask(SIZE);
            (low, extend(SIZE, low) != product)
        };
        self.set_reg(uop.dst, SIZE, low);
        self.state.flags.set_status(of_product(SIZE, low, wide));
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn movzx_r<const FROM: u8>(&mut self, uop: &Uop) -> Result<(), Fault> {
        let value = self.reg(uop.src & 31, FROM);
        self.set_reg(uop.dst, 3, value);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn movzx_m<const FROM: u8>(&mut self, uop: &Uop) -> Result<(), Fault> {
        let address = self.address(uop);
        let value = self.load_sized(address, FROM)?;
        self.set_reg(uop.dst, 3, value);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn movsxd_rr(&mut self, uop: &Uop) -> Result<(), Fault> {
        let value = extend(2, self.reg(uop.src, 2)) as u64;
        self.set_reg(uop.dst, 3, value);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn movsxd_rm(&mut self, uop: &Uop) -> Result<(), Fault> {
        let address = self.address(uop);
        let value = extend(2, self.load_sized(address, 2)?) as u64;
        self.set_reg(uop.dst, 3, value);
        Ok(())
    }

    /// PUSH of a register: 64-bit mode only, as its operand size says.
    #[inline(always)]
    pub(crate) fn push64(&mut self, uop: &Uop) -> Result<(), Fault> {
        let value = self.reg(uop.src, 3);
        let top = self.state.gpr[reg::RSP].wrapping_sub(8);
        self.store::<u64>(top, value)?;
        self.state.gpr[reg::RSP] = top;
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn pop64(&mut self, uop: &Uop) -> Result<(), Fault> {
        let top = self.state.gpr[reg::RSP];
        let value = self.load::<u64>(top)?;
        self.state.gpr[reg::RSP] = top.wrapping_add(8);
        self.set_reg(uop.dst, 3, value);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn ret64(&mut self) -> Result<u64, Fault> {
        let top = self.state.gpr[reg::RSP];
        let target = self.load::<u64>(top)?;
        let target = self.check_target(target)?;
        self.state.gpr[reg::RSP] = top.wrapping_add(8);
        Ok(target)
    }

    #[inline(always)]
    fn second<const SIZE: u8>(&self, immediate: bool, uop: &Uop) -> u64 {
        if immediate {
            uop.imm as i32 as i64 as u64 & mask(SIZE)
        } else {
            self.reg(uop.src & 31, SIZE)
        }
    }

    /// Compares, and says whether the branch behind it is taken.
    #[inline(always)]
    pub(crate) fn cmp_holds<const SIZE: u8>(&mut self, immediate: bool, uop: &Uop) -> bool {
        let a = self.reg(uop.dst & 31, SIZE);
        let b = self.second::<SIZE>(immediate, uop);
        let r = a.wrapping_sub(b) & mask(SIZE);
        self.state.flags.set(Kind::Sub, SIZE, a, b, r);
        let holds = match uop.sub >> 1 & 7 {
            1 => a < b,
            2 => a == b,
            3 => a <= b,
            6 => extend(SIZE, a) < extend(SIZE, b),
            7 => extend(SIZE, a) <= extend(SIZE, b),
            _ => return self.state.flags.condition(uop.sub),
        };
        holds != (uop.sub & 1 != 0)
    }

    /// Tests, and says whether the branch behind it is taken.
    #[inline(always)]
    pub(crate) fn test_holds<const SIZE: u8>(&mut self, immediate: bool, uop: &Uop) -> bool {
        let a = self.reg(uop.dst & 31, SIZE);
        let r = a & self.second::<SIZE>(immediate, uop);
        Flags::set_logic(&mut self.state.flags, SIZE, r);
        let negative = r & sign(SIZE) != 0;
        let holds = match uop.sub >> 1 & 7 {
            2 | 3 => r == 0,
            4 | 6 => negative,
            7 => r == 0 || negative,
            _ => return self.state.flags.condition(uop.sub),
        };
        holds != (uop.sub & 1 != 0)
    }
}
