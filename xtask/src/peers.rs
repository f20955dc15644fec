//! Foreign processors that the engine x86-64 is compared with: Unicorn and Bochs, in a Python
//! environment of their own. Only wheels are taken: where there is none, the comparison is
//! left out.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::step::{Key, cached, output, root, run};

/// The variable that tells the tests which interpreter has them.
pub(crate) const VARIABLE: &str = "VIVARIUM_ORACLE";

const REQUIREMENTS: &str = "emulator/cpu/tests/peer/requirements.txt";

/// The interpreter, if this machine can have it; otherwise says why not.
pub(crate) fn ensure() -> Option<PathBuf> {
    if let Some(own) = env::var_os(VARIABLE) {
        return Some(own.into());
    }
    match environment() {
        Ok(place) => Some(place.join("bin/python")),
        Err(error) => {
            println!("  Unicorn and Bochs: left out, with all tests that ask them: {error:#}");
            None
        }
    }
}

fn environment() -> Result<PathBuf> {
    let version = output(Command::new("python3").arg("--version"))?;
    let key = Key::default().text(&version).paths(&["xtask/src/peers.rs", REQUIREMENTS])?.finish();
    cached("Unicorn and Bochs", "processors", &key, install)
}

fn install(place: &Path) -> Result<()> {
    // Debian's package is python3-venv.
    run(Command::new("python3").args(["-m", "venv"]).arg(place), false)?;
    let python = place.join("bin/python");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]);
    run(pip.arg("--requirement").arg(root().join(REQUIREMENTS)), false)?;
    // A wheel may be there and not fit.
    run(Command::new(&python).args(["-c", "import bochscpu, unicorn"]), false)
}
