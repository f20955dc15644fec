//! The machine's condition: a line of words and figures, and what to do when it ended.

pub(crate) mod fault;
mod kept;
pub(crate) mod words;

use emulator_protocol::MachineState;
use leptos::prelude::*;

use crate::engines;
use crate::network::light::NetworkLight;
use crate::session::use_session;
use kept::Kept;

/// The line at the page's foot.
#[component]
pub(crate) fn Status() -> impl IntoView {
    let state = use_session().store().state();
    let engine = Memo::new(move |_| state.with(|state| state.engine));
    let machine = Memo::new(move |_| state.with(|state| state.machine));
    let stalled = Memo::new(move |_| state.with(|state| state.stalled));
    let condition = Memo::new(move |_| state.with(words::condition));
    let figures = Memo::new(move |_| state.with(words::figures));
    let figure = |(name, value): (&'static str, String)| {
        view! {
            <div class="figure">
                <dt>{name}</dt>
                <dd>{value}</dd>
            </div>
        }
    };
    view! {
        <footer
            class="status"
            class:status-stalled=move || stalled.get()
            data-testid="status"
            data-engine=move || engines::id(engine.get())
            data-state=move || crate::api::state_name(machine.get())
        >
            <span class="status-light" aria-hidden="true"></span>
            <span class="status-engine">{move || engines::label(engine.get())}</span>
            <span class="status-words">{move || condition.get()}</span>
            <Kept />
            <NetworkLight />
            <dl class="figures">{move || figures.get().into_iter().map(figure).collect_view()}</dl>
        </footer>
    }
}

/// How far the boot has come, over the terminal that has nothing to show yet. It lets
/// clicks through, and a boot that is done at once never shows it (style/status.css).
#[component]
pub(crate) fn BootCard() -> impl IntoView {
    let state = use_session().store().state();
    let booting = Memo::new(move |_| {
        state.with(|state| state.machine == MachineState::Booting && !state.stalled)
    });
    let percent = Memo::new(move |_| {
        let fraction = state.with(|state| state.progress.as_ref().map_or(0.0, words::fraction));
        (fraction * 100.0).round() as u32
    });
    let title = Memo::new(move |_| {
        let engine = state.with(|state| state.engine);
        if engines::is_real(engine) { "Starting a real machine" } else { "Starting the shell" }
    });
    let text = Memo::new(move |_| state.with(words::condition));
    view! {
        <Show when=move || booting.get()>
            <div class="bootcard" data-testid="boot">
                <p class="bootcard-title">{move || title.get()}</p>
                <div
                    class="bootbar"
                    role="progressbar"
                    aria-label="Boot"
                    aria-valuemin="0"
                    aria-valuemax="100"
                    aria-valuenow=move || percent.get().to_string()
                    aria-valuetext=move || text.get()
                >
                    <div class="bootbar-fill" style:width=move || format!("{}%", percent.get())></div>
                </div>
                <p class="bootcard-words">{move || text.get()}</p>
            </div>
        </Show>
    }
}

/// Changes of the machine's state, for screen readers.
#[component]
pub(crate) fn Announcer() -> impl IntoView {
    let store = use_session().store();
    let state = store.state();
    let words = Memo::new(move |_| state.with(words::announcement));
    view! {
        <div class="unseen" aria-live="polite" data-testid="announcer">
            <p>{move || words.get()}</p>
            <p>{move || store.announcement().get()}</p>
        </div>
    }
}
