package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/recorder"
)

// asSwolld makes the test's binary be swolld.
const asSwolld = "SWOLLD_TEST_MAIN"

func init() {
	if os.Getenv(asSwolld) != "" {
		main()
	}
}

// parse returns the options that the service would get.
func parse(t *testing.T, env map[string]string, args ...string) (*options, exitStatus) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "SWOLL_") || name == "NODE_NAME" {
			t.Setenv(name, "") // restores it afterwards
			os.Unsetenv(name)
		}
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
	var got *options
	status := run(args, func(_ context.Context, o *options) error {
		got = o
		return nil
	})
	return got, status
}

func TestOptions(t *testing.T) {
	defaults := func(change func(*options)) *options {
		o := &options{
			recorder: recorder.Config{
				PinDir: "/sys/fs/bpf/swoll", StateDir: "/var/lib/swoll", Memory: 256 << 20, RingSize: 1 << 20,
				WatchCgroups: []string{}, DataLimit: 64, StringLimit: 256, SnapshotMaxBytes: 1 << 30, SnapshotKeep: 8,
				SnapshotsPerHour: 60, KeepExited: time.Hour, PayloadCalls: map[string]int{}, StackLimit: 16 << 10,
			},
			kubernetes: true, redact: "default", fold: true,
			socket: "/run/swoll/swoll.sock", groupPermit: api.PermitWrite, logLevel: "info", logFormat: "text",
		}
		change(o)
		return o
	}
	for _, test := range []struct {
		name string
		env  map[string]string
		args []string
		want *options
	}{
		{name: "defaults", want: defaults(func(*options) {})},
		{
			name: "flags",
			args: []string{"--socket=/s", "--socket-group=wheel", "--socket-group-permit=read", "--state-dir=/d", "--pin-dir=",
				"--memory=8MiB", "--ring-size=128KiB", "--watch-cgroup=/a", "--watch-cgroup=/b,/c", "--data-limit=8", "--string-limit=9", "--stack-limit=0",
				"--snapshot-max-bytes=5GiB", "--snapshot-keep=3", "--snapshots-per-hour=7", "--keep-exited=5m",
				"--payload-calls=read=0,write=256", "--payload-calls", "Network=16", "--redact=none", "--fold=false", "--cri=none", "--kubernetes=false", "--kubeconfig=/k", "--node-name=n", "--uninstall", "--log-level=debug", "--log-format=json"},
			want: &options{
				recorder: recorder.Config{StateDir: "/d", Memory: 8 << 20, RingSize: 128 << 10, WatchCgroups: []string{"/a", "/b", "/c"},
					DataLimit: 8, StringLimit: 9, StackLimit: -1, SnapshotMaxBytes: 5 << 30, SnapshotKeep: 3, SnapshotsPerHour: 7, KeepExited: 5 * time.Minute, NodeName: "n",
					PayloadCalls: map[string]int{"read": 0, "write": 256, "Network": 16}, NoFold: true},
				redact: "none", cri: "none", kubeconfig: "/k",
				socket: "/s", socketGroup: "wheel", groupPermit: api.PermitRead, uninstall: true, logLevel: "debug", logFormat: "json",
			},
		},
		{
			name: "environment",
			env: map[string]string{"SWOLL_MEMORY": "1GiB", "SWOLL_PIN_DIR": "", "SWOLL_WATCH_CGROUP": "/a,/b", "SWOLL_SOCKET_GROUP_PERMIT": "none",
				"NODE_NAME": "from-kubernetes", "SWOLL_VERSION": "is no option", "SWOLL_DATA_LIMIT": "0", "SWOLL_PAYLOAD_CALLS": "read=8"},
			want: defaults(func(o *options) {
				o.recorder.DataLimit, o.recorder.PayloadCalls = recorder.NoData, map[string]int{"read": 8}
				o.recorder.Memory, o.recorder.PinDir, o.recorder.WatchCgroups = 1<<30, "", []string{"/a", "/b"}
				o.groupPermit, o.recorder.NodeName = api.PermitNone, "from-kubernetes"
			}),
		},
		{
			name: "a flag beats the environment",
			env:  map[string]string{"SWOLL_MEMORY": "nonsense", "SWOLL_NODE_NAME": "env", "NODE_NAME": "from-kubernetes", "SWOLL_WATCH_CGROUP": "/a"},
			args: []string{"--memory", "2097152", "--watch-cgroup", "/b"},
			want: defaults(func(o *options) {
				o.recorder.Memory, o.recorder.NodeName, o.recorder.WatchCgroups = 2<<20, "env", []string{"/b"}
			}),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, status := parse(t, test.env, test.args...)
			if status != exitDone {
				t.Fatalf("exit status %d", status)
			}
			diff := cmp.Diff(test.want, got, cmp.AllowUnexported(options{}), cmpopts.EquateEmpty(),
				cmpopts.IgnoreFields(recorder.Config{}, "Logger", "Registerer", "Containers", "OnSnapshot"))
			if diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		args []string
	}{
		{args: []string{"--bogus"}},
		{args: []string{"start"}},
		{args: []string{"--memory=many"}},
		{args: []string{"--data-limit=-1"}},
		{args: []string{"--payload-calls=read"}},
		{args: []string{"--stack-limit=-1"}},
		{args: []string{"--snapshot-keep=-1"}},
		{args: []string{"--log-level=loud"}},
		{args: []string{"--log-format=xml"}},
		{args: []string{"--socket-group-permit=all"}},
		{env: map[string]string{"SWOLL_RING_SIZE": "1 MiB"}},
		{env: map[string]string{"SWOLL_UNINSTALL": "perhaps"}},
	} {
		if o, status := parse(t, test.env, test.args...); o != nil || status != exitUsage {
			t.Errorf("%v %v: started %t, exit status %d; want false, 2", test.env, test.args, o != nil, status)
		}
	}
}

func TestByteSize(t *testing.T) {
	for s, want := range map[string]byteSize{
		"1": 1, "4096": 4096, "512B": 512, "1KiB": 1 << 10, "64Ki": 64 << 10, "64K": 64 << 10, "256MiB": 256 << 20,
		"3G": 3 << 30, "2TiB": 2 << 40,
		"": 0, "0": 0, "-1": 0, "1.5GiB": 0, "MiB": 0, "1MB": 0, "1 MiB": 0, "1iB": 0, "1BB": 0, "1MiBMiB": 0,
		"8388608TiB": 0, "9223372036854775808": 0, "0x10": 0, "1e3": 0,
	} {
		var got byteSize
		if err := got.Set(s); got != want || (err == nil) != (want != 0) {
			t.Errorf("Set(%q) = %d, %v; want %d", s, got, err, want)
		}
		var again byteSize
		if want == 0 {
			continue
		}
		if err := again.Set(got.String()); err != nil || again != got {
			t.Errorf("%q prints as %q, which is %d, %v", s, got.String(), again, err)
		}
	}
}

// TestErrors: what keeps the service from starting is one line that names it, and exit
// status 1.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	live := filepath.Join(dir, "live")
	ln, err := net.Listen("unix", live)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	his := filepath.Join(dir, "his")
	if err := os.Mkdir(his, 0o700); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	if err := os.Chown(his, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	own := []string{"--pin-dir=", "--state-dir=" + filepath.Join(his, "state"), "--socket=" + filepath.Join(his, "s")}
	for _, test := range []struct {
		name string
		uid  uint32
		args []string
		want string // part of the line
	}{
		{"live socket", 0, []string{"--pin-dir=", "--state-dir=" + dir, "--socket=" + live}, "another service answers there"},
		{"not root, foreign directory", nobody, []string{"--pin-dir=", "--state-dir=" + his, "--socket=" + filepath.Join(dir, "s")}, "permission denied. Try: as root"},
		{"not root", nobody, own, "missing privileges"},
		{"memory below one ring", 0, append(own, "--memory=512KiB"), "holds no ring"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", test.args...) // the directory that it is in is closed to others
			cmd.Dir = "/"
			cmd.Env = []string{asSwolld + "=1"}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: test.uid, Gid: test.uid}}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("ended with %v, want exit status 1", err)
			}
			line := stderr.String()
			if !strings.HasPrefix(line, "swolld: ") || strings.Count(line, "\n") != 1 || !strings.Contains(line, test.want) {
				t.Errorf("stderr:\n%s\nwant one line with %q", line, test.want)
			}
		})
	}
	if left, err := filepath.Glob(filepath.Join(his, "s")); err != nil || left != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	if c, err := net.Dial("unix", live); err != nil {
		t.Errorf("the live socket: %v", err)
	} else {
		c.Close()
	}
}

func TestOneLine(t *testing.T) {
	err := api.Errorf(api.CodeUnavailable, "first\n\tsecond: %w", fs.ErrNotExist).WithHint("this")
	if got, want := oneLine(err), "first second: file does not exist. Try: this"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLogger(t *testing.T) {
	for level, want := range map[string][2]bool{"debug": {true, true}, "info": {false, true}, "warn": {false, false}} {
		l := (&options{logLevel: level, logFormat: "json"}).logger()
		got := [2]bool{l.Enabled(t.Context(), slog.LevelDebug), l.Enabled(t.Context(), slog.LevelInfo)}
		if got != want {
			t.Errorf("%s: debug and info are logged: %v, want %v", level, got, want)
		}
	}
}
