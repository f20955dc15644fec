//! What was wrong here once, and was found by asking the host's processor (`tests/host.rs`).

use super::*;

/// The highest 2 MiB of the lower half of addresses, and the last of physical memory.
const LAST: u64 = 0x0000_7FFF_FFE0_0000;
const MORE_TABLES: u64 = 0x8000;

#[test]
fn to_run_off_the_end_of_the_lower_half_is_a_protection_fault() {
    let mut machine = Machine::new();
    for (at, entry) in [
        (TABLES + 8 * 255, MORE_TABLES + 7),
        (MORE_TABLES + 8 * 511, MORE_TABLES + 0x1007),
        (MORE_TABLES + 0x1000 + 8 * 511, 0x20_0087),
    ] {
        machine.memory.write(at, entry).unwrap();
    }
    machine.gate(13, 0);
    machine.noting_handler();
    let end = LAST + 0x20_0000;
    machine.memory.write(0x40_0000 - 1, 0x90u8).unwrap();
    machine.cpu.state.rip = end - 1;
    machine.run(100);
    assert_eq!(machine.notes()[1..3], [0, end], "behind the NOP");
}

#[test]
fn pop_to_where_it_pops_from_is_the_stacks_fault() {
    let mut machine = Machine::new();
    machine.gate(12, 1);
    machine.noting_handler();
    machine.put(KERNEL, |a| a.pop(qword_ptr(rbx)));
    for register in [3, 4] {
        machine.cpu.state.gpr[register] = 1 << 63;
    }
    machine.run(100);
    assert_eq!(machine.notes()[1..3], [0, KERNEL]);
}

#[test]
fn fscale_beyond_the_adjusted_exponent_is_zero_however_it_is_rounded() {
    let mut machine = Machine::new();
    // Up, and all exceptions masked but underflow, whose results are adjusted by 2^24576.
    machine.memory.write(NOTES, 0x0B6Fu16).unwrap();
    machine.memory.write(NOTES + 8, (-60_000f64).to_bits()).unwrap();
    machine.put(KERNEL, |a| {
        a.fninit()?;
        a.fldcw(word_ptr(NOTES))?;
        a.fld(qword_ptr(NOTES + 8))?;
        a.fld1()?;
        a.fscale()?;
        a.fnstsw(ax)?;
        a.fnclex()?;
        a.fstp(tbyte_ptr(NOTES + 32))?;
        a.hlt()
    });
    assert_eq!(machine.run(100).exit, Exit::Halted);
    assert_eq!(machine.cpu.state.gpr[0] & 0x10, 0x10, "underflow");
    assert_eq!(machine.memory.read::<u64>(NOTES + 32).unwrap(), 0);
    assert_eq!(machine.memory.read::<u16>(NOTES + 40).unwrap(), 0);
}

#[test]
fn lengths_of_strings_have_64_bits() {
    // Found as WebAssembly, where an index has 32.
    let mut machine = Machine::new();
    machine.put(KERNEL, |a| {
        a.pxor(xmm0, xmm0)?;
        a.pxor(xmm1, xmm1)?;
        a.mov(rax, 1i64 << 32)?;
        a.mov(rdx, 1i64 << 32)?;
        // Equal, each: the first place that differs.
        a.db(&[0x66, 0x48, 0x0F, 0x3A, 0x61, 0xC1, 0x18])?;
        a.hlt()
    });
    assert_eq!(machine.run(100).exit, Exit::Halted);
    assert_eq!(machine.cpu.state.gpr[1], 16, "sixteen of sixteen");
}
