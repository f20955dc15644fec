//! The saved state that comes with an image: at the prompt, in the time that its memory takes
//! to arrive.
//!
//! It lies beside the image's manifest, `warm/full.256` for 256 MiB, and its chunks below
//! `warm/`, each under its name. Making one is the business of `cargo xtask image`.

use std::rc::Rc;

use emulator_disk::{WARM, WARM_DIRECTORY};
use emulator_engine::{LocalFuture, Shipped};
use emulator_protocol::{BootRequest, Fault};
use emulator_snapshot::Id;

use crate::meter::Meter;
use crate::transfer;

/// A state on the server.
struct Warm {
    manifest: Vec<u8>,
    /// URL of the chunks' directory, with a final slash.
    base: String,
    meter: Rc<Meter>,
}

impl Shipped for Warm {
    fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    fn chunk(&self, id: Id) -> LocalFuture<'_, Result<Vec<u8>, Fault>> {
        Box::pin(async move {
            let url = format!("{}{id}", self.base);
            transfer::raw(&url, &self.meter).await
        })
    }
}

/// Looks for the state of such a machine below its image's directory. Without one, or without
/// a network, the machine boots: that is slower, and as good.
pub(crate) async fn find(
    request: BootRequest,
    directory: String,
    meter: Rc<Meter>,
) -> Option<Box<dyn Shipped>> {
    let machine = (request.flavour.name(), request.memory_mib);
    if !request.cmdline.is_empty() || !WARM.contains(&machine) {
        return None;
    }
    let base = format!("{directory}{WARM_DIRECTORY}");
    let url = format!("{base}{}.{}", machine.0, machine.1);
    let manifest = transfer::current(&url, &meter).await.ok()?;
    Some(Box::new(Warm { manifest, base, meter }))
}
