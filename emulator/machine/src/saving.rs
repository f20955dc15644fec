//! The machine as sections of a snapshot: processor, time, and each device by its name.
//!
//! Memory and what was written to the disk are sections, too, but large ones, and their
//! owner's. What is read is not trusted: a section that no machine could have written is
//! refused by its name, and nothing has happened then.

use emulator_bus::PAGE_SIZE;
use emulator_cpu::{Cpu, State};
use emulator_devices::state::Malformed;
use emulator_devices::virtio::{Function, Mmio};
use emulator_devices::{cmos, ioapic, lapic, pic, pit, power, pvclock, uart};
use emulator_snapshot::CHUNK_SIZE;
use emulator_snapshot::state::{Pages, Version};

use crate::board::{Board, LAST_TICK, Parts};
use crate::machine::{Clock, Machine};

/// The guest's memory.
pub const RAM: &str = "ram";
/// Sectors of the disk that the guest wrote.
pub const SECTORS: &str = "sectors";
/// The network card: it holds frames, so it can be large.
pub(crate) const NET: &str = "net";

const CPU: &str = "cpu";
const TIME: &str = "time";

/// All sections with the newest version of each that can be restored.
pub const SECTIONS: &[(&str, u16)] = &[
    (CPU, 1),
    (TIME, 1),
    ("lapic", 1),
    ("ioapic", 1),
    ("pic", 1),
    ("pit", 1),
    ("uart", 1),
    ("cmos", 1),
    ("power", 1),
    ("pvclock", 1),
    ("console", 1),
    ("block", 1),
    (NET, 1),
    ("rng", 1),
    ("balloon", 1),
    (RAM, 1),
    (SECTORS, 1),
];

/// The section of this name is not there, or not one that a machine of this kind wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged(pub &'static str);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "its section {} is not there, or damaged", self.0)
    }
}

impl std::error::Error for Damaged {}

impl Machine {
    /// All sections but memory and disk, by their names. The network card is always among
    /// them; a disk only if there is one.
    pub fn save(&self) -> Vec<(&'static str, Vec<u8>)> {
        let board = &self.board;
        let mut sections = vec![
            (CPU, self.cpu.state.to_bytes()),
            (TIME, self.now.to_le_bytes().to_vec()),
            ("lapic", board.lapic.state().to_bytes()),
            ("ioapic", board.ioapic.state().to_bytes()),
            ("pic", board.pic.state().to_bytes()),
            ("pit", board.pit.state().to_bytes()),
            ("uart", board.uart.state().to_bytes()),
            ("cmos", board.cmos.state().to_bytes()),
            ("power", board.power.state().to_bytes()),
            ("pvclock", board.pvclock.state().to_bytes()),
            ("console", board.console.save()),
            ("rng", board.rng.save()),
            ("balloon", board.balloon.save()),
        ];
        sections.extend(board.block.as_ref().map(|block| ("block", block.save())));
        sections.extend(board.net.as_ref().map(|net| (NET, net.save())));
        sections
    }

    /// Takes on what [`Machine::save`] gave, `section` by section; memory is filled by
    /// [`Machine::fill`]. `seed` is what random numbers are made of from now on.
    ///
    /// # Errors
    /// [`Damaged`]; the machine is as it was then.
    pub fn restore<'a>(
        &mut self,
        parts: &Parts,
        seed: [u8; 32],
        section: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<(), Damaged> {
        let bytes = |name: &'static str| section(name).ok_or(Damaged(name));
        let state = State::from_bytes(bytes(CPU)?).map_err(|_| Damaged(CPU))?;
        let time = bytes(TIME)?.try_into().map_err(|_| Damaged(TIME))?;
        let now = u64::from_le_bytes(time);
        if now > LAST_TICK {
            return Err(Damaged(TIME));
        }
        let mut board = Board::new(parts, 0, seed);
        macro_rules! device {
            ($name:literal, $module:ident, $device:ident) => {
                board.$module = $module::State::from_bytes(bytes($name)?)
                    .and_then($module::$device::from_state)
                    .map_err(|Malformed| Damaged($name))?;
            };
        }
        device!("lapic", lapic, Lapic);
        device!("ioapic", ioapic, Ioapic);
        device!("pic", pic, Pic);
        device!("pit", pit, Pit);
        device!("uart", uart, Uart);
        device!("cmos", cmos, Cmos);
        device!("power", power, Power);
        device!("pvclock", pvclock, Pvclock);
        virtio(&mut board.console, "console", bytes("console")?)?;
        virtio(&mut board.rng, "rng", bytes("rng")?)?;
        virtio(&mut board.balloon, "balloon", bytes("balloon")?)?;
        if let Some(block) = &mut board.block {
            virtio(block, "block", bytes("block")?)?;
        }
        if let Some(net) = &mut board.net {
            virtio(net, NET, bytes(NET)?)?;
        }
        board.settle(now);
        self.cpu = Cpu::new(state);
        self.board = board;
        self.now = now;
        Ok(())
    }

