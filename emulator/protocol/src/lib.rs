//! What the page and a machine's worker say to each other.
//!
//! Types only: nothing here acts, reads a clock or touches a browser. The page sends a
//! [`Command`], the worker answers with an [`Event`]; both are plain data that the
//! structured clone of `postMessage` carries, and console bytes travel as a `Uint8Array`
//! whose buffer is transferred, never copied.
//!
//! ```text
//!   page                                   worker (one machine, one life)
//!    │            spawn                       │
//!    │ ─────────────────────────────────────▶ │
//!    │ ◀── Event::Ready { protocol } ──────── │   the gate: nothing is sent before it
//!    │ ─── Command::Boot(BootRequest) ──────▶ │
//!    │ ◀── Event::Progress … Event::State ─── │
//!    │ ◀── Event::Console ─── Acknowledge ──▶ │   credit in both directions
//!    │ ─── Command::Console ── Accepted ◀──── │
//!    │ ─── Command::Save ── Captured ◀─────── │   the guest goes on
//!    │ ─── Command::Screen ── Saved ◀──────── │   safe from a crash
//! ```
//!
//! A worker boots at most one machine. A reset, or another engine, is a new worker: all
//! memory of the old machine is gone with it. A worker without a machine answers
//! [`LibraryRequest`]s: about the machines that are saved.
#![forbid(unsafe_code)]

mod command;
mod event;
mod fault;
mod flow;
mod library;
mod network;

pub use command::{BootRequest, Command, Flavour, TerminalSize};
pub use event::{Event, Halt, MachineState, Phase, Progress, Resumption, Saved, Stats};
pub use fault::{Fault, FaultKind, Party};
pub use flow::{
    CONSOLE_HIGH_WATER, CONSOLE_LOW_WATER, CONSOLE_MESSAGE, INPUT_WINDOW, SCREEN_LIMIT,
    STATS_INTERVAL_MS,
};

pub use library::{LibraryAnswer, LibraryRequest, Snapshot, Start, Usage};
pub use network::{
    Blocked, Credentials, Flow, FlowState, MAX_BLOCKED, MAX_FLOWS, MAX_RULES, NetworkReport,
    NetworkSettings, Policy, RelayState, Rule, Target, Transport, Verdict,
};

use serde::{Deserialize, Serialize};

/// Version of this vocabulary. Raised when a message changes its shape or its meaning;
/// a page and a worker of different versions refuse each other in words.
pub const PROTOCOL_VERSION: u32 = 5;

