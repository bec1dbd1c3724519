package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// planted are the secrets that TestSecrets' program carries, by where.
var planted = map[string]string{
	"environment": "env-hunter2",
	"argument":    "argv-hunter2",
	"buffer":      "bearer-hunter2",
	"path":        "path-hunter2",
}

// secretive starts a program that has the planted secrets in its environment, its arguments,
// what it writes, and a path; and fails.
func secretive(c *container) {
	p := c.start("/usr/bin/env", "-i", "DB_PASSWORD="+planted["environment"],
		"API_TOKEN="+planted["buffer"], "PATH_TOKEN="+planted["path"], "/bin/sh", "-c",
		`read x; echo "Authorization: Bearer $API_TOKEN" >&2; : <"/nowhere?token=$PATH_TOKEN"; exit 3`,
		"--password="+planted["argument"])
	p.in.Close()
	p.wait()
}

// TestSecrets: what looks like a secret leaves the rings only as asterisks. It is in no file
// that the service writes (snapshots decompressed), in nothing that it answers, and in
// nothing that it logs or that swoll-dump prints. Without redaction all of it is there, so
// that this test can tell.
func TestSecrets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		redact string
		found  bool
	}{{"masked", "default", false}, {"not masked", "none", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, "--redact", test.redact, "--log-level", "debug")
			c := s.container("secretive")
			secretive(c)
			snap := s.waitSnapshot(c.name)
			secretive(s.container("sibling"))
			s.waitSnapshot("sibling")
			s.post("/v1/pods/host/secretive/snapshots", map[string]string{"reason": "test"})
			id := "/v1/snapshots/" + snap.ID
			pod := "/v1/pods/host/secretive"
			export := filepath.Join(s.dir, "export.swoll")
			s.mustCLI("export", snap.ID, export)
			seen := map[string][]byte{"the export": decompressed(t, export)}
			for _, path := range []string{
				"/v1/pods", pod, "/v1/snapshots", id, id + "/file", "/metrics",
				id + "/dump?all=true", id + "/dump?all=true&format=json", id + "/explain", id + "/explain?format=json",
				pod + "/dump?all=true", pod + "/dump?all=true&format=json",
			} {
				seen["GET "+path] = s.get(path)
			}
			for _, args := range [][]string{
				{"list", "-o", "json"}, {"list", "-o", "wide"}, {"snapshots", "-o", "wide"}, {"snapshots", "-o", "yaml"},
				{"show", snap.ID, "--all"}, {"show", export, "--all"}, {"show", export, "-o", "json"},
				{"explain", snap.ID}, {"explain", export, "-o", "json"}, {"explain", "secretive"},
				{"dump", "secretive", "--all"}, {"dump", "secretive", "--errors", "-o", "json"},
				{"diff", snap.ID, "host/sibling"}, {"diff", snap.ID, "host/sibling", "-o", "json"},
			} {
				seen["swoll-dump "+strings.Join(args, " ")] = []byte(s.mustCLI(args...))
			}
			files := 0
			for path, data := range filesBelow(t, s.state) {
				if strings.HasSuffix(path, ".swoll") {
					data = decompressed(t, path)
					files++
				}
				seen[path] = data
			}
			if files < 3 {
				t.Errorf("%d snapshots are on disk", files)
			}
			s.stop() // so that its log is whole
			seen["the log"] = []byte(s.log.String())
			for where, text := range seen {
				for what, secret := range planted {
					if bytes.Contains(text, []byte(secret)) && !test.found {
						t.Errorf("the %s's secret is in %s:\n%q", what, where, around(string(text), secret))
					}
				}
			}
			if test.found {
				for what, secret := range planted {
					for _, where := range []string{"the export", "GET " + id + "/dump?all=true", filepath.Join(s.state, snap.ID+".swoll")} {
						if !bytes.Contains(seen[where], []byte(secret)) {
							t.Errorf("the %s's secret is not in %s: this test would not see it", what, where)
						}
					}
				}
				if !bytes.Contains(seen["GET "+id+"/explain"], []byte(planted["buffer"])) {
					t.Error("the verdict has none of it: this test would not see it")
				}
			}
		})
	}
}

