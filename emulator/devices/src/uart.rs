//! A 16550A serial port (PC16550D data sheet): registers, FIFO signs, interrupts, loopback.
//!
//! Time does not pass on this line: a byte that the guest writes is sent at once, and what is
//! typed waits here, not in a sixteen-byte FIFO that could overrun. Both ways are bounded.
//! When nobody fetches the output, the transmitter stays busy and the guest waits.
//!
//! Absent: baud rate, parity, breaks, modem lines that change.

use std::collections::VecDeque;

use emulator_bus::{Cycle, Device, Width};

use crate::state::{Malformed, check, record};

/// Bytes of input that wait; a line of a terminal is far shorter, a paste is sent in pieces.
pub const INPUT_LIMIT: usize = 64 << 10;
/// Bytes of output from which on the transmitter is busy.
pub const OUTPUT_HIGH_WATER: usize = 64 << 10;
/// Bytes of output that are kept at all. Linux writes after 10 ms even to a busy
/// transmitter; what goes beyond this is lost, as on a real line.
pub const OUTPUT_LIMIT: usize = 2 * OUTPUT_HIGH_WATER;

/// IER: received data, transmitter empty, line status, modem status.
const IER_DATA: u8 = 1;
const IER_EMPTY: u8 = 2;
const FCR_ENABLE: u8 = 1;
const FCR_CLEAR_INPUT: u8 = 2;
const LCR_DLAB: u8 = 0x80;
const MCR_OUT2: u8 = 8;
const MCR_LOOP: u8 = 0x10;
const LSR_DATA: u8 = 1;
const LSR_EMPTY: u8 = 0x60;
/// MSR: carrier, data set ready, clear to send; none of them has changed.
const MSR_PRESENT: u8 = 0xB0;

record! {
    /// Everything that a guest can tell of the port.
    pub struct State {
        /// Interrupt enable.
        pub ier: u8,
        /// FIFO control, as it was written.
        pub fcr: u8,
        /// Line control.
        pub lcr: u8,
        /// Modem control.
        pub mcr: u8,
        /// Scratch.
        pub scratch: u8,
        /// Divisor latch.
        pub divisor: u16,
        /// The transmitter became empty and nobody has looked.
        pub empty: bool,
        /// Typed, and not yet read.
        pub input: VecDeque<u8>,
        /// Written, and not yet fetched.
        pub output: Vec<u8>,
    }
}

/// The port.
#[derive(Debug)]
pub struct Uart {
    state: State,
}

impl Default for Uart {
    fn default() -> Self {
        let (input, output) = (VecDeque::new(), Vec::new());
        let zero = State {
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            scratch: 0,
            divisor: 12,
            empty: false,
            input,
            output,
        };
        Uart { state: zero }
    }
}

