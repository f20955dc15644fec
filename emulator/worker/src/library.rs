//! Answers what the page asks about saved machines. Needs a store, and no machine.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};

use emulator_protocol::{
    Fault, FaultKind, Flavour, LibraryAnswer, LibraryRequest, Party, Snapshot, Usage,
};
use emulator_snapshot::file::{Event, Reader, Writer};
use emulator_snapshot::{Error, Flaw, Id, Manifest, chunk, screen};
use emulator_store::{Head, Record, SnapshotStore, StoreError};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::record;
use crate::source::WINDOW;

/// Machines whose names begin so are not people's: they hold states that came with an image.
pub const SHIPPED: &str = "shipped-";

/// Largest exported file that is read, unpacked: twice the largest memory that a machine can
/// have here. Whatever a file claims, no more than a chunk of it is held at once.
const FILE_LIMIT: u64 = 4 << 30;

/// Name that the last state of a machine gets which is started anew or goes on from an older
/// one, so that the next saves do not remove it.
pub const SET_ASIDE: &str = "Before the last new start or restore";

/// Keeps a machine's head under a name, because the machine does not go on from it. There is one such
/// snapshot for each machine, besides those that people have named.
///
/// # Errors
/// Those of the store.
pub async fn set_aside<S: SnapshotStore>(store: &S, head: &Head) -> Result<(), StoreError> {
    for record in store.list().await? {
        let old = record.machine == head.machine && record.name.as_deref() == Some(SET_ASIDE);
        if old && record.id != head.current {
            store.rename(record.id, None).await?;
        } else if record.id == head.current && record.name.is_none() {
            store.rename(record.id, Some(SET_ASIDE.into())).await?;
        }
    }
    Ok(())
}

/// What an answer can be besides the answers of the protocol.
pub enum Reply {
    /// One of them.
    Answer(LibraryAnswer),
    /// A file.
    File(Vec<u8>),
}

/// Does what was asked.
pub async fn answer<S: SnapshotStore>(store: &S, request: LibraryRequest) -> Reply {
    let result = match request {
        LibraryRequest::Export { id } => return reply(export(store, &id).await.map(Reply::File)),
        LibraryRequest::List => list(store).await,
        LibraryRequest::Usage => usage(store).await,
        LibraryRequest::Rename { id, name } => rename(store, &id, name).await,
        LibraryRequest::Remove { id } => remove(store, &id).await,
        LibraryRequest::Verify { id } => verify(store, &id).await,
        LibraryRequest::Fork { id, machine } => fork(store, &id, &machine).await,
        LibraryRequest::Clear => store.clear().await.map(|()| LibraryAnswer::Done).map_err(told),
    };
    reply(result.map(Reply::Answer))
}

/// Takes an exported file. Everything in it is checked before the snapshot can be seen.
pub async fn import<S: SnapshotStore>(store: &S, file: &[u8]) -> LibraryAnswer {
    match take_file(store, file).await {
        Ok(answer) => answer,
        Err(fault) => {
            // What was stored of it is nobody's.
            let _ = store.sweep().await;
            LibraryAnswer::Failed { fault }
        }
    }
}

fn reply(result: Result<Reply, Fault>) -> Reply {
    result.unwrap_or_else(|fault| Reply::Answer(LibraryAnswer::Failed { fault }))
}

async fn list<S: SnapshotStore>(store: &S) -> Result<LibraryAnswer, Fault> {
    Ok(LibraryAnswer::Snapshots { snapshots: snapshots(store).await.map_err(told)? })
}

