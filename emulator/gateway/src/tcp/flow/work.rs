//! What a flow does when it is its turn: time, bytes up, bytes down, segments.

use std::time::Duration;

use emulator_protocol::FlowState;
use smoltcp::iface::PollResult;
use smoltcp::socket::tcp::{Socket, State};
use wisp::Reason;

use super::{Flow, Upstream};
use crate::Instant;
use crate::base::{Base, stamp};
use crate::icmp::Unreachable;
use crate::wire::Port;

/// How long a guest that has said FIN is listened for without half-close. For the guest's
/// program that ended, and for one that waits for an answer, it looks the same.
const LINGER: Duration = Duration::from_secs(30);

/// After this long without a segment from the guest it has forgotten the connection. Long
/// enough for a machine that was paused for a cup of tea.
const DEAD: Duration = Duration::from_secs(15 * 60);

/// Frames that a flow sends before it is another one's turn.
const TURN: usize = 32;

/// When smoltcp wants to be asked again and has nothing to say, it is asked after this long.
const RESTLESS: Duration = Duration::from_millis(10);

/// What a flow is waiting for.
pub(in crate::tcp) enum Step {
    /// Somebody else, or this time.
    Wait(Option<Instant>),
    /// Its next turn.
    Again,
    /// Room for frames.
    Blocked,
    /// Nothing: it is over.
    Over,
}

impl Flow {
    /// Does all there is to do now.
    pub(in crate::tcp) fn work(&mut self, base: &mut Base) -> Step {
        self.expire(base);
        let state = self.socket().state();
        if state == State::Established {
            self.socket_mut().set_timeout(Some(DEAD.into()));
        }
        self.up(base);
        self.downwards(base);
        let step = self.transmit(base);
        let socket = self.socket();
        // A socket that was reset while it held its SYN-ACK listens again.
        let forgotten = socket.remote_endpoint().is_none();
        if forgotten && matches!(socket.state(), State::Closed | State::Listen) {
            let unread = socket.can_recv() && matches!(self.upstream, Upstream::Open { .. });
            return if unread { Step::Wait(None) } else { Step::Over };
        }
        step
    }

    /// What time alone brings.
    fn expire(&mut self, base: &mut Base) {
        match self.upstream {
            Upstream::Asking { stream, until, confirms } if until <= base.now => {
                if confirms {
                    base.link.close(stream, Reason::ConnectTimeout);
                    let told = Some(Unreachable::HostUnreachable);
                    self.refuse(base, told, "the relay did not answer");
                } else {
                    self.accept(base);
                }
            }
            Upstream::Open { stream } if self.lingering.is_some_and(|t| t + LINGER <= base.now) => {
                base.link.close(stream, Reason::Voluntary);
                self.upstream = Upstream::Gone;
            }
            _ => {}
        }
    }

    /// From the guest.
    fn up(&mut self, base: &mut Base) {
        match self.upstream {
            Upstream::Open { stream } => {
                self.send_up(base, stream);
                if !self.told && self.guest_is_done() {
                    self.tell(base, stream);
                }
            }
            Upstream::Names(_) => self.resolve(base),
            Upstream::Gone if self.socket().can_recv() => {
                self.abort(base, "the guest sent more than anybody reads");
            }
            Upstream::Asking { .. } | Upstream::Gone | Upstream::Nobody => {}
        }
    }

    /// Answers queries of DNS.
    fn resolve(&mut self, base: &mut Base) {
        let Upstream::Names(session) = &mut self.upstream else { return };
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let online = base.link.ready();
        while socket.can_recv() && session.room(self.down.len()) > 0 {
            let heard = socket.recv(|bytes| {
                let taken = bytes.len().min(session.room(self.down.len()));
                let (names, bytes) = (&mut base.names, &bytes[..taken]);
                (taken, (taken, session.hear(bytes, names, online, base.now, &mut self.down)))
            });
            let Ok((taken, understood)) = heard else { break };
            base.ledger.sent(&mut self.record, taken);
            if understood.is_err() {
                return self.abort(base, "this is not DNS");
            }
        }
        self.finished = self.guest_is_done();
    }

    fn send_up(&mut self, base: &mut Base, stream: u32) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let mut total = 0;
        while socket.can_recv() {
            let room = base.link.room(stream);
            if room == 0 {
                base.link.starve(self.tuple);
                break;
            }
            let sent = socket.recv(|bytes| {
                let taken = base.link.send(stream, &bytes[..bytes.len().min(room)]);
                (taken, taken)
            });
            match sent {
                Ok(bytes) if bytes > 0 => total += bytes,
                _ => break,
            }
        }
        if total > 0 {
            base.ledger.sent(&mut self.record, total);
        }
    }

    /// Whether the guest has said FIN, and all before it was read.
    fn guest_is_done(&self) -> bool {
        let socket = self.socket();
        let after_fin = matches!(
            socket.state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        after_fin && !socket.can_recv()
    }

    /// Passes the guest's FIN on.
    fn tell(&mut self, base: &mut Base, stream: u32) {
        self.told = true;
        self.record.state = FlowState::Closing;
        base.ledger.changed();
        if base.link.shutdown(stream) {
            self.part(base);
        } else {
            self.lingering = Some(base.now);
        }
    }

    /// To the guest.
    fn downwards(&mut self, base: &mut Base) {
        let stream = self.stream();
        while !self.down.is_empty() && self.socket().can_send() {
            let (first, _) = self.down.as_slices();
            let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
            let given = socket.send_slice(first).unwrap_or(0);
            self.down.drain(..given);
            if !matches!(self.upstream, Upstream::Names(_)) {
                base.link.release(given);
            }
            if let Some(stream) = stream {
                base.link.consumed(stream, given);
            }
            base.ledger.received(&mut self.record, given);
        }
        let last = self.finished || matches!(self.upstream, Upstream::Gone);
        if last && self.down.is_empty() && self.socket().may_send() {
            self.socket_mut().close();
        }
    }

    /// Segments to the guest.
    fn transmit(&mut self, base: &mut Base) -> Step {
        base.wire.refused = false;
        let now = stamp(base.now);
        for _ in 0..TURN {
            let mut port = Port { wire: &mut base.wire, packet: None };
            let result = base.stack.poll_egress(now, &mut port, &mut self.sockets);
            if base.wire.refused {
                return Step::Blocked;
            }
            if result == PollResult::None {
                return Step::Wait(self.next(base));
            }
        }
        Step::Again
    }

    /// When there is something to do without anybody else.
    fn next(&mut self, base: &mut Base) -> Option<Instant> {
        if let Upstream::Asking { until, .. } = self.upstream {
            return Some(until);
        }
        let lingers = self.lingering.filter(|_| self.stream().is_some()).map(|at| at + LINGER);
        let stack = base.stack.poll_at(stamp(base.now), &self.sockets).map(|at| {
            let micros = u64::try_from(at.total_micros()).unwrap_or(0);
            Instant::from_micros(micros).max(base.now + RESTLESS)
        });
        [lingers, stack].into_iter().flatten().min()
    }
}
