//! One machine's life between its boot and its end, without a browser.
//!
//! Commands and time come in, events go out. The order of one [`Machine::pump`] is: let
//! the engine run a slice, tell what it reached, move its console output as far as the
//! page's credit allows.

use std::task::Waker;
use std::time::Duration;

use emulator_engine::{Awakening, Engine, GuestIo, Instant, Next, Unready};
use emulator_protocol::{
    BootRequest, CONSOLE_MESSAGE, Command, EngineKind, Event, Fault, FaultKind, MachineState,
    Party, Stats,
};

use crate::capture::{Capture, Memo, Part};
use crate::credit::Credit;
use crate::keeper::Carried;
use crate::network::Network;

/// When [`Machine::pump`] is due again if nothing happens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// As soon as messages that wait were handled.
    Soon,
    /// At this time.
    At(Instant),
    /// Only when a command comes or the waker is called.
    Idle,
}

impl Due {
    /// This, but not later than `at`.
    #[must_use]
    pub fn at_latest(self, at: Instant) -> Self {
        match self {
            Self::Soon => self,
            Self::At(due) => Self::At(due.min(at)),
            Self::Idle => Self::At(at),
        }
    }
}

/// A booted machine.
pub struct Machine {
    engine: Box<dyn Engine>,
    io: GuestIo,
    credit: Credit,
    state: MachineState,
    before_pause: MachineState,
    booted: Instant,
    console: u64,
    measured: (Instant, u64),
    network: Option<Network>,
    /// Frames went through in the last pump, or were handed to the guest, which will answer.
    busy: bool,
}

impl Machine {
    /// Takes over an engine whose `boot` has succeeded.
    #[must_use]
    pub fn new(
        engine: Box<dyn Engine>,
        request: &BootRequest,
        network: Option<Network>,
        waker: Waker,
        now: Instant,
    ) -> Self {
        Self {
            engine,
            io: GuestIo::new(request.terminal, waker),
            credit: Credit::default(),
            state: MachineState::Booting,
            before_pause: MachineState::Booting,
            booted: now,
            console: 0,
            measured: (now, 0),
            network,
            busy: false,
        }
    }

    /// Where the machine is in its life.
    #[must_use]
    pub fn state(&self) -> MachineState {
        self.state
    }

    /// Its network, if it has a card for one.
    pub fn network(&mut self) -> Option<&mut Network> {
        self.network.as_mut()
    }

    /// Whether frames went through in the last pump: then the next ones should not wait.
    #[must_use]
    pub fn is_networking(&self) -> bool {
        self.busy
    }

    /// Obeys a command of the page.
    pub fn command(&mut self, command: Command, now: Instant, events: &mut Vec<Event>) {
        match command {
            Command::Console { bytes } => {
                // The page keeps to INPUT_WINDOW, which is what the queue holds. A page that
                // does not has no use for a silent loss.
                if self.io.input.push(&bytes) < bytes.len() {
                    self.fail(overrun(), events);
                }
            }
            Command::Acknowledge { bytes } => self.credit.acknowledged(bytes),
            Command::Resize(size) => self.io.terminal = size,
            Command::Pause if self.is_live() => {
                self.before_pause = self.state;
                self.engine.pause();
                self.enter(MachineState::Paused, events);
            }
            Command::Resume if self.state == MachineState::Paused => {
                self.engine.resume();
                self.enter(self.before_pause, events);
            }
            Command::Retry if self.state == MachineState::Failed => {
                self.engine.retry();
                let state =
                    if self.io.ready { MachineState::Running } else { MachineState::Booting };
                self.enter(state, events);
            }
            Command::Network(settings) => {
                if let Some(network) = &mut self.network {
                    network.set(settings, now);
                }
            }
            Command::Capture { on } => {
                let recorded = self.network.as_mut().and_then(|network| network.capture(on));
                events.extend(recorded.map(|bytes| Event::Pcap { bytes }));
            }
            Command::Crash => panic!("the page asked for a crash"),
            // Without meaning in this state.
            Command::Pause | Command::Resume | Command::Retry => {}
            // The host's.
            Command::Boot(_)
            | Command::Save { .. }
            | Command::Screen { .. }
            | Command::Release
            | Command::Library { .. }
            | Command::Import { .. } => {}
        }
    }

    /// Lets the engine run a slice and tells what came of it.
    pub fn pump(&mut self, now: Instant, events: &mut Vec<Event>) -> Due {
        if !self.is_live() {
            self.drain(events);
            return Due::Idle;
        }
        let handed = !self.io.received.is_empty();
        let due = self.run(now, events);
        if !self.is_live() {
            return due;
        }
        let Some(network) = &mut self.network else { return due };
        let exchange = network.exchange(&mut self.io, now);
        events.extend(network.report(now).map(Event::Network));
        self.busy = handed || exchange.moved;
        match exchange.due {
            _ if exchange.fresh => Due::Soon,
            Some(at) => due.at_latest(at),
            None => due,
        }
    }

