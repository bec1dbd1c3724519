package decode

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode/perfettotest"
)

// at places an event in time, in microseconds, on a thread of process 100.
func at(start, duration int64, tid uint32, e *ringstore.Event) *ringstore.Event {
	e.Start, e.Duration, e.TID, e.PID = start*1000, duration*1000, tid, 100
	return e
}

func running(e *ringstore.Event) *ringstore.Event {
	e.Unfinished, e.Ret, e.Duration = true, 0, 0
	return e
}

// inTime makes a history of events that know their time.
func inTime(events ...*ringstore.Event) *ringstore.History {
	h := &ringstore.History{Meta: *meta}
	for i, e := range events {
		if e.Seq = uint64(i + 1); e.Unfinished {
			e.Seq = 0
		}
		h.Events = append(h.Events, *e)
		h.Now = max(h.Now, e.Start+e.Duration+1)
		if x := e.Exec; x != nil && x.OldTID != e.TID {
			h.Takeovers = append(h.Takeovers, ringstore.Takeover{TID: e.TID, Old: x.OldTID, Time: e.Start})
		}
	}
	h.Oldest, h.Newest = h.Events[0].Start, h.Events[len(h.Events)-1].Start
	return h
}

func written(t *testing.T, f Filter, hs ...*ringstore.History) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, Text, hs, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func read(ret int64, data string) *ringstore.Event {
	e := call("read", ret, 3, 0x7f00, 64)
	e.Captures = []ringstore.Capture{{Arg: 1, Status: ringstore.CaptureExit, Data: []byte(data)}}
	return e
}

func futex(ret int64) *ringstore.Event { return call("futex", ret, 0x1000, 0, 2, 0, 0, 0) }

func exit(status uint32, group bool) *ringstore.Event {
	return &ringstore.Event{Kind: ringstore.KindExit, Exit: &ringstore.Exit{Status: status, Group: group}}
}

