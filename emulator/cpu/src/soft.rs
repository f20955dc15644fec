//! Floating point by integers: exact for every format, rounding mode and flag, and the same
//! on every host.
//!
//! A number is unpacked to sign, exponent and a significand of 64 bits with its top bit set;
//! an operation makes an exact result of 128 bits (with a sticky bit where it does not end);
//! [`Env::round`] makes a number of a format of it and notes the exceptions. One path serves
//! singles, doubles and the 80-bit numbers of the x87 unit.

/// Invalid operation.
pub(crate) const IE: u32 = 1;
/// Denormal operand.
pub(crate) const DE: u32 = 2;
/// Division by zero.
pub(crate) const ZE: u32 = 4;
/// Overflow.
pub(crate) const OE: u32 = 8;
/// Underflow.
pub(crate) const UE: u32 = 16;
/// Inexact.
pub(crate) const PE: u32 = 32;

/// A format, by what rounding needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// Bits of the significand, the leading one included.
    pub(crate) precision: u32,
    /// Smallest exponent of a normal number.
    pub(crate) least: i32,
    /// Largest exponent.
    pub(crate) most: i32,
    /// What unmasked over- and underflow adjust the exponent by on the x87 unit.
    pub(crate) wrap: i32,
}

pub(crate) const SINGLE: Format = Format { precision: 24, least: -126, most: 127, wrap: 0xC0 };
pub(crate) const DOUBLE: Format = Format { precision: 53, least: -1022, most: 1023, wrap: 0x600 };
pub(crate) const EXTENDED: Format =
    Format { precision: 64, least: -16382, most: 16383, wrap: 0x6000 };

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Zero,
    /// Not zero, finite: `significand / 2^63 × 2^exponent`.
    Finite,
    Infinity,
    /// Its payload is the significand, aligned to the left; bit 62 says that it is quiet.
    Nan,
}

/// An unpacked number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) class: Class,
    pub(crate) sign: bool,
    pub(crate) exponent: i32,
    pub(crate) significand: u64,
    /// It was denormal in its format.
    pub(crate) denormal: bool,
}

/// The default NaN.
pub(crate) const INDEFINITE: Number =
    Number { class: Class::Nan, sign: true, exponent: 0, significand: 3 << 62, denormal: false };

impl Number {
    pub(crate) const fn zero(sign: bool) -> Self {
        Number { class: Class::Zero, sign, exponent: 0, significand: 0, denormal: false }
    }

    pub(crate) const fn infinity(sign: bool) -> Self {
        Number { class: Class::Infinity, sign, exponent: 0, significand: 1 << 63, denormal: false }
    }

    pub(crate) fn nan(&self) -> bool {
        self.class == Class::Nan
    }

    pub(crate) fn signaling(&self) -> bool {
        self.nan() && self.significand >> 62 & 1 == 0
    }

    /// The same NaN, quiet.
    pub(crate) fn quiet(self) -> Self {
        Number { significand: self.significand | 3 << 62, ..self }
    }

    pub(crate) fn negated(self) -> Self {
        Number { sign: !self.sign, ..self }
    }

    /// A finite number from an integer times a power of two.
    pub(crate) fn of_integer(sign: bool, magnitude: u64) -> Self {
        if magnitude == 0 {
            return Number::zero(sign);
        }
        let zeros = magnitude.leading_zeros();
        Number {
            class: Class::Finite,
            sign,
            exponent: 63 - zeros as i32,
            significand: magnitude << zeros,
            denormal: false,
        }
    }

    /// From the fields of a format with an implied leading bit.
    fn unpack(sign: bool, biased: u32, fraction: u64, bits: u32, bias: i32) -> Self {
        let aligned = fraction << (63 - bits);
        let most = 2 * bias as u32 + 1;
        let mut number = Number::zero(sign);
        if biased == most {
            if fraction == 0 {
                return Number::infinity(sign);
            }
            number.class = Class::Nan;
            number.significand = aligned | 1 << 63;
        } else if biased > 0 {
            number.class = Class::Finite;
            number.exponent = biased as i32 - bias;
            number.significand = aligned | 1 << 63;
        } else if fraction != 0 {
            let zeros = aligned.leading_zeros();
            number.class = Class::Finite;
            number.exponent = 1 - bias - zeros as i32;
            number.significand = aligned << zeros;
            number.denormal = true;
        }
        number
    }

    pub(crate) fn of_single(bits: u32) -> Self {
        Number::unpack(bits >> 31 != 0, bits >> 23 & 0xFF, (bits & 0x7F_FFFF).into(), 23, 127)
    }

