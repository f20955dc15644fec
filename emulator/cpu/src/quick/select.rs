//! Which instruction has which short cut.

use super::Quick;
use crate::state::Mode;
use crate::uop::{ADDR32, HIGH, IMM, LOCK, MEM_DST, MEM_SRC, Op, Uop};

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

/// A compare or test, and a branch on its flags.
#[rustfmt::skip]
fn pair(compare: &Uop, branch: &Uop, mode: Mode) -> Option<Quick> {
    if branch.op != Op::Jcc || branch.size == 1 {
        return None;
    }
    Some(match (compare.op, form(compare, mode)?, compare.size, branch.sub >> 1) {
        (Op::Cmp, Form::Rr, 2, 1) => Quick::CmpRR32B,
        (Op::Cmp, Form::Rr, 2, 2) => Quick::CmpRR32E,
        (Op::Cmp, Form::Rr, 2, 3) => Quick::CmpRR32A,
        (Op::Cmp, Form::Rr, 2, 6) => Quick::CmpRR32L,
        (Op::Cmp, Form::Rr, 2, 7) => Quick::CmpRR32G,
        (Op::Cmp, Form::Rr, 3, 1) => Quick::CmpRR64B,
        (Op::Cmp, Form::Rr, 3, 2) => Quick::CmpRR64E,
        (Op::Cmp, Form::Rr, 3, 3) => Quick::CmpRR64A,
        (Op::Cmp, Form::Rr, 3, 6) => Quick::CmpRR64L,
        (Op::Cmp, Form::Rr, 3, 7) => Quick::CmpRR64G,
        (Op::Cmp, Form::Ri, 2, 1) => Quick::CmpRI32B,
        (Op::Cmp, Form::Ri, 2, 2) => Quick::CmpRI32E,
        (Op::Cmp, Form::Ri, 2, 3) => Quick::CmpRI32A,
        (Op::Cmp, Form::Ri, 2, 6) => Quick::CmpRI32L,
        (Op::Cmp, Form::Ri, 2, 7) => Quick::CmpRI32G,
        (Op::Cmp, Form::Ri, 3, 1) => Quick::CmpRI64B,
        (Op::Cmp, Form::Ri, 3, 2) => Quick::CmpRI64E,
        (Op::Cmp, Form::Ri, 3, 3) => Quick::CmpRI64A,
        (Op::Cmp, Form::Ri, 3, 6) => Quick::CmpRI64L,
        (Op::Cmp, Form::Ri, 3, 7) => Quick::CmpRI64G,
        (Op::Cmp, Form::Ri, 0, 1) => Quick::CmpRI8B,
        (Op::Cmp, Form::Ri, 0, 2) => Quick::CmpRI8E,
        (Op::Cmp, Form::Ri, 0, 3) => Quick::CmpRI8A,
        (Op::Cmp, Form::Ri, 0, 6) => Quick::CmpRI8L,
        (Op::Cmp, Form::Ri, 0, 7) => Quick::CmpRI8G,
        (Op::Cmp, Form::Rr, 0, 2) => Quick::CmpRR8E,
        (Op::Cmp, Form::Rr, 0, 3) => Quick::CmpRR8A,
        (Op::Cmp, Form::Mi, 0, 2) => Quick::CmpMI8E,
        (Op::Cmp, Form::Mi, 0, 3) => Quick::CmpMI8A,
        (Op::Cmp, Form::Mi, 2, 2) => Quick::CmpMI32E,
        (Op::Cmp, Form::Mi, 2, 3) => Quick::CmpMI32A,
        (Op::Cmp, Form::Mi, 2, 7) => Quick::CmpMI32G,
        (Op::Cmp, Form::Mi, 3, 2) => Quick::CmpMI64E,
        (Op::Cmp, Form::Rm, 2, 2) => Quick::CmpRM32E,
        (Op::Cmp, Form::Rm, 2, 3) => Quick::CmpRM32A,
        (Op::Cmp, Form::Rm, 3, 2) => Quick::CmpRM64E,
        (Op::Cmp, Form::Rm, 3, 3) => Quick::CmpRM64A,
        (Op::Cmp, Form::Mr, 2, 2) => Quick::CmpMR32E,
        (Op::Cmp, Form::Mr, 2, 3) => Quick::CmpMR32A,
        (Op::Cmp, Form::Mr, 3, 2) => Quick::CmpMR64E,
        (Op::Cmp, Form::Mr, 3, 3) => Quick::CmpMR64A,
        (Op::Test, Form::Rr, 0, 2) => Quick::TestRR8E,
        (Op::Test, Form::Rr, 0, 4) => Quick::TestRR8S,
        (Op::Test, Form::Rr, 2, 2) => Quick::TestRR32E,
        (Op::Test, Form::Rr, 2, 4) => Quick::TestRR32S,
        (Op::Test, Form::Rr, 2, 7) => Quick::TestRR32G,
        (Op::Test, Form::Rr, 3, 2) => Quick::TestRR64E,
        (Op::Test, Form::Rr, 3, 4) => Quick::TestRR64S,
        (Op::Test, Form::Rr, 3, 7) => Quick::TestRR64G,
        (Op::Test, Form::Ri, 0, 2) => Quick::TestRI8E,
        (Op::Test, Form::Ri, 2, 2) => Quick::TestRI32E,
        (Op::Test, Form::Mi, 0, 2) => Quick::TestMI8E,
        _ => return None,
    })
}

