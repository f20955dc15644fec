//! The one trait that every guest computer implements.
//!
//! An engine is driven from outside: somebody calls [`Engine::poll`] with the time and the
//! queues of a [`GuestIo`], and the engine says when it wants to be called again. It never
//! blocks, starts no thread and reads no clock. What it has to say to people it says in
//! the vocabulary of `emulator-protocol`.
#![forbid(unsafe_code)]

mod queue;

use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use emulator_protocol::{
    BootRequest, Fault, FaultKind, Halt, Party, Progress, Stats, TerminalSize,
};
use emulator_snapshot::Id;
use emulator_snapshot::state::{Source, State};

pub use queue::{ByteQueue, FrameQueue};

/// Time since the worker started. Only differences mean anything.
pub type Instant = Duration;

/// A future that stays on its thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Console bytes that may wait for the guest, and for the page.
pub const CONSOLE_QUEUE: usize = 64 * 1024;

/// Bytes of network frames that may wait, in each direction: what a few connections with
/// full windows have under way.
pub const FRAME_QUEUE: usize = 2 * 1024 * 1024;

/// Bytes of an IP packet that a guest's network card carries at most, in both directions.
/// Nobody between the guest and its gateway needs the small packets of a cable, and what a
/// packet costs an emulated processor hardly depends on its size.
pub const MTU: u16 = 16 * 1024;

/// What an engine can do; the same for its whole life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Guest memory that it can be given, in MiB; `None` if it has no memory of its own.
    pub memory_mib: Option<RangeInclusive<u32>>,
    /// The sections of its saved state, each with the newest version that it can restore;
    /// `None` if it cannot be saved.
    pub sections: Option<&'static [(&'static str, u16)]>,
    /// Whether it has a network card.
    pub nic: bool,
}

/// Why a machine cannot be saved just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unready {
    /// It waits for something that has no place in a saved state, its disk for example. Let
    /// it go on for some milliseconds and ask again.
    Busy,
    /// It cannot be saved at all; says why.
    Never(String),
}

/// What happened to a machine while it was not running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awakening {
    /// Time of day: since 1970.
    pub time: Duration,
    /// Random bytes, fresh ones.
    pub entropy: [u8; 32],
}

/// What an engine wants after a [`Engine::poll`].
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// There is more to do at once; call again after the queues were looked at.
    Again,
    /// Nothing to do before this time, unless input comes or the waker is called.
    Sleep(Instant),
    /// Nothing to do until input comes or the waker is called.
    Wait,
    /// The guest ended by its own will. The engine is not polled again.
    Halted(Halt),
    /// The machine cannot go on. The engine is not polled again, unless the fault allows a
    /// retry and [`Engine::retry`] was called.
    Failed(Fault),
}

/// The queues between a guest and its surroundings. All are bounded.
#[derive(Debug)]
pub struct GuestIo {
    /// Bytes on their way to the guest's console.
    pub input: ByteQueue,
    /// Bytes that the guest wrote to its console. An engine that finds it full keeps the
    /// rest and stalls its guest.
    pub output: ByteQueue,
    /// Ethernet frames from the guest.
    pub sent: FrameQueue,
    /// Ethernet frames for the guest.
    pub received: FrameQueue,
    /// Steps of the boot that were reached since the last poll.
    pub progress: Vec<Progress>,
    /// True once the guest has shown its prompt; set by the engine, never reset.
    pub ready: bool,
    /// Size of the terminal; the engine tells the guest when it changes.
    pub terminal: TerminalSize,
    /// To be called when something happened outside of `poll`.
    pub waker: Waker,
}

impl GuestIo {
    /// Empty queues for a terminal of this size.
    #[must_use]
    pub fn new(terminal: TerminalSize, waker: Waker) -> Self {
        Self {
            input: ByteQueue::new(CONSOLE_QUEUE),
            output: ByteQueue::new(CONSOLE_QUEUE),
            sent: FrameQueue::new(FRAME_QUEUE),
            received: FrameQueue::new(FRAME_QUEUE),
            progress: Vec::new(),
            ready: false,
            terminal,
            waker,
        }
    }
}

/// A saved state that comes with an image. Nothing of it is verified.
pub trait Shipped {
    /// Its manifest.
    fn manifest(&self) -> &[u8];

    /// One of its chunks, in its stored form.
    fn chunk(&self, id: Id) -> LocalFuture<'_, Result<Vec<u8>, Fault>>;
}

/// A guest computer that can be started, driven, fed and drained, and perhaps saved: the
/// methods for that have an answer already for an engine whose [`Capabilities::sections`]
/// are `None`.
pub trait Engine {
    /// What this engine can do.
    fn capabilities(&self) -> Capabilities;

    /// Loads what the machine needs and sets it going; `report` hears of each step. Called
    /// once, before the first `poll`. Returns when the guest's first instruction can run.
    fn boot<'a>(
        &'a mut self,
        request: &'a BootRequest,
        waker: Waker,
        report: Rc<dyn Fn(Progress)>,
    ) -> LocalFuture<'a, Result<(), Fault>>;

    /// Takes a saved machine instead of starting one; the other half of [`Engine::save`].
    /// Called once, instead of `boot`. Checks all small sections before it takes memory, and
    /// returns when the guest can go on. Its console is not told of anything: what was on
    /// the screen is the caller's to show.
    fn restore<'a>(
        &'a mut self,
        request: &'a BootRequest,
        waker: Waker,
        report: Rc<dyn Fn(Progress)>,
        source: &'a dyn Source,
    ) -> LocalFuture<'a, Result<(), Fault>> {
        let _ = (request, waker, report, source);
        Box::pin(async { Err(unsaved()) })
    }

    /// A saved state of just this machine that comes with its image; `None` if there is
    /// none, or it cannot be had.
    fn shipped<'a>(
        &'a mut self,
        request: &'a BootRequest,
    ) -> LocalFuture<'a, Option<Box<dyn Shipped>>> {
        let _ = request;
        Box::pin(async { None })
    }

    /// The state of a machine that is paused.
    ///
    /// # Errors
    /// [`Unready`].
    fn save(&mut self) -> Result<State<'_>, Unready> {
        Err(Unready::Never(unsaved().summary))
    }

    /// Moves what the guest has printed into the queue, as far as there is room; the guest
    /// may be paused.
    fn drain(&mut self, io: &mut GuestIo) {
        let _ = io;
    }

    /// Tells the guest what it missed: its clock is set and its random numbers are made
    /// different from those of every other machine that was restored from the same state.
    fn awaken(&mut self, awakening: &Awakening) {
        let _ = awakening;
    }

    /// Runs at most one slice of a few milliseconds, moving bytes through the queues.
    /// Never blocks.
    fn poll(&mut self, now: Instant, io: &mut GuestIo) -> Next;

    /// Stops the guest's processor and clock; memory is kept. `poll` is not called until
    /// [`Engine::resume`].
    fn pause(&mut self);

    /// Goes on after [`Engine::pause`].
    fn resume(&mut self);

    /// Tries again what ended in a fault with `retry` set; called only then.
    fn retry(&mut self) {}

    /// Counters since boot. Rates and console bytes are filled in by the caller.
    fn stats(&mut self) -> Stats;
}

/// The fault of asking an engine for what its capabilities exclude.
fn unsaved() -> Fault {
    Fault {
        kind: FaultKind::Unsupported,
        party: Party::Host,
        summary: "This engine's machines cannot be saved.".into(),
        advice: "Choose a real kernel: its machines can.".into(),
        retry: false,
        detail: String::new(),
    }
}
