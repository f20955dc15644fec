//! Sine to logarithm, to within 4 units of the last place. Processors differ here from each
//! other, so this is proven against mathematics (`tests/system/numbers.rs`), not the host.

use super::constants::{LN_2, PI};
use super::{C2, Extended, Fop, Operand, X87};
use crate::core::Core;
use crate::soft::{Class, DE, EXTENDED, Env, IE, INDEFINITE, Number, PE, ZE, order};

/// Terms of series: enough for 64 bits with the arguments as they are reduced here.
const TERMS: u64 = 28;

/// Arithmetic of 64 bits, rounded to nearest, whose exceptions nobody wants.
struct Series(Env);

impl Series {
    fn new() -> Self {
        Series(Env { rounding: 0, flush: false, unmasked: 0, flags: 0, up: false, adjust: false })
    }
    fn add(&mut self, a: Number, b: Number) -> Number {
        self.0.add(EXTENDED, a, b)
    }
    fn mul(&mut self, a: Number, b: Number) -> Number {
        self.0.multiply(EXTENDED, a, b)
    }
    fn div(&mut self, a: Number, b: Number) -> Number {
        self.0.divide(EXTENDED, a, b)
    }
    fn root(&mut self, a: Number) -> Number {
        self.0.root(EXTENDED, a)
    }
    fn constant(&mut self, (significand, exponent): (u128, i32)) -> Number {
        self.0.round(EXTENDED, false, exponent, significand)
    }

    /// x − x³/3! + … or 1 − x²/2! + …
    fn circular(&mut self, x: Number, cosine: bool) -> Number {
        let square = self.mul(x, x).negated();
        let mut term = if cosine { one() } else { x };
        let mut sum = term;
        for n in 0..TERMS / 2 {
            let at = 2 * n + if cosine { 1 } else { 2 };
            let next = self.mul(term, square);
            term = self.div(next, Number::of_integer(false, at * (at + 1)));
            sum = self.add(sum, term);
        }
        sum
    }

    /// x ± x³/3 + x⁵/5 ± …
    fn inverse(&mut self, x: Number, alternating: bool) -> Number {
        let square = self.mul(x, x);
        let square = if alternating { square.negated() } else { square };
        let (mut power, mut sum) = (x, x);
        for n in 1..TERMS {
            power = self.mul(power, square);
            let term = self.div(power, Number::of_integer(false, 2 * n + 1));
            sum = self.add(sum, term);
        }
        sum
    }

    /// Sine and cosine; the quarter turns are taken off with 192 bits of π.
    fn turn(&mut self, x: Number) -> (Number, Number) {
        let half = self.constant((PI.0, PI.1 - 1));
        let ratio = self.div(x, half);
        let quarters = self.0.integral(ratio);
        let count = self.0.integer(quarters).unwrap_or(0);
        let count = if quarters.sign { count.wrapping_neg() } else { count };
        // What the constant's own rounding has left out.
        let low = Number {
            class: Class::Finite,
            sign: false,
            exponent: PI.1 - 1 - 64 - (PI.0 as u64).leading_zeros() as i32,
            significand: (PI.0 as u64) << (PI.0 as u64).leading_zeros(),
            denormal: false,
        };
        let high = Number { significand: (PI.0 >> 64) as u64, ..half };
        let mut rest = x;
        for part in [high, low] {
            let product = u128::from(part.significand) * u128::from(quarters.significand);
            for (bits, shift) in [((product >> 64) as u64, 64), (product as u64, 0)] {
                if quarters.class == Class::Zero || bits == 0 {
                    continue;
                }
                let zeros = bits.leading_zeros() as i32;
                let piece = Number {
                    class: Class::Finite,
                    sign: !quarters.sign,
                    exponent: part.exponent + quarters.exponent + 1 - 64 + shift - zeros,
                    significand: bits << zeros,
                    denormal: false,
                };
                rest = self.add(rest, piece);
            }
        }
        let (sine, cosine) = (self.circular(rest, false), self.circular(rest, true));
        match count & 3 {
            0 => (sine, cosine),
            1 => (cosine, sine.negated()),
            2 => (sine.negated(), cosine.negated()),
            _ => (cosine.negated(), sine),
        }
    }

