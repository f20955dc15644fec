//! Short cuts of SSE: moves, logic, and the host's arithmetic ([`crate::sse::host`]). Only
//! where SSE may be used at all; what is wrong with an operand or an address is found by the
//! general operations.

use std::cmp::Ordering;

use super::unit::Unit;
use crate::flags::{CF, ZF, extend};
use crate::sse::floats::Arithmetic;
use crate::sse::host::{Host, order_double, order_single};
use crate::uop::{MEM_SRC, Uop};

const LOW: u128 = u64::MAX as u128;
const SINGLE: u128 = u32::MAX as u128;
/// PE of MXCSR.
const INEXACT: u32 = 0x20;

impl Unit<'_> {
    #[inline(always)]
    pub(super) fn xmm(&self, number: u8) -> u128 {
        self.state.xmm[(number & 15) as usize]
    }

    #[inline(always)]
    pub(super) fn set_xmm(&mut self, number: u8, value: u128) {
        self.state.xmm[(number & 15) as usize] = value;
    }

    /// The address of sixteen bytes that must be aligned.
    #[inline(always)]
    pub(super) fn aligned(&self, uop: &Uop) -> Option<u64> {
        let address = self.address(uop);
        (address & 15 == 0).then_some(address)
    }

    /// The source of an operation on all lanes.
    #[inline(always)]
    pub(super) fn vector_source(&self, uop: &Uop) -> Option<u128> {
        if uop.has(MEM_SRC) { self.load_word(self.aligned(uop)?) } else { Some(self.xmm(uop.src)) }
    }

    #[inline(always)]
    fn single_source(&self, uop: &Uop) -> Option<u32> {
        if uop.has(MEM_SRC) {
            self.load_word(self.address(uop))
        } else {
            Some(self.xmm(uop.src) as u32)
        }
    }

    #[inline(always)]
    fn double_source(&self, uop: &Uop) -> Option<u64> {
        if uop.has(MEM_SRC) {
            self.load_word(self.address(uop))
        } else {
            Some(self.xmm(uop.src) as u64)
        }
    }

    #[inline(always)]
    pub(super) fn set_low(&mut self, number: u8, value: u64) {
        let old = self.xmm(number);
        self.set_xmm(number, old & !LOW | u128::from(value));
    }

    #[inline(always)]
    pub(super) fn set_high(&mut self, number: u8, value: u64) {
        let old = self.xmm(number);
        self.set_xmm(number, old & LOW | u128::from(value) << 64);
    }

    #[inline(always)]
    pub(super) fn set_single(&mut self, number: u8, value: u32) {
        let old = self.xmm(number);
        self.set_xmm(number, old & !SINGLE | u128::from(value));
    }

    #[inline(always)]
    fn host(&self) -> Option<Host> {
        Host::new(self.state.mxcsr)
    }

    #[inline(always)]
    fn note(&mut self, inexact: bool) {
        if inexact {
            self.state.mxcsr |= INEXACT;
        }
    }

    #[inline(always)]
    pub(super) fn double(&mut self, op: Arithmetic, uop: &Uop) -> Option<()> {
        let b = self.double_source(uop)?;
        let (r, inexact) = self.host()?.double(op, self.xmm(uop.dst) as u64, b)?;
        self.note(inexact);
        self.set_low(uop.dst, r);
        Some(())
    }

    #[inline(always)]
    pub(super) fn single(&mut self, op: Arithmetic, uop: &Uop) -> Option<()> {
        let b = self.single_source(uop)?;
        let (r, inexact) = self.host()?.single(op, self.xmm(uop.dst) as u32, b)?;
        self.note(inexact);
        self.set_single(uop.dst, r);
        Some(())
    }

    #[inline(always)]
    pub(super) fn doubles(&mut self, op: Arithmetic, uop: &Uop) -> Option<()> {
        let (a, b) = (self.xmm(uop.dst), self.vector_source(uop)?);
        let host = self.host()?;
        let (low, inexact) = host.double(op, a as u64, b as u64)?;
        let (high, also) = host.double(op, (a >> 64) as u64, (b >> 64) as u64)?;
        self.note(inexact | also);
        self.set_xmm(uop.dst, u128::from(low) | u128::from(high) << 64);
        Some(())
    }

    #[inline(always)]
    pub(super) fn compare_doubles(&mut self, uop: &Uop) -> Option<()> {
        let order = order_double(self.xmm(uop.dst) as u64, self.double_source(uop)?)?;
        self.set_order(order);
        Some(())
    }

    #[inline(always)]
    pub(super) fn compare_singles(&mut self, uop: &Uop) -> Option<()> {
        let order = order_single(self.xmm(uop.dst) as u32, self.single_source(uop)?)?;
        self.set_order(order);
        Some(())
    }

    #[inline(always)]
    fn set_order(&mut self, order: Ordering) {
        self.state.flags.set_status(match order {
            Ordering::Less => CF,
            Ordering::Equal => ZF,
            Ordering::Greater => 0,
        });
    }

    /// CVTSI2SD.
    #[inline(always)]
    pub(super) fn double_of_integer<const SIZE: u8>(&mut self, uop: &Uop) -> Option<()> {
        let value =
            if uop.has(MEM_SRC) { self.memory::<SIZE>(uop)? } else { self.reg::<SIZE>(uop.src) };
        let (r, inexact) = self.host()?.double_of(extend(SIZE, value));
        self.note(inexact);
        self.set_low(uop.dst, r);
        Some(())
    }

    /// CVTTSD2SI.
    #[inline(always)]
    pub(super) fn integer_of_double<const SIZE: u8>(&mut self, uop: &Uop) -> Option<()> {
        let bits = self.double_source(uop)?;
        let (r, inexact) = self.host()?.integer_of(bits, SIZE == 3, true)?;
        self.note(inexact);
        self.set_reg::<SIZE>(uop.dst, r);
        Some(())
    }

    /// CVTSS2SD.
    #[inline(always)]
    pub(super) fn double_of_single(&mut self, uop: &Uop) -> Option<()> {
        let r = self.host()?.widen(self.single_source(uop)?)?;
        self.set_low(uop.dst, r);
        Some(())
    }

    /// CVTSD2SS.
    #[inline(always)]
    pub(super) fn single_of_double(&mut self, uop: &Uop) -> Option<()> {
        let (r, inexact) = self.host()?.narrow(self.double_source(uop)?)?;
        self.note(inexact);
        self.set_single(uop.dst, r);
        Some(())
    }
}
