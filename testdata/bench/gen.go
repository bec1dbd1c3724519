package main

//go:generate go tool bpf2go -go-package main -target amd64,arm64 -no-global-types floor floor.bpf.c -- -O2 -Wall -Werror
