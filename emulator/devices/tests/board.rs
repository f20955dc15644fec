//! Devices wired as a board wires them: who raises whose interrupt, and how it ends.
#![forbid(unsafe_code)]

use emulator_bus::{Cycle, Device, Memory, Ticks, Width};
use emulator_devices::ioapic::Ioapic;
use emulator_devices::lapic::{self, Lapic};
use emulator_devices::pic::Pic;
use emulator_devices::pit::Pit;
use emulator_devices::uart::Uart;
use emulator_devices::virtio::Mmio;
use emulator_devices::virtio::rng::Rng;

const UART: u8 = 4;
const RNG: u8 = 5;

struct Board {
    memory: Memory,
    now: Ticks,
    lapic: Lapic,
    ioapic: Ioapic,
    pic: Pic,
    pit: Pit,
    uart: Uart,
    rng: Mmio<Rng>,
}

impl Board {
    /// As Linux leaves the controllers: x2APIC, pin 5 a level, pins 2 and 4 edges.
    fn new() -> Self {
        let mut board = Board {
            memory: Memory::new(1 << 16),
            now: 0,
            lapic: Lapic::default(),
            ioapic: Ioapic::default(),
            pic: Pic::default(),
            pit: Pit::default(),
            uart: Uart::default(),
            rng: Mmio::new(Rng::default()),
        };
        board.msr(0x1B, lapic::BASE | 0xD00);
        board.msr(0x80F, 0x1FF);
        for (pin, entry) in [(2, 0x30), (UART, 0x34), (RNG, 0x8035)] {
            board.ioapic(pin, entry);
        }
        board
    }

    fn msr(&mut self, index: u32, value: u64) {
        self.lapic.write_msr(index, value, self.now).unwrap();
        self.settle();
    }

    fn ioapic(&mut self, pin: u8, entry: u64) {
        for (offset, value) in [(0, 0x10 + 2 * u64::from(pin)), (0x10, entry)] {
            let cycle = Cycle { memory: &mut self.memory, now: self.now };
            self.ioapic.write(offset, Width::Double, value, cycle);
        }
    }

    fn rng(&mut self, offset: u64, value: u64) {
        let cycle = Cycle { memory: &mut self.memory, now: self.now };
        self.rng.write(offset, Width::Double, value, cycle);
        self.settle();
    }

    fn port(&mut self, port: u64, value: u64) {
        let cycle = Cycle { memory: &mut self.memory, now: self.now };
        match port {
            0x40..=0x43 => self.pit.write(port, Width::Byte, value, cycle),
            0x20 | 0x21 => self.pic.write(port, Width::Byte, value, cycle),
            _ => self.uart.write(port - 0x3F8, Width::Byte, value, cycle),
        }
        self.settle();
    }

    /// After each cycle: lines to both controllers, messages to the local APIC, ends back.
    fn settle(&mut self) {
        self.lapic.advance(self.now);
        if self.pit.advance(self.now) {
            for level in [false, true] {
                self.pic.set_line(0, level);
                self.ioapic.set_line(2, level);
            }
        }
        for (line, level) in [(UART, self.uart.line()), (RNG, self.rng.line())] {
            self.pic.set_line(line, level);
            self.ioapic.set_line(line, level);
        }
        if let Some(vector) = self.lapic.take_ended() {
            self.ioapic.end(vector);
        }
        while let Some(message) = self.ioapic.next_message() {
            if self.lapic.is_addressed(message.destination.into(), message.logical) {
                self.lapic.accept(message.vector, message.level);
            }
        }
    }

    fn acknowledge(&mut self) -> Option<u8> {
        if self.lapic.pending() {
            return self.lapic.acknowledge();
        }
        (self.lapic.passes_legacy() && self.pic.line()).then(|| self.pic.acknowledge())
    }

    fn end(&mut self) {
        self.msr(0x80B, 0);
    }

    /// The smallest queue: descriptor, available and used ring at 0x1000, 0x2000, 0x3000.
    fn drive_rng(&mut self) {
        for (offset, value) in [(0x24, 1), (0x20, 1), (0x70, 0xB), (0x38, 1)] {
            self.rng(offset, value);
        }
        for (offset, value) in
            [(0x80, 0x1000), (0x90, 0x2000), (0xA0, 0x3000), (0x44, 1), (0x70, 0xF)]
        {
            self.rng(offset, value);
        }
        self.memory.write(0x1000, 0x4000u64).unwrap();
        self.memory.write(0x1008, 8u32).unwrap();
        self.memory.write(0x100C, 2u16).unwrap();
    }

    fn post(&mut self, index: u16) {
        self.memory.write(0x2002, index).unwrap();
        self.rng(0x50, 0);
    }
}

#[test]
fn a_level_comes_back_until_the_driver_has_acknowledged() {
    let mut board = Board::new();
    board.drive_rng();
    board.post(1);
    assert_eq!(board.acknowledge(), None);
    board.rng.function_mut().supply(&[9; 12]);
    board.rng.service(&mut board.memory);
    board.settle();
    assert_eq!(board.acknowledge(), Some(0x35));
    // Ended without an acknowledgement: it is raised again.
    board.end();
    assert_eq!(board.acknowledge(), Some(0x35));
    board.rng(0x64, 1);
    board.end();
    assert_eq!(board.acknowledge(), None);
    assert_eq!(board.memory.slice(0x4000, 9).unwrap(), [9, 9, 9, 9, 9, 9, 9, 9, 0]);
    board.post(2);
    assert_eq!(board.acknowledge(), Some(0x35));
}

#[test]
fn a_typed_letter_is_an_edge() {
    let mut board = Board::new();
    board.port(0x3F8 + 4, 8);
    board.port(0x3F8 + 1, 1);
    board.uart.offer(b"ab");
    board.settle();
    assert_eq!(board.acknowledge(), Some(0x34));
    board.end();
    assert_eq!(board.acknowledge(), None);
    let cycle = Cycle { memory: &mut board.memory, now: 0 };
    assert_eq!(board.uart.read(0, Width::Byte, cycle), b'a'.into());
}

#[test]
fn the_timer_beats_by_either_controller() {
    let mut board = Board::new();
    for (port, value) in [(0x43, 0x34), (0x40, 0), (0x40, 0x10)] {
        board.port(port, value);
    }
    board.now = board.pit.deadline().unwrap();
    board.settle();
    assert_eq!(board.acknowledge(), Some(0x30));
    board.end();
    // Now by the 8259 and LINT0, as before Linux knows the I/O APIC.
    board.ioapic(2, 0x1_0030);
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xFE)] {
        board.port(port, value);
    }
    board.msr(0x835, 0x700);
    board.now = board.pit.deadline().unwrap();
    board.settle();
    assert_eq!(board.acknowledge(), Some(0x20));
    assert_eq!(board.acknowledge(), None);
}
