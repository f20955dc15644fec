//! Standard input and output as the guest's console, and everything else that can wake the
//! machine's owner: signals, a debugger.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::gdb;
use crate::session;
use crate::tty;

/// Ctrl-A, as in other virtual machines: the next key is for us.
const ESCAPE: u8 = 1;

/// What happens outside of the machine.
#[derive(Debug)]
pub(crate) enum Event {
    /// Standard input has these bytes.
    Typed(Vec<u8>),
    /// Standard input has ended.
    Closed,
    /// A signal has come.
    Signal(i32),
    /// The debugger does something.
    Debugger(gdb::Event),
}

/// The console.
pub(crate) struct Terminal {
    events: Receiver<Event>,
    /// Kept, so that waiting for events never fails.
    sender: Sender<Event>,
    waiting: Vec<u8>,
    /// Keys are a person's: some of them are for us.
    keys: bool,
    escaped: bool,
    closed: bool,
    resized: bool,
    search: Option<Search>,
    /// What the debugger has done, and nobody has looked at.
    pub(crate) debugger: VecDeque<gdb::Event>,
    /// The person asked for the end.
    pub(crate) quit: bool,
}

impl Terminal {
    /// Starts to read standard input; `wanted` is a text that output is searched for. With
    /// `sized`, the guest learns the window's size.
    pub(crate) fn new(wanted: Option<&str>, sized: bool) -> Result<Self> {
        let (sender, events) = channel();
        let typist = sender.clone();
        thread::spawn(move || listen(&typist));
        let mut signals = Signals::new([SIGWINCH, SIGINT, SIGTERM, SIGHUP])
            .context("asking for signals to be told of")?;
        let teller = sender.clone();
        thread::spawn(move || {
            for signal in signals.forever() {
                if teller.send(Event::Signal(signal)).is_err() {
                    return;
                }
            }
        });
        Ok(Terminal {
            events,
            sender,
            waiting: Vec::new(),
            keys: io::stdin().is_terminal(),
            escaped: false,
            closed: false,
            resized: sized,
            search: wanted.map(Search::new),
            debugger: VecDeque::new(),
            quit: false,
        })
    }

    /// Where events are sent to.
    pub(crate) fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// The text that was waited for has come.
    pub(crate) fn found(&self) -> bool {
        self.search.as_ref().is_some_and(|search| search.found)
    }

    /// Nobody can type any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed && self.waiting.is_empty()
    }

    /// Takes what has happened.
    pub(crate) fn look(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
    }

    /// Waits until something happens, for so long at most.
    pub(crate) fn wait(&mut self, time: Option<Duration>) {
        let event = match time {
            Some(time) => self.events.recv_timeout(time),
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if let Ok(event) = event {
            self.take(event);
        }
        self.look();
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Typed(bytes) if self.keys => self.filter(&bytes),
            Event::Typed(bytes) => self.waiting.extend(bytes),
            Event::Closed => self.closed = true,
            Event::Signal(SIGWINCH) => self.resized = true,
            Event::Signal(_) => self.quit = true,
            Event::Debugger(event) => self.debugger.push_back(event),
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
}

/// Reads standard input until it ends.
fn listen(sender: &Sender<Event>) {
    let mut buffer = [0; 4096];
    loop {
        let event = match io::stdin().read(&mut buffer) {
            Ok(length @ 1..) => Event::Typed(buffer[..length].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => Event::Closed,
        };
        let last = matches!(event, Event::Closed);
        if sender.send(event).is_err() || last {
            return;
        }
    }
}

impl session::Console for Terminal {
    fn input(&mut self) -> &[u8] {
        &self.waiting
    }

    fn taken(&mut self, count: usize) {
        self.waiting.drain(..count);
    }

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).context("writing the guest's output")?;
        if let Some(search) = &mut self.search {
            search.feed(bytes);
        }
        Ok(())
    }

    fn size(&mut self) -> Option<(u16, u16)> {
        if std::mem::take(&mut self.resized) { tty::size() } else { None }
    }
}

/// Finds a text in a stream that comes in pieces.
#[derive(Debug)]
struct Search {
    wanted: Vec<u8>,
    /// The end of what has come, where the text may have begun.
    tail: Vec<u8>,
    found: bool,
}

impl Search {
    fn new(wanted: &str) -> Self {
        Search { wanted: wanted.into(), tail: Vec::new(), found: wanted.is_empty() }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.found {
            return;
        }
        self.tail.extend_from_slice(bytes);
        self.found = self.tail.windows(self.wanted.len()).any(|window| window == self.wanted);
        let excess = self.tail.len().saturating_sub(self.wanted.len() - 1);
        self.tail.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_across_pieces_and_not_before_its_end() {
        for cut in 0..=8 {
            let mut search = Search::new("a prompt");
            search.feed(b"not a promp, but ");
            let (head, tail) = b"a prompt".split_at(cut);
            search.feed(head);
            assert_eq!(search.found, cut == 8);
            search.feed(tail);
            assert!(search.found, "{cut}");
        }
        assert!(Search::new("").found);
    }
}
