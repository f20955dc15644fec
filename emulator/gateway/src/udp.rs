//! UDP: DNS is answered here, the rest goes through streams of the relay where it has them.
//!
//! There is no credit for datagrams: what does not fit is lost, as UDP is.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use emulator_protocol::{FlowState, Transport};
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr};
use wisp::client::OpenError;
use wisp::{Kind, Reason};

use crate::Instant;
use crate::base::{Base, Destination};
use crate::dns;
use crate::icmp::{self, Quote, Unreachable};
use crate::report::Record;
use crate::tuple::Tuple;

/// Pairs of ports that exchange datagrams at once, at most; the one that is idle longest
/// makes place. Half of the streams of a relay stay for TCP.
const MAX_EXCHANGES: usize = 64;

/// After this long without a datagram an exchange is over (RFC 4787, 4.3 asks for more, but
/// the relay's limit is this).
const IDLE: Duration = Duration::from_secs(60);

/// Ports that are refused whatever the policy says, and why. Names are resolved in the clear
/// and here, so that policies can hold; QUIC would hide them again.
const REFUSED: [(u16, &str); 5] = [
    (137, "names of NetBIOS are not resolved"),
    (443, "QUIC is refused so that TLS goes over TCP"),
    (853, "names are resolved by the gateway only"),
    (5353, "there are no neighbours for mDNS"),
    (5355, "there are no neighbours for LLMNR"),
];

struct Exchange {
    stream: u32,
    record: Record,
    used: Instant,
}

#[derive(Default)]
pub(crate) struct Exchanges {
    by_tuple: BTreeMap<Tuple, Exchange>,
}

/// A datagram from the guest, not for a DHCP server.
pub(crate) fn receive(
    exchanges: &mut Exchanges,
    base: &mut Base,
    packet: &Ipv4Packet<&[u8]>,
    header: Ipv4Repr,
) {
    let Ok(udp) = UdpPacket::new_checked(packet.payload()) else { return };
    let ends = (header.src_addr.into(), header.dst_addr.into());
    let Ok(ports) = UdpRepr::parse(&udp, &ends.0, &ends.1, &base.wire.capabilities) else { return };
    let tuple = Tuple {
        guest: SocketAddrV4::new(header.src_addr, ports.src_port),
        host: SocketAddrV4::new(header.dst_addr, ports.dst_port),
    };
    if base.config.broadcast(header.dst_addr) || header.dst_addr.is_multicast() {
        return;
    }
    if ports.dst_port == dns::PORT {
        let online = base.link.ready();
        if let Some(answer) = dns::respond(udp.payload(), &mut base.names, online, base.now) {
            base.wire.datagram(None, tuple.host, tuple.guest, &answer);
        }
        return;
    }
    if let Err(why) = exchanges.forward(base, tuple, udp.payload()) {
        // A port that nobody has is said by its host, all else by the router.
        let from = match why {
            Unreachable::PortUnreachable => header.dst_addr,
            _ => base.config.gateway,
        };
        let quote = Quote::new(header, packet.payload());
        icmp::unreachable(&mut base.wire, from, why, &quote);
    }
}

impl Exchanges {
    /// # Errors
    /// What the guest is to be told.
    fn forward(
        &mut self,
        base: &mut Base,
        tuple: Tuple,
        payload: &[u8],
    ) -> Result<(), Unreachable> {
        if !self.by_tuple.contains_key(&tuple) {
            self.open(base, tuple)?;
        }
        if let Some(exchange) = self.by_tuple.get_mut(&tuple) {
            exchange.used = base.now;
            if base.link.send_datagram(exchange.stream, payload) {
                base.ledger.sent(&mut exchange.record, payload.len());
            }
        }
        Ok(())
    }

