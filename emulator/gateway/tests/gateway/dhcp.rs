use std::net::Ipv4Addr;

use emulator_gateway::Config;
use smoltcp::socket::dhcpv4;
use smoltcp::wire::Ipv4Cidr;

use crate::cable::Faults;
use crate::guest::Guest;
use crate::world::{DNS, GATEWAY, World};

fn lease(faults: Faults) -> World {
    let mut world = World::alone(Config { mtu: 9000, ..Config::default() }, faults);
    world.guest = Guest::unconfigured(9000, false);
    world.seen = Some(Vec::new());
    let handle = world.guest.sockets.add(dhcpv4::Socket::new());
    let mut lease = None;
    world.until("a lease", |world| {
        let socket = world.guest.sockets.get_mut::<dhcpv4::Socket<'_>>(handle);
        if let Some(dhcpv4::Event::Configured(config)) = socket.poll() {
            lease = Some((config.address, config.router, config.dns_servers.to_vec()));
        }
        lease.is_some()
    });
    let address = Ipv4Cidr::new(Ipv4Addr::new(10, 0, 2, 15), 24);
    assert_eq!(lease, Some((address, Some(GATEWAY), vec![DNS])));
    world
}

#[test]
fn a_client_gets_its_lease() {
    let world = lease(Faults::default());
    assert_eq!(world.gateway.report(world.now).lease.as_deref(), Some("10.0.2.15"));
    for frame in world.seen.unwrap().iter().filter(|frame| frame.len() > 14 + 28 + 240) {
        assert!(frame.len() >= 14 + 28 + 300);
        let (mut options, mut rest) = (Vec::new(), &frame[14 + 28 + 240..]);
        while let [kind, length, more @ ..] = rest
            && *kind != 255
        {
            let (data, more) = more.split_at(usize::from(*length));
            options.push((*kind, data));
            rest = more;
        }
        let kinds: Vec<u8> = options.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [53, 61, 54, 3, 1, 51, 6, 26]);
        assert_eq!(options[5].1, (365 * 24 * 3600_u32).to_be_bytes());
        assert_eq!(options[7].1, 9000_u16.to_be_bytes());
    }
}

#[test]
fn also_over_a_bad_cable() {
    lease(Faults { lost: 200, twice: 100, late: 0 });
}

#[test]
fn another_address_is_refused() {
    let mut world = World::alone(Config::default(), Faults::default());
    let mut request = vec![1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0];
    request.extend([0; 16]);
    request.extend([2, 0, 0, 0, 0, 15]);
    request.resize(236, 0);
    request.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 3, 50, 4, 192, 168, 1, 7, 255]);
    let socket = world.guest.udp();
    world.guest.send_to(socket, (GATEWAY, 67), &request);
    world.seen = Some(Vec::new());
    world.run(3);
    let frames = world.seen.take().unwrap();
    let nak = |frame: &Vec<u8>| {
        frame[..6] == [0xff; 6] && frame[282..285] == [53, 1, 6] && frame[58..62] == [0; 4]
    };
    assert!(frames.iter().any(nak));
}
