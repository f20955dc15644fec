//! The container of a saved machine.
#![forbid(unsafe_code)]

mod id;

pub use id::Id;
