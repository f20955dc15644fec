//! All about the guest's network, beside the machine and not instead of it: what a command in
//! the terminal does can be watched here.

use leptos::html::H2;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::capture::Capture;
use super::connection::Connection;
use super::flows::{BlockedList, Flows};
use super::light::LIGHT;
use super::rules::Rules;
use super::{Network, use_network};
use crate::ui::icon::{Drawing, Icon};

/// The element that the light opens.
pub(super) const PANEL: &str = "network-panel";

/// The panel, while it is open.
#[component]
pub(crate) fn NetworkPanel() -> impl IntoView {
    let network = use_network();
    view! {
        <Show when=move || network.open.get()>
            <Opened />
        </Show>
    }
}

#[component]
fn Opened() -> impl IntoView {
    let network = use_network();
    let title = NodeRef::<H2>::new();
    Effect::new(move |_| {
        if let Some(title) = title.get() {
            // Fails only for what cannot have the focus.
            let _ = title.focus();
        }
    });
    let escape = move |event: leptos::ev::KeyboardEvent| {
        if event.key() == "Escape" {
            event.stop_propagation();
            close(network);
        }
    };
    view! {
        <section
            id=PANEL
            class="network"
            role="dialog"
            aria-labelledby="network-title"
            data-testid="network-panel"
            on:keydown=escape
        >
            <header class="network-head">
                <h2 id="network-title" tabindex="-1" node_ref=title>"Network"</h2>
                <button
                    type="button"
                    class="button button-quiet button-icon"
                    aria-label="Close"
                    data-testid="network-close"
                    on:click=move |_| close(network)
                >
                    <Drawing icon=Icon::Close />
                </button>
            </header>
            <Connection />
            <Flows />
            <BlockedList />
            <Rules />
            <Capture />
        </section>
    }
}

fn close(network: Network) {
    network.open.set(false);
    if let Some(light) = document().get_element_by_id(LIGHT) {
        // Fails only for what cannot have the focus.
        let _ = light.unchecked_ref::<HtmlElement>().focus();
    }
}
