//! The registers in the order in which gdb gets them, and the description that tells it so
//! (gdb's manual, "Target Descriptions", "i386 Features").
//!
//! One table says name, size, type, and how a register is read from and given to the state.

use std::fmt::Write;
use std::sync::LazyLock;

use emulator_cpu::State;
use emulator_cpu::state::{reg, segment};
use gdbstub::arch::{Arch, RegId};

/// An x86-64 processor with what a kernel's debugger wants to see of it.
#[derive(Debug)]
pub(super) enum X86 {}

impl Arch for X86 {
    type Usize = u64;
    type Registers = Registers;
    type BreakpointKind = usize;
    type RegId = Nothing;

    fn target_description_xml() -> Option<&'static str> {
        static TEXT: LazyLock<String> = LazyLock::new(description);
        Some(&TEXT)
    }
}

/// Registers go all together.
#[derive(Debug)]
pub(super) enum Nothing {}

impl RegId for Nothing {
    fn from_raw_id(_: usize) -> Option<(Self, Option<std::num::NonZeroUsize>)> {
        None
    }
}

/// A value of a register that the processor cannot take on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Impossible;

/// What a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    General(usize),
    Rip,
    Flags,
    Selector(usize),
    Stack(usize),
    Unit(Unit),
    Xmm(usize),
    Mxcsr,
    /// The number of a system call, for debuggers of processes: there is none here.
    Original,
    Base(usize),
    System(System),
}

/// Words of the x87 unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Control,
    Status,
    Tags,
    CodeSegment,
    CodeOffset,
    DataSegment,
    DataOffset,
    Opcode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    KernelGsBase,
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    Efer,
}

/// A feature with its registers: name, bytes, type, meaning.
struct Feature {
    name: &'static str,
    registers: Vec<(String, usize, &'static str, What)>,
}

/// gdb's order: the general registers' is not the processor's.
const GENERAL: [(&str, usize); 8] = [
    ("rax", reg::RAX),
    ("rbx", reg::RBX),
    ("rcx", reg::RCX),
    ("rdx", reg::RDX),
    ("rsi", reg::RSI),
    ("rdi", reg::RDI),
    ("rbp", reg::RBP),
    ("rsp", reg::RSP),
];
const SELECTORS: [(&str, usize); 6] = [
    ("cs", segment::CS),
    ("ss", segment::SS),
    ("ds", segment::DS),
    ("es", segment::ES),
    ("fs", segment::FS),
    ("gs", segment::GS),
];
const UNIT: [(&str, Unit); 8] = [
    ("fctrl", Unit::Control),
    ("fstat", Unit::Status),
    ("ftag", Unit::Tags),
    ("fiseg", Unit::CodeSegment),
    ("fioff", Unit::CodeOffset),
    ("foseg", Unit::DataSegment),
    ("fooff", Unit::DataOffset),
    ("fop", Unit::Opcode),
];
const SYSTEM: [(&str, System); 6] = [
    ("k_gs_base", System::KernelGsBase),
    ("cr0", System::Cr0),
    ("cr2", System::Cr2),
    ("cr3", System::Cr3),
    ("cr4", System::Cr4),
    ("efer", System::Efer),
];

fn features() -> Vec<Feature> {
    let mut core = Vec::new();
    for (name, number) in GENERAL {
        let kind = if matches!(number, reg::RBP | reg::RSP) { "data_ptr" } else { "int64" };
        core.push((name.into(), 8, kind, What::General(number)));
    }
    core.extend((8..16).map(|n| (format!("r{n}"), 8, "int64", What::General(n))));
    core.push(("rip".into(), 8, "code_ptr", What::Rip));
    core.push(("eflags".into(), 4, "flags", What::Flags));
    core.extend(SELECTORS.map(|(name, n)| (name.into(), 4, "int32", What::Selector(n))));
    core.extend((0..8).map(|n| (format!("st{n}"), 10, "i387_ext", What::Stack(n))));
    core.extend(UNIT.map(|(name, unit)| (name.into(), 4, "int32", What::Unit(unit))));
    let mut sse: Vec<_> =
        (0..16).map(|n| (format!("xmm{n}"), 16, "vector", What::Xmm(n))).collect();
    sse.push(("mxcsr".into(), 4, "int32", What::Mxcsr));
    let linux = vec![("orig_rax".into(), 8, "int64", What::Original)];
    let bases = [("fs_base", segment::FS), ("gs_base", segment::GS)];
    let bases = bases.map(|(name, n)| (name.into(), 8, "int64", What::Base(n))).into();
    let system = SYSTEM.map(|(name, which)| (name.into(), 8, "int64", What::System(which))).into();
    vec![
        Feature { name: "org.gnu.gdb.i386.core", registers: core },
        Feature { name: "org.gnu.gdb.i386.sse", registers: sse },
        Feature { name: "org.gnu.gdb.i386.linux", registers: linux },
        Feature { name: "org.gnu.gdb.i386.segments", registers: bases },
        Feature { name: "vivarium.system", registers: system },
    ]
}

/// Bits of EFLAGS that have names.
const FLAGS: [(&str, u8); 17] = [
    ("CF", 0),
    ("", 1),
    ("PF", 2),
    ("AF", 4),
    ("ZF", 6),
    ("SF", 7),
    ("TF", 8),
    ("IF", 9),
    ("DF", 10),
    ("OF", 11),
    ("NT", 14),
    ("RF", 16),
    ("VM", 17),
    ("AC", 18),
    ("VIF", 19),
    ("VIP", 20),
    ("ID", 21),
];
/// What the lanes of a vector can be.
const LANES: [(&str, &str, usize); 6] = [
    ("v4_float", "ieee_single", 4),
    ("v2_double", "ieee_double", 2),
    ("v16_int8", "int8", 16),
    ("v8_int16", "int16", 8),
    ("v4_int32", "int32", 4),
    ("v2_int64", "int64", 2),
];

fn description() -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">\
         <target version=\"1.0\"><architecture>i386:x86-64</architecture>",
    );
    // Writing to a string does not fail.
    for Feature { name, registers } in features() {
        let _ = write!(text, "<feature name=\"{name}\"><flags id=\"flags\" size=\"4\">");
        for (flag, bit) in FLAGS {
            let _ = write!(text, "<field name=\"{flag}\" start=\"{bit}\" end=\"{bit}\"/>");
        }
        text.push_str("</flags>");
        for (lanes, kind, count) in LANES {
            let _ = write!(text, "<vector id=\"{lanes}\" type=\"{kind}\" count=\"{count}\"/>");
        }
        text.push_str("<union id=\"vector\">");
        for (lanes, ..) in LANES {
            let _ = write!(text, "<field name=\"{lanes}\" type=\"{lanes}\"/>");
        }
        text.push_str("<field name=\"uint128\" type=\"uint128\"/></union>");
        for (register, bytes, kind, _) in registers {
            let bits = bytes * 8;
            let _ = write!(text, "<reg name=\"{register}\" bitsize=\"{bits}\" type=\"{kind}\"/>");
        }
        text.push_str("</feature>");
    }
    text.push_str("</target>");
    text
}

