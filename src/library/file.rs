//! Files of snapshots between the browser and the page: into memory, out of it, and their
//! names. What is in them is the worker's to read and to check.

use emulator_protocol::{Fault, FaultKind, Party, Snapshot};
use js_sys::{Date, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::Blob;

use super::words;

/// Largest file that is read, in bytes. It is in memory three times on its way to the
/// worker, and a tab has about 4 GiB.
pub(crate) const FILE_LIMIT: u64 = 1 << 30;

/// What is in an exported file, for whoever looks at it from outside.
const CONTENT: &str = "application/gzip";

/// Reads a file that a person or a program has chosen.
///
/// # Errors
/// If it is larger than [`FILE_LIMIT`] (then it is not read), or cannot be read.
pub(crate) async fn read(blob: &Blob) -> Result<Vec<u8>, Fault> {
    let size = blob.size() as u64;
    if size > FILE_LIMIT {
        return Err(too_large(size));
    }
    let buffer = JsFuture::from(blob.array_buffer()).await.map_err(|error| unreadable(&error))?;
    let content = Uint8Array::new(&buffer);
    let length = content.length() as usize;
    let mut bytes = Vec::new();
    // A page that asks for more than there is would be gone; this way it says so.
    bytes.try_reserve_exact(length).map_err(|error| no_memory(&error.to_string()))?;
    bytes.resize(length, 0);
    content.copy_to(&mut bytes);
    Ok(bytes)
}

/// An exported file as the browser handles it.
///
/// # Errors
/// If the browser has no room for it.
pub(crate) fn blob(bytes: &[u8]) -> Result<Blob, Fault> {
    crate::download::blob(bytes, CONTENT).map_err(|error| no_memory(&text(&error)))
}

/// The name of a snapshot's file: its machine, and when it was saved by this browser's clock.
#[must_use]
pub(crate) fn name(snapshot: &Snapshot) -> String {
    let saved = Date::new(&JsValue::from_f64(snapshot.saved_ms as f64));
    let at = [
        saved.get_full_year(),
        saved.get_month() + 1,
        saved.get_date(),
        saved.get_hours(),
        saved.get_minutes(),
    ];
    words::file_name(&snapshot.machine, at)
}

fn too_large(size: u64) -> Fault {
    let limit = FILE_LIMIT >> 30;
    Fault::new(
        FaultKind::SnapshotRefused,
        Party::Snapshot,
        format!("This file has {}, and files above {limit} GiB are not read.", words::size(size)),
        "Choose a file that was exported here; its name ends in .vivarium.",
    )
}

fn unreadable(error: &JsValue) -> Fault {
    Fault::new(
        FaultKind::Resources,
        Party::Host,
        "The browser could not read this file.",
        "See whether it is still where it was, and choose it again.",
    )
    .with_detail(text(error))
}

fn no_memory(detail: &str) -> Fault {
    Fault::new(
        FaultKind::Resources,
        Party::Host,
        "The browser has not enough memory for this file.",
        "Close other tabs, and try again.",
    )
    .with_detail(detail)
}

fn text(error: &JsValue) -> String {
    let told = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    told.unwrap_or_else(|| format!("{error:?}"))
}
