// Kernels runs the tests of the node service in other kernels than the host's: it boots
// Debian's in an emulated machine that has cgroup v2 alone, with the tests, the programs
// under test and a shell in its memory, and nothing else. What it downloads it keeps in
// the user's cache directory, below swoll/kernels.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// core names the tests that show that the recorder is exact, sees first calls, sees
// deaths, and survives its service; and what of the kernel's differs between versions.
const core = "^(TestExact|TestFirstCall|TestCrash|TestCrashV1|TestCrashesAtOnce|TestRingsComeBack|TestKilledService|" +
	"TestUninstall|TestNotPinned|TestFreezeAndThaw|TestStrangeCalls|TestManyBlockedThreads|TestDeaths|Test.*ThreadsEnd|TestUring.*|TestStack)$"

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "kernels: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	names := flag.String("kernels", "6.1,6.12", "the `versions` to boot")
	tests := flag.String("run", core, "a `pattern` of tests of cmd/swolld")
	limit := flag.Duration("timeout", 15*time.Minute, "how long one kernel may take")
	cpus := flag.Int("cpus", 2, "CPUs of the emulated machine; the tests need two")
	verbose := flag.Bool("v", false, "also show the tests that pass")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; try: -help", flag.Arg(0))
	}
	if runtime.GOARCH != "amd64" {
		return errors.New("the emulated machine is amd64, and so must this one be: what runs there is built here")
	}
	if _, err := os.Stat("cmd/swolld"); err != nil {
		return fmt.Errorf("run this at the top of the source tree: %w", err)
	}

	dir, err := os.MkdirTemp("", "swoll-kernels-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	initramfs := filepath.Join(dir, "initramfs")
	if err := buildInitramfs(dir, initramfs); err != nil {
		return err
	}
	var failed []error
	for _, name := range strings.Split(*names, ",") {
		image, err := kernelImage(name)
		if err != nil {
			return err
		}
		m := machine{
			name: name, kernel: image, initramfs: initramfs, dir: dir, cpus: *cpus, limit: *limit,
			// One after the other: what the machine is slow at anyway is all they would share.
			args: []string{"-test.run=" + *tests, "-test.parallel=1", fmt.Sprintf("-test.timeout=%v", *limit)},
		}
		if *verbose {
			m.args = append(m.args, "-test.v")
		}
		begin := time.Now()
		if err := m.run(); err != nil {
			failed = append(failed, fmt.Errorf("under Linux %s: %w", name, err))
			continue
		}
		fmt.Printf("ok   Linux %s, in %v\n", name, time.Since(begin).Round(time.Second))
	}
	return errors.Join(failed...)
}

// command runs a program of the host's that must succeed.
func command(argv ...string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}
