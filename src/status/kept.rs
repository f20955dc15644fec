//! When the machine was saved last, in a few words that open into what can be done about it.

use gloo::timers::callback::Interval;
use leptos::html::Details;
use leptos::prelude::*;
use leptos_router::components::A;
use wasm_bindgen_futures::spawn_local;

use super::words::ago;
use crate::engines::guarded_go_back;
use crate::session::saving::Keeping;
use crate::session::state::State;
use crate::session::use_session;

/// How often the words are made anew: they name seconds only at first.
const REFRESH_MS: u32 = 5_000;

/// The words; nothing for a machine that is never saved.
#[component]
pub(crate) fn Kept() -> impl IntoView {
    let keeping = use_session().store().keeping();
    let clock = RwSignal::new(js_sys::Date::now());
    // For the page's life, as this line is.
    Interval::new(REFRESH_MS, move || clock.set(js_sys::Date::now())).forget();
    let words = Memo::new(move |_| {
        let now = clock.get();
        keeping.with(|keeping| words(keeping, now))
    });
    let kind = Memo::new(move |_| keeping.with(kind));
    let session = use_session();
    let running = move || session.store().state().with(State::is_live);
    let details = NodeRef::<Details>::new();
    let close = move || {
        if let Some(details) = details.get_untracked() {
            details.set_open(false);
        }
    };
    let save = move |_| {
        close();
        spawn_local(async move {
            // A failure is told in a notice, and stays in these words.
            let _ = session.save(None).await;
        });
    };
    let go_back = guarded_go_back();
    view! {
        <Show when=move || words.with(Option::is_some)>
            <details class="kept" node_ref=details data-testid="kept" data-kept=move || kind.get()>
                <summary>{move || words.get()}</summary>
                <div class="kept-panel">
                    <button
                        type="button"
                        class="button"
                        data-testid="panel-save"
                        disabled=move || !running() || kind.get() == "saving"
                        on:click=save
                    >
                        "Save now"
                    </button>
                    <button
                        type="button"
                        class="button"
                        data-testid="panel-go-back"
                        disabled=move || kind.get() != "saved"
                        on:click=move |_| {
                            close();
                            go_back();
                        }
                    >
                        "Go back to the last save"
                    </button>
                    <A href="/snapshots" on:click=move |_| close()>"All snapshots"</A>
                </div>
            </details>
        </Show>
    }
}

fn words(keeping: &Keeping, now_ms: f64) -> Option<String> {
    match keeping {
        Keeping::Never => None,
        Keeping::Unsaved => Some("Not saved yet".into()),
        Keeping::Saving(..) => Some("Saving…".into()),
        Keeping::Saved(at) => Some(format!("Saved {}", ago(now_ms.max(*at) - at))),
        Keeping::Failed(_) => Some("Not saved".into()),
    }
}

fn kind(keeping: &Keeping) -> &'static str {
    match keeping {
        Keeping::Never => "never",
        Keeping::Unsaved => "unsaved",
        Keeping::Saving(..) => "saving",
        Keeping::Saved(_) => "saved",
        Keeping::Failed(_) => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_no_future() {
        let words = words(&Keeping::Saved(10_000.0), 0.0);
        assert_eq!(words.as_deref(), Some("Saved just now"));
    }
}
