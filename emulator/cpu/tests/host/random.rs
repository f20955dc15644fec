//! Numbers that find mistakes: not uniform, but near the edges of all sizes.

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF0)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    pub(crate) fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// An integer with a taste for edges.
    pub(crate) fn integer(&mut self) -> u64 {
        match self.below(8) {
            0 => self.below(4),
            1 => self.below(4).wrapping_neg(),
            2 => 1u64.rotate_left(self.below(64) as u32),
            3 => (1u64.rotate_left(self.below(64) as u32)).wrapping_sub(1),
            4 => {
                let edge = self.pick(&[0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFF_FFFF, 0x8000_0000]);
                edge | self.bits() << 32
            }
            5 => {
                let byte = self.pick(&[0x00, 0x7F, 0x80, 0xFF, 0x01]);
                let other = self.pick(&[0x00, 0x7F, 0x80, 0xFF, 0x01]);
                let mask = self.bits();
                u64::from_le_bytes([byte; 8]) & mask | u64::from_le_bytes([other; 8]) & !mask
            }
            6 => self.bits() >> self.below(64),
            _ => self.bits(),
        }
    }

    /// Two singles.
    pub(crate) fn singles(&mut self) -> u64 {
        u64::from(self.single()) | u64::from(self.single()) << 32
    }

    pub(crate) fn single(&mut self) -> u32 {
        let sign = (self.bits() as u32) << 31;
        sign | match self.below(12) {
            0 => 0,
            1 => 0x7F80_0000,
            2 => 0x7FC0_0000 | self.below(1 << 22) as u32,
            3 => 0x7F80_0001 | self.below(1 << 22) as u32,
            4 => self.below(1 << 23) as u32,
            5 => 1,
            6 => 0x0080_0000 + self.below(4) as u32,
            7 => 0x7F7F_FFFF,
            8 => (self.below(40) as i32 as f32).to_bits() & 0x7FFF_FFFF,
            9 => (120 + self.below(40) as u32) << 23 | self.below(1 << 23) as u32,
            10 => (120 + self.below(40) as u32) << 23 | (self.below(64) as u32) << 17,
            _ => self.bits() as u32 & 0x7FFF_FFFF,
        }
    }

    pub(crate) fn double(&mut self) -> u64 {
        let sign = self.bits() << 63;
        let fraction = self.below(1 << 52);
        sign | match self.below(12) {
            0 => 0,
            1 => 0x7FF << 52,
            2 => 0x7FF8 << 48 | fraction >> 1,
            3 => 0x7FF << 52 | fraction >> 1 | 1,
            4 => fraction,
            5 => 1,
            6 => (1 << 52) + self.below(4),
            7 => (0x7FF << 52) - 1,
            8 => (self.below(40) as f64).to_bits(),
            9 => (1010 + self.below(80)) << 52 | fraction,
            10 => (1010 + self.below(80)) << 52 | fraction >> 40 << 40,
            _ => self.bits() >> 1,
        }
    }

    /// Ten bytes of the x87 unit: significand, sign and exponent.
    pub(crate) fn extended(&mut self) -> (u64, u16) {
        let sign = (self.bits() as u16) << 15;
        let integer = 1u64 << 63;
        let fraction = self.bits() >> 1;
        let (significand, exponent) = match self.below(16) {
            0 => (0, 0),
            1 => (integer, 0x7FFF),
            2 => (integer | 1 << 62 | fraction >> 1, 0x7FFF),
            3 => (integer | fraction >> 2 | 1, 0x7FFF),
            4 => (fraction, 0),
            5 => (integer | fraction, 0),
            6 => (fraction, self.bits() as u16 & 0x7FFF),
            7 => (u64::MAX, 0x7FFE),
            8 => (integer, 1),
            9 => (integer | fraction, 0x3FFF - 70 + self.below(140) as u16),
            10 => (integer | fraction >> 40 << 40, 0x3FFF - 10 + self.below(80) as u16),
            11 => {
                let value = self.below(1000) + 1;
                let zeros = value.leading_zeros();
                (value << zeros, 0x3FFF + 63 - zeros as u16)
            }
            12 => (
                integer | fraction,
                self.pick(&[0x3F80, 0x3F81, 0x407E, 0x407F, 0x43FE, 0x3C00, 0x3C01]),
            ),
            _ => (integer | fraction, 0x3FFF - 20 + self.below(40) as u16),
        };
        (significand, sign | exponent)
    }

    /// Eight bytes of any kind.
    pub(crate) fn word(&mut self) -> u64 {
        match self.below(4) {
            0 => self.singles(),
            1 => self.double(),
            _ => self.integer(),
        }
    }
}
