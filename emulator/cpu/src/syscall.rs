//! SYSCALL, SYSENTER and the ways back.

use crate::core::{Core, Fault};
use crate::flags::{IF, RF, TF, VM};
use crate::state::{Segment, reg, segment};
use crate::uop::Uop;

/// Flat segments as these instructions load them, whatever the descriptors say.
const CODE64: u16 = 0xA09B;
const CODE32: u16 = 0xC09B;
const DATA: u16 = 0xC093;

fn flat(selector: u64, attributes: u16, level: u16) -> Segment {
    Segment::flat(selector as u16 & !3 | level, attributes | level << 5)
}

impl Core<'_> {
    fn enter_level(&mut self, code: Segment, stack: Segment, rip: u64) {
        self.state.cpl = (code.selector & 3) as u8;
        self.state.segments[segment::CS] = code;
        self.state.segments[segment::SS] = stack;
        self.state.rip = rip;
        self.settle();
    }

    /// SYSCALL: in 64-bit mode only, as on Intel's processors.
    pub(crate) fn syscall(&mut self) -> Result<(), Fault> {
        let msrs = self.state.msrs;
        if msrs.efer & 1 == 0 || !self.long() {
            return Err(self.undefined());
        }
        let flags = self.state.flags.bits();
        self.state.gpr[reg::RCX] = self.state.rip;
        self.state.gpr[11] = flags & !RF;
        self.state.flags.set_bits(flags & !msrs.sfmask & !RF);
        self.untrapped = msrs.sfmask & TF != 0;
        let selector = msrs.star >> 32;
        self.enter_level(
            flat(selector, CODE64, 0),
            flat(selector.wrapping_add(8), DATA, 0),
            msrs.lstar,
        );
        Ok(())
    }

    /// SYSRET.
    pub(crate) fn sysret(&mut self, uop: &Uop) -> Result<(), Fault> {
        let msrs = self.state.msrs;
        if msrs.efer & 1 == 0 || !self.long() {
            return Err(self.undefined());
        }
        if self.state.cpl != 0 {
            return Err(self.protect());
        }
        let target = self.state.gpr[reg::RCX];
        let selector = msrs.star >> 48;
        let (code, rip) = if uop.size == 3 {
            self.check_target(target)?;
            (flat(selector.wrapping_add(16), CODE64, 3), target)
        } else {
            (flat(selector, CODE32, 3), target & 0xFFFF_FFFF)
        };
        let flags = self.state.gpr[11] & 0x003C_7FD7;
        self.state.flags.set_bits(flags);
        self.enter_level(code, flat(selector.wrapping_add(8), DATA, 3), rip);
        Ok(())
    }

    /// SYSENTER.
    pub(crate) fn sysenter(&mut self) -> Result<(), Fault> {
        let msrs = self.state.msrs;
        if msrs.sysenter_cs & 0xFFFC == 0 {
            return Err(self.protect());
        }
        let long = msrs.efer & 0x400 != 0;
        let flags = self.state.flags.bits() & !(VM | IF | RF);
        self.state.flags.set_bits(flags);
        let narrow = if long { u64::MAX } else { 0xFFFF_FFFF };
        self.state.gpr[reg::RSP] = msrs.sysenter_esp & narrow;
        let code = if long { CODE64 } else { CODE32 };
        self.enter_level(
            flat(msrs.sysenter_cs, code, 0),
            flat(msrs.sysenter_cs.wrapping_add(8), DATA, 0),
            msrs.sysenter_eip & narrow,
        );
        Ok(())
    }

    /// SYSEXIT.
    pub(crate) fn sysexit(&mut self, uop: &Uop) -> Result<(), Fault> {
        let selector = self.state.msrs.sysenter_cs;
        if selector & 0xFFFC == 0 || self.state.cpl != 0 {
            return Err(self.protect());
        }
        let (rip, rsp) = (self.state.gpr[reg::RDX], self.state.gpr[reg::RCX]);
        let wide = uop.size == 3;
        if wide {
            self.check_target(rip)?;
            self.check_target(rsp)?;
        }
        let narrow = if wide { u64::MAX } else { 0xFFFF_FFFF };
        let (code, at) = if wide { (CODE64, 32) } else { (CODE32, 16) };
        self.state.gpr[reg::RSP] = rsp & narrow;
        self.enter_level(
            flat(selector.wrapping_add(at), code, 3),
            flat(selector.wrapping_add(at + 8), DATA, 3),
            rip & narrow,
        );
        Ok(())
    }
}
