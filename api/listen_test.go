package api_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/swoll-recorder/swoll/api"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "made", "swoll.sock")
	ln, err := api.Listen(path, "4242")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeSocket|0o660 || info.Sys().(*syscall.Stat_t).Gid != 4242 || ln.Group != 4242 {
		t.Errorf("mode %v, group %d, told %d; want 0660, 4242", info.Mode(), info.Sys().(*syscall.Stat_t).Gid, ln.Group)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left beside the socket: %v", left)
	}

	if _, err := api.Listen(path, ""); err == nil || !strings.Contains(err.Error(), "another service answers") {
		t.Errorf("on a live socket: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the live one does not answer any more: %v", err)
	} else {
		c.Close()
	}

	ln.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after Close: %v", err)
	}
}

func TestListenStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as a service that was killed leaves it
	dead.Close()
	old, err := api.Listen(path, "")
	if err != nil {
		t.Fatalf("on a stale socket: %v", err)
	}
	// Who took the name over keeps it when the one before closes late.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	ln, err := api.Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	old.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("keep me"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, group, want string }{
		{file, "", "no socket"},
		{filepath.Join(file, "s"), "", "not a directory"},
		{filepath.Join(dir, strings.Repeat("x", 108)), "", "107"},
		{filepath.Join(dir, "s"), "no-such-group", "groupadd"},
	} {
		if ln, err := api.Listen(test.path, test.group); err == nil {
			ln.Close()
			t.Errorf("Listen(%q, %q) listens", test.path, test.group)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("Listen(%q, %q): %v; want %q in it", test.path, test.group, err, test.want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "keep me" {
		t.Errorf("the file that was there: %q, %v", b, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// TestListenLongPath: the private name beside the socket is longer than the socket's own.
func TestListenLongPath(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("x", 107-len(dir)-1))
	ln, err := api.Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestListenActivated(t *testing.T) {
	if ln, err := api.ListenActivated(); ln != nil || err != nil {
		t.Errorf("without a service manager: %v, %v", ln, err)
	}

	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := os.Chown(path, -1, 4242); err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for _, test := range []struct {
		name string
		ln   interface{ File() (*os.File, error) }
		want string
	}{
		{"socket", ln, path + " 4242\n"},
		{"TCP", tcp.(*net.TCPListener), "<nil> the service manager must hand over one socket, ListenStream=/PATH\n"},
	} {
		f, err := test.ln.File()
		if err != nil {
			t.Fatal(err)
		}
		// Only the process whose id is in LISTEN_PID is meant.
		cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
		cmd.Env = []string{activatedEnv + "=1", "LISTEN_FDS=1"}
		cmd.ExtraFiles = []*os.File{f}
		out, _ := cmd.CombinedOutput() // it fails where the socket is refused
		f.Close()
		if string(out) != test.want {
			t.Errorf("%s: %q, want %q", test.name, out, test.want)
		}
	}
	// The socket is the manager's: it stays.
	if c, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}
