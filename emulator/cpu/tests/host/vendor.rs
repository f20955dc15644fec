//! Where AMD's processors answer otherwise than Intel's, whom the engine follows. Each
//! difference has a name, the cases that it is about, and what of them is not compared; a
//! difference that is not in the table is a mismatch.

use std::fs;

use emulator_cpu::Exception;
use emulator_cpu::uop::Op;
use emulator_cpu_oracle::Trap;
use iced_x86::{Code, InstructionInfoFactory, Mnemonic, OpKind, Register};

use crate::guest::Registers;
use crate::make::Made;

/// Who made the host's processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    Intel,
    Amd,
}

impl Vendor {
    /// The host's.
    pub(crate) fn here() -> Self {
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if text.contains("AuthenticAMD") || text.contains("HygonGenuine") {
            Vendor::Amd
        } else {
            Vendor::Intel
        }
    }
}

/// A case as it has ended on both sides.
pub(crate) struct Case<'a> {
    pub(crate) made: &'a Made,
    pub(crate) before: &'a Registers,
    pub(crate) theirs: &'a Registers,
    pub(crate) trap: &'a Trap,
    pub(crate) ours: &'a Registers,
    pub(crate) result: Result<(), Exception>,
}

/// What is not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Everything,
    StatusFlags,
    UpperHalves,
    X87,
    Pushed,
    Nans,
    MxcsrMask,
}

/// A difference between the vendors.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) part: Part,
    applies: fn(&Case<'_>) -> bool,
}

/// AMD's manuals and, where those are silent, a Zen 4.
const AMD: &[Known] = &[
    Known {
        name: "REP CMPS and SCAS set the flags after each element, not at the end",
        part: Part::StatusFlags,
        applies: |case| {
            matches!(case.made.uop.op, Op::Cmps | Op::Scas)
                && repeated(case.made)
                && case.theirs.rip == case.made.at
        },
    },
    Known {
        name: "upper halves of RCX, RSI and RDI stay if a REP with 32-bit addresses does nothing",
        part: Part::UpperHalves,
        applies: |case| repeated(case.made) && narrow(case.made),
    },
    Known {
        name: "CMPS loads the operand at RSI first",
        part: Part::Everything,
        applies: |case| case.made.uop.op == Op::Cmps && both_fault(case),
    },
    Known {
        name: "an 80-bit store over two pages writes other bytes before it faults",
        part: Part::Everything,
        applies: |case| late_store(case.made) && both_fault(case),
    },
    Known {
        name: "stores of MMX registers leave the x87 stack alone",
        part: Part::X87,
        applies: |case| mmx_store(case.made),
    },
    Known {
        name: "an x87 store looks at its memory before its unmasked exceptions",
        part: Part::Everything,
        applies: |case| {
            let pending = case.ours.fxsave[2] & 0x80 != 0 && case.before.fxsave[2] & 0x80 == 0;
            pending && case.result.is_ok() && stores_late(Vendor::Amd, case.made, case.trap)
        },
    },
    Known {
        name: "in compatibility mode an operand may not wrap around 4 GiB",
        part: Part::Everything,
        applies: |case| {
            case.made.compat
                && matches!(case.trap.vector, 12 | 13)
                && case.trap.code == 0
                && wraps(case)
        },
    },
    Known {
        name: "MOVSXD of 16 bits loads 32",
        part: Part::Everything,
        applies: |case| {
            case.made.code() == Code::Movsxd_r16_rm16 && matches!(case.trap.vector, 12..=14)
        },
    },
    Known {
        name: "CALL to an address that is not canonical stores no return address",
        part: Part::Pushed,
        applies: |case| case.made.uop.op == Op::CallIndirect && case.trap.vector == 13,
    },
    Known {
        name: "FPREM of a denormal by infinity underflows if that is unmasked",
        part: Part::Everything,
        applies: |case| {
            let underflow = |registers: &Registers| registers.fxsave[2] & 0x10 != 0;
            remainder(case.made) && underflow(case.theirs) && !underflow(case.ours)
        },
    },
    Known {
        name: "MXCSR has a bit 17, misaligned exceptions off: it can be loaded",
        part: Part::Everything,
        applies: |case| {
            matches!(case.made.uop.op, Op::Ldmxcsr | Op::Fxrstor) && misaligned_off(case.theirs)
        },
    },
    Known {
        name: "DPPS and DPPD add in another order: which NaN is handed on",
        part: Part::Nans,
        applies: |case| matches!(case.made.instruction.mnemonic(), Mnemonic::Dpps | Mnemonic::Dppd),
    },
    Known {
        name: "MXCSR has a bit 17, misaligned exceptions off: it is in the mask",
        part: Part::MxcsrMask,
        applies: |case| case.made.uop.op == Op::Fxsave,
    },
];

