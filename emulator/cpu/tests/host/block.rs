//! Short blocks: a few instructions one behind the other, with branches forward over one of
//! them, up to UD2 or the first fault. Here the loop executes them, so flags that nobody
//! asked for stay uncomputed from one to the next, and compares are fused with branches.

use emulator_cpu::flags::{AF, CF, OF, PF, SF, STATUS, ZF};
use emulator_cpu::uop::Op;
use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
    RflagsBits,
};

use crate::guest::{CODE, DATA, Registers};
use crate::make::{self, Made};
use crate::random::Random;
use crate::state;

/// Most instructions of a block.
const LONGEST: u64 = 12;
/// Registers that hold addresses: blocks do not write to them, but through them.
const POINTERS: [usize; 4] = [3, 5, 6, 7];
const UD2: [u8; 2] = [0x0F, 0x0B];
/// Flags that the conditions read, by half of their number.
const READ: [u64; 8] = [OF, CF, ZF, CF | ZF, SF, PF, SF | OF, SF | OF | ZF];

/// An instruction of a block.
pub(crate) struct Part {
    pub(crate) at: u64,
    /// Flags that are undefined before it.
    pub(crate) undefined: u64,
    /// `None` is a branch.
    pub(crate) made: Option<Made>,
}

pub(crate) struct Block {
    pub(crate) compat: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) parts: Vec<Part>,
    pub(crate) at: u64,
    /// Flags that are undefined at the end.
    pub(crate) undefined: u64,
}

/// May this form be part of a block? Not if it goes elsewhere, or shows what is not compared.
pub(crate) fn fits(made: &Made) -> bool {
    let i = &made.instruction;
    let shows = matches!(
        i.mnemonic(),
        Mnemonic::Fnstenv
            | Mnemonic::Fnsave
            | Mnemonic::Fxsave
            | Mnemonic::Fxsave64
            | Mnemonic::Popf
            | Mnemonic::Popfd
            | Mnemonic::Popfq
    );
    let bits = matches!(made.uop.op, Op::Bt | Op::Bts | Op::Btr | Op::Btc)
        && i.op0_kind() == OpKind::Memory
        && i.op1_kind() == OpKind::Register;
    // Their result may be undefined.
    let double = matches!(made.uop.op, Op::Shld | Op::Shrd) && made.uop.size == 1;
    let straight = i.flow_control() == FlowControl::Next;
    straight && !i.is_privileged() && !shows && !bits && !double && keeps_pointers(i)
}

fn keeps_pointers(i: &Instruction) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let string = i.is_string_instruction();
    factory.info(i).used_registers().iter().all(|used| {
        let writes =
            !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
        let whole = used.register().full_register();
        let general = (Register::RAX..=Register::R15).contains(&whole);
        let number = if general { whole.number() } else { 0 };
        let pushes = number == 4 && i.is_stack_instruction() && !explicit_stack_pointer(i);
        let advances = matches!(number, 6 | 7) && string;
        !writes || pushes || advances || !(number == 4 || POINTERS.contains(&number))
    })
}

/// POP RSP and its like.
fn explicit_stack_pointer(i: &Instruction) -> bool {
    (0..i.op_count()).any(|n| {
        i.op_kind(n) == OpKind::Register && i.op_register(n).full_register() == Register::RSP
    })
}

/// Aims the operand in memory by one of the pointers.
fn aim(random: &mut Random, i: &mut Instruction, compat: bool) {
    let memory = (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory);
    let base = i.memory_base();
    if !memory || matches!(base, Register::None | Register::RIP | Register::EIP) {
        return;
    }
    if matches!(i.mnemonic(), Mnemonic::Xlatb | Mnemonic::Lea) {
        return;
    }
    let first = if compat { Register::EAX } else { Register::RAX };
    i.set_memory_base(first + random.pick(&POINTERS) as u32);
    i.set_memory_index(Register::None);
    i.set_memory_index_scale(1);
    i.set_memory_displ_size(1);
    i.set_memory_displacement64((random.below(16) as i64 * 16 - 128) as u64);
}

