//! The two faces of the registers: MSRs 0x800–0x83F (Intel SDM vol. 3, §11.12.1.2) and the
//! page of memory (§11.4.1). Register `0xNN0` of the page is MSR `0x8NN`.

use emulator_bus::{Refused, Ticks};

use super::{
    BSP, ENABLE, LVT_BITS, LVT_TIMER, Lapic, MASKED, SOFTWARE_ENABLE, SPURIOUS_BITS, VERSION,
    X2APIC,
};

const IA32_APIC_BASE: u32 = 0x1B;
const IA32_TSC_DEADLINE: u32 = 0x6E0;
const FIRST_MSR: u32 = 0x800;
const LAST_MSR: u32 = 0x8FF;

/// Is this register one of the APIC's?
pub fn is_msr(index: u32) -> bool {
    matches!(index, IA32_APIC_BASE | IA32_TSC_DEADLINE | FIRST_MSR..=LAST_MSR)
}

impl Lapic {
    /// RDMSR.
    pub fn read_msr(&self, index: u32, now: Ticks) -> Result<u64, Refused> {
        match index {
            IA32_APIC_BASE => Ok(self.state.base),
            IA32_TSC_DEADLINE => Ok(self.tsc_deadline()),
            FIRST_MSR..=LAST_MSR if self.state.base & X2APIC != 0 => match index - FIRST_MSR {
                0x0D => Ok(1),
                0x30 => Ok(self.state.icr),
                0x0E | 0x31 => Err(Refused),
                register => self.load(register, now).map(u64::from).ok_or(Refused),
            },
            _ => Err(Refused),
        }
    }

    /// WRMSR.
    pub fn write_msr(&mut self, index: u32, value: u64, now: Ticks) -> Result<(), Refused> {
        match index {
            IA32_APIC_BASE => self.set_base(value),
            IA32_TSC_DEADLINE => {
                self.set_tsc_deadline(value);
                Ok(())
            }
            FIRST_MSR..=LAST_MSR if self.state.base & X2APIC != 0 => {
                self.store_msr(index - FIRST_MSR, value, now)
            }
            _ => Err(Refused),
        }
    }

    /// Reserved bits are a fault here, where the page of memory ignores them (§11.12.1.3).
    fn store_msr(&mut self, register: u32, value: u64, now: Ticks) -> Result<(), Refused> {
        let allowed = match register {
            0x08 | 0x3F => 0xFF,
            0x0B | 0x28 => 0,
            0x0F => SPURIOUS_BITS.into(),
            0x30 => 0xFFFF_FFFF_000C_CFFF,
            // Bit 12, delivery status, is read-only and may be written back.
            0x32..=0x37 => u64::from(LVT_BITS[register as usize - 0x32]) | 1 << 12,
            0x38 => u32::MAX.into(),
            0x3E => 0xB,
            _ => return Err(Refused),
        };
        if value & !allowed != 0 {
            return Err(Refused);
        }
        match register {
            0x30 => self.send(value),
            0x3F => self.send(1 << 18 | value),
            _ => self.store(register, value as u32, now),
        }
        Ok(())
    }

    /// Which modes follow which (§11.12.5): off, xAPIC, x2APIC, off; no other way.
    fn set_base(&mut self, value: u64) -> Result<(), Refused> {
        const MODES: u64 = ENABLE | X2APIC;
        let (before, after) = (self.state.base & MODES, value & MODES);
        let legal = matches!((before, after), (0, 0 | ENABLE) | (ENABLE, _) | (MODES, 0 | MODES))
            && after != X2APIC;
        if !legal || (value ^ self.state.base) & !(MODES | BSP) != 0 {
            return Err(Refused);
        }
        if after == 0 {
            *self = Lapic::default();
        }
        self.state.base = self.state.base & !MODES | after;
        Ok(())
    }

    pub(super) fn load_memory(&self, offset: u64, now: Ticks) -> u32 {
        if self.state.base & (ENABLE | X2APIC) != ENABLE {
            return u32::MAX;
        }
        match (offset >> 4) as u32 {
            0x0D => self.state.ldr,
            0x0E => self.state.dfr,
            0x30 => self.state.icr as u32,
            0x31 => (self.state.icr >> 32) as u32,
            register => self.load(register, now).unwrap_or(0),
        }
    }

