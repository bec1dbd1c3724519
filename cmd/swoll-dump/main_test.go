package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/api/apitest"
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"swoll-dump": main, "kubectl-swoll": main})
}

// TestScripts runs testdata/script, each script with a service of its own on the socket
// $SWOLL_SOCKET, whose backend is apitest's. What is run there dies with code 3, and the
// snapshot of that is saved, where the script's name has "dies".
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			b := apitest.NewBackend()
			b.Die("default", "web", "app") // s1
			if strings.Contains(env.WorkDir, "dies") {
				b.OnRecord = func(p api.Pod) { b.Die(p.Namespace, p.Name, "") }
			}
			socket := filepath.Join(env.WorkDir, "s")
			if err := serveOn(env, t, socket, b); err != nil {
				return err
			}
			env.Setenv("SWOLL_SOCKET", socket)
			return os.WriteFile(filepath.Join(env.WorkDir, "crash.swoll"), snapshotFile(t), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": status,
			"nobody": nobody,
			"await":  await,
			"gone":   gone,
			"term":   terminate,
		},
	})
}

// status N COMMAND... runs it, and checks that its exit status is N.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND...")
	}
	checkStatus(ts, args[0], ts.Exec(args[1], args[2:]...))
}

func checkStatus(ts *testscript.TestScript, want string, err error) {
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != want {
		ts.Fatalf("exit status %d, want %s", got, want)
	}
}

// nobody N ARG... runs swoll-dump ARG... as the user nobody, and checks that its exit
// status is N.
func nobody(ts *testscript.TestScript, neg bool, args []string) {
	cmd := exec.Command("/proc/self/exe") // the directory that it is in is closed to others
	cmd.Args = append([]string{"swoll-dump"}, args[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"SWOLL_SOCKET=" + ts.Getenv("SWOLL_SOCKET")}
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	checkStatus(ts, args[0], cmd.Run())
}

// await FILE waits until the file is there.
func await(ts *testscript.TestScript, neg bool, args []string) {
	for range 1000 {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s did not appear", args[0])
}

// terminate is term FILE: it sends SIGTERM to the process whose id is in the file.
func terminate(ts *testscript.TestScript, neg bool, args []string) {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGTERM))
}

// gone FILE checks that there is no cgroup of version 2 at the path that FILE has. ! gone
// FILE checks that there is one, and removes it.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	path := strings.TrimSpace(ts.ReadFile(args[0]))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	ts.Check(err)
	for _, mount := range cgroupParents(string(mounts), "") {
		_, err := os.Stat(filepath.Join(mount, path))
		if !neg && err == nil {
			ts.Fatalf("cgroup %s is there", path)
		}
		if neg && err == nil {
			remove(ts, filepath.Join(mount, path))
			return
		}
	}
	if neg {
		ts.Fatalf("cgroup %s is not there", path)
	}
}

