#!/usr/bin/env bash
# Makes the guest's root file system and its initial RAM disk from Debian's packages.
#
#   image/rootfs.sh i386|amd64 WORK OUT
#
# OUT gets root.squashfs, initrd.cpio, packages.tsv (name, version, licences) and suites.
# The guest itself gets Debian's public mirror (configure.sh), wherever its packages came
# from. SOURCE_DATE_EPOCH stamps every file; the same packages give the same bytes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
arch=$1 work=$2 out=$3
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:?set by the caller} LC_ALL=C TZ=UTC
release=bookworm

rm -rf "$work"
mkdir -p "$work" "$out"
# Git keeps no owners and not all modes: stage our own files as they are to be.
cp -r "$here/guest" "$work/guest"
mv "$work/guest/etc/motd.full" "$work/guest/etc/motd"
rm "$work/guest/etc/motd.busybox"
find "$work/guest" -type d -exec chmod 755 {} +
find "$work/guest" -type f -exec chmod 644 {} +
chmod 755 "$work/guest/usr/lib/vivarium/"*
chmod 700 "$work/guest/root"
# Our own programs need no C library, so they are compiled for i386 without one for it.
case $arch in i386) bits=32 ;; *) bits=64 ;; esac
compile() {
  local bits=$1 source=$2 program=$work/guest/usr/lib/vivarium/$3
  gcc -m"$bits" -Os -Wall -Wextra -Werror -nostdlib -static -ffreestanding -fno-pic -no-pie \
    -fno-stack-protector -fno-asynchronous-unwind-tables -s -Wl,--build-id=none -Wl,-z,noseparate-code \
    -o "$program" "$source"
  chmod 755 "$program"
}
compile "$bits" "$here/agent/agent.c" agent
compile 32 "$here/hello32/hello32.c" hello32
packages=$(grep -v '^#' "$here/packages.list" | paste -sd,)

# As root mmdebstrap needs no namespaces; otherwise it makes its own, and the tree leaves
# it as a tar archive either way. It would clean up apt after configure.sh has done so.
bootstrap() {
  local mode=unshare
  [ "$(id -u)" = 0 ] && mode=root
  mmdebstrap --mode="$mode" --variant=custom --architectures="$arch" --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --aptopt='Acquire::Retries "3"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook="copy-in '$work/guest/.' /" \
    --customize-hook="upload '$here/configure.sh' /configure.sh" \
    --customize-hook='chroot "$1" sh /configure.sh '"$release" \
    --customize-hook='rm "$1/configure.sh"' \
    --skip=output/dev --skip=cleanup/apt --quiet \
    "$release" "$work/root.tar" "$work/apt/sources.list"
}

bash "$here/apt.sh" prepare "$arch" "$work/apt"
cp "$work/apt/suites" "$out/suites"
echo "installing packages from $(paste -sd' ' "$out/suites") for $arch"
tries=1
until bootstrap > "$work/bootstrap.log" 2>&1; do
  if [ "$tries" = 3 ]; then
    tail -30 "$work/bootstrap.log" >&2
    echo "rootfs.sh: the packages could not be installed; the lines above say why" >&2
    exit 1
  fi
  tries=$((tries + 1))
  echo "that failed; trying again"
done

# What is in the image, for the notices.
meta=$work/meta
mkdir -p "$meta"
tar -xf "$work/root.tar" -C "$meta" --no-same-owner --wildcards './var/lib/dpkg/status' './usr/share/doc/*/copyright'

# The licences that a package's copyright file names: by field if the file is machine-
# readable, by reference to Debian's common texts if it is prose.
licences() {
  local file=$1 found
  found=$(sed -n 's/^License: *\([^ ].*\)/\1/p' "$file" | sort -u | paste -sd';')
  [ -n "$found" ] || found=$(grep -o '/usr/share/common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]' "$file" | sed 's|.*/||' | sort -u | paste -sd';')
  echo "${found:-see usr/share/doc/$(basename "$(dirname "$file")")/copyright}"
}

# Packages of one source share one file; only one of them carries it.
declare -A carrier
while IFS=$'\t' read -r name version source; do
  [ -e "$meta/usr/share/doc/$name/copyright" ] && carrier[$source]=$name
done < <(dpkg-query --admindir="$meta/var/lib/dpkg" --show --showformat='${Package}\t${Version}\t${source:Package}\n')
while IFS=$'\t' read -r name version source; do
  file=$meta/usr/share/doc/$name/copyright
  [ -e "$file" ] || file=$meta/usr/share/doc/${carrier[$source]:-$name}/copyright
  [ -e "$file" ] || { echo "rootfs.sh: $name has no copyright file" >&2; exit 1; }
  printf '%s\t%s\t%s\n' "$name" "$version" "$(licences "$file")"
done < <(dpkg-query --admindir="$meta/var/lib/dpkg" --show --showformat='${Package}\t${Version}\t${source:Package}\n' | sort) \
  > "$out/packages.tsv"

echo "packing the $arch root disk"
case $arch in
  i386) triplet=i386-linux-gnu ;;
  amd64) triplet=x86_64-linux-gnu ;;
esac
python3 "$here/archive.py" order "$work/root.tar" "$here/boot-order" "$triplet" "$work/ordered.tar"
rm -f "$out/root.squashfs"
# Uncompressed inside: chunks are compressed for the way and unpacked outside of the guest.
mksquashfs - "$out/root.squashfs" -tar -noappend -no-progress -quiet -noI -noD -noF -noX -b 128K \
  -root-mode 755 < "$work/ordered.tar" > "$work/squashfs.log" 2>&1 \
  || { cat "$work/squashfs.log" >&2; exit 1; }

echo "packing the $arch initial RAM disk"
python3 "$here/archive.py" initrd "$work/root.tar" "$here/initrd/init" "$here/guest" "$out/initrd.cpio"