/// All snapshots that are people's, the youngest first.
async fn snapshots<S: SnapshotStore>(store: &S) -> Result<Vec<Snapshot>, StoreError> {
    let records = store.list().await?;
    let heads: HashSet<Id> = store.machines().await?.iter().map(|head| head.current).collect();
    let mut users: HashMap<Id, u32> = HashMap::new();
    for id in records.iter().flat_map(|record| &record.chunks) {
        *users.entry(*id).or_default() += 1;
    }
    let alone: Vec<Id> =
        users.iter().filter(|(_, count)| **count == 1).map(|(id, _)| *id).collect();
    let sizes: HashMap<Id, u64> = store.sizes(&alone).await?.into_iter().collect();
    let described = records.into_iter().filter(|record| !record.machine.starts_with(SHIPPED));
    Ok(described
        .map(|record| {
            let own = record.chunks.iter().filter_map(|id| sizes.get(id)).sum();
            let is_head = heads.contains(&record.id);
            describe(record, own, is_head)
        })
        .collect())
}

/// A record in the words of the protocol.
#[must_use]
pub fn describe(record: Record, own_bytes: u64, is_head: bool) -> Snapshot {
    Snapshot {
        id: record.id.to_string(),
        machine: record.machine,
        name: record.name,
        saved_ms: record.saved_ms,
        engine: record.engine,
        memory_mib: record.memory_mib,
        flavour: Flavour::named(&record.flavour).unwrap_or_default(),
        cmdline: record.cmdline,
        bytes: record.bytes,
        own_bytes,
        delta_bytes: record.delta_bytes,
        screen: record.screen,
        is_head,
    }
}

async fn one<S: SnapshotStore>(store: &S, id: Id) -> Result<LibraryAnswer, Fault> {
    let all = snapshots(store).await.map_err(told)?;
    let id = id.to_string();
    let found = all.into_iter().find(|snapshot| snapshot.id == id);
    found
        .map(LibraryAnswer::Snapshot)
        .ok_or_else(|| told(StoreError::Missing("the snapshot".into())))
}

async fn usage<S: SnapshotStore>(store: &S) -> Result<LibraryAnswer, Fault> {
    let usage = store.usage().await.map_err(told)?;
    Ok(LibraryAnswer::Usage(Usage {
        used: usage.used,
        quota: usage.quota,
        persisted: usage.persisted,
    }))
}

async fn rename<S: SnapshotStore>(
    store: &S,
    id: &str,
    name: Option<String>,
) -> Result<LibraryAnswer, Fault> {
    store.rename(parse(id)?, name).await.map_err(told)?;
    Ok(LibraryAnswer::Done)
}

async fn remove<S: SnapshotStore>(store: &S, id: &str) -> Result<LibraryAnswer, Fault> {
    store.remove(parse(id)?).await.map_err(told)?;
    // What cannot be swept now goes with the next save.
    let _ = store.sweep().await;
    Ok(LibraryAnswer::Done)
}

async fn verify<S: SnapshotStore>(store: &S, id: &str) -> Result<LibraryAnswer, Fault> {
    let id = parse(id)?;
    let manifest = manifest(store, id).await?;
    let chunks: Vec<_> = manifest.chunks().collect();
    for window in chunks.chunks(WINDOW) {
        let ids: Vec<_> = window.iter().map(|(id, _)| *id).collect();
        let stored = store.chunks(&ids).await.map_err(told)?;
        for ((id, length), stored) in window.iter().zip(stored) {
            let stored = stored.ok_or_else(|| damaged(&Error::MissingChunk(*id)))?;
            chunk::unpack(*id, *length, &stored).map_err(|error| damaged(&error))?;
        }
    }
    one(store, id).await
}

async fn fork<S: SnapshotStore>(
    store: &S,
    id: &str,
    machine: &str,
) -> Result<LibraryAnswer, Fault> {
    let id = parse(id)?;
    // Never over a machine that is there: another tab may be running it.
    store.commit(machine, None, id).await.map_err(|error| match error {
        StoreError::Superseded { .. } => taken(machine),
        error => told(error),
    })?;
    one(store, id).await
}

