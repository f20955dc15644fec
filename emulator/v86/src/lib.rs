//! Engine `v86`: an adapter to the npm package of that name, which emulates a 32-bit PC.
//!
//! v86 runs itself in slices of about a millisecond on the worker's event loop, so
//! [`V86::poll`] executes nothing: it moves bytes, looks at signs of life and tells when
//! the machine has come to an end. A guest that floods its console is stopped at
//! [`BACKLOG_STOP`] and set going again when the queue has been drained.
//!
//! Where things come from and go to:
//! - terminal: the guest's virtio console, which knows the terminal's size;
//! - network: Ethernet frames of a virtio network card; no adapter of v86's own;
//! - kernel log: its first serial port, read by [`emulator_guest::log`];
//! - root disk: [`disk`], in chunks, behind an IDE disk;
//! - reset and processor halt: caught before v86 would start over.
#![forbid(unsafe_code)]

mod disk;
mod glue;
mod hooks;
mod image;
mod saving;

use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use emulator_disk::Manifest;
use emulator_engine::{
    Awakening, Capabilities, Engine, GuestIo, Instant, LocalFuture, Next, Shipped, Unready,
};
use emulator_fetch::{Fetched, message};
use emulator_guest::boot::{Boot, guest_fault};
use emulator_guest::files::Files;
use emulator_guest::{agent, saved};
use emulator_protocol::{
    BootRequest, Fault, FaultKind, Halt, Party, Phase, Progress, Stats, TerminalSize,
};
use emulator_snapshot::state::{Source, State};
use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};

use crate::disk::Disk;
use crate::glue::Machine;
use crate::hooks::Signals;
use crate::image::Parts;

/// Console output that may wait before the guest is stopped.
const BACKLOG_STOP: usize = 64 * 1024;

/// Console output at which a stopped guest goes on.
const BACKLOG_GO: usize = 16 * 1024;

/// How often a machine is looked at that is still booting.
const BOOT_LOOK: Duration = Duration::from_millis(200);

/// How long console input or a network frame waits for the guest to post a buffer.
const INPUT_LOOK: Duration = Duration::from_millis(4);

/// In v86's stack when it gives up because it could not deliver an exception to the guest: it
/// models no double fault, so this is what a triple fault looks like from outside.
const TRIPLE_FAULT: &str = "call_interrupt_vector";

/// Memory of the graphics adapter, which nobody sees: the least that v86 takes gladly.
const VGA_MEMORY: u32 = 1 << 20;

/// The engine.
pub struct V86 {
    files: Rc<dyn Files>,
    machine: Option<Machine>,
    disk: Option<Disk>,
    signals: Signals,
    memory_mib: u32,
    terminal: TerminalSize,
    boot: Boot,
    /// The guest is stopped until its output has been drained.
    stalled: bool,
    counter: Counter,
    /// Digest of the image, once it is known.
    image: [u8; 32],
    /// The guest went on from a saved state, and nobody was told yet.
    restored: bool,
    /// What the guest's agent is to hear, and has had no buffer for.
    news: Option<Vec<u8>>,
}

/// Widens v86's counter of 32 bits, which wraps within a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    total: u64,
    last: u32,
}

impl Counter {
    fn update(&mut self, now: u32) {
        self.total += u64::from(now.wrapping_sub(self.last));
        self.last = now;
    }
}

impl Default for V86 {
    fn default() -> Self {
        Self::new()
    }
}

