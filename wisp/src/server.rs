//! The server's end of a connection.

use crate::credit::{Inward, Outward};
use crate::link::{self, Link, Role};
use crate::packet::{Info, MAJOR, MAX_INFO, Malformed, Packet, append, extension, kind};
pub use crate::terms::{MAX_MOTD, Terms};
pub use crate::violation::Violation;
use crate::{Kind, Reason};

/// What the server offers.
#[derive(Clone, Debug)]
pub struct Config {
    /// The client asked for the subprotocol `wisp-v2`, and the answer echoed it.
    pub v2: bool,
    /// Packets of a TCP stream that the client may send before they were passed on. At least
    /// 2, because half of it is granted at a time.
    pub window_packets: u32,
    /// The same in bytes, with [`Terms::flow`]. 0: *flow* is not offered.
    pub window_bytes: u32,
    /// Whether there are streams of UDP.
    pub udp: bool,
    /// Message of the day (v2), at most [`MAX_MOTD`] bytes; a longer one is cut.
    pub motd: Option<String>,
    /// Name and password: `None`: not asked for; `Some(false)`: taken if given; `Some(true)`:
    /// nobody gets in without. Version 1 has no such thing, so then it is not spoken.
    pub password: Option<bool>,
    /// Streams that are open at once, at most. One more is closed with [`Reason::Throttled`].
    pub max_streams: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            v2: true,
            window_packets: 32,
            window_bytes: 512 * 1024,
            udp: true,
            motd: None,
            password: None,
            max_streams: 128,
        }
    }
}

/// What a message came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// Nothing to do.
    None,
    /// The client says who it is. Answer with [`Server::admit`] or [`Server::refuse`]; until
    /// then it may say nothing more.
    Authenticate {
        /// Name.
        user: &'a str,
        /// Password or token.
        password: &'a str,
    },
    /// The handshake is done. Does not come for version 1, which has none, nor after
    /// [`Server::admit`], which is what does it.
    Ready,
    /// A stream is wanted. Connect it, then say [`Server::opened`], or [`Server::close`] with
    /// the reason. Data may come before that.
    Connect {
        /// Its id.
        stream: u32,
        /// What it carries.
        kind: Kind,
        /// The target: not empty, without spaces and controls, otherwise as a stranger wrote
        /// it.
        host: &'a str,
        /// Never 0.
        port: u16,
    },
    /// Bytes, or one datagram. Say with [`Server::consumed`] when the bytes of a TCP stream
    /// were passed on.
    Data {
        /// Of which stream.
        stream: u32,
        /// Never empty for TCP.
        bytes: &'a [u8],
    },
    /// The stream had no credit and has some again (with [`Terms::flow`]).
    Writable {
        /// Which.
        stream: u32,
    },
    /// The client sends no more on this stream (with [`Terms::shutdown`]). If we have shut it
    /// down as well it is over, and no `Closed` follows.
    Finished {
        /// Which.
        stream: u32,
    },
    /// The stream is over, both ways.
    Closed {
        /// Which.
        stream: u32,
        /// Why; [`Reason::Throttled`] or [`Reason::Invalid`] also if we closed it, because
        /// the client sent what it may not.
        reason: Reason,
    },
    /// The connection is over, and all its streams with it. Send what [`Server::transmit`]
    /// still gives, then close.
    Ended {
        /// Why.
        reason: Reason,
    },
}

/// Where the handshake is.
enum Stage {
    /// Our INFO went out; the client's is next.
    Start,
    /// The caller decides about the client's name and password.
    Deciding(Terms),
    /// Streams.
    Ready,
}

/// One connection of a client.
pub struct Server {
    link: Link,
    stage: Stage,
    config: Config,
    /// What a new stream may send at first, with *flow*.
    client_window: u32,
}

