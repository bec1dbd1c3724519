package main_test

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// snapshotEvents is the whole history in a snapshot.
func (s *service) snapshotEvents(id string) []event {
	s.t.Helper()
	return s.events("/v1/snapshots/" + id + "/dump?format=json&all=true")
}

// deathNumbers returns the numbers of the calls that the program "death" makes before it
// dies, in the order of the dump.
func deathNumbers(t testing.TB, events []event) []int64 {
	t.Helper()
	var numbers []int64
	for _, e := range events {
		if e.name() != "lseek" || e.Error != "EBADF" || integer(t, e.Args["fd"]) != -1 {
			continue
		}
		numbers = append(numbers, integer(t, e.Args["offset"]))
	}
	return numbers
}

// integer is an argument of a JSON dump that is a number.
func integer(t testing.TB, arg any) int64 {
	t.Helper()
	switch v := arg.(type) {
	case float64:
		return int64(v)
	case string:
		n, err := strconv.ParseInt(v, 0, 64)
		if err == nil {
			return n
		}
	}
	t.Fatalf("argument %v (%T) is not an integer", arg, arg)
	return 0
}

func upTo(n int64) []int64 {
	var all []int64
	for i := range n {
		all = append(all, i)
	}
	return all
}

// checkDeath checks the history of a death: the numbered calls before it are all there and
// in order, and no call that began after it. pid is the process that died.
func checkDeath(t testing.TB, events []event, pid int) {
	t.Helper()
	if diff := cmp.Diff(upTo(100), deathNumbers(t, events)); diff != "" {
		t.Errorf("the calls before the death (want -, got +):\n%s", diff)
	}
	// The death is the delivery of the fatal signal or, where there is none, the end of
	// the process's last thread.
	var death *event
	for i, e := range events {
		if e.PID == pid && (e.Event == "exit" || e.Event == "oom") {
			death = &events[i]
		}
	}
	if i := indexOf(events, func(e event) bool { return e.PID == pid && e.Event == "signal" }); i >= 0 {
		death = &events[i]
	}
	if death == nil {
		t.Errorf("neither a signal nor an exit of process %d is there; the last events: %v", pid, events[max(0, len(events)-5):])
		return
	}
	for _, e := range events {
		if e.Syscall != nil && e.Start > death.Start {
			t.Errorf("a call %.6f s after the death: %v", float64(e.Start-death.Start)/1e9, &e)
			return
		}
	}
}

// logDelay logs how long the service needed from a death to its snapshot, and fails where it
// is far beyond the second that is promised; the slack is for busy machines.
func logDelay(t testing.TB, p *process) {
	t.Helper()
	delay := time.Since(p.died)
	t.Logf("snapshot listed %v after the end of the process was seen", delay.Round(time.Millisecond))
	if delay > 5*time.Second*slowness {
		t.Errorf("the snapshot came after %v", delay)
	}
}

// TestCrash: each kind of bad death leaves one snapshot, by itself, soon, with the right
// trigger, exit code and signal, with the last calls before the death, and nothing after
// it, though other threads go on until they are killed.
func TestCrash(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, c := range []struct {
		how     string
		trigger string
		code    int
		signal  string
		kill    syscall.Signal // sent from outside
	}{
		{"segv", "signal", 139, "SIGSEGV", 0},
		{"abort", "signal", 134, "SIGABRT", 0},
		{"exit", "exit", 3, "", 0},
		{"wait", "signal", 137, "SIGKILL", syscall.SIGKILL},
		{"wait", "signal", 143, "SIGTERM", syscall.SIGTERM},
		{"oom", "oom", 137, "SIGKILL", 0},
	} {
		for _, noise := range []int{0, 3} {
			name := fmt.Sprintf("%s-%d-%d", c.how, c.code, noise)
			t.Run(name, func(t *testing.T) {
				s := s.in(t)
				cg := s.container(name)
				// The noise goes to another lane than the numbered calls.
				p := cg.start(program(t, "death"), c.how, strconv.Itoa(noise))
				p.expect("ready")
				if c.how == "oom" {
					limitMemory(t, cg, p.pid, 24<<20)
				}
				p.send()
				if c.kill != 0 {
					p.expect("waiting")
					eventually(t, "the process is in its call", func() error { return inCall(p.pid, unix.SYS_PAUSE) })
					p.cmd.Process.Signal(c.kill)
				}
				p.wait()
				snap := s.waitSnapshot(name)
				logDelay(t, p)
				checkSnapshot(t, snap, c.trigger, c.code, c.signal)
				events := s.snapshotEvents(snap.ID)
				checkDeath(t, events, p.pid)
				if c.kill != 0 {
					checkInterrupted(t, events, p.pid)
				}
			})
		}
	}

	t.Run("clean", func(t *testing.T) {
		s := s.in(t)
		cg := s.container("clean")
		p := cg.start(program(t, "death"), "clean")
		p.expect("ready")
		p.send()
		p.wait()
		eventually(t, "state exited", func() error {
			if state := s.ring("clean").State; state != "exited" {
				return fmt.Errorf("state is %s", state)
			}
			return nil
		})
		if snaps := s.snapshots("clean"); len(snaps) != 0 {
			t.Errorf("a clean exit left snapshots: %+v", snaps)
		}
		if diff := cmp.Diff(upTo(100), deathNumbers(t, s.dump("clean", "all=true"))); diff != "" {
			t.Errorf("the history of a container that has exited:\n%s", diff)
		}
	})
}

