//! Addresses of relays, read strictly: what a browser would refuse without saying why is
//! refused here in words. No browser, so that every rule has a test.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest address that is taken, in bytes: the length that every browser and server takes.
pub(crate) const ADDRESS_LIMIT: usize = 2048;

/// A relay's address in the spelling that browsers know: `ws://` or `wss://`, a host,
/// perhaps a port, a path. Never a name, a password or a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relay(String);

/// Whether there is to be a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// None.
    Off,
    /// This one.
    Relay(Relay),
}

/// Why a text is no relay's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Not one of the four schemes.
    Scheme,
    /// A name or a password is in it.
    Secret,
    /// A query or a fragment is in it.
    Query,
    /// The host is none.
    Host,
    /// The port is none.
    Port,
    /// A blank, or what else is not in addresses.
    Letters,
    /// Longer than [`ADDRESS_LIMIT`].
    Long,
    /// Not encrypted, not on this computer, and the page is encrypted.
    Mixed,
}

impl Wrong {
    /// The reason as a sentence.
    #[must_use]
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Scheme => "A relay's address starts with wss:// or ws://.",
            Self::Secret => {
                "A name or password does not belong in an address: addresses are kept and \
                 shown. There are fields for both."
            }
            Self::Query => {
                "A relay's address has no “?” and no “#”. A token has a field of its own."
            }
            Self::Host => "There is no host in the address, or its name cannot be one.",
            Self::Port => "The port is not a number from 1 to 65535.",
            Self::Letters => "There are blanks or other signs in it that addresses do not have.",
            Self::Long => "It is longer than browsers take.",
            Self::Mixed => {
                "This page came over an encrypted connection (https), and browsers then allow \
                 ws:// only to this computer. Use a relay with wss://."
            }
        }
    }
}

impl Relay {
    /// Reads an address. `secure`: whether the page came over https.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub(crate) fn parse(text: &str, secure: bool) -> Result<Self, Wrong> {
        let text = text.trim();
        if text.len() > ADDRESS_LIMIT {
            return Err(Wrong::Long);
        }
        let (scheme, rest) = text.split_once("://").ok_or(Wrong::Scheme)?;
        let encrypted = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "wisp" => false,
            "wss" | "wisps" => true,
            _ => return Err(Wrong::Scheme),
        };
        // Browsers read a backslash as a slash: one that is left in moves the host's end.
        if rest.contains(|letter: char| {
            letter.is_whitespace() || letter.is_control() || letter == '\\'
        }) {
            return Err(Wrong::Letters);
        }
        if rest.contains(['?', '#']) {
            return Err(Wrong::Query);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(Wrong::Secret);
        }
        let (host, port) = split(authority)?;
        let host = host.to_lowercase();
        let local = check_host(&host)?;
        if secure && !encrypted && !local {
            return Err(Wrong::Mixed);
        }
        let scheme = if encrypted { "wss" } else { "ws" };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self(format!("{scheme}://{host}{port}{path}")))
    }

    /// The address.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Wanted {
    /// Reads what a person or a program wants: an address, or `off`.
    ///
    /// # Errors
    /// Why it is neither.
    pub(crate) fn parse(text: &str, secure: bool) -> Result<Self, Wrong> {
        if text.trim() == "off" {
            return Ok(Self::Off);
        }
        Relay::parse(text, secure).map(Self::Relay)
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split(authority: &str) -> Result<(&str, Option<u16>), Wrong> {
    // The colons of an IPv6 address are inside of its brackets.
    let end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None if authority.starts_with('[') => return Err(Wrong::Host),
        None => 0,
    };
    let Some(colon) = authority[end..].find(':').map(|at| at + end) else {
        return Ok((authority, None));
    };
    let (host, port) = (&authority[..colon], &authority[colon + 1..]);
    // `parse` would take a plus sign.
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0);
    Ok((host, Some(port.ok_or(Wrong::Port)?)))
}

