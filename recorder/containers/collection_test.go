package containers

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// clock is a clock that stands still until it is moved.
type clock struct{ t time.Time }

func newClock() *clock                { return &clock{time.Unix(1_800_000_000, 0)} }
func (c *clock) now() time.Time       { return c.t }
func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }

func ids(cs []Container) []string {
	s := []string{}
	for _, c := range cs {
		s = append(s, c.ID)
	}
	return s
}

func mustGet(t *testing.T, c *Collection, id string) Container {
	t.Helper()
	x, ok := c.Get(id)
	if !ok {
		t.Fatalf("container %s is not there", id)
	}
	return x
}

// A copy can be changed as one likes: also its maps, also those that were put in.
func TestCopies(t *testing.T) {
	c := New(Options{})
	labels := map[string]string{"app": "web"}
	code := 1
	var kept *Container
	c.Update("a", func(x *Container) {
		x.Labels, x.Annotations, x.ExitCode, x.MountNS, x.CgroupID = labels, map[string]string{"k": "v"}, &code, 7, 8
		kept = x
	})
	spoil := func(x *Container) {
		x.Labels["app"], x.Annotations["k"], *x.ExitCode, x.Name = "spoilt", "spoilt", 99, "spoilt"
	}
	labels["app"], code = "spoilt", 99
	spoil(kept)
	x, _ := c.Get("a")
	spoil(&x)
	x, _ = c.ByCgroup(8)
	spoil(&x)
	spoil(&c.ByMountNamespace(7)[0])
	spoil(&c.Select(Selector{})[0])
	for ev := range c.Events(t.Context(), Selector{}) {
		spoil(&ev.Container)
		break
	}
	x, _ = c.Get("a")
	if x.Labels["app"] != "web" || x.Annotations["k"] != "v" || *x.ExitCode != 1 || x.Name != "" {
		t.Errorf("the collection was altered: %+v", x)
	}
}

// Every field counts when it is asked whether anything changed, and clone copies each.
func TestEqualLooksAtAll(t *testing.T) {
	one := 1
	full := Container{Labels: map[string]string{"a": "1"}, Annotations: map[string]string{"a": "1"}, ExitCode: &one}
	typ := reflect.TypeFor[Container]()
	for i := range typ.NumField() {
		other := full.clone()
		f := reflect.ValueOf(&other).Elem().Field(i)
		switch v := f.Interface().(type) {
		case map[string]string:
			v["b"] = "2"
		case *int:
			*v = 2
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(5, 0)))
		case Owner:
			f.Set(reflect.ValueOf(Owner{Kind: "Job"}))
		default:
			switch f.Kind() {
			case reflect.String:
				f.SetString("x")
			case reflect.Int:
				f.SetInt(7)
			default:
				f.SetUint(7)
			}
		}
		if equal(&full, &other) {
			t.Errorf("equal does not look at %s", typ.Field(i).Name)
		}
		if again := other.clone(); !equal(&again, &other) {
			t.Errorf("clone loses %s", typ.Field(i).Name)
		}
	}
	if again := full.clone(); !equal(&full, &again) {
		t.Error("a clone is not equal")
	}
}

func TestEnrichersAreAskedInOrder(t *testing.T) {
	node := "n1"
	c := New(Options{Enrichers: []Enricher{
		EnrichFunc(func(c *Container) { c.Pod = "pod-of-" + c.ID; c.ID = "altered" }),
		EnrichFunc(func(c *Container) { c.Name = c.Pod + "/main"; c.Node = node }),
	}})
	c.Update("a", nil)
	if x := mustGet(t, c, "a"); x.Pod != "pod-of-a" || x.Name != "pod-of-a/main" || x.Node != "n1" {
		t.Errorf("after Update: %+v", x)
	}
	c.Update("z", nil)
	c.Exit("z", nil)
	node = "n2"
	if x := mustGet(t, c, "a"); x.Node != "n1" {
		t.Errorf("changed without being asked: %+v", x)
	}
	c.Refresh(Selector{Pod: "pod-of-a"})
	if x := mustGet(t, c, "a"); x.Node != "n2" {
		t.Errorf("after Refresh: %+v", x)
	}
	if x := mustGet(t, c, "z"); x.Node != "n1" {
		t.Errorf("not selected, but refreshed: %+v", x)
	}
	c.Refresh(Selector{Exited: true})
	if x := mustGet(t, c, "z"); x.Node != "n2" || x.State != StateExited {
		t.Errorf("after Refresh with Exited: %+v", x)
	}
}