// TestEveryThreadsEnd: when the threads of a process end at one moment, each one's end is in the
// history, once, and one of them, the last, is the end of the process; also where the process's
// end freezes the ring.
func TestEveryThreadsEnd(t *testing.T) {
	t.Parallel()
	const processes = 100
	// Large enough that no CPU shares a lane's cursor with another, which may cost records.
	ring := 256 << bits.Len(uint(runtime.NumCPU()-1))
	s := newService(t, "--memory", fmt.Sprint(processes*ring, "KiB"), "--ring-size", fmt.Sprint(ring, "KiB"))
	for n := range processes {
		name, threads, status := fmt.Sprint("leave-", n), 2+n/2%3, n%2
		s.container(name).start(program(t, "leave"), strconv.Itoa(threads), strconv.Itoa(status)).wait()
		var events []event
		if status != 0 {
			events = s.snapshotEvents(s.waitSnapshot(name).ID)
		} else {
			eventually(t, "its end is seen", func() error {
				if state := s.ring(name).State; state != "exited" {
					return fmt.Errorf("state is %s", state)
				}
				return nil
			})
			events = s.dump(name, "all=true")
		}
		checkEnds(t, name, events, threads)
	}
}

// TestEarlierThreadsEnd: the same for threads that were there before recording began, when they
// are killed in their calls.
func TestEarlierThreadsEnd(t *testing.T) {
	t.Parallel()
	const threads = 60
	s := prepareService(t, unified(t))
	p := s.container("early").start(program(t, "blocked"), strconv.Itoa(threads-1))
	p.expect("ready")
	eventually(t, "all threads blocked", func() error { return allBlocked(p) })
	s.start()
	p.kill()
	checkEnds(t, "early", s.snapshotEvents(s.waitSnapshot("early").ID), threads)
}

// checkEnds: so many threads end, each once, and one of them is the last one.
func checkEnds(t testing.TB, name string, events []event, threads int) {
	t.Helper()
	ends, last := map[int]int{}, 0
	for _, e := range events {
		if e.Event == "exit" {
			ends[e.TID]++
			if e.LastThread {
				last++
			}
		}
	}
	once := len(ends) == threads && last == 1
	for _, n := range ends {
		once = once && n == 1
	}
	if !once {
		t.Errorf("%s: of %d threads' ends there are, by thread: %v; %d are said to be the last", name, threads, ends, last)
	}
}

// checkSnapshot checks what a snapshot's metadata says of the death.
func checkSnapshot(t testing.TB, snap snapshot, trigger string, code int, signal string) {
	t.Helper()
	got := fmt.Sprintf("trigger %s", snap.Trigger)
	if snap.ExitCode != nil {
		got += fmt.Sprintf(", exit code %d", *snap.ExitCode)
	}
	if snap.Signal != nil {
		got += ", " + *snap.Signal
	}
	want := fmt.Sprintf("trigger %s, exit code %d", trigger, code)
	if signal != "" {
		want += ", " + signal
	}
	if got != want {
		t.Errorf("the snapshot says %s, want %s", got, want)
	}
	if snap.Namespace == "" || snap.ID == "" || snap.Bytes == 0 || snap.Records == 0 {
		t.Errorf("the snapshot's metadata is not filled: %+v", snap)
	}
}

// checkInterrupted: the call that a process was killed in is shown as one that did not end,
// never as one that failed.
func checkInterrupted(t testing.TB, events []event, pid int) {
	t.Helper()
	for _, e := range events {
		if e.name() == "pause" && e.TID == pid {
			if e.Return != nil && *e.Return >= 0 || e.Error != "OK" && !strings.HasPrefix(e.Error, "ERESTART") && e.Error != "" {
				t.Errorf("the call that was interrupted by the death: %v", &e)
			}
			return
		}
	}
	t.Errorf("the call that process %d was killed in is not there", pid)
}

