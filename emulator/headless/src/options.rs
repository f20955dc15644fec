//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
emulator-headless: a virtual machine for 64-bit Linux

  emulator-headless run --kernel FILE [options]
    --kernel FILE           a bzImage, or an ELF vmlinux
    --initrd FILE           initial RAM disk
    --cmdline TEXT          kernel command line; that of the board's devices is added
    --disk FILE             raw disk image, /dev/vda; what is written is lost at the end
    --memory MIB            256 if nothing is said; 64 to 2048
    --exit-on TEXT          ends with success when the console says this;
                            any other end is a failure then
    --max-instructions N    ends after so many
    --deterministic         time is the number of instructions, entropy is fixed:
                            two runs are the same
    --quiet                 no figures at the end

The console (virtio, and the serial port before it is there) is standard input and output;
Ctrl-A X ends the machine.
";

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Run(Box<Options>),
}

/// What to run, and how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: Option<PathBuf>,
    pub(crate) cmdline: String,
    pub(crate) disk: Option<PathBuf>,
    pub(crate) memory: u32,
    pub(crate) exit_on: Option<String>,
    pub(crate) max_instructions: Option<u64>,
    pub(crate) deterministic: bool,
    pub(crate) quiet: bool,
}

/// Reads the arguments.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let mut parser = lexopt::Parser::from_args(arguments);
    match parser.next()? {
        None | Some(Long("help") | Short('h')) => return Ok(Command::Help),
        Some(Value(word)) if word == "run" => {}
        Some(other) => return Err(other.unexpected().into()),
    }
    let mut options = Options { memory: 256, ..Options::default() };
    let mut kernel = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("kernel") => kernel = Some(parser.value()?.into()),
            Long("initrd") => options.initrd = Some(parser.value()?.into()),
            Long("cmdline") => options.cmdline = parser.value()?.string()?,
            Long("disk") => options.disk = Some(parser.value()?.into()),
            Long("memory") => options.memory = parser.value()?.parse()?,
            Long("exit-on") => options.exit_on = Some(parser.value()?.string()?),
            Long("max-instructions") => options.max_instructions = Some(parser.value()?.parse()?),
            Long("deterministic") => options.deterministic = true,
            Long("quiet") => options.quiet = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    let range = emulator_machine::MEMORY_MIB;
    if !range.contains(&options.memory) {
        bail!("--memory {}: between {} and {} MiB", options.memory, range.start(), range.end());
    }
    options.kernel = kernel.context("--kernel FILE is missing")?;
    Ok(Command::Run(Box::new(options)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &str) -> Result<Command> {
        parse(words.split(' ').map(OsString::from))
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        let Ok(Command::Run(options)) = run("run --kernel K --memory 64 --deterministic") else {
            panic!("understood");
        };
        assert_eq!((options.memory, options.deterministic), (64, true));
        assert_eq!(options.kernel, PathBuf::from("K"));
    }

    #[test]
    fn what_is_impossible_is_refused() {
        for words in ["run", "walk", "run --kernel K --memory 3", "run --kernel K --memory x"] {
            assert!(run(words).is_err(), "{words}");
        }
    }
}
