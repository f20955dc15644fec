//! The relay among the settings: what is kept for later visits.

use leptos::prelude::*;

use super::relay::{ADDRESS_LIMIT, Wrong};
use super::use_network;
use crate::settings::use_settings;

/// The section.
#[component]
pub(crate) fn RelayCard() -> impl IntoView {
    let network = use_network();
    let intent = network.intent();
    let preferences = use_settings().preferences();
    let complaint = RwSignal::new(None::<Wrong>);
    let overruled = move || intent.is_for_this_visit();
    let change = move |text: String| {
        let kept = intent.keep_text(&text);
        complaint.set(kept.err());
        if kept.is_ok() {
            network.reconnect();
        }
    };
    view! {
        <section class="card" aria-labelledby="settings-network">
            <h2 id="settings-network">"Network"</h2>
            <div class="field">
                <label for="relay">"Relay address"</label>
                <input
                    id="relay"
                    type="text"
                    inputmode="url"
                    autocomplete="off"
                    autocapitalize="off"
                    spellcheck="false"
                    maxlength=ADDRESS_LIMIT.to_string()
                    placeholder="wss://relay.example.org/"
                    aria-invalid=move || complaint.with(Option::is_some).to_string()
                    aria-describedby="relay-complaint relay-hint"
                    prop:value=move || preferences.with(|kept| kept.relay.clone())
                    on:change:target=move |event| change(event.target().value())
                />
                <p class="complaint" id="relay-complaint" role="alert">
                    {move || complaint.get().map(|wrong| format!("Not saved. {}", wrong.words()))}
                </p>
                <p class="hint" id="relay-hint">
                    "A relay carries the machine's connections to the internet. Without one the machine has no network."
                </p>
                <Show when=overruled>
                    <p class="hint">
                        "In this visit something else was decided, by the page's address or in the panel; it wins over this setting."
                    </p>
                </Show>
            </div>
            <div class="actions">
                <button type="button" class="button" on:click=move |_| network.open.set(true)>
                    "Open the network's panel"
                </button>
            </div>
        </section>
    }
}
