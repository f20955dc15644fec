//! `freeze`: boots a guest image once, with the very engine that browsers use, and writes the
//! machine as it stands at its prompt.
//!
//! For `cargo xtask image`, which makes a snapshot of it: a first visitor fetches its chunks
//! instead of waiting for a boot. The guest's Ethernet frames go to standard output, and those
//! for it come from standard input, each after its length (32 bits, little endian): at the
//! other end is the gateway that the guest will have in a browser.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use emulator_engine::{Engine, GuestIo, Next};
use emulator_machine::{Surroundings, X86};
use emulator_protocol::{BootRequest, EngineKind, Fault, Flavour, TerminalSize};
use emulator_snapshot::state::Body;

use crate::directory::Directory;

/// A loaded machine is slow, a dead guest is slower.
const LIMIT: Duration = Duration::from_secs(300);
/// After the prompt, until the guest has nothing more to do.
const REST: Duration = Duration::from_secs(2);
/// How long a guest that has nothing to do is left alone.
const IDLE: Duration = Duration::from_millis(5);
/// Longest frame that can be one.
const FRAME_LIMIT: usize = 64 * 1024;
/// What the guest says when it has an address (image/guest).
const NETWORK: &str = "vivarium: network";
/// How a prompt of the shells of our image ends.
const PROMPTS: [char; 2] = ['#', '$'];

struct Host;

impl Surroundings for Host {
    fn time(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn entropy(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed));
        read.expect("this system has random numbers");
        seed
    }
}

/// `freeze DIRECTORY FLAVOUR MEMORY OUT`.
pub(crate) fn freeze(arguments: &[OsString]) -> Result<()> {
    let words: Vec<_> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let [directory, flavour, memory, out] = words[..] else {
        bail!("freeze DIRECTORY FLAVOUR MEMORY OUT");
    };
    let flavour = Flavour::named(flavour).context("FLAVOUR is full or busybox")?;
    let request = BootRequest {
        flavour,
        terminal: TerminalSize::default(),
        ..BootRequest::new(EngineKind::X86_64, memory.parse().context("MEMORY is in MiB")?)
    };
    let files = Rc::new(Directory::new(PathBuf::from(directory)));
    let mut engine = X86::new(files, Rc::new(Host));
    now(engine.boot(&request, Waker::noop().clone(), Rc::new(|_| {})))?.map_err(told)?;
    let screen = drive(&mut engine, request.terminal)?;
    write(&mut engine, &PathBuf::from(out))?;
    fs::write(PathBuf::from(out).join("screen"), screen)?;
    Ok(())
}

/// The result of a future that has nothing to wait for: files are here.
fn now<T>(future: impl Future<Output = T>) -> Result<T> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Ok(value),
        Poll::Pending => bail!("the engine waits for something that is not a file"),
    }
}

fn told(fault: Fault) -> anyhow::Error {
    anyhow::anyhow!("{} {}\n{}", fault.summary, fault.advice, fault.detail)
}

/// Frames from the other end of the cable.
fn listen() -> Receiver<Vec<u8>> {
    let (sender, frames) = channel();
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut length = [0; 4];
        while input.read_exact(&mut length).is_ok() {
            let mut frame = vec![0; (u32::from_le_bytes(length) as usize).min(FRAME_LIMIT)];
            if input.read_exact(&mut frame).is_err() || sender.send(frame).is_err() {
                return;
            }
        }
    });
    frames
}

/// Lets the guest run until it rests at its prompt; says what is on its screen.
fn drive(engine: &mut X86, terminal: TerminalSize) -> Result<Vec<u8>> {
    let frames = listen();
    let mut io = GuestIo::new(terminal, Waker::noop().clone());
    let (start, mut screen) = (Instant::now(), Vec::new());
    let mut prompted = None;
    loop {
        ensure!(
            start.elapsed() < LIMIT,
            "no prompt, or no address of the network\n{}\n{}",
            engine.log(),
            String::from_utf8_lossy(&screen)
        );
        while io.received.room() > FRAME_LIMIT
            && let Ok(frame) = frames.try_recv()
        {
            io.received.push(frame);
        }
        let next = engine.poll(start.elapsed(), &mut io);
        screen.extend(io.output.pop(usize::MAX));
        send(&mut io)?;
        if io.ready && has_prompt(&screen) && engine.log().contains(NETWORK) {
            let since = *prompted.get_or_insert_with(Instant::now);
            if since.elapsed() > REST && matches!(next, Next::Sleep(_) | Next::Wait) {
                return Ok(screen);
            }
        }
        match next {
            Next::Again => {}
            Next::Sleep(at) => thread::sleep(at.saturating_sub(start.elapsed()).min(IDLE)),
            Next::Wait => thread::sleep(IDLE),
            Next::Halted(reason) => bail!("the guest has ended: {reason:?}"),
            Next::Failed(fault) => return Err(told(fault)),
        }
    }
}

fn send(io: &mut GuestIo) -> Result<()> {
    let mut out = io::stdout().lock();
    while let Some(frame) = io.sent.pop() {
        out.write_all(&u32::try_from(frame.len())?.to_le_bytes())?;
        out.write_all(&frame)?;
    }
    out.flush()?;
    Ok(())
}

/// Whether the last line is a prompt, behind whatever control sequences.
fn has_prompt(screen: &[u8]) -> bool {
    let text = String::from_utf8_lossy(screen);
    let last = text.rsplit('\n').next().unwrap_or_default();
    let plain = last.split("\u{1b}[").next().unwrap_or_default();
    plain.trim_end().ends_with(PROMPTS) || last.trim_end().ends_with(PROMPTS)
}

/// A file for each section, and a list of them: name, version, and how it is kept.
fn write(engine: &mut X86, out: &std::path::Path) -> Result<()> {
    let state = engine.save().map_err(|why| anyhow::anyhow!("not to be saved: {why:?}"))?;
    let mut list = format!("{} {}\n", state.origin.engine, state.origin.state);
    for section in state.sections {
        let (kind, bytes) = match section.body {
            Body::Inline(bytes) => ("inline", bytes),
            Body::Paged(pages) => {
                let mut bytes = vec![0; usize::try_from(pages.size())?];
                pages.read(0, &mut bytes);
                ("chunked", bytes)
            }
        };
        fs::write(out.join(section.name), bytes)?;
        list += &format!("{} {} {kind}\n", section.name, section.version);
    }
    fs::write(out.join("sections"), list)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_seen_behind_control_sequences() {
        for text in ["hello\r\nroot@vivarium:~# ", "# \u{1b}[6n", "x$ "] {
            assert!(has_prompt(text.as_bytes()), "{text:?}");
        }
        assert!(!has_prompt(b"# \r\nstarting"));
    }
}
