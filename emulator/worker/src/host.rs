//! The edge: messages, timers and wakers of a dedicated worker.
//!
//! A worker has one thread and one machine, so the state lives in a thread-local, and a
//! waker needs to carry nothing. A pump that wants to go on at once is posted through a
//! message channel and not run in a loop, so that commands of the page are handled between
//! two slices.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use emulator_engine::{Engine, Instant};
use emulator_protocol::{
    BootRequest, Command, EngineKind, Event, Fault, FaultKind, LibraryAnswer, MachineState,
    PROTOCOL_VERSION, Party, Phase, Progress, STATS_INTERVAL_MS, Start,
};
use emulator_snapshot::state::Source;
use emulator_snapshot::{Id, Manifest};
use emulator_store::StoreError;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{DedicatedWorkerGlobalScope, MessageChannel, MessageEvent};

use crate::keeper::Carried;
use crate::library::{self, Reply};
use crate::machine::{self, Due, Machine};
use crate::network::Network;
use crate::saver::{self, Claim};
use crate::socket;
use crate::source::Kept;
use crate::unclaimed::{self, Unclaimed};

/// Wakes of the machine within this time of a pump wait for its end. A guest that prints
/// letter by letter would else cost a message for each, and a message costs more than the
/// guest's work; a person does not notice 4 ms.
const BATCH: Duration = Duration::from_millis(4);

/// That time doubles with each pump that had something to show, up to this: what floods is
/// drawn 30 times a second, because a screen that is drawn more often takes the processor
/// from the guest, and nobody can read it. After a pump without output it is short again.
const LONG_BATCH: Duration = Duration::from_millis(32);

/// How soon a socket is looked at again that has bytes to get rid of: it does not tell.
const SOCKET_LOOK: Duration = Duration::from_millis(5);

/// Makes the engine of a kind, if this worker carries it.
pub type Factory = fn(EngineKind) -> Option<Box<dyn Engine>>;

/// The machine of this worker, through its stages.
enum Slot {
    Empty,
    /// Commands that came while the engine was loading; the page's window bounds them.
    Booting(Vec<Command>),
    Live(Box<Machine>, Rc<BootRequest>),
}

/// Why a machine was not booted.
enum Stop {
    /// Another tab runs it.
    Held,
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// An engine that is ready to be driven.
struct Loaded {
    engine: Box<dyn Engine>,
    claim: Option<Claim>,
    /// What it was restored from, and what was around it then.
    restored: Option<(Option<Id>, Carried)>,
    /// What it is made of.
    request: BootRequest,
}

struct Host {
    scope: DedicatedWorkerGlobalScope,
    channel: MessageChannel,
    factory: Factory,
    slot: RefCell<Slot>,
    /// A pump is on its way through the channel.
    posted: Cell<bool>,
    /// The timer of the next pump.
    timer: Cell<Option<i32>>,
    /// That timer ends a batch.
    batching: Cell<bool>,
    /// How long a batch is at present.
    batch: Cell<Duration>,
    pumped: Cell<Instant>,
    pump: Closure<dyn FnMut()>,
}

thread_local! {
    static HOST: RefCell<Option<&'static Host>> = const { RefCell::new(None) };
}

/// Listens for commands for the rest of the worker's life.
///
/// # Panics
/// Outside of a dedicated worker.
pub fn serve(factory: Factory) {
    std::panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        // The instance is poisoned after a panic: tell the page before it traps.
        if let Some(scope) = scope() {
            post(&scope, &Event::Fault(crashed(info.to_string())));
        }
    }));
    let scope = scope().expect("the worker runs in a dedicated worker");
    let host: &'static Host = Box::leak(Box::new(Host {
        channel: MessageChannel::new().expect("message channels exist"),
        scope: scope.clone(),
        factory,
        slot: RefCell::new(Slot::Empty),
        posted: Cell::new(false),
        timer: Cell::new(None),
        batching: Cell::new(false),
        batch: Cell::new(BATCH),
        pumped: Cell::new(Duration::ZERO),
        pump: Closure::new(pump),
    }));
    HOST.set(Some(host));
    host.channel.port1().set_onmessage(Some(host.pump.as_ref().unchecked_ref()));
    listen(&scope);
    beat(&scope);
    post(&scope, &Event::Ready { protocol: PROTOCOL_VERSION });
}

/// Wakes the machine of this worker.
struct Nudge;

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        nudge();
    }
}

pub(crate) fn scope() -> Option<DedicatedWorkerGlobalScope> {
    js_sys::global().dyn_into().ok()
}

fn host() -> &'static Host {
    HOST.with_borrow(|host| host.expect("serve() was called"))
}

