//! Protocol values as messages of the structured clone.
//!
//! Both ends of the worker boundary use these two functions, so that there is one answer
//! to what a message looks like: a plain object with a `type`, numbers as numbers, and
//! console bytes as a `Uint8Array` in the property `bytes`, whose buffer is transferred.
#![forbid(unsafe_code)]

use js_sys::{Array, Reflect, Uint8Array};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue};

/// Property that holds a message's bulk data.
const BULK: &str = "bytes";

/// A message and the buffers to be handed over with it, ready for `postMessage`.
///
/// # Errors
/// If the value has a shape that JavaScript cannot hold; the protocol has none.
pub fn encode<T: Serialize>(value: &T) -> Result<(JsValue, Array), String> {
    let serializer = serde_wasm_bindgen::Serializer::new().serialize_maps_as_objects(true);
    let message = value.serialize(&serializer).map_err(|error| error.to_string())?;
    let transfer = Array::new();
    if let Some(bytes) = bulk(&message) {
        transfer.push(&bytes.buffer());
    }
    Ok((message, transfer))
}

/// The value in a received message.
///
/// # Errors
/// If the message is not one of `T`'s.
pub fn decode<T: DeserializeOwned>(message: JsValue) -> Result<T, String> {
    serde_wasm_bindgen::from_value(message).map_err(|error| error.to_string())
}

fn bulk(message: &JsValue) -> Option<Uint8Array> {
    Reflect::get(message, &BULK.into()).ok()?.dyn_into().ok()
}
