//! What the engine `x86-64` needs from a browser: files, the time of day, entropy.

use std::rc::Rc;
use std::time::Duration;

use emulator_fetch::Fetched;
use emulator_machine::{Surroundings, X86};

use crate::saver;

/// Debian's name of the architecture.
const ARCH: &str = "amd64";

struct Browser;

impl Surroundings for Browser {
    fn time(&self) -> Duration {
        saver::awakening().time
    }

    fn entropy(&self) -> [u8; 32] {
        saver::random()
    }
}

/// An engine that holds nothing yet.
#[must_use]
pub fn engine() -> X86 {
    X86::new(Rc::new(Fetched::new(ARCH)), Rc::new(Browser))
}
