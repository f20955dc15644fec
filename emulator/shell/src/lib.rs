//! Engine `sim`: a simulated shell, there at once.
//!
//! It is an interpreter for bash (the crate `bashkit`) behind a line editor of our own. It
//! is no Linux and says so: no kernel, no processes, no network; files live in memory.
//!
//! ```text
//!  GuestIo.input ──▶ editor ──▶ steps ──▶ ┌──────┐ ──▶ session (one endless future)
//!                      │ paints           │ desk │            │
//!  GuestIo.output ◀────┴───────────────── └──────┘ ◀──────────┘ output
//! ```
//!
//! The future is polled only inside [`Engine::poll`], a bounded number of times, and not at
//! all while output waits: that is how a flooding command is stalled. The interpreter gives
//! way every 64 commands, so Ctrl-C reaches it in the midst of a loop. Work done in one
//! piece inside a single command (a sort, a regular expression) cannot be interrupted; the
//! interpreter's own bounds and those of [`limits`](self) keep it short.
//!
//! Deliberately absent: standard input from the keyboard for commands, job control, and
//! programs that draw the whole screen.
#![forbid(unsafe_code)]

mod commands;
mod complete;
mod desk;
mod editor;
mod limits;
mod prompt;
mod session;
mod steps;
mod words;

use std::collections::VecDeque;
use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use bashkit::FileSystem;
use emulator_engine::{Capabilities, Engine, GuestIo, Instant, LocalFuture, Next};
use emulator_protocol::{BootRequest, Fault, Phase, Progress, Stats, TerminalSize};

use desk::{Desk, Situation};
use editor::{Editor, Request};
use session::{Interrupt, Session};
use steps::Reading;

/// The byte of Ctrl-C, and of Ctrl-\, which this shell takes for the same.
const INTERRUPTS: [u8; 2] = [0x03, 0x1c];

/// The simulated shell.
#[derive(Default)]
pub struct Shell(Option<Core>);

impl Shell {
    /// A shell that costs nothing before its boot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Engine for Shell {
    fn capabilities(&self) -> Capabilities {
        Capabilities { memory_mib: None, sections: None, nic: false }
    }

    fn boot<'a>(
        &'a mut self,
        request: &'a BootRequest,
        waker: Waker,
        report: Rc<dyn Fn(Progress)>,
    ) -> LocalFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            report(Progress { phase: Phase::Shell, loaded: 0, total: None });
            self.0 = Some(Core::new(request.terminal, waker));
            Ok(())
        })
    }

    fn poll(&mut self, _: Instant, io: &mut GuestIo) -> Next {
        self.0.as_mut().map_or(Next::Wait, |core| core.poll(io))
    }

    // Without `poll` nothing moves; timers that run out meanwhile are noticed afterwards.
    fn pause(&mut self) {}

    fn resume(&mut self) {}

    fn stats(&mut self) -> Stats {
        // No processor, so no instructions to count, and no memory of its own.
        Stats::default()
    }
}

/// Wakes the worker, and notes that somebody did.
struct Nudge {
    woken: AtomicBool,
    worker: Waker,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.worker.wake_by_ref();
    }
}

/// A shell that was booted.
struct Core {
    desk: Desk,
    editor: Editor,
    typed: VecDeque<u8>,
    interrupt: Interrupt,
    session: Pin<Box<dyn Future<Output = ()>>>,
    nudge: Arc<Nudge>,
    files: Arc<dyn FileSystem>,
    commands: Vec<String>,
    /// What the prompt on the screen was made of; `None` while a command runs.
    prompt: Option<Situation>,
}

impl Core {
    fn new(terminal: TerminalSize, worker: Waker) -> Self {
        let desk = Desk::default();
        {
            let mut papers = desk.lock();
            papers.terminal = terminal;
            papers.at_line_start = true;
            papers.print(words::BANNER.as_bytes());
        }
        let interrupt = Interrupt::default();
        let session = Session::new(session::files(), desk.clone(), interrupt.clone());
        Self {
            editor: Editor::new(terminal),
            typed: VecDeque::new(),
            files: session.files(),
            commands: session.commands(),
            session: Box::pin(session.run()),
            nudge: Arc::new(Nudge { woken: AtomicBool::new(true), worker }),
            prompt: None,
            desk,
            interrupt,
        }
    }

    fn poll(&mut self, io: &mut GuestIo) -> Next {
        self.resize(io.terminal);
        let room = limits::TYPE_AHEAD - self.typed.len();
        self.typed.extend(io.input.pop(room));
        for _ in 0..limits::TURNS {
            if self.prompt.is_none() {
                self.take_interrupts();
            }
            if !self.flush(io) {
                return Next::Wait;
            }
            if self.prompt.is_none() {
                if !self.nudge.woken.swap(false, Ordering::Relaxed) {
                    break;
                }
                self.turn();
            }
            if self.prompt.is_some() {
                io.ready = true;
                self.edit();
            }
        }
        self.flush(io);
        let is_at_work = self.prompt.is_none() && self.nudge.woken.load(Ordering::Relaxed);
        let is_flushed = self.desk.lock().output.is_empty();
        if is_at_work && is_flushed { Next::Again } else { Next::Wait }
    }

