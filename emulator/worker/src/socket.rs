//! The edge of the network: a WebSocket to the relay, for the machine of this worker.

use std::cell::RefCell;

use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::{BinaryType, CloseEvent, MessageEvent, WebSocket};

use crate::host::{now, soon, with_machine};
use crate::network::{Network, Wish};

/// The second version of WISP, as a subprotocol.
const V2: &str = "wisp-v2";

struct Socket {
    socket: WebSocket,
    _opened: Closure<dyn FnMut()>,
    _message: Closure<dyn FnMut(MessageEvent)>,
    _closed: Closure<dyn FnMut(CloseEvent)>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        // It fails for codes that we do not give.
        let _ = self.socket.close();
    }
}

thread_local! {
    static SOCKET: RefCell<Option<Socket>> = const { RefCell::new(None) };
}

/// Does what the network wishes, and sends what it has to say. True if something waits for
/// the socket to get rid of what it has.
pub(crate) fn serve(network: &mut Network) -> bool {
    network.expire(js_sys::Math::random(), now());
    match network.wish(now()) {
        Some(Wish::Connect { address, v2 }) => connect(network, &address, v2),
        Some(Wish::Close) => drop(SOCKET.take()),
        None => {}
    }
    SOCKET.with_borrow(|socket| {
        let Some(Socket { socket, .. }) = socket else { return false };
        if socket.ready_state() != WebSocket::OPEN {
            return false;
        }
        while let Some(message) = network.next_message(socket.buffered_amount() as usize) {
            // A socket that was closed meanwhile says so by its event.
            let _ = socket.send_with_u8_array(&message);
        }
        socket.buffered_amount() > 0
    })
}

/// Forgets the socket; for the end of a machine.
pub(crate) fn hang_up() {
    SOCKET.take();
}

fn connect(network: &mut Network, address: &str, v2: bool) {
    SOCKET.take();
    let socket = if v2 { WebSocket::new_with_str(address, V2) } else { WebSocket::new(address) };
    match socket {
        Ok(socket) => SOCKET.set(Some(listen(socket))),
        // An address that is none, or that this page must not open.
        Err(error) => {
            let error = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
            network.refused(error.unwrap_or_else(|| "The browser refused the address.".into()));
        }
    }
}

fn listen(socket: WebSocket) -> Socket {
    socket.set_binary_type(BinaryType::Arraybuffer);
    let opened = Closure::<dyn FnMut()>::new(|| {
        let v2 = SOCKET.with_borrow(|socket| {
            socket.as_ref().is_some_and(|socket| socket.socket.protocol() == V2)
        });
        tell(|network| network.opened(v2, now()));
    });
    let message = Closure::<dyn FnMut(MessageEvent)>::new(|event: MessageEvent| {
        // Text has no meaning in this protocol, and is nothing to us.
        if let Ok(buffer) = event.data().dyn_into::<ArrayBuffer>() {
            let bytes = Uint8Array::new(&buffer).to_vec();
            tell(|network| network.message(&bytes, js_sys::Math::random(), now()));
        }
    });
    let closed = Closure::<dyn FnMut(CloseEvent)>::new(|event: CloseEvent| {
        let reason = match event.code() {
            1006 => "It cannot be reached, or does not let this page in.".into(),
            code => format!("It closed the connection ({code}) {}", event.reason()),
        };
        tell(|network| network.closed(reason.trim(), js_sys::Math::random(), now()));
    });
    socket.set_onopen(Some(opened.as_ref().unchecked_ref()));
    socket.set_onmessage(Some(message.as_ref().unchecked_ref()));
    socket.set_onclose(Some(closed.as_ref().unchecked_ref()));
    Socket { socket, _opened: opened, _message: message, _closed: closed }
}

/// Tells the network of the machine, and has the machine looked at.
fn tell(news: impl FnOnce(&mut Network)) {
    with_machine(|machine| machine.network().map(news));
    soon();
}