/// All registers, as bytes in gdb's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers {
    bytes: Vec<u8>,
    rip: u64,
}

/// Size and meaning of each register.
static ORDER: LazyLock<Vec<(usize, What)>> = LazyLock::new(|| {
    let registers = features().into_iter().flat_map(|feature| feature.registers);
    registers.map(|(_, bytes, _, what)| (bytes, what)).collect()
});

impl Registers {
    /// Those of a processor.
    pub(super) fn of(state: &State) -> Self {
        let mut bytes = Vec::new();
        for (size, what) in &*ORDER {
            bytes.extend_from_slice(&read(state, *what).to_le_bytes()[..*size]);
        }
        Registers { bytes, rip: state.rip }
    }

    /// Gives them to a processor.
    pub(super) fn give(&self, state: &mut State) -> Result<(), Impossible> {
        let mut rest = &self.bytes[..];
        for (size, what) in &*ORDER {
            let (bytes, behind) = rest.split_at_checked(*size).ok_or(Impossible)?;
            let mut value = [0; 16];
            value[..*size].copy_from_slice(bytes);
            let value = u128::from_le_bytes(value);
            if value != read(state, *what) {
                write_register(state, *what, value)?;
            }
            rest = behind;
        }
        if rest.is_empty() { Ok(()) } else { Err(Impossible) }
    }
}

