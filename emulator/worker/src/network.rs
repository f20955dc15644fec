//! A machine's network, without a browser: its gateway, and what is known of the relay.
//!
//! The gateway moves packets. This module decides when a relay is called, when it is called
//! again, and what the page hears of it. Sockets are opened by [`crate::socket`].

use std::time::Duration;

use emulator_engine::{GuestIo, Instant, MTU};
use emulator_gateway::{Config, Gateway};
use emulator_protocol::{NetworkReport, NetworkSettings, RelayState};
use wisp::{Credentials, Reason};

/// Section of a snapshot with what the gateway remembers.
pub const SECTION: &str = "network";

/// A relay that fails is called again after a random part of this time, doubled with each
/// failure.
const BACKOFF: Duration = Duration::from_millis(500);

/// The longest of these times.
const BACKOFF_LIMIT: Duration = Duration::from_secs(30);

/// A relay that was there for so long did not fail, but went.
const STEADY: Duration = Duration::from_secs(1);

/// How long a relay may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The page hears of changes this often at most.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Largest Ethernet frame: an IP packet and its header (IEEE 802.3, no tag).
const FRAME: usize = MTU as usize + 14;

/// How it stands with the relay.
enum Link {
    Off,
    /// It is to be called at this time.
    Waiting {
        at: Instant,
        reason: Option<String>,
    },
    Connecting,
    /// A socket is open since then.
    Open {
        since: Instant,
    },
    Refused(String),
    Locked(String),
}

/// What the socket's owner is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Open a socket.
    Connect {
        /// Its address.
        address: String,
        /// With the second version of WISP as its subprotocol, or without one.
        v2: bool,
    },
    /// Have none.
    Close,
}

/// What came of [`Network::exchange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Frames went one way or the other.
    pub moved: bool,
    /// Frames wait for the guest that it has not seen.
    pub fresh: bool,
    /// When the gateway has something to do by itself.
    pub due: Option<Instant>,
}

/// The network of one machine.
pub struct Network {
    gateway: Gateway,
    settings: NetworkSettings,
    link: Link,
    wish: Option<Wish>,
    failures: u32,
    /// Whether the second version is offered. A browser ends a connection whose server does
    /// not answer to an offer, so each version has its own attempt.
    v2: bool,
    /// This relay has answered once, and so is known to speak what was offered.
    known: bool,
    told: NetworkReport,
    told_at: Option<Instant>,
}

impl Network {
    /// A network whose random numbers come from `seed`.
    #[must_use]
    pub fn new(settings: NetworkSettings, seed: [u8; 32]) -> Self {
        let gateway = Gateway::new(Config::emulated(MTU), settings.policy.clone(), seed);
        let mut network = Self {
            gateway,
            settings: NetworkSettings::default(),
            link: Link::Off,
            wish: None,
            failures: 0,
            v2: true,
            known: false,
            told: NetworkReport::default(),
            told_at: None,
        };
        network.set(settings, Duration::ZERO);
        network
    }

    /// Goes on with what was saved. What makes no sense is an error, and nothing has changed.
    ///
    /// # Errors
    /// What is wrong with the section.
    pub fn restore(&mut self, section: &[u8], now: Instant) -> Result<(), String> {
        self.gateway.restore(section, now).map_err(|error| error.to_string())
    }

