//! Loads and stores at linear addresses: through the TLB, or the long way over pages, devices
//! and decoded code.

use emulator_bus::{Cycle, Width, Word};

use crate::core::{Core, Fault};
use crate::tlb::Access;

/// Words of the integer unit.
pub(crate) trait Data: Word {
    fn widen(self) -> u64;
    fn narrow(value: u64) -> Self;
}

macro_rules! data {
    ($($word:ty),*) => {$(
        impl Data for $word {
            #[inline(always)]
            fn widen(self) -> u64 { u64::from(self) }
            #[inline(always)]
            fn narrow(value: u64) -> Self { value as Self }
        }
    )*};
}
data!(u8, u16, u32, u64);

/// Is the address canonical for 48 bits?
#[inline(always)]
pub(crate) fn canonical(address: u64) -> bool {
    ((address << 16) as i64 >> 16) as u64 == address
}

/// The longest operand that is one access.
const PIECE: usize = 16;

fn width(size: usize) -> Width {
    match size {
        1 => Width::Byte,
        2 => Width::Word,
        4 => Width::Double,
        _ => Width::Quad,
    }
}

impl Core<'_> {
    /// A load of a word.
    #[inline(always)]
    pub(crate) fn load<W: Data>(&mut self, address: u64) -> Result<u64, Fault> {
        if let Some(physical) = self.tlb.find(Access::Read, address, W::SIZE as u64) {
            return Ok(self.memory.load::<W>(physical).widen());
        }
        self.load_slow(address, W::SIZE)
    }

    /// A store of a word.
    #[inline(always)]
    pub(crate) fn store<W: Data>(&mut self, address: u64, value: u64) -> Result<(), Fault> {
        if let Some(physical) = self.tlb.find(Access::Write, address, W::SIZE as u64) {
            self.memory.store(physical, W::narrow(value));
            return Ok(());
        }
        self.store_slow(address, W::SIZE, value)
    }

    /// A load whose size is known when it happens: 1, 2, 4 or 8 bytes as a power of two.
    #[inline(always)]
    pub(crate) fn load_sized(&mut self, address: u64, size: u8) -> Result<u64, Fault> {
        match size {
            0 => self.load::<u8>(address),
            1 => self.load::<u16>(address),
            2 => self.load::<u32>(address),
            _ => self.load::<u64>(address),
        }
    }

    /// A store whose size is known when it happens.
    #[inline(always)]
    pub(crate) fn store_sized(&mut self, address: u64, size: u8, value: u64) -> Result<(), Fault> {
        match size {
            0 => self.store::<u8>(address, value),
            1 => self.store::<u16>(address, value),
            2 => self.store::<u32>(address, value),
            _ => self.store::<u64>(address, value),
        }
    }

    /// Sixteen bytes.
    #[inline(always)]
    pub(crate) fn load_wide(&mut self, address: u64) -> Result<u128, Fault> {
        if let Some(physical) = self.tlb.find(Access::Read, address, 16) {
            return Ok(self.memory.load::<u128>(physical));
        }
        let mut bytes = [0; 16];
        self.load_bytes(address, &mut bytes)?;
        Ok(u128::from_le_bytes(bytes))
    }

    /// Sixteen bytes.
    #[inline(always)]
    pub(crate) fn store_wide(&mut self, address: u64, value: u128) -> Result<(), Fault> {
        if let Some(physical) = self.tlb.find(Access::Write, address, 16) {
            self.memory.store(physical, value);
            return Ok(());
        }
        self.store_bytes(address, &value.to_le_bytes())
    }

    #[inline(never)]
    fn load_slow(&mut self, address: u64, size: usize) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.load_bytes(address, &mut bytes[..size])?;
        Ok(u64::from_le_bytes(bytes))
    }

    #[inline(never)]
    fn store_slow(&mut self, address: u64, size: usize, value: u64) -> Result<(), Fault> {
        self.store_bytes(address, &value.to_le_bytes()[..size])
    }

    /// A load of any length up to two pages, for 10-byte and 512-byte operands too.
    pub(crate) fn load_bytes(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let (first, rest) = self.way(Access::Read, address, bytes.len())?;
        let (head, tail) = bytes.split_at_mut(rest.map_or(bytes.len(), |(_, at)| at));
        self.physical_load(first, head);
        if let Some((second, _)) = rest {
            self.physical_load(second, tail);
        }
        Ok(())
    }

    /// A store of any length up to two pages. Nothing is written unless all can be.
    pub(crate) fn store_bytes(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        let (first, rest) = self.way(Access::Write, address, bytes.len())?;
        let (head, tail) = bytes.split_at(rest.map_or(bytes.len(), |(_, at)| at));
        self.physical_store(first, head);
        if let Some((second, _)) = rest {
            self.physical_store(second, tail);
        }
        Ok(())
    }

    /// Raises what a store of this length would raise, and changes no memory.
    pub(crate) fn probe_write(&mut self, address: u64, length: usize) -> Result<(), Fault> {
        self.way(Access::Write, address, length).map(|_| ())
    }

    /// Physical addresses of an access: of its start, and of what lies in the next page with
    /// the number of bytes before it.
    fn way(
        &mut self,
        access: Access,
        address: u64,
        length: usize,
    ) -> Result<(u64, Option<(u64, usize)>), Fault> {
        if let Some(physical) = self.tlb.find(access, address, length as u64) {
            return Ok((physical, None));
        }
        let user = self.state.cpl == 3 && !self.implicit;
        let last = address.wrapping_add(length as u64 - 1);
        // Tables have 64-bit addresses even while 32-bit code is executed.
        let long = self.long() || (self.implicit && self.state.msrs.efer & 0x400 != 0);
        let last = if long { last } else { last & 0xFFFF_FFFF };
        // Operands beyond this size are moved in pieces, the first one first.
        if long && !(canonical(address) && (length > PIECE || canonical(last))) {
            self.noncanonical = Some(address);
            return Err(self.protect());
        }
        let first = self.translate(access, address, user)?;
        if long && !canonical(last) {
            self.noncanonical = Some(address);
            return Err(self.protect());
        }
        if address & !0xFFF == last & !0xFFF {
            return Ok((first, None));
        }
        let second = self.translate(access, last & !0xFFF, user)?;
        Ok((first, Some((second, 4096 - (address & 0xFFF) as usize))))
    }

    fn physical_load(&mut self, address: u64, bytes: &mut [u8]) {
        if let Ok(slice) = self.memory.slice(address, bytes.len()) {
            return bytes.copy_from_slice(slice);
        }
        for (chunk, at) in pieces(address, bytes.len()) {
            let now = self.now();
            let cycle = Cycle { memory: self.memory, now };
            let value = self.bus.mmio_read(at, width(chunk.len()), cycle);
            bytes[chunk.clone()].copy_from_slice(&value.to_le_bytes()[..chunk.len()]);
        }
        self.after_cycle();
    }

    fn physical_store(&mut self, address: u64, bytes: &[u8]) {
        if let Ok(slice) = self.memory.slice_mut(address, bytes.len()) {
            slice.copy_from_slice(bytes);
            if self.memory.has_stale() {
                self.stop();
            }
            return;
        }
        for (chunk, at) in pieces(address, bytes.len()) {
            let mut value = [0; 8];
            value[..chunk.len()].copy_from_slice(&bytes[chunk.clone()]);
            let now = self.now();
            let cycle = Cycle { memory: self.memory, now };
            self.bus.mmio_write(at, width(chunk.len()), u64::from_le_bytes(value), cycle);
        }
        self.after_cycle();
    }
}

/// A device sees accesses of 1, 2, 4 or 8 aligned bytes.
fn pieces(address: u64, length: usize) -> impl Iterator<Item = (std::ops::Range<usize>, u64)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let at = address + start as u64;
        let left = length - start;
        let size = [8, 4, 2, 1]
            .into_iter()
            .find(|size| *size <= left && at.is_multiple_of(*size as u64))?;
        let range = start..start + size;
        start += size;
        (left > 0).then_some((range, at))
    })
}
