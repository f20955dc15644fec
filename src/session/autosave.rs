//! When a machine is saved without being asked. Decides from times alone.

use emulator_protocol::FaultKind;

/// A machine that has done nothing for this long is at rest, and nobody notices a save.
const REST_MS: f64 = 3_000.0;

/// Time from one save at rest to the next.
const LEAST_MS: f64 = 10_000.0;

/// A machine that is never at rest is saved this often.
const MOST_MS: f64 = 60_000.0;

/// After a failure, time until the next try.
const RETRY_MS: f64 = 60_000.0;

/// The same if the browser's storage is out of reach, which it may well stay.
const LONG_RETRY_MS: f64 = 600_000.0;

/// Million instructions a second from which on a guest is at work though it prints nothing.
/// At its prompt it stays well below one.
pub(crate) const BUSY_MIPS: f64 = 3.0;

/// What is known of a machine's last save. Times are milliseconds of any clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Autosave {
    /// When something happened that is not saved yet.
    dirty: Option<f64>,
    active: f64,
    /// When the last save began, or the machine.
    saved: f64,
    /// Not before this time.
    rests_until: f64,
    /// The page was hidden, and may be gone in a moment.
    leaving: bool,
}

impl Autosave {
    /// A machine that begins now and has nothing to save yet.
    #[must_use]
    pub(crate) fn new(now: f64) -> Self {
        Self { dirty: None, active: now, saved: now - LEAST_MS, rests_until: now, leaving: false }
    }

    /// The machine has done something.
    pub(crate) fn worked(&mut self, now: f64) {
        self.active = now;
        self.dirty.get_or_insert(now);
    }

    /// The page was hidden, or shown again. One that is hidden for long is saved as any other.
    pub(crate) fn leaves(&mut self, hidden: bool) {
        self.leaving = hidden;
    }

    /// A save has taken hold of the state.
    pub(crate) fn captured(&mut self, now: f64) {
        self.saved = now;
        self.dirty = None;
        self.leaving = false;
    }

    /// A save has succeeded: whatever was in the way is gone.
    pub(crate) fn succeeded(&mut self, now: f64) {
        self.rests_until = now;
    }

    /// A save came to nothing.
    pub(crate) fn failed(&mut self, now: f64, kind: FaultKind) {
        self.dirty.get_or_insert(now);
        self.rests_until = match kind {
            // It will not get better by itself.
            FaultKind::TakenOver => f64::INFINITY,
            FaultKind::StorageUnavailable => now + LONG_RETRY_MS,
            _ => now + RETRY_MS,
        };
    }

    /// Whether there is something that is not saved.
    #[must_use]
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.is_some()
    }

    /// Whether it is time.
    #[must_use]
    pub(crate) fn is_due(&self, now: f64) -> bool {
        let Some(dirty) = self.dirty else { return false };
        if now < self.rests_until {
            return false;
        }
        let at_rest = now - self.active >= REST_MS && now - self.saved >= LEAST_MS;
        let long_enough = now - self.saved >= MOST_MS && now - dirty >= REST_MS;
        self.leaving || at_rest || long_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_at_rest_is_saved_once() {
        let mut autosave = Autosave::new(0.0);
        assert!(!autosave.is_due(1e6), "nothing has happened");
        autosave.worked(1_000.0);
        assert!(!autosave.is_due(2_000.0), "it is at work");
        assert!(autosave.is_due(4_000.0));
        autosave.captured(4_000.0);
        assert!(!autosave.is_due(1e6));
        autosave.worked(5_000.0);
        assert!(!autosave.is_due(8_500.0), "saved a moment ago");
        assert!(autosave.is_due(14_000.0));
    }

    /// Seconds of the first 200 at which a machine is saved that is always at work.
    fn saves(mut autosave: Autosave) -> Vec<u32> {
        let mut saves = Vec::new();
        for second in 0..200 {
            let now = f64::from(second) * 1_000.0;
            autosave.worked(now);
            if autosave.is_due(now) {
                saves.push(second);
                autosave.captured(now);
            }
        }
        saves
    }

    #[test]
    fn a_machine_that_never_rests_is_saved_all_the_same() {
        assert_eq!(saves(Autosave::new(0.0)).len(), 3);
    }

    #[test]
    fn a_page_that_is_hidden_is_saved_at_once_and_then_as_others() {
        let mut autosave = Autosave::new(0.0);
        autosave.leaves(true);
        assert!(!autosave.is_due(1_000.0), "nothing has happened");
        let saves = saves(autosave);
        assert_eq!((saves.len(), saves[0]), (4, 0), "{saves:?}");
        autosave.worked(1_000.0);
        autosave.leaves(false);
        assert!(!autosave.is_due(2_000.0), "it is back");
    }

    #[test]
    fn a_failure_is_not_tried_again_at_once_and_some_never() {
        let mut autosave = Autosave::new(0.0);
        autosave.worked(0.0);
        autosave.leaves(true);
        autosave.failed(10_000.0, FaultKind::StorageFull);
        assert!(!autosave.is_due(20_000.0));
        assert!(autosave.is_dirty());
        assert!(autosave.is_due(70_000.0));
        autosave.failed(70_000.0, FaultKind::StorageUnavailable);
        assert!(!autosave.is_due(600_000.0));
        assert!(autosave.is_due(670_000.0));
        autosave.succeeded(100_000.0);
        assert!(autosave.is_due(100_000.0), "a person's own save has shown that it works");
        autosave.failed(100_000.0, FaultKind::TakenOver);
        assert!(!autosave.is_due(1e9));
    }
}
