//! The engines as a person sees them: names, choices, the switcher.

use std::ops::RangeInclusive;

use emulator_protocol::{EngineKind, MachineState};
use leptos::prelude::*;

use crate::session::{Choice, use_session};
use crate::settings::use_settings;
use crate::ui::dialog::{Question, use_dialogs};

/// The engine of a first visit: there at once.
pub(crate) const DEFAULT_ENGINE: EngineKind = EngineKind::Sim;

/// The engine that `kernel` means: the one that boots a real Linux kernel and runs python in
/// it sooner, by `cargo xtask bench` (README.md has the figures of both).
pub(crate) const BEST_KERNEL: EngineKind = EngineKind::X86_64;

/// Engines in the order in which they are offered.
pub(crate) const ALL: [EngineKind; 3] = [EngineKind::Sim, EngineKind::V86, EngineKind::X86_64];

/// Guest memory that may be asked for, in MiB. Below, no kernel and its initial RAM disk have
/// room; above, it is no longer one piece of a 32-bit program's memory. An engine may do with
/// less than all of this, and says so.
pub(crate) const MEMORY_MIB: RangeInclusive<u32> = 64..=2048;

/// Guest memory that is offered, in MiB.
pub(crate) const MEMORY_CHOICES: [u32; 6] = [64, 128, 256, 512, 1024, 2048];

/// Guest memory of a first visit, in MiB: enough for python3 and git, little enough for a
/// telephone.
pub(crate) const DEFAULT_MEMORY_MIB: u32 = 256;

/// What [`named`] understands, for people.
pub(crate) const NAMES: &str = "sim, v86, x86-64 or kernel";

/// The engine of a name in an address or a program.
#[must_use]
pub(crate) fn named(name: &str) -> Option<EngineKind> {
    match name {
        "kernel" => Some(BEST_KERNEL),
        _ => ALL.into_iter().find(|engine| id(*engine) == name),
    }
}

/// The name for programs.
#[must_use]
pub(crate) fn id(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Sim => "sim",
        EngineKind::V86 => "v86",
        EngineKind::X86_64 => "x86-64",
    }
}

/// The name for people.
#[must_use]
pub(crate) fn label(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Sim => "Simulated shell",
        EngineKind::V86 => "32-bit Linux",
        EngineKind::X86_64 => "64-bit Linux",
    }
}

/// What it is, in one sentence.
#[must_use]
pub(crate) fn description(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Sim => "A shell that imitates Linux. No kernel; there at once.",
        EngineKind::V86 => "Debian on a real Linux kernel, on an emulated 32-bit PC (v86).",
        EngineKind::X86_64 => "Debian on a real 64-bit Linux kernel, on our own micro-VM.",
    }
}

/// Whether it runs a real kernel, with memory that a restart loses.
#[must_use]
pub(crate) fn is_real(engine: EngineKind) -> bool {
    match engine {
        EngineKind::Sim => false,
        EngineKind::V86 | EngineKind::X86_64 => true,
    }
}

/// Starts another engine by a person's wish: saves the machine first, or asks before its
/// memory is lost, and remembers the choice.
pub(crate) fn switch_to(engine: EngineKind) -> impl Fn() + Copy + Send + Sync + 'static {
    let session = use_session();
    let settings = use_settings();
    let start = move || {
        settings.update(|preferences| preferences.engine = Some(engine));
        session.boot(Choice { engine: Some(engine), ..Choice::default() });
    };
    guarded("Switch engine?", "Switch", true, start)
}

/// Restarts by a person's wish: asks before a real machine's memory is lost. Nothing is saved
/// before, because who restarts wants to be rid of it; what was saved stays until the new
/// machine is saved.
pub(crate) fn restart() -> impl Fn() + Copy + Send + Sync + 'static {
    let session = use_session();
    guarded("Restart the machine?", "Restart", false, move || {
        session.reset();
    })
}

/// Starts a machine as the settings have it, by a person's wish.
pub(crate) fn start_planned() -> impl Fn() + Copy + Send + Sync + 'static {
    let session = use_session();
    guarded("Restart the machine?", "Restart", true, move || {
        session.boot(Choice::default());
    })
}

