#!/bin/sh
# usage: fetch.sh DIRECTORY
# Downloads Debian's QEMU, a kernel and busybox and unpacks them into DIRECTORY; nothing is installed.
set -eu
dir=$1
[ ! -e "$dir/complete" ] || exit 0
mkdir -p "$dir/packages" "$dir/root"
cd "$dir/packages"
[ "$(id -u)" != 0 ] || apt-get -qq update || true
list=$(apt-get install -s --no-install-recommends qemu-system-x86 linux-image-cloud-amd64 |
	awk '/^Inst/ {print $2}')
apt-get download -q $list busybox-static
for p in *.deb; do
	dpkg -x "$p" "$dir/root"
done
touch "$dir/complete"
