//! The machine as sections of a snapshot.
//!
//! v86 writes and reads the state of its processor and devices itself; its bytes are kept as
//! they are. Its packing of the guest's memory is not used: there every page that becomes
//! zero moves all pages behind it. Memory is its own section, at its own addresses, so that
//! what did not change is the same chunk.

use emulator_disk::Disk as Layout;
use emulator_engine::Unready;
use emulator_fetch::message;
use emulator_guest::disk::Chunked;
use emulator_guest::saved::{self, Bytes};
use emulator_protocol::{Fault, Progress};
use emulator_snapshot::Origin;
use emulator_snapshot::state::{Body, Pages, Section, Source, State};
use js_sys::Uint8Array;

use crate::disk::Disk;
use crate::glue::Machine;

/// Processor and devices.
const DEVICES: &str = "devices";

/// The guest's memory.
const RAM: &str = "ram";

/// Sectors of the disk that the guest wrote.
const SECTORS: &str = "sectors";

/// All of them, with their versions.
pub(crate) const SECTIONS: &[(&str, u16)] = &[(DEVICES, 1), (RAM, 1), (SECTORS, 1)];

/// Name of the engine in a snapshot.
pub(crate) const ENGINE: &str = "v86";

/// Version of the state: the interrupt controller, the disk, the console and, since 2, the
/// network card that the guest found at its boot are those of this version. v86 checks its
/// own format besides.
pub(crate) const VERSION: u32 = 2;

/// Largest state of the devices: the graphics adapter's memory is half of it.
const DEVICES_LIMIT: u64 = 64 << 20;

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

/// The state of a machine that is paused.
pub(crate) fn state<'a>(
    machine: &'a Machine,
    disk: Option<&Disk>,
    image: [u8; 32],
) -> Result<State<'a>, Unready> {
    if machine.busy() {
        return Err(Unready::Busy);
    }
    let devices = machine.save().map_err(|error| Unready::Never(message(&error)))?;
    let memory = machine.memory();
    let origin =
        Origin { engine: ENGINE.into(), state: VERSION, image, ram: u64::from(memory.length()) };
    let sectors = disk.map(Disk::written).unwrap_or_default();
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

/// The state of processor and devices.
pub(crate) async fn devices(source: &dyn Source) -> Result<Vec<u8>, Fault> {
    saved::gather(source, DEVICES, DEVICES_LIMIT).await
}

/// The sectors that were written; none without a disk.
pub(crate) async fn sectors(source: &dyn Source, disk: Option<&Layout>) -> Result<Vec<u8>, Fault> {
    saved::gather(source, SECTORS, disk.map_or(0, Chunked::written_limit)).await
}

/// Fills the memory of a machine whose memory is zeros.
pub(crate) async fn fill(
    machine: &Machine,
    source: &dyn Source,
    report: &dyn Fn(Progress),
) -> Result<(), Fault> {
    let memory = machine.memory();
    let put = |offset: u64, chunk: &[u8]| {
        let start = offset as u32;
        memory.subarray(start, start + chunk.len() as u32).copy_from(chunk);
    };
    saved::fill(source, RAM, u64::from(memory.length()), report, put).await
}