#[rustfmt::skip]
fn single(uop: &Uop, mode: Mode) -> Option<Quick> {
    let form = form(uop, mode)?;
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
        (Op::Mov, Form::Rr, 2) => Quick::MovRR32,
        (Op::Mov, Form::Rr, 3) => Quick::MovRR64,
        (Op::Mov, Form::Ri, 2) => Quick::MovRI32,
        (Op::Mov, Form::Ri, 3) => Quick::MovRI64,
        (Op::Mov, Form::Rm, 0) => Quick::MovRM8,
        (Op::Mov, Form::Rm, 2) => Quick::MovRM32,
        (Op::Mov, Form::Rm, 3) => Quick::MovRM64,
        (Op::Mov, Form::Mr, 0) => Quick::MovMR8,
        (Op::Mov, Form::Mr, 1) => Quick::MovMR16,
        (Op::Mov, Form::Mr, 2) => Quick::MovMR32,
        (Op::Mov, Form::Mr, 3) => Quick::MovMR64,
        (Op::Mov, Form::Mi, 0) => Quick::MovMI8,
        (Op::Mov, Form::Mi, 1) => Quick::MovMI16,
        (Op::Mov, Form::Mi, 2) => Quick::MovMI32,
        (Op::Mov, Form::Mi, 3) => Quick::MovMI64,
        (Op::Movzx, Form::Rr, 2 | 3) if uop.sub == 0 && uop.src & HIGH == 0 => Quick::MovzxRB,
        (Op::Movzx, Form::Rm, 2 | 3) if uop.sub == 0 => Quick::MovzxMB,
        (Op::Movzx, Form::Rr, 2 | 3) if uop.sub == 1 => Quick::MovzxRW,
        (Op::Movzx, Form::Rm, 2 | 3) if uop.sub == 1 => Quick::MovzxMW,
        (Op::Movsx, Form::Rr, 3) if uop.sub == 2 => Quick::MovsxdRR,
        (Op::Movsx, Form::Rm, 3) if uop.sub == 2 => Quick::MovsxdRM,
        (Op::Movsx, Form::Rr, 2 | 3) if uop.sub < 2 && uop.src & HIGH == 0 => Quick::MovsxR,
        (Op::Movsx, Form::Rm, 2 | 3) if uop.sub < 2 => Quick::MovsxM,
        (Op::Lea, Form::Rm, 2) => Quick::Lea32,
        (Op::Lea, Form::Rm, 3) => Quick::Lea64,
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
        (Op::Push, Form::Rr, 2) if own == 2 => Quick::PushR32,
        (Op::Push, Form::Rr, 3) => Quick::PushR64,
        (Op::Push, Form::Ri, 3) => Quick::PushI64,
        (Op::Push, Form::Rm, 3) => Quick::PushM64,
        (Op::Pop, Form::Rr, 2) if own == 2 => Quick::PopR32,
        (Op::Pop, Form::Rr, 3) => Quick::PopR64,
        (Op::Leave, _, 3) => Quick::Leave64,
        (Op::Jmp, _, size) if size == own => Quick::Jmp,
        (Op::JmpIndirect, Form::Rr, 3) => Quick::JmpR,
        (Op::JmpIndirect, Form::Mr, 3) => Quick::JmpM,
        (Op::Call, _, 2) if own == 2 => Quick::Call32,
        (Op::Call, _, 3) => Quick::Call64,
        (Op::CallIndirect, Form::Rr, 3) => Quick::CallR64,
        (Op::CallIndirect, Form::Mr, 3) => Quick::CallM64,
        (Op::Ret, _, 2) if own == 2 && uop.imm == 0 => Quick::Ret32,
        (Op::Ret, _, 3) if uop.imm == 0 => Quick::Ret64,
        (Op::Link | Op::NextPage, ..) => Quick::Link,
        (Op::Jcc, _, size) if size == own => [Quick::Jo, Quick::Jb, Quick::Je, Quick::Jbe, Quick::Js, Quick::Jp, Quick::Jl, Quick::Jle][(uop.sub >> 1 & 7) as usize],
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

fn memory(size: u8) -> Quick {
    match size {
        0 => Quick::AluM8,
        1 => Quick::AluM16,
        2 => Quick::AluM32,
        _ => Quick::AluM64,
    }
}
