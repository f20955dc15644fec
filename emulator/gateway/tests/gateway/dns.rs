use std::net::Ipv4Addr;

use emulator_gateway::Config;
use smoltcp::socket::tcp::State;

use crate::cable::Faults;
use crate::world::{DNS, World};

/// A query as a resolver sends it.
pub(crate) fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// Asks any address; the answer comes from just that.
fn ask(world: &mut World, server: Ipv4Addr, name: &str, kind: u16) -> Vec<u8> {
    let socket = world.guest.udp();
    world.guest.send_to(socket, (server, 53), &query(name, kind));
    let mut answer = None;
    world.until("an answer", |world| {
        answer = world.guest.heard(socket);
        answer.is_some()
    });
    let (from, bytes) = answer.unwrap();
    assert_eq!((from.addr, from.port), (server.into(), 53));
    bytes
}

#[test]
fn every_address_is_a_name_server() {
    let mut world = World::new();
    for server in [DNS, Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(10, 0, 2, 2)] {
        let answer = ask(&mut world, server, "example.org", 1);
        assert!(answer.ends_with(&[198, 18, 0, 1]), "{server}");
    }
    assert_eq!(ask(&mut world, DNS, "example.org", 28)[3] & 0xf, 0);
    assert_eq!(ask(&mut world, DNS, "localhost", 1)[3] & 0xf, 3);
}

#[test]
fn without_a_relay_a_name_fails_at_once() {
    let mut world = World::alone(Config::default(), Faults::default());
    assert_eq!(ask(&mut world, DNS, "example.org", 1)[3] & 0xf, 2);
    world.join(wisp::server::Config::default());
    assert_eq!(ask(&mut world, DNS, "example.org", 1)[3] & 0xf, 0);
}

#[test]
fn over_tcp_as_well() {
    let mut world = World::new();
    let handle = world.guest.connect(Ipv4Addr::new(1, 1, 1, 1), 53);
    world.until("open", |world| world.guest.state(handle) == State::Established);
    let query = query("example.org", 1);
    for _ in 0..3 {
        world.guest.tcp(handle).send_slice(&[0, query.len() as u8]).unwrap();
        world.guest.tcp(handle).send_slice(&query).unwrap();
    }
    let mut answers = Vec::new();
    world.until("three answers", |world| {
        answers.extend(world.read(handle));
        answers.len() == 3 * (query.len() + 18)
    });
    assert!(answers.ends_with(&[198, 18, 0, 1]));
    world.guest.tcp(handle).close();
    world.until("closed", |world| {
        matches!(world.guest.state(handle), State::TimeWait | State::Closed)
    });
    assert!(world.relay().streams.is_empty());
}

#[test]
fn a_stranger_on_the_port_of_dns_is_reset() {
    let mut world = World::new();
    let handle = world.guest.connect(DNS, 53);
    world.until("open", |world| world.guest.state(handle) == State::Established);
    world.guest.tcp(handle).send_slice(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    world.until("reset", |world| world.guest.state(handle) == State::Closed);
}