impl V86 {
    /// An engine that holds nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            files: Rc::new(Fetched::new(image::ARCH)),
            machine: None,
            disk: None,
            signals: Signals::default(),
            memory_mib: 0,
            terminal: TerminalSize::default(),
            boot: Boot::default(),
            stalled: false,
            counter: Counter::default(),
            image: [0; 32],
            restored: false,
            news: None,
        }
    }

    async fn start(
        &mut self,
        request: &BootRequest,
        waker: Waker,
        report: Rc<dyn Fn(Progress)>,
    ) -> Result<(), Fault> {
        report(Progress { phase: Phase::Engine, loaded: 0, total: None });
        let code = glue::load(&request.base);
        let image = async {
            let manifest = self.files.manifest(request).await?;
            let parts = image::load(&manifest, &*self.files, &report).await?;
            Ok((manifest, parts))
        };
        let (code, image) = futures_util::join!(code, image);
        let (manifest, parts) = image?;
        let machine = self.assemble(code, request, &manifest, Some(&parts), waker).await?;
        machine.resize(request.terminal.columns, request.terminal.rows);
        machine.run();
        self.machine = Some(machine);
        Ok(())
    }

    async fn take(
        &mut self,
        request: &BootRequest,
        waker: Waker,
        report: Rc<dyn Fn(Progress)>,
        source: &dyn Source,
    ) -> Result<(), Fault> {
        report(Progress { phase: Phase::Engine, loaded: 0, total: None });
        let code = glue::load(&request.base);
        let (code, image) = futures_util::join!(code, self.files.manifest(request));
        let image = image?;
        saved::check(source.manifest(), &image, request, saving::ENGINE, saving::VERSION)?;
        let devices = saving::devices(source).await?;
        let sectors = saving::sectors(source, image.disk.as_ref()).await?;
        let machine = self.assemble(code, request, &image, None, waker).await?;
        if let Some(disk) = &self.disk {
            disk.set_written(&sectors)?;
        }
        let state = machine.restore(Uint8Array::from(&devices[..]));
        state.map_err(|error| saved::refused(message(&error)))?;
        saving::fill(&machine, source, &*report).await?;
        machine.resize(request.terminal.columns, request.terminal.rows);
        machine.run();
        self.machine = Some(machine);
        self.restored = true;
        Ok(())
    }

    /// Puts a machine together; it stands at its reset vector.
    async fn assemble(
        &mut self,
        code: Result<JsValue, JsValue>,
        request: &BootRequest,
        image: &Manifest,
        parts: Option<&Parts>,
        waker: Waker,
    ) -> Result<Machine, Fault> {
        let code = code.map_err(|error| broken(message(&error)))?;
        self.memory_mib = request.memory_mib;
        self.terminal = request.terminal;
        self.image = saved::digest(image);
        self.signals.listen(waker.clone());
        let layout = image.disk.clone();
        self.disk = layout.map(|layout| Disk::new(layout, Rc::clone(&self.files), waker));
        let options = hooks::options(request, image, parts, VGA_MEMORY);
        let hooks = self.signals.hooks(self.disk.as_ref());
        let machine = Machine::create(&code, &options, &hooks).await;
        Ok(machine.map_err(|error| broken(message(&error)))?.unchecked_into())
    }

    /// Hands the agent what waits for it.
    fn tell_agent(&mut self) {
        let Some(machine) = &self.machine else { return };
        self.news = self.news.take().filter(|news| !machine.tell(Uint8Array::from(&news[..])));
    }

    /// Tells that the boot has come to a phase.
    fn reach(&mut self, phase: Phase, io: &mut GuestIo) {
        self.boot.reach(phase, self.files.loaded(), io);
    }

    /// Looks at what the kernel said on its serial port.
    fn read_log(&mut self, now: Instant, io: &mut GuestIo) -> Option<Fault> {
        for sign in self.signals.take_signs() {
            self.boot.take(sign, now, self.files.loaded(), io);
        }
        self.boot.panic(now, || self.signals.log())
    }

    /// Moves console output into the queue, stopping a guest that is too fast for it.
    fn move_output(&mut self, io: &mut GuestIo) {
        let left = self.signals.drain_console(&mut io.output);
        let Some(machine) = &self.machine else { return };
        if !self.stalled && left >= BACKLOG_STOP {
            self.stalled = true;
            machine.stop();
        } else if self.stalled && left <= BACKLOG_GO {
            self.stalled = false;
            machine.run();
        }
    }

    /// Moves network frames, both ways.
    fn move_frames(&mut self, io: &mut GuestIo) {
        self.signals.drain_frames(&mut io.sent);
        let Some(machine) = &self.machine else { return };
        let mut delivered = false;
        while let Some(frame) = io.received.peek()
            && machine.deliver(Uint8Array::from(frame))
        {
            io.received.pop();
            delivered = true;
        }
        if delivered {
            machine.delivered();
        }
    }

    /// Hands the guest as much input as it has room for.
    fn move_input(&mut self, io: &mut GuestIo) {
        let Some(machine) = &self.machine else { return };
        if self.boot.phase() < Some(Phase::Shell) {
            // Nobody reads yet; what a person types ahead waits for the shell.
            return;
        }
        let waiting = io.input.len();
        if waiting > 0 {
            let bytes = io.input.peek(waiting);
            let sent = machine.send(Uint8Array::from(&bytes[..]));
            io.input.pop(sent as usize);
        }
    }

    /// Counts time without a sign of life while booting.
    fn watch_silence(&mut self, now: Instant, io: &mut GuestIo) -> Option<Fault> {
        if io.ready {
            return None;
        }
        let machine = self.machine.as_ref()?;
        if self.boot.phase() < Some(Phase::Kernel) && machine.paging() {
            self.reach(Phase::Kernel, io);
        }
        let fetching = self.disk.as_ref().is_some_and(Disk::is_waiting);
        let alive = self.signals.take_logged() || fetching;
        self.boot.watch(now, alive, || self.signals.log())
    }

    /// What ended the machine, if something did. A reset comes first: a kernel that asks for
    /// one goes on to worse means within the same slice.
    fn end(&mut self) -> Option<Next> {
        if self.signals.was_reset() {
            return Some(Next::Halted(Halt::Reboot));
        }
        if let Some(detail) = self.signals.crash() {
            let fault = if detail.contains(TRIPLE_FAULT) {
                let summary = "The guest's processor stopped: triple fault.";
                guest_fault(FaultKind::TripleFault, summary, self.signals.log())
            } else {
                broken(detail)
            };
            return Some(Next::Failed(fault));
        }
        if self.signals.was_halted() && !self.boot.has_panicked() {
            return Some(Next::Halted(Halt::PowerOff));
        }
        let fault = self.disk.as_ref().and_then(Disk::take_fault)?;
        Some(Next::Failed(fault))
    }
}

