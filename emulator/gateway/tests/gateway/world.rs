//! Guest, cable, gateway and relay together.

use std::net::Ipv4Addr;
use std::time::Duration;

use emulator_gateway::{Config, Gateway, Instant};
use emulator_protocol::Policy;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

use crate::cable::{Cable, Faults};
use crate::guest::Guest;
use crate::relay::Relay;

pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub(crate) const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// One step of time. A virtual one: nothing sleeps.
const STEP: Duration = Duration::from_millis(1);

pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) guest: Guest,
    pub(crate) relay: Option<Relay>,
    pub(crate) now: Instant,
    /// What the gateway has sent to the guest, if that is wanted.
    pub(crate) seen: Option<Vec<Vec<u8>>>,
    /// Real time that the gateway took in the last step.
    spent: Duration,
    up: Cable,
    down: Cable,
}

impl World {
    /// With a relay of ours.
    pub(crate) fn new() -> Self {
        Self::with(wisp::server::Config::default(), Config::default(), Faults::default())
    }

    pub(crate) fn with(relay: wisp::server::Config, config: Config, faults: Faults) -> Self {
        let mut world = Self::alone(config, faults);
        world.join(relay);
        world
    }

    /// Without a relay.
    pub(crate) fn alone(config: Config, faults: Faults) -> Self {
        let guest = Guest::new(config.mtu, !config.checksums.fill);
        let mut world = Self {
            gateway: Gateway::new(config, Policy::default(), [7; 32]),
            guest,
            relay: None,
            now: Duration::from_secs(1),
            seen: None,
            spent: Duration::ZERO,
            up: Cable::new(faults, 1),
            down: Cable::new(faults, 2),
        };
        world.meet();
        world
    }

    /// Lets the guest learn its neighbours' addresses. It asks once a second at most, which
    /// would spoil what tests measure.
    fn meet(&mut self) {
        let socket = self.guest.udp();
        for neighbour in [GATEWAY, DNS] {
            self.guest.send_to(socket, (neighbour, 9), b"who are you?");
            self.run(1100);
        }
        self.guest.sockets.remove(socket);
    }

    /// Connects a relay, and does the handshake.
    pub(crate) fn join(&mut self, config: wisp::server::Config) {
        self.gateway.connected(config.v2, None, self.now);
        self.relay = Some(Relay::new(config));
        self.until("the handshake", |world| world.gateway.terms().is_some());
    }

    pub(crate) fn step(&mut self) {
        self.now += STEP;
        self.guest.poll(self.now);
        let sent: Vec<_> = self.guest.card.sent.drain(..).collect();
        let arrived: Vec<_> = sent.into_iter().flat_map(|frame| self.up.carry(frame)).collect();
        let mut watch = std::time::Instant::now();
        for frame in arrived {
            self.gateway.receive(&frame, self.now);
        }
        self.gateway.poll(self.now);
        if let Some(relay) = &mut self.relay {
            let messages: Vec<_> = std::iter::from_fn(|| self.gateway.next_message(0)).collect();
            self.spent += watch.elapsed();
            for message in messages {
                relay.receive(&message);
            }
            relay.work();
            let messages: Vec<_> = std::iter::from_fn(|| relay.server.transmit()).collect();
            watch = std::time::Instant::now();
            for message in messages {
                self.gateway.message(&message, self.now).expect("the relay speaks WISP");
            }
        }
        let frames: Vec<_> = std::iter::from_fn(|| self.gateway.transmit()).collect();
        self.spent += watch.elapsed();
        if let Some(seen) = &mut self.seen {
            seen.extend(frames.iter().cloned());
        }
        for frame in frames {
            self.guest.card.arrived.extend(self.down.carry(frame));
        }
    }

    /// A step, and the seconds that the gateway took of it.
    pub(crate) fn timed(&mut self) -> f64 {
        self.spent = Duration::ZERO;
        self.step();
        self.spent.as_secs_f64()
    }

    /// Steps until something is so, for two minutes of the world's time.
    pub(crate) fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        for _ in 0..120_000 {
            if so(self) {
                return;
            }
            self.step();
        }
        panic!("never: {what}");
    }

    pub(crate) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
    }

    pub(crate) fn relay(&mut self) -> &mut Relay {
        self.relay.as_mut().expect("there is a relay")
    }

    /// Asks the name server.
    pub(crate) fn resolve(&mut self, name: &str) -> Ipv4Addr {
        let query = crate::dns::query(name, 1);
        let (socket, mut answer, start) = (self.guest.udp(), None, self.now);
        self.until("an answer", |world| {
            // As a resolver does, once a second.
            if (world.now - start).as_millis().is_multiple_of(1000) {
                world.guest.send_to(socket, (DNS, 53), &query);
            }
            answer = answer.take().or_else(|| world.guest.heard(socket));
            answer.is_some()
        });
        self.guest.sockets.remove(socket);
        let (_, answer) = answer.unwrap();
        let address: [u8; 4] = *answer.last_chunk().unwrap();
        address.into()
    }

    /// A connection to a host by name, open.
    pub(crate) fn open(&mut self, name: &str, port: u16) -> SocketHandle {
        let address = self.resolve(name);
        let handle = self.guest.connect(address, port);
        self.until("a connection", |world| world.guest.state(handle) == State::Established);
        handle
    }

    /// What the guest reads now.
    pub(crate) fn read(&mut self, handle: SocketHandle) -> Vec<u8> {
        let socket = self.guest.tcp(handle);
        let mut bytes = Vec::new();
        while let Ok(more) = socket.recv(|piece| (piece.len(), piece.to_vec())) {
            if more.is_empty() {
                break;
            }
            bytes.extend(more);
        }
        bytes
    }
}

/// Bytes that do not repeat soon.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The ICMP errors among frames: code, and port that the guest wanted to reach.
pub(crate) fn errors(frames: &[Vec<u8>]) -> Vec<(u8, u16)> {
    let icmp = |f: &&Vec<u8>| f[12..14] == [8, 0] && f[23] == 1 && f[34] == 3;
    let read = |f: &Vec<u8>| (f[35], u16::from_be_bytes([f[64], f[65]]));
    frames.iter().filter(icmp).map(read).collect()
}

/// The flags of the TCP segments among frames.
pub(crate) fn flags(frames: &[Vec<u8>]) -> Vec<u8> {
    let tcp = |f: &&Vec<u8>| f[12..14] == [8, 0] && f[23] == 6;
    frames.iter().filter(tcp).map(|f| f[47] & 0x3f).collect()
}
