//! The root disk behind the one that v86 sees: reads wait here for their chunks.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

use emulator_disk::Disk as Layout;
use emulator_guest::disk::Chunked;
use emulator_guest::files::Files;
use emulator_protocol::Fault;
use js_sys::{Function, Uint8Array};
use wasm_bindgen::JsValue;

/// A read of the guest that waits.
struct Read {
    offset: u64,
    length: usize,
    done: Function,
}

/// The state behind the disk that v86 sees.
struct State {
    chunked: Chunked,
    files: Rc<dyn Files>,
    waker: Waker,
    waiting: Vec<Read>,
    fault: Option<Fault>,
}

/// A disk in chunks; clones are the same disk.
#[derive(Clone)]
pub(crate) struct Disk(Rc<RefCell<State>>);

impl Disk {
    pub(crate) fn new(layout: Layout, files: Rc<dyn Files>, waker: Waker) -> Self {
        let chunked = Chunked::new(layout);
        let state = State { chunked, files, waker, waiting: Vec::new(), fault: None };
        Self(Rc::new(RefCell::new(state)))
    }

    /// Answers a read, now or when its chunks are here.
    pub(crate) fn read(&self, offset: u64, length: usize, done: Function) {
        self.0.borrow_mut().waiting.push(Read { offset, length, done });
        self.serve();
        self.fetch_wanted();
    }

    /// Takes a write. v86 has no way to hear that one failed, so one that is not within the
    /// disk has no effect: no kernel writes there.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        self.0.borrow_mut().chunked.write(offset, bytes).ok();
    }

    /// What the guest wrote; see [`Chunked::written`].
    pub(crate) fn written(&self) -> Vec<u8> {
        self.0.borrow().chunked.written()
    }

    /// Takes what [`Disk::written`] gave.
    pub(crate) fn set_written(&self, bytes: &[u8]) -> Result<(), Fault> {
        self.0.borrow_mut().chunked.set_written(bytes)
    }

    /// What stopped the disk, once.
    pub(crate) fn take_fault(&self) -> Option<Fault> {
        self.0.borrow_mut().fault.take()
    }

    /// Whether reads of the guest wait for the network.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.0.borrow().waiting.is_empty()
    }

    /// Asks again for what is missing.
    pub(crate) fn retry(&self) {
        self.fetch_wanted();
    }

    /// Answers the reads whose chunks are all here.
    fn serve(&self) {
        let mut answers = Vec::new();
        {
            let mut state = self.0.borrow_mut();
            let waiting = std::mem::take(&mut state.waiting);
            for read in waiting {
                match state.chunked.read(read.offset, read.length) {
                    Some(bytes) => answers.push((read.done, bytes)),
                    None => state.waiting.push(read),
                }
            }
        }
        // v86 may ask for more from within its callback, so nothing is borrowed here.
        for (done, bytes) in answers {
            let bytes = Uint8Array::from(&bytes[..]);
            if let Err(error) = done.call1(&JsValue::NULL, &bytes) {
                wasm_bindgen::throw_val(error);
            }
        }
    }

    /// Starts the transfers that the waiting reads need, and some ahead.
    fn fetch_wanted(&self) {
        let wanted = {
            let State { chunked, waiting, .. } = &mut *self.0.borrow_mut();
            chunked.wanted(waiting.iter().map(|read| (read.offset, read.length)))
        };
        for index in wanted {
            let disk = self.clone();
            wasm_bindgen_futures::spawn_local(async move { disk.fetch(index).await });
        }
    }

    async fn fetch(&self, index: usize) {
        let chunk = {
            let state = self.0.borrow();
            state.files.chunk(state.chunked.layout(), index)
        };
        let result = chunk.await;
        {
            let mut state = self.0.borrow_mut();
            match result {
                Ok(bytes) => state.chunked.arrived(index, bytes),
                Err(fault) => {
                    // Only a chunk that the guest waits for is worth a fault.
                    if state.chunked.failed(index) {
                        state.fault = Some(fault);
                        state.waker.wake_by_ref();
                    }
                    return;
                }
            }
        }
        self.serve();
        self.fetch_wanted();
    }
}
