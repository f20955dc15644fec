//! A relay: `wisp`'s server, and hosts that do what the test says.

use std::collections::{BTreeMap, VecDeque};

use wisp::server::{Config, Event, Server};
use wisp::{Kind, Reason};

/// What happens to a CONNECT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Connect,
    Close(Reason),
    Nothing,
}

pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) kind: Kind,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// All that came from the guest.
    pub(crate) heard: Vec<u8>,
    pub(crate) datagrams: Vec<Vec<u8>>,
    /// The guest's end said FIN.
    pub(crate) finished: bool,
    pub(crate) closed: Option<Reason>,
    /// Heard, and not said to be passed on.
    unread: usize,
    to_say: VecDeque<u8>,
    finish: bool,
}

pub(crate) struct Relay {
    pub(crate) server: Server,
    pub(crate) answer: Answer,
    /// The hosts read nothing.
    pub(crate) stalled: bool,
    pub(crate) streams: Vec<Stream>,
    by_id: BTreeMap<u32, usize>,
}

impl Relay {
    pub(crate) fn new(config: Config) -> Self {
        let server = Server::new(config);
        let (streams, by_id) = (Vec::new(), BTreeMap::new());
        Self { server, answer: Answer::Connect, stalled: false, streams, by_id }
    }

    pub(crate) fn receive(&mut self, message: &[u8]) {
        match self.server.receive(message).expect("the gateway speaks WISP") {
            Event::Connect { stream, kind, host, port } => {
                self.by_id.insert(stream, self.streams.len());
                self.streams.push(Stream {
                    id: stream,
                    kind,
                    host: host.to_owned(),
                    port,
                    heard: Vec::new(),
                    datagrams: Vec::new(),
                    finished: false,
                    closed: None,
                    unread: 0,
                    to_say: VecDeque::new(),
                    finish: false,
                });
                match self.answer {
                    Answer::Connect => self.server.opened(stream),
                    Answer::Close(reason) => self.server.close(stream, reason),
                    Answer::Nothing => {}
                }
            }
            Event::Data { stream, bytes } => {
                let known = &mut self.streams[self.by_id[&stream]];
                if known.kind == Kind::Udp {
                    known.datagrams.push(bytes.to_vec());
                } else {
                    known.heard.extend_from_slice(bytes);
                    known.unread += bytes.len();
                }
            }
            Event::Finished { stream } => self.streams[self.by_id[&stream]].finished = true,
            Event::Closed { stream, reason } => {
                self.streams[self.by_id[&stream]].closed = Some(reason);
            }
            _ => {}
        }
    }

    /// Lets the hosts read and talk.
    pub(crate) fn work(&mut self) {
        for stream in &mut self.streams {
            if stream.closed.is_some() {
                continue;
            }
            if !self.stalled && stream.unread > 0 {
                self.server.consumed(stream.id, std::mem::take(&mut stream.unread));
            }
            let said = self.server.send(stream.id, stream.to_say.make_contiguous());
            stream.to_say.drain(..said);
            if stream.finish && stream.to_say.is_empty() {
                stream.finish = !self.server.shutdown(stream.id);
            }
        }
    }

    pub(crate) fn say(&mut self, at: usize, bytes: &[u8]) {
        self.streams[at].to_say.extend(bytes);
    }

    /// Half-closes, once all is said.
    pub(crate) fn finish(&mut self, at: usize) {
        self.streams[at].finish = true;
    }

    pub(crate) fn close(&mut self, at: usize, reason: Reason) {
        self.streams[at].closed = Some(reason);
        self.server.close(self.streams[at].id, reason);
    }

    pub(crate) fn waiting(&self, at: usize) -> usize {
        self.streams[at].to_say.len()
    }
}
