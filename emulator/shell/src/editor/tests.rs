//! The editor on an in-memory terminal: what counts is the screen.

use super::*;

struct Screen {
    editor: Editor,
    terminal: vt100::Parser,
    requests: Vec<Request>,
    lines: Vec<String>,
}

impl Screen {
    fn new(columns: u16, rows: u16) -> Self {
        let mut screen = Self {
            editor: Editor::new(TerminalSize { columns, rows }),
            terminal: vt100::Parser::new(rows, columns, 100),
            requests: Vec::new(),
            lines: Vec::new(),
        };
        screen.with(|editor, out| editor.begin("$ ".into(), out));
        screen
    }

    fn with(&mut self, act: impl FnOnce(&mut Editor, &mut Vec<u8>)) {
        let mut out = Vec::new();
        act(&mut self.editor, &mut out);
        self.editor.paint(&mut out);
        self.terminal.process(&out);
    }

    fn type_in(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        for byte in bytes.as_ref() {
            match self.editor.feed(*byte) {
                Some(Request::Submit) => {
                    let mut line = String::new();
                    self.with(|editor, out| {
                        line = editor.accept(out);
                        editor.begin("$ ".into(), out);
                    });
                    self.lines.push(line);
                }
                Some(request) => self.requests.push(request),
                None => {}
            }
            self.with(|_, _| {});
        }
        self
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        self.terminal.screen_mut().set_size(rows, columns);
        self.with(|editor, _| editor.resize(TerminalSize { columns, rows }));
    }

    fn shows(&self, text: &str) {
        assert_eq!(self.terminal.screen().contents().trim_end(), text);
    }

    fn cursor(&self) -> (u16, u16) {
        self.terminal.screen().cursor_position()
    }
}

const LEFT: &str = "\x1b[D";
const UP: &str = "\x1b[A";

#[test]
fn inserts_and_removes_in_mid_line() {
    let mut screen = Screen::new(40, 5);
    screen.type_in("echo hlo").type_in(LEFT).type_in(LEFT).type_in("el");
    screen.shows("$ echo hello");
    assert_eq!(screen.cursor(), (0, 10));
    screen.type_in("\x7f\x1b[3~").shows("$ echo heo");
    screen.type_in("\x01\x0b").shows("$");
    screen.type_in("\x19\x19").shows("$ echo heoecho heo");
    screen.type_in("\x15x").shows("$ x");
}

#[test]
fn moves_and_kills_by_words() {
    let mut screen = Screen::new(40, 5);
    screen.type_in("cp one/two three\x1bb\x1bb\x1bd").shows("$ cp one/ three");
    screen.type_in("\x05\x17").shows("$ cp one/");
    screen.type_in("\x1b\x7f").shows("$ cp");
    screen.type_in("\x02\x14").shows("$ c p");
}

#[test]
fn a_line_over_several_rows_is_edited_in_place() {
    let mut screen = Screen::new(10, 6);
    screen.type_in("abcdefghijklmnopqrst");
    screen.shows("$ abcdefghijklmnopqrst");
    assert_eq!(screen.cursor(), (2, 2));
    screen.type_in("\x01X");
    assert_eq!(screen.cursor(), (0, 3));
    screen.type_in("\x05\x7f\x7f\x7f\x7f\x7f").shows("$ Xabcdefghijklmno");
    assert_eq!(screen.cursor(), (1, 8));
    screen.type_in("\r").shows("$ Xabcdefghijklmno\n$");
    assert_eq!(screen.lines, ["Xabcdefghijklmno"]);
}

#[test]
fn the_cursor_goes_on_when_a_row_is_exactly_full() {
    let mut screen = Screen::new(10, 6);
    screen.type_in("12345678");
    assert_eq!(screen.cursor(), (1, 0));
    screen.type_in("\x7f");
    assert_eq!(screen.cursor(), (0, 9));
    screen.type_in("89\r");
    screen.shows("$ 123456789\n$");
}

#[test]
fn a_line_longer_than_the_screen_stays_editable() {
    let mut screen = Screen::new(10, 3);
    screen.type_in("0123456789".repeat(5));
    assert_eq!(screen.cursor(), (2, 2));
    screen.type_in("\x01Z");
    assert_eq!(screen.cursor(), (0, 3));
    assert!(screen.terminal.screen().contents().starts_with("$ Z0123456"));
    screen.type_in("\x05!\r");
    assert_eq!(screen.lines, [format!("Z{}!", "0123456789".repeat(5))]);
}

