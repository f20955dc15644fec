//! Credit: how much may be on its way to somebody who has to keep it.
//!
//! Of what we receive, a window is in three parts, in packets or in bytes:
//!
//! ```text
//!  ├ held: received, not passed on ┼ outstanding: the peer may send it ┼ free ┤
//! ```
//!
//! The free part is granted when it is half of the window. With CREDIT, which adds, that is
//! all. CONTINUE *sets* the peer's counter while packets that it has already counted may be on
//! their way; a server that grants all that is not held, as others do, lets a peer far away
//! double what it has under way with each grant. To grant only the free part is safe: then
//! `held + outstanding ≤ window` whatever the counter was. And nothing gets stuck: the counter
//! is at least half a window after a grant, so once that much has come and was passed on, at
//! most half is (believed to be) outstanding, and half is free again.

use std::collections::VecDeque;

use crate::MAX_DATA;

/// What the peer may send to us on one stream.
pub(crate) struct Inward {
    window: u32,
    held: u32,
    outstanding: u32,
    /// With credit in packets: the bytes of each that is held. At most `window` of them.
    lengths: Option<VecDeque<u32>>,
}

impl Inward {
    /// Counts bytes; the peer starts with all of the window.
    pub(crate) const fn bytes(window: u32) -> Self {
        Self { window, held: 0, outstanding: window, lengths: None }
    }

    /// Counts packets; the peer starts with `initial` of the window.
    pub(crate) const fn packets(window: u32, initial: u32) -> Self {
        Self { window, held: 0, outstanding: initial, lengths: Some(VecDeque::new()) }
    }

    /// Whether it counts packets, and not bytes.
    pub(crate) const fn in_packets(&self) -> bool {
        self.lengths.is_some()
    }

    /// Takes note of a DATA; `false` if the peer had no credit for it.
    pub(crate) fn received(&mut self, bytes: usize) -> bool {
        // A message is far shorter than 4 GiB.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let cost = if self.lengths.is_some() { 1 } else { bytes };
        let Some(left) = self.outstanding.checked_sub(cost) else { return false };
        self.outstanding = left;
        // An empty packet used up credit, but nobody will ever pass on its bytes.
        if bytes > 0 {
            self.held += cost;
            if let Some(lengths) = &mut self.lengths {
                lengths.push_back(bytes);
            }
        }
        true
    }

    /// Takes note of bytes that were passed on. More than are held count as all of them.
    pub(crate) fn consumed(&mut self, bytes: usize) {
        let mut bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Some(lengths) = &mut self.lengths else {
            self.held = self.held.saturating_sub(bytes);
            return;
        };
        while let Some(first) = lengths.front_mut() {
            if bytes < *first {
                *first -= bytes;
                return;
            }
            bytes -= *first;
            lengths.pop_front();
            self.held -= 1;
        }
    }

    /// Grants what is free.
    pub(crate) const fn grant(&mut self) -> u32 {
        let free = self.window - self.held - self.outstanding;
        self.outstanding += free;
        free
    }

    /// Grants what is free if it is worth a packet.
    pub(crate) const fn refill(&mut self) -> Option<u32> {
        let free = self.window - self.held - self.outstanding;
        if free < self.window.div_ceil(2) { None } else { Some(self.grant()) }
    }
}

/// What we may send to the peer on one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outward {
    /// As much as it wants to: the protocol has no credit for this direction or kind.
    Free,
    /// So many packets.
    Packets(u32),
    /// So many bytes.
    Bytes(u32),
}

impl Outward {
    pub(crate) const fn room(self) -> usize {
        match self {
            Self::Free => usize::MAX,
            Self::Packets(packets) => (packets as usize).saturating_mul(MAX_DATA),
            Self::Bytes(bytes) => bytes as usize,
        }
    }

    /// Bytes were sent, not more than there was room for, in packets of [`MAX_DATA`].
    pub(crate) fn spend(&mut self, bytes: usize) {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        match self {
            Self::Free => {}
            Self::Packets(packets) => {
                *packets = packets.saturating_sub(count(bytes.div_ceil(MAX_DATA)));
            }
            Self::Bytes(left) => *left = left.saturating_sub(count(bytes)),
        }
    }

    /// CONTINUE; `true` if there was no credit and now there is.
    pub(crate) const fn set(&mut self, value: u32) -> bool {
        let Self::Packets(packets) = self else { return false };
        let was = std::mem::replace(packets, value);
        was == 0 && value > 0
    }

