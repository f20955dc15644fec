//! Far transfers and descriptors. Each of these was found by comparing with Bochs and Unicorn
//! (`tests/oracle.rs`).

use super::*;

/// A slot of the GDT behind those that `Machine` uses.
const FREE: u64 = 0x38;

fn with_segment(descriptor: u64) -> Machine {
    let mut machine = Machine::new();
    machine.cpu.state.gdtr.limit = 0x3F;
    machine.memory.write(GDT + FREE, descriptor).unwrap();
    machine.gate(13, 0);
    machine.noting_handler();
    machine
}

/// IRETQ with this on the stack: RIP, CS, RFLAGS, RSP, SS.
fn return_to(machine: &mut Machine, frame: [u64; 5]) {
    for (word, value) in frame.into_iter().enumerate() {
        machine.memory.write(STACK + 8 * word as u64, value).unwrap();
    }
    machine.put(KERNEL, |a| a.iretq());
}

#[test]
fn a_segment_is_accessed_only_if_all_of_the_return_is_right() {
    for (stack, accessed) in [(0x10, 1), (0x08, 0)] {
        let mut machine = with_segment(0x00AF_9A00_0000_FFFF);
        return_to(&mut machine, [HANDLER, FREE, 2, STACK, stack]);
        machine.run(1);
        assert_eq!(machine.memory.read::<u64>(GDT + FREE).unwrap() >> 40 & 1, accessed);
    }
}

#[test]
fn a_return_looks_at_its_stack_before_its_address() {
    let mut machine = with_segment(0);
    return_to(&mut machine, [1 << 47, 0x08, 2, STACK, 0x20]);
    machine.run(100);
    assert_eq!(machine.notes()[1..3], [0x20, KERNEL]);
}

#[test]
fn an_absent_stack_of_a_return_is_what_the_return_says() {
    // RIP, CS, RFLAGS, RSP, SS for IRET, the same without RFLAGS for RET.
    let frame = [USER, 0x2B, 2, STACK, FREE | 3];
    for (vector, words, by_iret) in
        [(11, frame, true), (12, [frame[0], frame[1], frame[3], frame[4], 0], false)]
    {
        let mut machine = with_segment(0x00CF_7300_0000_FFFF);
        machine.gate(vector, 0);
        machine.memory.write(IDT + 16 * 13, 0u64).unwrap();
        return_to(&mut machine, words);
        machine.put(KERNEL, |a| if by_iret { a.iretq() } else { a.db(&[0x48, 0xCB]) });
        machine.run(100);
        assert_eq!(machine.notes()[1..3], [FREE, KERNEL]);
    }
}

#[test]
fn a_return_to_a_stack_of_16_bits_loads_sp_alone() {
    let mut machine = with_segment(0x0000_F300_0000_FFFF);
    return_to(&mut machine, [USER, 0x1B, 2, 0x5_1234, FREE | 3]);
    machine.run(1);
    assert_eq!(machine.cpu.state.cpl, 3);
    assert_eq!(machine.cpu.state.gpr[4], STACK | 0x1234);
}

#[test]
fn a_return_of_the_system_restores_vif_and_vip() {
    let flags = 1 << 19 | 1 << 20 | 2;
    let mut machine = with_segment(0);
    return_to(&mut machine, [USER, 0x08, flags, STACK, 0x10]);
    machine.run(1);
    assert_eq!(machine.cpu.state.rip, USER);
    assert_eq!(machine.cpu.state.flags.bits(), flags);
}

#[test]
fn a_jump_to_code_of_16_bits_may_be_wider_than_its_segment() {
    let mut machine = with_segment(0x0000_9B00_0000_FFFF);
    machine.memory.write(NOTES + 0x100, 0x1_0000u32).unwrap();
    machine.memory.write(NOTES + 0x104, FREE as u16).unwrap();
    machine.put(KERNEL, |a| {
        // JMP m16:32 by way of NOTES + 0x100.
        a.db(&[0xFF, 0x2C, 0x25])?;
        a.dd(&[NOTES as u32 + 0x100])
    });
    machine.run(100);
    assert_eq!(machine.notes()[1..3], [0, KERNEL]);
}

#[test]
fn a_look_at_a_descriptor_at_no_address_is_a_fault() {
    let mut machine = with_segment(0);
    let base = (1 << 47) - 4;
    machine.cpu.state.ldtr = Segment { base, limit: 0xF, selector: 0x40, attributes: 0x82 };
    machine.put(KERNEL, |a| {
        a.mov(eax, 0x14)?;
        a.lar(ecx, eax)?;
        a.mov(eax, 4)?;
        a.lar(ecx, eax)
    });
    machine.run(100);
    // The first is beyond the table, and that is an answer.
    assert_eq!(machine.notes()[1..3], [0, KERNEL + 13]);
}

#[test]
fn a_task_or_a_local_table_has_a_whole_descriptor() {
    // Base 63:32 with the upper type, the GDT's limit, and may it be loaded?
    for (upper, limit, may) in [
        (0, 0x47, true),
        (0, 0x46, false),
        (0xFFFF_8000, 0x47, true),
        (0x0000_8000, 0x47, false),
        (0x0000_0100_0000_0000u64, 0x47, false),
    ] {
        for task in [false, true] {
            let access = if task { 0x89 } else { 0x82 };
            let mut machine = with_segment(0x67 | access << 40);
            machine.memory.write(GDT + FREE + 8, upper).unwrap();
            machine.cpu.state.gdtr.limit = limit;
            machine.put(KERNEL, |a| {
                a.mov(eax, FREE as u32)?;
                if task { a.ltr(ax) } else { a.lldt(ax) }
            });
            machine.run(2);
            let state = &machine.cpu.state;
            let loaded = if task { state.tr } else { state.ldtr };
            assert_eq!(loaded.selector == FREE as u16, may, "{upper:x} {limit:x}");
        }
    }
}
