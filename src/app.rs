//! The frame of the page and its routes; provides Session and Settings.

use emulator_protocol::MachineState;
use leptos::prelude::*;
use leptos_router::components::{A, FlatRoutes, Route, Router};
use leptos_router::hooks::use_location;
use leptos_router::path;
use wasm_bindgen::prelude::*;
use web_sys::HtmlElement;

use crate::about::About;
use crate::engines::{self, EngineSwitcher};
use crate::library::Library;
use crate::network::Network;
use crate::network::intent::Intent;
use crate::network::panel::NetworkPanel;
use crate::session::saving::storage_lost;
use crate::session::{self, Choice, Happening, Session, use_session};
use crate::settings::preferences::Theme;
use crate::settings::{Settings, SettingsPage, use_settings};
use crate::snapshots::{Desk, Snapshots};
use crate::status::fault::{Ending, Stalled};
use crate::status::{Announcer, BootCard, Status};
use crate::terminal::{self, KeyBar, Terminal};
use crate::ui::dialog::{Asked, Dialogs};
use crate::ui::icon::{Drawing, Icon, Mark};
use crate::ui::notice::{Notice, Notices};

/// Everything.
#[component]
pub(crate) fn App() -> impl IntoView {
    let settings = Settings::load();
    let intent = Intent::new(settings);
    let session = Session::new(settings, intent);
    let library = Library::new();
    // Before the programmatic face, which tells what this one has understood.
    let network = Network::new(session, intent);
    provide_context(settings);
    provide_context(session);
    provide_context(library);
    provide_context(network);
    provide_context(Desk::new(session, library));
    provide_context(Dialogs::new());
    provide_context(terminal::Handle::new());
    crate::api::install(session, library, network);
    follow_theme();
    follow_viewport();
    guard_memory(session);
    session.keep_saving();
    keep_library(session, library);
    for complaint in settings.complaints().into_iter().chain(intent.complaints()) {
        session.store().notify(Notice::new(complaint));
    }
    if settings.autoboot() {
        session.boot(Choice::default());
    }
    view! {
        <Router base=root()>
            <Frame />
        </Router>
    }
}

#[component]
fn Frame() -> impl IntoView {
    let store = use_session().store();
    let here = at_machine();
    follow_route(here);
    title_by_route();
    view! {
        <div class="app">
            <Header here />
            <Notices
                notices=store.notices()
                dismiss=Callback::new(move |notice| store.dismiss(&notice))
            />
            <main class="main" id="main">
                <section class="machine" aria-label="Machine" hidden=move || !here.get()>
                    <Offer />
                    <Stalled />
                    <div class="stage">
                        <Terminal />
                        <BootCard />
                        <Ending />
                    </div>
                    <KeyBar />
                </section>
                <FlatRoutes fallback=NotFound>
                    <Route path=path!("/") view=|| () />
                    <Route path=path!("/snapshots") view=Snapshots />
                    <Route path=path!("/settings") view=SettingsPage />
                    <Route path=path!("/about") view=About />
                </FlatRoutes>
            </main>
            <NetworkPanel />
            <Status />
            <Announcer />
            <Asked />
        </div>
    }
}

#[component]
fn Header(here: Memo<bool>) -> impl IntoView {
    view! {
        <header class="header">
            <A href="/" exact=true attr:class="brand" attr:aria-label="Vivarium">
                <Mark />
                <span class="brand-name">"Vivarium"</span>
            </A>
            <nav class="nav" aria-label="Pages">
                <A href="/" exact=true>"Machine"</A>
                <A href="/snapshots">"Snapshots"</A>
                <A href="/settings">"Settings"</A>
                <A href="/about">"About"</A>
            </nav>
            <div class="toolbar" hidden=move || !here.get()>
                <EngineSwitcher />
                <Buttons />
            </div>
        </header>
    }
}

/// What can be done with the machine that runs.
#[component]
fn Buttons() -> impl IntoView {
    let session = use_session();
    let handle: terminal::Handle = expect_context();
    let state = session.store().state();
    let machine = Memo::new(move |_| state.with(|state| state.machine));
    let live = Memo::new(move |_| state.with(session::state::State::is_live));
    let paused = Memo::new(move |_| machine.get() == MachineState::Paused);
    let restart = engines::restart();
    let toggle = move |_| {
        if paused.get_untracked() {
            session.resume();
        } else {
            session.pause();
        }
    };
    view! {
        <div class="buttons" role="group" aria-label="Machine">
            <button
                type="button"
                class="button button-quiet"
                data-testid="pause"
                title=move || if paused.get() { "Resume" } else { "Pause" }
                disabled=move || !live.get()
                on:click=toggle
            >
                {move || {
                    let icon = if paused.get() { Icon::Play } else { Icon::Pause };
                    view! { <Drawing icon /> }
                }}
                <span class="button-label">
                    {move || if paused.get() { "Resume" } else { "Pause" }}
                </span>
            </button>
            <button
                type="button"
                class="button button-quiet"
                data-testid="restart"
                title="Restart"
                on:click=move |_| restart()
            >
                <Drawing icon=Icon::Restart />
                <span class="button-label">"Restart"</span>
            </button>
            <button
                type="button"
                class="button button-quiet button-icon"
                title="Search (Ctrl+Shift+F)"
                aria-label="Search in the terminal"
                on:click=move |_| handle.search()
            >
                <Drawing icon=Icon::Search />
            </button>
        </div>
    }
}

