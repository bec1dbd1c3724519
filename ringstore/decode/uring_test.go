package decode

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// operation is one that completed. args are numbered by layout.UringArg*.
func operation(opcode uint16, ret int64, args ...uint64) *ringstore.Event {
	return &ringstore.Event{Kind: ringstore.KindUring, Seq: 9, TID: 812, PID: 812, Start: 115012000, Duration: 12345,
		Nr: opcode, Ret: ret, Args: args, Lane: ringstore.LaneRecent}
}

const cwd = 0xffffff9c // AT_FDCWD in 32 bits

// Every operation that has a call to be shown by has that call, with as many arguments, on each
// architecture; so a captured path is where the call has one.
func TestOperationsAreCalls(t *testing.T) {
	if len(uringOps) != 63 || uringOps[18].name != "openat" || uringOps[62].name != "pipe" {
		t.Fatalf("%d operations", len(uringOps))
	}
	for opcode, op := range uringOps {
		if op.call == "" {
			continue
		}
		for _, arch := range []string{"amd64", "arm64"} {
			row := syscalls.ByName(arch, op.call)
			if row == nil {
				t.Errorf("%s has no %s, which is how %s is shown", arch, op.call, op.name)
				continue
			}
			args, _ := row.Shape(make([]uint64, 6))
			for _, a := range args {
				if a.Index >= len(op.fields) {
					t.Errorf("%s: argument %s of %s comes from nowhere", op.name, a.Name, op.call)
					continue
				}
				path := a.Format == syscalls.FormatPath || a.Format == syscalls.FormatSockaddr && a.Out == syscalls.In
				if path && op.fields[a.Index].capture() < 0 {
					t.Errorf("%s: %s of %s is no pointer", op.name, a.Name, op.call)
				}
			}
			if _, ok := AsCall(arch, operation(uint16(opcode), 0, 1), 1<<30); !ok {
				t.Errorf("%s is no call on %s", op.name, arch)
			}
		}
	}
}

