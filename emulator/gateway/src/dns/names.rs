//! Names and the addresses that stand for them.
//!
//! The guest resolves a name and gets an address of 198.18.0.0/15, a range for benchmarks
//! that nobody owns (RFC 2544, C.2.2). When it connects to that address, the name goes to the
//! relay. So the map must outlive everything that remembers an address: caches in the guest,
//! and the guest itself in a snapshot.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::Instant;

/// First address of the range.
const FIRST: u32 = Ipv4Addr::new(198, 18, 0, 0).to_bits();

/// Addresses in the range.
const RANGE: u32 = 1 << 17;

/// Names that are known at once, at most: more than a day of a busy browser needs, and no
/// more than 4 MiB of a snapshot.
pub const MAX_NAMES: usize = 16_384;

/// Seconds after its last use before a name gives up its address for another one. Guests
/// keep answers for longer than their TTL says.
const KEPT: i64 = 24 * 60 * 60;

/// Bytes of a name, at most (RFC 1035, 2.3.4, less the first length and the final dot).
pub(crate) const MAX_NAME: usize = 253;

/// Bytes of a label, at most (RFC 1035, 2.3.4).
pub(crate) const MAX_LABEL: usize = 63;

/// A name in the one spelling that reaches policies: lower case, no final dot, letters,
/// digits, `-` and `_` only. Names in other scripts are asked for in their ASCII form
/// (RFC 5891, 4.4); one that is not is no host's. A name whose last label is a number would
/// be read as an address by somebody (WHATWG URL, "ends in a number").
pub(crate) fn normalise(name: &[u8]) -> Option<String> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || name.len() > MAX_NAME {
        return None;
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let labels = || name.split(|byte| *byte == b'.');
    if !labels().all(|l| !l.is_empty() && l.len() <= MAX_LABEL && l.iter().all(plain)) {
        return None;
    }
    let last = labels().next_back()?.to_ascii_lowercase();
    let number = match last.strip_prefix(b"0x") {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
        None => last.iter().all(u8::is_ascii_digit),
    };
    if number {
        return None;
    }
    String::from_utf8(name.to_ascii_lowercase()).ok()
}

/// Whether a name never leaves the tab: single labels, and what is not in the public tree
/// (RFC 6761, RFC 6762, RFC 7686, and `internal` by ICANN's reservation).
pub(crate) fn local(name: &str) -> bool {
    match name.rsplit_once('.') {
        None => true,
        Some((_, last)) => matches!(last, "localhost" | "local" | "internal" | "invalid" | "onion"),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    /// Second of its last use; negative for before the gateway's start.
    used: i64,
}

/// The map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// By place in the range.
    entries: BTreeMap<u32, Entry>,
    places: BTreeMap<String, u32>,
    /// Where the search for a free place begins. It goes on and on, so that an address is
    /// used again as late as possible.
    next: u32,
}

fn seconds(now: Instant) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// A place that has an address: those that end in 0 and 255 look like networks and
/// broadcasts to some programs.
const fn usable(place: u32) -> bool {
    place < RANGE && !matches!(place & 0xff, 0 | 0xff)
}

/// Whether an address stands for a name, known or not.
pub(crate) fn fake(address: Ipv4Addr) -> bool {
    address.to_bits().wrapping_sub(FIRST) < RANGE
}

