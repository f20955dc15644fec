//! Candidates for the word before the cursor: commands, variables, files.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bashkit::FileSystem;

use crate::editor::Completion;

/// Words of the language that stand where a command can.
const KEYWORDS: &[&str] = &[
    "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "then", "until",
    "while",
];

/// What can be completed to.
pub(crate) struct Sources<'a> {
    pub(crate) commands: &'a [String],
    pub(crate) variables: &'a [String],
    pub(crate) files: &'a Arc<dyn FileSystem>,
    pub(crate) directory: &'a Path,
    pub(crate) home: &'a str,
}

/// The word before the cursor.
#[derive(Debug, PartialEq, Eq)]
struct Word {
    /// Where it starts, in characters.
    start: usize,
    /// Without quotes and backslashes.
    text: String,
    /// The quote that is still open.
    quote: Option<char>,
    /// Whether a command is expected here.
    is_command: bool,
}

/// Finds the ways to finish the word at the end of `before`.
pub(crate) fn complete(before: &str, sources: &Sources<'_>) -> Completion {
    let word = word(before);
    let dollar = before.rfind('$').filter(|at| is_name(&before[at + 1..]));
    let mut found: Vec<(String, String)> = match dollar {
        Some(at) if word.quote != Some('\'') => {
            let start = before[..at].chars().count();
            return list(start, names(sources.variables, &before[at + 1..], "$", ""));
        }
        _ if word.is_command && !word.text.contains('/') => {
            let keywords: Vec<String> = KEYWORDS.iter().map(|word| (*word).into()).collect();
            let mut found = names(sources.commands, &word.text, "", " ");
            found.extend(names(&keywords, &word.text, "", " "));
            found
        }
        _ => Vec::new(),
    };
    if found.is_empty() {
        found = files(&word, sources);
    }
    list(word.start, found)
}

