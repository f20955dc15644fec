//! The guest's disk: a file that stays as it is, and what was written over it in memory.
//! Only what is asked for is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use emulator_machine::block::{Failed, Operation, SECTOR};

const BYTES: usize = SECTOR as usize;

/// A disk image under an overlay.
#[derive(Debug)]
pub(crate) struct Disk {
    file: File,
    /// Bytes of the disk: the file's, rounded up to whole sectors.
    size: u64,
    written: BTreeMap<u64, [u8; BYTES]>,
}

impl Disk {
    /// The disk in this file, or block device.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || -> io::Result<(File, u64)> {
            let mut file = File::open(path)?;
            // The length of a block device is where its end is.
            let length = file.seek(SeekFrom::End(0))?;
            Ok((file, length))
        };
        let (file, length) = open().with_context(|| format!("opening {}", path.display()))?;
        if length == 0 {
            bail!("{} is empty: a disk has a sector at least", path.display());
        }
        Ok(Disk { file, size: length.next_multiple_of(SECTOR), written: BTreeMap::new() })
    }

    /// Its bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// What was written: sectors by their numbers.
    pub(crate) fn written(&self) -> &BTreeMap<u64, [u8; BYTES]> {
        &self.written
    }

    /// Does what the guest wants; the device has seen to it that it is within the disk.
    pub(crate) fn answer(&mut self, operation: &Operation) -> Result<Vec<u8>, Failed> {
        match operation {
            Operation::Read { sector, length } => self.read(*sector, *length).map_err(|error| {
                eprintln!("warning: the disk image cannot be read at sector {sector}: {error}");
                Failed
            }),
            Operation::Write { sector, bytes } => {
                let sectors = bytes.as_chunks::<BYTES>().0.iter().copied();
                self.written.extend((*sector..).zip(sectors));
                Ok(Vec::new())
            }
            // What was written is in memory, and lasts as the machine does.
            Operation::Flush => Ok(Vec::new()),
        }
    }

    fn read(&self, sector: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            match self.file.read_at(&mut bytes[done..], sector * SECTOR + done as u64) {
                // The file ends within its last sector; the rest is zeros.
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let end = sector + (length / BYTES) as u64;
        for (number, content) in self.written.range(sector..end) {
            let at = (number - sector) as usize * BYTES;
            bytes[at..at + BYTES].copy_from_slice(content);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, content: &[u8]) -> (std::path::PathBuf, Disk) {
        let path =
            std::env::temp_dir().join(format!("vivarium-disk-{name}-{}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        let disk = Disk::open(&path).unwrap();
        (path, disk)
    }

    fn read(disk: &mut Disk, sector: u64, length: usize) -> Vec<u8> {
        disk.answer(&Operation::Read { sector, length }).unwrap()
    }

    #[test]
    fn what_was_written_lies_over_the_file_and_the_file_stays() {
        let content: Vec<u8> = (0..4u8).flat_map(|number| [number + 1; BYTES]).collect();
        let (path, mut disk) = disk("overlay", &content);
        assert_eq!(disk.size(), 2048);
        let bytes = [[8; BYTES], [9; BYTES]].concat();
        assert_eq!(disk.answer(&Operation::Write { sector: 1, bytes: bytes.clone() }), Ok(vec![]));
        assert_eq!(disk.answer(&Operation::Flush), Ok(vec![]));
        let all = [&content[..BYTES], &bytes, &content[3 * BYTES..]].concat();
        assert_eq!(read(&mut disk, 0, 2048), all);
        assert_eq!(read(&mut disk, 2, BYTES), [9; BYTES]);
        assert_eq!(disk.written().keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(std::fs::read(&path).unwrap(), content);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_ends_within_a_sector_goes_on_with_zeros() {
        let (path, mut disk) = disk("short", &[7; 600]);
        assert_eq!(disk.size(), 1024);
        assert_eq!(read(&mut disk, 0, 1024), [&[7; 600][..], &[0; 424]].concat());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn no_file_and_an_empty_file_are_refused() {
        assert!(Disk::open(Path::new("/nowhere/at/all")).is_err());
        let error = Disk::open(Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("empty"), "{error}");
    }
}
