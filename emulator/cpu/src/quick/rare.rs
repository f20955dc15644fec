//! Short cuts that are less frequent: wide products, quotients, bits, exchanges. As in
//! [`super::unit`], `None` leaves everything to the general operation.

use super::unit::Unit;
use crate::flags::{ZF, extend};
use crate::integer::alu;
use crate::state::reg;
use crate::uop::{IMM, MEM_DST, Op, Uop};

const RAX: u8 = reg::RAX as u8;
const RDX: u8 = reg::RDX as u8;

/// The upper half of a product, without a call: WebAssembly has no such instruction.
#[inline(always)]
fn upper(a: u64, b: u64) -> u64 {
    const LOW: u64 = 0xFFFF_FFFF;
    let (a_low, a_high, b_low, b_high) = (a & LOW, a >> 32, b & LOW, b >> 32);
    let (first, second) = (a_low * b_high, a_high * b_low);
    let middle = ((a_low * b_low) >> 32) + (first & LOW) + (second & LOW);
    a_high * b_high + (first >> 32) + (second >> 32) + (middle >> 32)
}

impl Unit<'_> {
    /// MUL of 32 bits.
    #[inline(always)]
    pub(super) fn wide_product_32(&mut self, uop: &Uop) {
        let product = self.reg::<2>(RAX) * self.reg::<2>(uop.dst);
        self.set_reg::<2>(RAX, product);
        self.set_reg::<2>(RDX, product >> 32);
        self.note_product::<2>(product & 0xFFFF_FFFF, product >> 32 != 0);
    }

    /// MUL of 64 bits.
    #[inline(always)]
    pub(super) fn wide_product_64(&mut self, uop: &Uop) {
        let (a, b) = (self.reg::<3>(RAX), self.reg::<3>(uop.dst));
        let (low, high) = (a.wrapping_mul(b), upper(a, b));
        self.set_reg::<3>(RAX, low);
        self.set_reg::<3>(RDX, high);
        self.note_product::<3>(low, high != 0);
    }

    /// DIV of 32 bits.
    #[inline(always)]
    pub(super) fn divide_32(&mut self, uop: &Uop) -> Option<()> {
        let dividend = self.reg::<2>(RDX) << 32 | self.reg::<2>(RAX);
        let divisor = self.reg::<2>(uop.dst);
        let quotient = dividend.checked_div(divisor)?;
        if quotient >> 32 != 0 {
            return None;
        }
        self.set_reg::<2>(RAX, quotient);
        self.set_reg::<2>(RDX, dividend - quotient * divisor);
        Some(())
    }

    /// DIV of 64 bits, if the dividend has not more.
    #[inline(always)]
    pub(super) fn divide_64(&mut self, uop: &Uop) -> Option<()> {
        if self.reg::<3>(RDX) != 0 {
            return None;
        }
        let (dividend, divisor) = (self.reg::<3>(RAX), self.reg::<3>(uop.dst));
        let quotient = dividend.checked_div(divisor)?;
        self.set_reg::<3>(RAX, quotient);
        self.set_reg::<3>(RDX, dividend - quotient * divisor);
        Some(())
    }

    /// IDIV of 32 bits.
    #[inline(always)]
    pub(super) fn divide_signed_32(&mut self, uop: &Uop) -> Option<()> {
        let dividend = (self.reg::<2>(RDX) << 32 | self.reg::<2>(RAX)) as i64;
        let divisor = extend(2, self.reg::<2>(uop.dst));
        let quotient = dividend.checked_div(divisor)?;
        if quotient != i64::from(quotient as i32) {
            return None;
        }
        self.set_reg::<2>(RAX, quotient as u64);
        self.set_reg::<2>(RDX, dividend.wrapping_sub(quotient.wrapping_mul(divisor)) as u64);
        Some(())
    }

    /// IDIV of 64 bits, if the dividend has not more.
    #[inline(always)]
    pub(super) fn divide_signed_64(&mut self, uop: &Uop) -> Option<()> {
        let dividend = self.reg::<3>(RAX) as i64;
        if self.reg::<3>(RDX) != (dividend >> 63) as u64 {
            return None;
        }
        let divisor = self.reg::<3>(uop.dst) as i64;
        let quotient = dividend.checked_div(divisor)?;
        self.set_reg::<3>(RAX, quotient as u64);
        self.set_reg::<3>(RDX, dividend.wrapping_sub(quotient.wrapping_mul(divisor)) as u64);
        Some(())
    }

    /// The bit that BT and its like name, if it is in the operand itself.
    #[inline(always)]
    fn chosen(&self, uop: &Uop) -> u64 {
        let number = if uop.has(IMM) { uop.imm as u64 } else { self.reg::<3>(uop.src) };
        1 << (number & if uop.size == 3 { 63 } else { 31 })
    }

    /// BT, BTS, BTR, BTC of a register.
    #[inline(always)]
    pub(super) fn bit_register(&mut self, uop: &Uop) {
        let chosen = self.chosen(uop);
        let a = self.reg::<3>(uop.dst);
        if uop.op != Op::Bt {
            let r = changed(uop.op, a, chosen);
            self.set_reg::<3>(uop.dst, if uop.size == 3 { r } else { r & 0xFFFF_FFFF });
        }
        self.state.flags.set_carry(a & chosen != 0);
    }

    /// BT of memory with an immediate.
    #[inline(always)]
    pub(super) fn bit_tested(&mut self, uop: &Uop) -> Option<()> {
        let a = if uop.size == 3 { self.memory::<3>(uop)? } else { self.memory::<2>(uop)? };
        let set = a & self.chosen(uop) != 0;
        self.state.flags.set_carry(set);
        Some(())
    }

    /// BTS, BTR, BTC of memory with an immediate.
    #[inline(always)]
    pub(super) fn bit_changed(&mut self, uop: &Uop) -> Option<()> {
        let chosen = self.chosen(uop);
        let a = if uop.size == 3 {
            self.modify::<3>(uop, |_, a| changed(uop.op, a, chosen))?
        } else {
            self.modify::<2>(uop, |_, a| changed(uop.op, a, chosen))?
        };
        self.state.flags.set_carry(a & chosen != 0);
        Some(())
    }

    /// BSF, BSR.
    #[inline(always)]
    pub(super) fn bit_scan(&mut self, forward: bool, uop: &Uop) {
        let value = if uop.size == 3 { self.reg::<3>(uop.src) } else { self.reg::<2>(uop.src) };
        let found = if forward { value.trailing_zeros() } else { 63 ^ value.leading_zeros() };
        // Of zero the destination keeps its value, all 64 bits of it.
        if value != 0 {
            self.set_reg::<3>(uop.dst, found.into());
        }
        self.state.flags.set_status(if value == 0 { ZF } else { 0 });
    }

    /// XCHG.
    #[inline(always)]
    pub(super) fn exchange<const SIZE: u8>(&mut self, uop: &Uop) -> Option<()> {
        let b = self.reg::<SIZE>(uop.src);
        let a = if uop.has(MEM_DST) {
            self.modify::<SIZE>(uop, |_, _| b)?
        } else {
            let a = self.reg::<SIZE>(uop.dst);
            self.set_reg::<SIZE>(uop.dst, b);
            a
        };
        self.set_reg::<SIZE>(uop.src, a);
        Some(())
    }

    /// XADD of memory.
    #[inline(always)]
    pub(super) fn exchange_add<const SIZE: u8>(&mut self, uop: &Uop) -> Option<()> {
        let b = self.reg::<SIZE>(uop.src);
        let add = |unit: &mut Self, a| alu(&mut unit.state.flags, Op::Add, SIZE, a, b);
        let a = self.modify::<SIZE>(uop, add)?;
        self.set_reg::<SIZE>(uop.src, a);
        Some(())
    }

    /// CMPXCHG of memory.
    #[inline(always)]
    pub(super) fn compare_exchange<const SIZE: u8>(&mut self, uop: &Uop) -> Option<()> {
        let (expected, new) = (self.reg::<SIZE>(RAX), self.reg::<SIZE>(uop.src));
        let exchange = |unit: &mut Self, old| {
            alu(&mut unit.state.flags, Op::Cmp, SIZE, expected, old);
            if old == expected { new } else { old }
        };
        let old = self.modify::<SIZE>(uop, exchange)?;
        if old != expected {
            self.set_reg::<SIZE>(RAX, old);
        }
        Some(())
    }
}

#[inline(always)]
fn changed(op: Op, a: u64, chosen: u64) -> u64 {
    match op {
        Op::Bts => a | chosen,
        Op::Btr => a & !chosen,
        _ => a ^ chosen,
    }
}
