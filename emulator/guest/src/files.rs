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

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use emulator_disk::{MANIFEST_VERSION, hash};
    use emulator_protocol::EngineKind;
    use futures_util::FutureExt;

    use super::*;

    /// An image's files in memory.
    #[derive(Default)]
    struct Memory {
        files: BTreeMap<String, Vec<u8>>,
        loaded: Rc<Cell<u64>>,
        watcher: Rc<RefCell<Option<Watcher>>>,
    }

    impl Files for Memory {
        fn manifest(&self, request: &BootRequest) -> LocalFuture<'static, Result<Manifest, Fault>> {
            let manifest = parse(&image().seal().1, "memory", "i386", request);
            Box::pin(async { manifest })
        }

        fn file(&self, file: &FileRef) -> LocalFuture<'static, Result<Vec<u8>, Fault>> {
            let (file, bytes) = (file.clone(), self.files.get(&file.path).cloned());
            let (loaded, watcher) = (Rc::clone(&self.loaded), Rc::clone(&self.watcher));
            Box::pin(async move {
                let bytes = bytes.ok_or_else(|| absent(&file.path, "not in memory"))?;
                loaded.set(loaded.get() + bytes.len() as u64);
                if let Some(watcher) = &*watcher.borrow() {
                    watcher(loaded.get());
                }
                file.decode(&bytes).map_err(|error| corrupt(&file.path, error))
            })
        }

        fn chunk(&self, disk: &Disk, index: usize) -> LocalFuture<'static, Result<Vec<u8>, Fault>> {
            let length = disk.chunk_length(index);
            Box::pin(async move { Ok(vec![0; length]) })
        }

        fn shipped(&self, _: &BootRequest) -> LocalFuture<'static, Option<Box<dyn Shipped>>> {
            Box::pin(async { None })
        }

        fn watch(&self, watcher: Option<Watcher>) {
            self.watcher.replace(watcher);
        }

        fn loaded(&self) -> u64 {
            self.loaded.get()
        }

        fn fetched(&self) -> u64 {
            0
        }

        fn requests(&self) -> u64 {
            0
        }
    }

    fn file(path: &str, content: &[u8]) -> FileRef {
        let size = content.len() as u64;
        FileRef { path: path.into(), size, blake3: hash(content), stored: None }
    }

    /// A small image.
    pub(crate) fn image() -> Manifest {
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            arch: "i386".into(),
            flavour: "full".into(),
            source_date_epoch: 1,
            suites: vec!["bookworm".into()],
            kernel: file("kernel", b"the kernel"),
            initrd: file("initrd", b"initrd"),
            firmware: None,
            cmdline: String::new(),
            min_memory_mib: 64,
            disk: None,
            digest: String::new(),
        };
        manifest.seal().0
    }

    fn stored() -> Memory {
        let files = [("kernel", &b"the kernel"[..]), ("initrd", b"initrd")];
        let files = files.map(|(path, content)| (path.to_owned(), content.to_owned()));
        Memory { files: files.into(), ..Memory::default() }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("nothing here waits")
    }

    #[test]
    fn files_are_loaded_in_the_order_asked_for_and_progress_is_told() {
        let files = stored();
        files.loaded.set(1000); // the manifest, say
        let told = Rc::new(RefCell::new(Vec::new()));
        let hears = Rc::clone(&told);
        let report: Rc<dyn Fn(Progress)> = Rc::new(move |progress| {
            assert_eq!(progress.phase, Phase::Image);
            hears.borrow_mut().push((progress.loaded, progress.total));
        });
        let image = image();
        let loaded = now(load(&files, [&image.kernel, &image.initrd], &report));
        assert_eq!(loaded, Ok([b"the kernel".to_vec(), b"initrd".to_vec()]));
        assert_eq!(*told.borrow(), [(10, Some(16)), (16, Some(16))]);
        assert!(files.watcher.borrow().is_none(), "nobody watches any more");
    }

    #[test]
    fn one_file_that_cannot_be_had_fails_all() {
        let mut files = stored();
        let image = image();
        let report: Rc<dyn Fn(Progress)> = Rc::new(|_| ());
        let mut kind = |content: Option<&[u8]>| {
            files.files.remove("initrd");
            files.files.extend(content.map(|content| ("initrd".to_owned(), content.to_owned())));
            let loaded = now(load(&files, [&image.kernel, &image.initrd], &report));
            loaded.map_err(|fault| (fault.kind, fault.retry))
        };
        assert_eq!(kind(None), Err((FaultKind::ImageMissing, true)));
        assert_eq!(kind(Some(b"iniTrd")), Err((FaultKind::ImageCorrupt, true)));
        assert!(kind(Some(b"initrd")).is_ok());
    }

    #[test]
    fn only_an_image_of_this_architecture_that_the_memory_holds_is_taken() {
        let text = image().seal().1;
        let kind = |text: &[u8], arch: &str, memory_mib: u32| {
            let request = BootRequest::new(EngineKind::V86, memory_mib);
            parse(text, "here", arch, &request).map_err(|fault| fault.kind)
        };
        assert_eq!(kind(&text, "i386", 64), Ok(image()));
        assert_eq!(kind(&text, "amd64", 64), Err(FaultKind::ImageCorrupt));
        assert_eq!(kind(&text, "i386", 63), Err(FaultKind::Unsupported));
        assert_eq!(kind(&text[1..], "i386", 64), Err(FaultKind::ImageCorrupt));
    }
}
