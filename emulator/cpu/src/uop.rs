//! The micro-operation: one guest instruction, decoded once, in 24 bytes.
//!
//! ```text
//!  quick u16 │ place u16 │ op │ size │ sub │ dst │ src │ flags │ base │ index │ sib │ done │ disp i32 │ imm i32
//! ```
//!
//! It knows neither its virtual nor its physical page, only its offset inside of one, so the
//! same decoded page serves every process that maps it. What is relative to RIP is relative
//! to the register [`CODE_PAGE`], which holds the virtual address of the page in execution.

use crate::quick::Quick;

/// Index in the register file of a register that is always zero: absent base or index.
pub const ZERO: u8 = 16;
/// Index in the register file of the virtual address of the code page in execution.
pub const CODE_PAGE: u8 = 17;
/// In `dst` and `src` of byte operations: AH, CH, DH or BH, with the number of AX, CX, DX, BX.
pub const HIGH: u8 = 0x80;

/// The destination is in memory.
pub const MEM_DST: u8 = 1;
/// The source is in memory.
pub const MEM_SRC: u8 = 2;
/// The source is the immediate.
pub const IMM: u8 = 4;
/// Addresses wrap at 32 bits.
pub const ADDR32: u8 = 8;
/// LOCK prefix, or an exchange with memory.
pub const LOCK: u8 = 16;
/// REP or REPE prefix.
pub const REP: u8 = 32;
/// REPNE prefix.
pub const REPNE: u8 = 64;
/// The registers are MMX registers; for string instructions: addresses wrap at 16 bits.
pub const MMX: u8 = 128;

/// One decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Uop {
    /// The short cut that does it, if there is one.
    pub(crate) quick: Quick,
    /// Offset in the page (bits 11:0) and length (bits 15:12).
    pub place: u16,
    /// What to do.
    pub op: Op,
    /// Operand size as a power of two of bytes.
    pub size: u8,
    /// Condition, or the operation inside of a family.
    pub sub: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register.
    pub src: u8,
    /// Where the operands are, and prefixes.
    pub flags: u8,
    /// Base register of the memory operand.
    pub base: u8,
    /// Index register of the memory operand.
    pub index: u8,
    /// Scale as a power of two (bits 1:0), segment register + 1 (bits 4:2), 0 without base.
    pub sib: u8,
    /// For branches: instructions of the block up to here.
    pub(crate) done: u8,
    /// Displacement; for branches inside of a page: where they go in the code cache, plus 1;
    /// where an immediate has 64 bits, its upper half.
    pub disp: i32,
    /// Immediate; for branches: how far from the next instruction.
    pub imm: i32,
}

impl Uop {
    /// A micro-operation without operands.
    pub const fn new(op: Op) -> Self {
        Uop {
            quick: Quick::None,
            place: 0,
            op,
            size: 0,
            sub: 0,
            dst: 0,
            src: 0,
            flags: 0,
            base: ZERO,
            index: ZERO,
            sib: 0,
            done: 0,
            disp: 0,
            imm: 0,
        }
    }

    /// An immediate of 64 bits.
    #[inline(always)]
    pub const fn wide(&self) -> u64 {
        (self.disp as u32 as u64) << 32 | self.imm as u32 as u64
    }

    /// Sets [`Uop::wide`].
    pub const fn set_wide(&mut self, value: u64) {
        self.disp = (value >> 32) as i32;
        self.imm = value as i32;
    }

    /// Offset of the instruction in its page.
    #[inline(always)]
    pub const fn offset(&self) -> u64 {
        self.place as u64 & 0xFFF
    }

    /// Bytes of the instruction.
    #[inline(always)]
    pub const fn length(&self) -> u64 {
        self.place as u64 >> 12
    }

    /// Offset of the next instruction; may be in the next page.
    #[inline(always)]
    pub const fn next(&self) -> u64 {
        self.offset() + self.length()
    }

    /// Has this flag?
    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Segment register + 1 of the memory operand, 0 if its base is known to be zero.
    #[inline(always)]
    pub const fn segment(&self) -> usize {
        (self.sib >> 2 & 7) as usize
    }
}

/// Families of operations. Operands are general: register, memory or immediate, of any size,
/// as `flags` and `size` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[rustfmt::skip]
#[expect(missing_docs, reason = "the names are the manual's")]
pub enum Op {
    /// Not an instruction of this processor: #UD.
    Invalid,
    /// Not an instruction: the decoded bytes go on at `disp` − 1 in the code cache.
    Link,
    /// Not an instruction: the code goes on in the next page.
    NextPage,
    /// The instruction lies on two pages: decode it from both.
    Straddle,
    Nop,
    /// MOV of an immediate; MOV between the accumulator and an address: with [`Uop::wide`].
    MovWide, MovAbsLoad, MovAbsStore,
    Mov, Movzx, Movsx, Lea, Bswap, Movbe, Xchg, Xadd, Cmpxchg, Cmpxchg8b, Cmpxchg16b,
    Add, Or, Adc, Sbb, And, Sub, Xor, Cmp, Test, Inc, Dec, Neg, Not,
    Mul, Imul1, Imul, Div, Idiv,
    Rol, Ror, Rcl, Rcr, Shl, Shr, Sar, Shld, Shrd,
    Bt, Bts, Btr, Btc, Bsf, Bsr, Popcnt, Crc32,
    Setcc, Cmovcc, Widen, SignToD, Lahf, Sahf, Salc, Clc, Stc, Cmc, Cld, Std,
    Daa, Das, Aaa, Aas, Aam, Aad,
    Push, Pop, Pushf, Popf, Pusha, Popa, Enter, Leave, Xlat,
    Jmp, JmpIndirect, Jcc, Call, CallIndirect, Ret, Loop, Loope, Loopne, Jcxz, Bound,
    JmpFar, CallFar, RetFar, Iret, Int, Int3, Int1, Into, Ud, Syscall, Sysret, Sysenter, Sysexit,
    Movs, Stos, Lods, Scas, Cmps, Ins, Outs, In, Out,
    MovFromSeg, MovToSeg, PushSeg, PopSeg, LoadFar, Lar, Lsl, Verr, Verw, Arpl,
    Cli, Sti, Hlt, Cpuid, Rdtsc, Rdtscp, Rdpmc, Rdmsr, Wrmsr, Rdrand, Rdseed, Rdpid, Pause,
    MovFromCr, MovToCr, MovFromDr, MovToDr, Clts, Lmsw, Smsw, Invlpg, Invpcid, Wbinvd,
    Lgdt, Lidt, Sgdt, Sidt, Lldt, Ltr, Sldt, Str, Swapgs, Rdfsbase, Rdgsbase, Wrfsbase, Wrgsbase,
    Clflush, Xgetbv, Xsetbv, Monitor, Mwait,
    Fxsave, Fxrstor, Xsave, Xrstor, Ldmxcsr, Stmxcsr, Emms, MovNti,
    /// SSE moves: `sub` is a [`crate::sse::Move`].
    SseMove,
    /// Integer lanes: `sub` is a [`crate::sse::Lane`].
    SseLane,
    /// Floating-point lanes: `sub` is a [`crate::sse::Float`].
    SseFloat,
    /// x87: `sub` is a [`crate::x87::Fop`].
    X87,
}
