//! The project's one command.
#![forbid(unsafe_code)]

mod debian;
mod dist;
mod image;
mod kernels;
mod notices;
mod page;
mod peers;
mod serve;
mod stage;
mod step;
mod test;
mod tools;
mod wasm;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::image::Arch;
use crate::step::seconds;
use crate::tools::Tools;

const USAGE: &str = "\
cargo xtask <command>

  serve [--port N] [--no-open] [--built] [--no-image]
                      set up, build, and serve the page on this machine;
                      --built serves dist/ as it is, --port 0 takes any free port
  test [--quick]      set up and run all checks; --quick: those without a browser
  image [--arch i386|amd64|all] [--force]
                      build the guest images only; --force: from nothing
  kernels             fetch the kernels of Debian's that the engine x86-64 is tested with
  peers               fetch the processors of others that it is compared with
  dist [--public-url /path/] [--no-image]
                      build dist/ for any static host, and show its sizes
  bench               measure boots, floods and guest workloads in Chromium
  setup [--no-image]  only set up; afterwards `trunk serve` works as well

--no-image takes the guest image as it is, or does without: then the page has only
its simulated shell.

Set-up installs what is missing: Debian packages, the WebAssembly target, Trunk,
wasm-bindgen, npm's parts, the guest image. Programs and kernels are kept in
$VIVARIUM_CACHE (by default ~/.cache/vivarium) for all checkouts.
VIVARIUM_WASM=rustup|debian forces one of the two ways to the WebAssembly target.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            // Not its Debug form: a backtrace helps nobody who lacks a package.
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let mut rest = Arguments(arguments.to_vec());
    let command = if rest.0.is_empty() { String::new() } else { rest.0.remove(0) };
    let start = Instant::now();
    match command.as_str() {
        "serve" => {
            let port = rest.value("--port")?.map(|port| port.parse::<u16>()).transpose();
            let port = port.context("--port takes a number from 0 to 65535")?;
            let (open, built) = (!rest.flag("--no-open"), rest.flag("--built"));
            let image = !rest.flag("--no-image");
            rest.done()?;
            if !built {
                page::build(&setup(image)?, "/")?;
                println!("ready after {}\n", seconds(start.elapsed()));
            }
            serve::serve(port, open)?;
        }
        "test" => {
            let quick = rest.flag("--quick");
            rest.done()?;
            let passed = test::all(quick, || test::setup(quick, guest_image))?;
            return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        "image" => {
            let arch = Arch::named(&rest.value("--arch")?.unwrap_or_else(|| "all".into()))?;
            let force = rest.flag("--force");
            rest.done()?;
            packages_for_image()?;
            // The saved state that the image comes with is made by the engine itself.
            if arch.contains(&Arch::I386) {
                tools::npm_parts()?;
            }
            if force { image::rebuild(&arch)? } else { image::build(&arch)? }
        }
        "peers" => {
            rest.done()?;
            if let Some(interpreter) = peers::ensure() {
                println!("export {}={}", peers::VARIABLE, interpreter.display());
            }
        }
        "kernels" => {
            rest.done()?;
            kernels::ensure()?;
            if let Some(place) = kernels::here()? {
                println!("export {}={}", kernels::VARIABLE, place.display());
            }
        }
        "dist" => {
            let public_url = rest.value("--public-url")?.unwrap_or_else(|| "/".into());
            let image = !rest.flag("--no-image");
            rest.done()?;
            if !(public_url.starts_with('/') && public_url.ends_with('/')) {
                bail!("--public-url {public_url}: it begins and ends with a slash, like /machine/");
            }
            page::build(&setup(image)?, &public_url)?;
            dist::sizes()?;
        }
        "bench" => {
            rest.done()?;
            page::build(&setup(true)?, "/")?;
            test::bench()?;
        }
        "setup" => {
            let image = !rest.flag("--no-image");
            rest.done()?;
            setup(image)?;
            println!("set up in {}", seconds(start.elapsed()));
        }
        // Trunk calls this one.
        "stage" => stage::hook()?,
        "" | "help" | "--help" | "-h" => print!("{USAGE}"),
        other => bail!("there is no command {other}\n\n{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that a build of the page needs, with the image for its real machine.
fn setup(image: bool) -> Result<Tools> {
    let tools = Tools::ensure()?;
    if image {
        guest_image()?;
    }
    Ok(tools)
}

/// The images of both architectures: each real machine boots its own.
fn guest_image() -> Result<()> {
    let (there, missing): (Vec<_>, Vec<_>) =
        Arch::ALL.into_iter().partition(|arch| arch.is_built());
    if !debian::here() && !there.is_empty() {
        println!("  guest image: taken as it is (only Debian can rebuild it)");
        for arch in missing {
            println!(
                "  WARNING: image/out has no {} image, so the page has no {} machine. With Docker, \
                 `docker build --output image/out .` makes all images.",
                arch.name(),
                arch.bits(),
            );
        }
        return Ok(());
    }
    packages_for_image()?;
    image::build(&Arch::ALL)
}

fn packages_for_image() -> Result<()> {
    if !debian::here() {
        bail!(
            "guest images are made of Debian's packages by Debian's tools, and this system is \
             not Debian. With Docker:\n    docker build --output image/out .\nmakes image/out/; \
             the rest of this command works here afterwards."
        );
    }
    debian::ensure("the guest image", image::PACKAGES)?;
    debian::ensure_lists()
}

/// The words after the command.
struct Arguments(Vec<String>);

impl Arguments {
    fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| word != name);
        self.0.len() != before
    }

    fn value(&mut self, name: &str) -> Result<Option<String>> {
        let joined = format!("{name}=");
        if let Some(at) = self.0.iter().position(|word| word.starts_with(&joined)) {
            return Ok(Some(self.0.remove(at)[joined.len()..].to_owned()));
        }
        let Some(at) = self.0.iter().position(|word| word == name) else { return Ok(None) };
        if at + 1 == self.0.len() {
            bail!("{name} needs a value");
        }
        self.0.remove(at);
        Ok(Some(self.0.remove(at)))
    }

    fn done(&self) -> Result<()> {
        match self.0.first() {
            Some(word) => bail!("{word} means nothing here\n\n{USAGE}"),
            None => Ok(()),
        }
    }
}
