//! The board: devices at their addresses, and their interrupt lines to the controllers.
//!
//! It is what the processor sees as [`Bus`]. After each access that a device answered, lines
//! are pulled and messages carried ([`Board::settle`]), so that whether an interrupt waits is
//! one load.

mod route;

pub(crate) use route::LAST_TICK;

use emulator_bus::{Device, Memory, Ticks};
use emulator_devices::cmos::Cmos;
use emulator_devices::ioapic::Ioapic;
use emulator_devices::lapic::Lapic;
use emulator_devices::pic::Pic;
use emulator_devices::pit::Pit;
use emulator_devices::power::{Power, Request};
use emulator_devices::pvclock::Pvclock;
use emulator_devices::uart::Uart;
use emulator_devices::virtio::balloon::Balloon;
use emulator_devices::virtio::block::Block;
use emulator_devices::virtio::console::{Console, SizeOrder};
use emulator_devices::virtio::net::{self, Net};
use emulator_devices::virtio::rng::Rng;
use emulator_devices::virtio::{Function, Mmio};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::map::{self, Slot};

/// The console's port that is the terminal.
const TERMINAL: usize = 0;
/// Name of the console's second port, on which the guest's agent listens.
pub const AGENT_PORT: &str = "vivarium.agent";
/// Number of that port.
pub const AGENT: usize = 1;

/// What a board is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Bytes of the disk, whole sectors; `None` without one.
    pub disk: Option<u64>,
    /// MTU of the network cable; `None` without one.
    pub mtu: Option<u16>,
}

/// The devices of a machine.
#[derive(Debug)]
pub struct Board {
    pub(crate) lapic: Lapic,
    pub(crate) ioapic: Ioapic,
    pub(crate) pic: Pic,
    pub(crate) pit: Pit,
    pub(crate) uart: Uart,
    pub(crate) cmos: Cmos,
    pub(crate) power: Power,
    pub(crate) pvclock: Pvclock,
    pub(crate) console: Mmio<Console>,
    pub(crate) block: Option<Mmio<Block>>,
    pub(crate) net: Option<Mmio<Net>>,
    pub(crate) rng: Mmio<Rng>,
    pub(crate) balloon: Mmio<Balloon>,
    random: ChaCha12Rng,
    /// Follows from the controllers: an interrupt waits for the processor.
    waiting: bool,
}

impl Board {
    /// A board as after power-up. `epoch` is the time of day at tick 0, in nanoseconds since
    /// 1970; `seed` is what random numbers are made of.
    pub fn new(parts: &Parts, epoch: u64, seed: [u8; 32]) -> Self {
        let block = |size: u64| {
            let sectors = size.div_ceil(emulator_devices::virtio::block::SECTOR);
            Mmio::new(Block::new(sectors, false, "vivarium"))
        };
        Board {
            lapic: Lapic::default(),
            ioapic: Ioapic::default(),
            pic: Pic::default(),
            pit: Pit::default(),
            uart: Uart::default(),
            cmos: Cmos::new(epoch / emulator_bus::TICKS_PER_SECOND),
            power: Power::default(),
            pvclock: Pvclock::new(epoch),
            console: Mmio::new(Console::new(&[AGENT_PORT], SizeOrder::ColumnsFirst)),
            block: parts.disk.map(block),
            net: parts.mtu.map(|mtu| Mmio::new(Net::new(net::MAC, mtu))),
            rng: Mmio::new(Rng::default()),
            balloon: Mmio::new(Balloon::default()),
            random: ChaCha12Rng::from_seed(seed),
            waiting: false,
        }
    }

    /// What the kernel's command line must say of this board.
    pub fn parameters(&self) -> String {
        let there = |slot: &Slot| match slot {
            Slot::Block => self.block.is_some(),
            Slot::Net => self.net.is_some(),
            _ => true,
        };
        let words: Vec<_> = Slot::ALL.into_iter().filter(there).map(Slot::parameter).collect();
        words.join(" ")
    }

