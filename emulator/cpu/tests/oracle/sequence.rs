//! Cases of several accesses to one or two pages, between them changes of what allows them,
//! with INVLPG, INVPCID or a new CR3 behind each change of a table.

use iced_x86::{Code, Instruction, MemoryOperand, OpKind, Register};

use super::machine::{Case, PAGE, Start, TABLES};
use super::pages::{self, CR0_WP, append};
use crate::random::Random;

const CR4_PCIDE: u64 = 1 << 17;

/// Registers that a sequence goes by: RBX holds the address, R12 that of a table's entry, R13
/// what that is changed to, R14 CR3, R10 CR0, and R15 the type of INVPCID.
const KEPT: [Register; 7] = [
    Register::RBX,
    Register::RSP,
    Register::R10,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// Zeros, INVPCID's descriptor.
const ZEROS: u64 = 0x800;

/// A sequence.
pub(crate) fn sequence(random: &mut Random) -> Option<Case> {
    let start = random.pick(&[Start::Kernel64, Start::Kernel64, Start::Kernel64, Start::User64]);
    let mut case = Case::new("a sequence", start);
    pages::registers(&mut case, random);
    pages::controls(&mut case, random);
    let place = pages::place(&mut case, random);
    let address = pages::near(random, &place);
    case.gpr(3, address);
    let indices = pages::indices(address);
    let table = random.pick(&[(TABLES[2], 3), (TABLES[2], 3), (TABLES[1], 2), (TABLES[0], 1)]);
    case.gpr(12, table.0 + 8 * indices[table.1]);
    let target = if table.1 == 3 { pages::data_page(random) } else { TABLES[table.1] };
    let new = pages::entry(random, target);
    case.gpr(13, new);
    let mut root = case.state.cr3;
    if start == Start::Kernel64 && random.one_in(3) {
        case.kind = "a sequence of contexts";
        case.contexts = true;
        case.state.cr4 |= CR4_PCIDE;
        root |= random.below(4) | random.below(2) << 63;
        case.gpr(15, 2);
    }
    case.gpr(14, root);
    case.steps = 0;
    let mut at = start.code();
    let length = 3 + random.below(5);
    while case.steps < length {
        if start == Start::Kernel64 && random.one_in(4) {
            change(&mut case, random, &mut at)?;
        } else {
            access(&mut case, random, &mut at)?;
        }
    }
    case.end = at;
    Some(case)
}

fn add(
    case: &mut Case,
    at: &mut u64,
    made: Result<Instruction, iced_x86::IcedError>,
) -> Option<()> {
    case.steps += 1;
    append(case, at, &made.ok()?)
}

/// An access that leaves the registers alone that the sequence goes by.
fn access(case: &mut Case, random: &mut Random, at: &mut u64) -> Option<()> {
    loop {
        let made = pages::access(case, random)?;
        let kept = (0..made.op_count()).any(|n| {
            let whole = made.op_register(n).full_register();
            made.op_kind(n) == OpKind::Register && KEPT.contains(&whole)
        });
        if !kept {
            return add(case, at, Ok(made));
        }
    }
}

fn change(case: &mut Case, random: &mut Random, at: &mut u64) -> Option<()> {
    match random.below(4) {
        0 => add(case, at, Instruction::with2(Code::Mov_cr_r64, Register::CR3, Register::R14)),
        1 => {
            let value = case.state.cr0 ^ CR0_WP;
            case.gpr(10, value);
            add(case, at, Instruction::with2(Code::Mov_cr_r64, Register::CR0, Register::R10))
        }
        _ => {
            let entry = MemoryOperand::with_base(Register::R12);
            add(case, at, Instruction::with2(Code::Mov_rm64_r64, entry, Register::R13))?;
            if case.contexts {
                // All of them, as the table is in all of them.
                let zeros = MemoryOperand::with_displ(ZEROS, 4);
                let made = Instruction::with2(Code::Invpcid_r64_m128, Register::R15, zeros);
                return add(case, at, made);
            }
            // A page that lies across both needs both.
            for offset in [0, PAGE as i64] {
                let memory = MemoryOperand::with_base_displ(Register::RBX, offset);
                add(case, at, Instruction::with1(Code::Invlpg_m, memory))?;
            }
            Some(())
        }
    }
}
