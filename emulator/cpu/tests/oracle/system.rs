//! Cases of system instructions, and of what leaves a program for its system and comes back.

use iced_x86::{Code, Instruction, MemoryOperand, Register};

use super::machine::{Case, DATA, INNER_STACK, IST, STACK, Start, TSS};
use super::pages::append;
use super::tables::{self, address, selector};
use crate::random::Random;

/// Where [RBX] points to.
pub(crate) const POINTER: u64 = DATA + 0x100;

/// A model-specific register that nobody has.
pub(crate) const UNKNOWN: u64 = 0x1234_5678;

type Made = Option<Instruction>;

fn with0(code: Code) -> Made {
    Some(Instruction::with(code))
}

fn with1(code: Code, register: Register) -> Made {
    Instruction::with1(code, register).ok()
}

fn with2(code: Code, first: Register, second: Register) -> Made {
    Instruction::with2(code, first, second).ok()
}

fn pointer(case: &Case) -> MemoryOperand {
    MemoryOperand::with_base(if case.start.long() { Register::RBX } else { Register::EBX })
}

fn with_memory(case: &Case, code: Code) -> Made {
    Instruction::with1(code, pointer(case)).ok()
}

/// One of a pair of forms: of 64-bit mode and of the others.
fn either(case: &Case, long: Code, short: Code) -> Code {
    if case.start.long() { long } else { short }
}

fn new(kind: &'static str, random: &mut Random) -> Case {
    let start = random.pick(&[
        Start::Kernel64,
        Start::Kernel64,
        Start::Kernel64,
        Start::User64,
        Start::User64,
        Start::User32,
        Start::Kernel32,
    ]);
    let mut case = Case::new(kind, start);
    for number in (0..16).filter(|number| ![3, 4].contains(number)) {
        let value = random.integer();
        if start.long() || number < 8 {
            case.gpr(number, value);
        }
    }
    case.gpr(3, POINTER);
    for at in (DATA..DATA + 0x1000).step_by(8) {
        let value = random.integer();
        case.put(at, value);
    }
    tables::fill(&mut case, random);
    // Without AM, AC has no meaning: alignment is not checked here.
    case.state.cr0 &= !(1 << 18);
    let state = &mut case.state;
    // TSD, PCE, FSGSBASE, OSXSAVE; there is no UMIP.
    for bit in [2, 8, 16, 18] {
        state.cr4 |= random.below(2) << bit;
    }
    let level = random.below(4) << 12;
    // DF, NT rarely, AC, ID and IF.
    let mut flags = random.bits() & (1 << 10 | 1 << 18 | 1 << 21 | 1 << 9) | level | 2;
    if random.one_in(12) {
        flags |= 1 << 14;
    }
    state.flags.set_bits(flags | random.bits() & 0x8D5);
    let msrs = &mut state.msrs;
    msrs.star = u64::from(selector(random)) << 48 | u64::from(selector(random)) << 32;
    if random.one_in(3) {
        msrs.star = 0x001B_0008 << 32;
    }
    msrs.lstar = canonical(address(random));
    msrs.cstar = canonical(address(random));
    msrs.sfmask = random.bits() & 0x3F_7FD5;
    msrs.kernel_gs_base = canonical(address(random));
    msrs.sysenter_cs = u64::from(selector(random));
    msrs.sysenter_esp = canonical(address(random));
    msrs.sysenter_eip = canonical(address(random));
    if random.one_in(6) {
        msrs.efer &= !1;
    }
    state.segments[4].base = canonical(address(random)) & if start.long() { !0 } else { 0 };
    case
}

fn canonical(address: u64) -> u64 {
    ((address << 16) as i64 >> 16) as u64
}

fn finish(mut case: Case, program: &[Made]) -> Option<Case> {
    let mut at = case.start.code();
    for made in program {
        append(&mut case, &mut at, made.as_ref()?)?;
    }
    case.steps = program.len() as u64;
    Some(case)
}

