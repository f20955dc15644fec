//! The root disk, chunk by chunk, as the guest asks for it.
//!
//! A read of the guest waits until its chunks are here. A chunk that cannot be had stops
//! the disk with a fault, and the reads go on waiting: after a retry they are answered, and
//! the guest never learns that something was wrong.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::task::Waker;

use emulator_disk::{CHUNK_SIZE, Disk, decode_chunk};
use emulator_protocol::Fault;
use js_sys::{Function, Uint8Array};
use wasm_bindgen::JsValue;

use crate::fetch::{self, Meter};
use crate::saving;

/// Chunks that are kept decoded, 16 MiB. The guest has a page cache of its own, so this
/// only needs to cover neighbouring reads.
const KEPT_CHUNKS: usize = 64;

/// Chunks that are on their way at the same time.
const PARALLEL: usize = 4;

/// Chunks that are fetched ahead of a guest that reads on.
const AHEAD: usize = 2;

/// Bytes of a sector, the unit of an IDE disk.
const SECTOR: usize = 512;

/// A read of the guest that waits.
struct Read {
    offset: u64,
    length: usize,
    done: Function,
}

/// The state behind the disk that v86 sees.
struct State {
    layout: Disk,
    /// URL of the chunks' directory, with a final slash.
    base: String,
    meter: Rc<Meter>,
    waker: Waker,
    clean: HashMap<usize, Rc<[u8]>>,
    /// Clean chunks, the least recently fetched first.
    order: VecDeque<usize>,
    /// Sectors that the guest wrote. The image is mounted read-only, so this holds what
    /// somebody writes to the raw device: at most the disk's size, and lost with the machine.
    written: HashMap<u64, [u8; SECTOR]>,
    loading: HashSet<usize>,
    waiting: Vec<Read>,
    last: usize,
    fault: Option<Fault>,
}

/// A disk in chunks; clones are the same disk.
#[derive(Clone)]
pub(crate) struct Chunked(Rc<RefCell<State>>);

impl Chunked {
    pub(crate) fn new(layout: Disk, base: String, meter: Rc<Meter>, waker: Waker) -> Self {
        Self(Rc::new(RefCell::new(State {
            layout,
            base,
            meter,
            waker,
            clean: HashMap::new(),
            order: VecDeque::new(),
            written: HashMap::new(),
            loading: HashSet::new(),
            waiting: Vec::new(),
            last: usize::MAX,
            fault: None,
        })))
    }

    /// Answers a read, now or when its chunks are here.
    pub(crate) fn read(&self, offset: u64, length: usize, done: Function) {
        self.0.borrow_mut().waiting.push(Read { offset, length, done });
        self.serve();
        self.fetch_wanted();
    }

    /// Takes a write, which is of whole sectors as on every IDE disk.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        let first = offset / SECTOR as u64;
        let (sectors, _) = bytes.as_chunks::<SECTOR>();
        let numbered = (first..).zip(sectors.iter().copied());
        self.0.borrow_mut().written.extend(numbered);
    }

    /// What the guest wrote: for each sector its number in 8 bytes, little endian, and its
    /// content, in order.
    pub(crate) fn written(&self) -> Vec<u8> {
        let state = self.0.borrow();
        let mut sectors: Vec<_> = state.written.iter().collect();
        sectors.sort_unstable_by_key(|(number, _)| **number);
        sectors
            .iter()
            .flat_map(|(number, bytes)| number.to_le_bytes().into_iter().chain(**bytes))
            .collect()
    }

    /// Takes what [`Chunked::written`] gave.
    pub(crate) fn set_written(&self, bytes: &[u8]) -> Result<(), Fault> {
        let (records, rest) = bytes.as_chunks::<{ 8 + SECTOR }>();
        if !rest.is_empty() {
            return Err(saving::refused("Its disk ends within a sector.".into()));
        }
        self.0.borrow_mut().written = records
            .iter()
            .filter_map(|record| {
                let (number, sector) = record.split_first_chunk::<8>()?;
                Some((u64::from_le_bytes(*number), sector.try_into().ok()?))
            })
            .collect();
        Ok(())
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
                match state.gather(read.offset, read.length) {
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
        let wanted = self.0.borrow_mut().wanted();
        for index in wanted {
            let disk = self.clone();
            wasm_bindgen_futures::spawn_local(async move { disk.fetch(index).await });
        }
    }

    async fn fetch(&self, index: usize) {
        let (url, id, length, meter) = {
            let state = self.0.borrow();
            let Some(chunk) = &state.layout.chunks[index] else { return };
            let url = format!("{}{}", state.base, chunk.id);
            (url, chunk.id.clone(), state.layout.chunk_length(index), Rc::clone(&state.meter))
        };
        let decode =
            |bytes: &[u8]| decode_chunk(&id, length, bytes).map_err(|error| error.to_string());
        let result = fetch::verified(&url, &meter, decode).await;
        {
            let mut state = self.0.borrow_mut();
            state.loading.remove(&index);
            match result {
                Ok(bytes) => state.keep(index, bytes.into()),
                // Only a chunk that the guest waits for is worth a fault.
                Err(fault) if state.is_needed(index) => {
                    state.fault = Some(fault);
                    state.waker.wake_by_ref();
                    return;
                }
                Err(_) => return,
            }
        }
        self.serve();
        self.fetch_wanted();
    }
}

