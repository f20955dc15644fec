#!/bin/sh
# Runs once inside the new root file system (image/rootfs.sh): what a package manager
# cannot know. Takes the release's name.
set -eu
release=$1

# The guest's own sources: Debian's public mirror.
rm -f /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99mmdebstrap
cat > /etc/apt/sources.list <<LIST
deb http://deb.debian.org/debian $release main
deb http://deb.debian.org/debian $release-updates main
deb http://deb.debian.org/debian-security $release-security main
LIST

# No password: whoever sits at this terminal owns the machine.
sed -i 's|^root:[^:]*:|root::|' /etc/shadow
sed -i 's|^root:\(.*\):/bin/sh$|root:\1:/bin/bash|' /etc/passwd
# It would start a program at every login, to protect the one user from herself.
rm -f /root/.profile
echo vivarium > /etc/hostname
printf '127.0.0.1\tlocalhost\n127.0.1.1\tvivarium\n' > /etc/hosts
echo 'LANG=C.UTF-8' > /etc/default/locale
ln -sf vim.tiny /usr/bin/vim

# Applets of busybox for what this system has no program of its own for; init first.
mkdir -p /usr/local/sbin
ln -sf /bin/busybox /sbin/init
for applet in poweroff halt reboot; do
  ln -sf /bin/busybox /sbin/$applet
done
for applet in nslookup wget nc telnet unzip ifconfig route traceroute udhcpc; do
  command -v $applet > /dev/null || ln -s /bin/busybox /usr/local/bin/$applet
done

# Python compiles at first use otherwise, which is slow in an emulator and lost at the end.
python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3* > /dev/null 2>&1 || true

# What differs between two builds and means nothing.
# /tmp stays: mmdebstrap's own apt configuration is there, and apt without it would clean
# up the host instead.
rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /var/tmp/* /root/.cache
mkdir -p /var/cache/apt/archives/partial /var/lib/apt/lists/partial /var/log/apt
rm -f /etc/machine-id /var/lib/dbus/machine-id /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- \
  /var/lib/dpkg/*-old /etc/resolv.conf /etc/ld.so.cache~ /.dockerenv
: > /etc/machine-id
# Days since 1970 of the last password change: today's date by default.
sed -i 's|^\([^:]*:[^:]*\):[0-9]*:|\1:19000:|' /etc/shadow
