package main_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// captured is what JSON shows of a string: the bytes, and whether they are marked as not
// all; ok is false where it shows none.
func captured(t testing.TB, v any) (text string, cut, ok bool) {
	t.Helper()
	switch v := v.(type) {
	case string:
		// A pointer is a string, too: that of a target which could not be read.
		return v, false, !strings.HasPrefix(v, "0x")
	case map[string]any:
		data, err := base64.StdEncoding.DecodeString(v["base64"].(string))
		if err != nil {
			t.Fatal(err)
		}
		return string(data), v["cut"].(bool), true
	}
	return "", false, false
}

// TestEdges: what lies where it is hard to read is shown right, or is marked: never blank,
// never wrong. The text says the same as the JSON.
func TestEdges(t *testing.T) {
	t.Parallel()
	s := newService(t, "--ring-size", "2MiB")
	dir := t.TempDir()
	untouched := filepath.Join(dir, "file")
	if err := os.WriteFile(untouched, []byte("/none/on a page of a file\x00"+strings.Repeat("x", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	c := s.container("edges")
	c.start(program(t, "edges"), untouched).expect("done")
	cases := map[int][]event{}
	at := 0
	for _, e := range s.dump(c.name, "all=true") {
		if fd, ok := e.Args["fd"].(float64); e.name() == "close" && ok && fd > 1000 && e.Error == "EBADF" {
			at = int(fd) - 1000
		} else if at > 0 && (e.name() == "openat" || e.name() == "write") {
			cases[at] = append(cases[at], e)
		}
	}
	one := func(n int) event {
		t.Helper()
		if len(cases[n]) == 0 {
			t.Fatalf("case %d is not recorded: %v", n, cases)
		}
		return cases[n][0]
	}
	whole := func(n int, want string) {
		t.Helper()
		if got, cut, ok := captured(t, one(n).Args["pathname"]); got != want || cut || !ok {
			t.Errorf("case %d: %q, cut: %t, want %q: %v", n, got, cut, want, one(n))
		}
	}
	whole(1, "/none/across the border")
	whole(2, "/none/on a page of a file")
	// Read when the call returned, for the page was not there: that is said.
	if one(1).Late || !one(2).Late {
		t.Errorf("late: %t, want false: %v; %t, want true: %v", one(1).Late, one(1), one(2).Late, one(2))
	}
	if e := one(3); e.Error != "EFAULT" {
		t.Errorf("a path that cannot be read: %v", e)
	} else if got, _, ok := captured(t, e.Args["pathname"]); ok {
		t.Errorf("a path that cannot be read is shown as %q", got)
	}
	long := "/none/" + strings.Repeat("p", 4089)
	want := []byte(long)
	for i := 200; i < 4095; i += 200 {
		want[i] = '/'
	}
	if got, cut, ok := captured(t, one(4).Args["pathname"]); !ok || !cut || len(got) < 200 || !strings.HasPrefix(string(want), got) {
		t.Errorf("a path of 4095 bytes: %d bytes, cut: %t", len(got), cut)
	}
	if !one(4).Cut {
		t.Error("the event with the path of 4095 bytes is not marked as cut")
	}
	whole(5, "/none/last page")
	if e := one(6); e.Error != "EFAULT" {
		t.Errorf("a path without an end: %v", e)
	} else if got, cut, ok := captured(t, e.Args["pathname"]); ok && (!cut || strings.Trim(got, "x") != "") {
		t.Errorf("a path without an end is shown as %q, cut: %t", got, cut)
	}
	if got, cut, ok := captured(t, one(7).Args["buf"]); !ok || !cut || len(got) == 0 || strings.Trim(got, "d") != "" {
		t.Errorf("a long buffer: %q, cut: %t", got, cut)
	}
	if got, cut, ok := captured(t, one(8).Args["buf"]); ok && !cut {
		t.Errorf("a buffer of which a half cannot be read is shown as %q", got)
	}
	// Each is one of the states that the path went through: some bytes of the one kind,
	// then the other kind. No byte is anything else, and none is missing.
	n := uint64(0)
	for _, e := range cases[9] {
		n += e.calls()
	}
	if n != 500 {
		t.Errorf("%d calls while another thread changed the path, want 500", n)
	}
	for _, e := range cases[9] {
		got, cut, ok := captured(t, e.Args["pathname"])
		if !ok || cut || len(got) != 200 || strings.Trim(got, "ab") != "" {
			t.Fatalf("a path that is being changed: %q, cut: %t: %v", got, cut, e)
		}
	}
	for _, line := range s.text(c.name, "all=true") {
		switch {
		case strings.Contains(line, "across the border") && !strings.Contains(line, `openat(AT_FDCWD, "/none/across the border", O_RDONLY) = -1 ENOENT`):
			t.Errorf("text: %s", line)
		case strings.Contains(line, "/none/ppp") && !strings.Contains(line, `p"..., O_RDONLY) = -1 ENOENT`):
			t.Errorf("text: %s", line)
		}
	}
}
