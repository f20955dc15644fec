//! The store in a browser's IndexedDB, for a dedicated Web Worker.
//!
//! ```text
//!  object store   key                value
//!  chunks         id, 64 digits      Uint8Array
//!  sizes          id, 64 digits      number: bytes of that chunk; written and deleted with it
//!  snapshots      id, 64 digits      { record: JSON, chunks: Uint8Array of ids, manifest: Uint8Array }
//!  machines       name               JSON
//! ```
//!
//! `sizes` is there so that counting and sweeping need not read megabytes. rexie makes the
//! object stores and reads; what writes goes through [`raw`], which says why.

mod raw;
mod values;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use emulator_snapshot::Id;
use futures_util::future::{Either, join, join_all, select};
use js_sys::Uint8Array;
use rexie::{KeyRange, ObjectStore, Rexie, Store, TransactionMode};
use wasm_bindgen::JsValue;

use self::raw::{Connection, Durability, Transaction};
use self::values::{
    bytes, damaged, entry, id, read_manifest, read_record, size, standing, with_record,
};
use crate::browser::{self, sleep, to_its_end};
use crate::error::at_opening;
use crate::locks::{self, Guard};
use crate::record::bounded_name;
use crate::rules::{Kept, Standing, batches, no_chunk, no_snapshot, youngest_first};
use crate::{Head, Record, SnapshotStore, StoreError, Swept, Usage};

/// Name of the database.
pub const DATABASE: &str = "vivarium";

/// Version of the database: of the object stores and of the form of what is in them. rexie
/// deletes object stores that an upgrade does not name.
const SCHEMA: u32 = 1;

/// How long opening may take. It takes milliseconds, unless the browser is recovering the
/// database after a crash, or another tab deletes it and a third one keeps it; rexie does not
/// tell which.
const OPEN_WAIT: Duration = Duration::from_secs(10);

/// A value that Chromium keeps in its log, and not in a file apart as those from 64 KiB on.
const LOG_PIECE: u32 = 60_000;

/// So many of them fill a log, which it ends at 4 MiB.
const LOG_PIECES: usize = 80;

const CHUNKS: &str = "chunks";
const SIZES: &str = "sizes";
const SNAPSHOTS: &str = "snapshots";
const MACHINES: &str = "machines";

/// Saved machines in IndexedDB.
///
/// A store whose database is deleted, upgraded or evicted under it is
/// [`StoreError::Unavailable`] from then on. Opening it anew shows what is left.
pub struct IndexedDb {
    reader: Reader,
    writer: Connection,
    loss: Option<String>,
}

/// rexie's connection, closed when dropped. rexie alone only drops what listens to it: the
/// connection stays, is in the way of whoever deletes or upgrades the database, and calls
/// into nothing when it is asked to make room.
struct Reader(Option<Rexie>);

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(rexie) = self.0.take() {
            rexie.close();
        }
    }
}

impl IndexedDb {
    /// Opens the database of this site, or makes it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the browser gives none, [`StoreError::Unavailable`] if it
    /// could not be opened this time, or [`StoreError::Quota`] if there is no space to make it.
    pub async fn open() -> Result<Self, StoreError> {
        Self::open_named(DATABASE).await
    }

    /// Opens a database of another name; [`crate::locks`] are the same for all.
    ///
    /// # Errors
    /// As [`IndexedDb::open`].
    pub async fn open_named(name: &str) -> Result<Self, StoreError> {
        let name = name.to_owned();
        // To its end, so that a connection that comes too late is closed.
        let connect = to_its_end(async move {
            let loss = raw::loss(&name, SCHEMA).await;
            let stores = [CHUNKS, SIZES, SNAPSHOTS, MACHINES];
            let builder = Rexie::builder(&name).version(SCHEMA);
            let builder = stores
                .into_iter()
                .fold(builder, |builder, store| builder.add_object_store(ObjectStore::new(store)));
            let reader = builder.build().await.map_err(|error| from_rexie(&error))?;
            let reader = Reader(Some(reader));
            let writer = Connection::open(&name).await?;
            Ok(Self { reader, writer, loss })
        });
        match select(pin!(connect), pin!(sleep(OPEN_WAIT))).await {
            Either::Left((opened, _)) => opened.map_err(at_opening),
            Either::Right(_) => {
                let why = "it did not open in time, as when another tab keeps it";
                Err(StoreError::Unavailable(why.into()))
            }
        }
    }

