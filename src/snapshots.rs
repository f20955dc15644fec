//! The page of saved machines: what there is, and what can be done with it.

mod desk;
mod item;

use std::time::Duration;

use leptos::html::Input;
use leptos::prelude::*;

pub(crate) use desk::Desk;
use desk::{now, use_desk};
use item::Item;

use crate::library::use_library;
use crate::library::words::{self, NAME_LIMIT};
use crate::ui::dialog::{Question, use_dialogs};
use crate::ui::prompt::Prompted;

/// How often "a minute ago" is looked at again.
const CLOCK: Duration = Duration::from_secs(20);

/// The page.
#[component]
pub(crate) fn Snapshots() -> impl IntoView {
    let desk = use_desk();
    let version = use_library().version();
    Effect::new(move |_| {
        version.track();
        desk.refresh();
    });
    // Another tab may have saved meanwhile, and does not tell.
    let returned = window_event_listener(leptos::ev::focus, move |_| desk.refresh());
    on_cleanup(move || returned.remove());
    view! {
        <article class="page" data-testid="snapshots">
            <h1 tabindex="-1">"Snapshots"</h1>
            <p class="lead">
                "A snapshot is a whole machine at one moment: memory, disk and screen, kept in this browser."
            </p>
            <Make />
            <Storage />
            <List />
            <Foot />
            <Prompted prompt=desk.prompt />
        </article>
    }
}

/// Where snapshots come from.
#[component]
fn Make() -> impl IntoView {
    let desk = use_desk();
    let name = NodeRef::<Input>::new();
    let complaint = RwSignal::new(None::<String>);
    let idle = move || desk.can_save() && !desk.is_busy();
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let Some(field) = name.get_untracked().filter(|_| untrack(idle)) else { return };
        match words::snapshot_name(&field.value()) {
            Ok(name) => {
                complaint.set(None);
                field.set_value("");
                desk.save(name);
            }
            Err(words) => complaint.set(Some(words)),
        }
    };
    view! {
        <section class="card" aria-labelledby="snapshots-make">
            <h2 id="snapshots-make">"Save the machine"</h2>
            <form class="snapshots-form" on:submit=save novalidate>
                <div class="field">
                    <label for="snapshot-name">"Name (optional)"</label>
                    <input
                        id="snapshot-name"
                        type="text"
                        node_ref=name
                        data-testid="snapshot-name"
                        autocomplete="off"
                        maxlength=NAME_LIMIT.to_string()
                        aria-describedby="snapshot-name-hint"
                    />
                </div>
                <div class="actions">
                    <button
                        type="submit"
                        class="button button-primary"
                        data-testid="snapshot-save"
                        disabled=move || !idle()
                    >
                        "Save now"
                    </button>
                    <Import />
                </div>
            </form>
            <p class="complaint" role="alert">{move || complaint.get()}</p>
            <p class="hint" id="snapshot-name-hint">
                {move || {
                    if desk.can_save() {
                        "A snapshot with a name is kept until you delete it; of the others, each machine keeps the last two."
                    } else {
                        "Nothing runs that could be saved: that takes a machine with a real kernel."
                    }
                }}
            </p>
        </section>
    }
}

/// A button that chooses a file. The field behind it cannot be seen: browsers draw it each
/// in their own way, and in their own language.
#[component]
fn Import() -> impl IntoView {
    let desk = use_desk();
    let input = NodeRef::<Input>::new();
    let choose = move |_| {
        if let Some(input) = input.get_untracked() {
            input.click();
        }
    };
    let chosen = move |_| {
        let Some(input) = input.get_untracked() else { return };
        let file = input.files().and_then(|files| files.get(0));
        // Or the same file could not be chosen again.
        input.set_value("");
        if let Some(file) = file {
            desk.import(file);
        }
    };
    view! {
        <button type="button" class="button" disabled=move || desk.is_busy() on:click=choose>
            "Import…"
        </button>
        <input
            type="file"
            accept=".vivarium"
            hidden
            node_ref=input
            data-testid="snapshot-import"
            aria-label="File of a snapshot"
            on:change=chosen
        />
    }
}

