//! Inputs that are kept: what each of them gives stands in `corpus/expected.txt`.
//!
//! `VIVARIUM_BLESS=1 cargo test -p emulator-snapshot` writes the made inputs and what the
//! readers say of all. Inputs that a fuzzer found are simply put into the folder. The two
//! in `corpus/v1` are not made again, ever: that they are read is the promise.

use std::fs;
use std::path::{Path, PathBuf};

use emulator_snapshot::{CHUNK_SIZE, Id, Manifest, Meta, chunk, screen};

use crate::file::import;
use crate::sample::{Random, Snapshot, foreign, patch, record, with_body};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// What a reader says of an input; the ending of its name decides which.
fn outcome(name: &str, bytes: &[u8]) -> String {
    let manifest = if name.ends_with(".manifest") {
        Manifest::read(bytes)
    } else {
        import(bytes, 1000).map(|(manifest, _)| manifest)
    };
    match manifest {
        Ok(manifest) => format!(
            "accepted: {} sections, {} chunks, {}",
            manifest.sections().len(),
            manifest.chunks().count(),
            manifest.id()
        ),
        Err(error) => format!("refused: {error}"),
    }
}

/// All inputs by their names, in order.
fn inputs() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for part in ["good", "hostile", "v1"] {
        for entry in fs::read_dir(folder().join(part)).expect("the corpus is there") {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("a file").to_str().expect("ASCII").to_owned();
            found.push((format!("{part}/{name}"), fs::read(&path).expect("readable")));
        }
    }
    found.sort();
    found
}

fn made() -> Vec<(&'static str, Vec<u8>)> {
    let snapshot = Snapshot::small();
    let manifest = snapshot.manifest.write();
    let stream = snapshot.export();
    let [a, b, c] = snapshot.records().try_into().expect("three");
    let foreign = foreign();
    let ten_gb = 10_000_000_000_u64.to_le_bytes();
    let body = |start: &[u8], claim: &[u8]| with_body(1, &[start, claim].concat());
    let mut newer_file = stream.clone();
    newer_file[8] = 2;
    let mut claim = stream[..16].to_vec();
    claim[12..].fill(0xff);
    let mut flipped = manifest.clone();
    flipped[100] ^= 1;
    vec![
        ("good/empty.manifest", Manifest::new(Random(1).origin(), vec![]).expect("valid").write()),
        ("good/random.manifest", Random(3).manifest().write()),
        ("good/small.manifest", manifest.clone()),
        ("good/small.vivarium", stream.clone()),
        ("hostile/10-gb-body.manifest", patch(&manifest, 48, &ten_gb)),
        ("hostile/10-gb-memory.manifest", patch(&manifest, 40, &ten_gb)),
        ("hostile/10-gb-section.manifest", body(b"\x01a\x01\0\x01", &ten_gb)),
        ("hostile/4-gb-inline.manifest", body(b"\x01a\x01\0\0", &[0xff; 4])),
        ("hostile/4-gb-manifest.vivarium", claim),
        ("hostile/4-gb-section.manifest", body(b"\x01a\x01\0\x01", &(4_u64 << 30).to_le_bytes())),
        ("hostile/chunk-damaged.vivarium", {
            let id = Id::from_bytes(a[1..33].try_into().expect("32 bytes"));
            snapshot.forge(&[record(id, &foreign.stored), b.clone(), c.clone()])
        }),
        ("hostile/chunk-doubled.vivarium", {
            snapshot.forge(&[a.clone(), a.clone(), b.clone(), c.clone()])
        }),
        ("hostile/chunk-foreign.vivarium", {
            snapshot.forge(&[record(foreign.id, &foreign.stored), b.clone(), c.clone()])
        }),
        ("hostile/chunk-missing.vivarium", snapshot.forge(&[a.clone(), b.clone()])),
        ("hostile/chunks-swapped.vivarium", snapshot.forge(&[b, a, c])),
        ("hostile/cut.manifest", manifest[..manifest.len() / 2].to_vec()),
        ("hostile/cut.vivarium", stream[..stream.len() / 2].to_vec()),
        ("hostile/flipped.manifest", flipped),
        ("hostile/magic.manifest", patch(&manifest, 0, b"\x89PNG")),
        ("hostile/newer.manifest", patch(&manifest, 8, &[2])),
        ("hostile/newer.vivarium", newer_file),
        ("hostile/nothing.vivarium", Vec::new()),
        ("hostile/section-twice.manifest", {
            with_body(2, b"\x01a\x01\0\0\0\0\0\0\x01a\x01\0\0\0\0\0\0")
        }),
        ("hostile/sections-disordered.manifest", {
            with_body(2, b"\x01b\x01\0\0\0\0\0\0\x01a\x01\0\0\0\0\0\0")
        }),
        ("hostile/sections-without-end.manifest", patch(&manifest, 36, &[0xff; 4])),
        ("hostile/trailing.manifest", [&manifest[..], b"x"].concat()),
        ("hostile/trailing.vivarium", [&stream[..], b"x"].concat()),
    ]
}

