//! What all parts of the gateway share.

use std::net::Ipv4Addr;

use smoltcp::iface::Interface;
use smoltcp::wire::{HardwareAddress, IpCidr};

use crate::dns::{Names, names};
use crate::link::Link;
use crate::policy::{Host, Rules};
use crate::report::Ledger;
use crate::wire::{Port, Wire};
use crate::{Config, Instant};

pub(crate) struct Base {
    pub(crate) config: Config,
    /// Time of the last call.
    pub(crate) now: Instant,
    pub(crate) wire: Wire,
    /// smoltcp, for TCP only.
    pub(crate) stack: Interface,
    pub(crate) link: Link,
    pub(crate) names: Names,
    pub(crate) rules: Rules,
    pub(crate) ledger: Ledger,
    /// The guest has asked for its address.
    pub(crate) lease: bool,
}

/// What the guest asks for when it sends to an address.
pub(crate) enum Destination {
    /// Somebody out there.
    Host(Host),
    /// An address that stands for a name that nobody knows, or that is nobody's.
    Nobody,
    /// Ourselves, or a neighbour, of whom there are none.
    Neighbour,
}

impl Base {
    pub(crate) fn new(config: Config, rules: Rules, seed: u64) -> Self {
        let mut wire = Wire::new(&config);
        let mut settings = smoltcp::iface::Config::new(HardwareAddress::Ip);
        settings.random_seed = seed;
        let mut port = Port { wire: &mut wire, packet: None };
        let mut stack = Interface::new(settings, &mut port, smoltcp::time::Instant::ZERO);
        stack.set_any_ip(true);
        // For the address of everybody on the network, which is not to be connected to.
        let ours = IpCidr::new(config.gateway.into(), config.prefix);
        stack.update_ip_addrs(|addresses| {
            // The list is empty, and has a place.
            let _ = addresses.push(ours);
        });
        Self {
            config,
            now: Instant::ZERO,
            wire,
            stack,
            link: Link::default(),
            names: Names::default(),
            rules,
            ledger: Ledger::default(),
            lease: false,
        }
    }

    pub(crate) fn destination(&mut self, address: Ipv4Addr) -> Destination {
        if self.config.local(address) {
            return Destination::Neighbour;
        }
        if names::fake(address) {
            return match self.names.name(address, self.now) {
                Some(name) => Destination::Host(Host::Name(name.to_owned())),
                None => Destination::Nobody,
            };
        }
        // 0.0.0.0/8, 127.0.0.0/8, 240.0.0.0/4: nobody's anywhere (RFC 6890).
        match address.octets()[0] {
            0 | 127 | 224.. => Destination::Nobody,
            _ => Destination::Host(Host::Address(address)),
        }
    }
}

/// smoltcp's spelling of a time.
pub(crate) fn stamp(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
