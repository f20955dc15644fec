//! The relay's side: one WISP connection, and whose stream is whose.

use std::collections::BTreeMap;

use wisp::client::{Client, Config, Event, OpenError, Terms, Violation};
use wisp::{Credentials, Kind, Reason};

use crate::tuple::Tuple;

/// Bytes that the WebSocket may hold before it is given more. A browser buffers without
/// bound and tells only how much it has.
pub const SOCKET_BUFFER: usize = 1024 * 1024;

/// Bytes from the relay that wait for all guest sockets together, at most. Only a relay
/// without flow credit can come near.
const HELD_MAX: usize = 64 * 1024 * 1024;

#[derive(Default)]
pub(crate) struct Link {
    client: Option<Client>,
    /// Streams may be opened.
    ready: bool,
    ended: Option<Reason>,
    peers: BTreeMap<u32, (Kind, Tuple)>,
    /// Who has bytes to send and may not.
    starved: Vec<Tuple>,
    /// Bytes from the relay that wait for the guest.
    held: usize,
}

impl Link {
    pub(crate) fn connect(&mut self, v2: bool, credentials: Option<Credentials>) {
        *self = Self { client: Some(Client::new(Config { v2, credentials })), ..Self::default() };
    }

    /// Forgets the connection. All flows of the guest are to be ended by the caller.
    pub(crate) fn disconnect(&mut self) {
        *self = Self { ended: self.ended, ..Self::default() };
    }

    pub(crate) const fn ready(&self) -> bool {
        self.ready
    }

    pub(crate) const fn ended(&self) -> Option<Reason> {
        self.ended
    }

    pub(crate) fn terms(&self) -> Option<&Terms> {
        self.client.as_ref().and_then(Client::terms)
    }

    /// Takes a message; says whose stream the event is about.
    pub(crate) fn receive<'m>(
        &mut self,
        message: &'m [u8],
    ) -> Result<(Event<'m>, Option<(Kind, Tuple)>), Violation> {
        let Some(client) = &mut self.client else { return Ok((Event::None, None)) };
        let event = client.receive(message)?;
        let stream = match event {
            Event::None => None,
            Event::Ready => {
                self.ready = true;
                None
            }
            Event::Ended { reason } => {
                (self.ready, self.ended) = (false, Some(reason));
                None
            }
            Event::Opened { stream }
            | Event::Data { stream, .. }
            | Event::Writable { stream }
            | Event::Finished { stream }
            | Event::Closed { stream, .. } => Some(stream),
        };
        let peer = stream.and_then(|stream| self.peers.get(&stream).copied());
        if let Event::Closed { stream, .. } = event {
            self.peers.remove(&stream);
        }
        Ok((event, peer))
    }

    pub(crate) fn transmit(&mut self, buffered: usize) -> Option<Vec<u8>> {
        if buffered > SOCKET_BUFFER {
            return None;
        }
        self.client.as_mut()?.transmit()
    }

    pub(crate) fn open(
        &mut self,
        kind: Kind,
        host: &str,
        port: u16,
        tuple: Tuple,
    ) -> Result<u32, OpenError> {
        let client = self.client.as_mut().filter(|_| self.ready).ok_or(OpenError::NotReady)?;
        let stream = client.open(kind, host, port)?;
        self.peers.insert(stream, (kind, tuple));
        Ok(stream)
    }

    pub(crate) fn room(&self, stream: u32) -> usize {
        self.client.as_ref().map_or(0, |client| client.room(stream))
    }

    pub(crate) fn send(&mut self, stream: u32, bytes: &[u8]) -> usize {
        self.client.as_mut().map_or(0, |client| client.send(stream, bytes))
    }

    pub(crate) fn send_datagram(&mut self, stream: u32, bytes: &[u8]) -> bool {
        self.client.as_mut().is_some_and(|client| client.send_datagram(stream, bytes))
    }

    /// Remembers who wants to send when there is room again.
    pub(crate) fn starve(&mut self, tuple: Tuple) {
        if !self.starved.contains(&tuple) {
            self.starved.push(tuple);
        }
    }

    /// Those who wanted to send; to be asked after messages have gone.
    pub(crate) fn starved(&mut self) -> Vec<Tuple> {
        std::mem::take(&mut self.starved)
    }

    /// Bytes came that the guest does not take yet; `false` if that is too much.
    #[must_use]
    pub(crate) const fn hold(&mut self, bytes: usize) -> bool {
        if self.held + bytes > HELD_MAX {
            return false;
        }
        self.held += bytes;
        true
    }

    /// Bytes that were held are not any more.
    pub(crate) const fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }

    pub(crate) fn consumed(&mut self, stream: u32, bytes: usize) {
        if let Some(client) = &mut self.client {
            client.consumed(stream, bytes);
        }
    }

    /// Half-closes; `false` if the relay has no such thing.
    pub(crate) fn shutdown(&mut self, stream: u32) -> bool {
        self.client.as_mut().is_some_and(|client| client.shutdown(stream))
    }

    pub(crate) fn close(&mut self, stream: u32, reason: Reason) {
        self.peers.remove(&stream);
        if let Some(client) = &mut self.client {
            client.close(stream, reason);
        }
    }
}
