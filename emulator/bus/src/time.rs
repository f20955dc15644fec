//! Guest time. There is one clock: the time-stamp counter, which runs at 1 GHz, so that a
//! tick is a nanosecond and no device needs to know a frequency.

/// Nanoseconds since the guest was started: also the value of its time-stamp counter.
///
/// In real time the board anchors it at the start of each slice; in deterministic mode it is
/// the number of instructions that were executed.
pub type Ticks = u64;

/// The frequency of [`Ticks`], for CPUID and the paravirtual clock.
pub const TICKS_PER_SECOND: u64 = 1_000_000_000;
