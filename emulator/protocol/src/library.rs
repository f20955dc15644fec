//! Saved machines: what the page may ask about them, and what it hears.
//!
//! A *machine* is a name under which states are saved, one after the other; its *head* is
//! where it goes on. A *snapshot* is one saved state. Its id is the BLAKE3 hash of its
//! manifest, in 64 hexadecimal digits.

use serde::{Deserialize, Serialize};

use crate::{Fault, Flavour};

/// Where a machine begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Where it was saved last; if it never was, as [`Start::Fresh`].
    #[default]
    Head,
    /// At the prompt, from the state that is shipped with the image; if there is none for
    /// this machine, as [`Start::Cold`].
    Fresh,
    /// With its firmware and kernel.
    Cold,
    /// From this snapshot, which becomes the machine's head at the next save.
    Snapshot(String),
}

/// What is known of a snapshot without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// The machine that it was saved of.
    pub machine: String,
    /// Given by a person. A snapshot with a name is kept until it is removed.
    pub name: Option<String>,
    /// Milliseconds since 1970.
    pub saved_ms: u64,
    /// Name of the engine.
    pub engine: String,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// The guest image.
    pub flavour: Flavour,
    /// Words that were added to the kernel's command line.
    pub cmdline: String,
    /// Stored bytes of all that it needs, compressed.
    pub bytes: u64,
    /// Those of them that no other snapshot needs: what its removal would free.
    pub own_bytes: u64,
    /// Those of them that its save has written.
    pub delta_bytes: u64,
    /// The terminal's rows as plain text.
    pub screen: String,
    /// Whether a machine goes on from here.
    pub is_head: bool,
}

/// Storage of this site in the browser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Bytes in use; the browser's own estimate.
    pub used: u64,
    /// Bytes that may be used; a hint, no promise.
    pub quota: u64,
    /// Whether the browser has promised not to remove it when space gets short.
    pub persisted: bool,
}

/// What can be asked of a worker that need not have a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase")]
pub enum LibraryRequest {
    /// All snapshots.
    List,
    /// How much storage is used.
    Usage,
    /// Gives a snapshot a name, or takes it away.
    Rename {
        /// Which.
        id: String,
        /// The name.
        name: Option<String>,
    },
    /// Removes a snapshot and what only it needs.
    Remove {
        /// Which.
        id: String,
    },
    /// Reads all of a snapshot and checks it.
    Verify {
        /// Which.
        id: String,
    },
    /// Makes a snapshot the head of another machine.
    Fork {
        /// Which.
        id: String,
        /// Name of the new machine.
        machine: String,
    },
    /// Puts a snapshot into one file: [`crate::Event::Exported`].
    Export {
        /// Which.
        id: String,
    },
    /// Removes everything.
    Clear,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase")]
pub enum LibraryAnswer {
    /// All snapshots, the youngest first.
    Snapshots {
        /// They.
        snapshots: Vec<Snapshot>,
    },
    /// How much storage is used.
    Usage(Usage),
    /// One snapshot: that was forked, verified or imported.
    Snapshot(Snapshot),
    /// It was done, and there is nothing to say.
    Done,
    /// It could not be done, and nothing has changed.
    Failed {
        /// Why.
        fault: Fault,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_round_trip() {
        let snapshot = Snapshot {
            id: "0".repeat(64),
            machine: "main".into(),
            name: Some("before the upgrade".into()),
            saved_ms: 1,
            engine: "v86".into(),
            memory_mib: 256,
            flavour: Flavour::Full,
            cmdline: String::new(),
            bytes: 3,
            own_bytes: 2,
            delta_bytes: 1,
            screen: "# ".into(),
            is_head: true,
        };
        for answer in [
            LibraryAnswer::Snapshots { snapshots: vec![snapshot.clone()] },
            LibraryAnswer::Usage(Usage { used: 1, quota: 2, persisted: true }),
            LibraryAnswer::Snapshot(snapshot),
            LibraryAnswer::Done,
        ] {
            let text = serde_json::to_string(&answer).expect("serializes");
            assert_eq!(serde_json::from_str::<LibraryAnswer>(&text).expect("reads"), answer);
        }
        for start in [Start::Head, Start::Fresh, Start::Cold, Start::Snapshot("0".repeat(64))] {
            let text = serde_json::to_string(&start).expect("serializes");
            assert_eq!(serde_json::from_str::<Start>(&text).expect("reads"), start);
        }
        let id = "0".repeat(64);
        for request in [
            LibraryRequest::List,
            LibraryRequest::Rename { id: id.clone(), name: None },
            LibraryRequest::Fork { id: id.clone(), machine: "copy".into() },
            LibraryRequest::Export { id },
            LibraryRequest::Clear,
        ] {
            let text = serde_json::to_string(&request).expect("serializes");
            assert_eq!(serde_json::from_str::<LibraryRequest>(&text).expect("reads"), request);
        }
    }
}
