//! From a client's words to a connected socket: check, resolve once, check every answer,
//! connect to one of the checked addresses and to nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};
use wisp::{Kind, Reason};

use crate::limit::Timeouts;
use crate::policy::address::Class;
use crate::policy::host::Host;
use crate::policy::{Denied, Policy, Scope};
use crate::resolve::{self, Resolver};

/// Bytes that the kernel takes for a socket before they can be sent (TCP_NOTSENT_LOWAT).
const UNSENT: u32 = 128 * 1024;

/// What is needed to dial.
#[derive(Debug)]
pub(crate) struct Dialler {
    pub(crate) policy: Policy,
    pub(crate) resolver: Resolver,
    pub(crate) timeouts: Timeouts,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A way to the other side.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

/// Why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The rules forbid it.
    Denied(Denied),
    /// The network does not give it.
    Failed(Reason),
}

impl Failure {
    /// What the client is told. Not which rule denied: that would map our network for it.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Denied(Denied::Malformed) => Reason::Invalid,
            Self::Denied(_) => Reason::Blocked,
            Self::Failed(reason) => reason,
        }
    }
}

impl Dialler {
    /// Connects, if the rules allow it.
    pub(crate) async fn dial(
        &self,
        scope: &Scope,
        target: &Target,
    ) -> Result<(Socket, Class), Failure> {
        let port = target.port;
        let host = self.policy.admit(scope, &target.host, port).map_err(Failure::Denied)?;
        let addresses = match host {
            Host::Address(address) => vec![address],
            Host::Name(name) => self.resolver.resolve(&name).await.map_err(|error| {
                Failure::Failed(match error {
                    resolve::Error::NoName => Reason::Unreachable,
                    resolve::Error::NoAnswer => Reason::ConnectTimeout,
                })
            })?,
        };
        let class = self.policy.check(&addresses, port, is_own).map_err(Failure::Denied)?;
        let socket = self.connect(target.kind, &addresses, port).await.map_err(Failure::Failed)?;
        Ok((socket, class))
    }

    /// The first of the addresses that answers; each gets its share of the time.
    async fn connect(&self, kind: Kind, addresses: &[IpAddr], port: u16) -> Result<Socket, Reason> {
        let until = Instant::now() + self.timeouts.connect;
        let mut reason = Reason::Unreachable;
        for (tried, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = until.saturating_duration_since(Instant::now()) / left;
            let address = address.to_canonical();
            let connected = match kind {
                Kind::Tcp => timeout(share, stream(address, port)).await,
                Kind::Udp => timeout(share, datagrams(address, port)).await,
            };
            match connected {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => reason = of_error(&error),
                Err(_) => reason = Reason::ConnectTimeout,
            }
        }
        Err(reason)
    }
}

async fn stream(address: IpAddr, port: u16) -> io::Result<Socket> {
    let stream = TcpStream::connect((address, port)).await?;
    tune(&stream)?;
    Ok(Socket::Tcp(stream))
}

/// Writes go out at once, because they are gathered before; and what waits, waits with us,
/// where it is counted. The kernel would take megabytes for each socket of a peer that reads
/// nothing. What is under way to one that reads is not limited by that.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT)
}

async fn datagrams(address: IpAddr, port: u16) -> io::Result<Socket> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Connected: the kernel drops what comes from anybody else.
    socket.connect((address, port)).await?;
    Ok(Socket::Udp(socket))
}

/// The reason that tells a client about an error of the network.
pub(crate) fn of_error(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Reason::Refused,
        io::ErrorKind::TimedOut => Reason::ConnectTimeout,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Reason::Unreachable,
        _ => Reason::NetworkError,
    }
}

/// Whether an address is one of this machine's: only then can a socket be bound to it. The
/// kernel knows them all, also those that came after our start.
fn is_own(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_its_own_addresses() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own(IpAddr::from([192, 0, 2, 1])));
    }
}
