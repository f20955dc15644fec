//! The worker: one link is one worker is one machine's life.
//!
//! Commands are held until the worker says [`Event::Ready`] in our version; console input
//! keeps to its window; silence is noticed. Whatever goes wrong with the worker itself
//! comes out as an [`Event::Fault`] like any other. Dropping a link ends its worker and
//! takes its listeners and timers with it.

mod window;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use emulator_protocol::{
    Command, EngineKind, Event, Fault, FaultKind, MachineState, PROTOCOL_VERSION, Party,
    STATS_INTERVAL_MS,
};
use gloo::timers::callback::{Interval, Timeout};
use wasm_bindgen::prelude::*;
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions, WorkerType};

use crate::BUILD_ID;
pub(crate) use window::{INPUT_LIMIT, Paste, Refused};

/// How long a worker may take from its start to [`Event::Ready`]. Its code is a few
/// megabytes: a minute is a slow telephone's time to fetch it.
const HANDSHAKE_TIMEOUT_MS: u32 = 60_000;

/// Reports in a row that a visible page misses before it says that the engine does not
/// answer: 10 seconds, since a busy machine may be late but not that late.
const SILENT_REPORTS: u32 = 10;

/// What a link has to tell.
pub(crate) enum Report {
    /// The worker said something, or something happened to the worker.
    Event(Event),
    /// The worker stopped (true) or began again (false) to give signs of life.
    Stalled(bool),
    /// A large paste has come further, or is done.
    Paste(Option<Paste>),
}

/// A running worker.
pub(crate) struct Link {
    inner: Rc<Inner>,
    /// Kept for as long as the worker may call them.
    _message: Closure<dyn Fn(MessageEvent)>,
    _error: Closure<dyn Fn(web_sys::Event)>,
    _garbled: Closure<dyn Fn(MessageEvent)>,
    _handshake: Timeout,
    _watch: Interval,
}

struct Inner {
    worker: Worker,
    gate: RefCell<Gate>,
    input: RefCell<window::Window>,
    report: Box<dyn Fn(Report)>,
    silent: Cell<u32>,
}

/// Whether the worker listens.
enum Gate {
    /// Not yet: what is to be said to it waits. Bounded by what a page says in a minute.
    Held(Vec<Command>),
    Open,
    /// No more: it broke down.
    Shut,
}

impl Link {
    /// Starts the worker of an engine.
    ///
    /// # Errors
    /// If the browser refuses to start one.
    pub(crate) fn spawn(
        engine: EngineKind,
        base: &str,
        report: impl Fn(Report) + 'static,
    ) -> Result<Self, Fault> {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        // v86 looks for the last word to learn that it may pace itself by the browser's
        // scheduler.
        let url = format!("{base}{}?v={BUILD_ID}&use-scheduling-api", script(engine));
        let worker = Worker::new_with_options(&url, &options).map_err(|error| {
            crash("The browser did not start the engine's worker.", words(&error))
        })?;
        let inner = Rc::new(Inner {
            worker,
            gate: RefCell::new(Gate::Held(Vec::new())),
            input: RefCell::default(),
            report: Box::new(report),
            silent: Cell::new(0),
        });
        Ok(Self::listen(inner))
    }

    fn listen(inner: Rc<Inner>) -> Self {
        let message = closure(&inner, |inner, message: MessageEvent| inner.hear(&message));
        let error = closure(&inner, |inner, event: web_sys::Event| inner.broken(&event));
        let garbled = closure(&inner, |inner, _: MessageEvent| {
            inner.fail(crash("A message of the engine arrived damaged.", String::new()));
        });
        inner.worker.set_onmessage(Some(message.as_ref().unchecked_ref()));
        inner.worker.set_onerror(Some(error.as_ref().unchecked_ref()));
        inner.worker.set_onmessageerror(Some(garbled.as_ref().unchecked_ref()));
        let weak = Rc::downgrade(&inner);
        let handshake = Timeout::new(HANDSHAKE_TIMEOUT_MS, move || {
            with(&weak, Inner::check_handshake);
        });
        let weak = Rc::downgrade(&inner);
        let watch = Interval::new(STATS_INTERVAL_MS, move || with(&weak, Inner::listen_for_life));
        Self {
            inner,
            _message: message,
            _error: error,
            _garbled: garbled,
            _handshake: handshake,
            _watch: watch,
        }
    }

    /// Says something to the worker, now or as soon as it listens.
    pub(crate) fn send(&self, command: Command) {
        self.inner.send(command);
    }

    /// Types something on the guest's console.
    ///
    /// # Errors
    /// If too much waits already.
    pub(crate) fn input(&self, bytes: Vec<u8>) -> Result<(), Refused> {
        let pushed = self.inner.input.borrow_mut().push(bytes);
        self.inner.move_input();
        pushed
    }

    /// Drops the input that waits in the page; true if there was any.
    pub(crate) fn cancel_paste(&self) -> bool {
        let waited = self.inner.input.borrow().is_waiting();
        if waited {
            self.inner.input.borrow_mut().cancel();
            self.inner.move_input();
        }
        waited
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.inner.end();
    }
}

