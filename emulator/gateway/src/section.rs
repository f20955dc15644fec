//! The gateway in a snapshot: section `network`. Its bytes are in `docs/network.md`.
//!
//! A snapshot is untrusted: everything is checked before anything is changed.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::wire::EthernetAddress;

use crate::dns::Names;
use crate::dns::names::MAX_NAMES;
use crate::tuple::Tuple;
use crate::{Config, Instant, MAX_FLOWS};

/// Connections in a section, at most: the open ones, and those of an earlier restore that
/// did not answer yet.
const MAX_TUPLES: usize = 2 * MAX_FLOWS;

/// Why a section cannot be restored. Always the snapshot's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// It ends too early.
    Short,
    /// It goes on after its end.
    Long,
    /// A value that can be none.
    Value(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the network's section is cut off"),
            Self::Long => f.write_str("the network's section is too long"),
            Self::Value(what) => write!(f, "the network's section has an impossible {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// What is kept of a gateway.
#[derive(Debug, PartialEq)]
pub(crate) struct Section {
    pub(crate) guest: Option<EthernetAddress>,
    pub(crate) lease: bool,
    pub(crate) last_flow: u32,
    pub(crate) names: Names,
    /// The guest's open connections.
    pub(crate) tuples: Vec<Tuple>,
}

impl Section {
    pub(crate) fn write(&self, now: Instant) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.lease)];
        // All zeros is nobody's address (IEEE 802).
        bytes.extend(self.guest.unwrap_or(EthernetAddress([0; 6])).0);
        bytes.extend(self.last_flow.to_le_bytes());
        bytes.extend(self.names.next().to_le_bytes());
        let names = self.names.iter(now);
        bytes.extend(count(names.len()).to_le_bytes());
        for (place, age, name) in names {
            bytes.extend(place.to_le_bytes());
            bytes.extend(u32::try_from(age).unwrap_or(u32::MAX).to_le_bytes());
            // At most 253 bytes.
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend(name.as_bytes());
        }
        let tuples = &self.tuples[..self.tuples.len().min(MAX_TUPLES)];
        bytes.extend(count(tuples.len()).to_le_bytes());
        for end in tuples.iter().flat_map(|tuple| [tuple.guest, tuple.host]) {
            bytes.extend(end.ip().octets());
            bytes.extend(end.port().to_le_bytes());
        }
        bytes
    }

    pub(crate) fn parse(bytes: &[u8], config: &Config, now: Instant) -> Result<Self, Error> {
        let mut cursor = Cursor(bytes);
        let lease = match cursor.array()? {
            [0] => false,
            [1] => true,
            _ => return Err(Error::Value("lease")),
        };
        let guest = match EthernetAddress(cursor.array()?) {
            EthernetAddress([0, 0, 0, 0, 0, 0]) => None,
            address if address.is_unicast() => Some(address),
            _ => return Err(Error::Value("Ethernet address")),
        };
        let last_flow = cursor.number()?;
        let names = parse_names(&mut cursor, now)?;
        let many = cursor.number()? as usize;
        if many > MAX_TUPLES {
            return Err(Error::Value("number of connections"));
        }
        let mut tuples = Vec::new();
        for _ in 0..many {
            let tuple = Tuple { guest: cursor.end()?, host: cursor.end()? };
            if !config.guests(*tuple.guest.ip()) || config.guests(*tuple.host.ip()) {
                return Err(Error::Value("connection"));
            }
            tuples.push(tuple);
        }
        if cursor.0.is_empty() {
            Ok(Self { guest, lease, last_flow, names, tuples })
        } else {
            Err(Error::Long)
        }
    }
}

