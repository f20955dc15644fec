//! The machine as a whole, driven as `emulator-headless` drives it: small guest programs with
//! what they must say, two runs that must be one, the program itself on pipes and terminals,
//! under gdb, and with kernels that others have built.
#![forbid(unsafe_code)]

#[path = "headless/command.rs"]
mod command;
#[path = "headless/debian.rs"]
mod debian;
#[path = "headless/gdb.rs"]
mod gdb;
#[path = "headless/kernel.rs"]
mod kernel;
#[path = "headless/process.rs"]
mod process;
#[path = "headless/programs.rs"]
mod programs;
#[path = "headless/proof.rs"]
mod proof;
