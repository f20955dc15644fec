//! The local APIC of the one processor (Intel SDM vol. 3, chapter 11 "APIC"): priorities,
//! IPIs to itself, the timer; as MSRs (x2APIC, §11.12) and as memory (xAPIC, §11.4).
//!
//! The timer's bus clock is the time-stamp counter's: 1 GHz.
//!
//! Absent: NMI, SMI, INIT and start-up messages (there is nobody to start), the thermal and
//! performance interrupts (kept as registers, never raised), another base address.

mod access;
mod timer;

pub use access::is_msr;
pub use timer::SHORTEST_PERIOD;

use emulator_bus::{Cycle, Device, Ticks, Width};

use crate::state::{Malformed, check, record};

/// Where a processor finds its APIC; the only address that IA32_APIC_BASE accepts.
pub const BASE: u64 = 0xFEE0_0000;

/// IA32_APIC_BASE (§11.4.4): bootstrap processor, x2APIC, enabled.
pub(crate) const BSP: u64 = 1 << 8;
pub(crate) const X2APIC: u64 = 1 << 10;
pub(crate) const ENABLE: u64 = 1 << 11;

/// Integrated APIC with six LVT entries (§11.4.8).
pub(crate) const VERSION: u32 = 0x14 | 5 << 16;

/// Spurious-interrupt vector register: software enable (§11.9).
const SOFTWARE_ENABLE: u32 = 1 << 8;
/// Its vector, that bit, and bit 9, focus checking, which Linux sets and nobody has.
const SPURIOUS_BITS: u32 = 0x3FF;
const MASKED: u32 = 1 << 16;

/// Error status (§11.5.3): illegal vector sent, received.
const SENT_ILLEGAL: u32 = 1 << 5;
const RECEIVED_ILLEGAL: u32 = 1 << 6;
/// Vectors below are the processor's own exceptions.
const FIRST_VECTOR: u8 = 16;

/// Entries of the local vector table, in the order of their registers (§11.5.1).
const LVT_TIMER: usize = 0;
const LVT_LINT0: usize = 3;
const LVT_ERROR: usize = 5;
/// Bits of each entry that can be written: vector, mask, mode, trigger, polarity.
const LVT_BITS: [u32; 6] = [0x7_00FF, 0x1_07FF, 0x1_07FF, 0x1_A7FF, 0x1_A7FF, 0x1_00FF];
const LVT_MODE: u32 = 0x700;
const MODE_EXTINT: u32 = 0x700;

record! {
    /// Everything that a guest can tell of its APIC.
    pub struct State {
        /// IA32_APIC_BASE.
        pub base: u64,
        /// Task priority.
        pub tpr: u8,
        /// Logical destination (xAPIC mode; x2APIC derives it).
        pub ldr: u32,
        /// Destination format.
        pub dfr: u32,
        /// Spurious vector and software enable.
        pub svr: u32,
        /// In service, a bit a vector.
        pub isr: [u32; 8],
        /// Level-triggered, a bit a vector.
        pub tmr: [u32; 8],
        /// Requested, a bit a vector.
        pub irr: [u32; 8],
        /// Errors that the guest sees.
        pub esr: u32,
        /// Errors since it last looked.
        pub errors: u32,
        /// Interrupt command.
        pub icr: u64,
        /// Local vector table: timer, thermal, performance, LINT0, LINT1, error.
        pub lvt: [u32; 6],
        /// Divide configuration.
        pub divide: u32,
        /// Initial count.
        pub initial: u32,
        /// When the timer is next due, in whatever mode.
        pub due: Option<Ticks>,
        /// The level-triggered vector that the I/O APIC has yet to hear the end of.
        pub ended: Option<u8>,
    }
}

/// The APIC.
#[derive(Debug)]
pub struct Lapic {
    pub(crate) state: State,
    /// Follows from the state: is there a vector above the processor's priority?
    ready: Option<u8>,
}

impl Default for Lapic {
    /// After power-up (§11.4.7): enabled in xAPIC mode, software-disabled, all masked.
    fn default() -> Self {
        let state = State {
            base: BASE | ENABLE | BSP,
            tpr: 0,
            ldr: 0,
            dfr: u32::MAX,
            svr: 0xFF,
            isr: [0; 8],
            tmr: [0; 8],
            irr: [0; 8],
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [MASKED; 6],
            divide: 0,
            initial: 0,
            due: None,
            ended: None,
        };
        Lapic { state, ready: None }
    }
}

