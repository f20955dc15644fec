//! The manifest of a snapshot: whose state it is, and in which sections.
//!
//! A [`Manifest`] that exists is valid: [`Manifest::new`] and [`Manifest::read`] end in the
//! same checks. Its written form is canonical, so the same machine state with the same
//! [`meta`](crate::meta) is the same bytes and has the same name.

mod layout;

use std::collections::BTreeMap;

pub(crate) use layout::version;
pub use layout::{CONTAINER_VERSION, HEADER_LENGTH, MAGIC, SEAL_LENGTH};

use crate::error::flawed;
use crate::{CHUNK_SIZE, Error, Flaw, Id};

/// Longest manifest in bytes. Four full GiB of memory are named in about half a MiB; the rest
/// is for inline sections.
pub const MAX_MANIFEST: usize = 16 << 20;

/// Most sections: a board has a few dozen devices.
pub const MAX_SECTIONS: usize = 64;

/// Longest inline section in bytes. What is larger is compressed and kept in chunks.
pub const MAX_INLINE: usize = 1 << 20;

/// Largest chunked section, and largest guest memory, in bytes: what a 32-bit wasm memory
/// could hold at most.
pub const MAX_SIZE: u64 = 4 << 30;

/// Longest name of a section.
pub const MAX_NAME: usize = 32;

/// Longest name of an engine; it fills a field of the header.
pub const MAX_ENGINE: usize = 16;

/// Where a machine's state came from, and so where it can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Kind of the engine: 1 to 16 characters of `a-z0-9-`.
    pub engine: String,
    /// Version of the engine's state as a whole. An engine raises it when states of before
    /// can no longer be restored section by section.
    pub state: u32,
    /// Digest of the guest image that the machine was started from; zeros if it has none.
    pub image: [u8; 32],
    /// Size of the guest's memory in bytes, at most [`MAX_SIZE`]; 0 if it has none.
    pub ram: u64,
}

/// What a manifest says before anything of its body is read. Not verified: the seal is at
/// the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the container.
    pub container: u32,
    /// Whose state it is.
    pub origin: Origin,
    /// How many sections there are.
    pub sections: u32,
    /// Length of the body in bytes.
    pub body: u64,
}

/// A section in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1 to 32 characters of `a-z0-9-`, unique in its manifest.
    pub name: String,
    /// Version of the section's own layout.
    pub version: u16,
    /// Its content.
    pub content: Content,
}

/// Content of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The bytes themselves, at most [`MAX_INLINE`].
    Inline(Vec<u8>),
    /// Names of chunks that together are the bytes.
    Chunked {
        /// Length of the content in bytes, at most [`MAX_SIZE`].
        size: u64,
        /// The chunks in order, one for each [`CHUNK_SIZE`] begun; `None` for one of zeros.
        chunks: Vec<Option<Id>>,
    },
}

/// Whose state it is, and all its sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    origin: Origin,
    sections: Vec<Entry>,
}

impl Manifest {
    /// A manifest of these sections, in any order.
    ///
    /// # Errors
    /// [`Error::Bounds`] or [`Error::Section`] for what [`Manifest::read`] would refuse.
    pub fn new(origin: Origin, mut sections: Vec<Entry>) -> Result<Self, Error> {
        sections.sort_by(|a, b| a.name.cmp(&b.name));
        Self::checked(origin, sections)
    }

