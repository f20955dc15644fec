//! What the processor holds: everything that a snapshot must keep, and nothing else.

mod bytes;

pub use bytes::Malformed;

use crate::flags::Flags;
use crate::x87::X87;

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// Base address.
    pub base: u64,
    /// Highest offset, granularity applied.
    pub limit: u32,
    /// Selector.
    pub selector: u16,
    /// Bits 8–23 of the descriptor's upper half: type, S, DPL, P (bits 7:0), AVL, L, D/B, G
    /// (bits 15:12). Zero if unusable.
    pub attributes: u16,
}

/// P of [`Segment::attributes`].
pub const PRESENT: u16 = 1 << 7;
/// L: 64-bit code.
pub const LONG: u16 = 1 << 13;
/// D/B: 32-bit code or stack.
pub const BIG: u16 = 1 << 14;

impl Segment {
    /// A flat segment with these attributes.
    pub const fn flat(selector: u16, attributes: u16) -> Self {
        Segment { base: 0, limit: u32::MAX, selector, attributes }
    }

    /// Privilege level of the descriptor.
    pub const fn dpl(&self) -> u8 {
        (self.attributes >> 5 & 3) as u8
    }
}

/// Numbers of segment registers, as instructions encode them.
#[expect(missing_docs, reason = "the names are the manual's")]
pub mod segment {
    pub const ES: usize = 0;
    pub const CS: usize = 1;
    pub const SS: usize = 2;
    pub const DS: usize = 3;
    pub const FS: usize = 4;
    pub const GS: usize = 5;
}

/// Numbers of general registers, as instructions encode them.
#[expect(missing_docs, reason = "the names are the manual's")]
pub mod reg {
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSP: usize = 4;
    pub const RBP: usize = 5;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Linear address.
    pub base: u64,
    /// Highest offset.
    pub limit: u16,
}

/// The size of code: what CS says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// 64-bit mode.
    Bits64 = 0,
    /// Compatibility or protected mode with CS.D = 1.
    Bits32 = 1,
    /// The same with CS.D = 0.
    Bits16 = 2,
}

/// Model-specific registers that the processor holds itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the manual's")]
pub struct Msrs {
    pub efer: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub tsc_aux: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub misc_enable: u64,
    pub mtrr_default: u64,
}

/// Where the processor is between instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It executes.
    Running,
    /// HLT: it waits for an interrupt.
    Halted,
    /// A fault in the delivery of a double fault. Only a reset helps.
    Shutdown,
}

/// The architectural state of one processor.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct State {
    /// RAX … R15, then [`crate::uop::ZERO`] and [`crate::uop::CODE_PAGE`], then nothing; 32, so
    /// that an index needs no check.
    pub gpr: [u64; 32],
    /// RFLAGS.
    pub flags: Flags,
    /// The next instruction.
    pub rip: u64,
    /// XMM0 … XMM15.
    pub xmm: [u128; 16],
    /// MXCSR.
    pub mxcsr: u32,
    /// The x87 unit.
    pub x87: X87,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// LDTR.
    pub ldtr: Segment,
    /// TR.
    pub tr: Segment,
    /// GDTR.
    pub gdtr: Table,
    /// IDTR.
    pub idtr: Table,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// XCR0.
    pub xcr0: u64,
    /// DR0 … DR3, two unused, DR6, DR7.
    pub dr: [u64; 8],
    /// Model-specific registers.
    pub msrs: Msrs,
    /// Current privilege level.
    pub cpl: u8,
    /// No interrupt before the next instruction has ended (STI, MOV SS).
    pub shadow: bool,
    /// Running, halted or shut down.
    pub activity: Activity,
    /// Instructions retired since reset.
    pub retired: u64,
}

impl Default for State {
    /// 64-bit mode, privilege level 0, flat segments, no paging: not what a reset leaves (the
    /// board starts the processor by a boot protocol) but a state from which any can be set.
    fn default() -> Self {
        let code = Segment::flat(0x10, 0xA09B);
        let data = Segment::flat(0x18, 0xC093);
        State {
            gpr: [0; 32],
            flags: Flags::default(),
            rip: 0,
            xmm: [0; 16],
            mxcsr: 0x1F80,
            x87: X87::default(),
            segments: [data, code, data, data, data, data],
            ldtr: Segment::default(),
            tr: Segment { attributes: 0x8B, limit: 0x67, ..Segment::default() },
            gdtr: Table::default(),
            idtr: Table::default(),
            cr0: 0x31,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            xcr0: 1,
            dr: [0, 0, 0, 0, 0, 0, 0xFFFF_0FF0, 0x400],
            msrs: Msrs { pat: 0x0007_0406_0007_0406, misc_enable: 1, ..Msrs::default() },
            cpl: 0,
            shadow: false,
            activity: Activity::Running,
            retired: 0,
        }
    }
}

impl State {
    /// The size of the code in execution.
    pub fn mode(&self) -> Mode {
        let attributes = self.segments[segment::CS].attributes;
        if self.msrs.efer & 0x400 != 0 && attributes & LONG != 0 {
            Mode::Bits64
        } else if attributes & BIG != 0 {
            Mode::Bits32
        } else {
            Mode::Bits16
        }
    }
}
