use std::net::Ipv4Addr;
use std::time::Duration;

use emulator_gateway::Config;
use emulator_protocol::{FlowState, Policy, Rule, Target, Verdict};
use smoltcp::socket::tcp::State;
use wisp::Reason;
use wisp::server;

use crate::cable::Faults;
use crate::relay::Answer;
use crate::world::{World, errors, flags, noise};

const MIB: usize = 1024 * 1024;
const RST: u8 = 4;

fn v1() -> server::Config {
    server::Config { v2: false, ..server::Config::default() }
}

fn no_flow() -> server::Config {
    server::Config { window_bytes: 0, ..server::Config::default() }
}

/// Sends bytes both ways at once, and half-closes first this way, then that.
fn both_ways(mut world: World, length: usize) {
    let handle = world.open("example.org", 443);
    let (up, down) = (noise(length), noise(length + 1));
    world.relay().say(0, &down);
    let (mut sent, mut read) = (0, Vec::new());
    world.until("all bytes", |world| {
        if sent < up.len() && world.guest.tcp(handle).can_send() {
            sent += world.guest.tcp(handle).send_slice(&up[sent..]).unwrap();
        }
        read.extend(world.read(handle));
        read.len() == down.len() && world.relay().streams[0].heard.len() == up.len()
    });
    assert!(read == down && world.relay().streams[0].heard == up);
    let flow = world.gateway.report(world.now).flows.remove(0);
    assert_eq!((flow.host.as_str(), flow.port, flow.state), ("example.org", 443, FlowState::Open));
    assert_eq!((flow.sent, flow.received), (up.len() as u64, down.len() as u64));
    if world.gateway.terms().unwrap().shutdown {
        half_close(world, handle);
    }
}

/// The guest's FIN, bytes against it, and the relay's FIN.
fn half_close(mut world: World, handle: smoltcp::iface::SocketHandle) {
    world.guest.tcp(handle).close();
    world.until("the guest's FIN", |world| world.relay().streams[0].finished);
    assert_eq!(world.relay().streams[0].closed, None);
    let late = noise(100_000);
    world.relay().say(0, &late);
    world.relay().finish(0);
    let mut read = Vec::new();
    world.until("the relay's FIN", |world| {
        read.extend(world.read(handle));
        matches!(world.guest.state(handle), State::TimeWait | State::Closed)
    });
    read.extend(world.read(handle));
    assert_eq!(read, late);
    world.until("an end", |world| {
        world.gateway.report(world.now).flows[0].state == FlowState::Closed
    });
    assert_eq!(world.gateway.report(world.now).sent as usize, world.relay().streams[0].heard.len());
}

#[test]
fn a_mebibyte_both_ways_and_half_closes() {
    both_ways(World::new(), MIB);
}

#[test]
fn frames_of_other_sizes() {
    for mtu in [576, 9000, 65_535] {
        let config = Config { mtu, ..Config::default() };
        both_ways(World::with(server::Config::default(), config, Faults::default()), 2 * MIB);
    }
}

#[test]
fn over_a_bad_cable() {
    let faults = Faults { lost: 10, twice: 20, late: 50 };
    both_ways(World::with(server::Config::default(), Config::default(), faults), MIB);
}

#[test]
fn over_a_terrible_cable() {
    let faults = Faults { lost: 100, twice: 100, late: 100 };
    both_ways(World::with(server::Config::default(), Config::default(), faults), 64 * 1024);
}

#[test]
fn relays_of_all_kinds() {
    for relay in [v1(), no_flow()] {
        both_ways(World::with(relay, Config::default(), Faults::default()), MIB);
    }
}

#[test]
fn the_relay_closes_first() {
    let mut world = World::new();
    let handle = world.open("example.org", 80);
    world.relay().say(0, b"bye");
    world.relay().finish(0);
    world.until("FIN", |world| world.guest.state(handle) == State::CloseWait);
    assert_eq!(world.read(handle), b"bye");
    let long = noise(200_000);
    let mut sent = 0;
    world.until("bytes against it", |world| {
        if sent < long.len() {
            sent += world.guest.tcp(handle).send_slice(&long[sent..]).unwrap();
        }
        world.relay().streams[0].heard.len() == long.len()
    });
    world.guest.tcp(handle).close();
    world.until("an end", |world| world.guest.state(handle) == State::Closed);
    assert!(world.relay().streams[0].heard == long);
    world.until("told", |world| world.relay().streams[0].finished);
}

