//! Saved machines, as the page reaches them: questions to a worker that has no machine.
//!
//! ```text
//!  views, window.vivarium ── list, fork, export ──▶ Library ── Command, ticket ──▶ Link ──▶ worker
//!                     ▲                               │ ▲                                    │
//!                     └── version, a future ◀─────────┘ └──────── answer, ticket ◀───────────┘
//! ```
//!
//! The worker is started by the first question and ended after [`IDLE_MS`] without one.
//! Saving and restoring are not done here: the machine's own worker does both.

pub(crate) mod file;
mod tickets;
pub(crate) mod words;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use emulator_protocol::{
    Command, Event, Fault, FaultKind, LibraryAnswer, LibraryRequest, Party, Snapshot, Usage,
};
use gloo::timers::callback::Timeout;
use leptos::prelude::*;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::engines;
use crate::link::{Link, Report};
use crate::session::base;
use tickets::{OPEN_LIMIT, Outcome, Tickets};

/// How long a worker without questions is kept: longer than a person thinks between two
/// clicks, and then its memory is given back.
const IDLE_MS: u32 = 60_000;

/// Forked machines whose names are remembered, the last ones: more than a person makes in a
/// tab's life.
const FORKED_LIMIT: usize = 256;

/// The saved machines. Copy: components take it by value.
#[derive(Clone, Copy)]
pub(crate) struct Library {
    version: RwSignal<u32>,
    lost: RwSignal<Option<String>>,
    core: StoredValue<Rc<Core>, LocalStorage>,
}

#[derive(Default)]
struct Core {
    link: RefCell<Option<Rc<Link>>>,
    /// Counts the workers; tells a late word of an old one from the present's.
    generation: Cell<u32>,
    tickets: RefCell<Tickets<Reply>>,
    idle: RefCell<Option<Timeout>>,
    /// Machines that were forked here. They have no snapshot of their own before they are
    /// saved, so no list has their names.
    forked: RefCell<VecDeque<String>>,
}

enum Reply {
    Answer(LibraryAnswer),
    File(Vec<u8>),
}

