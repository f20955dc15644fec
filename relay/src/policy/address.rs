//! What kind of place an IP address is. Pure.
//!
//! The rule is *default deny*: an address may be dialled only if it is public unicast, and
//! it must be so in every reading of it, because IPv4 hides in IPv6 in many ways
//! (`::ffff:127.0.0.1` is loopback, and `is_loopback()` says no). The tables are those of
//! IANA's special-purpose address registries (RFC 6890, as of 2026), with the addresses
//! at which clouds hand out credentials. `IpAddr::is_global` is not stable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cidr::Cidr;

/// What an address is for. Only [`Class::Public`] may be dialled without an exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Class {
    /// Public unicast.
    Public,
    /// `0.0.0.0/8` and `::`; connecting to them reaches this machine.
    Unspecified,
    /// This machine.
    Loopback,
    /// RFC 1918, and RFC 4193 in IPv6.
    Private,
    /// RFC 3927 and `fe80::/10`.
    LinkLocal,
    /// Carrier-grade NAT, RFC 6598.
    Shared,
    /// Where a cloud hands out its credentials.
    Metadata,
    /// RFC 5771 and `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// RFC 5737, 3849 and 9637.
    Documentation,
    /// `198.18.0.0/15`: also the fake addresses of our own gateway's name server.
    Benchmark,
    /// Deprecated site-local, RFC 3879.
    SiteLocal,
    /// A form that carries an IPv4 address and is not used to reach public ones.
    Transition,
    /// Everything else that IANA has not given out as public unicast.
    Reserved,
    /// An address of the machine that the relay runs on.
    Own,
    /// Named by `--deny-cidr`.
    Listed,
}

impl Class {
    /// The word for the audit log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Shared => "shared",
            Self::Metadata => "metadata",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Documentation => "documentation",
            Self::Benchmark => "benchmark",
            Self::SiteLocal => "site-local",
            Self::Transition => "transition",
            Self::Reserved => "reserved",
            Self::Own => "own",
            Self::Listed => "listed",
        }
    }
}

/// IPv4, first match wins; what matches nothing is public.
const V4: &[([u8; 4], u8, Class)] = &[
    ([169, 254, 169, 254], 32, Class::Metadata), // nearly every cloud
    ([169, 254, 170, 2], 31, Class::Metadata),   // containers of AWS
    ([169, 254, 42, 42], 32, Class::Metadata),   // Scaleway
    ([100, 100, 100, 200], 32, Class::Metadata), // Alibaba
    ([168, 63, 129, 16], 32, Class::Metadata),   // Azure's wire server, in public space
    ([192, 0, 0, 192], 32, Class::Metadata),     // Oracle
    ([0, 0, 0, 0], 8, Class::Unspecified),
    ([10, 0, 0, 0], 8, Class::Private),
    ([100, 64, 0, 0], 10, Class::Shared),
    ([127, 0, 0, 0], 8, Class::Loopback),
    ([169, 254, 0, 0], 16, Class::LinkLocal),
    ([172, 16, 0, 0], 12, Class::Private),
    ([192, 0, 0, 0], 24, Class::Reserved), // protocol assignments, RFC 6890
    ([192, 0, 2, 0], 24, Class::Documentation),
    ([192, 31, 196, 0], 24, Class::Reserved), // AS112, RFC 7535
    ([192, 52, 193, 0], 24, Class::Reserved), // AMT, RFC 7450
    ([192, 88, 99, 0], 24, Class::Transition), // 6to4 anycast, RFC 7526
    ([192, 168, 0, 0], 16, Class::Private),
    ([192, 175, 48, 0], 24, Class::Reserved), // AS112, RFC 7534
    ([198, 18, 0, 0], 15, Class::Benchmark),
    ([198, 51, 100, 0], 24, Class::Documentation),
    ([203, 0, 113, 0], 24, Class::Documentation),
    ([224, 0, 0, 0], 4, Class::Multicast),
    ([255, 255, 255, 255], 32, Class::Broadcast),
    ([240, 0, 0, 0], 4, Class::Reserved),
];

/// IPv6 without the forms that carry IPv4; first match wins; what matches nothing is
/// reserved, because IANA gives out public unicast from `2000::/3` only.
const V6: &[([u16; 8], u8, Class)] = &[
    ([0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254], 128, Class::Metadata), // AWS
    ([0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254], 128, Class::Metadata), // Google
    ([0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x42], 128, Class::Metadata),  // Scaleway
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, Class::Unspecified),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, Class::Loopback),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Class::Private),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Class::LinkLocal),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Class::SiteLocal),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Class::Multicast),
    ([0x2001, 0x0002, 0, 0, 0, 0, 0, 0], 48, Class::Benchmark),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Class::Reserved), // protocol assignments, ORCHID
    ([0x2001, 0x0db8, 0, 0, 0, 0, 0, 0], 32, Class::Documentation),
    ([0x2620, 0x004f, 0x8000, 0, 0, 0, 0, 0], 48, Class::Reserved), // AS112
    ([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, Class::Reserved),           // 6bone, RFC 3701
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Class::Documentation),
    ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, Class::Public),
];