// inCall tells whether a process's first thread sleeps in this system call.
func inCall(pid, nr int) error {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	if err != nil {
		return err
	}
	if got, _, _ := strings.Cut(string(data), " "); got != strconv.Itoa(nr) {
		return fmt.Errorf("it is in %q", data)
	}
	return nil
}

// limitMemory moves a process into a memory cgroup with a limit: the container's own where
// v2 has the memory controller, else one of the v1 hierarchy.
func limitMemory(t testing.TB, c *container, pid int, bytes int) {
	t.Helper()
	set := func(path, value string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	root := legacy(t, "memory")
	if root == "" {
		for _, dir := range []string{unified(t), c.s.watch} {
			set(filepath.Join(dir, "cgroup.subtree_control"), "+memory")
		}
		set(filepath.Join(c.dir, "memory.max"), strconv.Itoa(bytes))
		set(filepath.Join(c.dir, "memory.swap.max"), "0")
		return
	}
	dir := makeCgroup(t, root)
	set(filepath.Join(dir, "memory.limit_in_bytes"), strconv.Itoa(bytes))
	set(filepath.Join(dir, "memory.swappiness"), "0")
	set(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
}

// TestCrashesAtOnce: ten programs that crash at the same moment leave ten whole snapshots.
func TestCrashesAtOnce(t *testing.T) {
	t.Parallel()
	const n = 10
	s := newService(t)
	var ps []*process
	for i := range n {
		p := s.container(fmt.Sprint("at-once-", i)).start(program(t, "death"), "segv")
		p.expect("ready")
		ps = append(ps, p)
	}
	for _, p := range ps {
		p.send()
	}
	var first, last time.Time
	for _, p := range ps {
		p.wait()
		if first.IsZero() || p.died.Before(first) {
			first = p.died
		}
		if p.died.After(last) {
			last = p.died
		}
	}
	t.Logf("%d crashes within %v", n, last.Sub(first).Round(time.Microsecond))
	for i, p := range ps {
		snap := s.waitSnapshot(fmt.Sprint("at-once-", i))
		logDelay(t, p)
		checkSnapshot(t, snap, "signal", 139, "SIGSEGV")
		events := s.snapshotEvents(snap.ID)
		checkDeath(t, events, p.pid)
		for _, e := range events {
			if e.PID != p.pid {
				t.Errorf("the snapshot of process %d has an event of process %d: %v", p.pid, e.PID, &e)
				break
			}
		}
		if i := indexOf(events, func(e event) bool { return e.name() == "execve" && e.Error == "OK" }); i < 0 {
			t.Error("the execve of the program is not in its snapshot")
		}
	}
}

// indexOf is the index of the first event for which f is true, or -1.
func indexOf(events []event, f func(event) bool) int {
	for i, e := range events {
		if f(e) {
			return i
		}
	}
	return -1
}

// TestCrashV1: where containers live in a v1 hierarchy, recordings go by the cgroups of
// that hierarchy, and a death there leaves its snapshot just the same.
func TestCrashV1(t *testing.T) {
	t.Parallel()
	root := legacy(t, "memory")
	if root == "" {
		// Cgroup v2 has no controller of this name, so v1 is always free to have it.
		root = filepath.Join(t.TempDir(), "freezer")
		mount(t, "cgroup", root, 0, "freezer")
	}
	s := prepareService(t, root)
	s.start()
	for _, how := range []string{"segv", "oom"} {
		if how == "oom" && legacy(t, "memory") == "" {
			continue // the memory controller is v2's: TestCrash has this case
		}
		c := s.container("v1-" + how)
		// It enters its cgroup by itself, as runtimes do on v1.
		enter := []string{"/bin/sh", "-c", `echo $$ > "$0/cgroup.procs"; exec "$@"`, c.dir}
		p := startProcess(t, nil, append(enter, program(t, "death"), how)...)
		p.expect("ready")
		if how == "oom" {
			if err := os.WriteFile(filepath.Join(c.dir, "memory.limit_in_bytes"), []byte("25165824"), 0); err != nil {
				t.Fatal(err)
			}
		}
		p.send()
		p.wait()
		snap := s.waitSnapshot(c.name)
		logDelay(t, p)
		if how == "oom" {
			checkSnapshot(t, snap, "oom", 137, "SIGKILL")
		} else {
			checkSnapshot(t, snap, "signal", 139, "SIGSEGV")
		}
		checkDeath(t, s.snapshotEvents(snap.ID), p.pid)
	}
}

// TestSlowDeath: a process whose last thread takes its time, as under a core dump, has its
// snapshot before that; what still comes of it then is no second death, and the next death
// in the container is one again.
func TestSlowDeath(t *testing.T) {
	t.Parallel()
	freezer := legacy(t, "freezer")
	if freezer == "" {
		freezer = filepath.Join(t.TempDir(), "freezer")
		mount(t, "cgroup", freezer, 0, "freezer")
	}
	cold := makeCgroup(t, freezer)
	freeze := func(state string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(cold, "freezer.state"), []byte(state), 0); err != nil {
			t.Fatal(err)
		}
	}
	s := newService(t)
	c := s.container("slow")
	p := c.start(program(t, "death"), "wait", "1")
	p.expect("ready")
	p.send()
	p.expect("waiting")
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.pid))
	if err != nil || len(tasks) != 2 {
		t.Fatalf("tasks %v, %v; want 2", tasks, err)
	}
	// In this freezer not even SIGKILL ends a thread.
	if err := os.WriteFile(filepath.Join(cold, "tasks"), []byte(tasks[1].Name()), 0); err != nil {
		t.Fatal(err)
	}
	freeze("FROZEN")
	defer freeze("THAWED")
	if err := unix.Kill(p.pid, unix.SIGSEGV); err != nil {
		t.Fatal(err)
	}
	snap := s.waitSnapshot(c.name)
	checkSnapshot(t, snap, "signal", 139, "SIGSEGV")
	if state := s.ring(c.name).State; state != "recording" {
		t.Errorf("the container's ring is %s after its snapshot", state)
	}
	freeze("THAWED")
	p.wait()
	next := c.start(program(t, "death"), "abort")
	next.expect("ready")
	next.send()
	next.wait()
	var snaps []snapshot
	eventually(t, "the second process's snapshot", func() error {
		if snaps = s.snapshots(c.name); len(snaps) < 2 {
			return fmt.Errorf("%d snapshots", len(snaps))
		}
		return nil
	})
	if len(snaps) != 2 || snaps[0].ID != snap.ID {
		t.Fatalf("%d snapshots: %+v; want one for each of two deaths", len(snaps), snaps)
	}
	checkSnapshot(t, snaps[1], "signal", 134, "SIGABRT")
}