impl Library {
    /// Asks nothing yet.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            version: RwSignal::new(0),
            lost: RwSignal::new(None),
            core: StoredValue::new_local(Rc::default()),
        }
    }

    /// Counts the changes that this page knows of.
    #[must_use]
    pub(crate) fn version(self) -> Signal<u32> {
        self.version.into()
    }

    /// What the browser said if it has lost all that was saved.
    #[must_use]
    pub(crate) fn lost(self) -> Signal<Option<String>> {
        self.lost.into()
    }

    /// Something was saved, or changed by another way than through here.
    pub(crate) fn changed(self) {
        self.version.update(|version| *version = version.wrapping_add(1));
    }

    /// All snapshots, the youngest first.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub(crate) async fn list(self) -> Result<Vec<Snapshot>, Fault> {
        match self.request(LibraryRequest::List).await? {
            LibraryAnswer::Snapshots { snapshots } => Ok(snapshots),
            other => Err(unexpected(&other)),
        }
    }

    /// How much storage is used.
    ///
    /// # Errors
    /// If the browser does not say.
    pub(crate) async fn usage(self) -> Result<Usage, Fault> {
        match self.request(LibraryRequest::Usage).await? {
            LibraryAnswer::Usage(usage) => Ok(usage),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives a snapshot a name, or takes it away.
    ///
    /// # Errors
    /// If it is not there, or cannot be written.
    pub(crate) async fn rename(self, id: String, name: Option<String>) -> Result<(), Fault> {
        self.change(LibraryRequest::Rename { id, name }).await
    }

    /// Removes a snapshot and what only it needs.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) async fn remove(self, id: String) -> Result<(), Fault> {
        self.change(LibraryRequest::Remove { id }).await
    }

    /// Removes everything.
    ///
    /// # Errors
    /// While a save is in progress.
    pub(crate) async fn clear(self) -> Result<(), Fault> {
        self.change(LibraryRequest::Clear).await
    }

    /// Reads all of a snapshot and checks it.
    ///
    /// # Errors
    /// If it is not there or damaged.
    pub(crate) async fn verify(self, id: String) -> Result<Snapshot, Fault> {
        one(self.request(LibraryRequest::Verify { id }).await?)
    }

    /// A snapshot that a machine is about to begin from. If one runs that would end for it,
    /// all of the snapshot is checked before, so that a damaged one costs nothing.
    ///
    /// # Errors
    /// If it is not there or damaged.
    pub(crate) async fn ready(self, id: String, check: bool) -> Result<Snapshot, Fault> {
        if check {
            return self.verify(id).await;
        }
        let mut all = self.list().await?.into_iter();
        all.find(|snapshot| snapshot.id == id).ok_or_else(|| words::missing(&id))
    }

    /// Makes a snapshot the head of another machine.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) async fn fork(self, id: String, machine: String) -> Result<Snapshot, Fault> {
        let request = LibraryRequest::Fork { id, machine: machine.clone() };
        let forked = one(self.request(request).await?)?;
        self.remember(machine);
        self.changed();
        Ok(forked)
    }

    /// Makes another machine that goes on where this one was saved last, and gives its name.
    ///
    /// # Errors
    /// If it was never saved.
    pub(crate) async fn copy_of(self, machine: &str) -> Result<String, Fault> {
        let all = self.list().await?;
        let mut its = all.iter().filter(|one| one.machine == machine);
        // The youngest one, if its head was saved under another name.
        let from = its.clone().find(|one| one.is_head).or_else(|| its.next());
        let id = from.ok_or_else(|| words::missing(machine))?.id.clone();
        let copy = words::proposed(machine, |name| self.is_taken(name, &all));
        self.fork(id, copy.clone()).await?;
        Ok(copy)
    }

    /// Whether a machine of that name is among these snapshots, or was forked here.
    #[must_use]
    pub(crate) fn is_taken(self, machine: &str, snapshots: &[Snapshot]) -> bool {
        let core = self.core.get_value();
        core.forked.borrow().iter().any(|name| name == machine)
            || snapshots.iter().any(|snapshot| snapshot.machine == machine)
    }

    /// A snapshot as one file.
    ///
    /// # Errors
    /// If it is not there or damaged.
    pub(crate) async fn export(self, id: String) -> Result<Vec<u8>, Fault> {
        let request = LibraryRequest::Export { id };
        match self.ask(|ticket| Command::Library { ticket, request }).await? {
            Reply::File(bytes) => Ok(bytes),
            Reply::Answer(other) => Err(unexpected(&other)),
        }
    }

    /// Takes in an exported file; everything in it is checked first.
    ///
    /// # Errors
    /// If it is not a whole snapshot, or there is no room for it.
    pub(crate) async fn import(self, bytes: Vec<u8>) -> Result<Snapshot, Fault> {
        let reply = self.ask(|ticket| Command::Import { ticket, bytes }).await?;
        let taken = match reply {
            Reply::Answer(answer) => one(answer)?,
            Reply::File(_) => return Err(unexpected(&LibraryAnswer::Done)),
        };
        self.changed();
        Ok(taken)
    }

    /// Whether the browser has promised not to remove what is saved. One that does not know
    /// of promises has given none.
    pub(crate) async fn persisted(self) -> bool {
        granted(window().navigator().storage().persisted()).await
    }

    /// Asks the browser for that promise; some ask the person.
    pub(crate) async fn persist(self) -> bool {
        let granted =
            self.persisted().await || granted(window().navigator().storage().persist()).await;
        if granted {
            self.changed();
        }
        granted
    }

    fn remember(self, machine: String) {
        let core = self.core.get_value();
        let mut forked = core.forked.borrow_mut();
        forked.retain(|name| *name != machine);
        forked.push_back(machine);
        if forked.len() > FORKED_LIMIT {
            forked.pop_front();
        }
    }

    async fn change(self, request: LibraryRequest) -> Result<(), Fault> {
        match self.request(request).await? {
            LibraryAnswer::Done => {
                self.changed();
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn request(self, request: LibraryRequest) -> Result<LibraryAnswer, Fault> {
        match self.ask(|ticket| Command::Library { ticket, request }).await? {
            Reply::Answer(answer) => Ok(answer),
            Reply::File(_) => Err(unexpected(&LibraryAnswer::Done)),
        }
    }

    async fn ask(self, command: impl FnOnce(u32) -> Command) -> Result<Reply, Fault> {
        let core = self.core.get_value();
        let drawn = core.tickets.borrow_mut().draw();
        let (ticket, answer) = drawn.ok_or_else(busy)?;
        core.idle.borrow_mut().take();
        match self.link(&core) {
            Ok(link) => link.send(command(ticket)),
            Err(fault) => self.settle(&core, ticket, Err(words::reworded(fault))),
        }
        answer.await.unwrap_or_else(|_| Err(busy()))
    }

    /// The worker's link; a new one if there is none.
    fn link(self, core: &Core) -> Result<Rc<Link>, Fault> {
        if let Some(link) = core.link.borrow().clone() {
            return Ok(link);
        }
        let generation = core.generation.get().wrapping_add(1);
        core.generation.set(generation);
        let report = move |report| self.hear(report, generation);
        let link = Rc::new(Link::spawn(engines::BEST_KERNEL, &base(), report)?);
        core.link.replace(Some(Rc::clone(&link)));
        Ok(link)
    }

    fn hear(self, report: Report, generation: u32) {
        let core = self.core.get_value();
        if generation != core.generation.get() {
            return;
        }
        match report {
            Report::Event(Event::Library { ticket, answer }) => {
                let outcome = match answer {
                    LibraryAnswer::Failed { fault } => Err(fault),
                    answer => Ok(Reply::Answer(answer)),
                };
                self.settle(&core, ticket, outcome);
            }
            Report::Event(Event::Exported { ticket, bytes }) => {
                self.settle(&core, ticket, Ok(Reply::File(bytes)));
            }
            Report::Event(Event::StorageLost { detail }) => self.lost.set(Some(detail)),
            Report::Event(Event::Fault(fault)) => {
                end(&core);
                core.tickets.borrow_mut().fail(&words::reworded(fault));
            }
            // Figures of no machine; and a worker that checks a large file is silent.
            _ => {}
        }
    }

    fn settle(self, core: &Core, ticket: u32, outcome: Outcome<Reply>) {
        let mut tickets = core.tickets.borrow_mut();
        tickets.settle(ticket, outcome);
        if tickets.is_empty() {
            let idle = Timeout::new(IDLE_MS, move || {
                let core = self.core.get_value();
                if core.tickets.borrow().is_empty() {
                    end(&core);
                }
            });
            core.idle.borrow_mut().replace(idle);
        }
    }
}

/// The saved machines of the page.
#[must_use]
pub(crate) fn use_library() -> Library {
    expect_context()
}

/// Ends the worker. It may be the one that is speaking, so it is dropped afterwards; and
/// what it says until then is not heard.
fn end(core: &Core) {
    core.generation.set(core.generation.get().wrapping_add(1));
    if let Some(link) = core.link.take() {
        spawn_local(async move { drop(link) });
    }
}

fn one(answer: LibraryAnswer) -> Result<Snapshot, Fault> {
    match answer {
        LibraryAnswer::Snapshot(snapshot) => Ok(snapshot),
        other => Err(unexpected(&other)),
    }
}

/// A promise of a yes or no; one that is not kept is a no.
async fn granted(promise: Result<js_sys::Promise, JsValue>) -> bool {
    match promise {
        Ok(promise) => JsFuture::from(promise).await.is_ok_and(|granted| granted.is_truthy()),
        Err(_) => false,
    }
}

fn busy() -> Fault {
    Fault::new(
        FaultKind::Busy,
        Party::Host,
        format!("More than {OPEN_LIMIT} requests wait for the storage already."),
        "Wait until some of them are done.",
    )
}

/// An answer to another question than was asked: two builds that count as one.
fn unexpected(answer: &LibraryAnswer) -> Fault {
    Fault::new(
        FaultKind::VersionMismatch,
        Party::Host,
        "This page and its worker do not understand each other.",
        "Reload the page to get matching versions of both.",
    )
    .with_detail(format!("{answer:?}"))
}
