//! Guest RAM: one piece from physical address 0, and a byte of notes for each page.
//!
//! Two notes are kept. *Dirty*: written since the last [`Memory::clean`], for snapshots.
//! *Code*: a processor holds decoded instructions of the page; a store by anybody takes the
//! note away and puts the page on the list of stale ones, which the processor drains before
//! it executes anything more. A processor that keeps its own way to a page (a TLB entry)
//! must have set *dirty* first, never keep a writable way to a *code* page, and forget all
//! of them when [`Memory::epoch`] has changed.
//!
//! Access is checked; there is no unsafe code here. The check costs a compare that the
//! interpreter's own work hides.

use std::fmt;

use crate::Word;

/// Bytes of a page, the unit of translation and of notes.
pub const PAGE_SIZE: usize = 4096;

const DIRTY: u8 = 1;
const CODE: u8 = 2;

/// The access touches an address where there is no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmapped;

/// Guest RAM.
pub struct Memory {
    bytes: Vec<u8>,
    notes: Vec<u8>,
    stale: Vec<u32>,
    epoch: u32,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Memory {
    /// `size` bytes of zeros, rounded up to whole pages.
    pub fn new(size: usize) -> Self {
        let pages = size.div_ceil(PAGE_SIZE);
        Memory {
            bytes: vec![0; pages * PAGE_SIZE],
            notes: vec![0; pages],
            stale: Vec::new(),
            epoch: 0,
        }
    }

    /// The same, or `None` if the host has not that much.
    pub fn try_new(size: usize) -> Option<Self> {
        let mut probe: Vec<u8> = Vec::new();
        probe.try_reserve_exact(size.checked_next_multiple_of(PAGE_SIZE)?).ok()?;
        drop(probe);
        Some(Memory::new(size))
    }

    /// Bytes: memory is at the addresses 0 to this.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// All bytes, to look at.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All bytes, for a processor that makes the notes itself.
    #[inline]
    pub fn raw(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The word at `address`.
    #[inline]
    pub fn read<W: Word>(&self, address: u64) -> Result<W, Unmapped> {
        self.tail(address).and_then(W::read).ok_or(Unmapped)
    }

    /// Stores a word, and makes the notes.
    #[inline]
    pub fn write<W: Word>(&mut self, address: u64, value: W) -> Result<(), Unmapped> {
        value.write(self.slice_mut(address, W::SIZE)?).ok_or(Unmapped)
    }

    /// `length` bytes from `address` on.
    #[inline]
    pub fn slice(&self, address: u64, length: usize) -> Result<&[u8], Unmapped> {
        self.tail(address).and_then(|tail| tail.get(..length)).ok_or(Unmapped)
    }

    /// `length` bytes from `address` on, to be written; the notes are made now.
    pub fn slice_mut(&mut self, address: u64, length: usize) -> Result<&mut [u8], Unmapped> {
        self.slice(address, length)?;
        self.touch(address, length);
        let start = address as usize;
        Ok(&mut self.bytes[start..start + length])
    }

    /// Copies inside of memory; the ranges may overlap (`memmove`).
    pub fn copy(&mut self, from: u64, to: u64, length: usize) -> Result<(), Unmapped> {
        self.slice(from, length)?;
        self.slice_mut(to, length)?;
        self.bytes.copy_within(from as usize..from as usize + length, to as usize);
        Ok(())
    }

    /// The word at `address` for a processor that has translated it: no notes, and zero if
    /// the address was wrong after all.
    #[inline(always)]
    pub fn load<W: Word>(&self, address: u64) -> W {
        self.tail(address).and_then(W::read).unwrap_or_default()
    }

    /// Stores without notes: the processor has made them when it made its TLB entry.
    #[inline(always)]
    pub fn store<W: Word>(&mut self, address: u64, value: W) {
        let tail = usize::try_from(address).ok().and_then(|start| self.bytes.get_mut(start..));
        if let Some(tail) = tail {
            value.write(tail);
        }
    }

    /// Is the page of `address` memory?
    #[inline]
    pub fn holds(&self, address: u64) -> bool {
        address < self.bytes.len() as u64
    }

    /// Notes that a processor holds decoded instructions of the page of `address`.
    pub fn note_code(&mut self, address: u64) {
        if self.holds(address) {
            self.notes[address as usize / PAGE_SIZE] |= CODE;
        }
    }

    /// Does a processor hold decoded instructions of the page of `address`?
    pub fn is_code(&self, address: u64) -> bool {
        self.holds(address) && self.notes[address as usize / PAGE_SIZE] & CODE != 0
    }

    /// Makes the notes of a store to `length` bytes at `address`, which must be memory.
    pub fn touch(&mut self, address: u64, length: usize) {
        if length == 0 {
            return;
        }
        let first = address as usize / PAGE_SIZE;
        let last = (address as usize + length - 1) / PAGE_SIZE;
        for (notes, page) in self.notes[first..=last].iter_mut().zip(first..) {
            if *notes & CODE != 0 {
                self.stale.push(page as u32);
            }
            *notes = *notes & !CODE | DIRTY;
        }
    }

    /// Are there pages whose decoded instructions are out of date?
    #[inline]
    pub fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Takes the numbers of the pages whose decoded instructions are out of date.
    pub fn take_stale(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.stale)
    }

    /// Numbers of the pages written since the last [`Memory::clean`].
    pub fn dirty(&self) -> impl Iterator<Item = u32> + '_ {
        let pages = self.notes.iter().zip(0..);
        pages.filter(|(notes, _)| **notes & DIRTY != 0).map(|(_, page)| page)
    }

