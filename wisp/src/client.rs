//! The client's end of a connection. One `Client` is one WebSocket's life; a reconnect is a
//! new one.

use crate::credit::{Inward, Outward};
use crate::link::{self, Link, Role};
use crate::packet::{Fault, Info, MAJOR, Packet, append, check, credentials, extension};
pub use crate::terms::Terms;
pub use crate::violation::Violation;
use crate::{Credentials, Kind, Reason};

/// Streams that are open at once, at most. A relay allows 128; more than this from one guest
/// is a fault of the guest's.
pub const MAX_STREAMS: usize = 256;

/// With *flow*: bytes of a stream that the server may send before the guest has taken them.
pub const WINDOW: u32 = 512 * 1024;

/// What a client needs to know of the WebSocket and its user.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The server accepted the subprotocol `wisp-v2`. It may still turn out to speak
    /// version 1; see [`Terms::v2`].
    pub v2: bool,
    /// Given to a server that asks for them, and to no other. What is too long for the wire
    /// (255 bytes of name, [`crate::packet::MAX_PASSWORD`] of password) is not given.
    pub credentials: Option<Credentials>,
}

/// What a message came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// Nothing to do.
    None,
    /// The handshake is done: streams can be opened.
    Ready,
    /// The server has connected the stream (with [`Terms::confirm`]); it may be writable now.
    Opened {
        /// Which.
        stream: u32,
    },
    /// Bytes, or one datagram. With [`Terms::flow`], say with [`Client::consumed`] when the
    /// bytes of a TCP stream were passed on.
    Data {
        /// Of which stream.
        stream: u32,
        /// Never empty for TCP.
        bytes: &'a [u8],
    },
    /// The stream had no credit and has some again.
    Writable {
        /// Which.
        stream: u32,
    },
    /// The server sends no more on this stream (with [`Terms::shutdown`]). If we have shut it
    /// down as well it is over, and no `Closed` follows.
    Finished {
        /// Which.
        stream: u32,
    },
    /// The stream is over, both ways.
    Closed {
        /// Which.
        stream: u32,
        /// Why. [`Reason::ClientError`] also if we closed it, because the server sent more
        /// than it may.
        reason: Reason,
    },
    /// The connection is over, and all its streams with it.
    Ended {
        /// Why.
        reason: Reason,
    },
}

