//! Puts an image together: files under the names of their content, manifests, notices.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use emulator_disk::{
    CHUNK_SIZE, Chunk, Disk, FileRef, Firmware, MANIFEST_VERSION, Manifest, cut, deflate, hash,
};
use serde_json::json;

use super::parts::{KERNEL_SOURCE, Parts};
use super::{Arch, SOURCE_DATE_EPOCH};
use crate::step::{self, Key, timed};

/// Command lines; what each word is for stands in docs/how-to-change-the-image.md.
const CMDLINE_I386: &str = "console=ttyS0 console=hvc0 quiet loglevel=4 tsc=reliable \
     tsc_early_khz=1000000 lpj=1000000 libata.force=2:disable random.trust_cpu=on";
const CMDLINE_AMD64: &str = "console=ttyS0 console=hvc0 quiet loglevel=4 tsc=reliable \
     random.trust_cpu=on reboot=k thp_anon=64K:always sysctl.vm.compaction_proactiveness=0";

/// v86 loads the initial RAM disk at 64 MiB; below this there is no room above it.
const MIN_MEMORY_MIB_I386: u32 = 128;
/// What the kernel, its initial RAM disk and Debian's prompt need.
const MIN_MEMORY_MIB_AMD64: u32 = 64;

/// Writes `image/out/<arch>`. It is made beside its place, so that a page that is being
/// served from there loses its image for no longer than a rename takes.
pub(super) fn pack(arch: Arch, parts: &Parts, force: bool) -> Result<()> {
    let out = arch.out();
    let mut key = Key::default().paths(&[
        "xtask/src/image.rs",
        "xtask/src/image/pack.rs",
        "emulator/disk/src",
    ])?;
    for part in [Some(&parts.kernel), Some(&parts.tree), parts.firmware.as_ref()] {
        key = key.text(&part.map(|path| path.to_string_lossy()).unwrap_or_default());
    }
    // A forced build has new parts under their old names.
    if force {
        fs::remove_file(out.join("full.json")).ok();
    }
    let name = format!("{} image", arch.name());
    step::stamped(&name, &key.finish(), &out.join("full.json"), || {
        let scratch = out.with_file_name(format!(".{}.new", arch.name()));
        fs::remove_dir_all(&scratch).ok();
        fs::create_dir_all(scratch.join("disk"))?;
        write(arch, parts, &scratch)?;
        fs::remove_dir_all(&out).ok();
        fs::rename(&scratch, &out).with_context(|| format!("renaming to {}", out.display()))
    })
}

fn write(arch: Arch, parts: &Parts, out: &Path) -> Result<()> {
    let suites = fs::read_to_string(parts.tree.join("suites"))?;
    let small = Manifest {
        version: MANIFEST_VERSION,
        arch: arch.name().into(),
        flavour: "busybox".into(),
        source_date_epoch: SOURCE_DATE_EPOCH,
        suites: suites.lines().map(str::to_owned).collect(),
        kernel: kernel(arch, parts, out)?,
        initrd: initrd(parts, out)?,
        firmware: parts.firmware.as_deref().map(|from| firmware(from, out)).transpose()?,
        cmdline: match arch {
            Arch::I386 => CMDLINE_I386.into(),
            Arch::Amd64 => CMDLINE_AMD64.into(),
        },
        min_memory_mib: match arch {
            Arch::I386 => MIN_MEMORY_MIB_I386,
            Arch::Amd64 => MIN_MEMORY_MIB_AMD64,
        },
        disk: None,
        digest: String::new(),
    };
    let disk_name = match arch {
        Arch::I386 => "/dev/sda",
        Arch::Amd64 => "/dev/vda",
    };
    let full = Manifest {
        flavour: "full".into(),
        cmdline: format!("{} root={disk_name}", small.cmdline),
        disk: Some(chunk_disk(&fs::read(parts.tree.join("root.squashfs"))?, &out.join("disk"))?),
        ..small.clone()
    };
    notices(parts, out)?;
    fs::write(out.join("busybox.json"), small.seal().1)?;
    fs::write(out.join("full.json"), full.seal().1)?;
    Ok(())
}

/// For programs outside of a browser the kernel lies under its usual name, too.
fn kernel(arch: Arch, parts: &Parts, out: &Path) -> Result<FileRef> {
    let name = match arch {
        Arch::I386 => "bzImage",
        Arch::Amd64 => "vmlinux",
    };
    fs::copy(parts.kernel.join(name), out.join(name))?;
    compressed(out, name, &fs::read(parts.kernel.join(name))?)
}

