#!/usr/bin/env bash
# Boots the amd64 image in qemu as our own board will: microvm without ACPI, virtio over
# MMIO named on the command line, terminal on virtio-console, log on the serial port; and
# requires a computed answer. Emulated even where the host has KVM, so that it runs anywhere.
#
#   image/try-qemu.sh [full|busybox]
#
# Needs qemu-system-x86 and python3, and `cargo xtask image --arch amd64` before.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
flavour=${1:-full}
command -v qemu-system-x86_64 > /dev/null || { echo "try-qemu.sh: install qemu-system-x86" >&2; exit 1; }
exec python3 "$here/try-qemu.py" "$here/out/amd64" "$flavour"
