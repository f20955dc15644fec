//! Where saved machines are kept.
//!
//! ```text
//!  machines    name ──▶ generation, current, previous      the head: what a machine starts from
//!                                      │
//!  snapshots   id ──▶ record, manifest ◀┘                  named ones stay without a head
//!                       │
//!  chunks      id ──▶ bytes ◀──── many, shared between snapshots
//! ```
//!
//! A save goes from the bottom up: missing chunks, then the snapshot, then the head. Until
//! the head has moved, the machine stands where it stood before; what a save that ended
//! early has left behind goes with the next [`SnapshotStore::sweep`]. Only the transaction
//! that moves a head waits for the disk, and it is the one that refuses a writer whose
//! machine somebody else has taken over in the meantime.
//!
//! Two stores do all this: [`Memory`], and in a Web Worker `IndexedDb`, with the locks
//! between tabs in `locks`.
//!
//! Deliberately absent: what is in a chunk or a manifest (both are bytes here, neither is
//! verified), compression, and any opinion on when to save or to sweep.
#![forbid(unsafe_code)]

#[cfg(target_family = "wasm")]
mod browser;
mod error;
#[cfg(target_family = "wasm")]
mod indexeddb;
#[cfg(target_family = "wasm")]
pub mod locks;
mod memory;
mod record;
mod rules;

use emulator_snapshot::Id;

pub use error::StoreError;
#[cfg(target_family = "wasm")]
pub use indexeddb::{DATABASE, IndexedDb};
pub use memory::Memory;
pub use record::{Head, NAME_LIMIT, Record, SCREEN_LIMIT, Swept, UNREADABLE, Usage};

/// Bytes of chunks in one transaction at most, unless one chunk alone is larger. A tab that
/// dies loses no more than that, and the transaction's values are in memory twice.
pub const BATCH_BYTES: usize = 4 << 20;

/// A place for saved machines.
///
/// Every method can end with [`StoreError::Unavailable`], and those that write with
/// [`StoreError::Quota`]; further errors are named at each. A method that fails has changed
/// nothing, but for [`SnapshotStore::put_chunks`].
#[expect(async_fn_in_trait, reason = "a worker has one thread: no future has to be Send")]
pub trait SnapshotStore {
    /// Keeps sweepers away, in all tabs, until it is dropped.
    type Hold;

    /// Starts a save: what is written from here on belongs to no snapshot yet, and
    /// [`SnapshotStore::sweep`] would take it. To be held until after
    /// [`SnapshotStore::commit`]. Waits for a sweep that is under way.
    async fn hold(&self) -> Result<Self::Hold, StoreError>;

    /// Those of these chunks that are not kept, each once, in the order asked.
    async fn missing(&self, ids: &[Id]) -> Result<Vec<Id>, StoreError>;

    /// Keeps chunks, at most [`BATCH_BYTES`] in one transaction. After an error some of them
    /// may be kept: [`SnapshotStore::missing`] tells which are not.
    async fn put_chunks(&self, chunks: Vec<(Id, Vec<u8>)>) -> Result<(), StoreError>;

    /// The stored bytes of these chunks, unverified, `None` for one that is not kept. They
    /// are read at once, so the caller decides how many may be in memory.
    async fn chunks(&self, ids: &[Id]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// The stored lengths of those of these chunks that are kept, in bytes.
    async fn sizes(&self, ids: &[Id]) -> Result<Vec<(Id, u64)>, StoreError>;

    /// Keeps a snapshot, and returns its record as it was kept: `bytes` counted, texts cut to
    /// their limits. A snapshot that was there and had a name keeps it unless a new one is
    /// given.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if a chunk of `record.chunks` is not kept.
    async fn put_snapshot(&self, record: Record, manifest: Vec<u8>) -> Result<Record, StoreError>;

    /// Moves the head of a machine, and returns it once it is safe from a crash.
    ///
    /// `expected` is the generation that the writer last saw, `None` for a machine without a
    /// head. Generations of a machine only grow, also past a removed head, so a writer that
    /// lost its lock cannot overwrite what came after. One that takes over commits the
    /// current snapshot again first: that keeps the previous one, and only counts.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] if the generation is another one, [`StoreError::Missing`]
    /// if the snapshot is not kept.
    async fn commit(
        &self,
        machine: &str,
        expected: Option<u64>,
        current: Id,
    ) -> Result<Head, StoreError>;

    /// Where a machine stands; `None` if nothing of it was saved.
    async fn head(&self, machine: &str) -> Result<Option<Head>, StoreError>;

    /// Where all machines stand, by name.
    async fn machines(&self) -> Result<Vec<Head>, StoreError>;

    /// A snapshot's record and manifest, the latter unverified.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if it is not kept, [`StoreError::Corrupt`] if its record
    /// cannot be read.
    async fn snapshot(&self, id: Id) -> Result<(Record, Vec<u8>), StoreError>;

    /// All snapshots, the youngest first. Those whose records cannot be read come last, as
    /// [`UNREADABLE`]: they can be removed, and asked for one by one they say so.
    async fn list(&self) -> Result<Vec<Record>, StoreError>;

    /// Names a snapshot, which keeps it until it is removed, or takes its name away.
    ///
    /// # Errors
    /// As [`SnapshotStore::snapshot`].
    async fn rename(&self, id: Id, name: Option<String>) -> Result<(), StoreError>;

    /// Removes a snapshot, whatever its name and whether or not its record can be read. Its
    /// chunks go with the next sweep. In every head that names it:
    ///
    /// - as the current one: the previous one becomes current, if it is still there;
    /// - as the only one: the machine has no head any more;
    /// - as the previous one: there is no previous one any more.
    ///
    /// The generation stays, so a writer at work can go on saving.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if it is not kept.
    async fn remove(&self, id: Id) -> Result<(), StoreError>;

    /// Removes what nobody needs: snapshots that have no name and that no head names, and
    /// chunks that no kept snapshot lists. Removes nothing while a save is in progress.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if a record cannot be read: what it needs is not known then,
    /// so nothing is removed until that snapshot is.
    async fn sweep(&self) -> Result<Swept, StoreError>;

    /// Removes everything.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a save is in progress.
    async fn clear(&self) -> Result<(), StoreError>;

    /// How much is used, and how much could be.
    async fn usage(&self) -> Result<Usage, StoreError>;

    /// Asks that what is kept be not evicted when space gets short; whether it is granted.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] where that cannot be asked, as in every worker so far: the
    /// page can.
    async fn persist(&self) -> Result<bool, StoreError>;
}
