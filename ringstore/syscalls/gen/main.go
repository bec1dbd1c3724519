// Gen writes the Go tables of package syscalls from kernel.txt, calls.txt and
// values.txt. With -refresh it writes kernel.txt anew first, from the running kernel
// and the headers installed here; this needs tracefs and a C preprocessor, and is done
// when a new kernel brings new calls.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	os.Exit(run())
}

func run() int {
	dir := flag.String("dir", ".", "directory of package syscalls")
	again := flag.Bool("refresh", false, "write kernel.txt from the running kernel, and ioctls.txt from the headers first")
	tracefs := flag.String("tracefs", "/sys/kernel/tracing", "where tracefs is mounted")
	arm64 := flag.String("arm64", "/usr/aarch64-linux-gnu/include", "kernel headers of arm64 (Debian: linux-libc-dev-arm64-cross)")
	include := flag.String("include", "/usr/include", "kernel headers of this machine")
	flag.Parse()
	path := func(name string) string { return filepath.Join(*dir, name) }
	if *again {
		if err := refresh(path("kernel.txt"), path("gen/supplement.txt"), *tracefs, *arm64); err != nil {
			fmt.Fprintln(os.Stderr, "gen: refresh:", err)
			return 1
		}
		if err := ioctls(path("ioctls.txt"), *include); err != nil {
			fmt.Fprintln(os.Stderr, "gen: refresh:", err)
			return 1
		}
	}
	source, err := generate(path("kernel.txt"), path("calls.txt"), path("values.txt"), path("ioctls.txt"))
	if err == nil {
		err = os.WriteFile(path("tables.go"), source, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		return 1
	}
	return 0
}
