//! The handle that components use to drive the machine and to read about it.
//!
//! ```text
//!  views ── boot, input, pause ──▶ Session ── Command ──▶ Link ──▶ worker
//!    ▲                               │ ▲                    │
//!    └── signals ◀── Store ◀─────────┘ └────── Report ◀─────┘
//!  terminal ◀── console bytes ───────┘   (never through a signal)
//! ```

mod autosave;
pub(crate) mod saving;
pub(crate) mod state;
pub(crate) mod store;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use emulator_protocol::{
    BootRequest, Command, Event, Fault, FaultKind, Flavour, Halt, MachineState, NetworkReport,
    NetworkSettings, Start, TerminalSize,
};
use js_sys::JsString;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use crate::engines;
use crate::link::{INPUT_LIMIT, Link, Refused, Report};
use crate::network::intent::Intent;
use crate::settings::{self, Settings};
use crate::ui::notice::Notice;
use saving::Saves;
use state::State;
use store::Store;

/// Counts the machines of this page; tells a late word of an old one from the present's.
pub(crate) type Generation = u32;

/// Where console bytes go.
pub(crate) trait Screen {
    /// Shows bytes of a machine; the screen answers with [`Session::parsed`].
    fn write(&self, bytes: &[u8], generation: Generation);
    /// Forgets everything before a new machine.
    fn clear(&self);
    /// Screen and scrollback as text.
    fn text(&self) -> JsString;
    /// Shows text that no machine has printed; nobody is told when it is parsed.
    fn paint(&self, text: &str);
    /// Calls back when all that was written before is parsed: with a text that paints the
    /// screen again, and with its rows as plain text.
    fn capture(&self, done: Box<dyn FnOnce(String, String)>);
}