    /// What is to be saved.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.gateway.save()
    }

    /// Decides anew. The relay is called at once, unless the same one is there.
    pub fn set(&mut self, settings: NetworkSettings, now: Instant) {
        // Who decides wants to hear what came of it.
        self.told_at = None;
        if settings.policy != self.settings.policy {
            self.gateway.set_policy(settings.policy.clone());
        }
        let same = settings.relay == self.settings.relay
            && settings.credentials == self.settings.credentials;
        if settings.relay != self.settings.relay {
            self.v2 = true;
            self.known = false;
        }
        self.settings = settings;
        if same && matches!(self.link, Link::Open { .. } | Link::Connecting) {
            return;
        }
        self.hang_up(now);
        self.failures = 0;
        self.link = match self.settings.relay {
            Some(_) => Link::Waiting { at: now, reason: None },
            None => Link::Off,
        };
    }

    /// Starts or ends the recording of frames; what was recorded comes at its end.
    pub fn capture(&mut self, on: bool) -> Option<Vec<u8>> {
        self.told_at = None;
        let recorded = (!on).then(|| self.gateway.take_capture());
        self.gateway.capture(on);
        recorded
    }

    /// Moves frames between the guest and the gateway, and does what is due.
    pub fn exchange(&mut self, io: &mut GuestIo, now: Instant) -> Exchange {
        let mut moved = false;
        while let Some(frame) = io.sent.pop() {
            self.gateway.receive(&frame, now);
            moved = true;
        }
        let mut due = self.gateway.poll(now);
        let mut fresh = false;
        while io.received.room() >= FRAME
            && let Some(frame) = self.gateway.transmit()
        {
            io.received.push(frame);
            fresh = true;
        }
        let own = match self.link {
            Link::Waiting { at, .. } => Some(at),
            _ => self.patience(),
        };
        due = [due, own].into_iter().flatten().min();
        Exchange { moved: moved || fresh, fresh, due }
    }

    /// What the socket's owner is to do now, told once.
    pub fn wish(&mut self, now: Instant) -> Option<Wish> {
        if let (Link::Waiting { at, .. }, Some(address)) = (&self.link, &self.settings.relay)
            && now >= *at
        {
            self.wish = Some(Wish::Connect { address: address.clone(), v2: self.v2 });
            self.link = Link::Connecting;
        }
        self.wish.take()
    }

    /// The socket is open; `v2` says whether the server took the offer.
    pub fn opened(&mut self, v2: bool, now: Instant) {
        self.known = true;
        self.link = Link::Open { since: now };
        let credentials = self.settings.credentials.clone();
        let credentials =
            credentials.map(|one| Credentials { user: one.user, password: one.password });
        self.gateway.connected(v2, credentials, now);
    }

    /// The browser will not open a socket to this address.
    pub fn refused(&mut self, reason: String) {
        self.link = Link::Refused(reason);
    }

    /// A message of the relay. `jitter` is a random number from 0 to 1.
    pub fn message(&mut self, message: &[u8], jitter: f64, now: Instant) {
        if let Err(violation) = self.gateway.message(message, now) {
            self.hang_up(now);
            self.link = Link::Refused(format!("The relay broke the protocol: {violation}."));
        } else if self.gateway.ended().is_some() {
            self.wish = Some(Wish::Close);
            self.closed("", jitter, now);
        }
    }

    /// Leaves a relay that says nothing. `jitter` is a random number from 0 to 1.
    pub fn expire(&mut self, jitter: f64, now: Instant) {
        if self.patience().is_some_and(|until| until <= now) {
            self.wish = Some(Wish::Close);
            self.closed("It says nothing. Is it a WISP relay?", jitter, now);
        }
    }

    /// Until when the relay may be silent.
    fn patience(&self) -> Option<Instant> {
        match self.link {
            Link::Open { since } if self.gateway.terms().is_none() => Some(since + HANDSHAKE),
            _ => None,
        }
    }

    /// The next message for the relay; `buffered` bytes wait in the socket.
    pub fn next_message(&mut self, buffered: usize) -> Option<Vec<u8>> {
        self.gateway.next_message(buffered)
    }

    /// The socket is closed, or could not be opened. `jitter` is a random number from 0 to 1.
    pub fn closed(&mut self, reason: &str, jitter: f64, now: Instant) {
        let (steady, ended) = match self.link {
            Link::Open { since } => {
                let spoke = self.gateway.terms().is_some();
                (spoke && now.saturating_sub(since) >= STEADY, self.gateway.ended())
            }
            Link::Connecting => (false, None),
            _ => return,
        };
        self.gateway.disconnected(now);
        if let Some(link) = ended.and_then(Self::verdict) {
            self.link = link;
            return;
        }
        let reason = ended.map_or_else(|| reason.to_owned(), |ended| ended.to_string());
        if !self.known {
            self.v2 = !self.v2;
            if !self.v2 {
                // The other version is part of the same attempt.
                self.link = Link::Waiting { at: now, reason: None };
                return;
            }
        }
        self.failures = if steady { 0 } else { self.failures.saturating_add(1) };
        let longest = BACKOFF.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_LIMIT);
        let at = now + longest.mul_f64(jitter.clamp(0.0, 1.0));
        self.link = Link::Waiting { at, reason: Some(reason) };
    }

    /// What the page should hear, if it has changed and was not told just now.
    pub fn report(&mut self, now: Instant) -> Option<NetworkReport> {
        if self.told_at.is_some_and(|at| now.saturating_sub(at) < REPORT_INTERVAL) {
            return None;
        }
        let report = self.full_report(now);
        if still(&report) == still(&self.told) && self.told_at.is_some() {
            return None;
        }
        self.told_at = Some(now);
        self.told = report.clone();
        Some(report)
    }

    fn full_report(&self, now: Instant) -> NetworkReport {
        let of = self.gateway.report(now);
        NetworkReport {
            relay: self.relay_state(now),
            address: self.settings.relay.clone(),
            lease: of.lease,
            flows: of.flows,
            blocked: of.blocked,
            sent: of.sent,
            received: of.received,
            captured: of.captured,
        }
    }

    fn relay_state(&self, now: Instant) -> RelayState {
        match &self.link {
            Link::Off => RelayState::Off,
            Link::Waiting { at, reason: Some(reason) } => RelayState::BackingOff {
                retry_ms: u64::try_from(at.saturating_sub(now).as_millis()).unwrap_or(u64::MAX),
                reason: reason.clone(),
            },
            Link::Refused(reason) => RelayState::Refused { reason: reason.clone() },
            Link::Locked(reason) => RelayState::AuthenticationNeeded { reason: reason.clone() },
            Link::Waiting { .. } | Link::Connecting => RelayState::Connecting,
            Link::Open { .. } => match self.gateway.terms() {
                Some(terms) => RelayState::Up {
                    version: if terms.v2 { 2 } else { 1 },
                    udp: terms.udp,
                    greeting: terms.motd.clone(),
                },
                None => RelayState::Connecting,
            },
        }
    }

    /// Where a relay's last word leaves us; `None` if it may be called again.
    fn verdict(reason: Reason) -> Option<Link> {
        match reason {
            Reason::BadPassword | Reason::BadSignature | Reason::AuthRequired => {
                Some(Link::Locked(reason.to_string()))
            }
            Reason::IncompatibleExtensions | Reason::Blocked => {
                Some(Link::Refused(reason.to_string()))
            }
            _ => None,
        }
    }

    /// Ends the socket, if there is one, and with it what the guest has open.
    fn hang_up(&mut self, now: Instant) {
        if matches!(self.link, Link::Open { .. } | Link::Connecting) {
            self.gateway.disconnected(now);
            self.wish = Some(Wish::Close);
        }
    }
}

