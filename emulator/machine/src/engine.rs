//! The machine as an engine: driven in slices, fed, drained, saved and restored.
//!
//! One poll gives the devices what has come, executes for some milliseconds, answers the
//! disk, and takes what the guest has for the world. The processor stands still while its
//! console output has nowhere to go: Linux's console driver waits for a full queue without
//! letting anybody else run, so executing on would be for nothing.

mod disk;
mod pace;

use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use emulator_engine::{
    Awakening, Capabilities, Engine, GuestIo, Instant, LocalFuture, MTU, Next, Shipped, Unready,
};
use emulator_guest::agent;
use emulator_guest::boot::{Boot, guest_fault};
use emulator_guest::files::{self, Files};
use emulator_guest::log::Log;
use emulator_guest::saved::{self, Bytes};
use emulator_protocol::{
    BootRequest, Fault, FaultKind, Halt, Party, Phase, Progress, Stats, TerminalSize,
};
use emulator_snapshot::Origin;
use emulator_snapshot::state::{Body, Section, Source, State};

use crate::board::Parts;
use crate::boot::Plan;
use crate::machine::{Clock, Machine, Outcome};
use crate::saving::{NET, RAM, SECTIONS, SECTORS};
use disk::Disk;
use pace::Pace;

/// Name of the engine in a snapshot.
pub const ENGINE: &str = "x86-64";

/// Version of the state as a whole: raised when a board of before cannot be gone on with.
pub const STATE_VERSION: u32 = 1;

/// Longest network card's section: its queues, both full of the longest frames.
const NET_LIMIT: u64 = 16 << 20;

/// How often a machine is looked at that is still booting.
const BOOT_LOOK: Duration = Duration::from_millis(200);

/// What the engine needs from the world besides the image's files.
pub trait Surroundings {
    /// Time of day: since 1970.
    fn time(&self) -> Duration;
    /// Random bytes, fresh ones.
    fn entropy(&self) -> [u8; 32];
}

/// The engine.
pub struct X86 {
    files: Rc<dyn Files>,
    surroundings: Rc<dyn Surroundings>,
    machine: Option<Machine>,
    disk: Option<Disk>,
    boot: Boot,
    log: Log,
    pace: Pace,
    terminal: TerminalSize,
    /// Digest of the image, once it is known.
    image: [u8; 32],
    /// Console output for which there was no room.
    backlog: Vec<u8>,
    /// What the guest's agent is to hear.
    news: Vec<u8>,
    /// Guest time is to go on from the next poll's.
    fresh: bool,
    /// The guest went on from a saved state, and nobody was told yet.
    restored: bool,
}

impl std::fmt::Debug for X86 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("X86").field("machine", &self.machine).finish_non_exhaustive()
    }
}

/// A machine that stands ready, and what belongs to it.
struct Assembled {
    machine: Machine,
    parts: Parts,
}

impl X86 {
    /// An engine that holds nothing yet.
    pub fn new(files: Rc<dyn Files>, surroundings: Rc<dyn Surroundings>) -> Self {
        Self {
            files,
            surroundings,
            machine: None,
            disk: None,
            boot: Boot::default(),
            log: Log::default(),
            pace: Pace::default(),
            terminal: TerminalSize::default(),
            image: [0; 32],
            backlog: Vec::new(),
            news: Vec::new(),
            fresh: true,
            restored: false,
        }
    }

    /// The last lines of the guest's kernel log.
    pub fn log(&self) -> String {
        self.log.tail()
    }

    async fn start(
        &mut self,
        request: &BootRequest,
        waker: Waker,
        report: Rc<dyn Fn(Progress)>,
    ) -> Result<(), Fault> {
        let image = self.files.manifest(request).await?;
        let wanted = [&image.kernel, &image.initrd];
        let [kernel, initrd] = files::load(&*self.files, wanted, &report).await?;
        let mut assembled = self.assemble(request, &image, waker)?;
        let cmdline = format!("{} {}", image.cmdline, request.cmdline);
        let plan = Plan { kernel: &kernel, initrd: &initrd, cmdline: &cmdline };
        assembled.machine.boot(&plan).map_err(|error| {
            Fault::new(
                FaultKind::Unsupported,
                Party::Image,
                "The machine cannot start with this image and these settings.",
                "Choose more memory, or a shorter kernel command line.",
            )
            .with_detail(error.to_string())
        })?;
        self.machine = Some(assembled.machine);
        Ok(())
    }

