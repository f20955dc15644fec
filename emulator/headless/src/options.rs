//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
emulator-headless: a virtual machine for 64-bit Linux

  emulator-headless run --kernel FILE [options]
  emulator-headless trace --kernel FILE [options]

The machine:
    --kernel FILE           a bzImage, or an ELF vmlinux
    --initrd FILE           initial RAM disk
    --cmdline TEXT          kernel command line; that of the board's devices is added
    --disk FILE             raw disk image, /dev/vda; what is written is lost at the end
    --memory MIB            256 if nothing is said; 64 to 2048

run: its console (virtio or serial, where the guest listens) is standard input and output.
On a terminal, Ctrl-A X ends the machine and Ctrl-A Ctrl-A is Ctrl-A.
    --exit-on TEXT          ends with success when the console says this;
                            any other end is a failure then
    --max-instructions N    ends after so many
    --deterministic         time is the number of instructions, entropy is fixed:
                            two runs without input are the same
    --gdb ADDRESS:PORT      waits for gdb before the first instruction; a loopback address,
                            as in 127.0.0.1:1234 (gdb: target remote 127.0.0.1:1234)
    --quiet                 no figures at the end

trace: deterministic, without input; one line for each instruction, to be compared with
another run's: number, privilege level, address, instruction, and the registers that it has
changed. Lines that begin with # say what happened between two instructions.
    --skip N                begins after so many instructions
    --count N               ends after so many more; 1000 if nothing is said
    --hash-every N          instead of instructions, a hash of the whole machine after
                            each N of them; --count is then without a limit if nothing is said
";

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Run(Box<Run>),
    Trace(Box<Trace>),
}

/// The machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: Option<PathBuf>,
    pub(crate) cmdline: String,
    pub(crate) disk: Option<PathBuf>,
    pub(crate) memory: u32,
    pub(crate) deterministic: bool,
}

/// `run`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) setup: Setup,
    pub(crate) exit_on: Option<String>,
    pub(crate) max_instructions: Option<u64>,
    pub(crate) gdb: Option<SocketAddr>,
    pub(crate) quiet: bool,
}

/// `trace`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) setup: Setup,
    pub(crate) skip: u64,
    pub(crate) count: Option<u64>,
    pub(crate) hash_every: Option<NonZeroU64>,
}

/// Reads the arguments.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let tracing = match parser.next()? {
        None | Some(Long("help") | Short('h')) => return Ok(Command::Help),
        Some(Value(word)) if word == "run" => false,
        Some(Value(word)) if word == "trace" => true,
        Some(other) => return Err(other.unexpected().into()),
    };
    let mut setup = Setup { memory: 256, deterministic: tracing, ..Setup::default() };
    let (mut run, mut trace) = (Run::default(), Trace::default());
    let mut kernel = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("kernel") => kernel = Some(parser.value()?.into()),
            Long("initrd") => setup.initrd = Some(parser.value()?.into()),
            Long("cmdline") => setup.cmdline = parser.value()?.string()?,
            Long("disk") => setup.disk = Some(parser.value()?.into()),
            Long("memory") => setup.memory = parser.value()?.parse()?,
            Long("exit-on") if !tracing => run.exit_on = Some(parser.value()?.string()?),
            Long("max-instructions") if !tracing => {
                run.max_instructions = Some(parser.value()?.parse()?);
            }
            Long("deterministic") if !tracing => setup.deterministic = true,
            Long("gdb") if !tracing => run.gdb = Some(loopback(&parser.value()?.string()?)?),
            Long("quiet") if !tracing => run.quiet = true,
            Long("skip") if tracing => trace.skip = parser.value()?.parse()?,
            Long("count") if tracing => trace.count = Some(parser.value()?.parse()?),
            Long("hash-every") if tracing => trace.hash_every = Some(parser.value()?.parse()?),
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    let range = emulator_machine::MEMORY_MIB;
    if !range.contains(&setup.memory) {
        bail!("--memory {}: between {} and {} MiB", setup.memory, range.start(), range.end());
    }
    setup.kernel = kernel.context("--kernel FILE is missing")?;
    Ok(if tracing {
        Command::Trace(Box::new(Trace { setup, ..trace }))
    } else {
        Command::Run(Box::new(Run { setup, ..run }))
    })
}

/// Whoever reaches the debugger's port commands this program, so it is for this host only.
fn loopback(text: &str) -> Result<SocketAddr> {
    let address: SocketAddr = text
        .parse()
        .with_context(|| format!("--gdb {text}: an address and a port, as in 127.0.0.1:1234"))?;
    if !address.ip().is_loopback() {
        bail!("--gdb {text}: only a loopback address, as in 127.0.0.1:{}", address.port());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<Command> {
        parse(words.split(' ').map(OsString::from))
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        let words = "run --kernel K --memory 64 --deterministic --gdb [::1]:0";
        let Ok(Command::Run(run)) = read(words) else { panic!("understood") };
        assert_eq!((run.setup.memory, run.setup.deterministic), (64, true));
        assert_eq!(run.setup.kernel, PathBuf::from("K"));
        assert_eq!(run.gdb.map(|address| address.port()), Some(0));
        let words = "trace --kernel K --skip 5 --count 6 --hash-every 7";
        let Ok(Command::Trace(trace)) = read(words) else { panic!("understood") };
        assert_eq!((trace.skip, trace.count), (5, Some(6)));
        assert_eq!(trace.hash_every.map(NonZeroU64::get), Some(7));
        assert!(trace.setup.deterministic);
        assert!(matches!(read("run --help"), Ok(Command::Help)));
    }

    #[test]
    fn what_is_impossible_is_refused() {
        for words in [
            "run",
            "walk",
            "run --kernel K --memory 3",
            "run --kernel K --memory x",
            "run --kernel K --skip 3",
            "run --kernel K --gdb 1234",
            "run --kernel K --gdb 0.0.0.0:1234",
            "trace --kernel K --gdb 127.0.0.1:1",
            "trace --kernel K --hash-every 0",
        ] {
            assert!(read(words).is_err(), "{words}");
        }
    }
}
