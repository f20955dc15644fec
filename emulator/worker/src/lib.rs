//! What runs in a Web Worker: one machine, its mailbox and its pacing.
//!
//! ```text
//!  postMessage ──▶ host ──▶ Machine ──▶ Engine::poll
//!                   ▲          │ events
//!  timers, wakers ──┘          ▼
//!                          postMessage
//! ```
//!
//! [`machine`] decides everything and touches no browser, so that it is tested natively;
//! [`host`] is the thin edge with messages, timers and wakers. The binaries beside this
//! library only name their engines: one is loaded for the simulated shell, another for
//! real kernels, so that nobody downloads both to use one.
#![forbid(unsafe_code)]

pub mod credit;
pub mod host;
pub mod machine;
