//! Manifests, good and bad.

use emulator_snapshot::manifest::{
    Content, Entry, HEADER_LENGTH, MAX_INLINE, MAX_MANIFEST, MAX_SECTIONS, MAX_SIZE,
};
use emulator_snapshot::{CHUNK_SIZE, Error, Flaw, Header, Id, Manifest, Origin};

use crate::sample::{Random, Snapshot, patch, reseal, with_body};

const TEN_GB: u64 = 10_000_000_000;

fn small() -> Vec<u8> {
    Snapshot::small().manifest.write()
}

fn inline(name: &str, bytes: Vec<u8>) -> Entry {
    Entry { name: name.into(), version: 1, content: Content::Inline(bytes) }
}

fn chunked(name: &str, size: u64, chunks: Vec<Option<Id>>) -> Entry {
    Entry { name: name.into(), version: 1, content: Content::Chunked { size, chunks } }
}

fn new(sections: Vec<Entry>) -> Result<Manifest, Error> {
    Manifest::new(Random(1).origin(), sections)
}

fn flawed(name: &str, flaw: Flaw) -> Error {
    Error::Section { name: name.into(), flaw }
}

/// What is accepted is canonical.
fn refused_or_canonical(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::read(bytes) {
        assert_eq!(manifest.write(), bytes);
    }
}

#[test]
fn every_manifest_is_read_back() {
    let mut random = Random(7);
    for _ in 0..500 {
        let manifest = random.manifest();
        let bytes = manifest.write();
        assert_eq!(Manifest::read(&bytes).as_ref(), Ok(&manifest));
        assert_eq!(Manifest::read(&bytes).expect("as before").write(), bytes);
        assert_eq!(manifest.id(), Id::of(&bytes));

        let header = Header::peek(&bytes[..HEADER_LENGTH]).expect("all of the header");
        assert_eq!(&header.origin, manifest.origin());
        assert_eq!(header.sections as usize, manifest.sections().len());
        assert_eq!(header.container, 1);
    }
}

#[test]
fn the_order_in_which_sections_are_handed_over_does_not_matter() {
    let (a, b) = (inline("a", vec![1]), inline("b", vec![2]));
    assert_eq!(new(vec![a.clone(), b.clone()]), new(vec![b, a]));
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = small();
    for end in 0..bytes.len() {
        assert_eq!(Manifest::read(&bytes[..end]), Err(Error::Truncated), "cut at {end}");
        assert_eq!(Header::peek(&bytes[..end]).is_ok(), end >= HEADER_LENGTH, "cut at {end}");
    }
}

#[test]
fn every_truncation_of_a_body_is_an_error() {
    let bytes = small();
    let body = &bytes[HEADER_LENGTH..bytes.len() - 32];
    assert!(Manifest::read(&with_body(4, body)).is_ok());
    for end in 0..body.len() {
        let cut = Manifest::read(&with_body(4, &body[..end]));
        assert_eq!(cut, Err(Error::Truncated), "cut at {end}");
    }
    let longer = with_body(4, &[body, &[0]].concat());
    assert_eq!(Manifest::read(&longer), Err(Error::Trailing));
}

#[test]
fn every_changed_byte_is_an_error() {
    let bytes = small();
    for index in 0..bytes.len() {
        for change in 1..=255 {
            let mut changed = bytes.clone();
            changed[index] ^= change;
            assert!(Manifest::read(&changed).is_err(), "byte {index} ^ {change}");
        }
    }
}

#[test]
fn every_changed_byte_under_a_right_hash_is_an_error_or_another_manifest() {
    let bytes = small();
    for index in 0..bytes.len() - 32 {
        for change in 1..=255 {
            refused_or_canonical(&patch(&bytes, index, &[bytes[index] ^ change]));
        }
    }
}

#[test]
fn random_changes_under_a_right_hash_are_an_error_or_another_manifest() {
    let mut random = Random(8);
    for _ in 0..5000 {
        let mut bytes = random.manifest().write();
        for _ in 0..1 + random.below(4) {
            let index = random.below(bytes.len() as u64 - 32) as usize;
            bytes[index] = [0, 1, 0xff, random.next() as u8][random.below(4) as usize];
        }
        refused_or_canonical(&reseal(bytes));
        let (sections, length) = (random.below(4) as u32, random.below(200));
        refused_or_canonical(&with_body(sections, &random.bytes(length)));
    }
}

