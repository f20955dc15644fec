//! What both roles of a connection share: streams, credit, and the outbox.
//!
//! Each packet costs one look into a hash map. Nothing walks over the streams but the end of
//! the connection.

use std::collections::HashMap;

use crate::credit::{Inward, Outward};
use crate::outbox::Outbox;
use crate::packet::Packet;
use crate::retired::Retired;
use crate::violation::{MAX_OFFENCES, Violation};
use crate::{Kind, MAX_DATAGRAM, Reason, Terms};

/// Which end this is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// One open stream.
pub(crate) struct Stream {
    kind: Kind,
    outward: Outward,
    /// What the peer may send; `None`: the protocol sets no limit.
    inward: Option<Inward>,
    /// Whether its being connected was said, or needs no saying.
    confirmed: bool,
    /// We said that we send no more.
    finished: bool,
    /// The peer said that it sends no more.
    ended: bool,
}

/// What a packet about a stream came to.
pub(crate) enum Event<'a> {
    None,
    Data { stream: u32, bytes: &'a [u8] },
    Writable { stream: u32 },
    Finished { stream: u32 },
    Closed { stream: u32, reason: Reason },
}

pub(crate) struct Link {
    role: Role,
    pub(crate) outbox: Outbox,
    streams: HashMap<u32, Stream>,
    /// Those that lately were; kept by the server only, because the client knows from its
    /// counter which ids there were.
    retired: Retired,
    /// Set while packets about streams may go back and forth.
    pub(crate) terms: Option<Terms>,
    /// Nothing is heard or said any more, but what is queued.
    over: bool,
    offences: u32,
}

