//! What can be wrong with a message taken by itself.

use std::fmt;

use super::Fault;

/// Why a message is no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// It ends too early.
    Short,
    /// It is longer than a packet of its kind may be.
    Long,
    /// Bytes follow where none may.
    Trailing,
    /// No packet has this type.
    Kind(u8),
    /// A packet of this type has no business with this stream.
    Stream {
        /// Its type.
        kind: u8,
        /// Its stream: 0 where one is needed, or another where only 0 is right.
        stream: u32,
    },
    /// An extension is longer than what there is of it, or listed twice.
    Extension(u8),
    /// A CONNECT that is one, but asks for something impossible: that stream's fault only.
    Connect {
        /// The stream that it would have opened.
        stream: u32,
        /// What is impossible.
        fault: Fault,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("a message ends too early"),
            Self::Long => f.write_str("a message is too long"),
            Self::Trailing => f.write_str("bytes follow the end of a packet"),
            Self::Kind(kind) => write!(f, "no packet has the type {kind:#04x}"),
            Self::Stream { kind, stream } => {
                write!(f, "a packet of type {kind:#04x} for stream {stream}")
            }
            Self::Extension(id) => write!(f, "extension {id:#04x} is malformed"),
            Self::Connect { stream, fault } => write!(f, "stream {stream}: {fault}"),
        }
    }
}

impl std::error::Error for Malformed {}
