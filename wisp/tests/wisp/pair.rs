//! The two ends against each other: every version and every set of extensions, any order of
//! sending, carrying, receiving and passing on. What goes in comes out, in order; no end has
//! more under way than the window allows; nothing waits for ever.

use std::collections::VecDeque;

use wisp::client::{self, Client, WINDOW};
use wisp::packet::{Info, MAX_HOST, Packet, append, extension};
use wisp::server::{self, Server};
use wisp::{Credentials, Kind, Reason};

use crate::sample::Random;

/// Small windows, so that they are full most of the time.
const PACKETS: u32 = 5;
const BYTES: u32 = 40_000;

/// Steps until a run counts as stuck; a run takes some thousands.
const STEPS: usize = 400_000;

/// What the two agree on.
#[derive(Clone, Copy, Debug)]
struct Knobs {
    v2: bool,
    udp: bool,
    confirm: bool,
    flow: bool,
    shutdown: bool,
    password: bool,
}

impl Knobs {
    fn all() -> impl Iterator<Item = Self> {
        let v1 = Self {
            v2: false,
            udp: true,
            confirm: false,
            flow: false,
            shutdown: false,
            password: false,
        };
        let set = |bits: u32| Self {
            v2: true,
            udp: bits & 1 != 0,
            confirm: bits & 2 != 0,
            flow: bits & 4 != 0,
            shutdown: bits & 8 != 0,
            password: bits & 16 != 0,
        };
        std::iter::once(v1).chain((0..32).map(set))
    }

    /// The server's INFO without what it shall not have: to our client, a foreign server.
    fn foreign(self, message: Vec<u8>) -> Vec<u8> {
        let Ok(Packet::Info(info)) = Packet::parse(&message) else { return message };
        let mut entries = Vec::new();
        for (id, payload) in info.extensions() {
            let kept = match id {
                extension::UDP => self.udp,
                extension::CONFIRM => self.confirm,
                extension::FLOW => self.flow,
                extension::SHUTDOWN => self.shutdown,
                _ => true,
            };
            if kept {
                append(&mut entries, id, payload);
            }
        }
        let mut foreign = Vec::new();
        Packet::Info(Info::new(2, 0, &entries).unwrap()).write(&mut foreign);
        foreign
    }
}

/// How a stream is meant to end.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Plan {
    /// Both sides send all and shut down; without half-close the server closes when it has
    /// sent and got all.
    Whole,
    /// The server cannot connect it.
    Refused,
    /// The client gives up somewhere.
    Abandoned,
    /// The server gives up somewhere.
    Cut,
}

/// One direction of a stream.
#[derive(Default)]
struct Way {
    bytes: Vec<u8>,
    sent: usize,
    got: usize,
    passed: usize,
    /// Lengths of the packets that were sent and not passed on.
    packets: VecDeque<usize>,
    finished: bool,
}

impl Way {
    /// Bytes were passed on.
    fn pass(&mut self, mut count: usize) {
        self.passed += count;
        while let Some(first) = self.packets.front_mut().filter(|_| count > 0) {
            let taken = count.min(*first);
            (*first, count) = (*first - taken, count - taken);
            if *first == 0 {
                self.packets.pop_front();
            }
        }
    }
}

struct Stream {
    id: u32,
    kind: Kind,
    plan: Plan,
    up: Way,
    down: Way,
    /// At the server: CONNECT came, and `opened` was said.
    wanted: bool,
    connected: bool,
    /// At the client.
    opened: bool,
    client_end: Option<Reason>,
    server_end: Option<Reason>,
    /// Reason of whoever closed it first.
    reason: Option<Reason>,
}

struct World {
    knobs: Knobs,
    random: Random,
    client: Client,
    server: Server,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    streams: Vec<Stream>,
}

impl World {
    fn new(knobs: Knobs, seed: u64) -> Self {
        let who = Credentials { user: "ab".into(), password: "xyz".into() };
        let client = Client::new(client::Config {
            v2: knobs.v2,
            credentials: knobs.password.then_some(who),
        });
        let server = Server::new(server::Config {
            v2: knobs.v2,
            window_packets: PACKETS,
            window_bytes: BYTES,
            password: knobs.password.then_some(true),
            motd: knobs.v2.then(|| "hello".into()),
            ..server::Config::default()
        });
        let (up, down) = (VecDeque::new(), VecDeque::new());
        Self { knobs, random: Random::new(seed), client, server, up, down, streams: Vec::new() }
    }

