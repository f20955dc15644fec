//! The payload of INFO: version, and the extensions that a side has.
//!
//! ```text
//!  ├ major ┼ minor ┼ id ┼ length (u32) ┼ bytes … ┼ id ┼ …
//! ```

use super::Malformed;
use crate::Credentials;

/// Bytes of a password or token, at most: with the rest of its INFO it stays below
/// [`MAX_INFO`].
pub const MAX_PASSWORD: usize = 3 * 1024;

/// Bytes of an INFO, at most, that a server reads from somebody whom it does not know yet.
pub const MAX_INFO: usize = 4 * 1024;

/// The version that we speak, where both sides speak it.
pub(crate) const MAJOR: u8 = 2;
pub(crate) const MINOR: u8 = 0;

/// Extensions' numbers.
pub mod extension {
    /// Streams of UDP. No payload.
    pub const UDP: u8 = 0x01;
    /// Name and password.
    pub const PASSWORD: u8 = 0x02;
    /// Message of the day: the server's payload is its text.
    pub const MOTD: u8 = 0x04;
    /// The server says with a CONTINUE when a stream is connected. No payload.
    pub const CONFIRM: u8 = 0x05;
    /// Ours, *flow*: byte credit both ways. The payload is the window of each stream for what
    /// the peer sends.
    pub const FLOW: u8 = 0xf1;
    /// Ours, *shutdown*: half-close. No payload.
    pub const SHUTDOWN: u8 = 0xf2;
}

/// Version and extensions of one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info<'a> {
    /// Major version.
    pub major: u8,
    /// Minor version.
    pub minor: u8,
    /// The entries, checked.
    entries: &'a [u8],
}

impl<'a> Info<'a> {
    /// Our version, and extensions that [`append`] wrote, each once.
    pub(crate) const fn ours(entries: &'a [u8]) -> Self {
        Self { major: MAJOR, minor: MINOR, entries }
    }

    /// Extensions as [`append`] writes them.
    ///
    /// # Errors
    /// An entry that ends too early, or is there twice.
    pub fn new(major: u8, minor: u8, entries: &'a [u8]) -> Result<Self, Malformed> {
        let mut seen = [false; 256];
        let mut rest = entries;
        while !rest.is_empty() {
            let (id, _, after) = entry(rest)?;
            if std::mem::replace(&mut seen[usize::from(id)], true) {
                return Err(Malformed::Extension(id));
            }
            rest = after;
        }
        Ok(Self { major, minor, entries })
    }

    pub(super) fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let ([major, minor], entries) = payload.split_first_chunk().ok_or(Malformed::Short)?;
        Self::new(*major, *minor, entries)
    }

    pub(super) fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&[self.major, self.minor]);
        into.extend_from_slice(self.entries);
    }

    pub(super) const fn size(&self) -> usize {
        2 + self.entries.len()
    }

    /// The extensions' numbers and payloads.
    pub fn extensions(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.entries;
        std::iter::from_fn(move || {
            // Checked when it was made, so an error is only the end.
            let (id, payload, after) = entry(rest).ok()?;
            rest = after;
            Some((id, payload))
        })
    }

    /// The payload of an extension, if it is listed.
    #[must_use]
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extensions().find(|(listed, _)| *listed == id).map(|(_, payload)| payload)
    }

    /// Window of *flow*. A number of this length under its id is taken for ours, anything else
    /// for a stranger's extension that happens to have the id.
    pub(crate) fn flow(&self) -> Option<u32> {
        let window = self.extension(extension::FLOW)?.try_into().map(u32::from_le_bytes).ok()?;
        (window > 0).then_some(window)
    }

    /// Whether an extension without payload is listed, and just so.
    pub(crate) fn plain(&self, id: u8) -> bool {
        self.extension(id).is_some_and(<[u8]>::is_empty)
    }

    /// Name and password, as a client sends them: u8 length of the name, name, password.
    ///
    /// Earlier drafts, and clients that still speak them (wisp-js 0.5), have a u16 length of
    /// the password after the first byte. That one is known by its lengths adding up; within
    /// [`MAX_INFO`] they only do so for a name or password with control characters in front.
    pub(crate) fn credentials(&self) -> Result<Option<(&'a str, &'a str)>, Malformed> {
        const BROKEN: Malformed = Malformed::Extension(extension::PASSWORD);
        let Some(payload) = self.extension(extension::PASSWORD) else { return Ok(None) };
        let (&length, mut rest) = payload.split_first().ok_or(BROKEN)?;
        let length = usize::from(length);
        if let Some((password, texts)) = rest.split_first_chunk()
            && texts.len() == length + usize::from(u16::from_le_bytes(*password))
        {
            rest = texts;
        }
        let (user, password) = rest.split_at_checked(length).ok_or(BROKEN)?;
        let text = |bytes| str::from_utf8(bytes).map_err(|_| BROKEN);
        Ok(Some((text(user)?, text(password)?)))
    }
}

