#!/usr/bin/env python3
"""Writes the archives of the guest image without needing to be root.

  archive.py initrd ROOT.tar INIT GUEST OUT.cpio    the initial RAM disk
  archive.py order ROOT.tar ORDER TRIPLET OUT.tar   the root disk's files, boot files first

Both are a function of their inputs alone: sorted, and stamped with SOURCE_DATE_EPOCH.
"""

import io
import os
import stat
import sys
import tarfile

EPOCH = int(os.environ["SOURCE_DATE_EPOCH"])

# Our own, compiled by rootfs.sh.
PROGRAMS = ["agent", "hello32"]


class Cpio:
    """The kernel's initramfs format: cpio "newc" (Documentation/driver-api/early-userspace/
    buffer-format.rst)."""

    def __init__(self, out):
        self.out = out
        self.inode = 0

    def add(self, name, mode, data=b"", device=(0, 0)):
        self.inode += 1
        path = name.encode() + b"\0"
        fields = [self.inode, mode, 0, 0, 1, EPOCH, len(data), 0, 0, *device, len(path), 0]
        self.out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + path)
        self.pad(110 + len(path))
        self.out.write(data)
        self.pad(len(data))

    def pad(self, length):
        self.out.write(b"\0" * (-length % 4))

    def close(self):
        self.add("TRAILER!!!", 0)


def initrd(root, init, guest, out):
    with tarfile.open(root) as tar:
        busybox = tar.extractfile(find(tar, "bin/busybox")).read()
        programs = {
            name: tar.extractfile(find(tar, f"usr/lib/vivarium/{name}")).read() for name in PROGRAMS
        }
    with open(out, "wb") as file:
        cpio = Cpio(file)
        directories = ["bin", "dev", "disk", "etc", "memory", "proc", "root", "run", "sbin", "sys"]
        for name in directories + ["tmp", "usr", "usr/lib", "usr/lib/vivarium", "var"]:
            mode = 0o1777 if name == "tmp" else 0o755
            cpio.add(name, stat.S_IFDIR | mode)
        cpio.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        cpio.add("bin/busybox", stat.S_IFREG | 0o755, busybox)
        cpio.add("bin/sh", stat.S_IFLNK | 0o777, b"busybox")
        cpio.add("sbin/init", stat.S_IFLNK | 0o777, b"../bin/busybox")
        for name, program in programs.items():
            cpio.add(f"usr/lib/vivarium/{name}", stat.S_IFREG | 0o755, program)
        cpio.add("init", stat.S_IFREG | 0o755, open(init, "rb").read())
        cpio.add("etc/passwd", stat.S_IFREG | 0o644, b"root::0:0:root:/root:/bin/sh\n")
        cpio.add("etc/group", stat.S_IFREG | 0o644, b"root:x:0:\ntty:x:5:\n")
        for name in ["etc/inittab", "etc/profile", *scripts(guest)]:
            mode = 0o755 if name.startswith("usr") else 0o644
            cpio.add(name, stat.S_IFREG | mode, open(os.path.join(guest, name), "rb").read())
        motd = open(os.path.join(guest, "etc/motd.busybox"), "rb").read()
        cpio.add("etc/motd", stat.S_IFREG | 0o644, motd)
        cpio.close()


def scripts(guest):
    return sorted(f"usr/lib/vivarium/{name}" for name in os.listdir(f"{guest}/usr/lib/vivarium"))


def find(tar, path):
    """A member by its path, through the links of a merged /usr."""
    for prefix in ("./", "./usr/", ""):
        try:
            return tar.getmember(prefix + path)
        except KeyError:
            pass
    sys.exit(f"archive.py: {path} is not in the root file system")


def order(root, wanted, triplet, out):
    """Directories first, then the files that a boot reads in the order given, then the rest."""
    lines = [line.strip() for line in open(wanted) if line.strip() and line[0] != "#"]
    places = {line.replace("TRIPLET", triplet): index for index, line in enumerate(lines)}

    def rank(member):
        path = member.name.removeprefix("./")
        if member.isdir():
            return (0, 0, path)
        if path in places:
            return (1, places[path], path)
        return (2, 0, path)

    with tarfile.open(root) as source, tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as target:
        members = [member for member in source if not member.name.startswith("./dev")]
        # The kernel fills it; only the place to mount it on is kept.
        dev = tarfile.TarInfo("./dev")
        dev.type, dev.mode, dev.mtime = tarfile.DIRTYPE, 0o755, EPOCH
        members.append(dev)
        # A hard link can only come after what it links to.
        for member in sorted((m for m in members if not m.islnk()), key=rank) + [
            m for m in members if m.islnk()
        ]:
            member.mtime = min(int(member.mtime), EPOCH)
            member.pax_headers = {
                key: value for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr")
            }
            data = source.extractfile(member) if member.isreg() else None
            target.addfile(member, data or io.BytesIO())


if __name__ == "__main__":
    {"initrd": initrd, "order": order}[sys.argv[1]](*sys.argv[2:])
