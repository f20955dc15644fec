//! What a frame from the guest is, and who gets it.
//!
//! ```text
//!  frame ┬ ARP  ── answered for the gateway and the name server, for nobody else
//!        └ IPv4 ┬ ICMP ── icmp.rs
//!               ├ UDP  ┬ 67 ── dhcp.rs      53 ── dns.rs
//!               │      └ udp.rs ────────────────────────┐
//!               └ TCP  ── tcp.rs (53 ── dns.rs) ────────┴─ link.rs ── WISP
//! ```
//!
//! Everything else is dropped; IPv6 in silence, because the guest gets no router for it and
//! no address in an answer of DNS.

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol,
    Ipv4Packet, Ipv4Repr,
};

use crate::base::Base;
use crate::icmp::{self, Quote, Unreachable};
use crate::{Gateway, dhcp, udp};

impl Gateway {
    pub(crate) fn demultiplex(&mut self, frame: &[u8]) {
        let Ok(frame) = EthernetFrame::new_checked(frame) else { return };
        let target = frame.dst_addr();
        if target.is_unicast() && target != self.base.wire.ours() {
            return;
        }
        if !frame.src_addr().is_unicast() {
            return;
        }
        match frame.ethertype() {
            EthernetProtocol::Arp => arp(&mut self.base, frame.payload()),
            EthernetProtocol::Ipv4 => self.ipv4(frame.src_addr(), frame.payload()),
            _ => {}
        }
    }

    fn ipv4(&mut self, sender: EthernetAddress, bytes: &[u8]) {
        let base = &mut self.base;
        let Ok(packet) = Ipv4Packet::new_checked(bytes) else { return };
        let Ok(header) = Ipv4Repr::parse(&packet, &base.wire.capabilities) else { return };
        // Of fragments, which no guest sends that knows the MTU, nothing is put together.
        if packet.more_frags() || packet.frag_offset() != 0 {
            return;
        }
        if header.next_header == IpProtocol::Udp && dhcp::receive(base, &packet, header) {
            return;
        }
        if !base.config.guests(header.src_addr) {
            return;
        }
        base.wire.guest = Some(sender);
        match header.next_header {
            IpProtocol::Tcp => {
                if let Some(tuple) = self.tcp.receive(base, &packet, header) {
                    self.revenants.rest(tuple);
                }
            }
            IpProtocol::Udp => udp::receive(&mut self.udp, base, &packet, header),
            IpProtocol::Icmp => icmp::receive(base, &packet, header),
            _ => {
                let quote = Quote::new(header, packet.payload());
                let from = base.config.gateway;
                icmp::unreachable(&mut base.wire, from, Unreachable::ProtoUnreachable, &quote);
            }
        }
    }
}

fn arp(base: &mut Base, bytes: &[u8]) {
    let Ok(packet) = ArpPacket::new_checked(bytes) else { return };
    let Ok(ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: sender,
        source_protocol_addr: asker,
        target_protocol_addr: wanted,
        ..
    }) = ArpRepr::parse(&packet)
    else {
        return;
    };
    if !sender.is_unicast() || !base.config.ours(wanted) {
        return;
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: base.wire.ours(),
        source_protocol_addr: wanted,
        target_hardware_addr: sender,
        target_protocol_addr: asker,
    };
    base.wire.frame(Some(sender), EthernetProtocol::Arp, reply.buffer_len(), |bytes| {
        reply.emit(&mut ArpPacket::new_unchecked(bytes));
    });
}
