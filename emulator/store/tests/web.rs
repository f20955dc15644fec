//! IndexedDB and Web Locks of a real browser, in a dedicated worker, where the store lives.
#![forbid(unsafe_code)]
#![cfg(target_family = "wasm")]

#[path = "suite/conformance.rs"]
mod conformance;

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;

use emulator_snapshot::Id;
use emulator_store::locks::{End, TAKE_OVER_WAIT, Writer};
use emulator_store::{IndexedDb, SnapshotStore, StoreError, Swept};
use futures_util::FutureExt;
use futures_util::future::select;
use js_sys::{Function, Promise};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use conformance::{chunk, manifest, record};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// Runs JavaScript: the other side of the store, where the browser is. `name` is its
/// argument; a promise is waited for.
async fn script(name: &str, body: &str) -> JsValue {
    let function = Function::new_with_args("name", body);
    let result = function.call1(&JsValue::UNDEFINED, &name.into()).unwrap();
    JsFuture::from(Promise::resolve(&result)).await.unwrap()
}

/// A database that no other test knows.
async fn fresh(name: &str) -> IndexedDb {
    let delete = "return new Promise((resolve, reject) => {
        const request = indexedDB.deleteDatabase(name);
        request.onsuccess = resolve;
        request.onerror = reject;
    })";
    script(name, delete).await;
    IndexedDb::open_named(name).await.unwrap()
}

/// Saves a state of machine `m` and moves its head.
async fn save(store: &IndexedDb, expected: Option<u64>, number: u64) -> Result<Id, StoreError> {
    store.put_chunks(vec![chunk(number)]).await?;
    let id = store.put_snapshot(record(number, "m", &[number]), manifest(number)).await?.id;
    Ok(store.commit("m", expected, id).await?.current)
}

#[wasm_bindgen_test]
async fn conforms() {
    let store = fresh("conforms").await;
    let other = IndexedDb::open_named("conforms").await.unwrap();
    conformance::conformance(&store, &other).await;
}

#[wasm_bindgen_test]
async fn nothing_needed_is_lost() {
    let store = fresh("property").await;
    for seed in 1..=4 {
        conformance::nothing_needed_is_lost(&store, seed, 60).await;
    }
}

#[wasm_bindgen_test]
async fn what_was_saved_is_there_after_opening_anew() {
    let store = fresh("again").await;
    let id = save(&store, None, 1).await.unwrap();
    drop(store);
    let store = IndexedDb::open_named("again").await.unwrap();
    assert_eq!(store.head("m").await.unwrap().unwrap().current, id);
    assert_eq!(store.chunks(&[chunk(1).0]).await.unwrap(), [Some(chunk(1).1)]);
}

/// Notes the durability of every transaction that writes.
const SPY: &str = "
    const transaction = IDBDatabase.prototype.transaction;
    const seen = [];
    IDBDatabase.prototype.transaction = function (...args) {
        const result = transaction.apply(this, args);
        if (result.mode === 'readwrite') {
            seen.push([...result.objectStoreNames].join('+') + ' ' + result.durability);
        }
        return result;
    };
    self.unspy = () => {
        IDBDatabase.prototype.transaction = transaction;
        return seen.join(', ');
    };";

#[wasm_bindgen_test]
async fn only_moving_a_head_waits_for_the_disk() {
    let store = fresh("strict").await;
    script("", SPY).await;
    let id = save(&store, None, 1).await.unwrap();
    store.remove(id).await.unwrap();
    let seen = script("", "return self.unspy()").await;
    assert_eq!(
        seen.as_string().unwrap(),
        "chunks+sizes relaxed, sizes+snapshots relaxed, machines+snapshots strict, \
         machines+snapshots strict"
    );
}

/// Lets the next write to an object store happen and then the transaction fail.
const ABORT: &str = "
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function (...args) {
        const request = put.apply(this, args);
        if (this.name === name) {
            IDBObjectStore.prototype.put = put;
            this.transaction.abort();
        }
        return request;
    };";

