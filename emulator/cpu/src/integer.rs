//! Moves, arithmetic and logic of the integer unit.

use crate::core::{Core, Fault};
use crate::exception::Exception;
use crate::flags::{CF, Flags, Kind, OF, extend, mask, of_result, sign};
use crate::state::reg;
use crate::uop::{LOCK, MEM_DST, Op, Uop};

/// The two-operand operations that set all flags; the result of compares is not written.
#[inline(always)]
pub(crate) fn alu(flags: &mut Flags, op: Op, size: u8, a: u64, b: u64) -> u64 {
    let all = mask(size);
    match op {
        Op::Add => {
            let r = a.wrapping_add(b) & all;
            flags.set(Kind::Add, size, a, b, r);
            r
        }
        Op::Adc => {
            let r = a.wrapping_add(b).wrapping_add(flags.carry().into()) & all;
            flags.set(Kind::Add, size, a, b, r);
            r
        }
        Op::Sbb => {
            let r = a.wrapping_sub(b).wrapping_sub(flags.carry().into()) & all;
            flags.set(Kind::Sub, size, a, b, r);
            r
        }
        Op::Sub | Op::Cmp => {
            let r = a.wrapping_sub(b) & all;
            flags.set(Kind::Sub, size, a, b, r);
            r
        }
        _ => {
            let r = match op {
                Op::Or => a | b,
                Op::Xor => a ^ b,
                _ => a & b,
            };
            flags.set_logic(size, r);
            r
        }
    }
}

