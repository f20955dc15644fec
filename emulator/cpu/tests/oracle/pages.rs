//! Cases of paging: random tables, and accesses near the ends of pages that they map.

use iced_x86::{Code, Encoder, Instruction, OpKind, Register};

use super::machine::{
    Case, DATA, DATA_PAGES, HANDLERS, LOWER, NEXT, PAGE, ROOT, SIZE, Start, TABLES, UPPER,
};
use crate::make;
use crate::random::Random;

const P: u64 = 1;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;

pub(crate) const CR0_WP: u64 = 1 << 16;
const CR4_PGE: u64 = 1 << 7;
const CR4_SMEP: u64 = 1 << 20;
const EFER_NXE: u64 = 1 << 11;

/// Accesses by [RBX] of all kinds and sizes.
const ACCESSES: &[Code] = &[
    Code::Mov_r8_rm8,
    Code::Mov_r16_rm16,
    Code::Mov_r32_rm32,
    Code::Mov_r64_rm64,
    Code::Mov_rm8_r8,
    Code::Mov_rm16_r16,
    Code::Mov_rm32_r32,
    Code::Mov_rm64_r64,
    Code::Mov_rm32_imm32,
    Code::Movzx_r32_rm16,
    Code::Add_rm8_r8,
    Code::Add_rm16_r16,
    Code::Add_rm32_r32,
    Code::Add_rm64_r64,
    Code::Inc_rm32,
    Code::Neg_rm64,
    Code::Cmp_rm32_r32,
    Code::Test_rm64_r64,
    Code::Xchg_rm32_r32,
    Code::Xadd_rm64_r64,
    Code::Cmpxchg_rm32_r32,
    Code::Cmpxchg8b_m64,
    Code::Cmpxchg16b_m128,
    Code::Bts_rm32_imm8,
    Code::Bt_rm64_imm8,
    Code::Seta_rm8,
    Code::Push_rm64,
    Code::Pop_rm64,
    Code::Push_rm32,
    Code::Movups_xmm_xmmm128,
    Code::Movups_xmmm128_xmm,
    Code::Movaps_xmmm128_xmm,
    Code::Paddd_xmm_xmmm128,
    Code::Movq_xmm_xmmm64,
    Code::Movnti_m32_r32,
    Code::Fld_m80fp,
    Code::Fstp_m80fp,
    Code::Fild_m64int,
    Code::Fistp_m32int,
    Code::Prefetcht0_m8,
    Code::Sgdt_m1664,
    Code::Invlpg_m,
];

/// Accesses through RSP, RSI and RDI.
const IMPLIED: &[Code] = &[
    Code::Push_r64,
    Code::Pop_r64,
    Code::Pushq_imm8,
    Code::Pushfq,
    Code::Retnq,
    Code::Call_rel32_64,
    Code::Enterq_imm16_imm8,
    Code::Leaveq,
    Code::Movsb_m8_m8,
    Code::Movsw_m16_m16,
    Code::Movsd_m32_m32,
    Code::Movsq_m64_m64,
    Code::Stosb_m8_AL,
    Code::Stosd_m32_EAX,
    Code::Stosq_m64_RAX,
    Code::Lodsb_AL_m8,
    Code::Lodsq_RAX_m64,
    Code::Scasd_EAX_m32,
    Code::Cmpsw_m16_m16,
];

/// A table's entry that leads to `target`.
pub(crate) fn entry(random: &mut Random, target: u64) -> u64 {
    let mut made = target;
    let mut set = |random: &mut Random, chance: u64, rarely: bool, bits: u64| {
        if random.one_in(chance) == rarely {
            made |= bits;
        }
    };
    set(random, 12, false, P);
    set(random, 5, false, RW);
    set(random, 5, false, US);
    set(random, 2, true, A);
    set(random, 2, true, D);
    set(random, 6, true, G);
    set(random, 8, true, NX);
    set(random, 8, true, 1 << 3);
    set(random, 8, true, 1 << 4);
    // Ignored bits, and reserved ones; bit 39 is reserved here only.
    let ignored = random.pick(&[9, 10, 11, 52, 55, 58, 59, 62]);
    set(random, 6, true, 1 << ignored);
    let reserved = 40 + random.below(12);
    set(random, 60, true, 1 << reserved);
    made
}

