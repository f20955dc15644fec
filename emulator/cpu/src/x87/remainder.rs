//! FPREM and FPREM1: exact, in steps of at most 63 bits of the quotient.

use super::{C0, C1, C2, C3, Extended, X87};
use crate::soft::{Class, DE, IE, INDEFINITE, Number};

impl X87 {
    /// The remainder of the top of the stack by the next; `nearest` rounds the quotient to the
    /// nearest integer (FPREM1) instead of towards zero.
    pub(super) fn remainder(&mut self, nearest: bool) {
        let mut env = self.env();
        let (a, b) = (self.get(0).unpack(), self.get(1).unpack());
        // An answer that is no remainder leaves C0 and C3 alone.
        let kept = self.status & (C0 | C3);
        let mut codes = 0;
        let r = match X87::operands(&mut env, a, b) {
            Err(nan) => {
                codes = kept;
                nan
            }
            Ok((a, b)) => match (a.class, b.class) {
                (Class::Infinity, _) | (_, Class::Zero) => {
                    env.flags |= IE;
                    INDEFINITE
                }
                (Class::Zero, _) | (_, Class::Infinity) => {
                    if a.denormal || b.denormal {
                        env.flags |= DE;
                    }
                    a
                }
                _ => {
                    if a.denormal || b.denormal {
                        env.flags |= DE;
                    }
                    let (r, bits) = reduce(a, b, nearest);
                    codes = bits;
                    // Exact, but it may be denormal.
                    env.convert(crate::soft::EXTENDED, r)
                }
            },
        };
        if env.flags & IE != 0 {
            codes = kept;
        }
        let goes_on = self.note(&env, false);
        if !goes_on {
            codes = kept;
        }
        self.status = self.status & !(C0 | C2 | C3) | codes;
        if goes_on {
            self.set(0, Extended::pack(r));
        }
    }
}

/// The remainder, and the condition codes: C2 if it is not final, else the three lowest bits
/// of the quotient.
fn reduce(a: Number, b: Number, nearest: bool) -> (Number, u16) {
    let distance = a.exponent - b.exponent;
    if distance < -1 || (distance < 0 && !nearest) {
        return (a, 0);
    }
    if distance >= 64 {
        // Not in one step: take off between 32 and 63 bits (SDM vol. 2, FPREM).
        let step = 32 + (distance & 31);
        let rest = long_division(a.significand.into(), b.significand.into(), step as u32).0;
        return (scaled(a, rest, a.exponent - step), C2);
    }
    let divisor = u128::from(b.significand);
    let (mut rest, mut quotient) = if distance < 0 {
        // Half of the divisor may still be exceeded; work at a's scale.
        (u128::from(a.significand), 0u64)
    } else {
        let (rest, quotient) = long_division(a.significand.into(), divisor, distance as u32);
        (rest, quotient)
    };
    let mut sign = a.sign;
    let divisor = if distance < 0 { divisor << 1 } else { divisor };
    if nearest && (rest * 2 > divisor || (rest * 2 == divisor && quotient & 1 != 0)) {
        rest = divisor - rest;
        quotient += 1;
        sign = !sign;
    }
    let exponent = if distance < 0 { a.exponent } else { b.exponent };
    let mut codes = 0;
    for (bit, code) in [(4, C0), (2, C3), (1, C1)] {
        if quotient & bit != 0 {
            codes |= code;
        }
    }
    (scaled(Number { sign, ..a }, rest, exponent), codes)
}

/// `dividend × 2^count` by `divisor`: remainder and quotient (its lowest 64 bits).
fn long_division(dividend: u128, divisor: u128, count: u32) -> (u128, u64) {
    let (mut rest, mut quotient) = (dividend, 0u64);
    if rest >= divisor {
        rest -= divisor;
        quotient = 1;
    }
    for _ in 0..count {
        rest <<= 1;
        quotient <<= 1;
        if rest >= divisor {
            rest -= divisor;
            quotient |= 1;
        }
    }
    (rest, quotient)
}

/// `rest / 2^63 × 2^exponent` with the sign of `like`.
fn scaled(like: Number, rest: u128, exponent: i32) -> Number {
    if rest == 0 {
        return Number::zero(like.sign);
    }
    let zeros = (rest as u64).leading_zeros();
    Number {
        class: Class::Finite,
        sign: like.sign,
        exponent: exponent - zeros as i32,
        significand: (rest as u64) << zeros,
        denormal: false,
    }
}
