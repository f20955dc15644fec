//! The terminal of the page: mount, focus, fit, paste, links, search.
//!
//! It stays mounted while another route is shown, so that nothing is lost. Bytes go from
//! the session straight into xterm.js and never through a signal.

mod keybar;
mod search;
mod xterm;

use std::rc::Rc;

use emulator_protocol::TerminalSize;
use js_sys::{JsString, Uint8Array};
use leptos::html::Div;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use wasm_bindgen_futures::spawn_local;
use web_sys::HtmlElement;

use crate::session::{self, Generation, Session, use_session};
use crate::settings::{Settings, use_settings};
use crate::status::words::megabytes;
use crate::ui::dialog::{Dialogs, Question, use_dialogs};
use crate::ui::notice::Notice;
pub(crate) use keybar::KeyBar;
use search::Search;
use xterm::{Callbacks, History, Screen};

/// What Ctrl-C types.
const INTERRUPT: &[u8] = &[3];

/// The terminal for the components around it.
#[derive(Clone, Copy)]
pub(crate) struct Handle {
    screen: StoredValue<Option<Screen>, LocalStorage>,
    loaded: RwSignal<bool>,
    searching: RwSignal<bool>,
    /// The match that is marked, from 0, and how many there are.
    matches: RwSignal<(i32, u32)>,
    held: RwSignal<Held>,
}

/// Modifiers of the key bar that wait for the next key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    ctrl: bool,
    alt: bool,
}

impl Handle {
    /// No terminal yet.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            screen: StoredValue::new_local(None),
            loaded: RwSignal::new(false),
            searching: RwSignal::new(false),
            matches: RwSignal::new((-1, 0)),
            held: RwSignal::new(Held::default()),
        }
    }

    /// Puts the keyboard's focus into the terminal.
    pub(crate) fn focus(self) {
        self.with(Screen::focus);
    }

    /// Takes the colours of the page's theme.
    pub(crate) fn recolour(self) {
        self.with(Screen::recolour);
    }

    /// Opens the search, or goes back into it.
    pub(crate) fn search(self) {
        self.searching.set(true);
        request_animation_frame(search::focus);
    }

    fn with(self, act: impl FnOnce(&Screen)) {
        self.screen.with_value(|screen| {
            if let Some(screen) = screen {
                act(screen);
            }
        });
    }

    fn hold(self, held: Held) {
        self.held.set(held);
        self.with(|screen| screen.hold(held.ctrl, held.alt));
    }
}

impl session::Screen for Screen {
    fn write(&self, bytes: &[u8], generation: Generation) {
        Screen::write(self, Uint8Array::from(bytes), generation);
    }

    fn clear(&self) {
        Screen::clear(self);
    }

    fn text(&self) -> JsString {
        Screen::text(self)
    }

    fn paint(&self, text: &str) {
        Screen::paint(self, text);
    }

    fn capture(&self, done: Box<dyn FnOnce(String, String)>) {
        Screen::capture(self, Closure::once_into_js(done));
    }
}

/// The terminal and its search.
#[component]
pub(crate) fn Terminal() -> impl IntoView {
    let session = use_session();
    let settings = use_settings();
    let dialogs = use_dialogs();
    let handle: Handle = expect_context();
    let host = NodeRef::<Div>::new();
    host.on_load(move |host| {
        let host: HtmlElement = host.unchecked_into();
        spawn_local(open(host, handle, session, settings, dialogs));
    });
    let preferences = settings.preferences();
    let looks = Memo::new(move |_| preferences.with(|kept| (kept.font_size, kept.screen_reader)));
    Effect::new(move |_| {
        let (font_size, screen_reader) = looks.get();
        if handle.loaded.get() {
            handle.with(|screen| screen.configure(font_size, screen_reader));
        }
    });
    view! {
        <div class="terminal">
            <Search handle />
            <PasteProgress />
            <div
                class="terminal-host"
                data-testid="terminal"
                node_ref=host
                on:click=move |_| handle.focus()
            ></div>
        </div>
    }
}

