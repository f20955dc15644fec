//! Where a linear address is, for somebody who looks on from outside: no accessed bits, no
//! TLB, no rights, no faults.

use emulator_bus::Memory;

use crate::core::Cpu;
use crate::paging::{ADDRESS, CR0_PG, P, PS};

impl Cpu {
    /// The guest-physical address of a linear one; `None` if it is not mapped.
    pub fn probe(&self, memory: &Memory, linear: u64) -> Option<u64> {
        if self.state.cr0 & CR0_PG == 0 {
            return Some(linear);
        }
        if !crate::access::canonical(linear) {
            return None;
        }
        let mut table = self.state.cr3 & ADDRESS;
        for level in (0..4).rev() {
            let at = table | (linear >> (12 + 9 * level) & 0x1FF) << 3;
            let entry: u64 = memory.read(at).unwrap_or(0);
            if entry & P == 0 {
                return None;
            }
            if level == 0 || (level < 3 && entry & PS != 0) {
                let span = (1u64 << (12 + 9 * level)) - 1;
                return Some(entry & ADDRESS & !span | linear & span);
            }
            table = entry & ADDRESS;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    #[test]
    fn pages_of_all_sizes_are_found_and_no_bit_is_set() {
        let mut memory = Memory::new(0x10_0000);
        for (at, entry) in [
            (0x1000, 0x2001),
            (0x2000, 0x3001),
            (0x2008, 0xC000_0081),
            (0x3000, 0x4001),
            (0x3008, 0x0060_0081),
            (0x4000, 0x7001),
            (0x4008, 0x8000),
        ] {
            memory.write::<u64>(at, entry).unwrap();
        }
        memory.clean();
        let mut cpu = Cpu::new(State { cr0: 0x8000_0031, cr3: 0x1000, ..State::default() });
        assert_eq!(cpu.probe(&memory, 0x123), Some(0x7123));
        assert_eq!(cpu.probe(&memory, 0x1000), None, "not present");
        assert_eq!(cpu.probe(&memory, 0x21_2345), Some(0x61_2345));
        assert_eq!(cpu.probe(&memory, 0x4123_4567), Some(0xC123_4567));
        assert_eq!(cpu.probe(&memory, 1 << 39), None);
        assert_eq!(cpu.probe(&memory, 1 << 47), None, "not canonical");
        assert_eq!(memory.dirty().count(), 0);
        cpu.state.cr0 = 0x31;
        assert_eq!(cpu.probe(&memory, 0x1234), Some(0x1234));
    }
}
