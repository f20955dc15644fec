#!/usr/bin/env bash
# Builds one guest kernel from Debian's linux-source package.
#
#   image/kernel.sh i386|amd64 SOURCE.tar.xz WORK OUT
#
# WORK is a scratch directory that may be deleted afterwards; OUT gets config, release, and
# the kernel: for i386 a bzImage, for amd64 vmlinux, a stripped ELF file with the PVH entry
# note. Neither is compressed (flatten.py). The same source and the same fragments give the
# same bytes: user, host and time of the build are fixed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
arch=$1 source=$2 work=$3 out=$4

case $arch in
  i386) kernel_arch=i386 fragment=i386.config target=bzImage ;;
  amd64) kernel_arch=x86_64 fragment=x86_64.config target=vmlinux ;;
  *) echo "kernel.sh: unknown architecture $arch" >&2; exit 2 ;;
esac

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:?set by the caller} LC_ALL=C TZ=UTC
export KBUILD_BUILD_USER=vivarium KBUILD_BUILD_HOST=vivarium KBUILD_BUILD_VERSION=1
KBUILD_BUILD_TIMESTAMP=$(date -u -d "@$SOURCE_DATE_EPOCH" '+%a %b %e %H:%M:%S UTC %Y')
export KBUILD_BUILD_TIMESTAMP

mkdir -p "$work" "$out"
tree=$work/linux
if [ ! -e "$tree/.unpacked" ]; then
  echo "unpacking the kernel source"
  mkdir -p "$tree"
  tar -xf "$source" -C "$tree" --strip-components=1
  touch "$tree/.unpacked"
fi

build=$work/$arch
mkdir -p "$build"
make=(nice -n 10 make -C "$tree" "O=$build" "ARCH=$kernel_arch" -j"$(nproc)" --no-print-directory)

wanted=$work/$arch.wanted
cat "$here/kernel/common.config" "$here/kernel/$fragment" > "$wanted"
twice=$(sed -n 's/^\(# \)\?\(CONFIG_[A-Z0-9_]*\)[ =].*/\2/p' "$wanted" | sort | uniq -d)
[ -z "$twice" ] || { echo "kernel.sh: said twice:" $twice >&2; exit 1; }
echo "configuring the $arch kernel"
"${make[@]}" KCONFIG_ALLCONFIG="$wanted" allnoconfig > "$work/$arch.config.log" 2>&1 \
  || { tail -20 "$work/$arch.config.log" >&2; exit 1; }

# Kconfig drops silently what it cannot fulfil. A kernel without an option that somebody
# asked for must not come out of here.
missing=0
while read -r line; do
  case $line in
    CONFIG_*=n) grep -q "^${line%=n}=" "$build/.config" && { echo "kernel.sh: $line was asked for, but it is on" >&2; missing=1; } ;;
    CONFIG_*=*) grep -qxF "$line" "$build/.config" || { echo "kernel.sh: $line was asked for, but is not in the $arch configuration" >&2; missing=1; } ;;
    '# CONFIG_'*' is not set')
      name=${line#\# }; name=${name% is not set}
      grep -q "^$name=" "$build/.config" && { echo "kernel.sh: $name was to be off, but it is on" >&2; missing=1; } ;;
  esac
done < "$wanted"
[ "$missing" = 0 ] || exit 1

echo "compiling the $arch kernel"
"${make[@]}" "$target" > "$work/$arch.build.log" 2>&1 || { tail -40 "$work/$arch.build.log" >&2; exit 1; }
cp "$build/.config" "$out/config"
"${make[@]}" -s kernelrelease > "$out/release"
# Decompression is done outside of the guest, where it costs nothing.
if [ "$arch" = i386 ]; then
  objcopy -O binary -R .note -R .comment -S "$build/vmlinux" "$work/$arch.flat"
  python3 "$here/flatten.py" "$build/arch/x86/boot/setup.bin" "$work/$arch.flat" "$out/bzImage"
else
  # Symbols go; what a loader reads stays: segments, entry, notes.
  objcopy --strip-all "$build/vmlinux" "$out/vmlinux"
fi