/// A general register of the mode's size by number.
fn wide(case: &Case, number: u32) -> Register {
    (if case.start.long() { Register::RAX } else { Register::EAX }) + number
}

/// MOV to and from control and debug registers, CLTS, LMSW, SMSW.
pub(crate) fn control(random: &mut Random) -> Option<Case> {
    let mut case = new("a control register", random);
    let (to, from) = (
        either(&case, Code::Mov_cr_r64, Code::Mov_cr_r32),
        either(&case, Code::Mov_r64_cr, Code::Mov_r32_cr),
    );
    let register = wide(&case, 0);
    let mut number = random.pick(&[0u32, 0, 2, 3, 4, 4, 8, 1, 5]);
    if number == 8 && !case.start.long() {
        // It would be encoded as another vendor's form.
        number = 0;
    }
    let state = &case.state;
    let some = |random: &mut Random, of: u64, bits: &[u64]| of ^ 1 << random.pick(bits);
    let value = match number {
        0 => some(random, state.cr0, &[0, 1, 2, 3, 4, 5, 16, 18, 29, 30, 31, 17, 32, 63]),
        2 => random.integer(),
        3 => random.pick(&[0x1000, 0x1008, 0x1018, 0x1FFF, 0x1000 | 1 << 41, 0x1000 | 1 << 63]),
        4 => some(random, state.cr4, &[2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 17, 18, 20, 15, 33]),
        _ => random.pick(&[0, 7, 15, 16, 1 << 40]),
    };
    let register_of = Register::CR0 + number;
    let debug = Register::DR0 + random.below(8) as u32;
    let program: Vec<Made> = match random.below(8) {
        0..=2 => {
            case.gpr(0, value);
            vec![with2(to, register_of, register)]
        }
        3 => vec![with2(from, register, register_of)],
        4 => {
            let (to, from) = (
                either(&case, Code::Mov_dr_r64, Code::Mov_dr_r32),
                either(&case, Code::Mov_r64_dr, Code::Mov_r32_dr),
            );
            // No breakpoints, and not the trap on access to these registers.
            let value = random.pick(&[0, 0x400, 0xFFFF_0FF0, 0xFFFF_0000, 1 << 32, 0x1234_0000]);
            case.gpr(0, value);
            if random.one_in(3) {
                case.state.cr4 |= 8;
            }
            vec![with2(to, debug, register), with2(from, register, debug)]
        }
        5 => vec![with0(Code::Clts)],
        6 => {
            if random.one_in(2) {
                let value = random.below(16);
                case.gpr(0, value);
                vec![with1(Code::Lmsw_rm16, Register::AX)]
            } else {
                vec![with_memory(&case, Code::Lmsw_rm16)]
            }
        }
        _ => match random.below(3) {
            0 => vec![with_memory(&case, Code::Smsw_rm16)],
            1 => vec![with1(Code::Smsw_r32m16, Register::EAX)],
            _ => vec![with1(Code::Smsw_rm16, Register::CX)],
        },
    };
    finish(case, &program)
}

/// LGDT, LIDT, SGDT, SIDT, LLDT, LTR, SLDT, STR.
pub(crate) fn table(random: &mut Random) -> Option<Case> {
    let mut case = new("a table register", random);
    let limit = random.bits() & 0xFFFF;
    let base = address(random);
    case.put(POINTER, limit | base << 16);
    case.put(POINTER + 8, base >> 48);
    let chosen = selector(random);
    case.gpr(0, random.integer() & !0xFFFF | u64::from(chosen));
    let long = case.start.long();
    let program = match random.below(9) {
        0 => with_memory(&case, either(&case, Code::Lgdt_m1664, Code::Lgdt_m1632)),
        1 => with_memory(&case, either(&case, Code::Lidt_m1664, Code::Lidt_m1632)),
        2 => with_memory(&case, either(&case, Code::Sgdt_m1664, Code::Sgdt_m1632)),
        3 => with_memory(&case, either(&case, Code::Sidt_m1664, Code::Sidt_m1632)),
        4 => with1(Code::Lldt_rm16, Register::AX),
        5 => {
            if random.one_in(2) {
                // An available task is rare otherwise.
                case.put(super::machine::GDT + 0x30, 0x0000_8900_C000_0067);
                case.gpr(0, 0x30 | random.below(4));
            }
            with1(Code::Ltr_rm16, Register::AX)
        }
        6 => with_memory(&case, Code::Sldt_rm16),
        7 => with1(Code::Str_r32m16, Register::ECX),
        _ if long => with1(Code::Sldt_r64m16, Register::RCX),
        _ => with1(Code::Sldt_rm16, Register::CX),
    };
    finish(case, &[program])
}

