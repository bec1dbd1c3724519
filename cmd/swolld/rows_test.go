package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRowsDriveAll: a call that there is not is recorded, shown as text and as JSON, and
// found by its name, by rows of the table alone: no code knows it.
func TestRowsDriveAll(t *testing.T) {
	t.Parallel()
	golang, perl := need(t, "go"), need(t, "perl")
	dir := t.TempDir()
	for name, rows := range map[string]string{
		"kernel.txt": "x86_64 400 brew pot: unsigned int, kind: const char *, heat: unsigned int, cups: struct cup *, n: size_t\n" +
			"arm64 400 brew pot: unsigned int, kind: const char *, heat: unsigned int, cups: struct cup *, n: size_t\n",
		"calls.txt":  "[Kitchen/Drinks]\nbrew\tpot:fd kind:str heat:flags=heat cups:array=cup<4 n -> fd\n",
		"ioctls.txt": "",
		"values.txt": "struct cup 8* volume:uint@0 sugar:int@4\nflags heat HEAT_???\n  HOT=1 STRONG=4\n",
	} {
		path := filepath.Join("../../ringstore/syscalls", name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(data, "\n"+rows...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(argv ...string) {
		t.Helper()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	run(golang, "run", "../../ringstore/syscalls/gen", "-dir", dir)
	tables, err := filepath.Abs("../../ringstore/syscalls/tables.go")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{tables: filepath.Join(dir, "tables.go")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "swolld")
	run(golang, "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "../swolld")

	s := prepareService(t, unified(t), "--ring-size", "1MiB")
	s.startUnder(need(t, "sh"), "-c", `shift; exec "$0" "$@"`, binary)
	c := s.container("kitchen")
	c.start(perl, "-e", `$| = 1; my ($kind, $cups) = ("tea", pack("LlLl", 200, 2, 150, -1)); syscall(400, 3, $kind, 13, $cups, 2); print "done\n"; <STDIN>`).expect("done")

	want := `brew(3, "tea", HOT|STRONG|0x8, [{volume=200, sugar=2}, {volume=150, sugar=-1}], 2) = -1 ENOSYS (Function not implemented)`
	lines := s.text(c.name, "syscall=brew")
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
		t.Errorf("not in the text: %s\n%s", want, strings.Join(lines, "\n"))
	}
	events := s.dump(c.name, "syscall=brew")
	if len(events) != 1 {
		t.Fatalf("%d events, want one: %v", len(events), events)
	}
	cup := func(volume, sugar float64) any { return map[string]any{"volume": volume, "sugar": sugar} }
	if diff := cmp.Diff(map[string]any{
		"pot": 3.0, "kind": "tea", "heat": []any{"HOT", "STRONG", "0x8"}, "cups": []any{cup(200, 2), cup(150, -1)}, "n": 2.0,
	}, events[0].Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}