impl gdbstub::arch::Registers for Registers {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.rip
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.bytes.iter().for_each(|byte| write_byte(Some(*byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.bytes = bytes.to_vec();
        Ok(())
    }
}

fn read(state: &State, what: What) -> u128 {
    let x87 = &state.x87;
    u128::from(match what {
        What::General(n) => state.gpr[n],
        What::Rip => state.rip,
        What::Flags => state.flags.bits(),
        What::Selector(n) => state.segments[n].selector.into(),
        What::Stack(n) => {
            let register = x87.registers[(x87.top() + n) & 7];
            return u128::from(register.significand) | u128::from(register.exponent) << 64;
        }
        What::Unit(Unit::Control) => x87.control.into(),
        What::Unit(Unit::Status) => x87.status.into(),
        What::Unit(Unit::Tags) => full_tags(x87.tags),
        What::Unit(Unit::CodeOffset) => x87.instruction & 0xFFFF_FFFF,
        What::Unit(Unit::CodeSegment) => x87.instruction >> 32,
        What::Unit(Unit::DataOffset) => x87.data & 0xFFFF_FFFF,
        What::Unit(Unit::DataSegment) => x87.data >> 32,
        What::Unit(Unit::Opcode) => x87.opcode.into(),
        What::Xmm(n) => return state.xmm[n],
        What::Mxcsr => state.mxcsr.into(),
        What::Original => u64::MAX,
        What::Base(n) => state.segments[n].base,
        What::System(System::KernelGsBase) => state.msrs.kernel_gs_base,
        What::System(System::Cr0) => state.cr0,
        What::System(System::Cr2) => state.cr2,
        What::System(System::Cr3) => state.cr3,
        What::System(System::Cr4) => state.cr4,
        What::System(System::Efer) => state.msrs.efer,
    })
}

/// Two bits for each register: in use, or empty.
fn full_tags(tags: u8) -> u64 {
    (0..8).map(|n| if tags >> n & 1 == 1 { 0 } else { 3 << (2 * n) }).sum()
}

/// Registers that a program changes while it computes can be set. Those whose change would be
/// more than a change of a number (selectors, control registers) cannot.
fn write_register(state: &mut State, what: What, value: u128) -> Result<(), Impossible> {
    let word = value as u64;
    let top = state.x87.top();
    match what {
        What::General(n) => state.gpr[n] = word,
        What::Rip => state.rip = word,
        What::Flags => state.flags.set_bits(word),
        What::Stack(n) => {
            let register = &mut state.x87.registers[(top + n) & 7];
            (register.significand, register.exponent) = (word, (value >> 64) as u16);
        }
        What::Xmm(n) => state.xmm[n] = value,
        What::Mxcsr if word >> 16 == 0 => state.mxcsr = word as u32,
        What::Base(n) => state.segments[n].base = word,
        What::System(System::KernelGsBase) => state.msrs.kernel_gs_base = word,
        What::System(System::Cr2) => state.cr2 = word,
        _ => return Err(Impossible),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_what_was_read() {
        let mut state = State { rip: 0x1234, ..State::default() };
        state.gpr[..16].copy_from_slice(&std::array::from_fn::<_, 16, _>(|n| n as u64 + 100));
        state.xmm[15] = u128::MAX - 5;
        state.x87.status = 5 << 11;
        state.x87.registers[5].exponent = 0x3FFF;
        state.segments[segment::GS].base = 7 << 40;
        let registers = Registers::of(&state);
        assert_eq!(registers.bytes.len(), 16 * 8 + 8 + 4 + 24 + 80 + 32 + 260 + 8 + 16 + 48);
        // RBX is gdb's second register, and the stack begins at the top.
        assert_eq!(registers.bytes[8], 103);
        assert_eq!(registers.bytes[164 + 8..164 + 10], [0xFF, 0x3F]);
        let mut other = State::default();
        other.x87.status = state.x87.status;
        assert_eq!(registers.give(&mut other), Ok(()));
        assert_eq!(Registers::of(&other), registers);
    }

    #[test]
    fn what_is_more_than_a_number_cannot_be_set() {
        for (index, (_, what)) in ORDER.iter().enumerate() {
            let mut registers = Registers::of(&State::default());
            let at: usize = ORDER[..index].iter().map(|(size, _)| size).sum();
            registers.bytes[at] ^= 1;
            let given = registers.give(&mut State::default());
            let fixed = matches!(
                what,
                What::Selector(_)
                    | What::Unit(_)
                    | What::Original
                    | What::System(System::Cr0 | System::Cr3 | System::Cr4 | System::Efer)
            );
            assert_eq!(given.is_err(), fixed, "{what:?}");
        }
        let mut registers = Registers::of(&State::default());
        registers.bytes.pop();
        assert_eq!(registers.give(&mut State::default()), Err(Impossible));
    }
}
