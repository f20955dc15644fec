//! Bounded queues: of bytes, and of network frames.

use std::collections::VecDeque;

/// First in, first out, never more than its capacity.
#[derive(Debug)]
pub struct ByteQueue {
    bytes: VecDeque<u8>,
    capacity: usize,
}

impl ByteQueue {
    /// An empty queue that will hold at most `capacity` bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { bytes: VecDeque::new(), capacity }
    }

    /// Takes as much of `bytes` as there is room for, from the front; returns how many.
    #[must_use = "bytes beyond the returned count were not taken"]
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.bytes.extend(&bytes[..taken]);
        taken
    }

    /// Removes and returns up to `most` bytes from the front.
    pub fn pop(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.bytes.len());
        self.bytes.drain(..count).collect()
    }

    /// Up to `most` bytes from the front, which stay.
    #[must_use]
    pub fn peek(&self, most: usize) -> Vec<u8> {
        self.bytes.iter().take(most).copied().collect()
    }

    /// Bytes that could be pushed now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity - self.bytes.len()
    }

    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Ethernet frames, first in, first out. What does not fit is lost, as on any wire, and
/// counted: the protocols above send it again.
#[derive(Debug)]
pub struct FrameQueue {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    capacity: usize,
    lost: u64,
}

impl FrameQueue {
    /// An empty queue for frames of `capacity` bytes together.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, capacity, lost: 0 }
    }

    /// Takes a frame, or loses it.
    pub fn push(&mut self, frame: Vec<u8>) {
        if self.bytes + frame.len() > self.capacity {
            self.lost += 1;
            return;
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Removes and returns the first frame.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }

    /// The first frame, which stays.
    #[must_use]
    pub fn peek(&self) -> Option<&[u8]> {
        self.frames.front().map(Vec::as_slice)
    }

    /// Bytes of further frames that there is room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity - self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames that found no room, ever.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_do_not_fit_are_lost_and_counted() {
        let mut queue = FrameQueue::new(10);
        queue.push(vec![1; 6]);
        queue.push(vec![2; 5]);
        queue.push(vec![3; 4]);
        assert_eq!((queue.room(), queue.lost()), (0, 1));
        assert_eq!(queue.peek(), Some(&[1; 6][..]));
        assert_eq!(queue.pop(), Some(vec![1; 6]));
        assert_eq!(queue.pop(), Some(vec![3; 4]));
        assert_eq!(queue.room(), 10);
        assert!(queue.is_empty() && queue.pop().is_none());
    }

    #[test]
    fn never_holds_more_than_its_capacity() {
        let mut queue = ByteQueue::new(4);
        assert_eq!(queue.push(b"abc"), 3);
        assert_eq!(queue.push(b"def"), 1);
        assert_eq!(queue.push(b"x"), 0);
        assert_eq!(queue.room(), 0);
        assert_eq!(queue.pop(2), b"ab");
        assert_eq!(queue.push(b"ghi"), 2);
        assert_eq!(queue.peek(2), b"cd");
        assert_eq!(queue.pop(99), b"cdgh");
        assert!(queue.is_empty());
    }
}
