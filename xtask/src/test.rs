//! `cargo xtask test`: every check of the project, in the order of what they cost.
//!
//! A failed check does not keep the others from running; one that needs another's result
//! is left out, and says so. The last line sums up all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::dist;
use crate::kernels;
use crate::page;
use crate::peers;
use crate::step::{follow, output, root, seconds, which};
use crate::tools::{self, Tools};
use crate::wasm::{TARGET, Toolchain};

/// Crates that run in a browser: checked for that target too.
const WEB: &[&str] = &[
    "vivarium",
    "emulator-worker",
    "emulator-v86",
    "emulator-fetch",
    "emulator-guest",
    "emulator-shell",
    "emulator-wire",
    "emulator-disk",
    "emulator-engine",
    "emulator-protocol",
    "emulator-snapshot",
    "emulator-store",
    "emulator-cpu",
];

/// Lines of a failed check that are shown.
const SHOWN: usize = 2_000;

/// What came of a check: one for a plain check, one for each test of a test program.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Count {
    passed: usize,
    failed: usize,
    /// Tests that could not be made here, and said so.
    left_out: usize,
}

impl Count {
    const PASSED: Self = Self { passed: 1, failed: 0, left_out: 0 };
    const FAILED: Self = Self { passed: 0, failed: 1, left_out: 0 };

    /// The last part of a summary.
    fn left_out(self) -> String {
        if self.left_out == 0 { String::new() } else { format!(", {} left out", self.left_out) }
    }
}

/// The checks so far.
struct Report {
    total: Count,
    failures: Vec<&'static str>,
}

impl Report {
    /// Runs one check, and says whether it passed.
    fn check(&mut self, name: &'static str, check: impl FnOnce() -> Result<Count>) -> bool {
        println!("▸ {name} …");
        let start = Instant::now();
        let count = check().unwrap_or_else(|error| {
            println!("{error:#}");
            Count::FAILED
        });
        self.total.passed += count.passed;
        self.total.failed += count.failed;
        self.total.left_out += count.left_out;
        let time = seconds(start.elapsed());
        if count.failed == 0 {
            println!("  {name}: passed ({}{}, {time})", count.passed, count.left_out());
        } else {
            println!(
                "  {name}: FAILED ({} of {}, {time})",
                count.failed,
                count.passed + count.failed
            );
            self.failures.push(name);
        }
        count.failed == 0
    }
}

/// Runs all checks, or with `quick` those that need neither browser nor guest image.
/// Returns whether all passed.
pub(crate) fn all(quick: bool, setup: impl FnOnce() -> Result<Tools>) -> Result<bool> {
    let start = Instant::now();
    let mut report = Report { total: Count::default(), failures: Vec::new() };
    let mut tools = None;
    report.check("set-up", || {
        tools = Some(setup()?);
        Ok(Count::PASSED)
    });
    sources(&mut report, tools.as_ref());
    match &tools {
        Some(tools) if !quick => whole(&mut report, tools),
        Some(_) => println!("  --quick: no page, no browser, no licences"),
        None => println!("  the page and the browser tests are left out: set-up failed"),
    }
    if !report.failures.is_empty() {
        println!("\nfailed: {}", report.failures.join(", "));
    }
    println!("\nall checks took {}", seconds(start.elapsed()));
    let total = report.total;
    println!("{} passed, {} failed{}", total.passed, total.failed, total.left_out());
    Ok(report.total.failed == 0)
}

