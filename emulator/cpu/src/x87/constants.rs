//! The seven constants, rounded as the control word says.

use super::{Extended, Fop};
use crate::core::Core;
use crate::soft::{self, Number};

/// 128 bits of each: the significand, and the exponent of its top bit.
pub(super) const LOG2_10: (u128, i32) = (0xd49a_784b_cd1b_8afe_492b_f6ff_4daf_db4c, 1);
pub(super) const LOG2_E: (u128, i32) = (0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88, 0);
pub(super) const PI: (u128, i32) = (0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1, 1);
pub(super) const LOG10_2: (u128, i32) = (0x9a20_9a84_fbcf_f798_8f89_59ac_0b7c_9178, -2);
pub(super) const LN_2: (u128, i32) = (0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af, -1);

impl Core<'_> {
    /// FLD1 to FLDZ.
    pub(crate) fn fpu_constant(&mut self, fop: Fop) {
        let (significand, exponent) = match fop {
            Fop::Fld1 => (1 << 127, 0),
            Fop::Fldl2t => LOG2_10,
            Fop::Fldl2e => LOG2_E,
            Fop::Fldpi => PI,
            Fop::Fldlg2 => LOG10_2,
            Fop::Fldln2 => LN_2,
            _ => {
                self.state.x87.push(Extended::pack(Number::zero(false)));
                return;
            }
        };
        let x87 = &mut self.state.x87;
        let number = x87.env().round(soft::EXTENDED, false, exponent, significand);
        x87.push(Extended::pack(number));
    }
}
