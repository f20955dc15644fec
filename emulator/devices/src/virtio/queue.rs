//! The split virtqueue (virtio 1.2 §2.7), the device's side.
//!
//! Rings and descriptors are the guest's and may change under us or be nonsense. So every
//! address is checked at every use, a chain is copied before it is looked at, and its length
//! is bounded, which also ends loops.

use std::num::Wrapping;

use emulator_bus::{Memory, Unmapped};

use super::{EVENT_IDX, INDIRECT_DESC};
use crate::state::{Malformed, check, record};

/// Parts of a chain at most. Linux makes indirect tables longer than the queue (§2.7.5.3.1
/// notwithstanding), but never longer than this.
pub const CHAIN_LIMIT: usize = 1024;

/// Physical addresses have 52 bits: sums with offsets do not overflow.
const HIGHEST: u64 = (1 << 52) - 1;

/// Descriptor flags (§2.7.5).
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const DESCRIPTOR: u64 = 16;
/// The driver wants no interrupts, the device no notifications (§2.7.7, §2.7.10).
const SUPPRESS: u16 = 1;

/// The driver has broken the rules of the queue: the guest is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl From<Unmapped> for Broken {
    fn from(_: Unmapped) -> Self {
        Broken
    }
}

record! {
    /// A piece of guest memory. It was memory when the chain was taken.
    pub struct Part {
        /// Guest-physical.
        pub address: u64,
        /// Bytes.
        pub length: u32,
    }
}

record! {
    /// A buffer that the driver has made available.
    pub struct Chain {
        /// The descriptor that names it.
        pub head: u16,
        /// What the device reads.
        pub readable: Vec<Part>,
        /// What the device writes.
        pub writable: Vec<Part>,
    }
}

fn total(parts: &[Part]) -> u64 {
    parts.iter().map(|part| u64::from(part.length)).sum()
}

impl Chain {
    /// Bytes to read.
    pub fn readable_length(&self) -> u64 {
        total(&self.readable)
    }

    /// Bytes to write.
    pub fn writable_length(&self) -> u64 {
        total(&self.writable)
    }

    /// Copies up to `limit` bytes, from `skip` on, out of the readable parts.
    pub fn read(&self, memory: &Memory, skip: u64, limit: usize) -> Result<Vec<u8>, Unmapped> {
        let mut skip = skip;
        let mut bytes = Vec::with_capacity(limit.min(self.readable_length() as usize));
        for part in &self.readable {
            let from = skip.min(part.length.into());
            skip -= from;
            let length = (u64::from(part.length) - from).min((limit - bytes.len()) as u64);
            bytes.extend_from_slice(memory.slice(part.address + from, length as usize)?);
        }
        Ok(bytes)
    }

    /// Copies `bytes` to the writable parts, from `skip` on; says how many found room.
    pub fn write(&self, memory: &mut Memory, skip: u64, bytes: &[u8]) -> Result<usize, Unmapped> {
        let (mut skip, mut rest) = (skip, bytes);
        for part in &self.writable {
            let from = skip.min(part.length.into());
            skip -= from;
            let length = (u64::from(part.length) - from).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at(length);
            memory.slice_mut(part.address + from, length)?.copy_from_slice(now);
            rest = later;
        }
        Ok(bytes.len() - rest.len())
    }

    fn sound(&self) -> bool {
        let mut parts = self.readable.iter().chain(&self.writable);
        self.readable.len() + self.writable.len() <= CHAIN_LIMIT
            && parts.all(|part| part.address <= HIGHEST)
    }
}

record! {
    /// What driver and device have agreed upon, and how far the device is.
    pub struct Queue {
        /// Entries; a power of two.
        pub size: u16,
        /// In use.
        pub ready: bool,
        /// Descriptor area.
        pub descriptors: u64,
        /// Driver area: the available ring.
        pub available: u64,
        /// Device area: the used ring.
        pub used: u64,
        /// The next available entry to look at.
        pub next: u16,
        /// The next used entry to fill.
        pub done: u16,
        /// The used index when the driver was last thought of.
        pub told: u16,
    }
}

impl Queue {
    pub(super) fn new(size: u16) -> Self {
        Queue {
            size,
            ready: false,
            descriptors: 0,
            available: 0,
            used: 0,
            next: 0,
            done: 0,
            told: 0,
        }
    }

    pub(super) fn validate(&self, limit: u16) -> Result<(), Malformed> {
        let areas = [self.descriptors, self.available, self.used];
        check(self.size.is_power_of_two() && self.size <= limit)?;
        check(!self.ready || areas.iter().all(|area| *area <= HIGHEST))?;
        check(self.under_way() <= self.size)
    }

