//! The x87 unit: eight registers of 80 bits, their stack, and exceptions that are reported
//! by the next instruction.

mod arithmetic;
mod constants;
mod control;
mod remainder;
mod transcendental;
mod transfer;

use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind};

use crate::core::{Core, Fault};
use crate::decode::operands::{log2, number};
use crate::exception::Exception;
use crate::family::family;
use crate::soft::{self, Class, Env, Format, Number};
use crate::state::State;
use crate::uop::{MEM_DST, Op, Uop};

/// A number of 80 bits as it lies in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// Integer bit and fraction.
    pub significand: u64,
    /// Sign and biased exponent.
    pub exponent: u16,
}

/// The state of the x87 unit; the MMX registers are the significands.
#[derive(Clone, Copy, Debug)]
pub struct X87 {
    /// Registers by their physical number, not by their place on the stack.
    pub registers: [Extended; 8],
    /// Control word.
    pub control: u16,
    /// Status word, TOP included.
    pub status: u16,
    /// One bit for each physical register: it is in use.
    pub tags: u8,
    /// Opcode of the last instruction that was not a control instruction.
    pub opcode: u16,
    /// Its address.
    pub instruction: u64,
    /// The address of its memory operand.
    pub data: u64,
}

impl Default for X87 {
    fn default() -> Self {
        X87 {
            registers: [Extended::default(); 8],
            control: 0x37F,
            status: 0,
            tags: 0,
            opcode: 0,
            instruction: 0,
            data: 0,
        }
    }
}

impl X87 {
    /// The physical number of the register on the top of the stack.
    #[inline]
    pub fn top(&self) -> usize {
        (self.status >> 11 & 7) as usize
    }

    /// An MMX instruction was executed: all registers are in use, the stack begins at 0.
    pub(crate) fn enter_mmx(&mut self) {
        self.tags = 0xFF;
        self.status &= !0x3800;
    }

    /// ES and B follow from the exceptions that are set and not masked.
    pub(crate) fn summarize(&mut self) {
        self.status &= !0x8080;
        if self.status & !self.control & 0x3F != 0 {
            self.status |= 0x8080;
        }
    }
}

impl State {
    /// x87, MMX, XMM and MXCSR in the 64-bit layout of FXSAVE (SDM vol. 1, 10.5.1).
    pub fn legacy_area(&self) -> [u8; 512] {
        let mut area = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| area[at..at + bytes.len()].copy_from_slice(bytes);
        let x87 = &self.x87;
        put(0, &x87.control.to_le_bytes());
        put(2, &x87.status.to_le_bytes());
        put(4, &[x87.tags]);
        put(6, &x87.opcode.to_le_bytes());
        put(8, &x87.instruction.to_le_bytes());
        put(16, &x87.data.to_le_bytes());
        put(24, &self.mxcsr.to_le_bytes());
        put(28, &crate::sse::MXCSR_MASK.to_le_bytes());
        for place in 0..8 {
            let register = x87.registers[(x87.top() + place) & 7];
            put(32 + 16 * place, &register.significand.to_le_bytes());
            put(40 + 16 * place, &register.exponent.to_le_bytes());
        }
        for (number, register) in self.xmm.iter().enumerate() {
            put(160 + 16 * number, &register.to_le_bytes());
        }
        area
    }

    /// The reverse of [`State::legacy_area`]. Reserved bits are dropped.
    pub fn set_legacy_area(&mut self, area: &[u8; 512]) {
        self.set_x87_area(area);
        self.set_xmm_area(area);
        self.mxcsr = word(area, 24) as u32 & crate::sse::MXCSR_MASK;
    }

    /// The x87 part of a legacy area.
    pub(crate) fn set_x87_area(&mut self, area: &[u8; 512]) {
        let x87 = &mut self.x87;
        x87.control = word(area, 0) as u16 & 0x1F7F | 0x40;
        x87.status = word(area, 2) as u16;
        x87.tags = area[4];
        x87.opcode = word(area, 6) as u16 & 0x7FF;
        x87.instruction = word(area, 8);
        x87.data = word(area, 16);
        x87.summarize();
        let top = x87.top();
        for place in 0..8 {
            x87.registers[(top + place) & 7] = Extended {
                significand: word(area, 32 + 16 * place),
                exponent: word(area, 40 + 16 * place) as u16,
            };
        }
    }

    /// The XMM part of a legacy area.
    pub(crate) fn set_xmm_area(&mut self, area: &[u8; 512]) {
        for (number, register) in self.xmm.iter_mut().enumerate() {
            let low = word(area, 160 + 16 * number);
            let high = word(area, 168 + 16 * number);
            *register = u128::from(low) | u128::from(high) << 64;
        }
    }
}

fn word(area: &[u8; 512], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&area[at..at + 8]);
    u64::from_le_bytes(word)
}

