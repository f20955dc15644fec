//! The name or address that a client asks for: one spelling of it, and the rules on it. Pure.
//!
//! The C library's resolver turns `127.1`, `2130706433`, `0x7f.1` and `0177.0.0.1` into
//! addresses. No text of a client ever reaches it: what does not parse strictly as an
//! address must be a proper name, and a name whose last label could be a number is none
//! (as in the WHATWG URL standard, "ends in a number").

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name, RFC 1035 §2.3.4.
const NAME_MAX: usize = 253;

/// The longest label, RFC 1035 §2.3.4.
const LABEL_MAX: usize = 63;

/// Names that mean something on the relay's own network, or on this machine.
const LOCAL: &[&str] = &[
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
];

/// A host in its one spelling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// Lower case, without a dot at the end.
    Name(String),
    /// Written as an address.
    Address(IpAddr),
}

/// The text is neither a name nor an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl Host {
    /// Reads what a client sent.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<Ipv6Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let proper = name.len() <= NAME_MAX && name.split('.').all(is_label);
        let last = name.rsplit('.').next().unwrap_or_default();
        if !proper || is_number(last) { Err(Malformed) } else { Ok(Self::Name(name)) }
    }

    /// Whether the name is one of a local network's and never leaves for a name server:
    /// single labels, `localhost`, and endings that the public DNS does not have.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Name(name) => match name.rsplit_once('.') {
                Some((_, last)) => LOCAL.contains(&last) || is_home(name),
                None => true,
            },
            Self::Address(_) => false,
        }
    }
}

/// RFC 8375.
fn is_home(name: &str) -> bool {
    name == "home.arpa" || name.ends_with(".home.arpa")
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Letters, digits, hyphens inside, and the underscore of service names.
fn is_label(label: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL_MAX).contains(&label.len())
        && label.bytes().all(of_name)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether a lenient reader would take the label for a number.
fn is_number(label: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits(label) || label.strip_prefix("0x").is_some_and(hex)
}

/// A rule: a name, and every name below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suffix(String);

impl Suffix {
    /// Reads `debian.org`; `.debian.org` and `*.debian.org` mean the same.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let text = text.strip_prefix('*').unwrap_or(text);
        match Host::parse(text.strip_prefix('.').unwrap_or(text))? {
            Host::Name(name) => Ok(Self(name)),
            Host::Address(_) => Err(Malformed),
        }
    }

    /// Whether the name is this one or lies below it.
    pub fn covers(&self, name: &str) -> bool {
        let below = name.strip_suffix(&self.0);
        below.is_some_and(|front| front.is_empty() || front.ends_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<String> {
        match Host::parse(text) {
            Ok(Host::Name(name)) => Some(name),
            _ => None,
        }
    }

    #[test]
    fn one_spelling_reaches_the_policy() {
        assert_eq!(name("Deb.DEBIAN.org."), Some("deb.debian.org".into()));
        assert_eq!(name("xn--bcher-kva.example"), Some("xn--bcher-kva.example".into()));
        assert_eq!(name("_dmarc.example.org"), Some("_dmarc.example.org".into()));
        assert_eq!(name("1.2.3.4.example"), Some("1.2.3.4.example".into()));
    }

    #[test]
    fn addresses_are_read_strictly() {
        for text in ["127.0.0.1", "::1", "[::1]", "::ffff:127.0.0.1", "0:0:0:0:0:ffff:7f00:1"] {
            assert!(matches!(Host::parse(text), Ok(Host::Address(_))), "{text}");
        }
    }

    #[test]
    fn spellings_that_lenient_readers_take_for_addresses_are_no_hosts() {
        let label = "a".repeat(64);
        let long = "a.".repeat(127) + "com";
        let table = [
            "",
            ".",
            "..",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "0x7f.0x0.0x0.0x1",
            "127.0.0.1.",
            "127.0.0.01",
            "127.0.0.1.0",
            "1.2.3.4.5",
            "256.1.1.1",
            "0",
            "0x",
            "example.0x10",
            "example.1",
            "[127.0.0.1]",
            "[::1",
            "::1]",
            "[::1]:80",
            "fe80::1%eth0",
            "fe80::1%1",
            "127.0.0.1:80",
            "127.0.0.1%00",
            "a..b",
            "-a.com",
            "a-.com",
            "a b.com",
            "a/b",
            "a@b.com",
            "a\u{0}.com",
            "a\n.com",
            "bücher.example",
            "１２７.0.0.1",
            "127。0。0。1",
            "ⓛocalhost",
            " localhost",
            label.as_str(),
            long.as_str(),
            "localhost..",
            ":::",
            "*.example.org",
        ];
        for text in table {
            assert_eq!(Host::parse(text), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn names_of_local_networks_stay_local() {
        for text in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "printer.local",
            "metadata.google.internal",
            "router",
            "nas.lan",
            "a.home.arpa",
            "home.arpa",
            "x.corp",
            "localhost.localdomain",
        ] {
            assert!(Host::parse(text).unwrap().is_local(), "{text}");
        }
        for text in ["example.org", "local.example", "localhost.example.org", "8.8.8.8"] {
            assert!(!Host::parse(text).unwrap().is_local(), "{text}");
        }
    }

    #[test]
    fn a_suffix_ends_at_a_dot() {
        for rule in ["debian.org", ".debian.org", "*.debian.org", "Debian.ORG."] {
            let rule = Suffix::parse(rule).unwrap();
            assert!(rule.covers("debian.org"));
            assert!(rule.covers("deb.debian.org"));
            assert!(!rule.covers("notdebian.org"));
            assert!(!rule.covers("debian.org.example"));
            assert!(!rule.covers("org"));
        }
        for rule in ["", "*", "10.0.0.1", "a..b", "*.*.org"] {
            assert_eq!(Suffix::parse(rule), Err(Malformed), "{rule}");
        }
    }
}
