//! Addition to division, comparisons, and what works on the top of the stack alone.

use std::cmp::Ordering;

use super::{C0, C1, C2, C3, Extended, Fop, Operand, X87};
use crate::core::{Core, Fault};
use crate::flags::{CF, PF, ZF, extend};
use crate::soft::{self, Class, DE, Env, IE, INDEFINITE, Number};
use crate::uop::Uop;

/// The NaN of two operands of which one is a NaN: of two, the one with the larger
/// significand (SDM vol. 1, table 4-7).
fn propagate(env: &mut Env, a: Number, b: Number) -> Number {
    if a.signaling() || b.signaling() {
        env.flags |= IE;
    }
    let chosen = match (a.nan(), b.nan()) {
        (true, false) => a,
        (false, true) => b,
        _ if a.signaling() != b.signaling() => {
            if a.signaling() {
                b
            } else {
                a
            }
        }
        _ => match a.significand.cmp(&b.significand) {
            Ordering::Greater => a,
            Ordering::Less => b,
            Ordering::Equal if a.sign => b,
            Ordering::Equal => a,
        },
    };
    chosen.quiet()
}

/// What an instruction does with two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Add,
    Sub,
    Mul,
    Div,
}

/// Operation and whether its operands change places.
fn kind(fop: Fop) -> (Kind, bool) {
    match fop {
        Fop::Fadd | Fop::Faddp | Fop::Fiadd => (Kind::Add, false),
        Fop::Fmul | Fop::Fmulp | Fop::Fimul => (Kind::Mul, false),
        Fop::Fsub | Fop::Fsubp | Fop::Fisub => (Kind::Sub, false),
        Fop::Fsubr | Fop::Fsubrp | Fop::Fisubr => (Kind::Sub, true),
        Fop::Fdiv | Fop::Fdivp | Fop::Fidiv => (Kind::Div, false),
        _ => (Kind::Div, true),
    }
}

impl X87 {
    /// The operand of an operation; invalid encodings are noted.
    pub(super) fn operands(
        env: &mut Env,
        a: Operand,
        b: Operand,
    ) -> Result<(Number, Number), Number> {
        let (Operand::Number(a), Operand::Number(b)) = (a, b) else {
            env.flags |= IE;
            return Err(INDEFINITE);
        };
        if a.nan() || b.nan() {
            return Err(propagate(env, a, b));
        }
        Ok((a, b))
    }

    fn combine(&self, env: &mut Env, kind: Kind, a: Operand, b: Operand) -> Number {
        let (a, b) = match X87::operands(env, a, b) {
            Ok(both) => both,
            Err(nan) => return nan,
        };
        let format = self.format();
        let denormal = if a.denormal || b.denormal { DE } else { 0 };
        let r = match kind {
            Kind::Add => env.add(format, a, b),
            Kind::Sub => env.add(format, a, b.negated()),
            Kind::Mul => env.multiply(format, a, b),
            Kind::Div => env.divide(format, a, b),
        };
        if env.flags & (IE | soft::ZE) == 0 {
            env.flags |= denormal;
        }
        r
    }
}

