//! Floating-point lanes with the flags and roundings of MXCSR (SDM vol. 1, 11.5).
//!
//! Every operation can be done by `soft`, exactly; the common ones are done by the host where
//! it gives the same ([`super::host`]).

use super::Float;
use super::host::{Host, order_double, order_single};
use crate::core::{Core, Fault};
use crate::exception::Exception;
use crate::flags::{CF, PF, ZF};
use crate::soft::{self, Class, Env, IE, Number};
use crate::uop::{MEM_SRC, Uop};

const CR4_OSXMMEXCPT: u64 = 1 << 10;
const DAZ: u32 = 1 << 6;
const FLUSH: u32 = 1 << 15;
/// Exceptions that are found before the operation.
const BEFORE: u32 = soft::IE | soft::DE | soft::ZE;

/// Precision of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    Single,
    Double,
}

impl Lanes {
    pub(crate) fn format(self) -> soft::Format {
        match self {
            Lanes::Single => soft::SINGLE,
            Lanes::Double => soft::DOUBLE,
        }
    }

    pub(crate) fn bits(self) -> u32 {
        match self {
            Lanes::Single => 32,
            Lanes::Double => 64,
        }
    }

    pub(crate) fn number(self, bits: u64) -> Number {
        match self {
            Lanes::Single => Number::of_single(bits as u32),
            Lanes::Double => Number::of_double(bits),
        }
    }

    pub(crate) fn pack(self, number: Number) -> u64 {
        match self {
            Lanes::Single => number.single().into(),
            Lanes::Double => number.double(),
        }
    }
}

/// Operations on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Sqrt,
    Min,
    Max,
}

const ARITHMETIC: [Arithmetic; 7] = [
    Arithmetic::Add,
    Arithmetic::Sub,
    Arithmetic::Mul,
    Arithmetic::Div,
    Arithmetic::Sqrt,
    Arithmetic::Min,
    Arithmetic::Max,
];

/// Floating-point arithmetic under an MXCSR.
pub(crate) struct Unit {
    pub(crate) env: Env,
    /// Exceptions of steps of the instruction that have been completed.
    earlier: u32,
    daz: bool,
    pub(crate) host: Option<Host>,
}

impl Unit {
    pub(crate) fn new(mxcsr: u32) -> Self {
        let unmasked = !(mxcsr >> 7) & 0x3F;
        let env = Env {
            rounding: (mxcsr >> 13 & 3) as u8,
            flush: mxcsr & FLUSH != 0,
            unmasked,
            flags: 0,
            up: false,
            adjust: false,
        };
        Unit { env, earlier: 0, daz: mxcsr & DAZ != 0, host: Host::new(mxcsr) }
    }

    /// Unpacks an operand; denormals are zeros if MXCSR says so.
    pub(crate) fn operand(&self, lanes: Lanes, bits: u64) -> Number {
        let number = lanes.number(bits);
        if self.daz && number.denormal { Number::zero(number.sign) } else { number }
    }

    /// The NaN that an operation gives, if an operand is one.
    fn propagate(&mut self, a: Number, b: Number) -> Option<Number> {
        if !a.nan() && !b.nan() {
            return None;
        }
        if a.signaling() || b.signaling() {
            self.env.flags |= IE;
        }
        Some(if a.nan() { a.quiet() } else { b.quiet() })
    }

    fn note_denormals(&mut self, a: Number, b: Number) {
        if a.denormal || b.denormal {
            self.env.flags |= soft::DE;
        }
    }

    fn exact(&mut self, op: Arithmetic, lanes: Lanes, a: u64, b: u64) -> u64 {
        let (x, y) = (self.operand(lanes, a), self.operand(lanes, b));
        let format = lanes.format();
        if matches!(op, Arithmetic::Min | Arithmetic::Max) {
            return self.extreme(op, lanes, x, y);
        }
        let x = if op == Arithmetic::Sqrt { y } else { x };
        if let Some(nan) = self.propagate(x, y) {
            return lanes.pack(nan);
        }
        let before = self.env.flags;
        self.env.flags = 0;
        let r = match op {
            Arithmetic::Add => self.env.add(format, x, y),
            Arithmetic::Sub => self.env.add(format, x, y.negated()),
            Arithmetic::Mul => self.env.multiply(format, x, y),
            Arithmetic::Div => self.env.divide(format, x, y),
            _ => self.env.root(format, y),
        };
        // Invalid operations and divisions by zero come before denormal operands.
        if self.env.flags & (IE | soft::ZE) == 0 {
            self.note_denormals(x, y);
        }
        self.env.flags |= before;
        lanes.pack(r)
    }