    fn open(&mut self, base: &mut Base, tuple: Tuple) -> Result<(), Unreachable> {
        let (address, port) = (*tuple.host.ip(), tuple.host.port());
        let host = match base.destination(address) {
            Destination::Host(host) => host,
            Destination::Neighbour if base.config.ours(address) => {
                return Err(Unreachable::PortUnreachable);
            }
            Destination::Neighbour | Destination::Nobody => {
                return Err(Unreachable::HostUnreachable);
            }
        };
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == port) {
            base.ledger.blocked(Transport::Udp, &host, port, (*why).to_owned());
            return Err(Unreachable::PortUnreachable);
        }
        if let Err(why) = base.rules.judge(&host, port) {
            base.ledger.blocked(Transport::Udp, &host, port, why);
            return Err(Unreachable::CommProhibited);
        }
        self.make_place(base);
        match base.link.open(Kind::Udp, &host.to_string(), port, tuple) {
            Ok(stream) => {
                let mut record = base.ledger.open(Transport::Udp, host, port, base.now);
                record.state = FlowState::Open;
                self.by_tuple.insert(tuple, Exchange { stream, record, used: base.now });
                Ok(())
            }
            Err(OpenError::NoUdp) => {
                let why = OpenError::NoUdp.to_string();
                base.ledger.blocked(Transport::Udp, &host, port, why);
                Err(Unreachable::PortUnreachable)
            }
            // It is lost, and the guest tries again.
            Err(OpenError::Busy) => Ok(()),
            Err(OpenError::NotReady) => Err(Unreachable::NetUnreachable),
            Err(OpenError::Target(_) | OpenError::TooMany | OpenError::Exhausted) => {
                Err(Unreachable::HostUnreachable)
            }
        }
    }

    fn make_place(&mut self, base: &mut Base) {
        if self.by_tuple.len() < MAX_EXCHANGES {
            return;
        }
        let oldest = self.by_tuple.iter().min_by_key(|(_, exchange)| exchange.used);
        if let Some(tuple) = oldest.map(|(tuple, _)| *tuple) {
            self.end(base, tuple, "too many exchanges at once");
        }
    }

    fn end(&mut self, base: &mut Base, tuple: Tuple, why: &str) {
        if let Some(mut exchange) = self.by_tuple.remove(&tuple) {
            base.link.close(exchange.stream, Reason::Voluntary);
            exchange.record.why = Some(why.to_owned());
            base.ledger.close(exchange.record);
        }
    }

    /// A datagram from the relay.
    pub(crate) fn data(&mut self, base: &mut Base, tuple: Tuple, payload: &[u8]) {
        let Some(exchange) = self.by_tuple.get_mut(&tuple) else { return };
        exchange.used = base.now;
        if base.wire.room() > 0 && base.wire.datagram(None, tuple.host, tuple.guest, payload) {
            base.ledger.received(&mut exchange.record, payload.len());
        }
    }

    /// The relay closed the stream.
    pub(crate) fn closed(&mut self, base: &mut Base, tuple: Tuple, reason: Reason) {
        let Some(mut exchange) = self.by_tuple.remove(&tuple) else { return };
        exchange.record.why = Some(reason.to_string());
        if reason == Reason::Blocked {
            let host = &exchange.record.host;
            let why = "the relay's policy".to_owned();
            base.ledger.blocked(Transport::Udp, host, exchange.record.port, why);
        }
        if let Some((from, why)) = match reason {
            Reason::Refused => Some((*tuple.host.ip(), Unreachable::PortUnreachable)),
            Reason::Unreachable => Some((base.config.gateway, Unreachable::HostUnreachable)),
            Reason::Blocked => Some((base.config.gateway, Unreachable::CommProhibited)),
            _ => None,
        } {
            icmp::unreachable(&mut base.wire, from, why, &quote(tuple));
        }
        base.ledger.close(exchange.record);
    }

    /// Ends what nobody uses; when to look again.
    pub(crate) fn poll(&mut self, base: &mut Base) -> Option<Instant> {
        let idle = |exchange: &Exchange| exchange.used + IDLE <= base.now;
        let over: Vec<Tuple> =
            self.by_tuple.iter().filter(|(_, e)| idle(e)).map(|(tuple, _)| *tuple).collect();
        for tuple in over {
            self.end(base, tuple, "idle");
        }
        self.by_tuple.values().map(|exchange| exchange.used + IDLE).min()
    }

    /// Ends what the policy does not allow any more.
    pub(crate) fn enforce(&mut self, base: &mut Base) {
        let judge = |e: &Exchange| base.rules.judge(&e.record.host, e.record.port).err();
        let denied: Vec<(Tuple, String)> =
            self.by_tuple.iter().filter_map(|(tuple, e)| Some((*tuple, judge(e)?))).collect();
        for (tuple, why) in denied {
            self.end(base, tuple, &why);
        }
    }

    /// The relay is gone, and all streams with it.
    pub(crate) fn lost(&mut self, base: &mut Base, why: &str) {
        for (_, mut exchange) in std::mem::take(&mut self.by_tuple) {
            exchange.record.why = Some(why.to_owned());
            base.ledger.close(exchange.record);
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.by_tuple.values().map(|exchange| &exchange.record)
    }
}

/// The start of a datagram that the guest has sent.
fn quote(tuple: Tuple) -> Quote {
    let mut start = [0; 8];
    start[..2].copy_from_slice(&tuple.guest.port().to_be_bytes());
    start[2..4].copy_from_slice(&tuple.host.port().to_be_bytes());
    start[5] = 8;
    let header = Ipv4Repr {
        src_addr: *tuple.guest.ip(),
        dst_addr: *tuple.host.ip(),
        next_header: IpProtocol::Udp,
        payload_len: start.len(),
        hop_limit: 64,
    };
    Quote { header, start }
}
