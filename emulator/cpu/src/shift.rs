//! Shifts, rotates and single bits.

use crate::core::{Core, Fault};
use crate::flags::{CF, OF, ZF, extend, mask, of_result, sign};
use crate::state::reg;
use crate::uop::{IMM, MEM_DST, MEM_SRC, Op, Uop};

const fn bit(set: bool, bit: u64) -> u64 {
    if set { bit } else { 0 }
}

/// Result and flags of a shift by `count`, which is not zero. Flags that the manual leaves
/// undefined are as today's processors have them, where they are simple.
#[inline(always)]
pub(crate) fn shift(op: Op, size: u8, a: u64, count: u32) -> (u64, u64) {
    let bits = 8u32 << size;
    let (r, carry) = match op {
        Op::Shl => {
            let r = a.checked_shl(count).unwrap_or(0) & mask(size);
            (r, count <= bits && a >> (bits - count) & 1 != 0)
        }
        Op::Shr => {
            (a.checked_shr(count).unwrap_or(0), a.checked_shr(count - 1).unwrap_or(0) & 1 != 0)
        }
        _ => {
            let a = extend(size, a);
            ((a >> count.min(63)) as u64 & mask(size), a >> (count - 1).min(63) & 1 != 0)
        }
    };
    let overflow = match op {
        Op::Shl => (r & sign(size) != 0) != carry,
        Op::Shr => a & sign(size) != 0 && count == 1,
        _ => false,
    };
    (r, of_result(size, r) | bit(carry, CF) | bit(overflow, OF))
}

/// Result, CF and OF of a rotation; `count` is masked, not reduced, and not zero.
#[inline(always)]
fn rotate(op: Op, size: u8, a: u64, count: u32, carry: bool) -> Option<(u64, u64)> {
    let bits = 8u32 << size;
    let top = sign(size);
    let turn = |left: u32| {
        let left = left % bits;
        if left == 0 { a } else { (a << left | a >> (bits - left)) & mask(size) }
    };
    let (r, out) = match op {
        Op::Rol => {
            let r = turn(count);
            (r, r & 1 != 0)
        }
        Op::Ror => {
            let r = turn(bits - count % bits);
            (r, r & top != 0)
        }
        _ => {
            // Through carry: one bit more.
            let wide = u128::from(a) | u128::from(carry) << bits;
            let count = count % (bits + 1);
            if count == 0 {
                return None;
            }
            let left = if op == Op::Rcl { count } else { bits + 1 - count };
            let turned = wide << left | wide >> (bits + 1 - left);
            (turned as u64 & mask(size), turned >> bits & 1 != 0)
        }
    };
    let overflow = match op {
        Op::Rol | Op::Rcl => (r & top != 0) != out,
        _ => (r & top != 0) != (r & top >> 1 != 0),
    };
    Some((r, bit(out, CF) | bit(overflow, OF)))
}

