//! The root disk in chunks, as the guest asks for them: what is here, what is to be fetched,
//! and what the guest wrote over it.
//!
//! ```text
//!  guest reads ──▶ read ──▶ bytes, or None: the read waits
//!                   ▲        wanted(all that wait) ──▶ chunks to fetch ──┐
//!                   └──────── arrived, failed ◀──────────────────────────┘
//! ```
//!
//! The reads that wait are the engine's to keep. It calls [`Chunked::wanted`] whenever they
//! have changed, and after each chunk that arrived. A chunk that cannot be had is worth a
//! fault only if a read waits for it; the read goes on waiting, so that after a retry it is
//! answered and the guest never learns that something was wrong.
//!
//! Deliberately absent: fetching, and reads that wait.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::ops::Range;

use emulator_disk::{CHUNK_SIZE, Disk};
use emulator_protocol::Fault;

use crate::saved::refused;

/// Chunks that are kept decoded, 16 MiB. The guest has a page cache of its own, so this
/// only needs to cover neighbouring reads. What reads wait for is kept beyond that.
pub const KEPT_CHUNKS: usize = 64;

/// Chunks that are on their way at the same time.
pub const PARALLEL: usize = 4;

/// Chunks that are fetched ahead of a guest that reads on.
pub const AHEAD: usize = 2;

/// Bytes of a sector, the unit of reads and writes.
pub const SECTOR: usize = 512;

/// Bytes of a written sector in a saved state: its number, then its content.
const RECORD: usize = 8 + SECTOR;

/// A write that is not of whole sectors within the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside;

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not whole sectors within the disk")
    }
}

impl std::error::Error for Outside {}

/// A disk in chunks.
#[derive(Debug)]
pub struct Chunked {
    layout: Disk,
    clean: HashMap<usize, Vec<u8>>,
    /// Clean chunks, the least recently fetched first.
    order: VecDeque<usize>,
    /// Sectors that the guest wrote. The image is mounted read-only, so this holds what
    /// somebody writes to the raw device: at most the disk's size.
    written: HashMap<u64, [u8; SECTOR]>,
    loading: HashSet<usize>,
    /// Chunks of the reads that wait.
    needed: Vec<Range<usize>>,
    /// First chunk of the last read that had to wait.
    last: usize,
}

impl Chunked {
    /// A disk of which nothing is here.
    #[must_use]
    pub fn new(layout: Disk) -> Self {
        Self {
            layout,
            clean: HashMap::new(),
            order: VecDeque::new(),
            written: HashMap::new(),
            loading: HashSet::new(),
            needed: Vec::new(),
            last: usize::MAX,
        }
    }

    /// Its size and chunks.
    #[must_use]
    pub fn layout(&self) -> &Disk {
        &self.layout
    }