/// Lets a transaction fail as it does when a disk is full at commit: all its requests have
/// succeeded, and its `error` says why it is aborted all the same.
const FULL: &str = "
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function (...args) {
        const request = put.apply(this, args);
        if (this.name === name) {
            IDBObjectStore.prototype.put = put;
            const { transaction } = this;
            const error = new DOMException('the disk is full', 'QuotaExceededError');
            Object.defineProperty(transaction, 'error', { value: error });
            request.addEventListener('success', () => transaction.abort());
        }
        return request;
    };";

#[wasm_bindgen_test]
async fn an_aborted_transaction_is_an_error_and_the_old_head_stays() {
    let store = fresh("abort").await;
    let first = save(&store, None, 1).await.unwrap();
    for (number, place) in (2..).zip(["chunks", "sizes", "snapshots", "machines"]) {
        script(place, ABORT).await;
        let failed = save(&store, Some(1), number).await;
        assert!(matches!(failed, Err(StoreError::Other(_))), "{place}: {failed:?}");
        script(place, FULL).await;
        assert_eq!(save(&store, Some(1), number).await, Err(StoreError::Quota), "{place}");
        let head = store.head("m").await.unwrap().unwrap();
        assert_eq!((head.generation, head.current), (1, first), "{place}");
    }
    // What the failed saves have left goes, and the next one works.
    let bytes = (4..=5).map(|number| chunk(number).1.len() as u64).sum();
    assert_eq!(store.sweep().await.unwrap(), Swept { snapshots: 1, chunks: 2, bytes });
    save(&store, Some(1), 6).await.unwrap();
}

/// A call into a closure that is gone is an uncaught error, which ends a worker.
#[wasm_bindgen_test]
async fn what_is_dropped_halfway_does_no_harm() {
    const LISTEN: &str = "self.errors = 0; self.addEventListener('error', () => self.errors++)";
    let store = fresh("halfway").await;
    let first = save(&store, None, 1).await.unwrap();
    script("", LISTEN).await;
    for _ in 0..4 {
        // Polled once or twice each, and then dropped.
        assert_eq!(store.chunks(&[chunk(1).0, chunk(2).0]).now_or_never(), None);
        assert_eq!(store.snapshot(first).now_or_never(), None);
        for turns in 0..6 {
            let commit = pin!(store.commit("m", Some(1), Id::of(b"none")));
            let turns = pin!(async {
                for _ in 0..turns {
                    script("", "return new Promise((resolve) => setTimeout(resolve))").await;
                }
            });
            select(commit, turns).await;
        }
        store.put_chunks(vec![chunk(3)]).now_or_never();
    }
    assert_eq!(store.head("m").await.unwrap().unwrap().generation, 1);
    assert_eq!(store.missing(&[chunk(3).0]).await.unwrap(), [chunk(3).0], "it was aborted");
    script("", "return new Promise((resolve) => setTimeout(resolve, 100))").await;
    assert_eq!(script("", "return self.errors").await.as_f64(), Some(0.0));
}

#[wasm_bindgen_test]
async fn a_deleted_database_is_unavailable() {
    let store = fresh("gone").await;
    save(&store, None, 1).await.unwrap();
    let anew = fresh("gone").await;
    let results = [
        store.head("m").await.map(drop),
        store.list().await.map(drop),
        store.missing(&[chunk(1).0]).await.map(drop),
        store.chunks(&[chunk(1).0]).await.map(drop),
        store.put_chunks(vec![chunk(2)]).await,
        store.commit("m", Some(1), chunk(1).0).await.map(drop),
        store.sweep().await.map(drop),
    ];
    for result in results {
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    }
    assert_eq!(anew.machines().await.unwrap(), []);
}

#[wasm_bindgen_test]
async fn a_newer_database_is_refused() {
    drop(fresh("newer").await);
    let upgrade = "return new Promise((resolve) => {
        indexedDB.open(name, 1000).onsuccess = (event) => resolve(event.target.result.close());
    })";
    script("newer", upgrade).await;
    let result = IndexedDb::open_named("newer").await.map(drop);
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
}

