//! Which blocks end where, and the interpreter's short cuts: an instruction whose operands are
//! of a common kind gets an operation of its own, and a compare with the branch behind it
//! become one. What a short cut does is what the general operation does; the differential
//! test steps with and without them.

use crate::uop::{ADDR32, HIGH, IMM, LOCK, MEM_DST, MEM_SRC, Op, Uop};

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
pub(crate) fn fuse(uops: &mut Vec<Uop>, start: usize) {
    let mut kept = start;
    let mut at = start;
    while at < uops.len() {
        let fused = uops.get(at + 1).and_then(|next| pair(&uops[at], next));
        uops[kept] = fused.unwrap_or(uops[at]);
        kept += 1;
        at += if fused.is_some() { 2 } else { 1 };
    }
    uops.truncate(kept);
}

/// A compare or test of registers or with an immediate, and a branch on its flags.
fn pair(compare: &Uop, branch: &Uop) -> Option<Uop> {
    if branch.op != Op::Jcc || branch.size != 3 || compare.flags & !IMM != 0 {
        return None;
    }
    let high = compare.size == 0 && (compare.dst | compare.src) & HIGH != 0;
    let length = compare.length() + branch.length();
    let distance = i32::try_from(branch.imm).ok()?;
    if high || length > 15 || branch.next() > 4096 {
        return None;
    }
    let op = match (compare.op, compare.has(IMM), compare.size) {
        (Op::Cmp, false, 2) => Op::CmpJccRR32,
        (Op::Cmp, false, 3) => Op::CmpJccRR64,
        (Op::Cmp, true, 0) => Op::CmpJccRI8,
        (Op::Cmp, true, 2) => Op::CmpJccRI32,
        (Op::Cmp, true, 3) => Op::CmpJccRI64,
        (Op::Test, false, 0) => Op::TestJccRR8,
        (Op::Test, false, 2) => Op::TestJccRR32,
        (Op::Test, false, 3) => Op::TestJccRR64,
        (Op::Test, true, 0) => Op::TestJccRI8,
        (Op::Test, true, 2) => Op::TestJccRI32,
        (Op::Test, true, 3) => Op::TestJccRI64,
        _ => return None,
    };
    let imm = i64::from(compare.imm as u32) | i64::from(distance) << 32;
    let place = compare.place & 0xFFF | (length as u16) << 12;
    Some(Uop { op, place, sub: branch.sub, imm, ..*compare })
}

/// Where the operands are: register, immediate or memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Rr,
    Ri,
    Rm,
    Mr,
    Mi,
    R,
}

fn form(uop: &Uop) -> Option<Form> {
    Some(match uop.flags & !ADDR32 {
        0 => Form::Rr,
        IMM => Form::Ri,
        MEM_SRC => Form::Rm,
        MEM_DST => Form::Mr,
        flags if flags == MEM_DST | IMM => Form::Mi,
        _ => return None,
    })
}

/// Replaces a general operation by a short cut.
pub(crate) fn select(uop: &mut Uop) {
    let high = uop.size == 0 && (uop.dst | uop.src) & HIGH != 0;
    if high || uop.has(LOCK) {
        return;
    }
    if let Some(op) = form(uop).and_then(|form| short(uop, form)) {
        uop.op = op;
    }
}

