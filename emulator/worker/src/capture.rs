//! A machine's state, held while the machine goes on.
//!
//! The guest stands still while its memory is looked at, so that is done at the speed of
//! memory: of each chunk only a fingerprint is taken, and a copy if that is not the one of
//! the last save. Names, compression and storage come later, while the guest runs. An engine
//! that keeps account of what is written says of a chunk that it is the one of the last save,
//! and nobody looks at that at all.
//!
//! Copies are what takes long. So a machine of which little is known is first walked through
//! a [`Part`] at a time, and runs between two of them; what it changes behind the walk's back
//! is seen when all of it is held.
//!
//! A fingerprint is 128 bits of XXH3. It is compared with that of the same chunk of the same
//! machine a moment ago, never with a stranger's: a guest that wanted two of them to be the
//! same could only spoil its own snapshot.

use std::collections::BTreeMap;
use std::ops::Range;

use emulator_snapshot::chunk::is_zero;
use emulator_snapshot::manifest::{Content, Entry};
use emulator_snapshot::state::{Body, Pages, State, Version};
use emulator_snapshot::{CHUNK_SIZE, Id, Origin};
use twox_hash::XxHash3_128;

/// What was saved last, so that it need not be saved again: of each section all chunks that
/// are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memo(BTreeMap<&'static str, Vec<Option<Known>>>);

/// What a chunk was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    version: Option<Version>,
    /// Fingerprint and name; `None` for zeros.
    content: Option<(u128, Id)>,
}

impl Memo {
    /// Learns the name of a chunk that a [`Part`] has held.
    pub fn learn(&mut self, place: Place, id: Id) {
        let known = self.0.entry(place.section).or_default();
        if known.len() <= place.index {
            known.resize(place.index + 1, None);
        }
        let Seen { version, fingerprint } = place.seen;
        known[place.index] = Some(Known { version, content: Some((fingerprint, id)) });
    }

    fn of(&self, section: &str) -> &[Option<Known>] {
        self.0.get(section).map_or(&[], Vec::as_slice)
    }
}

/// Where a chunk belongs, and what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    section: &'static str,
    index: usize,
    seen: Seen,
}

/// How a chunk that is not zeros is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    version: Option<Version>,
    fingerprint: u128,
}

/// The chunks of one stretch of a machine's state that have no name yet. No state that a
/// machine ever had: the next stretch is of a later moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part(Vec<(Place, Vec<u8>)>);

impl Part {
    /// Looks at `count` chunks behind the first `from`; `None` if there are none.
    #[must_use]
    pub fn take(state: &State<'_>, memo: &Memo, from: usize, count: usize) -> Option<Self> {
        let mut before = from;
        let mut left = count;
        let mut part = None;
        for section in &state.sections {
            let Body::Paged(pages) = &section.body else { continue };
            let chunks = pages.size().div_ceil(CHUNK_SIZE as u64) as usize;
            let range = before.min(chunks)..chunks.min(before.saturating_add(left));
            before -= range.start;
            left -= range.len();
            if range.is_empty() {
                continue;
            }
            let held = &mut part.get_or_insert_with(Self::default).0;
            let known = memo.of(section.name);
            for (index, piece) in range.clone().zip(look(&**pages, known, range)) {
                if let Piece::Fresh(seen, bytes) = piece {
                    held.push((Place { section: section.name, index, seen }, bytes));
                }
            }
        }
        part
    }

    /// How many of them have changed since the last save.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.0.len()
    }
}

