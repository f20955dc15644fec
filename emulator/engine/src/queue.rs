//! A bounded queue of bytes.

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

#[cfg(test)]
mod tests {
    use super::*;

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