/// Which guest computer stands behind the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// A simulated shell: no kernel, there at once.
    Sim,
    /// The npm package v86: 32-bit Linux on an emulated PC.
    V86,
    /// Our own micro-VM: 64-bit Linux.
    #[serde(rename = "x86-64")]
    X86_64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T>(value: &T)
    where
        T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug,
    {
        let text = serde_json::to_string(value).expect("serializes");
        let back: T = serde_json::from_str(&text).expect("deserializes");
        assert_eq!(&back, value, "{text}");
    }

    #[test]
    fn every_command_round_trips() {
        let boot = BootRequest {
            engine: EngineKind::V86,
            memory_mib: 256,
            flavour: Flavour::Busybox,
            cmdline: "root=/dev/nonsense".into(),
            terminal: TerminalSize { columns: 132, rows: 43 },
            base: "https://example.org/vivarium/".into(),
            machine: Some("main".into()),
            start: Start::Snapshot("0".repeat(64)),
            take_over: true,
            network: NetworkSettings {
                relay: Some("wss://relay.example.org/".into()),
                credentials: Some(Credentials { user: "u".into(), password: "p".into() }),
                policy: Policy {
                    rules: vec![Rule {
                        verdict: Verdict::Deny,
                        target: Target::Host { suffix: "example.org".into() },
                        ports: Some((80, 81)),
                    }],
                    default: Verdict::Allow,
                },
            },
        };
        for command in [
            Command::Boot(boot),
            Command::Console { bytes: vec![0, 3, 255] },
            Command::Acknowledge { bytes: 1 << 40 },
            Command::Resize(TerminalSize::default()),
            Command::Pause,
            Command::Resume,
            Command::Retry,
            Command::Crash,
            Command::Save { name: Some("n".into()) },
            Command::Screen { screen: "\u{1b}[1m# ".into(), text: "# ".into() },
            Command::Release,
            Command::Network(NetworkSettings::default()),
            Command::Capture { on: true },
            Command::Library { ticket: 1, request: LibraryRequest::List },
            Command::Import { ticket: 2, bytes: vec![1, 2] },
        ] {
            round_trip(&command);
        }
    }

    #[test]
    fn every_event_round_trips() {
        for event in [
            Event::Ready { protocol: PROTOCOL_VERSION },
            Event::State { state: MachineState::Booting },
            Event::Progress(Progress { phase: Phase::Kernel, loaded: 5, total: Some(9) }),
            Event::Console { bytes: b"login: ".to_vec() },
            Event::Accepted { bytes: 17 },
            Event::Stats(Stats {
                mips: Some(81.5),
                instructions: Some(1 << 50),
                ..Stats::default()
            }),
            Event::Halted { reason: Halt::Reboot },
            Event::Resumes(Resumption {
                saved_ms: 5,
                name: None,
                shipped: true,
                damage: None,
                memory_mib: 256,
                flavour: Flavour::Full,
                cmdline: String::new(),
                screen: "# ".into(),
            }),
            Event::Held,
            Event::ReleaseAsked,
            Event::Captured,
            Event::Saving { done: 1, total: 2 },
            Event::StorageLost { detail: "d".into() },
            Event::Library { ticket: 1, answer: LibraryAnswer::Done },
            Event::Exported { ticket: 1, bytes: vec![1] },
            Event::Network(NetworkReport {
                relay: RelayState::Up { version: 2, udp: true, greeting: None },
                flows: vec![Flow {
                    id: 1,
                    transport: Transport::Tcp,
                    host: "example.org".into(),
                    port: 443,
                    state: FlowState::Open,
                    sent: 1,
                    received: 1 << 40,
                    age_ms: 3,
                    why: None,
                }],
                blocked: vec![Blocked {
                    host: "10.0.0.1".into(),
                    port: 25,
                    transport: Transport::Udp,
                    why: "w".into(),
                    count: 2,
                }],
                captured: Some(24),
                ..NetworkReport::default()
            }),
            Event::Pcap { bytes: vec![0xd4] },
            Event::Fault(Fault {
                kind: FaultKind::KernelPanic,
                party: Party::Guest,
                summary: "s".into(),
                advice: "a".into(),
                retry: true,
                detail: "d".into(),
            }),
        ] {
            round_trip(&event);
        }
    }

    #[test]
    fn names_on_the_wire_are_stable() {
        assert_eq!(serde_json::to_string(&EngineKind::V86).expect("json"), "\"v86\"");
        assert_eq!(serde_json::to_string(&EngineKind::X86_64).expect("json"), "\"x86-64\"");
        assert_eq!(serde_json::to_string(&MachineState::Halted).expect("json"), "\"halted\"");
        assert_eq!(
            serde_json::to_string(&FaultKind::ImageCorrupt).expect("json"),
            "\"image-corrupt\""
        );
    }

    #[test]
    fn flavours_are_found_by_the_names_that_they_have_on_the_wire() {
        for flavour in Flavour::ALL {
            assert_eq!(Flavour::named(flavour.name()), Some(flavour));
            assert_eq!(serde_json::to_value(flavour).expect("json"), flavour.name());
        }
        assert_eq!(Flavour::named("Full"), None);
    }

    #[test]
    fn phases_are_in_order() {
        assert!(
            Phase::Storage < Phase::Engine
                && Phase::Engine < Phase::Image
                && Phase::Root < Phase::Shell
        );
    }
}
