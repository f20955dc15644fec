//! The engine `x86-64` without a browser.
#![forbid(unsafe_code)]

mod console;
mod directory;
mod disk;
mod figures;
mod freeze;
mod gdb;
mod options;
mod run;
mod session;
mod trace;
mod tty;

use std::process::ExitCode;

use anyhow::Result;

use crate::options::{Command, HELP};

fn main() -> ExitCode {
    match act() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "freeze") {
        freeze::freeze(&arguments[1..])?;
        return Ok(ExitCode::SUCCESS);
    }
    match options::parse(arguments)? {
        Command::Help => print!("{HELP}"),
        Command::Run(options) => return run::run(&options),
        Command::Trace(options) => return trace::trace(&options),
    }
    Ok(ExitCode::SUCCESS)
}
