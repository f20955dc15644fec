//! The recording of the guest's frames, and its way into a file.

use js_sys::Date;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::state::Recording;
use super::{Network, use_network, words};
use crate::download::{blob, download};
use crate::library::words::{size, told};
use crate::ui::notice::Notice;

/// What is in a recording, for whoever looks at it from outside (registered with IANA).
const CONTENT: &str = "application/vnd.tcpdump.pcap";

/// The section.
#[component]
pub(super) fn Capture() -> impl IntoView {
    let network = use_network();
    let recording = Memo::new(move |_| network.state.with(|state| state.recording));
    let bytes = Memo::new(move |_| network.state.with(|state| state.report.captured));
    let card = Memo::new(move |_| network.state.with(|state| state.card));
    let press = move |_| match recording.get_untracked() {
        Recording::Off => {
            if let Err(fault) = network.record() {
                network.session.store().notify(Notice::new(told(&fault)));
            }
        }
        Recording::On => save(network),
        Recording::Stopping => {}
    };
    let label = move || match recording.get() {
        Recording::Off => "Start recording",
        Recording::On => "Stop and download",
        Recording::Stopping => "Fetching the file …",
    };
    let amount = move || {
        let on = recording.get() != Recording::Off;
        on.then(|| format!("{} recorded", size(bytes.get().unwrap_or_default())))
    };
    view! {
        <section class="network-part" aria-labelledby="network-pcap-title">
            <h3 id="network-pcap-title">"Recording"</h3>
            <div class="actions">
                <button
                    type="button"
                    class="button"
                    data-testid="network-pcap"
                    data-recording=move || (recording.get() != Recording::Off).to_string()
                    disabled=move || !card.get() || recording.get() == Recording::Stopping
                    aria-describedby="network-pcap-hint"
                    on:click=press
                >
                    {label}
                </button>
                <span class="network-amount" data-testid="network-pcap-size">{amount}</span>
            </div>
            <p class="hint" id="network-pcap-hint">
                "Every frame between the machine and its gateway, as a file for Wireshark or tcpdump. What the machine sends without encryption can be read in it, passwords too."
            </p>
        </section>
    }
}

fn save(network: Network) {
    spawn_local(async move {
        let store = network.session.store();
        match network.stop_recording().await {
            Ok(bytes) => match blob(&bytes, CONTENT) {
                Ok(file) => {
                    let name = words::file_name(moment());
                    download(&file, &name);
                    store.announce(format!("Recorded as {name}, {}.", size(bytes.len() as u64)));
                }
                Err(_) => store.notify(Notice::new(
                    "The browser has not enough memory for the recording's file.",
                )),
            },
            Err(fault) => store.notify(Notice::new(told(&fault))),
        }
    });
}

/// Year to second, by this browser's clock.
fn moment() -> [u32; 6] {
    let now = Date::new_0();
    [
        now.get_full_year(),
        now.get_month() + 1,
        now.get_date(),
        now.get_hours(),
        now.get_minutes(),
        now.get_seconds(),
    ]
}
