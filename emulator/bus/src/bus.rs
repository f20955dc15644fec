//! The trait through which a processor reaches what is not memory.

use crate::{Memory, Ticks, Width};

/// What a bus cycle carries besides address and data: guest memory, for devices that move
/// data by themselves, and the time.
#[derive(Debug)]
pub struct Cycle<'a> {
    /// Guest memory.
    pub memory: &'a mut Memory,
    /// The time-stamp counter at this instruction.
    pub now: Ticks,
}

/// Nobody answers at this address; for a model-specific register, the guest gets #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The board as a processor sees it.
///
/// Values are zero-extended; an access that nobody answers reads as all ones and writes
/// nowhere, as on a PC.
pub trait Bus {
    /// IN. At most four bytes.
    fn port_in(&mut self, port: u16, width: Width, cycle: Cycle<'_>) -> u32;

    /// OUT. At most four bytes.
    fn port_out(&mut self, port: u16, width: Width, value: u32, cycle: Cycle<'_>);

    /// A load from a guest-physical address that is not memory.
    fn mmio_read(&mut self, address: u64, width: Width, cycle: Cycle<'_>) -> u64;

    /// A store to a guest-physical address that is not memory.
    fn mmio_write(&mut self, address: u64, width: Width, value: u64, cycle: Cycle<'_>);

    /// RDMSR of a register that the processor does not hold itself: IA32_APIC_BASE (0x1B),
    /// IA32_TSC_DEADLINE (0x6E0), x2APIC (0x800–0x8FF), paravirtual (0x4B56_4Dxx, 0x11, 0x12).
    fn msr_read(&mut self, index: u32, cycle: Cycle<'_>) -> Result<u64, Refused>;

    /// WRMSR of such a register.
    fn msr_write(&mut self, index: u32, value: u64, cycle: Cycle<'_>) -> Result<(), Refused>;

    /// Is there an interrupt that the local APIC would deliver now? Asked between
    /// instructions, at the start of a slice, and after each cycle of this trait; must be
    /// cheap.
    fn interrupt(&self) -> bool;

    /// Does the board want the slice to end at this instruction, because a timer is due
    /// earlier than it was, or the guest has asked for an end? Asked like
    /// [`Bus::interrupt`]; must be cheap.
    fn leave(&self) -> bool {
        false
    }

    /// The processor takes the interrupt: the local APIC moves it from requested to in
    /// service and says its vector. `None` if it has gone.
    fn acknowledge(&mut self) -> Option<u8>;

    /// CR8: the task priority (bits 3:0).
    fn task_priority(&self) -> u8;

    /// MOV to CR8.
    fn set_task_priority(&mut self, priority: u8);

    /// Eight random bytes for RDRAND and RDSEED.
    fn entropy(&mut self) -> u64;
}
