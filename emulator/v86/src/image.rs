//! Loads what v86 starts from: kernel, initial RAM disk, firmware.

use std::rc::Rc;

use emulator_disk::Manifest;
use emulator_guest::files::{self, Files};
use emulator_protocol::{Fault, Progress};

/// Debian's name of the architecture.
pub(crate) const ARCH: &str = "i386";

/// Everything that is in memory before the first instruction.
pub(crate) struct Parts {
    pub(crate) kernel: Vec<u8>,
    pub(crate) initrd: Vec<u8>,
    pub(crate) bios: Vec<u8>,
    pub(crate) vgabios: Vec<u8>,
}

/// Loads and verifies an image, all files at the same time.
///
/// # Errors
/// When a file cannot be had, is damaged, or the image is not one for this engine.
pub(crate) async fn load(
    manifest: &Manifest,
    files: &dyn Files,
    report: &Rc<dyn Fn(Progress)>,
) -> Result<Parts, Fault> {
    let Manifest { kernel, initrd, firmware, .. } = manifest;
    let Some(firmware) = firmware else {
        return Err(files::unusable(&manifest.flavour, "the image has no firmware"));
    };
    let wanted = [kernel, initrd, &firmware.bios, &firmware.vgabios];
    let [kernel, initrd, bios, vgabios] = files::load(files, wanted, report).await?;
    Ok(Parts { kernel, initrd, bios, vgabios })
}