/// Why no stream was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The handshake is not done, or the connection is over.
    NotReady,
    /// The target can be nobody's.
    Target(Fault),
    /// The server has no UDP.
    NoUdp,
    /// There are [`MAX_STREAMS`].
    TooMany,
    /// The WebSocket does not take what is queued; later.
    Busy,
    /// All ids are used up; a new connection has new ones.
    Exhausted,
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotReady => f.write_str("the relay is not connected"),
            Self::Target(fault) => fault.fmt(f),
            Self::NoUdp => f.write_str("the relay carries no UDP"),
            Self::TooMany => f.write_str("too many streams are open"),
            Self::Busy => f.write_str("the relay takes no more for now"),
            Self::Exhausted => f.write_str("the connection has no streams left"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Where the handshake is.
enum Stage {
    /// Nothing was heard.
    Start,
    /// INFO came and was answered; the server's CONTINUE or CLOSE is next.
    Informed(Terms, Windows),
    /// Streams.
    Ready,
}

/// What a new stream may send at first, in what the terms count.
#[derive(Clone, Copy, Default)]
struct Windows {
    packets: u32,
    bytes: u32,
}

/// One connection to a relay.
pub struct Client {
    link: Link,
    stage: Stage,
    config: Config,
    windows: Windows,
    /// The next stream's id; `None` when all are used up.
    next: Option<u32>,
}

impl Client {
    /// A connection whose WebSocket has just opened. The server speaks first.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let (link, windows) = (Link::new(Role::Client), Windows::default());
        Self { link, stage: Stage::Start, config, windows, next: Some(1) }
    }

    /// One binary message from the WebSocket: one packet, and at most one event.
    ///
    /// # Errors
    /// The server broke the protocol. Send what [`Client::transmit`] still gives, then close.
    pub fn receive<'a>(&mut self, message: &'a [u8]) -> Result<Event<'a>, Violation> {
        if self.link.over() {
            return Ok(Event::None);
        }
        let heard = self.link.listen(message).and_then(|packet| self.hear(&packet));
        heard.map_err(|violation| self.link.violated(violation))
    }

    fn hear<'a>(&mut self, packet: &Packet<'a>) -> Result<Event<'a>, Violation> {
        if let Packet::Close { stream: 0, reason } = *packet {
            self.link.hang_up();
            return Ok(Event::Ended { reason });
        }
        match (&self.stage, packet) {
            (Stage::Start, Packet::Info(info)) if self.config.v2 => self.informed(info),
            // Offered version 2 or not, this server speaks version 1.
            (Stage::Start, &Packet::Continue { stream: 0, packets }) => {
                Ok(self.ready(Terms::v1(true), Windows { packets, bytes: 0 }))
            }
            (Stage::Informed(terms, windows), &Packet::Continue { stream: 0, packets }) => {
                let windows = Windows { packets, ..*windows };
                Ok(self.ready(terms.clone(), windows))
            }
            (_, Packet::Info(_) | Packet::Connect { .. }) => {
                Err(Violation::Unexpected(packet.kind()))
            }
            (Stage::Ready, &Packet::Continue { stream: 0, packets }) => {
                self.windows.packets = packets;
                Ok(Event::None)
            }
            (Stage::Ready, &Packet::Continue { stream, packets }) => {
                Ok(self.continued(stream, packets))
            }
            (Stage::Ready, packet) => self.link.hear(packet).map(Event::from),
            _ => Err(Violation::Early(packet.kind())),
        }
    }

    /// The server's INFO: agrees on what both have, and answers with just that.
    fn informed<'a>(&mut self, info: &Info<'_>) -> Result<Event<'a>, Violation> {
        if info.major != MAJOR {
            return Err(Violation::Version(info.major));
        }
        let flow = info.flow();
        let motd = info.extension(extension::MOTD);
        let terms = Terms {
            v2: true,
            udp: info.plain(extension::UDP),
            confirm: info.plain(extension::CONFIRM),
            flow: flow.is_some(),
            shutdown: info.plain(extension::SHUTDOWN),
            motd: motd.map(crate::terms::readable),
        };
        let mut entries = terms.entries(WINDOW, motd.map(|_| &[][..]));
        if info.extension(extension::PASSWORD).is_some()
            && let Some(payload) = self.config.credentials.as_ref().and_then(credentials)
        {
            append(&mut entries, extension::PASSWORD, &payload);
        }
        self.link.outbox.push(&Packet::Info(Info::ours(&entries)));
        self.stage = Stage::Informed(terms, Windows { packets: 0, bytes: flow.unwrap_or(0) });
        Ok(Event::None)
    }

    fn ready<'a>(&mut self, terms: Terms, windows: Windows) -> Event<'a> {
        self.link.terms = Some(terms);
        self.windows = windows;
        self.stage = Stage::Ready;
        Event::Ready
    }

    /// CONTINUE for a stream. For one that is closed it comes too late, which is nobody's
    /// fault.
    fn continued<'a>(&mut self, stream: u32, packets: u32) -> Event<'a> {
        match self.link.continued(stream, packets) {
            (true, _) => Event::Opened { stream },
            (false, true) => Event::Writable { stream },
            (false, false) => Event::None,
        }
    }

    /// The next binary message for the WebSocket.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        self.link.outbox.pop()
    }

    /// What was agreed on, from [`Event::Ready`] on.
    #[must_use]
    pub const fn terms(&self) -> Option<&Terms> {
        self.link.terms.as_ref()
    }

    /// Opens a stream; its id is never used again. Bytes may be sent at once.
    ///
    /// # Errors
    /// Why there is none.
    pub fn open(&mut self, kind: Kind, host: &str, port: u16) -> Result<u32, OpenError> {
        let Some(terms) = self.link.terms.as_ref().filter(|_| !self.link.over()) else {
            return Err(OpenError::NotReady);
        };
        check(host, port).map_err(OpenError::Target)?;
        if kind == Kind::Udp && !terms.udp {
            return Err(OpenError::NoUdp);
        }
        if self.link.streams() >= MAX_STREAMS {
            return Err(OpenError::TooMany);
        }
        if self.link.outbox.room() == 0 {
            return Err(OpenError::Busy);
        }
        let stream = self.next.ok_or(OpenError::Exhausted)?;
        self.next = stream.checked_add(1);
        let (outward, inward) = if terms.flow {
            (Outward::Bytes(self.windows.bytes), Some(Inward::bytes(WINDOW)))
        } else {
            (Outward::Packets(self.windows.packets), None)
        };
        self.link.outbox.push(&Packet::Connect { stream, kind, port, host });
        self.link.add(stream, kind, outward, inward);
        Ok(stream)
    }

    /// Bytes that [`Client::send`] would take now. 0 also while the outbox is full, which no
    /// event ends: ask again when [`Client::transmit`] has given what it had.
    #[must_use]
    pub fn room(&self, stream: u32) -> usize {
        self.link.room(stream)
    }

    /// Sends bytes of a TCP stream, up to [`Client::room`] of them; how many were taken.
    pub fn send(&mut self, stream: u32, bytes: &[u8]) -> usize {
        self.link.send(stream, bytes)
    }

    /// Sends one datagram of a UDP stream; `false` if it was dropped: no such stream, longer
    /// than [`crate::MAX_DATAGRAM`], or the outbox is full.
    pub fn send_datagram(&mut self, stream: u32, bytes: &[u8]) -> bool {
        self.link.send_datagram(stream, bytes)
    }

    /// Bytes of [`Event::Data`] of a TCP stream were passed on: gives credit back, where
    /// there is any.
    pub fn consumed(&mut self, stream: u32, bytes: usize) {
        self.link.consumed(stream, bytes);
    }

    /// Says that no more will be sent on a TCP stream; `false` if the terms have no half-close
    /// or there is no such stream: then nothing was said.
    pub fn shutdown(&mut self, stream: u32) -> bool {
        self.link.shutdown(stream)
    }

    /// Closes a stream both ways, after what was sent. No event follows.
    pub fn close(&mut self, stream: u32, reason: Reason) {
        self.link.close(stream, reason);
    }
}

