//! Many flows, and many relays.

use std::net::Ipv4Addr;

use emulator_gateway::{Config, MAX_FLOWS};
use emulator_protocol::FlowState;
use smoltcp::socket::tcp::State;
use wisp::server;

use crate::cable::Faults;
use crate::relay::Answer;
use crate::world::{GATEWAY, World};

fn live(world: &World) -> usize {
    let flows = world.gateway.report(world.now).flows;
    flows.iter().filter(|flow| flow.state != FlowState::Closed).count()
}

#[test]
fn one_more_than_there_may_be_is_refused() {
    let config = server::Config { max_streams: 1000, ..server::Config::default() };
    let mut world = World::with(config, Config::default(), Faults::default());
    let address = world.resolve("example.org");
    let connect = |world: &mut World| {
        let handle = world.guest.connect_with(address, 80, 1024);
        world.until("an answer", |world| world.guest.state(handle) != State::SynSent);
        handle
    };
    let handles: Vec<_> = (0..MAX_FLOWS).map(|_| connect(&mut world)).collect();
    assert!(handles.iter().all(|handle| world.guest.state(*handle) == State::Established));
    let more = connect(&mut world);
    assert_eq!(world.guest.state(more), State::Closed);
    let report = world.gateway.report(world.now);
    assert_eq!(report.blocked[0].why, "more than 256 connections at once");
    assert_eq!(report.flows.len(), emulator_protocol::MAX_FLOWS);
    // One that is over makes place at once, though it waits for stray segments.
    world.relay().finish(0);
    world.until("FIN", |world| world.guest.state(handles[0]) == State::CloseWait);
    world.guest.tcp(handles[0]).close();
    world.until("closed", |world| world.guest.state(handles[0]) == State::Closed);
    let another = connect(&mut world);
    assert_eq!(world.guest.state(another), State::Established);
}

#[test]
fn a_port_is_used_again_at_once() {
    let mut world = World::new();
    let handle = world.open("example.org", 80);
    let port = world.guest.tcp(handle).local_endpoint().unwrap().port;
    // The gateway closes first, so it is the one that waits for stray segments.
    world.relay().finish(0);
    world.until("FIN", |world| world.guest.state(handle) == State::CloseWait);
    world.guest.tcp(handle).close();
    world.until("closed", |world| world.guest.state(handle) == State::Closed);
    let address: Ipv4Addr = world.resolve("example.org");
    let context = world.guest.interface.context();
    let socket = world.guest.sockets.get_mut::<smoltcp::socket::tcp::Socket<'_>>(handle);
    socket.connect(context, (address, 80), port).unwrap();
    let before = world.now;
    world.until("open", |world| world.guest.state(handle) == State::Established);
    assert!((world.now - before).as_millis() < 20);
    assert_eq!(world.relay().streams.len(), 2);
}

#[test]
fn a_flapping_relay_leaks_nothing() {
    let mut world = World::new();
    let mut size = None;
    for round in 0..50 {
        world.relay().answer = Answer::Connect;
        let open: Vec<_> = (0..4).map(|port| world.open("example.org", 80 + port)).collect();
        world.relay().answer = Answer::Nothing;
        let address = world.resolve("example.org");
        let waiting = world.guest.connect(address, 99);
        let socket = world.guest.udp();
        world.guest.send_to(socket, (address, 123), b"time?");
        world.until("asked", |world| world.relay().streams.len() == 6);
        assert_eq!(live(&world), 6);
        if round % 2 == 0 {
            world.relay = None;
            let now = world.now;
            world.gateway.disconnected(now);
        }
        world.join(server::Config::default());
        for handle in open.into_iter().chain([waiting]) {
            world.until("reset", |world| world.guest.state(handle) == State::Closed);
            world.guest.sockets.remove(handle);
        }
        world.guest.sockets.remove(socket);
        assert_eq!(live(&world), 0);
        let now = world.now;
        assert_eq!(world.gateway.poll(now), None);
        // All that the gateway would keep is what it had after the first round.
        let saved = world.gateway.save().len();
        assert_eq!(*size.get_or_insert(saved), saved);
    }
}

#[test]
fn a_guest_that_is_not_there_any_more_is_forgotten() {
    let mut world = World::new();
    world.open("example.org", 80);
    // It was switched off.
    world.guest.sockets = smoltcp::iface::SocketSet::new(Vec::new());
    world.guest.interface.update_ip_addrs(|addresses| addresses.clear());
    for _ in 0..17 * 60 {
        world.now += std::time::Duration::from_secs(1);
        world.step();
    }
    assert_eq!(live(&world), 0);
    world.until("told", |world| world.relay().streams[0].closed.is_some());
}

#[test]
fn a_guest_that_says_nothing_is_still_there() {
    let mut world = World::new();
    let handle = world.open("example.org", 22);
    let socket = world.guest.udp();
    for second in 0..60 * 60 {
        world.now += std::time::Duration::from_secs(1);
        // This guest forgets its neighbours' addresses in a minute, and then loses an answer.
        if second % 30 == 0 {
            world.guest.send_to(socket, (GATEWAY, 9), b"who are you?");
        }
        world.step();
    }
    assert_eq!(world.guest.state(handle), State::Established);
    world.relay().say(0, b"hello");
    world.until("bytes", |world| world.read(handle) == b"hello");
}

#[test]
fn the_guest_is_not_given_more_than_it_can_take() {
    let mut world = World::new();
    let handle = world.open("example.org", 80);
    world.relay().say(0, &[1; 300_000]);
    let mut read = 0;
    for _ in 0..100_000 {
        world.gateway.set_guest_room(0);
        world.step();
        assert!(world.guest.card.arrived.is_empty());
        world.gateway.set_guest_room(2);
        let frames: Vec<_> = std::iter::from_fn(|| world.gateway.transmit()).collect();
        assert!(frames.len() <= 2);
        world.guest.card.arrived.extend(frames);
        read += world.read(handle).len();
        if read == 300_000 {
            return;
        }
    }
    panic!("never: all bytes");
}
