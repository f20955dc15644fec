//! The two ends of a flow.

use std::net::SocketAddrV4;

/// A flow's name on the guest's network: what the guest calls its own end and the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Tuple {
    pub(crate) guest: SocketAddrV4,
    pub(crate) host: SocketAddrV4,
}
