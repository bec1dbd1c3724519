package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// newestNumber is the newest number in a container's history.
func newestNumber(t testing.TB, s *service, pod string) (n uint32) {
	t.Helper()
	for _, numbers := range numbersByThread(t, s.text(pod, "")) {
		n = max(n, numbers[len(numbers)-1])
	}
	return n
}

// moves waits until a container's history has newer numbers than before.
func moves(t testing.TB, s *service, pod string) {
	t.Helper()
	before := newestNumber(t, s, pod)
	eventually(t, "further calls of "+pod, func() error {
		if now := newestNumber(t, s, pod); now <= before {
			return fmt.Errorf("%d now, %d before", now, before)
		}
		return nil
	})
}

// traffic starts a program that makes numbered calls until it is killed.
func (c *container) traffic() *process {
	c.s.t.Helper()
	p := c.start(program(c.s.t, "numbers"), "recent", "1", "0", "100000")
	p.expect("ready")
	p.send()
	return p
}

// TestFreezeAndThaw: a frozen container's history stands still, by pod and for the node,
// and its state says so; thawed, it goes on, with a gap that is not hidden.
func TestFreezeAndThaw(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.container("one").traffic()
	s.container("two").traffic()
	moves(t, s, "one")
	moves(t, s, "two")

	stands := func(pod string) {
		t.Helper()
		if state := s.ring(pod).State; state != "frozen" {
			t.Errorf("%s: state %s, want frozen", pod, state)
		}
		before := s.text(pod, "all=true")
		moves := newestNumber(t, s, pod)
		if diff := cmp.Diff(before[1:], s.text(pod, "all=true")[1:]); diff != "" {
			t.Errorf("%s is frozen at %d, but its history changes:\n%s", pod, moves, diff)
		}
	}
	s.mustCLI("freeze", "one")
	stands("one")
	moves(t, s, "two")
	frozenAt := newestNumber(t, s, "one")
	s.mustCLI("freeze", "host/one") // once more does no harm
	stands("one")
	s.mustCLI("thaw", "one")
	if state := s.ring("one").State; state != "recording" {
		t.Errorf("thawed, its state is %s", state)
	}
	moves(t, s, "one")
	numbers := numbersByThread(t, s.text("one", "all=true"))
	for _, held := range numbers {
		for i := 1; i < len(held); i++ {
			if held[i-1] < frozenAt && held[i] != held[i-1]+1 {
				t.Errorf("%d follows %d, before the freeze at %d", held[i], held[i-1], frozenAt)
			}
			if held[i] <= held[i-1] {
				t.Errorf("%d follows %d", held[i], held[i-1])
			}
		}
	}
	if lost := s.ring("one").Ring.Lost["frozen"]; lost == 0 {
		t.Error("nothing is said of the calls that were not recorded while frozen")
	}

	s.mustCLI("freeze", "--all")
	stands("one")
	stands("two")
	s.mustCLI("thaw", "--all")
	moves(t, s, "one")
	moves(t, s, "two")
}

