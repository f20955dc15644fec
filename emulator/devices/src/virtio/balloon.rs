//! The memory balloon (virtio 1.2 §5.5): pages that the guest gives back for a while, and
//! free pages that it reports.
//!
//! The guest's buffers are kept until the owner has fetched the events: only then may the
//! guest use a page again, so the owner can zero it, or leave it out of a snapshot, and
//! nothing of the guest's is lost.
//!
//! Absent: statistics, free page hints, page poison.

use std::ops::Range;

use emulator_bus::{Memory, PAGE_SIZE};

use super::queue::{Broken, Chain};
use super::{Function, Lane};
use crate::state::{Malformed, check, record, whole};

/// Events that wait; more buffers are not taken.
pub const EVENT_LIMIT: usize = 1024;
/// Bytes of a list of pages: Linux names 256 pages at a time.
const LIST_LIMIT: u64 = 16 << 10;
/// §5.5.6: the balloon's pages, whatever the processor's.
const SHIFT: u32 = 12;

/// Features (§5.5.3): deflate when out of memory, page reporting.
const DEFLATE_ON_OOM: u64 = 1 << 2;
const REPORTING: u64 = 1 << 5;

const INFLATE: usize = 0;
const DEFLATE: usize = 1;
/// Queues of features that are not offered do not count: Linux numbers what it finds.
const REPORT: usize = 2;
const ACTUAL_OFFSET: u64 = 4;

/// Something about guest-physical addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest does not use these, until it takes them back.
    Inflated(Range<u64>),
    /// The guest takes these back; what is in them does not matter.
    Deflated(Range<u64>),
    /// Nobody in the guest uses these now; what is in them does not matter.
    Free(Range<u64>),
}

record! {
    /// A buffer that the owner has not let go of.
    pub struct Held {
        /// Its queue.
        pub queue: u8,
        /// The descriptor that names it.
        pub head: u16,
    }
}

record! {
    /// What the device holds.
    pub struct State {
        /// Pages that the balloon should have.
        pub target: u32,
        /// Pages that the driver says it has.
        pub actual: u32,
        /// The driver does not know the target yet.
        pub changed: bool,
        /// Buffers that the owner has not let go of.
        pub held: Vec<Held>,
    }
}

/// The device.
#[derive(Debug)]
pub struct Balloon {
    state: State,
    events: Vec<Event>,
    /// Bytes that they are about.
    bytes: u64,
    /// The owner has seen the events of all held buffers.
    seen: bool,
}

impl Default for Balloon {
    fn default() -> Self {
        let state = State { target: 0, actual: 0, changed: false, held: Vec::new() };
        Balloon { state, events: Vec::new(), bytes: 0, seen: false }
    }
}

impl Balloon {
    /// Asks the guest to give back so many pages of 4 KiB in all.
    pub fn set_target(&mut self, pages: u32) {
        self.state.changed |= self.state.target != pages;
        self.state.target = pages;
    }

    /// How many pages the driver says it has given back.
    pub fn actual(&self) -> u32 {
        self.state.actual
    }

    /// Fetches what has happened. At the next service the guest gets its buffers back, and
    /// may use the pages that were reported.
    pub fn take_events(&mut self) -> Vec<Event> {
        (self.seen, self.bytes) = (true, 0);
        std::mem::take(&mut self.events)
    }

    fn listed(&mut self, queue: usize, chain: &Chain, memory: &Memory) -> Result<(), Broken> {
        if chain.readable_length() > LIST_LIMIT {
            return Err(Broken);
        }
        let list = chain.read(memory, 0, LIST_LIMIT as usize)?;
        let pages = list.as_chunks().0.iter().map(|page| u64::from(u32::from_le_bytes(*page)));
        let mut range = 0..0;
        for start in pages.map(|page| page << SHIFT) {
            if !memory.holds(start) {
                continue;
            }
            if start != range.end {
                self.note(queue, std::mem::replace(&mut range, start..start));
            }
            range.end = start + PAGE_SIZE as u64;
        }
        self.note(queue, range);
        Ok(())
    }

    fn note(&mut self, queue: usize, range: Range<u64>) {
        if !range.is_empty() {
            self.bytes += range.end - range.start;
            self.events.push(match queue {
                INFLATE => Event::Inflated(range),
                DEFLATE => Event::Deflated(range),
                _ => Event::Free(range),
            });
        }
    }
}

/// The pages that lie in a buffer from end to end.
fn whole_pages(address: u64, length: u32) -> Range<u64> {
    let page = PAGE_SIZE as u64;
    address.next_multiple_of(page)..(address + u64::from(length)) / page * page
}

impl Function for Balloon {
    const ID: u32 = 5;
    const QUEUE_SIZE: u16 = 64;

    fn queues(&self) -> usize {
        3
    }

    fn features(&self) -> u64 {
        DEFLATE_ON_OOM | REPORTING
    }

    fn config(&self) -> Vec<u8> {
        [self.state.target.to_le_bytes(), self.state.actual.to_le_bytes()].concat()
    }

    fn configure(&mut self, offset: u64, value: u32) {
        if offset == ACTUAL_OFFSET {
            self.state.actual = value;
        }
    }

