//! The guest programs.

use iced_x86::code_asm::*;

use crate::kernel::{Assembled, CodeAssembler, DATA, Kernel, PRINT, exit, say, set_msr, time};

/// Model-specific registers of the local APIC (SDM vol. 3, table 11-6).
const APIC_BASE: u32 = 0x1B;
const TSC_DEADLINE: u32 = 0x6E0;
const EOI: u32 = 0x80B;
const SPURIOUS: u32 = 0x80F;
const LVT_TIMER: u32 = 0x832;
const INITIAL: u32 = 0x838;
const DIVIDE: u32 = 0x83E;
const PERIODIC: u64 = 1 << 17;
const DEADLINE: u64 = 2 << 17;

/// The timer's vector.
const TIMER: u8 = 0x40;

/// A program and what is special about it.
pub(crate) struct Program {
    /// Its golden output is `golden/NAME.txt`.
    pub(crate) name: &'static str,
    pub(crate) kernel: fn() -> Kernel,
    /// It asks for random numbers, which after a restore are others.
    pub(crate) random: bool,
}

/// Those that must say the same each time.
pub(crate) const PROGRAMS: &[Program] = &[
    Program { name: "hello", kernel: hello, random: false },
    Program { name: "ticks", kernel: ticks, random: false },
    Program { name: "busy", kernel: busy, random: false },
    Program { name: "faults", kernel: faults, random: false },
    Program { name: "changed", kernel: changed, random: false },
    Program { name: "numbers", kernel: numbers, random: false },
    Program { name: "strings", kernel: strings, random: false },
    Program { name: "clock", kernel: clock, random: false },
    Program { name: "entropy", kernel: entropy, random: true },
];

pub(crate) fn hello() -> Kernel {
    Kernel::new(|a| {
        say(a, "hello from the guest\n")?;
        exit(a, 0)
    })
}

/// Ends with an answer that is no success.
pub(crate) fn answer() -> Kernel {
    Kernel::new(|a| exit(a, 42))
}

/// Halts for good.
pub(crate) fn halt() -> Kernel {
    Kernel::new(|a| {
        a.cli()?;
        a.hlt()
    })
}

/// Waits for an interrupt, and there is none to come.
pub(crate) fn stuck() -> Kernel {
    Kernel::new(|a| {
        a.sti()?;
        a.hlt()
    })
}

/// Pulls the keyboard controller's reset line.
pub(crate) fn reset() -> Kernel {
    Kernel::new(|a| {
        a.mov(al, 0xFE)?;
        a.out(0x64, al)?;
        a.ud2()
    })
}

/// An exception, and no handler for it nor for what follows.
pub(crate) fn triple() -> Kernel {
    Kernel::new(|a| {
        say(a, "last words\n")?;
        a.mov(rbx, 0x1234_5678u64)?;
        a.ud2()
    })
}

/// Executes for ever.
pub(crate) fn endless() -> Kernel {
    Kernel::new(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(rbx)?;
        a.jmp(again)
    })
}

/// Counts in RBX for ever, and says so now and then.
pub(crate) fn counting() -> Kernel {
    Kernel::new(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(rbx)?;
        a.test(ebx, 0xF_FFFF)?;
        a.jne(again)?;
        a.mov(rax, rbx)?;
        a.call(PRINT)?;
        a.jmp(again)
    })
}

/// The timer on, with its handler's vector.
fn start_timer(a: &mut CodeAssembler, mode: u64) -> Assembled {
    set_msr(a, APIC_BASE, 0xFEE0_0D00)?;
    set_msr(a, SPURIOUS, 0x1FF)?;
    set_msr(a, DIVIDE, 0xB)?;
    set_msr(a, LVT_TIMER, u64::from(TIMER) | mode)
}

/// An interrupt in so much time; RAX, RCX and RDX are lost.
fn arm(a: &mut CodeAssembler, nanoseconds: i32) -> Assembled {
    time(a)?;
    a.add(rax, nanoseconds)?;
    a.mov(rdx, rax)?;
    a.shr(rdx, 32)?;
    a.mov(ecx, TSC_DEADLINE)?;
    a.wrmsr()
}

/// Counts in RBX, prints what `what` puts into RAX, and goes back.
fn counting_handler(kernel: &mut Kernel, what: fn(&mut CodeAssembler) -> Assembled) {
    kernel.handler(TIMER, move |a| {
        a.push(rax)?;
        a.push(rcx)?;
        a.push(rdx)?;
        a.inc(rbx)?;
        what(a)?;
        a.call(PRINT)?;
        set_msr(a, EOI, 0)?;
        a.pop(rdx)?;
        a.pop(rcx)?;
        a.pop(rax)?;
        a.iretq()
    });
}