    async fn take(
        &mut self,
        request: &BootRequest,
        waker: Waker,
        report: Rc<dyn Fn(Progress)>,
        source: &dyn Source,
    ) -> Result<(), Fault> {
        let image = self.files.manifest(request).await?;
        saved::check(source.manifest(), &image, request, ENGINE, STATE_VERSION)?;
        let net = saved::gather(source, NET, NET_LIMIT).await?;
        let Assembled { mut machine, parts } = self.assemble(request, &image, waker)?;
        if let Some(disk) = &mut self.disk {
            let written = saved::gather(source, SECTORS, disk.written_limit()).await?;
            disk.set_written(&written)?;
        }
        let section = |name: &str| if name == NET { Some(&net[..]) } else { source.inline(name) };
        let restored = machine.restore(&parts, self.surroundings.entropy(), section);
        restored.map_err(|error| saved::refused(error.to_string()))?;
        // The window may have another size than the one that was saved.
        machine.board().resize(request.terminal.columns, request.terminal.rows);
        let size = machine.memory().size();
        saved::fill(source, RAM, size, &*report, |at, bytes| machine.fill(at, bytes)).await?;
        self.machine = Some(machine);
        self.restored = true;
        Ok(())
    }

    fn assemble(
        &mut self,
        request: &BootRequest,
        image: &emulator_disk::Manifest,
        waker: Waker,
    ) -> Result<Assembled, Fault> {
        self.image = saved::digest(image);
        self.terminal = request.terminal;
        self.disk = image.disk.clone().map(|layout| Disk::new(layout, waker));
        let parts = Parts { disk: image.disk.as_ref().map(|disk| disk.size), mtu: Some(MTU) };
        let (epoch, seed) = (self.surroundings.time(), self.surroundings.entropy());
        let machine =
            Machine::try_new(request.memory_mib, &parts, Clock::Real, nanoseconds(epoch), seed);
        let mut machine = machine.ok_or_else(|| {
            Fault::new(
                FaultKind::Unsupported,
                Party::Host,
                format!("This browser has not {} MiB for the machine.", request.memory_mib),
                "Close other tabs, or choose less memory in the settings.",
            )
        })?;
        machine.board().resize(request.terminal.columns, request.terminal.rows);
        Ok(Assembled { machine, parts })
    }

    /// Gives the devices what has come for them.
    fn feed(&mut self, io: &mut GuestIo) {
        let Some(machine) = &mut self.machine else { return };
        let board = machine.board();
        if io.terminal != self.terminal {
            self.terminal = io.terminal;
            board.resize(io.terminal.columns, io.terminal.rows);
        }
        // What a person types ahead waits for the shell: nobody reads before.
        if self.boot.phase() >= Some(Phase::Shell) && !io.input.is_empty() {
            let taken = board.offer_console(&io.input.peek(io.input.len()));
            io.input.pop(taken);
        }
        let told = board.offer_agent(&self.news);
        self.news.drain(..told);
        // Nobody listens to the agent's words yet; they must not fill its queue.
        board.take_agent();
        while board.has_frame_room()
            && let Some(frame) = io.received.pop()
        {
            board.offer_frame(frame);
        }
        machine.service();
    }

    /// Takes what the guest has for the world; returns whether its console is stuck.
    fn collect(&mut self, now: Instant, io: &mut GuestIo) -> bool {
        let loaded = self.files.loaded();
        let Some(machine) = &mut self.machine else { return false };
        let board = machine.board();
        for byte in board.take_log() {
            if let Some(sign) = self.log.feed(byte) {
                self.boot.take(sign, now, loaded, io);
            }
            self.pace.alive();
        }
        if self.backlog.is_empty() {
            self.backlog = board.take_console();
        }
        let moved = io.output.push(&self.backlog);
        self.backlog.drain(..moved);
        while io.sent.room() >= FRAME_ROOM
            && let Some(frame) = board.take_frame()
        {
            io.sent.push(frame);
        }
        machine.service();
        !self.backlog.is_empty()
    }