    /// From here on all pages count as unwritten; processors forget their ways to them.
    pub fn clean(&mut self) {
        for notes in &mut self.notes {
            *notes &= !DIRTY;
        }
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Changes when processors must forget the ways that they know to pages.
    #[inline]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    #[inline(always)]
    fn tail(&self, address: u64) -> Option<&[u8]> {
        usize::try_from(address).ok().and_then(|start| self.bytes.get(start..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_the_end_is_checked() {
        let mut memory = Memory::new(PAGE_SIZE + 1);
        assert_eq!(memory.size(), 2 * PAGE_SIZE as u64);
        memory.write(4094, 0x1122_3344_5566_7788u64).unwrap();
        assert_eq!(memory.read::<u64>(4094), Ok(0x1122_3344_5566_7788));
        assert_eq!(memory.read::<u16>(4096), Ok(0x5566));
        assert_eq!(memory.read::<u64>(8185), Err(Unmapped));
        assert_eq!(memory.write(u64::MAX, 1u8), Err(Unmapped));
        assert_eq!(memory.slice(8192, 1), Err(Unmapped));
        assert_eq!(memory.slice(8192, 0), Ok(&[][..]));
    }

    #[test]
    fn stores_are_noted() {
        let mut memory = Memory::new(4 * PAGE_SIZE);
        memory.note_code(5000);
        memory.write(4095, 1u16).unwrap();
        assert_eq!(memory.dirty().collect::<Vec<_>>(), [0, 1]);
        assert!(!memory.is_code(4096));
        assert_eq!(memory.take_stale(), [1]);
        assert!(!memory.has_stale());
        let epoch = memory.epoch();
        memory.clean();
        assert_ne!(memory.epoch(), epoch);
        assert_eq!(memory.dirty().count(), 0);
    }

    #[test]
    fn a_copy_may_overlap() {
        let mut memory = Memory::new(PAGE_SIZE);
        memory.slice_mut(0, 4).unwrap().copy_from_slice(&[1, 2, 3, 4]);
        memory.copy(0, 1, 4).unwrap();
        assert_eq!(memory.slice(0, 5), Ok(&[1, 1, 2, 3, 4][..]));
        assert_eq!(memory.copy(0, 4095, 2), Err(Unmapped));
    }
}
