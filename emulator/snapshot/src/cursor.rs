//! Reading fields off the front of some bytes. Short input is an error by construction.

use crate::{Error, Id};

/// What is left to read.
pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Bytes that are left.
    pub(crate) const fn left(&self) -> usize {
        self.0.len()
    }

    /// The next `count` bytes; borrows them, so a claimed count allocates nothing.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn id(&mut self) -> Result<Id, Error> {
        Ok(Id::from_bytes(self.array()?))
    }

    /// Whether something follows: one byte, 0 or 1 and nothing else.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, Error> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::Bounds(field)),
        }
    }

    /// All must have been read.
    pub(crate) const fn end(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_little_endian_and_stops_at_the_end() {
        let mut cursor = Cursor::new(&[1, 2, 0, 3, 0, 0, 0, 1, 9]);
        assert_eq!(cursor.u8(), Ok(1));
        assert_eq!(cursor.u16(), Ok(2));
        assert_eq!(cursor.u32(), Ok(3));
        assert_eq!(cursor.flag("x"), Ok(true));
        assert_eq!(cursor.left(), 1);
        assert_eq!(cursor.u16(), Err(Error::Truncated));
        assert_eq!(cursor.take(usize::MAX), Err(Error::Truncated));
        assert_eq!(cursor.flag("x"), Err(Error::Bounds("x")));
        assert_eq!(cursor.end(), Ok(()));
        assert_eq!(Cursor::new(&[0]).end(), Err(Error::Trailing));
    }
}
