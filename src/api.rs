//! The page's programmatic face, `window.vivarium`: described in `docs/api.md`, typed in
//! `docs/vivarium.d.ts`.
//!
//! It stands before the terminal does, hears the session directly and not through signals,
//! and never asks a person: who programs a reset means it.

mod network;
mod snapshots;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use emulator_protocol::{Fault, FaultKind, Flavour, MachineState, PROTOCOL_VERSION, Start, Stats};
use js_sys::{Error, Function, Object, Promise, Reflect};
use leptos::prelude::window;
use wasm_bindgen::prelude::*;
use web_sys::{TextDecodeOptions, TextDecoder};

use crate::VERSION;
use crate::engines;
use crate::library::Library;
use crate::network::Network;
use crate::session::{Choice, Generation, Happening, Session};
use crate::settings::address::is_machine;

/// Code of an [`Error`] when another boot took a machine's place.
const SUPERSEDED: &str = "superseded";

/// Code of an [`Error`] when the guest switched itself off before its prompt.
const HALTED: &str = "halted";

/// Code of an [`Error`] when an argument makes no sense.
const INVALID: &str = "invalid";

/// Code of an [`Error`] when too much console input waits; as that of [`FaultKind::Busy`].
const BUSY: &str = "busy";

/// The word for a state in programs.
#[must_use]
pub(crate) fn state_name(state: MachineState) -> &'static str {
    match state {
        MachineState::Idle => "idle",
        MachineState::Booting => "booting",
        MachineState::Running => "running",
        MachineState::Paused => "paused",
        MachineState::Saving => "saving",
        MachineState::Halted => "halted",
        MachineState::Failed => "failed",
    }
}

/// The word for a kind of fault in programs.
#[must_use]
pub(crate) fn fault_code(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::KernelPanic => "kernel-panic",
        FaultKind::TripleFault => "triple-fault",
        FaultKind::Hang => "hang",
        FaultKind::ImageMissing => "image-missing",
        FaultKind::ImageCorrupt => "image-corrupt",
        FaultKind::Resources => "resources",
        FaultKind::Unsupported => "unsupported",
        FaultKind::EngineCrash => "engine-crash",
        FaultKind::VersionMismatch => "version-mismatch",
        FaultKind::SnapshotDamaged => "snapshot-damaged",
        FaultKind::SnapshotRefused => "snapshot-refused",
        FaultKind::StorageFull => "storage-full",
        FaultKind::StorageUnavailable => "storage-unavailable",
        FaultKind::TakenOver => "taken-over",
        FaultKind::Busy => "busy",
    }
}

/// Puts the object on the window, for the page's life.
pub(crate) fn install(session: Session, library: Library, network: Network) {
    let face = Rc::new(Face::new(session, network));
    let hearer = Rc::clone(&face);
    session.observe(move |happening| hearer.hear(happening));
    // Fails only on a window that forbids new properties; then there is no such object.
    let _ = Reflect::set(&window(), &"vivarium".into(), &object(session, library, network, &face));
}

struct Face {
    session: Session,
    network: Network,
    /// Boots that have not come to their prompt.
    waiters: RefCell<Vec<Waiter>>,
    listeners: RefCell<Vec<Listener>>,
    next: Cell<u32>,
    decoder: RefCell<TextDecoder>,
}

struct Waiter {
    resolve: Function,
    reject: Function,
}

#[derive(Clone)]
struct Listener {
    id: u32,
    topic: Topic,
    callback: Function,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Topic {
    State,
    Console,
    Fault,
    Network,
}

impl Face {
    fn new(session: Session, network: Network) -> Self {
        Self {
            session,
            network,
            waiters: RefCell::default(),
            listeners: RefCell::default(),
            next: Cell::new(0),
            decoder: RefCell::new(decoder()),
        }
    }

    fn hear(&self, happening: &Happening<'_>) {
        match happening {
            Happening::Started => {
                // What is left of a character belongs to the old machine.
                self.decoder.replace(decoder());
                self.reject(&error(SUPERSEDED, "Another boot took this machine's place."));
                self.call(Topic::Network, || network::status(self.network));
            }
            Happening::State(state) => {
                match state {
                    MachineState::Running => self.resolve(),
                    MachineState::Halted => {
                        self.reject(&error(HALTED, "The machine switched itself off."));
                    }
                    _ => {}
                }
                self.call(Topic::State, || state_name(*state).into());
                if !self.session.state().is_live() {
                    self.call(Topic::Network, || network::status(self.network));
                }
            }
            Happening::Console(bytes) => self.console(bytes),
            Happening::Held => {
                self.reject(&error(BUSY, "Another tab runs this machine."));
                self.call(Topic::Network, || network::status(self.network));
            }
            Happening::Network(_) => self.call(Topic::Network, || network::status(self.network)),
            Happening::Saved | Happening::Pcap(_) => {}
            Happening::Fault(fault) => {
                self.reject(&fault_error(fault));
                self.call(Topic::Fault, || fault_object(fault));
            }
        }
    }

