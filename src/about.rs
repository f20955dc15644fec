//! What this is, by whom, under which licences.

use leptos::prelude::*;

use crate::{BUILD_ID, VERSION, engines};

/// Parts of other people that the page loads, with their licences and homes.
const PARTS: [(&str, &str, &str, &str); 6] = [
    (
        "Debian GNU/Linux",
        "the guest's programs",
        "various free licences",
        "https://www.debian.org/",
    ),
    ("Linux", "the guest's kernel", "GPL-2.0-only", "https://www.kernel.org/"),
    ("v86", "the emulated PC", "BSD-2-Clause", "https://github.com/copy/v86"),
    ("SeaBIOS", "the emulated PC's firmware", "LGPL-3.0", "https://www.seabios.org/"),
    ("xterm.js", "the terminal", "MIT", "https://xtermjs.org/"),
    ("bashkit", "the simulated shell", "MIT", "https://crates.io/crates/bashkit"),
];

/// The page about this app.
#[component]
pub(crate) fn About() -> impl IntoView {
    let engines = engines::ALL.map(|engine| {
        view! {
            <dt>{engines::label(engine)}</dt>
            <dd>{engines::description(engine)}</dd>
        }
    });
    let parts = PARTS.map(|(name, use_, licence, home)| {
        view! {
            <tr>
                <th scope="row"><a href=home target="_blank" rel="noopener noreferrer">{name}</a></th>
                <td>{use_}</td>
                <td>{licence}</td>
            </tr>
        }
    });
    view! {
        <article class="page" data-testid="about">
            <h1 tabindex="-1">"About Vivarium"</h1>
            <p class="lead">
                "A Linux machine behind the glass of a browser tab. It runs on your own computer, inside the browser's sandbox; no server takes part, and nothing that you type leaves the page."
            </p>
            <section class="card" aria-labelledby="about-engines">
                <h2 id="about-engines">"Engines"</h2>
                <dl class="terms">{engines.into_iter().collect_view()}</dl>
            </section>
            <section class="card" aria-labelledby="about-keys">
                <h2 id="about-keys">"Keys in the terminal"</h2>
                <dl class="terms">
                    <dt><kbd>"Ctrl+Shift+C"</kbd>" "<kbd>"Ctrl+Shift+V"</kbd></dt>
                    <dd>"Copy and paste"</dd>
                    <dt><kbd>"Ctrl+Shift+F"</kbd></dt>
                    <dd>"Search in screen and scrollback; Escape ends it"</dd>
                    <dt><kbd>"Shift+F6"</kbd></dt>
                    <dd>"Leave the terminal: Tab belongs to the machine while it has the focus"</dd>
                    <dt><kbd>"Ctrl+C"</kbd></dt>
                    <dd>"Interrupt the program; also drops what is left of a large paste"</dd>
                </dl>
            </section>
            <section class="card" aria-labelledby="about-parts">
                <h2 id="about-parts">"Licences"</h2>
                <p>"Vivarium itself: MIT or Apache-2.0, as you like. It stands on:"</p>
                <div class="scroll">
                    <table class="parts">
                        <thead>
                            <tr>
                                <th scope="col">"Part"</th>
                                <th scope="col">"What it is here"</th>
                                <th scope="col">"Licence"</th>
                            </tr>
                        </thead>
                        <tbody>{parts.into_iter().collect_view()}</tbody>
                    </table>
                </div>
            </section>
            <section class="card" aria-labelledby="about-programs">
                <h2 id="about-programs">"For programs"</h2>
                <p>
                    "Scripts on this page can drive the machine through "<code>"window.vivarium"</code>
                    ". In the browser's console, try "<code>"await vivarium.boot({engine: \"kernel\"})"</code>
                    ". All of it is described in "<code>"docs/api.md"</code>
                    " of the source."
                </p>
            </section>
            <p class="hint" data-testid="version">{format!("Version {VERSION}, build {BUILD_ID}")}</p>
        </article>
    }
}
