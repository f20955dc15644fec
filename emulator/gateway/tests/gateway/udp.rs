use std::net::Ipv4Addr;
use std::time::Duration;

use emulator_gateway::Config;
use emulator_protocol::{FlowState, Transport};
use wisp::{Kind, Reason, server};

use crate::cable::Faults;
use crate::world::{World, errors};

#[test]
fn datagrams_both_ways() {
    let mut world = World::new();
    let address = world.resolve("pool.ntp.org");
    let socket = world.guest.udp();
    for n in 0..3 {
        world.guest.send_to(socket, (address, 123), &[n; 48]);
    }
    world.until("heard", |world| {
        world.relay().streams.first().is_some_and(|stream| stream.datagrams.len() == 3)
    });
    let stream = &world.relay().streams[0];
    assert_eq!((stream.host.as_str(), stream.port, stream.kind), ("pool.ntp.org", 123, Kind::Udp));
    let id = stream.id;
    assert!(world.relay().server.send_datagram(id, b"the time"));
    let mut heard = None;
    world.until("an answer", |world| {
        heard = world.guest.heard(socket);
        heard.is_some()
    });
    let (from, bytes) = heard.unwrap();
    assert_eq!((from.addr, from.port), (address.into(), 123));
    assert_eq!(bytes, b"the time");
    let flow = world.gateway.report(world.now).flows.remove(0);
    assert_eq!((flow.transport, flow.sent, flow.received), (Transport::Udp, 144, 8));
    // Too long for the MTU: lost, and nothing else.
    assert!(world.relay().server.send_datagram(id, &[0; 1473]));
    assert!(world.relay().server.send_datagram(id, &[0; 1472]));
    world.until("the other", |world| {
        world.guest.heard(socket).is_some_and(|(_, bytes)| bytes.len() == 1472)
    });
    // Idle for a minute.
    let before = world.now;
    world.until("closed", |world| world.relay().streams[0].closed == Some(Reason::Voluntary));
    assert!(world.now - before > Duration::from_secs(59));
    assert_eq!(world.gateway.report(world.now).flows[0].state, FlowState::Closed);
}

#[test]
fn what_is_refused_is_said() {
    let mut world = World::new();
    let name = world.resolve("example.org");
    let socket = world.guest.udp();
    world.seen = Some(Vec::new());
    for (address, port, code) in [
        (name, 443, Some(3)),
        (name, 853, Some(3)),
        (Ipv4Addr::new(198, 18, 9, 9), 123, Some(1)),
        (Ipv4Addr::new(10, 0, 2, 2), 123, Some(3)),
        (Ipv4Addr::new(10, 0, 2, 3), 123, Some(3)),
        (Ipv4Addr::new(224, 0, 0, 251), 5353, None),
        (Ipv4Addr::new(10, 0, 2, 255), 137, None),
    ] {
        world.seen = Some(Vec::new());
        world.guest.send_to(socket, (address, port), b"hello");
        world.run(5);
        let expected: Vec<_> = code.map(|code| (code, port)).into_iter().collect();
        assert_eq!(errors(world.seen.as_ref().unwrap()), expected, "{address}:{port}");
    }
    assert!(world.relay().streams.is_empty());
}

#[test]
fn relays_without_udp() {
    let config = server::Config { udp: false, ..server::Config::default() };
    let mut world = World::with(config, Config::default(), Faults::default());
    let (address, socket) = (world.resolve("pool.ntp.org"), world.guest.udp());
    world.seen = Some(Vec::new());
    world.guest.send_to(socket, (address, 123), b"time?");
    world.run(5);
    assert_eq!(errors(world.seen.as_ref().unwrap()), [(3, 123)]);
    let report = world.gateway.report(world.now);
    assert_eq!(report.blocked[0].why, "the relay carries no UDP");
    world.relay = None;
    let now = world.now;
    world.gateway.disconnected(now);
    world.seen = Some(Vec::new());
    world.guest.send_to(socket, (Ipv4Addr::new(192, 0, 2, 1), 123), b"time?");
    world.run(5);
    assert_eq!(errors(world.seen.as_ref().unwrap()), [(0, 123)]);
}

#[test]
fn many_exchanges_are_bounded() {
    let mut world = World::new();
    let address = world.resolve("example.org");
    for _ in 0..200 {
        let socket = world.guest.udp();
        world.guest.send_to(socket, (address, 123), b"time?");
        world.run(3);
        world.guest.sockets.remove(socket);
    }
    let open = world.relay().streams.iter().filter(|stream| stream.closed.is_none()).count();
    assert_eq!((world.relay().streams.len(), open), (200, 64));
}
