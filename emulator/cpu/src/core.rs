//! The processor as it executes: state, caches, memory and board, borrowed for one slice.

use emulator_bus::{Bus, Memory, Ticks};

use crate::code::{BLOCK, CodeCache, Key};
use crate::decode::{LONGEST, decode};
use crate::exception::Exception;
use crate::flags::{IF, TF};
use crate::state::{Activity, Mode, State, segment};
use crate::tlb::{Access, Tlb};
use crate::uop::{CODE_PAGE, Op, Uop};

/// An instruction did not complete; why is in [`Core::exception`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault;

/// Why a slice has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The budget is used up.
    Budget,
    /// HLT, and no interrupt is pending.
    Halted,
    /// Triple fault.
    Shutdown,
    /// The next instruction is at a breakpoint ([`Cpu::set_breakpoints`]).
    Breakpoint,
}

/// What one turn of the processor was, for those who watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Instructions were executed; of a repeated one perhaps only a part.
    Executed,
    /// An exception was raised and delivered.
    Exception(Exception),
    /// The interrupt with this vector was taken; `None` if it had gone.
    Interrupt(Option<u8>),
    /// Nothing: the processor halts, and no interrupt is pending.
    Halted,
    /// Nothing: a triple fault has ended it.
    Shutdown,
    /// Nothing: the board wants to be asked first ([`Bus::leave`]), or the budget is used up.
    Left,
    /// Nothing: the next instruction is at a breakpoint. Never of [`Cpu::turn`].
    Breakpoint,
}

/// What a slice has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Why it has ended.
    pub exit: Exit,
    /// Instructions retired.
    pub retired: u64,
}

/// How much is decoded together, and so executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Extent {
    /// A block.
    Block = 0,
    /// One instruction, without short cuts.
    One = 1,
    /// What one short cut does.
    Short = 2,
}

/// A processor with its caches.
pub struct Cpu {
    /// The architectural state. After it was changed from outside, call [`Cpu::reload`].
    pub state: State,
    tlb: Box<Tlb>,
    code: CodeCache,
    epoch: u32,
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cpu").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Cpu::new(State::default())
    }
}

impl Cpu {
    /// A processor in this state.
    pub fn new(state: State) -> Self {
        Cpu { state, tlb: Box::new(Tlb::new()), code: CodeCache::new(), epoch: 0 }
    }

    /// Forgets what was derived from the state and from memory.
    pub fn reload(&mut self) {
        self.tlb.flush();
        self.code.clear();
    }

    /// Instructions decoded since the start, for statistics.
    pub fn decoded(&self) -> u64 {
        self.code.decoded
    }

    /// [`Cpu::run`] returns before instructions at these linear addresses, also before the
    /// first one: [`Cpu::turn`] does not, and leads away from there. Costs nothing elsewhere.
    pub fn set_breakpoints(&mut self, addresses: &[u64]) {
        self.code.set_breakpoints(addresses);
        self.tlb.flush_ways(true);
    }

    /// Walks through page tables since the start, for statistics.
    pub fn walks(&self) -> u64 {
        self.tlb.walks
    }

    /// Executes `budget` instructions, or fewer. `now` is the time-stamp counter at the start;
    /// inside of the slice it advances by one with each instruction. A delivered exception
    /// counts as an instruction more, so that the budget may be exceeded by one.
    ///
    /// Where slices end does not change what the guest does: it is the same whether a million
    /// instructions are one slice or a million of them.
    pub fn run(
        &mut self,
        memory: &mut Memory,
        bus: &mut dyn Bus,
        now: Ticks,
        budget: u64,
    ) -> Slice {
        let mut core = self.lend(memory, bus, now, budget);
        core.watched = true;
        let exit = core.slice();
        core.state.retired += core.count;
        Slice { exit, retired: core.count }
    }

    /// Does what the next step of a slice is: takes an interrupt, or executes one instruction.
    /// With `deaf`, interrupts are not looked at. Says how many instructions have retired.
    pub fn turn(
        &mut self,
        memory: &mut Memory,
        bus: &mut dyn Bus,
        now: Ticks,
        deaf: bool,
    ) -> (Turn, u64) {
        let mut core = self.lend(memory, bus, now, 1);
        core.deaf = deaf;
        let turn = core.turn();
        core.state.retired += core.count;
        (turn, core.count)
    }

    /// Executes one instruction, or one element of a repeated one, and hands an exception back
    /// instead of delivering it. Interrupts are not looked at. For debuggers and tests.
    pub fn step(
        &mut self,
        memory: &mut Memory,
        bus: &mut dyn Bus,
        now: Ticks,
    ) -> Result<(), Exception> {
        self.step_by(memory, bus, now, true)
    }

