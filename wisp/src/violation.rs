//! How a peer can break the protocol so that the connection ends. Always the peer's fault.

use std::fmt;

use crate::packet::Malformed;

/// Streams on which a peer may exceed its credit, or send after it said that it would not,
/// before the connection ends: once is a bug, this often is intent.
pub const MAX_OFFENCES: u32 = 16;

/// Why the connection cannot go on. What `transmit` still gives is to be sent, then the
/// WebSocket closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A message is no packet.
    Malformed(Malformed),
    /// A packet of this type before the handshake was done.
    Early(u8),
    /// A packet of this type that this side never gets, that was not agreed on, or that
    /// comes once and came again.
    Unexpected(u8),
    /// The peer speaks another major version.
    Version(u8),
    /// A packet for a stream that never was.
    UnknownStream(u32),
    /// CONNECT with an id that is or lately was in use.
    Reused(u32),
    /// The peer broke its promises on more than [`MAX_OFFENCES`] streams.
    Offences,
    /// The peer makes us answer, but does not read the answers.
    Flood,
}

impl From<Malformed> for Violation {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Early(kind) => write!(f, "a packet of type {kind:#04x} before the handshake"),
            Self::Unexpected(kind) => write!(f, "an unexpected packet of type {kind:#04x}"),
            Self::Version(major) => write!(f, "protocol version {major} is unknown"),
            Self::UnknownStream(stream) => write!(f, "stream {stream} never was"),
            Self::Reused(stream) => write!(f, "stream {stream} is used again"),
            Self::Offences => f.write_str("credit was exceeded again and again"),
            Self::Flood => f.write_str("answers are not read"),
        }
    }
}

impl std::error::Error for Violation {}
