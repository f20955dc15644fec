//! `PS1` → the prompt on the screen.

use std::path::Path;

/// The prompt unless `PS1` says otherwise: green who, blue where.
pub(crate) const DEFAULT: &str = r"\[\e[32m\]\u@\h\[\e[0m\]:\[\e[34m\]\w\[\e[0m\]\$ ";

/// Who and where, for the escapes of a prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) user: &'a str,
    pub(crate) host: &'a str,
    pub(crate) home: &'a str,
    pub(crate) directory: &'a Path,
}

impl Place<'_> {
    /// Resolves `\u \h \w \W \$ \n \e \a`, octal codes and `\\`; `\[` and `\]`, which mark
    /// what takes no room, are not needed here. Unknown escapes stay as they are.
    pub(crate) fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            if char != '\\' {
                out.push(char);
                continue;
            }
            match chars.next() {
                Some('u') => out.push_str(self.user),
                Some('h' | 'H') => out.push_str(self.host),
                Some('w') => out.push_str(&self.tilde()),
                Some('W') => out.push_str(&self.last()),
                Some('$') => out.push('$'),
                Some('n') => out.push('\n'),
                Some('e') => out.push('\x1b'),
                Some('a') => out.push('\x07'),
                Some('[' | ']') => {}
                Some(digit @ '0'..='7') => {
                    let mut code = digit.to_digit(8).unwrap_or(0);
                    for _ in 0..2 {
                        let Some(next) = chars.next_if(|c| ('0'..='7').contains(c)) else { break };
                        code = code * 8 + next.to_digit(8).unwrap_or(0);
                    }
                    out.extend(char::from_u32(code));
                }
                Some('\\') | None => out.push('\\'),
                Some(other) => out.extend(['\\', other]),
            }
        }
        out
    }

    /// The directory, with `~` for the home directory.
    fn tilde(&self) -> String {
        match self.directory.strip_prefix(self.home) {
            Ok(rest) if rest.as_os_str().is_empty() => "~".into(),
            Ok(rest) if !self.home.is_empty() => format!("~/{}", rest.display()),
            _ => self.directory.display().to_string(),
        }
    }

    fn last(&self) -> String {
        let tilde = self.tilde();
        let last = tilde.rsplit('/').next().filter(|name| !name.is_empty());
        last.unwrap_or("/").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &str) -> Place<'_> {
        Place {
            user: "user",
            host: "vivarium",
            home: "/home/user",
            directory: Path::new(directory),
        }
    }

    #[test]
    fn who_and_where() {
        assert_eq!(place("/home/user").expand(r"\u@\h:\w\$ "), "user@vivarium:~$ ");
        assert_eq!(place("/home/user/a/b").expand(r"\w \W"), "~/a/b b");
        assert_eq!(place("/").expand(r"\w \W"), "/ /");
        assert_eq!(place("/home/username").expand(r"\w"), "/home/username");
    }

    #[test]
    fn escapes() {
        assert_eq!(place("/").expand(r"\[\e[1m\]\033[0m\\x\q\n"), "\x1b[1m\x1b[0m\\x\\q\n");
        assert_eq!(place("/").expand("\\"), "\\");
    }
}