#[test]
fn something_else_is_no_snapshot() {
    let export = Snapshot::small().export();
    for bytes in [&b"PK\x03\x04"[..], b"{\"version\": 1}", b"\0", &export] {
        assert_eq!(Manifest::read(bytes), Err(Error::NotASnapshot));
        assert_eq!(Header::peek(bytes), Err(Error::NotASnapshot));
    }
    assert_eq!(Manifest::read(b""), Err(Error::Truncated));
}

#[test]
fn a_newer_container_is_named_whatever_follows() {
    let mut bytes = small()[..12].to_vec();
    bytes[8..].copy_from_slice(&2_u32.to_le_bytes());
    assert_eq!(Manifest::read(&bytes), Err(Error::Newer { found: 2, known: 1 }));
    bytes.extend([0xff; 300]);
    assert_eq!(Header::peek(&bytes), Err(Error::Newer { found: 2, known: 1 }));
    assert_eq!(Manifest::read(&patch(&small(), 8, &[0])), Err(Error::Bounds("version")));
}

#[test]
fn fields_of_the_header_are_checked() {
    let ten_gb = TEN_GB.to_le_bytes();
    for (field, offset, with) in [
        ("header length", 12, &89_u32.to_le_bytes()[..]),
        ("engine kind", 16, b"V"),
        ("engine kind", 16, b"\0"),
        ("engine kind", 16, b"\xff"),
        ("engine kind", 31, b"x"),
        ("number of sections", 36, &u32::MAX.to_le_bytes()),
        ("memory size", 40, &ten_gb),
        ("body length", 48, &ten_gb),
        ("body length", 48, &u64::MAX.to_le_bytes()),
    ] {
        let bytes = patch(&small(), offset, with);
        assert_eq!(Header::peek(&bytes), Err(Error::Bounds(field)));
        assert_eq!(Manifest::read(&bytes), Err(Error::Bounds(field)));
    }
}

#[test]
fn sections_are_checked() {
    let a = b"\x01a\x01\0\0\0\0\0\0";
    let b = b"\x01b\x01\0\0\0\0\0\0";
    assert!(Manifest::read(&with_body(2, &[&a[..], b].concat())).is_ok());
    let ten_gb = [&b"\x01a\x01\0\x01"[..], &TEN_GB.to_le_bytes()].concat();
    let four_gib = [&b"\x01a\x01\0\x01"[..], &MAX_SIZE.to_le_bytes()].concat();
    let flag = [&b"\x01a\x01\0\x01"[..], &1_u64.to_le_bytes(), &[2]].concat();
    for (error, sections, body) in [
        (flawed("a", Flaw::Order), 2, [&a[..], a].concat()),
        (flawed("a", Flaw::Order), 2, [&b[..], a].concat()),
        (Error::Trailing, 1, [&a[..], b].concat()),
        (Error::Truncated, 3, [&a[..], b].concat()),
        (Error::Bounds("section name"), 1, b"\0\x01\0\0\0\0\0\0".to_vec()),
        (Error::Bounds("section name"), 1, b"\x01A\x01\0\0\0\0\0\0".to_vec()),
        (Error::Bounds("section name"), 1, b"\x01\xff\x01\0\0\0\0\0\0".to_vec()),
        (Error::Bounds("section name"), 1, [&[33][..], &[b'a'; 40]].concat()),
        (Error::Bounds("kind of section"), 1, b"\x01a\x01\0\x02\0\0\0\0".to_vec()),
        (flawed("a", Flaw::Size), 1, b"\x01a\x01\0\0\xff\xff\xff\xff".to_vec()),
        (Error::Truncated, 1, b"\x01a\x01\0\0\x01\0\0\0".to_vec()),
        (flawed("a", Flaw::Size), 1, ten_gb),
        (Error::Truncated, 1, four_gib),
        (Error::Bounds("table of chunks"), 1, flag),
    ] {
        assert_eq!(Manifest::read(&with_body(sections, &body)), Err(error), "{body:?}");
    }
}

