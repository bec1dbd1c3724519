package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxThreads     = 4  // of the threads row; fewer on fewer CPUs
	slicesPerRound = 11 // odd, so that a round's figure is one that was measured
	treeFiles      = 2000
	highest        = -20                   // nice value
	tracefs        = "/sys/kernel/tracing" // where perf and bpftrace look, too
)

// A harness is the place where measurements are made: the worker, its cgroups, and
// files for it to open.
type harness struct {
	ctx    context.Context
	cpus   []int // that are measured on
	slice  time.Duration
	swolld string // path of the service
	other  string // path of another one, to compare with; "": there is none
	worker *worker
	floor  *floorObjects
	dir    string // of temporary files; a tmpfs that nobody else sees
	cgroup string // parent of the cgroups below
	watch  string // cgroup below which swolld records
	plain  string // cgroup that the worker is in when it is not recorded
}

// mark names what a harness makes outside its own mounts.
func mark(pid int) string { return fmt.Sprintf("swollbench-%d", pid) }

// sweep removes what killed harnesses left in a directory: an ftrace instance left
// behind would burden every system call of the machine.
func sweep(dir string, below ...string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), "swollbench-%d", &pid); err != nil || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		for _, b := range append(below, "") {
			unix.Rmdir(filepath.Join(dir, e.Name(), b))
		}
	}
	return nil
}

func newHarness(ctx context.Context, cpus []int, swolld, other string) (_ *harness, err error) {
	h := &harness{ctx: ctx, cpus: cpus, swolld: swolld, other: other}
	defer func() {
		if err != nil {
			h.close()
		}
	}()

	if err := sweep(os.TempDir()); err != nil {
		return nil, err
	}
	dir := filepath.Join(os.TempDir(), mark(os.Getpid()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	h.dir = dir
	if err := unix.Mount("swollbench", h.dir, "tmpfs", 0, "mode=0755"); err != nil {
		return nil, fmt.Errorf("mount a tmpfs on %s: %w", h.dir, err)
	}
	if err := os.MkdirAll(tracefs, 0o755); err != nil {
		return nil, err
	}
	// bpftrace and perf look for it here.
	if err := unix.Mount("tracefs", tracefs, "tracefs", 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("mount tracefs on %s: %w", tracefs, err)
	}
	if err := sweep(filepath.Join(tracefs, "instances")); err != nil {
		return nil, err
	}
	if err := h.makeFiles(); err != nil {
		return nil, err
	}
	if err := h.makeCgroups(); err != nil {
		return nil, err
	}
	h.floor = new(floorObjects)
	if err := loadFloorObjects(h.floor, nil); err != nil {
		return nil, fmt.Errorf("load the empty programs: %w", err)
	}
	if h.worker, err = startWorker(cpus); err != nil {
		return nil, err
	}
	if err := h.moveWorker(h.plain); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *harness) close() {
	if h.worker != nil {
		h.worker.stop()
	}
	if h.floor != nil {
		h.floor.Close()
	}
	for _, c := range []string{h.watch, h.plain, h.cgroup} {
		if c != "" {
			unix.Rmdir(c)
		}
	}
	if h.dir != "" {
		unix.Unmount(h.dir, unix.MNT_DETACH)
		os.Remove(h.dir)
	}
}

// file is the file that openclose opens; the length of its path is about what programs
// open most.
func (h *harness) file() string    { return filepath.Join(h.dir, "etc/app/conf.d/settings.yaml") }
func (h *harness) tree() string    { return filepath.Join(h.dir, "tree") }
func (h *harness) archive() string { return filepath.Join(h.dir, "tree.tar") }

// makeFiles makes the file to open and the tree to archive: 2,000 files of up to 8 KiB
// in 50 directories, the same in every run.
func (h *harness) makeFiles() error {
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, 8192)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	files := map[string][]byte{h.file(): []byte("listen: :8080\n")}
	for i := range treeFiles {
		name := filepath.Join(h.tree(), fmt.Sprintf("package-%02d/source_%04d.go", i%50, i))
		files[name] = content[:random.IntN(len(content))]
	}
	for name, data := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) makeCgroups() error {
	root, err := cgroupRoot()
	if err != nil {
		return err
	}
	if err := sweep(root, "watched/bench", "watched", "plain"); err != nil {
		return err
	}
	h.cgroup = filepath.Join(root, mark(os.Getpid()))
	h.watch = filepath.Join(h.cgroup, "watched")
	h.plain = filepath.Join(h.cgroup, "plain")
	for _, c := range []string{h.cgroup, h.watch, h.plain} {
		if err := os.Mkdir(c, 0o755); err != nil {
			return fmt.Errorf("make a cgroup: %w", err)
		}
	}
	return nil
}

// cgroupRoot finds the mount of cgroup v2.
func cgroupRoot() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for s := bufio.NewScanner(bytes.NewReader(mounts)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 2 && f[2] == "cgroup2" {
			return f[1], nil
		}
	}
	return "", errors.New("cgroup v2 is not mounted. Try: mount -t cgroup2 none /sys/fs/cgroup")
}

// moveWorker puts the worker, with all its threads, into a cgroup.
func (h *harness) moveWorker(cgroup string) error {
	pid := fmt.Sprint(h.worker.cmd.Process.Pid)
	if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(pid), 0); err != nil {
		return fmt.Errorf("move the worker: %w", err)
	}
	return nil
}

// measure has the worker measure a row once.
func (h *harness) measure(r row) (result, error) {
	threads := 1
	if r.name == threadsRow {
		threads = len(h.cpus)
	}
	return h.worker.do(order{
		Row: r.name, Threads: threads, Slices: slicesPerRound, Slice: h.slice,
		File: h.file(), Tree: h.tree(), Archive: h.archive(),
	})
}

// measureRow measures a row once under each column of the table. What fails is noted, and
// the columns of its stage are left out from then on. So is a row that lacks a program.
func (h *harness) measureRow(t *table, round int, r row) {
	if err := missing(r.needs); err != nil {
		t.broken[r.name] = err.Error()
		return
	}
	if r.name == redisRow {
		h.measureRedis(t, round, r)
		return
	}
	if load := loads[r.name]; load != nil {
		h.measureHistory(t, round, r, load)
		return
	}
	for i := range stages {
		// Begin with another stage in each round.
		s := stages[(i+round)%len(stages)]
		want := map[string]column{}
		for _, c := range t.columns {
			if c.stage == s.name && t.broken[c.name] == "" {
				want[c.name] = c
			}
		}
		if len(want) == 0 {
			continue
		}
		err := missing(s.needs)
		if err == nil {
			err = s.run(h, func(column string) (result, error) {
				c, ok := want[column]
				if !ok {
					return result{}, nil
				}
				res, err := h.measure(r)
				if err == nil {
					t.add(round, r, c, res.Value, res.Least)
				}
				return res, err
			})
		}
		if h.ctx.Err() != nil {
			return
		}
		if err != nil {
			for name := range want {
				t.broken[name] = err.Error()
			}
		}
	}
}