    /// Lets the engine run a slice.
    fn run(&mut self, now: Instant, events: &mut Vec<Event>) -> Due {
        let waiting = self.io.input.len();
        let next = self.engine.poll(now, &mut self.io);
        let taken = waiting - self.io.input.len();
        if taken > 0 {
            events.push(Event::Accepted { bytes: taken as u64 });
        }
        events.extend(self.io.progress.drain(..).map(Event::Progress));
        let was_full = self.io.output.room() == 0;
        self.drain(events);
        if self.io.ready && self.state == MachineState::Booting {
            self.enter(MachineState::Running, events);
        }
        match next {
            Next::Again => Due::Soon,
            // An engine that stalled on a full queue goes on now that there is room.
            _ if was_full && self.io.output.room() > 0 => Due::Soon,
            Next::Sleep(at) => Due::At(at),
            Next::Wait => Due::Idle,
            Next::Halted(reason) => {
                self.flush(events);
                self.enter(MachineState::Halted, events);
                events.push(Event::Halted { reason });
                Due::Idle
            }
            Next::Failed(fault) => {
                self.flush(events);
                self.fail(fault, events);
                Due::Idle
            }
        }
    }

    /// Goes on after a restore: the guest learns what it missed, gets what was typed before
    /// the save and not yet read, and its gateway remembers.
    pub fn awaken(&mut self, awakening: &Awakening, carried: &Carried, now: Instant) {
        self.engine.awaken(awakening);
        // What was saved fitted into the same queue.
        let _ = self.io.input.push(&carried.input);
        if let (Some(network), [_, ..]) = (&mut self.network, &carried.network[..]) {
            // A gateway that remembers nothing is as good as a new one.
            let _ = network.restore(&carried.network, now);
        }
    }

    /// Takes hold of the state, with the console input that the guest has not taken yet. The
    /// guest goes on. Whatever it has printed until now is posted, whether or not there is
    /// credit for it: there is at most a queue of the engine and one of ours.
    ///
    /// # Errors
    /// [`Unready`], and nothing has happened but that console output was posted.
    pub fn capture(
        &mut self,
        memo: &Memo,
        events: &mut Vec<Event>,
    ) -> Result<(Capture, Carried), Unready> {
        self.check_saveable()?;
        if self.state == MachineState::Running {
            self.engine.pause();
        }
        loop {
            self.engine.drain(&mut self.io);
            if self.io.output.is_empty() {
                break;
            }
            self.flush(events);
        }
        let state = self.engine.save();
        let capture = state.map(|state| Capture::take(state, memo));
        if self.state == MachineState::Running {
            self.engine.resume();
        }
        let capture = capture?;
        events.push(Event::Captured);
        let network = self.network.as_ref().map(Network::save).unwrap_or_default();
        Ok((capture, Carried { input: self.io.input.peek(self.io.input.len()), network }))
    }

    /// Takes hold of `count` chunks of the state behind the first `from`, `None` if there are
    /// none. The guest stands still for no longer than that takes.
    ///
    /// # Errors
    /// [`Unready`], and nothing has happened.
    pub fn part(
        &mut self,
        memo: &Memo,
        from: usize,
        count: usize,
    ) -> Result<Option<Part>, Unready> {
        self.check_saveable()?;
        if self.state == MachineState::Running {
            self.engine.pause();
        }
        let part = self.engine.save().map(|state| Part::take(&state, memo, from, count));
        if self.state == MachineState::Running {
            self.engine.resume();
        }
        part
    }

    fn check_saveable(&self) -> Result<(), Unready> {
        match self.state {
            MachineState::Running => Ok(()),
            MachineState::Booting => Err(Unready::Busy),
            MachineState::Paused if self.io.ready => Ok(()),
            _ => Err(Unready::Never("The machine is not running.".into())),
        }
    }

    /// Ends the machine for good.
    pub fn stop(&mut self) {
        if self.state == MachineState::Running {
            self.engine.pause();
        }
    }

    /// A report for the page. The worker's own memory has so many bytes.
    pub fn report(&mut self, now: Instant, own_bytes: u64) -> Event {
        let stats = self.engine.stats();
        let (then, before) = self.measured;
        let passed = now.saturating_sub(then);
        let mips = stats.instructions.filter(|_| !passed.is_zero()).map(|count| {
            let executed = count.saturating_sub(before);
            executed as f64 / passed.as_secs_f64() / 1e6
        });
        self.measured = (now, stats.instructions.unwrap_or(0));
        Event::Stats(Stats {
            mips,
            host_bytes: stats.host_bytes + own_bytes,
            console: self.console,
            uptime_ms: millis(now.saturating_sub(self.booted)),
            ..stats
        })
    }