/// Says that the shell is simulated, and offers the real thing.
#[component]
fn Offer() -> impl IntoView {
    let session = use_session();
    let state = session.store().state();
    let wanted = RwSignal::new(true);
    let simulated =
        Memo::new(move |_| state.with(|state| state.is_live() && !engines::is_real(state.engine)));
    let switch = engines::switch_to(engines::BEST_KERNEL);
    view! {
        <Show when=move || simulated.get() && wanted.get()>
            <div class="strip" data-testid="offer">
                <span>"This shell is simulated: there is no kernel behind it."</span>
                <button type="button" class="button" on:click=move |_| switch()>
                    "Start real Linux"
                </button>
                <button
                    type="button"
                    class="button button-quiet button-icon"
                    aria-label="Hide this line"
                    on:click=move |_| wanted.set(false)
                >
                    <Drawing icon=Icon::Close />
                </button>
            </div>
        </Show>
    }
}

#[component]
fn NotFound() -> impl IntoView {
    view! {
        <article class="page">
            <h1 tabindex="-1">"There is no such page"</h1>
            <p class="lead">"The address leads nowhere in this app."</p>
            <p><A href="/">"Go to the machine"</A></p>
        </article>
    }
}

/// Path of the app's directory without the final slash: where the router starts.
fn root() -> String {
    let path = web_sys::Url::new(&session::base()).map(|url| url.pathname()).unwrap_or_default();
    path.trim_end_matches('/').to_string()
}

fn at_machine() -> Memo<bool> {
    let root = root();
    let path = use_location().pathname;
    Memo::new(move |_| path.with(|path| path.trim_end_matches('/') == root))
}

/// After a change of the page the focus is where the new page begins, as it would be after
/// a load. Not at the first: the terminal takes it when it is there.
fn follow_route(here: Memo<bool>) {
    let handle: terminal::Handle = expect_context();
    let path = use_location().pathname;
    Effect::new(move |before: Option<()>| {
        path.track();
        if before.is_none() {
            return;
        }
        request_animation_frame(move || {
            if here.get_untracked() {
                handle.focus();
            } else if let Ok(Some(title)) = document().query_selector("main h1") {
                // A heading that is gone again does not need the focus.
                let _ = title.unchecked_ref::<HtmlElement>().focus();
            }
        });
    });
}

/// The window's title names the page, for people with many tabs and for screen readers.
fn title_by_route() {
    let path = use_location().pathname;
    Effect::new(move |_| {
        let path = path.get();
        let title = match path.trim_end_matches('/').rsplit('/').next() {
            Some("snapshots") => "Snapshots · Vivarium",
            Some("settings") => "Settings · Vivarium",
            Some("about") => "About · Vivarium",
            _ => "Vivarium",
        };
        document().set_title(title);
    });
}

/// Asks before the tab of a machine closes that is not saved: Ctrl-W deletes a word in a
/// shell, and closes the tab in a browser.
fn guard_memory(session: Session) {
    window_event_listener(leptos::ev::beforeunload, move |event| {
        if session.is_dirty() {
            event.prevent_default();
        }
    });
}

/// Lists are read anew after each save; after the first one the browser is asked to keep what
/// is saved when space gets short. Firefox asks a person about that, so the manager does there.
fn keep_library(session: Session, library: Library) {
    let lost = library.lost();
    Effect::new(move || {
        if let Some(detail) = lost.get() {
            session.store().notify(storage_lost(&detail));
        }
    });
    let asked = StoredValue::new(false);
    session.observe(move |happening| {
        if !matches!(happening, Happening::Saved) {
            return;
        }
        library.changed();
        let asks_a_person =
            window().navigator().user_agent().is_ok_and(|agent| agent.contains("Firefox/"));
        if !asked.get_value() && !asks_a_person {
            asked.set_value(true);
            leptos::task::spawn_local(async move {
                // The manager shows the answer.
                library.persist().await;
            });
        }
    });
}

/// Puts the chosen colours on the page; without a choice the style sheet follows the system.
fn follow_theme() {
    let preferences = use_settings().preferences();
    let handle: terminal::Handle = expect_context();
    let theme = Memo::new(move |_| preferences.with(|kept| kept.theme));
    Effect::new(move |_| {
        let theme = theme.get();
        if let Some(page) = document().document_element() {
            // Both fail only for impossible attribute names.
            let _ = match theme {
                Theme::System => page.remove_attribute("data-theme"),
                Theme::Dark | Theme::Light => page.set_attribute("data-theme", theme.word()),
            };
        }
        handle.recolour();
    });
    let Ok(Some(dark)) = window().match_media("(prefers-color-scheme: dark)") else { return };
    let changed = Closure::<dyn Fn()>::new(move || handle.recolour());
    dark.set_onchange(Some(changed.as_ref().unchecked_ref()));
    // For the page's life; the list of media must stay with its listener.
    changed.forget();
    std::mem::forget(dark);
}

/// Keeps the page inside of what a telephone's keyboard leaves of the window.
fn follow_viewport() {
    let Some(viewport) = window().visual_viewport() else { return };
    let measured = viewport.clone();
    let fit = Closure::<dyn Fn()>::new(move || {
        // A page that is zoomed in is not smaller.
        let height = if measured.scale() > 1.01 {
            String::new()
        } else {
            format!("{}px", measured.height())
        };
        if let Some(page) = document().document_element() {
            let style = page.unchecked_into::<HtmlElement>().style();
            // Setting a custom property does not fail.
            let _ = style.set_property("--viewport-height", &height);
        }
    });
    viewport.set_onresize(Some(fit.as_ref().unchecked_ref()));
    fit.forget();
}
