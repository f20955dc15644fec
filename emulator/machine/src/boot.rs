//! Loads a Linux kernel and sets the processor to its first instruction.
//!
//! One way for all kernels: the 64-bit boot protocol (Linux, Documentation/arch/x86/boot.rst,
//! "64-bit Boot Protocol"). A bzImage is entered at 0x200 behind its protected-mode part, an
//! ELF kernel (vmlinux) at its entry, which is the same code. Both find the "zero page" in RSI,
//! long mode on, and all memory mapped where it is.
//!
//! ```text
//!  500   GDT          7000  zero page      9000  PML4, PDPT      2_0000  command line
//! ```
//!
//! What is loaded is not trusted: a file that is no kernel, or does not fit, is an error.

mod bzimage;
mod elf;

use std::fmt;

use emulator_bus::{Memory, Unmapped};
use emulator_cpu::State;
use emulator_cpu::state::{Segment, Table, reg};
use emulator_devices::mptable;

use crate::machine::Machine;
use crate::map;

const GDT: u64 = 0x500;
const ZERO_PAGE: u64 = 0x7000;
const PML4: u64 = 0x9000;
const PDPT: u64 = 0xA000;
const CMDLINE: u64 = 0x2_0000;
/// Room for the command line, its final zero included: what Linux reads (COMMAND_LINE_SIZE).
pub const CMDLINE_LIMIT: usize = 2048;

/// Offsets in the zero page (Documentation/arch/x86/zero-page.rst, boot.rst).
const E820_COUNT: u64 = 0x1E8;
const E820: u64 = 0x2D0;
const HEADER: u64 = 0x1F1;
const BOOT_FLAG: u64 = 0x1FE;
const HEADER_MAGIC: u64 = 0x202;
const LOADER: u64 = 0x210;
const RAMDISK: u64 = 0x218;
const RAMDISK_SIZE: u64 = 0x21C;
const CMDLINE_POINTER: u64 = 0x228;
const ALIGNMENT: u64 = 0x230;
/// A loader without a number of its own.
const UNKNOWN_LOADER: u8 = 0xFF;

const RAM: u32 = 1;
const RESERVED: u32 = 2;

/// CR0: paging, write protection off, numeric errors, protected mode.
const CR0: u64 = 0x8000_0031;
const CR4_PAE: u64 = 1 << 5;
/// Long mode, enabled and active.
const EFER: u64 = 0x500;
/// A present, writable page of 1 GiB.
const GIBIBYTE_PAGE: u64 = 0x83;

/// What a machine starts from.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// A bzImage or an ELF kernel.
    pub kernel: &'a [u8],
    /// The initial RAM disk; empty for none.
    pub initrd: &'a [u8],
    /// The kernel's command line, without the board's own parameters.
    pub cmdline: &'a str,
}

