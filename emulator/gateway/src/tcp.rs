//! TCP: the table of flows, and what becomes of a SYN.
//!
//! Each flow has a smoltcp socket in a set of its own. smoltcp looks through all sockets of
//! the set that it is given, for each packet; here it is given the right one, found by the
//! packet's four numbers, or an empty set, to which it answers with RST. So what a packet
//! costs does not depend on how many flows there are.
//!
//! Nothing is sent at once: a flow that something happened to is *due*, and does all of its
//! work when somebody asks for frames or messages ([`Flows::pump`]). So a burst of frames
//! from the guest makes one acknowledgement and one message.

mod flow;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;

use emulator_protocol::Transport;
use smoltcp::iface::SocketSet;
use smoltcp::wire::{Ipv4Packet, Ipv4Repr, TcpPacket};
use wisp::client::OpenError;
use wisp::{Kind, Reason};

use crate::Instant;
use crate::base::{Base, Destination, stamp};
use crate::dns;
use crate::icmp::{self, Quote, Unreachable};
use crate::tuple::Tuple;
use crate::wire::Port;
use flow::{Flow, Step};

/// Connections of the guest at once, at most: more than a browser opens, and 64 MiB of
/// buffers. One more is refused.
pub const MAX_FLOWS: usize = 256;

/// Ports that are refused whatever the policy says, and why.
const REFUSED: [(u16, &str); 4] = [
    (137, "names of NetBIOS are not resolved"),
    (853, "names are resolved by the gateway only"),
    (5353, "there are no neighbours for mDNS"),
    (5355, "there are no neighbours for LLMNR"),
];

#[derive(Default)]
pub(crate) struct Flows {
    by_tuple: BTreeMap<Tuple, Flow>,
    due: VecDeque<Tuple>,
}

/// What becomes of a SYN that is not let through.
enum Refusal {
    /// RST: there is nobody at that port.
    Reset,
    /// The guest is told why, and gets a RST as well in case it does not listen.
    Told(Unreachable),
    /// Nothing: the guest tries again in a second.
    Silence,
}

/// What a SYN leads to.
enum Way {
    /// The gateway's own name server.
    Names,
    /// A stream of the relay.
    Stream(u32),
}

impl Flows {
    /// A TCP segment from the guest. Whose it is, if the guest thereby says that it knows no
    /// older connection of these numbers.
    pub(crate) fn receive(
        &mut self,
        base: &mut Base,
        packet: &Ipv4Packet<&[u8]>,
        header: Ipv4Repr,
    ) -> Option<Tuple> {
        let tcp = TcpPacket::new_checked(packet.payload()).ok()?;
        if base.config.broadcast(header.dst_addr) || header.dst_addr.is_multicast() {
            return None;
        }
        let tuple = Tuple {
            guest: SocketAddrV4::new(header.src_addr, tcp.src_port()),
            host: SocketAddrV4::new(header.dst_addr, tcp.dst_port()),
        };
        let bytes = packet.as_ref();
        let syn = tcp.syn() && !tcp.ack() && !tcp.rst();
        let again = self.by_tuple.get(&tuple).map(|flow| flow.began_with(tcp.seq_number()));
        if syn && again != Some(true) {
            // A guest that begins anew has forgotten the old connection, and so do we.
            self.drop(base, tuple, "the guest began anew");
            self.begin(base, tuple, bytes, header);
            return Some(tuple);
        }
        match self.by_tuple.get_mut(&tuple) {
            Some(flow) => {
                feed(base, bytes, &mut flow.sockets);
                self.make_due(tuple);
            }
            None => feed(base, bytes, &mut SocketSet::new(Vec::new())),
        }
        tcp.rst().then_some(tuple)
    }

    /// A SYN.
    fn begin(&mut self, base: &mut Base, tuple: Tuple, bytes: &[u8], header: Ipv4Repr) {
        let packet = Ipv4Packet::new_unchecked(bytes);
        let quote = Quote::new(header, packet.payload());
        let Some(mut flow) = Flow::listen(base, tuple, &quote, bytes) else { return };
        match self.way(base, &mut flow) {
            Ok(Way::Names) => flow.serve_names(),
            Ok(Way::Stream(stream)) => flow.ask(base, stream),
            Err(Refusal::Silence) => return,
            Err(refusal) => {
                if let Refusal::Told(why) = refusal {
                    icmp::unreachable(&mut base.wire, base.config.gateway, why, &quote);
                }
                return feed(base, bytes, &mut SocketSet::new(Vec::new()));
            }
        }
        self.by_tuple.insert(tuple, flow);
        self.make_due(tuple);
    }

    /// Where a new flow may go.
    fn way(&mut self, base: &mut Base, flow: &mut Flow) -> Result<Way, Refusal> {
        let (address, port) = (*flow.tuple.host.ip(), flow.tuple.host.port());
        if port == dns::PORT {
            self.make_place(base).ok_or(Refusal::Reset)?;
            flow.name(base, crate::policy::Host::Address(address));
            return Ok(Way::Names);
        }
        let host = match base.destination(address) {
            Destination::Host(host) => host,
            Destination::Nobody => return Err(Refusal::Reset),
            Destination::Neighbour if base.config.ours(address) => return Err(Refusal::Reset),
            Destination::Neighbour => return Err(Refusal::Told(Unreachable::HostUnreachable)),
        };
        let refused = REFUSED.iter().find(|(refused, _)| *refused == port);
        if let Some((_, why)) = refused {
            base.ledger.blocked(Transport::Tcp, &host, port, (*why).to_owned());
            return Err(Refusal::Reset);
        }
        if let Err(why) = base.rules.judge(&host, port) {
            base.ledger.blocked(Transport::Tcp, &host, port, why);
            return Err(Refusal::Told(Unreachable::CommProhibited));
        }
        if !base.link.ready() {
            return Err(Refusal::Told(Unreachable::NetUnreachable));
        }
        if self.make_place(base).is_none() {
            let why = format!("more than {MAX_FLOWS} connections at once");
            base.ledger.blocked(Transport::Tcp, &host, port, why);
            return Err(Refusal::Reset);
        }
        let stream = match base.link.open(Kind::Tcp, &host.to_string(), port, flow.tuple) {
            Ok(stream) => stream,
            Err(OpenError::Busy) => return Err(Refusal::Silence),
            Err(why) => {
                base.ledger.blocked(Transport::Tcp, &host, port, why.to_string());
                return Err(Refusal::Reset);
            }
        };
        flow.name(base, host);
        Ok(Way::Stream(stream))
    }

