//! The streams of one connection: dialling, open, and those that a client has left with
//! bytes still to deliver.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::SystemTime;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use wisp::server::Server;
use wisp::{Kind, Reason};

use super::Peer;
use crate::audit::{Line, timestamp};
use crate::dial::{Failure, Socket, Target};
use crate::policy::address::Class;
use crate::stream::{Stream, Turn};

/// Bytes of all streams of a connection that wait for the other sides. One stream's own
/// share is its credit.
const HELD_MAX: usize = 16 * 1024 * 1024;

/// Streams that a client may have left with bytes to deliver; the oldest gives way.
const LEAVING_MAX: usize = 32;

type Dial = Result<(Socket, Class), Failure>;

pub(super) struct Streams {
    open: BTreeMap<u32, Entry>,
    leaving: Vec<Entry>,
    dials: JoinSet<(u32, Dial)>,
    held: usize,
    /// The stream that was served last: the next turn begins behind it.
    last: u32,
}

struct Entry {
    id: u32,
    target: Target,
    since: Instant,
    class: Option<Class>,
    stream: Stream,
    /// Why the client left, and until when its bytes are delivered.
    left: Option<(Reason, Instant)>,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self { open: BTreeMap::new(), leaving: Vec::new(), dials: JoinSet::new(), held: 0, last: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.leaving.is_empty()
    }

    /// Starts a dial.
    pub(super) fn connect(&mut self, peer: &Peer, id: u32, target: Target) {
        let (dialler, wanted) = (peer.shared.dialler.clone(), target.clone());
        let scope = peer.grant.as_ref().map(|grant| grant.scope.clone()).unwrap_or_default();
        let dial = async move { (id, dialler.dial(&scope, &wanted).await) };
        let dial = self.dials.spawn(dial);
        peer.shared.metrics.streams_open.fetch_add(1, Relaxed);
        self.open.insert(id, Entry::new(id, target, Some(dial)));
    }

    /// Accounts for a CONNECT that is over a limit.
    pub(super) fn throttle(&mut self, peer: &Peer, id: u32, target: Target) {
        peer.shared.metrics.streams_open.fetch_add(1, Relaxed);
        let entry = Entry::new(id, target, None);
        let failure = Failure::Failed(Reason::Throttled);
        self.end(peer, entry, Reason::Throttled, Some(failure));
    }

    /// Dials under way.
    pub(super) fn dialling(&self) -> usize {
        self.dials.len()
    }

    /// Bytes from the client.
    pub(super) fn data(&mut self, peer: &Peer, server: &mut Server, id: u32, bytes: &[u8]) {
        let Some(entry) = self.open.get_mut(&id) else { return };
        let before = entry.stream.held();
        entry.stream.push(entry.target.kind, bytes);
        self.held += entry.stream.held() - before;
        if self.held > HELD_MAX {
            server.close(id, Reason::Throttled);
            self.remove(peer, id, Reason::Throttled);
        }
    }

    /// The client sends no more on a stream.
    pub(super) fn finish(&mut self, peer: &Peer, id: u32) {
        if self.open.get_mut(&id).is_some_and(|entry| entry.stream.finish()) {
            self.leave(peer, id, Reason::Voluntary);
        }
    }

    /// The client has closed a stream: what it sent before is still delivered.
    pub(super) fn leave(&mut self, peer: &Peer, id: u32, reason: Reason) {
        let Some(mut entry) = self.open.remove(&id) else { return };
        if reason != Reason::Voluntary || !entry.stream.has_more() {
            return self.end(peer, entry, reason, None);
        }
        entry.left = Some((reason, Instant::now() + peer.shared.dialler.timeouts.linger));
        self.leaving.push(entry);
        if self.leaving.len() > LEAVING_MAX {
            let oldest = self.leaving.remove(0);
            self.end(peer, oldest, Reason::Throttled, None);
        }
    }

    fn remove(&mut self, peer: &Peer, id: u32, reason: Reason) {
        if let Some(entry) = self.open.remove(&id) {
            self.end(peer, entry, reason, None);
        }
    }

