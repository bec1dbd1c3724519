package recorder

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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

// Twenty restarts of a container, each told of by the runtime at another time: before its
// cgroup is there, while it runs, after its death, or after its ring was freed. Its snapshots
// are the first and the newest ones, in the order of its lives, with their numbers and names.
func TestNamesOfTwentyRestarts(t *testing.T) {
	t.Parallel()
	const lives, keep = 21, 7
	nd := newNode(t, namings[0])
	nd.shut()
	nd.cfg.Containers, nd.cfg.SnapshotKeep, nd.cfg.KeepExited = containers.New(containers.Options{}), keep, time.Second
	nd.start()
	p := nd.pod()
	nd.mkdir(p.dir)
	tell := func(id string, n int) {
		nd.cfg.Containers.Update(id, func(c *containers.Container) {
			c.Namespace, c.Pod, c.PodUID, c.Name, c.RestartCount = "ns", "loop", p.uid, "app", n
		})
	}
	for n := range lives {
		id := strings.Repeat(unique(), 4)
		if n%4 == 0 {
			tell(id, n)
		}
		dir := filepath.Join(p.dir, id)
		nd.mkdir(dir)
		if n%4 == 1 {
			tell(id, n)
		}
		runIn(t, dir, "/bin/sh", "-c", fmt.Sprint("exit ", 100+n))
		if n%4 > 1 {
			eventually(t, "a snapshot without a name", func() bool {
				return slices.ContainsFunc(nd.store.list(), func(s api.Snapshot) bool { return s.ContainerID == id })
			})
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		if n%4 == 3 {
			for _, i := range nd.all() {
				if i.who().containerID == id {
					if err := nd.release(i); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		tell(id, n)
		eventually(t, "the snapshot is named", func() bool {
			return slices.ContainsFunc(nd.store.list(), func(s api.Snapshot) bool {
				return s.ContainerID == id && s.Pod == "loop" && s.Container == "app" && s.Instance == n
			})
		})
	}
	var got []int
	for _, s := range nd.store.list() {
		got = append(got, s.Instance)
		if s.Namespace != "ns" || s.ExitCode == nil || *s.ExitCode != 100+s.Instance {
			t.Errorf("the snapshot of life %d: %+v", s.Instance, s)
		}
	}
	if want := []int{0, 15, 16, 17, 18, 19, 20}; !slices.Equal(got, want) {
		t.Errorf("snapshots of lives %v; want %v", got, want)
	}
}

// runIn runs a command in a cgroup until it ends.
func runIn(t *testing.T, dir string, argv ...string) {
	t.Helper()
	fd, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())}
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
}

// meanwhile calls f over and over, from n goroutines, until it returns false or stop is
// called, which waits for all of them.
func meanwhile(n int, f func() bool) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	for range n {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if !f() {
					return
				}
			}
		})
	}
	return func() {
		close(done)
		running.Wait()
	}
}

// A ring that is released is nobody's: also for who looks for new rings just then.
func TestReleasedIsGone(t *testing.T) {
	nd := newNode(t, namings[0])
	defer meanwhile(2, func() bool {
		nd.refresh()
		return true
	})()
	for range 20 {
		p := nd.pod()
		p.run()
		var i *instance
		eventually(t, "recorded", func() bool {
			for _, x := range nd.all() {
				if x.who().uid == p.uid {
					i = x
				}
			}
			return i != nil
		})
		if err := nd.release(i); err != nil {
			t.Fatal(err)
		}
		for _, x := range nd.all() {
			if x.who().uid == p.uid {
				t.Fatalf("%s is released, and there still, as ring %d", x, x.ring)
			}
		}
	}
}