    /// If the browser has lost all that was stored before it was opened: what it says of that.
    #[must_use]
    pub fn loss(&self) -> Option<&str> {
        self.loss.as_deref()
    }

    /// Protects what is stored from the next kill of the browser; to be called once by who is
    /// about to write.
    ///
    /// Chromium's database writes to a log. A process that is killed while it writes leaves
    /// the log's last record torn; the next one passes over the torn record but goes on with
    /// the same log behind it, and the one after that finds a damaged log and deletes the
    /// whole database (seen once in about a hundred kills under load, 2026-11-24). So the log
    /// is filled with nothing until the browser begins a new one and drops the old.
    ///
    /// # Errors
    /// Those of writing; nothing is stored, whatever comes of it.
    pub async fn begin_new_log(&self) -> Result<(), StoreError> {
        if !raw::is_chromium() {
            return Ok(());
        }
        let keys: Vec<_> = (0..LOG_PIECES).map(|number| format!("nothing {number}")).collect();
        let piece = Uint8Array::new_with_length(LOG_PIECE).into();
        let transaction = self.writer.begin(&[CHUNKS], Durability::Relaxed)?;
        keys.iter().try_for_each(|key| transaction.put(CHUNKS, key, &piece))?;
        keys.iter().try_for_each(|key| transaction.delete(CHUNKS, key))?;
        transaction.done().await
    }

    /// Reads from an object store, in a transaction of its own. To its end even if nobody
    /// waits for that any more: what rexie has listening must not go before.
    async fn read<T: 'static, F>(
        &self,
        store: &str,
        read: impl FnOnce(Store) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = rexie::Result<T>> + 'static,
    {
        let rexie = self.reader.0.as_ref().expect("it is there until it is dropped");
        let store = rexie
            .transaction(&[store], TransactionMode::ReadOnly)
            .and_then(|transaction| transaction.store(store));
        let result = match store {
            Ok(store) => to_its_end(read(store)).await,
            Err(error) => Err(error),
        };
        result.map_err(|error| self.writer.reason(from_rexie(&error)))
    }

    async fn value(&self, store: &str, key: &str) -> Result<Option<JsValue>, StoreError> {
        let key = key.into();
        self.read(store, async move |store| store.get(key).await).await
    }
}

impl SnapshotStore for IndexedDb {
    type Hold = Guard;

    async fn hold(&self) -> Result<Guard, StoreError> {
        locks::store_shared().await
    }

    async fn missing(&self, ids: &[Id]) -> Result<Vec<Id>, StoreError> {
        let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else {
            return Ok(Vec::new());
        };
        // One request for all between the outermost: a request for each of some thousand ids
        // takes longer than as many keys.
        let (first, last) = (first.to_string().into(), last.to_string().into());
        let range = KeyRange::bound(&first, &last, None, None)
            .map_err(|error| StoreError::from_words(&error.to_string()))?;
        let keys = self
            .read(SIZES, async move |store| store.get_all_keys(Some(range), None).await)
            .await?;
        let mut seen: HashSet<Id> = keys.iter().filter_map(|key| id(&key.as_string()?)).collect();
        Ok(ids.iter().filter(|id| seen.insert(**id)).copied().collect())
    }

    async fn put_chunks(&self, chunks: Vec<(Id, Vec<u8>)>) -> Result<(), StoreError> {
        for batch in batches(chunks) {
            let values: Vec<(String, Uint8Array)> = batch
                .iter()
                .map(|(id, bytes)| (id.to_string(), Uint8Array::from(&bytes[..])))
                .collect();
            drop(batch);
            let transaction = self.writer.begin(&[CHUNKS, SIZES], Durability::Relaxed)?;
            for (key, bytes) in &values {
                transaction.put(CHUNKS, key, bytes)?;
                transaction.put(SIZES, key, &bytes.length().into())?;
            }
            transaction.done().await?;
        }
        Ok(())
    }