// TestPayloadsOff: with payloads off for the node, nothing that a program reads or writes is
// in the raw memory of any map: not of calls that returned, not of one that runs, not in
// what the programs work in. Nor is its environment, ever. With payloads on the maps that
// hold captures are seen to have it, and the paths are there in both.
func TestPayloadsOff(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		limit string
		data  bool
	}{{"off", "0", false}, {"on", "64", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, "--data-limit", test.limit, "--redact", "none")
			const environment, data, path = "ENVIRONHUNTER22", "BUFFERHUNTER2222", "path-hunter-2"
			c := s.container("secretive")
			backwards := []byte(data)
			slices.Reverse(backwards)
			// The environment comes through a pipe: no argument has it.
			p := c.start("/bin/sh", "-c", `read x; export TOKEN="$x"; echo "$x" >&2; exec "$0" "$@" 2>&1`, program(t, "secrets"), "2", path, string(backwards))
			if _, err := p.in.WriteString(environment + "\n"); err != nil {
				t.Fatal(err)
			}
			p.expect("ready")
			eventually(t, "more than the ring holds was recorded", func() error {
				if n := s.ring(c.name).Ring.Overwritten; n < 1000 {
					return fmt.Errorf("%d records were overwritten", n)
				}
				return nil
			})
			s.post("/v1/pods/host/secretive/snapshots", nil) // so that the list of running calls was made
			memory := searchable(t, s.pins, p.tids())
			found := map[string][]string{}
			for name, bytes_ := range memory {
				for _, what := range []string{environment, data[:8], path} {
					if bytes.Contains(bytes_, []byte(what)) {
						found[what] = append(found[what], name)
					}
				}
			}
			t.Logf("searched %q", slices.Sorted(maps.Keys(memory)))
			if !slices.Contains(found[path], "rings") {
				t.Errorf("the path is only in %q", found[path])
			}
			if !test.data {
				if len(found[environment])+len(found[data[:8]]) > 0 {
					t.Errorf("with payloads off, in memory are %q", found)
				}
				// What the files have is what the memory had.
				for path, text := range filesBelow(t, s.state) {
					if strings.HasSuffix(path, ".swoll") {
						text = decompressed(t, path)
					}
					if bytes.Contains(text, []byte(environment)) || bytes.Contains(text, []byte(data[:8])) {
						t.Errorf("with payloads off, it is in %s", path)
					}
				}
				return
			}
			for _, name := range []string{"rings", "tasks"} { // "listings" has the task that was listed last
				if !slices.Contains(found[data[:8]], name) {
					t.Errorf("the data are not seen in %s, but in %q: this test would not see them", name, found[data[:8]])
				}
			}
			if !slices.Equal(found[environment], []string{"rings"}) {
				t.Errorf("what was read from the pipe is seen in %q", found[environment])
			}
		})
	}
}

// searchable is the memory of all maps below a pin directory, by name; of those that tasks
// have parts of, those of these threads.
func searchable(t *testing.T, pins string, tids []int) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(pins, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), "link_") {
			return err
		}
		m, err := ebpf.LoadPinnedMap(path, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		defer m.Close()
		if all[d.Name()], err = contents(m, tids); err != nil {
			return fmt.Errorf("%v: %w", m, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// contents is all that a map holds.
func contents(m *ebpf.Map, tids []int) (all []byte, err error) {
	switch m.Type() {
	case ebpf.Array, ebpf.Hash, ebpf.LRUHash:
		key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
		it := m.Iterate()
		for it.Next(&key, &value) {
			all = append(append(all, key...), value...)
		}
		return all, it.Err()
	case ebpf.PerCPUArray, ebpf.PerCPUHash, ebpf.LRUCPUHash:
		var key []byte
		var values [][]byte
		it := m.Iterate()
		for it.Next(&key, &values) {
			all = append(append(all, key...), bytes.Join(values, nil)...)
		}
		return all, it.Err()
	case ebpf.TaskStorage:
		for _, tid := range tids {
			fd, err := unix.PidfdOpen(tid, unix.PIDFD_THREAD)
			if err != nil {
				return nil, fmt.Errorf("thread %d: %w", tid, err)
			}
			value := make([]byte, m.ValueSize())
			err = m.Lookup(uint32(fd), &value)
			unix.Close(fd)
			if err != nil {
				return nil, fmt.Errorf("the storage of thread %d: %w", tid, err)
			}
			all = append(all, value...)
		}
		return all, nil
	case ebpf.Queue, ebpf.Stack:
		value := make([]byte, m.ValueSize())
		return value, m.Lookup(nil, &value) // the rest are as old as this one
	case ebpf.RingBuf:
		data, err := unix.Mmap(m.FD(), int64(os.Getpagesize()), os.Getpagesize()+int(m.MaxEntries()), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return nil, err
		}
		defer unix.Munmap(data)
		return bytes.Clone(data), nil
	}
	return nil, errors.New("this test does not know how to search a map of this type")
}

// filesBelow are the contents of all files below a directory.
func filesBelow(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
func around(text, what string) string {
	i := strings.Index(text, what)
	return text[max(0, i-300):min(len(text), i+300)]
}

// decompressed is all that a snapshot file holds: what is not compressed, then every frame
// of zstd, wherever it begins.
func decompressed(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	all := bytes.Clone(data)
	frames := 0
	for rest := data; ; {
		i := bytes.Index(rest, []byte{0x28, 0xb5, 0x2f, 0xfd})
		if i < 0 {
			break
		}
		rest = rest[i:]
		// What follows the frame is none: the error comes after what was decoded.
		if raw, _ := dec.DecodeAll(rest, nil); len(raw) > 0 {
			all = append(all, raw...)
			frames++
		}
		rest = rest[4:]
	}
	if frames == 0 {
		t.Fatalf("no frame of zstd in %s", path)
	}
	return all
}
