package decode

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode/perfettotest"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// sinceMidnight is how long before a history of meta's the day began, ns.
const sinceMidnight = 1_700_000_000 % 86_400 * 1e9

// named says who made an event.
func named(comm string, e *ringstore.Event) *ringstore.Event {
	e.Known, e.Comm = true, comm
	return e
}

// of changes the process of an event.
func of(pid uint32, e *ringstore.Event) *ringstore.Event {
	e.PID = pid
	return e
}

func fork(child, process uint32) *ringstore.Event {
	return &ringstore.Event{Kind: ringstore.KindFork, Fork: &ringstore.Fork{ChildTID: child, ChildPID: process}}
}

func executed(old uint32, file string) *ringstore.Event {
	return &ringstore.Event{Kind: ringstore.KindExec, Exec: &ringstore.Exec{OldTID: old, Filename: ringstore.Capture{Data: []byte(file)}}}
}

// drawn is what Perfetto makes of histories.
func drawn(t testing.TB, f Filter, hs ...*ringstore.History) *perfettotest.Trace {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, Perfetto, hs, f); err != nil {
		t.Fatal(err)
	}
	trace, err := perfettotest.Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// rows shows the slices of those tracks that are not the recorder's: thread, name, times in
// microseconds, and how deep they lie.
func rows(trace *perfettotest.Trace) (out []string) {
	day := int64(sinceMidnight)
	for _, s := range trace.Slices {
		if strings.HasPrefix(s.Process, "recorder of ") {
			continue
		}
		until := "…"
		if s.Duration != perfettotest.Open {
			until = fmt.Sprint((s.Start + s.Duration - day) / 1000)
		}
		where := fmt.Sprint(s.PID, "/", s.TID)
		if s.Async {
			where = fmt.Sprint(s.PID, "/", s.Category)
		}
		out = append(out, fmt.Sprintf("%s%s %s [%d,%s]", strings.Repeat("  ", s.Depth), where, s.Name, (s.Start-day)/1000, until))
	}
	return out
}

func flows(trace *perfettotest.Trace) (out []string) {
	for _, f := range trace.Flows {
		from, to := trace.Slices[f.From], trace.Slices[f.To]
		out = append(out, fmt.Sprintf("%s: %d %s -> %d %s", f.Name, from.TID, from.Name, to.TID, to.Name))
	}
	return out
}

