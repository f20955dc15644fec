//! Standard input and output as the guest's console.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

/// Ctrl-A, as in other virtual machines: the next key is for us.
const ESCAPE: u8 = 1;
/// Bytes of output that are searched for a text: longer ones are not asked for.
const WINDOW: usize = 64 * 1024;

/// The terminal of the host.
pub(crate) struct Terminal {
    typed: Receiver<Vec<u8>>,
    waiting: Vec<u8>,
    escaped: bool,
    seen: Vec<u8>,
    wanted: Option<String>,
    /// The person asked for the end.
    pub(crate) quit: bool,
    /// The text that was waited for has come.
    pub(crate) found: bool,
}

impl Terminal {
    /// Starts to read standard input; `wanted` is a text that output is searched for.
    pub(crate) fn new(wanted: Option<String>) -> Self {
        let (sender, typed) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = io::stdin().read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal {
            typed,
            waiting: Vec::new(),
            escaped: false,
            seen: Vec::new(),
            wanted,
            quit: false,
            found: false,
        }
    }

    /// What was typed and not yet taken.
    pub(crate) fn input(&mut self) -> &[u8] {
        loop {
            match self.typed.try_recv() {
                Ok(bytes) => self.filter(&bytes),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return &self.waiting,
            }
        }
    }

    /// So many bytes of [`Terminal::input`] were taken.
    pub(crate) fn taken(&mut self, count: usize) {
        self.waiting.drain(..count);
    }

    /// Waits until something is typed, for so long at most.
    pub(crate) fn wait(&mut self, time: Duration) {
        match self.typed.recv_timeout(time) {
            Ok(bytes) => self.filter(&bytes),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            // Nobody types any more.
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => thread::sleep(time),
        }
    }

    fn filter(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match (std::mem::take(&mut self.escaped), byte) {
                (false, &ESCAPE) => self.escaped = true,
                (true, b'x' | b'X') => self.quit = true,
                (_, byte) => self.waiting.push(*byte),
            }
        }
    }

    /// Prints what the guest says.
    pub(crate) fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        if let Some(wanted) = &self.wanted {
            self.seen.extend_from_slice(bytes);
            let text = String::from_utf8_lossy(&self.seen);
            self.found |= text.contains(wanted.as_str());
            let excess = self.seen.len().saturating_sub(WINDOW);
            self.seen.drain(..excess);
        }
        Ok(())
    }
}
