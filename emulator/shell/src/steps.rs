//! What was typed → steps for the interpreter, or the wish for more lines.
//!
//! A line such as `a; b` is handed over command by command. The interpreter's two output
//! streams have no common order, but between two steps both are drained, so the error of
//! `a` is shown before the output of `b`. Inside one loop or function they may swap.

use bashkit::parser::Parser;

use crate::limits::{SYNTAX_DEPTH, SYNTAX_STEPS};

/// Places at which a text may be cut; each costs a look by the parser.
const MAX_CUTS: usize = 64;

/// What to do with a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A quote, a compound command or a here-document is still open.
    Incomplete,
    /// Run these one after the other; none if there is only blank or comment.
    Steps(Vec<String>),
    /// Tell this and run nothing.
    Error(String),
}

/// Reads a command line.
pub(crate) fn read(text: &str) -> Reading {
    if text.trim().is_empty() {
        return Reading::Steps(Vec::new());
    }
    if ends_in_backslash(text) || has_open_document(text) {
        return Reading::Incomplete;
    }
    match parse(text) {
        // The parser forgives an operator without a right side.
        Ok(_) if ends_in_operator(text) => Reading::Incomplete,
        Ok(false) => Reading::Steps(Vec::new()),
        Ok(true) => Reading::Steps(split(text)),
        Err(error) if is_open(&error.to_string()) => Reading::Incomplete,
        Err(error) => Reading::Error(tell(&error, text)),
    }
}

/// Whether there is a command in the text.
fn parse(text: &str) -> bashkit::Result<bool> {
    let script = Parser::with_limits(text, SYNTAX_DEPTH, SYNTAX_STEPS).parse()?;
    Ok(!script.commands.is_empty())
}

fn ends_in_operator(text: &str) -> bool {
    let last = text.trim_end().lines().next_back().unwrap_or_default();
    (last.ends_with("&&") || last.ends_with('|')) && !last.contains('#')
}

fn is_open(message: &str) -> bool {
    ["unexpected end of file", "unexpected EOF", "unterminated", "unexpected end of input"]
        .iter()
        .any(|words| message.contains(words))
}

/// The report of an interactive shell: without the number of the line.
fn tell(error: &bashkit::Error, text: &str) -> String {
    let report = error.syntax_report("bash", text).unwrap_or_else(|| format!("bash: {error}"));
    let first = report.lines().next().unwrap_or_default();
    match first.strip_prefix("bash: line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, message)) => format!("bash: {message}\n"),
        None => format!("{first}\n"),
    }
}

