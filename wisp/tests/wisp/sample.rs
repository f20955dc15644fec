//! Random numbers with a seed, and random packets.

use wisp::packet::{Info, Packet, append};
use wisp::{Kind, Reason};

/// A small generator (xorshift64*): the same seed gives the same test.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from((self.next() >> 11) % limit as u64).unwrap()
    }

    pub(crate) fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }

    /// Never 0.
    fn number(&mut self) -> u32 {
        ((self.next() >> 32) as u32 >> self.below(32)).max(1)
    }

    fn host(&mut self) -> String {
        let alphabet: Vec<char> = "abcz09.-:éß日".chars().collect();
        let length = 1 + self.below(80);
        (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

/// A packet that owns what [`Packet`] borrows.
#[derive(Debug)]
pub(crate) enum Owned {
    Connect(u32, Kind, u16, String),
    Data(u32, Vec<u8>),
    Info(u8, u8, Vec<u8>),
    Plain(Packet<'static>),
}

impl Owned {
    pub(crate) fn packet(&self) -> Packet<'_> {
        match self {
            Self::Connect(stream, kind, port, host) => {
                Packet::Connect { stream: *stream, kind: *kind, port: *port, host }
            }
            Self::Data(stream, bytes) => Packet::Data { stream: *stream, bytes },
            Self::Info(major, minor, entries) => {
                Packet::Info(Info::new(*major, *minor, entries).unwrap())
            }
            Self::Plain(packet) => *packet,
        }
    }

    pub(crate) fn random(random: &mut Random) -> Self {
        let stream = random.number();
        let any = if random.chance(4) { 0 } else { stream };
        match random.below(7) {
            0 => {
                let kind = if random.chance(2) { Kind::Tcp } else { Kind::Udp };
                Self::Connect(stream, kind, random.below(65_535) as u16 + 1, random.host())
            }
            1 => {
                let length = random.below(300);
                Self::Data(stream, random.bytes(length))
            }
            2 => {
                let mut entries = Vec::new();
                let first = random.below(256);
                for id in first..first + random.below(6) {
                    let length = random.below(20);
                    append(&mut entries, id as u8, &random.bytes(length));
                }
                Self::Info(random.below(4) as u8, random.below(4) as u8, entries)
            }
            3 => Self::Plain(Packet::Continue { stream: any, packets: random.number() }),
            4 => {
                let reason = Reason::from(random.below(256) as u8);
                Self::Plain(Packet::Close { stream: any, reason })
            }
            5 => Self::Plain(Packet::Credit { stream, bytes: random.number() }),
            _ => Self::Plain(Packet::Shutdown { stream }),
        }
    }
}