// TestSplit: with several threads at once, text is in the order of time as strace has it: a
// call is in two parts exactly where another line comes between.
func TestSplit(t *testing.T) {
	signal := &ringstore.Event{Kind: ringstore.KindSignal, Signal: &ringstore.Signal{Signal: 10, PID: 100}}
	program := ringstore.Capture{Arg: 0, Data: []byte("/bin/true")}
	run := func(count uint64, last, total int64, e *ringstore.Event) *ringstore.Event {
		e.Run = &ringstore.Run{Count: count, Last: last * 1000, Total: total * 1000}
		return e
	}
	exec := with(call("execve", 0, 0x10, 0x20, 0x30), program)
	for _, x := range []struct {
		name   string
		events []*ringstore.Event
		want   string
	}{
		{"one thread", []*ringstore.Event{at(0, 5, 100, read(2, "ab")), at(5, 1, 100, call("getpid", 100)), at(9, 0, 100, call("getuid", 0))}, `
100   1700000000.000000 read(3, "ab", 64) = 2 <0.000005>
100   1700000000.000005 getpid()        = 100 <0.000001>
100   1700000000.000009 getuid()        = 0 <0.000000>
`},
		{"between", []*ringstore.Event{at(0, 5, 100, read(2, "ab")), at(1, 1, 101, call("getpid", 100)), at(7, 2, 100, futex(0)), at(8, 9, 101, futex(-11))}, `
100   1700000000.000000 read(3,  <unfinished ...>
101   1700000000.000001 getpid()        = 100 <0.000001>
100   1700000000.000005 <... read resumed>"ab", 64) = 2 <0.000005>
100   1700000000.000007 futex(0x1000, FUTEX_WAIT, 2, NULL <unfinished ...>
101   1700000000.000008 futex(0x1000, FUTEX_WAIT, 2, NULL <unfinished ...>
100   1700000000.000009 <... futex resumed>) = 0 <0.000002>
101   1700000000.000017 <... futex resumed>) = -1 EAGAIN (Resource temporarily unavailable) <0.000009>
`},
		// What comes when it has returned is not between, at the same time included.
		{"after", []*ringstore.Event{at(0, 5, 100, futex(0)), at(5, 1, 101, futex(0))}, `
100   1700000000.000000 futex(0x1000, FUTEX_WAIT, 2, NULL) = 0 <0.000005>
101   1700000000.000005 futex(0x1000, FUTEX_WAIT, 2, NULL) = 0 <0.000001>
`},
		{"a signal to another thread", []*ringstore.Event{at(0, 5, 100, futex(0)), at(2, 0, 101, signal)}, `
100   1700000000.000000 futex(0x1000, FUTEX_WAIT, 2, NULL <unfinished ...>
101   1700000000.000002 --- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, si_pid=100, si_uid=0} ---
100   1700000000.000005 <... futex resumed>) = 0 <0.000005>
`},
		{"running", []*ringstore.Event{at(0, 0, 101, running(read(0, ""))), at(1, 0, 100, running(futex(0)))}, `
101   1700000000.000000 read(3,  <unfinished ...>
100   1700000000.000001 futex(0x1000, FUTEX_WAIT, 2, NULL <unfinished ...>
`},
		{"the end of a process", []*ringstore.Event{
			at(0, 0, 101, running(read(0, ""))), at(1, 0, 102, running(futex(0))), at(2, 0, 100, running(call("exit_group", 0, 1))),
			at(4, 0, 101, exit(0x100, false)), at(5, 0, 102, exit(0x100, false)), at(6, 0, 100, exit(0x100, true))}, `
101   1700000000.000000 read(3,  <unfinished ...>
102   1700000000.000001 futex(0x1000, FUTEX_WAIT, 2, NULL <unfinished ...>
100   1700000000.000002 exit_group(1)   = ?
101   1700000000.000004 <... read resumed> <unfinished ...>) = ?
101   1700000000.000004 +++ exited with 1 +++
102   1700000000.000005 <... futex resumed>) = ?
102   1700000000.000005 +++ exited with 1 +++
100   1700000000.000006 +++ exited with 1 +++
`},
		{"the end of one thread", []*ringstore.Event{at(0, 0, 100, running(read(0, ""))), at(4, 0, 100, exit(9, true))}, `
100   1700000000.000000 read(3,  <unfinished ...>) = ?
100   1700000000.000004 +++ killed by SIGKILL +++
`},
		{"execve by another thread", []*ringstore.Event{
			at(0, 0, 100, running(futex(0))), at(1, 9, 100, exec), at(3, 0, 100, exit(0, false)),
			at(8, 0, 100, &ringstore.Event{Kind: ringstore.KindExec, Exec: &ringstore.Exec{OldTID: 101, Filename: program}}), at(12, 1, 100, call("getpid", 100))}, `
100   1700000000.000000 futex(0x1000, FUTEX_WAIT, 2, NULL <unfinished ...>
101   1700000000.000001 execve("/bin/true", 0x20, 0x30 <unfinished ...>
100   1700000000.000003 <... futex resumed>) = ?
100   1700000000.000008 +++ superseded by execve in pid 101 +++
100   1700000000.000010 <... execve resumed>) = 0 <0.000009>
100   1700000000.000012 getpid()        = 100 <0.000001>
`},
		{"gone on with", []*ringstore.Event{at(0, 5, 100, call("poll", -516, 0, 0, 10)), at(2, 9, 101, call("poll", -516, 0, 0, 10)),
			at(7, 1, 100, call("restart_syscall", 0)), at(12, 1, 101, call("getpid", 100)), at(14, 1, 101, call("restart_syscall", 0))}, `
100   1700000000.000000 poll(NULL, 0, 10 <unfinished ...>
101   1700000000.000002 poll(NULL, 0, 10 <unfinished ...>
100   1700000000.000005 <... poll resumed>) = ? ERESTART_RESTARTBLOCK (Interrupted by signal) <0.000005>
100   1700000000.000007 restart_syscall(<... resuming interrupted poll ...>) = 0 <0.000001>
101   1700000000.000011 <... poll resumed>) = ? ERESTART_RESTARTBLOCK (Interrupted by signal) <0.000009>
101   1700000000.000012 getpid()        = 100 <0.000001>
101   1700000000.000014 restart_syscall() = 0 <0.000001>
`},
		// What a run is stands behind its first call, which other threads interrupt as any.
		{"runs", []*ringstore.Event{run(3, 30, 20, at(0, 5, 100, futex(-11))), run(900, 70, 50, at(10, 9, 101, futex(0))), at(12, 1, 102, call("getpid", 100)),
			at(40, 1, 100, call("getpid", 100))}, `
100   1700000000.000000 futex(0x1000, FUTEX_WAIT, 2, NULL) = -1 EAGAIN (Resource temporarily unavailable) <0.000005>
# 100 made this call 2 times more until 1700000000.000030; all 3 took <0.000020>
101   1700000000.000010 futex(0x1000, FUTEX_WAIT, 2, NULL <unfinished ...>
102   1700000000.000012 getpid()        = 100 <0.000001>
101   1700000000.000019 <... futex resumed>) = 0 <0.000009>
# 101 made this call 899 times more until 1700000000.000070; all 900 took <0.000050>
100   1700000000.000040 getpid()        = 100 <0.000001>
`},
		// An operation of io_uring has one line, where it began.
		{"operations", []*ringstore.Event{at(0, 50, 100, call("io_uring_enter", 2, 3, 2, 2, 1, 0, 0)), at(1, 20, 100, operation(0, 1, 1)),
			at(2, 60, 100, operation(0, 0, 2)), at(3, 4, 101, call("getpid", 100)), at(7, 0, 100, running(operation(0, 0, 3))), at(55, 1, 100, futex(0))}, `
100   1700000000.000000 io_uring_enter(3, 2, 2, IORING_ENTER_GETEVENTS, NULL, 0 <unfinished ...>
# 100   1700000000.000001 io_uring nop() = 1 <0.000020> /* user_data=0x1 */
# 100   1700000000.000002 io_uring nop() = 0 <0.000060> /* user_data=0x2 */
101   1700000000.000003 getpid()        = 100 <0.000004>
# 100   1700000000.000007 io_uring nop( <unfinished ...> /* user_data=0x3 */
100   1700000000.000050 <... io_uring_enter resumed>) = 2 <0.000050>
100   1700000000.000055 futex(0x1000, FUTEX_WAIT, 2, NULL) = 0 <0.000001>
`},
	} {
		if diff := cmp.Diff(x.want[1:], written(t, Filter{Split: true, NoHeader: true}, inTime(x.events...))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", x.name, diff)
		}
	}
	// Nothing but the header stands above the first call, and it only where it is wanted.
	h := inTime(at(0, 5, 100, futex(0)))
	with, without := written(t, Filter{}, h), written(t, Filter{NoHeader: true}, h)
	if head, ok := strings.CutSuffix(with, without); !ok || head == "" || strings.Count(with, "\n# ")+1 != strings.Count(head, "\n") {
		t.Errorf("with a header\n%swithout\n%s", with, without)
	}
}

