//! The compiler for `wasm32-unknown-unknown`: rustup's target where it can be had, Debian's
//! `rustc-web` where the network does not let rustup through.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::step::{output, root, run, timed, which};

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Forces one of the two: `rustup` or `debian`.
const CHOICE: &str = "VIVARIUM_WASM";

/// How to compile for the browser.
pub(crate) enum Toolchain {
    /// The installed toolchain has the target.
    Installed,
    /// Debian's compiler, which builds the standard library from its sources.
    Debian { linker: PathBuf },
}

impl Toolchain {
    /// Finds or installs the target.
    pub(crate) fn ensure() -> Result<Self> {
        match env::var(CHOICE).unwrap_or_default().as_str() {
            "rustup" => installed(),
            "debian" => from_debian(),
            "" => installed().or_else(|error| {
                println!("  {TARGET} of the installed toolchain: not to be had ({error:#})");
                println!("  falling back to Debian's rustc-web");
                from_debian()
            }),
            other => bail!("{CHOICE}={other}: it is `rustup` or `debian`"),
        }
    }

    /// The settings of cargo, by environment, so that Trunk hands them on.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Installed => Vec::new(),
            Self::Debian { linker } => vec![
                ("RUSTC", COMPILER.into()),
                // -Zbuild-std on a stable compiler.
                ("RUSTC_BOOTSTRAP", "1".into()),
                ("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort".into()),
                ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker.display().to_string()),
                // Two compilers in one directory would build everything anew in turns.
                ("CARGO_TARGET_DIR", self.target_dir().display().to_string()),
            ],
        }
    }

    pub(crate) fn target_dir(&self) -> PathBuf {
        let usual = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let usual = root().join(usual.unwrap_or_else(|| "target".into()));
        match self {
            Self::Installed => usual,
            Self::Debian { .. } => usual.join("debian"),
        }
    }

    /// Name and version of the compiler, for keys.
    pub(crate) fn version(&self) -> Result<String> {
        match self {
            Self::Installed => output(Command::new("rustc").arg("--version").current_dir(root())),
            Self::Debian { .. } => output(Command::new(COMPILER).arg("--version")),
        }
    }

    /// Whether it is the toolchain that also has clippy.
    pub(crate) fn has_clippy(&self) -> bool {
        matches!(self, Self::Installed)
    }
}

const COMPILER: &str = "/usr/bin/rustc";

fn installed() -> Result<Toolchain> {
    if sysroot()?.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
        println!("  {TARGET}: ready");
        return Ok(Toolchain::Installed);
    }
    if which("rustup").is_none() {
        bail!("there is no rustup, and the toolchain has no {TARGET}");
    }
    timed(&format!("rustup target add {TARGET}"), || {
        run(Command::new("rustup").args(["target", "add", TARGET]).current_dir(root()), false)
    })?;
    Ok(Toolchain::Installed)
}

fn sysroot() -> Result<PathBuf> {
    let rustc = Path::new("rustc");
    Ok(output(Command::new(rustc).args(["--print", "sysroot"]).current_dir(root()))?.into())
}

fn from_debian() -> Result<Toolchain> {
    debian::ensure("WebAssembly", debian::WASM_TOOLCHAIN).with_context(|| {
        format!("without rustup's target {TARGET}, Debian's rustc-web is the other way")
    })?;
    Ok(Toolchain::Debian { linker: linker()? })
}

/// rust-lld comes with rustup's toolchains; Debian has the same linker as `wasm-ld`.
fn linker() -> Result<PathBuf> {
    let host = output(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV")?;
    let ours = sysroot()?.join("lib/rustlib").join(host).join("bin/rust-lld");
    if ours.is_file() {
        return Ok(ours);
    }
    if which("wasm-ld").is_none() {
        debian::ensure("linking WebAssembly", &["lld"])?;
    }
    which("wasm-ld").context("Debian's package lld brought no wasm-ld")
}
