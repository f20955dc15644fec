//! Conversions between formats, and between numbers and integers.

use super::Float;
use super::floats::{Lanes, Unit};
use super::moves::LOW;
use crate::core::{Core, Fault};
use crate::flags::{extend, mask};
use crate::soft::{self, Class, IE, Number};
use crate::uop::{MEM_SRC, MMX, Uop};

impl Unit {
    /// A number of one format in the other.
    fn change(&mut self, from: Lanes, to: Lanes, bits: u64) -> u64 {
        let quick = self.host.and_then(|host| match to {
            Lanes::Double => host.widen(bits as u32).map(|r| (r, false)),
            Lanes::Single => host.narrow(bits).map(|(r, inexact)| (r.into(), inexact)),
        });
        if let Some((r, inexact)) = quick {
            return self.note(r, inexact);
        }
        let a = self.operand(from, bits);
        if a.nan() {
            if a.signaling() {
                self.env.flags |= IE;
            }
            return to.pack(a.quiet());
        }
        if a.denormal {
            self.env.flags |= soft::DE;
        }
        let r = self.env.convert(to.format(), a);
        to.pack(r)
    }

    /// The integer of a size, or the indefinite one.
    fn integer(&mut self, from: Lanes, bits: u64, size: u8, truncate: bool) -> u64 {
        let quick = self.host.and_then(|host| {
            let double = match from {
                Lanes::Single => f64::from(f32::from_bits(bits as u32)).to_bits(),
                Lanes::Double => bits,
            };
            host.integer_of(double, size == 3, truncate)
        });
        if let Some((r, inexact)) = quick {
            return self.note(r, inexact);
        }
        let a = self.operand(from, bits);
        let (mut env, top) = (self.env, crate::flags::sign(size));
        env.flags = 0;
        if truncate {
            env.rounding = 3;
        }
        let magnitude = match a.class {
            Class::Zero => Some(0),
            Class::Finite => env.integer(a),
            _ => None,
        };
        let fits = magnitude.filter(|magnitude| *magnitude < top || (a.sign && *magnitude == top));
        match fits {
            Some(magnitude) => {
                self.env.flags |= env.flags;
                let value = if a.sign { magnitude.wrapping_neg() } else { magnitude };
                value & mask(size)
            }
            None => {
                self.env.flags |= IE;
                top
            }
        }
    }

    fn of_integer(&mut self, to: Lanes, value: i64) -> u64 {
        if let Some(host) = self.host {
            let (r, inexact) = match to {
                Lanes::Single => {
                    let (r, inexact) = host.single_of(value);
                    (r.into(), inexact)
                }
                Lanes::Double => host.double_of(value),
            };
            return self.note(r, inexact);
        }
        let number = Number::of_integer(value < 0, value.unsigned_abs());
        let r = self.env.convert(to.format(), number);
        to.pack(r)
    }
}

impl Core<'_> {
    /// All conversions of [`Float`].
    pub(crate) fn convert(&mut self, uop: &Uop, op: Float) -> Result<(), Fault> {
        let from_mmx = matches!(op, Float::Cvtpi2ps | Float::Cvtpi2pd);
        let to_mmx =
            matches!(op, Float::Cvtps2pi | Float::Cvttps2pi | Float::Cvtpd2pi | Float::Cvttpd2pi);
        self.check_sse()?;
        // CVTPI2PS and CVTPI2PD from memory leave the x87 unit alone.
        let mmx = to_mmx || uop.has(MMX);
        if mmx {
            self.enter_mmx()?;
        }
        let b = match op {
            Float::Cvtsi2ss | Float::Cvtsi2sd if !uop.has(MEM_SRC) => {
                self.reg(uop.src, uop.size).into()
            }
            _ if from_mmx && !uop.has(MEM_SRC) => self.mmx(uop.src).into(),
            _ => self.float_source(uop)?,
        };
        if mmx {
            self.state.x87.enter_mmx();
        }
        let a = self.xmm(uop.dst);
        let mut unit = Unit::new(self.state.mxcsr);
        let size = uop.imm as u8;
        let single = |at: u32| (b >> (32 * at)) as u64 & 0xFFFF_FFFF;
        let double = |at: u32| (b >> (64 * at)) as u64;
        let two =
            |bits: u32, first: u64, second: u64| u128::from(first) | u128::from(second) << bits;
        use Lanes::{Double, Single};
        let truncate = matches!(
            op,
            Float::Cvttss2si
                | Float::Cvttsd2si
                | Float::Cvttps2dq
                | Float::Cvttpd2dq
                | Float::Cvttps2pi
                | Float::Cvttpd2pi
        );
        let r = match op {
            Float::Cvtsi2ss => {
                let value = unit.of_integer(Single, extend(uop.size, b as u64));
                a & !0xFFFF_FFFF | u128::from(value)
            }
            Float::Cvtsi2sd => {
                let value = unit.of_integer(Double, extend(uop.size, b as u64));
                a & !LOW | u128::from(value)
            }
            Float::Cvtss2si | Float::Cvttss2si => {
                unit.integer(Single, single(0), size, truncate).into()
            }
            Float::Cvtsd2si | Float::Cvttsd2si => {
                unit.integer(Double, double(0), size, truncate).into()
            }
            Float::Cvtss2sd => a & !LOW | u128::from(unit.change(Single, Double, single(0))),
            Float::Cvtsd2ss => {
                a & !0xFFFF_FFFF | u128::from(unit.change(Double, Single, double(0)))
            }
            Float::Cvtps2pd => two(
                64,
                unit.change(Single, Double, single(0)),
                unit.change(Single, Double, single(1)),
            ),
            Float::Cvtpd2ps => two(
                32,
                unit.change(Double, Single, double(0)),
                unit.change(Double, Single, double(1)),
            ),
            Float::Cvtdq2ps | Float::Cvtpi2ps => {
                let count = if op == Float::Cvtpi2ps { 2 } else { 4 };
                let keep = if count == 2 { a & !LOW } else { 0 };
                (0..count).fold(keep, |v, at| {
                    let value = unit.of_integer(Single, extend(2, single(at)));
                    v | u128::from(value) << (32 * at)
                })
            }
            Float::Cvtdq2pd | Float::Cvtpi2pd => two(
                64,
                unit.of_integer(Double, extend(2, single(0))),
                unit.of_integer(Double, extend(2, single(1))),
            ),
            Float::Cvtps2dq | Float::Cvttps2dq | Float::Cvtps2pi | Float::Cvttps2pi => {
                let count = if to_mmx { 2 } else { 4 };
                (0..count).fold(0, |v, at| {
                    let value = unit.integer(Single, single(at), 2, truncate);
                    v | u128::from(value) << (32 * at)
                })
            }
            _ => two(
                32,
                unit.integer(Double, double(0), 2, truncate),
                unit.integer(Double, double(1), 2, truncate),
            ),
        };
        self.float_exceptions(&unit)?;
        match op {
            Float::Cvtss2si | Float::Cvttss2si | Float::Cvtsd2si | Float::Cvttsd2si => {
                self.set_reg(uop.dst, size, r as u64);
            }
            _ if to_mmx => self.set_mmx(uop.dst, r as u64),
            _ => self.set_xmm(uop.dst, r),
        }
        Ok(())
    }
}
