//! The I/O APIC (Intel 82093AA data sheet; EOI register and version of the ICH's): 24 pins to
//! messages for the local APIC.
//!
//! Without ACPI, Linux learns of it from the MP table ([`crate::mptable`]); interrupt *n* of a
//! `virtio_mmio.device=…:n` is pin *n*. Only fixed and lowest-priority messages are sent.

use emulator_bus::{Cycle, Device, Width};

use crate::state::{Malformed, check, record};

/// Where Linux finds it, as the MP table says.
pub const BASE: u64 = 0xFEC0_0000;
/// Pins.
pub const PINS: u8 = 24;

/// Version 0x20: has an EOI register; 24 entries.
const VERSION: u32 = 0x20 | (PINS as u32 - 1) << 16;
const ALL: u32 = (1 << PINS) - 1;

/// Redirection entry: logical destination, remote IRR, level-triggered, masked.
const LOGICAL: u64 = 1 << 11;
const REMOTE: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
/// Vector, mode, destination mode, polarity, trigger, mask; destination.
const WRITABLE: u64 = 0xFF00_0000_0001_AFFF;

record! {
    /// Everything that a guest can tell of it.
    pub struct State {
        /// The register that the window shows.
        pub select: u8,
        /// Its number, bits 27:24.
        pub id: u32,
        /// Redirection table.
        pub entries: [u64; 24],
        /// Levels of the pins.
        pub lines: u32,
        /// Edges that are not sent yet.
        pub edges: u32,
    }
}

/// An interrupt on its way to a local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The vector.
    pub vector: u8,
    /// Level-triggered: its end must be told with [`Ioapic::end`].
    pub level: bool,
    /// Physical number or logical set.
    pub destination: u8,
    /// Which of the two.
    pub logical: bool,
}

/// The I/O APIC.
#[derive(Debug)]
pub struct Ioapic {
    state: State,
}

impl Default for Ioapic {
    fn default() -> Self {
        let entries = [MASKED; PINS as usize];
        Ioapic { state: State { select: 0, id: 0, entries, lines: 0, edges: 0 } }
    }
}

