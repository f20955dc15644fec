//! `cargo xtask image`: guest kernels, root file systems, chunked disks, manifests.
//!
//! The recipe is in `image/`; this drives it, keeps its expensive results in the user's
//! cache, and writes what an engine boots into `image/out/<arch>`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use emulator_disk::{
    CHUNK_SIZE, Chunk, Disk, FileRef, Firmware, MANIFEST_VERSION, Manifest, cut, hash,
};
use serde_json::json;

use crate::step::{self, Key, cached, output, root, run, timed};

/// Debian packages that building an image needs.
pub(crate) const PACKAGES: &[&str] = &[
    "arch-test",
    "bc",
    "bison",
    "cpio",
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
    "xz-utils",
];

/// Stands for "now" in every file of the image: 2026-01-01. Raised by hand.
const SOURCE_DATE_EPOCH: u64 = 1_767_225_600;

/// Debian's package of the kernel source.
const KERNEL_SOURCE: &str = "linux-source-6.12";

/// Command lines; what each word is for stands in docs/how-to-change-the-image.md.
const CMDLINE_I386: &str = "console=ttyS0 console=hvc0 quiet loglevel=4 tsc=reliable \
     random.trust_cpu=on no_timer_check lpj=1000000";
const CMDLINE_AMD64: &str = "console=ttyS0 console=hvc0 quiet loglevel=4 random.trust_cpu=on";

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
}

/// Builds the images of these architectures as far as something has changed.
pub(crate) fn build(architectures: &[Arch]) -> Result<()> {
    let source = kernel_source()?;
    for &arch in architectures {
        let kernel = kernel(arch, &source)?;
        let tree = rootfs(arch)?;
        let firmware = if arch == Arch::I386 { Some(firmware()?) } else { None };
        assemble(arch, &source, &kernel, &tree, firmware.as_deref())?;
    }
    Ok(())
}

/// The kernel's source package, unpacked to its tar archive; named by its version.
fn kernel_source() -> Result<PathBuf> {
    let version = candidate(KERNEL_SOURCE)?;
    cached("kernel source", "kernel-source", &version.replace(':', "_"), |place| {
        let scratch = place.join("deb");
        download(KERNEL_SOURCE, &scratch)?;
        let tar = scratch.join("unpacked/usr/src").join(format!("{KERNEL_SOURCE}.tar.xz"));
        fs::rename(tar, place.join("linux.tar.xz"))?;
        fs::write(place.join("version"), &version)?;
        fs::remove_dir_all(scratch)?;
        Ok(())
    })
}

fn kernel(arch: Arch, source: &Path) -> Result<PathBuf> {
    let fragment = match arch {
        Arch::I386 => "image/kernel/i386.config",
        Arch::Amd64 => "image/kernel/x86_64.config",
    };
    let key = Key::default()
        .text(&fs::read_to_string(source.join("version"))?)
        .text(&output(Command::new("gcc").arg("-dumpfullversion"))?)
        .text(&SOURCE_DATE_EPOCH.to_string())
        .paths(&["image/kernel.sh", "image/kernel/common.config", fragment])?
        .finish();
    let name = format!("{} kernel (compiles for about 5 minutes on two cores)", arch.name());
    cached(&name, &format!("kernel-{}", arch.name()), &key, |place| {
        let work = step::cache().join(format!("kernel-work-{}", std::process::id()));
        let result = run(
            script("kernel.sh")
                .arg(arch.name())
                .arg(source.join("linux.tar.xz"))
                .arg(&work)
                .arg(place),
            true,
        );
        fs::remove_dir_all(work).ok();
        result
    })
}

/// The root file system and the initial RAM disk. Which versions Debian offers today is
/// part of the key, by way of the index files' hashes: new versions make a new image.
fn rootfs(arch: Arch) -> Result<PathBuf> {
    let key = Key::default()
        .text(&SOURCE_DATE_EPOCH.to_string())
        .paths(&[
            "image/rootfs.sh",
            "image/configure.sh",
            "image/archive.py",
            "image/packages.list",
            "image/boot-order",
            "image/guest",
            "image/initrd",
        ])?
        .finish();
    let name = format!("{} root file system", arch.name());
    cached(&name, &format!("rootfs-{}", arch.name()), &key, |place| {
        let work = step::cache().join(format!("rootfs-work-{}", std::process::id()));
        let result = run(script("rootfs.sh").arg(arch.name()).arg(&work).arg(place), true);
        fs::remove_dir_all(work).ok();
        result
    })
}

/// SeaBIOS, from Debian's package; only unpacked.
fn firmware() -> Result<PathBuf> {
    let version = candidate("seabios")?;
    cached("firmware", "seabios", &version, |place| {
        let scratch = place.join("deb");
        download("seabios", &scratch)?;
        let unpacked = scratch.join("unpacked/usr/share");
        fs::copy(unpacked.join("seabios/bios.bin"), place.join("bios.bin"))?;
        fs::copy(unpacked.join("seabios/vgabios-stdvga.bin"), place.join("vgabios.bin"))?;
        fs::copy(unpacked.join("doc/seabios/copyright"), place.join("copyright"))?;
        fs::write(place.join("version"), &version)?;
        fs::remove_dir_all(scratch)?;
        Ok(())
    })
}

fn script(name: &str) -> Command {
    let mut command = Command::new("bash");
    command.arg(root().join("image").join(name));
    command.env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH.to_string());
    command
}

