//! Which instruction has which short cut.

use super::Quick;
use crate::state::Mode;
use crate::uop::{ADDR32, HIGH, IMM, LOCK, MEM_DST, MEM_SRC, Op, Uop, ZERO};

/// Finds short cuts for the instructions of a block.
pub(crate) fn select(block: &mut [Uop], mode: Mode) {
    for at in 0..block.len() {
        let uop = &block[at];
        let fused = block.get(at + 1).and_then(|next| pair(uop, next, mode));
        let quick = fused.or_else(|| single(uop, mode));
        if let Some(quick) = quick {
            block[at].quick = quick;
        }
    }
}

/// Where the operands are: register, immediate or memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Rr,
    Ri,
    Rm,
    Mr,
    Mi,
}

/// The form of operands that short cuts can have: no upper bytes of registers, addresses of
/// the mode's own size in a segment that begins at zero.
fn form(uop: &Uop, mode: Mode) -> Option<Form> {
    let high = uop.size == 0 && (uop.dst | uop.src) & HIGH != 0;
    let own = match mode {
        Mode::Bits64 => uop.sib >> 2 == 0 && !uop.has(ADDR32),
        Mode::Bits32 => uop.sib >> 2 <= 4 && uop.has(ADDR32),
        Mode::Bits16 => return None,
    };
    if high || (uop.has(MEM_DST | MEM_SRC) && !own) {
        return None;
    }
    Some(match uop.flags & !(ADDR32 | LOCK) {
        0 => Form::Rr,
        IMM => Form::Ri,
        MEM_SRC => Form::Rm,
        MEM_DST => Form::Mr,
        flags if flags == MEM_DST | IMM => Form::Mi,
        _ => return None,
    })
}

