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
//! | Device | Offsets | For the host |
//! |---|---|---|
//! | [`uart`] | 0–7 | `offer`, `take_output` |
//! | [`lapic`] | MSRs; its page | `accept`, `acknowledge`, `take_ended`, `deadline`, `advance` |
//! | [`ioapic`] | its page | `set_line`, `next_message`, `end` |
//! | [`pic`] | ports 0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1 | `set_line`, `acknowledge` |
//! | [`pit`] | ports 0x40–0x43, 0x61 | `deadline`, `advance` |
//! | [`cmos`] | ports 0x70, 0x71 | `set_epoch` |
//! | [`power`] | ports 0x60, 0x64, 0xF4, 0xCF9 | `take_request` |
//! | [`pvclock`] | MSRs | `resume` |
//! | [`virtio`] | a page each | `service`, and what each function has |
//!
//! `tests/board.rs` wires them as a board does.
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