impl Uart {
    /// The port in this state.
    pub fn from_state(state: State) -> Result<Self, Malformed> {
        check(state.ier < 16 && state.mcr < 32)?;
        check(state.input.len() <= INPUT_LIMIT && state.output.len() <= OUTPUT_LIMIT)?;
        Ok(Uart { state })
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Does the guest want to be told of what is typed? A driver that starts throws away what
    /// was typed before.
    pub fn listens(&self) -> bool {
        self.state.ier & IER_DATA != 0
    }

    /// Types `bytes`; says how many of them there is room for.
    pub fn offer(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(INPUT_LIMIT - self.state.input.len());
        self.state.input.extend(&bytes[..taken]);
        taken
    }

    /// Fetches what the guest has written.
    pub fn take_output(&mut self) -> Vec<u8> {
        if self.is_busy() {
            self.state.empty = true;
        }
        std::mem::take(&mut self.state.output)
    }

    fn is_busy(&self) -> bool {
        self.state.output.len() >= OUTPUT_HIGH_WATER
    }

    /// Interrupt identification without the FIFO bits (PC16550D §8.6, table III): the source
    /// of the highest priority, or 1 for none.
    fn cause(&self) -> u8 {
        let State { ier, input, .. } = &self.state;
        if ier & IER_DATA != 0 && !input.is_empty() {
            let trigger = [1, 4, 8, 14][usize::from(self.state.fcr >> 6)];
            let fifo = self.state.fcr & FCR_ENABLE != 0;
            return if fifo && input.len() < trigger { 0xC } else { 4 };
        }
        if ier & IER_EMPTY != 0 && self.state.empty { 2 } else { 1 }
    }

    fn identify(&mut self) -> u8 {
        let cause = self.cause();
        if cause == 2 {
            self.state.empty = false;
        }
        let fifo = self.state.fcr & FCR_ENABLE != 0;
        cause | if fifo { 0xC0 } else { 0 }
    }

    fn modem(&self) -> u8 {
        if self.state.mcr & MCR_LOOP == 0 {
            return MSR_PRESENT;
        }
        // §8.7: DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD.
        let mcr = self.state.mcr;
        (mcr & 1) << 5 | (mcr & 2) << 3 | (mcr & 4) << 4 | (mcr & 8) << 4
    }

    fn send(&mut self, byte: u8) {
        self.state.empty = false;
        if self.state.mcr & MCR_LOOP != 0 {
            self.offer(&[byte]);
        } else if self.state.output.len() < OUTPUT_LIMIT {
            self.state.output.push(byte);
        }
        self.state.empty = !self.is_busy();
    }

    fn load(&mut self, offset: u64) -> u8 {
        let latch = self.state.lcr & LCR_DLAB != 0;
        match offset {
            0 if latch => self.state.divisor as u8,
            0 => self.state.input.pop_front().unwrap_or(0),
            1 if latch => (self.state.divisor >> 8) as u8,
            1 => self.state.ier,
            2 => self.identify(),
            3 => self.state.lcr,
            4 => self.state.mcr,
            5 => {
                let data = if self.state.input.is_empty() { 0 } else { LSR_DATA };
                data | if self.is_busy() { 0 } else { LSR_EMPTY }
            }
            6 => self.modem(),
            7 => self.state.scratch,
            _ => 0xFF,
        }
    }

    fn store(&mut self, offset: u64, value: u8) {
        let latch = self.state.lcr & LCR_DLAB != 0;
        match offset {
            0 if latch => self.state.divisor = self.state.divisor & 0xFF00 | u16::from(value),
            0 => self.send(value),
            1 if latch => {
                self.state.divisor = self.state.divisor & 0xFF | u16::from(value) << 8;
            }
            1 => {
                // Enabling the interrupt of an empty transmitter raises it: Linux tests that.
                if value & !self.state.ier & IER_EMPTY != 0 && !self.is_busy() {
                    self.state.empty = true;
                }
                self.state.ier = value & 0xF;
            }
            2 => {
                if value & FCR_CLEAR_INPUT != 0 && self.state.mcr & MCR_LOOP != 0 {
                    self.state.input.clear();
                }
                // Outside of loopback the FIFO is cleared only by drivers that start; what a
                // person has typed ahead stays.
                self.state.fcr = value & 0xC9;
            }
            3 => self.state.lcr = value,
            4 => self.state.mcr = value & 0x1F,
            7 => self.state.scratch = value,
            _ => {}
        }
    }
}

impl Device for Uart {
    fn read(&mut self, offset: u64, _: Width, _: Cycle<'_>) -> u64 {
        self.load(offset).into()
    }

    fn write(&mut self, offset: u64, _: Width, value: u64, _: Cycle<'_>) {
        self.store(offset, value as u8);
    }

    /// On a PC, OUT2 lets the interrupt through to the bus; in loopback nothing leaves.
    fn line(&self) -> bool {
        self.state.mcr & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2 && self.cause() != 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, damaged};

