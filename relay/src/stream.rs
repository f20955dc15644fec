//! One stream's other side: a socket, what waits to be written to it, and when it is over.
//!
//! Upward bytes wait here, within the credit that the client was given, until the socket
//! takes them; only then does the credit go back. Downward bytes wait nowhere: they are read
//! when the client's side has room. So both directions are bounded by the slower end.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use wisp::server::Server;
use wisp::{Kind, Reason};

use crate::dial::{Socket, of_error};
use crate::limit::Timeouts;

/// Bytes of one read: four packets, and the largest datagram.
const READ: usize = 64 * 1024;

/// Datagrams that wait for the socket to be made; more are dropped, as networks do.
const EARLY_MAX: usize = 8;

/// What a turn came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// Nothing could be done; the socket will wake us.
    Idle,
    /// Something moved, and more might.
    Moved,
    /// It is over, for this reason.
    Over(Reason),
}

/// The other side of a stream.
pub(crate) struct Stream {
    way: Way,
    /// What waits to go up.
    up: BytesMut,
    early: VecDeque<Vec<u8>>,
    /// The client sends no more.
    finished: bool,
    /// We have told the other side so.
    up_closed: bool,
    /// The other side sends no more.
    down_closed: bool,
    /// When something moved last.
    moved: Instant,
    pub(crate) up_bytes: u64,
    pub(crate) down_bytes: u64,
}

enum Way {
    Dialling(Option<AbortHandle>),
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Self::Dialling(Some(dial)) = self {
            dial.abort();
        }
    }
}

impl Stream {
    /// A stream whose dial is under way, if there is one.
    pub(crate) fn new(dial: Option<AbortHandle>, now: Instant) -> Self {
        Self {
            way: Way::Dialling(dial),
            up: BytesMut::new(),
            early: VecDeque::new(),
            finished: false,
            up_closed: false,
            down_closed: false,
            moved: now,
            up_bytes: 0,
            down_bytes: 0,
        }
    }

    /// The dial came to this.
    pub(crate) fn open(&mut self, socket: Socket) {
        self.way = match socket {
            Socket::Tcp(stream) => Way::Tcp(stream),
            Socket::Udp(socket) => Way::Udp(socket),
        };
        self.moved = Instant::now();
    }

    /// Bytes that wait.
    pub(crate) fn held(&self) -> usize {
        self.up.len() + self.early.iter().map(Vec::len).sum::<usize>()
    }

    /// Takes what the client sent.
    pub(crate) fn push(&mut self, kind: Kind, bytes: &[u8]) {
        self.up_bytes += bytes.len() as u64;
        match (kind, &self.way) {
            (Kind::Tcp, _) => self.up.extend_from_slice(bytes),
            (Kind::Udp, _) if self.early.len() < EARLY_MAX => {
                self.early.push_back(bytes.to_vec());
            }
            (Kind::Udp, _) => {}
        }
    }

    /// The client sends no more; what waits still goes up, then the socket is shut one way.
    /// Whether the stream is over by that, because the other side sends no more either.
    pub(crate) fn finish(&mut self) -> bool {
        self.finished = true;
        self.down_closed
    }

    /// Whether there is something left for the other side after the client has gone.
    pub(crate) fn has_more(&self) -> bool {
        matches!(self.way, Way::Tcp(_)) && !self.up.is_empty()
    }

