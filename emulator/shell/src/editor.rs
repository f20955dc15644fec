//! The line editor: keys in, lines and terminal sequences out. No I/O, no clock.
//!
//! Bytes are fed one by one ([`Editor::feed`]); what the editor cannot decide alone (is
//! this command complete? which files are there?) it hands out as a [`Request`]. It paints
//! only when asked to ([`Editor::paint`]), so that a burst of keys costs one picture.

mod buffer;
mod history;
mod keys;
mod layout;

use emulator_protocol::TerminalSize;
use unicode_width::UnicodeWidthStr;

pub(crate) use history::History;
use keys::{Decoder, Key};
use layout::Layout;

use buffer::Buffer;

/// Candidates that a completion lists; more would push the prompt out of sight.
const MAX_LISTED: usize = 200;

/// What the editor asks of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Enter was pressed: [`Editor::accept`] the text or [`Editor::continue_line`].
    Submit,
    /// The line was given up with Ctrl-C: show the prompt anew.
    Interrupt,
    /// Ctrl-D on an empty line.
    EndOfFile,
    /// Tab was pressed: [`Editor::complete`].
    Complete,
}

/// A way to finish the word before the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Completion {
    /// Where the word starts that is replaced, in characters.
    pub(crate) start: usize,
    /// Replacements, sorted; the longest common start is taken if there are several.
    pub(crate) words: Vec<String>,
    /// How the words are listed, in the same order.
    pub(crate) labels: Vec<String>,
}

/// An incremental search through the history.
#[derive(Debug, Default)]
struct Search {
    needle: String,
    /// The hit, as its index and line.
    hit: Option<(usize, String)>,
    /// What was on the line before.
    before: Buffer,
}

/// The state of the line editor.
#[derive(Debug, Default)]
pub(crate) struct Editor {
    pub(crate) history: History,
    decoder: Decoder,
    buffer: Buffer,
    killed: String,
    search: Option<Search>,
    prompt: String,
    size: TerminalSize,
    /// Row of the cursor in the picture on the screen; `None` before the first picture.
    painted: Option<usize>,
    dirty: bool,
    /// The whole screen is to be cleared before the next picture.
    wipe: bool,
    /// The key before was a Tab that changed nothing: the next one lists.
    tabbed: bool,
}

impl Editor {
    pub(crate) fn new(size: TerminalSize) -> Self {
        Self { size, ..Self::default() }
    }

    /// Starts a line. The terminal's cursor must be in the first column.
    pub(crate) fn begin(&mut self, prompt: String, out: &mut Vec<u8>) {
        self.prompt = prompt;
        self.painted = None;
        self.dirty = true;
        out.extend_from_slice(b"\x1b[?2004h");
    }

    pub(crate) fn resize(&mut self, size: TerminalSize) {
        self.dirty |= self.size != size && self.painted.is_some();
        self.size = size;
    }

    pub(crate) fn text(&self) -> String {
        self.buffer.text()
    }

    /// The text before the cursor.
    pub(crate) fn before(&self) -> String {
        self.buffer.before()
    }

    /// Takes one byte of input.
    pub(crate) fn feed(&mut self, byte: u8) -> Option<Request> {
        let key = self.decoder.push(byte)?;
        self.dirty = true;
        if key != Key::Tab {
            self.tabbed = false;
        }
        match self.search.take() {
            Some(search) => self.search_key(search, key),
            None => self.key(key),
        }
    }

