//! Two outcomes side by side.

use std::fmt::Write;

use super::known::{self, Known, Part};
use super::machine::{Case, End, Outcome};
use super::peer::Kind;
use super::words::{self, SEGMENTS};

/// RF, which only a debugger sees.
const RF: u64 = 1 << 16;
/// Bytes of memory that are shown.
const SHOWN: usize = 12;

/// What came of a comparison.
pub(crate) struct Verdict {
    pub(crate) difference: Option<String>,
    /// Known differences that were left out.
    pub(crate) apart: Vec<&'static Known>,
}

/// Compares.
pub(crate) fn judge(peer: Kind, case: &Case, ours: &Outcome, theirs: &Outcome) -> Verdict {
    let mut apart = Vec::new();
    let mut theirs = theirs.clone();
    // Only where something differs is there anything to excuse.
    if difference(peer, case, ours, &theirs).is_some() {
        for known in known::of(peer, case, ours, &theirs) {
            if matches!(known.part, Part::Everything) {
                return Verdict { difference: None, apart: vec![known] };
            }
            if excuse(known.part, ours, &mut theirs) {
                apart.push(known);
            }
        }
    }
    Verdict { difference: difference(peer, case, ours, &theirs), apart }
}

/// What differs, in words.
fn difference(peer: Kind, case: &Case, ours: &Outcome, theirs: &Outcome) -> Option<String> {
    let mut text = String::new();
    // Unicorn just ends at a HLT.
    let halts = peer == Kind::Unicorn && ours.end == End::Halted && theirs.end == End::Executed;
    // What a fault in the delivery of another comes to is seen by the handler that runs.
    if (ours.end != theirs.end && !halts) || ours.faults.first() != theirs.faults.first() {
        let _ = writeln!(
            text,
            "  end: {} {:?} {:x?}, here {:?} {:x?}",
            peer.name(),
            theirs.end,
            theirs.faults,
            ours.end,
            ours.faults
        );
    }
    same_words(&mut text, peer, ours, theirs);
    let bytes = theirs.memory.chunks(8).zip(ours.memory.chunks(8)).enumerate();
    for (at, (a, b)) in bytes.filter(|(_, (a, b))| a != b).take(SHOWN) {
        let before = &case.memory[8 * at..8 * at + 8];
        let _ = writeln!(
            text,
            "  memory {:x}: was {}, {} {}, here {}",
            8 * at,
            hex(before),
            peer.name(),
            hex(a),
            hex(b)
        );
    }
    (!text.is_empty()).then_some(text)
}

/// A word of memory as a number.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}

fn same_words(text: &mut String, peer: Kind, ours: &Outcome, theirs: &Outcome) {
    for word in 0..words::COUNT {
        let (a, b) = (theirs.words[word], ours.words[word]);
        if seen(peer, word, ours) && a != b && !(word == words::RFLAGS && (a ^ b) & !RF == 0) {
            let _ = writeln!(text, "  {}: {} {a:x}, here {b:x}", words::name(word), peer.name());
        }
    }
}

/// Can the peer show this word, and does it matter?
fn seen(peer: Kind, word: usize, ours: &Outcome) -> bool {
    let Some(part) = word.checked_sub(SEGMENTS) else { return true };
    let (segment, part) = (part / 4, part % 4);
    let system = segment == words::LDTR || segment == words::TR;
    let based = system || matches!(segment, 4 | 5);
    if part == 0 {
        return true;
    }
    if peer == Kind::Unicorn {
        return part == 1 && based || part == 2 && system;
    }
    // Of a null selector nothing is left but the bases that 64-bit mode uses.
    let null = ours.words[SEGMENTS + 4 * segment] & !3 == 0;
    !null || (part == 1 && matches!(segment, 4 | 5))
}

/// Takes over from our outcome what is not compared. Has anything differed?
fn excuse(part: Part, ours: &Outcome, theirs: &mut Outcome) -> bool {
    let mut differed = false;
    let mut word = |theirs: &mut Outcome, word: usize, mask: u64| {
        let taken = theirs.words[word] & !mask | ours.words[word] & mask;
        differed |= taken != theirs.words[word];
        theirs.words[word] = taken;
    };
    match part {
        Part::Everything => {}
        Part::Word(number, mask) => word(theirs, number, mask),
        Part::UpperHalves => {
            for number in [1, 6, 7] {
                word(theirs, number, 0xFFFF_FFFF << 32);
            }
        }
        Part::ErrorCode(mask) => {
            for (theirs, ours) in theirs.faults.iter_mut().zip(&ours.faults) {
                let taken = theirs.1 & !mask | ours.1 & mask;
                differed |= taken != theirs.1;
                theirs.1 = taken;
            }
        }
        Part::Memory(choose) => {
            let pairs = theirs.memory.iter_mut().zip(&ours.memory).enumerate();
            for (at, (theirs, ours)) in pairs {
                let mask = choose(at);
                let taken = *theirs & !mask | *ours & mask;
                differed |= taken != *theirs;
                *theirs = taken;
            }
        }
    }
    differed
}
