package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBadRequests: requests that make no sense get an answer that says why, as a problem
// document with a stable code, and the recording goes on.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.container("pod").traffic()

	huge := func() io.Reader {
		return strings.NewReader(`{"cgroup":"/` + strings.Repeat("x", 10<<20) + `"}`)
	}
	for _, c := range []struct {
		method, path string
		body         io.Reader
		status       int
		code         string
	}{
		{"GET", "/v1/pods/host/nobody", nil, 404, "not_found"},
		{"GET", "/v1/pods/host/nobody/dump", nil, 404, "not_found"},
		{"GET", "/v1/pods/other/pod/dump", nil, 404, "not_found"},
		{"GET", "/v1/pods/host/pod/dump?container=none", nil, 404, "not_found"},
		{"GET", "/v1/pods/host/pod/dump?instance=77", nil, 404, "not_found"},
		{"GET", "/v1/pods/host/..%2f..%2fetc/dump", nil, 404, "not_found"},
		{"POST", "/v1/pods/host/nobody/freeze", nil, 404, "not_found"},
		{"POST", "/v1/pods/host/nobody/snapshots", nil, 404, "not_found"},
		{"GET", "/v1/snapshots/none", nil, 404, "not_found"},
		{"GET", "/v1/snapshots/..%2f..%2fetc%2fpasswd/file", nil, 404, "not_found"},
		{"DELETE", "/v1/snapshots/none", nil, 404, "not_found"},
		{"DELETE", "/v1/recordings/none", nil, 404, "not_found"},
		{"GET", "/nothing/here", nil, 404, "not_found"},
		{"GET", "/v1/pods/host/pod/dump?since=yesterday", nil, 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?since=-5s", nil, 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?last=-1", nil, 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?last=many", nil, 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?pid=0x10", nil, 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?pid=99999999999999999999", nil, 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?instance=first", nil, 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?format=xml", nil, 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?errors=perhaps", nil, 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?syscall=nosuchcall", nil, 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?color=red", nil, 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?since=%zz", nil, 400, "bad_request"},
		{"GET", "/v1/pods?x", nil, 400, "bad_request"},
		{"POST", "/v1/recordings", strings.NewReader(`{`), 400, "bad_request"},
		{"POST", "/v1/recordings", strings.NewReader(`[]`), 400, "bad_request"},
		{"POST", "/v1/recordings", strings.NewReader(`{"cgroup":7}`), 400, "bad_request"},
		{"POST", "/v1/recordings", strings.NewReader(`{}`), 400, "bad_request"},
		{"POST", "/v1/recordings", strings.NewReader(`{"cgroup":"/etc"}`), 400, "bad_request"},
		{"POST", "/v1/recordings", strings.NewReader(`{"cgroup":"/nonexistent/cgroup"}`), 404, "not_found"},
		{"POST", "/v1/recordings", huge(), 400, "bad_request"},
		{"POST", "/v1/recordings", struct{ io.Reader }{huge()}, 400, "bad_request"}, // its length unsaid
		{"POST", "/v1/pods/host/pod/snapshots", huge(), 400, "bad_request"},
		{"POST", "/v1/freeze", huge(), 400, "bad_request"},
		{"GET", "/v1/pods/host/pod/dump?syscall=" + strings.Repeat("a", 1<<20), nil, 400, "bad_request"},
	} {
		name := fmt.Sprintf("%s %.60s", c.method, c.path)
		status, code, text := s.problem(c.method, c.path, c.body)
		if status != c.status || code != c.code {
			t.Errorf("%s: status %d, code %q, want %d, %q (%s)", name, status, code, c.status, c.code, text)
		}
		if len(text) > 1000 {
			t.Errorf("%s: the text has %d bytes", name, len(text))
		}
	}
	if status, _, _ := s.do("PATCH", "/v1/pods", nil); status != http.StatusMethodNotAllowed {
		t.Errorf("PATCH: status %d", status)
	}

	// None of that froze or stopped anything.
	if state := s.ring("pod").State; state != "recording" {
		t.Errorf("the container's state is %s", state)
	}
	moves(t, s, "pod")
}

