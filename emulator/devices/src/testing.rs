//! What the tests of several devices need: chance that repeats.

/// A xorshift generator (Marsaglia, 2003).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Mostly small or at an edge, sometimes anything.
    pub(crate) fn nasty(&mut self) -> u64 {
        match self.below(6) {
            0 => self.below(16),
            1 => 1 << self.below(64),
            2 => u64::MAX >> self.below(64),
            3 => self.below(0x1_0000),
            _ => self.next(),
        }
    }
}

/// States that are wrong in some bytes: what a damaged or hostile snapshot has.
pub(crate) fn damaged(bytes: &[u8], seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let (mut random, bytes) = (Random::new(seed), bytes.to_vec());
    (0..2000).map(move |_| {
        let mut bytes = bytes.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.nasty() as u8;
        }
        bytes
    })
}
