#!/usr/bin/env bash
# Builds the kernel that the lanes boot, from Debian's kernel source package, and prints the image's path.
# Cached outside the checkout, keyed by the source's version and the configuration, so that a change of either rebuilds.
#
#   build-kernel.sh [x86|arm64 [SUITE [SOURCE_PACKAGE]]]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/debian.sh"
arch=${1:-x86} suite=${2:-trixie-backports} package=${3:-linux-source-7.3}
config=$here/kernel-$arch.config
case $arch in
  x86) target=bzImage cross='' ;;
  arm64) target=Image cross=aarch64-linux-gnu- ;;
  *) echo "build-kernel.sh knows x86 and arm64, not $arch" >&2; exit 2 ;;
esac

suite_update "$suite"
version=$(suite_version "$suite" "$package")
[ -n "$version" ] || { echo "$package is not in $suite" >&2; exit 1; }
name=$package-$version
[ "$arch" = x86 ] || name+=-$arch
image=$cache/kernels/$name-$(sha256sum < "$config" | cut -c1-12)/$target
if [ -e "$image" ]; then echo "$image"; exit; fi

exec 9> "$cache/build.lock"
flock 9
if [ -e "$image" ]; then echo "$image"; exit; fi
echo "building $package $version for $arch (8 to 11 minutes on two cores)" >&2
tree=$cache/build/$package-$version out=$cache/build/$package-$version-$arch
suite_kernel_tree "$suite" "$package" "$version" "$tree"
mkdir -p "$(dirname "$image")" "$out"
log=$(dirname "$image")/build.log
(
  cd "$tree"
  export ARCH=$arch CROSS_COMPILE=$cross
  # Each architecture has a folder of its own, which works with a clean tree only.
  if [ -e .config ]; then make mrproper; fi
  make O="$out" tinyconfig
  scripts/kconfig/merge_config.sh -O "$out" -m "$out/.config" "$config"
  make O="$out" olddefconfig
  make O="$out" -j"$(nproc)" "$target"
) > "$log" 2>&1 < /dev/null || { tail -n 30 "$log" >&2; echo "the kernel did not build: $log" >&2; exit 1; }
cp "$out/.config" "$(dirname "$image")/config"
# The mock's private interface, which the suite's rig is checked against.
cp "$tree/drivers/iommu/iommufd/iommufd_test.h" "$(dirname "$image")/"
cp "$out/arch/$arch/boot/$target" "$image.part"
mv "$image.part" "$image"
echo "$image"
