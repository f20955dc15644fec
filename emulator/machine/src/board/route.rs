//! The board as the processor sees it: which device answers at which address.

use emulator_bus::{Bus, Cycle, Device, Refused, Ticks, Width};
use emulator_devices::{ioapic, lapic, pvclock};
use rand_chacha::rand_core::RngCore;

use super::Board;
use crate::map::Slot;

/// Bytes of a controller's registers.
const PAGE: u64 = 0x1000;
/// Ports of the serial line.
const UART: u16 = 0x3F8;

/// What answers at a port. Offsets are the devices' own.
enum Port<'a> {
    Device(&'a mut dyn Device, u64),
    Nobody,
}

impl Board {
    fn port(&mut self, port: u16) -> Port<'_> {
        let offset = u64::from(port);
        match port {
            0x20 | 0x21 | 0xA0 | 0xA1 | 0x4D0 | 0x4D1 => Port::Device(&mut self.pic, offset),
            0x40..=0x43 | 0x61 => Port::Device(&mut self.pit, offset),
            0x70 | 0x71 => Port::Device(&mut self.cmos, offset),
            0x60 | 0x64 | 0xF4 | 0xCF9 => Port::Device(&mut self.power, offset),
            UART..=0x3FF => Port::Device(&mut self.uart, offset - u64::from(UART)),
            _ => Port::Nobody,
        }
    }

    fn device(&mut self, address: u64) -> Port<'_> {
        if let Some((slot, offset)) = Slot::at(address) {
            let device: Option<&mut dyn Device> = match slot {
                Slot::Console => Some(&mut self.console),
                Slot::Block => self.block.as_mut().map(|device| device as _),
                Slot::Net => self.net.as_mut().map(|device| device as _),
                Slot::Rng => Some(&mut self.rng),
                Slot::Balloon => Some(&mut self.balloon),
            };
            return device.map_or(Port::Nobody, |device| Port::Device(device, offset));
        }
        match address & !(PAGE - 1) {
            lapic::BASE => Port::Device(&mut self.lapic, address & (PAGE - 1)),
            ioapic::BASE => Port::Device(&mut self.ioapic, address & (PAGE - 1)),
            _ => Port::Nobody,
        }
    }
}

impl Port<'_> {
    fn read(self, width: Width, cycle: Cycle<'_>) -> Option<u64> {
        match self {
            Port::Device(device, offset) => Some(device.read(offset, width, cycle)),
            Port::Nobody => None,
        }
    }

    fn write(self, width: Width, value: u64, cycle: Cycle<'_>) -> bool {
        match self {
            Port::Device(device, offset) => {
                device.write(offset, width, value, cycle);
                true
            }
            Port::Nobody => false,
        }
    }
}

/// The same cycle, lent once more.
fn again<'a>(cycle: &'a mut Cycle<'_>) -> Cycle<'a> {
    Cycle { memory: cycle.memory, now: cycle.now }
}

impl Bus for Board {
    fn port_in(&mut self, port: u16, width: Width, cycle: Cycle<'_>) -> u32 {
        let now = cycle.now;
        match self.port(port).read(width, cycle) {
            Some(value) => {
                self.settle(now);
                (value & width.mask()) as u32
            }
            None => width.mask() as u32,
        }
    }

    fn port_out(&mut self, port: u16, width: Width, value: u32, cycle: Cycle<'_>) {
        let now = cycle.now;
        if self.port(port).write(width, value.into(), cycle) {
            self.settle(now);
        }
    }

    fn mmio_read(&mut self, address: u64, width: Width, cycle: Cycle<'_>) -> u64 {
        let now = cycle.now;
        match self.device(address).read(width, cycle) {
            Some(value) => {
                self.settle(now);
                value & width.mask()
            }
            None => width.mask(),
        }
    }

    fn mmio_write(&mut self, address: u64, width: Width, value: u64, mut cycle: Cycle<'_>) {
        let now = cycle.now;
        if !self.device(address).write(width, value, again(&mut cycle)) {
            return;
        }
        if let Some((Slot::Rng, _)) = Slot::at(address) {
            self.supply(cycle.memory);
        }
        self.settle(now);
    }

    fn msr_read(&mut self, index: u32, cycle: Cycle<'_>) -> Result<u64, Refused> {
        if lapic::is_msr(index) {
            return self.lapic.read_msr(index, cycle.now);
        }
        self.pvclock.read_msr(index)
    }

    fn msr_write(&mut self, index: u32, value: u64, cycle: Cycle<'_>) -> Result<(), Refused> {
        if lapic::is_msr(index) {
            self.lapic.write_msr(index, value, cycle.now)?;
            // A deadline that has passed already is due now.
            self.lapic.advance(cycle.now);
            self.carry();
            return Ok(());
        }
        if pvclock::is_msr(index) {
            return self.pvclock.write_msr(index, value, cycle.memory, cycle.now);
        }
        Err(Refused)
    }

    fn interrupt(&self) -> bool {
        self.waiting
    }

    fn leave(&self) -> bool {
        self.leave
    }

    fn acknowledge(&mut self) -> Option<u8> {
        let vector = if self.lapic.pending() {
            self.lapic.acknowledge()
        } else {
            (self.lapic.passes_legacy() && self.pic.line()).then(|| self.pic.acknowledge())
        };
        self.judge();
        vector
    }

    fn task_priority(&self) -> u8 {
        self.lapic.task_priority()
    }

    fn set_task_priority(&mut self, priority: u8) {
        self.lapic.set_task_priority(priority);
        self.judge();
    }

    fn entropy(&mut self) -> u64 {
        self.random.next_u64()
    }
}

/// The latest tick that anybody counts with: far from overflow in sums of two.
pub(crate) const LAST_TICK: Ticks = u64::MAX / 4;
