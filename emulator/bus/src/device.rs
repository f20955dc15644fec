//! The shape of a device.

use crate::{Cycle, Width};

/// A device: registers at offsets of its own, and one interrupt line. It knows neither its
/// address, nor the processor, nor the host; what it has for the host waits in a queue of
/// its own until the board fetches it.
pub trait Device {
    /// A load from the register at `offset`.
    fn read(&mut self, offset: u64, width: Width, cycle: Cycle<'_>) -> u64;

    /// A store to the register at `offset`.
    fn write(&mut self, offset: u64, width: Width, value: u64, cycle: Cycle<'_>);

    /// The level of the interrupt line. The board pulls it after each call.
    fn line(&self) -> bool;
}
