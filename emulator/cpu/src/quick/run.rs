//! The loop over short cuts.
//!
//! ```text
//!        ┌──────────────────────────────────────────────┐
//!   uop ─┴▶ short cut ─▶ … next ─────────────────────────┘
//!             │ taken branch ─▶ block (by the index in the branch, or by linear address)
//!             ▼ anything else
//!           Stop
//! ```
//!
//! Nothing is called from here, so that a compiler can keep what the loop works on in
//! registers. Instructions are counted by block: a branch knows how many of its block it ends.
//! A block is only entered if all of it may be executed, so the count is exact.

use emulator_bus::PAGE_SIZE;

use super::Quick;
use super::unit::Unit;
use crate::code::BLOCK;
use crate::core::Core;
use crate::flags::extend;
use crate::sse::floats::Arithmetic;
use crate::state::{BIG, Mode, State, reg, segment};
use crate::tlb::{NO_WAY, lookup};
use crate::uop::{CODE_PAGE, Op, Uop};

const CR4_OSFXSR: u64 = 1 << 9;
const CR0_EM_TS: u64 = 0xC;

/// Why the loop was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The block at `at` may be too long for the budget.
    Limit,
    /// The instruction at `at` needs its general operation.
    General,
    /// The branch at `at` has been executed; RIP says where to go on.
    Unknown,
}

/// Where the loop was left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) why: Why,
    /// Index of a micro-operation.
    pub(crate) at: usize,
    /// Index of the start of its block.
    pub(crate) start: usize,
    /// What was left of the budget at the start of the block.
    pub(crate) left: u64,
    /// Guest-physical number of the code page.
    pub(crate) page: u32,
}

/// Bits of addresses that count, if the state is one that short cuts are made for: 64-bit
/// code, or 32-bit code in segments that begin at zero.
pub(crate) fn address_bits(state: &State, mode: Mode) -> Option<u64> {
    let flat = || state.segments[..=segment::DS].iter().all(|segment| segment.base == 0);
    match mode {
        Mode::Bits64 => Some(u64::MAX),
        Mode::Bits32 if flat() && state.segments[segment::SS].attributes & BIG != 0 => {
            Some(0xFFFF_FFFF)
        }
        _ => None,
    }
}

/// May SSE be used?
fn sse(state: &State) -> bool {
    state.cr4 & CR4_OSFXSR != 0 && state.cr0 & CR0_EM_TS == 0
}

