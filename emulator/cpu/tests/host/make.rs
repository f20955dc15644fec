//! Random instructions of a given form.

use emulator_cpu::decode;
use emulator_cpu::state::Mode;
use emulator_cpu::uop::Uop;
use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, EncodingKind, Instruction, MemoryOperand,
    OpCodeOperandKind as Kind, OpKind, Register,
};

use crate::guest::{CODE, DATA};
use crate::random::Random;

/// An encoded instruction.
pub(crate) struct Made {
    pub(crate) compat: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) instruction: Instruction,
    pub(crate) uop: Uop,
    /// Where it lies.
    pub(crate) at: u64,
}

impl Made {
    pub(crate) fn code(&self) -> Code {
        self.instruction.code()
    }
}

const GPR8: &[Register] = &[
    Register::AL,
    Register::CL,
    Register::DL,
    Register::BL,
    Register::AH,
    Register::CH,
    Register::DH,
    Register::BH,
    Register::SPL,
    Register::BPL,
    Register::SIL,
    Register::DIL,
    Register::R8L,
    Register::R12L,
    Register::R13L,
    Register::R15L,
];

fn numbered(random: &mut Random, first: Register, compat: bool) -> Register {
    let count = if compat { 8 } else { 16 };
    first + random.below(count) as u32
}

fn general(random: &mut Random, size: u32, compat: bool) -> Register {
    match size {
        1 => GPR8[random.below(if compat { 8 } else { GPR8.len() as u64 }) as usize],
        2 => numbered(random, Register::AX, compat),
        4 => numbered(random, Register::EAX, compat),
        _ => numbered(random, Register::RAX, compat),
    }
}

fn memory(random: &mut Random, compat: bool) -> MemoryOperand {
    let narrow = compat || random.one_in(12);
    let first = if narrow { Register::EAX } else { Register::RAX };
    let base = numbered(random, first, compat);
    let mut index = numbered(random, first, compat);
    if index == base || index == Register::RSP || index == Register::ESP || random.one_in(2) {
        index = Register::None;
    }
    let scale = if index == Register::None { 1 } else { random.pick(&[1, 2, 4, 8]) };
    let (size, displacement) = match random.below(4) {
        0 => (0, 0),
        1 => (1, random.below(256) as i64 - 128),
        _ => (if narrow { 4 } else { 8 }, i64::from(random.below(1 << 20) as i32 - (1 << 19))),
    };
    let size = if size == 0 && displacement != 0 { 1 } else { size };
    match random.below(20) {
        0 if !compat => {
            let target = DATA as i64 + random.below(0x2000) as i64;
            MemoryOperand::with_base_displ_size(Register::RIP, target, 8)
        }
        1 => {
            let target = DATA as i64 + random.below(0x2000) as i64;
            MemoryOperand::with_displ(target as u64, if compat { 4 } else { 8 })
        }
        _ => MemoryOperand::new(base, index, scale, displacement, size, false, Register::None),
    }
}

fn place_memory(instruction: &mut Instruction, operand: u32, memory: MemoryOperand) {
    instruction.set_op_kind(operand, OpKind::Memory);
    instruction.set_memory_base(memory.base);
    instruction.set_memory_index(memory.index);
    instruction.set_memory_index_scale(memory.scale);
    instruction.set_memory_displacement64(memory.displacement as u64);
    instruction.set_memory_displ_size(memory.displ_size);
    instruction.set_segment_prefix(memory.segment_prefix);
}

fn place_register(instruction: &mut Instruction, operand: u32, register: Register) {
    instruction.set_op_kind(operand, OpKind::Register);
    instruction.set_op_register(operand, register);
}

