//! Streams that lately were.
//!
//! A CLOSE is not acknowledged, so packets for a stream may come after it: those are nobody's
//! fault. Packets for a stream that never was are.

use std::collections::{HashSet, VecDeque};

/// Closed streams that are remembered: 32 times the streams that a relay lets one connection
/// have at once, so that no stream that a slow peer may still write to is forgotten.
const REMEMBERED: usize = 4096;

/// The last [`REMEMBERED`] closed streams.
#[derive(Default)]
pub(crate) struct Retired {
    order: VecDeque<u32>,
    known: HashSet<u32>,
}

impl Retired {
    pub(crate) fn insert(&mut self, stream: u32) {
        if !self.known.insert(stream) {
            return;
        }
        self.order.push_back(stream);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, stream: u32) -> bool {
        self.known.contains(&stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_ones_and_no_more() {
        let mut retired = Retired::default();
        let last = u32::try_from(REMEMBERED).unwrap() + 10;
        for stream in 1..=last {
            retired.insert(stream);
            retired.insert(stream);
        }
        assert!(retired.contains(last) && retired.contains(11) && !retired.contains(10));
        assert_eq!((retired.order.len(), retired.known.len()), (REMEMBERED, REMEMBERED));
    }
}
