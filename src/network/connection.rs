//! The relay: which, how it stands, and what can be done about it.

use emulator_protocol::{Credentials, RelayState};
use leptos::html::Input;
use leptos::prelude::*;

use super::relay::{ADDRESS_LIMIT, Relay, Wrong};
use super::{intent, use_network, words};
use crate::engines;
use crate::library::words::size;

/// Characters of a name and of a password at most; a token is a few hundred.
const SECRET_LIMIT: usize = 4096;

/// The section.
#[component]
pub(super) fn Connection() -> impl IntoView {
    view! {
        <div class="network-part">
            <Condition />
            <Form />
            <Facts />
        </div>
    }
}

/// How it stands, in sentences.
#[component]
fn Condition() -> impl IntoView {
    let network = use_network();
    let machine = network.session.store().state();
    let relay = Memo::new(move |_| network.state.with(|state| state.report.relay.clone()));
    let simulated = Memo::new(move |_| {
        machine.with(|state| state.is_live() && !engines::is_real(state.engine))
    });
    let meaning =
        Memo::new(move |_| network.state.with(|state| words::meaning(state, simulated.get())));
    let word = Memo::new(move |_| {
        let now = network.clock.get();
        network.state.with(|state| words::light(state, now))
    });
    let greeting = move || match relay.get() {
        RelayState::Up { greeting, .. } => greeting,
        _ => None,
    };
    let without = move || network.intent.relay().is_none();
    view! {
        <div
            class="network-condition"
            data-testid="network-state"
            data-network=move || relay.with(words::relay_name)
        >
            <p class="network-word">
                <span class="network-lamp" aria-hidden="true"></span>
                {move || word.get()}
            </p>
            <p>{move || meaning.get()}</p>
            {move || {
                relay.with(|relay| words::reason(relay).map(str::to_string)).map(|reason| {
                    view! { <p class="network-quote" dir="auto">{reason}</p> }
                })
            }}
            {move || {
                greeting().map(|words| {
                    view! {
                        <p class="hint">"The relay says:"</p>
                        <p class="network-quote" dir="auto">{words}</p>
                    }
                })
            }}
            <Show when=without>
                <p class="hint">
                    "A relay is a small program that carries the machine's connections to the internet. To have one on this computer, run "
                    <code>"cargo run -p relay"</code> " and connect to the address that it prints; "
                    <code>"docs/relay.md"</code> " tells the rest."
                </p>
            </Show>
        </div>
    }
}

/// Address, name and password, and the buttons.
#[component]
fn Form() -> impl IntoView {
    let network = use_network();
    let intent = network.intent();
    let address = NodeRef::<Input>::new();
    let user = NodeRef::<Input>::new();
    let password = NodeRef::<Input>::new();
    let complaint = RwSignal::new(None::<Wrong>);
    let relay = Memo::new(move |_| network.state.with(|state| state.report.relay.clone()));
    let wanted = Memo::new(move |_| intent.relay());
    let shown = move || {
        let relay = wanted.get().or_else(|| intent.kept());
        relay.map(|relay| relay.as_str().to_string()).unwrap_or_default()
    };
    let again =
        move || matches!(relay.get(), RelayState::BackingOff { .. } | RelayState::Refused { .. });
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let value = |field: NodeRef<Input>| field.get_untracked().map(|field| field.value());
        let Some(text) = value(address) else { return };
        match Relay::parse(&text, intent::is_secure()) {
            Ok(relay) => {
                complaint.set(None);
                let told = Credentials {
                    user: value(user).unwrap_or_default(),
                    password: value(password).unwrap_or_default(),
                };
                let given = !told.user.is_empty() || !told.password.is_empty();
                network.connect(relay, given.then_some(told));
                if let Some(field) = password.get_untracked() {
                    field.set_value("");
                }
            }
            Err(wrong) => {
                complaint.set(Some(wrong));
                if let Some(field) = address.get_untracked() {
                    field.select();
                }
            }
        }
    };
    view! {
        <form class="network-form" on:submit=submit novalidate>
            <div class="field">
                <label for="network-relay">"Relay address"</label>
                <input
                    id="network-relay"
                    type="text"
                    inputmode="url"
                    autocomplete="off"
                    autocapitalize="off"
                    spellcheck="false"
                    maxlength=ADDRESS_LIMIT.to_string()
                    placeholder="ws://127.0.0.1:6001/"
                    data-testid="network-relay"
                    node_ref=address
                    aria-invalid=move || complaint.with(Option::is_some).to_string()
                    aria-describedby="network-complaint network-kept"
                    prop:value=shown
                />
                <p class="complaint" id="network-complaint" role="alert">
                    {move || complaint.get().map(Wrong::words)}
                </p>
                <p class="hint" id="network-kept">
                    "Kept in this browser when you connect. Disconnecting holds until the page is loaded anew."
                </p>
            </div>
            <SignIn user password />
            <div class="actions">
                <button type="submit" class="button button-primary" data-testid="network-connect">
                    "Connect"
                </button>
                <button
                    type="button"
                    class="button"
                    data-testid="network-disconnect"
                    disabled=move || wanted.with(Option::is_none)
                    on:click=move |_| network.disconnect()
                >
                    "Disconnect"
                </button>
                <Show when=again>
                    <button
                        type="button"
                        class="button"
                        data-testid="network-retry"
                        on:click=move |_| network.reconnect()
                    >
                        "Try now"
                    </button>
                </Show>
            </div>
        </form>
    }
}

