//! The edge of saving: the browser's database, its locks, and the page's part in a save.
//!
//! A machine with a name has one writer, this worker, for as long as it lives. A save waits
//! for the page once: what is on the terminal is the page's to say, and it says it for just
//! the moment in which the state was held.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use emulator_engine::{Awakening, LocalFuture, Unready};
use emulator_protocol::{
    BootRequest, Event, Fault, FaultKind, Flavour, LibraryAnswer, Party, Resumption, Saved, Start,
};
use emulator_snapshot::{Id, Manifest, Meta, screen};
use emulator_store::locks::{End, Writer};
use emulator_store::{Head, IndexedDb, Record, SnapshotStore, StoreError};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::MessageChannel;

use crate::host::{drop_machine, now, scope, tell, with_machine};
use crate::keeper::{Carried, Keeper, Label, Pace, SECTIONS};
use crate::library::{self, Reply, damaged, describe, told};
use crate::machine::Machine;
use crate::record;
use crate::source::Kept;

/// How long a machine that waits for its disk is waited for.
const BUSY_LIMIT: Duration = Duration::from_secs(20);

/// How often it is asked again.
const BUSY_LOOK: Duration = Duration::from_millis(10);

/// Chunks of a part of the state, when a machine is walked through: 8 MiB, of which copies
/// are made in a few milliseconds.
const PART: usize = 32;

/// Chunks that have changed since the last save from which on they are many: to copy fewer
/// takes some milliseconds.
const MANY: usize = 32;

/// How long the page may take to say what is on the terminal. A hidden tab's timers come once
/// a second, and xterm.js needs some of them.
const SCREEN_LIMIT: Duration = Duration::from_secs(20);

/// The right to save a machine, and what is needed for it.
pub(crate) struct Claim {
    pub(crate) head: Option<Head>,
    keeper: Keeper<IndexedDb>,
    writer: Writer,
}

thread_local! {
    static STORE: RefCell<Option<Rc<IndexedDb>>> = const { RefCell::new(None) };
    static CLAIM: RefCell<Option<Claim>> = const { RefCell::new(None) };
    static SAVING: Cell<bool> = const { Cell::new(false) };
    static SCREEN: RefCell<Option<oneshot::Sender<(String, String)>>> = const { RefCell::new(None) };
}

/// The store, opened once.
pub(crate) async fn store() -> Result<Rc<IndexedDb>, StoreError> {
    if let Some(store) = STORE.with_borrow(Clone::clone) {
        return Ok(store);
    }
    let store = Rc::new(IndexedDb::open().await?);
    if let Some(why) = store.loss() {
        tell(&[Event::StorageLost { detail: why.into() }]);
    }
    STORE.set(Some(Rc::clone(&store)));
    Ok(store)
}

/// Opens the store again after the browser has taken it away: site data that a person clears
/// closes the database, and a new one is there at once.
pub(crate) async fn reopened() -> Result<Rc<IndexedDb>, StoreError> {
    STORE.take();
    store().await
}

/// A new store, if the answer of the old one was that it is gone.
pub(crate) async fn reopened_after(reply: &Reply) -> Option<Rc<IndexedDb>> {
    match reply {
        Reply::Answer(LibraryAnswer::Failed { fault })
            if fault.kind == FaultKind::StorageUnavailable =>
        {
            reopened().await.ok()
        }
        _ => None,
    }
}

/// Becomes the one that saves a machine. The store is opened anew: one from before may be
/// what could not be used.
///
/// # Errors
/// [`StoreError::InUse`] if another tab is, and more if nobody can.
pub(crate) async fn claim(machine: &str, take_over: bool) -> Result<Claim, StoreError> {
    let store = reopened().await?;
    let writer = if take_over {
        Writer::take_over(machine).await?
    } else {
        Writer::acquire(machine).await?
    };
    let mut head = store.head(machine).await?;
    if let (true, Some(found)) = (take_over, &head) {
        // Ends what the tab that had it may still be writing.
        head = Some(store.commit(machine, Some(found.generation), found.current).await?);
    }
    let generation = head.as_ref().map(|head| head.generation);
    let keeper = Keeper::new(Rc::clone(&store), machine.to_owned(), generation);
    spawn_local(async move {
        // Without it what is stored is as safe as the browser makes it.
        let _ = store.begin_new_log().await;
    });
    Ok(Claim { head, keeper, writer })
}

