//! What both stores do alike: how heads move, what is kept, how chunks are grouped.

use std::collections::HashSet;

use emulator_snapshot::Id;
use serde::{Deserialize, Serialize};

use crate::record::hex;
use crate::{BATCH_BYTES, Head, Record, StoreError};

/// What is kept of a machine. It stays when its last state is removed, because of the
/// generation: an old writer that still knows a number must not find it in use again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    machine: String,
    generation: u64,
    #[serde(with = "hex::option")]
    current: Option<Id>,
    #[serde(with = "hex::option")]
    previous: Option<Id>,
}

impl Standing {
    pub(crate) fn head(&self) -> Option<Head> {
        Some(Head {
            machine: self.machine.clone(),
            generation: self.generation,
            current: self.current?,
            previous: self.previous,
        })
    }

    /// The next generation of a machine, for a writer who expects it to be at `expected`.
    pub(crate) fn moved(
        old: Option<Self>,
        machine: &str,
        expected: Option<u64>,
        current: Id,
    ) -> Result<(Self, Head), StoreError> {
        let head = old.as_ref().and_then(Self::head);
        let found = head.as_ref().map(|head| head.generation);
        if found != expected {
            return Err(StoreError::Superseded { found });
        }
        let previous =
            head.and_then(
                |head| {
                    if head.current == current { head.previous } else { Some(head.current) }
                },
            );
        let generation = old.map_or(0, |old| old.generation) + 1;
        let machine = machine.to_owned();
        let head = Head { machine: machine.clone(), generation, current, previous };
        Ok((Self { machine, generation, current: Some(current), previous }, head))
    }

    /// Without a snapshot that is removed; `None` if that changes nothing. `kept` knows
    /// whether another one is still there.
    pub(crate) fn without(&self, id: Id, kept: impl Fn(Id) -> bool) -> Option<Self> {
        let previous = self.previous.filter(|previous| *previous != id);
        let mut next = Self { previous, ..self.clone() };
        if self.current == Some(id) {
            next.current = next.previous.take().filter(|previous| kept(*previous));
        }
        (next != *self).then_some(next)
    }

    #[cfg(any(target_family = "wasm", test))]
    pub(crate) fn encode(&self) -> String {
        serde_json::to_string(self).expect("a head has only strings and numbers")
    }

    /// The head of `machine`.
    #[cfg(any(target_family = "wasm", test))]
    pub(crate) fn decode(text: &str) -> Result<Self, StoreError> {
        serde_json::from_str(text)
            .map_err(|error| StoreError::Corrupt(format!("where a machine stands ({error})")))
    }
}

/// The chunks and snapshots that somebody needs.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) snapshots: HashSet<Id>,
    pub(crate) chunks: HashSet<Id>,
}

impl Kept {
    pub(crate) fn of<'a>(
        standings: impl IntoIterator<Item = &'a Standing>,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Self {
        let heads: HashSet<Id> = standings
            .into_iter()
            .flat_map(|standing| standing.current.into_iter().chain(standing.previous))
            .collect();
        let mut kept = Self::default();
        for record in records {
            if record.name.is_some() || heads.contains(&record.id) {
                kept.snapshots.insert(record.id);
                kept.chunks.extend(&record.chunks);
            }
        }
        kept
    }
}

/// Cuts a list of chunks where [`BATCH_BYTES`] are full.
pub(crate) fn batches(chunks: Vec<(Id, Vec<u8>)>) -> Vec<Vec<(Id, Vec<u8>)>> {
    let mut batches: Vec<Vec<(Id, Vec<u8>)>> = Vec::new();
    let mut room = 0;
    for chunk in chunks {
        let size = chunk.1.len();
        match batches.last_mut() {
            Some(batch) if size <= room => {
                room -= size;
                batch.push(chunk);
            }
            _ => {
                room = BATCH_BYTES.saturating_sub(size);
                batches.push(vec![chunk]);
            }
        }
    }
    batches
}

/// The order of `list`.
pub(crate) fn youngest_first(records: &mut [Record]) {
    records.sort_by_key(|record| (std::cmp::Reverse(record.saved_ms), record.id));
}

/// That a snapshot is not there, in words.
pub(crate) fn no_snapshot(id: Id) -> StoreError {
    StoreError::Missing(format!("state {id}"))
}

/// That a chunk is not there, in words.
pub(crate) fn no_chunk(id: Id) -> StoreError {
    StoreError::Missing(format!("chunk {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(size: usize) -> (Id, Vec<u8>) {
        (Id::of(&size.to_le_bytes()), vec![0; size])
    }

    fn sizes(chunks: &[usize]) -> Vec<Vec<usize>> {
        let cut = batches(chunks.iter().map(|size| chunk(*size)).collect());
        cut.iter().map(|batch| batch.iter().map(|(_, bytes)| bytes.len()).collect()).collect()
    }

    #[test]
    fn batches_are_full_but_not_fuller() {
        const HALF: usize = BATCH_BYTES / 2;
        assert!(sizes(&[]).is_empty());
        assert_eq!(sizes(&[HALF, HALF, 1]), [vec![HALF, HALF], vec![1]]);
        assert_eq!(sizes(&[HALF, HALF + 1]), [[HALF], [HALF + 1]]);
        assert_eq!(
            sizes(&[1, BATCH_BYTES + 1, 1, 2]),
            [vec![1], vec![BATCH_BYTES + 1], vec![1, 2]]
        );
    }

    #[test]
    fn a_head_goes_through_text() {
        let (first, _) = Standing::moved(None, "m", None, Id::of(b"1")).expect("no head");
        let (second, _) =
            Standing::moved(Some(first.clone()), "m", Some(1), Id::of(b"2")).expect("as expected");
        for standing in [first, second] {
            assert_eq!(Standing::decode(&standing.encode()), Ok(standing));
        }
        assert!(matches!(Standing::decode("{}"), Err(StoreError::Corrupt(_))));
        let written = format!(
            "{{\"machine\":\"m\",\"generation\":1,\"current\":\"{}\",\"previous\":null}}",
            Id::of(b"1")
        );
        assert_eq!(
            Standing::decode(&written).expect("the form in people's browsers").encode(),
            written
        );
    }

    #[test]
    fn a_fall_back_that_is_gone_is_none() {
        let (first, _) = Standing::moved(None, "m", None, Id::of(b"1")).expect("no head");
        let (second, _) =
            Standing::moved(Some(first), "m", Some(1), Id::of(b"2")).expect("as expected");
        let left = second.without(Id::of(b"2"), |_| false).expect("it was the current one");
        assert_eq!(left.head(), None);
        assert_eq!(second.without(Id::of(b"3"), |_| true), None);
    }
}