/// Sleeps for so long, so many times.
fn sleeper(count: i32, nanoseconds: i32) -> Kernel {
    let mut kernel = Kernel::new(|a| {
        start_timer(a, DEADLINE)?;
        let mut again = a.create_label();
        a.xor(ebx, ebx)?;
        a.set_label(&mut again)?;
        arm(a, nanoseconds)?;
        a.sti()?;
        a.hlt()?;
        a.cli()?;
        a.cmp(ebx, count)?;
        a.jb(again)?;
        say(a, "awake\n")?;
        exit(a, 0)
    });
    counting_handler(&mut kernel, time);
    kernel
}

/// The time at each of five interrupts.
fn ticks() -> Kernel {
    sleeper(5, 250_000)
}

/// A second of real time, in four pieces.
pub(crate) fn second() -> Kernel {
    sleeper(4, 250_000_000)
}

/// How far the main program has come at each interrupt: it has compares with branches, loops
/// and repeated stores, and the timer knows nothing of their ends.
fn busy() -> Kernel {
    let mut kernel = Kernel::new(|a| {
        start_timer(a, PERIODIC)?;
        a.xor(ebx, ebx)?;
        a.xor(r15d, r15d)?;
        set_msr(a, INITIAL, 30_011)?;
        a.sti()?;
        let (mut again, mut inner, mut skip) =
            (a.create_label(), a.create_label(), a.create_label());
        a.set_label(&mut again)?;
        a.inc(r15)?;
        a.mov(ecx, 7)?;
        a.set_label(&mut inner)?;
        a.test(r15, 1)?;
        a.je(skip)?;
        a.add(r14, rcx)?;
        a.set_label(&mut skip)?;
        a.dec(ecx)?;
        a.cmp(ecx, 0)?;
        a.jne(inner)?;
        a.mov(rdi, DATA)?;
        a.mov(eax, r15d)?;
        a.mov(ecx, 300)?;
        a.rep().stosb()?;
        a.cmp(ebx, 12)?;
        a.jb(again)?;
        a.cli()?;
        a.mov(rax, r14)?;
        a.call(PRINT)?;
        exit(a, 0)
    });
    counting_handler(&mut kernel, |a| {
        a.mov(rax, r15)?;
        a.shl(rax, 32)?;
        // Where it was: RIP is behind the three registers that were pushed.
        a.or(rax, qword_ptr(rsp + 24))
    });
    kernel
}

/// A fault of each kind: vector, error code, CR2. R12 says where to go on.
fn faults() -> Kernel {
    type Fault = fn(&mut CodeAssembler) -> Assembled;
    let cases: [Fault; 5] = [
        |a| {
            a.xor(ecx, ecx)?;
            a.div(ecx)
        },
        CodeAssembler::ud2,
        |a| {
            a.mov(rax, 0x1234_5678_9ABC_DEF0u64)?;
            a.mov(qword_ptr(rax), rax)
        },
        // Beyond the 4 GiB that are mapped.
        |a| {
            a.mov(rax, 0x1_0000_0010u64)?;
            a.mov(rbx, qword_ptr(rax))
        },
        |a| {
            a.mov(rax, 0x1_0000_2000u64)?;
            a.mov(byte_ptr(rax), 1)
        },
    ];
    let mut kernel = Kernel::new(|a| {
        for case in cases {
            let mut behind = a.create_label();
            a.lea(r12, ptr(behind))?;
            case(a)?;
            a.set_label(&mut behind)?;
            a.nop()?;
        }
        exit(a, 0)
    });
    for (vector, code) in [(0, false), (6, false), (13, true), (14, true)] {
        kernel.handler(vector, move |a| {
            if !code {
                a.push(-1)?;
            }
            a.mov(eax, u32::from(vector))?;
            a.call(PRINT)?;
            a.pop(rax)?;
            a.call(PRINT)?;
            a.mov(rax, cr2)?;
            a.call(PRINT)?;
            a.mov(qword_ptr(rsp), r12)?;
            a.iretq()
        });
    }
    kernel
}

/// Code that changes itself, at once and a page away.
fn changed() -> Kernel {
    let mut kernel = Kernel::new(|a| {
        let (mut again, mut changing) = (a.create_label(), a.create_label());
        a.xor(r15d, r15d)?;
        a.mov(r14d, 200)?;
        a.set_label(&mut again)?;
        a.lea(rsi, ptr(changing))?;
        a.mov(byte_ptr(rsi + 1), r14b)?;
        a.mov(byte_ptr(DATA + 1), r14b)?;
        a.set_label(&mut changing)?;
        a.mov(eax, 0)?;
        a.add(r15, rax)?;
        a.call(DATA)?;
        a.add(r15, rax)?;
        a.rol(r15, 1)?;
        a.dec(r14d)?;
        a.jne(again)?;
        a.mov(rax, r15)?;
        a.call(PRINT)?;
        exit(a, 0)
    });
    kernel.put(DATA, |a| {
        a.mov(eax, 0)?;
        a.ret()
    });
    kernel
}