/// Where a case's accesses go.
pub(crate) struct Place {
    /// First byte of the page.
    page: u64,
    /// Is the next page mapped by the case, too?
    crosses: bool,
}

fn put_entry(case: &mut Case, table: u64, index: u64, value: u64) {
    case.put(table + 8 * index, value);
}

/// Indices of the tables on the way to a linear address, from the root down.
pub(crate) fn indices(address: u64) -> [u64; 4] {
    [39, 30, 21, 12].map(|shift| address >> shift & 0x1FF)
}

pub(crate) fn data_page(random: &mut Random) -> u64 {
    DATA + PAGE * random.below(DATA_PAGES)
}

/// Maps the page at `address` by `tables`; `large` allows pages of 2 MiB and 1 GiB, which
/// begin at address 0 and so need small indices below.
fn map(case: &mut Case, random: &mut Random, address: u64, tables: [u64; 3], large: bool) {
    let [root, upper, middle, lower] = indices(address);
    let mut path = [(ROOT, root), (tables[0], upper), (tables[1], middle), (tables[2], lower)];
    if root == 0 {
        path[1].0 = UPPER;
    }
    for (level, (table, index)) in path.into_iter().enumerate() {
        // The way of code and stack is not the case's.
        if root == 0 && level == 0 || (root == 0 && level == 1 && upper == 0) {
            continue;
        }
        let at = table + 8 * index;
        let shared = case.word(at) != 0;
        if shared {
            if level < 3 && case.word(at) & PS != 0 && (level == 1 || level == 2) {
                return;
            }
            continue;
        }
        let target = if level < 3 { path[level + 1].0 } else { data_page(random) };
        let mut made = entry(random, target);
        let fits = match level {
            1 => middle == 0 && lower < SIZE as u64 / PAGE,
            2 => lower < SIZE as u64 / PAGE,
            _ => false,
        };
        let ends = large && fits && random.one_in(5);
        if ends {
            made = made & !(0xF_FFFF << 12) | PS;
            if random.one_in(4) {
                made |= 1 << 12;
            }
            if random.one_in(20) {
                made |= 1 << (13 + random.below(if level == 1 { 17 } else { 8 }));
            }
        } else if level == 0 && random.one_in(60) || level == 3 && random.one_in(6) {
            // Reserved in the root; one of PAT's at the end.
            made |= PS;
        }
        put_entry(case, table, index, made);
        if ends {
            return;
        }
    }
}

/// Random tables for two neighbouring pages.
pub(crate) fn place(case: &mut Case, random: &mut Random) -> Place {
    let last = random.one_in(2);
    let root =
        if case.start.long() { random.pick(&[1, 0x40, 0xFF, 0x100, 0x1FE, 0x1FF]) } else { 0 };
    let upper = if root == 0 { 1 + random.below(2) } else { random.pick(&[0, 5, 0x1FF]) };
    let middle = if random.one_in(4) { 0x1FF } else { random.pick(&[0, 0, 9]) };
    let lower = if last { 0x1FF } else { 0x10 + random.below(DATA_PAGES) };
    let address = root << 39 | upper << 30 | middle << 21 | lower << 12;
    let page = ((address << 16) as i64 >> 16) as u64;
    map(case, random, page, TABLES, !last);
    let next = page.wrapping_add(PAGE);
    // Behind the last canonical page and behind the last of all nothing is mapped anew.
    let crosses = ![0x0000_8000_0000_0000, 0].contains(&next);
    if crosses {
        let [root, upper, middle, _] = indices(next);
        let [old_root, old_upper, old_middle, _] = indices(page);
        let mut tables = TABLES;
        if (old_root, old_upper, old_middle) != (root, upper, middle) {
            tables[2] = NEXT[2];
        }
        if (old_root, old_upper) != (root, upper) {
            tables[1] = NEXT[1];
        }
        if old_root != root {
            tables[0] = NEXT[0];
        }
        map(case, random, next, tables, last);
    }
    Place { page, crosses }
}

