//! A board with nothing on it: for programs that need a processor and memory only.

use crate::{Bus, Cycle, Refused, Width};

/// Answers as a bus does where nobody is; it remembers the task priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Empty {
    priority: u8,
}

impl Bus for Empty {
    fn port_in(&mut self, _: u16, width: Width, _: Cycle<'_>) -> u32 {
        width.mask() as u32
    }
    fn port_out(&mut self, _: u16, _: Width, _: u32, _: Cycle<'_>) {}
    fn mmio_read(&mut self, _: u64, width: Width, _: Cycle<'_>) -> u64 {
        width.mask()
    }
    fn mmio_write(&mut self, _: u64, _: Width, _: u64, _: Cycle<'_>) {}
    fn msr_read(&mut self, _: u32, _: Cycle<'_>) -> Result<u64, Refused> {
        Err(Refused)
    }
    fn msr_write(&mut self, _: u32, _: u64, _: Cycle<'_>) -> Result<(), Refused> {
        Err(Refused)
    }
    fn interrupt(&self) -> bool {
        false
    }
    fn acknowledge(&mut self) -> Option<u8> {
        None
    }
    fn task_priority(&self) -> u8 {
        self.priority
    }
    fn set_task_priority(&mut self, priority: u8) {
        self.priority = priority;
    }
    fn entropy(&mut self) -> u64 {
        0
    }
}
