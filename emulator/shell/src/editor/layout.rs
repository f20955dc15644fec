//! Prompt and text → rows of a terminal.
//!
//! Rows that wrap are left to the terminal to wrap, so that it knows that they are one line
//! (for copying); only a line feed in the text becomes a line end on the screen.
//!
//! ```text
//!  user@vivarium:~$ for i in 1 2 3; do ec     a row that wraps: nothing is sent after it
//!  ho $i                                      a row that ends: CR LF
//!  > done█                                    the continuation prompt is painted, not text
//! ```

use unicode_width::UnicodeWidthChar;

/// Blanks between tabulator stops.
const TAB: usize = 8;

/// What stands before each further line of a text of several lines.
pub(crate) const CONTINUATION: &str = "> ";

/// One row of the screen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    text: String,
    /// Whether a line feed ends it, and not the edge of the screen.
    ends: bool,
}

/// A painted picture: its rows and where the cursor is.
#[derive(Debug)]
pub(crate) struct Layout {
    rows: Vec<Row>,
    width: usize,
    column: usize,
    cursor: (usize, usize),
}

impl Layout {
    /// Lays `text` out behind `prompt` in rows of `width` cells, with the cursor before the
    /// character `cursor`.
    pub(crate) fn new(prompt: &str, text: &[char], cursor: usize, width: usize) -> Self {
        // Two cells are the least in which every character can be shown.
        let width = width.max(2);
        let mut layout = Self { rows: vec![Row::default()], width, column: 0, cursor: (0, 0) };
        layout.put_prompt(prompt);
        for (at, char) in text.iter().enumerate() {
            layout.put_char(*char, at == cursor);
        }
        if layout.column == width {
            layout.wrap();
        }
        if cursor >= text.len() {
            layout.mark();
        }
        layout
    }

    /// Row of the cursor, counted from the first.
    #[cfg(test)]
    fn cursor(&self) -> (usize, usize) {
        self.cursor
    }

    /// Writes the rows that fit on a screen of `height` rows, from a cursor that stands in
    /// the first column of the first of them. Returns the cursor's row among them.
    pub(crate) fn paint(&self, height: usize, out: &mut Vec<u8>) -> usize {
        let height = height.max(1);
        let top = (self.cursor.0 + 1).saturating_sub(height);
        let bottom = self.rows.len().min(top + height);
        for at in top..bottom {
            let row = &self.rows[at];
            out.extend_from_slice(row.text.as_bytes());
            if at + 1 == bottom {
                break;
            }
            if row.ends {
                out.extend_from_slice(b"\r\n");
            } else if self.rows[at + 1].text.is_empty() {
                // The terminal wraps only for a character.
                out.extend_from_slice(b" \r");
            }
        }
        let up = bottom - 1 - self.cursor.0;
        if up > 0 {
            out.extend_from_slice(format!("\x1b[{up}A").as_bytes());
        }
        out.push(b'\r');
        if self.cursor.1 > 0 {
            out.extend_from_slice(format!("\x1b[{}C", self.cursor.1).as_bytes());
        }
        self.cursor.0 - top
    }

    fn mark(&mut self) {
        self.cursor = (self.rows.len() - 1, self.column);
    }

    fn wrap(&mut self) {
        self.rows.push(Row::default());
        self.column = 0;
    }

