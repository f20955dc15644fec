//! The guest's cable: frames that wait for the guest, and smoltcp's view of it.
//!
//! A packet from the guest is lent to smoltcp and not copied; one to the guest is written
//! once, straight into the frame that leaves.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
    UdpRepr,
};

use crate::Config;
use crate::pcap::Capture;

/// Frames that wait for the guest before TCP sends no more: a little over a full window of
/// 64 KiB for each of four connections.
pub(crate) const QUEUE: usize = 256;

/// Frames that wait for the guest at most. Above [`QUEUE`] only answers are queued, and what
/// does not fit is lost, as on any cable.
const QUEUE_MAX: usize = 2 * QUEUE;

/// Bytes of an Ethernet header.
pub(crate) const HEADER: usize = 14;

/// Bytes of an IPv4 header as we write it.
const IP_HEADER: usize = 20;

/// Our hop limit, the usual one (RFC 1700, "IP time to live parameter").
const HOPS: u8 = 64;

pub(crate) struct Wire {
    ours: EthernetAddress,
    /// The guest's address, learnt from its frames.
    pub(crate) guest: Option<EthernetAddress>,
    pub(crate) capabilities: ChecksumCapabilities,
    mtu: usize,
    queue: VecDeque<Vec<u8>>,
    /// Frames that the guest can take now; `None`: nobody counts.
    room: Option<usize>,
    /// smoltcp had something to send and there was no room.
    pub(crate) refused: bool,
    pub(crate) capture: Capture,
    /// Time of the last call, for the capture.
    pub(crate) now: Duration,
}

impl Wire {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            ours: EthernetAddress(config.mac),
            guest: None,
            capabilities: config.capabilities(),
            mtu: config.mtu,
            queue: VecDeque::new(),
            room: None,
            refused: false,
            capture: Capture::default(),
            now: Duration::ZERO,
        }
    }

    pub(crate) const fn ours(&self) -> EthernetAddress {
        self.ours
    }

    pub(crate) const fn mtu(&self) -> usize {
        self.mtu
    }

    /// Frames that TCP may add now.
    pub(crate) fn room(&self) -> usize {
        self.room.unwrap_or(QUEUE).min(QUEUE).saturating_sub(self.queue.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn set_room(&mut self, frames: usize) {
        self.room = Some(frames);
    }

    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        if self.room == Some(0) {
            return None;
        }
        let frame = self.queue.pop_front()?;
        if let Some(room) = &mut self.room {
            *room -= 1;
        }
        Some(frame)
    }

    /// Queues a frame of `length` bytes behind its Ethernet header, which `write` fills in.
    pub(crate) fn frame<R>(
        &mut self,
        to: Option<EthernetAddress>,
        kind: EthernetProtocol,
        length: usize,
        write: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        let mut bytes = vec![0; HEADER + length];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes);
        frame.set_src_addr(self.ours);
        frame.set_dst_addr(to.or(self.guest).unwrap_or(EthernetAddress::BROADCAST));
        frame.set_ethertype(kind);
        let result = write(&mut bytes[HEADER..]);
        if self.queue.len() < QUEUE_MAX {
            self.capture.record(self.now, &bytes);
            self.queue.push_back(bytes);
        }
        result
    }

    /// Queues an IPv4 packet of `length` bytes behind its header.
    pub(crate) fn packet(
        &mut self,
        to: Option<EthernetAddress>,
        (from, target): (Ipv4Addr, Ipv4Addr),
        protocol: IpProtocol,
        length: usize,
        write: impl FnOnce(&mut [u8], &ChecksumCapabilities),
    ) {
        let capabilities = self.capabilities.clone();
        let header = Ipv4Repr {
            src_addr: from,
            dst_addr: target,
            next_header: protocol,
            payload_len: length,
            hop_limit: HOPS,
        };
        self.frame(to, EthernetProtocol::Ipv4, IP_HEADER + length, |bytes| {
            header.emit(&mut Ipv4Packet::new_unchecked(&mut *bytes), &capabilities);
            write(&mut bytes[IP_HEADER..], &capabilities);
        });
    }

    /// Queues a datagram; one that is longer than the MTU is lost.
    pub(crate) fn datagram(
        &mut self,
        to: Option<EthernetAddress>,
        from: std::net::SocketAddrV4,
        target: std::net::SocketAddrV4,
        payload: &[u8],
    ) -> bool {
        let udp = UdpRepr { src_port: from.port(), dst_port: target.port() };
        let length = udp.header_len() + payload.len();
        if IP_HEADER + length > self.mtu {
            return false;
        }
        let ends = (*from.ip(), *target.ip());
        self.packet(to, ends, IpProtocol::Udp, length, |bytes, capabilities| {
            let mut packet = UdpPacket::new_unchecked(bytes);
            let (source, sink) = (ends.0.into(), ends.1.into());
            let fill = |into: &mut [u8]| into.copy_from_slice(payload);
            udp.emit(&mut packet, &source, &sink, payload.len(), fill, capabilities);
        });
        true
    }
}

/// The cable for one call into smoltcp, with the packet that it is about, if any.
pub(crate) struct Port<'p> {
    pub(crate) wire: &'p mut Wire,
    pub(crate) packet: Option<&'p [u8]>,
}

impl Device for Port<'_> {
    type RxToken<'a>
        = Lent<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Slot<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Lent<'_>, Slot<'_>)> {
        let packet = self.packet.take()?;
        Some((Lent(packet), Slot(self.wire)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Slot<'_>> {
        if self.wire.room() == 0 {
            self.wire.refused = true;
            return None;
        }
        Some(Slot(self.wire))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.wire.mtu;
        capabilities.checksum = self.wire.capabilities.clone();
        capabilities
    }
}

/// A packet from the guest.
pub(crate) struct Lent<'a>(&'a [u8]);

impl RxToken for Lent<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// Leave to queue one packet.
pub(crate) struct Slot<'a>(&'a mut Wire);

impl TxToken for Slot<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        self.0.frame(None, EthernetProtocol::Ipv4, length, write)
    }
}
