#!/bin/sh
# Installs the programs that tests run inside and beside the sandbox, where that is possible; tests skip
# what needs a program that is not there.
set -eu

# program:package, or packages joined with "+".
programs="cc:gcc+libc6-dev g++:g++ make:make ar:binutils busybox:busybox-static dash:dash bash:bash gawk:gawk
find:findutils ps:procps setpriv:util-linux flock:util-linux python3:python3 perl:perl prove:perl git:git
podman:podman ctr:containerd script:bsdutils node:nodejs sqlite3:sqlite3 rsync:rsync xz:xz-utils bzip2:bzip2 zstd:zstd zip:zip unzip:unzip patch:patch bc:bc strace:strace gdb:gdb"

missing="" packages=""
for p in $programs; do
	command -v "${p%%:*}" >/dev/null 2>&1 && continue
	missing="$missing ${p%%:*}"
	packages="$packages $(echo "${p#*:}" | tr + ' ')"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "setup: not root, so not installed:$missing; tests that need them are skipped"
elif ! command -v apt-get >/dev/null 2>&1; then
	echo "setup: no apt-get, so not installed:$missing; tests that need them are skipped"
else
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update || true
	for p in $packages; do
		apt-get -qq install -y --no-install-recommends "$p" >/dev/null ||
			echo "setup: could not install $p; tests that need it are skipped"
	done
fi