/// LAR, LSL, VERR, VERW, ARPL; the answer's flag is brought into a register.
pub(crate) fn look(random: &mut Random) -> Option<Case> {
    let mut case = new("a look at a descriptor", random);
    let chosen = u64::from(selector(random));
    case.gpr(0, random.integer() & !0xFFFF | chosen);
    let word = case.word(POINTER) & !0xFFFF | chosen;
    case.put(POINTER, word);
    let made = match random.below(8) {
        0 => with2(Code::Lar_r32_r32m16, Register::ECX, Register::EAX),
        1 => with2(Code::Lar_r16_rm16, Register::CX, Register::AX),
        2 => with2(Code::Lsl_r32_r32m16, Register::ECX, Register::EAX),
        3 => with2(Code::Lsl_r16_rm16, Register::CX, Register::AX),
        4 if case.start.long() => with2(Code::Lsl_r64_r64m16, Register::RCX, Register::RAX),
        4 => with2(Code::Arpl_rm16_r16, Register::AX, Register::DX),
        5 => with1(Code::Verr_rm16, Register::AX),
        6 => with1(Code::Verw_rm16, Register::AX),
        _ => with_memory(&case, random.pick(&[Code::Verr_rm16, Code::Verw_rm16])),
    };
    finish(case, &[made, with1(Code::Sete_rm8, Register::DL)])
}

/// Loads of segment registers of all kinds.
pub(crate) fn load(random: &mut Random) -> Option<Case> {
    let mut case = new("a segment load", random);
    let chosen = u64::from(selector(random));
    case.gpr(0, random.integer() & !0xFFFF | chosen);
    let segment = random.pick(&[
        Register::ES,
        Register::SS,
        Register::SS,
        Register::DS,
        Register::FS,
        Register::GS,
        Register::CS,
    ]);
    let long = case.start.long();
    case.put(STACK, chosen | 0x1234_0000);
    let made = match random.below(6) {
        0..=2 if segment == Register::CS => with0(Code::Ud2),
        0..=2 => with2(Code::Mov_Sreg_r32m16, segment, Register::EAX),
        3 => match segment {
            Register::FS => with1(either(&case, Code::Popq_FS, Code::Popd_FS), segment),
            Register::GS => with1(either(&case, Code::Popq_GS, Code::Popd_GS), segment),
            Register::ES if !long => with1(Code::Popd_ES, segment),
            Register::SS if !long => with1(Code::Popd_SS, segment),
            Register::DS if !long => with1(Code::Popw_DS, segment),
            _ => with1(Code::Popw_FS, Register::FS),
        },
        4 => {
            let word = random.below(1 << 32) | chosen << 32;
            case.put(POINTER, word);
            let code = match segment {
                Register::FS => Code::Lfs_r32_m1632,
                Register::GS => Code::Lgs_r32_m1632,
                Register::ES if !long => Code::Les_r32_m1632,
                Register::DS if !long => Code::Lds_r32_m1632,
                _ => Code::Lss_r32_m1632,
            };
            Instruction::with2(code, Register::ECX, pointer(&case)).ok()
        }
        _ => {
            let word = case.word(POINTER) & !0xFFFF | chosen;
            case.put(POINTER, word);
            Instruction::with2(Code::Mov_Sreg_rm16, Register::GS, pointer(&case)).ok()
        }
    };
    let store = with2(Code::Mov_r32m16_Sreg, Register::EDX, Register::GS);
    finish(case, &[made, store])
}