    /// The same; with `single` false by the short cuts that the loop uses, of which one may be
    /// two instructions.
    pub fn step_by(
        &mut self,
        memory: &mut Memory,
        bus: &mut dyn Bus,
        now: Ticks,
        single: bool,
    ) -> Result<(), Exception> {
        let mut core = self.lend(memory, bus, now, 1);
        core.drain_stale();
        core.element = single;
        (core.extent, core.limit) =
            if single { (Extent::One, 1) } else { (Extent::Short, BLOCK as u64) };
        core.state.shadow = false;
        let done = core.enter().and_then(|index| core.execute(index));
        core.state.retired += core.count;
        done.map_err(|Fault| core.exception)
    }

    fn lend<'a>(
        &'a mut self,
        memory: &'a mut Memory,
        bus: &'a mut dyn Bus,
        now: Ticks,
        budget: u64,
    ) -> Core<'a> {
        if self.epoch != memory.epoch() {
            self.epoch = memory.epoch();
            self.tlb.flush();
        }
        let mut core = Core {
            state: &mut self.state,
            tlb: &mut self.tlb,
            code: &mut self.code,
            memory,
            bus,
            exception: Exception::plain(0),
            count: 0,
            limit: 0,
            budget,
            start: now,
            mode: Mode::Bits64,
            cs_base: 0,
            page: u64::MAX,
            extent: Extent::Block,
            element: false,
            untrapped: false,
            deaf: false,
            watched: false,
            implicit: false,
            noncanonical: None,
        };
        core.settle();
        core
    }
}

/// The processor during a slice.
pub(crate) struct Core<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) tlb: &'a mut Tlb,
    pub(crate) code: &'a mut CodeCache,
    pub(crate) memory: &'a mut Memory,
    pub(crate) bus: &'a mut dyn Bus,
    /// What the last [`Fault`] was.
    pub(crate) exception: Exception,
    /// Instructions retired in this slice, as of the last time that somebody needed it.
    pub(crate) count: u64,
    /// The loop is left when so many have retired. Lowered to leave it at once.
    pub(crate) limit: u64,
    budget: u64,
    start: Ticks,
    pub(crate) mode: Mode,
    pub(crate) cs_base: u64,
    /// Guest-physical address of the code page in execution.
    pub(crate) page: u64,
    /// How much is decoded together.
    pub(crate) extent: Extent,
    /// Repeated instructions are left after each element.
    pub(crate) element: bool,
    /// No single-step trap follows this instruction: it has gone to a handler, has loaded SS, or
    /// was a SYSCALL that cleared TF (SDM vol. 3, 6.8.3 and 17.3.1.4).
    pub(crate) untrapped: bool,
    /// Interrupts are not looked at.
    deaf: bool,
    /// Breakpoints count.
    watched: bool,
    /// The access is the processor's own, of supervisor privilege at any level.
    pub(crate) implicit: bool,
    /// The last #GP is about this address, which is not canonical: #SS if it is the stack's.
    pub(crate) noncanonical: Option<u64>,
}

