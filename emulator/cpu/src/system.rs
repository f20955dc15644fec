//! Instructions of operating systems: control registers, tables, model-specific registers,
//! waiting, and the few that anybody may use.

use emulator_bus::Cycle;

use crate::core::{Core, Fault};
use crate::exception::Exception;
use crate::flags::{CF, IF, IOPL, STATUS};
use crate::paging::{CR0_PG, CR4_PGE};
use crate::state::{Activity, LONG, PRESENT, Table, reg, segment};
use crate::uop::{MEM_DST, Op, Uop};

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
/// Bits of CR0 that can be set; the others stay zero.
const CR0_KNOWN: u64 = 0xE005_003F;
const CR4_DE: u64 = 1 << 3;
const CR4_PAE: u64 = 1 << 5;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_FSGSBASE: u64 = 1 << 16;
const CR4_PCIDE: u64 = 1 << 17;
pub(crate) const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_TSD: u64 = 1 << 2;
const CR4_UMIP: u64 = 1 << 11;
/// TSD, DE, PSE, PAE, PGE, PCE, OSFXSR, OSXMMEXCPT, FSGSBASE, PCIDE, OSXSAVE, SMEP: what CPUID
/// promises.
const CR4_KNOWN: u64 = 0x0017_07BC;
const EFER_LMA: u64 = 0x400;
const EFER_LME: u64 = 0x100;

