//! Search in screen and scrollback.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::Handle;
use crate::ui::icon::{Drawing, Icon};

/// The search field; Ctrl+Shift+F opens it, Escape closes it.
#[component]
pub(crate) fn Search(handle: Handle) -> impl IntoView {
    let shown = handle.searching;
    view! {
        <Show when=move || shown.get()>
            <Field handle />
        </Show>
    }
}

/// Puts the keyboard's focus into the field, if it is open.
pub(super) fn focus() {
    let field = document().query_selector(".search input").ok().flatten();
    if let Some(field) = field.and_then(|field| field.dyn_into::<HtmlElement>().ok()) {
        // Focus fails only for hidden elements.
        let _ = field.focus();
    }
}

#[component]
fn Field(handle: Handle) -> impl IntoView {
    let term = RwSignal::new(String::new());
    let find = move |backwards, incremental| {
        let term = term.get_untracked();
        if term.is_empty() {
            handle.matches.set((-1, 0));
            handle.with(|screen| screen.end_search());
        } else {
            handle.with(|screen| {
                screen.find(&term, backwards, incremental);
            });
        }
    };
    let close = move || {
        handle.searching.set(false);
        handle.matches.set((-1, 0));
        handle.with(|screen| {
            screen.end_search();
            screen.focus();
        });
    };
    let count = move || match handle.matches.get() {
        _ if term.with(String::is_empty) => String::new(),
        (_, 0) => "Nothing found".into(),
        (index, count) if index >= 0 => format!("{} of {count}", index + 1),
        (_, count) => format!("{count} found"),
    };
    let on_key = move |event: leptos::ev::KeyboardEvent| match event.key().as_str() {
        "Escape" => close(),
        "Enter" => {
            event.prevent_default();
            find(event.shift_key(), false);
        }
        _ => {}
    };
    view! {
        <search class="search" on:keydown=on_key data-testid="search">
            <input
                type="search"
                aria-label="Search in the terminal"
                placeholder="Search"
                autocomplete="off"
                spellcheck="false"
                on:input:target=move |event| {
                    term.set(event.target().value());
                    find(false, true);
                }
            />
            <output class="search-count" aria-live="polite">{count}</output>
            <button
                type="button"
                class="button button-quiet button-icon"
                aria-label="Previous match"
                title="Previous match (Shift+Enter)"
                on:click=move |_| find(true, false)
            >
                <Drawing icon=Icon::Up />
            </button>
            <button
                type="button"
                class="button button-quiet button-icon"
                aria-label="Next match"
                title="Next match (Enter)"
                on:click=move |_| find(false, false)
            >
                <Drawing icon=Icon::Down />
            </button>
            <button
                type="button"
                class="button button-quiet button-icon"
                aria-label="Close search"
                title="Close (Escape)"
                on:click=move |_| close()
            >
                <Drawing icon=Icon::Close />
            </button>
        </search>
    }
}