/// An instruction and a branch on its flags.
#[rustfmt::skip]
fn pair(compare: &Uop, branch: &Uop, mode: Mode) -> Option<Quick> {
    if branch.op != Op::Jcc || branch.size == 1 {
        return None;
    }
    if high_test(compare) {
        return match branch.sub {
            4 => Some(Quick::TestHI8E),
            5 => Some(Quick::TestHI8NE),
            _ => None,
        };
    }
    if compare.has(MEM_DST | MEM_SRC) && compare.index != ZERO {
        return None;
    }
    Some(match (compare.op, form(compare, mode)?, compare.size, branch.sub) {
        (Op::Cmp, Form::Rr, 2, 2) => Quick::CmpRR32B,
        (Op::Cmp, Form::Rr, 2, 3) => Quick::CmpRR32AE,
        (Op::Cmp, Form::Rr, 2, 4) => Quick::CmpRR32E,
        (Op::Cmp, Form::Rr, 2, 5) => Quick::CmpRR32NE,
        (Op::Cmp, Form::Rr, 2, 6) => Quick::CmpRR32BE,
        (Op::Cmp, Form::Rr, 2, 7) => Quick::CmpRR32A,
        (Op::Cmp, Form::Rr, 2, 12) => Quick::CmpRR32L,
        (Op::Cmp, Form::Rr, 2, 13) => Quick::CmpRR32GE,
        (Op::Cmp, Form::Rr, 2, 14) => Quick::CmpRR32LE,
        (Op::Cmp, Form::Rr, 2, 15) => Quick::CmpRR32G,
        (Op::Cmp, Form::Rr, 3, 2) => Quick::CmpRR64B,
        (Op::Cmp, Form::Rr, 3, 3) => Quick::CmpRR64AE,
        (Op::Cmp, Form::Rr, 3, 4) => Quick::CmpRR64E,
        (Op::Cmp, Form::Rr, 3, 5) => Quick::CmpRR64NE,
        (Op::Cmp, Form::Rr, 3, 6) => Quick::CmpRR64BE,
        (Op::Cmp, Form::Rr, 3, 7) => Quick::CmpRR64A,
        (Op::Cmp, Form::Rr, 3, 12) => Quick::CmpRR64L,
        (Op::Cmp, Form::Rr, 3, 13) => Quick::CmpRR64GE,
        (Op::Cmp, Form::Rr, 3, 14) => Quick::CmpRR64LE,
        (Op::Cmp, Form::Rr, 3, 15) => Quick::CmpRR64G,
        (Op::Cmp, Form::Ri, 2, 2) => Quick::CmpRI32B,
        (Op::Cmp, Form::Ri, 2, 3) => Quick::CmpRI32AE,
        (Op::Cmp, Form::Ri, 2, 4) => Quick::CmpRI32E,
        (Op::Cmp, Form::Ri, 2, 5) => Quick::CmpRI32NE,
        (Op::Cmp, Form::Ri, 2, 6) => Quick::CmpRI32BE,
        (Op::Cmp, Form::Ri, 2, 7) => Quick::CmpRI32A,
        (Op::Cmp, Form::Ri, 2, 12) => Quick::CmpRI32L,
        (Op::Cmp, Form::Ri, 2, 13) => Quick::CmpRI32GE,
        (Op::Cmp, Form::Ri, 2, 14) => Quick::CmpRI32LE,
        (Op::Cmp, Form::Ri, 2, 15) => Quick::CmpRI32G,
        (Op::Cmp, Form::Ri, 3, 2) => Quick::CmpRI64B,
        (Op::Cmp, Form::Ri, 3, 3) => Quick::CmpRI64AE,
        (Op::Cmp, Form::Ri, 3, 4) => Quick::CmpRI64E,
        (Op::Cmp, Form::Ri, 3, 5) => Quick::CmpRI64NE,
        (Op::Cmp, Form::Ri, 3, 6) => Quick::CmpRI64BE,
        (Op::Cmp, Form::Ri, 3, 7) => Quick::CmpRI64A,
        (Op::Cmp, Form::Ri, 3, 12) => Quick::CmpRI64L,
        (Op::Cmp, Form::Ri, 3, 13) => Quick::CmpRI64GE,
        (Op::Cmp, Form::Ri, 3, 14) => Quick::CmpRI64LE,
        (Op::Cmp, Form::Ri, 3, 15) => Quick::CmpRI64G,
        (Op::Cmp, Form::Ri, 0, 2) => Quick::CmpRI8B,
        (Op::Cmp, Form::Ri, 0, 3) => Quick::CmpRI8AE,
        (Op::Cmp, Form::Ri, 0, 4) => Quick::CmpRI8E,
        (Op::Cmp, Form::Ri, 0, 5) => Quick::CmpRI8NE,
        (Op::Cmp, Form::Ri, 0, 6) => Quick::CmpRI8BE,
        (Op::Cmp, Form::Ri, 0, 7) => Quick::CmpRI8A,
        (Op::Cmp, Form::Rr, 0, 2) => Quick::CmpRR8B,
        (Op::Cmp, Form::Rr, 0, 3) => Quick::CmpRR8AE,
        (Op::Cmp, Form::Rr, 0, 4) => Quick::CmpRR8E,
        (Op::Cmp, Form::Rr, 0, 5) => Quick::CmpRR8NE,
        (Op::Cmp, Form::Rr, 0, 6) => Quick::CmpRR8BE,
        (Op::Cmp, Form::Rr, 0, 7) => Quick::CmpRR8A,
        (Op::Cmp, Form::Mi, 0, 2) => Quick::CmpMI8B,
        (Op::Cmp, Form::Mi, 0, 3) => Quick::CmpMI8AE,
        (Op::Cmp, Form::Mi, 0, 4) => Quick::CmpMI8E,
        (Op::Cmp, Form::Mi, 0, 5) => Quick::CmpMI8NE,
        (Op::Cmp, Form::Mi, 0, 6) => Quick::CmpMI8BE,
        (Op::Cmp, Form::Mi, 0, 7) => Quick::CmpMI8A,
        (Op::Cmp, Form::Mi, 1, 4) => Quick::CmpMI16E,
        (Op::Cmp, Form::Mi, 1, 5) => Quick::CmpMI16NE,
        (Op::Cmp, Form::Mi, 2, 2) => Quick::CmpMI32B,
        (Op::Cmp, Form::Mi, 2, 3) => Quick::CmpMI32AE,
        (Op::Cmp, Form::Mi, 2, 4) => Quick::CmpMI32E,
        (Op::Cmp, Form::Mi, 2, 5) => Quick::CmpMI32NE,
        (Op::Cmp, Form::Mi, 2, 6) => Quick::CmpMI32BE,
        (Op::Cmp, Form::Mi, 2, 7) => Quick::CmpMI32A,
        (Op::Cmp, Form::Mi, 2, 12) => Quick::CmpMI32L,
        (Op::Cmp, Form::Mi, 2, 13) => Quick::CmpMI32GE,
        (Op::Cmp, Form::Mi, 2, 14) => Quick::CmpMI32LE,
        (Op::Cmp, Form::Mi, 2, 15) => Quick::CmpMI32G,
        (Op::Cmp, Form::Mi, 3, 2) => Quick::CmpMI64B,
        (Op::Cmp, Form::Mi, 3, 3) => Quick::CmpMI64AE,
        (Op::Cmp, Form::Mi, 3, 4) => Quick::CmpMI64E,
        (Op::Cmp, Form::Mi, 3, 5) => Quick::CmpMI64NE,
        (Op::Cmp, Form::Mi, 3, 6) => Quick::CmpMI64BE,
        (Op::Cmp, Form::Mi, 3, 7) => Quick::CmpMI64A,
        (Op::Cmp, Form::Rm, 2, 2) => Quick::CmpRM32B,
        (Op::Cmp, Form::Rm, 2, 3) => Quick::CmpRM32AE,
        (Op::Cmp, Form::Rm, 2, 4) => Quick::CmpRM32E,
        (Op::Cmp, Form::Rm, 2, 5) => Quick::CmpRM32NE,
        (Op::Cmp, Form::Rm, 2, 6) => Quick::CmpRM32BE,
        (Op::Cmp, Form::Rm, 2, 7) => Quick::CmpRM32A,
        (Op::Cmp, Form::Rm, 3, 2) => Quick::CmpRM64B,
        (Op::Cmp, Form::Rm, 3, 3) => Quick::CmpRM64AE,
        (Op::Cmp, Form::Rm, 3, 4) => Quick::CmpRM64E,
        (Op::Cmp, Form::Rm, 3, 5) => Quick::CmpRM64NE,
        (Op::Cmp, Form::Rm, 3, 6) => Quick::CmpRM64BE,
        (Op::Cmp, Form::Rm, 3, 7) => Quick::CmpRM64A,
        (Op::Cmp, Form::Mr, 2, 2) => Quick::CmpMR32B,
        (Op::Cmp, Form::Mr, 2, 3) => Quick::CmpMR32AE,
        (Op::Cmp, Form::Mr, 2, 4) => Quick::CmpMR32E,
        (Op::Cmp, Form::Mr, 2, 5) => Quick::CmpMR32NE,
        (Op::Cmp, Form::Mr, 2, 6) => Quick::CmpMR32BE,
        (Op::Cmp, Form::Mr, 2, 7) => Quick::CmpMR32A,
        (Op::Cmp, Form::Mr, 3, 2) => Quick::CmpMR64B,
        (Op::Cmp, Form::Mr, 3, 3) => Quick::CmpMR64AE,
        (Op::Cmp, Form::Mr, 3, 4) => Quick::CmpMR64E,
        (Op::Cmp, Form::Mr, 3, 5) => Quick::CmpMR64NE,
        (Op::Cmp, Form::Mr, 3, 6) => Quick::CmpMR64BE,
        (Op::Cmp, Form::Mr, 3, 7) => Quick::CmpMR64A,
        (Op::Test, Form::Rr, 0, 4) => Quick::TestRR8E,
        (Op::Test, Form::Rr, 0, 5) => Quick::TestRR8NE,
        (Op::Test, Form::Rr, 0, 8) => Quick::TestRR8S,
        (Op::Test, Form::Rr, 0, 9) => Quick::TestRR8NS,
        (Op::Test, Form::Rr, 2, 4) => Quick::TestRR32E,
        (Op::Test, Form::Rr, 2, 5) => Quick::TestRR32NE,
        (Op::Test, Form::Rr, 2, 8) => Quick::TestRR32S,
        (Op::Test, Form::Rr, 2, 9) => Quick::TestRR32NS,
        (Op::Test, Form::Rr, 2, 14) => Quick::TestRR32LE,
        (Op::Test, Form::Rr, 2, 15) => Quick::TestRR32G,
        (Op::Test, Form::Rr, 3, 4) => Quick::TestRR64E,
        (Op::Test, Form::Rr, 3, 5) => Quick::TestRR64NE,
        (Op::Test, Form::Rr, 3, 8) => Quick::TestRR64S,
        (Op::Test, Form::Rr, 3, 9) => Quick::TestRR64NS,
        (Op::Test, Form::Rr, 3, 14) => Quick::TestRR64LE,
        (Op::Test, Form::Rr, 3, 15) => Quick::TestRR64G,
        (Op::Test, Form::Ri, 0, 4) => Quick::TestRI8E,
        (Op::Test, Form::Ri, 0, 5) => Quick::TestRI8NE,
        (Op::Test, Form::Ri, 2, 4) => Quick::TestRI32E,
        (Op::Test, Form::Ri, 2, 5) => Quick::TestRI32NE,
        (Op::Test, Form::Ri, 3, 4) => Quick::TestRI64E,
        (Op::Test, Form::Ri, 3, 5) => Quick::TestRI64NE,
        (Op::Test, Form::Mi, 0, 4) => Quick::TestMI8E,
        (Op::Test, Form::Mi, 0, 5) => Quick::TestMI8NE,
        (Op::Test, Form::Mi, 2, 4) => Quick::TestMI32E,
        (Op::Test, Form::Mi, 2, 5) => Quick::TestMI32NE,
        (Op::Add, Form::Ri, 2, 4) => Quick::AddRI32E,
        (Op::Add, Form::Ri, 2, 5) => Quick::AddRI32NE,
        (Op::Add, Form::Ri, 3, 4) => Quick::AddRI64E,
        (Op::Add, Form::Ri, 3, 5) => Quick::AddRI64NE,
        (Op::Sub, Form::Ri, 2, 4) => Quick::SubRI32E,
        (Op::Sub, Form::Ri, 2, 5) => Quick::SubRI32NE,
        (Op::Sub, Form::Ri, 3, 4) => Quick::SubRI64E,
        (Op::Sub, Form::Ri, 3, 5) => Quick::SubRI64NE,
        (Op::Sub, Form::Rr, 2, 4) => Quick::SubRR32E,
        (Op::Sub, Form::Rr, 2, 5) => Quick::SubRR32NE,
        (Op::Sub, Form::Rr, 3, 4) => Quick::SubRR64E,
        (Op::Sub, Form::Rr, 3, 5) => Quick::SubRR64NE,
        (Op::And, Form::Ri, 2, 4) => Quick::AndRI32E,
        (Op::And, Form::Ri, 2, 5) => Quick::AndRI32NE,
        (Op::And, Form::Ri, 3, 4) => Quick::AndRI64E,
        (Op::And, Form::Ri, 3, 5) => Quick::AndRI64NE,
        (Op::And, Form::Rr, 2, 4) => Quick::AndRR32E,
        (Op::And, Form::Rr, 2, 5) => Quick::AndRR32NE,
        (Op::And, Form::Rr, 3, 4) => Quick::AndRR64E,
        (Op::And, Form::Rr, 3, 5) => Quick::AndRR64NE,
        (Op::Dec, Form::Rr, 2, 4) => Quick::DecR32E,
        (Op::Dec, Form::Rr, 2, 5) => Quick::DecR32NE,
        (Op::Dec, Form::Rr, 3, 4) => Quick::DecR64E,
        (Op::Dec, Form::Rr, 3, 5) => Quick::DecR64NE,
        _ => return None,
    })
}

