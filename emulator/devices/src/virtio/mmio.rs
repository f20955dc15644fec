//! The MMIO transport (virtio 1.2 §4.2): registers, negotiation, reset, and the line.

use emulator_bus::{Cycle, Device, Memory, Width};

use super::queue::{Broken, Queue};
use super::{EVENT_IDX, Function, INDIRECT_DESC, Lane, VERSION_1};
use crate::state::{Malformed, check, record, whole};

/// Bytes of the registers of a device.
pub const SIZE: u64 = 0x1000;

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;
/// "VIVA": nobody has asked anybody for this number; drivers do not look at it.
const VENDOR: u32 = u32::from_le_bytes(*b"VIVA");

/// Device status (§2.1).
const FEATURES_OK: u32 = 8;
const DRIVER_OK: u32 = 4;
const NEEDS_RESET: u32 = 64;
/// Interrupt status (§4.2.2): a buffer was used; the configuration has changed.
const USED: u32 = 1;
const CONFIG: u32 = 2;

const CONFIG_SPACE: u64 = 0x100;

record! {
    /// Everything that a guest can tell of the transport, and the function's state.
    pub struct State {
        /// Which half of the device's features is shown.
        pub device_half: u32,
        /// Which half of the driver's features is written.
        pub driver_half: u32,
        /// The driver's features.
        pub features: u64,
        /// The chosen queue.
        pub select: u32,
        /// Device status.
        pub status: u32,
        /// Interrupt status.
        pub interrupts: u32,
        /// Configuration generation.
        pub generation: u32,
        /// The queues.
        pub queues: Vec<Queue>,
        /// What the function says of itself.
        pub function: Vec<u8>,
    }
}

/// A virtio device.
#[derive(Debug)]
pub struct Mmio<F> {
    function: F,
    state: State,
}

impl<F: Function> Mmio<F> {
    /// A device that nobody drives yet.
    pub fn new(function: F) -> Self {
        let queues = vec![Queue::new(F::QUEUE_SIZE); function.queues()];
        let state = State {
            device_half: 0,
            driver_half: 0,
            features: 0,
            select: 0,
            status: 0,
            interrupts: 0,
            generation: 0,
            queues,
            function: Vec::new(),
        };
        Mmio { function, state }
    }

    /// What makes it the device that it is, for the board to give to and to take from; call
    /// [`Mmio::service`] after it.
    pub fn function_mut(&mut self) -> &mut F {
        &mut self.function
    }

    /// What makes it the device that it is.
    pub fn function(&self) -> &F {
        &self.function
    }

    /// Does a driver use it?
    pub fn is_live(&self) -> bool {
        self.state.status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK
    }

    /// Transport and function, as bytes.
    pub fn save(&self) -> Vec<u8> {
        State { function: self.function.save(), ..self.state.clone() }.to_bytes()
    }

