//! What the page says about saved machines, and the names it gives. Pure, so that all of it
//! has tests.

use emulator_protocol::{Fault, FaultKind, Flavour, Party, Snapshot, Usage};

/// Characters of a snapshot's name. However they are written, they fit the 256 bytes that a
/// snapshot has for it (docs/snapshot.md).
pub(crate) const NAME_LIMIT: usize = 64;

/// Characters of a machine's name, all of them ASCII: what a snapshot has room for
/// (docs/snapshot.md).
pub(crate) const MACHINE_LIMIT: usize = 64;

/// A number at the end of a machine's name that is smaller counts its copies; a larger one
/// is its memory, as in `v86-full-256`.
const COPIES: u32 = 100;

/// Machines whose names begin so hold what came with the image.
const SHIPPED: &str = "shipped-";

/// Rows and columns of a preview: a prompt and what was done before it, on a line's width.
const PREVIEW_ROWS: usize = 12;
const PREVIEW_COLUMNS: usize = 80;

/// Bytes, to two digits where fewer would say little.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64 / 1e3;
    for unit in ["kB", "MB", "GB"] {
        if value < 999.5 {
            let digits = usize::from(unit != "kB" && value < 9.95);
            // What is there is not called nothing.
            let shown = if bytes > 0 && unit == "kB" { value.max(1.0) } else { value };
            return format!("{shown:.digits$} {unit}");
        }
        value /= 1e3;
    }
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$} TB")
}

/// A snapshot's size and how much of it no other needs.
#[must_use]
pub(crate) fn share(bytes: u64, own: u64) -> String {
    let (all, part) = (size(bytes), size(own));
    if own == 0 {
        format!("{all}, all of it shared")
    } else if all == part {
        format!("{all}, all of it its own")
    } else {
        format!("{all}, {part} of it its own")
    }
}

/// What the removal of a snapshot means.
#[must_use]
pub(crate) fn removal(snapshot: &Snapshot) -> String {
    let freed = if snapshot.own_bytes == 0 {
        "Other snapshots need all of its parts, so that frees nothing.".into()
    } else {
        format!("That frees {}.", size(snapshot.own_bytes))
    };
    let after = if snapshot.is_head {
        " A machine goes on from it: that one will begin with the snapshot before it, or anew."
    } else {
        ""
    };
    format!("It cannot be brought back. {freed}{after}")
}

/// The storage of the site in one sentence.
#[must_use]
pub(crate) fn usage(usage: &Usage) -> String {
    let used = size(usage.used);
    let of = if usage.quota > 0 { format!(" of {}", size(usage.quota)) } else { String::new() };
    let kept = if usage.persisted {
        "kept until you delete it"
    } else {
        "may be removed by the browser when space is short"
    };
    format!("{used}{of} used; {kept}.")
}

