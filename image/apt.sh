#!/usr/bin/env bash
# A private apt for the guest's release: own sources, own lists, nothing of the host's.
#
#   image/apt.sh prepare ARCH ROOT          sources and lists of Debian bookworm in ROOT
#   image/apt.sh download PACKAGE ROOT OUT  fetches a package's newest version and unpacks
#                                           it to OUT; its version goes to OUT/version
#
# The mirror is the one that this machine's apt uses, so that a proxy or a local mirror
# works, whatever release the machine runs itself. A suite whose index cannot be used (it
# has happened to the security suite of i386) is left out with a warning; ROOT/suites says
# which ones are in.
set -euo pipefail
release=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
tries=3

# The address before /dists/ of an archive that ends in the given path.
mirror() {
  # --print-uris downloads nothing and needs no lists of the host.
  apt-get update --print-uris -o "Dir::State::lists=$2/no-lists" 2> /dev/null \
    | sed -n "s|^'\([^']*/$1\)/dists/.*|\1|p" | sort | head -n 1
}

source_of() {
  case $1 in
    *-security) echo "deb [signed-by=$keyring] $security $1 main" ;;
    *) echo "deb [signed-by=$keyring] $main $1 main" ;;
  esac
}

update() {
  local attempt
  for ((attempt = 1; attempt <= tries; attempt++)); do
    APT_CONFIG=$root/apt.conf apt-get update > "$root/update.log" 2>&1 && return 0
    sleep "$attempt"
  done
  return 1
}

prepare() {
  local arch=$1
  root=$2
  [ -e "$keyring" ] || { echo "apt.sh: $keyring is missing: install debian-archive-keyring" >&2; exit 1; }
  rm -rf "$root"
  mkdir -p "$root"/{lists,no-lists,cache,preferences}/partial
  : > "$root/status"
  main=$(mirror debian "$root")
  security=$(mirror debian-security "$root")
  main=${main:-http://deb.debian.org/debian}
  security=${security:-http://security.debian.org/debian-security}
  cat > "$root/apt.conf" <<CONF
Dir::Etc::sourcelist "$root/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$root";
Dir::State::lists "$root/lists";
Dir::State::status "$root/status";
Dir::Cache "$root/cache";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
CONF
  source_of "$release" > "$root/sources.list"
  update || { tail -5 "$root/update.log" >&2; echo "apt.sh: Debian $release cannot be reached; the lines above say why" >&2; exit 1; }
  echo "$release" > "$root/suites"
  local suite
  for suite in "$release-updates" "$release-security"; do
    cp "$root/sources.list" "$root/sources.before"
    source_of "$suite" >> "$root/sources.list"
    if update; then
      echo "$suite" >> "$root/suites"
    else
      grep '^[EW]:' "$root/update.log" | head -n 3 >&2 || true
      echo "WARNING: $suite for $arch cannot be used; going on without its packages" >&2
      cp "$root/sources.before" "$root/sources.list"
    fi
  done
}

download() {
  local package=$1 out=$3 scratch
  root=$2
  scratch=$root/deb
  rm -rf "$scratch"
  mkdir -p "$scratch" "$out"
  (cd "$scratch" && APT_CONFIG=$root/apt.conf apt-get download "$package" > /dev/null) || {
    echo "apt.sh: Debian $release offers no package $package" >&2
    exit 1
  }
  dpkg-deb -x "$scratch"/*.deb "$out"
  dpkg-deb -f "$scratch"/*.deb Version > "$out/version"
  rm -r "$scratch"
}

case $1 in
  prepare) prepare "$2" "$3" ;;
  download) download "$2" "$3" "$4" ;;
  *) echo "apt.sh: what is $1?" >&2; exit 2 ;;
esac
