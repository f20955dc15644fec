//! Loads what a machine starts from: manifest, kernel, initial RAM disk, firmware.

use std::rc::Rc;

use emulator_disk::{FileRef, Manifest};
use emulator_protocol::{BootRequest, Fault, FaultKind, Party, Phase, Progress};

use crate::fetch::{self, Meter};

/// Directory of the images, relative to the app's.
pub(crate) const DIRECTORY: &str = "image/i386/";

/// An image, known but not loaded.
pub(crate) struct Image {
    pub(crate) manifest: Manifest,
    /// URL of the manifest's directory, with a final slash.
    pub(crate) directory: String,
}

/// Everything that is in memory before the first instruction.
pub(crate) struct Files {
    pub(crate) kernel: Vec<u8>,
    pub(crate) initrd: Vec<u8>,
    pub(crate) bios: Vec<u8>,
    pub(crate) vgabios: Vec<u8>,
}

/// Looks up which image a request means.
///
/// # Errors
/// When the manifest cannot be had, is damaged, or is not one for this machine.
pub(crate) async fn find(request: &BootRequest, meter: &Rc<Meter>) -> Result<Image, Fault> {
    let directory = format!("{}{DIRECTORY}", request.base);
    let url = format!("{directory}{}.json", request.flavour.name());
    let text = fetch::current(&url, meter).await?;
    let manifest = Manifest::parse(&text).map_err(|error| unusable(&url, error.to_string()))?;
    if request.memory_mib < manifest.min_memory_mib {
        return Err(too_small(manifest.min_memory_mib));
    }
    Ok(Image { manifest, directory })
}

/// Loads and verifies an image, all files at the same time.
///
/// # Errors
/// When a file cannot be had, is damaged, or the image is not one for this engine.
pub(crate) async fn load(
    image: &Image,
    meter: &Rc<Meter>,
    report: &Rc<dyn Fn(Progress)>,
) -> Result<Files, Fault> {
    let Image { manifest, directory } = image;
    let Some(firmware) = &manifest.firmware else {
        return Err(unusable(directory, "the image has no firmware".into()));
    };
    let Manifest { kernel, initrd, .. } = manifest;
    let total = [kernel, initrd, &firmware.bios, &firmware.vgabios].map(FileRef::transfer_size);
    let total = total.iter().sum();
    let before = meter.loaded();
    let report = Rc::clone(report);
    meter.watch(Some(Box::new(move |loaded| {
        let loaded = (loaded - before).min(total);
        report(Progress { phase: Phase::Image, loaded, total: Some(total) });
    })));
    let (kernel, initrd, bios, vgabios) = futures_util::join!(
        file(directory, kernel, meter),
        file(directory, initrd, meter),
        file(directory, &firmware.bios, meter),
        file(directory, &firmware.vgabios, meter),
    );
    meter.watch(None);
    Ok(Files { kernel: kernel?, initrd: initrd?, bios: bios?, vgabios: vgabios? })
}

async fn file(directory: &str, file: &FileRef, meter: &Rc<Meter>) -> Result<Vec<u8>, Fault> {
    let url = format!("{directory}{}", file.path);
    let decode = |bytes: &[u8]| file.decode(bytes).map_err(|error| error.to_string());
    fetch::verified(&url, meter, decode).await
}

fn unusable(url: &str, error: String) -> Fault {
    Fault::new(
        FaultKind::ImageCorrupt,
        Party::Image,
        "The guest image's manifest is damaged.",
        "Restart the machine; if it stays, build or upload the image anew (cargo xtask image).",
    )
    .with_detail(format!("{url}: {error}"))
}

fn too_small(needed: u32) -> Fault {
    Fault::new(
        FaultKind::Unsupported,
        Party::Image,
        format!("This image needs at least {needed} MiB of memory."),
        "Choose more memory in the settings.",
    )
}
