//! `vivarium.network`: the guest's network for programs. What a program decides holds for this
//! visit; what a person has kept stays as it is.

use emulator_protocol::{Blocked, Credentials, Flow, NetworkReport, RelayState};
use js_sys::{Array, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use super::{INVALID, action, error, fault_error, number, put};
use crate::network::intent::is_secure;
use crate::network::policy::Mistake;
use crate::network::relay::Wanted;
use crate::network::{Network, words};

type Answer = Result<(), JsValue>;

/// The object.
pub(super) fn object(network: Network) -> Object {
    let object = Object::new();
    let status = move || status(network);
    put(&object, "status", &Closure::<dyn Fn() -> JsValue>::new(status).into_js_value());
    type Connect = dyn Fn(JsValue, JsValue) -> Answer;
    let connect = move |url, options| connect(network, &url, &options);
    put(&object, "connect", &Closure::<Connect>::new(connect).into_js_value());
    put(&object, "disconnect", &action(move || network.disconnect()));
    put(&object, "reconnect", &action(move || network.reconnect()));
    let policy = move || JsValue::from_str(&network.intent().policy_now());
    put(&object, "policy", &Closure::<dyn Fn() -> JsValue>::new(policy).into_js_value());
    let set = move |text| set_policy(network, &text);
    put(&object, "setPolicy", &Closure::<dyn Fn(JsValue) -> Answer>::new(set).into_js_value());
    put(&object, "capture", &capture(network));
    object
}

/// What is known of the network.
pub(super) fn status(network: Network) -> JsValue {
    network.with_report(|report| described(report).into())
}

fn capture(network: Network) -> Object {
    let object = Object::new();
    let start = move || network.record().map_err(|fault| fault_error(&fault));
    put(&object, "start", &Closure::<dyn Fn() -> Answer>::new(start).into_js_value());
    let stop = move || {
        future_to_promise(async move {
            let bytes = network.stop_recording().await.map_err(|fault| fault_error(&fault))?;
            Ok(Uint8Array::from(&bytes[..]).into())
        })
    };
    put(&object, "stop", &Closure::<dyn Fn() -> Promise>::new(stop).into_js_value());
    object
}

fn connect(network: Network, url: &JsValue, options: &JsValue) -> Answer {
    let url = url.as_string().ok_or_else(|| invalid("connect: the address is not a text."))?;
    let wanted = Wanted::parse(&url, is_secure())
        .map_err(|wrong| invalid(&format!("connect: {}", wrong.words())))?;
    let user = secret(options, "user")?;
    let password = secret(options, "password")?;
    let given = user.is_some() || password.is_some();
    let credentials =
        Credentials { user: user.unwrap_or_default(), password: password.unwrap_or_default() };
    network.visit(wanted, given.then_some(credentials));
    Ok(())
}

fn secret(options: &JsValue, name: &str) -> Result<Option<String>, JsValue> {
    if options.is_undefined() || options.is_null() {
        return Ok(None);
    }
    let value = Reflect::get(options, &name.into()).unwrap_or(JsValue::UNDEFINED);
    if value.is_undefined() || value.is_null() {
        return Ok(None);
    }
    let text = value.as_string();
    // The value itself stays out of the message.
    text.map(Some).ok_or_else(|| invalid(&format!("connect: {name} is not a text.")))
}

fn set_policy(network: Network, text: &JsValue) -> Answer {
    let text = text.as_string().ok_or_else(|| invalid("setPolicy: this is not a text."))?;
    network.set_policy(&text, false).map_err(|mistakes| {
        let told: Vec<_> = mistakes.iter().map(Mistake::told).collect();
        invalid(&format!("setPolicy: {}", told.join(" ")))
    })
}

fn described(report: &NetworkReport) -> Object {
    let object = Object::new();
    put(&object, "relay", &relay(&report.relay));
    put(&object, "address", &optional(report.address.as_deref()));
    put(&object, "lease", &optional(report.lease.as_deref()));
    put(&object, "flows", &report.flows.iter().map(flow).collect::<Array>());
    put(&object, "blocked", &report.blocked.iter().map(blocked).collect::<Array>());
    put(&object, "sent", &number(report.sent));
    put(&object, "received", &number(report.received));
    put(&object, "captured", &report.captured.map_or(JsValue::NULL, number));
    object
}

fn relay(relay: &RelayState) -> Object {
    let object = Object::new();
    put(&object, "type", &words::relay_name(relay).into());
    match relay {
        RelayState::Up { version, udp, greeting } => {
            put(&object, "version", &(*version).into());
            put(&object, "udp", &(*udp).into());
            put(&object, "greeting", &optional(greeting.as_deref()));
        }
        RelayState::BackingOff { retry_ms, reason } => {
            put(&object, "retryMs", &number(*retry_ms));
            put(&object, "reason", &JsValue::from_str(reason));
        }
        RelayState::Refused { reason } | RelayState::AuthenticationNeeded { reason } => {
            put(&object, "reason", &JsValue::from_str(reason));
        }
        RelayState::Off | RelayState::Connecting => {}
    }
    object
}

fn flow(flow: &Flow) -> Object {
    let object = Object::new();
    put(&object, "id", &flow.id.into());
    put(&object, "transport", &words::transport_name(flow.transport).into());
    put(&object, "host", &JsValue::from_str(&flow.host));
    put(&object, "port", &flow.port.into());
    put(&object, "state", &words::flow_name(flow.state).into());
    put(&object, "sent", &number(flow.sent));
    put(&object, "received", &number(flow.received));
    put(&object, "ageMs", &number(flow.age_ms));
    put(&object, "why", &optional(flow.why.as_deref()));
    object
}

fn blocked(blocked: &Blocked) -> Object {
    let object = Object::new();
    put(&object, "host", &JsValue::from_str(&blocked.host));
    put(&object, "port", &blocked.port.into());
    put(&object, "transport", &words::transport_name(blocked.transport).into());
    put(&object, "why", &JsValue::from_str(&blocked.why));
    put(&object, "count", &blocked.count.into());
    object
}

fn optional(text: Option<&str>) -> JsValue {
    text.map_or(JsValue::NULL, JsValue::from_str)
}

fn invalid(message: &str) -> JsValue {
    error(INVALID, message)
}
