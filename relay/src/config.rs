//! What the relay is told: a file, and flags that override it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::audit::Target;
use crate::http::Door;
use crate::limit::Timeouts;
use crate::policy::Policy;
use crate::policy::cidr::Cidr;
use crate::policy::host::Suffix;
use crate::policy::port::{DEFAULT, NEVER, Ports};
use crate::resolve::{Resolver, name_servers};
use crate::token::Key;

mod flags;

pub use flags::{Command, HELP, TokenOrder, parse};

/// Where the relay listens if nothing else is said.
const LISTEN: &str = "127.0.0.1:6001";

/// Everything as it was written: names as in the file and, with `--`, as flags.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Address and port to listen at.
    pub listen: Option<String>,
    /// Origins of pages that may come.
    pub allow_origin: Vec<String>,
    /// Names that may be dialled, with all below them.
    pub allow_host: Vec<String>,
    /// Ranges that may be dialled although they are not public.
    pub allow_cidr: Vec<String>,
    /// Ranges that may not be dialled although they are public.
    pub deny_cidr: Vec<String>,
    /// Ports that may be dialled.
    pub allow_port: Vec<u16>,
    /// All ports but those that are never allowed.
    pub any_port: bool,
    /// No streams of UDP.
    pub no_udp: bool,
    /// Whoever comes must have a token that was signed with this key.
    pub token_key_file: Option<PathBuf>,
    /// Where metrics are served; loopback only.
    pub metrics: Option<String>,
    /// A file, or `-` for standard output.
    pub audit_log: Option<PathBuf>,
    /// Names and addresses are written as keyed hashes.
    pub audit_redact: bool,
    /// Name servers; those of `/etc/resolv.conf` if none.
    pub nameserver: Vec<String>,
    /// Certificate chain and key, PEM.
    pub tls_cert: Option<PathBuf>,
    /// The key.
    pub tls_key: Option<PathBuf>,
    /// Proxies whose word on the client's address is believed.
    pub trusted_proxy: Vec<String>,
    /// Message of the day.
    pub motd: Option<String>,
    /// How much.
    pub limits: Limits,
    /// How long, in seconds.
    pub timeouts: Seconds,
}

/// How much there may be. In the file only.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address, or of one /64.
    pub connections_per_address: usize,
    /// Connections of one token.
    pub connections_per_token: usize,
    /// Connections and CONNECTs a second of one address.
    pub address_rate: u32,
    /// The same at once after a rest.
    pub address_burst: u32,
    /// Streams of one connection.
    pub streams: usize,
    /// Dials under way of one connection.
    pub dials: usize,
    /// CONNECTs a second of one connection.
    pub connects: u32,
    /// The same at once after a rest.
    pub connects_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            connections_per_address: 8,
            connections_per_token: 4,
            address_rate: 40,
            address_burst: 200,
            streams: 128,
            dials: 64,
            connects: 20,
            connects_burst: 100,
        }
    }
}

/// [`Timeouts`] as they are written. In the file only.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[allow(missing_docs, reason = "the same fields as in Timeouts")]
pub struct Seconds {
    pub handshake: f64,
    pub resolve: f64,
    pub connect: f64,
    pub tcp_idle: f64,
    pub udp_idle: f64,
    pub ping: f64,
    pub dead: f64,
    pub linger: f64,
    pub drain: f64,
}

impl Default for Seconds {
    fn default() -> Self {
        Self {
            handshake: 10.0,
            resolve: 5.0,
            connect: 10.0,
            tcp_idle: 300.0,
            udp_idle: 60.0,
            ping: 20.0,
            dead: 60.0,
            linger: 10.0,
            drain: 30.0,
        }
    }
}

/// What the relay does, checked.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see Settings, where each has its words")]
pub struct Config {
    pub listen: SocketAddr,
    pub metrics: Option<SocketAddr>,
    pub door: Door,
    pub policy: Policy,
    pub udp: bool,
    pub key: Option<Key>,
    pub audit: Option<Target>,
    pub redact: bool,
    pub resolver: Resolver,
    pub tls: Option<(PathBuf, PathBuf)>,
    pub motd: Option<String>,
    pub limits: Limits,
    pub timeouts: Timeouts,
}

