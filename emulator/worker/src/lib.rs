//! The wasm binaries that run in Web Workers: mailbox, pacing, wiring.
