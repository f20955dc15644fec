//! Any bytes as an export, in two pieces: once as they are, and once as the records behind a
//! manifest that is accepted, with a right hash at the end.
#![no_main]
#![forbid(unsafe_code)]

use emulator_snapshot::file::{Event, Reader, Writer};
use emulator_snapshot::manifest::{Content, Entry};
use emulator_snapshot::{Chunk, Error, Id, Manifest, Origin};
use libfuzzer_sys::fuzz_target;

fn read(stream: &[u8], cut: usize) -> Result<Vec<Chunk>, Error> {
    let (first, second) = stream.split_at(cut.min(stream.len()));
    let (mut reader, mut chunks) = (Reader::new(), Vec::new());
    for mut piece in [first, second] {
        while let Some(event) = reader.read(&mut piece)? {
            if let Event::Chunk(chunk) = event {
                chunks.push(chunk);
            }
        }
    }
    reader.finish()?;
    Ok(chunks)
}

fuzz_target!(|bytes: &[u8]| {
    let cut = bytes.len() * usize::from(Id::of(bytes).as_bytes()[0]) / 256;
    assert_eq!(read(bytes, cut), read(bytes, 0), "the cut does not matter");

    let content = Content::Chunked { size: 5, chunks: vec![Some(Id::of(b"first"))] };
    let entry = Entry { name: "ram".into(), version: 1, content };
    let origin = Origin { engine: "fuzz".into(), state: 1, image: [0; 32], ram: 5 };
    let manifest = Manifest::new(origin, vec![entry]).expect("valid");
    let (_, mut stream) = Writer::new(&manifest);
    stream.extend_from_slice(bytes);
    stream.push(0);
    let seal = Id::of(&stream);
    stream.extend_from_slice(seal.as_bytes());
    if let Ok(chunks) = read(&stream, cut) {
        assert_eq!(chunks.len(), 1);
    }
});
