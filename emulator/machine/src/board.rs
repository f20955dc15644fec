//! The board: devices at their addresses, and their interrupt lines to the controllers.
//!
//! It is what the processor sees as [`Bus`]. After each access that a device answered, lines
//! are pulled and messages carried ([`Board::settle`]), so that whether an interrupt waits is
//! one load.

mod route;

pub(crate) use route::LAST_TICK;

use emulator_bus::{Device, Memory, PAGE_SIZE, Ticks};
use emulator_devices::cmos::Cmos;
use emulator_devices::ioapic::Ioapic;
use emulator_devices::lapic::Lapic;
use emulator_devices::pic::Pic;
use emulator_devices::pit::Pit;
use emulator_devices::power::{Power, Request};
use emulator_devices::pvclock::Pvclock;
use emulator_devices::uart::Uart;
use emulator_devices::virtio::balloon::{Balloon, Event};
use emulator_devices::virtio::block::{self, Block, Failed, Request as DiskRequest};
use emulator_devices::virtio::console::{Console, SizeOrder};
use emulator_devices::virtio::net::{self, Net};
use emulator_devices::virtio::rng::Rng;
use emulator_devices::virtio::{Function, Mmio};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::map::{self, Slot};

/// The console's port that is the terminal.
const TERMINAL: usize = 0;
/// Makes a page zeros. One that is already is not touched: it stays unwritten.
fn blank(memory: &mut Memory, page: u64) {
    // The device has seen to it that this is memory.
    let used = memory.slice(page, PAGE_SIZE).is_ok_and(|bytes| bytes.iter().any(|byte| *byte != 0));
    if used && let Ok(bytes) = memory.slice_mut(page, PAGE_SIZE) {
        bytes.fill(0);
    }
}

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
    /// The processor executes until here, unless it is told to come back.
    until: Ticks,
    /// It is to come back: a timer is due before, or the guest has asked for something.
    leave: bool,
}

impl Board {
    /// A board as after power-up. `epoch` is the time of day at tick 0, in nanoseconds since
    /// 1970; `seed` is what random numbers are made of.
    pub fn new(parts: &Parts, epoch: u64, seed: [u8; 32]) -> Self {
        let block = |size: u64| {
            let sectors = size.div_ceil(block::SECTOR);
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
            until: 0,
            leave: false,
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

    /// Types where the guest listens: into its terminal, or into its serial port. Says how many
    /// bytes were taken; none while it listens nowhere.
    pub fn type_in(&mut self, bytes: &[u8]) -> usize {
        let open = self.console.function().is_open(TERMINAL);
        if !open && self.uart.listens() {
            self.uart.offer(bytes)
        } else if self.console.is_live() {
            self.offer_console(bytes)
        } else {
            0
        }
    }

    /// Types into the terminal; says how many bytes there was room for.
    pub fn offer_console(&mut self, bytes: &[u8]) -> usize {
        self.console.function_mut().offer(TERMINAL, bytes)
    }

    /// Tells the guest's agent something; says how many bytes there was room for.
    pub fn offer_agent(&mut self, bytes: &[u8]) -> usize {
        self.console.function_mut().offer(AGENT, bytes)
    }

    /// Fetches what the agent has said.
    pub fn take_agent(&mut self) -> Vec<u8> {
        self.console.function_mut().take_output(AGENT)
    }

    /// The terminal has another size.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.console.function_mut().resize(columns, rows);
    }

    /// Fetches what the guest wants of its disk. Each is to be answered, in any order.
    pub fn take_disk_requests(&mut self) -> Vec<DiskRequest> {
        self.block.as_mut().map(|block| block.function_mut().take_requests()).unwrap_or_default()
    }

    /// Answers a request of the disk.
    pub fn complete_disk(&mut self, id: u64, answer: Result<Vec<u8>, Failed>) {
        if let Some(block) = &mut self.block {
            block.function_mut().complete(id, answer);
        }
    }

    /// Does the guest still wait for that request?
    pub fn disk_waits_for(&self, id: u64) -> bool {
        self.block.as_ref().is_some_and(|block| block.function().waits_for(id))
    }

    /// Is there room for a frame for the guest?
    pub fn has_frame_room(&self) -> bool {
        self.net.as_ref().is_some_and(|net| net.function().has_room())
    }

    /// Gives the guest a frame; one for which there is no room is lost, as on a cable.
    pub fn offer_frame(&mut self, frame: Vec<u8>) {
        if let Some(net) = &mut self.net {
            let _ = net.function_mut().offer(frame);
        }
    }

    /// Fetches a frame of the guest's.
    pub fn take_frame(&mut self) -> Option<Vec<u8>> {
        self.net.as_mut()?.function_mut().take()
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
        self.reclaim(memory);
        self.supply(memory);
        self.settle(now);
    }

    /// Pages that the guest does not use become zeros, which cost nothing to save.
    fn reclaim(&mut self, memory: &mut Memory) {
        self.balloon.service(memory);
        let events = self.balloon.function_mut().take_events();
        if events.is_empty() {
            return;
        }
        for event in events {
            if let Event::Inflated(range) | Event::Free(range) = event {
                range.step_by(PAGE_SIZE).for_each(|page| blank(memory, page));
            }
        }
        self.balloon.service(memory);
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

    /// The processor will execute until then.
    pub(crate) fn begin(&mut self, until: Ticks) {
        self.until = until;
        self.judge();
    }

    /// Is there an interrupt for the processor? Is it to come back early?
    fn judge(&mut self) {
        let early = self.deadline().is_some_and(|due| due < self.until);
        self.leave = early || self.power.has_request();
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
