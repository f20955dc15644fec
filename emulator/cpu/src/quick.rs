//! The short cuts: what the loop in [`run`] does by itself, without a call.
//!
//! An instruction whose operands are of a common kind carries the number of a short cut
//! besides its general operation, and a compare carries one for itself and the branch behind
//! it. What a short cut does is what the general operations do; where it cannot (a page that
//! the TLB does not know, a device, decoded code, a fault), it has changed nothing and leaves
//! the instruction to them. The differential test steps with and without short cuts.

pub(crate) mod run;
pub(crate) mod select;
mod unit;
mod vector;

/// The number of a short cut. R is a register, M memory, I the immediate; the destination
/// comes first. Behind a compare stands the condition of the branch that it is done with
/// (B below, E equal, A above, L less, G greater, S sign), or its opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
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
    TestRR8, TestRR32, TestRR64, TestRI8, TestRI32, TestRI64, TestMI8, TestMI32,
    /// Arithmetic of bytes and words, and on memory: which one is decided when it happens.
    AluR8, AluR16, AluM8, AluM16, AluM32, AluM64,
    MovRR32, MovRR64, MovRI32, MovRI64, MovRM8, MovRM32, MovRM64,
    MovMR8, MovMR16, MovMR32, MovMR64, MovMI8, MovMI16, MovMI32, MovMI64,
    MovzxRB, MovzxRW, MovzxMB, MovzxMW, MovsxR, MovsxM, MovsxdRR, MovsxdRM, Lea32, Lea64,
    IncR32, IncR64, DecR32, DecR64, NegR32, NegR64, NotR32, NotR64, Bswap, Widen32, Widen64, SignToD32, SignToD64,
    ShlI32, ShlI64, ShrI32, ShrI64, SarI32, SarI64, ShlC32, ShlC64, ShrC32, ShrC64, SarC32, SarC64,
    ImulRR32, ImulRR64, ImulRI32, ImulRI64, ImulRM32, ImulRM64,
    CmovRR32, CmovRR64, CmovRM32, CmovRM64, SetR,
    PushR32, PushR64, PushI64, PushM64, PopR32, PopR64, Leave64,
    Jmp, JmpR, JmpM, Call32, Call64, CallR64, CallM64, Ret32, Ret64, Link,
    Jo, Jb, Je, Jbe, Js, Jp, Jl, Jle,
    /// SSE. V is a vector, S a single, D a double, Q a quadword, G a general register; MA is
    /// memory that must be aligned.
    MovVV, MovVMa, MovVM, MovMaV, MovMV, MovSS, MovSM, MovMS, MovDD, MovDM, MovMD, MovQQ, MovLowM, MovHighM, MovMHigh,
    MovVG32, MovVG64, MovG32V, MovG64V, Unpcklpd, Unpckhpd, Pand, Pandn, Por, Pxor,
    Addsd, Subsd, Mulsd, Divsd, Sqrtsd, Minsd, Maxsd, Addss, Subss, Mulss, Divss, Addpd, Subpd, Mulpd,
    Comisd, Comiss, Cvtsi2sd32, Cvtsi2sd64, Cvttsd2si32, Cvttsd2si64, Cvtss2sd, Cvtsd2ss,
    CmpRR32B, CmpRR32E, CmpRR32A, CmpRR32L, CmpRR32G,
    CmpRR64B, CmpRR64E, CmpRR64A, CmpRR64L, CmpRR64G,
    CmpRI32B, CmpRI32E, CmpRI32A, CmpRI32L, CmpRI32G,
    CmpRI64B, CmpRI64E, CmpRI64A, CmpRI64L, CmpRI64G,
    CmpRI8B, CmpRI8E, CmpRI8A, CmpRI8L, CmpRI8G, CmpRR8E, CmpRR8A,
    CmpMI8E, CmpMI8A, CmpMI32E, CmpMI32A, CmpMI32G, CmpMI64E, CmpRM32E, CmpRM32A, CmpRM64E, CmpRM64A, CmpMR32E, CmpMR32A, CmpMR64E, CmpMR64A,
    TestRR8E, TestRR8S, TestRR32E, TestRR32S, TestRR32G, TestRR64E, TestRR64S, TestRR64G,
    TestRI8E, TestRI32E, TestMI8E,
}

impl Quick {
    /// Is the branch behind it a part of it?
    pub(crate) fn fuses(self) -> bool {
        self as u8 >= Quick::CmpRR32B as u8
    }
}