    /// MIN and MAX: the second operand, unless the first is truly smaller or larger.
    fn extreme(&mut self, op: Arithmetic, lanes: Lanes, x: Number, y: Number) -> u64 {
        if x.nan() || y.nan() {
            self.env.flags |= IE;
            return lanes.pack(y);
        }
        self.note_denormals(x, y);
        let wanted = if op == Arithmetic::Min {
            std::cmp::Ordering::Less
        } else {
            std::cmp::Ordering::Greater
        };
        lanes.pack(if soft::order(x, y) == Some(wanted) { x } else { y })
    }

    #[inline(always)]
    fn lane(&mut self, op: Arithmetic, lanes: Lanes, a: u64, b: u64) -> u64 {
        let quick = self.host.and_then(|host| match lanes {
            Lanes::Single => {
                host.single(op, a as u32, b as u32).map(|(r, inexact)| (r.into(), inexact))
            }
            Lanes::Double => host.double(op, a, b),
        });
        match quick {
            Some((r, inexact)) => self.note(r, inexact),
            None => self.exact(op, lanes, a, b),
        }
    }

    /// A result of the host's.
    #[inline(always)]
    pub(crate) fn note<R>(&mut self, r: R, inexact: bool) -> R {
        if inexact {
            self.env.flags |= soft::PE;
        }
        r
    }
}

/// Applies a function to the lowest `count` lanes; the others are those of `a`.
#[inline(always)]
pub(crate) fn lanes(
    kind: Lanes,
    count: u32,
    a: u128,
    b: u128,
    mut f: impl FnMut(u64, u64) -> u64,
) -> u128 {
    let bits = kind.bits();
    let mask = u128::MAX >> (128 - bits);
    let mut r = a;
    for lane in 0..count {
        let shift = lane * bits;
        let z = f((a >> shift & mask) as u64, (b >> shift & mask) as u64);
        r = r & !(mask << shift) | u128::from(z) << shift;
    }
    r
}

/// Precision and number of lanes of the forms ps, pd, ss, sd.
pub(crate) fn form(form: u8) -> (Lanes, u32) {
    match form & 3 {
        0 => (Lanes::Single, 4),
        1 => (Lanes::Double, 2),
        2 => (Lanes::Single, 1),
        _ => (Lanes::Double, 1),
    }
}