fn is_name(text: &str) -> bool {
    text.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

fn list(start: usize, mut found: Vec<(String, String)>) -> Completion {
    found.sort();
    found.dedup();
    let (words, labels) = found.into_iter().unzip();
    Completion { start, words, labels }
}

fn names(all: &[String], start: &str, before: &str, after: &str) -> Vec<(String, String)> {
    all.iter()
        .filter(|name| name.starts_with(start) && !name.starts_with("__"))
        .map(|name| (format!("{before}{name}{after}"), name.clone()))
        .collect()
}

fn files(word: &Word, sources: &Sources<'_>) -> Vec<(String, String)> {
    let (folder, start) = match word.text.rfind('/') {
        Some(at) => word.text.split_at(at + 1),
        None => ("", word.text.as_str()),
    };
    let path: PathBuf = match folder.strip_prefix("~/") {
        Some(rest) => Path::new(sources.home).join(rest),
        None => sources.directory.join(folder),
    };
    let Some(Ok(entries)) = now(sources.files.read_dir(&path)) else { return Vec::new() };
    entries
        .iter()
        .filter(|entry| entry.name.starts_with(start))
        // Hidden files are offered to those who ask for them.
        .filter(|entry| start.starts_with('.') || !entry.name.starts_with('.'))
        .map(|entry| {
            let is_folder = match entry.metadata.file_type {
                bashkit::FileType::Directory => true,
                bashkit::FileType::Symlink => {
                    let target = now(sources.files.read_dir(&path.join(&entry.name)));
                    matches!(target, Some(Ok(_)))
                }
                _ => false,
            };
            let name = format!("{folder}{}", entry.name);
            let slash = if is_folder { "/" } else { "" };
            (written(&name, slash, word.quote), format!("{}{slash}", entry.name))
        })
        .collect()
}

/// A file name as it has to stand on the command line.
fn written(name: &str, slash: &str, quote: Option<char>) -> String {
    let end = |after: &str| if slash.is_empty() { after.to_owned() } else { slash.to_owned() };
    match quote {
        Some(quote) => format!("{quote}{name}{}", end(&format!("{quote} "))),
        None => {
            let mut out = String::new();
            for (at, char) in name.char_indices() {
                let is_plain = char.is_alphanumeric() || "_-./,:@%+=".contains(char);
                if !(is_plain || char == '~' && at == 0 && name.starts_with("~/")) {
                    out.push('\\');
                }
                out.push(char);
            }
            out + &end(" ")
        }
    }
}

/// Splits off the word at the end.
fn word(before: &str) -> Word {
    let mut word = Word { start: 0, text: String::new(), quote: None, is_command: true };
    let mut is_open = false;
    let mut escaped = false;
    for (at, char) in before.chars().enumerate() {
        let begins = !is_open;
        match (char, word.quote) {
            _ if escaped => {
                word.text.push(char);
                escaped = false;
            }
            ('\\', None | Some('"')) => escaped = true,
            ('\'' | '"', None) => word.quote = Some(char),
            (_, Some(open)) if char == open => word.quote = None,
            (_, Some(_)) => word.text.push(char),
            (' ' | '\t', None) => {
                // An assignment before a command does not take its place.
                if is_open && !word.text.contains('=') {
                    word.is_command = KEYWORDS.contains(&word.text.as_str());
                }
                is_open = false;
                word.text.clear();
                continue;
            }
            (';' | '&' | '|' | '(' | '`' | '\n' | '{', None) => {
                is_open = false;
                word.text.clear();
                word.is_command = true;
                continue;
            }
            ('<' | '>', None) => {
                is_open = false;
                word.text.clear();
                word.is_command = false;
                continue;
            }
            _ => word.text.push(char),
        }
        if begins {
            is_open = true;
            word.start = at;
        }
    }
    if !is_open {
        word.start = before.chars().count();
    }
    word
}

/// The result of a future that does not wait: files in memory are there at once.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bashkit::InMemoryFs;

    fn find(before: &str) -> Completion {
        let memory = InMemoryFs::new();
        memory.add_dir("/home/user/music", 0o755);
        memory.add_file("/home/user/my notes.txt", b"", 0o644);
        memory.add_file("/home/user/.profile", b"", 0o644);
        memory.add_file("/etc/motd", b"", 0o644);
        let files: Arc<dyn FileSystem> = Arc::new(memory);
        complete(
            before,
            &Sources {
                commands: &["echo".into(), "env".into(), "ls".into(), "__hidden".into()],
                variables: &["HOME".into(), "HOSTNAME".into()],
                files: &files,
                directory: Path::new("/home/user"),
                home: "/home/user",
            },
        )
    }

    fn words(before: &str) -> Vec<String> {
        find(before).words
    }

    #[test]
    fn commands_where_a_command_stands() {
        assert_eq!(words("e"), ["echo ", "else ", "elif ", "env ", "esac "].sorted());
        assert_eq!(words("ls | ech"), ["echo "]);
        assert_eq!(words("X=1 ech"), ["echo "]);
        assert_eq!(words("if ech"), ["echo "]);
        assert_eq!(find("ls; ech").start, 4);
        assert!(words("__h").is_empty());
    }

    #[test]
    fn files_elsewhere() {
        assert_eq!(words("ls m"), ["music/", "my\\ notes.txt "]);
        assert_eq!(words("ls my\\ n"), ["my\\ notes.txt "]);
        assert_eq!(words("ls \"my n"), ["\"my notes.txt\" "]);
        assert_eq!(words("cat /etc/m"), ["/etc/motd "]);
        assert_eq!(words("cat ~/mu"), ["~/music/"]);
        assert_eq!(words("cat <m"), ["music/", "my\\ notes.txt "]);
        assert_eq!(words("cat .p"), [".profile "]);
        assert_eq!(find("ls m").labels, ["music/", "my notes.txt"]);
        assert!(words("ls /nowhere/x").is_empty());
    }

    #[test]
    fn variables_behind_a_dollar() {
        assert_eq!(words("echo $HO"), ["$HOME", "$HOSTNAME"]);
        assert_eq!(words("echo \"$HOM"), ["$HOME"]);
        assert_eq!(find("echo \"$HOM").start, 6);
    }

    trait Sorted {
        fn sorted(self) -> Vec<String>;
    }

    impl<const N: usize> Sorted for [&str; N] {
        fn sorted(self) -> Vec<String> {
            let mut words: Vec<String> = self.iter().map(|word| (*word).into()).collect();
            words.sort();
            words
        }
    }
}
