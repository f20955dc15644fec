//! Connections that a restored guest believes in, and nobody else does.
//!
//! The guest's end of such a connection would hang until its keep-alive, hours later. So the
//! guest is sent an acknowledgement that makes no sense. It answers with the numbers that it
//! thinks right (RFC 9293, 3.10.7.4); no socket knows them, so smoltcp answers with a RST
//! that carries just those numbers, and the guest's program sees its connection reset.
//!
//! ```text
//!  gateway                      guest
//!     ── ACK, numbers at random ─▶
//!     ◀── ACK n, "I expect m" ────
//!     ── RST m ──────────────────▶  ECONNRESET
//! ```

use std::time::Duration;

use smoltcp::wire::{IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use crate::Instant;
use crate::base::Base;
use crate::random::Random;
use crate::tuple::Tuple;

/// How often a connection is asked for. The numbers may by chance be right, a frame may be
/// lost, and a guest answers such segments once or twice a second only (RFC 5961, 7).
const TRIES: u32 = 8;

/// Time between two tries.
const PAUSE: Duration = Duration::from_secs(1);

struct Revenant {
    tuple: Tuple,
    tries: u32,
    at: Instant,
}

#[derive(Default)]
pub(crate) struct Revenants(Vec<Revenant>);

impl Revenants {
    pub(crate) fn new(tuples: Vec<Tuple>, now: Instant) -> Self {
        Self(tuples.into_iter().map(|tuple| Revenant { tuple, tries: 0, at: now }).collect())
    }

    /// The guest has no such connection any more, or a new one.
    pub(crate) fn rest(&mut self, tuple: Tuple) {
        if !self.0.is_empty() {
            self.0.retain(|revenant| revenant.tuple != tuple);
        }
    }

    /// Asks whose turn it is; when the next one's is.
    pub(crate) fn poll(&mut self, base: &mut Base, random: &mut Random) -> Option<Instant> {
        let now = base.now;
        for revenant in self.0.iter_mut().filter(|revenant| revenant.at <= now) {
            revenant.at = now + PAUSE;
            if base.wire.room() > 0 {
                // Some look at what is acknowledged first, and are silent if that is old. Of
                // two numbers at opposite ends of the circle, one is not.
                let numbers = random.next();
                probe(base, revenant.tuple, numbers);
                probe(base, revenant.tuple, numbers ^ 1 << 31);
                revenant.tries += 1;
            }
        }
        self.0.retain(|revenant| revenant.tries < TRIES);
        self.0.iter().map(|revenant| revenant.at).min()
    }

    pub(crate) fn tuples(&self) -> impl Iterator<Item = Tuple> {
        self.0.iter().map(|revenant| revenant.tuple)
    }
}

fn probe(base: &mut Base, tuple: Tuple, numbers: u64) {
    let segment = TcpRepr {
        src_port: tuple.host.port(),
        dst_port: tuple.guest.port(),
        control: TcpControl::None,
        seq_number: TcpSeqNumber((numbers >> 32) as i32),
        ack_number: Some(TcpSeqNumber(numbers as i32)),
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ends = (*tuple.host.ip(), *tuple.guest.ip());
    base.wire.packet(None, ends, IpProtocol::Tcp, segment.buffer_len(), |bytes, capabilities| {
        let (from, to) = (ends.0.into(), ends.1.into());
        segment.emit(&mut TcpPacket::new_unchecked(bytes), &from, &to, capabilities);
    });
}