#[test]
fn close_both_ways_gives_all_and_a_fin() {
    for reason in [Reason::Voluntary, Reason::Unknown, Reason::NetworkError] {
        let mut world = World::new();
        let handle = world.open("example.org", 80);
        let last = noise(300_000);
        world.relay().say(0, &last);
        world.until("said", |world| {
            world.relay().waiting(0) == 0 || !world.guest.tcp(handle).can_recv()
        });
        let mut read = Vec::new();
        world.until("given to WISP", |world| {
            read.extend(world.read(handle));
            world.relay().waiting(0) == 0
        });
        world.relay().close(0, reason);
        world.until("FIN", |world| {
            read.extend(world.read(handle));
            world.guest.state(handle) == State::CloseWait
        });
        read.extend(world.read(handle));
        assert!(read == last, "{reason}");
        // Whoever goes on talking hears that nobody listens.
        world.guest.tcp(handle).send_slice(b"hello?").unwrap();
        world.until("RST", |world| world.guest.state(handle) == State::Closed);
    }
}

#[test]
fn other_reasons_reset() {
    for reason in [Reason::DataTimeout, Reason::Throttled, Reason::Blocked, Reason::Refused] {
        let mut world = World::new();
        let handle = world.open("example.org", 80);
        world.relay().close(0, reason);
        world.until("RST", |world| world.guest.state(handle) == State::Closed);
        let report = world.gateway.report(world.now);
        assert_eq!(report.flows[0].why, Some(reason.to_string()));
        assert_eq!(report.blocked.len(), usize::from(reason == Reason::Blocked));
    }
}