impl Claim {
    /// Goes on with a new store, as its only writer.
    async fn renew(&mut self) -> Result<(), StoreError> {
        let store = reopened().await?;
        let machine = self.keeper.machine().to_owned();
        let generation = store.head(&machine).await?.map(|head| head.generation);
        self.keeper = Keeper::new(store, machine, generation);
        Ok(())
    }

    /// The machine runs: from now on it can be saved, and others may ask for it. If it has
    /// begun anew, or goes on from an older snapshot that a person chose, what was saved last
    /// is set aside.
    pub(crate) fn establish(mut self, parent: Option<Id>, start: &Start) {
        let chosen = *start != Start::Head;
        if let Some(head) = self.head.clone().filter(|head| chosen && parent != Some(head.current))
        {
            spawn_local(async move {
                if let Ok(store) = store().await {
                    // At worst it is gone after two saves.
                    let _ = library::set_aside(&*store, &head).await;
                }
            });
        }
        self.keeper.came_from(parent);
        self.writer.on_release_request(|| tell(&[Event::ReleaseAsked]));
        let lost = self.writer.lost();
        CLAIM.set(Some(self));
        spawn_local(async move {
            if lost.await == End::Stolen {
                give_up();
            }
        });
    }
}

/// A stored snapshot, ready to be read.
pub(crate) async fn stored(store: &Rc<IndexedDb>, id: Id) -> Result<Kept<IndexedDb>, Fault> {
    let manifest = library::manifest(&**store, id).await?;
    Ok(Kept::stored(manifest, Rc::clone(store)))
}

/// A request for the machine that was saved.
pub(crate) fn as_saved(request: &BootRequest, saved: &Manifest) -> Result<BootRequest, Fault> {
    let meta = Meta::of(saved).map_err(|error| damaged(&error))?;
    Ok(BootRequest {
        memory_mib: meta.memory_mib,
        flavour: Flavour::named(&meta.flavour).unwrap_or_default(),
        cmdline: meta.cmdline,
        ..request.clone()
    })
}

/// Checks what a snapshot says of itself, and tells the page what to paint.
pub(crate) fn announce(
    manifest: &Manifest,
    engine: &[(&str, u16)],
    shipped: bool,
    damage: Option<Fault>,
) -> Result<Carried, Fault> {
    let known: Vec<_> = SECTIONS.iter().chain(engine).copied().collect();
    manifest.expect_only(&known).map_err(|error| damaged(&error))?;
    let meta = Meta::of(manifest).map_err(|error| damaged(&error))?;
    let screen = screen::of(manifest).map_err(|error| damaged(&error))?;
    tell(&[Event::Resumes(Resumption {
        saved_ms: meta.saved_ms,
        name: meta.label,
        shipped,
        damage,
        memory_mib: meta.memory_mib,
        flavour: Flavour::named(&meta.flavour).unwrap_or_default(),
        cmdline: meta.cmdline,
        screen: screen.unwrap_or_default().to_owned(),
    })]);
    Ok(Carried::of(manifest))
}

/// What a guest missed.
pub(crate) fn awakening() -> Awakening {
    let time = Duration::from_secs_f64(js_sys::Date::now().max(0.0) / 1000.0);
    Awakening { time, entropy: random() }
}

/// Fresh random bytes.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let crypto = scope().and_then(|scope| scope.crypto().ok());
    if let Some(crypto) = crypto {
        // It fails for more than 64 KiB.
        let _ = crypto.get_random_values_with_u8_array(&mut bytes);
    }
    bytes
}

/// Keeps what came with the image, so that it is there without a network, and so that what
/// the machine shares with it is not stored again. Failing costs a download, no more.
pub(crate) fn keep_shipped(source: Kept<IndexedDb>) {
    let (manifest, chunks) = source.into_foreign();
    spawn_local(async move {
        let _ = try_keep_shipped(manifest, chunks).await;
    });
}

async fn try_keep_shipped(
    manifest: Manifest,
    chunks: Vec<(Id, Vec<u8>)>,
) -> Result<(), StoreError> {
    let store = store().await?;
    let bytes = manifest.write();
    let record =
        record::of(&manifest, &bytes).map_err(|error| StoreError::Other(error.to_string()))?;
    let id = record.id;
    let machine = format!("{}{}.{}", library::SHIPPED, record.flavour, record.memory_mib);
    let head = store.head(&machine).await?;
    if head.as_ref().is_some_and(|head| head.current == id) {
        return Ok(());
    }
    let _hold = store.hold().await?;
    store.put_chunks(chunks).await?;
    let record = Record { machine: machine.clone(), name: None, ..record };
    store.put_snapshot(record, bytes).await?;
    store.commit(&machine, head.map(|head| head.generation), id).await?;
    Ok(())
}

