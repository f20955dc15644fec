//! Paging and system instructions, compared with two foreign processors: Unicorn, which stops
//! at an exception, and Bochs, which delivers it. A program of the host can be asked neither
//! about page tables nor about descriptors; these can.
//!
//! They are Python packages, started as processes (`tests/peer/`). `VIVARIUM_ORACLE` names an
//! interpreter that has them; `cargo xtask test` makes one. Without it, only what can be said
//! without another processor is tested, and the rest counts as ignored. A test program of
//! cargo's own can only pass or fail, so this one has its own `main`.
//!
//! `VIVARIUM_SYSTEM_CASES=100000` makes a long run, `VIVARIUM_SEED=n` another one,
//! `VIVARIUM_ONLY=fetch` only cases whose kind contains that; `VIVARIUM_REPORT=1` counts.
#![forbid(unsafe_code)]

#[path = "host/guest.rs"]
#[expect(dead_code, reason = "the guest of `host.rs`; its addresses are used here")]
mod guest;
#[path = "oracle/judge.rs"]
mod judge;
#[path = "oracle/known.rs"]
mod known;
#[path = "oracle/machine.rs"]
mod machine;
#[path = "host/make.rs"]
#[expect(dead_code, reason = "used in full by `host.rs`")]
mod make;
#[path = "oracle/pages.rs"]
mod pages;
#[path = "oracle/peer.rs"]
mod peer;
#[path = "host/random.rs"]
#[expect(dead_code, reason = "used in full by `host.rs`")]
mod random;
#[path = "oracle/sequence.rs"]
mod sequence;
#[path = "oracle/system.rs"]
mod system;
#[path = "oracle/tables.rs"]
mod tables;
#[path = "oracle/words.rs"]
mod words;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use machine::{Case, End};
use peer::{Kind, Peer};
use random::Random;

/// Cases of an ordinary run, for each peer and subject.
const CASES: u64 = 12_000;
/// Mismatches that are printed in full, and failures of a peer that end its test.
const SHOWN: usize = 15;

const ABSENT: &str = "left out: VIVARIUM_ORACLE names no Python interpreter that has unicorn \
    and bochs; `cargo xtask test` makes one";

type Maker = fn(&mut Random) -> Option<Case>;

const PAGING: &[Maker] =
    &[pages::one, pages::one, pages::one, pages::execution, pages::implicit, sequence::sequence];

const SYSTEM: &[Maker] = &[
    system::control,
    system::table,
    system::look,
    system::load,
    system::far,
    system::far,
    system::call,
    system::msr,
    system::privileged,
    system::delivery,
    system::delivery,
];

/// What is compared with whom; with nobody, the loop is held against single steps.
const TESTS: [(&str, &[Maker], Option<Kind>); 6] = [
    ("paging_in_a_loop_is_paging_in_steps", PAGING, None),
    ("system_instructions_in_a_loop_are_those_in_steps", SYSTEM, None),
    ("paging_is_unicorns", PAGING, Some(Kind::Unicorn)),
    ("system_instructions_are_unicorns", SYSTEM, Some(Kind::Unicorn)),
    ("paging_is_bochss", PAGING, Some(Kind::Bochs)),
    ("system_instructions_are_bochss", SYSTEM, Some(Kind::Bochs)),
];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Random cases of these makers, of the kinds that are wanted.
fn cases(makers: &'static [Maker]) -> impl Iterator<Item = Case> {
    let only = std::env::var("VIVARIUM_ONLY").unwrap_or_default();
    let seed = setting("VIVARIUM_SEED", 1);
    (0..setting("VIVARIUM_SYSTEM_CASES", CASES)).filter_map(move |number| {
        let mut random = Random::new(seed << 40 ^ number);
        let case = makers[number as usize % makers.len()](&mut random)?;
        case.kind.contains(&only).then_some(case)
    })
}

/// What a test has found.
#[derive(Default)]
struct Tally {
    wrong: usize,
    text: String,
    kinds: BTreeMap<&'static str, [u64; 2]>,
    apart: BTreeMap<&'static str, (u64, &'static str)>,
}

impl Tally {
    fn count(&mut self, case: &Case, fault: bool) {
        let counts = self.kinds.entry(case.kind).or_default();
        counts[0] += 1;
        counts[1] += u64::from(fault);
    }

    fn mismatch(&mut self, case: &Case, text: &str) {
        self.wrong += 1;
        if self.wrong <= SHOWN {
            let _ = writeln!(
                self.text,
                "{}, {:?}: {}\n{text}  with {}",
                case.kind,
                case.start,
                case.program,
                case.describe()
            );
        }
    }

