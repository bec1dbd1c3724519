package verdict

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

var update = flag.Bool("update", false, "tell of the recorded deaths anew, and keep that as what is expected")

// TestRecordedDeaths: of each death that was recorded once, on a real kernel, the same is
// told as then, byte for byte. The recordings come from TestDeaths of cmd/swolld, which
// checks what is told of them; it takes root, this does not.
func TestRecordedDeaths(t *testing.T) {
	files, err := filepath.Glob("testdata/deaths/*.swoll")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d recordings, %v; want at least 25", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".swoll")
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > 30<<10 {
				t.Errorf("the recording has %d bytes", len(data))
			}
			snap, err := ringstore.ReadSnapshot(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			h, events := snap.Stream()
			v := Explain(h, events)
			for suffix, format := range map[string]string{".json": decode.JSON, ".txt": decode.Text} {
				var got bytes.Buffer
				if err := Write(&got, format, v, h); err != nil {
					t.Fatal(err)
				}
				if *update {
					if err := os.WriteFile(name+suffix, got.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(name + suffix)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got.String()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", suffix, diff)
				}
			}
			// With the events at hand it is the same verdict.
			if diff := cmp.Diff(v, ExplainHistory(snap.History()), cmp.AllowUnexported(Verdict{}, Claim{})); diff != "" {
				t.Errorf("streamed (-) and from a history (+):\n%s", diff)
			}
		})
	}
}

// meta names a container whose clock began at the epoch.
var meta = ringstore.Meta{
	Namespace: "shop", Pod: "web", Container: "app", Arch: "amd64", State: "exited", Trigger: "exit", WallOffset: 1_700_000_000e9,
}

// nr is the number of a call on amd64.
func nr(name string) uint16 {
	for n, c := range syscalls.Table("amd64", ringstore.ABINative) {
		if c != nil && c.Name == name {
			return uint16(n)
		}
	}
	panic("no call " + name)
}

// call makes an event of a call that returned.
func call(name string, ret int64, args ...uint64) *ringstore.Event {
	return &ringstore.Event{Kind: ringstore.KindCall, TID: 12, PID: 11, Duration: 37_000, Nr: nr(name), Args: args, Ret: ret}
}

// on makes it a call of another process.
func on(pid uint32, e *ringstore.Event) *ringstore.Event {
	e.PID, e.TID = pid, pid
	return e
}

func with(e *ringstore.Event, captures ...ringstore.Capture) *ringstore.Event {
	e.Captures = captures
	return e
}

func unfinished(e *ringstore.Event) *ringstore.Event {
	e.Unfinished, e.Ret, e.Duration = true, 0, 0
	return e
}

const cwd = ^uint64(99) // AT_FDCWD

func open(path string, ret int64) *ringstore.Event {
	return with(call("openat", ret, cwd, 0x1000, 0, 0), ringstore.Capture{Arg: 1, Data: []byte(path)})
}

func write(fd uint64, text string, n uint64) *ringstore.Event {
	return with(call("write", int64(n), fd, 0x1000, n), ringstore.Capture{Arg: 1, Data: []byte(text)})
}

// said writes a whole text.
func said(text string) *ringstore.Event { return write(2, text, uint64(len(text))) }

var address = []byte{2, 0, 0x1f, 0x90, 10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0}

func connect(ret int64) *ringstore.Event {
	return with(call("connect", ret, 3, 0x1000, 16), ringstore.Capture{Arg: 1, Data: address})
}

// operation is one of io_uring that completed; text is what its arg points to.
func operation(opcode uint16, ret int64, arg int, text string, args ...uint64) *ringstore.Event {
	e := event(ringstore.KindUring)
	e.Nr, e.Ret, e.Duration, e.Args = opcode, ret, 1000, args
	if text != "" {
		e.Captures = []ringstore.Capture{{Arg: arg, Data: []byte(text)}}
	}
	return e
}

func connectUnix(path string) *ringstore.Event {
	return with(call("connect", -2, 3, 0x1000, 110), ringstore.Capture{Arg: 1, Data: append([]byte{1, 0}, path...)})
}

func leave(code uint64) *ringstore.Event { return unfinished(call("exit_group", 0, code)) }

func event(kind ringstore.Kind) *ringstore.Event {
	return &ringstore.Event{Kind: kind, TID: 11, PID: 11, Comm: "app"}
}

func signalled(n uint32, handled bool, from *ringstore.Sender) *ringstore.Event {
	e := event(ringstore.KindSignal)
	e.Signal = &ringstore.Signal{Signal: n, Handled: handled, Fatal: !handled, Sender: from}
	return e
}

func exited(pid, status uint32) *ringstore.Event {
	e := event(ringstore.KindExit)
	e.PID, e.TID, e.Exit = pid, pid, &ringstore.Exit{Status: status, Group: true}
	return e
}

