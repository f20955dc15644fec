//! One case: the same state on both sides, one instruction, and what may differ.

use std::fmt::Write;

use emulator_cpu::Exception;
use emulator_cpu::flags::{AF, CF, OF, PF, SF, STATUS, ZF};
use emulator_cpu::uop::Op;
use emulator_cpu_oracle::{Oracle, Trap};
use iced_x86::{Mnemonic, OpKind, RflagsBits};

use crate::block::{self, Block};
use crate::guest::{DATA, DATA_SIZE, Guest, Registers};
use crate::make::Made;
use crate::random::Random;
use crate::state::{data, state, tame};
use crate::vendor::{self, Case, Part, Vendor};

pub(crate) struct Outcome {
    pub(crate) fault: bool,
    pub(crate) difference: Option<String>,
    /// Differences between vendors that were left out.
    pub(crate) apart: Vec<&'static str>,
}

/// Flags that the manual leaves undefined (SDM vol. 2, each instruction's "Flags Affected";
/// iced-x86 has them as a table), and those that depend on a count in CL.
fn undefined(made: &Made, before: &Registers) -> u64 {
    let bits = made.instruction.rflags_undefined();
    let mut mask = 0;
    for (theirs, ours) in [
        (RflagsBits::OF, OF),
        (RflagsBits::SF, SF),
        (RflagsBits::ZF, ZF),
        (RflagsBits::AF, AF),
        (RflagsBits::CF, CF),
        (RflagsBits::PF, PF),
    ] {
        if bits & theirs != 0 {
            mask |= ours;
        }
    }
    let count = if made.instruction.op_count() > 1
        && made.instruction.op_kind(made.instruction.op_count() - 1) == OpKind::Register
    {
        before.gpr[1]
    } else {
        made.uop.imm as u64
    };
    let count = count & if made.uop.size == 3 { 63 } else { 31 };
    let bits = 8u64 << made.uop.size;
    match made.uop.op {
        Op::Shl | Op::Shr if count >= bits => mask |= CF | OF | AF,
        Op::Shl | Op::Shr | Op::Sar | Op::Shld | Op::Shrd => mask |= AF | OF,
        Op::Rol | Op::Ror | Op::Rcl | Op::Rcr if count != 1 => mask |= OF,
        _ => {}
    }
    if count == 1 && made.uop.op != Op::Aad {
        mask &= !OF;
    }
    if matches!(made.uop.op, Op::Shld | Op::Shrd) && count > bits {
        mask |= STATUS;
    }
    mask
}

/// Executes on the host.
pub(crate) fn ask(
    oracle: &mut Oracle,
    before: &Registers,
    compat: bool,
    step: bool,
) -> (Registers, Trap) {
    let Registers { gpr, rip, rflags, fxsave } = before.clone();
    let mut theirs = emulator_cpu_oracle::Registers { gpr, rip, rflags, fxsave };
    let trap = oracle.run(&mut theirs, compat, step);
    let emulator_cpu_oracle::Registers { gpr, rip, rflags, fxsave } = theirs;
    (Registers { gpr, rip, rflags, fxsave }, trap)
}

