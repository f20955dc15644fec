//! The real-time clock and its battery-backed bytes (Motorola MC146818A data sheet). Offsets
//! are ports: 0x70 chooses, 0x71 is the byte.
//!
//! The time of day is a start, in seconds since 1970, and the guest's own time since then; a
//! guest that sets the clock is not believed. 24 hours, BCD.
//!
//! Absent: alarm, periodic and update interrupts.

use emulator_bus::{Cycle, Device, TICKS_PER_SECOND, Ticks, Width};

use crate::state::{Malformed, check, record};

const STATUS_A: u8 = 0x0A;
const STATUS_B: u8 = 0x0B;
const STATUS_C: u8 = 0x0C;
const STATUS_D: u8 = 0x0D;
const CENTURY: u8 = 0x32;
/// The last second that four digits can say; also keeps sums far from overflow.
const LAST_SECOND: u64 = 253_402_300_799;

record! {
    /// Everything that a guest can tell of the clock.
    pub struct State {
        /// The chosen byte.
        pub select: u8,
        /// Seconds since 1970 at tick 0.
        pub epoch: u64,
        /// The bytes that keep what is written.
        pub bytes: [u8; 128],
    }
}

/// The clock.
#[derive(Debug)]
pub struct Cmos {
    state: State,
}

/// Year, month, day of a day since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms": years start in March, so the leap day is the last).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

fn bcd(value: u64) -> u8 {
    (value / 10 % 10 * 16 + value % 10) as u8
}

impl Cmos {
    /// A clock that says `epoch`, in seconds since 1970, at tick 0.
    pub fn new(epoch: u64) -> Self {
        Cmos { state: State { select: 0, epoch: epoch.min(LAST_SECOND), bytes: [0; 128] } }
    }

    /// The clock in this state.
    pub fn from_state(state: State) -> Result<Self, Malformed> {
        check(state.select < 128 && state.epoch <= LAST_SECOND)?;
        Ok(Cmos { state })
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Says another time from now on: after a restore.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.state.epoch = epoch.min(LAST_SECOND);
    }

    fn load(&self, now: Ticks) -> u8 {
        let seconds = self.state.epoch + now / TICKS_PER_SECOND;
        let days = seconds / 86_400;
        let (year, month, day) = civil(days);
        match self.state.select {
            0 => bcd(seconds % 60),
            2 => bcd(seconds / 60 % 60),
            4 => bcd(seconds / 3600 % 24),
            // 1 is Sunday; 1970 began on a Thursday.
            6 => bcd((days + 4) % 7 + 1),
            7 => bcd(day),
            8 => bcd(month),
            9 => bcd(year % 100),
            CENTURY => bcd(year / 100),
            // Never in the middle of an update; 32.768 kHz.
            STATUS_A => 0x26,
            STATUS_B => 0x02,
            STATUS_C => 0,
            // The battery is good.
            STATUS_D => 0x80,
            other => self.state.bytes[usize::from(other)],
        }
    }
}

impl Device for Cmos {
    fn read(&mut self, port: u64, _: Width, cycle: Cycle<'_>) -> u64 {
        if port == 0x71 { self.load(cycle.now).into() } else { 0xFF }
    }

    fn write(&mut self, port: u64, _: Width, value: u64, _: Cycle<'_>) {
        match port {
            // Bit 7 masks NMI, of which there is none.
            0x70 => self.state.select = value as u8 & 0x7F,
            0x71 => self.state.bytes[usize::from(self.state.select)] = value as u8,
            _ => {}
        }
    }

    fn line(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, now: Ticks) -> [u8; 8] {
        let mut cmos = Cmos::new(epoch);
        [CENTURY, 9, 8, 7, 6, 4, 2, 0].map(|select| {
            cmos.state.select = select;
            cmos.load(now)
        })
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(at(0, 0), [0x19, 0x70, 1, 1, 5, 0, 0, 0]);
        // 29 February 2024, 23:59:58, a Thursday, and two seconds later.
        let leap = 1_709_251_198;
        assert_eq!(at(leap, 1_999_999_999), [0x20, 0x24, 2, 0x29, 5, 0x23, 0x59, 0x59]);
        assert_eq!(at(leap, 2_000_000_000), [0x20, 0x24, 3, 1, 6, 0, 0, 0]);
        assert_eq!(at(4_107_542_400, 0)[..4], [0x21, 0x00, 3, 1]);
        at(u64::MAX, u64::MAX);
    }

    #[test]
    fn bytes_are_kept_and_the_state_comes_back() {
        let mut cmos = Cmos::new(9);
        let mut memory = emulator_bus::Memory::new(0);
        for (port, value) in [(0x70, 0x8F), (0x71, 5), (0x70, 0x0A), (0x71, 0xFF)] {
            cmos.write(port, Width::Byte, value, Cycle { memory: &mut memory, now: 0 });
        }
        assert_eq!(cmos.load(0), 0x26);
        cmos.state.select = 0x0F;
        assert_eq!(cmos.load(0), 5);
        let state = State::from_bytes(&cmos.state().to_bytes()).unwrap();
        assert_eq!(Cmos::from_state(state.clone()).unwrap().state(), cmos.state());
        assert!(Cmos::from_state(State { select: 128, ..state }).is_err());
    }
}
