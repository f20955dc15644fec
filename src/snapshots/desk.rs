//! What the page of snapshots knows and does: one thing at a time, for as long as the tab
//! lives. Whoever leaves the page in the middle of an export finds it at work when they
//! come back.

use std::time::Duration;

use emulator_protocol::{Fault, MachineState, Snapshot, Usage};
use js_sys::Date;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{FocusOptions, HtmlElement};

use crate::download::download;
use crate::engines;
use crate::library::{Library, file, words};
use crate::session::{Session, base};
use crate::ui::notice::Notice;
use crate::ui::prompt::Prompt;

/// Work that takes longer than this is shown to be under way. What is done before needs no
/// sign, and one that only flashes is worse than none.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// State and actions of the page. Copy: components take it by value.
#[derive(Clone, Copy)]
pub(crate) struct Desk {
    session: Session,
    library: Library,
    /// What was read of the library; `None` before it was.
    pub(super) snapshots: RwSignal<Option<Vec<Snapshot>>>,
    /// Why it could not be read.
    pub(super) failure: RwSignal<Option<Fault>>,
    /// The storage, if the browser says.
    pub(super) usage: RwSignal<Option<Usage>>,
    /// What is at work, in words.
    pub(super) work: RwSignal<Option<&'static str>>,
    /// It has been for [`SHOWN_AFTER`].
    pub(super) slow: RwSignal<bool>,
    /// What the last action came to.
    pub(super) said: RwSignal<String>,
    /// Address and name of the machine that was forked last.
    pub(super) forked: RwSignal<Option<(String, String)>>,
    /// A text that is asked for.
    pub(super) prompt: RwSignal<Option<Prompt>>,
    /// Counts actions and readings, each of which only the last one matters of.
    action: StoredValue<u32>,
    reading: StoredValue<u32>,
}

impl Desk {
    /// Nothing was read yet.
    #[must_use]
    pub(crate) fn new(session: Session, library: Library) -> Self {
        Self {
            session,
            library,
            snapshots: RwSignal::new(None),
            failure: RwSignal::new(None),
            usage: RwSignal::new(None),
            work: RwSignal::new(None),
            slow: RwSignal::new(false),
            said: RwSignal::new(String::new()),
            forked: RwSignal::new(None),
            prompt: RwSignal::new(None),
            action: StoredValue::new(0),
            reading: StoredValue::new(0),
        }
    }

    /// Whether a button has nothing to do now, tracked.
    #[must_use]
    pub(super) fn is_busy(self) -> bool {
        self.work.with(Option::is_some)
    }

    /// Whether there is a machine that can be saved, tracked.
    #[must_use]
    pub(super) fn can_save(self) -> bool {
        self.session.store().state().with(|state| {
            let stands = matches!(state.machine, MachineState::Running | MachineState::Paused);
            stands && engines::is_real(state.engine)
        })
    }

    /// Whether a machine runs whose memory a restore would end.
    #[must_use]
    pub(super) fn would_lose(self) -> bool {
        let state = self.session.state();
        state.is_live() && engines::is_real(state.engine)
    }

    /// Whether a machine of that name is known here.
    #[must_use]
    pub(super) fn is_taken(self, machine: &str) -> bool {
        let library = self.library;
        self.snapshots
            .with_untracked(|all| library.is_taken(machine, all.as_deref().unwrap_or_default()))
    }

    /// Reads the library anew, unless that will happen anyway.
    pub(super) fn refresh(self) {
        if self.work.with_untracked(Option::is_none) {
            spawn_local(self.read());
        }
    }

    /// Saves the machine that runs.
    pub(super) fn save(self, name: Option<String>) {
        self.run("Saving the machine", async move {
            let saved = self.session.save(name).await?;
            self.library.changed();
            Ok(format!(
                "Saved: {} written, and the machine stood still for {:.0} ms.",
                words::size(saved.snapshot.delta_bytes),
                saved.pause_ms,
            ))
        });
    }

    /// Starts a machine from a snapshot, and calls back then. One that would end a running
    /// machine is checked first; the person has agreed.
    pub(super) fn restore(self, id: String, done: impl FnOnce() + 'static) {
        let check = self.would_lose();
        self.run("Checking the snapshot", async move {
            let snapshot = self.library.ready(id, check).await?;
            self.session.restore(&snapshot);
            done();
            Ok(format!("“{}” is being restored.", words::title(&snapshot)))
        });
    }

    /// Lets another machine go on from a snapshot, and opens it in a tab of its own.
    pub(super) fn fork(self, snapshot: Snapshot, machine: String) {
        self.run("Forking the machine", async move {
            self.library.fork(snapshot.id, machine.clone()).await?;
            let address = address(&machine, &snapshot.engine);
            self.forked.set(Some((address.clone(), machine.clone())));
            // A browser that keeps tabs from opening leaves the link that the page shows;
            // the tab is on its own, or both machines would share a processor.
            let _ = window().open_with_url_and_target_and_features(&address, "_blank", "noopener");
            Ok(format!("The machine “{machine}” goes on from there."))
        });
    }

