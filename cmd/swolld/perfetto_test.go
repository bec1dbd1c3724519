package main_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/swoll-recorder/swoll/ringstore/decode/perfettotest"
)

// A drawing is a trace for Perfetto, and the events that are in it.
type drawing struct {
	trace  *perfettotest.Trace
	events []event
}

// pidOf is the id of a task that has one in the trace; ids that were used again have more.
func pidOf(id uint32) int { return int(id % 10_000_000) }

// recorderTrack tells that a slice is not a container's.
func recorderTrack(s *perfettotest.Slice) bool { return strings.HasPrefix(s.Process, "recorder of ") }

// check tells whether the trace shows the events, each on its thread at its time.
func (d drawing) check(t testing.TB) {
	t.Helper()
	slices := map[string]int{}
	instants := map[string]int{}
	var zero int64 // of the trace, as the events count
	for _, s := range d.trace.Slices {
		if recorderTrack(&s) {
			continue
		}
		if _, ok := s.Args["args"]; !ok {
			instants[fmt.Sprint(s.Args["event"], " ", pidOf(s.TID))]++
			continue
		}
		if s.Args["entry"] == "not seen" {
			if s.Duration != 0 {
				t.Errorf("%s has a duration, but only its return was seen", s.Name)
			}
			continue
		}
		if zero == 0 {
			for _, e := range d.events {
				if e.Syscall != nil && e.Start != 0 && e.TID == pidOf(s.TID) && float64(e.Seq) == s.Args["seq"] {
					zero = e.Start - s.Start
				}
			}
		}
		tid := pidOf(s.TID)
		if strings.HasPrefix(s.Name, "execve") {
			tid = pidOf(s.PID) // it may be drawn at the thread that the first one replaced
		}
		duration := fmt.Sprint(s.Duration)
		if s.Args["unfinished"] == true || s.Args["return"] == nil {
			duration = "unfinished"
		}
		slices[fmt.Sprint(tid, " ", s.Name, " ", s.Start, " ", duration, " ", s.Args["return"])]++
	}
	for _, e := range d.events {
		if e.Syscall == nil {
			instants[fmt.Sprint(e.Event, " ", e.TID)]--
			continue
		}
		at, duration := e.Start-zero, "unfinished"
		if e.Start == 0 {
			continue // only its return was seen, and so it has no time
		}
		ret := "<nil>"
		if e.Finish != nil {
			duration = strconv.FormatInt(*e.Finish-e.Start, 10)
			ret = fmt.Sprint(float64(*e.Return))
		}
		slices[fmt.Sprint(e.TID, " ", e.name(), " ", at, " ", duration, " ", ret)]--
	}
	for what, n := range slices {
		if n != 0 {
			t.Errorf("the trace has %d more of: %s", n, what)
		}
	}
	for what, n := range instants {
		if n != 0 && !strings.HasPrefix(what, "oom") {
			t.Errorf("the trace has %d more of: %s", n, what)
		}
	}
	// Each child whose first calls are there is led to from where it was made.
	born := map[int]int{}
	for _, f := range d.trace.Flows {
		from, to := d.trace.Slices[f.From], d.trace.Slices[f.To]
		if from.Start > to.Start {
			t.Errorf("a flow back in time, from %s to %s", from.Name, to.Name)
		}
		if f.Name == "fork" {
			child := from.Args["child"].(map[string]any)
			if int(child["tid"].(float64)) != pidOf(to.TID) {
				t.Errorf("a flow from the fork of %v leads to %d", child, to.TID)
			}
			born[pidOf(to.TID)]++
		}
	}
	calls := map[int]bool{}
	for _, e := range d.events {
		calls[e.TID] = calls[e.TID] || e.Syscall != nil
	}
	forks := map[int]int{}
	for _, e := range d.events {
		if e.Event == "fork" {
			forks[e.Child.TID]++
		}
	}
	for child, n := range forks {
		if calls[child] && born[child] != n {
			t.Errorf("%d flows lead to the thread %d, which was made %d times", born[child], child, n)
		}
	}
}

// TestTimeLine: what several containers of a node did, and what is in several snapshots, is
// on one time line, by HTTP and by swoll-dump: with the same calls as in their dumps.
func TestTimeLine(t *testing.T) {
	t.Parallel()
	s := newService(t, "--memory", "16MiB", "--ring-size", "1MiB")
	sh := need(t, "sh")
	var names, ids []string
	for _, name := range []string{"line-a", "line-b"} {
		c := s.container(name)
		p := c.start(sh, "-c", "ls /none 2>/dev/null; (sleep 0.01; exit 3) & wait; exit 4")
		p.wait()
		names, ids = append(names, name), append(ids, s.waitSnapshot(name).ID)
	}
	read := func(out []byte) *perfettotest.Trace {
		trace, err := perfettotest.Read(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		return trace
	}
	var all []event
	for _, id := range ids {
		all = append(all, s.events("/v1/snapshots/"+id+"/dump?format=json")...)
	}
	file := filepath.Join(t.TempDir(), "b.swoll")
	s.mustCLI("export", ids[1], file)
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	drawing{read([]byte(s.mustCLI("show", ids[0], file, "-o", "perfetto"))), all}.check(t)
	drawing{read(s.get("/v1/snapshots/" + ids[0] + "/dump?format=perfetto")), s.events("/v1/snapshots/" + ids[0] + "/dump?format=json")}.check(t)

	s.container("line-c").start(sh, "-c", "echo on; exec sleep 1000").expect("on")
	node := read([]byte(s.mustCLI("dump", "-A", "-o", "perfetto")))
	calls := map[string]int{}
	open := 0
	for _, x := range node.Slices {
		if recorderTrack(&x) {
			continue
		}
		for _, name := range append(names, "line-c") {
			if strings.Contains(x.Process, "(host/"+name) {
				calls[name]++
			}
		}
		if x.Duration == perfettotest.Open {
			open++
			if !strings.Contains(x.Process, "line-c") {
				t.Errorf("%s of %s has no end, but all of it ended", x.Name, x.Process)
			}
		}
	}
	for _, name := range append(names, "line-c") {
		if calls[name] < 10 {
			t.Errorf("of %s %d things are shown", name, calls[name])
		}
	}
	if open == 0 {
		t.Error("no call is open-ended, but some run")
	}
	text := s.mustCLI("dump", "--all-pods", "--split", "--no-headers")
	if _, err := perfettotest.ReadStrace(strings.NewReader(text)); err != nil || strings.Contains(text, "\n# ") {
		t.Errorf("%v\n%s", err, text)
	}
}
