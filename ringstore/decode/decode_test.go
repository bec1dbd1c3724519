package decode

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// meta names a container whose clock began at the epoch.
var meta = &ringstore.Meta{
	Namespace: "shop", Pod: "web", Container: "app", ContainerID: "c0ffee",
	Labels: map[string]string{"tier": "front", "app": "web"}, Arch: "amd64", State: "recording",
	WallOffset: 1_700_000_000e9,
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
	return &ringstore.Event{
		Kind: ringstore.KindCall, Lane: ringstore.LaneRecent, Seq: 7, TID: 12, PID: 11, Start: 5_250_000_000, Duration: 37_000,
		Nr: nr(name), Args: args, Ret: ret,
	}
}

// with adds captures.
func with(e *ringstore.Event, captures ...ringstore.Capture) *ringstore.Event {
	e.Captures = captures
	return e
}

func text(e *ringstore.Event) string { return string(AppendText(nil, meta, e)) }

// object decodes the JSON of an event.
func object(t *testing.T, m *ringstore.Meta, e *ringstore.Event) map[string]any {
	t.Helper()
	line := AppendJSON(nil, m, e)
	if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
		t.Errorf("not one line: %q", line)
	}
	var o map[string]any
	if err := json.Unmarshal(line, &o); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return o
}

func TestLine(t *testing.T) {
	const path = "/etc/app/config.yaml"
	e := with(call("openat", -2, ^uint64(99), 0x7ffe12345678, 0x80000, 0), ringstore.Capture{Arg: 1, Data: []byte(path)})
	// The thread is padded to five, the result begins in column 40 at the earliest.
	want := `12    1700000005.250000 openat(AT_FDCWD, "/etc/app/config.yaml", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory) <0.000037>` + "\n"
	if got := text(e); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	want = "12    1700000005.250000 getpid()        = 11 <0.000037>\n"
	if got := text(call("getpid", 11)); got != want || strings.Index(got, "=") != 40 {
		t.Errorf("got  %swant %s", got, want)
	}
}

// TestText shows what the fixtures do not: what went wrong while recording, and what a
// trace of a 64-bit program does not have.
// A run is the line of its first call, and one that says the rest.
func TestRun(t *testing.T) {
	e := call("getppid", 1)
	e.Run = &ringstore.Run{Count: 42, Last: 6_250_123_999, Total: 4_100_000}
	want := "12    1700000005.250000 getppid()       = 1 <0.000037>\n" +
		"# 12 made this call 41 times more until 1700000006.250123; all 42 took <0.004100>\n"
	if got := text(e); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	o := object(t, meta, e)
	if o["count"] != 42.0 || o["last"] != 6_250_123_999.0 || o["total"] != 4_100_000.0 || o["finish"] != 5_250_037_000.0 {
		t.Errorf("JSON: %v", o)
	}
	e.Run = nil
	for _, name := range []string{"count", "last", "total"} {
		if v, ok := object(t, meta, e)[name]; ok {
			t.Errorf("of one call: %s is %v", name, v)
		}
	}
}

