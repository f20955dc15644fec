//! DNS over TCP: each message after its length in two bytes (RFC 1035, 4.2.2).

use super::{Names, respond};
use crate::Instant;

/// Bytes of a query, at most: a name, and whatever EDNS options a resolver thinks of.
const MAX_QUERY: usize = 4096;

/// Bytes of responses that wait for the guest, at most; then no more is read.
const MAX_WAITING: usize = 16 * 1024;

/// One connection's queries.
#[derive(Default)]
pub(crate) struct Session {
    heard: Vec<u8>,
}

/// A peer that does not speak DNS.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Strange;

impl Session {
    /// Bytes that may be heard now, given how many of ours wait.
    pub(crate) const fn room(&self, waiting: usize) -> usize {
        if waiting >= MAX_WAITING { 0 } else { 2 + MAX_QUERY - self.heard.len() }
    }

    /// Takes bytes, at most [`Session::room`] of them, and appends the responses.
    pub(crate) fn hear(
        &mut self,
        bytes: &[u8],
        names: &mut Names,
        online: bool,
        now: Instant,
        into: &mut impl Extend<u8>,
    ) -> Result<(), Strange> {
        self.heard.extend_from_slice(bytes);
        while let Some((&[high, low], rest)) = self.heard.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length > MAX_QUERY {
                return Err(Strange);
            }
            let Some(query) = rest.get(..length) else { break };
            let response = respond(query, names, online, now).ok_or(Strange)?;
            // A response is a question and a name at most.
            into.extend(u16::try_from(response.len()).map_err(|_| Strange)?.to_be_bytes());
            into.extend(response);
            self.heard.drain(..2 + length);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::tests::query;

    #[test]
    fn queries_in_any_pieces() {
        let query = query("example.org", 1);
        let mut bytes = Vec::new();
        for _ in 0..3 {
            bytes.extend(u16::try_from(query.len()).unwrap().to_be_bytes());
            bytes.extend(&query);
        }
        for size in [1, 2, 7, bytes.len()] {
            let (mut session, mut names, mut out) =
                (Session::default(), Names::default(), Vec::new());
            for piece in bytes.chunks(size) {
                session.hear(piece, &mut names, true, Instant::ZERO, &mut out).unwrap();
            }
            assert_eq!(out.len(), 3 * (2 + query.len() + 16), "{size}");
            assert!(out.ends_with(&[198, 18, 0, 1]));
        }
    }

    #[test]
    fn strangers_are_cut_off() {
        let hear = |bytes: &[u8]| {
            Session::default().hear(
                bytes,
                &mut Names::default(),
                true,
                Instant::ZERO,
                &mut Vec::new(),
            )
        };
        assert_eq!(hear(b"GET / HTTP/1.1\r\n"), Err(Strange));
        assert_eq!(hear(&[0, 0]), Err(Strange));
        assert_eq!(hear(&[0, 5, 1]), Ok(()));
        assert_eq!(Session::default().room(MAX_WAITING), 0);
    }
}
