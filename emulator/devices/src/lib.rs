//! The machine's devices as pure state machines.
//!
//! A device has registers at offsets of its own and an interrupt line, and knows neither its
//! address, nor the processor, nor the host, nor the time unless it is told. What it has for
//! the host waits in it, bounded, until the board fetches it; what the host has for the guest
//! is offered, and refused when there is no room.
//!
//! Every file has the same shape: what it is and what it is not, its bounds, `State` (all that
//! a guest could tell, as plain fields that go to bytes and back), the device, tests. What a
//! guest writes never panics; what a snapshot says is checked in `from_state`.
//!
//! ```text
//!  uart cmos pit virtio ──line──▶ ioapic ──message──▶ lapic ──▶ processor
//!                       └─line──▶ pic ────ExtINT──────┘
//! ```
//!
//! Deliberately absent: ACPI, PCI, a second processor's interrupts, NMI and SMI.
#![forbid(unsafe_code)]

pub mod cmos;
pub mod ioapic;
pub mod lapic;
pub mod mptable;
pub mod pic;
pub mod pit;
pub mod power;
pub mod pvclock;
pub mod state;
pub mod uart;
pub mod virtio;

#[cfg(test)]
mod testing;