fn bless() {
    for (name, bytes) in made() {
        let path = folder().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, bytes).expect("writable");
    }
    fs::create_dir_all(folder().join("v1")).expect("writable");
    let snapshot = Snapshot::small();
    for (name, bytes) in
        [("v1/small.manifest", snapshot.manifest.write()), ("v1/small.vivarium", snapshot.export())]
    {
        let path = folder().join(name);
        if !path.exists() {
            fs::write(path, bytes).expect("writable");
        }
    }
}

#[test]
fn every_kept_input_gives_what_it_gave() {
    let blessing = std::env::var_os("VIVARIUM_BLESS").is_some();
    if blessing {
        bless();
    }
    let inputs = inputs();
    let mut found = String::new();
    for (name, bytes) in &inputs {
        let outcome = outcome(name, bytes);
        let expected = if name.starts_with("hostile/") { "refused" } else { "accepted" };
        assert!(outcome.starts_with(expected), "{name}: {outcome}");
        found += &format!("{name}: {outcome}\n");
    }
    for (name, _) in made() {
        assert!(inputs.iter().any(|(kept, _)| kept == name), "{name} is not in the corpus");
    }
    let expected = folder().join("expected.txt");
    if blessing {
        fs::write(&expected, &found).expect("writable");
    }
    assert_eq!(found, fs::read_to_string(expected).expect("the corpus is there"));
}

#[test]
fn version_1_is_read_for_ever() {
    let read = |name: &str| fs::read(folder().join("v1").join(name)).expect("kept");
    let manifest = Manifest::read(&read("small.manifest")).expect("version 1");
    let (same, chunks) = import(&read("small.vivarium"), 4096).expect("version 1");
    assert_eq!(manifest, same);

    let origin = manifest.origin();
    assert_eq!((origin.engine.as_str(), origin.state, origin.ram), ("v86", 3, 1 << 20));
    assert_eq!(origin.image, [0xab; 32]);
    let names: Vec<_> = manifest.sections().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["cpu", "meta", "ram", "screen"]);
    assert_eq!(manifest.inline("cpu"), Some(&[1, 2, 3, 4][..]));
    assert_eq!(screen::of(&manifest), Ok(Some("$ ")));

    let meta = Meta::of(&manifest).expect("version 1");
    assert_eq!((meta.saved_ms, meta.memory_mib), (1_790_000_000_123, 1));
    assert_eq!((meta.machine.as_str(), meta.flavour.as_str()), ("first", "busybox"));
    assert_eq!((meta.cmdline.as_str(), meta.label.as_deref()), ("quiet", Some("before it broke")));
    assert_eq!(meta.parent, Some(Id::of(b"parent")));

    let mut memory = vec![0; 3 * CHUNK_SIZE + 100];
    for (index, piece) in memory.chunks_mut(CHUNK_SIZE).enumerate() {
        let Some((id, length)) = manifest.chunk("ram", index as u32).expect("in it") else {
            continue;
        };
        let kept = chunks.iter().find(|chunk| chunk.id == id).expect("in it");
        piece.copy_from_slice(&chunk::unpack(id, length, &kept.stored).expect("sound"));
    }
    assert!(memory.starts_with(b"first\0") && memory.ends_with(b"\0third"));
    assert!(memory[2 * CHUNK_SIZE..].starts_with(b"second\0"));
    assert!(chunk::is_zero(&memory[CHUNK_SIZE..2 * CHUNK_SIZE]));
}
