//! Programs that the build needs besides Rust: Trunk, wasm-bindgen, cargo-deny, npm's parts.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::step::{self, Key, cached, output, root, run, stamped, which};
use crate::wasm::Toolchain;

/// 0.22 wants a newer compiler than Debian's fallback and many machines have.
const TRUNK: &str = "0.21.14";
const CARGO_DENY: &str = "0.20.2";
/// What npm's parts and the browser tests ask for. Debian 13 has it; Debian 12 has 18.
const OLDEST_NODE: u32 = 20;

/// What a build of the page runs with.
pub(crate) struct Tools {
    pub(crate) toolchain: Toolchain,
    pub(crate) trunk: PathBuf,
    /// `wasm-bindgen` and its test runner.
    pub(crate) wasm_bindgen: PathBuf,
}

impl Tools {
    /// Finds or makes everything that a build of the page needs.
    pub(crate) fn ensure() -> Result<Self> {
        // What may be missing for good comes before what takes minutes.
        let toolchain = Toolchain::ensure()?;
        npm_parts()?;
        let wasm_bindgen = cargo_tool(&Crate {
            package: "wasm-bindgen-cli",
            program: "wasm-bindgen",
            version: &wasm_bindgen_version()?,
            // It works on megabytes: unoptimized it takes longer than optimizing it saves.
            optimize: true,
        })?;
        let trunk = cargo_tool(&Crate {
            package: "trunk",
            program: "trunk",
            version: TRUNK,
            optimize: false,
        })?;
        let tools = Self { toolchain, trunk, wasm_bindgen };
        tools.shim()?;
        Ok(tools)
    }

    /// Where the programs are; none if only the compiler was asked for.
    fn folders(&self) -> Vec<PathBuf> {
        let programs = [&self.wasm_bindgen, &self.trunk];
        programs.into_iter().filter_map(|program| Some(program.parent()?.to_owned())).collect()
    }

    /// Environment of Trunk and cargo.
    pub(crate) fn environment(&self) -> Result<Vec<(&'static str, OsString)>> {
        let mut variables: Vec<(&str, OsString)> = self
            .toolchain
            .environment()
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        let here = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(self.folders().into_iter().chain(env::split_paths(&here)))?;
        variables.push(("PATH", path));
        variables.push(("VIVARIUM_XTASK", own_program()?.into()));
        Ok(variables)
    }

    /// Makes a plain `trunk serve` work in this checkout: a small script of that name among
    /// cargo's programs, which looks up here what set-up found. Somebody's own Trunk stays.
    fn shim(&self) -> Result<()> {
        let mut lines = String::from("# Written by cargo xtask, read by the script `trunk`.\n");
        for (name, value) in self.environment()? {
            let value = value.to_string_lossy().replace('\'', r"'\''");
            // Only our own folders: whose PATH it is decides about the rest.
            let value = match name {
                "PATH" => {
                    let own = env::join_paths(self.folders())?;
                    format!("'{}':\"$PATH\"", own.to_string_lossy())
                }
                _ => format!("'{value}'"),
            };
            lines.push_str(&format!("export {name}={value}\n"));
        }
        lines.push_str(&format!("trunk='{}'\n", self.trunk.display()));
        let place = root().join("target/xtask");
        fs::create_dir_all(&place)?;
        fs::write(place.join("trunk.env"), lines)?;

        let Some(shim) = cargo_bin().map(|folder| folder.join("trunk")) else { return Ok(()) };
        let found = which("trunk");
        if found.as_ref().is_some_and(|found| !is_shim(found)) {
            if found.as_deref() != Some(&self.trunk) {
                println!(
                    "  there is another trunk on the PATH; for the pinned one run\n    \
                     (. target/xtask/trunk.env && \"$trunk\" serve)"
                );
            }
            return Ok(());
        }
        if fs::read_to_string(&shim).is_ok_and(|old| old == SHIM) {
            return Ok(());
        }
        if shim.exists() && !is_shim(&shim) {
            return Ok(());
        }
        fs::write(&shim, SHIM)?;
        fs::set_permissions(&shim, fs::Permissions::from_mode(0o755))?;
        println!(
            "  {}: a script that finds the Trunk of the checkout it is called in",
            shim.display()
        );
        Ok(())
    }
}

const SHIM: &str = r#"#!/bin/sh
# vivarium's trunk: put here by `cargo xtask` because there was no trunk; safe to delete.
# It runs the Trunk that the set-up of the checkout around the working directory found.
set -eu
place=$PWD
while [ ! -e "$place/target/xtask/trunk.env" ]; do
  if [ "$place" = / ]; then
    echo "trunk: no checkout of Vivarium that is set up is here; run \`cargo xtask setup\` in one" >&2
    exit 1
  fi
  place=$(dirname "$place")
