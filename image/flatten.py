#!/usr/bin/env python3
"""Joins the kernel's real-mode setup and its uncompressed code to an image that boots by
the Linux/x86 boot protocol (Documentation/arch/x86/boot.rst), as a bzImage does.

  flatten.py SETUP.bin FLAT OUT

A bzImage's code at 1 MiB is a decompressor that ends in a jump to the kernel's startup_32
with the boot parameters in %esi. The setup enters whatever stands at 1 MiB in the very same
state, so a kernel that is linked to run there (PHYSICAL_START) can stand there itself.
"""

import struct
import sys

SECTOR = 512
PARAGRAPH = 16
SETUP_SECTS = 0x1F1
SYSSIZE = 0x1F4
MAGIC = 0x202
PAYLOAD = 0x248  # offset and length of the compressed payload: there is none


def main(setup_path, flat_path, out_path):
    setup = bytearray(open(setup_path, "rb").read())
    flat = open(flat_path, "rb").read()
    if setup[MAGIC : MAGIC + 4] != b"HdrS":
        sys.exit(f"flatten.py: {setup_path} is no setup of a Linux kernel")
    setup += bytes(-len(setup) % SECTOR)
    setup[SETUP_SECTS] = len(setup) // SECTOR - 1
    flat += bytes(-len(flat) % PARAGRAPH)
    struct.pack_into("<I", setup, SYSSIZE, len(flat) // PARAGRAPH)
    struct.pack_into("<II", setup, PAYLOAD, 0, 0)
    with open(out_path, "wb") as out:
        out.write(setup + flat)


if __name__ == "__main__":
    main(*sys.argv[1:])