// TestSnapshotByHand: a snapshot taken by hand has the history of that moment, can be
// listed, shown, exported, shown from its file without a service, and removed; and the
// container records on.
func TestSnapshotByHand(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.container("live").traffic()
	moves(t, s, "live")

	atLeast := newestNumber(t, s, "live")
	id := strings.TrimSpace(s.mustCLI("snapshot", "live", "--reason", "a reason of mine"))
	if strings.ContainsAny(id, " \n\t") || id == "" {
		t.Fatalf("snapshot prints %q, want an id", id)
	}
	moves(t, s, "live")
	snaps := s.snapshots("live")
	if len(snaps) != 1 {
		t.Fatalf("snapshots: %+v", snaps)
	}
	snap := snaps[0]
	if snap.ID != id || snap.Trigger != "manual" || snap.Reason != "a reason of mine" || snap.ExitCode != nil || snap.Signal != nil {
		t.Errorf("the snapshot is listed as %+v", snap)
	}
	if list := s.mustCLI("snapshots", "live"); !strings.Contains(list, id) || !strings.Contains(list, "a reason of mine") {
		t.Errorf("swoll-dump snapshots:\n%s", list)
	}
	var one snapshot
	unmarshal(t, s.get("/v1/snapshots/"+id), &one)
	if diff := cmp.Diff(snap, one); diff != "" {
		t.Errorf("by id it is another than in the list:\n%s", diff)
	}

	shown := s.mustCLI("show", id)
	for tid, numbers := range numbersByThread(t, strings.Split(shown, "\n")) {
		for i, n := range numbers {
			if n != uint32(i) {
				t.Fatalf("thread %d: call %d has number %d", tid, i, n)
			}
		}
		if newest := numbers[len(numbers)-1]; newest < atLeast {
			t.Errorf("the newest call in it is %d; %d was made before", newest, atLeast)
		}
	}
	if again := s.mustCLI("show", id); again != shown {
		t.Error("shown twice, it is not the same")
	}

	file := filepath.Join(s.dir, "exported.swoll")
	s.mustCLI("export", id, file)
	if body := s.get("/v1/snapshots/" + id + "/file"); !bytes.Equal(body, mustRead(t, file)) {
		t.Error("export and GET …/file differ")
	}
	files, err := filepath.Glob(s.state + "/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("files in the state directory: %v (%v)", files, err)
	}
	s.mustCLI("rm", id)
	if left := s.snapshots(""); len(left) != 0 {
		t.Errorf("removed, but still listed: %+v", left)
	}
	if r := s.cli("show", id); r.code != 3 {
		t.Errorf("show of a removed one: exit status %d, %s", r.code, r.stderr)
	}
	for _, path := range files {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() == snap.Bytes {
			t.Errorf("the file %s is still there", path)
		}
	}
	s.stop()
	if offline := s.mustCLI("show", file); offline != shown {
		t.Errorf("shown from the file, without the service, it differs:\n%s", cmp.Diff(shown, offline))
	}
	if text := s.mustCLI("explain", file); strings.TrimSpace(text) == "" {
		t.Error("explain has nothing to say")
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFilters: what dump leaves out is what it was told to, no more.
func TestFilters(t *testing.T) {
	t.Parallel()
	s := newService(t)
	c := s.container("filters")
	p := c.start(program(t, "numbers"), "mixed", "2", "400", "0")
	p.expect("ready")
	p.send()
	p.expect("done")
	p.expect("done")
	// The threads sleep once they have said so; the first one waits for its input.
	eventually(t, "the program is at rest", func() error { return allBlocked(p) })
	all := s.dump(c.name, "")
	count := func(events []event, keep func(event) bool) (n int) {
		for _, e := range events {
			if keep(e) {
				n++
			}
		}
		return n
	}
	tid := all[indexOf(all, func(e event) bool { return e.name() == "connect" })].TID
	for _, f := range []struct {
		query, flags string
		keep         func(event) bool
	}{
		{"errors=true", "--errors", func(e event) bool { return e.Syscall != nil && e.Error != "OK" && e.Error != "" }},
		{"syscall=connect", "--syscall connect", func(e event) bool { return e.name() == "connect" }},
		{"syscall=connect,lseek", "--syscall connect,lseek", func(e event) bool { return e.name() == "connect" || e.name() == "lseek" }},
		{fmt.Sprint("syscall=connect&pid=", tid), fmt.Sprint("--syscall connect --pid ", tid), func(e event) bool {
			return e.name() == "connect" && (e.TID == tid || e.PID == tid)
		}},
	} {
		want := count(all, f.keep)
		got := s.dump(c.name, f.query)
		if len(got) != want || count(got, f.keep) != want || want == 0 {
			t.Errorf("query %s: %d events, %d of them as asked for, want %d", f.query, len(got), count(got, f.keep), want)
		}
		lines := strings.Split(strings.TrimSpace(s.mustCLI(append([]string{"dump", c.name, "-o", "json"}, strings.Fields(f.flags)...)...)), "\n")
		if len(lines) != want {
			t.Errorf("swoll-dump dump %s: %d lines, want %d", f.flags, len(lines), want)
		}
	}
	if last := s.dump(c.name, "last=7"); len(last) != 7 || cmp.Diff(all[len(all)-7:], last, cmp.FilterPath(func(p cmp.Path) bool {
		return p.Last().String() == ".Finish"
	}, cmp.Ignore())) != "" {
		t.Errorf("last=7: %v", last)
	}
	if recent := s.dump(c.name, "since=1h"); len(recent) != len(all) {
		t.Errorf("since=1h: %d events, all are %d", len(recent), len(all))
	}
	if none := s.dump(c.name, "since=1ns&syscall=connect"); len(none) != 0 {
		t.Errorf("since=1ns: %d events", len(none))
	}
	// Text and JSON tell of the same calls.
	calls, _, err := parseText(s.text(c.name, ""))
	if err != nil {
		t.Fatal(err)
	}
	if n := count(all, func(e event) bool { return e.Syscall != nil }); len(calls) != n {
		t.Errorf("%d calls as text, %d as JSON", len(calls), n)
	}
}

// TestRecordAndForget: any cgroup can be recorded by hand, under a name, until it is
// forgotten.
func TestRecordAndForget(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := makeCgroup(t, unified(t)) // not below the watched one
	c := &container{s, "by-hand", dir}
	p := c.traffic()
	if r := s.cli("dump", "by-hand"); r.code != 3 {
		t.Errorf("it is recorded before anybody asked for it: %d", r.code)
	}
	s.mustCLI("record", dir, "--name", "by-hand")
	eventually(t, "calls are recorded", func() error {
		if len(numbersByThread(t, s.text("by-hand", ""))) == 0 {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	moves(t, s, "by-hand")
	if list := s.mustCLI("list"); !strings.Contains(list, "by-hand") {
		t.Errorf("swoll-dump list:\n%s", list)
	}
	if r := s.cli("record", dir, "--name", "twice"); r.code != 1 {
		t.Errorf("recorded twice: exit status %d\n%s", r.code, r.stderr)
	}
	// It stays so over a restart.
	s.kill()
	s.start()
	moves(t, s, "by-hand")

	s.mustCLI("forget", "by-hand")
	if r := s.cli("dump", "by-hand"); r.code != 3 {
		t.Errorf("forgotten, a dump of it ends with %d", r.code)
	}
	for _, pod := range s.podNames() {
		if strings.Contains(pod, "by-hand") {
			t.Errorf("forgotten, it is listed: %s", pod)
		}
	}
	// By its path's base, and over HTTP.
	s.post("/v1/recordings", map[string]string{"cgroup": dir})
	moves(t, s, filepath.Base(dir))
	p.kill()
}

// TestRun: swoll-dump run is a wrapper around any command: its input, output and exit status
// are the command's, and where the command fails, it tells why.
func TestRun(t *testing.T) {
	t.Parallel()
	s := newService(t)
	good := s.cliInput("some input\n", "run", "--", "/bin/cat")
	if good.code != 0 || good.stdout != "some input\n" {
		t.Errorf("run cat: exit status %d, %q, %q", good.code, good.stdout, good.stderr)
	}
	for _, c := range []struct {
		how  string
		code int
		says string
	}{
		{"exit", 3, "exit"},
		{"segv", 139, "SIGSEGV"},
		{"abort", 134, "SIGABRT"},
	} {
		r := s.cliInput("x", "run", "--", program(t, "death"), c.how)
		if r.code != c.code {
			t.Errorf("run death %s: exit status %d, want %d\n%s%s", c.how, r.code, c.code, r.stdout, r.stderr)
		}
		if r.stdout != "ready\n" {
			t.Errorf("run death %s: standard output is the command's, but has %q", c.how, r.stdout)
		}
		if !strings.Contains(r.stderr, c.says) {
			t.Errorf("run death %s: the verdict does not say %s:\n%s", c.how, c.says, r.stderr)
		}
		if !strings.Contains(r.stderr, "lseek(-1, 99, SEEK_SET)") {
			t.Errorf("run death %s: the last calls are not there:\n%s", c.how, r.stderr)
		}
	}
	if r := s.cli("run", "--", "/nonexistent/command"); r.code != 127 {
		t.Errorf("run of a command that is not there: exit status %d\n%s", r.code, r.stderr)
	}
	// Without --keep nothing stays behind, neither in the list nor as a cgroup.
	eventually(t, "what run made is gone", func() error {
		if pods := s.podNames(); len(pods) != 0 {
			return fmt.Errorf("pods: %v", pods)
		}
		return nil
	})
	if r := s.cliInput("x", "run", "--keep", "--", program(t, "death"), "clean"); r.code != 0 {
		t.Errorf("run --keep: exit status %d\n%s", r.code, r.stderr)
	}
	pods := s.podNames()
	if len(pods) != 1 {
		t.Fatalf("kept: %v, want one pod", pods)
	}
	name := strings.TrimPrefix(pods[0], "host/")
	if got := deathNumbers(t, s.dump(name, "all=true")); len(got) != 100 {
		t.Errorf("kept: %d of 100 calls", len(got))
	}
	s.mustCLI("forget", name)
}

// TestStrangeCalls: calls that do not enter or leave in the usual way are recorded as what
// they are.
func TestStrangeCalls(t *testing.T) {
	t.Parallel()
	s := newService(t)

	t.Run("32 bit", func(t *testing.T) {
		s := s.in(t)
		c := s.container("compat")
		p := c.start(program(t, "compat"))
		if got := p.expect("pid "); got != strconv.Itoa(p.pid) {
			t.Fatalf("the 32-bit getpid returned %s, not %d", got, p.pid)
		}
		events := s.dump(c.name, "")
		i := indexOf(events, func(e event) bool { return e.Syscall != nil && e.Syscall.ABI != "x86_64" })
		if i < 0 {
			t.Fatal("no call of another ABI is recorded")
		}
		e := events[i]
		if e.name() != "getpid" || e.Syscall.Nr != 20 || e.Syscall.ABI != "i386" || e.Return == nil || *e.Return != int64(p.pid) {
			t.Errorf("the 32-bit getpid of %d: %v", p.pid, &e)
		}
	})

	t.Run("seccomp", func(t *testing.T) {
		s := s.in(t)
		c := s.container("denied")
		c.start(program(t, "denied")).expect("denied")
		events := s.dump(c.name, "syscall=mkdir")
		if len(events) != 1 || events[0].Error != "EPERM" {
			t.Errorf("the mkdir that was denied: %v", events)
		}
	})

	t.Run("exec by a thread", func(t *testing.T) {
		s := s.in(t)
		c := s.container("threadexec")
		death := program(t, "death")
		p := c.start(program(t, "threadexec"), death, "wait")
		tid, err := strconv.Atoi(p.expect("thread"))
		if err != nil {
			t.Fatal(err)
		}
		p.send()
		p.expect("ready")
		p.send()
		p.expect("waiting")
		events := s.dump(c.name, "")
		execs := 0
		for _, e := range events {
			if e.name() == "execve" && e.Error == "OK" && e.Args["filename"] == death {
				execs++
				if e.PID != p.pid || e.TID != p.pid && e.TID != tid {
					t.Errorf("the execve by thread %d of process %d: %v", tid, p.pid, &e)
				}
				if e.Finish == nil {
					t.Errorf("the execve succeeded, but is shown as running: %v", &e)
				}
			}
		}
		if execs != 1 {
			t.Errorf("the execve by a thread is there %d times", execs)
		}
		if diff := cmp.Diff(upTo(100), deathNumbers(t, events)); diff != "" {
			t.Errorf("the calls after it:\n%s", diff)
		}
		for _, e := range events {
			if e.TID == tid && e.Start > events[len(events)-1].Start {
				t.Errorf("thread %d is gone, but has: %v", tid, &e)
			}
		}
	})
}

// TestFileModes: the socket is for root and its group only; what is saved is root's.
func TestFileModes(t *testing.T) {
	t.Parallel()
	s := newService(t)
	info, err := os.Stat(s.socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o660 {
		t.Errorf("the socket's mode is %o, want 660", info.Mode().Perm())
	}
	s.container("pod")
	s.mustCLI("snapshot", "pod")
	err = filepath.WalkDir(s.state, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s has mode %o: snapshots hold what programs read and wrote", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Who asked is logged, with uid and pid.
	asked := regexp.MustCompile(`uid=0\b.*pid=\d+|pid=\d+.*uid=0\b`)
	// The line follows the answer.
	eventually(t, "the log tells who took the snapshot", func() error {
		for _, line := range strings.Split(s.log.String(), "\n") {
			if strings.Contains(line, "snapshot") && asked.MatchString(line) {
				return nil
			}
		}
		return errors.New("no such line")
	})
}

// TestMetrics: the service's metrics tell how much is recorded, and what is served is
// what tools expect: text for Prometheus, an OpenAPI document.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.container("pod")
	if metrics := string(s.get("/metrics")); !strings.Contains(metrics, "\nswoll_") {
		t.Errorf("/metrics has none of the service's own:\n%.300s", metrics)
	}
	if doc := string(s.get("/v1/openapi.yaml")); !strings.HasPrefix(doc, "openapi: ") {
		t.Errorf("/v1/openapi.yaml begins with %.40q", doc)
	}
	var version map[string]any
	if err := json.Unmarshal(s.get("/v1/version"), &version); err != nil || len(version) == 0 {
		t.Errorf("/v1/version: %v %v", version, err)
	}
	s.get("/healthz")
	s.get("/readyz")
}
