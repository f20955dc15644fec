//! Which ports may be dialled. Pure.

/// The web, SSH and Git: what a terminal needs to fetch things.
pub const DEFAULT: [u16; 4] = [80, 443, 22, 9418];

/// Never, whatever was asked for: mail, because a relay for it is a relay for spam, and the
/// port that is none.
pub const NEVER: [u16; 4] = [0, 25, 465, 587];

/// The ports of one rule set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ports {
    /// These.
    Only(Vec<u16>),
    /// All but [`NEVER`].
    Any,
}

impl Default for Ports {
    fn default() -> Self {
        Self::Only(DEFAULT.to_vec())
    }
}

impl Ports {
    /// Whether a port may be dialled.
    pub fn allow(&self, port: u16) -> bool {
        let listed = match self {
            Self::Only(ports) => ports.contains(&port),
            Self::Any => true,
        };
        listed && !NEVER.contains(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_four_ports() {
        let ports = Ports::default();
        let allowed: Vec<u16> = (0..=u16::MAX).filter(|port| ports.allow(*port)).collect();
        assert_eq!(allowed, [22, 80, 443, 9418]);
    }

    #[test]
    fn mail_is_never_allowed() {
        for port in NEVER {
            assert!(!Ports::Any.allow(port), "{port}");
            assert!(!Ports::Only(vec![port]).allow(port), "{port}");
        }
        assert_eq!((0..=u16::MAX).filter(|port| Ports::Any.allow(*port)).count(), 65_532);
    }
}
