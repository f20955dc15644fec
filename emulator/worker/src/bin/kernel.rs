//! The worker of the engines that run a real kernel.
#![forbid(unsafe_code)]

#[cfg(target_family = "wasm")]
use emulator_engine::Engine;
#[cfg(target_family = "wasm")]
use emulator_protocol::EngineKind;

#[cfg(target_family = "wasm")]
fn main() {
    emulator_worker::host::serve(|kind| match kind {
        EngineKind::V86 => Some(Box::new(emulator_v86::V86::new()) as Box<dyn Engine>),
        EngineKind::X86_64 => Some(Box::new(emulator_worker::micro::engine())),
        EngineKind::Sim => None,
    });
}

/// There is no worker outside of a browser.
#[cfg(not(target_family = "wasm"))]
fn main() {}
