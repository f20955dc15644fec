//! What short cuts are made of. Everything here is small, inlined into the loop, and says
//! `None` where the general operation must be taken instead; nothing has changed then.

use emulator_bus::Word;

use crate::flags::{Kind, extend, mask, sign};
use crate::integer::alu;
use crate::state::{State, reg};
use crate::tlb::{Entry, SLOTS};
use crate::uop::{HIGH, IMM, MEM_SRC, Op, Uop};

/// Memory beyond this distance from the end goes the general way: so one compare covers an
/// access of any size.
pub(super) const MARGIN: usize = 16;

/// A result that has the flags of zero except for ZF.
const EVEN: u64 = 0x300;

/// What the loop works on: all of it in host registers, as long as nobody is called.
pub(super) struct Unit<'a> {
    pub(super) state: &'a mut State,
    pub(super) read: &'a [Entry; SLOTS],
    pub(super) write: &'a [Entry; SLOTS],
    pub(super) bytes: &'a mut [u8],
    /// Bits of addresses that count.
    pub(super) wrap: u64,
    /// SSE may be used.
    pub(super) sse: bool,
}

impl Unit<'_> {
    #[inline(always)]
    pub(super) fn reg<const SIZE: u8>(&self, number: u8) -> u64 {
        self.state.gpr[(number & 31) as usize] & mask(SIZE)
    }

    #[inline(always)]
    pub(super) fn set_reg<const SIZE: u8>(&mut self, number: u8, value: u64) {
        let register = &mut self.state.gpr[(number & 31) as usize];
        *register = if SIZE >= 2 {
            value & mask(SIZE)
        } else {
            *register & !mask(SIZE) | value & mask(SIZE)
        };
    }

    /// The linear address of the memory operand.
    #[inline(always)]
    pub(super) fn address(&self, uop: &Uop) -> u64 {
        let scaled = self.state.gpr[(uop.index & 31) as usize] << (uop.sib & 3);
        let base = self.state.gpr[(uop.base & 31) as usize];
        base.wrapping_add(scaled).wrapping_add(uop.disp as i64 as u64) & self.wrap
    }

    /// The same, without an index register.
    #[inline(always)]
    pub(super) fn base(&self, uop: &Uop) -> u64 {
        let base = self.state.gpr[(uop.base & 31) as usize];
        base.wrapping_add(uop.disp as i64 as u64) & self.wrap
    }

    /// The same, in a segment that does not begin at zero.
    #[inline(always)]
    pub(super) fn segmented(&self, uop: &Uop) -> Option<u64> {
        let segment = self.state.segments.get(uop.segment().wrapping_sub(1))?;
        Some(self.address(uop).wrapping_add(segment.base))
    }

    /// Where in memory a linear address is.
    #[inline(always)]
    fn place(&self, table: &[Entry; SLOTS], address: u64, size: usize) -> Option<usize> {
        let entry = &table[(address >> 12) as usize & (SLOTS - 1)];
        if address.wrapping_add(size as u64 - 1) & !0xFFF != entry.tag {
            return None;
        }
        let at = address.wrapping_add(entry.addend) as usize;
        (at <= self.bytes.len() - MARGIN).then_some(at)
    }

    #[inline(always)]
    pub(super) fn load_word<W: Word>(&self, address: u64) -> Option<W> {
        let at = self.place(self.read, address, W::SIZE)?;
        W::read(&self.bytes[at..at + W::SIZE])
    }

    #[inline(always)]
    pub(super) fn store_word<W: Word>(&mut self, address: u64, value: W) -> Option<()> {
        let at = self.place(self.write, address, W::SIZE)?;
        value.write(&mut self.bytes[at..at + W::SIZE])
    }

    #[inline(always)]
    pub(super) fn load<const SIZE: u8>(&self, address: u64) -> Option<u64> {
        Some(match SIZE {
            0 => self.load_word::<u8>(address)?.into(),
            1 => self.load_word::<u16>(address)?.into(),
            2 => self.load_word::<u32>(address)?.into(),
            _ => self.load_word::<u64>(address)?,
        })
    }

    #[inline(always)]
    pub(super) fn store<const SIZE: u8>(&mut self, address: u64, value: u64) -> Option<()> {
        match SIZE {
            0 => self.store_word(address, value as u8),
            1 => self.store_word(address, value as u16),
            2 => self.store_word(address, value as u32),
            _ => self.store_word(address, value),
        }
    }

    /// The memory operand as a source.
    #[inline(always)]
    pub(super) fn memory<const SIZE: u8>(&self, uop: &Uop) -> Option<u64> {
        self.load::<SIZE>(self.address(uop))
    }

    /// The same, without an index register.
    #[inline(always)]
    pub(super) fn near<const SIZE: u8>(&self, uop: &Uop) -> Option<u64> {
        self.load::<SIZE>(self.base(uop))
    }

    /// The upper byte of a register.
    #[inline(always)]
    pub(super) fn high(&self, number: u8) -> u64 {
        self.state.gpr[(number & 31) as usize] >> 8 & 0xFF
    }

    /// The immediate.
    #[inline(always)]
    pub(super) fn imm<const SIZE: u8>(&self, uop: &Uop) -> u64 {
        uop.imm as u64 & mask(SIZE)
    }

    /// Arithmetic whose destination is a register, or that has none; the result.
    #[inline(always)]
    pub(super) fn alu<const SIZE: u8>(&mut self, op: Op, uop: &Uop, a: u64, b: u64) -> u64 {
        let r = alu(&mut self.state.flags, op, SIZE, a, b);
        if !matches!(op, Op::Cmp | Op::Test) {
            self.set_reg::<SIZE>(uop.dst, r);
        }
        r
    }

    /// The same, where the operation is looked up and the source may be anything.
    #[inline(always)]
    pub(super) fn alu_register<const SIZE: u8>(&mut self, uop: &Uop) -> Option<()> {
        let b = if uop.has(IMM) {
            self.imm::<SIZE>(uop)
        } else if uop.has(MEM_SRC) {
            self.memory::<SIZE>(uop)?
        } else {
            self.reg::<SIZE>(uop.src)
        };
        let a = self.reg::<SIZE>(uop.dst);
        let r = self.compute::<SIZE>(uop.op, a, b);
        if !matches!(uop.op, Op::Cmp | Op::Test) {
            self.set_reg::<SIZE>(uop.dst, r);
        }
        Some(())
    }

    /// The same with the upper byte of a register as the destination.
    #[inline(always)]
    pub(super) fn alu_high(&mut self, uop: &Uop) -> Option<()> {
        let b = if uop.has(IMM) {
            self.imm::<0>(uop)
        } else if uop.src & HIGH != 0 {
            self.high(uop.src)
        } else {
            self.reg::<0>(uop.src)
        };
        let r = self.compute::<0>(uop.op, self.high(uop.dst), b);
        if uop.op != Op::Cmp {
            let register = &mut self.state.gpr[(uop.dst & 31) as usize];
            *register = *register & !0xFF00 | r << 8;
        }
        Some(())
    }

    /// Arithmetic on memory.
    #[inline(always)]
    pub(super) fn alu_memory<const SIZE: u8>(&mut self, uop: &Uop) -> Option<()> {
        let b = if uop.has(IMM) { self.imm::<SIZE>(uop) } else { self.reg::<SIZE>(uop.src) };
        self.modify::<SIZE>(uop, |unit, a| unit.compute::<SIZE>(uop.op, a, b))?;
        Some(())
    }

    /// Replaces the memory operand by a function of it; what was there.
    #[inline(always)]
    pub(super) fn modify<const SIZE: u8>(
        &mut self,
        uop: &Uop,
        f: impl FnOnce(&mut Self, u64) -> u64,
    ) -> Option<u64> {
        let at = self.place(self.write, self.address(uop), 1 << SIZE)?;
        let a = self.word_at::<SIZE>(at)?;
        let r = f(self, a);
        self.set_word_at::<SIZE>(at, r)?;
        Some(a)
    }

    /// The word at a place in memory.
    #[inline(always)]
    fn word_at<const SIZE: u8>(&self, at: usize) -> Option<u64> {
        let bytes = &self.bytes[at..at + (1 << SIZE)];
        Some(match SIZE {
            0 => u8::read(bytes)?.into(),
            1 => u16::read(bytes)?.into(),
            2 => u32::read(bytes)?.into(),
            _ => u64::read(bytes)?,
        })
    }

    #[inline(always)]
    fn set_word_at<const SIZE: u8>(&mut self, at: usize, value: u64) -> Option<()> {
        let bytes = &mut self.bytes[at..at + (1 << SIZE)];
        match SIZE {
            0 => (value as u8).write(bytes),
            1 => (value as u16).write(bytes),
            2 => (value as u32).write(bytes),
            _ => value.write(bytes),
        }
    }

    #[inline(always)]
    fn compute<const SIZE: u8>(&mut self, op: Op, a: u64, b: u64) -> u64 {
        let flags = &mut self.state.flags;
        match op {
            Op::Inc | Op::Dec => self.step::<SIZE>(op == Op::Inc, a),
            Op::Add => alu(flags, Op::Add, SIZE, a, b),
            Op::Adc => alu(flags, Op::Adc, SIZE, a, b),
            Op::Sbb => alu(flags, Op::Sbb, SIZE, a, b),
            Op::Sub | Op::Cmp => alu(flags, Op::Sub, SIZE, a, b),
            Op::Or => alu(flags, Op::Or, SIZE, a, b),
            Op::Xor => alu(flags, Op::Xor, SIZE, a, b),
            Op::Neg => alu(flags, Op::Sub, SIZE, 0, a),
            _ => alu(flags, Op::And, SIZE, a, b),
        }
    }

    #[inline(always)]
    pub(super) fn step<const SIZE: u8>(&mut self, up: bool, a: u64) -> u64 {
        let carry = self.state.flags.carry().into();
        let r = if up { a.wrapping_add(1) } else { a.wrapping_sub(1) } & mask(SIZE);
        self.state.flags.set(if up { Kind::Inc } else { Kind::Dec }, SIZE, 0, carry, r);
        r
    }

    #[inline(always)]
    pub(super) fn step_register<const SIZE: u8>(&mut self, up: bool, uop: &Uop) -> u64 {
        let r = self.step::<SIZE>(up, self.reg::<SIZE>(uop.dst));
        self.set_reg::<SIZE>(uop.dst, r);
        r
    }

    #[inline(always)]
    pub(super) fn negate<const SIZE: u8>(&mut self, uop: &Uop) {
        let a = self.reg::<SIZE>(uop.dst);
        let r = a.wrapping_neg() & mask(SIZE);
        self.state.flags.set(Kind::Sub, SIZE, 0, a, r);
        self.set_reg::<SIZE>(uop.dst, r);
    }

    /// Shifts by a count that is not zero.
    #[inline(always)]
    pub(super) fn shift<const SIZE: u8>(&mut self, op: Op, uop: &Uop, count: u32) {
        let a = self.reg::<SIZE>(uop.dst);
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
        self.set_reg::<SIZE>(uop.dst, r);
    }

    #[inline(always)]
    pub(super) fn shift_immediate<const SIZE: u8>(&mut self, op: Op, uop: &Uop) {
        self.shift::<SIZE>(op, uop, uop.imm as u32 & if SIZE == 3 { 63 } else { 31 });
    }

    #[inline(always)]
    pub(super) fn shift_by_cl<const SIZE: u8>(&mut self, op: Op, uop: &Uop) {
        let count = self.state.gpr[reg::RCX] as u32 & if SIZE == 3 { 63 } else { 31 };
        if count == 0 {
            // A register of 32 bits is cleared above all the same.
            let a = self.reg::<SIZE>(uop.dst);
            return self.set_reg::<SIZE>(uop.dst, a);
        }
        self.shift::<SIZE>(op, uop, count);
    }

    /// ROL and ROR by a count that is not zero.
    #[inline(always)]
    pub(super) fn rotate<const SIZE: u8>(&mut self, left: bool, uop: &Uop) {
        let (a, count, bits) = (self.reg::<SIZE>(uop.dst), uop.imm as u32, 8u32 << SIZE);
        let count = if left { count } else { bits - count };
        let r = (a << count | a >> (bits - count)) & mask(SIZE);
        let top = r & sign(SIZE) != 0;
        let carry = if left { r & 1 != 0 } else { top };
        let other = if left { carry } else { r & sign(SIZE) >> 1 != 0 };
        self.state.flags.set_carry_overflow(carry, top != other);
        self.set_reg::<SIZE>(uop.dst, r);
    }

    #[inline(always)]
    pub(super) fn product<const SIZE: u8>(&mut self, uop: &Uop, a: u64, b: u64) {
        let (a, b) = (extend(SIZE, a), extend(SIZE, b));
        let (low, wide): (u64, bool) = if SIZE == 3 {
            let (low, wide) = a.overflowing_mul(b);
            (low as u64, wide)
        } else {
            let product = a.wrapping_mul(b);
            let low = product as u64 & mask(SIZE);
            (low, extend(SIZE, low) != product)
        };
        self.set_reg::<SIZE>(uop.dst, low);
        self.note_product::<SIZE>(low, wide);
    }

    /// Flags as `of_product` has them: CF and OF together, and ZF never set.
    #[inline(always)]
    pub(super) fn note_product<const SIZE: u8>(&mut self, low: u64, wide: bool) {
        let shown = if low == 0 { EVEN } else { low };
        self.state.flags.set(Kind::Shift, SIZE, wide.into(), wide.into(), shown);
    }
}
