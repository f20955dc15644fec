//! Who sits where: the board's addresses and interrupt lines.
//!
//! ```text
//!  0            ┌──────────────┐
//!               │ memory       │ boot parameters, page tables, command line below 640 KiB
//!  9_FC00       │ MP table     │
//!  A_0000       │ (reserved)   │
//!  10_0000      │ memory       │ kernel; initial RAM disk at the end
//!  memory size  └──────────────┘
//!  D000_0000    virtio-mmio, a page each
//!  FEC0_0000    I/O APIC
//!  FEE0_0000    local APIC
//! ```

/// Least and most memory, in MiB. A Linux kernel with its initial RAM disk does not fit into
/// less; more would reach into the devices' addresses.
pub const MEMORY_MIB: std::ops::RangeInclusive<u32> = 64..=2048;

/// Bytes of memory of a machine with so many MiB: one piece, which on a host of 32 bits, such
/// as WebAssembly, must be smaller than 2 GiB. A machine of 2048 MiB lacks the last 64 KiB on
/// every host, so that a snapshot goes on anywhere.
pub(crate) fn memory_bytes(mib: u32) -> usize {
    const MOST: usize = (2 << 30) - (64 << 10);
    usize::try_from(u64::from(mib) << 20).unwrap_or(MOST).min(MOST)
}

/// End of base memory; the MP table is behind it.
pub(crate) const BASE_MEMORY_END: u64 = emulator_devices::mptable::ADDRESS;
/// Memory goes on here.
pub(crate) const HIGH_MEMORY: u64 = 0x10_0000;

/// The first virtio device; each has a page.
pub(crate) const VIRTIO: u64 = 0xD000_0000;

/// Interrupt of the timer at the I/O APIC, where it is not 0 (MP specification, §3.6.2.3).
pub(crate) const TIMER_PIN: u8 = 2;
/// Interrupt of the serial port.
pub(crate) const UART_IRQ: u8 = 4;

/// Place of a virtio device among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Console,
    Block,
    Net,
    Rng,
    Balloon,
}

impl Slot {
    pub(crate) const ALL: [Slot; 5] =
        [Slot::Console, Slot::Block, Slot::Net, Slot::Rng, Slot::Balloon];

    /// Its registers.
    pub(crate) const fn address(self) -> u64 {
        VIRTIO + self as u64 * emulator_devices::virtio::mmio::SIZE
    }

    /// Its interrupt: those of ISA that no other device of this board has. Linux has numbers
    /// for them without being told of each.
    pub(crate) const fn irq(self) -> u8 {
        match self {
            Slot::Console => 5,
            Slot::Block => 6,
            Slot::Net => 7,
            Slot::Rng => 9,
            Slot::Balloon => 10,
        }
    }

    /// The device whose registers are at `address`, and the offset in them.
    pub(crate) fn at(address: u64) -> Option<(Slot, u64)> {
        let offset = address.checked_sub(VIRTIO)?;
        let slot =
            Slot::ALL.get(usize::try_from(offset / emulator_devices::virtio::mmio::SIZE).ok()?)?;
        Some((*slot, offset % emulator_devices::virtio::mmio::SIZE))
    }

    /// What the kernel's command line says of it.
    pub(crate) fn parameter(self) -> String {
        format!("virtio_mmio.device=4K@{:#x}:{}", self.address(), self.irq())
    }
}

/// A bit for each interrupt whose line is a level.
pub(crate) fn levels() -> u32 {
    Slot::ALL.iter().fold(0, |bits, slot| bits | 1 << slot.irq())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_their_addresses() {
        for slot in Slot::ALL {
            assert_eq!(Slot::at(slot.address() + 0x70), Some((slot, 0x70)));
        }
        assert_eq!(Slot::at(VIRTIO - 1), None);
        assert_eq!(Slot::at(VIRTIO + 0x5000), None);
        assert_eq!(Slot::at(u64::MAX), None);
        assert_eq!(Slot::Console.parameter(), "virtio_mmio.device=4K@0xd0000000:5");
        assert_eq!(levels(), 0b110_1110_0000);
    }
}