    /// Takes on a state, or stays as it is.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut state: State = whole(bytes)?;
        check(state.queues.len() == self.state.queues.len())?;
        // Before FEATURES_OK a driver may have written anything.
        let agreed = state.status & FEATURES_OK != 0;
        check(!agreed || state.features & !self.offered() == 0)?;
        check(state.interrupts & !(USED | CONFIG) == 0)?;
        check(state.status <= 0xFF)?;
        for queue in &state.queues {
            queue.validate(F::QUEUE_SIZE)?;
        }
        self.function.restore(&std::mem::take(&mut state.function))?;
        self.state = state;
        Ok(())
    }

    /// Does all that can be done now, and raises the line if the driver wants to know.
    pub fn service(&mut self, memory: &mut Memory) {
        if !self.is_live() {
            return;
        }
        if self.round(memory).is_err() {
            self.state.status |= NEEDS_RESET;
            self.config_changed();
        }
    }

    fn round(&mut self, memory: &mut Memory) -> Result<(), Broken> {
        let features = self.state.features;
        let mut lane =
            Lane { queues: &mut self.state.queues, memory, features, config_changed: false };
        let result = self.function.service(&mut lane);
        let config_changed = lane.config_changed;
        // What was given back before the fault was given back.
        for queue in &mut self.state.queues {
            if queue.settle(memory, features)? {
                self.state.interrupts |= USED;
            }
        }
        if config_changed {
            self.config_changed();
        }
        result
    }

    fn config_changed(&mut self) {
        self.state.generation = self.state.generation.wrapping_add(1);
        self.state.interrupts |= CONFIG;
    }

    fn offered(&self) -> u64 {
        self.function.features() | VERSION_1 | INDIRECT_DESC | EVENT_IDX
    }

    fn reset(&mut self) {
        self.function.reset();
        let generation = self.state.generation;
        let queues = vec![Queue::new(F::QUEUE_SIZE); self.state.queues.len()];
        self.state = State {
            device_half: 0,
            driver_half: 0,
            features: 0,
            select: 0,
            status: 0,
            interrupts: 0,
            generation,
            queues,
            function: Vec::new(),
        };
    }

    /// §2.1: a driver adds bits, in order; FEATURES_OK stays away if we cannot agree.
    fn set_status(&mut self, status: u32, memory: &mut Memory) {
        if status == 0 {
            return self.reset();
        }
        let mut status = status & 0xFF & !NEEDS_RESET | self.state.status;
        let agreed =
            self.state.features & VERSION_1 != 0 && self.state.features & !self.offered() == 0;
        if !agreed {
            status &= !(FEATURES_OK | DRIVER_OK);
        }
        self.state.status = status;
        self.service(memory);
    }

    fn set_features(&mut self, value: u32) {
        // §3.1.1: after FEATURES_OK nothing more is agreed upon.
        if self.state.status & FEATURES_OK != 0 {
            return;
        }
        let features = &mut self.state.features;
        match self.state.driver_half {
            0 => *features = *features & !0xFFFF_FFFF | u64::from(value),
            1 => *features = *features & 0xFFFF_FFFF | u64::from(value) << 32,
            _ => {}
        }
    }

    fn store_queue(&mut self, offset: u64, value: u32, memory: &Memory) {
        let Some(queue) = self.state.queues.get_mut(self.state.select as usize) else { return };
        if offset == 0x44 && value == 0 {
            // §4.2.2.2: the driver takes the queue away.
            queue.ready = false;
        }
        if queue.ready {
            return;
        }
        let low = |address: u64| address & !0xFFFF_FFFF | u64::from(value);
        let high = |address: u64| address & 0xFFFF_FFFF | u64::from(value) << 32;
        match offset {
            0x38 => {
                if let Ok(size) = u16::try_from(value)
                    && Queue::new(size).validate(F::QUEUE_SIZE).is_ok()
                {
                    queue.size = size;
                }
            }
            // An area that is no memory: the register stays 0, and the driver gives up.
            0x44 => queue.ready = value & 1 != 0 && queue.is_placed(memory),
            0x80 => queue.descriptors = low(queue.descriptors),
            0x84 => queue.descriptors = high(queue.descriptors),
            0x90 => queue.available = low(queue.available),
            0x94 => queue.available = high(queue.available),
            0xA0 => queue.used = low(queue.used),
            0xA4 => queue.used = high(queue.used),
            _ => {}
        }
    }

    fn load(&self, offset: u64) -> u32 {
        let queue = self.state.queues.get(self.state.select as usize);
        match offset {
            0x00 => MAGIC,
            0x04 => VERSION,
            0x08 => F::ID,
            0x0C => VENDOR,
            0x10 => match self.state.device_half {
                0 => self.offered() as u32,
                1 => (self.offered() >> 32) as u32,
                _ => 0,
            },
            0x34 => queue.map_or(0, |_| F::QUEUE_SIZE.into()),
            0x44 => queue.map_or(0, |queue| queue.ready.into()),
            0x60 => self.state.interrupts,
            0x70 => self.state.status,
            // §4.2.2: a shared memory region that does not exist has the length -1.
            0xB0..=0xBC => u32::MAX,
            0xFC => self.state.generation,
            _ => 0,
        }
    }

    fn store(&mut self, offset: u64, value: u32, memory: &mut Memory) {
        match offset {
            0x14 => self.state.device_half = value,
            0x20 => self.set_features(value),
            0x24 => self.state.driver_half = value,
            0x30 => self.state.select = value,
            0x38 | 0x44 | 0x80..=0xA4 => self.store_queue(offset, value, memory),
            0x50 => self.service(memory),
            0x64 => self.state.interrupts &= !value,
            0x70 => self.set_status(value, memory),
            _ => {}
        }
    }
}

