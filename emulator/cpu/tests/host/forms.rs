//! Every instruction form that is implemented is asked of the host, or is named here with the
//! place where it is proven instead.

use emulator_cpu::decode;
use emulator_cpu::state::Mode;
use emulator_cpu::uop::Op;
use iced_x86::{
    Code, Decoder, DecoderOptions, EncodingKind, Instruction, MandatoryPrefix, Mnemonic,
    OpCodeTableKind,
};

use crate::guest::CODE;
use crate::random::Random;
use crate::{make, state};

/// What a host cannot be asked by a program, or answers in its own way.
const ELSEWHERE: &[(&str, &[Mnemonic])] = &[
    (
        "tests/oracle: segments and system tables",
        &[
            Mnemonic::Lar,
            Mnemonic::Lds,
            Mnemonic::Les,
            Mnemonic::Lfs,
            Mnemonic::Lgs,
            Mnemonic::Lsl,
            Mnemonic::Lss,
            Mnemonic::Pop,
            Mnemonic::Sgdt,
            Mnemonic::Sidt,
            Mnemonic::Sldt,
            Mnemonic::Smsw,
            Mnemonic::Str,
            Mnemonic::Verr,
            Mnemonic::Verw,
            Mnemonic::Xgetbv,
        ],
    ),
    (
        "tests/oracle: far transfers, interrupts, system calls",
        &[
            Mnemonic::Call,
            Mnemonic::Int,
            Mnemonic::Int1,
            Mnemonic::Into,
            Mnemonic::Iret,
            Mnemonic::Iretd,
            Mnemonic::Iretq,
            Mnemonic::Jmp,
            Mnemonic::Retf,
            Mnemonic::Syscall,
            Mnemonic::Sysenter,
            Mnemonic::Sysexit,
            Mnemonic::Sysexitq,
            Mnemonic::Sysret,
            Mnemonic::Sysretq,
        ],
    ),
    (
        "tests/oracle: bases and counters",
        &[
            Mnemonic::Rdfsbase,
            Mnemonic::Rdgsbase,
            Mnemonic::Rdpmc,
            Mnemonic::Wrfsbase,
            Mnemonic::Wrgsbase,
        ],
    ),
    (
        "tests/system: control, debug and segment registers, the board's side, XSAVE",
        &[
            Mnemonic::Cpuid,
            Mnemonic::Insb,
            Mnemonic::Insd,
            Mnemonic::Insw,
            Mnemonic::Mov,
            Mnemonic::Outsb,
            Mnemonic::Outsd,
            Mnemonic::Outsw,
            Mnemonic::Push,
            Mnemonic::Rdrand,
            Mnemonic::Rdseed,
            Mnemonic::Rdtsc,
            Mnemonic::Rdtscp,
            Mnemonic::Xrstor,
            Mnemonic::Xrstor64,
            Mnemonic::Xsave,
            Mnemonic::Xsave64,
        ],
    ),
    (
        "tests/system: mathematics",
        &[
            Mnemonic::F2xm1,
            Mnemonic::Fcos,
            Mnemonic::Fpatan,
            Mnemonic::Fptan,
            Mnemonic::Fsin,
            Mnemonic::Fsincos,
            Mnemonic::Fyl2x,
            Mnemonic::Fyl2xp1,
            Mnemonic::Rcpps,
            Mnemonic::Rcpss,
            Mnemonic::Rsqrtps,
            Mnemonic::Rsqrtss,
        ],
    ),
    // Without BMI1 and LZCNT they are BSF and BSR with a prefix that means nothing.
    ("as BSF, BSR and NOP", &[Mnemonic::Lzcnt, Mnemonic::Pause, Mnemonic::Tzcnt]),
];

/// An instruction of a form with the operands that zeros give; `None` if no bytes were found.
fn any_of(code: Code, compat: bool) -> Option<Instruction> {
    let info = code.op_code();
    let mandatory: &[u8] = match info.mandatory_prefix() {
        MandatoryPrefix::P66 => &[0x66],
        MandatoryPrefix::PF3 => &[0xF3],
        MandatoryPrefix::PF2 => &[0xF2],
        _ => &[],
    };
    let table: &[u8] = match info.table() {
        OpCodeTableKind::Normal => &[],
        OpCodeTableKind::T0F => &[0x0F],
        OpCodeTableKind::T0F38 => &[0x0F, 0x38],
        _ => &[0x0F, 0x3A],
    };
    let opcode = info.op_code().to_be_bytes();
    let opcode = &opcode[4 - info.op_code_len() as usize..];
    let group = u8::try_from(info.group_index()).unwrap_or(0) << 3;
    let sizes: [&[u8]; 5] = [&[], &[0x66], &[0x67], &[0x66, 0x67], &[0x48]];
    let models = [group | 0xC0, group];
    let tries = sizes.iter().flat_map(|size| models.map(|model| (size, model)));
    let mut found = tries.filter_map(|(size, model)| {
        // A REX prefix comes last of all.
        let (before, rex) = if **size == [0x48] { (&[][..], *size) } else { (*size, &[][..]) };
        let model = if opcode.len() == 1 { &[model][..] } else { &[] };
        let bytes = [before, mandatory, rex, table, opcode, model, &[0; 12]].concat();
        let bits = if compat { 32 } else { 64 };
        let decoded = Decoder::with_ip(bits, &bytes, CODE, DecoderOptions::NONE).decode();
        (decoded.code() == code).then_some(decoded)
    });
    found.next()
}

#[test]
fn every_form_is_asked_of_somebody() {
    let mut random = Random::new(1);
    let mut used = Vec::new();
    for compat in [false, true] {
        let mode = if compat { Mode::Bits32 } else { Mode::Bits64 };
        let mut count = 0;
        for code in Code::values() {
            let info = code.op_code();
            let here = if compat { info.mode32() } else { info.mode64() };
            if !here || !info.is_instruction() || info.encoding() != EncodingKind::Legacy {
                continue;
            }
            let made = (0..8).find_map(|_| make::instruction(&mut random, code, compat));
            let lowered = made.as_ref().map(|made| made.uop.op);
            let lowered =
                lowered.or_else(|| any_of(code, compat).map(|i| decode::lower(&i, mode).op));
            if lowered.is_none_or(|op| op == Op::Invalid) {
                continue;
            }
            count += 1;
            if made.is_some_and(|made| state::comparable(code, &made)) {
                continue;
            }
            let named = ELSEWHERE.iter().any(|(_, names)| names.contains(&code.mnemonic()));
            assert!(named, "{code:?} is implemented and asked of nobody");
            used.push(code.mnemonic());
        }
        assert!(count > 1_200, "compat {compat}: only {count} forms were found");
    }
    for name in ELSEWHERE.iter().flat_map(|(_, names)| *names) {
        assert!(used.contains(name), "{name:?} is named for nothing");
    }
}
