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
}

impl Autosave {
    /// A machine that begins now and has nothing to save yet.
    #[must_use]
    pub(crate) fn new(now: f64) -> Self {
        Self { dirty: None, active: now, saved: now - LEAST_MS, rests_until: now }
    }

    /// The machine has done something.
    pub(crate) fn worked(&mut self, now: f64) {
        self.active = now;
        self.dirty.get_or_insert(now);
    }

    /// A save has taken hold of the state.
    pub(crate) fn captured(&mut self, now: f64) {
        self.saved = now;
        self.dirty = None;
    }

    /// A save came to nothing.
    pub(crate) fn failed(&mut self, now: f64, kind: FaultKind) {
        self.dirty.get_or_insert(now);
        self.rests_until = match kind {
            // It will not get better by itself.
            FaultKind::StorageUnavailable | FaultKind::TakenOver => f64::INFINITY,
            _ => now + RETRY_MS,
        };
    }

    /// Whether there is something that is not saved.
    #[must_use]
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.is_some()
    }

    /// Whether it is time. A page that is hidden may be gone in a moment.
    #[must_use]
    pub(crate) fn is_due(&self, now: f64, hidden: bool) -> bool {
        let Some(dirty) = self.dirty else { return false };
        if now < self.rests_until {
            return false;
        }
        let at_rest = now - self.active >= REST_MS && now - self.saved >= LEAST_MS;
        let long_enough = now - self.saved >= MOST_MS && now - dirty >= REST_MS;
        hidden || at_rest || long_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_at_rest_is_saved_once() {
        let mut autosave = Autosave::new(0.0);
        assert!(!autosave.is_due(1e6, true), "nothing has happened");
        autosave.worked(1_000.0);
        assert!(!autosave.is_due(2_000.0, false), "it is at work");
        assert!(autosave.is_due(2_000.0, true), "the page may be gone in a moment");
        assert!(autosave.is_due(4_000.0, false));
        autosave.captured(4_000.0);
        assert!(!autosave.is_due(1e6, true));
        autosave.worked(5_000.0);
        assert!(!autosave.is_due(8_500.0, false), "saved a moment ago");
        assert!(autosave.is_due(14_000.0, false));
    }

    #[test]
    fn a_machine_that_never_rests_is_saved_all_the_same() {
        let mut autosave = Autosave::new(0.0);
        let mut saves = Vec::new();
        for second in 0..200 {
            let now = f64::from(second) * 1_000.0;
            autosave.worked(now);
            if autosave.is_due(now, false) {
                saves.push(second);
                autosave.captured(now);
            }
        }
        assert_eq!(saves.len(), 3, "{saves:?}");
    }

    #[test]
    fn a_failure_is_not_tried_again_at_once_and_some_never() {
        let mut autosave = Autosave::new(0.0);
        autosave.worked(0.0);
        autosave.failed(10_000.0, FaultKind::StorageFull);
        assert!(!autosave.is_due(20_000.0, true));
        assert!(autosave.is_dirty());
        assert!(autosave.is_due(70_000.0, false));
        autosave.failed(70_000.0, FaultKind::StorageUnavailable);
        assert!(!autosave.is_due(1e9, true));
    }
}
