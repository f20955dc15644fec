//! A foreign processor in a process of its own (`tests/peer/`), asked over its standard
//! streams.

use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::machine::{Case, End, Outcome, SIZE};
use super::words;

/// A peer that says nothing for so long has lost its way.
const PATIENCE: Duration = Duration::from_secs(20);

const HLT: u8 = 0xF4;

/// Which processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unicorn,
    Bochs,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Unicorn => "unicorn",
            Kind::Bochs => "bochs",
        }
    }
}

/// A running peer.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    interpreter: String,
    child: Child,
    to: ChildStdin,
    answers: Receiver<Outcome>,
}

impl Peer {
    /// Starts one with a Python interpreter that has the packages.
    pub(crate) fn start(kind: Kind, interpreter: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/peer.py");
        let mut child = Command::new(interpreter)
            .arg(program)
            .arg(kind.name())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{interpreter} does not start: {error}"));
        let to = child.stdin.take().expect("piped");
        let mut from = BufReader::with_capacity(1 << 18, child.stdout.take().expect("piped"));
        let (send, answers) = mpsc::channel();
        // Ends with the peer.
        std::thread::spawn(move || {
            while let Ok(outcome) = receive(&mut from) {
                if send.send(outcome).is_err() {
                    return;
                }
            }
        });
        Peer { kind, interpreter: interpreter.to_owned(), child, to, answers }
    }

    fn send(&mut self, case: &Case) -> std::io::Result<()> {
        let header = [case.start as u64, case.steps, case.end, case.traps.into(), case.code];
        let words = words::of(&case.state);
        let mut bytes = Vec::with_capacity(SIZE + 8 * (5 + words::COUNT));
        for word in header.iter().chain(&words) {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend_from_slice(&case.memory);
        if case.end > 0 {
            let end = bytes.len() - SIZE + case.end as usize;
            bytes[end] = HLT;
        }
        self.to.write_all(&bytes)?;
        self.to.flush()
    }

    /// Asks. The error says how the peer has failed; a new one is there then.
    pub(crate) fn ask(&mut self, case: &Case) -> Result<Outcome, &'static str> {
        let sent = self.send(case);
        let answer = match self.answers.recv_timeout(PATIENCE) {
            Ok(mut outcome) if sent.is_ok() => {
                if case.end > 0 {
                    outcome.memory[case.end as usize] = case.memory[case.end as usize];
                }
                return Ok(outcome);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => "the peer does not come back",
            _ => "the peer has died",
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        *self = Peer::start(self.kind, &self.interpreter);
        Err(answer)
    }
}

fn receive(from: &mut BufReader<ChildStdout>) -> std::io::Result<Outcome> {
    let mut bytes = vec![0; 8 * (10 + words::COUNT) + SIZE];
    from.read_exact(&mut bytes)?;
    let memory = bytes.split_off(8 * (10 + words::COUNT));
    let numbers: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|chunk| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
        .collect();
    let end = match numbers[0] {
        0 => End::Executed,
        1 => End::Fault,
        _ => End::Halted,
    };
    let count = (numbers[1] as usize).min(4);
    let faults = (0..count)
        .map(|fault| (numbers[2 + 2 * fault] as u8, numbers[3 + 2 * fault] as u32))
        .collect();
    Ok(Outcome { end, faults, words: numbers[10..].to_vec(), memory })
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
