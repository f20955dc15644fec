//! Names to addresses: a stub client over the configured name servers.
//!
//! Our own, because the C library would read guest text in its lenient ways, would ask
//! `/etc/hosts` and search domains, and does not say how it came to its answer. Nothing is
//! kept: each dial asks once, and what it was told is what is judged and dialled.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

mod message;

use message::{Answer, Family};

/// How long one name server is waited for before the next is asked.
const TRY: Duration = Duration::from_millis(1500);

/// Why there are no addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The name does not exist, or has no addresses.
    NoName,
    /// No name server said anything of use in time.
    NoAnswer,
}

/// The client.
#[derive(Clone, Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    patience: Duration,
}

impl Resolver {
    /// Asks `servers` in turn, and gives up after `patience`.
    pub fn new(servers: Vec<SocketAddr>, patience: Duration) -> Self {
        Self { servers, patience }
    }

    /// All addresses of a name, IPv4 first: a path without IPv6 then costs nothing.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        let until = Instant::now() + self.patience;
        let (v4, v6) = tokio::join!(
            self.ask_all(name, Family::V4, until),
            self.ask_all(name, Family::V6, until)
        );
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => {
                let addresses: Vec<IpAddr> = v4.into_iter().chain(v6).flatten().collect();
                if addresses.is_empty() { Err(Error::NoName) } else { Ok(addresses) }
            }
        }
    }

    async fn ask_all(
        &self,
        name: &str,
        family: Family,
        until: Instant,
    ) -> Result<Vec<IpAddr>, Error> {
        // Twice around: a single lost datagram must not fail a name.
        for server in self.servers.iter().chain(&self.servers) {
            let tries = timeout(TRY, ask(*server, name, family));
            match timeout_at(until, tries).await {
                Ok(Ok(Ok(Answer::Addresses(addresses)))) => return Ok(addresses),
                Ok(Ok(Ok(Answer::NoName))) => return Err(Error::NoName),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Err(Error::NoAnswer)
    }
}

/// One question to one name server. A fresh socket with a port of the kernel's choice and a
/// random id: what an off-path forger would have to guess (RFC 5452).
async fn ask(server: SocketAddr, name: &str, family: Family) -> io::Result<Answer> {
    let question = message::question(random()?, name, family);
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut buffer = [0; message::UDP_MAX as usize];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match message::answer(&question, &buffer[..length], family) {
            Ok(Answer::Truncated) => return ask_stream(server, &question, family).await,
            Ok(answer) => return Ok(answer),
            // Not for us: go on waiting for what is.
            Err(message::Foreign) => {}
        }
    }
}

/// The same over TCP, RFC 1035 §4.2.2.
async fn ask_stream(server: SocketAddr, question: &[u8], family: Family) -> io::Result<Answer> {
    let mut socket = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    socket.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut buffer = vec![0; socket.read_u16().await?.into()];
    socket.read_exact(&mut buffer).await?;
    Ok(message::answer(question, &buffer, family).unwrap_or(Answer::Failed))
}

fn random() -> io::Result<u16> {
    let mut bytes = [0; 2];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(u16::from_be_bytes(bytes))
}

/// The name servers of a `resolv.conf`.
pub fn name_servers(text: &str) -> Vec<SocketAddr> {
    let rest = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    rest.filter_map(|server| server.trim().parse::<IpAddr>().ok())
        .map(|server| SocketAddr::new(server, 53))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_found() {
        let text = "# nameserver 9.9.9.9\nsearch example\nnameserver 10.0.0.53\n nameserver\t::1\nnameserver x\n";
        let servers = name_servers(text);
        assert_eq!(servers, ["10.0.0.53:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    }
}
