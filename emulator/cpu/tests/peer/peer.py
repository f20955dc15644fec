"""A foreign processor as a process: `peer.py unicorn` or `peer.py bochs`.

Each request on standard input is a whole machine, and how many instructions it is to
execute; each answer on standard output is the whole machine afterwards. All numbers are
little-endian words of 64 bits; their order is that of `tests/oracle/words.rs`.

    request   combination, steps, where a straight program ends (or 0), whether a trap may follow
              an instruction, pages that hold code (a bit each), the state's words, memory
    answer    end, count of exceptions, (vector, error code) of the first four, words, memory
"""

import mmap
import os
import struct
import sys

# Bytes of the machine's memory, from address 0; behind it lies what only a peer uses.
SIZE = 0x20000
OWN = 0x6000

REGISTERS = (
    "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rip rflags cr0 cr2 cr3 cr4 "
    "efer star lstar cstar sfmask kernel_gs_base sysenter_cs sysenter_esp sysenter_eip pat "
    "gdtr_base gdtr_limit idtr_base idtr_limit"
).split()
SEGMENTS = "es cs ss ds fs gs ldtr tr".split()
PARTS = "selector base limit attributes".split()
WORDS = REGISTERS + [f"{segment}_{part}" for segment in SEGMENTS for part in PARTS]

HEADER = struct.Struct("<5Q")
STATE = struct.Struct(f"<{len(WORDS)}Q")
END = struct.Struct("<10Q")

# How a run has ended.
EXECUTED, FAULT, HALTED = 0, 1, 2

# The four kinds of code that a machine can start in: the selectors of CS and SS. The peer
# that cannot be given hidden parts of segments goes there by IRETQ.
COMBINATIONS = ((0x08, 0x10), (0x2B, 0x23), (0x1B, 0x23), (0x48, 0x10))


def exactly(stream, count):
    data = stream.read(count)
    if data is None or len(data) < count:
        # The other side has gone: that is how a peer ends.
        os._exit(0)
    return data


def main():
    memory = mmap.mmap(-1, SIZE + OWN)
    if sys.argv[1] == "unicorn":
        from unicorn_cpu import Processor
    else:
        from bochs_cpu import Processor
    processor = Processor(memory)
    source = os.fdopen(0, "rb", buffering=1 << 16)
    sink = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    # What a library prints must not end up in an answer.
    os.dup2(2, 1)
    while True:
        combination, steps, last, traps, code = HEADER.unpack(exactly(source, HEADER.size))
        values = STATE.unpack(exactly(source, STATE.size))
        image = exactly(source, SIZE)
        state = dict(zip(WORDS, values))
        processor.prepare(code)
        memory[:SIZE] = image
        end, faults = processor.run(combination, steps, last, traps, state)
        shown = [number for fault in (faults + [(0, 0)] * 4)[:4] for number in fault]
        sink.write(END.pack(end, len(faults), *shown))
        sink.write(STATE.pack(*(state[word] & (1 << 64) - 1 for word in WORDS)))
        sink.write(memory[:SIZE])
        sink.flush()


if __name__ == "__main__":
    main()
