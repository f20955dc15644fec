//! The two 8259A interrupt controllers of a PC (Intel 8259A data sheet), the second behind
//! line 2 of the first.
//!
//! Linux counts on their sixteen lines even when it uses the I/O APIC: if they do not answer,
//! it gives ISA interrupts no numbers. With `noapic` they do all the work. Offsets are ports:
//! 0x20, 0x21, 0xA0, 0xA1, and 0x4D0, 0x4D1 for which lines are levels.
//!
//! Absent: rotation of priorities, polling, special fully nested mode. Nobody uses them.

use emulator_bus::{Cycle, Device, Width};

use crate::state::{Malformed, check, record};

/// The line of the first controller on which the second one is.
const CASCADE: u8 = 2;
/// Lines that can only be edges: timer, keyboard, cascade, clock, coprocessor.
const EDGES_ONLY: [u8; 2] = [0b0000_0111, 0b0010_0001];

record! {
    /// One controller.
    pub struct Chip {
        /// Requested.
        pub irr: u8,
        /// In service.
        pub isr: u8,
        /// Masked.
        pub imr: u8,
        /// Levels of its lines.
        pub lines: u8,
        /// Lines that are level-triggered.
        pub levels: u8,
        /// Vector of its line 0.
        pub base: u8,
        /// Which initialisation word comes next: 2 to 4, or 0.
        pub step: u8,
        /// A fourth initialisation word will come.
        pub fourth: bool,
        /// Ends interrupts by itself.
        pub auto_end: bool,
        /// The command port shows the ISR.
        pub show_isr: bool,
    }
}

record! {
    /// Both.
    pub struct State {
        /// Lines 0 to 7.
        pub first: Chip,
        /// Lines 8 to 15.
        pub second: Chip,
    }
}

impl Chip {
    fn new() -> Self {
        Chip {
            irr: 0,
            isr: 0,
            imr: 0xFF,
            lines: 0,
            levels: 0,
            base: 0,
            step: 0,
            fourth: false,
            auto_end: false,
            show_isr: false,
        }
    }

    fn set_line(&mut self, line: u8, level: bool) {
        let bit = 1 << line;
        let rises = level && self.lines & bit == 0;
        self.lines = if level { self.lines | bit } else { self.lines & !bit };
        if self.levels & bit != 0 {
            self.irr = self.irr & !bit | self.lines & bit;
        } else if rises {
            self.irr |= bit;
        } else if !level {
            self.irr &= !bit;
        }
    }

    /// The line to serve next: requested, not masked, above what is in service.
    fn next(&self) -> Option<u8> {
        let line = (self.irr & !self.imr).trailing_zeros();
        (line < 8 && line < self.isr.trailing_zeros()).then_some(line as u8)
    }

    /// The processor takes the interrupt. Without one, line 7: spurious, not in service.
    fn acknowledge(&mut self) -> u8 {
        let Some(line) = self.next() else { return self.base + 7 };
        let bit = 1 << line;
        if self.levels & bit == 0 {
            self.irr &= !bit;
        }
        if !self.auto_end {
            self.isr |= bit;
        }
        self.base + line
    }

    fn command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            // ICW1.
            let (lines, levels) = (self.lines, self.levels);
            *self = Chip { lines, levels, imr: 0, step: 2, fourth: value & 1 != 0, ..Chip::new() };
            self.irr = lines & levels;
        } else if value & 8 != 0 {
            // OCW3.
            if value & 2 != 0 {
                self.show_isr = value & 1 != 0;
            }
        } else if value & 0x20 != 0 {
            // OCW2: end of interrupt, the named one or the highest.
            let ended = if value & 0x40 != 0 {
                1 << (value & 7)
            } else {
                self.isr & self.isr.wrapping_neg()
            };
            self.isr &= !ended;
        }
    }

    fn data(&mut self, value: u8) {
        match self.step {
            2 => {
                self.base = value & 0xF8;
                self.step = 3;
            }
            3 => self.step = if self.fourth { 4 } else { 0 },
            4 => {
                self.auto_end = value & 2 != 0;
                self.step = 0;
            }
            _ => self.imr = value,
        }
    }
}

/// The pair.
#[derive(Debug)]
pub struct Pic {
    state: State,
}

impl Default for Pic {
    fn default() -> Self {
        Pic { state: State { first: Chip::new(), second: Chip::new() } }
    }
}

impl Pic {
    /// The pair in this state.
    pub fn from_state(state: State) -> Result<Self, Malformed> {
        let chips = [&state.first, &state.second];
        check(chips.iter().all(|chip| chip.base & 7 == 0 && matches!(chip.step, 0 | 2..=4)))?;
        check(chips.iter().zip(EDGES_ONLY).all(|(chip, edges)| chip.levels & edges == 0))?;
        Ok(Pic { state })
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The level of line 0 to 15; others are ignored.
    pub fn set_line(&mut self, line: u8, level: bool) {
        match line {
            0..8 if line != CASCADE => self.state.first.set_line(line, level),
            8..16 => self.state.second.set_line(line - 8, level),
            _ => {}
        }
        self.cascade();
    }

    /// The processor takes the interrupt that [`Device::line`] announced: its vector.
    pub fn acknowledge(&mut self) -> u8 {
        let served = self.state.first.next();
        let vector = self.state.first.acknowledge();
        let vector = if served == Some(CASCADE) { self.state.second.acknowledge() } else { vector };
        self.cascade();
        vector
    }

    /// The second controller's output is a line of the first. It is passed on as a level, so
    /// that a request behind another one is not lost for want of an edge.
    fn cascade(&mut self) {
        let bit = 1 << CASCADE;
        let high = self.state.second.next().is_some();
        self.state.first.irr = self.state.first.irr & !bit | if high { bit } else { 0 };
    }

    fn chip(&mut self, port: u64) -> &mut Chip {
        match port {
            0x20 | 0x21 | 0x4D0 => &mut self.state.first,
            _ => &mut self.state.second,
        }
    }
}

impl Device for Pic {
    fn read(&mut self, port: u64, _: Width, _: Cycle<'_>) -> u64 {
        let chip = self.chip(port);
        let value = match port {
            0x20 | 0xA0 if chip.show_isr => chip.isr,
            0x20 | 0xA0 => chip.irr,
            0x21 | 0xA1 => chip.imr,
            0x4D0 | 0x4D1 => chip.levels,
            _ => 0xFF,
        };
        value.into()
    }