func TestExitedStayAWhile(t *testing.T) {
	now := newClock()
	c := New(Options{Keep: time.Minute, MaxExited: 3, Now: now.now})
	all := func() []string { return ids(c.Select(Selector{Exited: true})) }
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		c.Update(id, func(c *Container) { c.State = StateRunning; c.CgroupID = uint64(id[0]) })
	}
	c.Exit("b", nil)
	c.Exit("never", nil)
	if got := ids(c.Select(Selector{})); !slices.Equal(got, []string{"a", "c", "d", "e"}) {
		t.Errorf("alive: %v", got)
	}
	now.pass(59 * time.Second)
	c.Exit("a", nil)
	c.Exit("b", func(c *Container) { c.Reason = "Error" }) // is no new end
	if got := all(); !slices.Equal(got, []string{"a", "b", "c", "d", "e"}) {
		t.Errorf("before Keep is over: %v", got)
	}
	now.pass(time.Second)
	if got := all(); !slices.Equal(got, []string{"a", "c", "d", "e"}) {
		t.Errorf("after Keep: %v", got)
	}
	if _, ok := c.ByCgroup('b'); ok {
		t.Error("the cgroup of one that is gone still leads to it")
	}
	for _, id := range []string{"e", "d", "c"} {
		c.Exit(id, nil)
	}
	if got := all(); !slices.Equal(got, []string{"c", "d", "e"}) {
		t.Errorf("above MaxExited: %v", got)
	}
	now.pass(time.Hour)
	if got := all(); len(got) != 0 || len(c.exited) != 0 || len(c.byCgroup) != 0 || len(c.all) != 0 {
		t.Errorf("left over: %v, %v, %v", got, c.exited, c.byCgroup)
	}
}

func TestCgroupIDsUsedAgain(t *testing.T) {
	c := New(Options{})
	cgroup := func(id uint64) func(*Container) { return func(c *Container) { c.CgroupID = id } }
	want := func(when string, cgroup uint64, id string) {
		t.Helper()
		if x, _ := c.ByCgroup(cgroup); x.ID != id {
			t.Errorf("%s: cgroup %d is %q's, not %q's", when, cgroup, x.ID, id)
		}
	}
	want("before all", 5, "")
	c.Update("old", cgroup(5))
	want("at first", 5, "old")
	c.Exit("old", nil)
	want("after its end: who had it last", 5, "old")
	c.Update("new", cgroup(5))
	want("used again", 5, "new")
	c.Update("old", func(c *Container) { c.Reason = "Error"; c.CgroupID = 5 })
	want("after late news of the old one", 5, "new")
	c.Update("late", func(c *Container) { c.State = StateExited })
	c.Update("late", cgroup(5))
	want("after a late id of one that ended", 5, "new")

	// One that ended unseen is found when its id is used again.
	c.Update("newest", cgroup(5))
	want("used again before its end was seen", 5, "newest")
	c.Exit("new", nil)
	want("then", 5, "newest")
	c.Update("last", cgroup(7))
	c.Exit("last", nil)
	c.Update("after", cgroup(7))
	c.Exit("after", nil)
	c.Update("last", func(c *Container) { c.Reason = "Error" })
	want("after late news, when both ended", 7, "after")
	c.Update("newest", cgroup(6))
	want("moved", 6, "newest")
	want("moved", 5, "")
	if _, ok := c.ByCgroup(0); ok {
		t.Error("cgroup 0 means not known, but is somebody's")
	}
}