    async fn chunks(&self, ids: &[Id]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let keys: Vec<JsValue> = ids.iter().map(|id| id.to_string().into()).collect();
        let read = async move |store: Store| {
            // Not `try_join_all`, which would not wait for the others after an error.
            let values = join_all(keys.into_iter().map(|key| store.get(key))).await;
            values.into_iter().collect::<rexie::Result<Vec<_>>>()
        };
        let values = self.read(CHUNKS, read).await?;
        let values = ids.iter().zip(values).map(|(id, value)| {
            value.map(|value| bytes(&value).ok_or_else(|| damaged("chunk", *id))).transpose()
        });
        values.collect()
    }

    async fn sizes(&self, ids: &[Id]) -> Result<Vec<(Id, u64)>, StoreError> {
        let read = async move |store: Store| store.scan(None, None, None, None).await;
        let mut kept = HashMap::new();
        for (key, value) in self.read(SIZES, read).await? {
            if let Some(id) = key.as_string().and_then(|key| id(&key)) {
                kept.insert(id, size(&value));
            }
        }
        Ok(ids.iter().filter_map(|id| Some((*id, *kept.get(id)?))).collect())
    }

    async fn put_snapshot(&self, record: Record, manifest: Vec<u8>) -> Result<Record, StoreError> {
        let mut record = record.bounded();
        let manifest = Uint8Array::from(&manifest[..]);
        let key = record.id.to_string();
        let transaction = self.writer.begin(&[SIZES, SNAPSHOTS], Durability::Relaxed)?;
        let sizes: HashMap<String, JsValue> = transaction.all(SIZES).await?.into_iter().collect();
        record.bytes = u64::from(manifest.length());
        for id in &record.chunks {
            record.bytes += sizes.get(&id.to_string()).map(size).ok_or_else(|| no_chunk(*id))?;
        }
        if record.name.is_none()
            && let Some(old) = transaction.value(SNAPSHOTS, &key).await?
        {
            // An old one that cannot be read is replaced by one that can.
            record.name = read_record(record.id, &old).ok().and_then(|old| old.name);
        }
        transaction.put(SNAPSHOTS, &key, &entry(&record, &manifest))?;
        transaction.done().await?;
        Ok(record)
    }

    async fn commit(
        &self,
        machine: &str,
        expected: Option<u64>,
        current: Id,
    ) -> Result<Head, StoreError> {
        let transaction = self.writer.begin(&[MACHINES, SNAPSHOTS], Durability::Strict)?;
        let old = transaction.value(MACHINES, machine).await?;
        let old = old.map(|old| standing(&old)).transpose()?;
        let (standing, head) = Standing::moved(old, machine, expected, current)?;
        if !transaction.has(SNAPSHOTS, &current.to_string()).await? {
            return Err(no_snapshot(current));
        }
        transaction.put(MACHINES, machine, &standing.encode().into())?;
        transaction.done().await?;
        Ok(head)
    }

    async fn head(&self, machine: &str) -> Result<Option<Head>, StoreError> {
        let value = self.value(MACHINES, machine).await?;
        Ok(value.map(|value| standing(&value)).transpose()?.and_then(|found| found.head()))
    }

    async fn machines(&self) -> Result<Vec<Head>, StoreError> {
        let read = async move |store: Store| store.get_all(None, None).await;
        let values = self.read(MACHINES, read).await?;
        let standings: Vec<Standing> = values.iter().map(standing).collect::<Result<_, _>>()?;
        let mut heads: Vec<Head> = standings.iter().filter_map(Standing::head).collect();
        // The database sorts by UTF-16, Rust by UTF-8.
        heads.sort_by(|one, other| one.machine.cmp(&other.machine));
        Ok(heads)
    }

    async fn snapshot(&self, id: Id) -> Result<(Record, Vec<u8>), StoreError> {
        let value = self.value(SNAPSHOTS, &id.to_string()).await?;
        let value = value.ok_or_else(|| no_snapshot(id))?;
        Ok((read_record(id, &value)?, read_manifest(id, &value)?))
    }

