//! Where a saved machine comes back from: the store, and for one that was shipped the files
//! beside its image.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use emulator_engine::Shipped;
use emulator_snapshot::state::{Fetched, Source};
use emulator_snapshot::{Error, Id, Manifest, chunk};
use emulator_store::SnapshotStore;
use futures_util::future::join_all;

/// Chunks that are read at once: 8 MiB of guest memory. One by one, IndexedDB is slow.
pub(crate) const WINDOW: usize = 32;

/// One snapshot.
pub struct Kept<S> {
    manifest: Manifest,
    store: Option<Rc<S>>,
    shipped: Option<Box<dyn Shipped>>,
    /// Read ahead, as they are stored.
    ahead: RefCell<HashMap<Id, Vec<u8>>>,
    /// Came from outside, and are not in the store yet.
    foreign: RefCell<HashMap<Id, Vec<u8>>>,
}

impl<S: SnapshotStore> Kept<S> {
    /// A snapshot of the store.
    #[must_use]
    pub fn stored(manifest: Manifest, store: Rc<S>) -> Self {
        Self::new(manifest, Some(store), None)
    }

    /// A snapshot that came with the image. Chunks that the store has are not fetched.
    #[must_use]
    pub fn shipped(manifest: Manifest, shipped: Box<dyn Shipped>, store: Option<Rc<S>>) -> Self {
        Self::new(manifest, store, Some(shipped))
    }

    fn new(manifest: Manifest, store: Option<Rc<S>>, shipped: Option<Box<dyn Shipped>>) -> Self {
        Self { manifest, store, shipped, ahead: RefCell::default(), foreign: RefCell::default() }
    }

    /// Chunks that were fetched and that the store does not have, as they are to be stored.
    #[must_use]
    pub fn into_foreign(self) -> (Manifest, Vec<(Id, Vec<u8>)>) {
        (self.manifest, self.foreign.into_inner().into_iter().collect())
    }

    /// Reads a chunk, and those that will be asked for next.
    async fn read_ahead(&self, name: &str, index: u32) -> Result<(), Error> {
        let mut ids: Vec<Id> = Vec::with_capacity(WINDOW);
        for next in index.. {
            let Ok(named) = self.manifest.chunk(name, next) else { break };
            if let Some((id, _)) = named
                && !self.ahead.borrow().contains_key(&id)
                && !ids.contains(&id)
            {
                ids.push(id);
            }
            if ids.len() == WINDOW {
                break;
            }
        }
        let mut stored = vec![None; ids.len()];
        if let Some(store) = &self.store {
            let read = store.chunks(&ids).await;
            // A shipped machine does not depend on the store.
            match (read, &self.shipped) {
                (Ok(found), _) => stored = found,
                (Err(_), Some(_)) => {}
                (Err(error), None) => {
                    return Err(Error::Unreadable { id: ids[0], why: error.to_string() });
                }
            }
        }
        let missing = ids.iter().zip(&stored).filter(|(_, found)| found.is_none());
        let missing: Vec<Id> = missing.map(|(id, _)| *id).collect();
        if let Some(shipped) = &self.shipped {
            let fetched = join_all(missing.iter().map(|id| shipped.chunk(*id))).await;
            for (id, bytes) in missing.iter().zip(fetched) {
                let why = |fault: emulator_protocol::Fault| fault.detail;
                let bytes =
                    bytes.map_err(|fault| Error::Unreadable { id: *id, why: why(fault) })?;
                self.foreign.borrow_mut().insert(*id, bytes.clone());
                self.ahead.borrow_mut().insert(*id, bytes);
            }
        }
        let mut ahead = self.ahead.borrow_mut();
        ahead.extend(ids.into_iter().zip(stored).filter_map(|(id, found)| Some((id, found?))));
        Ok(())
    }
}

impl<S: SnapshotStore> Source for Kept<S> {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn chunk<'a>(&'a self, name: &'a str, index: u32) -> Fetched<'a> {
        Box::pin(async move {
            let Some((id, length)) = self.manifest.chunk(name, index)? else { return Ok(None) };
            if !self.ahead.borrow().contains_key(&id) {
                self.read_ahead(name, index).await?;
            }
            let stored = self.ahead.borrow_mut().remove(&id).ok_or(Error::MissingChunk(id))?;
            chunk::unpack(id, length, &stored).map(Some)
        })
    }
}
