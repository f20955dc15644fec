//! The machine as sections of a snapshot.
//!
//! v86 writes and reads the state of its processor and devices itself; its bytes are kept as
//! they are. Its packing of the guest's memory is not used: there every page that becomes
//! zero moves all pages behind it. Memory is its own section, at its own addresses, so that
//! what did not change is the same chunk.

use std::rc::Rc;

use emulator_disk::Manifest as Image;
use emulator_engine::{Awakening, Unready};
use emulator_protocol::{BootRequest, Fault, FaultKind, Party, Phase, Progress};
use emulator_snapshot::state::{Body, Pages, Section, Source, State};
use emulator_snapshot::{CHUNK_SIZE, Error, Id, Manifest, Origin};
use js_sys::Uint8Array;

use crate::disk::Chunked;
use crate::fetch;
use crate::glue::Machine;

/// Processor and devices.
pub(crate) const DEVICES: &str = "devices";

/// The guest's memory.
const RAM: &str = "ram";

/// Sectors of the disk that the guest wrote.
pub(crate) const SECTORS: &str = "sectors";

/// All of them, with their versions.
pub(crate) const SECTIONS: &[(&str, u16)] = &[(DEVICES, 1), (RAM, 1), (SECTORS, 1)];

/// Name of the engine in a snapshot.
const ENGINE: &str = "v86";

/// Version of the state: the interrupt controller, the disk, the console and, since 2, the
/// network card that the guest found at its boot are those of this version. v86 checks its
/// own format besides.
const VERSION: u32 = 2;

/// Largest state of the devices: the graphics adapter's memory is half of it.
const DEVICES_LIMIT: u64 = 64 << 20;

/// How often progress is told, in chunks.
const TOLD: u32 = 16;

/// The guest's memory, read through JavaScript.
struct Memory(Uint8Array);

impl Pages for Memory {
    fn size(&self) -> u64 {
        u64::from(self.0.length())
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        let start = offset as u32;
        self.0.subarray(start, start + into.len() as u32).copy_to(into);
    }
}

/// Bytes that are here already.
struct Bytes(Vec<u8>);

impl Pages for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        let start = offset as usize;
        into.copy_from_slice(&self.0[start..start + into.len()]);
    }
}

/// The state of a machine that is paused.
pub(crate) fn state<'a>(
    machine: &'a Machine,
    disk: Option<&Chunked>,
    image: [u8; 32],
) -> Result<State<'a>, Unready> {
    if machine.busy() {
        return Err(Unready::Busy);
    }
    let devices = machine.save().map_err(|error| Unready::Never(fetch::message(&error)))?;
    let memory = machine.memory();
    let origin =
        Origin { engine: ENGINE.into(), state: VERSION, image, ram: u64::from(memory.length()) };
    let sectors = disk.map(Chunked::written).unwrap_or_default();
    let section = |name, pages| Section { name, version: 1, body: Body::Paged(pages) };
    Ok(State {
        origin,
        sections: vec![
            section(DEVICES, Box::new(Bytes(devices.to_vec()))),
            section(RAM, Box::new(Memory(memory))),
            section(SECTORS, Box::new(Bytes(sectors))),
        ],
    })
}

/// Whether a saved machine is one that this engine and this image can go on with.
pub(crate) fn check(saved: &Manifest, image: &Image, request: &BootRequest) -> Result<(), Fault> {
    let origin = saved.origin();
    if origin.engine != ENGINE || origin.state != VERSION {
        return Err(refused(format!(
            "It is of the engine {} {}, this is {ENGINE} {VERSION}.",
            origin.engine, origin.state
        )));
    }
    if origin.image != digest(image) {
        return Err(refused(
            "It was made with another version of the guest image; its disk would not fit.".into(),
        ));
    }
    if origin.ram != u64::from(request.memory_mib) << 20 {
        return Err(refused(format!("Its memory is {} MiB.", origin.ram >> 20)));
    }
    Ok(())
}

/// All bytes of a small chunked section.
pub(crate) async fn gather(source: &dyn Source, name: &str) -> Result<Vec<u8>, Fault> {
    let size = source.size(name).filter(|size| *size <= DEVICES_LIMIT);
    let size = size.ok_or_else(|| refused(format!("Its section {name} is not there.")))?;
    let mut bytes = vec![0; size as usize];
    for (index, piece) in bytes.chunks_mut(CHUNK_SIZE).enumerate() {
        if let Some(chunk) = source.chunk(name, index as u32).await.map_err(unreadable)? {
            piece.copy_from_slice(&chunk);
        }
    }
    Ok(bytes)
}

/// Fills the memory of a machine whose memory is zeros.
pub(crate) async fn fill(
    machine: &Machine,
    source: &dyn Source,
    report: &Rc<dyn Fn(Progress)>,
) -> Result<(), Fault> {
    let memory = machine.memory();
    let size = u64::from(memory.length());
    if source.size(RAM) != Some(size) {
        return Err(refused("Its memory has another size.".into()));
    }
    for index in 0..size.div_ceil(CHUNK_SIZE as u64) as u32 {
        let start = index * CHUNK_SIZE as u32;
        if index.is_multiple_of(TOLD) {
            let loaded = u64::from(start);
            report(Progress { phase: Phase::Restore, loaded, total: Some(size) });
        }
        if let Some(chunk) = source.chunk(RAM, index).await.map_err(unreadable)? {
            memory.subarray(start, start + chunk.len() as u32).copy_from(&chunk);
        }
    }
    Ok(())
}

/// Names an image in a snapshot.
pub(crate) fn digest(image: &Image) -> [u8; 32] {
    image.digest.parse::<Id>().map_or([0; 32], |id| *id.as_bytes())
}

/// What the guest's agent reads (image/agent/agent.c has the layout).
pub(crate) fn frame(awakening: &Awakening) -> Vec<u8> {
    let mut frame = b"WAKEvm01".to_vec();
    frame.extend_from_slice(&awakening.time.as_secs().to_le_bytes());
    frame.extend_from_slice(&awakening.time.subsec_nanos().to_le_bytes());
    frame.extend_from_slice(&awakening.entropy);
    frame
}

/// The fault of a snapshot that is whole, but not for this machine.
pub(crate) fn refused(detail: String) -> Fault {
    Fault::new(
        FaultKind::SnapshotRefused,
        Party::Snapshot,
        "This snapshot cannot go on here.",
        "Start the machine anew; the snapshot stays where it is, and can be exported.",
    )
    .with_detail(detail)
}

/// The fault of a snapshot that is not whole.
fn unreadable(error: Error) -> Fault {
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_agent_gets_its_frame() {
        let time = Duration::new(0x0102_0304, 5);
        let frame = frame(&Awakening { time, entropy: [7; 32] });
        assert_eq!(&frame[..8], b"WAKEvm01");
        assert_eq!(frame[8..20], [4, 3, 2, 1, 0, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(frame[20..], [7; 32]);
    }
}
