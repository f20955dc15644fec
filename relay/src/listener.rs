//! Accepting connections: caps first, then TLS, then the one request, then a session.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::Shared;
use crate::audit::Audit;
use crate::config::{Config, Limits};
use crate::dial::{Dialler, tune};
use crate::http::{self, Refusal, Wish};
use crate::limit::{Allowance, Party, Place};
use crate::metrics::{Metrics, Rejection};
use crate::session::{self, Peer};
use crate::shutdown::Shutdown;
use crate::tls;

mod scrape;

use scrape::{scrapes, state};

/// How long a refusal may take to be taken.
const REFUSAL: Duration = Duration::from_secs(1);

/// Rest after an error of `accept`: without file descriptors it fails at once, again and
/// again.
const REST: Duration = Duration::from_millis(50);

/// Why a relay does not start.
#[derive(Debug)]
pub enum Error {
    /// It cannot listen there.
    Listen(SocketAddr, io::Error),
    /// The log cannot be written.
    Audit(io::Error),
    /// Certificate or key are not of use.
    Tls(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(f, "cannot listen at {address}: {error}"),
            Self::Audit(error) => write!(f, "cannot write the audit log: {error}"),
            Self::Tls(error) => write!(f, "TLS: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// A relay that listens, and does not yet accept.
pub struct Relay {
    listener: TcpListener,
    metrics: Option<TcpListener>,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Relay {
    /// Binds the listeners and opens the log.
    pub async fn bind(config: Config) -> Result<Self, Error> {
        let listener = listen(config.listen).await?;
        let metrics_listener = match config.metrics {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let tls = config.tls.as_ref().map(|(chain, key)| tls::acceptor(chain, key));
        let tls = tls.transpose().map_err(Error::Tls)?;
        let metrics = Arc::new(Metrics::default());
        let (audit, writer) = match &config.audit {
            None => (Audit::default(), None),
            Some(target) => {
                let opened = Audit::open(target, config.redact, metrics.clone());
                opened.map(|(audit, writer)| (audit, Some(writer))).map_err(Error::Audit)?
            }
        };
        let mut policy = config.policy;
        let listeners = [Some(&listener), metrics_listener.as_ref()];
        let own = listeners.into_iter().flatten().filter_map(|listener| listener.local_addr().ok());
        policy.own.extend(own);
        let shared = Arc::new(Shared {
            dialler: Arc::new(Dialler {
                policy,
                resolver: config.resolver,
                timeouts: config.timeouts,
            }),
            door: config.door,
            limits: config.limits,
            parties: crate::limit::Limits::default(),
            key: config.key,
            udp: config.udp,
            motd: config.motd,
            metrics,
            audit,
        });
        Ok(Self { listener, metrics: metrics_listener, tls, shared, writer })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where metrics are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr().ok()
    }

    /// The counters.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.shared.metrics.clone()
    }

    /// Relays until the drain is over: every session has ended, and every line is written.
    pub async fn run(self, mut shutdown: Shutdown) {
        let scrapers = self
            .metrics
            .map(|listener| tokio::spawn(scrapes(listener, self.shared.clone(), shutdown.clone())));
        let mut sessions = JoinSet::new();
        let mut connection = 0;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = sessions.join_next() => continue,
                () = shutdown.draining() => break,
            };
            let Ok((socket, from)) = accepted else {
                sleep(REST).await;
                continue;
            };
            connection += 1;
            let arrival = Arrival {
                shared: self.shared.clone(),
                from: from.ip(),
                connection,
                shutdown: shutdown.clone(),
                deadline: Instant::now() + self.shared.dialler.timeouts.handshake,
            };
            if let Some(place) = arrival.enter_all() {
                sessions.spawn(arrival.serve(socket, self.tls.clone(), place));
            }
        }
        drop(self.listener);
        while sessions.join_next().await.is_some() {}
        if let Some(scrapers) = scrapers {
            scrapers.abort();
            _ = scrapers.await;
        }
        // The last clone of the log, so that its thread ends.
        drop(self.shared);
        if let Some(writer) = self.writer {
            _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::Listen(address, error))
}

/// One connection before it is a session.
struct Arrival {
    shared: Arc<Shared>,
    from: IpAddr,
    connection: u64,
    shutdown: Shutdown,
    deadline: Instant,
}

impl Arrival {
    /// A place among all. Without one the socket is closed without a word: words would cost
    /// what there is none of.
    fn enter_all(&self) -> Option<Place> {
        let connections = self.shared.limits.connections;
        let allowed = Allowance { connections, rate: u32::MAX, burst: u32::MAX };
        let entered = self.shared.parties.enter(Party::All, allowed, Instant::now().into());
        entered.map_err(|_| self.shared.metrics.rejected(Rejection::Limit)).ok()
    }

    fn enter(&self, client: IpAddr) -> Result<Place, Refusal> {
        let Limits { connections_per_address, address_rate, address_burst, .. } =
            self.shared.limits;
        let allowed = Allowance {
            connections: connections_per_address,
            rate: address_rate,
            burst: address_burst,
        };
        let party = Party::of(client);
        self.shared.parties.enter(party, allowed, Instant::now().into()).map_err(|_| {
            self.shared.metrics.rejected(Rejection::Limit);
            Refusal(429, "too many connections from this address")
        })
    }

    async fn serve(self, socket: TcpStream, tls: Option<TlsAcceptor>, all: Place) {
        _ = tune(&socket);
        // Before a byte is read, unless it is a proxy, who will say whom it stands for.
        let proxy = self.shared.door.trusts(self.from.to_canonical());
        let place = if proxy { None } else { Some(self.enter(self.from)) };
        // Boxed, so that a plain connection does not carry the room of a TLS one.
        match tls {
            None => Box::pin(self.greet(socket, place)).await,
            Some(tls) => Box::pin(self.greet_tls(socket, tls, place)).await,
        }
        drop(all);
    }

    async fn greet_tls(
        self,
        socket: TcpStream,
        tls: TlsAcceptor,
        place: Option<Result<Place, Refusal>>,
    ) {
        match timeout_at(self.deadline, tls.accept(socket)).await {
            Ok(Ok(socket)) => self.greet(socket, place).await,
            _ => self.shared.metrics.rejected(Rejection::Tls),
        }
    }

    async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        mut socket: S,
        place: Option<Result<Place, Refusal>>,
    ) {
        let place = match place.transpose() {
            Ok(place) => place,
            Err(refusal) => return refuse(socket, &refusal.response()).await,
        };
        let wish = match timeout_at(self.deadline, http::read_head(&mut socket)).await {
            Ok(Ok(head)) => head.and_then(|head| http::wish(&head, &self.shared.door, self.from)),
            Ok(Err(_)) => return,
            Err(_) => {
                self.shared.metrics.rejected(Rejection::Slow);
                return refuse(socket, &Refusal(408, "too slow").response()).await;
            }
        };
        match wish {
            Ok(Wish::Wisp(upgrade)) => match place.map_or_else(|| self.enter(upgrade.client), Ok) {
                Ok(place) => self.upgrade(socket, &upgrade, place).await,
                Err(refusal) => refuse(socket, &refusal.response()).await,
            },
            // Metrics are on their own listener.
            Ok(wish) if wish != Wish::Metrics => {
                refuse(socket, &state(&wish, &self.shared, &self.shutdown)).await;
            }
            Ok(_) => refuse(socket, &Refusal(404, "nothing here").response()).await,
            Err(refusal) => {
                self.shared.metrics.rejected(Rejection::Request);
                refuse(socket, &refusal.response()).await;
            }
        }
    }

    async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        mut socket: S,
        upgrade: &http::Upgrade,
        place: Place,
    ) {
        let response = upgrade.response();
        let answered = timeout_at(self.deadline, async {
            socket.write_all(response.as_bytes()).await?;
            socket.flush().await
        });
        if !matches!(answered.await, Ok(Ok(()))) {
            return;
        }
        let peer = Peer {
            shared: self.shared,
            connection: self.connection,
            address: upgrade.client,
            place,
            grant: None,
            token_place: None,
        };
        let session = session::run(socket, upgrade.v2, peer, self.shutdown, self.deadline);
        // Boxed: what the upgrade needed is not kept for as long as the session lasts.
        Box::pin(session).await;
    }
}

/// Answers, and closes when the peer has had the chance to read it.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, response: &str) {
    let answered = async {
        socket.write_all(response.as_bytes()).await?;
        socket.shutdown().await?;
        // Closing with unread bytes would reset the connection, and take the answer with it.
        let mut rest = [0; 1024];
        while socket.read(&mut rest).await? > 0 {}
        Ok::<(), io::Error>(())
    };
    _ = timeout(REFUSAL, answered).await;
}
