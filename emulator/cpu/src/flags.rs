//! The status flags, computed when somebody asks.
//!
//! An arithmetic instruction stores its operands and result, which is four stores; what CF,
//! PF, AF, ZF, SF and OF are follows from them and is needed once in five instructions.
//! Instructions with irregular flags (shifts, multiplication) store the flags themselves.

/// CF.
pub const CF: u64 = 1 << 0;
/// PF.
pub const PF: u64 = 1 << 2;
/// AF.
pub const AF: u64 = 1 << 4;
/// ZF.
pub const ZF: u64 = 1 << 6;
/// SF.
pub const SF: u64 = 1 << 7;
/// TF.
pub const TF: u64 = 1 << 8;
/// IF.
pub const IF: u64 = 1 << 9;
/// DF.
pub const DF: u64 = 1 << 10;
/// OF.
pub const OF: u64 = 1 << 11;
/// IOPL.
pub const IOPL: u64 = 3 << 12;
/// NT.
pub const NT: u64 = 1 << 14;
/// RF.
pub const RF: u64 = 1 << 16;
/// VM.
pub const VM: u64 = 1 << 17;
/// AC.
pub const AC: u64 = 1 << 18;
/// VIF.
pub const VIF: u64 = 1 << 19;
/// VIP.
pub const VIP: u64 = 1 << 20;
/// ID.
pub const ID: u64 = 1 << 21;
/// The six that arithmetic sets.
pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;

/// What the last arithmetic instruction was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The flags are in `eager`.
    Eager,
    /// `r = a + b` or with carry.
    Add,
    /// `r = a − b` or with borrow.
    Sub,
    /// CF, OF and AF are zero.
    Logic,
    /// `r = a + 1`; CF is `b`.
    Inc,
    /// `r = a − 1`; CF is `b`.
    Dec,
    /// A shift: CF is `a`, OF is bit 0 of `b`, AF its bit 4.
    Shift,
}

/// Status flags as the operands that they follow from. `a`, `b`, `r` have no bits beyond
/// `size`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Flags {
    /// The instruction.
    pub kind: Kind,
    /// Operand size as a power of two of bytes.
    pub size: u8,
    /// First operand.
    pub a: u64,
    /// Second operand.
    pub b: u64,
    /// Result.
    pub r: u64,
    /// The six bits, if `kind` is `Eager`; and always all other bits of RFLAGS.
    pub eager: u64,
}

impl Default for Flags {
    fn default() -> Self {
        Flags { kind: Kind::Eager, size: 0, a: 0, b: 0, r: 0, eager: 2 }
    }
}

/// All bits of this size.
#[inline(always)]
pub const fn mask(size: u8) -> u64 {
    u64::MAX >> (64 - (8 << size))
}

/// The sign bit of this size.
#[inline(always)]
pub const fn sign(size: u8) -> u64 {
    1 << ((8 << size) - 1)
}

/// The value with its sign extended from this size.
#[inline(always)]
pub const fn extend(size: u8, value: u64) -> i64 {
    let shift = 64 - (8 << size);
    ((value << shift) as i64) >> shift
}

impl Flags {
    /// Notes an instruction.
    #[inline(always)]
    pub fn set(&mut self, kind: Kind, size: u8, a: u64, b: u64, r: u64) {
        self.kind = kind;
        self.size = size;
        self.a = a;
        self.b = b;
        self.r = r;
    }

    /// Notes an instruction that clears CF and OF.
    #[inline(always)]
    pub fn set_logic(&mut self, size: u8, r: u64) {
        self.kind = Kind::Logic;
        self.size = size;
        self.r = r;
    }

    /// CF.
    #[inline(always)]
    pub fn carry(&self) -> bool {
        match self.kind {
            Kind::Eager => self.eager & CF != 0,
            Kind::Logic => false,
            Kind::Add => ((self.a & self.b) | ((self.a | self.b) & !self.r)) & sign(self.size) != 0,
            Kind::Sub => {
                ((!self.a & self.b) | ((!self.a | self.b) & self.r)) & sign(self.size) != 0
            }
            Kind::Inc | Kind::Dec => self.b != 0,
            Kind::Shift => self.a != 0,
        }
    }

    /// ZF.
    #[inline(always)]
    pub fn zero(&self) -> bool {
        if self.kind == Kind::Eager { self.eager & ZF != 0 } else { self.r == 0 }
    }

