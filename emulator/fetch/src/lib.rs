//! The files of guest images in a browser: kept copy first, then the network, never
//! unverified.
//!
//! ```text
//!  <base>image/<arch>/  full.json      asked for at each visit
//!                       <name>.<hash>  kept in the Cache API
//!                       disk/<hash>    kept in the Cache API
//!                       warm/…         asked for, and kept by who restores it
//! ```
//!
//! Deliberately absent: what to fetch when; that is `emulator-guest`'s.
#![forbid(unsafe_code)]

mod glue;
mod meter;
mod shipped;
mod transfer;

use std::cell::RefCell;
use std::rc::Rc;

use emulator_disk::{Disk, FileRef, Manifest, decode_chunk};
use emulator_engine::{LocalFuture, Shipped};
use emulator_guest::files::{self, Files, Watcher};
use emulator_protocol::{BootRequest, Fault};

use crate::meter::Meter;

pub use crate::transfer::message;

/// The images of one architecture, on the server that the page came from.
pub struct Fetched {
    arch: &'static str,
    meter: Rc<Meter>,
    /// URL of the manifest's directory, with a final slash; empty before there is one.
    directory: RefCell<String>,
}

impl Fetched {
    /// The images of an architecture, by Debian's name of it.
    #[must_use]
    pub fn new(arch: &'static str) -> Self {
        Self { arch, meter: Rc::default(), directory: RefCell::default() }
    }

    fn directory(&self, request: &BootRequest) -> String {
        format!("{}image/{}/", request.base, self.arch)
    }
}

impl Files for Fetched {
    fn manifest(&self, request: &BootRequest) -> LocalFuture<'static, Result<Manifest, Fault>> {
        let directory = self.directory(request);
        let url = format!("{directory}{}.json", request.flavour.name());
        self.directory.replace(directory);
        let (arch, meter, request) = (self.arch, Rc::clone(&self.meter), request.clone());
        Box::pin(async move {
            let text = transfer::current(&url, &meter).await?;
            files::parse(&text, &url, arch, &request)
        })
    }

    fn file(&self, file: &FileRef) -> LocalFuture<'static, Result<Vec<u8>, Fault>> {
        let url = format!("{}{}", self.directory.borrow(), file.path);
        let (file, meter) = (file.clone(), Rc::clone(&self.meter));
        Box::pin(async move { transfer::verified(&url, &meter, |bytes| file.decode(bytes)).await })
    }

    fn chunk(&self, disk: &Disk, index: usize) -> LocalFuture<'static, Result<Vec<u8>, Fault>> {
        let length = disk.chunk_length(index);
        let Some(Some(chunk)) = disk.chunks.get(index) else {
            return Box::pin(async move { Ok(vec![0; length]) });
        };
        let url = format!("{}{}/{}", self.directory.borrow(), disk.path, chunk.id);
        let (id, meter) = (chunk.id.clone(), Rc::clone(&self.meter));
        Box::pin(async move {
            transfer::verified(&url, &meter, |bytes| decode_chunk(&id, length, bytes)).await
        })
    }

    fn shipped(&self, request: &BootRequest) -> LocalFuture<'static, Option<Box<dyn Shipped>>> {
        let directory = self.directory(request);
        Box::pin(shipped::find(request.clone(), directory, Rc::clone(&self.meter)))
    }

    fn watch(&self, watcher: Option<Watcher>) {
        self.meter.watch(watcher);
    }

    fn loaded(&self) -> u64 {
        self.meter.loaded()
    }

    fn fetched(&self) -> u64 {
        self.meter.fetched()
    }

    fn requests(&self) -> u64 {
        self.meter.requests()
    }
}
