//! Guest programs as ELF kernels: assembled here, entered as Linux would be. Pieces of code
//! and data lie at addresses that the program chooses.

use iced_x86::IcedError;
use iced_x86::code_asm::*;

pub(crate) use iced_x86::code_asm::CodeAssembler;

/// What assembling comes to.
pub(crate) type Assembled = Result<(), IcedError>;

/// The first instruction.
pub(crate) const START: u64 = 0x10_0000;
/// Prints RAX in hexadecimal digits and ends the line; RAX, RCX and RDX are lost.
pub(crate) const PRINT: u64 = 0x11_0000;
/// Where the interrupt table and the pointer to it are.
const IDT: u64 = 0x12_0000;
const IDT_POINTER: u64 = 0x12_1000;
/// Room for handlers, a page each, and for data.
pub(crate) const HANDLERS: u64 = 0x13_0000;
pub(crate) const DATA: u64 = 0x14_0000;
/// The stack grows down from here.
pub(crate) const STACK: u64 = 0x20_0000;

/// The code segment that the boot protocol leaves.
const CODE_SEGMENT: u64 = 0x10;
/// An interrupt gate, present.
const GATE: u64 = 0x8E00 << 32;
/// Where in ELF files the first segment's bytes are.
const PAYLOAD: usize = 0x1000;

/// Ports: serial line, and the one that ends the machine.
const SERIAL: u16 = 0x3F8;
const EXIT: u32 = 0xF4;

/// A program.
#[derive(Default)]
pub(crate) struct Kernel {
    pieces: Vec<(u64, Vec<u8>)>,
    gates: Vec<(u8, u64)>,
}

impl Kernel {
    /// A program that starts so; it has a stack, its interrupt table, and interrupts off.
    pub(crate) fn new(program: impl FnOnce(&mut CodeAssembler) -> Assembled) -> Self {
        let mut kernel = Kernel::default();
        kernel.put(START, |a| {
            a.mov(rsp, STACK)?;
            a.lidt(ptr(IDT_POINTER))?;
            program(a)
        });
        kernel.put(PRINT, print);
        kernel
    }

    /// More code at an address.
    pub(crate) fn put(&mut self, at: u64, program: impl FnOnce(&mut CodeAssembler) -> Assembled) {
        let mut assembler = CodeAssembler::new(64).unwrap();
        program(&mut assembler).unwrap();
        self.pieces.push((at, assembler.assemble(at).unwrap()));
    }

    /// What is executed when an exception or interrupt with this vector comes.
    pub(crate) fn handler(
        &mut self,
        vector: u8,
        program: impl FnOnce(&mut CodeAssembler) -> Assembled,
    ) {
        let at = HANDLERS + 0x1000 * self.gates.len() as u64;
        self.gates.push((vector, at));
        self.put(at, program);
    }

    /// The file.
    pub(crate) fn elf(mut self) -> Vec<u8> {
        let mut table = vec![0; 0x1000];
        for (vector, at) in &self.gates {
            let low = at & 0xFFFF | CODE_SEGMENT << 16 | GATE | (at >> 16 & 0xFFFF) << 48;
            let entry = &mut table[16 * usize::from(*vector)..][..16];
            entry[..8].copy_from_slice(&low.to_le_bytes());
            entry[8..].copy_from_slice(&(at >> 32).to_le_bytes());
        }
        let pointer = [&0xFFFu16.to_le_bytes()[..], &IDT.to_le_bytes()].concat();
        self.pieces.extend([(IDT, table), (IDT_POINTER, pointer)]);

        let mut file = b"\x7FELF\x02\x01\x01".to_vec();
        file.resize(PAYLOAD, 0);
        let count = self.pieces.len() as u16;
        put(&mut file, 18, &62u16.to_le_bytes());
        put(&mut file, 24, &START.to_le_bytes());
        put(&mut file, 32, &64u64.to_le_bytes());
        put(&mut file, 54, &56u16.to_le_bytes());
        put(&mut file, 56, &count.to_le_bytes());
        for ((address, bytes), header) in self.pieces.iter().zip((64..).step_by(56)) {
            let (offset, length) = (file.len() as u64, bytes.len() as u64);
            put(&mut file, header, &1u32.to_le_bytes());
            for (word, at) in [(offset, 8), (*address, 24), (length, 32), (length, 40)] {
                put(&mut file, header + at, &word.to_le_bytes());
            }
            file.extend_from_slice(bytes);
        }
        file
    }
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn print(a: &mut CodeAssembler) -> Assembled {
    let (mut next, mut digit) = (a.create_label(), a.create_label());
    a.mov(ecx, 16)?;
    a.mov(edx, u32::from(SERIAL))?;
    a.set_label(&mut next)?;
    a.rol(rax, 4)?;
    a.push(rax)?;
    a.and(eax, 15)?;
    a.cmp(al, 10)?;
    a.jb(digit)?;
    a.add(al, i32::from(b'a' - b'0' - 10))?;
    a.set_label(&mut digit)?;
    a.add(al, i32::from(b'0'))?;
    a.out(dx, al)?;
    a.pop(rax)?;
    a.dec(ecx)?;
    a.jne(next)?;
    a.mov(al, i32::from(b'\n'))?;
    a.out(dx, al)?;
    a.ret()
}

/// Prints a text; RAX and RDX are lost.
pub(crate) fn say(a: &mut CodeAssembler, text: &str) -> Assembled {
    a.mov(edx, u32::from(SERIAL))?;
    for byte in text.bytes() {
        a.mov(al, i32::from(byte))?;
        a.out(dx, al)?;
    }
    Ok(())
}

/// Ends the machine with this answer.
pub(crate) fn exit(a: &mut CodeAssembler, answer: u8) -> Assembled {
    a.mov(al, i32::from(answer))?;
    a.out(EXIT, al)?;
    // What is behind must not be reached.
    a.ud2()
}

/// WRMSR; RAX, RCX and RDX are lost.
pub(crate) fn set_msr(a: &mut CodeAssembler, index: u32, value: u64) -> Assembled {
    a.mov(ecx, index)?;
    a.mov(eax, value as u32)?;
    a.mov(edx, (value >> 32) as u32)?;
    a.wrmsr()
}

/// RAX is the time-stamp counter; RDX is lost.
pub(crate) fn time(a: &mut CodeAssembler) -> Assembled {
    a.rdtsc()?;
    a.shl(rdx, 32)?;
    a.or(rax, rdx)
}