/// What is wrong, in words for whoever wrote it.
#[derive(PartialEq, Eq, Debug)]
pub struct Error(pub(crate) String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl Settings {
    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let wrong = |error: &dyn fmt::Display| Error(format!("{}: {error}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
        toml::from_str(&text).map_err(|error| wrong(&error))
    }

    /// Checks everything, and reads what is named.
    pub fn check(self) -> Result<Config, Error> {
        let listen = one("listen", self.listen.as_deref().unwrap_or(LISTEN))?;
        let metrics = self.metrics.map(|text| one::<SocketAddr>("metrics", &text)).transpose()?;
        if metrics.is_some_and(|address| !address.ip().is_loopback()) {
            return Err(Error("metrics: only loopback, it tells about everybody".into()));
        }
        let timeouts = self.timeouts.check()?;
        let key = self.token_key_file.map(|file| {
            Key::read(&file).map_err(|error| Error(format!("{}: {error}", file.display())))
        });
        let hosts = self.allow_host.iter().map(|text| {
            Suffix::parse(text).map_err(|_| Error(format!("allow-host: {text}: not a name")))
        });
        let proxies = all::<Cidr>("trusted-proxy", &self.trusted_proxy)?;
        Ok(Config {
            listen,
            metrics,
            policy: Policy {
                hosts: hosts.collect::<Result<_, _>>()?,
                ports: ports(&self.allow_port, self.any_port)?,
                exceptions: all("allow-cidr", &self.allow_cidr)?,
                denied: all("deny-cidr", &self.deny_cidr)?,
                own: Vec::new(),
            },
            door: Door { origins: self.allow_origin, proxies, token: key.is_some() },
            udp: !self.no_udp,
            key: key.transpose()?,
            audit: self.audit_log.map(|file| match file.to_str() {
                Some("-") => Target::Output,
                _ => Target::File(file),
            }),
            redact: self.audit_redact,
            resolver: Resolver::new(servers(&self.nameserver)?, timeouts.resolve),
            tls: match (self.tls_cert, self.tls_key) {
                (Some(chain), Some(key)) => Some((chain, key)),
                (None, None) => None,
                _ => return Err(Error("tls-cert and tls-key belong together".into())),
            },
            motd: self.motd,
            limits: self.limits,
            timeouts,
        })
    }
}

impl Seconds {
    fn check(self) -> Result<Timeouts, Error> {
        let time = |seconds: f64| {
            // A day: nothing here should last as long, and no sum of them overflows.
            let sane = (0.0..=86_400.0).contains(&seconds);
            sane.then(|| Duration::from_secs_f64(seconds))
                .ok_or_else(|| Error(format!("timeouts: {seconds} is not between 0 and 86400")))
        };
        Ok(Timeouts {
            handshake: time(self.handshake)?,
            resolve: time(self.resolve)?,
            connect: time(self.connect)?,
            tcp_idle: time(self.tcp_idle)?,
            udp_idle: time(self.udp_idle)?,
            ping: time(self.ping)?,
            dead: time(self.dead)?,
            linger: time(self.linger)?,
            drain: time(self.drain)?,
        })
    }
}

fn one<T: std::str::FromStr<Err: fmt::Display>>(name: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|error| Error(format!("{name}: {text}: {error}")))
}

fn all<T: std::str::FromStr<Err: fmt::Display>>(
    name: &str,
    texts: &[String],
) -> Result<Vec<T>, Error> {
    texts.iter().map(|text| one(name, text)).collect()
}

/// Ports that are named come to the default ones.
fn ports(named: &[u16], any: bool) -> Result<Ports, Error> {
    if let Some(never) = named.iter().find(|port| NEVER.contains(port)) {
        return Err(Error(format!("allow-port: {never} is never allowed")));
    }
    let only = || DEFAULT.iter().chain(named).copied().collect();
    Ok(if any { Ports::Any } else { Ports::Only(only()) })
}

/// Name servers, of the system if none is named; with a port or without.
fn servers(named: &[String]) -> Result<Vec<SocketAddr>, Error> {
    let servers: Vec<SocketAddr> = if named.is_empty() {
        name_servers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    } else {
        let with_port = |text: &String| match text.parse() {
            Ok(address) => Ok(SocketAddr::new(address, 53)),
            Err(_) => one("nameserver", text),
        };
        named.iter().map(with_port).collect::<Result<_, _>>()?
    };
    if servers.is_empty() {
        return Err(Error("there is no name server; name one with --nameserver".into()));
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Config, Error> {
        let text = format!("nameserver = [\"127.0.0.1\"]\n{text}");
        toml::from_str::<Settings>(&text).map_err(|error| Error(error.to_string()))?.check()
    }

    #[test]
    fn the_defaults_are_those_of_the_table() {
        let config = check("").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:6001");
        assert_eq!(config.policy.ports, Ports::Only(vec![80, 443, 22, 9418]));
        assert!(config.policy.hosts.is_empty() && config.policy.exceptions.is_empty());
        assert!(config.udp && config.key.is_none() && config.tls.is_none());
        assert_eq!(config.timeouts.drain, Duration::from_secs(30));
        assert_eq!(config.limits.connections_per_address, 8);
    }

    #[test]
    fn a_file_says_it_all() {
        let config = check(
            "listen = \"[::1]:80\"\nallow-host = [\"debian.org\"]\nallow-cidr = [\"10.0.0.0/8\"]\n\
             allow-port = [8080]\nno-udp = true\nmetrics = \"127.0.0.1:9100\"\naudit-log = \"-\"\n\
             [limits]\nstreams = 7\n[timeouts]\nhandshake = 0.5\n",
        )
        .unwrap();
        assert_eq!(config.policy.ports, Ports::Only(vec![80, 443, 22, 9418, 8080]));
        assert!(config.policy.hosts[0].covers("deb.debian.org"));
        assert_eq!((config.udp, config.limits.streams), (false, 7));
        assert_eq!(config.timeouts.handshake, Duration::from_millis(500));
        assert_eq!(config.audit, Some(Target::Output));
    }

    #[test]
    fn mistakes_are_not_guessed_at() {
        for text in [
            "listen = \"6001\"",
            "metrics = \"0.0.0.0:9100\"",
            "allow-host = [\"127.0.0.1\"]",
            "allow-cidr = [\"10.0.0.0/33\"]",
            "allow-port = [25]",
            "allow-ports = [80]",
            "tls-cert = \"a.pem\"",
            "token-key-file = \"/nonexistent\"",
            "trusted-proxy = [\"proxy\"]",
            "[limits]\nstream = 1",
            "[timeouts]\nping = -1",
            "[timeouts]\nping = nan",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
