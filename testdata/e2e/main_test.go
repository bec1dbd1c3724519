package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests run in a process inside of the namespaces, under one outside of them that
// builds what is needed before, and clears away what is left afterwards. They know which
// of the two they are from this variable; it holds the path of the cluster's programs.
const insideVariable = "SWOLL_E2E_CLUSTER"

// ownDir, on the machine, is where the outer process leaves word to the next one. It is
// gone after a boot, as is what it tells of.
const ownDir = "/run/swoll-e2e"

// ownCgroup holds all processes of a run but those of containers, which the kubelet puts
// below podCgroup.
const (
	ownCgroup = "swoll-e2e"
	podCgroup = "kubepods"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if cluster := os.Getenv(insideVariable); cluster != "" {
		os.Exit(inside(m, cluster))
	}
	status, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

// outside runs the tests in a process of their own.
func outside() (int, error) {
	if os.Getuid() != 0 {
		return 1, errors.New("a cluster cannot be run by an ordinary user. Try: as root")
	}
	for _, tool := range []string{"containerd", "runc", "ip", "gcc", "busybox"} {
		if _, err := exec.LookPath(tool); err != nil {
			return 1, fmt.Errorf("%w. Try: make packages", err)
		}
	}
	if err := os.MkdirAll(ownDir, 0o700); err != nil {
		return 1, err
	}
	lock, err := os.OpenFile(filepath.Join(ownDir, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return 1, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return 1, fmt.Errorf("these tests run on this machine already (%s: %w). Try: wait for them", lock.Name(), err)
	}
	if err := sweep(); err != nil {
		return 1, fmt.Errorf("clearing away what an earlier run left: %w", err)
	}

	build := exec.Command("sh", "../cluster/build.sh")
	build.Stderr = os.Stderr
	program, err := build.Output()
	if err != nil {
		return 1, fmt.Errorf("building the cluster's programs: %w", err)
	}

	// Orphans of the tests become children of this process: shims and containers leave
	// their parents.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, err
	}
	if err := makeOwnCgroup(); err != nil {
		return 1, err
	}
	// The inner process dies with the thread that made it.
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideVariable+"="+strings.TrimSpace(string(program)))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Pdeathsig:    syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("starting the tests in namespaces of their own: %w", err)
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	status := 1
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 1, err
		}
		if pid == cmd.Process.Pid {
			if ws.Exited() {
				status = ws.ExitStatus()
			}
			break
		}
	}
	if err := killChildren(); err != nil {
		return status, err
	}
	return status, sweep()
}

// killChildren ends all descendants of this process that are left.
func killChildren() error {
	deadline := time.Now().Add(patience)
	for {
		// Who loses its parent becomes a child of this process, so all are found at last.
		for _, pid := range childrenOf(os.Getpid()) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		_, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.ECHILD {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not die", childrenOf(os.Getpid()))
		}
		time.Sleep(time.Millisecond)
	}
}

func childrenOf(parent int) []int {
	var children []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// The name, in parentheses, may hold anything.
		_, rest, _ := strings.Cut(string(data[strings.LastIndexByte(string(data), ')')+1:]), " ")
		f := strings.Fields(rest)
		if len(f) > 1 && f[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			children = append(children, pid)
		}
	}
	return children
}

// ---- cgroups

// podsMark tells, when it is there, that the cgroups of pods on this machine are of these
// tests, and none of a cluster that somebody uses.
var podsMark = filepath.Join(ownDir, "owns-"+podCgroup)

// makeOwnCgroup moves this process to a cgroup of its own, in one hierarchy, so that a later
// run finds what this one leaves if it is killed.
func makeOwnCgroup() error {
	mounts := cgroupMounts()
	if len(mounts) == 0 {
		return errors.New("no cgroups are mounted. Try: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
	}
	for _, mount := range mounts {
		if pids := pidsBelow(filepath.Join(mount, podCgroup)); len(pids) > 0 {
			return fmt.Errorf("pods are running on this machine already: %s has processes %v. Try: on a machine that is no cluster's node",
				filepath.Join(mount, podCgroup), pids)
		}
	}
	if err := os.WriteFile(podsMark, nil, 0o600); err != nil {
		return err
	}
	dir := filepath.Join(mounts[0], ownCgroup)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644)
}

// sweep removes what a run of these tests left on the machine: processes, and cgroups.
func sweep() error {
	mounts := cgroupMounts()
	_, err := os.Stat(podsMark)
	ours := err == nil
	deadline := time.Now().Add(patience)
	for _, mount := range mounts {
		dirs := []string{filepath.Join(mount, ownCgroup)}
		if ours {
			dirs = append(dirs, filepath.Join(mount, podCgroup))
		}
		for _, dir := range dirs {
			for {
				for _, pid := range pidsBelow(dir) {
					if pid != os.Getpid() {
						syscall.Kill(pid, syscall.SIGKILL)
						continue
					}
					if err := os.WriteFile(filepath.Join(mount, "cgroup.procs"), []byte("0"), 0o644); err != nil {
						return err
					}
				}
				err := removeCgroups(dir)
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					return err
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	if err := os.Remove(podsMark); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// removeCgroups removes a cgroup and those below it.
func removeCgroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroups(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// pidsBelow lists the processes of a cgroup and of those below it.
func pidsBelow(dir string) []int {
	var pids []int
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, f := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// cgroupMounts lists where hierarchies of cgroups are mounted, that of version 2 first.
func cgroupMounts() []string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var v1, v2 []string
	for _, line := range strings.Split(string(data), "\n") {
		front, back, _ := strings.Cut(line, " - ")
		f, kind := strings.Fields(front), strings.Fields(back)
		switch {
		case len(f) < 5 || len(kind) < 1:
		case kind[0] == "cgroup2":
			v2 = append(v2, f[4])
		case kind[0] == "cgroup":
			v1 = append(v1, f[4])
		}
	}
	return append(v2, v1...)
}