/// What can be said from the sources alone.
fn sources(report: &mut Report, tools: Option<&Tools>) {
    report.check("formatting", || one(cargo().args(["fmt", "--all", "--check"])));
    report.check("shell scripts", shell_scripts);
    report.check("clippy, native", || {
        one(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    if let Some(tools) = tools {
        report.check("clippy, browser", || clippy_web(tools));
    }
    report.check("unit and layer tests", || {
        let kernels = kernels::here()?.map(|place| (kernels::VARIABLE, place));
        let mut cargo = cargo();
        let peers = peers::ensure().map(|interpreter| (peers::VARIABLE, interpreter));
        cargo.args(["test", "--workspace", "--no-fail-fast"]).envs(kernels).envs(peers);
        test_program(&mut cargo, rust_count)
    });
    if let Some(tools) = tools {
        browser_units(report, tools);
    }
    if root().join("e2e/tsconfig.json").exists() {
        report.check("types of the browser tests", || {
            let mut tsc = Command::new("node");
            one(tsc
                .args(["node_modules/typescript/bin/tsc", "--noEmit", "-p", "e2e"])
                .current_dir(root()))
        });
    }
}

/// What needs licences' texts, the built page, or a browser.
fn whole(report: &mut Report, tools: &Tools) {
    report.check("licences and sources of all crates", licences);
    let built = report.check("page", || {
        page::build(tools, "/")?;
        Ok(Count::PASSED)
    });
    if !built {
        println!("  sizes and browser tests are left out: there is no page to test");
        return;
    }
    report.check("sizes", || {
        dist::sizes()?;
        Ok(Count::PASSED)
    });
    if ["ts", "mts", "js", "mjs"]
        .iter()
        .any(|kind| root().join(format!("e2e/playwright.config.{kind}")).exists())
    {
        report.check("in the browser", || {
            let relay = build("relay", &[])?;
            let mut playwright = Command::new("node");
            playwright
                .args(["node_modules/@playwright/test/cli.js", "test", "-c", "e2e"])
                .env("VIVARIUM_XTASK", tools::own_program()?)
                .env("VIVARIUM_RELAY", relay)
                .current_dir(root());
            test_program(&mut playwright, playwright_count)
        });
    } else {
        println!("  in the browser: left out, e2e/ has no tests yet");
    }
}

fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root());
    cargo
}

/// A program whose exit says everything.
fn one(command: &mut Command) -> Result<Count> {
    let (status, lines) = follow(command, false, SHOWN)?;
    if status.success() {
        return Ok(Count::PASSED);
    }
    bail!("{}", lines.join("\n"))
}

/// A program that runs many tests; `count` reads its summary.
fn test_program(command: &mut Command, count: fn(&[String]) -> Count) -> Result<Count> {
    let (status, lines) = follow(command, false, SHOWN)?;
    let mut found = count(&lines);
    if !status.success() {
        println!("{}", lines.join("\n"));
        // It may have ended before it could count.
        found.failed = found.failed.max(1);
    }
    if found == Count::default() {
        bail!("{}\nno test ran", lines.join("\n"));
    }
    Ok(found)
}

/// Sums up the lines `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
fn rust_count(lines: &[String]) -> Count {
    let mut total = Count::default();
    for line in lines {
        let Some((_, result)) = line.split_once("test result: ") else { continue };
        let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            match (pair[0].parse::<usize>(), pair[1]) {
                (Ok(count), "passed") => total.passed += count,
                (Ok(count), "failed") => total.failed += count,
                (Ok(count), "ignored") => total.left_out += count,
                _ => {}
            }
        }
    }
    total
}

/// Reads the last lines `  12 passed (3.4s)`, `  1 failed`, `  2 did not run`. A flaky test
/// is a failed one: it failed once.
fn playwright_count(lines: &[String]) -> Count {
    let mut total = Count::default();
    for line in lines {
        let mut words = line.trim().splitn(2, ' ');
        let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<usize>), words.next())
        else {
            continue;
        };
        match what.split(" (").next().unwrap_or_default() {
            "passed" => total.passed += count,
            "failed" | "flaky" | "interrupted" | "did not run" => total.failed += count,
            _ => {}
        }
    }
    total
}

fn shell_scripts() -> Result<Count> {
    let listed = output(Command::new("git").args(["ls-files"]).current_dir(root()))?;
    let mut total = Count::default();
    for name in listed.lines() {
        let path = root().join(name);
        let text = fs::read(&path).unwrap_or_default();
        let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let first = String::from_utf8_lossy(first);
        if !first.starts_with("#!") || !(first.ends_with("sh") || first.contains("sh ")) {
            continue;
        }
        let shell = if first.contains("bash") { "bash" } else { "sh" };
        match one(Command::new(shell).arg("-n").arg(&path)) {
            Ok(_) => total.passed += 1,
            Err(error) => {
                println!("{name}: {error:#}");
                total.failed += 1;
            }
        }
    }
    Ok(total)
}

fn clippy_web(tools: &Tools) -> Result<Count> {
    let mut command = cargo();
    // Debian's compiler has no clippy of its own version: there the code is only compiled.
    let clippy = tools.toolchain.has_clippy();
    command.args([if clippy { "clippy" } else { "check" }, "--target", TARGET]);
    for package in WEB {
        command.args(["--package", package]);
    }
    command.envs(tools.environment()?);
    if clippy {
        command.args(["--", "-D", "warnings"]);
    } else {
        println!("    Debian's compiler has no clippy: compiled only");
        command.env("RUSTFLAGS", "-D warnings");
    }
    one(&mut command)
}

/// Crates with `tests/web.rs` run those as WebAssembly: in Node.js, or in a headless browser
/// if they ask for one.
fn browser_units(report: &mut Report, tools: &Tools) {
    let crates = WEB.iter().filter_map(|package| {
        let folder =
            package.strip_prefix("emulator-").map(|name| root().join("emulator").join(name));
        let folder = folder.unwrap_or_else(root);
        folder.join("tests/web.rs").exists().then_some((*package, folder))
    });
    let crates: Vec<_> = crates.collect();
    if !crates.is_empty() {
        report.check("unit tests as WebAssembly", || {
            let mut total = Count::default();
            for (package, folder) in &crates {
                let count = browser_unit(tools, package, folder)?;
                total.passed += count.passed;
                total.failed += count.failed;
            }
            Ok(total)
        });
    }
}