/// The version of a package that this machine's apt would install.
fn candidate(package: &str) -> Result<String> {
    let policy = output(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    match version {
        Some(version) if version != "(none)" => Ok(version.to_owned()),
        _ => bail!(
            "apt knows no package {package}. Run `apt-get update`; on Debian 12 the package comes \
             from bookworm-security, so that suite must be in the sources."
        ),
    }
}

/// Fetches a package and unpacks it below `place/unpacked`.
fn download(package: &str, place: &Path) -> Result<()> {
    fs::create_dir_all(place)?;
    run(Command::new("apt-get").args(["download", package]).current_dir(place), false)?;
    let deb = fs::read_dir(place)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get download {package} left no package"))?;
    run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(place.join("unpacked")), false)
}

/// Writes `image/out/<arch>`: files under the names of their content, manifests, notices.
fn assemble(
    arch: Arch,
    source: &Path,
    kernel: &Path,
    tree: &Path,
    firmware: Option<&Path>,
) -> Result<()> {
    let out = root().join("image/out").join(arch.name());
    let mut key = Key::default().path(&root().join("xtask/src/image.rs"))?;
    key = key.paths(&["emulator/disk/src"])?;
    for part in [Some(kernel), Some(tree), firmware].into_iter().flatten() {
        key = key.text(&part.to_string_lossy());
    }
    let name = format!("{} image", arch.name());
    step::stamped(&name, &key.finish(), &out.join("full.json"), || {
        fs::remove_dir_all(&out).ok();
        fs::create_dir_all(out.join("disk"))?;
        let suites = fs::read_to_string(tree.join("suites"))?;
        let kernel_file = place(&out, "bzImage", &fs::read(kernel.join("bzImage"))?)?;
        let initrd = fs::read(tree.join("initrd.cpio"))?;
        let initrd_file = match arch {
            // Nothing to unpack in an emulated processor, and the way is compressed anyway.
            Arch::I386 => place(&out, "initrd", &initrd)?,
            Arch::Amd64 => {
                fs::copy(kernel.join("vmlinux"), out.join("vmlinux"))?;
                place(&out, "initramfs.cpio.gz", &gzip(&initrd)?)?
            }
        };
        let firmware = firmware
            .map(|from| {
                anyhow::Ok(Firmware {
                    bios: place(&out, "bios.bin", &fs::read(from.join("bios.bin"))?)?,
                    vgabios: place(&out, "vgabios.bin", &fs::read(from.join("vgabios.bin"))?)?,
                })
            })
            .transpose()?;
        let (cmdline, disk_name) = match arch {
            Arch::I386 => (CMDLINE_I386, "/dev/sda"),
            Arch::Amd64 => (CMDLINE_AMD64, "/dev/vda"),
        };
        let small = Manifest {
            version: MANIFEST_VERSION,
            arch: arch.name().into(),
            flavour: "busybox".into(),
            source_date_epoch: SOURCE_DATE_EPOCH,
            suites: suites.lines().map(str::to_owned).collect(),
            kernel: kernel_file,
            initrd: initrd_file,
            firmware,
            cmdline: cmdline.into(),
            min_memory_mib: 128,
            disk: None,
            digest: String::new(),
        };
        let full = Manifest {
            flavour: "full".into(),
            cmdline: format!("{cmdline} root={disk_name}"),
            disk: Some(chunk_disk(&fs::read(tree.join("root.squashfs"))?, &out.join("disk"))?),
            ..small.clone()
        };
        fs::write(out.join("busybox.json"), small.seal().1)?;
        notices(&out, source, kernel, tree, full.firmware.is_some())?;
        fs::write(out.join("full.json"), full.seal().1)?;
        Ok(())
    })
}

/// Writes a file under its plain name and under one that names its content.
fn place(out: &Path, name: &str, bytes: &[u8]) -> Result<FileRef> {
    let digest = hash(bytes);
    let path = format!("{name}.{}", &digest[..16]);
    fs::write(out.join(&path), bytes)?;
    fs::hard_link(out.join(&path), out.join(name))?;
    Ok(FileRef { path, size: bytes.len() as u64, blake3: digest })
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write;
    // No time stamp and no name in the header: the same bytes every time.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Cuts a disk into chunk files, on all cores.
fn chunk_disk(disk: &[u8], folder: &Path) -> Result<Disk> {
    let pieces: Vec<&[u8]> = disk.chunks(CHUNK_SIZE).collect();
    let chunks = Mutex::new(vec![None; pieces.len()]);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let worker = || -> Result<()> {
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
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
fn notices(out: &Path, source: &Path, kernel: &Path, tree: &Path, bios: bool) -> Result<()> {
    let mut rows = vec![[
        "linux".to_owned(),
        format!(
            "{} ({KERNEL_SOURCE} {})",
            fs::read_to_string(kernel.join("release"))?.trim(),
            fs::read_to_string(source.join("version"))?
        ),
        "GPL-2.0-only WITH Linux-syscall-note".to_owned(),
    ]];
    if bios {
        rows.push(["seabios".into(), candidate("seabios")?, "LGPL-3, GPL-3".into()]);
    }
    for line in fs::read_to_string(tree.join("packages.tsv"))?.lines() {
        let mut fields = line.splitn(3, '\t').map(str::to_owned);
        let mut field = || fields.next().unwrap_or_default();
        rows.push([field(), field(), field()]);
    }
    let mut text = String::from(
        "The guest image is an aggregate of separate programs, each under its own licence.\n\
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