async fn export<S: SnapshotStore>(store: &S, id: &str) -> Result<Vec<u8>, Fault> {
    let manifest = manifest(store, parse(id)?).await?;
    let (mut writer, start) = Writer::new(&manifest);
    // Chunks are compressed already; gzip is for the names between them, and for the tools.
    let mut file = GzEncoder::new(Vec::new(), Compression::fast());
    let full = |error: std::io::Error| told(StoreError::Other(error.to_string()));
    file.write_all(&start).map_err(full)?;
    while let Some(id) = writer.wanted() {
        let stored = store.chunks(&[id]).await.map_err(told)?.pop().flatten();
        let stored = stored.ok_or_else(|| damaged(&Error::MissingChunk(id)))?;
        let record = writer.record(id, &stored).map_err(|error| damaged(&error))?;
        file.write_all(&record).map_err(full)?;
    }
    let end = writer.finish().map_err(|error| damaged(&error))?;
    file.write_all(&end).map_err(full)?;
    file.finish().map_err(full)
}

async fn take_file<S: SnapshotStore>(store: &S, file: &[u8]) -> Result<LibraryAnswer, Fault> {
    let manifest = check_file(file)?;
    let bytes = manifest.write();
    let record = record::of(&manifest, &bytes).map_err(|error| damaged(&error))?;
    let id = record.id;
    let hold = store.hold().await.map_err(told)?;
    let mut written = bytes.len() as u64;
    let mut batch = Vec::new();
    let mut held = 0;
    for event in events(file) {
        let Event::Chunk(chunk) = event.map_err(|error| damaged(&error))? else { continue };
        held += chunk.stored.len();
        batch.push((chunk.id, chunk.stored));
        if held >= emulator_store::BATCH_BYTES {
            written += put(store, std::mem::take(&mut batch)).await?;
            held = 0;
        }
    }
    written += put(store, batch).await?;
    let text = screen::of(&manifest).map_err(|error| damaged(&error))?.unwrap_or_default();
    let here = store.snapshot(id).await.ok().and_then(|(here, _)| here.name);
    let record = Record {
        // One that nobody named would go with the next sweep: no machine goes on from it yet.
        name: here.or(record.name).or_else(|| Some("Imported".into())),
        delta_bytes: written,
        screen: plain(text),
        ..record
    };
    store.put_snapshot(record, bytes).await.map_err(told)?;
    drop(hold);
    one(store, id).await
}

async fn put<S: SnapshotStore>(store: &S, chunks: Vec<(Id, Vec<u8>)>) -> Result<u64, Fault> {
    let ids: Vec<_> = chunks.iter().map(|(id, _)| *id).collect();
    let missing: HashSet<_> = store.missing(&ids).await.map_err(told)?.into_iter().collect();
    let wanted: Vec<_> = chunks.into_iter().filter(|(id, _)| missing.contains(id)).collect();
    let written = wanted.iter().map(|(_, stored)| stored.len() as u64).sum();
    store.put_chunks(wanted).await.map_err(told)?;
    Ok(written)
}

/// Reads all of a file and checks every hash in it, keeping nothing but the manifest.
fn check_file(file: &[u8]) -> Result<Manifest, Fault> {
    let mut manifest = None;
    for event in events(file) {
        if let Event::Manifest(found) = event.map_err(|error| damaged(&error))? {
            manifest = Some(found);
        }
    }
    manifest.ok_or_else(|| damaged(&Error::NotASnapshot))
}

/// What is in a file, piece by piece; ends after the first error.
fn events(file: &[u8]) -> impl Iterator<Item = Result<Event, Error>> + '_ {
    let mut stream = MultiGzDecoder::new(file).take(FILE_LIMIT);
    let mut reader = Some(Reader::new());
    let mut buffer = vec![0; 64 * 1024];
    let (mut from, mut to) = (0, 0);
    std::iter::from_fn(move || {
        loop {
            let mut rest = &buffer[from..to];
            let event = reader.as_mut()?.read(&mut rest);
            from = to - rest.len();
            match event {
                Ok(Some(event)) => return Some(Ok(event)),
                Ok(None) => {}
                Err(error) => {
                    reader = None;
                    return Some(Err(error));
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) => return reader.take()?.finish().err().map(Err),
                Ok(count) => (from, to) = (0, count),
                Err(_) => {
                    reader = None;
                    return Some(Err(Error::NotASnapshot));
                }
            }
        }
    })
}

