//! Bindings to xterm.js, by way of the glue in `xterm.js` beside this file.

use js_sys::{JsString, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::HtmlElement;

#[wasm_bindgen(module = "/src/terminal/xterm.js")]
extern "C" {
    /// A terminal on the page.
    #[derive(Clone)]
    pub(crate) type Screen;

    /// Opens a terminal in an element; `on` is a [`Callbacks`].
    #[wasm_bindgen(static_method_of = Screen, catch)]
    pub(crate) async fn open(
        host: &HtmlElement,
        font_size: u32,
        screen_reader: bool,
        on: &JsValue,
        history: History,
    ) -> Result<JsValue, JsValue>;

    /// Shows bytes of a machine and answers through `parsed` when they are parsed.
    #[wasm_bindgen(method)]
    pub(crate) fn write(this: &Screen, bytes: Uint8Array, generation: u32);

    /// Forgets everything.
    #[wasm_bindgen(method)]
    pub(crate) fn clear(this: &Screen);

    /// Screen and scrollback as text; a megabyte that Rust has no need to look at.
    #[wasm_bindgen(method)]
    pub(crate) fn text(this: &Screen) -> JsString;

    /// Shows text that no machine has printed.
    #[wasm_bindgen(method)]
    pub(crate) fn paint(this: &Screen, text: &str);

    /// Calls back when all that was written before is parsed: with a text that paints screen
    /// and scrollback again, and with the rows on the screen as plain text.
    #[wasm_bindgen(method)]
    pub(crate) fn capture(this: &Screen, done: JsValue);

    /// Applies settings.
    #[wasm_bindgen(method)]
    pub(crate) fn configure(this: &Screen, font_size: u32, screen_reader: bool);

    /// Takes the colours of the page's theme.
    #[wasm_bindgen(method)]
    pub(crate) fn recolour(this: &Screen);

    /// Puts the keyboard's focus into the terminal.
    #[wasm_bindgen(method)]
    pub(crate) fn focus(this: &Screen);

    /// Goes to the next or previous match.
    #[wasm_bindgen(method)]
    pub(crate) fn find(this: &Screen, term: &str, backwards: bool, incremental: bool) -> bool;

    /// Takes the marks of a search away.
    #[wasm_bindgen(method, js_name = endSearch)]
    pub(crate) fn end_search(this: &Screen);

    /// Holds modifiers for the next key.
    #[wasm_bindgen(method)]
    pub(crate) fn hold(this: &Screen, ctrl: bool, alt: bool);

    /// Types a key of the key bar.
    #[wasm_bindgen(method)]
    pub(crate) fn press(this: &Screen, text: &str, arrow: &str);
}

#[wasm_bindgen(module = "/src/terminal/history.js")]
extern "C" {
    /// Reads the terminal's text, each line once. Handed to [`Screen::open`], because
    /// wasm-bindgen ships only the modules that Rust names.
    pub(crate) type History;

    /// Nothing read yet.
    #[wasm_bindgen(constructor)]
    pub(crate) fn new() -> History;
}

/// What the terminal calls, as an object with one function a name. The functions live as
/// long as the page, as the terminal does.
#[derive(Default)]
pub(crate) struct Callbacks(js_sys::Object);

impl Callbacks {
    /// Adds a function without arguments.
    #[must_use]
    pub(crate) fn call(self, name: &str, act: impl Fn() + 'static) -> Self {
        self.put(name, &Closure::<dyn Fn()>::new(act).into_js_value())
    }

    /// Adds a function of a text.
    #[must_use]
    pub(crate) fn text(self, name: &str, act: impl Fn(String) + 'static) -> Self {
        self.put(name, &Closure::<dyn Fn(String)>::new(act).into_js_value())
    }

    /// Adds a function of two numbers.
    #[must_use]
    pub(crate) fn numbers(self, name: &str, act: impl Fn(f64, f64) + 'static) -> Self {
        self.put(name, &Closure::<dyn Fn(f64, f64)>::new(act).into_js_value())
    }

    /// Adds a function of bytes.
    #[must_use]
    pub(crate) fn bytes(self, name: &str, act: impl Fn(Vec<u8>) + 'static) -> Self {
        let act = move |bytes: Uint8Array| act(bytes.to_vec());
        self.put(name, &Closure::<dyn Fn(Uint8Array)>::new(act).into_js_value())
    }

    /// The object.
    #[must_use]
    pub(crate) fn object(&self) -> &JsValue {
        &self.0
    }

    fn put(self, name: &str, function: &JsValue) -> Self {
        // Setting a property of a plain object cannot fail.
        let _ = js_sys::Reflect::set(&self.0, &name.into(), function);
        self
    }
}
