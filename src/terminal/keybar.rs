//! Keys that a telephone's keyboard does not have.

use leptos::prelude::*;

use super::{Handle, Held};

/// A key: what is on it, its name, what it types, and an arrow's final letter.
type Key = (&'static str, &'static str, &'static str, &'static str);

const ESCAPE: Key = ("Esc", "Escape", "\x1b", "");
const TAB: Key = ("Tab", "Tab", "\t", "");

const KEYS: [Key; 7] = [
    ("←", "Left", "", "D"),
    ("↑", "Up", "", "A"),
    ("↓", "Down", "", "B"),
    ("→", "Right", "", "C"),
    ("|", "Pipe", "|", ""),
    ("/", "Slash", "/", ""),
    ("-", "Minus", "-", ""),
];

/// A row of keys; shown by the style sheet where the pointer is a finger.
#[component]
pub(crate) fn KeyBar() -> impl IntoView {
    let handle: Handle = expect_context();
    let key = move |(face, name, text, arrow): Key| {
        view! {
            <button
                type="button"
                class="key"
                aria-label=name
                tabindex="-1"
                on:click=move |_| handle.with(|screen| screen.press(text, arrow))
            >
                {face}
            </button>
        }
    };
    let held = handle.held;
    let ctrl = move || held.get().ctrl;
    let alt = move || held.get().alt;
    view! {
        // The focus stays in the terminal, and with it the telephone's keyboard.
        <div
            class="keybar"
            role="toolbar"
            aria-label="Keys"
            data-testid="keybar"
            on:pointerdown=|event| event.prevent_default()
            on:mousedown=|event| event.prevent_default()
        >
            {key(ESCAPE)}
            {key(TAB)}
            <button
                type="button"
                class="key"
                tabindex="-1"
                aria-pressed=move || ctrl().to_string()
                on:click=move |_| {
                    let held = held.get_untracked();
                    handle.hold(Held { ctrl: !held.ctrl, ..held });
                }
            >
                "Ctrl"
            </button>
            <button
                type="button"
                class="key"
                tabindex="-1"
                aria-pressed=move || alt().to_string()
                on:click=move |_| {
                    let held = held.get_untracked();
                    handle.hold(Held { alt: !held.alt, ..held });
                }
            >
                "Alt"
            </button>
            {KEYS.map(key).into_iter().collect_view()}
        </div>
    }
}
