package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
)

// Of the pods of TestChurn.
const (
	churnRounds = 5
	churnPods   = 20 // each round, half of them in each of two namespaces
)

// whose writes what a container of TestChurn names in its calls: who it is.
const whose = "$(NS)_$(POD)_main_$(UID)"

// whoseEnv gives the variables of whose.
const whoseEnv = `, env: [
	{name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}},
	{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}},
	{name: UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}]`

// TestChurn runs alone: it looks at what the service has when all is over.
//
// 100 pods are made and removed, while others crash. The same names are used in two
// namespaces at once, and in each round again. Each container names itself in its calls, so
// that a history tells whose it really is.
func TestChurn(t *testing.T) {
	// What is gone must be given up while the test looks. Of all that are removed a snapshot
	// is wanted: a tenth of so many is what deletions may have.
	s := newService(t, "--keep-exited", "45s", "--snapshots-per-hour", "1000")
	spaces := []string{namespace(t, "churn-a"), namespace(t, "churn-b")}
	spec := func(command, more string) string {
		return `{terminationGracePeriodSeconds: 0, ` + more + `containers: [` + containerOf("main", command, whoseEnv) + `]}`
	}

	before := measure(t, s)

	round := func(name string, pods int) []*pod {
		t.Helper()
		var mu sync.Mutex
		var made []*pod
		var wg sync.WaitGroup
		for i := range pods {
			wg.Add(1)
			go func() {
				defer wg.Done()
				command, more := "[/bin/marker, "+whose+"]", ""
				if i%4 >= 2 { // in both namespaces
					command, more = "[/bin/marker, -n, '2', -x, '1', "+whose+"]", "restartPolicy: Never, "
				}
				p := &pod{}
				body := fmt.Sprintf("{metadata: {name: pod-%d}, spec: %s}", i/2, spec(command, more))
				if err := the.do("POST", "/api/v1/namespaces/"+spaces[i%2]+"/pods", "application/yaml", body, p); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				mu.Lock()
				made = append(made, p)
				mu.Unlock()
			}()
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
		return made
	}
	seen := newChurned(t, s, spaces)
	for _, ns := range spaces {
		createPod(t, ns, "{name: crashing}", spec("[/bin/marker, -n, '5', -x, '1', "+whose+"]", ""))
	}
	for i := range churnRounds {
		// Every other round the histories are asked for when the pods are gone.
		seen.check(round(fmt.Sprint("round ", i), churnPods), i%2 == 1)
	}
	for _, ns := range spaces {
		snap := s.waitSnapshot(ns, "crashing", "main", func(snap snapshot) bool { return snap.Instance >= 3 })
		waitTold(t, ns, "crashing", s.waitSnapshot(ns, "crashing", "main", func(snap snapshot) bool { return snap.Instance == 0 }).ID)
		t.Logf("%s/crashing died %d times and more", ns, snap.Instance+1)
		deletePods(t, ns)
	}
	seen.snapshots()

	eventually(t, "what is gone is given up", func() error { return seen.settled() })
	if n := metric(t, s, "swoll_containers_unrecorded_total"); n != 0 {
		t.Errorf("%v containers were not recorded", n)
	}
	var after usage
	if err := within(patience, func() error {
		after = measure(t, s)
		if after.rings != before.rings || after.entries != before.entries || after.descriptors > before.descriptors ||
			after.goroutines > before.goroutines || after.heap > before.heap+8<<20 || after.resident > before.resident+32<<20 {
			return errors.New("it has more")
		}
		return nil
	}); err != nil {
		t.Errorf("the service had %+v before, and has %+v when all is over: %v", before, after, err)
	}
}

// churned checks who the service says that containers are.
type churned struct {
	t      *testing.T
	s      *service
	spaces []string
	owners map[string]string // pod's UID to namespace/name, as the API server said
}

func newChurned(t *testing.T, s *service, spaces []string) *churned {
	return &churned{t: t, s: s, spaces: spaces, owners: map[string]string{}}
}

// check waits until all containers of pods have run, sees that each was recorded from its
// first execve, under its own name, and removes the pods; removed tells to do that first.
func (c *churned) check(pods []*pod, removed bool) {
	c.t.Helper()
	ids := map[string]*pod{}
	for _, p := range pods {
		ns, name := p.Metadata.Namespace, p.Metadata.Name
		c.owners[p.Metadata.UID] = ns + "/" + name
		p := waitPod(c.t, ns, name, "its container ran", func(p *pod) error {
			if st := p.status("main"); st.id() == "" || st.State.Waiting != nil {
				return errors.New("not yet")
			}
			return nil
		})
		ids[p.status("main").id()] = p
	}
	remove := func() {
		for _, p := range pods {
			deletePod(c.t, p.Metadata.Namespace, p.Metadata.Name)
		}
		for _, p := range pods {
			path := "/api/v1/namespaces/" + p.Metadata.Namespace + "/pods/" + p.Metadata.Name
			eventually(c.t, path+" is gone", func() error {
				if err := the.get(path, nil); !errors.Is(err, errNotFound) {
					return fmt.Errorf("it is there (%v)", err)
				}
				return nil
			})
		}
	}
	if removed {
		remove()
	}
	for id, p := range ids {
		ns, name, uid := p.Metadata.Namespace, p.Metadata.Name, p.Metadata.UID
		own := ns + "_" + name + "_main_" + uid
		eventually(c.t, "history of "+ns+"/"+name+", container "+id, func() error {
			events, err := c.history(id, uid, ns, name)
			if err != nil {
				return err
			}
			if i := slices.IndexFunc(events, func(e event) bool { return e.Container.ID != id }); i >= 0 {
				return fmt.Errorf("its history has another container's: %v", events[i])
			}
			if err := firstExec(events, own); err != nil {
				return err
			}
			return marksOnly(events, own)
		})
	}
	c.names()
	if !removed {
		remove()
	}
}

// history is that of a container, which must be under its name: what its ring holds, or,
// where the ring was needed no more, what was saved when it died.
func (c *churned) history(id, uid, ns, name string) ([]event, error) {
	all, err := c.s.tryList()
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if r.ID != id {
			continue
		}
		if r.Namespace != ns || r.Pod != name || r.Name != "main" || r.UID != uid {
			return nil, fmt.Errorf("it is listed as %v with uid %s", r, r.UID)
		}
		return c.s.tryEvents(dumpPath(&r))
	}
	saved, err := c.s.trySnapshots()
	if err != nil {
		return nil, err
	}
	for _, snap := range saved {
		if snap.ContainerID != id {
			continue
		}
		if snap.Namespace != ns || snap.Pod != name || snap.Container != "main" || snap.UID != uid {
			return nil, fmt.Errorf("it is saved as %v", snap)
		}
		return c.s.tryEvents("/v1/snapshots/" + snap.ID + "/dump?format=json&all=true")
	}
	return nil, errors.New("neither a ring nor a snapshot is of it")
}

