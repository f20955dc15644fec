//! The translation cache: direct-mapped, apart for reads, writes and execution and for user
//! and supervisor, with the layout that compiled code will use too.
//!
//! An entry matches if the page of the access's *last* byte equals the tag of the slot of its
//! *first* byte: one compare finds both a hit and that the access stays in the page.

/// Slots of one table: covers 4 MiB, and 16 KiB stays in the first-level cache of a host.
pub const SLOTS: usize = 1024;
/// A tag that no page has: tags are multiples of the page size.
const NONE: u64 = 1;

/// One way to a page.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Entry {
    /// Linear address of the page.
    pub tag: u64,
    /// What added to a linear address gives the guest-physical one.
    pub addend: u64,
}

const EMPTY: Entry = Entry { tag: NONE, addend: 0 };

/// What an access wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Access {
    /// A load.
    Read = 0,
    /// A store.
    Write = 1,
    /// A fetch.
    Execute = 2,
}

/// All tables: three kinds of access, each for supervisor (first half) and user.
#[derive(Debug)]
pub struct Tlb {
    tables: [[Entry; 2 * SLOTS]; 3],
    global: [bool; 2 * SLOTS],
    /// `SLOTS` while privilege level 3 is in force, else 0.
    half: usize,
    /// A large page was cached: INVLPG may have to drop many entries.
    large: bool,
    /// Walks through page tables since the start, for statistics.
    pub(crate) walks: u64,
}

impl Tlb {
    pub(crate) fn new() -> Self {
        Tlb {
            tables: [[EMPTY; 2 * SLOTS]; 3],
            global: [false; 2 * SLOTS],
            half: 0,
            large: false,
            walks: 0,
        }
    }

    pub(crate) fn set_user(&mut self, user: bool) {
        self.half = if user { SLOTS } else { 0 };
    }

    #[inline(always)]
    fn slot(&self, address: u64) -> usize {
        ((address >> 12) as usize & (SLOTS - 1) | self.half) & (2 * SLOTS - 1)
    }

    /// The guest-physical address of an access of `size` bytes, if the way is known and it
    /// stays in the page.
    #[inline(always)]
    pub(crate) fn find(&self, access: Access, address: u64, size: u64) -> Option<u64> {
        let entry = &self.tables[access as usize][self.slot(address)];
        if address.wrapping_add(size - 1) & !0xFFF == entry.tag {
            Some(address.wrapping_add(entry.addend))
        } else {
            None
        }
    }

    pub(crate) fn insert(
        &mut self,
        access: Access,
        address: u64,
        physical: u64,
        global: bool,
        large: bool,
    ) {
        let slot = self.slot(address);
        let tag = address & !0xFFF;
        self.tables[access as usize][slot] =
            Entry { tag, addend: (physical & !0xFFF).wrapping_sub(tag) };
        // The three tables share the mark: an entry counts as global only if all are.
        self.global[slot] = global && self.others_agree(slot, tag);
        self.large |= large;
    }

    fn others_agree(&mut self, slot: usize, tag: u64) -> bool {
        let was = self.global[slot];
        for table in &mut self.tables {
            if table[slot].tag != tag && table[slot].tag != NONE && !was {
                return false;
            }
        }
        true
    }

    /// Forgets all.
    pub(crate) fn flush(&mut self) {
        for table in &mut self.tables {
            table.fill(EMPTY);
        }
        self.global.fill(false);
        self.large = false;
    }

    /// Forgets all but global pages.
    pub(crate) fn flush_local(&mut self) {
        for table in &mut self.tables {
            for (entry, global) in table.iter_mut().zip(self.global.iter()) {
                if !global {
                    *entry = EMPTY;
                }
            }
        }
    }

    /// Forgets the page of an address, whatever its size.
    pub(crate) fn flush_page(&mut self, address: u64) {
        if self.large {
            return self.flush();
        }
        let slot = (address >> 12) as usize & (SLOTS - 1);
        for table in &mut self.tables {
            table[slot] = EMPTY;
            table[slot + SLOTS] = EMPTY;
        }
    }

    /// Forgets the ways to write to the page at a guest-physical address.
    pub(crate) fn flush_writes_to(&mut self, physical: u64) {
        for entry in self.tables[Access::Write as usize].iter_mut() {
            if entry.tag != NONE && entry.tag.wrapping_add(entry.addend) == physical & !0xFFF {
                *entry = EMPTY;
            }
        }
    }
}
