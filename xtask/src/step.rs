//! Steps: named pieces of work that are skipped when nothing they depend on has changed.
//!
//! A step has a key, a hash over all its inputs. When it has succeeded, the key is written
//! to a stamp; next time the same key means that its result is still there. Results that
//! belong to this checkout are stamped below `target/xtask`, expensive ones that do not
//! (tools, kernels) live in the user's cache under their key, so that another checkout, or
//! the next branch, finds them.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask stands in the workspace").to_owned()
}

/// The user's cache of this project.
pub(crate) fn cache() -> PathBuf {
    let base = env::var_os("VIVARIUM_CACHE").map(PathBuf::from).or_else(|| {
        let home = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
        Some(home?.join("vivarium"))
    });
    base.unwrap_or_else(|| root().join("target/cache"))
}

/// A hash over everything that a result depends on.
#[derive(Clone, Default)]
pub(crate) struct Key(blake3::Hasher);

impl Key {
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        self
    }

    /// A file, or all files below a directory; what is not there counts as empty.
    pub(crate) fn path(mut self, path: &Path) -> Result<Self> {
        let mut files = Vec::new();
        collect(path, &mut files)?;
        files.sort();
        for file in files {
            let name = file.strip_prefix(root()).unwrap_or(&file).to_string_lossy().into_owned();
            let content = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            self = self.text(&name).text(blake3::hash(&content).to_hex().as_str());
        }
        Ok(self)
    }

    pub(crate) fn paths(mut self, paths: &[&str]) -> Result<Self> {
        for path in paths {
            self = self.path(&root().join(path))?;
        }
        Ok(self)
    }

    /// The key, 32 hexadecimal digits.
    pub(crate) fn finish(&self) -> String {
        self.0.finalize().to_hex()[..32].to_owned()
    }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.exists() {
        files.push(path.to_owned());
    }
    Ok(())
}

/// Does `work` unless it was done with the same key and `result` is still there.
pub(crate) fn stamped(
    name: &str,
    key: &str,
    result: &Path,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stamp = root().join("target/xtask").join(format!("{}.stamp", name.replace(' ', "-")));
    if result.exists() && fs::read_to_string(&stamp).is_ok_and(|old| old == key) {
        println!("  {name}: ready");
        return Ok(());
    }
    fs::remove_file(&stamp).ok();
    timed(name, work)?;
    fs::create_dir_all(root().join("target/xtask"))?;
    fs::write(&stamp, key)?;
    Ok(())
}

/// A directory of the user's cache that `work` fills once for a key. It is filled beside
/// its place and renamed, so that a broken or interrupted run leaves nothing half done.
pub(crate) fn cached(
    name: &str,
    folder: &str,
    key: &str,
    work: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let place = cache().join(folder).join(key);
    if place.exists() {
        println!("  {name}: ready");
        return Ok(place);
    }
    let scratch = cache().join(folder).join(format!(".{key}.{}", std::process::id()));
    fs::create_dir_all(&scratch).with_context(|| format!("making {}", scratch.display()))?;
    let done = timed(name, || work(&scratch));
    if done.is_err() {
        fs::remove_dir_all(&scratch).ok();
    }
    done?;
    if place.exists() {
        fs::remove_dir_all(&scratch)?;
    } else {
        fs::rename(&scratch, &place)?;
    }
    Ok(place)
}

/// Does `work` and tells how long it took.
pub(crate) fn timed(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("▸ {name} …");
    let start = Instant::now();
    work().with_context(|| format!("step failed: {name}"))?;
    println!("  {name}: {}", seconds(start.elapsed()));
    Ok(())
}

pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        whole => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

/// Runs a program whose output matters only if it fails. Its lines are shown, indented,
/// when they are few (`show`), and its last ones in the error.
pub(crate) fn run(command: &mut Command, show: bool) -> Result<()> {
    const KEPT: usize = 40;
    let (status, lines) = follow(command, show, KEPT)?;
    if !status.success() {
        bail!("{}\nended with {status}:\n{}", words(command), lines.join("\n"));
    }
    Ok(())
}

/// A command as a person would type it, without its environment.
fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs a program to its end, and returns how it ended and its last lines. While it says
/// nothing that is shown, a line tells that it is at work.
pub(crate) fn follow(
    command: &mut Command,
    show: bool,
    most: usize,
) -> Result<(ExitStatus, Vec<String>)> {
    const LOOK: Duration = Duration::from_secs(1);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}: is it installed, and on the PATH?"))?;
    let (sender, lines) = mpsc::channel();
    send_lines(child.stdout.take().expect("piped"), sender.clone());
    send_lines(child.stderr.take().expect("piped"), sender);
    let mut kept = VecDeque::new();
    let mut progress = Progress::new();
    loop {
        match lines.recv_timeout(LOOK) {
            Ok(line) => {
                if show {
                    progress.clear();
                    println!("    {line}");
                }
                if kept.len() == most {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        progress.tick(kept.back().map_or("", String::as_str));
    }
    progress.clear();
    Ok((child.wait()?, kept.into()))
}

fn send_lines(from: impl Read + Send + 'static, to: Sender<String>) {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if to.send(line).is_err() {
                return;
            }
        }
    });
}

/// Tells that a program is still at work: on a terminal one line that is written anew each
/// second, elsewhere a line now and then.
struct Progress {
    start: Instant,
    last: Instant,
    terminal: bool,
    drawn: bool,
}

impl Progress {
    /// Between two lines where no terminal is: a log should not be made of them.
    const SELDOM: Duration = Duration::from_secs(30);
    const OFTEN: Duration = Duration::from_secs(1);

    fn new() -> Self {
        let now = Instant::now();
        Self { start: now, last: now, terminal: std::io::stdout().is_terminal(), drawn: false }
    }

    fn tick(&mut self, line: &str) {
        let period = if self.terminal { Self::OFTEN } else { Self::SELDOM };
        if self.last.elapsed() < period {
            return;
        }
        self.last = Instant::now();
        let line: String = line.chars().filter(|c| !c.is_control()).take(64).collect();
        let text = format!("    … {} {line}", seconds(self.start.elapsed()));
        if self.terminal {
            print!("\r\x1b[2K{text}");
            std::io::stdout().flush().ok();
            self.drawn = true;
        } else {
            println!("{text}");
        }
    }

    fn clear(&mut self) {
        if self.drawn {
            print!("\r\x1b[2K");
            self.drawn = false;
        }
    }
}

/// The output of a program, trimmed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {}", words(command)))?;
    if !output.status.success() {
        bail!("{}\n{}", words(command), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Where a program is on the PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