/// The manifest of a stored snapshot, checked.
pub(crate) async fn manifest<S: SnapshotStore>(store: &S, id: Id) -> Result<Manifest, Fault> {
    let (_, bytes) = store.snapshot(id).await.map_err(told)?;
    if Id::of(&bytes) != id {
        return Err(damaged(&Error::Hash));
    }
    Manifest::read(&bytes).map_err(|error| damaged(&error))
}

/// The visible part of a text with escape sequences: what a list shows.
fn plain(screen: &str) -> String {
    let mut text = String::new();
    let mut chars = screen.chars();
    while let Some(char) = chars.next() {
        match char {
            // CSI … final byte (ECMA-48, 5.4).
            '\u{1b}' if chars.next() == Some('[') => {
                chars.find(|char| ('@'..='~').contains(char));
            }
            '\n' => text.push('\n'),
            char if !char.is_control() => text.push(char),
            _ => {}
        }
    }
    text
}

fn parse(id: &str) -> Result<Id, Fault> {
    id.parse()
        .map_err(|error| told(StoreError::Missing(format!("a snapshot of that id ({error})"))))
}

/// The fault of a name that another machine has.
fn taken(machine: &str) -> Fault {
    Fault::new(
        FaultKind::Busy,
        Party::Host,
        format!("There is a machine of the name {machine} already."),
        "Choose another name.",
    )
}

/// A fault of the store in words, with what to do next.
#[must_use]
pub fn told(error: StoreError) -> Fault {
    let (kind, party, summary, advice) = match &error {
        StoreError::Quota => (
            FaultKind::StorageFull,
            Party::Host,
            "There is no room left for saving.",
            "Delete snapshots that you no longer need, or export them first; then save again.",
        ),
        StoreError::Unavailable(_) => (
            FaultKind::StorageUnavailable,
            Party::Host,
            "The browser's storage is out of reach at the moment.",
            "Another tab may be keeping it, or it was just cleared: close other tabs of this page, and try again.",
        ),
        StoreError::Refused(_) | StoreError::Unsupported => (
            FaultKind::StorageUnavailable,
            Party::Host,
            "This browser does not let the page keep anything, so the machine cannot be saved.",
            "A private window or a strict setting may be why. The machine itself goes on.",
        ),
        StoreError::Superseded { .. } => (
            FaultKind::TakenOver,
            Party::Host,
            "This machine was saved by another tab.",
            "Go on there, or reload this tab to go on from what was saved.",
        ),
        StoreError::InUse => {
            (FaultKind::Busy, Party::Host, "A save is in progress.", "Try again in a moment.")
        }
        StoreError::Missing(_) => (
            FaultKind::SnapshotDamaged,
            Party::Snapshot,
            "That is not in this browser's storage any more.",
            "It was deleted here or in another tab, or the browser has cleared its storage.",
        ),
        StoreError::Corrupt(_) => (
            FaultKind::SnapshotDamaged,
            Party::Snapshot,
            "What this browser has stored is damaged.",
            "Delete that snapshot; others are not affected.",
        ),
        StoreError::Other(_) => (
            FaultKind::StorageUnavailable,
            Party::Host,
            "The browser's storage failed.",
            "Try again; if it stays, export what matters and reload the page.",
        ),
    };
    Fault::new(kind, party, summary, advice).with_detail(error.to_string())
}

