//! The block device (virtio 1.2 §5.2), over a disk that answers when it likes.
//!
//! Every request leaves as a [`Request`] with a number, and is answered by
//! [`Block::complete`], in any order. What it is about (copy-on-write, chunks from a server)
//! is the owner's. A request under way is part of the state: after a restore it is asked for
//! again, with its number, and what it writes is read again from the guest's buffer.
//!
//! Absent: discard, write zeroes, several queues.

use emulator_bus::Memory;

use super::queue::{Broken, Chain, check_chains};
use super::{Function, Lane};
use crate::state::{Malformed, check, record, whole};

/// Bytes of the unit in which a disk is addressed.
pub const SECTOR: u64 = 512;
/// Bytes of a request at most. Linux asks for 1.25 MiB.
pub const REQUEST_LIMIT: u64 = 4 << 20;
/// Bytes under way from which on no more requests are taken.
pub const IN_FLIGHT_LIMIT: u64 = 8 << 20;
/// Letters of a serial number (§5.2.6).
pub const SERIAL: usize = 20;

const HEADER: u64 = 16;
const SEG_MAX: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 5;
const BLK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;

const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_ID: u32 = 8;

const STATUS_OK: u8 = 0;
const STATUS_ERROR: u8 = 1;
const STATUS_UNSUPPORTED: u8 = 2;

/// What the guest wants of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// So many bytes from here on.
    Read {
        /// The first sector.
        sector: u64,
        /// Bytes, whole sectors.
        length: usize,
    },
    /// These bytes from here on.
    Write {
        /// The first sector.
        sector: u64,
        /// Whole sectors.
        bytes: Vec<u8>,
    },
    /// What was written must last.
    Flush,
}

/// A request on its way to the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// To be given to [`Block::complete`].
    pub id: u64,
    /// What is wanted.
    pub operation: Operation,
}

/// The owner could not do it; the guest gets an I/O error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

record! {
    /// A request under way.
    pub struct Pending {
        /// Its number.
        pub id: u64,
        /// The type, as in its header.
        pub kind: u32,
        /// The first sector.
        pub sector: u64,
        /// The guest's buffer.
        pub chain: Chain,
    }
}

record! {
    /// What the device holds.
    pub struct State {
        /// Requests under way.
        pub pending: Vec<Pending>,
        /// The number of the next one. Numbers are never used again: an answer that comes too
        /// late meets nobody.
        pub next_id: u64,
    }
}

/// The device.
#[derive(Debug)]
pub struct Block {
    sectors: u64,
    read_only: bool,
    serial: [u8; SERIAL],
    state: State,
    requests: Vec<Request>,
    answers: Vec<(u64, Result<Vec<u8>, Failed>)>,
    /// After a restore: requests under way that the owner has to be asked for again.
    ask_again: bool,
}

/// What becomes of a request at first sight.
enum Verdict {
    Ask,
    Refuse(u8),
    Name,
}

impl Pending {
    /// Bytes between header and status.
    fn length(&self) -> u64 {
        match self.kind {
            TYPE_OUT => self.chain.readable_length().saturating_sub(HEADER),
            _ => self.chain.writable_length().saturating_sub(1),
        }
    }

    /// Bytes that the request costs while it is under way.
    fn weight(&self) -> u64 {
        if self.kind == TYPE_FLUSH { 0 } else { self.length() }
    }

    fn operation(&self, memory: &Memory) -> Result<Operation, Broken> {
        let (sector, length) = (self.sector, self.length() as usize);
        Ok(match self.kind {
            TYPE_IN => Operation::Read { sector, length },
            TYPE_OUT => {
                Operation::Write { sector, bytes: self.chain.read(memory, HEADER, length)? }
            }
            _ => Operation::Flush,
        })
    }
}

impl Block {
    /// A disk of so many sectors. Letters of the serial number beyond [`SERIAL`] are cut off.
    pub fn new(sectors: u64, read_only: bool, serial: &str) -> Self {
        let mut letters = [0; SERIAL];
        letters.iter_mut().zip(serial.bytes()).for_each(|(to, from)| *to = from);
        Block {
            sectors,
            read_only,
            serial: letters,
            state: State { pending: Vec::new(), next_id: 0 },
            requests: Vec::new(),
            answers: Vec::new(),
            ask_again: false,
        }
    }

