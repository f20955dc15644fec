//! A machine with its disk and its clock, and the moments at which it meets its console.
//!
//! In deterministic mode these moments, too, follow from the instructions: the console is met
//! after every [`SLICE`] and whenever the processor halts. So a machine goes the same way
//! whether it runs freely, is traced, or stops at every millionth instruction for its hash.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use emulator_cpu::Turn;
use emulator_machine::{Clock, Machine, Outcome, Parts, Plan};

use crate::disk::Disk;
use crate::options::Setup;

/// Instructions between two meetings: about ten milliseconds' worth.
pub(crate) const SLICE: u64 = 2_000_000;
/// Time of day of a deterministic machine: 2026-01-01, in nanoseconds since 1970.
const FIXED_EPOCH: u64 = 1_767_225_600_000_000_000;

/// What a machine's console is connected to.
pub(crate) trait Console {
    /// What was typed and not yet taken.
    fn input(&mut self) -> &[u8];
    /// So many bytes of the input were taken.
    fn taken(&mut self, count: usize);
    /// Prints what the guest says.
    fn output(&mut self, bytes: &[u8]) -> Result<()>;
    /// The window's columns and rows, if they are new.
    fn size(&mut self) -> Option<(u16, u16)>;
}

/// How a machine has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By its exit port, with this answer; or by halting for good.
    Off(Option<u8>),
    /// It asked for a reset.
    Reset,
    /// Triple fault.
    Shutdown,
    /// It waits, and nobody is there to wake it.
    Stuck,
}

/// What became of some instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// They were executed; or as many as there were until a meeting with the console.
    Executed,
    /// There is nothing to execute for so long; `None` until somebody types.
    Idle(Option<Duration>),
    /// The next instruction is at a breakpoint.
    Breakpoint,
    /// The machine has ended.
    Over(End),
}

/// A machine at work.
pub(crate) struct Session {
    pub(crate) machine: Machine,
    disk: Option<Disk>,
    start: Instant,
    /// The console is met when so many instructions have retired.
    next: u64,
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

impl Session {
    /// A machine that stands at its kernel's first instruction.
    pub(crate) fn new(setup: &Setup) -> Result<Self> {
        let disk = setup.disk.as_deref().map(Disk::open).transpose()?;
        let parts = Parts { disk: disk.as_ref().map(Disk::size), mtu: None };
        let (clock, epoch, seed) = if setup.deterministic {
            (Clock::Instructions, FIXED_EPOCH, [0; 32])
        } else {
            let epoch = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
            let mut seed = [0; 32];
            File::open("/dev/urandom")?.read_exact(&mut seed)?;
            (Clock::Real, epoch, seed)
        };
        let machine = Machine::try_new(setup.memory, &parts, clock, epoch, seed);
        let mut machine =
            machine.with_context(|| format!("this host has not {} MiB left", setup.memory))?;
        let kernel = read(&setup.kernel)?;
        let initrd = setup.initrd.as_deref().map(read).transpose()?.unwrap_or_default();
        let plan = Plan { kernel: &kernel, initrd: &initrd, cmdline: &setup.cmdline };
        machine.boot(&plan).with_context(|| setup.kernel.display().to_string())?;
        Ok(Session { machine, disk, start: Instant::now(), next: SLICE })
    }

    /// Time since the start, or since the last [`Session::synchronize`].
    fn host(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// The guest is not to make up for the time since it last ran.
    pub(crate) fn synchronize(&mut self) {
        let host = self.host();
        self.machine.synchronize(host);
    }

    /// Does time follow the instructions?
    pub(crate) fn is_deterministic(&self) -> bool {
        self.machine.clock() == Clock::Instructions
    }

    /// Executes until `until` instructions have retired since the start, or until the machine
    /// meets its console.
    pub(crate) fn advance(&mut self, until: u64, console: &mut dyn Console) -> Result<Stop> {
        let left = until.min(self.next).saturating_sub(self.machine.instructions());
        let outcome = match left {
            0 => Outcome::Budget,
            left => self.machine.run(self.host(), left),
        };
        self.after(outcome, console)
    }

    /// Executes one instruction, or takes an interrupt. With `deaf`, interrupts wait.
    pub(crate) fn turn(
        &mut self,
        deaf: bool,
        console: &mut dyn Console,
    ) -> Result<Result<Turn, Stop>> {
        match self.machine.turn(self.host(), deaf) {
            Ok(turn) => {
                self.after(Outcome::Budget, console)?;
                Ok(Ok(turn))
            }
            Err(outcome) => Ok(Err(self.after(outcome, console)?)),
        }
    }

    fn after(&mut self, outcome: Outcome, console: &mut dyn Console) -> Result<Stop> {
        if outcome == Outcome::Budget && self.machine.instructions() < self.next {
            return Ok(Stop::Executed);
        }
        self.next = self.machine.instructions() + SLICE;
        let news = self.meet(console)?;
        Ok(match outcome {
            Outcome::Budget => Stop::Executed,
            Outcome::Breakpoint => Stop::Breakpoint,
            Outcome::Reset => Stop::Over(End::Reset),
            Outcome::Off(answer) => Stop::Over(End::Off(answer)),
            Outcome::Shutdown => Stop::Over(End::Shutdown),
            Outcome::Sleeps(_) | Outcome::Waits if news => Stop::Executed,
            Outcome::Sleeps(tick) if self.is_deterministic() => {
                self.machine.skip_to(tick);
                Stop::Executed
            }
            Outcome::Sleeps(tick) => {
                let rest = self.machine.host_time(tick).saturating_sub(self.host());
                Stop::Idle(Some(Duration::from_nanos(rest)))
            }
            Outcome::Waits => Stop::Idle(None),
        })
    }

    /// Console bytes both ways, and the disk's requests. Says whether the guest got anything.
    fn meet(&mut self, console: &mut dyn Console) -> Result<bool> {
        let board = self.machine.board();
        let said = [board.take_log(), board.take_console()];
        // Nobody listens to the agent; its words must not fill its queue.
        let mut news = !board.take_agent().is_empty();
        for bytes in said.iter().filter(|bytes| !bytes.is_empty()) {
            console.output(bytes)?;
            news = true;
        }
        if let Some((columns, rows)) = console.size() {
            board.resize(columns, rows);
            news = true;
        }
        let typed = board.type_in(console.input());
        console.taken(typed);
        news |= typed > 0;
        for request in board.take_disk_requests() {
            if let Some(disk) = &mut self.disk {
                board.complete_disk(request.id, disk.answer(&request.operation));
                news = true;
            }
        }
        if news {
            self.machine.service();
        }
        Ok(news)
    }

    /// What distinguishes this machine and its disk from any other, in hexadecimal digits.
    pub(crate) fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.machine.state_hash());
        for (number, content) in self.disk.iter().flat_map(Disk::written) {
            hasher.update(&number.to_le_bytes()).update(content);
        }
        hasher.finalize().to_hex().to_string()
    }
}
