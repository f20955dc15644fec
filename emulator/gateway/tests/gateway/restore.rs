//! A guest that comes back from a snapshot, to a gateway that knows nothing of it.

use std::time::Duration;

use emulator_gateway::{Config, Error, Gateway};
use emulator_protocol::Policy;
use smoltcp::socket::tcp::State;

use crate::cable::Faults;
use crate::world::{World, noise};

/// The same guest at another gateway, in another tab.
fn restore(world: &mut World, seed: u8) {
    let section = world.gateway.save();
    world.now = Duration::from_millis(3);
    // A clock of a guest does not go back.
    world.now += Duration::from_secs(10_000);
    world.gateway = Gateway::new(Config::default(), Policy::default(), [seed; 32]);
    let now = world.now;
    world.gateway.restore(&section, now).unwrap();
    assert_eq!(world.gateway.save(), section);
    world.join(wisp::server::Config::default());
}

#[test]
fn open_connections_are_reset_and_names_go_on() {
    for seed in 1..20 {
        let mut world = World::new();
        let address = world.resolve("example.org");
        let idle = world.open("example.org", 80);
        let busy = world.open("example.com", 443);
        let bytes = noise(100_000);
        world.relay().say(1, &bytes);
        world.guest.tcp(busy).send_slice(&bytes[..1000]).unwrap();
        world.run(3);
        restore(&mut world, seed);
        for handle in [idle, busy] {
            world.until("reset", |world| world.guest.state(handle) == State::Closed);
        }
        assert!(world.now < Duration::from_secs(10_003), "{:?}", world.now);
        // The guest has the old answer of DNS in its cache.
        let handle = world.guest.connect(address, 80);
        world.until("open", |world| world.guest.state(handle) == State::Established);
        assert_eq!(world.relay().streams[0].host, "example.org");
        assert_eq!(world.resolve("example.org"), address);
        let report = world.gateway.report(world.now);
        assert!(report.flows[0].id > 2, "ids are not used twice");
    }
}

#[test]
fn also_over_a_bad_cable() {
    let faults = Faults { lost: 100, twice: 100, late: 0 };
    let mut world = World::with(wisp::server::Config::default(), Config::default(), faults);
    let handle = world.open("example.org", 80);
    restore(&mut world, 5);
    world.until("reset", |world| world.guest.state(handle) == State::Closed);
    assert!(world.now < Duration::from_secs(10_010), "{:?}", world.now);
}

#[test]
fn a_guest_without_its_connections_is_asked_a_few_times() {
    let mut world = World::new();
    world.open("example.org", 80);
    world.guest.interface.update_ip_addrs(|addresses| addresses.clear());
    restore(&mut world, 5);
    world.seen = Some(Vec::new());
    world.run(20_000);
    // The first two went while the relay was connected.
    assert_eq!(world.seen.as_ref().unwrap().len(), 2 * 7);
    let now = world.now;
    assert_eq!(world.gateway.poll(now), None);
}

#[test]
fn damaged_sections_change_nothing() {
    let mut world = World::new();
    world.open("example.org", 80);
    let section = world.gateway.save();
    let mut fresh = Gateway::new(Config::default(), Policy::default(), [1; 32]);
    let before = fresh.save();
    for length in 0..section.len() {
        assert_eq!(fresh.restore(&section[..length], Duration::ZERO), Err(Error::Short));
        assert_eq!(fresh.save(), before);
    }
    assert_eq!(fresh.restore(&section, Duration::ZERO), Ok(()));
}