fn listen(scope: &DedicatedWorkerGlobalScope) {
    let handler =
        Closure::<dyn FnMut(MessageEvent)>::new(
            |message: MessageEvent| match emulator_wire::decode::<Command>(message.data()) {
                Ok(command) => obey(command),
                Err(error) => tell(&[Event::Fault(Fault {
                    kind: FaultKind::VersionMismatch,
                    party: Party::Host,
                    summary: "The worker did not understand the page.".into(),
                    advice: "Reload the page to get matching versions of both.".into(),
                    retry: false,
                    detail: error,
                })]),
            },
        );
    scope.set_onmessage(Some(handler.as_ref().unchecked_ref()));
    handler.forget();
}

/// Reports once in a while: figures, and a sign of life.
fn beat(scope: &DedicatedWorkerGlobalScope) {
    let handler = Closure::<dyn FnMut()>::new(|| {
        let reports = match &mut *host().slot.borrow_mut() {
            Slot::Live(machine, _) => {
                let network = machine.network().and_then(|network| network.report(now()));
                let stats = machine.report(now(), own_bytes());
                [Some(stats), network.map(Event::Network)]
            }
            _ => [Some(Event::Stats(emulator_protocol::Stats::default())), None],
        };
        tell(&reports.into_iter().flatten().collect::<Vec<_>>());
    });
    let interval = i32::try_from(STATS_INTERVAL_MS).unwrap_or(i32::MAX);
    let timer = handler.as_ref().unchecked_ref();
    let set = scope.set_interval_with_callback_and_timeout_and_arguments_0(timer, interval);
    set.expect("timers exist");
    handler.forget();
}

/// Bytes of this program's linear memory, which never shrinks.
fn own_bytes() -> u64 {
    const WASM_PAGE: u64 = 64 << 10;
    core::arch::wasm32::memory_size(0) as u64 * WASM_PAGE
}

fn obey(command: Command) {
    match command {
        Command::Library { ticket, request } => spawn_local(async move {
            let reply = match saver::store().await {
                Ok(store) => library::answer(&*store, request.clone()).await,
                Err(error) => Reply::Answer(LibraryAnswer::Failed { fault: library::told(error) }),
            };
            let reply = match saver::reopened_after(&reply).await {
                Some(store) => library::answer(&*store, request).await,
                None => reply,
            };
            tell(&[match reply {
                Reply::Answer(answer) => Event::Library { ticket, answer },
                Reply::File(bytes) => Event::Exported { ticket, bytes },
            }]);
        }),
        Command::Import { ticket, bytes } => spawn_local(async move {
            let answer = match saver::store().await {
                Ok(store) => library::import(&*store, &bytes).await,
                Err(error) => LibraryAnswer::Failed { fault: library::told(error) },
            };
            tell(&[Event::Library { ticket, answer }]);
        }),
        Command::Screen { screen, text } => saver::screen_came(screen, text),
        Command::Release => spawn_local(saver::release()),
        Command::Crash => panic!("the page asked for a crash"),
        command => instruct(command),
    }
}

/// Obeys a command about this worker's machine.
fn instruct(command: Command) {
    let mut slot = host().slot.borrow_mut();
    match (&mut *slot, command) {
        (Slot::Empty, Command::Boot(request)) => {
            *slot = Slot::Booting(Vec::new());
            drop(slot);
            spawn_local(boot(request));
        }
        (Slot::Live(_, request), Command::Save { name }) => {
            let request = Rc::clone(request);
            drop(slot);
            spawn_local(async move { saver::save(&request, name).await });
        }
        (_, Command::Save { .. }) => {
            drop(slot);
            tell(&[Event::SaveFailed(saver::busy())]);
        }
        (Slot::Empty, _) => {}
        (Slot::Booting(waiting), command) => waiting.push(command),
        (Slot::Live(machine, _), command) => {
            let mut events = Vec::new();
            machine.command(command, now(), &mut events);
            drop(slot);
            tell(&events);
            soon();
        }
    }
}

/// Does something with the machine, if there is one.
pub(crate) fn with_machine<T>(act: impl FnOnce(&mut Machine) -> T) -> Option<T> {
    match &mut *host().slot.borrow_mut() {
        Slot::Live(machine, _) => Some(act(machine)),
        _ => None,
    }
}

/// Forgets the machine and all its memory.
pub(crate) fn drop_machine() {
    host().slot.replace(Slot::Empty);
    socket::hang_up();
}