// history makes one of events that begin a millisecond after each other, from 1 ms on,
// with Seq 1, 2, ... Where an event has a Start, it is a gap before it.
func history(d *ringstore.Death, events ...*ringstore.Event) *ringstore.History {
	h := &ringstore.History{Meta: meta}
	now := int64(0)
	for i, e := range events {
		now += 1e6 + e.Start
		e.Start, e.Seq = now, uint64(i+1)
		h.Events = append(h.Events, *e)
	}
	h.Now = now + 1e6
	if d != nil {
		d.PID, d.TID, d.Time, d.Final = 11, 12, h.Now, true
		if last := h.Events[len(events)-1]; last.Kind == ringstore.KindExit {
			d.Time = last.Start // the death is not younger than the end of the process
		}
		if d.Comm == "" {
			d.Comm = "app"
		}
		h.Meta.Death = d
	}
	return h
}

func ending(code uint32) *ringstore.Death { return &ringstore.Death{Kind: "exit", Status: code << 8} }

// failedOpen is the history of a program that dies for want of its configuration.
func failedOpen() *ringstore.History {
	other := on(99, open("/secret", -13))
	blocked := unfinished(call("futex", 0, 0x1000, 128, 2, 0, 0, 0))
	blocked.TID = 13
	return history(ending(1),
		open("/etc/ld.so.preload", -2), blocked, other, call("read", -11, 3, 0x1000, 8),
		open("/etc/app/config.yaml", -2), open("/etc/app/config.yaml", -2),
		write(1, "starting\n", 9), said("FATAL: "), write(2, "cannot open config\n", 30), leave(1))
}

