//! Mounts the app; nothing else.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "leptos writes `pub` for the properties of every component")]

mod about;
mod api;
mod app;
mod download;
mod engines;
mod library;
mod link;
mod network;
mod session;
mod settings;
mod snapshots;
mod status;
mod terminal;
mod ui;

/// Version of the app.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Names the build: in the workers' addresses, so that no cache mixes two builds.
pub(crate) const BUILD_ID: &str = match option_env!("VIVARIUM_BUILD_ID") {
    Some(id) => id,
    None => "dev",
};

fn main() {
    console_error_panic_hook::set_once();
    leptos::mount::mount_to_body(app::App);
    mark("vivarium:interactive");
}

/// Leaves a mark for measurements.
pub(crate) fn mark(name: &str) {
    if let Some(performance) = leptos::prelude::window().performance() {
        // Measuring must never stop what is measured.
        let _ = performance.mark(name);
    }
}