    fn end_line(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.ends = true;
        }
        self.wrap();
    }

    /// Adds something that is `cells` wide and stays together.
    fn put(&mut self, text: &str, cells: usize, cursor: bool) {
        if cells > 0 && self.column + cells > self.width {
            self.wrap();
        }
        if cursor {
            self.mark();
        }
        if let Some(row) = self.rows.last_mut() {
            row.text.push_str(text);
        }
        self.column += cells;
    }

    fn put_char(&mut self, char: char, cursor: bool) {
        match char {
            '\n' => {
                if self.column == self.width {
                    self.wrap();
                }
                if cursor {
                    self.mark();
                }
                self.end_line();
                self.put(CONTINUATION, CONTINUATION.len(), false);
            }
            '\t' => {
                if self.column == self.width {
                    self.wrap();
                }
                let cells = (TAB - self.column % TAB).min(self.width - self.column);
                self.put(&" ".repeat(cells), cells, cursor);
            }
            _ => match char.width() {
                Some(cells) => self.put(char.encode_utf8(&mut [0; 4]), cells, cursor),
                None => self.put(&caret(char), 2, cursor),
            },
        }
    }

    fn put_prompt(&mut self, prompt: &str) {
        let mut chars = prompt.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '\x1b' => {
                    let sequence = escape(&mut chars);
                    self.put(&sequence, 0, false);
                }
                '\n' => self.end_line(),
                _ if char.is_control() => {}
                _ => self.put(char.encode_utf8(&mut [0; 4]), char.width().unwrap_or(0), false),
            }
        }
    }
}

/// `^C` for a control character.
fn caret(char: char) -> String {
    match u32::from(char) {
        code @ 0..=0x1f => format!("^{}", char::from(0x40 | code as u8)),
        0x7f => "^?".into(),
        _ => "??".into(),
    }
}

/// The rest of an escape sequence in a prompt: CSI to its final byte, OSC to its end, or a
/// single character.
fn escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut sequence = String::from('\x1b');
    let Some(kind) = chars.next() else { return String::new() };
    sequence.push(kind);
    let is_end: fn(char) -> bool = match kind {
        '[' => |char| ('@'..='~').contains(&char),
        ']' => |char| char == '\x07' || char == '\\',
        _ => return sequence,
    };
    for char in chars.by_ref() {
        sequence.push(char);
        if is_end(char) {
            break;
        }
    }
    sequence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(prompt: &str, text: &str, cursor: usize, width: usize) -> Layout {
        Layout::new(prompt, &text.chars().collect::<Vec<_>>(), cursor, width)
    }

    fn rows(layout: &Layout) -> Vec<&str> {
        layout.rows.iter().map(|row| row.text.as_str()).collect()
    }

    #[test]
    fn wraps_at_the_edge_and_opens_a_row_for_the_cursor() {
        let layout = layout("$ ", "abcdef", 6, 4);
        assert_eq!(rows(&layout), ["$ ab", "cdef", ""]);
        assert_eq!(layout.cursor(), (2, 0));
    }

    #[test]
    fn a_wide_character_does_not_straddle_the_edge() {
        let layout = layout("", "abc漢d", 3, 4);
        assert_eq!(rows(&layout), ["abc", "漢d"]);
        assert_eq!(layout.cursor(), (1, 0));
    }

    #[test]
    fn colours_take_no_room() {
        let layout = layout("\x1b[1;32mok\x1b[0m$ ", "x", 1, 80);
        assert_eq!(layout.cursor(), (0, 5));
    }

    #[test]
    fn further_lines_have_their_own_prompt() {
        let layout = layout("$ ", "if\nfi", 5, 80);
        assert_eq!(rows(&layout), ["$ if", "> fi"]);
        assert_eq!(layout.cursor(), (1, 4));
        assert!(layout.rows[0].ends && !layout.rows[1].ends);
    }

    #[test]
    fn controls_and_tabs_are_shown() {
        let layout = layout("", "a\t\x03b", 4, 80);
        assert_eq!(rows(&layout), ["a       ^Cb"]);
        assert_eq!(layout.cursor(), (0, 11));
    }

    #[test]
    fn shows_the_part_around_the_cursor_when_the_screen_is_too_small() {
        let layout = layout("", "aabbccdd", 5, 2);
        let mut out = Vec::new();
        assert_eq!(layout.paint(2, &mut out), 1);
        assert_eq!(out, b"bbcc\r\x1b[1C");
    }

    #[test]
    fn no_width_is_too_small() {
        for width in 0..4 {
            let layout = layout("prompt$ ", "漢字\tx\n\x01", 3, width);
            layout.paint(0, &mut Vec::new());
        }
    }
}
