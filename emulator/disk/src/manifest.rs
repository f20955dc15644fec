//! The manifest of an image.

use serde::{Deserialize, Serialize};

use crate::chunk::inflate;
use crate::{CHUNK_SIZE, Error, hash};

/// The version of the manifest that this program reads and writes.
pub const MANIFEST_VERSION: u32 = 1;

/// Largest disk that a manifest may name: more has no place in a browser, and the bound
/// keeps a hostile manifest from claiming all memory.
const DISK_LIMIT: u64 = 16 << 30;

/// Longest stored chunk. Noise grows in a zlib stream, but by 5 bytes in 16 KiB at most.
const STORED_LIMIT: u32 = CHUNK_SIZE as u32 + 4096;

/// Longest command line: what a kernel for x86 takes (COMMAND_LINE_SIZE), less its final zero.
const CMDLINE_LIMIT: usize = 2047;

/// Largest file that is loaded as a whole.
const FILE_LIMIT: u64 = 256 << 20;

/// A file that is loaded as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Path relative to the manifest's directory.
    pub path: String,
    /// Length of the content in bytes.
    pub size: u64,
    /// BLAKE3 hash of the content, hexadecimal.
    pub blake3: String,
    /// Length of the file, if it is a zlib stream of the content and not the content itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<u64>,
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

    /// Indices of the chunks that hold the bytes from `offset` on, as far as the disk has
    /// such bytes.
    #[must_use]
    pub fn chunks_of(&self, offset: u64, length: u64) -> std::ops::Range<usize> {
        let chunk = CHUNK_SIZE as u64;
        let within = |index: u64| index.min(self.chunks.len() as u64) as usize;
        within(offset / chunk)..within(offset.saturating_add(length).div_ceil(chunk))
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
        if !["i386", "amd64"].contains(&self.arch.as_str()) {
            return Err(Error::Field("arch"));
        }
        if !["full", "busybox"].contains(&self.flavour.as_str()) {
            return Err(Error::Field("flavour"));
        }
        if self.suites.is_empty() || self.suites.iter().any(|suite| !is_relative(suite)) {
            return Err(Error::Field("suites"));
        }
        if self.cmdline.len() > CMDLINE_LIMIT
            || !self.cmdline.bytes().all(|b| (32..127).contains(&b))
        {
            return Err(Error::Field("cmdline"));
        }
        if !(1..=4096).contains(&self.min_memory_mib) {
            return Err(Error::Field("min_memory_mib"));
        }
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
            if file.stored.is_some_and(|stored| stored == 0 || stored > FILE_LIMIT) {
                return Err(Error::Field("stored"));
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
        for chunk in self.chunks.iter().flatten() {
            if !is_hash(&chunk.id) {
                return Err(Error::Field("disk.chunks.id"));
            }
            if chunk.stored == 0 || chunk.stored > STORED_LIMIT {
                return Err(Error::Field("disk.chunks.stored"));
            }
        }
        Ok(())
    }
}

impl FileRef {
    /// Length of the file as it is stored and fetched.
    #[must_use]
    pub fn transfer_size(&self) -> u64 {
        self.stored.unwrap_or(self.size)
    }

    /// The content of a file that was fetched, verified.
    ///
    /// # Errors
    /// If it is not the stored form of just this content.
    pub fn decode(&self, fetched: &[u8]) -> Result<Vec<u8>, Error> {
        let Some(stored) = self.stored else {
            self.verify(fetched)?;
            return Ok(fetched.to_vec());
        };
        if fetched.len() as u64 != stored {
            return Err(Error::Length(stored, fetched.len() as u64));
        }
        let content = inflate(fetched, self.size.min(FILE_LIMIT) as usize)?;
        self.verify(&content)?;
        Ok(content)
    }

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
        FileRef {
            path: path.into(),
            size: content.len() as u64,
            blake3: hash(content),
            stored: None,
        }
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
        let changes: [(&str, Change); 13] = [
            ("path", |m| m.kernel.path = "../etc/passwd".into()),
            ("path", |m| m.initrd.path = "https://elsewhere".into()),
            ("blake3", |m| m.kernel.blake3 = "zz".into()),
            ("size", |m| m.kernel.size = u64::MAX),
            ("stored", |m| m.kernel.stored = Some(0)),
            ("arch", |m| m.arch = "sparc".into()),
            ("flavour", |m| m.flavour.clear()),
            ("suites", |m| m.suites.clear()),
            ("cmdline", |m| m.cmdline = "a\nb".into()),
            ("min_memory_mib", |m| m.min_memory_mib = u32::MAX),
            ("disk.chunks.stored", |m| {
                m.disk.as_mut().expect("disk").chunks[1].as_mut().expect("chunk").stored = u32::MAX;
            }),
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
    fn a_compressed_file_is_decoded_within_its_size() {
        let content = b"kernel ".repeat(5000);
        let stored = crate::deflate(&content);
        let whole = FileRef { stored: Some(stored.len() as u64), ..file("bzImage", &content) };
        assert_eq!(whole.decode(&stored), Ok(content.clone()));
        assert_eq!(whole.transfer_size(), stored.len() as u64);
        assert!(whole.decode(&content).is_err());
        for end in 0..stored.len() {
            assert!(whole.decode(&stored[..end]).is_err(), "cut at {end}");
            let cut = FileRef { stored: Some(end as u64), ..whole.clone() };
            assert!(cut.decode(&stored[..end]).is_err(), "cut at {end}, as announced");
        }
        let small = FileRef { size: 100, ..whole };
        assert_eq!(small.decode(&stored), Err(Error::Length(100, 101)));
        assert_eq!(file("plain", b"x").decode(b"x"), Ok(b"x".to_vec()));
        assert_eq!(file("plain", b"x").decode(b"y"), Err(Error::Hash));
    }

    #[test]
    fn chunks_are_found_by_range() {
        let disk = manifest().disk.expect("disk");
        let chunk = CHUNK_SIZE as u64;
        assert_eq!(disk.chunks_of(0, 1), 0..1);
        assert_eq!(disk.chunks_of(chunk - 1, 2), 0..2);
        assert_eq!(disk.chunks_of(chunk, 512), 1..2);
        assert_eq!(disk.chunks_of(0, u64::MAX), 0..2);
        assert_eq!(disk.chunks_of(1 << 50, 512), 2..2);
        assert_eq!(disk.chunk_length(0), CHUNK_SIZE);
        assert_eq!(disk.chunk_length(1), 512);
    }
}