impl Core<'_> {
    /// Notes an exception.
    #[cold]
    pub(crate) fn raise(&mut self, exception: Exception) -> Fault {
        self.exception = exception;
        Fault
    }

    /// #GP(0).
    #[cold]
    pub(crate) fn protect(&mut self) -> Fault {
        self.raise(Exception::protection())
    }

    /// #UD.
    #[cold]
    pub(crate) fn undefined(&mut self) -> Fault {
        self.raise(Exception::plain(Exception::UD))
    }

    /// The time-stamp counter as the board counts it.
    pub(crate) fn now(&self) -> Ticks {
        self.start + self.count
    }

    /// 64-bit mode?
    #[inline(always)]
    pub(crate) fn long(&self) -> bool {
        self.mode == Mode::Bits64
    }

    /// Leaves the loop after this instruction.
    pub(crate) fn stop(&mut self) {
        self.limit = 0;
    }

    /// A device was asked something: its interrupt may be due, memory may have changed.
    pub(crate) fn after_cycle(&mut self) {
        if self.memory.has_stale() || self.bus.interrupt() || self.bus.leave() {
            self.stop();
        }
    }

    /// Derives from the state what the loop uses; after changes of CS, CPL or mode.
    pub(crate) fn settle(&mut self) {
        self.mode = self.state.mode();
        self.cs_base = if self.long() { 0 } else { self.state.segments[segment::CS].base };
        self.tlb.set_user(self.state.cpl == 3);
        self.stop();
    }

    /// Drops what was decoded from pages that have been written to.
    fn drain_stale(&mut self) {
        for page in self.memory.take_stale() {
            self.code.forget(page.into());
            self.tlb.flush_ways(true);
        }
    }

    fn slice(&mut self) -> Exit {
        loop {
            match self.turn() {
                Turn::Shutdown => return Exit::Shutdown,
                Turn::Halted => return Exit::Halted,
                Turn::Left => return Exit::Budget,
                Turn::Breakpoint => return Exit::Breakpoint,
                Turn::Executed | Turn::Exception(_) | Turn::Interrupt(_) => {}
            }
        }
    }

    /// Looks at what must be looked at between instructions; if it is nothing, executes until
    /// something must be.
    fn turn(&mut self) -> Turn {
        if self.memory.has_stale() {
            self.drain_stale();
        }
        if self.state.activity == Activity::Shutdown {
            return Turn::Shutdown;
        }
        let open = !self.state.shadow && self.state.flags.eager & IF != 0 && !self.deaf;
        if open && self.bus.interrupt() {
            return Turn::Interrupt(self.take_interrupt());
        }
        if self.state.activity == Activity::Halted {
            return Turn::Halted;
        }
        if self.count >= self.budget || self.bus.leave() {
            return Turn::Left;
        }
        self.step_or_run()
    }

    /// Executes until something must be looked at.
    fn step_or_run(&mut self) -> Turn {
        let trap = self.state.flags.eager & TF != 0;
        let marked = self.code.is_marked(self.linear_ip());
        if marked && self.watched && self.code.is_breakpoint(self.linear_ip()) {
            return Turn::Breakpoint;
        }
        self.extent = if marked { Extent::One } else { Extent::Block };
        self.element = trap;
        self.untrapped = false;
        let one = trap || self.state.shadow || marked;
        self.state.shadow = false;
        self.limit = if one { self.count + 1 } else { self.budget };
        let done = self.enter().and_then(|index| self.execute(index));
        if done.is_err() {
            let raised = self.exception;
            self.deliver_exception();
            Turn::Exception(raised)
        } else if trap && !self.untrapped {
            self.single_step();
            Turn::Exception(Exception::plain(Exception::DB))
        } else {
            Turn::Executed
        }
    }

    /// The decoded instruction at RIP. A fault leaves RIP as it is.
    pub(crate) fn enter(&mut self) -> Result<usize, Fault> {
        let linear = self.linear_ip();
        let user = self.state.cpl == 3;
        if self.long() && !crate::access::canonical(linear) {
            return Err(self.protect());
        }
        let physical = match self.tlb.find(Access::Execute, linear, 1) {
            Some(physical) => physical,
            None => self.translate(Access::Execute, linear, user)?,
        };
        if !self.memory.holds(physical) {
            return Err(self.protect());
        }
        self.state.gpr[CODE_PAGE as usize] = linear & !0xFFF;
        self.page = physical & !0xFFF;
        let key = Key::new(physical, self.mode, self.extent);
        let index = match self.code.find(key) {
            Some(index) => index,
            None => {
                if self.code.full() {
                    self.code.clear();
                    self.tlb.flush_ways(true);
                }
                if !self.memory.is_code(physical) {
                    // No way to write to this page may be left.
                    self.tlb.flush_writes_to(physical);
                }
                self.code.decode(self.memory, physical, self.mode, self.extent)
            }
        };
        let straddles = self.code.uops[index].op == Op::Straddle;
        if self.extent == Extent::Block && !straddles {
            self.tlb.add_way(self.mode, linear, physical, index);
        }
        if straddles { self.straddle(linear) } else { Ok(index) }
    }

    /// Decodes the instruction at `linear`, which goes on in the next page.
    fn straddle(&mut self, linear: u64) -> Result<usize, Fault> {
        let user = self.state.cpl == 3;
        let boundary = (linear & !0xFFF).wrapping_add(0x1000);
        if self.long() && !crate::access::canonical(boundary) {
            return Err(self.protect());
        }
        let second = self.translate(Access::Execute, boundary, user)?;
        let first = self.page | linear & 0xFFF;
        let key = Key::new(first, self.mode, self.extent);
        if let Some(index) = self.code.find_straddle(key, second) {
            return Ok(index);
        }
        let head = 4096 - (linear & 0xFFF) as usize;
        let mut bytes = [0; LONGEST];
        let fetched = self.memory.slice(first, head).unwrap_or_default();
        bytes[..head].copy_from_slice(fetched);
        let Ok(rest) = self.memory.slice(second, LONGEST - head) else {
            return Err(self.protect());
        };
        bytes[head..].copy_from_slice(rest);
        let Ok(uop) = decode(&bytes, linear & 0xFFF, self.mode) else {
            return Err(self.protect());
        };
        self.memory.note_code(second);
        self.tlb.flush_writes_to(second);
        Ok(self.code.add_straddle(key, second, uop))
    }

    /// The linear address of RIP.
    pub(crate) fn linear_ip(&self) -> u64 {
        let linear = self.state.rip.wrapping_add(self.cs_base);
        if self.long() { linear } else { linear & 0xFFFF_FFFF }
    }

    /// RIP for an offset in the code page in execution.
    #[inline(always)]
    pub(crate) fn ip_at(&self, offset: u64) -> u64 {
        let ip = self.state.gpr[CODE_PAGE as usize].wrapping_add(offset).wrapping_sub(self.cs_base);
        if self.long() { ip } else { ip & 0xFFFF_FFFF }
    }

    /// RIP of the instruction behind this one.
    #[inline(always)]
    pub(crate) fn next_ip(&self, uop: &Uop) -> u64 {
        self.ip_at(uop.next())
    }
}
