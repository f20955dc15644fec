//! What the two ends of a connection agreed on.

use crate::packet::{append, extension};

/// What holds for a connection after its handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Version 2 is spoken.
    pub v2: bool,
    /// There are streams of UDP.
    pub udp: bool,
    /// The server says when a stream is connected.
    pub confirm: bool,
    /// Byte credit both ways.
    pub flow: bool,
    /// A stream can be closed one way.
    pub shutdown: bool,
    /// The server's message, for people. A stranger's text: at the client, what could
    /// steer a terminal or turn the direction of writing is stripped.
    pub motd: Option<String>,
}

impl Terms {
    /// What version 1 gives.
    pub(crate) const fn v1(udp: bool) -> Self {
        Self { v2: false, udp, confirm: false, flow: false, shutdown: false, motd: None }
    }

    /// The extensions that these terms need, as a side lists them: `window` is its own for
    /// *flow*, `motd` its payload for that.
    pub(crate) fn entries(&self, window: u32, motd: Option<&[u8]>) -> Vec<u8> {
        let plain: [(bool, u8); 3] = [
            (self.udp, extension::UDP),
            (self.confirm, extension::CONFIRM),
            (self.shutdown, extension::SHUTDOWN),
        ];
        let mut entries = Vec::new();
        for (_, id) in plain.iter().filter(|(listed, _)| *listed) {
            append(&mut entries, *id, &[]);
        }
        if self.flow {
            append(&mut entries, extension::FLOW, &window.to_le_bytes());
        }
        if let Some(motd) = motd {
            append(&mut entries, extension::MOTD, motd);
        }
        entries
    }
}

/// Bytes of a message of the day that is sent, and characters of one that is taken, at most:
/// a few lines for people.
pub const MAX_MOTD: usize = 1024;

/// A stranger's text for people's eyes: without control characters, and without those that
/// turn the direction of writing (Unicode Standard Annex 9).
pub(crate) fn readable(text: &[u8]) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|c| !c.is_control() && !turns(*c)).take(MAX_MOTD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_steers_no_terminal() {
        assert_eq!(readable(b"\x1b[2Jhi\r\n\x07 \xc2\x9bthere\xe9"), "[2Jhi there\u{fffd}");
        assert_eq!(readable("abc\u{202e}def\u{2066}\u{200f}".as_bytes()), "abcdef");
        assert_eq!(readable(&[b'a'; 2 * MAX_MOTD]).len(), MAX_MOTD);
    }
}