    pub(crate) fn of_double(bits: u64) -> Self {
        let biased = (bits >> 52) as u32 & 0x7FF;
        Number::unpack(bits >> 63 != 0, biased, bits & ((1 << 52) - 1), 52, 1023)
    }

    /// The bits of a number that `round` has made for singles (or that is exact in them).
    pub(crate) fn single(&self) -> u32 {
        self.pack(23, 127) as u32
    }

    pub(crate) fn double(&self) -> u64 {
        self.pack(52, 1023)
    }

    fn pack(&self, bits: u32, bias: i32) -> u64 {
        let sign = u64::from(self.sign) << (bits + if bits == 23 { 8 } else { 11 });
        let most = (2 * bias as u64 + 1) << bits;
        let mask = (1u64 << bits) - 1;
        sign | match self.class {
            Class::Zero => 0,
            Class::Infinity => most,
            Class::Nan => most | self.significand >> (63 - bits) & mask,
            Class::Finite => {
                // Results of unmasked exceptions, which nobody sees, may lie outside.
                let biased = self.exponent + bias;
                if biased > 0 {
                    (biased as u64) << bits & most | self.significand >> (63 - bits) & mask
                } else {
                    self.significand.checked_shr(63 - bits + (1 - biased) as u32).unwrap_or(0)
                }
            }
        }
    }
}

/// Rounding and what it has met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Env {
    /// 0 nearest, 1 down, 2 up, 3 to zero, as MXCSR and the control word have it.
    pub(crate) rounding: u8,
    /// Tiny results become zero.
    pub(crate) flush: bool,
    /// Exceptions that are not masked.
    pub(crate) unmasked: u32,
    /// Exceptions met.
    pub(crate) flags: u32,
    /// The last rounding went away from zero (C1 of the x87 unit).
    pub(crate) up: bool,
    /// Unmasked over- and underflow deliver an adjusted result (x87).
    pub(crate) adjust: bool,
}

/// `value >> count`, with a sticky lowest bit.
pub(crate) fn sticky(value: u128, count: u32) -> u128 {
    if count == 0 {
        value
    } else if count > 127 {
        u128::from(value != 0)
    } else {
        value >> count | u128::from(value << (128 - count) != 0)
    }
}

impl Env {
    /// Does rounding go away from zero, given what is cut off?
    fn away(&self, sign: bool, odd: bool, half: bool, below: bool) -> bool {
        match self.rounding {
            0 => half && (below || odd),
            1 => sign && (half || below),
            2 => !sign && (half || below),
            _ => false,
        }
    }

    /// Cuts a significand of 128 bits to `precision`: the rounded one (which may carry into
    /// one bit more), and whether something was lost and rounding went away from zero.
    fn cut(&self, sign: bool, significand: u128, precision: u32) -> (u128, bool, bool) {
        let drop = 128 - precision;
        let kept = significand >> drop;
        let rest = significand << precision;
        let half = rest >> 127 != 0;
        let below = rest << 1 != 0;
        let up = self.away(sign, kept & 1 != 0, half, below);
        (kept + u128::from(up), half || below, up)
    }

    /// The number of a format nearest to `±significand / 2^127 × 2^exponent`; the top bit of
    /// the significand is set, its lowest is sticky.
    pub(crate) fn round(
        &mut self,
        format: Format,
        sign: bool,
        exponent: i32,
        significand: u128,
    ) -> Number {
        let (kept, inexact, up) = self.cut(sign, significand, format.precision);
        let carried = kept >> format.precision != 0;
        let rounded = exponent + i32::from(carried);
        if rounded < format.least {
            return self.tiny(format, sign, exponent, significand);
        }
        let mut number = Number {
            class: Class::Finite,
            sign,
            exponent: rounded,
            significand: aligned(kept, format.precision),
            denormal: false,
        };
        if rounded > format.most {
            return self.huge(format, number, inexact, up);
        }
        if inexact {
            self.flags |= PE;
        }
        self.up = up;
        number.denormal = false;
        number
    }

