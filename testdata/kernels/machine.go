package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// marker begins the line that the first process writes when the tests have ended; their
// exit status follows.
const marker = "SWOLL-TESTS-EXIT "

// A machine is an emulated computer that runs the tests and is switched off.
type machine struct {
	name      string
	kernel    string
	initramfs string
	dir       string // for the kernel's messages
	cpus      int
	limit     time.Duration
	args      []string // for the tests
}

// errNoBoot says that the kernel died before its first process ran: nothing of ours was
// loaded yet.
var errNoBoot = errors.New("the machine did not boot")

// boots is how often a machine is switched on until it boots. Now and then an emulated one
// does not.
const boots = 3

// run boots the machine, prints what the tests say, and returns nil if they passed.
func (m machine) run() error {
	for n := 1; ; n++ {
		err := m.runOnce()
		if n == boots || !errors.Is(err, errNoBoot) {
			return err
		}
		fmt.Printf("%s| did not boot, is switched on again\n", m.name)
	}
}

func (m machine) runOnce() error {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return fmt.Errorf("%w; try: apt-get install qemu-system-x86", err)
	}
	// Beyond the tests' own limit, so that they can say what hangs.
	ctx, cancel := context.WithTimeout(context.Background(), m.limit+time.Minute)
	defer cancel()
	console := filepath.Join(m.dir, "console-"+m.name)
	// An oops is the end, and the end is a failure.
	cmdline := "console=ttyS0 loglevel=4 oops=panic panic=-1 -- " + strings.Join(m.args, " ")
	// All CPUs take turns in one thread of this machine: in threads of their own, one can go
	// on with code that another has just patched, and the kernel dies of the breakpoint
	// that it put there for the while. Attaching to system calls patches their path.
	cmd := exec.CommandContext(ctx, qemu,
		"-accel", "tcg,thread=single", "-machine", "q35", "-cpu", "max", "-smp", strconv.Itoa(m.cpus), "-m", "4G",
		"-kernel", m.kernel, "-initrd", m.initramfs, "-append", cmdline,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "file:"+console, "-serial", "stdio")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", qemu, err)
	}
	status, booted := -1, false
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, marker); ok {
			if status, err = strconv.Atoi(strings.TrimSpace(rest)); err != nil {
				status = -1
			}
			continue
		}
		if line != "" {
			booted = true
			fmt.Printf("%s| %s\n", m.name, strings.TrimRight(line, "\r\n"))
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("not done within %v", m.limit)
	case status == 0 && err == nil:
		return nil
	case status > 0:
		return fmt.Errorf("the tests ended with exit status %d", status)
	case !booted:
		err = errNoBoot
	case err == nil:
		err = errors.New("the machine stopped before the tests had ended")
	}
	messages, readErr := os.ReadFile(console)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	const most = 4000
	return fmt.Errorf("%w; the kernel's last messages:\n%s", err, messages[max(0, len(messages)-most):])
}
