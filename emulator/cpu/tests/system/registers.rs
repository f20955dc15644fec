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

/// XCR0: x87 and SSE.
const STATES: u32 = 3;
/// CR4: OSFXSR, OSXSAVE.
const XSAVING: u64 = 1 << 9 | 1 << 18;

/// Puts both states into XCR0; EDX is zero then.
fn switch_on(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.xor(ecx, ecx)?;
    a.xor(edx, edx)?;
    a.mov(eax, STATES)?;
    a.xsetbv()
}

#[test]
fn xsave_writes_what_was_asked_for_and_xrstor_takes_it_back() {
    let area = NOTES;
    for asked in 0..=STATES {
        let mut machine = Machine::new();
        machine.cpu.state.cr4 |= XSAVING;
        machine.put(KERNEL, |a| {
            switch_on(a)?;
            a.fninit()?;
            a.fldpi()?;
            a.mov(ebx, 0x1234_5678)?;
            a.movd(xmm3, ebx)?;
            a.mov(eax, asked)?;
            a.xsave(ptr(area))?;
            // Everything is something else now.
            a.fninit()?;
            a.fld1()?;
            a.pxor(xmm3, xmm3)?;
            a.xrstor(ptr(area))?;
            a.fstp(qword_ptr(area + 0x400))?;
            a.movd(dword_ptr(area + 0x408), xmm3)?;
            a.hlt()
        });
        assert_eq!(machine.run(100).exit, Exit::Halted, "{asked}");
        let read = |at: u64| machine.memory.read::<u64>(at).unwrap();
        // Which parts the area has: XSTATE_BV (SDM vol. 1, 13.4.2).
        assert_eq!(read(area + 512), u64::from(asked));
        let pi = if asked & 1 == 1 { std::f64::consts::PI } else { 1.0 };
        assert_eq!(f64::from_bits(read(area + 0x400)), pi, "{asked}");
        let word = if asked & 2 == 2 { 0x1234_5678 } else { 0 };
        assert_eq!(read(area + 0x408) as u32, word, "{asked}");
    }
}

#[test]
fn xrstor_makes_the_first_state_of_what_the_area_lacks() {
    let mut machine = Machine::new();
    machine.cpu.state.cr4 |= XSAVING;
    machine.put(KERNEL, |a| {
        switch_on(a)?;
        a.mov(ebx, 7)?;
        a.movd(xmm3, ebx)?;
        a.mov(dword_ptr(NOTES + 24), 0x1F80)?;
        a.xrstor(ptr(NOTES))?;
        a.movd(ebx, xmm3)?;
        a.hlt()
    });
    assert_eq!(machine.run(100).exit, Exit::Halted);
    assert_eq!(machine.cpu.state.gpr[3], 0);
}

#[test]
fn strings_go_through_ports() {
    let mut machine = Machine::new();
    machine.memory.write(NOTES, 0x0102_0304u32).unwrap();
    machine.put(KERNEL, |a| {
        a.mov(edx, 0x55)?;
        a.mov(rsi, NOTES)?;
        a.mov(ecx, 4)?;
        a.rep().outsb()?;
        a.mov(rdi, NOTES + 16)?;
        a.mov(ecx, 3)?;
        a.rep().insw()?;
        a.hlt()
    });
    assert_eq!(machine.run(100).exit, Exit::Halted);
    assert_eq!(machine.board.written, [(0x55, 4), (0x55, 3), (0x55, 2), (0x55, 1)]);
    assert_eq!(machine.memory.read::<u64>(NOTES + 16).unwrap(), 0x0000_FFFF_FFFF_FFFF);
    let registers = machine.cpu.state.gpr;
    assert_eq!((registers[1], registers[6], registers[7]), (0, NOTES + 4, NOTES + 22));
}

#[test]
fn random_numbers_are_the_boards_and_say_that_they_are_there() {
    let mut machine = Machine::new();
    machine.put(KERNEL, |a| {
        a.rdrand(rbx)?;
        a.setc(cl)?;
        a.rdseed(rsi)?;
        a.setc(ch)?;
        a.hlt()
    });
    assert_eq!(machine.run(100).exit, Exit::Halted);
    let registers = machine.cpu.state.gpr;
    assert_eq!((registers[3], registers[1] & 0xFFFF), (4, 0x101), "RBX, and CF twice");
}

#[test]
fn rdtscp_names_the_processor() {
    let mut machine = Machine::new();
    machine.put(KERNEL, |a| {
        a.mov(ecx, 0xC000_0103u32)?;
        a.mov(eax, 77)?;
        a.xor(edx, edx)?;
        a.wrmsr()?;
        a.rdtscp()?;
        a.mov(ebx, ecx)?;
        // The counter is the board's, and stays it.
        a.mov(esi, eax)?;
        a.mov(ecx, 0x10)?;
        a.mov(edx, 1)?;
        a.wrmsr()?;
        a.rdtsc()?;
        a.hlt()
    });
    assert_eq!(machine.run(100).exit, Exit::Halted);
    let registers = machine.cpu.state.gpr;
    assert_eq!((registers[3], registers[2]), (77, 0));
    assert!(registers[0] > registers[6] && registers[0] < registers[6] + 10);
}

