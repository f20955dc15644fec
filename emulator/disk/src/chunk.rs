//! The stored form of a chunk, and making bytes of it again.

use std::io::Read;
#[cfg(any(feature = "write", test))]
use std::io::Write;

use flate2::read::ZlibDecoder;
#[cfg(any(feature = "write", test))]
use flate2::write::ZlibEncoder;

use crate::{CHUNK_SIZE, Error, hash};

/// One chunk as it is to be stored.
#[cfg(any(feature = "write", test))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its name.
    pub id: String,
    /// Its compressed content.
    pub stored: Vec<u8>,
}

/// Prepares one chunk for storage; `None` if it is all zeros. `bytes` is `CHUNK_SIZE` long
/// but for the last chunk of a disk.
#[cfg(any(feature = "write", test))]
#[must_use]
pub fn cut(bytes: &[u8]) -> Option<Cut> {
    if bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    Some(Cut { id: hash(bytes), stored: deflate(bytes) })
}

/// The zlib stream of some bytes, as small as it gets.
///
/// # Panics
/// Never: a vector takes every byte.
#[cfg(any(feature = "write", test))]
#[must_use]
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("a vector takes every byte");
    encoder.finish().expect("a vector takes every byte")
}

/// The content of a zlib stream of just so many bytes; a longer one is not read to its end.
pub(crate) fn inflate(stored: &[u8], length: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(length);
    // One byte more than allowed is enough to see that there are too many.
    ZlibDecoder::new(stored)
        .take(length as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| Error::Compression)?;
    if bytes.len() != length {
        return Err(Error::Length(length as u64, bytes.len() as u64));
    }
    Ok(bytes)
}

/// The content of a chunk that was stored under `id` and is `length` bytes long.
///
/// # Errors
/// If it is not a zlib stream of just that many bytes, or they have another hash.
pub fn decode_chunk(id: &str, length: usize, stored: &[u8]) -> Result<Vec<u8>, Error> {
    let bytes = inflate(stored, length.min(CHUNK_SIZE))?;
    if hash(&bytes) != id {
        return Err(Error::Hash);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..CHUNK_SIZE).map(|index| (index * index / 7) as u8).collect()
    }

    #[test]
    fn a_chunk_survives_storage() {
        for bytes in [sample(), vec![7], sample()[..1000].to_vec()] {
            let cut = cut(&bytes).expect("not all zeros");
            assert_eq!(decode_chunk(&cut.id, bytes.len(), &cut.stored), Ok(bytes));
        }
    }

    #[test]
    fn zeros_are_not_stored() {
        assert_eq!(cut(&[0; 512]), None);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = sample();
        let cut = cut(&bytes).expect("not all zeros");
        for end in (0..cut.stored.len()).step_by(cut.stored.len() / 97) {
            assert!(decode_chunk(&cut.id, bytes.len(), &cut.stored[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn every_flipped_byte_is_an_error_or_harmless() {
        let bytes = sample()[..4096].to_vec();
        let cut = cut(&bytes).expect("not all zeros");
        for index in 0..cut.stored.len() {
            let mut damaged = cut.stored.clone();
            damaged[index] ^= 0x20;
            if let Ok(decoded) = decode_chunk(&cut.id, bytes.len(), &damaged) {
                assert_eq!(decoded, bytes, "byte {index}");
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_its_size() {
        let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![1; 64 << 20]).expect("in memory");
        let bomb = encoder.finish().expect("in memory");
        assert_eq!(
            decode_chunk("", CHUNK_SIZE, &bomb),
            Err(Error::Length(CHUNK_SIZE as u64, CHUNK_SIZE as u64 + 1))
        );
    }
}
