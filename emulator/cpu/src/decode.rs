//! From bytes to a micro-operation: iced-x86 reads the encoding, this file says what of it
//! the processor executes.
//!
//! [`lower`] is a pure function of the instruction. What it does not know becomes
//! [`Op::Invalid`], which raises #UD: so the processor has exactly the instructions that are
//! named here, and CPUID must not promise others.

pub(crate) mod operands;

use iced_x86::{Code, ConditionCode, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};

use crate::sse;
use crate::state::Mode;
use crate::uop::{ADDR32, IMM, LOCK, MEM_DST, MEM_SRC, MMX, Op, REP, REPNE, Uop};
use crate::x87;
use operands::{log2, operand_size, place_memory, place_operands, register_size};

/// The longest instruction.
pub const LONGEST: usize = 15;

/// Without BMI1 and LZCNT, the encodings of TZCNT and LZCNT are BSF and BSR.
const OPTIONS: u32 =
    DecoderOptions::NO_MPFX_0FBC | DecoderOptions::NO_MPFX_0FBD | DecoderOptions::NO_WBNOINVD;

/// Why there is no micro-operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecoded {
    /// The instruction goes on beyond these bytes.
    Short,
    /// More than 15 bytes: #GP(0).
    Long,
}

/// Decodes the instruction at the start of `bytes`, which lie at `offset` of their page.
pub fn decode(bytes: &[u8], offset: u64, mode: Mode) -> Result<Uop, Undecoded> {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let bits = match mode {
        Mode::Bits64 => 64,
        Mode::Bits32 => 32,
        Mode::Bits16 => 16,
    };
    let mut decoder = Decoder::with_ip(bits, bytes, offset, OPTIONS);
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        if decoder.last_error() == iced_x86::DecoderError::NoMoreBytes {
            return Err(if bytes.len() < LONGEST { Undecoded::Short } else { Undecoded::Long });
        }
        let mut invalid = Uop::new(Op::Invalid);
        invalid.place = offset as u16 | 1 << 12;
        return Ok(invalid);
    }
    let mut uop = lower(&instruction, mode);
    uop.place = offset as u16 & 0xFFF | (instruction.len() as u16) << 12;
    Ok(uop)
}

/// The micro-operation of an instruction; the instruction pointer that it was decoded with
/// must be its offset in its page. `place` is left to the caller.
pub fn lower(i: &Instruction, mode: Mode) -> Uop {
    let family = sse::lower(i).or_else(|| x87::lower(i));
    let mut uop = family.unwrap_or_else(|| integer(i));
    if uop.op == Op::Invalid {
        return uop;
    }
    if i.has_lock_prefix() {
        if !lockable(uop.op) || uop.flags & MEM_DST == 0 {
            return Uop::new(Op::Invalid);
        }
        uop.flags |= LOCK;
    }
    place_memory(i, mode, &mut uop);
    uop
}

/// May the instruction have a LOCK prefix, if its destination is memory?
fn lockable(op: Op) -> bool {
    matches!(
        op,
        Op::Add
            | Op::Or
            | Op::Adc
            | Op::Sbb
            | Op::And
            | Op::Sub
            | Op::Xor
            | Op::Inc
            | Op::Dec
            | Op::Neg
            | Op::Not
            | Op::Xchg
            | Op::Xadd
            | Op::Cmpxchg
            | Op::Cmpxchg8b
            | Op::Cmpxchg16b
            | Op::Bts
            | Op::Btr
            | Op::Btc
    )
}

fn integer(i: &Instruction) -> Uop {
    if let Some(uop) = conditional(i).or_else(|| string(i)).or_else(|| stack(i)) {
        return uop;
    }
    if let Some(uop) = branch(i).or_else(|| special(i)) {
        return uop;
    }
    let op = plain(i.mnemonic());
    let mut uop = Uop::new(op);
    if op == Op::Invalid {
        return uop;
    }
    if i.op_count() > 0 {
        uop.size = operand_size(i, 0);
    }
    place_operands(i, &mut uop);
    uop
}

