//! Delivery of exceptions: what the frame says, and what comes of one that cannot be pushed.
//! Each of these was found by comparing with Bochs and Unicorn (`tests/oracle.rs`).

use super::*;

const RF: u64 = 1 << 16;
/// A slot of the GDT behind those that `Machine` uses.
const FREE: u64 = 0x38;

/// A gate of privilege level 3 to `HANDLER` in the code segment `selector`.
fn gate_into(machine: &mut Machine, vector: u8, selector: u64) {
    machine.gate(vector, 0);
    let at = IDT + 16 * u64::from(vector);
    let low: u64 = machine.memory.read(at).unwrap();
    machine.memory.write(at, low & !0xFFFF_0000 | selector << 16).unwrap();
}

#[test]
fn a_fault_pushes_rf_and_an_interrupt_does_not() {
    for (vector, restarts) in [(6, true), (VECTOR, false)] {
        let mut machine = Machine::new();
        machine.gate(vector, 0);
        machine.noting_handler();
        machine.put(KERNEL, |a| if restarts { a.ud2() } else { a.int(VECTOR as i32) });
        machine.run(100);
        assert_eq!(machine.notes()[3] & RF, if restarts { RF } else { 0 }, "{vector}");
    }
}

#[test]
fn an_error_code_says_whose_event_could_not_be_delivered() {
    for asked_for in [false, true] {
        // A handler's code segment beyond the GDT.
        let mut machine = Machine::new();
        gate_into(&mut machine, 6, FREE);
        machine.gate(13, 0);
        machine.noting_handler();
        machine.put(KERNEL, |a| if asked_for { a.int(6) } else { a.ud2() });
        machine.run(100);
        assert_eq!(machine.notes()[1], FREE | u64::from(!asked_for));
    }
}

#[test]
fn a_bad_interrupt_stack_is_said_to_be_the_processors_affair() {
    for asked_for in [false, true] {
        let external = u64::from(!asked_for);
        // Beyond the task-state segment.
        let mut machine = Machine::new();
        machine.gate(6, 1);
        machine.gate(10, 0);
        machine.noting_handler();
        machine.cpu.state.tr.limit = 0x23;
        machine.put(KERNEL, |a| if asked_for { a.int(6) } else { a.ud2() });
        machine.run(100);
        assert_eq!(machine.notes()[1], 0x30 | external);
        // At no address at all.
        for stack in [1u64 << 47, 0xFFFF_8000_0000_0000] {
            let mut machine = Machine::new();
            machine.gate(6, 1);
            machine.gate(12, 0);
            machine.noting_handler();
            machine.memory.write(TSS + 0x24, stack).unwrap();
            machine.put(KERNEL, |a| if asked_for { a.int(6) } else { a.ud2() });
            machine.run(100);
            assert_eq!(machine.notes()[1..3], [external, KERNEL], "{stack:x}");
        }
    }
}

#[test]
fn a_handler_at_no_address_is_a_fault_of_its_event() {
    let mut machine = Machine::new();
    machine.gate(6, 0);
    machine.memory.write(IDT + 16 * 6 + 8, 0x8000u64).unwrap();
    machine.gate(13, 0);
    machine.noting_handler();
    machine.put(KERNEL, |a| a.ud2());
    machine.run(100);
    assert_eq!(machine.notes()[1], 1);
}

#[test]
fn a_frame_is_pushed_from_the_top_down() {
    let mut machine = Machine::new();
    machine.gate(6, 0);
    machine.gate(8, 1);
    machine.noting_handler();
    // Two words of the frame lie on a page that is absent.
    machine.cpu.state.gpr[4] = NOWHERE + 16;
    machine.put(KERNEL, |a| a.ud2());
    machine.run(100);
    assert_eq!(machine.notes()[0], NOWHERE + 8);
    assert_eq!(machine.notes()[8], IST - 48);
}

#[test]
fn a_handlers_segment_is_accessed_once_its_frame_is_pushed() {
    for (stack, accessed) in [(STACK, 1), (NOWHERE + 16, 0)] {
        let mut machine = Machine::new();
        machine.cpu.state.gdtr.limit = 0x3F;
        machine.memory.write(GDT + FREE, 0x00AF_9A00_0000_FFFFu64).unwrap();
        gate_into(&mut machine, 6, FREE);
        machine.gate(8, 1);
        machine.noting_handler();
        machine.cpu.state.gpr[4] = stack;
        machine.put(KERNEL, |a| a.ud2());
        machine.run(100);
        assert_eq!(machine.memory.read::<u64>(GDT + FREE).unwrap() >> 40 & 1, accessed);
    }
}

const TF: u64 = 1 << 8;

/// Where each single-step trap of a program came, which starts with TF set and ends in HLT.
fn traps(program: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u64> {
    let mut machine = Machine::new();
    machine.gate(1, 0);
    // Notes its return address in the next word of the list that R15 goes through.
    machine.put(HANDLER, |a| {
        a.mov(r14, qword_ptr(rsp))?;
        a.mov(qword_ptr(r15), r14)?;
        a.add(r15, 8)?;
        a.iretq()
    });
    machine.cpu.state.gpr[15] = NOTES;
    machine.put(KERNEL, program);
    let flags = machine.cpu.state.flags.bits();
    machine.cpu.state.flags.set_bits(flags | TF);
    machine.run(100);
    let count = (machine.cpu.state.gpr[15] - NOTES) / 8;
    (0..count).map(|word| machine.memory.read::<u64>(NOTES + 8 * word).unwrap() - KERNEL).collect()
}

#[test]
fn an_instruction_that_began_with_tf_set_is_followed_by_a_trap() {
    let cleared = traps(|a| {
        a.push(0)?;
        a.popfq()?;
        a.nop()?;
        a.hlt()
    });
    assert_eq!(cleared, [2, 3], "behind PUSH, and behind POPF though it has cleared TF");
}

#[test]
fn a_load_of_ss_holds_the_trap_back_and_sti_does_not() {
    let held = traps(|a| {
        a.mov(ss, eax)?;
        a.nop()?;
        a.push(0)?;
        a.popfq()?;
        a.hlt()
    });
    assert_eq!(held, [3, 5, 6]);
    let with_sti = traps(|a| {
        a.sti()?;
        a.push(0)?;
        a.popfq()?;
        a.hlt()
    });
    assert_eq!(with_sti, [1, 3, 4]);
}

#[test]
fn a_trap_behind_a_halt_ends_it() {
    let mut machine = Machine::new();
    machine.gate(1, 0);
    machine.put(HANDLER, |a| {
        a.mov(rbx, 7u64)?;
        a.hlt()
    });
    machine.put(KERNEL, |a| a.hlt());
    let flags = machine.cpu.state.flags.bits();
    machine.cpu.state.flags.set_bits(flags | TF);
    assert_eq!(machine.run(100).exit, Exit::Halted);
    assert_eq!(machine.cpu.state.gpr[3], 7);
}