impl Core<'_> {
    /// Takes the exceptions of an instruction: #XM if one is not masked; then nothing else
    /// may be written.
    pub(crate) fn float_exceptions(&mut self, unit: &Unit) -> Result<(), Fault> {
        self.state.mxcsr |= unit.earlier;
        let flags = unit.env.flags;
        let unmasked = flags & unit.env.unmasked;
        if unmasked == 0 {
            self.state.mxcsr |= flags;
            return Ok(());
        }
        // Those found before the operation prevent it, and what it would have met.
        self.state.mxcsr |= if unmasked & BEFORE != 0 { flags & BEFORE } else { flags };
        if self.state.cr4 & CR4_OSXMMEXCPT == 0 {
            return Err(self.undefined());
        }
        Err(self.raise(Exception::plain(Exception::XM)))
    }

    /// The second operand.
    #[inline(always)]
    pub(crate) fn float_source(&mut self, uop: &Uop) -> Result<u128, Fault> {
        if uop.has(MEM_SRC) { self.load_vector(uop, true) } else { Ok(self.xmm(uop.src)) }
    }

    /// All of [`Float`].
    pub(crate) fn sse_float(&mut self, uop: &Uop) -> Result<(), Fault> {
        let op = Float::from_sub(uop.sub);
        if uop.sub >= Float::Cvtsi2ss as u8 {
            return self.convert(uop, op);
        }
        self.check_sse()?;
        let b = self.float_source(uop)?;
        let a = self.xmm(uop.dst);
        let mut unit = Unit::new(self.state.mxcsr);
        let r = if uop.sub < Float::Rcpps as u8 {
            let (kind, count) = form(uop.sub);
            let op = ARITHMETIC[(uop.sub / 4) as usize % 7];
            lanes(kind, count, a, b, |x, y| unit.lane(op, kind, x, y))
        } else {
            match op {
                Float::Rcpps => lanes(Lanes::Single, 4, a, b, |_, y| reciprocal(y)),
                Float::Rcpss => lanes(Lanes::Single, 1, a, b, |_, y| reciprocal(y)),
                Float::Rsqrtps => lanes(Lanes::Single, 4, a, b, |_, y| reciprocal_root(y)),
                Float::Rsqrtss => lanes(Lanes::Single, 1, a, b, |_, y| reciprocal_root(y)),
                Float::Comiss | Float::Comisd | Float::Ucomiss | Float::Ucomisd => {
                    return self.compare_to_flags(op, a, b);
                }
                Float::Cmpps | Float::Cmppd | Float::Cmpss | Float::Cmpsd => {
                    let (kind, count) = form(uop.sub - Float::Cmpps as u8);
                    let predicate = uop.imm as u8;
                    lanes(kind, count, a, b, |x, y| unit.predicate(predicate, kind, x, y))
                }
                Float::Roundps | Float::Roundpd | Float::Roundss | Float::Roundsd => {
                    let (kind, count) = form(uop.sub - Float::Roundps as u8);
                    let control = uop.imm as u8;
                    lanes(kind, count, a, b, |_, y| unit.rounded(control, kind, y))
                }
                _ => unit.horizontal(op, a, b, uop.imm as u32),
            }
        };
        self.float_exceptions(&unit)?;
        self.set_xmm(uop.dst, r);
        Ok(())
    }

    fn compare_to_flags(&mut self, op: Float, a: u128, b: u128) -> Result<(), Fault> {
        let kind = match op {
            Float::Comiss | Float::Ucomiss => Lanes::Single,
            _ => Lanes::Double,
        };
        let quiet = matches!(op, Float::Ucomiss | Float::Ucomisd);
        let quick = match kind {
            Lanes::Single => order_single(a as u32, b as u32),
            Lanes::Double => order_double(a as u64, b as u64),
        };
        let order = if quick.is_some() {
            quick
        } else {
            let mut unit = Unit::new(self.state.mxcsr);
            let mask = u64::MAX >> (64 - kind.bits());
            let x = unit.operand(kind, a as u64 & mask);
            let y = unit.operand(kind, b as u64 & mask);
            let order = unit.compare(x, y, !quiet);
            self.float_exceptions(&unit)?;
            order
        };
        self.state.flags.set_status(match order {
            None => ZF | PF | CF,
            Some(std::cmp::Ordering::Less) => CF,
            Some(std::cmp::Ordering::Equal) => ZF,
            Some(std::cmp::Ordering::Greater) => 0,
        });
        Ok(())
    }
}

impl Unit {
    /// Compares; a quiet NaN is invalid only if `strict`.
    fn compare(&mut self, x: Number, y: Number, strict: bool) -> Option<std::cmp::Ordering> {
        if x.nan() || y.nan() {
            if strict || x.signaling() || y.signaling() {
                self.env.flags |= IE;
            }
            return None;
        }
        self.note_denormals(x, y);
        soft::order(x, y)
    }

    fn predicate(&mut self, predicate: u8, kind: Lanes, a: u64, b: u64) -> u64 {
        use std::cmp::Ordering::{Equal, Less};
        let (x, y) = (self.operand(kind, a), self.operand(kind, b));
        let order = self.compare(x, y, matches!(predicate & 3, 1 | 2));
        let holds = match predicate & 3 {
            0 => order == Some(Equal),
            1 => order == Some(Less),
            2 => matches!(order, Some(Less | Equal)),
            _ => order.is_none(),
        };
        if holds != (predicate & 4 != 0) { u64::MAX >> (64 - kind.bits()) } else { 0 }
    }

    fn rounded(&mut self, control: u8, kind: Lanes, b: u64) -> u64 {
        let y = self.operand(kind, b);
        if y.nan() {
            if y.signaling() {
                self.env.flags |= IE;
            }
            return kind.pack(y.quiet());
        }
        let mut env = self.env;
        env.flags = 0;
        if control & 4 == 0 {
            env.rounding = control & 3;
        }
        let r = env.integral(y);
        if control & 8 == 0 {
            self.env.flags |= env.flags;
        }
        kind.pack(r)
    }

