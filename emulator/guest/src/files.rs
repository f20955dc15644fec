//! Where the files of an image come from, and the loading of those that a machine starts
//! from.

use std::rc::Rc;

use emulator_disk::{Disk, FileRef, Manifest};
use emulator_engine::{LocalFuture, Shipped};
use emulator_protocol::{BootRequest, Fault, FaultKind, Party, Phase, Progress};
use futures_util::future::join_all;

/// Hears of the bytes that are at hand by now; see [`Files::watch`].
pub type Watcher = Box<dyn Fn(u64)>;

/// The files of the images of one architecture. The futures hold nothing of it, so an engine
/// may keep them and poll them itself; what they yield was verified.
pub trait Files {
    /// The manifest of the image that a request means, checked by [`parse`]. The files that
    /// are asked for afterwards are those beside it.
    fn manifest(&self, request: &BootRequest) -> LocalFuture<'static, Result<Manifest, Fault>>;

    /// A file's content.
    fn file(&self, file: &FileRef) -> LocalFuture<'static, Result<Vec<u8>, Fault>>;

    /// The content of a chunk of a disk; zeros for one that is not stored.
    fn chunk(&self, disk: &Disk, index: usize) -> LocalFuture<'static, Result<Vec<u8>, Fault>>;

    /// The saved state of just this machine, if one comes with the image.
    fn shipped(&self, request: &BootRequest) -> LocalFuture<'static, Option<Box<dyn Shipped>>>;

    /// Has `watcher` called with [`Files::loaded`] as it grows; `None` ends that.
    fn watch(&self, watcher: Option<Watcher>);

    /// Bytes at hand so far, as they are stored, kept copies included.
    fn loaded(&self) -> u64;

    /// Bytes that crossed the network so far.
    fn fetched(&self) -> u64;

    /// Files and chunks that were asked for over the network so far.
    fn requests(&self) -> u64;
}

/// Loads files, all at the same time, and tells how far that has come.
///
/// # Errors
/// When one of them cannot be had, or is damaged.
pub async fn load<const N: usize>(
    files: &dyn Files,
    wanted: [&FileRef; N],
    report: &Rc<dyn Fn(Progress)>,
) -> Result<[Vec<u8>; N], Fault> {
    let total = wanted.iter().map(|file| file.transfer_size()).sum();
    let before = files.loaded();
    let report = Rc::clone(report);
    files.watch(Some(Box::new(move |loaded| {
        let loaded = (loaded - before).min(total);
        report(Progress { phase: Phase::Image, loaded, total: Some(total) });
    })));
    let loaded = join_all(wanted.map(|file| files.file(file))).await;
    files.watch(None);
    let mut contents = [const { Vec::new() }; N];
    for (content, loaded) in contents.iter_mut().zip(loaded) {
        *content = loaded?;
    }
    Ok(contents)
}

/// The manifest of an image for this architecture that has what a request needs. `place` is
/// where it came from.
///
/// # Errors
/// [`unusable`]; or the machine would have too little memory for it.
pub fn parse(
    text: &[u8],
    place: &str,
    arch: &str,
    request: &BootRequest,
) -> Result<Manifest, Fault> {
    let manifest = Manifest::parse(text).map_err(|error| unusable(place, error))?;
    if manifest.arch != arch {
        return Err(unusable(place, format!("it is for {}, not for {arch}", manifest.arch)));
    }
    if request.memory_mib < manifest.min_memory_mib {
        return Err(Fault::new(
            FaultKind::Unsupported,
            Party::Image,
            format!("This image needs at least {} MiB of memory.", manifest.min_memory_mib),
            "Choose more memory in the settings.",
        ));
    }
    Ok(manifest)
}

/// The fault of an image that no machine can start from.
#[must_use]
pub fn unusable(place: &str, error: impl std::fmt::Display) -> Fault {
    Fault::new(
        FaultKind::ImageCorrupt,
        Party::Image,
        "The guest image's manifest is damaged.",
        "Restart the machine; if it stays, build or upload the image anew (cargo xtask image).",
    )
    .with_detail(format!("{place}: {error}"))
}

/// The fault of a file that is not where it should be.
#[must_use]
pub fn absent(place: &str, error: impl std::fmt::Display) -> Fault {
    Fault::new(
        FaultKind::ImageMissing,
        Party::Image,
        "A file of the guest image is not on the server.",
        "Try again; if it stays, the image was not built or not uploaded completely (cargo xtask image).",
    )
    .with_detail(format!("{place}: {error}"))
    .with_retry()
}

/// The fault of a file that cannot be reached just now.
#[must_use]
pub fn unreachable(place: &str, error: impl std::fmt::Display) -> Fault {
    Fault::new(
        FaultKind::ImageMissing,
        Party::Image,
        "A file of the guest image could not be fetched.",
        "Check the connection, then try again; the machine waits.",
    )
    .with_detail(format!("{place}: {error}"))
    .with_retry()
}

/// The fault of a file that is not what its hash says.
#[must_use]
pub fn corrupt(place: &str, error: impl std::fmt::Display) -> Fault {
    Fault::new(
        FaultKind::ImageCorrupt,
        Party::Image,
        "A file of the guest image is damaged.",
        "Try again; if it stays, the copy on the server is broken and must be uploaded anew.",
    )
    .with_detail(format!("{place}: {error}"))
    .with_retry()
}
