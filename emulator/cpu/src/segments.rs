//! Segment registers and descriptor tables (SDM vol. 3, chapters 3 and 5). Call gates and
//! task switches are absent: no operating system of 64 bits uses them.

use crate::core::{Core, Fault};
use crate::exception::Exception;
use crate::flags::ZF;
use crate::state::{LONG, PRESENT, Segment, segment};
use crate::uop::{MEM_DST, Op, Uop};

/// A descriptor as it lies in its table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) low: u64,
    pub(crate) at: u64,
}

impl Descriptor {
    fn access(self) -> u64 {
        self.low >> 40 & 0xFF
    }
    pub(crate) fn present(self) -> bool {
        self.access() & 0x80 != 0
    }
    pub(crate) fn dpl(self) -> u8 {
        (self.access() >> 5 & 3) as u8
    }
    pub(crate) fn kind(self) -> u8 {
        (self.access() & 0xF) as u8
    }
    /// Code or data, not a system descriptor.
    pub(crate) fn ordinary(self) -> bool {
        self.access() & 0x10 != 0
    }
    pub(crate) fn code(self) -> bool {
        self.ordinary() && self.kind() & 8 != 0
    }
    pub(crate) fn conforming(self) -> bool {
        self.code() && self.kind() & 4 != 0
    }
    fn readable(self) -> bool {
        self.ordinary() && (!self.code() || self.kind() & 2 != 0)
    }
    fn writable(self) -> bool {
        self.ordinary() && !self.code() && self.kind() & 2 != 0
    }
    fn limit(self) -> u32 {
        let limit = (self.low & 0xFFFF | self.low >> 32 & 0xF_0000) as u32;
        if self.low >> 55 & 1 != 0 { limit << 12 | 0xFFF } else { limit }
    }
    /// The hidden part of a segment register.
    pub(crate) fn segment(self, selector: u16) -> Segment {
        let base = self.low >> 16 & 0xFF_FFFF | self.low >> 32 & 0xFF00_0000;
        let attributes = (self.low >> 40) as u16 & 0xF0FF;
        Segment { base, limit: self.limit(), selector, attributes }
    }
}

/// A segment that has passed all checks, not yet marked as accessed in its table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    pub(crate) segment: Segment,
    /// `None` is the null selector.
    descriptor: Option<Descriptor>,
}

impl Checked {
    pub(crate) fn null(segment: Segment) -> Self {
        Checked { segment, descriptor: None }
    }

    pub(crate) fn of(descriptor: Descriptor, selector: u16) -> Self {
        Checked { segment: descriptor.segment(selector), descriptor: Some(descriptor) }
    }
}

/// The error code of a fault about a selector.
pub(crate) fn selector_code(vector: u8, selector: u16) -> Exception {
    Exception::with_code(vector, u32::from(selector & !3))
}

