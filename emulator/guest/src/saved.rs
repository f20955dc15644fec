//! A machine as sections of a snapshot, there and back.
//!
//! Memory is a section at its own addresses, so that what did not change is the same chunk.

use emulator_disk::Manifest as Image;
use emulator_protocol::{BootRequest, Fault, FaultKind, Party, Phase, Progress};
use emulator_snapshot::state::{Pages, Source};
use emulator_snapshot::{CHUNK_SIZE, Error, Id, Manifest};

/// How often progress is told, in chunks.
const TOLD: u32 = 16;

/// Bytes that are here already, as the content of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Pages for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        self.0[..].read(offset, into);
    }
}

/// Whether a saved machine is one that this engine, in this version of its state, and this
/// image can go on with.
///
/// # Errors
/// [`refused`], with the reason.
pub fn check(
    saved: &Manifest,
    image: &Image,
    request: &BootRequest,
    engine: &str,
    version: u32,
) -> Result<(), Fault> {
    let origin = saved.origin();
    if origin.engine != engine || origin.state != version {
        return Err(refused(format!(
            "It is of the engine {} {}, this is {engine} {version}.",
            origin.engine, origin.state
        )));
    }
    if origin.image != digest(image) {
        return Err(refused(
            "It was made with another version of the guest image; its disk would not fit.",
        ));
    }
    if origin.ram != u64::from(request.memory_mib) << 20 {
        return Err(refused(format!("Its memory is {} MiB.", origin.ram >> 20)));
    }
    Ok(())
}

/// All bytes of a chunked section that is at most `limit` long.
///
/// # Errors
/// [`refused`] without such a section, [`unreadable`] if a chunk cannot be had.
pub async fn gather(source: &dyn Source, name: &str, limit: u64) -> Result<Vec<u8>, Fault> {
    let size = source.size(name);
    let size = size.ok_or_else(|| refused(format!("Its section {name} is not there.")))?;
    if size > limit {
        return Err(refused(format!("Its section {name} has {size} bytes, more than {limit}.")));
    }
    let mut bytes = vec![0; size as usize];
    for (index, piece) in bytes.chunks_mut(CHUNK_SIZE).enumerate() {
        if let Some(chunk) = source.chunk(name, index as u32).await.map_err(unreadable)? {
            piece.copy_from_slice(&chunk);
        }
    }
    Ok(bytes)
}

/// Hands each chunk of a section that is not all zeros to `put`, with its offset, in order:
/// the guest's memory, which is `size` bytes of zeros. Tells how far it has come.
///
/// # Errors
/// [`refused`] if the section has another size, [`unreadable`] if a chunk cannot be had.
pub async fn fill(
    source: &dyn Source,
    name: &str,
    size: u64,
    report: &dyn Fn(Progress),
    mut put: impl FnMut(u64, &[u8]),
) -> Result<(), Fault> {
    if source.size(name) != Some(size) {
        return Err(refused("Its memory has another size."));
    }
    for index in 0..size.div_ceil(CHUNK_SIZE as u64) as u32 {
        let start = u64::from(index) * CHUNK_SIZE as u64;
        if index.is_multiple_of(TOLD) {
            report(Progress { phase: Phase::Restore, loaded: start, total: Some(size) });
        }
        if let Some(chunk) = source.chunk(name, index).await.map_err(unreadable)? {
            put(start, &chunk);
        }
    }
    Ok(())
}

/// Names an image in a snapshot.
#[must_use]
pub fn digest(image: &Image) -> [u8; 32] {
    image.digest.parse::<Id>().map_or([0; 32], |id| *id.as_bytes())
}

/// The fault of a snapshot that is whole, but not for this machine.
#[must_use]
pub fn refused(detail: impl Into<String>) -> Fault {
    Fault::new(
        FaultKind::SnapshotRefused,
        Party::Snapshot,
        "This snapshot cannot go on here.",
        "Start the machine anew; the snapshot stays where it is, and can be exported.",
    )
    .with_detail(detail)
}