/// Goes back to the last save by a person's wish: asks before what came after it is lost.
pub(crate) fn guarded_go_back() -> impl Fn() + Copy + Send + Sync + 'static {
    let session = use_session();
    guarded("Go back to the last save?", "Go back", false, move || {
        session.go_back();
    })
}

/// Acts after the machine was saved, if `saves` and the settings say so, or after a person has
/// agreed to lose it.
fn guarded(
    title: &'static str,
    confirm: &'static str,
    saves: bool,
    act: impl Fn() + Copy + Send + Sync + 'static,
) -> impl Fn() + Copy + Send + Sync + 'static {
    let session = use_session();
    let settings = use_settings();
    let dialogs = use_dialogs();
    move || {
        let ask = move |text: String| {
            dialogs.ask(Question {
                title: title.into(),
                text,
                subject: None,
                confirm,
                act: Callback::new(move |()| act()),
            });
        };
        let state = session.state();
        if !state.is_live() || !is_real(state.engine) {
            act();
        } else if !saves {
            ask("What this machine has in its memory and on its disk now is lost. To keep it, save \
                 it under a name first."
                .into());
        } else if !session.is_dirty() {
            act();
        } else if settings.autosaves() && state.machine != MachineState::Booting {
            session.save_then(act, move |fault| {
                ask(format!(
                    "{} What it has in its memory and on its disk is lost.",
                    fault.summary
                ));
            });
        } else {
            ask("What this machine has in its memory and on its disk is not saved, and is lost."
                .into());
        }
    }
}

/// A group of radio buttons, one an engine.
#[component]
pub(crate) fn EngineSwitcher() -> impl IntoView {
    let state = use_session().store().state();
    let current = Memo::new(move |_| state.with(|state| state.engine));
    let options = ALL.map(|engine| {
        let switch = switch_to(engine);
        let chosen = move || current.get() == engine;
        // A telephone has room for one word of each.
        let (word, rest) = label(engine).split_once(' ').unwrap_or((label(engine), ""));
        view! {
            <button
                type="button"
                role="radio"
                class="segment"
                data-testid=format!("engine-{}", id(engine))
                data-engine=id(engine)
                aria-checked=move || chosen().to_string()
                tabindex=move || if chosen() { "0" } else { "-1" }
                title=description(engine)
                aria-label=label(engine)
                on:click=move |_| {
                    if !chosen() {
                        switch();
                    }
                }
            >
                {word}
                <span class="segment-rest">{format!(" {rest}")}</span>
            </button>
        }
    });
    view! {
        <div class="segments" role="radiogroup" aria-label="Engine" on:keydown=rove>
            {options.into_iter().collect_view()}
        </div>
    }
}

/// Arrow keys move the focus inside of the group; Space and Enter choose, because a choice
/// restarts the machine and must not come from mere movement.
fn rove(event: leptos::ev::KeyboardEvent) {
    use wasm_bindgen::JsCast;
    let step = match event.key().as_str() {
        "ArrowRight" | "ArrowDown" => 1,
        "ArrowLeft" | "ArrowUp" => ALL.len() - 1,
        _ => return,
    };
    let Some(target) = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok())
    else {
        return;
    };
    let here = target.get_attribute("data-engine").and_then(|name| named(&name));
    let Some(index) = ALL.iter().position(|engine| Some(*engine) == here) else { return };
    let next = id(ALL[(index + step) % ALL.len()]);
    let sibling = target
        .parent_element()
        .and_then(|group| group.query_selector(&format!("[data-engine='{next}']")).ok().flatten())
        .and_then(|element| element.dyn_into::<web_sys::HtmlElement>().ok());
    if let Some(sibling) = sibling {
        event.prevent_default();
        let _ = sibling.focus();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_engines_lead_back_to_them() {
        for engine in ALL {
            assert_eq!(named(id(engine)), Some(engine));
        }
        assert!(ALL.into_iter().all(|engine| NAMES.contains(id(engine))));
        assert_eq!(named("kernel"), Some(BEST_KERNEL));
        assert!(is_real(BEST_KERNEL), "a kernel is real");
        assert_eq!(named("qemu"), None);
    }

    #[test]
    fn the_default_memory_is_one_of_the_choices() {
        assert!(MEMORY_CHOICES.contains(&DEFAULT_MEMORY_MIB));
        assert!(MEMORY_CHOICES.iter().all(|mib| MEMORY_MIB.contains(mib)));
    }
}
