package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The bars for a snapshot of a million records: of CPU time, so that a busy machine does
// not matter, and of resident memory.
const (
	openWithin    = time.Second
	explainWithin = 2 * time.Second
	memoryWithin  = 200 << 20
)

// peak is the most memory that a process has had resident since it began, or since
// forgetPeak.
func peak(t testing.TB, pid int) uint64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	kib, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// forgetPeak sets the peak of a process back; see proc_pid_clear_refs(5).
func forgetPeak(t testing.TB, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// TestMillion: a snapshot of a million records, recorded and saved for real, is opened by
// swoll-dump show within a second: its header, its verdict and its first calls are there by
// then. It is explained within two. Neither takes 200 MB, nor does the service for the same
// over HTTP, all of its records included.
func TestMillion(t *testing.T) {
	recorder := newService(t, "--memory", "128MiB", "--ring-size", "128MiB")
	c := recorder.container("shop")
	p := c.start(program(t, "million"), "1080000")
	if code := p.wait().ExitCode(); code != 1 {
		t.Fatalf("the program ended with %d", code)
	}
	snap := recorder.waitSnapshot(c.name)
	if snap.Records < 1_000_000 {
		t.Fatalf("%d records, want a million: %+v", snap.Records, recorder.ring(c.name))
	}
	recorder.stop()
	// A service that has little else in memory.
	s := prepareService(t, unified(t))
	if err := os.MkdirAll(s.state, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.state, snap.ID+".swoll")
	if err := os.Rename(filepath.Join(recorder.state, snap.ID+".swoll"), file); err != nil {
		t.Fatal(err)
	}
	s.start()

	check := func(what string, used, within time.Duration, memory uint64) {
		t.Helper()
		t.Logf("%s: %v of CPU time, %d MB", what, used.Round(time.Millisecond), memory>>20)
		if within > 0 && used > within {
			t.Errorf("%s took %v of CPU time, more than %v", what, used, within)
		}
		if memory > memoryWithin {
			t.Errorf("%s took %d MB, more than %d", what, memory>>20, memoryWithin>>20)
		}
	}
	const cause = `/etc/shop/shop.yaml`

	// What is not read yet holds it up.
	show := startDump(t, "show", file)
	head := ""
	for !strings.Contains(head, " = ") || strings.HasPrefix(head[strings.LastIndexByte(strings.TrimSuffix(head, "\n"), '\n')+1:], "# ") {
		line, err := show.out.ReadString('\n')
		if err != nil {
			t.Fatalf("no call: %v\n%s", err, head)
		}
		head += line
	}
	check("opening", cpuTime(t, show.pid), openWithin, peak(t, show.pid))
	for _, want := range []string{"# pod: host/shop\n", "# verdict: exit 1, ", cause} {
		if !strings.Contains(head, want) {
			t.Errorf("the first lines do not have %q:\n%s", want, head)
		}
	}
	lines := 0
	for {
		_, err := show.out.ReadSlice('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		lines++
	}
	used := show.wait()
	check(fmt.Sprintf("showing %d calls", lines), used.time, 0, used.memory)
	if lines < 900_000 {
		t.Errorf("%d calls are shown of %d records", lines, snap.Records)
	}

	for _, args := range [][]string{{"explain", file}, {"explain", file, "-o", "json"}} {
		explain := startDump(t, args...)
		text, err := io.ReadAll(explain.out)
		if err != nil {
			t.Fatal(err)
		}
		used := explain.wait()
		check(strings.Join(args[:1], " "), used.time, explainWithin, used.memory)
		if !bytes.Contains(text, []byte(cause)) {
			t.Errorf("the cause is not told:\n%s", text)
		}
	}

	pid := s.cmd.Process.Pid
	for _, request := range []struct {
		path   string
		within time.Duration
	}{{"/explain", explainWithin}, {"/explain?format=json", explainWithin}, {"/dump", 0}, {"/dump?errors=true&format=json", 0}, {"/dump?last=20", explainWithin}} {
		forgetPeak(t, pid)
		before := cpuTime(t, pid)
		body := s.get("/v1/snapshots/" + snap.ID + request.path)
		check("GET "+request.path, cpuTime(t, pid)-before, request.within, peak(t, pid))
		if !bytes.Contains(body, []byte(cause)) {
			t.Errorf("GET %s does not tell the cause, in %d bytes", request.path, len(body))
		}
	}
}

// A dumper is a swoll-dump that runs.
type dumper struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  *bufio.Reader
	errs *bufio.Reader
	pid  int
}

// measure runs a command, and tells its process id and, in the end, what it took. What a
// process made by Go, which borrows Go's memory until it executes another program, is told
// to have taken, may be Go's.
const measure = `import os, sys
pid = os.fork()
if not pid:
    os.execv(sys.argv[1], sys.argv[1:])
os.write(2, b"%d\n" % pid)
_, status, use = os.wait4(pid, 0)
os.write(2, b"%d %d %d\n" % (status, int((use.ru_utime + use.ru_stime) * 1e9), use.ru_maxrss))
`

func startDump(t testing.TB, args ...string) *dumper {
	t.Helper()
	python := need(t, "python3")
	d := &dumper{t: t, cmd: exec.Command(python, append([]string{"-S", "-c", measure, filepath.Join(built, "swoll-dump")}, args...)...)}
	for _, pipe := range []struct {
		of func() (io.ReadCloser, error)
		to **bufio.Reader
	}{{d.cmd.StdoutPipe, &d.out}, {d.cmd.StderrPipe, &d.errs}} {
		r, err := pipe.of()
		if err != nil {
			t.Fatal(err)
		}
		*pipe.to = bufio.NewReader(r)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.cmd.Process.Kill() })
	if _, err := fmt.Fscanln(d.errs, &d.pid); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return d
}

// A use is what a process took in all.
type use struct {
	time   time.Duration
	memory uint64
}

// wait is called when all output was read.
func (d *dumper) wait() use {
	d.t.Helper()
	var u use
	var status int
	if _, err := fmt.Fscanln(d.errs, &status, &u.time, &u.memory); err != nil || status != 0 {
		rest, _ := io.ReadAll(d.errs)
		d.t.Fatalf("%v: %v, status %#x\n%s", d.cmd, err, status, rest)
	}
	d.cmd.Wait()
	u.memory <<= 10
	return u
}