    #[test]
    fn linux_finds_a_16550a() {
        let mut uart = Uart::default();
        uart.store(1, 0xFF);
        assert_eq!(uart.load(1), 0x0F);
        uart.store(4, 0x1A);
        assert_eq!(uart.load(6) & 0xF0, 0x90);
        uart.store(4, 0);
        uart.store(2, 1);
        assert_eq!(uart.load(2) >> 6, 3);
        // No 64-byte FIFO of a 16750, no enhanced registers of a 16650.
        uart.store(3, 0x80);
        uart.store(2, 0x21);
        assert_eq!(uart.load(2) & 0xE0, 0xC0);
    }

    #[test]
    fn loopback_brings_back_what_is_sent() {
        let mut uart = Uart::default();
        uart.store(4, MCR_LOOP | MCR_OUT2);
        uart.store(1, IER_DATA);
        uart.store(0, b'x');
        assert!(!uart.line());
        assert_eq!((uart.load(5) & LSR_DATA, uart.load(0)), (1, b'x'));
        assert_eq!(uart.take_output(), b"");
    }

    #[test]
    fn input_waits_and_raises_the_line() {
        let mut uart = Uart::default();
        uart.store(4, MCR_OUT2);
        uart.store(1, IER_DATA);
        uart.store(2, FCR_ENABLE | 0xC0);
        assert_eq!(uart.offer(&[b'a'; INPUT_LIMIT + 5]), INPUT_LIMIT);
        assert!(uart.line());
        assert_eq!(uart.load(2), 0xC4);
        for _ in 0..INPUT_LIMIT - 1 {
            uart.load(0);
        }
        assert_eq!(uart.load(2), 0xCC);
        assert_eq!(uart.load(0), b'a');
        assert!(!uart.line());
    }

    #[test]
    fn the_transmitter_says_once_that_it_is_empty() {
        let mut uart = Uart::default();
        uart.store(4, MCR_OUT2);
        uart.store(1, IER_EMPTY);
        assert!(uart.line());
        assert_eq!(uart.load(2), 2);
        assert_eq!(uart.load(2), 1);
        uart.store(0, b'a');
        assert_eq!(uart.load(2), 2);
        // Enabled anew while empty: Linux's test for a missing interrupt.
        uart.store(1, 0);
        uart.store(1, IER_EMPTY);
        assert_eq!(uart.load(2), 2);
    }

    #[test]
    fn output_that_nobody_fetches_makes_the_guest_wait() {
        let mut uart = Uart::default();
        uart.store(4, MCR_OUT2);
        uart.store(1, IER_EMPTY);
        for _ in 0..OUTPUT_HIGH_WATER {
            uart.store(0, b'.');
        }
        assert_eq!(uart.load(5) & LSR_EMPTY, 0);
        assert!(!uart.line());
        assert_eq!(uart.take_output().len(), OUTPUT_HIGH_WATER);
        assert!(uart.line());
        for _ in 0..=OUTPUT_LIMIT {
            uart.store(0, b'.');
        }
        assert_eq!(uart.take_output().len(), OUTPUT_LIMIT);
    }

    #[test]
    fn any_access_is_survived_and_any_state_comes_back() {
        let mut random = Random::new(1);
        let mut uart = Uart::default();
        for _ in 0..20_000 {
            let (offset, value) = (random.below(10), random.next() as u8);
            if random.below(2) == 0 {
                uart.store(offset, value);
            } else {
                uart.load(offset);
            }
            uart.offer(&[value]);
        }
        let bytes = uart.state().to_bytes();
        let twin = Uart::from_state(State::from_bytes(&bytes).unwrap()).unwrap();
        assert_eq!(twin.state(), uart.state());
        uart.take_output();
        for _ in 0..INPUT_LIMIT {
            uart.load(0);
        }
        for bytes in damaged(&uart.state().to_bytes(), 1) {
            let Ok(state) = State::from_bytes(&bytes) else { continue };
            let Ok(mut uart) = Uart::from_state(state) else { continue };
            for offset in 0..8 {
                uart.load(offset);
                uart.store(offset, 0xFF);
            }
        }
        let wrong = State { ier: 16, ..uart.state().clone() };
        assert_eq!(Uart::from_state(wrong).unwrap_err(), Malformed);
    }
}