    pub(super) fn store_memory(&mut self, offset: u64, value: u32, now: Ticks) {
        if self.state.base & (ENABLE | X2APIC) != ENABLE {
            return;
        }
        match (offset >> 4) as u32 {
            0x0D => self.state.ldr = value & 0xFF00_0000,
            0x0E => self.state.dfr = value | 0x0FFF_FFFF,
            0x30 => {
                let high = self.state.icr & !0xFFFF_FFFF;
                self.send(high | u64::from(value & 0x000C_CFFF));
            }
            0x31 => {
                let low = self.state.icr & 0xFFFF_FFFF;
                self.state.icr = u64::from(value & 0xFF00_0000) << 32 | low;
            }
            register => self.store(register, value, now),
        }
    }

    /// The registers that both faces share.
    fn load(&self, register: u32, now: Ticks) -> Option<u32> {
        let word = (register & 7) as usize;
        Some(match register {
            0x02 => 0,
            0x03 => VERSION,
            0x08 => self.state.tpr.into(),
            0x0A => self.priority().into(),
            0x0F => self.state.svr,
            0x10..=0x17 => self.state.isr[word],
            0x18..=0x1F => self.state.tmr[word],
            0x20..=0x27 => self.state.irr[word],
            0x28 => self.state.esr,
            0x32..=0x37 => self.state.lvt[register as usize - 0x32],
            0x38 => self.state.initial,
            0x39 => self.count(now),
            0x3E => self.state.divide,
            _ => return None,
        })
    }

    fn store(&mut self, register: u32, value: u32, now: Ticks) {
        match register {
            0x08 => {
                self.state.tpr = value as u8;
                self.judge();
            }
            0x0B => self.end_of_interrupt(),
            0x0F => self.set_spurious(value & SPURIOUS_BITS),
            0x28 => self.state.esr = std::mem::take(&mut self.state.errors),
            0x32..=0x37 => self.set_entry(register as usize - 0x32, value),
            0x38 => self.start(value, now),
            0x3E => self.divide(value, now),
            _ => {}
        }
    }

    /// Software-disabled, all entries are masked (§11.4.7.2).
    fn set_spurious(&mut self, value: u32) {
        self.state.svr = value;
        if value & SOFTWARE_ENABLE == 0 {
            self.state.lvt.iter_mut().for_each(|entry| *entry |= MASKED);
        }
    }

