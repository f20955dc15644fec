//! An ELF kernel (vmlinux): its loadable segments at their physical addresses (System V ABI,
//! "Program Header").

use emulator_bus::Memory;

use super::{Error, Loaded};
use crate::map;

const CLASS_64: u8 = 2;
const LITTLE: u8 = 1;
const X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PROGRAM_HEADER: usize = 56;
/// A kernel has about five.
const MOST_SEGMENTS: u16 = 64;

fn word<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Error> {
    let found = bytes.get(at..).and_then(|tail| tail.first_chunk());
    found.copied().ok_or(Error::NotAKernel("the ELF file is cut off"))
}

fn half(bytes: &[u8], at: usize) -> Result<u16, Error> {
    word(bytes, at).map(u16::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> Result<u64, Error> {
    word(bytes, at).map(u64::from_le_bytes)
}

pub(super) fn load(memory: &mut Memory, file: &[u8]) -> Result<Loaded, Error> {
    if word(file, 4)? != [CLASS_64, LITTLE] || half(file, 18)? != X86_64 {
        return Err(Error::NotAKernel("it is an ELF file of another machine"));
    }
    let (entry, table) = (long(file, 24)?, long(file, 32)?);
    let (size, count) = (half(file, 54)?, half(file, 56)?);
    if usize::from(size) != PROGRAM_HEADER || count > MOST_SEGMENTS {
        return Err(Error::NotAKernel("its program headers are of an unknown form"));
    }
    let mut end = 0;
    let mut holds_entry = false;
    for index in 0..usize::from(count) {
        let at =
            usize::try_from(table).ok().and_then(|table| table.checked_add(index * PROGRAM_HEADER));
        let header = at.and_then(|at| file.get(at..));
        let header = header.ok_or(Error::NotAKernel("the ELF file is cut off"))?;
        if word(header, 0).map(u32::from_le_bytes)? == PT_LOAD {
            let segment = segment(memory, file, header)?;
            holds_entry |= segment.contains(&entry);
            end = end.max(segment.end);
        }
    }
    if !holds_entry {
        return Err(Error::NotAKernel("its entry is not in what is loaded"));
    }
    Ok(Loaded { entry, end })
}

/// Loads one segment; says where it lies. Memory is zeros before.
fn segment(memory: &mut Memory, file: &[u8], header: &[u8]) -> Result<std::ops::Range<u64>, Error> {
    let (offset, address) = (long(header, 8)?, long(header, 24)?);
    let (stored, size) = (long(header, 32)?, long(header, 40)?);
    let end = address.checked_add(size.max(stored));
    let end = end.ok_or(Error::NotAKernel("a segment's address is impossible"))?;
    if address < map::HIGH_MEMORY {
        return Err(Error::NotAKernel("a segment wants to lie in base memory"));
    }
    if end > memory.size() {
        return Err(Error::Memory(end));
    }
    let range = usize::try_from(offset).ok().zip(usize::try_from(stored).ok());
    let bytes = range.and_then(|(offset, stored)| file.get(offset..)?.get(..stored));
    let bytes = bytes.ok_or(Error::NotAKernel("the ELF file is cut off"))?;
    memory.slice_mut(address, bytes.len())?.copy_from_slice(bytes);
    Ok(address..end)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `mov al, 42; out 0xF4, al` as an ELF kernel at 1 MiB.
    pub(crate) fn kernel() -> Vec<u8> {
        let mut file = b"\x7FELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| {
            file[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(&mut file, 18, &62u16.to_le_bytes());
        put(&mut file, 24, &0x10_0000u64.to_le_bytes());
        put(&mut file, 32, &64u64.to_le_bytes());
        put(&mut file, 54, &56u16.to_le_bytes());
        put(&mut file, 56, &1u16.to_le_bytes());
        file.resize(120, 0);
        put(&mut file, 64, &1u32.to_le_bytes());
        put(&mut file, 72, &120u64.to_le_bytes());
        put(&mut file, 88, &0x10_0000u64.to_le_bytes());
        put(&mut file, 96, &4u64.to_le_bytes());
        put(&mut file, 104, &4096u64.to_le_bytes());
        file.extend([0xB0, 42, 0xE6, 0xF4]);
        file
    }

    #[test]
    fn every_shorter_file_is_refused() {
        let file = kernel();
        for length in 4..file.len() {
            let mut memory = Memory::new(2 << 20);
            let refused = load(&mut memory, &file[..length]).is_err();
            assert!(refused, "{length} bytes");
        }
        assert!(load(&mut Memory::new(2 << 20), &file).is_ok());
    }

    #[test]
    fn impossible_headers_are_refused() {
        for at in 0..120 {
            for value in [0x7F, 0x80, 0xFF] {
                let mut file = kernel();
                file[at] = value;
                // Refused or loaded, never a panic.
                let _ = load(&mut Memory::new(2 << 20), &file);
            }
        }
    }
}
