//! Transactions that write: what rexie leaves out.
//!
//! rexie cannot ask for durability, reports an aborted transaction as a result without its
//! reason, which is where a full disk shows, and does not hear that the browser has closed
//! the connection. So writing goes through a connection of its own, and through this.
//!
//! A transaction ends by itself as soon as it has nothing to do, so between
//! [`Connection::begin`] and [`Transaction::done`] nothing may be awaited but its own
//! requests, and what is written is made before it begins.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use js_sys::{Array, Object, Reflect};
use wasm_bindgen::prelude::*;
use web_sys::{
    IdbDatabase, IdbObjectStore, IdbOpenDbRequest, IdbRequest, IdbRequestReadyState, IdbTransaction,
};

use crate::StoreError;
use crate::browser::{Bell, part, scope, thrown};

#[wasm_bindgen]
extern "C" {
    /// A database as the Indexed Database API 3.0 has it; web-sys counts the options among
    /// the unstable, which is a flag for the whole build.
    #[wasm_bindgen(extends = IdbDatabase)]
    type Database;

    #[wasm_bindgen(method, catch)]
    fn transaction(
        this: &Database,
        stores: &Array,
        mode: &str,
        options: &Object,
    ) -> Result<IdbTransaction, JsValue>;
}

/// What the browser says if it could not read the database and has begun an empty one.
///
/// Chromium does so with a log that a process left behind that was killed while it wrote, and
/// says it only in the event of the upgrade, by `dataLoss`, which is no part of the standard.
/// The upgrade itself is left to who asks next.
pub(super) async fn loss(name: &str, version: u32) -> Option<String> {
    let factory = scope().ok()?.indexed_db().ok()??;
    let request = factory.open_with_u32(name, version).ok()?;
    let found = Rc::<Cell<Option<String>>>::default();
    let upgrade = {
        let (found, request) = (Rc::clone(&found), request.clone());
        Closure::<dyn FnMut(JsValue)>::new(move |event: JsValue| {
            let said = |name| part(&event, name).and_then(|value| value.as_string());
            if said("dataLoss").is_some_and(|loss| loss != "none") {
                found.set(Some(said("dataLossMessage").unwrap_or_default()));
            }
            if let Some(transaction) = request.transaction() {
                // It fails if it is over already.
                transaction.abort().ok();
            }
        })
    };
    request.set_onupgradeneeded(Some(upgrade.as_ref().unchecked_ref()));
    let opened = answer(&request).await;
    request.set_onupgradeneeded(None);
    if let Ok(database) = opened {
        database.unchecked_into::<IdbDatabase>().close();
    }
    found.take()
}

/// Whether this browser keeps its databases as Chromium does.
pub(super) fn is_chromium() -> bool {
    let event = part(&js_sys::global(), "IDBVersionChangeEvent");
    let prototype = event.and_then(|event| part(&event, "prototype"));
    prototype.is_some_and(|prototype| Reflect::has(&prototype, &"dataLoss".into()).unwrap_or(false))
}

/// When a transaction is complete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// After the system has the data: lost when the power fails.
    Relaxed,
    /// After the disk has the data.
    Strict,
}

/// A connection to a database.
pub(super) struct Connection {
    database: Database,
    closed: Rc<Cell<Option<&'static str>>>,
    _handlers: [Closure<dyn FnMut()>; 2],
}

impl Connection {
    /// Connects to a database in the version that it has.
    pub(super) async fn open(name: &str) -> Result<Self, StoreError> {
        let factory = scope()?.indexed_db().map_err(|error| thrown(&error))?;
        let factory = factory.ok_or_else(|| StoreError::Unavailable("it has none".into()))?;
        let request: IdbOpenDbRequest = factory.open(name).map_err(|error| thrown(&error))?;
        let database = answer(&request).await.map_err(|error| thrown(&error))?;
        let database: Database = database.unchecked_into();
        let closed = Rc::new(Cell::new(None));
        let on_close = {
            let closed = Rc::clone(&closed);
            Closure::new(move || closed.set(Some("the browser has closed the database")))
        };
        let on_change = {
            let (closed, database) = (Rc::clone(&closed), database.clone());
            Closure::new(move || {
                // Whoever deletes or upgrades it waits until all have let go.
                database.unchecked_ref::<IdbDatabase>().close();
                closed.set(Some("another tab has deleted or upgraded the database"));
            })
        };
        database.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        database.set_onversionchange(Some(on_change.as_ref().unchecked_ref()));
        Ok(Self { database: database.unchecked_into(), closed, _handlers: [on_close, on_change] })
    }

