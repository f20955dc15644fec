//! The gateway between a guest that is a second smoltcp, and a relay that is the server
//! machine of `wisp`, in one process, over a cable that can lose, repeat and reorder frames.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "tests")]

mod cable;
mod dhcp;
mod dns;
mod flows;
mod guest;
mod hostile;
mod relay;
mod restore;
mod speed;
mod tcp;
mod udp;
mod world;