/// TEST of the upper byte of a register with an immediate.
fn high_test(uop: &Uop) -> bool {
    uop.op == Op::Test && uop.size == 0 && uop.flags & !ADDR32 == IMM && uop.dst & HIGH != 0
}

#[rustfmt::skip]
fn single(uop: &Uop, mode: Mode) -> Option<Quick> {
    if let Some(quick) = high(uop) {
        return Some(quick);
    }
    if matches!(uop.op, Op::Mov) && uop.sib >> 2 >= 5 && mode == Mode::Bits64 && !uop.has(ADDR32) {
        return elsewhere(uop);
    }
    let form = form(uop, mode)?;
    let near = uop.index == ZERO;
    let own = if mode == Mode::Bits64 { 3 } else { 2 };
    Some(match (uop.op, form, uop.size) {
        (Op::SseMove | Op::SseLane | Op::SseFloat, ..) => return vector(uop, form),
        (Op::Nop, ..) => Quick::Nop,
        (Op::Add, Form::Rr, 2) => Quick::AddRR32,
        (Op::Add, Form::Rr, 3) => Quick::AddRR64,
        (Op::Add, Form::Ri, 2) => Quick::AddRI32,
        (Op::Add, Form::Ri, 3) => Quick::AddRI64,
        (Op::Add, Form::Rm, 2) => Quick::AddRM32,
        (Op::Add, Form::Rm, 3) => Quick::AddRM64,
        (Op::Sub, Form::Rr, 2) => Quick::SubRR32,
        (Op::Sub, Form::Rr, 3) => Quick::SubRR64,
        (Op::Sub, Form::Ri, 2) => Quick::SubRI32,
        (Op::Sub, Form::Ri, 3) => Quick::SubRI64,
        (Op::Sub, Form::Rm, 2) => Quick::SubRM32,
        (Op::Sub, Form::Rm, 3) => Quick::SubRM64,
        (Op::And, Form::Rr, 2) => Quick::AndRR32,
        (Op::And, Form::Rr, 3) => Quick::AndRR64,
        (Op::And, Form::Ri, 2) => Quick::AndRI32,
        (Op::And, Form::Ri, 3) => Quick::AndRI64,
        (Op::And, Form::Rm, 2) => Quick::AndRM32,
        (Op::And, Form::Rm, 3) => Quick::AndRM64,
        (Op::Or, Form::Rr, 2) => Quick::OrRR32,
        (Op::Or, Form::Rr, 3) => Quick::OrRR64,
        (Op::Or, Form::Ri, 2) => Quick::OrRI32,
        (Op::Or, Form::Ri, 3) => Quick::OrRI64,
        (Op::Or, Form::Rm, 2) => Quick::OrRM32,
        (Op::Or, Form::Rm, 3) => Quick::OrRM64,
        (Op::Xor, Form::Rr, 2) => Quick::XorRR32,
        (Op::Xor, Form::Rr, 3) => Quick::XorRR64,
        (Op::Xor, Form::Ri, 2) => Quick::XorRI32,
        (Op::Xor, Form::Ri, 3) => Quick::XorRI64,
        (Op::Xor, Form::Rm, 2) => Quick::XorRM32,
        (Op::Xor, Form::Rm, 3) => Quick::XorRM64,
        (Op::Cmp, Form::Rr, 2) => Quick::CmpRR32,
        (Op::Cmp, Form::Rr, 3) => Quick::CmpRR64,
        (Op::Cmp, Form::Ri, 2) => Quick::CmpRI32,
        (Op::Cmp, Form::Ri, 3) => Quick::CmpRI64,
        (Op::Cmp, Form::Rm, 2) => Quick::CmpRM32,
        (Op::Cmp, Form::Rm, 3) => Quick::CmpRM64,
        (Op::Cmp, Form::Rr, 0) => Quick::CmpRR8,
        (Op::Cmp, Form::Ri, 0) => Quick::CmpRI8,
        (Op::Cmp, Form::Rm, 0) => Quick::CmpRM8,
        (Op::Cmp, Form::Mr, 0) => Quick::CmpMR8,
        (Op::Cmp, Form::Mr, 2) => Quick::CmpMR32,
        (Op::Cmp, Form::Mr, 3) => Quick::CmpMR64,
        (Op::Cmp, Form::Mi, 0) => Quick::CmpMI8,
        (Op::Cmp, Form::Mi, 1) => Quick::CmpMI16,
        (Op::Cmp, Form::Mi, 2) => Quick::CmpMI32,
        (Op::Cmp, Form::Mi, 3) => Quick::CmpMI64,
        (Op::Test, Form::Rr, 0) => Quick::TestRR8,
        (Op::Test, Form::Rr, 2) => Quick::TestRR32,
        (Op::Test, Form::Rr, 3) => Quick::TestRR64,
        (Op::Test, Form::Ri, 0) => Quick::TestRI8,
        (Op::Test, Form::Ri, 2) => Quick::TestRI32,
        (Op::Test, Form::Ri, 3) => Quick::TestRI64,
        (Op::Test, Form::Mi, 0) => Quick::TestMI8,
        (Op::Test, Form::Mi, 2) => Quick::TestMI32,
        (Op::Add | Op::Sub | Op::And | Op::Or | Op::Xor | Op::Adc | Op::Sbb | Op::Test, Form::Rr | Form::Ri | Form::Rm, 0) => Quick::AluR8,
        (Op::Add | Op::Sub | Op::And | Op::Or | Op::Xor | Op::Adc | Op::Sbb | Op::Cmp | Op::Test, Form::Rr | Form::Ri | Form::Rm, 1) => Quick::AluR16,
        (Op::Add | Op::Sub | Op::And | Op::Or | Op::Xor | Op::Adc | Op::Sbb, Form::Mr | Form::Mi, size) => memory(size),
        (Op::Inc | Op::Dec, Form::Mr, size) => memory(size),
        (Op::Adc, Form::Rr, 2) => Quick::AdcRR32,
        (Op::Adc, Form::Rr, 3) => Quick::AdcRR64,
        (Op::Sbb, Form::Rr, 2) => Quick::SbbRR32,
        (Op::Sbb, Form::Rr, 3) => Quick::SbbRR64,
        (Op::Neg, Form::Rr, 0) => Quick::AluR8,
        (Op::Neg, Form::Rr, 1) => Quick::AluR16,
        (Op::MovWide, ..) => Quick::MovRW64,
        (Op::Mov, Form::Rr, 0) => Quick::MovRR8,
        (Op::Mov, Form::Rr, 2) => Quick::MovRR32,
        (Op::Mov, Form::Rr, 3) => Quick::MovRR64,
        (Op::Mov, Form::Ri, 2) => Quick::MovRI32,
        (Op::Mov, Form::Ri, 3) => Quick::MovRI64,
        (Op::Mov, Form::Rm, 0) if near => Quick::MovRM8,
        (Op::Mov, Form::Rm, 0) => Quick::MovRX8,
        (Op::Mov, Form::Rm, 2) if near => Quick::MovRM32,
        (Op::Mov, Form::Rm, 2) => Quick::MovRX32,
        (Op::Mov, Form::Rm, 3) if near => Quick::MovRM64,
        (Op::Mov, Form::Rm, 3) => Quick::MovRX64,
        (Op::Mov, Form::Mr, 0) if near => Quick::MovMR8,
        (Op::Mov, Form::Mr, 0) => Quick::MovXR8,
        (Op::Mov, Form::Mr, 1) => Quick::MovMR16,
        (Op::Mov, Form::Mr, 2) if near => Quick::MovMR32,
        (Op::Mov, Form::Mr, 2) => Quick::MovXR32,
        (Op::Mov, Form::Mr, 3) if near => Quick::MovMR64,
        (Op::Mov, Form::Mr, 3) => Quick::MovXR64,
        (Op::Mov, Form::Mi, 0) if near => Quick::MovMI8,
        (Op::Mov, Form::Mi, 0) => Quick::MovXI8,
        (Op::Mov, Form::Mi, 1) => Quick::MovMI16,
        (Op::Mov, Form::Mi, 2) if near => Quick::MovMI32,
        (Op::Mov, Form::Mi, 2) => Quick::MovXI32,
        (Op::Mov, Form::Mi, 3) if near => Quick::MovMI64,
        (Op::Mov, Form::Mi, 3) => Quick::MovXI64,
        (Op::Movzx, Form::Rr, 2 | 3) if uop.sub == 0 && uop.src & HIGH == 0 => Quick::MovzxRB,
        (Op::Movzx, Form::Rm, 2 | 3) if uop.sub == 0 => if near { Quick::MovzxMB } else { Quick::MovzxXB },
        (Op::Movzx, Form::Rr, 2 | 3) if uop.sub == 1 => Quick::MovzxRW,
        (Op::Movzx, Form::Rm, 2 | 3) if uop.sub == 1 => if near { Quick::MovzxMW } else { Quick::MovzxXW },
        (Op::Movsx, Form::Rr, 3) if uop.sub == 2 => Quick::MovsxdRR,
        (Op::Movsx, Form::Rm, 3) if uop.sub == 2 => Quick::MovsxdRM,
        (Op::Movsx, Form::Rr, 2 | 3) if uop.sub < 2 && uop.src & HIGH == 0 => Quick::MovsxR,
        (Op::Movsx, Form::Rm, 2 | 3) if uop.sub < 2 => Quick::MovsxM,
        (Op::Lea, Form::Rm, 2) => if near { Quick::LeaRM32 } else { Quick::LeaRX32 },
        (Op::Lea, Form::Rm, 3) => if near { Quick::LeaRM64 } else { Quick::LeaRX64 },
        (Op::Inc, Form::Rr, 2) => Quick::IncR32,
        (Op::Inc, Form::Rr, 3) => Quick::IncR64,
        (Op::Dec, Form::Rr, 2) => Quick::DecR32,
        (Op::Dec, Form::Rr, 3) => Quick::DecR64,
        (Op::Neg, Form::Rr, 2) => Quick::NegR32,
        (Op::Neg, Form::Rr, 3) => Quick::NegR64,
        (Op::Not, Form::Rr, 2) => Quick::NotR32,
        (Op::Not, Form::Rr, 3) => Quick::NotR64,
        (Op::Bswap, _, 2 | 3) => Quick::Bswap,
        (Op::Widen, _, 2) => Quick::Widen32,
        (Op::Widen, _, 3) => Quick::Widen64,
        (Op::SignToD, _, 2) => Quick::SignToD32,
        (Op::SignToD, _, 3) => Quick::SignToD64,
        (Op::Shl, Form::Ri, 2) if uop.imm & 31 != 0 => Quick::ShlI32,
        (Op::Shl, Form::Ri, 3) if uop.imm & 63 != 0 => Quick::ShlI64,
        (Op::Shr, Form::Ri, 2) if uop.imm & 31 != 0 => Quick::ShrI32,
        (Op::Shr, Form::Ri, 3) if uop.imm & 63 != 0 => Quick::ShrI64,
        (Op::Sar, Form::Ri, 2) if uop.imm & 31 != 0 => Quick::SarI32,
        (Op::Sar, Form::Ri, 3) if uop.imm & 63 != 0 => Quick::SarI64,
        (Op::Shl | Op::Shr | Op::Sar, Form::Ri, 0) if matches!(uop.imm, 1..=7) => Quick::ShiftI8,
        (Op::Shl | Op::Shr | Op::Sar, Form::Ri, 1) if matches!(uop.imm, 1..=15) => Quick::ShiftI16,
        (Op::Rol, Form::Ri, 2) if matches!(uop.imm, 1..=31) => Quick::RolI32,
        (Op::Rol, Form::Ri, 3) if matches!(uop.imm, 1..=63) => Quick::RolI64,
        (Op::Ror, Form::Ri, 2) if matches!(uop.imm, 1..=31) => Quick::RorI32,
        (Op::Ror, Form::Ri, 3) if matches!(uop.imm, 1..=63) => Quick::RorI64,
        (Op::Mul, Form::Rr, 2) => Quick::MulR32,
        (Op::Mul, Form::Rr, 3) => Quick::MulR64,
        (Op::Div, Form::Rr, 2) => Quick::DivR32,
        (Op::Div, Form::Rr, 3) => Quick::DivR64,
        (Op::Idiv, Form::Rr, 2) => Quick::IdivR32,
        (Op::Idiv, Form::Rr, 3) => Quick::IdivR64,
        (Op::Bt | Op::Bts | Op::Btr | Op::Btc, Form::Rr | Form::Ri, 2 | 3) => Quick::BtR,
        (Op::Bt, Form::Mi, 2 | 3) => Quick::BtM,
        (Op::Bts | Op::Btr | Op::Btc, Form::Mi, 2 | 3) => Quick::BitM,
        (Op::Bsf, Form::Rr, 2 | 3) => Quick::Bsf,
        (Op::Bsr, Form::Rr, 2 | 3) => Quick::Bsr,
        (Op::Xchg, Form::Rr | Form::Mr, 2) => Quick::Xchg32,
        (Op::Xchg, Form::Rr | Form::Mr, 3) => Quick::Xchg64,
        (Op::Xadd, Form::Mr, 2) => Quick::Xadd32,
        (Op::Xadd, Form::Mr, 3) => Quick::Xadd64,
        (Op::Cmpxchg, Form::Mr, 2) => Quick::Cmpxchg32,
        (Op::Cmpxchg, Form::Mr, 3) => Quick::Cmpxchg64,
        (Op::Cld, ..) => Quick::Cld,
        (Op::Cli, ..) => Quick::Cli,
        (Op::Sti, ..) => Quick::Sti,
        (Op::Swapgs, ..) if own == 3 => Quick::Swapgs,
        (Op::Shl, Form::Rr, 2) => Quick::ShlC32,
        (Op::Shl, Form::Rr, 3) => Quick::ShlC64,
        (Op::Shr, Form::Rr, 2) => Quick::ShrC32,
        (Op::Shr, Form::Rr, 3) => Quick::ShrC64,
        (Op::Sar, Form::Rr, 2) => Quick::SarC32,
        (Op::Sar, Form::Rr, 3) => Quick::SarC64,
        (Op::Imul, Form::Rr, 2) => Quick::ImulRR32,
        (Op::Imul, Form::Rr, 3) => Quick::ImulRR64,
        (Op::Imul, Form::Ri, 2) => Quick::ImulRI32,
        (Op::Imul, Form::Ri, 3) => Quick::ImulRI64,
        (Op::Imul, Form::Rm, 2) => Quick::ImulRM32,
        (Op::Imul, Form::Rm, 3) => Quick::ImulRM64,
        (Op::Cmovcc, Form::Rr, 2) => Quick::CmovRR32,
        (Op::Cmovcc, Form::Rr, 3) => Quick::CmovRR64,
        (Op::Cmovcc, Form::Rm, 2) => Quick::CmovRM32,
        (Op::Cmovcc, Form::Rm, 3) => Quick::CmovRM64,
        (Op::Setcc, Form::Rr, 0) => Quick::SetR,
        (Op::Setcc, Form::Mr, 0) => Quick::SetM,
        (Op::Push, Form::Rr, 2) if own == 2 => Quick::PushR32,
        (Op::Push, Form::Rr, 3) => Quick::PushR64,
        (Op::Push, Form::Ri, size) if size == own => Quick::PushI,
        (Op::Push, Form::Rm, size) if size == own => Quick::PushM,
        (Op::Pop, Form::Rr, 2) if own == 2 => Quick::PopR32,
        (Op::Pop, Form::Rr, 3) => Quick::PopR64,
        (Op::Leave, _, size) if size == own => Quick::Leave,
        (Op::Jmp, _, size) if size == own => Quick::Jmp,
        (Op::JmpIndirect, Form::Rr, size) if size == own => Quick::JmpR,
        (Op::JmpIndirect, Form::Mr, size) if size == own => Quick::JmpM,
        (Op::Call, _, 2) if own == 2 => Quick::Call32,
        (Op::Call, _, 3) => Quick::Call64,
        (Op::CallIndirect, Form::Rr, size) if size == own => Quick::CallR,
        (Op::CallIndirect, Form::Mr, size) if size == own => Quick::CallM,
        (Op::Ret, _, 2) if own == 2 && uop.imm == 0 => Quick::Ret32,
        (Op::Ret, _, 3) if uop.imm == 0 => Quick::Ret64,
        (Op::Link | Op::NextPage, ..) => Quick::Link,
        (Op::Jcc, _, size) if size == own => [Quick::Jo, Quick::Jno, Quick::Jb, Quick::Jae, Quick::Je, Quick::Jne, Quick::Jbe, Quick::Ja, Quick::Js, Quick::Jns, Quick::Jp, Quick::Jnp, Quick::Jl, Quick::Jge, Quick::Jle, Quick::Jg][(uop.sub & 15) as usize],
        _ => return None,
    })
}