// TestPerfetto: a family of processes, as it is drawn.
func TestPerfetto(t *testing.T) {
	signal := &ringstore.Event{Kind: ringstore.KindSignal, Signal: &ringstore.Signal{Signal: 11, Code: 1, Addr: 16, Fatal: true}}
	h := inTime(
		at(0, 9, 100, named("sh", call("clone", 110, 0x11, 0, 0, 0, 0))),
		at(4, 0, 100, named("sh", fork(110, 110))),
		of(110, at(12, 20, 110, named("sh", call("execve", 0, 0, 0, 0)))),
		at(13, 0, 100, named("sh", running(call("wait4", 0, ^uint64(0), 0, 0, 0)))),
		of(110, at(30, 0, 110, named("app", executed(110, "/bin/app")))),
		of(110, at(40, 9, 110, named("app", call("clone", 111, 0x10900, 0, 0, 0, 0)))),
		of(110, at(45, 0, 110, named("app", fork(111, 110)))),
		of(110, at(50, 0, 110, named("app", running(futex(0))))),
		of(110, at(51, 3, 111, named("worker", call("openat", -2, ^uint64(99), 0x5000, 0, 0)))),
		of(110, at(60, 0, 111, named("worker", signal))),
		of(110, at(62, 0, 110, named("app", exit(0x8b, false)))),
		of(110, at(63, 0, 111, named("worker", exit(0x8b, true)))),
	)
	trace := drawn(t, Filter{}, h)
	want := []string{
		"100/100 clone [0,9]", "  100/100 fork [4,4]",
		"110/110 execve [12,32]", "100/100 wait4 [13,…]", "  110/110 exec /bin/app [30,30]",
		"110/110 clone [40,49]", "  110/110 new thread [45,45]", "110/110 futex [50,62]",
		"110/111 openat [51,54]", "110/111 SIGSEGV [60,60]",
		"110/110 killed by SIGSEGV (core dumped) [62,62]", "110/111 killed by SIGSEGV (core dumped) [63,63]",
	}
	if diff := cmp.Diff(want, rows(trace)); diff != "" {
		t.Errorf("slices (-want +got):\n%s", diff)
	}
	arrows := []string{
		"fork: 100 fork -> 110 execve", "exec: 110 exec /bin/app -> 110 clone", "fork: 110 new thread -> 111 openat",
	}
	if diff := cmp.Diff(arrows, flows(trace)); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
	names := map[string]bool{}
	for _, s := range trace.Slices {
		names[s.Process+" | "+s.Thread] = true
	}
	wantNames := map[string]bool{
		"sh (shop/web/app) | sh": true, "app (shop/web/app) | app": true, "app (shop/web/app) | worker": true,
		"recorder of shop/web/app | complete": true,
	}
	if diff := cmp.Diff(wantNames, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for _, s := range trace.Slices {
		var want map[string]any
		switch s.Name {
		case "openat":
			want = map[string]any{
				"args":   map[string]any{"dfd": "AT_FDCWD", "pathname": "0x5000", "flags": []any{"O_RDONLY"}},
				"result": "-1 ENOENT (No such file or directory)", "return": -2.0, "error": "ENOENT", "seq": 9.0,
			}
			if s.Category != "FileSystem" {
				t.Errorf("openat's category is %s", s.Category)
			}
		case "futex":
			delete(s.Args, "args")
			want = map[string]any{"unfinished": true, "end": "the thread ended in this call"}
		default:
			continue
		}
		if diff := cmp.Diff(want, s.Args); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.Name, diff)
		}
	}
	if zero := trace.Metadata["timeZero"]; zero != "2023-11-14T00:00:00.000000Z" {
		t.Errorf("times count from %v", zero)
	}
}

// TestPerfettoExecByThread: a call to execve is drawn where it was made, and leads to the
// first thread, whose id the caller takes over.
func TestPerfettoExecByThread(t *testing.T) {
	h := inTime(
		at(0, 0, 100, running(futex(0))), at(1, 2, 101, call("getpid", 100)), at(4, 9, 100, call("execve", 0, 0, 0, 0)),
		at(6, 0, 100, exit(0, false)), at(8, 0, 100, executed(101, "/bin/true")), at(20, 1, 100, call("getuid", 0)),
		at(30, 1, 101, call("getgid", 0)), // another thread that got the id
	)
	trace := drawn(t, Filter{}, h)
	want := []string{
		"100/100 futex [0,6]", "100/101 getpid [1,3]", "100/101 execve [4,13]", "100/100 exited with 0 [6,6]",
		"100/100 exec /bin/true [8,8]", "100/100 getuid [20,21]", "100/10000101 getgid [30,31]",
	}
	if diff := cmp.Diff(want, rows(trace)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"exec: 101 execve -> 100 exec /bin/true"}, flows(trace)); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
}