    /// `error`, unless the connection is closed: then that.
    pub(super) fn reason(&self, error: StoreError) -> StoreError {
        match self.closed.get() {
            Some(why) => StoreError::Unavailable(why.into()),
            None => error,
        }
    }

    /// Starts to write to these object stores.
    pub(super) fn begin(
        &self,
        stores: &[&str],
        durability: Durability,
    ) -> Result<Transaction, StoreError> {
        if let Some(why) = self.closed.get() {
            return Err(StoreError::Unavailable(why.into()));
        }
        let stores: Array = stores.iter().map(|store| JsValue::from(*store)).collect();
        let options = Object::new();
        let durability = if durability == Durability::Strict { "strict" } else { "relaxed" };
        Reflect::set(&options, &"durability".into(), &durability.into())
            .expect("a plain object takes every property");
        let inner = self.database.transaction(&stores, "readwrite", &options);
        Ok(Transaction::new(inner.map_err(|error| thrown(&error))?, Rc::clone(&self.closed)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.database.set_onclose(None);
        self.database.set_onversionchange(None);
        self.database.unchecked_ref::<IdbDatabase>().close();
    }
}

/// How a transaction ended.
#[derive(Default)]
struct End {
    /// Whether it is complete; aborted if not.
    over: Cell<Option<bool>>,
    bell: Bell,
}

/// A transaction that writes. Dropped before it is done, it is aborted.
pub(super) struct Transaction {
    inner: IdbTransaction,
    closed: Rc<Cell<Option<&'static str>>>,
    end: Rc<End>,
    _handlers: [Closure<dyn FnMut()>; 2],
}

impl Transaction {
    fn new(inner: IdbTransaction, closed: Rc<Cell<Option<&'static str>>>) -> Self {
        let end = Rc::<End>::default();
        let complete = {
            let end = Rc::clone(&end);
            Closure::new(move || {
                end.over.set(Some(true));
                end.bell.ring();
            })
        };
        let abort = {
            let end = Rc::clone(&end);
            Closure::new(move || {
                end.over.set(Some(false));
                end.bell.ring();
            })
        };
        inner.set_oncomplete(Some(complete.as_ref().unchecked_ref()));
        inner.set_onabort(Some(abort.as_ref().unchecked_ref()));
        Self { inner, closed, end, _handlers: [complete, abort] }
    }

    fn store(&self, name: &str) -> Result<IdbObjectStore, StoreError> {
        self.inner.object_store(name).map_err(|error| self.reason(&error))
    }

    /// Why an operation failed. After an abort each one fails because of the abort; the
    /// reason of the abort is another one, and the transaction has it.
    fn reason(&self, error: &JsValue) -> StoreError {
        let reason = match (self.closed.get(), self.inner.error()) {
            (Some(why), _) => return StoreError::Unavailable(why.into()),
            (None, Some(reason)) => thrown(&reason),
            (None, None) => thrown(error),
        };
        match reason {
            // That the transaction is over says nothing about the connection.
            StoreError::Unavailable(why) => StoreError::Other(why),
            reason => reason,
        }
    }

    async fn answer(&self, request: &IdbRequest) -> Result<JsValue, StoreError> {
        answer(request).await.map_err(|error| self.reason(&error))
    }

    /// Writes a value. That it could not be written shows in [`Transaction::done`].
    pub(super) fn put(&self, store: &str, key: &str, value: &JsValue) -> Result<(), StoreError> {
        let put = self.store(store)?.put_with_key(value, &key.into());
        put.map(drop).map_err(|error| self.reason(&error))
    }

    /// Deletes a value. As with [`Transaction::put`].
    pub(super) fn delete(&self, store: &str, key: &str) -> Result<(), StoreError> {
        let delete = self.store(store)?.delete(&key.into());
        delete.map(drop).map_err(|error| self.reason(&error))
    }

    /// Deletes all values. As with [`Transaction::put`].
    pub(super) fn clear(&self, store: &str) -> Result<(), StoreError> {
        self.store(store)?.clear().map(drop).map_err(|error| self.reason(&error))
    }

    /// A value.
    pub(super) async fn value(
        &self,
        store: &str,
        key: &str,
    ) -> Result<Option<JsValue>, StoreError> {
        let request = self.store(store)?.get(&key.into());
        let value = self.answer(&request.map_err(|error| self.reason(&error))?).await?;
        Ok((!value.is_undefined()).then_some(value))
    }

    /// Whether there is a value.
    pub(super) async fn has(&self, store: &str, key: &str) -> Result<bool, StoreError> {
        let request = self.store(store)?.get_key(&key.into());
        let found = self.answer(&request.map_err(|error| self.reason(&error))?).await?;
        Ok(!found.is_undefined())
    }

    /// All keys.
    pub(super) async fn keys(&self, store: &str) -> Result<Vec<String>, StoreError> {
        let request = self.store(store)?.get_all_keys();
        let keys = self.answer(&request.map_err(|error| self.reason(&error))?).await?;
        Ok(texts(&keys))
    }

    /// All keys and values, in the same order, that of the keys.
    pub(super) async fn all(&self, store: &str) -> Result<Vec<(String, JsValue)>, StoreError> {
        let store = self.store(store)?;
        // Both are asked before either is awaited: one way to the database instead of two.
        let keys = store.get_all_keys().map_err(|error| self.reason(&error))?;
        let values = store.get_all().map_err(|error| self.reason(&error))?;
        let keys = self.answer(&keys).await?;
        let values: Array = self.answer(&values).await?.unchecked_into();
        Ok(texts(&keys).into_iter().zip(values.iter()).collect())
    }

    /// Waits until the transaction is complete.
    ///
    /// # Errors
    /// The reason why it was aborted.
    pub(super) async fn done(self) -> Result<(), StoreError> {
        let complete = poll_fn(|context| match self.end.over.get() {
            Some(complete) => Poll::Ready(complete),
            None => {
                self.end.bell.listen(context);
                Poll::Pending
            }
        });
        if complete.await {
            return Ok(());
        }
        Err(self.reason(&"the transaction was aborted".into()))
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.inner.set_oncomplete(None);
        self.inner.set_onabort(None);
        if self.end.over.get().is_none() {
            // It throws if the transaction has aborted by itself: then there is nothing to do.
            self.inner.abort().ok();
        }
    }
}

fn texts(keys: &JsValue) -> Vec<String> {
    let keys: &Array = keys.unchecked_ref();
    keys.iter().map(|key| key.as_string().unwrap_or_default()).collect()
}

/// What listens for the end of a request. The browser would call into nothing if it stayed
/// there longer than its closure, and a worker's uncaught error ends the machine.
struct Listener<'a> {
    request: &'a IdbRequest,
    _handler: Closure<dyn FnMut()>,
}

impl<'a> Listener<'a> {
    fn new(request: &'a IdbRequest, bell: &Rc<Bell>) -> Self {
        let bell = Rc::clone(bell);
        let handler = Closure::<dyn FnMut()>::new(move || bell.ring());
        request.set_onsuccess(Some(handler.as_ref().unchecked_ref()));
        request.set_onerror(Some(handler.as_ref().unchecked_ref()));
        Self { request, _handler: handler }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.request.set_onsuccess(None);
        self.request.set_onerror(None);
    }
}

/// The result of a request, or what it throws. One that fails takes its transaction with it.
async fn answer(request: &IdbRequest) -> Result<JsValue, JsValue> {
    let bell = Rc::default();
    let _listener = Listener::new(request, &bell);
    poll_fn(|context| {
        if request.ready_state() == IdbRequestReadyState::Done {
            return Poll::Ready(());
        }
        bell.listen(context);
        Poll::Pending
    })
    .await;
    match request.error()? {
        Some(error) => Err(error.into()),
        None => request.result(),
    }
}
