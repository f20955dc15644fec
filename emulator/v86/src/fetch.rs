//! Files of the image: kept copy first, then the network, never unverified.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use emulator_protocol::{Fault, FaultKind, Party};
use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::glue;

/// The cache storage of the image's files. All of them have names made of their content,
/// so an entry never goes stale.
const CACHE: &str = "vivarium-image-1";

/// Hears of each piece that arrived; takes the bytes at hand.
pub(crate) type Watcher = Box<dyn Fn(u64)>;

/// Counts what was fetched, and tells who watches the boot.
#[derive(Default)]
pub(crate) struct Meter {
    /// Bytes that crossed the network.
    fetched: Cell<u64>,
    requests: Cell<u64>,
    /// Bytes at hand, kept copies included.
    loaded: Cell<u64>,
    watcher: RefCell<Option<Watcher>>,
}

impl Meter {
    pub(crate) fn fetched(&self) -> u64 {
        self.fetched.get()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    pub(crate) fn loaded(&self) -> u64 {
        self.loaded.get()
    }

    /// Has `watcher` called with [`Meter::loaded`] as it grows; `None` ends that.
    pub(crate) fn watch(&self, watcher: Option<Watcher>) {
        self.watcher.replace(watcher);
    }

    fn arrived(&self, bytes: u64) {
        self.loaded.set(self.loaded.get() + bytes);
        if let Some(watcher) = &*self.watcher.borrow() {
            watcher(self.loaded.get());
        }
    }
}

/// Fetches an immutable file. `decode` verifies it and makes of it what the caller wants.
///
/// A kept copy that does not verify is fetched anew; a fetched one once more, past all
/// caches, because a cache on the way may be what broke it.
///
/// # Errors
/// When the file cannot be had, or is not what it should be.
pub(crate) async fn verified<T>(
    url: &str,
    meter: &Rc<Meter>,
    decode: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<T, Fault> {
    if let Ok(copy) = glue::kept(CACHE, url).await.dyn_into::<Uint8Array>()
        && let Ok(value) = decode(&copy.to_vec())
    {
        meter.arrived(u64::from(copy.length()));
        return Ok(value);
    }
    let mut last = String::new();
    for mode in ["default", "reload"] {
        let bytes = network(url, mode, meter).await?;
        match decode(&bytes.to_vec()) {
            Ok(value) => {
                let url = url.to_owned();
                wasm_bindgen_futures::spawn_local(async move {
                    glue::keep(CACHE, &url, bytes).await;
                });
                return Ok(value);
            }
            Err(error) => last = error,
        }
    }
    Err(corrupt(url, last))
}

/// Fetches a file that may change between visits; the server is asked each time.
///
/// # Errors
/// When the file cannot be had.
pub(crate) async fn current(url: &str, meter: &Rc<Meter>) -> Result<Vec<u8>, Fault> {
    Ok(network(url, "no-cache", meter).await?.to_vec())
}

/// Fetches an immutable file that the caller verifies and keeps.
///
/// # Errors
/// When the file cannot be had.
pub(crate) async fn raw(url: &str, meter: &Rc<Meter>) -> Result<Vec<u8>, Fault> {
    Ok(network(url, "default", meter).await?.to_vec())
}

async fn network(url: &str, mode: &str, meter: &Rc<Meter>) -> Result<Uint8Array, Fault> {
    meter.requests.set(meter.requests() + 1);
    let counter = Rc::clone(meter);
    let arrived = Closure::<dyn FnMut(f64)>::new(move |bytes: f64| {
        counter.fetched.set(counter.fetched() + bytes as u64);
        counter.arrived(bytes as u64);
    });
    let result = glue::download(url, mode, arrived.as_ref().unchecked_ref()).await;
    result.map(JsCast::unchecked_into).map_err(|error| missing(url, &error))
}

fn missing(url: &str, error: &JsValue) -> Fault {
    let status = Reflect::get(error, &"status".into()).ok().and_then(|status| status.as_f64());
    let (summary, advice) = if status == Some(404.0) {
        (
            "A file of the guest image is not on the server.",
            "Try again; if it stays, the image was not built or not uploaded completely (cargo xtask image).",
        )
    } else {
        (
            "A file of the guest image could not be fetched.",
            "Check the connection, then try again; the machine waits.",
        )
    };
    Fault::new(FaultKind::ImageMissing, Party::Image, summary, advice)
        .with_detail(format!("{url}: {}", message(error)))
        .with_retry()
}

fn corrupt(url: &str, error: String) -> Fault {
    Fault::new(
        FaultKind::ImageCorrupt,
        Party::Image,
        "A file of the guest image is damaged.",
        "Try again; if it stays, the copy on the server is broken and must be uploaded anew.",
    )
    .with_detail(format!("{url}: {error}"))
    .with_retry()
}

/// What a thrown value says of itself.
pub(crate) fn message(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{error:?}"),
    }
}
