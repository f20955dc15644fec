//! What engines that run our guest image have in common.
//!
//! ```text
//!  files   where the image's files come from; loads what a machine starts from
//!  boot    how far the guest has come, and whether it still lives
//!  log     what its kernel says on the serial port
//!  disk    its root disk in chunks: what is here, what to fetch, what was written
//!  saved   its state as sections of a snapshot, there and back
//!  agent   what it is told after it stood still
//! ```
//!
//! Time, bytes and files are arguments, as everywhere below the edge: whoever implements
//! [`files::Files`] fetches, whoever drives the engine has the clock.
//!
//! Deliberately absent: a processor, devices, a browser.
#![forbid(unsafe_code)]

pub mod agent;
pub mod boot;
pub mod disk;
pub mod files;
pub mod log;
pub mod saved;
