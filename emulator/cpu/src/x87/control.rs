//! Control instructions: they neither wait for exceptions nor raise them.

use super::{Extended, Fop, X87};
use crate::core::{Core, Fault};
use crate::state::reg;
use crate::uop::{MEM_DST, Uop};

impl Core<'_> {
    pub(crate) fn fpu_control(&mut self, fop: Fop, uop: &Uop) -> Result<(), Fault> {
        // Loads of a control word or an environment do wait.
        if matches!(fop, Fop::Fldcw | Fop::Fldenv | Fop::Frstor) {
            self.check_pending()?;
        }
        let address = if uop.flags & MEM_DST != 0 { self.address(uop) } else { 0 };
        match fop {
            Fop::Fninit => {
                let registers = self.state.x87.registers;
                self.state.x87 = X87 { registers, ..X87::default() };
            }
            Fop::Fnclex => self.state.x87.status &= 0x7F00,
            Fop::Fldcw => {
                let word = self.load::<u16>(address)? as u16;
                self.state.x87.set_control(word);
            }
            Fop::Fnstcw => self.store::<u16>(address, self.state.x87.control.into())?,
            Fop::Fnstsw if uop.flags & MEM_DST != 0 => {
                self.store::<u16>(address, self.state.x87.status.into())?;
            }
            Fop::Fnstsw => {
                let status = self.state.x87.status;
                self.set_reg(reg::RAX as u8, 1, status.into());
            }
            Fop::Fldenv => self.load_environment(address, uop.size)?,
            Fop::Fnstenv => {
                self.store_environment(address, uop.size)?;
                self.state.x87.control |= 0x3F;
                self.state.x87.summarize();
            }
            Fop::Frstor => self.restore(address, uop.size)?,
            _ => self.save(address, uop.size)?,
        }
        Ok(())
    }

    /// FNSTENV: 14 bytes with a 16-bit operand size, else 28.
    fn store_environment(&mut self, address: u64, size: u8) -> Result<(), Fault> {
        let bytes = self.state.x87.environment(size);
        let length = environment_length(size);
        self.store_bytes(address, &bytes[..length])
    }

    fn load_environment(&mut self, address: u64, size: u8) -> Result<(), Fault> {
        let mut bytes = [0; 28];
        self.load_bytes(address, &mut bytes[..environment_length(size)])?;
        self.state.x87.set_environment(&bytes, size);
        Ok(())
    }

    fn save(&mut self, address: u64, size: u8) -> Result<(), Fault> {
        let length = environment_length(size);
        let mut image = [0; 108];
        image[..28].copy_from_slice(&self.state.x87.environment(size));
        for place in 0..8 {
            let at = length + 10 * place as usize;
            let register = self.state.x87.get(place);
            image[at..at + 8].copy_from_slice(&register.significand.to_le_bytes());
            image[at + 8..at + 10].copy_from_slice(&register.exponent.to_le_bytes());
        }
        self.store_bytes(address, &image[..length + 80])?;
        let registers = self.state.x87.registers;
        self.state.x87 = X87 { registers, ..X87::default() };
        Ok(())
    }

    fn restore(&mut self, address: u64, size: u8) -> Result<(), Fault> {
        let length = environment_length(size);
        let mut image = [0; 108];
        self.load_bytes(address, &mut image[..length + 80])?;
        let mut environment = [0; 28];
        environment[..length].copy_from_slice(&image[..length]);
        let x87 = &mut self.state.x87;
        x87.set_environment(&environment, size);
        let tags = x87.tags;
        for place in 0..8 {
            let at = length + 10 * place as usize;
            let significand = u64::from_le_bytes(image[at..at + 8].try_into().unwrap_or_default());
            let exponent = u16::from_le_bytes([image[at + 8], image[at + 9]]);
            x87.set(place, Extended { significand, exponent });
        }
        x87.tags = tags;
        Ok(())
    }
}

fn environment_length(size: u8) -> usize {
    if size == 1 { 14 } else { 28 }
}

impl X87 {
    pub(crate) fn set_control(&mut self, word: u16) {
        self.control = word & 0x1F7F | 0x40;
        self.summarize();
    }

    /// The tag word of old: two bits for each physical register.
    fn full_tags(&self) -> u16 {
        (0..8).fold(0, |tags, register| {
            let value = self.registers[register];
            let exponent = value.exponent & 0x7FFF;
            let tag = if self.tags >> register & 1 == 0 {
                3
            } else if exponent == 0 && value.significand == 0 {
                1
            } else if exponent == 0 || exponent == 0x7FFF || value.significand >> 63 == 0 {
                2
            } else {
                0
            };
            tags | tag << (2 * register)
        })
    }

    fn environment(&self, size: u8) -> [u8; 28] {
        let mut bytes = [0; 28];
        let words = [(self.control, 0xFFFF), (self.status, 0xFFFF), (self.full_tags(), 0xFFFF)];
        if size == 1 {
            for ((word, _), chunk) in words.iter().zip(bytes.chunks_exact_mut(2)) {
                chunk.copy_from_slice(&word.to_le_bytes());
            }
            bytes[6..8].copy_from_slice(&(self.instruction as u16).to_le_bytes());
            bytes[10..12].copy_from_slice(&(self.data as u16).to_le_bytes());
            return bytes;
        }
        for ((word, high), chunk) in words.iter().zip(bytes.chunks_exact_mut(4)) {
            chunk[..2].copy_from_slice(&word.to_le_bytes());
            chunk[2..].copy_from_slice(&u16::to_le_bytes(*high));
        }
        bytes[12..16].copy_from_slice(&(self.instruction as u32).to_le_bytes());
        bytes[18..20].copy_from_slice(&self.opcode.to_le_bytes());
        bytes[20..24].copy_from_slice(&(self.data as u32).to_le_bytes());
        bytes[26..28].copy_from_slice(&0xFFFFu16.to_le_bytes());
        bytes
    }

    fn set_environment(&mut self, bytes: &[u8; 28], size: u8) {
        let step = if size == 1 { 2 } else { 4 };
        let word = |n: usize| u16::from_le_bytes([bytes[n * step], bytes[n * step + 1]]);
        self.status = word(1);
        self.set_control(word(0));
        let tags = word(2);
        self.tags = (0..8)
            .fold(0, |all, register| all | u8::from(tags >> (2 * register) & 3 != 3) << register);
        if size != 1 {
            let pointer = |at: usize| {
                u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default()))
            };
            self.instruction = pointer(12);
            self.data = pointer(20);
        }
    }
}