/// The page's answer to [`Event::Captured`].
pub(crate) fn screen_came(screen: String, text: String) {
    if let Some(waiting) = SCREEN.take() {
        // Nobody waits any more if it came too late.
        let _ = waiting.send((screen, text));
    }
}

/// Saves the machine and tells what came of it.
pub(crate) async fn save(request: &BootRequest, name: Option<String>) {
    let event = if SAVING.replace(true) {
        Event::SaveFailed(busy())
    } else {
        let result = attempt(request, name).await;
        SAVING.set(false);
        result.map_or_else(Event::SaveFailed, Event::Saved)
    };
    tell(&[event]);
}

async fn attempt(request: &BootRequest, name: Option<String>) -> Result<Saved, Fault> {
    let started = now();
    let Some(mut claim) = CLAIM.take() else { return Err(unclaimed(request)) };
    let result = try_save(&mut claim, request, name).await;
    // Unless it was taken away meanwhile.
    if !CLAIM_LOST.replace(false) {
        CLAIM.set(Some(claim));
    }
    let (record, pause) = result?;
    let own = record.delta_bytes;
    Ok(Saved {
        snapshot: describe(record, own, true),
        pause_ms: pause.as_secs_f64() * 1000.0,
        took_ms: now().saturating_sub(started).as_secs_f64() * 1000.0,
    })
}

thread_local! {
    /// The claim was lost while it was in use.
    static CLAIM_LOST: Cell<bool> = const { Cell::new(false) };
}

/// Why a save came to nothing.
enum Trouble {
    Store(StoreError),
    Fault(Fault),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Store(error) => told(error),
            Trouble::Fault(fault) => fault,
        }
    }
}

async fn try_save(
    claim: &mut Claim,
    request: &BootRequest,
    name: Option<String>,
) -> Result<(Record, Duration), Fault> {
    match save_once(claim, request, name.clone()).await {
        // Something of the storage was cleared: now all of the machine is held, and written.
        Err(Trouble::Store(StoreError::Missing(_))) => {}
        // All of it was.
        Err(Trouble::Store(StoreError::Unavailable(_))) => claim.renew().await.map_err(told)?,
        // What saves that came to nothing have left behind may be room enough.
        Err(Trouble::Store(StoreError::Quota)) => {
            let swept = claim.keeper.sweep().await;
            if !swept.is_ok_and(|swept| swept.bytes > 0) {
                return Err(told(StoreError::Quota));
            }
        }
        done => return Ok(done?),
    }
    Ok(save_once(claim, request, name).await?)
}

async fn save_once(
    claim: &mut Claim,
    request: &BootRequest,
    name: Option<String>,
) -> Result<(Record, Duration), Trouble> {
    let save = claim.keeper.begin().await?;
    let walked = walk(&mut claim.keeper, &save).await?;
    let ((capture, carried), held) =
        hold(|machine, events| machine.capture(claim.keeper.memo(), events)).await?;
    let pause = walked.max(held);
    let (screen, text) = screen_of_page().await?;
    let label = Label {
        name,
        saved_ms: js_sys::Date::now() as u64,
        memory_mib: request.memory_mib,
        flavour: request.flavour.name().into(),
        cmdline: request.cmdline.clone(),
        screen,
        text,
        carried,
    };
    Ok((claim.keeper.keep(save, capture, label, &Breath).await?, pause))
}

/// Keeps what a machine is made of that was not saved yet, part by part, while it runs, so
/// that it stands still for a moment only when all of it is held. Few changes are left to
/// that moment: many of them would change again until then, and be stored twice. Returns the
/// longest time for which the machine stood still.
async fn walk(
    keeper: &mut Keeper<IndexedDb>,
    save: &<IndexedDb as SnapshotStore>::Hold,
) -> Result<Duration, Trouble> {
    let mut longest = Duration::ZERO;
    let (mut found, mut waiting) = (0, Vec::new());
    for from in (0..).step_by(PART) {
        let (part, pause) = hold(|machine, _| machine.part(keeper.memo(), from, PART)).await?;
        longest = longest.max(pause);
        let Some(part) = part else { break };
        found += part.changed();
        waiting.push(part);
        if found >= MANY {
            for part in waiting.drain(..) {
                keeper.walk(save, part, &Breath).await?;
            }
        }
    }
    Ok(longest)
}

