//! A server of any manners. The input is a row of pieces, each a length and so many bytes:
//! even lengths are messages, odd ones what our own side does next. Nothing panics, and after
//! the end there is silence.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use wisp::client::{Client, Config, Event};
use wisp::packet::Packet;
use wisp::{Credentials, Kind, Reason};

fuzz_target!(|input: &[u8]| {
    let Some((&knobs, mut rest)) = input.split_first() else { return };
    let who = Credentials { user: "a".into(), password: "b".into() };
    let credentials = (knobs & 2 != 0).then_some(who);
    let mut client = Client::new(Config { v2: knobs & 1 != 0, credentials });
    let (mut over, mut last) = (false, 0);
    while let Some((&length, after)) = rest.split_first() {
        let (piece, after) = after.split_at(after.len().min(usize::from(length / 2)));
        rest = after;
        let stream = u32::from(piece.first().copied().unwrap_or(1));
        if length % 2 == 1 {
            match piece.get(1).copied().unwrap_or(0) % 8 {
                0 | 1 => {
                    let kind = if stream % 2 == 0 { Kind::Tcp } else { Kind::Udp };
                    if let Ok(id) = client.open(kind, "a", 80) {
                        assert!(!over && id > last, "ids go up");
                        last = id;
                    }
                }
                2 => {
                    let room = client.room(stream);
                    assert!(client.send(stream, piece) <= room);
                }
                3 => drop(client.send_datagram(stream, piece)),
                4 => client.consumed(stream, piece.len()),
                5 => drop(client.shutdown(stream)),
                6 => client.close(stream, Reason::Voluntary),
                _ => drop(client.transmit()),
            }
            continue;
        }
        match client.receive(piece) {
            Err(_) | Ok(Event::Ended { .. }) => {
                assert!(!over, "it ends once");
                over = true;
            }
            Ok(event) => {
                assert!(!over || event == Event::None, "silence after the end");
                if let Event::Opened { stream } | Event::Data { stream, .. } = event {
                    assert!(stream != 0 && stream <= last, "only streams that we opened");
                }
            }
        }
    }
    while let Some(message) = client.transmit() {
        Packet::parse(&message).expect("what we say is right");
    }
});