    fn resize(&mut self, terminal: TerminalSize) {
        let mut papers = self.desk.lock();
        if papers.terminal != terminal {
            papers.terminal = terminal;
            drop(papers);
            self.editor.resize(terminal);
            self.paint();
        }
    }

    /// Obeys a Ctrl-C among what was typed while a command runs; as on every terminal, what
    /// was typed before it is forgotten, and output on its way too.
    fn take_interrupts(&mut self) {
        if let Some(at) = self.typed.iter().rposition(|byte| INTERRUPTS.contains(byte)) {
            self.typed.drain(..=at);
            self.interrupt.raise();
            let mut papers = self.desk.lock();
            papers.output.clear();
            papers.call();
            self.nudge.wake_by_ref();
        }
    }

    /// Moves output on; whether nothing is left.
    fn flush(&self, io: &mut GuestIo) -> bool {
        let mut papers = self.desk.lock();
        while !papers.output.is_empty() {
            let (bytes, _) = papers.output.as_slices();
            let taken = io.output.push(bytes);
            if taken == 0 {
                return false;
            }
            papers.output.drain(..taken);
        }
        papers.call();
        true
    }

    /// Lets the interpreter work a little.
    fn turn(&mut self) {
        let waker = Waker::from(self.nudge.clone());
        let ended = self.session.as_mut().poll(&mut Context::from_waker(&waker));
        debug_assert!(ended.is_pending(), "a session runs for ever");
        let idle = self.desk.lock().idle.clone();
        if let Some(situation) = idle {
            if std::mem::take(&mut self.desk.lock().forget_history) {
                self.editor.history.clear();
            }
            self.show_prompt(situation);
        }
    }

    fn show_prompt(&mut self, situation: Situation) {
        let mut out = b"\x1b[0m\x1b[?25h".to_vec();
        let mut papers = self.desk.lock();
        if !papers.at_line_start {
            out.extend_from_slice("\x1b[2m⏎\x1b[0m\r\n".as_bytes());
        }
        self.editor.begin(situation.prompt.clone(), &mut out);
        papers.output.extend(out);
        papers.at_line_start = true;
        drop(papers);
        self.prompt = Some(situation);
    }

    /// Feeds what was typed to the editor, up to the next command line.
    fn edit(&mut self) {
        while self.prompt.is_some() {
            let Some(byte) = self.typed.pop_front() else { break };
            if let Some(request) = self.editor.feed(byte) {
                self.obey(request);
            }
        }
        if self.prompt.is_some() {
            self.paint();
        }
    }

    fn paint(&mut self) {
        let mut out = Vec::new();
        self.editor.paint(&mut out);
        self.desk.lock().output.extend(out);
    }

    fn obey(&mut self, request: Request) {
        match request {
            Request::Submit => self.submit(),
            Request::Complete => self.complete(),
            Request::Interrupt => {
                self.abandon("^C", "");
                self.desk.lock().status = 130;
            }
            Request::EndOfFile => self.abandon("", words::HOW_TO_LEAVE),
        }
    }

    /// Gives the line up, says something, and shows the prompt again.
    fn abandon(&mut self, mark: &str, message: &str) {
        let mut out = Vec::new();
        self.editor.abandon(mark, &mut out);
        let mut papers = self.desk.lock();
        papers.output.extend(out);
        papers.print(message.as_bytes());
        drop(papers);
        self.prompt_again();
    }

    fn prompt_again(&mut self) {
        if let Some(situation) = self.prompt.take() {
            self.show_prompt(situation);
        }
    }

    fn submit(&mut self) {
        let reading = steps::read(&self.editor.text());
        if reading == Reading::Incomplete {
            return self.editor.continue_line();
        }
        let mut out = Vec::new();
        self.editor.accept(&mut out);
        let mut papers = self.desk.lock();
        papers.output.extend(out);
        papers.at_line_start = true;
        match reading {
            Reading::Steps(steps) if !steps.is_empty() => {
                papers.steps.extend(steps);
                papers.history = numbered(&self.editor.history);
                papers.idle = None;
                papers.call();
                self.prompt = None;
                return;
            }
            Reading::Error(message) => {
                papers.print(message.as_bytes());
                papers.status = 2;
            }
            _ => {}
        }
        drop(papers);
        self.prompt_again();
    }

    fn complete(&mut self) {
        let Some(situation) = &self.prompt else { return };
        let sources = complete::Sources {
            commands: &self.commands,
            variables: &situation.variables,
            files: &self.files,
            directory: &situation.directory,
            home: &situation.home,
        };
        let completion = complete::complete(&self.editor.before(), &sources);
        let mut out = Vec::new();
        self.editor.complete(&completion, &mut out);
        self.desk.lock().output.extend(out);
    }
}

/// The history as `history` prints it.
fn numbered(history: &editor::History) -> String {
    history.numbered().fold(String::new(), |mut out, (number, line)| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{number:>5}  {line}");
        out
    })
}
