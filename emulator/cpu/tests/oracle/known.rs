//! Where a peer answers otherwise than the manual (SDM) asks, or where the manual leaves it
//! open. Each difference has a name, the cases that it is about, and what of them is not
//! compared.

#[path = "known/bochs.rs"]
mod bochs;
#[path = "known/unicorn.rs"]
mod unicorn;

use super::machine::{Case, GDT, LDT, NEXT, Outcome, PAGE, ROOT, TABLES, UPPER};
use super::peer::Kind;
use super::words;

/// What is not compared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Everything,
    /// Bits of a word of the state.
    Word(usize, u64),
    /// Of RCX, RSI and RDI.
    UpperHalves,
    ErrorCode(u32),
    /// Bits of a byte of memory, by its address.
    Memory(fn(usize) -> u8),
}

/// A difference.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    /// What the manual says about it, and where.
    pub(crate) manual: &'static str,
    pub(crate) part: Part,
    applies: fn(&Case, &Outcome, &Outcome) -> bool,
}

/// The differences that a case is about.
pub(crate) fn of<'a>(
    peer: Kind,
    case: &'a Case,
    ours: &'a Outcome,
    theirs: &'a Outcome,
) -> Vec<&'static Known> {
    let all = match peer {
        Kind::Unicorn => unicorn::KNOWN,
        Kind::Bochs => bochs::KNOWN,
    };
    all.iter().filter(|known| (known.applies)(case, ours, theirs)).collect()
}

const CS_SELECTOR: usize = words::SEGMENTS + 4;
const SS_SELECTOR: usize = words::SEGMENTS + 8;

/// The accessed bits of entries in all tables.
fn accessed(at: usize) -> u8 {
    let page = at as u64 & !0xFFF;
    let table = page == ROOT || page == UPPER || TABLES.contains(&page) || NEXT.contains(&page);
    if table && at.is_multiple_of(8) { 0x20 } else { 0 }
}

/// Those and the dirty bits.
fn used(at: usize) -> u8 {
    accessed(at) * 3
}

/// The same for entries that may map 1 GiB.
fn accessed_upper(at: usize) -> u8 {
    let page = at as u64 & !0xFFF;
    let table = page == UPPER || page == TABLES[0] || page == NEXT[0];
    if table { accessed(at) } else { 0 }
}

/// The accessed bits of descriptors.
fn descriptor_accessed(at: usize) -> u8 {
    let table = [GDT, LDT].contains(&(at as u64 & !(PAGE - 1)));
    u8::from(table && at % 8 == 5)
}

fn canonical(address: u64) -> bool {
    (address << 16) as i64 >> 16 == address as i64
}

/// Instructions that read a word of memory and write it back.
const UPDATES: [&str; 11] = [
    "Add_rm",
    "Inc_rm",
    "Neg_rm",
    "Xchg_rm",
    "Xadd_rm",
    "Cmpxchg_rm",
    "Cmpxchg8b",
    "Cmpxchg16b",
    "Bts_rm",
    "Btr_rm",
    "Or_rm",
];

fn has(case: &Case, names: &[&str]) -> bool {
    names.iter().any(|name| case.program.contains(name))
}

fn page_fault(ours: &Outcome) -> bool {
    ours.faults.iter().any(|fault| fault.0 == 14)
}

/// #SS(0).
fn stack(ours: &Outcome) -> bool {
    ours.faults.first() == Some(&(12, 0))
}

/// #GP(0).
fn protection(ours: &Outcome) -> bool {
    ours.faults.first() == Some(&(13, 0))
}
