//! ICMP: the gateway can be pinged, and what cannot be reached is said to be so at once.

use std::net::Ipv4Addr;

use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr,
};

use crate::base::Base;
use crate::wire::Wire;

/// Why the guest is told that it cannot reach something (RFC 792; RFC 1812, 5.2.7.1).
pub(crate) type Unreachable = Icmpv4DstUnreachable;

/// Bytes of a packet's payload that an error quotes: enough for the ports and TCP's sequence
/// number, by which a guest knows its socket (RFC 792).
const QUOTED: usize = 8;

/// The packet that an error is about.
#[derive(Clone, Copy)]
pub(crate) struct Quote {
    pub(crate) header: Ipv4Repr,
    pub(crate) start: [u8; QUOTED],
}

impl Quote {
    pub(crate) fn new(header: Ipv4Repr, payload: &[u8]) -> Self {
        let mut start = [0; QUOTED];
        let length = payload.len().min(QUOTED);
        start[..length].copy_from_slice(&payload[..length]);
        Self { header, start }
    }
}

/// Tells the guest that what it sent does not arrive. Never about what went to many
/// (RFC 1122, 3.2.2).
pub(crate) fn unreachable(wire: &mut Wire, from: Ipv4Addr, why: Unreachable, quote: &Quote) {
    let target = quote.header.dst_addr;
    if target.is_broadcast() || target.is_multicast() || quote.header.src_addr.is_unspecified() {
        return;
    }
    let message =
        Icmpv4Repr::DstUnreachable { reason: why, header: quote.header, data: &quote.start };
    send(wire, from, quote.header.src_addr, &message);
}

fn send(wire: &mut Wire, from: Ipv4Addr, to: Ipv4Addr, message: &Icmpv4Repr<'_>) {
    let length = message.buffer_len();
    if length + 20 > wire.mtu() {
        return;
    }
    wire.packet(None, (from, to), IpProtocol::Icmp, length, |bytes, capabilities| {
        message.emit(&mut Icmpv4Packet::new_unchecked(bytes), capabilities);
    });
}

/// An ICMP packet from the guest. An echo request to anybody but us is answered with an
/// error: WISP carries no ICMP, and a `ping` that says so is better than one that hangs.
pub(crate) fn receive(base: &mut Base, packet: &Ipv4Packet<&[u8]>, header: Ipv4Repr) {
    let Ok(message) = Icmpv4Packet::new_checked(packet.payload()) else { return };
    let Ok(message) = Icmpv4Repr::parse(&message, &base.wire.capabilities) else { return };
    let Icmpv4Repr::EchoRequest { ident, seq_no, data } = message else { return };
    let target = header.dst_addr;
    if base.config.ours(target) {
        let reply = Icmpv4Repr::EchoReply { ident, seq_no, data };
        send(&mut base.wire, target, header.src_addr, &reply);
    } else {
        let quote = Quote::new(header, packet.payload());
        let why = if base.config.local(target) {
            Unreachable::HostUnreachable
        } else {
            Unreachable::CommProhibited
        };
        let from = base.config.gateway;
        unreachable(&mut base.wire, from, why, &quote);
    }
}
