//! The readers of the container against what they should take and what they should not:
//! random snapshots, each byte of one changed, claims, and a corpus of kept inputs.
#![forbid(unsafe_code)]

mod corpus;
mod file;
mod manifest;
mod sample;
