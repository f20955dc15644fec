//! What may be dialled. Pure: the answers of name servers are arguments.
//!
//! The order is part of the contract (cheap and certain checks first, and no question to a
//! name server for what is denied anyway): port, host, then every address of the answer.
//! TCP and UDP take the same way.

use std::net::{IpAddr, SocketAddr};

pub mod address;
pub mod cidr;
pub mod host;
pub mod port;

use address::Class;
use cidr::Cidr;
use host::{Host, Suffix};
use port::Ports;

/// The rules of this relay.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Names that may be dialled; all public ones if empty.
    pub hosts: Vec<Suffix>,
    /// Ports that may be dialled.
    pub ports: Ports,
    /// Ranges that may be dialled although their class is denied.
    pub exceptions: Vec<Cidr>,
    /// Ranges that may not be dialled although their class is public.
    pub denied: Vec<Cidr>,
    /// The relay's own listeners, never dialled, not even by an exception.
    pub own: Vec<SocketAddr>,
}

/// What a token narrows the rules to; nothing in it widens them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Names; no narrowing if empty.
    pub hosts: Vec<Suffix>,
    /// Ports; no narrowing if empty.
    pub ports: Vec<u16>,
}

/// The rule that denied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// The text is neither a name nor an address.
    Malformed,
    /// Not a port of the rules.
    Port,
    /// Not a name of the rules.
    Host,
    /// A name of local networks.
    LocalName,
    /// An address where rules on names exist.
    Literal,
    /// An address of this class.
    Address(Class),
}

impl Denied {
    /// The rule's name for the audit log and the metrics.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Port => "port",
            Self::Host => "host",
            Self::LocalName => "local-name",
            Self::Literal => "literal",
            Self::Address(_) => "address",
        }
    }

    /// What kind of address it was, if it came to that.
    pub fn class(self) -> Option<Class> {
        match self {
            Self::Address(class) => Some(class),
            _ => None,
        }
    }
}

impl Policy {
    /// The checks that need no name server. The host is that to resolve or to dial.
    pub fn admit(&self, scope: &Scope, host: &str, port: u16) -> Result<Host, Denied> {
        let narrowed = scope.ports.is_empty() || scope.ports.contains(&port);
        if !self.ports.allow(port) || !narrowed {
            return Err(Denied::Port);
        }
        let host = Host::parse(host).map_err(|_| Denied::Malformed)?;
        let lists = || [&self.hosts, &scope.hosts].into_iter().filter(|list| !list.is_empty());
        match &host {
            Host::Address(_) if lists().next().is_some() => Err(Denied::Literal),
            Host::Name(_) if host.is_local() => Err(Denied::LocalName),
            Host::Name(name)
                if !lists().all(|list| list.iter().any(|suffix| suffix.covers(name))) =>
            {
                Err(Denied::Host)
            }
            _ => Ok(host),
        }
    }

    /// Every address of an answer; one that is denied denies the name. `is_own` says
    /// whether an address is one of this machine's.
    pub fn check(
        &self,
        addresses: &[IpAddr],
        port: u16,
        is_own: impl Fn(IpAddr) -> bool,
    ) -> Result<Class, Denied> {
        let mut class = Class::Public;
        for address in addresses {
            class = self.check_one(address::canonical(*address), port, &is_own)?;
            if let Some(behind) = address::translated(*address) {
                self.check_one(behind, port, &is_own)?;
            }
        }
        Ok(class)
    }

    fn check_one(
        &self,
        address: IpAddr,
        port: u16,
        is_own: &impl Fn(IpAddr) -> bool,
    ) -> Result<Class, Denied> {
        let own = is_own(address);
        let ourselves = |listener: &&SocketAddr| {
            let at = address::canonical(listener.ip());
            listener.port() == port && (at == address || (at.is_unspecified() && own))
        };
        if self.own.iter().any(|listener| ourselves(&listener)) || self.reaches_us(address, port) {
            return Err(Denied::Address(Class::Own));
        }
        if self.denied.iter().any(|range| range.contains(address)) {
            return Err(Denied::Address(Class::Listed));
        }
        let class = address::classify(address);
        if self.exceptions.iter().any(|range| range.contains(address)) {
            return Ok(class);
        }
        match class {
            Class::Public if own => Err(Denied::Address(Class::Own)),
            Class::Public => Ok(class),
            _ => Err(Denied::Address(class)),
        }
    }

