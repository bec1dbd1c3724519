package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	shown := map[string]int{}
	instants := map[string]int{}
	var zero int64 // of the trace, as the events count
	for _, s := range d.trace.Slices {
		for _, e := range d.events {
			if e.Start != 0 && !recorderTrack(&s) && e.Seq != 0 && float64(e.Seq) == s.Args["seq"] && (s.Async || e.TID == pidOf(s.TID)) {
				zero = e.Start - s.Start
				break
			}
		}
		if zero != 0 {
			break
		}
	}
	for _, s := range d.trace.Slices {
		if recorderTrack(&s) {
			if strings.HasPrefix(s.Name, "gap: ") {
				shown[fmt.Sprint("gap ", s.Start, " ", s.Duration)]++
			}
			continue
		}
		if s.Async {
			how := ""
			switch {
			case s.Duration == perfettotest.Open && s.Args["unfinished"] == true:
				how = "in flight"
			case s.Duration == 0 && s.Args["end"] != nil:
				how = "told of failures only"
			case s.Duration == 0 && s.Args["entry"] == "not seen":
				how = "not begun"
			default:
				how = fmt.Sprint("for ", s.Duration)
			}
			shown[fmt.Sprint("operation ", s.Category, " ", s.Args["tid"], " of ", pidOf(s.PID), " ", s.Name, s.Args["args"], " ", s.Args["user_data"], " ", s.Start, " ",
				how, " ", s.Args["return"], " ", s.Args["error"])]++
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
		tid := pidOf(s.TID)
		if strings.HasPrefix(s.Name, "execve") {
			tid = pidOf(s.PID) // it may be drawn at the thread that the first one replaced
		}
		duration := fmt.Sprint(s.Duration)
		if s.Args["unfinished"] == true || s.Args["return"] == nil {
			duration = "unfinished"
		}
		shown[fmt.Sprint(tid, " ", s.Name, " ", s.Start, " ", duration, " ", s.Args["return"],
			" ", s.Args["count"], " ", s.Args["totalNanos"], " ", s.Args["firstNanos"])]++
	}
	for _, e := range d.events {
		if e.Event == "gap" {
			shown[fmt.Sprint("gap ", e.Start-zero, " ", *e.Finish-e.Start)]--
			continue
		}
		if e.Event == "io_uring" {
			at, how, ret, failed := e.Start-zero, "", "<nil>", "<nil>"
			switch {
			case e.Finish == nil && e.Seq == 0:
				how = "in flight"
			case e.Finish == nil:
				how = "told of failures only"
			case e.Start == 0:
				at, how = *e.Finish-zero, "not begun"
			default:
				how = fmt.Sprint("for ", *e.Finish-e.Start)
			}
			if e.Return != nil {
				ret = fmt.Sprint(float64(*e.Return))
				if e.Error != "OK" {
					failed = e.Error
				}
			}
			shown[fmt.Sprint("operation ", e.Event, " ", float64(e.TID), " of ", e.PID, " ", e.Opcode.Name, e.Args, " ", e.UserData, " ", at, " ", how, " ", ret, " ", failed)]--
			continue
		}
		if e.Syscall == nil {
			instants[fmt.Sprint(e.Event, " ", e.TID)]--
			continue
		}
		at, duration, name := e.Start-zero, "unfinished", e.name()
		if e.Start == 0 {
			continue // only its return was seen, and so it has no time
		}
		ret := "<nil>"
		if e.Finish != nil {
			duration = strconv.FormatInt(*e.Finish-e.Start, 10)
			ret = fmt.Sprint(float64(*e.Return))
		}
		run := "<nil> <nil> <nil>"
		if e.Count > 0 {
			run = fmt.Sprint(float64(e.Count), " ", float64(e.Total), " ", float64(*e.Finish-e.Start))
			name, duration = fmt.Sprint(name, " × ", e.Count), strconv.FormatInt(e.Last-e.Start, 10)
		}
		shown[fmt.Sprint(e.TID, " ", name, " ", at, " ", duration, " ", ret, " ", run)]--
	}
	for what, n := range shown {
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

// draw draws a container, in which nothing goes on any more but running calls, and returns
// its split text as well.
func (s *service) draw(name string) (d drawing, split []string) {
	s.t.Helper()
	eventually(s.t, name+" at rest", func() error {
		query := "/v1/pods/host/" + name + "/dump?all=true&format="
		before := s.get(query + "json")
		trace, err := perfettotest.Read(bytes.NewReader(s.get(query + "perfetto")))
		if err != nil {
			s.t.Fatal(err)
		}
		split = s.text(name, "all=true&split=true")
		if !bytes.Equal(before, s.get(query+"json")) {
			return errors.New("something happened meanwhile")
		}
		d = drawing{trace, s.events(query + "json")}
		return nil
	})
	return d, split
}

// TestPerfettoRuns: what is folded is drawn as one slice, with the same figures as in JSON; and
// of a run that goes on, nothing that Perfetto would draw elsewhere.
func TestPerfettoRuns(t *testing.T) {
	t.Parallel()
	s := newService(t, "--memory", "32MiB", "--ring-size", "8MiB")
	c := s.container("drawn-runs")
	p := c.start(program(t, "numbers"), "runs", "2", "2000", "0")
	p.expect("ready")
	p.send()
	p.expect("done")
	p.expect("done")
	d, split := s.draw(c.name)
	runs := 0
	for _, e := range d.events {
		if e.Count > 0 {
			runs++
		}
	}
	if runs < 500 {
		t.Errorf("%d runs only; the test shows nothing", runs)
	}
	d.check(t)
	splitRuns(t, s.text(c.name, "all=true"), split)

	on := s.container("drawn-on")
	file := filepath.Join(t.TempDir(), "counts")
	p = on.start(program(t, "again"), file, "3")
	p.expect("ready")
	p.send()
	for range 20 {
		goOn(t, file, 3, 50)
		trace, err := perfettotest.Read(bytes.NewReader(s.get("/v1/pods/host/" + on.name + "/dump?format=perfetto&all=true")))
		if err != nil {
			t.Fatal(err)
		}
		drawn := map[uint32]float64{}
		for _, x := range trace.Slices {
			if strings.HasPrefix(x.Name, "lseek") {
				if n, ok := x.Args["count"].(float64); ok {
					drawn[x.TID] += n
				} else {
					drawn[x.TID]++
				}
			}
		}
		// What had returned before is there, and not more than has begun by now.
		for _, made := range again(t, file) {
			if n := drawn[uint32(made.tid)]; n < 50 || n > float64(made.begun) {
				t.Errorf("%v calls of thread %d are drawn; it began %d", n, made.tid, made.begun)
			}
		}
	}
}

// splitRuns tells whether the text in which calls are in two parts says the same of runs as
// the other, each right behind the result of the thread that made it.
func splitRuns(t testing.TB, whole, split []string) {
	t.Helper()
	runs := func(lines []string) (all []string) {
		for i, line := range lines {
			m := runLine.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			all = append(all, line)
			if !strings.HasPrefix(lines[i-1], m[1]+" ") || !strings.HasSuffix(lines[i-1], ">") || strings.HasSuffix(lines[i-1], "...>") {
				t.Errorf("behind %q: %q", lines[i-1], line)
			}
		}
		slices.Sort(all)
		return all
	}
	a, b := runs(whole), runs(split)
	if !slices.Equal(a, b) {
		t.Errorf("%d runs in text, others in split text: %d", len(a), len(b))
	}
	if _, err := perfettotest.ReadStrace(strings.NewReader(strings.Join(slices.DeleteFunc(slices.Clone(split), func(l string) bool {
		return strings.HasPrefix(l, "# ") && !runLine.MatchString(l)
	}), "\n"))); err != nil {
		t.Error(err)
	}
}

// TestPerfettoOperations: what is done through io_uring is drawn as JSON tells it, in flight,
// of which only the end was seen, and of which none is told.
func TestPerfettoOperations(t *testing.T) {
	t.Parallel()
	needUring(t)
	s := newService(t)
	for _, x := range []struct {
		args  []string
		least int
	}{
		{[]string{"each", t.TempDir()}, 20}, {[]string{"multishot", "20"}, 40}, {[]string{"numbers", "async", "2", "300"}, 600}, {[]string{"pending"}, 2},
	} {
		c := s.container("drawn-" + x.args[0])
		p := c.start(append([]string{program(t, "uring")}, x.args...)...)
		switch x.args[0] {
		case "numbers":
			p.expect("ready")
			p.send()
			p.expect("done")
		case "pending":
			p.expect("ready")
		default:
			hearAll(p)
		}
		d, split := s.draw(c.name)
		d.check(t)
		operations, lines, open := len(operations(slices.Clone(d.events))), 0, 0
		for _, line := range split {
			if uringLine.MatchString(line) {
				lines++
			}
		}
		for _, slice := range d.trace.Slices {
			if slice.Async && slice.Duration == perfettotest.Open {
				open++
			}
		}
		if operations < x.least || x.args[0] == "pending" && open != 1 {
			t.Errorf("%q: %d operations, %d in flight", x.args, operations, open)
		}
		if lines != operations {
			t.Errorf("%q: JSON has %d operations, split text %d", x.args, operations, lines)
		}
	}
	outside := &container{s: s, name: "drawn-begun", dir: makeCgroup(t, unified(t))}
	p := outside.start(program(t, "uring"), "pending")
	p.expect("ready")
	s.post("/v1/recordings", map[string]string{"cgroup": outside.dir, "name": outside.name})
	p.in.Close()
	p.expect("done")
	d, _ := s.draw(outside.name)
	d.check(t)
	if !slices.ContainsFunc(d.trace.Slices, func(s perfettotest.Slice) bool { return s.Async && s.Args["entry"] == "not seen" }) {
		t.Error("no operation of which only the end was seen is drawn; the test shows nothing")
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
	if _, err := perfettotest.ReadStrace(strings.NewReader(text)); err != nil {
		t.Errorf("%v\n%.300s", err, text)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "# gap") && !runLine.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("a line of a header, or of nothing else: %s", line)
		}
	}
}