/// A fault of a snapshot in words.
#[must_use]
pub fn damaged(error: &Error) -> Fault {
    let (kind, summary, advice) = match error {
        Error::NotASnapshot => (
            FaultKind::SnapshotRefused,
            "This is not a snapshot of Vivarium.",
            "Choose a file that was exported here; its name ends in .vivarium.",
        ),
        Error::Newer { .. } => (
            FaultKind::SnapshotRefused,
            "This snapshot was made by a newer version of Vivarium.",
            "Reload the page to get the newest version, and try again.",
        ),
        Error::Section { flaw: Flaw::Unknown | Flaw::Newer { .. }, .. } => (
            FaultKind::SnapshotRefused,
            "This snapshot is of another engine, or of a newer version of this one.",
            "Nothing of it was used, and it stays where it is. Reload the page, and try again.",
        ),
        _ => (
            FaultKind::SnapshotDamaged,
            "This snapshot is damaged.",
            "Nothing of it was used. Take another copy, or an earlier snapshot.",
        ),
    };
    Fault::new(kind, Party::Snapshot, summary, advice).with_detail(error.to_string())
}

#[cfg(test)]
mod tests {
    use emulator_snapshot::manifest::{Content, Entry};
    use emulator_snapshot::{Meta, Origin};
    use emulator_store::Memory;
    use futures_util::FutureExt;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("a store in memory does not wait")
    }

    /// Keeps a machine of these pages under a name; returns the snapshot's id.
    async fn keep(store: &Memory, machine: &str, pages: &[&[u8]]) -> Id {
        let chunks: Vec<_> = pages.iter().filter_map(|page| chunk::pack(page)).collect();
        let size = pages.iter().map(|page| page.len() as u64).sum();
        let ids = chunks.iter().map(|chunk| Some(chunk.id)).collect();
        let meta = Meta {
            saved_ms: 7,
            memory_mib: 1,
            machine: machine.into(),
            flavour: "busybox".into(),
            cmdline: String::new(),
            label: None,
            parent: None,
        };
        let ram = Content::Chunked { size, chunks: ids };
        let sections = vec![
            Entry { name: "ram".into(), version: 1, content: ram },
            meta.section().expect("valid"),
            screen::section("\u{1b}[1;32mroot\u{1b}[0m# ls\r\nfile").expect("valid"),
        ];
        let origin = Origin { engine: "v86".into(), state: 1, image: [3; 32], ram: size };
        let manifest = Manifest::new(origin, sections).expect("valid");
        let record = record::of(&manifest, &manifest.write()).expect("valid");
        store
            .put_chunks(chunks.into_iter().map(|chunk| (chunk.id, chunk.stored)).collect())
            .await
            .expect("kept");
        store.put_snapshot(record, manifest.write()).await.expect("kept");
        let generation = store.head(machine).await.expect("read").map(|head| head.generation);
        store.commit(machine, generation, manifest.id()).await.expect("kept");
        manifest.id()
    }

    fn pages() -> Vec<Vec<u8>> {
        let page = |seed: usize| (0..256 * 1024).map(|at| (at * seed / 7) as u8).collect();
        vec![page(1), page(2), page(3)]
    }

    async fn ask(store: &Memory, request: LibraryRequest) -> LibraryAnswer {
        match answer(store, request).await {
            Reply::Answer(answer) => answer,
            Reply::File(_) => panic!("an answer was expected"),
        }
    }

    async fn file(store: &Memory, id: Id) -> Vec<u8> {
        match answer(store, LibraryRequest::Export { id: id.to_string() }).await {
            Reply::File(file) => file,
            Reply::Answer(answer) => panic!("{answer:?}"),
        }
    }

    fn kind(answer: &LibraryAnswer) -> Option<FaultKind> {
        match answer {
            LibraryAnswer::Failed { fault } => Some(fault.kind),
            _ => None,
        }
    }

    #[test]
    fn an_exported_machine_is_the_same_in_another_browser() {
        run(async {
            let (here, there) = (Memory::new(), Memory::new());
            let pages = pages();
            let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
            let id = keep(&here, "m", &pages).await;
            let LibraryAnswer::Snapshot(taken) = import(&there, &file(&here, id).await).await
            else {
                panic!("imported")
            };
            assert_eq!(taken.id, id.to_string());
            assert_eq!(taken.name.as_deref(), Some("Imported"));
            assert_eq!(taken.screen, "root# ls\nfile");
            assert!(!taken.is_head, "no machine goes on from it by itself");
            let verify = LibraryRequest::Verify { id: taken.id };
            assert_eq!(kind(&ask(&there, verify).await), None);
        });
    }

    #[test]
    fn every_cut_and_every_flipped_byte_of_a_file_is_refused_and_changes_nothing() {
        run(async {
            let (here, there) = (Memory::new(), Memory::new());
            let id = keep(&here, "m", &[&[5; 3000]]).await;
            let whole = file(&here, id).await;
            for end in 0..whole.len() {
                assert!(kind(&import(&there, &whole[..end]).await).is_some(), "cut at {end}");
            }
            for at in 0..whole.len() {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x10;
                // Some bytes of gzip's header mean nothing (RFC 1952): time, flags of the
                // compressor, system.
                if kind(&import(&there, &damaged).await).is_none() {
                    assert!((4..10).contains(&at), "byte {at}");
                    let LibraryAnswer::Snapshots { snapshots } =
                        ask(&there, LibraryRequest::List).await
                    else {
                        panic!("a list")
                    };
                    assert_eq!(snapshots.len(), 1);
                    there.clear().await.expect("cleared");
                }
            }
            assert_eq!(there.list().await.expect("a list"), Vec::new());
        });
    }

    #[test]
    fn own_bytes_are_what_a_removal_frees() {
        run(async {
            let store = Memory::new();
            let pages = pages();
            let first = keep(&store, "a", &[&pages[0], &pages[1]]).await;
            keep(&store, "b", &[&pages[1], &pages[2]]).await;
            let LibraryAnswer::Snapshots { snapshots } = ask(&store, LibraryRequest::List).await
            else {
                panic!("a list")
            };
            let described = snapshots.iter().find(|one| one.id == first.to_string());
            let own = described.expect("there").own_bytes;
            let before = store.usage().await.expect("usage").used;
            ask(&store, LibraryRequest::Remove { id: first.to_string() }).await;
            let freed = before - store.usage().await.expect("usage").used;
            // The manifest goes, too.
            assert!(own > 0 && freed >= own && freed < own + 4096, "{own} {freed}");
        });
    }

    #[test]
    fn a_fork_never_takes_the_place_of_a_machine() {
        run(async {
            let store = Memory::new();
            let first = keep(&store, "a", &[&[1; 100]]).await;
            let second = keep(&store, "b", &[&[2; 100]]).await;
            let fork = |machine: &str| LibraryRequest::Fork {
                id: first.to_string(),
                machine: machine.into(),
            };
            assert_eq!(kind(&ask(&store, fork("b")).await), Some(FaultKind::Busy));
            assert_eq!(store.head("b").await.expect("read").expect("there").current, second);
            assert_eq!(kind(&ask(&store, fork("c")).await), None);
            assert_eq!(store.head("c").await.expect("read").expect("there").current, first);
        });
    }

    #[test]
    fn what_was_shipped_is_not_a_persons() {
        run(async {
            let store = Memory::new();
            keep(&store, "shipped-full.256", &[&[1; 100]]).await;
            let list = ask(&store, LibraryRequest::List).await;
            assert_eq!(list, LibraryAnswer::Snapshots { snapshots: Vec::new() });
        });
    }

    #[test]
    fn a_new_start_sets_the_last_state_aside_and_only_the_last() {
        run(async {
            let store = Memory::new();
            let mut last = None;
            for page in 1..4 {
                last = Some(keep(&store, "m", &[&[page; 100]]).await);
                let head = store.head("m").await.expect("read").expect("there");
                set_aside(&store, &head).await.expect("named");
            }
            let named: Vec<_> = store.list().await.expect("a list");
            let named = named.iter().filter(|record| record.name.as_deref() == Some(SET_ASIDE));
            assert_eq!(named.map(|record| Some(record.id)).collect::<Vec<_>>(), [last]);
        });
    }
}
