#!/bin/sh
# Runs every fuzz target of the module for a while: fuzz.sh 30s
set -eu

time=${1:-30s}
grep -rlE '^func Fuzz' --include '*_test.go' . | xargs -n 1 dirname | sort -u | while read -r dir; do
	grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/^func //' | sort -u | while read -r target; do
		echo "== $dir $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$dir"
	done
done
