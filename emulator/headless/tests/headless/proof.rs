//! Guest programs say what they must, and a deterministic machine goes one way only: twice,
//! in slices of any length, turn by turn, and over a save and a restore.
//!
//! `VIVARIUM_BLESS=1` writes what they say as what they must.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use emulator_machine::{Clock, Machine, Outcome, Parts, Plan};
use emulator_snapshot::CHUNK_SIZE;
use emulator_snapshot::state::{Pages, Version};

use crate::programs::{PROGRAMS, Program};

const PARTS: Parts = Parts { disk: None, mtu: None };
/// 2026-01-01, 01:02:03.
const EPOCH: u64 = 1_767_229_323_000_000_000;
/// No program is longer: 50 million instructions.
const LIMIT: u64 = 50_000_000;

/// A machine at work, and what it has said.
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) said: Vec<u8>,
}

fn machine(mib: u32) -> Machine {
    Machine::new(mib, &PARTS, Clock::Instructions, EPOCH, [7; 32])
}

impl Run {
    fn new(program: &Program) -> Self {
        let kernel = (program.kernel)().elf();
        Run::boot(64, &Plan { kernel: &kernel, initrd: &[], cmdline: "" })
    }

    /// A machine with so much memory at a kernel's first instruction.
    pub(crate) fn boot(mib: u32, plan: &Plan<'_>) -> Self {
        let mut machine = machine(mib);
        machine.boot(plan).unwrap();
        Run { machine, said: Vec::new() }
    }

    /// Executes so many instructions at most; `None` if there is more to do.
    pub(crate) fn slice(&mut self, most: u64) -> Option<Outcome> {
        let outcome = self.machine.run(0, most);
        self.after(outcome)
    }

    fn after(&mut self, outcome: Outcome) -> Option<Outcome> {
        self.said.extend(self.machine.board().take_log());
        match outcome {
            Outcome::Budget => None,
            Outcome::Sleeps(tick) => {
                self.machine.skip_to(tick);
                None
            }
            outcome => Some(outcome),
        }
    }

    /// Goes on in slices of this length; says how it has ended.
    fn finish(&mut self, slice: u64) -> Outcome {
        loop {
            if let Some(outcome) = self.slice(slice) {
                return outcome;
            }
            assert!(self.machine.instructions() < LIMIT, "{}", String::from_utf8_lossy(&self.said));
        }
    }

    fn finish_by_turns(&mut self) -> Outcome {
        loop {
            if let Err(outcome) = self.machine.turn(0, false)
                && let Some(outcome) = self.after(outcome)
            {
                return outcome;
            }
        }
    }

    /// Random numbers are made of something else; the time of day goes on.
    pub(crate) fn awaken(&mut self, seed: u8) {
        self.machine.awaken(EPOCH + self.machine.now(), [seed; 32]);
    }

    /// Another machine that goes on from here.
    pub(crate) fn restored(&self) -> Self {
        let sections: HashMap<_, _> = self.machine.save().into_iter().collect();
        let mut machine = machine((self.machine.memory().size() >> 20) as u32);
        let section = |name: &str| sections.get(name).map(Vec::as_slice);
        machine.restore(&PARTS, [7; 32], section).unwrap();
        machine.fill(0, self.machine.memory().bytes());
        Run { machine, said: self.said.clone() }
    }
}

/// What a machine says of its memory, looked at again and again.
#[derive(Default)]
pub(crate) struct Account {
    seen: Vec<(Option<Version>, blake3::Hash)>,
    pub(crate) same: usize,
    pub(crate) changed: usize,
}