    /// Are the three areas aligned (§2.7) and memory?
    pub(super) fn is_placed(&self, memory: &Memory) -> bool {
        let size = usize::from(self.size);
        let held = |at: u64, align: u64, length: usize| {
            at.is_multiple_of(align) && memory.slice(at, length).is_ok()
        };
        held(self.descriptors, 16, 16 * size)
            && held(self.available, 2, 6 + 2 * size)
            && held(self.used, 4, 6 + 8 * size)
    }

    fn slot(&self, index: u16) -> u64 {
        u64::from(index & (self.size - 1))
    }

    /// How many buffers the driver has made available.
    pub fn waiting(&self, memory: &Memory) -> Result<u16, Broken> {
        if !self.ready {
            return Ok(0);
        }
        let index = memory.read::<u16>(self.available + 2)?;
        let waiting = index.wrapping_sub(self.next);
        if waiting > self.size { Err(Broken) } else { Ok(waiting) }
    }

    /// Buffers that were taken and not given back.
    fn under_way(&self) -> u16 {
        self.next.wrapping_sub(self.done)
    }

    /// Takes the next buffer, if there is one. A driver that offers a descriptor anew before
    /// it got it back could have us keep any number of buffers; it has broken the rules.
    pub fn pop(&mut self, memory: &Memory, features: u64) -> Result<Option<Chain>, Broken> {
        if self.waiting(memory)? == 0 {
            return Ok(None);
        }
        if self.under_way() >= self.size {
            return Err(Broken);
        }
        let head = memory.read::<u16>(self.available + 4 + 2 * self.slot(self.next))?;
        let chain = self.chain(memory, head, features)?;
        self.next = self.next.wrapping_add(1);
        Ok(Some(chain))
    }

    /// Puts back the last `count` buffers that were taken.
    pub fn unpop(&mut self, count: u16) {
        self.next = self.next.wrapping_sub(count);
    }

    fn chain(&self, memory: &Memory, head: u16, features: u64) -> Result<Chain, Broken> {
        let mut chain = Chain { head, readable: Vec::new(), writable: Vec::new() };
        let (mut table, mut entries, mut index) = (self.descriptors, self.size.into(), head);
        let mut inside = false;
        loop {
            if u32::from(index) >= entries {
                return Err(Broken);
            }
            let at = table + DESCRIPTOR * u64::from(index);
            let address = memory.read::<u64>(at)?;
            let length = memory.read::<u32>(at + 8)?;
            let flags = memory.read::<u16>(at + 12)?;
            if flags & INDIRECT != 0 {
                // §2.7.5.3.1: one level, whole descriptors, and nothing follows.
                let whole = length != 0 && u64::from(length) % DESCRIPTOR == 0;
                if inside || flags & NEXT != 0 || features & INDIRECT_DESC == 0 || !whole {
                    return Err(Broken);
                }
                (inside, table, entries, index) = (true, address, length / DESCRIPTOR as u32, 0);
                continue;
            }
            memory.slice(address, length as usize)?;
            let part = Part { address, length };
            if flags & WRITE != 0 {
                chain.writable.push(part);
            } else if chain.writable.is_empty() {
                chain.readable.push(part);
            } else {
                // §2.7.4.2: what is written comes after what is read.
                return Err(Broken);
            }
            if flags & NEXT == 0 {
                return Ok(chain);
            }
            // A loop is a chain without an end.
            let limit = if inside { CHAIN_LIMIT } else { self.size.into() };
            if chain.readable.len() + chain.writable.len() >= limit.min(CHAIN_LIMIT) {
                return Err(Broken);
            }
            index = memory.read::<u16>(at + 14)?;
        }
    }

    /// Gives a buffer back with `written` bytes in it.
    pub fn push(&mut self, memory: &mut Memory, head: u16, written: u32) -> Result<(), Broken> {
        if !self.ready || head >= self.size {
            return Err(Broken);
        }
        let at = self.used + 4 + 8 * self.slot(self.done);
        memory.write(at, u32::from(head))?;
        memory.write(at + 4, written)?;
        self.done = self.done.wrapping_add(1);
        memory.write(self.used + 2, self.done)?;
        Ok(())
    }

