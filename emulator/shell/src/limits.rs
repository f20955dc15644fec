//! Every bound of the simulated shell, with its reason.
//!
//! Bounds on the number of commands and loop rounds are deliberately absent: the
//! interpreter gives way every 64 commands, so a loop that never ends costs a processor
//! but neither the page's attention nor Ctrl-C. What is bounded is memory, and work that
//! is done in one piece.

use std::time::Duration;

use bashkit::{ExecutionLimits, FsLimits, MemoryLimits, SessionLimits};

/// Output that waits inside the shell before a command is held. A command that floods is
/// stopped by this; it goes on when the page has shown what there is.
pub(crate) const OUTPUT_HIGH_WATER: usize = 32 * 1024;

/// Keys that wait while a command runs; further ones stay with the page.
pub(crate) const TYPE_AHEAD: usize = 64 * 1024;

/// How often the interpreter is polled in one slice while it asks for it. One poll runs up
/// to 64 commands, about 1 ms in a browser, so a slice stays at a few milliseconds.
pub(crate) const TURNS: usize = 4;

/// How often the pipes between interpreter and terminal are given a turn before a prompt
/// or the next step, so that nothing that was written before comes after.
pub(crate) const DRAIN_TURNS: usize = 3;

/// Longest life of one interpreter run, which spans many lines. The timer behind it holds
/// at most 2³¹ ms.
const RUN_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes in all files together: enough to play with, no burden to a phone.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes in one file.
const ONE_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Files and directories, each.
const FILES: u64 = 10_000;

/// Bytes of intermediate results (pipes, substitutions) alive at once.
const LIVE_BYTES: u64 = 64 * 1024 * 1024;

/// Depth of functions, sourced files and subshells in each other. The interpreter takes no
/// more than 16 functions, and its recursion lives on the 1 MiB stack of a wasm instance;
/// a debug build overflows 2 MiB at 16.
const DEPTH: usize = 8;

/// Background jobs and pipeline stages at once: a fork bomb is over in a moment.
const JOBS: usize = 8;

/// Depth of `$(…)` in each other; each level keeps a copy of the shell's state.
const SUBSTITUTION_DEPTH: usize = 8;

/// Depth of nested syntax, for the same stack.
pub(crate) const SYNTAX_DEPTH: usize = 50;

/// Steps of the parser for one command line.
pub(crate) const SYNTAX_STEPS: usize = 100_000;

/// Bounds of one run of the interpreter.
pub(crate) fn execution() -> ExecutionLimits {
    ExecutionLimits {
        max_work_units: u64::MAX,
        max_aggregate_input_bytes: u64::MAX,
        max_live_intermediate_bytes: LIVE_BYTES,
        timeout: RUN_TIME,
        // Output is not kept but passed on, so only what is on the way needs a bound.
        max_stdout_bytes: usize::MAX,
        max_stderr_bytes: usize::MAX,
        max_function_depth: DEPTH,
        max_subshell_depth: DEPTH,
        max_subst_depth: SUBSTITUTION_DEPTH,
        max_ast_depth: SYNTAX_DEPTH,
        max_parser_operations: SYNTAX_STEPS,
        max_background_jobs: JOBS,
        max_history_entries: 0,
        ..ExecutionLimits::cli()
    }
}

/// No bounds over several runs: a person may sit here all day.
pub(crate) fn session() -> SessionLimits {
    SessionLimits::unlimited()
}

/// Bounds of variables and functions.
pub(crate) fn memory() -> MemoryLimits {
    MemoryLimits::new()
}

/// Bounds of the file system.
pub(crate) fn files() -> FsLimits {
    FsLimits::new()
        .max_total_bytes(FILE_BYTES)
        .max_file_size(ONE_FILE_BYTES)
        .max_file_count(FILES)
        .max_dir_count(FILES)
}
