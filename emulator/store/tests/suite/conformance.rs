//! What every store does, written once: run natively against memory, and in a browser
//! against IndexedDB. Each scenario starts by emptying the store.

use std::collections::{BTreeMap, BTreeSet};

use emulator_snapshot::Id;
use emulator_store::{
    BATCH_BYTES, Head, NAME_LIMIT, Record, SCREEN_LIMIT, SnapshotStore, StoreError, Swept,
};
use futures_util::future::join;

/// Runs all scenarios. The two are ways into the same store, as two tabs have them.
pub(crate) async fn conformance<S: SnapshotStore>(store: &S, other: &S) {
    chunks_are_kept(store).await;
    batches_of_every_size_arrive(store).await;
    snapshots_are_kept_and_listed(store).await;
    snapshots_need_their_chunks(store).await;
    heads_move(store).await;
    the_slower_of_two_writers_is_refused(store, other).await;
    a_generation_never_comes_again(store).await;
    removing_falls_back(store).await;
    a_shared_state_leaves_every_head(store).await;
    names_keep(store).await;
    interrupted_saves_change_nothing(store).await;
    a_save_keeps_sweepers_away(store, other).await;
    clearing_leaves_nothing(store).await;
}

/// A machine's name with what a database might trip over.
const MACHINE: &str = "Büro „2“/\u{1F5A5}";

pub(crate) fn chunk(number: u64) -> (Id, Vec<u8>) {
    // Of different lengths, one of them none.
    let bytes = number.to_le_bytes().repeat(number as usize % 64);
    (Id::of(&number.to_le_bytes()), bytes)
}

pub(crate) fn manifest(number: u64) -> Vec<u8> {
    format!("manifest {number}").into_bytes()
}

pub(crate) fn record(number: u64, machine: &str, chunks: &[u64]) -> Record {
    Record {
        id: Id::of(&manifest(number)),
        machine: machine.into(),
        name: None,
        saved_ms: 1_795_000_000_000 + number,
        engine: "v86".into(),
        image: Id::of(b"image").to_string(),
        memory_mib: 512,
        flavour: "full".into(),
        cmdline: String::new(),
        chunks: chunks.iter().map(|number| chunk(*number).0).collect(),
        bytes: 0,
        delta_bytes: 4,
        screen: format!("~ # echo {number}\n"),
    }
}