impl Core<'_> {
    fn supervisor_only(&mut self) -> Result<(), Fault> {
        if self.state.cpl == 0 { Ok(()) } else { Err(self.protect()) }
    }

    /// Everything of this file and of its neighbours.
    pub(crate) fn system(&mut self, uop: &Uop) -> Result<(), Fault> {
        match uop.op {
            Op::Cli | Op::Sti => self.interrupt_flag(uop),
            Op::Hlt => {
                self.supervisor_only()?;
                self.state.activity = Activity::Halted;
                self.stop();
                Ok(())
            }
            Op::Pause => Ok(()),
            Op::Clflush => {
                let address = self.address(uop);
                self.load::<u8>(address).map(|_| ())
            }
            Op::Cpuid => {
                self.cpuid();
                Ok(())
            }
            Op::Rdtsc | Op::Rdtscp => self.time_stamp(uop),
            Op::Rdmsr | Op::Wrmsr => {
                self.supervisor_only()?;
                if uop.op == Op::Rdmsr { self.rdmsr() } else { self.wrmsr() }
            }
            Op::Rdrand | Op::Rdseed => {
                let value = self.bus.entropy();
                self.set_reg(uop.dst, uop.size, value);
                self.state.flags.merge(CF, STATUS);
                Ok(())
            }
            Op::MovFromCr | Op::MovToCr | Op::Clts | Op::Lmsw | Op::Smsw => self.control(uop),
            Op::MovFromDr | Op::MovToDr => self.debug(uop),
            Op::Invlpg => {
                self.supervisor_only()?;
                let address = self.address(uop);
                self.tlb.flush_page(address);
                self.stop();
                Ok(())
            }
            Op::Invpcid => {
                self.supervisor_only()?;
                let kind = self.reg(uop.dst, if self.long() { 3 } else { 2 });
                let address = self.address(uop);
                let what = self.load_wide(address)?;
                let (context, linear) = (what as u64, (what >> 64) as u64);
                let off = kind < 2 && context != 0 && self.state.cr4 & CR4_PCIDE == 0;
                let nowhere = kind == 0 && !crate::access::canonical(linear);
                if kind > 3 || context >> 12 != 0 || off || nowhere {
                    return Err(self.protect());
                }
                // Whatever was asked for, more is allowed.
                self.tlb.flush();
                self.stop();
                Ok(())
            }
            // There are no counters that could be read.
            Op::Rdpmc => Err(self.protect()),
            Op::Wbinvd => self.supervisor_only(),
            Op::Lgdt | Op::Lidt | Op::Sgdt | Op::Sidt => self.table(uop),
            Op::Lldt | Op::Ltr | Op::Sldt | Op::Str => self.system_segment(uop),
            Op::Swapgs => {
                if !self.long() {
                    return Err(self.undefined());
                }
                self.supervisor_only()?;
                let base = &mut self.state.segments[segment::GS].base;
                std::mem::swap(base, &mut self.state.msrs.kernel_gs_base);
                Ok(())
            }
            Op::Rdfsbase | Op::Rdgsbase | Op::Wrfsbase | Op::Wrgsbase => self.base(uop),
            Op::Xgetbv | Op::Xsetbv => self.extended_control(uop),
            Op::Fxsave | Op::Fxrstor | Op::Xsave | Op::Xrstor | Op::Ldmxcsr | Op::Stmxcsr => {
                self.save_area(uop)
            }
            Op::Emms => {
                self.enter_mmx()?;
                self.state.x87.enter_mmx();
                self.state.x87.tags = 0;
                Ok(())
            }
            _ => Err(self.undefined()),
        }
    }

    fn interrupt_flag(&mut self, uop: &Uop) -> Result<(), Fault> {
        let flags = self.state.flags.eager;
        if u64::from(self.state.cpl) > (flags & IOPL) >> 12 {
            return Err(self.protect());
        }
        if uop.op == Op::Cli {
            self.state.flags.eager &= !IF;
        } else if flags & IF == 0 {
            self.state.flags.eager |= IF;
            self.state.shadow = true;
            self.stop();
        }
        Ok(())
    }

    fn time_stamp(&mut self, uop: &Uop) -> Result<(), Fault> {
        if self.state.cr4 & CR4_TSD != 0 {
            self.supervisor_only()?;
        }
        let now = self.now();
        self.state.gpr[reg::RAX] = now & 0xFFFF_FFFF;
        self.state.gpr[reg::RDX] = now >> 32;
        if uop.op == Op::Rdtscp {
            self.state.gpr[reg::RCX] = self.state.msrs.tsc_aux & 0xFFFF_FFFF;
        }
        Ok(())
    }

    fn control(&mut self, uop: &Uop) -> Result<(), Fault> {
        if uop.op == Op::Smsw {
            if self.state.cr4 & CR4_UMIP != 0 {
                self.supervisor_only()?;
            }
            let size = if uop.has(MEM_DST) { 1 } else { uop.size };
            return self.set_destination(&Uop { size, ..*uop }, self.state.cr0);
        }
        self.supervisor_only()?;
        match uop.op {
            Op::Clts => self.state.cr0 &= !8,
            Op::Lmsw => {
                let value = self.destination(&Uop { size: 1, ..*uop })?;
                let keep = self.state.cr0 & !0xE;
                // PE can be set but not cleared.
                return self.set_cr0(keep | value & 0xF);
            }
            Op::MovFromCr => {
                let value = match uop.src {
                    0 => self.state.cr0,
                    2 => self.state.cr2,
                    3 => self.state.cr3,
                    4 => self.state.cr4,
                    8 => self.bus.task_priority().into(),
                    _ => return Err(self.undefined()),
                };
                let size = if self.long() { 3 } else { 2 };
                self.set_reg(uop.dst, size, value);
            }
            _ => {
                let size = if self.long() { 3 } else { 2 };
                let value = self.reg(uop.src, size);
                return self.set_control(uop.dst, value);
            }
        }
        Ok(())
    }

    fn set_control(&mut self, number: u8, value: u64) -> Result<(), Fault> {
        match number {
            0 => self.set_cr0(value),
            2 => {
                self.state.cr2 = value;
                Ok(())
            }
            3 => {
                let hint = if self.state.cr4 & CR4_PCIDE != 0 { 1 << 63 } else { 0 };
                if (value & !hint) >> crate::paging::PHYSICAL_BITS != 0 {
                    return Err(self.protect());
                }
                self.state.cr3 = value & !(1 << 63);
                // That an address space may keep its entries is a hint that is not taken.
                self.tlb.flush_local();
                self.stop();
                Ok(())
            }
            4 => self.set_cr4(value),
            8 if value > 15 => Err(self.protect()),
            8 => {
                self.bus.set_task_priority(value as u8);
                self.stop();
                Ok(())
            }
            _ => Err(self.undefined()),
        }
    }

    fn set_cr0(&mut self, value: u64) -> Result<(), Fault> {
        let reserved = value >> 32 != 0;
        let value = value & CR0_KNOWN | CR0_ET;
        // Paging is left from compatibility mode only, and not with PCIDs.
        let stays = self.long() || self.state.cr4 & CR4_PCIDE != 0;
        let bad = reserved
            || (value & CR0_PG != 0 && value & CR0_PE == 0)
            || (value & CR0_NW != 0 && value & CR0_CD == 0)
            || (value & CR0_PG == 0 && self.state.cr0 & CR0_PG != 0 && stays);
        if bad {
            return Err(self.protect());
        }
        let changed = value ^ self.state.cr0;
        if changed & CR0_PG != 0 {
            let efer = &mut self.state.msrs.efer;
            if value & CR0_PG == 0 {
                *efer &= !EFER_LMA;
            } else if *efer & EFER_LME != 0 {
                let code = self.state.segments[segment::CS].attributes;
                if self.state.cr4 & CR4_PAE == 0 || code & LONG != 0 {
                    return Err(self.protect());
                }
                *efer |= EFER_LMA;
            } else {
                // Paging of 32-bit operating systems is absent.
                return Err(self.protect());
            }
        }
        self.state.cr0 = value;
        self.tlb.flush();
        self.settle();
        Ok(())
    }

    fn set_cr4(&mut self, value: u64) -> Result<(), Fault> {
        let long = self.state.msrs.efer & EFER_LMA != 0;
        let pcid = value & CR4_PCIDE != 0;
        let bad = value & !CR4_KNOWN != 0
            || (long && value & CR4_PAE == 0)
            || (pcid && !long)
            || (pcid && self.state.cr4 & CR4_PCIDE == 0 && self.state.cr3 & 0xFFF != 0);
        if bad {
            return Err(self.protect());
        }
        let matters = CR4_PGE | CR4_PAE | CR4_PCIDE | crate::paging::CR4_SMEP;
        if (value ^ self.state.cr4) & matters != 0 {
            self.tlb.flush();
        }
        self.state.cr4 = value;
        self.stop();
        Ok(())
    }

    fn debug(&mut self, uop: &Uop) -> Result<(), Fault> {
        let named = if uop.op == Op::MovFromDr { uop.src } else { uop.dst } & 7;
        if self.state.cr4 & CR4_DE != 0 && matches!(named, 4 | 5) {
            return Err(self.undefined());
        }
        self.supervisor_only()?;
        let size = if self.long() { 3 } else { 2 };
        let number = |number: u8| match number & 7 {
            4 => 6,
            5 => 7,
            other => usize::from(other),
        };
        if uop.op == Op::MovFromDr {
            let value = self.state.dr[number(uop.src)];
            self.set_reg(uop.dst, size, value);
            return Ok(());
        }
        let value = self.reg(uop.src, size);
        let at = number(uop.dst);
        if at >= 6 && value >> 32 != 0 {
            return Err(self.protect());
        }
        // Hardware breakpoints are kept but never hit.
        self.state.dr[at] = match at {
            6 => value & 0xE00F | 0xFFFF_0FF0,
            7 => value & 0xFFFF_2BFF | 0x400,
            _ => value,
        };
        Ok(())
    }

    /// LGDT, LIDT, SGDT, SIDT.
    fn table(&mut self, uop: &Uop) -> Result<(), Fault> {
        let address = self.address(uop);
        let width = if self.long() { 8 } else { 4 };
        if matches!(uop.op, Op::Sgdt | Op::Sidt) {
            let table = if uop.op == Op::Sgdt { self.state.gdtr } else { self.state.idtr };
            let mut bytes = [0; 10];
            bytes[..2].copy_from_slice(&table.limit.to_le_bytes());
            bytes[2..].copy_from_slice(&table.base.to_le_bytes());
            return self.store_bytes(address, &bytes[..2 + width]);
        }
        self.supervisor_only()?;
        let mut bytes = [0; 10];
        self.load_bytes(address, &mut bytes[..2 + width])?;
        let limit = u16::from_le_bytes([bytes[0], bytes[1]]);
        let mut base = [0; 8];
        base.copy_from_slice(&bytes[2..]);
        let table = Table { base: u64::from_le_bytes(base), limit };
        if !crate::access::canonical(table.base) {
            return Err(self.protect());
        }
        if uop.op == Op::Lgdt {
            self.state.gdtr = table;
        } else {
            self.state.idtr = table;
        }
        Ok(())
    }

    /// LLDT, LTR, SLDT, STR.
    fn system_segment(&mut self, uop: &Uop) -> Result<(), Fault> {
        let size = if uop.has(MEM_DST) { 1 } else { uop.size };
        let uop = Uop { size, ..*uop };
        match uop.op {
            Op::Sldt => return self.set_destination(&uop, self.state.ldtr.selector.into()),
            Op::Str => return self.set_destination(&uop, self.state.tr.selector.into()),
            _ => self.supervisor_only()?,
        }
        let selector = self.destination(&Uop { size: 1, ..uop })? as u16;
        let task = uop.op == Op::Ltr;
        if selector & !3 == 0 {
            if task {
                return Err(self.protect());
            }
            self.state.ldtr = crate::state::Segment { selector, ..Default::default() };
            return Ok(());
        }
        let wrong = |vector| crate::segments::selector_code(vector, selector);
        if selector & 4 != 0 {
            return Err(self.raise(wrong(Exception::GP)));
        }
        let wide = self.state.msrs.efer & EFER_LMA != 0;
        if wide && u32::from(selector & !7) + 15 > self.state.gdtr.limit.into() {
            return Err(self.raise(wrong(Exception::GP)));
        }
        let descriptor = self.descriptor(selector)?;
        let kind = if task { 9 } else { 2 };
        if descriptor.ordinary() || descriptor.kind() != kind {
            return Err(self.raise(wrong(Exception::GP)));
        }
        if !descriptor.present() {
            return Err(self.raise(wrong(Exception::NP)));
        }
        let mut loaded = descriptor.segment(selector);
        if wide {
            let upper = self.table_word(descriptor.at.wrapping_add(8))?;
            loaded.base |= upper << 32;
            // The upper half has a type of its own, 0 (SDM vol. 2, LTR).
            if upper >> 40 & 0x1F != 0 || !crate::access::canonical(loaded.base) {
                return Err(self.raise(wrong(Exception::GP)));
            }
        }
        if task {
            let busy = descriptor.low | 2 << 40;
            self.implicitly(|core| core.store_bytes(descriptor.at, &busy.to_le_bytes()))?;
            loaded.attributes |= 2;
            self.state.tr = loaded;
        } else {
            debug_assert!(loaded.attributes & PRESENT != 0);
            self.state.ldtr = loaded;
        }
        Ok(())
    }

    /// RDFSBASE and its family.
    fn base(&mut self, uop: &Uop) -> Result<(), Fault> {
        if !self.long() || self.state.cr4 & CR4_FSGSBASE == 0 {
            return Err(self.undefined());
        }
        let which = match uop.op {
            Op::Rdfsbase | Op::Wrfsbase => segment::FS,
            _ => segment::GS,
        };
        if matches!(uop.op, Op::Rdfsbase | Op::Rdgsbase) {
            let value = self.state.segments[which].base;
            self.set_reg(uop.dst, uop.size, value);
            return Ok(());
        }
        let value = self.reg(uop.dst, uop.size);
        if !crate::access::canonical(value) {
            return Err(self.protect());
        }
        self.state.segments[which].base = value;
        Ok(())
    }

    fn extended_control(&mut self, uop: &Uop) -> Result<(), Fault> {
        if self.state.cr4 & CR4_OSXSAVE == 0 {
            return Err(self.undefined());
        }
        let index = self.state.gpr[reg::RCX] as u32;
        if uop.op == Op::Xgetbv {
            if index != 0 {
                return Err(self.protect());
            }
            self.state.gpr[reg::RAX] = self.state.xcr0;
            self.state.gpr[reg::RDX] = 0;
            return Ok(());
        }
        self.supervisor_only()?;
        let value = self.reg(reg::RAX as u8, 2) | self.reg(reg::RDX as u8, 2) << 32;
        // x87 always, SSE or not, nothing else.
        if index != 0 || value & 1 == 0 || value & !3 != 0 {
            return Err(self.protect());
        }
        self.state.xcr0 = value;
        Ok(())
    }

    /// #UD or #NM if SSE may not be used.
    #[inline(always)]
    pub(crate) fn check_sse(&mut self) -> Result<(), Fault> {
        if self.state.cr4 & CR4_OSFXSR == 0 || self.state.cr0 & 0xC != 0 {
            return Err(self.no_sse());
        }
        Ok(())
    }

    #[cold]
    fn no_sse(&mut self) -> Fault {
        if self.state.cr0 & 4 != 0 || self.state.cr4 & CR4_OSFXSR == 0 {
            return self.undefined();
        }
        self.raise(Exception::plain(Exception::NM))
    }

    /// #NM if the x87 unit may not be used.
    #[inline(always)]
    pub(crate) fn check_fpu(&mut self) -> Result<(), Fault> {
        if self.state.cr0 & 0xC != 0 {
            return Err(self.raise(Exception::plain(Exception::NM)));
        }
        Ok(())
    }

    /// IN and OUT.
    pub(crate) fn port(&mut self, uop: &Uop) -> Result<(), Fault> {
        let port =
            if uop.has(crate::uop::IMM) { uop.imm as u16 } else { self.state.gpr[reg::RDX] as u16 };
        self.check_port(port, uop.size)?;
        if uop.op == Op::In {
            let value = self.port_in(port, uop.size);
            self.set_reg(reg::RAX as u8, uop.size, value);
        } else {
            let value = self.reg(reg::RAX as u8, uop.size);
            self.port_out(port, uop.size, value);
        }
        Ok(())
    }

    /// IOPL, or the bit map in the task-state segment, must allow the port.
    pub(crate) fn check_port(&mut self, port: u16, size: u8) -> Result<(), Fault> {
        let level = (self.state.flags.eager & IOPL) >> 12;
        if u64::from(self.state.cpl) <= level {
            return Ok(());
        }
        let limit = u64::from(self.state.tr.limit);
        if limit < 0x67 {
            return Err(self.protect());
        }
        let map = self.table_half(self.state.tr.base.wrapping_add(0x66))?;
        let at = map + u64::from(port >> 3);
        if at + 1 > limit {
            return Err(self.protect());
        }
        let bits = self.table_half(self.state.tr.base.wrapping_add(at))?;
        let wanted = ((1u64 << (1 << size)) - 1) << (port & 7);
        if bits & wanted != 0 { Err(self.protect()) } else { Ok(()) }
    }

    pub(crate) fn port_in(&mut self, port: u16, size: u8) -> u64 {
        let cycle = Cycle { now: self.now(), memory: self.memory };
        let value = self.bus.port_in(port, port_width(size), cycle);
        self.after_cycle();
        value.into()
    }

    pub(crate) fn port_out(&mut self, port: u16, size: u8, value: u64) {
        let cycle = Cycle { now: self.now(), memory: self.memory };
        self.bus.port_out(port, port_width(size), value as u32, cycle);
        self.after_cycle();
    }
}

fn port_width(size: u8) -> emulator_bus::Width {
    match size {
        0 => emulator_bus::Width::Byte,
        1 => emulator_bus::Width::Word,
        _ => emulator_bus::Width::Double,
    }
}
