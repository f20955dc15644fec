//! A WISP relay that can stand on the internet: the way of a browser tab to TCP and UDP.
//!
//! Default deny. A client gets what is public unicast, on a few ports, at a bounded rate;
//! everything else is an explicit exception. The threats, and where each is stopped, are in
//! `docs/relay.md`. The library is the whole relay, so that tests can run it over real
//! sockets; `main.rs` only reads arguments and signals.
//!
//! ```text
//!  listener ── http ── session ── dial ── policy (pure)
//!     │                   │         └──── resolve
//!     └── limit           └── wisp::Server, stream
//! ```
#![forbid(unsafe_code)]

use std::sync::Arc;

pub mod audit;
pub mod config;
mod dial;
mod http;
pub mod limit;
mod listener;
pub mod metrics;
pub mod policy;
pub mod resolve;
mod session;
pub mod shutdown;
mod stream;
mod tls;
pub mod token;

pub use config::Config;
pub use http::Door;
pub use listener::{Error, Relay};

/// What all connections share. Nothing in it is locked for a packet.
struct Shared {
    dialler: Arc<dial::Dialler>,
    door: http::Door,
    limits: config::Limits,
    parties: limit::Limits,
    key: Option<token::Key>,
    udp: bool,
    motd: Option<String>,
    metrics: Arc<metrics::Metrics>,
    audit: audit::Audit,
}
