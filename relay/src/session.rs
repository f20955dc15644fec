//! One connection, from the upgrade to its end: one task that owns the WebSocket, the
//! protocol's state and all streams.
//!
//! One task, because then nothing is locked and nothing is handed over between threads for
//! each packet; with at most 128 streams, asking each of them at every turn is cheap.
//!
//! ```text
//!   WebSocket ──▶ receive ──▶ Server ──▶ Event ──▶ Streams ──▶ sockets
//!       ▲                                             │
//!       └── transmit ◀── Server (bounded outbox) ◀────┘  read only while there is room
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Sink, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use wisp::server::{Event, Server};
use wisp::{MAX_MESSAGE, Reason};

use crate::Shared;
use crate::dial::Target;
use crate::limit::{Allowance, Bucket, Party, Place};
use crate::shutdown::{Phase, Shutdown};
use crate::token::Grant;

mod end;
mod streams;

use end::{End, of_socket};
use streams::Streams;

/// Bytes before the client has been let in.
const EARLY_MAX: usize = 4 * 1024;

/// Messages of one turn, before what they brought is passed on.
const TURN: usize = 32;

/// What is read at once. Allocated for as long as the connection lives, and most of what an
/// idle one costs.
const READ: usize = 16 * 1024;

/// Frames are gathered up to this many bytes before they are written.
const GATHER: usize = 128 * 1024;

/// Bytes of frames that wait for a socket that takes none.
const WRITE_MAX: usize = 1024 * 1024;

/// CONNECTs over a limit one after the other, none allowed between: then it is a flood.
const REFUSED_MAX: usize = 1000;

/// How often times are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Who is at the other end.
pub(crate) struct Peer {
    pub(crate) shared: Arc<Shared>,
    /// The connection's number since the start.
    pub(crate) connection: u64,
    pub(crate) address: std::net::IpAddr,
    /// Its share of what its address may have.
    pub(crate) place: Place,
    /// What its token grants, and its share of what that may have.
    pub(crate) grant: Option<Grant>,
    pub(crate) token_place: Option<Place>,
}

struct Session<S> {
    socket: WebSocketStream<S>,
    server: Server,
    streams: Streams,
    peer: Peer,
    /// CONNECTs of this connection.
    connects: Bucket,
    /// How many were refused since one was allowed.
    refused: usize,
    ticker: Interval,
    /// Asked at every tick, not waited for: waiting would cost a lock at every turn.
    shutdown: Shutdown,
    /// The handshake must be done by then.
    deadline: Instant,
    early: usize,
    /// When the client was heard, and pinged, last.
    heard: Instant,
    pinged: Instant,
    /// The socket takes no more for now.
    blocked: bool,
    /// Streams may go on until then, and no new ones come.
    draining: Option<Instant>,
}