    /// The bytes from `offset` on, both in whole sectors; `None` if chunks of them are not
    /// here. Beyond the end are zeros.
    #[must_use]
    pub fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let end = offset.saturating_add(length as u64);
        let chunks = self.layout.chunks_of(offset, length as u64);
        if !chunks.clone().all(|index| self.is_here(index)) {
            return None;
        }
        let mut bytes = Vec::with_capacity(length);
        for index in chunks {
            let start = index as u64 * CHUNK_SIZE as u64;
            let from = offset.saturating_sub(start) as usize;
            let to = (end - start).min(self.layout.chunk_length(index) as u64) as usize;
            match self.clean.get(&index) {
                Some(chunk) => bytes.extend_from_slice(&chunk[from.min(to)..to]),
                None => bytes.resize(bytes.len() + to.saturating_sub(from), 0),
            }
        }
        bytes.resize(length, 0);
        self.overlay(offset, &mut bytes);
        Some(bytes)
    }

    /// Puts what was written over what was read.
    fn overlay(&self, offset: u64, bytes: &mut [u8]) {
        if self.written.is_empty() {
            return;
        }
        let first = offset / SECTOR as u64;
        for (number, sector) in (first..).zip(bytes.as_chunks_mut::<SECTOR>().0) {
            if let Some(written) = self.written.get(&number) {
                *sector = *written;
            }
        }
    }

    /// Takes a write.
    ///
    /// # Errors
    /// [`Outside`]; then nothing is written.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Outside> {
        let end = offset.checked_add(bytes.len() as u64).ok_or(Outside)?;
        let (sectors, rest) = bytes.as_chunks::<SECTOR>();
        if end > self.layout.size || !rest.is_empty() || !offset.is_multiple_of(SECTOR as u64) {
            return Err(Outside);
        }
        let first = offset / SECTOR as u64;
        self.written.extend((first..).zip(sectors.iter().copied()));
        Ok(())
    }

    /// What the guest wrote: for each sector its number in 8 bytes, little endian, and its
    /// content, in order.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        let mut sectors: Vec<_> = self.written.iter().collect();
        sectors.sort_unstable_by_key(|(number, _)| **number);
        let mut bytes = Vec::with_capacity(sectors.len() * RECORD);
        for (number, sector) in sectors {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(sector);
        }
        bytes
    }

    /// Longest that [`Chunked::written`] can be for such a disk: every sector, once.
    #[must_use]
    pub fn written_limit(layout: &Disk) -> u64 {
        layout.size / SECTOR as u64 * RECORD as u64
    }

    /// Takes what [`Chunked::written`] gave.
    ///
    /// # Errors
    /// [`refused`] if it did not give that for such a disk; then nothing is changed.
    pub fn set_written(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let (records, rest) = bytes.as_chunks::<RECORD>();
        if !rest.is_empty() {
            return Err(refused("Its disk ends within a sector."));
        }
        let sectors = self.layout.size / SECTOR as u64;
        let mut written = HashMap::with_capacity(records.len());
        let mut next = 0;
        for record in records {
            let (number, sector) = record.split_at(8);
            let number = u64::from_le_bytes(number.try_into().unwrap_or_default());
            if number < next || number >= sectors {
                return Err(refused(format!("Its disk has no sector {number} at this place.")));
            }
            written.insert(number, sector.try_into().unwrap_or([0; SECTOR]));
            next = number + 1;
        }
        self.written = written;
        Ok(())
    }

    /// Chunks to fetch now, for reads that wait, each with its offset and length, in the
    /// order in which they came. The chunks are marked as being on their way: each is to be
    /// answered with [`Chunked::arrived`] or [`Chunked::failed`].
    #[must_use]
    pub fn wanted(&mut self, waiting: impl Iterator<Item = (u64, usize)>) -> Vec<usize> {
        self.needed = waiting
            .map(|(offset, length)| self.layout.chunks_of(offset, length as u64))
            .filter(|range| !range.is_empty())
            .collect();
        self.trim(KEPT_CHUNKS);
        let mut ahead = 0..0;
        // A guest that reads on after the chunk it read last will want the next ones too.
        if let Some(first) = self.needed.first().map(|range| range.start) {
            if first == self.last.wrapping_add(1) {
                ahead = first + 1..first + 1 + AHEAD;
            }
            self.last = first;
        }
        let mut wanted = Vec::new();
        for index in self.needed.iter().cloned().chain([ahead]).flatten() {
            if self.loading.len() >= PARALLEL {
                break;
            }
            if !self.is_here(index) && self.loading.insert(index) {
                wanted.push(index);
            }
        }
        wanted
    }

    /// Takes a chunk, decoded and verified.
    pub fn arrived(&mut self, index: usize, bytes: Vec<u8>) {
        debug_assert_eq!(bytes.len(), self.layout.chunk_length(index));
        self.loading.remove(&index);
        if !self.clean.contains_key(&index) {
            self.trim(KEPT_CHUNKS - 1);
            self.order.push_back(index);
            self.clean.insert(index, bytes);
        }
    }

    /// Hears that a chunk cannot be had. Returns whether a read waits for it: only then is
    /// it worth a fault.
    #[must_use]
    pub fn failed(&mut self, index: usize) -> bool {
        self.loading.remove(&index);
        self.is_needed(index)
    }

    /// Whether a chunk need not be fetched: it was, or it is zeros.
    fn is_here(&self, index: usize) -> bool {
        match self.layout.chunks.get(index) {
            Some(Some(_)) => self.clean.contains_key(&index),
            _ => true,
        }
    }

    fn is_needed(&self, index: usize) -> bool {
        self.needed.iter().any(|range| range.contains(&index))
    }

    /// Drops the oldest chunks until there are no more than `room`, but none that a read waits
    /// for: else a read that is larger than the cache, or two that want each other's room,
    /// would never be answered.
    fn trim(&mut self, room: usize) {
        let mut excess = self.order.len().saturating_sub(room);
        let mut order = std::mem::take(&mut self.order);
        order.retain(|index| {
            let dropped = excess > 0 && !self.is_needed(*index);
            if dropped {
                self.clean.remove(index);
                excess -= 1;
            }
            !dropped
        });
        self.order = order;
    }
}

