//! What an image is put together from: kernel, root file system, firmware. Each is made by
//! a script of `image/` and kept in the user's cache under a key of all that it depends on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Arch, SOURCE_DATE_EPOCH};
use crate::step::{self, Key, cached, output, root, run};

/// Debian's package of the kernel source.
pub(crate) const KERNEL_SOURCE: &str = "linux-source-6.12";

/// Debian's package of the firmware.
const FIRMWARE: &str = "seabios";

/// Directories of the cache that hold the parts of one architecture.
pub(crate) struct Parts {
    pub(crate) source: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) tree: PathBuf,
    pub(crate) firmware: Option<PathBuf>,
}

impl Parts {
    pub(crate) fn ready(arch: Arch, force: bool) -> Result<Self> {
        let source = kernel_source(force)?;
        let kernel = kernel(arch, &source, force)?;
        let tree = rootfs(arch, force)?;
        let firmware = if arch == Arch::I386 { Some(firmware(force)?) } else { None };
        Ok(Self { source, kernel, tree, firmware })
    }
}

/// The kernel's source archive.
fn kernel_source(force: bool) -> Result<PathBuf> {
    kept("kernel source", "kernel-source", "", &[KERNEL_SOURCE], force, |place| {
        let scratch = unpacked(KERNEL_SOURCE, place)?;
        let tar = scratch.join("usr/src").join(format!("{KERNEL_SOURCE}.tar.xz"));
        fs::rename(tar, place.join("linux.tar.xz"))?;
        fs::rename(scratch.join("version"), place.join("version"))?;
        fs::remove_dir_all(scratch)?;
        Ok(())
    })
}

fn kernel(arch: Arch, source: &Path, force: bool) -> Result<PathBuf> {
    let fragment = match arch {
        Arch::I386 => "image/kernel/i386.config",
        Arch::Amd64 => "image/kernel/x86_64.config",
    };
    let key = Key::default()
        .text(&fs::read_to_string(source.join("version"))?)
        .text(&output(Command::new("gcc").arg("-dumpfullversion"))?)
        .text(&SOURCE_DATE_EPOCH.to_string())
        .paths(&["image/kernel.sh", "image/flatten.py", "image/kernel/common.config", fragment])?
        .finish();
    let name = format!("{} kernel (compiles for about 5 minutes on two cores)", arch.name());
    let folder = format!("kernel-{}", arch.name());
    forget(&folder, &key, force)?;
    cached(&name, &folder, &key, |place| {
        let work = Scratch::new(&folder);
        let archive = source.join("linux.tar.xz");
        run(script("kernel.sh").arg(arch.name()).arg(archive).arg(&work.0).arg(place), true)
    })
}

/// The root file system and the initial RAM disk.
fn rootfs(arch: Arch, force: bool) -> Result<PathBuf> {
    let recipe = Key::default()
        .text(&output(Command::new("gcc").arg("-dumpfullversion"))?)
        .text(&SOURCE_DATE_EPOCH.to_string())
        .paths(&[
            "image/agent",
            "image/hello32",
            "image/apt.sh",
            "image/rootfs.sh",
            "image/configure.sh",
            "image/archive.py",
            "image/packages.list",
            "image/boot-order",
            "image/guest",
            "image/initrd",
        ])?
        .finish();
    let list = fs::read_to_string(root().join("image/packages.list"))?;
    let packages: Vec<_> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let name = format!("{} root file system", arch.name());
    let folder = format!("rootfs-{}", arch.name());
    kept(&name, &folder, &recipe, &packages, force, |place| {
        let work = Scratch::new(&folder);
        run(script("rootfs.sh").arg(arch.name()).arg(&work.0).arg(place), true)
    })
}

/// SeaBIOS, from Debian's package; only unpacked.
fn firmware(force: bool) -> Result<PathBuf> {
    kept("firmware", "firmware", "", &[FIRMWARE], force, |place| {
        let scratch = unpacked(FIRMWARE, place)?;
        let share = scratch.join("usr/share");
        fs::copy(share.join("seabios/bios.bin"), place.join("bios.bin"))?;
        fs::copy(share.join("seabios/vgabios-stdvga.bin"), place.join("vgabios.bin"))?;
        fs::copy(share.join("doc/seabios/copyright"), place.join("copyright"))?;
        fs::rename(scratch.join("version"), place.join("version"))?;
        fs::remove_dir_all(scratch)?;
        Ok(())
    })
}

/// A result that depends on a recipe and on the versions of Debian packages. What this
/// machine's apt offers today tells without a download whether there is something new; a
/// machine that does not know (no package lists) takes the newest result that it has.
pub(crate) fn kept(
    name: &str,
    folder: &str,
    recipe: &str,
    packages: &[&str],
    force: bool,
    work: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let versions = match offered(packages)? {
        Some(versions) => Key::default().text(&versions).finish(),
        None => "unknown".into(),
    };
    let prefix = Key::default().text(recipe).finish()[..16].to_owned();
    let mut key = format!("{prefix}-{}", &versions[..versions.len().min(16)]);
    if versions == "unknown"
        && let Some(newest) = newest(&step::cache().join(folder), &prefix)
    {
        key = newest;
    }
    forget(folder, &key, force)?;
    cached(name, folder, &key, work)
}

/// Removes a result from the cache, so that it is made again.
fn forget(folder: &str, key: &str, force: bool) -> Result<()> {
    let place = step::cache().join(folder).join(key);
    if force && place.exists() {
        fs::remove_dir_all(place)?;
    }
    Ok(())
}

/// The entry of a folder that begins so and was made last.
pub(crate) fn newest(folder: &Path, prefix: &str) -> Option<String> {
    fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let made = entry.metadata().ok()?.modified().ok()?;
            name.starts_with(prefix).then_some((made, name))
        })
        .max()
        .map(|(_, name)| name)
}

/// The versions that this machine's apt offers; `None` if it knows of none.
fn offered(packages: &[&str]) -> Result<Option<String>> {
    let policy = output(Command::new("apt-cache").arg("policy").args(packages).env("LC_ALL", "C"))?;
    Ok(candidates(&policy))
}

fn candidates(policy: &str) -> Option<String> {
    let versions: Vec<_> = policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .filter(|version| *version != "(none)")
        .collect();
    (!versions.is_empty()).then(|| versions.join(" "))
}

/// A package of the guest's Debian release, unpacked below `place`; `version` lies beside.
fn unpacked(package: &str, place: &Path) -> Result<PathBuf> {
    let apt = Scratch::new("apt");
    let scratch = place.join("unpacked");
    // Source and firmware are the same for all architectures.
    run(script("apt.sh").args(["prepare", "amd64"]).arg(&apt.0), true)?;
    run(script("apt.sh").args(["download", package]).arg(&apt.0).arg(&scratch), true)?;
    Ok(scratch)
}

/// A working directory in the cache, for as long as it lives.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        Self(step::cache().join(format!("{name}-work-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

pub(crate) fn script(name: &str) -> Command {
    let mut command = Command::new("bash");
    command.arg(root().join("image").join(name));
    command.env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH.to_string());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_apt() {
        let policy = "bash:\n  Installed: 5.2\n  Candidate: 5.3\nnosuch:\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), Some("5.3".into()));
        assert_eq!(candidates("bash:\n  Candidate: (none)\n"), None);
        assert_eq!(candidates(""), None);
    }
}