// TestFirstCall: recording begins in the moment in which a cgroup is made: the very first
// calls of the process that is born into it are there.
func TestFirstCall(t *testing.T) {
	t.Parallel()
	const n = 50
	s := newService(t, "--memory", "16MiB", "--ring-size", "256KiB")
	path := program(t, "once")
	var ps []*process
	for i := range n {
		ps = append(ps, s.container(fmt.Sprint("first-", i)).start(path))
	}
	for i, p := range ps {
		p.wait()
		events := s.dump(fmt.Sprint("first-", i), "")
		at := indexOf(events, func(e event) bool { return e.name() == "execve" && e.Error == "OK" })
		if at < 0 {
			t.Errorf("container %d: no execve among %d events", i, len(events))
			continue
		}
		if e := events[at]; e.PID != p.pid || e.Args["filename"] != path {
			t.Errorf("container %d: not the execve of %s by %d: %v", i, path, p.pid, &e)
		}
		if at := indexOf(events, func(e event) bool { return e.name() == "exit_group" }); at < 0 {
			t.Errorf("container %d: no exit_group", i)
		}
	}
}

// TestRingsComeBack: the rings of containers that are gone record the next ones: far more
// containers than there are rings, one after the other, are all recorded.
func TestRingsComeBack(t *testing.T) {
	t.Parallel()
	s := newService(t, "--memory", "1MiB", "--ring-size", "256KiB")
	for i := range 20 {
		name := fmt.Sprint("turn-", i)
		c := s.container(name)
		// The service needs a moment to free a ring after the last one was taken.
		eventually(t, "a ring for "+name, func() error {
			for _, pod := range s.podNames() {
				if pod == "host/"+name {
					return nil
				}
			}
			if err := os.Remove(c.dir); err != nil {
				return err
			}
			return errors.Join(fmt.Errorf("not among %v", s.podNames()), os.Mkdir(c.dir, 0o755))
		})
		p := c.start(program(t, "death"), "clean")
		p.expect("ready")
		p.send()
		p.wait()
		if diff := cmp.Diff(upTo(100), deathNumbers(t, s.dump(name, "all=true"))); diff != "" {
			t.Fatalf("container %d:\n%s", i, diff)
		}
		removeCgroup(t, c.dir)
	}
}
