//! A hardened WISP relay.
#![forbid(unsafe_code)]

fn main() {}