/// Forms that are not compared at all on this processor.
pub(crate) fn lacks(vendor: Vendor, made: &Made) -> bool {
    // PREFETCH with a register is #UD.
    let prefetch = matches!(
        made.code(),
        Code::Reservednop_rm16_r16_0F0D
            | Code::Reservednop_rm32_r32_0F0D
            | Code::Reservednop_rm64_r64_0F0D
    );
    vendor == Vendor::Amd && prefetch
}

/// Forms whose difference would be handed on to what comes behind them.
pub(crate) fn spreads(vendor: Vendor, made: &Made) -> bool {
    let sums = matches!(made.instruction.mnemonic(), Mnemonic::Dpps | Mnemonic::Dppd);
    let word = made.code() == Code::Movsxd_r16_rm16;
    let count = repeated(made) && narrow(made);
    let values = sums || word || count || remainder(made) || mmx_store(made);
    vendor == Vendor::Amd && (lacks(vendor, made) || values)
}

/// The store of an x87 register has found bad memory before it has found its exceptions.
pub(crate) fn stores_late(vendor: Vendor, made: &Made, trap: &Trap) -> bool {
    let store = matches!(
        made.instruction.mnemonic(),
        Mnemonic::Fst
            | Mnemonic::Fstp
            | Mnemonic::Fist
            | Mnemonic::Fistp
            | Mnemonic::Fisttp
            | Mnemonic::Fbstp
    );
    vendor == Vendor::Amd && store && matches!(trap.vector, 12..=14)
}

/// If it faults, it faults otherwise: CMPS, 80-bit stores, and loads of MXCSR.
pub(crate) fn faults_otherwise(vendor: Vendor, made: &Made) -> bool {
    let other = matches!(made.uop.op, Op::Cmps | Op::Ldmxcsr | Op::Fxrstor);
    vendor == Vendor::Amd && (other || late_store(made))
}

fn late_store(made: &Made) -> bool {
    matches!(made.code(), Code::Fstp_m80fp | Code::Fbstp_m80bcd)
}

/// The differences that a case is about.
pub(crate) fn known(vendor: Vendor, case: &Case<'_>) -> impl Iterator<Item = &'static Known> {
    let table = if vendor == Vendor::Amd { AMD } else { &[] };
    table.iter().filter(|known| (known.applies)(case))
}

/// Bit 17 of MXCSR, which is AMD's.
pub(crate) fn misaligned_off(registers: &Registers) -> bool {
    registers.fxsave[26] & 2 != 0
}

fn remainder(made: &Made) -> bool {
    matches!(made.instruction.mnemonic(), Mnemonic::Fprem | Mnemonic::Fprem1)
}

fn repeated(made: &Made) -> bool {
    made.instruction.has_rep_prefix() || made.instruction.has_repne_prefix()
}

fn both_fault(case: &Case<'_>) -> bool {
    matches!(case.trap.vector, 12..=14) && case.result.is_err()
}

fn narrow(made: &Made) -> bool {
    let i = &made.instruction;
    (0..i.op_count()).any(|n| {
        matches!(i.op_kind(n), OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI)
    })
}

fn mmx_store(made: &Made) -> bool {
    let i = &made.instruction;
    i.op0_kind() == OpKind::Memory
        && i.op1_kind() == OpKind::Register
        && (Register::MM0..=Register::MM7).contains(&i.op1_register())
}

/// Does an operand in memory go on at address 0?
fn wraps(case: &Case<'_>) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&case.made.instruction);
    info.used_memory().iter().any(|operand| {
        let address = operand.virtual_address(0, |register, _, _| {
            let whole = register.full_register();
            let number = (Register::RAX..=Register::R15).contains(&whole);
            Some(if number { case.before.gpr[whole.number()] } else { 0 })
        });
        let last = address.unwrap_or(0) & 0xFFFF_FFFF;
        // Repeated ones have no size.
        let size = operand.memory_size().size().max(1 << case.made.uop.size);
        last + size as u64 > 1 << 32
    })
}
