//! The two messages of DNS that a stub client needs: a question, and the addresses in the
//! answer to it (RFC 1035 §4). Pure.
//!
//! Every address record of the answer section counts, whoever's it says it is: all of them
//! are judged, so a chain of CNAMEs needs no following, and nothing can hide behind one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of the header.
const HEADER: usize = 12;

/// Class IN.
const INTERNET: u16 = 1;

/// EDNS(0), RFC 6891: answers up to this many bytes come over UDP.
pub(crate) const UDP_MAX: u16 = 1232;

/// Address records that are looked at; a name with more is not a name of a host.
pub(crate) const RECORDS_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    V4 = 1,
    V6 = 28,
}

/// What an answer says.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// These addresses, perhaps none.
    Addresses(Vec<IpAddr>),
    /// The name does not exist.
    NoName,
    /// Too long for UDP: ask again over TCP.
    Truncated,
    /// The name server could not or would not say.
    Failed,
}

/// The message is not the answer to this question.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Foreign;

/// A recursive question for a name in its one spelling.
pub(crate) fn question(id: u16, name: &str, family: Family) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 17);
    message.extend(id.to_be_bytes());
    // Recursion desired; one question, one additional record.
    message.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend((family as u16).to_be_bytes());
    message.extend(INTERNET.to_be_bytes());
    // OPT: root name, type 41, our UDP size, no flags, no data.
    message.extend([0, 0, 41]);
    message.extend(UDP_MAX.to_be_bytes());
    message.extend([0; 6]);
    message
}

/// Reads the answer to `question`.
pub(crate) fn answer(question: &[u8], message: &[u8], family: Family) -> Result<Answer, Foreign> {
    let asked = &question[HEADER..question.len() - 11];
    let mut reader = Reader { message, at: 0 };
    let ours = reader.take(2).is_some_and(|id| id == &question[..2]);
    let flags = reader.number().ok_or(Foreign)?;
    let counts = (reader.number(), reader.number());
    let (Some(1), Some(records)) = counts else { return Err(Foreign) };
    reader.at = HEADER;
    let echoed = reader.take(asked.len()).is_some_and(|echo| echo.eq_ignore_ascii_case(asked));
    // Not a question, and the same one.
    if !ours || !echoed || flags & 0x8000 == 0 {
        return Err(Foreign);
    }
    Ok(match flags & 0x020f {
        0 => match reader.addresses(records, family) {
            Some(addresses) => Answer::Addresses(addresses),
            None => Answer::Failed,
        },
        3 => Answer::NoName,
        truncated if truncated & 0x0200 != 0 => Answer::Truncated,
        _ => Answer::Failed,
    })
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Passes over a name: labels, ended by an empty one or by a pointer. The pointer is not
    /// followed, so there is no loop to be caught in.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            match self.take(1)?[0] {
                0 => return Some(()),
                length @ 1..=63 => _ = self.take(length.into())?,
                0xc0.. => return self.take(1).map(|_| ()),
                _ => return None,
            }
        }
    }

    fn addresses(&mut self, records: u16, family: Family) -> Option<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        for _ in 0..records {
            self.skip_name()?;
            let (kind, class) = (self.number()?, self.number()?);
            self.take(4)?; // how long it may be kept: we keep nothing
            let length = self.number()?;
            let data = self.take(length.into())?;
            if kind != family as u16 || class != INTERNET {
                continue;
            }
            if addresses.len() == RECORDS_MAX {
                return None;
            }
            addresses.push(match family {
                Family::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into(),
                Family::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into(),
            });
        }
        Some(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with these records (owner is a pointer to the question), each
    /// (type, data).
    fn reply(question: &[u8], flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = question[..question.len() - 11].to_vec();
        message[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        message[10..12].copy_from_slice(&[0, 0]);
        for (kind, data) in records {
            message.extend([0xc0, 12]);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 60]);
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(*data);
        }
        message
    }

    #[test]
    fn every_address_of_the_answer_is_seen() {
        let asked = question(7, "a.example", Family::V4);
        let records: [(u16, &[u8]); 4] =
            [(5, &[1, b'b', 0]), (1, &[93, 184, 216, 34]), (16, &[1, b'x']), (1, &[10, 0, 0, 1])];
        let message = reply(&asked, 0, &records);
        let addresses = vec![IpAddr::from([93, 184, 216, 34]), IpAddr::from([10, 0, 0, 1])];
        assert_eq!(answer(&asked, &message, Family::V4), Ok(Answer::Addresses(addresses)));
        let asked = question(8, "a.example", Family::V6);
        let message = reply(&asked, 0, &[(28, &[0; 16])]);
        let addresses = vec![IpAddr::from([0_u16; 8])];
        assert_eq!(answer(&asked, &message, Family::V6), Ok(Answer::Addresses(addresses)));
    }

    #[test]
    fn codes_are_told_apart() {
        let asked = question(7, "a.example", Family::V4);
        let said = |flags| answer(&asked, &reply(&asked, flags, &[]), Family::V4).unwrap();
        assert_eq!(said(0), Answer::Addresses(vec![]));
        assert_eq!(said(3), Answer::NoName);
        assert_eq!(said(2), Answer::Failed);
        assert_eq!(said(5), Answer::Failed);
        assert_eq!(said(0x0200), Answer::Truncated);
    }

    #[test]
    fn an_answer_to_another_question_is_foreign() {
        let asked = question(7, "a.example", Family::V4);
        for other in [
            question(8, "a.example", Family::V4),
            question(7, "b.example", Family::V4),
            question(7, "a.example", Family::V6),
        ] {
            assert_eq!(answer(&asked, &reply(&other, 0, &[]), Family::V4), Err(Foreign));
        }
        assert_eq!(answer(&asked, &asked, Family::V4), Err(Foreign));
    }

    #[test]
    fn a_cut_answer_gives_no_addresses() {
        let asked = question(7, "a.example", Family::V4);
        let whole = reply(&asked, 0, &[(1, &[8, 8, 8, 8]), (1, &[8, 8, 4, 4])]);
        for length in 0..whole.len() {
            let said = answer(&asked, &whole[..length], Family::V4);
            assert!(matches!(said, Err(Foreign) | Ok(Answer::Failed)), "{length}: {said:?}");
        }
    }

    #[test]
    fn an_address_of_a_wrong_length_and_too_many_addresses_fail() {
        let asked = question(7, "a.example", Family::V4);
        for data in [&[8, 8, 8][..], &[8; 5], &[8; 16]] {
            let said = answer(&asked, &reply(&asked, 0, &[(1, data)]), Family::V4);
            assert_eq!(said, Ok(Answer::Failed));
        }
        let many = vec![(1, &[8, 8, 8, 8][..]); RECORDS_MAX + 1];
        assert_eq!(answer(&asked, &reply(&asked, 0, &many), Family::V4), Ok(Answer::Failed));
    }
}