/// Why a machine cannot be started so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The file is no x86-64 kernel; says what is wrong.
    NotAKernel(&'static str),
    /// Kernel and initial RAM disk need more memory: so many bytes.
    Memory(u64),
    /// The command line is longer than [`CMDLINE_LIMIT`].
    Cmdline(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotAKernel(why) => write!(f, "this is no kernel for x86-64: {why}"),
            Error::Memory(needed) => {
                write!(f, "kernel and initial RAM disk need {} MiB", needed.div_ceil(1 << 20))
            }
            Error::Cmdline(length) => write!(
                f,
                "the kernel's command line has {length} bytes, {} are possible",
                CMDLINE_LIMIT - 1
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<Unmapped> for Error {
    fn from(_: Unmapped) -> Self {
        Error::Memory(u64::from(*map::MEMORY_MIB.start()) << 20)
    }
}

/// A kernel in memory.
struct Loaded {
    /// Its first instruction.
    entry: u64,
    /// The first byte that it does not need before it manages memory itself.
    end: u64,
}

impl Machine {
    /// Loads a kernel; the next [`Machine::run`] executes its first instruction.
    ///
    /// # Errors
    /// If it cannot be loaded; the machine is of no use then.
    pub fn boot(&mut self, plan: &Plan<'_>) -> Result<(), Error> {
        let cmdline = format!("{} {}", plan.cmdline.trim(), self.board.parameters());
        if cmdline.len() >= CMDLINE_LIMIT {
            return Err(Error::Cmdline(cmdline.len()));
        }
        let memory = &mut self.memory;
        let loaded = if plan.kernel.starts_with(b"\x7FELF") {
            elf::load(memory, plan.kernel)?
        } else {
            bzimage::load(memory, plan.kernel)?
        };
        let initrd = place_initrd(memory, &loaded, plan.initrd)?;
        let text = memory.slice_mut(CMDLINE, cmdline.len() + 1)?;
        text[..cmdline.len()].copy_from_slice(cmdline.as_bytes());
        text[cmdline.len()] = 0;
        mptable::write(memory, map::levels())?;
        write_zero_page(memory, initrd, plan.initrd.len())?;
        write_tables(memory)?;
        self.cpu.state = entry_state(loaded.entry);
        self.cpu.reload();
        Ok(())
    }
}

/// The initial RAM disk lies at the end of memory, on a page; says where.
fn place_initrd(memory: &mut Memory, kernel: &Loaded, initrd: &[u8]) -> Result<u64, Error> {
    if initrd.is_empty() {
        return Ok(0);
    }
    let length = initrd.len() as u64;
    let address = memory.size().saturating_sub(length) & !0xFFF;
    if address < kernel.end {
        return Err(Error::Memory(kernel.end + length));
    }
    memory.slice_mut(address, initrd.len())?.copy_from_slice(initrd);
    Ok(address)
}

fn write_zero_page(memory: &mut Memory, initrd: u64, length: usize) -> Result<(), Unmapped> {
    // An ELF kernel brings no header; what the kernel reads of it is written in any case.
    memory.write(ZERO_PAGE + BOOT_FLAG, 0xAA55u16)?;
    memory.write(ZERO_PAGE + HEADER_MAGIC, u32::from_le_bytes(*b"HdrS"))?;
    memory.write(ZERO_PAGE + LOADER, UNKNOWN_LOADER)?;
    memory.write(ZERO_PAGE + RAMDISK, initrd as u32)?;
    memory.write(ZERO_PAGE + RAMDISK_SIZE, length as u32)?;
    memory.write(ZERO_PAGE + CMDLINE_POINTER, CMDLINE as u32)?;
    if memory.read::<u32>(ZERO_PAGE + ALIGNMENT)? == 0 {
        memory.write(ZERO_PAGE + ALIGNMENT, 0x20_0000u32)?;
    }
    let ranges = [
        (0, map::BASE_MEMORY_END, RAM),
        (map::BASE_MEMORY_END, map::HIGH_MEMORY, RESERVED),
        (map::HIGH_MEMORY, memory.size(), RAM),
    ];
    memory.write(ZERO_PAGE + E820_COUNT, ranges.len() as u8)?;
    for ((start, end, kind), at) in ranges.into_iter().zip((ZERO_PAGE + E820..).step_by(20)) {
        memory.write(at, start)?;
        memory.write(at + 8, end - start)?;
        memory.write(at + 16, kind)?;
    }
    Ok(())
}

/// All 4 GiB mapped where they are; flat segments.
fn write_tables(memory: &mut Memory) -> Result<(), Unmapped> {
    memory.write(PML4, PDPT | 3)?;
    for gibibyte in 0..4u64 {
        memory.write(PDPT + gibibyte * 8, gibibyte << 30 | GIBIBYTE_PAGE)?;
    }
    for (selector, descriptor) in
        [(0u64, 0u64), (8, 0), (0x10, 0x00AF_9B00_0000_FFFF), (0x18, 0x00CF_9300_0000_FFFF)]
    {
        memory.write(GDT + selector, descriptor)?;
    }
    Ok(())
}

fn entry_state(entry: u64) -> State {
    let mut state = State { cr0: CR0, cr3: PML4, cr4: CR4_PAE, rip: entry, ..State::default() };
    state.msrs.efer = EFER;
    state.gdtr = Table { base: GDT, limit: 0x1F };
    state.gpr[reg::RSI] = ZERO_PAGE;
    // __BOOT_CS and __BOOT_DS are what State::default has; no task.
    state.ldtr = Segment::default();
    state
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::elf::tests::kernel;
    use super::*;
    use crate::board::Parts;
    use crate::machine::Clock;

    fn machine() -> Machine {
        let parts = Parts { disk: Some(512), mtu: None };
        Machine::new(64, &parts, Clock::Instructions, 0, [0; 32])
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        for kernel in [&b""[..], b"\x7FELF", b"MZ", &[0; 4096]] {
            let plan = Plan { kernel, initrd: &[], cmdline: "" };
            assert!(matches!(machine().boot(&plan), Err(Error::NotAKernel(_))));
        }
    }

    #[test]
    fn a_command_line_that_is_too_long_is_refused() {
        let cmdline = "x".repeat(CMDLINE_LIMIT);
        let plan = Plan { kernel: b"", initrd: &[], cmdline: &cmdline };
        assert!(matches!(machine().boot(&plan), Err(Error::Cmdline(_))));
    }

    #[test]
    fn an_elf_kernel_is_entered_with_its_zero_page() {
        let kernel = elf::tests::kernel();
        let mut machine = machine();
        let plan = Plan { kernel: &kernel, initrd: b"initrd", cmdline: "quiet" };
        machine.boot(&plan).unwrap();
        let memory = machine.memory();
        assert_eq!(memory.read::<u32>(ZERO_PAGE + RAMDISK_SIZE), Ok(6));
        let initrd = memory.read::<u32>(ZERO_PAGE + RAMDISK).unwrap();
        assert_eq!(memory.slice(initrd.into(), 6), Ok(&b"initrd"[..]));
        let words = "quiet virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6";
        assert_eq!(memory.slice(CMDLINE, words.len()), Ok(words.as_bytes()));
        assert_eq!(memory.read::<u64>(ZERO_PAGE + E820 + 40), Ok(0x10_0000));
        // The program of that kernel ends with 42.
        assert_eq!(machine.run(0, 100), crate::Outcome::Off(Some(42)));
    }

    #[test]
    fn an_initial_ram_disk_that_does_not_fit_is_refused() {
        let kernel = elf::tests::kernel();
        let initrd = vec![0; 64 << 20];
        let plan = Plan { kernel: &kernel, initrd: &initrd, cmdline: "" };
        assert!(matches!(machine().boot(&plan), Err(Error::Memory(_))));
    }
}
