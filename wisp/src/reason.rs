//! Why a stream or a connection ended.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $words:literal;)*) => {
        /// Why a stream or a connection ended (WISP, "CLOSE").
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
            /// A code without a name. Made by `Reason::from`, so that a code has one spelling.
            Other(u8),
        }

        impl From<u8> for Reason {
            fn from(code: u8) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Other(other),
                }
            }
        }

        impl From<Reason> for u8 {
            fn from(reason: Reason) -> Self {
                match reason {
                    $(Reason::$name => $code,)*
                    Reason::Other(other) => other,
                }
            }
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($words),)*
                    Self::Other(other) => write!(f, "closed for the reason {other:#04x}"),
                }
            }
        }
    };
}

reasons! {
    /// Unspecified.
    Unknown = 0x01, "closed without a reason";
    /// One side is done with it.
    Voluntary = 0x02, "closed";
    /// The network broke.
    NetworkError = 0x03, "the network broke";
    /// The two ends cannot speak with each other; during the handshake only.
    IncompatibleExtensions = 0x04, "the two ends do not understand each other";
    /// What was asked makes no sense.
    Invalid = 0x41, "invalid request";
    /// No such host, or no way to it.
    Unreachable = 0x42, "host unreachable";
    /// The host did not answer in time.
    ConnectTimeout = 0x43, "the host did not answer";
    /// The host refused.
    Refused = 0x44, "connection refused";
    /// Nothing moved for too long.
    DataTimeout = 0x47, "nothing moved for too long";
    /// A policy forbids it.
    Blocked = 0x48, "blocked by policy";
    /// Too much of something.
    Throttled = 0x49, "throttled";
    /// The client cannot go on with it; the client's to send.
    ClientError = 0x81, "the client could not go on";
    /// The name or password is wrong.
    BadPassword = 0xc0, "wrong name or password";
    /// The signature is wrong.
    BadSignature = 0xc1, "wrong signature";
    /// It wants to know who we are.
    AuthRequired = 0xc2, "authentication required";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_reason_and_words() {
        let mut words = std::collections::BTreeSet::new();
        for code in 0..=u8::MAX {
            let reason = Reason::from(code);
            assert_eq!(u8::from(reason), code);
            assert!(words.insert(reason.to_string()), "{reason} twice");
        }
        assert_eq!(Reason::from(0x44), Reason::Refused);
        assert_eq!(Reason::from(0x45), Reason::Other(0x45));
        assert_eq!(Reason::Other(0x45).to_string(), "closed for the reason 0x45");
    }
}
