//! Operands: registers by number, memory as base, index, scale and displacement.

use iced_x86::{Instruction, OpKind, Register};

use crate::state::Mode;
use crate::uop::{ADDR32, CODE_PAGE, HIGH, IMM, MEM_DST, MEM_SRC, MMX, Op, Uop, ZERO};

/// A size in bytes as a power of two; sizes that are none (10 of x87, 512 of FXSAVE) round
/// down.
pub(crate) fn log2(bytes: usize) -> u8 {
    bytes.max(1).ilog2() as u8
}

pub(crate) fn register_size(register: Register) -> u8 {
    log2(register.size())
}

/// Size of an operand as a power of two of bytes.
pub(crate) fn operand_size(i: &Instruction, operand: u32) -> u8 {
    match i.op_kind(operand) {
        OpKind::Register => register_size(i.op_register(operand)),
        OpKind::Memory => log2(i.memory_size().size()),
        _ => 0,
    }
}

/// The number of a register as the micro-operation has it.
pub(crate) fn number(register: Register) -> u8 {
    if register >= Register::AH && register <= Register::BH {
        HIGH | (register as u8 - Register::AH as u8)
    } else {
        // A register's low parts have its number; SPL … DIL would not have it by themselves.
        match register.full_register() {
            Register::None => register.number() as u8,
            full => full.number() as u8,
        }
    }
}

/// Destination, source and immediate as most instructions have them: operand 0 is the
/// destination, operand 1 the source, the last may be an immediate. With three operands and a
/// register in the third place (SHLD by CL, implicit XMM0), that one is left out.
pub(crate) fn place_operands(i: &Instruction, uop: &mut Uop) {
    for operand in 0..i.op_count() {
        let kind = i.op_kind(operand);
        match (operand, kind) {
            (0, OpKind::Register) => uop.dst = number(i.op0_register()),
            (1, OpKind::Register) => uop.src = number(i.op1_register()),
            (0, OpKind::Memory) => uop.flags |= MEM_DST,
            (1, OpKind::Memory) => uop.flags |= MEM_SRC,
            (_, OpKind::Register) => {}
            _ => {
                uop.flags |= IMM;
                if let Ok(immediate) = i.try_immediate(operand) {
                    uop.imm = immediate as i32;
                }
            }
        }
        if kind == OpKind::Register && i.op_register(operand).is_mm() {
            uop.flags |= MMX;
        }
    }
}

/// The memory operand, and the segment of string instructions.
pub(crate) fn place_memory(i: &Instruction, mode: Mode, uop: &mut Uop) {
    let register = |register: Register| match register {
        Register::None => ZERO,
        Register::RIP | Register::EIP => CODE_PAGE,
        other => other.number() as u8,
    };
    let has_memory = (0..i.op_count()).any(|operand| i.op_kind(operand) == OpKind::Memory);
    let string = (0..i.op_count()).any(|operand| {
        matches!(
            i.op_kind(operand),
            OpKind::MemorySegSI
                | OpKind::MemorySegESI
                | OpKind::MemorySegRSI
                | OpKind::MemorySegDI
                | OpKind::MemorySegEDI
                | OpKind::MemorySegRDI
        )
    });
    let implied = i.mnemonic() == iced_x86::Mnemonic::Xlatb;
    if !has_memory && !string && !implied {
        return;
    }
    let segment = match i.memory_segment() {
        Register::FS => 5,
        Register::GS => 6,
        // In 64-bit mode the others have no base.
        _ if mode == Mode::Bits64 => 0,
        other => other.number() as u8 + 1,
    };
    uop.sib |= segment << 2;
    if !has_memory {
        return;
    }
    uop.base = register(i.memory_base());
    uop.index = register(i.memory_index());
    uop.sib |= i.memory_index_scale().ilog2() as u8;
    if !matches!(uop.op, Op::MovAbsLoad | Op::MovAbsStore) {
        uop.disp = i.memory_displacement64() as i32;
    }
    let narrow = [i.memory_base(), i.memory_index()].iter().any(|used| used.size() == 4);
    let word = [i.memory_base(), i.memory_index()].iter().any(|used| used.size() == 2);
    if narrow || (mode != Mode::Bits64) || (i.memory_displ_size() == 4 && absolute32(i)) {
        uop.flags |= ADDR32;
    }
    if word || (uop.base == ZERO && uop.index == ZERO && i.memory_displ_size() == 2) {
        // 16-bit addresses: wrap at 64 KiB, noted in the bit that only strings use otherwise.
        uop.sib |= 1 << 5;
    }
}

/// A 32-bit absolute address under an address-size prefix: zero-extended, as iced says.
fn absolute32(i: &Instruction) -> bool {
    i.memory_base() == Register::None
        && i.memory_index() == Register::None
        && i.memory_displacement64() >> 31 == 1
}
