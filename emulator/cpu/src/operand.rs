//! Operands of integer instructions: registers of four sizes, effective addresses, the stack.

use crate::core::{Core, Fault};
use crate::flags::mask;
use crate::state::{BIG, reg, segment};
use crate::tlb::Access;
use crate::uop::{ADDR32, HIGH, IMM, MEM_DST, MEM_SRC, Uop};

impl Core<'_> {
    /// The linear address of the memory operand.
    #[inline(always)]
    pub(crate) fn address(&mut self, uop: &Uop) -> u64 {
        let gpr = &self.state.gpr;
        let scaled = gpr[(uop.index & 31) as usize] << (uop.sib & 3);
        let base = gpr[(uop.base & 31) as usize];
        let address = base.wrapping_add(scaled).wrapping_add(uop.disp as i64 as u64);
        if uop.sib & !3 == 0 && !uop.has(ADDR32) {
            return address;
        }
        self.segmented(uop, self.wrap_address(uop, address))
    }

    /// The offset that LEA computes.
    #[inline(always)]
    pub(crate) fn offset(&self, uop: &Uop) -> u64 {
        let gpr = &self.state.gpr;
        let scaled = gpr[(uop.index & 31) as usize] << (uop.sib & 3);
        let base = gpr[(uop.base & 31) as usize];
        self.wrap_address(uop, base.wrapping_add(scaled).wrapping_add(uop.disp as i64 as u64))
    }

    /// An offset cut to the size of addresses.
    pub(crate) fn wrap_address(&self, uop: &Uop, offset: u64) -> u64 {
        if uop.sib & 1 << 5 != 0 {
            offset & 0xFFFF
        } else if uop.has(ADDR32) {
            offset & 0xFFFF_FFFF
        } else {
            offset
        }
    }

    /// An offset in the segment of the memory operand.
    pub(crate) fn segmented(&self, uop: &Uop, offset: u64) -> u64 {
        match uop.segment() {
            0 => offset,
            segment => self.in_segment(segment - 1, offset),
        }
    }

    /// An offset in a segment.
    pub(crate) fn in_segment(&self, segment: usize, offset: u64) -> u64 {
        if self.long() {
            if segment < segment::FS {
                return offset;
            }
            return offset.wrapping_add(self.state.segments[segment].base);
        }
        offset.wrapping_add(self.state.segments[segment].base) & 0xFFFF_FFFF
    }

    /// A general register of a size.
    #[inline(always)]
    pub(crate) fn reg(&self, number: u8, size: u8) -> u64 {
        let value = self.state.gpr[(number & 31) as usize];
        if size == 0 && number & HIGH != 0 {
            return value >> 8 & 0xFF;
        }
        value & mask(size)
    }

    /// Writes a general register: 32 bits clear the upper half, 8 and 16 keep the rest.
    #[inline(always)]
    pub(crate) fn set_reg(&mut self, number: u8, size: u8, value: u64) {
        let register = &mut self.state.gpr[(number & 31) as usize];
        match size {
            0 if number & HIGH != 0 => *register = *register & !0xFF00 | (value & 0xFF) << 8,
            0 => *register = *register & !0xFF | value & 0xFF,
            1 => *register = *register & !0xFFFF | value & 0xFFFF,
            2 => *register = value & 0xFFFF_FFFF,
            _ => *register = value,
        }
    }

    /// The source operand.
    #[inline(always)]
    pub(crate) fn source(&mut self, uop: &Uop) -> Result<u64, Fault> {
        if uop.has(IMM) {
            Ok(uop.imm as u64 & mask(uop.size))
        } else if uop.has(MEM_SRC) {
            let address = self.address(uop);
            self.load_sized(address, uop.size)
        } else {
            Ok(self.reg(uop.src, uop.size))
        }
    }

    /// The register or memory operand that is the destination, to be read only.
    #[inline(always)]
    pub(crate) fn destination(&mut self, uop: &Uop) -> Result<u64, Fault> {
        if uop.has(MEM_DST) {
            let address = self.address(uop);
            self.load_sized(address, uop.size)
        } else {
            Ok(self.reg(uop.dst, uop.size))
        }
    }

    /// The destination, to be written next: raises what the store would raise.
    #[inline(always)]
    pub(crate) fn destination_to_modify(&mut self, uop: &Uop) -> Result<u64, Fault> {
        if uop.has(MEM_DST) {
            let address = self.address(uop);
            self.load_to_modify(address, uop.size)
        } else {
            Ok(self.reg(uop.dst, uop.size))
        }
    }

    /// A load of what will be stored to.
    #[inline(always)]
    pub(crate) fn load_to_modify(&mut self, address: u64, size: u8) -> Result<u64, Fault> {
        if let Some(physical) = self.tlb.find(Access::Write, address, 1 << size) {
            return Ok(match size {
                0 => self.memory.load::<u8>(physical).into(),
                1 => self.memory.load::<u16>(physical).into(),
                2 => self.memory.load::<u32>(physical).into(),
                _ => self.memory.load::<u64>(physical),
            });
        }
        self.probe_write(address, 1 << size)?;
        self.load_sized(address, size)
    }

    /// Writes the destination.
    #[inline(always)]
    pub(crate) fn set_destination(&mut self, uop: &Uop, value: u64) -> Result<(), Fault> {
        if uop.has(MEM_DST) {
            let address = self.address(uop);
            self.store_sized(address, uop.size, value)
        } else {
            self.set_reg(uop.dst, uop.size, value);
            Ok(())
        }
    }

    /// Bits of the stack pointer that count.
    #[inline(always)]
    pub(crate) fn stack_mask(&self) -> u64 {
        if self.long() {
            u64::MAX
        } else if self.state.segments[segment::SS].attributes & BIG != 0 {
            0xFFFF_FFFF
        } else {
            0xFFFF
        }
    }

    /// The linear address of an offset in the stack segment.
    #[inline(always)]
    pub(crate) fn on_stack(&self, offset: u64) -> u64 {
        if self.long() { offset } else { self.in_segment(segment::SS, offset) }
    }

    /// Replaces the bits of RSP that count.
    #[inline(always)]
    pub(crate) fn set_stack(&mut self, offset: u64) {
        let mask = self.stack_mask();
        let rsp = &mut self.state.gpr[reg::RSP];
        // A 32-bit stack pointer is a 32-bit register: the upper half goes away.
        *rsp = if mask == 0xFFFF { *rsp & !mask | offset & mask } else { offset & mask };
    }

    /// Pushes a value.
    #[inline(always)]
    pub(crate) fn push(&mut self, size: u8, value: u64) -> Result<(), Fault> {
        let top = self.state.gpr[reg::RSP].wrapping_sub(1 << size) & self.stack_mask();
        self.store_sized(self.on_stack(top), size, value)?;
        self.set_stack(top);
        Ok(())
    }

    /// The value on the top of the stack, `depth` bytes down.
    #[inline(always)]
    pub(crate) fn peek(&mut self, size: u8, depth: u64) -> Result<u64, Fault> {
        let top = self.state.gpr[reg::RSP].wrapping_add(depth) & self.stack_mask();
        self.load_sized(self.on_stack(top), size)
    }

    /// Moves the stack pointer up.
    #[inline(always)]
    pub(crate) fn drop_bytes(&mut self, bytes: u64) {
        let top = self.state.gpr[reg::RSP].wrapping_add(bytes);
        self.set_stack(top);
    }

    /// Pops a value.
    #[inline(always)]
    pub(crate) fn pop(&mut self, size: u8) -> Result<u64, Fault> {
        let value = self.peek(size, 0)?;
        self.drop_bytes(1 << size);
        Ok(value)
    }
}