impl IntoIterator for Part {
    type Item = (Place, Vec<u8>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// One chunk of a held state.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// It is zeros or has a name: that of the last save, or one that it got since.
    Known(Known),
    /// Changed: a copy.
    Fresh(Seen, Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Inline(Vec<u8>),
    Paged { size: u64, pieces: Vec<Piece> },
}

/// A held state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    origin: Origin,
    sections: Vec<(&'static str, u16, Held)>,
}

impl Capture {
    /// Takes hold of a state. The guest may go on afterwards.
    #[must_use]
    pub fn take(state: State<'_>, memo: &Memo) -> Self {
        let sections = state.sections.into_iter().map(|section| {
            let held = match section.body {
                Body::Inline(bytes) => Held::Inline(bytes),
                Body::Paged(pages) => {
                    let all = 0..pages.size().div_ceil(CHUNK_SIZE as u64) as usize;
                    let pieces = look(&*pages, memo.of(section.name), all);
                    Held::Paged { size: pages.size(), pieces }
                }
            };
            (section.name, section.version, held)
        });
        Self { origin: state.origin, sections: sections.collect() }
    }

    /// Whose state it is.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How many chunks have no name yet.
    #[must_use]
    pub fn unnamed(&self) -> usize {
        let pieces = self.pieces();
        pieces.filter(|piece| matches!(piece, Piece::Fresh(..))).count()
    }

    /// Names the next chunk that has none, and hands it over; `None` if all have one.
    pub fn name_next(&mut self) -> Option<(Id, Vec<u8>)> {
        let paged = self.sections.iter_mut().filter_map(|(_, _, held)| match held {
            Held::Paged { pieces, .. } => Some(pieces),
            Held::Inline(_) => None,
        });
        let piece = paged.flatten().find(|piece| matches!(piece, Piece::Fresh(..)))?;
        let Piece::Fresh(seen, bytes) = piece else { return None };
        let (Seen { version, fingerprint }, bytes) = (*seen, std::mem::take(bytes));
        let id = Id::of(&bytes);
        *piece = Piece::Known(Known { version, content: Some((fingerprint, id)) });
        Some((id, bytes))
    }

    /// The sections for a manifest, and what the next save need not look at again.
    ///
    /// # Panics
    /// If a chunk has no name.
    #[must_use]
    pub fn finish(self) -> (Origin, Vec<Entry>, Memo) {
        let mut memo = Memo::default();
        let mut entries = Vec::with_capacity(self.sections.len());
        for (name, version, held) in self.sections {
            let content = match held {
                Held::Inline(bytes) => Content::Inline(bytes),
                Held::Paged { size, pieces } => {
                    let known: Vec<_> = pieces.iter().map(Piece::known).collect();
                    let id = |known: &Known| known.content.map(|(_, id)| id);
                    let chunks = known.iter().map(id).collect();
                    memo.0.insert(name, known.into_iter().map(Some).collect());
                    Content::Chunked { size, chunks }
                }
            };
            entries.push(Entry { name: name.into(), version, content });
        }
        (self.origin, entries, memo)
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.sections.iter().flat_map(|(_, _, held)| match held {
            Held::Inline(_) => &[][..],
            Held::Paged { pieces, .. } => pieces,
        })
    }
}

impl Piece {
    fn known(&self) -> Known {
        match self {
            Self::Known(known) => *known,
            Self::Fresh(..) => panic!("a chunk has no name yet"),
        }
    }
}

/// Looks at these chunks of a section, as far as that is necessary.
fn look(pages: &dyn Pages, known: &[Option<Known>], chunks: Range<usize>) -> Vec<Piece> {
    let size = pages.size();
    let mut buffer = vec![0; CHUNK_SIZE];
    let mut pieces = Vec::with_capacity(chunks.len());
    for index in chunks {
        let version = pages.version(index);
        let last = known.get(index).copied().flatten();
        if let Some(last) = last.filter(|last| version.is_some() && last.version == version) {
            pieces.push(Piece::Known(last));
            continue;
        }
        let start = index as u64 * CHUNK_SIZE as u64;
        let bytes = &mut buffer[..(size - start).min(CHUNK_SIZE as u64) as usize];
        pages.read(start, bytes);
        pieces.push(if is_zero(bytes) {
            Piece::Known(Known { version, content: None })
        } else {
            let fingerprint = XxHash3_128::oneshot(bytes);
            match last.and_then(|last| last.content) {
                Some((same, id)) if same == fingerprint => {
                    Piece::Known(Known { version, content: Some((fingerprint, id)) })
                }
                _ => Piece::Fresh(Seen { version, fingerprint }, bytes.to_vec()),
            }
        });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use emulator_snapshot::state::Section;

    use super::*;

    fn state(memory: &[u8]) -> State<'_> {
        let origin = Origin { engine: "test".into(), state: 1, image: [0; 32], ram: 0 };
        let section = |name, body| Section { name, version: 1, body };
        let ram = Body::Paged(Box::new(memory));
        State { origin, sections: vec![section("cpu", Body::Inline(vec![1])), section("ram", ram)] }
    }

    /// Chunks that had no name, sections, and what is to be remembered.
    type Named = (Vec<(Id, Vec<u8>)>, Vec<Entry>, Memo);

    fn named(mut capture: Capture) -> Named {
        let fresh: Vec<_> = std::iter::from_fn(|| capture.name_next()).collect();
        let (_, entries, memo) = capture.finish();
        (fresh, entries, memo)
    }

    #[test]
    fn only_what_changed_is_held() {
        let mut memory = vec![0; 4 * CHUNK_SIZE - 100];
        memory[5] = 1;
        memory[3 * CHUNK_SIZE] = 2;
        let (fresh, entries, memo) = named(Capture::take(state(&memory), &Memo::default()));
        assert_eq!(fresh.len(), 2);
        assert_eq!(fresh[0], (Id::of(&memory[..CHUNK_SIZE]), memory[..CHUNK_SIZE].to_vec()));
        assert_eq!(fresh[1].1.len(), CHUNK_SIZE - 100);
        let Content::Chunked { size, chunks } = &entries[1].content else { panic!("paged") };
        assert_eq!(*size, memory.len() as u64);
        assert_eq!(chunks[..], [Some(fresh[0].0), None, None, Some(fresh[1].0)]);

        let again = Capture::take(state(&memory), &memo);
        assert_eq!(again.unnamed(), 0);
        assert_eq!(named(again).1, entries);

        memory[3 * CHUNK_SIZE] = 0;
        memory[CHUNK_SIZE] = 3;
        let (fresh, entries, _) = named(Capture::take(state(&memory), &memo));
        assert_eq!(fresh.len(), 1);
        let Content::Chunked { chunks, .. } = &entries[1].content else { panic!("paged") };
        assert_eq!(chunks[1], Some(fresh[0].0));
        assert_eq!(chunks[3], None);
    }

    #[test]
    fn a_walk_sees_every_chunk_once_and_leaves_little_to_hold() {
        let mut memory: Vec<u8> = (0..5 * CHUNK_SIZE - 100).map(|at| (at / 1000) as u8).collect();
        memory[CHUNK_SIZE..2 * CHUNK_SIZE].fill(0);
        let mut memo = Memo::default();
        let (mut from, mut seen) = (0, 0);
        while let Some(part) = Part::take(&state(&memory), &memo, from, 2) {
            from += 2;
            for (place, bytes) in part {
                seen += 1;
                memo.learn(place, Id::of(&bytes));
            }
        }
        assert_eq!((from, seen), (6, 4), "five chunks, one of zeros");
        // What the machine did behind the walk's back.
        memory[CHUNK_SIZE] = 1;
        memory[4 * CHUNK_SIZE] ^= 1;
        let capture = Capture::take(state(&memory), &memo);
        assert_eq!(capture.unnamed(), 2);
        let walked = named(capture).1;
        assert_eq!(walked, named(Capture::take(state(&memory), &Memo::default())).1);
    }

    /// Memory that keeps account, and counts how often it is looked at.
    struct Accounted<'a> {
        bytes: &'a [u8],
        versions: Vec<Version>,
        reads: &'a Cell<usize>,
    }

    impl Pages for Accounted<'_> {
        fn size(&self) -> u64 {
            self.bytes.size()
        }

        fn read(&self, offset: u64, into: &mut [u8]) {
            self.reads.set(self.reads.get() + 1);
            self.bytes.read(offset, into);
        }

        fn version(&self, index: usize) -> Option<Version> {
            Some(self.versions[index])
        }
    }

