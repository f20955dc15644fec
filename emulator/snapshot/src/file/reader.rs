//! Reading an exported snapshot as it comes.

use std::mem;

use super::{END, FILE_VERSION, MAGIC, RECORD};
use crate::chunk::{Chunk, MAX_STORED, unpack};
use crate::cursor::Cursor;
use crate::manifest::{self, MAX_MANIFEST};
use crate::{Error, Id, Manifest};

/// Magic and version.
const BEGIN_LENGTH: usize = 12;

/// Name and stored length of a chunk.
const RECORD_LENGTH: usize = 36;

/// What came out of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Comes first; checked as a whole.
    Manifest(Manifest),
    /// The next chunk in its stored form, verified against its name.
    Chunk(Chunk),
    /// Comes last: all chunks came, and the stream is what was written.
    End,
}

/// Reads one snapshot. Holds at most one manifest or one chunk, whatever the stream claims.
///
/// Chunks are sound as soon as they come out, but the snapshot is whole only when
/// [`Reader::finish`] says so: until then it must be nobody's head.
///
/// ```
/// # use emulator_snapshot::{Error, file::{Event, Reader}};
/// # fn import<'a>(pieces: impl Iterator<Item = &'a [u8]>, keep: impl Fn(Event)) -> Result<(), Error> {
/// let mut reader = Reader::new();
/// for mut piece in pieces {
///     while let Some(event) = reader.read(&mut piece)? {
///         keep(event);
///     }
/// }
/// reader.finish()
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    stage: Stage,
    /// Bytes of the stage that came so far.
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
    chunks: Vec<(Id, usize)>,
    next: usize,
}

/// What is being read.
#[derive(Clone, Debug)]
enum Stage {
    Begin,
    ManifestLength,
    Manifest { length: usize },
    Tag,
    Record,
    Stored { id: Id, unpacked: usize, length: usize },
    Seal,
    Done,
    Failed(Error),
}

impl Stage {
    /// Bytes that it takes.
    const fn length(&self) -> usize {
        match self {
            Self::Begin => BEGIN_LENGTH,
            Self::ManifestLength => 4,
            Self::Manifest { length } | Self::Stored { length, .. } => *length,
            Self::Tag => 1,
            Self::Record => RECORD_LENGTH,
            Self::Seal => manifest::SEAL_LENGTH,
            Self::Done | Self::Failed(_) => 0,
        }
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        let hasher = blake3::Hasher::new();
        Self { stage: Stage::Begin, buffer: Vec::new(), hasher, chunks: Vec::new(), next: 0 }
    }

    /// Takes bytes off the front of `input` until something came of them; `None` if all were
    /// taken and more are needed.
    ///
    /// # Errors
    /// If the stream is not what [`Writer`](super::Writer) writes; for ever, once it was so.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        let result = self.advance(input);
        if let Err(error) = &result {
            self.stage = Stage::Failed(error.clone());
            self.buffer = Vec::new();
        }
        result
    }

    /// Chunks that came, and how many there are; 0 of 0 before the manifest.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.next, self.chunks.len())
    }

    /// To be called when there are no more bytes: only then is the snapshot whole.
    ///
    /// # Errors
    /// If the stream is not at its end, or was refused before.
    pub fn finish(self) -> Result<(), Error> {
        match self.stage {
            Stage::Done => Ok(()),
            Stage::Failed(error) => Err(error),
            // Too short for a version, but long enough to be something else.
            Stage::Begin if !MAGIC.starts_with(&self.buffer[..self.buffer.len().min(8)]) => {
                Err(Error::NotASnapshot)
            }
            _ => Err(Error::Truncated),
        }
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        loop {
            match &self.stage {
                Stage::Failed(error) => return Err(error.clone()),
                Stage::Done if input.is_empty() => return Ok(None),
                Stage::Done => return Err(Error::Trailing),
                _ => {}
            }
            if !self.fill(input) {
                return Ok(None);
            }
            let bytes = mem::take(&mut self.buffer);
            let event = self.step(bytes)?;
            if matches!(event, Some(Event::End)) && !input.is_empty() {
                return Err(Error::Trailing);
            }
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Whether all bytes of the stage are there. The buffer grows with what comes, not with
    /// what is claimed.
    fn fill(&mut self, input: &mut &[u8]) -> bool {
        let missing = self.stage.length() - self.buffer.len();
        let (now, later) = input.split_at(missing.min(input.len()));
        self.buffer.extend_from_slice(now);
        *input = later;
        now.len() == missing
    }

    /// All bytes of a stage.
    fn step(&mut self, bytes: Vec<u8>) -> Result<Option<Event>, Error> {
        if !matches!(self.stage, Stage::Seal) {
            self.hasher.update(&bytes);
        }
        let mut cursor = Cursor::new(&bytes);
        let mut event = None;
        self.stage = match &self.stage {
            Stage::Begin => {
                manifest::version(&mut cursor, MAGIC, FILE_VERSION)?;
                Stage::ManifestLength
            }
            Stage::ManifestLength => match cursor.u32()? as usize {
                length if length > MAX_MANIFEST => return Err(Error::Bounds("manifest length")),
                length => Stage::Manifest { length },
            },
            Stage::Manifest { .. } => {
                let manifest = Manifest::read(&bytes)?;
                self.chunks = manifest.chunks().collect();
                event = Some(Event::Manifest(manifest));
                Stage::Tag
            }
            Stage::Tag => self.tag(bytes[0])?,
            Stage::Record => self.record(&mut cursor)?,
            Stage::Stored { id, unpacked, .. } => {
                unpack(*id, *unpacked, &bytes)?;
                self.next += 1;
                event = Some(Event::Chunk(Chunk { id: *id, stored: bytes }));
                Stage::Tag
            }
            Stage::Seal => {
                if self.hasher.finalize() != cursor.array()? {
                    return Err(Error::Hash);
                }
                event = Some(Event::End);
                Stage::Done
            }
            ended @ (Stage::Done | Stage::Failed(_)) => ended.clone(),
        };
        Ok(event)
    }

    fn tag(&self, tag: u8) -> Result<Stage, Error> {
        match (tag, self.chunks.get(self.next)) {
            (RECORD, _) => Ok(Stage::Record),
            (END, None) => Ok(Stage::Seal),
            (END, Some((id, _))) => Err(Error::MissingChunk(*id)),
            _ => Err(Error::Bounds("kind of record")),
        }
    }

    fn record(&self, cursor: &mut Cursor<'_>) -> Result<Stage, Error> {
        let id = cursor.id()?;
        let length = cursor.u32()? as usize;
        match self.chunks.get(self.next..) {
            Some([(wanted, unpacked), ..]) if *wanted == id => {
                if length > MAX_STORED {
                    return Err(Error::Bounds("stored chunk length"));
                }
                Ok(Stage::Stored { id, unpacked: *unpacked, length })
            }
            // One that belongs further on: those before it were left out.
            Some([(wanted, _), rest @ ..]) if rest.iter().any(|(other, _)| *other == id) => {
                Err(Error::MissingChunk(*wanted))
            }
            _ => Err(Error::UnexpectedChunk(id)),
        }
    }
}