    /// Fetches the requests that are new.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// Answers a request: the bytes of a read (as many as were asked for), none for the
    /// others. The guest hears of it at the next service.
    pub fn complete(&mut self, id: u64, answer: Result<Vec<u8>, Failed>) {
        if self.waits_for(id) {
            self.answers.push((id, answer));
        }
    }

    /// Is there such a request? A reset of the device forgets all.
    pub fn waits_for(&self, id: u64) -> bool {
        self.state.pending.iter().any(|pending| pending.id == id)
    }

    /// Are there requests that have not been answered?
    pub fn is_busy(&self) -> bool {
        !self.state.pending.is_empty()
    }

    fn in_flight(&self) -> u64 {
        self.state.pending.iter().map(Pending::weight).sum()
    }

    fn judge(&self, pending: &Pending) -> Verdict {
        let length = pending.length();
        match pending.kind {
            TYPE_IN | TYPE_OUT => {
                let end = pending.sector.checked_add(length / SECTOR);
                let sound = length.is_multiple_of(SECTOR)
                    && length <= REQUEST_LIMIT
                    && end.is_some_and(|end| end <= self.sectors)
                    && !(pending.kind == TYPE_OUT && self.read_only);
                if sound { Verdict::Ask } else { Verdict::Refuse(STATUS_ERROR) }
            }
            TYPE_FLUSH => Verdict::Ask,
            TYPE_ID => Verdict::Name,
            _ => Verdict::Refuse(STATUS_UNSUPPORTED),
        }
    }

    /// Takes a buffer apart: header, then data, then a byte for the status.
    fn parse(&mut self, chain: Chain, memory: &Memory) -> Result<Pending, Broken> {
        let header = chain.read(memory, 0, HEADER as usize)?;
        let (Some((kind, rest)), true) = (header.split_first_chunk(), chain.writable_length() > 0)
        else {
            return Err(Broken);
        };
        let sector = rest.last_chunk().filter(|_| rest.len() == 12).ok_or(Broken)?;
        let (kind, sector) = (u32::from_le_bytes(*kind), u64::from_le_bytes(*sector));
        let id = self.state.next_id;
        self.state.next_id = id.wrapping_add(1);
        Ok(Pending { id, kind, sector, chain })
    }

    fn accept(&mut self, pending: Pending, lane: &mut Lane<'_>) -> Result<(), Broken> {
        match self.judge(&pending) {
            Verdict::Ask => {
                let operation = pending.operation(lane.memory)?;
                self.requests.push(Request { id: pending.id, operation });
                self.state.pending.push(pending);
                Ok(())
            }
            Verdict::Refuse(status) => finish(&pending, &[], status, lane),
            Verdict::Name => finish(&pending, &self.serial, STATUS_OK, lane),
        }
    }

    fn answer(&mut self, lane: &mut Lane<'_>) -> Result<(), Broken> {
        for (id, answer) in std::mem::take(&mut self.answers) {
            let place = self.state.pending.iter().position(|pending| pending.id == id);
            let Some(place) = place else { continue };
            let pending = self.state.pending.swap_remove(place);
            match answer {
                Ok(bytes) if pending.kind != TYPE_IN || bytes.len() as u64 == pending.length() => {
                    let bytes = if pending.kind == TYPE_IN { &bytes[..] } else { &[] };
                    finish(&pending, bytes, STATUS_OK, lane)?;
                }
                _ => finish(&pending, &[], STATUS_ERROR, lane)?,
            }
        }
        Ok(())
    }

    fn repeat(&mut self, memory: &Memory) -> Result<(), Broken> {
        for pending in &self.state.pending {
            let operation = pending.operation(memory)?;
            self.requests.push(Request { id: pending.id, operation });
        }
        Ok(())
    }
}

/// Data, the status as the last byte, and the buffer back.
fn finish(pending: &Pending, bytes: &[u8], status: u8, lane: &mut Lane<'_>) -> Result<(), Broken> {
    let last = pending.chain.writable_length().saturating_sub(1);
    let bytes = &bytes[..bytes.len().min(last as usize)];
    pending.chain.write(lane.memory, 0, bytes)?;
    pending.chain.write(lane.memory, last, &[status])?;
    lane.push(0, pending.chain.head, bytes.len() + 1)
}

impl Function for Block {
    const ID: u32 = 2;
    const QUEUE_SIZE: u16 = 128;

