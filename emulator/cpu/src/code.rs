//! The code cache: decoded instructions by physical page.
//!
//! ```text
//!   physical address of a block's start ──▶ index ──▶ uops: [ … mov add cmp jcc │ … │ … ]
//!          (direct-mapped, with mode)                        one arena, all blocks
//! ```
//!
//! A block is decoded from where something jumped to, up to a branch, the end of the page or
//! the start of a block that is there already. Branches inside of a page keep the index that
//! they lead to, because both go away together when the page is written to. The arena only
//! grows; when it is full, all is forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use emulator_bus::Memory;

use crate::core::Extent;
use crate::decode::{LONGEST, Undecoded, decode};
use crate::quick::Quick;
use crate::quick::select::select;
use crate::state::Mode;
use crate::uop::{Op, Uop};

/// Micro-operations in the arena: 24 MiB. A Linux boot decodes about 300,000.
const ARENA: usize = 1 << 20;
/// Spreads keys: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// Instructions on two pages that are remembered.
const STRADDLES: usize = 64;
/// Instructions of the longest block. The last so many of a budget are executed one by one.
pub(crate) const BLOCK: usize = 64;

/// What decoding depends on besides the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

impl Key {
    /// The key of a physical address in a mode.
    pub(crate) fn new(physical: u64, mode: Mode, extent: Extent) -> Self {
        Key(physical << 4 | (mode as u64) << 2 | extent as u64)
    }

    fn slot(self) -> usize {
        self.0.wrapping_mul(SPREAD).rotate_left(20) as usize % STRADDLES
    }
}

/// A hash of few numbers.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(SPREAD).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0.wrapping_mul(SPREAD)
    }
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

#[derive(Clone, Copy)]
struct Straddle {
    key: Key,
    second: u64,
    index: u32,
}

const NO_STRADDLE: Straddle = Straddle { key: Key(u64::MAX), second: 0, index: 0 };

/// Decoded instructions.
pub(crate) struct CodeCache {
    pub(crate) uops: Vec<Uop>,
    /// Where blocks start.
    starts: Map<Key, u32>,
    straddles: [Straddle; STRADDLES],
    /// Block starts by physical page.
    pages: Map<u64, Vec<Key>>,
    /// Instructions decoded, for statistics.
    pub(crate) decoded: u64,
    /// How often everything was forgotten.
    pub(crate) cleared: u64,
    /// Linear addresses before which a debugger wants to be asked.
    breakpoints: Vec<u64>,
}

impl CodeCache {
    pub(crate) fn new() -> Self {
        CodeCache {
            uops: Vec::new(),
            starts: Map::default(),
            straddles: [NO_STRADDLE; STRADDLES],
            pages: Map::default(),
            decoded: 0,
            cleared: 0,
            breakpoints: Vec::new(),
        }
    }

    /// Other breakpoints from now on.
    pub(crate) fn set_breakpoints(&mut self, addresses: &[u64]) {
        self.breakpoints = addresses.to_vec();
        self.clear();
    }

    /// Is there a breakpoint at this offset in whatever page? Blocks end before it.
    #[inline]
    pub(crate) fn is_marked(&self, address: u64) -> bool {
        self.breakpoints.iter().any(|at| (at ^ address) & 0xFFF == 0)
    }

    /// Is there a breakpoint at this linear address?
    pub(crate) fn is_breakpoint(&self, linear: u64) -> bool {
        self.breakpoints.contains(&linear)
    }

    /// Where the block at this address starts, if it is decoded.
    pub(crate) fn find(&self, key: Key) -> Option<usize> {
        self.starts.get(&key).map(|index| *index as usize)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.cleared += 1;
        self.uops.clear();
        self.starts.clear();
        self.straddles = [NO_STRADDLE; STRADDLES];
        self.pages.clear();
    }

    /// Forgets what was decoded from a page that was written to.
    pub(crate) fn forget(&mut self, page: u64) {
        for key in self.pages.remove(&page).unwrap_or_default() {
            self.starts.remove(&key);
        }
        self.straddles = [NO_STRADDLE; STRADDLES];
    }

    /// Is there room for another block?
    pub(crate) fn full(&self) -> bool {
        self.uops.len() + 2 * BLOCK > ARENA
    }