/// Somewhere to go.
fn target(case: &Case, random: &mut Random) -> u64 {
    match random.below(6) {
        0 => address(random),
        1 => random.below(1 << 32),
        _ => case.start.code() + random.below(0x100),
    }
}

/// JMP, CALL and RET far, IRET.
pub(crate) fn far(random: &mut Random) -> Option<Case> {
    let mut case = new("a far transfer", random);
    let chosen = if random.one_in(3) {
        // Outward by RET and IRET, most of all.
        random.pick(&[0x2B, 0x1B, 0x08, 0x48])
    } else {
        selector(random)
    };
    if tables::is_call_gate(&case, chosen) {
        return None;
    }
    let to = target(&case, random);
    let stack = if random.one_in(3) { selector(random) } else { 0x23 };
    let rsp = if random.one_in(6) { address(random) } else { STACK - 0x200 };
    let flags = random.bits() & 0x3D_7FD7 | u64::from(random.one_in(20)) << 17;
    let level = random.below(2);
    let choice = random.below(6);
    let size = random.pick(&if case.start.long() { [8u64, 8, 4, 2] } else { [4, 4, 4, 2] });
    let put = |case: &mut Case, words: &[u64]| {
        let mut at = STACK;
        for word in words {
            let bytes = word.to_le_bytes();
            case.write(at, &bytes[..size as usize]);
            at += size;
        }
    };
    let made = match choice {
        0 | 1 => {
            let bytes = to.to_le_bytes();
            case.write(POINTER, &bytes[..size as usize]);
            case.write(POINTER + size, &chosen.to_le_bytes());
            let codes = match (choice, size) {
                (0, 8) => Code::Jmp_m1664,
                (0, 4) => Code::Jmp_m1632,
                (0, _) => Code::Jmp_m1616,
                (_, 8) => Code::Call_m1664,
                (_, 4) => Code::Call_m1632,
                _ => Code::Call_m1616,
            };
            with_memory(&case, codes)
        }
        2 if !case.start.long() => {
            let code = random.pick(&[Code::Jmp_ptr1632, Code::Call_ptr1632]);
            Instruction::with_far_branch(code, chosen, to as u32).ok()
        }
        2 | 3 => {
            let release = 16 * level;
            let mut words = vec![to, chosen.into()];
            words.extend(std::iter::repeat_n(0x1111, (release / size) as usize));
            words.extend([rsp, stack.into()]);
            put(&mut case, &words);
            let (plain, releasing) = match size {
                8 => (Code::Retfq, Code::Retfq_imm16),
                4 => (Code::Retfd, Code::Retfd_imm16),
                _ => (Code::Retfw, Code::Retfw_imm16),
            };
            if level == 0 {
                with0(plain)
            } else {
                Instruction::with1(releasing, release as i32).ok()
            }
        }
        _ => {
            put(&mut case, &[to, chosen.into(), flags, rsp, stack.into()]);
            with0(match size {
                8 => Code::Iretq,
                4 => Code::Iretd,
                _ => Code::Iretw,
            })
        }
    };
    finish(case, &[made])
}

/// SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS and the FS and GS bases.
pub(crate) fn call(random: &mut Random) -> Option<Case> {
    let mut case = new("a system call", random);
    case.gpr(1, target(&case, random));
    case.gpr(2, target(&case, random));
    if case.start.long() {
        case.gpr(11, random.bits());
    }
    if random.one_in(3) {
        case.state.msrs.sysenter_cs = 8;
    }
    let register = Register::RAX;
    case.gpr(0, address(random));
    let made = match random.below(12) {
        0 | 1 => with0(Code::Syscall),
        2 => with0(Code::Sysretd),
        3 | 4 if case.start.long() => with0(Code::Sysretq),
        5 => with0(Code::Sysenter),
        6 => with0(Code::Sysexitd),
        7 if case.start.long() => with0(Code::Sysexitq),
        8 if case.start.long() => with0(Code::Swapgs),
        9 if case.start.long() => {
            with1(random.pick(&[Code::Rdfsbase_r64, Code::Rdgsbase_r64]), register)
        }
        10 if case.start.long() => {
            with1(random.pick(&[Code::Wrfsbase_r64, Code::Wrgsbase_r64]), register)
        }
        11 if case.start.long() => with1(Code::Wrfsbase_r32, Register::EAX),
        _ => with0(Code::Syscall),
    };
    finish(case, &[made])
}

/// RDMSR and WRMSR.
pub(crate) fn msr(random: &mut Random) -> Option<Case> {
    let mut case = new("a model-specific register", random);
    let index = random.pick(&[
        0x174,
        0x175,
        0x176,
        0x277,
        0xC000_0080,
        0xC000_0080,
        0xC000_0081,
        0xC000_0082,
        0xC000_0083,
        0xC000_0084,
        0xC000_0100,
        0xC000_0101,
        0xC000_0102,
        0xC000_0103,
        UNKNOWN,
    ]);
    let value = match index {
        0x277 => random.pick(&[0x0007_0406_0007_0406, 0x0101_0101_0404_0506, 2, 3 << 8, 8 << 56]),
        0xC000_0080 => {
            random.pick(&[0xD01, 0xD00, 0x501, 0x500, 0x101, 0x001, 0x1D01, 0xD03, 1 << 40])
        }
        0xC000_0103 => random.below(1 << 32),
        0xC000_0084 | 0x174 => random.below(1 << 32),
        _ => address(random),
    };
    case.gpr(0, value & 0xFFFF_FFFF | random.below(2) << 40);
    case.gpr(2, value >> 32 | random.below(2) << 40);
    case.gpr(1, index | random.below(2) << 40);
    let write = with0(Code::Wrmsr);
    let read = with0(Code::Rdmsr);
    let program = if random.one_in(3) { vec![read] } else { vec![write, read] };
    finish(case, &program)
}

/// What needs privilege, or a bit of a control register, or IOPL.
pub(crate) fn privileged(random: &mut Random) -> Option<Case> {
    let mut case = new("a privileged instruction", random);
    let long = case.start.long();
    if random.one_in(2) {
        case.gpr(1, random.below(2));
        case.gpr(0, random.below(8));
        case.gpr(2, random.below(1 << 16));
    }
    // The port's bit in the task-state segment.
    if random.one_in(2) {
        case.state.tr.limit = 0x67 + random.below(0x40) as u32;
        let map = random.pick(&[0x68, 0x60, 0x70, 0xFFFF]);
        case.write(TSS + 0x66, &(map as u16).to_le_bytes());
        let bits = random.bits() & random.bits();
        case.put(TSS + 0x68, bits);
        case.put(TSS + 0x70, bits >> 3);
        case.gpr(2, random.below(0x100));
    }
    let flags = random.bits() & 0x3C_FED7 | u64::from(random.one_in(20)) << 17;
    case.put(STACK, flags & !(1 << 8));
    let made = match random.below(24) {
        0 => with0(Code::Hlt),
        1 | 2 => with0(Code::Cli),
        3 | 4 => with0(Code::Sti),
        5 => with2(Code::In_AL_DX, Register::AL, Register::DX),
        6 => with2(Code::In_EAX_DX, Register::EAX, Register::DX),
        7 => with2(Code::Out_DX_AL, Register::DX, Register::AL),
        8 => with2(Code::Out_DX_AX, Register::DX, Register::AX),
        9 => with0(Code::Wbinvd),
        10 => with0(Code::Invd),
        11 => with_memory(&case, Code::Invlpg_m),
        12 => {
            let kind = random.pick(&[0, 1, 2, 3, 4, 1 << 33]);
            case.gpr(0, kind);
            case.put(POINTER, random.pick(&[0, 5, 0x1000]));
            let value = address(random);
            case.put(POINTER + 8, value);
            let code = either(&case, Code::Invpcid_r64_m128, Code::Invpcid_r32_m128);
            Instruction::with2(code, wide(&case, 0), pointer(&case)).ok()
        }
        13 => with0(Code::Rdpmc),
        14 => with0(Code::Rdtsc),
        15 => with0(Code::Xsetbv),
        16 => with0(Code::Xgetbv),
        17 => {
            case.gpr(1, UNKNOWN);
            with0(Code::Rdmsr)
        }
        18 => with0(Code::Clts),
        19 => with0(if long { Code::Popfq } else { Code::Popfd }),
        20 => with0(if long { Code::Pushfq } else { Code::Pushfd }),
        21 => with0(Code::Popfw),
        22 => with0(Code::Vmcall),
        _ => with0(Code::Ud2),
    };
    finish(case, &[made])
}