    fn set_entry(&mut self, entry: usize, value: u32) {
        let disabled = self.state.svr & SOFTWARE_ENABLE == 0;
        let value = value & LVT_BITS[entry] | if disabled { MASKED } else { 0 };
        if entry == LVT_TIMER {
            self.set_timer_entry(value);
        } else {
            self.state.lvt[entry] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use emulator_bus::{Cycle, Device, Memory, Width};

    use super::super::{BASE, State};
    use super::*;
    use crate::testing::{Random, damaged};

    #[test]
    fn modes_follow_each_other_as_in_the_manual() {
        let mut lapic = Lapic::default();
        let own = BASE | BSP;
        assert_eq!(lapic.read_msr(0x803, 0), Err(Refused));
        assert_eq!(lapic.write_msr(0x1B, own | X2APIC, 0), Err(Refused));
        assert_eq!(lapic.write_msr(0x1B, (own | ENABLE) + 0x1000, 0), Err(Refused));
        assert_eq!(lapic.load_memory(0x30, 0), VERSION);
        assert_eq!(lapic.write_msr(0x1B, own | ENABLE | X2APIC, 0), Ok(()));
        assert_eq!(lapic.load_memory(0x30, 0), u32::MAX);
        assert_eq!(lapic.read_msr(0x803, 0), Ok(VERSION.into()));
        assert_eq!(lapic.read_msr(0x80D, 0), Ok(1));
        assert_eq!(lapic.write_msr(0x1B, own | ENABLE, 0), Err(Refused));
        assert_eq!(lapic.write_msr(0x1B, own, 0), Ok(()));
        assert_eq!(lapic.write_msr(0x1B, own | ENABLE | X2APIC, 0), Err(Refused));
        assert_eq!(lapic.write_msr(0x1B, own | ENABLE, 0), Ok(()));
    }

    #[test]
    fn reserved_bits_are_refused() {
        let mut lapic = Lapic::default();
        lapic.write_msr(0x1B, BASE | BSP | ENABLE | X2APIC, 0).unwrap();
        for (index, value) in [
            (0x808, 0x100),
            (0x80B, 1),
            (0x80F, 0x400),
            (0x80D, 0),
            (0x802, 0),
            (0x810, 0),
            (0x828, 1),
            (0x82F, 0),
            (0x832, 1 << 20),
            (0x83F, 0x100),
            (0x840, 0),
        ] {
            assert_eq!(lapic.write_msr(index, value, 0), Err(Refused), "{index:#x}");
        }
        assert_eq!(lapic.read_msr(0x80B, 0), Err(Refused));
        assert_eq!(lapic.read_msr(0x83F, 0), Err(Refused));
    }

    #[test]
    fn disabled_by_software_all_is_masked() {
        let mut lapic = Lapic::default();
        lapic.store_memory(0x320, 0x30, 0);
        assert_eq!(lapic.load_memory(0x320, 0), 0x1_0030);
        lapic.store_memory(0xF0, 0x1FF, 0);
        lapic.store_memory(0x320, 0x30, 0);
        assert_eq!(lapic.load_memory(0x320, 0), 0x30);
        lapic.store_memory(0xF0, 0xFF, 0);
        assert_eq!(lapic.load_memory(0x320, 0), 0x1_0030);
        lapic.accept(0x30, false);
        assert!(!lapic.pending());
    }

    #[test]
    fn a_command_by_halves() {
        let mut lapic = Lapic::default();
        lapic.store_memory(0xF0, 0x1FF, 0);
        lapic.store_memory(0x310, 3 << 24, 0);
        lapic.store_memory(0x300, 0x44, 0);
        assert!(!lapic.pending());
        lapic.store_memory(0x310, 0, 0);
        lapic.store_memory(0x300, 0x44, 0);
        assert_eq!((lapic.acknowledge(), lapic.load_memory(0x300, 0)), (Some(0x44), 0x44));
    }

    #[test]
    fn any_access_is_survived_and_any_state_comes_back() {
        let mut random = Random::new(2);
        let mut memory = Memory::new(4096);
        let mut lapic = Lapic::default();
        let mut now = 0u64;
        for _ in 0..50_000 {
            now = now.saturating_add(random.nasty() >> 20);
            let value = random.nasty();
            match random.below(8) {
                0 => drop(lapic.write_msr(0x1B, BASE | BSP | value & 0xC00, now)),
                1 => drop(lapic.write_msr(0x800 + random.below(0x48) as u32, value, now)),
                2 => drop(lapic.read_msr(0x800 + random.below(0x48) as u32, now)),
                3 => drop(lapic.write_msr(0x6E0, value, now)),
                4 => lapic.accept(value as u8, value & 256 != 0),
                5 => drop(lapic.acknowledge()),
                6 => {
                    let cycle = Cycle { memory: &mut memory, now };
                    lapic.write(random.below(0x1000), Width::Double, value, cycle);
                }
                _ => lapic.advance(now),
            }
            lapic.take_ended();
            if lapic.state().due.is_some_and(|due| due <= now) {
                lapic.advance(now);
            }
        }
        let state = State::from_bytes(&lapic.state().to_bytes()).unwrap();
        assert_eq!(Lapic::from_state(state).unwrap().state(), lapic.state());
        for bytes in damaged(&lapic.state().to_bytes(), 2) {
            let Ok(state) = State::from_bytes(&bytes) else { continue };
            let Ok(mut lapic) = Lapic::from_state(state) else { continue };
            lapic.advance(now);
            while lapic.acknowledge().is_some() {}
            for index in 0x800..0x840 {
                let _ = lapic.read_msr(index, now);
                let _ = lapic.write_msr(index, 0, now);
            }
        }
    }
}
