//! What is shown over the terminal when there is no running machine in it: the fault, the
//! guest that switched itself off, nothing started. The last screen stays visible behind.

use emulator_protocol::{Fault, FaultKind, MachineState, Party};
use leptos::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::engines;
use crate::library::use_library;
use crate::session::saving::Keeping;
use crate::session::{Choice, other, use_session};
use crate::ui::notice::Notice;

/// The panel for the state that the machine ended in.
#[component]
pub(crate) fn Ending() -> impl IntoView {
    let state = use_session().store().state();
    let machine = Memo::new(move |_| state.with(|state| state.machine));
    let fault = Memo::new(move |_| state.with(|state| state.fault.clone()));
    let held = use_session().store().held();
    view! {
        {move || match machine.get() {
            MachineState::Failed => {
                fault.get().map(|fault| view! { <FaultPanel fault /> }.into_any())
            }
            MachineState::Halted => Some(view! { <Halted /> }.into_any()),
            MachineState::Idle if held.get() => Some(view! { <HeldPanel /> }.into_any()),
            MachineState::Idle => Some(view! { <Idle /> }.into_any()),
            _ => None,
        }}
    }
}

/// Says that the engine gives no sign of life; goes by itself when it does again.
#[component]
pub(crate) fn Stalled() -> impl IntoView {
    let session = use_session();
    let state = session.store().state();
    let stalled = Memo::new(move |_| state.with(|state| state.stalled && state.is_live()));
    let restart = engines::restart();
    view! {
        <Show when=move || stalled.get()>
            <div class="strip strip-warning" role="alert" data-testid="stalled">
                <span>
                    "The engine does not answer. It may be busy and come back, or it may be stuck."
                </span>
                <button type="button" class="button" on:click=move |_| restart()>
                    "Restart"
                </button>
            </div>
        </Show>
    }
}

#[component]
fn FaultPanel(fault: Fault) -> impl IntoView {
    let session = use_session();
    let engine = session.state().engine;
    let switch = engines::switch_to(other(engine));
    let retry = fault.retry;
    let reload = fault.kind == FaultKind::VersionMismatch;
    // A restart would need the storage, too.
    let unread = fault.kind == FaultKind::StorageUnavailable;
    let taken = fault.kind == FaultKind::TakenOver;
    let saved = matches!(session.store().keeping().get_untracked(), Keeping::Saved(_));
    let go_back = saved && fault.party == Party::Guest;
    let kind = engines::label(other(engine)).to_lowercase().replace("linux", "Linux");
    let switch_label = format!("Switch to {kind}");
    let detail = (!fault.detail.is_empty()).then(|| fault.detail.clone());
    view! {
        <section class="panel panel-fault" role="alert" data-testid="fault" data-kind=crate::api::fault_code(fault.kind)>
            <h2>{fault.summary}</h2>
            <p>{fault.advice}</p>
            {detail.map(|detail| view! { <Detail detail /> })}
            <div class="actions">
                {reload.then(|| view! { <Action label="Reload the page" primary=true act=reload_page /> })}
                {retry
                    .then(|| {
                        view! { <Action label="Try again" testid="retry" primary=true act=move || session.retry() /> }
                    })}
                {taken
                    .then(|| {
                        view! { <Action label="Take it back" testid="take-back" act=move || session.take_over() /> }
                    })}
                {go_back
                    .then(|| {
                        view! { <Action label="Go back to the last save" testid="go-back" act=move || session.go_back() /> }
                    })}
                {if unread {
                    view! {
                        <Action label="Start without saving" testid="start-unsaved" act=move || session.start_unsaved() />
                    }
                        .into_any()
                } else {
                    view! {
                        <Action label="Restart" testid="fault-restart" primary=!(retry || reload) act=move || session.reset() />
                    }
                        .into_any()
                }}
                <Action label=switch_label testid="fault-switch" act=switch />
            </div>
        </section>
    }
}

/// The last words, folded away, with a way to take them along.
#[component]
fn Detail(detail: String) -> impl IntoView {
    let copied = RwSignal::new(false);
    let text = detail.clone();
    let copy = move |_| {
        let promise = window().navigator().clipboard().write_text(&text);
        spawn_local(async move {
            // Without permission the text can still be selected by hand.
            copied.set(JsFuture::from(promise).await.is_ok());
        });
    };
    view! {
        <details class="detail">
            <summary>"Details"</summary>
            <pre tabindex="0">{detail}</pre>
            <button type="button" class="button" on:click=copy>
                {move || if copied.get() { "Copied" } else { "Copy" }}
            </button>
        </details>
    }
}

/// Another tab runs this machine. Two that write the same memory would destroy it.
#[component]
fn HeldPanel() -> impl IntoView {
    let session = use_session();
    let library = use_library();
    let copy = move || {
        let Some(machine) = session.machine() else { return };
        spawn_local(async move {
            match library.copy_of(&machine).await {
                Ok(copy) => {
                    session.branch(copy);
                }
                Err(fault) => {
                    let words = format!("{} {}", fault.summary, fault.advice);
                    session.store().notify(Notice::new(words));
                }
            }
        });
    };
    view! {
        <section class="panel" role="alert" data-testid="held">
            <h2>"This machine runs in another tab"</h2>
            <p>"Only one tab can run it at a time. The other one saves it before it lets go."</p>
            <div class="actions">
                <Action label="Take it over here" testid="take-over" primary=true act=move || session.take_over() />
                <Action label="Open a copy" testid="open-copy" act=copy />
            </div>
        </section>
    }
}

#[component]
fn Halted() -> impl IntoView {
    let session = use_session();
    view! {
        <section class="panel" data-testid="halted">
            <h2>"The machine switched itself off"</h2>
            <p>"A new start begins with a fresh system. What was saved before is among the snapshots."</p>
            <div class="actions">
                <Action label="Start again" primary=true act=move || session.reset() />
            </div>
        </section>
    }
}

#[component]
fn Idle() -> impl IntoView {
    let session = use_session();
    let engine = session.state().engine;
    view! {
        <section class="panel" data-testid="idle">
            <h2>"Nothing is running"</h2>
            <p>{engines::description(engine)}</p>
            <div class="actions">
                <Action label="Start" testid="start" primary=true act=move || session.boot(Choice::default()) />
            </div>
        </section>
    }
}

/// A button of a panel.
#[component]
fn Action<T: 'static>(
    /// What stands on it.
    #[prop(into)]
    label: String,
    /// What tests find it by.
    #[prop(optional)]
    testid: Option<&'static str>,
    /// Whether it is what most will want.
    #[prop(optional)]
    primary: bool,
    /// What it does.
    act: impl Fn() -> T + 'static,
) -> impl IntoView {
    let class = if primary { "button button-primary" } else { "button" };
    view! {
        <button type="button" class=class data-testid=testid on:click=move |_| drop(act())>
            {label}
        </button>
    }
}

fn reload_page() {
    // Refused only while the page is going away anyway.
    let _ = window().location().reload();
}
