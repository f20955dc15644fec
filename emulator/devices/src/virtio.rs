//! Virtio 1.2 devices behind the MMIO transport.
//!
//! ```text
//!  guest ──registers──▶ Mmio<F> ──service──▶ F: console, net, block, rng, balloon
//!                         │ queues              │ ▲
//!                         ▼                     ▼ │
//!                     guest memory          the board: take_…, offer_…, complete
//! ```
//!
//! [`Mmio`] has the registers and the queues; a [`Function`] has what makes the device the
//! device that it is. `service` does all that can be done at the moment: it is called when the
//! guest notifies, and by the board after it has given something to the function or taken
//! something from it. What cannot be done yet (no buffer, no room) stays in the queue, and
//! nothing is dropped.
//!
//! A driver that breaks the rules of a queue is told with DEVICE_NEEDS_RESET (§2.1.2) and gets
//! no more service before it resets.

pub mod balloon;
pub mod block;
pub mod console;
#[cfg(test)]
mod driver;
pub mod lane;
pub mod mmio;
pub mod net;
pub mod queue;
pub mod rng;

pub use lane::Lane;
pub use mmio::Mmio;

use crate::state::Malformed;
use queue::Broken;

/// §6: the device conforms to this specification.
pub const VERSION_1: u64 = 1 << 32;
/// §6: descriptors may be in a table of their own.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// §6: notifications are bounded by indices.
pub const EVENT_IDX: u64 = 1 << 29;

/// What makes a device the device that it is.
pub trait Function {
    /// Its number (§5).
    const ID: u32;
    /// The largest size of its queues.
    const QUEUE_SIZE: u16;

    /// How many queues it has.
    fn queues(&self) -> usize;

    /// The features that it offers, without those of queues and transport.
    fn features(&self) -> u64;

    /// The configuration space, as it is now.
    fn config(&self) -> Vec<u8>;

    /// A store to the configuration space.
    fn configure(&mut self, _offset: u64, _value: u32) {}

    /// Does all that can be done now.
    fn service(&mut self, lane: &mut Lane<'_>) -> Result<(), Broken>;

    /// Forgets all that it knows of a driver. What the host has given stays.
    fn reset(&mut self);

    /// Its state, as bytes.
    fn save(&self) -> Vec<u8>;

    /// Takes on a state, or stays as it is.
    fn restore(&mut self, state: &[u8]) -> Result<(), Malformed>;
}
