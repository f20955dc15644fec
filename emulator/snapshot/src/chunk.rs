//! The stored form of a chunk, and making bytes of it again.
//!
//! A chunk is up to [`CHUNK_SIZE`] bytes of memory or disk. Its name is the BLAKE3 hash of
//! those bytes, its stored form a zlib stream of them. That is the form in which the guest
//! image is shipped (`emulator/disk/src/chunk.rs`), so that a page of the guest's disk that
//! was never changed is the same object whether it was fetched or saved. The few lines
//! stand in both crates, because neither may import the other: a change to one is a change
//! to both.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};

use crate::{Error, Id};

/// Bytes in a chunk; only the last of a section may be shorter. Record size decides the speed
/// of browser stores: 256 KiB is where IndexedDB is at its best.
pub const CHUNK_SIZE: usize = 256 * 1024;

/// Longest stored form of a chunk. Noise grows in a zlib stream, by 5 bytes a block.
pub const MAX_STORED: usize = CHUNK_SIZE + 4096;

/// How hard to compress. A save is waited for: in wasm, on 256 KiB chunks of a VM image,
/// level 1 of miniz_oxide packs 149 MiB/s at a ratio of 2.80 and unpacks 250–314 MiB/s;
/// zlib-rs would pack 77 MiB/s at level 3 (3.12) and 49 MiB/s at level 6 (3.17), and a
/// browser's `CompressionStream` 7.
pub const LEVEL: u32 = 1;

/// A chunk in its stored form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its name: the hash of the bytes before compression.
    pub id: Id,
    /// The zlib stream, at most [`MAX_STORED`] bytes. Two programs may store one chunk
    /// differently; its name is the same.
    pub stored: Vec<u8>,
}

/// The stored form of some bytes; `None` if they are all zeros, which are not stored.
///
/// # Panics
/// If `bytes` is longer than [`CHUNK_SIZE`]: nobody could read that back.
#[must_use]
pub fn pack(bytes: &[u8]) -> Option<Chunk> {
    assert!(bytes.len() <= CHUNK_SIZE, "{} bytes are more than a chunk", bytes.len());
    if is_zero(bytes) {
        return None;
    }
    let mut stored = deflate(bytes, Compression::new(LEVEL));
    if stored.len() > MAX_STORED {
        // Not seen of miniz_oxide, but fast levels of others give noise 9 bits a byte.
        stored = deflate(bytes, Compression::none());
    }
    Some(Chunk { id: Id::of(bytes), stored })
}

/// The `length` bytes that were stored under this name.
///
/// # Errors
/// [`Error::Bounds`] if there can be no such chunk; [`Error::DamagedChunk`] if `stored` is
/// anything but one zlib stream of just that many bytes with that hash.
pub fn unpack(id: Id, length: usize, stored: &[u8]) -> Result<Vec<u8>, Error> {
    if length > CHUNK_SIZE {
        return Err(Error::Bounds("chunk length"));
    }
    if stored.len() > MAX_STORED {
        return Err(Error::Bounds("stored chunk length"));
    }
    inflate(stored, length).filter(|bytes| Id::of(bytes) == id).ok_or(Error::DamagedChunk(id))
}

/// Whether these bytes are all zeros. Looks at 64 bytes at once, in words, because most of a
/// guest's memory is zeros and all of it is looked at.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let zero = |block: &[u8; 64]| {
        let (words, _) = block.as_chunks::<8>();
        words.iter().fold(0, |seen, word| seen | u64::from_ne_bytes(*word)) == 0
    };
    blocks.iter().all(zero) && rest.iter().all(|byte| *byte == 0)
}

fn deflate(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).expect("a vector takes every byte");
    encoder.finish().expect("a vector takes every byte")
}

