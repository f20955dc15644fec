//! The bytes of a manifest: `docs/snapshot.md` has the same as a table.
//!
//! ```text
//!  0        8        12       16       32      36         40     48     56      88
//!  │ magic  │ version│ header │ engine │ state │ sections │ ram  │ body │ image │ body … │ seal │
//! ```

use std::cmp::Ordering;

use super::{Content, Entry, Header, MAX_INLINE, MAX_MANIFEST, MAX_SECTIONS, MAX_SIZE};
use super::{MAX_ENGINE, MAX_NAME, Manifest, Origin, chunk_count};
use crate::cursor::Cursor;
use crate::error::flawed;
use crate::{Error, Flaw};

/// How a manifest begins. The first byte is not ASCII, so no text does.
pub const MAGIC: [u8; 8] = *b"\x89VIVSNAP";

/// The version of the container that this program writes, and the newest that it reads.
pub const CONTAINER_VERSION: u32 = 1;

/// Bytes before the body.
pub const HEADER_LENGTH: usize = 88;

/// Bytes after the body: the BLAKE3 hash of all before.
pub const SEAL_LENGTH: usize = 32;

const INLINE: u8 = 0;
const CHUNKED: u8 = 1;

/// Bytes of a section besides its content: length of the name, version, kind.
const ENTRY_OVERHEAD: usize = 4;

/// Length of the written form. At most [`MAX_SECTIONS`] times what a section can be, so it
/// fits 32 bits.
pub(super) fn length(manifest: &Manifest) -> usize {
    HEADER_LENGTH + body_length(manifest) + SEAL_LENGTH
}

fn body_length(manifest: &Manifest) -> usize {
    let content = |entry: &Entry| match &entry.content {
        Content::Inline(bytes) => 4 + bytes.len(),
        Content::Chunked { chunks, .. } => {
            8 + chunks.iter().map(|id| if id.is_some() { 33 } else { 1 }).sum::<usize>()
        }
    };
    let entry = |entry: &Entry| ENTRY_OVERHEAD + entry.name.len() + content(entry);
    manifest.sections.iter().map(entry).sum()
}

pub(super) fn write(manifest: &Manifest) -> Vec<u8> {
    let origin = &manifest.origin;
    let mut engine = [0; MAX_ENGINE];
    engine[..origin.engine.len()].copy_from_slice(origin.engine.as_bytes());

    let mut out = Vec::with_capacity(length(manifest));
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&CONTAINER_VERSION.to_le_bytes());
    out.extend_from_slice(&(HEADER_LENGTH as u32).to_le_bytes());
    out.extend_from_slice(&engine);
    out.extend_from_slice(&origin.state.to_le_bytes());
    out.extend_from_slice(&(manifest.sections.len() as u32).to_le_bytes());
    out.extend_from_slice(&origin.ram.to_le_bytes());
    out.extend_from_slice(&(body_length(manifest) as u64).to_le_bytes());
    out.extend_from_slice(&origin.image);
    for entry in &manifest.sections {
        write_entry(entry, &mut out);
    }
    let seal = blake3::hash(&out);
    out.extend_from_slice(seal.as_bytes());
    out
}

