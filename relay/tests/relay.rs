//! The whole relay over real sockets, on loopback only: a client of our own that can also
//! misbehave, name servers that lie, and targets that count who came.
#![forbid(unsafe_code)]

#[path = "relay/admission.rs"]
mod admission;
#[path = "relay/client.rs"]
mod client;
#[path = "relay/egress.rs"]
mod egress;
#[path = "relay/hostile.rs"]
mod hostile;
#[path = "relay/names.rs"]
mod names;
#[path = "relay/passage.rs"]
mod passage;
#[path = "relay/process.rs"]
mod process;
#[path = "relay/running.rs"]
mod running;
