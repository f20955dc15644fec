//! The guest's network: Ethernet frames on one side, WISP messages on the other.
#![forbid(unsafe_code)]