/// The highest vector of a bitmap.
fn highest(map: &[u32; 8]) -> Option<u8> {
    let word = map.iter().rposition(|word| *word != 0)?;
    Some((word as u32 * 32 + 31 - map[word].leading_zeros()) as u8)
}

fn bit(vector: u8) -> (usize, u32) {
    (usize::from(vector / 32), 1 << (vector % 32))
}

impl Lapic {
    /// The APIC in this state.
    pub fn from_state(state: State) -> Result<Self, Malformed> {
        let mode = state.base & (ENABLE | X2APIC);
        check(state.base & !(ENABLE | X2APIC) == BASE | BSP && mode != X2APIC)?;
        check(state.lvt.iter().zip(LVT_BITS).all(|(entry, bits)| entry & !bits == 0))?;
        check(state.divide & !0xB == 0 && state.svr & !SPURIOUS_BITS == 0)?;
        check([&state.isr, &state.irr].iter().all(|map| map[0] & 0xFFFF == 0))?;
        let mut lapic = Lapic { state, ready: None };
        lapic.judge();
        Ok(lapic)
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Is there an interrupt to deliver now? One load.
    #[inline]
    pub fn pending(&self) -> bool {
        self.ready.is_some()
    }

    /// The processor takes the interrupt: from requested to in service (§11.8.4).
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.ready?;
        let (word, bit) = bit(vector);
        self.state.irr[word] &= !bit;
        self.state.isr[word] |= bit;
        self.judge();
        Some(vector)
    }

    /// A message arrives for this processor: fixed delivery of `vector`.
    pub fn accept(&mut self, vector: u8, level: bool) {
        if !self.is_enabled() {
            return;
        }
        if vector < FIRST_VECTOR {
            self.error(RECEIVED_ILLEGAL);
            return;
        }
        let (word, bit) = bit(vector);
        self.state.irr[word] |= bit;
        self.state.tmr[word] = self.state.tmr[word] & !bit | if level { bit } else { 0 };
        self.judge();
    }

    /// Is a message to `destination` for this processor (§11.6.2)? It has the number 0.
    pub fn is_addressed(&self, destination: u32, logical: bool) -> bool {
        let wide = self.state.base & X2APIC != 0;
        if destination == u32::MAX || !wide && destination == 0xFF {
            return true;
        }
        match (logical, wide) {
            (false, _) => destination == 0,
            (true, true) => destination >> 16 == 0 && destination & 1 != 0,
            (true, false) => {
                let own = self.state.ldr >> 24;
                if self.state.dfr >> 28 == 0xF {
                    own & destination != 0
                } else {
                    own >> 4 == destination >> 4 & 0xF && own & destination & 0xF != 0
                }
            }
        }
    }

    /// The end of a level-triggered interrupt, which the board tells the I/O APIC (§11.8.5).
    pub fn take_ended(&mut self) -> Option<u8> {
        self.state.ended.take()
    }

    /// Does the 8259's line get through to the processor? By LINT0 in virtual-wire mode, or
    /// past a disabled APIC (MP specification 1.4, §3.6.2).
    pub fn passes_legacy(&self) -> bool {
        let entry = self.state.lvt[LVT_LINT0];
        self.state.base & ENABLE == 0 || entry & MASKED == 0 && entry & LVT_MODE == MODE_EXTINT
    }

    /// CR8: the upper half of the task priority (§11.8.6).
    pub fn task_priority(&self) -> u8 {
        self.state.tpr >> 4
    }

    /// MOV to CR8.
    pub fn set_task_priority(&mut self, priority: u8) {
        self.state.tpr = priority << 4;
        self.judge();
    }

    fn is_enabled(&self) -> bool {
        self.state.base & ENABLE != 0 && self.state.svr & SOFTWARE_ENABLE != 0
    }