    fn console(&self, bytes: &[u8]) {
        let listened =
            self.listeners.borrow().iter().any(|listener| listener.topic == Topic::Console);
        let options = TextDecodeOptions::new();
        options.set_stream(true);
        // Also without a listener: the next one must not begin in the middle of a character.
        let decoder = self.decoder.borrow().clone();
        let text = decoder.decode_with_u8_array_and_options(bytes, &options);
        if listened && let Ok(text) = text {
            self.call(Topic::Console, || JsValue::from_str(&text));
        }
    }

    /// Calls back; a callback that throws is reported to the console and harms nobody else.
    fn call(&self, topic: Topic, value: impl Fn() -> JsValue) {
        let listeners = self.listeners.borrow().clone();
        for listener in listeners.iter().filter(|listener| listener.topic == topic) {
            if let Err(error) = listener.callback.call1(&JsValue::UNDEFINED, &value()) {
                web_sys::console::error_2(&"vivarium: a callback failed:".into(), &error);
            }
        }
    }

    fn listen(self: &Rc<Self>, topic: &str, callback: Function) -> Result<JsValue, JsValue> {
        let topic = match topic {
            "state" => Topic::State,
            "console" => Topic::Console,
            "fault" => Topic::Fault,
            "network" => Topic::Network,
            _ => {
                let topics = "Topics are \"state\", \"console\", \"fault\" and \"network\".";
                return Err(error(INVALID, topics));
            }
        };
        let id = self.next.get();
        self.next.set(id.wrapping_add(1));
        self.listeners.borrow_mut().push(Listener { id, topic, callback });
        let face = Rc::clone(self);
        let unsubscribe = Closure::<dyn Fn()>::new(move || {
            face.listeners.borrow_mut().retain(|listener| listener.id != id);
        });
        Ok(unsubscribe.into_js_value())
    }

    /// A promise of the prompt of the machine that `start` starts.
    fn promise(&self, start: impl Fn() -> Generation) -> Promise {
        Promise::new(&mut |resolve, reject| {
            start();
            let state = self.session.state();
            match (state.machine, &state.fault) {
                (MachineState::Failed, Some(fault)) => refuse(&reject, &fault_error(fault)),
                _ => self.waiters.borrow_mut().push(Waiter { resolve, reject }),
            }
        })
    }

    fn resolve(&self) {
        for waiter in self.waiters.take() {
            // A promise's own functions do not throw.
            let _ = waiter.resolve.call0(&JsValue::UNDEFINED);
        }
    }

