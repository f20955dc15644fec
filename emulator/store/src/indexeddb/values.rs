//! What lies in the object stores, as JavaScript values.

use emulator_snapshot::Id;
use js_sys::{Object, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};

use crate::browser::part;
use crate::rules::Standing;
use crate::{Record, StoreError};

/// Properties of a value in `snapshots`.
const RECORD: &str = "record";
const LIST: &str = "chunks";
const MANIFEST: &str = "manifest";

/// A value of `snapshots`.
pub(super) fn entry(record: &Record, manifest: &Uint8Array) -> Object {
    let (text, list) = record.encode();
    let entry = Object::new();
    set(&entry, RECORD, &text.into());
    set(&entry, LIST, &Uint8Array::from(&list[..]));
    set(&entry, MANIFEST, manifest);
    entry
}

/// The record in a value of `snapshots`.
pub(super) fn read_record(id: Id, entry: &JsValue) -> Result<Record, StoreError> {
    let text = part(entry, RECORD).and_then(|text| text.as_string());
    let list = part(entry, LIST).and_then(|list| bytes(&list));
    match (text, list) {
        (Some(text), Some(list)) => Record::decode(id, &text, &list),
        _ => Err(damaged("the record of state", id)),
    }
}

pub(super) fn standing(value: &JsValue) -> Result<Standing, StoreError> {
    Standing::decode(&value.as_string().unwrap_or_default())
}

pub(super) fn id(text: &str) -> Option<Id> {
    text.parse().ok()
}

pub(super) fn bytes(value: &JsValue) -> Option<Vec<u8>> {
    value.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec)
}

pub(super) fn size(value: &JsValue) -> u64 {
    value.as_f64().unwrap_or_default() as u64
}

fn set(object: &Object, name: &str, value: &JsValue) {
    Reflect::set(object, &name.into(), value).expect("a plain object takes every property");
}

pub(super) fn damaged(what: &str, id: Id) -> StoreError {
    StoreError::Corrupt(format!("{what} {id}"))
}

/// The same value with another record; the list of chunks stays.
pub(super) fn with_record(entry: JsValue, record: &Record) -> JsValue {
    set(entry.unchecked_ref(), RECORD, &record.encode().0.into());
    entry
}

/// The manifest in a value of `snapshots`.
pub(super) fn read_manifest(id: Id, entry: &JsValue) -> Result<Vec<u8>, StoreError> {
    let manifest = part(entry, MANIFEST).and_then(|manifest| bytes(&manifest));
    manifest.ok_or_else(|| damaged("the manifest of state", id))
}