fn browser_unit(tools: &Tools, package: &str, folder: &Path) -> Result<Count> {
    let mut driver = None;
    if fs::read_to_string(folder.join("tests/web.rs"))?.contains("run_in_") {
        // In a browser or its worker; otherwise the runner takes Node.js.
        if !folder.join("webdriver.json").exists() {
            bail!(
                "{package} has no webdriver.json beside its Cargo.toml, with the browser's flags"
            );
        }
        let found = which("chromedriver");
        driver = Some(found.context("there is no chromedriver: Debian's chromium-driver")?);
    }
    let mut command = cargo();
    command
        .args(["test", "--target", TARGET, "--package", package, "--test", "web"])
        .envs(tools.environment()?)
        .env(
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER",
            tools.wasm_bindgen.with_file_name("wasm-bindgen-test-runner"),
        )
        .envs(driver.map(|driver| ("CHROMEDRIVER", driver)));
    test_program(&mut command, rust_count)
}

fn licences() -> Result<Count> {
    let deny = tools::cargo_deny()?;
    println!("    advisories: left out, their database is on the network");
    let mut command = Command::new(deny);
    command.args(["--color", "never", "check", "licenses", "bans", "sources"]).current_dir(root());
    one(&mut command)
}

/// Makes the machine ready for the tests that are asked for.
pub(crate) fn setup(quick: bool, image: impl FnOnce() -> Result<()>) -> Result<Tools> {
    if quick {
        let toolchain = Toolchain::ensure()?;
        tools::npm_parts()?;
        return Ok(Tools { toolchain, trunk: PathBuf::new(), wasm_bindgen: PathBuf::new() });
    }
    if debian::here() || which("chromium").is_none() {
        let packages = [debian::BROWSER, debian::SERVERS, debian::DEBUGGER].concat();
        debian::ensure("the tests", &packages)?;
    }
    let tools = Tools::ensure()?;
    image()?;
    kernels::ensure()?;
    Ok(tools)
}

/// Builds a program of the workspace; returns it.
fn build(package: &str, how: &[&str]) -> Result<PathBuf> {
    one(cargo().args(["build", "--package", package]).args(how))?;
    let profile = if how.is_empty() { "debug" } else { "release" };
    // Ours is in `target/debug`, too.
    let program = tools::own_program()?;
    let target = program.ancestors().nth(2).context("this program's folder")?;
    Ok(target.join(profile).join(package))
}

/// `cargo xtask bench`: not a test, but in the tests' browser, on the page as built.
pub(crate) fn bench() -> Result<()> {
    debian::ensure("the bench", &[debian::BROWSER, debian::SERVERS].concat())?;
    let relay = build("relay", &["--release"])?;
    let headless = build("emulator-headless", &["--release"])?;
    let mut playwright = Command::new("node");
    playwright
        .args(["node_modules/@playwright/test/cli.js", "test", "-c", "e2e/bench"])
        .env("VIVARIUM_XTASK", tools::own_program()?)
        .env("VIVARIUM_RELAY", relay)
        .env("VIVARIUM_HEADLESS", headless)
        .current_dir(root());
    if !playwright.status()?.success() {
        bail!("the bench could not be finished; the lines above say why");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn counts_of_rust_tests_are_summed() {
        let said = lines(
            "running 5 tests\ntest result: ok. 5 passed; 0 failed; 1 ignored; 0 measured\n\
             test result: FAILED. 2 passed; 3 failed; 0 ignored\n",
        );
        assert_eq!(rust_count(&said), Count { passed: 7, failed: 3, left_out: 1 });
    }

    #[test]
    fn counts_of_playwright_are_read_and_flaky_is_failed() {
        let said = lines(
            "Running 4 tests using 1 worker\n  1 failed\n    [x] › a.spec.ts\n  1 flaky\n  2 did not run\n  12 passed (3.4s)\n",
        );
        assert_eq!(playwright_count(&said), Count { passed: 12, failed: 4, left_out: 0 });
    }

    #[test]
    fn a_program_without_tests_is_not_a_pass() {
        assert!(test_program(Command::new("echo").arg("nothing"), rust_count).is_err());
        let failed = test_program(&mut Command::new("false"), rust_count).unwrap();
        assert_eq!(failed, Count { passed: 0, failed: 1, left_out: 0 });
    }
}
