//! Integer lanes: every instruction is a function of two vectors and an immediate.

use super::Lane;
use super::aes;
use crate::core::{Core, Fault};
use crate::flags::{CF, ZF};
use crate::uop::{IMM, MEM_SRC, MMX, Uop};

/// Applies a function lane by lane.
macro_rules! each {
    ($lane:ty, $bytes:literal, $a:expr, $b:expr, $f:expr) => {{
        let (a, b) = ($a.to_le_bytes(), $b.to_le_bytes());
        let mut r = [0u8; 16];
        let f = $f;
        let mut at = 0;
        while at < 16 {
            let mut x = [0; $bytes];
            let mut y = [0; $bytes];
            x.copy_from_slice(&a[at..at + $bytes]);
            y.copy_from_slice(&b[at..at + $bytes]);
            let z: $lane = f(<$lane>::from_le_bytes(x), <$lane>::from_le_bytes(y));
            r[at..at + $bytes].copy_from_slice(&z.to_le_bytes());
            at += $bytes;
        }
        u128::from_le_bytes(r)
    }};
}

fn byte(v: u128, at: u32) -> u8 {
    (v >> (8 * at)) as u8
}
fn word(v: u128, at: u32) -> u16 {
    (v >> (16 * at)) as u16
}
fn double(v: u128, at: u32) -> u32 {
    (v >> (32 * at)) as u32
}

/// A vector of `count` lanes of `bits`.
fn build(bits: u32, count: u32, lane: impl Fn(u32) -> u64) -> u128 {
    let mask = u64::MAX >> (64 - bits);
    (0..count).fold(0, |v, at| v | u128::from(lane(at) & mask) << (bits * at))
}

fn all<T: PartialEq>(set: bool, ones: T, zero: T) -> T {
    if set { ones } else { zero }
}

fn signed_word(value: i32) -> u64 {
    value.clamp(-0x8000, 0x7FFF) as u64
}

/// Lanes of `a` and `b` in turn, from the lower or the upper half of `width` bits.
fn unpack(bits: u32, width: u32, high: bool, a: u128, b: u128) -> u128 {
    let first = if high { width / 2 / bits } else { 0 };
    let mask = u128::MAX >> (128 - bits);
    let mut v = 0;
    for at in 0..width / 2 / bits {
        let shift = bits * (first + at);
        v |= (a >> shift & mask) << (2 * at * bits);
        v |= (b >> shift & mask) << ((2 * at + 1) * bits);
    }
    v
}

/// Pairs of neighbours, first of `a`, then of `b`.
fn pairs(bits: u32, width: u32, a: u128, b: u128, f: impl Fn(i64, i64) -> u64) -> u128 {
    let lanes = width / bits;
    build(bits, lanes, |at| {
        let from = if at < lanes / 2 { a } else { b };
        let first = 2 * (at % (lanes / 2));
        let lane = |n: u32| {
            let shift = 64 - bits;
            (((from >> (bits * n)) as u64) << shift) as i64 >> shift
        };
        f(lane(first), lane(first + 1))
    })
}

/// A shift of lanes by one count for all; counts of the width and more give zeros or signs.
fn shift(bits: u32, v: u128, count: u64, left: bool, signed: bool) -> u128 {
    build(bits, 128 / bits, |at| {
        let lane = (v >> (bits * at)) as u64 & (u64::MAX >> (64 - bits));
        if signed {
            let extend = 64 - bits;
            let lane = (lane << extend) as i64 >> extend;
            (lane >> count.min(63)) as u64
        } else if count >= bits.into() {
            0
        } else if left {
            lane << count
        } else {
            lane >> count
        }
    })
}

/// Widening moves: lanes of `from` bits to lanes of `to` bits.
fn widen(from: u32, to: u32, signed: bool, v: u128) -> u128 {
    build(to, 128 / to, |at| {
        let lane = (v >> (from * at)) as u64 & (u64::MAX >> (64 - from));
        let extend = 64 - from;
        if signed { ((lane << extend) as i64 >> extend) as u64 } else { lane }
    })
}

