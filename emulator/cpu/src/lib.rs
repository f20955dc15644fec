//! One x86-64 processor: decoding to micro-operations, state, paging, exceptions, and an
//! interpreter.
//!
//! A board owns a [`Cpu`], an [`emulator_bus::Memory`] and what is behind
//! [`emulator_bus::Bus`], and calls [`Cpu::run`] for slices of so many instructions. How an
//! instruction travels is told in `docs/engine.md`.
//!
//! Deliberately absent: devices, the board, time of its own, and real mode: a boot protocol
//! sets [`State`] to 64-bit mode or to flat 32-bit protected mode.
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
mod probe;
mod quick;
mod segments;
mod shift;
mod soft;
pub mod sse;
pub mod state;
mod string;
mod syscall;
mod system;
pub mod tlb;
pub mod uop;
pub mod x87;

pub use crate::core::{Cpu, Exit, Slice, Turn};
pub use cpuid::leaf as cpuid_leaf;
pub use exception::Exception;
pub use state::State;
