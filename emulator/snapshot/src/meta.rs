//! The section "meta": what a list of snapshots shows.

use crate::cursor::Cursor;
use crate::error::flawed;
use crate::manifest::{Content, Entry, MAX_SIZE, Manifest};
use crate::{Error, Flaw, Id};

/// Name of the section.
pub const NAME: &str = "meta";

/// Version of its layout that is written, and the newest that is read.
pub const VERSION: u16 = 1;

/// Longest name of a machine in bytes.
pub const MAX_MACHINE: usize = 64;

/// Longest label in bytes: a line of a list.
pub const MAX_LABEL: usize = 256;

/// Longest name of a flavour in bytes.
pub const MAX_FLAVOUR: usize = 32;

/// Longest command line in bytes: what a kernel for x86 takes (COMMAND_LINE_SIZE), less its
/// final zero.
pub const MAX_CMDLINE: usize = 2047;

/// Latest time in milliseconds since 1970: the last that a JavaScript `Date` can be.
pub const MAX_SAVED_MS: u64 = 8_640_000_000_000_000;

/// When a machine was saved, and what it was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Milliseconds since 1970, at most [`MAX_SAVED_MS`].
    pub saved_ms: u64,
    /// Guest memory in MiB, at most 4096.
    pub memory_mib: u32,
    /// Name of the machine, at most [`MAX_MACHINE`] bytes.
    pub machine: String,
    /// Flavour of its image, at most [`MAX_FLAVOUR`] bytes.
    pub flavour: String,
    /// What the user added to the kernel's command line, at most [`MAX_CMDLINE`] bytes.
    pub cmdline: String,
    /// What the user called this snapshot, at most [`MAX_LABEL`] bytes.
    pub label: Option<String>,
    /// Manifest of the snapshot that the machine had been restored from.
    pub parent: Option<Id>,
}

impl Meta {
    /// What a manifest says of itself.
    ///
    /// # Errors
    /// If the section is not there, or not as [`Meta::section`] makes it.
    pub fn of(manifest: &Manifest) -> Result<Self, Error> {
        let entry = manifest.section(NAME).ok_or_else(|| flawed(NAME, Flaw::Missing))?;
        if entry.version > VERSION {
            let flaw = Flaw::Newer { found: entry.version, known: VERSION };
            return Err(flawed(NAME, flaw));
        }
        match &entry.content {
            Content::Inline(bytes) => Self::read(bytes),
            Content::Chunked { .. } => Err(flawed(NAME, Flaw::Kind)),
        }
    }

    /// The section for a manifest.
    ///
    /// # Errors
    /// [`Error::Bounds`] for a field that [`Meta::read`] would refuse.
    pub fn section(&self) -> Result<Entry, Error> {
        let content = Content::Inline(self.write()?);
        Ok(Entry { name: NAME.to_owned(), version: VERSION, content })
    }

    /// Reads the section's bytes, of version 1.
    ///
    /// # Errors
    /// If they are anything but what [`Meta::write`] gives.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(bytes);
        let meta = Self {
            saved_ms: cursor.u64()?,
            memory_mib: cursor.u32()?,
            machine: text(&mut cursor)?,
            flavour: text(&mut cursor)?,
            cmdline: text(&mut cursor)?,
            label: if cursor.flag("label")? { Some(text(&mut cursor)?) } else { None },
            parent: if cursor.flag("parent")? { Some(cursor.id()?) } else { None },
        };
        cursor.end()?;
        meta.check()?;
        Ok(meta)
    }

    /// The section's bytes.
    ///
    /// # Errors
    /// [`Error::Bounds`] for a field that [`Meta::read`] would refuse.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let mut out = Vec::new();
        out.extend_from_slice(&self.saved_ms.to_le_bytes());
        out.extend_from_slice(&self.memory_mib.to_le_bytes());
        for text in [&self.machine, &self.flavour, &self.cmdline] {
            write_text(text, &mut out);
        }
        out.push(u8::from(self.label.is_some()));
        if let Some(label) = &self.label {
            write_text(label, &mut out);
        }
        out.push(u8::from(self.parent.is_some()));
        out.extend_from_slice(self.parent.as_ref().map_or(&[], |id| id.as_bytes()));
        Ok(out)
    }

    fn check(&self) -> Result<(), Error> {
        if self.saved_ms > MAX_SAVED_MS {
            return Err(Error::Bounds("time"));
        }
        if u64::from(self.memory_mib) << 20 > MAX_SIZE {
            return Err(Error::Bounds("memory size"));
        }
        let label = self.label.as_deref().unwrap_or_default();
        for (field, text, most) in [
            ("name of the machine", self.machine.as_str(), MAX_MACHINE),
            ("flavour", &self.flavour, MAX_FLAVOUR),
            ("command line", &self.cmdline, MAX_CMDLINE),
            ("label", label, MAX_LABEL),
        ] {
            // These are shown as one line each: no line breaks, no escape sequences.
            if text.len() > most || text.chars().any(char::is_control) {
                return Err(Error::Bounds(field));
            }
        }
        Ok(())
    }
}