/// Serves a connection until it ends. `deadline`: when its handshake must be done.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    v2: bool,
    peer: Peer,
    shutdown: Shutdown,
    deadline: Instant,
) {
    let shared = peer.shared.clone();
    shared.metrics.sessions.fetch_add(1, Relaxed);
    shared.metrics.sessions_open.fetch_add(1, Relaxed);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(GATHER)
        .max_write_buffer_size(WRITE_MAX)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
    let mut session = Box::new(Session::new(socket, v2, peer, shutdown, deadline));
    let end = std::future::poll_fn(|cx| session.poll(cx)).await;
    session.finish(end).await;
    shared.metrics.sessions_open.fetch_sub(1, Relaxed);
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(
        socket: WebSocketStream<S>,
        v2: bool,
        peer: Peer,
        shutdown: Shutdown,
        deadline: Instant,
    ) -> Self {
        let now = Instant::now();
        let (shared, limits) = (&peer.shared, &peer.shared.limits);
        let server = Server::new(wisp::server::Config {
            v2,
            udp: shared.udp,
            motd: shared.motd.clone(),
            password: shared.key.is_some().then_some(true),
            max_streams: limits.streams,
            ..wisp::server::Config::default()
        });
        let mut ticker = interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let connects = Bucket::new(limits.connects, limits.connects_burst, now.into());
        Self {
            socket,
            server,
            streams: Streams::new(),
            peer,
            connects,
            refused: 0,
            ticker,
            shutdown,
            deadline,
            early: 0,
            heard: now,
            pinged: now,
            blocked: false,
            draining: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.turn(cx) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }

    /// Moves everything until nothing moves. Tokio's budget for a task ends it sooner, so
    /// that no connection keeps the others waiting.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while self.ticker.poll_tick(cx).is_ready() {
            self.tick(Instant::now())?;
        }
        loop {
            let mut moved = self.poll_receive(cx)?;
            moved |= self.streams.poll(cx, &self.peer, &mut self.server, !self.blocked);
            // What has gone out has made room, perhaps for streams that were not asked.
            moved |= self.poll_transmit(cx)?;
            if !moved {
                return Ok(());
            }
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        for count in 0..TURN {
            let message = match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => return Ok(count > 0),
                Poll::Ready(None) => return Err(End::Gone),
                Poll::Ready(Some(message)) => message.map_err(|error| of_socket(&error))?,
            };
            self.heard = Instant::now();
            match message {
                Message::Binary(bytes) => self.receive(&bytes)?,
                Message::Text(_) => return Err(End::Frame(CloseCode::Unsupported, "text")),
                Message::Close(_) => return Err(End::Closed),
                _ => {}
            }
        }
        Ok(true)
    }

    fn receive(&mut self, message: &Bytes) -> Result<(), End> {
        if self.server.terms().is_none() {
            self.early += message.len();
            if self.early > EARLY_MAX {
                return Err(End::Frame(CloseCode::Size, "too much before the handshake"));
            }
        }
        let (peer, server) = (&self.peer, &mut self.server);
        match server.receive(message).map_err(End::Violation)? {
            Event::None | Event::Ready | Event::Writable { .. } => {}
            Event::Authenticate { user, password } => return self.authenticate(user, password),
            Event::Connect { stream, kind, host, port } => {
                let target = Target { kind, host: host.to_owned(), port };
                return self.connect(stream, target);
            }
            Event::Data { stream, bytes } => self.streams.data(peer, server, stream, bytes),
            Event::Finished { stream } => self.streams.finish(peer, stream),
            Event::Closed { stream, reason } => self.streams.leave(peer, stream, reason),
            Event::Ended { reason: Reason::AuthRequired } => {
                return Err(End::Reason(Reason::AuthRequired));
            }
            Event::Ended { reason } => return Err(End::Left(reason)),
        }
        Ok(())
    }

    fn authenticate(&mut self, user: &str, password: &str) -> Result<(), End> {
        let grant = self.grant(user, password).map_err(End::Reason)?;
        let limits = &self.peer.shared.limits;
        let rate = grant.rate.unwrap_or(limits.connects);
        let allowed = Allowance {
            connections: limits.connections_per_token,
            rate,
            burst: rate.saturating_mul(5),
        };
        let party = Party::Token(grant.hash.clone());
        let place = self.peer.shared.parties.enter(party, allowed, Instant::now().into());
        self.peer.token_place = Some(place.map_err(|_| End::Reason(Reason::Throttled))?);
        self.peer.grant = Some(grant);
        self.server.admit();
        Ok(())
    }

    fn grant(&self, user: &str, password: &str) -> Result<Grant, Reason> {
        let key = self.peer.shared.key.as_ref().ok_or(Reason::Invalid)?;
        let grant = key.verify(password, unix_now()).map_err(|_| Reason::BadPassword)?;
        // The name is in the token; one that comes beside it must be the same.
        let same = user.is_empty() || user == grant.client;
        same.then_some(grant).ok_or(Reason::BadPassword)
    }

    fn connect(&mut self, stream: u32, target: Target) -> Result<(), End> {
        let now = Instant::now().into();
        let places = [Some(&self.peer.place), self.peer.token_place.as_ref()];
        let allowed = self.draining.is_none()
            && self.streams.dialling() < self.peer.shared.limits.dials
            && self.connects.take(now)
            && places.into_iter().flatten().all(|place| place.take(now));
        if allowed {
            self.refused = 0;
            self.streams.connect(&self.peer, stream, target);
            return Ok(());
        }
        self.server.close(stream, Reason::Throttled);
        self.streams.throttle(&self.peer, stream, target);
        self.refused += 1;
        if self.refused > REFUSED_MAX { Err(End::Reason(Reason::Throttled)) } else { Ok(()) }
    }

    /// Sends what waits, as far as the socket takes it; whether anything went.
    fn poll_transmit(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut socket = Pin::new(&mut self.socket);
        let was_blocked = std::mem::replace(&mut self.blocked, true);
        let mut moved = false;
        loop {
            match socket.as_mut().poll_ready(cx) {
                Poll::Ready(ready) => ready.map_err(|error| of_socket(&error))?,
                Poll::Pending => return Ok(moved),
            }
            if was_blocked && !moved {
                // Somebody has acknowledged bytes. Our ping may wait behind megabytes that a
                // slow line is still carrying; that is no silence.
                self.heard = Instant::now();
                moved = true;
            }
            let Some(message) = self.server.transmit() else { break };
            let message = Message::Binary(message.into());
            socket.as_mut().start_send(message).map_err(|error| of_socket(&error))?;
            moved = true;
        }
        self.blocked = false;
        match socket.poll_flush(cx) {
            Poll::Ready(flushed) => flushed.map_err(|error| of_socket(&error))?,
            Poll::Pending => {}
        }
        Ok(moved)
    }

    fn tick(&mut self, now: Instant) -> Result<(), End> {
        let timeouts = self.peer.shared.dialler.timeouts;
        let silence = now.saturating_duration_since(self.heard);
        if self.server.terms().is_none() && now >= self.deadline {
            return Err(End::Slow);
        }
        if silence > timeouts.dead {
            return Err(End::Gone);
        }
        if self.peer.grant.as_ref().is_some_and(|grant| grant.expires <= unix_now()) {
            return Err(End::Reason(Reason::AuthRequired));
        }
        if self.draining.is_none() && self.shutdown.phase() == Phase::Draining {
            self.draining = Some(now + timeouts.drain);
        }
        if self.draining.is_some_and(|until| now >= until || self.streams.is_empty()) {
            return Err(End::Reason(Reason::Voluntary));
        }
        let since = now.saturating_duration_since(self.pinged);
        if silence > timeouts.ping && since > timeouts.ping && !self.blocked {
            self.pinged = now;
            let ping = Message::Ping(Bytes::new());
            Pin::new(&mut self.socket).start_send(ping).map_err(|error| of_socket(&error))?;
        }
        self.streams.tick(&self.peer, &mut self.server, now);
        Ok(())
    }
}

/// Seconds since 1970.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