impl Names {
    /// The address of a name in its one spelling; `None` if all are in use.
    pub(crate) fn address(&mut self, name: &str, now: Instant) -> Option<Ipv4Addr> {
        let now = seconds(now);
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => {
                let place = self.free(now)?;
                self.places.insert(name.to_owned(), place);
                place
            }
        };
        self.entries.insert(place, Entry { name: name.to_owned(), used: now });
        Some(Ipv4Addr::from_bits(FIRST + place))
    }

    /// The name of an address.
    pub(crate) fn name(&mut self, address: Ipv4Addr, now: Instant) -> Option<&str> {
        let entry = self.entries.get_mut(&address.to_bits().wrapping_sub(FIRST))?;
        entry.used = seconds(now);
        Some(&entry.name)
    }

    fn free(&mut self, now: i64) -> Option<u32> {
        if self.entries.len() >= MAX_NAMES {
            let (place, oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.used)?;
            if now.saturating_sub(oldest.used) <= KEPT {
                return None;
            }
            let place = *place;
            let evicted = self.entries.remove(&place)?;
            self.places.remove(&evicted.name);
        }
        // Fewer names than places, so there is one.
        let place = (0..RANGE)
            .map(|step| (self.next + step) % RANGE)
            .find(|place| usable(*place) && !self.entries.contains_key(place))?;
        self.next = (place + 1) % RANGE;
        Some(place)
    }

    /// Place, seconds since its last use, and name of each entry.
    pub(crate) fn iter(&self, now: Instant) -> impl ExactSizeIterator<Item = (u32, u64, &str)> {
        let now = seconds(now);
        self.entries.iter().map(move |(place, entry)| {
            let age = now.saturating_sub(entry.used).max(0).unsigned_abs();
            (*place, age, entry.name.as_str())
        })
    }

    /// Puts back an entry of [`Names::iter`]; `false` if it can be none.
    pub(crate) fn insert(&mut self, place: u32, age: u64, name: &str, now: Instant) -> bool {
        let known = self.entries.contains_key(&place) || self.places.contains_key(name);
        if !usable(place) || known || self.entries.len() >= MAX_NAMES {
            return false;
        }
        if normalise(name.as_bytes()).as_deref() != Some(name) || local(name) {
            return false;
        }
        let used = seconds(now).saturating_sub_unsigned(age);
        self.entries.insert(place, Entry { name: name.to_owned(), used });
        self.places.insert(name.to_owned(), place);
        true
    }

    pub(crate) const fn next(&self) -> u32 {
        self.next
    }

    pub(crate) const fn set_next(&mut self, next: u32) {
        self.next = next % RANGE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_spelling() {
        let long = format!("{}.org", "a".repeat(63));
        for (name, spelling) in [
            ("Example.ORG", "example.org"),
            ("example.org.", "example.org"),
            ("xn--mller-kva.de", "xn--mller-kva.de"),
            ("_dmarc.example.org", "_dmarc.example.org"),
            ("1and1.example.4you", "1and1.example.4you"),
            ("org", "org"),
            (long.as_str(), long.as_str()),
        ] {
            assert_eq!(normalise(name.as_bytes()).as_deref(), Some(spelling), "{name}");
        }
        let label = format!("{}.org", "a".repeat(64));
        let whole = format!("{}org", "abcdefghi.".repeat(26));
        for name in [
            "",
            ".",
            "..",
            "a..b",
            ".org",
            "müller.de",
            "a b.org",
            "a\0.org",
            "a/b.org",
            "a@b.org",
            "127.0.0.1",
            "example.123",
            "1",
            "0x7f.1",
            "a.0x7F",
            "a.0x",
            "example.org:80",
            "[::1]",
            &label,
            &whole,
        ] {
            assert_eq!(normalise(name.as_bytes()), None, "{name}");
        }
        assert!(normalise(&[b'a', 0xff, b'.', b'b']).is_none());
    }

    #[test]
    fn what_stays_in_the_tab() {
        for name in ["localhost", "printer", "a.local", "db.internal", "x.localhost", "y.onion"] {
            assert!(local(name), "{name}");
        }
        for name in ["example.org", "local.example", "internal.example.com"] {
            assert!(!local(name), "{name}");
        }
    }

    #[test]
    fn addresses_are_stable_and_found_again() {
        let (mut names, now) = (Names::default(), Duration::from_secs(7));
        let first = names.address("example.org", now).unwrap();
        assert_eq!(first, Ipv4Addr::new(198, 18, 0, 1));
        let second = names.address("example.com", now).unwrap();
        assert_ne!(first, second);
        assert_eq!(names.address("example.org", now), Some(first));
        assert_eq!(names.name(first, now), Some("example.org"));
        assert_eq!(names.name(Ipv4Addr::new(198, 19, 0, 1), now), None);
        assert!(fake(first) && fake(Ipv4Addr::new(198, 19, 255, 255)));
        assert!(!fake(Ipv4Addr::new(198, 20, 0, 0)) && !fake(Ipv4Addr::new(198, 17, 255, 255)));
    }

    #[test]
    fn only_what_is_long_idle_is_evicted() {
        let (mut names, hour) = (Names::default(), Duration::from_secs(3600));
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..MAX_NAMES {
            let address = names.address(&format!("h{index}.example.org"), hour).unwrap();
            assert!(!matches!(address.octets()[3], 0 | 255) && seen.insert(address));
        }
        assert_eq!(names.address("one.more.org", 24 * hour), None);
        let kept = names.address("h0.example.org", 24 * hour).unwrap();
        let fresh = names.address("one.more.org", 26 * hour).unwrap();
        // Not an address that was just given up, while there are others.
        assert!(!seen.contains(&fresh));
        assert_eq!(names.name(kept, 26 * hour), Some("h0.example.org"));
        assert_eq!(names.entries.len(), MAX_NAMES);
    }

    #[test]
    fn comes_back_with_its_age() {
        let (mut names, hour) = (Names::default(), Duration::from_secs(3600));
        names.address("a.example.org", hour);
        names.address("b.example.org", 30 * hour);
        let mut back = Names::default();
        let now = Duration::from_secs(5);
        for (place, age, name) in names.iter(31 * hour) {
            assert!(back.insert(place, age, name, now));
            assert!(!back.insert(place, age, name, now));
        }
        back.set_next(names.next());
        let ages: Vec<u64> = back.iter(now).map(|(_, age, _)| age).collect();
        assert_eq!(ages, [30 * 3600, 3600]);
        for (place, name) in
            [(0, "x.org"), (255, "x.org"), (RANGE, "x.org"), (9, "X.org"), (9, "x")]
        {
            assert!(!back.insert(place, 0, name, now), "{place} {name}");
        }
    }
}
