//! Exceptions as values; their delivery is in `interrupt`.

/// An exception that an instruction has raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Vector.
    pub vector: u8,
    /// Error code, for those that have one.
    pub code: Option<u32>,
}

#[expect(missing_docs, reason = "the names are the manual's")]
impl Exception {
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const DF: u8 = 8;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const XM: u8 = 19;

    /// One without error code.
    pub const fn plain(vector: u8) -> Self {
        Exception { vector, code: None }
    }

    /// One with an error code.
    pub const fn with_code(vector: u8, code: u32) -> Self {
        Exception { vector, code: Some(code) }
    }

    /// #GP(0).
    pub const fn protection() -> Self {
        Exception::with_code(Exception::GP, 0)
    }

    /// Contributory exceptions make a double fault of each other (SDM vol. 3, 6.15).
    pub(crate) const fn contributory(&self) -> bool {
        matches!(self.vector, 0 | 10..=13)
    }
}
