package containers

import (
	"os"
	"strings"
	"testing"
)

func fixtures(tb testing.TB) (paths []string, want map[string]CgroupName) {
	data, err := os.ReadFile("testdata/cgroups.txt")
	if err != nil {
		tb.Fatal(err)
	}
	want = map[string]CgroupName{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 4 {
			tb.Fatalf("testdata/cgroups.txt: %q has %d fields, not 4", line, len(f))
		}
		for i := range f[1:] {
			if f[i+1] == "-" {
				f[i+1] = ""
			}
		}
		paths = append(paths, f[0])
		want[f[0]] = CgroupName{ID: f[1], Runtime: f[2], PodUID: f[3]}
	}
	return paths, want
}

func TestParseCgroup(t *testing.T) {
	paths, want := fixtures(t)
	if len(paths) < 50 {
		t.Fatalf("%d fixtures: the file is not whole", len(paths))
	}
	for _, p := range paths {
		n, ok := ParseCgroup(p)
		if n != want[p] || ok != (want[p].ID != "") {
			t.Errorf("ParseCgroup(%q)\n got %+v, %v\nwant %+v", p, n, ok, want[p])
		}
	}
}

// What is found stands in the path: nothing is made up, and nothing panics.
func FuzzParseCgroup(f *testing.F) {
	paths, _ := fixtures(f)
	for _, p := range paths {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		n, ok := ParseCgroup(p)
		if !ok {
			if n != (CgroupName{}) {
				t.Errorf("%q: not a container's, but %+v", p, n)
			}
			return
		}
		if len(n.ID) != 64 || !strings.Contains(p, n.ID) {
			t.Errorf("%q: id %q", p, n.ID)
		}
		if n.PodUID != "" && !strings.Contains(strings.ReplaceAll(p, "_", "-"), "pod"+n.PodUID) {
			t.Errorf("%q: uid %q", p, n.PodUID)
		}
	})
}