fn ends_in_backslash(text: &str) -> bool {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Cuts the text at those semicolons and line ends before which a command is complete: no
/// quote, loop or bracket is open there, or the part would not parse.
fn split(text: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut start = 0;
    // The body of a here-document stands behind its whole line, and what looks like an end
    // may be part of a comment: such texts stay whole.
    let is_plain = !text.contains("<<") && !text.contains('#');
    let ends = text.match_indices([';', '\n']).map(|(at, _)| at).filter(|_| is_plain);
    for end in ends.take(MAX_CUTS) {
        let part = &text[start..end];
        let is_whole = !ends_in_backslash(part) && !ends_in_operator(part);
        if is_whole && matches!(parse(part), Ok(true)) {
            steps.push(part.to_owned());
            start = end + 1;
        }
    }
    if matches!(parse(&text[start..]), Ok(true)) {
        steps.push(text[start..].to_owned());
    }
    steps
}

/// Whether a here-document (`<<WORD`) lacks its last line. The parser takes the end of the
/// text for it, as bash does for a script, but a person is still typing.
fn has_open_document(text: &str) -> bool {
    let mut waiting: Vec<Document> = Vec::new();
    let mut quote = None;
    for line in text.split('\n') {
        match waiting.first() {
            Some(document) if document.is_ended_by(line) => drop(waiting.remove(0)),
            Some(_) => {}
            None => waiting = documents(line, &mut quote),
        }
    }
    !waiting.is_empty()
}

#[derive(Debug)]
struct Document {
    end: String,
    strips_tabs: bool,
}

impl Document {
    fn is_ended_by(&self, line: &str) -> bool {
        let line = if self.strips_tabs { line.trim_start_matches('\t') } else { line };
        line == self.end
    }
}

/// The here-documents that a line opens. `quote` is the one still open from line to line.
fn documents(line: &str, quote: &mut Option<char>) -> Vec<Document> {
    let mut found = Vec::new();
    let mut rest = line.chars().peekable();
    let mut before = ' ';
    let mut arithmetic = false;
    while let Some(char) = rest.next() {
        match (char, *quote) {
            ('\\', None | Some('"')) => drop(rest.next()),
            ('\'' | '"', None) => *quote = Some(char),
            (_, Some(open)) if char == open => *quote = None,
            (_, Some(_)) => {}
            ('#', None) if before.is_whitespace() => break,
            ('(', None) if before == '(' => arithmetic = true,
            (')', None) if before == ')' => arithmetic = false,
            ('<', None) if rest.peek() == Some(&'<') && !arithmetic => {
                rest.next();
                if rest.next_if_eq(&'<').is_none() {
                    found.extend(document(&mut rest));
                }
            }
            _ => {}
        }
        before = char;
    }
    found
}

/// Reads `-WORD` or `"WORD"` behind `<<`.
fn document(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Document> {
    let strips_tabs = rest.next_if_eq(&'-').is_some();
    while rest.next_if(|char| *char == ' ').is_some() {}
    let mut end = String::new();
    while let Some(char) = rest.next_if(|char| !char.is_whitespace() && !";&|<>()".contains(*char))
    {
        if !"'\"\\".contains(char) {
            end.push(char);
        }
    }
    (!end.is_empty()).then_some(Document { end, strips_tabs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<String> {
        match read(text) {
            Reading::Steps(steps) => steps,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn open_constructs_want_more() {
        for text in [
            "echo 'a",
            "echo \"a",
            "echo a \\",
            "for i in 1 2; do",
            "for i in 1 2",
            "if true; then echo",
            "while :; do echo; ",
            "f() {",
            "case x in",
            "echo $(",
            "echo `date",
            "( echo",
            "ls |",
            "true &&",
            "cat <<EOF",
            "cat <<EOF\nbody",
            "cat <<-'E O'\nbody",
            "cat <<A <<B\na\nA\nb",
        ] {
            assert_eq!(read(text), Reading::Incomplete, "{text:?}");
        }
    }

    #[test]
    fn complete_ones_do_not() {
        for text in [
            "echo 'a\nb'",
            "for i in 1 2; do\necho $i\ndone",
            "cat <<EOF\nbody\nEOF",
            "cat <<-EOF\n\tbody\n\tEOF",
            "cat <<< word",
            "echo $((1 << 3))",
            "((x = 1 << y))",
            "echo 'a << b'",
            "echo a # << EOF",
            "echo \\\\",
        ] {
            assert!(!steps(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn blanks_and_comments_are_nothing_to_do() {
        for text in ["", "   ", "# only words", "\n"] {
            assert!(steps(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn commands_are_handed_over_one_by_one() {
        assert_eq!(steps("a; b && c | d\ne &"), ["a", " b && c | d", "e &"]);
        assert_eq!(steps("f() { x; y; }; z"), ["f() { x; y; }", " z"]);
    }

    #[test]
    fn what_belongs_together_stays_together() {
        for text in [
            "for i in 1; do a; done",
            "if a; then b; else c; fi",
            "case x in a) b;; *) c; esac",
            "(a; b)",
            "echo 'a; b' \"c; d\" $(e; f) \\; g",
            "for ((i = 0; i < 3; i++)); do a; done",
            "a &&\nb",
            "cat <<E; b\nbody\nE",
            "a # b; c",
        ] {
            assert_eq!(steps(text), [text]);
        }
    }

    #[test]
    fn a_long_text_is_cut_a_bounded_number_of_times() {
        let text = vec!["a"; 3 * MAX_CUTS].join(";");
        assert_eq!(steps(&text).len(), MAX_CUTS + 1);
    }

    #[test]
    fn errors_are_told_as_an_interactive_shell_does() {
        let Reading::Error(message) = read("echo a; ; b") else { panic!("not an error") };
        assert_eq!(message, "bash: syntax error near unexpected token `;'\n");
    }
}