    fn is_live(&self) -> bool {
        matches!(self.state, MachineState::Booting | MachineState::Running)
    }

    fn enter(&mut self, state: MachineState, events: &mut Vec<Event>) {
        self.state = state;
        events.push(Event::State { state });
    }

    fn fail(&mut self, fault: Fault, events: &mut Vec<Event>) {
        self.enter(MachineState::Failed, events);
        events.push(Event::Fault(fault));
    }

    /// Posts console output while the page keeps up.
    fn drain(&mut self, events: &mut Vec<Event>) {
        while self.credit.is_open() && !self.io.output.is_empty() {
            self.post(events);
        }
    }

    /// Posts all console output: a guest's last words are never held back, and there are
    /// at most `CONSOLE_QUEUE` bytes of them.
    fn flush(&mut self, events: &mut Vec<Event>) {
        while !self.io.output.is_empty() {
            self.post(events);
        }
    }

    fn post(&mut self, events: &mut Vec<Event>) {
        let bytes = self.io.output.pop(CONSOLE_MESSAGE);
        self.credit.sent(bytes.len());
        self.console += bytes.len() as u64;
        events.push(Event::Console { bytes });
    }
}

/// Refuses a request that the engine cannot fulfil.
///
/// # Errors
/// The fault that tells what is possible.
pub fn check(engine: &dyn Engine, request: &BootRequest) -> Result<(), Fault> {
    match engine.capabilities().memory_mib {
        Some(range) if !range.contains(&request.memory_mib) => Err(Fault::new(
            FaultKind::Unsupported,
            Party::Host,
            format!("This engine cannot run with {} MiB of memory.", request.memory_mib),
            format!("Choose between {} and {} MiB.", range.start(), range.end()),
        )),
        _ => Ok(()),
    }
}

/// The fault of a worker that was asked for an engine that it does not carry.
#[must_use]
pub fn foreign(kind: EngineKind) -> Fault {
    Fault::new(
        FaultKind::Unsupported,
        Party::Host,
        format!("This worker does not carry the engine {kind:?}."),
        "Reload the page; if it stays, the app was put together wrongly.",
    )
}