// marksOnly checks that a history has calls that name own, and none that name another.
func marksOnly(events []event, own string) error {
	if !mentions(events, "/marks/"+own) {
		return fmt.Errorf("it does not name %s: %v", own, events)
	}
	for _, e := range events {
		if e.mentions("/marks/") && !e.mentions("/marks/"+own) {
			return fmt.Errorf("the history of %s has %v", own, e)
		}
	}
	return nil
}

// names checks that no pod that the service knows by name is another.
func (c *churned) names() {
	c.t.Helper()
	for _, r := range c.s.list() {
		if owner, ok := c.owners[r.UID]; ok && r.Namespace != "unknown" && owner != r.Namespace+"/"+r.Pod {
			c.t.Errorf("%v has uid %s, which is that of %s", r, r.UID, owner)
		}
	}
}

// snapshots checks that each snapshot has the history of whom it says.
func (c *churned) snapshots() {
	c.t.Helper()
	for _, ns := range c.spaces {
		for _, snap := range c.s.snapshots(ns) {
			events, err := c.s.tryEvents("/v1/snapshots/" + snap.ID + "/dump?format=json&all=true")
			if err != nil && !slices.ContainsFunc(c.s.snapshots(ns), func(x snapshot) bool { return x.ID == snap.ID }) {
				continue // the quota took it meanwhile
			}
			if err != nil {
				c.t.Fatal(err)
			}
			if err := marksOnly(events, ns+"_"+snap.Pod+"_"+snap.Container+"_"+snap.UID); err != nil {
				c.t.Errorf("%v: %v", snap, err)
			}
		}
	}
}

// settled is an error while the service has containers of the test's namespaces.
func (c *churned) settled() error {
	all, err := c.s.tryList()
	if err != nil {
		return err
	}
	if len(all) > 0 {
		return fmt.Errorf("it has %v", all)
	}
	return nil
}

// usage is what a service uses of what there is not without end.
type usage struct {
	rings       string // the rings by state
	entries     int    // in all pinned hash maps
	descriptors int
	goroutines  float64
	heap        float64 // bytes
	resident    float64 // bytes
}

func measure(t testing.TB, s *service) usage {
	t.Helper()
	// The connections of the test are not the service's.
	s.http.CloseIdleConnections()
	proc := fmt.Sprintf("/proc/%d", s.cmd.Process.Pid)
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	u := usage{
		descriptors: len(fds),
		goroutines:  metric(t, s, "go_goroutines"),
		heap:        metric(t, s, "go_memstats_heap_alloc_bytes"),
		resident:    anonymous(t, proc),
	}
	for _, state := range []string{"free", "recording", "frozen", "exited"} {
		u.rings += fmt.Sprintf("%s=%v ", state, metric(t, s, `swoll_rings{state="`+state+`"}`))
	}
	s.eachMap(t, func(m *ebpf.Map) error {
		if m.Type() != ebpf.Hash {
			return nil
		}
		key := make([]byte, m.KeySize())
		var err error
		for err = m.NextKey(nil, key); err == nil; err = m.NextKey(key, key) {
			u.entries++
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		return err
	})
	return u
}

// metric reads one of the service's metrics; name has its labels.
func metric(t testing.TB, s *service, name string) float64 {
	t.Helper()
	sc := bufio.NewScanner(bytes.NewReader(s.get("/metrics")))
	for sc.Scan() {
		if value, ok := strings.CutPrefix(sc.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatalf("metric %s: %v", name, err)
			}
			return v
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// anonymous is the memory of a process that is its own: without files, and without the
// rings, which it maps.
func anonymous(t testing.TB, proc string) float64 {
	t.Helper()
	data, err := os.ReadFile(proc + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		if f := fields(line); len(f) > 1 && f[0] == "RssAnon:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib * 1024
		}
	}
	t.Fatalf("%s/status has no RssAnon", proc)
	return 0
}

// fields are the words of a text, without what stands around them.
func fields(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n.,;()'\"`", r) })
}