/// Name and password; opens by itself when the relay asks for them.
#[component]
fn SignIn(user: NodeRef<Input>, password: NodeRef<Input>) -> impl IntoView {
    let network = use_network();
    let intent = network.intent();
    let asked = Memo::new(move |_| {
        network
            .state
            .with(|state| matches!(state.report.relay, RelayState::AuthenticationNeeded { .. }))
    });
    let forget = move |_| {
        intent.forget_credentials();
        network.reconnect();
    };
    view! {
        <details class="network-signin" data-testid="network-signin" prop:open=move || asked.get()>
            <summary>"Name and password, or a token"</summary>
            <div class="field">
                <label for="network-user">"Name (may be empty)"</label>
                <input
                    id="network-user"
                    type="text"
                    autocomplete="off"
                    autocapitalize="off"
                    spellcheck="false"
                    maxlength=SECRET_LIMIT.to_string()
                    data-testid="network-user"
                    node_ref=user
                />
            </div>
            <div class="field">
                <label for="network-password">"Password or token"</label>
                <input
                    id="network-password"
                    type="password"
                    autocomplete="off"
                    maxlength=SECRET_LIMIT.to_string()
                    data-testid="network-password"
                    node_ref=password
                    aria-describedby="network-secret"
                />
            </div>
            <p class="hint" id="network-secret">
                "Told to this relay only. Kept until this page is closed or loaded anew, and never in an address or in the browser's storage."
            </p>
            <Show when=move || intent.has_credentials()>
                <div class="strip strip-inset">
                    <span>"This relay is told a name or a password."</span>
                    <button
                        type="button"
                        class="button"
                        data-testid="network-forget"
                        on:click=forget
                    >
                        "Forget it"
                    </button>
                </div>
            </Show>
        </details>
    }
}

/// Figures.
#[component]
fn Facts() -> impl IntoView {
    let network = use_network();
    let facts = Memo::new(move |_| {
        network.state.with(|state| {
            let report = &state.report;
            let mut facts = Vec::new();
            if let RelayState::Up { version, udp, .. } = report.relay {
                let udp = if udp { "TCP and UDP" } else { "TCP" };
                facts.push(("Relay speaks", format!("WISP {version}, {udp}")));
            }
            let lease = report.lease.clone().unwrap_or_else(|| "none yet".into());
            facts.push(("Machine's address", lease));
            facts.push(("Sent", size(report.sent)));
            facts.push(("Received", size(report.received)));
            facts
        })
    });
    let fact = |(name, value): (&'static str, String)| {
        view! {
            <div>
                <dt>{name}</dt>
                <dd>{value}</dd>
            </div>
        }
    };
    view! {
        <dl class="network-facts" data-testid="network-facts">
            {move || facts.get().into_iter().map(fact).collect_view()}
        </dl>
    }
}
