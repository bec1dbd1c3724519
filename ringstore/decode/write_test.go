package decode

import (
	"bytes"
	"encoding/json"
	"errors"
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
		{"last", Filter{Last: 2}, []uint64{6, 7}},
		{"last of more", Filter{Last: 100}, []uint64{2, 3, 4, 5, 6, 7}},
		{"syscalls", Filter{All: true, Syscalls: []string{"read", "close"}}, []uint64{1, 3, 4, 6}},
		{"unknown syscall", Filter{Syscalls: []string{"syscall_0x1f4"}}, []uint64{7}},
		// An interrupted call has not failed, nor has one that runs.
		{"errors", Filter{Errors: true}, []uint64{2, 3, 7}},
		{"errors of", Filter{Errors: true, Syscalls: []string{"close"}}, []uint64{3}},
		{"thread", Filter{PID: 22}, []uint64{3}},
		{"process", Filter{PID: 11}, []uint64{2, 4, 5, 6, 7}},
		// Of the last 3 ms: what ended in them, and what runs.
		{"since", Filter{All: true, Since: 3 * time.Millisecond}, []uint64{1, 4, 5, 6, 7}},
		{"last errors", Filter{Errors: true, Last: 1}, []uint64{7}},
	} {
		var got []uint64
		for _, e := range x.f.Apply(h) {
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
	if err := WriteVerdict(&failing{0}, Text, Explain(h), h); !errors.Is(err, errFull) {
		t.Errorf("the verdict: %v", err)
	}
}

// failedOpen is the history of a program that dies for want of its configuration.
func failedOpen() *ringstore.History {
	path := func(e *ringstore.Event, s string) *ringstore.Event {
		return with(e, ringstore.Capture{Arg: 1, Data: []byte(s)})
	}
	write := func(fd uint64, s string, n uint64) *ringstore.Event {
		return with(call("write", int64(n), fd, 0x1000, n), ringstore.Capture{Arg: 1, Data: []byte(s)})
	}
	other := path(call("openat", -13, ^uint64(99), 0x1000, 0, 0), "/secret")
	other.PID, other.TID = 99, 99
	blocked := call("futex", 0, 0x1000, 128, 2, 0, 0, 0)
	blocked.Unfinished, blocked.TID = true, 13
	exit := call("exit_group", 0, 1)
	exit.Unfinished = true
	h := history(
		path(call("openat", -2, ^uint64(99), 0x1000, 0, 0), "/etc/ld.so.preload"),
		blocked,
		other,
		call("read", -11, 3, 0x1000, 8),
		path(call("openat", -2, ^uint64(99), 0x1000, 0, 0), "/etc/app/config.yaml"),
		path(call("openat", -2, ^uint64(99), 0x1000, 0, 0), "/etc/app/config.yaml"),
		write(1, "starting\n", 9),
		write(2, "FATAL: ", 7),
		write(2, "cannot open config\n", 30),
		exit,
	)
	h.Meta.State, h.Meta.Trigger = "exited", "exit"
	h.Meta.Death = &ringstore.Death{Kind: "exit", Time: 10_100_000, PID: 11, TID: 12, Comm: "app", First: true, Status: 0x100, Final: true}
	return h
}

func TestVerdict(t *testing.T) {
	one := 1
	want := &Verdict{
		How:     How{Kind: "exit", ExitCode: &one},
		Thread:  &Thread{PID: 11, TID: 12, Comm: "app"},
		Time:    "2023-11-14T22:13:20.010100Z",
		Summary: `exit 1, 4.1 ms after openat("/etc/app/config.yaml") = ENOENT`,
		Claims: []Claim{
			{Kind: "missing_file", Text: `openat("/etc/app/config.yaml") failed: No such file or directory`, Subject: "/etc/app/config.yaml", Confidence: "low", Evidence: []uint64{6, 5}},
			{Kind: "missing_file", Text: `openat("/etc/ld.so.preload") failed: No such file or directory`, Subject: "/etc/ld.so.preload", Confidence: "low", Evidence: []uint64{1}},
		},
		LastWords: []LastWords{{FD: 2, Text: "FATAL: cannot open config\n...", Evidence: []uint64{8, 9}}},
		// The exit itself is no call that runs.
		Running:       []Running{{TID: 13, Call: "futex", Seconds: 0.0081}},
		Complete:      true,
		CompleteSince: "2023-11-14T22:13:20.000000Z",
	}
	h := failedOpen()
	got := Explain(h)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.CompleteSince = 2e6
	if Explain(h).Complete {
		t.Error("it is complete though records were overwritten")
	}
	h.CompleteSince, h.Meta.Lost = 0, map[string]uint64{"no page": 1}
	if Explain(h).Complete {
		t.Error("it is complete though records were lost")
	}
}

func TestVerdictJSON(t *testing.T) {
	h := failedOpen()
	var b bytes.Buffer
	if err := WriteVerdict(&b, JSON, Explain(h), h); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	keys := func(v any) (out []string) {
		for k := range v.(map[string]any) {
			out = append(out, k)
		}
		return out
	}
	names := func(s string) []string { return strings.Fields(s) }
	sorted := cmp.Transformer("set", func(s []string) map[string]bool {
		m := map[string]bool{}
		for _, k := range s {
			m[k] = true
		}
		return m
	})
	for _, x := range []struct {
		want string
		got  any
	}{
		{"how thread time summary claims lastWords running complete completeSince", got},
		{"kind exitCode signal code address core oom sender", got["how"]},
		{"pid tid comm", got["thread"]},
		{"kind text subject confidence evidence", got["claims"].([]any)[0]},
		{"fd text evidence", got["lastWords"].([]any)[0]},
		{"tid call seconds", got["running"].([]any)[0]},
	} {
		if diff := cmp.Diff(names(x.want), keys(x.got), sorted); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	// Of nothing, too, there are lists and no nulls.
	b.Reset()
	if err := WriteVerdict(&b, JSON, Explain(&ringstore.History{}), &ringstore.History{}); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{`"claims":[]`, `"lastWords":[]`, `"running":[]`, `"kind":"none"`, `"thread":null`} {
		if !strings.Contains(b.String(), list) {
			t.Errorf("no %s in %s", list, b.String())
		}
	}
}

func TestHow(t *testing.T) {
	raise := call("tgkill", 0, 11, 12, 6)
	limit := uint64(2 << 20)
	text := func(s string) *string { return &s }
	code := func(n int) *int { return &n }
	for _, x := range []struct {
		name    string
		d       ringstore.Death
		calls   []*ringstore.Event
		want    How
		summary string
	}{
		{"fault", ringstore.Death{Kind: "signal", Signal: 11, Code: 1, Addr: 16, Status: 0x8b}, nil,
			How{Kind: "signal", ExitCode: code(139), Signal: text("SIGSEGV"), Code: text("SEGV_MAPERR"), Address: text("0x10"), Core: true}, "SIGSEGV (SEGV_MAPERR) at 0x10"},
		{"killed", ringstore.Death{Kind: "signal", Signal: 9, SenderPID: 77, Status: 9}, []*ringstore.Event{call("getpid", 1)},
			How{Kind: "signal", ExitCode: code(137), Signal: text("SIGKILL"), Code: text("SI_USER"), Sender: &Sender{PID: 77}}, "SIGKILL from pid 77"},
		{"abort", ringstore.Death{Kind: "signal", Signal: 6, Code: -6, SenderPID: 1, Status: 6}, []*ringstore.Event{raise},
			How{Kind: "signal", ExitCode: code(134), Signal: text("SIGABRT"), Code: text("SI_TKILL"), Sender: &Sender{PID: 1}}, "SIGABRT, raised by the process itself"},
		{"seccomp", ringstore.Death{Kind: "signal", Signal: 31, Code: 1, Addr: 0x400000, Status: 31}, nil,
			How{Kind: "seccomp", ExitCode: code(159), Signal: text("SIGSYS"), Code: text("SYS_SECCOMP"), Address: text("0x400000")}, "killed by seccomp"},
		{"oom", ringstore.Death{Kind: "oom", Signal: 9, RSSPages: 512, Comm: "eater", Status: 9}, nil,
			How{Kind: "oom", ExitCode: code(137), Signal: text("SIGKILL"), OOM: &OOM{RSSBytes: &limit, Victim: "eater"}}, "killed for lack of memory, holding 2.0 MiB"},
		{"exit", ringstore.Death{Kind: "exit", Status: 0x300}, nil, How{Kind: "exit", ExitCode: code(3)}, "exit 3"},
		{"clean", ringstore.Death{Kind: "exit"}, nil, How{Kind: "none", ExitCode: code(0)}, "exit 0"},
	} {
		h := history(x.calls...)
		x.d.PID, x.d.TID, x.d.Time = 11, 12, h.Now
		h.Meta.Death = &x.d
		v := Explain(h)
		if diff := cmp.Diff(x.want, v.How); diff != "" {
			t.Errorf("%s (-want +got):\n%s", x.name, diff)
		}
		if v.Summary != x.summary {
			t.Errorf("%s: %q, want %q", x.name, v.Summary, x.summary)
		}
	}
}

func TestClaims(t *testing.T) {
	path := func(name string, ret int64, s string) *ringstore.Event {
		return with(call(name, ret, 0x1000, 0), ringstore.Capture{Arg: 0, Data: []byte(s)})
	}
	inet := []byte{2, 0, 0x1f, 0x90, 10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0}
	for _, x := range []struct {
		e             *ringstore.Event
		kind, subject string
	}{
		{path("rmdir", -2, "/a"), "missing_file", "/a"},
		{path("access", -13, "/b"), "denied", "/b"},
		{call("kill", -1, 1, 9), "denied", ""},
		{with(call("connect", -111, 3, 0x1000, 16), ringstore.Capture{Arg: 1, Data: inet}), "refused", "10.0.0.7:8080"},
		{call("write", -28, 3, 0x1000, 8), "no_space", ""},
		{call("mmap", -12, 0, 1<<40, 3, 0x22, ^uint64(0), 0), "no_memory", ""},
		{call("socket", -24, 2, 1, 0), "no_files", ""},
		// These say nothing for certain.
		{call("read", -2, 3, 0, 0), "", ""},
		{call("ioctl", -25, 1, 0x5401, 0x1000), "", ""},
		{call("read", -11, 3, 0, 0), "", ""},
		{call("read", -9, 3, 0, 0), "", ""},
		{path("rmdir", 0, "/a"), "", ""},
	} {
		h := history(x.e)
		h.Meta.Death = &ringstore.Death{Kind: "exit", Status: 0x100, PID: 11, TID: 12, Time: h.Now}
		claims := Explain(h).Claims
		switch {
		case x.kind == "" && len(claims) == 0:
		case len(claims) != 1 || claims[0].Kind != x.kind || claims[0].Subject != x.subject || claims[0].Confidence != "low":
			t.Errorf("%s: %+v, want %s %q", text(x.e), claims, x.kind, x.subject)
		}
	}
}

func TestVerdictPage(t *testing.T) {
	h := failedOpen()
	var b bytes.Buffer
	if err := WriteVerdict(&b, "", Explain(h), h); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	at := 0
	for _, want := range []string{
		"# pod: shop/web\n",
		"\nexit 1, 4.1 ms after openat(\"/etc/app/config.yaml\") = ENOENT\n",
		"app, process 11, thread 12, at 2023-11-14T22:13:20.010100Z\n",
		"\nlast failed calls:\n",
		`openat(AT_FDCWD, "/etc/ld.so.preload", O_RDONLY) = -1 ENOENT`,
		"\nlast words (fd 2):\n  FATAL: cannot open config\n",
		"\nrunning calls:\n  13    futex for 8.1 ms\n",
		"\nlast calls:\n",
		"exit_group(1)   = ?\n",
	} {
		n := strings.Index(page[at:], want)
		if n < 0 {
			t.Fatalf("%q is not there, or not in its place:\n%s", want, page)
		}
		at += n
	}
	if strings.Contains(page, "/secret") {
		t.Errorf("another process's call is there:\n%s", page)
	}
}
