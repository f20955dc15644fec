//! How fast the interpreter is: millions of guest instructions a second on small loops, each
//! in 64-bit mode behind 4-level paging. `cargo run --release -p emulator-cpu --example mips`
#![forbid(unsafe_code)]

use std::time::Instant;

use emulator_bus::{Empty, Memory};
use emulator_cpu::{Cpu, State};
use iced_x86::code_asm::*;

const CODE: u64 = 0x1_0000;
const DATA: u64 = 0x10_0000;
const SLICE: u64 = 1_000_000;
const SLICES: u64 = 200;

type Program = fn(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>;

/// Arithmetic that depends on itself.
fn arithmetic(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.lea(rax, qword_ptr(rax + rax * 4 + 7))?;
    a.mov(rdx, rax)?;
    a.shr(rdx, 17)?;
    a.xor(rax, rdx)?;
    a.add(rcx, rax)?;
    a.inc(rbx)?;
    a.cmp(rbx, -1)?;
    a.jne(again)?;
    a.hlt()
}

/// Bytes of a megabyte, tested and stored to: a sieve's inner loop.
fn bytes(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    let (mut again, mut inner, mut skip) = (a.create_label(), a.create_label(), a.create_label());
    a.set_label(&mut again)?;
    a.mov(rdi, DATA)?;
    a.mov(ecx, 0x8_0000)?;
    a.set_label(&mut inner)?;
    a.movzx(eax, byte_ptr(rdi))?;
    a.test(al, al)?;
    a.jne(skip)?;
    a.mov(byte_ptr(rdi), 1)?;
    a.set_label(&mut skip)?;
    a.add(rdi, 1)?;
    a.sub(ecx, 1)?;
    a.jne(inner)?;
    a.jmp(again)
}

/// Calls and returns with a frame each.
fn calls(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    let (mut again, mut callee) = (a.create_label(), a.create_label());
    a.set_label(&mut again)?;
    a.call(callee)?;
    a.jmp(again)?;
    a.set_label(&mut callee)?;
    a.push(rbp)?;
    a.mov(rbp, rsp)?;
    a.push(rbx)?;
    a.add(rax, 3)?;
    a.pop(rbx)?;
    a.pop(rbp)?;
    a.ret()
}

/// Scalar doubles.
fn doubles(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    let (mut again, mut inner) = (a.create_label(), a.create_label());
    a.set_label(&mut again)?;
    a.mov(ecx, 100)?;
    a.mov(eax, 3)?;
    a.cvtsi2sd(xmm1, eax)?;
    a.cvtsi2sd(xmm0, ecx)?;
    a.set_label(&mut inner)?;
    a.movapd(xmm2, xmm0)?;
    a.divsd(xmm2, xmm1)?;
    a.addsd(xmm0, xmm2)?;
    a.mulsd(xmm0, xmm2)?;
    a.sqrtsd(xmm0, xmm0)?;
    a.sub(ecx, 1)?;
    a.jne(inner)?;
    a.jmp(again)
}

fn measure(name: &str, program: Program) {
    let mut memory = Memory::new(4 << 20);
    for (at, entry) in [(0x1000, 0x2003u64), (0x2000, 0x3003), (0x3000, 0x83)] {
        memory.write(at, entry).expect("inside of memory");
    }
    let mut assembler = CodeAssembler::new(64).expect("64 bits");
    program(&mut assembler).expect("instructions of x86-64");
    let code = assembler.assemble(CODE).expect("branches in reach");
    memory.slice_mut(CODE, code.len()).expect("inside of memory").copy_from_slice(&code);
    let mut state = State { cr0: 0x8001_0033, cr3: 0x1000, cr4: 0x6A0, ..State::default() };
    state.msrs.efer = 0x500;
    state.rip = CODE;
    state.gpr[4] = 0x9_0000;
    let mut cpu = Cpu::new(state);
    let start = Instant::now();
    let mut retired = 0;
    for _ in 0..SLICES {
        retired += cpu.run(&mut memory, &mut Empty::default(), retired, SLICE).retired;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{name}: {:.0} MIPS", retired as f64 / seconds / 1e6);
}

fn main() {
    measure("arithmetic", arithmetic);
    measure("bytes", bytes);
    measure("calls", calls);
    measure("doubles", doubles);
}