/// What others than views may want to hear at once, signals being slow on purpose.
pub(crate) enum Happening<'a> {
    /// A new machine was asked for; the old one is gone.
    Started,
    /// The machine's state has changed.
    State(MachineState),
    /// The guest wrote to its console.
    Console(&'a [u8]),
    /// The machine has failed.
    Fault(&'a Fault),
    /// The machine was saved.
    Saved,
    /// The machine was not started, because another tab runs it.
    Held,
    /// The guest's network has changed.
    Network(&'a NetworkReport),
    /// The recorded frames of the guest, as a file.
    Pcap(&'a [u8]),
}

/// What a boot may choose; the rest comes from the address and the settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// The engine.
    pub(crate) engine: Option<emulator_protocol::EngineKind>,
    /// Guest memory in MiB.
    pub(crate) memory_mib: Option<u32>,
    /// The guest image.
    pub(crate) flavour: Option<Flavour>,
    /// Words for the kernel's command line.
    pub(crate) cmdline: Option<String>,
    /// The name under which it is saved.
    pub(crate) machine: Option<String>,
    /// Where it begins.
    pub(crate) start: Option<Start>,
    /// Whether another tab that runs it is to give it up.
    pub(crate) take_over: bool,
}

/// The machine of this page. Copy: components take it by value.
#[derive(Clone, Copy)]
pub(crate) struct Session {
    store: Store,
    settings: Settings,
    intent: Intent,
    core: StoredValue<Rc<Core>, LocalStorage>,
}

/// Hears what happens.
type Observer = dyn Fn(&Happening<'_>);

struct Core {
    link: RefCell<Option<Rc<Link>>>,
    request: RefCell<Option<BootRequest>>,
    generation: Cell<Generation>,
    size: Cell<TerminalSize>,
    screen: RefCell<Option<Rc<dyn Screen>>>,
    /// Console output from before the terminal was there. Nobody acknowledges it, so the
    /// worker's high water mark bounds it.
    early: RefCell<Vec<Vec<u8>>>,
    observers: RefCell<Vec<Rc<Observer>>>,
    ready_marked: Cell<Generation>,
    /// What was on the screen of the machine that is about to go on, from before the terminal
    /// was there.
    early_paint: RefCell<Option<String>>,
    saves: RefCell<Saves>,
}

impl Core {
    fn new() -> Self {
        Self {
            link: RefCell::default(),
            request: RefCell::default(),
            generation: Cell::default(),
            size: Cell::default(),
            screen: RefCell::default(),
            early: RefCell::default(),
            observers: RefCell::default(),
            ready_marked: Cell::default(),
            early_paint: RefCell::default(),
            saves: RefCell::new(Saves::new()),
        }
    }

    /// The link, out of its cell: what it reports may replace it.
    fn link(&self) -> Option<Rc<Link>> {
        self.link.borrow().clone()
    }
}

impl Session {
    /// A session without a machine.
    #[must_use]
    pub(crate) fn new(settings: Settings, intent: Intent) -> Self {
        let plan = settings.plan();
        Self {
            store: Store::new(State::idle(plan.engine, plan.memory_mib)),
            settings,
            intent,
            core: StoredValue::new_local(Rc::new(Core::new())),
        }
    }

    /// What views read.
    #[must_use]
    pub(crate) fn store(self) -> Store {
        self.store
    }

    /// What runs now, for callers that cannot wait for a signal.
    #[must_use]
    pub(crate) fn state(self) -> State {
        self.store.latest()
    }

    /// Hears everything from now on, for the page's life.
    pub(crate) fn observe(self, observer: impl Fn(&Happening<'_>) + 'static) {
        self.core().observers.borrow_mut().push(Rc::new(observer));
    }

    /// Starts a machine where it was saved last, unless the choice or the address says
    /// otherwise. An old one is gone with what of its memory is not saved.
    pub(crate) fn boot(self, choice: Choice) -> Generation {
        let plan = self.settings.plan();
        let address = self.settings.address();
        let engine = choice.engine.unwrap_or(plan.engine);
        let memory_mib = choice.memory_mib.unwrap_or(plan.memory_mib);
        let flavour = choice.flavour.unwrap_or(plan.flavour);
        let cmdline = choice.cmdline.unwrap_or(plan.cmdline);
        let name = choice.machine.or(address.machine).unwrap_or_else(|| {
            saving::machine_name(engine, settings::flavour_name(flavour), memory_mib, &cmdline)
        });
        let usual = if address.cold { Start::Cold } else { Start::Head };
        self.start(BootRequest {
            engine,
            memory_mib,
            flavour,
            cmdline,
            terminal: self.core().size.get(),
            base: base(),
            machine: engines::is_real(engine).then_some(name),
            start: choice.start.unwrap_or(usual),
            take_over: choice.take_over,
            network: NetworkSettings::default(),
        })
    }

    /// Starts the last machine anew, or a first one.
    pub(crate) fn reset(self) -> Generation {
        self.again(|start| match start {
            Start::Cold => Start::Cold,
            _ => Start::Fresh,
        })
    }

    /// Starts the last machine where it was saved last.
    pub(crate) fn go_back(self) -> Generation {
        self.again(|_| Start::Head)
    }

    /// Takes the last machine away from the tab that runs it.
    pub(crate) fn take_over(self) -> Generation {
        if let Some(request) = &mut *self.core().request.borrow_mut() {
            request.take_over = true;
        }
        self.again(|start| start)
    }

    /// Starts the last machine under another name, where this snapshot was saved.
    pub(crate) fn branch(self, machine: String) -> Generation {
        if let Some(request) = &mut *self.core().request.borrow_mut() {
            request.machine = Some(machine);
        }
        self.again(|_| Start::Head)
    }

    /// Name of the machine that was asked for last.
    #[must_use]
    pub(crate) fn machine(self) -> Option<String> {
        self.core().request.borrow().as_ref().and_then(|request| request.machine.clone())
    }

    fn again(self, start: impl FnOnce(Start) -> Start) -> Generation {
        let request = self.core().request.borrow().clone();
        match request {
            Some(request) => self.start(BootRequest {
                terminal: self.core().size.get(),
                start: start(request.start.clone()),
                ..request
            }),
            None => self.boot(Choice::default()),
        }
    }

    /// Stops the guest's clock.
    pub(crate) fn pause(self) {
        self.send(Command::Pause);
    }

    /// Lets a paused guest go on.
    pub(crate) fn resume(self) {
        self.send(Command::Resume);
    }

    /// Tries again what failed. A fault from before the guest's first instruction leaves
    /// nothing to go on with, and means a new start.
    pub(crate) fn retry(self) {
        if self.state().guest_has_run() {
            self.send(Command::Retry);
        } else {
            self.reset();
        }
    }

    /// Tells the machine what is decided about its network now. One that waits for its relay,
    /// or was refused, tries again at once.
    pub(crate) fn decide_network(self) {
        self.send(Command::Network(self.intent.settings()));
    }

    /// Records the guest's frames, or ends that; then they come as [`Happening::Pcap`].
    pub(crate) fn capture(self, on: bool) {
        self.send(Command::Capture { on });
    }

    /// Makes the worker panic.
    pub(crate) fn crash(self) {
        self.send(Command::Crash);
    }

    /// Types something on the guest's console. Without a machine it goes nowhere.
    ///
    /// # Errors
    /// If too much waits already; a notice tells it, too.
    pub(crate) fn input(self, bytes: Vec<u8>) -> Result<(), Refused> {
        let core = self.core();
        let link = core.link();
        let result = link.map_or(Ok(()), |link| link.input(bytes));
        if result.is_err() {
            let limit = INPUT_LIMIT / (1024 * 1024);
            self.store.notify(Notice::new(format!(
                "Not pasted: more than {limit} MiB would be waiting for the machine. \
                 Paste a smaller piece, or wait until it has read the rest."
            )));
        }
        result
    }

    /// Drops the rest of a large paste; true if there was any.
    pub(crate) fn cancel_paste(self) -> bool {
        let core = self.core();
        let cancelled = core.link().is_some_and(|link| link.cancel_paste());
        if cancelled {
            self.store.announce("The rest of the paste was dropped.");
        }
        cancelled
    }

    /// The terminal has parsed bytes of a machine.
    pub(crate) fn parsed(self, bytes: u64, generation: Generation) {
        if generation == self.core().generation.get() {
            self.send(Command::Acknowledge { bytes });
        }
    }

    /// The terminal has a new size.
    pub(crate) fn resize(self, size: TerminalSize) {
        if self.core().size.replace(size) != size {
            self.send(Command::Resize(size));
        }
    }

    /// Size of the terminal.
    #[must_use]
    pub(crate) fn size(self) -> TerminalSize {
        self.core().size.get()
    }

    /// Screen and scrollback as text; empty while the terminal is loading.
    #[must_use]
    pub(crate) fn text(self) -> JsString {
        let screen = self.core().screen.borrow().clone();
        screen.map_or_else(|| JsString::from(""), |screen| screen.text())
    }

    /// The terminal is there; what came before it is shown now.
    pub(crate) fn attach(self, screen: Rc<dyn Screen>) {
        let core = self.core();
        if let Some(text) = core.early_paint.take() {
            screen.paint(&text);
        }
        for bytes in core.early.take() {
            screen.write(&bytes, core.generation.get());
        }
        core.screen.replace(Some(screen));
    }

    fn settings(self) -> Settings {
        self.settings
    }

    fn core(self) -> Rc<Core> {
        self.core.get_value()
    }

    fn send(self, command: Command) {
        if let Some(link) = self.core().link() {
            link.send(command);
        }
    }

    fn tell(self, happening: &Happening<'_>) {
        let observers = self.core().observers.borrow().clone();
        for observer in observers {
            observer(happening);
        }
    }

    fn start(self, request: BootRequest) -> Generation {
        let core = self.core();
        // What is decided now, also for a machine that was asked for long ago.
        let request = BootRequest { network: self.intent.settings(), ..request };
        self.release();
        let generation = core.generation.get().wrapping_add(1);
        core.generation.set(generation);
        core.early.take();
        if let Some(screen) = &*core.screen.borrow() {
            screen.clear();
        }
        core.early_paint.take();
        self.store.set_paste(None);
        self.store.set_held(false);
        self.store.update(|state| *state = State::booting(&request));
        self.begin_saves(request.machine.is_some());
        // Taking a machine over is for once.
        core.request.replace(Some(BootRequest { take_over: false, ..request.clone() }));
        self.tell(&Happening::Started);
        self.tell(&Happening::State(MachineState::Booting));
        let report = move |report| self.hear(report, generation);
        match Link::spawn(request.engine, &request.base, report) {
            Ok(link) => {
                link.send(Command::Boot(request));
                core.link.replace(Some(Rc::new(link)));
            }
            Err(fault) => self.take(&Event::Fault(fault)),
        }
        generation
    }

    /// Ends the worker. It may be the one that is speaking, so it is dropped afterwards.
    fn release(self) {
        if let Some(link) = self.core().link.take() {
            spawn_local(async move { drop(link) });
        }
    }

    fn hear(self, report: Report, generation: Generation) {
        let core = self.core();
        if generation != core.generation.get() {
            return;
        }
        match report {
            Report::Event(Event::Console { bytes }) => self.show(bytes, generation),
            Report::Event(event) => {
                self.hear_of_saving(&event, generation);
                self.take(&event);
            }
            Report::Stalled(stalled) => self.store.update(|state| state.stalled = stalled),
            Report::Paste(paste) => self.store.set_paste(paste),
        }
    }

    fn show(self, bytes: Vec<u8>, generation: Generation) {
        let core = self.core();
        let screen = core.screen.borrow().clone();
        match screen {
            Some(screen) => screen.write(&bytes, generation),
            None => core.early.borrow_mut().push(bytes.clone()),
        }
        self.tell(&Happening::Console(&bytes));
    }

    fn take(self, event: &Event) {
        let before = self.state();
        self.store.update(|state| state.apply(event));
        let after = self.state();
        if after.machine != before.machine {
            self.mark_ready(after.machine);
            self.tell(&Happening::State(after.machine));
        }
        match event {
            // A person who types `reboot` wants to see one.
            Event::Halted { reason: Halt::Reboot } => {
                self.again(|_| Start::Cold);
            }
            Event::Halted { reason: Halt::PowerOff } => self.release(),
            Event::Held => {
                self.release();
                self.store.set_held(true);
                self.tell(&Happening::Held);
            }
            Event::Network(report) => self.tell(&Happening::Network(report)),
            Event::Pcap { bytes } => self.tell(&Happening::Pcap(bytes)),
            Event::Fault(fault) if before.fault.is_none() => {
                // Memory of a machine that cannot go on is given back at once.
                if !fault.retry || fault.kind == FaultKind::EngineCrash {
                    self.release();
                }
                self.tell(&Happening::Fault(fault));
            }
            _ => {}
        }
    }

    /// Marks each machine's first prompt for measurements.
    fn mark_ready(self, machine: MachineState) {
        let core = self.core();
        let generation = core.generation.get();
        if machine == MachineState::Running && core.ready_marked.replace(generation) != generation {
            crate::mark("vivarium:ready");
        }
    }
}

/// Absolute URL of the app's directory, with a final slash.
#[must_use]
pub(crate) fn base() -> String {
    let uri = document().base_uri().ok().flatten().unwrap_or_default();
    let url = web_sys::Url::new_with_base(".", &uri);
    url.map_or_else(|_| String::from("./"), |url| url.href())
}

/// The session of the page.
#[must_use]
pub(crate) fn use_session() -> Session {
    expect_context()
}

/// The engine that is not this one: what a person may switch to.
#[must_use]
pub(crate) fn other(engine: emulator_protocol::EngineKind) -> emulator_protocol::EngineKind {
    if engines::is_real(engine) { engines::DEFAULT_ENGINE } else { engines::BEST_KERNEL }
}
