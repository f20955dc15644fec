//! The DHCP server: one guest, one address, for ever (RFC 2131).
//!
//! Every guest that asks is given the same address, because there is only one on the cable.
//! What a restored guest remembers of its lease is therefore always right.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::wire::{
    DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress, Ipv4Packet, Ipv4Repr,
    UdpPacket, UdpRepr,
};

use crate::Config;
use crate::base::Base;

const SERVER: u16 = 67;
const CLIENT: u16 = 68;

/// Seconds of a lease: a year. Not the infinity of RFC 2131, which some clients read as -1.
const LEASE: u32 = 365 * 24 * 60 * 60;

/// "Interface MTU" (RFC 2132, 5.1).
const OPTION_MTU: u8 = 26;

/// What BOOTP made of it, and some clients still want (RFC 1542, 2.1).
const MIN_MESSAGE: usize = 300;

/// Answers the packet if it is one for a DHCP server; `false` if it is not.
pub(crate) fn receive(base: &mut Base, packet: &Ipv4Packet<&[u8]>, header: Ipv4Repr) -> bool {
    let Ok(udp) = UdpPacket::new_checked(packet.payload()) else { return false };
    let (source, target) = (header.src_addr.into(), header.dst_addr.into());
    if udp.dst_port() != SERVER
        || UdpRepr::parse(&udp, &source, &target, &base.wire.capabilities).is_err()
    {
        return false;
    }
    let to_us = header.dst_addr == base.config.gateway || base.config.broadcast(header.dst_addr);
    let Ok(message) = DhcpPacket::new_checked(udp.payload()) else { return true };
    let Ok(request) = DhcpRepr::parse(&message) else { return true };
    if !to_us || !request.client_hardware_address.is_unicast() {
        return true;
    }
    if let Some(kind) = decide(&base.config, &request) {
        answer(base, &request, kind);
    }
    true
}

fn decide(config: &Config, request: &DhcpRepr<'_>) -> Option<DhcpMessageType> {
    // RFC 2131, 4.3.2: a client that chose another server names it.
    if request.server_identifier.is_some_and(|server| server != config.gateway) {
        return None;
    }
    match request.message_type {
        DhcpMessageType::Discover => Some(DhcpMessageType::Offer),
        DhcpMessageType::Request => {
            let wanted = request.requested_ip.unwrap_or(request.client_ip);
            let ours = wanted == config.guest;
            Some(if ours { DhcpMessageType::Ack } else { DhcpMessageType::Nak })
        }
        DhcpMessageType::Inform => Some(DhcpMessageType::Ack),
        _ => None,
    }
}

fn answer(base: &mut Base, request: &DhcpRepr<'_>, kind: DhcpMessageType) {
    let config = &base.config;
    // RFC 2131, table 3: a refusal says nothing, and INFORM gets no address.
    let (nak, inform) =
        (kind == DhcpMessageType::Nak, request.message_type == DhcpMessageType::Inform);
    let address = if nak || inform { Ipv4Addr::UNSPECIFIED } else { config.guest };
    let mtu = u16::try_from(config.mtu).unwrap_or(u16::MAX).to_be_bytes();
    let options = [DhcpOption { kind: OPTION_MTU, data: &mtu }];
    let servers = [config.dns].into_iter().collect();
    let reply = DhcpRepr {
        message_type: kind,
        secs: 0,
        client_ip: if inform { request.client_ip } else { Ipv4Addr::UNSPECIFIED },
        your_ip: address,
        server_ip: config.gateway,
        router: (!nak).then_some(config.gateway),
        subnet_mask: (!nak).then(|| config.mask()),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        requested_ip: None,
        // RFC 6842: a client that names itself is named in the answer.
        client_identifier: request.client_identifier,
        server_identifier: Some(config.gateway),
        parameter_request_list: None,
        dns_servers: (!nak).then_some(servers),
        max_size: None,
        lease_duration: (!nak && !inform).then_some(LEASE),
        renew_duration: None,
        rebind_duration: None,
        additional_options: if nak { &[] } else { &options },
        ..*request
    };
    let mut bytes = vec![0; reply.buffer_len().max(MIN_MESSAGE)];
    if reply.emit(&mut DhcpPacket::new_unchecked(&mut bytes)).is_err() {
        return;
    }
    let mac = request.client_hardware_address;
    if kind == DhcpMessageType::Ack && !inform {
        base.lease = true;
        base.wire.guest = Some(mac);
    }
    let (from, guest) = (SocketAddrV4::new(base.config.gateway, SERVER), base.config.guest);
    // RFC 2131, 4.1: to everybody if asked so, and to one who has no address any more.
    let (to, target) = if request.broadcast || nak {
        (EthernetAddress::BROADCAST, Ipv4Addr::BROADCAST)
    } else {
        (mac, if inform { request.client_ip } else { guest })
    };
    base.wire.datagram(Some(to), from, SocketAddrV4::new(target, CLIENT), &bytes);
    base.ledger.changed();
}
