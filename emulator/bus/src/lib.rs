//! What a processor, its devices and a board say to each other: guest-physical addresses,
//! memory, bus cycles, interrupt lines and time.
//!
//! ```text
//!            ┌────────┐  load, store   ┌────────┐   read, write   ┌─────────┐
//!            │  cpu   │ ─────────────▶ │ Memory │ ◀────────────── │ devices │
//!            └────────┘                └────────┘   (in a Cycle)  └─────────┘
//!                │  port, mmio, msr, interrupt?                        ▲
//!                └───────────────▶  Bus (the board)  ──────────────────┘
//! ```
//!
//! The board owns all of them and lends them to each other for the length of a call. So no
//! device holds the processor, memory or another device, and nobody asks for the time: it is
//! part of the [`Cycle`].
//!
//! Deliberately absent: who sits at which address. That is the board's.
#![forbid(unsafe_code)]

mod bus;
mod device;
mod empty;
mod memory;
mod time;
mod word;

pub use bus::{Bus, Cycle, Refused};
pub use device::Device;
pub use empty::Empty;
pub use memory::{Memory, PAGE_SIZE, Unmapped};
pub use time::{TICKS_PER_SECOND, Ticks};
pub use word::{Width, Word};
