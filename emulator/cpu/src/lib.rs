//! One x86-64 processor: decoding to micro-operations, state, paging, exceptions, and an
//! interpreter.
#![forbid(unsafe_code)]

mod access;
mod code;
mod control;
mod core;
mod cpuid;
pub mod decode;
mod exception;
mod family;
pub mod flags;
mod integer;
mod interp;
mod interrupt;
mod msr;
mod operand;
mod paging;
mod segments;
mod select;
mod shift;
mod short;
mod soft;
pub mod sse;
pub mod state;
mod string;
mod syscall;
mod system;
pub mod tlb;
pub mod uop;
pub mod x87;

pub use crate::core::{Cpu, Exit, Slice};
pub use cpuid::leaf as cpuid_leaf;
pub use exception::Exception;
pub use state::State;