/// How much room there is, and whether what is saved will stay.
#[component]
fn Storage() -> impl IntoView {
    let desk = use_desk();
    let dialogs = use_dialogs();
    let words = move || match desk.usage.get() {
        Some(usage) => words::usage(&usage),
        None => "The browser has not said how much of its storage is used.".into(),
    };
    let at_risk = move || desk.usage.with(|usage| usage.is_some_and(|usage| !usage.persisted));
    let something = move || {
        desk.failure.with(Option::is_some)
            || desk.snapshots.with(|all| all.as_ref().is_some_and(|all| !all.is_empty()))
    };
    let clear = move |_| {
        dialogs.ask(Question {
            title: "Delete all snapshots?".into(),
            text: "All saved machines in this browser are gone then, those with a name too. \
                   Export first what you want to keep."
                .into(),
            subject: None,
            confirm: "Delete all",
            act: Callback::new(move |()| desk.clear()),
        });
    };
    view! {
        <section class="card" aria-labelledby="snapshots-storage">
            <h2 id="snapshots-storage">"Storage"</h2>
            <p data-testid="snapshot-usage">{words}</p>
            <div class="actions">
                <Show when=at_risk>
                    <button
                        type="button"
                        class="button"
                        data-testid="snapshot-persist"
                        disabled=move || desk.is_busy()
                        on:click=move |_| desk.persist()
                    >
                        "Ask the browser to keep it"
                    </button>
                </Show>
                <Show when=something>
                    <button
                        type="button"
                        class="button"
                        data-testid="snapshot-clear"
                        disabled=move || desk.is_busy()
                        on:click=clear
                    >
                        "Delete all…"
                    </button>
                </Show>
            </div>
        </section>
    }
}

/// All snapshots, the youngest first.
#[component]
fn List() -> impl IntoView {
    let desk = use_desk();
    let clock = RwSignal::new(now());
    // Without a clock the times stand still; they are written out beside it.
    if let Ok(timer) = set_interval_with_handle(move || clock.set(now()), CLOCK) {
        on_cleanup(move || timer.clear());
    }
    let ids = Memo::new(move |_| {
        desk.snapshots
            .with(|all| all.iter().flatten().map(|one| one.id.clone()).collect::<Vec<_>>())
    });
    let empty = move || desk.snapshots.with(|all| all.as_ref().is_some_and(Vec::is_empty));
    let unread = move || desk.snapshots.with(Option::is_none) && desk.failure.with(Option::is_none);
    view! {
        <section class="snapshots" aria-labelledby="snapshots-list">
            <h2 id="snapshots-list">"Saved machines"</h2>
            <Show when=unread>
                <p class="hint snapshots-unread">"Looking through the storage …"</p>
            </Show>
            <Show when=empty>
                <p class="hint" data-testid="snapshot-empty">
                    "Nothing is saved yet. Start a machine with a real kernel and save it here, or import a file that was exported elsewhere."
                </p>
            </Show>
            {move || desk.failure.get().map(|fault| view! { <Unreadable fault /> })}
            <ul
                class="snapshot-list"
                role="list"
                aria-labelledby="snapshots-list"
                aria-busy=move || desk.is_busy().to_string()
                data-testid="snapshot-list"
            >
                <For
                    each=move || ids.get()
                    key=|id| id.clone()
                    children=move |id| view! { <Item id now=clock /> }
                />
            </ul>
        </section>
    }
}

/// The storage cannot be read: why, and what to do.
#[component]
fn Unreadable(fault: emulator_protocol::Fault) -> impl IntoView {
    let desk = use_desk();
    view! {
        <div class="strip strip-warning strip-inset" role="alert" data-testid="snapshot-failure">
            <span>{words::told(&fault)}</span>
            <button
                type="button"
                class="button"
                disabled=move || desk.is_busy()
                on:click=move |_| desk.refresh()
            >
                "Try again"
            </button>
        </div>
    }
}

/// What is at work or has come of it, where it can be seen from everywhere in the list.
#[component]
fn Foot() -> impl IntoView {
    let desk = use_desk();
    let link = |(address, machine): (String, String)| {
        view! {
            <a href=address target="_blank" rel="noopener" data-testid="snapshot-forked">
                {format!("Open the machine “{machine}” in its own tab")}
            </a>
        }
    };
    let working = move || desk.work.get().filter(|_| desk.slow.get());
    let shown = move || working().is_some() || desk.said.with(|said| !said.is_empty());
    view! {
        <div class="snapshots-foot" hidden=move || !shown()>
            // Screen readers hear it all from the page's announcer, wherever they are.
            <p data-testid="snapshot-work">
                {move || working().map(|words| format!("{words} …"))}
            </p>
            <Show when=move || working().is_some()>
                <progress aria-hidden="true"></progress>
            </Show>
            <p data-testid="snapshot-said">{move || desk.said.get()}</p>
            {move || desk.forked.get().map(link)}
        </div>
    }
}