    /// Decodes the block at a physical address that is memory, and marks its page as code.
    pub(crate) fn decode(
        &mut self,
        memory: &mut Memory,
        physical: u64,
        mode: Mode,
        extent: Extent,
    ) -> usize {
        let page = physical & !0xFFF;
        let key = Key::new(physical, mode, extent);
        let start = self.uops.len();
        self.starts.insert(key, start as u32);
        self.pages.entry(page >> 12).or_default().push(key);
        memory.note_code(page);
        let bytes = memory.slice(page, 4096).unwrap_or_default();
        let mut offset = physical & 0xFFF;
        let most = match extent {
            Extent::Block => BLOCK,
            Extent::One => 1,
            Extent::Short => 2,
        };
        while self.uops.len() - start < most {
            let uop = match bytes.get(offset as usize..).filter(|rest| !rest.is_empty()) {
                Some(_) if extent == Extent::Block && self.is_marked(offset) => leave(offset),
                Some(rest) => one(rest, offset, mode),
                None => next_page(offset),
            };
            self.decoded += 1;
            self.uops.push(uop);
            if ends_block(uop.op) {
                break;
            }
            offset = uop.next();
            if offset < 4096
                && let Some(index) = self.find(Key::new(page + offset, mode, extent))
            {
                self.uops.push(link(offset, index as i32 + 1));
                break;
            }
        }
        if extent != Extent::One {
            select(&mut self.uops[start..], mode);
        }
        if extent == Extent::Short && !self.uops[start].quick.fuses() {
            self.uops.truncate(start + 1);
            offset = self.uops[start].next();
        }
        if self.uops.last().is_some_and(|last| !ends_block(last.op)) {
            // Behind the last byte of the page there is no offset that a link could name.
            self.uops.push(if offset < 4096 { link(offset, 0) } else { next_page(offset) });
        }
        self.number(start);
        start
    }

    /// Tells branches how many instructions of the block they end.
    fn number(&mut self, start: usize) {
        for (uop, before) in self.uops[start..].iter_mut().zip(0..) {
            match uop.op {
                Op::Link | Op::NextPage => uop.done = before,
                Op::Jcc | Op::Jmp | Op::JmpIndirect | Op::Call | Op::CallIndirect | Op::Ret => {
                    uop.done = before + 1;
                }
                _ => {}
            }
        }
    }

    /// The branch at `from`, inside of its page, leads to the block at `to` from now on.
    pub(crate) fn link(&mut self, from: usize, to: usize) {
        let branch = &mut self.uops[from];
        // In 16 bits, where it leads depends on where the page is.
        if branch.size != 1 {
            branch.disp = to as i32 + 1;
        }
    }

    /// The instruction at `key` that goes on in the page `second`, if it is remembered.
    pub(crate) fn find_straddle(&self, key: Key, second: u64) -> Option<usize> {
        let straddle = &self.straddles[key.slot()];
        (straddle.key == key && straddle.second == second).then_some(straddle.index as usize)
    }

    /// Remembers an instruction on two pages.
    pub(crate) fn add_straddle(&mut self, key: Key, second: u64, uop: Uop) -> usize {
        let index = self.uops.len();
        self.uops.push(uop);
        self.uops.push(next_page(uop.next()));
        self.number(index);
        self.straddles[key.slot()] = Straddle { key, second, index: index as u32 };
        index
    }
}

fn one(bytes: &[u8], offset: u64, mode: Mode) -> Uop {
    match decode(bytes, offset, mode) {
        Ok(uop) => uop,
        Err(Undecoded::Short) if bytes.len() < LONGEST => leave(offset),
        Err(_) => Uop { place: offset as u16 | 1 << 12, sub: 1, ..Uop::new(Op::Invalid) },
    }
}

/// The loop is left before this instruction, which is looked at alone.
fn leave(offset: u64) -> Uop {
    Uop { place: offset as u16, ..Uop::new(Op::Straddle) }
}

fn link(offset: u64, disp: i32) -> Uop {
    Uop { place: offset as u16, disp, quick: Quick::Link, ..Uop::new(Op::Link) }
}

/// `offset` is beyond the page: what is there lies in the next.
fn next_page(offset: u64) -> Uop {
    Uop { imm: offset as i32, quick: Quick::Link, ..Uop::new(Op::NextPage) }
}

/// Does control never go on behind this instruction? (Instructions that change how code is
/// decoded stop the loop; the next one is looked up anew.)
fn ends_block(op: Op) -> bool {
    matches!(
        op,
        Op::Invalid
            | Op::Link
            | Op::NextPage
            | Op::Straddle
            | Op::Jmp
            | Op::JmpIndirect
            | Op::Call
            | Op::CallIndirect
            | Op::Ret
            | Op::JmpFar
            | Op::CallFar
            | Op::RetFar
            | Op::Iret
            | Op::Int
            | Op::Int3
            | Op::Int1
            | Op::Ud
            | Op::Syscall
            | Op::Sysret
            | Op::Sysenter
            | Op::Sysexit
    )
}
