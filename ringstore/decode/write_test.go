package decode

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore"
)

// history makes one of events that begin a millisecond after each other, from 1 ms on,
// with Seq 1, 2, ...
func history(events ...*ringstore.Event) *ringstore.History {
	h := &ringstore.History{Meta: *meta}
	for i, e := range events {
		e.Start, e.Seq = int64(i+1)*1e6, uint64(i+1)
		h.Events = append(h.Events, *e)
		h.Held[e.Lane]++
	}
	h.Now = int64(len(events)+1) * 1e6
	if n := len(h.Events); n > 0 {
		h.Oldest, h.Newest = h.Events[0].Start, h.Events[n-1].Start
	}
	return h
}

func TestFilter(t *testing.T) {
	exit := &ringstore.Event{Kind: ringstore.KindExit, TID: 12, PID: 11, Exit: &ringstore.Exit{}}
	running := call("read", 0, 0, 1, 1)
	running.Unfinished = true
	other := call("close", -9, 5)
	other.PID, other.TID = 21, 22
	slow := call("read", 3, 0, 1, 1)
	slow.Duration = 4_500_000 // ends 5.5 ms
	unknown := call("getpid", -38)
	unknown.Nr = 500
	h := history(slow, call("openat", -2, 0, 0, 0, 0), other, running, exit, call("read", -512, 0, 1, 1), unknown)
	// The read of the recent lane at 1 ms is older than what was overwritten there.
	h.LaneCompleteSince[ringstore.LaneRecent] = 2e6
	for _, x := range []struct {
		name string
		f    Filter
		want []uint64
	}{
		{"none", Filter{}, []uint64{2, 3, 4, 5, 6, 7}},
		{"all", Filter{All: true}, []uint64{1, 2, 3, 4, 5, 6, 7}},
		{"syscalls", Filter{All: true, Syscalls: []string{"read", "close"}}, []uint64{1, 3, 4, 6}},
		{"unknown syscall", Filter{Syscalls: []string{"syscall_0x1f4"}}, []uint64{7}},
		// An interrupted call has not failed, nor has one that runs.
		{"errors", Filter{Errors: true}, []uint64{2, 3, 7}},
		{"errors of", Filter{Errors: true, Syscalls: []string{"close"}}, []uint64{3}},
		{"thread", Filter{PID: 22}, []uint64{3}},
		{"process", Filter{PID: 11}, []uint64{2, 4, 5, 6, 7}},
		// Of the last 3 ms: what ended in them, and what runs.
		{"since", Filter{All: true, Since: 3 * time.Millisecond}, []uint64{1, 4, 5, 6, 7}},
	} {
		var got []uint64
		for e := range x.f.Each(h) {
			got = append(got, e.Seq)
		}
		if diff := cmp.Diff(x.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", x.name, diff)
		}
	}
}