fn blend(bits: u32, a: u128, b: u128, choose: impl Fn(u32) -> bool) -> u128 {
    let mask = u128::MAX >> (128 - bits);
    (0..128 / bits).fold(0, |v, at| {
        let from = if choose(at) { b } else { a };
        v | from & mask << (bits * at)
    })
}

fn shuffle(bits: u32, v: u128, control: u32) -> u128 {
    build(bits, 4, |at| (v >> (bits * (control >> (2 * at) & 3))) as u64)
}

/// PSHUFB: an index with its sign set gives zero.
fn shuffle_bytes(width: u32, a: u128, b: u128) -> u128 {
    build(8, width / 8, |at| {
        let index = byte(b, at);
        if index & 0x80 != 0 { 0 } else { byte(a, u32::from(index) & (width / 8 - 1)).into() }
    })
}

fn sums_of_differences(a: u128, b: u128, control: u32) -> u128 {
    let (from_a, from_b) = ((control >> 2 & 1) * 4, (control & 3) * 4);
    build(16, 8, |at| {
        (0..4).map(|n| u64::from(byte(a, from_a + at + n).abs_diff(byte(b, from_b + n)))).sum()
    })
}

fn smallest(v: u128) -> u128 {
    let (value, at) = (0..8).map(|at| (word(v, at), at)).min().unwrap_or_default();
    u128::from(value) | u128::from(at) << 16
}

fn carryless(a: u64, b: u64) -> u128 {
    (0..64).filter(|bit| b >> bit & 1 != 0).fold(0, |r, bit| r ^ u128::from(a) << bit)
}

