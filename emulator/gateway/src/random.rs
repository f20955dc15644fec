//! Numbers that nobody on the guest's network needs to be unable to guess.

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let (words, _) = seed.as_chunks::<8>();
        Self(words.iter().fold(0, |state, word| Self(state ^ u64::from_le_bytes(*word)).next()))
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_all_that_counts() {
        let mut seen = std::collections::BTreeSet::new();
        for byte in 0..32 {
            let mut seed = [0; 32];
            seed[byte] = 1;
            let (mut one, mut other) = (Random::new(seed), Random::new(seed));
            assert_eq!(one.next(), other.next());
            assert!(seen.insert(one.next()), "{byte}");
        }
    }
}
