// Package bpf holds the recorder's kernel side and nothing else: the C program, the
// layouts that it shares with Go (swoll.h), and the generated bindings and objects.
// It knows cgroup ids and ring numbers, nothing of pods. Users need no compiler; after
// a change of the C files, `go generate ./bpf` needs clang and libbpf's headers.
package bpf

//go:generate go tool bpf2go -target amd64,arm64 -go-package bpf Swoll swoll.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu
//go:generate go run ./layoutgen -o ../ringstore/layout/layout.go swoll_x86_bpfel.o swoll_arm64_bpfel.o

// Object returns the bytes of the built-in BPF object, which LoadSwoll parses. They are not
// to be changed.
func Object() []byte { return _SwollBytes }