/// Floating point, whose bits must be the same on every host.
fn numbers() -> Kernel {
    Kernel::new(|a| {
        a.mov(rax, cr0)?;
        a.and(eax, !4)?;
        a.mov(cr0, rax)?;
        a.mov(rax, cr4)?;
        a.or(eax, 0x600)?;
        a.mov(cr4, rax)?;
        a.fninit()?;
        let functions: [fn(&mut CodeAssembler) -> Assembled; 4] =
            [CodeAssembler::fsin, CodeAssembler::fsqrt, CodeAssembler::frndint, |a| {
                a.fld1()?;
                a.fpatan()
            }];
        for function in functions {
            a.fldpi()?;
            a.fld1()?;
            a.fadd_2(st0, st0)?;
            a.fdivp(st1, st0)?;
            function(a)?;
            a.fstp(tbyte_ptr(DATA))?;
            a.mov(rax, qword_ptr(DATA))?;
            a.call(PRINT)?;
            a.movzx(eax, word_ptr(DATA + 8))?;
            a.call(PRINT)?;
        }
        a.mov(eax, 10)?;
        a.cvtsi2sd(xmm0, eax)?;
        a.mov(eax, 3)?;
        a.cvtsi2sd(xmm1, eax)?;
        for step in 0..3 {
            match step {
                0 => a.divsd(xmm0, xmm1)?,
                1 => a.sqrtsd(xmm0, xmm0)?,
                _ => a.mulsd(xmm0, xmm0)?,
            }
            a.movq(rax, xmm0)?;
            a.call(PRINT)?;
        }
        a.stmxcsr(dword_ptr(DATA))?;
        a.mov(eax, dword_ptr(DATA))?;
        a.call(PRINT)?;
        exit(a, 0)
    })
}

/// Repeated instructions over megabytes, with interrupts in between; where these come must not
/// depend on what the processor knows of the pages.
fn strings() -> Kernel {
    const FROM: u64 = 0x100_0000;
    const TO: u64 = 0x180_0123;
    const LENGTH: u32 = 0x30_0000;
    let mut kernel = Kernel::new(|a| {
        start_timer(a, DEADLINE)?;
        a.xor(ebx, ebx)?;
        arm(a, 9)?;
        a.sti()?;
        a.mov(rdi, FROM)?;
        a.mov(rax, 0x0123_4567_89AB_CDEFu64)?;
        a.mov(ecx, LENGTH / 8)?;
        a.rep().stosq()?;
        for _ in 0..3 {
            a.mov(rsi, FROM)?;
            a.mov(rdi, TO)?;
            a.mov(ecx, LENGTH)?;
            a.rep().movsb()?;
        }
        // Overlapping by one: the first byte fills the rest.
        a.mov(rsi, TO + 0x1000)?;
        a.mov(rdi, TO + 0x1001)?;
        a.mov(ecx, 0x2_0000)?;
        a.rep().movsb()?;
        // The first byte that is another.
        a.mov(rdi, TO + 0x1000)?;
        a.mov(al, byte_ptr(rdi))?;
        a.mov(ecx, LENGTH)?;
        a.repe().scasb()?;
        a.cli()?;
        a.mov(eax, ecx)?;
        a.call(PRINT)?;
        let mut again = a.create_label();
        a.mov(rsi, TO)?;
        a.mov(ecx, LENGTH / 8)?;
        a.xor(eax, eax)?;
        a.set_label(&mut again)?;
        a.crc32(rax, qword_ptr(rsi))?;
        a.add(rsi, 8)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.call(PRINT)?;
        exit(a, 0)
    });
    kernel.handler(TIMER, |a| {
        a.push(rax)?;
        a.push(rcx)?;
        a.push(rdx)?;
        // Where it was, and how much is left there.
        a.mov(rax, rcx)?;
        a.shl(rax, 32)?;
        a.or(rax, qword_ptr(rsp + 24))?;
        a.call(PRINT)?;
        // The way back is a dozen instructions; the rest are pieces of 64 Ki elements.
        arm(a, 25)?;
        set_msr(a, EOI, 0)?;
        a.pop(rdx)?;
        a.pop(rcx)?;
        a.pop(rax)?;
        a.iretq()
    });
    kernel
}