impl State {
    /// The bytes of a range, if all its chunks are here.
    fn gather(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        for index in self.layout.chunks_of(offset, length as u64) {
            let start = index as u64 * CHUNK_SIZE as u64;
            let from = offset.saturating_sub(start) as usize;
            let to = ((offset + length as u64 - start) as usize).min(CHUNK_SIZE);
            match self.chunk(index)? {
                Some(chunk) => {
                    bytes.extend_from_slice(chunk.get(from..to.min(chunk.len())).unwrap_or(&[]));
                }
                None => bytes.resize(bytes.len() + to - from, 0),
            }
        }
        bytes.resize(length, 0);
        self.overlay(offset, &mut bytes);
        Some(bytes)
    }

    /// Puts what was written over what was read.
    fn overlay(&self, offset: u64, bytes: &mut [u8]) {
        if self.written.is_empty() {
            return;
        }
        let first = offset / SECTOR as u64;
        for (number, sector) in (first..).zip(bytes.as_chunks_mut::<SECTOR>().0) {
            if let Some(written) = self.written.get(&number) {
                *sector = *written;
            }
        }
    }

    /// A chunk: not here, here and all zeros, here with content.
    fn chunk(&self, index: usize) -> Option<Option<&[u8]>> {
        match self.layout.chunks.get(index) {
            Some(Some(_)) => Some(Some(self.clean.get(&index)?)),
            _ => Some(None),
        }
    }

    fn is_needed(&self, index: usize) -> bool {
        self.waiting
            .iter()
            .any(|read| self.layout.chunks_of(read.offset, read.length as u64).contains(&index))
    }

    /// Chunks to fetch now; they are marked as loading.
    fn wanted(&mut self) -> Vec<usize> {
        let mut wanted = Vec::new();
        for read in &self.waiting {
            wanted.extend(self.layout.chunks_of(read.offset, read.length as u64));
        }
        // A guest that reads on after the chunk it read last will want the next ones too.
        if let Some(&first) = wanted.first() {
            if first == self.last.wrapping_add(1) {
                wanted.extend(first + 1..=first + AHEAD);
            }
            self.last = first;
        }
        wanted.retain(|index| {
            self.loading.len() < PARALLEL
                && self.layout.chunks.get(*index).is_some_and(Option::is_some)
                && self.chunk(*index).is_none()
                && self.loading.insert(*index)
        });
        wanted
    }

    fn keep(&mut self, index: usize, bytes: Rc<[u8]>) {
        if self.order.len() == KEPT_CHUNKS
            && let Some(oldest) = self.order.pop_front()
        {
            self.clean.remove(&oldest);
        }
        self.order.push_back(index);
        self.clean.insert(index, bytes);
    }
}