    /// Names a snapshot, or takes its name away.
    pub(super) fn rename(self, id: String, name: Option<String>) {
        self.run("Renaming the snapshot", async move {
            let words = match &name {
                Some(name) => format!("The snapshot is called “{name}” now."),
                None => "The snapshot has no name any more.".into(),
            };
            self.library.rename(id, name).await?;
            Ok(words)
        });
    }

    /// Checks all of a snapshot.
    pub(super) fn verify(self, id: String) {
        self.run("Checking the snapshot", async move {
            let snapshot = self.library.verify(id).await?;
            let (title, size) = (words::title(&snapshot), words::size(snapshot.bytes));
            Ok(format!("“{title}” is whole: {size} read and checked."))
        });
    }

    /// Hands a snapshot to the browser as a file.
    pub(super) fn export(self, snapshot: Snapshot) {
        self.run("Exporting the snapshot", async move {
            let bytes = self.library.export(snapshot.id.clone()).await?;
            let name = file::name(&snapshot);
            download(&file::blob(&bytes)?, &name);
            Ok(format!("Exported as {name}, {}.", words::size(bytes.len() as u64)))
        });
    }

    /// Takes a file in.
    pub(super) fn import(self, chosen: web_sys::File) {
        self.run("Importing the file", async move {
            let bytes = file::read(&chosen).await?;
            let snapshot = self.library.import(bytes).await?;
            Ok(format!("Imported “{}”.", words::title(&snapshot)))
        });
    }

    /// Removes a snapshot; the person has agreed.
    pub(super) fn remove(self, id: String) {
        self.run("Deleting the snapshot", async move {
            self.library.remove(id).await?;
            Ok("The snapshot is deleted.".into())
        });
    }

    /// Removes everything; the person has agreed.
    pub(super) fn clear(self) {
        self.run("Deleting everything", async move {
            self.library.clear().await?;
            Ok("All snapshots are deleted.".into())
        });
    }

    /// Asks the browser to keep what is saved.
    pub(super) fn persist(self) {
        self.run("Asking the browser", async move {
            let words = if self.library.persist().await {
                "The browser keeps what is saved until you delete it."
            } else {
                "The browser did not agree. Some do after more visits, or when the app is \
                 installed; until then, export what matters."
            };
            Ok(words.into())
        });
    }

    /// Does one thing, tells what came of it, and reads the library anew.
    fn run(self, work: &'static str, act: impl Future<Output = Result<String, Fault>> + 'static) {
        if self.work.with_untracked(Option::is_some) {
            return;
        }
        let focused = document().active_element();
        let number = self.action.get_value().wrapping_add(1);
        self.action.set_value(number);
        self.said.set(String::new());
        self.forked.set(None);
        self.work.set(Some(work));
        let show = move || {
            if self.action.get_value() == number && self.work.with_untracked(Option::is_some) {
                self.slow.set(true);
                self.session.store().announce(format!("{work} …"));
            }
        };
        set_timeout(show, SHOWN_AFTER);
        spawn_local(async move {
            let outcome = act.await;
            self.read().await;
            self.work.set(None);
            self.slow.set(false);
            match outcome {
                Ok(words) => {
                    self.session.store().announce(words.clone());
                    self.said.set(words);
                }
                Err(fault) => self.session.store().notify(Notice::new(words::told(&fault))),
            }
            give_back(focused);
        });
    }

    async fn read(self) {
        let number = self.reading.get_value().wrapping_add(1);
        self.reading.set_value(number);
        let snapshots = self.library.list().await;
        // Without a figure the line says so. A worker that has failed is not asked again.
        let usage = match &snapshots {
            Ok(_) => self.library.usage().await.ok(),
            Err(_) => None,
        };
        if self.reading.get_value() != number {
            return;
        }
        self.usage.set(usage);
        match snapshots {
            Ok(snapshots) => {
                self.failure.set(None);
                self.snapshots.set(Some(snapshots));
            }
            Err(fault) => {
                self.snapshots.set(None);
                self.failure.set(Some(fault));
            }
        }
    }
}

/// The desk of the page.
#[must_use]
pub(super) fn use_desk() -> Desk {
    expect_context()
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    Date::now().max(0.0) as u64
}

/// The address at which a machine goes on. It names the engine: that of the settings may be
/// one that goes on from nothing.
fn address(machine: &str, engine: &str) -> String {
    let quoted = |text| String::from(js_sys::encode_uri_component(text));
    format!("{}?machine={}&engine={}", base(), quoted(machine), quoted(engine))
}

/// A button that was disabled while it worked has lost the keyboard's focus; one that is
/// gone leaves it to the page's title. Whoever went elsewhere is not fetched back.
fn give_back(focused: Option<web_sys::Element>) {
    request_animation_frame(move || {
        let lost = document().active_element().is_none_or(|element| element.tag_name() == "BODY");
        if !lost {
            return;
        }
        let title = || document().query_selector("[data-testid='snapshots'] h1").ok().flatten();
        let Some(to) = focused.filter(|element| element.is_connected()).or_else(title) else {
            return;
        };
        let options = FocusOptions::new();
        options.set_prevent_scroll(true);
        // Fails only for what cannot have the focus.
        let _ = to.unchecked_ref::<HtmlElement>().focus_with_options(&options);
    });
}