/// Short cuts of SSE; MMX has none.
#[rustfmt::skip]
fn vector(uop: &Uop, form: Form) -> Option<Quick> {
    use crate::sse::{FROM_GENERAL, Float, Lane, Move, TO_GENERAL};
    use Form::{Mr, Rm, Rr};
    Some(match uop.op {
        Op::SseMove => match (Move::from_sub(uop.sub), form) {
            (Move::Movaps | Move::Movapd | Move::Movdqa | Move::Movups | Move::Movupd | Move::Movdqu, Rr) => Quick::MovVV,
            (Move::Movaps | Move::Movapd | Move::Movdqa, Rm) => Quick::MovVMa,
            (Move::Movaps | Move::Movapd | Move::Movdqa | Move::Movntps | Move::Movntpd | Move::Movntdq, Mr) => Quick::MovMaV,
            (Move::Movups | Move::Movupd | Move::Movdqu | Move::Lddqu, Rm) => Quick::MovVM,
            (Move::Movups | Move::Movupd | Move::Movdqu, Mr) => Quick::MovMV,
            (Move::Movss, Rr) => Quick::MovSS,
            (Move::Movss, Rm) => Quick::MovSM,
            (Move::Movss, Mr) => Quick::MovMS,
            (Move::Movsd, Rr) => Quick::MovDD,
            (Move::Movsd, Rm) => Quick::MovDM,
            (Move::Movsd | Move::Movlps | Move::Movlpd, Mr) => Quick::MovMD,
            (Move::Movlps | Move::Movlpd, Rm) => Quick::MovLowM,
            (Move::Movhps | Move::Movhpd, Rm) => Quick::MovHighM,
            (Move::Movhps | Move::Movhpd, Mr) => Quick::MovMHigh,
            (Move::Movlhps, Rr) => Quick::Unpcklpd,
            (Move::Movd | Move::Movq, Rr) if uop.imm == FROM_GENERAL => if uop.size == 3 { Quick::MovVG64 } else { Quick::MovVG32 },
            (Move::Movd | Move::Movq, Rr) if uop.imm == TO_GENERAL => if uop.size == 3 { Quick::MovG64V } else { Quick::MovG32V },
            (Move::Movq, Rr) => Quick::MovQQ,
            (Move::Movd | Move::Movq, Rm) => if uop.size == 3 { Quick::MovDM } else { Quick::MovSM },
            (Move::Movd | Move::Movq, Mr) => if uop.size == 3 { Quick::MovMD } else { Quick::MovMS },
            _ => return None,
        },
        Op::SseLane if matches!(form, Rr | Rm) => match Lane::from_sub(uop.sub) {
            Lane::Pand | Lane::Andps | Lane::Andpd => Quick::Pand,
            Lane::Pandn | Lane::Andnps | Lane::Andnpd => Quick::Pandn,
            Lane::Por | Lane::Orps | Lane::Orpd => Quick::Por,
            Lane::Pxor | Lane::Xorps | Lane::Xorpd => Quick::Pxor,
            Lane::Punpcklqdq | Lane::Unpcklpd => Quick::Unpcklpd,
            Lane::Punpckhqdq | Lane::Unpckhpd => Quick::Unpckhpd,
            _ => return None,
        },
        Op::SseFloat if matches!(form, Rr | Rm) => match Float::from_sub(uop.sub) {
            Float::Addsd => Quick::Addsd,
            Float::Subsd => Quick::Subsd,
            Float::Mulsd => Quick::Mulsd,
            Float::Divsd => Quick::Divsd,
            Float::Sqrtsd => Quick::Sqrtsd,
            Float::Minsd => Quick::Minsd,
            Float::Maxsd => Quick::Maxsd,
            Float::Addss => Quick::Addss,
            Float::Subss => Quick::Subss,
            Float::Mulss => Quick::Mulss,
            Float::Divss => Quick::Divss,
            Float::Addpd => Quick::Addpd,
            Float::Subpd => Quick::Subpd,
            Float::Mulpd => Quick::Mulpd,
            Float::Comisd | Float::Ucomisd => Quick::Comisd,
            Float::Comiss | Float::Ucomiss => Quick::Comiss,
            Float::Cvtsi2sd => if uop.size == 3 { Quick::Cvtsi2sd64 } else { Quick::Cvtsi2sd32 },
            Float::Cvttsd2si => if uop.imm == 3 { Quick::Cvttsd2si64 } else { Quick::Cvttsd2si32 },
            Float::Cvtss2sd => Quick::Cvtss2sd,
            Float::Cvtsd2ss => Quick::Cvtsd2ss,
            _ => return None,
        },
        _ => return None,
    })
}

