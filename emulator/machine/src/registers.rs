//! The processor's registers as text, for faults and debuggers.

use std::fmt::Write;

use emulator_cpu::state::segment;

use crate::machine::Machine;

const NAMES: [&str; 16] = [
    "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8 ", "R9 ", "R10", "R11", "R12",
    "R13", "R14", "R15",
];

impl Machine {
    /// All registers that tell why a processor has stopped, in a few lines.
    pub fn registers(&self) -> String {
        let state = &self.cpu.state;
        let mut text = String::new();
        for (index, (name, value)) in NAMES.iter().zip(state.gpr).enumerate() {
            let end = if index % 4 == 3 { '\n' } else { ' ' };
            // Writing to a string does not fail.
            let _ = write!(text, "{name}={value:016x}{end}");
        }
        let cs = &state.segments[segment::CS];
        let _ = writeln!(
            text,
            "RIP={:016x} RFLAGS={:08x} CS={:04x} SS={:04x} CPL={}",
            state.rip,
            state.flags.bits(),
            cs.selector,
            state.segments[segment::SS].selector,
            state.cpl
        );
        let _ = write!(
            text,
            "CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x} EFER={:04x}",
            state.cr0, state.cr2, state.cr3, state.cr4, state.msrs.efer
        );
        text
    }
}