    fn stream(&mut self, id: u32) -> &mut Stream {
        self.streams.iter_mut().find(|stream| stream.id == id).expect("a known stream")
    }

    fn carry_up(&mut self) {
        let Some(message) = self.client.transmit() else { return };
        if let Ok(Packet::Data { stream, bytes }) = Packet::parse(&message) {
            let (flow, length) = (self.knobs.flow, bytes.len());
            let open = self.stream(stream);
            open.up.packets.push_back(length);
            if open.kind == Kind::Tcp && open.client_end.is_none() {
                let (packets, bytes) = (open.up.packets.len(), open.up.packets.iter().sum());
                let (packets, bytes): (usize, usize) = (packets, bytes);
                let fits = if flow { bytes <= BYTES as usize } else { packets <= PACKETS as usize };
                assert!(fits, "{packets} packets, {bytes} bytes under way");
            }
        }
        self.up.push_back(message);
    }

    fn carry_down(&mut self) {
        let Some(message) = self.server.transmit() else { return };
        if let Ok(Packet::Data { stream, bytes }) = Packet::parse(&message) {
            let (flow, length) = (self.knobs.flow, bytes.len());
            let open = self.stream(stream);
            open.down.packets.push_back(length);
            if open.kind == Kind::Tcp && flow && open.server_end.is_none() {
                let bytes: usize = open.down.packets.iter().sum();
                assert!(bytes <= WINDOW as usize, "{bytes} bytes under way");
            }
        }
        self.down.push_back(self.knobs.foreign(message));
    }

    fn deliver_up(&mut self) {
        let Some(message) = self.up.pop_front() else { return };
        let event = self.server.receive(&message).expect("an honest client");
        match event {
            server::Event::None | server::Event::Ready | server::Event::Writable { .. } => {}
            server::Event::Authenticate { user, password } => {
                assert_eq!((user, password), ("ab", "xyz"));
                self.server.admit();
            }
            server::Event::Connect { stream, kind, host, port } => {
                let open = self.stream(stream);
                assert_eq!((open.kind, host.len(), port), (kind, MAX_HOST, 7));
                open.wanted = true;
                if open.plan == Plan::Refused {
                    open.server_end = Some(Reason::Refused);
                    open.reason.get_or_insert(Reason::Refused);
                    self.server.close(stream, Reason::Refused);
                }
            }
            server::Event::Data { stream, bytes } => {
                let open = self.stream(stream);
                assert!(open.server_end.is_none() && !open.up.finished);
                received(&mut open.up, bytes);
                if open.kind == Kind::Udp {
                    assert_eq!(open.up.packets.pop_front(), Some(bytes.len()), "one is one");
                }
            }
            server::Event::Finished { stream } => finished(&mut self.stream(stream).up),
            server::Event::Closed { stream, reason } => {
                let open = self.stream(stream);
                assert_eq!(open.client_end, Some(reason));
                open.server_end = Some(reason);
            }
            server::Event::Ended { .. } => panic!("nobody ends it"),
        }
    }

    fn deliver_down(&mut self) {
        let Some(message) = self.down.pop_front() else { return };
        let event = self.client.receive(&message).expect("an honest server");
        match event {
            client::Event::None | client::Event::Writable { .. } => {}
            client::Event::Ready => self.check_terms(),
            client::Event::Opened { stream } => {
                assert!(self.knobs.confirm);
                let open = self.stream(stream);
                assert!(open.connected && !std::mem::replace(&mut open.opened, true));
            }
            client::Event::Data { stream, bytes } => {
                let open = self.stream(stream);
                assert!(open.client_end.is_none() && !open.down.finished);
                received(&mut open.down, bytes);
                if open.kind == Kind::Udp {
                    assert_eq!(open.down.packets.pop_front(), Some(bytes.len()), "one is one");
                }
            }
            client::Event::Finished { stream } => finished(&mut self.stream(stream).down),
            client::Event::Closed { stream, reason } => {
                let open = self.stream(stream);
                assert_eq!(open.server_end, Some(reason));
                open.client_end = Some(reason);
            }
            client::Event::Ended { .. } => panic!("nobody ends it"),
        }
    }

