//! Any bytes as a manifest: as they are, and with a right hash put behind them, because
//! no fuzzer guesses one. What is accepted must be canonical.
#![no_main]
#![forbid(unsafe_code)]

use emulator_snapshot::{Id, Manifest, Meta, screen};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let sealed = [bytes, Id::of(bytes).as_bytes()].concat();
    for bytes in [bytes, &sealed] {
        if let Ok(manifest) = Manifest::read(bytes) {
            assert_eq!(manifest.write(), bytes);
            assert!(manifest.chunks().count() <= bytes.len() / 32);
            let _ = Meta::of(&manifest);
            let _ = screen::of(&manifest);
        }
    }
});
