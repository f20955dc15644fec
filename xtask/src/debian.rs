//! Debian's packages: what a step needs and the machine lacks is installed, and nothing else.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step::{output, timed, which};

/// The browser that the tests drive, its remote control, and letters to draw.
pub(crate) const BROWSER: &[&str] =
    &["chromium", "chromium-driver", "fonts-dejavu-core", "fonts-noto-color-emoji"];

/// What the test servers of the network are made with: a certificate authority, repositories,
/// WISP servers of others.
pub(crate) const SERVERS: &[&str] = &["git", "openssl", "python3-venv", "tar"];

/// The debugger that the engine x86-64 is tried under.
pub(crate) const DEBUGGER: &[&str] = &["gdb"];

/// The Rust compiler with the WebAssembly target's sources, for where rustup cannot fetch it.
pub(crate) const WASM_TOOLCHAIN: &[&str] = &["rustc-web", "rust-web-src"];

/// Whether this machine installs its programs as Debian does.
pub(crate) fn here() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
            .trim_matches('"')
    };
    (field("ID=") == "debian" || field("ID_LIKE=").split(' ').any(|like| like == "debian"))
        && which("dpkg-query").is_some()
        && which("apt-get").is_some()
}

/// Installs the packages that are missing.
pub(crate) fn ensure(purpose: &str, packages: &[&str]) -> Result<()> {
    if !here() {
        bail!(
            "this system is not Debian, so its packages cannot be installed here. Needed for \
             {purpose}: {} (names as in Debian).",
            packages.join(" ")
        );
    }
    let missing = missing(packages)?;
    if missing.is_empty() {
        println!("  Debian packages for {purpose}: ready");
        return Ok(());
    }
    timed(&format!("Debian packages for {purpose}: {}", missing.join(" ")), || {
        apt_get(&["update"]).or_else(|error| {
            // One unreachable suite does not stop the others; a package that is really
            // missing fails below, with its name.
            println!("    apt-get update: {error:#}");
            anyhow::Ok(())
        })?;
        let mut install = vec!["install", "-y", "--no-install-recommends"];
        install.extend(&missing);
        apt_get(&install)
    })
}

/// Fetches the lists of packages on a machine that has none yet (a fresh container).
pub(crate) fn ensure_lists() -> Result<()> {
    let lists = fs::read_dir("/var/lib/apt/lists").into_iter().flatten().flatten();
    if lists.into_iter().any(|file| file.file_name().to_string_lossy().contains("_Packages")) {
        return Ok(());
    }
    timed("Debian's package lists", || apt_get(&["update"]))
}

fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    // dpkg-query fails when it does not know one of the names; its output counts anyway.
    let listed = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(packages)
        .output()
        .context("starting dpkg-query")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(not_installed(&listed, packages))
}

fn not_installed<'a>(listed: &str, packages: &[&'a str]) -> Vec<&'a str> {
    let there = |package: &str| listed.lines().any(|line| line == format!("{package} installed"));
    packages.iter().copied().filter(|package| !there(package)).collect()
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get {}", arguments.join(" "));
    let root = output(Command::new("id").arg("-u"))? == "0";
    let mut command = if root {
        Command::new("apt-get")
    } else if which("sudo").is_some() {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    } else {
        bail!("this needs root and there is no sudo here. As root, run:\n    {by_hand}");
    };
    let log = crate::step::root().join("target/xtask/apt.log");
    fs::create_dir_all(log.parent().expect("below target"))?;
    let file = fs::File::create(&log)?;
    // The terminal stays connected: sudo may ask for a password.
    let status = command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(arguments)
        .stdin(Stdio::inherit())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .context("starting apt-get")?;
    if !status.success() {
        let said = fs::read_to_string(&log)?;
        let last: Vec<_> = said.lines().rev().take(12).collect();
        let last: Vec<_> = last.into_iter().rev().collect();
        bail!(
            "`{by_hand}` failed; run it by hand to see why. Its last words:\n{}",
            last.join("\n")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::not_installed;

    #[test]
    fn only_installed_packages_count() {
        let listed = "bc installed\nflex config-files\nbison not-installed\n";
        assert_eq!(
            not_installed(listed, &["bc", "flex", "bison", "cpio"]),
            ["flex", "bison", "cpio"]
        );
        assert!(not_installed(listed, &["bc"]).is_empty());
    }
}
