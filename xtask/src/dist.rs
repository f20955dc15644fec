//! `cargo xtask dist`: the page for any static host, with its sizes and a bound on them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::page;
use crate::stage::compressed;
use crate::step::timed;

/// What the page's own program may weigh, compressed by brotli: it stands between a person
/// and the first prompt.
const APP_LIMIT: u64 = 450 * 1000;
const APP: &str = "vivarium_bg.wasm";

/// Prints what a visitor downloads, and fails when the app has grown too large.
pub(crate) fn sizes() -> Result<()> {
    let folder = page::dist();
    let mut files = Vec::new();
    collect(&folder, &mut files)?;
    files.sort();
    let image = folder.join("image");
    let (image, page): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.starts_with(&image));
    let mut weights = Vec::new();
    timed("compressing what the page consists of", || {
        weights = compressed(&page)?;
        Ok(())
    })?;
    println!("\n{:<44}{:>11}{:>11}{:>11}", "file", "raw", "gzip", "brotli");
    for (file, [raw, gzip, brotli]) in page.iter().zip(&weights) {
        println!("{:<44}{raw:>11}{gzip:>11}{brotli:>11}", name(file, &folder));
    }
    let mut total = 0;
    for file in &image {
        total += fs::metadata(file)?.len();
    }
    println!(
        "{:<44}{total:>11}   (compressed in itself, fetched on demand)",
        format!("image/, {} files", image.len())
    );

    let app = page.iter().position(|file| file.ends_with(APP)).context("dist/ has no app")?;
    let brotli = weights[app][2];
    println!("\n{APP}: {brotli} bytes of at most {APP_LIMIT}");
    if brotli > APP_LIMIT {
        bail!("{APP} is {brotli} bytes after brotli, more than the limit of {APP_LIMIT}");
    }
    Ok(())
}

fn name(file: &Path, folder: &Path) -> String {
    file.strip_prefix(folder).unwrap_or(file).display().to_string()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