/// Runs a case on both sides.
pub(crate) fn judge(
    oracle: &mut Oracle,
    guest: &mut Guest,
    vendor: Vendor,
    made: &Made,
    random: &mut Random,
) -> Outcome {
    let before = state(random, made);
    let mut data = data(random);
    tame(made, &before, &mut data);
    oracle.write(DATA, &data);
    guest.write_data(&data);
    let mut code = made.bytes.clone();
    code.extend([0x0F, 0x0B]);
    oracle.write(made.at, &code);
    guest.write_code(made.at, &code);
    if random.one_in(8) {
        guest.cpu.reload();
    }
    guest.set(&before, made.compat);
    let (mut theirs, trap) = ask(oracle, &before, made.compat, true);
    let result =
        guest.step(made.instruction.has_rep_prefix() || made.instruction.has_repne_prefix());
    let ours = guest.registers();
    let mut memory = vec![0; DATA_SIZE];
    oracle.read(DATA, &mut memory);
    let mut outcome = Outcome { fault: result.is_err(), difference: None, apart: Vec::new() };
    let case =
        Case { made, before: &before, theirs: &theirs.clone(), trap: &trap, ours: &ours, result };
    for known in vendor::known(vendor, &case) {
        outcome.apart.push(known.name);
        if known.part == Part::Everything {
            return outcome;
        }
        excuse(known.part, &case, &mut theirs, &mut memory, guest.data());
    }
    let mut text = String::new();
    faults(&mut text, &trap, result, guest.cpu.state.cr2, made);
    let ignore = undefined(made, &before);
    registers(&mut text, &before, &theirs, &ours, ignore, made);
    bytes(&mut text, &memory, guest.data(), made, &before);
    outcome.difference = (!text.is_empty()).then_some(text);
    outcome
}

/// Runs a block on both sides.
pub(crate) fn judge_block(
    oracle: &mut Oracle,
    guest: &mut Guest,
    vendor: Vendor,
    block: &Block,
    random: &mut Random,
) -> Outcome {
    let before = block::start(random, block);
    let data = data(random);
    oracle.write(DATA, &data);
    guest.write_data(&data);
    oracle.write(block.at, &block.bytes);
    guest.write_code(block.at, &block.bytes);
    guest.set(&before, block.compat);
    let (theirs, trap) = ask(oracle, &before, block.compat, false);
    let exception = guest.run();
    let ours = guest.registers();
    let part = block.parts.iter().find(|part| part.at == ours.rip);
    let made = part.and_then(|part| part.made.as_ref());
    let mut outcome = Outcome { fault: part.is_some(), difference: None, apart: Vec::new() };
    let there = block.parts.iter().find(|part| part.at == theirs.rip);
    let stores_late = there
        .and_then(|part| part.made.as_ref())
        .is_some_and(|made| vendor::stores_late(vendor, made, &trap));
    let apart = stores_late || vendor::misaligned_off(&theirs);
    let faults = |made: &Made| in_pieces(made) || vendor::faults_otherwise(vendor, made);
    if apart || made.is_some_and(faults) {
        return outcome;
    }
    let mut ignore = part.map_or(block.undefined, |part| part.undefined);
    if vendor == Vendor::Amd && made.is_some_and(|made| matches!(made.uop.op, Op::Cmps | Op::Scas))
    {
        ignore |= STATUS;
    }
    let mut text = String::new();
    let (vector, code) = (exception.vector.into(), exception.code.unwrap_or(0).into());
    let code: u64 = code;
    // Linux says of what is above a process that it is present.
    let above = if trap.address >= 0x7FFF_FFFF_F000 { 1 } else { 0 };
    let coded = matches!(trap.vector, 8 | 10..=14 | 17);
    if trap.vector != vector || (coded && trap.code | above != code | above) {
        let _ = writeln!(text, "  fault: host {trap:x?}, here {exception:x?}");
    }
    if trap.vector == 14 && guest.cpu.state.cr2 != trap.address {
        let _ = writeln!(text, "  address: here {:x}", guest.cpu.state.cr2);
    }
    same_registers(&mut text, &before, &theirs, &ours, ignore, false);
    let mut memory = vec![0; DATA_SIZE];
    oracle.read(DATA, &mut memory);
    for (at, (a, b)) in
        memory.iter().zip(guest.data()).enumerate().filter(|(_, (a, b))| a != b).take(12)
    {
        let _ = writeln!(text, "  memory {at:x}: host {a:02x}, here {b:02x}");
    }
    if !text.is_empty() {
        for part in &block.parts {
            let name = part.made.as_ref().map(|made| made.instruction.code());
            let _ = writeln!(text, "  {:x}: {name:?} undefined {:x}", part.at, part.undefined);
        }
        outcome.difference = Some(text);
    }
    outcome
}

