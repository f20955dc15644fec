//! How decoded instructions are executed: by short cuts ([`crate::quick`]) as long as there
//! are some, else by the general operations here, one by one.

use crate::code::BLOCK;
use crate::core::{Core, Extent, Fault};
use crate::exception::Exception;
use crate::flags::mask;
use crate::quick::run::{Why, address_bits};
use crate::uop::{CODE_PAGE, MEM_DST, MEM_SRC, Op, Uop};

/// How execution goes on behind an instruction.
enum Flow {
    /// With the one behind it.
    Next,
    /// Where the direct branch leads.
    Branch,
    /// At this RIP.
    To(u64),
    /// With the same instruction, once interrupts have been looked at.
    Again,
    /// RIP is set, and everything may be different.
    Elsewhere,
}

impl Core<'_> {
    /// Executes from an index on until the limit is reached, a fault is raised, or something
    /// must be looked at. RIP is that of the next instruction, or of the one that has faulted.
    pub(crate) fn execute(&mut self, index: usize) -> Result<(), Fault> {
        let (mut start, mut at) = (index, index);
        loop {
            let left = self.limit.saturating_sub(self.count);
            if left >= BLOCK as u64
                && self.extent != Extent::One
                && let Some(wrap) = address_bits(self.state, self.mode)
            {
                let stop = self.run_quick(start, at, left + (at - start) as u64, wrap);
                (start, at) = (stop.start, stop.at);
                self.page = u64::from(stop.page) << 12;
                self.count = self.limit - stop.left + (at - start) as u64;
                if self.extent == Extent::Short {
                    // What follows does not belong to it.
                    self.limit = if stop.why == Why::General { self.count + 1 } else { 0 };
                }
                match stop.why {
                    Why::Limit => continue,
                    Why::General => {}
                    Why::Unknown => {
                        self.count =
                            self.count - (at - start) as u64 + u64::from(self.code.uops[at].done);
                        let Some(next) = self.resolve(Some(at))? else { return Ok(()) };
                        (start, at) = (next, next);
                        continue;
                    }
                }
            }
            let uop = self.code.uops[at];
            let (target, from) = match uop.op {
                Op::Straddle => {
                    self.state.rip = self.ip_at(uop.offset());
                    return Ok(());
                }
                Op::Link if uop.disp != 0 => {
                    (start, at) = (uop.disp as usize - 1, uop.disp as usize - 1);
                    continue;
                }
                Op::Link => (self.ip_at(uop.offset()), Some(at)),
                Op::NextPage => (self.ip_at(uop.imm as u64), None),
                _ => {
                    if self.count >= self.limit {
                        self.state.rip = self.ip_at(uop.offset());
                        return Ok(());
                    }
                    self.count += 1;
                    match self.general(&uop) {
                        Ok(Flow::Next) => {
                            at += 1;
                            continue;
                        }
                        Ok(Flow::Branch) if uop.disp != 0 => {
                            (start, at) = (uop.disp as usize - 1, uop.disp as usize - 1);
                            continue;
                        }
                        Ok(Flow::Branch) => {
                            let target = self.next_ip(&uop).wrapping_add(uop.imm as u64);
                            (target & mask(uop.size), Some(at))
                        }
                        Ok(Flow::To(target)) => (target, None),
                        Ok(Flow::Again) => (self.ip_at(uop.offset()), None),
                        Ok(Flow::Elsewhere) => return Ok(()),
                        Err(Fault) => {
                            self.state.rip = self.ip_at(uop.offset());
                            self.name_fault(&uop);
                            return Err(Fault);
                        }
                    }
                }
            };
            self.state.rip = target;
            let Some(next) = self.resolve(from)? else { return Ok(()) };
            (start, at) = (next, next);
        }
    }

    /// The decoded instruction at RIP, unless something must be looked at before. The branch
    /// at `from` has led there, and keeps the way if that cannot change.
    fn resolve(&mut self, from: Option<usize>) -> Result<Option<usize>, Fault> {
        if self.count >= self.limit || self.code.is_marked(self.linear_ip()) {
            return Ok(None);
        }
        let here = |core: &Self| (core.page, core.state.gpr[CODE_PAGE as usize], core.code.cleared);
        let before = here(self);
        let next = self.enter()?;
        if let Some(from) = from
            && before == here(self)
        {
            self.code.link(from, next);
        }
        Ok(Some(next))
    }

    /// The general operation of an instruction.
    #[inline(never)]
    fn general(&mut self, uop: &Uop) -> Result<Flow, Fault> {
        match uop.op {
            Op::Mov => self.mov(uop)?,
            Op::Add => self.arithmetic(Op::Add, uop)?,
            Op::Sub => self.arithmetic(Op::Sub, uop)?,
            Op::And => self.arithmetic(Op::And, uop)?,
            Op::Or => self.arithmetic(Op::Or, uop)?,
            Op::Xor => self.arithmetic(Op::Xor, uop)?,
            Op::Adc => self.arithmetic(Op::Adc, uop)?,
            Op::Sbb => self.arithmetic(Op::Sbb, uop)?,
            Op::Cmp => self.compare(Op::Cmp, uop)?,
            Op::Test => self.compare(Op::Test, uop)?,
            Op::Push => self.push_operand(uop)?,
            Op::Pop => self.pop_operand(uop)?,
            Op::Nop => {}
            Op::Setcc => self.set_condition(uop)?,
            Op::Cmovcc => self.move_condition(uop)?,
            Op::Inc | Op::Dec | Op::Neg | Op::Not => self.unary(uop)?,
            Op::Rol | Op::Ror | Op::Rcl | Op::Rcr | Op::Shl | Op::Shr | Op::Sar => {
                self.shift(uop)?;
            }
            Op::SseMove => self.sse_move(uop)?,
            Op::SseLane => self.sse_lane(uop)?,
            Op::SseFloat => self.sse_float(uop)?,
            Op::Jcc => {
                let taken = self.state.flags.condition(uop.sub);
                return Ok(if taken { Flow::Branch } else { Flow::Next });
            }
            Op::Jmp => return Ok(Flow::Branch),
            Op::Call => {
                self.call(uop)?;
                return Ok(Flow::Branch);
            }
            Op::Ret => return self.ret(uop).map(Flow::To),
            Op::JmpIndirect | Op::CallIndirect => return self.indirect(uop).map(Flow::To),
            Op::Loop | Op::Loope | Op::Loopne | Op::Jcxz => {
                return Ok(if self.counts(uop) { Flow::Branch } else { Flow::Next });
            }
            Op::Movs | Op::Stos | Op::Lods | Op::Scas | Op::Cmps | Op::Ins | Op::Outs => {
                return Ok(if self.string(uop)? { Flow::Next } else { Flow::Again });
            }
            Op::JmpFar
            | Op::CallFar
            | Op::RetFar
            | Op::Iret
            | Op::Int
            | Op::Int3
            | Op::Int1
            | Op::Into
            | Op::Syscall
            | Op::Sysret
            | Op::Sysenter
            | Op::Sysexit => {
                self.state.rip = self.next_ip(uop);
                self.transfer(uop)?;
                return Ok(Flow::Elsewhere);
            }
            _ => self.other(uop)?,
        }
        Ok(Flow::Next)
    }

    /// A bad address in the stack segment is #SS(0) instead of #GP(0).
    #[cold]
    fn name_fault(&mut self, uop: &Uop) {
        let Some(address) = self.noncanonical.take() else { return };
        let operand = uop.flags & (MEM_DST | MEM_SRC) != 0 && address == self.address(uop);
        // POP to where it pops from: the stack comes first.
        let memory =
            operand && !(uop.op == Op::Pop && address == self.state.gpr[crate::state::reg::RSP]);
        let stack = matches!(
            uop.op,
            Op::Push
                | Op::Pop
                | Op::Pushf
                | Op::Popf
                | Op::Call
                | Op::CallIndirect
                | Op::Ret
                | Op::Enter
                | Op::Leave
                | Op::Iret
                | Op::RetFar
                | Op::PushSeg
                | Op::PopSeg
        );
        let framed = matches!(uop.base, 4 | 5) && uop.segment() == 0;
        if if memory || !stack { framed } else { stack } {
            self.exception = Exception::with_code(Exception::SS, 0);
        }
    }

    /// Instructions that are rare enough for a call.
    #[inline(never)]
    fn other(&mut self, uop: &Uop) -> Result<(), Fault> {
        match uop.op {
            Op::Shld | Op::Shrd => self.shift_double(uop),
            Op::Bt | Op::Bts | Op::Btr | Op::Btc => self.bit_test(uop),
            Op::Bsf | Op::Bsr | Op::Popcnt => self.bit_scan(uop),
            Op::Crc32 => self.crc32(uop),
            Op::Lahf | Op::Sahf | Op::Salc | Op::Clc | Op::Stc | Op::Cmc | Op::Cld | Op::Std => {
                self.flag(uop)
            }
            Op::Daa | Op::Das | Op::Aaa | Op::Aas | Op::Aam | Op::Aad => self.decimal(uop),
            Op::Pushf | Op::Popf | Op::Pusha | Op::Popa | Op::Enter | Op::Leave => self.stack(uop),
            Op::Bound => self.bound(uop),
            Op::MovNti => self.mov(uop),
            Op::X87 => self.x87(uop),
            Op::Invalid if uop.sub == 1 => Err(self.protect()),
            Op::Invalid | Op::Ud => Err(self.undefined()),
            op if (op as u8) < Op::Cli as u8 && (op as u8) >= Op::MovFromSeg as u8 => {
                self.segments(uop)
            }
            op if (op as u8) >= Op::Cli as u8 => self.system(uop),
            Op::In | Op::Out => self.port(uop),
            _ => self.integer(uop),
        }
    }
}
