//! How much one core moves through both ends, in memory: `cargo run --release -p wisp
//! --example throughput`. Each row is bytes of one direction, sent, carried as messages,
//! received and passed on, over so many streams in turn.
#![forbid(unsafe_code)]

use std::time::Instant;

use wisp::client::{self, Client};
use wisp::server::{self, Server};
use wisp::{Kind, MAX_DATA};

/// Bytes of a row.
const TOTAL: usize = 1 << 30;

/// Two ends after their handshake, with open streams.
fn pair(v2: bool, streams: u32) -> (Client, Server, Vec<u32>) {
    let mut client = Client::new(client::Config { v2, credentials: None });
    let config = server::Config { v2, max_streams: 256, ..server::Config::default() };
    let mut server = Server::new(config);
    exchange(&mut client, &mut server);
    let open = |_| client.open(Kind::Tcp, "example.org", 80).expect("ready");
    let ids: Vec<u32> = (0..streams).map(open).collect();
    exchange(&mut client, &mut server);
    ids.iter().for_each(|id| server.opened(*id));
    exchange(&mut client, &mut server);
    (client, server, ids)
}

/// Carries all there is both ways; passes on what comes. The bytes that came.
fn exchange(client: &mut Client, server: &mut Server) -> usize {
    let mut moved = 0;
    loop {
        let mut still = true;
        while let Some(message) = client.transmit() {
            still = false;
            if let server::Event::Data { stream, bytes } = server.receive(&message).expect("ours") {
                moved += bytes.len();
                server.consumed(stream, bytes.len());
            }
        }
        while let Some(message) = server.transmit() {
            still = false;
            if let client::Event::Data { stream, bytes } = client.receive(&message).expect("ours") {
                moved += bytes.len();
                client.consumed(stream, bytes.len());
            }
        }
        if still {
            return moved;
        }
    }
}

fn main() {
    let chunk = vec![7; MAX_DATA];
    for (v2, streams, up) in [
        (false, 1, true),
        (false, 128, true),
        (true, 1, true),
        (true, 128, true),
        (true, 128, false),
    ] {
        let (mut client, mut server, ids) = pair(v2, streams);
        let (mut moved, start) = (0, Instant::now());
        while moved < TOTAL {
            for id in &ids {
                let sent = if up { client.send(*id, &chunk) } else { server.send(*id, &chunk) };
                if sent == 0 {
                    moved += exchange(&mut client, &mut server);
                }
            }
        }
        let rate = moved as f64 / start.elapsed().as_secs_f64() / f64::from(1 << 20);
        let (version, way) =
            (if v2 { "v2 with flow" } else { "v1" }, if up { "up" } else { "down" });
        println!("{version}, {streams} streams, {way}: {rate:.0} MiB/s");
    }
}