    /// A result that is too small even when it has been rounded.
    fn tiny(&mut self, format: Format, sign: bool, exponent: i32, significand: u128) -> Number {
        let adjustable = !self.adjust || exponent + format.wrap >= format.least;
        if self.unmasked & UE != 0 && adjustable {
            let (kept, inexact, up) = self.cut(sign, significand, format.precision);
            self.flags |= UE | if inexact { PE } else { 0 };
            self.up = up;
            let carried = kept >> format.precision != 0;
            let adjust = if self.adjust { format.wrap } else { 0 };
            return Number {
                class: Class::Finite,
                sign,
                exponent: exponent + i32::from(carried) + adjust,
                significand: aligned(kept, format.precision),
                denormal: false,
            };
        }
        if self.flush || self.unmasked & UE != 0 {
            // FSCALE can get beyond the adjustment, and then gives zero whatever the rounding.
            self.up = false;
            self.flags |= UE | PE;
            return Number::zero(sign);
        }
        let shift = (format.least - exponent) as u32;
        let shifted = sticky(significand, shift);
        let (kept, inexact, up) = self.cut(sign, shifted, format.precision);
        if inexact {
            self.flags |= UE | PE;
        }
        self.up = up;
        if kept == 0 {
            return Number::zero(sign);
        }
        let left = kept << (128 - format.precision - 1) << 1;
        // Rounding may have made it the smallest normal number.
        if kept >> format.precision != 0 || left >> 127 != 0 {
            return Number {
                class: Class::Finite,
                sign,
                exponent: format.least,
                significand: 1 << 63 | aligned(kept, format.precision),
                denormal: false,
            };
        }
        let zeros = left.leading_zeros();
        Number {
            class: Class::Finite,
            sign,
            exponent: format.least - zeros as i32,
            significand: (left << zeros >> 64) as u64,
            denormal: true,
        }
    }

    fn huge(&mut self, format: Format, number: Number, inexact: bool, up: bool) -> Number {
        self.flags |= OE;
        let sign = number.sign;
        // What is too large even for the adjustment is treated as if masked.
        let adjustable = !self.adjust || number.exponent - format.wrap <= format.most;
        if self.unmasked & OE != 0 && adjustable {
            self.flags |= if inexact { PE } else { 0 };
            self.up = up;
            let adjust = if self.adjust { format.wrap } else { 0 };
            return Number { exponent: number.exponent - adjust, ..number };
        }
        self.flags |= PE;
        if self.unmasked & OE != 0 {
            // FSCALE can get so far, and then gives infinity whatever the rounding.
            self.up = true;
            return Number::infinity(sign);
        }
        let finite = matches!((self.rounding, sign), (1, false) | (2, true) | (3, _));
        self.up = !finite;
        if finite {
            return Number {
                class: Class::Finite,
                sign,
                exponent: format.most,
                significand: u64::MAX << (64 - format.precision),
                denormal: false,
            };
        }
        Number::infinity(sign)
    }

    /// Rounds a number to a format; NaN and infinity stay.
    pub(crate) fn convert(&mut self, format: Format, a: Number) -> Number {
        match a.class {
            Class::Finite => {
                self.round(format, a.sign, a.exponent, u128::from(a.significand) << 64)
            }
            Class::Nan => {
                // What is cut off of a payload is lost.
                let mask = u64::MAX << (64 - format.precision);
                Number { significand: a.significand & mask, ..a }
            }
            _ => a,
        }
    }

    /// a + b of numbers that are not NaN.
    pub(crate) fn add(&mut self, format: Format, a: Number, b: Number) -> Number {
        match (a.class, b.class) {
            (Class::Infinity, Class::Infinity) if a.sign != b.sign => {
                self.flags |= IE;
                return INDEFINITE;
            }
            (Class::Infinity, _) => return a,
            (_, Class::Infinity) => return b,
            (Class::Zero, Class::Zero) => {
                return if a.sign == b.sign { a } else { Number::zero(self.rounding == 1) };
            }
            (Class::Zero, _) => return self.convert(format, b),
            (_, Class::Zero) => return self.convert(format, a),
            _ => {}
        }
        let swap = (b.exponent, b.significand) > (a.exponent, a.significand);
        let (a, b) = if swap { (b, a) } else { (a, b) };
        // One bit of room for the carry.
        let big = u128::from(a.significand) << 63;
        let distance = (a.exponent - b.exponent) as u32;
        let small = sticky(u128::from(b.significand) << 63, distance);
        let sum = if a.sign == b.sign { big + small } else { big - small };
        if sum == 0 {
            return Number::zero(self.rounding == 1);
        }
        let zeros = sum.leading_zeros();
        self.round(format, a.sign, a.exponent + 1 - zeros as i32, sum << zeros)
    }