impl Account {
    /// Each chunk that is said to be the one of last time must be just that.
    pub(crate) fn audit(&mut self, machine: &mut Machine) {
        machine.note_written();
        let pages = machine.ram();
        let mut chunk = vec![0; CHUNK_SIZE];
        let look = |index: u64| {
            pages.read(index * CHUNK_SIZE as u64, &mut chunk);
            (pages.version(index as usize), blake3::hash(&chunk))
        };
        let now: Vec<_> = (0..pages.size() / CHUNK_SIZE as u64).map(look).collect();
        for (index, (before, after)) in self.seen.iter().zip(&now).enumerate() {
            assert!(after.0.is_some());
            if before.0 == after.0 {
                assert_eq!(before.1, after.1, "chunk {index} was written, and nobody noted it");
                self.same += 1;
            } else {
                self.changed += 1;
            }
        }
        self.seen = now;
    }
}

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/headless/golden")
        .join(format!("{name}.txt"));
    if std::env::var_os("VIVARIUM_BLESS").is_some() {
        let program = PROGRAMS.iter().find(|program| program.name == name).unwrap();
        let mut run = Run::new(program);
        run.finish(LIMIT);
        fs::write(&path, &run.said).unwrap();
    }
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a run came to: its end, its words, and its state.
fn result(
    program: &Program,
    finish: impl FnOnce(&mut Run) -> Outcome,
) -> (Outcome, String, [u8; 32]) {
    let mut run = Run::new(program);
    let outcome = finish(&mut run);
    let said = String::from_utf8(run.said).unwrap();
    (outcome, said, run.machine.state_hash())
}

#[test]
fn programs_say_what_they_must() {
    for program in PROGRAMS {
        let (outcome, said, _) = result(program, |run| run.finish(2_000_000));
        assert_eq!(outcome, Outcome::Off(Some(0)), "{}: {said}", program.name);
        assert_eq!(said, golden(program.name), "{}", program.name);
    }
}

#[test]
fn what_is_written_is_noted() {
    let (mut same, mut changed) = (0, 0);
    for program in PROGRAMS {
        let whole = result(program, |run| run.finish(LIMIT));
        let looked_at = result(program, |run| {
            let (mut account, mut looks) = (Account::default(), 0);
            let outcome = loop {
                let cut = run.slice(997);
                // Each looks at all of memory.
                looks += 1;
                if looks < 20 {
                    account.audit(&mut run.machine);
                }
                if let Some(outcome) = cut {
                    break outcome;
                }
            };
            same += account.same;
            changed += account.changed;
            outcome
        });
        assert_eq!(looked_at, whole, "{} goes its way, looked at or not", program.name);
    }
    assert!(same > 0 && changed > 0, "{same} chunks were the same, {changed} were not");
}

#[test]
fn two_runs_are_one_however_they_are_cut() {
    for program in PROGRAMS {
        let first = result(program, |run| run.finish(LIMIT));
        for slice in [LIMIT, 1_000_003, 997, 10, 1] {
            let other = result(program, |run| run.finish(slice));
            assert_eq!(other, first, "{} in slices of {slice}", program.name);
        }
        let turns = result(program, Run::finish_by_turns);
        assert_eq!(turns, first, "{} by turns", program.name);
    }
}

#[test]
fn a_restored_machine_goes_the_same_way() {
    for program in PROGRAMS.iter().filter(|program| !program.random) {
        let first = result(program, |run| run.finish(LIMIT));
        let mut run = Run::new(program);
        let mut cuts = 0;
        // Each machine is the restored one of the one before.
        while run.slice(20_011).is_none() {
            run = run.restored();
            cuts += 1;
            assert!(run.machine.instructions() < LIMIT);
        }
        let said = String::from_utf8(run.said.clone()).unwrap();
        assert_eq!((said, run.machine.state_hash()), (first.1, first.2), "{}", program.name);
        let long = matches!(program.name, "ticks" | "busy" | "strings");
        assert!(!long || cuts > 3, "{}: {cuts} cuts", program.name);
    }
}

#[test]
fn the_seed_and_the_time_of_day_are_all_that_is_random() {
    let entropy = PROGRAMS.iter().find(|program| program.random).unwrap();
    let with = |seed: u8| {
        let mut run = Run::new(entropy);
        run.awaken(seed);
        run.finish(LIMIT);
        run.said
    };
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}
