//! Bytes of a terminal → keys.
//!
//! A small decoder for what xterm sends: UTF-8, control characters, `ESC x` for Alt, CSI
//! and SS3 sequences, and bracketed paste. It holds what is incomplete until more comes; a
//! lone `ESC` therefore waits for the next byte (there is no clock here to time it out).

/// Longest escape sequence that is still believed; a longer one is dropped as noise.
const MAX_SEQUENCE: usize = 32;

/// Bytes of one paste that are kept; what is beyond is dropped. A command line of this
/// size is already far over what the interpreter reads in one go.
const MAX_PASTE: usize = 256 * 1024;

/// What ends a bracketed paste.
const PASTE_END: &[u8] = b"\x1b[201~";

/// One key, or one paste.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    /// Control and a letter or one of `@[\]^_`, given as the capital.
    Ctrl(char),
    Alt(char),
    AltBackspace,
    Enter,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    Up,
    Down,
    Home,
    End,
    WordLeft,
    WordRight,
    /// A whole bracketed paste, line ends as `\n`.
    Paste(String),
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Ground,
    Escape,
    /// After `ESC [` or `ESC O`: the parameters so far.
    Sequence(Vec<u8>),
    Paste(Vec<u8>),
    /// The first bytes of a UTF-8 character, and how many it has in all.
    Utf8(Vec<u8>, usize),
}

/// The decoder's memory between two bytes.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    state: State,
}

impl Decoder {
    /// Takes one byte; returns the key that it completes.
    pub(crate) fn push(&mut self, byte: u8) -> Option<Key> {
        match std::mem::take(&mut self.state) {
            State::Ground => self.ground(byte),
            State::Escape => self.escape(byte),
            State::Sequence(bytes) => self.sequence(bytes, byte),
            State::Paste(bytes) => self.paste(bytes, byte),
            State::Utf8(bytes, length) => self.utf8(bytes, length, byte),
        }
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        match byte {
            0x1b => {
                self.state = State::Escape;
                None
            }
            b'\r' | b'\n' => Some(Key::Enter),
            b'\t' => Some(Key::Tab),
            0x08 | 0x7f => Some(Key::Backspace),
            0x00..=0x1f => Some(Key::Ctrl(char::from(byte | 0x40))),
            0x20..=0x7e => Some(Key::Char(char::from(byte))),
            0xc2..=0xdf => self.begin_utf8(byte, 2),
            0xe0..=0xef => self.begin_utf8(byte, 3),
            0xf0..=0xf4 => self.begin_utf8(byte, 4),
            0x80..=0xc1 | 0xf5..=0xff => Some(Key::Char(char::REPLACEMENT_CHARACTER)),
        }
    }

    fn begin_utf8(&mut self, byte: u8, length: usize) -> Option<Key> {
        self.state = State::Utf8(vec![byte], length);
        None
    }

    fn utf8(&mut self, mut bytes: Vec<u8>, length: usize, byte: u8) -> Option<Key> {
        if byte & 0xc0 != 0x80 {
            // A broken character must not swallow what follows, least of all Ctrl-C.
            return self.ground(byte);
        }
        bytes.push(byte);
        if bytes.len() < length {
            self.state = State::Utf8(bytes, length);
            return None;
        }
        let text = std::str::from_utf8(&bytes).ok();
        let char = text.and_then(|text| text.chars().next());
        Some(Key::Char(char.unwrap_or(char::REPLACEMENT_CHARACTER)))
    }