    /// Executes until the poll's time is used up, or there is nothing to execute.
    fn execute(&mut self, now: Instant) -> Result<Outcome, Fault> {
        let Some(machine) = &mut self.machine else { return Ok(Outcome::Waits) };
        let host = nanoseconds(now);
        if std::mem::take(&mut self.fresh) {
            machine.synchronize(host);
            // Loading has taken its time since the machine was put together.
            machine.set_time_of_day(nanoseconds(self.surroundings.time()));
        }
        let start = machine.instructions();
        let budget = self.pace.budget(now);
        loop {
            let done = machine.instructions() - start;
            let outcome = machine.run(host, budget.saturating_sub(done).max(1));
            if let Some(disk) = &mut self.disk {
                disk.serve(machine, &*self.files)?;
            }
            let executed = machine.instructions() - start;
            self.pace.executed(executed);
            let sleeps = matches!(outcome, Outcome::Sleeps(_) | Outcome::Waits);
            if !(sleeps && executed < budget && machine.is_woken()) {
                return Ok(outcome);
            }
        }
    }

    /// What a poll's outcome means for whoever drives the engine, when all has been taken that
    /// the guest has for the world.
    fn next(&mut self, outcome: Outcome, now: Instant, io: &GuestIo) -> Next {
        let ended = match outcome {
            Outcome::Reset => Some(Next::Halted(Halt::Reboot)),
            Outcome::Off(_) if self.boot.has_panicked() => None,
            Outcome::Off(_) => Some(Next::Halted(Halt::PowerOff)),
            Outcome::Shutdown => Some(Next::Failed(self.triple_fault())),
            Outcome::Budget | Outcome::Sleeps(_) | Outcome::Waits | Outcome::Breakpoint => None,
        };
        if let Some(next) = ended {
            return next;
        }
        // What was taken or answered last may be what the guest sleeps for; frames that had no
        // room may have some now.
        if let Some(machine) = &mut self.machine
            && (machine.is_woken() || !io.received.is_empty() && machine.board().has_frame_room())
        {
            return Next::Again;
        }
        let due = match (&self.machine, outcome) {
            (_, Outcome::Budget) => return Next::Again,
            (Some(machine), Outcome::Sleeps(tick)) => {
                Some(Duration::from_nanos(machine.host_time(tick)))
            }
            _ => None,
        };
        let look = (!io.ready || self.boot.has_panicked()).then_some(now + BOOT_LOOK);
        match [due, look].into_iter().flatten().min() {
            Some(at) if at <= now => Next::Again,
            Some(at) => Next::Sleep(at),
            None => Next::Wait,
        }
    }

    fn triple_fault(&self) -> Fault {
        let registers = self.machine.as_ref().map(Machine::registers).unwrap_or_default();
        guest_fault(
            FaultKind::TripleFault,
            "The guest's processor stopped: triple fault.",
            format!("{registers}\n\n{}", self.log.tail()),
        )
    }

    /// A panic that has said all, or a boot that gives no sign of life.
    fn fault(&mut self, now: Instant, io: &GuestIo) -> Option<Fault> {
        let alive = self.pace.take_alive() || self.disk.as_ref().is_some_and(Disk::is_waiting);
        let log = || self.log.tail();
        let panic = self.boot.panic(now, log);
        if panic.is_some() || io.ready {
            return panic;
        }
        self.boot.watch(now, alive, || self.log.tail())
    }
}