func TestNamespaces(t *testing.T) {
	c := New(Options{})
	add := func(id, pod string, mnt, pid, net uint64) {
		c.Update(id, func(c *Container) { c.Pod, c.Name, c.MountNS, c.PIDNS, c.NetNS = pod, id, mnt, pid, net })
	}
	add("web", "p", 1, 11, 21)
	add("log", "p", 2, 11, 21)
	add("host", "q", 3, 13, 29)
	add("unknown", "r", 0, 0, 0)
	for what, got := range map[string][2][]string{
		"mount":   {ids(c.ByMountNamespace(2)), {"log"}},
		"pid":     {ids(c.ByPIDNamespace(11)), {"log", "web"}},
		"net":     {ids(c.ByNetNamespace(21)), {"log", "web"}},
		"no pid":  {ids(c.ByPIDNamespace(99)), {}},
		"0 mount": {ids(c.ByMountNamespace(0)), {}},
	} {
		if !slices.Equal(got[0], got[1]) {
			t.Errorf("%s: got %v, want %v", what, got[0], got[1])
		}
	}
	c.Exit("web", nil)
	if got := ids(c.ByNetNamespace(21)); !slices.Equal(got, []string{"log"}) {
		t.Errorf("after an exit: %v", got)
	}
}

func TestSelect(t *testing.T) {
	c := New(Options{})
	for i, s := range [][3]string{{"b", "p", "x"}, {"a", "q", "y"}, {"a", "p", "z"}, {"a", "p", "x"}, {"a", "p", "x"}} {
		c.Update(string(rune('5'-i)), func(c *Container) {
			c.Namespace, c.Pod, c.Name = s[0], s[1], s[2]
			c.PodUID = "uid-" + s[0] + s[1]
			c.Created = time.Unix(int64(100-i), 0)
			c.Labels = map[string]string{"app": s[1], "tier": s[2], "empty": ""}
		})
	}
	c.Exit("3", nil)
	for _, x := range []struct {
		s    Selector
		want []string
	}{
		{Selector{}, []string{"1", "2", "4", "5"}},
		{Selector{Exited: true}, []string{"1", "2", "3", "4", "5"}},
		{Selector{Namespace: "b"}, []string{"5"}},
		{Selector{Pod: "p"}, []string{"1", "2", "5"}},
		{Selector{Pod: "p", Container: "z"}, []string{}},
		{Selector{PodUID: "uid-aq"}, []string{"4"}},
		{Selector{Labels: map[string]string{"app": "p", "tier": "x"}}, []string{"1", "2", "5"}},
		{Selector{Labels: map[string]string{"app": "p", "tier": "y"}}, []string{}},
		{Selector{Labels: map[string]string{"missing": ""}}, []string{}},
		{Selector{Labels: map[string]string{"empty": ""}, Namespace: "a"}, []string{"1", "2", "4"}},
	} {
		if got := ids(c.Select(x.s)); !slices.Equal(got, x.want) {
			t.Errorf("%+v: got %v, want %v", x.s, got, x.want)
		}
	}
}

// Sources may be late: what ended stays so. Only another cgroup is another life.
func TestLivesAgain(t *testing.T) {
	c := New(Options{})
	run := func(cgroup uint64) func(*Container) {
		return func(c *Container) { c.State = StateRunning; c.CgroupID = cgroup }
	}
	c.Update("a", run(1))
	c.Exit("a", func(c *Container) { code := 3; c.ExitCode, c.Reason, c.Finished = &code, "Error", time.Unix(9, 0) })
	c.Update("a", run(1))
	if x := mustGet(t, c, "a"); x.State != StateExited || *x.ExitCode != 3 {
		t.Errorf("brought back to life by a late source: %+v", x)
	}
	c.Update("a", run(2))
	if x := mustGet(t, c, "a"); x.State != StateRunning || x.ExitCode != nil || x.Reason != "" || !x.Finished.IsZero() {
		t.Errorf("in its new cgroup: %+v", x)
	}
	if len(c.exited) != 0 {
		t.Error("it is still to expire")
	}
	if _, ok := c.ByCgroup(1); ok {
		t.Error("its old cgroup leads to its new life")
	}
}