func TestHeader(t *testing.T) {
	h := history(call("getpid", 11), call("getpid", 11))
	h.Meta.Notes = []string{"recording began late\nreally"}
	h.Meta.Lost = map[string]uint64{"no page": 3, "busy": 0, "frozen": 2}
	h.Meta.Trigger, h.Meta.State, h.Meta.Instance = "exit", "exited", 4
	h.CompleteSince = 1_500_000
	h.Overwritten[ringstore.LaneRecent] = 17
	var b bytes.Buffer
	if err := Header(&b, h); err != nil {
		t.Fatal(err)
	}
	want := `# pod: shop/web
# container: app, life 4
# state: exited, snapshot by exit
# span: 2023-11-14T22:13:20.001000Z to 2023-11-14T22:13:20.002000Z, 1ms
# complete: since 2023-11-14T22:13:20.001500Z
# records: 2 held, 17 overwritten (recent 17)
# lost: frozen 2, no page 3
# note: recording began late really
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b.Reset()
	empty := &ringstore.History{Meta: ringstore.Meta{Pod: "a\x1bb\nc"}}
	if err := Header(&b, empty); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "# ") || strings.ContainsAny(line, "\x1b") {
			t.Errorf("not a line of a header: %q", line)
		}
	}
}

// body returns the lines that Write gives without the headers.
func body(t *testing.T, f Filter, hs ...*ringstore.History) []string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, Text, hs, f); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "# ") || strings.HasPrefix(line, "# complete from") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

func TestWriteMergesByTime(t *testing.T) {
	name := func(line string) string {
		if strings.HasPrefix(line, "#") {
			return line
		}
		_, rest, _ := strings.Cut(line, ".")
		return rest[7:strings.Index(rest, "(")]
	}
	names := func(lines []string) (out []string) {
		for _, line := range lines {
			out = append(out, name(line))
		}
		return out
	}
	a := history(call("getpid", 1), call("getuid", 1), call("getgid", 1))
	// Its clock began half a millisecond later.
	b := history(call("getppid", 1), call("geteuid", 1))
	b.Meta.WallOffset += 500_000
	want := []string{"getpid", "getppid", "getuid", "geteuid", "getgid"}
	if diff := cmp.Diff(want, names(body(t, Filter{}, a, b))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[2:], names(body(t, Filter{Last: 3}, a, b))); diff != "" {
		t.Errorf("the last 3 of both (-want +got):\n%s", diff)
	}

	for n, want := range map[int][]string{1: want[4:], 5: want, 100: want} {
		if diff := cmp.Diff(want, names(body(t, Filter{Last: n}, a, b))); diff != "" {
			t.Errorf("the last %d (-want +got):\n%s", n, diff)
		}
	}
	failed := call("getppid", -2)
	if diff := cmp.Diff([]string{"getppid"}, names(body(t, Filter{Errors: true, Last: 1}, history(call("getpid", -2), failed, call("getuid", 1))))); diff != "" {
		t.Errorf("the last error (-want +got):\n%s", diff)
	}

	// What has no line does not count.
	c := history(call("getpid", 1), &ringstore.Event{Kind: ringstore.KindCred})
	if diff := cmp.Diff(want[:1], names(body(t, Filter{Last: 1}, c))); diff != "" {
		t.Errorf("the last line (-want +got):\n%s", diff)
	}

	// With All, the line stands where both are complete.
	a.CompleteSince = 2_000_000
	a.LaneCompleteSince[ringstore.LaneRecent] = 2_000_000
	marked := []string{"getpid", "getppid", "# complete from here", "getuid", "geteuid", "getgid"}
	if diff := cmp.Diff(marked, names(body(t, Filter{All: true}, a, b))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], names(body(t, Filter{}, a, b))); diff != "" {
		t.Errorf("without All (-want +got):\n%s", diff)
	}
	a.CompleteSince = 50_000_000
	if lines := names(body(t, Filter{All: true}, a)); lines[len(lines)-1] != "# complete from here" {
		t.Errorf("nothing is complete, but the last line is %s", lines[len(lines)-1])
	}
	a.CompleteSince = 0
	if lines := names(body(t, Filter{All: true}, a)); strings.HasPrefix(lines[0], "#") {
		t.Errorf("nothing is incomplete, but there is a line %s", lines[0])
	}
}

func TestWriteJSON(t *testing.T) {
	h := history(call("getpid", 11), &ringstore.Event{Kind: ringstore.KindCred}, call("getuid", 0))
	var b bytes.Buffer
	if err := Write(&b, JSON, []*ringstore.History{h}, Filter{}); err != nil {
		t.Fatal(err)
	}
	var want []byte
	for i := range h.Events {
		want = AppendJSON(want, &h.Meta, &h.Events[i])
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("Write and AppendJSON differ (-AppendJSON +Write):\n%s", diff)
	}
}

// failing is a writer that has room for n bytes.
type failing struct{ n int }

var errFull = errors.New("full")

func (f *failing) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriteTellsErrors(t *testing.T) {
	h := history(call("getpid", 11))
	if err := Write(&bytes.Buffer{}, "xml", []*ringstore.History{h}, Filter{}); err == nil || !strings.Contains(err.Error(), "xml") {
		t.Errorf("an unknown format gives %v", err)
	}
	for range 3000 {
		h.Events = append(h.Events, h.Events[0])
	}
	for _, format := range []string{Text, JSON} {
		for _, room := range []int{0, 100_000} {
			if err := Write(&failing{room}, format, []*ringstore.History{h}, Filter{}); !errors.Is(err, errFull) {
				t.Errorf("%s with room for %d bytes: %v", format, room, err)
			}
		}
	}
}

// A run is wanted as long as its last call is.
func TestFilterRuns(t *testing.T) {
	run := func(start, last int64) ringstore.Event {
		e := *call("getppid", 1)
		e.Start, e.Seq, e.Run = start, uint64(start), &ringstore.Run{Count: 9, Last: last, Total: 9}
		return e
	}
	h := &ringstore.History{Now: 10_000, Events: []ringstore.Event{run(1000, 2000), run(3000, 7000), run(8000, 9000)}}
	h.LaneCompleteSince[ringstore.LaneRecent] = 6000
	for _, test := range []struct {
		f    Filter
		want []int64
	}{
		{Filter{All: true}, []int64{1000, 3000, 8000}},
		{Filter{}, []int64{3000, 8000}}, // the one that goes on where it is complete, too
		{Filter{All: true, Since: 3000}, []int64{3000, 8000}},
		{Filter{All: true, Since: 2999}, []int64{8000}},
	} {
		var got []int64
		for e := range test.f.Each(h) {
			got = append(got, e.Start)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v leaves %v, want %v", test.f, got, test.want)
		}
	}
}
