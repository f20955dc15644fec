//! Model-specific registers: those of the processor here, all others the board's.

use emulator_bus::Cycle;

use crate::core::{Core, Fault};
use crate::state::{reg, segment};

const TSC: u32 = 0x10;
const BIOS_SIGN: u32 = 0x8B;
const MTRRCAP: u32 = 0xFE;
const ARCH_CAPABILITIES: u32 = 0x10A;
/// RDCL_NO, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO,
/// FBSDP_NO, PSDP_NO, BHI_NO, GDS_NO, RFDS_NO, ITS_NO: an interpreter does not speculate, and
/// a guest that believes it spares itself the mitigations.
const IMMUNE: u64 = 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 13
    | 1 << 14
    | 1 << 15
    | 1 << 20
    | 1 << 26
    | 1 << 27
    | 1 << 62;
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const MCG_CAP: u32 = 0x179;
const MISC_ENABLE: u32 = 0x1A0;
const PAT: u32 = 0x277;
const MTRR_DEFAULT: u32 = 0x2FF;
const EFER: u32 = 0xC000_0080;
const STAR: u32 = 0xC000_0081;
const LSTAR: u32 = 0xC000_0082;
const CSTAR: u32 = 0xC000_0083;
const SFMASK: u32 = 0xC000_0084;
const FS_BASE: u32 = 0xC000_0100;
const GS_BASE: u32 = 0xC000_0101;
const KERNEL_GS_BASE: u32 = 0xC000_0102;
const TSC_AUX: u32 = 0xC000_0103;

/// SCE, LME, LMA, NXE.
const EFER_KNOWN: u64 = 0xD01;
const EFER_LME: u64 = 0x100;
const EFER_LMA: u64 = 0x400;

impl Core<'_> {
    /// RDMSR.
    pub(crate) fn rdmsr(&mut self) -> Result<(), Fault> {
        let index = self.state.gpr[reg::RCX] as u32;
        let msrs = &self.state.msrs;
        let value = match index {
            TSC => self.now(),
            ARCH_CAPABILITIES => IMMUNE,
            BIOS_SIGN | MTRRCAP | MCG_CAP => 0,
            SYSENTER_CS => msrs.sysenter_cs,
            SYSENTER_ESP => msrs.sysenter_esp,
            SYSENTER_EIP => msrs.sysenter_eip,
            MISC_ENABLE => msrs.misc_enable,
            PAT => msrs.pat,
            MTRR_DEFAULT => msrs.mtrr_default,
            EFER => msrs.efer,
            STAR => msrs.star,
            LSTAR => msrs.lstar,
            CSTAR => msrs.cstar,
            SFMASK => msrs.sfmask,
            FS_BASE => self.state.segments[segment::FS].base,
            GS_BASE => self.state.segments[segment::GS].base,
            KERNEL_GS_BASE => msrs.kernel_gs_base,
            TSC_AUX => msrs.tsc_aux,
            _ => {
                let cycle = Cycle { now: self.now(), memory: self.memory };
                match self.bus.msr_read(index, cycle) {
                    Ok(value) => value,
                    Err(_) => return Err(self.protect()),
                }
            }
        };
        self.state.gpr[reg::RAX] = value & 0xFFFF_FFFF;
        self.state.gpr[reg::RDX] = value >> 32;
        Ok(())
    }

    /// WRMSR.
    pub(crate) fn wrmsr(&mut self) -> Result<(), Fault> {
        let index = self.state.gpr[reg::RCX] as u32;
        let value = self.reg(reg::RAX as u8, 2) | self.reg(reg::RDX as u8, 2) << 32;
        let address = matches!(
            index,
            SYSENTER_ESP | SYSENTER_EIP | LSTAR | CSTAR | FS_BASE | GS_BASE | KERNEL_GS_BASE
        );
        if address && !crate::access::canonical(value) {
            return Err(self.protect());
        }
        let msrs = &mut self.state.msrs;
        match index {
            // The counter goes on: the timer's deadlines and the paravirtual clock, which the
            // board keeps, count with it.
            TSC | BIOS_SIGN => {}
            SYSENTER_CS => msrs.sysenter_cs = value & 0xFFFF_FFFF,
            SYSENTER_ESP => msrs.sysenter_esp = value,
            SYSENTER_EIP => msrs.sysenter_eip = value,
            MISC_ENABLE => msrs.misc_enable = value,
            PAT => {
                let legal = value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7));
                if !legal {
                    return Err(self.protect());
                }
                self.state.msrs.pat = value;
            }
            MTRR_DEFAULT => msrs.mtrr_default = value & 0xCFF,
            EFER => return self.set_efer(value),
            STAR => msrs.star = value,
            LSTAR => msrs.lstar = value,
            CSTAR => msrs.cstar = value,
            SFMASK => msrs.sfmask = value & 0xFFFF_FFFF,
            FS_BASE => self.state.segments[segment::FS].base = value,
            GS_BASE => self.state.segments[segment::GS].base = value,
            KERNEL_GS_BASE => msrs.kernel_gs_base = value,
            TSC_AUX => msrs.tsc_aux = value & 0xFFFF_FFFF,
            _ => {
                let cycle = Cycle { now: self.now(), memory: self.memory };
                if self.bus.msr_write(index, value, cycle).is_err() {
                    return Err(self.protect());
                }
                self.after_cycle();
            }
        }
        Ok(())
    }

    fn set_efer(&mut self, value: u64) -> Result<(), Fault> {
        let old = self.state.msrs.efer;
        let paging = self.state.cr0 & crate::paging::CR0_PG != 0;
        if value & !EFER_KNOWN != 0 || (paging && (value ^ old) & EFER_LME != 0) {
            return Err(self.protect());
        }
        self.state.msrs.efer = value & !EFER_LMA | old & EFER_LMA;
        self.tlb.flush();
        self.settle();
        Ok(())
    }
}
