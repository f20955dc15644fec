//! The WISP protocol: packets, credit, and both roles of a connection.
#![forbid(unsafe_code)]