impl Core<'_> {
    fn shift_count(&self, uop: &Uop) -> u32 {
        let count = if uop.has(IMM) { uop.imm as u64 } else { self.state.gpr[reg::RCX] };
        (count & if uop.size == 3 { 63 } else { 31 }) as u32
    }

    /// ROL, ROR, RCL, RCR, SHL, SHR, SAR.
    pub(crate) fn shift(&mut self, uop: &Uop) -> Result<(), Fault> {
        let count = self.shift_count(uop);
        let a = self.destination_to_modify(uop)?;
        if count == 0 {
            // A 32-bit destination register is written all the same.
            return self.set_destination(uop, a);
        }
        if matches!(uop.op, Op::Shl | Op::Shr | Op::Sar) {
            let (r, flags) = shift(uop.op, uop.size, a, count);
            self.set_destination(uop, r)?;
            self.state.flags.set_status(flags);
        } else {
            let carry = self.state.flags.carry();
            let rotated = rotate(uop.op, uop.size, a, count, carry);
            self.set_destination(uop, rotated.map_or(a, |(r, _)| r))?;
            if let Some((_, flags)) = rotated {
                self.state.flags.merge(flags, CF | OF);
            }
        }
        Ok(())
    }

    /// SHLD, SHRD.
    pub(crate) fn shift_double(&mut self, uop: &Uop) -> Result<(), Fault> {
        let size = uop.size;
        let count = self.shift_count(uop);
        let b = self.reg(uop.src, size);
        let a = self.destination_to_modify(uop)?;
        if count == 0 {
            return self.set_destination(uop, a);
        }
        let (r, carry) = double(uop.op == Op::Shld, size, a, b, count);
        self.set_destination(uop, r)?;
        let overflow = (r ^ a) & sign(size) != 0;
        self.state.flags.set_status(of_result(size, r) | bit(carry, CF) | bit(overflow, OF));
        Ok(())
    }

    /// BT, BTS, BTR, BTC. With the bit number in a register, memory is a string of bits.
    pub(crate) fn bit_test(&mut self, uop: &Uop) -> Result<(), Fault> {
        let size = uop.size;
        let bits = 8u64 << size;
        let number = if uop.has(IMM) { uop.imm as u64 } else { self.reg(uop.src, size) };
        let chosen = 1u64 << (number & (bits - 1));
        if !uop.has(MEM_DST) {
            let a = self.reg(uop.dst, size);
            if uop.op != Op::Bt {
                self.set_reg(uop.dst, size, changed(uop.op, a, chosen));
            }
            self.state.flags.merge(bit(a & chosen != 0, CF), CF);
            return Ok(());
        }
        let address = self.bit_address(uop, number);
        let a = if uop.op == Op::Bt {
            self.load_sized(address, size)?
        } else {
            let a = self.load_to_modify(address, size)?;
            self.store_sized(address, size, changed(uop.op, a, chosen))?;
            a
        };
        self.state.flags.merge(bit(a & chosen != 0, CF), CF);
        Ok(())
    }

    fn bit_address(&mut self, uop: &Uop, number: u64) -> u64 {
        if uop.has(IMM) {
            return self.address(uop);
        }
        let words = extend(uop.size, number) >> (3 + uop.size);
        let offset = self.offset(uop).wrapping_add((words << uop.size) as u64);
        self.segmented(uop, self.wrap_address(uop, offset))
    }

    /// BSF, BSR, POPCNT.
    pub(crate) fn bit_scan(&mut self, uop: &Uop) -> Result<(), Fault> {
        let value = self.source(uop)?;
        if uop.op == Op::Popcnt {
            self.set_reg(uop.dst, uop.size, value.count_ones().into());
            self.state.flags.set_status(bit(value == 0, ZF));
            return Ok(());
        }
        let found = match uop.op {
            Op::Bsf => value.trailing_zeros(),
            _ => 63u32.wrapping_sub(value.leading_zeros()),
        };
        // Of zero the destination keeps its value, all 64 bits of it.
        if value != 0 {
            self.set_reg(uop.dst, uop.size, found.into());
        }
        self.state.flags.set_status(of_result(uop.size, value) & ZF);
        Ok(())
    }

    /// CRC32: the Castagnoli polynomial, reflected.
    pub(crate) fn crc32(&mut self, uop: &Uop) -> Result<(), Fault> {
        let from = Uop { size: uop.sub, flags: uop.flags & (MEM_SRC | crate::uop::ADDR32), ..*uop };
        let value = self.source(&from)?;
        let mut crc = self.state.gpr[(uop.dst & 31) as usize] as u32;
        for byte in &value.to_le_bytes()[..1 << uop.sub] {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = crc >> 1 ^ if crc & 1 != 0 { 0x82F6_3B78 } else { 0 };
            }
        }
        self.set_reg(uop.dst, 2, crc.into());
        Ok(())
    }
}

/// Result and CF of a shift that moves bits of `b` into `a`. Of 16 bits a count above 16 is
/// undefined: here the operands go round.
fn double(left: bool, size: u8, a: u64, b: u64, count: u32) -> (u64, bool) {
    let bits = 8u32 << size;
    if size == 1 {
        let wide = a << 32 | b << 16 | a;
        let (shifted, out) = if left { (32 - count, 48 - count) } else { (count, count - 1) };
        return (wide >> shifted & 0xFFFF, wide >> out & 1 != 0);
    }
    if left {
        ((a << count | b >> (bits - count)) & mask(size), a >> (bits - count) & 1 != 0)
    } else {
        ((a >> count | b << (bits - count)) & mask(size), a >> (count - 1) & 1 != 0)
    }
}

fn changed(op: Op, a: u64, chosen: u64) -> u64 {
    match op {
        Op::Bts => a | chosen,
        Op::Btr => a & !chosen,
        _ => a ^ chosen,
    }
}