async fn boot(request: BootRequest) {
    tell(&[Event::State { state: MachineState::Booting }]);
    let started = now();
    let waker = Waker::from(Arc::new(Nudge));
    match load(&request, &waker).await {
        Ok(loaded) => {
            let request = loaded.request;
            let nic = loaded.engine.capabilities().nic;
            let network = nic.then(|| Network::new(request.network.clone(), saver::random()));
            let mut machine = Machine::new(loaded.engine, &request, network, waker, started);
            let parent = loaded.restored.as_ref().and_then(|(parent, _)| *parent);
            if let Some((_, carried)) = loaded.restored {
                machine.awaken(&saver::awakening(), &carried, now());
            }
            let mut events = Vec::new();
            let waiting = host().slot.replace(Slot::Empty);
            if let Slot::Booting(commands) = waiting {
                for command in commands {
                    machine.command(command, now(), &mut events);
                }
            }
            if let Some(claim) = loaded.claim {
                claim.establish(parent, &request.start);
            }
            host().slot.replace(Slot::Live(Box::new(machine), Rc::new(request)));
            tell(&events);
            soon();
        }
        Err(Stop::Held) => {
            host().slot.replace(Slot::Empty);
            tell(&[Event::State { state: MachineState::Idle }, Event::Held]);
        }
        Err(Stop::Fault(fault)) => {
            host().slot.replace(Slot::Empty);
            tell(&[Event::State { state: MachineState::Failed }, Event::Fault(fault)]);
        }
    }
}

/// Gets an engine to where the machine begins.
async fn load(request: &BootRequest, waker: &Waker) -> Result<Loaded, Stop> {
    let mut engine = make(request.engine)?;
    machine::check(&*engine, request)?;
    let Some(sections) = engine.capabilities().sections else {
        engine.boot(request, waker.clone(), report()).await?;
        let request = request.clone();
        return Ok(Loaded { engine, claim: None, restored: None, request });
    };
    let claim = claim(request).await?;
    let mut damage = None;
    for id in candidates(request, claim.as_ref())? {
        let store = saver::store().await.map_err(library::told)?;
        let restored = async {
            let source = saver::stored(&store, id).await?;
            // A snapshot knows best what its machine is made of.
            let request = saver::as_saved(request, source.manifest())?;
            machine::check(&*engine, &request)?;
            let carried = restore(
                &mut *engine,
                &request,
                waker,
                &source,
                Told { sections, shipped: false, damage: damage.clone() },
            )
            .await?;
            Ok::<_, Fault>((carried, request))
        };
        match restored.await {
            Ok((carried, request)) => {
                let restored = Some((Some(id), carried));
                return Ok(Loaded { engine, claim, restored, request });
            }
            // The one before may be whole.
            Err(fault) if fault.kind == FaultKind::SnapshotDamaged => {
                damage.get_or_insert(fault);
                engine = make(request.engine)?;
            }
            Err(fault) => return Err(fault.into()),
        }
    }
    if let Some(fault) = damage {
        return Err(fault.into());
    }
    if request.start != Start::Cold
        && let Some(shipped) = engine.shipped(request).await
        && let Ok(manifest) = Manifest::read(shipped.manifest())
    {
        // A machine that is not saved does not wait for the store either.
        let store = if claim.is_some() { saver::store().await.ok() } else { None };
        let source = Kept::shipped(manifest, shipped, store);
        let told = Told { sections, shipped: true, damage: None };
        match restore(&mut *engine, request, waker, &source, told).await {
            Ok(carried) => {
                saver::keep_shipped(source);
                let restored = Some((None, carried));
                return Ok(Loaded { engine, claim, restored, request: request.clone() });
            }
            // A boot is slower, and as good.
            Err(_) => engine = make(request.engine)?,
        }
    }
    engine.boot(request, waker.clone(), report()).await?;
    Ok(Loaded { engine, claim, restored: None, request: request.clone() })
}

fn make(kind: EngineKind) -> Result<Box<dyn Engine>, Fault> {
    (host().factory)(kind).ok_or_else(|| machine::foreign(kind))
}

fn report() -> Rc<dyn Fn(emulator_protocol::Progress)> {
    Rc::new(|progress| tell(&[Event::Progress(progress)]))
}

/// Takes the machine's name, and finds out whether it was saved. In a browser that keeps
/// nothing the machine has no claim and runs all the same; the page is told.
async fn claim(request: &BootRequest) -> Result<Option<Claim>, Stop> {
    let Some(machine) = &request.machine else { return Ok(None) };
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match saver::claim(machine, request.take_over).await {
            Ok(claim) => return Ok(Some(claim)),
            Err(error) => error,
        };
        match unclaimed::after(tries, error) {
            Unclaimed::Held => return Err(Stop::Held),
            Unclaimed::Again => {
                let waits = Progress { phase: Phase::Storage, loaded: 0, total: None };
                tell(&[Event::Progress(waits)]);
            }
            Unclaimed::Unsaved(fault) => {
                tell(&[Event::SaveFailed(fault)]);
                return Ok(None);
            }
            Unclaimed::Unread(fault) => return Err(fault.into()),
        }
    }
}

