//! Bindings to `glue.js`.

use js_sys::{Function, Uint8Array};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/src/glue.js")]
extern "C" {
    /// A file's kept copy, or undefined.
    pub(crate) async fn kept(cache: &str, url: &str) -> JsValue;

    /// Keeps a copy of a file.
    pub(crate) async fn keep(cache: &str, url: &str, bytes: Uint8Array);

    /// A file from the network.
    #[wasm_bindgen(catch)]
    pub(crate) async fn download(
        url: &str,
        mode: &str,
        arrived: &Function,
    ) -> Result<JsValue, JsValue>;
}