fn initrd(parts: &Parts, out: &Path) -> Result<FileRef> {
    let bytes = fs::read(parts.tree.join("initrd.cpio"))?;
    // No time and no name in the header: the same bytes every time.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&bytes)?;
    fs::write(out.join("initramfs.cpio.gz"), encoder.finish()?)?;
    // What the manifest names is not compressed for the guest: an emulated processor would
    // spend its time on it.
    compressed(out, "initrd", &bytes)
}

fn firmware(from: &Path, out: &Path) -> Result<Firmware> {
    let place = |name: &str| {
        let bytes = fs::read(from.join(name))?;
        fs::write(out.join(name), &bytes)?;
        compressed(out, name, &bytes)
    };
    Ok(Firmware { bios: place("bios.bin")?, vgabios: place("vgabios.bin")? })
}

/// Writes a file compressed, under a name that tells its content.
fn compressed(out: &Path, name: &str, bytes: &[u8]) -> Result<FileRef> {
    let blake3 = hash(bytes);
    let path = format!("{name}.{}", &blake3[..16]);
    let stored = deflate(bytes);
    fs::write(out.join(&path), &stored)?;
    Ok(FileRef { path, size: bytes.len() as u64, blake3, stored: Some(stored.len() as u64) })
}

/// Cuts a disk into chunk files, on all cores.
fn chunk_disk(disk: &[u8], folder: &Path) -> Result<Disk> {
    let pieces: Vec<&[u8]> = disk.chunks(CHUNK_SIZE).collect();
    let chunks = Mutex::new(vec![None; pieces.len()]);
    let next = AtomicUsize::new(0);
    let worker = || -> Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(index) else { return Ok(()) };
            if let Some(made) = cut(piece) {
                let stored = u32::try_from(made.stored.len())?;
                fs::write(folder.join(&made.id), made.stored)?;
                chunks.lock().expect("no worker panics")[index] =
                    Some(Chunk { id: made.id, stored });
            }
        }
    };
    timed("cutting the disk into chunks", || {
        std::thread::scope(|scope| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|one| one.join().expect("no worker panics"))
        })
    })?;
    Ok(Disk {
        size: disk.len() as u64,
        chunk_size: u32::try_from(CHUNK_SIZE)?,
        path: "disk".into(),
        chunks: chunks.into_inner().expect("no worker panics"),
    })
}

/// Lists every package of the image with version and licences, for people and programs.
fn notices(parts: &Parts, out: &Path) -> Result<()> {
    let version =
        |part: &Path| anyhow::Ok(fs::read_to_string(part.join("version"))?.trim().to_owned());
    let release = fs::read_to_string(parts.kernel.join("release"))?;
    let mut rows = vec![[
        "linux".to_owned(),
        format!("{} ({KERNEL_SOURCE} {})", release.trim(), version(&parts.source)?),
        "GPL-2.0-only WITH Linux-syscall-note".to_owned(),
    ]];
    if let Some(firmware) = &parts.firmware {
        rows.push(["seabios".into(), version(firmware)?, "LGPL-3;GPL-3".into()]);
        fs::copy(firmware.join("copyright"), out.join("seabios.copyright"))?;
    }
    for line in fs::read_to_string(parts.tree.join("packages.tsv"))?.lines() {
        let mut fields = line.splitn(3, '\t').map(str::to_owned);
        let mut field = || fields.next().unwrap_or_default();
        rows.push([field(), field(), field()]);
    }
    let mut text = String::from(
        "The guest image is an aggregate of separate programs, each under its own licence.\n\
         Their texts are in the image, below /usr/share/doc and /usr/share/common-licenses.\n\
         Sources: Debian's source packages of the same versions.\n\n",
    );
    for [name, version, licences] in &rows {
        text.push_str(&format!("{name} {version}\n    {licences}\n"));
    }
    fs::write(out.join("packages.txt"), text)?;
    let objects: Vec<_> = rows
        .iter()
        .map(|[name, version, licences]| {
            let licences: Vec<_> = licences.split(';').collect();
            json!({ "name": name, "version": version, "licences": licences })
        })
        .collect();
    fs::write(out.join("packages.json"), serde_json::to_vec_pretty(&objects)?)?;
    Ok(())
}
