//! The machine: processor, memory and board together, and their time.
//!
//! Guest time is ticks of a nanosecond. In real time it follows the clock that the owner
//! gives with each [`Machine::run`]; in deterministic mode it is the number of instructions,
//! and what is slept through is skipped.

use emulator_bus::{Bus, Memory, Ticks};
use emulator_cpu::flags::IF;
use emulator_cpu::{Cpu, Exit, State};
use emulator_devices::power::Request;
use emulator_snapshot::state::Version;

use crate::board::{Board, LAST_TICK, Parts};
use crate::map;

/// Instructions between two looks at timers. One that is set anew ends the turn by itself.
const TURN: u64 = 100_000;

/// Why [`Machine::run`] has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The budget is used up.
    Budget,
    /// The processor waits for an interrupt; a timer raises one at this tick.
    Sleeps(Ticks),
    /// The processor waits for an interrupt, and only the host can raise one.
    Waits,
    /// The guest asked to be started anew.
    Reset,
    /// The guest has ended: by the exit port, with this answer, or by halting for good.
    Off(Option<u8>),
    /// Triple fault.
    Shutdown,
    /// The next instruction is at one of [`Machine::set_breakpoints`].
    Breakpoint,
}

/// How guest time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// With the owner's clock.
    Real,
    /// With the instructions: two runs are the same.
    Instructions,
}

/// A whole machine.
#[derive(Debug)]
pub struct Machine {
    pub(crate) cpu: Cpu,
    pub(crate) memory: Memory,
    /// Of each chunk of memory, when it was last looked at; none before.
    pub(crate) versions: Vec<Version>,
    pub(crate) board: Board,
    pub(crate) clock: Clock,
    pub(crate) now: Ticks,
    /// The owner's time at tick 0.
    anchor: i128,
}

impl Machine {
    /// A machine with so much memory, all of it zeros, and nothing to execute; `None` if the
    /// host has not that much.
    pub fn try_new(
        memory_mib: u32,
        parts: &Parts,
        clock: Clock,
        epoch: u64,
        seed: [u8; 32],
    ) -> Option<Self> {
        Some(Machine {
            memory: Memory::try_new(map::memory_bytes(memory_mib))?,
            ..Machine::new(0, parts, clock, epoch, seed)
        })
    }

    /// The same, where memory is no question.
    pub fn new(memory_mib: u32, parts: &Parts, clock: Clock, epoch: u64, seed: [u8; 32]) -> Self {
        Machine {
            cpu: Cpu::new(State::default()),
            memory: Memory::new(map::memory_bytes(memory_mib)),
            versions: Vec::new(),
            board: Board::new(parts, epoch, seed),
            clock,
            now: 0,
            anchor: 0,
        }
    }

    /// The owner's clock says `host`, in nanoseconds, at the present tick. After a pause, so
    /// that it is not made up for; before the first run.
    pub fn synchronize(&mut self, host: u64) {
        self.anchor = i128::from(host) - i128::from(self.now);
    }

    /// Guest time.
    pub fn now(&self) -> Ticks {
        self.now
    }

    /// When, by the owner's clock, a tick will be.
    pub fn host_time(&self, tick: Ticks) -> u64 {
        u64::try_from(self.anchor + i128::from(tick)).unwrap_or(0)
    }

    /// Instructions retired since the start.
    pub fn instructions(&self) -> u64 {
        self.cpu.state.retired
    }

    /// The processor's state, to look at.
    pub fn processor(&self) -> &State {
        &self.cpu.state
    }

    /// How much memory it has, as its owner asked for it.
    pub fn memory_mib(&self) -> u32 {
        self.memory.size().div_ceil(1 << 20) as u32
    }

    /// Memory, to look at.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The devices, to give to and to take from; call [`Machine::service`] after it.
    pub fn board(&mut self) -> &mut Board {
        &mut self.board
    }

    /// Lets the devices do what they can with what they were given.
    pub fn service(&mut self) {
        self.board.service(&mut self.memory, self.now);
    }

    /// Executes about `budget` instructions, or until there is nothing to execute. `host` is
    /// the owner's clock in nanoseconds.
    pub fn run(&mut self, host: u64, budget: u64) -> Outcome {
        self.keep_time(host);
        let mut left = budget;
        loop {
            self.board.settle(self.now);
            let turn = left.min(TURN).min(self.until_deadline());
            self.board.begin(self.now + turn);
            let slice = self.cpu.run(&mut self.memory, &mut self.board, self.now, turn);
            self.now += slice.retired;
            left = left.saturating_sub(slice.retired);
            if let Some(outcome) = self.request() {
                return outcome;
            }
            match slice.exit {
                Exit::Shutdown => return Outcome::Shutdown,
                Exit::Breakpoint => return Outcome::Breakpoint,
                Exit::Budget if left == 0 => return Outcome::Budget,
                Exit::Budget => {}
                Exit::Halted => {
                    if let Some(outcome) = self.sleep() {
                        return outcome;
                    }
                }
            }
        }
    }

    /// Guest time follows the owner's clock, if it is to.
    pub(crate) fn keep_time(&mut self, host: u64) {
        if self.clock == Clock::Real {
            let passed = u64::try_from(i128::from(host) - self.anchor).unwrap_or(0);
            // Guest time never goes back, and a clock that leaps far ahead is not believed.
            self.now = self.now.max(passed.min(LAST_TICK));
        }
    }

    /// What the guest has asked for.
    pub(crate) fn request(&mut self) -> Option<Outcome> {
        Some(match self.board.take_request()? {
            Request::Reset => Outcome::Reset,
            Request::Exit(answer) => Outcome::Off(Some(answer)),
        })
    }

    /// The processor halts: until when?
    pub(crate) fn sleep(&mut self) -> Option<Outcome> {
        self.board.settle(self.now);
        if self.cpu.state.flags.eager & IF == 0 {
            return Some(Outcome::Off(None));
        }
        if self.board.interrupt() {
            return None;
        }
        Some(self.board.deadline().map_or(Outcome::Waits, Outcome::Sleeps))
    }

    /// Whether an interrupt has come since [`Machine::run`] said that the processor sleeps.
    pub fn is_woken(&mut self) -> bool {
        self.board.settle(self.now);
        self.board.interrupt()
    }

    /// Deterministic mode: skips the time until a tick that [`Outcome::Sleeps`] named.
    pub fn skip_to(&mut self, tick: Ticks) {
        if self.clock == Clock::Instructions {
            self.now = self.now.max(tick);
        }
    }

    fn until_deadline(&self) -> u64 {
        match self.board.deadline() {
            Some(deadline) => deadline.saturating_sub(self.now).max(1),
            None => u64::MAX,
        }
    }
}
