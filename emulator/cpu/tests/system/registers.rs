//! Control and debug registers, INVPCID, counters and ports. Each of these was found by
//! comparing with Bochs and Unicorn (`tests/oracle.rs`), or can be asked of neither.

use super::*;

const CR4_DE: u64 = 1 << 3;
const CR4_PCIDE: u64 = 1 << 17;

type Program = fn(&mut CodeAssembler) -> Result<(), IcedError>;

/// Does this fault with the vector, at `KERNEL`?
fn faults(vector: u8, prepare: impl FnOnce(&mut Machine), program: Program) -> bool {
    let mut machine = Machine::new();
    machine.gate(vector, 0);
    machine.noting_handler();
    prepare(&mut machine);
    machine.put(KERNEL, program);
    machine.run(1);
    machine.run(1);
    machine.cpu.state.rip >= HANDLER
}

/// For a #GP with a value in RAX.
fn refused(value: u64, program: Program) -> bool {
    let prepare = |machine: &mut Machine| machine.cpu.state.gpr[0] = value;
    faults(13, prepare, program)
}

#[test]
fn cr0_refuses_upper_bits_and_keeps_paging_in_64_bit_mode() {
    let old = 0x8005_0033;
    for (new, bad) in [(old, false), (old | 1 << 32, true), (old & !(1 << 31), true)] {
        assert_eq!(refused(new, |a| a.mov(cr0, rax)), bad, "{new:x}");
    }
}

#[test]
fn dr4_and_dr5_are_others_only_without_debugging_extensions() {
    for (program, set) in [
        ((|a| a.mov(rax, dr4)) as Program, CR4_DE),
        (|a| a.mov(rax, dr5), CR4_DE),
        (|a| a.mov(rax, dr5), 0),
    ] {
        let prepare = |machine: &mut Machine| machine.cpu.state.cr4 |= set;
        assert_eq!(faults(6, prepare, program), set != 0);
    }
}

#[test]
fn invpcid_looks_at_its_descriptor() {
    for (kind, context, linear, contexts, bad) in [
        (0, 0u64, NOWHERE, false, false),
        (0, 5, NOWHERE, false, true),
        (0, 5, NOWHERE, true, false),
        (1, 5, 1 << 47, true, false),
        (0, 5, 1 << 47, true, true),
        (2, 0x1000, 0, true, true),
        (2, 5, 1 << 47, false, false),
        (4, 0, 0, true, true),
    ] {
        let prepare = |machine: &mut Machine| {
            machine.cpu.state.gpr[0] = kind;
            machine.memory.write(NOTES + 0x100, context).unwrap();
            machine.memory.write(NOTES + 0x108, linear).unwrap();
            if contexts {
                machine.cpu.state.cr4 |= CR4_PCIDE;
            }
        };
        let program: Program = |a| a.invpcid(rax, xmmword_ptr(NOTES + 0x100));
        assert_eq!(faults(13, prepare, program), bad, "{kind} {context:x} {linear:x} {contexts}");
    }
}

#[test]
fn there_are_no_performance_counters() {
    assert!(refused(0, |a| a.rdpmc()));
}

#[test]
fn a_users_ports_are_those_of_the_map() {
    // The map's place, the port, and may it be used? One bit of four bytes is set.
    for (map, port, may) in [
        (0x68, 0x10, true),
        (0x68, 0x11, false),
        (0x68, 0x18, true),
        (0x68, 0x20, false),
        (0xFFFF, 0x10, false),
    ] {
        let mut machine = Machine::new();
        machine.gate(13, 0);
        machine.noting_handler();
        machine.user();
        machine.cpu.state.tr.limit = 0x6C;
        machine.memory.write(TSS + 0x66, map as u16).unwrap();
        machine.memory.write(TSS + 0x68, 0x0002_0000u32).unwrap();
        machine.memory.write(TSS + 0x6C, 0xFFu8).unwrap();
        machine.cpu.state.gpr[2] = port;
        machine.put(USER, |a| a.out(dx, al));
        machine.run(1);
        assert_eq!(machine.board.written.len(), usize::from(may), "{map:x} {port:x}");
    }
}