    /// Puts bytes into memory: those of a snapshot.
    pub fn fill(&mut self, address: u64, bytes: &[u8]) {
        // The caller has compared the sizes.
        if let Ok(memory) = self.memory.slice_mut(address, bytes.len()) {
            memory.copy_from_slice(bytes);
        }
    }

    /// Gives a new version to each chunk of memory that was written to since this was called
    /// last. Before each look at [`Machine::ram`].
    pub fn note_written(&mut self) {
        let chunks = self.memory.bytes().len().div_ceil(CHUNK_SIZE);
        self.versions.resize_with(chunks, Version::unique);
        let now = Version::unique();
        for page in self.memory.dirty() {
            self.versions[page as usize * PAGE_SIZE / CHUNK_SIZE] = now;
        }
        self.memory.clean();
    }

    /// Memory, to be saved. It stands still while it is borrowed.
    pub fn ram(&self) -> impl Pages + '_ {
        Ram { bytes: self.memory.bytes(), versions: &self.versions }
    }

    /// After a restore: the time of day is `epoch` nanoseconds since 1970, and random numbers
    /// are made of `seed` from now on. The guest learns that it has been stopped.
    pub fn awaken(&mut self, epoch: u64, seed: [u8; 32]) {
        self.board.reseed(seed);
        self.set_time_of_day(epoch);
        self.service();
    }

    /// The time of day is `epoch` nanoseconds since 1970 now.
    pub fn set_time_of_day(&mut self, epoch: u64) {
        let start = epoch.saturating_sub(self.now);
        self.board.cmos.set_epoch(start / emulator_bus::TICKS_PER_SECOND);
        self.board.pvclock.resume(start, &mut self.memory, self.now);
    }

    /// How its time passes.
    pub fn clock(&self) -> Clock {
        self.clock
    }
}

struct Ram<'a> {
    bytes: &'a [u8],
    versions: &'a [Version],
}

impl Pages for Ram<'_> {
    fn size(&self) -> u64 {
        self.bytes.size()
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        self.bytes.read(offset, into);
    }

    fn version(&self, index: usize) -> Option<Version> {
        self.versions.get(index).copied()
    }
}

fn virtio<F: Function>(
    device: &mut Mmio<F>,
    name: &'static str,
    bytes: &[u8],
) -> Result<(), Damaged> {
    device.restore(bytes).map_err(|Malformed| Damaged(name))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn parts() -> Parts {
        Parts { disk: Some(1 << 20), mtu: Some(1500) }
    }

    fn machine() -> Machine {
        Machine::new(64, &parts(), Clock::Instructions, 5_000_000_000, [1; 32])
    }

    #[test]
    fn a_machine_comes_back_section_by_section() {
        let mut machine = machine();
        machine.cpu.state.gpr[3] = 77;
        machine.now = 12_345;
        machine.board.offer_console(b"typed");
        let sections: HashMap<_, _> = machine.save().into_iter().collect();
        let mut names: Vec<_> = sections.keys().copied().chain([RAM, SECTORS]).collect();
        let mut all: Vec<_> = SECTIONS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        all.sort_unstable();
        assert_eq!(names, all);

        let mut other = self::machine();
        let get = |name: &str| sections.get(name).map(Vec::as_slice);
        assert_eq!(other.restore(&parts(), [2; 32], get), Ok(()));
        assert_eq!(other.now(), 12_345);
        assert_eq!(other.save().into_iter().collect::<HashMap<_, _>>(), sections);
    }

    #[test]
    fn each_section_that_is_missing_or_cut_is_named() {
        let sections: HashMap<_, _> = machine().save().into_iter().collect();
        for name in sections.keys().copied() {
            let mut machine = machine();
            machine.cpu.state.rip = 99;
            let missing =
                |wanted: &str| sections.get(wanted).filter(|_| wanted != name).map(Vec::as_slice);
            assert_eq!(machine.restore(&parts(), [0; 32], missing), Err(Damaged(name)));
            let cut = |wanted: &str| {
                let bytes = sections.get(wanted)?;
                Some(if wanted == name { &bytes[..bytes.len() - 1] } else { &bytes[..] })
            };
            assert_eq!(machine.restore(&parts(), [0; 32], cut), Err(Damaged(name)));
            assert_eq!(machine.processor().rip, 99, "nothing has happened");
        }
    }
}