    /// Brings the screen up to date, if anything has changed.
    pub(crate) fn paint(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.dirty) {
            self.repaint(self.buffer.cursor(), out);
        }
    }

    /// Ends the line: it stays on the screen, joins the history and is returned.
    pub(crate) fn accept(&mut self, out: &mut Vec<u8>) -> String {
        self.leave("", out);
        let text = std::mem::take(&mut self.buffer).text();
        self.history.push(&text);
        text
    }

    /// Goes on with a further line of the same command.
    pub(crate) fn continue_line(&mut self) {
        self.buffer.move_to(usize::MAX);
        self.buffer.insert("\n");
    }

    /// Ends the line without taking it; `mark` is left behind it.
    pub(crate) fn abandon(&mut self, mark: &str, out: &mut Vec<u8>) {
        self.leave(mark, out);
        self.buffer = Buffer::default();
        self.history.rest();
    }

    /// Answers [`Request::Complete`].
    pub(crate) fn complete(&mut self, completion: &Completion, out: &mut Vec<u8>) {
        let Some(common) = common_start(&completion.words) else { return };
        self.dirty = true;
        let typed: String =
            self.buffer.chars()[completion.start..self.buffer.cursor()].iter().collect();
        if completion.words.len() == 1 || common.len() > typed.len() {
            self.buffer.replace_back_to(completion.start, &common);
            self.tabbed = false;
        } else if std::mem::replace(&mut self.tabbed, true) {
            self.list(&completion.labels, out);
        }
    }

    fn key(&mut self, key: Key) -> Option<Request> {
        match key {
            Key::Enter => return Some(Request::Submit),
            Key::Tab => return Some(Request::Complete),
            Key::Ctrl('C') => return Some(Request::Interrupt),
            Key::Ctrl('D') if self.buffer.is_empty() => return Some(Request::EndOfFile),
            Key::Ctrl('R') => {
                self.search = Some(Search { before: self.buffer.clone(), ..Search::default() });
            }
            Key::Char(char) => self.buffer.insert(char.encode_utf8(&mut [0; 4])),
            Key::Paste(text) => self.buffer.insert(text.trim_end_matches('\n')),
            Key::Up | Key::Ctrl('P') => self.up(),
            Key::Down | Key::Ctrl('N') => self.down(),
            Key::Ctrl('L') => self.wipe = true,
            Key::Ctrl('T') => self.buffer.transpose(),
            Key::Ctrl('Y') => self.buffer.insert(&self.killed),
            Key::Alt('.') => self.insert_last_word(),
            key => self.move_or_remove(&key),
        }
        None
    }

    fn move_or_remove(&mut self, key: &Key) {
        let buffer = &self.buffer;
        let cursor = buffer.cursor();
        match key {
            Key::Left | Key::Ctrl('B') => self.buffer.move_to(buffer.left()),
            Key::Right | Key::Ctrl('F') => self.buffer.move_to(buffer.right()),
            Key::Home | Key::Ctrl('A') => self.buffer.move_to(buffer.line_start()),
            Key::End | Key::Ctrl('E') => self.buffer.move_to(buffer.line_end()),
            Key::WordLeft | Key::Alt('b') => self.buffer.move_to(buffer.word_left()),
            Key::WordRight | Key::Alt('f') => self.buffer.move_to(buffer.word_right()),
            Key::Backspace => drop(self.buffer.remove(buffer.left()..cursor)),
            Key::Delete | Key::Ctrl('D') => drop(self.buffer.remove(cursor..buffer.right())),
            Key::Ctrl('U') => self.kill(buffer.line_start()..cursor),
            Key::Ctrl('K') => self.kill(cursor..buffer.line_end()),
            Key::Ctrl('W') => self.kill(buffer.blank_left()..cursor),
            Key::AltBackspace => self.kill(buffer.word_left()..cursor),
            Key::Alt('d') => self.kill(cursor..buffer.word_right()),
            _ => {}
        }
    }

    fn kill(&mut self, range: std::ops::Range<usize>) {
        if !range.is_empty() {
            self.killed = self.buffer.remove(range);
        }
    }

    /// To the line above, or to the line of the history before this one.
    fn up(&mut self) {
        let start = self.buffer.line_start();
        if start > 0 {
            let column = self.buffer.cursor() - start;
            self.buffer.move_to(start - 1);
            let above = self.buffer.line_start();
            self.buffer.move_to((above + column).min(start - 1));
        } else if let Some(line) = self.history.older(&self.buffer.text()) {
            self.buffer = Buffer::new(&line);
        }
    }

    fn down(&mut self) {
        let end = self.buffer.line_end();
        if end < self.buffer.chars().len() {
            let column = self.buffer.cursor() - self.buffer.line_start();
            self.buffer.move_to(end + 1);
            let last = self.buffer.line_end();
            self.buffer.move_to((end + 1 + column).min(last));
        } else if let Some(line) = self.history.newer() {
            self.buffer = Buffer::new(&line);
        }
    }

    fn insert_last_word(&mut self) {
        let last = self.history.numbered().next_back();
        let word = last.and_then(|(_, line)| line.split_whitespace().next_back());
        if let Some(word) = word.map(str::to_owned) {
            self.buffer.insert(&word);
        }
    }

    fn search_key(&mut self, mut search: Search, key: Key) -> Option<Request> {
        match key {
            Key::Char(char) => {
                search.needle.push(char);
                // The line on show may still fit the longer needle.
                let before = search.hit.as_ref().map(|(at, _)| at + 1);
                self.find(&mut search, before);
            }
            Key::Backspace => {
                search.needle.pop();
                self.find(&mut search, None);
            }
            Key::Ctrl('R') => {
                let before = search.hit.as_ref().map(|(at, _)| *at);
                self.find(&mut search, before);
            }
            Key::Ctrl('G' | 'C') => {
                self.buffer = search.before;
                return None;
            }
            key => return self.key(key),
        }
        self.search = Some(search);
        None
    }

    fn find(&mut self, search: &mut Search, before: Option<usize>) {
        if search.needle.is_empty() {
            search.hit = None;
            self.buffer = search.before.clone();
        } else if let Some((at, line)) = self.history.search(&search.needle, before) {
            let column = line.find(&search.needle).map_or(0, |byte| line[..byte].chars().count());
            self.buffer = Buffer::new(line);
            self.buffer.move_to(column);
            search.hit = Some((at, line.to_owned()));
        } else if !search.hit.as_ref().is_some_and(|(_, line)| line.contains(&search.needle)) {
            search.hit = None;
        }
    }

    fn shown_prompt(&self) -> String {
        match &self.search {
            None => self.prompt.clone(),
            Some(search) => {
                let failed =
                    if search.hit.is_none() && !search.needle.is_empty() { "failed " } else { "" };
                format!("({failed}reverse-i-search)`{}': ", search.needle)
            }
        }
    }

    fn repaint(&mut self, cursor: usize, out: &mut Vec<u8>) {
        match self.painted {
            _ if std::mem::take(&mut self.wipe) => out.extend_from_slice(b"\x1b[H\x1b[2J"),
            None | Some(0) => out.extend_from_slice(b"\r\x1b[J"),
            Some(row) => out.extend_from_slice(format!("\r\x1b[{row}A\x1b[J").as_bytes()),
        }
        let prompt = self.shown_prompt();
        let layout =
            Layout::new(&prompt, self.buffer.chars(), cursor, usize::from(self.size.columns));
        self.painted = Some(layout.paint(usize::from(self.size.rows), out));
    }

    /// Puts the cursor behind the text and starts a new row.
    fn leave(&mut self, mark: &str, out: &mut Vec<u8>) {
        self.search = None;
        self.dirty = false;
        self.tabbed = false;
        self.repaint(usize::MAX, out);
        self.painted = None;
        out.extend_from_slice(mark.as_bytes());
        out.extend_from_slice(b"\x1b[?2004l\r\n");
    }

    /// Lists candidates below the line, in columns, and shows the line anew below them.
    fn list(&mut self, labels: &[String], out: &mut Vec<u8>) {
        self.repaint(usize::MAX, out);
        out.extend_from_slice(b"\r\n");
        let shown = &labels[..labels.len().min(MAX_LISTED)];
        let widest = shown.iter().map(|label| label.width()).max().unwrap_or(0) + 2;
        let columns = (usize::from(self.size.columns) / widest).max(1);
        let rows = shown.len().div_ceil(columns);
        for row in 0..rows {
            for label in shown.iter().skip(row).step_by(rows) {
                out.extend_from_slice(label.as_bytes());
                let is_last = std::ptr::eq(label, &shown[shown.len() - 1]);
                let pad = if is_last { 0 } else { widest - label.width() };
                out.extend(std::iter::repeat_n(b' ', pad));
            }
            out.extend_from_slice(b"\r\n");
        }
        if labels.len() > shown.len() {
            let more = format!("... and {} more\r\n", labels.len() - shown.len());
            out.extend_from_slice(more.as_bytes());
        }
        self.painted = None;
    }
}

/// The longest start that all words share; `None` without words.
fn common_start(words: &[String]) -> Option<String> {
    let (first, rest) = words.split_first()?;
    let mut common = first.as_str();
    for word in rest {
        let same = common.char_indices().zip(word.chars()).find(|((_, a), b)| a != b);
        let end = same.map_or(common.len().min(word.len()), |((at, _), _)| at);
        common = &common[..end];
    }
    Some(common.to_owned())
}

#[cfg(test)]
mod tests;
