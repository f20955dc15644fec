//! The emulated side: a machine whose page tables map what the host's process maps.

use emulator_bus::{Empty, Memory};
use emulator_cpu::state::{Activity, Segment};
use emulator_cpu::{Cpu, Exception, Exit, State};

/// Bytes of the legacy area of FXSAVE.
pub(crate) const FXSAVE: usize = 512;

/// Registers of a user's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15.
    pub(crate) gpr: [u64; 16],
    pub(crate) rip: u64,
    pub(crate) rflags: u64,
    /// x87, MMX, XMM and MXCSR in the layout of FXSAVE64.
    pub(crate) fxsave: [u8; FXSAVE],
}

/// Two pages of code.
pub(crate) const CODE: u64 = 0x1000_0000;
/// Two pages to write to, then one to read only, then nothing.
pub(crate) const DATA: u64 = 0x2000_0000;
/// Bytes that can be written to.
pub(crate) const DATA_SIZE: usize = 0x2000;

const CODE_PHYSICAL: u64 = 0x1_0000;
const DATA_PHYSICAL: u64 = 0x2_0000;

/// The emulated processor with its memory.
pub(crate) struct Guest {
    pub(crate) cpu: Cpu,
    pub(crate) memory: Memory,
    short: bool,
}

impl Guest {
    pub(crate) fn new() -> Self {
        let mut memory = Memory::new(0x4_0000);
        let mut table = |at: u64, index: u64, entry: u64| {
            memory.write(at + 8 * index, entry).unwrap();
        };
        table(0x1000, 0, 0x2007);
        table(0x2000, 0, 0x3007);
        table(0x3000, CODE >> 21, 0x4007);
        table(0x3000, DATA >> 21, 0x5007);
        for page in 0..2 {
            table(0x4000, page, (CODE_PHYSICAL + 0x1000 * page) | 5);
            table(0x5000, page, (DATA_PHYSICAL + 0x1000 * page) | 7 | 1 << 63);
        }
        table(0x5000, 2, (DATA_PHYSICAL + 0x2000) | 5 | 1 << 63);
        Guest { cpu: Cpu::default(), memory, short: false }
    }

    pub(crate) fn write_code(&mut self, at: u64, bytes: &[u8]) {
        self.memory
            .slice_mut(CODE_PHYSICAL + at - CODE, bytes.len())
            .unwrap()
            .copy_from_slice(bytes);
    }

    pub(crate) fn write_data(&mut self, bytes: &[u8]) {
        self.memory.slice_mut(DATA_PHYSICAL, DATA_SIZE).unwrap().copy_from_slice(bytes);
    }

    pub(crate) fn data(&self) -> &[u8] {
        self.memory.slice(DATA_PHYSICAL, DATA_SIZE).unwrap()
    }

    /// A user program of Linux with these registers.
    pub(crate) fn set(&mut self, registers: &Registers, compat: bool) {
        let mut state = State::default();
        state.gpr[..16].copy_from_slice(&registers.gpr);
        state.rip = registers.rip;
        state.flags.set_bits(registers.rflags);
        state.set_legacy_area(&registers.fxsave);
        state.cr0 = 0x8005_0033;
        state.cr3 = 0x1000;
        state.cr4 = 0x6F0 | 1 << 11 | 1 << 18;
        state.tr.limit = 0;
        state.msrs.efer = 0xD01;
        state.cpl = 3;
        let data = Segment::flat(0x2B, 0xC0F3);
        let null = Segment::default();
        let code = if compat { Segment::flat(0x23, 0xC0FB) } else { Segment::flat(0x33, 0xA0FB) };
        state.segments = [null, code, data, null, null, null];
        if compat {
            state.segments[0] = data;
            state.segments[3] = data;
        }
        self.cpu.state = state;
    }

    /// One instruction, or one element of a repeated one; in turn by the general operations
    /// and by the short cuts.
    pub(crate) fn step(&mut self, repeated: bool) -> Result<(), Exception> {
        self.short = !self.short;
        let single = repeated || !self.short;
        self.cpu.step_by(&mut self.memory, &mut Empty::default(), 0, single)
    }

    /// Executes up to a fault, as the loop does it; says which fault. A block must end in one.
    pub(crate) fn run(&mut self) -> Exception {
        let slice = self.cpu.run(&mut self.memory, &mut Empty::default(), 0, 1 << 20);
        assert_eq!(slice.exit, Exit::Shutdown, "a block without an end");
        // There is no handler, so the processor has stopped before the instruction: again.
        self.cpu.state.activity = Activity::Running;
        let again = self.cpu.step(&mut self.memory, &mut Empty::default(), 0);
        again.expect_err("a fault that does not come again")
    }

    pub(crate) fn registers(&self) -> Registers {
        let state = &self.cpu.state;
        let mut gpr = [0; 16];
        gpr.copy_from_slice(&state.gpr[..16]);
        Registers { gpr, rip: state.rip, rflags: state.flags.bits(), fxsave: state.legacy_area() }
    }
}