/// The first entry, and what follows it.
fn entry(entries: &[u8]) -> Result<(u8, &[u8], &[u8]), Malformed> {
    let ([id, length @ ..], rest) = entries.split_first_chunk::<5>().ok_or(Malformed::Short)?;
    let length = u32::from_le_bytes(*length);
    // A claimed length beyond `usize` cannot be there either.
    let (payload, after) = usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or(Malformed::Extension(*id))?;
    Ok((*id, payload, after))
}

/// Appends one extension to a list of them.
pub fn append(entries: &mut Vec<u8>, id: u8, payload: &[u8]) {
    // Nobody lists 4 GiB; cut, the entry would still say the truth about itself.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    entries.push(id);
    entries.extend_from_slice(&length.to_le_bytes());
    entries.extend_from_slice(&payload[..length as usize]);
}

/// The payload that [`Info::credentials`] reads; `None` if they do not fit.
pub(crate) fn credentials(credentials: &Credentials) -> Option<Vec<u8>> {
    let Credentials { user, password } = credentials;
    let length = u8::try_from(user.len()).ok()?;
    (password.len() <= MAX_PASSWORD)
        .then(|| [&[length], user.as_bytes(), password.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(payload: &[u8]) -> Vec<u8> {
        let mut entries = Vec::new();
        append(&mut entries, extension::PASSWORD, payload);
        entries
    }

    fn read(payload: &[u8]) -> Option<(String, String)> {
        let entries = listed(payload);
        let read = Info::new(2, 0, &entries).unwrap().credentials().ok()?;
        read.map(|(user, password)| (user.to_owned(), password.to_owned()))
    }

    #[test]
    fn credentials_of_both_drafts_are_read() {
        for (user, password) in [("", ""), ("", "t"), ("a", ""), ("ab", "xyz"), ("é", "日本")] {
            let ours = Credentials { user: user.into(), password: password.into() };
            let expected = Some((user.to_owned(), password.to_owned()));
            assert_eq!(read(&credentials(&ours).unwrap()), expected);
            let lengths = [user.len() as u8, password.len() as u8, 0];
            let earlier = [&lengths, user.as_bytes(), password.as_bytes()].concat();
            assert_eq!(read(&earlier), expected);
        }
        let longest = Credentials { user: "u".repeat(255), password: "p".repeat(MAX_PASSWORD) };
        let payload = credentials(&longest).unwrap();
        assert!(payload.len() < MAX_INFO - 500);
        assert_eq!(read(&payload), Some((longest.user, longest.password)));
    }

    #[test]
    fn credentials_that_lie_or_do_not_fit_are_none() {
        for broken in [&b""[..], b"\x01", b"\x02a", b"\xffabc", b"\x01\xff", b"\x01a\xff"] {
            assert_eq!(read(broken), None, "{broken:?}");
        }
        let user = Credentials { user: "u".repeat(256), password: String::new() };
        let password = Credentials { user: String::new(), password: "p".repeat(MAX_PASSWORD + 1) };
        assert_eq!((credentials(&user), credentials(&password)), (None, None));
    }

    #[test]
    fn a_stranger_with_our_numbers_is_no_friend() {
        let offer = |id, payload: &[u8]| {
            let mut entries = Vec::new();
            append(&mut entries, id, payload);
            let info = Info::new(2, 0, &entries).unwrap();
            (info.flow(), info.plain(extension::SHUTDOWN))
        };
        assert_eq!(offer(extension::FLOW, &[0, 1, 0, 0]), (Some(256), false));
        assert_eq!(offer(extension::SHUTDOWN, &[]), (None, true));
        for payload in [&[][..], &[0, 0, 0, 0], &[0, 1, 0], &[0, 1, 0, 0, 0]] {
            assert_eq!(offer(extension::FLOW, payload), (None, false));
        }
        assert_eq!(offer(extension::SHUTDOWN, &[0]), (None, false));
    }
}
