//! Near branches, the stack's own instructions, flags as a register, decimal arithmetic.

use crate::core::{Core, Fault};
use crate::exception::Exception;
use crate::flags::{
    self, AC, AF, CF, DF, ID, IF, IOPL, NT, OF, PF, RF, SF, TF, ZF, mask, of_result,
};
use crate::state::reg;
use crate::uop::{IMM, MEM_DST, Op, Uop};

impl Core<'_> {
    /// Where a relative branch leads.
    #[inline(always)]
    pub(crate) fn target(&self, uop: &Uop) -> u64 {
        self.next_ip(uop).wrapping_add(uop.imm as u64) & mask(uop.size)
    }

    /// #GP(0) if nothing can be executed at this address.
    #[inline(always)]
    pub(crate) fn check_target(&mut self, target: u64) -> Result<u64, Fault> {
        if self.long() && !crate::access::canonical(target) {
            return Err(self.protect());
        }
        Ok(target)
    }

    /// CALL relative: pushes the return address, says where to go.
    pub(crate) fn call(&mut self, uop: &Uop) -> Result<u64, Fault> {
        let target = self.check_target(self.target(uop))?;
        self.push(uop.size, self.next_ip(uop))?;
        Ok(target)
    }

    /// CALL and JMP through a register or memory.
    pub(crate) fn indirect(&mut self, uop: &Uop) -> Result<u64, Fault> {
        let target = self.destination(uop)?;
        if uop.op == Op::JmpIndirect {
            return self.check_target(target);
        }
        // The return address is stored even if the target raises #GP; RSP does not move.
        let top = self.state.gpr[reg::RSP].wrapping_sub(1 << uop.size) & self.stack_mask();
        self.store_sized(self.on_stack(top), uop.size, self.next_ip(uop))?;
        let target = self.check_target(target)?;
        self.set_stack(top);
        Ok(target)
    }

    /// RET.
    pub(crate) fn ret(&mut self, uop: &Uop) -> Result<u64, Fault> {
        let target = self.peek(uop.size, 0)?;
        let target = self.check_target(target)?;
        self.drop_bytes((1 << uop.size) + (uop.imm as u64 & 0xFFFF));
        Ok(target)
    }

    /// LOOP, LOOPE, LOOPNE, JCXZ: is the branch taken?
    pub(crate) fn counts(&mut self, uop: &Uop) -> bool {
        let size = uop.src;
        if uop.op == Op::Jcxz {
            return self.reg(reg::RCX as u8, size) == 0;
        }
        let left = self.reg(reg::RCX as u8, size).wrapping_sub(1) & mask(size);
        self.set_reg(reg::RCX as u8, size, left);
        left != 0
            && match uop.op {
                Op::Loope => self.state.flags.zero(),
                Op::Loopne => !self.state.flags.zero(),
                _ => true,
            }
    }

    /// PUSH.
    #[inline(always)]
    pub(crate) fn push_operand(&mut self, uop: &Uop) -> Result<(), Fault> {
        let value = self.source(uop)?;
        self.push(uop.size, value)
    }

    /// POP: an address with RSP as its base sees RSP already moved.
    pub(crate) fn pop_operand(&mut self, uop: &Uop) -> Result<(), Fault> {
        let value = self.peek(uop.size, 0)?;
        let before = self.state.gpr[reg::RSP];
        self.drop_bytes(1 << uop.size);
        if uop.has(MEM_DST) {
            let done = self.set_destination(uop, value);
            if done.is_err() {
                self.state.gpr[reg::RSP] = before;
            }
            return done;
        }
        self.set_reg(uop.dst, uop.size, value);
        Ok(())
    }

    /// PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE.
    pub(crate) fn stack(&mut self, uop: &Uop) -> Result<(), Fault> {
        match uop.op {
            Op::Leave => {
                let mask = self.stack_mask();
                let frame = self.state.gpr[reg::RBP] & mask;
                let value = self.load_sized(self.on_stack(frame), uop.size)?;
                self.set_stack(frame.wrapping_add(1 << uop.size));
                self.set_reg(reg::RBP as u8, uop.size, value);
                Ok(())
            }
            Op::Enter => self.enter_frame(uop),
            Op::Pushf => {
                let bits = self.state.flags.bits() & !(RF | flags::VM);
                self.push(uop.size, bits & mask(uop.size))
            }
            Op::Popf => self.popf(uop),
            Op::Pusha => {
                let old = self.state.gpr[reg::RSP];
                for register in 0..8 {
                    let value = if register == 4 { old } else { self.reg(register, uop.size) };
                    if let Err(fault) = self.push(uop.size, value) {
                        self.state.gpr[reg::RSP] = old;
                        return Err(fault);
                    }
                }
                Ok(())
            }
            _ => {
                // Registers that were popped before a fault keep what they got, as on the
                // processors that there are; the stack pointer moves at the end.
                for at in 0..8u8 {
                    let value = self.peek(uop.size, u64::from(at) << uop.size)?;
                    if at != 3 {
                        self.set_reg(7 - at, uop.size, value);
                    }
                }
                self.drop_bytes(8 << uop.size);
                Ok(())
            }
        }
    }

    fn enter_frame(&mut self, uop: &Uop) -> Result<(), Fault> {
        let (bytes, level) = (uop.imm as u64 & 0xFFFF, uop.imm as u64 >> 16 & 31);
        let before = self.state.gpr[reg::RSP];
        let done = self.build_frame(uop, bytes, level);
        if done.is_err() {
            self.state.gpr[reg::RSP] = before;
        }
        done
    }

    fn build_frame(&mut self, uop: &Uop, bytes: u64, level: u64) -> Result<(), Fault> {
        let size = uop.size;
        let mask = self.stack_mask();
        self.push(size, self.reg(reg::RBP as u8, size))?;
        let frame = self.state.gpr[reg::RSP];
        for back in 1..level {
            let from = self.state.gpr[reg::RBP].wrapping_sub(back << size) & mask;
            let value = self.load_sized(self.on_stack(from), size)?;
            self.push(size, value)?;
        }
        if level > 0 {
            self.push(size, frame)?;
        }
        let top = self.state.gpr[reg::RSP].wrapping_sub(bytes) & mask;
        // The new top must be writable (SDM vol. 2, ENTER).
        self.probe_write(self.on_stack(top), 1 << size)?;
        self.set_stack(top);
        self.set_reg(reg::RBP as u8, size, frame);
        Ok(())
    }

    /// POPF: who may change what depends on the privilege level.
    fn popf(&mut self, uop: &Uop) -> Result<(), Fault> {
        let value = self.pop(uop.size)?;
        let mut may = flags::STATUS | TF | DF | NT | AC | ID;
        let old = self.state.flags.bits();
        if self.state.cpl == 0 {
            may |= IOPL;
        }
        if u64::from(self.state.cpl) <= (old & IOPL) >> 12 {
            may |= IF;
        }
        may &= mask(uop.size);
        let mut new = old & !may | value & may;
        if uop.size > 1 {
            new &= !RF;
        }
        self.state.flags.set_bits(new);
        if new & (IF | TF) & !old != 0 || (new ^ old) & AC != 0 {
            self.stop();
        }
        Ok(())
    }

    /// LAHF, SAHF, SALC, CLC, STC, CMC, CLD, STD.
    pub(crate) fn flag(&mut self, uop: &Uop) -> Result<(), Fault> {
        let flags = &mut self.state.flags;
        match uop.op {
            Op::Lahf => {
                let low = flags.status() & 0xFF | 2;
                self.set_reg(crate::uop::HIGH, 0, low);
            }
            Op::Sahf => {
                let value = self.state.gpr[reg::RAX] >> 8;
                flags.merge(value, SF | ZF | AF | PF | CF);
            }
            Op::Salc => {
                let value = if flags.carry() { 0xFF } else { 0 };
                self.set_reg(reg::RAX as u8, 0, value);
            }
            Op::Clc => flags.merge(0, CF),
            Op::Stc => flags.merge(CF, CF),
            Op::Cmc => {
                let carry = if flags.carry() { 0 } else { CF };
                flags.merge(carry, CF);
            }
            Op::Cld => flags.eager &= !DF,
            _ => flags.eager |= DF,
        }
        Ok(())
    }

    /// DAA, DAS, AAA, AAS, AAM, AAD: 32-bit programs only.
    pub(crate) fn decimal(&mut self, uop: &Uop) -> Result<(), Fault> {
        let (al, ah) = (self.reg(0, 0), self.reg(crate::uop::HIGH, 0));
        let old = self.state.flags.status();
        let (mut carry, mut adjust) = (old & CF != 0, old & AF != 0);
        match uop.op {
            Op::Daa | Op::Das => {
                let mut r = al;
                let sign = if uop.op == Op::Daa { 1u64 } else { u64::MAX };
                let high = al > 0x99 || carry;
                let mut borrow = false;
                if al & 15 > 9 || adjust {
                    borrow = uop.op == Op::Das && al < 6;
                    r = r.wrapping_add(sign.wrapping_mul(6));
                    adjust = true;
                }
                if high {
                    r = r.wrapping_add(sign.wrapping_mul(0x60));
                }
                carry = high || borrow;
                self.set_reg(0, 0, r);
                self.set_decimal_flags(r & 0xFF, carry, adjust);
            }
            Op::Aaa | Op::Aas => {
                let fix = al & 15 > 9 || adjust;
                let ax = self.reg(0, 1);
                let ax = match (fix, uop.op) {
                    (false, _) => ax,
                    (true, Op::Aaa) => ax.wrapping_add(0x106),
                    (true, _) => ax.wrapping_sub(6).wrapping_sub(0x100),
                };
                self.set_reg(0, 1, ax & 0xFF0F);
                self.set_decimal_flags(ax & 0x0F, fix, fix);
            }
            Op::Aam => {
                let base = uop.imm as u64 & 0xFF;
                if base == 0 {
                    return Err(self.raise(Exception::plain(Exception::DE)));
                }
                self.set_reg(0, 1, ((al / base) << 8) | (al % base));
                self.set_decimal_flags(al % base, false, false);
            }
            _ => {
                let r = al.wrapping_add(ah.wrapping_mul(uop.imm as u64 & 0xFF)) & 0xFF;
                self.set_reg(0, 1, r);
                self.set_decimal_flags(r, false, false);
            }
        }
        Ok(())
    }

    fn set_decimal_flags(&mut self, r: u64, carry: bool, adjust: bool) {
        let mut status = of_result(0, r);
        if carry {
            status |= CF;
        }
        if adjust {
            status |= AF;
        }
        debug_assert!(status & OF == 0);
        self.state.flags.set_status(status);
    }

    /// BOUND.
    pub(crate) fn bound(&mut self, uop: &Uop) -> Result<(), Fault> {
        let address = self.address(uop);
        let size = uop.size.clamp(1, 2);
        let low = self.load_sized(address, size)?;
        let high = self.load_sized(address.wrapping_add(1 << size), size)?;
        let index = flags::extend(size, self.reg(uop.dst, size));
        if index < flags::extend(size, low) || index > flags::extend(size, high) {
            return Err(self.raise(Exception::plain(Exception::BR)));
        }
        debug_assert!(!uop.has(IMM));
        Ok(())
    }
}
