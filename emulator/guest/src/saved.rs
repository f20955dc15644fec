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