#[rustfmt::skip]
fn short(uop: &Uop, form: Form) -> Option<Op> {
    let form = if matches!(uop.op, Op::Inc | Op::Dec | Op::Push | Op::Pop) && form == Form::Rr { Form::R } else { form };
    Some(match (uop.op, form, uop.size) {
        (Op::Add, Form::Rr, 2) => Op::AddRR32,
        (Op::Add, Form::Rr, 3) => Op::AddRR64,
        (Op::Add, Form::Ri, 2) => Op::AddRI32,
        (Op::Add, Form::Ri, 3) => Op::AddRI64,
        (Op::Add, Form::Rm, 2) => Op::AddRM32,
        (Op::Add, Form::Rm, 3) => Op::AddRM64,
        (Op::Sub, Form::Rr, 2) => Op::SubRR32,
        (Op::Sub, Form::Rr, 3) => Op::SubRR64,
        (Op::Sub, Form::Ri, 2) => Op::SubRI32,
        (Op::Sub, Form::Ri, 3) => Op::SubRI64,
        (Op::Sub, Form::Rm, 2) => Op::SubRM32,
        (Op::Sub, Form::Rm, 3) => Op::SubRM64,
        (Op::And, Form::Rr, 2) => Op::AndRR32,
        (Op::And, Form::Rr, 3) => Op::AndRR64,
        (Op::And, Form::Ri, 2) => Op::AndRI32,
        (Op::And, Form::Ri, 3) => Op::AndRI64,
        (Op::And, Form::Rm, 2) => Op::AndRM32,
        (Op::And, Form::Rm, 3) => Op::AndRM64,
        (Op::Or, Form::Rr, 2) => Op::OrRR32,
        (Op::Or, Form::Rr, 3) => Op::OrRR64,
        (Op::Or, Form::Ri, 2) => Op::OrRI32,
        (Op::Or, Form::Ri, 3) => Op::OrRI64,
        (Op::Or, Form::Rm, 2) => Op::OrRM32,
        (Op::Or, Form::Rm, 3) => Op::OrRM64,
        (Op::Xor, Form::Rr, 2) => Op::XorRR32,
        (Op::Xor, Form::Rr, 3) => Op::XorRR64,
        (Op::Xor, Form::Ri, 2) => Op::XorRI32,
        (Op::Xor, Form::Ri, 3) => Op::XorRI64,
        (Op::Xor, Form::Rm, 2) => Op::XorRM32,
        (Op::Xor, Form::Rm, 3) => Op::XorRM64,
        (Op::Cmp, Form::Rr, 2) => Op::CmpRR32,
        (Op::Cmp, Form::Rr, 3) => Op::CmpRR64,
        (Op::Cmp, Form::Ri, 2) => Op::CmpRI32,
        (Op::Cmp, Form::Ri, 3) => Op::CmpRI64,
        (Op::Cmp, Form::Rm, 2) => Op::CmpRM32,
        (Op::Cmp, Form::Rm, 3) => Op::CmpRM64,
        (Op::Test, Form::Rr, 2) => Op::TestRR32,
        (Op::Test, Form::Rr, 3) => Op::TestRR64,
        (Op::Test, Form::Ri, 2) => Op::TestRI32,
        (Op::Test, Form::Ri, 3) => Op::TestRI64,
        (Op::Test, Form::Rm, 2) => Op::TestRM32,
        (Op::Test, Form::Rm, 3) => Op::TestRM64,
        (Op::Cmp, Form::Rr, 0) => Op::CmpRR8,
        (Op::Cmp, Form::Ri, 0) => Op::CmpRI8,
        (Op::Cmp, Form::Mi, 0) => Op::CmpMI8,
        (Op::Cmp, Form::Mi, 2) => Op::CmpMI32,
        (Op::Cmp, Form::Mi, 3) => Op::CmpMI64,
        (Op::Cmp, Form::Mr, 3) => Op::CmpMR64,
        (Op::Test, Form::Rr, 0) => Op::TestRR8,
        (Op::Test, Form::Ri, 0) => Op::TestRI8,
        (Op::Test, Form::Mi, 0) => Op::TestMI8,
        (Op::Mov, Form::Rr, 2) => Op::MovRR32,
        (Op::Mov, Form::Rr, 3) => Op::MovRR64,
        (Op::Mov, Form::Ri, 2) => Op::MovRI32,
        (Op::Mov, Form::Ri, 3) => Op::MovRI64,
        (Op::Mov, Form::Rm, 2) => Op::MovRM32,
        (Op::Mov, Form::Rm, 3) => Op::MovRM64,
        (Op::Mov, Form::Mr, 2) => Op::MovMR32,
        (Op::Mov, Form::Mr, 3) => Op::MovMR64,
        (Op::Mov, Form::Mi, 2) => Op::MovMI32,
        (Op::Mov, Form::Mi, 3) => Op::MovMI64,
        (Op::Mov, Form::Rm, 0) => Op::MovRM8,
        (Op::Mov, Form::Mr, 0) => Op::MovMR8,
        (Op::Mov, Form::Mi, 0) => Op::MovMI8,
        (Op::Inc, Form::R, 2) => Op::IncR32,
        (Op::Inc, Form::R, 3) => Op::IncR64,
        (Op::Dec, Form::R, 2) => Op::DecR32,
        (Op::Dec, Form::R, 3) => Op::DecR64,
        (Op::Lea, Form::Rm, 3) => Op::Lea64,
        (Op::Lea, Form::Rm, 2) => Op::Lea32,
        (Op::Movzx, Form::Rr, 2 | 3) if uop.sub == 0 && uop.src & HIGH == 0 => Op::MovzxRB,
        (Op::Movzx, Form::Rm, 2 | 3) if uop.sub == 0 => Op::MovzxMB,
        (Op::Movzx, Form::Rr, 2 | 3) if uop.sub == 1 => Op::MovzxRW,
        (Op::Movzx, Form::Rm, 2 | 3) if uop.sub == 1 => Op::MovzxMW,
        (Op::Movsx, Form::Rr, 3) if uop.sub == 2 => Op::MovsxdRR,
        (Op::Movsx, Form::Rm, 3) if uop.sub == 2 => Op::MovsxdRM,
        (Op::Shl, Form::Ri, 2) if uop.imm & 31 != 0 => Op::ShlI32,
        (Op::Shl, Form::Ri, 3) if uop.imm & 63 != 0 => Op::ShlI64,
        (Op::Shr, Form::Ri, 2) if uop.imm & 31 != 0 => Op::ShrI32,
        (Op::Shr, Form::Ri, 3) if uop.imm & 63 != 0 => Op::ShrI64,
        (Op::Sar, Form::Ri, 2) if uop.imm & 31 != 0 => Op::SarI32,
        (Op::Sar, Form::Ri, 3) if uop.imm & 63 != 0 => Op::SarI64,
        (Op::Push, Form::R, 3) => Op::PushR64,
        (Op::Pop, Form::R, 3) => Op::PopR64,
        (Op::Ret, _, 3) if uop.imm == 0 => Op::Ret64,
        (Op::Imul, Form::Rr, 2) => Op::ImulRR32,
        (Op::Imul, Form::Rr, 3) => Op::ImulRR64,
        _ => return None,
    })
}
