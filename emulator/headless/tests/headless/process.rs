//! `emulator-headless` as a process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::kernel::Kernel;

/// The longest that anything takes, on a host that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Where a test may write: a folder of its own.
pub(crate) fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A guest program as a file.
pub(crate) fn file(name: &str, kernel: Kernel) -> PathBuf {
    let path = folder("kernels").join(name);
    fs::write(&path, kernel.elf()).unwrap();
    path
}

/// The program with these arguments.
pub(crate) fn command(what: &str, kernel: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emulator-headless"));
    command.arg(what).arg("--kernel").arg(kernel).args(["--memory", "64"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end without input.
pub(crate) fn output(what: &str, kernel: &Path, arguments: &[&str]) -> Output {
    command(what, kernel, arguments).output().unwrap()
}

/// What a process has said, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process that is ended with its test.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Process(command.spawn().unwrap())
    }

    /// Reads a stream of the process until a line has come that contains `sign`.
    pub(crate) fn line(stream: &mut BufReader<impl Read>, sign: &str) -> String {
        let mut all = String::new();
        loop {
            let before = all.len();
            let count = stream.read_line(&mut all).unwrap();
            assert!(count > 0, "{sign:?} never came:\n{all}");
            if all[before..].contains(sign) {
                return all[before..].trim().to_owned();
            }
        }
    }

    /// How it has ended, within [`PATIENCE`].
    pub(crate) fn code(&mut self) -> Option<i32> {
        let start = Instant::now();
        until(|| match self.0.try_wait().unwrap() {
            Some(status) => Some(status.code()),
            None => {
                assert!(start.elapsed() < PATIENCE, "it does not end");
                None
            }
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a state, looking often.
pub(crate) fn until<T>(mut state: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = state() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