/// An interrupt or an exception, delivered through gates of all kinds onto stacks of all
/// kinds. Only for a peer that delivers.
pub(crate) fn delivery(random: &mut Random) -> Option<Case> {
    let mut case = new("a delivery", random);
    case.delivers = true;
    // Handlers or stacks: Bochs looks at the stack first, which would hide the handler.
    let handlers = random.one_in(2);
    for vector in [0, 1, 3, 4, 6, 13, 14, 0x40] {
        tables::gate(&mut case, random, vector, handlers);
    }
    for vector in [8, 10, 11, 12] {
        if random.one_in(3) {
            tables::gate(&mut case, random, vector, handlers);
        }
    }
    if random.one_in(8) {
        case.state.idtr.limit = random.pick(&[0x3F, 0xDE, 0xDF, 0xEF, 0x40F]);
    }
    if !handlers && random.one_in(3) {
        let stack = if random.one_in(2) { address(random) } else { DATA + random.below(0x8000) };
        let place = random.pick(&[TSS + 4, TSS + 0xC, TSS + 0x24, TSS + 0x2C]);
        case.put(place, stack);
    }
    if random.one_in(10) {
        case.state.tr.limit = random.pick(&[0x0B, 0x2B, 3, 0x23]);
    }
    if !handlers && random.one_in(3) {
        // A stack that cannot be written to.
        let page = random.pick(&[INNER_STACK, IST[0], IST[1]]) - 0x1000;
        case.put(super::machine::LOWER + page / 0x1000 * 8, page | 1);
    }
    if random.one_in(4) {
        let rsp = case.state.gpr[4] - random.below(16);
        case.gpr(4, rsp);
    }
    let vector = random.pick(&[0x40, 0x40, 0x40, 0x41, 14, 13, 3]);
    case.gpr(6, address(random));
    let register = wide(&case, 6);
    let made = match random.below(10) {
        0..=2 => Instruction::with1(Code::Int_imm8, vector).ok(),
        3 => with0(Code::Int3),
        4 => with0(Code::Int1),
        5 if !case.start.long() => with0(Code::Into),
        5 => with0(Code::Ud2),
        6 => {
            case.gpr(1, 0);
            with1(Code::Div_rm32, Register::ECX)
        }
        7 => {
            let memory = MemoryOperand::with_base(register);
            Instruction::with2(Code::Mov_rm32_r32, memory, Register::EDX).ok()
        }
        8 => with0(Code::Hlt),
        _ => {
            // A trap behind the instruction that follows POPF.
            let flags = random.bits() & 0x8D5 | case.state.flags.bits() | 1 << 8;
            case.put(STACK, flags);
            case.gpr(4, STACK);
            case.traps = true;
            let pop = either(&case, Code::Popfq, Code::Popfd);
            return finish(case, &[with0(pop), with0(Code::Nopd)]);
        }
    };
    finish(case, &[made])
}
