//! What people see: flows, refusals, totals.

use std::collections::VecDeque;

use emulator_protocol::{Blocked, Flow, FlowState, MAX_BLOCKED, MAX_FLOWS, Transport};

use crate::Instant;
use crate::policy::Host;

/// Flows that are over and still shown: enough to see what a `curl` did a moment ago.
const REMEMBERED: usize = 64;

/// The state of the guest's network, but for the WebSocket, which is not the gateway's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The guest's address, once it has asked for one.
    pub lease: Option<String>,
    /// The newest flows, open and over, at most [`MAX_FLOWS`]; the newest first.
    pub flows: Vec<Flow>,
    /// What was not let through, at most [`MAX_BLOCKED`]; the newest first.
    pub blocked: Vec<Blocked>,
    /// Payload bytes from the guest, over all flows ever.
    pub sent: u64,
    /// Payload bytes to the guest, over all flows ever.
    pub received: u64,
    /// Bytes of the recording; `None` if none is made.
    pub captured: Option<u64>,
}

/// One flow's line.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: u32,
    pub(crate) transport: Transport,
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) state: FlowState,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) since: Instant,
    pub(crate) why: Option<String>,
}

impl Record {
    /// A line that is not in the report yet.
    pub(crate) const fn blank(transport: Transport, host: Host, port: u16, since: Instant) -> Self {
        let (state, why) = (FlowState::Opening, None);
        Self { id: 0, transport, host, port, state, sent: 0, received: 0, since, why }
    }

    fn flow(&self, now: Instant) -> Flow {
        let age = now.saturating_sub(self.since).as_millis();
        Flow {
            id: self.id,
            transport: self.transport,
            host: self.host.to_string(),
            port: self.port,
            state: self.state,
            sent: self.sent,
            received: self.received,
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
            why: self.why.clone(),
        }
    }
}

/// What is kept for the report.
#[derive(Default)]
pub(crate) struct Ledger {
    next: u32,
    over: VecDeque<Record>,
    blocked: VecDeque<Blocked>,
    sent: u64,
    received: u64,
    revision: u64,
}

impl Ledger {
    pub(crate) fn open(
        &mut self,
        transport: Transport,
        host: Host,
        port: u16,
        since: Instant,
    ) -> Record {
        self.changed();
        self.next = self.next.wrapping_add(1);
        Record { id: self.next, ..Record::blank(transport, host, port, since) }
    }

    pub(crate) fn close(&mut self, mut record: Record) {
        self.changed();
        record.state = FlowState::Closed;
        self.over.push_front(record);
        self.over.truncate(REMEMBERED);
    }

    pub(crate) fn sent(&mut self, record: &mut Record, bytes: usize) {
        self.changed();
        record.sent += bytes as u64;
        self.sent += bytes as u64;
    }

    pub(crate) fn received(&mut self, record: &mut Record, bytes: usize) {
        self.changed();
        record.received += bytes as u64;
        self.received += bytes as u64;
    }

    pub(crate) fn blocked(&mut self, transport: Transport, host: &Host, port: u16, why: String) {
        self.changed();
        let host = host.to_string();
        let same = |b: &Blocked| b.host == host && b.port == port && b.transport == transport;
        let earlier = self.blocked.iter().position(same).and_then(|at| self.blocked.remove(at));
        let count = earlier.map_or(0, |earlier| earlier.count).saturating_add(1);
        self.blocked.push_front(Blocked { host, port, transport, why, count });
        self.blocked.truncate(MAX_BLOCKED);
    }

    pub(crate) const fn changed(&mut self) {
        self.revision += 1;
    }

    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    /// The last id that was given.
    pub(crate) const fn last(&self) -> u32 {
        self.next
    }

    pub(crate) const fn set_last(&mut self, last: u32) {
        self.next = last;
    }

    pub(crate) fn report<'r>(
        &'r self,
        live: impl Iterator<Item = &'r Record>,
        now: Instant,
    ) -> Report {
        let mut flows: Vec<Flow> = live.chain(&self.over).map(|record| record.flow(now)).collect();
        flows.sort_by_key(|flow| std::cmp::Reverse(flow.id));
        flows.truncate(MAX_FLOWS);
        Report {
            lease: None,
            flows,
            blocked: self.blocked.iter().cloned().collect(),
            sent: self.sent,
            received: self.received,
            captured: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_bounded_and_the_newest_first() {
        let mut ledger = Ledger::default();
        let host = |n: usize| Host::Name(format!("h{n}.example.org"));
        for n in 0..1000 {
            let record = ledger.open(Transport::Tcp, host(n), 443, Instant::ZERO);
            ledger.close(record);
            ledger.blocked(Transport::Udp, &host(n), 443, "rule".into());
        }
        let live: Vec<Record> = (0..500)
            .map(|n| ledger.open(Transport::Tcp, host(n), 80, Instant::from_secs(1)))
            .collect();
        let report = ledger.report(live.iter(), Instant::from_secs(3));
        assert_eq!((report.flows.len(), report.flows[0].id), (MAX_FLOWS, 1500));
        assert_eq!(report.flows[0].age_ms, 2000);
        assert_eq!(report.blocked.len(), MAX_BLOCKED);
        assert_eq!(report.blocked[0].host, "h999.example.org");
        assert_eq!(ledger.over.len(), REMEMBERED);
    }

    #[test]
    fn the_same_refusal_is_counted() {
        let mut ledger = Ledger::default();
        let host = Host::Name("example.org".into());
        let other = Host::Name("example.com".into());
        ledger.blocked(Transport::Tcp, &host, 25, "first".into());
        ledger.blocked(Transport::Tcp, &other, 25, "other".into());
        let before = ledger.revision();
        ledger.blocked(Transport::Tcp, &host, 25, "second".into());
        assert!(ledger.revision() > before);
        let blocked = ledger.report([].into_iter(), Instant::ZERO).blocked;
        assert_eq!(blocked.len(), 2);
        assert_eq!((blocked[0].count, blocked[0].why.as_str()), (2, "second"));
    }
}