#[test]
fn wide_characters_count_two_cells() {
    let mut screen = Screen::new(10, 5);
    screen.type_in("漢字");
    assert_eq!(screen.cursor(), (0, 6));
    screen.type_in(LEFT).type_in("a").shows("$ 漢a字");
    assert_eq!(screen.cursor(), (0, 5));
    screen.type_in("\x05bc語x");
    assert_eq!(screen.cursor(), (1, 3), "the wide one went to the next row");
    screen.type_in("\x7f\x7f\x7f").shows("$ 漢a字b");
}

#[test]
fn resizing_repaints() {
    let mut screen = Screen::new(20, 5);
    screen.type_in("one two three");
    screen.resize(30, 5);
    screen.type_in("!").shows("$ one two three!");
    screen.resize(12, 5);
    screen.type_in("\r");
    assert_eq!(screen.lines, ["one two three!"]);
}

#[test]
fn recalls_lines() {
    let mut screen = Screen::new(40, 9);
    screen.type_in("first\rsecond\r").type_in("draft").type_in(UP);
    screen.shows("$ first\n$ second\n$ second");
    screen.type_in("\x10").shows("$ first\n$ second\n$ first");
    screen.type_in("\x1b[B\x0e").shows("$ first\n$ second\n$ draft");
    screen.type_in("\x15\x1b.").shows("$ first\n$ second\n$ second");
}

#[test]
fn searches_backwards_as_one_types() {
    let mut screen = Screen::new(60, 9);
    screen.type_in("echo one\rls /etc\recho two\r\x12");
    screen.type_in("ec");
    assert!(screen.terminal.screen().contents().ends_with("(reverse-i-search)`ec': echo two"));
    screen.type_in("\x12");
    assert!(screen.terminal.screen().contents().ends_with("`ec': echo one"));
    screen.type_in("zz");
    assert!(screen.terminal.screen().contents().contains("(failed reverse-i-search)`eczz'"));
    screen.type_in("\x7f\x7f\x12\r");
    assert_eq!(screen.lines.last().map(String::as_str), Some("echo one"));
    screen.type_in("keep\x12ls\x07");
    assert_eq!(screen.editor.text(), "keep");
}

#[test]
fn a_paste_waits_for_enter() {
    let mut screen = Screen::new(40, 9);
    screen.type_in("\x1b[200~echo 1\recho 2\r\x1b[201~");
    screen.shows("$ echo 1\n> echo 2");
    assert!(screen.lines.is_empty());
    screen.type_in("\r");
    assert_eq!(screen.lines, ["echo 1\necho 2"]);
}

#[test]
fn moves_between_the_lines_of_a_text() {
    let mut screen = Screen::new(40, 9);
    screen.type_in("for x").with(|editor, _| editor.continue_line());
    screen.type_in("do").type_in(UP).type_in("!");
    screen.shows("$ fo!r x\n> do");
    screen.type_in("\x1b[B?").shows("$ fo!r x\n> do?");
}

#[test]
fn completes_then_lists() {
    let mut screen = Screen::new(40, 9);
    screen.type_in("cat no\t");
    assert_eq!(screen.requests, [Request::Complete]);
    let words = |words: &[&str]| Completion {
        start: 4,
        words: words.iter().map(|w| (*w).into()).collect(),
        labels: words.iter().map(|w| (*w).into()).collect(),
    };
    let two = words(&["notes.md", "notes.txt"]);
    screen.with(|editor, out| editor.complete(&two, out));
    screen.shows("$ cat notes.");
    screen.type_in("\t").with(|editor, out| editor.complete(&two, out));
    screen.shows("$ cat notes.");
    screen.type_in("\t").with(|editor, out| editor.complete(&two, out));
    screen.shows("$ cat notes.\nnotes.md   notes.txt\n$ cat notes.");
    screen.type_in("m").with(|editor, out| editor.complete(&words(&["notes.md "]), out));
    screen.shows("$ cat notes.\nnotes.md   notes.txt\n$ cat notes.md");
    screen.with(|editor, out| editor.complete(&Completion::default(), out));
}

#[test]
fn says_what_only_the_owner_can_do() {
    let mut screen = Screen::new(40, 9);
    screen.type_in("\x04a\x01\x04\x03");
    assert_eq!(screen.requests, [Request::EndOfFile, Request::Interrupt]);
    screen.type_in("gone").with(|editor, out| {
        editor.abandon("^C", out);
        editor.begin("$ ".into(), out);
    });
    screen.shows("$ gone^C\n$");
}

#[test]
fn clears_the_screen_and_keeps_the_line() {
    let mut screen = Screen::new(40, 5);
    screen.type_in("one\rtwo\x0c").shows("$ two");
}

#[test]
fn the_common_start_respects_characters() {
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    assert_eq!(common_start(&words(&["étoile", "été"])).as_deref(), Some("ét"));
    assert_eq!(common_start(&words(&["a", "ab"])).as_deref(), Some("a"));
    assert_eq!(common_start(&[]), None);
}
