//! Executes instructions on the host's processor, for tests to compare with. Nothing of this
//! ships; it is the one crate of the engine that is made of `unsafe`.
//!
//! There is next to no assembly in it. A signal handler may change the registers that its return
//! restores, so one signal puts a guest's state onto the processor and the next one takes it
//! off again:
//!
//! ```text
//!   run ── tgkill(SIGUSR1) ─▶ handler: keep the context, replace it by the guest's, TF set
//!                               │ sigreturn
//!                               ▼
//!                             one instruction of the guest
//!                               │ #DB, #PF, #GP, #DE, #UD …
//!                               ▼
//!   run ◀──────── sigreturn ── handler: copy the context out, put the kept one back
//! ```
//!
//! The guest shares the process's address space; its pages lie at fixed addresses below
//! 4 GiB, so that the same code runs in compatibility mode (CS 0x23).
#![cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), forbid(unsafe_code))]
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(unsafe_code, reason = "the fence around the host's processor; see above")]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::{mem, ptr};

/// Bytes of the legacy area of FXSAVE.
pub const FXSAVE: usize = 512;
const XSTATE_BV: usize = 512;
const ALTERNATE_STACK: usize = 256 * 1024;

/// Registers as the host has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15.
    pub gpr: [u64; 16],
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// x87, MMX, XMM and MXCSR in the layout of FXSAVE64.
    pub fxsave: [u8; FXSAVE],
}

/// Why the host stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Vector: 1 is the end of the instruction, all others are faults.
    pub vector: u64,
    /// Error code.
    pub code: u64,
    /// The faulting address of a #PF.
    pub address: u64,
}

/// What the handlers share with [`Oracle::run`].
struct Exchange {
    guest: Registers,
    compat: bool,
    step: bool,
    trap: Trap,
    host: libc::mcontext_t,
    host_fp: Vec<u8>,
    inside: bool,
}

static EXCHANGE: AtomicPtr<Exchange> = AtomicPtr::new(ptr::null_mut());
static ONE: Mutex<()> = Mutex::new(());

/// Access of a page of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Loads only.
    Read,
    /// Loads and stores.
    Write,
    /// Loads and fetches; this crate writes to it through [`Oracle::write`].
    Execute,
}

/// The host's processor, lent to one thread at a time.
pub struct Oracle {
    _only: MutexGuard<'static, ()>,
    exchange: Box<UnsafeCell<Exchange>>,
    pages: Vec<(u64, usize, Protection)>,
    /// Where pages of code can be written to: the guest's address and ours.
    aliases: Vec<(u64, u64)>,
    _stack: Vec<u8>,
}

impl std::fmt::Debug for Oracle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oracle").field("pages", &self.pages).finish_non_exhaustive()
    }
}

/// Order of the general registers in a signal's context.
const ORDER: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

const TF: u64 = 1 << 8;
const CS_SS_USER64: i64 = 0x002B_0000_0000_0033;
const CS_SS_USER32: i64 = 0x002B_0000_0000_0023;

