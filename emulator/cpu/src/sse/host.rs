//! The host's own arithmetic, where it gives what the guest's would: all exceptions masked,
//! rounding to nearest, denormals as they are, operands that are zero or normal, and results
//! that are not near the limits of the format. What is left to find out is whether a result is
//! inexact, which nobody needs to know once PE is set.

use super::floats::Arithmetic;

/// Rounding to nearest, all exceptions masked, neither DAZ nor FTZ.
const SIMPLE: u32 = 0x1F80;
const FLAGS: u32 = 0x3F;
const PE: u32 = 0x20;

/// How the host may be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    /// The guest knows of an inexact result already.
    sticky: bool,
}

impl Host {
    /// `None`: not at all.
    #[inline(always)]
    pub(crate) fn new(mxcsr: u32) -> Option<Self> {
        (mxcsr & !FLAGS == SIMPLE).then_some(Host { sticky: mxcsr & PE != 0 })
    }
}

macro_rules! host {
    ($float:ident, $bits:ident, $fraction:literal, $most:literal, $arithmetic:ident, $plain:ident, $product:ident) => {
        /// Zero or normal?
        #[inline(always)]
        pub(crate) fn $plain(bits: $bits) -> bool {
            (bits >> $fraction & $most).wrapping_sub(1) < $most - 1 || bits << 1 == 0
        }

        /// Is the product of two numbers exact? `None` if it is not seen at once: the product
        /// of numbers of m and n significant bits has m + n − 1 or m + n.
        #[inline(always)]
        fn $product(a: $bits, b: $bits) -> Option<bool> {
            let zeros = |bits: $bits| (bits | 1 << $fraction).trailing_zeros();
            // The significant bits are twice those of the format, less these.
            match (zeros(a) + zeros(b)).cmp(&$fraction) {
                std::cmp::Ordering::Greater => Some(true),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Less => Some(false),
            }
        }

        impl Host {
            /// The result, and whether the guest must be told that it is inexact.
            #[inline(always)]
            pub(crate) fn $arithmetic(
                self,
                op: Arithmetic,
                a: $bits,
                b: $bits,
            ) -> Option<($bits, bool)> {
                if !$plain(b) || (op != Arithmetic::Sqrt && !$plain(a)) {
                    return None;
                }
                let (x, y) = ($float::from_bits(a), $float::from_bits(b));
                let r = match op {
                    Arithmetic::Add => x + y,
                    Arithmetic::Sub => x - y,
                    Arithmetic::Mul => x * y,
                    Arithmetic::Div if y != 0.0 => x / y,
                    Arithmetic::Sqrt if y >= 0.0 => y.sqrt(),
                    Arithmetic::Min => return Some((if x < y { a } else { b }, false)),
                    Arithmetic::Max => return Some((if x > y { a } else { b }, false)),
                    Arithmetic::Div | Arithmetic::Sqrt => return None,
                };
                let bits = r.to_bits();
                let exponent = bits >> $fraction & $most;
                if matches!(op, Arithmetic::Add | Arithmetic::Sub) {
                    if exponent == $most {
                        return None;
                    }
                    if self.sticky {
                        return Some((bits, false));
                    }
                    // What was lost, without loss (Knuth, TAOCP vol. 2, 4.2.2, theorem B).
                    let y = if op == Arithmetic::Sub { -y } else { y };
                    let part = r - x;
                    let lost = (x - (r - part)) + (y - part);
                    return Some((bits, lost != 0.0));
                }
                if r == 0.0 && (y == 0.0 || (op != Arithmetic::Sqrt && x == 0.0)) {
                    return Some((bits, false));
                }
                // Not zero, not near the denormals, not infinite.
                if exponent.wrapping_sub(2) >= $most - 2 {
                    return None;
                }
                if self.sticky {
                    return Some((bits, false));
                }
                let exact = match op {
                    Arithmetic::Mul => $product(a, b)?,
                    Arithmetic::Div => $product(bits, b)? && r * y == x,
                    _ => $product(bits, bits)? && r * r == y,
                };
                Some((bits, !exact))
            }
        }
    };
}

host!(f32, u32, 23, 0xFF, single, plain_single, product_single);
host!(f64, u64, 52, 0x7FF, double, plain_double, product_double);

impl Host {
    /// A double from an integer.
    #[inline(always)]
    pub(crate) fn double_of(self, value: i64) -> (u64, bool) {
        let magnitude = value.unsigned_abs().max(1);
        let digits = 64 - magnitude.leading_zeros() - magnitude.trailing_zeros();
        ((value as f64).to_bits(), !self.sticky && digits > 53)
    }

    /// A single from an integer.
    #[inline(always)]
    pub(crate) fn single_of(self, value: i64) -> (u32, bool) {
        let magnitude = value.unsigned_abs().max(1);
        let digits = 64 - magnitude.leading_zeros() - magnitude.trailing_zeros();
        ((value as f32).to_bits(), !self.sticky && digits > 24)
    }

    /// An integer of 32 or 64 bits from a double.
    #[inline(always)]
    pub(crate) fn integer_of(self, bits: u64, wide: bool, truncate: bool) -> Option<(u64, bool)> {
        let x = f64::from_bits(bits);
        let whole = if truncate { x.trunc() } else { x.round_ties_even() };
        let most = if wide { 9_223_372_036_854_775_808.0 } else { 2_147_483_648.0 };
        if !(-most..most).contains(&whole) {
            return None;
        }
        let value = whole as i64 as u64;
        let value = if wide { value } else { value & 0xFFFF_FFFF };
        Some((value, !self.sticky && whole != x))
    }

    /// A double from a single, which is always exact.
    #[inline(always)]
    pub(crate) fn widen(self, bits: u32) -> Option<u64> {
        plain_single(bits).then(|| f64::from(f32::from_bits(bits)).to_bits())
    }

    /// A single from a double.
    #[inline(always)]
    pub(crate) fn narrow(self, bits: u64) -> Option<(u32, bool)> {
        if !plain_double(bits) {
            return None;
        }
        let x = f64::from_bits(bits);
        let r = x as f32;
        if r == 0.0 && x == 0.0 {
            return Some((r.to_bits(), false));
        }
        let exponent = r.to_bits() >> 23 & 0xFF;
        if exponent.wrapping_sub(2) >= 0xFD {
            return None;
        }
        Some((r.to_bits(), !self.sticky && f64::from(r) != x))
    }
}

/// How two doubles compare, if nothing can be said of them but that.
#[inline(always)]
pub(crate) fn order_double(a: u64, b: u64) -> Option<std::cmp::Ordering> {
    if !plain_double(a) || !plain_double(b) {
        return None;
    }
    f64::from_bits(a).partial_cmp(&f64::from_bits(b))
}

/// The same of singles.
#[inline(always)]
pub(crate) fn order_single(a: u32, b: u32) -> Option<std::cmp::Ordering> {
    if !plain_single(a) || !plain_single(b) {
        return None;
    }
    f32::from_bits(a).partial_cmp(&f32::from_bits(b))
}