impl<'a> From<link::Event<'a>> for Event<'a> {
    fn from(event: link::Event<'a>) -> Self {
        match event {
            link::Event::None => Self::None,
            link::Event::Data { stream, bytes } => Self::Data { stream, bytes },
            link::Event::Writable { stream } => Self::Writable { stream },
            link::Event::Finished { stream } => Self::Finished { stream },
            link::Event::Closed { stream, reason } => Self::Closed { stream, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_DATA, MAX_DATAGRAM, OUTBOX};

    fn written(packet: &Packet<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet.write(&mut bytes);
        bytes
    }

    /// A client of version 1 that is ready.
    fn ready(packets: u32) -> Client {
        let mut client = Client::new(Config::default());
        let message = written(&Packet::Continue { stream: 0, packets });
        assert_eq!(client.receive(&message), Ok(Event::Ready));
        client
    }

    #[test]
    fn what_cannot_be_opened_is_not_asked_for() {
        let mut client = ready(1);
        let long = "a".repeat(crate::packet::MAX_HOST + 1);
        for (host, port, fault) in [
            ("", 80, Fault::NoHost),
            (long.as_str(), 80, Fault::LongHost),
            ("a b", 80, Fault::HostText),
            ("a", 0, Fault::Port),
        ] {
            assert_eq!(client.open(Kind::Tcp, host, port), Err(OpenError::Target(fault)));
        }
        assert_eq!(client.transmit(), None);
    }

    #[test]
    fn ids_are_never_used_again_and_come_to_an_end() {
        let mut client = ready(1);
        let first = client.open(Kind::Tcp, "a", 80).unwrap();
        client.close(first, Reason::Voluntary);
        assert_ne!(client.open(Kind::Tcp, "a", 80), Ok(first));
        client.next = Some(u32::MAX);
        assert_eq!(client.open(Kind::Tcp, "a", 80), Ok(u32::MAX));
        assert_eq!(client.open(Kind::Tcp, "a", 80), Err(OpenError::Exhausted));
    }

    #[test]
    fn streams_have_a_limit() {
        let mut client = ready(1);
        for _ in 0..MAX_STREAMS {
            client.open(Kind::Tcp, "a", 80).unwrap();
        }
        assert_eq!(client.open(Kind::Tcp, "a", 80), Err(OpenError::TooMany));
        client.close(1, Reason::Voluntary);
        assert!(client.open(Kind::Tcp, "a", 80).is_ok());
    }

    #[test]
    fn a_guest_cannot_fill_the_outbox() {
        let mut client = ready(u32::MAX);
        let (tcp, udp) =
            (client.open(Kind::Tcp, "a", 80).unwrap(), client.open(Kind::Udp, "a", 53).unwrap());
        assert!(!client.send_datagram(udp, &[0; MAX_DATAGRAM + 1]));
        assert!(client.send_datagram(udp, &[0; MAX_DATAGRAM]) && client.send_datagram(udp, &[]));
        assert_eq!((client.send(udp, b"x"), client.send_datagram(tcp, b"x")), (0, false));
        let bytes = vec![7; 2 * OUTBOX];
        let taken = client.send(tcp, &bytes);
        assert!(taken < OUTBOX && taken.is_multiple_of(MAX_DATA) && client.room(tcp) == 0);
        assert_eq!((client.send(tcp, &bytes), client.send_datagram(udp, b"x")), (0, false));
        assert_eq!(client.open(Kind::Tcp, "a", 80), Err(OpenError::Busy));
        let mut queued = 0;
        while let Some(message) = client.transmit() {
            queued += message.len();
        }
        assert!(queued < OUTBOX && client.room(tcp) > 0 && client.send_datagram(udp, b"x"));
    }

    #[test]
    fn a_server_that_does_not_stop_at_its_credit_is_left() {
        let mut entries = Vec::new();
        append(&mut entries, extension::FLOW, &1024_u32.to_le_bytes());
        let mut client = Client::new(Config { v2: true, credentials: None });
        client.receive(&written(&Packet::Info(Info::ours(&entries)))).unwrap();
        client.receive(&written(&Packet::Continue { stream: 0, packets: 1 })).unwrap();
        let bytes = vec![0; 64 * 1024];
        for offence in 0..=crate::MAX_OFFENCES {
            let stream = client.open(Kind::Tcp, "a", 80).unwrap();
            let message = written(&Packet::Data { stream, bytes: &bytes });
            for _ in 0..WINDOW as usize / bytes.len() {
                assert!(matches!(client.receive(&message), Ok(Event::Data { .. })));
            }
            let closed = Event::Closed { stream, reason: Reason::ClientError };
            let last = offence == crate::MAX_OFFENCES;
            assert_eq!(
                client.receive(&message),
                if last { Err(Violation::Offences) } else { Ok(closed) }
            );
        }
        assert_eq!(client.transmit(), Some(vec![4, 0, 0, 0, 0, 0x81]));
        assert_eq!(client.transmit(), None);
    }
}
