//! Messages that wait for the WebSocket.

use std::collections::VecDeque;

use crate::MAX_DATA;
use crate::packet::{HEADER, Packet};

/// Bytes that wait before `send` takes no more: enough to keep a fast socket busy between two
/// turns of its loop, little enough that a slow one does not hoard.
pub const OUTBOX: usize = 1024 * 1024;

/// Bytes that wait before the peer is cut off: above [`OUTBOX`] only answers are queued
/// (CLOSE, CONTINUE, CREDIT), and a peer that provokes a whole MiB of them reads nothing.
const FLOOD: usize = 2 * OUTBOX;

/// What a message costs beside its bytes: its `Vec`, its place in the queue, the allocator's
/// share. Without it a million messages of 6 bytes would count as 6 MB.
const COST: usize = 64;

/// A queue of whole messages.
#[derive(Default)]
pub(crate) struct Outbox {
    messages: VecDeque<Vec<u8>>,
    queued: usize,
}

impl Outbox {
    pub(crate) fn push(&mut self, packet: &Packet<'_>) {
        let mut message = Vec::with_capacity(packet.size());
        packet.write(&mut message);
        self.queued += message.len() + COST;
        self.messages.push_back(message);
    }

    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let message = self.messages.pop_front()?;
        self.queued -= message.len() + COST;
        Some(message)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes of data that may be queued now, in whole packets: a rest would be sent as a
    /// small packet, and packets are what the credit of version 1 counts.
    pub(crate) const fn room(&self) -> usize {
        OUTBOX.saturating_sub(self.queued) / (HEADER + MAX_DATA + COST) * MAX_DATA
    }

    pub(crate) const fn flooded(&self) -> bool {
        self.queued > FLOOD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_waits() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.room(), 63 * MAX_DATA);
        let data = Packet::Data { stream: 1, bytes: &[7; MAX_DATA] };
        while outbox.room() > 0 {
            outbox.push(&data);
        }
        assert_eq!(outbox.messages.len(), 63);
        let mut answers = 0;
        while !outbox.flooded() {
            outbox.push(&Packet::Shutdown { stream: 1 });
            answers += 1;
        }
        assert_eq!(answers, (FLOOD - 63 * (HEADER + MAX_DATA + COST)) / (HEADER + COST) + 1);
        while outbox.pop().is_some() {}
        assert_eq!((outbox.queued, outbox.room()), (0, 63 * MAX_DATA));
    }
}