    /// Whether the address is one by which the kernel reaches a listener of ours without
    /// being its own name: the unspecified address, and all of 127/8 for a listener on any.
    fn reaches_us(&self, address: IpAddr, port: u16) -> bool {
        let unspecified = address.is_unspecified();
        let loopback = address::classify(address) == Class::Loopback;
        self.own
            .iter()
            .filter(|listener| listener.port() == port)
            .any(|listener| unspecified || (loopback && listener.ip().is_unspecified()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suffixes(names: &[&str]) -> Vec<Suffix> {
        names.iter().map(|name| Suffix::parse(name).unwrap()).collect()
    }

    fn check(policy: &Policy, addresses: &[&str], port: u16) -> Result<Class, Denied> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        policy.check(&addresses, port, |address| address == IpAddr::from([8, 8, 4, 4]))
    }

    #[test]
    fn the_port_comes_first_then_the_name() {
        let policy = Policy { hosts: suffixes(&["debian.org"]), ..Policy::default() };
        let scope = Scope::default();
        let table = [
            ("deb.debian.org", 80, Ok(Host::Name("deb.debian.org".into()))),
            ("deb.debian.org", 81, Err(Denied::Port)),
            ("2130706433", 25, Err(Denied::Port)),
            ("2130706433", 80, Err(Denied::Malformed)),
            ("example.org", 80, Err(Denied::Host)),
            ("localhost", 80, Err(Denied::LocalName)),
            ("93.184.216.34", 80, Err(Denied::Literal)),
        ];
        for (host, port, expected) in table {
            assert_eq!(policy.admit(&scope, host, port), expected, "{host}:{port}");
        }
    }

    #[test]
    fn a_token_narrows_and_never_widens() {
        let policy = Policy { hosts: suffixes(&["debian.org"]), ..Policy::default() };
        let scope =
            Scope { hosts: suffixes(&["deb.debian.org", "example.org"]), ports: vec![80, 8080] };
        assert!(policy.admit(&scope, "deb.debian.org", 80).is_ok());
        assert_eq!(policy.admit(&scope, "www.debian.org", 80), Err(Denied::Host));
        assert_eq!(policy.admit(&scope, "example.org", 80), Err(Denied::Host));
        assert_eq!(policy.admit(&scope, "deb.debian.org", 443), Err(Denied::Port));
        assert_eq!(policy.admit(&scope, "deb.debian.org", 8080), Err(Denied::Port));
        let open = Policy::default();
        assert_eq!(open.admit(&scope, "93.184.216.34", 80), Err(Denied::Literal));
    }

    #[test]
    fn one_denied_address_denies_the_name() {
        let policy = Policy::default();
        assert_eq!(check(&policy, &["93.184.216.34"], 80), Ok(Class::Public));
        let private = Err(Denied::Address(Class::Private));
        assert_eq!(check(&policy, &["93.184.216.34", "10.0.0.1"], 80), private);
        assert_eq!(check(&policy, &["10.0.0.1", "93.184.216.34"], 80), private);
        assert_eq!(
            check(&policy, &["93.184.216.34", "::ffff:127.0.0.1"], 80),
            Err(Denied::Address(Class::Loopback))
        );
    }

    #[test]
    fn an_exception_opens_its_range_and_no_more() {
        let policy =
            Policy { exceptions: vec!["127.0.0.0/8".parse().unwrap()], ..Policy::default() };
        assert_eq!(check(&policy, &["127.0.0.1"], 80), Ok(Class::Loopback));
        assert_eq!(check(&policy, &["::ffff:127.0.0.1"], 80), Ok(Class::Loopback));
        assert!(check(&policy, &["::1"], 80).is_err());
        assert!(check(&policy, &["10.0.0.1", "127.0.0.1"], 80).is_err());
    }

    #[test]
    fn this_machine_is_not_a_public_address() {
        let own = Err(Denied::Address(Class::Own));
        for text in ["8.8.4.4", "::ffff:8.8.4.4", "64:ff9b::8.8.4.4"] {
            assert_eq!(check(&Policy::default(), &[text], 80), own, "{text}");
        }
        let listed = Policy { denied: vec!["8.8.8.0/24".parse().unwrap()], ..Policy::default() };
        for text in ["8.8.8.8", "64:ff9b::8.8.8.8"] {
            assert_eq!(check(&listed, &[text], 80), Err(Denied::Address(Class::Listed)), "{text}");
        }
    }

    #[test]
    fn the_relays_own_listener_is_not_dialled_in_any_spelling() {
        let exceptions: Vec<Cidr> =
            ["0.0.0.0/0", "::/0"].iter().map(|range| range.parse().unwrap()).collect();
        let on = |listener: &str| Policy {
            own: vec![listener.parse().unwrap()],
            exceptions: exceptions.clone(),
            ..Policy::default()
        };
        let own = Err(Denied::Address(Class::Own));
        let one = on("127.0.0.1:80");
        for text in ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::"] {
            assert_eq!(check(&one, &[text], 80), own, "{text}");
            assert!(check(&one, &[text], 443).is_ok(), "{text}");
        }
        let any = on("0.0.0.0:80");
        for text in ["127.0.0.1", "127.9.9.9", "8.8.4.4", "::ffff:8.8.4.4", "0.0.0.0"] {
            assert_eq!(check(&any, &[text], 80), own, "{text}");
        }
    }
}
