//! WISP: many TCP and UDP streams over one WebSocket. Packets, credit, and both roles of a
//! connection, shared by the page's worker ([`client`]) and the relay ([`server`]).
//!
//! No I/O and no clock: a WebSocket's binary messages go into `receive` and come out of
//! `transmit`, and one message is one packet. What goes over the wire, byte by byte, and what
//! each side promises, is in `docs/wisp.md`; this was written from the specification (WISP
//! 1.2 and 2.0 draft 6, CC BY 4.0), not from anybody's code.
//!
//! ```text
//!              one WebSocket message = one packet
//!  Client ───────────────────────────────────────────▶ Server
//!    open, send, consumed, shutdown, close               opened, send, consumed, …
//!    ◀── Event                                           Event ──▶
//!          ╲__________________ link ____________________╱
//!              streams, credit both ways, outbox
//! ```
#![forbid(unsafe_code)]

pub mod client;
mod credit;
mod link;
mod outbox;
pub mod packet;
mod reason;
mod retired;
pub mod server;
mod terms;
mod violation;

pub use outbox::OUTBOX;
pub use reason::Reason;
pub use terms::Terms;
pub use violation::{MAX_OFFENCES, Violation};

/// Payload of one DATA of a TCP stream that we send, at most: large enough that its header is
/// nothing, small enough that streams take turns on the WebSocket.
pub const MAX_DATA: usize = 16 * 1024;

/// Length of a message that we accept: the largest datagram fits, and a peer that sends more
/// than this in one piece is not one of those that we know.
pub const MAX_MESSAGE: usize = 64 * 1024 + packet::HEADER;

/// Bytes of one datagram that we send, at most: what UDP over IPv4 can carry (RFC 768).
pub const MAX_DATAGRAM: usize = 65_507;

/// What a stream carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A byte stream.
    Tcp,
    /// Datagrams: one DATA is one of them, and there is no credit.
    Udp,
}

/// A name and a password, or a token in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name, at most 255 bytes; may be empty with a token.
    pub user: String,
    /// Password or token, at most [`packet::MAX_PASSWORD`] bytes.
    pub password: String,
}

/// Keeps the password out of logs.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}
