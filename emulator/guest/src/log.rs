//! Reads the guest's kernel log, which comes over the first serial port.
//!
//! The kernel's own messages and three lines of our `/init` go there; what a person types
//! and sees goes over the virtio console. So a program that prints "Kernel panic" on the
//! terminal is not taken for one.

use std::collections::VecDeque;

use emulator_protocol::Phase;

/// Lines of the log that are kept for a fault's detail: a panic with its stack has 30–50.
const KEPT_LINES: usize = 80;

/// Longest line that is kept; the kernel's own limit is 1024.
const LINE_LIMIT: usize = 1024;

/// What a line of the log means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The guest reports a step of its boot.
    Reached(Phase),
    /// The kernel panicked; the text after "Kernel panic - not syncing: ".
    Panic(String),
    /// The kernel has said all it has to say about its panic.
    PanicEnd,
}

/// Cuts the stream into lines and finds the signs.
#[derive(Debug, Default)]
pub struct Log {
    line: Vec<u8>,
    kept: VecDeque<String>,
}

impl Log {
    /// Takes the next byte of the serial port.
    pub fn feed(&mut self, byte: u8) -> Option<Sign> {
        match byte {
            b'\n' => self.end_line(),
            b'\r' => None,
            _ if self.line.len() < LINE_LIMIT => {
                self.line.push(byte);
                None
            }
            _ => None,
        }
    }

    /// The last lines, oldest first.
    pub fn tail(&self) -> String {
        let mut text = String::new();
        for line in &self.kept {
            text.push_str(line);
            text.push('\n');
        }
        text + &String::from_utf8_lossy(&self.line)
    }

    fn end_line(&mut self) -> Option<Sign> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let sign = sign(&line);
        if self.kept.len() == KEPT_LINES {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
        sign
    }
}

fn sign(line: &str) -> Option<Sign> {
    const PANIC: &str = "Kernel panic - not syncing: ";
    // A message may carry a time stamp in brackets before it.
    let text = match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, text)) => text,
        None => line,
    };
    if let Some(reason) = text.strip_prefix(PANIC) {
        return Some(Sign::Panic(reason.to_owned()));
    }
    if text.starts_with("---[ end Kernel panic") {
        return Some(Sign::PanicEnd);
    }
    match text.strip_prefix("vivarium: ")? {
        "init" => Some(Sign::Reached(Phase::Init)),
        "root" => Some(Sign::Reached(Phase::Root)),
        "shell" => Some(Sign::Reached(Phase::Shell)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(text: &str) -> Vec<Sign> {
        let mut log = Log::default();
        text.bytes().filter_map(|byte| log.feed(byte)).collect()
    }

    #[test]
    fn a_boot_is_followed_step_by_step() {
        assert_eq!(
            signs("junk\r\nvivarium: init\r\nvivarium: root\nvivarium: shell\n"),
            [Phase::Init, Phase::Root, Phase::Shell].map(Sign::Reached)
        );
    }

    #[test]
    fn a_panic_is_seen_with_and_without_time_stamp() {
        let reason = "Attempted to kill init! exitcode=0x00000100";
        for stamp in ["", "[    1.234567] "] {
            let text = format!("{stamp}Kernel panic - not syncing: {reason}\r\n");
            assert_eq!(signs(&text), [Sign::Panic(reason.into())]);
        }
        assert_eq!(signs("[ 1.0] ---[ end Kernel panic - not syncing: x ]---\n"), [Sign::PanicEnd]);
    }

    #[test]
    fn talk_about_a_panic_is_none() {
        assert_eq!(signs("cat: 'Kernel panic - not syncing: x': no such file\n"), []);
        assert_eq!(signs("vivarium: shellfish\n"), []);
    }

    #[test]
    fn the_log_is_bounded() {
        let mut log = Log::default();
        for _ in 0..10_000 {
            for byte in "x".repeat(5000).bytes().chain(*b"\n") {
                log.feed(byte);
            }
        }
        assert!(log.tail().len() <= KEPT_LINES * (LINE_LIMIT + 1) + LINE_LIMIT);
    }
}