#[test]
fn a_refused_port_is_refused_before_the_handshake() {
    for (relay, reason, code) in [
        (server::Config::default(), Reason::Refused, None),
        (server::Config::default(), Reason::Invalid, None),
        (server::Config::default(), Reason::Throttled, None),
        (server::Config::default(), Reason::Unreachable, Some(1)),
        (server::Config::default(), Reason::ConnectTimeout, Some(1)),
        (server::Config::default(), Reason::Blocked, Some(13)),
        (v1(), Reason::Refused, None),
        (v1(), Reason::Blocked, Some(13)),
    ] {
        let mut world = World::with(relay, Config::default(), Faults::default());
        world.relay().answer = Answer::Close(reason);
        let address = world.resolve("example.org");
        world.seen = Some(Vec::new());
        let handle = world.guest.connect(address, 81);
        world.until("RST", |world| world.guest.state(handle) == State::Closed);
        let frames = world.seen.take().unwrap();
        assert_eq!(flags(&frames), [RST | 0x10], "{reason}");
        assert_eq!(errors(&frames), code.map(|code| (code, 81)).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn the_answer_is_held_until_the_relay_has_connected() {
    let mut world = World::new();
    world.relay().answer = Answer::Nothing;
    let address = world.resolve("example.org");
    world.seen = Some(Vec::new());
    let handle = world.guest.connect(address, 80);
    world.run(2500); // the guest's SYN is sent again meanwhile
    assert_eq!(world.guest.state(handle), State::SynSent);
    assert_eq!(flags(world.seen.as_ref().unwrap()), [0_u8; 0]);
    assert_eq!(world.relay().streams.len(), 1);
    let stream = world.relay().streams[0].id;
    world.relay().server.opened(stream);
    world.until("open", |world| world.guest.state(handle) == State::Established);
}

#[test]
fn a_relay_that_never_answers_is_given_up() {
    let mut world = World::new();
    world.relay().answer = Answer::Nothing;
    let address = world.resolve("example.org");
    let (handle, before) = (world.guest.connect(address, 80), world.now);
    world.until("given up", |world| world.guest.state(handle) == State::Closed);
    let waited = world.now - before;
    assert!(waited >= Duration::from_secs(30) && waited < Duration::from_secs(31), "{waited:?}");
    world.until("told", |world| world.relay().streams[0].closed.is_some());
}

#[test]
fn a_relay_that_does_not_confirm_is_believed_after_a_moment() {
    let mut world = World::with(v1(), Config::default(), Faults::default());
    let address = world.resolve("example.org");
    let (handle, before) = (world.guest.connect(address, 80), world.now);
    world.until("open", |world| world.guest.state(handle) == State::Established);
    let held = world.now - before;
    assert!(held >= Duration::from_millis(250) && held < Duration::from_millis(300), "{held:?}");
    // One that talks first is there.
    let (handle, before) = (world.guest.connect(address, 80), world.now);
    world.until("asked", |world| world.relay().streams.len() == 2);
    world.relay().say(1, b"220 welcome");
    world.until("open", |world| world.guest.state(handle) == State::Established);
    assert!(world.now - before < Duration::from_millis(50));
}

#[test]
fn without_half_close_the_relay_has_a_while_to_finish() {
    let mut world = World::with(v1(), Config::default(), Faults::default());
    let handle = world.open("example.org", 80);
    world.guest.tcp(handle).send_slice(b"request").unwrap();
    world.guest.tcp(handle).close();
    world.run(20_000);
    assert_eq!(world.relay().streams[0].closed, None);
    world.relay().say(0, b"answer");
    world.run(20_000);
    assert_eq!(world.read(handle), b"answer");
    assert_eq!(world.relay().streams[0].closed, None);
    world.until("the end", |world| world.relay().streams[0].closed.is_some());
    world
        .until("FIN", |world| matches!(world.guest.state(handle), State::TimeWait | State::Closed));
}

#[test]
fn a_policy_blocks_with_a_word() {
    let mut world = World::new();
    let host = Target::Host { suffix: "example.org".into() };
    let rule = Rule { verdict: Verdict::Deny, target: host, ports: Some((1, 100)) };
    let policy = Policy { rules: vec![rule], default: Verdict::Allow };
    let handle = world.open("www.example.org", 80);
    world.gateway.set_policy(policy);
    world.until("RST", |world| world.guest.state(handle) == State::Closed);
    world.until("closed", |world| world.relay().streams[0].closed.is_some());
    let address = world.resolve("www.example.org");
    world.seen = Some(Vec::new());
    let handle = world.guest.connect(address, 81);
    world.until("RST", |world| world.guest.state(handle) == State::Closed);
    let frames = world.seen.take().unwrap();
    assert_eq!((errors(&frames), flags(&frames)), (vec![(13, 81)], vec![RST | 0x10]));
    let report = world.gateway.report(world.now);
    assert_eq!(report.blocked.len(), 2);
    let blocked = &report.blocked[0];
    assert_eq!((blocked.host.as_str(), blocked.port), ("www.example.org", 81));
    assert_eq!(blocked.why, "rule 1 of the policy");
    world.open("www.example.org", 443);
}

#[test]
fn what_is_nobodys_is_refused() {
    let mut world = World::new();
    for (address, port) in [
        (Ipv4Addr::new(198, 18, 77, 7), 80),
        (Ipv4Addr::new(10, 0, 2, 2), 22),
        (Ipv4Addr::new(10, 0, 2, 3), 22),
        (Ipv4Addr::new(127, 0, 0, 1), 80),
        (Ipv4Addr::new(192, 0, 2, 1), 853),
        (Ipv4Addr::new(192, 0, 2, 1), 5353),
    ] {
        let handle = world.guest.connect(address, port);
        let before = world.now;
        world.until("RST", |world| world.guest.state(handle) == State::Closed);
        assert!(world.now - before < Duration::from_millis(20), "{address}:{port}");
    }
    assert!(world.relay().streams.is_empty());
    let handle = world.guest.connect(Ipv4Addr::new(192, 0, 2, 1), 80);
    world.until("open", |world| world.guest.state(handle) == State::Established);
    assert_eq!(world.relay().streams[0].host, "192.0.2.1");
}

#[test]
fn without_a_relay_everything_fails_at_once() {
    let mut world = World::alone(Config::default(), Faults::default());
    world.seen = Some(Vec::new());
    let handle = world.guest.connect(Ipv4Addr::new(192, 0, 2, 1), 80);
    world.until("RST", |world| world.guest.state(handle) == State::Closed);
    let frames = world.seen.take().unwrap();
    assert_eq!((errors(&frames), flags(&frames)), (vec![(0, 80)], vec![RST | 0x10]));
}

#[test]
fn when_the_relay_goes_all_flows_are_reset() {
    let mut world = World::new();
    let open = world.open("example.org", 80);
    let finished = world.open("example.org", 81);
    world.guest.tcp(finished).close();
    world.run(20);
    world.relay().answer = Answer::Nothing;
    let address = world.resolve("example.org");
    let waiting = world.guest.connect(address, 82);
    world.until("asked", |world| world.relay().streams.len() == 3);
    world.seen = Some(Vec::new());
    world.relay = None;
    let now = world.now;
    world.gateway.disconnected(now);
    world.run(3);
    for handle in [open, finished, waiting] {
        assert_eq!(world.guest.state(handle), State::Closed);
    }
    assert_eq!(errors(&world.seen.take().unwrap()), [(0, 82)]);
    let report = world.gateway.report(world.now);
    assert!(report.flows.iter().all(|flow| flow.state == FlowState::Closed));
    assert_eq!(report.flows[0].why.as_deref(), Some("the connection to the relay was lost"));
}

#[test]
fn a_relay_that_ends_the_connection_says_why() {
    let mut world = World::new();
    let handle = world.open("example.org", 80);
    world.relay().server.end(Reason::AuthRequired);
    world.until("RST", |world| world.guest.state(handle) == State::Closed);
    assert_eq!(world.gateway.ended(), Some(Reason::AuthRequired));
    let now = world.now;
    world.gateway.disconnected(now);
    assert_eq!(world.gateway.ended(), Some(Reason::AuthRequired));
    world.join(server::Config::default());
    assert_eq!(world.gateway.ended(), None);
}

#[test]
fn a_guest_that_reads_nothing_stops_the_relay() {
    let mut world = World::new();
    let handle = world.open("example.org", 80);
    let much = noise(8 * MIB);
    world.relay().say(0, &much);
    world.run(10_000);
    // The stream's credit, the gateway's socket and the guest's.
    let under_way = much.len() - world.relay().waiting(0);
    assert!(under_way <= 512 * 1024 + 3 * 64 * 1024, "{under_way}");
    let mut read = Vec::new();
    world.until("all of it, late", |world| {
        read.extend(world.read(handle));
        read.len() == much.len()
    });
    assert!(read == much);
}

#[test]
fn a_relay_that_reads_nothing_stops_the_guest() {
    for config in [server::Config::default(), v1(), no_flow()] {
        let mut world = World::with(config, Config::default(), Faults::default());
        let handle = world.open("example.org", 80);
        world.relay().stalled = true;
        let (much, mut sent) = (noise(4 * MIB), 0);
        for _ in 0..10_000 {
            sent += world.guest.tcp(handle).send_slice(&much[sent..]).unwrap();
            world.step();
        }
        let heard = world.relay().streams[0].heard.len();
        assert!(heard <= 512 * 1024 && sent <= heard + 3 * 64 * 1024, "{heard} {sent}");
        world.relay().stalled = false;
        world.until("all of it, late", |world| {
            if sent < much.len() {
                sent += world.guest.tcp(handle).send_slice(&much[sent..]).unwrap();
            }
            world.relay().streams[0].heard.len() == much.len()
        });
        assert!(world.relay().streams[0].heard == much);
    }
}

#[test]
fn a_websocket_that_is_full_stops_the_guest() {
    let mut world = World::new();
    let handle = world.open("example.org", 80);
    // Nobody takes messages: the world without its relay.
    let relay = world.relay.take();
    let (much, mut sent) = (noise(4 * MIB), 0);
    for _ in 0..5_000 {
        sent += world.guest.tcp(handle).send_slice(&much[sent..]).unwrap();
        world.step();
        assert_eq!(world.gateway.next_message(emulator_gateway::SOCKET_BUFFER + 1), None);
    }
    assert!(sent <= MIB + 3 * 64 * 1024, "{sent}");
    world.relay = relay;
    world.until("all of it, late", |world| {
        if sent < much.len() {
            sent += world.guest.tcp(handle).send_slice(&much[sent..]).unwrap();
        }
        world.relay().streams[0].heard.len() == much.len()
    });
}

#[test]
fn a_relay_without_credit_is_cut_off_when_it_floods() {
    let mut world = World::with(v1(), Config::default(), Faults::default());
    let (slow, quick) = (world.open("example.org", 80), world.open("example.org", 81));
    world.relay().say(0, &noise(34 * MIB));
    world.relay().say(1, b"fine");
    world.until("RST", |world| world.guest.state(slow) == State::Closed);
    world.until("told", |world| world.relay().streams[0].closed == Some(Reason::ClientError));
    let report = world.gateway.report(world.now);
    let flow = report.flows.iter().find(|flow| flow.port == 80).unwrap();
    assert!(flow.why.as_ref().unwrap().contains("faster than the guest reads"));
    assert_eq!(world.guest.state(quick), State::Established);
    world.until("the other one's bytes", |world| world.read(quick) == b"fine");
}

#[test]
fn all_streams_of_such_a_relay_together_are_bounded() {
    let mut world = World::with(v1(), Config::default(), Faults::default());
    let handles: Vec<_> = (0..3).map(|port| world.open("example.org", 80 + port)).collect();
    for at in 0..3 {
        // Less than the bound of one stream.
        world.relay().say(at, &noise(28 * MIB));
    }
    world.run(5_000);
    let states: Vec<_> = handles.iter().map(|handle| world.guest.state(*handle)).collect();
    let reset = states.iter().filter(|state| **state == State::Closed).count();
    assert_eq!(reset, 1);
}

#[test]
fn a_guest_that_resets_closes_the_stream() {
    let mut world = World::new();
    let handle = world.open("example.org", 80);
    world.guest.tcp(handle).abort();
    world.until("closed", |world| world.relay().streams[0].closed == Some(Reason::Voluntary));
    // And one that gives up before the relay has answered.
    world.relay().answer = Answer::Nothing;
    let address = world.resolve("example.org");
    let handle = world.guest.connect(address, 81);
    world.until("asked", |world| world.relay().streams.len() == 2);
    world.guest.tcp(handle).abort();
    world.guest.sockets.remove(handle);
    let stream = world.relay().streams[1].id;
    world.relay().server.opened(stream);
    world.until("closed", |world| world.relay().streams[1].closed.is_some());
    world.until("an end", |world| {
        world.gateway.report(world.now).flows.iter().all(|flow| flow.state == FlowState::Closed)
    });
}
