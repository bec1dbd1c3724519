package recorder

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/recorder/containers"
	"github.com/swoll-recorder/swoll/ringstore"
)

// A snapshot that was saved before its container had a name gets it later: in the list
// and in its file, under the same id, with the same history. Those of others are left
// alone; what is named once is not named again.
func TestNameSnapshots(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir, 1<<20, 8)
	var told []string
	r := &Recorder{log: s.log, store: s, cfg: Config{OnSnapshot: func(s api.Snapshot) { told = append(told, s.ID) }}}
	img := emptyImage(t)
	save := func(containerID string, n int) api.Snapshot {
		meta := metaOf(containerID, n)
		meta.Namespace, meta.Pod, meta.PodUID, meta.ContainerID = unknown, "podabc", "abc", containerID
		snap, err := s.save(meta, img)
		if err != nil {
			t.Fatal(err)
		}
		return snap
	}
	mine, other := save("c1", 0), save("c2", 1)
	before, err := historyOf(s, mine.ID)
	if err != nil {
		t.Fatal(err)
	}

	c := containers.Container{ID: "c1", Name: "app", Namespace: "ns", Pod: "web", PodUID: "abc", RestartCount: 7,
		Image: "img:1", Labels: map[string]string{"app": "web"}}
	// First the pod is known, then the container; then nothing more comes of it.
	podOnly := c
	podOnly.Name = ""
	for _, c := range []containers.Container{podOnly, podOnly, c, c, podOnly} {
		r.nameSnapshots(knownOf(&c))
	}
	if !slices.Equal(told, []string{mine.ID}) {
		t.Errorf("told of %v, want %v once", told, mine.ID)
	}
	want := mine
	want.Namespace, want.Pod, want.Container, want.Instance = "ns", "web", "app", 7
	want.Image, want.Labels = "img:1", api.Map[string]{"app": "web"}
	for _, where := range []*store{s, testStoreAgain(t, s, dir)} {
		got, err := where.get(mine.ID)
		if err != nil {
			t.Fatal(err)
		}
		want.Bytes = got.Bytes // the metadata's length changed
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got, _ := where.get(other.ID); got.Namespace != unknown {
			t.Errorf("another container's snapshot is named, too: %+v", got)
		}
		after, err := historyOf(where, mine.ID)
		if err != nil {
			t.Fatal(err)
		}
		before.Meta, after.Meta = ringstore.Meta{}, ringstore.Meta{}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("the history changed (-before +after):\n%s", diff)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v %v: want the two files and nothing else", entries, err)
	}
}

// testStoreAgain opens the store as the next service would.
func testStoreAgain(t *testing.T, old *store, dir string) *store {
	t.Helper()
	old.close()
	return testStore(t, dir, 1<<20, 8)
}

// Nothing is named by halves, and a sandbox is no container of anybody's.
func TestKnownOf(t *testing.T) {
	full := containers.Container{ID: "c", Name: "app", Namespace: "ns", Pod: "web", PodUID: "abc"}
	for what, change := range map[string]func(*containers.Container){
		"no pod":       func(c *containers.Container) { c.Pod = "" },
		"no namespace": func(c *containers.Container) { c.Namespace = "" },
		"a sandbox":    func(c *containers.Container) { c.Kind = containers.KindSandbox },
	} {
		c := full
		change(&c)
		if k := knownOf(&c); k != nil {
			t.Errorf("%s: named %v", what, k)
		}
	}
	if k := knownOf(&full); k == nil || !k.named {
		t.Errorf("%+v is not named", full)
	}
	full.Name, full.ID = "", "0123456789abcdef"
	if k := knownOf(&full); k == nil || k.named || k.pod != "web" || k.container != "0123456789ab" {
		t.Errorf("of %+v the pod is known, and it is called %+v", full, k)
	}
}

func historyOf(s *store, id string) (*ringstore.History, error) {
	snap, err := s.read(id)
	if err != nil {
		return nil, err
	}
	return snap.History(), nil
}

// The names of what is in the rings outlive the service, also where nobody else knows them
// any more; a file that is damaged costs the names, and nothing else.
func TestNamesSurvive(t *testing.T) {
	nd := newNode(t, namings[0])
	restart := func() {
		nd.shut()
		nd.cfg.Containers = containers.New(containers.Options{}) // knows nobody
		nd.start()
	}
	restart()
	p := nd.pod()
	p.run()
	mine := func() *known {
		nd.refresh()
		for _, i := range nd.all() {
			if k := i.who(); k.uid == p.uid {
				return k
			}
		}
		t.Fatal("the container is not recorded")
		return nil
	}
	nd.cfg.Containers.Update(mine().containerID, func(c *containers.Container) {
		c.Namespace, c.Pod, c.PodUID, c.Name, c.RestartCount = "ns", "web", p.uid, "app", 3
		c.Image, c.Labels = "img:1", map[string]string{"app": "web"}
	})
	eventually(t, "the container is named", func() bool { return mine().named })
	want := *mine()
	for range 2 {
		restart()
		if got := mine(); !got.equal(&want) {
			t.Fatalf("after a restart it is %+v, was %+v", *got, want)
		}
	}
	nd.shut()
	file := filepath.Join(nd.cfg.StateDir, namesFile)
	if err := os.WriteFile(file, []byte(`[{"namespace":`), 0o600); err != nil {
		t.Fatal(err)
	}
	restart()
	if got := mine(); got.named || got.uid != p.uid {
		t.Errorf("with a damaged file it is %+v", *got)
	}
	p.goesOn()
}
