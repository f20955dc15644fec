//! The codec, hostile peers, and the two ends against each other.
#![forbid(unsafe_code)]

mod codec;
mod corpus;
mod pair;
mod sample;
