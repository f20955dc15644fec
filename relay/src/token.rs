//! Scoped tokens: who a client is, until when, and what it may reach.
//!
//! `v1.PAYLOAD.MAC`, both base64url without padding; the payload is JSON, the MAC is
//! HMAC-SHA256 over `v1.PAYLOAD`. A token travels as the password of WISP's extension 0x02,
//! never in a URL, because URLs end up in logs.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};

use crate::policy::Scope;
use crate::policy::host::Suffix;

/// The longest life of a token; one that claims more is refused, whoever made it.
pub const LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of a key, at least: as many as the MAC has.
const KEY_MIN: usize = 32;

/// The longest token that is looked at.
const TOKEN_MAX: usize = 4096;

const VERSION: &str = "v1";

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Who it was made for.
    pub client: String,
    /// Seconds since 1970 from which on it is void.
    pub expires: u64,
    /// Names that it narrows the relay's rules to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Ports that it narrows the relay's rules to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// CONNECTs a second, over all its connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
}

/// A token that was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Who it was made for.
    pub client: String,
    /// Seconds since 1970 from which on it is void.
    pub expires: u64,
    /// What it narrows the relay's rules to.
    pub scope: Scope,
    /// CONNECTs a second, over all its connections.
    pub rate: Option<u32>,
    /// Stands for the token in logs and tables.
    pub hash: String,
}

/// Why a token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Not in the form of a token.
    Malformed,
    /// Not signed with this key.
    Signature,
    /// Its time is over.
    Expired,
    /// It claims a longer life than any may have.
    Life,
}

/// Signs and checks.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(_)")
    }
}

/// Why there is no key.
#[derive(Debug)]
pub enum KeyError {
    /// The file cannot be read.
    File(std::io::Error),
    /// Shorter than [`KEY_MIN`].
    Short,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Short => write!(f, "shorter than {KEY_MIN} bytes"),
        }
    }
}

impl std::error::Error for KeyError {}

impl Key {
    /// The bytes of a key; white space around them does not count.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes = bytes.trim_ascii();
        if bytes.len() < KEY_MIN {
            return Err(KeyError::Short);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// The key in a file.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        Self::new(&std::fs::read(file).map_err(KeyError::File)?)
    }

    /// A token that says this.
    pub fn sign(&self, claims: &Claims) -> String {
        let payload = serde_json::to_vec(claims).expect("claims are plain values");
        let signed = format!("{VERSION}.{}", URL_SAFE_NO_PAD.encode(payload));
        let mac = hmac::sign(&self.0, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// What a token grants at `now`, in seconds since 1970. Nothing in it is read before its
    /// MAC was found right, in constant time.
    pub fn verify(&self, token: &str, now: u64) -> Result<Grant, Refused> {
        if token.len() > TOKEN_MAX {
            return Err(Refused::Malformed);
        }
        let (signed, mac) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
        let payload = signed
            .strip_prefix(VERSION)
            .and_then(|rest| rest.strip_prefix('.'))
            .ok_or(Refused::Malformed)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| Refused::Malformed)?;
        hmac::verify(&self.0, signed.as_bytes(), &mac).map_err(|_| Refused::Signature)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Refused::Malformed)?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| Refused::Malformed)?;
        if claims.expires <= now {
            return Err(Refused::Expired);
        }
        if claims.expires - now > LIFE_MAX.as_secs() {
            return Err(Refused::Life);
        }
        let suffixes = claims.hosts.iter().map(|host| Suffix::parse(host));
        let hosts = suffixes.collect::<Result<_, _>>().map_err(|_| Refused::Malformed)?;
        Ok(Grant {
            client: claims.client,
            expires: claims.expires,
            scope: Scope { hosts, ports: claims.ports },
            rate: claims.rate,
            hash: short_hash(token),
        })
    }
}

/// 64 bits of the hash: enough to tell tokens apart in a log, nothing to get in with.
fn short_hash(token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn key() -> Key {
        Key::new(&[7; 32]).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            client: "tab".into(),
            expires: NOW + 60,
            hosts: vec!["debian.org".into()],
            ports: vec![80],
            rate: Some(5),
        }
    }

    #[test]
    fn what_was_signed_is_granted() {
        let token = key().sign(&claims());
        let grant = key().verify(&token, NOW).unwrap();
        assert_eq!((grant.client.as_str(), grant.expires, grant.rate), ("tab", NOW + 60, Some(5)));
        assert_eq!(grant.scope.ports, [80]);
        assert!(grant.scope.hosts[0].covers("deb.debian.org"));
        assert!(!token.contains(&grant.hash));
    }

    #[test]
    fn time_bounds_it() {
        let token = key().sign(&claims());
        assert!(key().verify(&token, NOW + 59).is_ok());
        assert_eq!(key().verify(&token, NOW + 60), Err(Refused::Expired));
        let long = Claims { expires: NOW + LIFE_MAX.as_secs() + 1, ..claims() };
        assert_eq!(key().verify(&key().sign(&long), NOW), Err(Refused::Life));
    }

    #[test]
    fn no_changed_byte_passes() {
        let token = key().sign(&claims());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(key().verify(&changed, NOW).is_err(), "{at}");
        }
        assert_eq!(Key::new(&[8; 32]).unwrap().verify(&token, NOW), Err(Refused::Signature));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = "a".repeat(TOKEN_MAX + 1);
        let other = key().sign(&claims()).replacen("v1", "v2", 1);
        for token in
            ["", ".", "..", "v1", "v1..", "v1.e30.", "v1.!.!", long.as_str(), other.as_str()]
        {
            assert!(key().verify(token, NOW).is_err(), "{token:.20}");
        }
        let odd = Claims { hosts: vec!["127.0.0.1".into()], ..claims() };
        assert_eq!(key().verify(&key().sign(&odd), NOW), Err(Refused::Malformed));
    }

    #[test]
    fn a_short_key_is_none() {
        assert!(matches!(Key::new(&[b' '; 64]), Err(KeyError::Short)));
        assert!(matches!(Key::new(&[7; 31]), Err(KeyError::Short)));
    }
}