impl Ioapic {
    /// The I/O APIC in this state.
    pub fn from_state(state: State) -> Result<Self, Malformed> {
        check(state.entries.iter().all(|entry| entry & !(WRITABLE | REMOTE) == 0))?;
        check((state.lines | state.edges) & !ALL == 0 && state.id & !0xF00_0000 == 0)?;
        Ok(Ioapic { state })
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The level of a pin; a rising one is remembered for edge-triggered entries. Pins that do
    /// not exist are ignored.
    pub fn set_line(&mut self, pin: u8, level: bool) {
        let bit = 1u32.checked_shl(pin.into()).unwrap_or(0) & ALL;
        if !level {
            self.state.lines &= !bit;
        } else {
            self.state.edges |= bit & !self.state.lines;
            self.state.lines |= bit;
        }
    }

    /// The next message to send; the board asks until there is none.
    pub fn next_message(&mut self) -> Option<Message> {
        let mut candidates = self.state.edges | self.state.lines;
        while candidates != 0 {
            let pin = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            if let Some(message) = self.fire(pin) {
                return Some(message);
            }
        }
        None
    }

    fn fire(&mut self, pin: usize) -> Option<Message> {
        let bit = 1 << pin;
        let entry = self.state.entries[pin];
        let level = entry & LEVEL != 0;
        if entry & MASKED != 0 {
            // An edge at a masked pin is lost; Linux unmasks a level and finds it still there.
            self.state.edges &= !bit;
            return None;
        }
        if level {
            self.state.edges &= !bit;
            if self.state.lines & bit == 0 || entry & REMOTE != 0 {
                return None;
            }
            self.state.entries[pin] |= REMOTE;
        } else if self.state.edges & bit == 0 {
            return None;
        }
        self.state.edges &= !bit;
        if entry >> 8 & 7 > 1 {
            return None;
        }
        Some(Message {
            vector: entry as u8,
            level,
            destination: (entry >> 56) as u8,
            logical: entry & LOGICAL != 0,
        })
    }

    /// The processor has ended a level-triggered interrupt: a pin that is still high fires
    /// again.
    pub fn end(&mut self, vector: u8) {
        for entry in &mut self.state.entries {
            if *entry as u8 == vector {
                *entry &= !REMOTE;
            }
        }
    }

    fn load(&self) -> u32 {
        match self.state.select {
            0 | 2 => self.state.id,
            1 => VERSION,
            select => match self.state.entries.get(usize::from(select.wrapping_sub(0x10)) / 2) {
                Some(entry) if select & 1 == 0 => *entry as u32,
                Some(entry) => (entry >> 32) as u32,
                None => 0,
            },
        }
    }

    fn store(&mut self, value: u32) {
        let select = self.state.select;
        if select == 0 {
            self.state.id = value & 0xF00_0000;
        }
        let Some(entry) = self.state.entries.get_mut(usize::from(select.wrapping_sub(0x10)) / 2)
        else {
            return;
        };
        let (kept, new) = match select & 1 {
            0 => (0xFFFF_FFFF_0000_0000, u64::from(value)),
            _ => (0xFFFF_FFFF, u64::from(value) << 32),
        };
        *entry = *entry & (kept | REMOTE) | new & WRITABLE;
        if *entry & LEVEL == 0 {
            // Linux ends a level by making it an edge for a moment, where there is no EOI.
            *entry &= !REMOTE;
        }
    }
}

impl Device for Ioapic {
    fn read(&mut self, offset: u64, _: Width, _: Cycle<'_>) -> u64 {
        match offset {
            0x00 => self.state.select.into(),
            0x10 => self.load().into(),
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, _: Width, value: u64, _: Cycle<'_>) {
        match offset {
            0x00 => self.state.select = value as u8,
            0x10 => self.store(value as u32),
            0x40 => self.end(value as u8),
            _ => {}
        }
    }

    /// It raises messages, not a line.
    fn line(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, damaged};

    fn with_entry(pin: u8, entry: u64) -> Ioapic {
        let mut ioapic = Ioapic::default();
        ioapic.state.select = 0x10 + 2 * pin;
        ioapic.store(entry as u32);
        ioapic.state.select += 1;
        ioapic.store((entry >> 32) as u32);
        ioapic
    }

    #[test]
    fn an_edge_is_sent_once() {
        let mut ioapic = with_entry(4, 0x31);
        ioapic.set_line(4, true);
        let message = Message { vector: 0x31, level: false, destination: 0, logical: false };
        assert_eq!((ioapic.next_message(), ioapic.next_message()), (Some(message), None));
        ioapic.set_line(4, true);
        assert_eq!(ioapic.next_message(), None);
        ioapic.set_line(4, false);
        ioapic.set_line(4, true);
        assert_eq!(ioapic.next_message(), Some(message));
    }

    #[test]
    fn a_level_is_sent_until_it_falls() {
        let mut ioapic = with_entry(5, LEVEL | LOGICAL | 1 << 56 | 0x52);
        ioapic.set_line(5, true);
        let message = Message { vector: 0x52, level: true, destination: 1, logical: true };
        assert_eq!((ioapic.next_message(), ioapic.next_message()), (Some(message), None));
        ioapic.end(0x52);
        assert_eq!(ioapic.next_message(), Some(message));
        ioapic.set_line(5, false);
        ioapic.end(0x52);
        assert_eq!(ioapic.next_message(), None);
    }

    #[test]
    fn a_masked_level_is_found_when_it_is_unmasked() {
        let mut ioapic = with_entry(5, LEVEL | MASKED | 0x52);
        ioapic.set_line(5, true);
        assert_eq!(ioapic.next_message(), None);
        ioapic.state.select = 0x1A;
        ioapic.store((LEVEL | 0x52) as u32);
        assert!(ioapic.next_message().is_some());
        // Remote IRR is read-only while the entry stays a level.
        ioapic.store((LEVEL | 0x52) as u32);
        assert_eq!((ioapic.load() as u64 & REMOTE, ioapic.next_message()), (REMOTE, None));
        ioapic.store(0x52);
        assert_eq!(ioapic.load() as u64 & REMOTE, 0);
    }

    #[test]
    fn any_access_is_survived_and_any_state_comes_back() {
        let mut random = Random::new(3);
        let mut ioapic = Ioapic::default();
        for _ in 0..20_000 {
            let value = random.nasty();
            match random.below(4) {
                0 => ioapic.state.select = value as u8,
                1 => ioapic.store(value as u32),
                2 => ioapic.set_line(value as u8, value & 256 != 0),
                _ => ioapic.end(value as u8),
            }
            ioapic.load();
            for _ in 0..PINS {
                ioapic.next_message();
            }
            assert_eq!(ioapic.next_message(), None);
        }
        let state = State::from_bytes(&ioapic.state().to_bytes()).unwrap();
        assert_eq!(Ioapic::from_state(state.clone()).unwrap().state(), ioapic.state());
        assert!(Ioapic::from_state(State { lines: 1 << 24, ..state }).is_err());
        for bytes in damaged(&ioapic.state().to_bytes(), 3) {
            let Ok(state) = State::from_bytes(&bytes) else { continue };
            let Ok(mut ioapic) = Ioapic::from_state(state) else { continue };
            while ioapic.next_message().is_some() {}
            ioapic.load();
            ioapic.store(u32::MAX);
        }
    }
}
