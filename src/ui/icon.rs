//! Drawings of 16 × 16 pixels in the colour of the text beside them, and the mark.

use leptos::prelude::*;

/// The small drawings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Icon {
    /// Two bars.
    Pause,
    /// A triangle.
    Play,
    /// A circle that is an arrow.
    Restart,
    /// A cross.
    Close,
    /// An arrow upwards.
    Up,
    /// An arrow downwards.
    Down,
    /// A magnifying glass.
    Search,
}

/// A drawing; it says nothing to screen readers, the button that holds it does.
#[component]
pub(crate) fn Drawing(icon: Icon) -> impl IntoView {
    let path = match icon {
        Icon::Pause => "M5.5 3.5v9M10.5 3.5v9",
        Icon::Play => "M5 3.2v9.6L12.5 8z",
        Icon::Restart => "M12.8 8a4.8 4.8 0 1 1-1.6-3.6M11.6 1.8v2.9H8.7",
        Icon::Close => "M4 4l8 8M12 4l-8 8",
        Icon::Up => "M4 10l4-4 4 4",
        Icon::Down => "M4 6l4 4 4-4",
        Icon::Search => "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.4 10.4L14 14",
    };
    view! {
        <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
            <path d=path></path>
        </svg>
    }
}

/// The mark: a bell-glass with a prompt inside. The same drawing as `style/mark.svg`.
#[component]
pub(crate) fn Mark() -> impl IntoView {
    view! {
        <svg class="mark" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
            <circle cx="16" cy="4" r="1.75" class="mark-glass"></circle>
            <path class="mark-glass" d="M6 25V16a10 10 0 0 1 20 0v9"></path>
            <path class="mark-base" d="M3.5 27.5h25"></path>
            <path class="mark-prompt" d="M11.5 14.5l4 3.5-4 3.5M17.5 21.5h4"></path>
        </svg>
    }
}
