//! The engine `x86-64`: a micro-VM in the manner of Firecracker. No firmware, no PCI, no ACPI:
//! a Linux kernel is loaded and entered in 64-bit mode, devices are virtio over MMIO and named
//! on its command line.
//!
//! ```text
//!             ┌──────────── Machine ────────────┐
//!   run ────▶ │ Cpu ◀──▶ Board (Bus) ◀─▶ devices │
//!             │   └────▶ Memory ◀──────────┘     │
//!             └──────────────────────────────────┘
//! ```
//!
//! Time, entropy and bytes are arguments: the same machine runs in a browser's worker, in a
//! test and in `emulator-headless`.
#![forbid(unsafe_code)]

mod board;
mod boot;
mod engine;
mod machine;
mod map;
mod registers;
mod saving;
mod watch;

/// What the guest wants of its disk, and how it is answered.
pub use emulator_devices::virtio::block;

pub use board::{AGENT, AGENT_PORT, Board, Parts};
pub use boot::{CMDLINE_LIMIT, Error as BootError, Plan};
pub use engine::{ENGINE, STATE_VERSION, Surroundings, X86};
pub use machine::{Clock, Machine, Outcome};
pub use map::MEMORY_MIB;
pub use saving::{Damaged, RAM, SECTIONS, SECTORS};
pub use watch::Figures;
