//! The interpreter's life: one future that never ends.
//!
//! The interpreter could be asked to run one line at a time, but it then forgets `$?`,
//! traps and options between the lines and waits for all background jobs at the end of
//! each. So it runs one endless script instead, whose first command waits for what is
//! typed:
//!
//! ```sh
//! shopt -s expand_aliases; alias history=__vivarium_history
//! while __vivarium_next "$?"; do __vivarium_status; eval "$__vivarium_step"; done
//! ```
//!
//! Ctrl-C and exhausted limits end that run; variables, functions, aliases and the working
//! directory survive it, while traps and `set` options do not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bashkit::hooks::HookAction;
use bashkit::{Bash, Error, FileSystem, InMemoryFs, LimitExceeded};

use crate::commands::{
    HISTORY, HOME, HOST, Help, History, NEXT, Next, OnlyLinux, STATUS, STEP, Status, USER, Uname,
};
use crate::desk::Desk;
use crate::{limits, words};

/// `$?` of a command that Ctrl-C ended, as in every shell.
const INTERRUPTED: i32 = 130;

/// Ends the running command at its next chance: the cancellation token of the interpreter
/// that runs now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<Mutex<Arc<AtomicBool>>>);

impl Interrupt {
    pub(crate) fn raise(&self) {
        self.token().store(true, Ordering::Relaxed);
    }

    fn clear(&self) -> bool {
        self.token().swap(false, Ordering::Relaxed)
    }

    fn attach(&self, bash: &Bash) {
        *self.token() = bash.cancellation_token();
    }

    fn token(&self) -> MutexGuard<'_, Arc<AtomicBool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fresh file system.
pub(crate) fn files() -> Arc<dyn FileSystem> {
    let files = InMemoryFs::with_limits(limits::files());
    for directory in words::DIRECTORIES {
        files.add_dir(directory, 0o755);
    }
    for (path, text) in words::FILES {
        files.add_file(path, text, if path.ends_with(".sh") { 0o755 } else { 0o644 });
    }
    Arc::new(files)
}

/// An interpreter, before it becomes part of the running future.
pub(crate) struct Session {
    bash: Bash,
    exited: Arc<AtomicBool>,
    files: Arc<dyn FileSystem>,
    desk: Desk,
    interrupt: Interrupt,
}

impl Session {
    pub(crate) fn new(files: Arc<dyn FileSystem>, desk: Desk, interrupt: Interrupt) -> Self {
        let exited = Arc::new(AtomicBool::new(false));
        let bash = build(&files, &desk, &exited);
        Self { bash, exited, files, desk, interrupt }
    }

    /// The files as the interpreter sees them, with `/bin` and `/etc`.
    pub(crate) fn files(&self) -> Arc<dyn FileSystem> {
        self.bash.fs()
    }

    /// Names of all commands.
    pub(crate) fn commands(&self) -> Vec<String> {
        names(&self.bash)
    }

    /// Runs for ever.
    pub(crate) async fn run(mut self) {
        let script = format!(
            "shopt -s expand_aliases; alias history={HISTORY}; while {NEXT} \"$?\"; do {STATUS}; eval \"${STEP}\"; done"
        );
        loop {
            let before = self.desk.lock().taken;
            let end = self.run_once(&script).await;
            let took_nothing = self.desk.lock().taken == before;
            self.account_for(end, took_nothing);
        }
    }

    async fn run_once(&mut self, script: &str) -> bashkit::Result<bashkit::ExecResult> {
        self.interrupt.attach(&self.bash);
        let sink = |desk: Desk| {
            move |bytes: Vec<u8>| {
                let desk = desk.clone();
                async move {
                    desk.lock().print(&bytes);
                    desk.room().await;
                    Ok(())
                }
            }
        };
        self.bash
            .execute(script)
            .stdout_fn(sink(self.desk.clone()))
            .stderr_fn(sink(self.desk.clone()))
            .await
    }

    /// Tells how a run ended and makes ready for the next.
    fn account_for(&mut self, end: bashkit::Result<bashkit::ExecResult>, took_nothing: bool) {
        let mut papers = self.desk.lock();
        papers.steps.clear();
        papers.idle = None;
        let mut is_broken = false;
        match end {
            Ok(_) if self.exited.swap(false, Ordering::Relaxed) => {
                papers.print(words::FRESH_SHELL.as_bytes());
                papers.status = 0;
                is_broken = true;
            }
            // `break` at the prompt, or `set -e` and a failure.
            Ok(result) => papers.status = result.exit_code,
            Err(Error::Cancelled) if self.interrupt.clear() => {
                papers.print(b"^C\n");
                papers.status = INTERRUPTED;
            }
            Err(Error::ResourceLimit(LimitExceeded::Timeout(_))) if took_nothing => {}
            Err(error) => {
                papers.print(ended(&error).as_bytes());
                papers.status = 1;
                // A run that fails before its first command would fail again and again.
                is_broken = took_nothing;
            }
        }
        papers.status_is_set = true;
        drop(papers);
        self.interrupt.clear();
        if is_broken {
            self.bash = build(&self.files, &self.desk, &self.exited);
        }
    }
}

/// What is said when the interpreter gave up.
fn ended(error: &Error) -> String {
    match error {
        Error::ResourceLimit(limit) => {
            format!("sim: the command was ended by a limit of the simulated shell: {limit}\n")
        }
        other => format!("sim: the command was ended: {other}\n"),
    }
}

fn names(bash: &Bash) -> Vec<String> {
    let mut names = bash.builtin_names();
    names.retain(|name| !name.starts_with("__"));
    names
}

fn build(files: &Arc<dyn FileSystem>, desk: &Desk, exited: &Arc<AtomicBool>) -> Bash {
    let bare = Bash::builder().rootfs(false).build();
    let exited = exited.clone();
    let mut bash = Bash::builder()
        .fs(files.clone())
        .username(USER)
        .hostname(HOST)
        .cwd(HOME)
        .env("HOME", HOME)
        .env("TERM", "xterm-256color")
        .env("LANG", "C.UTF-8")
        .env("SHELL", "/bin/bash")
        .tty(0, true)
        .tty(1, true)
        .tty(2, true)
        .limits(limits::execution())
        .session_limits(limits::session())
        .memory_limits(limits::memory())
        .builtin(NEXT, Box::new(Next(desk.clone())))
        .builtin(STATUS, Box::new(Status(desk.clone())))
        .builtin(HISTORY, Box::new(History(desk.clone())))
        .builtin("help", Box::new(Help(names(&bare))))
        .builtin("uname", Box::new(Uname))
        .command_resolver(Arc::new(OnlyLinux))
        .on_exit(Box::new(move |event| {
            exited.store(true, Ordering::Relaxed);
            HookAction::Continue(event)
        }))
        .build();
    bash.set_interactive(true);
    bash
}
