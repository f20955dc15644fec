//! What a function gets to work with: the queues, memory, and what was agreed upon.

use emulator_bus::Memory;

use super::queue::{Broken, Chain, Queue};

/// One round of service.
#[derive(Debug)]
pub struct Lane<'a> {
    pub(super) queues: &'a mut [Queue],
    /// Guest memory.
    pub memory: &'a mut Memory,
    /// The features that driver and device have agreed upon.
    pub features: u64,
    pub(super) config_changed: bool,
}

impl Lane<'_> {
    /// Takes the next buffer of a queue. A queue that does not exist has none.
    pub fn pop(&mut self, queue: usize) -> Result<Option<Chain>, Broken> {
        match self.queues.get_mut(queue) {
            Some(queue) => queue.pop(self.memory, self.features),
            None => Ok(None),
        }
    }

    /// Puts back the last `count` buffers that were taken.
    pub fn unpop(&mut self, queue: usize, count: u16) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.unpop(count);
        }
    }

    /// Gives a buffer back with `written` bytes in it.
    pub fn push(&mut self, queue: usize, head: u16, written: usize) -> Result<(), Broken> {
        let queue = self.queues.get_mut(queue).ok_or(Broken)?;
        queue.push(self.memory, head, written.try_into().unwrap_or(u32::MAX))
    }

    /// The configuration space is not what it was: the driver gets an interrupt.
    pub fn config_changed(&mut self) {
        self.config_changed = true;
    }
}
