//! The entropy device (virtio 1.2 §5.4): buffers of the guest's, random bytes of the owner's.

use emulator_bus::Memory;

use super::queue::{Broken, Chain, check_chains};
use super::{Function, Lane};
use crate::state::{Malformed, check, record, whole};

/// Bytes that are asked for and kept at a time: Linux's buffers have 64 or less.
pub const POOL: usize = 4096;

record! {
    /// What the device holds.
    pub struct State {
        /// Random bytes that nobody has got yet.
        pub pool: Vec<u8>,
        /// A buffer that waits for bytes.
        pub waiting: Vec<Chain>,
    }
}

/// The device.
#[derive(Debug)]
pub struct Rng {
    state: State,
}

impl Default for Rng {
    fn default() -> Self {
        Rng { state: State { pool: Vec::new(), waiting: Vec::new() } }
    }
}

impl Rng {
    /// How many bytes the owner should supply now. Zero while the guest asks for none.
    pub fn wanted(&self) -> usize {
        let asked: u64 = self.state.waiting.iter().map(Chain::writable_length).sum();
        asked.min(POOL as u64) as usize - self.state.pool.len().min(asked.min(POOL as u64) as usize)
    }

    /// Supplies random bytes; what is beyond [`POOL`] is not taken.
    pub fn supply(&mut self, bytes: &[u8]) {
        let room = POOL - self.state.pool.len();
        self.state.pool.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Throws away what was supplied: after a restore, so that two copies of a machine differ.
    pub fn forget(&mut self) {
        self.state.pool.clear();
    }

    fn fill(&mut self, memory: &mut Memory, chain: &Chain) -> Result<usize, Broken> {
        let written = chain.write(memory, 0, &self.state.pool)?;
        self.state.pool.drain(..written);
        Ok(written)
    }
}

impl Function for Rng {
    const ID: u32 = 4;
    const QUEUE_SIZE: u16 = 64;

    fn queues(&self) -> usize {
        1
    }

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    /// A buffer gets at least a byte (§5.4.6.2), and need not be filled.
    fn service(&mut self, lane: &mut Lane<'_>) -> Result<(), Broken> {
        loop {
            if self.state.waiting.is_empty() {
                self.state.waiting.extend(lane.pop(0)?);
            }
            let Some(chain) = self.state.waiting.first().cloned() else { return Ok(()) };
            if self.state.pool.is_empty() && chain.writable_length() != 0 {
                return Ok(());
            }
            self.state.waiting.clear();
            let written = self.fill(lane.memory, &chain)?;
            lane.push(0, chain.head, written)?;
        }
    }

    fn reset(&mut self) {
        self.state.waiting.clear();
    }

    fn save(&self) -> Vec<u8> {
        self.state.to_bytes()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Malformed> {
        let state: State = whole(state)?;
        check(state.pool.len() <= POOL && state.waiting.len() <= 1)?;
        check_chains(&state.waiting)?;
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mmio;
    use super::super::driver::{bring_up, store, torment};
    use super::*;

    #[test]
    fn entropy_is_asked_for_when_it_is_needed() {
        let (mut device, mut memory) = (Mmio::new(Rng::default()), Memory::new(1 << 16));
        let mut drivers = bring_up(&mut device, &mut memory);
        assert_eq!(device.function().wanted(), 0);
        let head = drivers[0].post(&mut memory, &[], &[(0x8000, 10)]);
        store(&mut device, &mut memory, 0x50, 0);
        assert_eq!(device.function().wanted(), 10);
        assert_eq!(drivers[0].done(&memory), None);
        let bytes = device.save();
        device.restore(&bytes).unwrap();
        device.function_mut().supply(b"0123456789abc");
        device.service(&mut memory);
        assert!(emulator_bus::Device::line(&device));
        assert_eq!(drivers[0].done(&memory), Some((head, 10)));
        assert_eq!(memory.slice(0x8000, 11).unwrap(), b"0123456789\0");
        drivers[0].post(&mut memory, &[], &[(0x8000, 100)]);
        store(&mut device, &mut memory, 0x50, 0);
        assert_eq!(drivers[0].done(&memory).map(|(_, written)| written), Some(3));
        device.function_mut().supply(&[1; 2 * POOL]);
        device.function_mut().forget();
        assert_eq!(device.function().wanted(), 0);
    }

    #[test]
    fn a_hostile_driver_is_survived() {
        torment(Mmio::new(Rng::default()), 7, |device| device.function_mut().supply(&[7; 50]));
    }
}
