//! The name server: every query to any address ends here, none leaves the tab.
//!
//! | Query | Answer |
//! |---|---|
//! | A of a public name | an address that stands for the name ([`names`]), TTL 1 s |
//! | any other type of a public name | no data; AAAA, HTTPS and SVCB just so |
//! | PTR of such an address | its name |
//! | local names, other PTRs, names that are none | NXDOMAIN |
//! | a public name while there is no relay | SERVFAIL, so that programs say so at once |
//!
//! Whether a name exists nobody knows here; the relay finds out when the guest connects.

pub(crate) mod names;
mod session;

use std::net::Ipv4Addr;

use crate::Instant;
pub(crate) use names::Names;
pub(crate) use session::Session;

/// The port of plain DNS.
pub(crate) const PORT: u16 = 53;

/// Seconds that an answer may be kept: the map is at hand, so a question costs nothing.
const TTL: u32 = 1;

/// Datagrams that we say we could take (RFC 6891, 6.2.5, and DNS Flag Day 2020).
const EDNS_SIZE: u16 = 1232;

const HEADER: usize = 12;

/// Record types (IANA, "DNS Parameters").
mod kind {
    pub(super) const A: u16 = 1;
    pub(super) const PTR: u16 = 12;
    pub(super) const OPT: u16 = 41;
    pub(super) const ANY: u16 = 255;
}

/// Response codes (RFC 1035, 4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Code {
    Fine = 0,
    Malformed = 1,
    Failure = 2,
    NoName = 3,
    NotImplemented = 4,
}

struct Question<'q> {
    /// The question as it was asked, to be repeated in its own spelling.
    bytes: &'q [u8],
    name: Vec<u8>,
    kind: u16,
    class: u16,
    edns: bool,
}

enum Answer {
    Nothing(Code),
    Address(Ipv4Addr),
    Name(String),
}

/// The response to a query; `None` for what is not even a query.
pub(crate) fn respond(
    query: &[u8],
    names: &mut Names,
    online: bool,
    now: Instant,
) -> Option<Vec<u8>> {
    let header: &[u8; HEADER] = query.first_chunk()?;
    let response = header[2] & 0x80 != 0;
    if response {
        return None;
    }
    let opcode = header[2] >> 3 & 0xf;
    if opcode != 0 {
        return Some(write(header, None, &Answer::Nothing(Code::NotImplemented)));
    }
    let Some(question) = parse(header, &query[HEADER..]) else {
        return Some(write(header, None, &Answer::Nothing(Code::Malformed)));
    };
    let answer = answer(&question, names, online, now);
    Some(write(header, Some(&question), &answer))
}

fn parse<'q>(header: &[u8; HEADER], rest: &'q [u8]) -> Option<Question<'q>> {
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if count(4) != 1 {
        return None;
    }
    let (mut name, mut at) = (Vec::new(), 0);
    loop {
        let length = usize::from(*rest.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // No pointers: there is nothing before the first name to point to.
        if length > names::MAX_LABEL || name.len() + length > names::MAX_NAME {
            return None;
        }
        if !name.is_empty() {
            name.push(b'.');
        }
        let label = rest.get(at..at + length)?;
        // A dot within a label would be read as two labels.
        name.extend(label.iter().map(|byte| if *byte == b'.' { b' ' } else { *byte }));
        at += length;
    }
    let &[k0, k1, c0, c1] = rest.get(at..)?.first_chunk()?;
    let (bytes, rest) = rest.split_at(at + 4);
    let edns = count(10) > 0 && rest.starts_with(&[0, 0, 41]);
    let (kind, class) = (u16::from_be_bytes([k0, k1]), u16::from_be_bytes([c0, c1]));
    Some(Question { bytes, name, kind, class, edns })
}

fn answer(question: &Question<'_>, names: &mut Names, online: bool, now: Instant) -> Answer {
    const INTERNET: [u16; 2] = [1, 255];
    if !INTERNET.contains(&question.class) {
        return Answer::Nothing(Code::NotImplemented);
    }
    let Some(name) = names::normalise(&question.name) else {
        return Answer::Nothing(Code::NoName);
    };
    if name == "arpa" || name.ends_with(".arpa") {
        let reverse = name.strip_suffix(".in-addr.arpa").and_then(reverse);
        return match reverse.and_then(|address| names.name(address, now)) {
            Some(name) if matches!(question.kind, kind::PTR | kind::ANY) => {
                Answer::Name(name.to_owned())
            }
            Some(_) => Answer::Nothing(Code::Fine),
            None => Answer::Nothing(Code::NoName),
        };
    }
    if names::local(&name) {
        return Answer::Nothing(Code::NoName);
    }
    if !online {
        return Answer::Nothing(Code::Failure);
    }
    if !matches!(question.kind, kind::A | kind::ANY) {
        return Answer::Nothing(Code::Fine);
    }
    names.address(&name, now).map_or(Answer::Nothing(Code::Failure), Answer::Address)
}

/// `4.3.2.1` as the address 1.2.3.4.
fn reverse(name: &str) -> Option<Ipv4Addr> {
    let [d, c, b, a] = name.parse::<Ipv4Addr>().ok()?.octets();
    Some(Ipv4Addr::new(a, b, c, d))
}

