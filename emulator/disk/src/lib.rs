//! The chunked guest disk and its manifest: types, validation, verification; no I/O.