impl Core<'_> {
    /// An access of the processor's own, of supervisor privilege.
    pub(crate) fn implicitly<T>(
        &mut self,
        access: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.implicit = true;
        self.tlb.set_user(false);
        let done = access(self);
        self.implicit = false;
        self.tlb.set_user(self.state.cpl == 3);
        done
    }

    /// Reads 8 bytes of a system table.
    pub(crate) fn table_word(&mut self, address: u64) -> Result<u64, Fault> {
        self.table_bytes(address).map(u64::from_le_bytes)
    }

    /// Reads 2 bytes of a system table.
    pub(crate) fn table_half(&mut self, address: u64) -> Result<u64, Fault> {
        self.table_bytes(address).map(|bytes| u16::from_le_bytes(bytes).into())
    }

    fn table_bytes<const N: usize>(&mut self, address: u64) -> Result<[u8; N], Fault> {
        let address =
            if self.state.msrs.efer & 0x400 != 0 { address } else { address & 0xFFFF_FFFF };
        self.implicitly(|core| {
            let mut bytes = [0; N];
            core.load_bytes(address, &mut bytes)?;
            Ok(bytes)
        })
    }

    /// The descriptor that a selector names; #GP(selector) if it is beyond its table.
    pub(crate) fn descriptor(&mut self, selector: u16) -> Result<Descriptor, Fault> {
        let (base, limit) = if selector & 4 == 0 {
            (self.state.gdtr.base, u32::from(self.state.gdtr.limit))
        } else if self.state.ldtr.attributes & PRESENT != 0 {
            (self.state.ldtr.base, self.state.ldtr.limit)
        } else {
            return Err(self.raise(selector_code(Exception::GP, selector)));
        };
        let index = selector & !7;
        if u32::from(index) + 7 > limit {
            return Err(self.raise(selector_code(Exception::GP, selector)));
        }
        let at = base.wrapping_add(index.into());
        Ok(Descriptor { low: self.table_word(at)?, at })
    }

    /// Sets the accessed bit of a descriptor that is loaded: the last thing that may fault.
    pub(crate) fn accessed(&mut self, checked: Checked) -> Result<Segment, Fault> {
        let Some(descriptor) = checked.descriptor.filter(|found| found.kind() & 1 == 0) else {
            return Ok(checked.segment);
        };
        // The byte alone: of a descriptor on two pages, one is left as it is.
        let at = descriptor.at.wrapping_add(5);
        let byte = (descriptor.low >> 40) as u8 | 1;
        self.implicitly(|core| core.store_bytes(at, &[byte]))?;
        let attributes = checked.segment.attributes | 1;
        Ok(Segment { attributes, ..checked.segment })
    }

    /// MOV and POP to DS, ES, FS, GS or SS.
    pub(crate) fn load_segment(&mut self, register: usize, selector: u16) -> Result<(), Fault> {
        let new = self.checked_segment(register, selector, self.state.cpl)?;
        self.state.segments[register] = self.accessed(new)?;
        if register == segment::SS {
            self.state.shadow = true;
            self.untrapped = true;
            self.stop();
        }
        Ok(())
    }

    /// The hidden part for a selector, after all checks at a privilege level.
    pub(crate) fn checked_segment(
        &mut self,
        register: usize,
        selector: u16,
        cpl: u8,
    ) -> Result<Checked, Fault> {
        let rpl = (selector & 3) as u8;
        if selector & !3 == 0 {
            if register == segment::SS && !(self.long() && cpl < 3 && rpl == cpl) {
                return Err(self.protect());
            }
            let dpl = if register == segment::SS { u16::from(cpl) << 5 } else { 0 };
            return Ok(Checked::null(Segment { base: 0, limit: 0, selector, attributes: dpl }));
        }
        let descriptor = self.descriptor(selector)?;
        let fits = if register == segment::SS {
            descriptor.writable() && rpl == cpl && descriptor.dpl() == cpl
        } else {
            let open =
                descriptor.conforming() || (rpl <= descriptor.dpl() && cpl <= descriptor.dpl());
            descriptor.readable() && open
        };
        if !fits {
            return Err(self.raise(selector_code(Exception::GP, selector)));
        }
        if !descriptor.present() {
            let vector = if register == segment::SS { Exception::SS } else { Exception::NP };
            return Err(self.raise(selector_code(vector, selector)));
        }
        Ok(Checked::of(descriptor, selector))
    }

    /// The code segment for a far transfer to privilege level `cpl`; `outward` if that may be
    /// higher than the current one.
    pub(crate) fn checked_code(
        &mut self,
        selector: u16,
        cpl: u8,
        by_return: bool,
    ) -> Result<Checked, Fault> {
        if selector & !3 == 0 {
            return Err(self.protect());
        }
        let descriptor = self.descriptor(selector)?;
        let rpl = (selector & 3) as u8;
        let level = if descriptor.conforming() {
            descriptor.dpl() <= cpl
        } else if by_return {
            descriptor.dpl() == cpl
        } else {
            descriptor.dpl() == cpl && rpl <= cpl
        };
        let both = descriptor.low >> 53 & 3 == 3 && self.state.msrs.efer & 0x400 != 0;
        if !descriptor.code() || !level || both {
            return Err(self.raise(selector_code(Exception::GP, selector)));
        }
        if !descriptor.present() {
            return Err(self.raise(selector_code(Exception::NP, selector)));
        }
        let selector = selector & !3 | u16::from(cpl);
        Ok(Checked::of(descriptor, selector))
    }

    /// JMP far.
    pub(crate) fn jump_far(&mut self, uop: &Uop) -> Result<(), Fault> {
        let (selector, offset) = self.far_pointer(uop)?;
        let code = self.checked_code(selector, self.state.cpl, false)?;
        let offset = self.far_offset(&code.segment, offset)?;
        self.state.segments[segment::CS] = self.accessed(code)?;
        self.state.rip = offset;
        self.settle();
        Ok(())
    }

    /// CALL far.
    pub(crate) fn call_far(&mut self, uop: &Uop) -> Result<(), Fault> {
        let (selector, offset) = self.far_pointer(uop)?;
        let code = self.checked_code(selector, self.state.cpl, false)?;
        let offset = self.far_offset(&code.segment, offset)?;
        let top = self.state.gpr[crate::state::reg::RSP].wrapping_sub(2 << uop.size);
        self.probe_write(self.on_stack(top & self.stack_mask()), 2 << uop.size)?;
        let code = self.accessed(code)?;
        let old = self.state.segments[segment::CS].selector;
        self.push(uop.size, old.into())?;
        self.push(uop.size, self.state.rip)?;
        self.state.segments[segment::CS] = code;
        self.state.rip = offset;
        self.settle();
        Ok(())
    }

    fn far_pointer(&mut self, uop: &Uop) -> Result<(u16, u64), Fault> {
        if !uop.has(MEM_DST) {
            return Ok((uop.disp as u16, u64::from(uop.imm as u32)));
        }
        let address = self.address(uop);
        let offset = self.load_sized(address, uop.size)?;
        let selector = self.load::<u16>(address.wrapping_add(1 << uop.size))? as u16;
        Ok((selector, offset))
    }

    /// Where execution goes on in a new code segment.
    pub(crate) fn far_offset(&mut self, code: &Segment, offset: u64) -> Result<u64, Fault> {
        let long = self.state.msrs.efer & 0x400 != 0 && code.attributes & LONG != 0;
        if long && !crate::access::canonical(offset) {
            return Err(self.protect());
        }
        // How wide it was is the instruction's affair, not that of the segment that it goes to.
        let offset = if long { offset } else { offset & 0xFFFF_FFFF };
        if !long && offset > code.limit.into() {
            return Err(self.protect());
        }
        Ok(offset)
    }

    /// Instructions about segments.
    pub(crate) fn segments(&mut self, uop: &Uop) -> Result<(), Fault> {
        match uop.op {
            Op::MovFromSeg => {
                let selector = self.state.segments[(uop.src & 7) as usize % 6].selector;
                let size = if uop.has(MEM_DST) { 1 } else { uop.size };
                self.set_destination(&Uop { size, ..*uop }, selector.into())
            }
            Op::MovToSeg => {
                if uop.dst as usize == segment::CS {
                    return Err(self.undefined());
                }
                let selector = self.source(uop)? as u16;
                self.load_segment((uop.dst & 7) as usize, selector)
            }
            Op::PushSeg => {
                let selector = self.state.segments[(uop.dst & 7) as usize % 6].selector;
                self.push(uop.size, selector.into())
            }
            Op::PopSeg => {
                let selector = self.peek(uop.size, 0)? as u16;
                self.load_segment((uop.dst & 7) as usize, selector)?;
                self.drop_bytes(1 << uop.size);
                Ok(())
            }
            Op::LoadFar => {
                let address = self.address(uop);
                let offset = self.load_sized(address, uop.size)?;
                let selector = self.load::<u16>(address.wrapping_add(1 << uop.size))? as u16;
                self.load_segment(uop.sub.into(), selector)?;
                self.set_reg(uop.dst, uop.size, offset);
                Ok(())
            }
            Op::Arpl => {
                let a = self.destination(&Uop { size: 1, ..*uop })?;
                let wanted = self.reg(uop.src, 1) & 3;
                let raise = a & 3 < wanted;
                if raise {
                    self.set_destination(&Uop { size: 1, ..*uop }, a & !3 | wanted)?;
                }
                self.state.flags.merge(if raise { ZF } else { 0 }, ZF);
                Ok(())
            }
            _ => self.verify(uop),
        }
    }

    /// LAR, LSL, VERR, VERW: ZF says whether the selector may be used.
    fn verify(&mut self, uop: &Uop) -> Result<(), Fault> {
        let word = Uop { size: 1, ..*uop };
        let selector = match uop.op {
            Op::Verr | Op::Verw => self.destination(&word)?,
            _ => self.source(&word)?,
        } as u16;
        let found = if selector & !3 == 0 {
            None
        } else {
            match self.descriptor(selector) {
                Ok(descriptor) => Some(descriptor),
                // Beyond its table. One that cannot be read is a fault all the same.
                Err(_) if self.exception == selector_code(Exception::GP, selector) => None,
                Err(fault) => return Err(fault),
            }
        };
        let level = self.state.cpl.max((selector & 3) as u8);
        let answer = found.and_then(|descriptor| {
            let open = descriptor.conforming() || level <= descriptor.dpl();
            let system = !descriptor.ordinary();
            match uop.op {
                Op::Verr => (descriptor.readable() && open).then_some(0),
                Op::Verw => (descriptor.writable() && open).then_some(0),
                Op::Lar if system && !matches!(descriptor.kind(), 2 | 9 | 11 | 12) => None,
                Op::Lar => open.then_some(descriptor.low >> 32 & 0x00FF_FF00),
                _ if system && !matches!(descriptor.kind(), 2 | 9 | 11) => None,
                _ => open.then_some(descriptor.limit().into()),
            }
        });
        if let Some(value) = answer
            && matches!(uop.op, Op::Lar | Op::Lsl)
        {
            self.set_reg(uop.dst, uop.size, value);
        }
        self.state.flags.merge(if answer.is_some() { ZF } else { 0 }, ZF);
        Ok(())
    }
}
