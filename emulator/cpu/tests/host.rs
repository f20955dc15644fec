//! Every instruction form that the processor implements, executed here and on the host's
//! processor with the same registers, flags and memory, and compared bit by bit, faults
//! included. Only on Linux on x86-64; elsewhere there is nobody to ask.
//!
//! `VIVARIUM_CASES=10000000` makes a long run, `VIVARIUM_SEED=n` another one,
//! `VIVARIUM_ONLY=Pmull` only forms whose name contains that; `VIVARIUM_REPORT=1` prints how
//! often each form was compared.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![forbid(unsafe_code)]

#[path = "host/guest.rs"]
mod guest;
#[path = "host/judge.rs"]
mod judge;
#[path = "host/make.rs"]
mod make;
#[path = "host/random.rs"]
mod random;

use std::collections::BTreeMap;

use emulator_cpu::uop::Op;
use emulator_cpu_oracle::Oracle;
use guest::Guest;
use iced_x86::Code;
use random::Random;

/// Cases of an ordinary run.
const CASES: u64 = 200_000;
/// Mismatches that are printed in full.
const SHOWN: usize = 25;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Forms that are implemented here and can be asked of the host.
fn forms(compat: bool) -> Vec<Code> {
    let only = std::env::var("VIVARIUM_ONLY").unwrap_or_default();
    let mut random = Random::new(1);
    Code::values()
        .filter(|code| format!("{code:?}").contains(&only))
        .filter(|code| {
            (0..8).any(|_| {
                make::instruction(&mut random, *code, compat).is_some_and(|made| {
                    made.uop.op != Op::Invalid && judge::comparable(*code, &made)
                })
            })
        })
        .collect()
}

fn compare(compat: bool, share: u64) {
    let cases = setting("VIVARIUM_CASES", CASES) / share;
    let seed = setting("VIVARIUM_SEED", 1);
    let forms = forms(compat);
    if forms.is_empty() {
        return;
    }
    let mut oracle = Oracle::new(guest::PAGES);
    let mut guest = Guest::new();
    let mut wrong: BTreeMap<String, usize> = BTreeMap::new();
    let mut compared: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut shown = 0;
    for case in 0..cases {
        let mut random = Random::new(seed << 40 ^ case << 1 ^ u64::from(compat));
        let code = forms[(case % forms.len() as u64) as usize];
        let Some(made) = make::instruction(&mut random, code, compat) else { continue };
        if made.uop.op == Op::Invalid || !judge::comparable(code, &made) {
            continue;
        }
        let counts = compared.entry(format!("{code:?}")).or_default();
        counts.0 += 1;
        let outcome = judge::judge(&mut oracle, &mut guest, &made, &mut random);
        counts.1 += u64::from(outcome.fault);
        if let Some(difference) = outcome.difference {
            let seen = wrong.entry(format!("{code:?}")).or_default();
            *seen += 1;
            if shown < SHOWN && *seen <= 2 {
                shown += 1;
                println!("case {case} {code:?} {:02x?}\n{difference}", made.bytes);
            }
        }
    }
    let total: u64 = compared.values().map(|counts| counts.0).sum();
    let faults: u64 = compared.values().map(|counts| counts.1).sum();
    println!(
        "compat {compat}: {} forms, {total} cases compared, {faults} of them faults, {} mismatches in {} forms",
        compared.len(),
        wrong.values().sum::<usize>(),
        wrong.len()
    );
    if setting("VIVARIUM_REPORT", 0) > 0 {
        for (form, (cases, faults)) in &compared {
            println!("{form}: {cases} cases, {faults} faults");
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn instructions_of_64_bit_mode_are_the_hosts() {
    compare(false, 1);
}

#[test]
fn instructions_of_compatibility_mode_are_the_hosts() {
    compare(true, 4);
}
