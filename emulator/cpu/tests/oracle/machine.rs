//! The machine of a case: 128 KiB of memory with tables at fixed places, and a state.

use emulator_bus::{Empty, Memory};
use emulator_cpu::state::{Activity, Segment, Table};
use emulator_cpu::{Cpu, Exception, State, Turn};

/// Bytes of memory, as the peers have them.
pub(crate) const SIZE: usize = 0x2_0000;
pub(crate) const PAGE: u64 = 0x1000;

/// The tables that map all memory at its own address.
pub(crate) const ROOT: u64 = 0x1000;
pub(crate) const UPPER: u64 = 0x2000;
const MIDDLE: u64 = 0x3000;
pub(crate) const LOWER: u64 = 0x4000;
/// Tables of the linear addresses that a case is about: those of a page, and those of the
/// page behind it where these are others.
pub(crate) const TABLES: [u64; 3] = [0x5000, 0x6000, 0x7000];
pub(crate) const NEXT: [u64; 3] = [0x1_D000, 0x1_C000, 0x8000];
pub(crate) const GDT: u64 = 0x9000;
pub(crate) const LDT: u64 = 0xA000;
pub(crate) const IDT: u64 = 0xB000;
pub(crate) const TSS: u64 = 0xC000;
/// Sixteen bytes for each vector.
pub(crate) const HANDLERS: u64 = 0xD000;
pub(crate) const KERNEL_CODE: u64 = 0xE000;
pub(crate) const USER_CODE: u64 = 0xF000;
/// Eight pages of data.
pub(crate) const DATA: u64 = 0x1_0000;
pub(crate) const DATA_PAGES: u64 = 8;
pub(crate) const INNER_STACK: u64 = 0x1_9000;
pub(crate) const IST: [u64; 2] = [0x1_A000, 0x1_B000];
pub(crate) const STACK: u64 = 0x1_B800;

pub(crate) const KERNEL64: u16 = 0x08;
pub(crate) const KERNEL_DATA: u16 = 0x10;
pub(crate) const USER32: u16 = 0x1B;
pub(crate) const USER_DATA: u16 = 0x23;
pub(crate) const USER64: u16 = 0x2B;
pub(crate) const TASK: u16 = 0x30;
pub(crate) const KERNEL32: u16 = 0x48;
pub(crate) const LOCAL: u16 = 0x50;
/// The first slot of the GDT without a use.
pub(crate) const FREE: u16 = 0x60;

/// The descriptors up to there.
const DESCRIPTORS: [u64; 12] = [
    0,
    0x00AF_9B00_0000_FFFF,
    0x00CF_9300_0000_FFFF,
    0x00CF_FB00_0000_FFFF,
    0x00CF_F300_0000_FFFF,
    0x00AF_FB00_0000_FFFF,
    0x0000_8B00_C000_0067,
    0,
    0,
    0x00CF_9B00_0000_FFFF,
    0x0000_8200_A000_0FFF,
    0,
];

/// In which code a case starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Kernel64 = 0,
    User64 = 1,
    User32 = 2,
    Kernel32 = 3,
}

impl Start {
    pub(crate) fn user(self) -> bool {
        matches!(self, Start::User64 | Start::User32)
    }
    pub(crate) fn long(self) -> bool {
        matches!(self, Start::Kernel64 | Start::User64)
    }
    pub(crate) fn code(self) -> u64 {
        if self.user() { USER_CODE } else { KERNEL_CODE }
    }
}

/// What is asked of all sides.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What it is about; cases are counted by it.
    pub(crate) kind: &'static str,
    /// Its instructions in words, for whoever reads a mismatch.
    pub(crate) program: String,
    pub(crate) start: Start,
    pub(crate) state: State,
    pub(crate) memory: Vec<u8>,
    /// Instructions to execute; an exception that is delivered is one.
    pub(crate) steps: u64,
    /// Where a program ends that only goes straight on: with a HLT, which is no step.
    pub(crate) end: u64,
    /// It is about delivery: only for a peer that does that.
    pub(crate) delivers: bool,
    /// It has PCIDs: only for a peer that knows them.
    pub(crate) contexts: bool,
    /// An instruction may be followed by a trap that belongs to it.
    pub(crate) traps: bool,
    /// Pages that hold code, a bit each.
    pub(crate) code: u64,
}