#[test]
fn what_would_not_be_read_is_not_made() {
    let id = Id::of(b"x");
    let too_many = (0..=MAX_SECTIONS).map(|index| inline(&index.to_string(), Vec::new()));
    let too_long = (0..16).map(|index| inline(&index.to_string(), vec![0; MAX_INLINE]));
    let (full, last) = (CHUNK_SIZE as u64, Some(id));
    for (error, sections) in [
        (Error::Bounds("section name"), vec![inline("", Vec::new())]),
        (Error::Bounds("section name"), vec![inline("with space", Vec::new())]),
        (Error::Bounds("section name"), vec![inline(&"x".repeat(33), Vec::new())]),
        (flawed("a", Flaw::Order), vec![inline("a", vec![1]), inline("a", vec![2])]),
        (flawed("a", Flaw::Size), vec![inline("a", vec![0; MAX_INLINE + 1])]),
        (flawed("a", Flaw::Size), vec![chunked("a", MAX_SIZE + 1, vec![None; 16385])]),
        (flawed("a", Flaw::Table), vec![chunked("a", 1, Vec::new())]),
        (flawed("a", Flaw::Table), vec![chunked("a", full, vec![None; 2])]),
        (Error::Bounds("chunk length"), vec![chunked("a", full + 1, vec![last, last])]),
        (Error::Bounds("number of sections"), too_many.collect()),
        (Error::Bounds("manifest length"), too_long.collect()),
    ] {
        assert_eq!(new(sections), Err(error));
    }
    for (field, origin) in [
        ("engine kind", Origin { engine: String::new(), ..Random(1).origin() }),
        ("engine kind", Origin { engine: "x".repeat(17), ..Random(1).origin() }),
        ("memory size", Origin { ram: MAX_SIZE + 1, ..Random(1).origin() }),
    ] {
        assert_eq!(Manifest::new(origin, Vec::new()), Err(Error::Bounds(field)));
    }
}

#[test]
fn the_largest_memory_fits() {
    let chunk = |index: u32| Some(Id::of(&index.to_le_bytes()));
    let full = new(vec![chunked("ram", MAX_SIZE, (0..16384).map(chunk).collect())]);
    let full = full.expect("valid");
    let bytes = full.write();
    assert!(bytes.len() < MAX_MANIFEST / 16);
    assert_eq!(Manifest::read(&bytes), Ok(full));
}

#[test]
fn chunks_are_listed_once_in_the_order_of_first_use() {
    let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Id::of(bytes));
    let chunk = CHUNK_SIZE as u64;
    let manifest = new(vec![
        chunked("y", 2 * chunk, vec![Some(a), Some(b)]),
        inline("z", vec![1]),
        chunked("x", 4 * chunk + 5, vec![Some(b), None, Some(b), Some(b), Some(c)]),
    ])
    .expect("valid");
    let listed: Vec<_> = manifest.chunks().collect();
    assert_eq!(listed, [(b, CHUNK_SIZE), (c, 5), (a, CHUNK_SIZE)]);
    assert_eq!(manifest.chunk("x", 4), Ok(Some((c, 5))));
    assert_eq!(manifest.chunk("x", 1), Ok(None));
    assert_eq!(manifest.chunk("x", 5), Err(flawed("x", Flaw::Beyond)));
    assert_eq!(manifest.chunk("z", 0), Err(flawed("z", Flaw::Kind)));
    assert_eq!(manifest.chunk("w", 0), Err(flawed("w", Flaw::Missing)));
}

#[test]
fn unknown_and_newer_sections_are_refused() {
    let manifest = Snapshot::small().manifest;
    let known = [("cpu", 2), ("fpu", 1), ("meta", 1), ("ram", 1), ("screen", 7)];
    assert_eq!(manifest.expect_only(&known), Ok(()));
    assert_eq!(manifest.expect_only(&known[1..]), Err(flawed("cpu", Flaw::Unknown)));
    let older = [("cpu", 1), ("meta", 1), ("ram", 1), ("screen", 1)];
    let newer = Flaw::Newer { found: 2, known: 1 };
    assert_eq!(manifest.expect_only(&older), Err(flawed("cpu", newer)));
}
