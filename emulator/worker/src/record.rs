//! What a store lists of a snapshot, as the snapshot's manifest says it.

use emulator_snapshot::{Error, Id, Manifest, Meta};
use emulator_store::Record;

/// The record of a manifest and of the bytes that it is written as. Its sizes and its screen
/// are the caller's to fill in.
///
/// # Errors
/// If the manifest does not say what was saved.
pub fn of(manifest: &Manifest, bytes: &[u8]) -> Result<Record, Error> {
    let meta = Meta::of(manifest)?;
    let origin = manifest.origin();
    Ok(Record {
        id: Id::of(bytes),
        machine: meta.machine,
        name: meta.label,
        saved_ms: meta.saved_ms,
        engine: origin.engine.clone(),
        image: Id::from_bytes(origin.image).to_string(),
        memory_mib: meta.memory_mib,
        flavour: meta.flavour,
        cmdline: meta.cmdline,
        chunks: manifest.chunks().map(|(id, _)| id).collect(),
        bytes: 0,
        delta_bytes: 0,
        screen: String::new(),
    })
}