    fn check_terms(&self) {
        let knobs = self.knobs;
        let terms = self.client.terms().expect("ready");
        assert_eq!((terms.v2, terms.udp, terms.confirm), (knobs.v2, knobs.udp, knobs.confirm));
        assert_eq!((terms.flow, terms.shutdown), (knobs.flow, knobs.shutdown));
        assert_eq!(terms.motd.as_deref(), knobs.v2.then_some("hello"));
        assert_eq!(Some(terms), self.server.terms());
    }

    /// The client opens one more stream.
    fn open(&mut self) {
        let kind = if self.knobs.udp && self.random.chance(4) { Kind::Udp } else { Kind::Tcp };
        let Ok(id) = self.client.open(kind, &"h".repeat(MAX_HOST), 7) else { return };
        let plans = [Plan::Whole, Plan::Whole, Plan::Refused, Plan::Abandoned, Plan::Cut];
        let plan = plans[self.random.below(plans.len())];
        let mut way = || {
            let size = [1, 100, 200_000][self.random.below(3)];
            let length = self.random.below(size);
            Way { bytes: self.random.bytes(length), ..Way::default() }
        };
        let (up, down) = (way(), way());
        self.streams.push(Stream {
            id,
            kind,
            plan,
            up,
            down,
            wanted: false,
            connected: false,
            opened: false,
            client_end: None,
            server_end: None,
            reason: None,
        });
    }

    /// The client's program does something with one of its streams.
    fn client_acts(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let at = self.random.below(self.streams.len());
        let shutdown = self.knobs.shutdown;
        let open = &mut self.streams[at];
        if open.client_end.is_some() {
            return;
        }
        let done = open.up.sent == open.up.bytes.len() && open.up.passed == open.up.sent;
        let leaves = match (open.kind, open.plan) {
            (_, Plan::Abandoned) => self.random.chance(30),
            (Kind::Udp, Plan::Whole) => done && open.down.got == open.down.bytes.len(),
            _ => false,
        };
        if leaves {
            let reason = Reason::ClientError;
            open.client_end = Some(reason);
            open.reason.get_or_insert(reason);
            self.client.close(open.id, reason);
        } else if self.random.chance(2) {
            let count = self.random.below(open.down.got - open.down.passed + 1);
            self.client.consumed(open.id, count);
            if open.kind == Kind::Tcp {
                open.down.pass(count);
            } else {
                open.down.passed = open.down.got;
            }
        } else if open.up.sent < open.up.bytes.len() {
            let (client, id) = (&mut self.client, open.id);
            let length = 1 + self.random.below(50_000);
            send(&mut open.up, length, open.kind, |kind, bytes| match kind {
                Kind::Tcp => {
                    let room = client.room(id);
                    let taken = client.send(id, bytes);
                    assert_eq!(taken, room.min(bytes.len()));
                    taken
                }
                Kind::Udp => usize::from(client.send_datagram(id, bytes)) * bytes.len(),
            });
        } else if open.kind == Kind::Tcp && open.plan == Plan::Whole {
            assert!(!self.client.shutdown(open.id) || shutdown);
        }
    }

