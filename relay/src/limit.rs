//! How much one party may have: connections at once, and things a second.
//!
//! The table is looked at when a connection or a stream is made, never for a packet.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Parties that are remembered; above it those that have nothing open and a full bucket are
/// forgotten, and if all are busy a new one is refused. About 6 MiB.
const PARTIES_MAX: usize = 65_536;

/// Things a second, with a burst. Time is an argument.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self { rate: rate.into(), burst: burst.into(), level: burst.into(), at: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let enough = self.level >= 1.0;
        if enough {
            self.level -= 1.0;
        }
        enough
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.level = passed.as_secs_f64().mul_add(self.rate, self.level).min(self.burst);
        self.at = now;
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level >= self.burst
    }
}

/// Whom a limit is on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Party {
    /// All together.
    All,
    /// An IPv4 address, or the /64 that one IPv6 customer has.
    Address(IpAddr),
    /// A token, by its hash.
    Token(String),
}

impl Party {
    /// The party of a client's address.
    pub fn of(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 => v4,
        })
    }
}

/// What one party may have.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Connections at once.
    pub connections: usize,
    /// New ones a second, with a burst of `burst`.
    pub rate: u32,
    /// How many at once after a rest.
    pub burst: u32,
}

/// Why one more is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Too many at once.
    Connections,
    /// Too many a second.
    Rate,
}

struct Held {
    connections: usize,
    bucket: Bucket,
}

type Table = HashMap<Party, Held>;

/// Who has how much. Clones share it.
#[derive(Clone, Default)]
pub struct Limits(Arc<Mutex<Table>>);

/// One connection's place; dropping it gives it back.
pub struct Place {
    limits: Limits,
    party: Party,
}

impl Limits {
    /// One more connection of a party.
    pub fn enter(&self, party: Party, allowed: Allowance, now: Instant) -> Result<Place, Refused> {
        let mut table = self.table();
        if table.len() >= PARTIES_MAX && !table.contains_key(&party) {
            table.retain(|_, held| held.connections > 0 || !held.bucket.is_full(now));
            if table.len() >= PARTIES_MAX {
                return Err(Refused::Connections);
            }
        }
        let bucket = Bucket::new(allowed.rate, allowed.burst, now);
        let held = table.entry(party.clone()).or_insert(Held { connections: 0, bucket });
        if !held.bucket.take(now) {
            return Err(Refused::Rate);
        }
        if held.connections >= allowed.connections {
            return Err(Refused::Connections);
        }
        held.connections += 1;
        drop(table);
        Ok(Place { limits: self.clone(), party })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here can be left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Takes one from the party's bucket.
    pub fn take(&self, now: Instant) -> bool {
        self.limits.table().get_mut(&self.party).is_some_and(|held| held.bucket.take(now))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.limits.table();
        if let Some(held) = table.get_mut(&self.party) {
            held.connections -= 1;
        }
    }
}

/// How long things may take. All of them can be set in the configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the TCP connection to the end of the WISP handshake.
    pub handshake: Duration,
    /// A name.
    pub resolve: Duration,
    /// A connection to the other side.
    pub connect: Duration,
    /// A TCP stream on which nothing moves.
    pub tcp_idle: Duration,
    /// A UDP stream on which nothing moves.
    pub udp_idle: Duration,
    /// Silence after which the client is pinged.
    pub ping: Duration,
    /// Silence after which it is dead.
    pub dead: Duration,
    /// What a client left behind is still passed on this long after its CLOSE.
    pub linger: Duration,
    /// Streams go on this long after the first signal.
    pub drain: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Allowance = Allowance { connections: 2, rate: 10, burst: 5 };

    fn address(text: &str) -> Party {
        Party::of(text.parse().unwrap())
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(20, 100, start);
        assert_eq!((0..200).filter(|_| bucket.take(start)).count(), 100);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..200).filter(|_| bucket.take(later)).count(), 20);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..200).filter(|_| bucket.take(much_later)).count(), 100);
    }

    #[test]
    fn places_come_back_when_they_are_dropped() {
        let (limits, now) = (Limits::default(), Instant::now());
        let enter = || limits.enter(address("8.8.8.8"), ALLOWED, now);
        let first = enter().unwrap_or_else(|_| unreachable!());
        let second = enter();
        assert!(second.is_ok());
        assert_eq!(enter().err(), Some(Refused::Connections));
        drop(first);
        assert!(enter().is_ok());
        // Five were asked for by now; coming and going does not fill the bucket.
        assert!(enter().is_ok());
        assert_eq!(enter().err(), Some(Refused::Rate));
    }

    #[test]
    fn one_customer_is_one_party() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:8.8.8.8"), address("8.8.8.8"));
        assert_ne!(address("8.8.8.8"), address("8.8.8.9"));
    }

    #[test]
    fn the_table_stays_bounded() {
        let (limits, now) = (Limits::default(), Instant::now());
        for n in 0..PARTIES_MAX + 10 {
            let party = Party::Token(n.to_string());
            let at = now + Duration::from_secs(n as u64);
            assert!(limits.enter(party, ALLOWED, at).is_ok());
        }
        assert!(limits.table().len() <= PARTIES_MAX);
    }
}
