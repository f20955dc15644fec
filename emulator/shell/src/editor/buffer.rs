//! The text being edited, and where the cursor is in it.
//!
//! The cursor stands before a character and never inside one: marks of zero width belong
//! to the character before them.

use unicode_width::UnicodeWidthChar;

/// Characters that a command line may have. The interpreter could read more; a terminal
/// that repaints on each key could not.
const MAX_CHARS: usize = 64 * 1024;

/// A line of text, possibly with line feeds in it, and a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Buffer {
    chars: Vec<char>,
    cursor: usize,
}

impl Buffer {
    pub(crate) fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        Self { cursor: chars.len(), chars }
    }

    pub(crate) fn chars(&self) -> &[char] {
        &self.chars
    }

    /// The cursor as an index into [`Buffer::chars`].
    pub(crate) fn cursor(&self) -> usize {
        self.cursor
    }

    pub(crate) fn text(&self) -> String {
        self.chars.iter().collect()
    }

    /// The text before the cursor.
    pub(crate) fn before(&self) -> String {
        self.chars[..self.cursor].iter().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    pub(crate) fn insert(&mut self, text: &str) {
        let room = MAX_CHARS.saturating_sub(self.chars.len());
        let new: Vec<char> = text.chars().take(room).collect();
        let count = new.len();
        self.chars.splice(self.cursor..self.cursor, new);
        self.cursor += count;
    }

    /// Replaces what is between `start` and the cursor.
    pub(crate) fn replace_back_to(&mut self, start: usize, text: &str) {
        self.remove(start.min(self.cursor)..self.cursor);
        self.insert(text);
    }

    /// Removes a range and returns it; the cursor goes to its start.
    pub(crate) fn remove(&mut self, range: std::ops::Range<usize>) -> String {
        self.cursor = range.start;
        self.chars.drain(range).collect()
    }

    pub(crate) fn move_to(&mut self, index: usize) {
        self.cursor = index.min(self.chars.len());
    }

    pub(crate) fn left(&self) -> usize {
        let mut at = self.cursor;
        while at > 0 {
            at -= 1;
            if !is_mark(self.chars[at]) {
                break;
            }
        }
        at
    }

    pub(crate) fn right(&self) -> usize {
        let mut at = (self.cursor + 1).min(self.chars.len());
        while at < self.chars.len() && is_mark(self.chars[at]) {
            at += 1;
        }
        at
    }

    /// Start of the logical line that the cursor is on.
    pub(crate) fn line_start(&self) -> usize {
        self.chars[..self.cursor].iter().rposition(|c| *c == '\n').map_or(0, |at| at + 1)
    }

    /// End of the logical line that the cursor is on.
    pub(crate) fn line_end(&self) -> usize {
        let rest = &self.chars[self.cursor..];
        self.cursor + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
    }

    /// Start of the word of letters and digits to the left.
    pub(crate) fn word_left(&self) -> usize {
        self.back_over(self.back_over(self.cursor, |c| !c.is_alphanumeric()), char::is_alphanumeric)
    }

    /// Start of the word to the left, where only blanks divide words.
    pub(crate) fn blank_left(&self) -> usize {
        self.back_over(self.back_over(self.cursor, char::is_whitespace), |c| !c.is_whitespace())
    }

    /// End of the word of letters and digits to the right.
    pub(crate) fn word_right(&self) -> usize {
        let skip = |from: usize, word: bool| {
            let rest = &self.chars[from..];
            from + rest.iter().take_while(|c| c.is_alphanumeric() == word).count()
        };
        skip(skip(self.cursor, false), true)
    }

    /// Swaps the characters around the cursor, as readline does.
    pub(crate) fn transpose(&mut self) {
        let at = self.cursor.min(self.chars.len().saturating_sub(1));
        if at > 0 {
            self.chars.swap(at - 1, at);
            self.cursor = at + 1;
        }
    }

    fn back_over(&self, from: usize, class: impl Fn(char) -> bool) -> usize {
        from - self.chars[..from].iter().rev().take_while(|c| class(**c)).count()
    }
}

fn is_mark(char: char) -> bool {
    !char.is_control() && char.width() == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserts_and_removes_in_the_middle() {
        let mut buffer = Buffer::new("echo word");
        buffer.move_to(5);
        buffer.insert("my ");
        assert_eq!(buffer.text(), "echo my word");
        assert_eq!(buffer.remove(buffer.word_left()..buffer.cursor()), "my ");
        assert_eq!((buffer.text().as_str(), buffer.cursor()), ("echo word", 5));
    }

    #[test]
    fn words_end_at_punctuation_or_only_at_blanks() {
        let mut buffer = Buffer::new("cat /etc/os-release  ");
        assert_eq!(buffer.word_left(), 12);
        assert_eq!(buffer.blank_left(), 4);
        buffer.move_to(3);
        assert_eq!(buffer.word_right(), 8);
    }

    #[test]
    fn an_accent_moves_with_its_letter() {
        let mut buffer = Buffer::new("ae\u{301}x");
        buffer.move_to(3);
        assert_eq!(buffer.left(), 1);
        buffer.move_to(1);
        assert_eq!(buffer.right(), 3);
    }

    #[test]
    fn lines_of_a_multi_line_text() {
        let mut buffer = Buffer::new("one\ntwo\nthree");
        buffer.move_to(5);
        assert_eq!((buffer.line_start(), buffer.line_end()), (4, 7));
    }

    #[test]
    fn transposes_like_readline() {
        let mut buffer = Buffer::new("sl");
        buffer.transpose();
        assert_eq!((buffer.text().as_str(), buffer.cursor()), ("ls", 2));
        let mut one = Buffer::new("x");
        one.transpose();
        assert_eq!(one.text(), "x");
    }

    #[test]
    fn a_line_has_an_end() {
        let mut buffer = Buffer::default();
        buffer.insert(&"x".repeat(MAX_CHARS + 5));
        assert_eq!(buffer.chars().len(), MAX_CHARS);
    }
}
