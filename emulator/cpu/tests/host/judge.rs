//! One case: the same state on both sides, one instruction, and what may differ.

use std::fmt::Write;

use emulator_cpu::Exception;
use emulator_cpu::flags::{AF, CF, OF, PF, SF, STATUS, ZF};
use emulator_cpu::uop::Op;
use emulator_cpu_oracle::{Oracle, Trap};
use iced_x86::{Code, Mnemonic, OpKind, Register, RflagsBits};

use crate::guest::{DATA, DATA_SIZE, Guest, Registers};
use crate::make::Made;
use crate::random::Random;
use crate::vendor::{self, Case, Part, Vendor};

pub(crate) struct Outcome {
    pub(crate) fault: bool,
    pub(crate) difference: Option<String>,
    /// Differences between vendors that were left out.
    pub(crate) apart: Vec<&'static str>,
}

/// Can the host's answer be compared? Not if it depends on the host's kernel (system calls,
/// its segments, its tables), its clock or its model.
pub(crate) fn comparable(code: Code, made: &Made) -> bool {
    let privileged_anyway = matches!(
        made.uop.op,
        Op::Syscall
            | Op::Sysret
            | Op::Sysenter
            | Op::Sysexit
            | Op::Int
            | Op::Int1
            | Op::Into
            | Op::Iret
            | Op::JmpFar
            | Op::CallFar
            | Op::RetFar
            | Op::Cpuid
            | Op::Rdtsc
            | Op::Rdtscp
            | Op::Rdrand
            | Op::Rdseed
            | Op::Rdpmc
            | Op::Xgetbv
            | Op::Xsave
            | Op::Xrstor
            | Op::Sgdt
            | Op::Sidt
            | Op::Sldt
            | Op::Str
            | Op::Smsw
            | Op::Lar
            | Op::Lsl
            | Op::Verr
            | Op::Verw
            | Op::LoadFar
            | Op::MovToSeg
            | Op::PopSeg
            | Op::Rdfsbase
            | Op::Rdgsbase
            | Op::Wrfsbase
            | Op::Wrgsbase
            | Op::Pause
            | Op::Straddle
            | Op::Link
            | Op::NextPage
            | Op::Ins
            | Op::Outs
            | Op::MovFromSeg
            | Op::PushSeg
            | Op::Rdpid
    );
    // Our processor has neither BMI1 nor LZCNT; the host's 16-bit near branches are Intel's.
    let other = matches!(
        code,
        Code::Tzcnt_r16_rm16
            | Code::Tzcnt_r32_rm32
            | Code::Tzcnt_r64_rm64
            | Code::Lzcnt_r16_rm16
            | Code::Lzcnt_r32_rm32
            | Code::Lzcnt_r64_rm64
    );
    let approximate = matches!(
        made.instruction.mnemonic(),
        Mnemonic::Rcpps
            | Mnemonic::Rcpss
            | Mnemonic::Rsqrtps
            | Mnemonic::Rsqrtss
            | Mnemonic::Fsin
            | Mnemonic::Fcos
            | Mnemonic::Fsincos
            | Mnemonic::Fptan
            | Mnemonic::Fpatan
            | Mnemonic::F2xm1
            | Mnemonic::Fyl2x
            | Mnemonic::Fyl2xp1
    );
    !privileged_anyway && !other && !approximate
}

pub(crate) fn near_edge(random: &mut Random) -> u64 {
    match random.below(40) {
        0 => DATA + 0x1000 - 1 - random.below(16),
        1 => DATA + 0x2000 - 1 - random.below(16),
        2 => DATA + 0x3000 - 1 - random.below(16),
        3 => DATA - random.below(16),
        4 => DATA + 0x2000 + random.below(0x1000),
        5 => 0x4000_0000 + random.below(0x1000),
        6 => 0x0000_7FFF_FFFF_FFFF - random.below(8),
        7 => random.bits() | 1 << 63,
        8..=20 => DATA + 0x200 + random.below(0x1C00),
        _ => DATA + 0x200 + random.below(0x1C0) * 16,
    }
}

/// Random registers, and the memory operand at an address of interest.
fn state(random: &mut Random, made: &Made) -> Registers {
    let mut gpr = [0; 16];
    for register in &mut gpr {
        *register = random.integer();
        if made.compat {
            *register &= 0xFFFF_FFFF;
        }
    }
    for pointer in [4, 6, 7] {
        gpr[pointer] = near_edge(random);
    }
    if random.one_in(2) {
        gpr[5] = near_edge(random);
    }
    let i = &made.instruction;
    if i.has_rep_prefix() || i.has_repne_prefix() {
        gpr[1] = random.below(4);
        let narrow = (0..i.op_count()).any(|n| {
            matches!(
                i.op_kind(n),
                OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI
            )
        });
        if narrow {
            gpr[1] |= random.bits() << 32;
        }
    }
    if matches!(made.uop.op, Op::Div | Op::Idiv) && random.one_in(2) {
        gpr[2] = random.pick(&[0, 1, u64::MAX, 0xFFFF_FFFF]);
    }
    if made.uop.op == Op::Xlat {
        gpr[3] = near_edge(random);
    }
    if matches!(made.uop.op, Op::JmpIndirect | Op::CallIndirect) && i.op0_kind() == OpKind::Register
    {
        let number = i.op0_register().number();
        // A return address must not go to a page that only the host may write to.
        gpr[number] = if number == 4 {
            gpr[4]
        } else if random.one_in(4) {
            random.bits()
        } else {
            crate::guest::CODE + 0x10
        };
    }
    aim(random, made, &mut gpr);
    if made.compat {
        for register in &mut gpr {
            *register &= 0xFFFF_FFFF;
        }
        gpr[8..].fill(0);
    }
    let rflags = 0x202 | random.bits() & (STATUS | 1 << 10);
    Registers { gpr, rip: made.at, rflags, fxsave: legacy(random, made.compat) }
}

