//! The bounds of the two byte streams between guest and terminal.
//!
//! Guest → terminal: the worker counts the bytes that the page has not acknowledged yet.
//! At [`CONSOLE_HIGH_WATER`] it stops draining the guest, which then stalls itself and not
//! the page; at [`CONSOLE_LOW_WATER`] it goes on.
//!
//! Terminal → guest: the page keeps at most [`INPUT_WINDOW`] bytes on the way that the
//! machine has not taken; the rest of a large paste waits in the page.

/// Unacknowledged console bytes at which the worker stops draining the guest. xterm.js
/// parses at least 5 MB/s, so what is on the way is on the screen within about 50 ms, and
/// Ctrl-C is seen to act.
pub const CONSOLE_HIGH_WATER: u64 = 256 * 1024;

/// Unacknowledged console bytes at which the worker goes on draining.
pub const CONSOLE_LOW_WATER: u64 = 64 * 1024;

/// Largest console message. xterm.js parses one write in one task; at 5 MB/s this is 6 ms,
/// far below the 50 ms that a person can feel.
pub const CONSOLE_MESSAGE: usize = 32 * 1024;

/// Console input that may be on its way to a machine without having been taken by it.
pub const INPUT_WINDOW: u64 = 64 * 1024;

/// How often a running worker reports [`crate::Stats`], which is also its sign of life.
pub const STATS_INTERVAL_MS: u32 = 1000;

/// Longest text that paints a terminal again, in bytes of UTF-8. 1,000 full lines of a wide
/// terminal in plain colours are about a fifth of it.
pub const SCREEN_LIMIT: usize = 1 << 20;
