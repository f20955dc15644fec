//! One file, from the browser's cache storage or over the network.

use std::fmt::Display;
use std::rc::Rc;

use emulator_guest::files::{absent, corrupt, unreachable};
use emulator_protocol::Fault;
use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::glue;
use crate::meter::Meter;

/// The cache storage of the image's files. All of them have names made of their content,
/// so an entry never goes stale.
const CACHE: &str = "vivarium-image-1";

/// Fetches an immutable file. `decode` verifies it and makes of it what the caller wants.
///
/// A kept copy that does not verify is fetched anew; a fetched one once more, past all
/// caches, because a cache on the way may be what broke it.
///
/// # Errors
/// When the file cannot be had, or is not what it should be.
pub(crate) async fn verified<T, E: Display>(
    url: &str,
    meter: &Rc<Meter>,
    decode: impl Fn(&[u8]) -> Result<T, E>,
) -> Result<T, Fault> {
    if let Ok(copy) = glue::kept(CACHE, url).await.dyn_into::<Uint8Array>()
        && let Ok(value) = decode(&copy.to_vec())
    {
        meter.load(u64::from(copy.length()));
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
            Err(error) => last = error.to_string(),
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
    meter.request();
    let counter = Rc::clone(meter);
    let arrived = Closure::<dyn FnMut(f64)>::new(move |bytes: f64| counter.fetch(bytes as u64));
    let result = glue::download(url, mode, arrived.as_ref().unchecked_ref()).await;
    result.map(JsCast::unchecked_into).map_err(|error| missing(url, &error))
}

fn missing(url: &str, error: &JsValue) -> Fault {
    let status = Reflect::get(error, &"status".into()).ok().and_then(|status| status.as_f64());
    let fault = if status == Some(404.0) { absent } else { unreachable };
    fault(url, message(error))
}

/// What a thrown value says of itself.
#[must_use]
pub fn message(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{error:?}"),
    }
}