/// Takes hold of something of the machine as soon as it is ready for that; also returns for
/// how long it stood still.
async fn hold<T>(
    take: impl Fn(&mut Machine, &mut Vec<Event>) -> Result<T, Unready>,
) -> Result<(T, Duration), Fault> {
    let asked = now();
    loop {
        let start = now();
        let mut events = Vec::new();
        let held = with_machine(|machine| take(machine, &mut events));
        let pause = now().saturating_sub(start);
        tell(&events);
        match held {
            Some(Ok(held)) => return Ok((held, pause)),
            Some(Err(Unready::Busy)) if now().saturating_sub(asked) < BUSY_LIMIT => {
                sleep(BUSY_LOOK).await;
            }
            Some(Err(Unready::Busy)) => return Err(busy()),
            Some(Err(Unready::Never(why))) => return Err(unready(why)),
            None => return Err(unready("There is no machine.".into())),
        }
    }
}

async fn screen_of_page() -> Result<(String, String), Fault> {
    let (sender, receiver) = oneshot::channel();
    SCREEN.set(Some(sender));
    match select(receiver, Box::pin(sleep(SCREEN_LIMIT))).await {
        Either::Left((Ok(screen), _)) => Ok(screen),
        _ => Err(unready("The page did not say what is on the terminal.".into())),
    }
}

/// Lets another tab have the machine, after a save that may be under way.
pub(crate) async fn release() {
    while SAVING.get() {
        sleep(BUSY_LOOK).await;
    }
    give_up();
}

/// Ends the machine, because it is another tab's now. A save that is under way ends with an
/// error: the other tab has moved the head.
fn give_up() {
    with_machine(Machine::stop);
    drop_machine();
    if CLAIM.take().is_none() && SAVING.get() {
        CLAIM_LOST.set(true);
    }
    tell(&[Event::Fault(Fault::new(
        FaultKind::TakenOver,
        Party::Host,
        "This machine goes on in another tab.",
        "Close this tab, or take the machine back here.",
    ))]);
}

/// Lets the guest run between two chunks, and tells the page how far it is.
struct Breath;

impl Pace for Breath {
    fn breathe(&self) -> LocalFuture<'_, ()> {
        Box::pin(turn())
    }

    fn progress(&self, done: usize, total: usize) {
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        tell(&[Event::Saving { done: count(done), total: count(total) }]);
    }
}

thread_local! {
    static TURNS: Turns = Turns::new();
}

/// Comes back after whatever else waits in the event loop. A timer would do, but after some
/// of them a browser makes each wait for 4 ms.
struct Turns {
    channel: MessageChannel,
    waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>>,
    _listener: Closure<dyn FnMut()>,
}

impl Turns {
    fn new() -> Self {
        let waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>> = Rc::default();
        let queue = Rc::clone(&waiting);
        let listener = Closure::<dyn FnMut()>::new(move || {
            if let Some(turn) = queue.borrow_mut().pop_front() {
                let _ = turn.send(());
            }
        });
        let channel = MessageChannel::new().expect("message channels exist");
        channel.port1().set_onmessage(Some(listener.as_ref().unchecked_ref()));
        Self { channel, waiting, _listener: listener }
    }
}

async fn turn() {
    let (sender, receiver) = oneshot::channel();
    TURNS.with(|turns| {
        turns.waiting.borrow_mut().push_back(sender);
        turns.channel.port2().post_message(&JsValue::NULL).expect("a null can be posted");
    });
    // The other end is never dropped before it was called.
    let _ = receiver.await;
}

async fn sleep(time: Duration) {
    let Some(scope) = scope() else { return };
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        let millis = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        scope
            .set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, millis)
            .expect("timers exist");
    });
    // A timer does not fail.
    let _ = JsFuture::from(promise).await;
}

pub(crate) fn busy() -> Fault {
    Fault::new(
        FaultKind::Busy,
        Party::Host,
        "The machine cannot be saved at this moment.",
        "Another save is under way, or it is starting; try again in a moment.",
    )
}

fn unready(why: String) -> Fault {
    Fault::new(
        FaultKind::Unsupported,
        Party::Host,
        "The machine cannot be saved.",
        "Machines with a real kernel can be saved while they run.",
    )
    .with_detail(why)
}

fn unclaimed(request: &BootRequest) -> Fault {
    if request.machine.is_none() {
        return unready("It was started without a name.".into());
    }
    told(StoreError::Refused("it was not there when the machine started".into()))
}
