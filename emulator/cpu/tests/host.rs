//! Every instruction form that the processor implements, alone and in blocks, executed here
//! and on the host's processor with the same registers, flags and memory, and compared bit by
//! bit, faults included. Only on Linux on x86-64; elsewhere there is nobody to ask.
//!
//! `VIVARIUM_CASES=10000000` makes a long run, `VIVARIUM_SEED=n` another one,
//! `VIVARIUM_ONLY=Pmull` only forms whose name contains that; `VIVARIUM_REPORT=1` prints how
//! often each form was compared.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![forbid(unsafe_code)]

#[path = "host/block.rs"]
mod block;
#[path = "host/forms.rs"]
mod forms;
#[path = "host/guest.rs"]
mod guest;
#[path = "host/judge.rs"]
mod judge;
#[path = "host/make.rs"]
mod make;
#[path = "host/random.rs"]
mod random;
#[path = "host/state.rs"]
mod state;
#[path = "host/vendor.rs"]
mod vendor;

use std::collections::BTreeMap;
use std::io::Write;

use emulator_cpu::uop::Op;
use emulator_cpu_oracle::{Oracle, Protection};
use guest::{CODE, DATA, DATA_SIZE, Guest};
use iced_x86::Code;
use judge::Outcome;
use make::Made;
use random::Random;
use vendor::Vendor;

/// Cases of an ordinary run.
const CASES: u64 = 200_000;
/// Mismatches that are printed in full.
const SHOWN: usize = 25;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// What the host maps.
const PAGES: &[(u64, usize, Protection)] = &[
    (CODE, 0x2000, Protection::Execute),
    (DATA, DATA_SIZE, Protection::Write),
    (DATA + DATA_SIZE as u64, 0x1000, Protection::Read),
];

/// Forms that are implemented here and can be asked of the host.
fn forms(compat: bool, wanted: impl Fn(&Made) -> bool) -> Vec<Code> {
    let only = std::env::var("VIVARIUM_ONLY").unwrap_or_default();
    let mut random = Random::new(1);
    Code::values()
        .filter(|code| format!("{code:?}").contains(&only))
        .filter(|code| {
            (0..8).any(|_| {
                make::instruction(&mut random, *code, compat)
                    .is_some_and(|made| made.uop.op != Op::Invalid && wanted(&made))
            })
        })
        .collect()
}

/// What a run has found.
struct Tally {
    what: &'static str,
    compat: bool,
    wrong: BTreeMap<String, usize>,
    shown: usize,
    /// By form: cases, and how many of them were faults.
    compared: BTreeMap<String, (u64, u64)>,
    apart: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn new(what: &'static str, compat: bool) -> Self {
        Tally {
            what,
            compat,
            wrong: BTreeMap::new(),
            shown: 0,
            compared: BTreeMap::new(),
            apart: BTreeMap::new(),
        }
    }

    fn add(&mut self, case: u64, form: &str, bytes: &[u8], outcome: Outcome) {
        let counts = self.compared.entry(form.to_owned()).or_default();
        counts.0 += 1;
        counts.1 += u64::from(outcome.fault);
        for name in outcome.apart {
            *self.apart.entry(name).or_default() += 1;
        }
        if let Some(difference) = outcome.difference {
            let seen = self.wrong.entry(form.to_owned()).or_default();
            *seen += 1;
            if self.shown < SHOWN && *seen <= 2 {
                self.shown += 1;
                println!("case {case} {form} {bytes:02x?}\n{difference}");
            }
        }
    }

    fn finish(self) {
        let total: u64 = self.compared.values().map(|counts| counts.0).sum();
        let faults: u64 = self.compared.values().map(|counts| counts.1).sum();
        // Past the capture of tests that pass: how much was asked is to be seen in every run.
        let _ = writeln!(
            std::io::stderr(),
            "{}, compat {}: {} forms, {total} cases compared, {faults} of them faults, {} mismatches in {} forms",
            self.what,
            self.compat,
            self.compared.len(),
            self.wrong.values().sum::<usize>(),
            self.wrong.len()
        );
        if setting("VIVARIUM_REPORT", 0) > 0 {
            for (form, (cases, faults)) in &self.compared {
                println!("{form}: {cases} cases, {faults} faults");
            }
            for (name, cases) in &self.apart {
                println!("left out, {cases} cases: {name}");
            }
        }
        assert!(self.wrong.is_empty(), "{:?}", self.wrong);
    }
}

fn compare(compat: bool, share: u64) {
    let cases = setting("VIVARIUM_CASES", CASES) / share;
    let seed = setting("VIVARIUM_SEED", 1);
    let vendor = Vendor::here();
    let wanted = |made: &Made| state::comparable(made.code(), made) && !vendor::lacks(vendor, made);
    let forms = forms(compat, wanted);
    if forms.is_empty() {
        return;
    }
    let mut oracle = Oracle::new(PAGES);
    let mut guest = Guest::new();
    let mut tally = Tally::new("instructions", compat);
    for case in 0..cases {
        let mut random = Random::new(seed << 40 ^ case << 1 ^ u64::from(compat));
        let code = forms[(case % forms.len() as u64) as usize];
        let Some(made) = make::instruction(&mut random, code, compat) else { continue };
        if made.uop.op == Op::Invalid || !wanted(&made) {
            continue;
        }
        let outcome = judge::judge(&mut oracle, &mut guest, vendor, &made, &mut random);
        tally.add(case, &format!("{code:?}"), &made.bytes, outcome);
    }
    tally.finish();
}

fn compare_blocks(compat: bool, share: u64) {
    let cases = setting("VIVARIUM_CASES", CASES) / share;
    let seed = setting("VIVARIUM_SEED", 1);
    let vendor = Vendor::here();
    let wanted = |made: &Made| {
        state::comparable(made.code(), made) && block::fits(made) && !vendor::spreads(vendor, made)
    };
    let forms = forms(compat, wanted);
    if forms.is_empty() {
        return;
    }
    let mut oracle = Oracle::new(PAGES);
    let mut guest = Guest::new();
    let mut tally = Tally::new("blocks", compat);
    let mut instructions = 0;
    for case in 0..cases {
        let mut random = Random::new(seed << 40 ^ case << 1 ^ u64::from(compat) ^ 1 << 39);
        let block = block::block(&mut random, &forms, compat, wanted);
        instructions += block.parts.len();
        let outcome = judge::judge_block(&mut oracle, &mut guest, vendor, &block, &mut random);
        tally.add(case, "blocks", &block.bytes, outcome);
    }
    println!("{instructions} instructions in blocks");
    tally.finish();
}

#[test]
fn instructions_of_64_bit_mode_are_the_hosts() {
    compare(false, 1);
}

#[test]
fn instructions_of_compatibility_mode_are_the_hosts() {
    compare(true, 4);
}

#[test]
fn blocks_of_64_bit_mode_are_the_hosts() {
    compare_blocks(false, 4);
}

#[test]
fn blocks_of_compatibility_mode_are_the_hosts() {
    compare_blocks(true, 8);
}