    #[test]
    fn nobody_looks_at_what_is_known_to_be_the_same() {
        let mut memory = vec![1; 4 * CHUNK_SIZE];
        memory[CHUNK_SIZE..2 * CHUNK_SIZE].fill(0);
        let mut versions: Vec<_> = (0..4).map(|_| Version::unique()).collect();
        let reads = Cell::new(0);
        let save = |memory: &[u8], versions: &[Version], memo: &Memo| {
            reads.set(0);
            let pages = Accounted { bytes: memory, versions: versions.to_vec(), reads: &reads };
            let mut state = state(memory);
            state.sections[1].body = Body::Paged(Box::new(pages));
            named(Capture::take(state, memo))
        };
        let (_, first, memo) = save(&memory, &versions, &Memo::default());
        assert_eq!(reads.get(), 4);
        let (fresh, same, memo) = save(&memory, &versions, &memo);
        assert_eq!((reads.get(), fresh.len(), same), (0, 0, first));
        // Written to: with something else, and with the same.
        memory[2 * CHUNK_SIZE] = 7;
        versions[2] = Version::unique();
        versions[3] = Version::unique();
        let (fresh, changed, memo) = save(&memory, &versions, &memo);
        assert_eq!((reads.get(), fresh.len()), (2, 1));
        assert_eq!(changed, named(Capture::take(state(&memory), &Memo::default())).1);
        save(&memory, &versions, &memo);
        assert_eq!(reads.get(), 0);
    }

    #[test]
    fn a_walk_goes_on_in_the_next_section() {
        let paged = |name, size| {
            let body = Body::Paged(Box::new(&[1; 3 * CHUNK_SIZE][..size]));
            Section { name, version: 1, body }
        };
        let origin = Origin { engine: "test".into(), state: 1, image: [0; 32], ram: 0 };
        let sections = vec![paged("a", 3 * CHUNK_SIZE), paged("none", 0), paged("b", 1)];
        let state = State { origin, sections };
        let places = |from, count| -> Option<Vec<_>> {
            let part = Part::take(&state, &Memo::default(), from, count)?;
            Some(part.into_iter().map(|(place, _)| (place.section, place.index)).collect())
        };
        assert_eq!(places(0, 2), Some(vec![("a", 0), ("a", 1)]));
        assert_eq!(places(2, 2), Some(vec![("a", 2), ("b", 0)]));
        assert_eq!(places(3, 9), Some(vec![("b", 0)]));
        assert_eq!(places(4, 2), None);
    }
}