    fn escape(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'[' | b'O' => {
                self.state = State::Sequence(Vec::new());
                None
            }
            0x1b => {
                self.state = State::Escape;
                None
            }
            0x08 | 0x7f => Some(Key::AltBackspace),
            0x20..=0x7e => Some(Key::Alt(char::from(byte.to_ascii_lowercase()))),
            _ => self.ground(byte),
        }
    }

    fn sequence(&mut self, mut bytes: Vec<u8>, byte: u8) -> Option<Key> {
        if byte < 0x20 {
            return self.ground(byte);
        }
        bytes.push(byte);
        if !(0x40..=0x7e).contains(&byte) {
            if bytes.len() < MAX_SEQUENCE {
                self.state = State::Sequence(bytes);
            }
            return None;
        }
        if bytes == b"200~" {
            self.state = State::Paste(Vec::new());
            return None;
        }
        named(&bytes)
    }

    fn paste(&mut self, mut bytes: Vec<u8>, byte: u8) -> Option<Key> {
        bytes.push(byte);
        if !bytes.ends_with(PASTE_END) {
            // Past the bound only the last bytes are kept, to recognise the end.
            if bytes.len() > MAX_PASTE + PASTE_END.len() {
                bytes.remove(MAX_PASTE);
            }
            self.state = State::Paste(bytes);
            return None;
        }
        bytes.truncate((bytes.len() - PASTE_END.len()).min(MAX_PASTE));
        let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n").replace('\r', "\n");
        Some(Key::Paste(text))
    }
}

/// The key of a complete sequence without its `ESC [` or `ESC O`.
fn named(sequence: &[u8]) -> Option<Key> {
    Some(match sequence {
        b"A" => Key::Up,
        b"B" => Key::Down,
        b"C" => Key::Right,
        b"D" => Key::Left,
        b"H" | b"1~" | b"7~" => Key::Home,
        b"F" | b"4~" | b"8~" => Key::End,
        b"3~" => Key::Delete,
        // Control and Alt with an arrow: 5 and 3 in xterm's numbering of modifiers.
        b"1;5C" | b"1;3C" => Key::WordRight,
        b"1;5D" | b"1;3D" => Key::WordLeft,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|byte| decoder.push(*byte)).collect()
    }

    #[test]
    fn letters_controls_and_alt() {
        assert_eq!(
            keys(b"a\x01\r\t\x7f\x1bb\x1b\x7f"),
            [
                Key::Char('a'),
                Key::Ctrl('A'),
                Key::Enter,
                Key::Tab,
                Key::Backspace,
                Key::Alt('b'),
                Key::AltBackspace,
            ]
        );
    }

    #[test]
    fn both_kinds_of_cursor_sequences() {
        assert_eq!(keys(b"\x1b[A\x1bOA"), [Key::Up, Key::Up]);
        assert_eq!(keys(b"\x1b[H\x1b[1~\x1b[3~"), [Key::Home, Key::Home, Key::Delete]);
        assert_eq!(keys(b"\x1b[1;5D\x1b[1;3C"), [Key::WordLeft, Key::WordRight]);
    }

    #[test]
    fn unknown_sequences_leave_no_trace() {
        assert_eq!(keys(b"\x1b[15~x\x1b[?1;2cy"), [Key::Char('x'), Key::Char('y')]);
        let long = [b"\x1b[".to_vec(), vec![b'1'; 100], b"zq".to_vec()].concat();
        assert!(keys(&long).len() < 100);
    }

    #[test]
    fn characters_of_any_length_arrive_whole_even_byte_by_byte() {
        assert_eq!(keys("é漢🦀".as_bytes()), ['é', '漢', '🦀'].map(Key::Char));
    }

    #[test]
    fn broken_utf8_does_not_swallow_an_interrupt() {
        assert_eq!(keys(b"\xe6\xbc\x03"), [Key::Ctrl('C')]);
        assert_eq!(keys(b"\xff"), [Key::Char(char::REPLACEMENT_CHARACTER)]);
        assert_eq!(keys(b"\x1b[1\x03"), [Key::Ctrl('C')]);
    }

    #[test]
    fn a_paste_is_one_key_and_its_line_ends_are_one_kind() {
        assert_eq!(
            keys(b"\x1b[200~a\r\nb\rc\x1b[201~!"),
            [Key::Paste("a\nb\nc".into()), Key::Char('!')]
        );
    }

    #[test]
    fn an_endless_paste_is_bounded() {
        let bytes = [b"\x1b[200~".to_vec(), vec![b'x'; 2 * MAX_PASTE], PASTE_END.to_vec()].concat();
        match &keys(&bytes)[..] {
            [Key::Paste(text)] => assert_eq!(text.len(), MAX_PASTE),
            other => panic!("{} keys", other.len()),
        }
    }
}
