//! From linear to guest-physical addresses: 4-level paging (SDM vol. 3, 4.5), and #PF.

use emulator_bus::Memory;

use crate::core::{Core, Fault};
use crate::exception::Exception;
use crate::flags::AC;
use crate::tlb::Access;

pub(crate) const CR0_WP: u64 = 1 << 16;
pub(crate) const CR0_PG: u64 = 1 << 31;
pub(crate) const CR4_PGE: u64 = 1 << 7;
pub(crate) const CR4_SMEP: u64 = 1 << 20;
pub(crate) const CR4_SMAP: u64 = 1 << 21;
pub(crate) const EFER_NXE: u64 = 1 << 11;

pub(crate) const P: u64 = 1;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
pub(crate) const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;
/// Bits 51:12; beyond [`PHYSICAL_BITS`] they are reserved.
pub(crate) const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
/// MAXPHYADDR as CPUID says it.
pub(crate) const PHYSICAL_BITS: u32 = 39;
const RESERVED: u64 = ADDRESS & !((1 << PHYSICAL_BITS) - 1);

const FAULT_PRESENT: u32 = 1;
const FAULT_WRITE: u32 = 2;
const FAULT_USER: u32 = 4;
const FAULT_RESERVED: u32 = 8;
const FAULT_FETCH: u32 = 16;

/// What a walk found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Guest-physical address.
    pub(crate) physical: u64,
    /// The page is global.
    pub(crate) global: bool,
    /// Which table maps the page: 0 if it has 4 KiB, 1 if 2 MiB, 2 if 1 GiB.
    pub(crate) level: u32,
    /// A store needs no further bit to be set.
    pub(crate) dirty: bool,
}

/// The entries of a walk, and what they allow together.
struct Walk {
    entry: u64,
    at: u64,
    level: u32,
    writable: bool,
    user: bool,
    executable: bool,
}

fn read(memory: &Memory, address: u64) -> u64 {
    memory.read(address).unwrap_or(0)
}

impl Core<'_> {
    /// Translates one address, sets accessed and dirty bits, and fills the TLB if the page is
    /// memory. `user` is false for the processor's own accesses to its tables.
    pub(crate) fn translate(
        &mut self,
        access: Access,
        address: u64,
        user: bool,
    ) -> Result<u64, Fault> {
        let found = if self.state.cr0 & CR0_PG == 0 {
            Found { physical: address, global: false, level: 0, dirty: true }
        } else {
            self.walk(access, address, user)?
        };
        if user == self.tlb.user() {
            self.remember(access, address, &found);
        }
        Ok(found.physical)
    }

    /// Puts a way into the TLB, unless stores through it must be seen.
    fn remember(&mut self, access: Access, address: u64, found: &Found) {
        let physical = found.physical;
        if !self.memory.holds(physical) {
            return;
        }
        if access == Access::Write {
            if self.memory.is_code(physical) || !found.dirty {
                return;
            }
            self.memory.touch(physical & !0xFFF, 1);
        }
        self.tlb.insert(access, address, physical, found.global, found.level);
    }

    fn walk(&mut self, access: Access, address: u64, user: bool) -> Result<Found, Fault> {
        let mut code = match access {
            Access::Read => 0,
            Access::Write => FAULT_WRITE,
            Access::Execute if self.state.msrs.efer & EFER_NXE != 0 => FAULT_FETCH,
            Access::Execute if self.state.cr4 & CR4_SMEP != 0 => FAULT_FETCH,
            Access::Execute => 0,
        };
        if user {
            code |= FAULT_USER;
        }
        let walk = match self.entries(address) {
            Ok(walk) => walk,
            Err(why) => return Err(self.page_fault(address, code | why)),
        };
        if !self.allowed(&walk, access, user) {
            return Err(self.page_fault(address, code | FAULT_PRESENT));
        }
        let mut wanted = walk.entry | A;
        if access == Access::Write {
            wanted |= D;
        }
        if wanted != walk.entry {
            let _ = self.memory.write(walk.at, wanted);
        }
        let span = (1u64 << (12 + 9 * walk.level)) - 1;
        Ok(Found {
            physical: walk.entry & ADDRESS & !span | address & span,
            global: walk.entry & G != 0 && self.state.cr4 & CR4_PGE != 0,
            level: walk.level,
            dirty: wanted & D != 0,
        })
    }

    /// Goes down to the entry that maps the page. Upper entries get their accessed bit on the
    /// way. The error is the part of a #PF's error code that says why there is none.
    fn entries(&mut self, address: u64) -> Result<Walk, u32> {
        self.tlb.walks += 1;
        let no_execute = self.state.msrs.efer & EFER_NXE != 0;
        let mut walk =
            Walk { entry: 0, at: 0, level: 4, writable: true, user: true, executable: true };
        let mut table = self.state.cr3 & ADDRESS;
        loop {
            walk.level -= 1;
            walk.at = table | (address >> (12 + 9 * walk.level) & 0x1FF) << 3;
            walk.entry = read(self.memory, walk.at);
            let entry = walk.entry;
            if entry & P == 0 {
                return Err(0);
            }
            let leaf = walk.level == 0 || (walk.level < 3 && entry & PS != 0);
            let mut reserved = RESERVED;
            if !no_execute {
                reserved |= NX;
            }
            if walk.level == 3 {
                reserved |= PS;
            } else if leaf && walk.level > 0 {
                // Bit 12 is PAT; the rest below the page is reserved.
                reserved |= ((1u64 << (12 + 9 * walk.level)) - 1) & !0x1FFF;
            }
            if entry & reserved != 0 {
                return Err(FAULT_PRESENT | FAULT_RESERVED);
            }
            walk.writable &= entry & RW != 0;
            walk.user &= entry & US != 0;
            walk.executable &= entry & NX == 0;
            if leaf {
                return Ok(walk);
            }
            if entry & A == 0 {
                let _ = self.memory.write(walk.at, entry | A);
            }
            table = entry & ADDRESS;
        }
    }

    /// SDM vol. 3, 4.6: determination of access rights.
    fn allowed(&self, walk: &Walk, access: Access, user: bool) -> bool {
        let cr4 = self.state.cr4;
        match access {
            Access::Execute => {
                walk.executable && if user { walk.user } else { !walk.user || cr4 & CR4_SMEP == 0 }
            }
            Access::Read | Access::Write if user => {
                walk.user && (access == Access::Read || walk.writable)
            }
            Access::Read | Access::Write => {
                let open = !walk.user
                    || cr4 & CR4_SMAP == 0
                    || (self.state.flags.eager & AC != 0 && self.state.cpl < 3);
                let writable = walk.writable || self.state.cr0 & CR0_WP == 0;
                open && (access == Access::Read || writable)
            }
        }
    }

    fn page_fault(&mut self, address: u64, code: u32) -> Fault {
        self.state.cr2 = address;
        self.raise(Exception::with_code(Exception::PF, code))
    }
}
