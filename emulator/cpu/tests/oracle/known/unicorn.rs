//! What is known of Unicorn: an emulator for programs, so that much of what only a system does is
//! not checked, and an exception ends a run before it is delivered.

use emulator_cpu::flags::{STATUS, VIF, VIP};

use super::{
    CS_SELECTOR, Known, Part, SS_SELECTOR, UPDATES, accessed, accessed_upper, descriptor_accessed,
    has, page_fault, protection, stack, used,
};
use crate::machine::Outcome;
use crate::system::{POINTER, UNKNOWN};
use crate::{tables, words};

pub(super) const KNOWN: &[Known] = &[
    Known {
        name: "what is read and written is at first only read",
        manual: "vol. 3, 4.7 Page-fault exceptions: W/R",
        part: Part::ErrorCode(2),
        applies: |case, _, _| has(case, &UPDATES),
    },
    Known {
        name: "SSE operands need no alignment",
        manual: "vol. 2, MOVAPS, PADDD: #GP(0)",
        part: Part::Everything,
        applies: |case, ours, _| protection(ours) && has(case, &["Movaps", "Paddd"]),
    },
    Known {
        name: "x87 registers are never empty",
        manual: "vol. 1, 8.5.1.1 Stack overflow or underflow exception",
        part: Part::Everything,
        applies: |case, _, _| has(case, &["Fstp", "Fistp"]),
    },
    Known {
        name: "a branch may lead to an address that is not canonical",
        manual: "vol. 1, 3.3.7.1 Canonical addressing",
        part: Part::Everything,
        applies: |case, ours, _| {
            protection(ours) && has(case, &["Ret", "Jmp", "Call", "Iret", "Sysret", "Sysexit"])
        },
    },
    Known {
        name: "LAR clears bits 19 to 16",
        manual: "vol. 2, LAR: undefined",
        part: Part::Word(1, 0xF_0000),
        applies: |case, _, _| has(case, &["Lar_r32"]),
    },
    Known {
        name: "descriptors are accessed by halves",
        manual: "vol. 3, 4.7 Page-fault exceptions: leaves open which byte",
        part: Part::Word(words::CR2, 7),
        applies: |case, _, _| case.kind == "a table",
    },
    Known {
        name: "ENTER does not look whether the new top of the stack can be written to: tables",
        manual: "vol. 2, ENTER",
        part: Part::Memory(used),
        applies: |case, _, _| has(case, &["Enter"]),
    },
    Known {
        name: "what lies behind the last instruction is translated ahead, and may fault",
        manual: "vol. 3, 6.6 Program or task restart: nothing is reported before its instruction",
        part: Part::Everything,
        applies: |_, ours, theirs| {
            let rip = ours.words[words::RIP];
            let next = rip.wrapping_add(ours.words[CS_SELECTOR + 1]);
            let ahead = page_fault(theirs) && theirs.words[words::CR2].wrapping_sub(next) < 0x1000;
            ours.faults.is_empty()
                && (ahead || (protection(theirs) && (1u64 << 47).wrapping_sub(rip) < 16))
        },
    },
    Known {
        name: "what lies behind an instruction is translated ahead, and its tables are accessed",
        manual: "vol. 3, 4.8 Accessed and dirty flags: left open",
        part: Part::Memory(accessed),
        applies: |case, _, _| case.kind == "a fetch",
    },
    Known {
        name: "what is read and written is at first only read, and its tables are accessed",
        manual: "vol. 3, 4.8 Accessed and dirty flags: left open",
        part: Part::Memory(accessed),
        applies: |case, ours, _| page_fault(ours) && has(case, &UPDATES),
    },
    Known {
        name: "sixteen bytes are two stores",
        manual: "vol. 3, 6.5 Exception classifications: a fault leaves nothing behind",
        part: Part::Everything,
        applies: |case, ours, _| !ours.faults.is_empty() && has(case, &["Movups_xmmm128"]),
    },
    Known {
        name: "SGDT is two stores",
        manual: "vol. 3, 6.5 Exception classifications: a fault leaves nothing behind",
        part: Part::Everything,
        applies: |case, ours, _| !ours.faults.is_empty() && has(case, &["Sgdt"]),
    },
    Known {
        name: "the flags of what was executed before a fault are those before it",
        manual: "vol. 3, 6.5 Exception classifications",
        part: Part::Word(words::RFLAGS, STATUS),
        applies: |case, ours, _| !ours.faults.is_empty() && case.steps > 1,
    },
    Known {
        name: "a REP with 32-bit addresses leaves other upper halves",
        manual: "none: the host decides (tests/host.rs)",
        part: Part::UpperHalves,
        applies: |case, _, _| case.kind == "a string" && has(case, &["67, "]),
    },
    Known {
        name: "what is read and written is at first only read, on both of its pages",
        manual: "vol. 3, 4.7 Page-fault exceptions: leaves open which page",
        part: Part::Everything,
        applies: |case, ours, theirs| {
            let cr2 = |outcome: &Outcome| outcome.words[words::CR2];
            let second = cr2(theirs) & 0xFFF == 0 && cr2(theirs).wrapping_sub(cr2(ours)) < 16;
            page_fault(ours) && page_fault(theirs) && second && has(case, &UPDATES)
        },
    },
    Known {
        name: "LOCK NEG sets the flags of another number",
        manual: "vol. 2, NEG: flags affected",
        part: Part::Word(words::RFLAGS, STATUS),
        applies: |case, _, _| {
            has(case, &["Neg_rm8 [f0", "Neg_rm16 [f0", "Neg_rm32 [f0", "Neg_rm64 [f0"])
        },
    },
    Known {
        name: "an operand that ends beyond what is canonical is one in its first page",
        manual: "vol. 1, 3.3.7.1 Canonical addressing",
        part: Part::Everything,
        applies: |_, ours, theirs| {
            let last = (1u64 << 47).wrapping_sub(theirs.words[words::CR2]) < 16;
            (protection(ours) || stack(ours)) && last && page_fault(theirs)
        },
    },
    Known {
        name: "an operand that ends beyond what is canonical has its first page accessed",
        manual: "vol. 1, 3.3.7.1 Canonical addressing",
        part: Part::Memory(used),
        applies: |_, ours, _| protection(ours) || stack(ours),
    },
    Known {
        name: "a stack at an address that is not canonical is #GP, not #SS",
        manual: "vol. 3, 6.15 Interrupt 12, stack fault",
        part: Part::Everything,
        applies: |_, ours, theirs| stack(ours) && protection(theirs),
    },
    Known {
        name: "the entry of a page of 1 GiB is accessed before it is checked",
        manual: "vol. 3, 4.7 Page-fault exceptions: RSVD",
        part: Part::Memory(accessed_upper),
        applies: |_, ours, _| page_fault(ours),
    },
    Known {
        name: "CMPXCHG8B and CMPXCHG16B forget the flags of the instruction before",
        manual: "vol. 2, CMPXCHG8B: flags affected",
        part: Part::Word(words::RFLAGS, STATUS),
        applies: |case, _, _| has(case, &["Cmpxchg8b", "Cmpxchg16b"]),
    },
    Known {
        name: "CMPXCHG of 32 bits clears the upper half of RAX if it succeeds",
        manual: "none: the host decides (tests/host.rs)",
        part: Part::Word(0, 0xFFFF_FFFF << 32),
        applies: |case, _, _| has(case, &["Cmpxchg_rm32"]),
    },
    Known {
        name: "ENTER does not look whether the new top of the stack can be written to",
        manual: "vol. 2, ENTER: #PF",
        part: Part::Everything,
        applies: |case, ours, _| page_fault(ours) && has(case, &["Enter"]),
    },
    Known {
        name: "SYSCALL and SYSENTER are hooks, not instructions",
        manual: "none: so it is built",
        part: Part::Everything,
        applies: |case, _, _| has(case, &["Syscall", "Sysenter"]),
    },
    Known {
        name: "SYSRET is there outside of 64-bit mode, as on AMD's processors",
        manual: "vol. 2, SYSRET: #UD",
        part: Part::Everything,
        applies: |case, _, _| !case.start.long() && has(case, &["Sysret"]),
    },
    Known {
        name: "SYSRET loads VM and RF, but not VIF and VIP",
        manual: "vol. 2, SYSRET: operation",
        part: Part::Word(words::RFLAGS, 0x1B_0000),
        applies: |case, _, _| has(case, &["Sysret"]),
    },
    Known {
        name: "IRET goes to virtual-8086 mode, which long mode does not have",
        manual: "vol. 2, IRET: operation",
        part: Part::Everything,
        applies: |case, _, theirs| {
            has(case, &["Iret"]) && theirs.words[words::RFLAGS] & 1 << 17 != 0
        },
    },
    Known {
        name: "an instruction that sets TF is followed by a trap already",
        manual: "vol. 3, 17.3.1.4 Single-step exception condition",
        part: Part::Everything,
        applies: |_, _, theirs| theirs.faults.first().is_some_and(|fault| fault.0 == 1),
    },
    Known {
        name: "WRFSBASE, WRGSBASE and WRMSR take addresses that are not canonical",
        manual: "vol. 2, WRFSBASE, WRMSR: #GP(0)",
        part: Part::Everything,
        applies: |case, ours, _| protection(ours) && has(case, &["Wrfsbase", "Wrgsbase", "Wrmsr"]),
    },
    Known {
        name: "there is no INVPCID",
        manual: "none: another machine",
        part: Part::Everything,
        applies: |case, _, _| has(case, &["Invpcid"]),
    },
    Known {
        name: "RDPMC is unknown",
        manual: "none: another machine",
        part: Part::Everything,
        applies: |case, _, _| has(case, &["Rdpmc"]),
    },
    Known {
        name: "LGDT and LIDT take addresses that are not canonical",
        manual: "vol. 2, LGDT, LIDT: #GP(0)",
        part: Part::Everything,
        applies: |case, ours, _| protection(ours) && has(case, &["Lgdt", "Lidt"]),
    },
    Known {
        name: "LTR takes a null selector",
        manual: "vol. 2, LTR: #GP(0)",
        part: Part::Everything,
        applies: |case, ours, _| protection(ours) && has(case, &["Ltr"]),
    },
    Known {
        name: "a transfer to 32-bit code keeps the upper half of RIP",
        manual: "vol. 2, JMP, SYSEXIT: operation",
        part: Part::Everything,
        applies: |case, ours, theirs| {
            let (here, there) = (ours.words[words::RIP], theirs.words[words::RIP]);
            let far = case.kind == "a far transfer" || has(case, &["Sysexit"]);
            far && here != there && here == there & 0xFFFF_FFFF
        },
    },
    Known {
        name: "unknown model-specific registers are ignored",
        manual: "vol. 2, RDMSR, WRMSR: #GP(0)",
        part: Part::Everything,
        applies: |case, _, _| {
            case.program.contains("msr") && case.state.gpr[1] & 0xFFFF_FFFF == UNKNOWN
        },
    },
    Known {
        name: "XSETBV looks at the privilege level before it looks at OSXSAVE",
        manual: "vol. 3, 6.9 Priority among exceptions",
        part: Part::Everything,
        applies: |case, _, _| has(case, &["Xsetbv"]),
    },
    Known {
        name: "the privilege level is looked at before the number of a control register",
        manual: "vol. 3, 6.9 Priority among exceptions",
        part: Part::Everything,
        applies: |case, ours, theirs| {
            let undefined = ours.faults.first() == Some(&(6, 0));
            undefined && protection(theirs) && case.kind == "a control register"
        },
    },
    Known {
        name: "control registers take reserved bits, and combinations that are none",
        manual: "vol. 2, MOV to control registers: #GP(0)",
        part: Part::Everything,
        applies: |case, ours, _| protection(ours) && has(case, &["Mov_cr"]),
    },
    Known {
        name: "the upper half of what SMSW stores",
        manual: "vol. 2, SMSW: undefined",
        part: Part::Word(0, 0xFFFF_0000),
        applies: |case, _, _| has(case, &["Smsw_r32"]),
    },
    Known {
        name: "null stack selectors may have any level",
        manual: "vol. 2, IRET, RET, MOV: #GP(0)",
        part: Part::Everything,
        applies: |_, ours, theirs| {
            protection(ours) && theirs.faults.is_empty() && theirs.words[SS_SELECTOR] & !3 == 0
        },
    },
    Known {
        name: "the clock is another",
        manual: "none: another machine",
        part: Part::Everything,
        applies: |case, ours, theirs| {
            has(case, &["Rdtsc"]) && ours.faults.is_empty() && theirs.faults.is_empty()
        },
    },
    Known {
        name: "ports are open to everybody",
        manual: "vol. 2, IN, OUT: #GP(0)",
        part: Part::Everything,
        applies: |case, ours, _| protection(ours) && has(case, &["_DX"]),
    },
    Known {
        name: "LAR and LSL know types that long mode does not have",
        manual: "vol. 2, LAR, LSL: tables of types",
        part: Part::Everything,
        applies: |case, _, _| {
            let named = tables::named(case, case.state.gpr[0] as u16);
            let legacy = named.is_some_and(|low| matches!(low >> 40 & 0x1F, 1 | 3 | 4 | 5));
            legacy && has(case, &["Lar", "Lsl"])
        },
    },
    Known {
        name: "XCR0 is what the last XSETBV has left",
        manual: "none: nobody can set it",
        part: Part::Word(0, 7),
        applies: |case, _, _| has(case, &["Xgetbv"]),
    },
    Known {
        name: "code may be of 64 and of 32 bits at once",
        manual: "vol. 3, 3.4.5 Segment descriptors: L flag",
        part: Part::Everything,
        applies: |case, ours, _| {
            let refused = ours.faults.first().filter(|fault| fault.0 == 13);
            let named = refused.and_then(|fault| tables::named(case, fault.1 as u16));
            named.is_some_and(|low| low >> 53 & 3 == 3)
        },
    },
    Known {
        name: "far transfers do not mark their code as accessed",
        manual: "vol. 3, 3.4.5.1 Code- and data-segment descriptor types",
        part: Part::Memory(descriptor_accessed),
        applies: |case, _, _| case.kind == "a far transfer",
    },
    Known {
        name: "CALL far by 32 bits looks at the limit of 64-bit code",
        manual: "vol. 3, 5.3.1 Limit checking in 64-bit mode",
        part: Part::Everything,
        applies: |case, ours, theirs| {
            let refused = theirs.faults.first().is_some_and(|fault| fault.0 == 13);
            let long = ours.words[CS_SELECTOR + 3] & 1 << 13 != 0;
            refused && long && has(case, &["Call_m1632", "Call_m1616", "Call_ptr"])
        },
    },
    Known {
        name: "an offset of 64 bits to 32-bit code is held against the limit as a whole",
        manual: "vol. 2, JMP: leaves open; Bochs does as we do",
        part: Part::Everything,
        applies: |case, _, theirs| {
            let wide = case.word(POINTER) >> 32 != 0;
            wide && protection(theirs) && has(case, &["Jmp_m1664", "Call_m1664"])
        },
    },
    Known {
        name: "DR6 and DR7 take 64 bits",
        manual: "vol. 3, 17.2.6 Debug registers and Intel 64 processors",
        part: Part::Everything,
        applies: |case, ours, _| protection(ours) && has(case, &["Mov_dr_r64"]),
    },
    Known {
        name: "no instruction goes on at address 0 behind the last of all addresses",
        manual: "none: addresses are numbers of 64 bits",
        part: Part::Everything,
        applies: |case, _, theirs| case.kind == "a fetch" && theirs.words[words::RIP] == !0,
    },
    Known {
        name: "IA32_SYSENTER_CS has 16 bits",
        manual: "vol. 4, table 2-2: bits 31:16 are not used",
        part: Part::Everything,
        applies: |case, ours, _| {
            let number = case.state.gpr[1] & 0xFFFF_FFFF;
            number == 0x174 && ours.faults.is_empty() && has(case, &["msr"])
        },
    },
    Known {
        name: "reserved bits of CR0 stay as they are written",
        manual: "vol. 2, MOV to control registers: those of the lower half are ignored",
        part: Part::Word(words::CR0, 1 << 17),
        applies: |case, _, _| has(case, &["Mov_cr"]),
    },
    Known {
        name: "IRET does not load VIF and VIP",
        manual: "vol. 2, IRET: operation, CPL 0",
        part: Part::Word(words::RFLAGS, VIF | VIP),
        applies: |case, _, _| has(case, &["Iret"]),
    },
    Known {
        name: "CMPXCHG8B and CMPXCHG16B forget the flags of the instruction before: SETA",
        manual: "vol. 2, CMPXCHG8B: flags affected",
        part: Part::Everything,
        applies: |case, _, _| has(case, &["Seta"]) && has(case, &["Cmpxchg8b", "Cmpxchg16b"]),
    },
    Known {
        name: "LLDT and LTR do not look at the upper half, nor whether its base is canonical",
        manual: "vol. 2, LLDT, LTR: #GP(selector)",
        part: Part::Everything,
        applies: |case, ours, theirs| {
            let refused = ours.faults.first().is_some_and(|fault| fault.0 == 13 && fault.1 != 0);
            refused && theirs.faults.is_empty() && has(case, &["Lldt", "Ltr"])
        },
    },
    Known {
        name: "RET to an absent stack is #NP",
        manual: "vol. 2, RET: #SS(selector)",
        part: Part::Everything,
        applies: |case, ours, theirs| {
            let absent = ours.faults.first().filter(|fault| fault.0 == 12);
            let other = absent.is_some_and(|fault| theirs.faults.first() == Some(&(11, fault.1)));
            other && has(case, &["Ret"])
        },
    },
];
