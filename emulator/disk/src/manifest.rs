//! The manifest of an image.

use serde::{Deserialize, Serialize};

use crate::{CHUNK_SIZE, Error, hash};

/// The version of the manifest that this program reads and writes.
pub const MANIFEST_VERSION: u32 = 1;

/// Largest disk that a manifest may name: more has no place in a browser, and the bound
/// keeps a hostile manifest from claiming all memory.
const DISK_LIMIT: u64 = 16 << 30;

/// Largest file that is loaded as a whole.
const FILE_LIMIT: u64 = 256 << 20;

/// A file that is loaded as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Path relative to the manifest's directory.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3 hash of the content, hexadecimal.
    pub blake3: String,
}

/// Firmware of the emulated PC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firmware {
    /// System BIOS.
    pub bios: FileRef,
    /// BIOS of the graphics adapter.
    pub vgabios: FileRef,
}

/// One stored chunk of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// BLAKE3 hash of the uncompressed bytes, hexadecimal; also the file's name.
    pub id: String,
    /// Length of the compressed file.
    pub stored: u32,
}

/// A read-only disk in chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Length of the disk in bytes, a multiple of the sector size 512.
    pub size: u64,
    /// Bytes in a chunk, [`CHUNK_SIZE`].
    pub chunk_size: u32,
    /// Directory of the chunks, relative to the manifest's.
    pub path: String,
    /// The chunks in order; `None` for one of zeros.
    pub chunks: Vec<Option<Chunk>>,
}

impl Disk {
    /// Length of the chunk with this index: the last may be shorter.
    #[must_use]
    pub fn chunk_length(&self, index: usize) -> usize {
        let start = index as u64 * CHUNK_SIZE as u64;
        self.size.saturating_sub(start).min(CHUNK_SIZE as u64) as usize
    }

    /// Indices of the chunks that hold the bytes from `offset` on.
    #[must_use]
    pub fn chunks_of(&self, offset: u64, length: u64) -> std::ops::Range<usize> {
        let chunk = CHUNK_SIZE as u64;
        (offset / chunk) as usize..offset.saturating_add(length).div_ceil(chunk) as usize
    }
}

/// A guest image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u32,
    /// Debian's name of the architecture: `i386` or `amd64`.
    pub arch: String,
    /// `full` or `busybox`.
    pub flavour: String,
    /// Seconds since 1970 that stand for the time of the build in all files.
    pub source_date_epoch: u64,
    /// Debian suites that packages were taken from.
    pub suites: Vec<String>,
    /// Kernel image, bootable by the Linux boot protocol.
    pub kernel: FileRef,
    /// Initial RAM disk.
    pub initrd: FileRef,
    /// For machines that start with a BIOS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// Kernel command line without what the user adds.
    pub cmdline: String,
    /// Smallest memory in MiB that the image boots with.
    pub min_memory_mib: u32,
    /// Root disk; `None` if all is in the initial RAM disk.
    pub disk: Option<Disk>,
    /// Hash of the manifest with this field empty: names the image as a whole.
    pub digest: String,
}