fn overrun() -> Fault {
    Fault::new(
        FaultKind::EngineCrash,
        Party::Host,
        "The page sent more input than the machine had room for.",
        "Restart the machine; please report this, it is a fault of the app.",
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use emulator_engine::{CONSOLE_QUEUE, Capabilities, LocalFuture};
    use emulator_protocol::{CONSOLE_HIGH_WATER, Halt, Phase, Progress};
    use std::cell::RefCell;
    use std::rc::Rc;

    type Script = Rc<RefCell<dyn FnMut(&mut GuestIo) -> Next>>;

    /// An engine whose slices are a closure: the smallest thing that can be driven.
    struct Scripted(Script);

    impl Engine for Scripted {
        fn capabilities(&self) -> Capabilities {
            Capabilities { memory_mib: Some(128..=1024), sections: None, nic: true }
        }
        fn boot<'a>(
            &'a mut self,
            _: &'a BootRequest,
            _: Waker,
            _: Rc<dyn Fn(Progress)>,
        ) -> LocalFuture<'a, Result<(), Fault>> {
            Box::pin(async { Ok(()) })
        }
        fn poll(&mut self, _: Instant, io: &mut GuestIo) -> Next {
            (self.0.borrow_mut())(io)
        }
        fn pause(&mut self) {}
        fn resume(&mut self) {}
        fn stats(&mut self) -> Stats {
            Stats { instructions: Some(3_000_000), ..Stats::default() }
        }
    }

    fn request() -> BootRequest {
        BootRequest::new(EngineKind::V86, 256)
    }

    fn machine(script: impl FnMut(&mut GuestIo) -> Next + 'static) -> Machine {
        let engine = Box::new(Scripted(Rc::new(RefCell::new(script))));
        Machine::new(engine, &request(), None, Waker::noop().clone(), Duration::ZERO)
    }

    fn console_bytes(events: &[Event]) -> u64 {
        events
            .iter()
            .map(|event| match event {
                Event::Console { bytes } => bytes.len() as u64,
                _ => 0,
            })
            .sum()
    }

    #[test]
    fn a_flooding_guest_is_held_at_the_high_mark_and_released_by_the_page() {
        let mut machine = machine(|io| {
            let _ = io.output.push(&[b'y'; CONSOLE_QUEUE]);
            Next::Wait
        });
        let mut events = Vec::new();
        for _ in 0..100 {
            machine.pump(Duration::ZERO, &mut events);
        }
        let sent = console_bytes(&events);
        assert!(sent >= CONSOLE_HIGH_WATER && sent < CONSOLE_HIGH_WATER + CONSOLE_MESSAGE as u64);
        assert!(events.iter().all(|event| match event {
            Event::Console { bytes } => bytes.len() <= CONSOLE_MESSAGE,
            _ => true,
        }));

        events.clear();
        machine.command(Command::Acknowledge { bytes: sent }, Duration::ZERO, &mut events);
        assert_eq!(machine.pump(Duration::ZERO, &mut events), Due::Soon, "room again: go on");
        assert!(console_bytes(&events) > 0);
    }

    #[test]
    fn input_reaches_a_stalled_guest() {
        let mut machine = machine(|io| {
            let _ = io.output.push(&[b'y'; CONSOLE_QUEUE]);
            if io.input.pop(1) == [3] { Next::Halted(Halt::PowerOff) } else { Next::Wait }
        });
        let mut events = Vec::new();
        for _ in 0..100 {
            machine.pump(Duration::ZERO, &mut events);
        }
        machine.command(Command::Console { bytes: vec![3] }, Duration::ZERO, &mut events);
        machine.pump(Duration::ZERO, &mut events);
        assert!(events.contains(&Event::Accepted { bytes: 1 }));
        assert_eq!(machine.state(), MachineState::Halted);
    }

    #[test]
    fn running_is_told_when_the_guest_is_ready_and_not_before() {
        let mut polls = 0;
        let mut machine = machine(move |io| {
            polls += 1;
            io.progress.push(Progress { phase: Phase::Kernel, loaded: 1, total: None });
            io.ready = polls == 2;
            Next::Wait
        });
        let mut events = Vec::new();
        machine.pump(Duration::ZERO, &mut events);
        assert_eq!(machine.state(), MachineState::Booting);
        machine.pump(Duration::ZERO, &mut events);
        assert_eq!(machine.state(), MachineState::Running);
        let running = Event::State { state: MachineState::Running };
        assert_eq!(events.iter().filter(|event| **event == running).count(), 1);
    }

    #[test]
    fn the_last_words_come_before_the_fault() {
        let mut machine = machine(|io| {
            let _ = io.output.push(b"Oops");
            Next::Failed(overrun())
        });
        let mut events = Vec::new();
        assert_eq!(machine.pump(Duration::ZERO, &mut events), Due::Idle);
        let words = events.iter().position(|event| matches!(event, Event::Console { .. }));
        let fault = events.iter().position(|event| matches!(event, Event::Fault(_)));
        assert!(words < fault && words.is_some());
        assert_eq!(machine.state(), MachineState::Failed);
    }

    #[test]
    fn a_paused_machine_stands_still_and_goes_on_where_it_was() {
        let mut machine = machine(|io| {
            let _ = io.output.push(b"x");
            Next::Again
        });
        let mut events = Vec::new();
        machine.command(Command::Pause, Duration::ZERO, &mut events);
        assert_eq!(machine.pump(Duration::ZERO, &mut events), Due::Idle);
        assert_eq!(console_bytes(&events), 0);
        machine.command(Command::Resume, Duration::ZERO, &mut events);
        assert_eq!(machine.state(), MachineState::Booting);
        assert_eq!(machine.pump(Duration::ZERO, &mut events), Due::Soon);
        assert_eq!(console_bytes(&events), 1);
    }

    #[test]
    fn an_overrunning_page_is_told_instead_of_losing_input() {
        let mut machine = machine(|_| Next::Wait);
        let mut events = Vec::new();
        machine.command(
            Command::Console { bytes: vec![0; CONSOLE_QUEUE + 1] },
            Duration::ZERO,
            &mut events,
        );
        assert!(matches!(events.last(), Some(Event::Fault(_))));
    }

    #[test]
    fn speed_is_instructions_over_time() {
        let mut machine = machine(|_| Next::Wait);
        let Event::Stats(stats) = machine.report(Duration::from_millis(1500), 100) else {
            panic!("a report is stats");
        };
        assert_eq!(stats.mips, Some(2.0));
        assert_eq!(stats.uptime_ms, 1500);
        assert_eq!(stats.host_bytes, 100);
    }

    #[test]
    fn impossible_memory_is_refused_in_words() {
        let engine = Scripted(Rc::new(RefCell::new(|_: &mut GuestIo| Next::Wait)));
        let fault = check(&engine, &BootRequest { memory_mib: 4, ..request() }).unwrap_err();
        assert!(fault.advice.contains("128"));
        assert!(check(&engine, &request()).is_ok());
    }
}