/// The result of a lane instruction; `width` is 64 for MMX, whose operands have nothing above.
#[rustfmt::skip]
fn compute(lane: Lane, a: u128, b: u128, imm: u32, width: u32) -> u128 {
    match lane {
        Lane::Paddb => each!(u8, 1, a, b, u8::wrapping_add),
        Lane::Paddw => each!(u16, 2, a, b, u16::wrapping_add),
        Lane::Paddd => each!(u32, 4, a, b, u32::wrapping_add),
        Lane::Paddq => each!(u64, 8, a, b, u64::wrapping_add),
        Lane::Paddsb => each!(i8, 1, a, b, i8::saturating_add),
        Lane::Paddsw => each!(i16, 2, a, b, i16::saturating_add),
        Lane::Paddusb => each!(u8, 1, a, b, u8::saturating_add),
        Lane::Paddusw => each!(u16, 2, a, b, u16::saturating_add),
        Lane::Psubb => each!(u8, 1, a, b, u8::wrapping_sub),
        Lane::Psubw => each!(u16, 2, a, b, u16::wrapping_sub),
        Lane::Psubd => each!(u32, 4, a, b, u32::wrapping_sub),
        Lane::Psubq => each!(u64, 8, a, b, u64::wrapping_sub),
        Lane::Psubsb => each!(i8, 1, a, b, i8::saturating_sub),
        Lane::Psubsw => each!(i16, 2, a, b, i16::saturating_sub),
        Lane::Psubusb => each!(u8, 1, a, b, u8::saturating_sub),
        Lane::Psubusw => each!(u16, 2, a, b, u16::saturating_sub),
        Lane::Pmullw => each!(u16, 2, a, b, u16::wrapping_mul),
        Lane::Pmulld => each!(u32, 4, a, b, u32::wrapping_mul),
        Lane::Pmulhw => each!(i16, 2, a, b, |x: i16, y: i16| ((i32::from(x) * i32::from(y)) >> 16) as i16),
        Lane::Pmulhuw => each!(u16, 2, a, b, |x: u16, y: u16| ((u32::from(x) * u32::from(y)) >> 16) as u16),
        Lane::Pmulhrsw => each!(i16, 2, a, b, |x: i16, y: i16| (((i32::from(x) * i32::from(y)) >> 14).wrapping_add(1) >> 1) as i16),
        Lane::Pmuludq => each!(u64, 8, a, b, |x: u64, y: u64| (x & 0xFFFF_FFFF) * (y & 0xFFFF_FFFF)),
        Lane::Pmuldq => each!(i64, 8, a, b, |x: i64, y: i64| i64::from(x as i32) * i64::from(y as i32)),
        Lane::Pmaddwd => each!(u32, 4, a, b, |x: u32, y: u32| {
            let low = i32::from(x as i16) * i32::from(y as i16);
            low.wrapping_add(i32::from((x >> 16) as i16) * i32::from((y >> 16) as i16)) as u32
        }),
        Lane::Pmaddubsw => each!(u16, 2, a, b, |x: u16, y: u16| {
            let low = i32::from(x as u8) * i32::from(y as i8);
            signed_word(low + i32::from(x >> 8) * i32::from((y >> 8) as i8)) as u16
        }),
        Lane::Pavgb => each!(u8, 1, a, b, |x: u8, y: u8| ((u16::from(x) + u16::from(y) + 1) >> 1) as u8),
        Lane::Pavgw => each!(u16, 2, a, b, |x: u16, y: u16| ((u32::from(x) + u32::from(y) + 1) >> 1) as u16),
        Lane::Psadbw => build(64, 2, |half| (0..8).map(|n| u64::from(byte(a, 8 * half + n).abs_diff(byte(b, 8 * half + n)))).sum()),
        Lane::Mpsadbw => sums_of_differences(a, b, imm),
        Lane::Phminposuw => smallest(b),
        Lane::Pminub => each!(u8, 1, a, b, u8::min),
        Lane::Pminuw => each!(u16, 2, a, b, u16::min),
        Lane::Pminud => each!(u32, 4, a, b, u32::min),
        Lane::Pminsb => each!(i8, 1, a, b, i8::min),
        Lane::Pminsw => each!(i16, 2, a, b, i16::min),
        Lane::Pminsd => each!(i32, 4, a, b, i32::min),
        Lane::Pmaxub => each!(u8, 1, a, b, u8::max),
        Lane::Pmaxuw => each!(u16, 2, a, b, u16::max),
        Lane::Pmaxud => each!(u32, 4, a, b, u32::max),
        Lane::Pmaxsb => each!(i8, 1, a, b, i8::max),
        Lane::Pmaxsw => each!(i16, 2, a, b, i16::max),
        Lane::Pmaxsd => each!(i32, 4, a, b, i32::max),
        Lane::Pand | Lane::Andps | Lane::Andpd => a & b,
        Lane::Pandn | Lane::Andnps | Lane::Andnpd => !a & b,
        Lane::Por | Lane::Orps | Lane::Orpd => a | b,
        Lane::Pxor | Lane::Xorps | Lane::Xorpd => a ^ b,
        Lane::Pcmpeqb => each!(u8, 1, a, b, |x, y| all(x == y, u8::MAX, 0)),
        Lane::Pcmpeqw => each!(u16, 2, a, b, |x, y| all(x == y, u16::MAX, 0)),
        Lane::Pcmpeqd => each!(u32, 4, a, b, |x, y| all(x == y, u32::MAX, 0)),
        Lane::Pcmpeqq => each!(u64, 8, a, b, |x, y| all(x == y, u64::MAX, 0)),
        Lane::Pcmpgtb => each!(i8, 1, a, b, |x, y| all(x > y, -1i8, 0)),
        Lane::Pcmpgtw => each!(i16, 2, a, b, |x, y| all(x > y, -1i16, 0)),
        Lane::Pcmpgtd => each!(i32, 4, a, b, |x, y| all(x > y, -1i32, 0)),
        Lane::Pcmpgtq => each!(i64, 8, a, b, |x, y| all(x > y, -1i64, 0)),
        Lane::Packsswb => pack(16, width, a, b, |x| x.clamp(-0x80, 0x7F)),
        Lane::Packssdw => pack(32, width, a, b, |x| x.clamp(-0x8000, 0x7FFF)),
        Lane::Packuswb => pack(16, width, a, b, |x| x.clamp(0, 0xFF)),
        Lane::Packusdw => pack(32, width, a, b, |x| x.clamp(0, 0xFFFF)),
        Lane::Punpcklbw => unpack(8, width, false, a, b),
        Lane::Punpcklwd => unpack(16, width, false, a, b),
        Lane::Punpckldq | Lane::Unpcklps => unpack(32, width, false, a, b),
        Lane::Punpcklqdq | Lane::Unpcklpd => unpack(64, width, false, a, b),
        Lane::Punpckhbw => unpack(8, width, true, a, b),
        Lane::Punpckhwd => unpack(16, width, true, a, b),
        Lane::Punpckhdq | Lane::Unpckhps => unpack(32, width, true, a, b),
        Lane::Punpckhqdq | Lane::Unpckhpd => unpack(64, width, true, a, b),
        Lane::Psllw => shift(16, a, b as u64, true, false),
        Lane::Pslld => shift(32, a, b as u64, true, false),
        Lane::Psllq => shift(64, a, b as u64, true, false),
        Lane::Psrlw => shift(16, a, b as u64, false, false),
        Lane::Psrld => shift(32, a, b as u64, false, false),
        Lane::Psrlq => shift(64, a, b as u64, false, false),
        Lane::Psraw => shift(16, a, b as u64, false, true),
        Lane::Psrad => shift(32, a, b as u64, false, true),
        Lane::Pslldq => a.checked_shl(8 * b.min(16) as u32).unwrap_or(0),
        Lane::Psrldq => a.checked_shr(8 * b.min(16) as u32).unwrap_or(0),
        Lane::Pshufd => shuffle(32, b, imm),
        Lane::Pshufw => shuffle(16, b, imm),
        Lane::Pshuflw => b & !u128::from(u64::MAX) | shuffle(16, b, imm),
        Lane::Pshufhw => b & u128::from(u64::MAX) | shuffle(16, b >> 64, imm) << 64,
        Lane::Shufps => build(32, 4, |at| double(if at < 2 { a } else { b }, imm >> (2 * at) & 3).into()),
        Lane::Shufpd => build(64, 2, |at| ((if at == 0 { a } else { b }) >> (64 * (imm >> at & 1))) as u64),
        Lane::Pshufb => shuffle_bytes(width, a, b),
        Lane::Phaddw => pairs(16, width, a, b, |x, y| x.wrapping_add(y) as u64),
        Lane::Phaddd => pairs(32, width, a, b, |x, y| x.wrapping_add(y) as u64),
        Lane::Phaddsw => pairs(16, width, a, b, |x, y| signed_word((x + y) as i32)),
        Lane::Phsubw => pairs(16, width, a, b, |x, y| x.wrapping_sub(y) as u64),
        Lane::Phsubd => pairs(32, width, a, b, |x, y| x.wrapping_sub(y) as u64),
        Lane::Phsubsw => pairs(16, width, a, b, |x, y| signed_word((x - y) as i32)),
        Lane::Psignb => each!(i8, 1, a, b, |x: i8, y: i8| x.wrapping_mul(y.signum())),
        Lane::Psignw => each!(i16, 2, a, b, |x: i16, y: i16| x.wrapping_mul(y.signum())),
        Lane::Psignd => each!(i32, 4, a, b, |x: i32, y: i32| x.wrapping_mul(y.signum())),
        Lane::Palignr => align(width, a, b, imm),
        Lane::Pabsb => each!(i8, 1, b, b, |x: i8, _| x.wrapping_abs()),
        Lane::Pabsw => each!(i16, 2, b, b, |x: i16, _| x.wrapping_abs()),
        Lane::Pabsd => each!(i32, 4, b, b, |x: i32, _| x.wrapping_abs()),
        Lane::Pmovsxbw => widen(8, 16, true, b),
        Lane::Pmovsxbd => widen(8, 32, true, b),
        Lane::Pmovsxbq => widen(8, 64, true, b),
        Lane::Pmovsxwd => widen(16, 32, true, b),
        Lane::Pmovsxwq => widen(16, 64, true, b),
        Lane::Pmovsxdq => widen(32, 64, true, b),
        Lane::Pmovzxbw => widen(8, 16, false, b),
        Lane::Pmovzxbd => widen(8, 32, false, b),
        Lane::Pmovzxbq => widen(8, 64, false, b),
        Lane::Pmovzxwd => widen(16, 32, false, b),
        Lane::Pmovzxwq => widen(16, 64, false, b),
        Lane::Pmovzxdq => widen(32, 64, false, b),
        Lane::Pblendw => blend(16, a, b, |at| imm >> at & 1 != 0),
        Lane::Blendps => blend(32, a, b, |at| imm >> at & 1 != 0),
        Lane::Blendpd => blend(64, a, b, |at| imm >> at & 1 != 0),
        Lane::Pclmulqdq => carryless((a >> (64 * (imm & 1))) as u64, (b >> (64 * (imm >> 4 & 1))) as u64),
        Lane::Aesenc => aes::encrypt(a, b, false),
        Lane::Aesenclast => aes::encrypt(a, b, true),
        Lane::Aesdec => aes::decrypt(a, b, false),
        Lane::Aesdeclast => aes::decrypt(a, b, true),
        Lane::Aesimc => aes::inverse_mix(b),
        Lane::Aeskeygenassist => aes::key_assist(b, imm as u8),
        _ => a,
    }
}