    /// Reads a manifest of just these bytes and checks all of it.
    ///
    /// # Errors
    /// If they are anything but what [`Manifest::write`] gives.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        layout::read(bytes)
    }

    /// The canonical form: reading it back gives the same manifest, and no other bytes do.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        layout::write(self)
    }

    /// The name of the written form.
    #[must_use]
    pub fn id(&self) -> Id {
        Id::of(&self.write())
    }

    /// Whose state it is.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// All sections in the order of their names.
    #[must_use]
    pub fn sections(&self) -> &[Entry] {
        &self.sections
    }

    /// The section of this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Entry> {
        let index = self.sections.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        self.sections.get(index)
    }

    /// The bytes of an inline section; `None` if there is none of this name.
    #[must_use]
    pub fn inline(&self, name: &str) -> Option<&[u8]> {
        match &self.section(name)?.content {
            Content::Inline(bytes) => Some(bytes),
            Content::Chunked { .. } => None,
        }
    }

    /// Refuses a manifest with sections other than these, or newer than these versions.
    /// To restore with a section left out is to restore half a machine.
    ///
    /// # Errors
    /// [`Error::Section`] with [`Flaw::Unknown`] or [`Flaw::Newer`].
    pub fn expect_only(&self, known: &[(&str, u16)]) -> Result<(), Error> {
        for entry in &self.sections {
            let version = known.iter().find(|(name, _)| *name == entry.name);
            let &(_, version) = version.ok_or_else(|| flawed(&entry.name, Flaw::Unknown))?;
            if entry.version > version {
                let flaw = Flaw::Newer { found: entry.version, known: version };
                return Err(flawed(&entry.name, flaw));
            }
        }
        Ok(())
    }

    /// Name and uncompressed length of one chunk of a chunked section; `None` for zeros.
    ///
    /// # Errors
    /// [`Error::Section`] if there is no such section, or no such chunk in it.
    pub fn chunk(&self, name: &str, index: u32) -> Result<Option<(Id, usize)>, Error> {
        let entry = self.section(name).ok_or_else(|| flawed(name, Flaw::Missing))?;
        let Content::Chunked { size, chunks } = &entry.content else {
            return Err(flawed(name, Flaw::Kind));
        };
        let id = chunks.get(index as usize).ok_or_else(|| flawed(name, Flaw::Beyond))?;
        Ok(id.map(|id| (id, chunk_length(*size, index as usize))))
    }

    /// Every chunk that is named, once, in the order of first use, with its uncompressed
    /// length in bytes.
    pub fn chunks(&self) -> impl Iterator<Item = (Id, usize)> + '_ {
        let mut seen = std::collections::BTreeSet::new();
        self.named().filter(move |(id, _)| seen.insert(*id))
    }

    /// Every chunk that is named, as often as it is.
    fn named(&self) -> impl Iterator<Item = (Id, usize)> + '_ {
        self.sections.iter().flat_map(|entry| {
            let (size, chunks) = match &entry.content {
                Content::Inline(_) => (0, &[][..]),
                Content::Chunked { size, chunks } => (*size, &chunks[..]),
            };
            let named = chunks.iter().enumerate();
            named.filter_map(move |(index, id)| Some(((*id)?, chunk_length(size, index))))
        })
    }

    /// The one place where a manifest comes into being.
    fn checked(origin: Origin, sections: Vec<Entry>) -> Result<Self, Error> {
        origin.check()?;
        if sections.len() > MAX_SECTIONS {
            return Err(Error::Bounds("number of sections"));
        }
        sections.iter().try_for_each(Entry::check)?;
        if let Some(pair) = sections.windows(2).find(|pair| pair[0].name >= pair[1].name) {
            return Err(flawed(&pair[1].name, Flaw::Order));
        }
        let manifest = Self { origin, sections };
        if layout::length(&manifest) > MAX_MANIFEST {
            return Err(Error::Bounds("manifest length"));
        }
        let mut lengths = BTreeMap::new();
        for (id, length) in manifest.named() {
            // One content has one length; the second could never be verified.
            if *lengths.entry(id).or_insert(length) != length {
                return Err(Error::Bounds("chunk length"));
            }
        }
        Ok(manifest)
    }
}

impl Header {
    /// Reads the header alone, from the beginning of a manifest. What follows may be
    /// missing, and nothing is verified: good for a list of snapshots, and to refuse
    /// another engine's before all of it is fetched.
    ///
    /// # Errors
    /// [`Error::NotASnapshot`], [`Error::Newer`], [`Error::Truncated`] or
    /// [`Error::Bounds`], found out in this order.
    pub fn peek(bytes: &[u8]) -> Result<Self, Error> {
        layout::peek(bytes)
    }
}

impl Origin {
    fn check(&self) -> Result<(), Error> {
        if !is_name(&self.engine, MAX_ENGINE) {
            return Err(Error::Bounds("engine kind"));
        }
        if self.ram > MAX_SIZE {
            return Err(Error::Bounds("memory size"));
        }
        Ok(())
    }
}

impl Entry {
    fn check(&self) -> Result<(), Error> {
        if !is_name(&self.name, MAX_NAME) {
            return Err(Error::Bounds("section name"));
        }
        match &self.content {
            Content::Inline(bytes) if bytes.len() > MAX_INLINE => {
                Err(flawed(&self.name, Flaw::Size))
            }
            Content::Chunked { size, .. } if *size > MAX_SIZE => {
                Err(flawed(&self.name, Flaw::Size))
            }
            Content::Chunked { size, chunks } if chunks.len() != chunk_count(*size) => {
                Err(flawed(&self.name, Flaw::Table))
            }
            _ => Ok(()),
        }
    }
}

/// Chunks that `size` bytes are cut in; `size` is at most [`MAX_SIZE`].
pub(crate) const fn chunk_count(size: u64) -> usize {
    size.div_ceil(CHUNK_SIZE as u64) as usize
}

/// Length of one of the chunks of `size` bytes: the last may be shorter.
pub(crate) fn chunk_length(size: u64, index: usize) -> usize {
    let start = index as u64 * CHUNK_SIZE as u64;
    size.saturating_sub(start).min(CHUNK_SIZE as u64) as usize
}

fn is_name(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}