impl<F: Function> Device for Mmio<F> {
    fn read(&mut self, offset: u64, width: Width, _: Cycle<'_>) -> u64 {
        if offset < CONFIG_SPACE {
            return self.load(offset).into();
        }
        let config = self.function.config();
        let at = usize::try_from(offset - CONFIG_SPACE).unwrap_or(usize::MAX);
        let bytes = config.iter().skip(at).take(width.bytes() as usize);
        bytes.rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn write(&mut self, offset: u64, _: Width, value: u64, cycle: Cycle<'_>) {
        if offset < CONFIG_SPACE {
            self.store(offset, value as u32, cycle.memory);
        } else {
            self.function.configure(offset - CONFIG_SPACE, value as u32);
        }
    }

    fn line(&self) -> bool {
        self.state.interrupts != 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::driver::{bring_up, load, store};
    use super::super::rng::Rng;
    use super::*;

    fn device() -> (Mmio<Rng>, Memory) {
        (Mmio::new(Rng::default()), Memory::new(1 << 16))
    }

    #[test]
    fn a_driver_brings_it_up_and_down() {
        let (mut device, mut memory) = device();
        bring_up(&mut device, &mut memory);
        assert!(device.is_live());
        assert_eq!(load(&mut device, &mut memory, 0x08), 4);
        assert_eq!(load(&mut device, &mut memory, 0xB0), 0xFFFF_FFFF);
        store(&mut device, &mut memory, 0x70, 0);
        assert!(!device.is_live());
        assert_eq!(load(&mut device, &mut memory, 0x44), 0);
    }

    #[test]
    fn features_that_were_not_offered_are_not_agreed_upon() {
        let (mut device, mut memory) = device();
        for (half, bits) in [(0, 1), (1, 1)] {
            store(&mut device, &mut memory, 0x24, half);
            store(&mut device, &mut memory, 0x20, bits);
        }
        store(&mut device, &mut memory, 0x70, 0xB);
        assert_eq!(load(&mut device, &mut memory, 0x70), 3);
        store(&mut device, &mut memory, 0x24, 0);
        store(&mut device, &mut memory, 0x20, 0);
        store(&mut device, &mut memory, 0x70, 0xB);
        assert_eq!(load(&mut device, &mut memory, 0x70), 0xB);
        // Without VERSION_1 there is no agreement either.
        store(&mut device, &mut memory, 0x70, 0);
        store(&mut device, &mut memory, 0x70, 0xF);
        assert_eq!(load(&mut device, &mut memory, 0x70), 3);
    }

    #[test]
    fn queues_must_be_in_memory_and_a_power_of_two() {
        let (mut device, mut memory) = device();
        store(&mut device, &mut memory, 0x80, 0xFFF0);
        store(&mut device, &mut memory, 0x44, 1);
        assert_eq!(load(&mut device, &mut memory, 0x44), 0);
        let size = device.state.queues[0].size;
        for wrong in [0, 3, 0x8000, 0x1_0004] {
            store(&mut device, &mut memory, 0x38, wrong);
            assert_eq!(device.state.queues[0].size, size);
        }
        store(&mut device, &mut memory, 0x30, 7);
        assert_eq!(load(&mut device, &mut memory, 0x34), 0);
    }

    #[test]
    fn a_broken_queue_asks_for_a_reset_and_harms_nobody() {
        let (mut device, mut memory) = device();
        let drivers = bring_up(&mut device, &mut memory);
        memory.write(drivers[0].queue().available + 2, 0x4000u16).unwrap();
        store(&mut device, &mut memory, 0x50, 0);
        assert_eq!(load(&mut device, &mut memory, 0x70), 0x4F);
        assert!(device.line());
        assert_eq!(load(&mut device, &mut memory, 0x60), 2);
        store(&mut device, &mut memory, 0x64, 2);
        assert!(!device.line());
        memory.slice_mut(0x1000, 0x1000).unwrap().fill(0);
        bring_up(&mut device, &mut memory);
        assert!(device.is_live());
    }
}
