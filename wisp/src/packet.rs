//! Packets: bytes to values and back, without copying and without a state.
//!
//! ```text
//!  0      1           5
//!  ├ type ┼ stream ───┼ payload to the end of the message; all numbers little-endian
//! ```
//!
//! What is here knows shapes, not order: whether a packet may come *now* is for the
//! connection to say.

mod connect;
mod info;
mod malformed;

pub use connect::{Fault, MAX_HOST, check};
pub use info::{Info, MAX_INFO, MAX_PASSWORD, append, extension};
pub(crate) use info::{MAJOR, credentials};
pub use malformed::Malformed;

use crate::{Kind, MAX_MESSAGE, Reason};

/// Bytes before the payload.
pub const HEADER: usize = 5;

/// First byte of each packet.
pub mod kind {
    /// The client opens a stream.
    pub const CONNECT: u8 = 0x01;
    /// Bytes of a stream.
    pub const DATA: u8 = 0x02;
    /// The server's packet credit, for one stream or, as stream 0, for each at its start.
    pub const CONTINUE: u8 = 0x03;
    /// The end of a stream or, as stream 0, of the connection.
    pub const CLOSE: u8 = 0x04;
    /// Version and extensions (v2).
    pub const INFO: u8 = 0x05;
    /// Byte credit (extension *flow*).
    pub const CREDIT: u8 = 0xf1;
    /// Half-close (extension *shutdown*).
    pub const SHUTDOWN: u8 = 0xf2;
}

/// One packet, which is one WebSocket message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// Opens a stream.
    Connect {
        /// Its new id, never 0.
        stream: u32,
        /// What it will carry.
        kind: Kind,
        /// Never 0.
        port: u16,
        /// Name or literal address: 1 to [`MAX_HOST`] bytes, without spaces and controls.
        host: &'a str,
    },
    /// Bytes of a stream, or one datagram.
    Data {
        /// Never 0.
        stream: u32,
        /// May be empty.
        bytes: &'a [u8],
    },
    /// How many packets the server has room for. *Sets* the client's counter.
    Continue {
        /// 0: what each new stream starts with.
        stream: u32,
        /// The new counter.
        packets: u32,
    },
    /// The end, both ways and at once.
    Close {
        /// 0: of the connection.
        stream: u32,
        /// Why.
        reason: Reason,
    },
    /// Version and extensions.
    Info(Info<'a>),
    /// Room for more bytes. *Adds* to the counter (extension *flow*).
    Credit {
        /// Never 0.
        stream: u32,
        /// How many more.
        bytes: u32,
    },
    /// No DATA follows from this side (extension *shutdown*).
    Shutdown {
        /// Never 0.
        stream: u32,
    },
}

impl<'a> Packet<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// Whatever is wrong with it, down to the last byte.
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        if message.len() > MAX_MESSAGE {
            return Err(Malformed::Long);
        }
        let (&kind, rest) = message.split_first().ok_or(Malformed::Short)?;
        let (stream, payload) = rest.split_first_chunk().ok_or(Malformed::Short)?;
        let stream = u32::from_le_bytes(*stream);
        let right = match kind {
            kind::CONNECT | kind::DATA | kind::CREDIT | kind::SHUTDOWN => stream != 0,
            kind::INFO => stream == 0,
            _ => true,
        };
        if !right {
            return Err(Malformed::Stream { kind, stream });
        }
        Ok(match kind {
            kind::CONNECT => {
                let (kind, port, host) = connect::parse(stream, payload)?;
                Self::Connect { stream, kind, port, host }
            }
            kind::DATA => Self::Data { stream, bytes: payload },
            kind::CONTINUE => {
                Self::Continue { stream, packets: u32::from_le_bytes(exact(payload)?) }
            }
            kind::CLOSE => Self::Close { stream, reason: exact::<1>(payload)?[0].into() },
            kind::INFO => Self::Info(Info::parse(payload)?),
            kind::CREDIT => Self::Credit { stream, bytes: u32::from_le_bytes(exact(payload)?) },
            kind::SHUTDOWN => {
                exact::<0>(payload)?;
                Self::Shutdown { stream }
            }
            other => return Err(Malformed::Kind(other)),
        })
    }

    /// Appends the packet to `into`.
    pub fn write(&self, into: &mut Vec<u8>) {
        into.reserve(self.size());
        into.push(self.kind());
        into.extend_from_slice(&self.stream().to_le_bytes());
        match *self {
            Self::Connect { kind, port, host, .. } => connect::write(kind, port, host, into),
            Self::Data { bytes, .. } => into.extend_from_slice(bytes),
            Self::Continue { packets: count, .. } | Self::Credit { bytes: count, .. } => {
                into.extend_from_slice(&count.to_le_bytes());
            }
            Self::Close { reason, .. } => into.push(reason.into()),
            Self::Info(info) => info.write(into),
            Self::Shutdown { .. } => {}
        }
    }

    /// Bytes that [`Packet::write`] appends.
    #[must_use]
    pub const fn size(&self) -> usize {
        HEADER
            + match self {
                Self::Connect { host, .. } => connect::FIXED + host.len(),
                Self::Data { bytes, .. } => bytes.len(),
                Self::Continue { .. } | Self::Credit { .. } => 4,
                Self::Close { .. } => 1,
                Self::Info(info) => info.size(),
                Self::Shutdown { .. } => 0,
            }
    }

    /// Its first byte, one of [`kind`].
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Connect { .. } => kind::CONNECT,
            Self::Data { .. } => kind::DATA,
            Self::Continue { .. } => kind::CONTINUE,
            Self::Close { .. } => kind::CLOSE,
            Self::Info(_) => kind::INFO,
            Self::Credit { .. } => kind::CREDIT,
            Self::Shutdown { .. } => kind::SHUTDOWN,
        }
    }

    /// Its stream; 0 is the connection.
    #[must_use]
    pub const fn stream(&self) -> u32 {
        match *self {
            Self::Connect { stream, .. }
            | Self::Data { stream, .. }
            | Self::Continue { stream, .. }
            | Self::Close { stream, .. }
            | Self::Credit { stream, .. }
            | Self::Shutdown { stream } => stream,
            Self::Info(_) => 0,
        }
    }
}

/// A payload of just this length.
fn exact<const N: usize>(payload: &[u8]) -> Result<[u8; N], Malformed> {
    match payload.split_first_chunk() {
        None => Err(Malformed::Short),
        Some((bytes, [])) => Ok(*bytes),
        Some(_) => Err(Malformed::Trailing),
    }
}
