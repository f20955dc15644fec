"""Bochs as a peer: it delivers exceptions through the machine's IDT."""

import ctypes
import struct

import bochscpu
import bochscpu.memory

from peer import EXECUTED, FAULT, HALTED, OWN, SEGMENTS, SIZE

PAGE = 4096
DEBUG = 1
PLAIN = (
    "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rip rflags cr0 cr2 cr3 cr4 "
    "efer star lstar cstar sfmask kernel_gs_base sysenter_cs sysenter_esp sysenter_eip pat"
).split()
# Registers of the pages that `prepare` writes to.
FLUSHED = ["rax", "rcx", "rdx", "rbx", "rsi", "rdi", "r8", "r9"]


def segment(selector, base, limit, attributes):
    made = bochscpu.Segment()
    made.selector, made.base, made.limit, made.attr = selector, base, limit, attributes
    made.present = bool(attributes & 0x80)
    return made


def table(base, limit):
    made = bochscpu.GlobalSegment()
    made.base, made.limit = base, limit
    return made


class Processor:
    def __init__(self, memory):
        self.memory = memory
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.session = bochscpu.Session()
        self.session.missing_page_handler = self.missing
        for page in range(0, SIZE + OWN, PAGE):
            bochscpu.memory.page_insert(page, address + page)
        self.faults = []
        self.halted = False
        self.left = 0
        self.hook = bochscpu.Hook()
        self.hook.before_execution = self.before
        self.hook.after_execution = self.after
        self.hook.exception = self.exception
        self.hook.far_branch = self.branch
        self.hook.hlt = self.halt
        self.flusher()

    def missing(self, address):
        raise RuntimeError(f"there is no memory at {address:#x}")

    def before(self, session, _cpu, _instruction):
        if self.left == 0:
            session.stop()
        self.left -= 1
        self.at = session.cpu.rip
        self.begun, self.delivering = True, False

    def after(self, session, _cpu, _instruction):
        self.begun = False
        # What lies behind the last instruction may not even be fetched. A trap behind it is
        # part of it, though; and a repeated one may pause between two elements.
        if self.left == 0 and not self.traps:
            if self.last and session.cpu.rip == self.at:
                self.left = 1
            else:
                session.stop()

    def exception(self, _session, _cpu, vector, code):
        if vector != DEBUG and not self.begun and not self.delivering:
            # The instruction could not be fetched.
            self.left -= 1
        self.begun, self.delivering = False, True
        self.faults.append((vector, code))

    def branch(self, session, _cpu, _what, *_places):
        # The handler's first instruction may not even be fetched.
        if self.delivering and self.left == 0:
            session.stop()
        self.delivering = False

    def halt(self, session, _cpu):
        self.halted = True
        session.stop()

    def flusher(self):
        """A program that writes to pages: only the processor's own stores make it forget what
        it has decoded from them."""
        own = SIZE
        code = b""
        for number in (0, 1, 2, 3, 6, 7, 8, 9):
            # The first store to a page is not seen, as it goes by another way.
            for line in [PAGE - 8, *range(0, PAGE, 128)]:
                # MOV [register + line], BPL
                code += bytes([0x40 | number >> 3, 0x88, 0xA8 | number & 7])
                code += struct.pack("<i", line)
        # WBINVD tells us that all is done; HLT would leave the processor halted.
        self.memory[own : own + len(code) + 2] = code + b"\x0f\x09"
        for level in range(3):
            at = own + 0x3000 + 0x1000 * level
            entry = 0x87 if level == 2 else at + 0x1007
            self.memory[at : at + 8] = struct.pack("<Q", entry)
        state = bochscpu.State()
        state.cr0, state.cr3, state.cr4, state.efer = 0x80050033, own + 0x3000, 0x6A0, 0xD01
        state.rip, state.rflags, state.xcr0 = own, 2, 1
        state.cs = segment(8, 0, 0xFFFFFFFF, 0xA09B)
        state.ss = segment(16, 0, 0xFFFFFFFF, 0xC093)
        state.tr = segment(0x30, 0, 0x67, 0x8B)
        self.writer = state
        self.waiter = bochscpu.Hook()
        self.waiter.cache_cntrl = lambda session, _cpu, _what: session.stop()

    def prepare(self, code):
        pages = [PAGE * number for number in range(SIZE // PAGE) if code >> number & 1]
        for start in range(0, len(pages), len(FLUSHED)):
            some = pages[start : start + len(FLUSHED)]
            for name, page in zip(FLUSHED, some + [some[0]] * len(FLUSHED)):
                setattr(self.writer, name, page)
            self.session.cpu.state = self.writer
            self.session.run([self.waiter])

    def run(self, _combination, steps, last, traps, state):
        self.faults, self.halted, self.left = [], False, steps
        self.begun = self.delivering = False
        self.traps, self.last = traps != 0, last
        set_up = bochscpu.State()
        for name in PLAIN:
            setattr(set_up, name, state[name])
        set_up.dr6, set_up.dr7 = 0xFFFF0FF0, 0x400
        set_up.xcr0, set_up.fpcw, set_up.fptw, set_up.mxcsr = 1, 0x37F, 0xFFFF, 0x1F80
        for name in SEGMENTS:
            parts = (state[f"{name}_{part}"] for part in ("selector", "base", "limit", "attributes"))
            setattr(set_up, name, segment(*parts))
        set_up.gdtr = table(state["gdtr_base"], state["gdtr_limit"])
        set_up.idtr = table(state["idtr_base"], state["idtr_limit"])
        self.session.cpu.state = set_up
        self.session.run([self.hook])
        after = self.session.cpu.state
        for name in PLAIN:
            state[name] = getattr(after, name)
        for name in SEGMENTS:
            held = getattr(after, name)
            state[f"{name}_selector"] = held.selector
            state[f"{name}_base"] = held.base
            state[f"{name}_limit"] = held.limit
            state[f"{name}_attributes"] = held.attr & 0xF0FF
        for name in ("gdtr", "idtr"):
            held = getattr(after, name)
            state[f"{name}_base"], state[f"{name}_limit"] = held.base, held.limit
        end = HALTED if self.halted else FAULT if self.faults else EXECUTED
        return end, self.faults
