//! A bzImage: a real-mode part that is not executed, with the header, and behind it the
//! protected-mode part (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").

use emulator_bus::Memory;

use super::{Error, HEADER, HEADER_MAGIC, Loaded, ZERO_PAGE};

const SECTORS: usize = 0x1F1;
const VERSION: usize = 0x206;
const HEADER_JUMP: usize = 0x201;
const XLOADFLAGS: usize = 0x236;
const PREFERRED: usize = 0x258;
const INIT_SIZE: usize = 0x260;
/// 2.12: the first with XLF_KERNEL_64.
const LEAST_VERSION: u16 = 0x20C;
const KERNEL_64: u16 = 1;
/// Where 64-bit code begins in the protected-mode part.
const ENTRY_64: u64 = 0x200;

fn word<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Error> {
    let found = bytes.get(at..).and_then(|tail| tail.first_chunk());
    found.copied().ok_or(Error::NotAKernel("the file ends in its header"))
}

pub(super) fn load(memory: &mut Memory, image: &[u8]) -> Result<Loaded, Error> {
    if word(image, HEADER_MAGIC as usize)? != *b"HdrS" {
        return Err(Error::NotAKernel("it is neither an ELF file nor a bzImage"));
    }
    if u16::from_le_bytes(word(image, VERSION)?) < LEAST_VERSION {
        return Err(Error::NotAKernel("its boot protocol is older than 2.12 (Linux 3.8)"));
    }
    if u16::from_le_bytes(word(image, XLOADFLAGS)?) & KERNEL_64 == 0 {
        return Err(Error::NotAKernel("it has no 64-bit entry"));
    }
    // §"The Real-Mode Kernel Header", setup_sects: 0 means 4.
    let sectors = match word::<1>(image, SECTORS)? {
        [0] => 4,
        [sectors] => usize::from(sectors),
    };
    let body = image.get((sectors + 1) * 512..).filter(|body| body.len() > ENTRY_64 as usize);
    let body = body.ok_or(Error::NotAKernel("the file ends before its 64-bit part"))?;
    let at = u64::from_le_bytes(word(image, PREFERRED)?);
    let size = u64::from(u32::from_le_bytes(word(image, INIT_SIZE)?)).max(body.len() as u64);
    let end = at.checked_add(size).ok_or(Error::NotAKernel("its address is impossible"))?;
    if end > memory.size() {
        return Err(Error::Memory(end));
    }
    if at < crate::map::HIGH_MEMORY {
        return Err(Error::NotAKernel("it wants to lie in base memory"));
    }
    memory.slice_mut(at, body.len())?.copy_from_slice(body);
    // The header ends where its jump, at 0x200, goes to.
    let header = HEADER as usize;
    let length = 0x202 + usize::from(word::<1>(image, HEADER_JUMP)?[0]) - header;
    let source = image.get(header..header + length);
    let source = source.ok_or(Error::NotAKernel("the file ends in its header"))?;
    memory.slice_mut(ZERO_PAGE + HEADER, length)?.copy_from_slice(source);
    Ok(Loaded { entry: at + ENTRY_64, end })
}
