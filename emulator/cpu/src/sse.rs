//! MMX and SSE to SSE4.2, AES and PCLMULQDQ: decoding. Execution is in `moves`, `lanes` (and
//! what it computes in `pack`, `text`, `aes`), and `floats`.
//!
//! MMX instructions are the SSE instructions of the same name on half of the width.

mod aes;
mod area;
mod convert;
pub(crate) mod floats;
pub(crate) mod host;
mod lanes;
mod moves;
mod text;

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::decode::operands::{log2, place_operands, register_size};
use crate::family::family;
use crate::uop::{MMX, Op, Uop};

/// Bits of MXCSR that exist.
pub const MXCSR_MASK: u32 = 0xFFFF;

family! {
    /// Moves between registers and memory, without arithmetic.
    Move: Movaps, Movapd, Movdqa, Movups, Movupd, Movdqu, Lddqu, Movntps, Movntpd, Movntdq,
    Movntq, Movntdqa, Movd, Movq, Movss, Movsd, Movlps, Movlpd, Movhps, Movhpd, Movhlps, Movlhps,
    Movddup, Movsldup, Movshdup, Movq2dq, Movdq2q, Maskmovdqu, Maskmovq, Pextrb, Pextrw, Pextrd,
    Pextrq, Extractps, Pinsrb, Pinsrw, Pinsrd, Pinsrq, Insertps, Pmovmskb, Movmskps, Movmskpd,
}

family! {
    /// Integer lanes.
    Lane: Paddb, Paddw, Paddd, Paddq, Paddsb, Paddsw, Paddusb, Paddusw, Psubb, Psubw, Psubd,
    Psubq, Psubsb, Psubsw, Psubusb, Psubusw, Pmullw, Pmulhw, Pmulhuw, Pmuludq, Pmuldq, Pmulld,
    Pmaddwd, Pmaddubsw, Pmulhrsw, Pavgb, Pavgw, Psadbw, Mpsadbw, Phminposuw, Pminub, Pminuw,
    Pminud, Pminsb, Pminsw, Pminsd, Pmaxub, Pmaxuw, Pmaxud, Pmaxsb, Pmaxsw, Pmaxsd, Pand, Pandn,
    Por, Pxor, Andps, Andpd, Andnps, Andnpd, Orps, Orpd, Xorps, Xorpd, Pcmpeqb, Pcmpeqw, Pcmpeqd,
    Pcmpeqq, Pcmpgtb, Pcmpgtw, Pcmpgtd, Pcmpgtq, Packsswb, Packssdw, Packuswb, Packusdw,
    Punpcklbw, Punpcklwd, Punpckldq, Punpcklqdq, Punpckhbw, Punpckhwd, Punpckhdq, Punpckhqdq,
    Unpcklps, Unpcklpd, Unpckhps, Unpckhpd, Psllw, Pslld, Psllq, Psrlw, Psrld, Psrlq, Psraw,
    Psrad, Pslldq, Psrldq, Pshufd, Pshufhw, Pshuflw, Pshufw, Shufps, Shufpd, Pshufb, Phaddw,
    Phaddd, Phaddsw, Phsubw, Phsubd, Phsubsw, Psignb, Psignw, Psignd, Palignr, Pabsb, Pabsw,
    Pabsd, Pmovsxbw, Pmovsxbd, Pmovsxbq, Pmovsxwd, Pmovsxwq, Pmovsxdq, Pmovzxbw, Pmovzxbd,
    Pmovzxbq, Pmovzxwd, Pmovzxwq, Pmovzxdq, Ptest, Pblendvb, Pblendw, Blendps, Blendpd, Blendvps,
    Blendvpd, Pcmpestri, Pcmpestrm, Pcmpistri, Pcmpistrm, Pcmpestri64, Pcmpestrm64, Pclmulqdq,
    Aesenc, Aesenclast, Aesdec, Aesdeclast, Aesimc, Aeskeygenassist,
}

