//! How much console output may be on its way to the page.

use emulator_protocol::{CONSOLE_HIGH_WATER, CONSOLE_LOW_WATER};

/// Counts the bytes that the page has not parsed yet and closes the gate between the
/// high and the low water mark.
#[derive(Debug)]
pub struct Credit {
    unacknowledged: u64,
    open: bool,
}

impl Default for Credit {
    fn default() -> Self {
        Self { unacknowledged: 0, open: true }
    }
}

impl Credit {
    /// Whether more may be sent now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// This many bytes were posted.
    pub fn sent(&mut self, bytes: usize) {
        self.unacknowledged += bytes as u64;
        if self.unacknowledged >= CONSOLE_HIGH_WATER {
            self.open = false;
        }
    }

    /// The page has parsed this many bytes. A page that acknowledges more than it was
    /// sent gains nothing by it.
    pub fn acknowledged(&mut self, bytes: u64) {
        self.unacknowledged = self.unacknowledged.saturating_sub(bytes);
        if self.unacknowledged <= CONSOLE_LOW_WATER {
            self.open = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_at_the_high_mark_and_opens_at_the_low_one() {
        let mut credit = Credit::default();
        credit.sent(CONSOLE_HIGH_WATER as usize - 1);
        assert!(credit.is_open());
        credit.sent(1);
        assert!(!credit.is_open());
        credit.acknowledged(CONSOLE_HIGH_WATER - CONSOLE_LOW_WATER - 1);
        assert!(!credit.is_open(), "between the marks it stays as it was");
        credit.acknowledged(1);
        assert!(credit.is_open());
    }

    #[test]
    fn a_lying_page_gains_no_credit() {
        let mut credit = Credit::default();
        credit.acknowledged(u64::MAX);
        credit.sent(CONSOLE_HIGH_WATER as usize);
        assert!(!credit.is_open());
    }
}
