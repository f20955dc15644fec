#!/usr/bin/env python3
"""The work of try-qemu.sh: puts the disk together from its chunks, boots, asks, judges."""

import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import zlib

LIMIT = 240  # seconds; a loaded machine is slow


def disk_of(manifest, directory, path):
    """Joins the chunks; the hole of a chunk of zeros stays a hole."""
    layout = manifest["disk"]
    with open(path, "wb") as disk:
        for index, chunk in enumerate(layout["chunks"]):
            if chunk:
                disk.seek(index * layout["chunk_size"])
                stored = open(os.path.join(directory, layout["path"], chunk["id"]), "rb").read()
                disk.write(zlib.decompress(stored))
        disk.truncate(layout["size"])


class Guest:
    def __init__(self, arguments, log):
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.log = log
        self.text = ""
        self.start = time.monotonic()

    def until(self, pattern, what):
        while not (found := re.search(pattern, self.text)):
            log = self.told()
            if "Kernel panic" in log:
                sys.exit(f"FAIL panic while waiting for {what}\n{log[-2000:]}")
            if time.monotonic() - self.start > LIMIT or self.process.poll() is not None:
                sys.exit(f"FAIL no {what}\n--- log\n{log[-2000:]}\n--- terminal\n{self.text[-1000:]}")
            if select.select([self.process.stdout], [], [], 1)[0]:
                self.text += os.read(self.process.stdout.fileno(), 65536).decode(errors="replace")
        return found

    def told(self):
        """The kernel's log so far."""
        return open(self.log, errors="replace").read() if os.path.exists(self.log) else ""

    def type(self, line):
        self.process.stdin.write(line.encode() + b"\r")
        self.process.stdin.flush()


def main(directory, flavour):
    manifest = json.load(open(os.path.join(directory, f"{flavour}.json")))
    scratch = tempfile.mkdtemp()
    log = os.path.join(scratch, "log")
    arguments = ["qemu-system-x86_64", "-M", "microvm,acpi=off,pit=on,pic=on,rtc=on", "-accel", "tcg"]
    arguments += ["-cpu", "max", "-m", "256", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    arguments += ["-kernel", os.path.join(directory, "vmlinux")]
    arguments += ["-initrd", os.path.join(directory, "initramfs.cpio.gz"), "-append", manifest["cmdline"]]
    arguments += ["-serial", f"file:{log}", "-chardev", "stdio,id=terminal"]
    arguments += ["-device", "virtio-serial-device", "-device", "virtconsole,chardev=terminal"]
    if manifest["disk"]:
        path = os.path.join(scratch, "disk")
        disk_of(manifest, directory, path)
        arguments += ["-drive", f"id=root,file={path},format=raw,if=none,readonly=on"]
        arguments += ["-device", "virtio-blk-device,drive=root"]
    guest = Guest(arguments, log)
    try:
        guest.until(r"# (\x1b\[[0-9;]*[a-z])*$", "prompt")
        print(f"prompt after {time.monotonic() - guest.start:.1f} s")
        guest.type("echo READY_$((6*7))_$(uname -r)_$(uname -m)")
        print(guest.until(r"[\r\n]READY_42_6\.12\.\d+-vivarium_x86_64\r?\n", "computed marker")[0].strip())
        steps = re.findall(r"vivarium: (\w+)", guest.told())
        if steps != ["init", "root", "shell"]:
            sys.exit(f"FAIL the steps of the boot were told as {steps}")
        if flavour == "full":
            guest.type("python3 -c 'import ssl, json; print(6*7*100, ssl.OPENSSL_VERSION)'")
            print(guest.until(r"[\r\n]4200 OpenSSL 3.*\n", "python with ssl")[0].strip())
            before = time.monotonic()
            guest.type("sleep 1; echo slept $((40+2))")
            guest.until(r"[\r\n]slept 42\r?\n", "end of sleep")
            took = time.monotonic() - before
            if not 0.9 < took < 5:
                sys.exit(f"FAIL sleep 1 took {took:.1f} s")
        print("ok")
    finally:
        guest.process.kill()
        guest.process.wait()
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main(*sys.argv[1:])
