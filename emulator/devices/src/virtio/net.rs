//! The network device (virtio 1.2 §5.1): Ethernet frames, one pair of queues.
//!
//! The cable is inside of one program: nothing on it can be damaged, so checksums are not
//! computed (CSUM: the guest's frames may come without; GUEST_CSUM: ours are said to be good),
//! and its MTU is as large as both ends like. A full queue holds back whoever fills it;
//! frames are dropped only if they are larger than the MTU allows, or than the guest's buffer.
//!
//! Absent: segmentation offload (a large MTU does the same), control queue, several pairs.

use std::collections::VecDeque;

use super::queue::Broken;
use super::{Function, Lane};
use crate::state::{Malformed, check, record, whole};

/// The guest's address on every engine of ours, so that a restored DHCP lease stays good.
pub const MAC: [u8; 6] = [0x02, 0x76, 0x6D, 0x00, 0x00, 0x02];
/// Frames that wait, each way.
pub const FRAME_LIMIT: usize = 256;
/// The largest MTU; §5.1.3 allows no more.
pub const LARGEST_MTU: u16 = 65_535;

/// Ethernet header with a VLAN tag.
const ETHERNET: usize = 18;
/// `struct virtio_net_hdr`: 12 bytes in a device of this version.
const HEADER: usize = 12;
const DATA_VALID: u8 = 2;

const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const MTU: u64 = 1 << 3;
const HAS_MAC: u64 = 1 << 5;
const MRG_RXBUF: u64 = 1 << 15;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

record! {
    /// What the device holds.
    pub struct State {
        /// Frames for the guest.
        pub received: VecDeque<Vec<u8>>,
        /// Frames from the guest.
        pub sent: VecDeque<Vec<u8>>,
        /// Frames that were too large, either way.
        pub dropped: u64,
    }
}

/// The device.
#[derive(Debug)]
pub struct Net {
    mac: [u8; 6],
    mtu: u16,
    state: State,
}

/// There is no room for the frame now; it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full(pub Vec<u8>);

impl Net {
    /// A device with this address on a cable with this MTU.
    pub fn new(mac: [u8; 6], mtu: u16) -> Self {
        let state = State { received: VecDeque::new(), sent: VecDeque::new(), dropped: 0 };
        Net { mac, mtu, state }
    }

    fn largest(&self) -> usize {
        usize::from(self.mtu) + ETHERNET
    }

    /// Gives the guest a frame.
    pub fn offer(&mut self, frame: Vec<u8>) -> Result<(), Full> {
        if frame.len() > self.largest() {
            self.state.dropped += 1;
        } else if self.state.received.len() >= FRAME_LIMIT {
            return Err(Full(frame));
        } else {
            self.state.received.push_back(frame);
        }
        Ok(())
    }

    /// Is there room for a frame?
    pub fn has_room(&self) -> bool {
        self.state.received.len() < FRAME_LIMIT
    }

    /// Fetches a frame of the guest's.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.state.sent.pop_front()
    }

    /// Frames that were too large, either way.
    pub fn dropped(&self) -> u64 {
        self.state.dropped
    }

    fn transmit(&mut self, lane: &mut Lane<'_>) -> Result<(), Broken> {
        while self.state.sent.len() < FRAME_LIMIT {
            let Some(chain) = lane.pop(TRANSMIT)? else { break };
            let length = chain.readable_length();
            if length < HEADER as u64 || length - HEADER as u64 > self.largest() as u64 {
                self.state.dropped += 1;
            } else {
                let frame = chain.read(lane.memory, HEADER as u64, self.largest())?;
                self.state.sent.push_back(frame);
            }
            lane.push(TRANSMIT, chain.head, 0)?;
        }
        Ok(())
    }

    fn receive(&mut self, lane: &mut Lane<'_>) -> Result<(), Broken> {
        while let Some(frame) = self.state.received.front() {
            match deliver(frame, lane)? {
                Delivery::Waits => break,
                Delivery::Done => {}
                Delivery::TooLarge => self.state.dropped += 1,
            }
            self.state.received.pop_front();
        }
        Ok(())
    }
}

enum Delivery {
    Done,
    Waits,
    TooLarge,
}

/// Puts a frame into one buffer or, if that is agreed upon, into several (§5.1.6.4).
fn deliver(frame: &[u8], lane: &mut Lane<'_>) -> Result<Delivery, Broken> {
    let merge = lane.features & MRG_RXBUF != 0;
    let needed = (HEADER + frame.len()) as u64;
    let (mut chains, mut room) = (Vec::new(), 0);
    while room < needed {
        let Some(chain) = lane.pop(RECEIVE)? else {
            lane.unpop(RECEIVE, chains.len() as u16);
            return Ok(Delivery::Waits);
        };
        room += chain.writable_length();
        chains.push(chain);
        if room < needed && !merge {
            lane.unpop(RECEIVE, 1);
            return Ok(Delivery::TooLarge);
        }
    }
    let mut header = [0; HEADER];
    header[0] = if lane.features & GUEST_CSUM != 0 { DATA_VALID } else { 0 };
    header[10..].copy_from_slice(&(chains.len() as u16).to_le_bytes());
    let mut rest = frame;
    for (at, chain) in chains.iter().enumerate() {
        // §5.1.6.3.1: the header is whole in the first buffer.
        let first = if at == 0 { chain.write(lane.memory, 0, &header)? } else { 0 };
        if at == 0 && first < HEADER {
            return Err(Broken);
        }
        let written = chain.write(lane.memory, first as u64, rest)?;
        rest = &rest[written..];
        lane.push(RECEIVE, chain.head, first + written)?;
    }
    Ok(Delivery::Done)
}

