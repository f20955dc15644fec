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
use crate::flags::{DF, IF, extend};
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
                                u.alu::<$size>(Op::$op, uop, u.reg::<$size>(uop.dst), b);
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
                        // An instruction, and the branch behind it that is taken if its condition holds.
                        macro_rules! fused {
                            ($holds:expr) => {{
                                let holds = $holds;
                                let Some(branch) = rest.next() else { break 'general };
                                if holds { break 'branch branch }
                            }};
                            ($zero:expr, $cc:literal) => { fused!(($zero) == ($cc & 1 == 0)) };
                        }
                        macro_rules! cmp {
                            (rr, $cc:literal, $size:literal) => { fused!(u.compare::<$size>($cc, u.reg::<$size>(uop.dst), u.reg::<$size>(uop.src))) };
                            (ri, $cc:literal, $size:literal) => { fused!(u.compare::<$size>($cc, u.reg::<$size>(uop.dst), u.imm::<$size>(uop))) };
                            (mi, $cc:literal, $size:literal) => { fused!(u.compare::<$size>($cc, may!(u.near::<$size>(uop)), u.imm::<$size>(uop))) };
                            (mr, $cc:literal, $size:literal) => { fused!(u.compare::<$size>($cc, may!(u.near::<$size>(uop)), u.reg::<$size>(uop.src))) };
                            (rm, $cc:literal, $size:literal) => { fused!(u.compare::<$size>($cc, u.reg::<$size>(uop.dst), may!(u.near::<$size>(uop)))) };
                        }
                        macro_rules! test {
                            (rr, $cc:literal, $size:literal) => { fused!(u.test::<$size>($cc, u.reg::<$size>(uop.dst), u.reg::<$size>(uop.src))) };
                            (ri, $cc:literal, $size:literal) => { fused!(u.test::<$size>($cc, u.reg::<$size>(uop.dst), u.imm::<$size>(uop))) };
                            (hi, $cc:literal, $size:literal) => { fused!(u.test::<$size>($cc, u.high(uop.dst), u.imm::<$size>(uop))) };
                            (mi, $cc:literal, $size:literal) => { fused!(u.test::<$size>($cc, may!(u.near::<$size>(uop)), u.imm::<$size>(uop))) };
                        }
                        macro_rules! jcc {
                            ($cc:literal) => {{
                                if u.state.flags.condition($cc) { break 'branch uop }
                            }};
                        }
                        macro_rules! mov {
                            (rm, $size:literal) => { set!($size, may!(u.near::<$size>(uop))) };
                            (rx, $size:literal) => { set!($size, may!(u.memory::<$size>(uop))) };
                            (mr, $size:literal) => { may!(u.store::<$size>(u.base(uop), u.reg::<$size>(uop.src))) };
                            (xr, $size:literal) => { may!(u.store::<$size>(u.address(uop), u.reg::<$size>(uop.src))) };
                            (mi, $size:literal) => { may!(u.store::<$size>(u.base(uop), uop.imm as u64)) };
                            (xi, $size:literal) => { may!(u.store::<$size>(u.address(uop), uop.imm as u64)) };
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
                            Quick::MovRX8 => mov!(rx, 0),
                            Quick::MovRX32 => mov!(rx, 2),
                            Quick::MovRX64 => mov!(rx, 3),
                            Quick::MovMR8 => mov!(mr, 0),
                            Quick::MovMR16 => mov!(xr, 1),
                            Quick::MovMR32 => mov!(mr, 2),
                            Quick::MovMR64 => mov!(mr, 3),
                            Quick::MovXR8 => mov!(xr, 0),
                            Quick::MovXR32 => mov!(xr, 2),
                            Quick::MovXR64 => mov!(xr, 3),
                            Quick::MovMI8 => mov!(mi, 0),
                            Quick::MovMI16 => mov!(xi, 1),
                            Quick::MovMI32 => mov!(mi, 2),
                            Quick::MovMI64 => mov!(mi, 3),
                            Quick::MovXI8 => mov!(xi, 0),
                            Quick::MovXI32 => mov!(xi, 2),
                            Quick::MovXI64 => mov!(xi, 3),
                            Quick::MovRS32 => set!(2, may!(u.load::<2>(may!(u.segmented(uop))))),
                            Quick::MovRS64 => set!(3, may!(u.load::<3>(may!(u.segmented(uop))))),
                            Quick::MovSR32 => may!(u.store::<2>(may!(u.segmented(uop)), u.reg::<2>(uop.src))),
                            Quick::MovSR64 => may!(u.store::<3>(may!(u.segmented(uop)), u.reg::<3>(uop.src))),
                            Quick::MovRR8 => set!(0, u.reg::<0>(uop.src)),
                            Quick::MovRW64 => set!(3, uop.wide()),
                            Quick::MovzxRH => set!(3, u.high(uop.src)),
                            Quick::MovzxMB => set!(3, may!(u.near::<0>(uop))),
                            Quick::MovzxMW => set!(3, may!(u.near::<1>(uop))),
                            Quick::MovzxXB => set!(3, may!(u.memory::<0>(uop))),
                            Quick::MovzxXW => set!(3, may!(u.memory::<1>(uop))),
                            Quick::LeaRM32 => set!(2, u.base(uop)),
                            Quick::LeaRM64 => set!(3, u.base(uop)),
                            Quick::LeaRX32 => set!(2, u.address(uop)),
                            Quick::LeaRX64 => set!(3, u.address(uop)),
                            Quick::TestHI8 => { u.test::<0>(4, u.high(uop.dst), u.imm::<0>(uop)); }
                            Quick::AdcRR32 => alu!(Adc, 2, u.reg::<2>(uop.src)),
                            Quick::AdcRR64 => alu!(Adc, 3, u.reg::<3>(uop.src)),
                            Quick::SbbRR32 => alu!(Sbb, 2, u.reg::<2>(uop.src)),
                            Quick::SbbRR64 => alu!(Sbb, 3, u.reg::<3>(uop.src)),
                            Quick::AluH8 => may!(u.alu_high(uop)),
                            Quick::ShiftI8 => u.shift::<0>(uop.op, uop, uop.imm as u32),
                            Quick::ShiftI16 => u.shift::<1>(uop.op, uop, uop.imm as u32),
                            Quick::RolI32 => u.rotate::<2>(true, uop),
                            Quick::RolI64 => u.rotate::<3>(true, uop),
                            Quick::RorI32 => u.rotate::<2>(false, uop),
                            Quick::RorI64 => u.rotate::<3>(false, uop),
                            Quick::MulR32 => u.wide_product_32(uop),
                            Quick::MulR64 => u.wide_product_64(uop),
                            Quick::DivR32 => may!(u.divide_32(uop)),
                            Quick::DivR64 => may!(u.divide_64(uop)),
                            Quick::IdivR32 => may!(u.divide_signed_32(uop)),
                            Quick::IdivR64 => may!(u.divide_signed_64(uop)),
                            Quick::BtR => u.bit_register(uop),
                            Quick::BtM => may!(u.bit_tested(uop)),
                            Quick::BitM => may!(u.bit_changed(uop)),
                            Quick::Bsf => u.bit_scan(true, uop),
                            Quick::Bsr => u.bit_scan(false, uop),
                            Quick::Xchg32 => may!(u.exchange::<2>(uop)),
                            Quick::Xchg64 => may!(u.exchange::<3>(uop)),
                            Quick::Xadd32 => may!(u.exchange_add::<2>(uop)),
                            Quick::Xadd64 => may!(u.exchange_add::<3>(uop)),
                            Quick::Cmpxchg32 => may!(u.compare_exchange::<2>(uop)),
                            Quick::Cmpxchg64 => may!(u.compare_exchange::<3>(uop)),
                            Quick::SetM => may!(u.store::<0>(u.address(uop), u.state.flags.condition(uop.sub).into())),
                            Quick::PushI => may!(if uop.size == 3 { u.push::<3>(uop.imm as u64) } else { u.push::<2>(uop.imm as u64) }),
                            Quick::PushM => may!(if uop.size == 3 { u.push::<3>(may!(u.memory::<3>(uop))) } else { u.push::<2>(may!(u.memory::<2>(uop))) }),
                            Quick::Cld => u.state.flags.eager &= !DF,
                            Quick::Cli => { if u.state.cpl != 0 { break 'general } u.state.flags.eager &= !IF }
                            Quick::Sti => if u.state.cpl != 0 || u.state.flags.eager & IF == 0 { break 'general }
                            Quick::Swapgs => { if u.state.cpl != 0 { break 'general } std::mem::swap(&mut u.state.segments[segment::GS].base, &mut u.state.msrs.kernel_gs_base) }
                            Quick::MovzxRB => set!(3, u.reg::<0>(uop.src)),
                            Quick::MovzxRW => set!(3, u.reg::<1>(uop.src)),
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
                            Quick::PopR32 => { may!(u.pop::<2>(uop)); }
                            Quick::PopR64 => { may!(u.pop::<3>(uop)); }
                            Quick::Leave => may!(u.leave(uop)),
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
                                let target = may!(u.target(uop, uop.quick == Quick::JmpR));
                                let way = may!(lookup(ways, salt, target));
                                break 'jump (uop, target, Some(way));
                            }
                            Quick::CallR | Quick::CallM => {
                                let target = may!(u.target(uop, uop.quick == Quick::CallR));
                                let way = may!(lookup(ways, salt, target));
                                let back = u.state.gpr[CODE_PAGE as usize].wrapping_add(uop.next()) & wrap;
                                may!(if uop.size == 3 { u.push::<3>(back) } else { u.push::<2>(back) });
                                break 'jump (uop, target, Some(way));
                            }
                            Quick::Jo => jcc!(0),
                            Quick::Jno => jcc!(1),
                            Quick::Jb => jcc!(2),
                            Quick::Jae => jcc!(3),
                            Quick::Je => jcc!(4),
                            Quick::Jne => jcc!(5),
                            Quick::Jbe => jcc!(6),
                            Quick::Ja => jcc!(7),
                            Quick::Js => jcc!(8),
                            Quick::Jns => jcc!(9),
                            Quick::Jp => jcc!(10),
                            Quick::Jnp => jcc!(11),
                            Quick::Jl => jcc!(12),
                            Quick::Jge => jcc!(13),
                            Quick::Jle => jcc!(14),
                            Quick::Jg => jcc!(15),
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
                            Quick::CmpRR32B => cmp!(rr, 2, 2),
                            Quick::CmpRR32AE => cmp!(rr, 3, 2),
                            Quick::CmpRR32E => cmp!(rr, 4, 2),
                            Quick::CmpRR32NE => cmp!(rr, 5, 2),
                            Quick::CmpRR32BE => cmp!(rr, 6, 2),
                            Quick::CmpRR32A => cmp!(rr, 7, 2),
                            Quick::CmpRR32L => cmp!(rr, 12, 2),
                            Quick::CmpRR32GE => cmp!(rr, 13, 2),
                            Quick::CmpRR32LE => cmp!(rr, 14, 2),
                            Quick::CmpRR32G => cmp!(rr, 15, 2),
                            Quick::CmpRR64B => cmp!(rr, 2, 3),
                            Quick::CmpRR64AE => cmp!(rr, 3, 3),
                            Quick::CmpRR64E => cmp!(rr, 4, 3),
                            Quick::CmpRR64NE => cmp!(rr, 5, 3),
                            Quick::CmpRR64BE => cmp!(rr, 6, 3),
                            Quick::CmpRR64A => cmp!(rr, 7, 3),
                            Quick::CmpRR64L => cmp!(rr, 12, 3),
                            Quick::CmpRR64GE => cmp!(rr, 13, 3),
                            Quick::CmpRR64LE => cmp!(rr, 14, 3),
                            Quick::CmpRR64G => cmp!(rr, 15, 3),
                            Quick::CmpRI32B => cmp!(ri, 2, 2),
                            Quick::CmpRI32AE => cmp!(ri, 3, 2),
                            Quick::CmpRI32E => cmp!(ri, 4, 2),
                            Quick::CmpRI32NE => cmp!(ri, 5, 2),
                            Quick::CmpRI32BE => cmp!(ri, 6, 2),
                            Quick::CmpRI32A => cmp!(ri, 7, 2),
                            Quick::CmpRI32L => cmp!(ri, 12, 2),
                            Quick::CmpRI32GE => cmp!(ri, 13, 2),
                            Quick::CmpRI32LE => cmp!(ri, 14, 2),
                            Quick::CmpRI32G => cmp!(ri, 15, 2),
                            Quick::CmpRI64B => cmp!(ri, 2, 3),
                            Quick::CmpRI64AE => cmp!(ri, 3, 3),
                            Quick::CmpRI64E => cmp!(ri, 4, 3),
                            Quick::CmpRI64NE => cmp!(ri, 5, 3),
                            Quick::CmpRI64BE => cmp!(ri, 6, 3),
                            Quick::CmpRI64A => cmp!(ri, 7, 3),
                            Quick::CmpRI64L => cmp!(ri, 12, 3),
                            Quick::CmpRI64GE => cmp!(ri, 13, 3),
                            Quick::CmpRI64LE => cmp!(ri, 14, 3),
                            Quick::CmpRI64G => cmp!(ri, 15, 3),
                            Quick::CmpRI8B => cmp!(ri, 2, 0),
                            Quick::CmpRI8AE => cmp!(ri, 3, 0),
                            Quick::CmpRI8E => cmp!(ri, 4, 0),
                            Quick::CmpRI8NE => cmp!(ri, 5, 0),
                            Quick::CmpRI8BE => cmp!(ri, 6, 0),
                            Quick::CmpRI8A => cmp!(ri, 7, 0),
                            Quick::CmpRR8B => cmp!(rr, 2, 0),
                            Quick::CmpRR8AE => cmp!(rr, 3, 0),
                            Quick::CmpRR8E => cmp!(rr, 4, 0),
                            Quick::CmpRR8NE => cmp!(rr, 5, 0),
                            Quick::CmpRR8BE => cmp!(rr, 6, 0),
                            Quick::CmpRR8A => cmp!(rr, 7, 0),
                            Quick::CmpMI8B => cmp!(mi, 2, 0),
                            Quick::CmpMI8AE => cmp!(mi, 3, 0),
                            Quick::CmpMI8E => cmp!(mi, 4, 0),
                            Quick::CmpMI8NE => cmp!(mi, 5, 0),
                            Quick::CmpMI8BE => cmp!(mi, 6, 0),
                            Quick::CmpMI8A => cmp!(mi, 7, 0),
                            Quick::CmpMI16E => cmp!(mi, 4, 1),
                            Quick::CmpMI16NE => cmp!(mi, 5, 1),
                            Quick::CmpMI32B => cmp!(mi, 2, 2),
                            Quick::CmpMI32AE => cmp!(mi, 3, 2),
                            Quick::CmpMI32E => cmp!(mi, 4, 2),
                            Quick::CmpMI32NE => cmp!(mi, 5, 2),
                            Quick::CmpMI32BE => cmp!(mi, 6, 2),
                            Quick::CmpMI32A => cmp!(mi, 7, 2),
                            Quick::CmpMI32L => cmp!(mi, 12, 2),
                            Quick::CmpMI32GE => cmp!(mi, 13, 2),
                            Quick::CmpMI32LE => cmp!(mi, 14, 2),
                            Quick::CmpMI32G => cmp!(mi, 15, 2),
                            Quick::CmpMI64B => cmp!(mi, 2, 3),
                            Quick::CmpMI64AE => cmp!(mi, 3, 3),
                            Quick::CmpMI64E => cmp!(mi, 4, 3),
                            Quick::CmpMI64NE => cmp!(mi, 5, 3),
                            Quick::CmpMI64BE => cmp!(mi, 6, 3),
                            Quick::CmpMI64A => cmp!(mi, 7, 3),
                            Quick::CmpRM32B => cmp!(rm, 2, 2),
                            Quick::CmpRM32AE => cmp!(rm, 3, 2),
                            Quick::CmpRM32E => cmp!(rm, 4, 2),
                            Quick::CmpRM32NE => cmp!(rm, 5, 2),
                            Quick::CmpRM32BE => cmp!(rm, 6, 2),
                            Quick::CmpRM32A => cmp!(rm, 7, 2),
                            Quick::CmpRM64B => cmp!(rm, 2, 3),
                            Quick::CmpRM64AE => cmp!(rm, 3, 3),
                            Quick::CmpRM64E => cmp!(rm, 4, 3),
                            Quick::CmpRM64NE => cmp!(rm, 5, 3),
                            Quick::CmpRM64BE => cmp!(rm, 6, 3),
                            Quick::CmpRM64A => cmp!(rm, 7, 3),
                            Quick::CmpMR32B => cmp!(mr, 2, 2),
                            Quick::CmpMR32AE => cmp!(mr, 3, 2),
                            Quick::CmpMR32E => cmp!(mr, 4, 2),
                            Quick::CmpMR32NE => cmp!(mr, 5, 2),
                            Quick::CmpMR32BE => cmp!(mr, 6, 2),
                            Quick::CmpMR32A => cmp!(mr, 7, 2),
                            Quick::CmpMR64B => cmp!(mr, 2, 3),
                            Quick::CmpMR64AE => cmp!(mr, 3, 3),
                            Quick::CmpMR64E => cmp!(mr, 4, 3),
                            Quick::CmpMR64NE => cmp!(mr, 5, 3),
                            Quick::CmpMR64BE => cmp!(mr, 6, 3),
                            Quick::CmpMR64A => cmp!(mr, 7, 3),
                            Quick::TestRR8E => test!(rr, 4, 0),
                            Quick::TestRR8NE => test!(rr, 5, 0),
                            Quick::TestRR8S => test!(rr, 8, 0),
                            Quick::TestRR8NS => test!(rr, 9, 0),
                            Quick::TestRR32E => test!(rr, 4, 2),
                            Quick::TestRR32NE => test!(rr, 5, 2),
                            Quick::TestRR32S => test!(rr, 8, 2),
                            Quick::TestRR32NS => test!(rr, 9, 2),
                            Quick::TestRR32LE => test!(rr, 14, 2),
                            Quick::TestRR32G => test!(rr, 15, 2),
                            Quick::TestRR64E => test!(rr, 4, 3),
                            Quick::TestRR64NE => test!(rr, 5, 3),
                            Quick::TestRR64S => test!(rr, 8, 3),
                            Quick::TestRR64NS => test!(rr, 9, 3),
                            Quick::TestRR64LE => test!(rr, 14, 3),
                            Quick::TestRR64G => test!(rr, 15, 3),
                            Quick::TestRI8E => test!(ri, 4, 0),
                            Quick::TestRI8NE => test!(ri, 5, 0),
                            Quick::TestHI8E => test!(hi, 4, 0),
                            Quick::TestHI8NE => test!(hi, 5, 0),
                            Quick::TestRI32E => test!(ri, 4, 2),
                            Quick::TestRI32NE => test!(ri, 5, 2),
                            Quick::TestRI64E => test!(ri, 4, 3),
                            Quick::TestRI64NE => test!(ri, 5, 3),
                            Quick::TestMI8E => test!(mi, 4, 0),
                            Quick::TestMI8NE => test!(mi, 5, 0),
                            Quick::TestMI32E => test!(mi, 4, 2),
                            Quick::TestMI32NE => test!(mi, 5, 2),
                            Quick::AddRI32E => fused!(u.alu::<2>(Op::Add, uop, u.reg::<2>(uop.dst), u.imm::<2>(uop)) == 0, 4),
                            Quick::AddRI32NE => fused!(u.alu::<2>(Op::Add, uop, u.reg::<2>(uop.dst), u.imm::<2>(uop)) == 0, 5),
                            Quick::AddRI64E => fused!(u.alu::<3>(Op::Add, uop, u.reg::<3>(uop.dst), u.imm::<3>(uop)) == 0, 4),
                            Quick::AddRI64NE => fused!(u.alu::<3>(Op::Add, uop, u.reg::<3>(uop.dst), u.imm::<3>(uop)) == 0, 5),
                            Quick::SubRI32E => fused!(u.alu::<2>(Op::Sub, uop, u.reg::<2>(uop.dst), u.imm::<2>(uop)) == 0, 4),
                            Quick::SubRI32NE => fused!(u.alu::<2>(Op::Sub, uop, u.reg::<2>(uop.dst), u.imm::<2>(uop)) == 0, 5),
                            Quick::SubRI64E => fused!(u.alu::<3>(Op::Sub, uop, u.reg::<3>(uop.dst), u.imm::<3>(uop)) == 0, 4),
                            Quick::SubRI64NE => fused!(u.alu::<3>(Op::Sub, uop, u.reg::<3>(uop.dst), u.imm::<3>(uop)) == 0, 5),
                            Quick::SubRR32E => fused!(u.alu::<2>(Op::Sub, uop, u.reg::<2>(uop.dst), u.reg::<2>(uop.src)) == 0, 4),
                            Quick::SubRR32NE => fused!(u.alu::<2>(Op::Sub, uop, u.reg::<2>(uop.dst), u.reg::<2>(uop.src)) == 0, 5),
                            Quick::SubRR64E => fused!(u.alu::<3>(Op::Sub, uop, u.reg::<3>(uop.dst), u.reg::<3>(uop.src)) == 0, 4),
                            Quick::SubRR64NE => fused!(u.alu::<3>(Op::Sub, uop, u.reg::<3>(uop.dst), u.reg::<3>(uop.src)) == 0, 5),
                            Quick::AndRI32E => fused!(u.alu::<2>(Op::And, uop, u.reg::<2>(uop.dst), u.imm::<2>(uop)) == 0, 4),
                            Quick::AndRI32NE => fused!(u.alu::<2>(Op::And, uop, u.reg::<2>(uop.dst), u.imm::<2>(uop)) == 0, 5),
                            Quick::AndRI64E => fused!(u.alu::<3>(Op::And, uop, u.reg::<3>(uop.dst), u.imm::<3>(uop)) == 0, 4),
                            Quick::AndRI64NE => fused!(u.alu::<3>(Op::And, uop, u.reg::<3>(uop.dst), u.imm::<3>(uop)) == 0, 5),
                            Quick::AndRR32E => fused!(u.alu::<2>(Op::And, uop, u.reg::<2>(uop.dst), u.reg::<2>(uop.src)) == 0, 4),
                            Quick::AndRR32NE => fused!(u.alu::<2>(Op::And, uop, u.reg::<2>(uop.dst), u.reg::<2>(uop.src)) == 0, 5),
                            Quick::AndRR64E => fused!(u.alu::<3>(Op::And, uop, u.reg::<3>(uop.dst), u.reg::<3>(uop.src)) == 0, 4),
                            Quick::AndRR64NE => fused!(u.alu::<3>(Op::And, uop, u.reg::<3>(uop.dst), u.reg::<3>(uop.src)) == 0, 5),
                            Quick::DecR32E => fused!(u.step_register::<2>(false, uop) == 0, 4),
                            Quick::DecR32NE => fused!(u.step_register::<2>(false, uop) == 0, 5),
                            Quick::DecR64E => fused!(u.step_register::<3>(false, uop) == 0, 4),
                            Quick::DecR64NE => fused!(u.step_register::<3>(false, uop) == 0, 5),
                        }
                        continue 'run;
                    }
                    leave!(General);
                };
                if branch.disp != 0 {
                    left -= u64::from(branch.done);
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
            left -= u64::from(branch.done);
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
    uops[index..].iter()
}