    /// Processor priority (§11.8.3.1).
    fn priority(&self) -> u8 {
        let serving = highest(&self.state.isr).unwrap_or(0) & 0xF0;
        if self.state.tpr & 0xF0 >= serving { self.state.tpr } else { serving }
    }

    /// After every change: which vector would be delivered?
    fn judge(&mut self) {
        let above = |vector: &u8| vector >> 4 > self.priority() >> 4;
        self.ready = highest(&self.state.irr).filter(above);
    }

    fn end_of_interrupt(&mut self) {
        let Some(vector) = highest(&self.state.isr) else { return };
        let (word, bit) = bit(vector);
        self.state.isr[word] &= !bit;
        if self.state.tmr[word] & bit != 0 {
            self.state.ended = Some(vector);
        }
        self.judge();
    }

    fn error(&mut self, error: u32) {
        self.state.errors |= error;
        let entry = self.state.lvt[LVT_ERROR];
        // An error entry with an illegal vector must not raise errors about itself.
        if entry & MASKED == 0 && entry as u8 >= FIRST_VECTOR {
            self.accept(entry as u8, false);
        }
    }

    /// Interrupt command (§11.6.1): what reaches this processor. Others do not exist.
    fn send(&mut self, command: u64) {
        self.state.icr = command;
        let low = command as u32;
        let wide = self.state.base & X2APIC != 0;
        let destination = (command >> if wide { 32 } else { 56 }) as u32;
        let reaches = match low >> 18 & 3 {
            0 => self.is_addressed(destination, low & 1 << 11 != 0),
            1 | 2 => true,
            _ => false,
        };
        // Fixed and lowest priority; the rest is for processors that do not exist.
        if low >> 8 & 7 > 1 {
            return;
        }
        if (low as u8) < FIRST_VECTOR {
            self.error(SENT_ILLEGAL);
        } else if reaches {
            self.accept(low as u8, false);
        }
    }
}

impl Device for Lapic {
    fn read(&mut self, offset: u64, _: Width, cycle: Cycle<'_>) -> u64 {
        self.load_memory(offset, cycle.now).into()
    }

    fn write(&mut self, offset: u64, _: Width, value: u64, cycle: Cycle<'_>) {
        self.store_memory(offset, value as u32, cycle.now);
    }

