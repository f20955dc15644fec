//! Which registers an instruction has changed.

use std::fmt::{self, Write};

use emulator_cpu::State;

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];

/// Writes ` name=value` for each register that differs, but not RIP.
pub(super) fn write(out: &mut String, before: &State, after: &State) -> fmt::Result {
    let mut number = |name: &str, old: u64, new: u64| {
        if old == new { Ok(()) } else { write!(out, " {name}={new:x}") }
    };
    for ((name, old), new) in GENERAL.iter().zip(before.gpr).zip(after.gpr) {
        number(name, old, new)?;
    }
    number("rflags", before.flags.bits(), after.flags.bits())?;
    for ((name, old), new) in SEGMENTS.iter().zip(&before.segments).zip(&after.segments) {
        number(name, old.selector.into(), new.selector.into())?;
        number(&format!("{name}.base"), old.base, new.base)?;
    }
    for (name, old, new) in [
        ("cr0", before.cr0, after.cr0),
        ("cr2", before.cr2, after.cr2),
        ("cr3", before.cr3, after.cr3),
        ("cr4", before.cr4, after.cr4),
        ("efer", before.msrs.efer, after.msrs.efer),
        ("mxcsr", before.mxcsr.into(), after.mxcsr.into()),
        ("fctrl", before.x87.control.into(), after.x87.control.into()),
        ("fstat", before.x87.status.into(), after.x87.status.into()),
        ("ftag", before.x87.tags.into(), after.x87.tags.into()),
    ] {
        number(name, old, new)?;
    }
    for (index, (old, new)) in before.x87.registers.iter().zip(&after.x87.registers).enumerate() {
        if old != new {
            // By the physical number: those of the stack move with its top.
            write!(out, " fpr{index}={:04x}:{:016x}", new.exponent, new.significand)?;
        }
    }
    for (index, (old, new)) in before.xmm.iter().zip(after.xmm).enumerate() {
        if *old != new {
            write!(out, " xmm{index}={new:032x}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_named_and_nothing_else() {
        let before = State::default();
        let mut after = before.clone();
        let text = |after: &State| {
            let mut text = String::new();
            write(&mut text, &before, after).unwrap();
            text
        };
        after.rip = 5;
        assert_eq!(text(&after), "");
        after.gpr[15] = 0x12;
        after.flags.set_bits(0x46);
        after.segments[4].base = 7;
        after.x87.registers[7].exponent = 1;
        after.xmm[1] = 255;
        let expected =
            format!(" r15=12 rflags=46 fs.base=7 fpr7=0001:{:016x} xmm1={:032x}", 0, 255);
        assert_eq!(text(&after), expected);
    }
}