    /// CREDIT; `true` if there was no credit and now there is. A peer that grants more than
    /// 4 GiB has granted 4 GiB.
    pub(crate) const fn add(&mut self, value: u32) -> bool {
        let Self::Bytes(bytes) = self else { return false };
        let was = std::mem::replace(bytes, bytes.saturating_add(value));
        was == 0 && value > 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A peer that obeys CONTINUE, behind a wire that keeps both ways' packets for a while.
    struct Far {
        counter: u32,
        data: VecDeque<u32>,
        grants: VecDeque<u32>,
        sent: u32,
    }

    /// Plays a stream of `total` packets; the most that the server ever held.
    fn play(window: u32, initial: u32, total: u32, mut luck: impl FnMut() -> usize) -> u32 {
        let mut ours = Inward::packets(window, initial);
        let mut far =
            Far { counter: initial, data: VecDeque::new(), grants: VecDeque::new(), sent: 0 };
        if initial < window {
            far.grants.push_back(ours.grant());
        }
        let (mut held, mut most, mut passed) = (0, 0, 0);
        for _ in 0..total * 200 {
            match luck() % 4 {
                0 if far.counter > 0 && far.sent < total => {
                    far.counter -= 1;
                    far.sent += 1;
                    far.data.push_back(3);
                }
                1 => far.counter = far.grants.pop_front().unwrap_or(far.counter),
                2 => {
                    if let Some(bytes) = far.data.pop_front() {
                        assert!(ours.received(bytes as usize), "an honest peer is not accused");
                        held += 1;
                        most = most.max(held);
                    }
                }
                3 if held > 0 => {
                    ours.consumed(3);
                    (held, passed) = (held - 1, passed + 1);
                    far.grants.extend(ours.refill());
                }
                _ => {}
            }
            let under_way = u32::try_from(far.data.len()).unwrap();
            assert!(held + under_way <= window, "all that is under way fits");
            if passed == total {
                return most;
            }
        }
        panic!("stuck: window {window}, {passed} of {total}");
    }

    #[test]
    fn packets_never_exceed_the_window_and_never_stop() {
        let mut seed = 1_u64;
        for round in 0..400 {
            let mut luck = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 40) as usize
            };
            let window = 2 + round % 33;
            let initial = if round % 2 == 0 { window } else { window / 2 };
            assert!(play(window, initial, 300, &mut luck) <= window);
        }
    }

    #[test]
    fn a_peer_far_away_gets_no_more_under_way_than_the_window() {
        // All data waits until the peer is out of credit, then all grants arrive at once:
        // granting what is not held would double what is under way each time.
        let mut step = 0_usize;
        play(8, 8, 300, || {
            step += 1;
            [0, 2, 3, 1][step / 16 % 4]
        });
    }

    #[test]
    fn bytes_of_packets_are_passed_on_in_any_pieces() {
        let mut inward = Inward::packets(4, 4);
        for bytes in [10, 0, 1, 5] {
            assert!(inward.received(bytes));
        }
        assert!(!inward.received(1));
        inward.consumed(9);
        assert_eq!((inward.held, inward.refill()), (3, None));
        inward.consumed(1);
        assert_eq!((inward.held, inward.refill()), (2, Some(2)));
        inward.consumed(usize::MAX);
        assert_eq!((inward.held, inward.refill()), (0, Some(2)));
        inward.consumed(1);
        assert_eq!((inward.held, inward.outstanding), (0, 4));
    }

    #[test]
    fn bytes_are_granted_by_half_windows() {
        let mut inward = Inward::bytes(10);
        assert!(inward.received(7) && !inward.received(4) && inward.received(3));
        inward.consumed(4);
        assert_eq!(inward.refill(), None);
        inward.consumed(1);
        assert_eq!(inward.refill(), Some(5));
        inward.consumed(100);
        assert_eq!(inward.refill(), Some(5));
        assert!(Inward::bytes(1).received(1));
    }

    #[test]
    fn what_we_send_is_counted_as_the_peer_counts() {
        let mut packets = Outward::Packets(3);
        assert_eq!(packets.room(), 3 * MAX_DATA);
        packets.spend(MAX_DATA + 1);
        assert_eq!(packets, Outward::Packets(1));
        packets.spend(1);
        assert!(packets.set(2) && !packets.set(7) && !packets.set(0) && !packets.add(1));
        let mut bytes = Outward::Bytes(3);
        bytes.spend(3);
        assert!(bytes.add(2) && !bytes.add(u32::MAX) && !bytes.set(1));
        assert_eq!(bytes, Outward::Bytes(u32::MAX));
        assert_eq!(Outward::Packets(u32::MAX).room(), (u32::MAX as usize).saturating_mul(MAX_DATA));
    }
}
