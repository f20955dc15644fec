//! Short words that the page says without being asked.

use leptos::prelude::*;

use super::icon::{Drawing, Icon};

/// Something was not done as asked, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice(String);

impl Notice {
    /// A notice of these words.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Shows notices until each is taken away by hand.
#[component]
pub(crate) fn Notices(
    /// What to show.
    notices: Signal<Vec<Notice>>,
    /// Takes one away.
    dismiss: Callback<Notice>,
) -> impl IntoView {
    let item = move |notice: Notice| {
        let text = notice.0.clone();
        view! {
            <li class="notice">
                <span>{text}</span>
                <button
                    type="button"
                    class="button button-quiet button-icon"
                    aria-label="Dismiss"
                    on:click=move |_| dismiss.run(notice.clone())
                >
                    <Drawing icon=Icon::Close />
                </button>
            </li>
        }
    };
    view! {
        <ul class="notices" role="status" aria-label="Notices" data-testid="notices">
            <For each=move || notices.get() key=|notice| notice.0.clone() children=item />
        </ul>
    }
}