impl Function for Net {
    const ID: u32 = 1;
    const QUEUE_SIZE: u16 = 256;

    fn queues(&self) -> usize {
        2
    }

    fn features(&self) -> u64 {
        CSUM | GUEST_CSUM | MTU | HAS_MAC | MRG_RXBUF
    }

    /// §5.1.4: address, status, pairs of queues, MTU.
    fn config(&self) -> Vec<u8> {
        let mut bytes = self.mac.to_vec();
        bytes.extend([1, 0, 1, 0]);
        bytes.extend(self.mtu.to_le_bytes());
        bytes
    }

    fn service(&mut self, lane: &mut Lane<'_>) -> Result<(), Broken> {
        self.transmit(lane)?;
        self.receive(lane)
    }

    /// Frames on the cable are still on the cable.
    fn reset(&mut self) {}

    fn save(&self) -> Vec<u8> {
        self.state.to_bytes()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Malformed> {
        let state: State = whole(state)?;
        for frames in [&state.received, &state.sent] {
            check(frames.len() <= FRAME_LIMIT)?;
            check(frames.iter().all(|frame| frame.len() <= self.largest()))?;
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use emulator_bus::Memory;

    use super::super::driver::{bring_up, bring_up_with, load, store, torment};
    use super::super::{Mmio, VERSION_1};
    use super::*;

    fn device() -> (Mmio<Net>, Memory) {
        (Mmio::new(Net::new(MAC, 1500)), Memory::new(1 << 16))
    }

    #[test]
    fn the_guest_learns_address_and_mtu() {
        let (mut device, mut memory) = device();
        assert_eq!(load(&mut device, &mut memory, 0x100), 0x006D_7602);
        assert_eq!(load(&mut device, &mut memory, 0x108), 1500 << 16 | 1);
    }

    #[test]
    fn frames_leave_without_their_header() {
        let (mut device, mut memory) = device();
        let mut drivers = bring_up(&mut device, &mut memory);
        memory.slice_mut(0x8000, 16).unwrap().copy_from_slice(b"headerheaderFRAM");
        memory.write(0x9000, b'E').unwrap();
        drivers[1].post(&mut memory, &[(0x8000, 16), (0x9000, 1)], &[]);
        drivers[1].post(&mut memory, &[(0x8000, 11)], &[]);
        drivers[1].post(&mut memory, &[(0x8000, 12 + 1519)], &[]);
        store(&mut device, &mut memory, 0x50, 1);
        assert_eq!(device.function_mut().take(), Some(b"FRAME".to_vec()));
        assert_eq!((device.function_mut().take(), device.function().dropped()), (None, 2));
        for _ in 0..3 {
            assert!(drivers[1].done(&memory).is_some());
        }
    }

    #[test]
    fn a_frame_waits_for_enough_buffers() {
        let (mut device, mut memory) = device();
        let mut drivers = bring_up(&mut device, &mut memory);
        device.function_mut().offer(b"0123456789".to_vec()).unwrap();
        drivers[0].post(&mut memory, &[], &[(0x8000, 16)]);
        device.service(&mut memory);
        assert_eq!(drivers[0].done(&memory), None);
        drivers[0].post(&mut memory, &[], &[(0x9000, 3), (0xA000, 99)]);
        device.service(&mut memory);
        assert_eq!(drivers[0].done(&memory), Some((0, 16)));
        assert_eq!(drivers[0].done(&memory), Some((1, 6)));
        assert_eq!(memory.slice(0x8000, 16).unwrap(), b"\x02\0\0\0\0\0\0\0\0\0\x02\x000123");
        assert_eq!(memory.slice(0x9000, 3).unwrap(), b"456");
        assert_eq!(memory.slice(0xA000, 4).unwrap(), b"789\0");
    }

    #[test]
    fn without_merging_a_frame_has_one_buffer_or_none() {
        let (mut device, mut memory) = device();
        let mut drivers = bring_up_with(&mut device, &mut memory, VERSION_1);
        for frame in [vec![1; 100], vec![2; 4]] {
            device.function_mut().offer(frame).unwrap();
        }
        drivers[0].post(&mut memory, &[], &[(0x8000, 32)]);
        device.service(&mut memory);
        assert_eq!(drivers[0].done(&memory), Some((0, 16)));
        assert_eq!(
            memory.slice(0x8000, 16).unwrap(),
            b"\0\0\0\0\0\0\0\0\0\0\x01\0\x02\x02\x02\x02"
        );
        assert_eq!(device.function().dropped(), 1);
    }

    #[test]
    fn both_ways_are_bounded_and_nothing_is_lost() {
        let (mut device, mut memory) = device();
        let mut drivers = bring_up(&mut device, &mut memory);
        for _ in 0..FRAME_LIMIT {
            device.function_mut().offer(vec![0; 60]).unwrap();
        }
        assert!(!device.function().has_room());
        assert_eq!(device.function_mut().offer(vec![5]), Err(Full(vec![5])));
        for _ in 0..FRAME_LIMIT + 1 {
            drivers[1].post(&mut memory, &[(0x8000, 60)], &[]);
            store(&mut device, &mut memory, 0x50, 1);
        }
        let given_back = std::iter::from_fn(|| drivers[1].done(&memory)).count();
        assert_eq!(given_back, FRAME_LIMIT);
        let bytes = device.save();
        device.restore(&bytes).unwrap();
        assert!(device.function_mut().take().is_some());
        device.service(&mut memory);
        assert!(drivers[1].done(&memory).is_some());
    }

    #[test]
    fn a_hostile_driver_is_survived() {
        torment(device().0, 9, |device| {
            let _ = device.function_mut().offer(vec![9; 200]);
            device.function_mut().take();
        });
    }
}