/// Snapshots that the machine may go on from, the best first.
fn candidates(request: &BootRequest, claim: Option<&Claim>) -> Result<Vec<Id>, Fault> {
    match (&request.start, claim.and_then(|claim| claim.head.as_ref())) {
        (Start::Snapshot(id), _) => {
            let missing = |_| library::told(StoreError::Missing("that snapshot".into()));
            Ok(vec![id.parse().map_err(missing)?])
        }
        (Start::Head, Some(head)) => {
            Ok([Some(head.current), head.previous].into_iter().flatten().collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// What is said of a state that is about to be restored.
struct Told<'a> {
    /// Sections that the engine knows.
    sections: &'a [(&'a str, u16)],
    shipped: bool,
    /// Why it is not a later one.
    damage: Option<Fault>,
}

async fn restore(
    engine: &mut dyn Engine,
    request: &BootRequest,
    waker: &Waker,
    source: &dyn Source,
    told: Told<'_>,
) -> Result<Carried, Fault> {
    let carried = saver::announce(source.manifest(), told.sections, told.shipped, told.damage)?;
    engine.restore(request, waker.clone(), report(), source).await?;
    Ok(carried)
}

/// Runs one slice and arranges for the next.
fn pump() {
    let host = host();
    host.posted.set(false);
    host.batching.set(false);
    host.pumped.set(now());
    cancel_timer();
    let mut events = Vec::new();
    let mut networking = false;
    let due = match &mut *host.slot.borrow_mut() {
        Slot::Live(machine, _) => {
            let due = machine.pump(now(), &mut events);
            networking = machine.is_networking();
            let sending = machine.network().is_some_and(socket::serve);
            if sending { due.at_latest(now() + SOCKET_LOOK) } else { due }
        }
        _ => Due::Idle,
    };
    let shown = events.iter().any(|event| matches!(event, Event::Console { .. }));
    host.batch.set(match (networking, shown) {
        (true, _) => Duration::ZERO,
        (false, true) => (host.batch.get() * 2).clamp(BATCH, LONG_BATCH),
        (false, false) => BATCH,
    });
    tell(&events);
    match due {
        Due::Soon => soon(),
        Due::At(at) => later(at.saturating_sub(now())),
        Due::Idle => {}
    }
}

fn nudge() {
    let host = host();
    if host.posted.get() || host.batching.get() {
        return;
    }
    let passed = now().saturating_sub(host.pumped.get());
    let batch = host.batch.get();
    if passed >= batch {
        soon();
    } else {
        host.batching.set(true);
        cancel_timer();
        later(batch - passed);
    }
}

fn cancel_timer() {
    let host = host();
    if let Some(timer) = host.timer.take() {
        host.scope.clear_timeout_with_handle(timer);
    }
}

pub(crate) fn soon() {
    let host = host();
    if !host.posted.replace(true) {
        let posted = host.channel.port2().post_message(&JsValue::NULL);
        posted.expect("a null can be posted");
    }
}

fn later(delay: Duration) {
    let host = host();
    let handler = host.pump.as_ref().unchecked_ref();
    let millis = i32::try_from(delay.as_millis()).unwrap_or(i32::MAX);
    let timer = host
        .scope
        .set_timeout_with_callback_and_timeout_and_arguments_0(handler, millis)
        .expect("timers exist");
    host.timer.set(Some(timer));
}

pub(crate) fn now() -> Instant {
    let millis = host().scope.performance().map_or(0.0, |clock| clock.now());
    Duration::from_secs_f64(millis.max(0.0) / 1000.0)
}

pub(crate) fn tell(events: &[Event]) {
    for event in events {
        post(&host().scope, event);
    }
}

fn post(scope: &DedicatedWorkerGlobalScope, event: &Event) {
    let (message, transfer) = emulator_wire::encode(event).expect("events can be encoded");
    let posted = scope.post_message_with_transfer(&message, &transfer);
    posted.expect("events can be posted");
}

fn crashed(detail: String) -> Fault {
    Fault {
        kind: FaultKind::EngineCrash,
        party: Party::Host,
        summary: "The engine broke down.".into(),
        advice: "Restart the machine. Please report this, with the text below.".into(),
        retry: false,
        detail,
    }
}