fn flags_of(bits: u32) -> u64 {
    let pairs = [
        (RflagsBits::OF, OF),
        (RflagsBits::SF, SF),
        (RflagsBits::ZF, ZF),
        (RflagsBits::AF, AF),
        (RflagsBits::CF, CF),
        (RflagsBits::PF, PF),
    ];
    pairs.iter().filter(|(theirs, _)| bits & theirs != 0).map(|(_, ours)| ours).sum()
}

/// Flags that are undefined behind an instruction. `None`: it reads one that is undefined.
fn undefined_behind(made: &Made, before: u64) -> Option<u64> {
    let i = &made.instruction;
    if flags_of(i.rflags_read()) & before != 0 {
        return None;
    }
    let shift = matches!(
        made.uop.op,
        Op::Shl | Op::Shr | Op::Sar | Op::Shld | Op::Shrd | Op::Rol | Op::Ror | Op::Rcl | Op::Rcr
    );
    // Flags of a shift depend on its count, and a count of zero leaves them all.
    if shift {
        let carry = if matches!(made.uop.op, Op::Shl | Op::Shr) { CF } else { 0 };
        return Some(before | OF | AF | carry);
    }
    // Repeated compares may end before they begin.
    let repeated = i.has_rep_prefix() || i.has_repne_prefix();
    let written = if repeated { 0 } else { flags_of(i.rflags_modified()) };
    Some(before & !written | flags_of(i.rflags_undefined()))
}

/// A random block of forms that are wanted.
pub(crate) fn block(
    random: &mut Random,
    forms: &[Code],
    compat: bool,
    wanted: impl Fn(&Made) -> bool,
) -> Block {
    let at = CODE + if random.one_in(16) { 0xFC0 + random.below(0x40) } else { 0x100 };
    let length = 2 + random.below(LONGEST - 1) as usize;
    let mut block = Block { compat, bytes: Vec::new(), parts: Vec::new(), at, undefined: 0 };
    // A branch before the next instruction that may skip it: where its distance is.
    let mut branch = None;
    // Few forms, so that they meet.
    let near: Vec<Code> = (0..6).map(|_| random.pick(forms)).collect();
    while block.parts.len() < length {
        let here = at + block.bytes.len() as u64;
        let before = block.undefined;
        let condition = random.below(16) as usize;
        if branch.is_none() && random.one_in(4) && READ[condition / 2] & before == 0 {
            block.parts.push(Part { at: here, undefined: before, made: None });
            block.bytes.extend([0x70 | condition as u8, 0]);
            branch = Some(block.bytes.len() - 1);
            continue;
        }
        let code = if random.one_in(3) { random.pick(forms) } else { random.pick(&near) };
        let Some(mut i) = make::form(random, code, compat) else { continue };
        aim(random, &mut i, compat);
        let Some(made) = make::encode(&i, here, compat) else { continue };
        if made.uop.op == Op::Invalid || !wanted(&made) {
            continue;
        }
        let Some(behind) = undefined_behind(&made, before) else { continue };
        if let Some(distance) = branch.take()
            && random.one_in(2)
        {
            block.bytes[distance] = made.bytes.len() as u8;
            block.undefined = before | behind;
        } else {
            block.undefined = behind;
        }
        block.bytes.extend_from_slice(&made.bytes);
        block.parts.push(Part { at: here, undefined: before, made: Some(made) });
    }
    block.bytes.extend(UD2);
    block
}

pub(crate) fn start(random: &mut Random, block: &Block) -> Registers {
    let mut gpr = [0; 16];
    for register in &mut gpr {
        *register = random.integer();
    }
    // A long repeat would only find the end of the page.
    if random.one_in(2) {
        gpr[1] = random.below(40);
    }
    for pointer in [3, 4, 5, 6, 7] {
        gpr[pointer] = if random.one_in(8) {
            state::near_edge(random)
        } else {
            DATA + 0x200 + random.below(0x1C0) * 16
        };
    }
    if block.compat {
        for register in &mut gpr {
            *register &= 0xFFFF_FFFF;
        }
        // Not around 4 GiB: there the vendors differ.
        for pointer in [3, 4, 5, 6, 7] {
            gpr[pointer] &= 0x7FFF_FFFF;
        }
        gpr[8..].fill(0);
    }
    let rflags = 0x202 | random.bits() & (STATUS | 1 << 10);
    Registers { gpr, rip: block.at, rflags, fxsave: state::legacy(random, block.compat) }
}
