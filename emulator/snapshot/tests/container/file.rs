//! Exported snapshots, good and bad.

use emulator_snapshot::chunk::pack;
use emulator_snapshot::file::{Event, Reader, Writer};
use emulator_snapshot::{CHUNK_SIZE, Chunk, Error, Manifest};

use crate::sample::{Random, Snapshot, foreign, record};

/// Reads a stream that comes in pieces of this size.
pub(crate) fn import(stream: &[u8], piece: usize) -> Result<(Manifest, Vec<Chunk>), Error> {
    let mut reader = Reader::new();
    let (mut manifest, mut chunks, mut ended) = (None, Vec::new(), false);
    for mut piece in stream.chunks(piece) {
        while let Some(event) = reader.read(&mut piece)? {
            assert!(!ended, "nothing comes after the end");
            match event {
                Event::Manifest(first) => assert!(manifest.replace(first).is_none()),
                Event::Chunk(chunk) => chunks.push(chunk),
                Event::End => ended = true,
            }
        }
        assert!(piece.is_empty(), "all is taken if nothing comes of it");
    }
    reader.finish()?;
    assert!(ended, "the end was told");
    Ok((manifest.expect("a snapshot has a manifest"), chunks))
}

fn refusal(stream: &[u8]) -> Error {
    import(stream, usize::MAX).expect_err("refused")
}

#[test]
fn every_snapshot_is_read_back() {
    let mut random = Random(9);
    for round in 0..6 {
        let mut memory = vec![0; random.below(5 * CHUNK_SIZE as u64) as usize];
        for _ in 0..round {
            let start = random.below(1 + memory.len() as u64) as usize;
            let end = (start + 1 + random.below(3000) as usize).min(memory.len());
            let noise = random.bytes((end - start) as u64);
            memory[start..end].copy_from_slice(&noise);
        }
        let large = [("disk", &memory[..memory.len() / 3]), ("ram", &memory[..])];
        let snapshot = Snapshot::of(random.origin(), Vec::new(), &large);
        let stream = snapshot.export();
        for piece in [1, 7, 4096, usize::MAX] {
            let (manifest, chunks) = import(&stream, piece).expect("its own export");
            assert_eq!(manifest, snapshot.manifest);
            assert_eq!(chunks.len(), snapshot.chunks.len());
            for Chunk { id, stored } in chunks {
                assert_eq!(snapshot.chunks[&id], stored);
            }
        }
    }
}

#[test]
fn a_forged_stream_is_the_stream_if_nothing_is_forged() {
    let snapshot = Snapshot::small();
    assert_eq!(snapshot.forge(&snapshot.records()), snapshot.export());
}

#[test]
fn every_truncation_is_an_error() {
    let stream = Snapshot::tiny().export();
    for end in 0..stream.len() {
        assert_eq!(refusal(&stream[..end]), Error::Truncated, "cut at {end}");
    }
}

#[test]
fn every_changed_byte_is_an_error() {
    let stream = Snapshot::tiny().export();
    for index in 0..stream.len() {
        for change in 1..=255 {
            let mut changed = stream.clone();
            changed[index] ^= change;
            assert!(import(&changed, usize::MAX).is_err(), "byte {index} ^ {change}");
        }
    }
}

#[test]
fn every_change_of_the_records_is_an_error() {
    let snapshot = Snapshot::small();
    let ids: Vec<_> = snapshot.manifest.chunks().map(|(id, _)| id).collect();
    let [a, b, c] = snapshot.records().try_into().expect("three");
    let foreign = foreign();
    let other = record(foreign.id, &foreign.stored);
    let disguised = record(ids[0], &foreign.stored);
    let trailing = record(ids[0], &[&snapshot.chunks[&ids[0]][..], &[0]].concat());
    for (error, records) in [
        (Error::MissingChunk(ids[0]), vec![]),
        (Error::MissingChunk(ids[0]), vec![b.clone(), c.clone()]),
        (Error::MissingChunk(ids[1]), vec![a.clone(), c.clone()]),
        (Error::MissingChunk(ids[2]), vec![a.clone(), b.clone()]),
        (Error::MissingChunk(ids[0]), vec![b.clone(), a.clone(), c.clone()]),
        (Error::UnexpectedChunk(ids[0]), vec![a.clone(), a.clone(), b.clone(), c.clone()]),
        (Error::UnexpectedChunk(ids[2]), vec![a.clone(), b.clone(), c.clone(), c.clone()]),
        (Error::UnexpectedChunk(foreign.id), vec![other.clone(), b.clone(), c.clone()]),
        (Error::UnexpectedChunk(foreign.id), vec![a.clone(), b.clone(), c.clone(), other]),
        (Error::DamagedChunk(ids[0]), vec![disguised, b.clone(), c.clone()]),
        (Error::DamagedChunk(ids[0]), vec![trailing, b, c]),
        (Error::Bounds("kind of record"), vec![vec![2], a]),
    ] {
        assert_eq!(refusal(&snapshot.forge(&records)), error);
    }
}