/// An address in the page, mostly near its end.
pub(crate) fn near(random: &mut Random, place: &Place) -> u64 {
    let offset = match random.below(6) {
        0 => random.below(PAGE - 32),
        1 => 0,
        2 => PAGE - 16 * (1 + random.below(2)),
        _ => PAGE - random.below(if place.crosses { 20 } else { 16 }),
    };
    place.page.wrapping_add(offset)
}

pub(crate) fn controls(case: &mut Case, random: &mut Random) {
    // With SMEP the system cannot execute what is a user's.
    let handlers = LOWER + 8 * (HANDLERS / PAGE);
    case.put(handlers, case.word(handlers) & !US);
    let state = &mut case.state;
    if random.one_in(3) {
        state.cr0 &= !CR0_WP;
    }
    if random.one_in(2) {
        state.cr4 ^= CR4_PGE;
    }
    if random.one_in(2) {
        state.cr4 |= CR4_SMEP;
    }
    if random.one_in(4) {
        state.msrs.efer &= !EFER_NXE;
    }
}

fn start(random: &mut Random) -> Start {
    random.pick(&[
        Start::Kernel64,
        Start::Kernel64,
        Start::User64,
        Start::User64,
        Start::User32,
        Start::Kernel32,
    ])
}

pub(crate) fn registers(case: &mut Case, random: &mut Random) {
    for number in [0, 1, 2, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] {
        let value = random.integer();
        if case.start.long() || number < 8 {
            case.gpr(number, value);
        }
    }
    for at in (DATA..DATA + PAGE * DATA_PAGES).step_by(8) {
        let value = random.bits();
        case.put(at, value);
    }
}

/// Appends an instruction to the case's code.
pub(crate) fn append(case: &mut Case, at: &mut u64, instruction: &Instruction) -> Option<()> {
    let mut encoder = Encoder::new(if case.start.long() { 64 } else { 32 });
    let length = encoder.encode(instruction, *at).ok()?;
    let bytes = encoder.take_buffer();
    case.write(*at, &bytes);
    *at += length as u64;
    if !case.program.is_empty() {
        case.program.push_str(" / ");
    }
    case.program.push_str(&format!("{:?} {bytes:02x?}", instruction.code()));
    Some(())
}

fn base(case: &Case) -> Register {
    if case.start.long() { Register::RBX } else { Register::EBX }
}

/// An access by [RBX].
pub(crate) fn access(case: &Case, random: &mut Random) -> Option<Instruction> {
    let code = random.pick(ACCESSES);
    for _ in 0..20 {
        let mut made = make::form(random, code, !case.start.long())?;
        let memory = (0..made.op_count()).find(|n| made.op_kind(*n) == OpKind::Memory);
        if memory.is_none() {
            continue;
        }
        made.set_memory_base(base(case));
        made.set_memory_index(Register::None);
        made.set_memory_displ_size(0);
        made.set_memory_displacement64(0);
        return Some(made);
    }
    None
}

/// One access.
pub(crate) fn one(random: &mut Random) -> Option<Case> {
    let start = start(random);
    let mut case = Case::new("an access", start);
    registers(&mut case, random);
    controls(&mut case, random);
    let place = place(&mut case, random);
    let address = near(random, &place);
    let mut at = start.code();
    if random.one_in(3) {
        let code = random.pick(IMPLIED);
        let mut made = make::form(random, code, !start.long())?;
        made.set_has_rep_prefix(false);
        made.set_has_repne_prefix(false);
        let string = made.is_string_instruction();
        if string && random.one_in(2) {
            made.set_has_rep_prefix(true);
            case.gpr(1, random.pick(&[0, 1, 3, 40, 300]));
        }
        case.gpr(4, address.wrapping_add(random.pick(&[0, 0, 8])));
        case.gpr(5, address);
        let other = DATA + random.below(PAGE * (DATA_PAGES - 1));
        let (from, to) = if random.one_in(2) { (address, other) } else { (other, address) };
        case.gpr(6, from);
        case.gpr(7, to);
        case.kind = if string { "a string" } else { "a stack" };
        append(&mut case, &mut at, &made)?;
        case.end = if string { at } else { 0 };
        return Some(case);
    }
    let made = access(&case, random)?;
    case.gpr(3, address);
    append(&mut case, &mut at, &made)?;
    case.end = at;
    Some(case)
}