fn write_entry(entry: &Entry, out: &mut Vec<u8>) {
    out.push(entry.name.len() as u8);
    out.extend_from_slice(entry.name.as_bytes());
    out.extend_from_slice(&entry.version.to_le_bytes());
    match &entry.content {
        Content::Inline(bytes) => {
            out.push(INLINE);
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        Content::Chunked { size, chunks } => {
            out.push(CHUNKED);
            out.extend_from_slice(&size.to_le_bytes());
            for id in chunks {
                out.push(u8::from(id.is_some()));
                out.extend_from_slice(id.as_ref().map_or(&[], |id| id.as_bytes()));
            }
        }
    }
}

pub(super) fn peek(bytes: &[u8]) -> Result<Header, Error> {
    let mut cursor = Cursor::new(bytes);
    let container = version(&mut cursor, MAGIC, CONTAINER_VERSION)?;
    if cursor.u32()? != HEADER_LENGTH as u32 {
        return Err(Error::Bounds("header length"));
    }
    let engine = engine(cursor.array()?)?;
    let state = cursor.u32()?;
    let sections = cursor.u32()?;
    let ram = cursor.u64()?;
    let body = cursor.u64()?;
    let origin = Origin { engine, state, image: cursor.array()?, ram };
    origin.check()?;
    if sections > MAX_SECTIONS as u32 {
        return Err(Error::Bounds("number of sections"));
    }
    if body > (MAX_MANIFEST - HEADER_LENGTH - SEAL_LENGTH) as u64 {
        return Err(Error::Bounds("body length"));
    }
    Ok(Header { container, origin, sections, body })
}

/// Reads magic and version, the first 12 bytes of every container there will ever be.
pub(crate) fn version(cursor: &mut Cursor<'_>, magic: [u8; 8], known: u32) -> Result<u32, Error> {
    let begin = cursor.take(cursor.left().min(magic.len()))?;
    if !magic.starts_with(begin) {
        return Err(Error::NotASnapshot);
    }
    if begin.len() < magic.len() {
        return Err(Error::Truncated);
    }
    match cursor.u32()? {
        0 => Err(Error::Bounds("version")),
        found if found > known => Err(Error::Newer { found, known }),
        found => Ok(found),
    }
}

fn engine(field: [u8; MAX_ENGINE]) -> Result<String, Error> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let (name, padding) = field.split_at(end);
    if padding.iter().any(|byte| *byte != 0) {
        return Err(Error::Bounds("engine kind"));
    }
    str::from_utf8(name).map(str::to_owned).map_err(|_| Error::Bounds("engine kind"))
}

pub(super) fn read(bytes: &[u8]) -> Result<Manifest, Error> {
    let header = peek(bytes)?;
    let expected = (HEADER_LENGTH + SEAL_LENGTH) as u64 + header.body;
    match (bytes.len() as u64).cmp(&expected) {
        Ordering::Less => return Err(Error::Truncated),
        Ordering::Greater => return Err(Error::Trailing),
        Ordering::Equal => {}
    }
    let (sealed, seal) = bytes.split_last_chunk::<SEAL_LENGTH>().ok_or(Error::Truncated)?;
    if blake3::hash(sealed) != *seal {
        return Err(Error::Hash);
    }
    let mut cursor = Cursor::new(sealed);
    cursor.take(HEADER_LENGTH)?;
    let entries = (0..header.sections).map(|_| read_entry(&mut cursor));
    let sections = entries.collect::<Result<Vec<_>, _>>()?;
    cursor.end()?;
    Manifest::checked(header.origin, sections)
}

fn read_entry(cursor: &mut Cursor<'_>) -> Result<Entry, Error> {
    let length = usize::from(cursor.u8()?);
    if !(1..=MAX_NAME).contains(&length) {
        return Err(Error::Bounds("section name"));
    }
    let name = str::from_utf8(cursor.take(length)?).map_err(|_| Error::Bounds("section name"))?;
    let version = cursor.u16()?;
    let content = match cursor.u8()? {
        INLINE => read_inline(name, cursor)?,
        CHUNKED => read_chunked(name, cursor)?,
        _ => return Err(Error::Bounds("kind of section")),
    };
    Ok(Entry { name: name.to_owned(), version, content })
}

fn read_inline(name: &str, cursor: &mut Cursor<'_>) -> Result<Content, Error> {
    let length = cursor.u32()? as usize;
    if length > MAX_INLINE {
        return Err(flawed(name, Flaw::Size));
    }
    Ok(Content::Inline(cursor.take(length)?.to_vec()))
}

fn read_chunked(name: &str, cursor: &mut Cursor<'_>) -> Result<Content, Error> {
    let size = cursor.u64()?;
    if size > MAX_SIZE {
        return Err(flawed(name, Flaw::Size));
    }
    let count = chunk_count(size);
    // Each takes a byte at least: a claim beyond what is there allocates nothing.
    if count > cursor.left() {
        return Err(Error::Truncated);
    }
    let mut chunks = Vec::with_capacity(count);
    for _ in 0..count {
        chunks.push(if cursor.flag("table of chunks")? { Some(cursor.id()?) } else { None });
    }
    Ok(Content::Chunked { size, chunks })
}