/// Instructions whose operands need no further thought: destination, source, immediate.
#[rustfmt::skip]
fn plain(mnemonic: Mnemonic) -> Op {
    use Mnemonic as M;
    match mnemonic {
        M::Add => Op::Add, M::Or => Op::Or, M::Adc => Op::Adc, M::Sbb => Op::Sbb,
        M::And => Op::And, M::Sub => Op::Sub, M::Xor => Op::Xor, M::Cmp => Op::Cmp,
        M::Test => Op::Test, M::Inc => Op::Inc, M::Dec => Op::Dec, M::Neg => Op::Neg,
        M::Not => Op::Not, M::Mov => Op::Mov, M::Lea => Op::Lea, M::Bswap => Op::Bswap,
        M::Movnti => Op::MovNti,
        M::Xchg => Op::Xchg, M::Xadd => Op::Xadd, M::Cmpxchg => Op::Cmpxchg,
        M::Cmpxchg8b => Op::Cmpxchg8b, M::Cmpxchg16b => Op::Cmpxchg16b,
        M::Rol => Op::Rol, M::Ror => Op::Ror, M::Rcl => Op::Rcl, M::Rcr => Op::Rcr,
        M::Shl | M::Sal => Op::Shl, M::Shr => Op::Shr, M::Sar => Op::Sar,
        M::Shld => Op::Shld, M::Shrd => Op::Shrd,
        M::Bt => Op::Bt, M::Bts => Op::Bts, M::Btr => Op::Btr, M::Btc => Op::Btc,
        M::Bsf => Op::Bsf, M::Bsr => Op::Bsr, M::Popcnt => Op::Popcnt,
        M::Mul => Op::Mul, M::Div => Op::Div, M::Idiv => Op::Idiv,
        M::Lahf => Op::Lahf, M::Sahf => Op::Sahf, M::Salc => Op::Salc,
        M::Clc => Op::Clc, M::Stc => Op::Stc, M::Cmc => Op::Cmc, M::Cld => Op::Cld, M::Std => Op::Std,
        M::Daa => Op::Daa, M::Das => Op::Das, M::Aaa => Op::Aaa, M::Aas => Op::Aas,
        M::Xlatb => Op::Xlat, M::Into => Op::Into, M::Int3 => Op::Int3, M::Int1 => Op::Int1,
        M::Bound => Op::Bound, M::Arpl => Op::Arpl,
        M::Lar => Op::Lar, M::Lsl => Op::Lsl, M::Verr => Op::Verr, M::Verw => Op::Verw,
        M::Nop | M::Endbr64 | M::Endbr32 | M::Lfence | M::Mfence | M::Sfence
        | M::Prefetchnta | M::Prefetcht0 | M::Prefetcht1 | M::Prefetcht2 | M::Prefetchw
        | M::Prefetch | M::Reservednop => Op::Nop,
        M::Pause => Op::Pause,
        M::Ud0 | M::Ud1 | M::Ud2 => Op::Ud,
        M::Syscall => Op::Syscall, M::Sysenter => Op::Sysenter,
        M::Cli => Op::Cli, M::Sti => Op::Sti, M::Hlt => Op::Hlt, M::Cpuid => Op::Cpuid,
        M::Rdtsc => Op::Rdtsc, M::Rdtscp => Op::Rdtscp, M::Rdpmc => Op::Rdpmc,
        M::Rdmsr => Op::Rdmsr, M::Wrmsr => Op::Wrmsr, M::Rdrand => Op::Rdrand, M::Rdseed => Op::Rdseed,
        M::Clts => Op::Clts, M::Lmsw => Op::Lmsw, M::Smsw => Op::Smsw,
        M::Invlpg => Op::Invlpg, M::Invpcid => Op::Invpcid, M::Wbinvd | M::Invd => Op::Wbinvd,
        M::Lgdt => Op::Lgdt, M::Lidt => Op::Lidt, M::Sgdt => Op::Sgdt, M::Sidt => Op::Sidt,
        M::Lldt => Op::Lldt, M::Ltr => Op::Ltr, M::Sldt => Op::Sldt, M::Str => Op::Str,
        M::Swapgs => Op::Swapgs, M::Rdfsbase => Op::Rdfsbase, M::Rdgsbase => Op::Rdgsbase,
        M::Wrfsbase => Op::Wrfsbase, M::Wrgsbase => Op::Wrgsbase,
        M::Clflush => Op::Clflush, M::Xgetbv => Op::Xgetbv, M::Xsetbv => Op::Xsetbv,
        _ => Op::Invalid,
    }
}

