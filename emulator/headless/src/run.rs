//! `run`: a machine on standard input and output.

use std::fs::{self, File};
use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use emulator_machine::{Clock, Machine, Outcome, Parts, Plan};

use crate::console::Terminal;
use crate::options::Options;

/// Instructions between two looks at the console.
const SLICE: u64 = 2_000_000;
/// How long a guest that waits for nothing but us sleeps at a time.
const IDLE: Duration = Duration::from_millis(20);
/// Time of day of a deterministic machine: 2026-01-01, in nanoseconds since 1970.
const FIXED_EPOCH: u64 = 1_767_225_600_000_000_000;

/// How a run has ended.
enum End {
    Found,
    Quit,
    Limit,
    Off(Option<u8>),
    Reset,
    Shutdown,
    Stuck,
}

/// Runs a machine to its end.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut machine = machine(options)?;
    let mut terminal = Terminal::new(options.exit_on.clone());
    let start = Instant::now();
    let end = drive(&mut machine, options, &mut terminal, start)?;
    if !options.quiet {
        report(&machine, &end, start.elapsed());
    }
    Ok(match end {
        End::Found | End::Off(None | Some(0)) if options.exit_on.is_none() => ExitCode::SUCCESS,
        End::Found => ExitCode::SUCCESS,
        End::Off(Some(answer)) if options.exit_on.is_none() => ExitCode::from(answer),
        End::Quit | End::Limit if options.exit_on.is_none() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn read(path: &std::path::Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// A machine that stands at its kernel's first instruction.
pub(crate) fn machine(options: &Options) -> Result<Machine> {
    let disk = options.disk.as_deref().map(read).transpose()?;
    let parts = Parts { disk: disk.as_ref().map(|disk| disk.len() as u64), mtu: None };
    let (clock, epoch, seed) = if options.deterministic {
        (Clock::Instructions, FIXED_EPOCH, [0; 32])
    } else {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
        let mut seed = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        (Clock::Real, epoch, seed)
    };
    let mut machine = Machine::new(options.memory, &parts, clock, epoch, seed);
    let kernel = read(&options.kernel)?;
    let initrd = options.initrd.as_deref().map(read).transpose()?.unwrap_or_default();
    let plan = Plan { kernel: &kernel, initrd: &initrd, cmdline: &options.cmdline };
    machine.boot(&plan).with_context(|| format!("{}", options.kernel.display()))?;
    Ok(machine)
}

fn drive(
    machine: &mut Machine,
    options: &Options,
    terminal: &mut Terminal,
    start: Instant,
) -> Result<End> {
    loop {
        let host = start.elapsed().as_nanos() as u64;
        let left = options.max_instructions.map_or(u64::MAX, |most| most - machine.instructions());
        let outcome = machine.run(host, SLICE.min(left));
        exchange(machine, terminal)?;
        if terminal.found {
            return Ok(End::Found);
        }
        if terminal.quit {
            return Ok(End::Quit);
        }
        if options.max_instructions.is_some_and(|most| machine.instructions() >= most) {
            return Ok(End::Limit);
        }
        match outcome {
            Outcome::Budget => {}
            Outcome::Reset => return Ok(End::Reset),
            Outcome::Off(answer) => return Ok(End::Off(answer)),
            Outcome::Shutdown => return Ok(End::Shutdown),
            Outcome::Sleeps(tick) if options.deterministic => machine.skip_to(tick),
            Outcome::Sleeps(tick) => {
                let now = start.elapsed().as_nanos() as u64;
                let rest = machine.host_time(tick).saturating_sub(now);
                terminal.wait(Duration::from_nanos(rest).min(IDLE));
            }
            Outcome::Waits if options.deterministic => return Ok(End::Stuck),
            Outcome::Waits => terminal.wait(IDLE),
        }
    }
}

/// Console bytes, both ways: the virtio console once the guest has opened it, the serial
/// port before.
fn exchange(machine: &mut Machine, terminal: &mut Terminal) -> Result<()> {
    let board = machine.board();
    let log = board.take_log();
    let said = board.take_console();
    terminal.output(&log)?;
    terminal.output(&said)?;
    let taken = board.type_in(terminal.input());
    terminal.taken(taken);
    machine.service();
    Ok(())
}

fn report(machine: &Machine, end: &End, time: Duration) {
    let how = match end {
        End::Found => "the text came".to_owned(),
        End::Quit => "ended by Ctrl-A X".to_owned(),
        End::Limit => "the instructions are used up".to_owned(),
        End::Off(None) => "the guest has halted".to_owned(),
        End::Off(Some(answer)) => format!("the guest has ended with {answer}"),
        End::Reset => "the guest asked for a reset".to_owned(),
        End::Shutdown => format!("triple fault\n{}", machine.registers()),
        End::Stuck => "the guest waits for ever".to_owned(),
    };
    let count = machine.instructions();
    let mips = count as f64 / time.as_secs_f64() / 1e6;
    eprintln!(
        "\n[{how}; {:.2} s, {:.1} million instructions, {mips:.0} MIPS, guest time {:.2} s]",
        time.as_secs_f64(),
        count as f64 / 1e6,
        machine.now() as f64 / 1e9
    );
}