func TestText(t *testing.T) {
	const pointer = 0x7ffe12345678
	long := bytes.Repeat([]byte("x"), 127)
	status := func(s ringstore.CaptureStatus, e *ringstore.Event) *ringstore.Event {
		for i := range e.Captures {
			e.Captures[i].Status |= s
		}
		return e
	}
	path := func() *ringstore.Event {
		return with(call("rmdir", 0, pointer), ringstore.Capture{Arg: 0, Data: []byte("/tmp/x")})
	}
	unfinished := func(e *ringstore.Event) *ringstore.Event {
		e.Unfinished, e.Ret = true, 0
		return e
	}
	noEnter := call("mkdir", -1, pointer, 0o755)
	noEnter.NoEnter = true
	notMade := unfinished(call("mkdir", 0, pointer, 0o755))
	notMade.NoEnter = true
	unknown := call("getpid", -38, 1, 0, 0xffffffffffffff9c)
	unknown.Nr = 500
	compat := func(nr uint16, ret int64, args ...uint64) *ringstore.Event {
		e := call("getpid", ret, args...)
		e.Nr, e.ABI = nr, ringstore.ABI32
		return e
	}
	argv := func(status ringstore.CaptureStatus, data string) *ringstore.Event {
		return with(call("execve", 0, pointer, pointer, 0), ringstore.Capture{Arg: 0, Data: []byte("/bin/sh")}, ringstore.Capture{Arg: 1, Status: status, Data: []byte(data)})
	}
	for _, x := range []struct {
		e    *ringstore.Event
		want string
	}{
		{path(), `rmdir("/tmp/x")           = 0 <0.000037>`},
		{status(ringstore.CaptureCut, path()), `rmdir("/tmp/x"...)        = 0 <0.000037>`},
		{status(ringstore.CaptureLate, path()), `rmdir("/tmp/x")           = 0 <0.000037>`},
		{status(ringstore.CaptureNone, path()), `rmdir(0x7ffe12345678)     = 0 <0.000037>`},
		{with(path()), `rmdir(0x7ffe12345678)     = 0 <0.000037>`},
		{with(path(), ringstore.Capture{Status: ringstore.CaptureFault}), `rmdir(0x7ffe12345678)     = 0 <0.000037>`},
		{noEnter, `mkdir(0x7ffe12345678, 0755) = -1 EPERM (Operation not permitted)`},
		{notMade, `mkdir(0x7ffe12345678, 0755) = ?`},
		{unknown, `syscall_0x1f4(0x1, 0, 0xffffffffffffff9c) = -1 ENOSYS (Function not implemented) <0.000037>`},
		{call("getpid", -4000), `getpid()                  = -1 (errno 4000) <0.000037>`},
		{call("getpid", -4096), `getpid()                  = -4096 <0.000037>`},
		{call("pause", -514), `pause()                   = ? ERESTARTNOHAND (To be restarted if no handler) <0.000037>`},
		{call("read", -512, 3, pointer, 8), `read(3, 0x7ffe12345678, 8) = ? ERESTARTSYS (To be restarted if SA_RESTART is set) <0.000037>`},
		{unfinished(call("exit_group", 0, 3)), `exit_group(3)             = ?`},
		{unfinished(call("read", 0, 3, pointer, 8)), `read(3,  <unfinished ...>`},
		{unfinished(call("futex", 0, pointer, 128, 2, 0, 0, 0)), `futex(0x7ffe12345678, FUTEX_WAIT_PRIVATE, 2, NULL <unfinished ...>`},
		{unfinished(call("getpid", 0)), `getpid( <unfinished ...>`},
		// More bytes than recorded, fewer than strace shows.
		{with(call("write", 100, 1, pointer, 100), ringstore.Capture{Arg: 1, Status: ringstore.CaptureCut, Data: []byte("abc")}), `write(1, "abc"..., 100)   = 100 <0.000037>`},
		// The record holds fewer arguments than the table knows.
		{call("write", 1, 1), `write(1)                  = 1 <0.000037>`},
		{argv(0, "sh\x00-c\x00"), `execve("/bin/sh", ["sh", "-c"], NULL) = 0 <0.000037>`},
		{argv(ringstore.CaptureCut, "sh\x00"+string(long)+"\x00"), `execve("/bin/sh", ["sh", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"...], NULL) = 0 <0.000037>`},
		{argv(ringstore.CaptureCut, "sh\x00-c\x00"), `execve("/bin/sh", ["sh", "-c", ...], NULL) = 0 <0.000037>`},
		{argv(ringstore.CaptureFault, ""), `execve("/bin/sh", 0x7ffe12345678, NULL) = 0 <0.000037>`},
		// 32-bit programs: other numbers, other arguments, numbers of 32 bits.
		{compat(20, 11), `getpid()                  = 11 <0.000037>`},
		{compat(192, 0xf7f00000, 0, 4096, 3, 0x22, 0xffffffff, 1), `mmap2(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0x1000) = 0xf7f00000 <0.000037>`},
		{compat(19, -22, 3, 0xffffffff, 2), `lseek(3, -1, SEEK_END)    = -1 EINVAL (Invalid argument) <0.000037>`},
		{with(compat(180, 2, 3, 0xff80, 2, 5, 1), ringstore.Capture{Arg: 1, Status: ringstore.CaptureExit, Data: []byte("hi")}), `pread64(3, "hi", 2, 4294967301) = 2 <0.000037>`},
	} {
		got := strings.TrimSuffix(strings.TrimPrefix(text(x.e), "12    1700000005.250000 "), "\n")
		// The column of the result is TestLine's.
		if collapse(got) != collapse(x.want) {
			t.Errorf("got  %s\nwant %s", got, x.want)
		}
	}
}