impl Oracle {
    /// Waits until no other thread uses the host's processor, and takes it. Pages are mapped
    /// at these addresses, of so many bytes, with this protection.
    pub fn new(pages: &[(u64, usize, Protection)]) -> Self {
        let only = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut aliases = Vec::new();
        for &(address, length, protection) in pages {
            let access = match protection {
                Protection::Read => libc::PROT_READ,
                Protection::Write => libc::PROT_READ | libc::PROT_WRITE,
                Protection::Execute => libc::PROT_READ | libc::PROT_EXEC,
            };
            // The guest must not write to its code, but `write` must: a second mapping.
            let (kind, file) = if protection == Protection::Execute {
                let (file, alias) = shared(length);
                aliases.push((address, alias));
                (libc::MAP_SHARED, file)
            } else {
                (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
            };
            // SAFETY: MAP_FIXED_NOREPLACE refuses to take what somebody else has.
            let got = unsafe {
                libc::mmap(
                    address as *mut libc::c_void,
                    length,
                    access,
                    kind | libc::MAP_POPULATE | libc::MAP_FIXED_NOREPLACE,
                    file,
                    0,
                )
            };
            if file >= 0 {
                // SAFETY: the descriptor is ours; the mappings keep the memory.
                unsafe { libc::close(file) };
            }
            assert_eq!(got as u64, address, "the guest's pages are taken");
        }
        let mut stack = vec![0u8; ALTERNATE_STACK];
        let exchange = Box::new(UnsafeCell::new(Exchange {
            guest: Registers { gpr: [0; 16], rip: 0, rflags: 0, fxsave: [0; FXSAVE] },
            compat: false,
            step: true,
            trap: Trap { vector: 0, code: 0, address: 0 },
            // SAFETY: all zeros is a value of this plain C structure.
            host: unsafe { mem::zeroed() },
            host_fp: Vec::new(),
            inside: false,
        }));
        EXCHANGE.store(exchange.get(), Ordering::SeqCst);
        // SAFETY: the stack lives as long as self, and `drop` takes it away before.
        unsafe {
            let alternate = libc::stack_t {
                ss_sp: stack.as_mut_ptr().cast(),
                ss_flags: 0,
                ss_size: stack.len(),
            };
            assert_eq!(libc::sigaltstack(&raw const alternate, ptr::null_mut()), 0);
            for signal in [
                libc::SIGUSR1,
                libc::SIGTRAP,
                libc::SIGSEGV,
                libc::SIGFPE,
                libc::SIGILL,
                libc::SIGBUS,
            ] {
                let mut action: libc::sigaction = mem::zeroed();
                action.sa_sigaction = handler as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigfillset(&raw mut action.sa_mask);
                assert_eq!(libc::sigaction(signal, &raw const action, ptr::null_mut()), 0);
            }
        }
        Oracle { _only: only, exchange, pages: pages.to_vec(), aliases, _stack: stack }
    }

    fn check(&self, address: u64, length: usize) {
        let inside = self.pages.iter().any(|&(start, size, protection)| {
            address >= start
                && address + length as u64 <= start + size as u64
                && protection != Protection::Read
        });
        assert!(inside, "not a page of the guest: {address:#x}");
    }

    /// Puts bytes into the guest's memory.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        self.check(address, bytes.len());
        let page = self.pages.iter().find(|page| {
            page.2 == Protection::Execute && (page.0..page.0 + page.1 as u64).contains(&address)
        });
        let alias = page.and_then(|page| self.aliases.iter().find(|alias| alias.0 == page.0));
        let target = alias.map_or(address, |(guest, ours)| ours + (address - guest));
        // SAFETY: `check` has found the range in a mapping of ours; pages of code are written
        // through their second mapping, all others are writable themselves.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), target as *mut u8, bytes.len());
        }
    }

    /// Bytes of the guest's memory.
    pub fn read(&self, address: u64, bytes: &mut [u8]) {
        self.check(address, bytes.len());
        // SAFETY: as in `write`.
        unsafe {
            ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), bytes.len());
        }
    }

    /// Executes one instruction, or with `step` false all until a trap, in 64-bit mode or in
    /// compatibility mode, and puts what the registers are then into `registers`.
    pub fn run(&mut self, registers: &mut Registers, compat: bool, step: bool) -> Trap {
        let exchange = self.exchange.get();
        // SAFETY: 64-bit code does not look at these registers, and the kernel keeps them for
        // the thread. Compatibility mode needs them: 0x2B is Linux's user data segment.
        unsafe {
            std::arch::asm!("mov ds, {0:e}", "mov es, {0:e}", in(reg) 0x2B,
                options(nostack, preserves_flags));
        }
        // SAFETY: `self` is borrowed mutably and the handlers run in this thread only while
        // this function waits for them.
        unsafe {
            (*exchange).guest.clone_from(registers);
            (*exchange).compat = compat;
            (*exchange).step = step;
            (*exchange).inside = false;
            libc::syscall(
                libc::SYS_tgkill,
                libc::getpid(),
                libc::syscall(libc::SYS_gettid),
                libc::SIGUSR1,
            );
            registers.clone_from(&(*exchange).guest);
            (*exchange).trap
        }
    }
}