    /// After a round of service: asks to be notified of what comes next, and says whether the
    /// driver wants an interrupt for what was given back (§2.7.7.2, §2.7.10).
    pub fn settle(&mut self, memory: &mut Memory, features: u64) -> Result<bool, Broken> {
        if !self.ready {
            return Ok(false);
        }
        let size = u64::from(self.size);
        let by_index = features & EVENT_IDX != 0;
        if by_index {
            let event = self.used + 4 + 8 * size;
            if memory.read::<u16>(event)? != self.next {
                memory.write(event, self.next)?;
            }
        }
        let told = std::mem::replace(&mut self.told, self.done);
        if told == self.done {
            return Ok(false);
        }
        if !by_index {
            return Ok(memory.read::<u16>(self.available)? & SUPPRESS == 0);
        }
        let event = Wrapping(memory.read::<u16>(self.available + 4 + 2 * size)?);
        let (new, old) = (Wrapping(self.done), Wrapping(told));
        Ok(new - event - Wrapping(1) < new - old)
    }
}

/// Were these chains, of a snapshot, taken from a queue?
pub(super) fn check_chains<'a>(
    chains: impl IntoIterator<Item = &'a Chain>,
) -> Result<(), Malformed> {
    check(chains.into_iter().all(Chain::sound))
}

#[cfg(test)]
mod tests {
    use super::super::driver::Driver;
    use super::*;
    use crate::testing::Random;

    const ALL: u64 = EVENT_IDX | INDIRECT_DESC;

    fn parts(list: &[(u64, u32)]) -> Vec<Part> {
        list.iter().map(|(address, length)| Part { address: *address, length: *length }).collect()
    }

    #[test]
    fn chains_come_with_their_parts() {
        let mut memory = Memory::new(1 << 16);
        let mut driver = Driver::new(0x1000, 8);
        let mut queue = driver.queue();
        assert_eq!(queue.pop(&memory, 0), Ok(None));
        driver.post(&mut memory, &[(0x4000, 4), (0x4100, 2)], &[(0x4200, 3)]);
        memory.slice_mut(0x4000, 4).unwrap().copy_from_slice(b"abcd");
        memory.slice_mut(0x4100, 2).unwrap().copy_from_slice(b"ef");
        let chain = queue.pop(&memory, 0).unwrap().unwrap();
        assert_eq!(chain.readable, parts(&[(0x4000, 4), (0x4100, 2)]));
        assert_eq!(chain.writable, parts(&[(0x4200, 3)]));
        assert_eq!(chain.read(&memory, 3, 2).unwrap(), b"de");
        assert_eq!(chain.read(&memory, 9, 2).unwrap(), b"");
        assert_eq!(chain.write(&mut memory, 1, b"xyz"), Ok(2));
        assert_eq!(memory.slice(0x4200, 3).unwrap(), b"\0xy");
        queue.push(&mut memory, chain.head, 3).unwrap();
        assert_eq!(driver.done(&memory), Some((chain.head, 3)));
    }

    #[test]
    fn indirect_tables_are_read_once_they_are_agreed_upon() {
        let mut memory = Memory::new(1 << 16);
        let mut driver = Driver::new(0x1000, 8);
        let mut queue = driver.queue();
        for index in 0..12u64 {
            driver.describe(
                &mut memory,
                0x5000 + 16 * index,
                0x6000 + index,
                1,
                1,
                index as u16 + 1,
            );
        }
        driver.describe(&mut memory, 0x5000 + 16 * 12, 0x7000, 5, 2, 0);
        driver.post_indirect(&mut memory, 0x5000, 13 * 16);
        assert_eq!(queue.clone().pop(&memory, 0), Err(Broken));
        let chain = queue.pop(&memory, ALL).unwrap().unwrap();
        assert_eq!((chain.readable.len(), chain.writable_length()), (12, 5));
        // One in another.
        driver.describe(&mut memory, 0x5000, 0x5000, 16, 4, 0);
        driver.post_indirect(&mut memory, 0x5000, 16);
        assert_eq!(queue.pop(&memory, ALL), Err(Broken));
    }

    #[test]
    fn loops_ends_and_strays_are_refused() {
        for (address, length, flags, next) in [
            (0x4000, 1, NEXT, 0),
            (0x4000, 1, NEXT, 8),
            (0x4000, 1, NEXT, 0xFFFF),
            (0xFFFF, 2, 0, 0),
            (u64::MAX, 1, 0, 0),
            (0x4000, 0xFFFF_FFFF, WRITE, 0),
            (0x4000, 0, INDIRECT, 0),
            (0x4000, 17, INDIRECT, 0),
            (u64::MAX - 8, 16, INDIRECT, 0),
            (0x4000, 16, INDIRECT | NEXT, 0),
        ] {
            let mut memory = Memory::new(1 << 16);
            let mut driver = Driver::new(0x1000, 8);
            let mut queue = driver.queue();
            driver.post(&mut memory, &[(0, 0)], &[]);
            driver.describe(&mut memory, 0x1000, address, length, flags, next);
            assert_eq!(queue.pop(&memory, ALL), Err(Broken), "{address:#x} {flags} {next}");
        }
        // Written before read; an index that is too far.
        let mut memory = Memory::new(1 << 16);
        let mut driver = Driver::new(0x1000, 8);
        driver.post(&mut memory, &[(0x4000, 1), (0x4000, 1)], &[]);
        driver.describe(&mut memory, 0x1000, 0x4000, 1, WRITE | NEXT, 1);
        assert_eq!(driver.queue().pop(&memory, ALL), Err(Broken));
        memory.write(driver.queue().available + 2, 9u16).unwrap();
        assert_eq!(driver.queue().pop(&memory, ALL), Err(Broken));
    }