/// Jcc, SETcc, CMOVcc, LOOPcc.
fn conditional(i: &Instruction) -> Option<Uop> {
    let condition = i.condition_code();
    if condition == ConditionCode::None {
        return None;
    }
    let mut uop;
    match i.mnemonic() {
        Mnemonic::Loope | Mnemonic::Loopne => return None,
        _ if i.op0_kind() == OpKind::Register && i.op_count() == 2 => {
            uop = Uop::new(Op::Cmovcc);
            uop.size = operand_size(i, 0);
            place_operands(i, &mut uop);
        }
        _ if i.is_jcc_short_or_near() => uop = relative(i, Op::Jcc),
        _ => {
            uop = Uop::new(Op::Setcc);
            place_operands(i, &mut uop);
        }
    }
    uop.sub = condition as u8 - 1;
    Some(uop)
}

/// A branch whose distance from the next instruction is in `imm`; `size` is that of the
/// instruction pointer.
fn relative(i: &Instruction, op: Op) -> Uop {
    let mut uop = Uop::new(op);
    uop.size = match i.op0_kind() {
        OpKind::NearBranch16 => 1,
        OpKind::NearBranch32 => 2,
        _ => 3,
    };
    // Displacements are sign-extended; in the sizes below 64 bits iced has wrapped them.
    let distance = i.near_branch_target().wrapping_sub(i.next_ip());
    uop.imm = crate::flags::extend(uop.size, distance) as i32;
    uop
}

fn branch(i: &Instruction) -> Option<Uop> {
    use Mnemonic as M;
    let near =
        matches!(i.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64)
            && i.op_count() == 1;
    let far = matches!(i.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32);
    let mut uop = match i.mnemonic() {
        M::Jmp if near => relative(i, Op::Jmp),
        M::Call if near => relative(i, Op::Call),
        M::Loop => relative(i, Op::Loop),
        M::Loope => relative(i, Op::Loope),
        M::Loopne => relative(i, Op::Loopne),
        M::Jcxz | M::Jecxz | M::Jrcxz => relative(i, Op::Jcxz),
        M::Jmp | M::Call if far => {
            let mut uop = Uop::new(if i.mnemonic() == M::Jmp { Op::JmpFar } else { Op::CallFar });
            let wide = i.op0_kind() == OpKind::FarBranch32;
            let offset = if wide { i.far_branch32() } else { i.far_branch16().into() };
            uop.size = if wide { 2 } else { 1 };
            uop.flags = IMM;
            uop.imm = offset as i32;
            uop.disp = i.far_branch_selector().into();
            uop
        }
        M::Jmp | M::Call => {
            let code = i.code();
            let far = matches!(
                code,
                Code::Jmp_m1616
                    | Code::Jmp_m1632
                    | Code::Jmp_m1664
                    | Code::Call_m1616
                    | Code::Call_m1632
                    | Code::Call_m1664
            );
            let mut uop = Uop::new(match (i.mnemonic(), far) {
                (M::Jmp, false) => Op::JmpIndirect,
                (M::Jmp, true) => Op::JmpFar,
                (_, false) => Op::CallIndirect,
                (_, true) => Op::CallFar,
            });
            uop.size = match code {
                Code::Jmp_m1616 | Code::Call_m1616 => 1,
                Code::Jmp_m1632 | Code::Call_m1632 => 2,
                Code::Jmp_m1664 | Code::Call_m1664 => 3,
                _ => operand_size(i, 0),
            };
            place_operands(i, &mut uop);
            uop
        }
        _ => return None,
    };
    // The counter of LOOP and JCXZ has the size of addresses.
    uop.src = match i.code() {
        Code::Loop_rel8_16_CX
        | Code::Loop_rel8_32_CX
        | Code::Loope_rel8_16_CX
        | Code::Loope_rel8_32_CX
        | Code::Loopne_rel8_16_CX
        | Code::Loopne_rel8_32_CX
        | Code::Jcxz_rel8_16
        | Code::Jcxz_rel8_32 => 1,
        Code::Loop_rel8_16_ECX
        | Code::Loop_rel8_32_ECX
        | Code::Loop_rel8_64_ECX
        | Code::Loope_rel8_16_ECX
        | Code::Loope_rel8_32_ECX
        | Code::Loope_rel8_64_ECX
        | Code::Loopne_rel8_16_ECX
        | Code::Loopne_rel8_32_ECX
        | Code::Loopne_rel8_64_ECX
        | Code::Jecxz_rel8_16
        | Code::Jecxz_rel8_32
        | Code::Jecxz_rel8_64 => 2,
        _ if matches!(uop.op, Op::Loop | Op::Loope | Op::Loopne | Op::Jcxz) => 3,
        _ => uop.src,
    };
    Some(uop)
}