/// Checks a host in lower case; true if it is this computer.
fn check_host(host: &str) -> Result<bool, Wrong> {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or(Wrong::Host)?;
        let address: Ipv6Addr = inner.parse().map_err(|_| Wrong::Host)?;
        return Ok(address.is_loopback());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    // What ends in a number is an IPv4 address for browsers, in spellings that nobody expects
    // (WHATWG URL, "ends in a number"): only the usual one is taken.
    if last.starts_with(|letter: char| letter.is_ascii_digit()) && is_number(last) {
        let address: Ipv4Addr = host.parse().map_err(|_| Wrong::Host)?;
        return Ok(address.is_loopback());
    }
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|sign| sign.is_alphanumeric() || "-_".contains(sign))
    };
    if !name.split('.').all(label) {
        return Err(Wrong::Host);
    }
    Ok(last == "localhost")
}

fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x");
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Result<String, Wrong> {
        Relay::parse(text, false).map(|relay| relay.0)
    }

    #[test]
    fn addresses_come_out_in_one_spelling() {
        for (given, expected) in [
            ("ws://127.0.0.1:6001/", "ws://127.0.0.1:6001/"),
            ("wisp://127.0.0.1:6001", "ws://127.0.0.1:6001/"),
            ("wisps://Relay.Example.org/wisp/", "wss://relay.example.org/wisp/"),
            (" WSS://relay.example.org ", "wss://relay.example.org/"),
            ("ws://[::1]:6001/", "ws://[::1]:6001/"),
            ("wss://bücher.example/ü", "wss://bücher.example/ü"),
        ] {
            assert_eq!(plain(given).as_deref(), Ok(expected));
            assert_eq!(plain(expected).as_deref(), Ok(expected), "a second reading");
        }
    }

    #[test]
    fn what_is_no_address_is_told_apart() {
        for (given, wrong) in [
            ("", Wrong::Scheme),
            ("relay.example.org", Wrong::Scheme),
            ("https://relay.example.org/", Wrong::Scheme),
            ("wss://", Wrong::Host),
            ("wss:///path", Wrong::Host),
            ("wss://:6001/", Wrong::Host),
            ("wss://a..b/", Wrong::Host),
            ("wss://a%41/", Wrong::Host),
            ("wss://[::1/", Wrong::Host),
            ("wss://[1.2.3.4]/", Wrong::Host),
            ("wss://127.1/", Wrong::Host),
            ("wss://0x7f000001/", Wrong::Host),
            ("wss://2130706433/", Wrong::Host),
            ("wss://1.2.3.4.5/", Wrong::Host),
            ("wss://a:0/", Wrong::Port),
            ("wss://a:/", Wrong::Port),
            ("wss://a:+80/", Wrong::Port),
            ("wss://a:65536/", Wrong::Port),
            ("wss://a:1:2/", Wrong::Port),
            ("wss://user:secret@a/", Wrong::Secret),
            ("wss://a/?token=secret", Wrong::Query),
            ("wss://a/#here", Wrong::Query),
            ("wss://a b/", Wrong::Letters),
            ("wss://a\\b/", Wrong::Letters),
            ("wss://a\u{7}/", Wrong::Letters),
        ] {
            assert_eq!(plain(given), Err(wrong), "{given}");
        }
        assert_eq!(plain(&format!("wss://a/{}", "b".repeat(ADDRESS_LIMIT))), Err(Wrong::Long));
    }

    #[test]
    fn an_encrypted_page_reaches_without_encryption_only_its_own_computer() {
        for text in ["ws://127.0.0.1:1/", "ws://localhost/", "ws://a.localhost/", "ws://[::1]/"] {
            assert!(Relay::parse(text, true).is_ok(), "{text}");
        }
        for text in ["ws://relay.example.org/", "wisp://192.0.2.1/", "ws://localhost.example/"] {
            assert_eq!(Relay::parse(text, true), Err(Wrong::Mixed), "{text}");
            assert!(Relay::parse(text, false).is_ok(), "{text}");
        }
        assert!(Relay::parse("wss://relay.example.org/", true).is_ok());
    }

    #[test]
    fn off_is_not_an_address_but_a_wish() {
        assert_eq!(Wanted::parse("off", false), Ok(Wanted::Off));
        assert!(matches!(Wanted::parse("ws://a/", false), Ok(Wanted::Relay(_))));
        assert_eq!(Wanted::parse("on", false), Err(Wrong::Scheme));
    }
}
