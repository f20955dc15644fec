//! Who may write: locks between the tabs of a browser (Web Locks), for a Web Worker.
//!
//! ```text
//!  vivarium-machine-<name>   exclusive   the one writer of a machine, for its worker's life
//!  vivarium-store            shared      a save in progress
//!                            exclusive   sweeping and clearing
//! ```
//!
//! A tab that dies gives its locks back. One that lives may be asked to, through a
//! `BroadcastChannel` of the machine's lock's name; if it does not, the lock is stolen. What
//! the loser still writes is refused by [`crate::SnapshotStore::commit`].

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{AbortController, AbortSignal, BroadcastChannel, MessageEvent};

use crate::StoreError;
use crate::browser::{Bell, part, scope, sleep, thrown};

/// How long a machine's writer that is asked to give it up has to save.
pub const TAKE_OVER_WAIT: Duration = Duration::from_secs(5);

const STORE: &str = "vivarium-store";

/// What is said on a machine's channel.
const RELEASE: &str = "release";

#[wasm_bindgen]
extern "C" {
    /// `LockManager`, which web-sys counts among the unstable.
    type Locks;

    #[wasm_bindgen(method, catch)]
    fn request(
        this: &Locks,
        name: &str,
        options: &Object,
        callback: &JsValue,
    ) -> Result<Promise, JsValue>;
}

/// Keeps sweepers away until the guard is dropped; waits for one that is at work.
///
/// # Errors
/// [`StoreError::Refused`] without Web Locks.
pub async fn store_shared() -> Result<Guard, StoreError> {
    let guard = Guard::ask(STORE, &Ask::Shared)?;
    guard.granted().await?;
    Ok(guard)
}

/// Keeps everybody else from the store until the guard is dropped; `None` if a save is in
/// progress.
///
/// # Errors
/// [`StoreError::Refused`] without Web Locks.
pub async fn store_exclusive() -> Result<Option<Guard>, StoreError> {
    settled().await;
    let guard = Guard::ask(STORE, &Ask::IfAvailable)?;
    Ok(guard.granted().await?.then_some(guard))
}

/// The right to write a machine; given back when dropped.
pub struct Writer {
    guard: Guard,
    channel: BroadcastChannel,
    requests: Rc<Requests>,
    _listener: Closure<dyn FnMut(MessageEvent)>,
}

/// What other tabs have asked of a writer.
#[derive(Default)]
struct Requests {
    /// One came before anybody listened.
    waiting: Cell<bool>,
    callback: RefCell<Option<Rc<dyn Fn()>>>,
}

impl Writer {
    /// Becomes the writer of a machine, if it has none.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if it has one, [`StoreError::Refused`] without Web Locks.
    pub async fn acquire(machine: &str) -> Result<Self, StoreError> {
        settled().await;
        let name = lock_name(machine);
        let guard = Guard::ask(&name, &Ask::IfAvailable)?;
        if !guard.granted().await? {
            return Err(StoreError::InUse);
        }
        Self::new(guard, &name)
    }

    /// Becomes the writer of a machine: asks the one it has to save and let go, and after
    /// [`TAKE_OVER_WAIT`] does not ask any more. The machine's head is to be read after this,
    /// and committed as it is, which ends what the old writer may still be writing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without Web Locks.
    pub async fn take_over(machine: &str) -> Result<Self, StoreError> {
        let name = lock_name(machine);
        let stop = AbortController::new().map_err(|error| thrown(&error))?;
        // In the queue before asking: a third tab shall not come between.
        let guard = Guard::ask(&name, &Ask::Wait(stop.signal()))?;
        let channel = BroadcastChannel::new(&name).map_err(|error| thrown(&error))?;
        channel.post_message(&RELEASE.into()).map_err(|error| thrown(&error))?;
        let granted = match select(pin!(guard.granted()), pin!(sleep(TAKE_OVER_WAIT))).await {
            Either::Left((granted, _)) => granted?,
            Either::Right(_) => {
                stop.abort();
                // Granted all the same if it came at the last moment; otherwise this ends
                // with the abort, as an error.
                guard.granted().await.unwrap_or(false)
            }
        };
        channel.close();
        if granted {
            return Self::new(guard, &name);
        }
        let guard = Guard::ask(&name, &Ask::Steal)?;
        guard.granted().await?;
        Self::new(guard, &name)
    }

    /// Has `callback` called, in a task of its own, when another tab wants the machine; at
    /// once if one has asked already. It should save and drop the writer.
    pub fn on_release_request(&self, callback: impl Fn() + 'static) {
        self.requests.callback.replace(Some(Rc::new(callback)));
        if self.requests.waiting.take() {
            self.requests.deliver();
        }
    }

    /// Ends when the right to write does.
    pub fn lost(&self) -> impl Future<Output = End> + use<> {
        let state = Rc::clone(&self.guard.state);
        async move {
            match state.ended().await {
                Ok(()) => End::Released,
                Err(_) => End::Stolen,
            }
        }
    }

