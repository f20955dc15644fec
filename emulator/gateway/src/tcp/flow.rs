//! One connection of the guest, and its stream of the relay.
//!
//! ```text
//!  SYN ─▶ Asking ── the relay has connected ──▶ Open ── closed by the relay ──▶ Gone
//!           │  (SYN-ACK is held until then)      │                               │
//!           └── refused: ICMP, RST               └── FIN, FIN ──▶ over ◀── FIN ──┘
//! ```
//!
//! Back pressure: bytes of the guest stay in the socket's buffer while the stream takes none,
//! and close the guest's window by themselves. Bytes of the relay wait in `down` while the
//! socket takes none; with flow credit they are few, without it they are counted.

mod work;

use std::collections::VecDeque;
use std::time::Duration;

use emulator_protocol::{FlowState, Transport};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::TcpSeqNumber;
use wisp::Reason;

use crate::Instant;
use crate::base::Base;
use crate::dns;
use crate::icmp::{self, Quote, Unreachable};
use crate::policy::Host;
use crate::report::Record;
use crate::tuple::Tuple;
pub(super) use work::Step;

/// Bytes of a socket's buffer, each way: eight frames of the largest card that an engine has.
/// A guest takes what is there in one go, and then it is somebody else's turn; with 64 KiB a
/// download through v86 was a tenth slower.
const BUFFER: usize = 128 * 1024;

/// How long the SYN-ACK is held for a relay that does not say when it has connected. A CLOSE
/// that comes within it is still seen as a refusal; after it the guest may talk to somebody
/// who is not there.
const HOLD: Duration = Duration::from_millis(250);

/// How long the SYN-ACK is held for one that does. A relay gives up on a name after 5 s and
/// on a connection after 10 s; this is for relays that forget.
const CONNECT: Duration = Duration::from_secs(30);

/// How long after its SYN a guest has to complete the handshake; longer than [`CONNECT`].
const HALF_OPEN: Duration = Duration::from_secs(60);

/// How often a guest that says nothing is asked whether it is there, well within [`DEAD`].
const KEEP_ALIVE: Duration = Duration::from_secs(2 * 60);

/// Bytes of one stream that wait for the guest, at most. Only a relay without flow credit
/// can send so many: it is cut off, because bytes are not dropped in silence.
const DOWN_MAX: usize = 32 * 1024 * 1024;

enum Upstream {
    /// Nobody yet.
    Nobody,
    /// The relay was asked. At `until` it is taken for connected if it does not say, else for
    /// failed.
    Asking { stream: u32, until: Instant, confirms: bool },
    /// Bytes may go both ways.
    Open { stream: u32 },
    /// The relay's end is no more; what it sent is still given to the guest.
    Gone,
    /// Ourselves.
    Names(dns::Session),
}

pub(super) struct Flow {
    pub(super) tuple: Tuple,
    pub(super) record: Record,
    /// In the table's queue.
    pub(super) due: bool,
    pub(super) deadline: Option<Instant>,
    /// The one socket of this flow.
    pub(super) sockets: SocketSet<'static>,
    handle: SocketHandle,
    quote: Quote,
    upstream: Upstream,
    down: VecDeque<u8>,
    /// The relay sends no more than is in `down`.
    finished: bool,
    /// The guest's FIN was passed on, or cannot be.
    told: bool,
    /// Since the guest's FIN could not be passed on, the last time that bytes came.
    lingering: Option<Instant>,
}

