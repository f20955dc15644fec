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
const STEADY: Duration = Duration::from_secs(10);

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
    /// Open a socket; with the second version of WISP as its subprotocol, or without one.
    Connect { address: String, v2: bool },
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
        let config = Config { mtu: MTU.into(), ..Config::default() };
        let mut network = Self {
            gateway: Gateway::new(config, settings.policy.clone(), seed),
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
        if let Link::Waiting { at, .. } = self.link {
            due = Some(due.map_or(at, |due| due.min(at)));
        }
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

    /// A message of the relay.
    pub fn message(&mut self, message: &[u8], now: Instant) {
        if let Err(violation) = self.gateway.message(message, now) {
            self.hang_up(now);
            self.link = Link::Refused(format!("The relay broke the protocol: {violation}."));
        } else if self.gateway.ended().is_some() {
            self.hang_up(now);
        }
    }

    /// The next message for the relay; `buffered` bytes wait in the socket.
    pub fn next_message(&mut self, buffered: usize) -> Option<Vec<u8>> {
        self.gateway.next_message(buffered)
    }

    /// The socket is closed, or could not be opened. `jitter` is a random number from 0 to 1.
    pub fn closed(&mut self, reason: &str, jitter: f64, now: Instant) {
        let steady = match self.link {
            Link::Open { since } => now.saturating_sub(since) >= STEADY,
            Link::Connecting => false,
            _ => return,
        };
        let ended = self.gateway.ended();
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
        NetworkReport {
            relay: self.relay_state(now),
            address: self.settings.relay.clone(),
            ..self.gateway.report(now)
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
            let ended = self.gateway.ended();
            self.gateway.disconnected(now);
            self.wish = Some(Wish::Close);
            self.link = ended.and_then(Self::verdict).unwrap_or(Link::Waiting {
                at: now + BACKOFF,
                reason: ended.map(|reason| reason.to_string()),
            });
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
