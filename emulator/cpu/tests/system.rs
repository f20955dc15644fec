//! What no other processor can be asked about from a program: paging, delivery of exceptions
//! and interrupts, system calls, changed code. Small programs, assembled here, on a board with
//! one interrupt line.
#![forbid(unsafe_code)]

#[path = "system/delivery.rs"]
mod delivery;
#[path = "system/found.rs"]
mod found;
#[path = "system/numbers.rs"]
mod numbers;
#[path = "system/registers.rs"]
mod registers;
#[path = "system/segments.rs"]
mod segments;

use emulator_bus::{Bus, Cycle, Memory, Refused, Width};
use emulator_cpu::state::{Activity, Segment, Table};
use emulator_cpu::{Cpu, Exit, Slice, State};
use iced_x86::code_asm::*;

/// Where things lie; the first 2 MiB are mapped for everybody, the next for nobody.
const TABLES: u64 = 0x1000;
const GDT: u64 = 0x5000;
const IDT: u64 = 0x6000;
const TSS: u64 = 0x7000;
const KERNEL: u64 = 0x1_0000;
const HANDLER: u64 = 0x1_4000;
const USER: u64 = 0x1_8000;
const NOTES: u64 = 0x2_0000;
const STACK: u64 = 0x3_0000;
const INNER_STACK: u64 = 0x4_0000;
const IST: u64 = 0x5_0000;
const NOWHERE: u64 = 0x20_0000;

const VECTOR: u8 = 0x40;

#[derive(Default)]
struct Board {
    waiting: Option<u8>,
    written: Vec<(u16, u32)>,
}

impl Bus for Board {
    fn port_in(&mut self, _: u16, width: Width, _: Cycle<'_>) -> u32 {
        width.mask() as u32
    }
    fn port_out(&mut self, port: u16, _: Width, value: u32, cycle: Cycle<'_>) {
        self.written.push((port, value));
        // A device that moves data by itself.
        if port == 0x99 {
            cycle.memory.write(u64::from(value), 0x07u8).unwrap();
        }
    }
    fn mmio_read(&mut self, _: u64, width: Width, _: Cycle<'_>) -> u64 {
        width.mask()
    }
    fn mmio_write(&mut self, _: u64, _: Width, _: u64, _: Cycle<'_>) {}
    fn msr_read(&mut self, _: u32, _: Cycle<'_>) -> Result<u64, Refused> {
        Err(Refused)
    }
    fn msr_write(&mut self, _: u32, _: u64, _: Cycle<'_>) -> Result<(), Refused> {
        Err(Refused)
    }
    fn interrupt(&self) -> bool {
        self.waiting.is_some()
    }
    fn acknowledge(&mut self) -> Option<u8> {
        self.waiting.take()
    }
    fn task_priority(&self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _: u8) {}
    fn entropy(&mut self) -> u64 {
        4
    }
}

struct Machine {
    cpu: Cpu,
    memory: Memory,
    board: Board,
}

impl Machine {
    fn new() -> Self {
        let mut memory = Memory::new(0x40_0000);
        for (at, entry) in [
            (TABLES, TABLES + 0x1007),
            (TABLES + 0x1000, TABLES + 0x2007),
            (TABLES + 0x2000, 0x87),
            (GDT + 0x08, 0x00AF_9B00_0000_FFFF),
            (GDT + 0x10, 0x00CF_9300_0000_FFFF),
            (GDT + 0x18, 0x00CF_FB00_0000_FFFF),
            (GDT + 0x20, 0x00CF_F300_0000_FFFF),
            (GDT + 0x28, 0x00AF_FB00_0000_FFFF),
            (TSS + 4, INNER_STACK),
            (TSS + 0x24, IST),
        ] {
            memory.write(at, entry).unwrap();
        }
        let mut state = State {
            cr0: 0x8005_0033,
            cr3: TABLES,
            cr4: 0x6A0,
            gdtr: Table { base: GDT, limit: 0x2F },
            idtr: Table { base: IDT, limit: 0xFFF },
            tr: Segment { base: TSS, limit: 0x67, selector: 0x30, attributes: 0x8B },
            rip: KERNEL,
            ..State::default()
        };
        state.msrs.efer = 0xD01;
        state.segments[1] = Segment::flat(8, 0xA09B);
        state.segments[2] = Segment::flat(0x10, 0xC093);
        state.gpr[4] = STACK;
        Machine { cpu: Cpu::new(state), memory, board: Board::default() }
    }

