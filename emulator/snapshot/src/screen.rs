//! The section "screen": what stood on the terminal.
//!
//! It is the text of the page's serialize addon, escape sequences included, and is no more
//! to be trusted than what a guest writes: into the terminal with it, and nowhere else.

use crate::error::flawed;
use crate::manifest::{Content, Entry, MAX_INLINE, Manifest};
use crate::{Error, Flaw};

/// Name of the section.
pub const NAME: &str = "screen";

/// Version of its layout that is written, and the newest that is read.
pub const VERSION: u16 = 1;

/// Longest text in bytes of UTF-8: a screen and a long scrollback.
pub const MAX_SCREEN: usize = MAX_INLINE;

/// The section for a manifest.
///
/// # Errors
/// If the text is longer than [`MAX_SCREEN`].
pub fn section(text: &str) -> Result<Entry, Error> {
    if text.len() > MAX_SCREEN {
        return Err(flawed(NAME, Flaw::Size));
    }
    let content = Content::Inline(text.as_bytes().to_vec());
    Ok(Entry { name: NAME.to_owned(), version: VERSION, content })
}

/// The text in a manifest; `None` if there is none.
///
/// # Errors
/// If the section of that name is another, or not text.
pub fn of(manifest: &Manifest) -> Result<Option<&str>, Error> {
    let Some(entry) = manifest.section(NAME) else { return Ok(None) };
    if entry.version > VERSION {
        let flaw = Flaw::Newer { found: entry.version, known: VERSION };
        return Err(flawed(NAME, flaw));
    }
    let Content::Inline(bytes) = &entry.content else { return Err(flawed(NAME, Flaw::Kind)) };
    str::from_utf8(bytes).map(Some).map_err(|_| flawed(NAME, Flaw::Text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Origin;

    fn manifest(sections: Vec<Entry>) -> Manifest {
        let origin = Origin { engine: "v86".into(), state: 1, image: [0; 32], ram: 0 };
        Manifest::new(origin, sections).expect("valid")
    }

    #[test]
    fn text_is_read_back() {
        let longest = "x".repeat(MAX_SCREEN);
        for text in ["", "\u{1b}[1mgrüß\r\n$ ", &longest] {
            let manifest = manifest(vec![section(text).expect("valid")]);
            assert_eq!(of(&manifest), Ok(Some(text)));
        }
        assert_eq!(of(&manifest(Vec::new())), Ok(None));
        assert_eq!(section(&(longest + "x")), Err(flawed(NAME, Flaw::Size)));
    }

    #[test]
    fn another_section_of_that_name_is_refused() {
        let good = section("x").expect("valid");
        let chunked = Content::Chunked { size: 0, chunks: Vec::new() };
        for (flaw, bad) in [
            (Flaw::Newer { found: 2, known: 1 }, Entry { version: 2, ..good.clone() }),
            (Flaw::Text, Entry { content: Content::Inline(vec![0xff]), ..good.clone() }),
            (Flaw::Kind, Entry { content: chunked, ..good }),
        ] {
            assert_eq!(of(&manifest(vec![bad])), Err(flawed(NAME, flaw)));
        }
    }
}
