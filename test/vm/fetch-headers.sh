#!/usr/bin/env bash
# Unpacks the newest kernel headers that Debian offers (never installs them), and prints their include folder.
#
#   fetch-headers.sh [SUITE]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/debian.sh"
suite=${1:-trixie-backports}

suite_update "$suite"
version=$(suite_version "$suite" linux-libc-dev)
[ -n "$version" ] || { echo "linux-libc-dev is not in $suite" >&2; exit 1; }
folder=$cache/headers/$version
if [ ! -e "$folder/usr/include/linux/iommufd.h" ]; then
  rm -rf "$folder" "$folder.part"
  suite_unpack "$suite" linux-libc-dev "$version" "$folder.part"
  mv "$folder.part" "$folder"
fi
echo "$folder/usr/include"
