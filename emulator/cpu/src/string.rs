//! String instructions. A repeated one is one instruction that can be interrupted: after each
//! piece the registers say what is left, so that it goes on from there.
//!
//! MOVS and STOS of memory that the TLB knows go by pieces that stay in a page, at the speed
//! of the host's memory; all else goes one element at a time.

use emulator_bus::PAGE_SIZE;

use crate::core::{Core, Fault};
use crate::flags::{DF, IF, mask};
use crate::integer::alu;
use crate::state::{reg, segment};
use crate::tlb::Access;
use crate::uop::{ADDR32, MMX, Op, REP, REPNE, Uop};

/// Elements of a repeated instruction between two looks at interrupts, by pieces or one by
/// one: what is known of pages must not decide when an interrupt comes.
const ELEMENTS: u64 = 1 << 16;

impl Core<'_> {
    /// Bits of RSI, RDI and RCX that count.
    fn string_mask(&self, uop: &Uop) -> u64 {
        if uop.has(MMX) {
            0xFFFF
        } else if uop.has(ADDR32) {
            0xFFFF_FFFF
        } else {
            u64::MAX
        }
    }

    /// Moves an index register on.
    fn advance(&mut self, register: usize, by: u64, mask: u64) {
        let old = self.state.gpr[register];
        let new = old.wrapping_add(by) & mask;
        // 32-bit registers are zero-extended, 16-bit ones keep what is above.
        self.state.gpr[register] = if mask == 0xFFFF { old & !mask | new } else { new };
    }

    fn string_source(&self, uop: &Uop, mask: u64) -> u64 {
        let offset = self.state.gpr[reg::RSI] & mask;
        match uop.segment() {
            0 => offset,
            segment => self.in_segment(segment - 1, offset),
        }
    }

    fn string_target(&self, mask: u64) -> u64 {
        self.in_segment(segment::ES, self.state.gpr[reg::RDI] & mask)
    }

    /// One element: what it says about going on is ZF for CMPS and SCAS.
    fn string_element(&mut self, uop: &Uop, mask: u64) -> Result<(), Fault> {
        let down = self.state.flags.eager & DF != 0;
        let step = if down { (1u64 << uop.size).wrapping_neg() } else { 1 << uop.size };
        let (mut from, mut to) = (false, false);
        match uop.op {
            Op::Movs => {
                let value = self.load_sized(self.string_source(uop, mask), uop.size)?;
                self.store_sized(self.string_target(mask), uop.size, value)?;
                (from, to) = (true, true);
            }
            Op::Stos => {
                let value = self.reg(reg::RAX as u8, uop.size);
                self.store_sized(self.string_target(mask), uop.size, value)?;
                to = true;
            }
            Op::Lods => {
                let value = self.load_sized(self.string_source(uop, mask), uop.size)?;
                self.set_reg(reg::RAX as u8, uop.size, value);
                from = true;
            }
            Op::Scas => {
                let b = self.load_sized(self.string_target(mask), uop.size)?;
                let a = self.reg(reg::RAX as u8, uop.size);
                alu(&mut self.state.flags, Op::Cmp, uop.size, a, b);
                to = true;
            }
            Op::Cmps => {
                let b = self.load_sized(self.string_target(mask), uop.size)?;
                let a = self.load_sized(self.string_source(uop, mask), uop.size)?;
                alu(&mut self.state.flags, Op::Cmp, uop.size, a, b);
                (from, to) = (true, true);
            }
            Op::Ins => {
                self.check_port(self.state.gpr[reg::RDX] as u16, uop.size)?;
                let target = self.string_target(mask);
                self.probe_write(target, 1 << uop.size)?;
                let value = self.port_in(self.state.gpr[reg::RDX] as u16, uop.size);
                self.store_sized(target, uop.size, value)?;
                to = true;
            }
            _ => {
                self.check_port(self.state.gpr[reg::RDX] as u16, uop.size)?;
                let value = self.load_sized(self.string_source(uop, mask), uop.size)?;
                self.port_out(self.state.gpr[reg::RDX] as u16, uop.size, value);
                from = true;
            }
        }
        if from {
            self.advance(reg::RSI, step, mask);
        }
        if to {
            self.advance(reg::RDI, step, mask);
        }
        Ok(())
    }

    /// MOVS, STOS, LODS, SCAS, CMPS, INS, OUTS. `false` means that elements are left: RIP
    /// must stay where it is.
    pub(crate) fn string(&mut self, uop: &Uop) -> Result<bool, Fault> {
        let mask = self.string_mask(uop);
        if uop.flags & (REP | REPNE) == 0 {
            self.string_element(uop, mask)?;
            return Ok(true);
        }
        if mask == 0xFFFF_FFFF {
            // 32-bit registers are cut even if no element is moved.
            self.state.gpr[reg::RCX] &= mask;
            if matches!(uop.op, Op::Movs | Op::Stos) {
                self.state.gpr[reg::RDI] &= mask;
            }
            if uop.op == Op::Movs {
                self.state.gpr[reg::RSI] &= mask;
            }
        }
        // Until the last element, flags are those from before (SDM vol. 2, REP).
        let flags = self.state.flags;
        let done = self.string_pieces(uop, mask);
        if done != Ok(true) {
            self.state.flags = flags;
        }
        done
    }

    /// Goes on with a repeated instruction; `false` if there is more to do.
    fn string_pieces(&mut self, uop: &Uop, mask: u64) -> Result<bool, Fault> {
        let mut most = ELEMENTS;
        while most > 0 {
            let left = self.state.gpr[reg::RCX] & mask;
            if left == 0 {
                return Ok(true);
            }
            let bulk = self.bulk(uop, left.min(most), mask);
            if bulk > 0 {
                self.advance(reg::RCX, bulk.wrapping_neg(), mask);
                most -= bulk;
                continue;
            }
            self.string_element(uop, mask)?;
            self.advance(reg::RCX, u64::MAX, mask);
            most -= 1;
            let compares = matches!(uop.op, Op::Scas | Op::Cmps);
            if compares && self.state.flags.zero() != uop.has(REP) {
                return Ok(true);
            }
            // A device that was asked may have raised its interrupt.
            let open = self.limit == 0 && self.state.flags.eager & IF != 0;
            if self.element || open && self.bus.interrupt() {
                break;
            }
        }
        Ok(self.state.gpr[reg::RCX] & mask == 0)
    }

    /// Moves as many elements as lie in one page on both sides; zero if the long way must be
    /// gone.
    fn bulk(&mut self, uop: &Uop, left: u64, mask: u64) -> u64 {
        let down = self.state.flags.eager & DF != 0;
        if self.element || down || !matches!(uop.op, Op::Movs | Op::Stos) {
            return 0;
        }
        let to = self.string_target(mask);
        let Some(target) = self.tlb.find(Access::Write, to, 1) else { return 0 };
        let mut room = PAGE_SIZE as u64 - (to & 0xFFF);
        let mut source = None;
        if uop.op == Op::Movs {
            let from = self.string_source(uop, mask);
            let Some(found) = self.tlb.find(Access::Read, from, 1) else { return 0 };
            room = room.min(PAGE_SIZE as u64 - (from & 0xFFF));
            source = Some(found);
            // Overlapping upwards, a copy by elements repeats what it has just written.
            if target.wrapping_sub(found) < room.min(left << uop.size) && target != found {
                return 0;
            }
        }
        let elements = (room >> uop.size).min(left);
        let bytes = elements << uop.size;
        if elements == 0 || !self.fits(bytes, mask, source.is_some()) {
            return 0;
        }
        let done = match source {
            Some(from) => self.memory.copy(from, target, bytes as usize),
            None => self.fill(target, bytes as usize, uop.size),
        };
        if done.is_err() {
            return 0;
        }
        self.advance(reg::RDI, bytes, mask);
        if source.is_some() {
            self.advance(reg::RSI, bytes, mask);
        }
        elements
    }

    /// Do the index registers stay below their size?
    fn fits(&self, bytes: u64, mask: u64, source: bool) -> bool {
        let ends = |register: usize| (self.state.gpr[register] & mask).checked_add(bytes);
        let inside = |end: Option<u64>| end.is_some_and(|end| end <= mask);
        inside(ends(reg::RDI)) && (!source || inside(ends(reg::RSI)))
    }

    fn fill(&mut self, at: u64, bytes: usize, size: u8) -> Result<(), emulator_bus::Unmapped> {
        let value = (self.state.gpr[reg::RAX] & mask(size)).to_le_bytes();
        let slice = self.memory.slice_mut(at, bytes)?;
        if size == 0 || value[..1 << size].iter().all(|byte| *byte == value[0]) {
            slice.fill(value[0]);
            return Ok(());
        }
        for chunk in slice.chunks_exact_mut(1 << size) {
            chunk.copy_from_slice(&value[..1 << size]);
        }
        Ok(())
    }
}