/// The class of an address, after every IPv4 address inside it has been looked at.
pub fn classify(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

/// The address that the kernel would really go to: IPv4 in IPv6's clothes is IPv4.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The IPv4 address that a NAT64 would go to, RFC 6052 §2.1.
pub fn translated(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => {
            inside(address).filter(|inside| inside.reaches_public).map(|inside| inside.v4.into())
        }
    }
}

fn classify_v4(address: Ipv4Addr) -> Class {
    let row = V4.iter().find(|(base, length, _)| {
        Cidr::new(IpAddr::from(*base), *length).contains(IpAddr::V4(address))
    });
    row.map_or(Class::Public, |(_, _, class)| *class)
}

fn classify_v6(address: Ipv6Addr) -> Class {
    if let Some(inner) = address.to_ipv4_mapped() {
        return classify_v4(inner);
    }
    let row = V6.iter().find(|(base, length, _)| {
        Cidr::new(IpAddr::from(*base), *length).contains(IpAddr::V6(address))
    });
    let outer = row.map_or(Class::Reserved, |(_, _, class)| *class);
    match inside(address) {
        // The inner class says more about what somebody tried to reach.
        Some(Inside { v4, .. }) if classify_v4(v4) != Class::Public => {
            if named(outer) {
                outer
            } else {
                classify_v4(v4)
            }
        }
        Some(Inside { reaches_public: true, .. }) => Class::Public,
        Some(_) => {
            if named(outer) {
                outer
            } else {
                Class::Transition
            }
        }
        None => outer,
    }
}

/// Whether a class of the IPv6 table stands by itself, whatever is inside the address.
fn named(outer: Class) -> bool {
    !matches!(outer, Class::Public | Class::Reserved)
}

/// An IPv4 address inside an IPv6 one.
struct Inside {
    v4: Ipv4Addr,
    /// Whether networks in use reach public hosts by this form.
    reaches_public: bool,
}

