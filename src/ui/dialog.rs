//! One question at a time, in the browser's own modal dialog, which keeps the focus and
//! answers to Escape.

use leptos::html::Dialog;
use leptos::prelude::*;

/// Something that needs a person's word.
#[derive(Clone)]
pub(crate) struct Question {
    /// A few words.
    pub(crate) title: String,
    /// What follows from a yes.
    pub(crate) text: String,
    /// What it is about, shown letter by letter: an address, for instance.
    pub(crate) subject: Option<String>,
    /// The word on the button that agrees.
    pub(crate) confirm: &'static str,
    /// What a yes does.
    pub(crate) act: Callback<()>,
}

/// Lets components ask.
#[derive(Clone, Copy)]
pub(crate) struct Dialogs(RwSignal<Option<Question>>);

impl Dialogs {
    /// Nothing is asked yet.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self(RwSignal::new(None))
    }

    /// Asks; an older question that is still open is taken back.
    pub(crate) fn ask(self, question: Question) {
        self.0.set(Some(question));
    }
}

/// The dialogs of the page.
#[must_use]
pub(crate) fn use_dialogs() -> Dialogs {
    expect_context()
}

/// The place where questions appear; once on the page.
#[component]
pub(crate) fn Asked() -> impl IntoView {
    let Dialogs(question) = use_dialogs();
    let dialog = NodeRef::<Dialog>::new();
    Effect::new(move |_| {
        let asked = question.with(Option::is_some);
        let Some(dialog) = dialog.get() else { return };
        if asked && !dialog.open() {
            // Fails only for an element outside of the page.
            let _ = dialog.show_modal();
        } else if !asked && dialog.open() {
            dialog.close();
        }
    });
    let part = move |read: fn(&Question) -> String| {
        move || question.with(|question| question.as_ref().map(read).unwrap_or_default())
    };
    let subject = move || {
        question.with(|question| question.as_ref().and_then(|question| question.subject.clone()))
    };
    let agree = move |_| {
        if let Some(question) = question.get_untracked() {
            close(dialog);
            question.act.run(());
        }
    };
    view! {
        <dialog
            class="dialog"
            node_ref=dialog
            aria-labelledby="dialog-title"
            aria-describedby="dialog-text"
            data-testid="dialog"
            on:close=move |_| question.set(None)
        >
            <h2 id="dialog-title">{part(|question| question.title.clone())}</h2>
            <p id="dialog-text">{part(|question| question.text.clone())}</p>
            {move || subject().map(|subject| view! { <p class="dialog-subject">{subject}</p> })}
            <div class="actions">
                <button type="button" class="button" data-testid="dialog-cancel" on:click=move |_| close(dialog)>
                    "Cancel"
                </button>
                <button
                    type="button"
                    class="button button-primary"
                    data-testid="dialog-confirm"
                    on:click=agree
                >
                    {part(|question| question.confirm.to_string())}
                </button>
            </div>
        </dialog>
    }
}

/// Closes the dialog, if it is on the page.
pub(super) fn close(dialog: NodeRef<Dialog>) {
    if let Some(dialog) = dialog.get_untracked() {
        dialog.close();
    }
}
