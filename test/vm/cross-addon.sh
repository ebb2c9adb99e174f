#!/usr/bin/env bash
# Builds the addon for arm64 with Debian's cross compiler, into a folder: cross-addon.sh FOLDER
set -euo pipefail
checkout=$(cd "$(dirname "$0")/../.." && pwd)
headers=$(node -p 'require("node:path").resolve(process.execPath, "../../include/node")')
[ -e "$headers/node_api.h" ] || { echo "Node's headers are not at $headers" >&2; exit 1; }
mkdir -p "$1"
aarch64-linux-gnu-g++ -shared -fPIC -O2 -std=c++17 -fvisibility=hidden -fno-exceptions -Wall -Wextra -Werror \
  -DNAPI_VERSION=9 -DNODE_ADDON_API_DISABLE_CPP_EXCEPTIONS -DNODE_ADDON_API_DISABLE_DEPRECATED \
  -DNODE_GYP_MODULE_NAME=iommufd -isystem "$headers" -isystem "$checkout/node_modules/node-addon-api" \
  "$checkout"/native/*.cc -o "$1/iommufd.node"