    /// Goes on to the next step of an instruction, unless this one must be reported.
    fn next_step(&mut self) -> bool {
        if self.env.flags & self.env.unmasked != 0 {
            return false;
        }
        self.earlier |= std::mem::take(&mut self.env.flags);
        true
    }

    /// Instructions that combine neighbouring lanes.
    fn horizontal(&mut self, op: Float, a: u128, b: u128, imm: u32) -> u128 {
        let single = |v: u128, at: u32| (v >> (32 * at)) as u64 & 0xFFFF_FFFF;
        let double = |v: u128, at: u32| (v >> (64 * at)) as u64;
        let (kind, count) = match op {
            Float::Haddps | Float::Hsubps | Float::Addsubps | Float::Dpps => (Lanes::Single, 4),
            _ => (Lanes::Double, 2),
        };
        let take = |v: u128, at: u32| if count == 4 { single(v, at) } else { double(v, at) };
        let mut r = [0u64; 4];
        match op {
            Float::Haddps | Float::Haddpd | Float::Hsubps | Float::Hsubpd => {
                let add = matches!(op, Float::Haddps | Float::Haddpd);
                let op = if add { Arithmetic::Add } else { Arithmetic::Sub };
                for at in 0..count {
                    let from = if at < count / 2 { a } else { b };
                    let first = 2 * (at % (count / 2));
                    r[at as usize] = self.lane(op, kind, take(from, first), take(from, first + 1));
                }
            }
            Float::Addsubps | Float::Addsubpd => {
                for at in 0..count {
                    let op = if at & 1 == 0 { Arithmetic::Sub } else { Arithmetic::Add };
                    r[at as usize] = self.lane(op, kind, take(a, at), take(b, at));
                }
            }
            _ => {
                for at in (0..count).filter(|at| imm >> (4 + at) & 1 != 0) {
                    r[at as usize] = self.lane(Arithmetic::Mul, kind, take(a, at), take(b, at));
                }
                // Each lane adds in its own order, which decides between two NaNs.
                let mut step = 1;
                while step < count && self.next_step() {
                    let terms = r;
                    for at in 0..count {
                        let (x, y) = (terms[at as usize], terms[(at ^ step) as usize]);
                        let (x, y) = if step == 1 && count == 4 { (y, x) } else { (x, y) };
                        r[at as usize] = self.lane(Arithmetic::Add, kind, x, y);
                    }
                    step *= 2;
                }
                for at in (0..4).filter(|at| imm >> at & 1 == 0) {
                    r[at] = 0;
                }
            }
        }
        let bits = kind.bits();
        (0..count).fold(0, |v, at| v | u128::from(r[at as usize]) << (at * bits))
    }
}

/// RCP: 12 bits of 1/x. The hosts' own tables differ between makers; the error bound of the
/// manual (1.5 × 2^-12) is kept.
fn reciprocal(bits: u64) -> u64 {
    let x = Number::of_single(bits as u32);
    match x.class {
        Class::Nan => x.quiet().single().into(),
        _ if x.denormal => Number::infinity(x.sign).single().into(),
        _ => approximate(1.0 / f64::from(f32::from_bits(bits as u32))),
    }
}

/// RSQRT: 12 bits of 1/√x.
fn reciprocal_root(bits: u64) -> u64 {
    let x = Number::of_single(bits as u32);
    match x.class {
        Class::Nan => x.quiet().single().into(),
        Class::Zero => Number::infinity(x.sign).single().into(),
        _ if x.denormal => Number::infinity(x.sign).single().into(),
        _ if x.sign => soft::INDEFINITE.single().into(),
        _ => approximate(1.0 / f64::from(f32::from_bits(bits as u32)).sqrt()),
    }
}

fn approximate(value: f64) -> u64 {
    let bits = (value as f32).to_bits();
    if bits >> 23 & 0xFF == 0 {
        return (bits & 0x8000_0000).into();
    }
    u64::from(if bits >> 23 & 0xFF == 0xFF { bits } else { bits.wrapping_add(0x400) & !0x7FF })
}
