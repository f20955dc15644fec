//! The guest's network: Ethernet frames on one side, WISP messages on the other.
//!
//! ```text
//!   guest ── frames ──▶ ethernet ─┬─ ARP, DHCP, DNS, ICMP: answered here
//!         ◀── wire ───            ├─ tcp ── one smoltcp socket for each connection ─┐
//!                                 └─ udp ─────────────────────────────────────────┬┴ link ── WISP ─▶ relay
//! ```
//!
//! The gateway is router, name server and DHCP server of a network with one guest. It lets
//! the guest resolve a name to an address that stands for it, and hands the *name* to the
//! relay when the guest connects, so that rules about hosts hold and no resolver is asked
//! twice. `docs/network.md` says what the guest sees.
//!
//! No I/O, no clock, no engine: time is an argument, frames and messages are bytes. The
//! caller gives what came ([`Gateway::receive`], [`Gateway::message`]), takes what is to go
//! ([`Gateway::transmit`], [`Gateway::next_message`]) until there is no more, and asks
//! [`Gateway::poll`] when to come again.
//!
//! Deliberately absent: IPv6 (the guest gets no address), fragments of IPv4, ICMP to the
//! world (WISP has none), the WebSocket and its reconnects, and any opinion on the relay's
//! address.
#![forbid(unsafe_code)]

mod base;
mod config;
mod dhcp;
mod dns;
mod ethernet;
mod icmp;
mod link;
mod pcap;
mod policy;
mod random;
mod report;
mod revenant;
mod section;
mod tcp;
mod tuple;
mod udp;
mod wire;

use std::time::Duration;

use emulator_protocol::Policy;
use wisp::client::{Event, Terms, Violation};
use wisp::{Credentials, Kind, Reason};

use base::Base;
pub use config::{Checksums, Config, MAX_MTU, MIN_MTU};
pub use dns::names::MAX_NAMES;
pub use link::SOCKET_BUFFER;
pub use pcap::CAPTURE_MAX;
use policy::Rules;
use random::Random;
pub use report::Report;
use revenant::Revenants;
pub use section::Error;
use section::Section;
pub use tcp::MAX_FLOWS;
use udp::Exchanges;

/// Time since any fixed start.
pub type Instant = Duration;

/// The guest's network.
pub struct Gateway {
    base: Base,
    tcp: tcp::Flows,
    udp: Exchanges,
    revenants: Revenants,
    random: Random,
}

impl Gateway {
    /// A network without a relay. An MTU out of bounds is brought within them. The seed makes
    /// TCP's initial sequence numbers.
    #[must_use]
    pub fn new(mut config: Config, policy: Policy, seed: [u8; 32]) -> Self {
        config.mtu = config.mtu.clamp(MIN_MTU, MAX_MTU);
        config.prefix = config.prefix.min(30);
        let mut random = Random::new(seed);
        Self {
            base: Base::new(config, Rules::new(&policy), random.next()),
            tcp: tcp::Flows::default(),
            udp: Exchanges::default(),
            revenants: Revenants::default(),
            random,
        }
    }

    /// A frame from the guest, without its check sequence. What it leads to comes out of
    /// [`Gateway::transmit`] and [`Gateway::next_message`]; give all frames that there are
    /// before asking for it, because answers are made then and not before.
    pub fn receive(&mut self, frame: &[u8], now: Instant) {
        self.at(now);
        self.base.wire.capture.record(now, frame);
        self.demultiplex(frame);
    }