impl Link {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            outbox: Outbox::default(),
            streams: HashMap::new(),
            retired: Retired::default(),
            terms: None,
            over: false,
            offences: 0,
        }
    }

    pub(crate) const fn over(&self) -> bool {
        self.over
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether the id is, or lately was, in use.
    pub(crate) fn used(&self, stream: u32) -> bool {
        self.streams.contains_key(&stream) || self.retired.contains(stream)
    }

    /// Adds a stream. UDP has no credit, whatever is passed.
    pub(crate) fn add(&mut self, id: u32, kind: Kind, outward: Outward, inward: Option<Inward>) {
        let (outward, inward) = match kind {
            Kind::Tcp => (outward, inward),
            Kind::Udp => (Outward::Free, None),
        };
        let confirmed = !self.terms.as_ref().is_some_and(|terms| terms.confirm);
        let stream = Stream { kind, outward, inward, confirmed, finished: false, ended: false };
        self.streams.insert(id, stream);
    }

    /// Remembers an id that never became a stream.
    pub(crate) fn retire(&mut self, stream: u32) {
        if self.role == Role::Server {
            self.retired.insert(stream);
        }
    }

    fn remove(&mut self, stream: u32) -> bool {
        let was = self.streams.remove(&stream).is_some();
        if was {
            self.retire(stream);
        }
        was
    }

    /// Ends the connection: all streams are gone, and `reason` goes out after what is queued.
    pub(crate) fn end(&mut self, reason: Reason) {
        if !self.over {
            self.outbox.push(&Packet::Close { stream: 0, reason });
            self.over = true;
            self.streams.clear();
        }
    }

    /// The peer ended the connection: nobody reads any more.
    pub(crate) fn hang_up(&mut self) {
        self.over = true;
        self.streams.clear();
        self.outbox.clear();
    }

    /// Ends the connection because the peer broke the protocol: what is queued is dropped,
    /// because a peer of this kind is owed nothing but the reason.
    pub(crate) fn violated(&mut self, violation: Violation) -> Violation {
        self.outbox.clear();
        self.end(match (violation, self.role) {
            (Violation::Version(_), _) => Reason::IncompatibleExtensions,
            (Violation::Flood | Violation::Offences, Role::Server) => Reason::Throttled,
            (_, Role::Server) => Reason::Invalid,
            (_, Role::Client) => Reason::ClientError,
        });
        violation
    }

    /// A packet about a stream, after the handshake.
    pub(crate) fn hear<'a>(&mut self, packet: &Packet<'a>) -> Result<Event<'a>, Violation> {
        let (flow, shutdown) =
            self.terms.as_ref().map_or((false, false), |terms| (terms.flow, terms.shutdown));
        match *packet {
            Packet::Data { stream, bytes } => self.data(stream, bytes),
            Packet::Close { stream, reason } => {
                if !self.remove(stream) {
                    return self.absent(stream);
                }
                Ok(Event::Closed { stream, reason })
            }
            Packet::Credit { stream, bytes } if flow => {
                let Some(open) = self.streams.get_mut(&stream) else { return self.absent(stream) };
                let woken = open.outward.add(bytes) && !open.finished;
                Ok(if woken { Event::Writable { stream } } else { Event::None })
            }
            Packet::Shutdown { stream } if shutdown => self.shut(stream),
            ref other => Err(Violation::Unexpected(other.kind())),
        }
    }

    fn data<'a>(&mut self, stream: u32, bytes: &'a [u8]) -> Result<Event<'a>, Violation> {
        let Some(open) = self.streams.get_mut(&stream) else { return self.absent(stream) };
        if open.ended {
            return self.offence(stream, Reason::Invalid);
        }
        if let Some(inward) = &mut open.inward
            && !inward.received(bytes.len())
        {
            return self.offence(stream, Reason::Throttled);
        }
        if bytes.is_empty() && open.kind == Kind::Tcp {
            // Nothing to pass on, but a packet's worth of credit was used up.
            self.refill(stream);
            return Ok(Event::None);
        }
        Ok(Event::Data { stream, bytes })
    }

    /// The peer's SHUTDOWN. A stream that both sides have shut is over, without a CLOSE.
    fn shut<'a>(&mut self, stream: u32) -> Result<Event<'a>, Violation> {
        let Some(open) = self.streams.get_mut(&stream) else { return self.absent(stream) };
        if open.ended || open.kind == Kind::Udp {
            return self.offence(stream, Reason::Invalid);
        }
        open.ended = true;
        if open.finished {
            self.remove(stream);
        }
        Ok(Event::Finished { stream })
    }

    /// The peer broke its promise on one stream: that stream is closed.
    fn offence<'a>(&mut self, stream: u32, reason: Reason) -> Result<Event<'a>, Violation> {
        self.offences += 1;
        if self.offences > MAX_OFFENCES {
            return Err(Violation::Offences);
        }
        let reason = if self.role == Role::Client { Reason::ClientError } else { reason };
        self.close(stream, reason);
        Ok(Event::Closed { stream, reason })
    }

    /// A packet for a stream that is not open.
    pub(crate) fn absent<'a>(&self, stream: u32) -> Result<Event<'a>, Violation> {
        if self.role == Role::Client || self.retired.contains(stream) {
            Ok(Event::None)
        } else {
            Err(Violation::UnknownStream(stream))
        }
    }

    /// CONTINUE for a stream, at the client: `(was confirmed by it, has credit again)`.
    pub(crate) fn continued(&mut self, stream: u32, packets: u32) -> (bool, bool) {
        let Some(open) = self.streams.get_mut(&stream) else { return (false, false) };
        let opened = !std::mem::replace(&mut open.confirmed, true);
        let woken = open.outward.set(packets) && !open.finished;
        (opened, woken)
    }

    /// The stream is connected, at the server.
    pub(crate) fn confirm(&mut self, stream: u32) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        if std::mem::replace(&mut open.confirmed, true) || open.kind == Kind::Udp {
            return;
        }
        // In bytes, the number says nothing.
        let packets = match &mut open.inward {
            Some(inward) if inward.in_packets() => inward.grant(),
            _ => 1,
        };
        self.outbox.push(&Packet::Continue { stream, packets });
    }

    pub(crate) fn room(&self, stream: u32) -> usize {
        match self.streams.get(&stream) {
            Some(open) if !open.finished => open.outward.room().min(self.outbox.room()),
            _ => 0,
        }
    }

    pub(crate) fn send(&mut self, stream: u32, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room(stream));
        match self.streams.get_mut(&stream) {
            Some(open) if open.kind == Kind::Tcp => open.outward.spend(taken),
            _ => return 0,
        }
        for bytes in bytes[..taken].chunks(crate::MAX_DATA) {
            self.outbox.push(&Packet::Data { stream, bytes });
        }
        taken
    }

    pub(crate) fn send_datagram(&mut self, stream: u32, bytes: &[u8]) -> bool {
        let udp = self.streams.get(&stream).is_some_and(|open| open.kind == Kind::Udp);
        let fits = udp && bytes.len() <= MAX_DATAGRAM && self.outbox.room() > 0;
        if fits {
            self.outbox.push(&Packet::Data { stream, bytes });
        }
        fits
    }

    pub(crate) fn consumed(&mut self, stream: u32, bytes: usize) {
        if let Some(Stream { inward: Some(inward), .. }) = self.streams.get_mut(&stream) {
            inward.consumed(bytes);
            self.refill(stream);
        }
    }

    /// Grants the peer what is free, if it is worth a packet and the peer has a use for it.
    fn refill(&mut self, stream: u32) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let Some(inward) = &mut open.inward else { return };
        let packets = inward.in_packets();
        // Before the confirmation a CONTINUE would be taken for it.
        if open.ended || (packets && !open.confirmed) {
            return;
        }
        let Some(free) = inward.refill() else { return };
        self.outbox.push(&if packets {
            Packet::Continue { stream, packets: free }
        } else {
            Packet::Credit { stream, bytes: free }
        });
    }

    pub(crate) fn shutdown(&mut self, stream: u32) -> bool {
        if !self.terms.as_ref().is_some_and(|terms| terms.shutdown) {
            return false;
        }
        let Some(open) = self.streams.get_mut(&stream) else { return false };
        if open.kind == Kind::Udp {
            return false;
        }
        if !std::mem::replace(&mut open.finished, true) {
            let over = open.ended;
            self.outbox.push(&Packet::Shutdown { stream });
            if over {
                self.remove(stream);
            }
        }
        true
    }

    pub(crate) fn close(&mut self, stream: u32, reason: Reason) {
        if self.remove(stream) {
            self.outbox.push(&Packet::Close { stream, reason });
        }
    }

    /// What every message goes through before it is read.
    pub(crate) fn listen<'a>(&self, message: &'a [u8]) -> Result<Packet<'a>, Violation> {
        if self.outbox.flooded() {
            return Err(Violation::Flood);
        }
        Ok(Packet::parse(message)?)
    }
}