// remove removes a cgroup once its last process is gone.
func remove(ts *testscript.TestScript, cgroup string) {
	var err error
	for range 1000 {
		if err = os.Remove(cgroup); !errors.Is(err, syscall.EBUSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Check(err)
}

// snapshotFile is a snapshot of a program that failed to close file 99, then exited with
// code 3.
func snapshotFile(t *testing.T) []byte {
	t.Helper()
	const lanePages = 2
	shape := layout.Shape{Layout: layout.SizesLayout, Rings: 1, Slots: 1, Pages: 4 * lanePages}
	for lane := range shape.Lane {
		shape.Lane[lane] = layout.LaneShape{First: uint32(lane * lanePages), Pages: lanePages}
	}
	shape.Bytes = (shape.Pages + 1) * layout.SizesPage
	mem := make([]byte, shape.Bytes)
	put := func(at int, v any) {
		var b bytes.Buffer
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
		copy(mem[at:], b.Bytes())
	}
	record := layout.Record{
		Len: layout.SizesRecordHead + 4, Kind: layout.KindCall, Nr: 3, Shape: 1, // close, one argument
		Start: 2_000_000_000, TID: 812, Duration: 1000, Ret: -int32(syscall.EBADF),
	}
	at := int(shape.Lane[layout.LaneError].First+1) * layout.SizesPage
	put(at, layout.Page{
		State: 1<<layout.PageStateSeqShift | uint64(layout.SizesPageHead) + uint64(record.Len),
		Last:  record.Start, Taken: record.Start, Lane: layout.LaneError, Life: 1,
	})
	put(at+layout.SizesPageHead, record)
	put(at+layout.SizesPageHead+layout.SizesRecordHead, uint32(99))
	control := int(shape.Pages) * layout.SizesPage
	put(control, layout.Ring{
		Flags: layout.RingFlagFrozen, Cgroup: 4711, Life: 1, Armed: 1_000_000_000, Frozen: 2_001_000_000,
		Death: layout.Death{
			Ready: 1, Done: 1, Time: 2_001_000_000, Kind: layout.DeathKindExit, TGID: 812, TID: 812, Status: 3 << 8,
			Flags: layout.DeathFlagFirst | layout.DeathFlagGroup, Comm: [16]uint8{'a', 'p', 'p'},
		},
	})
	put(control+layout.RingAtLane+layout.LaneError*layout.SizeofLaneState, uint64(1))
	ring, err := ringstore.NewRing(mem, shape)
	if err != nil {
		t.Fatal(err)
	}
	img, err := ring.Copy(func() int64 { return 3_000_000_000 }, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	meta := ringstore.Meta{
		Version: 1, ID: "s1", Namespace: "default", Pod: "web", Container: "app", Cgroup: "/kubepods/c1", CgroupID: 4711,
		Arch: "amd64", State: api.StateFrozen, Trigger: api.TriggerExit, Created: apitest.Time,
		Armed: 1_000_000_000, WallOffset: apitest.Time.UnixNano(), Death: img.History(ringstore.Meta{}).Meta.Death,
	}
	if _, err := ringstore.WriteSnapshot(&b, meta, json.RawMessage(`{}`), img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestColorWriter(t *testing.T) {
	const (
		fine = "1 2.000003 read(0, \"\", 4) = 0 <0.000001>\n"
		bad  = "1 2.000003 close(99) = -1 EBADF (Bad file descriptor) <0.000001>\n"
		none = "1 2.000003 write(1, \"= -1 EBADF\", 10) = 10 <0.000001>\n"
		mark = "# complete from here\n"
	)
	red := "\x1b[31m" + strings.TrimSuffix(bad, "\n") + "\x1b[0m\n"
	dim := "\x1b[2m" + strings.TrimSuffix(mark, "\n") + "\x1b[0m\n"
	in, want := fine+bad+none+mark+bad[:len(bad)-1], fine+red+none+dim+red[:len(red)-1]
	for size := 1; size <= len(in); size++ {
		var got bytes.Buffer
		w := &colorWriter{w: &got, on: true}
		for rest := in; rest != ""; {
			n := min(size, len(rest))
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Fatalf("written by %d bytes:\n%s", size, diff)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:                      "0s",
		0:                                 "0s",
		12 * time.Microsecond:             "12µs",
		999 * time.Millisecond:            "999ms",
		59*time.Second + time.Millisecond: "59s",
		61 * time.Second:                  "1m1s",
		2 * time.Hour:                     "2h",
		26*time.Hour + 5*time.Minute:      "1d2h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var tab table
	tab.add("a\x1b[2Jb", "", "x")
	tab.add("ü", "22", "yy")
	var got bytes.Buffer
	if err := tab.write(&got, "NAME", "N", "LAST"); err != nil {
		t.Fatal(err)
	}
	want := "NAME          N        LAST\n\"a\\x1b[2Jb\"   <none>   x\nü             22       yy\n"
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestCgroupParents(t *testing.T) {
	const (
		v2     = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		v1     = "31 23 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n"
		hybrid = "32 23 0:28 / /sys/fs/cgroup/unified rw shared:6 - cgroup2 cgroup2 rw\n"
		bound  = "33 23 0:26 /kubepods/c1 /mnt/with\\040space rw - cgroup2 cgroup2 rw\n"
	)
	for _, test := range []struct {
		name, mounts, own string
		want              []string
	}{
		{"v2", v1[:0] + v2, "0::/user.slice/s.scope\n", []string{"/sys/fs/cgroup/user.slice/s.scope", "/sys/fs/cgroup"}},
		{"hybrid", v1 + hybrid, "4:memory:/a\n0::/\n", []string{"/sys/fs/cgroup/unified"}},
		{"part of the tree", bound, "0::/kubepods/c1/x\n", []string{"/mnt/with space/x", "/mnt/with space"}},
		{"another part", bound, "0::/kubepods/c10\n", []string{"/mnt/with space"}},
		{"outside of the namespace", v2, "0::/../x\n", []string{"/sys/fs/cgroup"}},
		{"v1 alone", v1, "4:memory:/a\n", nil},
	} {
		if diff := cmp.Diff(test.want, cgroupParents(test.mounts, test.own)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