    fn put(&mut self, at: u64, program: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) {
        let mut assembler = CodeAssembler::new(64).unwrap();
        program(&mut assembler).unwrap();
        let bytes = assembler.assemble(at).unwrap();
        self.memory.slice_mut(at, bytes.len()).unwrap().copy_from_slice(&bytes);
    }

    /// A gate to `HANDLER`; interrupts are off behind it.
    fn gate(&mut self, vector: u8, stack: u64) {
        let at = IDT + 16 * u64::from(vector);
        let low = HANDLER & 0xFFFF | 8 << 16 | stack << 32 | 0xEE00 << 32 | (HANDLER >> 16) << 48;
        self.memory.write(at, low).unwrap();
    }

    /// A handler that notes CR2 and what lies on its stack, then halts.
    fn noting_handler(&mut self) {
        self.put(HANDLER, |a| {
            a.mov(rax, cr2)?;
            a.mov(qword_ptr(NOTES), rax)?;
            for word in 0..6 {
                a.mov(rax, qword_ptr(rsp + 8 * word))?;
                a.mov(qword_ptr(NOTES + 8 + 8 * word as u64), rax)?;
            }
            a.mov(qword_ptr(NOTES + 0x40), rsp)?;
            a.hlt()
        });
    }

    fn notes(&self) -> Vec<u64> {
        (0..9).map(|word| self.memory.read(NOTES + 8 * word).unwrap()).collect()
    }

    fn user(&mut self) {
        let state = &mut self.cpu.state;
        state.cpl = 3;
        state.segments[1] = Segment::flat(0x2B, 0xA0FB);
        state.segments[2] = Segment::flat(0x23, 0xC0F3);
        state.rip = USER;
    }