func TestVerdict(t *testing.T) {
	one := 1
	want := &Verdict{
		How:     How{Kind: "exit", ExitCode: &one},
		Thread:  &Thread{PID: 11, TID: 12, Comm: "app"},
		Time:    "2023-11-14T22:13:20.011000Z",
		Summary: `exit 1, 5.0 ms after openat("/etc/app/config.yaml") = ENOENT, 2 times in 1.0 ms`,
		Claims: []Claim{
			{Kind: "missing_file", Text: `openat("/etc/app/config.yaml") failed: No such file or directory, 2 times in 1.0 ms, 5.0 ms before the end`,
				Subject: "/etc/app/config.yaml", Confidence: High, Evidence: []uint64{5, 6}},
			{Kind: "last_words", Text: "it said on standard error: FATAL: cannot open config", Subject: "standard error", Confidence: Medium, Evidence: []uint64{8, 9}},
		},
		LastWords: []LastWords{
			{FD: 2, Text: "FATAL: cannot open config\n...", Evidence: []uint64{8, 9}},
			{FD: 1, Text: "starting\n", Evidence: []uint64{7}},
		},
		// The exit itself is no call that runs.
		Running:       []Running{{TID: 13, Call: "futex", Seconds: 0.009}},
		Complete:      true,
		CompleteSince: "2023-11-14T22:13:20.000000Z",
	}
	h := failedOpen()
	got := ExplainHistory(h)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Verdict{}, Claim{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.CompleteSince = 2e6
	if ExplainHistory(h).Complete {
		t.Error("it is complete though records were overwritten")
	}
	h.CompleteSince, h.Meta.Lost = 0, map[string]uint64{"no page": 1}
	if ExplainHistory(h).Complete {
		t.Error("it is complete though records were lost")
	}
}

func TestPage(t *testing.T) {
	h := failedOpen()
	var b bytes.Buffer
	if err := Write(&b, "", ExplainHistory(h), h); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if !strings.HasPrefix(page, "exit 1, ") {
		t.Errorf("the summary is not the first line:\n%s", page)
	}
	at := 0
	for _, want := range []string{
		"app, process 11, thread 12, at 2023-11-14T22:13:20.011000Z\n",
		"\nwhy, the surest first:\n  high   missing_file: openat(\"/etc/app/config.yaml\") failed",
		"[seq 5, 6]\n",
		"\nlast words (fd 2):\n  FATAL: cannot open config\n",
		"\nrunning calls:\n  13    futex for 9.0 ms\n",
		"\nlast calls, and what is evidence:\n",
		"exit_group(1)   = ?\n",
		"# pod: shop/web\n",
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
	if err := Write(&b, "xml", ExplainHistory(h), h); err == nil {
		t.Error("an unknown format is no error")
	}
}

// TestJSON: the names of the contract are there, in each kind of verdict.
func TestJSON(t *testing.T) {
	h := failedOpen()
	var b bytes.Buffer
	if err := Write(&b, decode.JSON, ExplainHistory(h), h); err != nil {
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
		slices.Sort(out)
		return out
	}
	for _, x := range []struct {
		want string
		got  any
	}{
		{"claims complete completeSince how lastWords running summary thread time", got},
		{"address code core exitCode kind oom sender signal", got["how"]},
		{"comm pid tid", got["thread"]},
		{"confidence evidence kind subject text", got["claims"].([]any)[0]},
		{"evidence fd text", got["lastWords"].([]any)[0]},
		{"call seconds tid", got["running"].([]any)[0]},
	} {
		if diff := cmp.Diff(strings.Fields(x.want), keys(x.got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	// Of nothing, too, there are lists and no nulls.
	b.Reset()
	if err := Write(&b, decode.JSON, ExplainHistory(&ringstore.History{}), &ringstore.History{}); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{`"claims":[]`, `"lastWords":[]`, `"running":[]`, `"kind":"none"`, `"thread":null`} {
		if !strings.Contains(b.String(), list) {
			t.Errorf("no %s in %s", list, b.String())
		}
	}
}

func TestHow(t *testing.T) {
	text := func(s string) *string { return &s }
	code := func(n int) *int { return &n }
	bytesOf := func(n uint64) *uint64 { return &n }
	killer := &ringstore.Sender{PID: 77, Cgroup: 5, Comm: "killer"}
	for _, x := range []struct {
		name    string
		d       ringstore.Death
		want    How
		summary string
	}{
		{"fault", ringstore.Death{Kind: "signal", Signal: 11, Code: 1, Addr: 16, Status: 0x8b},
			How{Kind: "signal", ExitCode: code(139), Signal: text("SIGSEGV"), Code: text("SEGV_MAPERR"), Address: text("0x10"), Core: true},
			"SIGSEGV (SEGV_MAPERR) at 0x10, in thread 12"},
		{"killed", ringstore.Death{Kind: "signal", Signal: 9, Sender: killer, Status: 9},
			How{Kind: "signal", ExitCode: code(137), Signal: text("SIGKILL"), Code: text("SI_USER"),
				Sender: &Sender{PID: 77, Comm: text("killer"), Pod: text("shop/db"), Container: text("db")}},
			"SIGKILL from killer (pid 77) of shop/db"},
		{"killed by nobody known", ringstore.Death{Kind: "signal", Signal: 9, Status: 9},
			How{Kind: "signal", ExitCode: code(137), Signal: text("SIGKILL")}, "SIGKILL"},
		{"killed by the kernel", ringstore.Death{Kind: "signal", Signal: 9, Code: 0x80, Status: 9, Sender: &ringstore.Sender{Kernel: true}},
			How{Kind: "signal", ExitCode: code(137), Signal: text("SIGKILL"), Code: text("SI_KERNEL")}, "SIGKILL from the kernel"},
		{"killed, of old", ringstore.Death{Kind: "signal", Signal: 15, SenderPID: 7, Status: 15},
			How{Kind: "signal", ExitCode: code(143), Signal: text("SIGTERM"), Code: text("SI_USER"), Sender: &Sender{PID: 7}}, "SIGTERM from pid 7"},
		{"abort", ringstore.Death{Kind: "signal", Signal: 6, Code: -6, SenderPID: 11, Status: 6},
			How{Kind: "signal", ExitCode: code(134), Signal: text("SIGABRT"), Code: text("SI_TKILL"), Sender: &Sender{PID: 11}},
			"SIGABRT, raised by the process itself, in thread 12"},
		{"seccomp", ringstore.Death{Kind: "signal", Signal: 31, Code: 1, Addr: 0x400000, Status: 31, More: 0xc000003e<<32 | 83},
			How{Kind: "seccomp", ExitCode: code(159), Signal: text("SIGSYS"), Code: text("SYS_SECCOMP"), Address: text("0x400000")},
			"killed by seccomp for calling mkdir"},
		{"oom", ringstore.Death{Kind: "oom", First: true, Signal: 9, RSSPages: 512, UsedPages: 1024, LimitPages: 1024, Comm: "eater", Status: 9},
			How{Kind: "oom", ExitCode: code(137), Signal: text("SIGKILL"), OOM: &OOM{RSSBytes: bytesOf(2 << 20), LimitBytes: bytesOf(4 << 20), Victim: "eater"}},
			"killed for lack of memory, holding 2.0 MiB of a limit of 4.0 MiB"},
		// A limit that was far is not the one that was reached.
		{"oom of the node", ringstore.Death{Kind: "oom", Signal: 9, RSSPages: 512, UsedPages: 512, LimitPages: 1024, Comm: "eater", Status: 9},
			How{Kind: "oom", ExitCode: code(137), Signal: text("SIGKILL"), OOM: &OOM{RSSBytes: bytesOf(2 << 20), Victim: "eater"}},
			"eater (pid 11), not the container's first process, was killed for lack of memory, holding 2.0 MiB"},
		{"exit", ringstore.Death{Kind: "exit", Status: 0x300}, How{Kind: "exit", ExitCode: code(3)}, "exit 3"},
		{"exit as if killed", ringstore.Death{Kind: "exit", Status: 137 << 8}, How{Kind: "exit", ExitCode: code(137)}, "exit 137, by the program itself: no signal ended it"},
		{"clean", ringstore.Death{Kind: "exit"}, How{Kind: "none", ExitCode: code(0)}, "exit 0: a clean end"},
	} {
		h := history(&x.d, call("getpid", 1))
		h.Meta.Peers = []ringstore.Peer{{Cgroup: 5, Namespace: "shop", Pod: "db", Container: "db"}}
		v := ExplainHistory(h)
		if diff := cmp.Diff(x.want, v.How); diff != "" {
			t.Errorf("%s (-want +got):\n%s", x.name, diff)
		}
		if v.Summary != x.summary {
			t.Errorf("%s: %q, want %q", x.name, v.Summary, x.summary)
		}
	}
}

// TestFailures: what one failed call before an exit is evidence of, and how sure.
func TestFailures(t *testing.T) {
	path := func(name string, ret int64, s string) *ringstore.Event {
		return with(call(name, ret, 0x1000, 0), ringstore.Capture{Arg: 0, Data: []byte(s)})
	}
	denied := path("mkdir", -1, "/d")
	denied.NoEnter = true
	for _, x := range []struct {
		e                         *ringstore.Event
		kind, subject, confidence string
	}{
		{path("rmdir", -13, "/b"), "denied", "/b", High},
		{path("access", -13, "/b"), "denied", "/b", Medium}, // it only asked
		{path("mkdir", -30, "/b"), "denied", "/b", High},
		{open("/a", -2), "missing_file", "/a", High},
		{open("/a", -20), "missing_file", "/a", High},
		{path("execve", -2, "/bin/a"), "exec_failed", "/bin/a", High},
		{path("execve", -8, "/bin/a"), "exec_failed", "/bin/a", High},
		{path("execve", -12, "/bin/a"), "no_memory", "/bin/a", High},
		{call("kill", -1, 1, 9), "denied", "", High},
		{connect(-111), "refused", "10.0.0.7:8080", High},
		{connect(-113), "unreachable", "10.0.0.7:8080", High},
		{connect(-110), "timeout", "10.0.0.7:8080", High},
		{with(call("bind", -98, 3, 0x1000, 16), ringstore.Capture{Arg: 1, Data: address}), "repeated_failure", "10.0.0.7:8080", High},
		{call("write", -28, 3, 0x1000, 8), "no_space", "descriptor 3", High},
		{call("write", -32, 1, 0x1000, 8), "broken_pipe", "standard output", High},
		{call("write", -14, 1, 0x1000, 8), "bad_address", "standard output", High},
		{call("mmap", -12, 0, 1<<40, 3, 0x22, ^uint64(0), 0), "no_memory", "", High},
		{call("socket", -24, 2, 1, 0), "no_files", "", High},
		{call("clone", -11, 0, 0, 0, 0, 0), "repeated_failure", "", High},
		{denied, "seccomp", "mkdir", High},
		// What programs do all the time.
		{open("/etc/ld.so.preload", -2), "", "", ""},
		{open("/usr/lib/locale/locale-archive", -2), "", "", ""},
		{open("/proc/sys/kernel/osrelease", -2), "", "", ""},
		{path("rmdir", -2, "/a"), "", "", ""},
		{path("mkdir", -17, "/a"), "", "", ""},
		{path("readlink", -22, "/a"), "", "", ""},
		{call("ioctl", -25, 1, 0x5401, 0x1000), "", "", ""},
		{call("read", -11, 3, 0, 0), "", "", ""},
		{call("read", -512, 3, 0, 0), "", "", ""},
		{call("lseek", -29, 0, 0, 1), "", "", ""},
		{path("stat", 0, "/a"), "", "", ""},
		// Through io_uring.
		{operation(18, -2, 3, "/a", 1, 0xffffff9c, 0, 0x1000), "missing_file", "/a", High},
		{operation(16, -111, 3, string(address), 1, 3, 0, 0x1000, 0, 16), "refused", "10.0.0.7:8080", High},
		{operation(23, -28, 0, "", 1, 3, 0, 0x1000, 8), "no_space", "descriptor 3", High},
		{operation(21, -2, 3, "/a", 1, 0xffffff9c, 0, 0x1000), "missing_file", "/a", Medium}, // it only asked
		{operation(18, -125, 3, "/a", 1, 0xffffff9c, 4, 0x1000), "", "", ""},                 // something else failed
		{operation(11, -62, 0, "", 1), "", "", ""},
		{operation(22, -11, 0, "", 1, 3, 0, 0x1000, 8), "", "", ""},
	} {
		claims := ExplainHistory(history(ending(1), call("getpid", 11), x.e, leave(1))).Claims
		name := decode.CallName("amd64", x.e)
		switch {
		case x.kind == "" && len(claims) == 0:
		case len(claims) != 1 || claims[0].Kind != x.kind || claims[0].Subject != x.subject || claims[0].Confidence != x.confidence ||
			!slices.Equal(claims[0].Evidence, []uint64{2}):
			t.Errorf("%s = %d: %+v, want %s %q, %s, by record 2", name, x.e.Ret, claims, x.kind, x.subject, x.confidence)
		}
	}
}

func many(n int, e func() *ringstore.Event) (out []*ringstore.Event) {
	for range n {
		out = append(out, e())
	}
	return out
}

// TestChains: what several calls together are evidence of.
func TestChains(t *testing.T) {
	// What is not all held any more may have been made good.
	for _, words := range []string{"giving up\n", "no /a/app.conf\n"} {
		h := history(ending(1), open("/a/app.conf", -2), call("getpid", 11), said(words), leave(1))
		h.CompleteSince = 2e6
		h.LaneCompleteSince[ringstore.LaneRecent] = 2e6
		v := ExplainHistory(h)
		named := strings.Contains(words, "app.conf")
		if got := slices.ContainsFunc(v.Claims, func(c Claim) bool { return c.Kind == "missing_file" }); got != named {
			t.Errorf("of an old failure, with the last words %q, it tells: %+v", words, v.Claims)
		}
	}

	killer := &ringstore.Sender{PID: 77, Comm: "killer"}
	shim := &ringstore.Sender{PID: 78, Comm: "containerd-shim"}
	sigkill := func(by *ringstore.Sender) *ringstore.Death {
		return &ringstore.Death{Kind: "signal", Signal: 9, Status: 9, Sender: by}
	}
	execve := func(path string) *ringstore.Event {
		return with(call("execve", -2, 0x1000, 0, 0), ringstore.Capture{Arg: 0, Data: []byte(path)})
	}
	inProgress := connect(-115)
	soError := func(errno byte) *ringstore.Event {
		return with(call("getsockopt", 0, 3, 1, 4, 0x1000, 0x2000), ringstore.Capture{Arg: 3, Status: ringstore.CaptureExit, Data: []byte{errno, 0, 0, 0}})
	}
	stuck := func(gap int64) *ringstore.Event {
		e := unfinished(call("futex", 0, 0x1000, 128, 2, 0, 0, 0))
		e.TID = 11
		e.Start = gap
		return e
	}
	later := func(gap int64, e *ringstore.Event) *ringstore.Event { e.Start = gap; return e }
	server := []byte{2, 0, 0, 53, 10, 96, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0}
	toServer := with(call("connect", 0, 3, 0x1000, 16), ringstore.Capture{Arg: 1, Data: server})
	answered := func(code byte, name string) *ringstore.Event {
		data := []byte{1, 2, 0x81, code, 0, 1, 0, 1 - min(code, 1), 0, 0, 0, 0}
		for _, label := range strings.Split(name, ".") {
			data = append(append(data, byte(len(label))), label...)
		}
		return with(call("recvfrom", 64, 3, 0x1000, 512, 0, 0, 0), ringstore.Capture{Arg: 1, Status: ringstore.CaptureExit, Data: append(data, 0, 0, 1)})
	}
	silent := with(call("poll", 0, 0x1000, 1, 5000), ringstore.Capture{Arg: 0, Data: []byte{3, 0, 0, 0, 1, 0, 0, 0}})
	silent.Start, silent.Duration = 6e9, 5e9
	fork := event(ringstore.KindFork)
	fork.Fork = &ringstore.Fork{ChildTID: 20, ChildPID: 20}
	wait := with(call("wait4", 20, ^uint64(0), 0x1000, 0, 0), ringstore.Capture{Arg: 1, Status: ringstore.CaptureExit, Data: []byte{0, 4, 0, 0}})
	wait0 := with(call("wait4", 20, ^uint64(0), 0x1000, 0, 0), ringstore.Capture{Arg: 1, Status: ringstore.CaptureExit, Data: []byte{0, 0, 0, 0}})
	wait9 := with(call("wait4", 20, ^uint64(0), 0x1000, 0, 0), ringstore.Capture{Arg: 1, Status: ringstore.CaptureExit, Data: []byte{9, 0, 0, 0}})
	exec := event(ringstore.KindExec)
	exec.Exec = &ringstore.Exec{OldTID: 11, Filename: ringstore.Capture{Data: []byte("/bin/app")}}
	far := many(farCalls+1, func() *ringstore.Event { return call("getpid", 11) })
	notFar := many(nearCalls+1, func() *ringstore.Event { return call("getpid", 11) })
	list := func(groups ...any) (out []*ringstore.Event) {
		for _, g := range groups {
			switch g := g.(type) {
			case *ringstore.Event:
				c := *g
				out = append(out, &c)
			case []*ringstore.Event:
				for _, e := range g {
					c := *e
					out = append(out, &c)
				}
			}
		}
		return out
	}
	for _, x := range []struct {
		name   string
		d      *ringstore.Death
		events []*ringstore.Event
		want   []string // kind subject confidence text...
	}{
		{"again and again", ending(1), list(many(14, func() *ringstore.Event { return connect(-111) }), leave(1)),
			[]string{"refused 10.0.0.7:8080 high connect 10.0.0.7:8080 failed: Connection refused, 14 times in 13.0 ms"}},
		{"made good", ending(1), list(connect(-111), connect(0), leave(1)), nil},
		{"made good elsewhere", ending(1), list(open("/a/lib.so", -2), open("/b/lib.so", 3), leave(1)), nil},
		{"not of another file", ending(1), list(open("/a/conf", -2), open("/b/other", 3), leave(1)), []string{"missing_file /a/conf high"}},
		{"in several places", ending(1), list(open("/a/app.conf", -2), open("/b/app.conf", -2), open("/c/app.conf", -2), leave(1)),
			[]string{`missing_file app.conf high the file "app.conf" was looked for in 3 places and is in none: /a/app.conf, /b/app.conf, /c/app.conf`}},
		{"a command in several places", ending(127), list(execve("/usr/bin/x1"), execve("/bin/x1"), leave(127)),
			[]string{`exec_failed x1 high the command "x1" was looked for in 2 places`}},
		{"long before", ending(1), list(open("/a", -2), far, leave(1)), nil},
		{"some time before", ending(1), list(open("/a", -2), notFar, leave(1)), []string{"missing_file /a medium"}},
		{"long before, but named", ending(1), list(open("/a/app.conf", -2), far, said("no app.conf\n"), leave(1)),
			[]string{"missing_file /a/app.conf high"}},
		{"some time before, in few calls", ending(1), list(open("/a", -2), later(11e9, call("getpid", 11)), leave(1)), []string{"missing_file /a medium"}},
		{"named with its error", ending(1), list(open("/a", -13), notFar, said("Permission denied\n"), leave(1)), []string{"denied /a high", "last_words"}},
		{"a routine path that is named", ending(1), list(open("/etc/resolv.conf", -2), open("/etc/nsswitch.conf", -2), far, said("no nsswitch.conf\n"), leave(1)),
			[]string{"missing_file /etc/nsswitch.conf high"}},
		{"relative to a directory", ending(1), list(open("/srv", 5), with(call("openat", -2, 5, 0x1000, 0, 0), ringstore.Capture{Arg: 1, Data: []byte("x/y")}), leave(1)),
			[]string{"missing_file /srv/x/y high"}},
		{"a full disk", ending(1), list(open("/data/log", 5), call("write", -28, 5, 0x1000, 8), leave(1)),
			[]string{"no_space /data/log high write to /data/log failed: No space left on device"}},
		{"before execve", ending(1), list(open("/a", -2), exec, leave(1)), nil},
		{"told late", ending(1), list(inProgress, soError(111), leave(1)), []string{"refused 10.0.0.7:8080 high"}},
		{"told late that all is well", ending(1), list(inProgress, soError(0), leave(1)), nil},
		{"no answer", ending(1), list(inProgress, later(3e9, call("close", 0, 3)), leave(1)), []string{"timeout 10.0.0.7:8080 high connect to 10.0.0.7:8080 got no answer"}},
		{"an answer", ending(1), list(inProgress, call("write", 5, 3, 0x1000, 5), call("close", 0, 3), leave(1)), nil},
		{"a child's", ending(4), list(fork, on(20, open("/a", -2)), on(20, leave(4)), exited(20, 0x400), wait, leave(4)),
			[]string{"missing_file /a high in process 20 (app), which ended with 4: openat"}},
		{"a child's that ended well", ending(4), list(fork, on(20, open("/a", -2)), on(20, leave(0)), exited(20, 0), wait0, leave(4)), nil},
		{"another process's", ending(4), list(on(20, open("/a", -2)), leave(4)), nil},
		{"killed", sigkill(killer), list(open("/a", -2), exited(11, 9)), []string{"killed killer high SIGKILL came from killer (pid 77)"}},
		{"killed while busy", sigkill(killer), list(many(9, func() *ringstore.Event { return connect(-111) }), exited(11, 9)),
			[]string{"killed killer high", "refused 10.0.0.7:8080 medium"}},
		{"told and killed", sigkill(shim), list(signalled(15, true, shim), later(10e9, exited(11, 9))),
			[]string{"killed containerd-shim high SIGTERM came from containerd-shim (pid 78), and 10.0 s later SIGKILL from containerd-shim (pid 78)"}},
		{"told in vain, and killed", &ringstore.Death{Kind: "signal", Signal: 9, Status: 9, Sender: shim, Told: 2e6, Teller: shim}, list(on(11, call("getpid", 11)), later(30e9, exited(11, 9))),
			[]string{"killed containerd-shim high SIGTERM came from containerd-shim (pid 78) and was ignored, as the first process of a pid namespace does that has no handler; 30.0 s later SIGKILL came", "hang  low"}},
		{"stuck and killed", sigkill(shim), list(stuck(0), signalled(15, true, shim), later(10e9, exited(11, 9))),
			[]string{"killed containerd-shim high", "hang futex high thread 11 had been waiting in futex for 10.0 s, without a timeout; 10.0 s before its end SIGTERM"}},
		{"a name that there is not", ending(1), list(toServer, answered(3, "db.shop.svc"), answered(3, "db"), notFar, leave(1)),
			[]string{"unreachable db medium the name server 10.96.0.10:53 says that there is no db.shop.svc, db"}},
		{"a name that there is not, as is said", ending(1), list(toServer, answered(3, "db"), far, said("getaddrinfo ENOTFOUND db\n"), leave(1)), []string{"unreachable db high"}},
		{"a name with a domain", ending(1), list(toServer, answered(3, "db.shop.svc"), answered(0, "db.svc"), leave(1)), nil},
		{"a name server that is silent", ending(1), list(toServer, silent, silent, later(6e9, leave(1))), []string{"timeout 10.96.0.10:53 high the name server 10.96.0.10:53 gave no answer, 2 times in "}},
		{"a name server that is slow", ending(1), list(toServer, silent, answered(0, "db"), leave(1)), nil},
		{"computing", sigkill(killer), list(on(11, call("getpid", 11)), later(20e9, exited(11, 9))),
			[]string{"killed killer high", "hang  low thread 11 made no call in the last 20.0 s"}},
		{"resting", sigkill(killer), list(unfinished(call("epoll_wait", 0, 3, 0x1000, 8, ^uint64(0))), later(20e9, exited(11, 9))), []string{"killed killer high"}},
		{"stuck for a moment", sigkill(killer), list(stuck(0), exited(11, 9)), []string{"killed killer high"}},
		{"told to end", ending(143), list(signalled(15, true, killer), leave(143)), []string{"killed killer high SIGTERM from killer (pid 77) told it to end, 2.0 ms before it did"}},
		{"told to end, and ended well", ending(0), list(open("/a", -2), signalled(15, true, killer), leave(0)), nil},
		{"told long ago", ending(1), list(signalled(15, true, killer), later(100e9, open("/a", -2)), leave(1)), []string{"missing_file /a high"}},
		{"told to end, and failed at it", ending(1), list(signalled(15, true, killer), later(20e9, call("write", -28, 3, 0x1000, 8)), leave(1)),
			[]string{"no_space descriptor 3 high", "killed killer medium SIGTERM from killer (pid 77) told it to end, 20.0 s before it did"}},
		{"told something else", ending(1), list(signalled(1, true, killer), open("/a", -2), leave(1)), []string{"missing_file /a high"}},
		{"nobody reads", &ringstore.Death{Kind: "signal", Signal: 13, Status: 13, SenderPID: 11}, list(call("write", -32, 1, 0x1000, 8), exited(11, 13)),
			[]string{"broken_pipe standard output high"}},
		{"a fault after a failure", &ringstore.Death{Kind: "signal", Signal: 11, Code: 1, Status: 11, Addr: 8}, list(open("/a", -2), exited(11, 11)),
			[]string{"bad_address 0x8 high the address 0x8 is a null pointer", "missing_file /a medium"}},
		{"abort with words", &ringstore.Death{Kind: "signal", Signal: 6, Code: -6, Status: 6, SenderPID: 11}, list(said("app: main.c:3: main: Assertion `x' failed.\n"), signalled(6, false, nil)),
			[]string{"last_words standard error medium", "killed app high it sent SIGABRT to itself"}},
		{"a bus error in a file", &ringstore.Death{Kind: "signal", Signal: 7, Code: 2, Status: 7, Addr: 0x7f0000001000},
			list(open("/data/db", 5), call("mmap", 0x7f0000000000, 0, 0x4000, 3, 1, 5, 0), exited(11, 7)), []string{`bad_address /data/db high "/data/db" is mapped`}},
		{"the stack", &ringstore.Death{Kind: "signal", Signal: 11, Code: 1, Status: 11, Addr: 0x7ffd00000ff8, SP: 0x7ffd00001000}, list(exited(11, 11)),
			[]string{"bad_address stack high the stack overflowed"}},
		{"a traceback", ending(1), list(said("Traceback (most recent call last):\n"), said("  File \"x\", line 1\n"), said("KeyError: 'shop'\n"), leave(1)),
			[]string{"last_words KeyError high it said on standard error: KeyError: 'shop'"}},
		{"a panic", ending(2), list(said("panic: "), said("no peers\n\ngoroutine 1 [running]:\n"), leave(2)), []string{"last_words panic high it said on standard error: panic: no peers"}},
		{"words of peace", ending(1), list(said("listening on :80\n"), leave(1)), []string{"last_words standard error low"}},
		{"a child that was killed", ending(137), list(fork, exited(20, 9), wait9, leave(137)), []string{"killed app high SIGKILL ended process 20 (app), which its parent waited for"}},
		{"settings of a user's own", ending(1), list(open("/root/.apprc", -2), open("/app/.env", -2), leave(1)), []string{"missing_file /app/.env high"}},
		{"what was tried besides", ending(1), list(open("/a", -2), open("/app.conf", -2), said("app.conf: No such file or directory\n"), leave(1)),
			[]string{"missing_file /app.conf high", "last_words"}},
		{"a word is no socket", ending(1), list(connectUnix("/var/run/nscd/socket"), said("import socket\n"), leave(1)), []string{"last_words standard error low"}},
		{"an exception without a telling name", ending(1), list(said("Traceback (most recent call last):\n"), said("socket.gaierror: [Errno -2] Name or service not known\n"), leave(1)),
			[]string{"last_words socket.gaierror high"}},
	} {
		h := history(x.d, x.events...)
		v := ExplainHistory(h)
		var got []string
		for i, c := range v.Claims {
			line := fmt.Sprintf("%s %s %s %s", c.Kind, c.Subject, c.Confidence, c.Text)
			if i < len(x.want) && strings.HasPrefix(line, x.want[i]) {
				line = x.want[i]
			}
			got = append(got, line)
			for _, seq := range c.Evidence {
				if seq == 0 || seq > uint64(len(h.Events)) {
					t.Errorf("%s: there is no record %d", x.name, seq)
				}
			}
			if len(c.Evidence) == 0 && c.Confidence != Low {
				t.Errorf("%s: %s is without evidence", x.name, line)
			}
		}
		if diff := cmp.Diff(x.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s%s", x.name, diff, v.Summary)
		}
	}
}

// arbitrary makes a history out of bytes.
func arbitrary(data []byte) *ringstore.History {
	next := func(n int) []byte {
		b := make([]byte, n)
		copy(b, data)
		data = data[min(n, len(data)):]
		return b
	}
	h := &ringstore.History{Meta: meta}
	b := next(16)
	h.Meta.Arch = []string{"amd64", "arm64", "amd64", "x"}[b[0]&3]
	if b[1]&1 != 0 {
		h.Meta.Death = &ringstore.Death{
			Kind: []string{"exit", "signal", "oom", ""}[b[2]&3], PID: uint32(b[3] & 3), TID: uint32(b[4] & 3), Signal: uint32(b[5]), Code: int32(int8(b[6])),
			Status: uint32(b[7])<<8 | uint32(b[5])&0x7f, Time: int64(b[8]) << 24, Addr: uint64(b[9]), SP: uint64(b[10]) << 8, More: uint64(binary.LittleEndian.Uint64(b[8:])),
		}
		if b[11]&1 != 0 {
			h.Meta.Death.Sender = &ringstore.Sender{PID: uint32(b[12] & 3), Kernel: b[13]&1 != 0, Comm: string(b[14:])}
		}
	}
	start := int64(0)
	for len(data) > 0 && len(h.Events) < 200 {
		b := next(12)
		start += int64(b[0]) << (b[1] & 31)
		e := ringstore.Event{
			Kind: ringstore.Kind(1 + b[2]%8), TID: uint32(b[3] & 3), PID: uint32(b[3] >> 2 & 3), Nr: uint16(b[4]) | uint16(b[5]&1)<<8, Ret: int64(int8(b[6])),
			ABI: ringstore.ABI(b[5] >> 1 & 3), Start: start, Unfinished: b[7]&1 != 0, NoEnter: b[7]&2 != 0, Seq: uint64(len(h.Events)),
		}
		switch e.Kind {
		case ringstore.KindCall, ringstore.KindUring:
			for range b[8] % 9 {
				e.Args = append(e.Args, uint64(next(1)[0]))
			}
			for range b[9] % 4 {
				c := next(3)
				e.Captures = append(e.Captures, ringstore.Capture{Arg: int(c[0] % 6), Status: ringstore.CaptureStatus(c[1] & 31), Data: next(int(c[2] % 64))})
			}
		case ringstore.KindFork:
			e.Fork = &ringstore.Fork{ChildTID: uint32(b[8] & 7), ChildPID: uint32(b[8] & 7)}
		case ringstore.KindExec:
			e.Exec = &ringstore.Exec{OldTID: uint32(b[8] & 3)}
		case ringstore.KindExit:
			e.Exit = &ringstore.Exit{Status: uint32(b[8]) << 8, Group: b[9]&1 != 0, First: b[9]&2 != 0}
		case ringstore.KindSignal:
			e.Signal = &ringstore.Signal{Signal: uint32(b[8] & 31), Handled: b[9]&1 != 0, Fatal: b[9]&2 != 0}
		}
		h.Events = append(h.Events, e)
	}
	h.Now = start + 1
	return h
}

// FuzzExplain: whatever a history holds, a verdict is made of it, and only of what it holds.
func FuzzExplain(f *testing.F) {
	f.Add([]byte{})
	for n := range 32 {
		seed := make([]byte, 600)
		for i := range seed {
			seed[i] = byte(i * (n + 3) >> 1)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h := arbitrary(data)
		v := ExplainHistory(h)
		if v.Claims == nil || v.LastWords == nil || v.Running == nil || len(v.Claims) > maxClaims {
			t.Errorf("lists: %+v", v)
		}
		for _, c := range v.Claims {
			if weights[c.Kind] == 0 && c.Kind != "killed" || c.Confidence != High && c.Confidence != Medium && c.Confidence != Low || c.Text == "" || !slices.IsSorted(c.Evidence) {
				t.Errorf("claim %+v", c)
			}
			for _, seq := range c.Evidence {
				if seq == 0 || seq >= uint64(len(h.Events)) {
					t.Errorf("%+v points at record %d", c, seq)
				}
			}
		}
		var page bytes.Buffer
		if err := Write(&page, decode.Text, v, h); err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(page.Bytes()) {
			if bytes.ContainsAny(bytes.TrimSuffix(line, []byte("\n")), "\x1b\r\x00") {
				t.Errorf("control characters in %q", line)
			}
		}
		if again := ExplainHistory(h); !cmp.Equal(v, again, cmp.AllowUnexported(Verdict{}, Claim{})) {
			t.Errorf("told twice, it differs (-first +second):\n%s", cmp.Diff(v, again, cmp.AllowUnexported(Verdict{}, Claim{})))
		}
	})
}
