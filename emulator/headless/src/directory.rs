//! The files of a guest image in a directory, as `cargo xtask image` makes it.

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::ready;
use std::path::{Path, PathBuf};

use emulator_disk::{Disk, FileRef, Manifest, decode_chunk};
use emulator_engine::{LocalFuture, Shipped};
use emulator_guest::files::{self, Files, Watcher};
use emulator_protocol::{BootRequest, Fault};

/// Debian's name of the architecture that this engine runs.
const ARCH: &str = "amd64";

/// A directory with manifests and what they name.
pub(crate) struct Directory {
    path: PathBuf,
    loaded: Cell<u64>,
    watcher: RefCell<Option<Watcher>>,
}

impl Directory {
    /// The images in this directory.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, loaded: Cell::default(), watcher: RefCell::default() }
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Fault> {
        let bytes =
            fs::read(path).map_err(|error| files::absent(&path.display().to_string(), error))?;
        self.loaded.set(self.loaded.get() + bytes.len() as u64);
        if let Some(watcher) = &*self.watcher.borrow() {
            watcher(self.loaded.get());
        }
        Ok(bytes)
    }

    fn manifest_of(&self, request: &BootRequest) -> Result<Manifest, Fault> {
        let path = self.path.join(format!("{}.json", request.flavour.name()));
        files::parse(&self.read(&path)?, &path.display().to_string(), ARCH, request)
    }

    fn file_of(&self, file: &FileRef) -> Result<Vec<u8>, Fault> {
        let path = self.path.join(&file.path);
        let bytes = self.read(&path)?;
        file.decode(&bytes).map_err(|error| files::corrupt(&path.display().to_string(), error))
    }

    fn chunk_of(&self, disk: &Disk, index: usize) -> Result<Vec<u8>, Fault> {
        let length = disk.chunk_length(index);
        let Some(Some(chunk)) = disk.chunks.get(index) else { return Ok(vec![0; length]) };
        let path = self.path.join(&disk.path).join(&chunk.id);
        let bytes = self.read(&path)?;
        decode_chunk(&chunk.id, length, &bytes)
            .map_err(|error| files::corrupt(&path.display().to_string(), error))
    }
}

impl Files for Directory {
    fn manifest(&self, request: &BootRequest) -> LocalFuture<'static, Result<Manifest, Fault>> {
        Box::pin(ready(self.manifest_of(request)))
    }

    fn file(&self, file: &FileRef) -> LocalFuture<'static, Result<Vec<u8>, Fault>> {
        Box::pin(ready(self.file_of(file)))
    }

    fn chunk(&self, disk: &Disk, index: usize) -> LocalFuture<'static, Result<Vec<u8>, Fault>> {
        Box::pin(ready(self.chunk_of(disk, index)))
    }

    fn shipped(&self, _: &BootRequest) -> LocalFuture<'static, Option<Box<dyn Shipped>>> {
        Box::pin(ready(None))
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