    /// Moves what can be moved. `may_read`: the client's side has room.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        id: u32,
        server: &mut Server,
        may_read: bool,
    ) -> Turn {
        let turn = match self.way {
            Way::Dialling(_) => return Turn::Idle,
            Way::Udp(_) if may_read => self.poll_datagrams(cx, id, server),
            Way::Udp(_) => Turn::Idle,
            Way::Tcp(_) => self.poll_stream(cx, id, server, may_read),
        };
        if turn == Turn::Moved {
            self.moved = Instant::now();
        }
        turn
    }

    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
        id: u32,
        server: &mut Server,
        may_read: bool,
    ) -> Turn {
        let upward = self.poll_up(cx);
        if let Upward::Wrote(bytes) = upward {
            server.consumed(id, bytes);
        }
        if let Upward::Over(reason) = upward {
            return Turn::Over(reason);
        }
        let downward = if may_read { self.poll_down(cx, id, server) } else { Turn::Idle };
        match downward {
            Turn::Over(reason) => Turn::Over(reason),
            Turn::Idle if matches!(upward, Upward::Wrote(_)) => Turn::Moved,
            turn => turn,
        }
    }

    /// Writes what waits, and shuts the socket one way when that was all.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Upward {
        let Way::Tcp(socket) = &mut self.way else { return Upward::Idle };
        let socket = Pin::new(socket);
        if !self.up.is_empty() {
            return match socket.poll_write(cx, &self.up) {
                Poll::Ready(Ok(written)) => {
                    self.up.advance(written);
                    Upward::Wrote(written)
                }
                Poll::Ready(Err(error)) => Upward::Over(of_error(&error)),
                Poll::Pending => Upward::Idle,
            };
        }
        if self.finished && !self.up_closed {
            self.up_closed = match socket.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => return Upward::Over(of_error(&error)),
                Poll::Pending => false,
            };
        }
        Upward::Idle
    }

    fn poll_down(&mut self, cx: &mut Context<'_>, id: u32, server: &mut Server) -> Turn {
        let Way::Tcp(socket) = &mut self.way else { return Turn::Idle };
        let room = server.room(id).min(READ);
        if room == 0 || self.down_closed {
            return Turn::Idle;
        }
        let mut space = [MaybeUninit::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut space[..room]);
        match Pin::new(socket).poll_read(cx, &mut buffer) {
            Poll::Pending => Turn::Idle,
            Poll::Ready(Err(error)) => Turn::Over(of_error(&error)),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                self.down_closed = true;
                // A client that knows no half-close gets its CLOSE after the data.
                let open = server.shutdown(id) && !self.finished;
                if open { Turn::Moved } else { Turn::Over(Reason::Voluntary) }
            }
            Poll::Ready(Ok(())) => {
                self.down_bytes += server.send(id, buffer.filled()) as u64;
                Turn::Moved
            }
        }
    }

    fn poll_datagrams(&mut self, cx: &mut Context<'_>, id: u32, server: &mut Server) -> Turn {
        let Way::Udp(socket) = &self.way else { return Turn::Idle };
        while let Some(datagram) = self.early.front() {
            if socket.poll_send(cx, datagram).is_pending() {
                break;
            }
            self.early.pop_front();
            self.moved = Instant::now();
        }
        let mut space = [MaybeUninit::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        match socket.poll_recv(cx, &mut buffer) {
            Poll::Pending => Turn::Idle,
            Poll::Ready(Err(error)) => Turn::Over(of_error(&error)),
            Poll::Ready(Ok(())) => {
                if server.send_datagram(id, buffer.filled()) {
                    self.down_bytes += buffer.filled().len() as u64;
                }
                Turn::Moved
            }
        }
    }

    /// Writes on for a client that has gone.
    pub(crate) fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Turn {
        match self.poll_up(cx) {
            Upward::Over(reason) => Turn::Over(reason),
            _ if self.up.is_empty() => Turn::Over(Reason::Voluntary),
            Upward::Wrote(_) => Turn::Moved,
            Upward::Idle => Turn::Idle,
        }
    }

    /// Whether nothing has moved for too long.
    pub(crate) fn is_idle(&self, now: Instant, timeouts: &Timeouts) -> bool {
        let allowed = match self.way {
            // A dial ends by itself before that.
            Way::Dialling(_) => 2 * (timeouts.resolve + timeouts.connect),
            Way::Tcp(_) => timeouts.tcp_idle,
            Way::Udp(_) => timeouts.udp_idle,
        };
        now.saturating_duration_since(self.moved) > allowed
    }

    /// Gives back memory that a burst has left behind.
    pub(crate) fn shrink(&mut self) {
        if self.up.is_empty() {
            self.up = BytesMut::new();
        }
    }
}

enum Upward {
    Idle,
    Wrote(usize),
    Over(Reason),
}