done
. "$place/target/xtask/trunk.env"
exec "$trunk" "$@"
"#;

fn is_shim(program: &Path) -> bool {
    fs::read(program).is_ok_and(|bytes| bytes.starts_with(b"#!/bin/sh\n# vivarium's trunk:"))
}

fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
    Some(home.join("bin")).filter(|folder| folder.is_dir())
}

/// This program, also after cargo has built it anew under the running one.
pub(crate) fn own_program() -> Result<PathBuf> {
    let program = env::current_exe()?;
    let name = program.to_string_lossy();
    Ok(PathBuf::from(name.strip_suffix(" (deleted)").unwrap_or(&name)))
}

/// A program that cargo installs from its registry.
struct Crate<'a> {
    package: &'a str,
    program: &'a str,
    version: &'a str,
    optimize: bool,
}

/// The licence checker.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    cargo_tool(&Crate {
        package: "cargo-deny",
        program: "cargo-deny",
        version: CARGO_DENY,
        optimize: false,
    })
}

fn cargo_tool(tool: &Crate<'_>) -> Result<PathBuf> {
    let Crate { package, program, version, .. } = tool;
    if let Some(found) = which(program).filter(|found| !is_shim(found)) {
        let said = output(Command::new(&found).arg("--version")).unwrap_or_default();
        if said.split(' ').nth(1) == Some(*version) {
            println!("  {package} {version}: ready ({})", found.display());
            return Ok(found);
        }
    }
    let name = format!("{package} {version} (compiles for some minutes, once for this machine)");
    let place = cached(&name, "tools", &format!("{program}-{version}"), |place| {
        let target = place.join("target");
        // The package's own lock file first. A registry mirror that lags behind may not have
        // those exact versions: then the newest that fit.
        let result = install(tool, place, &target, true).or_else(|error| {
            println!(
                "    not with its own lock file: {}",
                error.root_cause().to_string().lines().last().unwrap_or_default()
            );
            install(tool, place, &target, false)
        });
        fs::remove_dir_all(target).ok();
        result.with_context(|| {
            format!("{package} {version} could not be installed. By hand: cargo install {package} --version {version}")
        })
    })?;
    Ok(place.join("bin").join(program))
}

fn install(tool: &Crate<'_>, place: &Path, target: &Path, locked: bool) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["install", tool.package, "--version", tool.version, "--debug"])
        .args(["--no-default-features", "--no-track", "--root"])
        .arg(place)
        .current_dir(step::cache())
        .env("CARGO_TARGET_DIR", target)
        // Compiling takes longer than these programs ever run.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", if tool.optimize { "1" } else { "0" })
        .env("CARGO_INCREMENTAL", "0");
    if locked {
        command.arg("--locked");
    }
    run(&mut command, false)
}

fn wasm_bindgen_version() -> Result<String> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("reading Cargo.lock")?;
    locked_version(&lock, "wasm-bindgen").context("Cargo.lock has no wasm-bindgen")
}

fn locked_version(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    Some(lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')?.to_owned())
}

/// The parts in package-lock.json, as they are there.
pub(crate) fn npm_parts() -> Result<()> {
    let advice = format!(
        "Node.js {OLDEST_NODE} or newer, with npm, is needed: from https://nodejs.org, or a \
         newer Debian's packages nodejs and npm"
    );
    if which("node").is_none() || which("npm").is_none() {
        debian::ensure("npm's parts", &["nodejs", "npm"]).context(advice.clone())?;
    }
    let version = output(Command::new("node").arg("--version"))?;
    if major(&version).is_none_or(|major| major < OLDEST_NODE) {
        bail!("node {version} is too old. {advice}");
    }
    let key = Key::default()
        .text(&version)
        .paths(&["package.json", "package-lock.json", ".npmrc"])?
        .finish();
    stamped("npm parts", &key, &root().join("node_modules/.package-lock.json"), || {
        run(Command::new("npm").args(["ci", "--ignore-scripts"]).current_dir(root()), false)
            .context("npm could not fetch the parts named in package-lock.json")
    })
}

/// The first number of a version like `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.trim_start_matches('v').split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{locked_version, major};

    #[test]
    fn reads_the_version_of_node() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("20"), Some(20));
        assert_eq!(major("unknown"), None);
    }

    #[test]
    fn reads_the_version_from_the_lock() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.1\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen").as_deref(), Some("0.2.130"));
        assert_eq!(locked_version(lock, "bindgen"), None);
    }
}
