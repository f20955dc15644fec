//! Sizes of accesses.

/// The width of an access in bytes, as a type that can only be a legal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// One byte.
    Byte = 1,
    /// Two bytes.
    Word = 2,
    /// Four bytes.
    Double = 4,
    /// Eight bytes.
    Quad = 8,
}

impl Width {
    /// Bytes.
    #[inline]
    pub const fn bytes(self) -> u64 {
        self as u64
    }

    /// The bits that a value of this width can have.
    #[inline]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }
}

/// An unsigned integer that memory can hold, little-endian as everything on this machine.
pub trait Word: Copy + Default {
    /// Bytes.
    const SIZE: usize;
    /// The word at the start of `bytes`, if they are enough.
    fn read(bytes: &[u8]) -> Option<Self>;
    /// Puts the word at the start of `bytes`, if they are enough.
    fn write(self, bytes: &mut [u8]) -> Option<()>;
}

macro_rules! words {
    ($($word:ty),*) => {$(
        impl Word for $word {
            const SIZE: usize = size_of::<$word>();
            #[inline(always)]
            fn read(bytes: &[u8]) -> Option<Self> {
                bytes.first_chunk().map(|chunk| Self::from_le_bytes(*chunk))
            }
            #[inline(always)]
            fn write(self, bytes: &mut [u8]) -> Option<()> {
                *bytes.first_chunk_mut()? = self.to_le_bytes();
                Some(())
            }
        }
    )*};
}

words!(u8, u16, u32, u64, u128);
