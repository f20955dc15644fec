//! The worker of the engines that run a real kernel.
#![forbid(unsafe_code)]

use emulator_engine::Engine;
use emulator_protocol::EngineKind;

fn main() {
    emulator_worker::host::serve(|kind| match kind {
        EngineKind::V86 => Some(Box::new(emulator_v86::V86::new()) as Box<dyn Engine>),
        EngineKind::Sim => None,
    });
}
