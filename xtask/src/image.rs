//! `cargo xtask image`: guest kernels, root file systems, chunked disks, manifests.
//!
//! The recipe is in `image/`; this drives it, keeps its expensive results in the user's
//! cache (`parts`), and writes what an engine boots into `image/out/<arch>` (`pack`).

mod pack;
pub(crate) mod parts;
mod warm;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::step::root;

/// Debian packages that building an image needs. This list is the only one.
pub(crate) const PACKAGES: &[&str] = &[
    "arch-test",
    "bc",
    "bison",
    "debian-archive-keyring",
    "flex",
    "gcc",
    "libc6-dev",
    "libelf-dev",
    "libssl-dev",
    "lz4",
    "make",
    "mmdebstrap",
    "python3",
    "squashfs-tools",
    "uidmap",
    "xz-utils",
];

/// Stands for "now" in every file of the image: 2026-01-01. Raised by hand.
const SOURCE_DATE_EPOCH: u64 = 1_767_225_600;

/// Guest architectures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch {
    I386,
    Amd64,
}

impl Arch {
    pub(crate) const ALL: [Self; 2] = [Self::I386, Self::Amd64];

    /// Debian's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::I386 => "i386",
            Self::Amd64 => "amd64",
        }
    }

    /// What its machine is called.
    pub(crate) fn bits(self) -> &'static str {
        match self {
            Self::I386 => "32-bit",
            Self::Amd64 => "64-bit",
        }
    }

    /// Where its image is put.
    pub(crate) fn out(self) -> PathBuf {
        root().join("image/out").join(self.name())
    }

    /// Whether there is an image, of whatever age.
    pub(crate) fn is_built(self) -> bool {
        self.out().join("full.json").exists()
    }

    /// The architectures that a word on the command line stands for.
    pub(crate) fn named(word: &str) -> Result<Vec<Self>> {
        match word {
            "all" => Ok(Self::ALL.to_vec()),
            "i386" => Ok(vec![Self::I386]),
            "amd64" => Ok(vec![Self::Amd64]),
            other => bail!("--arch {other}: there are i386, amd64 and all"),
        }
    }
}

/// Builds the images of these architectures as far as something has changed.
pub(crate) fn build(architectures: &[Arch]) -> Result<()> {
    make(architectures, false)
}

/// Builds the images of these architectures from nothing.
pub(crate) fn rebuild(architectures: &[Arch]) -> Result<()> {
    make(architectures, true)
}

fn make(architectures: &[Arch], force: bool) -> Result<()> {
    for &arch in architectures {
        let parts = parts::Parts::ready(arch, force)?;
        pack::pack(arch, &parts, force)?;
        warm::warm(arch)?;
    }
    Ok(())
}
