//! Packets there and back, cut anywhere, and any bytes at all.

use wisp::packet::{Fault, HEADER, Info, MAX_HOST, Malformed, Packet, append, kind};
use wisp::{Kind, MAX_DATA, MAX_DATAGRAM, MAX_MESSAGE};

use crate::sample::{Owned, Random};

fn written(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.write(&mut bytes);
    bytes
}

#[test]
fn packets_go_there_and_back() {
    let mut random = Random::new(1);
    for _ in 0..20_000 {
        let owned = Owned::random(&mut random);
        let packet = owned.packet();
        let bytes = written(&packet);
        assert_eq!(bytes.len(), packet.size());
        assert_eq!((bytes[0], &bytes[1..5]), (packet.kind(), &packet.stream().to_le_bytes()[..]));
        assert_eq!(Packet::parse(&bytes), Ok(packet));
    }
}

/// The specification's own layout, byte by byte, so that writer and reader cannot be wrong
/// together.
#[test]
fn packets_look_as_the_specification_says() {
    let cases: [(Packet<'_>, &[u8]); 7] = [
        (
            Packet::Connect { stream: 0x0403_0201, kind: Kind::Udp, port: 443, host: "é.io" },
            b"\x01\x01\x02\x03\x04\x02\xbb\x01\xc3\xa9.io",
        ),
        (Packet::Data { stream: 1, bytes: b"hi" }, b"\x02\x01\0\0\0hi"),
        (Packet::Continue { stream: 0, packets: 32 }, b"\x03\0\0\0\0\x20\0\0\0"),
        (Packet::Close { stream: 9, reason: wisp::Reason::Refused }, b"\x04\x09\0\0\0\x44"),
        (
            Packet::Info(Info::new(2, 0, b"\x01\0\0\0\0\x04\x02\0\0\0hi").unwrap()),
            b"\x05\0\0\0\0\x02\0\x01\0\0\0\0\x04\x02\0\0\0hi",
        ),
        (Packet::Credit { stream: 1, bytes: 0x1_0000 }, b"\xf1\x01\0\0\0\0\0\x01\0"),
        (Packet::Shutdown { stream: 2 }, b"\xf2\x02\0\0\0"),
    ];
    for (packet, bytes) in cases {
        assert_eq!(written(&packet), bytes);
        assert_eq!(Packet::parse(bytes), Ok(packet));
    }
}

/// Packets of a fixed length have no other. The rest end where the message ends: cut, they
/// are another packet or none, but never what they were.
#[test]
fn packets_are_cut_at_every_length() {
    let mut random = Random::new(2);
    for _ in 0..2000 {
        let owned = Owned::random(&mut random);
        let packet = owned.packet();
        let bytes = written(&packet);
        let open = matches!(packet.kind(), kind::CONNECT | kind::DATA | kind::INFO);
        for cut in 0..bytes.len() {
            match Packet::parse(&bytes[..cut]) {
                Ok(other) => {
                    assert!(open && cut >= HEADER && other != packet, "{packet:?} at {cut}");
                    assert_eq!(written(&other), &bytes[..cut]);
                }
                Err(Malformed::Connect { stream, .. }) => assert_eq!(stream, packet.stream()),
                Err(_) => {}
            }
        }
        if !open {
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(Packet::parse(&longer), Err(Malformed::Trailing));
        }
    }
}

/// What is accepted is what would be written: no two spellings, no byte ignored.
#[test]
fn any_bytes_are_an_error_or_canonical() {
    let mut random = Random::new(3);
    let kinds = [1, 2, 3, 4, 5, 0xf1, 0xf2];
    let mut accepted = 0;
    for _ in 0..100_000 {
        let length = random.below(40);
        let mut bytes = random.bytes(length);
        if let Some(first) = bytes.first_mut() {
            *first = kinds[random.below(kinds.len())];
        }
        if random.chance(2) {
            // A small stream and small numbers make more of it acceptable.
            bytes.iter_mut().skip(2).for_each(|byte| *byte &= 3);
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            assert_eq!(written(&packet), bytes);
            accepted += 1;
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

/// A valid packet with one byte changed is read again or refused.
#[test]
fn every_byte_is_flipped() {
    let mut random = Random::new(4);
    for _ in 0..1000 {
        let owned = Owned::random(&mut random);
        let bytes = written(&owned.packet());
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << random.below(8);
            if let Ok(packet) = Packet::parse(&flipped) {
                assert_eq!(written(&packet), flipped);
                assert_ne!(packet, owned.packet());
            }
        }
    }
}

#[test]
fn hosts_have_limits() {
    let connect = |kind: u8, port: u16, host: &[u8]| {
        let [low, high] = port.to_le_bytes();
        let message = [&[1, 7, 0, 0, 0, kind, low, high], host].concat();
        match Packet::parse(&message) {
            Ok(Packet::Connect { .. }) => Ok(()),
            Err(Malformed::Connect { stream: 7, fault }) => Err(fault),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(connect(1, 80, &[b'a'; MAX_HOST]), Ok(()));
    assert_eq!(connect(2, 65_535, b"::1"), Ok(()));
    assert_eq!(connect(1, 80, &[b'a'; MAX_HOST + 1]), Err(Fault::LongHost));
    assert_eq!(connect(1, 80, &[b'a'; 64 * 1024 - 3]), Err(Fault::LongHost));
    assert_eq!(connect(1, 80, b""), Err(Fault::NoHost));
    assert_eq!(connect(1, 0, b"a"), Err(Fault::Port));
    for kind in [0, 3, 255] {
        assert_eq!(connect(kind, 80, b"a"), Err(Fault::Kind(kind)));
    }
    for host in [&b"\xff"[..], b"a\0b", b"a b", b"a\nb", b"a\r\nHost: b", b"\x1b[2J", b"\xc3"] {
        assert_eq!(connect(1, 80, host), Err(Fault::HostText), "{host:?}");
    }
}

#[test]
fn messages_have_a_longest() {
    let mut message = vec![0; MAX_MESSAGE];
    message[..2].copy_from_slice(&[kind::DATA, 1]);
    let Ok(Packet::Data { bytes, .. }) = Packet::parse(&message) else { panic!("accepted") };
    assert!(bytes.len() > MAX_DATAGRAM && MAX_DATAGRAM > MAX_DATA);
    message.push(0);
    assert_eq!(Packet::parse(&message), Err(Malformed::Long));
}

/// Only the first length of a list checked, or a length believed: both are others' faults.
#[test]
fn info_is_checked_to_its_last_entry() {
    let mut good = Vec::new();
    append(&mut good, 1, &[]);
    append(&mut good, 4, b"hello");
    let listed = |entries: &[u8]| {
        Info::new(2, 0, entries).map(|info| info.extensions().map(|(id, _)| id).collect::<Vec<_>>())
    };
    assert_eq!(listed(&good), Ok(vec![1, 4]));
    assert_eq!(Info::new(2, 0, &good).unwrap().extension(4), Some(&b"hello"[..]));
    for cut in 1..good.len() {
        let whole = cut == 5;
        assert_eq!(listed(&good[..cut]).is_ok(), whole, "cut at {cut}");
    }
    for lie in [6, 255, u32::MAX, 1 << 31] {
        let mut lying = good.clone();
        lying[6..10].copy_from_slice(&lie.to_le_bytes());
        assert_eq!(listed(&lying), Err(Malformed::Extension(4)));
    }
    let twice = [&good[..], &good[..5]].concat();
    assert_eq!(listed(&twice), Err(Malformed::Extension(1)));
}