async fn open(
    host: HtmlElement,
    handle: Handle,
    session: Session,
    settings: Settings,
    dialogs: Dialogs,
) {
    let kept = settings.preferences().get_untracked();
    let on = callbacks(handle, session, dialogs);
    let opened =
        Screen::open(&host, kept.font_size, kept.screen_reader, on.object(), History::new());
    match opened.await {
        Ok(screen) => {
            let screen: Screen = screen.unchecked_into();
            handle.screen.set_value(Some(screen.clone()));
            session.attach(Rc::new(screen));
            handle.loaded.set(true);
            if nobody_has_focus() {
                handle.focus();
            }
        }
        Err(error) => {
            leptos::logging::error!("terminal: {error:?}");
            session.store().notify(Notice::new(
                "The terminal could not be loaded. Check the connection and reload the page.",
            ));
        }
    }
}

fn callbacks(handle: Handle, session: Session, dialogs: Dialogs) -> Callbacks {
    Callbacks::default()
        .bytes("input", move |bytes| {
            // A person who interrupts does not want the rest of a paste to follow.
            if bytes == INTERRUPT {
                session.cancel_paste();
            }
            // A refusal has been told in a notice.
            let _ = session.input(bytes);
        })
        .numbers("resize", move |columns, rows| {
            session.resize(TerminalSize { columns: columns as u16, rows: rows as u16 });
        })
        .numbers("parsed", move |count, generation| {
            session.parsed(count as u64, generation as Generation);
        })
        .numbers("matches", move |index, count| {
            handle.matches.set((index as i32, count as u32));
        })
        .numbers("copied", move |length, _| {
            session
                .store()
                .announce(format!("The machine put {length} characters on your clipboard."));
        })
        .call("search", move || handle.search())
        .call("leave", leave)
        .call("modifiersUsed", move || handle.held.set(Held::default()))
        .text("link", move |uri| dialogs.ask(follow(uri)))
}

/// A guest's text may say one thing and lead to another, so the address itself is shown.
fn follow(uri: String) -> Question {
    let target = uri.clone();
    Question {
        title: "Open this link?".into(),
        text: "It comes from the machine and opens in a new tab:".into(),
        subject: Some(uri),
        confirm: "Open",
        act: Callback::new(move |()| {
            // With `noopener` the answer is null whether it opened or not.
            let _ = window().open_with_url_and_target_and_features(
                &target,
                "_blank",
                "noopener,noreferrer",
            );
        }),
    }
}

/// Moves the focus from the terminal to the control before it.
fn leave() {
    let target = document().query_selector(".toolbar [role=radio][tabindex='0']").ok().flatten();
    if let Some(target) = target.and_then(|element| element.dyn_into::<HtmlElement>().ok()) {
        // A hidden element does not take the focus; then it stays.
        let _ = target.focus();
    }
}

fn nobody_has_focus() -> bool {
    let active = document().active_element();
    active.is_none_or(|element| element.tag_name() == "BODY")
}

/// A large paste on its way, with a way to stop it.
#[component]
fn PasteProgress() -> impl IntoView {
    let session = use_session();
    let paste = session.store().paste();
    let words = move || {
        paste.get().map_or_else(String::new, |paste| {
            format!("Pasting: {} of {} MB", megabytes(paste.done), megabytes(paste.total))
        })
    };
    let percent = move || {
        paste.get().map_or(0, |paste| (paste.done * 100).checked_div(paste.total).unwrap_or(0))
    };
    let shown = Memo::new(move |_| paste.with(Option::is_some));
    view! {
        <Show when=move || shown.get()>
            <div class="toast" data-testid="paste">
                <span>{words}</span>
                <progress max="100" value=move || percent().to_string() aria-label="Paste"></progress>
                <button
                    type="button"
                    class="button"
                    on:click=move |_| {
                        session.cancel_paste();
                    }
                >
                    "Cancel"
                </button>
            </div>
        </Show>
    }
}
