//! The reactive side of [`State`]: the only writer of the signals that views read.
//!
//! Events arrive much faster than a person reads, so the plain state takes them all and
//! the signals get a copy at most every [`FLUSH_INTERVAL_MS`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use gloo::timers::callback::Timeout;
use leptos::prelude::*;

use super::saving::Keeping;
use super::state::State;
use crate::link::Paste;
use crate::ui::notice::Notice;

/// Shortest time between two writes to the signals: 10 Hz is as fast as words can be read.
pub(crate) const FLUSH_INTERVAL_MS: u32 = 100;

/// Notices that are shown at the same time; the oldest goes first. More could not be read.
const NOTICE_LIMIT: usize = 4;

/// What views read. Copy: it is a handful of handles.
#[derive(Clone, Copy)]
pub(crate) struct Store {
    state: RwSignal<State>,
    paste: RwSignal<Option<Paste>>,
    notices: RwSignal<Vec<Notice>>,
    announcement: RwSignal<String>,
    keeping: RwSignal<Keeping>,
    held: RwSignal<bool>,
    latest: StoredValue<Rc<Latest>, LocalStorage>,
}

struct Latest {
    state: RefCell<State>,
    paste: Cell<Option<Paste>>,
    /// The signals were written within the last interval; the timer looks again.
    timer: RefCell<Option<Timeout>>,
    dirty: Cell<bool>,
}

impl Store {
    /// A store that holds this state.
    #[must_use]
    pub(crate) fn new(state: State) -> Self {
        let latest = Latest {
            state: RefCell::new(state.clone()),
            paste: Cell::new(None),
            timer: RefCell::new(None),
            dirty: Cell::new(false),
        };
        Self {
            state: RwSignal::new(state),
            paste: RwSignal::new(None),
            notices: RwSignal::new(Vec::new()),
            announcement: RwSignal::new(String::new()),
            keeping: RwSignal::new(Keeping::Never),
            held: RwSignal::new(false),
            latest: StoredValue::new_local(Rc::new(latest)),
        }
    }

    /// The state for views, at most 10 times a second.
    #[must_use]
    pub(crate) fn state(self) -> Signal<State> {
        self.state.into()
    }

    /// A large paste on its way, if there is one.
    #[must_use]
    pub(crate) fn paste(self) -> Signal<Option<Paste>> {
        self.paste.into()
    }

    /// What is known about the machine's last save.
    #[must_use]
    pub(crate) fn keeping(self) -> Signal<Keeping> {
        self.keeping.into()
    }

    /// Tells about saving.
    pub(crate) fn set_keeping(self, keeping: Keeping) {
        if self.keeping.with_untracked(|shown| *shown != keeping) {
            self.keeping.set(keeping);
        }
    }

    /// Whether the machine that was asked for runs in another tab.
    #[must_use]
    pub(crate) fn held(self) -> Signal<bool> {
        self.held.into()
    }

    /// Tells whether another tab has the machine.
    pub(crate) fn set_held(self, held: bool) {
        if self.held.get_untracked() != held {
            self.held.set(held);
        }
    }

    /// What the page wants to tell without being asked.
    #[must_use]
    pub(crate) fn notices(self) -> Signal<Vec<Notice>> {
        self.notices.into()
    }

    /// The last words for screen readers that are not a change of state.
    #[must_use]
    pub(crate) fn announcement(self) -> Signal<String> {
        self.announcement.into()
    }

    /// The newest state, not the one that views have.
    #[must_use]
    pub(crate) fn latest(self) -> State {
        self.latest.with_value(|latest| latest.state.borrow().clone())
    }

    /// Changes the state.
    pub(crate) fn update(self, change: impl FnOnce(&mut State)) {
        let latest = self.latest.get_value();
        change(&mut latest.state.borrow_mut());
        self.touch(&latest);
    }

    /// Tells how far a large paste has come.
    pub(crate) fn set_paste(self, paste: Option<Paste>) {
        let latest = self.latest.get_value();
        if latest.paste.replace(paste) != paste {
            self.touch(&latest);
        }
    }

    /// Shows a notice; one with the same words is not shown twice.
    pub(crate) fn notify(self, notice: Notice) {
        self.notices.update(|notices| {
            if !notices.contains(&notice) {
                notices.push(notice);
                let surplus = notices.len().saturating_sub(NOTICE_LIMIT);
                notices.drain(..surplus);
            }
        });
    }

    /// Takes a notice away.
    pub(crate) fn dismiss(self, notice: &Notice) {
        self.notices.update(|notices| notices.retain(|kept| kept != notice));
    }

    /// Says something to screen readers when they have time.
    pub(crate) fn announce(self, words: impl Into<String>) {
        self.announcement.set(words.into());
    }

    fn touch(self, latest: &Rc<Latest>) {
        latest.dirty.set(true);
        if latest.timer.borrow().is_none() {
            self.flush();
        }
    }

    /// Writes the signals and starts the interval in which they rest.
    fn flush(self) {
        let latest = self.latest.get_value();
        latest.dirty.set(false);
        let state = latest.state.borrow().clone();
        if self.state.with_untracked(|shown| *shown != state) {
            self.state.set(state);
        }
        let paste = latest.paste.get();
        if self.paste.get_untracked() != paste {
            self.paste.set(paste);
        }
        let timer = Timeout::new(FLUSH_INTERVAL_MS, move || {
            let latest = self.latest.get_value();
            latest.timer.borrow_mut().take();
            if latest.dirty.get() {
                self.flush();
            }
        });
        latest.timer.borrow_mut().replace(timer);
    }
}
