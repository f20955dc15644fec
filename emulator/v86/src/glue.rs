//! Bindings to `glue.js`.

use js_sys::{Object, Uint8Array};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/src/glue.js")]
extern "C" {
    /// The loaded code of v86; opaque.
    #[wasm_bindgen(catch)]
    pub(crate) async fn load(base: &str) -> Result<JsValue, JsValue>;

    /// One emulated PC.
    pub(crate) type Machine;

    #[wasm_bindgen(catch, static_method_of = Machine)]
    pub(crate) async fn create(
        code: &JsValue,
        options: &Object,
        hooks: &Object,
    ) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(method)]
    pub(crate) fn run(this: &Machine);

    #[wasm_bindgen(method)]
    pub(crate) fn stop(this: &Machine);

    #[wasm_bindgen(method)]
    pub(crate) fn send(this: &Machine, bytes: Uint8Array) -> u32;

    #[wasm_bindgen(method)]
    pub(crate) fn resize(this: &Machine, columns: u16, rows: u16);

    #[wasm_bindgen(method)]
    pub(crate) fn tell(this: &Machine, bytes: Uint8Array) -> bool;

    #[wasm_bindgen(method)]
    pub(crate) fn deliver(this: &Machine, frame: Uint8Array) -> bool;

    #[wasm_bindgen(method)]
    pub(crate) fn delivered(this: &Machine);

    #[wasm_bindgen(method)]
    pub(crate) fn busy(this: &Machine) -> bool;

    #[wasm_bindgen(method)]
    pub(crate) fn memory(this: &Machine) -> Uint8Array;

    #[wasm_bindgen(method, catch)]
    pub(crate) fn save(this: &Machine) -> Result<Uint8Array, JsValue>;

    #[wasm_bindgen(method, catch)]
    pub(crate) fn restore(this: &Machine, state: Uint8Array) -> Result<(), JsValue>;

    #[wasm_bindgen(method)]
    pub(crate) fn instructions(this: &Machine) -> u32;

    #[wasm_bindgen(method, js_name = hostBytes)]
    pub(crate) fn host_bytes(this: &Machine) -> u32;

    #[wasm_bindgen(method)]
    pub(crate) fn paging(this: &Machine) -> bool;
}