impl Engine for V86 {
    fn capabilities(&self) -> Capabilities {
        // v86 puts the initial RAM disk at 64 MiB, and addresses less than 2 GiB.
        Capabilities { memory_mib: Some(128..=1024), sections: Some(saving::SECTIONS), nic: true }
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

    fn drain(&mut self, io: &mut GuestIo) {
        self.signals.drain_console(&mut io.output);
    }

    fn save(&mut self) -> Result<State<'_>, Unready> {
        let machine = self.machine.as_ref().ok_or(Unready::Busy)?;
        if self.boot.phase() < Some(Phase::Shell) || self.news.is_some() {
            return Err(Unready::Busy);
        }
        saving::state(machine, self.disk.as_ref(), self.image)
    }

    fn awaken(&mut self, awakening: &Awakening) {
        self.news = Some(agent::frame(awakening));
        self.tell_agent();
    }

    fn poll(&mut self, now: Instant, io: &mut GuestIo) -> Next {
        if std::mem::take(&mut self.restored) {
            self.reach(Phase::Shell, io);
            io.ready = true;
        }
        if self.boot.phase().is_none() {
            self.reach(Phase::Firmware, io);
        }
        self.tell_agent();
        self.move_output(io);
        let panic = self.read_log(now, io);
        self.move_input(io);
        self.move_frames(io);
        if io.terminal != self.terminal {
            self.terminal = io.terminal;
            if let Some(machine) = &self.machine {
                machine.resize(io.terminal.columns, io.terminal.rows);
            }
        }
        let ended = panic.or_else(|| self.watch_silence(now, io)).map(Next::Failed);
        if let Some(next) = ended.or_else(|| self.end()) {
            self.pause();
            self.signals.drain_console(&mut io.output);
            return next;
        }
        if self.news.is_some() || !io.received.is_empty() || !io.input.is_empty() && io.ready {
            Next::Sleep(now + INPUT_LOOK)
        } else if !io.ready || self.boot.has_panicked() {
            Next::Sleep(now + BOOT_LOOK)
        } else {
            Next::Wait
        }
    }

    fn pause(&mut self) {
        if let Some(machine) = &self.machine {
            machine.stop();
        }
    }

    fn resume(&mut self) {
        self.boot.resume();
        if let Some(machine) = &self.machine
            && !self.stalled
        {
            machine.run();
        }
    }

    fn retry(&mut self) {
        if let Some(disk) = &self.disk {
            disk.retry();
        }
        self.resume();
    }

    fn stats(&mut self) -> Stats {
        if let Some(machine) = &self.machine {
            self.counter.update(machine.instructions());
        }
        Stats {
            host_bytes: self.machine.as_ref().map_or(0, |machine| u64::from(machine.host_bytes())),
            instructions: Some(self.counter.total),
            memory_mib: Some(self.memory_mib),
            fetched: self.files.fetched(),
            requests: self.files.requests(),
            ..Stats::default()
        }
    }
}

fn broken(detail: String) -> Fault {
    Fault {
        kind: FaultKind::EngineCrash,
        party: Party::Host,
        summary: "The engine v86 broke down.".into(),
        advice: "Restart the machine; a browser with WebAssembly SIMD and 1 GiB of free memory is needed."
            .into(),
        retry: false,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_survives_its_wrap() {
        let mut counter = Counter::default();
        for now in [10, u32::MAX, 4] {
            counter.update(now);
        }
        assert_eq!(counter.total, u64::from(u32::MAX) + 5);
    }
}
