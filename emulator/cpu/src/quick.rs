//! The short cuts: what the loop in [`run`] does by itself, without a call.
//!
//! An instruction whose operands are of a common kind carries the number of a short cut
//! besides its general operation, and a compare carries one for itself and the branch behind
//! it. What a short cut does is what the general operations do; where it cannot (a page that
//! the TLB does not know, a device, decoded code, a fault), it has changed nothing and leaves
//! the instruction to them. The differential test steps with and without short cuts.

mod flow;
mod rare;
pub(crate) mod run;
pub(crate) mod select;
mod unit;
mod vector;

/// The number of a short cut. R is a register (H its upper byte), M memory, I the immediate,
/// W one of 64 bits, C the count in CL; the destination comes first. At the end may stand the
/// condition of the branch that is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[rustfmt::skip]
pub(crate) enum Quick {
    /// There is none.
    None,
    Nop,
    AddRR32, AddRR64, AddRI32, AddRI64, AddRM32, AddRM64,
    SubRR32, SubRR64, SubRI32, SubRI64, SubRM32, SubRM64,
    AndRR32, AndRR64, AndRI32, AndRI64, AndRM32, AndRM64,
    OrRR32, OrRR64, OrRI32, OrRI64, OrRM32, OrRM64,
    XorRR32, XorRR64, XorRI32, XorRI64, XorRM32, XorRM64,
    CmpRR8, CmpRR32, CmpRR64, CmpRI8, CmpRI32, CmpRI64, CmpRM8, CmpRM32, CmpRM64,
    CmpMR8, CmpMR32, CmpMR64, CmpMI8, CmpMI16, CmpMI32, CmpMI64,
    TestRR8, TestRR32, TestRR64, TestRI8, TestHI8, TestRI32, TestRI64, TestMI8, TestMI32,
    AdcRR32, AdcRR64, SbbRR32, SbbRR64,
    /// Arithmetic of bytes and words, and on memory: which one is decided when it happens.
    AluR8, AluH8, AluR16, AluM8, AluM16, AluM32, AluM64,
    MovRR8, MovRR32, MovRR64, MovRI32, MovRI64, MovRW64,
    /// Memory without an index register, and (X) with one.
    MovRM8, MovRM32, MovRM64, MovRX8, MovRX32, MovRX64,
    MovMR8, MovMR16, MovMR32, MovMR64, MovXR8, MovXR32, MovXR64,
    MovMI8, MovMI16, MovMI32, MovMI64, MovXI8, MovXI32, MovXI64,
    /// Memory in a segment that begins elsewhere.
    MovRS32, MovRS64, MovSR32, MovSR64,
    MovzxRB, MovzxRH, MovzxRW, MovzxMB, MovzxMW, MovzxXB, MovzxXW, MovsxR, MovsxM, MovsxdRR, MovsxdRM, LeaRM32, LeaRM64, LeaRX32, LeaRX64,
    IncR32, IncR64, DecR32, DecR64, NegR32, NegR64, NotR32, NotR64, Bswap, Widen32, Widen64, SignToD32, SignToD64,
    ShlI32, ShlI64, ShrI32, ShrI64, SarI32, SarI64, ShlC32, ShlC64, ShrC32, ShrC64, SarC32, SarC64, ShiftI8, ShiftI16, RolI32, RolI64, RorI32, RorI64,
    ImulRR32, ImulRR64, ImulRI32, ImulRI64, ImulRM32, ImulRM64, MulR32, MulR64, DivR32, DivR64, IdivR32, IdivR64,
    BtR, BtM, BitM, Bsf, Bsr, Xchg32, Xchg64, Xadd32, Xadd64, Cmpxchg32, Cmpxchg64,
    CmovRR32, CmovRR64, CmovRM32, CmovRM64, SetR, SetM,
    PushR32, PushR64, PushI, PushM, PopR32, PopR64, Leave,
    Jmp, JmpR, JmpM, Call32, Call64, CallR, CallM, Ret32, Ret64, Link,
    Jo, Jno, Jb, Jae, Je, Jne, Jbe, Ja, Js, Jns, Jp, Jnp, Jl, Jge, Jle, Jg,
    Cld, Cli, Sti, Swapgs,
    /// SSE. V is a vector, S a single, D a double, Q a quadword, G a general register; MA is
    /// memory that must be aligned.
    MovVV, MovVMa, MovVM, MovMaV, MovMV, MovSS, MovSM, MovMS, MovDD, MovDM, MovMD, MovQQ, MovLowM, MovHighM, MovMHigh,
    MovVG32, MovVG64, MovG32V, MovG64V, Unpcklpd, Unpckhpd, Pand, Pandn, Por, Pxor,
    Addsd, Subsd, Mulsd, Divsd, Sqrtsd, Minsd, Maxsd, Addss, Subss, Mulss, Divss, Addpd, Subpd, Mulpd,
    Comisd, Comiss, Cvtsi2sd32, Cvtsi2sd64, Cvttsd2si32, Cvttsd2si64, Cvtss2sd, Cvtsd2ss,
    CmpRR32B, CmpRR32AE, CmpRR32E, CmpRR32NE, CmpRR32BE, CmpRR32A, CmpRR32L, CmpRR32GE, CmpRR32LE, CmpRR32G,
    CmpRR64B, CmpRR64AE, CmpRR64E, CmpRR64NE, CmpRR64BE, CmpRR64A, CmpRR64L, CmpRR64GE, CmpRR64LE, CmpRR64G,
    CmpRI32B, CmpRI32AE, CmpRI32E, CmpRI32NE, CmpRI32BE, CmpRI32A, CmpRI32L, CmpRI32GE, CmpRI32LE, CmpRI32G,
    CmpRI64B, CmpRI64AE, CmpRI64E, CmpRI64NE, CmpRI64BE, CmpRI64A, CmpRI64L, CmpRI64GE, CmpRI64LE, CmpRI64G,
    CmpRI8B, CmpRI8AE, CmpRI8E, CmpRI8NE, CmpRI8BE, CmpRI8A,
    CmpRR8B, CmpRR8AE, CmpRR8E, CmpRR8NE, CmpRR8BE, CmpRR8A,
    CmpMI8B, CmpMI8AE, CmpMI8E, CmpMI8NE, CmpMI8BE, CmpMI8A,
    CmpMI16E, CmpMI16NE,
    CmpMI32B, CmpMI32AE, CmpMI32E, CmpMI32NE, CmpMI32BE, CmpMI32A, CmpMI32L, CmpMI32GE, CmpMI32LE, CmpMI32G,
    CmpMI64B, CmpMI64AE, CmpMI64E, CmpMI64NE, CmpMI64BE, CmpMI64A,
    CmpRM32B, CmpRM32AE, CmpRM32E, CmpRM32NE, CmpRM32BE, CmpRM32A,
    CmpRM64B, CmpRM64AE, CmpRM64E, CmpRM64NE, CmpRM64BE, CmpRM64A,
    CmpMR32B, CmpMR32AE, CmpMR32E, CmpMR32NE, CmpMR32BE, CmpMR32A,
    CmpMR64B, CmpMR64AE, CmpMR64E, CmpMR64NE, CmpMR64BE, CmpMR64A,
    TestRR8E, TestRR8NE, TestRR8S, TestRR8NS,
    TestRR32E, TestRR32NE, TestRR32S, TestRR32NS, TestRR32LE, TestRR32G,
    TestRR64E, TestRR64NE, TestRR64S, TestRR64NS, TestRR64LE, TestRR64G,
    TestRI8E, TestRI8NE,
    TestHI8E, TestHI8NE,
    TestRI32E, TestRI32NE,
    TestRI64E, TestRI64NE,
    TestMI8E, TestMI8NE,
    TestMI32E, TestMI32NE,
    AddRI32E, AddRI32NE,
    AddRI64E, AddRI64NE,
    SubRI32E, SubRI32NE,
    SubRI64E, SubRI64NE,
    SubRR32E, SubRR32NE,
    SubRR64E, SubRR64NE,
    AndRI32E, AndRI32NE,
    AndRI64E, AndRI64NE,
    AndRR32E, AndRR32NE,
    AndRR64E, AndRR64NE,
    DecR32E, DecR32NE,
    DecR64E, DecR64NE,
}

impl Quick {
    /// Is the branch behind it a part of it?
    pub(crate) fn fuses(self) -> bool {
        self as u16 >= Quick::CmpRR32B as u16
    }
}