    /// a × b of numbers that are not NaN.
    pub(crate) fn multiply(&mut self, format: Format, a: Number, b: Number) -> Number {
        let sign = a.sign != b.sign;
        match (a.class, b.class) {
            (Class::Zero, Class::Infinity) | (Class::Infinity, Class::Zero) => {
                self.flags |= IE;
                return INDEFINITE;
            }
            (Class::Infinity, _) | (_, Class::Infinity) => return Number::infinity(sign),
            (Class::Zero, _) | (_, Class::Zero) => return Number::zero(sign),
            _ => {}
        }
        let product = u128::from(a.significand) * u128::from(b.significand);
        let zeros = product.leading_zeros();
        let exponent = a.exponent + b.exponent + 1 - zeros as i32;
        self.round(format, sign, exponent, product << zeros)
    }

    /// a ÷ b of numbers that are not NaN.
    pub(crate) fn divide(&mut self, format: Format, a: Number, b: Number) -> Number {
        let sign = a.sign != b.sign;
        match (a.class, b.class) {
            (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => {
                self.flags |= IE;
                return INDEFINITE;
            }
            (Class::Infinity, _) => return Number::infinity(sign),
            (_, Class::Zero) => {
                self.flags |= ZE;
                return Number::infinity(sign);
            }
            (Class::Zero, _) | (_, Class::Infinity) => return Number::zero(sign),
            _ => {}
        }
        let divisor = u128::from(b.significand);
        let dividend = u128::from(a.significand) << 64;
        let (high, rest) = (dividend / divisor, dividend % divisor);
        let (low, rest) = ((rest << 62) / divisor, (rest << 62) % divisor);
        let quotient = high << 62 | low | u128::from(rest != 0);
        let zeros = quotient.leading_zeros();
        // With 126 fractional bits, a quotient of one has its bit at 126.
        let exponent = a.exponent - b.exponent + 1 - zeros as i32;
        self.round(format, sign, exponent, quotient << zeros)
    }

    /// The square root of a number that is not NaN.
    pub(crate) fn root(&mut self, format: Format, a: Number) -> Number {
        match a.class {
            Class::Zero => return a,
            _ if a.sign => {
                self.flags |= IE;
                return INDEFINITE;
            }
            Class::Infinity => return a,
            _ => {}
        }
        // An even exponent; two bits of the radicand make one of the root.
        let odd = a.exponent & 1 != 0;
        let mut radicand = u128::from(a.significand) << if odd { 64 } else { 63 };
        let (mut root, mut rest) = (0u128, 0u128);
        for _ in 0..70 {
            rest = rest << 2 | radicand >> 126;
            radicand <<= 2;
            let trial = root << 2 | 1;
            root <<= 1;
            if rest >= trial {
                rest -= trial;
                root |= 1;
            }
        }
        let root = root << 58 | u128::from(rest != 0);
        let zeros = root.leading_zeros();
        self.round(format, false, a.exponent >> 1, root << zeros)
    }

    /// The integer nearest to a finite number: magnitude, if it has less than 65 bits.
    pub(crate) fn integer(&mut self, a: Number) -> Option<u64> {
        if a.class == Class::Zero {
            return Some(0);
        }
        if a.class != Class::Finite || a.exponent > 63 {
            return None;
        }
        let wide = u128::from(a.significand) << 64;
        let shifted = sticky(wide, (63 - a.exponent).min(200) as u32);
        let (kept, inexact, up) = self.cut(a.sign, shifted, 64);
        if inexact {
            self.flags |= PE;
        }
        self.up = up;
        u64::try_from(kept).ok()
    }

    /// A finite number rounded to an integer, as a number.
    pub(crate) fn integral(&mut self, a: Number) -> Number {
        if a.class != Class::Finite || a.exponent >= 63 {
            return a;
        }
        let magnitude = self.integer(a).unwrap_or(0);
        Number { denormal: false, ..Number::of_integer(a.sign, magnitude) }
    }
}

/// A rounded significand with its top bit at bit 63 again.
fn aligned(kept: u128, precision: u32) -> u64 {
    if kept >> precision != 0 { 1 << 63 } else { (kept << (64 - precision)) as u64 }
}

/// How two numbers compare; `None` if one is a NaN.
pub(crate) fn order(a: Number, b: Number) -> Option<std::cmp::Ordering> {
    use std::cmp::Ordering;
    if a.nan() || b.nan() {
        return None;
    }
    let key = |n: Number| match n.class {
        Class::Zero => (0, 0, 0),
        Class::Infinity => (1, i32::MAX, 0),
        _ => (1, n.exponent, n.significand),
    };
    let zero = a.class == Class::Zero && b.class == Class::Zero;
    if zero {
        return Some(Ordering::Equal);
    }
    let signed = |n: Number| n.sign && n.class != Class::Zero;
    Some(match (signed(a), signed(b)) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => key(a).cmp(&key(b)),
        (true, true) => key(b).cmp(&key(a)),
    })
}