fn write(query: &[u8; HEADER], question: Option<&Question<'_>>, answer: &Answer) -> Vec<u8> {
    let (code, answers) = match answer {
        Answer::Nothing(code) => (*code, 0),
        Answer::Address(_) | Answer::Name(_) => (Code::Fine, 1),
    };
    let edns = question.is_some_and(|question| question.edns);
    let mut bytes = vec![query[0], query[1]];
    // A response to the same kind of query; recursion as desired, and available.
    bytes.extend([0x80 | query[2] & 0x79, 0x80 | code as u8]);
    for count in [u8::from(question.is_some()), answers, 0, u8::from(edns)] {
        bytes.extend([0, count]);
    }
    bytes.extend(question.map_or(&[][..], |question| question.bytes));
    match answer {
        Answer::Nothing(_) => {}
        Answer::Address(address) => record(&mut bytes, kind::A, &address.octets()),
        Answer::Name(name) => {
            let mut wire = Vec::new();
            for label in name.split('.') {
                wire.push(u8::try_from(label.len()).unwrap_or(0));
                wire.extend(label.as_bytes());
            }
            wire.push(0);
            record(&mut bytes, kind::PTR, &wire);
        }
    }
    if edns {
        // RFC 6891, 6.1.2: root, OPT, our size, version 0, no options.
        bytes.push(0);
        bytes.extend(kind::OPT.to_be_bytes());
        bytes.extend(EDNS_SIZE.to_be_bytes());
        bytes.extend([0; 6]);
    }
    bytes
}

/// A record about the name that was asked for.
fn record(bytes: &mut Vec<u8>, kind: u16, data: &[u8]) {
    bytes.extend([0xc0, HEADER as u8]);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(TTL.to_be_bytes());
    // A name of at most 255 bytes.
    bytes.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
    bytes.extend(data);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;

    /// A query as a resolver sends it.
    pub(crate) fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    fn ask(names: &mut Names, name: &str, kind: u16) -> (u8, Vec<u8>) {
        let query = query(name, kind);
        let response = respond(&query, names, true, NOW).unwrap();
        assert_eq!(response[..3], [0xab, 0xcd, 0x81]);
        assert_eq!(response[12..query.len()], query[12..]);
        let answers = response[7];
        let data = response[query.len()..].to_vec();
        assert_eq!(data.is_empty(), answers == 0);
        (response[3] & 0xf, data)
    }

    #[test]
    fn a_name_gets_an_address_and_the_address_its_name() {
        let mut names = Names::default();
        let (code, data) = ask(&mut names, "ExAmple.org", 1);
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 198, 18, 0, 1];
        assert_eq!((code, data), (0, record.to_vec()));
        let (code, data) = ask(&mut names, "1.0.18.198.in-addr.arpa", 12);
        assert_eq!((code, &data[12..]), (0, &b"\x07example\x03org\0"[..]));
        assert_eq!(ask(&mut names, "2.0.18.198.in-addr.arpa", 12).0, 3);
        assert_eq!(ask(&mut names, "1.2.0.192.in-addr.arpa", 12).0, 3);
        assert_eq!(ask(&mut names, "ip6.arpa", 12).0, 3);
    }

    #[test]
    fn other_types_have_no_data() {
        let mut names = Names::default();
        for kind in [28, 65, 64, 15, 16, 33, 2] {
            assert_eq!(ask(&mut names, "example.org", kind), (0, Vec::new()), "{kind}");
        }
        assert_eq!(names, Names::default());
    }

    #[test]
    fn some_names_never_leave() {
        let mut names = Names::default();
        for name in
            ["localhost", "a.local", "b.internal", "single", "127.0.0.1", "a.0x7f", "a b.org"]
        {
            for kind in [1, 28] {
                assert_eq!(ask(&mut names, name, kind), (3, Vec::new()), "{name}");
            }
        }
        let (mut dotted, mut root) = (query("wwwxexample.org", 1), query("", 1));
        dotted[16] = b'.';
        assert_eq!(respond(&dotted, &mut names, true, NOW).unwrap()[3], 0x83);
        root.remove(12);
        assert_eq!(respond(&root, &mut names, true, NOW).unwrap()[3], 0x83);
    }

    #[test]
    fn without_a_relay_names_fail_at_once() {
        let mut names = Names::default();
        for kind in [1, 28] {
            let response = respond(&query("example.org", kind), &mut names, false, NOW).unwrap();
            assert_eq!(response[3], 0x82);
        }
        let response = respond(&query("localhost", 1), &mut names, false, NOW).unwrap();
        assert_eq!(response[3], 0x83);
    }

    #[test]
    fn answers_edns_with_edns() {
        let mut query = query("example.org", 28);
        query[11] = 1;
        query.extend([0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0]);
        let response = respond(&query, &mut Names::default(), true, NOW).unwrap();
        assert_eq!(response[10..12], [0, 1]);
        assert!(response.ends_with(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn strange_queries() {
        let mut names = Names::default();
        let good = query("example.org", 1);
        for length in 0..HEADER {
            assert_eq!(respond(&good[..length], &mut names, true, NOW), None);
        }
        for length in HEADER..good.len() {
            let response = respond(&good[..length], &mut names, true, NOW).unwrap();
            assert_eq!((response.len(), response[3]), (HEADER, 0x81), "{length}");
        }
        let change = |at: usize, value: u8| {
            let mut changed = good.clone();
            changed[at] = value;
            respond(&changed, &mut Names::default(), true, NOW).map(|response| response[3] & 0xf)
        };
        assert_eq!(change(2, 0x81), None); // a response
        assert_eq!(change(2, 0x28), Some(4)); // an update
        assert_eq!(change(5, 2), Some(1)); // two questions
        assert_eq!(change(12, 0xc0), Some(1)); // a pointer
        assert_eq!(change(12, 64), Some(1)); // a long label
        assert_eq!(change(good.len() - 1, 3), Some(4)); // CHAOS
        let long = query(&["abcdefghi"; 26].join("."), 1);
        assert_eq!(respond(&long, &mut names, true, NOW).unwrap()[3], 0x81);
    }
}