fn pack(bits: u32, width: u32, a: u128, b: u128, clamp: impl Fn(i64) -> i64) -> u128 {
    let lanes = width / bits;
    build(bits / 2, 2 * lanes, |at| {
        let from = if at < lanes { a } else { b };
        let shift = 64 - bits;
        let lane = (((from >> (bits * (at % lanes))) as u64) << shift) as i64 >> shift;
        clamp(lane) as u64
    })
}

fn align(width: u32, a: u128, b: u128, imm: u32) -> u128 {
    let bytes = width / 8;
    let imm = imm & 0xFF;
    build(8, bytes, |at| {
        let from = at + imm;
        if from < bytes {
            byte(b, from).into()
        } else if from < 2 * bytes {
            byte(a, from - bytes).into()
        } else {
            0
        }
    })
}

impl Core<'_> {
    /// All of [`Lane`].
    pub(crate) fn sse_lane(&mut self, uop: &Uop) -> Result<(), Fault> {
        self.check_vector(uop)?;
        let lane = Lane::from_sub(uop.sub);
        let unaligned = matches!(
            lane,
            Lane::Pcmpestri
                | Lane::Pcmpestrm
                | Lane::Pcmpistri
                | Lane::Pcmpistrm
                | Lane::Pcmpestri64
                | Lane::Pcmpestrm64
        );
        let b = if uop.has(MEM_SRC) {
            self.load_vector(uop, !unaligned)?
        } else if uop.has(IMM) && shifts(lane) {
            uop.imm as u128 & 0xFF
        } else {
            self.vector(uop, uop.src)
        };
        let a = self.vector(uop, uop.dst);
        let imm = uop.imm as u32;
        match lane {
            Lane::Ptest => {
                let zero = if a & b == 0 { ZF } else { 0 };
                let carry = if !a & b == 0 { CF } else { 0 };
                self.state.flags.set_status(zero | carry);
                return Ok(());
            }
            Lane::Pblendvb | Lane::Blendvps | Lane::Blendvpd => {
                let mask = self.xmm(0);
                let bits = match lane {
                    Lane::Pblendvb => 8,
                    Lane::Blendvps => 32,
                    _ => 64,
                };
                let r = blend(bits, a, b, |at| mask >> (bits * at + bits - 1) & 1 != 0);
                self.set_xmm(uop.dst, r);
                return Ok(());
            }
            _ if unaligned => return self.compare_strings(uop, lane, a, b),
            _ => {}
        }
        let width = if uop.has(MMX) { 64 } else { 128 };
        let r = compute(lane, a, b, imm, width);
        self.set_vector(uop, r);
        self.mmx_done(uop);
        Ok(())
    }
}

/// Shifts, whose immediate is the second operand.
fn shifts(lane: Lane) -> bool {
    matches!(
        lane,
        Lane::Psllw
            | Lane::Pslld
            | Lane::Psllq
            | Lane::Psrlw
            | Lane::Psrld
            | Lane::Psrlq
            | Lane::Psraw
            | Lane::Psrad
            | Lane::Pslldq
            | Lane::Psrldq
    )
}