/// The time of day: year, month, day, hours, minutes, seconds.
fn clock() -> Kernel {
    Kernel::new(|a| {
        for register in [0x32, 9, 8, 7, 4, 2, 0] {
            a.mov(al, register)?;
            a.out(0x70, al)?;
            a.xor(eax, eax)?;
            a.in_(al, 0x71)?;
            a.call(PRINT)?;
        }
        exit(a, 0)
    })
}

fn entropy() -> Kernel {
    Kernel::new(|a| {
        for _ in 0..4 {
            a.rdrand(rax)?;
            a.call(PRINT)?;
        }
        exit(a, 0)
    })
}

/// Says letters back as capitals, from its serial port; ends with `q`.
pub(crate) fn echo() -> Kernel {
    const LINE: u32 = 0x3F8;
    Kernel::new(|a| {
        let (mut wait, mut quit) = (a.create_label(), a.create_label());
        a.mov(edx, LINE + 1)?;
        a.mov(al, 1)?;
        a.out(dx, al)?;
        say(a, "ready\n")?;
        a.set_label(&mut wait)?;
        a.mov(edx, LINE + 5)?;
        a.in_(al, dx)?;
        a.test(al, 1)?;
        a.je(wait)?;
        a.mov(edx, LINE)?;
        a.in_(al, dx)?;
        a.cmp(al, i32::from(b'q'))?;
        a.je(quit)?;
        a.and(al, 0xDF)?;
        a.out(dx, al)?;
        a.jmp(wait)?;
        a.set_label(&mut quit)?;
        exit(a, 7)
    })
}

/// Registers of the block device (virtio 1.2 §4.2.2), and where its queue is.
const BLOCK: u64 = 0xD000_1000;
const AVAILABLE: u64 = DATA + 0x100;
const USED: u64 = DATA + 0x200;
const HEADER: u64 = DATA + 0x300;
const STATUS: u64 = DATA + 0x310;
const SECTOR: u64 = DATA + 0x400;

fn register(a: &mut CodeAssembler, offset: u64, value: u64) -> Assembled {
    a.mov(edi, (BLOCK + offset) as u32)?;
    a.mov(dword_ptr(rdi), value as i32)
}

/// A request of one sector; prints its status and the first eight bytes of the sector.
fn request(a: &mut CodeAssembler, kind: u32, sector: u32) -> Assembled {
    let (next, written) = (1u64, 2u64);
    let data = if kind == 0 { next | written } else { next };
    for (number, (address, length, flags)) in
        [(HEADER, 16u64, next), (SECTOR, 512, data), (STATUS, 1, written)].into_iter().enumerate()
    {
        a.mov(rax, address)?;
        a.mov(qword_ptr(DATA + 16 * number as u64), rax)?;
        a.mov(rax, length | flags << 32 | (number as u64 + 1) << 48)?;
        a.mov(qword_ptr(DATA + 16 * number as u64 + 8), rax)?;
    }
    a.mov(dword_ptr(HEADER), kind as i32)?;
    a.mov(dword_ptr(HEADER + 8), sector as i32)?;
    a.mov(byte_ptr(STATUS), 0x7F)?;
    a.inc(word_ptr(AVAILABLE + 2))?;
    register(a, 0x50, 0)?;
    let mut wait = a.create_label();
    a.set_label(&mut wait)?;
    a.mov(ax, word_ptr(USED + 2))?;
    a.cmp(ax, word_ptr(AVAILABLE + 2))?;
    a.jne(wait)?;
    a.movzx(eax, byte_ptr(STATUS))?;
    a.call(PRINT)?;
    a.mov(rax, qword_ptr(SECTOR))?;
    a.call(PRINT)
}

/// Drives the disk: reads, writes, reads what was written, and a sector that is not there.
pub(crate) fn disk(last: u32) -> Kernel {
    Kernel::new(|a| {
        for (offset, value) in [
            (0x70, 0),
            (0x70, 3),
            (0x24, 0),
            (0x20, 0),
            (0x24, 1),
            (0x20, 1),
            (0x70, 0xB),
            (0x30, 0),
            (0x38, 8),
            (0x80, DATA),
            (0x90, AVAILABLE),
            (0xA0, USED),
            (0x44, 1),
            (0x70, 0xF),
        ] {
            register(a, offset, value)?;
        }
        request(a, 0, 5)?;
        a.mov(rax, 0x1122_3344_5566_7788u64)?;
        a.mov(qword_ptr(SECTOR), rax)?;
        request(a, 1, 5)?;
        request(a, 0, last)?;
        request(a, 0, 5)?;
        request(a, 0, last + 1)?;
        exit(a, 0)
    })
}
