//! What is kept of a saved state besides its bytes, and how it is written down.

use std::collections::HashSet;

use emulator_snapshot::Id;
use serde::{Deserialize, Serialize};

#[cfg(any(target_family = "wasm", test))]
use crate::StoreError;

/// Characters of a snapshot's name; the rest is cut off. A line of a list holds no more.
pub const NAME_LIMIT: usize = 120;

/// Characters of a screen's last lines; what is before them is cut off. A preview in a list,
/// not the screen itself: that is in the manifest.
pub const SCREEN_LIMIT: usize = 4096;

/// A saved state, named by its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Hash of the manifest.
    #[serde(with = "hex")]
    pub id: Id,
    /// Name of the machine that was saved.
    pub machine: String,
    /// What people call it. A named state is kept until it is removed.
    pub name: Option<String>,
    /// When it was saved, in milliseconds since 1970.
    pub saved_ms: u64,
    /// Engine that ran the machine.
    pub engine: String,
    /// Digest of the image that the machine was started from; empty without one.
    pub image: String,
    /// Memory of the machine in MiB.
    pub memory_mib: u32,
    /// Flavour of the image.
    pub flavour: String,
    /// What was added to the kernel's command line.
    pub cmdline: String,
    /// Every chunk that the state needs, once. Kept in a form of its own.
    #[serde(skip)]
    pub chunks: Vec<Id>,
    /// Stored bytes of all its chunks and its manifest. Counted by the store.
    pub bytes: u64,
    /// Stored bytes that this save has added.
    pub delta_bytes: u64,
    /// The last lines of the screen.
    pub screen: String,
}

/// Where a machine stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Name of the machine.
    pub machine: String,
    /// Counts every move of the head.
    pub generation: u64,
    /// The state to start from.
    pub current: Id,
    /// The one before, in case the current one turns out to be damaged.
    pub previous: Option<Id>,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Snapshots.
    pub snapshots: usize,
    /// Chunks.
    pub chunks: usize,
    /// Stored bytes of those chunks.
    pub bytes: u64,
}

/// The state of the storage, as far as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use; in a browser those of the whole site, cached files included.
    pub used: u64,
    /// Bytes that could be in use. A hint: writing can fail before.
    pub quota: u64,
    /// Whether what is kept is safe from eviction.
    pub persisted: bool,
}

/// Name in lists of a snapshot whose record cannot be read.
pub const UNREADABLE: &str = "Damaged: it can only be deleted";

impl Record {
    /// What is known of a snapshot whose record cannot be read.
    #[must_use]
    pub fn unreadable(id: Id) -> Self {
        Self {
            id,
            machine: String::new(),
            name: Some(UNREADABLE.into()),
            saved_ms: 0,
            engine: String::new(),
            image: String::new(),
            memory_mib: 0,
            flavour: String::new(),
            cmdline: String::new(),
            chunks: Vec::new(),
            bytes: 0,
            delta_bytes: 0,
            screen: String::new(),
        }
    }

    /// With its texts cut to their limits, and each chunk listed once.
    pub(crate) fn bounded(mut self) -> Self {
        let mut seen = HashSet::new();
        self.chunks.retain(|id| seen.insert(*id));
        self.name = self.name.map(bounded_name);
        if let Some((start, _)) = self.screen.char_indices().rev().nth(SCREEN_LIMIT - 1) {
            self.screen.drain(..start);
        }
        self
    }

    /// As text, and the chunks' names one after the other.
    #[cfg(any(target_family = "wasm", test))]
    pub(crate) fn encode(&self) -> (String, Vec<u8>) {
        let text = serde_json::to_string(self).expect("a record has only strings and numbers");
        (text, self.chunks.iter().flat_map(|id| *id.as_bytes()).collect())
    }