    fn service(&mut self, lane: &mut Lane<'_>) -> Result<(), Broken> {
        if std::mem::take(&mut self.seen) {
            for held in std::mem::take(&mut self.state.held) {
                lane.push(held.queue.into(), held.head, 0)?;
            }
        }
        for queue in [INFLATE, DEFLATE, REPORT] {
            // No more is looked at in one go than there is.
            while self.events.len() < EVENT_LIMIT && self.bytes < lane.memory.size() {
                let Some(chain) = lane.pop(queue)? else { break };
                self.state.held.push(Held { queue: queue as u8, head: chain.head });
                self.listed(queue, &chain, lane.memory)?;
                let lengths = chain.writable.iter().map(|part| u64::from(part.length));
                if lengths.sum::<u64>() > lane.memory.size() {
                    return Err(Broken);
                }
                for part in &chain.writable {
                    self.note(queue, whole_pages(part.address, part.length));
                }
            }
        }
        if std::mem::take(&mut self.state.changed) {
            lane.config_changed();
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.state.held.clear();
        self.state.actual = 0;
        self.state.changed = self.state.target != 0;
        self.events.clear();
        (self.seen, self.bytes) = (false, 0);
    }

    fn save(&self) -> Vec<u8> {
        self.state.to_bytes()
    }

    /// Events are not saved: they are advice. The buffers go back at the next service.
    fn restore(&mut self, state: &[u8]) -> Result<(), Malformed> {
        let state: State = whole(state)?;
        check(state.held.len() <= self.queues() * usize::from(Self::QUEUE_SIZE))?;
        check(state.held.iter().all(|held| usize::from(held.queue) < self.queues()))?;
        self.state = state;
        self.events.clear();
        (self.seen, self.bytes) = (true, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use emulator_bus::Device;

    use super::super::Mmio;
    use super::super::driver::{bring_up, load, store, torment};
    use super::*;

    #[test]
    fn pages_are_given_back_when_the_owner_has_seen_it() {
        let (mut device, mut memory) = (Mmio::new(Balloon::default()), Memory::new(1 << 16));
        let mut drivers = bring_up(&mut device, &mut memory);
        device.function_mut().set_target(3);
        device.service(&mut memory);
        assert!(device.line());
        assert_eq!(load(&mut device, &mut memory, 0x60), 2);
        assert_eq!(load(&mut device, &mut memory, 0x100), 3);
        for (at, page) in [8u32, 9, 11, 0xFFFF_FFFF].into_iter().enumerate() {
            memory.write(0x8000 + 4 * at as u64, page).unwrap();
        }
        drivers[0].post(&mut memory, &[(0x8000, 16)], &[]);
        drivers[2].post(&mut memory, &[], &[(0xC000, 0x2000), (0xF000, 0x1000)]);
        store(&mut device, &mut memory, 0x50, 0);
        store(&mut device, &mut memory, 0x104, 3);
        assert_eq!(device.function().actual(), 3);
        assert_eq!(drivers[0].done(&memory), None);
        let events = device.function_mut().take_events();
        let expected = [
            Event::Inflated(0x8000..0xA000),
            Event::Inflated(0xB000..0xC000),
            Event::Free(0xC000..0xE000),
            Event::Free(0xF000..0x1_0000),
        ];
        assert_eq!(events, expected);
        device.service(&mut memory);
        assert!(drivers[0].done(&memory).is_some() && drivers[2].done(&memory).is_some());
    }

    #[test]
    fn only_whole_pages_are_reported_and_no_more_than_there_are() {
        let (mut device, mut memory) = (Mmio::new(Balloon::default()), Memory::new(1 << 16));
        let mut drivers = bring_up(&mut device, &mut memory);
        drivers[2].post(&mut memory, &[], &[(0x8800, 0x2400), (0xC800, 0x400)]);
        store(&mut device, &mut memory, 0x50, 2);
        assert_eq!(device.function_mut().take_events(), [Event::Free(0x9000..0xA000)]);
        // The same memory again and again: a page at a time would be an hour's work.
        for _ in 0..3 {
            drivers[2].post(&mut memory, &[], &[(0, 0x1_0000)]);
        }
        store(&mut device, &mut memory, 0x50, 2);
        assert_eq!(device.function_mut().take_events().len(), 1);
        drivers[2].post(&mut memory, &[], &[(0, 0x1_0000), (0, 0x1000)]);
        for _ in 0..4 {
            device.service(&mut memory);
            device.function_mut().take_events();
        }
        // NEEDS_RESET (virtio 1.2, section 2.1).
        assert_eq!(load(&mut device, &mut memory, 0x70) & 64, 64);
    }

    #[test]
    fn buffers_that_were_held_go_back_after_a_restore() {
        let (mut device, mut memory) = (Mmio::new(Balloon::default()), Memory::new(1 << 16));
        let mut drivers = bring_up(&mut device, &mut memory);
        memory.write(0x8000, 8u32).unwrap();
        drivers[1].post(&mut memory, &[(0x8000, 4)], &[]);
        store(&mut device, &mut memory, 0x50, 1);
        let bytes = device.save();
        let mut device = Mmio::new(Balloon::default());
        device.restore(&bytes).unwrap();
        device.service(&mut memory);
        assert!(drivers[1].done(&memory).is_some());
    }

    #[test]
    fn a_hostile_driver_is_survived() {
        torment(Mmio::new(Balloon::default()), 11, |device| {
            device.function_mut().take_events();
            let actual = device.function().actual();
            device.function_mut().set_target(actual ^ 1);
        });
    }
}
