"""Unicorn as a peer: it stops at an exception instead of delivering it."""

import ctypes
import struct

from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_HOOK_INTR, UC_MODE_64, UC_PROT_ALL, Uc, UcError
from unicorn import unicorn_const as constants
from unicorn import x86_const as x86

from peer import COMBINATIONS, EXECUTED, FAULT, OWN, PARTS, SEGMENTS, SIZE

EFER, STAR, LSTAR, CSTAR, SFMASK = 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084
KERNEL_GS = 0xC0000102
SYSENTER = {"sysenter_cs": 0x174, "sysenter_esp": 0x175, "sysenter_eip": 0x176}
MSRS = {
    "star": STAR,
    "lstar": LSTAR,
    "cstar": CSTAR,
    "sfmask": SFMASK,
    "kernel_gs_base": KERNEL_GS,
    "pat": 0x277,
    **SYSENTER,
}
GENERAL = (
    "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rip rflags cr0 cr2 cr3 cr4"
).split()
NUMBERS = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in GENERAL]

# More than a program with repeated instructions has.
LONGEST = 100_000


class Processor:
    def __init__(self, memory):
        self.memory = memory
        self.faults = []
        uc = self.uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_cpu_model(x86.UC_CPU_X86_HASWELL)
        uc.ctl_set_tlb_mode(constants.UC_TLB_CPU)
        # An address to stop at would be translated, and be a page fault of its own.
        uc.ctl_exits_enabled(True)
        uc.ctl_set_exits([])
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        uc.mem_map_ptr(0, SIZE + OWN, UC_PROT_ALL, address)
        uc.hook_add(UC_HOOK_INTR, self.interrupt)
        uc.hook_add(UC_HOOK_INSN, self.port_in, None, 1, 0, x86.UC_X86_INS_IN)
        uc.hook_add(UC_HOOK_INSN, self.port_out, None, 1, 0, x86.UC_X86_INS_OUT)
        self.fresh = uc.context_save()
        self.contexts = [self.context(*pair) for pair in COMBINATIONS]
        self.error_code = self.calibrate()

    def interrupt(self, uc, vector, _data):
        self.faults.append((vector, None))
        uc.emu_stop()

    def port_in(self, _uc, _port, size, _data):
        return (1 << 8 * size) - 1

    def port_out(self, _uc, _port, _size, _value, _data):
        pass

    def word(self, at, value):
        self.memory[at : at + 8] = struct.pack("<Q", value)

    def context(self, code, stack):
        """The registers as they are behind IRETQ to these segments."""
        uc, own = self.uc, SIZE
        uc.context_restore(self.fresh)
        self.word(own + 0x3000, own + 0x4007)
        self.word(own + 0x4000, own + 0x5007)
        self.word(own + 0x5000, 0x87)
        descriptors = [
            0,
            0x00AF9B000000FFFF,
            0x00CF93000000FFFF,
            0x00CFFB000000FFFF,
            0x00CFF3000000FFFF,
            0x00AFFB000000FFFF,
            0x0000890000000067 | 0xC000 << 16,
            0,
            0,
            0x00CF9B000000FFFF,
            0x0000820000000FFF | 0xA000 << 16,
            0,
        ]
        for number, descriptor in enumerate(descriptors):
            self.word(own + 0x1000 + 8 * number, descriptor)
        self.memory[own + 0x1800 : own + 0x180A] = struct.pack("<HQ", 0x5F, own + 0x1000)
        program = bytes.fromhex("0f0114 25") + struct.pack("<I", own + 0x1800)  # LGDT
        program += bytes.fromhex("b810000000 8ed0")  # SS
        program += bytes.fromhex("b830000000 0f00d8 b850000000 0f00d0")  # LTR, LLDT
        program += bytes.fromhex("b823000000 8ed8 8ec0")  # DS, ES
        program += bytes.fromhex("31c0 8ee0 8ee8")  # FS, GS
        program += bytes.fromhex("48cf")  # IRETQ
        self.memory[own : own + len(program)] = program
        frame = struct.pack("<5Q", 0xE000, code, 2, 0x1B000, stack)
        self.memory[own + 0x2000 : own + 0x2028] = frame
        uc.reg_write(x86.UC_X86_REG_CR3, own + 0x3000)
        uc.reg_write(x86.UC_X86_REG_CR4, 0x6A0)
        uc.msr_write(EFER, 0xD01)
        uc.reg_write(x86.UC_X86_REG_CR0, 0x80050033)
        uc.reg_write(x86.UC_X86_REG_RSP, own + 0x2000)
        uc.ctl_flush_tb()
        uc.emu_start(own, 0, count=14)
        assert uc.reg_read(x86.UC_X86_REG_CS) == code, "the segments were not loaded"
        assert uc.reg_read(x86.UC_X86_REG_RIP) == 0xE000, "IRETQ did not go there"
        return uc.context_save()

    def calibrate(self):
        """Where in a saved context the error code of a #PF is: Unicorn has no name for it."""
        places = None
        for program, entry, code in (
            (b"\x8b\x03", 0, 4),
            (b"\x89\x03", 0, 6),
            (b"\x89\x03", 0x10005, 7),
            (b"\x8b\x03", 0x10003, 5),
        ):
            self.uc.context_restore(self.contexts[1])
            self.uc.ctl_flush_tb()
            own = SIZE
            self.word(own + 0x5000, own + 0x2007)
            self.memory[own + 0x2000 : own + 0x3000] = bytes(0x1000)
            self.word(own + 0x2000 + 8 * 0xF, 0xF007)
            self.word(own + 0x2000 + 8 * 0x10, entry)
            self.memory[0xF000:0xF002] = program
            self.uc.reg_write(x86.UC_X86_REG_CR3, own + 0x3000)
            self.uc.reg_write(x86.UC_X86_REG_RBX, 0x10000)
            self.faults = []
            self.uc.emu_start(0xF000, 0, count=1)
            assert self.faults == [(14, None)], self.faults
            saved = bytes(self.uc.context_save())
            found = {at for at in range(0, len(saved) - 3, 4) if saved[at : at + 4] == bytes([code, 0, 0, 0])}
            places = found if places is None else places & found
        assert len(places) == 1, f"the error code may be at {places}"
        return places.pop()

    def prepare(self, _code):
        self.uc.ctl_flush_tb()

    def run(self, combination, steps, last, _traps, state):
        uc = self.uc
        self.faults = []
        uc.context_restore(self.contexts[combination])
        uc.msr_write(EFER, state["efer"])
        for name, number in MSRS.items():
            uc.msr_write(number, state[name])
        for name, number in zip(GENERAL, NUMBERS):
            uc.reg_write(number, state[name])
        uc.reg_write(x86.UC_X86_REG_FS_BASE, state["fs_base"])
        uc.reg_write(x86.UC_X86_REG_GS_BASE, state["gs_base"])
        for name, number in (("ldtr", x86.UC_X86_REG_LDTR), ("tr", x86.UC_X86_REG_TR)):
            held = [state[f"{name}_{part}"] for part in PARTS]
            uc.reg_write(number, (*held[:3], held[3] << 8))
        uc.reg_write(x86.UC_X86_REG_GDTR, (0, state["gdtr_base"], state["gdtr_limit"], 0))
        uc.reg_write(x86.UC_X86_REG_IDTR, (0, state["idtr_base"], state["idtr_limit"], 0))
        try:
            # A repeated instruction counts as many, so such a program ends with a HLT. (Without
            # a count Unicorn would take away its counter, and translate addresses for it.)
            uc.emu_start(state["rip"], 0, count=LONGEST if last else steps)
        except UcError as error:
            if error.errno != constants.UC_ERR_INSN_INVALID:
                raise
            self.faults.append((6, None))
        if last and uc.reg_read(x86.UC_X86_REG_RIP) in (last, last + 1):
            # HLT, or what a user's HLT is.
            uc.reg_write(x86.UC_X86_REG_RIP, last)
            self.faults = []
        if self.faults:
            code = struct.unpack_from("<i", bytes(uc.context_save()), self.error_code)[0]
            self.faults = [(vector, code & 0xFFFFFFFF) for vector, _ in self.faults]
        for name, number in zip(GENERAL, NUMBERS):
            state[name] = uc.reg_read(number)
        state["efer"] = uc.msr_read(EFER)
        for name, number in MSRS.items():
            state[name] = uc.msr_read(number)
        for name in SEGMENTS[:6]:
            state[f"{name}_selector"] = uc.reg_read(getattr(x86, f"UC_X86_REG_{name.upper()}"))
        state["fs_base"] = uc.reg_read(x86.UC_X86_REG_FS_BASE)
        state["gs_base"] = uc.reg_read(x86.UC_X86_REG_GS_BASE)
        for name in ("gdtr", "idtr"):
            held = uc.reg_read(getattr(x86, f"UC_X86_REG_{name.upper()}"))
            state[f"{name}_base"], state[f"{name}_limit"] = held[1], held[2]
        for name, number in (("ldtr", x86.UC_X86_REG_LDTR), ("tr", x86.UC_X86_REG_TR)):
            held = uc.reg_read(number)
            state[f"{name}_selector"], state[f"{name}_base"] = held[0], held[1]
            state[f"{name}_limit"] = held[2]
        return (FAULT if self.faults else EXECUTED), self.faults