    /// SF.
    #[inline(always)]
    pub fn negative(&self) -> bool {
        if self.kind == Kind::Eager { self.eager & SF != 0 } else { self.r & sign(self.size) != 0 }
    }

    /// PF.
    #[inline(always)]
    pub fn parity(&self) -> bool {
        if self.kind == Kind::Eager {
            self.eager & PF != 0
        } else {
            (self.r as u8).count_ones() & 1 == 0
        }
    }

    /// OF.
    #[inline(always)]
    pub fn overflow(&self) -> bool {
        let top = sign(self.size);
        match self.kind {
            Kind::Eager => self.eager & OF != 0,
            Kind::Logic => false,
            Kind::Add => (self.a ^ self.r) & (self.b ^ self.r) & top != 0,
            Kind::Sub => (self.a ^ self.b) & (self.a ^ self.r) & top != 0,
            Kind::Inc => self.r == top,
            Kind::Dec => self.r == top - 1,
            Kind::Shift => self.b & 1 != 0,
        }
    }

    /// AF.
    #[inline(always)]
    pub fn adjust(&self) -> bool {
        match self.kind {
            Kind::Eager => self.eager & AF != 0,
            Kind::Logic => false,
            Kind::Shift => self.b & 0x10 != 0,
            Kind::Add | Kind::Sub => (self.a ^ self.b ^ self.r) & 0x10 != 0,
            Kind::Inc => self.r & 0xF == 0,
            Kind::Dec => self.r & 0xF == 0xF,
        }
    }

    /// The six flags as bits of RFLAGS.
    pub fn status(&self) -> u64 {
        if self.kind == Kind::Eager {
            return self.eager & STATUS;
        }
        let bit = |set: bool, bit: u64| if set { bit } else { 0 };
        bit(self.carry(), CF)
            | bit(self.parity(), PF)
            | bit(self.adjust(), AF)
            | bit(self.zero(), ZF)
            | bit(self.negative(), SF)
            | bit(self.overflow(), OF)
    }

    /// All of RFLAGS.
    pub fn bits(&self) -> u64 {
        self.eager & !STATUS | self.status()
    }

    /// Replaces the six flags.
    #[inline]
    pub fn set_status(&mut self, status: u64) {
        self.kind = Kind::Eager;
        self.eager = self.eager & !STATUS | status & STATUS;
    }

    /// Replaces CF.
    #[inline(always)]
    pub fn set_carry(&mut self, carry: bool) {
        self.set_carry_overflow(carry, self.overflow());
    }

    /// Replaces CF and OF.
    #[inline(always)]
    pub fn set_carry_overflow(&mut self, carry: bool, overflow: bool) {
        if self.kind == Kind::Eager {
            self.eager = self.eager & !(CF | OF) | u64::from(carry) | u64::from(overflow) << 11;
            return;
        }
        let adjust = self.adjust();
        self.kind = Kind::Shift;
        self.a = carry.into();
        self.b = u64::from(overflow) | u64::from(adjust) << 4;
    }

    /// Replaces all of RFLAGS.
    pub fn set_bits(&mut self, bits: u64) {
        self.kind = Kind::Eager;
        self.eager = bits | 2;
    }

    /// Replaces some of the six flags.
    pub fn merge(&mut self, status: u64, which: u64) {
        let old = self.status();
        self.set_status(old & !which | status & which);
    }

    /// One of the sixteen conditions of Jcc, SETcc and CMOVcc.
    #[inline(always)]
    pub fn condition(&self, code: u8) -> bool {
        let holds = match code >> 1 & 7 {
            0 => self.overflow(),
            1 => self.carry(),
            2 => self.zero(),
            3 => self.carry() || self.zero(),
            4 => self.negative(),
            5 => self.parity(),
            6 => self.negative() != self.overflow(),
            _ => self.zero() || self.negative() != self.overflow(),
        };
        holds != (code & 1 != 0)
    }
}

/// PF, ZF and SF of a result, for instructions that set flags themselves.
#[inline]
pub fn of_result(size: u8, r: u64) -> u64 {
    let mut flags = 0;
    if r & mask(size) == 0 {
        flags |= ZF;
    }
    if r & sign(size) != 0 {
        flags |= SF;
    }
    if (r as u8).count_ones() & 1 == 0 {
        flags |= PF;
    }
    flags
}