/// A report without what changes by itself as time goes.
fn still(report: &NetworkReport) -> NetworkReport {
    let mut report = report.clone();
    for flow in &mut report.flows {
        flow.age_ms = 0;
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    use emulator_protocol::{Credentials as Known, TerminalSize};
    use wisp::server::{self, Server};

    const START: Instant = Duration::from_secs(100);

    fn settings() -> NetworkSettings {
        NetworkSettings { relay: Some("ws://relay.test/".into()), ..NetworkSettings::default() }
    }

    fn network() -> Network {
        let mut network = Network::new(NetworkSettings::default(), [7; 32]);
        network.set(settings(), START);
        network
    }

    fn io() -> GuestIo {
        GuestIo::new(TerminalSize::default(), Waker::noop().clone())
    }

    fn called(v2: bool) -> Option<Wish> {
        Some(Wish::Connect { address: "ws://relay.test/".into(), v2 })
    }

    /// Carries messages until neither side has one.
    fn talk(network: &mut Network, server: &mut Server, now: Instant) {
        loop {
            let mut quiet = true;
            while let Some(message) = server.transmit() {
                network.message(&message, 1.0, now);
                quiet = false;
            }
            while let Some(message) = network.next_message(0) {
                if let Ok(server::Event::Authenticate { password, .. }) = server.receive(&message) {
                    if password == "right" {
                        server.admit();
                    } else {
                        server.refuse(Reason::BadPassword);
                    }
                }
                quiet = false;
            }
            if quiet {
                return;
            }
        }
    }

    fn relay(password: Option<bool>) -> Server {
        Server::new(server::Config {
            v2: true,
            window_packets: 32,
            window_bytes: 512 * 1024,
            udp: true,
            motd: None,
            password,
            max_streams: 128,
        })
    }

    #[test]
    fn a_relay_that_cannot_be_had_is_called_ever_more_seldom_in_both_versions() {
        let mut network = network();
        let mut now = START;
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(network.wish(now), called(true));
            network.closed("gone", 1.0, now);
            assert_eq!(network.wish(now), called(false), "the other version, at once");
            network.closed("gone", 1.0, now);
            assert_eq!(network.wish(now), None);
            let RelayState::BackingOff { retry_ms, reason } = network.relay_state(now) else {
                panic!("it waits");
            };
            assert_eq!(reason, "gone");
            waits.push(retry_ms);
            now += Duration::from_millis(retry_ms);
        }
        assert_eq!(waits[..3], [1000, 2000, 4000]);
        assert_eq!(waits[8], 30_000);
        network.set(NetworkSettings { credentials: None, ..settings() }, now);
        assert_eq!(network.wish(now), called(true), "a person's word does not wait");
    }

    #[test]
    fn a_relay_that_was_there_is_called_again_in_its_own_version() {
        let mut network = network();
        assert_eq!(network.wish(START), called(true));
        network.opened(true, START);
        talk(&mut network, &mut relay(None), START);
        assert!(matches!(network.relay_state(START), RelayState::Up { version: 2, .. }));
        let later = START + STEADY;
        network.closed("killed", 0.5, later);
        assert_eq!(network.wish(later + BACKOFF / 2), called(true));
        network.closed("killed", 0.0, later + BACKOFF);
        assert_eq!(network.wish(later + BACKOFF), called(true));
    }

    #[test]
    fn a_relay_that_wants_a_password_is_not_called_again_without_one() {
        for (password, up) in [(None, false), (Some("wrong"), false), (Some("right"), true)] {
            let mut network = network();
            let credentials =
                password.map(|word: &str| Known { user: "u".into(), password: word.to_owned() });
            network.set(NetworkSettings { credentials, ..settings() }, START);
            assert_eq!(network.wish(START), called(true));
            network.opened(true, START);
            talk(&mut network, &mut relay(Some(true)), START);
            let state = network.relay_state(START);
            if up {
                assert!(matches!(state, RelayState::Up { .. }), "{state:?}");
                continue;
            }
            assert!(matches!(state, RelayState::AuthenticationNeeded { .. }), "{state:?}");
            assert_eq!(network.wish(START), Some(Wish::Close));
            network.closed("", 0.0, START);
            assert_eq!(network.wish(START + BACKOFF_LIMIT), None);
        }
    }

    /// How long the network waits until it calls the relay again.
    fn wait(network: &Network, now: Instant) -> Option<u64> {
        match network.relay_state(now) {
            RelayState::BackingOff { retry_ms, .. } => Some(retry_ms),
            _ => None,
        }
    }

    #[test]
    fn a_relay_that_ends_each_connection_is_called_ever_more_seldom() {
        let mut network = network();
        let mut now = START;
        for expected in [1000, 2000, 4000] {
            assert_eq!(network.wish(now), called(true));
            network.opened(true, now);
            let mut server = relay(None);
            talk(&mut network, &mut server, now);
            server.end(Reason::Throttled);
            talk(&mut network, &mut server, now);
            assert_eq!(network.wish(now), Some(Wish::Close));
            assert_eq!(wait(&network, now), Some(expected));
            now += Duration::from_millis(expected);
        }
    }

    #[test]
    fn the_last_word_of_one_relay_says_nothing_of_the_next() {
        let mut network = network();
        network.wish(START);
        network.opened(true, START);
        talk(&mut network, &mut relay(Some(true)), START);
        assert!(matches!(network.relay_state(START), RelayState::AuthenticationNeeded { .. }));
        let relay = Some("ws://another.test/".into());
        network.set(NetworkSettings { relay, ..settings() }, START);
        for v2 in [true, false] {
            let address = "ws://another.test/".into();
            assert_eq!(network.wish(START), Some(Wish::Connect { address, v2 }));
            network.closed("gone", 1.0, START);
        }
        assert_eq!(wait(&network, START), Some(1000));
    }

    #[test]
    fn a_relay_that_says_nothing_is_left() {
        let mut network = network();
        let mut io = io();
        network.wish(START);
        network.opened(true, START);
        assert_eq!(network.exchange(&mut io, START).due, Some(START + HANDSHAKE));
        network.expire(1.0, START + HANDSHAKE / 2);
        assert_eq!(network.wish(START), None);
        network.expire(1.0, START + HANDSHAKE);
        assert_eq!(network.wish(START), Some(Wish::Close));
        assert_eq!(wait(&network, START + HANDSHAKE), Some(1000));
    }

    #[test]
    fn a_relay_that_breaks_the_protocol_is_left() {
        let mut network = network();
        network.wish(START);
        network.opened(true, START);
        network.message(&[0x77, 1, 2], 1.0, START);
        assert_eq!(network.wish(START), Some(Wish::Close));
        assert!(matches!(network.relay_state(START), RelayState::Refused { .. }));
        assert_eq!(network.wish(START + BACKOFF_LIMIT), None);
    }

    #[test]
    fn the_page_hears_of_changes_and_not_too_often() {
        let mut network = network();
        assert!(network.report(START).is_some());
        assert!(network.report(START + REPORT_INTERVAL).is_none(), "nothing has changed");
        network.refused("no".into());
        let soon = START + REPORT_INTERVAL / 2;
        let mut other = Network::new(settings(), [0; 32]);
        assert!(other.report(START).is_some());
        other.refused("no".into());
        assert!(other.report(soon).is_none(), "too early");
        assert!(other.report(START + REPORT_INTERVAL).is_some());
    }

    #[test]
    fn what_the_guest_asks_for_its_address_is_answered() {
        let mut network = network();
        let mut io = io();
        let exchange = network.exchange(&mut io, START);
        assert_eq!(exchange.due, Some(START), "the relay is to be called");
        io.sent.push(discover());
        let exchange = network.exchange(&mut io, START);
        assert!(exchange.moved && exchange.fresh);
        let offer = io.received.pop().expect("an offer");
        // The offered address (RFC 2131, section 2: yiaddr) behind Ethernet, IP and UDP.
        assert_eq!(offer[14 + 20 + 8 + 16..][..4], [10, 0, 2, 15]);
    }

    /// A DHCPDISCOVER (RFC 2131) in its frame.
    fn discover() -> Vec<u8> {
        let mut dhcp = vec![0; 240];
        dhcp[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, 3, 4]);
        dhcp[28..34].copy_from_slice(&[2, 0x76, 0x6d, 0, 0, 2]);
        dhcp[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        dhcp.extend([53, 1, 1, 255]);
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0x76, 0x6d, 0, 0, 2, 8, 0]);
        let length = 28 + dhcp.len() as u16;
        let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0];
        ip.extend([255; 4]);
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        let sum: u32 =
            ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        ip[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        frame.extend(ip);
        frame.extend([0, 68, 0, 67]);
        frame.extend((8 + dhcp.len() as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(dhcp);
        frame
    }
}
