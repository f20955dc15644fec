//! The payload of CONNECT: kind, port, host.

use std::fmt;

use super::Malformed;
use crate::Kind;

/// Bytes of a host name, at most: what DNS can carry, without the final dot (RFC 1035, 2.3.4).
pub const MAX_HOST: usize = 253;

/// Bytes before the host.
pub(super) const FIXED: usize = 3;

/// What a CONNECT asks for that cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Neither TCP nor UDP.
    Kind(u8),
    /// Port 0.
    Port,
    /// No host.
    NoHost,
    /// A host of more than [`MAX_HOST`] bytes.
    LongHost,
    /// A host that is not UTF-8, or has spaces or control characters in it.
    HostText,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "streams of kind {kind:#04x} do not exist"),
            Self::Port => f.write_str("port 0 cannot be reached"),
            Self::NoHost => f.write_str("no host is named"),
            Self::LongHost => f.write_str("the host's name is too long"),
            Self::HostText => f.write_str("the host's name is not text"),
        }
    }
}

impl std::error::Error for Fault {}

pub(super) fn parse(stream: u32, payload: &[u8]) -> Result<(Kind, u16, &str), Malformed> {
    let ([kind, low, high], host) = payload.split_first_chunk().ok_or(Malformed::Short)?;
    let port = u16::from_le_bytes([*low, *high]);
    target(*kind, port, host).map_err(|fault| Malformed::Connect { stream, fault })
}

fn target(kind: u8, port: u16, host: &[u8]) -> Result<(Kind, u16, &str), Fault> {
    let kind = match kind {
        1 => Kind::Tcp,
        2 => Kind::Udp,
        other => return Err(Fault::Kind(other)),
    };
    // Before the text is looked at: a claimed host of 64 KiB is not worth reading.
    if host.len() > MAX_HOST {
        return Err(Fault::LongHost);
    }
    let host = str::from_utf8(host).map_err(|_| Fault::HostText)?;
    check(host, port)?;
    Ok((kind, port, host))
}

/// Whether a CONNECT can ask for this.
///
/// # Errors
/// What is impossible.
pub fn check(host: &str, port: u16) -> Result<(), Fault> {
    match host.len() {
        0 => return Err(Fault::NoHost),
        1..=MAX_HOST => {}
        _ => return Err(Fault::LongHost),
    }
    if host.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Fault::HostText);
    }
    if port == 0 { Err(Fault::Port) } else { Ok(()) }
}

pub(super) fn write(kind: Kind, port: u16, host: &str, into: &mut Vec<u8>) {
    into.push(match kind {
        Kind::Tcp => 1,
        Kind::Udp => 2,
    });
    into.extend_from_slice(&port.to_le_bytes());
    into.extend_from_slice(host.as_bytes());
}
