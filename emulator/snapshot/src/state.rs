//! What engines hand over to be saved, and where they get it back from.
//!
//! ```text
//!  save     engine ─ State ─▶ worker: pack each of chunks(pages), keep the new ones,
//!                                     name all of them in a Manifest
//!  restore  engine ◀─ Source ─ worker: manifest read and checked, chunks verified
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::chunk::{Chunk, pack};
use crate::manifest::{Content, Manifest, Origin, chunk_count, chunk_length};
use crate::{CHUNK_SIZE, Error};

/// A machine that stands still, ready to be written down. May borrow the engine's memory.
#[derive(Debug)]
pub struct State<'a> {
    /// Whose state it is.
    pub origin: Origin,
    /// Its parts, in any order.
    pub sections: Vec<Section<'a>>,
}

/// One part of a machine's state.
#[derive(Debug)]
pub struct Section<'a> {
    /// 1 to 32 characters of `a-z0-9-`, unique in its state; not "meta" and not "screen".
    pub name: &'static str,
    /// Version of this section's layout.
    pub version: u16,
    /// Its content.
    pub body: Body<'a>,
}

/// Content of a section.
pub enum Body<'a> {
    /// A few bytes: at most [`MAX_INLINE`](crate::manifest::MAX_INLINE).
    Inline(Vec<u8>),
    /// Large content, at most [`MAX_SIZE`](crate::manifest::MAX_SIZE).
    Paged(Box<dyn Pages + 'a>),
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Paged(pages) => write!(f, "Paged({} bytes)", pages.size()),
        }
    }
}

/// Large content, read a chunk at a time, so that no second copy of all of it exists.
pub trait Pages {
    /// Length in bytes; does not change.
    fn size(&self) -> u64;

    /// Copies the bytes from `offset` on; fills all of `into`. Never asked for bytes beyond
    /// the end.
    fn read(&self, offset: u64, into: &mut [u8]);

    /// Tells whether a chunk is still what it was: while its version is the same, its bytes
    /// are. `None` if that is not known without looking at them.
    fn version(&self, _index: usize) -> Option<Version> {
        None
    }
}

/// Names what a chunk held at one time. No two of a program are the same, whatever their
/// owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u64);

impl Version {
    /// One that nobody has yet.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Pages for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        let start = offset as usize;
        into.copy_from_slice(&self[start..start + into.len()]);
    }
}

impl<T: Pages + ?Sized> Pages for &T {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        (**self).read(offset, into);
    }

    fn version(&self, index: usize) -> Option<Version> {
        (**self).version(index)
    }
}

/// The chunks of large content in order, packed one at a time; `None` for zeros. A caller
/// that has other work to do between two of them stops where it likes.
pub fn chunks<P: Pages + ?Sized>(pages: &P) -> impl Iterator<Item = Option<Chunk>> + '_ {
    let mut buffer = vec![0; CHUNK_SIZE];
    let size = pages.size();
    (0..chunk_count(size)).map(move |index| {
        let bytes = &mut buffer[..chunk_length(size, index)];
        pages.read(index as u64 * CHUNK_SIZE as u64, bytes);
        pack(bytes)
    })
}

/// A chunk on its way: its bytes, verified, or `None` for zeros.
pub type Fetched<'a> = Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, Error>> + 'a>>;

/// Where an engine's sections come back from. All is checked before it is handed out: the
/// manifest by [`Manifest::read`], each chunk by [`unpack`](crate::chunk::unpack).
///
/// An engine checks every section but the large ones before it changes anything of the
/// machine: an error until then leaves the old machine as it was.
pub trait Source {
    /// What was saved.
    fn manifest(&self) -> &Manifest;

    /// One chunk of a chunked section. [`Manifest::chunk`] says which one that is.
    ///
    /// # Errors
    /// [`Error::Section`] if there is none; [`Error::MissingChunk`],
    /// [`Error::DamagedChunk`] or [`Error::Unreadable`] if it cannot be had.
    fn chunk<'a>(&'a self, name: &'a str, index: u32) -> Fetched<'a>;

    /// Version of the engine's state as a whole.
    fn version(&self) -> u32 {
        self.manifest().origin().state
    }

    /// Version of one section's layout; `None` if there is no such section.
    fn section_version(&self, name: &str) -> Option<u16> {
        Some(self.manifest().section(name)?.version)
    }

    /// Bytes of an inline section; `None` if there is none of this name.
    fn inline(&self, name: &str) -> Option<&[u8]> {
        self.manifest().inline(name)
    }

