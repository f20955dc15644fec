//! CPUID: just what is there. x86-64-v2 with the string, paging and time features that Linux
//! makes use of, and the hypervisor leaves of KVM for its clock.

use crate::core::Core;
use crate::state::reg;
use crate::system::CR4_OSXSAVE;

/// Family 6, model 0x3A, stepping 9: a processor of this feature set; newer ones would be
/// expected to have AVX.
const SIGNATURE: u32 = 0x0003_06A9;

/// Leaf 1, ECX: SSE3, PCLMULQDQ, SSSE3, CX16, PCID, SSE4.1, SSE4.2, x2APIC, POPCNT,
/// TSC-deadline, AES, XSAVE, RDRAND, hypervisor.
const FEATURES_C: u32 = 1
    | 1 << 1
    | 1 << 9
    | 1 << 13
    | 1 << 17
    | 1 << 19
    | 1 << 20
    | 1 << 21
    | 1 << 23
    | 1 << 24
    | 1 << 25
    | 1 << 26
    | 1 << 30
    | 1 << 31;
/// Leaf 1, EDX: FPU, DE, PSE, TSC, MSR, PAE, CX8, APIC, SEP, PGE, CMOV, PAT, PSE36, CLFSH, MMX,
/// FXSR, SSE, SSE2, SS.
const FEATURES_D: u32 = 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 9
    | 1 << 11
    | 1 << 13
    | 1 << 15
    | 1 << 16
    | 1 << 17
    | 1 << 19
    | 1 << 23
    | 1 << 24
    | 1 << 25
    | 1 << 26
    | 1 << 27;
/// Leaf 7, EBX: FSGSBASE, SMEP, ERMS, INVPCID, RDSEED.
const EXTENDED_B: u32 = 1 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 18;
/// Leaf 7, EDX: FSRM, ARCH_CAPABILITIES.
const EXTENDED_D: u32 = 1 << 4 | 1 << 29;
/// Leaf 7, subleaf 1, EAX: FZRM and FSRS, repeated moves and stores are fast however short
/// they are, so that a kernel fills memory by them.
const FAST_STRINGS: u32 = 1 << 10 | 1 << 11;
/// Bytes of the XSAVE area: legacy region and header.
const XSAVE_AREA: u32 = 576;

fn text(at: usize, of: &[u8]) -> u32 {
    let mut word = [b' '; 4];
    for (byte, from) in word.iter_mut().zip(of.iter().skip(at)) {
        *byte = *from;
    }
    u32::from_le_bytes(word)
}

/// EAX, EBX, ECX, EDX of a leaf. `osxsave` is CR4's, which leaf 1 repeats.
pub fn leaf(leaf: u32, subleaf: u32, osxsave: bool) -> [u32; 4] {
    const VENDOR: &[u8] = b"GenuineIntel";
    const BRAND: &[u8] = b"Vivarium x86-64 virtual processor               ";
    match leaf {
        0 => [0xD, text(0, VENDOR), text(8, VENDOR), text(4, VENDOR)],
        // CLFLUSH line of 64 bytes, one logical processor.
        1 => [SIGNATURE, 0x0001_0800, FEATURES_C | u32::from(osxsave) << 27, FEATURES_D],
        // Caches: 32 KiB data, 32 KiB instructions, 1 MiB unified.
        2 => [0x00FE_FF01, 0, 0, 0],
        4 => match subleaf {
            0 => [0x121, 0x01C0_003F, 63, 0],
            1 => [0x122, 0x01C0_003F, 63, 0],
            2 => [0x143, 0x03C0_003F, 1023, 0],
            _ => [0; 4],
        },
        6 => [1 << 2, 0, 0, 0],
        7 => match subleaf {
            0 => [1, EXTENDED_B, 0, EXTENDED_D],
            1 => [FAST_STRINGS, 0, 0, 0],
            _ => [0; 4],
        },
        0xB => {
            [0, if subleaf == 0 { 1 } else { 0 }, subleaf | if subleaf == 0 { 0x100 } else { 0 }, 0]
        }
        0xD => match subleaf {
            0 => [3, XSAVE_AREA, XSAVE_AREA, 0],
            _ => [0; 4],
        },
        // KVM's signature; clock sources, stable time, no I/O delay.
        0x4000_0000 => [0x4000_0001, 0x4B4D_564B, 0x564B_4D56, 0x4D],
        0x4000_0001 => [1 << 1 | 1 << 3 | 1 << 24, 0, 0, 0],
        0x8000_0000 => [0x8000_0008, 0, 0, 0],
        // LAHF; SYSCALL, NX, 1 GiB pages, RDTSCP, LM.
        0x8000_0001 => [0, 0, 1, 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29],
        0x8000_0002..=0x8000_0004 => {
            let at = (leaf - 0x8000_0002) as usize * 16;
            [0, 4, 8, 12].map(|word| text(at + word, BRAND))
        }
        0x8000_0006 => [0, 0, 0x0400_8040, 0],
        // Invariant time-stamp counter.
        0x8000_0007 => [0, 0, 0, 1 << 8],
        0x8000_0008 => [crate::paging::PHYSICAL_BITS | 48 << 8, 0, 0, 0],
        _ => [0; 4],
    }
}

impl Core<'_> {
    /// CPUID.
    pub(crate) fn cpuid(&mut self) {
        let (eax, ecx) = (self.state.gpr[reg::RAX] as u32, self.state.gpr[reg::RCX] as u32);
        let [a, b, c, d] = leaf(eax, ecx, self.state.cr4 & CR4_OSXSAVE != 0);
        for (register, value) in [(reg::RAX, a), (reg::RBX, b), (reg::RCX, c), (reg::RDX, d)] {
            self.state.gpr[register] = value.into();
        }
    }
}
