//! The state as bytes and back: one list of fields, walked in both directions.
//!
//! Little-endian, nothing between the fields, no version: the section of the snapshot that
//! holds it has one. What is read is not trusted.

use super::{Activity, Segment, State, Table};

/// These bytes are no state of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One direction of the walk.
trait Walk {
    fn bytes<const N: usize>(&mut self, field: [u8; N]) -> [u8; N];
}

struct Writer(Vec<u8>);

impl Walk for Writer {
    fn bytes<const N: usize>(&mut self, field: [u8; N]) -> [u8; N] {
        self.0.extend_from_slice(&field);
        field
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    short: bool,
}

impl Walk for Reader<'_> {
    fn bytes<const N: usize>(&mut self, field: [u8; N]) -> [u8; N] {
        match self.rest.split_first_chunk() {
            Some((bytes, rest)) => {
                self.rest = rest;
                *bytes
            }
            None => {
                self.short = true;
                field
            }
        }
    }
}

macro_rules! walk {
    ($walk:ident: $($field:expr),* $(,)?) => {
        $(
            let bytes = $walk.bytes($field.to_le_bytes());
            $field = walk!(@from $field, bytes);
        )*
    };
    (@from $field:expr, $bytes:expr) => {{
        fn from<T>(_: &T, make: impl Fn() -> T) -> T {
            make()
        }
        from(&$field, || FromBytes::from_le_bytes($bytes))
    }};
}

trait FromBytes<const N: usize> {
    fn from_le_bytes(bytes: [u8; N]) -> Self;
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl FromBytes<{ size_of::<$integer>() }> for $integer {
            fn from_le_bytes(bytes: [u8; size_of::<$integer>()]) -> Self {
                <$integer>::from_le_bytes(bytes)
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, u128);

fn segment(walk: &mut impl Walk, segment: &mut Segment) {
    walk!(walk: segment.base, segment.limit, segment.selector, segment.attributes);
}

fn table(walk: &mut impl Walk, table: &mut Table) {
    walk!(walk: table.base, table.limit);
}

/// Everything, in the order in which it is written.
fn all(walk: &mut impl Walk, state: &mut State) -> Result<(), Malformed> {
    for register in &mut state.gpr[..16] {
        walk!(walk: *register);
    }
    let mut flags = state.flags.bits();
    walk!(walk: flags, state.rip);
    state.flags.set_bits(flags);
    for register in &mut state.xmm {
        walk!(walk: *register);
    }
    walk!(walk: state.mxcsr);
    let x87 = &mut state.x87;
    for register in &mut x87.registers {
        walk!(walk: register.significand, register.exponent);
    }
    walk!(walk: x87.control, x87.status, x87.tags, x87.opcode, x87.instruction, x87.data);
    for register in state.segments.iter_mut().chain([&mut state.ldtr, &mut state.tr]) {
        segment(walk, register);
    }
    table(walk, &mut state.gdtr);
    table(walk, &mut state.idtr);
    walk!(walk: state.cr0, state.cr2, state.cr3, state.cr4, state.xcr0);
    for register in &mut state.dr {
        walk!(walk: *register);
    }
    let msrs = &mut state.msrs;
    walk!(walk: msrs.efer, msrs.star, msrs.lstar, msrs.cstar, msrs.sfmask, msrs.kernel_gs_base);
    // Once an offset of the time-stamp counter, which was never anything else.
    let mut unused = 0u64;
    walk!(walk: msrs.tsc_aux, unused, msrs.sysenter_cs, msrs.sysenter_esp);
    let _ = unused;
    walk!(walk: msrs.sysenter_eip, msrs.pat, msrs.misc_enable, msrs.mtrr_default);
    let mut shadow = u8::from(state.shadow);
    let mut activity = state.activity as u8;
    walk!(walk: state.cpl, shadow, activity, state.retired);
    state.shadow = shadow == 1;
    state.activity = match activity {
        0 => Activity::Running,
        1 => Activity::Halted,
        2 => Activity::Shutdown,
        _ => return Err(Malformed),
    };
    if state.cpl > 3 || shadow > 1 { Err(Malformed) } else { Ok(()) }
}

impl State {
    /// The state as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer(Vec::new());
        // What is written is a state.
        let _ = all(&mut writer, &mut self.clone());
        writer.0
    }

    /// The state that all of these bytes are.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { rest: bytes, short: false };
        let mut state = State::default();
        all(&mut reader, &mut state)?;
        if reader.short || !reader.rest.is_empty() { Err(Malformed) } else { Ok(state) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_and_no_part_of_it_does() {
        let mut state = State { rip: 0x1234, cpl: 3, shadow: true, ..State::default() };
        state.gpr[15] = u64::MAX;
        state.xmm[15] = u128::MAX - 1;
        state.flags.set_bits(0x246);
        state.x87.registers[7].exponent = 0x7FFF;
        state.segments[5].base = 1 << 46;
        state.msrs.mtrr_default = 7;
        state.activity = Activity::Halted;
        let bytes = state.to_bytes();
        let back = State::from_bytes(&bytes).unwrap();
        assert_eq!(back.to_bytes(), bytes);
        assert_eq!((back.gpr[15], back.xmm[15]), (u64::MAX, u128::MAX - 1));
        assert_eq!((back.activity, back.shadow, back.cpl), (Activity::Halted, true, 3));
        for end in 0..bytes.len() {
            assert!(State::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
        assert!(State::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn values_that_no_run_leads_to_are_refused() {
        let bytes = State::default().to_bytes();
        let tail = bytes.len() - 11;
        for (at, value) in [(tail, 4), (tail + 1, 2), (tail + 2, 3)] {
            let mut wrong = bytes.clone();
            wrong[at] = value;
            assert_eq!(State::from_bytes(&wrong).err(), Some(Malformed), "{at}");
        }
    }
}
