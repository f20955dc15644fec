//! What a Web Worker's browser offers besides the database: its storage manager, its lock
//! manager, timers. Not for windows.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use js_sys::{Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{StorageEstimate, StorageManager, WorkerGlobalScope};

use crate::{StoreError, Usage};

/// The worker that this program runs in.
pub(crate) fn scope() -> Result<WorkerGlobalScope, StoreError> {
    js_sys::global()
        .dyn_into()
        .map_err(|_| StoreError::Unavailable("it is for workers only".into()))
}

/// What a thrown value says of itself: `QuotaExceededError: …`.
pub(crate) fn words(thrown: &JsValue) -> String {
    match thrown.dyn_ref::<Object>() {
        Some(object) => object.to_string().into(),
        None => format!("{thrown:?}"),
    }
}

/// A thrown value as an error of the store.
pub(crate) fn thrown(value: &JsValue) -> StoreError {
    StoreError::from_words(&words(value))
}

/// A property of an object that not every browser has.
pub(crate) fn part(of: &JsValue, name: &str) -> Option<JsValue> {
    let part = Reflect::get(of, &name.into()).ok()?;
    (!part.is_undefined() && !part.is_null()).then_some(part)
}

/// Ends after some time. Dropped before, it leaves a timer that does nothing.
pub(crate) async fn sleep(time: Duration) {
    let Ok(scope) = scope() else { return };
    let millis = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    let promise = Promise::new(&mut |resolve, _| {
        scope
            .set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, millis)
            .expect("timers exist");
    });
    JsFuture::from(promise).await.ok();
}

/// Wakes those who wait when a browser's event says that something has changed.
#[derive(Default)]
pub(crate) struct Bell(RefCell<Vec<Waker>>);

impl Bell {
    /// Has the task of `context` woken at the next ring.
    pub(crate) fn listen(&self, context: &Context<'_>) {
        let mut wakers = self.0.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
    }

    pub(crate) fn ring(&self) {
        self.0.take().into_iter().for_each(Waker::wake);
    }
}

/// Waits for a future that goes on if nobody waits for it any more.
pub(crate) async fn to_its_end<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
    let end = Rc::new((RefCell::new(None), Bell::default()));
    let task = Rc::clone(&end);
    spawn_local(async move {
        let output = future.await;
        task.0.replace(Some(output));
        task.1.ring();
    });
    poll_fn(|context| match end.0.take() {
        Some(output) => Poll::Ready(output),
        None => {
            end.1.listen(context);
            Poll::Pending
        }
    })
    .await
}

fn storage() -> Result<StorageManager, StoreError> {
    part(&scope()?.navigator(), "storage")
        .map(JsCast::unchecked_into)
        .ok_or_else(|| StoreError::Unavailable("the page is not in a secure context".into()))
}

async fn answer(promise: Result<Promise, JsValue>) -> Result<JsValue, StoreError> {
    let promise = promise.map_err(|error| thrown(&error))?;
    JsFuture::from(promise).await.map_err(|error| thrown(&error))
}

/// Space that this site has and uses.
pub(crate) async fn usage() -> Result<Usage, StoreError> {
    let storage = storage()?;
    let estimate: StorageEstimate = answer(storage.estimate()).await?.unchecked_into();
    let persisted = answer(storage.persisted()).await?.is_truthy();
    let bytes = |count: Option<f64>| count.unwrap_or_default() as u64;
    Ok(Usage { used: bytes(estimate.get_usage()), quota: bytes(estimate.get_quota()), persisted })
}

/// Asks for protection from eviction. The Storage Standard has the method in windows only.
pub(crate) async fn persist() -> Result<bool, StoreError> {
    let storage = storage()?;
    if part(&storage, "persist").is_none() {
        return Err(StoreError::Unsupported);
    }
    Ok(answer(storage.persist()).await?.is_truthy())
}