    async fn list(&self) -> Result<Vec<Record>, StoreError> {
        let read = async move |store: Store| {
            let (keys, values) =
                join(store.get_all_keys(None, None), store.get_all(None, None)).await;
            Ok((keys?, values?))
        };
        let (keys, values) = self.read(SNAPSHOTS, read).await?;
        let records = keys.iter().zip(&values);
        let mut records: Vec<Record> = records
            .filter_map(|(key, value)| {
                let id = id(&key.as_string()?)?;
                Some(read_record(id, value).unwrap_or_else(|_| Record::unreadable(id)))
            })
            .collect();
        youngest_first(&mut records);
        Ok(records)
    }

    async fn rename(&self, id: Id, name: Option<String>) -> Result<(), StoreError> {
        let key = id.to_string();
        let transaction = self.writer.begin(&[SNAPSHOTS], Durability::Relaxed)?;
        let value = transaction.value(SNAPSHOTS, &key).await?.ok_or_else(|| no_snapshot(id))?;
        let mut record = read_record(id, &value)?;
        record.name = name.map(bounded_name);
        transaction.put(SNAPSHOTS, &key, &with_record(value, &record))?;
        transaction.done().await
    }

    async fn remove(&self, id: Id) -> Result<(), StoreError> {
        let key = id.to_string();
        let transaction = self.writer.begin(&[SNAPSHOTS, MACHINES], Durability::Strict)?;
        let keys: HashSet<String> = transaction.keys(SNAPSHOTS).await?.into_iter().collect();
        if !keys.contains(&key) {
            return Err(no_snapshot(id));
        }
        transaction.delete(SNAPSHOTS, &key)?;
        for (machine, value) in transaction.all(MACHINES).await? {
            let kept = |other: Id| other != id && keys.contains(&other.to_string());
            if let Some(next) = standing(&value)?.without(id, kept) {
                transaction.put(MACHINES, &machine, &next.encode().into())?;
            }
        }
        transaction.done().await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        let Some(_alone) = locks::store_exclusive().await? else { return Ok(Swept::default()) };
        let stores = [CHUNKS, SIZES, SNAPSHOTS, MACHINES];
        let transaction = self.writer.begin(&stores, Durability::Relaxed)?;
        let swept = sweep(&transaction).await?;
        transaction.done().await?;
        Ok(swept)
    }

    async fn clear(&self) -> Result<(), StoreError> {
        let _alone = locks::store_exclusive().await?.ok_or(StoreError::InUse)?;
        let stores = [CHUNKS, SIZES, SNAPSHOTS, MACHINES];
        let transaction = self.writer.begin(&stores, Durability::Relaxed)?;
        for store in stores {
            transaction.clear(store)?;
        }
        transaction.done().await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        browser::usage().await
    }

    async fn persist(&self) -> Result<bool, StoreError> {
        browser::persist().await
    }
}

/// Marks and sweeps, in a transaction over everything.
async fn sweep(transaction: &Transaction) -> Result<Swept, StoreError> {
    let mut standings = Vec::new();
    for (_, value) in transaction.all(MACHINES).await? {
        standings.push(standing(&value)?);
    }
    let mut records = Vec::new();
    for (key, value) in transaction.all(SNAPSHOTS).await? {
        let id = id(&key).ok_or_else(|| StoreError::Corrupt(format!("state {key}")))?;
        records.push(read_record(id, &value)?);
    }
    let kept = Kept::of(&standings, &records);
    let mut swept = Swept::default();
    for record in records.iter().filter(|record| !kept.snapshots.contains(&record.id)) {
        transaction.delete(SNAPSHOTS, &record.id.to_string())?;
        swept.snapshots += 1;
    }
    for (key, value) in transaction.all(SIZES).await? {
        if id(&key).is_none_or(|id| !kept.chunks.contains(&id)) {
            transaction.delete(CHUNKS, &key)?;
            transaction.delete(SIZES, &key)?;
            swept.chunks += 1;
            swept.bytes += size(&value);
        }
    }
    Ok(swept)
}

/// rexie's own text is "idb error"; the browser's words are behind it.
fn from_rexie(error: &rexie::Error) -> StoreError {
    match std::error::Error::source(error) {
        Some(source) => StoreError::from_words(&source.to_string()),
        None => StoreError::from_words(&error.to_string()),
    }
}