impl Case {
    /// A machine in which nothing is special yet.
    pub(crate) fn new(kind: &'static str, start: Start) -> Self {
        let mut memory = vec![0; SIZE];
        let mut put = |at: u64, value: u64| {
            memory[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
        };
        put(ROOT, UPPER | 0x27);
        put(UPPER, MIDDLE | 0x27);
        put(MIDDLE, LOWER | 0x27);
        for page in 0..SIZE as u64 / PAGE {
            let at = page * PAGE;
            // What users execute, compute with and stack upon is theirs. All has been used, as
            // a peer may fetch further than it executes.
            let user =
                at == USER_CODE || at == HANDLERS || (DATA..DATA + PAGE * DATA_PAGES).contains(&at);
            let user = user || at == STACK & !0xFFF;
            put(LOWER + 8 * page, at | 0x63 | u64::from(user) << 2);
        }
        for (number, descriptor) in DESCRIPTORS.into_iter().enumerate() {
            put(GDT + 8 * number as u64, descriptor);
        }
        for vector in 0..256 {
            let handler = HANDLERS + 16 * vector;
            let gate = handler & 0xFFFF | u64::from(KERNEL64) << 16 | 0x8E << 40;
            put(IDT + 16 * vector, gate | (handler >> 16) << 48);
        }
        put(TSS + 4, INNER_STACK);
        put(TSS + 0xC, INNER_STACK - 0x400);
        put(TSS + 0x14, INNER_STACK - 0x800);
        put(TSS + 0x24, IST[0]);
        put(TSS + 0x2C, IST[1]);
        put(TSS + 0x34, IST[1] - 0x800);
        memory[HANDLERS as usize..][..PAGE as usize].fill(0x90);
        let state = state(start);
        let code = 1 << (start.code() / PAGE);
        Case {
            kind,
            program: String::new(),
            start,
            state,
            memory,
            steps: 1,
            end: 0,
            delivers: false,
            contexts: false,
            traps: false,
            code,
        }
    }

    /// What a reader of a mismatch wants to know of the state.
    pub(crate) fn describe(&self) -> String {
        let words = |at| [0, 8, 16, 24, 32].map(|offset| self.word(at + offset));
        if self.delivers {
            let gates = (0..0x42).filter(|vector| {
                let gate = self.word(IDT + 16 * vector);
                gate != Case::new("", self.start).word(IDT + 16 * vector)
            });
            let gates: Vec<_> = gates
                .map(|vector| {
                    (vector, self.word(IDT + 16 * vector), self.word(IDT + 16 * vector + 8))
                })
                .collect();
            let stacks = [4, 0xC, 0x14, 0x24, 0x2C, 0x34].map(|offset| self.word(TSS + offset));
            return format!(
                "gates {gates:x?}, stacks {stacks:x?}, limits {:x} {:x} {:x}, flags {:x}, RSP {:x}",
                self.state.tr.limit,
                self.state.idtr.limit,
                self.state.gdtr.limit,
                self.state.flags.bits(),
                self.state.gpr[4]
            );
        }
        let state = &self.state;
        format!(
            "general registers {:x?}, flags {:x}, CR0 {:x}, CR4 {:x}, EFER {:x}; at [RBX] {:x?}, on \
             the stack {:x?}",
            state.gpr,
            state.flags.bits(),
            state.cr0,
            state.cr4,
            state.msrs.efer,
            words(super::system::POINTER),
            words(STACK)
        )
    }

    pub(crate) fn put(&mut self, at: u64, value: u64) {
        self.write(at, &value.to_le_bytes());
    }

    pub(crate) fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.memory[at as usize..at as usize + 8]);
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        self.memory[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn gpr(&mut self, number: usize, value: u64) {
        self.state.gpr[number] = if self.start.long() { value } else { value & 0xFFFF_FFFF };
    }
}

fn state(start: Start) -> State {
    let (code, stack) = match start {
        Start::Kernel64 => (Segment::flat(KERNEL64, 0xA09B), Segment::flat(KERNEL_DATA, 0xC093)),
        Start::User64 => (Segment::flat(USER64, 0xA0FB), Segment::flat(USER_DATA, 0xC0F3)),
        Start::User32 => (Segment::flat(USER32, 0xC0FB), Segment::flat(USER_DATA, 0xC0F3)),
        Start::Kernel32 => (Segment::flat(KERNEL32, 0xC09B), Segment::flat(KERNEL_DATA, 0xC093)),
    };
    let data = Segment::flat(USER_DATA, 0xC0F3);
    let none = Segment::default();
    let mut state = State {
        cr0: 0x8005_0033,
        cr3: ROOT,
        cr4: 0x6A0,
        cpl: if start.user() { 3 } else { 0 },
        segments: [data, code, stack, data, none, none],
        gdtr: Table { base: GDT, limit: 0xFFF },
        idtr: Table { base: IDT, limit: 0xFFF },
        tr: Segment { base: TSS, limit: 0x67, selector: TASK, attributes: 0x8B },
        ldtr: Segment { base: LDT, limit: 0xFFF, selector: LOCAL, attributes: 0x82 },
        rip: start.code(),
        ..State::default()
    };
    state.msrs.efer = 0xD01;
    state.gpr[4] = STACK;
    state.flags.set_bits(2);
    state
}

/// How a run has ended, as the peers say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Executed,
    Fault,
    Halted,
    Shutdown,
}

