//! The network's place in the status line: a light with a word, which opens the panel.

use leptos::prelude::*;

use super::panel::PANEL;
use super::{use_network, words};

/// Where the focus goes back to when the panel closes.
pub(super) const LIGHT: &str = "network-light";

/// The light.
#[component]
pub(crate) fn NetworkLight() -> impl IntoView {
    let network = use_network();
    let name =
        Memo::new(move |_| network.state.with(|state| words::relay_name(&state.report.relay)));
    let word = Memo::new(move |_| {
        let now = network.clock.get();
        network.state.with(|state| words::light(state, now))
    });
    view! {
        <button
            type="button"
            id=LIGHT
            class="network-light"
            data-testid="network-light"
            data-network=move || name.get()
            aria-haspopup="dialog"
            aria-expanded=move || network.open.get().to_string()
            aria-controls=PANEL
            on:click=move |_| network.open.update(|open| *open = !*open)
        >
            <span class="network-lamp" aria-hidden="true"></span>
            <span class="network-light-name">"Network "</span>
            <span>{move || word.get()}</span>
        </button>
    }
}