impl Core<'_> {
    /// Executes short cuts from the micro-operation at `at` on, which belongs to the block at
    /// `start`, while at least [`BLOCK`] instructions are left.
    #[inline(never)]
    #[rustfmt::skip]
    pub(crate) fn run_quick(&mut self, start: usize, at: usize, left: u64, wrap: u64) -> Stop {
        let uops = &self.code.uops[..];
        let sse = sse(self.state);
        let (ways, salt) = self.tlb.ways(self.mode);
        let mut u = Unit {
            state: &mut *self.state,
            read: self.tlb.reads(),
            write: self.tlb.writes(),
            bytes: self.memory.raw(),
            wrap,
            sse,
        };
        let (mut start, mut left, mut page) = (start, left, (self.page >> 12) as u32);
        let mut rest = from(uops, at);
        if u.bytes.len() < PAGE_SIZE {
            return Stop { why: Why::General, at, start, left, page };
        }
        'run: loop {
            let Some(uop) = rest.next() else { return Stop { why: Why::Limit, at: start, start, left, page } };
            macro_rules! leave {
                ($why:ident) => { return Stop { why: Why::$why, at: uops.len() - rest.len() - 1, start, left, page } };
            }
            let (branch, target, way) = 'jump: {
                let branch: &Uop = 'branch: {
                    'general: {
                        // What may not be possible.
                        macro_rules! may {
                            ($done:expr) => { match $done { Some(done) => done, None => break 'general } };
                        }
                        macro_rules! alu {
                            ($op:ident, $size:literal, $b:expr) => {{
                                let b = $b;
                                let a = u.reg::<$size>(uop.dst);
                                u.alu::<$size>(Op::$op, uop, a, b);
                            }};
                            ($op:ident, $size:literal, $a:expr, $b:expr) => {{
                                let a = $a;
                                u.alu::<$size>(Op::$op, uop, a, $b);
                            }};
                        }
                        macro_rules! set {
                            ($size:literal, $value:expr) => {{
                                let value = $value;
                                u.set_reg::<$size>(uop.dst, value);
                            }};
                        }
                        // A compare or test, and the branch behind it.
                        macro_rules! fused {
                            ($how:ident, $half:literal, $size:literal, $a:expr, $b:expr) => {{
                                let (a, b) = ($a, $b);
                                let Some(branch) = rest.next() else { break 'general };
                                if u.$how::<$size>($half, a, b) != (branch.sub & 1 != 0) {
                                    break 'branch branch;
                                }
                            }};
                        }
                        macro_rules! cmp {
                            (rr, $half:literal, $size:literal) => { fused!(compare, $half, $size, u.reg::<$size>(uop.dst), u.reg::<$size>(uop.src)) };
                            (ri, $half:literal, $size:literal) => { fused!(compare, $half, $size, u.reg::<$size>(uop.dst), u.imm::<$size>(uop)) };
                            (mi, $half:literal, $size:literal) => { fused!(compare, $half, $size, may!(u.memory::<$size>(uop)), u.imm::<$size>(uop)) };
                            (mr, $half:literal, $size:literal) => { fused!(compare, $half, $size, may!(u.memory::<$size>(uop)), u.reg::<$size>(uop.src)) };
                            (rm, $half:literal, $size:literal) => { fused!(compare, $half, $size, u.reg::<$size>(uop.dst), may!(u.memory::<$size>(uop))) };
                        }
                        macro_rules! test {
                            (rr, $half:literal, $size:literal) => { fused!(test, $half, $size, u.reg::<$size>(uop.dst), u.reg::<$size>(uop.src)) };
                            (ri, $half:literal, $size:literal) => { fused!(test, $half, $size, u.reg::<$size>(uop.dst), u.imm::<$size>(uop)) };
                            (mi, $half:literal, $size:literal) => { fused!(test, $half, $size, may!(u.memory::<$size>(uop)), u.imm::<$size>(uop)) };
                        }
                        macro_rules! jcc {
                            ($half:literal) => {{
                                if u.state.flags.condition($half << 1) != (uop.sub & 1 != 0) {
                                    break 'branch uop;
                                }
                            }};
                        }
                        macro_rules! mov {
                            (rm, $size:literal) => { set!($size, may!(u.memory::<$size>(uop))) };
                            (mr, $size:literal) => {{ may!(u.store::<$size>(u.address(uop), u.reg::<$size>(uop.src))); }};
                            (mi, $size:literal) => {{ may!(u.store::<$size>(u.address(uop), uop.imm as u64)); }};
                        }
                        macro_rules! sse {
                            ($done:expr) => {{
                                if !u.sse { break 'general }
                                $done
                            }};
                        }
                        macro_rules! cmov {
                            ($size:literal, $value:expr) => {{
                                let value = $value;
                                let old = u.reg::<$size>(uop.dst);
                                set!($size, if u.state.flags.condition(uop.sub) { value } else { old })
                            }};
                        }
                        match uop.quick {
                            Quick::None => break 'general,
                            Quick::Nop => {}
                            Quick::AddRR32 => alu!(Add, 2, u.reg::<2>(uop.src)),
                            Quick::AddRR64 => alu!(Add, 3, u.reg::<3>(uop.src)),
                            Quick::AddRI32 => alu!(Add, 2, u.imm::<2>(uop)),
                            Quick::AddRI64 => alu!(Add, 3, u.imm::<3>(uop)),
                            Quick::AddRM32 => alu!(Add, 2, may!(u.memory::<2>(uop))),
                            Quick::AddRM64 => alu!(Add, 3, may!(u.memory::<3>(uop))),
                            Quick::SubRR32 => alu!(Sub, 2, u.reg::<2>(uop.src)),
                            Quick::SubRR64 => alu!(Sub, 3, u.reg::<3>(uop.src)),
                            Quick::SubRI32 => alu!(Sub, 2, u.imm::<2>(uop)),
                            Quick::SubRI64 => alu!(Sub, 3, u.imm::<3>(uop)),
                            Quick::SubRM32 => alu!(Sub, 2, may!(u.memory::<2>(uop))),
                            Quick::SubRM64 => alu!(Sub, 3, may!(u.memory::<3>(uop))),
                            Quick::AndRR32 => alu!(And, 2, u.reg::<2>(uop.src)),
                            Quick::AndRR64 => alu!(And, 3, u.reg::<3>(uop.src)),
                            Quick::AndRI32 => alu!(And, 2, u.imm::<2>(uop)),
                            Quick::AndRI64 => alu!(And, 3, u.imm::<3>(uop)),
                            Quick::AndRM32 => alu!(And, 2, may!(u.memory::<2>(uop))),
                            Quick::AndRM64 => alu!(And, 3, may!(u.memory::<3>(uop))),
                            Quick::OrRR32 => alu!(Or, 2, u.reg::<2>(uop.src)),
                            Quick::OrRR64 => alu!(Or, 3, u.reg::<3>(uop.src)),
                            Quick::OrRI32 => alu!(Or, 2, u.imm::<2>(uop)),
                            Quick::OrRI64 => alu!(Or, 3, u.imm::<3>(uop)),
                            Quick::OrRM32 => alu!(Or, 2, may!(u.memory::<2>(uop))),
                            Quick::OrRM64 => alu!(Or, 3, may!(u.memory::<3>(uop))),
                            Quick::XorRR32 => alu!(Xor, 2, u.reg::<2>(uop.src)),
                            Quick::XorRR64 => alu!(Xor, 3, u.reg::<3>(uop.src)),
                            Quick::XorRI32 => alu!(Xor, 2, u.imm::<2>(uop)),
                            Quick::XorRI64 => alu!(Xor, 3, u.imm::<3>(uop)),
                            Quick::XorRM32 => alu!(Xor, 2, may!(u.memory::<2>(uop))),
                            Quick::XorRM64 => alu!(Xor, 3, may!(u.memory::<3>(uop))),
                            Quick::CmpRR32 => alu!(Cmp, 2, u.reg::<2>(uop.src)),
                            Quick::CmpRR64 => alu!(Cmp, 3, u.reg::<3>(uop.src)),
                            Quick::CmpRI32 => alu!(Cmp, 2, u.imm::<2>(uop)),
                            Quick::CmpRI64 => alu!(Cmp, 3, u.imm::<3>(uop)),
                            Quick::CmpRM32 => alu!(Cmp, 2, may!(u.memory::<2>(uop))),
                            Quick::CmpRM64 => alu!(Cmp, 3, may!(u.memory::<3>(uop))),
                            Quick::CmpRR8 => alu!(Cmp, 0, u.reg::<0>(uop.src)),
                            Quick::CmpRI8 => alu!(Cmp, 0, u.imm::<0>(uop)),
                            Quick::CmpRM8 => alu!(Cmp, 0, may!(u.memory::<0>(uop))),
                            Quick::CmpMR8 => alu!(Cmp, 0, may!(u.memory::<0>(uop)), u.reg::<0>(uop.src)),
                            Quick::CmpMR32 => alu!(Cmp, 2, may!(u.memory::<2>(uop)), u.reg::<2>(uop.src)),
                            Quick::CmpMR64 => alu!(Cmp, 3, may!(u.memory::<3>(uop)), u.reg::<3>(uop.src)),
                            Quick::CmpMI8 => alu!(Cmp, 0, may!(u.memory::<0>(uop)), u.imm::<0>(uop)),
                            Quick::CmpMI16 => alu!(Cmp, 1, may!(u.memory::<1>(uop)), u.imm::<1>(uop)),
                            Quick::CmpMI32 => alu!(Cmp, 2, may!(u.memory::<2>(uop)), u.imm::<2>(uop)),
                            Quick::CmpMI64 => alu!(Cmp, 3, may!(u.memory::<3>(uop)), u.imm::<3>(uop)),
                            Quick::TestRR8 => alu!(Test, 0, u.reg::<0>(uop.src)),
                            Quick::TestRR32 => alu!(Test, 2, u.reg::<2>(uop.src)),
                            Quick::TestRR64 => alu!(Test, 3, u.reg::<3>(uop.src)),
                            Quick::TestRI8 => alu!(Test, 0, u.imm::<0>(uop)),
                            Quick::TestRI32 => alu!(Test, 2, u.imm::<2>(uop)),
                            Quick::TestRI64 => alu!(Test, 3, u.imm::<3>(uop)),
                            Quick::TestMI8 => alu!(Test, 0, may!(u.memory::<0>(uop)), u.imm::<0>(uop)),
                            Quick::TestMI32 => alu!(Test, 2, may!(u.memory::<2>(uop)), u.imm::<2>(uop)),
                            Quick::AluR8 => { may!(u.alu_register::<0>(uop)); }
                            Quick::AluR16 => { may!(u.alu_register::<1>(uop)); }
                            Quick::AluM8 => { may!(u.alu_memory::<0>(uop)); }
                            Quick::AluM16 => { may!(u.alu_memory::<1>(uop)); }
                            Quick::AluM32 => { may!(u.alu_memory::<2>(uop)); }
                            Quick::AluM64 => { may!(u.alu_memory::<3>(uop)); }
                            Quick::MovRR32 => set!(2, u.reg::<2>(uop.src)),
                            Quick::MovRR64 => set!(3, u.reg::<3>(uop.src)),
                            Quick::MovRI32 => set!(2, uop.imm as u64),
                            Quick::MovRI64 => set!(3, uop.imm as u64),
                            Quick::MovRM8 => mov!(rm, 0),
                            Quick::MovRM32 => mov!(rm, 2),
                            Quick::MovRM64 => mov!(rm, 3),
                            Quick::MovMR8 => mov!(mr, 0),
                            Quick::MovMR16 => mov!(mr, 1),
                            Quick::MovMR32 => mov!(mr, 2),
                            Quick::MovMR64 => mov!(mr, 3),
                            Quick::MovMI8 => mov!(mi, 0),
                            Quick::MovMI16 => mov!(mi, 1),
                            Quick::MovMI32 => mov!(mi, 2),
                            Quick::MovMI64 => mov!(mi, 3),
                            Quick::MovzxRB => set!(3, u.reg::<0>(uop.src)),
                            Quick::MovzxRW => set!(3, u.reg::<1>(uop.src)),
                            Quick::MovzxMB => set!(3, may!(u.memory::<0>(uop))),
                            Quick::MovzxMW => set!(3, may!(u.memory::<1>(uop))),
                            Quick::MovsxR => {
                                let value = if uop.sub == 0 { extend(0, u.reg::<0>(uop.src)) } else { extend(1, u.reg::<1>(uop.src)) } as u64;
                                set!(3, if uop.size == 3 { value } else { value & 0xFFFF_FFFF });
                            }
                            Quick::MovsxM => {
                                let value = if uop.sub == 0 { extend(0, may!(u.memory::<0>(uop))) } else { extend(1, may!(u.memory::<1>(uop))) } as u64;
                                set!(3, if uop.size == 3 { value } else { value & 0xFFFF_FFFF });
                            }
                            Quick::MovsxdRR => set!(3, extend(2, u.reg::<2>(uop.src)) as u64),
                            Quick::MovsxdRM => set!(3, extend(2, may!(u.memory::<2>(uop))) as u64),
                            Quick::Lea32 => set!(2, u.address(uop)),
                            Quick::Lea64 => set!(3, u.address(uop)),
                            Quick::IncR32 => { u.step_register::<2>(true, uop); }
                            Quick::IncR64 => { u.step_register::<3>(true, uop); }
                            Quick::DecR32 => { u.step_register::<2>(false, uop); }
                            Quick::DecR64 => { u.step_register::<3>(false, uop); }
                            Quick::NegR32 => { u.negate::<2>(uop); }
                            Quick::NegR64 => { u.negate::<3>(uop); }
                            Quick::NotR32 => set!(2, !u.reg::<2>(uop.dst)),
                            Quick::NotR64 => set!(3, !u.reg::<3>(uop.dst)),
                            Quick::Bswap => set!(3, if uop.size == 3 { u.reg::<3>(uop.dst).swap_bytes() } else { (u.reg::<2>(uop.dst) as u32).swap_bytes().into() }),
                            Quick::Widen32 => { let value = extend(1, u.reg::<1>(0)) as u64; u.set_reg::<2>(0, value); }
                            Quick::Widen64 => { let value = extend(2, u.reg::<2>(0)) as u64; u.set_reg::<3>(0, value); }
                            Quick::SignToD32 => { let value = extend(2, u.reg::<2>(0)) >> 63; u.set_reg::<2>(reg::RDX as u8, value as u64); }
                            Quick::SignToD64 => { let value = u.reg::<3>(0) as i64 >> 63; u.set_reg::<3>(reg::RDX as u8, value as u64); }
                            Quick::ShlI32 => { u.shift_immediate::<2>(Op::Shl, uop); }
                            Quick::ShlI64 => { u.shift_immediate::<3>(Op::Shl, uop); }
                            Quick::ShrI32 => { u.shift_immediate::<2>(Op::Shr, uop); }
                            Quick::ShrI64 => { u.shift_immediate::<3>(Op::Shr, uop); }
                            Quick::SarI32 => { u.shift_immediate::<2>(Op::Sar, uop); }
                            Quick::SarI64 => { u.shift_immediate::<3>(Op::Sar, uop); }
                            Quick::ShlC32 => { u.shift_by_cl::<2>(Op::Shl, uop); }
                            Quick::ShlC64 => { u.shift_by_cl::<3>(Op::Shl, uop); }
                            Quick::ShrC32 => { u.shift_by_cl::<2>(Op::Shr, uop); }
                            Quick::ShrC64 => { u.shift_by_cl::<3>(Op::Shr, uop); }
                            Quick::SarC32 => { u.shift_by_cl::<2>(Op::Sar, uop); }
                            Quick::SarC64 => { u.shift_by_cl::<3>(Op::Sar, uop); }
                            Quick::ImulRR32 => { u.product::<2>(uop, u.reg::<2>(uop.dst), u.reg::<2>(uop.src)); }
                            Quick::ImulRR64 => { u.product::<3>(uop, u.reg::<3>(uop.dst), u.reg::<3>(uop.src)); }
                            Quick::ImulRI32 => { u.product::<2>(uop, u.reg::<2>(uop.src), u.imm::<2>(uop)); }
                            Quick::ImulRI64 => { u.product::<3>(uop, u.reg::<3>(uop.src), u.imm::<3>(uop)); }
                            Quick::ImulRM32 => { u.product::<2>(uop, u.reg::<2>(uop.dst), may!(u.memory::<2>(uop))); }
                            Quick::ImulRM64 => { u.product::<3>(uop, u.reg::<3>(uop.dst), may!(u.memory::<3>(uop))); }
                            Quick::CmovRR32 => cmov!(2, u.reg::<2>(uop.src)),
                            Quick::CmovRR64 => cmov!(3, u.reg::<3>(uop.src)),
                            Quick::CmovRM32 => cmov!(2, may!(u.memory::<2>(uop))),
                            Quick::CmovRM64 => cmov!(3, may!(u.memory::<3>(uop))),
                            Quick::SetR => set!(0, u.state.flags.condition(uop.sub).into()),
                            Quick::PushR32 => { may!(u.push::<2>(u.reg::<2>(uop.src))); }
                            Quick::PushR64 => { may!(u.push::<3>(u.reg::<3>(uop.src))); }
                            Quick::PushI64 => { may!(u.push::<3>(uop.imm as u64)); }
                            Quick::PushM64 => { may!(u.push::<3>(may!(u.memory::<3>(uop)))); }
                            Quick::PopR32 => { may!(u.pop::<2>(uop)); }
                            Quick::PopR64 => { may!(u.pop::<3>(uop)); }
                            Quick::Leave64 => {
                                let frame = u.reg::<3>(reg::RBP as u8);
                                let value = may!(u.load::<3>(frame));
                                u.state.gpr[reg::RSP] = frame.wrapping_add(8);
                                u.state.gpr[reg::RBP] = value;
                            }
                            Quick::Jmp | Quick::Link => break 'branch uop,
                            Quick::Call32 | Quick::Call64 => {
                                let back = u.state.gpr[CODE_PAGE as usize].wrapping_add(uop.next()) & wrap;
                                // A target that is not known may be one where nothing can be executed: a fault of this instruction.
                                let target = target_of(u.state, uop, wrap);
                                let way = if uop.disp == 0 { may!(lookup(ways, salt, target)) } else { &NO_WAY };
                                may!(if uop.quick == Quick::Call64 { u.push::<3>(back) } else { u.push::<2>(back) });
                                if uop.disp == 0 { break 'jump (uop, target, Some(way)) }
                                break 'branch uop;
                            }
                            Quick::Ret32 | Quick::Ret64 => {
                                let (target, behind) = may!(if uop.quick == Quick::Ret64 { u.top::<3>() } else { u.top::<2>() });
                                let way = may!(lookup(ways, salt, target));
                                u.state.gpr[reg::RSP] = behind;
                                break 'jump (uop, target, Some(way));
                            }
                            Quick::JmpR | Quick::JmpM => {
                                let target = if uop.quick == Quick::JmpR { u.reg::<3>(uop.dst) } else { may!(u.memory::<3>(uop)) };
                                let way = may!(lookup(ways, salt, target));
                                break 'jump (uop, target, Some(way));
                            }
                            Quick::CallR64 | Quick::CallM64 => {
                                let target = if uop.quick == Quick::CallR64 { u.reg::<3>(uop.dst) } else { may!(u.memory::<3>(uop)) };
                                let way = may!(lookup(ways, salt, target));
                                let back = u.state.gpr[CODE_PAGE as usize].wrapping_add(uop.next());
                                may!(u.push::<3>(back));
                                break 'jump (uop, target, Some(way));
                            }
                            Quick::Jo => jcc!(0),
                            Quick::Jb => jcc!(1),
                            Quick::Je => jcc!(2),
                            Quick::Jbe => jcc!(3),
                            Quick::Js => jcc!(4),
                            Quick::Jp => jcc!(5),
                            Quick::Jl => jcc!(6),
                            Quick::Jle => jcc!(7),
                            Quick::MovVV => sse!({ let value = u.xmm(uop.src); u.set_xmm(uop.dst, value) }),
                            Quick::MovVMa => sse!({ let value = may!(u.load_word(may!(u.aligned(uop)))); u.set_xmm(uop.dst, value) }),
                            Quick::MovVM => sse!({ let value = may!(u.load_word(u.address(uop))); u.set_xmm(uop.dst, value) }),
                            Quick::MovMaV => sse!(may!(u.store_word(may!(u.aligned(uop)), u.xmm(uop.src)))),
                            Quick::MovMV => sse!(may!(u.store_word(u.address(uop), u.xmm(uop.src)))),
                            Quick::MovSS => sse!({ let value = u.xmm(uop.src) as u32; u.set_single(uop.dst, value) }),
                            Quick::MovSM => sse!({ let value = may!(u.memory::<2>(uop)); u.set_xmm(uop.dst, value.into()) }),
                            Quick::MovMS => sse!(may!(u.store_word(u.address(uop), u.xmm(uop.src) as u32))),
                            Quick::MovDD => sse!({ let value = u.xmm(uop.src) as u64; u.set_low(uop.dst, value) }),
                            Quick::MovDM => sse!({ let value = may!(u.memory::<3>(uop)); u.set_xmm(uop.dst, value.into()) }),
                            Quick::MovMD => sse!(may!(u.store_word(u.address(uop), u.xmm(uop.src) as u64))),
                            Quick::MovQQ => sse!({ let value = u.xmm(uop.src) as u64; u.set_xmm(uop.dst, value.into()) }),
                            Quick::MovLowM => sse!({ let value = may!(u.memory::<3>(uop)); u.set_low(uop.dst, value) }),
                            Quick::MovHighM => sse!({ let value = may!(u.memory::<3>(uop)); u.set_high(uop.dst, value) }),
                            Quick::MovMHigh => sse!(may!(u.store_word(u.address(uop), (u.xmm(uop.src) >> 64) as u64))),
                            Quick::MovVG32 => sse!({ let value = u.reg::<2>(uop.src); u.set_xmm(uop.dst, value.into()) }),
                            Quick::MovVG64 => sse!({ let value = u.reg::<3>(uop.src); u.set_xmm(uop.dst, value.into()) }),
                            Quick::MovG32V => sse!(set!(2, u.xmm(uop.src) as u64)),
                            Quick::MovG64V => sse!(set!(3, u.xmm(uop.src) as u64)),
                            Quick::Unpcklpd => sse!({ let b = may!(u.vector_source(uop)); u.set_high(uop.dst, b as u64) }),
                            Quick::Unpckhpd => sse!({ let b = may!(u.vector_source(uop)); let a = u.xmm(uop.dst); u.set_xmm(uop.dst, a >> 64 | b & !u128::from(u64::MAX)) }),
                            Quick::Pand => sse!({ let b = may!(u.vector_source(uop)); let a = u.xmm(uop.dst); u.set_xmm(uop.dst, a & b) }),
                            Quick::Pandn => sse!({ let b = may!(u.vector_source(uop)); let a = u.xmm(uop.dst); u.set_xmm(uop.dst, !a & b) }),
                            Quick::Por => sse!({ let b = may!(u.vector_source(uop)); let a = u.xmm(uop.dst); u.set_xmm(uop.dst, a | b) }),
                            Quick::Pxor => sse!({ let b = may!(u.vector_source(uop)); let a = u.xmm(uop.dst); u.set_xmm(uop.dst, a ^ b) }),
                            Quick::Addsd => sse!(may!(u.double(Arithmetic::Add, uop))),
                            Quick::Subsd => sse!(may!(u.double(Arithmetic::Sub, uop))),
                            Quick::Mulsd => sse!(may!(u.double(Arithmetic::Mul, uop))),
                            Quick::Divsd => sse!(may!(u.double(Arithmetic::Div, uop))),
                            Quick::Sqrtsd => sse!(may!(u.double(Arithmetic::Sqrt, uop))),
                            Quick::Minsd => sse!(may!(u.double(Arithmetic::Min, uop))),
                            Quick::Maxsd => sse!(may!(u.double(Arithmetic::Max, uop))),
                            Quick::Addss => sse!(may!(u.single(Arithmetic::Add, uop))),
                            Quick::Subss => sse!(may!(u.single(Arithmetic::Sub, uop))),
                            Quick::Mulss => sse!(may!(u.single(Arithmetic::Mul, uop))),
                            Quick::Divss => sse!(may!(u.single(Arithmetic::Div, uop))),
                            Quick::Addpd => sse!(may!(u.doubles(Arithmetic::Add, uop))),
                            Quick::Subpd => sse!(may!(u.doubles(Arithmetic::Sub, uop))),
                            Quick::Mulpd => sse!(may!(u.doubles(Arithmetic::Mul, uop))),
                            Quick::Comisd => sse!(may!(u.compare_doubles(uop))),
                            Quick::Comiss => sse!(may!(u.compare_singles(uop))),
                            Quick::Cvtsi2sd32 => sse!(may!(u.double_of_integer::<2>(uop))),
                            Quick::Cvtsi2sd64 => sse!(may!(u.double_of_integer::<3>(uop))),
                            Quick::Cvttsd2si32 => sse!(may!(u.integer_of_double::<2>(uop))),
                            Quick::Cvttsd2si64 => sse!(may!(u.integer_of_double::<3>(uop))),
                            Quick::Cvtss2sd => sse!(may!(u.double_of_single(uop))),
                            Quick::Cvtsd2ss => sse!(may!(u.single_of_double(uop))),
                            Quick::CmpRR32B => cmp!(rr, 1, 2),
                            Quick::CmpRR32E => cmp!(rr, 2, 2),
                            Quick::CmpRR32A => cmp!(rr, 3, 2),
                            Quick::CmpRR32L => cmp!(rr, 6, 2),
                            Quick::CmpRR32G => cmp!(rr, 7, 2),
                            Quick::CmpRR64B => cmp!(rr, 1, 3),
                            Quick::CmpRR64E => cmp!(rr, 2, 3),
                            Quick::CmpRR64A => cmp!(rr, 3, 3),
                            Quick::CmpRR64L => cmp!(rr, 6, 3),
                            Quick::CmpRR64G => cmp!(rr, 7, 3),
                            Quick::CmpRI32B => cmp!(ri, 1, 2),
                            Quick::CmpRI32E => cmp!(ri, 2, 2),
                            Quick::CmpRI32A => cmp!(ri, 3, 2),
                            Quick::CmpRI32L => cmp!(ri, 6, 2),
                            Quick::CmpRI32G => cmp!(ri, 7, 2),
                            Quick::CmpRI64B => cmp!(ri, 1, 3),
                            Quick::CmpRI64E => cmp!(ri, 2, 3),
                            Quick::CmpRI64A => cmp!(ri, 3, 3),
                            Quick::CmpRI64L => cmp!(ri, 6, 3),
                            Quick::CmpRI64G => cmp!(ri, 7, 3),
                            Quick::CmpRI8B => cmp!(ri, 1, 0),
                            Quick::CmpRI8E => cmp!(ri, 2, 0),
                            Quick::CmpRI8A => cmp!(ri, 3, 0),
                            Quick::CmpRI8L => cmp!(ri, 6, 0),
                            Quick::CmpRI8G => cmp!(ri, 7, 0),
                            Quick::CmpRR8E => cmp!(rr, 2, 0),
                            Quick::CmpRR8A => cmp!(rr, 3, 0),
                            Quick::CmpMI8E => cmp!(mi, 2, 0),
                            Quick::CmpMI8A => cmp!(mi, 3, 0),
                            Quick::CmpMI32E => cmp!(mi, 2, 2),
                            Quick::CmpMI32A => cmp!(mi, 3, 2),
                            Quick::CmpMI32G => cmp!(mi, 7, 2),
                            Quick::CmpMI64E => cmp!(mi, 2, 3),
                            Quick::CmpRM32E => cmp!(rm, 2, 2),
                            Quick::CmpRM32A => cmp!(rm, 3, 2),
                            Quick::CmpRM64E => cmp!(rm, 2, 3),
                            Quick::CmpRM64A => cmp!(rm, 3, 3),
                            Quick::CmpMR32E => cmp!(mr, 2, 2),
                            Quick::CmpMR32A => cmp!(mr, 3, 2),
                            Quick::CmpMR64E => cmp!(mr, 2, 3),
                            Quick::CmpMR64A => cmp!(mr, 3, 3),
                            Quick::TestRR8E => test!(rr, 2, 0),
                            Quick::TestRR8S => test!(rr, 4, 0),
                            Quick::TestRR32E => test!(rr, 2, 2),
                            Quick::TestRR32S => test!(rr, 4, 2),
                            Quick::TestRR32G => test!(rr, 7, 2),
                            Quick::TestRR64E => test!(rr, 2, 3),
                            Quick::TestRR64S => test!(rr, 4, 3),
                            Quick::TestRR64G => test!(rr, 7, 3),
                            Quick::TestRI8E => test!(ri, 2, 0),
                            Quick::TestRI32E => test!(ri, 2, 2),
                            Quick::TestMI8E => test!(mi, 2, 0),
                        }
                        continue 'run;
                    }
                    leave!(General);
                };
                if branch.disp != 0 {
                    left -= u64::from(branch.src);
                    start = branch.disp as usize - 1;
                    rest = from(uops, start);
                    if left < BLOCK as u64 { return Stop { why: Why::Limit, at: start, start, left, page } }
                    continue 'run;
                }
                let target = target_of(u.state, branch, wrap);
                (branch, target, lookup(ways, salt, target))
            };
            let Some(way) = way else {
                u.state.rip = target;
                leave!(Unknown);
            };
            left -= u64::from(branch.src);
            u.state.gpr[CODE_PAGE as usize] = target & !0xFFF;
            page = way.page;
            start = way.index as usize;
            rest = from(uops, start);
            if left < BLOCK as u64 { return Stop { why: Why::Limit, at: start, start, left, page } }
        }
    }
}

/// Where a direct branch leads.
#[inline(always)]
fn target_of(state: &State, uop: &Uop, wrap: u64) -> u64 {
    let page = state.gpr[CODE_PAGE as usize];
    page.wrapping_add(uop.next()).wrapping_add(uop.imm as u64) & wrap
}

/// The micro-operations from an index on.
#[inline(always)]
fn from(uops: &[Uop], index: usize) -> std::slice::Iter<'_, Uop> {
    uops.get(index..).unwrap_or_default().iter()
}