    /// The angle of (x, y), both finite and not zero.
    fn angle(&mut self, y: Number, x: Number) -> Number {
        let (up, right) = (Number { sign: false, ..y }, Number { sign: false, ..x });
        let steep = order(up, right) == Some(std::cmp::Ordering::Greater);
        let mut ratio = if steep { self.div(right, up) } else { self.div(up, right) };
        // Two halvings bring the ratio below 0.2.
        for _ in 0..2 {
            let square = self.mul(ratio, ratio);
            let sum = self.add(one(), square);
            let root = self.root(sum);
            let below = self.add(one(), root);
            ratio = self.div(ratio, below);
        }
        let quarter = self.inverse(ratio, true);
        let mut angle = self.mul(quarter, Number::of_integer(false, 4));
        if steep {
            let half = self.constant((PI.0, PI.1 - 1));
            angle = self.add(half, angle.negated());
        }
        if x.sign {
            let pi = self.constant(PI);
            angle = self.add(pi, angle.negated());
        }
        Number { sign: y.sign, ..angle }
    }

    /// The binary logarithm of a positive finite number.
    fn logarithm(&mut self, x: Number) -> Number {
        let small = x.significand < 0xB504_F333_F9DE_6484;
        let exponent = if small { x.exponent } else { x.exponent + 1 };
        let mantissa = Number { exponent: x.exponent - exponent, denormal: false, ..x };
        let below = self.add(mantissa, one());
        let above = self.add(mantissa, one().negated());
        let log = self.natural(above, below);
        let whole = Number::of_integer(exponent < 0, exponent.unsigned_abs().into());
        self.add(whole, log)
    }

    /// log2((1 + s) / (1 − s)) for s = above / below.
    fn natural(&mut self, above: Number, below: Number) -> Number {
        let s = self.div(above, below);
        let half = self.inverse(s, false);
        let ln2 = self.constant((LN_2.0, LN_2.1 - 1));
        self.div(half, ln2)
    }

    /// 2^x − 1 for |x| ≤ 1.
    fn exponential(&mut self, x: Number) -> Number {
        let ln2 = self.constant(LN_2);
        let y = self.mul(x, ln2);
        let (mut term, mut sum) = (y, y);
        for n in 2..TERMS {
            let next = self.mul(term, y);
            term = self.div(next, Number::of_integer(false, n));
            sum = self.add(sum, term);
        }
        sum
    }
}

fn one() -> Number {
    Number::of_integer(false, 1)
}

impl Core<'_> {
    /// F2XM1 to FSINCOS.
    pub(crate) fn fpu_transcendental(&mut self, fop: Fop) {
        let x87 = &mut self.state.x87;
        let two = matches!(fop, Fop::Fyl2x | Fop::Fyl2xp1 | Fop::Fpatan);
        if x87.empty(0) || (two && x87.empty(1)) {
            if x87.stack_fault(false) {
                if two {
                    x87.set(1, Extended::INDEFINITE);
                    x87.pop();
                } else {
                    x87.set(0, Extended::INDEFINITE);
                }
            }
            return;
        }
        match fop {
            Fop::Fyl2x | Fop::Fyl2xp1 | Fop::Fpatan => x87.binary(fop),
            _ => x87.circular(fop),
        }
    }
}