family! {
    /// Instructions of the x87 unit.
    Fop: Fadd, Faddp, Fiadd, Fsub, Fsubp, Fisub, Fsubr, Fsubrp, Fisubr, Fmul, Fmulp, Fimul, Fdiv,
    Fdivp, Fidiv, Fdivr, Fdivrp, Fidivr, Fld, Fild, Fbld, Fst, Fstp, Fstpnce, Fist, Fistp,
    Fisttp, Fbstp, Fxch, Fcmovb, Fcmove, Fcmovbe, Fcmovu, Fcmovnb, Fcmovne, Fcmovnbe, Fcmovnu,
    Fld1, Fldl2t, Fldl2e, Fldpi, Fldlg2, Fldln2, Fldz, Fcom, Fcomp, Fcompp, Fucom, Fucomp,
    Fucompp, Ficom, Ficomp, Fcomi, Fcomip, Fucomi, Fucomip, Ftst, Fxam, Fabs, Fchs, Fsqrt,
    Frndint, Fscale, Fxtract, Fprem, Fprem1, F2xm1, Fyl2x, Fyl2xp1, Fptan, Fpatan, Fsin, Fcos,
    Fsincos, Fnop, Wait, Fincstp, Fdecstp, Ffree, Ffreep, Fninit, Fnclex, Fldcw, Fnstcw, Fnstsw,
    Fldenv, Fnstenv, Frstor, Fnsave,
}

/// C0 of the status word.
pub(crate) const C0: u16 = 1 << 8;
/// C1.
pub(crate) const C1: u16 = 1 << 9;
/// C2.
pub(crate) const C2: u16 = 1 << 10;
/// C3.
pub(crate) const C3: u16 = 1 << 14;
/// Stack fault.
const SF: u16 = 1 << 6;
/// Exceptions that prevent a result.
const BEFORE: u32 = soft::IE | soft::DE | soft::ZE;

/// In `size`: the memory operand has 80 bits.
pub const TEN_BYTES: u8 = 4;

/// The micro-operation of an x87 instruction.
pub(crate) fn lower(i: &Instruction) -> Option<Uop> {
    let fop = Fop::of(i.mnemonic())?;
    let mut uop = Uop::new(Op::X87);
    uop.sub = fop as u8;
    if i.mnemonic() == Mnemonic::Wait {
        return Some(uop);
    }
    if i.op_count() > 0 {
        match i.op0_kind() {
            OpKind::Memory => {
                uop.flags |= MEM_DST;
                uop.size = match i.memory_size() {
                    MemorySize::Float80 | MemorySize::Bcd => TEN_BYTES,
                    size => log2(size.size()),
                };
                // The environments have two layouts.
                if matches!(i.memory_size(), MemorySize::FpuEnv14 | MemorySize::FpuState94) {
                    uop.size = 1;
                }
            }
            _ => uop.dst = number(i.op0_register()),
        }
    }
    if i.op_count() > 1 {
        uop.src = number(i.op1_register());
    }
    Some(uop)
}

/// A number of 80 bits as the unit sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand {
    Number(Number),
    /// An encoding that no processor makes and that is invalid as an operand.
    Unsupported,
}

impl Extended {
    pub(crate) const INDEFINITE: Extended = Extended { significand: 3 << 62, exponent: 0xFFFF };

    pub(crate) fn unpack(self) -> Operand {
        let sign = self.exponent >> 15 != 0;
        let biased = i32::from(self.exponent & 0x7FFF);
        let integer = self.significand >> 63 != 0;
        let mut number = Number::zero(sign);
        if biased == 0 {
            if self.significand != 0 {
                let zeros = self.significand.leading_zeros();
                number.class = Class::Finite;
                number.exponent = -16382 - zeros as i32;
                number.significand = self.significand << zeros;
                number.denormal = true;
            }
            return Operand::Number(number);
        }
        if !integer {
            return Operand::Unsupported;
        }
        number.significand = self.significand;
        if biased == 0x7FFF {
            let infinite = self.significand << 1 == 0;
            number.class = if infinite { Class::Infinity } else { Class::Nan };
        } else {
            number.class = Class::Finite;
            number.exponent = biased - 16383;
        }
        Operand::Number(number)
    }

    pub(crate) fn pack(number: Number) -> Self {
        let sign = u16::from(number.sign) << 15;
        match number.class {
            Class::Zero => Extended { significand: 0, exponent: sign },
            Class::Infinity => Extended { significand: 1 << 63, exponent: sign | 0x7FFF },
            Class::Nan => Extended { significand: number.significand, exponent: sign | 0x7FFF },
            Class::Finite => {
                let biased = number.exponent + 16383;
                if biased > 0 {
                    let exponent = sign | biased as u16 & 0x7FFF;
                    Extended { significand: number.significand, exponent }
                } else {
                    let shift = (1 - biased) as u32;
                    let significand = number.significand.checked_shr(shift).unwrap_or(0);
                    Extended { significand, exponent: sign }
                }
            }
        }
    }
}

impl X87 {
    /// Rounding and masks of the control word.
    pub(crate) fn env(&self) -> Env {
        Env {
            rounding: (self.control >> 10 & 3) as u8,
            flush: false,
            unmasked: u32::from(!self.control & 0x3F),
            flags: 0,
            up: false,
            adjust: true,
        }
    }

