//! The page's side of the guest's network: what is decided, what is known, and the views of
//! both. Frames, names and connections are the worker's.
//!
//! ```text
//!  panel, window.vivarium ── connect, rules ──▶ Intent ── NetworkSettings ──▶ Session ──▶ worker
//!          ▲                                                                     │
//!          └────────── signals ◀── Network ◀── State ◀── reports ◀───────────────┘
//! ```

mod capture;
pub(crate) mod card;
mod connection;
mod flows;
pub(crate) mod intent;
pub(crate) mod light;
pub(crate) mod panel;
pub(crate) mod policy;
pub(crate) mod relay;
mod rules;
pub(crate) mod state;
pub(crate) mod words;

use std::cell::RefCell;
use std::rc::Rc;

use emulator_protocol::{Credentials, Fault, FaultKind, MachineState, NetworkReport, Party};
use futures_channel::oneshot;
use gloo::timers::callback::Interval;
use leptos::prelude::*;

use crate::engines;
use crate::session::{Happening, Session};
use intent::Intent;
use policy::Mistake;
use relay::{Relay, Wanted};
use state::{Recording, State};

/// How often times in words are made anew while somebody can read them.
const CLOCK_MS: u32 = 1_000;

/// Those who wait for the recording that is on its way.
type Waiting = Vec<oneshot::Sender<Vec<u8>>>;

/// The network of the page's machine. Copy: components take it by value.
#[derive(Clone, Copy)]
pub(crate) struct Network {
    session: Session,
    intent: Intent,
    state: RwSignal<State>,
    /// Milliseconds of the clock that states count by; moves while somebody can read it.
    clock: RwSignal<f64>,
    open: RwSignal<bool>,
    /// Rules that are being written and not in force.
    draft: RwSignal<Option<String>>,
    waiting: StoredValue<Rc<RefCell<Waiting>>, LocalStorage>,
}

impl Network {
    /// Follows the session from now on, for the page's life.
    #[must_use]
    pub(crate) fn new(session: Session, intent: Intent) -> Self {
        let network = Self {
            session,
            intent,
            state: RwSignal::new(State::default()),
            clock: RwSignal::new(now()),
            open: RwSignal::new(false),
            draft: RwSignal::new(None),
            waiting: StoredValue::new_local(Rc::default()),
        };
        session.observe(move |happening| network.hear(happening));
        Interval::new(CLOCK_MS, move || network.tick()).forget();
        network
    }

    /// Reads the last report, for callers that are no views.
    pub(crate) fn with_report<T>(self, read: impl FnOnce(&NetworkReport) -> T) -> T {
        self.state.with_untracked(|state| read(&state.report))
    }

    /// What is decided.
    #[must_use]
    pub(crate) fn intent(self) -> Intent {
        self.intent
    }

    /// Connects for this visit; credentials stay if none are given and the relay is the same.
    pub(crate) fn visit(self, wanted: Wanted, credentials: Option<Credentials>) {
        self.intent.visit(wanted, credentials);
        self.session.decide_network();
    }

    /// Connects, and keeps the relay for later visits.
    pub(crate) fn connect(self, relay: Relay, credentials: Option<Credentials>) {
        self.intent.keep(relay, credentials);
        self.session.decide_network();
    }

    /// Does without a relay until the page is loaded anew.
    pub(crate) fn disconnect(self) {
        self.visit(Wanted::Off, None);
    }

    /// Tries at once, and again after a refusal.
    pub(crate) fn reconnect(self) {
        self.session.decide_network();
    }

    /// Puts rules in force; `keep`: for later visits, too.
    ///
    /// # Errors
    /// What is wrong with the text; then the rules from before hold.
    pub(crate) fn set_policy(self, text: &str, keep: bool) -> Result<(), Vec<Mistake>> {
        self.intent.set_policy(text, keep)?;
        self.session.decide_network();
        Ok(())
    }

    /// Records the guest's frames from now on.
    ///
    /// # Errors
    /// If no machine runs that has any.
    pub(crate) fn record(self) -> Result<(), Fault> {
        if !self.state.with_untracked(|state| state.card) {
            return Err(nothing("There is no machine whose network could be recorded."));
        }
        self.state.update(|state| state.recording = Recording::On);
        self.session.capture(true);
        Ok(())
    }

    /// Ends the recording; resolves with its file.
    ///
    /// # Errors
    /// If there is none, or the machine ends before it gives it.
    pub(crate) async fn stop_recording(self) -> Result<Vec<u8>, Fault> {
        if self.state.with_untracked(|state| state.recording) == Recording::Off {
            return Err(nothing("Nothing is being recorded."));
        }
        let (answer, file) = oneshot::channel();
        self.waiting.get_value().borrow_mut().push(answer);
        let before = self
            .state
            .try_update(|state| std::mem::replace(&mut state.recording, Recording::Stopping));
        if before == Some(Recording::On) {
            self.session.capture(false);
        }
        file.await.map_err(|_| nothing("The machine ended before it gave the recording."))
    }

    fn hear(self, happening: &Happening<'_>) {
        let before = self.state.with_untracked(|state| state.report.relay.clone());
        match happening {
            Happening::Started => {
                let card = engines::is_real(self.session.state().engine);
                let relay = self.intent.settings().relay;
                self.state.set(State::begin(card, relay.as_deref()));
                self.waiting.get_value().borrow_mut().clear();
            }
            Happening::State(MachineState::Idle | MachineState::Halted | MachineState::Failed)
            | Happening::Held => {
                self.state.update(State::end);
                self.waiting.get_value().borrow_mut().clear();
            }
            Happening::Network(report) => {
                let now = now();
                self.clock.set(now);
                self.state.update(|state| state.hear(report, now));
            }
            Happening::Pcap(bytes) => {
                self.state.update(|state| state.recording = Recording::Off);
                for waiting in self.waiting.get_value().take() {
                    // Whoever does not listen any more needs no file.
                    let _ = waiting.send(bytes.to_vec());
                }
            }
            _ => return,
        }
        let news = self.state.with_untracked(|state| words::news(&before, &state.report.relay));
        if let Some(news) = news {
            self.session.store().announce(news);
        }
    }

    fn tick(self) {
        let now = now();
        let counts = self.state.with_untracked(|state| state.retry_ms(now).is_some());
        if counts || self.open.get_untracked() {
            self.clock.set(now);
        }
    }
}

/// The network of the page.
#[must_use]
pub(crate) fn use_network() -> Network {
    expect_context()
}

fn now() -> f64 {
    window().performance().map_or(0.0, |clock| clock.now())
}

fn nothing(summary: &str) -> Fault {
    Fault {
        kind: FaultKind::Unsupported,
        party: Party::Host,
        summary: summary.into(),
        advice: "Start real Linux, then a recording.".into(),
        retry: false,
        detail: String::new(),
    }
}