    fn reject(&self, error: &JsValue) {
        for waiter in self.waiters.take() {
            refuse(&waiter.reject, error);
        }
    }
}

fn object(session: Session, library: Library, network: Network, face: &Rc<Face>) -> Object {
    let boot = {
        let face = Rc::clone(face);
        move |options: JsValue| match choice(&options) {
            Ok(choice) => face.promise(|| session.boot(choice.clone())),
            Err(error) => Promise::reject(&error),
        }
    };
    let reset = {
        let face = Rc::clone(face);
        move || face.promise(|| session.reset())
    };
    let on = {
        let face = Rc::clone(face);
        move |topic: String, callback: Function| face.listen(&topic, callback)
    };
    let object = Object::new();
    getter(&object, "engine", move || engines::id(session.state().engine).into());
    getter(&object, "state", move || state_name(session.state().machine).into());
    put(&object, "boot", &Closure::<dyn Fn(JsValue) -> Promise>::new(boot).into_js_value());
    put(&object, "reset", &Closure::<dyn Fn() -> Promise>::new(reset).into_js_value());
    put(&object, "pause", &action(move || session.pause()));
    put(&object, "resume", &action(move || session.resume()));
    let stats = move || stats_object(&session.state().stats.unwrap_or_default());
    put(&object, "stats", &Closure::<dyn Fn() -> JsValue>::new(stats).into_js_value());
    put(&object, "console", &console_object(session));
    put(&object, "snapshots", &snapshots::object(session, library, face));
    put(&object, "network", &network::object(network));
    type On = dyn Fn(String, Function) -> Result<JsValue, JsValue>;
    put(&object, "on", &Closure::<On>::new(on).into_js_value());
    put(&object, "version", &VERSION.into());
    put(&object, "protocol", &PROTOCOL_VERSION.into());
    let debug = Object::new();
    put(&debug, "crash", &action(move || session.crash()));
    put(&object, "debug", &debug);
    object
}

fn console_object(session: Session) -> Object {
    let write = move |text: String| {
        let limit = || error(BUSY, "Too much console input waits for the machine already.");
        session.input(text.into_bytes()).map_err(|_| limit())
    };
    let text = move || JsValue::from(session.text());
    let size = move || {
        let size = session.size();
        let object = Object::new();
        put(&object, "columns", &size.columns.into());
        put(&object, "rows", &size.rows.into());
        JsValue::from(object)
    };
    let object = Object::new();
    type Write = dyn Fn(String) -> Result<(), JsValue>;
    put(&object, "write", &Closure::<Write>::new(write).into_js_value());
    put(&object, "text", &Closure::<dyn Fn() -> JsValue>::new(text).into_js_value());
    put(&object, "size", &Closure::<dyn Fn() -> JsValue>::new(size).into_js_value());
    object
}

/// Reads the argument of `boot`.
fn choice(options: &JsValue) -> Result<Choice, JsValue> {
    if options.is_undefined() || options.is_null() {
        return Ok(Choice::default());
    }
    let read = |name: &str| {
        let value = Reflect::get(options, &name.into()).unwrap_or(JsValue::UNDEFINED);
        (!value.is_undefined() && !value.is_null()).then_some(value)
    };
    let invalid = |name: &str, value: &JsValue, allowed: &str| {
        let value = value.as_string().unwrap_or_else(|| format!("{value:?}"));
        error(INVALID, &format!("boot: {name} is {value}, which is not {allowed}."))
    };
    let mut choice = Choice::default();
    if let Some(value) = read("engine") {
        let engine = value.as_string().and_then(|name| engines::named(&name));
        choice.engine = Some(engine.ok_or_else(|| invalid("engine", &value, engines::NAMES))?);
    }
    if let Some(value) = read("memory") {
        let whole = |number: &f64| number.fract() == 0.0 && (1.0..=65536.0).contains(number);
        let memory = value.as_f64().filter(whole);
        let memory = memory.ok_or_else(|| invalid("memory", &value, "a whole number of MiB"))?;
        choice.memory_mib = Some(memory as u32);
    }
    if let Some(value) = read("flavour") {
        let flavour = value.as_string().and_then(|name| Flavour::named(&name));
        choice.flavour =
            Some(flavour.ok_or_else(|| invalid("flavour", &value, "full or busybox"))?);
    }
    if let Some(value) = read("cmdline") {
        choice.cmdline =
            Some(value.as_string().ok_or_else(|| invalid("cmdline", &value, "a text"))?);
    }
    if let Some(value) = read("machine") {
        let name = value.as_string().filter(|name| is_machine(name));
        choice.machine = Some(name.ok_or_else(|| invalid("machine", &value, "a machine's name"))?);
    }
    if let Some(value) = read("start") {
        choice.start = match value.as_string().as_deref() {
            Some("head") => Some(Start::Head),
            Some("fresh") => Some(Start::Fresh),
            Some("cold") => Some(Start::Cold),
            _ => return Err(invalid("start", &value, "head, fresh or cold")),
        };
    }
    choice.take_over = read("takeOver").is_some_and(|value| value.is_truthy());
    Ok(choice)
}

fn stats_object(stats: &Stats) -> JsValue {
    let object = Object::new();
    let number = |value: Option<f64>| value.map_or(JsValue::NULL, JsValue::from_f64);
    put(&object, "mips", &number(stats.mips));
    put(&object, "instructions", &number(stats.instructions.map(|count| count as f64)));
    put(&object, "memoryMib", &number(stats.memory_mib.map(f64::from)));
    put(&object, "hostBytes", &number(Some(stats.host_bytes as f64)));
    put(&object, "fetched", &number(Some(stats.fetched as f64)));
    put(&object, "requests", &number(Some(stats.requests as f64)));
    put(&object, "console", &number(Some(stats.console as f64)));
    put(&object, "uptimeMs", &number(Some(stats.uptime_ms as f64)));
    object.into()
}

fn fault_object(fault: &Fault) -> JsValue {
    let object = Object::new();
    put(&object, "code", &fault_code(fault.kind).into());
    put(&object, "message", &JsValue::from_str(&fault.summary));
    put(&object, "advice", &JsValue::from_str(&fault.advice));
    put(&object, "detail", &JsValue::from_str(&fault.detail));
    put(&object, "retry", &fault.retry.into());
    object.into()
}

fn fault_error(fault: &Fault) -> JsValue {
    error(fault_code(fault.kind), &format!("{} {}", fault.summary, fault.advice))
}

/// A number of programs, not a `bigint`: exact up to 2⁵³.
fn number(value: u64) -> JsValue {
    JsValue::from_f64(value as f64)
}

fn error(code: &str, message: &str) -> JsValue {
    let error = Error::new(message);
    put(&error, "code", &code.into());
    error.into()
}

fn refuse(reject: &Function, error: &JsValue) {
    // A promise's own functions do not throw.
    let _ = reject.call1(&JsValue::UNDEFINED, error);
}

fn decoder() -> TextDecoder {
    TextDecoder::new().expect("UTF-8 is the label that every browser knows")
}

fn action(act: impl Fn() + 'static) -> JsValue {
    Closure::<dyn Fn()>::new(act).into_js_value()
}

fn put(object: &Object, name: &str, value: &JsValue) {
    // A plain object takes every property.
    let _ = Reflect::set(object, &name.into(), value);
}

fn getter(object: &Object, name: &str, read: impl Fn() -> JsValue + 'static) {
    let descriptor = Object::new();
    put(&descriptor, "get", &Closure::<dyn Fn() -> JsValue>::new(read).into_js_value());
    put(&descriptor, "enumerable", &JsValue::TRUE);
    Object::define_property(object, &name.into(), &descriptor);
}