impl X87 {
    fn circular(&mut self, fop: Fop) {
        let mut env = self.env();
        let mut second = None;
        let r = match self.operand(&mut env) {
            Err(nan) => {
                second = Some(nan);
                nan
            }
            Ok(a) if fop == Fop::F2xm1 => {
                if a.class == Class::Finite {
                    env.flags |= PE | if a.denormal { DE } else { 0 };
                    Series::new().exponential(a)
                } else if a.class == Class::Infinity && a.sign {
                    one().negated()
                } else {
                    a
                }
            }
            Ok(a) if a.class == Class::Infinity => {
                env.flags |= IE;
                second = Some(INDEFINITE);
                INDEFINITE
            }
            Ok(a) if a.class == Class::Finite && a.exponent >= 63 => {
                self.status |= C2;
                return;
            }
            Ok(a) => {
                let (sine, cosine) = if a.class == Class::Zero {
                    (a, one())
                } else {
                    env.flags |= PE | if a.denormal { DE } else { 0 };
                    Series::new().turn(a)
                };
                match fop {
                    Fop::Fcos => cosine,
                    Fop::Fptan => {
                        second = Some(one());
                        Series::new().div(sine, cosine)
                    }
                    _ => {
                        second = Some(cosine);
                        sine
                    }
                }
            }
        };
        let pushes = matches!(fop, Fop::Fptan | Fop::Fsincos);
        if pushes && !self.empty(7) {
            if self.stack_fault(true) {
                self.set(0, Extended::INDEFINITE);
                self.push_over(Extended::INDEFINITE);
            }
            return;
        }
        if self.note(&env, false) {
            self.status &= !C2;
            self.set(0, Extended::pack(r));
            if let (true, Some(second)) = (pushes, second) {
                self.push_over(Extended::pack(second));
            }
        }
    }

    fn binary(&mut self, fop: Fop) {
        let mut env = self.env();
        let (a, b) = (self.get(0).unpack(), self.get(1).unpack());
        let r = match (X87::operands(&mut env, a, b), a, b) {
            (Err(nan), ..) => nan,
            (Ok((x, y)), ..) => {
                env.flags |= if x.denormal || y.denormal { DE } else { 0 };
                match fop {
                    Fop::Fpatan => angle(&mut env, y, x),
                    _ => logarithm(&mut env, y, x, fop == Fop::Fyl2xp1),
                }
            }
        };
        debug_assert!(!matches!((a, b), (Operand::Unsupported, _) if !r.nan()));
        if self.note(&env, false) {
            self.set(1, Extended::pack(r));
            self.pop();
        }
    }
}

/// FPATAN with its special cases (SDM vol. 2, table 3-32).
fn angle(env: &mut Env, y: Number, x: Number) -> Number {
    let mut series = Series::new();
    let signed = |number: Number| Number { sign: y.sign, ..number };
    let infinite = |number: Number| number.class == Class::Infinity;
    if y.class == Class::Zero || (infinite(x) && !infinite(y)) {
        if !x.sign {
            return Number::zero(y.sign);
        }
        env.flags |= PE;
        return signed(series.constant(PI));
    }
    env.flags |= PE;
    if infinite(y) && infinite(x) {
        let quarter = series.constant((PI.0, PI.1 - 2));
        let three = series.mul(quarter, Number::of_integer(false, 3));
        return signed(if x.sign { three } else { quarter });
    }
    if infinite(y) || x.class == Class::Zero {
        return signed(series.constant((PI.0, PI.1 - 1)));
    }
    series.angle(y, x)
}

/// FYL2X and FYL2XP1 with their special cases.
fn logarithm(env: &mut Env, y: Number, x: Number, plus_one: bool) -> Number {
    let mut series = Series::new();
    let log = match x.class {
        Class::Zero if plus_one => x,
        Class::Zero => {
            if y.class == Class::Zero {
                env.flags |= IE;
                return INDEFINITE;
            }
            if y.class == Class::Finite {
                env.flags |= ZE;
            }
            return Number::infinity(!y.sign);
        }
        _ if x.sign && !plus_one => {
            env.flags |= IE;
            return INDEFINITE;
        }
        Class::Infinity => x,
        _ if plus_one => {
            let below = series.add(x, Number::of_integer(false, 2));
            series.natural(x, below)
        }
        _ => series.logarithm(x),
    };
    let finite = y.class == Class::Finite && log.class == Class::Finite;
    let r = env.multiply(EXTENDED, y, log);
    if finite {
        env.flags |= PE;
    }
    r
}