#[test]
fn segment_registers_are_read_and_pushed() {
    let mut machine = Machine::new();
    for (register, selector) in [(3, 0x10), (4, 0x20), (5, 0x23), (0, 0x13)] {
        machine.cpu.state.segments[register].selector = selector;
    }
    machine.put(KERNEL, |a| {
        a.mov(rbx, -1i64)?;
        a.mov(rcx, -1i64)?;
        a.mov(bx, ds)?;
        a.mov(ecx, es)?;
        a.mov(word_ptr(NOTES), ss)?;
        a.push(fs)?;
        a.push(gs)?;
        a.hlt()
    });
    assert_eq!(machine.run(100).exit, Exit::Halted);
    let registers = machine.cpu.state.gpr;
    // Two bytes of a 16-bit register and of memory, all of a wider register (SDM vol. 2, MOV).
    assert_eq!(registers[3], 0xFFFF_FFFF_FFFF_0010);
    assert_eq!((registers[1], machine.notes()[0]), (0x13, 0x10));
    let word = |at: u64| machine.memory.read::<u64>(at).unwrap();
    assert_eq!((word(STACK - 8), word(STACK - 16)), (0x20, 0x23));

    let mut machine = Machine::new();
    machine.cpu.state.segments[1] = Segment::flat(0x18, 0xC09B);
    machine.cpu.state.segments[0].selector = 0x13;
    machine.cpu.state.segments[3].selector = 0x20;
    // PUSH CS, SS, DS, ES with 32 bits, PUSH CS with 16, HLT.
    let program = [0x0E, 0x16, 0x1E, 0x06, 0x66, 0x0E, 0xF4];
    machine.memory.slice_mut(KERNEL, program.len()).unwrap().copy_from_slice(&program);
    assert_eq!(machine.run(100).exit, Exit::Halted);
    let half = |at: u64| machine.memory.read::<u16>(at).unwrap();
    let pushed = [4, 8, 12, 16, 18].map(|below| half(STACK - below));
    assert_eq!(pushed, [0x18, 0x10, 0x20, 0x13, 0x18]);
    assert_eq!(machine.cpu.state.gpr[4], STACK - 18);
}

#[test]
fn cpuid_promises_what_control_registers_take() {
    let ask = |leaf: u32, part: u32| {
        let mut machine = Machine::new();
        machine.put(KERNEL, |a| {
            a.mov(rax, -1i64)?;
            a.mov(eax, leaf)?;
            a.mov(ecx, part)?;
            a.cpuid()?;
            a.hlt()
        });
        assert_eq!(machine.run(100).exit, Exit::Halted);
        [0, 3, 1, 2].map(|register| machine.cpu.state.gpr[register])
    };
    let takes = |bit: u32| {
        let mut machine = Machine::new();
        machine.gate(13, 0);
        machine.noting_handler();
        machine.put(KERNEL, |a| {
            a.mov(rax, cr4)?;
            a.bts(rax, bit)?;
            a.mov(cr4, rax)?;
            a.hlt()
        });
        machine.run(100);
        // Where the handler of #GP found its stack.
        machine.notes()[8] == 0
    };
    let [_, _, third, fourth] = ask(1, 0);
    let [_, seventh, ..] = ask(7, 0);
    // Feature, and the bit of CR4 that it is switched on by (SDM vol. 3, 2.5).
    let pairs = [
        (fourth >> 1, 0),    // VME
        (fourth >> 2, 3),    // DE
        (fourth >> 3, 4),    // PSE
        (fourth >> 7, 6),    // MCE
        (fourth >> 13, 7),   // PGE
        (fourth >> 24, 9),   // FXSR
        (third >> 17, 17),   // PCID
        (third >> 26, 18),   // XSAVE
        (seventh, 16),       // FSGSBASE
        (seventh >> 7, 20),  // SMEP
        (seventh >> 20, 21), // SMAP
    ];
    for (feature, bit) in pairs {
        assert_eq!(feature & 1 == 1, takes(bit), "CR4 bit {bit}");
    }
    assert!(ask(0, 0)[0] >= 7 && ask(0x8000_0000, 0)[0] >= 0x8000_0001);
    let extended = ask(0x8000_0001, 0);
    assert_eq!((extended[3] >> 29 & 1, extended[3] >> 20 & 1), (1, 1), "long mode, NX");
}
