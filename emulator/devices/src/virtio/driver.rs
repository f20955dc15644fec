//! A tiny guest driver for the tests: it lays out a queue, posts buffers, collects them, and
//! brings a device up through its registers.

use emulator_bus::{Cycle, Device, Memory, Width};

use super::queue::Queue;
use super::{EVENT_IDX, Function, INDIRECT_DESC, Mmio, VERSION_1};

pub(super) struct Driver {
    base: u64,
    size: u16,
    next: u16,
    posted: u16,
    seen: u16,
}

impl Driver {
    /// A queue at `base`: descriptors, available ring, used ring, one after the other.
    pub(super) fn new(base: u64, size: u16) -> Self {
        Driver { base, size, next: 0, posted: 0, seen: 0 }
    }

    pub(super) fn queue(&self) -> Queue {
        let size = u64::from(self.size);
        let available = self.base + 16 * size;
        let used = (available + 6 + 2 * size).next_multiple_of(4);
        let descriptors = self.base;
        Queue { ready: true, descriptors, available, used, ..Queue::new(self.size) }
    }

    pub(super) fn describe(
        &self,
        memory: &mut Memory,
        at: u64,
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    ) {
        memory.write(at, address).unwrap();
        memory.write(at + 8, length).unwrap();
        memory.write(at + 12, flags).unwrap();
        memory.write(at + 14, next).unwrap();
    }

    fn offer(&mut self, memory: &mut Memory, head: u16) {
        let available = self.queue().available;
        let slot = u64::from(self.posted % self.size);
        memory.write(available + 4 + 2 * slot, head).unwrap();
        self.posted = self.posted.wrapping_add(1);
        memory.write(available + 2, self.posted).unwrap();
    }

    /// Posts a chain; descriptors are used in turn.
    pub(super) fn post(
        &mut self,
        memory: &mut Memory,
        readable: &[(u64, u32)],
        writable: &[(u64, u32)],
    ) -> u16 {
        let head = self.next;
        let flagged =
            readable.iter().map(|part| (part, 0)).chain(writable.iter().map(|part| (part, 2)));
        let count = readable.len() + writable.len();
        for (at, ((address, length), flags)) in flagged.enumerate() {
            let next = (self.next + 1) % self.size;
            let more = u16::from(at + 1 < count);
            let place = self.base + 16 * u64::from(self.next);
            self.describe(memory, place, *address, *length, flags | more, next);
            self.next = next;
        }
        self.offer(memory, head);
        head
    }

    pub(super) fn post_indirect(&mut self, memory: &mut Memory, table: u64, length: u32) {
        let head = self.next;
        let place = self.base + 16 * u64::from(head);
        self.describe(memory, place, table, length, 4, 0);
        self.next = (head + 1) % self.size;
        self.offer(memory, head);
    }

    /// The next buffer that was given back.
    pub(super) fn done(&mut self, memory: &Memory) -> Option<(u16, u32)> {
        let used = self.queue().used;
        if memory.read::<u16>(used + 2).unwrap() == self.seen {
            return None;
        }
        let at = used + 4 + 8 * u64::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        let head = memory.read::<u32>(at).unwrap() as u16;
        Some((head, memory.read::<u32>(at + 4).unwrap()))
    }
}

pub(super) fn store<F: Function>(
    device: &mut Mmio<F>,
    memory: &mut Memory,
    offset: u64,
    value: u64,
) {
    device.write(offset, Width::Double, value, Cycle { memory, now: 0 });
}

pub(super) fn load<F: Function>(device: &mut Mmio<F>, memory: &mut Memory, offset: u64) -> u64 {
    device.read(offset, Width::Double, Cycle { memory, now: 0 })
}

/// The steps of §3.1.1, with all features but indices as events: queue *n* at page 1 + *n*.
pub(super) fn bring_up<F: Function>(device: &mut Mmio<F>, memory: &mut Memory) -> Vec<Driver> {
    bring_up_with(device, memory, !EVENT_IDX)
}

