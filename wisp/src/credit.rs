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
