#!/bin/sh
# Shows the main job: a service records, a program fails to open its configuration and
# dies, and what it last did is there without anybody having looked. Everything is
# private to this script and removed by it.
set -eu

bin=$1
[ "$(id -u)" = 0 ] || {
	echo "the recorder loads eBPF programs: run this as root" >&2
	exit 1
}
dir=$(mktemp -d /tmp/swoll-demo.XXXXXX)
socket=$dir/swoll.sock
dump="$bin/swoll-dump --socket $socket"
service=
cleanup() {
	[ -z "$service" ] || { kill "$service" && wait "$service"; } 2>/dev/null || :
	rm -rf "$dir"
}
trap cleanup EXIT INT TERM
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. The node service starts; nothing of it stays in the kernel (--pin-dir '')."
"$bin/swolld" --socket "$socket" --state-dir "$dir/state" --pin-dir '' --memory 16MiB 2>"$dir/log" &
service=$!
tries=0
until [ -S "$socket" ]; do
	tries=$((tries + 1))
	if [ $tries -gt 100 ] || ! kill -0 $service 2>/dev/null; then
		cat "$dir/log" >&2
		exit 1
	fi
	sleep 0.1
done
cat "$dir/log"

say "2. A small program is run in a cgroup of its own. It cannot open its configuration, and dies."
status=0
$dump run -- sh -c 'exec 3</etc/demo-app/config.yaml' >/dev/null 2>"$dir/out" || status=$?
echo "its exit status: $status"
sed -n "1,2p" "$dir/out"

say "3. The snapshot that was saved by itself:"
$dump snapshots
id=$($dump snapshots -o json | tr ',{' '\n\n' | sed -n 's/^ *"id": *"\([^"]*\)".*/\1/p' | tail -1)
[ -n "$id" ] || {
	echo "there is no snapshot; the service said:" >&2
	cat "$dir/log" >&2
	exit 1
}

say "4. Why did it die? (swoll-dump explain)"
$dump explain "$id"

say "5. Its last calls, as strace would have shown them (swoll-dump show --last 12)"
$dump show --last 12 "$id"