/// Takes over into the host's answer what is not compared.
fn excuse(
    part: Part,
    case: &Case<'_>,
    theirs: &mut Registers,
    memory: &mut [u8],
    our_memory: &[u8],
) {
    let ours = case.ours;
    match part {
        Part::Everything => {}
        Part::StatusFlags => theirs.rflags = theirs.rflags & !STATUS | ours.rflags & STATUS,
        Part::UpperHalves => {
            for number in [1, 6, 7] {
                let (theirs, ours) = (&mut theirs.gpr[number], ours.gpr[number]);
                if *theirs as u32 == case.before.gpr[number] as u32 {
                    *theirs = *theirs & 0xFFFF_FFFF | ours & !0xFFFF_FFFF;
                }
            }
        }
        Part::X87 => {
            theirs.fxsave[..8].copy_from_slice(&ours.fxsave[..8]);
            theirs.fxsave[32..160].copy_from_slice(&ours.fxsave[32..160]);
        }
        Part::Pushed => {
            let size = 1 << case.made.uop.size;
            let at = case.before.gpr[4].wrapping_sub(DATA).wrapping_sub(size) as usize;
            let slot = at.min(DATA_SIZE)..at.saturating_add(size as usize).min(DATA_SIZE);
            memory[slot.clone()].copy_from_slice(&our_memory[slot]);
        }
        Part::MxcsrMask => {
            for (theirs, ours) in memory.iter_mut().zip(our_memory) {
                if (*theirs, *ours) == (2, 0) {
                    *theirs = 0;
                }
            }
        }
        Part::Nans => {
            let size = if case.made.instruction.mnemonic() == Mnemonic::Dpps { 4 } else { 8 };
            for at in (160..416).step_by(size) {
                let (theirs, ours) = (&mut theirs.fxsave[at..at + size], &ours.fxsave[at..]);
                if nan(theirs) && nan(&ours[..size]) {
                    theirs.copy_from_slice(&ours[..size]);
                }
            }
        }
    }
}

fn nan(bytes: &[u8]) -> bool {
    match *bytes {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]).is_nan(),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]).is_nan(),
        _ => false,
    }
}

/// In which order the pieces of these are moved is the host's own affair.
pub(crate) fn in_pieces(made: &Made) -> bool {
    matches!(
        made.instruction.mnemonic(),
        Mnemonic::Fnstenv
            | Mnemonic::Fldenv
            | Mnemonic::Fnsave
            | Mnemonic::Frstor
            | Mnemonic::Maskmovq
            | Mnemonic::Maskmovdqu
            | Mnemonic::Fxsave
            | Mnemonic::Fxrstor
            | Mnemonic::Fxsave64
            | Mnemonic::Fxrstor64
    )
}

fn faults(
    text: &mut String,
    trap: &Trap,
    result: Result<(), Exception>,
    address: u64,
    made: &Made,
) {
    let ours = match result {
        Ok(()) => None,
        Err(exception) => Some((u64::from(exception.vector), exception.code.map(u64::from))),
    };
    let theirs = match trap.vector {
        1 => None,
        // INT3 is reported behind the instruction.
        3 if made.uop.op == Op::Int3 => None,
        // Linux hides what is mapped above a process: there every page is said to be present.
        14 if trap.address >= 0x7FFF_FFFF_F000 => Some((trap.vector, Some(trap.code | 1))),
        8 | 10..=14 | 17 => Some((trap.vector, Some(trap.code))),
        vector => Some((vector, None)),
    };
    let ours = match ours {
        Some((14, Some(code))) if trap.address >= 0x7FFF_FFFF_F000 => Some((14, Some(code | 1))),
        other => other,
    };
    if in_pieces(made) && ours.is_some() && trap.vector > 8 {
        return;
    }
    if ours != theirs && made.uop.op != Op::Int3 {
        let _ = writeln!(text, "  fault: host {theirs:x?}, here {ours:x?}");
    }
    if trap.vector == 14 && address != trap.address {
        let _ = writeln!(text, "  address: host {:x}, here {address:x}", trap.address);
    }
}

