//! What v86 tells while it runs, collected until the next poll.
//!
//! v86 calls these closures from within its own slices, where nothing of the engine may be
//! borrowed. So they only note what happened and wake the worker.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use emulator_disk::Manifest;
use emulator_engine::{ByteQueue, FrameQueue, MTU};
use emulator_guest::log::{Log, Sign};
use emulator_protocol::BootRequest;
use js_sys::{Function, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::disk::Disk;
use crate::image::Parts;

/// Notes of one machine; clones are the same notes.
#[derive(Clone, Default)]
pub(crate) struct Signals(Rc<Notes>);

#[derive(Default)]
struct Notes {
    console: RefCell<VecDeque<u8>>,
    frames: RefCell<Vec<Vec<u8>>>,
    log: RefCell<Log>,
    signs: RefCell<Vec<Sign>>,
    logged: Cell<bool>,
    reset: Cell<bool>,
    halted: Cell<bool>,
    crash: RefCell<Option<String>>,
    waker: RefCell<Option<Waker>>,
}

impl Notes {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Signals {
    /// Has the waker called from now on.
    pub(crate) fn listen(&self, waker: Waker) {
        self.0.waker.replace(Some(waker));
    }

    /// Moves console output as far as there is room; returns how much is left.
    pub(crate) fn drain_console(&self, to: &mut ByteQueue) -> usize {
        let mut console = self.0.console.borrow_mut();
        let (front, back) = console.as_slices();
        let mut moved = to.push(front);
        moved += to.push(back);
        console.drain(..moved);
        console.len()
    }

    /// Moves frames that the guest has sent.
    pub(crate) fn drain_frames(&self, to: &mut FrameQueue) {
        for frame in self.0.frames.take() {
            to.push(frame);
        }
    }

    pub(crate) fn take_signs(&self) -> Vec<Sign> {
        self.0.signs.take()
    }

    /// Whether the kernel log grew since the last call. Console output is no such sign: a
    /// login that fails for ever prints, too.
    pub(crate) fn take_logged(&self) -> bool {
        self.0.logged.replace(false)
    }

    pub(crate) fn was_reset(&self) -> bool {
        self.0.reset.get()
    }

    pub(crate) fn was_halted(&self) -> bool {
        self.0.halted.get()
    }

    pub(crate) fn crash(&self) -> Option<String> {
        self.0.crash.take()
    }

    /// The last lines of the kernel log.
    pub(crate) fn log(&self) -> String {
        self.0.log.borrow().tail()
    }

    /// The closures for `glue.js`. They live as long as the worker, as the machine does.
    pub(crate) fn hooks(&self, disk: Option<&Disk>) -> Object {
        let hooks = Object::new();
        let notes = Rc::clone(&self.0);
        set(
            &hooks,
            "console",
            closure1(move |bytes| {
                notes.console.borrow_mut().extend(bytes.unchecked_into::<Uint8Array>().to_vec());
                notes.wake();
            }),
        );
        let notes = Rc::clone(&self.0);
        set(
            &hooks,
            "frame",
            closure1(move |frame| {
                notes.frames.borrow_mut().push(frame.unchecked_into::<Uint8Array>().to_vec());
                notes.wake();
            }),
        );
        let notes = Rc::clone(&self.0);
        set(
            &hooks,
            "serial",
            closure1(move |byte| {
                notes.logged.set(true);
                let byte = byte.as_f64().unwrap_or_default() as u8;
                if let Some(sign) = notes.log.borrow_mut().feed(byte) {
                    notes.signs.borrow_mut().push(sign);
                    notes.wake();
                }
            }),
        );
        let notes = Rc::clone(&self.0);
        set(
            &hooks,
            "crashed",
            closure1(move |error| {
                notes.crash.replace(Some(error.as_string().unwrap_or_default()));
                notes.wake();
            }),
        );
        let notes = Rc::clone(&self.0);
        set(
            &hooks,
            "reset",
            closure1(move |_| {
                notes.reset.set(true);
                notes.wake();
            }),
        );
        let notes = Rc::clone(&self.0);
        set(
            &hooks,
            "halted",
            closure1(move |_| {
                notes.halted.set(true);
                notes.wake();
            }),
        );
        if let Some(disk) = disk.cloned() {
            let writer = disk.clone();
            let read =
                Closure::<dyn FnMut(f64, f64, Function)>::new(move |offset, length, done| {
                    disk.read(offset as u64, length as usize, done);
                });
            set(&hooks, "read", read.into_js_value());
            let write = Closure::<dyn FnMut(f64, Uint8Array)>::new(
                move |offset: f64, bytes: Uint8Array| writer.write(offset as u64, &bytes.to_vec()),
            );
            set(&hooks, "write", write.into_js_value());
        }
        hooks
    }
}

/// The options that `glue.js` hands to v86. A machine that is about to be restored has its
/// files in its memory already.
pub(crate) fn options(
    request: &BootRequest,
    manifest: &Manifest,
    parts: Option<&Parts>,
    vga_memory: u32,
) -> Object {
    let options = Object::new();
    let cmdline = format!("{} {}", manifest.cmdline, request.cmdline);
    set(&options, "cmdline", cmdline.trim().into());
    set(&options, "memory", (request.memory_mib << 20).into());
    set(&options, "vgaMemory", vga_memory.into());
    set(&options, "mtu", MTU.into());
    let parts = parts.map(|parts| {
        [
            ("kernel", &parts.kernel),
            ("initrd", &parts.initrd),
            ("bios", &parts.bios),
            ("vgaBios", &parts.vgabios),
        ]
    });
    for (name, bytes) in parts.into_iter().flatten() {
        set(&options, name, Uint8Array::from(&bytes[..]).into());
    }
    let size = manifest.disk.as_ref().map_or(0.0, |disk| disk.size as f64);
    set(&options, "diskSize", size.into());
    options
}

fn closure1(body: impl FnMut(JsValue) + 'static) -> JsValue {
    Closure::<dyn FnMut(JsValue)>::new(body).into_js_value()
}

fn set(object: &Object, name: &str, value: JsValue) {
    Reflect::set(object, &name.into(), &value).expect("a plain object takes every property");
}