    /// Moves what can be moved; whether anything did.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer,
        server: &mut Server,
        may_read: bool,
    ) -> bool {
        let mut moved = self.poll_dials(cx, peer, server);
        moved |= self.poll_leaving(cx, peer);
        let mut over = Vec::new();
        let (before, after) = (..=self.last, self.last.saturating_add(1)..);
        // Two borrows of one map, one after the other: first those behind the last served.
        let mut turn = |entry: &mut Entry, held: &mut usize, last: &mut u32| {
            let waited = entry.stream.held();
            let turn = entry.stream.poll(cx, entry.id, server, may_read);
            *held -= waited - entry.stream.held();
            match turn {
                Turn::Idle => {}
                Turn::Moved => (moved, *last) = (true, entry.id),
                Turn::Over(reason) => over.push((entry.id, reason)),
            }
        };
        for (_, entry) in self.open.range_mut(after) {
            turn(entry, &mut self.held, &mut self.last);
        }
        for (_, entry) in self.open.range_mut(before) {
            turn(entry, &mut self.held, &mut self.last);
        }
        for (id, reason) in &over {
            server.close(*id, *reason);
            self.leave(peer, *id, *reason);
        }
        moved || !over.is_empty()
    }

    fn poll_dials(&mut self, cx: &mut Context<'_>, peer: &Peer, server: &mut Server) -> bool {
        let mut moved = false;
        while let Poll::Ready(Some(dialled)) = self.dials.poll_join_next(cx) {
            moved = true;
            // A dial that was aborted has no stream any more.
            if let Ok((id, dial)) = dialled {
                self.dialled(peer, server, id, dial);
            }
        }
        moved
    }

    fn dialled(&mut self, peer: &Peer, server: &mut Server, id: u32, dial: Dial) {
        let Some(entry) = self.open.get_mut(&id) else { return };
        match dial {
            Ok((socket, class)) => {
                peer.shared.metrics.streams.fetch_add(1, Relaxed);
                entry.class = Some(class);
                entry.stream.open(socket);
                server.opened(id);
            }
            Err(failure) => {
                server.close(id, failure.reason());
                if let Some(entry) = self.open.remove(&id) {
                    self.end(peer, entry, failure.reason(), Some(failure));
                }
            }
        }
    }

    fn poll_leaving(&mut self, cx: &mut Context<'_>, peer: &Peer) -> bool {
        let mut moved = false;
        for at in (0..self.leaving.len()).rev() {
            let stream = &mut self.leaving[at].stream;
            let before = stream.held();
            let turn = stream.poll_leaving(cx);
            self.held -= before - stream.held();
            moved |= turn != Turn::Idle;
            if let Turn::Over(reason) = turn {
                let entry = self.leaving.remove(at);
                self.end(peer, entry, reason, None);
            }
        }
        moved
    }

    /// Ends what has stood still for too long.
    pub(super) fn tick(&mut self, peer: &Peer, server: &mut Server, now: Instant) {
        let timeouts = &peer.shared.dialler.timeouts;
        let mut idle = Vec::new();
        for (id, entry) in &mut self.open {
            entry.stream.shrink();
            if entry.stream.is_idle(now, timeouts) {
                idle.push(*id);
            }
        }
        for id in idle {
            server.close(id, Reason::DataTimeout);
            self.remove(peer, id, Reason::DataTimeout);
        }
        let late = |entry: &Entry| entry.left.is_some_and(|(_, until)| until <= now);
        while let Some(at) = self.leaving.iter().position(late) {
            let entry = self.leaving.remove(at);
            self.end(peer, entry, Reason::DataTimeout, None);
        }
    }

    /// The connection is over, and all streams with it.
    pub(super) fn end_all(&mut self, peer: &Peer, reason: Reason) {
        for (_, entry) in std::mem::take(&mut self.open) {
            self.end(peer, entry, reason, None);
        }
        for entry in std::mem::take(&mut self.leaving) {
            self.end(peer, entry, reason, None);
        }
    }

    /// Accounts for a stream that is over.
    fn end(&mut self, peer: &Peer, entry: Entry, reason: Reason, failure: Option<Failure>) {
        self.held -= entry.stream.held();
        let metrics = &peer.shared.metrics;
        metrics.streams_open.fetch_sub(1, Relaxed);
        metrics.up.fetch_add(entry.stream.up_bytes, Relaxed);
        metrics.down.fetch_add(entry.stream.down_bytes, Relaxed);
        match failure {
            Some(Failure::Denied(denied)) => metrics.denied(denied),
            Some(Failure::Failed(reason)) => metrics.refused(reason),
            None => {}
        }
        peer.shared.audit.write(entry.line(peer, reason, failure));
    }
}

impl Entry {
    fn new(id: u32, target: Target, dial: Option<AbortHandle>) -> Self {
        let since = Instant::now();
        Self { id, target, since, class: None, stream: Stream::new(dial, since), left: None }
    }

    fn line(&self, peer: &Peer, reason: Reason, failure: Option<Failure>) -> Line {
        let denied = match failure {
            Some(Failure::Denied(denied)) => Some(denied),
            _ => None,
        };
        let throttled = failure == Some(Failure::Failed(Reason::Throttled));
        let class = self.class.or_else(|| denied?.class());
        Line {
            time: timestamp(SystemTime::now()),
            connection: peer.connection,
            stream: self.id,
            from: peer.address.to_string(),
            client: peer.grant.as_ref().map(|grant| grant.client.clone()),
            token: peer.grant.as_ref().map(|grant| grant.hash.clone()),
            kind: match self.target.kind {
                Kind::Tcp => "tcp",
                Kind::Udp => "udp",
            },
            host: self.target.host.clone(),
            port: self.target.port,
            class: class.map(Class::word),
            decision: if denied.is_some() || throttled { "deny" } else { "allow" },
            rule: denied.map(|denied| denied.rule()).or(throttled.then_some("limit")),
            reason: self.left.map_or(reason, |(left, _)| left).to_string(),
            up: self.stream.up_bytes,
            down: self.stream.down_bytes,
            ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}
