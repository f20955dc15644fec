//! What frames cost, with one flow and with many that are idle.
//!
//! A test, not a measurement: it asserts no time, only that the work is done; with
//! `--release --nocapture` it prints what it took.

use std::time::Instant;

use emulator_gateway::Config;
use smoltcp::iface::SocketHandle;

use crate::cable::Faults;
use crate::world::World;

const BYTES: usize = if cfg!(debug_assertions) { 1 << 20 } else { 256 << 20 };

/// Seconds for the guest to get and to send so many bytes.
fn measure(mtu: usize, checksums: bool, idle: usize) -> (f64, f64) {
    let mut config = Config { mtu, ..Config::default() };
    config.checksums.verify = checksums;
    config.checksums.fill = checksums;
    let relay = wisp::server::Config { max_streams: 1000, ..wisp::server::Config::default() };
    let mut world = World::with(relay, config, Faults::default());
    for _ in 0..idle {
        world.open("idle.example.org", 80);
    }
    // Only the gateway's own time counts: its guest's other sockets go.
    world.guest.sockets = smoltcp::iface::SocketSet::new(Vec::new());
    let handle = world.open("example.org", 80);
    (down(&mut world, handle, idle), up(&mut world, handle))
}

fn down(world: &mut World, handle: SocketHandle, at: usize) -> f64 {
    let (piece, mut read) = (vec![7; 256 * 1024], 0);
    let (start, mut gateway) = (Instant::now(), 0.0);
    while read < BYTES {
        if world.relay().waiting(at) < piece.len() {
            world.relay().say(at, &piece);
        }
        gateway += world.timed();
        read += world.read(handle).len();
    }
    assert!(start.elapsed().as_secs_f64() >= gateway);
    gateway
}

fn up(world: &mut World, handle: SocketHandle) -> f64 {
    let (piece, mut gateway) = (vec![7; 64 * 1024], 0.0);
    let before = world.gateway.report(world.now).sent as usize;
    while (world.gateway.report(world.now).sent as usize) < before + BYTES {
        let _ = world.guest.tcp(handle).send_slice(&piece);
        gateway += world.timed();
        if let Some(stream) = world.relay().streams.last_mut() {
            stream.heard.clear();
        }
    }
    gateway
}

#[test]
fn many_idle_flows_cost_little() {
    for (mtu, checksums, idle) in
        [(1500, true, 0), (1500, true, 200), (1500, false, 0), (9000, true, 0), (9000, false, 0)]
    {
        let (down, up) = measure(mtu, checksums, idle);
        let rate = |seconds: f64| BYTES as f64 / seconds / (1 << 20) as f64;
        println!(
            "MTU {mtu}, checksums {checksums}, {idle} idle: down {:.0} MiB/s, up {:.0} MiB/s",
            rate(down),
            rate(up)
        );
    }
}