    fn queues(&self) -> usize {
        1
    }

    fn features(&self) -> u64 {
        SEG_MAX | BLK_SIZE | FLUSH | if self.read_only { READ_ONLY } else { 0 }
    }

    /// §5.2.4: capacity, size_max, seg_max (header and status have two of the descriptors),
    /// geometry, blk_size.
    fn config(&self) -> Vec<u8> {
        let mut bytes = self.sectors.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(u32::from(Self::QUEUE_SIZE - 2).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend((SECTOR as u32).to_le_bytes());
        bytes
    }

    fn service(&mut self, lane: &mut Lane<'_>) -> Result<(), Broken> {
        if std::mem::take(&mut self.ask_again) {
            self.repeat(lane.memory)?;
        }
        self.answer(lane)?;
        while self.in_flight() < IN_FLIGHT_LIMIT {
            let Some(chain) = lane.pop(0)? else { break };
            let pending = self.parse(chain, lane.memory)?;
            self.accept(pending, lane)?;
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.state.pending.clear();
        self.requests.clear();
        self.answers.clear();
        self.ask_again = false;
    }

    fn save(&self) -> Vec<u8> {
        self.state.to_bytes()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Malformed> {
        let state: State = whole(state)?;
        check(state.pending.len() <= usize::from(Self::QUEUE_SIZE))?;
        check_chains(state.pending.iter().map(|pending| &pending.chain))?;
        let sound = |pending: &Pending| matches!(self.judge(pending), Verdict::Ask);
        check(state.pending.iter().all(sound))?;
        self.reset();
        self.state = state;
        self.ask_again = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mmio;
    use super::super::driver::{Driver, bring_up, load, store, torment};
    use super::*;

    struct Guest {
        device: Mmio<Block>,
        memory: Memory,
        driver: Driver,
    }

    impl Guest {
        fn new(sectors: u64, read_only: bool) -> Self {
            let mut device = Mmio::new(Block::new(sectors, read_only, "disk-0"));
            let mut memory = Memory::new(1 << 16);
            let driver = bring_up(&mut device, &mut memory).remove(0);
            Guest { device, memory, driver }
        }

        /// Header at 0x8000, data at 0x9000, status at 0x8100.
        fn ask(&mut self, kind: u32, sector: u64, length: u32) -> u16 {
            self.memory.write(0x8000, kind).unwrap();
            self.memory.write(0x8008, sector).unwrap();
            self.memory.write(0x8100, 0xFFu8).unwrap();
            let (header, data, status) = ((0x8000, 16), (0x9000, length), (0x8100, 1));
            let head = if kind == TYPE_OUT {
                self.driver.post(&mut self.memory, &[header, data], &[status])
            } else {
                self.driver.post(&mut self.memory, &[header], &[data, status])
            };
            store(&mut self.device, &mut self.memory, 0x50, 0);
            head
        }

        fn status(&self) -> u8 {
            self.memory.read(0x8100).unwrap()
        }
    }

    #[test]
    fn reads_are_answered_in_any_order() {
        let mut guest = Guest::new(100, false);
        assert_eq!(load(&mut guest.device, &mut guest.memory, 0x100), 100);
        let first = guest.ask(TYPE_IN, 98, 1024);
        let second = guest.ask(TYPE_FLUSH, 0, 0);
        let requests = guest.device.function_mut().take_requests();
        assert_eq!(requests[0].operation, Operation::Read { sector: 98, length: 1024 });
        assert_eq!(requests[1].operation, Operation::Flush);
        guest.device.function_mut().complete(requests[1].id, Ok(vec![]));
        guest.device.service(&mut guest.memory);
        assert_eq!(guest.driver.done(&guest.memory), Some((second, 1)));
        assert!(guest.device.function().is_busy());
        guest.device.function_mut().complete(requests[0].id, Ok(vec![7; 1024]));
        guest.device.service(&mut guest.memory);
        assert_eq!(guest.driver.done(&guest.memory), Some((first, 1025)));
        assert_eq!((guest.status(), guest.memory.slice(0x93FF, 2).unwrap()), (0, &[7, 0][..]));
        // A second answer meets nobody.
        guest.device.function_mut().complete(requests[0].id, Ok(vec![8; 1024]));
        guest.device.service(&mut guest.memory);
        assert_eq!(guest.driver.done(&guest.memory), None);
    }

    #[test]
    fn writes_under_way_are_asked_for_again_after_a_restore() {
        let mut guest = Guest::new(100, false);
        guest.memory.slice_mut(0x9000, 512).unwrap().fill(3);
        let head = guest.ask(TYPE_OUT, 5, 512);
        let write = Operation::Write { sector: 5, bytes: vec![3; 512] };
        let asked = guest.device.function_mut().take_requests();
        assert_eq!(asked[0].operation, write);
        let bytes = guest.device.save();
        let mut device = Mmio::new(Block::new(100, false, "disk-0"));
        device.restore(&bytes).unwrap();
        assert!(Mmio::new(Block::new(5, false, "")).restore(&bytes).is_err());
        assert!(Mmio::new(Block::new(100, true, "")).restore(&bytes).is_err());
        device.service(&mut guest.memory);
        let again = device.function_mut().take_requests();
        assert_eq!(again, asked);
        device.function_mut().complete(again[0].id, Err(Failed));
        device.service(&mut guest.memory);
        assert_eq!(guest.driver.done(&guest.memory), Some((head, 1)));
        assert_eq!(guest.status(), STATUS_ERROR);
    }

    #[test]
    fn what_cannot_be_is_refused_at_once() {
        for (kind, sector, length, status) in [
            (TYPE_IN, 99, 1024, STATUS_ERROR),
            (TYPE_IN, u64::MAX, 512, STATUS_ERROR),
            (TYPE_IN, 0, 100, STATUS_ERROR),
            (TYPE_OUT, 0, 512, STATUS_ERROR),
            (99, 0, 0, STATUS_UNSUPPORTED),
        ] {
            let mut guest = Guest::new(100, true);
            guest.ask(kind, sector, length);
            assert_eq!((guest.status(), guest.device.function().is_busy()), (status, false));
            assert!(guest.driver.done(&guest.memory).is_some());
        }
        let mut guest = Guest::new(100, false);
        guest.ask(TYPE_ID, 0, 20);
        assert_eq!(guest.status(), STATUS_OK);
        assert_eq!(guest.memory.slice(0x9000, 7).unwrap(), b"disk-0\0");
        // A read of another length than was asked for.
        guest.ask(TYPE_IN, 0, 512);
        let id = guest.device.function_mut().take_requests()[0].id;
        guest.device.function_mut().complete(id, Ok(vec![0; 511]));
        guest.device.service(&mut guest.memory);
        assert_eq!(guest.status(), STATUS_ERROR);
    }

    #[test]
    fn a_reset_forgets_and_an_old_answer_meets_nobody() {
        let mut guest = Guest::new(100, false);
        guest.ask(TYPE_IN, 0, 512);
        let id = guest.device.function_mut().take_requests()[0].id;
        guest.memory.slice_mut(0x1000, 0x1000).unwrap().fill(0);
        guest.driver = bring_up(&mut guest.device, &mut guest.memory).remove(0);
        guest.ask(TYPE_IN, 1, 512);
        guest.device.function_mut().complete(id, Ok(vec![1; 512]));
        guest.device.service(&mut guest.memory);
        assert_eq!(guest.driver.done(&guest.memory), None);
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut device = Mmio::new(Block::new(1 << 20, false, ""));
        let mut memory = Memory::new(16 << 20);
        let mut driver = bring_up(&mut device, &mut memory).remove(0);
        for _ in 0..4 {
            let data = (4 << 20, REQUEST_LIMIT as u32);
            driver.post(&mut memory, &[(0x8000, 16)], &[data, (0x8100, 1)]);
        }
        store(&mut device, &mut memory, 0x50, 0);
        let requests = device.function_mut().take_requests();
        assert_eq!(requests.len() as u64, IN_FLIGHT_LIMIT / REQUEST_LIMIT);
        device.function_mut().complete(requests[0].id, Err(Failed));
        device.service(&mut memory);
        assert_eq!(device.function_mut().take_requests().len(), 1);
    }

    #[test]
    fn a_hostile_driver_is_survived() {
        let device = Mmio::new(Block::new(100, false, "x"));
        torment(device, 10, |device| {
            for request in device.function_mut().take_requests() {
                let length = match request.operation {
                    Operation::Read { length, .. } => length,
                    _ => 0,
                };
                device.function_mut().complete(request.id, Ok(vec![1; length]));
            }
        });
    }
}