// TestExitStatus: swoll-dump tells scripts by its exit status what went wrong, and people
// by one line.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.container("pod")
	for _, c := range []struct {
		code int
		args []string
	}{
		{0, []string{"list"}},
		{0, []string{"dump", "host/pod"}},
		{0, []string{"dump", "pod"}},
		{0, []string{"snapshots"}},
		{0, []string{"version"}},
		{1, []string{"show", "/etc/passwd"}},
		{2, []string{"dump"}},
		{2, []string{"dump", "pod", "--last", "many"}},
		{2, []string{"dump", "pod", "--since", "yesterday"}},
		{2, []string{"dump", "pod", "--no-such-flag"}},
		{2, []string{"dump", "pod", "-o", "xml"}},
		{2, []string{"no-such-command"}},
		{2, []string{"run"}},
		{3, []string{"dump", "nobody"}},
		{3, []string{"dump", "host/nobody"}},
		{3, []string{"dump", "pod", "-c", "none"}},
		{3, []string{"freeze", "nobody"}},
		{3, []string{"snapshot", "nobody"}},
		{3, []string{"show", "20200101-none"}},
		{3, []string{"rm", "20200101-none"}},
		{3, []string{"forget", "nobody"}},
		{4, []string{"--socket", filepath.Join(s.dir, "no.sock"), "list"}},
	} {
		r := s.cli(c.args...)
		if r.code != c.code {
			t.Errorf("swoll-dump %q: exit status %d, want %d\n%s%s", c.args, r.code, c.code, r.stdout, r.stderr)
		}
		if c.code != 0 && strings.TrimSpace(r.stderr) == "" {
			t.Errorf("swoll-dump %q: no word of why", c.args)
		}
	}

	// A user that the socket is not for.
	cmd := exec.Command(filepath.Join(built, "swoll-dump"), "--socket", s.socket, "list")
	cmd.SysProcAttr = nobody()
	if code, out := run(t, cmd); code != 5 {
		t.Errorf("swoll-dump list as nobody: exit status %d, want 5\n%s", code, out)
	}
}

func nobody() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

// TestStateDirFails: a state directory that has no room, or that cannot be written, keeps
// snapshots from being saved, which is said; but recording goes on, and when there is
// room again, so do snapshots.
func TestStateDirFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		spoil, mend func(t *testing.T, dir string)
		says        string
	}{
		{
			"full",
			func(t *testing.T, dir string) {
				f, err := os.Create(filepath.Join(dir, "filler"))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for _, size := range []int{4096, 1} {
					for err == nil {
						_, err = f.Write(make([]byte, size))
					}
					if !os.IsPermission(err) && !strings.Contains(err.Error(), "no space") {
						t.Fatal(err)
					}
					err = nil
				}
			},
			func(t *testing.T, dir string) {
				if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
					t.Fatal(err)
				}
			},
			"no space",
		},
		{
			"read-only",
			func(t *testing.T, dir string) { remount(t, dir, unix.MS_RDONLY) },
			func(t *testing.T, dir string) { remount(t, dir, 0) },
			"read-only",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := prepareService(t, unified(t))
			mount(t, "tmpfs", s.state, 0, "size=1m")
			// The service is stopped before its state directory is unmounted.
			t.Cleanup(func() {
				if s.cmd != nil {
					s.stop()
				}
			})
			s.start()
			s.container("live").traffic()

			c.spoil(t, s.state)
			files := listFiles(t, s.state)
			crash := func(name string) *process {
				v := s.container(name).start(program(t, "death"), "segv")
				v.expect("ready")
				v.send()
				v.wait()
				return v
			}
			crash("crash-unsaved")
			eventually(t, "the log tells of the snapshot that could not be saved", func() error {
				if !strings.Contains(s.log.String(), c.says) {
					return fmt.Errorf("%q is not in it", c.says)
				}
				return nil
			})
			status, _, text := s.problem("POST", "/v1/pods/host/live/snapshots", nil)
			if status/100 != 5 || !strings.Contains(text, c.says) || !strings.Contains(text, s.state) {
				t.Errorf("a snapshot by hand: status %d, %s; want 5xx, %q and the directory", status, text, c.says)
			}
			if r := s.cli("snapshot", "live"); r.code != 1 || !strings.Contains(r.stderr, c.says) {
				t.Errorf("swoll-dump snapshot: exit status %d, %s", r.code, r.stderr)
			}
			if now := listFiles(t, s.state); now != files {
				t.Errorf("left behind in the state directory: %s, before %s", now, files)
			}

			// What lives is recorded; also by those that come now.
			if state := s.ring("live").State; state != "recording" {
				t.Errorf("the live container's state is %s", state)
			}
			moves(t, s, "live")

			c.mend(t, s.state)
			v := crash("crash-saved")
			snap := s.waitSnapshot("crash-saved")
			checkDeath(t, s.snapshotEvents(snap.ID), v.pid)
		})
	}
}

