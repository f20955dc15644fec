//! Random descriptors, selectors and gates.

use super::machine::{
    Case, FREE, GDT, HANDLERS, IDT, KERNEL_DATA, KERNEL32, KERNEL64, LDT, LOCAL, TASK, USER_DATA,
    USER32, USER64,
};
use crate::random::Random;

/// The last slot of either table that is filled.
const SLOTS: u64 = 32;

/// Eight bytes as the manual draws them (SDM vol. 3, 3.4.5), of any kind.
fn descriptor(random: &mut Random) -> u64 {
    let system = random.one_in(5);
    let kind = random.below(16);
    let limit = match random.below(4) {
        0 => 0xF_FFFF,
        1 => 0xFFFF,
        2 => 0,
        _ => random.below(0x10_0000),
    };
    let base = match random.below(3) {
        0 => 0,
        1 => random.below(0x1_0000),
        _ => random.below(1 << 32),
    };
    let mut upper = kind | random.below(4) << 5;
    if !system {
        upper |= 1 << 4;
    }
    if !random.one_in(8) {
        upper |= 1 << 7;
    }
    // AVL, L, D/B, G.
    let size = random.pick(&[0b0100, 0b0100, 0b0010, 0b0010, 0b0110, 0b0000]);
    upper |= (random.below(2) | size | random.below(2) << 3) << 12;
    limit & 0xFFFF
        | (base & 0xFF_FFFF) << 16
        | upper << 40
        | (limit >> 16) << 48
        | (base >> 24) << 56
}

/// Fills what is free in both tables.
pub(crate) fn fill(case: &mut Case, random: &mut Random) {
    for slot in 0..SLOTS {
        if slot >= u64::from(FREE) / 8 {
            let made = descriptor(random);
            case.put(GDT + 8 * slot, made);
        }
        let made = descriptor(random);
        case.put(LDT + 8 * slot, made);
    }
    if random.one_in(8) {
        case.state.gdtr.limit = random.pick(&[0x5F, 0x60, 0x67, 0xFF, 0x7F]);
    }
}

/// A selector, of those that are good for something more often than of others.
pub(crate) fn selector(random: &mut Random) -> u16 {
    let level = random.below(4) as u16;
    let known = [KERNEL64, KERNEL_DATA, USER32, USER_DATA, USER64, KERNEL32];
    match random.below(12) {
        0 => level,
        1 => random.pick(&[TASK, LOCAL, 0x58, 0x38]) | level,
        2..=4 => random.pick(&known),
        5 => random.pick(&known) & !3 | level,
        6..=7 => 8 * random.below(SLOTS) as u16 + 4 + level,
        8 => random.bits() as u16,
        _ => FREE + 8 * random.below(SLOTS - u64::from(FREE / 8)) as u16 + level,
    }
}

/// The descriptor that a selector names, if it is in its table.
pub(crate) fn named(case: &Case, selector: u16) -> Option<u64> {
    if selector & 4 != 0 && case.state.ldtr.base != LDT {
        return None;
    }
    let index = u64::from(selector & !7);
    let (base, limit) =
        if selector & 4 == 0 { (GDT, u64::from(case.state.gdtr.limit)) } else { (LDT, 0xFFF) };
    (index + 7 <= limit && index + 8 <= 0x1000).then(|| case.word(base + index))
}

/// Is there a call gate? Those are absent here, and so are not asked about.
pub(crate) fn is_call_gate(case: &Case, selector: u16) -> bool {
    named(case, selector).is_some_and(|low| matches!(low >> 40 & 0x1F, 4 | 0xC))
}

/// A canonical address, or one that is not.
pub(crate) fn address(random: &mut Random) -> u64 {
    match random.below(6) {
        0 => random.bits(),
        1 => 1 << 47,
        2 => 0x7FFF_FFFF_FFFF,
        3 => 0xFFFF_8000_0000_0000,
        4 => random.below(1 << 32),
        _ => ((random.bits() << 16) as i64 >> 16) as u64,
    }
}

/// A gate for a vector: mostly one that works. A strange one may lead to no address at all.
pub(crate) fn gate(case: &mut Case, random: &mut Random, vector: u64, strange: bool) {
    // One that cannot be fetched would fault for ever.
    let handler = match random.below(16) {
        0 if strange => 1 << 47 | random.below(1 << 40),
        1 => HANDLERS + random.below(0xF00),
        _ => HANDLERS + 16 * vector,
    };
    let to = if random.one_in(5) { selector(random) } else { KERNEL64 };
    let kind = if random.one_in(8) { random.below(16) } else { 0xE | random.below(2) };
    let stack = if random.one_in(3) { random.below(4) } else { 0 };
    let level = if random.one_in(2) { 3 } else { random.below(4) };
    let present = u64::from(!random.one_in(12));
    let access = kind | level << 5 | present << 7 | u64::from(random.one_in(30)) << 4;
    let low = handler & 0xFFFF
        | u64::from(to) << 16
        | stack << 32
        | access << 40
        | (handler >> 16 & 0xFFFF) << 48;
    case.put(IDT + 16 * vector, low);
    case.put(IDT + 16 * vector + 8, handler >> 32);
}
