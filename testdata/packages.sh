#!/bin/sh
# Installs the Debian packages that tests and generators need, where one is missing.
# The tests run real programs, beside the real strace; users need none of this.
set -eu

packages="gcc gcc-multilib g++ gdb libc6-dev linux-libc-dev strace python3 curl git tar coreutils findutils dash util-linux
	bash mawk gzip grep make nginx-light nodejs perl redis-server sed sqlite3
	clang llvm libbpf-dev
	containerd runc containernetworking-plugins busybox-static iproute2
	qemu-system-x86"

command -v dpkg-query >/dev/null || {
	echo "this is no Debian system: install by hand what corresponds to:" $packages >&2
	exit 0
}
missing=
for p in $packages; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || {
	echo "missing packages:$missing; install them, or run this as root" >&2
	exit 1
}
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends $missing
