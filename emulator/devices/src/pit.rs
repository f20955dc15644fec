//! The 8254 interval timer (Intel 82C54 data sheet) and port 0x61 beside it.
//!
//! Linux needs it where it knows neither the frequency of the time-stamp counter nor that of
//! the APIC timer: channel 2 is timed through port 0x61, channel 0 raises interrupt 0. With
//! the paravirtual clock and TSC-deadline nobody touches it. Offsets are ports: 0x40–0x43,
//! 0x61.
//!
//! Modes 0 (once), 2 (rate) and 3 (square) are exact to a tick; 1, 4 and 5 count as 0.
//! Absent: BCD, channel 1, sound.

use emulator_bus::{Cycle, Device, TICKS_PER_SECOND, Ticks, Width};

use crate::state::{Malformed, check, record};

/// Ticks a second: a third of the colour subcarrier, as ever since 1981.
const HERTZ: u128 = 1_193_182;
/// The shortest period of interrupt 0, in ticks of the timer (27 µs): a bound for the host.
const SHORTEST_PERIOD: u64 = 32;

record! {
    /// A channel.
    pub struct Channel {
        /// 0 to 5.
        pub mode: u8,
        /// Which bytes are read and written: 1 low, 2 high, 3 both.
        pub access: u8,
        /// The count; 0 stands for 65536.
        pub reload: u16,
        /// The low byte, until the high one comes.
        pub low: Option<u8>,
        /// The next byte to be read is the high one.
        pub high_next: bool,
        /// What was latched to be read.
        pub latch: Option<u16>,
        /// The status that was latched to be read.
        pub status: Option<u8>,
        /// When the count was loaded; nothing before that.
        pub since: Option<Ticks>,
    }
}

record! {
    /// The timer.
    pub struct State {
        /// Channels 0 and 2.
        pub channels: [Channel; 2],
        /// Port 0x61, bits 1:0: gate of channel 2, speaker.
        pub gate: u8,
        /// Up to when interrupt 0 has been raised.
        pub raised: Ticks,
    }
}

impl Default for Channel {
    fn default() -> Self {
        Channel {
            mode: 0,
            access: 3,
            reload: 0,
            low: None,
            high_next: false,
            latch: None,
            status: None,
            since: None,
        }
    }
}

fn to_counts(ticks: Ticks) -> u64 {
    (u128::from(ticks) * HERTZ / u128::from(TICKS_PER_SECOND)) as u64
}

fn to_ticks(counts: u64) -> Ticks {
    (u128::from(counts) * u128::from(TICKS_PER_SECOND)).div_ceil(HERTZ).min(u64::MAX.into()) as u64
}

impl Channel {
    fn period(&self) -> u64 {
        if self.reload == 0 { 0x1_0000 } else { self.reload.into() }
    }

    fn is_periodic(&self) -> bool {
        matches!(self.mode, 2 | 3)
    }

    fn elapsed(&self, now: Ticks) -> Option<u64> {
        self.since.map(|since| to_counts(now.saturating_sub(since)))
    }

    fn count(&self, now: Ticks) -> u16 {
        let Some(elapsed) = self.elapsed(now) else { return self.reload };
        let period = self.period();
        let left = match self.mode {
            2 => period - elapsed % period,
            // A square counts down by twos, twice a period.
            3 => period - elapsed * 2 % period,
            _ => period.wrapping_sub(elapsed),
        };
        left as u16
    }

    fn output(&self, now: Ticks) -> bool {
        let Some(elapsed) = self.elapsed(now) else { return self.mode != 0 };
        let period = self.period();
        match self.mode {
            2 => elapsed % period != period - 1,
            3 => elapsed % period < period.div_ceil(2),
            _ => elapsed >= period,
        }
    }

    fn control(&mut self, value: u8, now: Ticks) {
        let access = value >> 4 & 3;
        if access == 0 {
            let count = self.count(now);
            self.latch.get_or_insert(count);
            return;
        }
        // Modes 6 and 7 are 2 and 3.
        let mode = [0, 1, 2, 3, 4, 5, 2, 3][usize::from(value >> 1 & 7)];
        *self = Channel { mode, access, ..Channel::default() };
    }

    fn latch_both(&mut self, value: u8, now: Ticks) {
        if value & 0x20 == 0 {
            let count = self.count(now);
            self.latch.get_or_insert(count);
        }
        if value & 0x10 == 0 {
            let output = if self.output(now) { 0x80 } else { 0 };
            let null = if self.since.is_none() { 0x40 } else { 0 };
            self.status.get_or_insert(output | null | self.access << 4 | self.mode << 1);
        }
    }

