//! The translation cache: direct-mapped, apart for reads, writes and execution and for user
//! and supervisor, with the layout that compiled code will use too.
//!
//! An entry matches if the page of the access's *last* byte equals the tag of the slot of its
//! *first* byte: one compare finds both a hit and that the access stays in the page.

use crate::state::Mode;

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

/// A way to decoded code: what a linear address is in the code cache, so that a jump needs
/// neither the TLB nor the code cache. It goes when either forgets something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Linear address and salt, see [`Tlb::ways`].
    tag: u64,
    /// Index of the start of the block.
    pub(crate) index: u32,
    /// Guest-physical number of its page.
    pub(crate) page: u32,
}

/// Ways that are remembered for each of supervisor and user.
pub(crate) const WAYS: usize = 4096;
/// Listed entries that are not global: more, and looking at all of them is not slower.
const LOCALS: usize = 2048;
/// Hashes of ranges of 2 MiB.
const RANGES: usize = 1024;
pub(crate) const NO_WAY: Way = Way { tag: 0, index: 0, page: 0 };
/// Generations of ways until they must be wiped: what is left of the upper 16 bits of an
/// address, which say nothing, beside two bits for the size of code.
const GENERATIONS: u64 = 1 << 14;

/// The way to an address, if it is known.
#[inline(always)]
pub(crate) fn lookup(ways: &[Way; WAYS], salt: u64, address: u64) -> Option<&Way> {
    let way = &ways[(address ^ address >> 10) as usize & (WAYS - 1)];
    (way.tag == address ^ salt).then_some(way)
}

/// All tables: three kinds of access, each for supervisor and user.
#[derive(Debug)]
pub struct Tlb {
    tables: [[[Entry; SLOTS]; 2]; 3],
    /// Which entries are to global pages.
    global: [[[bool; SLOTS]; 2]; 3],
    ways: [[Way; WAYS]; 2],
    /// Ways of other generations are not valid. Zero is nobody's.
    generation: [u64; 2],
    /// The supervisor's ways are all to global pages in the upper half of addresses.
    global_ways: bool,
    /// 1 while privilege level 3 is in force, else 0.
    user: usize,
    /// Entries that are not global, since all of them were last forgotten: which of the six
    /// tables, and which slot. More than [`LOCALS`] are not listed.
    locals: Vec<u16>,
    /// Ranges of 2 MiB with entries of large pages, by a hash: INVLPG must look for them.
    large: [u64; RANGES / 64],
    /// There may be entries of pages of 1 GiB.
    huge: bool,
    /// Walks through page tables since the start, for statistics.
    pub(crate) walks: u64,
}

impl Tlb {
    pub(crate) fn new() -> Self {
        Tlb {
            tables: [[[EMPTY; SLOTS]; 2]; 3],
            global: [[[false; SLOTS]; 2]; 3],
            ways: [[NO_WAY; WAYS]; 2],
            generation: [1; 2],
            global_ways: true,
            user: 0,
            locals: Vec::with_capacity(LOCALS + 1),
            large: [0; RANGES / 64],
            huge: false,
            walks: 0,
        }
    }

    /// Are accesses those of privilege level 3?
    pub(crate) fn user(&self) -> bool {
        self.user != 0
    }

    pub(crate) fn set_user(&mut self, user: bool) {
        self.user = user.into();
    }

    /// What loads find at the present privilege level.
    #[inline(always)]
    pub(crate) fn reads(&self) -> &[Entry; SLOTS] {
        &self.tables[Access::Read as usize][self.user & 1]
    }

    /// What stores find.
    #[inline(always)]
    pub(crate) fn writes(&self) -> &[Entry; SLOTS] {
        &self.tables[Access::Write as usize][self.user & 1]
    }

    /// The ways to code of a size, and their salt.
    #[inline(always)]
    pub(crate) fn ways(&self, mode: Mode) -> (&[Way; WAYS], u64) {
        let user = self.user & 1;
        (&self.ways[user], (self.generation[user] << 2 | mode as u64) << 48)
    }