/// The fault of a snapshot that is not whole.
#[must_use]
pub fn unreadable(error: Error) -> Fault {
    Fault::new(
        FaultKind::SnapshotDamaged,
        Party::Snapshot,
        "This snapshot is damaged.",
        "Restore an earlier one, or start the machine anew.",
    )
    .with_detail(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use emulator_protocol::EngineKind;
    use emulator_snapshot::Origin;
    use emulator_snapshot::chunk::unpack;
    use emulator_snapshot::manifest::{Content, Entry};
    use emulator_snapshot::state::{Fetched, chunks};
    use futures_util::FutureExt;

    use super::*;
    use crate::files::tests::image;

    /// One snapshot, kept in memory.
    struct Kept {
        manifest: Manifest,
        chunks: BTreeMap<Id, Vec<u8>>,
    }

    impl Source for Kept {
        fn manifest(&self) -> &Manifest {
            &self.manifest
        }

        fn chunk<'a>(&'a self, name: &'a str, index: u32) -> Fetched<'a> {
            Box::pin(async move {
                let Some((id, length)) = self.manifest.chunk(name, index)? else {
                    return Ok(None);
                };
                let stored = self.chunks.get(&id).ok_or(Error::MissingChunk(id))?;
                unpack(id, length, stored).map(Some)
            })
        }
    }

    fn origin() -> Origin {
        Origin { engine: "test".into(), state: 3, image: digest(&image()), ram: 128 << 20 }
    }

    /// A snapshot with one section, `ram`.
    fn keep(origin: Origin, memory: &Bytes) -> Kept {
        let packed: Vec<_> = chunks(memory).collect();
        let names = packed.iter().map(|chunk| chunk.as_ref().map(|chunk| chunk.id)).collect();
        let content = Content::Chunked { size: memory.size(), chunks: names };
        let entry = Entry { name: "ram".into(), version: 1, content };
        Kept {
            manifest: Manifest::new(origin, vec![entry]).expect("valid"),
            chunks: packed.into_iter().flatten().map(|chunk| (chunk.id, chunk.stored)).collect(),
        }
    }

    fn memory() -> Bytes {
        let mut bytes = vec![0; 20 * CHUNK_SIZE + 4096];
        bytes[CHUNK_SIZE + 7] = 1;
        bytes[20 * CHUNK_SIZE + 4095] = 2;
        Bytes(bytes)
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("nothing here waits")
    }

    #[test]
    fn only_the_same_engine_version_image_and_memory_go_on() {
        let request = BootRequest::new(EngineKind::V86, 128);
        let with = |change: fn(&mut Origin)| {
            let mut origin = origin();
            change(&mut origin);
            let kept = keep(origin, &Bytes(Vec::new()));
            check(&kept.manifest, &image(), &request, "test", 3)
        };
        assert_eq!(with(|_| ()), Ok(()));
        let changes: [fn(&mut Origin); 4] = [
            |origin| origin.engine = "other".into(),
            |origin| origin.state = 2,
            |origin| origin.image[5] ^= 1,
            |origin| origin.ram = 256 << 20,
        ];
        for change in changes {
            assert_eq!(with(change).map_err(|fault| fault.kind), Err(FaultKind::SnapshotRefused));
        }
    }

    #[test]
    fn a_section_is_gathered_up_to_its_limit() {
        let memory = memory();
        let kept = keep(origin(), &memory);
        assert_eq!(now(gather(&kept, "ram", memory.size())), Ok(memory.0.clone()));
        for (name, limit) in [("ram", memory.size() - 1), ("none", u64::MAX)] {
            let fault = now(gather(&kept, name, limit)).expect_err("refused");
            assert_eq!(fault.kind, FaultKind::SnapshotRefused);
        }
    }

    #[test]
    fn memory_is_filled_without_its_zeros_and_progress_is_told() {
        let memory = memory();
        let kept = keep(origin(), &memory);
        let told = RefCell::new(Vec::new());
        let report = |progress: Progress| told.borrow_mut().push(progress.loaded);
        let mut filled = vec![0; memory.0.len()];
        let mut puts = 0;
        let put = |offset: u64, chunk: &[u8]| {
            puts += 1;
            filled[offset as usize..][..chunk.len()].copy_from_slice(chunk);
        };
        assert_eq!(now(fill(&kept, "ram", memory.size(), &report, put)), Ok(()));
        assert_eq!((filled, puts), (memory.0, 2));
        assert_eq!(told.into_inner(), [0, u64::from(TOLD) * CHUNK_SIZE as u64]);
    }

    #[test]
    fn memory_of_another_size_and_a_missing_chunk_are_told_apart() {
        let memory = memory();
        let mut kept = keep(origin(), &memory);
        let kind = |kept: &Kept, size: u64| {
            let filled = now(fill(kept, "ram", size, &|_| (), |_, _| ()));
            filled.expect_err("not whole").kind
        };
        assert_eq!(kind(&kept, memory.size() + 1), FaultKind::SnapshotRefused);
        kept.chunks.pop_first();
        assert_eq!(kind(&kept, memory.size()), FaultKind::SnapshotDamaged);
        let gathered = now(gather(&kept, "ram", memory.size()));
        assert_eq!(gathered.expect_err("not whole").kind, FaultKind::SnapshotDamaged);
    }
}
