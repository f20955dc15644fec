//! Loads, stores and exchanges.

use super::{C1, Extended, Fop, Operand, TEN_BYTES, X87};
use crate::core::{Core, Fault};
use crate::flags::{extend, mask, sign};
use crate::soft::{self, Class, DE, Env, IE, Number};
use crate::uop::Uop;

impl Core<'_> {
    fn load_extended(&mut self, address: u64) -> Result<Extended, Fault> {
        let significand = self.load::<u64>(address)?;
        let exponent = self.load::<u16>(address.wrapping_add(8))? as u16;
        Ok(Extended { significand, exponent })
    }

    /// Two stores: if the second faults, the first has happened.
    fn store_extended(&mut self, address: u64, value: Extended) -> Result<(), Fault> {
        self.store::<u64>(address, value.significand)?;
        self.store::<u16>(address.wrapping_add(8), value.exponent.into())
    }

    pub(crate) fn fpu_transfer(
        &mut self,
        fop: Fop,
        uop: &Uop,
        address: Option<u64>,
    ) -> Result<(), Fault> {
        match (fop, address) {
            (Fop::Fld, Some(address)) => self.fld(uop, address),
            (Fop::Fild, Some(address)) => {
                let value = extend(uop.size, self.load_sized(address, uop.size)?);
                let number = Number::of_integer(value < 0, value.unsigned_abs());
                self.state.x87.push(Extended::pack(number));
                Ok(())
            }
            (Fop::Fbld, Some(address)) => {
                let packed = self.load_extended(address)?;
                self.state.x87.push(of_decimal(packed));
                Ok(())
            }
            (Fop::Fst | Fop::Fstp, Some(address)) => self.fst(fop, uop, address),
            (Fop::Fist | Fop::Fistp | Fop::Fisttp, Some(address)) => self.fist(fop, uop, address),
            (Fop::Fbstp, Some(address)) => self.fbstp(address),
            _ => {
                self.fpu_move(fop, uop);
                Ok(())
            }
        }
    }

    fn fld(&mut self, uop: &Uop, address: u64) -> Result<(), Fault> {
        if uop.size == TEN_BYTES {
            let value = self.load_extended(address)?;
            self.state.x87.push(value);
            return Ok(());
        }
        let bits = self.load_sized(address, uop.size)?;
        let number =
            if uop.size == 2 { Number::of_single(bits as u32) } else { Number::of_double(bits) };
        let x87 = &mut self.state.x87;
        if !x87.empty(7) {
            x87.push(Extended::INDEFINITE);
            return Ok(());
        }
        let mut env = x87.env();
        let mut value = number;
        if number.signaling() {
            env.flags |= IE;
            value = number.quiet();
        } else if number.denormal {
            env.flags |= DE;
        }
        // A denormal is loaded even if that exception is not masked.
        if x87.note(&env, false) || env.flags & IE == 0 {
            x87.push(Extended::pack(value));
        }
        Ok(())
    }

    /// FST, FSTP to memory.
    fn fst(&mut self, fop: Fop, uop: &Uop, address: u64) -> Result<(), Fault> {
        // The unit changes only after the store; an exception that prevents the store prevents
        // its faults, too.
        let mut x87 = self.state.x87;
        let mut value = x87.get(0);
        let mut goes_on = true;
        if x87.empty(0) {
            goes_on = x87.stack_fault(false);
            value = Extended::INDEFINITE;
        }
        if goes_on && uop.size == TEN_BYTES {
            self.store_extended(address, value)?;
            if !x87.empty(0) {
                x87.status &= !C1;
            }
        } else if goes_on {
            let mut env = x87.env();
            env.adjust = false;
            let bits = narrowed(&mut env, value, uop.size);
            let filled = !x87.empty(0);
            if filled {
                goes_on = x87.note(&env, true);
            }
            if goes_on {
                self.store_sized(address, uop.size, bits)?;
            }
        }
        if goes_on && fop == Fop::Fstp {
            x87.pop();
        }
        self.state.x87 = x87;
        Ok(())
    }

    /// FIST, FISTP, FISTTP.
    fn fist(&mut self, fop: Fop, uop: &Uop, address: u64) -> Result<(), Fault> {
        let mut x87 = self.state.x87;
        let top = sign(uop.size);
        let (mut bits, mut goes_on) = (top, true);
        if x87.empty(0) {
            goes_on = x87.stack_fault(false);
        } else {
            let mut env = x87.env();
            if fop == Fop::Fisttp {
                env.rounding = 3;
            }
            let magnitude = match x87.get(0).unpack() {
                Operand::Number(a) => env.integer(a).map(|magnitude| (magnitude, a.sign)),
                Operand::Unsupported => None,
            };
            match magnitude.filter(|(m, negative)| *m < top || (*negative && *m == top)) {
                Some((magnitude, negative)) => {
                    let value = if negative { magnitude.wrapping_neg() } else { magnitude };
                    bits = value & mask(uop.size);
                }
                None => {
                    env.flags = IE;
                    env.up = false;
                }
            }
            goes_on &= x87.note(&env, true);
        }
        if goes_on {
            if fop != Fop::Fist {
                x87.pop();
            }
            self.store_sized(address, uop.size, bits)?;
        }
        self.state.x87 = x87;
        Ok(())
    }

    /// FBSTP: eighteen decimal digits and a sign.
    fn fbstp(&mut self, address: u64) -> Result<(), Fault> {
        const LIMIT: u64 = 1_000_000_000_000_000_000;
        let mut x87 = self.state.x87;
        let indefinite = Extended { significand: 0xC000_0000_0000_0000, exponent: 0xFFFF };
        let (mut packed, mut goes_on) = (indefinite, true);
        if x87.empty(0) {
            goes_on = x87.stack_fault(false);
        } else {
            let mut env = x87.env();
            let magnitude = match x87.get(0).unpack() {
                Operand::Number(a) => env.integer(a).map(|magnitude| (magnitude, a.sign)),
                Operand::Unsupported => None,
            };
            match magnitude.filter(|(magnitude, _)| *magnitude < LIMIT) {
                Some((magnitude, negative)) => packed = decimal(magnitude, negative),
                None => {
                    env.flags = IE;
                    env.up = false;
                }
            }
            goes_on &= x87.note(&env, true);
        }
        if goes_on {
            x87.pop();
            self.store_extended(address, packed)?;
        }
        self.state.x87 = x87;
        Ok(())
    }

    /// Moves between registers.
    fn fpu_move(&mut self, fop: Fop, uop: &Uop) {
        let flags = self.state.flags;
        let x87 = &mut self.state.x87;
        match fop {
            Fop::Fld => {
                let source = if x87.empty(uop.dst) { None } else { Some(x87.get(uop.dst)) };
                match source {
                    Some(value) => x87.push(value),
                    None => {
                        if x87.stack_fault(false) {
                            x87.push_over(Extended::INDEFINITE);
                        }
                    }
                }
            }
            Fop::Fstpnce => {
                // No stack fault: an empty register is not copied.
                let value = x87.get(0);
                x87.status &= !C1;
                if !x87.empty(0) {
                    x87.set(uop.dst, value);
                }
                x87.pop();
            }
            Fop::Fst | Fop::Fstp => {
                let value = if x87.empty(0) {
                    if !x87.stack_fault(false) {
                        return;
                    }
                    Extended::INDEFINITE
                } else {
                    x87.status &= !C1;
                    x87.get(0)
                };
                x87.set(uop.dst, value);
                if fop != Fop::Fst {
                    x87.pop();
                }
            }
            Fop::Fxch => {
                let place = uop.src;
                let missing = x87.empty(0) || x87.empty(place);
                if missing && !x87.stack_fault(false) {
                    return;
                }
                let take = |x87: &X87, place| {
                    if x87.empty(place) { Extended::INDEFINITE } else { x87.get(place) }
                };
                let (a, b) = (take(x87, 0), take(x87, place));
                x87.set(0, b);
                x87.set(place, a);
                if !missing {
                    x87.status &= !C1;
                }
            }
            _ => {
                let holds = match fop {
                    Fop::Fcmovb => flags.carry(),
                    Fop::Fcmovnb => !flags.carry(),
                    Fop::Fcmove => flags.zero(),
                    Fop::Fcmovne => !flags.zero(),
                    Fop::Fcmovbe => flags.carry() || flags.zero(),
                    Fop::Fcmovnbe => !(flags.carry() || flags.zero()),
                    Fop::Fcmovu => flags.parity(),
                    _ => !flags.parity(),
                };
                if x87.empty(0) || x87.empty(uop.src) {
                    if x87.stack_fault(false) {
                        x87.set(0, Extended::INDEFINITE);
                    }
                    return;
                }
                if holds {
                    let value = x87.get(uop.src);
                    x87.set(0, value);
                }
            }
        }
    }
}