impl Flow {
    /// Takes a SYN, and holds the answer; `None` if it is damaged.
    pub(super) fn listen(
        base: &mut Base,
        tuple: Tuple,
        quote: &Quote,
        packet: &[u8],
    ) -> Option<Self> {
        let buffer = || SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_keep_alive(Some(KEEP_ALIVE.into()));
        socket.set_timeout(Some(HALF_OPEN.into()));
        socket.pause_synack(true);
        socket.listen(tuple.host).ok()?;
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        super::feed(base, packet, &mut sockets);
        if sockets.get::<Socket<'_>>(handle).state() != State::SynReceived {
            return None;
        }
        let nobody = Host::Address(*tuple.host.ip());
        Some(Self {
            tuple,
            record: Record::blank(Transport::Tcp, nobody, tuple.host.port(), base.now),
            due: false,
            deadline: None,
            sockets,
            handle,
            quote: *quote,
            upstream: Upstream::Nobody,
            down: VecDeque::new(),
            finished: false,
            told: false,
            lingering: None,
        })
    }

    /// Gives the flow its line in the report.
    pub(super) fn name(&mut self, base: &mut Base, host: Host) {
        self.record = base.ledger.open(Transport::Tcp, host, self.record.port, base.now);
    }

    pub(super) fn ask(&mut self, base: &Base, stream: u32) {
        let confirms = base.link.terms().is_some_and(|terms| terms.confirm);
        let until = base.now + if confirms { CONNECT } else { HOLD };
        self.upstream = Upstream::Asking { stream, until, confirms };
    }

    pub(super) fn serve_names(&mut self) {
        self.upstream = Upstream::Names(dns::Session::default());
        self.record.state = FlowState::Open;
        self.socket_mut().pause_synack(false);
    }

    fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }

    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    const fn stream(&self) -> Option<u32> {
        match self.upstream {
            Upstream::Asking { stream, .. } | Upstream::Open { stream } => Some(stream),
            Upstream::Nobody | Upstream::Gone | Upstream::Names(_) => None,
        }
    }

    /// Whether a SYN with this number is the one that began this flow, come once more.
    pub(super) fn began_with(&self, number: TcpSeqNumber) -> bool {
        self.quote.start[4..] == number.0.to_be_bytes()
    }

    /// Whether all that is left is to wait for stray segments.
    pub(super) fn lingers(&self) -> bool {
        self.socket().state() == State::TimeWait
    }

    /// The relay has connected, or is believed to have.
    pub(super) fn accept(&mut self, base: &mut Base) {
        if let Upstream::Asking { stream, .. } = self.upstream {
            self.upstream = Upstream::Open { stream };
            self.record.state = FlowState::Open;
            base.ledger.changed();
            self.socket_mut().pause_synack(false);
        }
    }

    /// Bytes from the relay: straight into the socket if nothing waits before them.
    pub(super) fn data(&mut self, base: &mut Base, bytes: &[u8]) {
        self.accept(base);
        let Upstream::Open { stream } = self.upstream else { return };
        if self.lingering.is_some() {
            self.lingering = Some(base.now);
        }
        let direct = if self.down.is_empty() && self.socket().can_send() {
            self.socket_mut().send_slice(bytes).unwrap_or(0)
        } else {
            0
        };
        self.given(base, stream, direct);
        let rest = &bytes[direct..];
        if self.down.len() + rest.len() > DOWN_MAX || !base.link.hold(rest.len()) {
            base.link.close(stream, Reason::ClientError);
            let why = "the relay sends faster than the guest reads, and cannot be told to wait";
            return self.abort(base, why);
        }
        self.down.extend(rest);
    }

    /// Takes note of bytes that the guest's socket has taken.
    fn given(&mut self, base: &mut Base, stream: u32, bytes: usize) {
        if bytes > 0 {
            base.link.consumed(stream, bytes);
            base.ledger.received(&mut self.record, bytes);
        }
    }

    /// The relay sends no more.
    pub(super) fn finished(&mut self, base: &mut Base) {
        self.finished = true;
        self.record.state = FlowState::Closing;
        base.ledger.changed();
        self.part(base);
    }

    /// Forgets a stream that both ends have shut down: for WISP it is over.
    fn part(&mut self, base: &mut Base) {
        if let Upstream::Open { stream } = self.upstream
            && self.finished
            && self.told
        {
            base.link.close(stream, Reason::Voluntary);
            self.upstream = Upstream::Gone;
        }
    }

    /// The relay closed the stream: what the guest sees depends on why.
    pub(super) fn closed(&mut self, base: &mut Base, reason: Reason) {
        if matches!(reason, Reason::Blocked) {
            let (host, port) = (&self.record.host, self.record.port);
            base.ledger.blocked(Transport::Tcp, host, port, "the relay's policy".to_owned());
        }
        let asking = matches!(self.upstream, Upstream::Asking { .. });
        match reason {
            Reason::Unknown | Reason::Voluntary | Reason::NetworkError if !asking => {
                self.record.why = Some(reason.to_string());
                self.record.state = FlowState::Closing;
                base.ledger.changed();
                self.upstream = Upstream::Gone;
            }
            _ => {
                let told = match reason {
                    Reason::Blocked => Some(Unreachable::CommProhibited),
                    Reason::Unreachable | Reason::ConnectTimeout => {
                        Some(Unreachable::HostUnreachable)
                    }
                    _ => None,
                };
                self.refuse(base, told, &reason.to_string());
            }
        }
    }

    /// Ends the flow with a RST, and with a word about why if the guest still waits for its
    /// connection; to one that is open an ICMP error says nothing (RFC 1122, 4.2.3.9).
    fn refuse(&mut self, base: &mut Base, told: Option<Unreachable>, why: &str) {
        if let (Upstream::Asking { .. }, Some(told)) = (&self.upstream, told) {
            icmp::unreachable(&mut base.wire, base.config.gateway, told, &self.quote);
        }
        self.abort(base, why);
    }

    fn abort(&mut self, base: &mut Base, why: &str) {
        self.spill(base);
        self.upstream = Upstream::Gone;
        self.record.why.get_or_insert_with(|| why.to_owned());
        self.record.state = FlowState::Closing;
        base.ledger.changed();
        self.socket_mut().abort();
    }

    /// The relay is gone.
    pub(super) fn lost(&mut self, base: &mut Base, why: &str) {
        if self.stream().is_some() {
            self.refuse(base, Some(Unreachable::NetUnreachable), why);
        }
    }

    /// The policy has changed.
    pub(super) fn enforce(&mut self, base: &mut Base) {
        let Some(stream) = self.stream() else { return };
        if let Err(why) = base.rules.judge(&self.record.host, self.record.port) {
            base.ledger.blocked(Transport::Tcp, &self.record.host, self.record.port, why.clone());
            base.link.close(stream, Reason::Voluntary);
            self.refuse(base, Some(Unreachable::CommProhibited), &why);
        }
    }

    /// Takes the flow out of the world; the guest is told nothing.
    pub(super) fn end(mut self, base: &mut Base, why: &str) {
        if let Some(stream) = self.stream() {
            base.link.close(stream, Reason::Voluntary);
        }
        self.spill(base);
        self.record.why.get_or_insert_with(|| why.to_owned());
        base.ledger.close(self.record);
    }

    /// Gives up what waits for the guest.
    fn spill(&mut self, base: &mut Base) {
        let bytes = std::mem::take(&mut self.down).len();
        // What the name server says was never counted.
        if !matches!(self.upstream, Upstream::Names(_)) {
            base.link.release(bytes);
        }
    }
}
