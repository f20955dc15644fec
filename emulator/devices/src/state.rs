//! How a device is written down: its fields in order, little-endian, nothing between them.
//!
//! A state has no version of its own; whoever keeps it (a section of a snapshot) has one.
//! What is read is not trusted: lengths are bounded by the bytes that are there, and each
//! device checks what its fields mean when it is made `from_state`.

use std::collections::VecDeque;

/// These bytes, or these values, are no state of this device: the snapshot is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Something that can be a field of a state.
pub trait Field: Sized {
    /// Appends the field.
    fn put(&self, to: &mut Vec<u8>);
    /// Takes the field from the front of `from`.
    fn take(from: &mut &[u8]) -> Result<Self, Malformed>;
}

/// The field that all of `bytes` is.
pub(crate) fn whole<F: Field>(mut bytes: &[u8]) -> Result<F, Malformed> {
    let field = F::take(&mut bytes)?;
    if bytes.is_empty() { Ok(field) } else { Err(Malformed) }
}

/// Refuses a state whose values make no sense.
pub(crate) fn check(sound: bool) -> Result<(), Malformed> {
    if sound { Ok(()) } else { Err(Malformed) }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Field for $integer {
            fn put(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut &[u8]) -> Result<Self, Malformed> {
                let (bytes, rest) = from.split_first_chunk().ok_or(Malformed)?;
                *from = rest;
                Ok(Self::from_le_bytes(*bytes))
            }
        }
    )*};
}

integers!(u8, u16, u32, u64);

impl Field for bool {
    fn put(&self, to: &mut Vec<u8>) {
        to.push((*self).into());
    }
    fn take(from: &mut &[u8]) -> Result<Self, Malformed> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl<F: Field> Field for Option<F> {
    fn put(&self, to: &mut Vec<u8>) {
        self.is_some().put(to);
        if let Some(field) = self {
            field.put(to);
        }
    }
    fn take(from: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(if bool::take(from)? { Some(F::take(from)?) } else { None })
    }
}

impl<F: Field, const N: usize> Field for [F; N] {
    fn put(&self, to: &mut Vec<u8>) {
        self.iter().for_each(|field| field.put(to));
    }
    fn take(from: &mut &[u8]) -> Result<Self, Malformed> {
        let fields = (0..N).map(|_| F::take(from)).collect::<Result<Vec<F>, Malformed>>()?;
        fields.try_into().map_err(|_| Malformed)
    }
}

impl<F: Field> Field for Vec<F> {
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u32).put(to);
        self.iter().for_each(|field| field.put(to));
    }
    fn take(from: &mut &[u8]) -> Result<Self, Malformed> {
        let count = u32::take(from)?;
        // Not reserved in advance: the count is a stranger's. A field has a byte at least.
        let mut fields = Vec::new();
        for _ in 0..count {
            fields.push(F::take(from)?);
        }
        Ok(fields)
    }
}

impl<F: Field> Field for VecDeque<F> {
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u32).put(to);
        self.iter().for_each(|field| field.put(to));
    }
    fn take(from: &mut &[u8]) -> Result<Self, Malformed> {
        Vec::take(from).map(Into::into)
    }
}

/// A struct whose fields are a state, written down once for all purposes.
macro_rules! record {
    (
        $(#[$about:meta])*
        $vis:vis struct $name:ident { $($(#[$of:meta])* $field_vis:vis $field:ident: $kind:ty,)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name { $($(#[$of])* $field_vis $field: $kind,)* }

        impl $crate::state::Field for $name {
            fn put(&self, to: &mut Vec<u8>) {
                $($crate::state::Field::put(&self.$field, to);)*
            }
            fn take(from: &mut &[u8]) -> Result<Self, $crate::state::Malformed> {
                Ok($name { $($field: $crate::state::Field::take(from)?,)* })
            }
        }

        impl $name {
            /// The state as bytes.
            $vis fn to_bytes(&self) -> Vec<u8> {
                let mut bytes = Vec::new();
                $crate::state::Field::put(self, &mut bytes);
                bytes
            }

            /// The state that all of these bytes are.
            $vis fn from_bytes(bytes: &[u8]) -> Result<Self, $crate::state::Malformed> {
                $crate::state::whole(bytes)
            }
        }
    };
}
pub(crate) use record;

#[cfg(test)]
mod tests {
    use super::*;

    record! {
        struct Sample {
            small: u8,
            large: u64,
            maybe: Option<u16>,
            words: [u32; 2],
            text: Vec<u8>,
            queue: VecDeque<bool>,
        }
    }

    fn sample() -> Sample {
        Sample {
            small: 7,
            large: u64::MAX - 1,
            maybe: Some(513),
            words: [1, 2],
            text: b"abc".to_vec(),
            queue: [true, false].into(),
        }
    }

    #[test]
    fn a_state_comes_back_and_no_part_of_it_does() {
        let bytes = sample().to_bytes();
        assert_eq!(Sample::from_bytes(&bytes), Ok(sample()));
        for end in 0..bytes.len() {
            assert_eq!(Sample::from_bytes(&bytes[..end]), Err(Malformed), "{end}");
        }
        assert_eq!(Sample::from_bytes(&[&bytes[..], &[0]].concat()), Err(Malformed));
    }

    #[test]
    fn a_count_beyond_the_end_reserves_nothing() {
        assert_eq!(whole::<Vec<u64>>(&[0xFF, 0xFF, 0xFF, 0xFF, 1]), Err(Malformed));
        assert_eq!(whole::<bool>(&[2]), Err(Malformed));
    }
}