/// A register's value as a single or double.
fn narrowed(env: &mut Env, value: Extended, size: u8) -> u64 {
    let format = if size == 2 { soft::SINGLE } else { soft::DOUBLE };
    let number = match value.unpack() {
        Operand::Unsupported => {
            env.flags |= IE;
            soft::INDEFINITE
        }
        Operand::Number(a) if a.nan() => {
            if a.signaling() {
                env.flags |= IE;
            }
            a.quiet()
        }
        Operand::Number(a) => a,
    };
    let r = env.convert(format, number);
    if size == 2 { r.single().into() } else { r.double() }
}

fn decimal(mut magnitude: u64, negative: bool) -> Extended {
    let mut bytes = [0u8; 10];
    for byte in bytes.iter_mut().take(9) {
        *byte = ((magnitude % 10) | ((magnitude / 10 % 10) << 4)) as u8;
        magnitude /= 100;
    }
    let (low, high) = bytes.split_at(8);
    Extended {
        significand: u64::from_le_bytes(low.try_into().unwrap_or_default()),
        exponent: u16::from(high[0]) | u16::from(negative) << 15,
    }
}

fn of_decimal(packed: Extended) -> Extended {
    let mut magnitude = 0u64;
    let digits = u128::from(packed.significand) | u128::from(packed.exponent & 0xFF) << 64;
    for at in (0..18).rev() {
        magnitude = magnitude.wrapping_mul(10).wrapping_add((digits >> (4 * at)) as u64 & 15);
    }
    let number = Number::of_integer(packed.exponent >> 15 != 0, magnitude);
    debug_assert!(number.class == Class::Zero || magnitude != 0);
    Extended::pack(number)
}