/// Instructions that push or pop, with the size of what they move.
fn stack(i: &Instruction) -> Option<Uop> {
    use Mnemonic as M;
    let moved = log2(i.stack_pointer_increment().unsigned_abs() as usize);
    let (op, size) = match i.mnemonic() {
        M::Push if i.op0_register().is_segment_register() => (Op::PushSeg, moved),
        M::Pop if i.op0_register().is_segment_register() => (Op::PopSeg, moved),
        M::Push => (Op::Push, moved),
        M::Pop => (Op::Pop, moved),
        M::Pushf => (Op::Pushf, 1),
        M::Pushfd => (Op::Pushf, 2),
        M::Pushfq => (Op::Pushf, 3),
        M::Popf => (Op::Popf, 1),
        M::Popfd => (Op::Popf, 2),
        M::Popfq => (Op::Popf, 3),
        M::Pusha => (Op::Pusha, 1),
        M::Pushad => (Op::Pusha, 2),
        M::Popa => (Op::Popa, 1),
        M::Popad => (Op::Popa, 2),
        M::Leave => (Op::Leave, suffix(i.code(), Code::Leavew, Code::Leaved)),
        M::Enter => (Op::Enter, suffix(i.code(), Code::Enterw_imm16_imm8, Code::Enterd_imm16_imm8)),
        M::Ret => (
            Op::Ret,
            match i.code() {
                Code::Retnw | Code::Retnw_imm16 => 1,
                Code::Retnd | Code::Retnd_imm16 => 2,
                _ => 3,
            },
        ),
        M::Retf => (
            Op::RetFar,
            match i.code() {
                Code::Retfw | Code::Retfw_imm16 => 1,
                Code::Retfd | Code::Retfd_imm16 => 2,
                _ => 3,
            },
        ),
        M::Iret => (Op::Iret, 1),
        M::Iretd => (Op::Iret, 2),
        M::Iretq => (Op::Iret, 3),
        _ => return None,
    };
    let mut uop = Uop::new(op);
    uop.size = size;
    if op == Op::Enter {
        uop.imm = i32::from(i.immediate16()) | i32::from(i.immediate8_2nd()) << 16;
    } else if i.op_count() > 0 {
        place_operands(i, &mut uop);
        if op == Op::Push && uop.flags & MEM_DST != 0 {
            // What PUSH reads is its source.
            uop.flags = uop.flags & !MEM_DST | MEM_SRC;
        } else if op == Op::Push && uop.flags & IMM == 0 {
            uop.src = uop.dst;
        }
    }
    Some(uop)
}

/// Size by code: the 16-bit one, the 32-bit one, else 64 bits.
fn suffix(code: Code, word: Code, double: Code) -> u8 {
    if code == word {
        1
    } else if code == double {
        2
    } else {
        3
    }
}

/// String instructions and ports.
fn string(i: &Instruction) -> Option<Uop> {
    use Mnemonic as M;
    let in_memory = |kind: OpKind| {
        matches!(
            kind,
            OpKind::MemorySegSI
                | OpKind::MemorySegESI
                | OpKind::MemorySegRSI
                | OpKind::MemorySegDI
                | OpKind::MemorySegEDI
                | OpKind::MemorySegRDI
                | OpKind::MemoryESDI
                | OpKind::MemoryESEDI
                | OpKind::MemoryESRDI
        )
    };
    let operand = if in_memory(i.op0_kind()) { i.op0_kind() } else { i.op1_kind() };
    let op = match i.mnemonic() {
        M::Movsb | M::Movsw | M::Movsd | M::Movsq if in_memory(i.op0_kind()) => Op::Movs,
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq if in_memory(i.op0_kind()) => Op::Cmps,
        M::Stosb | M::Stosw | M::Stosd | M::Stosq => Op::Stos,
        M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => Op::Lods,
        M::Scasb | M::Scasw | M::Scasd | M::Scasq => Op::Scas,
        M::Insb | M::Insw | M::Insd => Op::Ins,
        M::Outsb | M::Outsw | M::Outsd => Op::Outs,
        M::In | M::Out => {
            let mut uop = Uop::new(if i.mnemonic() == M::In { Op::In } else { Op::Out });
            let (data, port) = if uop.op == Op::In { (0, 1) } else { (1, 0) };
            uop.size = register_size(i.op_register(data));
            if i.op_kind(port) == OpKind::Immediate8 {
                uop.flags = IMM;
                uop.imm = i.immediate8().into();
            }
            return Some(uop);
        }
        _ => return None,
    };
    let mut uop = Uop::new(op);
    uop.size = log2(i.memory_size().size());
    uop.flags = match operand {
        OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => 0,
        OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => ADDR32,
        _ => MMX,
    };
    if i.has_repne_prefix() {
        uop.flags |= REPNE;
    } else if i.has_rep_prefix() {
        uop.flags |= REP;
    }
    Some(uop)
}