    /// The server's program does something with one of its streams.
    fn server_acts(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let at = self.random.below(self.streams.len());
        let shutdown = self.knobs.shutdown;
        let open = &mut self.streams[at];
        if !open.wanted || open.server_end.is_some() {
            return;
        }
        if !open.connected {
            open.connected = self.random.chance(3);
            if open.connected {
                self.server.opened(open.id);
            }
            return;
        }
        let all = open.down.sent == open.down.bytes.len() && open.up.passed == open.up.bytes.len();
        let leaves = match (open.kind, open.plan) {
            (_, Plan::Cut) => self.random.chance(30),
            (Kind::Tcp, Plan::Whole) => all && !shutdown,
            _ => false,
        };
        if leaves {
            let reason = if all { Reason::Voluntary } else { Reason::NetworkError };
            open.server_end = Some(reason);
            open.reason.get_or_insert(reason);
            self.server.close(open.id, reason);
        } else if self.random.chance(2) {
            let count = self.random.below(open.up.got - open.up.passed + 1);
            self.server.consumed(open.id, count);
            if open.kind == Kind::Tcp {
                open.up.pass(count);
            } else {
                open.up.passed = open.up.got;
            }
        } else if open.down.sent < open.down.bytes.len() {
            let (server, id) = (&mut self.server, open.id);
            let length = 1 + self.random.below(50_000);
            send(&mut open.down, length, open.kind, |kind, bytes| match kind {
                Kind::Tcp => {
                    let room = server.room(id);
                    let taken = server.send(id, bytes);
                    assert_eq!(taken, room.min(bytes.len()));
                    taken
                }
                Kind::Udp => usize::from(server.send_datagram(id, bytes)) * bytes.len(),
            });
        } else if open.kind == Kind::Tcp && open.plan == Plan::Whole {
            self.server.shutdown(open.id);
        }
    }

    fn step(&mut self, streams: usize) {
        match self.random.below(8) {
            0 if self.streams.len() < streams => self.open(),
            1 => self.carry_up(),
            2 => self.carry_down(),
            3 => self.deliver_up(),
            4 => self.deliver_down(),
            5 => self.client_acts(),
            6 => self.server_acts(),
            // Bursts: the two sides are seldom as even as single steps would have it.
            7 => {
                let what = self.random.below(4);
                for _ in 0..self.random.below(40) {
                    match what {
                        0 => self.carry_up(),
                        1 => self.carry_down(),
                        2 => self.deliver_up(),
                        _ => self.deliver_down(),
                    }
                }
            }
            _ => {}
        }
    }

    fn done(&self, streams: usize) -> bool {
        self.streams.len() == streams && self.streams.iter().all(over)
    }
}

/// Both programs know that the stream is over.
fn over(stream: &Stream) -> bool {
    (stream.client_end.is_some() && stream.server_end.is_some())
        || (stream.up.finished && stream.down.finished)
}

fn send(way: &mut Way, length: usize, kind: Kind, mut take: impl FnMut(Kind, &[u8]) -> usize) {
    let rest = &way.bytes[way.sent..];
    way.sent += take(kind, &rest[..length.min(rest.len())]);
}

/// What comes is the next of what was sent.
fn received(way: &mut Way, bytes: &[u8]) {
    assert!(!bytes.is_empty());
    assert!(way.got + bytes.len() <= way.sent, "more than was sent");
    assert!(way.bytes[way.got..].starts_with(bytes), "not what was sent");
    way.got += bytes.len();
}

fn finished(way: &mut Way) {
    assert_eq!(way.got, way.bytes.len(), "all came before the end");
    assert!(!std::mem::replace(&mut way.finished, true), "one end");
}

fn run(knobs: Knobs, seed: u64) {
    let mut world = World::new(knobs, seed);
    let streams = 1 + world.random.below(12);
    for _ in 0..STEPS {
        world.step(streams);
        if world.done(streams) {
            break;
        }
    }
    assert!(world.done(streams), "stuck: {knobs:?}, seed {seed}");
    for stream in &world.streams {
        if stream.plan == Plan::Whole && stream.kind == Kind::Tcp {
            assert_eq!(stream.up.got, stream.up.bytes.len());
            assert_eq!(stream.down.got, stream.down.bytes.len());
            let expected = (!knobs.shutdown).then_some(Reason::Voluntary);
            assert_eq!((stream.client_end, stream.reason), (expected, expected));
        }
        if stream.plan == Plan::Refused {
            assert!(!stream.connected && stream.client_end == Some(Reason::Refused));
        }
    }
}

#[test]
fn every_agreement_carries_every_byte() {
    for knobs in Knobs::all() {
        for seed in 1..=6 {
            run(knobs, seed);
        }
    }
}
