//! A cable with faults.

use std::collections::VecDeque;

/// Parts of a thousand.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) lost: u32,
    pub(crate) twice: u32,
    pub(crate) late: u32,
}

pub(crate) struct Cable {
    faults: Faults,
    state: u64,
    /// Frames that are overtaken by the next one.
    late: VecDeque<Vec<u8>>,
}

impl Cable {
    pub(crate) fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, state: seed, late: VecDeque::new() }
    }

    fn chance(&mut self, of_thousand: u32) -> bool {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        ((self.state >> 33) % 1000) < u64::from(of_thousand)
    }

    /// What arrives, now that this frame was sent.
    pub(crate) fn carry(&mut self, frame: Vec<u8>) -> Vec<Vec<u8>> {
        if self.chance(self.faults.lost) {
            return Vec::new();
        }
        if self.chance(self.faults.late) {
            self.late.push_back(frame);
            return Vec::new();
        }
        let mut arrived = vec![frame];
        if self.chance(self.faults.twice) {
            arrived.push(arrived[0].clone());
        }
        arrived.extend(self.late.drain(..));
        arrived
    }
}
