//! What can go wrong with keeping things, and reading it from the browser's exceptions.

use std::fmt;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The browser gives this site no database, and will not: forbidden, switched off, or
    /// that of a newer page.
    Refused(String),
    /// The database cannot be had at the moment: deleted, evicted or upgraded under way, or
    /// kept by another tab. Opening it anew may do.
    Unavailable(String),
    /// The browser gives no more space.
    Quota,
    /// The machine was saved by somebody else since; this is the generation found, `None` if
    /// it has no head.
    Superseded {
        /// Generation of the machine's head.
        found: Option<u64>,
    },
    /// Something that is not kept; says what.
    Missing(String),
    /// Another tab, or a save in progress, has it.
    InUse,
    /// Something kept that cannot be read; says what.
    Corrupt(String),
    /// It can only be done somewhere else than in a worker.
    Unsupported,
    /// What no other variant says.
    Other(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "the browser gives this site no storage: {why}"),
            Self::Unavailable(why) => write!(f, "the browser's storage cannot be used: {why}"),
            Self::Quota => f.write_str("the browser gives this site no more storage"),
            Self::Superseded { found: Some(found) } => {
                write!(f, "the machine was saved elsewhere since, as generation {found}")
            }
            Self::Superseded { found: None } => {
                f.write_str("the machine's saved states were removed elsewhere since")
            }
            Self::Missing(what) => write!(f, "{what} is not in the storage"),
            Self::InUse => f.write_str("another tab is using it, or a save is in progress"),
            Self::Corrupt(what) => write!(f, "{what} cannot be read"),
            Self::Unsupported => f.write_str("only a page can ask for this, a worker cannot"),
            Self::Other(why) => write!(f, "the browser's storage failed: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// The error in the words of a browser's exception, `QuotaExceededError: …`. rexie hands
    /// on nothing but such words; names are fixed (Indexed Database API 3.0, 3 Exceptions).
    #[cfg(any(target_family = "wasm", test))]
    pub(crate) fn from_words(words: &str) -> Self {
        let says = |name: &str| words.contains(name);
        if says("QuotaExceededError") {
            Self::Quota
        } else if ["InvalidStateError", "VersionError", "SecurityError", "NotAllowedError"]
            .into_iter()
            .any(says)
        {
            // The connection is closed; a newer page's database; storage switched off.
            Self::Unavailable(words.to_owned())
        } else if says("NotReadableError") || says("Failed to read large IndexedDB value") {
            // A value of its own file, and the file is gone: what Chromium says of that.
            Self::Corrupt(words.to_owned())
        } else {
            Self::Other(words.to_owned())
        }
    }
}

/// The error of an attempt to open the database.
#[cfg(any(target_family = "wasm", test))]
pub(crate) fn at_opening(error: StoreError) -> StoreError {
    match error {
        // There is no connection yet that could be closed: storage is switched off.
        StoreError::Unavailable(why) => StoreError::Refused(why),
        // Whatever the browser stumbled over, there may be something behind it.
        StoreError::Other(why) => StoreError::Unavailable(why),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_told_apart() {
        let kind = |words| StoreError::from_words(words);
        assert_eq!(kind("DOM exception: QuotaExceededError: full"), StoreError::Quota);
        for gone in [
            "InvalidStateError: Failed to execute 'transaction' on 'IDBDatabase': The database connection is closing.",
            "VersionError: The requested version (1) is less than the existing version (2).",
            "SecurityError: access is denied",
        ] {
            assert_eq!(kind(gone), StoreError::Unavailable(gone.into()));
        }
        let lost = "UnknownError: Failed to read large IndexedDB value";
        assert_eq!(kind(lost), StoreError::Corrupt(lost.into()));
        assert_eq!(kind("TypeError: x"), StoreError::Other("TypeError: x".into()));
    }

    #[test]
    fn a_browser_that_refuses_and_one_that_stumbles_are_told_apart() {
        let opening = |words| at_opening(StoreError::from_words(words));
        for refused in [
            "SecurityError: access is denied",
            "InvalidStateError: A mutation operation was attempted on a database that did not allow mutations.",
            "VersionError: The requested version (1) is less than the existing version (2).",
        ] {
            assert_eq!(opening(refused), StoreError::Refused(refused.into()));
        }
        let stumbled = "UnknownError: Internal error opening backing store for indexedDB.open.";
        assert_eq!(opening(stumbled), StoreError::Unavailable(stumbled.into()));
        assert_eq!(opening("QuotaExceededError"), StoreError::Quota);
    }
}
