//! The APIC timer (Intel SDM vol. 3, §11.5.4): one-shot, periodic, TSC-deadline.

use emulator_bus::Ticks;

use super::{LVT_TIMER, Lapic, MASKED};

/// The shortest period. A guest that asks for less would keep the host busy with nothing but
/// its timer; KVM has such a bound, too.
pub const SHORTEST_PERIOD: Ticks = 20_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    OneShot,
    Periodic,
    Deadline,
}

impl Lapic {
    pub(super) fn mode(&self) -> Mode {
        match self.state.lvt[LVT_TIMER] >> 17 & 3 {
            0 => Mode::OneShot,
            1 => Mode::Periodic,
            _ => Mode::Deadline,
        }
    }

    /// When the timer must be looked at next.
    pub fn deadline(&self) -> Option<Ticks> {
        self.state.due
    }

    /// Raises the timer's interrupt if it is due at `now`. Periods that were slept through
    /// count once.
    pub fn advance(&mut self, now: Ticks) {
        let Some(due) = self.state.due.filter(|due| *due <= now) else { return };
        self.state.due = None;
        if self.mode() == Mode::Periodic && self.state.initial != 0 {
            let period = self.period();
            let missed = (now - due) / period;
            self.state.due = Some(due.saturating_add((missed + 1).saturating_mul(period)));
        }
        let entry = self.state.lvt[LVT_TIMER];
        if entry & MASKED == 0 {
            self.accept(entry as u8, false);
        }
    }

    /// Divide configuration (figure 11-10): bits 3, 1, 0; 0b111 divides by one.
    fn divisor(&self) -> u64 {
        let code = self.state.divide & 3 | self.state.divide >> 1 & 4;
        1 << ((code + 1) & 7)
    }

    fn period(&self) -> Ticks {
        (u64::from(self.state.initial) * self.divisor()).max(SHORTEST_PERIOD)
    }

    pub(super) fn start(&mut self, initial: u32, now: Ticks) {
        if self.mode() == Mode::Deadline {
            return;
        }
        self.state.initial = initial;
        let ticks = match self.mode() {
            Mode::Periodic => self.period(),
            _ => u64::from(initial) * self.divisor(),
        };
        self.state.due = (initial != 0).then(|| now.saturating_add(ticks));
    }

    pub(super) fn count(&self, now: Ticks) -> u32 {
        match (self.mode(), self.state.due) {
            (Mode::Deadline, _) | (_, None) => 0,
            (_, Some(due)) => {
                let left = due.saturating_sub(now).div_ceil(self.divisor());
                left.min(self.state.initial.into()) as u32
            }
        }
    }

    /// A new divisor: what is left of the count runs on at the new speed.
    pub(super) fn divide(&mut self, divide: u32, now: Ticks) {
        let left = self.count(now);
        self.state.divide = divide & 0xB;
        if left != 0 {
            self.state.due = Some(now.saturating_add(u64::from(left) * self.divisor()));
        }
    }

    /// A new entry. Going to or from TSC-deadline disarms (§11.5.4.1).
    pub(super) fn set_timer_entry(&mut self, entry: u32) {
        let before = self.mode();
        self.state.lvt[LVT_TIMER] = entry;
        if (before == Mode::Deadline) != (self.mode() == Mode::Deadline) {
            self.state.due = None;
            self.state.initial = 0;
        }
    }

    /// IA32_TSC_DEADLINE: zero when disarmed or in another mode.
    pub(super) fn tsc_deadline(&self) -> u64 {
        self.state.due.filter(|_| self.mode() == Mode::Deadline).unwrap_or(0)
    }

    pub(super) fn set_tsc_deadline(&mut self, deadline: u64) {
        if self.mode() == Mode::Deadline {
            self.state.due = (deadline != 0).then_some(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BASE, BSP, ENABLE, X2APIC};
    use super::*;

    fn with_entry(entry: u64) -> Lapic {
        let mut lapic = Lapic::default();
        lapic.write_msr(0x1B, BASE | ENABLE | X2APIC | BSP, 0).unwrap();
        lapic.write_msr(0x80F, 0x1FF, 0).unwrap();
        lapic.write_msr(0x832, entry, 0).unwrap();
        lapic
    }

    #[test]
    fn one_shot_counts_down_once() {
        let mut lapic = with_entry(0xEC);
        lapic.write_msr(0x83E, 0b0011, 0).unwrap();
        lapic.write_msr(0x838, 1000, 5).unwrap();
        assert_eq!(lapic.deadline(), Some(16_005));
        assert_eq!(lapic.read_msr(0x839, 5 + 1600), Ok(900));
        lapic.advance(16_004);
        assert!(!lapic.pending());
        lapic.advance(16_005);
        assert_eq!(lapic.acknowledge(), Some(0xEC));
        assert_eq!((lapic.deadline(), lapic.read_msr(0x839, 20_000)), (None, Ok(0)));
    }

    #[test]
    fn periods_slept_through_count_once_and_keep_their_beat() {
        let mut lapic = with_entry(1 << 17 | 0xEC);
        lapic.write_msr(0x83E, 0b1011, 0).unwrap();
        lapic.write_msr(0x838, 50_000, 0).unwrap();
        lapic.advance(175_000);
        assert_eq!((lapic.acknowledge(), lapic.deadline()), (Some(0xEC), Some(200_000)));
        lapic.write_msr(0x80B, 0, 0).unwrap();
        assert!(!lapic.pending());
        lapic.write_msr(0x838, 1, 0).unwrap();
        assert_eq!(lapic.deadline(), Some(SHORTEST_PERIOD));
    }

    #[test]
    fn the_deadline_belongs_to_its_mode() {
        let mut lapic = with_entry(2 << 17 | 0xEC);
        lapic.write_msr(0x6E0, 700, 0).unwrap();
        assert_eq!(lapic.read_msr(0x6E0, 0), Ok(700));
        lapic.write_msr(0x838, 3, 0).unwrap();
        assert_eq!(lapic.deadline(), Some(700));
        lapic.advance(700);
        assert_eq!((lapic.read_msr(0x6E0, 0), lapic.acknowledge()), (Ok(0), Some(0xEC)));
        lapic.write_msr(0x6E0, 900, 0).unwrap();
        lapic.write_msr(0x832, 0xEC, 0).unwrap();
        assert_eq!(lapic.deadline(), None);
        lapic.write_msr(0x6E0, 900, 0).unwrap();
        assert_eq!((lapic.deadline(), lapic.read_msr(0x6E0, 0)), (None, Ok(0)));
    }

    #[test]
    fn a_masked_timer_runs_silently() {
        let mut lapic = with_entry(1 << 16 | 0xEC);
        lapic.write_msr(0x838, 10, 0).unwrap();
        lapic.advance(1000);
        assert_eq!((lapic.deadline(), lapic.pending()), (None, false));
    }
}