    #[test]
    fn no_more_buffers_are_under_way_than_there_are_descriptors() {
        let mut memory = Memory::new(1 << 16);
        let mut driver = Driver::new(0x1000, 4);
        let mut queue = driver.queue();
        for _ in 0..4 {
            driver.post(&mut memory, &[], &[]);
            assert!(queue.pop(&memory, 0).unwrap().is_some());
        }
        assert_eq!(queue.pop(&memory, 0), Ok(None));
        driver.post(&mut memory, &[], &[]);
        assert_eq!(queue.clone().pop(&memory, 0), Err(Broken));
        queue.push(&mut memory, 0, 0).unwrap();
        assert!(queue.pop(&memory, 0).unwrap().is_some());
    }

    #[test]
    fn interrupts_come_when_the_driver_wants_them() {
        let mut memory = Memory::new(1 << 16);
        let mut driver = Driver::new(0x1000, 8);
        let mut queue = driver.queue();
        let serve = |queue: &mut Queue, memory: &mut Memory, features| {
            let chain = queue.pop(memory, features).unwrap().unwrap();
            queue.push(memory, chain.head, 0).unwrap();
            queue.settle(memory, features).unwrap()
        };
        for _ in 0..5 {
            driver.post(&mut memory, &[(0x4000, 1)], &[]);
        }
        assert_eq!(queue.settle(&mut memory, 0), Ok(false));
        assert!(serve(&mut queue, &mut memory, 0));
        memory.write(queue.available, SUPPRESS).unwrap();
        assert!(!serve(&mut queue, &mut memory, 0));
        // By index: the flag does not count; used entry 3 is wanted, then nothing.
        memory.write(queue.available + 4 + 16, 3u16).unwrap();
        assert!(!serve(&mut queue, &mut memory, ALL));
        assert!(serve(&mut queue, &mut memory, ALL));
        assert!(!serve(&mut queue, &mut memory, ALL));
        assert_eq!(memory.read::<u16>(queue.used + 4 + 64), Ok(5));
    }

    #[test]
    fn indices_wrap() {
        let mut memory = Memory::new(1 << 16);
        let mut driver = Driver::new(0x1000, 4);
        let mut queue = driver.queue();
        for round in 0..70_000u32 {
            driver.post(&mut memory, &[], &[(0x4000, 8)]);
            let chain = queue.pop(&memory, EVENT_IDX).unwrap().unwrap();
            queue.push(&mut memory, chain.head, round).unwrap();
            assert_eq!(driver.done(&memory), Some((chain.head, round)));
        }
    }

    #[test]
    fn random_rings_are_survived() {
        let mut random = Random::new(6);
        let mut memory = Memory::new(1 << 14);
        for _ in 0..20_000 {
            for _ in 0..8 {
                let at = 0x1000 + 16 * random.below(16);
                let address = random.nasty();
                let flags = random.below(8) as u16;
                let next = random.below(20) as u16;
                memory.write(at, address).unwrap();
                memory.write(at + 8, (random.nasty() & 0xFFF) as u32).unwrap();
                memory.write(at + 12, flags).unwrap();
                memory.write(at + 14, next).unwrap();
            }
            let mut queue = Driver::new(0x1000, 16).queue();
            memory.write(queue.available + 2, random.below(18) as u16).unwrap();
            memory.write(queue.available + 4, random.below(20) as u16).unwrap();
            queue.next = random.below(2) as u16;
            if let Ok(Some(chain)) = queue.pop(&memory, ALL) {
                assert!(chain.sound());
                chain.read(&memory, random.below(9), 4096).unwrap();
                chain.write(&mut memory, 0, &[0; 64]).unwrap();
                let _ = queue.push(&mut memory, chain.head, 1);
            }
            let _ = queue.settle(&mut memory, ALL);
        }
    }
}
