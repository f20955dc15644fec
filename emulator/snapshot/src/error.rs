//! What can be wrong with a snapshot, in words for people.

use std::fmt;

use crate::Id;

/// Why a snapshot is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes do not begin like a snapshot or like an exported one.
    NotASnapshot,
    /// The container is of a version that this program does not know.
    Newer {
        /// The snapshot's version.
        found: u32,
        /// The newest that this program reads.
        known: u32,
    },
    /// The bytes end before the snapshot does.
    Truncated,
    /// The bytes go on after the snapshot's end.
    Trailing,
    /// The bytes are not those that were saved: their hash is another.
    Hash,
    /// A field has an impossible value; names it.
    Bounds(&'static str),
    /// Something is wrong with one section.
    Section {
        /// The section's name, at most 32 ASCII characters.
        name: String,
        /// What it is.
        flaw: Flaw,
    },
    /// A chunk's stored bytes do not give the content that it is named by.
    DamagedChunk(Id),
    /// A chunk that the manifest names did not come.
    MissingChunk(Id),
    /// A chunk came that is not named, or came before, or comes too early.
    UnexpectedChunk(Id),
    /// A chunk could not be read from where it is kept. The snapshot itself may be sound.
    Unreadable {
        /// The chunk.
        id: Id,
        /// What the keeper said.
        why: String,
    },
}

/// What is wrong with a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// This program knows no section of that name.
    Unknown,
    /// It is of a version that this program does not know.
    Newer {
        /// The section's version.
        found: u16,
        /// The newest that this program reads.
        known: u16,
    },
    /// It should be there, and is not.
    Missing,
    /// It stands twice, or not in the order of names.
    Order,
    /// It is inline where chunks are expected, or the other way round.
    Kind,
    /// It should be text, and is not UTF-8.
    Text,
    /// It is longer than its kind may be.
    Size,
    /// Its table of chunks has not one entry for each chunk of its size.
    Table,
    /// A chunk was asked for that is beyond its end.
    Beyond,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASnapshot => write!(f, "this is not a snapshot of Vivarium"),
            Self::Newer { found, known } => {
                write!(f, "the snapshot is of version {found}, this program reads up to {known}")
            }
            Self::Truncated => write!(f, "the snapshot ends too early"),
            Self::Trailing => write!(f, "the snapshot is followed by bytes that are not its own"),
            Self::Hash => {
                write!(f, "the snapshot is damaged: its content is not what its hash says")
            }
            Self::Bounds(field) => write!(f, "the snapshot's {field} is impossible"),
            Self::Section { name, flaw } => write!(f, "the snapshot's section \"{name}\" {flaw}"),
            Self::DamagedChunk(id) => write!(f, "the snapshot's chunk {id} is damaged"),
            Self::MissingChunk(id) => write!(f, "the snapshot's chunk {id} is missing"),
            Self::UnexpectedChunk(id) => {
                write!(f, "the snapshot has the chunk {id} where it does not belong")
            }
            Self::Unreadable { id, why } => {
                write!(f, "the snapshot's chunk {id} could not be read from its store: {why}")
            }
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(f, "is not known to this program"),
            Self::Newer { found, known } => {
                write!(f, "is of version {found}, this program reads up to {known}")
            }
            Self::Missing => write!(f, "is missing"),
            Self::Order => write!(f, "stands twice or in the wrong place"),
            Self::Kind => write!(f, "is not stored in the way it should be"),
            Self::Text => write!(f, "is not text"),
            Self::Size => write!(f, "is longer than it may be"),
            Self::Table => write!(f, "has a table of chunks that does not fit its size"),
            Self::Beyond => write!(f, "has no such chunk"),
        }
    }
}

impl std::error::Error for Error {}

/// Shorthand for an error of one section.
pub(crate) fn flawed(name: &str, flaw: Flaw) -> Error {
    Error::Section { name: name.to_owned(), flaw }
}
