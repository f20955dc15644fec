//! What can go wrong with a machine, in words that a person can act on.

use serde::{Deserialize, Serialize};

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// The operating system inside the machine.
    Guest,
    /// The browser, the page or the engine.
    Host,
    /// The files that the machine starts from, or the server that keeps them.
    Image,
    /// A saved machine, or the file that it came in.
    Snapshot,
}

/// The kinds of fault that callers may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The guest's kernel panicked.
    KernelPanic,
    /// The guest's processor met a fault while handling a fault and stopped.
    TripleFault,
    /// No sign of life for too long.
    Hang,
    /// A file of the image is not there or cannot be fetched.
    ImageMissing,
    /// A file of the image is not what its hash says.
    ImageCorrupt,
    /// The browser could not give what the machine needs.
    Resources,
    /// The request asks for what this engine cannot do.
    Unsupported,
    /// The engine broke down.
    EngineCrash,
    /// Page and worker speak different versions.
    VersionMismatch,
    /// A snapshot, or a part of it, is not what its hash says, or is not there.
    SnapshotDamaged,
    /// A snapshot is whole, but of another engine, another image, or a newer version.
    SnapshotRefused,
    /// The browser has no room for what is to be saved.
    StorageFull,
    /// The browser does not let this site keep anything, or its storage is out of reach.
    StorageUnavailable,
    /// The machine was taken over by another tab.
    TakenOver,
    /// Something is under way that has to end first.
    Busy,
}

/// One fault, told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// For programs.
    pub kind: FaultKind,
    /// Who is at fault.
    pub party: Party,
    /// One sentence: what happened.
    pub summary: String,
    /// One sentence: what to do next.
    pub advice: String,
    /// Whether [`crate::Command::Retry`] may mend it without losing the machine's memory.
    pub retry: bool,
    /// The last words of the guest or of the engine, possibly many lines; may be empty.
    pub detail: String,
}

impl Fault {
    /// A fault that no retry mends, without details.
    #[must_use]
    pub fn new(
        kind: FaultKind,
        party: Party,
        summary: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (summary, advice) = (summary.into(), advice.into());
        Self { kind, party, summary, advice, retry: false, detail: String::new() }
    }

    /// The same with these details.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// The same, but a retry may mend it.
    #[must_use]
    pub fn with_retry(self) -> Self {
        Self { retry: true, ..self }
    }
}
