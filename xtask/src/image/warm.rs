//! The saved state that an image comes with: booted once here, so that a first visitor need
//! not wait for it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use emulator_disk::{Manifest as Image, WARM, WARM_DIRECTORY};
use emulator_snapshot::manifest::{Content, Entry};
use emulator_snapshot::{CHUNK_SIZE, Id, Manifest, Meta, Origin, screen};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::{Arch, SOURCE_DATE_EPOCH};
use crate::step::{self, Key, root, run};

/// What the worker adds to a state (emulator/worker/src/keeper.rs).
const INPUT: &str = "input";

/// Boots an image and keeps the state, if the engine or the image is a new one.
pub(super) fn warm() -> Result<()> {
    let out = root().join("image/out").join(Arch::I386.name());
    let mut key = Key::default().paths(&[
        "image/warm.mjs",
        "xtask/src/image/warm.rs",
        "emulator/v86/src/glue.js",
        "emulator/v86/src/saving.rs",
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
    let booted = run(node.arg(&scratch), true);
    let made = booted.and_then(|()| pack(&scratch, folder, &image(out, flavour)?, memory));
    fs::remove_dir_all(&scratch).ok();
    made
}

/// Makes a snapshot of what the boot left behind.
fn pack(scratch: &Path, folder: &Path, image: &Image, memory: u32) -> Result<()> {
    let ram = fs::read(scratch.join("ram"))?;
    let devices = fs::read(scratch.join("devices"))?;
    let digest: Id = image.digest.parse().context("the image's digest")?;
    // Name and versions are those of emulator/v86/src/saving.rs.
    let origin =
        Origin { engine: "v86".into(), state: 1, image: *digest.as_bytes(), ram: ram.len() as u64 };
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
