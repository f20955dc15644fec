//! The machine as gdb sees it: registers, memory, steps, breakpoints.
//!
//! Breakpoints are the processor's: it comes back before an instruction at such an address.
//! The guest's memory is not changed for them.

use std::collections::BTreeSet;

use anyhow::Result;
use emulator_cpu::State;
use emulator_cpu::state::Activity;
use gdbstub::common::Signal;
use gdbstub::outputln;
use gdbstub::stub::SingleThreadStopReason;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadResume, SingleThreadResumeOps, SingleThreadSingleStep,
    SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, SwBreakpoint, SwBreakpointOps,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::{Target, TargetError, TargetResult};

use super::farewell;
use super::registers::{Registers, X86};
use crate::console::Terminal;
use crate::session::{End, Session, Stop};

/// EFAULT: there is no memory.
const BAD_ADDRESS: u8 = 14;
/// EINVAL: registers that cannot be so.
const IMPOSSIBLE: u8 = 22;

/// What gdb wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Step,
    Continue,
}

/// What came of executing.
pub(super) enum Halt {
    /// Nothing that gdb is to hear of.
    None(Stop),
    /// It is to hear of this.
    Report(SingleThreadStopReason<u64>),
    /// It is to hear of this, and the machine has ended.
    Over(End, SingleThreadStopReason<u64>),
}

/// The machine and its console.
pub(super) struct Debuggee<'a> {
    pub(super) session: &'a mut Session,
    pub(super) terminal: &'a mut Terminal,
    breakpoints: BTreeSet<u64>,
    way: Way,
    /// The first instruction is executed whether or not it is at a breakpoint.
    leaving: bool,
}

impl<'a> Debuggee<'a> {
    pub(super) fn new(session: &'a mut Session, terminal: &'a mut Terminal) -> Self {
        let (breakpoints, way) = (BTreeSet::new(), Way::Continue);
        Debuggee { session, terminal, breakpoints, way, leaving: false }
    }

    /// Nobody debugs any more.
    pub(super) fn free(&mut self) {
        self.breakpoints.clear();
        self.settle();
        self.session.synchronize();
    }

    fn state(&self) -> &State {
        self.session.machine.processor()
    }

    /// The processor learns what breakpoints there are.
    fn settle(&mut self) {
        let addresses: Vec<u64> = self.breakpoints.iter().copied().collect();
        self.session.machine.set_breakpoints(&addresses);
    }

    fn begin(&mut self, way: Way) {
        self.way = way;
        self.leaving = true;
        self.session.synchronize();
    }

    /// Executes until `until` instructions have retired, or until gdb is to hear of something.
    pub(super) fn execute(&mut self, until: u64) -> Result<Halt> {
        let stop = match self.way {
            Way::Continue if self.leaving => self.turn()?,
            Way::Continue => self.session.advance(until, self.terminal)?,
            Way::Step => match self.turn()? {
                Stop::Executed => return Ok(Halt::Report(SingleThreadStopReason::DoneStep)),
                stop => stop,
            },
        };
        Ok(match stop {
            Stop::Breakpoint => Halt::Report(SingleThreadStopReason::SwBreak(())),
            Stop::Over(End::Shutdown) => Halt::Report(farewell(End::Shutdown)),
            Stop::Over(end) => Halt::Over(end, farewell(end)),
            stop => Halt::None(stop),
        })
    }

    /// One instruction. A step is not to end in the handler of whatever interrupt is due, and
    /// after a breakpoint its instruction must be executed before it counts again; but a
    /// processor that halts waits for an interrupt.
    fn turn(&mut self) -> Result<Stop> {
        let halted = self.state().activity == Activity::Halted;
        let deaf = !halted && (self.way == Way::Step || self.leaving);
        self.leaving = false;
        Ok(match self.session.turn(deaf, self.terminal)? {
            Ok(_) => Stop::Executed,
            // Time was skipped; the interrupt is still to come.
            Err(Stop::Executed) if self.way == Way::Step => Stop::Idle(Some(Default::default())),
            Err(stop) => stop,
        })
    }
}

impl Target for Debuggee<'_> {
    type Arch = X86;
    type Error = anyhow::Error;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::SingleThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadBase for Debuggee<'_> {
    fn read_registers(&mut self, registers: &mut Registers) -> TargetResult<(), Self> {
        *registers = Registers::of(self.state());
        Ok(())
    }

    fn write_registers(&mut self, registers: &Registers) -> TargetResult<(), Self> {
        let mut state = self.state().clone();
        registers.give(&mut state).map_err(|_| TargetError::Errno(IMPOSSIBLE))?;
        self.session.machine.set_processor(state);
        Ok(())
    }

    fn read_addrs(&mut self, start: u64, bytes: &mut [u8]) -> TargetResult<usize, Self> {
        match self.session.machine.peek(start, bytes) {
            0 if !bytes.is_empty() => Err(TargetError::Errno(BAD_ADDRESS)),
            length => Ok(length),
        }
    }

    fn write_addrs(&mut self, start: u64, bytes: &[u8]) -> TargetResult<(), Self> {
        if self.session.machine.poke(start, bytes) {
            Ok(())
        } else {
            Err(TargetError::Errno(BAD_ADDRESS))
        }
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadResume for Debuggee<'_> {
    fn resume(&mut self, _: Option<Signal>) -> Result<()> {
        self.begin(Way::Continue);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Debuggee<'_> {
    fn step(&mut self, _: Option<Signal>) -> Result<()> {
        self.begin(Way::Step);
        Ok(())
    }
}

impl Breakpoints for Debuggee<'_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Debuggee<'_> {
    fn add_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        self.breakpoints.insert(address);
        self.settle();
        Ok(true)
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        let removed = self.breakpoints.remove(&address);
        self.settle();
        Ok(removed)
    }
}

impl HwBreakpoint for Debuggee<'_> {
    fn add_hw_breakpoint(&mut self, address: u64, kind: usize) -> TargetResult<bool, Self> {
        self.add_sw_breakpoint(address, kind)
    }

    fn remove_hw_breakpoint(&mut self, address: u64, kind: usize) -> TargetResult<bool, Self> {
        self.remove_sw_breakpoint(address, kind)
    }
}

impl MonitorCmd for Debuggee<'_> {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<()> {
        let machine = &self.session.machine;
        match command.trim_ascii() {
            b"registers" => outputln!(out, "{}", machine.registers()),
            b"hash" => outputln!(out, "{} {}", machine.instructions(), self.session.hash()),
            b"instructions" => outputln!(out, "{}", machine.instructions()),
            _ => outputln!(out, "monitor registers | hash | instructions"),
        }
        Ok(())
    }
}
