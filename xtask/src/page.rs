//! The page: three WebAssembly programs and what belongs to them, as `dist/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::notices;
use crate::stage;
use crate::step::{Key, root, run, stamped, timed};
use crate::tools::Tools;
use crate::wasm::TARGET;

/// Everything that the page is made of. Generated directories are not in it.
const SOURCES: &[&str] = &[
    ".cargo/config.toml",
    "Cargo.lock",
    "Cargo.toml",
    "Trunk.toml",
    "boot",
    "emulator",
    "index.html",
    "package-lock.json",
    "src",
    "style",
    "xtask/src/notices.rs",
    "xtask/src/stage.rs",
];

/// Where the page is built to.
pub(crate) fn dist() -> PathBuf {
    root().join("dist")
}

/// Builds the page in release mode, as far as something has changed.
pub(crate) fn build(tools: &Tools, public_url: &str) -> Result<()> {
    let key =
        Key::default().text(&tools.toolchain.version()?).text(public_url).paths(SOURCES)?.finish();
    // A new build is a new address for everything that `?v=` names.
    let build_id = &key[..12];
    let _alone = alone()?;
    stamped("page", &key, &dist().join("index.html"), || {
        programs(tools, build_id)?;
        // Where wasm-bindgen leaves what crates bring in JavaScript; it never tidies up.
        fs::remove_dir_all(tools.toolchain.target_dir().join("wasm-bindgen/release/snippets")).ok();
        timed("Trunk and wasm-opt", || {
            let mut trunk = Command::new(&tools.trunk);
            trunk.args(["build", "--release", "--public-url", public_url, "--color", "never"]);
            run(in_environment(&mut trunk, tools, build_id)?, false)
        })?;
        notices::write(&dist().join("LICENSES.txt"))
    })?;
    stage::image(&dist())
}

/// One build of this checkout at a time: two in the same directories spoil each other. The
/// lock goes with the returned file.
fn alone() -> Result<fs::File> {
    let place = root().join("target/xtask");
    fs::create_dir_all(&place)?;
    let lock = fs::File::create(place.join("page.lock"))?;
    if lock.try_lock().is_err() {
        println!("  waiting for another build of the page in this checkout");
        lock.lock()?;
    }
    Ok(lock)
}

/// Compiles before Trunk does the same: both workers at once, and with cargo's own words on
/// failure. Trunk's calls find the work done.
fn programs(tools: &Tools, build_id: &str) -> Result<()> {
    let builds = [
        ("compiling the page's program", "Cargo.toml", ["--bin", "vivarium"].as_slice()),
        ("compiling the workers' programs", "emulator/worker/Cargo.toml", ["--bins"].as_slice()),
    ];
    for (name, manifest, bins) in builds {
        timed(name, || {
            let mut cargo = Command::new("cargo");
            cargo
                .args(["build", "--target", TARGET, "--profile", "web", "--manifest-path"])
                .arg(root().join(manifest))
                .args(bins);
            run(in_environment(&mut cargo, tools, build_id)?, false)
        })?;
    }
    Ok(())
}

fn in_environment<'a>(
    command: &'a mut Command,
    tools: &Tools,
    build_id: &str,
) -> Result<&'a mut Command> {
    command.envs(tools.environment()?).env(stage::BUILD_ID, build_id).current_dir(root());
    Ok(command)
}

/// The page's security policy, from the one place where it is written.
pub(crate) fn policy(index: &Path) -> Result<String> {
    let html = fs::read_to_string(index).with_context(|| format!("reading {}", index.display()))?;
    attribute(&html, "http-equiv=\"Content-Security-Policy\" content=\"")
        .map(str::to_owned)
        .context("index.html has no Content-Security-Policy")
}

/// The path below which the page expects to be served, with slashes at both ends.
pub(crate) fn base(index: &Path) -> Result<String> {
    let html = fs::read_to_string(index).with_context(|| format!("reading {}", index.display()))?;
    Ok(attribute(&html, "<base href=\"").unwrap_or("/").to_owned())
}

fn attribute<'a>(html: &'a str, start: &str) -> Option<&'a str> {
    let (_, rest) = html.split_once(start)?;
    Some(rest.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::{base, policy};
    use crate::step::root;

    #[test]
    fn the_policy_is_found_and_strict() {
        let policy = policy(&root().join("index.html")).unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        let scripts = policy.split(';').find(|part| part.trim().starts_with("script-src")).unwrap();
        assert_eq!(scripts.trim(), "script-src 'self' 'wasm-unsafe-eval'");
    }

    #[test]
    fn the_page_without_a_base_is_served_at_the_root() {
        assert_eq!(base(&root().join("index.html")).unwrap(), "/");
    }
}
