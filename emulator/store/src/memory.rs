//! A store that ends with the program: for tests, and for machines without a browser.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use emulator_snapshot::Id;

use crate::record::bounded_name;
use crate::rules::{Kept, Standing, batches, no_chunk, no_snapshot, youngest_first};
use crate::{Head, Record, SnapshotStore, StoreError, Swept, Usage};

/// Saved machines in memory. A clone is another way into the same store, as another tab is.
#[derive(Clone, Default)]
pub struct Memory(Rc<RefCell<Shelves>>);

#[derive(Default)]
struct Shelves {
    chunks: BTreeMap<Id, Vec<u8>>,
    snapshots: BTreeMap<Id, (Record, Vec<u8>)>,
    machines: BTreeMap<String, Standing>,
    quota: Option<u64>,
    /// Saves in progress.
    holds: usize,
}

/// A save in progress.
pub struct Hold(Memory);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.0.borrow_mut().holds -= 1;
    }
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store for so many bytes of chunks and manifests.
    #[must_use]
    pub fn with_quota(bytes: u64) -> Self {
        let memory = Self::default();
        memory.0.borrow_mut().quota = Some(bytes);
        memory
    }
}

impl Shelves {
    fn used(&self) -> u64 {
        let chunks = self.chunks.values().map(Vec::len);
        let manifests = self.snapshots.values().map(|(_, manifest)| manifest.len());
        chunks.chain(manifests).sum::<usize>() as u64
    }

    fn make_room(&self, bytes: usize) -> Result<(), StoreError> {
        match self.quota {
            Some(quota) if self.used() + bytes as u64 > quota => Err(StoreError::Quota),
            _ => Ok(()),
        }
    }
}

impl SnapshotStore for Memory {
    type Hold = Hold;

    async fn hold(&self) -> Result<Hold, StoreError> {
        self.0.borrow_mut().holds += 1;
        Ok(Hold(self.clone()))
    }

    async fn missing(&self, ids: &[Id]) -> Result<Vec<Id>, StoreError> {
        let shelves = self.0.borrow();
        let mut seen = HashSet::new();
        let missing = ids.iter().filter(|id| !shelves.chunks.contains_key(id) && seen.insert(**id));
        Ok(missing.copied().collect())
    }

    async fn put_chunks(&self, chunks: Vec<(Id, Vec<u8>)>) -> Result<(), StoreError> {
        let mut shelves = self.0.borrow_mut();
        for batch in batches(chunks) {
            shelves.make_room(batch.iter().map(|(_, bytes)| bytes.len()).sum())?;
            shelves.chunks.extend(batch);
        }
        Ok(())
    }

    async fn chunks(&self, ids: &[Id]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let shelves = self.0.borrow();
        Ok(ids.iter().map(|id| shelves.chunks.get(id).cloned()).collect())
    }

    async fn sizes(&self, ids: &[Id]) -> Result<Vec<(Id, u64)>, StoreError> {
        let shelves = self.0.borrow();
        let sized = ids.iter().filter_map(|id| Some((*id, shelves.chunks.get(id)?.len() as u64)));
        Ok(sized.collect())
    }

    async fn put_snapshot(&self, record: Record, manifest: Vec<u8>) -> Result<Record, StoreError> {
        let mut shelves = self.0.borrow_mut();
        let mut record = record.bounded();
        record.bytes = manifest.len() as u64;
        for id in &record.chunks {
            record.bytes += shelves.chunks.get(id).ok_or_else(|| no_chunk(*id))?.len() as u64;
        }
        shelves.make_room(manifest.len())?;
        if let (None, Some((old, _))) = (&record.name, shelves.snapshots.get(&record.id)) {
            record.name.clone_from(&old.name);
        }
        shelves.snapshots.insert(record.id, (record.clone(), manifest));
        Ok(record)
    }

    async fn commit(
        &self,
        machine: &str,
        expected: Option<u64>,
        current: Id,
    ) -> Result<Head, StoreError> {
        let mut shelves = self.0.borrow_mut();
        let old = shelves.machines.get(machine).cloned();
        let (standing, head) = Standing::moved(old, machine, expected, current)?;
        if !shelves.snapshots.contains_key(&current) {
            return Err(no_snapshot(current));
        }
        shelves.machines.insert(machine.to_owned(), standing);
        Ok(head)
    }

    async fn head(&self, machine: &str) -> Result<Option<Head>, StoreError> {
        Ok(self.0.borrow().machines.get(machine).and_then(Standing::head))
    }

    async fn machines(&self) -> Result<Vec<Head>, StoreError> {
        Ok(self.0.borrow().machines.values().filter_map(Standing::head).collect())
    }

    async fn snapshot(&self, id: Id) -> Result<(Record, Vec<u8>), StoreError> {
        self.0.borrow().snapshots.get(&id).cloned().ok_or_else(|| no_snapshot(id))
    }

    async fn list(&self) -> Result<Vec<Record>, StoreError> {
        let shelves = self.0.borrow();
        let mut records: Vec<Record> =
            shelves.snapshots.values().map(|(record, _)| record.clone()).collect();
        youngest_first(&mut records);
        Ok(records)
    }

    async fn rename(&self, id: Id, name: Option<String>) -> Result<(), StoreError> {
        let mut shelves = self.0.borrow_mut();
        let (record, _) = shelves.snapshots.get_mut(&id).ok_or_else(|| no_snapshot(id))?;
        record.name = name.map(bounded_name);
        Ok(())
    }

    async fn remove(&self, id: Id) -> Result<(), StoreError> {
        let shelves = &mut *self.0.borrow_mut();
        shelves.snapshots.remove(&id).ok_or_else(|| no_snapshot(id))?;
        for standing in shelves.machines.values_mut() {
            let kept = |other| shelves.snapshots.contains_key(&other);
            if let Some(next) = standing.without(id, kept) {
                *standing = next;
            }
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        let shelves = &mut *self.0.borrow_mut();
        let mut swept = Swept::default();
        if shelves.holds > 0 {
            return Ok(swept);
        }
        let records = shelves.snapshots.values().map(|(record, _)| record);
        let kept = Kept::of(shelves.machines.values(), records);
        shelves.snapshots.retain(|id, _| {
            let keep = kept.snapshots.contains(id);
            swept.snapshots += usize::from(!keep);
            keep
        });
        shelves.chunks.retain(|id, bytes| {
            let keep = kept.chunks.contains(id);
            if !keep {
                swept.chunks += 1;
                swept.bytes += bytes.len() as u64;
            }
            keep
        });
        Ok(swept)
    }

    async fn clear(&self) -> Result<(), StoreError> {
        let shelves = &mut *self.0.borrow_mut();
        if shelves.holds > 0 {
            return Err(StoreError::InUse);
        }
        *shelves = Shelves { quota: shelves.quota, ..Shelves::default() };
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        let shelves = self.0.borrow();
        let quota = shelves.quota.unwrap_or(u64::MAX);
        Ok(Usage { used: shelves.used(), quota, persisted: false })
    }

    async fn persist(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
}
