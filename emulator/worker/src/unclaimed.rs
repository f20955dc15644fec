//! What becomes of a machine that could not be claimed.
//!
//! One that may have been saved is never begun anew unasked: whether it was is what the
//! storage would have told. Only a browser that keeps nothing for this site runs it without.

use emulator_protocol::{Fault, FaultKind, Party};
use emulator_store::StoreError;

use crate::library::told;

/// How often a machine is claimed whose storage is out of reach at first. The store gives each
/// try 10 s, which makes 40: a browser that recovers its database after a crash has taken more
/// than one of them, and longer than that nobody wants to wait without a choice.
pub const TRIES: u32 = 4;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unclaimed {
    /// Leave it to the tab that runs it.
    Held,
    /// Claim it again.
    Again,
    /// Run it all the same, and tell why it will not be saved.
    Unsaved(Fault),
    /// Do not start it.
    Unread(Fault),
}

/// What to do after this many tries, the last of which ended with this error.
#[must_use]
pub fn after(tries: u32, error: StoreError) -> Unclaimed {
    match error {
        StoreError::InUse => Unclaimed::Held,
        StoreError::Refused(_) => Unclaimed::Unsaved(told(error)),
        StoreError::Unavailable(_) if tries < TRIES => Unclaimed::Again,
        error => Unclaimed::Unread(unread(&error)),
    }
}

fn unread(error: &StoreError) -> Fault {
    Fault::new(
        FaultKind::StorageUnavailable,
        Party::Host,
        "What is saved of this machine could not be read, so it was not started.",
        "Close other tabs of this page and try again. Or start without saving: the machine \
         begins anew then, and what is saved stays as it is.",
    )
    .with_detail(error.to_string())
    .with_retry()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> StoreError {
        StoreError::Unavailable("it did not open in time".into())
    }

    #[test]
    fn a_storage_out_of_reach_is_tried_again_and_then_a_person_decides() {
        for tries in 1..TRIES {
            assert_eq!(after(tries, unavailable()), Unclaimed::Again);
        }
        let Unclaimed::Unread(fault) = after(TRIES, unavailable()) else { panic!("a fault") };
        assert!(fault.retry && fault.detail.contains("in time"), "{fault:?}");
    }

    #[test]
    fn only_a_browser_that_keeps_nothing_runs_a_machine_without_its_save() {
        let refused = after(1, StoreError::Refused("SecurityError".into()));
        assert!(matches!(refused, Unclaimed::Unsaved(_)), "{refused:?}");
        for error in [
            StoreError::Quota,
            StoreError::Superseded { found: Some(1) },
            StoreError::Missing("x".into()),
            StoreError::Corrupt("x".into()),
            StoreError::Unsupported,
            StoreError::Other("x".into()),
        ] {
            let result = after(1, error);
            assert!(matches!(result, Unclaimed::Unread(_)), "{result:?}");
        }
        assert_eq!(after(1, StoreError::InUse), Unclaimed::Held);
    }
}
