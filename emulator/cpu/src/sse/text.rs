//! PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 2, 4.1): all elements of one vector
//! against all of another, and what the immediate makes of the answers.

use super::Lane;
use crate::core::{Core, Fault};
use crate::flags::{CF, OF, SF, ZF};
use crate::state::reg;
use crate::uop::Uop;

/// A vector as elements, and how many of them are valid.
struct Text {
    elements: Vec<i32>,
    valid: usize,
}

/// Elements of a vector: bytes or words, signed or not.
fn elements(v: u128, imm: u32) -> Vec<i32> {
    let bytes = v.to_le_bytes();
    let words = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    match imm & 3 {
        0 => bytes.iter().map(|byte| i32::from(*byte)).collect(),
        1 => words.map(i32::from).collect(),
        2 => bytes.iter().map(|byte| i32::from(*byte as i8)).collect(),
        _ => words.map(|word| i32::from(word as i16)).collect(),
    }
}

fn implicit(v: u128, imm: u32) -> Text {
    let elements = elements(v, imm);
    let valid = elements.iter().position(|element| *element == 0).unwrap_or(elements.len());
    Text { elements, valid }
}

fn explicit(v: u128, imm: u32, length: i64) -> Text {
    let elements = elements(v, imm);
    let valid = length.unsigned_abs().min(elements.len() as u64) as usize;
    Text { elements, valid }
}

/// One bit for each element of `b`.
fn aggregate(a: &Text, b: &Text, imm: u32) -> u32 {
    let count = a.elements.len();
    let set = |at: usize| match imm >> 2 & 3 {
        0 => at < b.valid && a.elements[..a.valid].contains(&b.elements[at]),
        1 => {
            at < b.valid
                && a.elements[..a.valid]
                    .chunks_exact(2)
                    .any(|range| (range[0]..=range[1]).contains(&b.elements[at]))
        }
        2 => {
            let (left, right) = (at < a.valid, at < b.valid);
            if left && right { a.elements[at] == b.elements[at] } else { left == right }
        }
        _ => (0..count - at).all(|n| {
            let (left, right) = (n < a.valid, at + n < b.valid);
            !left || (right && a.elements[n] == b.elements[at + n])
        }),
    };
    (0..count).filter(|at| set(*at)).fold(0, |bits, at| bits | 1 << at)
}

impl Core<'_> {
    pub(crate) fn compare_strings(
        &mut self,
        uop: &Uop,
        lane: Lane,
        a: u128,
        b: u128,
    ) -> Result<(), Fault> {
        let imm = uop.imm as u32;
        let counted = matches!(
            lane,
            Lane::Pcmpestri | Lane::Pcmpestrm | Lane::Pcmpestri64 | Lane::Pcmpestrm64
        );
        let (a, b) = if counted {
            let wide = matches!(lane, Lane::Pcmpestri64 | Lane::Pcmpestrm64);
            let length = |register: usize| {
                let value = self.state.gpr[register];
                if wide { value as i64 } else { i64::from(value as i32) }
            };
            (explicit(a, imm, length(reg::RAX)), explicit(b, imm, length(reg::RDX)))
        } else {
            (implicit(a, imm), implicit(b, imm))
        };
        let count = a.elements.len();
        let every = (1u32 << count) - 1;
        let found = aggregate(&a, &b, imm);
        let valid = (1u32 << b.valid) - 1;
        let result = match imm >> 4 & 3 {
            1 => found ^ every,
            3 => found ^ valid,
            _ => found,
        };
        let mut status = 0;
        for (set, flag) in
            [(result != 0, CF), (b.valid < count, ZF), (a.valid < count, SF), (result & 1 != 0, OF)]
        {
            if set {
                status |= flag;
            }
        }
        self.state.flags.set_status(status);
        let index = matches!(lane, Lane::Pcmpestri | Lane::Pcmpistri | Lane::Pcmpestri64);
        if index {
            let at = match (result, imm >> 6 & 1) {
                (0, _) => count as u32,
                (_, 0) => result.trailing_zeros(),
                _ => 31 - result.leading_zeros(),
            };
            self.set_reg(reg::RCX as u8, 2, at.into());
            return Ok(());
        }
        let mask = if imm >> 6 & 1 == 0 {
            result.into()
        } else {
            let bits = 128 / count;
            let ones = u128::MAX >> (128 - bits);
            (0..count)
                .filter(|at| result >> at & 1 != 0)
                .fold(0, |mask, at| mask | ones << (bits * at))
        };
        self.set_xmm(0, mask);
        Ok(())
    }
}
