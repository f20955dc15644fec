//! The saved state that an image comes with: booted once here, so that a first visitor need
//! not wait for it.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use emulator_disk::{Manifest as Image, WARM, WARM_DIRECTORY};
use emulator_engine::MTU;
use emulator_gateway::{Config, Gateway};
use emulator_protocol::Policy;
use emulator_snapshot::manifest::{Content, Entry};
use emulator_snapshot::{CHUNK_SIZE, Id, Manifest, Meta, Origin, screen};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::{Arch, SOURCE_DATE_EPOCH};
use crate::step::{self, Key, root};

/// What the worker adds to a state (emulator/worker/src/{keeper,network}.rs).
const INPUT: &str = "input";
const NETWORK: &str = "network";

/// Longest frame that can be one: an IP packet of that size with its Ethernet header.
const FRAME_LIMIT: usize = 64 * 1024;

/// Boots an image and keeps the state, if the engine or the image is a new one.
pub(super) fn warm(arch: Arch) -> Result<()> {
    let out = arch.out();
    let mut key = Key::default().paths(&[
        "xtask/src/image/warm.rs",
        "emulator/engine/src/lib.rs",
        "emulator/guest/src",
        "emulator/gateway/src",
        "emulator/snapshot/src",
    ])?;
    key = key.paths(match arch {
        Arch::I386 => &[
            "image/warm.mjs",
            "emulator/v86/src/glue.js",
            "emulator/v86/src/saving.rs",
            "package-lock.json",
        ],
        Arch::Amd64 => &[
            "emulator/cpu/src/state",
            // A kernel patches itself at boot by what the processor says of itself.
            "emulator/cpu/src/cpuid.rs",
            "emulator/devices/src",
            "emulator/machine/src",
            "emulator/headless/src/freeze.rs",
        ],
    })?;
    for (flavour, _) in WARM {
        key = key.text(&image(&out, flavour)?.digest);
    }
    let folder = out.join(WARM_DIRECTORY);
    let last = WARM.last().map(|(flavour, memory)| format!("{flavour}.{memory}"));
    let stamp = folder.join(last.unwrap_or_default());
    let name = format!("{} warm start (boots the image once)", arch.name());
    step::stamped(&name, &key.finish(), &stamp, || {
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder)?;
        WARM.iter().try_for_each(|(flavour, memory)| make(arch, &folder, flavour, *memory))
    })
}

fn image(out: &Path, flavour: &str) -> Result<Image> {
    let path = out.join(format!("{flavour}.json"));
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Image::parse(&bytes).with_context(|| format!("reading {}", path.display()))
}

fn make(arch: Arch, folder: &Path, flavour: &str, memory: u32) -> Result<()> {
    let out = arch.out();
    let scratch = step::cache().join(format!("warm-work-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let booted = program(arch).and_then(|mut program| {
        boot(program.arg(&out).arg(flavour).arg(memory.to_string()).arg(&scratch))
    });
    let made =
        booted.and_then(|network| pack(&scratch, folder, &image(&out, flavour)?, memory, network));
    fs::remove_dir_all(&scratch).ok();
    made
}

/// What boots an image of this architecture: the engine that browsers use, outside of one.
fn program(arch: Arch) -> Result<Command> {
    if arch == Arch::I386 {
        let mut node = Command::new("node");
        node.arg(root().join("image/warm.mjs")).arg(MTU.to_string());
        return Ok(node);
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--package", "emulator-headless"]).current_dir(root());
    step::run(&mut cargo, true)?;
    // Ours is in `target/debug`, too.
    let own = crate::tools::own_program()?;
    let target = own.ancestors().nth(2).context("this program's folder")?;
    let mut headless = Command::new(target.join("release/emulator-headless"));
    headless.arg("freeze");
    Ok(headless)
}

/// Lets a guest boot with a gateway at the other end of its network cable; returns what the
/// gateway remembers then.
fn boot(program: &mut Command) -> Result<Vec<u8>> {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", program.get_program().display()))?;
    let mut to_guest = child.stdin.take().context("a pipe")?;
    let mut from_guest = child.stdout.take().context("a pipe")?;
    let mut gateway = Gateway::new(Config::emulated(MTU), Policy::default(), [0; 32]);
    let start = Instant::now();
    let mut length = [0; 4];
    while from_guest.read_exact(&mut length).is_ok() {
        let size = u32::from_le_bytes(length) as usize;
        ensure!(size <= FRAME_LIMIT, "the guest sent a frame of {size} bytes");
        let mut frame = vec![0; size];
        from_guest.read_exact(&mut frame)?;
        gateway.receive(&frame, start.elapsed());
        gateway.poll(start.elapsed());
        while let Some(frame) = gateway.transmit() {
            let size = u32::try_from(frame.len())?;
            to_guest.write_all(&size.to_le_bytes())?;
            to_guest.write_all(&frame)?;
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "the boot of the image ended with {status}");
    Ok(gateway.save())
}

/// Makes a snapshot of what the boot left behind.
fn pack(scratch: &Path, folder: &Path, image: &Image, memory: u32, network: Vec<u8>) -> Result<()> {
    let list = fs::read_to_string(scratch.join("sections"))?;
    let mut lines = list.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let first = lines.next().unwrap_or_default();
    let [engine, state] = first[..] else { bail!("{list}: this is no list of sections") };
    let digest: Id = image.digest.parse().context("the image's digest")?;
    let origin = Origin {
        engine: engine.into(),
        state: state.parse()?,
        image: *digest.as_bytes(),
        ram: u64::from(memory) << 20,
    };
    let meta = Meta {
        saved_ms: SOURCE_DATE_EPOCH * 1000,
        memory_mib: memory,
        machine: format!("{}.{memory}", image.flavour),
        flavour: image.flavour.clone(),
        cmdline: String::new(),
        label: None,
        parent: None,
    };
    let mut sections = Vec::new();
    for line in lines {
        let [name, version, kind] = line[..] else { bail!("{list}: this is no list of sections") };
        let bytes = fs::read(scratch.join(name))?;
        let content = match kind {
            "inline" => Content::Inline(bytes),
            _ => chunked(&bytes, folder)?,
        };
        sections.push(Entry { name: name.into(), version: version.parse()?, content });
    }
    let own = |name: &str, bytes| Entry {
        name: name.into(),
        version: 1,
        content: Content::Inline(bytes),
    };
    let text = fs::read_to_string(scratch.join("screen"))?;
    sections.extend([own(INPUT, Vec::new()), own(NETWORK, network), meta.section()?]);
    sections.push(screen::section(&text)?);
    let manifest = Manifest::new(origin, sections)?;
    fs::write(folder.join(format!("{}.{memory}", image.flavour)), manifest.write())?;
    Ok(())
}

/// Writes the chunks that are not zeros, as small as they get: they are made once and fetched
/// often.
fn chunked(bytes: &[u8], folder: &Path) -> Result<Content> {
    let mut chunks = Vec::new();
    for piece in bytes.chunks(CHUNK_SIZE) {
        chunks.push(if emulator_snapshot::chunk::is_zero(piece) {
            None
        } else {
            let id = Id::of(piece);
            let file = fs::File::create(folder.join(id.to_string()))?;
            let mut encoder = ZlibEncoder::new(file, Compression::best());
            std::io::Write::write_all(&mut encoder, piece)?;
            encoder.finish()?;
            Some(id)
        });
    }
    Ok(Content::Chunked { size: bytes.len() as u64, chunks })
}
