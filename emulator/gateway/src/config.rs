//! Who is who on the guest's network.

use std::net::Ipv4Addr;

use smoltcp::phy::{Checksum, ChecksumCapabilities};

/// Smallest MTU: what every IPv4 host must be able to take (RFC 791, 3.1, total length).
pub const MIN_MTU: usize = 576;

/// Largest MTU: the length field of IPv4 has 16 bits.
pub const MAX_MTU: usize = 65_535;

/// What does not change during a machine's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of an IP packet, [`MIN_MTU`] to [`MAX_MTU`]; the guest learns it by DHCP, and
    /// the segment size of TCP follows from it.
    pub mtu: usize,
    /// Our Ethernet address; unicast.
    pub mac: [u8; 6],
    /// The guest's address, the same for ever.
    pub guest: Ipv4Addr,
    /// Leading bits of the network's addresses, at most 30.
    pub prefix: u8,
    /// Our address: router, DHCP server, and the only one that answers to `ping`.
    pub gateway: Ipv4Addr,
    /// The address that DHCP names as the name server. All others are answered just so.
    pub dns: Ipv4Addr,
    /// What the guest's network card leaves to us.
    pub checksums: Checksums,
}

/// Checksums of TCP and UDP. Those of IPv4 and ICMP, which no card leaves out, are always
/// there and always verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksums {
    /// Verify those of the guest. Off for a guest whose driver leaves them out
    /// (virtio 1.2, 5.1.3: `VIRTIO_NET_F_CSUM`).
    pub verify: bool,
    /// Fill in ours. Off for a guest whose driver does not look
    /// (`VIRTIO_NET_F_GUEST_CSUM`).
    pub fill: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mtu: 1500,
            // Locally administered: the second bit of the first byte (IEEE 802, 8.2.2).
            mac: [0x52, 0x56, 0x00, 0x00, 0x00, 0x02],
            guest: Ipv4Addr::new(10, 0, 2, 15),
            prefix: 24,
            gateway: Ipv4Addr::new(10, 0, 2, 2),
            dns: Ipv4Addr::new(10, 0, 2, 3),
            checksums: Checksums { verify: true, fill: true },
        }
    }
}

impl Config {
    /// For a cable that is no cable: frames are copied in memory, and nobody computes the
    /// checksums of TCP and UDP.
    #[must_use]
    pub fn emulated(mtu: u16) -> Self {
        let checksums = Checksums { verify: false, fill: false };
        Self { mtu: mtu.into(), checksums, ..Self::default() }
    }

    /// The network's mask.
    pub(crate) const fn mask(&self) -> Ipv4Addr {
        let host = if self.prefix >= 32 { 0 } else { u32::MAX >> self.prefix };
        Ipv4Addr::from_bits(!host)
    }

    /// Whether an address is on the guest's own network.
    pub(crate) const fn local(&self, address: Ipv4Addr) -> bool {
        let mask = self.mask().to_bits();
        address.to_bits() & mask == self.gateway.to_bits() & mask
    }

    /// Whether an address is ours.
    pub(crate) fn ours(&self, address: Ipv4Addr) -> bool {
        address == self.gateway || address == self.dns
    }

    /// Whether an address is that of everybody on the guest's network.
    pub(crate) const fn broadcast(&self, address: Ipv4Addr) -> bool {
        let all = self.gateway.to_bits() | !self.mask().to_bits();
        address.is_broadcast() || address.to_bits() == all
    }

    /// Whether the guest may send from this address: any of its network but ours.
    pub(crate) fn guests(&self, address: Ipv4Addr) -> bool {
        self.local(address)
            && !self.broadcast(address)
            && !self.ours(address)
            && address.to_bits() & !self.mask().to_bits() != 0
    }

    pub(crate) fn capabilities(&self) -> ChecksumCapabilities {
        let checksum = match (self.checksums.verify, self.checksums.fill) {
            (true, true) => Checksum::Both,
            (true, false) => Checksum::Rx,
            (false, true) => Checksum::Tx,
            (false, false) => Checksum::None,
        };
        let mut capabilities = ChecksumCapabilities::default();
        (capabilities.tcp, capabilities.udp) = (checksum, checksum);
        capabilities
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_network() {
        let config = Config::default();
        assert_eq!(config.mask(), Ipv4Addr::new(255, 255, 255, 0));
        assert!(config.guests(config.guest) && config.guests(Ipv4Addr::new(10, 0, 2, 77)));
        for other in [config.gateway, config.dns, Ipv4Addr::new(10, 0, 2, 255)] {
            assert!(config.local(other) && !config.guests(other), "{other}");
        }
        assert!(!config.guests(Ipv4Addr::new(10, 0, 2, 0)));
        assert!(!config.local(Ipv4Addr::new(10, 0, 3, 15)));
        assert!(config.broadcast(Ipv4Addr::BROADCAST));
    }
}