    /// Says all in one piece: another test may be at work. Was there no mismatch?
    fn finish(mut self, name: &str, time: Instant) -> bool {
        let total: u64 = self.kinds.values().map(|counts| counts[0]).sum();
        let faults: u64 = self.kinds.values().map(|counts| counts[1]).sum();
        if setting("VIVARIUM_REPORT", 0) > 0 {
            for (kind, [cases, faults]) in &self.kinds {
                let _ = writeln!(self.text, "  {kind}: {cases} cases, {faults} faults");
            }
            for (name, (cases, manual)) in &self.apart {
                let _ = writeln!(self.text, "  known, {cases} cases: {name} (manual: {manual})");
            }
        }
        let answer = if self.wrong == 0 { "ok" } else { "FAILED" };
        let seconds = time.elapsed().as_secs();
        println!(
            "test {name} ... {answer} ({total} cases, {faults} of them faults, {} mismatches, \
             {seconds} s)",
            self.wrong
        );
        print!("{}", self.text);
        self.wrong == 0
    }
}

/// What must hold whoever else is there: the loop does what single steps do.
fn alone(makers: &'static [Maker]) -> Tally {
    let mut tally = Tally::default();
    for case in cases(makers) {
        let [slice, steps] = machine::in_a_slice(&case);
        tally.count(&case, steps.end == End::Fault);
        if steps.words != slice.words || steps.memory != slice.memory {
            let text = format!("in a slice {:x?}\none by one {:x?}", slice.words, steps.words);
            tally.mismatch(&case, &text);
        }
    }
    tally
}

/// Can the peer be asked this? Unicorn delivers nothing and has no
/// contexts. Bochs ends its process with a triple
/// fault and at ports, whoever uses them, and does not come back from a halt.
fn answers(kind: Kind, case: &Case, ours: &machine::Outcome) -> bool {
    match kind {
        Kind::Unicorn => !case.delivers && !case.contexts,
        Kind::Bochs => {
            !matches!(ours.end, End::Shutdown | End::Halted) && !case.program.contains("_DX")
        }
    }
}

fn compare(makers: &'static [Maker], kind: Kind, interpreter: &str) -> Tally {
    let mut tally = Tally::default();
    let mut peer = Peer::start(kind, interpreter);
    let mut deaths = 0;
    for case in cases(makers) {
        let ours = match kind {
            Kind::Unicorn => machine::undelivered(&case),
            Kind::Bochs => machine::delivered(&case),
        };
        if !answers(kind, &case, &ours) {
            continue;
        }
        tally.count(&case, !ours.faults.is_empty());
        let theirs = match peer.ask(&case) {
            Ok(theirs) => theirs,
            Err(failure) => {
                let text = format!("  {failure}; here {:x?}\n", ours.faults);
                tally.mismatch(&case, &text);
                deaths += 1;
                if deaths == SHOWN {
                    break;
                }
                continue;
            }
        };
        let verdict = judge::judge(kind, &case, &ours, &theirs);
        for known in verdict.apart {
            tally.apart.entry(known.name).or_insert((0, known.manual)).0 += 1;
        }
        if let Some(text) = verdict.difference {
            tally.mismatch(&case, &text);
        }
    }
    tally
}

/// Tests with the same partner, one after the other; how many have passed and failed.
fn partner(with: Option<Kind>, filter: &str, interpreter: &str) -> [usize; 2] {
    let mut counts = [0, 0];
    for (name, makers, kind) in TESTS {
        if kind != with || !name.contains(filter) {
            continue;
        }
        let time = Instant::now();
        let tally = match kind {
            None => alone(makers),
            Some(kind) => compare(makers, kind, interpreter),
        };
        counts[usize::from(!tally.finish(name, time))] += 1;
    }
    counts
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let interpreter = std::env::var("VIVARIUM_ORACLE").unwrap_or_default();
    let (filter, interpreter) = (filter.as_str(), interpreter.as_str());
    let mut ignored = 0;
    let mut with = vec![None];
    if interpreter.is_empty() {
        for (name, _, _) in TESTS.iter().filter(|test| test.2.is_some() && test.0.contains(filter))
        {
            println!("test {name} ... ignored, {ABSENT}");
            ignored += 1;
        }
    } else {
        with.extend([Some(Kind::Unicorn), Some(Kind::Bochs)]);
    }
    // A peer works while another is waited for.
    let [passed, failed] = std::thread::scope(|scope| {
        let at_work: Vec<_> = with
            .into_iter()
            .map(|kind| scope.spawn(move || partner(kind, filter, interpreter)))
            .collect();
        let counts = at_work.into_iter().map(|thread| thread.join().unwrap_or([0, 1]));
        counts.fold([0, 0], |sum, more| [sum[0] + more[0], sum[1] + more[1]])
    });
    let answer = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {answer}. {passed} passed; {failed} failed; {ignored} ignored");
    std::process::exit(i32::from(failed > 0));
}
