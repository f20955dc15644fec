//! What an instruction or a block starts with: registers, flags and memory at random, near
//! the edges that matter; and which instructions are of use for a comparison.

use emulator_cpu::flags::STATUS;
use emulator_cpu::uop::Op;
use iced_x86::{Code, Mnemonic, OpKind, Register};

use crate::guest::{DATA, DATA_SIZE, Registers};
use crate::make::Made;
use crate::random::Random;

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
pub(crate) fn state(random: &mut Random, made: &Made) -> Registers {
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

/// POPF takes any flags from memory; those that would disturb the host's process are left out.
pub(crate) fn tame(made: &Made, before: &Registers, data: &mut [u8]) {
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
