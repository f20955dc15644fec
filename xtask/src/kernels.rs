//! Kernels that Debian has built, for the tests of the engine x86-64: they were configured by
//! others, for other machines, and must boot all the same.
//!
//! ```text
//!   cache/stock-kernels/<key>/   busybox   linux-6.1/vmlinuz   linux-6.12/vmlinuz
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian;
use crate::image::parts::{Scratch, kept, newest, script};
use crate::step::{self, Key, output, root, run};

/// The variable that tells the tests where.
pub(crate) const VARIABLE: &str = "VIVARIUM_KERNELS";

const FOLDER: &str = "stock-kernels";
/// The guest's release, and what it is updated with.
const KERNELS: [(&str, &str); 2] =
    [("6.1", "linux-image-cloud-amd64"), ("6.12", "linux-image-6.12-cloud-amd64")];
/// Programs of the initial RAM disk.
const BUSYBOX: &str = "busybox-static";

fn recipe() -> Result<String> {
    Ok(Key::default().paths(&["xtask/src/kernels.rs", "image/apt.sh"])?.finish())
}

/// Fetches what is new, if this machine can.
pub(crate) fn ensure() -> Result<()> {
    if !debian::here() {
        println!("  Debian's kernels: left out (only Debian can fetch them)");
        return Ok(());
    }
    debian::ensure_lists()?;
    let packages = KERNELS.map(|(_, package)| package);
    let packages = [&packages[..], &[BUSYBOX]].concat();
    kept("Debian's cloud kernels", FOLDER, &recipe()?, &packages, false, fetch)?;
    Ok(())
}

/// Where they are, if they were fetched.
pub(crate) fn here() -> Result<Option<PathBuf>> {
    let folder = step::cache().join(FOLDER);
    Ok(newest(&folder, &recipe_prefix()?).map(|name| folder.join(name)))
}

fn recipe_prefix() -> Result<String> {
    Ok(Key::default().text(&recipe()?).finish()[..16].to_owned())
}

fn fetch(place: &Path) -> Result<()> {
    let apt = Scratch::new("apt-kernels");
    run(script("apt.sh").args(["prepare", "amd64"]).arg(&apt.0), true)?;
    let unpacked = Scratch::new("kernels");
    let download = |package: &str| -> Result<PathBuf> {
        let out = unpacked.0.join(package);
        run(script("apt.sh").args(["download", package]).arg(&apt.0).arg(&out), true)?;
        Ok(out)
    };
    let busybox = download(BUSYBOX)?;
    fs::copy(busybox.join("bin/busybox"), place.join("busybox"))?;
    for (version, package) in KERNELS {
        let Some(image) = newest_image(&apt.0, package)? else {
            // The suite that has it may be out of reach; the other kernel is there.
            println!("    no {package} is offered: Linux {version} is left out");
            continue;
        };
        let unpacked = download(&image)?;
        let name = image.trim_start_matches("linux-image-");
        let kernel = unpacked.join("boot").join(format!("vmlinuz-{name}"));
        let folder = place.join(format!("linux-{version}"));
        fs::create_dir_all(&folder)?;
        fs::copy(&kernel, folder.join("vmlinuz"))
            .with_context(|| format!("{image} has no {}", kernel.display()))?;
    }
    Ok(())
}

/// The package that a name without a version stands for.
fn newest_image(apt: &Path, package: &str) -> Result<Option<String>> {
    let mut cache = Command::new("apt-cache");
    cache.args(["depends", package]).env("APT_CONFIG", apt.join("apt.conf")).env("LC_ALL", "C");
    // apt-cache fails if it does not know the name.
    let Ok(said) = output(cache.current_dir(root())) else { return Ok(None) };
    Ok(image_of(&said))
}

fn image_of(depends: &str) -> Option<String> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.map(str::trim).find(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::image_of;

    #[test]
    fn the_package_behind_a_name_is_found() {
        let said = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(image_of(said).as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(image_of("linux-image-cloud-amd64\n  Depends: kmod\n"), None);
        assert_eq!(image_of(""), None);
    }
}