    /// The next frame for the guest.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        // Flows that wait for room are not asked again for each frame that goes.
        if !self.tcp.idle() && self.base.wire.room() >= wire::QUEUE / 2 || self.base.wire.is_empty()
        {
            self.tcp.pump(&mut self.base);
        }
        self.base.wire.pop()
    }

    /// How many frames the guest can take now. Without this it is taken to drain what
    /// [`Gateway::transmit`] gives.
    pub fn set_guest_room(&mut self, frames: usize) {
        self.base.wire.set_room(frames);
    }

    /// A WebSocket to a relay is open; `v2` if it accepted the subprotocol `wisp-v2`.
    pub fn connected(&mut self, v2: bool, credentials: Option<Credentials>, now: Instant) {
        self.disconnected(now);
        self.base.link.connect(v2, credentials);
    }

    /// A binary message from the relay.
    ///
    /// # Errors
    /// The relay broke the protocol: send what [`Gateway::next_message`] still gives, close,
    /// and say [`Gateway::disconnected`].
    pub fn message(&mut self, message: &[u8], now: Instant) -> Result<(), Violation> {
        self.at(now);
        let (base, tcp, udp) = (&mut self.base, &mut self.tcp, &mut self.udp);
        let (event, peer) = base.link.receive(message)?;
        match (event, peer) {
            (Event::Ended { reason }, _) => {
                let why = format!("the relay ended the connection: {reason}");
                tcp.lost(base, &why);
                udp.lost(base, &why);
            }
            (Event::Ready, _) => base.ledger.changed(),
            (Event::Opened { .. }, Some((Kind::Tcp, tuple))) => tcp.opened(base, tuple),
            (Event::Data { bytes, .. }, Some((Kind::Tcp, tuple))) => tcp.data(base, tuple, bytes),
            (Event::Data { bytes, .. }, Some((Kind::Udp, tuple))) => udp.data(base, tuple, bytes),
            (Event::Writable { .. }, Some((Kind::Tcp, tuple))) => tcp.make_due(tuple),
            (Event::Finished { .. }, Some((Kind::Tcp, tuple))) => tcp.finished(base, tuple),
            (Event::Closed { reason, .. }, Some((Kind::Tcp, tuple))) => {
                tcp.closed(base, tuple, reason);
            }
            (Event::Closed { reason, .. }, Some((Kind::Udp, tuple))) => {
                udp.closed(base, tuple, reason);
            }
            _ => {}
        }
        Ok(())
    }

    /// The next binary message for the relay; `buffered` is what the WebSocket says that it
    /// has not sent yet. `None` above [`SOCKET_BUFFER`]: ask again when there is less.
    pub fn next_message(&mut self, buffered: usize) -> Option<Vec<u8>> {
        self.tcp.pump(&mut self.base);
        let message = self.base.link.transmit(buffered)?;
        for tuple in self.base.link.starved() {
            self.tcp.make_due(tuple);
        }
        Some(message)
    }

    /// The WebSocket is gone: all flows of the guest are reset.
    pub fn disconnected(&mut self, now: Instant) {
        self.at(now);
        let why = "the connection to the relay was lost";
        self.tcp.lost(&mut self.base, why);
        self.udp.lost(&mut self.base, why);
        self.base.link.disconnect();
        self.base.ledger.changed();
    }

    /// Why the relay ended the connection, if it did; until the next one.
    #[must_use]
    pub const fn ended(&self) -> Option<Reason> {
        self.base.link.ended()
    }

    /// What was agreed on with the relay, once it is ready.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        self.base.link.terms()
    }

    /// Does what time brings; when to come again. Call it also after frames and messages,
    /// which can bring the time forward.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.at(now);
        let tcp = self.tcp.poll(&mut self.base);
        let udp = self.udp.poll(&mut self.base);
        let revenants = self.revenants.poll(&mut self.base, &mut self.random);
        [tcp, udp, revenants].into_iter().flatten().min()
    }

    /// Other rules hold from now on. Flows that they deny are reset.
    pub fn set_policy(&mut self, policy: Policy) {
        self.base.rules = Rules::new(&policy);
        self.tcp.enforce(&mut self.base);
        self.udp.enforce(&mut self.base);
    }

    /// What people see.
    #[must_use]
    pub fn report(&self, now: Instant) -> Report {
        let live = self.tcp.records().chain(self.udp.records());
        let mut report = self.base.ledger.report(live, now);
        report.lease = self.base.lease.then(|| self.base.config.guest.to_string());
        report.captured = self.base.wire.capture.on().then(|| self.captured());
        report
    }

    /// A number that grows when [`Gateway::report`] changes, but for ages and the recording.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.base.ledger.revision()
    }

    /// Starts a recording of all frames, or ends it.
    pub fn capture(&mut self, on: bool) {
        self.base.wire.capture.switch(on);
    }

    /// Bytes that [`Gateway::take_capture`] would give.
    #[must_use]
    pub const fn captured(&self) -> u64 {
        self.base.wire.capture.bytes() as u64
    }

    /// What was recorded, as a pcap file; the last [`CAPTURE_MAX`] bytes of it.
    pub fn take_capture(&mut self) -> Vec<u8> {
        self.base.wire.capture.take()
    }

    /// The section `network` of a snapshot.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let section = Section {
            guest: self.base.wire.guest,
            lease: self.base.lease,
            last_flow: self.base.ledger.last(),
            names: self.base.names.clone(),
            tuples: self.tcp.tuples().chain(self.revenants.tuples()).collect(),
        };
        section.write(self.base.now)
    }

    /// Takes over what [`Gateway::save`] gave, from a stranger maybe. The connections that
    /// the guest had are reset in it, now and over the next seconds. To be called on a
    /// gateway that has no guest yet.
    ///
    /// # Errors
    /// The section is damaged; nothing was changed.
    pub fn restore(&mut self, section: &[u8], now: Instant) -> Result<(), Error> {
        self.at(now);
        let section = Section::parse(section, &self.base.config, self.base.now)?;
        self.base.wire.guest = section.guest;
        self.base.lease = section.lease;
        self.base.names = section.names;
        self.base.ledger.set_last(section.last_flow);
        self.base.ledger.changed();
        self.revenants = Revenants::new(section.tuples, self.base.now);
        Ok(())
    }

    /// Time does not go back, whatever the caller says.
    fn at(&mut self, now: Instant) {
        self.base.now = self.base.now.max(now);
        self.base.wire.now = self.base.now;
    }
}