#[wasm_bindgen_test]
async fn damaged_values_are_corrupt_and_can_be_removed() {
    let store = fresh("damaged").await;
    let first = save(&store, None, 1).await.unwrap();
    let second = save(&store, Some(1), 2).await.unwrap();
    let damage = format!(
        "return new Promise((resolve) => {{
            const request = indexedDB.open(name);
            request.onsuccess = () => {{
                const transaction = request.result.transaction(['snapshots', 'chunks'], 'readwrite');
                transaction.objectStore('snapshots').put({{ record: '{{' }}, '{second}');
                transaction.objectStore('chunks').put('no bytes', '{}');
                transaction.oncomplete = () => resolve(request.result.close());
            }};
        }})",
        chunk(2).0
    );
    script("damaged", &damage).await;
    for result in [
        store.snapshot(second).await.map(drop),
        store.rename(second, None).await,
        store.chunks(&[chunk(2).0]).await.map(drop),
        store.sweep().await.map(drop),
    ] {
        assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    }
    let listed = store.list().await.unwrap();
    assert_eq!((listed[0].id, listed[1].id, listed.len()), (first, second, 2));
    assert_eq!(listed[1].name.as_deref(), Some(emulator_store::UNREADABLE));
    store.remove(second).await.unwrap();
    assert_eq!(store.head("m").await.unwrap().unwrap().current, first);
    assert_eq!(store.sweep().await.unwrap().chunks, 1);
}

#[wasm_bindgen_test]
async fn usage_is_told_and_persistence_left_to_the_page() {
    let store = fresh("usage").await;
    let usage = store.usage().await.unwrap();
    assert!(usage.quota > usage.used, "{usage:?}");
    assert!(!usage.persisted);
    assert_eq!(store.persist().await, Err(StoreError::Unsupported));
}

#[wasm_bindgen_test]
async fn a_machine_has_one_writer() {
    let writer = Writer::acquire("one").await.unwrap();
    assert_eq!(Writer::acquire("one").await.map(drop), Err(StoreError::InUse));
    Writer::acquire("another").await.unwrap();
    let lost = writer.lost();
    drop(writer);
    assert_eq!(lost.await, End::Released);
    Writer::acquire("one").await.unwrap();
}

fn millis() -> f64 {
    js_sys::Date::now()
}

#[wasm_bindgen_test]
async fn a_writer_that_is_asked_lets_go() {
    for early in [true, false] {
        let writer = Writer::acquire("asked").await.unwrap();
        let lost = writer.lost();
        let slot = Rc::new(RefCell::new(Some(writer)));
        let give = {
            let slot = Rc::clone(&slot);
            move || drop(slot.take())
        };
        if early {
            slot.borrow().as_ref().unwrap().on_release_request(give);
        } else {
            // Asked before it listens: it hears of it when it does.
            let slot = Rc::clone(&slot);
            wasm_bindgen_futures::spawn_local(async move {
                script("", "return new Promise((resolve) => setTimeout(resolve, 500))").await;
                let writer = slot.borrow();
                writer.as_ref().unwrap().on_release_request(give);
            });
        }
        let start = millis();
        let taken = Writer::take_over("asked").await.unwrap();
        assert!(millis() - start < TAKE_OVER_WAIT.as_millis() as f64 / 2.0);
        assert_eq!(lost.await, End::Released);
        assert!(slot.borrow().is_none());
        drop(taken);
    }
}

#[wasm_bindgen_test]
async fn a_deaf_writer_is_robbed_after_a_while_and_refused() {
    let store = fresh("robbed").await;
    let deaf = Writer::acquire("m").await.unwrap();
    let first = save(&store, None, 1).await.unwrap();
    let start = millis();
    let thief = Writer::take_over("m").await.unwrap();
    let waited = millis() - start;
    assert!(waited >= TAKE_OVER_WAIT.as_millis() as f64 - 5.0, "{waited}");
    assert_eq!(deaf.lost().await, End::Stolen);

    let head = store.head("m").await.unwrap().unwrap();
    store.commit("m", Some(head.generation), head.current).await.unwrap();
    assert_eq!(save(&store, Some(1), 2).await, Err(StoreError::Superseded { found: Some(2) }));
    assert_eq!(store.head("m").await.unwrap().unwrap().current, first);
    // The loser's end does not take the lock from the thief.
    drop(deaf);
    assert_eq!(Writer::acquire("m").await.map(drop), Err(StoreError::InUse));
    drop(thief);
}