/// Execution in the page, by a jump or from the start.
pub(crate) fn execution(random: &mut Random) -> Option<Case> {
    let start = start(random);
    let mut case = Case::new("a fetch", start);
    registers(&mut case, random);
    controls(&mut case, random);
    let place = place(&mut case, random);
    let offset = random.pick(&[0, 0x100, PAGE - 1, PAGE - 2, PAGE - 4, PAGE - 9, PAGE - 10]);
    let address = place.page.wrapping_add(offset);
    // In all pages that it might be: ten bytes that can be executed anywhere.
    let code = [0x48, 0xB8, 1, 2, 3, 4, 5, 6, 7, 8];
    let code = if start.long() { &code[..] } else { &[0x81, 0xC3, 1, 2, 3, 4] };
    let mut pages: Vec<u64> = (0..DATA_PAGES).map(|page| DATA + PAGE * page).collect();
    if place.crosses {
        pages.push(0);
    }
    case.code |= 1 << ((DATA + PAGE * DATA_PAGES) / PAGE);
    let room = (PAGE - offset).min(code.len() as u64) as usize;
    for page in pages {
        case.code |= 1 << (page / PAGE);
        case.write(page + offset, &code[..room]);
        case.write(page, &code[room..]);
    }
    // Where both pages are one, its start is the rest.
    if offset == 0 {
        for page in 0..DATA_PAGES {
            case.write(DATA + PAGE * page, code);
        }
    }
    // And behind the last one, which large pages go on with.
    case.write(DATA + PAGE * DATA_PAGES, code.get(room..).unwrap_or_default());
    if random.one_in(2) {
        case.state.rip = address;
        case.program = format!("at {address:x}");
    } else {
        case.gpr(3, address);
        case.steps = 2;
        let mut at = start.code();
        let code = if start.long() { Code::Jmp_rm64 } else { Code::Jmp_rm32 };
        let jump = Instruction::with1(code, base(&case)).ok()?;
        append(&mut case, &mut at, &jump)?;
    }
    Some(case)
}

/// The processor's own accesses to its tables, through pages of the case.
pub(crate) fn implicit(random: &mut Random) -> Option<Case> {
    let start = start(random);
    let mut case = Case::new("a table", start);
    registers(&mut case, random);
    controls(&mut case, random);
    let place = place(&mut case, random);
    let mut at = start.code();
    // A descriptor at the place, whichever page that is.
    let offset = random.pick(&[0x18, 0x100, PAGE - 8, PAGE - 4, PAGE - 12]);
    let descriptor: u64 = 0x00CF_F200_0000_FFFF | random.below(2) << 40;
    for page in 0..DATA_PAGES {
        let bytes = descriptor.to_le_bytes();
        for (byte, value) in bytes.iter().enumerate() {
            let offset = (offset + byte as u64) % PAGE;
            case.write(DATA + PAGE * page + offset, &[*value]);
        }
    }
    let address = place.page.wrapping_add(offset);
    case.state.ldtr.base = address.wrapping_sub(8 * 0x20);
    let level = if start.user() { 3 } else { 0 };
    case.gpr(0, 0x104 | level);
    let made = match random.below(4) {
        0 => Instruction::with2(Code::Lar_r32_r32m16, Register::ECX, Register::EAX),
        1 => Instruction::with1(Code::Verr_rm16, Register::AX),
        _ => Instruction::with2(Code::Mov_Sreg_r32m16, Register::ES, Register::EAX),
    };
    append(&mut case, &mut at, &made.ok()?)?;
    case.end = at;
    Some(case)
}
