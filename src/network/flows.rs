//! The guest's connections, and those that were not let through. Names and reasons are
//! strangers' text: text nodes, each isolated in its direction.

use emulator_protocol::{Blocked, Flow};
use leptos::prelude::*;

use super::{use_network, words};
use crate::library::words::size;

/// Connections, the newest first. No live region: it would never be silent.
#[component]
pub(super) fn Flows() -> impl IntoView {
    let network = use_network();
    let ids = Memo::new(move |_| {
        network
            .state
            .with(|state| state.report.flows.iter().map(|flow| flow.id).collect::<Vec<_>>())
    });
    let row = |id: u32| view! { <Row id /> };
    view! {
        <section class="network-part" aria-labelledby="network-flows-title">
            <h3 id="network-flows-title">"Connections"</h3>
            <Show
                when=move || ids.with(|ids| !ids.is_empty())
                fallback=|| view! { <p class="hint">"The machine has made none yet."</p> }
            >
                <div class="network-scroll" tabindex="0" role="region" aria-labelledby="network-flows-title">
                    <table class="parts network-table" data-testid="network-flows">
                        <thead>
                            <tr>
                                <th scope="col">"Host"</th>
                                <th scope="col">"Port"</th>
                                <th scope="col">"Sent"</th>
                                <th scope="col">"Received"</th>
                                <th scope="col">"Age"</th>
                                <th scope="col">"State"</th>
                            </tr>
                        </thead>
                        <tbody>
                            <For each=move || ids.get() key=|id| *id children=row />
                        </tbody>
                    </table>
                </div>
            </Show>
        </section>
    }
}

/// A connection. Its row stays while its figures change.
#[component]
fn Row(id: u32) -> impl IntoView {
    let network = use_network();
    let flow = Memo::new(move |_| {
        network.state.with(|state| state.report.flows.iter().find(|flow| flow.id == id).cloned())
    });
    let part = move |read: fn(&Flow) -> String| {
        move || flow.with(|flow| flow.as_ref().map(read).unwrap_or_default())
    };
    let age = move || {
        let now = network.clock.get();
        let age =
            |flow: &Flow| words::age(network.state.with_untracked(|state| state.age_ms(flow, now)));
        flow.with(|flow| flow.as_ref().map(age).unwrap_or_default())
    };
    view! {
        <tr data-testid="network-flow" data-flow=part(|flow| words::flow_name(flow.state).into())>
            <th scope="row" class="network-host"><bdi>{part(|flow| flow.host.clone())}</bdi></th>
            <td>{part(|flow| port(flow.port, words::transport_name(flow.transport)))}</td>
            <td class="network-figure">{part(|flow| size(flow.sent))}</td>
            <td class="network-figure">{part(|flow| size(flow.received))}</td>
            <td class="network-figure">{age}</td>
            <td class="network-why"><bdi>{part(words::flow)}</bdi></td>
        </tr>
    }
}

/// What was not let through.
#[component]
pub(super) fn BlockedList() -> impl IntoView {
    let network = use_network();
    let blocked = Memo::new(move |_| network.state.with(|state| state.report.blocked.clone()));
    let row = |one: Blocked| {
        view! {
            <tr>
                <th scope="row" class="network-host"><bdi>{one.host}</bdi></th>
                <td>{port(one.port, words::transport_name(one.transport))}</td>
                <td class="network-figure">{format!("{}×", one.count)}</td>
                <td class="network-why"><bdi>{one.why}</bdi></td>
            </tr>
        }
    };
    view! {
        <section class="network-part" aria-labelledby="network-blocked-title" data-testid="network-blocked">
            <h3 id="network-blocked-title">"Not let through"</h3>
            <Show
                when=move || blocked.with(|blocked| !blocked.is_empty())
                fallback=|| view! { <p class="hint">"No rule has stopped anything yet."</p> }
            >
                <div class="network-scroll" tabindex="0" role="region" aria-labelledby="network-blocked-title">
                    <table class="parts network-table">
                        <thead>
                            <tr>
                                <th scope="col">"Host"</th>
                                <th scope="col">"Port"</th>
                                <th scope="col">"Tries"</th>
                                <th scope="col">"Why"</th>
                            </tr>
                        </thead>
                        <tbody>{move || blocked.get().into_iter().map(row).collect_view()}</tbody>
                    </table>
                </div>
            </Show>
        </section>
    }
}

fn port(port: u16, transport: &str) -> String {
    format!("{port} {transport}")
}