#[cfg(test)]
mod tests {
    use emulator_disk::{Chunk, hash};

    use super::*;

    const CHUNK: u64 = CHUNK_SIZE as u64;

    /// A disk of so many chunks and a half; every third is zeros.
    fn disk(chunks: usize) -> Chunked {
        let some = |index: usize| {
            (index % 3 != 2).then(|| Chunk { id: hash(&index.to_le_bytes()), stored: 9 })
        };
        Chunked::new(Disk {
            size: chunks as u64 * CHUNK + CHUNK / 2,
            chunk_size: CHUNK_SIZE as u32,
            path: "disk".into(),
            chunks: (0..=chunks).map(some).collect(),
        })
    }

    /// Content of a chunk: not zeros, and not that of another.
    fn content(disk: &Chunked, index: usize) -> Vec<u8> {
        vec![index as u8 % 251 + 1; disk.layout.chunk_length(index)]
    }

    fn arrive(disk: &mut Chunked, index: usize) {
        let bytes = content(disk, index);
        disk.arrived(index, bytes);
    }

    /// Fetches until all these reads are answered; returns how many chunks that took.
    fn serve(disk: &mut Chunked, mut reads: Vec<(u64, usize)>) -> usize {
        let mut fetched = 0;
        reads.retain(|(offset, length)| disk.read(*offset, *length).is_none());
        let mut coming = VecDeque::from(disk.wanted(reads.iter().copied()));
        while let Some(index) = coming.pop_front() {
            arrive(disk, index);
            fetched += 1;
            reads.retain(|(offset, length)| disk.read(*offset, *length).is_none());
            coming.extend(disk.wanted(reads.iter().copied()));
        }
        assert_eq!(reads, []);
        fetched
    }

    #[test]
    fn a_read_waits_for_its_chunks_and_gets_their_bytes() {
        let mut disk = disk(3);
        let read = (CHUNK - 512, CHUNK_SIZE + 1024);
        assert_eq!(disk.read(read.0, read.1), None);
        assert_eq!(disk.wanted([read].into_iter()), [0, 1]);
        arrive(&mut disk, 1);
        assert_eq!(disk.read(read.0, read.1), None);
        arrive(&mut disk, 0);
        let expected = [vec![1; 512], vec![2; CHUNK_SIZE], vec![0; 512]].concat();
        assert_eq!(disk.read(read.0, read.1), Some(expected));
    }

    #[test]
    fn zeros_and_what_is_beyond_the_end_need_no_fetching() {
        let mut disk = disk(2);
        let (size, end) = (disk.layout.size, u64::MAX - 511);
        for (offset, length) in [(2 * CHUNK, 512), (size, 1024), (end, 1024), (end, usize::MAX)] {
            assert_eq!(disk.wanted([(offset, length)].into_iter()), [0; 0], "{offset}");
        }
        assert_eq!(disk.read(2 * CHUNK, 512), Some(vec![0; 512]));
        assert_eq!(disk.read(size - 512, 1024), Some(vec![0; 1024]));
        assert_eq!(disk.read(end, 1024), Some(vec![0; 1024]));
    }

    #[test]
    fn a_short_last_chunk_is_read_to_its_end() {
        let mut disk = disk(1);
        let size = disk.layout.size;
        serve(&mut disk, vec![(size - 512, 1024)]);
        assert_eq!(disk.read(size - 512, 1024), Some([[2; 512], [0; 512]].concat()));
    }

    #[test]
    fn what_was_written_lies_over_what_was_there() {
        let mut disk = disk(2);
        assert_eq!(disk.write(512, &[9; 1024]), Ok(()));
        assert_eq!(disk.read(512, 512), None, "the chunk is not here all the same");
        arrive(&mut disk, 0);
        let expected = [[1; 512], [9; 512], [9; 512], [1; 512]].concat();
        assert_eq!(disk.read(0, 2048), Some(expected));
    }

