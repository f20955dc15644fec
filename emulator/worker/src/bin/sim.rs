//! The worker of the simulated shell.
#![forbid(unsafe_code)]

#[cfg(target_family = "wasm")]
use emulator_engine::Engine;
#[cfg(target_family = "wasm")]
use emulator_protocol::EngineKind;

#[cfg(target_family = "wasm")]
fn main() {
    emulator_worker::host::serve(|kind| match kind {
        EngineKind::Sim => Some(Box::new(emulator_shell::Shell::new()) as Box<dyn Engine>),
        EngineKind::V86 | EngineKind::X86_64 => None,
    });
}

/// There is no worker outside of a browser.
#[cfg(not(target_family = "wasm"))]
fn main() {}
