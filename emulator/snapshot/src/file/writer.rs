//! Writing an exported snapshot piece by piece.

use super::{END, FILE_VERSION, MAGIC, RECORD};
use crate::chunk::unpack;
use crate::{Error, Id, Manifest};

/// Writes one snapshot: what the methods return, one after the other, is the stream. What it
/// has written to the end can be read.
///
/// ```
/// # use emulator_snapshot::{Error, Id, Manifest, file::Writer};
/// # fn export(manifest: &Manifest, kept: impl Fn(Id) -> Vec<u8>) -> Result<Vec<u8>, Error> {
/// let (mut writer, mut stream) = Writer::new(manifest);
/// while let Some(id) = writer.wanted() {
///     stream.extend(writer.record(id, &kept(id))?);
/// }
/// stream.extend(writer.finish()?);
/// # Ok(stream)
/// # }
/// ```
#[derive(Debug)]
pub struct Writer {
    hasher: blake3::Hasher,
    chunks: Vec<(Id, usize)>,
    next: usize,
}

impl Writer {
    /// Begins the stream of this snapshot; returns its first bytes.
    #[must_use]
    pub fn new(manifest: &Manifest) -> (Self, Vec<u8>) {
        let manifest_bytes = manifest.write();
        let mut out = Vec::with_capacity(16 + manifest_bytes.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FILE_VERSION.to_le_bytes());
        out.extend_from_slice(&(manifest_bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&manifest_bytes);
        let chunks = manifest.chunks().collect();
        let mut writer = Self { hasher: blake3::Hasher::new(), chunks, next: 0 };
        writer.hasher.update(&out);
        (writer, out)
    }

    /// The chunk that is to be handed over next; `None` if all were.
    #[must_use]
    pub fn wanted(&self) -> Option<Id> {
        self.chunks.get(self.next).map(|(id, _)| *id)
    }

    /// Chunks that were handed over, and how many there are.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.next, self.chunks.len())
    }

    /// The bytes for the next chunk. It is verified: a store that was damaged shows it now,
    /// not when the file is the last copy.
    ///
    /// # Errors
    /// [`Error::UnexpectedChunk`] if it is not the one that is wanted,
    /// [`Error::DamagedChunk`] if `stored` is not its stored form. The writer is as before.
    pub fn record(&mut self, id: Id, stored: &[u8]) -> Result<Vec<u8>, Error> {
        let &(_, length) = self
            .chunks
            .get(self.next)
            .filter(|(wanted, _)| *wanted == id)
            .ok_or(Error::UnexpectedChunk(id))?;
        unpack(id, length, stored)?;
        let mut out = Vec::with_capacity(1 + 32 + 4 + stored.len());
        out.push(RECORD);
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&(stored.len() as u32).to_le_bytes());
        out.extend_from_slice(stored);
        self.hasher.update(&out);
        self.next += 1;
        Ok(out)
    }

    /// The last bytes of the stream.
    ///
    /// # Errors
    /// [`Error::MissingChunk`] if not all chunks were handed over.
    pub fn finish(mut self) -> Result<Vec<u8>, Error> {
        if let Some(id) = self.wanted() {
            return Err(Error::MissingChunk(id));
        }
        let mut out = vec![END];
        self.hasher.update(&out);
        out.extend_from_slice(self.hasher.finalize().as_bytes());
        Ok(out)
    }
}
