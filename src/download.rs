//! Files that the page hands to the browser, which puts them where a person keeps files.

use std::time::Duration;

use js_sys::{Array, Uint8Array};
use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, BlobPropertyBag, HtmlAnchorElement};

/// How long an exported file is kept for the browser's download to begin: a person may be
/// asked for a folder first.
const DOWNLOAD_KEPT: Duration = Duration::from_secs(120);

/// Bytes as the browser handles a file of this content.
///
/// # Errors
/// The browser's own words if it has no room for it.
pub(crate) fn blob(bytes: &[u8], content: &str) -> Result<Blob, JsValue> {
    let options = BlobPropertyBag::new();
    options.set_type(content);
    let parts = Array::of1(&Uint8Array::from(bytes));
    Blob::new_with_u8_array_sequence_and_options(&parts, &options)
}

/// Lets the browser put a file where a person keeps files.
pub(crate) fn download(blob: &Blob, name: &str) {
    // Both fail only outside of a page.
    let Ok(url) = web_sys::Url::create_object_url_with_blob(blob) else { return };
    let Ok(link) = document().create_element("a") else { return };
    let link: HtmlAnchorElement = link.unchecked_into();
    link.set_href(&url);
    link.set_download(name);
    link.click();
    set_timeout(
        move || {
            let _ = web_sys::Url::revoke_object_url(&url);
        },
        DOWNLOAD_KEPT,
    );
}
