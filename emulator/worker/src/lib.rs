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
//! `host` is the thin edge with messages, timers and wakers. Saving is cut the same way:
//! [`capture`] holds a state, [`keeper`] stores it, [`source`] gives it back, [`library`]
//! answers for what is stored, all over any store; [`record`] is what they list, [`unclaimed`]
//! what is done when there is no store. `saver` is their edge to the browser. [`network`] is a
//! machine's gateway and relay, and `socket` its edge; `micro` is that of
//! the engine `x86-64`. The binaries beside this library only
//! name their engines: one is loaded for the simulated shell, another for real kernels, so
//! that nobody downloads both to use one.
#![forbid(unsafe_code)]

pub mod capture;
pub mod credit;
#[cfg(target_family = "wasm")]
pub mod host;
pub mod keeper;
pub mod library;
pub mod machine;
#[cfg(target_family = "wasm")]
pub mod micro;
pub mod network;
pub mod record;
#[cfg(target_family = "wasm")]
mod saver;
#[cfg(target_family = "wasm")]
mod socket;
pub mod source;
pub mod unclaimed;
