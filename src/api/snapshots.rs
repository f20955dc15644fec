//! `vivarium.snapshots`: saved machines for programs. Asks nobody, as the rest of the object;
//! but a restore that would end a running machine checks the snapshot before.

use std::rc::Rc;

use emulator_protocol::{Fault, FaultKind, Party, Snapshot};
use js_sys::{Array, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use web_sys::Blob;

use super::{Face, INVALID, error, fault_error, number, put};
use crate::engines;
use crate::library::{Library, file, words};
use crate::session::Session;

/// The object.
pub(super) fn object(session: Session, library: Library, face: &Rc<Face>) -> Object {
    let object = Object::new();
    put(&object, "save", &one(move |options| save(session, library, options)));
    put(&object, "list", &none(move || list(library)));
    put(&object, "usage", &none(move || usage(library)));
    let face = Rc::clone(face);
    put(&object, "restore", &one(move |id| restore(session, library, Rc::clone(&face), id)));
    put(&object, "fork", &two(move |id, machine| fork(library, id, machine)));
    put(&object, "remove", &one(move |id| remove(library, id)));
    put(&object, "rename", &two(move |id, name| rename(library, id, name)));
    put(&object, "verify", &one(move |id| verify(library, id)));
    put(&object, "export", &one(move |id| export(library, id)));
    put(&object, "import", &one(move |file| import(library, file)));
    object
}

type Answer = Result<JsValue, JsValue>;

async fn save(session: Session, library: Library, options: JsValue) -> Answer {
    let name = if absent(&options) {
        JsValue::UNDEFINED
    } else {
        Reflect::get(&options, &"name".into()).unwrap_or(JsValue::UNDEFINED)
    };
    let name = optional_name("save", &name)?;
    let state = session.state();
    if !state.is_live() || !engines::is_real(state.engine) {
        return Err(fault_error(&nothing_runs()));
    }
    let saved = session.save(name).await.map_err(told)?;
    library.changed();
    let object = described(&saved.snapshot);
    put(&object, "pauseMs", &saved.pause_ms.into());
    put(&object, "tookMs", &saved.took_ms.into());
    Ok(object.into())
}

async fn list(library: Library) -> Answer {
    let snapshots = library.list().await.map_err(told)?;
    Ok(snapshots.iter().map(described).collect::<Array>().into())
}

async fn usage(library: Library) -> Answer {
    let usage = library.usage().await.map_err(told)?;
    let object = Object::new();
    put(&object, "used", &number(usage.used));
    put(&object, "quota", &number(usage.quota));
    put(&object, "persisted", &usage.persisted.into());
    Ok(object.into())
}

async fn restore(session: Session, library: Library, face: Rc<Face>, id: JsValue) -> Answer {
    let id = text("restore", "id", &id)?;
    let state = session.state();
    let check = state.is_live() && engines::is_real(state.engine);
    let snapshot = library.ready(id, check).await.map_err(told)?;
    JsFuture::from(face.promise(|| session.restore(&snapshot))).await
}

async fn fork(library: Library, id: JsValue, machine: JsValue) -> Answer {
    let id = text("fork", "id", &id)?;
    let machine = if absent(&machine) {
        let all = library.list().await.map_err(told)?;
        let snapshot = all.iter().find(|snapshot| snapshot.id == id);
        let snapshot = snapshot.ok_or_else(|| told(words::missing(&id)))?;
        words::proposed(&snapshot.machine, |name| library.is_taken(name, &all))
    } else {
        words::machine_name(&text("fork", "machine", &machine)?).map_err(invalid)?
    };
    let forked = library.fork(id, machine.clone()).await.map_err(told)?;
    // The snapshot is still the first machine's; the program wants to know the second.
    Ok(described(&Snapshot { machine, is_head: true, ..forked }).into())
}

async fn remove(library: Library, id: JsValue) -> Answer {
    let id = text("remove", "id", &id)?;
    library.remove(id).await.map_err(told)?;
    Ok(JsValue::UNDEFINED)
}

async fn rename(library: Library, id: JsValue, name: JsValue) -> Answer {
    let id = text("rename", "id", &id)?;
    let name = optional_name("rename", &name)?;
    library.rename(id, name).await.map_err(told)?;
    Ok(JsValue::UNDEFINED)
}

async fn verify(library: Library, id: JsValue) -> Answer {
    let id = text("verify", "id", &id)?;
    Ok(described(&library.verify(id).await.map_err(told)?).into())
}

async fn export(library: Library, id: JsValue) -> Answer {
    let id = text("export", "id", &id)?;
    let bytes = library.export(id).await.map_err(told)?;
    Ok(file::blob(&bytes).map_err(told)?.into())
}

async fn import(library: Library, file: JsValue) -> Answer {
    let blob: Blob =
        file.dyn_into().map_err(|_| invalid("import: what is given is no Blob or File."))?;
    let bytes = file::read(&blob).await.map_err(told)?;
    Ok(described(&library.import(bytes).await.map_err(told)?).into())
}

fn described(snapshot: &Snapshot) -> Object {
    let object = Object::new();
    let name = snapshot.name.as_deref().map_or(JsValue::NULL, JsValue::from_str);
    put(&object, "id", &JsValue::from_str(&snapshot.id));
    put(&object, "name", &name);
    put(&object, "machine", &JsValue::from_str(&snapshot.machine));
    put(&object, "savedAt", &number(snapshot.saved_ms));
    put(&object, "engine", &JsValue::from_str(&snapshot.engine));
    put(&object, "memory", &snapshot.memory_mib.into());
    put(&object, "bytes", &number(snapshot.bytes));
    put(&object, "ownBytes", &number(snapshot.own_bytes));
    put(&object, "deltaBytes", &number(snapshot.delta_bytes));
    put(&object, "isHead", &snapshot.is_head.into());
    object
}

fn absent(value: &JsValue) -> bool {
    value.is_undefined() || value.is_null()
}

fn text(function: &str, name: &str, value: &JsValue) -> Result<String, JsValue> {
    let given = value.as_string().filter(|text| !text.is_empty());
    given.ok_or_else(|| invalid(format!("{function}: {name} is {value:?}, which is not a text.")))
}

fn optional_name(function: &str, value: &JsValue) -> Result<Option<String>, JsValue> {
    if absent(value) {
        return Ok(None);
    }
    let name = value.as_string();
    let name = name.ok_or_else(|| {
        invalid(format!("{function}: name is {value:?}, which is not a text or null."))
    })?;
    words::snapshot_name(&name).map_err(invalid)
}

fn invalid(message: impl AsRef<str>) -> JsValue {
    error(INVALID, message.as_ref())
}

fn told(fault: Fault) -> JsValue {
    fault_error(&fault)
}

fn nothing_runs() -> Fault {
    Fault {
        kind: FaultKind::Unsupported,
        party: Party::Host,
        summary: "There is no machine to save.".into(),
        advice: "Start one with a real kernel first.".into(),
        retry: false,
        detail: String::new(),
    }
}

fn none<F: Future<Output = Answer> + 'static>(act: impl Fn() -> F + 'static) -> JsValue {
    Closure::<dyn Fn() -> Promise>::new(move || future_to_promise(act())).into_js_value()
}

fn one<F: Future<Output = Answer> + 'static>(act: impl Fn(JsValue) -> F + 'static) -> JsValue {
    let call = move |value| future_to_promise(act(value));
    Closure::<dyn Fn(JsValue) -> Promise>::new(call).into_js_value()
}

fn two<F: Future<Output = Answer> + 'static>(
    act: impl Fn(JsValue, JsValue) -> F + 'static,
) -> JsValue {
    let call = move |first, second| future_to_promise(act(first, second));
    Closure::<dyn Fn(JsValue, JsValue) -> Promise>::new(call).into_js_value()
}
