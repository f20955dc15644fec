//! The worker of the simulated shell.
#![forbid(unsafe_code)]

use emulator_engine::Engine;
use emulator_protocol::EngineKind;

fn main() {
    emulator_worker::host::serve(|kind| match kind {
        EngineKind::Sim => Some(Box::new(emulator_shell::Shell::new()) as Box<dyn Engine>),
        EngineKind::V86 => None,
    });
}
