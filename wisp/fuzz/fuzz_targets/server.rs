//! A client of any manners. The input is a row of pieces, each a length and so many bytes:
//! even lengths are messages, odd ones what our own side does next. Nothing panics, nothing is
//! held that the window has no room for, and after the end there is silence.
#![no_main]
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};

use libfuzzer_sys::fuzz_target;
use wisp::packet::Packet;
use wisp::server::{Config, Event, Server};
use wisp::{Kind, Reason};

const PACKETS: u32 = 3;
const BYTES: u32 = 20;
const STREAMS: usize = 4;

/// An open TCP stream.
#[derive(Default)]
struct Stream {
    /// Lengths of the packets that are held.
    packets: VecDeque<usize>,
    /// We said that we send no more.
    finished: bool,
    /// The client said so.
    ended: bool,
}

fuzz_target!(|input: &[u8]| {
    let Some((&knobs, mut rest)) = input.split_first() else { return };
    let mut server = Server::new(Config {
        v2: knobs & 1 != 0,
        window_packets: PACKETS,
        window_bytes: if knobs & 2 != 0 { BYTES } else { 0 },
        udp: knobs & 4 != 0,
        motd: (knobs & 8 != 0).then(|| "hello".into()),
        password: [None, None, Some(false), Some(true)][usize::from(knobs >> 4 & 3)],
        max_streams: STREAMS,
    });
    let mut held: HashMap<u32, Stream> = HashMap::new();
    let mut over = false;
    while let Some((&length, after)) = rest.split_first() {
        let (piece, after) = after.split_at(after.len().min(usize::from(length / 2)));
        rest = after;
        let stream = u32::from(piece.first().copied().unwrap_or(1));
        if length % 2 == 1 {
            match piece.get(1).copied().unwrap_or(0) % 9 {
                0 => server.opened(stream),
                1 => drop(server.send(stream, piece)),
                2 => drop(server.send_datagram(stream, piece)),
                3 => {
                    if server.shutdown(stream) {
                        shut(&mut held, stream, true);
                    }
                }
                4 => {
                    server.close(stream, Reason::Voluntary);
                    held.remove(&stream);
                }
                5 => server.admit(),
                6 => drop(server.transmit()),
                _ => {
                    if let Some(length) =
                        held.get_mut(&stream).and_then(|open| open.packets.pop_front())
                    {
                        server.consumed(stream, length);
                    }
                }
            }
            continue;
        }
        match server.receive(piece) {
            Err(_) | Ok(Event::Ended { .. }) => {
                assert!(!over, "it ends once");
                over = true;
                held.clear();
            }
            Ok(event) => {
                assert!(!over || event == Event::None, "silence after the end");
                heard(&server, event, &mut held);
            }
        }
        assert!(held.len() <= STREAMS);
    }
    while let Some(message) = server.transmit() {
        Packet::parse(&message).expect("what we say is right");
    }
});

fn heard(server: &Server, event: Event<'_>, held: &mut HashMap<u32, Stream>) {
    match event {
        Event::Connect { stream, kind: Kind::Tcp, host, port } => {
            assert!(stream != 0 && port != 0 && !host.is_empty());
            assert!(held.insert(stream, Stream::default()).is_none(), "an id is used once");
        }
        Event::Data { stream, bytes } => {
            let flow = server.terms().expect("after the handshake").flow;
            if let Some(open) = held.get_mut(&stream) {
                assert!(!open.ended, "it said that it sends no more");
                open.packets.push_back(bytes.len());
                let (count, sum) = (open.packets.len(), open.packets.iter().sum::<usize>());
                assert!(if flow { sum <= BYTES as usize } else { count <= PACKETS as usize });
            }
        }
        Event::Closed { stream, .. } => drop(held.remove(&stream)),
        Event::Finished { stream } => shut(held, stream, false),
        _ => {}
    }
}

/// One side has shut a stream down; it is over when both have.
fn shut(held: &mut HashMap<u32, Stream>, stream: u32, ours: bool) {
    let Some(open) = held.get_mut(&stream) else { return };
    if ours {
        open.finished = true;
    } else {
        open.ended = true;
    }
    if open.finished && open.ended {
        held.remove(&stream);
    }
}
