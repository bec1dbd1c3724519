package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// initScript is the machine's first process.
//
//go:embed init.sh
var initScript []byte

// buildInitramfs builds the tests, the service and the programs that the tests run, all
// static, and packs them with a shell. dir is for what lies in between.
func buildInitramfs(dir, to string) error {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("%w; try: apt-get install busybox-static", err)
	}
	tests, programs := filepath.Join(dir, "swolld.test"), filepath.Join(dir, "programs")
	if err := os.Mkdir(programs, 0o755); err != nil {
		return err
	}
	if err := os.Setenv("CGO_ENABLED", "0"); err != nil {
		return err
	}
	if err := command("go", "test", "-c", "-ldflags=-s -w", "-o", tests, "./cmd/swolld"); err != nil {
		return err
	}
	if err := command("go", "build", "-ldflags=-s -w", "-o", programs+"/", "./cmd/swolld", "./cmd/swoll-dump"); err != nil {
		return err
	}
	sources, err := filepath.Glob("testdata/programs/*.c")
	if err != nil {
		return err
	}
	for _, source := range sources {
		program := filepath.Join(programs, strings.TrimSuffix(filepath.Base(source), ".c"))
		// As the tests do it.
		if err := command("gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program, source); err != nil {
			return err
		}
	}

	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	a := &archive{w: bufio.NewWriter(f)}
	for _, d := range []string{"bin", "dev", "etc", "proc", "sys", "tests", "tests/programs", "tmp"} {
		a.add(d, 0o40755, nil)
	}
	a.device("dev/console", 0o20600, 5, 1)
	a.add("init", 0o100755, initScript)
	a.add("bin/busybox", 0o100755, busybox)
	a.add("bin/sh", 0o120777, []byte("busybox"))
	a.add("etc/passwd", 0o100644, []byte("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"))
	a.add("etc/group", 0o100644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	a.file("tests/swolld.test", tests)
	entries, err := os.ReadDir(programs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		a.file("tests/programs/"+e.Name(), filepath.Join(programs, e.Name()))
	}
	return a.close()
}

// An archive is one in cpio's "newc" format, which the kernel unpacks at boot: for each
// file a head of hexadecimal numbers, its name, and its content, padded to 4 bytes. It
// keeps the first error.
type archive struct {
	w     *bufio.Writer
	inode int
	at    int
	err   error
}

// add adds a file; mode has its type. The content of a symbolic link is where it leads.
func (a *archive) add(name string, mode int, content []byte) { a.entry(name, mode, content, 0, 0) }

func (a *archive) device(name string, mode, major, minor int) {
	a.entry(name, mode, nil, major, minor)
}

func (a *archive) file(name, path string) {
	data, err := os.ReadFile(path)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.add(name, 0o100755, data)
}

func (a *archive) entry(name string, mode int, content []byte, major, minor int) {
	a.inode++
	// inode, mode, uid, gid, links, mtime, size, device, device of a node, name, check sum
	a.write(fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0, name))
	a.pad()
	a.write(string(content))
	a.pad()
}

func (a *archive) write(s string) {
	n, err := io.WriteString(a.w, s)
	if a.at += n; err != nil && a.err == nil {
		a.err = err
	}
}

func (a *archive) pad() { a.write("\x00\x00\x00"[:-a.at&3]) }

func (a *archive) close() error {
	a.add("TRAILER!!!", 0, nil)
	if err := a.w.Flush(); a.err == nil {
		a.err = err
	}
	return a.err
}