pub(super) fn bring_up_with<F: Function>(
    device: &mut Mmio<F>,
    memory: &mut Memory,
    wanted: u64,
) -> Vec<Driver> {
    assert_eq!(load(device, memory, 0), u32::from_le_bytes(*b"virt").into());
    assert_eq!(load(device, memory, 4), 2);
    for status in [0, 1, 3] {
        store(device, memory, 0x70, status);
    }
    let mut offered = 0;
    for half in [1, 0] {
        store(device, memory, 0x14, half);
        offered = offered << 32 | load(device, memory, 0x10);
    }
    assert_eq!(offered & (VERSION_1 | INDIRECT_DESC), VERSION_1 | INDIRECT_DESC);
    for (half, bits) in [(0, offered & wanted), (1, (offered & wanted) >> 32)] {
        store(device, memory, 0x24, half);
        store(device, memory, 0x20, bits & 0xFFFF_FFFF);
    }
    store(device, memory, 0x70, 0xB);
    assert_eq!(load(device, memory, 0x70), 0xB);
    let mut drivers = Vec::new();
    for index in 0..device.function().queues() as u64 {
        let driver = Driver::new(0x1000 * (1 + index), 16);
        let queue = driver.queue();
        store(device, memory, 0x30, index);
        for (offset, value) in
            [(0x38, 16), (0x80, queue.descriptors), (0x90, queue.available), (0xA0, queue.used)]
        {
            store(device, memory, offset, value);
        }
        store(device, memory, 0x44, 1);
        assert_eq!(load(device, memory, 0x44), 1);
        drivers.push(driver);
    }
    store(device, memory, 0x70, 0xF);
    drivers
}

/// Random stores to registers and to the memory that queues are in; then reset and use.
pub(super) fn torment<F: Function>(
    mut device: Mmio<F>,
    seed: u64,
    mut meddle: impl FnMut(&mut Mmio<F>),
) {
    let mut random = crate::testing::Random::new(seed);
    let mut memory = Memory::new(1 << 16);
    for _ in 0..200 {
        bring_up(&mut device, &mut memory);
        for _ in 0..60 {
            let value = random.nasty();
            match random.below(5) {
                0 => {
                    let offset = random.below(0x120);
                    store(&mut device, &mut memory, offset, value);
                    load(&mut device, &mut memory, offset);
                }
                1 => {
                    let at = 0x1000 + random.below(0x5000);
                    memory.write(at, value as u16).unwrap();
                }
                2 => {
                    // A likely descriptor, offered.
                    let queue = random.below(4);
                    let driver = Driver::new(0x1000 * (1 + queue), 16);
                    let at = 0x1000 * (1 + queue) + 16 * random.below(16);
                    let (length, flags) = (value as u32 & 0x1FF, (value >> 32) as u16 & 3);
                    driver.describe(
                        &mut memory,
                        at,
                        0x8000 + random.below(0x4000),
                        length,
                        flags,
                        random.below(16) as u16,
                    );
                    let index = driver.queue().available + 2;
                    let posted = memory.read::<u16>(index).unwrap();
                    memory.write(index, posted.wrapping_add(1)).unwrap();
                }
                3 => store(&mut device, &mut memory, 0x50, random.below(5)),
                _ => meddle(&mut device),
            }
            device.service(&mut memory);
            device.line();
        }
        let bytes = device.save();
        device.restore(&bytes).unwrap();
        assert_eq!(device.save(), bytes);
        for end in (0..bytes.len()).step_by(1 + bytes.len() / 10) {
            assert!(device.restore(&bytes[..end]).is_err());
        }
        assert_eq!(device.save(), bytes);
        for damaged in crate::testing::damaged(&bytes, random.next()).take(20) {
            if device.restore(&damaged).is_ok() {
                device.service(&mut memory);
                meddle(&mut device);
                device.service(&mut memory);
            }
        }
        memory.slice_mut(0x1000, 0x6000).unwrap().fill(0);
    }
}
