//! A state as words with names, in the order of `tests/peer/peer.py`.

use emulator_cpu::State;

/// Names of the words before the segments.
const PLAIN: [&str; 36] = [
    "rax",
    "rcx",
    "rdx",
    "rbx",
    "rsp",
    "rbp",
    "rsi",
    "rdi",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
    "rip",
    "rflags",
    "cr0",
    "cr2",
    "cr3",
    "cr4",
    "efer",
    "star",
    "lstar",
    "cstar",
    "sfmask",
    "kernel_gs_base",
    "sysenter_cs",
    "sysenter_esp",
    "sysenter_eip",
    "pat",
    "gdtr base",
    "gdtr limit",
    "idtr base",
    "idtr limit",
];
pub(crate) const RIP: usize = 16;
pub(crate) const RFLAGS: usize = 17;
pub(crate) const CR0: usize = 18;
pub(crate) const CR2: usize = 19;
pub(crate) const CR4: usize = 21;
/// Four words for each segment: selector, base, limit, attributes.
pub(crate) const SEGMENTS: usize = PLAIN.len();
pub(crate) const COUNT: usize = SEGMENTS + 8 * 4;
pub(crate) const LDTR: usize = 6;
pub(crate) const TR: usize = 7;

/// The name of a word.
pub(crate) fn name(word: usize) -> String {
    if word < SEGMENTS {
        return PLAIN[word].to_owned();
    }
    let (segment, part) = ((word - SEGMENTS) / 4, (word - SEGMENTS) % 4);
    let segment = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"][segment];
    format!("{segment} {}", ["selector", "base", "limit", "attributes"][part])
}

pub(crate) fn of(state: &State) -> Vec<u64> {
    let msrs = &state.msrs;
    let mut words = state.gpr[..16].to_vec();
    words.extend([
        state.rip,
        state.flags.bits(),
        state.cr0,
        state.cr2,
        state.cr3,
        state.cr4,
        msrs.efer,
        msrs.star,
        msrs.lstar,
        msrs.cstar,
        msrs.sfmask,
        msrs.kernel_gs_base,
        msrs.sysenter_cs,
        msrs.sysenter_esp,
        msrs.sysenter_eip,
        msrs.pat,
        state.gdtr.base,
        state.gdtr.limit.into(),
        state.idtr.base,
        state.idtr.limit.into(),
    ]);
    for segment in state.segments.iter().chain([&state.ldtr, &state.tr]) {
        words.extend([
            segment.selector.into(),
            segment.base,
            segment.limit.into(),
            segment.attributes.into(),
        ]);
    }
    words
}