    fn line(&self) -> bool {
        self.pending()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled() -> Lapic {
        let mut lapic = Lapic::default();
        lapic.write_msr(0x1B, BASE | ENABLE | X2APIC | BSP, 0).unwrap();
        lapic.write_msr(0x80F, 0x1FF, 0).unwrap();
        lapic
    }

    #[test]
    fn the_highest_class_goes_first_and_waits_for_the_end() {
        let mut lapic = enabled();
        for vector in [0x41, 0x55, 0x42, 0xEF] {
            lapic.accept(vector, false);
        }
        assert_eq!(lapic.acknowledge(), Some(0xEF));
        assert_eq!(lapic.acknowledge(), None);
        lapic.write_msr(0x80B, 0, 0).unwrap();
        assert_eq!(lapic.acknowledge(), Some(0x55));
        // The same class does not interrupt itself, a higher one does.
        lapic.accept(0x5F, false);
        assert!(!lapic.pending());
        lapic.accept(0x60, false);
        assert_eq!(lapic.acknowledge(), Some(0x60));
        for expected in [None, Some(0x5F)] {
            lapic.write_msr(0x80B, 0, 0).unwrap();
            assert_eq!(lapic.acknowledge(), expected);
        }
    }

    #[test]
    fn the_task_priority_holds_back() {
        let mut lapic = enabled();
        lapic.set_task_priority(5);
        lapic.accept(0x5F, false);
        assert!(!lapic.pending());
        assert_eq!(lapic.read_msr(0x808, 0), Ok(0x50));
        assert_eq!(lapic.read_msr(0x80A, 0), Ok(0x50));
        lapic.write_msr(0x808, 0x4F, 0).unwrap();
        assert_eq!(lapic.task_priority(), 4);
        assert_eq!(lapic.acknowledge(), Some(0x5F));
        assert_eq!(lapic.read_msr(0x80A, 0), Ok(0x50));
    }

    #[test]
    fn the_end_of_a_level_is_told() {
        let mut lapic = enabled();
        lapic.accept(0x31, true);
        lapic.accept(0x42, false);
        assert_eq!(lapic.acknowledge(), Some(0x42));
        lapic.write_msr(0x80B, 0, 0).unwrap();
        assert_eq!(lapic.take_ended(), None);
        assert_eq!(lapic.acknowledge(), Some(0x31));
        assert_eq!(lapic.read_msr(0x819, 0), Ok(1 << 17));
        lapic.write_msr(0x80B, 0, 0).unwrap();
        assert_eq!((lapic.take_ended(), lapic.take_ended()), (Some(0x31), None));
    }

    #[test]
    fn a_processor_interrupts_itself_in_four_ways() {
        let mut lapic = enabled();
        lapic.write_msr(0x83F, 0x70, 0).unwrap();
        lapic.write_msr(0x830, 1 << 18 | 0x80, 0).unwrap();
        lapic.write_msr(0x830, 0x90, 0).unwrap();
        lapic.write_msr(0x830, 1 << 32 | 1 << 11 | 0xA0, 0).unwrap();
        // To all but itself, and to number 7.
        lapic.write_msr(0x830, 3 << 18 | 0xB0, 0).unwrap();
        lapic.write_msr(0x830, 7 << 32 | 0xC0, 0).unwrap();
        for vector in [0xA0, 0x90, 0x80, 0x70] {
            assert_eq!(lapic.acknowledge(), Some(vector));
            lapic.write_msr(0x80B, 0, 0).unwrap();
        }
        assert_eq!(lapic.acknowledge(), None);
    }

    #[test]
    fn illegal_vectors_are_errors() {
        let mut lapic = enabled();
        lapic.write_msr(0x837, 0xFE, 0).unwrap();
        lapic.write_msr(0x83F, 3, 0).unwrap();
        assert_eq!(lapic.read_msr(0x828, 0), Ok(0));
        lapic.write_msr(0x828, 0, 0).unwrap();
        assert_eq!(lapic.read_msr(0x828, 0), Ok(SENT_ILLEGAL.into()));
        assert_eq!(lapic.acknowledge(), Some(0xFE));
        // An error entry that is itself illegal does not recurse.
        lapic.write_msr(0x837, 2, 0).unwrap();
        lapic.accept(1, false);
        assert_eq!(lapic.acknowledge(), None);
    }

    #[test]
    fn the_old_way_addresses_by_bits() {
        let mut lapic = Lapic::default();
        lapic.store_memory(0xD0, 0x0200_0000, 0);
        assert!(lapic.is_addressed(2, true) && !lapic.is_addressed(1, true));
        assert!(lapic.is_addressed(0, false) && lapic.is_addressed(0xFF, false));
        lapic.store_memory(0xE0, 0x0FFF_FFFF, 0);
        assert!(lapic.is_addressed(0x02, true) && !lapic.is_addressed(0x12, true));
    }

    #[test]
    fn the_8259_gets_through_in_virtual_wire_mode() {
        let mut lapic = Lapic::default();
        assert!(!lapic.passes_legacy());
        lapic.store_memory(0xF0, 0x1FF, 0);
        lapic.store_memory(0x350, 0x700, 0);
        assert!(lapic.passes_legacy());
        lapic.store_memory(0x350, 0x1_0700, 0);
        assert!(!lapic.passes_legacy());
        lapic.write_msr(0x1B, BASE | BSP, 0).unwrap();
        assert!(lapic.passes_legacy());
    }

    #[test]
    fn a_state_comes_back_and_a_wrong_one_does_not() {
        let mut lapic = enabled();
        lapic.accept(0x99, true);
        let bytes = lapic.state().to_bytes();
        let mut twin = Lapic::from_state(State::from_bytes(&bytes).unwrap()).unwrap();
        assert_eq!(twin.state(), lapic.state());
        assert_eq!(twin.acknowledge(), Some(0x99));
        let wrong = State { base: X2APIC | BASE, ..twin.state().clone() };
        assert!(Lapic::from_state(wrong).is_err());
        let wrong = State { irr: [1, 0, 0, 0, 0, 0, 0, 0], ..twin.state().clone() };
        assert!(Lapic::from_state(wrong).is_err());
    }
}
