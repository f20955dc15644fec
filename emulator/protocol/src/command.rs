//! What the page asks of a worker.

use serde::{Deserialize, Serialize};

use crate::EngineKind;
use crate::library::{LibraryRequest, Start};
use crate::network::NetworkSettings;

/// Size of the terminal in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Cells in a row.
    pub columns: u16,
    /// Rows on the screen.
    pub rows: u16,
}

impl Default for TerminalSize {
    /// The classical 80 × 24, until the page has measured its own.
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

/// Which guest image a kernel engine starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Debian with python3, git, curl and friends on a chunked root disk.
    #[default]
    Full,
    /// A few megabytes of busybox in the initial RAM disk, no disk at all.
    Busybox,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Full, Self::Busybox];

    /// Its name in addresses, in the names of files and in snapshots.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Busybox => "busybox",
        }
    }

    /// The flavour of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flavour| flavour.name() == name)
    }
}

/// Everything that is decided before a machine starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootRequest {
    /// The engine; the worker refuses one that it was not built with.
    pub engine: EngineKind,
    /// Guest memory in MiB. Engines without memory of their own ignore it.
    pub memory_mib: u32,
    /// The guest image; ignored by `sim`.
    pub flavour: Flavour,
    /// Words appended to the kernel's command line; the kernel takes the last of two
    /// contradicting ones. Ignored by `sim`.
    pub cmdline: String,
    /// Terminal size at boot.
    pub terminal: TerminalSize,
    /// Absolute URL of the directory that holds the app's files, with a final slash.
    pub base: String,
    /// The name under which the machine is saved, and found again; `None` if it is not.
    pub machine: Option<String>,
    /// Where it begins.
    pub start: Start,
    /// Whether another tab that runs this machine is to give it up; it saves it first. Else
    /// the answer is [`crate::Event::Held`].
    pub take_over: bool,
    /// The guest's network; ignored by engines without one.
    pub network: NetworkSettings,
}

impl BootRequest {
    /// A machine without a name that has what nobody asked to be otherwise.
    #[must_use]
    pub fn new(engine: EngineKind, memory_mib: u32) -> Self {
        Self {
            engine,
            memory_mib,
            flavour: Flavour::default(),
            cmdline: String::new(),
            terminal: TerminalSize::default(),
            base: String::new(),
            machine: None,
            start: Start::default(),
            take_over: false,
            network: NetworkSettings::default(),
        }
    }
}

/// From the page to the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Command {
    /// Start the machine. Once in a worker's life.
    Boot(BootRequest),
    /// Bytes typed or pasted, for the guest's console.
    Console {
        /// Raw terminal input, usually UTF-8 with escape sequences.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The terminal has parsed this many more bytes of [`crate::Event::Console`].
    Acknowledge {
        /// Count since the last acknowledgement, in bytes.
        bytes: u64,
    },
    /// The terminal has a new size.
    Resize(TerminalSize),
    /// Stop the guest's clock and processor, keep its memory.
    Pause,
    /// Go on after [`Command::Pause`].
    Resume,
    /// Try again what failed with a [`crate::Fault`] whose `retry` is true; the machine goes
    /// on where it stopped.
    Retry,
    /// Save the machine under its name. It goes on after [`crate::Event::Captured`], which is
    /// to be answered with [`Command::Screen`].
    Save {
        /// A name that keeps the snapshot until it is removed.
        name: Option<String>,
    },
    /// What was on the terminal after all that came before [`crate::Event::Captured`].
    Screen {
        /// As escape sequences that paint it again, at most [`crate::SCREEN_LIMIT`] bytes.
        screen: String,
        /// The visible rows as plain text.
        text: String,
    },
    /// End the machine and let others have it, after [`crate::Event::ReleaseAsked`].
    Release,
    /// Ask about saved machines.
    Library {
        /// Comes back with the answer.
        ticket: u32,
        /// The question.
        request: LibraryRequest,
    },
    /// Take a file that [`crate::Event::Exported`] gave; answered by
    /// [`crate::Event::Library`].
    Import {
        /// Comes back with the answer.
        ticket: u32,
        /// The file.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Decide anew about the network. A machine that was refused by its relay, or waits for
    /// the next attempt, tries at once.
    Network(NetworkSettings),
    /// Record the guest's frames, from now on or no longer; then they come as
    /// [`crate::Event::Pcap`].
    Capture {
        /// Whether to record.
        on: bool,
    },
    /// Panic inside the worker. For tests and demonstrations of what the page then does.
    Crash,
}