func TestTextOfOperations(t *testing.T) {
	path := func(arg int, s string) ringstore.Capture { return ringstore.Capture{Arg: arg, Data: []byte(s)} }
	unfinished := operation(22, 0, 0x4d, 3, 0, 0x1000, 8, 16)
	unfinished.Unfinished, unfinished.Seq = true, 0
	skipped := operation(19, 0, 1, 5, skipSuccess)
	skipped.Unfinished = true
	seen := operation(18, -2, 7)
	seen.NoEnter = true
	message := operation(ringstore.NoOpcode, 5, 7)
	message.NoEnter = true
	for _, x := range []struct {
		e    *ringstore.Event
		want string
	}{
		{with(operation(18, -2, 7, cwd, 0, 0x1000), path(layout.UringArgAddr, "/etc/x")),
			`openat(AT_FDCWD, "/etc/x", O_RDONLY) = -1 ENOENT (No such file or directory) <0.000012> /* user_data=0x7 */`},
		{with(operation(18, 5, 7, cwd, 0, 0x1000, 0640, 0, 0x41), path(layout.UringArgAddr, "x")),
			`openat(AT_FDCWD, "x", O_WRONLY|O_CREAT, 0640) = 5 <0.000012> /* user_data=0x7 */`},
		{with(operation(35, 0, 0, cwd, 0, 0x1000, cwd, 0x2000, 1), path(layout.UringArgOff, "b"), path(layout.UringArgAddr, "a")),
			`renameat(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE) = 0 <0.000012> /* user_data=0x0 */`},
		{with(operation(16, -111, 1, 3, 0, 0x1000, 0, 16), ringstore.Capture{Arg: layout.UringArgAddr, Data: []byte("\x02\x00\x1f\x90\x0a\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00")}),
			`connect(3, {sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr("10.0.0.7")}, 16) = -1 ECONNREFUSED (Connection refused) <0.000012> /* user_data=0x1 */`},
		{operation(22, 3, 1<<63, 2, 1|16, 0x1000, 64, ^uint64(0)), `read(2, 0x1000, 64, -1) = 3 <0.000012> /* user_data=0x8000000000000000, IOSQE_FIXED_FILE|IOSQE_ASYNC */`},
		{operation(6, 1, 2, 4, 3<<32, 0, 1, 0, 1), `poll_add(4, POLLIN) = 0x1 (POLLIN) <0.000012> /* user_data=0x2, IORING_CQE_F_BUFFER|IORING_CQE_F_MORE */`},
		{operation(27, 9, 2, 4, 1<<48|1<<32|0x20), `recv(4, NULL, 0, 0, NULL, NULL) = 9 <0.000012> /* user_data=0x2, IOSQE_BUFFER_SELECT, IORING_CQE_F_BUFFER, buffer=1 */`},
		{operation(0, 0), `nop() = 0 <0.000012> /* user_data=0x0 */`},
		{operation(63, -22, 1, 3, 0, 0x10, 2, 5, 1), `op_0x3f(3, addr=0x10, len=2, off=0x5, flags=0x1) = -1 EINVAL (Invalid argument) <0.000012> /* user_data=0x1 */`},
		{unfinished, `read(3, 0x1000, 8, 16 <unfinished ...> /* user_data=0x4d */`},
		{skipped, `close(5) = ? /* user_data=0x1, IOSQE_CQE_SKIP_SUCCESS */`},
		{seen, `openat(?) = -1 ENOENT (No such file or directory) /* user_data=0x7 */`},
		{message, `completion() = 5 /* user_data=0x7 */`},
	} {
		want := "# 812   1795144324.115012 io_uring " + x.want + "\n"
		m := *meta
		m.WallOffset = 1795144324 * 1e9
		if got := collapse(string(AppendText(nil, &m, x.e))); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}

func TestJSONOfOperations(t *testing.T) {
	e := with(operation(18, -2, 1<<60|7, cwd, 2<<32|0x10, 0x1000, 0, 0, 0x80000), ringstore.Capture{Arg: layout.UringArgAddr, Data: []byte("/etc/x")})
	got := object(t, meta, e)
	for _, gone := range []string{"container", "time", "pid", "tid", "uid", "gid", "comm"} {
		delete(got, gone)
	}
	var want map[string]any
	if err := json.Unmarshal([]byte(`{"event":"io_uring","opcode":{"nr":18,"name":"openat"},"error":"ENOENT","return":-2,
		"start":115012000,"finish":115024345,"user_data":"0x1000000000000007","fd":-100,"flags":["IOSQE_ASYNC"],
		"completionFlags":["IORING_CQE_F_MORE"],"args":{"dfd":"AT_FDCWD","pathname":"/etc/x","flags":["O_RDONLY","O_CLOEXEC"]},
		"seq":9,"lane":"recent","cut":false}`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	e.Args, e.Captures, e.NoEnter = e.Args[:1], nil, true
	got = object(t, meta, e)
	if got["fd"] != nil || got["start"] != nil || len(got["args"].(map[string]any)) != 0 {
		t.Errorf("of which only the end was seen: %v", got)
	}
}

// A file that is registered is none of the process's descriptors.
func TestRegisteredFiles(t *testing.T) {
	const fixed = 1 << 30
	for _, x := range []struct {
		e        *ringstore.Event
		arg, ret int64 // of the call
	}{
		{operation(22, 3, 1, 2, 1), fixed + 2, 3},
		{operation(22, 3, 1, 2), 2, 3},
		{operation(18, 0, 1, 7, 0, 0, 0, 0, 5<<32), 7, fixed + 4},
		{operation(13, 6, 1, 7, 0, 0, 0, 0, 0xffffffff<<32), 7, fixed + 6},
		{operation(18, -2, 1, 7, 0, 0, 0, 0, 5<<32), 7, -2},
		{operation(19, 0, 1, 0, 0, 0, 0, 0, 5<<32), fixed + 4, 0},
	} {
		c, ok := AsCall("amd64", x.e, fixed)
		if !ok || int64(c.Args[0]) != x.arg || c.Ret != x.ret || c.Kind != ringstore.KindCall {
			t.Errorf("%s: %+v, want argument %d and result %d", uringName(x.e.Nr), c, x.arg, x.ret)
		}
	}
}

func TestOperationsAreFiltered(t *testing.T) {
	h := history(operation(18, -2, 1), operation(18, 3, 2), operation(0, 0, 3), call("openat", -2, 0, 0, 0, 0))
	for _, x := range []struct {
		f    Filter
		want int
	}{
		{Filter{}, 4}, {Filter{Errors: true}, 2}, {Filter{Syscalls: []string{"openat"}}, 3}, {Filter{Syscalls: []string{"nop"}}, 1},
		{Filter{Syscalls: []string{"io_uring"}}, 3}, {Filter{Syscalls: []string{"read", "io_uring"}}, 3},
		{Filter{Syscalls: []string{"openat"}, Errors: true}, 2}, {Filter{PID: 812}, 3},
	} {
		got := 0
		for range x.f.Each(h) {
			got++
		}
		if got != x.want {
			t.Errorf("%+v: %d events, want %d", x.f, got, x.want)
		}
	}
}

func TestKnownCall(t *testing.T) {
	for name, want := range map[string]bool{"openat": true, "poll_add": true, "io_uring": true, "op_0xc8": true, "syscall_0x999": true, "opena": false, "": false} {
		if KnownCall("amd64", name) != want {
			t.Errorf("%q: known is %v", name, !want)
		}
	}
}

// The header says that io_uring was used, and that it is not seen; so does the JSON.
func TestHeaderOfUring(t *testing.T) {
	for _, x := range []struct {
		used, unseen bool
		want         string
	}{
		{false, false, ""},
		{true, false, "# io_uring: used; what was done through it are the lines"},
		{true, true, "# io_uring: used; what was done through it is not seen here"},
		{false, true, "# io_uring: what is done through it is not seen here"},
	} {
		h := history()
		h.Meta.Uring, h.Meta.UringUnseen = x.used, x.unseen
		got := string(appendHeader(nil, h))
		if strings.Contains(got, "# io_uring") != (x.want != "") || !strings.Contains(got, x.want) {
			t.Errorf("%+v: %s", x, got)
		}
		container, _ := object(t, &h.Meta, call("getpid", 1))["container"].(map[string]any)
		if _, ok := container["ioUring"]; ok != x.used {
			t.Errorf("%+v: %v", x, container)
		}
	}
}
