package main_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSocketActivation: the service takes the socket that a service manager opened, as
// systemd hands it over, serves on it, and leaves it where it is when it ends: so clients
// that connect meanwhile are answered by the next one.
func TestSocketActivation(t *testing.T) {
	s := prepareService(t, unified(t))
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := os.Chmod(s.socket, 0o660); err != nil {
		t.Fatal(err)
	}
	f, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	// From here on the socket is nobody's but that descriptor's.
	ln.Close()
	defer f.Close()
	before, err := os.Stat(s.socket)
	if err != nil {
		t.Fatal(err)
	}
	// Another path, which must not be used: what is handed over goes first.
	flags := append(s.flags(), "--socket", filepath.Join(s.dir, "other"))
	for round := range 2 {
		// systemd sets LISTEN_PID between fork and exec.
		cmd := exec.Command(need(t, "sh"), append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", filepath.Join(built, "swolld")}, flags...)...)
		cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=swolld.socket")
		cmd.ExtraFiles = []*os.File{f} // descriptor 3
		cmd.Stdout, cmd.Stderr = s.log, s.log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		gone := make(chan error, 1)
		go func() { gone <- cmd.Wait() }()
		// The first request may be earlier than the service: it waits in the socket.
		if out := s.mustCLI("version"); !strings.Contains(out, "service: ") {
			t.Errorf("round %d: %s", round, out)
		}
		cmd.Process.Signal(unix.SIGTERM)
		select {
		case err := <-gone:
			if err != nil {
				t.Errorf("round %d: the service ended with %v", round, err)
			}
		case <-time.After(patience):
			cmd.Process.Signal(syscall.SIGKILL)
			t.Fatalf("round %d: the service did not end", round)
		}
		if after, err := os.Stat(s.socket); err != nil || !os.SameFile(before, after) {
			t.Fatalf("round %d: the socket is not the service manager's any more: %v", round, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(s.dir, "other")); !os.IsNotExist(err) {
		t.Errorf("the service made a socket of its own, too: %v", err)
	}
}
