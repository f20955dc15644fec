//! Console input on its way to the machine: a window of unaccepted bytes, and the rest.
//!
//! The worker says how many bytes the machine has taken; at most [`INPUT_WINDOW`] more are
//! on the way, and what a large paste has beyond that waits here. Nothing is lost short of
//! [`INPUT_LIMIT`], and beyond it the whole piece is refused in words, never a part of it.

use std::collections::VecDeque;

use emulator_protocol::INPUT_WINDOW;

/// Most input that waits in the page. More than anybody pastes, far less than a tab can
/// hold; it bounds what a script can pile up against a guest that does not read.
pub(crate) const INPUT_LIMIT: usize = 64 * 1024 * 1024;

/// Largest input message: a quarter of the window keeps the pipe full without one task
/// having to copy all of it.
const PIECE: usize = INPUT_WINDOW as usize / 4;

/// From here a burst of input is shown as a paste that takes its time: one window, because
/// less is on its way at once.
const SHOWN: u64 = INPUT_WINDOW;

/// End of a bracketed paste. A guest that never sees it takes all later typing for pasted.
const PASTE_END: &[u8] = b"\x1b[201~";

/// How far a large paste has come, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paste {
    /// Taken by the machine.
    pub(crate) done: u64,
    /// In all.
    pub(crate) total: u64,
}

/// The input was not taken because more than [`INPUT_LIMIT`] would wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// The queue and its counters.
#[derive(Debug, Default)]
pub(crate) struct Window {
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that are already on the way.
    offset: usize,
    waiting: usize,
    in_flight: u64,
    /// Bytes since the queue was last empty.
    burst: u64,
}

impl Window {
    /// Takes input in.
    ///
    /// # Errors
    /// If too much would wait; nothing of it was taken then.
    pub(crate) fn push(&mut self, bytes: Vec<u8>) -> Result<(), Refused> {
        if self.waiting + bytes.len() > INPUT_LIMIT {
            return Err(Refused);
        }
        if self.waiting == 0 && self.in_flight == 0 {
            self.burst = 0;
        }
        self.burst += bytes.len() as u64;
        self.waiting += bytes.len();
        if !bytes.is_empty() {
            self.queue.push_back(bytes);
        }
        Ok(())
    }

    /// The next message's bytes, if the window has room for any.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let room = usize::try_from(INPUT_WINDOW.saturating_sub(self.in_flight)).ok()?;
        let room = room.min(PIECE);
        let first = self.queue.front()?;
        if room == 0 {
            return None;
        }
        let end = first.len().min(self.offset + room);
        let bytes = first[self.offset..end].to_vec();
        if end == first.len() {
            self.queue.pop_front();
            self.offset = 0;
        } else {
            self.offset = end;
        }
        self.waiting -= bytes.len();
        self.in_flight += bytes.len() as u64;
        Some(bytes)
    }

    /// The machine has taken this many bytes more.
    pub(crate) fn accepted(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Drops what waits. A bracketed paste that was cut is closed, so that the guest does
    /// not wait for its end.
    pub(crate) fn cancel(&mut self) {
        let cut = self.queue.iter().any(|piece| piece.ends_with(PASTE_END));
        self.queue.clear();
        self.offset = 0;
        self.burst = self.burst.saturating_sub(self.waiting as u64);
        self.waiting = 0;
        if cut {
            // Cannot be refused: nothing waits.
            let _ = self.push(PASTE_END.to_vec());
        }
    }

    /// Whether some of the input waits in the page.
    #[must_use]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// The paste that is under way, if it is large enough to be shown.
    #[must_use]
    pub(crate) fn paste(&self) -> Option<Paste> {
        let left = self.waiting as u64 + self.in_flight;
        let shown = self.burst > SHOWN && self.waiting > 0;
        shown.then(|| Paste { done: self.burst.saturating_sub(left), total: self.burst })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a machine take everything, `bite` bytes at a time.
    fn drain(window: &mut Window, bite: u64) -> Vec<u8> {
        let mut taken = Vec::new();
        let mut on_the_way = 0;
        loop {
            while let Some(bytes) = window.next() {
                on_the_way += bytes.len() as u64;
                taken.extend(bytes);
                assert!(on_the_way <= INPUT_WINDOW, "the window holds");
            }
            if on_the_way == 0 {
                return taken;
            }
            let accepted = on_the_way.min(bite);
            on_the_way -= accepted;
            window.accepted(accepted);
        }
    }

    #[test]
    fn megabytes_arrive_whole_and_in_order() {
        let mut window = Window::default();
        let paste: Vec<u8> = (0..3_000_001_u32).map(|index| (index % 251) as u8).collect();
        window.push(paste[..17].to_vec()).expect("room");
        window.push(paste[17..].to_vec()).expect("room");
        assert_eq!(drain(&mut window, 1000), paste);
        assert!(!window.is_waiting() && window.paste().is_none());
    }

    #[test]
    fn typing_is_no_paste_and_a_large_burst_is() {
        let mut window = Window::default();
        window.push(b"ls\r".to_vec()).expect("room");
        assert_eq!(window.paste(), None);
        drain(&mut window, 1);
        window.push(vec![b'x'; 200_000]).expect("room");
        assert_eq!(window.paste(), Some(Paste { done: 0, total: 200_000 }));
        while window.next().is_some() {}
        window.accepted(INPUT_WINDOW);
        assert_eq!(window.paste(), Some(Paste { done: INPUT_WINDOW, total: 200_000 }));
    }

    #[test]
    fn too_much_is_refused_whole() {
        let mut window = Window::default();
        window.push(vec![0; INPUT_LIMIT]).expect("exactly the limit");
        assert_eq!(window.push(vec![1]), Err(Refused));
        assert_eq!(drain(&mut window, INPUT_WINDOW).len(), INPUT_LIMIT);
        window.push(vec![1]).expect("room again");
    }

    #[test]
    fn a_cancelled_paste_is_closed_for_the_guest() {
        let mut window = Window::default();
        let paste = [b"\x1b[200~".as_slice(), &[b'x'; 200_000], PASTE_END].concat();
        window.push(paste).expect("room");
        assert!(window.next().is_some());
        window.cancel();
        window.accepted(PIECE as u64);
        assert_eq!(window.next().as_deref(), Some(PASTE_END));
        assert_eq!(window.next(), None);
    }

    #[test]
    fn a_cancelled_plain_paste_adds_nothing() {
        let mut window = Window::default();
        window.push(vec![b'x'; 200_000]).expect("room");
        window.cancel();
        assert_eq!(window.next(), None);
        assert!(!window.is_waiting());
    }
}
