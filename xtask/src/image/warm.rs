//! The saved state that an image comes with: booted once here, so that a first visitor need
//! not wait for it.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
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
pub(super) fn warm() -> Result<()> {
    let out = root().join("image/out").join(Arch::I386.name());
    let mut key = Key::default().paths(&[
        "image/warm.mjs",
        "xtask/src/image/warm.rs",
        "emulator/v86/src/glue.js",
        "emulator/v86/src/saving.rs",
        "emulator/guest/src/saved.rs",
        "emulator/guest/src/disk.rs",
        "emulator/engine/src/lib.rs",
        "emulator/gateway/src",
        "emulator/snapshot/src",
        "package-lock.json",
    ])?;
    for (flavour, _) in WARM {
        key = key.text(&image(&out, flavour)?.digest);
    }
    let folder = out.join(WARM_DIRECTORY);
    let last = WARM.last().map(|(flavour, memory)| format!("{flavour}.{memory}"));
    let stamp = folder.join(last.unwrap_or_default());
    step::stamped("warm start (boots the image once)", &key.finish(), &stamp, || {
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder)?;
        WARM.iter().try_for_each(|(flavour, memory)| make(&out, &folder, flavour, *memory))
    })
}

fn image(out: &Path, flavour: &str) -> Result<Image> {
    let path = out.join(format!("{flavour}.json"));
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Image::parse(&bytes).with_context(|| format!("reading {}", path.display()))
}

fn make(out: &Path, folder: &Path, flavour: &str, memory: u32) -> Result<()> {
    let scratch = step::cache().join(format!("warm-work-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let mut node = Command::new("node");
    node.arg(root().join("image/warm.mjs")).arg(out).arg(flavour).arg(memory.to_string());
    let booted = boot(node.arg(MTU.to_string()).arg(&scratch));
    let made =
        booted.and_then(|network| pack(&scratch, folder, &image(out, flavour)?, memory, network));
    fs::remove_dir_all(&scratch).ok();
    made
}

/// Lets a guest boot with a gateway at the other end of its network cable; returns what the
/// gateway remembers then.
fn boot(node: &mut Command) -> Result<Vec<u8>> {
    let mut child = node
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting node: is it installed, and on the PATH?")?;
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
    ensure!(status.success(), "image/warm.mjs ended with {status}");
    Ok(gateway.save())
}

/// Makes a snapshot of what the boot left behind.
fn pack(scratch: &Path, folder: &Path, image: &Image, memory: u32, network: Vec<u8>) -> Result<()> {
    let ram = fs::read(scratch.join("ram"))?;
    let devices = fs::read(scratch.join("devices"))?;
    let digest: Id = image.digest.parse().context("the image's digest")?;
    // Name and versions are those of emulator/v86/src/saving.rs.
    let origin =
        Origin { engine: "v86".into(), state: 2, image: *digest.as_bytes(), ram: ram.len() as u64 };
    let meta = Meta {
        saved_ms: SOURCE_DATE_EPOCH * 1000,
        memory_mib: memory,
        machine: format!("{}.{memory}", image.flavour),
        flavour: image.flavour.clone(),
        cmdline: String::new(),
        label: None,
        parent: None,
    };
    let section = |name: &str, content| Entry { name: name.into(), version: 1, content };
    let text = fs::read_to_string(scratch.join("screen"))?;
    let sections = vec![
        section("devices", chunked(&devices, folder)?),
        section("ram", chunked(&ram, folder)?),
        section("sectors", Content::Chunked { size: 0, chunks: Vec::new() }),
        section(INPUT, Content::Inline(Vec::new())),
        section(NETWORK, Content::Inline(network)),
        meta.section()?,
        screen::section(&text)?,
    ];
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
