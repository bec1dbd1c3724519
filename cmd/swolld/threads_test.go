package main_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestManyBlockedThreads: however many threads are blocked, each one's call is in a dump,
// unfinished, with how long it has been running; and when they are killed inside of
// them, all that the recorder held for them is free again.
func TestManyBlockedThreads(t *testing.T) {
	t.Parallel()
	const threads = 2100
	s := prepareService(t, unified(t))
	// The kernel charges what the maps allocate to the cgroup of who made them: with
	// the service in a memory cgroup of its own, that is what we look at.
	kernelMemory := s.startInMemoryCgroup()
	base := kernelMemory()
	descriptors := s.descriptors()
	maps := s.pinned()

	blocked := func(i int) (peak int64) {
		began := time.Now()
		c := s.container(fmt.Sprint("blocked-", i))
		p := c.start(program(t, "blocked"), strconv.Itoa(threads))
		p.expect("ready")
		tids := map[int]bool{}
		for _, tid := range p.tids() {
			tids[tid] = true
		}
		if len(tids) != threads+1 {
			t.Fatalf("%d threads, want %d", len(tids), threads+1)
		}
		eventually(t, "all threads blocked", func() error { return allBlocked(p) })

		lines := s.text(c.name, "")
		calls, _, err := parseText(lines)
		if err != nil {
			t.Fatal(err)
		}
		shown := map[int]string{}
		for _, call := range calls {
			if !call.unfinished {
				continue
			}
			if shown[call.tid] != "" {
				t.Errorf("thread %d is shown in two running calls, %s and %s", call.tid, shown[call.tid], call.name)
			}
			shown[call.tid] = call.name
		}
		names := map[string]int{}
		for tid := range tids {
			names[shown[tid]]++
		}
		for _, name := range []string{"futex", "read", "clock_nanosleep"} {
			if names[name] < threads/3 {
				t.Errorf("%d threads are shown in %s, want %d", names[name], name, threads/3)
			}
		}
		if names[""] != 0 {
			t.Errorf("%d of %d threads are not shown in a running call", names[""], len(tids))
		}
		// How long is in the verdict, which tells of what runs.
		var verdict struct {
			Running []struct {
				TID     int
				Call    string
				Seconds float64
			}
		}
		unmarshal(t, s.get("/v1/pods/host/"+c.name+"/explain?format=json"), &verdict)
		if len(verdict.Running) != len(tids) {
			t.Errorf("the verdict tells of %d running calls, want %d", len(verdict.Running), len(tids))
		}
		for _, r := range verdict.Running {
			if !tids[r.TID] || r.Call != shown[r.TID] || r.Seconds <= 0 || r.Seconds > time.Since(began).Seconds() {
				t.Errorf("thread %d, shown in %s: the verdict says %+v", r.TID, shown[r.TID], r)
				break
			}
		}
		running := 0
		for _, e := range s.dump(c.name, "") {
			if e.Syscall != nil && e.Finish == nil {
				running++
				if e.Return != nil || e.Start == 0 {
					t.Errorf("a running call: %v", &e)
				}
			}
		}
		if running != len(tids) {
			t.Errorf("as JSON, %d calls are running, want %d", running, len(tids))
		}
		peak = kernelMemory()
		p.kill()
		s.waitSnapshot(c.name)
		removeCgroup(t, c.dir)
		return peak
	}

	peak := blocked(0)
	cost := peak - base
	if cost < threads*100 {
		t.Errorf("%d blocked threads cost %d bytes of kernel memory: the measure does not see them", threads, cost)
	}
	// The kernel keeps freed elements for the next ones, on each CPU that frees some: that
	// is bounded by what all CPUs would keep of one round. A leak is not.
	cpus := int64(runtime.NumCPU())
	for i := range int(cpus) + 3 {
		blocked(1 + i)
	}
	var after int64
	eventually(t, "the memory of the killed threads' calls is free", func() error {
		after = kernelMemory()
		if after-base > (cpus+1)*cost {
			return fmt.Errorf("%d bytes at first, %d more for one round of threads, %d after %d rounds", base, cost, after, cpus+4)
		}
		return nil
	})
	t.Logf("kernel memory of the service: %d bytes, %d more with %d blocked threads, %d after %d rounds of them",
		base, cost, threads, after, cpus+4)
	if got := s.pinned(); got != maps {
		t.Errorf("pinned objects before and after:\n%s\n%s", maps, got)
	}
	eventually(t, "the service's descriptors are closed", func() error {
		if now := s.descriptors(); now > descriptors+5 {
			return fmt.Errorf("%d descriptors, %d at first", now, descriptors)
		}
		return nil
	})
}

// allBlocked tells whether every thread of a process sleeps in a system call.
func allBlocked(p *process) error {
	for _, tid := range p.tids() {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", p.pid, tid))
		if err != nil {
			return err
		}
		if nr, _, _ := strings.Cut(string(data), " "); nr == "running\n" || nr == "-1" {
			return fmt.Errorf("thread %d is running", tid)
		}
	}
	return nil
}

// startInMemoryCgroup starts the service inside a memory cgroup of its own, and returns a
// function that tells the kernel memory charged to it, in bytes.
func (s *service) startInMemoryCgroup() func() int64 {
	s.t.Helper()
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		return data
	}
	root, legacyRoot := unified(s.t), legacy(s.t, "memory")
	if legacyRoot != "" {
		root = legacyRoot
	} else if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
		s.t.Fatal(err)
	}
	dir := makeCgroup(s.t, root)
	s.t.Cleanup(func() { // before the cgroup is removed
		if s.cmd != nil {
			s.stop()
		}
	})
	s.startUnder("/bin/sh", "-c", `echo $$ > "$0/cgroup.procs"; exec "$@"`, dir)
	return func() int64 {
		if legacyRoot != "" {
			n, err := strconv.ParseInt(string(bytes.TrimSpace(read(filepath.Join(dir, "memory.kmem.usage_in_bytes")))), 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
		for _, line := range strings.Split(string(read(filepath.Join(dir, "memory.stat"))), "\n") {
			if value, ok := strings.CutPrefix(line, "kernel "); ok {
				n, err := strconv.ParseInt(value, 10, 64)
				if err != nil {
					s.t.Fatal(err)
				}
				return n
			}
		}
		s.t.Fatal("memory.stat has no line kernel")
		return 0
	}
}

// descriptors counts the open files of the service.
func (s *service) descriptors() int {
	s.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(entries)
}

// pinned lists what is pinned, one name a line.
func (s *service) pinned() string {
	s.t.Helper()
	var names []string
	dir := filepath.Dir(s.pins)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && path != dir {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Join(names, "\n")
}
