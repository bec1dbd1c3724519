package recorder

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestRemoveSnapshots: only what a store made goes, so a directory that was not made for
// snapshots survives being given as one.
func TestRemoveSnapshots(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, others := range [][]string{nil, {"syslog", "notes.swoll.txt", "no id!.swoll", ".profile"}} {
		dir := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range append([]string{"20261121T070254-a-940587.swoll", ".20261121T070254-b-940587.swoll123"}, others...) {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := Remove("", dir, log); err != nil {
			t.Error(err)
		}
		var left []string
		entries, err := os.ReadDir(dir)
		if others == nil && !os.IsNotExist(err) {
			t.Errorf("the directory is left: %v", err)
		}
		for _, e := range entries {
			left = append(left, e.Name())
		}
		slices.Sort(others)
		if !slices.Equal(left, others) {
			t.Errorf("left: %q, want %q", left, others)
		}
		if err := Remove("", dir, log); err != nil {
			t.Errorf("again: %v", err)
		}
	}
}
