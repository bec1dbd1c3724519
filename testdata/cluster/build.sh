#!/bin/sh
# Builds the programs of the test cluster once, and prints the path of the file that is
# all of them (see main.go). It lies outside of the checkout, under a name that changes
# with everything that goes into it. From nothing this takes some minutes.
set -eu
cd "$(dirname "$0")"
go=${GO:-go}

key=$({ cat go.mod go.sum main.go; "$go" version; } | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/swoll
program=$cache/cluster-$key
[ -x "$program" ] || {
	echo "building Kubernetes for the tests into $program; this happens once, and takes some minutes" >&2
	mkdir -p "$cache"
	new=$(mktemp "$cache/new.XXXXXX")
	trap 'rm -f "$new"' EXIT
	CGO_ENABLED=0 "$go" build -trimpath -ldflags '-s -w' -o "$new" .
	# Whole, or not there: another build may be looking for it.
	mv "$new" "$program"
	trap - EXIT
}
echo "$program"
