//! How far a guest has come, and whether it still lives.

use std::time::Duration;

use emulator_engine::{GuestIo, Instant};
use emulator_protocol::{Fault, FaultKind, Party, Phase, Progress};

use crate::log::Sign;

/// A boot without any sign of life for this long is a hang. A kernel that decompresses and
/// probes quietly takes about 3 s, ten times that on a busy machine.
pub const HANG: Duration = Duration::from_secs(60);

/// Time between two looks that counts towards [`HANG`] at most: a sleeping computer or a
/// throttled tab is not a hanging guest.
pub const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// After the first line of a panic, how long the rest of it is waited for.
pub const PANIC_REST: Duration = Duration::from_millis(1500);

/// The way of one guest from its reset vector to its prompt, and its panic.
#[derive(Debug, Default)]
pub struct Boot {
    phase: Option<Phase>,
    looked: Option<Instant>,
    silence: Duration,
    panic: Option<Panic>,
}

/// A kernel that panicked; the rest of what it says is waited for until `until`.
#[derive(Debug)]
struct Panic {
    reason: String,
    until: Instant,
}

impl Boot {
    /// How far it has come; `None` before its first instruction.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.phase
    }

    /// Tells that the boot has come to a phase, once and never backwards. `loaded` are the
    /// bytes at hand by now.
    pub fn reach(&mut self, phase: Phase, loaded: u64, io: &mut GuestIo) {
        if self.phase < Some(phase) {
            self.phase = Some(phase);
            self.silence = Duration::ZERO;
            io.progress.push(Progress { phase, loaded, total: None });
        }
    }

    /// Takes a sign of the kernel log. The shell's makes the machine a running one.
    pub fn take(&mut self, sign: Sign, now: Instant, loaded: u64, io: &mut GuestIo) {
        match sign {
            Sign::Reached(phase) => {
                self.reach(phase, loaded, io);
                io.ready |= phase == Phase::Shell;
            }
            Sign::Panic(reason) => {
                self.panic.get_or_insert(Panic { reason, until: now + PANIC_REST });
            }
            Sign::PanicEnd => {
                if let Some(panic) = &mut self.panic {
                    panic.until = panic.until.min(now);
                }
            }
        }
    }

    /// Whether the kernel panicked: it is soon told, and what else ends the machine is not.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        self.panic.is_some()
    }

    /// The fault of a kernel that panicked, once it has said why; `log` is asked for the last
    /// lines only then.
    #[must_use]
    pub fn panic(&self, now: Instant, log: impl FnOnce() -> String) -> Option<Fault> {
        let panic = self.panic.as_ref().filter(|panic| now >= panic.until)?;
        let summary = format!("The guest's kernel panicked: {}", panic.reason);
        Some(guest_fault(FaultKind::KernelPanic, summary, log()))
    }

    /// Counts time without a sign of life; to be called while the guest is not ready.
    /// `alive` says whether its log has grown or its disk waits for the network. Console
    /// output is no such sign: a login that fails for ever prints, too.
    #[must_use]
    pub fn watch(
        &mut self,
        now: Instant,
        alive: bool,
        log: impl FnOnce() -> String,
    ) -> Option<Fault> {
        let passed = self.looked.map_or(Duration::ZERO, |then| now.saturating_sub(then));
        self.looked = Some(now);
        if alive {
            self.silence = Duration::ZERO;
        } else {
            self.silence += passed.min(LOOK_LIMIT);
        }
        (self.silence >= HANG).then(|| {
            let summary = format!("The guest gave no sign of life for {} seconds.", HANG.as_secs());
            guest_fault(FaultKind::Hang, summary, log())
        })
    }

    /// Forgets when it was last looked at: the machine was paused.
    pub fn resume(&mut self) {
        self.looked = None;
    }
}

/// The fault of a guest that ended itself; `detail` are the last lines of its log.
#[must_use]
pub fn guest_fault(kind: FaultKind, summary: impl Into<String>, detail: String) -> Fault {
    Fault::new(
        kind,
        Party::Guest,
        summary,
        "Restart the machine. If you changed the kernel's command line, look there first.",
    )
    .with_detail(detail)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn io() -> GuestIo {
        GuestIo::new(Default::default(), Waker::noop().clone())
    }

    fn second(number: u64) -> Instant {
        Duration::from_secs(number)
    }

    #[test]
    fn phases_are_told_once_and_never_backwards() {
        let (mut boot, mut io) = (Boot::default(), io());
        for phase in [Phase::Init, Phase::Kernel, Phase::Init, Phase::Shell, Phase::Root] {
            boot.take(Sign::Reached(phase), second(1), 5, &mut io);
        }
        let told = [Phase::Init, Phase::Shell];
        assert_eq!(io.progress, told.map(|phase| Progress { phase, loaded: 5, total: None }));
        assert_eq!(boot.phase(), Some(Phase::Shell));
        assert!(io.ready);
    }

    #[test]
    fn silence_is_a_hang_and_a_sign_of_life_ends_it() {
        let mut boot = Boot::default();
        let quiet = |boot: &mut Boot, from: u64, to: u64| {
            (from..=to).find_map(|at| boot.watch(second(at), false, || "log".into()))
        };
        assert_eq!(quiet(&mut boot, 0, 59), None);
        assert_eq!(boot.watch(second(60), true, String::new), None);
        assert_eq!(quiet(&mut boot, 61, 119), None);
        let fault = quiet(&mut boot, 120, 120).expect("a minute without a sign");
        assert_eq!((fault.kind, fault.detail.as_str()), (FaultKind::Hang, "log"));
    }

    #[test]
    fn a_sleeping_computer_is_no_hanging_guest() {
        let mut boot = Boot::default();
        assert_eq!(boot.watch(second(0), false, String::new), None);
        assert_eq!(boot.watch(second(100_000), false, String::new), None);
        boot.resume();
        assert_eq!(boot.watch(second(200_000), false, String::new), None);
        assert_eq!(boot.silence, LOOK_LIMIT);
    }

    #[test]
    fn a_panic_is_told_when_all_is_said() {
        let (mut boot, mut io) = (Boot::default(), io());
        boot.take(Sign::Panic("first".into()), second(10), 0, &mut io);
        boot.take(Sign::Panic("second".into()), second(11), 0, &mut io);
        assert!(boot.has_panicked());
        assert_eq!(boot.panic(second(11), String::new), None);
        let fault = boot.panic(second(10) + PANIC_REST, || "log".into()).expect("enough waiting");
        assert_eq!(fault.summary, "The guest's kernel panicked: first");
        assert_eq!(fault.detail, "log");
        boot.take(Sign::PanicEnd, second(11), 0, &mut io);
        assert!(boot.panic(second(11), String::new).is_some());
    }

    #[test]
    fn the_end_of_no_panic_is_nothing() {
        let (mut boot, mut io) = (Boot::default(), io());
        boot.take(Sign::PanicEnd, second(1), 0, &mut io);
        assert!(!boot.has_panicked());
        assert_eq!(boot.panic(second(100), String::new), None);
    }
}
