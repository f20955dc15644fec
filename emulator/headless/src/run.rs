//! `run`: a machine on standard input and output.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::console::Terminal;
use crate::figures;
use crate::gdb;
use crate::options::Run;
use crate::session::{End, SLICE, Session, Stop};
use crate::tty::Raw;

/// How a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The text that was waited for has come.
    Found,
    /// The person, a signal, or the debugger asked for it.
    Quit,
    /// The instructions are used up.
    Limit,
    /// The machine has ended by itself.
    Machine(End),
}

impl Finish {
    fn code(self, text_wanted: bool) -> ExitCode {
        match self {
            Finish::Found => ExitCode::SUCCESS,
            _ if text_wanted => ExitCode::FAILURE,
            Finish::Quit | Finish::Limit | Finish::Machine(End::Off(None)) => ExitCode::SUCCESS,
            Finish::Machine(End::Off(Some(answer))) => ExitCode::from(answer),
            Finish::Machine(End::Reset | End::Shutdown | End::Stuck) => ExitCode::FAILURE,
        }
    }
}

/// Runs a machine to its end.
pub(crate) fn run(options: &Run) -> Result<ExitCode> {
    let mut session = Session::new(&options.setup)?;
    let mut terminal = Terminal::new(options.exit_on.as_deref(), !options.setup.deterministic)?;
    let start = Instant::now();
    let raw = Raw::enter()?;
    let finish = match options.gdb {
        Some(address) => gdb::serve(&mut session, &mut terminal, options, address),
        None => free(&mut session, &mut terminal, options),
    };
    drop(raw);
    let finish = finish?;
    if !options.quiet {
        figures::print(&session.machine, finish, start.elapsed());
    }
    Ok(finish.code(options.exit_on.is_some()))
}

/// Runs a machine that nobody watches.
fn free(session: &mut Session, terminal: &mut Terminal, options: &Run) -> Result<Finish> {
    session.synchronize();
    loop {
        let most = options.max_instructions.unwrap_or(u64::MAX);
        let until = most.min(session.machine.instructions() + SLICE);
        let stop = session.advance(until, terminal)?;
        if let Some(finish) = finished(session, terminal, options, stop) {
            return Ok(finish);
        }
        match stop {
            Stop::Idle(time) => terminal.wait(time),
            Stop::Executed | Stop::Breakpoint | Stop::Over(_) => terminal.look(),
        }
    }
}

/// Is this the end?
pub(crate) fn finished(
    session: &Session,
    terminal: &Terminal,
    options: &Run,
    stop: Stop,
) -> Option<Finish> {
    if terminal.found() {
        return Some(Finish::Found);
    }
    if terminal.quit {
        return Some(Finish::Quit);
    }
    if let Stop::Over(end) = stop {
        return Some(Finish::Machine(end));
    }
    // Only a key could wake it, and there will be none.
    if stop == Stop::Idle(None) && terminal.is_closed() {
        return Some(Finish::Machine(End::Stuck));
    }
    let most = options.max_instructions?;
    (session.machine.instructions() >= most).then_some(Finish::Limit)
}