/// The content of a zlib stream that is complete, alone and of just this length. Room for one
/// byte more than allowed is enough to see that there are too many.
fn inflate(stored: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut stream = Decompress::new(true);
    let mut bytes = Vec::with_capacity(length + 1);
    let status = stream.decompress_vec(stored, &mut bytes, FlushDecompress::Finish).ok()?;
    let whole = status == Status::StreamEnd && stream.total_in() == stored.len() as u64;
    (whole && bytes.len() == length).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..CHUNK_SIZE).map(|index| (index * index / 7) as u8).collect()
    }

    /// Bytes that no compressor makes smaller.
    fn noise() -> Vec<u8> {
        let mut bytes = vec![0; CHUNK_SIZE];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_chunk_survives_storage() {
        for bytes in [sample(), noise(), vec![7], vec![0, 1], sample()[..1000].to_vec()] {
            let chunk = pack(&bytes).expect("not all zeros");
            assert!(chunk.stored.len() <= MAX_STORED);
            assert_eq!(unpack(chunk.id, bytes.len(), &chunk.stored), Ok(bytes));
        }
    }

    #[test]
    fn the_stored_form_is_that_of_the_shipped_image() {
        // The zlib stream of level 9, as zlib itself makes it.
        let shipped = [
            0x78, 0xda, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0xc8, 0x40, 0x27, 0x01, 0x68, 0x03,
            0x08, 0xb1,
        ];
        let bytes = b"hello hello hello hello";
        assert_eq!(unpack(Id::of(bytes), bytes.len(), &shipped), Ok(bytes.to_vec()));
    }

    #[test]
    fn one_byte_anywhere_is_seen_among_zeros() {
        let mut bytes = vec![0; 1000];
        assert!(is_zero(&bytes));
        assert!(is_zero(&[]));
        assert_eq!(pack(&bytes), None);
        for index in 0..bytes.len() {
            bytes[index] = 0x80;
            assert!(!is_zero(&bytes), "{index}");
            bytes[index] = 0;
        }
    }

    #[test]
    fn every_truncation_and_every_byte_too_many_is_an_error() {
        let bytes = sample()[..4096].to_vec();
        let mut chunk = pack(&bytes).expect("not all zeros");
        for end in 0..chunk.stored.len() {
            let cut = unpack(chunk.id, bytes.len(), &chunk.stored[..end]);
            assert_eq!(cut, Err(Error::DamagedChunk(chunk.id)), "{end}");
        }
        chunk.stored.push(0);
        assert!(unpack(chunk.id, bytes.len(), &chunk.stored).is_err());
    }

    #[test]
    fn every_flipped_byte_is_an_error_or_harmless() {
        let bytes = sample()[..4096].to_vec();
        let chunk = pack(&bytes).expect("not all zeros");
        for index in 0..chunk.stored.len() {
            let mut damaged = chunk.stored.clone();
            damaged[index] ^= 0x20;
            if let Ok(unpacked) = unpack(chunk.id, bytes.len(), &damaged) {
                assert_eq!(unpacked, bytes, "byte {index}");
            }
        }
    }

    #[test]
    fn another_length_or_another_name_is_an_error() {
        let bytes = sample()[..4096].to_vec();
        let chunk = pack(&bytes).expect("not all zeros");
        for length in [0, 1, 4095, 4097, CHUNK_SIZE] {
            assert_eq!(unpack(chunk.id, length, &chunk.stored), Err(Error::DamagedChunk(chunk.id)));
        }
        let other = Id::of(b"other");
        assert_eq!(unpack(other, 4096, &chunk.stored), Err(Error::DamagedChunk(other)));
    }

    #[test]
    fn a_bomb_and_a_claim_stop_at_their_size() {
        let bomb = deflate(&vec![1; 64 << 20], Compression::best());
        assert!(bomb.len() < MAX_STORED);
        let id = Id::of(b"bomb");
        assert_eq!(inflate(&bomb, CHUNK_SIZE), None);
        assert_eq!(unpack(id, CHUNK_SIZE, &bomb), Err(Error::DamagedChunk(id)));
        assert_eq!(unpack(id, usize::MAX, &bomb), Err(Error::Bounds("chunk length")));
        let long = vec![0; MAX_STORED + 1];
        assert_eq!(unpack(id, 1, &long), Err(Error::Bounds("stored chunk length")));
    }
}
