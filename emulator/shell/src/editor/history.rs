//! Lines typed before, newest last.

use std::collections::VecDeque;

/// Lines that are remembered, as many as bash does by default, twice over.
pub(crate) const MAX_LINES: usize = 1000;

/// Earlier lines, and which of them is on show.
#[derive(Debug, Default)]
pub(crate) struct History {
    lines: VecDeque<String>,
    /// Number of the first line in `lines`; lines that were dropped still count.
    first: usize,
    /// The line on show, and the unfinished one that it has replaced.
    recalled: Option<(usize, String)>,
}

impl History {
    /// Remembers a line, unless it is blank or the same as the last one.
    pub(crate) fn push(&mut self, line: &str) {
        self.recalled = None;
        let line = line.trim_end();
        if line.is_empty() || line.starts_with(' ') || self.lines.back().is_some_and(|l| l == line)
        {
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
            self.first += 1;
        }
        self.lines.push_back(line.into());
    }

    pub(crate) fn clear(&mut self) {
        self.first += self.lines.len();
        self.lines.clear();
        self.recalled = None;
    }

    /// Lines with their numbers, oldest first.
    pub(crate) fn numbered(&self) -> impl DoubleEndedIterator<Item = (usize, &str)> + '_ {
        let first = self.first + 1;
        self.lines.iter().enumerate().map(move |(at, line)| (first + at, line.as_str()))
    }

    /// The line before the one on show; `current` is kept if it was typed just now.
    pub(crate) fn older(&mut self, current: &str) -> Option<String> {
        let at = self.recalled.as_ref().map_or(self.lines.len(), |(at, _)| *at);
        let line = self.lines.get(at.checked_sub(1)?)?.clone();
        let draft = self.recalled.take().map_or_else(|| current.into(), |(_, draft)| draft);
        self.recalled = Some((at - 1, draft));
        Some(line)
    }

    /// The line after the one on show, or the unfinished one.
    pub(crate) fn newer(&mut self) -> Option<String> {
        let (at, draft) = self.recalled.take()?;
        match self.lines.get(at + 1) {
            Some(line) => {
                let line = line.clone();
                self.recalled = Some((at + 1, draft));
                Some(line)
            }
            None => Some(draft),
        }
    }

    /// Forgets what is on show, as when a line is given up.
    pub(crate) fn rest(&mut self) {
        self.recalled = None;
    }

    /// The newest line older than the `before`-th that contains `needle`.
    pub(crate) fn search(&self, needle: &str, before: Option<usize>) -> Option<(usize, &str)> {
        let end = before.unwrap_or(self.lines.len()).min(self.lines.len());
        (0..end).rev().map(|at| (at, self.lines[at].as_str())).find(|(_, l)| l.contains(needle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_back_and_forth_and_keeps_the_unfinished_line() {
        let mut history = History::default();
        history.push("one");
        history.push("two");
        assert_eq!(history.older("dra").as_deref(), Some("two"));
        assert_eq!(history.older("two").as_deref(), Some("one"));
        assert_eq!(history.older("one"), None);
        assert_eq!(history.newer().as_deref(), Some("two"));
        assert_eq!(history.newer().as_deref(), Some("dra"));
        assert_eq!(history.newer(), None);
    }

    #[test]
    fn blank_and_repeated_lines_are_not_kept() {
        let mut history = History::default();
        for line in ["a", "a", "  ", "", " secret", "b"] {
            history.push(line);
        }
        assert_eq!(history.numbered().collect::<Vec<_>>(), [(1, "a"), (2, "b")]);
    }

    #[test]
    fn is_bounded_and_keeps_counting() {
        let mut history = History::default();
        for number in 0..MAX_LINES + 5 {
            history.push(&format!("line {number}"));
        }
        assert_eq!(history.numbered().count(), MAX_LINES);
        assert_eq!(history.numbered().next(), Some((6, "line 5")));
    }

    #[test]
    fn searches_from_new_to_old() {
        let mut history = History::default();
        for line in ["echo 1", "ls", "echo 2"] {
            history.push(line);
        }
        assert_eq!(history.search("echo", None), Some((2, "echo 2")));
        assert_eq!(history.search("echo", Some(2)), Some((0, "echo 1")));
        assert_eq!(history.search("echo", Some(0)), None);
    }
}