    fn read(&mut self, now: Ticks) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let [low, high] = self.latch.unwrap_or_else(|| self.count(now)).to_le_bytes();
        let is_high = self.access == 2 || self.access == 3 && self.high_next;
        self.high_next = self.access == 3 && !self.high_next;
        if !self.high_next {
            self.latch = None;
        }
        if is_high { high } else { low }
    }

    /// A byte of the count; true when it is complete and counting starts.
    fn write(&mut self, value: u8, now: Ticks) -> bool {
        self.reload = match (self.access, self.low.take()) {
            (1, _) => value.into(),
            (2, _) => u16::from(value) << 8,
            (_, None) => {
                self.low = Some(value);
                return false;
            }
            (_, Some(low)) => u16::from_le_bytes([low, value]),
        };
        self.since = Some(now);
        true
    }

    /// The first time after `after` at which the output rises.
    fn rises(&self, after: Ticks) -> Option<Ticks> {
        let since = self.since?;
        let period = self.period();
        if !self.is_periodic() {
            let at = since.saturating_add(to_ticks(period));
            return (at > after).then_some(at);
        }
        let period = period.max(SHORTEST_PERIOD);
        let done = to_counts(after.saturating_sub(since)) / period;
        let at = since.saturating_add(to_ticks((done + 1).saturating_mul(period)));
        Some(at.max(after.saturating_add(1)))
    }
}

/// The timer.
#[derive(Debug)]
pub struct Pit {
    state: State,
}

impl Default for Pit {
    fn default() -> Self {
        let channels = [Channel::default(), Channel::default()];
        Pit { state: State { channels, gate: 0, raised: 0 } }
    }
}

impl Pit {
    /// The timer in this state.
    pub fn from_state(state: State) -> Result<Self, Malformed> {
        let sound = |channel: &Channel| channel.mode <= 5 && matches!(channel.access, 1..=3);
        check(state.channels.iter().all(sound) && state.gate <= 3)?;
        Ok(Pit { state })
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When interrupt 0 must be raised next.
    pub fn deadline(&self) -> Option<Ticks> {
        self.state.channels[0].rises(self.state.raised)
    }

    /// Is interrupt 0 to be raised, as one edge? What was slept through counts once.
    pub fn advance(&mut self, now: Ticks) -> bool {
        let due = self.deadline().is_some_and(|due| due <= now);
        if due {
            self.state.raised = now;
        }
        due
    }

    fn control(&mut self, value: u8, now: Ticks) {
        match value >> 6 {
            0 => self.state.channels[0].control(value, now),
            2 => self.state.channels[1].control(value, now),
            3 => {
                for (channel, bit) in self.state.channels.iter_mut().zip([2, 8]) {
                    if value & bit != 0 {
                        channel.latch_both(value, now);
                    }
                }
            }
            _ => {}
        }
    }

    /// Port 0x61: gate, speaker, the refresh that toggles every 15 µs, output of channel 2.
    fn gate(&self, now: Ticks) -> u8 {
        let refresh = if (now / 15_085) & 1 != 0 { 0x10 } else { 0 };
        let output = if self.state.channels[1].output(now) { 0x20 } else { 0 };
        self.state.gate | refresh | output
    }

    /// A gate that rises starts the count anew; one that falls stops it.
    fn set_gate(&mut self, value: u8, now: Ticks) {
        let rises = value & !self.state.gate & 1 != 0;
        self.state.gate = value & 3;
        let channel = &mut self.state.channels[1];
        if rises && (channel.since.is_some() || channel.reload != 0) {
            channel.since = Some(now);
        }
    }
}

impl Device for Pit {
    fn read(&mut self, port: u64, _: Width, cycle: Cycle<'_>) -> u64 {
        let value = match port {
            0x40 => self.state.channels[0].read(cycle.now),
            0x42 => self.state.channels[1].read(cycle.now),
            0x61 => self.gate(cycle.now),
            _ => 0xFF,
        };
        value.into()
    }

    fn write(&mut self, port: u64, _: Width, value: u64, cycle: Cycle<'_>) {
        let value = value as u8;
        match port {
            0x40 if self.state.channels[0].write(value, cycle.now) => {
                self.state.raised = cycle.now;
            }
            0x42 => drop(self.state.channels[1].write(value, cycle.now)),
            0x43 => self.control(value, cycle.now),
            0x61 => self.set_gate(value, cycle.now),
            _ => {}
        }
    }

