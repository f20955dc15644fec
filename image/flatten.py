#!/usr/bin/env python3
"""Joins the kernel's real-mode setup and its uncompressed code to an image that boots by
the Linux/x86 boot protocol (Documentation/arch/x86/boot.rst), as a bzImage does.

  flatten.py SETUP.bin FLAT OUT

A bzImage's code at 1 MiB is a decompressor that ends in a jump to the kernel's startup_32
with the boot parameters in %esi. The setup enters whatever code32_start names in the very
same state, so that can be the kernel itself, if it lies where it is linked to run: at
pref_address, a little above 1 MiB. The gap is filled with zeros, which cost nothing on the
way.
"""

import struct
import sys

SECTOR = 512
PARAGRAPH = 16
LOADED_AT = 0x100000
GAP_LIMIT = 0x200000  # more would be a kernel that is not configured for this
SETUP_SECTS = 0x1F1
SYSSIZE = 0x1F4
MAGIC = 0x202
CODE32_START = 0x214
PAYLOAD = 0x248  # offset and length of the compressed payload: there is none
PREF_ADDRESS = 0x258


def main(setup_path, flat_path, out_path):
    setup = bytearray(open(setup_path, "rb").read())
    flat = open(flat_path, "rb").read()
    if setup[MAGIC : MAGIC + 4] != b"HdrS":
        sys.exit(f"flatten.py: {setup_path} is no setup of a Linux kernel")
    setup += bytes(-len(setup) % SECTOR)
    setup[SETUP_SECTS] = len(setup) // SECTOR - 1
    (start,) = struct.unpack_from("<Q", setup, PREF_ADDRESS)
    if not 0 <= start - LOADED_AT <= GAP_LIMIT:
        sys.exit(f"flatten.py: the kernel is linked to run at {start:#x}; see CONFIG_PHYSICAL_START")
    flat = bytes(start - LOADED_AT) + flat
    flat += bytes(-len(flat) % PARAGRAPH)
    struct.pack_into("<I", setup, CODE32_START, start)
    struct.pack_into("<I", setup, SYSSIZE, len(flat) // PARAGRAPH)
    struct.pack_into("<II", setup, PAYLOAD, 0, 0)
    with open(out_path, "wb") as out:
        out.write(setup + flat)


if __name__ == "__main__":
    main(*sys.argv[1:])