/// Memory that can be mapped twice: its descriptor, and where it is mapped to be written to.
fn shared(length: usize) -> (libc::c_int, u64) {
    // SAFETY: a new file of this process, mapped where the kernel finds room.
    unsafe {
        let file = libc::memfd_create(c"code".as_ptr(), 0);
        assert!(file >= 0, "no memory to share");
        assert_eq!(libc::ftruncate(file, length as libc::off_t), 0);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let alias = libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, file, 0);
        assert_ne!(alias, libc::MAP_FAILED);
        (file, alias as u64)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        EXCHANGE.store(ptr::null_mut(), Ordering::SeqCst);
        // SAFETY: the mappings are ours and nobody holds a reference into them.
        unsafe {
            let off =
                libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
            libc::sigaltstack(&raw const off, ptr::null_mut());
            for &(address, length, _) in &self.pages {
                libc::munmap(address as *mut libc::c_void, length);
            }
        }
    }
}

/// SIGUSR1 goes in, every other signal comes out.
///
/// SAFETY: called by the kernel with a valid context, on the thread that is in `run`. A fault
/// that is not the guest's ends the process as it would without us.
unsafe extern "C" fn handler(
    signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let exchange = EXCHANGE.load(Ordering::SeqCst);
    // SAFETY: see above.
    unsafe {
        let Some(exchange) = exchange.as_mut() else {
            libc::_exit(97);
        };
        let context = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        if signal == libc::SIGUSR1 {
            enter(exchange, context);
        } else if exchange.inside {
            leave(exchange, context);
        } else {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// SAFETY: `context` is a signal's, with its floating-point area behind it.
unsafe fn enter(exchange: &mut Exchange, context: &mut libc::mcontext_t) {
    exchange.host = *context;
    exchange.inside = true;
    let area = context.fpregs.cast::<u8>();
    // SAFETY: the kernel writes the legacy area and, behind it, the XSAVE header.
    unsafe {
        exchange.host_fp.clear();
        exchange.host_fp.extend_from_slice(std::slice::from_raw_parts(area, FXSAVE + 64));
        // Bytes 464 on belong to the kernel: how long the area is.
        ptr::copy_nonoverlapping(exchange.guest.fxsave.as_ptr(), area, 464);
        let components = area.add(XSTATE_BV).cast::<u64>();
        components.write_unaligned(components.read_unaligned() | 3);
    }
    for (value, place) in exchange.guest.gpr.iter().zip(ORDER) {
        context.gregs[place as usize] = *value as i64;
    }
    let mut flags = exchange.guest.rflags & !TF;
    if exchange.step {
        flags |= TF;
    }
    context.gregs[libc::REG_EFL as usize] = flags as i64;
    context.gregs[libc::REG_RIP as usize] = exchange.guest.rip as i64;
    context.gregs[libc::REG_CSGSFS as usize] =
        if exchange.compat { CS_SS_USER32 } else { CS_SS_USER64 };
}

/// SAFETY: as for `enter`.
unsafe fn leave(exchange: &mut Exchange, context: &mut libc::mcontext_t) {
    exchange.inside = false;
    for (value, place) in exchange.guest.gpr.iter_mut().zip(ORDER) {
        *value = context.gregs[place as usize] as u64;
    }
    exchange.guest.rflags = context.gregs[libc::REG_EFL as usize] as u64 & !TF;
    exchange.guest.rip = context.gregs[libc::REG_RIP as usize] as u64;
    exchange.trap = Trap {
        vector: context.gregs[libc::REG_TRAPNO as usize] as u64,
        code: context.gregs[libc::REG_ERR as usize] as u64,
        address: context.gregs[libc::REG_CR2 as usize] as u64,
    };
    let area = context.fpregs.cast::<u8>();
    // SAFETY: as in `enter`; what is put back is what the kernel had written.
    unsafe {
        ptr::copy_nonoverlapping(area, exchange.guest.fxsave.as_mut_ptr(), FXSAVE);
        ptr::copy_nonoverlapping(exchange.host_fp.as_ptr(), area, 464);
        let components = area.add(XSTATE_BV).cast::<u64>();
        components.write_unaligned(components.read_unaligned() | 3);
    }
    context.gregs = exchange.host.gregs;
}