fn parse_names(cursor: &mut Cursor<'_>, now: Instant) -> Result<Names, Error> {
    let mut names = Names::default();
    names.set_next(cursor.number()?);
    let many = cursor.number()? as usize;
    if many > MAX_NAMES {
        return Err(Error::Value("number of names"));
    }
    for _ in 0..many {
        let (place, age) = (cursor.number()?, cursor.number()?);
        let [length] = cursor.array()?;
        let name = cursor.take(usize::from(length))?;
        let name = std::str::from_utf8(name).map_err(|_| Error::Value("name"))?;
        if !names.insert(place, age.into(), name, now) {
            return Err(Error::Value("name"));
        }
    }
    Ok(names)
}

/// A number of things of which there are few.
fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Error::Short)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Error::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn number(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn end(&mut self) -> Result<SocketAddrV4, Error> {
        let address = Ipv4Addr::from(self.array::<4>()?);
        let port = u16::from_le_bytes(self.array()?);
        if port == 0 { Err(Error::Value("port")) } else { Ok(SocketAddrV4::new(address, port)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_secs(1000);

    fn section() -> Section {
        let mut names = Names::default();
        names.address("example.org", Instant::from_secs(10));
        names.address("example.com", Instant::from_secs(900));
        let end = |text: &str| text.parse().unwrap();
        let tuples = vec![
            Tuple { guest: end("10.0.2.15:40000"), host: end("198.18.0.1:443") },
            Tuple { guest: end("10.0.2.15:40001"), host: end("10.0.2.3:53") },
        ];
        let guest = Some(EthernetAddress([2, 0, 0, 0, 0, 9]));
        Section { guest, lease: true, last_flow: 77, names, tuples }
    }

    fn parse(bytes: &[u8]) -> Result<Section, Error> {
        Section::parse(bytes, &Config::default(), NOW)
    }

    #[test]
    fn comes_back() {
        let section = section();
        let bytes = section.write(NOW);
        assert_eq!(parse(&bytes), Ok(section));
        let nothing = Section {
            guest: None,
            lease: false,
            last_flow: 0,
            names: Names::default(),
            tuples: Vec::new(),
        };
        let bytes = nothing.write(NOW);
        assert_eq!(bytes, [0; 23]);
        assert_eq!(parse(&bytes), Ok(nothing));
    }

    #[test]
    fn a_section_is_whole_or_refused() {
        let bytes = section().write(NOW);
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Err(Error::Short), "{length}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(parse(&longer), Err(Error::Long));
    }

    #[test]
    fn impossible_values_are_refused() {
        let bytes = section().write(NOW);
        let with = |at: usize, values: &[u8]| {
            let mut changed = bytes.clone();
            changed[at..at + values.len()].copy_from_slice(values);
            parse(&changed).err()
        };
        assert_eq!(with(0, &[2]), Some(Error::Value("lease")));
        assert_eq!(with(1, &[3]), Some(Error::Value("Ethernet address")));
        let many = Some(Error::Value("number of names"));
        assert_eq!(with(15, &[0xff; 4]), many);
        assert_eq!(with(15, &(MAX_NAMES as u32 + 1).to_le_bytes()), many);
        // The first name: its place, its age, its length, its text.
        assert_eq!(with(19, &[0; 4]), Some(Error::Value("name")));
        assert_eq!(with(28, b"E"), Some(Error::Value("name")));
        assert_eq!(with(28, &[0xff]), Some(Error::Value("name")));
        assert_eq!(with(bytes.len() - 24, &[192]), Some(Error::Value("connection")));
        assert_eq!(with(bytes.len() - 2, &[0, 0]), Some(Error::Value("port")));
        let at = bytes.len() - 28;
        assert_eq!(with(at, &[0xff; 4]), Some(Error::Value("number of connections")));
    }

    #[test]
    fn random_bytes_do_no_harm() {
        let (good, mut random) = (section().write(NOW), crate::random::Random::new([9; 32]));
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..random.next() % 4 + 1 {
                let at = (random.next() % bytes.len() as u64) as usize;
                bytes[at] = random.next() as u8;
            }
            if let Ok(section) = parse(&bytes) {
                assert_eq!(parse(&section.write(NOW)), Ok(section));
            }
        }
    }
}
