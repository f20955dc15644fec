//! When the machine was saved last, in a few words that lead to all snapshots.

use gloo::timers::callback::Interval;
use leptos::prelude::*;
use leptos_router::components::A;

use super::words::ago;
use crate::session::saving::Keeping;
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
    view! {
        <Show when=move || words.with(Option::is_some)>
            <A href="/snapshots" attr:class="kept" attr:data-testid="kept" attr:data-kept=move || kind.get()>
                {move || words.get()}
            </A>
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
