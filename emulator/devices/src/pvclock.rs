//! KVM's paravirtual clock (Linux, Documentation/virt/kvm/x86/msr.rst): a page in which the
//! guest reads how its time-stamp counter and its time belong together.
//!
//! The counter runs at 1 GHz and is the guest's time, so the page says "the same", once; and
//! it is written anew only after a restore. CPUID must offer feature bits 3 (these MSRs) and
//! 24 (stable), and may offer 0 (their old numbers).

use emulator_bus::{Memory, Refused, TICKS_PER_SECOND, Ticks, Unmapped};

use crate::state::{Malformed, check, record};

/// MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_SYSTEM_TIME_NEW, and the old numbers.
const WALL_CLOCK: [u32; 2] = [0x4B56_4D00, 0x11];
const SYSTEM_TIME: [u32; 2] = [0x4B56_4D01, 0x12];
const ENABLE: u64 = 1;

/// Flags of the page: monotonic across processors; the guest has been stopped.
const STABLE: u8 = 1;
const STOPPED: u8 = 2;
/// Nanoseconds = ticks << shift >> 32 times the multiplier: 2^1 × 2^31 / 2^32 = 1.
const SHIFT: u8 = 1;
const MULTIPLIER: u32 = 1 << 31;
/// Seconds of the wall clock must fit the 32 bits of the interface.
const LAST_EPOCH: u64 = u32::MAX as u64 * 1_000_000_000;

record! {
    /// Everything that a guest can tell of it.
    pub struct State {
        /// The wall clock's register.
        pub wall: u64,
        /// The time page's register: address and, as bit 0, enabled.
        pub page: u64,
        /// Nanoseconds since 1970 at tick 0.
        pub epoch: u64,
        /// The page's version, even between two updates.
        pub version: u32,
    }
}

/// The clock.
#[derive(Debug)]
pub struct Pvclock {
    state: State,
}

/// Is this register one of the clock's?
pub fn is_msr(index: u32) -> bool {
    WALL_CLOCK.contains(&index) || SYSTEM_TIME.contains(&index)
}

impl Pvclock {
    /// A clock that says `epoch`, in nanoseconds since 1970, at tick 0.
    pub fn new(epoch: u64) -> Self {
        Pvclock { state: State { wall: 0, page: 0, epoch: epoch.min(LAST_EPOCH), version: 0 } }
    }