impl Inner {
    fn send(&self, command: Command) {
        let mut gate = self.gate.borrow_mut();
        match &mut *gate {
            Gate::Held(commands) => commands.push(command),
            Gate::Open => {
                drop(gate);
                self.post(&command);
            }
            Gate::Shut => {}
        }
    }

    fn post(&self, command: &Command) {
        let posted = emulator_wire::encode(command).and_then(|(message, transfer)| {
            let sent = self.worker.post_message_with_transfer(&message, &transfer);
            sent.map_err(|error| words(&error))
        });
        if let Err(detail) = posted {
            self.fail(crash("The page could not speak to the engine.", detail));
        }
    }

    fn hear(&self, message: &MessageEvent) {
        if self.silent.replace(0) >= SILENT_REPORTS {
            (self.report)(Report::Stalled(false));
        }
        match emulator_wire::decode::<Event>(message.data()) {
            Ok(Event::Ready { protocol }) if protocol == PROTOCOL_VERSION => self.open(),
            Ok(Event::Ready { protocol }) => self.fail(mismatch(protocol)),
            Ok(Event::Accepted { bytes }) => {
                self.input.borrow_mut().accepted(bytes);
                self.move_input();
            }
            Ok(event) => (self.report)(Report::Event(event)),
            Err(detail) => {
                self.fail(crash("The page did not understand the engine.", detail));
            }
        }
    }

    fn open(&self) {
        let held = match self.gate.replace(Gate::Open) {
            Gate::Held(commands) => commands,
            Gate::Open | Gate::Shut => Vec::new(),
        };
        for command in held {
            self.post(&command);
        }
        self.move_input();
    }

    /// Posts as much input as the window allows.
    fn move_input(&self) {
        if matches!(*self.gate.borrow(), Gate::Open) {
            loop {
                let next = self.input.borrow_mut().next();
                let Some(bytes) = next else { break };
                self.post(&Command::Console { bytes });
            }
        }
        let paste = self.input.borrow().paste();
        (self.report)(Report::Paste(paste));
    }

    fn broken(&self, event: &web_sys::Event) {
        event.prevent_default();
        let loaded = !matches!(*self.gate.borrow(), Gate::Held(_));
        let detail = event.dyn_ref::<ErrorEvent>().map(ErrorEvent::message).unwrap_or_default();
        self.fail(if loaded {
            crash("The engine broke down.", detail)
        } else {
            Fault {
                advice: "Check the connection and restart the machine; if it stays, the app's \
                         files are not complete on the server."
                    .into(),
                ..crash("The engine's code could not be loaded.", detail)
            }
        });
    }

    fn check_handshake(&self) {
        if matches!(*self.gate.borrow(), Gate::Held(_)) {
            let seconds = HANDSHAKE_TIMEOUT_MS / 1000;
            self.fail(crash(
                &format!("The engine did not start within {seconds} seconds."),
                String::new(),
            ));
        }
    }

    /// Counts missed reports. A page that is hidden or asleep does not count: its timers
    /// are late, not the engine.
    fn listen_for_life(&self) {
        if !matches!(*self.gate.borrow(), Gate::Open) || leptos::prelude::document().hidden() {
            self.silent.set(self.silent.get().min(SILENT_REPORTS));
            return;
        }
        let silent = self.silent.get().saturating_add(1);
        self.silent.set(silent);
        if silent == SILENT_REPORTS {
            (self.report)(Report::Stalled(true));
        }
    }

    /// Ends the worker because of a fault that is not the guest's.
    fn fail(&self, fault: Fault) {
        self.end();
        (self.report)(Report::Event(Event::State { state: MachineState::Failed }));
        (self.report)(Report::Event(Event::Fault(fault)));
    }

    fn end(&self) {
        self.gate.replace(Gate::Shut);
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.set_onmessageerror(None);
        self.worker.terminate();
    }
}

/// The script of the worker that carries an engine.
fn script(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Sim => "worker-sim.js",
        EngineKind::V86 | EngineKind::X86_64 => "worker-kernel.js",
    }
}

fn closure<T: wasm_bindgen::convert::FromWasmAbi + 'static>(
    inner: &Rc<Inner>,
    act: impl Fn(&Inner, T) + 'static,
) -> Closure<dyn Fn(T)> {
    let weak = Rc::downgrade(inner);
    Closure::new(move |value| with(&weak, |inner| act(inner, value)))
}

fn with(weak: &Weak<Inner>, act: impl FnOnce(&Inner)) {
    if let Some(inner) = weak.upgrade() {
        act(&inner);
    }
}

fn crash(summary: &str, detail: String) -> Fault {
    Fault::new(
        FaultKind::EngineCrash,
        Party::Host,
        summary,
        "Restart the machine. Please report this, with the details.",
    )
    .with_detail(detail)
}

fn mismatch(theirs: u32) -> Fault {
    Fault::new(
        FaultKind::VersionMismatch,
        Party::Host,
        "This page and its engine come from different versions of the app.",
        "Reload the page to get matching versions of both.",
    )
    .with_detail(format!("The page speaks version {PROTOCOL_VERSION}, the engine {theirs}."))
}

fn words(error: &JsValue) -> String {
    let text = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    text.unwrap_or_else(|| format!("{error:?}"))
}
