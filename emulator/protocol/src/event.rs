//! What a worker tells the page.

use serde::{Deserialize, Serialize};

use crate::library::{LibraryAnswer, Snapshot};
use crate::network::NetworkReport;
use crate::{Fault, Flavour};

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineState {
    /// Nothing was started.
    #[default]
    Idle,
    /// Loading files, or the guest is on its way to its prompt.
    Booting,
    /// The guest has shown its prompt.
    Running,
    /// Stopped by [`crate::Command::Pause`]; memory is kept.
    Paused,
    /// A snapshot is being taken.
    Saving,
    /// The guest switched itself off.
    Halted,
    /// A [`Fault`] ended the machine.
    Failed,
}

/// The steps of a boot, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The browser's storage takes long to open.
    Storage,
    /// The engine's own code is loading.
    Engine,
    /// Kernel, initial RAM disk and firmware are loading.
    Image,
    /// The machine's memory is filled from a snapshot.
    Restore,
    /// The firmware and the kernel's decompressor are running.
    Firmware,
    /// The kernel has said its first word or asked for its first disk block.
    Kernel,
    /// The guest's `/init` is running.
    Init,
    /// The root file system is mounted.
    Root,
    /// The login shell is about to print its prompt.
    Shell,
}

/// How far a boot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The step that is under way.
    pub phase: Phase,
    /// Bytes fetched so far, over all steps, as they crossed the network.
    pub loaded: u64,
    /// Bytes that this step's files have in all, where that is known.
    pub total: Option<u64>,
}

/// Measured values of a machine, about once a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Million guest instructions a second since the last report; `None` where the engine
    /// does not count them.
    pub mips: Option<f64>,
    /// Guest instructions since boot; `None` where the engine does not count them.
    pub instructions: Option<u64>,
    /// Guest memory in MiB; `None` for an engine without memory of its own.
    pub memory_mib: Option<u32>,
    /// Bytes that the machine takes on the host: linear memory of the worker and of the
    /// engine, the guest's memory among it; compiled code is not counted.
    pub host_bytes: u64,
    /// Image bytes fetched over the network since boot, compressed as they travelled.
    pub fetched: u64,
    /// Files and chunks fetched over the network since boot.
    pub requests: u64,
    /// Console bytes from the guest since boot.
    pub console: u64,
    /// Milliseconds since boot.
    pub uptime_ms: u64,
}

/// The state that a machine is about to go on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumption {
    /// When it was saved: milliseconds since 1970.
    pub saved_ms: u64,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Whether it came with the image, and is nobody's work.
    pub shipped: bool,
    /// Why it is not a later one.
    pub damage: Option<Fault>,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// The guest image.
    pub flavour: Flavour,
    /// Words that were added to the kernel's command line.
    pub cmdline: String,
    /// Escape sequences that paint what was on the terminal.
    pub screen: String,
}

/// What a save came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// What was saved.
    pub snapshot: Snapshot,
    /// How long the guest stood still, in milliseconds.
    pub pause_ms: f64,
    /// From the command to the last word of the disk, in milliseconds.
    pub took_ms: f64,
}

/// Why a guest ended by its own will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Halt {
    /// `poweroff` or `halt`.
    PowerOff,
    /// `reboot`: the page starts a new machine with the same request.
    Reboot,
}

/// From the worker to the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Event {
    /// The worker listens. Opens the gate; carries its version of this vocabulary.
    Ready {
        /// [`crate::PROTOCOL_VERSION`] of the worker.
        protocol: u32,
    },
    /// The machine's state has changed.
    State {
        /// The new state.
        state: MachineState,
    },
    /// The boot has come further.
    Progress(Progress),
    /// The guest wrote to its console.
    Console {
        /// Raw terminal output, at most [`crate::CONSOLE_MESSAGE`] bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The machine has taken this many more bytes of [`crate::Command::Console`].
    Accepted {
        /// Count since the last such event, in bytes.
        bytes: u64,
    },
    /// A report, and a sign of life.
    Stats(Stats),
    /// The guest ended by its own will.
    Halted {
        /// Why.
        reason: Halt,
    },
    /// Something went wrong that ended the machine.
    Fault(Fault),
    /// The machine is about to go on from a saved state: this is what was on its screen.
    Resumes(Resumption),
    /// Another tab runs this machine, so it was not booted.
    Held,
    /// Another tab wants this machine: save it, then say [`crate::Command::Release`].
    ReleaseAsked,
    /// The machine's state is held for saving, and the machine goes on. Everything that it
    /// has printed until then was posted before.
    Captured,
    /// A save has come further.
    Saving {
        /// Chunks looked at.
        done: u32,
        /// Chunks in all.
        total: u32,
    },
    /// The machine is saved, and safe from a crash.
    Saved(Saved),
    /// The machine could not be saved. What was saved before is as it was, and the machine
    /// goes on.
    SaveFailed(Fault),
    /// The browser has lost all machines that were saved in it.
    StorageLost {
        /// What it says of that.
        detail: String,
    },
    /// The answer to a request about saved machines.
    Library {
        /// That of the request.
        ticket: u32,
        /// The answer.
        answer: LibraryAnswer,
    },
    /// A snapshot as one file.
    Exported {
        /// That of the request.
        ticket: u32,
        /// The file.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// How the guest's network stands.
    Network(NetworkReport),
    /// The recorded frames, as a file for packet analysers (pcap, Ethernet).
    Pcap {
        /// The file.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
}