    fn write(&mut self, port: u64, _: Width, value: u64, _: Cycle<'_>) {
        let chip = self.chip(port);
        let value = value as u8;
        match port {
            0x20 | 0xA0 => chip.command(value),
            0x21 | 0xA1 => chip.data(value),
            0x4D0 => chip.levels = value & !EDGES_ONLY[0],
            0x4D1 => chip.levels = value & !EDGES_ONLY[1],
            _ => {}
        }
        self.cascade();
    }

    fn line(&self) -> bool {
        self.state.first.next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use emulator_bus::Memory;

    use super::*;
    use crate::testing::{Random, damaged};

    fn write(pic: &mut Pic, port: u64, value: u8) {
        let mut memory = Memory::new(0);
        pic.write(port, Width::Byte, value.into(), Cycle { memory: &mut memory, now: 0 });
    }

    fn read(pic: &mut Pic, port: u64) -> u8 {
        let mut memory = Memory::new(0);
        pic.read(port, Width::Byte, Cycle { memory: &mut memory, now: 0 }) as u8
    }

    /// As Linux's init_8259A does it.
    fn linux() -> Pic {
        let mut pic = Pic::default();
        for (port, value) in [
            (0x21, 0xFF),
            (0x20, 0x11),
            (0x21, 0x30),
            (0x21, 4),
            (0x21, 1),
            (0xA0, 0x11),
            (0xA1, 0x38),
            (0xA1, 2),
            (0xA1, 1),
            (0x21, 0),
            (0xA1, 0),
        ] {
            write(&mut pic, port, value);
        }
        pic
    }

    #[test]
    fn linux_finds_it() {
        let mut pic = Pic::default();
        write(&mut pic, 0xA1, 0xFF);
        write(&mut pic, 0x21, 0xFB);
        assert_eq!(read(&mut pic, 0x21), 0xFB);
    }

    #[test]
    fn priorities_and_ends() {
        let mut pic = linux();
        pic.set_line(4, true);
        pic.set_line(1, true);
        assert_eq!(pic.acknowledge(), 0x31);
        assert!(!pic.line());
        pic.set_line(0, true);
        assert_eq!(pic.acknowledge(), 0x30);
        write(&mut pic, 0x20, 0x20);
        assert!(!pic.line());
        write(&mut pic, 0x20, 0x61);
        assert_eq!(pic.acknowledge(), 0x34);
        write(&mut pic, 0x20, 0x0B);
        assert_eq!(read(&mut pic, 0x20), 0x10);
        assert_eq!(pic.acknowledge(), 0x37);
    }

    #[test]
    fn the_second_comes_through_the_first() {
        let mut pic = linux();
        pic.set_line(11, true);
        pic.set_line(9, true);
        assert_eq!(pic.acknowledge(), 0x39);
        write(&mut pic, 0xA0, 0x20);
        write(&mut pic, 0x20, 0x62);
        assert_eq!(pic.acknowledge(), 0x3B);
        write(&mut pic, 0xA0, 0x20);
        write(&mut pic, 0x20, 0x62);
        assert!(!pic.line());
    }

    #[test]
    fn a_level_stays_until_it_falls() {
        let mut pic = linux();
        write(&mut pic, 0x4D0, 0xFF);
        assert_eq!(read(&mut pic, 0x4D0), 0xF8);
        pic.set_line(5, true);
        assert_eq!(pic.acknowledge(), 0x35);
        write(&mut pic, 0x20, 0x20);
        assert_eq!(pic.acknowledge(), 0x35);
        pic.set_line(5, false);
        write(&mut pic, 0x20, 0x20);
        assert!(!pic.line());
    }

    #[test]
    fn any_access_is_survived_and_any_state_comes_back() {
        let mut random = Random::new(4);
        let mut pic = Pic::default();
        for _ in 0..20_000 {
            let value = random.next() as u8;
            let port = [0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1, 7][random.below(7) as usize];
            match random.below(4) {
                0 => pic.set_line(value & 31, value & 32 != 0),
                1 => drop(read(&mut pic, port)),
                2 => drop(pic.acknowledge()),
                _ => write(&mut pic, port, value),
            }
        }
        let state = State::from_bytes(&pic.state().to_bytes()).unwrap();
        assert_eq!(Pic::from_state(state).unwrap().state(), pic.state());
        for bytes in damaged(&pic.state().to_bytes(), 4) {
            let Ok(state) = State::from_bytes(&bytes) else { continue };
            let Ok(mut pic) = Pic::from_state(state) else { continue };
            for line in 0..16 {
                pic.acknowledge();
                pic.set_line(line, true);
                write(&mut pic, 0x20 + u64::from(line & 1), 0x20);
            }
        }
    }
}