/// Saves a state and moves the head; returns its id.
async fn save(
    store: &impl SnapshotStore,
    machine: &str,
    expected: Option<u64>,
    number: u64,
    chunks: &[u64],
) -> Id {
    let hold = store.hold().await.unwrap();
    store.put_chunks(chunks.iter().map(|number| chunk(*number)).collect()).await.unwrap();
    let record = record(number, machine, chunks);
    let id = record.id;
    store.put_snapshot(record, manifest(number)).await.unwrap();
    store.commit(machine, expected, id).await.unwrap();
    drop(hold);
    id
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<Id> {
    numbers.into_iter().map(|number| chunk(number).0).collect()
}

/// What is there of some chunks.
async fn present(store: &impl SnapshotStore, numbers: &[u64]) -> Vec<u64> {
    let missing = store.missing(&ids(numbers.iter().copied())).await.unwrap();
    numbers.iter().copied().filter(|number| !missing.contains(&chunk(*number).0)).collect()
}

async fn empty(store: &impl SnapshotStore) {
    store.clear().await.unwrap();
}

async fn chunks_are_kept(store: &impl SnapshotStore) {
    empty(store).await;
    assert_eq!(store.missing(&[]).await.unwrap(), []);
    assert_eq!(store.missing(&ids([3, 1, 3, 2])).await.unwrap(), ids([3, 1, 2]));
    store.put_chunks(vec![chunk(1), chunk(2)]).await.unwrap();
    store.put_chunks(vec![chunk(2), chunk(64)]).await.unwrap();
    assert_eq!(store.missing(&ids([3, 1, 4, 2, 64])).await.unwrap(), ids([3, 4]));
    assert_eq!(store.missing(&ids([2])).await.unwrap(), []);
    assert_eq!(
        store.chunks(&ids([2, 3, 1, 2, 64])).await.unwrap(),
        [Some(chunk(2).1), None, Some(chunk(1).1), Some(chunk(2).1), Some(Vec::new())]
    );
    store.put_chunks(Vec::new()).await.unwrap();
    assert!(store.chunks(&[]).await.unwrap().is_empty());
}

async fn batches_of_every_size_arrive(store: &impl SnapshotStore) {
    empty(store).await;
    let sizes = [BATCH_BYTES / 2, BATCH_BYTES / 2, 1, BATCH_BYTES + 1, 0, BATCH_BYTES];
    let chunks: Vec<(Id, Vec<u8>)> =
        (0_u8..).zip(sizes).map(|(number, size)| (Id::of(&[number]), vec![number; size])).collect();
    store.put_chunks(chunks.clone()).await.unwrap();
    for (id, bytes) in chunks {
        assert!(store.chunks(&[id]).await.unwrap() == [Some(bytes)], "{id}");
    }
    let sum = sizes.iter().sum::<usize>() as u64;
    let swept = store.sweep().await.unwrap();
    assert_eq!(swept, Swept { snapshots: 0, chunks: sizes.len(), bytes: sum });
}

async fn snapshots_are_kept_and_listed(store: &impl SnapshotStore) {
    empty(store).await;
    store.put_chunks(vec![chunk(1), chunk(2)]).await.unwrap();
    let mut young = record(9, MACHINE, &[1, 2, 1]);
    young.name = Some("n".repeat(NAME_LIMIT + 1));
    young.screen = "s".repeat(SCREEN_LIMIT + 1);
    let kept = store.put_snapshot(young.clone(), manifest(9)).await.unwrap();
    let stored = chunk(1).1.len() + chunk(2).1.len() + manifest(9).len();
    let expected = Record {
        name: Some("n".repeat(NAME_LIMIT)),
        screen: "s".repeat(SCREEN_LIMIT),
        chunks: ids([1, 2]),
        bytes: stored as u64,
        ..young
    };
    assert_eq!(kept, expected);
    let old = store.put_snapshot(record(3, "other", &[]), manifest(3)).await.unwrap();
    assert_eq!(store.list().await.unwrap(), [expected.clone(), old.clone()]);
    assert_eq!(store.snapshot(kept.id).await.unwrap(), (expected, manifest(9)));
    assert_eq!(store.snapshot(old.id).await.unwrap(), (old, manifest(3)));
    let unknown = store.snapshot(Id::of(b"unknown")).await;
    assert!(matches!(unknown, Err(StoreError::Missing(_))), "{unknown:?}");
}

async fn snapshots_need_their_chunks(store: &impl SnapshotStore) {
    empty(store).await;
    store.put_chunks(vec![chunk(1)]).await.unwrap();
    let result = store.put_snapshot(record(1, MACHINE, &[1, 2]), manifest(1)).await;
    assert!(matches!(result, Err(StoreError::Missing(_))), "{result:?}");
    assert_eq!(store.list().await.unwrap(), []);
    let result = store.commit(MACHINE, None, record(1, MACHINE, &[]).id).await;
    assert!(matches!(result, Err(StoreError::Missing(_))), "{result:?}");
    assert_eq!(store.machines().await.unwrap(), []);
}

async fn heads_move(store: &impl SnapshotStore) {
    empty(store).await;
    assert_eq!(store.head(MACHINE).await.unwrap(), None);
    let first = save(store, MACHINE, None, 1, &[1]).await;
    let second = save(store, MACHINE, Some(1), 2, &[1, 2]).await;
    let head = |generation, current, previous| Head {
        machine: MACHINE.into(),
        generation,
        current,
        previous,
    };
    assert_eq!(store.head(MACHINE).await.unwrap(), Some(head(2, second, Some(first))));
    let again = store.commit(MACHINE, Some(2), second).await.unwrap();
    assert_eq!(again, head(3, second, Some(first)), "taking over only counts");
    let other = save(store, "a", None, 3, &[]).await;
    let names: Vec<String> =
        store.machines().await.unwrap().into_iter().map(|head| head.machine).collect();
    assert_eq!(names, [MACHINE, "a"]);
    assert_eq!(store.head("a").await.unwrap().unwrap().current, other);
    // A fork starts from another machine's state.
    let fork = store.commit("fork", None, first).await.unwrap();
    assert_eq!((fork.generation, fork.current, fork.previous), (1, first, None));
}

async fn the_slower_of_two_writers_is_refused(
    one: &impl SnapshotStore,
    other: &impl SnapshotStore,
) {
    empty(one).await;
    let first = save(one, MACHINE, None, 1, &[1]).await;
    // The other takes the machine over, and the one does not know yet.
    let seen = other.head(MACHINE).await.unwrap().unwrap();
    assert_eq!(seen.current, first);
    other.commit(MACHINE, Some(seen.generation), seen.current).await.unwrap();
    one.put_snapshot(record(2, MACHINE, &[1]), manifest(2)).await.unwrap();
    let late = one.commit(MACHINE, Some(1), record(2, MACHINE, &[]).id).await;
    assert_eq!(late, Err(StoreError::Superseded { found: Some(2) }));
    let blind = one.commit(MACHINE, None, first).await;
    assert_eq!(blind, Err(StoreError::Superseded { found: Some(2) }));
    let early = one.commit("new", Some(1), first).await;
    assert_eq!(early, Err(StoreError::Superseded { found: None }));
    assert_eq!(one.head(MACHINE).await.unwrap().unwrap().current, first);
    let third = save(other, MACHINE, Some(2), 3, &[1, 3]).await;
    let head = one.head(MACHINE).await.unwrap().unwrap();
    assert_eq!((head.generation, head.current), (3, third));
    one.sweep().await.unwrap();
    assert_eq!(present(one, &[1, 3]).await, [1, 3]);
    // At the same time: one of them wins, whichever.
    let (a, b) =
        join(one.commit(MACHINE, Some(3), first), other.commit(MACHINE, Some(3), third)).await;
    let refused = Err(StoreError::Superseded { found: Some(4) });
    assert!(a.is_ok() && b == refused || b.is_ok() && a == refused, "{a:?} {b:?}");
    assert_eq!(one.head(MACHINE).await.unwrap().unwrap().generation, 4);
}

async fn a_generation_never_comes_again(store: &impl SnapshotStore) {
    empty(store).await;
    let first = save(store, MACHINE, None, 1, &[]).await;
    store.remove(first).await.unwrap();
    assert_eq!(store.head(MACHINE).await.unwrap(), None);
    assert_eq!(store.machines().await.unwrap(), []);
    let late = store.commit(MACHINE, Some(1), first).await;
    assert_eq!(late, Err(StoreError::Superseded { found: None }));
    save(store, MACHINE, None, 2, &[]).await;
    let late = store.commit(MACHINE, Some(1), first).await;
    assert_eq!(late, Err(StoreError::Superseded { found: Some(2) }));
}

async fn removing_falls_back(store: &impl SnapshotStore) {
    empty(store).await;
    let unknown = store.remove(Id::of(b"unknown")).await;
    assert!(matches!(unknown, Err(StoreError::Missing(_))), "{unknown:?}");

    let first = save(store, MACHINE, None, 1, &[1]).await;
    let second = save(store, MACHINE, Some(1), 2, &[2]).await;
    store.remove(second).await.unwrap();
    let head = store.head(MACHINE).await.unwrap().unwrap();
    assert_eq!((head.generation, head.current, head.previous), (2, first, None));
    assert_eq!(present(store, &[1, 2]).await, [1, 2], "chunks go with the next sweep");
    store.sweep().await.unwrap();
    assert_eq!(present(store, &[1, 2]).await, [1]);

    let third = save(store, MACHINE, Some(2), 3, &[3]).await;
    store.remove(first).await.unwrap();
    let head = store.head(MACHINE).await.unwrap().unwrap();
    assert_eq!((head.generation, head.current, head.previous), (3, third, None));

    store.remove(third).await.unwrap();
    assert_eq!(store.head(MACHINE).await.unwrap(), None);
    assert_eq!(store.list().await.unwrap(), []);
    assert_eq!(store.sweep().await.unwrap().chunks, 2);
}

async fn a_shared_state_leaves_every_head(store: &impl SnapshotStore) {
    empty(store).await;
    let first = save(store, MACHINE, None, 1, &[1]).await;
    store.commit("fork", None, first).await.unwrap();
    let second = save(store, MACHINE, Some(1), 2, &[2]).await;
    store.remove(first).await.unwrap();
    let heads = store.machines().await.unwrap();
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert_eq!((heads[0].current, heads[0].previous), (second, None));
}

async fn names_keep(store: &impl SnapshotStore) {
    empty(store).await;
    let first = save(store, MACHINE, None, 1, &[1]).await;
    store.rename(first, Some("x".repeat(NAME_LIMIT + 1))).await.unwrap();
    assert_eq!(store.snapshot(first).await.unwrap().0.name, Some("x".repeat(NAME_LIMIT)));
    // The same state saved again keeps its name, or gets a new one.
    store.put_snapshot(record(1, MACHINE, &[1]), manifest(1)).await.unwrap();
    assert!(store.snapshot(first).await.unwrap().0.name.is_some());
    let named = Record { name: Some("vor dem Umbau".into()), ..record(1, MACHINE, &[1]) };
    store.put_snapshot(named, manifest(1)).await.unwrap();
    let kept = store.snapshot(first).await.unwrap();
    assert_eq!(kept.0.name.as_deref(), Some("vor dem Umbau"));
    assert_eq!((kept.0.chunks, kept.1), (ids([1]), manifest(1)), "renaming keeps the rest");

    save(store, MACHINE, Some(1), 2, &[2]).await;
    save(store, MACHINE, Some(2), 3, &[3]).await;
    assert_eq!(store.sweep().await.unwrap(), Swept::default());
    store.rename(first, None).await.unwrap();
    let bytes = chunk(1).1.len() as u64;
    assert_eq!(store.sweep().await.unwrap(), Swept { snapshots: 1, chunks: 1, bytes });
    let gone = store.rename(first, None).await;
    assert!(matches!(gone, Err(StoreError::Missing(_))), "{gone:?}");
}

async fn interrupted_saves_change_nothing(store: &impl SnapshotStore) {
    empty(store).await;
    let first = save(store, MACHINE, None, 1, &[1, 2]).await;
    let before = (store.machines().await.unwrap(), store.list().await.unwrap());

    // The tab dies after some chunks …
    let hold = store.hold().await.unwrap();
    store.put_chunks(vec![chunk(3), chunk(4)]).await.unwrap();
    drop(hold);
    assert_eq!((store.machines().await.unwrap(), store.list().await.unwrap()), before);
    let bytes = (chunk(3).1.len() + chunk(4).1.len()) as u64;
    assert_eq!(store.sweep().await.unwrap(), Swept { snapshots: 0, chunks: 2, bytes });

    // … and once more before the head has moved.
    let hold = store.hold().await.unwrap();
    store.put_chunks(vec![chunk(3)]).await.unwrap();
    store.put_snapshot(record(2, MACHINE, &[1, 3]), manifest(2)).await.unwrap();
    drop(hold);
    assert_eq!(store.head(MACHINE).await.unwrap().unwrap().current, first);
    let bytes = chunk(3).1.len() as u64;
    assert_eq!(store.sweep().await.unwrap(), Swept { snapshots: 1, chunks: 1, bytes });
    assert_eq!((store.machines().await.unwrap(), store.list().await.unwrap()), before);
    assert_eq!(present(store, &[1, 2, 3]).await, [1, 2]);
    assert_eq!(store.sweep().await.unwrap(), Swept::default());
}

async fn a_save_keeps_sweepers_away<S: SnapshotStore>(store: &S, other: &S) {
    empty(store).await;
    let (one, two) = (store.hold().await.unwrap(), other.hold().await.unwrap());
    store.put_chunks(vec![chunk(1)]).await.unwrap();
    for save in [one, two] {
        assert_eq!(other.sweep().await.unwrap(), Swept::default());
        assert_eq!(store.sweep().await.unwrap(), Swept::default());
        assert_eq!(other.clear().await, Err(StoreError::InUse));
        drop(save);
    }
    assert_eq!(present(store, &[1]).await, [1]);
    assert_eq!(other.sweep().await.unwrap().chunks, 1);
}

async fn clearing_leaves_nothing(store: &impl SnapshotStore) {
    empty(store).await;
    let id = save(store, MACHINE, None, 1, &[1, 2]).await;
    store.rename(id, Some("kept".into())).await.unwrap();
    store.clear().await.unwrap();
    assert_eq!(store.list().await.unwrap(), []);
    assert_eq!(store.machines().await.unwrap(), []);
    assert_eq!(present(store, &[1, 2]).await, [0; 0]);
    // A writer that goes on finds out.
    let late = store.commit(MACHINE, Some(1), id).await;
    assert_eq!(late, Err(StoreError::Superseded { found: None }));
}

/// Numbers that look random and are the same every time (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Does `steps` random things, and checks after each that whatever a head or a name keeps is
/// there with all of its chunks, and after a sweep that nothing else is.
pub(crate) async fn nothing_needed_is_lost(store: &impl SnapshotStore, seed: u64, steps: usize) {
    const MACHINES: [&str; 2] = ["a", "b"];
    const CHUNKS: u64 = 12;
    empty(store).await;
    let mut dice = Dice(seed);
    let mut names: BTreeMap<Id, String> = BTreeMap::new();
    for step in 0..steps as u64 {
        let machine = MACHINES[dice.next(2) as usize];
        let known = store.list().await.unwrap();
        let some = (!known.is_empty()).then(|| known[dice.next(known.len() as u64) as usize].id);
        match dice.next(10) {
            // A save, complete or ended early.
            0..=4 => {
                let chunks: Vec<u64> = (0..CHUNKS).filter(|_| dice.next(3) == 0).collect();
                let progress = dice.next(4);
                let hold = store.hold().await.unwrap();
                let missing = store.missing(&ids(chunks.iter().copied())).await.unwrap();
                let new = chunks.iter().map(|number| chunk(*number));
                store
                    .put_chunks(new.filter(|(id, _)| missing.contains(id)).collect())
                    .await
                    .unwrap();
                if progress > 0 {
                    let record = record(step, machine, &chunks);
                    let id = record.id;
                    store.put_snapshot(record, manifest(step)).await.unwrap();
                    if progress > 1 {
                        let head = store.head(machine).await.unwrap();
                        let expected = head.map(|head| head.generation);
                        store.commit(machine, expected, id).await.unwrap();
                    }
                }
                drop(hold);
            }
            5 => {
                if let Some(id) = some {
                    store.rename(id, Some(format!("{step}"))).await.unwrap();
                    names.insert(id, format!("{step}"));
                }
            }
            6 => {
                if let Some(id) = some {
                    store.rename(id, None).await.unwrap();
                    names.remove(&id);
                }
            }
            7 => {
                if let Some(id) = some {
                    store.remove(id).await.unwrap();
                    names.remove(&id);
                }
            }
            8 => {
                let late = store.commit(machine, Some(u64::MAX), Id::of(b"late")).await;
                assert!(matches!(late, Err(StoreError::Superseded { .. })), "{late:?}");
            }
            _ => {
                store.sweep().await.unwrap();
                check(store, &names, CHUNKS, true).await;
            }
        }
        check(store, &names, CHUNKS, false).await;
    }
}

async fn check(
    store: &impl SnapshotStore,
    names: &BTreeMap<Id, String>,
    all_chunks: u64,
    swept: bool,
) {
    let heads = store.machines().await.unwrap();
    let mut needed: BTreeSet<Id> =
        heads.iter().flat_map(|head| head.previous.into_iter().chain([head.current])).collect();
    needed.extend(names.keys());
    let mut chunks = BTreeSet::new();
    for id in &needed {
        let (record, _) = store.snapshot(*id).await.unwrap();
        assert_eq!(record.name.as_ref(), names.get(id));
        chunks.extend(record.chunks);
    }
    let chunks: Vec<Id> = chunks.into_iter().collect();
    assert_eq!(store.missing(&chunks).await.unwrap(), []);
    if swept {
        let left: BTreeSet<Id> =
            store.list().await.unwrap().iter().map(|record| record.id).collect();
        assert_eq!(left, needed);
        let missing = store.missing(&ids(0..all_chunks)).await.unwrap();
        assert_eq!(missing.len() + chunks.len(), all_chunks as usize);
    }
}