// TestPerfettoIdsAreUsedAgain: tasks that had one id, one after the other or in different
// containers, are drawn apart.
func TestPerfettoIdsAreUsedAgain(t *testing.T) {
	h := inTime(
		at(0, 1, 100, named("one", call("getpid", 100))), at(2, 0, 100, named("one", exit(0, true))),
		at(3, 1, 100, named("two", call("getpid", 100))),
		at(5, 0, 99, of(99, fork(100, 100))), // its end was not seen
		at(6, 0, 100, named("three", running(call("getpid", 100)))),
	)
	h.Events[3].PID = 99
	other := inTime(at(4, 1, 100, named("four", call("getuid", 0))))
	other.Meta.Pod = "db"
	var got []string
	for _, s := range drawn(t, Filter{}, h, other).Slices {
		if s.Name == "getpid" || s.Name == "getuid" {
			got = append(got, fmt.Sprintf("%d %s %s", s.TID, s.Thread, s.Process))
		}
	}
	want := []string{
		"100 one one (shop/web/app)", "10000100 two two (shop/web/app), pid 100 again",
		"30000100 four four (shop/db/app), pid 100 again", "20000100 three three (shop/web/app), pid 100 again",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPerfettoTellsWhatIsMissing: an empty stretch is marked as one of which nothing is
// known, where that is so.
func TestPerfettoTellsWhatIsMissing(t *testing.T) {
	h := inTime(at(0, 1, 101, futex(0)), at(10, 1, 100, call("getpid", 100)), at(50, 1, 101, futex(0)), at(60, 0, 101, fork(102, 100)), at(70, 1, 102, futex(0)))
	h.CompleteSince, h.Meta.Armed = 40_000, 0
	h.Overwritten[ringstore.LaneRecent] = 17
	h.Meta.Lost = map[string]uint64{"no page": 3}
	h.Meta.Notes = []string{"frozen from 00:00 to 00:01"}
	late := inTime(at(20, 1, 200, of(200, futex(0))))
	late.Events[0].PID = 200
	late.Meta.Armed = 15_000
	recorder := func(f Filter, hs ...*ringstore.History) (out []string) {
		day := int64(sinceMidnight)
		for _, s := range drawn(t, f, hs...).Slices {
			if s.Category == "recorder" {
				out = append(out, fmt.Sprintf("%d %s [%d,%d]", s.TID, s.Name, (s.Start-day)/1000, (s.Start+s.Duration-day)/1000))
			}
		}
		return out
	}
	want := []string{
		"5000000 incomplete: calls of this time may have been overwritten [0,40]",
		"5000001 3 records were not written, at times that are not known [0,71]",
		"5000002 frozen from 00:00 to 00:01 [0,0]",
		"5000010 recording began [15,15]", "5000010 complete [15,21]",
		"5000000 complete [40,71]",
		// Of each thread of which more may have been there; the third one was born later.
		"101 complete from here [40,40]", "100 complete from here [40,40]",
	}
	if diff := cmp.Diff(want, recorder(Filter{All: true}, h, late)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want = []string{"5000010 complete [20,21]", "5000011 shown is only: the last 1 events; calls of futex; failed calls; process or thread 200 [20,21]"}
	late.Events[0].Ret, late.Meta.Armed, h.Meta.Notes, h.Meta.Lost, h.CompleteSince = -11, 0, nil, nil, 0
	got := recorder(Filter{Last: 1, Syscalls: []string{"futex"}, Errors: true, PID: 200}, h, late)
	if diff := cmp.Diff(want, got[2:]); len(got) != 4 || diff != "" {
		t.Errorf("with a filter: %q", got)
	}
}

// TestPerfettoShowsAllCalls: of whatever happens to threads, each call is drawn on its thread
// at its time, to the nanosecond, and nothing overlaps.
func TestPerfettoShowsAllCalls(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var hs []*ringstore.History
	want := map[string]int{}
	runs, operations := 0, 0
	const day = int64(sinceMidnight)
	for range 3 {
		var events []*ringstore.Event
		busy := map[uint32]int64{}
		for now := int64(1); len(events) < 3000; now += r.Int64N(700) {
			pid := uint32(100 + 10*r.IntN(3))
			tid := pid + uint32(r.IntN(4))
			if busy[tid] > now {
				continue
			}
			e := futex(int64(-r.IntN(3)))
			e.TID, e.PID, e.Start, e.Duration = tid, pid, now, r.Int64N(3000)
			switch r.IntN(40) {
			case 0:
				e.NoEnter = true
				e.Duration = 0
			case 2, 3, 4, 5:
				count := 2 + r.Int64N(9)
				e.Run = &ringstore.Run{Count: uint64(count), Last: e.End() + r.Int64N(9000), Total: e.Duration + r.Int64N(9000)}
				runs++
			case 6, 7, 8, 9, 10:
				// As many at a time as there are, of few names.
				e = operation(uint16([]int{0, 22, 18}[r.IntN(3)]), int64(-r.IntN(3)), r.Uint64N(4))
				e.TID, e.PID, e.Start, e.Duration = tid, pid, now, r.Int64N(20_000)*r.Int64N(2)
				switch r.IntN(6) {
				case 0:
					e.NoEnter, e.Duration = true, 0
				case 1:
					e.Unfinished, e.Ret, e.Duration = true, 0, 0
				}
				operations++
				want[shownOperation(e, now+day)]++
				events = append(events, e)
				continue // its thread goes on
			case 1:
				x := []*ringstore.Event{exit(0x100, r.IntN(4) == 0), fork(pid+uint32(r.IntN(4)), pid), fork(uint32(100+10*r.IntN(3)), uint32(100+10*r.IntN(3))), executed(tid, "x")}[r.IntN(4)]
				if x.Fork != nil && (x.Fork.ChildTID == tid || x.Fork.ChildPID == pid && x.Fork.ChildTID == pid || x.Fork.ChildPID != pid && x.Fork.ChildTID != x.Fork.ChildPID) {
					continue
				}
				x.TID, x.PID, x.Start = tid, pid, now
				e = x
			}
			busy[tid] = e.End()
			if e.Kind == ringstore.KindCall {
				name := "futex"
				if e.Run != nil {
					name = fmt.Sprintf("futex × %d, of %d ns, the first %d ns", e.Run.Count, e.Run.Total, e.Duration)
				}
				want[fmt.Sprint(tid, " ", now+day, e.End()-now, e.Ret, name)]++
			}
			events = append(events, e)
		}
		hs = append(hs, inTime(events...))
	}
	got := map[string]int{}
	for _, s := range drawn(t, Filter{}, hs...).Slices {
		number := func(name string) int64 { return int64(s.Args[name].(float64)) }
		switch name := s.Name; {
		case s.Async:
			got[fmt.Sprint(s.Category, s.PID%againStep, number("tid"), s.Name, s.Args["user_data"], s.Start, s.Duration, s.Args["return"], s.Args["entry"])]++
		case strings.HasPrefix(s.Name, "futex"):
			if s.Args["count"] != nil {
				name = fmt.Sprintf("%s, of %d ns, the first %d ns", name, number("totalNanos"), number("firstNanos"))
			}
			got[fmt.Sprint(s.TID%againStep, " ", s.Start, s.Duration, number("return"), name)]++
		}
	}
	if runs < 500 || operations < 500 {
		t.Errorf("%d runs and %d operations only", runs, operations)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// shownOperation is how TestPerfettoShowsAllCalls counts an operation.
func shownOperation(e *ringstore.Event, at int64) string {
	duration, ret, entry := e.Duration, any(float64(e.Ret)), any(nil)
	if e.Unfinished {
		duration, ret = perfettotest.Open, nil
	}
	if e.NoEnter {
		entry = "not seen"
	}
	return fmt.Sprint("io_uring", e.PID, int64(e.TID), uringName(e.Nr), fmt.Sprintf("0x%x", e.Operation().UserData), at, duration, ret, entry)
}

// TestPerfettoRun: a run is one slice, until its last call returned, that says for how many
// calls it stands; also where that is after the end of the history.
func TestPerfettoRun(t *testing.T) {
	poll := at(10, 5, 100, call("poll", 0, 0, 0, 10))
	poll.Run = &ringstore.Run{Count: 3672, Last: 90_000, Total: 70_000}
	going := at(95, 1, 101, futex(0))
	going.Run = &ringstore.Run{Count: 2, Last: 99_500, Total: 2000}
	h := inTime(at(2, 1, 100, call("getpid", 100)), poll, at(90, 3, 100, call("getuid", 0)), going, at(97, 0, 100, running(futex(0))))
	h.Now = 98_000
	trace := drawn(t, Filter{}, h)
	want := []string{"100/100 getpid [2,3]", "100/100 poll × 3672 [10,90]", "100/100 getuid [90,93]", "100/101 futex × 2 [95,99]", "100/100 futex [97,…]"}
	if diff := cmp.Diff(want, rows(trace)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, s := range trace.Slices {
		if strings.HasPrefix(s.Name, "poll") {
			delete(s.Args, "args")
			want := map[string]any{"result": "0 (Timeout)", "return": 0.0, "count": 3672.0, "totalNanos": 70_000.0, "firstNanos": 5000.0, "seq": 2.0}
			if diff := cmp.Diff(want, s.Args); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	}
}

// TestPerfettoOperations: operations of io_uring overlap calls and each other, in their
// process. Nothing is said of a begin or an end that was not seen.
func TestPerfettoOperations(t *testing.T) {
	completed := with(operation(18, -2, 7, cwd, 0x10, 0x1000), ringstore.Capture{Arg: layout.UringArgAddr, Data: []byte("/etc/x")})
	skipped := operation(19, 0, 1, 5, skipSuccess)
	skipped.Unfinished = true
	seen := operation(22, 3, 1<<63, 0, 2<<32)
	seen.NoEnter = true
	alone := at(60, 9, 102, operation(0, 0))
	h := inTime(
		at(0, 50, 100, call("io_uring_enter", 2, 3, 2, 2, 1, 0, 0)), at(1, 20, 100, operation(22, 1, 1)), at(2, 60, 100, operation(22, 1, 2)),
		at(3, 8, 100, completed), at(20, 0, 100, seen), at(21, 5, 100, operation(22, 1, 3)), at(30, 0, 100, skipped),
		at(40, 0, 100, running(operation(22, 0, 0x4d))), at(45, 0, 100, operation(22, 0, 4)), at(50, 9, 100, call("getpid", 100)),
		// A thread on which nothing is drawn is left by no arrow.
		alone, at(70, 0, 100, executed(102, "/bin/true")), at(80, 1, 100, call("getuid", 0)),
	)
	h.Events[6].Seq = 7
	trace := drawn(t, Filter{}, h)
	const u = "100/io_uring "
	want := []string{
		"100/100 io_uring_enter [0,50]", u + "read [1,21]", u + "read [2,62]", u + "openat [3,11]", u + "read [20,20]", u + "read [21,26]",
		u + "close [30,30]", u + "read [40,…]", u + "read [45,45]", "100/100 getpid [50,59]", u + "nop [60,69]",
		"100/100 exec /bin/true [70,70]", "100/100 getuid [80,81]",
	}
	if diff := cmp.Diff(want, rows(trace)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := flows(trace); len(got) != 0 {
		t.Errorf("arrows: %q", got)
	}
	for _, s := range trace.Slices {
		var want map[string]any
		switch start := (s.Start - sinceMidnight) / 1000; {
		case s.Name == "openat":
			want = map[string]any{
				"args":   map[string]any{"dfd": "AT_FDCWD", "pathname": "/etc/x", "flags": []any{"O_RDONLY"}},
				"result": "-1 ENOENT (No such file or directory)", "return": -2.0, "error": "ENOENT",
				"user_data": "0x7", "tid": 100.0, "flags": []any{"IOSQE_ASYNC"}, "seq": 4.0,
			}
		case s.Name == "close":
			want = map[string]any{
				"args": map[string]any{"fd": 5.0}, "result": "?", "end": "not told: it asked to be told of failures only",
				"user_data": "0x1", "tid": 100.0, "flags": []any{"IOSQE_CQE_SKIP_SUCCESS"}, "seq": 7.0,
			}
		case start == 20:
			want = map[string]any{
				"args": map[string]any{}, "result": "3", "return": 3.0, "entry": "not seen",
				"user_data": "0x8000000000000000", "tid": 100.0, "completionFlags": []any{"IORING_CQE_F_MORE"}, "seq": 5.0,
			}
		case start == 40:
			delete(s.Args, "args")
			want = map[string]any{"unfinished": true, "user_data": "0x4d", "tid": 100.0}
		default:
			continue
		}
		if diff := cmp.Diff(want, s.Args); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.Name, diff)
		}
	}
}

// TestPerfettoGaps: where nothing was recorded, no track says that it is complete, whatever
// the times of gaps are; of gaps whose times are not known, the stretch that they are in says
// so.
func TestPerfettoGaps(t *testing.T) {
	gaps := func(at ...int64) (all []ringstore.Gap) {
		for i := 0; i < len(at); i += 2 {
			all = append(all, ringstore.Gap{From: at[i] * 1000, To: at[i+1] * 1000})
		}
		return all
	}
	const gap, unsure = "gap: nothing was recorded", "complete, but for 3 gaps at times that are not known"
	for _, x := range []struct {
		name     string
		gaps     []ringstore.Gap
		more     int
		complete int64 // since; the rest before it was overwritten
		want     string
	}{
		{"none", nil, 0, 0, "[0,100] complete"},
		{"one", gaps(20, 30), 0, 0, "[0,20] complete; [20,30] " + gap + "; [30,100] complete"},
		{"side by side", gaps(20, 30, 30, 40, 60, 70), 0, 0,
			"[0,20] complete; [20,30] " + gap + "; [30,40] " + gap + "; [40,60] complete; [60,70] " + gap + "; [70,100] complete"},
		{"at both ends", gaps(-10, 5, 90, 110), 0, 0, "[0,5] " + gap + "; [5,90] complete; [90,100] " + gap},
		{"not known", gaps(20, 30, 60, 70), 3, 0, "[0,20] complete; [20,30] " + gap + "; [30,60] " + unsure + "; [60,70] " + gap + "; [70,100] complete"},
		{"overwritten", gaps(10, 20, 30, 50, 70, 80), 0, 40,
			"[0,40] incomplete; [40,50] " + gap + "; [50,70] complete; [70,80] " + gap + "; [80,100] complete"},
		{"not known and overwritten", gaps(10, 20, 70, 80), 3, 40, "[0,40] incomplete; [40,70] " + unsure + "; [70,80] " + gap + "; [80,100] complete"},
		{"all before", gaps(10, 20, 25, 30), 3, 40, "[0,40] incomplete; [40,100] complete"},
	} {
		h := inTime(at(0, 1, 100, futex(0)), at(99, 0, 100, futex(0)))
		h.Now, h.CompleteSince, h.Meta.Gaps, h.Meta.MoreGaps = 100_000, x.complete*1000, x.gaps, x.more
		var got []string
		for _, s := range drawn(t, Filter{All: true}, h).Slices {
			if s.Category == "recorder" && s.Thread == "complete" {
				from := (s.Start - sinceMidnight) / 1000
				name, _, _ := strings.Cut(s.Name, ": calls")
				got = append(got, fmt.Sprintf("[%d,%d] %s", from, from+s.Duration/1000, name))
			}
		}
		if diff := cmp.Diff(strings.Split(x.want, "; "), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", x.name, diff)
		}
	}
}

// TestPerfettoHostile: whatever a history holds, the trace is one that Perfetto reads.
func TestPerfettoHostile(t *testing.T) {
	evil := "\xff\"\\\x00\n\u2028😀</script># \x1b[31m"
	hostile := []byte(evil)
	path := with(call("openat", 3, ^uint64(99), 0x5000, 0, 0), ringstore.Capture{Arg: 1, Data: hostile})
	cut := with(call("write", 3, 1, 0x5000, ^uint64(0)), ringstore.Capture{Arg: 1, Data: hostile, Status: ringstore.CaptureCut})
	cred := named(evil, &ringstore.Event{Kind: ringstore.KindCred})
	unknown := call("getpid", math.MinInt64, ^uint64(0))
	unknown.Nr = 60000
	h := inTime(at(0, 1, 100, named(evil, path)), at(2, 1, 100, cut), at(4, 0, 100, cred), at(5, 1, 100, unknown),
		at(7, 0, 100, executed(100, evil)), at(8, 0, math.MaxUint32, named("", call("getpid", 1))), at(9, 0, 0, call("getpid", 1)),
		at(10, 0, 100, &ringstore.Event{Kind: 77}),
		at(11, 1, 100, with(operation(18, 0, ^uint64(0), ^uint64(0), ^uint64(0), 1), ringstore.Capture{Arg: layout.UringArgAddr, Data: hostile})),
		at(12, -5, 0, operation(0xffff, math.MinInt64, ^uint64(0))), at(13, 1, math.MaxUint32, operation(200, 0, 1, 2, ^uint64(0), 4, 5, 6, 7)),
		at(14, 2, 100, call("getpid", 1)), at(20, 2, 100, call("getpid", 1)))
	h.Events[len(h.Events)-2].Run = &ringstore.Run{Count: math.MaxUint64, Last: 16_000, Total: math.MinInt64}
	h.Events[len(h.Events)-1].Run = &ringstore.Run{Last: -1}
	h.Events[0].Seq = math.MaxUint64
	h.Meta.Pod, h.Meta.Namespace, h.Meta.Container, h.Meta.Notes = evil, evil, evil, []string{evil, ""}
	h.Meta.Lost = map[string]uint64{evil: math.MaxUint64}
	h.Meta.Notes = h.Meta.Notes[:1]
	h.Overwritten[0] = math.MaxUint64
	trace := drawn(t, Filter{}, h)
	found := false
	for _, s := range trace.Slices {
		if s.Name == "openat" && !s.Async {
			found = true
			if s.Args["seq"] != "18446744073709551615" {
				t.Errorf("seq is %v", s.Args["seq"])
			}
		}
	}
	if !found {
		t.Error("the call is not drawn")
	}
	// Nothing at all, and times out of all bounds, are JSON still.
	for _, h := range []*ringstore.History{{}, inTime(at(math.MinInt64/1000, 0, 100, futex(0))), inTime(at(math.MaxInt64/1000, 5, 100, futex(0)))} {
		var b bytes.Buffer
		if err := Write(&b, Perfetto, []*ringstore.History{h}, Filter{}); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(b.String(), "]}\n") {
			t.Errorf("a trace without its end: %s", b.String())
		}
	}
	drawn(t, Filter{}, &ringstore.History{})
	drawn(t, Filter{})
}

// TestWriteIsBounded: what is held while events are written does not grow with them, in
// any format.
func TestWriteIsBounded(t *testing.T) {
	const many = 120_000
	var measured []uint64
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	h := &ringstore.History{Meta: *meta, Now: many * 1000, Stream: iter.Seq[*ringstore.Event](func(yield func(*ringstore.Event) bool) {
		e := futex(0)
		for n := range int64(many) {
			e.Start, e.Duration, e.TID, e.PID, e.Seq = n*1000, 5500, uint32(100+n%7), 100, uint64(n+1)
			e.Unfinished = n >= many-7
			if n%(many/4) == many/8 {
				measured = append(measured, heap())
			}
			if !yield(e) {
				return
			}
		}
	})}
	for _, format := range []string{Text, JSON, Perfetto} {
		measured = nil
		before := heap()
		if err := Write(io.Discard, format, []*ringstore.History{h, h}, Filter{Last: 2 * many, Split: true}); err != nil {
			t.Fatal(err)
		}
		const most = 1 << 20
		for _, m := range measured {
			if m > before+most {
				t.Errorf("%s: %d bytes are held", format, m-before)
			}
		}
		if len(measured) < 8 {
			t.Errorf("%s was measured %d times", format, len(measured))
		}
	}
}
