//! What the page knows about its machine: a plain struct, moved by events.
//!
//! No signals, no browser, no clock, so that every rule here has a native test. Console
//! bytes pass by: they belong to the terminal.

use emulator_protocol::{
    BootRequest, EngineKind, Event, Fault, Halt, MachineState, Phase, Progress, Stats,
};

/// One machine, as far as the page knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    /// The engine that runs or is shown.
    pub(crate) engine: EngineKind,
    /// Where the machine is in its life.
    pub(crate) machine: MachineState,
    /// Guest memory that was asked for, in MiB.
    pub(crate) memory_mib: u32,
    /// The last step of the boot that was reported.
    pub(crate) progress: Option<Progress>,
    /// The last report.
    pub(crate) stats: Option<Stats>,
    /// What ended the machine.
    pub(crate) fault: Option<Fault>,
    /// How the guest ended itself.
    pub(crate) halt: Option<Halt>,
    /// The engine has not given a sign of life for too long.
    pub(crate) stalled: bool,
}

impl State {
    /// Nothing was started.
    #[must_use]
    pub(crate) fn idle(engine: EngineKind, memory_mib: u32) -> Self {
        Self {
            engine,
            machine: MachineState::Idle,
            memory_mib,
            progress: None,
            stats: None,
            fault: None,
            halt: None,
            stalled: false,
        }
    }

    /// A machine that was just asked for.
    #[must_use]
    pub(crate) fn booting(request: &BootRequest) -> Self {
        Self { machine: MachineState::Booting, ..Self::idle(request.engine, request.memory_mib) }
    }

    /// Takes in what the worker said.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::State { state } => self.enter(*state),
            Event::Progress(progress) => self.advance(*progress),
            Event::Stats(stats) => self.stats = Some(*stats),
            Event::Halted { reason } => {
                self.halt = Some(*reason);
                self.enter(MachineState::Halted);
            }
            Event::Fault(fault) => {
                // A worker that panics tells it in words and then traps: the first word
                // is the one that explains.
                self.fault.get_or_insert_with(|| fault.clone());
                self.enter(MachineState::Failed);
            }
            // About bytes and saved states, not about where the machine is in its life.
            _ => {}
        }
    }

    /// Whether there is a guest whose memory would be lost by a restart.
    #[must_use]
    pub(crate) fn is_live(&self) -> bool {
        matches!(
            self.machine,
            MachineState::Booting
                | MachineState::Running
                | MachineState::Paused
                | MachineState::Saving
        )
    }

    /// Whether the guest itself has run, so that [`emulator_protocol::Command::Retry`] has
    /// something to go on with. A fault before that is mended by asking again.
    #[must_use]
    pub(crate) fn guest_has_run(&self) -> bool {
        self.progress.is_some_and(|progress| progress.phase >= Phase::Firmware)
    }

    fn enter(&mut self, machine: MachineState) {
        self.machine = machine;
        if machine != MachineState::Failed {
            self.fault = None;
        }
        if self.is_live() {
            self.halt = None;
        } else {
            self.stalled = false;
        }
    }

    fn advance(&mut self, progress: Progress) {
        // Files load at the same time; a late word about an early step is not news.
        let behind = self.progress.is_some_and(|known| progress.phase < known.phase);
        if !behind {
            self.progress = Some(progress);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emulator_protocol::{FaultKind, Party};

    fn request() -> BootRequest {
        BootRequest::new(EngineKind::V86, 512)
    }

    fn fault(summary: &str) -> Event {
        Event::Fault(Fault::new(FaultKind::EngineCrash, Party::Host, summary, "").with_retry())
    }

    fn at(phase: Phase) -> Event {
        Event::Progress(Progress { phase, loaded: 1, total: None })
    }

    #[test]
    fn a_boot_goes_from_asked_for_to_running() {
        let mut state = State::booting(&request());
        assert_eq!((state.machine, state.memory_mib), (MachineState::Booting, 512));
        assert!(state.is_live() && !state.guest_has_run());
        state.apply(&at(Phase::Kernel));
        state.apply(&Event::State { state: MachineState::Running });
        assert_eq!(state.machine, MachineState::Running);
        assert!(state.guest_has_run());
    }

    #[test]
    fn the_first_fault_is_the_one_that_is_told() {
        let mut state = State::booting(&request());
        state.stalled = true;
        state.apply(&Event::State { state: MachineState::Failed });
        state.apply(&fault("the cause"));
        state.apply(&fault("an echo"));
        assert_eq!(state.machine, MachineState::Failed);
        assert_eq!(state.fault.as_ref().map(|fault| fault.summary.as_str()), Some("the cause"));
        assert!(!state.stalled, "a machine that ended is not stalled");
    }

    #[test]
    fn a_machine_that_goes_on_after_a_retry_has_no_fault() {
        let mut state = State::booting(&request());
        state.apply(&fault("a chunk was missing"));
        state.apply(&Event::State { state: MachineState::Booting });
        assert!(state.is_live() && state.fault.is_none());
    }

    #[test]
    fn a_late_word_about_an_early_phase_is_not_news() {
        let mut state = State::booting(&request());
        state.apply(&at(Phase::Init));
        state.apply(&at(Phase::Image));
        assert_eq!(state.progress.map(|progress| progress.phase), Some(Phase::Init));
    }

    #[test]
    fn a_guest_that_switches_itself_off_has_halted() {
        let mut state = State::booting(&request());
        state.apply(&Event::Halted { reason: Halt::PowerOff });
        assert_eq!(state.machine, MachineState::Halted);
        assert_eq!(state.halt, Some(Halt::PowerOff));
        assert!(!state.is_live());
    }
}