    fn run(&mut self, budget: u64) -> Slice {
        self.cpu.run(&mut self.memory, &mut self.board, 0, budget)
    }
}

type IcedError = iced_x86::IcedError;

#[test]
fn an_interrupt_ends_a_halt_and_the_program_goes_on() {
    let mut machine = Machine::new();
    machine.gate(VECTOR, 0);
    machine.put(HANDLER, |a| {
        a.inc(qword_ptr(NOTES))?;
        a.iretq()
    });
    machine.put(KERNEL, |a| {
        a.sti()?;
        a.hlt()?;
        a.mov(rbx, 7u64)?;
        a.cli()?;
        a.hlt()
    });
    assert_eq!(machine.run(1000).exit, Exit::Halted);
    assert_eq!(machine.cpu.state.gpr[3], 0);
    machine.board.waiting = Some(VECTOR);
    assert_eq!(machine.run(1000).exit, Exit::Halted);
    assert_eq!(machine.cpu.state.gpr[3], 7);
    assert_eq!(machine.notes()[0], 1);
    assert_eq!(machine.cpu.state.gpr[4], STACK);
    // Interrupts are off now: another one waits.
    machine.board.waiting = Some(VECTOR);
    assert_eq!(machine.run(1000).exit, Exit::Halted);
    assert_eq!(machine.notes()[0], 1);
}

#[test]
fn sti_delays_interrupts_by_one_instruction() {
    let mut machine = Machine::new();
    machine.gate(VECTOR, 0);
    machine.noting_handler();
    machine.board.waiting = Some(VECTOR);
    machine.put(KERNEL, |a| {
        a.sti()?;
        a.nop()?;
        a.nop()?;
        a.hlt()
    });
    machine.run(1000);
    assert_eq!(machine.notes()[1], KERNEL + 2);
}

#[test]
fn a_users_page_fault_switches_stacks_and_says_what_happened() {
    let mut machine = Machine::new();
    machine.gate(14, 0);
    machine.noting_handler();
    machine.user();
    machine.put(USER, |a| {
        a.mov(rdi, NOWHERE + 4)?;
        a.mov(dword_ptr(rdi), 1)
    });
    machine.run(100);
    let notes = machine.notes();
    assert_eq!(notes[0], NOWHERE + 4);
    // Error code: a write by a user, not present.
    assert_eq!(notes[1], 6);
    assert_eq!(&notes[2..4], [USER + 10, 0x2B]);
    assert_eq!(&notes[5..7], [STACK, 0x23]);
    assert_eq!(notes[8], INNER_STACK - 48);
    assert_eq!(machine.cpu.state.cpl, 0);
}

#[test]
fn an_interrupt_stack_is_taken_at_any_level() {
    let mut machine = Machine::new();
    machine.gate(6, 1);
    machine.noting_handler();
    machine.put(KERNEL, |a| a.ud2());
    machine.run(100);
    let notes = machine.notes();
    assert_eq!(notes[8], IST - 40);
    assert_eq!(notes[1], KERNEL);
}

#[test]
fn without_handlers_a_fault_shuts_the_processor_down() {
    let mut machine = Machine::new();
    machine.put(KERNEL, |a| a.ud2());
    assert_eq!(machine.run(1000).exit, Exit::Shutdown);
    assert_eq!(machine.cpu.state.activity, Activity::Shutdown);
    assert_eq!(machine.cpu.state.rip, KERNEL);
    assert_eq!(machine.run(1000).exit, Exit::Shutdown);
}

#[test]
fn a_system_call_goes_in_and_comes_back() {
    let mut machine = Machine::new();
    machine.user();
    machine.cpu.state.flags.set_bits(0x202);
    machine.cpu.state.msrs.star = 0x001B << 48 | 8 << 32;
    machine.cpu.state.msrs.lstar = KERNEL;
    machine.cpu.state.msrs.sfmask = 0x200;
    machine.gate(14, 0);
    machine.noting_handler();
    machine.put(USER, |a| {
        a.syscall()?;
        a.mov(rax, qword_ptr(NOWHERE))
    });
    machine.put(KERNEL, |a| {
        a.pushfq()?;
        a.pop(rbx)?;
        a.mov(edx, cs)?;
        a.sysretq()
    });
    machine.run(100);
    assert_eq!(machine.cpu.state.gpr[3] & 0x202, 2);
    assert_eq!(machine.cpu.state.gpr[2], 8);
    let notes = machine.notes();
    // Back at level 3, with interrupts on again.
    assert_eq!(&notes[2..4], [USER + 2, 0x2B]);
    assert_eq!(notes[4] & 0x200, 0x200);
}

#[test]
fn writing_needs_permission_where_wp_says_so() {
    for (protect, faults) in [(true, true), (false, false)] {
        let mut machine = Machine::new();
        machine.gate(14, 0);
        machine.noting_handler();
        // A second mapping of the first 2 MiB, to read only.
        machine.memory.write(TABLES + 0x2008, 0x85u64).unwrap();
        if !protect {
            machine.cpu.state.cr0 &= !(1 << 16);
        }
        machine.put(KERNEL, |a| {
            a.mov(rdi, NOWHERE + NOTES + 0x100)?;
            a.mov(rax, qword_ptr(rdi))?;
            a.mov(dword_ptr(rdi), 5)?;
            a.hlt()
        });
        machine.run(100);
        assert_eq!(machine.notes()[1] == 3, faults);
        let entry: u64 = machine.memory.read(TABLES + 0x2008).unwrap();
        assert_eq!(entry & 0x60, if faults { 0x20 } else { 0x60 }, "accessed and dirty");
    }
}

#[test]
fn code_that_changes_itself_is_executed_as_changed() {
    let mut machine = Machine::new();
    // The immediate of the second MOV is changed before it is reached, a hundred times.
    machine.put(KERNEL, |a| {
        let mut again = a.create_label();
        a.mov(ecx, 100)?;
        a.xor(ebx, ebx)?;
        a.set_label(&mut again)?;
        a.mov(byte_ptr(KERNEL + 0x81), cl)?;
        a.call(KERNEL + 0x80)?;
        a.add(ebx, eax)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.hlt()
    });
    machine.put(KERNEL + 0x80, |a| {
        a.mov(eax, 0)?;
        a.ret()
    });
    assert_eq!(machine.run(10_000).exit, Exit::Halted);
    assert_eq!(machine.cpu.state.gpr[3], 5050);
}

#[test]
fn code_that_a_device_changes_is_executed_as_changed() {
    let mut machine = Machine::new();
    machine.put(KERNEL, |a| {
        a.mov(dx, 0x99)?;
        a.mov(eax, (KERNEL + 0x41) as u32)?;
        a.call(KERNEL + 0x40)?;
        a.mov(esi, ebx)?;
        a.out(dx, eax)?;
        a.call(KERNEL + 0x40)?;
        a.hlt()
    });
    machine.put(KERNEL + 0x40, |a| {
        a.mov(ebx, 1)?;
        a.ret()
    });
    machine.run(100);
    assert_eq!((machine.cpu.state.gpr[6], machine.cpu.state.gpr[3]), (1, 7));
    // And from outside, between slices.
    machine.cpu.state.rip = KERNEL;
    machine.cpu.state.activity = Activity::Running;
    machine.memory.write(KERNEL + 0x41, 9u8).unwrap();
    machine.run(100);
    assert_eq!(machine.cpu.state.gpr[6], 9);
}

#[test]
fn an_instruction_on_two_pages_is_watched_on_both() {
    let mut machine = Machine::new();
    let at = KERNEL + 0xFFD;
    machine.put(at, |a| {
        a.mov(ebx, 0x0101_0101)?;
        a.hlt()
    });
    for second in [1u8, 2, 3] {
        machine.memory.write(KERNEL + 0x1000, second).unwrap();
        machine.cpu.state.rip = at;
        machine.cpu.state.activity = Activity::Running;
        machine.run(10);
        assert_eq!(machine.cpu.state.gpr[3], 0x0100_0101 | u64::from(second) << 16);
    }
}

#[test]
fn a_block_may_end_where_its_page_ends() {
    // One instruction, and as many as a block holds, just before the border.
    for (length, budget) in [(1, 1), (128, 200), (129, 200)] {
        let mut machine = Machine::new();
        let start = KERNEL + 0x1000 - length;
        machine.memory.slice_mut(start, length as usize).unwrap().fill(0x90);
        machine.put(KERNEL + 0x1000, |a| a.hlt());
        machine.cpu.state.rip = start;
        machine.run(budget);
        let halted = KERNEL + 0x1000 + u64::from(budget > length);
        assert_eq!(machine.cpu.state.rip, halted, "{length} instructions");
    }
}

#[test]
fn a_budget_is_kept_and_two_runs_are_the_same() {
    let run = |budgets: &[u64]| {
        let mut machine = Machine::new();
        machine.put(KERNEL, |a| {
            let mut again = a.create_label();
            a.set_label(&mut again)?;
            a.imul_2(rax, rbx)?;
            a.lea(rbx, qword_ptr(rax + rbx * 4 + 1))?;
            a.rdtsc()?;
            a.cmp(rcx, rbx)?;
            a.jne(again)?;
            a.hlt()
        });
        let mut retired = 0;
        for budget in budgets {
            retired +=
                machine.cpu.run(&mut machine.memory, &mut machine.board, retired, *budget).retired;
        }
        (retired, machine.cpu.state.gpr[3])
    };
    let (retired, result) = run(&[10_000]);
    assert!((10_000..=10_001).contains(&retired));
    assert_eq!((retired, result), run(&[10_000]));
    // Fused instructions are not cut: a slice may end one instruction late.
    assert_eq!(run(&[5, 5, 5, 5]).0, 20);
}

#[test]
fn a_repeated_move_over_a_hole_can_go_on_after_the_fault() {
    let mut machine = Machine::new();
    machine.gate(14, 0);
    machine.put(HANDLER, |a| {
        // Map the missing pages and try again.
        a.mov(rax, 0x85u64 | 2)?;
        a.mov(qword_ptr(TABLES + 0x2008), rax)?;
        a.inc(qword_ptr(NOTES))?;
        a.add(rsp, 8)?;
        a.iretq()
    });
    machine.put(KERNEL, |a| {
        a.mov(rsi, USER)?;
        a.mov(rdi, NOWHERE - 0x800)?;
        a.mov(ecx, 0x1000)?;
        a.rep().movsb()?;
        a.hlt()
    });
    for at in 0..0x1000 {
        machine.memory.write(USER + at, (at * 7) as u8).unwrap();
    }
    assert_eq!(machine.run(100_000).exit, Exit::Halted);
    assert_eq!(machine.notes()[0], 1);
    assert_eq!(machine.cpu.state.gpr[1], 0);
    // The second mapping shows the same memory: the upper half went to address 0.
    let from = machine.memory.slice(USER, 0x1000).unwrap().to_vec();
    assert_eq!(machine.memory.slice(NOWHERE - 0x800, 0x800).unwrap(), &from[..0x800]);
    assert_eq!(machine.memory.slice(0, 0x800).unwrap(), &from[0x800..]);
}