    /// The record of snapshot `id`.
    #[cfg(any(target_family = "wasm", test))]
    pub(crate) fn decode(id: Id, text: &str, chunks: &[u8]) -> Result<Self, StoreError> {
        let corrupt = |why: &str| StoreError::Corrupt(format!("the record of state {id} ({why})"));
        let mut record: Self =
            serde_json::from_str(text).map_err(|error| corrupt(&error.to_string()))?;
        if record.id != id {
            return Err(corrupt("it is another one's"));
        }
        let (names, []) = chunks.as_chunks() else {
            return Err(corrupt("its list of chunks is cut off"));
        };
        record.chunks = names.iter().map(|name| Id::from_bytes(*name)).collect();
        Ok(record)
    }
}

/// A name cut to its limit.
pub(crate) fn bounded_name(mut name: String) -> String {
    if let Some((end, _)) = name.char_indices().nth(NAME_LIMIT) {
        name.truncate(end);
    }
    name
}

/// An id as its 64 digits.
pub(crate) mod hex {
    use emulator_snapshot::Id;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &Id, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Id, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }

    /// One that may be missing.
    pub(crate) mod option {
        use super::{Deserialize, Deserializer, Error, Id, Serializer};

        pub(crate) fn serialize<S: Serializer>(id: &Option<Id>, to: S) -> Result<S::Ok, S::Error> {
            match id {
                Some(id) => to.collect_str(id),
                None => to.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Id>, D::Error> {
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            id: Id::of(b"manifest"),
            machine: "first".into(),
            name: Some("vor dem Umbau „A“".into()),
            saved_ms: 1_795_000_000_123,
            engine: "v86".into(),
            image: Id::of(b"image").to_string(),
            memory_mib: 512,
            flavour: "full".into(),
            cmdline: "nosmp".into(),
            chunks: vec![Id::of(b"1"), Id::of(b"2")],
            bytes: 9_000_000_000,
            delta_bytes: 7,
            screen: "~ # ls\n~ # ".into(),
        }
    }

    #[test]
    fn goes_through_its_written_form() {
        let (text, chunks) = record().encode();
        assert_eq!(chunks.len(), 64);
        assert_eq!(Record::decode(record().id, &text, &chunks), Ok(record()));
    }

    /// What lies in people's browsers: a change here needs a new version of the database.
    #[test]
    fn the_written_form_is_this() {
        let mut record = record();
        record.name = None;
        record.image = String::new();
        let id = record.id;
        let written = format!(
            "{{\"id\":\"{id}\",\"machine\":\"first\",\"name\":null,\"saved_ms\":1795000000123,\
             \"engine\":\"v86\",\"image\":\"\",\"memory_mib\":512,\"flavour\":\"full\",\"cmdline\":\"nosmp\",\
             \"bytes\":9000000000,\"delta_bytes\":7,\"screen\":\"~ # ls\\n~ # \"}}"
        );
        assert_eq!(record.encode().0, written);
    }

    #[test]
    fn every_truncation_is_corrupt() {
        let (text, chunks) = record().encode();
        let id = record().id;
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            let result = Record::decode(id, &text[..end], &chunks);
            assert!(matches!(result, Err(StoreError::Corrupt(_))), "{end}: {result:?}");
        }
        for end in (0..chunks.len()).filter(|end| end % 32 != 0) {
            let result = Record::decode(id, &text, &chunks[..end]);
            assert!(matches!(result, Err(StoreError::Corrupt(_))), "{end}: {result:?}");
        }
        let other = Record::decode(Id::of(b"other"), &text, &chunks);
        assert!(matches!(other, Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let mut long = record();
        long.name = Some("ä".repeat(NAME_LIMIT + 1));
        long.screen = format!("x{}", "ß".repeat(SCREEN_LIMIT));
        let cut = long.bounded();
        assert_eq!(cut.name, Some("ä".repeat(NAME_LIMIT)));
        assert_eq!(cut.screen, "ß".repeat(SCREEN_LIMIT));
        assert_eq!(record().bounded(), record());
    }
}
