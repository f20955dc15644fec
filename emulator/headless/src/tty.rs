//! The host's terminal: raw while a machine has it, and as it was afterwards, whatever happens.

use std::io::{self, IsTerminal};
use std::panic;

use anyhow::{Context, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal in raw mode, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes standard input raw; `None` if it is no terminal.
    pub(crate) fn enter() -> Result<Option<Self>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin()).context("asking the terminal for its mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).context("making the terminal raw")?;
        // What a panic says is to be read on a terminal that breaks lines.
        let (last, restored) = (panic::take_hook(), before.clone());
        panic::set_hook(Box::new(move |panic| {
            restore(&restored);
            last(panic);
        }));
        Ok(Some(Raw { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore(&self.before);
    }
}

fn restore(mode: &Termios) {
    // If it fails the terminal is gone.
    let _ = tcsetattr(io::stdin(), OptionalActions::Flush, mode);
}

/// Columns and rows of the window; `None` if standard output is no terminal.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}
