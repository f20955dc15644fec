//! Delivery of exceptions and interrupts through the IDT of 64-bit mode, and the way back
//! (SDM vol. 3, 6.14). Without EFER.LMA there is no delivery: a boot protocol enters 64-bit
//! mode before anything can be interrupted, and an exception before that is a shutdown.

use crate::core::{Core, Fault};
use crate::exception::Exception;
use crate::flags::{IF, IOPL, NT, RF, STATUS, TF, VIF, VIP, VM, mask};
use crate::segments::{Checked, selector_code};
use crate::state::{Activity, BIG, LONG, Segment, reg, segment};
use crate::uop::{Op, Uop};

/// Where an event comes from: it decides privilege checks and the EXT bit of error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An instruction that did not complete and will be executed again.
    Fault,
    /// A device, or the processor behind an instruction.
    Event,
    /// INT n, INT3, INTO.
    Software,
}

impl Source {
    /// EXT of an error code: the fault was not asked for by the program.
    fn external(self) -> u32 {
        u32::from(self != Source::Software)
    }
}

/// What a task-state segment holds, by offset (SDM vol. 3, 7.7).
const TSS_RSP0: u64 = 4;
const TSS_IST1: u64 = 0x24;

impl Core<'_> {
    /// Delivers the exception that an instruction has raised, or the double fault that comes
    /// of trying.
    pub(crate) fn deliver_exception(&mut self) {
        // Even an exception without end uses up the budget.
        self.count += 1;
        let mut first = self.exception;
        loop {
            let (rip, rsp) = (self.state.rip, self.state.gpr[reg::RSP]);
            // The only #DB that there is comes behind its instruction.
            let trap = first.vector == Exception::DB;
            let from = if trap { Source::Event } else { Source::Fault };
            if self.deliver(first.vector, first.code, from).is_ok() {
                return;
            }
            self.state.rip = rip;
            self.state.gpr[reg::RSP] = rsp;
            let second = self.exception;
            if first.vector == Exception::DF || self.state.msrs.efer & 0x400 == 0 {
                self.state.activity = Activity::Shutdown;
                return;
            }
            let page = first.vector == Exception::PF;
            let double = (first.contributory() && second.contributory())
                || (page && (second.contributory() || second.vector == Exception::PF));
            first = if double { Exception::with_code(Exception::DF, 0) } else { second };
        }
    }

    /// #DB after an instruction that was executed with TF set.
    pub(crate) fn single_step(&mut self) {
        self.state.dr[6] |= 1 << 14;
        self.exception = Exception::plain(Exception::DB);
        self.deliver_exception();
    }

    /// Takes the interrupt that the board has; says its vector.
    pub(crate) fn take_interrupt(&mut self) -> Option<u8> {
        let vector = self.bus.acknowledge()?;
        if self.deliver(vector, None, Source::Event).is_err() {
            self.deliver_exception();
        }
        Some(vector)
    }

    /// Pushes the frame and goes to the handler.
    fn deliver(&mut self, vector: u8, code: Option<u32>, from: Source) -> Result<(), Fault> {
        if self.state.msrs.efer & 0x400 == 0 {
            return Err(Fault);
        }
        let external = from.external();
        let about = u32::from(vector) << 3 | 2 | external;
        let at = u64::from(vector) * 16;
        if at + 15 > self.state.idtr.limit.into() {
            return Err(self.raise(Exception::with_code(Exception::GP, about)));
        }
        let at = self.state.idtr.base.wrapping_add(at);
        let low = self.table_word(at)?;
        let high = self.table_word(at.wrapping_add(8))?;
        let kind = low >> 40 & 0x1F;
        let dpl = (low >> 45 & 3) as u8;
        if !matches!(kind, 0xE | 0xF) || (from == Source::Software && dpl < self.state.cpl) {
            return Err(self.raise(Exception::with_code(Exception::GP, about)));
        }
        if low >> 47 & 1 == 0 {
            return Err(self.raise(Exception::with_code(Exception::NP, about)));
        }
        let rip = low & 0xFFFF | low >> 32 & 0xFFFF_0000 | high << 32;
        let code_segment = self.handler_code((low >> 16) as u16, external)?;
        let stack = (low >> 32 & 7) as u8;
        self.enter_handler(code_segment, rip, stack, code, from)?;
        let mut clear = TF | NT | RF | VM;
        if kind == 0xE {
            clear |= IF;
        }
        let bits = self.state.flags.bits() & !clear;
        self.state.flags.set_bits(bits);
        self.state.activity = Activity::Running;
        self.state.shadow = false;
        self.untrapped = true;
        self.settle();
        Ok(())
    }

    /// The code segment of a gate.
    fn handler_code(&mut self, selector: u16, external: u32) -> Result<Checked, Fault> {
        let wrong = |vector| Exception::with_code(vector, u32::from(selector & !3) | external);
        if selector & !3 == 0 {
            return Err(self.raise(Exception::with_code(Exception::GP, external)));
        }
        let descriptor = self.descriptor(selector).inspect_err(|_| {
            // Beyond its table: the error code says whose event it was, too.
            if self.exception.vector == Exception::GP {
                self.exception = wrong(Exception::GP);
            }
        })?;
        let long = descriptor.low >> 53 & 3 == 1;
        if !descriptor.code() || descriptor.dpl() > self.state.cpl || !long {
            return Err(self.raise(wrong(Exception::GP)));
        }
        if !descriptor.present() {
            return Err(self.raise(wrong(Exception::NP)));
        }
        let level = if descriptor.conforming() { self.state.cpl } else { descriptor.dpl() };
        let selector = selector & !3 | u16::from(level);
        Ok(Checked::of(descriptor, selector))
    }

    /// Switches stacks, pushes, and enters the code segment; on a fault nothing has changed.
    fn enter_handler(
        &mut self,
        checked: Checked,
        rip: u64,
        stack: u8,
        code: Option<u32>,
        from: Source,
    ) -> Result<(), Fault> {
        let level = (checked.segment.selector & 3) as u8;
        let old = self.state.cpl;
        let mut top = self.state.gpr[reg::RSP];
        if stack > 0 {
            top = self.task_word(TSS_IST1 + 8 * u64::from(stack - 1), from)?;
        } else if level < old {
            top = self.task_word(TSS_RSP0 + 8 * u64::from(level), from)?;
        } else if !self.long() {
            top &= self.stack_mask();
        }
        if !crate::access::canonical(rip) {
            return Err(self.raise(Exception::with_code(Exception::GP, from.external())));
        }
        let mut flags = self.state.flags.bits();
        if from == Source::Fault {
            flags |= RF;
        }
        let frame = [
            u64::from(self.state.segments[segment::SS].selector),
            self.state.gpr[reg::RSP],
            flags,
            self.state.segments[segment::CS].selector.into(),
            self.state.rip,
            code.unwrap_or(0).into(),
        ];
        let words = if code.is_some() { 6 } else { 5 };
        let mut bytes = [0; 48];
        for (word, chunk) in frame[..words].iter().rev().zip(bytes.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let top = (top & !15).wrapping_sub(8 * words as u64);
        let push = |core: &mut Self| {
            let mode = std::mem::replace(&mut core.mode, crate::state::Mode::Bits64);
            // Which word cannot be pushed shows in CR2: they go from the top down.
            let room = (0..words as u64)
                .rev()
                .try_for_each(|word| core.probe_write(top.wrapping_add(8 * word), 8));
            let done = room.and_then(|()| core.store_bytes(top, &bytes[..8 * words]));
            core.mode = mode;
            done
        };
        let pushed = if level < 3 { self.implicitly(push) } else { push(self) };
        if pushed.is_err() && self.exception.vector == Exception::GP {
            // At no address: that is the stack's fault.
            self.exception = Exception::with_code(Exception::SS, from.external());
        }
        pushed?;
        let code_segment = self.accessed(checked)?;
        if level < old {
            let attributes = u16::from(level) << 5;
            self.state.segments[segment::SS] =
                Segment { base: 0, limit: 0, selector: level.into(), attributes };
        }
        self.state.cpl = level;
        self.state.segments[segment::CS] = code_segment;
        self.state.gpr[reg::RSP] = top;
        self.state.rip = rip;
        Ok(())
    }

    /// A word of the task-state segment.
    fn task_word(&mut self, offset: u64, from: Source) -> Result<u64, Fault> {
        let external = from.external();
        if offset + 7 > self.state.tr.limit.into() {
            let selector = u32::from(self.state.tr.selector & !3);
            return Err(self.raise(Exception::with_code(Exception::TS, selector | external)));
        }
        let address = self.state.tr.base.wrapping_add(offset);
        let word = self.table_word(address)?;
        if !crate::access::canonical(word) {
            return Err(self.raise(Exception::with_code(Exception::SS, external)));
        }
        Ok(word)
    }

    /// INT n, INT3, INTO, INT1: RIP is already that of the next instruction.
    pub(crate) fn software_interrupt(&mut self, uop: &Uop) -> Result<(), Fault> {
        let vector = match uop.op {
            Op::Int3 => Exception::BP,
            Op::Into if !self.state.flags.overflow() => return Ok(()),
            Op::Into => Exception::OF,
            Op::Int1 => Exception::DB,
            _ => uop.imm as u8,
        };
        let from = if uop.op == Op::Int1 { Source::Event } else { Source::Software };
        self.deliver(vector, None, from)
    }

    /// IRET.
    pub(crate) fn iret(&mut self, uop: &Uop) -> Result<(), Fault> {
        if self.state.flags.eager & NT != 0 {
            return Err(self.protect());
        }
        let size = uop.size;
        let word = 1u64 << size;
        let rip = self.peek(size, 0)?;
        let selector = self.peek(size, word)? as u16;
        let new_flags = self.peek(size, 2 * word)?;
        let level = (selector & 3) as u8;
        let outward = level > self.state.cpl;
        if level < self.state.cpl {
            return Err(self.raise(selector_code(Exception::GP, selector)));
        }
        let code = self.checked_code(selector, level, true)?;
        let rip = if self.long() || outward {
            let rsp = self.peek(size, 3 * word)?;
            let stack = self.peek(size, 4 * word)? as u16;
            let stack = self.return_stack(&code.segment, stack, level);
            if stack.is_err() && self.exception.vector == Exception::SS {
                // It is absent; only here that is #NP (SDM vol. 2, IRET).
                self.exception.vector = Exception::NP;
            }
            let stack = stack?;
            let rip = self.far_offset(&code.segment, rip)?;
            let stack = self.accessed(stack)?;
            self.state.segments[segment::CS] = self.accessed(code)?;
            self.state.segments[segment::SS] = stack;
            self.set_return_stack(&code.segment, rsp);
            rip
        } else {
            let rip = self.far_offset(&code.segment, rip)?;
            self.state.segments[segment::CS] = self.accessed(code)?;
            self.drop_bytes(3 * word);
            rip
        };
        self.restore_flags(new_flags, size);
        self.state.rip = rip;
        if outward {
            self.state.cpl = level;
            self.drop_inner_segments(level);
        }
        self.settle();
        Ok(())
    }

    /// The stack segment of a return: null is good for 64-bit code that is not a user's.
    fn return_stack(&mut self, code: &Segment, selector: u16, level: u8) -> Result<Checked, Fault> {
        let long = code.attributes & LONG != 0;
        if selector & !3 == 0 && long && level < 3 && (selector & 3) as u8 == level {
            let attributes = u16::from(level) << 5;
            return Ok(Checked::null(Segment { base: 0, limit: 0, selector, attributes }));
        }
        if selector & !3 == 0 {
            return Err(self.protect());
        }
        self.checked_segment(segment::SS, selector, level)
    }

    fn set_return_stack(&mut self, code: &Segment, rsp: u64) {
        let long = self.state.msrs.efer & 0x400 != 0 && code.attributes & LONG != 0;
        let big = self.state.segments[segment::SS].attributes & BIG != 0;
        let old = self.state.gpr[reg::RSP];
        self.state.gpr[reg::RSP] = match (long, big) {
            (true, _) => rsp,
            (_, true) => rsp & 0xFFFF_FFFF,
            // Nothing but SP is loaded, as today's processors do.
            _ => old & !0xFFFF | rsp & 0xFFFF,
        };
    }

    /// RFLAGS as IRET of a size restores it.
    fn restore_flags(&mut self, new: u64, size: u8) {
        let old = self.state.flags.bits();
        let mut may = STATUS | TF | crate::flags::DF | NT;
        if size > 1 {
            may |= RF | crate::flags::AC | crate::flags::ID;
        }
        if self.state.cpl == 0 {
            may |= IOPL | VIF | VIP;
        }
        if u64::from(self.state.cpl) <= (old & IOPL) >> 12 {
            may |= IF;
        }
        may &= mask(size);
        self.state.flags.set_bits(old & !may | new & may);
    }

    /// Data segments that the outer level must not have become null.
    pub(crate) fn drop_inner_segments(&mut self, level: u8) {
        for register in [segment::ES, segment::DS, segment::FS, segment::GS] {
            let held = &mut self.state.segments[register];
            let conforming_code = held.attributes & 0x1C == 0x1C;
            if held.attributes & 0x80 != 0 && held.dpl() < level && !conforming_code {
                *held = Segment::default();
            }
        }
    }

    /// RET far.
    pub(crate) fn ret_far(&mut self, uop: &Uop) -> Result<(), Fault> {
        let size = uop.size;
        let word = 1u64 << size;
        let rip = self.peek(size, 0)?;
        let selector = self.peek(size, word)? as u16;
        let release = uop.imm as u64 & 0xFFFF;
        let level = (selector & 3) as u8;
        if level < self.state.cpl {
            return Err(self.raise(selector_code(Exception::GP, selector)));
        }
        let code = self.checked_code(selector, level, true)?;
        let rip = if level > self.state.cpl {
            let rsp = self.peek(size, 2 * word + release)?;
            let stack = self.peek(size, 3 * word + release)? as u16;
            let stack = self.return_stack(&code.segment, stack, level)?;
            let rip = self.far_offset(&code.segment, rip)?;
            let stack = self.accessed(stack)?;
            self.state.segments[segment::CS] = self.accessed(code)?;
            self.state.segments[segment::SS] = stack;
            self.set_return_stack(&code.segment, rsp.wrapping_add(release));
            self.state.cpl = level;
            self.drop_inner_segments(level);
            rip
        } else {
            let rip = self.far_offset(&code.segment, rip)?;
            self.state.segments[segment::CS] = self.accessed(code)?;
            self.drop_bytes(2 * word + release);
            rip
        };
        self.state.rip = rip;
        self.settle();
        Ok(())
    }

    /// Transfers of control that may change mode or privilege.
    pub(crate) fn transfer(&mut self, uop: &Uop) -> Result<(), Fault> {
        match uop.op {
            Op::JmpFar => self.jump_far(uop),
            Op::CallFar => self.call_far(uop),
            Op::RetFar => self.ret_far(uop),
            Op::Iret => self.iret(uop),
            Op::Syscall => self.syscall(),
            Op::Sysret => self.sysret(uop),
            Op::Sysenter => self.sysenter(),
            Op::Sysexit => self.sysexit(uop),
            _ => self.software_interrupt(uop),
        }
    }
}
