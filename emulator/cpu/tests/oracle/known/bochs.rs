//! What is known of Bochs.

use emulator_cpu::flags::STATUS;

use super::{Known, Part, SS_SELECTOR, accessed, canonical, has, page_fault, protection};
use crate::machine::{IDT, STACK, TSS};
use crate::system::UNKNOWN;
use crate::{tables, words};

pub(super) const KNOWN: &[Known] = &[
    Known {
        name: "the status flags are computed when the program asks, not when the host does",
        manual: "none: so it is built",
        part: Part::Word(words::RFLAGS, STATUS),
        applies: |_, ours, _| ours.faults.is_empty(),
    },
    Known {
        name: "a walk that ends in a fault sets no accessed bits",
        manual: "vol. 3, 4.8 Accessed and dirty flags: left open",
        part: Part::Memory(accessed),
        applies: |_, ours, _| page_fault(ours),
    },
    Known {
        name: "a REP with 32-bit addresses that does nothing clears other upper halves",
        manual: "none: the host decides (tests/host.rs)",
        part: Part::UpperHalves,
        applies: |case, _, _| case.kind == "a string" && case.program.contains("67, "),
    },
    Known {
        name: "SGDT is two stores",
        manual: "vol. 3, 6.5 Exception classifications: a fault leaves nothing behind",
        part: Part::Everything,
        applies: |case, ours, _| case.program.contains("Sgdt") && !ours.faults.is_empty(),
    },
    Known {
        name: "a handler's address is looked at when the frame has been pushed",
        manual: "vol. 2, INT n: operation",
        part: Part::Memory(|_| 0xFF),
        applies: |case, ours, _| {
            let nowhere = (0..=0x41).any(|vector| case.word(IDT + 16 * vector + 8) != 0);
            nowhere && case.delivers && !ours.faults.is_empty()
        },
    },
    Known {
        name: "IRET of 16 or 32 bits in 64-bit mode pops no stack at the same level",
        manual: "vol. 3, 6.14.3 IRET in IA-32e mode",
        part: Part::Everything,
        applies: |case, _, _| {
            let selector = match () {
                () if has(case, &["Iretd"]) => case.word(STACK) >> 32,
                () if has(case, &["Iretw"]) => case.word(STACK) >> 16,
                () => return false,
            };
            case.start.long() && selector & 3 == u64::from(case.state.cpl)
        },
    },
    Known {
        name: "it has machine checks, and so CR4.MCE",
        manual: "none: another machine",
        part: Part::Everything,
        applies: |case, ours, theirs| {
            protection(ours) && has(case, &["Mov_cr"]) && theirs.words[words::CR4] & 1 << 6 != 0
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
        name: "there are performance counters, a state-component bitmap in use, and a clock",
        manual: "none: another machine",
        part: Part::Everything,
        applies: |case, _, theirs| {
            let read =
                has(case, &["Rdpmc", "Rdtsc"]) || has(case, &["Xgetbv"]) && case.state.gpr[1] == 1;
            read && theirs.faults.is_empty()
        },
    },
    Known {
        name: "LAR and LSL look at the upper half of system descriptors",
        manual: "vol. 2, LAR, LSL: tables of types",
        part: Part::Everything,
        applies: |case, _, _| {
            let selector = case.state.gpr[0] as u16;
            let system = tables::named(case, selector).is_some_and(|low| low >> 44 & 1 == 0);
            system && has(case, &["Lar", "Lsl"])
        },
    },
    Known {
        name: "CALL far pushes before it looks where it goes",
        manual: "vol. 2, CALL: operation",
        part: Part::Memory(|_| 0xFF),
        applies: |case, ours, _| has(case, &["Call_m", "Call_ptr"]) && !ours.faults.is_empty(),
    },
    Known {
        name: "the type of INVPCID has 32 bits",
        manual: "vol. 2, INVPCID: the type is a whole register",
        part: Part::Everything,
        applies: |case, _, _| has(case, &["Invpcid"]) && case.state.gpr[0] >> 32 != 0,
    },
    Known {
        name: "returns take a null stack selector of any level",
        manual: "vol. 2, IRET, RET: 64-bit mode exceptions",
        part: Part::Everything,
        applies: |case, ours, theirs| {
            let null = theirs.words[SS_SELECTOR] & !3 == 0;
            has(case, &["Iret", "Ret"]) && protection(ours) && theirs.faults.is_empty() && null
        },
    },
    Known {
        name: "LLDT and LTR look at the upper half of a descriptor before they look at P",
        manual: "vol. 3, 3.5.2 Segment descriptor tables in IA-32e mode: leaves open",
        part: Part::Everything,
        applies: |case, ours, theirs| {
            let absent = ours.faults.first().filter(|fault| fault.0 == 11);
            let refused = absent.is_some_and(|fault| theirs.faults.first() == Some(&(13, fault.1)));
            refused && has(case, &["Lldt", "Ltr"])
        },
    },
    Known {
        name: "a handler in a conforming segment has its frame pushed with the segment's level",
        manual: "vol. 3, 4.6 Access rights: the level is that of the program, which stays",
        part: Part::Everything,
        applies: |case, _, _| {
            let conforming = (0..=0x41).any(|vector| {
                let gate = case.word(IDT + 16 * vector);
                let code = tables::named(case, (gate >> 16) as u16);
                code.is_some_and(|low| low >> 42 & 7 == 7)
            });
            case.delivers && conforming
        },
    },
    Known {
        name: "a stack at no address is a fault of the old stack's selector",
        manual: "vol. 2, INT n: operation, #SS(EXT) with the null selector",
        part: Part::Everything,
        applies: |case, _, _| {
            let places = [TSS + 4, TSS + 0xC, TSS + 0x24, TSS + 0x2C];
            case.delivers && places.into_iter().any(|place| !canonical(case.word(place)))
        },
    },
    Known {
        name: "a handler's address is looked at when the frame has been pushed: faults",
        manual: "vol. 2, INT n: operation",
        part: Part::Everything,
        applies: |case, ours, theirs| {
            let nowhere = (0..=0x41).any(|vector| case.word(IDT + 16 * vector + 8) != 0);
            nowhere && case.delivers && theirs.words[words::CR2] != ours.words[words::CR2]
        },
    },
    Known {
        name: "LLDT and LTR of compatibility mode take eight bytes",
        manual: "vol. 3, 3.5.2 Segment descriptor tables in IA-32e mode: sixteen",
        part: Part::Everything,
        applies: |case, _, _| !case.start.long() && has(case, &["Lldt", "Ltr"]),
    },
];
