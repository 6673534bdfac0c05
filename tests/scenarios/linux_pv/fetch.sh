#!/bin/sh
# Puts the Linux kernel that Debian ships for this release into build/linux/vmlinuz, unmodified and not installed:
# from the exact versioned package that linux-image-amd64 depends on.  The lists of packages must be there; where they
# are older than the archive this needs root, to run `apt-get update`.
set -eu
cd "$(dirname "$0")/../../.."
kernel=build/linux/vmlinuz
[ -e "$kernel" ] && exit 0
mkdir -p build/linux
folder=$(mktemp -d build/linux/fetching.XXXXXX)
trap 'rm -rf "$folder"' EXIT

download() {
    package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [ -n "$package" ] && (cd "$folder" && apt-get download -qq "$package")
}

download 2>/dev/null || { apt-get update -qq && download; }
dpkg-deb --fsys-tarfile "$folder"/*.deb | tar -x -C "$folder" --wildcards './boot/vmlinuz-*'
mv "$folder"/boot/vmlinuz-* "$kernel"
