//! A guest image as a set of content-addressed files.
//!
//! ```text
//!  full.json ──▶ kernel   bzImage.<hash>
//!  (manifest)    initrd   initrd.<hash>
//!                firmware bios.<hash>, vgabios.<hash>
//!                disk     disk/<hash of chunk 0> … disk/<hash of chunk n>
//! ```
//!
//! Every file but the manifest is named by the BLAKE3 hash of its content, so it may be
//! kept for ever and is fetched once however many images name it. A chunk is
//! [`CHUNK_SIZE`] bytes of the disk, hashed uncompressed, stored as a zlib stream of its
//! own; chunks of zeros are not stored at all. It is decompressed outside of the guest, so
//! the file system inside needs no compression of its own, and neither do kernel and initial
//! RAM disk, which may be stored as zlib streams too. The feature `write` is for those who
//! make images.
//!
//! What arrives from a server is untrusted: a manifest is validated as a whole before
//! anything of it is used, and a chunk can inflate to no more than its size.
//!
//! Deliberately absent: fetching, keeping, and any opinion on what to read ahead.
#![forbid(unsafe_code)]

mod chunk;
mod manifest;

pub use chunk::decode_chunk;
#[cfg(any(feature = "write", test))]
pub use chunk::{Cut, cut, deflate};
pub use manifest::{Chunk, Disk, FileRef, Firmware, MANIFEST_VERSION, Manifest};

use std::fmt;

/// Bytes of the disk in one chunk. Snapshots use the same size, so that a chunk that the
/// guest has not changed is the same file.
pub const CHUNK_SIZE: usize = 256 * 1024;

/// Machines that an image comes with a saved state for: flavour and memory in MiB. It is what
/// a first visitor gets who chooses nothing.
pub const WARM: &[(&str, u32)] = &[("full", 256)];

/// Directory of those states and their chunks, beside the image's manifest.
pub const WARM_DIRECTORY: &str = "warm/";

/// What is wrong with an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The manifest is not JSON, or has not the fields it should have.
    Format(String),
    /// The manifest is of a version that this program does not know.
    Version(u32),
    /// A field has an impossible value; names it.
    Field(&'static str),
    /// A file or chunk has the wrong length: expected, found.
    Length(u64, u64),
    /// A chunk is no zlib stream.
    Compression,
    /// A file, a chunk or the manifest is not what its hash says.
    Hash,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(why) => write!(f, "the manifest cannot be read: {why}"),
            Self::Version(found) => write!(
                f,
                "the manifest is of version {found}, this program knows {MANIFEST_VERSION}"
            ),
            Self::Field(name) => write!(f, "the manifest's field {name} is impossible"),
            Self::Length(expected, found) => {
                write!(f, "{found} bytes where there should be {expected}")
            }
            Self::Compression => write!(f, "the compressed data is damaged"),
            Self::Hash => write!(f, "the content is not what its hash says"),
        }
    }
}

impl std::error::Error for Error {}

/// The name of some bytes: their BLAKE3 hash in lower-case hexadecimal, 64 digits.
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
