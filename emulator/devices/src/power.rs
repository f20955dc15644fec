//! How a guest asks for an end: the reset line of the keyboard controller (ports 0x60, 0x64),
//! the reset register of a chipset (0xCF9), and an exit port for tests and guest agents
//! (0xF4), whose byte is the answer.
//!
//! The keyboard controller is only that line. Its output buffer always looks full, which is
//! how Linux's i8042 driver sees within a millisecond that nobody is behind it, while its
//! input buffer looks empty, which is what Linux waits for before it pulls the line.

use emulator_bus::{Cycle, Device, Width};

use crate::state::{Malformed, record};

/// Status of the keyboard controller: output full, input empty.
const STATUS: u8 = 1;
/// Pulse the lowest output line: reset.
const PULSE_RESET: u8 = 0xFE;

/// What the guest asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To start anew.
    Reset,
    /// To end, with this answer.
    Exit(u8),
}

record! {
    /// Everything that a guest can tell.
    pub struct State {
        /// The reset register, as it was written.
        pub control: u8,
    }
}

/// The ports.
#[derive(Debug)]
pub struct Power {
    state: State,
    request: Option<Request>,
}

impl Default for Power {
    fn default() -> Self {
        Power { state: State { control: 0 }, request: None }
    }
}

impl Power {
    /// The ports in this state.
    pub fn from_state(state: State) -> Result<Self, Malformed> {
        Ok(Power { state, request: None })
    }

    /// Their state. A request is not part of it: the board obeys before it saves.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Has the guest asked for something?
    pub fn has_request(&self) -> bool {
        self.request.is_some()
    }

    /// Fetches what the guest asked for first.
    pub fn take_request(&mut self) -> Option<Request> {
        self.request.take()
    }
}

impl Device for Power {
    fn read(&mut self, port: u64, _: Width, _: Cycle<'_>) -> u64 {
        match port {
            0x60 => 0,
            0x64 => STATUS.into(),
            0xCF9 => self.state.control.into(),
            _ => 0xFF,
        }
    }

    fn write(&mut self, port: u64, _: Width, value: u64, _: Cycle<'_>) {
        let value = value as u8;
        let request = match port {
            0x64 if value == PULSE_RESET => Request::Reset,
            0xF4 => Request::Exit(value),
            0xCF9 => {
                // A rising bit 2 resets; bit 1 says how hard (Intel ICH9 data sheet, §13.7.5).
                let rises = value & !self.state.control & 4 != 0;
                self.state.control = value & 0xE;
                if !rises {
                    return;
                }
                Request::Reset
            }
            _ => return,
        };
        self.request.get_or_insert(request);
    }

    fn line(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use emulator_bus::Memory;

    use super::*;

    fn after(writes: &[(u64, u64)]) -> Option<Request> {
        let (mut power, mut memory) = (Power::default(), Memory::new(0));
        for (port, value) in writes {
            power.write(*port, Width::Byte, *value, Cycle { memory: &mut memory, now: 0 });
        }
        power.take_request()
    }

    #[test]
    fn a_guest_ends_in_three_ways() {
        assert_eq!(after(&[(0x64, 0xAA), (0x60, 0xFE)]), None);
        assert_eq!(after(&[(0x64, 0xFE)]), Some(Request::Reset));
        assert_eq!(after(&[(0xCF9, 2), (0xCF9, 6)]), Some(Request::Reset));
        assert_eq!(after(&[(0xCF9, 2)]), None);
        assert_eq!(after(&[(0xF4, 3), (0x64, 0xFE)]), Some(Request::Exit(3)));
    }

    #[test]
    fn linux_sees_that_no_keyboard_is_there() {
        let (mut power, mut memory) = (Power::default(), Memory::new(0));
        for _ in 0..20 {
            let cycle = Cycle { memory: &mut memory, now: 0 };
            assert_eq!(power.read(0x64, Width::Byte, cycle) & 3, 1);
        }
    }
}
