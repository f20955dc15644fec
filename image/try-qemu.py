#!/usr/bin/env python3
"""The work of try-qemu.sh: puts the disk together from its chunks, boots, asks, judges."""

import json
import os
import re
import select
import shutil
import socket
import struct
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
        """Waits for something on the terminal."""
        return self.wait(lambda: re.search(pattern, self.text), what)

    def until_told(self, pattern, what):
        """Waits for something in the kernel's log."""
        return self.wait(lambda: re.search(pattern, self.told()), what)

    def wait(self, look, what):
        while not (found := look()):
            log = self.told()
            if "Kernel panic" in log:
                sys.exit(f"FAIL panic while waiting for {what}\n{log[-2000:]}")
            if time.monotonic() - self.start > LIMIT or self.process.poll() is not None:
                sys.exit(f"FAIL no {what}\n--- log\n{log[-2000:]}\n--- terminal\n{self.text[-1000:]}")
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                self.text += os.read(self.process.stdout.fileno(), 65536).decode(errors="replace")
        return found

    def told(self):
        """The kernel's log so far."""
        return open(self.log, errors="replace").read() if os.path.exists(self.log) else ""

    def type(self, line):
        self.process.stdin.write(line.encode() + b"\r")
        self.process.stdin.flush()

    def ask(self, line, pattern, what):
        """Types a command, waits for a line of this form, and shows it."""
        self.type(line)
        print(self.until(rf"[\r\n]{pattern}\r?\n", what)[0].strip())


def machine(manifest, directory, scratch):
    """The arguments of qemu: our own board's devices, as far as it has them. The processor is
    one of x86-64-v2, without AVX."""
    arguments = ["qemu-system-x86_64", "-M", "microvm,acpi=off,pit=on,pic=on,rtc=on", "-accel", "tcg"]
    arguments += ["-cpu", "Westmere,+rdrand,+fsgsbase,+smep,+erms", "-m", str(manifest["min_memory_mib"] * 2)]
    arguments += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    arguments += ["-kernel", os.path.join(directory, "vmlinux")]
    arguments += ["-initrd", os.path.join(directory, "initramfs.cpio.gz"), "-append", manifest["cmdline"]]
    arguments += ["-serial", f"file:{scratch}/log", "-chardev", "stdio,id=terminal"]
    arguments += ["-device", "virtio-serial-device", "-device", "virtconsole,chardev=terminal"]
    arguments += ["-chardev", f"socket,id=agent,path={scratch}/agent,server=on,wait=off"]
    arguments += ["-device", "virtserialport,chardev=agent,name=agent"]
    arguments += ["-netdev", "user,id=cable", "-device", "virtio-net-device,netdev=cable"]
    arguments += ["-device", "virtio-rng-device", "-device", "virtio-balloon-device"]
    if manifest["disk"]:
        path = os.path.join(scratch, "disk")
        disk_of(manifest, directory, path)
        arguments += ["-drive", f"id=root,file={path},format=raw,if=none,readonly=on"]
        arguments += ["-device", "virtio-blk-device,drive=root"]
    return arguments


def check(guest, full, scratch):
    guest.until(r"# (\x1b\[[0-9;]*[a-z])*$", "prompt")
    print(f"prompt after {time.monotonic() - guest.start:.1f} s")
    guest.ask("echo READY_$((6*7))_$(uname -r)_$(uname -m)", r"READY_42_6\.12\.\d+-vivarium_x86_64", "computed marker")
    guest.until_told("vivarium: network", "address")
    steps = re.findall(r"vivarium: (\w+)", guest.told())
    if [step for step in steps if step != "network"] != ["init", "root", "shell"]:
        sys.exit(f"FAIL the steps of the boot were told as {steps}")
    guest.ask("busybox ifconfig eth0 | busybox grep -o 'addr:[0-9.]*'", r"addr:10\.0\.2\.15", "address of the lease")

    # What the agent is told after a restore: image/agent/agent.c.
    wake = b"WAKEvm01" + struct.pack("<QI", 2_000_000_000, 0) + bytes(range(32))
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(f"{scratch}/agent")
        agent.sendall(wake)
        guest.ask("until [ $(date +%s) -ge 2000000000 ]; do :; done; date +year_%Y", "year_2033", "clock of the agent")

    guest.ask("/usr/lib/vivarium/hello32", "32-bit program: 1229 primes below 10000, 0.785 is a quarter of pi", "program for i386")
    if full:
        guest.ask("python3 -c 'import ssl, json; print(6*7*100, ssl.OPENSSL_VERSION)'", "4200 OpenSSL 3.*", "python with ssl")
        before = time.monotonic()
        guest.ask("sleep 1; echo slept $((40+2))", "slept 42", "end of sleep")
        took = time.monotonic() - before
        if not 0.9 < took < 5:
            sys.exit(f"FAIL sleep 1 took {took:.1f} s")


def main(directory, flavour):
    manifest = json.load(open(os.path.join(directory, f"{flavour}.json")))
    scratch = tempfile.mkdtemp()
    arguments = machine(manifest, directory, scratch)
    log = os.path.join(scratch, "log")
    guest = Guest(arguments, log)
    try:
        check(guest, flavour == "full", scratch)
        # Without ACPI there is no power to switch off: the processor halts for good.
        guest.type("poweroff")
        print(guest.until_told(r"reboot: .*halted.*", "power-off")[0].strip())
    finally:
        guest.process.kill()
        guest.process.wait()
    os.remove(log)
    guest = Guest(arguments, log)
    try:
        guest.until_told("vivarium: shell", "second boot")
        guest.type("reboot")
        guest.until_told("reboot: Restarting system", "reset")
        # -no-reboot: qemu ends instead.
        try:
            guest.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            sys.exit("FAIL the guest said that it restarts, but did not reset the machine")
        print("reboot resets")
    finally:
        guest.process.kill()
        guest.process.wait()
        shutil.rmtree(scratch)
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
