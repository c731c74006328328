#!/bin/sh
# Installs the programs that tests run inside and beside the sandbox, where that is possible; tests skip
# what needs a program that is not there.
set -eu

programs="cc busybox dash bash gawk find ps setpriv"
packages="gcc libc6-dev busybox-static dash bash gawk findutils procps util-linux"

missing=""
for p in $programs; do
	command -v "$p" >/dev/null 2>&1 || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "setup: not root, so not installed:$missing; tests that need them are skipped"
elif ! command -v apt-get >/dev/null 2>&1; then
	echo "setup: no apt-get, so not installed:$missing; tests that need them are skipped"
else
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update && apt-get -qq install -y --no-install-recommends $packages >/dev/null ||
		echo "setup: could not install:$missing; tests that need them are skipped"
fi