impl Server {
    /// A connection whose WebSocket has just opened. The server speaks first: see
    /// [`Server::transmit`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut config = config;
        config.window_packets = config.window_packets.max(2);
        let link = Link::new(Role::Server);
        let mut server = Self { link, stage: Stage::Start, config, client_window: 0 };
        if server.config.v2 {
            server.inform();
        } else if server.config.password == Some(true) {
            server.end(Reason::AuthRequired);
        } else {
            server.ready(Terms::v1(server.config.udp));
        }
        server
    }

    /// Our INFO: all that we have.
    fn inform(&mut self) {
        let offer = Terms {
            v2: true,
            udp: self.config.udp,
            confirm: true,
            flow: self.config.window_bytes > 0,
            shutdown: true,
            motd: None,
        };
        let motd = self.config.motd.as_mut().map(|motd| {
            motd.truncate(motd.floor_char_boundary(MAX_MOTD));
            motd.as_bytes()
        });
        let mut entries = offer.entries(self.config.window_bytes, motd);
        if let Some(required) = self.config.password {
            append(&mut entries, extension::PASSWORD, &[required.into()]);
        }
        self.link.outbox.push(&Packet::Info(Info::ours(&entries)));
    }

    /// One binary message from the WebSocket: one packet, and at most one event.
    ///
    /// # Errors
    /// The client broke the protocol. Send what [`Server::transmit`] still gives, then close.
    pub fn receive<'a>(&mut self, message: &'a [u8]) -> Result<Event<'a>, Violation> {
        if self.link.over() {
            return Ok(Event::None);
        }
        let heard = match self.link.listen(message) {
            Ok(packet) => self.hear(&packet, message.len()),
            Err(Violation::Malformed(Malformed::Connect { stream, .. }))
                if matches!(self.stage, Stage::Ready) =>
            {
                self.turn_away(stream, Reason::Invalid)
            }
            Err(violation) => Err(violation),
        };
        heard.map_err(|violation| self.link.violated(violation))
    }

    fn hear<'a>(&mut self, packet: &Packet<'a>, length: usize) -> Result<Event<'a>, Violation> {
        if let Packet::Close { stream: 0, reason } = *packet {
            self.link.hang_up();
            return Ok(Event::Ended { reason });
        }
        match (&self.stage, packet) {
            (Stage::Start, Packet::Info(_)) if length > MAX_INFO => Err(Malformed::Long.into()),
            (Stage::Start, Packet::Info(info)) => self.informed(info),
            (_, Packet::Info(_) | Packet::Continue { .. }) => {
                Err(Violation::Unexpected(packet.kind()))
            }
            (Stage::Ready, &Packet::Connect { stream, kind, port, host }) => {
                self.connect(stream, kind, port, host)
            }
            (Stage::Ready, packet) => self.link.hear(packet).map(Event::from),
            _ => Err(Violation::Early(packet.kind())),
        }
    }

    /// The client's INFO: what holds is what both have.
    fn informed<'a>(&mut self, info: &Info<'a>) -> Result<Event<'a>, Violation> {
        if info.major != MAJOR {
            return Err(Violation::Version(info.major));
        }
        let window = info.flow().filter(|_| self.config.window_bytes > 0);
        self.client_window = window.unwrap_or(0);
        let terms = Terms {
            v2: true,
            udp: self.config.udp && info.plain(extension::UDP),
            confirm: info.plain(extension::CONFIRM),
            flow: window.is_some(),
            shutdown: info.plain(extension::SHUTDOWN),
            motd: self.config.motd.clone(),
        };
        // Nobody's password is looked at, not even for its shape, unless we asked for it.
        let credentials = match self.config.password {
            Some(_) => info.credentials()?,
            None => None,
        };
        if let Some((user, password)) = credentials {
            self.stage = Stage::Deciding(terms);
            return Ok(Event::Authenticate { user, password });
        }
        if self.config.password == Some(true) {
            let reason = Reason::AuthRequired;
            self.end(reason);
            return Ok(Event::Ended { reason });
        }
        self.ready(terms);
        Ok(Event::Ready)
    }

    /// Streams may come: says how much each may send at first.
    fn ready(&mut self, terms: Terms) {
        let packets = self.initial(&terms);
        self.link.terms = Some(terms);
        self.link.outbox.push(&Packet::Continue { stream: 0, packets });
        self.stage = Stage::Ready;
    }

    /// Packets that a new stream may send at once. The confirmation is a CONTINUE, so it
    /// *sets* the client's counter, and must be able to give something without knowing what
    /// is under way: half of the window is kept for it.
    const fn initial(&self, terms: &Terms) -> u32 {
        let window = self.config.window_packets;
        if terms.confirm { window / 2 } else { window }
    }

    fn connect<'a>(
        &mut self,
        stream: u32,
        kind: Kind,
        port: u16,
        host: &'a str,
    ) -> Result<Event<'a>, Violation> {
        let Some(terms) = &self.link.terms else { return Err(Violation::Early(kind::CONNECT)) };
        if self.link.streams() >= self.config.max_streams {
            return self.turn_away(stream, Reason::Throttled);
        }
        if kind == Kind::Udp && !terms.udp {
            let ours = if self.config.udp { Reason::Invalid } else { Reason::Blocked };
            return self.turn_away(stream, ours);
        }
        if self.link.used(stream) {
            return Err(Violation::Reused(stream));
        }
        let (outward, inward) = if terms.flow {
            (Outward::Bytes(self.client_window), Inward::bytes(self.config.window_bytes))
        } else {
            let packets = Inward::packets(self.config.window_packets, self.initial(terms));
            (Outward::Free, packets)
        };
        self.link.add(stream, kind, outward, Some(inward));
        Ok(Event::Connect { stream, kind, host, port })
    }

    /// Answers a CONNECT that comes to nothing.
    fn turn_away<'a>(&mut self, stream: u32, reason: Reason) -> Result<Event<'a>, Violation> {
        if self.link.used(stream) {
            return Err(Violation::Reused(stream));
        }
        self.link.retire(stream);
        self.link.outbox.push(&Packet::Close { stream, reason });
        Ok(Event::None)
    }

    /// The next binary message for the WebSocket.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        self.link.outbox.pop()
    }

    /// What was agreed on: from the start with version 1, else from [`Event::Ready`] or
    /// [`Server::admit`] on.
    #[must_use]
    pub const fn terms(&self) -> Option<&Terms> {
        self.link.terms.as_ref()
    }

    /// The client of [`Event::Authenticate`] may come in. Does nothing at any other time.
    pub fn admit(&mut self) {
        if let Stage::Deciding(terms) = &self.stage
            && !self.link.over()
        {
            self.ready(terms.clone());
        }
    }

    /// The client of [`Event::Authenticate`] may not come in: ends the connection.
    pub fn refuse(&mut self, reason: Reason) {
        self.end(reason);
    }

    /// The stream is connected; says so to the client where that was agreed on.
    pub fn opened(&mut self, stream: u32) {
        self.link.confirm(stream);
    }

    /// Bytes that [`Server::send`] would take now. 0 also while the outbox is full, which no
    /// event ends: ask again when [`Server::transmit`] has given what it had.
    #[must_use]
    pub fn room(&self, stream: u32) -> usize {
        self.link.room(stream)
    }

    /// Sends bytes of a TCP stream, up to [`Server::room`] of them; how many were taken.
    pub fn send(&mut self, stream: u32, bytes: &[u8]) -> usize {
        self.link.send(stream, bytes)
    }

    /// Sends one datagram of a UDP stream; `false` if it was dropped: no such stream, longer
    /// than [`crate::MAX_DATAGRAM`], or the outbox is full.
    pub fn send_datagram(&mut self, stream: u32, bytes: &[u8]) -> bool {
        self.link.send_datagram(stream, bytes)
    }

    /// Bytes of [`Event::Data`] of a TCP stream were passed on: gives credit back.
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

    /// Ends the connection, after what was sent: all its streams are gone.
    pub fn end(&mut self, reason: Reason) {
        self.link.end(reason);
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
    use crate::{MAX_DATA, OUTBOX};

    fn connect(stream: u32, port: u8) -> Vec<u8> {
        let [a, b, c, d] = stream.to_le_bytes();
        vec![1, a, b, c, d, 1, port, 0, b'a']
    }

    fn v1() -> Server {
        Server::new(Config { v2: false, ..Config::default() })
    }

    #[test]
    fn a_client_that_reads_no_answers_is_cut_off() {
        let mut server = v1();
        let mut asked = 0;
        let violation = loop {
            asked += 1;
            match server.receive(&connect(asked, 0)) {
                Ok(event) => assert_eq!(event, Event::None),
                Err(violation) => break violation,
            }
        };
        assert_eq!(violation, Violation::Flood);
        assert!(asked as usize <= 2 * OUTBOX / 64, "{asked} answers of 64 bytes and more");
        assert_eq!(server.transmit(), Some(vec![4, 0, 0, 0, 0, 0x49]));
        assert_eq!(server.transmit(), None);
        assert_eq!(server.receive(&connect(1, 80)), Ok(Event::None));
    }

    #[test]
    fn a_client_that_reads_them_may_ask_for_ever() {
        let mut server = v1();
        for asked in 1..100_000 {
            assert_eq!(server.receive(&connect(asked, 0)), Ok(Event::None));
            while server.transmit().is_some() {}
        }
        assert_eq!(server.link.streams(), 0);
    }

    #[test]
    fn a_slow_client_holds_back_only_what_was_taken() {
        let mut server = v1();
        server.receive(&connect(1, 80)).unwrap();
        let bytes = vec![7; 2 * OUTBOX];
        let taken = server.send(1, &bytes);
        assert!(taken > OUTBOX / 2 && taken < OUTBOX && taken.is_multiple_of(MAX_DATA));
        assert_eq!((server.room(1), server.send(1, &bytes)), (0, 0));
        server.close(1, Reason::Voluntary);
        server.end(Reason::Voluntary);
        let mut got = 0;
        while let Some(message) = server.transmit() {
            if let Ok(Packet::Data { bytes, .. }) = Packet::parse(&message) {
                got += bytes.len();
            }
        }
        assert_eq!(got, taken, "what was taken arrives before the end");
    }

    #[test]
    fn a_message_of_the_day_is_cut_between_characters() {
        let motd = Some("é".repeat(MAX_MOTD));
        let mut server = Server::new(Config { motd, ..Config::default() });
        let message = server.transmit().unwrap();
        let Ok(Packet::Info(info)) = Packet::parse(&message) else { panic!("INFO comes first") };
        assert_eq!(info.extension(extension::MOTD), Some("é".repeat(MAX_MOTD / 2).as_bytes()));
    }

    #[test]
    fn a_refused_client_hears_why() {
        let mut server = Server::new(Config { password: Some(true), ..Config::default() });
        server.transmit().unwrap();
        let info = [&[5, 0, 0, 0, 0, 2, 0][..], &[2, 2, 0, 0, 0, 0, b't']].concat();
        let asked = Event::Authenticate { user: "", password: "t" };
        assert_eq!(server.receive(&info), Ok(asked));
        server.refuse(Reason::BadPassword);
        server.admit();
        assert_eq!((server.transmit(), server.transmit()), (Some(vec![4, 0, 0, 0, 0, 0xc0]), None));
        assert_eq!(server.receive(&connect(1, 80)), Ok(Event::None));
    }
}