// TestSplitSaysTheSame: joined again, the two parts of a call are its one line.
func TestSplitSaysTheSame(t *testing.T) {
	var events []*ringstore.Event
	for i := range int64(200) {
		tid := uint32(101 + i%7)
		e := []*ringstore.Event{futex(0), read(3, "abc"), read(-4, ""), call("openat", -2, ^uint64(99), 0x5000, 0, 0), call("pipe2", 0, 0x5000, 0)}[i%5]
		if i%5 == 3 {
			e.Captures = []ringstore.Capture{{Arg: 1, Status: ringstore.CaptureStatus(i % 3), Data: []byte("/none")}}
		}
		if i%4 == 1 {
			e.Run = &ringstore.Run{Count: uint64(2 + i), Last: (i*10 + 69) * 1000, Total: i * 1000}
		}
		if i%9 == 2 {
			events = append(events, at(i*10, i, tid, operation(18, -2, 7, cwd, 0, 0x1000)))
		}
		events = append(events, at(i*10, i%70, tid, e)) // the next of the same thread is 70 later
	}
	h := inTime(events...)
	whole := written(t, Filter{NoHeader: true}, h)
	type half struct {
		place int
		text  string
	}
	var joined []string
	begun := map[string]half{}
	parts := 0
	last := 0 // the place of the line before
	for line := range strings.Lines(written(t, Filter{Split: true, NoHeader: true}, h)) {
		tid, rest, _ := strings.Cut(line, " ")
		if text, ok := strings.CutSuffix(line, " <unfinished ...>\n"); ok {
			begun[tid] = half{len(joined), text}
			joined = append(joined, "")
			parts++
			continue
		}
		if _, text, ok := strings.Cut(rest, " resumed>"); ok {
			first := begun[tid]
			args, result, _ := strings.Cut(text, ") = ")
			line := first.text + args + ") "
			line += strings.Repeat(" ", max(resultColumn-len(line), 0)) + "= " + result
			joined[first.place] = line
			last = first.place
			continue
		}
		if strings.Contains(line, " made this call ") {
			joined[last] += line // where its call's result is
			continue
		}
		last = len(joined)
		joined = append(joined, line)
	}
	if diff := cmp.Diff(whole, strings.Join(joined, "")); diff != "" {
		t.Errorf("(-whole +joined):\n%s", diff)
	}
	if parts < 50 {
		t.Errorf("%d calls were split", parts)
	}
}