/// Room for one more frame of the guest's.
const FRAME_ROOM: usize = MTU as usize + 32;

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Engine for X86 {
    fn capabilities(&self) -> Capabilities {
        Capabilities { memory_mib: Some(crate::MEMORY_MIB), sections: Some(SECTIONS), nic: true }
    }

    fn boot<'a>(
        &'a mut self,
        request: &'a BootRequest,
        waker: Waker,
        report: Rc<dyn Fn(Progress)>,
    ) -> LocalFuture<'a, Result<(), Fault>> {
        Box::pin(self.start(request, waker, report))
    }

    fn restore<'a>(
        &'a mut self,
        request: &'a BootRequest,
        waker: Waker,
        report: Rc<dyn Fn(Progress)>,
        source: &'a dyn Source,
    ) -> LocalFuture<'a, Result<(), Fault>> {
        Box::pin(self.take(request, waker, report, source))
    }

    fn shipped<'a>(
        &'a mut self,
        request: &'a BootRequest,
    ) -> LocalFuture<'a, Option<Box<dyn Shipped>>> {
        self.files.shipped(request)
    }

    fn save(&mut self) -> Result<State<'_>, Unready> {
        let machine = self.machine.as_mut().ok_or(Unready::Busy)?;
        if self.boot.phase() < Some(Phase::Shell) || !self.news.is_empty() {
            return Err(Unready::Busy);
        }
        machine.note_written();
        let section = |name, body| Section { name, version: 1, body };
        let paged = |bytes| Body::Paged(Box::new(Bytes(bytes)));
        let mut sections: Vec<_> = machine
            .save()
            .into_iter()
            .map(|(name, bytes)| {
                section(name, if name == NET { paged(bytes) } else { Body::Inline(bytes) })
            })
            .collect();
        let written = self.disk.as_ref().map(Disk::written).unwrap_or_default();
        sections.push(section(SECTORS, paged(written)));
        sections.push(section(RAM, Body::Paged(Box::new(machine.ram()))));
        let ram = u64::from(machine.memory_mib()) << 20;
        let origin = Origin { engine: ENGINE.into(), state: STATE_VERSION, image: self.image, ram };
        Ok(State { origin, sections })
    }

    fn drain(&mut self, io: &mut GuestIo) {
        let Some(machine) = &mut self.machine else { return };
        if self.backlog.is_empty() {
            self.backlog = machine.board().take_console();
        }
        let moved = io.output.push(&self.backlog);
        self.backlog.drain(..moved);
    }

    fn awaken(&mut self, awakening: &Awakening) {
        if let Some(machine) = &mut self.machine {
            machine.awaken(nanoseconds(awakening.time), awakening.entropy);
        }
        self.news = agent::frame(awakening);
    }

    fn poll(&mut self, now: Instant, io: &mut GuestIo) -> Next {
        if std::mem::take(&mut self.restored) {
            self.boot.reach(Phase::Shell, self.files.loaded(), io);
            io.ready = true;
        }
        self.boot.reach(Phase::Kernel, self.files.loaded(), io);
        if let Some(disk) = &mut self.disk
            && let Err(fault) = disk.arrive()
        {
            return Next::Failed(fault);
        }
        self.feed(io);
        if self.collect(now, io) {
            // Goes on when the output has been drained.
            self.pace.rest();
            return Next::Wait;
        }
        let outcome = match self.execute(now) {
            Ok(outcome) => outcome,
            Err(fault) => return Next::Failed(fault),
        };
        self.collect(now, io);
        if let Some(fault) = self.fault(now, io) {
            return Next::Failed(fault);
        }
        let next = self.next(outcome, now, io);
        if next != Next::Again {
            self.pace.rest();
        }
        next
    }

    fn pause(&mut self) {
        self.pace.rest();
    }

    fn resume(&mut self) {
        self.boot.resume();
    }

    fn retry(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.retry();
        }
        self.boot.resume();
    }

    fn stats(&mut self) -> Stats {
        Stats {
            instructions: self.machine.as_ref().map(Machine::instructions),
            memory_mib: self.machine.as_ref().map(Machine::memory_mib),
            fetched: self.files.fetched(),
            requests: self.files.requests(),
            ..Stats::default()
        }
    }
}