    /// Length of a chunked section in bytes; `None` if there is none of this name.
    fn size(&self, name: &str) -> Option<u64> {
        match self.manifest().section(name)?.content {
            Content::Chunked { size, .. } => Some(size),
            Content::Inline(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::chunk::unpack;
    use crate::error::flawed;
    use crate::manifest::Entry;
    use crate::{Flaw, Id};

    /// Snapshots kept in memory: one is enough.
    struct Kept {
        manifest: Manifest,
        chunks: BTreeMap<Id, Vec<u8>>,
    }

    impl Source for Kept {
        fn manifest(&self) -> &Manifest {
            &self.manifest
        }

        fn chunk<'a>(&'a self, name: &'a str, index: u32) -> Fetched<'a> {
            Box::pin(async move {
                let Some((id, length)) = self.manifest.chunk(name, index)? else {
                    return Ok(None);
                };
                let stored = self.chunks.get(&id).ok_or(Error::MissingChunk(id))?;
                unpack(id, length, stored).map(Some)
            })
        }
    }

    fn save(state: State<'_>) -> Kept {
        let mut kept = BTreeMap::new();
        let mut entries = Vec::new();
        for Section { name, version, body } in state.sections {
            let content = match body {
                Body::Inline(bytes) => Content::Inline(bytes),
                Body::Paged(pages) => {
                    let mut table = Vec::new();
                    for chunk in chunks(&*pages) {
                        table.push(chunk.as_ref().map(|chunk| chunk.id));
                        kept.extend(chunk.map(|chunk| (chunk.id, chunk.stored)));
                    }
                    Content::Chunked { size: pages.size(), chunks: table }
                }
            };
            entries.push(Entry { name: name.to_owned(), version, content });
        }
        Kept { manifest: Manifest::new(state.origin, entries).expect("valid"), chunks: kept }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("nothing here waits"),
        }
    }

    fn load(source: &dyn Source, name: &str) -> Result<Vec<u8>, Error> {
        let size = source.size(name).ok_or_else(|| flawed(name, Flaw::Missing))?;
        let mut memory = vec![0; size as usize];
        for (index, piece) in memory.chunks_mut(CHUNK_SIZE).enumerate() {
            if let Some(bytes) = now(source.chunk(name, index as u32))? {
                piece.copy_from_slice(&bytes);
            }
        }
        Ok(memory)
    }

    #[test]
    fn a_machine_comes_back_from_its_sections() {
        let mut memory = vec![0; 4 * CHUNK_SIZE + 1000];
        memory[CHUNK_SIZE + 5] = 1;
        memory[3 * CHUNK_SIZE + 5] = 1;
        memory[4 * CHUNK_SIZE + 999] = 2;
        let section = |name, version, body| Section { name, version, body };
        let origin = Origin { engine: "test".into(), state: 9, image: [0; 32], ram: 0 };
        let mut kept = save(State {
            origin,
            sections: vec![
                section("ram", 1, Body::Paged(Box::new(&memory[..]))),
                section("cpu", 3, Body::Inline(vec![1, 2, 3])),
                section("none", 1, Body::Paged(Box::new(&[][..]))),
            ],
        });
        assert_eq!(kept.chunks.len(), 2, "two are zeros, two are the same");
        assert_eq!(load(&kept, "ram"), Ok(memory));
        assert_eq!(load(&kept, "none"), Ok(Vec::new()));
        assert_eq!(load(&kept, "cpu"), Err(flawed("cpu", Flaw::Missing)));
        assert_eq!(kept.version(), 9);
        assert_eq!(kept.inline("cpu"), Some(&[1, 2, 3][..]));
        assert_eq!(kept.inline("ram"), None);
        assert_eq!(kept.section_version("cpu"), Some(3));
        assert_eq!(kept.section_version("fpu"), None);
        assert_eq!(now(kept.chunk("ram", 5)), Err(flawed("ram", Flaw::Beyond)));
        assert_eq!(now(kept.chunk("cpu", 0)), Err(flawed("cpu", Flaw::Kind)));

        let (&id, _) = kept.chunks.first_key_value().expect("two");
        kept.chunks.insert(id, vec![0]);
        assert_eq!(load(&kept, "ram"), Err(Error::DamagedChunk(id)));
        kept.chunks.remove(&id);
        assert_eq!(load(&kept, "ram"), Err(Error::MissingChunk(id)));
    }
}