family! {
    /// Floating-point lanes.
    Float: Addps, Addpd, Addss, Addsd, Subps, Subpd, Subss, Subsd, Mulps, Mulpd, Mulss, Mulsd,
    Divps, Divpd, Divss, Divsd, Sqrtps, Sqrtpd, Sqrtss, Sqrtsd, Minps, Minpd, Minss, Minsd,
    Maxps, Maxpd, Maxss, Maxsd, Rcpps, Rcpss, Rsqrtps, Rsqrtss, Cmpps, Cmppd, Cmpss, Cmpsd,
    Comiss, Comisd, Ucomiss, Ucomisd, Haddps, Haddpd, Hsubps, Hsubpd, Addsubps, Addsubpd,
    Roundps, Roundpd, Roundss, Roundsd, Dpps, Dppd, Cvtsi2ss, Cvtsi2sd, Cvtss2si, Cvtsd2si,
    Cvttss2si, Cvttsd2si, Cvtss2sd, Cvtsd2ss, Cvtps2pd, Cvtpd2ps, Cvtdq2ps, Cvtdq2pd, Cvtps2dq,
    Cvttps2dq, Cvtpd2dq, Cvttpd2dq, Cvtpi2ps, Cvtpi2pd, Cvtps2pi, Cvttps2pi, Cvtpd2pi, Cvttpd2pi,
}

/// In `imm` of MOVD and MOVQ: the source is a general register.
pub const FROM_GENERAL: i32 = 1;
/// The same: the destination is.
pub const TO_GENERAL: i32 = 2;

/// The micro-operation of an instruction of these families.
pub(crate) fn lower(i: &Instruction) -> Option<Uop> {
    let mnemonic = i.mnemonic();
    let string = i.op_count() == 2
        && matches!(mnemonic, Mnemonic::Movsd | Mnemonic::Cmpsd)
        && i.op0_kind() != OpKind::Register
        && i.op1_kind() != OpKind::Register;
    if string {
        return None;
    }
    let (op, sub) = if let Some(lane) = Lane::of(mnemonic) {
        (Op::SseLane, lane as u8)
    } else if let Some(moved) = Move::of(mnemonic) {
        (Op::SseMove, moved as u8)
    } else if let Some(float) = Float::of(mnemonic) {
        (Op::SseFloat, float as u8)
    } else {
        let op = match mnemonic {
            Mnemonic::Fxsave | Mnemonic::Fxsave64 => Op::Fxsave,
            Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => Op::Fxrstor,
            Mnemonic::Xsave | Mnemonic::Xsave64 => Op::Xsave,
            Mnemonic::Xrstor | Mnemonic::Xrstor64 => Op::Xrstor,
            Mnemonic::Ldmxcsr => Op::Ldmxcsr,
            Mnemonic::Stmxcsr => Op::Stmxcsr,
            Mnemonic::Emms => Op::Emms,
            _ => return None,
        };
        let mut uop = Uop::new(op);
        let wide = matches!(
            mnemonic,
            Mnemonic::Fxsave64 | Mnemonic::Fxrstor64 | Mnemonic::Xsave64 | Mnemonic::Xrstor64
        );
        uop.size = if wide { 3 } else { 2 };
        if op != Op::Emms {
            place_operands(i, &mut uop);
        }
        return Some(uop);
    };
    let mut uop = Uop::new(op);
    uop.sub = sub;
    place_operands(i, &mut uop);
    uop.size = width(i, &uop);
    if matches!(mnemonic, Mnemonic::Movd | Mnemonic::Movq) {
        if i.op0_register().is_gpr() {
            uop.imm = TO_GENERAL;
        } else if i.op1_register().is_gpr() {
            uop.imm = FROM_GENERAL;
        }
    }
    if matches!(mnemonic, Mnemonic::Maskmovq | Mnemonic::Maskmovdqu) {
        // Operand 0 is memory at DS:RDI.
        uop.flags = uop.flags & MMX
            | if i.op0_kind() == OpKind::MemorySegEDI { crate::uop::ADDR32 } else { 0 };
        uop.dst = i.op1_register().number() as u8;
        uop.src = i.op2_register().number() as u8;
    }
    if op == Op::SseFloat && i.op0_register().is_gpr() {
        // The size of the integer that a conversion makes.
        uop.imm = register_size(i.op0_register()).into();
    }
    Some(uop)
}

/// The size of the memory operand, else that of a general register, else that of the lanes.
fn width(i: &Instruction, uop: &Uop) -> u8 {
    for n in 0..i.op_count() {
        if i.op_kind(n) == OpKind::Memory {
            return log2(i.memory_size().size());
        }
    }
    for n in 0..i.op_count() {
        if i.op_kind(n) == OpKind::Register && i.op_register(n).is_gpr() {
            return register_size(i.op_register(n));
        }
    }
    if uop.has(MMX) { 3 } else { 4 }
}