impl Core<'_> {
    /// ADD, OR, ADC, SBB, AND, SUB, XOR.
    #[inline(always)]
    pub(crate) fn arithmetic(&mut self, op: Op, uop: &Uop) -> Result<(), Fault> {
        let b = self.source(uop)?;
        let a = self.destination_to_modify(uop)?;
        // The destination has been found writable: nothing can fault from here on.
        let r = alu(&mut self.state.flags, op, uop.size, a, b);
        self.set_destination(uop, r)
    }

    /// CMP, TEST.
    #[inline(always)]
    pub(crate) fn compare(&mut self, op: Op, uop: &Uop) -> Result<(), Fault> {
        let b = self.source(uop)?;
        let a = self.destination(uop)?;
        alu(&mut self.state.flags, op, uop.size, a, b);
        Ok(())
    }

    /// INC, DEC, NEG, NOT.
    pub(crate) fn unary(&mut self, uop: &Uop) -> Result<(), Fault> {
        let a = self.destination_to_modify(uop)?;
        let size = uop.size;
        let r = match uop.op {
            Op::Inc => a.wrapping_add(1),
            Op::Dec => a.wrapping_sub(1),
            Op::Neg => a.wrapping_neg(),
            _ => !a,
        } & mask(size);
        let flags = &mut self.state.flags;
        match uop.op {
            Op::Inc => flags.set(Kind::Inc, size, 0, flags.carry().into(), r),
            Op::Dec => flags.set(Kind::Dec, size, 0, flags.carry().into(), r),
            Op::Neg => flags.set(Kind::Sub, size, 0, a, r),
            _ => {}
        }
        self.set_destination(uop, r)
    }

    /// SETcc.
    #[inline(always)]
    pub(crate) fn set_condition(&mut self, uop: &Uop) -> Result<(), Fault> {
        let value = self.state.flags.condition(uop.sub).into();
        self.set_destination(uop, value)
    }

    /// CMOVcc: the source is read in any case, and a 32-bit destination cleared above.
    #[inline(always)]
    pub(crate) fn move_condition(&mut self, uop: &Uop) -> Result<(), Fault> {
        let value = self.source(uop)?;
        let old = self.reg(uop.dst, uop.size);
        let value = if self.state.flags.condition(uop.sub) { value } else { old };
        self.set_reg(uop.dst, uop.size, value);
        Ok(())
    }

    /// MOV.
    #[inline(always)]
    pub(crate) fn mov(&mut self, uop: &Uop) -> Result<(), Fault> {
        let value = self.source(uop)?;
        self.set_destination(uop, value)
    }

    /// Everything else of this file.
    pub(crate) fn integer(&mut self, uop: &Uop) -> Result<(), Fault> {
        match uop.op {
            Op::MovWide => self.set_reg(uop.dst, 3, uop.wide()),
            Op::MovAbsLoad | Op::MovAbsStore => return self.mov_absolute(uop),
            Op::Movzx | Op::Movsx => {
                let from = Uop { size: uop.sub, ..*uop };
                let value = self.source(&from)?;
                let value = if uop.op == Op::Movsx { extend(uop.sub, value) as u64 } else { value };
                self.set_reg(uop.dst, uop.size, value);
            }
            Op::Lea => {
                let offset = self.offset(uop);
                self.set_reg(uop.dst, uop.size, offset);
            }
            Op::Bswap => {
                let value = self.reg(uop.dst, uop.size);
                // Of 16 bits it is undefined; processors since the 80486 give zero.
                let swapped = match uop.size {
                    1 => 0,
                    2 => u64::from((value as u32).swap_bytes()),
                    _ => value.swap_bytes(),
                };
                self.set_reg(uop.dst, uop.size, swapped);
            }
            Op::Xchg => {
                let b = self.reg(uop.src, uop.size);
                let a = self.destination_to_modify(uop)?;
                self.set_destination(uop, b)?;
                self.set_reg(uop.src, uop.size, a);
            }
            Op::Xadd => {
                let b = self.reg(uop.src, uop.size);
                let a = self.destination_to_modify(uop)?;
                let mut flags = self.state.flags;
                let r = alu(&mut flags, Op::Add, uop.size, a, b);
                if uop.has(MEM_DST) {
                    self.set_destination(uop, r)?;
                    self.set_reg(uop.src, uop.size, a);
                } else {
                    self.set_reg(uop.src, uop.size, a);
                    self.set_reg(uop.dst, uop.size, r);
                }
                self.state.flags = flags;
            }
            Op::Widen => {
                let value = self.reg(reg::RAX as u8, uop.size - 1);
                self.set_reg(reg::RAX as u8, uop.size, extend(uop.size - 1, value) as u64);
            }
            Op::SignToD => {
                let negative = self.state.gpr[reg::RAX] & sign(uop.size) != 0;
                self.set_reg(reg::RDX as u8, uop.size, if negative { u64::MAX } else { 0 });
            }
            Op::Cmpxchg => return self.compare_exchange(uop),
            Op::Cmpxchg8b | Op::Cmpxchg16b => return self.compare_exchange_pair(uop),
            Op::Mul | Op::Imul1 => return self.multiply(uop),
            Op::Imul => return self.multiply_signed(uop),
            Op::Div | Op::Idiv => return self.divide(uop),
            Op::Xlat => {
                let offset = self.state.gpr[reg::RBX].wrapping_add(self.state.gpr[reg::RAX] & 0xFF);
                let address = self.segmented(uop, self.wrap_address(uop, offset));
                let value = self.load::<u8>(address)?;
                self.set_reg(reg::RAX as u8, 0, value);
            }
            _ => return Err(self.undefined()),
        }
        Ok(())
    }

    fn mov_absolute(&mut self, uop: &Uop) -> Result<(), Fault> {
        let address = self.segmented(uop, self.wrap_address(uop, uop.wide()));
        if uop.op == Op::MovAbsLoad {
            let value = self.load_sized(address, uop.size)?;
            self.set_reg(reg::RAX as u8, uop.size, value);
            return Ok(());
        }
        self.store_sized(address, uop.size, self.reg(reg::RAX as u8, uop.size))
    }

    fn compare_exchange(&mut self, uop: &Uop) -> Result<(), Fault> {
        let expected = self.reg(reg::RAX as u8, uop.size);
        let old = self.destination_to_modify(uop)?;
        let mut flags = self.state.flags;
        alu(&mut flags, Op::Cmp, uop.size, expected, old);
        if expected == old {
            let new = self.reg(uop.src, uop.size);
            self.set_destination(uop, new)?;
        } else {
            // The processor writes the old value back; it is seen on a page that is not
            // writable, but not in a register.
            if uop.has(MEM_DST) {
                self.set_destination(uop, old)?;
            }
            self.set_reg(reg::RAX as u8, uop.size, old);
        }
        self.state.flags = flags;
        Ok(())
    }

    fn compare_exchange_pair(&mut self, uop: &Uop) -> Result<(), Fault> {
        let half = if uop.op == Op::Cmpxchg8b { 2 } else { 3 };
        let address = self.address(uop);
        if half == 3 && address & 15 != 0 {
            return Err(self.protect());
        }
        self.probe_write(address, 2 << half)?;
        let low = self.load_sized(address, half)?;
        let high = self.load_sized(address.wrapping_add(1 << half), half)?;
        let equal = low == self.reg(reg::RAX as u8, half) && high == self.reg(reg::RDX as u8, half);
        let (new_low, new_high) = if equal {
            (self.reg(reg::RBX as u8, half), self.reg(reg::RCX as u8, half))
        } else {
            (low, high)
        };
        let mut bytes = [0; 16];
        bytes[..1 << half].copy_from_slice(&new_low.to_le_bytes()[..1 << half]);
        bytes[1 << half..2 << half].copy_from_slice(&new_high.to_le_bytes()[..1 << half]);
        self.store_bytes(address, &bytes[..2 << half])?;
        if !equal {
            self.set_reg(reg::RAX as u8, half, low);
            self.set_reg(reg::RDX as u8, half, high);
        }
        self.state.flags.merge(if equal { crate::flags::ZF } else { 0 }, crate::flags::ZF);
        debug_assert!(uop.flags & (LOCK | MEM_DST) != 0);
        Ok(())
    }

    /// MUL and one-operand IMUL.
    fn multiply(&mut self, uop: &Uop) -> Result<(), Fault> {
        let size = uop.size;
        let b = self.destination(uop)?;
        let a = self.reg(reg::RAX as u8, size);
        let bits = 8u32 << size;
        let (low, high, wide) = if uop.op == Op::Mul {
            let product = u128::from(a) * u128::from(b);
            let high = (product >> bits) as u64;
            (product as u64 & mask(size), high, high != 0)
        } else {
            let product = i128::from(extend(size, a)) * i128::from(extend(size, b));
            let low = product as u64 & mask(size);
            ((low), (product >> bits) as u64 & mask(size), i128::from(extend(size, low)) != product)
        };
        if size == 0 {
            self.set_reg(reg::RAX as u8, 1, low | high << 8);
        } else {
            self.set_reg(reg::RAX as u8, size, low);
            self.set_reg(reg::RDX as u8, size, high);
        }
        self.state.flags.set_status(of_product(size, low, wide));
        Ok(())
    }

    /// IMUL with two or three operands.
    pub(crate) fn multiply_signed(&mut self, uop: &Uop) -> Result<(), Fault> {
        let size = uop.size;
        let three = uop.has(crate::uop::IMM);
        let a = if three {
            let from = Uop { flags: uop.flags & !crate::uop::IMM, ..*uop };
            self.source(&from)?
        } else {
            self.reg(uop.dst, size)
        };
        let b = if three { uop.imm as u64 & mask(size) } else { self.source(uop)? };
        let product = i128::from(extend(size, a)) * i128::from(extend(size, b));
        let low = product as u64 & mask(size);
        self.set_reg(uop.dst, size, low);
        let wide = i128::from(extend(size, low)) != product;
        self.state.flags.set_status(of_product(size, low, wide));
        Ok(())
    }

    fn divide(&mut self, uop: &Uop) -> Result<(), Fault> {
        let size = uop.size;
        let divisor = self.destination(uop)?;
        let bits = 8u32 << size;
        let (low, high) = if size == 0 {
            let ax = self.reg(reg::RAX as u8, 1);
            (ax & 0xFF, ax >> 8)
        } else {
            (self.reg(reg::RAX as u8, size), self.reg(reg::RDX as u8, size))
        };
        let dividend = u128::from(high) << bits | u128::from(low);
        let result = if uop.op == Op::Div {
            quotient(dividend, divisor, size)
        } else {
            let unused = 128 - 2 * bits;
            signed_quotient((dividend << unused) as i128 >> unused, extend(size, divisor), size)
        };
        let Some((quotient, remainder)) = result else {
            return Err(self.raise(Exception::plain(Exception::DE)));
        };
        if size == 0 {
            self.set_reg(reg::RAX as u8, 1, quotient & 0xFF | (remainder & 0xFF) << 8);
        } else {
            self.set_reg(reg::RAX as u8, size, quotient);
            self.set_reg(reg::RDX as u8, size, remainder);
        }
        Ok(())
    }
}

/// Flags of a product: CF and OF if it does not fit; the others are undefined, and as the
/// processors of today have them: of the lower half, without AF and ZF.
pub(crate) fn of_product(size: u8, low: u64, wide: bool) -> u64 {
    let flags = of_result(size, low) & !crate::flags::ZF;
    if wide { flags | CF | OF } else { flags }
}

fn quotient(dividend: u128, divisor: u64, size: u8) -> Option<(u64, u64)> {
    if let (Ok(dividend), true) = (u64::try_from(dividend), divisor != 0) {
        let quotient = dividend / divisor;
        return (quotient <= mask(size)).then_some((quotient, dividend % divisor));
    }
    let quotient = dividend.checked_div(divisor.into())?;
    let remainder = dividend % u128::from(divisor);
    (quotient <= mask(size).into()).then_some((quotient as u64, remainder as u64))
}

fn signed_quotient(dividend: i128, divisor: i64, size: u8) -> Option<(u64, u64)> {
    let quotient = dividend.checked_div(divisor.into())?;
    let remainder = dividend % i128::from(divisor);
    let fits = i128::from(extend(size, quotient as u64)) == quotient;
    fits.then_some((quotient as u64, remainder as u64))
}
