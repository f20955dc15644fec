//! The store in memory, and so what both stores share.
#![forbid(unsafe_code)]
#![cfg(not(target_family = "wasm"))]

#[path = "suite/conformance.rs"]
mod conformance;

use std::future::Future;

use emulator_store::{BATCH_BYTES, Memory, SnapshotStore, StoreError, Usage};
use futures_util::FutureExt;

use conformance::{chunk, manifest, record};

/// Memory never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory never waits")
}

#[test]
fn conforms() {
    let store = Memory::new();
    now(conformance::conformance(&store, &store.clone()));
}

#[test]
fn nothing_needed_is_lost() {
    for seed in 1..=64 {
        now(conformance::nothing_needed_is_lost(&Memory::new(), seed, 200));
    }
}

#[test]
fn a_full_store_keeps_the_old_head() {
    let store = Memory::with_quota(2 * BATCH_BYTES as u64);
    now(async {
        store.put_chunks(vec![chunk(1)]).await.unwrap();
        let first = store.put_snapshot(record(1, "m", &[1]), manifest(1)).await.unwrap().id;
        store.commit("m", None, first).await.unwrap();
        let used = store.usage().await.unwrap().used;

        let large = |number: u8| (emulator_snapshot::Id::of(&[number]), vec![number; BATCH_BYTES]);
        let full = store.put_chunks(vec![large(1), large(2), large(3)]).await;
        assert_eq!(full, Err(StoreError::Quota));
        assert_eq!(store.head("m").await.unwrap().unwrap().current, first);
        assert_eq!(store.missing(&[large(1).0, large(2).0]).await.unwrap(), [large(2).0]);

        store.sweep().await.unwrap();
        let usage = Usage { used, quota: 2 * BATCH_BYTES as u64, persisted: false };
        assert_eq!(store.usage().await.unwrap(), usage);
        let tight = vec![0; 2 * BATCH_BYTES];
        let full = store.put_snapshot(record(2, "m", &[1]), tight).await;
        assert_eq!(full, Err(StoreError::Quota));
    });
}
