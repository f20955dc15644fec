//! Snapshots to try, from a seed: the same in every run.

use std::collections::BTreeMap;

use emulator_snapshot::chunk::{CHUNK_SIZE, pack};
use emulator_snapshot::file::Writer;
use emulator_snapshot::manifest::{Content, Entry, HEADER_LENGTH, SEAL_LENGTH};
use emulator_snapshot::{Id, Manifest, Meta, Origin, screen, state};

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn name(&mut self, most: u64) -> String {
        let letters = b"abcdefghijklmnopqrstuvwxyz0123456789-";
        let length = 1 + self.below(most);
        (0..length).map(|_| char::from(letters[self.below(37) as usize])).collect()
    }

    pub(crate) fn origin(&mut self) -> Origin {
        Origin {
            engine: self.name(16),
            state: self.next() as u32,
            image: *Id::of(&self.bytes(3)).as_bytes(),
            ram: self.below((4 << 30) + 1),
        }
    }

    fn content(&mut self) -> Content {
        if self.below(2) == 0 {
            let length = self.below(300);
            return Content::Inline(self.bytes(length));
        }
        let size = self.below(6 * CHUNK_SIZE as u64);
        let count = size.div_ceil(CHUNK_SIZE as u64);
        let chunk = |index: u64| {
            let length = (size - index * CHUNK_SIZE as u64).min(CHUNK_SIZE as u64);
            // Few names, so that some come twice; the length is one of a name's.
            let which = self.below(5);
            (which > 0).then(|| Id::of(format!("{which} {length}").as_bytes()))
        };
        Content::Chunked { size, chunks: (0..count).map(chunk).collect() }
    }

    /// A manifest whose chunks do not exist.
    pub(crate) fn manifest(&mut self) -> Manifest {
        let count = self.below(7);
        let sections: BTreeMap<String, Entry> = (0..count)
            .map(|_| {
                let (name, version) = (self.name(32), self.next() as u16);
                (name.clone(), Entry { name, version, content: self.content() })
            })
            .collect();
        let origin = self.origin();
        Manifest::new(origin, sections.into_values().collect()).expect("valid")
    }
}

/// A snapshot with its chunks.
pub(crate) struct Snapshot {
    pub(crate) manifest: Manifest,
    pub(crate) chunks: BTreeMap<Id, Vec<u8>>,
}

impl Snapshot {
    /// Of these large sections.
    pub(crate) fn of(origin: Origin, mut entries: Vec<Entry>, large: &[(&str, &[u8])]) -> Self {
        let mut kept = BTreeMap::new();
        for (name, memory) in large {
            let mut chunks = Vec::new();
            for chunk in state::chunks(*memory) {
                chunks.push(chunk.as_ref().map(|chunk| chunk.id));
                kept.extend(chunk.map(|chunk| (chunk.id, chunk.stored)));
            }
            let content = Content::Chunked { size: memory.len() as u64, chunks };
            entries.push(Entry { name: (*name).to_owned(), version: 1, content });
        }
        Self { manifest: Manifest::new(origin, entries).expect("valid"), chunks: kept }
    }

    /// The small one of most tests: one of everything, and three chunks that differ.
    pub(crate) fn small() -> Self {
        let meta = Meta {
            saved_ms: 1_790_000_000_123,
            memory_mib: 1,
            machine: "first".into(),
            flavour: "busybox".into(),
            cmdline: "quiet".into(),
            label: Some("before it broke".into()),
            parent: Some(Id::of(b"parent")),
        };
        let mut memory = vec![0; 3 * CHUNK_SIZE + 100];
        memory[..5].copy_from_slice(b"first");
        memory[2 * CHUNK_SIZE..2 * CHUNK_SIZE + 6].copy_from_slice(b"second");
        memory[3 * CHUNK_SIZE + 95..].copy_from_slice(b"third");
        let cpu =
            Entry { name: "cpu".into(), version: 2, content: Content::Inline(vec![1, 2, 3, 4]) };
        let entries =
            vec![meta.section().expect("valid"), screen::section("$ ").expect("valid"), cpu];
        Self::of(origin(), entries, &[("ram", &memory)])
    }

    /// One for tests that go through every byte: the chunks are short.
    pub(crate) fn tiny() -> Self {
        let large: [(&str, &[u8]); 4] =
            [("a", b"first"), ("b", b"second"), ("c", &[0; 9]), ("d", b"third")];
        Self::of(origin(), Vec::new(), &large)
    }

    /// Its export.
    pub(crate) fn export(&self) -> Vec<u8> {
        let (mut writer, mut stream) = Writer::new(&self.manifest);
        while let Some(id) = writer.wanted() {
            stream.extend(writer.record(id, &self.chunks[&id]).expect("its own chunk"));
        }
        stream.extend(writer.finish().expect("all came"));
        stream
    }

    /// An export with these records instead of its own, and a right hash at the end.
    pub(crate) fn forge(&self, records: &[Vec<u8>]) -> Vec<u8> {
        let (_, mut stream) = Writer::new(&self.manifest);
        stream.extend(records.concat());
        stream.push(0);
        seal(stream)
    }

    /// Its records, as they should come.
    pub(crate) fn records(&self) -> Vec<Vec<u8>> {
        self.manifest.chunks().map(|(id, _)| record(id, &self.chunks[&id])).collect()
    }
}

fn origin() -> Origin {
    Origin { engine: "v86".into(), state: 3, image: [0xab; 32], ram: 1 << 20 }
}

/// A record of an export, whatever is in it.
pub(crate) fn record(id: Id, stored: &[u8]) -> Vec<u8> {
    let length = (stored.len() as u32).to_le_bytes();
    [&[1], &id.as_bytes()[..], &length, stored].concat()
}

/// A chunk that is in none of the samples.
pub(crate) fn foreign() -> emulator_snapshot::Chunk {
    pack(b"from elsewhere").expect("not all zeros")
}

/// These bytes and their hash, as at the end of manifests and exports.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let id = Id::of(&bytes);
    bytes.extend_from_slice(id.as_bytes());
    bytes
}

/// A manifest with another hash at its end: the right one.
pub(crate) fn reseal(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - SEAL_LENGTH);
    seal(bytes)
}

/// Overwrites bytes of a manifest and makes its hash right again.
pub(crate) fn patch(bytes: &[u8], offset: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[offset..offset + with.len()].copy_from_slice(with);
    reseal(bytes)
}

/// A manifest with this body, whatever is in it.
pub(crate) fn with_body(sections: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Manifest::new(origin(), Vec::new()).expect("valid").write();
    bytes.truncate(HEADER_LENGTH);
    bytes[36..40].copy_from_slice(&sections.to_le_bytes());
    bytes[48..56].copy_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(body);
    seal(bytes)
}
