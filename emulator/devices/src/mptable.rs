//! The MP table (Intel MultiProcessor Specification 1.4, chapter 4): how a Linux without ACPI
//! learns of the processor, the I/O APIC, and which pin an interrupt is on.
//!
//! One ISA bus; interrupt *n* is on pin *n*, the timer's 0 on pin 2. The lines of virtio are
//! levels, active high; those of ISA devices edges. 8259s are there, behind LINT0.

use emulator_bus::{Memory, Unmapped};

use crate::{ioapic, lapic};

/// Where to put it: the last KiB of base memory is one of the three places where it is looked
/// for (§4). The board leaves it out of the usable memory.
pub const ADDRESS: u64 = 0x9_FC00;
/// Bytes that it needs at most.
pub const SIZE: u64 = 0x400;

const ISA: u8 = 0;
const IOAPIC_ID: u8 = 1;
/// Polarity and trigger (table 4-10): as the bus has it; active high, level.
const CONFORMS: u16 = 0;
const HIGH_LEVEL: u16 = 0b1101;
/// Interrupt types (table 4-11): vectored, NMI, from the 8259s.
const INT: u8 = 0;
const NMI: u8 = 1;
const EXTINT: u8 = 3;

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

fn entry_of_interrupt(to: &mut Vec<u8>, kind: u8, flags: u16, source: u8, pin: u8) {
    to.extend([3, kind]);
    to.extend(flags.to_le_bytes());
    to.extend([ISA, source, IOAPIC_ID, pin]);
}

fn entries(levels: u32) -> (u16, Vec<u8>) {
    let mut to = Vec::new();
    // Processor 0: enabled, bootstrap; signature and features are not read.
    to.extend([0, 0, 0x14, 0b11]);
    to.extend([0; 16]);
    to.extend([1, ISA]);
    to.extend(b"ISA   ");
    to.extend([2, IOAPIC_ID, 0x20, 1]);
    to.extend((ioapic::BASE as u32).to_le_bytes());
    let mut count = 3;
    for source in (0..ioapic::PINS).filter(|source| *source != 2) {
        let pin = if source == 0 { 2 } else { source };
        let flags = if levels >> source & 1 != 0 { HIGH_LEVEL } else { CONFORMS };
        entry_of_interrupt(&mut to, INT, flags, source, pin);
        count += 1;
    }
    // Local interrupts, of all processors: 8259s at LINT0, NMI at LINT1.
    for (kind, pin) in [(EXTINT, 0), (NMI, 1)] {
        to.extend([4, kind, 0, 0, ISA, 0, 0xFF, pin]);
        count += 1;
    }
    (count, to)
}

/// Writes pointer and table at [`ADDRESS`]. `levels` has a bit for each interrupt whose line
/// is a level.
pub fn write(memory: &mut Memory, levels: u32) -> Result<(), Unmapped> {
    let table_at = ADDRESS as u32 + 16;
    let mut pointer = b"_MP_".to_vec();
    pointer.extend(table_at.to_le_bytes());
    // One paragraph, version 1.4, checksum, a table follows, no IMCR.
    pointer.extend([1, 4, 0, 0, 0, 0, 0, 0]);
    pointer[10] = checksum(&pointer);

    let (count, entries) = entries(levels);
    let mut table = b"PCMP".to_vec();
    table.extend((44 + entries.len() as u16).to_le_bytes());
    table.extend([4, 0]);
    table.extend(b"VIVARIUM");
    table.extend(b"MICROVM     ");
    table.extend([0; 6]);
    table.extend(count.to_le_bytes());
    table.extend((lapic::BASE as u32).to_le_bytes());
    table.extend([0; 4]);
    table.extend(entries);
    table[7] = checksum(&table);

    pointer.extend(table);
    memory.slice_mut(ADDRESS, pointer.len())?.copy_from_slice(&pointer);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads it as Linux's arch/x86/kernel/mpparse.c does.
    #[test]
    fn linux_can_read_it() {
        let mut memory = Memory::new(0xA_0000);
        write(&mut memory, 1 << 5 | 1 << 20).unwrap();
        let pointer = memory.slice(ADDRESS, 16).unwrap();
        assert_eq!((&pointer[..4], checksum(pointer)), (&b"_MP_"[..], 0));
        let at = u64::from(memory.read::<u32>(ADDRESS + 4).unwrap());
        let length = memory.read::<u16>(at + 4).unwrap();
        assert!(u64::from(length) + 16 <= SIZE);
        let table = memory.slice(at, length.into()).unwrap();
        assert_eq!((&table[..4], checksum(table)), (&b"PCMP"[..], 0));
        assert_eq!(memory.read::<u32>(at + 36), Ok(0xFEE0_0000));

        let mut rest = &table[44..];
        let (mut count, mut pins) = (0, Vec::new());
        while let Some(kind) = rest.first() {
            let (entry, after) = rest.split_at(if *kind == 0 { 20 } else { 8 });
            if *kind == 3 {
                pins.push((entry[5], entry[7], entry[2] >> 2 & 3));
            }
            (rest, count) = (after, count + 1);
        }
        assert_eq!(memory.read::<u16>(at + 34), Ok(count));
        assert_eq!(pins.len(), 23);
        assert!(pins.contains(&(0, 2, 0)) && pins.contains(&(4, 4, 0)));
        assert!(pins.contains(&(5, 5, 3)) && pins.contains(&(20, 20, 3)));
    }

    #[test]
    fn it_needs_base_memory() {
        assert_eq!(write(&mut Memory::new(0x9_F000), 0), Err(Unmapped));
    }
}