    /// Interrupt 0 is an edge, raised by [`Pit::advance`].
    fn line(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use emulator_bus::Memory;

    use super::*;
    use crate::testing::{Random, damaged};

    fn write(pit: &mut Pit, port: u64, value: u64, now: Ticks) {
        let mut memory = Memory::new(0);
        pit.write(port, Width::Byte, value, Cycle { memory: &mut memory, now });
    }

    fn read(pit: &mut Pit, port: u64, now: Ticks) -> u64 {
        let mut memory = Memory::new(0);
        pit.read(port, Width::Byte, Cycle { memory: &mut memory, now })
    }

    #[test]
    fn linux_times_the_tsc_by_channel_2() {
        let mut pit = Pit::default();
        // pit_calibrate_tsc: gate on, speaker off, mode 0, 10 ms.
        write(&mut pit, 0x61, 1, 0);
        write(&mut pit, 0x43, 0xB0, 0);
        write(&mut pit, 0x42, 11_931 & 0xFF, 0);
        write(&mut pit, 0x42, 11_931 >> 8, 0);
        assert_eq!(read(&mut pit, 0x61, 9_999_000) & 0x20, 0);
        assert_eq!(read(&mut pit, 0x61, 10_000_000) & 0x20, 0x20);
        // quick_pit_calibrate reads the high byte as it runs down.
        write(&mut pit, 0x42, 0xFF, 0);
        write(&mut pit, 0x42, 0xFF, 0);
        read(&mut pit, 0x42, 1_000_000);
        assert_eq!(read(&mut pit, 0x42, 1_000_000), (0xFFFF - 1193) >> 8);
    }

    #[test]
    fn channel_0_beats() {
        let mut pit = Pit::default();
        write(&mut pit, 0x43, 0x34, 0);
        assert_eq!(pit.deadline(), None);
        write(&mut pit, 0x40, 0x9C, 0);
        write(&mut pit, 0x40, 0x2E, 0);
        let period = to_ticks(0x2E9C);
        assert_eq!(pit.deadline(), Some(period));
        assert!(!pit.advance(period - 1) && pit.advance(period) && !pit.advance(period));
        assert!(pit.advance(10 * period + 5));
        assert_eq!(pit.deadline(), Some(to_ticks(0x2E9C * 11)));
        // Once only in mode 0.
        write(&mut pit, 0x43, 0x30, 0);
        write(&mut pit, 0x40, 10, 500);
        write(&mut pit, 0x40, 0, 500);
        assert!(pit.advance(500 + to_ticks(10)));
        assert_eq!(pit.deadline(), None);
    }

    #[test]
    fn latched_counts_hold_still() {
        let mut pit = Pit::default();
        write(&mut pit, 0x43, 0x34, 0);
        write(&mut pit, 0x40, 0, 0);
        write(&mut pit, 0x40, 0, 0);
        write(&mut pit, 0x43, 0xC2, 1_000_000);
        assert_eq!(read(&mut pit, 0x40, 2_000_000), 0x80 | 0x34);
        let count = (0x1_0000 - 1193u64).to_le_bytes();
        assert_eq!(read(&mut pit, 0x40, 2_000_000), count[0].into());
        assert_eq!(read(&mut pit, 0x40, 3_000_000), count[1].into());
    }

    #[test]
    fn any_access_is_survived_and_any_state_comes_back() {
        let mut random = Random::new(5);
        let mut pit = Pit::default();
        let mut now = 0u64;
        for _ in 0..50_000 {
            now = now.saturating_add(random.nasty() >> 24);
            let port = [0x40, 0x41, 0x42, 0x43, 0x61][random.below(5) as usize];
            if random.below(2) == 0 {
                write(&mut pit, port, random.next(), now);
            } else {
                read(&mut pit, port, now);
            }
            pit.advance(now);
            assert!(pit.deadline().is_none_or(|due| due > now || now == u64::MAX));
        }
        let state = State::from_bytes(&pit.state().to_bytes()).unwrap();
        assert_eq!(Pit::from_state(state).unwrap().state(), pit.state());
        for bytes in damaged(&pit.state().to_bytes(), 5) {
            let Ok(state) = State::from_bytes(&bytes) else { continue };
            let Ok(mut pit) = Pit::from_state(state) else { continue };
            for now in [0, 1 << 40, u64::MAX] {
                pit.advance(now);
                for port in [0x40, 0x42, 0x61] {
                    read(&mut pit, port, now);
                    write(&mut pit, port, 0xFF, now);
                }
            }
        }
    }
}
