//! A whole snapshot in one stream, to be carried elsewhere.
//!
//! ```text
//!  magic, version │ length, manifest │ 1, id, length, stored │ … │ 0, BLAKE3 of all before
//! ```
//!
//! Each chunk that the manifest names comes once, in the order of first use. So the reader
//! always knows which chunk is next, needs no memory of those that came, and holds no more
//! than one of them. Chunks stay compressed; the gzip around it all, which makes the names
//! and the manifest a little smaller and the file known to other tools, is the caller's.

mod reader;
mod writer;

pub use reader::{Event, Reader};
pub use writer::Writer;

/// How an exported snapshot begins. The first byte is not ASCII, so no text does.
pub const MAGIC: [u8; 8] = *b"\x89VIVFILE";

/// The version of the stream that this program writes, and the newest that it reads.
pub const FILE_VERSION: u32 = 1;

/// What follows: a chunk.
const RECORD: u8 = 1;

/// What follows: the hash of all before, this byte included.
const END: u8 = 0;
