//! A recording of the guest's frames, for Wireshark and its like.
//!
//! The classic format (draft-ietf-opsawg-pcap): a header of 24 bytes, then for each frame
//! 16 bytes and the frame. Times count from the gateway's start, because there is no clock.

use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of a recording at most. The oldest frames make place for the newest, because what
/// went wrong is at the end.
pub const CAPTURE_MAX: usize = 16 * 1024 * 1024;

/// Bytes of the file's header.
const FILE_HEADER: usize = 24;

/// Bytes before each frame.
const RECORD_HEADER: usize = 16;

/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

#[derive(Default)]
pub(crate) struct Capture {
    on: bool,
    frames: VecDeque<(Duration, Vec<u8>)>,
    bytes: usize,
}

impl Capture {
    /// Starts a new recording, or ends it; what was recorded stays until it is taken.
    pub(crate) fn switch(&mut self, on: bool) {
        if on && !self.on {
            (self.frames, self.bytes) = (VecDeque::new(), 0);
        }
        self.on = on;
    }

    pub(crate) const fn on(&self) -> bool {
        self.on
    }

    /// Bytes of the file that [`Capture::take`] would give.
    pub(crate) const fn bytes(&self) -> usize {
        FILE_HEADER + self.bytes
    }

    pub(crate) fn record(&mut self, now: Duration, frame: &[u8]) {
        if !self.on {
            return;
        }
        self.bytes += RECORD_HEADER + frame.len();
        self.frames.push_back((now, frame.to_vec()));
        while self.bytes > CAPTURE_MAX - FILE_HEADER {
            let Some((_, oldest)) = self.frames.pop_front() else { break };
            self.bytes -= RECORD_HEADER + oldest.len();
        }
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut file = Vec::with_capacity(self.bytes());
        let mut word = |value: u32| file.extend_from_slice(&value.to_le_bytes());
        word(0xa1b2_c3d4);
        word(2 | 4 << 16); // version 2.4
        word(0);
        word(0);
        word(u32::MAX); // nothing is cut
        word(ETHERNET);
        for (time, frame) in std::mem::take(&mut self.frames) {
            // Of any length of time that a tab lives.
            let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
            let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            for value in [seconds, time.subsec_micros(), length, length] {
                file.extend_from_slice(&value.to_le_bytes());
            }
            file.extend_from_slice(&frame);
        }
        self.bytes = 0;
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_wireshark_reads() {
        let mut capture = Capture::default();
        capture.record(Duration::ZERO, b"not on");
        capture.switch(true);
        capture.record(Duration::from_micros(3_000_007), b"frame");
        assert_eq!(capture.bytes(), 24 + 16 + 5);
        let file = capture.take();
        let mut expected = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
        expected.extend([0; 8]);
        expected.extend([0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
        expected.extend([3, 0, 0, 0, 7, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0]);
        expected.extend(b"frame");
        assert_eq!(file, expected);
        assert_eq!(capture.take().len(), FILE_HEADER);
    }

    #[test]
    fn keeps_the_newest() {
        let mut capture = Capture::default();
        capture.switch(true);
        let frame = vec![0; 1024 * 1024];
        for second in 0..40 {
            capture.record(Duration::from_secs(second), &frame);
            assert!(capture.bytes() <= CAPTURE_MAX);
        }
        let file = capture.take();
        assert_eq!(file.len(), FILE_HEADER + 15 * (RECORD_HEADER + frame.len()));
        assert_eq!(file[FILE_HEADER], 25);
    }
}