impl Core<'_> {
    /// The memory operand of arithmetic and comparisons. Converting it is exact, but signaling
    /// NaNs and denormals are seen.
    fn fpu_memory(&mut self, fop: Fop, uop: &Uop, address: u64) -> Result<Number, Fault> {
        let bits = self.load_sized(address, uop.size)?;
        let integer = matches!(
            fop,
            Fop::Fiadd
                | Fop::Fisub
                | Fop::Fisubr
                | Fop::Fimul
                | Fop::Fidiv
                | Fop::Fidivr
                | Fop::Ficom
                | Fop::Ficomp
        );
        Ok(if integer {
            let value = extend(uop.size, bits);
            Number::of_integer(value < 0, value.unsigned_abs())
        } else if uop.size == 2 {
            Number::of_single(bits as u32)
        } else {
            Number::of_double(bits)
        })
    }

    pub(crate) fn fpu_arithmetic(
        &mut self,
        fop: Fop,
        uop: &Uop,
        address: Option<u64>,
    ) -> Result<(), Fault> {
        let memory = match address {
            Some(address) => Some(self.fpu_memory(fop, uop, address)?),
            None => None,
        };
        let x87 = &mut self.state.x87;
        let (kind, reversed) = kind(fop);
        let pops = matches!(
            fop,
            Fop::Faddp | Fop::Fsubp | Fop::Fsubrp | Fop::Fmulp | Fop::Fdivp | Fop::Fdivrp
        );
        let place = if memory.is_some() { 0 } else { uop.dst };
        let missing = x87.empty(place) || (memory.is_none() && x87.empty(uop.src));
        if missing {
            if x87.stack_fault(false) {
                x87.set(place, Extended::INDEFINITE);
                if pops {
                    x87.pop();
                }
            }
            return Ok(());
        }
        let a = x87.get(place).unpack();
        let b = memory.map_or_else(|| x87.get(uop.src).unpack(), Operand::Number);
        let (a, b) = if reversed { (b, a) } else { (a, b) };
        let mut env = x87.env();
        let r = x87.combine(&mut env, kind, a, b);
        if x87.note(&env, false) {
            x87.set(place, Extended::pack(r));
            if pops {
                x87.pop();
            }
        }
        Ok(())
    }

    pub(crate) fn fpu_compare(
        &mut self,
        fop: Fop,
        uop: &Uop,
        address: Option<u64>,
    ) -> Result<(), Fault> {
        if fop == Fop::Fxam {
            self.state.x87.examine();
            return Ok(());
        }
        let memory = match address {
            Some(address) => Some(self.fpu_memory(fop, uop, address)?),
            None if fop == Fop::Ftst => Some(Number::zero(false)),
            None => None,
        };
        let x87 = &mut self.state.x87;
        let place = if matches!(fop, Fop::Fcompp | Fop::Fucompp) { 1 } else { uop.src };
        let to_flags = matches!(fop, Fop::Fcomi | Fop::Fcomip | Fop::Fucomi | Fop::Fucomip);
        let missing = x87.empty(0) || (memory.is_none() && x87.empty(place));
        let (order, goes_on) = if missing {
            (None, x87.stack_fault(false))
        } else {
            let b = memory.map_or_else(|| x87.get(place).unpack(), Operand::Number);
            let before = x87.status & C1;
            let compared = x87.compare(fop, b);
            if to_flags {
                // These leave C1 alone.
                x87.status |= before;
            }
            compared
        };
        let bits = match order {
            None => C3 | C2 | C0,
            Some(Ordering::Less) => C0,
            Some(Ordering::Equal) => C3,
            Some(Ordering::Greater) => 0,
        };
        // The answer is given even if an exception keeps the stack from being popped.
        if to_flags {
            let mut status = 0;
            for (code, flag) in [(C3, ZF), (C2, PF), (C0, CF)] {
                if bits & code != 0 {
                    status |= flag;
                }
            }
            self.state.flags.set_status(status);
        } else {
            x87.status = x87.status & !(C3 | C2 | C0) | bits;
        }
        if goes_on {
            let x87 = &mut self.state.x87;
            match fop {
                Fop::Fcomp | Fop::Fucomp | Fop::Ficomp | Fop::Fcomip | Fop::Fucomip => x87.pop(),
                Fop::Fcompp | Fop::Fucompp => {
                    x87.pop();
                    x87.pop();
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn fpu_unary(&mut self, fop: Fop) {
        let x87 = &mut self.state.x87;
        let two = matches!(fop, Fop::Fscale | Fop::Fprem | Fop::Fprem1);
        if x87.empty(0) || (two && x87.empty(1)) {
            if matches!(fop, Fop::Fprem | Fop::Fprem1) {
                x87.status &= !C2;
            }
            if x87.stack_fault(false) {
                x87.set(0, Extended::INDEFINITE);
                if fop == Fop::Fxtract {
                    x87.push_over(Extended::INDEFINITE);
                }
            }
            return;
        }
        match fop {
            Fop::Fabs | Fop::Fchs => {
                let mut value = x87.get(0);
                value.exponent = if fop == Fop::Fabs {
                    value.exponent & 0x7FFF
                } else {
                    value.exponent ^ 0x8000
                };
                x87.set(0, value);
                x87.status &= !C1;
            }
            Fop::Fsqrt | Fop::Frndint => x87.single(fop),
            Fop::Fxtract => x87.extract(),
            Fop::Fscale => x87.scale(),
            _ => x87.remainder(fop == Fop::Fprem1),
        }
    }
}

impl X87 {
    /// Compares the top of the stack; the answer, and whether it may be given.
    fn compare(&mut self, fop: Fop, b: Operand) -> (Option<Ordering>, bool) {
        let mut env = self.env();
        let quiet =
            matches!(fop, Fop::Fucom | Fop::Fucomp | Fop::Fucompp | Fop::Fucomi | Fop::Fucomip);
        let order = match (self.get(0).unpack(), b) {
            (Operand::Number(a), Operand::Number(b)) => {
                if a.nan() || b.nan() {
                    if !quiet || a.signaling() || b.signaling() {
                        env.flags |= IE;
                    }
                } else if a.denormal || b.denormal {
                    env.flags |= DE;
                }
                soft::order(a, b)
            }
            _ => {
                env.flags |= IE;
                None
            }
        };
        let goes_on = self.note(&env, false);
        (order, goes_on)
    }

    /// FXAM.
    fn examine(&mut self) {
        let value = self.get(0);
        let class = if self.empty(0) {
            C3 | C0
        } else {
            match value.unpack() {
                Operand::Unsupported => 0,
                Operand::Number(number) => match number.class {
                    Class::Zero => C3,
                    Class::Infinity => C2 | C0,
                    Class::Nan => C0,
                    Class::Finite if number.denormal => C3 | C2,
                    Class::Finite => C2,
                },
            }
        };
        let sign = if value.exponent >> 15 != 0 { C1 } else { 0 };
        self.status = self.status & !(C0 | C1 | C2 | C3) | class | sign;
    }

    /// One operand: its NaN or invalid encoding is answered here.
    pub(super) fn operand(&self, env: &mut Env) -> Result<Number, Number> {
        match self.get(0).unpack() {
            Operand::Unsupported => {
                env.flags |= IE;
                Err(INDEFINITE)
            }
            Operand::Number(a) if a.nan() => {
                if a.signaling() {
                    env.flags |= IE;
                }
                Err(a.quiet())
            }
            Operand::Number(a) => Ok(a),
        }
    }

    /// FSQRT, FRNDINT.
    fn single(&mut self, fop: Fop) {
        let mut env = self.env();
        let r = match self.operand(&mut env) {
            Err(nan) => nan,
            Ok(a) => {
                let denormal = if a.denormal { DE } else { 0 };
                let r =
                    if fop == Fop::Fsqrt { env.root(self.format(), a) } else { env.integral(a) };
                if env.flags & IE == 0 {
                    env.flags |= denormal;
                }
                r
            }
        };
        if self.note(&env, false) {
            self.set(0, Extended::pack(r));
        }
    }

    /// FXTRACT: the exponent as a number, then the significand.
    fn extract(&mut self) {
        let mut env = self.env();
        if !self.empty(7) {
            if self.stack_fault(true) {
                self.set(0, Extended::INDEFINITE);
                self.push_over(Extended::INDEFINITE);
            }
            return;
        }
        let (exponent, significand) = match self.operand(&mut env) {
            Err(nan) => (nan, nan),
            Ok(a) => match a.class {
                Class::Zero => {
                    env.flags |= soft::ZE;
                    (Number::infinity(true), a)
                }
                Class::Infinity => (Number::infinity(false), a),
                _ => {
                    if a.denormal {
                        env.flags |= DE;
                    }
                    let exponent = a.exponent;
                    (
                        Number::of_integer(exponent < 0, exponent.unsigned_abs().into()),
                        Number { exponent: 0, denormal: false, ..a },
                    )
                }
            },
        };
        if self.note(&env, false) {
            self.set(0, Extended::pack(exponent));
            self.push_over(Extended::pack(significand));
        }
    }

    /// Pushes where there is room, or where an overflow has been noted already.
    pub(super) fn push_over(&mut self, value: Extended) {
        self.rotate(7);
        self.set(0, value);
    }

    /// FSCALE: the top of the stack times two to the power of the integer part of the next.
    fn scale(&mut self) {
        let mut env = self.env();
        let (a, b) = (self.get(0).unpack(), self.get(1).unpack());
        let r = match X87::operands(&mut env, a, b) {
            Err(nan) => nan,
            Ok((a, b)) => {
                let denormal = if a.denormal || b.denormal { DE } else { 0 };
                let r = match (a.class, b.class) {
                    (Class::Infinity, Class::Infinity) if b.sign => {
                        env.flags |= IE;
                        INDEFINITE
                    }
                    (Class::Zero, Class::Infinity) if !b.sign => {
                        env.flags |= IE;
                        INDEFINITE
                    }
                    (_, Class::Infinity) if b.sign => Number::zero(a.sign),
                    (_, Class::Infinity) => Number::infinity(a.sign),
                    (Class::Zero | Class::Infinity, _) => a,
                    _ => {
                        let mut whole = Env { rounding: 3, ..env };
                        // Beyond this, every result over- or underflows.
                        let limit = 0x1_0000;
                        let by = whole.integer(b).map_or(limit, |by| by.min(limit as u64) as i32);
                        let exponent = a.exponent + if b.sign { -by } else { by };
                        // Known to differ: a denormal and a fraction with underflow unmasked,
                        // where the host leaves some operands alone and adjusts others.
                        env.convert(soft::EXTENDED, Number { exponent, ..a })
                    }
                };
                if env.flags & IE == 0 {
                    env.flags |= denormal;
                }
                r
            }
        };
        if self.note(&env, false) {
            self.set(0, Extended::pack(r));
        }
    }
}
