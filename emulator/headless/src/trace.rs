//! `trace`: what a deterministic machine does, in lines that can be compared with another
//! run's: of this program, of another build of it, of another way to execute.

mod changes;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use emulator_cpu::state::{Mode, segment};
use emulator_cpu::{State, Turn};
use emulator_machine::Machine;
use iced_x86::{Decoder, DecoderOptions, FastFormatter};

use crate::options::Trace;
use crate::session::{Console, End, Session, Stop};

/// Instructions that are printed if nothing is said.
const COUNT: u64 = 1000;
/// The longest instruction.
const LONGEST: usize = 15;
/// Columns for an instruction.
const WIDTH: usize = 40;

/// Prints the trace that is asked for. Whoever reads it may have read enough before its end.
pub(crate) fn trace(options: &Trace) -> Result<ExitCode> {
    let done = print(options);
    let error = done.as_ref().err().and_then(|error| error.root_cause().downcast_ref());
    match error.map(io::Error::kind) {
        Some(io::ErrorKind::BrokenPipe) => Ok(ExitCode::SUCCESS),
        _ => done.map(|()| ExitCode::SUCCESS),
    }
}

fn print(options: &Trace) -> Result<()> {
    let mut session = Session::new(&options.setup)?;
    let mut paper = Paper { out: BufWriter::new(io::stdout().lock()), silent: true };
    let mut over = None;
    while over.is_none() && session.machine.instructions() < options.skip {
        over = ended(session.advance(options.skip, &mut paper)?);
    }
    paper.silent = false;
    let fallback = if options.hash_every.is_some() { u64::MAX } else { COUNT };
    let last = options.skip.saturating_add(options.count.unwrap_or(fallback));
    if over.is_none() {
        over = match options.hash_every {
            Some(step) => hashes(&mut session, &mut paper, step.get(), last)?,
            None => instructions(&mut session, &mut paper, last)?,
        };
    }
    if let Some(end) = over {
        paper.note(&format!("the machine has ended: {end:?}"))?;
    }
    paper.out.flush().context("writing the trace")
}

fn ended(stop: Stop) -> Option<End> {
    match stop {
        Stop::Over(end) => Some(end),
        // Nobody types here.
        Stop::Idle(_) => Some(End::Stuck),
        Stop::Executed | Stop::Breakpoint => None,
    }
}

/// A line with the number of instructions, RIP and the hash, at each multiple of `step`.
fn hashes(
    session: &mut Session,
    paper: &mut Paper<impl Write>,
    step: u64,
    last: u64,
) -> Result<Option<End>> {
    let mut over = None;
    while over.is_none() && session.machine.instructions() < last {
        let done = session.machine.instructions();
        let next = (done / step + 1).saturating_mul(step).min(last);
        while over.is_none() && session.machine.instructions() < next {
            over = ended(session.advance(next, paper)?);
        }
        let rip = session.machine.processor().rip;
        let hash = session.hash();
        writeln!(paper.out, "{:>12} {rip:016x} {hash}", session.machine.instructions())?;
    }
    Ok(over)
}

/// A line for each instruction.
fn instructions(
    session: &mut Session,
    paper: &mut Paper<impl Write>,
    last: u64,
) -> Result<Option<End>> {
    let mut text = String::new();
    while session.machine.instructions() < last {
        let before = session.machine.processor().clone();
        let now = session.machine.now();
        text.clear();
        disassemble(&session.machine, &before, &mut text);
        match session.turn(false, paper)? {
            Ok(Turn::Interrupt(vector)) => {
                let vector = vector.map_or("none".into(), |vector| format!("{vector:#x}"));
                paper.note(&format!("interrupt {vector} at {:016x}", before.rip))?;
            }
            Ok(turn) => {
                let after = session.machine.processor();
                let mut news = String::new();
                if let Turn::Exception(exception) = turn {
                    let code = exception.code.map(|code| format!(" code {code:#x}"));
                    let code = code.unwrap_or_default();
                    news = format!(" exception {:#x}{code}", exception.vector);
                }
                changes::write(&mut news, &before, after)?;
                let (number, level, rip) = (after.retired, before.cpl, before.rip);
                let line = format!("{number:>12} {level} {rip:016x} {text:<WIDTH$}{news}");
                writeln!(paper.out, "{}", line.trim_end())?;
            }
            Err(stop) => {
                if let Some(end) = ended(stop) {
                    return Ok(Some(end));
                }
                paper.note(&format!("idle from {now} to {}", session.machine.now()))?;
            }
        }
    }
    Ok(None)
}

/// The instruction at RIP.
fn disassemble(machine: &Machine, state: &State, text: &mut String) {
    let mode = state.mode();
    let (bits, base) = match mode {
        Mode::Bits64 => (64, 0),
        Mode::Bits32 => (32, state.segments[segment::CS].base),
        Mode::Bits16 => (16, state.segments[segment::CS].base),
    };
    let mut bytes = [0; LONGEST];
    let length = machine.peek(state.rip.wrapping_add(base), &mut bytes);
    if length == 0 {
        text.push_str("(not mapped)");
        return;
    }
    let mut decoder = Decoder::with_ip(bits, &bytes[..length], state.rip, DecoderOptions::NONE);
    let mut formatter = FastFormatter::new();
    formatter.options_mut().set_use_hex_prefix(true);
    formatter.format(&decoder.decode(), text);
}

/// What a trace is printed on; it is the machine's console, too.
struct Paper<W> {
    out: W,
    silent: bool,
}

impl<W: Write> Paper<W> {
    /// Something that happened between two instructions.
    fn note(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "# {text}").context("writing the trace")
    }
}

impl<W: Write> Console for Paper<W> {
    fn input(&mut self) -> &[u8] {
        &[]
    }

    fn taken(&mut self, _: usize) {}

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        if self.silent {
            return Ok(());
        }
        self.note(&format!("console {:?}", String::from_utf8_lossy(bytes)))
    }

    fn size(&mut self) -> Option<(u16, u16)> {
        None
    }
}