/// How long ago something was; both in milliseconds since 1970. A clock that was set back
/// makes it just now.
#[must_use]
pub(crate) fn ago(then: u64, now: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const MONTH: u64 = 30 * DAY;
    const YEAR: u64 = 365 * DAY;
    let seconds = now.saturating_sub(then) / 1000;
    let units =
        [(YEAR, "year"), (MONTH, "month"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")];
    let Some((unit, word)) = units.into_iter().find(|(unit, _)| seconds >= *unit) else {
        return "just now".into();
    };
    let count = seconds / unit;
    let many = if count == 1 { "" } else { "s" };
    format!("{count} {word}{many} ago")
}

/// What a snapshot is called.
#[must_use]
pub(crate) fn title(snapshot: &Snapshot) -> String {
    snapshot.name.clone().unwrap_or_else(|| "Autosave".into())
}

/// Engine and image of a snapshot.
#[must_use]
pub(crate) fn origin(snapshot: &Snapshot) -> String {
    match snapshot.flavour {
        Flavour::Full => snapshot.engine.clone(),
        Flavour::Busybox => format!("{}, busybox", snapshot.engine),
    }
}

/// The last rows of a screen.
#[must_use]
pub(crate) fn preview(screen: &str) -> String {
    let rows: Vec<_> = screen.trim_end().lines().collect();
    let first = rows.len().saturating_sub(PREVIEW_ROWS);
    let cut = |row: &&str| -> String {
        row.trim_end().chars().filter(|char| !char.is_control()).take(PREVIEW_COLUMNS).collect()
    };
    rows[first..].iter().map(cut).collect::<Vec<_>>().join("\n")
}

/// Name of an exported file; the time is year, month, day, hour and minute.
#[must_use]
pub(crate) fn file_name(machine: &str, [year, month, day, hour, minute]: [u32; 5]) -> String {
    let machine = plain(machine);
    format!("{machine}-{year:04}-{month:02}-{day:02}-{hour:02}{minute:02}.vivarium")
}

/// A name for a copy of a machine: `main-2`, and `main-3` if that is taken or is copied.
#[must_use]
pub(crate) fn proposed(machine: &str, taken: impl Fn(&str) -> bool) -> String {
    let machine = plain(machine);
    let numbered = machine.rsplit_once('-').and_then(|(stem, number)| {
        let number: u32 = number.parse().ok()?;
        (!stem.is_empty() && number < COPIES).then_some((stem, number + 1))
    });
    let (stem, first) = numbered.unwrap_or((&machine, 2));
    let name = |number: u32| {
        let end = format!("-{number}");
        // `plain` left nothing but ASCII.
        let room = stem.len().min(MACHINE_LIMIT - end.len());
        format!("{}{end}", &stem[..room])
    };
    (first.max(2)..=u32::MAX).map(name).find(|name| !taken(name)).unwrap_or(machine)
}

/// Reads the name of a machine that a person or a program has chosen.
///
/// # Errors
/// Why it cannot be one, in words.
pub(crate) fn machine_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    let fits = name.len() <= MACHINE_LIMIT
        && name.starts_with(|char: char| char.is_ascii_alphanumeric())
        && name.chars().all(is_plain);
    if !fits {
        return Err(format!(
            "A machine's name is made of 1 to {MACHINE_LIMIT} letters (a to z), digits, dots, \
             hyphens and underscores, and begins with a letter or digit."
        ));
    }
    if name.starts_with(SHIPPED) {
        return Err(format!("Names that begin with “{SHIPPED}” are the app's own."));
    }
    Ok(name.into())
}

/// Reads the name of a snapshot; an empty one is none.
///
/// # Errors
/// Why it cannot be one, in words.
pub(crate) fn snapshot_name(text: &str) -> Result<Option<String>, String> {
    let name = text.trim();
    if name.chars().count() > NAME_LIMIT {
        return Err(format!("A snapshot's name has at most {NAME_LIMIT} characters."));
    }
    if name.chars().any(char::is_control) {
        return Err("A snapshot's name is one line of text.".into());
    }
    Ok((!name.is_empty()).then(|| name.into()))
}

/// A fault as one short text.
#[must_use]
pub(crate) fn told(fault: &Fault) -> String {
    format!("{} {}", fault.summary, fault.advice)
}

/// The fault of a worker that answers for saved machines, not for a running one: what its
/// link advises would restart the wrong thing.
#[must_use]
pub(crate) fn reworded(fault: Fault) -> Fault {
    if fault.kind != FaultKind::EngineCrash {
        return fault;
    }
    let detail = format!("{}\n{}", fault.summary, fault.detail);
    Fault {
        summary: "The part that looks after saved machines broke down.".into(),
        advice: "Try again: what was saved is as it was. Please report this if it stays.".into(),
        detail: detail.trim_end().into(),
        ..fault
    }
}

/// The fault of asking for a snapshot that is not there.
#[must_use]
pub(crate) fn missing(id: &str) -> Fault {
    Fault::new(
        FaultKind::SnapshotDamaged,
        Party::Snapshot,
        "That snapshot is not in this browser's storage.",
        "It was deleted here or in another tab, or the browser has cleared its storage.",
    )
    .with_detail(id)
}

/// Only what an address and a file system take without quoting; never empty.
fn plain(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|char| if is_plain(char) { char } else { '-' })
        .skip_while(|char| !char.is_ascii_alphanumeric())
        .take(MACHINE_LIMIT)
        .collect();
    if name.is_empty() { "machine".into() } else { name }
}

