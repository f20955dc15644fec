//! One line of text asked for, in the browser's own modal dialog.

use leptos::html::{Dialog, Input};
use leptos::prelude::*;

use super::dialog::close;

/// What is asked for.
#[derive(Clone)]
pub(crate) struct Prompt {
    /// A few words.
    pub(crate) title: String,
    /// What the text is for, and what follows from it.
    pub(crate) text: String,
    /// Name of the field.
    pub(crate) label: &'static str,
    /// What stands in the field at first.
    pub(crate) value: String,
    /// Most characters that the field takes.
    pub(crate) limit: usize,
    /// The word on the button that agrees.
    pub(crate) confirm: &'static str,
    /// Why a text cannot be taken, in words.
    pub(crate) check: Callback<String, Option<String>>,
    /// What is done with a text that can.
    pub(crate) act: Callback<String>,
}

/// The place where a prompt appears; gone with the page that it belongs to.
#[component]
pub(crate) fn Prompted(
    /// What is asked for, if anything is.
    prompt: RwSignal<Option<Prompt>>,
) -> impl IntoView {
    let dialog = NodeRef::<Dialog>::new();
    let field = NodeRef::<Input>::new();
    let complaint = RwSignal::new(None::<String>);
    Effect::new(move |_| {
        let asked = prompt.with(|prompt| prompt.as_ref().map(|prompt| prompt.value.clone()));
        let (Some(dialog), Some(field)) = (dialog.get(), field.get()) else { return };
        match asked {
            Some(value) if !dialog.open() => {
                complaint.set(None);
                field.set_value(&value);
                // Fails only for an element outside of the page.
                let _ = dialog.show_modal();
                field.select();
            }
            None if dialog.open() => dialog.close(),
            _ => {}
        }
    });
    on_cleanup(move || prompt.set(None));
    let part = move |read: fn(&Prompt) -> String| {
        move || prompt.with(|prompt| prompt.as_ref().map(read).unwrap_or_default())
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let (Some(asked), Some(field)) = (prompt.get_untracked(), field.get_untracked()) else {
            return;
        };
        let value = field.value();
        match asked.check.run(value.clone()) {
            Some(words) => {
                complaint.set(Some(words));
                field.select();
            }
            None => {
                close(dialog);
                asked.act.run(value);
            }
        }
    };
    view! {
        <dialog
            class="dialog"
            node_ref=dialog
            aria-labelledby="prompt-title"
            aria-describedby="prompt-text"
            data-testid="prompt"
            on:close=move |_| prompt.set(None)
        >
            <form class="prompt" on:submit=submit novalidate>
                <h2 id="prompt-title">{part(|prompt| prompt.title.clone())}</h2>
                <p id="prompt-text">{part(|prompt| prompt.text.clone())}</p>
                <div class="field">
                    <label for="prompt-field">{part(|prompt| prompt.label.to_string())}</label>
                    <input
                        id="prompt-field"
                        type="text"
                        node_ref=field
                        data-testid="prompt-field"
                        autocomplete="off"
                        spellcheck="false"
                        maxlength=part(|prompt| prompt.limit.to_string())
                        aria-invalid=move || complaint.with(Option::is_some).to_string()
                        aria-describedby="prompt-complaint"
                    />
                    <p id="prompt-complaint" class="complaint" role="alert">
                        {move || complaint.get()}
                    </p>
                </div>
                <div class="actions">
                    <button
                        type="button"
                        class="button"
                        data-testid="prompt-cancel"
                        on:click=move |_| close(dialog)
                    >
                        "Cancel"
                    </button>
                    <button type="submit" class="button button-primary" data-testid="prompt-confirm">
                        {part(|prompt| prompt.confirm.to_string())}
                    </button>
                </div>
            </form>
        </dialog>
    }
}