/// Fills one operand in; `None` for kinds that are not tried.
fn operand(
    random: &mut Random,
    i: &mut Instruction,
    n: u32,
    kind: Kind,
    compat: bool,
) -> Option<()> {
    let register = |i: &mut Instruction, random: &mut Random, size| {
        let register = general(random, size, compat);
        place_register(i, n, register);
    };
    match kind {
        Kind::mem => place_memory(i, n, memory(random, compat)),
        Kind::mem_offs => {
            let target = DATA + random.below(0x2000);
            let size = if compat { 4 } else { 8 };
            place_memory(i, n, MemoryOperand::with_displ(target, size));
        }
        Kind::r8_or_mem
        | Kind::r16_or_mem
        | Kind::r32_or_mem
        | Kind::r64_or_mem
        | Kind::mm_or_mem
        | Kind::xmm_or_mem
            if random.one_in(2) =>
        {
            place_memory(i, n, memory(random, compat));
        }
        Kind::r8_or_mem | Kind::r8_reg | Kind::r8_opcode => register(i, random, 1),
        Kind::r16_or_mem | Kind::r16_reg | Kind::r16_rm | Kind::r16_opcode | Kind::r16_reg_mem => {
            register(i, random, 2);
        }
        Kind::r32_or_mem | Kind::r32_reg | Kind::r32_rm | Kind::r32_opcode | Kind::r32_reg_mem => {
            register(i, random, 4);
        }
        Kind::r64_or_mem | Kind::r64_reg | Kind::r64_rm | Kind::r64_opcode | Kind::r64_reg_mem => {
            register(i, random, 8);
        }
        Kind::mm_or_mem | Kind::mm_reg | Kind::mm_rm => {
            place_register(i, n, Register::MM0 + random.below(8) as u32);
        }
        Kind::xmm_or_mem | Kind::xmm_reg | Kind::xmm_rm => {
            let register = numbered(random, Register::XMM0, compat);
            place_register(i, n, register);
        }
        Kind::seg_reg => {
            let segment = random.pick(&[
                Register::ES,
                Register::CS,
                Register::SS,
                Register::DS,
                Register::FS,
                Register::GS,
            ]);
            place_register(i, n, segment);
        }
        Kind::al => place_register(i, n, Register::AL),
        Kind::cl => place_register(i, n, Register::CL),
        Kind::ax => place_register(i, n, Register::AX),
        Kind::dx => place_register(i, n, Register::DX),
        Kind::eax => place_register(i, n, Register::EAX),
        Kind::rax => place_register(i, n, Register::RAX),
        Kind::es => place_register(i, n, Register::ES),
        Kind::cs => place_register(i, n, Register::CS),
        Kind::ss => place_register(i, n, Register::SS),
        Kind::ds => place_register(i, n, Register::DS),
        Kind::fs => place_register(i, n, Register::FS),
        Kind::gs => place_register(i, n, Register::GS),
        Kind::st0 => place_register(i, n, Register::ST0),
        Kind::sti_opcode => {
            let register = Register::ST0 + random.below(8) as u32;
            place_register(i, n, register);
        }
        _ => return immediate(random, i, n, kind),
    }
    Some(())
}

fn immediate(random: &mut Random, i: &mut Instruction, n: u32, kind: Kind) -> Option<()> {
    let value = random.integer();
    match kind {
        Kind::imm8_const_1 => {
            i.set_op_kind(n, OpKind::Immediate8);
            i.set_immediate8(1);
        }
        Kind::imm8 => {
            let second = (0..n).any(|before| i.op_kind(before) == OpKind::Immediate16);
            if second {
                i.set_op_kind(n, OpKind::Immediate8_2nd);
                i.set_immediate8_2nd(if random.one_in(2) { 0 } else { value as u8 & 7 });
            } else {
                i.set_op_kind(n, OpKind::Immediate8);
                i.set_immediate8(value as u8);
            }
        }
        Kind::imm8sex16 => {
            i.set_op_kind(n, OpKind::Immediate8to16);
            i.set_immediate8to16(i16::from(value as i8));
        }
        Kind::imm8sex32 => {
            i.set_op_kind(n, OpKind::Immediate8to32);
            i.set_immediate8to32(i32::from(value as i8));
        }
        Kind::imm8sex64 => {
            i.set_op_kind(n, OpKind::Immediate8to64);
            i.set_immediate8to64(i64::from(value as i8));
        }
        Kind::imm16 => {
            i.set_op_kind(n, OpKind::Immediate16);
            i.set_immediate16(value as u16 & if random.one_in(2) { 0xFF } else { 0xFFFF });
        }
        Kind::imm32 => {
            i.set_op_kind(n, OpKind::Immediate32);
            i.set_immediate32(value as u32);
        }
        Kind::imm32sex64 => {
            i.set_op_kind(n, OpKind::Immediate32to64);
            i.set_immediate32to64(i64::from(value as i32));
        }
        Kind::imm64 => {
            i.set_op_kind(n, OpKind::Immediate64);
            i.set_immediate64(value);
        }
        _ => return branch(random, i, n, kind),
    }
    Some(())
}