// A capture of a structure as layout 4 had it, from its first byte, shows the same as one
// without the bytes that are not shown. rt_sigreturn had no argument then.
func TestOlderStructures(t *testing.T) {
	stat := make([]byte, 56)
	binary.LittleEndian.PutUint32(stat[24:], 0o100640)
	binary.LittleEndian.PutUint64(stat[48:], 1271)
	for _, data := range [][]byte{stat, stat[24:]} {
		e := with(call("fstat", 0, 3, 0x7ffe12345678), ringstore.Capture{Arg: 1, Status: ringstore.CaptureExit, Data: data})
		if got := text(e); !strings.Contains(got, "fstat(3, {st_mode=S_IFREG|0640, st_size=1271, ...}) = 0") {
			t.Errorf("of %d bytes: %s", len(data), got)
		}
		if got := string(AppendJSON(nil, meta, e)); !strings.Contains(got, `"statbuf":{"st_mode":"S_IFREG|0640","st_size":1271}`) {
			t.Errorf("of %d bytes: %s", len(data), got)
		}
	}
	if got := text(call("rt_sigreturn", 7)); !strings.Contains(got, "rt_sigreturn()            = 7") && !strings.Contains(got, "rt_sigreturn()  = 7") {
		t.Error(got)
	}
	mask := with(call("rt_sigreturn", 7, 0x7ffe12345678), ringstore.Capture{Arg: 0, Data: []byte{0, 8, 0, 0, 0, 0, 0, 0}})
	if got := text(mask); !strings.Contains(got, "rt_sigreturn({mask=[USR2]}) = 7") {
		t.Error(got)
	}
}

func collapse(s string) string { return aligned.ReplaceAllString(s, ") = ") }

