//! The machine under observation: turn by turn, at linear addresses, as a hash, in figures.
//! For traces, debuggers and tests. Who only looks leaves no trace in the guest.

use emulator_bus::PAGE_SIZE;
use emulator_cpu::{State, Turn};

use crate::machine::{Machine, Outcome};

/// Figures about a machine's work since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Instructions retired.
    pub instructions: u64,
    /// Instructions decoded.
    pub decoded: u64,
    /// Walks through page tables: misses of the TLB.
    pub walks: u64,
    /// Pages of memory that were written to.
    pub written: usize,
}

impl Machine {
    /// One step of what [`Machine::run`] does: an interrupt is taken, or an instruction
    /// executed; the guest cannot tell. With `deaf`, interrupts wait.
    ///
    /// # Errors
    /// Why nothing could be executed.
    pub fn turn(&mut self, host: u64, deaf: bool) -> Result<Turn, Outcome> {
        self.keep_time(host);
        loop {
            self.board.settle(self.now);
            self.board.begin(self.now + 1);
            let (turn, retired) = self.cpu.turn(&mut self.memory, &mut self.board, self.now, deaf);
            self.now += retired;
            match turn {
                Turn::Shutdown => return Err(Outcome::Shutdown),
                Turn::Halted => match self.sleep() {
                    Some(outcome) => return Err(outcome),
                    None if deaf => return Err(Outcome::Waits),
                    None => {}
                },
                Turn::Left => {
                    if let Some(outcome) = self.request() {
                        return Err(outcome);
                    }
                }
                Turn::Breakpoint => return Err(Outcome::Breakpoint),
                Turn::Executed | Turn::Exception(_) | Turn::Interrupt(_) => return Ok(turn),
            }
        }
    }

    /// [`Machine::run`] returns before instructions at these linear addresses; a turn leads
    /// away from there.
    pub fn set_breakpoints(&mut self, addresses: &[u64]) {
        self.cpu.set_breakpoints(addresses);
    }

    /// The guest-physical address of a linear one; `None` if it is not mapped.
    pub fn locate(&self, linear: u64) -> Option<u64> {
        self.cpu.probe(&self.memory, linear)
    }

    /// Reads what is at a linear address; says how many of the bytes there are.
    pub fn peek(&self, linear: u64, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        for (at, length) in pages(linear, bytes.len()) {
            let place = self.locate(at).map(|physical| self.memory.slice(physical, length));
            let Some(Ok(found)) = place else { break };
            bytes[done..done + length].copy_from_slice(found);
            done += length;
        }
        done
    }

    /// Writes to a linear address, whatever its page allows. `false` if not all of it is
    /// memory; nothing is written then.
    #[must_use]
    pub fn poke(&mut self, linear: u64, bytes: &[u8]) -> bool {
        let places = pages(linear, bytes.len()).map(|(at, length)| {
            let physical = self.locate(at)?;
            self.memory.slice(physical, length).ok().map(|_| physical)
        });
        let Some(places) = places.collect::<Option<Vec<u64>>>() else { return false };
        let mut rest = bytes;
        for (physical, (_, length)) in places.into_iter().zip(pages(linear, bytes.len())) {
            let (piece, behind) = rest.split_at(length);
            self.fill(physical, piece);
            rest = behind;
        }
        true
    }

    /// Gives the processor another state.
    pub fn set_processor(&mut self, state: State) {
        self.cpu.state = state;
        self.cpu.reload();
    }

    /// What distinguishes this machine from any other: BLAKE3 of all sections of
    /// [`Machine::save`] and of memory. Pages of zeros are left out.
    pub fn state_hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (name, bytes) in self.save() {
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        }
        hasher.update(&self.memory.size().to_le_bytes());
        for (page, number) in self.memory.bytes().chunks_exact(PAGE_SIZE).zip(0u64..) {
            if page.iter().any(|byte| *byte != 0) {
                hasher.update(&number.to_le_bytes()).update(page);
            }
        }
        hasher.finalize().into()
    }

    /// Figures about its work.
    pub fn figures(&self) -> Figures {
        Figures {
            instructions: self.instructions(),
            decoded: self.cpu.decoded(),
            walks: self.cpu.walks(),
            written: self.memory.dirty().count(),
        }
    }
}

/// The parts of a range that are in one page each: address and length.
fn pages(start: u64, length: usize) -> impl Iterator<Item = (u64, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = start.wrapping_add(done as u64);
        let room = PAGE_SIZE - at as usize % PAGE_SIZE;
        let piece = room.min(length - done);
        done += piece;
        (piece > 0).then_some((at, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Parts;
    use crate::machine::Clock;

    fn machine() -> Machine {
        let parts = Parts { disk: None, mtu: None };
        let mut machine = Machine::new(64, &parts, Clock::Instructions, 0, [0; 32]);
        let kernel = crate::boot::tests::kernel();
        let plan = crate::Plan { kernel: &kernel, initrd: &[], cmdline: "" };
        machine.boot(&plan).unwrap();
        machine
    }

    #[test]
    fn memory_is_reached_over_pages_and_only_where_it_is() {
        let mut machine = machine();
        let end = machine.memory().size();
        assert!(machine.poke(0x20_0FFE, b"four"));
        let mut bytes = [0; 6];
        assert_eq!(machine.peek(0x20_0FFE, &mut bytes), 6);
        assert_eq!(&bytes, b"four\0\0");
        assert!(!machine.poke(end - 2, b"four"));
        assert_eq!(machine.peek(end - 2, &mut bytes), 2);
        assert_eq!(bytes[..2], [0, 0], "nothing was written");
        assert_eq!(machine.peek(1 << 40, &mut bytes), 0);
        assert_eq!(machine.locate(1 << 40), None);
    }

    #[test]
    fn every_difference_is_in_the_hash() {
        let first = machine().state_hash();
        assert_eq!(machine().state_hash(), first);
        let mut other = machine();
        assert!(other.poke(0x20_0000, &[1]));
        let one = other.state_hash();
        assert!(other.poke(0x20_0000, &[0]) && other.poke(0x20_1000, &[1]));
        let another = other.state_hash();
        let mut other = machine();
        other.turn(0, false).unwrap();
        let hashes = [first, one, another, other.state_hash()];
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash), "{at}");
        }
    }

    #[test]
    fn turns_are_what_a_run_does() {
        let mut machine = machine();
        let mut turns = 0;
        let outcome = loop {
            match machine.turn(0, false) {
                Ok(turn) => assert_eq!(turn, Turn::Executed),
                Err(outcome) => break outcome,
            }
            turns += 1;
        };
        assert_eq!((outcome, turns), (Outcome::Off(Some(42)), 2));
        let mut other = self::machine();
        assert_eq!(other.run(0, 100), outcome);
        assert_eq!(other.state_hash(), machine.state_hash());
        assert_eq!(other.figures().instructions, 2);
        assert_ne!((other.figures().decoded, other.figures().walks), (0, 0));
    }
}
