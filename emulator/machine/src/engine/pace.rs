//! How much to execute in one poll: about four milliseconds' worth, however fast the host is.

use std::time::Duration;

use emulator_engine::Instant;

/// Time of a poll: short enough for a key to be answered at once, long enough for the turns
/// of the worker's event loop to cost nothing.
const SLICE: Duration = Duration::from_millis(4);

/// Instructions of the first poll, before anything was measured.
const FIRST: u64 = 400_000;
/// Instructions of a poll, at least and at most: 50 MIPS, 5,000 MIPS.
const LEAST: u64 = 200_000;
const MOST: u64 = 20_000_000;

/// Weight of what was known before, against one measurement.
const MEMORY: u64 = 7;

/// The pace of a guest.
#[derive(Debug)]
pub(super) struct Pace {
    budget: u64,
    /// When the last poll began that used up its budget, if the next one follows at once.
    began: Option<Instant>,
    executed: u64,
    alive: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self { budget: FIRST, began: None, executed: 0, alive: false }
    }
}

impl Pace {
    /// Instructions for the poll that begins now.
    pub(super) fn budget(&mut self, now: Instant) -> u64 {
        let passed = self.began.map(|began| now.saturating_sub(began));
        if let Some(passed) = passed.filter(|passed| !passed.is_zero()) {
            let fitting = self.executed as f64 * SLICE.as_secs_f64() / passed.as_secs_f64();
            let fitting = (fitting as u64).clamp(LEAST, MOST);
            self.budget = (self.budget * MEMORY + fitting) / (MEMORY + 1);
        }
        self.began = Some(now);
        self.executed = 0;
        self.budget
    }

    /// So many were executed in this poll.
    pub(super) fn executed(&mut self, count: u64) {
        self.executed = count;
    }

    /// The next poll does not follow at once: the time until then says nothing.
    pub(super) fn rest(&mut self) {
        self.began = None;
    }

    /// The guest's log has grown.
    pub(super) fn alive(&mut self) {
        self.alive = true;
    }

    /// Whether it has grown since the last call.
    pub(super) fn take_alive(&mut self) -> bool {
        std::mem::take(&mut self.alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_becomes_four_milliseconds_long() {
        let mut pace = Pace::default();
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            let budget = pace.budget(now);
            pace.executed(budget);
            // 300 million a second.
            now += Duration::from_nanos(budget * 10 / 3);
        }
        let budget = pace.budget(now);
        assert!((1_100_000..1_300_000).contains(&budget), "{budget}");
    }

    #[test]
    fn rest_is_not_slowness() {
        let mut pace = Pace::default();
        pace.budget(Duration::ZERO);
        pace.executed(10);
        pace.rest();
        assert_eq!(pace.budget(Duration::from_secs(60)), FIRST);
    }
}