/// Sets the base register so that the memory operand lies near an edge.
fn aim(random: &mut Random, made: &Made, gpr: &mut [u64; 16]) {
    let i = &made.instruction;
    let mut bits = false;
    // The number of a bit in memory must not lead away from it.
    if matches!(made.uop.op, Op::Bt | Op::Bts | Op::Btr | Op::Btc)
        && i.op0_kind() == OpKind::Memory
        && i.op1_kind() == OpKind::Register
    {
        gpr[i.op1_register().number()] = random.below(0x1000).wrapping_sub(0x800);
        bits = true;
    }
    let has = (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory);
    let base = i.memory_base();
    if !has || base == Register::None || base == Register::RIP || base == Register::EIP {
        return;
    }
    if made.uop.op == Op::Xlat || made.uop.op == Op::Lea {
        return;
    }
    let mut target = near_edge(random);
    if bits {
        target = DATA + 0x800 + random.below(0x800);
    }
    let mut index = 0;
    if i.memory_index() != Register::None && i.memory_index() != base {
        let number = i.memory_index().number();
        if base.size() == 4 {
            gpr[number] &= 0xFFFF_FFFF;
        }
        index = gpr[number].wrapping_mul(u64::from(i.memory_index_scale()));
    }
    let value = target.wrapping_sub(index).wrapping_sub(i.memory_displacement64());
    gpr[base.number()] = if base.size() == 4 { value & 0xFFFF_FFFF } else { value };
}

pub(crate) fn legacy(random: &mut Random, compat: bool) -> [u8; 512] {
    let mut area = [0; 512];
    let rounding = random.below(4) as u16;
    let control = 0x40
        | rounding << 10
        | random.pick(&[0, 2, 3, 3]) << 8
        | if random.one_in(6) { random.bits() as u16 & 0x3F } else { 0x3F };
    let mut status = (random.below(8) as u16) << 11 | random.bits() as u16 & 0x4700;
    if random.one_in(3) {
        status |= random.bits() as u16 & control & 0x7F;
    }
    if random.one_in(24) {
        // An exception waits.
        status |= random.bits() as u16 & 0x3F;
    }
    if status & !control & 0x3F != 0 {
        status |= 0x8080;
    }
    area[..2].copy_from_slice(&control.to_le_bytes());
    area[2..4].copy_from_slice(&status.to_le_bytes());
    area[4] = match random.below(4) {
        0 => random.bits() as u8,
        1 => 0,
        _ => 0xFF,
    };
    let mxcsr = if random.one_in(2) {
        0x1F80
    } else {
        let masks = if random.one_in(4) { random.bits() as u32 & 0x1F80 } else { 0x1F80 };
        masks | random.bits() as u32 & 0xE07F
    };
    area[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    area[28..32].copy_from_slice(&0xFFFFu32.to_le_bytes());
    for register in 0..8 {
        let (significand, exponent) = random.extended();
        area[32 + 16 * register..40 + 16 * register].copy_from_slice(&significand.to_le_bytes());
        area[40 + 16 * register..42 + 16 * register].copy_from_slice(&exponent.to_le_bytes());
    }
    let kind = random.below(3);
    for half in 0..if compat { 16 } else { 32 } {
        let word = match kind {
            0 => random.singles(),
            1 => random.double(),
            _ => random.integer(),
        };
        area[160 + 8 * half..168 + 8 * half].copy_from_slice(&word.to_le_bytes());
    }
    area
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

/// Bytes to compute with.
pub(crate) fn data(random: &mut Random) -> Vec<u8> {
    let mut data = vec![0; DATA_SIZE];
    let kind = random.below(3);
    let from = random.below(64) as usize;
    // Words of one kind, repeated: drawing 1,024 of them for each case would cost more than
    // all the rest.
    let words: Vec<[u8; 8]> = (0..67)
        .map(|_| match kind {
            0 => random.singles(),
            1 => random.double(),
            _ => random.word(),
        })
        .map(u64::to_le_bytes)
        .collect();
    for (at, chunk) in data.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&words[(at + from) % 67]);
    }
    data
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

/// POPF takes any flags from memory; those that would disturb the host's process are left out.
fn tame(made: &Made, before: &Registers, data: &mut [u8]) {
    if made.uop.op != Op::Popf {
        return;
    }
    let at = before.gpr[4].wrapping_sub(DATA) as usize;
    for (byte, mask) in (at..at.saturating_add(8)).zip([0xD5, 0x0E, 0, 0, 0, 0, 0, 0]) {
        if let Some(byte) = data.get_mut(byte) {
            *byte &= mask;
        }
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
