#!/usr/bin/env bash
# Makes the guest's root file system and its initial RAM disk from Debian's packages.
#
#   image/rootfs.sh i386|amd64 WORK OUT
#
# OUT gets root.squashfs, initrd.cpio, packages.tsv (name, version, licences) and suites. The mirror is the one that this machine's apt uses, so that a
# proxy or a local mirror works; the guest itself gets Debian's public one.
#
# SOURCE_DATE_EPOCH stamps every file; the same packages give the same bytes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
arch=$1 work=$2 out=$3
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:?set by the caller} LC_ALL=C TZ=UTC
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
release=bookworm

# The base URLs of this machine's Debian mirrors: main and security.
mirror() {
  local want=$1
  apt-get indextargets --format '$(SITE) $(RELEASE)' 'Identifier: Packages' 2>/dev/null \
    | awk -v want="$want" '$1 ~ want "$" { print $1; exit }'
}
main=$(mirror '/debian')
security=$(mirror '/debian-security')
main=${main:-http://deb.debian.org/debian}
security=${security:-http://security.debian.org/debian-security}

sources() {
  local suite
  for suite in "$@"; do
    case $suite in
      *-security) echo "deb [signed-by=$keyring] $security $suite main" ;;
      *) echo "deb [signed-by=$keyring] $main $suite main" ;;
    esac
  done
}

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
packages=$(grep -v '^#' "$here/packages.list" | paste -sd,)

# Runs mmdebstrap with the given suites. As root it needs no namespaces; otherwise it
# makes its own, and the tree leaves it as a tar archive either way.
bootstrap() {
  local mode=unshare
  [ "$(id -u)" = 0 ] && mode=root
  sources "$@" > "$work/sources.list"
  mmdebstrap --mode="$mode" --variant=custom --architectures="$arch" --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --aptopt='Acquire::Retries "3"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook="copy-in '$work/guest/.' /" \
    --customize-hook='upload '"$here/configure.sh"' /configure.sh' \
    --customize-hook='chroot "$1" sh /configure.sh '"$release" \
    --customize-hook='rm "$1/configure.sh"' \
    --skip=output/dev --quiet \
    "$release" "$work/root.tar" "$work/sources.list"
}

echo "installing Debian $release for $arch"
suites=("$release" "$release-updates" "$release-security")
tries=0
until bootstrap "${suites[@]}" > "$work/bootstrap.log" 2>&1; do
  tries=$((tries + 1))
  if [ "$tries" = 2 ] && [ ${#suites[@]} -gt 1 ]; then
    echo "WARNING: Debian's security or update index for $arch cannot be used; going on without them" >&2
    suites=("$release")
  elif [ "$tries" -gt 3 ]; then
    tail -30 "$work/bootstrap.log" >&2
    echo "rootfs.sh: the packages could not be installed; the lines above say why" >&2
    exit 1
  fi
done
printf '%s\n' "${suites[@]}" > "$out/suites"

# What is in the image, for the notices. The licence names are those of the machine-
# readable copyright files; an older file without names is called by its place.
meta=$work/meta
mkdir -p "$meta"
tar -xf "$work/root.tar" -C "$meta" --no-same-owner --wildcards './var/lib/dpkg/status' './usr/share/doc/*/copyright'
while IFS=$'\t' read -r name version; do
  file=$meta/usr/share/doc/$name/copyright
  licences=$(sed -n 's/^License: *\([^ ].*\)/\1/p' "$file" 2> /dev/null | sort -u | paste -sd';' || true)
  printf '%s\t%s\t%s\n' "$name" "$version" "${licences:-see usr/share/doc/$name/copyright}"
done < <(dpkg-query --admindir="$meta/var/lib/dpkg" --show --showformat='${Package}\t${Version}\n' | sort) \
  > "$out/packages.tsv"

echo "packing the $arch root disk"
python3 "$here/archive.py" order "$work/root.tar" "$here/boot-order" "$work/ordered.tar"
rm -f "$out/root.squashfs"
# Uncompressed inside: chunks are compressed for the way and unpacked outside of the guest.
mksquashfs - "$out/root.squashfs" -tar -noappend -no-progress -quiet -noI -noD -noF -noX -b 128K \
  -root-mode 755 < "$work/ordered.tar" > "$work/squashfs.log" 2>&1 \
  || { cat "$work/squashfs.log" >&2; exit 1; }

echo "packing the $arch initial RAM disk"
python3 "$here/archive.py" initrd "$work/root.tar" "$here/initrd/init" "$here/guest" "$out/initrd.cpio"