    /// The clock in this state.
    pub fn from_state(state: State) -> Result<Self, Malformed> {
        check(state.version & 1 == 0 && state.epoch <= LAST_EPOCH)?;
        Ok(Pvclock { state })
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// RDMSR.
    pub fn read_msr(&self, index: u32) -> Result<u64, Refused> {
        match index {
            _ if WALL_CLOCK.contains(&index) => Ok(self.state.wall),
            _ if SYSTEM_TIME.contains(&index) => Ok(self.state.page),
            _ => Err(Refused),
        }
    }

    /// WRMSR: writes the wall clock once, or the page.
    pub fn write_msr(
        &mut self,
        index: u32,
        value: u64,
        memory: &mut Memory,
        now: Ticks,
    ) -> Result<(), Refused> {
        if WALL_CLOCK.contains(&index) {
            self.state.wall = value;
            return self.write_wall(memory).map_err(|Unmapped| Refused);
        }
        if !SYSTEM_TIME.contains(&index) {
            return Err(Refused);
        }
        self.state.page = value;
        self.write_page(memory, now, 0).map_err(|Unmapped| Refused)
    }

    /// After a restore: the time of day at tick 0 is `epoch` now, and the guest learns that it
    /// has been stopped, so that it does not take the gap for a lockup.
    pub fn resume(&mut self, epoch: u64, memory: &mut Memory, now: Ticks) {
        self.state.epoch = epoch.min(LAST_EPOCH);
        // The address was good when it was given; if it is not any more, there is no page.
        let _ = self.write_page(memory, now, STOPPED);
    }

    /// `struct pvclock_wall_clock`: version, seconds, nanoseconds at tick 0.
    fn write_wall(&mut self, memory: &mut Memory) -> Result<(), Unmapped> {
        let (at, epoch) = (self.state.wall, self.state.epoch);
        memory.slice(at, 12)?;
        memory.write(at, 2u32)?;
        memory.write(at + 4, (epoch / TICKS_PER_SECOND) as u32)?;
        memory.write(at + 8, (epoch % TICKS_PER_SECOND) as u32)
    }

    /// `struct pvclock_vcpu_time_info`, 32 bytes.
    fn write_page(&mut self, memory: &mut Memory, now: Ticks, flags: u8) -> Result<(), Unmapped> {
        if self.state.page & ENABLE == 0 {
            return Ok(());
        }
        let at = self.state.page & !ENABLE;
        memory.slice(at, 32)?;
        self.state.version = self.state.version.wrapping_add(2);
        memory.write(at, self.state.version)?;
        memory.write(at + 4, 0u32)?;
        memory.write(at + 8, now)?;
        memory.write(at + 16, now)?;
        memory.write(at + 24, MULTIPLIER)?;
        memory.write(at + 28, u32::from_le_bytes([SHIFT, STABLE | flags, 0, 0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Linux computes from the page (arch/x86/include/asm/pvclock.h).
    fn read_clock(memory: &Memory, at: u64, tsc: u64) -> u64 {
        assert_eq!(memory.read::<u32>(at).unwrap() & 1, 0);
        let delta = tsc - memory.read::<u64>(at + 8).unwrap();
        let shifted = delta << memory.read::<u8>(at + 28).unwrap();
        let multiplier = memory.read::<u32>(at + 24).unwrap();
        let passed = ((u128::from(shifted) * u128::from(multiplier)) >> 32) as u64;
        memory.read::<u64>(at + 16).unwrap() + passed
    }

    #[test]
    fn the_guest_reads_its_own_ticks() {
        let mut memory = Memory::new(8192);
        let mut clock = Pvclock::new(1_700_000_000_000_000_123);
        clock.write_msr(0x4B56_4D01, 0x1040 | 1, &mut memory, 5_000).unwrap();
        assert_eq!(read_clock(&memory, 0x1040, 5_000), 5_000);
        assert_eq!(read_clock(&memory, 0x1040, 123_456_789_012), 123_456_789_012);
        assert_eq!(memory.read::<u8>(0x105D), Ok(STABLE));
        clock.write_msr(0x11, 0x800, &mut memory, 0).unwrap();
        assert_eq!(memory.read::<u32>(0x804), Ok(1_700_000_000));
        assert_eq!(memory.read::<u32>(0x808), Ok(123));
        clock.resume(0, &mut memory, 9_000);
        assert_eq!(memory.read::<u32>(0x1040), Ok(4));
        assert_eq!(memory.read::<u8>(0x105D), Ok(STABLE | STOPPED));
        assert_eq!(clock.read_msr(0x12), Ok(0x1041));
    }

    #[test]
    fn addresses_that_are_no_memory_are_refused() {
        let mut memory = Memory::new(8192);
        let mut clock = Pvclock::new(u64::MAX);
        for at in [8192 - 30, 8192, u64::MAX - 1, u64::MAX - 20] {
            assert_eq!(clock.write_msr(0x4B56_4D01, at | 1, &mut memory, 0), Err(Refused));
        }
        assert_eq!(clock.write_msr(0x4B56_4D00, u64::MAX - 3, &mut memory, 0), Err(Refused));
        assert_eq!(clock.write_msr(0x13, 0, &mut memory, 0), Err(Refused));
        clock.write_msr(0x12, !1, &mut memory, 0).unwrap();
        let state = State::from_bytes(&clock.state().to_bytes()).unwrap();
        assert_eq!(Pvclock::from_state(state.clone()).unwrap().state(), clock.state());
        assert!(Pvclock::from_state(State { version: 1, ..state }).is_err());
    }
}