fn branch(random: &mut Random, i: &mut Instruction, n: u32, kind: Kind) -> Option<()> {
    let target = CODE + 0x800 + random.below(64);
    match kind {
        Kind::br16_1 | Kind::br16_2 => {
            i.set_op_kind(n, OpKind::NearBranch16);
            i.set_near_branch16(0x110);
        }
        Kind::br32_1 | Kind::br32_4 => {
            i.set_op_kind(n, OpKind::NearBranch32);
            i.set_near_branch32(CODE as u32 + if kind == Kind::br32_1 { 0x130 } else { 0x1234 });
        }
        Kind::br64_1 => {
            i.set_op_kind(n, OpKind::NearBranch64);
            i.set_near_branch64(CODE + 0xF0 + random.below(64));
        }
        Kind::br64_4 => {
            i.set_op_kind(n, OpKind::NearBranch64);
            i.set_near_branch64(target);
        }
        Kind::seg_rSI => i.set_op_kind(n, OpKind::MemorySegRSI),
        Kind::es_rDI => i.set_op_kind(n, OpKind::MemoryESRDI),
        Kind::seg_rDI => i.set_op_kind(n, OpKind::MemorySegRDI),
        Kind::seg_rBX_al => {
            i.set_op_kind(n, OpKind::Memory);
            i.set_memory_base(Register::RBX);
            i.set_memory_index(Register::AL);
        }
        _ => return None,
    }
    Some(())
}

/// A string instruction's index registers in this address size.
fn string_kinds(i: &mut Instruction, narrow: bool) {
    for n in 0..i.op_count() {
        let kind = match i.op_kind(n) {
            OpKind::MemorySegRSI if narrow => OpKind::MemorySegESI,
            OpKind::MemoryESRDI if narrow => OpKind::MemoryESEDI,
            OpKind::MemorySegRDI if narrow => OpKind::MemorySegEDI,
            other => other,
        };
        i.set_op_kind(n, kind);
    }
    if narrow && i.memory_base() == Register::RBX && i.memory_index() == Register::AL {
        i.set_memory_base(Register::EBX);
    }
}

/// An instruction of this form with random operands; `None` if there is none in this mode.
pub(crate) fn instruction(random: &mut Random, code: Code, compat: bool) -> Option<Made> {
    let i = form(random, code, compat)?;
    let at = CODE + if random.one_in(16) { 0xFF0 + random.below(16) } else { 0x100 };
    encode(&i, at, compat)
}

/// The same, not yet encoded.
pub(crate) fn form(random: &mut Random, code: Code, compat: bool) -> Option<Instruction> {
    let info = code.op_code();
    let here = if compat { info.mode32() } else { info.mode64() };
    if !info.is_instruction() || info.encoding() != EncodingKind::Legacy || !here {
        return None;
    }
    let mut i = Instruction::default();
    i.set_code(code);
    for n in 0..info.op_count() {
        operand(random, &mut i, n, info.op_kind(n), compat)?;
    }
    string_kinds(&mut i, compat || random.one_in(8));
    if info.can_use_rep_prefix() && random.one_in(2) {
        i.set_has_rep_prefix(true);
    } else if info.can_use_repne_prefix() && random.one_in(2) {
        i.set_has_repne_prefix(true);
    }
    if info.can_use_lock_prefix() && i.op0_kind() == OpKind::Memory && random.one_in(3) {
        i.set_has_lock_prefix(true);
    }
    Some(i)
}

/// The instruction as bytes for an address; `None` if they would mean another form.
pub(crate) fn encode(i: &Instruction, at: u64, compat: bool) -> Option<Made> {
    let mut encoder = Encoder::new(if compat { 32 } else { 64 });
    encoder.encode(i, at).ok()?;
    let bytes = encoder.take_buffer();
    let bits = if compat { 32 } else { 64 };
    let decoded = Decoder::with_ip(bits, &bytes, at, DecoderOptions::NONE).decode();
    if decoded.code() != i.code() {
        return None;
    }
    let mode = if compat { Mode::Bits32 } else { Mode::Bits64 };
    let uop = decode::decode(&bytes, at & 0xFFF, mode).ok()?;
    Some(Made { compat, bytes, instruction: decoded, uop, at })
}