// TestPerfettoReadsText: the importer of strace's text takes each of our calls for what it is
// and skips what is none; so a trace begins with a call where headers are left out.
func TestPerfettoReadsText(t *testing.T) {
	signal := &ringstore.Event{Kind: ringstore.KindSignal, Signal: &ringstore.Signal{Signal: 11, Code: 1, Addr: 16}}
	child := &ringstore.Event{Kind: ringstore.KindSignal, Signal: &ringstore.Signal{Signal: 17, Code: 1, PID: 7, More: [3]uint64{3, 1, 0}}}
	denied := call("mount", -1, 0, 0, 0, 0, 0)
	denied.NoEnter = true
	unknown := call("getpid", -38, 1, 2)
	unknown.Nr = 500
	paren := with(call("openat", -2, ^uint64(99), 0x5000, 0, 0), ringstore.Capture{Arg: 1, Data: []byte("a) + (b")})
	interrupted := call("nanosleep", -516, 0, 0)
	h := inTime(
		at(0, 20, 100, read(2, "ab")), at(1, 1, 101, paren), at(3, 1, 101, denied), at(4, 1, 101, unknown), at(5, 1, 101, interrupted),
		at(7, 1, 101, call("restart_syscall", 0)), at(9, 0, 101, child), at(10, 0, 101, running(futex(0))), at(11, 0, 100, signal),
		at(30, 0, 101, exit(0x8b, false)), at(31, 0, 100, exit(0x8b, true)),
		at(12, 2, 100, operation(18, -2, 7, cwd, 0, 0x1000)), at(13, 0, 100, running(operation(22, 0, 7, 3))),
		at(32, 9, 110, call("getppid", 1)), at(40, 4, 111, call("getuid", 0)), at(43, 1, 112, call("getgid", 0)),
	)
	for n, count := range map[int]uint64{13: 1000, 14: 2} {
		h.Events[n].Run = &ringstore.Run{Count: count, Last: 60_000, Total: 30_000}
	}
	slices.SortFunc(h.Events, func(a, b ringstore.Event) int { return int(a.Start - b.Start) })
	h.CompleteSince = 6000
	if _, err := perfettotest.ReadStrace(strings.NewReader(written(t, Filter{All: true}, h))); err == nil {
		t.Error("a trace that begins with a header is taken for strace's: README says that it is not")
	}
	for _, f := range []Filter{{All: true, NoHeader: true}, {All: true, NoHeader: true, Split: true}} {
		trace, err := perfettotest.ReadStrace(strings.NewReader(written(t, f, h)))
		if err != nil {
			t.Fatal(err)
		}
		calls := map[string]int{}
		for _, c := range trace.Calls {
			if !c.Returns {
				calls[c.Name]++
			}
			if !c.Begins && c.Return == "" {
				t.Errorf("%+v has no result", c)
			}
		}
		want := map[string]int{"read": 1, "openat": 1, "mount": 1, "syscall_0x1f4": 1, "nanosleep": 1, "restart_syscall": 1, "futex": 1,
			"getppid": 1, "getuid": 1, "getgid": 1}
		if f.Split {
			if s := trace.Slices[0]; s.Name != "read" || s.Duration != 20_000 {
				t.Errorf("the call in two parts is %+v", s)
			}
		} else {
			for _, c := range trace.Calls {
				if c.Name == "openat" && (c.Args != `AT_FDCWD, "a) + (b", O_RDONLY` || c.Return != "-1 ENOENT (No such file or directory) <0.000001>") {
					t.Errorf("%+v", c)
				}
			}
		}
		if diff := cmp.Diff(want, calls); diff != "" {
			t.Errorf("%+v: calls (-want +got):\n%s", f, diff)
		}
		for _, line := range trace.Skipped {
			if !strings.HasPrefix(line, "# complete") && !strings.Contains(line, " --- SIG") && !strings.Contains(line, " +++ ") &&
				!(strings.HasPrefix(line, "# 1") && (strings.Contains(line, " made this call ") || strings.Contains(line, " io_uring "))) {
				t.Errorf("%+v: skipped: %s", f, line)
			}
		}
		if len(trace.Skipped) != 9 {
			t.Errorf("%+v: %d lines are skipped: %q", f, len(trace.Skipped), trace.Skipped)
		}
	}
}