fn text(cursor: &mut Cursor<'_>) -> Result<String, Error> {
    let length = usize::from(cursor.u16()?);
    let text = str::from_utf8(cursor.take(length)?);
    text.map(str::to_owned).map_err(|_| flawed(NAME, Flaw::Text))
}

/// The length of a checked text fits its field.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Origin;

    fn sample() -> Meta {
        Meta {
            saved_ms: 1_790_000_000_123,
            memory_mib: 256,
            machine: "first".into(),
            flavour: "full".into(),
            cmdline: "quiet".into(),
            label: Some("vor dem Üben".into()),
            parent: Some(Id::of(b"parent")),
        }
    }

    fn manifest(section: Entry) -> Manifest {
        let origin = Origin { engine: "v86".into(), state: 1, image: [0; 32], ram: 0 };
        Manifest::new(origin, vec![section]).expect("valid")
    }

    #[test]
    fn is_read_back_with_and_without_what_is_optional() {
        let bare = Meta { label: None, parent: None, ..sample() };
        for meta in [sample(), bare.clone(), Meta { label: Some(String::new()), ..bare }] {
            assert_eq!(Meta::of(&manifest(meta.section().expect("valid"))), Ok(meta));
        }
    }

    #[test]
    fn every_truncation_and_every_byte_too_many_is_an_error() {
        let mut bytes = sample().write().expect("valid");
        for end in 0..bytes.len() {
            assert!(Meta::read(&bytes[..end]).is_err(), "cut at {end}");
        }
        bytes.push(0);
        assert_eq!(Meta::read(&bytes), Err(Error::Trailing));
    }

    #[test]
    fn every_changed_byte_is_an_error_or_another_meta() {
        let bytes = sample().write().expect("valid");
        for index in 0..bytes.len() {
            for value in 0..=255 {
                let mut changed = bytes.clone();
                changed[index] = value;
                if let Ok(meta) = Meta::read(&changed) {
                    assert_eq!(meta.write(), Ok(changed), "byte {index}");
                }
            }
        }
    }

    #[test]
    fn impossible_fields_are_named_when_written() {
        let long = |most: usize| "x".repeat(most + 1);
        for (field, meta) in [
            ("time", Meta { saved_ms: MAX_SAVED_MS + 1, ..sample() }),
            ("memory size", Meta { memory_mib: 4097, ..sample() }),
            ("name of the machine", Meta { machine: long(MAX_MACHINE), ..sample() }),
            ("flavour", Meta { flavour: long(MAX_FLAVOUR), ..sample() }),
            ("command line", Meta { cmdline: long(MAX_CMDLINE), ..sample() }),
            ("label", Meta { label: Some(long(MAX_LABEL)), ..sample() }),
            ("label", Meta { label: Some("\u{1b}[2J".into()), ..sample() }),
        ] {
            assert_eq!(meta.section(), Err(Error::Bounds(field)));
        }
    }

    #[test]
    fn another_section_of_that_name_is_refused() {
        let section = sample().section().expect("valid");
        let newer = Entry { version: 2, ..section.clone() };
        let flaw = Flaw::Newer { found: 2, known: 1 };
        assert_eq!(Meta::of(&manifest(newer)), Err(flawed(NAME, flaw)));
        let chunked = Content::Chunked { size: 0, chunks: Vec::new() };
        let chunked = Entry { content: chunked, ..section.clone() };
        assert_eq!(Meta::of(&manifest(chunked)), Err(flawed(NAME, Flaw::Kind)));
        let other = Entry { name: "other".into(), ..section };
        assert_eq!(Meta::of(&manifest(other)), Err(flawed(NAME, Flaw::Missing)));
    }
}
