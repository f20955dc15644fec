//! Families of instructions whose operations have the names of their mnemonics.

/// An enumeration with the way from a mnemonic and the way from `sub` of a micro-operation.
macro_rules! family {
    ($(#[$doc:meta])* $name:ident: $($variant:ident),* $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "the names are the manual's")]
        pub enum $name { $($variant),* }

        impl $name {
            const ALL: &[$name] = &[$($name::$variant),*];

            pub(crate) fn of(mnemonic: iced_x86::Mnemonic) -> Option<Self> {
                match mnemonic {
                    $(iced_x86::Mnemonic::$variant => Some($name::$variant),)*
                    _ => None,
                }
            }

            /// The operation in `sub` of a micro-operation of this family.
            #[inline(always)]
            pub fn from_sub(sub: u8) -> Self {
                Self::ALL[(sub as usize).min(Self::ALL.len() - 1)]
            }
        }
    };
}

pub(crate) use family;
