#!/usr/bin/env bash
# Builds the kernel that the lanes boot, from Debian's kernel source package, and prints the image's path.
# Cached outside the checkout, keyed by the source's version and the configuration, so that a change of either rebuilds.
#
#   build-kernel.sh [SUITE [SOURCE_PACKAGE]]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/debian.sh"
suite=${1:-trixie-backports} package=${2:-linux-source-7.3}
config=$here/kernel-x86.config

suite_update "$suite"
version=$(suite_version "$suite" "$package")
[ -n "$version" ] || { echo "$package is not in $suite" >&2; exit 1; }
key=$package-$version-$(sha256sum < "$config" | cut -c1-12)
image=$cache/kernels/$key/bzImage
if [ -e "$image" ]; then echo "$image"; exit; fi

exec 9> "$cache/build.lock"
flock 9
if [ -e "$image" ]; then echo "$image"; exit; fi
echo "building $package $version (8 to 11 minutes on two cores)" >&2
tree=$cache/build/$package-$version
if [ ! -e "$tree/Makefile" ]; then
  rm -rf "$tree.deb" "$tree.part"
  suite_unpack "$suite" "$package" "$version" "$tree.deb"
  mkdir -p "$tree.part"
  tar -xf "$tree.deb"/usr/src/"$package".tar.* -C "$tree.part" --strip-components=1
  rm -rf "$tree.deb"
  mv "$tree.part" "$tree"
fi
mkdir -p "$(dirname "$image")"
log=$(dirname "$image")/build.log
(
  cd "$tree"
  make tinyconfig
  scripts/kconfig/merge_config.sh -m .config "$config"
  make olddefconfig
  make -j"$(nproc)" bzImage
) > "$log" 2>&1 < /dev/null || { tail -n 30 "$log" >&2; echo "the kernel did not build: $log" >&2; exit 1; }
cp "$tree/.config" "$(dirname "$image")/config"
# The mock's private interface, which the suite's rig is checked against.
cp "$tree/drivers/iommu/iommufd/iommufd_test.h" "$(dirname "$image")/"
cp "$tree/arch/x86/boot/bzImage" "$image.part"
mv "$image.part" "$image"
echo "$image"