    /// Remembers a way; the TLB has just found the page executable.
    pub(crate) fn add_way(&mut self, mode: Mode, address: u64, physical: u64, index: usize) {
        let user = self.user & 1;
        let page_global = self.global[Access::Execute as usize][user][slot(address)];
        let global = page_global && address >> 63 != 0;
        if user == 0 && !global {
            self.global_ways = false;
        }
        let (_, salt) = self.ways(mode);
        self.ways[user][(address ^ address >> 10) as usize & (WAYS - 1)] =
            Way { tag: address ^ salt, index: index as u32, page: (physical >> 12) as u32 };
    }

    /// Forgets the ways to code: of the user, and of the supervisor too if `all`.
    pub(crate) fn flush_ways(&mut self, all: bool) {
        let all = all || !self.global_ways;
        for user in if all { 0..2 } else { 1..2 } {
            self.generation[user] += 1;
            if self.generation[user] == GENERATIONS {
                self.generation[user] = 1;
                self.ways[user].fill(NO_WAY);
            }
        }
        self.global_ways |= all;
    }

    /// The guest-physical address of an access of `size` bytes, if the way is known and it
    /// stays in the page.
    #[inline(always)]
    pub(crate) fn find(&self, access: Access, address: u64, size: u64) -> Option<u64> {
        let entry = &self.tables[access as usize][self.user & 1][slot(address)];
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
        level: u32,
    ) {
        let (user, slot) = (self.user & 1, slot(address));
        let tag = address & !0xFFF;
        self.tables[access as usize][user][slot] =
            Entry { tag, addend: (physical & !0xFFF).wrapping_sub(tag) };
        self.global[access as usize][user][slot] = global;
        if !global && self.locals.len() <= LOCALS {
            self.locals.push(((access as usize * 2 + user) * SLOTS + slot) as u16);
        }
        if level > 0 {
            let (word, bit) = range(address);
            self.large[word] |= bit;
            self.huge |= level > 1;
        }
    }

    /// Forgets all.
    pub(crate) fn flush(&mut self) {
        self.tables = [[[EMPTY; SLOTS]; 2]; 3];
        self.global = [[[false; SLOTS]; 2]; 3];
        self.locals.clear();
        self.large = [0; RANGES / 64];
        self.huge = false;
        self.flush_ways(true);
    }

    /// Forgets all but global pages.
    pub(crate) fn flush_local(&mut self) {
        if self.locals.len() > LOCALS {
            let entries = self.tables.iter_mut().flatten().flatten();
            let global = self.global.iter().flatten().flatten();
            for (entry, _) in entries.zip(global).filter(|(_, global)| !**global) {
                *entry = EMPTY;
            }
        } else {
            for listed in self.locals.iter().map(|listed| usize::from(*listed)) {
                let (table, slot) = (listed / SLOTS, listed % SLOTS);
                if !self.global[table / 2][table % 2][slot] {
                    self.tables[table / 2][table % 2][slot] = EMPTY;
                }
            }
        }
        self.locals.clear();
        self.flush_ways(false);
    }

    /// Forgets the page of an address, whatever its size.
    pub(crate) fn flush_page(&mut self, address: u64) {
        if self.huge {
            return self.flush();
        }
        let (word, bit) = range(address);
        for half in self.tables.iter_mut().flatten() {
            half[slot(address)] = EMPTY;
            if self.large[word] & bit != 0 {
                for entry in half.iter_mut().filter(|entry| (entry.tag ^ address) >> 21 == 0) {
                    *entry = EMPTY;
                }
            }
        }
        self.flush_ways(address >> 63 != 0);
    }

    /// Forgets the ways to write to the page at a guest-physical address.
    pub(crate) fn flush_writes_to(&mut self, physical: u64) {
        for entry in self.tables[Access::Write as usize].iter_mut().flatten() {
            if entry.tag != NONE && entry.tag.wrapping_add(entry.addend) == physical & !0xFFF {
                *entry = EMPTY;
            }
        }
    }
}

/// Where a range of 2 MiB is noted.
fn range(address: u64) -> (usize, u64) {
    let hash = (address >> 21 ^ address >> 31) as usize & (RANGES - 1);
    (hash / 64, 1 << (hash % 64))
}

#[inline(always)]
fn slot(address: u64) -> usize {
    (address >> 12) as usize & (SLOTS - 1)
}
