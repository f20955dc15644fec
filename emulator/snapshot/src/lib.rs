//! The container of a saved machine.
//!
//! ```text
//!  manifest  ┌ header   magic, versions, engine, image, sizes: fixed, outside any encoder
//!            ├ body     sections by name: "meta", "screen", the engine's own
//!            │            inline   a few bytes of device state
//!            │            chunked  guest memory: a table of names, zeros left out
//!            └ seal     BLAKE3 of all before
//!  chunks    256 KiB each, named by content, kept once however many manifests name them
//!  file      manifest and chunks in one stream, for export and import
//! ```
//!
//! A snapshot is untrusted input, even one's own: a disk can be damaged and a file can come
//! from a stranger. So nothing here panics on bytes, nothing is allocated because a header
//! says so, and nothing is handed out before it was checked. The format byte by byte is in
//! `docs/snapshot.md`.
//!
//! Deliberately absent: where bytes are kept, the gzip around an exported file, the time,
//! and any opinion on what an engine's sections mean.
#![forbid(unsafe_code)]

pub mod chunk;
mod cursor;
mod error;
pub mod file;
mod id;
pub mod manifest;
pub mod meta;
pub mod screen;
pub mod state;

pub use chunk::{CHUNK_SIZE, Chunk};
pub use error::{Error, Flaw};
pub use id::{Id, NotAnId};
pub use manifest::{Header, Manifest, Origin};
pub use meta::Meta;
