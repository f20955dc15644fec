//! The page of snapshots. There are none yet, and nothing here pretends otherwise.

use leptos::prelude::*;

/// Says what will be here.
#[component]
pub(crate) fn Snapshots() -> impl IntoView {
    view! {
        <article class="page" data-testid="snapshots">
            <h1 tabindex="-1">"Snapshots"</h1>
            <p class="lead">"Snapshots are the next thing we build. There is nothing to use here yet."</p>
            <section class="card" aria-labelledby="snapshots-today">
                <h2 id="snapshots-today">"What that means today"</h2>
                <p>
                    "A machine lives as long as its tab. Its memory and all changes on its disk are gone when you restart it, switch the engine, reload the page or close the tab."
                </p>
                <p>
                    "Pause keeps the memory and stops the processor, but only while the tab is open. To keep your work, copy it out of the terminal."
                </p>
            </section>
            <section class="card" aria-labelledby="snapshots-plan">
                <h2 id="snapshots-plan">"What is planned"</h2>
                <ul>
                    <li>"Save a running machine, with its memory, disk and screen, into this browser."</li>
                    <li>"Restore it in a moment, where it was."</li>
                    <li>"Export it as one file and import it elsewhere."</li>
                </ul>
            </section>
        </article>
    }
}
