//! The machine's condition in words and figures. Pure, so that the words have tests.

use emulator_protocol::{EngineKind, MachineState, Phase, Progress, Stats};

use crate::engines;
use crate::session::state::State;

/// Below this the guest only waits, in million instructions a second; a figure near zero
/// would look like a slow machine.
const IDLE_MIPS: f64 = 1.0;

/// What the machine is doing, as a sentence's middle: "Running".
#[must_use]
pub(crate) fn condition(state: &State) -> String {
    if state.stalled {
        return "Does not answer".into();
    }
    match state.machine {
        MachineState::Idle => "Not started".into(),
        MachineState::Booting => {
            state.progress.map_or_else(|| "Loading the engine".into(), |progress| boot(&progress))
        }
        MachineState::Running => "Running".into(),
        MachineState::Paused => "Paused".into(),
        MachineState::Saving => "Saving".into(),
        MachineState::Halted => "Switched off".into(),
        MachineState::Failed => "Stopped by a fault".into(),
    }
}

/// The same for screen readers, who do not see which engine is chosen. Phases of a boot
/// are left out: they would be read while the next is already there.
#[must_use]
pub(crate) fn announcement(state: &State) -> String {
    let engine = engines::label(state.engine);
    let doing = match state.machine {
        MachineState::Idle => return String::new(),
        MachineState::Booting => "is starting",
        MachineState::Running if state.stalled => "does not answer",
        MachineState::Running => "is running",
        MachineState::Paused => "is paused",
        MachineState::Saving => "is being saved",
        MachineState::Halted => "switched itself off",
        MachineState::Failed => "was stopped by a fault",
    };
    format!("{engine} {doing}.")
}

/// How far a boot has come, from 0 to 1. The shares are those of a cold v86 boot's time.
#[must_use]
pub(crate) fn fraction(progress: &Progress) -> f64 {
    let (from, to) = match progress.phase {
        Phase::Storage => (0.0, 0.02),
        Phase::Engine => (0.02, 0.08),
        Phase::Image => (0.08, 0.35),
        // Nothing comes after it but the prompt.
        Phase::Restore => (0.08, 1.0),
        Phase::Firmware => (0.35, 0.45),
        Phase::Kernel => (0.45, 0.65),
        Phase::Init => (0.65, 0.75),
        Phase::Root => (0.75, 0.92),
        Phase::Shell => (0.92, 1.0),
    };
    let within = match progress.total {
        Some(total) if total > 0 => (progress.loaded as f64 / total as f64).clamp(0.0, 1.0),
        _ => 0.0,
    };
    from + (to - from) * within
}

fn boot(progress: &Progress) -> String {
    let step = match progress.phase {
        Phase::Storage => "Waiting for the browser's storage",
        Phase::Engine => "Loading the engine",
        Phase::Image => "Loading the kernel",
        Phase::Restore => "Restoring the machine's memory",
        Phase::Firmware => "Starting the firmware",
        Phase::Kernel => "The kernel is starting",
        Phase::Init => "Looking for the disk",
        Phase::Root => "The system is starting",
        Phase::Shell => "Starting the shell",
    };
    match progress.total {
        Some(total) => {
            format!("{step}: {} of {} MB", megabytes(progress.loaded), megabytes(total))
        }
        None => step.into(),
    }
}

/// A time that has passed, in milliseconds.
#[must_use]
pub(crate) fn ago(passed_ms: f64) -> String {
    let seconds = (passed_ms / 1000.0) as u64;
    match seconds {
        0..5 => "just now".into(),
        5..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        86_400..172_800 => "yesterday".into(),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Figures worth a glance, in the order of their weight.
#[must_use]
pub(crate) fn figures(state: &State) -> Vec<(&'static str, String)> {
    let stats = state.stats.unwrap_or_default();
    let mut figures = Vec::new();
    if let Some(mips) = stats.mips.filter(|_| state.machine == MachineState::Running) {
        let speed = if mips < IDLE_MIPS { "idle".into() } else { format!("{mips:.0} MIPS") };
        figures.push(("Speed", speed));
    }
    let memory = stats.memory_mib.or_else(|| {
        (engines::is_real(state.engine) && state.is_live()).then_some(state.memory_mib)
    });
    if let Some(mib) = memory {
        figures.push(("Memory", format!("{mib} MiB")));
    }
    if let Some(bytes) = fetched(state.engine, &stats, state.progress.as_ref()) {
        figures.push(("Fetched", format!("{} MB", megabytes(bytes))));
    }
    figures
}

fn fetched(engine: EngineKind, stats: &Stats, progress: Option<&Progress>) -> Option<u64> {
    let booting = progress.map_or(0, |progress| progress.loaded);
    let bytes = stats.fetched.max(booting);
    (engines::is_real(engine) && bytes > 0).then_some(bytes)
}

/// Megabytes with one digit behind the point.
#[must_use]
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(machine: MachineState) -> State {
        State { machine, ..State::idle(EngineKind::V86, 256) }
    }

    #[test]
    fn a_boot_tells_its_phase_and_its_bytes() {
        let progress = Progress { phase: Phase::Image, loaded: 2_100_000, total: Some(4_000_000) };
        let state = State { progress: Some(progress), ..state(MachineState::Booting) };
        assert_eq!(condition(&state), "Loading the kernel: 2.1 of 4.0 MB");
    }

    #[test]
    fn a_boot_never_seems_to_go_back() {
        let phases = [
            Phase::Storage,
            Phase::Engine,
            Phase::Image,
            Phase::Firmware,
            Phase::Kernel,
            Phase::Init,
            Phase::Root,
            Phase::Shell,
        ];
        let mut last = 0.0;
        for phase in phases {
            for loaded in [0, 5, 10] {
                let now = fraction(&Progress { phase, loaded, total: Some(10) });
                assert!(now >= last && now <= 1.0, "{phase:?} {loaded}: {now} after {last}");
                last = now;
            }
        }
    }

    #[test]
    fn figures_that_are_not_known_are_not_shown() {
        assert!(figures(&State::idle(EngineKind::Sim, 256)).is_empty());
        let stats = Stats { mips: Some(81.4), fetched: 9_940_000, ..Stats::default() };
        let running = State { stats: Some(stats), ..state(MachineState::Running) };
        let shown = figures(&running);
        assert_eq!(shown[0], ("Speed", "81 MIPS".to_string()));
        assert_eq!(shown[1], ("Memory", "256 MiB".to_string()));
        assert_eq!(shown[2], ("Fetched", "9.9 MB".to_string()));
        let waiting = State { stats: Some(Stats { mips: Some(0.1), ..stats }), ..running.clone() };
        assert_eq!(figures(&waiting)[0].1, "idle");
        let paused = State { machine: MachineState::Paused, ..running };
        assert!(figures(&paused).iter().all(|(name, _)| *name != "Speed"));
    }

    #[test]
    fn a_stalled_machine_is_not_called_running() {
        let stalled = State { stalled: true, ..state(MachineState::Running) };
        assert_eq!(condition(&stalled), "Does not answer");
        assert_eq!(announcement(&stalled), "32-bit Linux does not answer.");
    }

    #[test]
    fn passed_time_is_told_as_people_do() {
        let told = [0.0, 12_300.0, 61_000.0, 3.7e6, 1e8, 3e8].map(ago);
        let words = ["just now", "12 s ago", "1 min ago", "1 h ago", "yesterday", "3 days ago"];
        assert_eq!(told, words);
    }
}
