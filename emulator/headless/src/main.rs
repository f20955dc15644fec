//! The engine `x86-64` without a browser.
#![forbid(unsafe_code)]

mod console;
mod options;
mod run;

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
    match options::parse(std::env::args_os().skip(1))? {
        Command::Help => print!("{HELP}"),
        Command::Run(options) => return run::run(&options),
    }
    Ok(ExitCode::SUCCESS)
}
