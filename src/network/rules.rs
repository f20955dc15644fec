//! The editor of the rules: nothing of a text is in force before all of it is right.

use leptos::html::Textarea;
use leptos::prelude::*;

use super::policy::{self, Mistake, TEXT_LIMIT};
use super::{Network, use_network};
use emulator_protocol::{FlowState, Policy, Verdict};

/// Mistakes that are shown at most; whoever has more begins with these.
const SHOWN_MISTAKES: usize = 5;

/// The section.
#[component]
pub(super) fn Rules() -> impl IntoView {
    let network = use_network();
    let field = NodeRef::<Textarea>::new();
    let mistakes = RwSignal::new(Vec::<Mistake>::new());
    let in_force = Memo::new(move |_| network.intent.policy());
    let text = move || network.draft.get().unwrap_or_else(|| in_force.get());
    let changed = Memo::new(move |_| {
        network.draft.with(|draft| draft.as_ref().is_some_and(|draft| *draft != in_force.get()))
    });
    let apply = move |_| {
        let result = network.set_policy(&untrack(text), true);
        match result {
            Ok(()) => {
                network.draft.set(None);
                mistakes.set(Vec::new());
                network.session.store().announce("The rules are in force.");
            }
            Err(wrong) => {
                mistakes.set(wrong);
                if let Some(field) = field.get_untracked() {
                    // Fails only for what cannot have the focus.
                    let _ = field.focus();
                }
            }
        }
    };
    let undo = move |_| {
        network.draft.set(None);
        mistakes.set(Vec::new());
    };
    let preset = move |make: fn(Network) -> String| {
        move |_| {
            mistakes.set(Vec::new());
            network.draft.set(Some(make(network)));
        }
    };
    view! {
        <section class="network-part" aria-labelledby="network-rules-title">
            <h3 id="network-rules-title">"Rules"</h3>
            <div class="field">
                <label for="network-policy">"Whom the machine may talk to"</label>
                <textarea
                    id="network-policy"
                    class="network-rules"
                    rows="7"
                    autocomplete="off"
                    autocapitalize="off"
                    spellcheck="false"
                    maxlength=TEXT_LIMIT.to_string()
                    placeholder="default allow"
                    data-testid="network-policy"
                    node_ref=field
                    aria-invalid=move || mistakes.with(|all| !all.is_empty()).to_string()
                    aria-describedby="network-mistakes network-grammar"
                    prop:value=text
                    on:input:target=move |event| network.draft.set(Some(event.target().value()))
                ></textarea>
                <Mistakes mistakes />
                <p class="hint" id="network-grammar">
                    "One rule a line, the first that fits decides: " <code>"allow"</code> " or "
                    <code>"deny"</code> ", then " <code>"example.org"</code>
                    " (that host and all names below it), " <code>"192.0.2.1"</code> ", "
                    <code>"10.0.0.0/8"</code> " or " <code>"*"</code> ", perhaps with "
                    <code>":443"</code> " or " <code>":8000-8999"</code> ". The last line is "
                    <code>"default allow"</code> " or " <code>"default deny"</code>
                    "; what follows a " <code>"#"</code> " is a remark."
                </p>
            </div>
            <div class="actions">
                <button
                    type="button"
                    class="button button-primary"
                    data-testid="network-policy-apply"
                    disabled=move || !changed.get()
                    on:click=apply
                >
                    "Apply"
                </button>
                <button
                    type="button"
                    class="button"
                    data-testid="network-policy-undo"
                    disabled=move || !changed.get()
                    on:click=undo
                >
                    "Undo"
                </button>
            </div>
            <div class="actions" role="group" aria-label="Begin with">
                <button type="button" class="button button-quiet" on:click=preset(|_| all(Verdict::Allow))>
                    "Allow all"
                </button>
                <button type="button" class="button button-quiet" on:click=preset(|_| all(Verdict::Deny))>
                    "Deny all"
                </button>
                <button
                    type="button"
                    class="button button-quiet"
                    data-testid="network-policy-only"
                    on:click=preset(only_these)
                >
                    "Only these hosts"
                </button>
            </div>
        </section>
    }
}

/// What is wrong, line by line; heard at once.
#[component]
fn Mistakes(mistakes: RwSignal<Vec<Mistake>>) -> impl IntoView {
    let item = |mistake: &Mistake| view! { <li><bdi>{mistake.told()}</bdi></li> };
    let shown =
        move || mistakes.with(|all| all.iter().take(SHOWN_MISTAKES).map(item).collect_view());
    let more = move || mistakes.with(|all| all.len().saturating_sub(SHOWN_MISTAKES));
    let any = move || mistakes.with(|all| !all.is_empty());
    view! {
        <div id="network-mistakes" role="alert" data-testid="network-policy-mistakes">
            <Show when=any>
                <ul class="complaint network-mistakes">
                    {shown} {move || (more() > 0).then(|| view! { <li>{format!("And {} more.", more())}</li> })}
                </ul>
                <p class="hint">"Nothing has changed yet."</p>
            </Show>
        </div>
    }
}

fn all(default: Verdict) -> String {
    policy::write(&Policy { rules: Vec::new(), default })
}

/// The hosts that the machine has reached until now, or an example where there are none.
fn only_these(network: Network) -> String {
    network.state.with_untracked(|state| {
        let reached =
            |flow: &&emulator_protocol::Flow| flow.state != FlowState::Closed || flow.received > 0;
        let flows = state.report.flows.iter().filter(reached);
        let policy = policy::only(flows.map(|flow| flow.host.as_str()));
        if policy.rules.is_empty() {
            return policy::write(&policy::only(["example.org"].into_iter()));
        }
        policy::write(&policy)
    })
}