#[test]
fn a_chunk_may_be_compressed_by_another_program() {
    let snapshot = Snapshot::small();
    let (id, length) = snapshot.manifest.chunks().last().expect("three");
    assert_eq!(length, 100);
    // A zlib stream of one stored block (RFC 1950, RFC 1951 3.2.4).
    let mut bytes = vec![0; 95];
    bytes.extend(b"third");
    let sum = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    let adler = ((sum.1 << 16) | sum.0).to_be_bytes();
    let stored = [&[0x78, 0x01, 1, 100, 0, 155, 255][..], &bytes, &adler].concat();
    assert_ne!(stored, snapshot.chunks[&id]);
    let mut records = snapshot.records();
    records[2] = record(id, &stored);
    let (_, chunks) = import(&snapshot.forge(&records), 5).expect("the same content");
    assert_eq!(chunks[2], Chunk { id, stored });
}

#[test]
fn what_follows_the_end_is_an_error() {
    let mut stream = Snapshot::small().export();
    stream.push(0);
    for piece in [1, stream.len() - 1, usize::MAX] {
        assert_eq!(import(&stream, piece), Err(Error::Trailing));
    }
    let twice = [Snapshot::small().export(), Snapshot::small().export()].concat();
    assert_eq!(refusal(&twice), Error::Trailing);
}

#[test]
fn a_trailing_byte_is_told_instead_of_the_end() {
    let stream = [&Snapshot::small().export()[..], b"x"].concat();
    let (mut reader, mut input) = (Reader::new(), &stream[..]);
    let error = loop {
        match reader.read(&mut input) {
            Ok(Some(Event::End)) => panic!("this is not the end"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Trailing);
    assert_eq!(reader.finish(), Err(Error::Trailing), "and stays refused");
}

#[test]
fn claims_are_refused_before_anything_comes() {
    let snapshot = Snapshot::small();
    let mut stream = snapshot.export();
    stream[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(refusal(&stream[..16]), Error::Bounds("manifest length"));

    let (id, _) = snapshot.manifest.chunks().next().expect("three");
    let (_, mut stream) = Writer::new(&snapshot.manifest);
    stream.push(1);
    stream.extend(id.as_bytes());
    stream.extend(u32::MAX.to_le_bytes());
    assert_eq!(refusal(&stream), Error::Bounds("stored chunk length"));
}

#[test]
fn something_else_and_something_newer_are_named() {
    let manifest = Snapshot::small().manifest.write();
    for bytes in [&manifest[..], b"\x1f\x8b\x08", b"{", &[0; 4096]] {
        assert_eq!(refusal(bytes), Error::NotASnapshot);
    }
    let mut stream = Snapshot::small().export();
    stream[8] = 2;
    assert_eq!(refusal(&stream[..12]), Error::Newer { found: 2, known: 1 });
    stream[8] = 0;
    assert_eq!(refusal(&stream), Error::Bounds("version"));
}

#[test]
fn random_bytes_and_random_changes_never_panic() {
    let mut random = Random(10);
    let stream = Snapshot::tiny().export();
    for _ in 0..2000 {
        let mut changed = stream.clone();
        for _ in 0..1 + random.below(4) {
            let index = random.below(changed.len() as u64) as usize;
            changed[index] = random.next() as u8;
        }
        if changed != stream {
            assert!(import(&changed, 1 + random.below(500) as usize).is_err());
        }
        let length = random.below(300);
        assert!(import(&random.bytes(length), 64).is_err());
    }
}

#[test]
fn the_writer_takes_the_wanted_chunk_and_no_other() {
    let snapshot = Snapshot::small();
    let (mut writer, _) = Writer::new(&snapshot.manifest);
    let id = writer.wanted().expect("three");
    let other = pack(b"other").expect("not all zeros");
    assert_eq!(writer.record(other.id, &other.stored), Err(Error::UnexpectedChunk(other.id)));
    assert_eq!(writer.record(id, &other.stored), Err(Error::DamagedChunk(id)));
    assert_eq!(writer.progress(), (0, 3));
    assert!(writer.record(id, &snapshot.chunks[&id]).is_ok());
    assert_eq!(writer.progress(), (1, 3));
    let missing = writer.wanted().expect("three");
    assert_eq!(writer.finish(), Err(Error::MissingChunk(missing)));
}
