#!/usr/bin/env bash
# Builds the kernel's own test programs of iommufd and VFIO, from the sources of the kernel that the lanes boot, and prints the folder
# they are in. They are the kernel's: they are built in the cache, outside the checkout, and nothing of them is kept here.
# Built dynamically, so that they can run on the emulated host too.
#
#   build-selftests.sh [SUITE [SOURCE_PACKAGE]]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/debian.sh"
suite=${1:-trixie-backports} package=${2:-linux-source-7.3}

suite_update "$suite"
version=$(suite_version "$suite" "$package")
[ -n "$version" ] || { echo "$package is not in $suite" >&2; exit 1; }
folder=$cache/selftests/$package-$version-$(sha256sum < "$0" | cut -c1-12)
if [ -e "$folder/iommufd" ]; then echo "$folder"; exit; fi
headers=$("$here/fetch-headers.sh" "$suite")

tree=$cache/build/$package-$version
if [ ! -e "$tree/Makefile" ]; then
  exec 9> "$cache/build.lock"
  flock 9
  suite_kernel_tree "$suite" "$package" "$version" "$tree"
  exec 9>&-
fi
exec 8> "$cache/selftests.lock"
flock 8
if [ -e "$folder/iommufd" ]; then echo "$folder"; exit; fi
rm -rf "$folder.part"
mkdir -p "$folder.part"
# Their makefiles take the headers' place, and where the programs go.
for area in iommu vfio; do
  make -s -C "$tree/tools/testing/selftests/$area" OUTPUT="$folder.part" KHDR_INCLUDES="-isystem $headers" || break
done > "$folder.part/build.log" 2>&1 < /dev/null
[ -x "$folder.part/iommufd" ] && [ -x "$folder.part/vfio_pci_device_test" ] || {
  tail -n 30 "$folder.part/build.log" >&2
  echo "the kernel's test programs did not build (Debian: libcap-dev): $folder.part/build.log" >&2
  exit 1
}
mv "$folder.part" "$folder"
echo "$folder"
