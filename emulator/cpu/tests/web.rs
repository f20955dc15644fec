//! The interpreter is the same in a browser's WebAssembly as natively: one corpus, executed by
//! both, and a digest of all that each mnemonic left behind in registers, flags, x87, XMM and
//! memory, faults included. The digests are in `web/corpus.txt`; `VIVARIUM_BLESS=1` writes
//! them, natively, where the same generator's cases are compared with the host's processor.
#![forbid(unsafe_code)]

#[path = "host/block.rs"]
#[allow(dead_code, reason = "the comparison with the host needs more of it")]
mod block;
#[path = "host/guest.rs"]
mod guest;
#[path = "host/make.rs"]
mod make;
#[path = "host/random.rs"]
mod random;
#[path = "host/state.rs"]
mod state;

use std::collections::BTreeMap;
use std::fmt::Write;

use block::Block;
use emulator_cpu::uop::Op;
use guest::Guest;
use iced_x86::Code;
use make::Made;
use random::Random;

/// Cases of each form.
const CASES: u64 = 24;
/// Blocks, and how many of them have one digest.
const BLOCKS: u64 = 20_000;
const GROUP: u64 = 1_000;

const CORPUS: &str = include_str!("web/corpus.txt");

/// What was left behind, under the name of what did it.
#[derive(Default)]
struct Digests(BTreeMap<String, blake3::Hasher>);

impl Digests {
    fn add(&mut self, name: String, guest: &Guest, outcome: impl std::fmt::Debug) {
        let hasher = self.0.entry(name).or_default();
        let registers = guest.registers();
        let words = registers.gpr.into_iter().chain([registers.rip, registers.rflags]);
        words.chain([guest.cpu.state.cr2]).for_each(|word| {
            hasher.update(&word.to_le_bytes());
        });
        hasher.update(&registers.fxsave).update(guest.data());
        hasher.update(format!("{outcome:?}").as_bytes());
    }

    fn lines(&self) -> String {
        self.0.iter().fold(String::new(), |mut lines, (name, hasher)| {
            let _ = writeln!(lines, "{name}: {}", &hasher.finalize().to_hex()[..16]);
            lines
        })
    }
}

fn instructions(digests: &mut Digests, compat: bool) -> Vec<Code> {
    let mut guest = Guest::new();
    let mut forms = Vec::new();
    for code in Code::values() {
        let mut compared = false;
        for case in 0..CASES {
            let mut random = Random::new((code as u64) << 20 ^ case << 1 ^ u64::from(compat));
            let Some(made) = make::instruction(&mut random, code, compat) else { continue };
            if made.uop.op == Op::Invalid || !state::comparable(code, &made) {
                continue;
            }
            compared = true;
            let result = execute(&mut guest, &made, &mut random);
            let mode = if compat { "32" } else { "64" };
            let name = format!("{:?}, {mode} bits", made.instruction.mnemonic());
            digests.add(name, &guest, result);
        }
        forms.extend(compared.then_some(code));
    }
    forms
}

fn execute(
    guest: &mut Guest,
    made: &Made,
    random: &mut Random,
) -> Result<(), emulator_cpu::Exception> {
    let before = state::state(random, made);
    let mut data = state::data(random);
    state::tame(made, &before, &mut data);
    guest.write_data(&data);
    guest.write_code(made.at, &made.bytes);
    guest.set(&before, made.compat);
    guest.step(made.instruction.has_rep_prefix() || made.instruction.has_repne_prefix())
}

fn blocks(digests: &mut Digests, forms: &[Code], compat: bool) {
    let mut guest = Guest::new();
    for case in 0..BLOCKS {
        let mut random = Random::new(case << 1 ^ u64::from(compat) ^ 1 << 39);
        let wanted = |made: &Made| state::comparable(made.code(), made) && block::fits(made);
        let block: Block = block::block(&mut random, forms, compat, wanted);
        let before = block::start(&mut random, &block);
        guest.write_data(&state::data(&mut random));
        guest.write_code(block.at, &block.bytes);
        guest.set(&before, compat);
        let fault = guest.run();
        let mode = if compat { "32" } else { "64" };
        digests.add(format!("blocks {:02}, {mode} bits", case / GROUP), &guest, fault);
    }
}

#[cfg_attr(target_family = "wasm", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_family = "wasm"), test)]
fn the_interpreter_is_the_same_everywhere() {
    let mut digests = Digests::default();
    for compat in [false, true] {
        let forms = instructions(&mut digests, compat);
        blocks(&mut digests, &forms, compat);
    }
    let lines = digests.lines();
    #[cfg(not(target_family = "wasm"))]
    if std::env::var_os("VIVARIUM_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/web/corpus.txt");
        std::fs::write(path, &lines).unwrap();
        return;
    }
    let differ: Vec<_> = lines.lines().filter(|line| !CORPUS.lines().any(|l| l == *line)).collect();
    assert!(differ.is_empty() && lines.len() == CORPUS.len(), "{differ:#?}");
}
