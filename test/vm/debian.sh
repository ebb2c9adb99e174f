# Sourced by the scripts here: packages of a newer Debian suite, without touching the machine's own package set.
# The suite gets its own source list and its own state folder below the cache; the mirror is the machine's own.

cache=${IOMMUFD_CACHE:-${XDG_CACHE_HOME:-~/.cache}/iommufd-node}

debian_mirror() {
  apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 'Created-By: Packages' |
    awk '$2 == "Debian" && $1 !~ /security/ { print $1; exit }'
}

# suite_apt SUITE TOOL ARGS...: apt-get or apt-cache, looking at that suite only.
suite_apt() {
  local suite=$1 tool=$2 state=$cache/apt/$1 mirror
  shift 2
  mirror=$(debian_mirror)
  if [ -z "$mirror" ]; then
    echo 'apt knows no mirror of Debian: its lists are empty (apt-get update), or this is another system (--kernel IMAGE)' >&2
    return 1
  fi
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  printf 'deb [signed-by=%s] %s %s main\n' /usr/share/keyrings/debian-archive-keyring.gpg "$mirror" "$suite" \
    > "$state/sources.list"
  "$tool" -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 "$@"
}

# suite_update SUITE: refresh the suite's lists, at most every twelve hours; an unreachable mirror is
# survivable while older lists exist.
suite_update() {
  local stamp=$cache/apt/$1/updated
  [ -n "$(find "$stamp" -mmin -720 2>/dev/null)" ] && return
  if suite_apt "$1" apt-get -qq update >&2; then touch "$stamp"; return; fi
  [ -e "$stamp" ] && echo "warning: cannot refresh $1, using older lists" >&2
}

# suite_version SUITE PACKAGE: the newest version the suite offers.
suite_version() {
  suite_apt "$1" apt-cache madison "$2" | awk -F'|' '$3 ~ /Packages/ { gsub(/ /, "", $2); print $2; exit }'
}

# suite_unpack SUITE PACKAGE VERSION FOLDER: download and unpack (never install) one package.
suite_unpack() {
  local work
  mkdir -p "$4"
  work=$(mktemp -d -p "$4")
  (cd "$work" && suite_apt "$1" apt-get -qq download "$2=$3" >&2) || { rm -rf "$work"; return 1; }
  dpkg-deb -x "$work"/*.deb "$4" && rm -rf "$work"
}

# suite_kernel_tree SUITE PACKAGE VERSION FOLDER: the sources in one of Debian's packages of kernel source, unless they are
# there already. The caller holds the lock of what is built.
suite_kernel_tree() {
  local suite=$1 package=$2 version=$3 tree=$4
  [ -e "$tree/Makefile" ] && return
  rm -rf "$tree.deb" "$tree.part"
  suite_unpack "$suite" "$package" "$version" "$tree.deb" && mkdir -p "$tree.part" &&
    tar -xf "$tree.deb"/usr/src/"$package".tar.* -C "$tree.part" --strip-components=1 &&
    rm -rf "$tree.deb" && mv "$tree.part" "$tree"
}