    /// The format that results of arithmetic are rounded to.
    pub(crate) fn format(&self) -> Format {
        let precision = match self.control >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        };
        Format { precision, ..soft::EXTENDED }
    }

    fn physical(&self, place: u8) -> usize {
        (self.top() + place as usize) & 7
    }

    pub(crate) fn empty(&self, place: u8) -> bool {
        self.tags >> self.physical(place) & 1 == 0
    }

    pub(crate) fn get(&self, place: u8) -> Extended {
        self.registers[self.physical(place)]
    }

    pub(crate) fn set(&mut self, place: u8, value: Extended) {
        let register = self.physical(place);
        self.registers[register] = value;
        self.tags |= 1 << register;
    }

    pub(crate) fn free(&mut self, place: u8) {
        let register = self.physical(place);
        self.tags &= !(1 << register);
    }

    pub(crate) fn rotate(&mut self, by: u16) {
        let top = (self.status >> 11).wrapping_add(by) & 7;
        self.status = self.status & !0x3800 | top << 11;
    }

    pub(crate) fn pop(&mut self) {
        self.free(0);
        self.rotate(1);
    }

    /// Puts a value on the stack, or notes its overflow.
    pub(crate) fn push(&mut self, value: Extended) {
        self.status &= !C1;
        if !self.empty(7) {
            if self.stack_fault(true) {
                self.rotate(7);
                self.set(0, Extended::INDEFINITE);
            }
            return;
        }
        self.rotate(7);
        self.set(0, value);
    }

    /// Notes a stack fault; may the instruction go on with the indefinite value?
    pub(crate) fn stack_fault(&mut self, overflow: bool) -> bool {
        self.status &= !C1;
        self.status |= SF | soft::IE as u16 | if overflow { C1 } else { 0 };
        self.summarize();
        self.control & 1 != 0
    }

    /// Notes the exceptions of an operation; may its result be written? To memory it may not
    /// if it over- or underflows unmasked.
    pub(crate) fn note(&mut self, env: &Env, memory: bool) -> bool {
        let unmasked = env.flags & env.unmasked;
        let stopped = unmasked & BEFORE != 0;
        let held = memory && unmasked & (soft::OE | soft::UE) != 0;
        let flags = if stopped {
            env.flags & BEFORE
        } else if held {
            env.flags & !soft::PE
        } else {
            env.flags
        };
        self.status |= flags as u16;
        self.status &= !C1;
        if env.up && flags & (soft::PE | soft::OE | soft::UE) != 0 && !stopped && !held {
            self.status |= C1;
        }
        self.summarize();
        !stopped && !held
    }
}

impl Core<'_> {
    /// #MF if an exception of an earlier instruction waits.
    pub(crate) fn check_pending(&mut self) -> Result<(), Fault> {
        if self.state.x87.status & 0x80 != 0 {
            return Err(self.raise(Exception::plain(Exception::MF)));
        }
        Ok(())
    }

    /// All of [`Fop`].
    pub(crate) fn x87(&mut self, uop: &Uop) -> Result<(), Fault> {
        let fop = Fop::from_sub(uop.sub);
        if fop == Fop::Wait {
            // TS matters only together with MP.
            if self.state.cr0 & 0xA == 0xA {
                return Err(self.raise(Exception::plain(Exception::NM)));
            }
            return self.check_pending();
        }
        self.check_fpu()?;
        if fop as u8 >= Fop::Fninit as u8 {
            return self.fpu_control(fop, uop);
        }
        self.check_pending()?;
        let address = if uop.flags & MEM_DST != 0 { Some(self.address(uop)) } else { None };
        self.fpu_instruction(fop, uop, address)?;
        let x87 = &mut self.state.x87;
        x87.instruction = self.state.gpr[crate::uop::CODE_PAGE as usize] + uop.offset();
        if let Some(address) = address {
            x87.data = address;
        }
        Ok(())
    }

    fn fpu_instruction(&mut self, fop: Fop, uop: &Uop, address: Option<u64>) -> Result<(), Fault> {
        match fop as u8 {
            sub if sub <= Fop::Fidivr as u8 => self.fpu_arithmetic(fop, uop, address),
            sub if sub <= Fop::Fcmovnu as u8 => self.fpu_transfer(fop, uop, address),
            sub if sub <= Fop::Fldz as u8 => {
                self.fpu_constant(fop);
                Ok(())
            }
            sub if sub <= Fop::Fxam as u8 => self.fpu_compare(fop, uop, address),
            sub if sub <= Fop::Fprem1 as u8 => {
                self.fpu_unary(fop);
                Ok(())
            }
            sub if sub <= Fop::Fsincos as u8 => {
                self.fpu_transcendental(fop);
                Ok(())
            }
            _ => {
                let x87 = &mut self.state.x87;
                match fop {
                    Fop::Fincstp => x87.rotate(1),
                    Fop::Fdecstp => x87.rotate(7),
                    Fop::Ffree => x87.free(uop.dst),
                    Fop::Ffreep => {
                        x87.free(uop.dst);
                        x87.pop();
                    }
                    _ => return Ok(()),
                }
                x87.status &= !C1;
                Ok(())
            }
        }
    }
}