func TestTextOfEvents(t *testing.T) {
	event := func(kind ringstore.Kind) *ringstore.Event {
		return &ringstore.Event{Kind: kind, TID: 12, PID: 11, Start: 5_250_000_000}
	}
	signal := func(s ringstore.Signal) *ringstore.Event {
		e := event(ringstore.KindSignal)
		e.Signal = &s
		return e
	}
	exit := func(status uint32) *ringstore.Event {
		e := event(ringstore.KindExit)
		e.Exit = &ringstore.Exit{Status: status}
		return e
	}
	exec := func(old uint32) *ringstore.Event {
		e := event(ringstore.KindExec)
		e.Exec = &ringstore.Exec{OldTID: old}
		return e
	}
	fork := event(ringstore.KindFork)
	fork.Fork = &ringstore.Fork{ChildTID: 13, ChildPID: 13}
	for _, x := range []struct {
		e    *ringstore.Event
		want string
	}{
		{signal(ringstore.Signal{Signal: 11, Code: 1}), "--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL} ---"},
		{signal(ringstore.Signal{Signal: 7, Code: 2, Addr: 0x1000}), "--- SIGBUS {si_signo=SIGBUS, si_code=BUS_ADRERR, si_addr=0x1000} ---"},
		{signal(ringstore.Signal{Signal: 11, Code: 128}), "--- SIGSEGV {si_signo=SIGSEGV, si_code=SI_KERNEL, si_addr=NULL} ---"},
		{signal(ringstore.Signal{Signal: 15, PID: 123, UID: 1000}), "--- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=123, si_uid=1000} ---"},
		{signal(ringstore.Signal{Signal: 34, Code: -1, PID: 123}), "--- SIGRT_2 {si_signo=SIGRT_2, si_code=SI_QUEUE, si_pid=123, si_uid=0} ---"},
		{signal(ringstore.Signal{Signal: 9, Code: 128}), "--- SIGKILL {si_signo=SIGKILL, si_code=SI_KERNEL} ---"},
		{signal(ringstore.Signal{Signal: 10, Code: 77, Errno: 2}), "--- SIGUSR1 {si_signo=SIGUSR1, si_code=0x4d, si_errno=ENOENT} ---"},
		{exit(0), "+++ exited with 0 +++"},
		{exit(0x100), "+++ exited with 1 +++"},
		{exit(9), "+++ killed by SIGKILL +++"},
		{exit(0x8b), "+++ killed by SIGSEGV (core dumped) +++"},
		{exec(14), "+++ superseded by execve in pid 14 +++"},
		{exec(12), ""}, {exec(0), ""}, {fork, ""}, {event(ringstore.KindCred), ""},
		{event(ringstore.KindSignal), ""}, {event(ringstore.KindExit), ""}, {event(99), ""},
	} {
		want := ""
		if x.want != "" {
			want = "12    1700000005.250000 " + x.want + "\n"
		}
		if got := text(x.e); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// TestTextAllocatesNothing renders a million events without garbage.
func TestTextAllocatesNothing(t *testing.T) {
	events := readEvents(t, "testdata/calls.events")
	buffer := make([]byte, 0, 64<<10)
	n := testing.AllocsPerRun(10, func() {
		for i := range events {
			buffer = AppendText(buffer[:0], meta, &events[i])
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for %d events", n, len(events))
	}
}

// TestEscapeIsReversible parses what was escaped, as C would.
func TestEscapeIsReversible(t *testing.T) {
	check := func(s []byte) {
		t.Helper()
		if got := unescape(t, appendEscaped(nil, s)); !bytes.Equal(got, s) {
			t.Errorf("%q became %q", s, got)
		}
	}
	for a := range 256 {
		check([]byte{byte(a)})
		for _, b := range []byte("0789a\\\"\n\x00\x7f\xff") {
			check([]byte{byte(a), b, byte(a)})
		}
	}
}

func unescape(t *testing.T, s []byte) []byte {
	t.Helper()
	var out []byte
	letters := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', 'v': '\v', 'f': '\f', '"': '"', '\\': '\\'}
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			if s[i] < ' ' || s[i] > '~' || s[i] == '"' {
				t.Errorf("%q is not escaped in %q", s[i], s)
			}
			out = append(out, s[i])
			continue
		}
		i++
		if c, ok := letters[s[i]]; ok {
			out = append(out, c)
			continue
		}
		n := i
		for n < len(s) && n < i+3 && s[n] >= '0' && s[n] <= '7' {
			n++
		}
		v, err := strconv.ParseUint(string(s[i:n]), 8, 8)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		out = append(out, byte(v))
		i = n - 1
	}
	return out
}

// TestFlagsAreWhole checks that names and rest of every set add up to the number.
func TestFlagsAreWhole(t *testing.T) {
	for _, c := range syscalls.Table("amd64", ringstore.ABINative) {
		if c == nil {
			continue
		}
		for _, a := range c.Args {
			if a.Format != syscalls.FormatFlags {
				continue
			}
			for shift := range 64 {
				for _, v := range []uint64{0, 1 << shift, 1<<shift - 1, ^uint64(0) >> shift, 0x8241 << shift} {
					sum := uint64(0)
					rest, _ := eachName(a.Set, v, func(row *syscalls.SetRow, part uint64) {
						switch row.Kind {
						case syscalls.RowShift:
							sum += part << row.Value
						case syscalls.RowOctal:
							sum += part
						default:
							sum += row.Value
						}
					})
					if sum+rest != v {
						t.Fatalf("%s of %s: %#x is shown as %s", a.Name, c.Name, v, appendFlags(nil, a.Set, v))
					}
				}
			}
		}
	}
}

func TestJSONOfCall(t *testing.T) {
	e := with(call("openat", 3, ^uint64(99), 0x7ffe12345678, 0x80000, 0), ringstore.Capture{Arg: 1, Data: []byte("/html/index.html")})
	e.Known, e.UID, e.GID, e.Comm = true, 33, 34, "sh"
	var want map[string]any
	if err := json.Unmarshal([]byte(`{
		"syscall":{"nr":257,"name":"openat","class":"FileSystem","group":"Files","abi":"x86_64"},
		"pid":11,"tid":12,"uid":33,"gid":34,"comm":"sh",
		"container":{"id":"c0ffee","pod":"web","name":"app","namespace":"shop","labels":{"tier":"front","app":"web"}},
		"error":"OK","return":3,"start":5250000000,"finish":5250037000,"time":"2023-11-14T22:13:25.250000Z",
		"args":{"dfd":"AT_FDCWD","pathname":"/html/index.html","flags":["O_RDONLY","O_CLOEXEC"]},
		"seq":7,"lane":"recent","cut":false}`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, object(t, meta, e)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	e.Ret = -13
	if o := object(t, meta, e); o["error"] != "EACCES" || o["return"] != -13.0 {
		t.Errorf("a failed call has error %v, return %v", o["error"], o["return"])
	}
	e.Unfinished, e.Known = true, false
	o := object(t, meta, e)
	for _, name := range []string{"finish", "return", "error", "uid", "gid", "comm"} {
		if v, ok := o[name]; v != nil || !ok {
			t.Errorf("%s of a running call of an unknown task is %v", name, v)
		}
	}
	e.Unfinished, e.NoEnter = false, true
	if o := object(t, meta, e); o["start"] != nil || o["finish"] != 5250000000.0 {
		t.Errorf("a call whose entry was not seen has start %v, finish %v", o["start"], o["finish"])
	}
	// What a filter that answers with SIGSYS leaves is no result.
	e.Ret = int64(e.Nr)
	if o := object(t, meta, e); o["return"] != nil || o["error"] != nil {
		t.Errorf("a call that was not made has return %v, error %v", o["return"], o["error"])
	}
	e.Unfinished = true
	if o := object(t, meta, e); o["return"] != nil || o["error"] != nil || o["start"] != nil || o["finish"] != nil {
		t.Errorf("a call that was not made: %v", o)
	}
}

func TestJSONArgs(t *testing.T) {
	const pointer = 0x7ffe12345678
	inet := []byte{2, 0, 0x1f, 0x90, 10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0}
	inet6 := append([]byte{10, 0, 0, 80, 0, 0, 0, 0}, append(make([]byte, 15), 1, 0, 0, 0, 0)...)
	unix := []byte("\x01\x00/run/x.sock\x00")
	abstract := []byte("\x01\x00\x00bus")
	out := ringstore.CaptureExit
	number := func(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
	iovecs := binary.LittleEndian.AppendUint64(nil, 1)
	for _, n := range []uint64{2, 5, 3} {
		iovecs = binary.LittleEndian.AppendUint64(iovecs, n)
	}
	text64 := func(s string, cut bool) map[string]any {
		return map[string]any{"text": strings.ToValidUTF8(s, "\ufffd"), "base64": base64.StdEncoding.EncodeToString([]byte(s)), "cut": cut}
	}
	socket := func(b []byte) *ringstore.Event {
		return with(call("connect", 0, 3, pointer, uint64(len(b))), ringstore.Capture{Arg: 1, Data: b})
	}
	for _, x := range []struct {
		name string
		e    *ringstore.Event
		want map[string]any
	}{
		{"inet", socket(inet), map[string]any{"fd": 3.0, "addr": map[string]any{"family": "AF_INET", "addr": "10.0.0.7", "port": 8080.0}, "addrlen": 16.0}},
		{"inet6", socket(inet6), map[string]any{"fd": 3.0, "addr": map[string]any{"family": "AF_INET6", "addr": "::1", "port": 80.0}, "addrlen": 28.0}},
		{"unix", socket(unix), map[string]any{"fd": 3.0, "addr": map[string]any{"family": "AF_UNIX", "path": "/run/x.sock"}, "addrlen": 14.0}},
		{"abstract", socket(abstract), map[string]any{"fd": 3.0, "addr": map[string]any{"family": "AF_UNIX", "path": "@bus"}, "addrlen": 6.0}},
		{"null", with(call("connect", -14, 3, 0, 16)), map[string]any{"fd": 3.0, "addr": nil, "addrlen": 16.0}},
		{"lost", with(call("connect", -14, 3, 8, 16), ringstore.Capture{Arg: 1, Status: ringstore.CaptureFault}), map[string]any{"fd": 3.0, "addr": "0x8", "addrlen": 16.0}},
		{"write", with(call("write", 5, 1, pointer, 5), ringstore.Capture{Arg: 1, Data: []byte("hi \"\n\u20ac")[:5]}), map[string]any{"fd": 1.0, "buf": "hi \"\n", "count": 5.0}},
		{"cut", with(call("write", 9, 1, pointer, 9), ringstore.Capture{Arg: 1, Status: ringstore.CaptureCut, Data: []byte("hello")}), map[string]any{"fd": 1.0, "buf": text64("hello", true), "count": 9.0}},
		{"binary", with(call("write", 2, 1, pointer, 2), ringstore.Capture{Arg: 1, Data: []byte("\xff\x00")}), map[string]any{"fd": 1.0, "buf": text64("\xff\x00", false), "count": 2.0}},
		{"read", with(call("read", 2, 0, pointer, 9), ringstore.Capture{Arg: 1, Status: out, Data: []byte("hi")}), map[string]any{"fd": 0.0, "buf": "hi", "count": 9.0}},
		{"readv", with(call("readv", 5, 0, pointer, 2), ringstore.Capture{Arg: 1, Data: iovecs}, ringstore.Capture{Arg: 1, Status: out, Data: []byte("abcde")}), map[string]any{"fd": 0.0, "vec": []any{"ab", "cde"}, "vlen": 2.0}},
		{"accept", with(call("accept", 4, 3, pointer, pointer), ringstore.Capture{Arg: 2, Data: number(16)}, ringstore.Capture{Arg: 1, Status: out, Data: inet}, ringstore.Capture{Arg: 2, Status: out, Data: number(16)}),
			map[string]any{"fd": 3.0, "addr": map[string]any{"family": "AF_INET", "addr": "10.0.0.7", "port": 8080.0}, "addrlen": 16.0}},
		{"pipe", with(call("pipe2", 0, pointer, 0x800), ringstore.Capture{Arg: 0, Status: out, Data: append(number(3), number(4)...)}), map[string]any{"fds": []any{3.0, 4.0}, "flags": []any{"O_NONBLOCK"}}},
		{"poll", with(call("poll", 0, pointer, 1, ^uint64(0)), ringstore.Capture{Arg: 0, Data: []byte{5, 0, 0, 0, 1, 0, 0, 0}}),
			map[string]any{"fds": []any{map[string]any{"fd": 5.0, "events": []any{"POLLIN"}, "revents": []any{}}}, "nfds": 1.0, "timeout": -1.0}},
		{"wait", with(call("wait4", 5, ^uint64(0), pointer, 0, 0), ringstore.Capture{Arg: 1, Status: out, Data: number(0x8b)}),
			map[string]any{"pid": -1.0, "stat_addr": map[string]any{"signal": "SIGSEGV", "core": true}, "options": []any{}, "ru": nil}},
		{"execve", with(call("execve", 0, pointer, pointer, pointer), ringstore.Capture{Arg: 0, Data: []byte("/bin/sh")}, ringstore.Capture{Arg: 1, Data: []byte("sh\x00-c\x00")}),
			map[string]any{"filename": "/bin/sh", "argv": []any{"sh", "-c"}, "envp": "0x7ffe12345678"}},
		{"kill", call("kill", 0, 5, 9), map[string]any{"pid": 5.0, "sig": "SIGKILL"}},
		{"mode", with(call("mkdir", 0, pointer, 0o1755), ringstore.Capture{Arg: 0, Data: []byte("x")}), map[string]any{"pathname": "x", "mode": "01755"}},
		{"value", call("lseek", 0, 3, ^uint64(0), 2), map[string]any{"fd": 3.0, "offset": -1.0, "whence": "SEEK_END"}},
		{"unknown value", call("lseek", -22, 3, 0, 77), map[string]any{"fd": 3.0, "offset": 0.0, "whence": 77.0}},
		{"unknown flag", call("umount2", -22, 0, 0x12), map[string]any{"target": nil, "flags": []any{"MNT_DETACH", "0x10"}}},
	} {
		got := object(t, meta, x.e)["args"]
		if diff := cmp.Diff(any(x.want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", x.name, diff)
		}
	}
	running := call("read", 0, 0, pointer, 9)
	running.Unfinished = true
	if got := object(t, meta, running)["args"]; !cmp.Equal(got, any(map[string]any{"fd": 0.0, "buf": nil, "count": 9.0})) {
		t.Errorf("a running read has %v", got)
	}
}

func TestJSONOfEvents(t *testing.T) {
	event := func(e ringstore.Event) map[string]any {
		e.TID, e.PID, e.Start = 12, 11, 5_250_000_000
		o := object(t, meta, &e)
		if o["syscall"] != nil || o["pid"] != 11.0 || o["time"] != "2023-11-14T22:13:25.250000Z" {
			t.Errorf("%v", o)
		}
		for _, k := range []string{"pid", "tid", "uid", "gid", "comm", "container", "time", "start", "seq", "lane", "cut"} {
			if _, ok := o[k]; !ok {
				t.Errorf("%s is missing", k)
			}
			delete(o, k)
		}
		return o
	}
	for _, x := range []struct {
		e    ringstore.Event
		want map[string]any
	}{
		{ringstore.Event{Kind: ringstore.KindFork, Fork: &ringstore.Fork{ChildTID: 13, ChildPID: 11}},
			map[string]any{"event": "fork", "child": map[string]any{"pid": 11.0, "tid": 13.0, "thread": true}}},
		{ringstore.Event{Kind: ringstore.KindExec, Exec: &ringstore.Exec{OldTID: 13, Filename: ringstore.Capture{Data: []byte("/bin/sh")}}},
			map[string]any{"event": "exec", "filename": "/bin/sh", "oldTid": 13.0}},
		{ringstore.Event{Kind: ringstore.KindExit, Exit: &ringstore.Exit{Status: 0x300, Group: true, First: true}},
			map[string]any{"event": "exit", "exitCode": 3.0, "signal": nil, "core": false, "lastThread": true, "first": true, "oom": false}},
		{ringstore.Event{Kind: ringstore.KindExit, Exit: &ringstore.Exit{Status: 9, Group: true, OOM: true}},
			map[string]any{"event": "oom", "exitCode": nil, "signal": "SIGKILL", "core": false, "lastThread": true, "first": false, "oom": true}},
		{ringstore.Event{Kind: ringstore.KindSignal, Signal: &ringstore.Signal{Signal: 11, Code: 1, Addr: 16, Fatal: true}},
			map[string]any{"event": "signal", "signal": "SIGSEGV", "code": "SEGV_MAPERR", "errno": 0.0, "address": "0x10",
				"sender": map[string]any{"pid": 0.0, "uid": 0.0}, "handled": false, "ignored": false, "fatal": true}},
		{ringstore.Event{Kind: ringstore.KindSignal, Signal: &ringstore.Signal{Signal: 15, Handled: true, Sender: &ringstore.Sender{PID: 77, Comm: "killer"}}},
			map[string]any{"event": "signal", "signal": "SIGTERM", "code": "SI_USER", "errno": 0.0, "address": "0x0",
				"sender": map[string]any{"pid": 0.0, "uid": 0.0, "hostPid": 77.0, "comm": "killer"}, "handled": true, "ignored": false, "fatal": false}},
		{ringstore.Event{Kind: ringstore.KindCred}, map[string]any{"event": "cred"}},
	} {
		if diff := cmp.Diff(x.want, event(x.e)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// arbitrary makes an event out of bytes.
func arbitrary(data []byte) (*ringstore.Meta, *ringstore.Event) {
	next := func(n int) []byte {
		b := make([]byte, n)
		copy(b, data)
		data = data[min(n, len(data)):]
		return b
	}
	b := next(32)
	m := &ringstore.Meta{Arch: []string{"amd64", "arm64", "amd64", "x"}[b[0]&3], WallOffset: int64(binary.LittleEndian.Uint64(b[24:])), Pod: string(b[1:4])}
	e := &ringstore.Event{
		Kind: ringstore.Kind(b[1] & 7), Lane: ringstore.Lane(b[2]), Nr: binary.LittleEndian.Uint16(b[3:]) & 0x1ff, ABI: ringstore.ABI(b[5] & 3),
		Ret: int64(binary.LittleEndian.Uint64(b[6:])), Start: int64(binary.LittleEndian.Uint64(b[14:])), Duration: int64(int32(binary.LittleEndian.Uint32(b[20:]))),
		Unfinished: b[22]&1 != 0, NoEnter: b[22]&2 != 0, Known: b[22]&4 != 0, Comm: string(b[8:16]),
	}
	if b[22]&8 != 0 {
		e.Ret = int64(int8(b[6]))
	}
	for range b[23] % 8 {
		v := binary.LittleEndian.Uint64(next(8))
		if v&1 == 0 {
			v >>= 40
		}
		e.Args = append(e.Args, v)
	}
	if e.Kind == ringstore.KindUring && b[22]&16 != 0 {
		e.Nr &= 0x3f // most that are known
	}
	for range next(1)[0] % 6 {
		c := next(3)
		e.Captures = append(e.Captures, ringstore.Capture{Arg: int(c[0] % 8), Status: ringstore.CaptureStatus(c[1] & 31), Data: next(int(c[2]))})
	}
	c := next(20)
	switch e.Kind {
	case ringstore.KindFork:
		e.Fork = &ringstore.Fork{ChildTID: uint32(c[0]), ChildPID: uint32(c[1])}
	case ringstore.KindExec:
		e.Exec = &ringstore.Exec{OldTID: uint32(c[0]), Filename: ringstore.Capture{Status: ringstore.CaptureStatus(c[1]), Data: c[2:9]}}
	case ringstore.KindExit:
		e.Exit = &ringstore.Exit{Status: binary.LittleEndian.Uint32(c), OOM: c[4]&1 != 0, Group: c[4]&2 != 0}
	case ringstore.KindSignal:
		e.Signal = &ringstore.Signal{Signal: uint32(c[0]), Code: int32(int8(c[1])), Errno: int32(c[2]), Addr: binary.LittleEndian.Uint64(c[3:])}
	}
	return m, e
}

func FuzzRender(f *testing.F) {
	f.Add([]byte{})
	for n := range 420 {
		seed := make([]byte, 32, 200)
		seed[1], seed[3], seed[4], seed[22], seed[23] = 1, byte(n), byte(n>>8), byte(n), 6
		for i := range 48 {
			seed = append(seed, byte(i*n))
		}
		seed = append(seed, 5, 0, 0, 40)
		f.Add(append(seed, bytes.Repeat([]byte{1, 0, 0, 7, 255, 0}, 20)...))
		operation := bytes.Clone(seed)
		operation[1], operation[22] = byte(ringstore.KindUring), byte(n&1)
		f.Add(operation)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, e := arbitrary(data)
		before, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		line := AppendText([]byte("x"), m, e)
		if line[0] != 'x' {
			t.Errorf("what was there is gone: %q", line)
		}
		if line = line[1:]; len(line) > 0 && (bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n') {
			t.Errorf("not one line: %q", line)
		}
		for _, c := range line[:max(len(line)-1, 0)] {
			if c < ' ' || c > '~' {
				t.Errorf("%q is in %q", c, line)
			}
		}
		o := object(t, m, e)
		if (o["syscall"] == nil) == (o["event"] == nil) {
			t.Errorf("neither or both of syscall and event: %v", o)
		}
		if after, _ := json.Marshal(e); !bytes.Equal(before, after) {
			t.Errorf("the event was changed\nfrom %s\nto   %s", before, after)
		}
	})
}

func BenchmarkAppendText(b *testing.B) {
	e := with(call("openat", 3, ^uint64(99), 0x7ffe12345678, 0x80000, 0), ringstore.Capture{Arg: 1, Data: []byte("/html/index.html")})
	var line []byte
	for b.Loop() {
		line = AppendText(line[:0], meta, e)
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	e := with(call("openat", 3, ^uint64(99), 0x7ffe12345678, 0x80000, 0), ringstore.Capture{Arg: 1, Data: []byte("/html/index.html")})
	var line []byte
	for b.Loop() {
		line = AppendJSON(line[:0], meta, e)
	}
}