impl Manifest {
    /// Reads and validates a manifest.
    ///
    /// # Errors
    /// If it is not what this program could have written.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let format = |error: serde_json::Error| Error::Format(error.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(format)?;
        if head.version != MANIFEST_VERSION {
            return Err(Error::Version(head.version));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(format)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// The manifest as it is stored, with its digest filled in.
    #[must_use]
    pub fn seal(mut self) -> (Self, Vec<u8>) {
        self.digest = self.compute_digest();
        let bytes = serde_json::to_vec(&self).expect("a manifest is plain data");
        (self, bytes)
    }

    fn compute_digest(&self) -> String {
        let bare = Self { digest: String::new(), ..self.clone() };
        hash(&serde_json::to_vec(&bare).expect("a manifest is plain data"))
    }

    fn validate(&self) -> Result<(), Error> {
        let firmware = self.firmware.iter().flat_map(|both| [&both.bios, &both.vgabios]);
        for file in [&self.kernel, &self.initrd].into_iter().chain(firmware) {
            if !is_relative(&file.path) {
                return Err(Error::Field("path"));
            }
            if !is_hash(&file.blake3) {
                return Err(Error::Field("blake3"));
            }
            if file.size == 0 || file.size > FILE_LIMIT {
                return Err(Error::Field("size"));
            }
        }
        if let Some(disk) = &self.disk {
            disk.validate()?;
        }
        if self.digest != self.compute_digest() {
            return Err(Error::Hash);
        }
        Ok(())
    }
}

impl Disk {
    fn validate(&self) -> Result<(), Error> {
        if self.chunk_size as usize != CHUNK_SIZE {
            return Err(Error::Field("disk.chunk_size"));
        }
        if self.size == 0 || self.size > DISK_LIMIT || !self.size.is_multiple_of(512) {
            return Err(Error::Field("disk.size"));
        }
        if self.chunks.len() as u64 != self.size.div_ceil(CHUNK_SIZE as u64) {
            return Err(Error::Field("disk.chunks"));
        }
        if !is_relative(&self.path) {
            return Err(Error::Field("disk.path"));
        }
        if self.chunks.iter().flatten().any(|chunk| !is_hash(&chunk.id)) {
            return Err(Error::Field("disk.chunks.id"));
        }
        Ok(())
    }
}

impl FileRef {
    /// Checks a file's content.
    ///
    /// # Errors
    /// If it has another length or another hash.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() as u64 != self.size {
            return Err(Error::Length(self.size, bytes.len() as u64));
        }
        if hash(bytes) != self.blake3 {
            return Err(Error::Hash);
        }
        Ok(())
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Stays below the manifest's directory and is a plain path of a URL.
fn is_relative(path: &str) -> bool {
    !path.is_empty()
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &[u8]) -> FileRef {
        FileRef { path: path.into(), size: content.len() as u64, blake3: hash(content) }
    }

    fn manifest() -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            arch: "i386".into(),
            flavour: "full".into(),
            source_date_epoch: 1,
            suites: vec!["bookworm".into()],
            kernel: file("bzImage.1", b"kernel"),
            initrd: file("initrd.1", b"initrd"),
            firmware: Some(Firmware { bios: file("bios", b"b"), vgabios: file("vga", b"v") }),
            cmdline: "console=hvc0".into(),
            min_memory_mib: 128,
            disk: Some(Disk {
                size: CHUNK_SIZE as u64 + 512,
                chunk_size: CHUNK_SIZE as u32,
                path: "disk".into(),
                chunks: vec![None, Some(Chunk { id: hash(b"x"), stored: 9 })],
            }),
            digest: String::new(),
        }
    }

    #[test]
    fn a_sealed_manifest_is_read_back() {
        let (sealed, bytes) = manifest().seal();
        assert_eq!(Manifest::parse(&bytes), Ok(sealed));
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_an_error() {
        let (_, bytes) = manifest().seal();
        for end in 0..bytes.len() {
            assert!(Manifest::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(Manifest::parse(&damaged).is_err(), "flipped {index}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let text = br#"{"version": 7, "whatever": []}"#;
        assert_eq!(Manifest::parse(text), Err(Error::Version(7)));
    }

    #[test]
    fn impossible_fields_are_named() {
        type Change = fn(&mut Manifest);
        let changes: [(&str, Change); 6] = [
            ("path", |m| m.kernel.path = "../etc/passwd".into()),
            ("path", |m| m.initrd.path = "https://elsewhere".into()),
            ("blake3", |m| m.kernel.blake3 = "zz".into()),
            ("size", |m| m.kernel.size = u64::MAX),
            ("disk.size", |m| m.disk.as_mut().expect("disk").size = 1 << 60),
            ("disk.chunks", |m| m.disk.as_mut().expect("disk").chunks.clear()),
        ];
        for (name, change) in changes {
            let mut bad = manifest();
            change(&mut bad);
            assert_eq!(Manifest::parse(&bad.seal().1), Err(Error::Field(name)));
        }
    }

    #[test]
    fn chunks_are_found_by_range() {
        let disk = manifest().disk.expect("disk");
        let chunk = CHUNK_SIZE as u64;
        assert_eq!(disk.chunks_of(0, 1), 0..1);
        assert_eq!(disk.chunks_of(chunk - 1, 2), 0..2);
        assert_eq!(disk.chunks_of(chunk, 512), 1..2);
        assert_eq!(disk.chunk_length(0), CHUNK_SIZE);
        assert_eq!(disk.chunk_length(1), 512);
    }
}