func remount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, "size=1m"); err != nil {
		t.Fatalf("remount %s: %v", dir, err)
	}
}

// listFiles lists all files below a directory with their sizes.
func listFiles(t testing.TB, dir string) string {
	t.Helper()
	var out bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintf(&out, "%s:%d ", path, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestCannotStart: a service that cannot do its work says why in one line, and fails with
// status 1; what records already is not disturbed by it.
func TestCannotStart(t *testing.T) {
	t.Parallel()
	s := newService(t)
	c := s.container("undisturbed")
	p := c.traffic()

	// fails runs a swolld that must fail, with its own socket and state unless args say
	// otherwise, and its own pin directory. status is 1, or 2 for wrong usage.
	fails := func(t *testing.T, status int, prefix []string, attr *syscall.SysProcAttr, says []string, args ...string) {
		t.Helper()
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		argv := append(append([]string{}, prefix...), filepath.Join(built, "swolld"),
			"--socket", dir+"/sock", "--state-dir", dir+"/state",
			"--pin-dir", filepath.Join(filepath.Dir(s.pins), "other"),
			"--watch-cgroup", s.watch, "--memory", "16MiB", "--ring-size", "1MiB")
		cmd := exec.Command(argv[0], append(argv[1:], args...)...)
		cmd.SysProcAttr = attr
		code, out := run(t, cmd)
		if code != status {
			t.Errorf("exit status %d, want %d\n%s", code, status, out)
		}
		if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 1 {
			t.Errorf("%d lines, want one that says what is wrong:\n%s", len(lines), out)
		}
		for _, word := range says {
			if !strings.Contains(out, word) {
				t.Errorf("not a word of %q in:\n%s", word, out)
			}
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(s.pins), "other")); !os.IsNotExist(err) {
			t.Errorf("it left something pinned: %v", err)
		}
	}

	t.Run("no privileges", func(t *testing.T) {
		fails(t, 1, nil, nobody(), []string{"root"})
	})
	t.Run("no BTF", func(t *testing.T) {
		empty := t.TempDir()
		fails(t, 1, []string{need(t, "unshare"), "-m", "/bin/sh", "-c",
			`mount --bind "$0" /sys/kernel/btf && exec "$@"`, empty}, nil, []string{"BTF"})
	})
	t.Run("memory below one ring", func(t *testing.T) {
		fails(t, 1, nil, nil, []string{"memory", "ring"}, "--memory", "512KiB")
	})
	t.Run("memory that is no size", func(t *testing.T) {
		fails(t, 2, nil, nil, []string{"lots"}, "--memory", "lots")
	})
	t.Run("watched cgroup that is none", func(t *testing.T) {
		fails(t, 1, nil, nil, []string{"/nonexistent/cgroup"}, "--watch-cgroup", "/nonexistent/cgroup")
	})
	t.Run("state directory that is a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		fails(t, 1, nil, nil, []string{file}, "--state-dir", file)
	})
	t.Run("live socket", func(t *testing.T) {
		fails(t, 1, nil, nil, []string{s.socket}, "--socket", s.socket)
	})
	t.Run("pins in use", func(t *testing.T) {
		fails(t, 1, nil, nil, []string{s.pins}, "--pin-dir", s.pins)
	})

	// All the while, the first service has missed nothing.
	p.in.Close()
	var tid, n int
	if _, err := fmt.Sscan(p.expect("done"), &tid, &n); err != nil {
		t.Fatal(err)
	}
	held := numbersByThread(t, s.text(c.name, ""))[tid]
	checkNewest(t, "recent", held, uint32(n))
}