    /// Random numbers are made of something else from now on.
    pub(crate) fn reseed(&mut self, seed: [u8; 32]) {
        self.random = ChaCha12Rng::from_seed(seed);
        self.rng.function_mut().forget();
    }

    /// Fetches what the guest has written to its terminal.
    pub fn take_console(&mut self) -> Vec<u8> {
        self.console.function_mut().take_output(TERMINAL)
    }

    /// Fetches what the guest has written to its serial port: its kernel's log.
    pub fn take_log(&mut self) -> Vec<u8> {
        self.uart.take_output()
    }

    /// Types: into the terminal once the guest has one, into the serial port before. Says how
    /// many bytes there was room for.
    pub fn type_in(&mut self, bytes: &[u8]) -> usize {
        if self.console.is_live() {
            self.console.function_mut().offer(TERMINAL, bytes)
        } else {
            self.uart.offer(bytes)
        }
    }

    /// When a timer must be looked at next.
    pub(crate) fn deadline(&self) -> Option<Ticks> {
        [self.lapic.deadline(), self.pit.deadline()].into_iter().flatten().min()
    }

    /// What the guest asked for: a reset, an end.
    pub(crate) fn take_request(&mut self) -> Option<Request> {
        self.power.take_request()
    }

    /// Lets all devices do what they can: after the host gave or took something.
    pub(crate) fn service(&mut self, memory: &mut Memory, now: Ticks) {
        self.console.service(memory);
        if let Some(block) = &mut self.block {
            block.service(memory);
        }
        if let Some(net) = &mut self.net {
            net.service(memory);
        }
        self.balloon.service(memory);
        self.supply(memory);
        self.settle(now);
    }

    /// Gives the entropy device what its guest waits for.
    fn supply(&mut self, memory: &mut Memory) {
        loop {
            let wanted = self.rng.function().wanted();
            if wanted == 0 {
                return;
            }
            let mut bytes = vec![0; wanted];
            self.random.fill_bytes(&mut bytes);
            self.rng.function_mut().supply(&bytes);
            self.rng.service(memory);
        }
    }

    /// Lines to both controllers, messages to the local APIC, ends back, timers on time.
    pub(crate) fn settle(&mut self, now: Ticks) {
        self.lapic.advance(now);
        if self.pit.advance(now) {
            for level in [false, true] {
                self.pic.set_line(0, level);
                self.ioapic.set_line(map::TIMER_PIN, level);
            }
        }
        self.pull(map::UART_IRQ, self.uart.line());
        for slot in Slot::ALL {
            let level = self.line(slot);
            self.pull(slot.irq(), level);
        }
        self.carry();
    }

    fn pull(&mut self, irq: u8, level: bool) {
        self.pic.set_line(irq, level);
        self.ioapic.set_line(irq, level);
    }

    /// Messages between the two APICs.
    fn carry(&mut self) {
        if let Some(vector) = self.lapic.take_ended() {
            self.ioapic.end(vector);
        }
        while let Some(message) = self.ioapic.next_message() {
            if self.lapic.is_addressed(message.destination.into(), message.logical) {
                self.lapic.accept(message.vector, message.level);
            }
        }
        self.judge();
    }

    /// Is there an interrupt for the processor?
    fn judge(&mut self) {
        self.waiting = self.lapic.pending() || self.lapic.passes_legacy() && self.pic.line();
    }

    fn line(&self, slot: Slot) -> bool {
        fn level<F: Function>(device: &Mmio<F>) -> bool {
            device.line()
        }
        match slot {
            Slot::Console => level(&self.console),
            Slot::Block => self.block.as_ref().is_some_and(level),
            Slot::Net => self.net.as_ref().is_some_and(level),
            Slot::Rng => level(&self.rng),
            Slot::Balloon => level(&self.balloon),
        }
    }
}