fn registers(
    text: &mut String,
    before: &Registers,
    theirs: &Registers,
    ours: &Registers,
    ignore: u64,
    made: &Made,
) {
    if made.uop.op == Op::Int3 {
        return;
    }
    // A shift of 16 bits by more has an undefined result.
    let shift = matches!(made.uop.op, Op::Shld | Op::Shrd) && ignore & STATUS == STATUS;
    same_registers(text, before, theirs, ours, ignore, shift);
}

/// Compares registers; `undefined` says that general ones are not looked at.
pub(crate) fn same_registers(
    text: &mut String,
    before: &Registers,
    theirs: &Registers,
    ours: &Registers,
    ignore: u64,
    undefined: bool,
) {
    for number in 0..16 {
        let (a, b) = (theirs.gpr[number], ours.gpr[number]);
        if a != b && !undefined {
            let was = before.gpr[number];
            let _ = writeln!(text, "  gpr {number}: was {was:x}, host {a:x}, here {b:x}");
        }
    }
    if theirs.rip != ours.rip {
        let _ = writeln!(text, "  rip: host {:x}, here {:x}", theirs.rip, ours.rip);
    }
    let checked = (STATUS | 1 << 10) & !ignore;
    if (theirs.rflags ^ ours.rflags) & checked != 0 {
        let _ = writeln!(
            text,
            "  flags: was {:x}, host {:x}, here {:x}, ignored {ignore:x}",
            before.rflags, theirs.rflags, ours.rflags
        );
    }
    legacy_area(text, before, theirs, ours);
    if !text.is_empty() {
        let _ = writeln!(text, "  gpr before {:x?}", before.gpr);
    }
}

/// x87 and SSE. The pointers of the last x87 instruction are not compared.
fn legacy_area(text: &mut String, before: &Registers, theirs: &Registers, ours: &Registers) {
    let mut part = |name: &str, from: usize, to: usize| {
        if theirs.fxsave[from..to] != ours.fxsave[from..to] {
            let show = |area: &[u8; 512]| {
                let mut word = [0; 16];
                word[..to - from].copy_from_slice(&area[from..to]);
                u128::from_le_bytes(word)
            };
            let _ = writeln!(
                text,
                "  {name}: was {:x}, host {:x}, here {:x}",
                show(&before.fxsave),
                show(&theirs.fxsave),
                show(&ours.fxsave)
            );
        }
    };
    part("fcw", 0, 2);
    part("fsw", 2, 4);
    part("ftw", 4, 5);
    part("mxcsr", 24, 28);
    for register in 0..8 {
        part(&format!("st{register}"), 32 + 16 * register, 42 + 16 * register);
    }
    for register in 0..16 {
        part(&format!("xmm{register}"), 160 + 16 * register, 176 + 16 * register);
    }
    if !text.is_empty() {
        let control = u16::from_le_bytes([before.fxsave[0], before.fxsave[1]]);
        let mxcsr = u16::from_le_bytes([before.fxsave[24], before.fxsave[25]]);
        let _ = writeln!(text, "  fcw {control:x} mxcsr {mxcsr:x}");
    }
}

fn bytes(text: &mut String, theirs: &[u8], ours: &[u8], made: &Made, before: &Registers) {
    // PUSHF shows the trap flag that single-stepping has set.
    let pushed =
        before.gpr[4].wrapping_sub(DATA).wrapping_sub(1 << made.uop.size).wrapping_add(1) as usize;
    let shift = matches!(made.uop.op, Op::Shld | Op::Shrd) && made.uop.size == 1;
    if theirs == ours || shift {
        return;
    }
    let mut lines = 0;
    for (at, (a, b)) in theirs.iter().zip(ours).enumerate() {
        if a != b && !(made.uop.op == Op::Pushf && at == pushed) && lines < 12 {
            lines += 1;
            let _ = writeln!(text, "  memory {at:x}: host {a:02x}, here {b:02x}");
        }
    }
}