fn is_plain(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(own_bytes: u64, is_head: bool) -> Snapshot {
        Snapshot {
            id: "0".repeat(64),
            machine: "main".into(),
            name: None,
            saved_ms: 0,
            engine: "v86".into(),
            memory_mib: 256,
            flavour: Flavour::Full,
            cmdline: String::new(),
            bytes: 8_300_000,
            own_bytes,
            delta_bytes: 0,
            screen: String::new(),
            is_head,
        }
    }

    #[test]
    fn sizes_have_two_digits_where_it_matters() {
        for (bytes, words) in [
            (0, "0 kB"),
            (1, "1 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (8_300_000, "8.3 MB"),
            (9_949_000, "9.9 MB"),
            (9_950_001, "10 MB"),
            (23_400_000, "23 MB"),
            (999_600_000, "1.0 GB"),
            (4_100_000_000, "4.1 GB"),
            (120_000_000_000, "120 GB"),
            (2_000_000_000_000, "2.0 TB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(size(bytes), words, "{bytes}");
        }
    }

    #[test]
    fn a_size_tells_what_is_a_snapshots_own() {
        assert_eq!(share(8_300_000, 1_100_000), "8.3 MB, 1.1 MB of it its own");
        assert_eq!(share(8_300_000, 0), "8.3 MB, all of it shared");
        assert_eq!(share(8_300_000, 8_299_000), "8.3 MB, all of it its own");
    }

    #[test]
    fn a_removal_says_what_it_frees_and_whose_start_changes() {
        assert!(removal(&snapshot(1_100_000, false)).ends_with("That frees 1.1 MB."));
        assert!(removal(&snapshot(0, false)).contains("frees nothing"));
        assert!(removal(&snapshot(0, true)).contains("A machine goes on from it"));
    }

    #[test]
    fn usage_leaves_out_what_the_browser_does_not_say() {
        let known = Usage { used: 23_000_000, quota: 4_100_000_000, persisted: true };
        assert_eq!(usage(&known), "23 MB of 4.1 GB used; kept until you delete it.");
        let unknown = Usage { quota: 0, persisted: false, ..known };
        assert_eq!(
            usage(&unknown),
            "23 MB used; may be removed by the browser when space is short."
        );
    }

    #[test]
    fn times_are_told_in_one_unit() {
        const SECOND: u64 = 1000;
        const HOUR: u64 = 3600 * SECOND;
        for (passed, words) in [
            (0, "just now"),
            (59 * SECOND, "just now"),
            (60 * SECOND, "1 minute ago"),
            (59 * 60 * SECOND, "59 minutes ago"),
            (HOUR, "1 hour ago"),
            (47 * HOUR, "1 day ago"),
            (48 * HOUR, "2 days ago"),
            (31 * 24 * HOUR, "1 month ago"),
            (364 * 24 * HOUR, "12 months ago"),
            (800 * 24 * HOUR, "2 years ago"),
        ] {
            assert_eq!(ago(5, 5 + passed), words, "{passed}");
        }
        assert_eq!(ago(10_000_000, 0), "just now", "the clock was set back");
    }

    #[test]
    fn a_preview_is_the_end_of_the_screen() {
        let screen: String = (1..=30).map(|row| format!("row {row}  \n")).collect();
        let shown = preview(&format!("{screen}\n\n   \n"));
        assert_eq!(shown.lines().count(), PREVIEW_ROWS);
        assert!(shown.starts_with("row 19\n") && shown.ends_with("\nrow 30"), "{shown}");
        assert_eq!(preview(""), "");
        assert_eq!(preview(&"ä".repeat(500)).chars().count(), PREVIEW_COLUMNS);
        assert_eq!(preview("a\u{1b}b\r\nc"), "ab\nc");
    }

    #[test]
    fn file_names_are_plain() {
        let at = [2026, 11, 5, 7, 3];
        assert_eq!(file_name("main", at), "main-2026-11-05-0703.vivarium");
        assert_eq!(file_name("../my box", at), "my-box-2026-11-05-0703.vivarium");
        assert_eq!(file_name("äö", at), "machine-2026-11-05-0703.vivarium");
    }

    #[test]
    fn proposed_names_count_up_and_are_names() {
        assert_eq!(proposed("main", |_| false), "main-2");
        assert_eq!(proposed("main", |name| name == "main-2"), "main-3");
        assert_eq!(proposed("main-7", |_| false), "main-8");
        assert_eq!(proposed("-7", |_| false), "7-2");
        assert_eq!(proposed("", |_| false), "machine-2");
        assert_eq!(proposed("v86-full-256", |_| false), "v86-full-256-2");
        assert_eq!(proposed("v86-full-256-2", |_| false), "v86-full-256-3");
        for machine in ["x".repeat(200), "ä ö".into(), "shipping".into()] {
            let name = proposed(&machine, |_| false);
            assert_eq!(machine_name(&name), Ok(name.clone()), "{machine}");
        }
    }

    #[test]
    fn names_of_machines_are_plain_and_bounded() {
        assert_eq!(machine_name(" main-2 "), Ok("main-2".into()));
        assert!(machine_name(&"x".repeat(MACHINE_LIMIT)).is_ok());
        for bad in ["", " ", "a b", ".hidden", "ä", "a/b", "shipped-full.256"] {
            assert!(machine_name(bad).is_err(), "{bad}");
        }
        assert!(machine_name(&"x".repeat(MACHINE_LIMIT + 1)).is_err());
    }

    #[test]
    fn names_of_snapshots_are_one_short_line() {
        assert_eq!(snapshot_name("  "), Ok(None));
        assert_eq!(snapshot_name(" vor dem Öffnen "), Ok(Some("vor dem Öffnen".into())));
        let longest = "\u{1f422}".repeat(NAME_LIMIT);
        assert!(longest.len() <= 256, "what docs/snapshot.md has room for");
        assert_eq!(snapshot_name(&longest), Ok(Some(longest.clone())));
        assert!(snapshot_name(&format!("{longest}x")).is_err());
        assert!(snapshot_name("two\nlines").is_err());
    }

    #[test]
    fn a_breakdown_is_not_told_as_the_machines() {
        let broken = Fault::new(
            FaultKind::EngineCrash,
            Party::Host,
            "The engine broke down.",
            "Restart the machine.",
        )
        .with_detail("at line 3");
        let told = reworded(broken.clone());
        assert!(!told.advice.contains("Restart"), "{}", told.advice);
        assert_eq!(told.detail, "The engine broke down.\nat line 3");
        let full = Fault { kind: FaultKind::StorageFull, ..broken };
        assert_eq!(reworded(full.clone()), full);
    }
}