/// Short cuts with the upper byte of a register.
fn high(uop: &Uop) -> Option<Quick> {
    let register = uop.flags == 0 || uop.flags == IMM;
    if high_test(uop) {
        Some(Quick::TestHI8)
    } else if uop.op == Op::Movzx && uop.flags == 0 && uop.sub == 0 && uop.src & HIGH != 0 {
        (uop.size >= 2).then_some(Quick::MovzxRH)
    } else if alu(uop.op) && register && uop.size == 0 && uop.dst & HIGH != 0 {
        Some(Quick::AluH8)
    } else {
        None
    }
}

fn alu(op: Op) -> bool {
    matches!(op, Op::Add | Op::Sub | Op::And | Op::Or | Op::Xor | Op::Adc | Op::Sbb | Op::Cmp)
}

/// MOV with memory in FS or GS.
fn elsewhere(uop: &Uop) -> Option<Quick> {
    Some(match (uop.flags, uop.size) {
        (MEM_SRC, 2) => Quick::MovRS32,
        (MEM_SRC, 3) => Quick::MovRS64,
        (MEM_DST, 2) => Quick::MovSR32,
        (MEM_DST, 3) => Quick::MovSR64,
        _ => return None,
    })
}

fn memory(size: u8) -> Quick {
    match size {
        0 => Quick::AluM8,
        1 => Quick::AluM16,
        2 => Quick::AluM32,
        _ => Quick::AluM64,
    }
}