/// What is left: operands of two sizes, control registers, segment registers.
fn special(i: &Instruction) -> Option<Uop> {
    use Mnemonic as M;
    let (op, size) = match i.mnemonic() {
        M::Mov if i.op1_register().is_segment_register() => (Op::MovFromSeg, operand_size(i, 0)),
        M::Mov if i.op0_register().is_segment_register() => (Op::MovToSeg, 1),
        M::Mov if i.op0_register().is_cr() => (Op::MovToCr, 3),
        M::Mov if i.op1_register().is_cr() => (Op::MovFromCr, 3),
        M::Mov if i.op0_register().is_dr() => (Op::MovToDr, 3),
        M::Mov if i.op1_register().is_dr() => (Op::MovFromDr, 3),
        M::Mov if i.op0_register().is_tr() || i.op1_register().is_tr() => (Op::Invalid, 0),
        M::Mov if absolute(i) => {
            let load = i.op1_kind() == OpKind::Memory;
            let mut uop = Uop::new(if load { Op::MovAbsLoad } else { Op::MovAbsStore });
            uop.size = operand_size(i, 0);
            uop.set_wide(i.memory_displacement64());
            return Some(uop);
        }
        M::Mov if i.op1_kind() == OpKind::Immediate64 => {
            let mut uop = Uop::new(Op::MovWide);
            uop.size = 3;
            uop.dst = i.op0_register().number() as u8;
            uop.set_wide(i.immediate64());
            return Some(uop);
        }
        M::Movzx => return Some(widening(i, Op::Movzx)),
        M::Movsx | M::Movsxd => return Some(widening(i, Op::Movsx)),
        M::Crc32 => return Some(widening(i, Op::Crc32)),
        M::Imul => (if i.op_count() == 1 { Op::Imul1 } else { Op::Imul }, operand_size(i, 0)),
        M::Cbw => (Op::Widen, 1),
        M::Cwde => (Op::Widen, 2),
        M::Cdqe => (Op::Widen, 3),
        M::Cwd => (Op::SignToD, 1),
        M::Cdq => (Op::SignToD, 2),
        M::Cqo => (Op::SignToD, 3),
        M::Aam => (Op::Aam, 0),
        M::Aad => (Op::Aad, 0),
        M::Int => (Op::Int, 0),
        M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss => {
            let mut uop = Uop::new(Op::LoadFar);
            uop.size = register_size(i.op0_register());
            place_operands(i, &mut uop);
            uop.sub = match i.mnemonic() {
                M::Les => 0,
                M::Lss => 2,
                M::Lds => 3,
                M::Lfs => 4,
                _ => 5,
            };
            return Some(uop);
        }
        M::Sysret => (Op::Sysret, 2),
        M::Sysretq => (Op::Sysret, 3),
        M::Sysexit => (Op::Sysexit, 2),
        M::Sysexitq => (Op::Sysexit, 3),
        _ => return None,
    };
    let mut uop = Uop::new(op);
    uop.size = size;
    place_operands(i, &mut uop);
    Some(uop)
}

/// MOV of the accumulator with the address as the immediate.
fn absolute(i: &Instruction) -> bool {
    matches!(
        i.code(),
        Code::Mov_AL_moffs8
            | Code::Mov_AX_moffs16
            | Code::Mov_EAX_moffs32
            | Code::Mov_RAX_moffs64
            | Code::Mov_moffs8_AL
            | Code::Mov_moffs16_AX
            | Code::Mov_moffs32_EAX
            | Code::Mov_moffs64_RAX
    )
}

/// A source smaller than the destination: its size goes to `sub`.
fn widening(i: &Instruction, op: Op) -> Uop {
    let mut uop = Uop::new(op);
    uop.size = operand_size(i, 0);
    place_operands(i, &mut uop);
    uop.sub = operand_size(i, 1);
    uop
}
