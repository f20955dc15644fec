//! The loop.

use crate::code::Key;
use crate::core::{Core, Fault};
use crate::exception::Exception;
use crate::flags::mask;
use crate::tlb::Access;
use crate::uop::{CODE_PAGE, MEM_DST, MEM_SRC, Op, Uop};

impl Core<'_> {
    /// The decoded instruction at an address, if all of the way there is known; RIP is set in
    /// any case.
    #[inline(always)]
    fn jump(&mut self, target: u64) -> Option<usize> {
        self.state.rip = target;
        let linear = self.linear_ip();
        let physical = self.tlb.find(Access::Execute, linear, 1)?;
        let index = self.code.find(Key::new(physical, self.mode, self.single))?;
        self.state.gpr[CODE_PAGE as usize] = linear & !0xFFF;
        self.page = physical & !0xFFF;
        Some(index)
    }

    /// A branch to a distance from the next instruction, and whether the way may be kept in
    /// the instruction: it may if it stays inside of the page.
    #[inline(always)]
    fn branch(&mut self, uop: &Uop, distance: i64, size: u8) -> Option<(usize, bool)> {
        let from = self.page;
        let target = self.next_ip(uop).wrapping_add(distance as u64) & mask(size);
        let index = self.jump(target)?;
        let inside = uop.next().wrapping_add(distance as u64) < 4096;
        Some((index, inside && self.page == from))
    }

    /// Executes from an index on until the limit is reached, a fault is raised, or the way on
    /// is not known. RIP is that of the next instruction, or of the one that has faulted.
    pub(crate) fn execute(&mut self, index: usize) -> Result<(), Fault> {
        // The loop reads the arena while everything else of the processor changes.
        let mut uops = std::mem::take(&mut self.code.uops);
        let done = self.execute_in(&mut uops, index);
        self.code.uops = uops;
        done
    }

    fn execute_in(&mut self, uops: &mut [Uop], mut index: usize) -> Result<(), Fault> {
        let mut count = self.count;
        macro_rules! branch {
            ($uop:ident, $at:ident, $distance:expr, $size:expr) => {{
                if $uop.disp != 0 {
                    index = $uop.disp as usize - 1;
                    continue;
                }
                let Some((next, inside)) = self.branch($uop, $distance, $size) else {
                    self.count = count;
                    return Ok(());
                };
                if inside {
                    uops[$at].disp = next as i32 + 1;
                }
                index = next;
                continue;
            }};
        }
        macro_rules! go {
            ($next:expr) => {
                match $next {
                    Some(next) => {
                        index = next;
                        continue;
                    }
                    None => {
                        self.count = count;
                        return Ok(());
                    }
                }
            };
        }
        loop {
            let Some(uop) = uops.get(index) else { return Ok(()) };
            if count >= self.limit {
                self.count = count;
                self.state.rip = match uop.op {
                    Op::NextPage => self.ip_at(uop.imm as u64),
                    _ => self.ip_at(uop.offset()),
                };
                return Ok(());
            }
            let at = index;
            index += 1;
            count += 1;
            let done = match uop.op {
                Op::AddRR32 => self.alu_rr::<2>(Op::Add, uop),
                Op::AddRI32 => self.alu_ri::<2>(Op::Add, uop),
                Op::AddRM32 => self.alu_rm::<2>(Op::Add, uop),
                Op::AddRR64 => self.alu_rr::<3>(Op::Add, uop),
                Op::AddRI64 => self.alu_ri::<3>(Op::Add, uop),
                Op::AddRM64 => self.alu_rm::<3>(Op::Add, uop),
                Op::SubRR32 => self.alu_rr::<2>(Op::Sub, uop),
                Op::SubRI32 => self.alu_ri::<2>(Op::Sub, uop),
                Op::SubRM32 => self.alu_rm::<2>(Op::Sub, uop),
                Op::SubRR64 => self.alu_rr::<3>(Op::Sub, uop),
                Op::SubRI64 => self.alu_ri::<3>(Op::Sub, uop),
                Op::SubRM64 => self.alu_rm::<3>(Op::Sub, uop),
                Op::AndRR32 => self.alu_rr::<2>(Op::And, uop),
                Op::AndRI32 => self.alu_ri::<2>(Op::And, uop),
                Op::AndRM32 => self.alu_rm::<2>(Op::And, uop),
                Op::AndRR64 => self.alu_rr::<3>(Op::And, uop),
                Op::AndRI64 => self.alu_ri::<3>(Op::And, uop),
                Op::AndRM64 => self.alu_rm::<3>(Op::And, uop),
                Op::OrRR32 => self.alu_rr::<2>(Op::Or, uop),
                Op::OrRI32 => self.alu_ri::<2>(Op::Or, uop),
                Op::OrRM32 => self.alu_rm::<2>(Op::Or, uop),
                Op::OrRR64 => self.alu_rr::<3>(Op::Or, uop),
                Op::OrRI64 => self.alu_ri::<3>(Op::Or, uop),
                Op::OrRM64 => self.alu_rm::<3>(Op::Or, uop),
                Op::XorRR32 => self.alu_rr::<2>(Op::Xor, uop),
                Op::XorRI32 => self.alu_ri::<2>(Op::Xor, uop),
                Op::XorRM32 => self.alu_rm::<2>(Op::Xor, uop),
                Op::XorRR64 => self.alu_rr::<3>(Op::Xor, uop),
                Op::XorRI64 => self.alu_ri::<3>(Op::Xor, uop),
                Op::XorRM64 => self.alu_rm::<3>(Op::Xor, uop),
                Op::CmpRR32 => self.alu_rr::<2>(Op::Cmp, uop),
                Op::CmpRI32 => self.alu_ri::<2>(Op::Cmp, uop),
                Op::CmpRM32 => self.alu_rm::<2>(Op::Cmp, uop),
                Op::CmpRR64 => self.alu_rr::<3>(Op::Cmp, uop),
                Op::CmpRI64 => self.alu_ri::<3>(Op::Cmp, uop),
                Op::CmpRM64 => self.alu_rm::<3>(Op::Cmp, uop),
                Op::TestRR32 => self.alu_rr::<2>(Op::Test, uop),
                Op::TestRI32 => self.alu_ri::<2>(Op::Test, uop),
                Op::TestRM32 => self.alu_rm::<2>(Op::Test, uop),
                Op::TestRR64 => self.alu_rr::<3>(Op::Test, uop),
                Op::TestRI64 => self.alu_ri::<3>(Op::Test, uop),
                Op::TestRM64 => self.alu_rm::<3>(Op::Test, uop),
                Op::CmpRR8 => self.alu_rr::<0>(Op::Cmp, uop),
                Op::CmpRI8 => self.alu_ri::<0>(Op::Cmp, uop),
                Op::CmpMI8 => self.compare_mi::<0>(Op::Cmp, uop),
                Op::CmpMI32 => self.compare_mi::<2>(Op::Cmp, uop),
                Op::CmpMI64 => self.compare_mi::<3>(Op::Cmp, uop),
                Op::CmpMR64 => self.compare_mr::<3>(uop),
                Op::TestRR8 => self.alu_rr::<0>(Op::Test, uop),
                Op::TestRI8 => self.alu_ri::<0>(Op::Test, uop),
                Op::TestMI8 => self.compare_mi::<0>(Op::Test, uop),
                Op::MovRR32 => self.mov_rr::<2>(uop),
                Op::MovRI32 => self.mov_ri::<2>(uop),
                Op::MovRM32 => self.mov_rm::<2>(uop),
                Op::MovMR32 => self.mov_mr::<2>(uop),
                Op::MovMI32 => self.mov_mi::<2>(uop),
                Op::IncR32 => self.step_r::<2>(true, uop),
                Op::DecR32 => self.step_r::<2>(false, uop),
                Op::Lea32 => self.lea::<2>(uop),
                Op::ShlI32 => self.shift_ri::<2>(Op::Shl, uop),
                Op::ShrI32 => self.shift_ri::<2>(Op::Shr, uop),
                Op::SarI32 => self.shift_ri::<2>(Op::Sar, uop),
                Op::ImulRR32 => self.imul_rr::<2>(uop),
                Op::MovRR64 => self.mov_rr::<3>(uop),
                Op::MovRI64 => self.mov_ri::<3>(uop),
                Op::MovRM64 => self.mov_rm::<3>(uop),
                Op::MovMR64 => self.mov_mr::<3>(uop),
                Op::MovMI64 => self.mov_mi::<3>(uop),
                Op::IncR64 => self.step_r::<3>(true, uop),
                Op::DecR64 => self.step_r::<3>(false, uop),
                Op::Lea64 => self.lea::<3>(uop),
                Op::ShlI64 => self.shift_ri::<3>(Op::Shl, uop),
                Op::ShrI64 => self.shift_ri::<3>(Op::Shr, uop),
                Op::SarI64 => self.shift_ri::<3>(Op::Sar, uop),
                Op::ImulRR64 => self.imul_rr::<3>(uop),
                Op::MovRM8 => self.mov_rm::<0>(uop),
                Op::MovMR8 => self.mov_mr::<0>(uop),
                Op::MovMI8 => self.mov_mi::<0>(uop),
                Op::MovzxRB => self.movzx_r::<0>(uop),
                Op::MovzxRW => self.movzx_r::<1>(uop),
                Op::MovzxMB => self.movzx_m::<0>(uop),
                Op::MovzxMW => self.movzx_m::<1>(uop),
                Op::MovsxdRR => self.movsxd_rr(uop),
                Op::MovsxdRM => self.movsxd_rm(uop),
                Op::PushR64 => self.push64(uop),
                Op::PopR64 => self.pop64(uop),
                Op::Ret64 => match self.ret64() {
                    Ok(target) => go!(self.jump(target)),
                    Err(fault) => Err(fault),
                },
                Op::CmpJccRR32 => {
                    count += 1;
                    if self.cmp_holds::<2>(false, uop) {
                        branch!(uop, at, uop.imm >> 32, 3);
                    }
                    continue;
                }
                Op::CmpJccRR64 => {
                    count += 1;
                    if self.cmp_holds::<3>(false, uop) {
                        branch!(uop, at, uop.imm >> 32, 3);
                    }
                    continue;
                }
                Op::CmpJccRI8 => {
                    count += 1;
                    if self.cmp_holds::<0>(true, uop) {
                        branch!(uop, at, uop.imm >> 32, 3);
                    }
                    continue;
                }
                Op::CmpJccRI32 => {
                    count += 1;
                    if self.cmp_holds::<2>(true, uop) {
                        branch!(uop, at, uop.imm >> 32, 3);
                    }
                    continue;
                }
                Op::CmpJccRI64 => {
                    count += 1;
                    if self.cmp_holds::<3>(true, uop) {
                        branch!(uop, at, uop.imm >> 32, 3);
                    }
                    continue;
                }
                Op::TestJccRR8 => {
                    count += 1;
                    if self.test_holds::<0>(false, uop) {
                        branch!(uop, at, uop.imm >> 32, 3);
                    }
                    continue;
                }
                Op::TestJccRR32 => {
                    count += 1;
                    if self.test_holds::<2>(false, uop) {
                        branch!(uop, at, uop.imm >> 32, 3);
                    }
                    continue;
                }
                Op::TestJccRR64 => {
                    count += 1;
                    if self.test_holds::<3>(false, uop) {
                        branch!(uop, at, uop.imm >> 32, 3);
                    }
                    continue;
                }
                Op::TestJccRI8 => {
                    count += 1;
                    if self.test_holds::<0>(true, uop) {
                        branch!(uop, at, uop.imm >> 32, 3);
                    }
                    continue;
                }
                Op::TestJccRI32 => {
                    count += 1;
                    if self.test_holds::<2>(true, uop) {
                        branch!(uop, at, uop.imm >> 32, 3);
                    }
                    continue;
                }
                Op::TestJccRI64 => {
                    count += 1;
                    if self.test_holds::<3>(true, uop) {
                        branch!(uop, at, uop.imm >> 32, 3);
                    }
                    continue;
                }
                Op::Mov => self.mov(uop),
                Op::Add => self.arithmetic(Op::Add, uop),
                Op::Sub => self.arithmetic(Op::Sub, uop),
                Op::And => self.arithmetic(Op::And, uop),
                Op::Or => self.arithmetic(Op::Or, uop),
                Op::Xor => self.arithmetic(Op::Xor, uop),
                Op::Adc => self.arithmetic(Op::Adc, uop),
                Op::Sbb => self.arithmetic(Op::Sbb, uop),
                Op::Cmp => self.compare(Op::Cmp, uop),
                Op::Test => self.compare(Op::Test, uop),
                Op::Push => self.push_operand(uop),
                Op::Pop => self.pop_operand(uop),
                Op::Nop => Ok(()),
                Op::Setcc => self.set_condition(uop),
                Op::Cmovcc => self.move_condition(uop),
                Op::Inc | Op::Dec | Op::Neg | Op::Not => self.unary(uop),
                Op::Rol | Op::Ror | Op::Rcl | Op::Rcr | Op::Shl | Op::Shr | Op::Sar => {
                    self.shift(uop)
                }
                Op::SseMove => self.sse_move(uop),
                Op::SseLane => self.sse_lane(uop),
                Op::SseFloat => self.sse_float(uop),
                Op::Jcc => {
                    if self.state.flags.condition(uop.sub) {
                        branch!(uop, at, uop.imm, uop.size);
                    }
                    continue;
                }
                Op::Jmp => branch!(uop, at, uop.imm, uop.size),
                Op::Link => {
                    count -= 1;
                    if uop.disp != 0 {
                        index = uop.disp as usize - 1;
                        continue;
                    }
                    go!(self.jump(self.ip_at(uop.offset())))
                }
                Op::NextPage => {
                    count -= 1;
                    go!(self.jump(self.ip_at(uop.imm as u64)))
                }
                Op::Straddle => {
                    self.count = count - 1;
                    self.state.rip = self.ip_at(uop.offset());
                    return Ok(());
                }
                Op::Call => match self.call(uop) {
                    Ok(_) => branch!(uop, at, uop.imm, uop.size),
                    Err(fault) => Err(fault),
                },
                Op::Ret => match self.ret(uop) {
                    Ok(target) => go!(self.jump(target)),
                    Err(fault) => Err(fault),
                },
                Op::JmpIndirect | Op::CallIndirect => match self.indirect(uop) {
                    Ok(target) => go!(self.jump(target)),
                    Err(fault) => Err(fault),
                },
                Op::Loop | Op::Loope | Op::Loopne | Op::Jcxz => {
                    if self.counts(uop) {
                        branch!(uop, at, uop.imm, uop.size);
                    }
                    continue;
                }
                Op::Movs | Op::Stos | Op::Lods | Op::Scas | Op::Cmps | Op::Ins | Op::Outs => {
                    self.count = count;
                    match self.string(uop) {
                        Ok(true) => Ok(()),
                        Ok(false) => {
                            self.state.rip = self.ip_at(uop.offset());
                            return Ok(());
                        }
                        Err(fault) => Err(fault),
                    }
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
                    self.count = count;
                    self.state.rip = self.next_ip(uop);
                    match self.transfer(uop) {
                        Ok(()) => return Ok(()),
                        Err(fault) => Err(fault),
                    }
                }
                _ => {
                    self.count = count;
                    self.other(uop)
                }
            };
            if done.is_err() {
                self.count = count;
                self.state.rip = self.ip_at(uop.offset());
                self.name_fault(uop);
                return Err(Fault);
            }
        }
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
                | Op::PushR64
                | Op::PopR64
                | Op::Ret64
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
            op if (op as u16) < Op::Cli as u16 && (op as u16) >= Op::MovFromSeg as u16 => {
                self.segments(uop)
            }
            op if (op as u16) >= Op::Cli as u16 => self.system(uop),
            Op::In | Op::Out => self.port(uop),
            _ => self.integer(uop),
        }
    }
}