    #[test]
    fn nothing_is_written_outside_of_the_disk_nor_half_a_sector() {
        let mut disk = disk(1);
        let size = disk.layout.size;
        for (offset, length) in [
            (size, 512),
            (size - 512, 1024),
            (u64::MAX - 511, 512),
            (u64::MAX - 511, 1024),
            (0, 511),
            (256, 512),
        ] {
            assert_eq!(disk.write(offset, &vec![1; length]), Err(Outside), "{offset} {length}");
        }
        assert!(disk.written().is_empty());
        assert_eq!(disk.write(size - 512, &[1; 512]), Ok(()));
    }

    #[test]
    fn what_was_written_comes_back() {
        let mut old = disk(1);
        for (number, byte) in [(7_u64, 1), (300, 2), (0, 3), (7, 4)] {
            old.write(number * 512, &[byte; 512]).expect("within the disk");
        }
        let bytes = old.written();
        assert_eq!(bytes.len(), 3 * RECORD);
        let mut new = disk(1);
        new.set_written(&bytes).expect("what another gave");
        assert_eq!(new.written(), bytes);
        assert_eq!(new.written[&7], [4; 512]);
    }

    #[test]
    fn what_no_disk_wrote_is_refused() {
        let mut disk = disk(1);
        disk.write(0, &[1; 512]).expect("within the disk");
        let before = disk.written();
        let record = |number: u64| [&number.to_le_bytes()[..], &[0; 512]].concat();
        let sectors = disk.layout.size / 512;
        for bad in [
            before[1..].to_vec(),
            record(sectors),
            record(u64::MAX),
            [record(5), record(5)].concat(),
            [record(5), record(4)].concat(),
        ] {
            assert!(disk.set_written(&bad).is_err());
            assert_eq!(disk.written(), before);
        }
        let all: Vec<u8> = (0..sectors).flat_map(record).collect();
        assert_eq!(all.len() as u64, Chunked::written_limit(&disk.layout));
        assert_eq!(disk.set_written(&all), Ok(()));
    }

    #[test]
    fn a_guest_that_reads_on_is_fetched_ahead_for() {
        let mut disk = disk(30);
        let first =
            |disk: &mut Chunked, index: u64| disk.wanted([(index * CHUNK, 512)].into_iter());
        assert_eq!(first(&mut disk, 3), [3]);
        arrive(&mut disk, 3);
        assert_eq!(first(&mut disk, 4), [4, 6], "5 is zeros");
        assert_eq!(first(&mut disk, 4), [0; 0], "all are on their way");
        assert_eq!(first(&mut disk, 9), [9], "a jump");
    }

    #[test]
    fn few_chunks_are_on_their_way_at_once() {
        let mut disk = disk(30);
        let read = (0, 20 * CHUNK_SIZE);
        let wanted = disk.wanted([read].into_iter());
        assert_eq!(wanted.len(), PARALLEL);
        assert_eq!(disk.wanted([read].into_iter()), [0; 0]);
        arrive(&mut disk, wanted[0]);
        assert_eq!(disk.wanted([read].into_iter()).len(), 1);
    }

    #[test]
    fn a_failure_is_one_only_for_those_who_wait() {
        let mut disk = disk(30);
        assert_eq!(disk.wanted([(3 * CHUNK, 512)].into_iter()), [3]);
        assert!(disk.failed(3));
        assert_eq!(disk.wanted([(3 * CHUNK, 512)].into_iter()), [3], "asked for again");
        assert_eq!(disk.wanted(std::iter::empty()), [0; 0]);
        assert!(!disk.failed(3));
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut disk = disk(400);
        for index in 0..400 {
            serve(&mut disk, vec![(index * CHUNK, 512)]);
            assert!(disk.clean.len() <= KEPT_CHUNKS && disk.clean.len() == disk.order.len());
        }
        assert_eq!(disk.clean.len(), KEPT_CHUNKS);
        assert_eq!(serve(&mut disk, vec![(399 * CHUNK, 512)]), 0, "the last is kept");
    }

    #[test]
    fn reads_larger_than_the_cache_are_answered_and_then_it_is_small_again() {
        let mut disk = disk(400);
        let large = 2 * KEPT_CHUNKS * CHUNK_SIZE;
        let reads = vec![(0, large), (200 * CHUNK, large), (10 * CHUNK, 512)];
        let chunks = [0..128, 200..328].into_iter().flatten();
        let stored = chunks.filter(|index| index % 3 != 2).count();
        assert_eq!(serve(&mut disk, reads), stored, "none was fetched twice");
        assert!(disk.wanted(std::iter::empty()).is_empty());
        assert_eq!(disk.clean.len(), KEPT_CHUNKS);
    }
}