/// A machine behind a run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) faults: Vec<(u8, u32)>,
    pub(crate) words: Vec<u64>,
    pub(crate) memory: Vec<u8>,
}

fn memory_of(case: &Case) -> Memory {
    let mut memory = Memory::new(SIZE);
    memory.slice_mut(0, SIZE).unwrap().copy_from_slice(&case.memory);
    memory
}

fn outcome(cpu: &Cpu, memory: &Memory, end: End, faults: Vec<(u8, u32)>) -> Outcome {
    Outcome { end, faults, words: super::words::of(&cpu.state), memory: memory.bytes().to_vec() }
}

fn pair(exception: Exception) -> (u8, u32) {
    (exception.vector, exception.code.unwrap_or(0))
}

/// Here, exceptions delivered through the machine's IDT.
pub(crate) fn delivered(case: &Case) -> Outcome {
    let mut memory = memory_of(case);
    let mut board = Empty::default();
    let mut cpu = Cpu::new(case.state.clone());
    let mut faults = Vec::new();
    let mut end = End::Executed;
    for _ in 0..case.steps {
        match cpu.turn(&mut memory, &mut board, 0, true).0 {
            Turn::Exception(exception) => {
                faults.push(pair(exception));
                end = End::Fault;
            }
            Turn::Executed => {}
            _ => break,
        }
        match cpu.state.activity {
            Activity::Running => {}
            Activity::Halted => end = End::Halted,
            Activity::Shutdown => end = End::Shutdown,
        }
        if end == End::Halted || end == End::Shutdown {
            break;
        }
    }
    outcome(&cpu, &memory, end, faults)
}

/// Here, by the loop, and as many instructions one by one: both must be the same.
pub(crate) fn in_a_slice(case: &Case) -> [Outcome; 2] {
    let mut memory = memory_of(case);
    let mut cpu = Cpu::new(case.state.clone());
    let retired = cpu.run(&mut memory, &mut Empty::default(), 0, case.steps).retired;
    let loops = outcome(&cpu, &memory, End::Executed, Vec::new());
    let mut memory = memory_of(case);
    let mut cpu = Cpu::new(case.state.clone());
    let mut board = Empty::default();
    let mut end = End::Executed;
    while cpu.state.retired < retired {
        match cpu.turn(&mut memory, &mut board, 0, true).0 {
            Turn::Halted | Turn::Shutdown => break,
            Turn::Exception(_) => end = End::Fault,
            _ => {}
        }
    }
    [loops, outcome(&cpu, &memory, end, Vec::new())]
}

/// Here, up to the first exception, which is not delivered.
pub(crate) fn undelivered(case: &Case) -> Outcome {
    let mut memory = memory_of(case);
    let mut board = Empty::default();
    let mut cpu = Cpu::new(case.state.clone());
    let mut steps = 0;
    while steps < case.steps {
        let rip = cpu.state.rip;
        if let Err(exception) = cpu.step(&mut memory, &mut board, 0) {
            return outcome(&cpu, &memory, End::Fault, vec![pair(exception)]);
        }
        if cpu.state.activity == Activity::Halted {
            return outcome(&cpu, &memory, End::Halted, Vec::new());
        }
        // One element of a repeated instruction, of which there are more. Others may go to
        // themselves.
        let more = case.kind == "a string" && cpu.state.rip == rip;
        steps += u64::from(!more);
    }
    outcome(&cpu, &memory, End::Executed, Vec::new())
}