    /// Makes sure that there is place for one more; flows that only wait for stray segments
    /// give theirs up.
    fn make_place(&mut self, base: &mut Base) -> Option<()> {
        if self.by_tuple.len() >= MAX_FLOWS {
            let waiting = self.by_tuple.values().find(|flow| flow.lingers())?.tuple;
            self.drop(base, waiting, "closed");
        }
        Some(())
    }

    /// Ends a flow without a word to the guest.
    fn drop(&mut self, base: &mut Base, tuple: Tuple, why: &str) {
        if let Some(flow) = self.by_tuple.remove(&tuple) {
            flow.end(base, why);
        }
    }

    /// Bytes from the relay.
    pub(crate) fn data(&mut self, base: &mut Base, tuple: Tuple, bytes: &[u8]) {
        self.with(base, tuple, |flow, base| flow.data(base, bytes));
    }

    /// The relay has connected the stream.
    pub(crate) fn opened(&mut self, base: &mut Base, tuple: Tuple) {
        self.with(base, tuple, Flow::accept);
    }

    /// The relay sends no more.
    pub(crate) fn finished(&mut self, base: &mut Base, tuple: Tuple) {
        self.with(base, tuple, Flow::finished);
    }

    /// The relay closed the stream.
    pub(crate) fn closed(&mut self, base: &mut Base, tuple: Tuple, reason: Reason) {
        self.with(base, tuple, |flow, base| flow.closed(base, reason));
    }

    fn with(&mut self, base: &mut Base, tuple: Tuple, act: impl FnOnce(&mut Flow, &mut Base)) {
        if let Some(flow) = self.by_tuple.get_mut(&tuple) {
            act(flow, base);
            self.make_due(tuple);
        }
    }

    /// Lets a flow do what there is to do.
    pub(crate) fn make_due(&mut self, tuple: Tuple) {
        if let Some(flow) = self.by_tuple.get_mut(&tuple)
            && !std::mem::replace(&mut flow.due, true)
        {
            self.due.push_back(tuple);
        }
    }

    pub(crate) fn idle(&self) -> bool {
        self.due.is_empty()
    }

    /// Lets all flows that are due do their work, taking turns, until nothing is left to do
    /// or the guest can take no more.
    pub(crate) fn pump(&mut self, base: &mut Base) {
        let mut blocked = VecDeque::new();
        while let Some(tuple) = self.due.pop_front() {
            let Some(flow) = self.by_tuple.get_mut(&tuple) else { continue };
            match flow.work(base) {
                Step::Wait(deadline) => (flow.due, flow.deadline) = (false, deadline),
                Step::Again => self.due.push_back(tuple),
                Step::Blocked => blocked.push_back(tuple),
                Step::Over => self.drop(base, tuple, "closed"),
            }
        }
        self.due = blocked;
    }

    /// Makes those due whose time has come; when the next one's does.
    pub(crate) fn poll(&mut self, base: &mut Base) -> Option<Instant> {
        let ready = |flow: &Flow| !flow.due && flow.deadline.is_some_and(|at| at <= base.now);
        let ready: Vec<Tuple> =
            self.by_tuple.values().filter(|flow| ready(flow)).map(|flow| flow.tuple).collect();
        for tuple in ready {
            self.make_due(tuple);
        }
        self.pump(base);
        self.by_tuple.values().filter(|flow| !flow.due).filter_map(|flow| flow.deadline).min()
    }

    /// Resets what the policy does not allow any more.
    pub(crate) fn enforce(&mut self, base: &mut Base) {
        let tuples: Vec<Tuple> = self.by_tuple.keys().copied().collect();
        for tuple in tuples {
            self.with(base, tuple, Flow::enforce);
        }
    }

    /// The relay is gone: all flows through it are reset.
    pub(crate) fn lost(&mut self, base: &mut Base, why: &str) {
        let tuples: Vec<Tuple> = self.by_tuple.keys().copied().collect();
        for tuple in tuples {
            self.with(base, tuple, |flow, base| flow.lost(base, why));
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &crate::report::Record> {
        self.by_tuple.values().map(|flow| &flow.record)
    }

    /// The flows that the guest knows of.
    pub(crate) fn tuples(&self) -> impl Iterator<Item = Tuple> {
        self.by_tuple.keys().copied()
    }
}

/// Hands a packet to smoltcp, which may answer at once.
fn feed(base: &mut Base, packet: &[u8], sockets: &mut SocketSet<'_>) {
    let mut port = Port { wire: &mut base.wire, packet: Some(packet) };
    base.stack.poll_ingress_single(stamp(base.now), &mut port, sockets);
}
