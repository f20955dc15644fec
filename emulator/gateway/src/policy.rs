//! Whom the guest may talk to: the page's policy, before the relay's own.
//!
//! The first rule that fits decides. Where rules allow hosts by name, that is an allowlist,
//! and a destination by bare address passes only if a range allows it: else the list would
//! mean nothing. A rule that cannot be read fits everything if it denies and nothing if it
//! allows.

use std::fmt;
use std::net::Ipv4Addr;

use emulator_protocol::{MAX_RULES, Policy, Rule, Target, Verdict};

use crate::dns::names;

/// A destination as the guest named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// By a name that it had resolved.
    Name(String),
    /// By a bare address.
    Address(Ipv4Addr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

enum Whom {
    Any,
    Host(String),
    Range { network: u32, mask: u32 },
    Unreadable,
}

struct Line {
    verdict: Verdict,
    whom: Whom,
    ports: (u16, u16),
}

/// A policy, ready for use.
pub(crate) struct Rules {
    lines: Vec<Line>,
    default: Verdict,
    /// Some rule allows hosts by name.
    listed: bool,
}

impl Rules {
    /// Rules above [`MAX_RULES`] are not looked at; all that they could decide is denied.
    pub(crate) fn new(policy: &Policy) -> Self {
        let lines: Vec<Line> = policy.rules.iter().take(MAX_RULES).map(Line::new).collect();
        let cut = policy.rules.len() > MAX_RULES;
        let default = if cut { Verdict::Deny } else { policy.default };
        let listed = lines
            .iter()
            .any(|line| line.verdict == Verdict::Allow && matches!(line.whom, Whom::Host(_)));
        Self { lines, default, listed }
    }

    /// Whether the guest may talk to this host on this port.
    ///
    /// # Errors
    /// Which rule forbids it, in words.
    pub(crate) fn judge(&self, host: &Host, port: u16) -> Result<(), String> {
        let found = self.lines.iter().enumerate().find(|(_, line)| line.fits(host, port));
        let (verdict, by) = match found {
            Some((index, line)) => (line.verdict, format!("rule {} of the policy", index + 1)),
            None => (self.default, "the policy's default".to_owned()),
        };
        let ranged = matches!(found, Some((_, Line { whom: Whom::Range { .. }, .. })));
        if verdict == Verdict::Deny {
            return Err(by);
        }
        if self.listed && matches!(host, Host::Address(_)) && !ranged {
            return Err("the policy lists hosts by name, and this is a bare address".to_owned());
        }
        Ok(())
    }
}

impl Line {
    fn new(rule: &Rule) -> Self {
        let whom = match &rule.target {
            Target::Any => Whom::Any,
            Target::Host { suffix } => {
                names::normalise(suffix.as_bytes()).map_or(Whom::Unreadable, Whom::Host)
            }
            Target::Range { address, prefix } => match address.parse::<Ipv4Addr>() {
                Ok(address) if *prefix <= 32 => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
                    Whom::Range { network: address.to_bits() & mask, mask }
                }
                _ => Whom::Unreadable,
            },
        };
        Self { verdict: rule.verdict, whom, ports: rule.ports.unwrap_or((0, u16::MAX)) }
    }

    fn fits(&self, host: &Host, port: u16) -> bool {
        if port < self.ports.0 || port > self.ports.1 {
            return false;
        }
        match (&self.whom, host) {
            (Whom::Any, _) => true,
            (Whom::Host(suffix), Host::Name(name)) => {
                name.strip_suffix(suffix).is_some_and(|head| head.is_empty() || head.ends_with('.'))
            }
            (Whom::Range { network, mask }, Host::Address(address)) => {
                address.to_bits() & mask == *network
            }
            (Whom::Unreadable, _) => self.verdict == Verdict::Deny,
            (Whom::Host(_), Host::Address(_)) | (Whom::Range { .. }, Host::Name(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verdict: Verdict, target: Target, ports: Option<(u16, u16)>) -> Rule {
        Rule { verdict, target, ports }
    }

    fn host(suffix: &str) -> Target {
        Target::Host { suffix: suffix.into() }
    }

    fn range(address: &str, prefix: u8) -> Target {
        Target::Range { address: address.into(), prefix }
    }

    fn name(name: &str) -> Host {
        Host::Name(name.into())
    }

    fn address(text: &str) -> Host {
        Host::Address(text.parse().unwrap())
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = Rules::new(&Policy {
            rules: vec![
                rule(Verdict::Deny, host("bad.example.org"), None),
                rule(Verdict::Allow, host("Example.ORG."), Some((80, 443))),
                rule(Verdict::Allow, range("192.0.2.0", 24), None),
            ],
            default: Verdict::Deny,
        });
        for good in ["example.org", "www.example.org"] {
            assert!(rules.judge(&name(good), 443).is_ok(), "{good}");
        }
        assert_eq!(rules.judge(&name("bad.example.org"), 443), Err("rule 1 of the policy".into()));
        assert!(rules.judge(&name("notexample.org"), 443).is_err());
        assert!(rules.judge(&name("example.org"), 22).is_err());
        assert!(rules.judge(&address("192.0.2.200"), 22).is_ok());
        assert!(rules.judge(&address("192.0.3.1"), 22).is_err());
    }

    #[test]
    fn a_list_of_hosts_is_not_gone_around_by_address() {
        let rules = Rules::new(&Policy {
            rules: vec![rule(Verdict::Allow, host("example.org"), None)],
            default: Verdict::Allow,
        });
        assert!(rules.judge(&name("example.com"), 443).is_ok());
        assert!(rules.judge(&address("192.0.2.1"), 443).is_err());
        let rules = Rules::new(&Policy {
            rules: vec![rule(Verdict::Deny, host("example.org"), None)],
            default: Verdict::Allow,
        });
        assert!(rules.judge(&address("192.0.2.1"), 443).is_ok());
    }

    #[test]
    fn what_cannot_be_read_fails_closed() {
        for target in [host(""), host("a b"), range("300.0.0.1", 8), range("10.0.0.0", 33)] {
            let deny = vec![rule(Verdict::Deny, target.clone(), None)];
            let deny = Rules::new(&Policy { rules: deny, default: Verdict::Allow });
            assert!(deny.judge(&name("example.org"), 80).is_err(), "{target:?}");
            let allow = vec![rule(Verdict::Allow, target.clone(), None)];
            let allow = Rules::new(&Policy { rules: allow, default: Verdict::Deny });
            assert!(allow.judge(&name("example.org"), 80).is_err(), "{target:?}");
        }
        let many = vec![rule(Verdict::Deny, host("x.org"), None); MAX_RULES + 1];
        let many = Rules::new(&Policy { rules: many, default: Verdict::Allow });
        assert!(many.judge(&name("example.org"), 80).is_err());
        let all = Policy {
            rules: vec![rule(Verdict::Deny, range("0.0.0.0", 0), None)],
            ..Policy::default()
        };
        assert!(Rules::new(&all).judge(&address("203.0.113.9"), 80).is_err());
        assert!(Rules::new(&all).judge(&name("example.org"), 80).is_ok());
    }
}