    fn new(guard: Guard, name: &str) -> Result<Self, StoreError> {
        let channel = BroadcastChannel::new(name).map_err(|error| thrown(&error))?;
        let requests = Rc::<Requests>::default();
        let heard = Rc::clone(&requests);
        let listener = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
            if message.data().as_string().as_deref() == Some(RELEASE) {
                heard.deliver();
            }
        });
        channel.set_onmessage(Some(listener.as_ref().unchecked_ref()));
        Ok(Self { guard, channel, requests, _listener: listener })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.channel.set_onmessage(None);
        self.channel.close();
    }
}

impl Requests {
    fn deliver(&self) {
        match self.callback.borrow().clone() {
            // Not from within the listener, which the callback may end.
            Some(callback) => spawn_local(async move { callback() }),
            None => self.waiting.set(true),
        }
    }
}

/// How a right to write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was given back.
    Released,
    /// Another tab took it.
    Stolen,
}

fn lock_name(machine: &str) -> String {
    format!("vivarium-machine-{machine}")
}

/// How a lock is asked for.
enum Ask {
    Shared,
    IfAvailable,
    Wait(AbortSignal),
    Steal,
}

impl Ask {
    fn options(&self) -> Object {
        let options = Object::new();
        let set = |name: &str, value: &JsValue| {
            Reflect::set(&options, &name.into(), value)
                .expect("a plain object takes every property");
        };
        match self {
            Self::Shared => set("mode", &"shared".into()),
            Self::IfAvailable => set("ifAvailable", &true.into()),
            Self::Wait(signal) => set("signal", signal),
            Self::Steal => set("steal", &true.into()),
        }
        options
    }
}

/// A lock, or the wish for one; given back when dropped.
pub struct Guard {
    state: Rc<State>,
    /// Resolves the promise that keeps the lock.
    release: Function,
}

/// What has become of the wish.
#[derive(Default)]
struct State {
    granted: Cell<Option<bool>>,
    /// The request is over: the lock given back, or an error, as when it is stolen.
    over: RefCell<Option<Result<(), StoreError>>>,
    bell: Bell,
}

impl State {
    async fn ended(&self) -> Result<(), StoreError> {
        poll_fn(|context| match self.over.borrow().clone() {
            Some(over) => Poll::Ready(over),
            None => {
                self.bell.listen(context);
                Poll::Pending
            }
        })
        .await
    }
}

impl Guard {
    fn ask(name: &str, ask: &Ask) -> Result<Self, StoreError> {
        let none = || StoreError::Refused("the browser has no locks between tabs".into());
        let locks: Locks = part(&scope()?.navigator(), "locks").ok_or_else(none)?.unchecked_into();
        let mut release = None;
        let held = Promise::new(&mut |resolve, _| release = Some(resolve));
        let guard = Self {
            state: Rc::default(),
            release: release.expect("a promise calls its executor at once"),
        };
        let state = Rc::clone(&guard.state);
        // Called once, unless the wish is given up; then it is left to the collector.
        let callback = Closure::once_into_js(move |lock: JsValue| {
            state.granted.set(Some(!lock.is_null()));
            state.bell.ring();
            if lock.is_null() { JsValue::UNDEFINED } else { held.into() }
        });
        let request = locks.request(name, &ask.options(), &callback);
        let request = request.map_err(|error| thrown(&error))?;
        let state = Rc::clone(&guard.state);
        spawn_local(async move {
            let over = JsFuture::from(request).await.map(drop).map_err(|error| thrown(&error));
            state.over.replace(Some(over));
            state.bell.ring();
        });
        Ok(guard)
    }

    /// Waits for the answer: whether the lock is had.
    async fn granted(&self) -> Result<bool, StoreError> {
        poll_fn(|context| {
            if let Some(granted) = self.state.granted.get() {
                return Poll::Ready(Ok(granted));
            }
            if let Some(Err(error)) = &*self.state.over.borrow() {
                return Poll::Ready(Err(error.clone()));
            }
            self.state.bell.listen(context);
            Poll::Pending
        })
        .await
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.release.call0(&JsValue::UNDEFINED).ok();
        if self.state.granted.get() == Some(true) {
            LEAVING.with_borrow_mut(|leaving| {
                leaving.retain(|state| state.over.borrow().is_none());
                leaving.push(Rc::clone(&self.state));
            });
        }
    }
}

thread_local! {
    /// Locks that were dropped here, and that the browser does not know of yet.
    static LEAVING: RefCell<Vec<Rc<State>>> = const { RefCell::new(Vec::new()) };
}

/// Waits until what was dropped here is free: who asks whether a lock is available must not
/// be refused because of itself, as who sweeps after a save would be.
async fn settled() {
    for state in LEAVING.with_borrow(Clone::clone) {
        state.ended().await.ok();
    }
}