/// The IPv4 address inside an IPv6 one that is not IPv4-mapped, if its form has one.
fn inside(address: Ipv6Addr) -> Option<Inside> {
    let s = address.segments();
    let at = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    let form = |v4| Some(Inside { v4, reaches_public: false });
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // IPv4-compatible, RFC 4291 §2.5.5.1 (deprecated).
        [0, 0, 0, 0, 0, 0, high, low] => form(at(high, low)),
        // IPv4-translated (SIIT), RFC 2765 §2.1.
        [0, 0, 0, 0, 0xffff, 0, high, low] => form(at(high, low)),
        // NAT64, RFC 6052 §2.1: how an IPv6-only network reaches public IPv4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Inside { v4: at(high, low), reaches_public: true })
        }
        // NAT64 for local use, RFC 8215: by its definition not public.
        [0x64, 0xff9b, 1, _, _, _, high, low] => form(at(high, low)),
        // 6to4, RFC 3056 §2.
        [0x2002, high, low, ..] => form(at(high, low)),
        // Teredo, RFC 4380 §4: the client's address is stored inverted.
        [0x2001, 0, .., high, low] => form(at(!high, !low)),
        // ISATAP, RFC 5214 §6.1, in any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => form(at(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> Class {
        classify(text.parse().unwrap())
    }

    #[test]
    fn the_first_and_last_address_of_every_range_and_its_neighbours() {
        use Class::*;
        let table = [
            ("0.0.0.0", Unspecified),
            ("0.255.255.255", Unspecified),
            ("1.0.0.0", Public),
            ("9.255.255.255", Public),
            ("10.0.0.0", Private),
            ("10.255.255.255", Private),
            ("11.0.0.0", Public),
            ("100.63.255.255", Public),
            ("100.64.0.0", Shared),
            ("100.100.100.200", Metadata),
            ("100.127.255.255", Shared),
            ("100.128.0.0", Public),
            ("126.255.255.255", Public),
            ("127.0.0.0", Loopback),
            ("127.0.0.1", Loopback),
            ("127.255.255.255", Loopback),
            ("128.0.0.0", Public),
            ("168.63.129.15", Public),
            ("168.63.129.16", Metadata),
            ("169.253.255.255", Public),
            ("169.254.0.0", LinkLocal),
            ("169.254.42.42", Metadata),
            ("169.254.169.254", Metadata),
            ("169.254.170.2", Metadata),
            ("169.254.255.255", LinkLocal),
            ("169.255.0.0", Public),
            ("172.15.255.255", Public),
            ("172.16.0.0", Private),
            ("172.31.255.255", Private),
            ("172.32.0.0", Public),
            ("191.255.255.255", Public),
            ("192.0.0.0", Reserved),
            ("192.0.0.192", Metadata),
            ("192.0.0.255", Reserved),
            ("192.0.1.0", Public),
            ("192.0.2.1", Documentation),
            ("192.0.3.0", Public),
            ("192.31.196.1", Reserved),
            ("192.52.193.1", Reserved),
            ("192.88.99.1", Transition),
            ("192.167.255.255", Public),
            ("192.168.0.0", Private),
            ("192.168.255.255", Private),
            ("192.169.0.0", Public),
            ("192.175.48.6", Reserved),
            ("198.17.255.255", Public),
            ("198.18.0.0", Benchmark),
            ("198.19.255.255", Benchmark),
            ("198.20.0.0", Public),
            ("198.51.100.7", Documentation),
            ("203.0.113.255", Documentation),
            ("203.0.114.0", Public),
            ("223.255.255.255", Public),
            ("224.0.0.0", Multicast),
            ("239.255.255.255", Multicast),
            ("240.0.0.0", Reserved),
            ("255.255.255.254", Reserved),
            ("255.255.255.255", Broadcast),
            ("::", Unspecified),
            ("::1", Loopback),
            ("::2", Unspecified),
            ("64:ff9a::1", Reserved),
            ("100::1", Reserved),
            ("1fff:ffff::", Reserved),
            ("2000::", Public),
            ("2001::1", Reserved),
            ("2001:2::1", Benchmark),
            ("2001:10::1", Reserved),
            ("2001:20::1", Reserved),
            ("2001:1ff:ffff::", Reserved),
            ("2001:200::", Public),
            ("2001:db8::1", Documentation),
            ("2001:db9::1", Public),
            ("2606:4700::1111", Public),
            ("2620:4f:8000::1", Reserved),
            ("2a00:1450:4001:800::200e", Public),
            ("3ffe::1", Reserved),
            ("3fff::1", Documentation),
            ("3fff:1000::1", Public),
            ("4000::", Reserved),
            ("5f00::1", Reserved),
            ("fbff::1", Reserved),
            ("fc00::1", Private),
            ("fd00:ec2::254", Metadata),
            ("fd20:ce::254", Metadata),
            ("fd00:42::42", Metadata),
            ("fdff::1", Private),
            ("fe00::1", Reserved),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", SiteLocal),
            ("feff::1", SiteLocal),
            ("ff02::1", Multicast),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Multicast),
        ];
        for (text, expected) in table {
            assert_eq!(class(text), expected, "{text}");
        }
    }

    /// Every way to write an IPv4 address into an IPv6 one, as a maker of it.
    fn embeddings(v4: Ipv4Addr) -> Vec<(&'static str, Ipv6Addr)> {
        let [a, b, c, d] = v4.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let v6 = |s: [u16; 8]| Ipv6Addr::from(s);
        vec![
            ("mapped", v4.to_ipv6_mapped()),
            ("compatible", v6([0, 0, 0, 0, 0, 0, high, low])),
            ("SIIT", v6([0, 0, 0, 0, 0xffff, 0, high, low])),
            ("NAT64", v6([0x64, 0xff9b, 0, 0, 0, 0, high, low])),
            ("local NAT64", v6([0x64, 0xff9b, 1, 0, 0, 0, high, low])),
            ("6to4", v6([0x2002, high, low, 0, 0, 0, 0, 1])),
            ("Teredo", v6([0x2001, 0, 0x4136, 0xe378, 0x8000, 0x63bf, !high, !low])),
            ("ISATAP", v6([0x2a00, 0x1450, 0, 0, 0, 0x5efe, high, low])),
            ("ISATAP, global bit", v6([0x2a00, 0x1450, 0, 0, 0x200, 0x5efe, high, low])),
        ]
    }

    #[test]
    fn no_denied_ipv4_address_passes_inside_an_ipv6_one() {
        for (base, length, class) in V4 {
            let first = Ipv4Addr::from(*base);
            let size = 1_u64 << (32 - length);
            let last = Ipv4Addr::from((u32::from(first) as u64 + size - 1) as u32);
            for v4 in [first, last] {
                for (form, v6) in embeddings(v4) {
                    assert_ne!(classify(v6.into()), Class::Public, "{form} of {v4} ({class:?})");
                }
            }
        }
    }

    #[test]
    fn public_ipv4_inside_ipv6_passes_in_the_forms_that_are_in_use_only() {
        let v4 = Ipv4Addr::new(93, 184, 216, 34);
        let public: Vec<_> = embeddings(v4)
            .into_iter()
            .filter(|(_, v6)| classify((*v6).into()) == Class::Public)
            .map(|(form, _)| form)
            .collect();
        assert_eq!(public, ["mapped", "NAT64"]);
        assert_eq!(canonical(v4.to_ipv6_mapped().into()), IpAddr::V4(v4));
    }
}
