package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/swoll-recorder/swoll/recorder/containers"
)

var (
	epoch = metav1.Unix(1_800_000_000, 0)
	yes   = true
)

// A fixture is a client that is fed by hand, with its collection.
type fixture struct {
	*Client
	t    *testing.T
	coll *containers.Collection
	told []string
	time time.Time
}

func newFixture(t *testing.T, o containers.Options) *fixture {
	f := &fixture{Client: newClient(Config{Node: "n1"}, nil), t: t, time: epoch.Time}
	f.cache.tell = func(uid string, c Consent) {
		f.told = append(f.told, fmt.Sprintf("%s record=%v payload=%v", uid, !c.NoRecord, !c.NoPayload))
	}
	f.cache.now = func() time.Time { return f.time }
	o.Enrichers = []containers.Enricher{f}
	f.coll = containers.New(o)
	return f
}

// see takes in a pod as the informer gives it: trimmed.
func (f *fixture) see(p *corev1.Pod) {
	f.t.Helper()
	f.pod(f.coll, trimmed(f.t, p.DeepCopy()))
}

func (f *fixture) delete(p *corev1.Pod) {
	f.see(p)
	f.gone(f.coll, string(p.UID))
}

func (f *fixture) get(id string) containers.Container {
	f.t.Helper()
	c, ok := f.coll.Get(id)
	if !ok {
		f.t.Fatalf("container %s is not in the collection", id)
	}
	return c
}

// wantTold checks what was told of consent since the last time.
func (f *fixture) wantTold(want ...string) {
	f.t.Helper()
	if !slices.Equal(f.told, want) {
		f.t.Errorf("told %q, want %q", f.told, want)
	}
	f.told = nil
}

func trimmed[T any](t *testing.T, o T) T {
	t.Helper()
	n, err := trim(o)
	if err != nil {
		t.Fatal(err)
	}
	return n.(T)
}

func namespaceOf(name string, annotations map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("ns-" + name), Annotations: annotations}}
}

// podOf is a pod with one container, app.
func podOf(ns, name, uid string, mods ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(uid), Labels: map[string]string{"pod": uid},
			OwnerReferences: []metav1.OwnerReference{
				{Kind: "Pet", Name: "other"},
				{Kind: "ReplicaSet", Name: "rs", Controller: &yes},
			}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
	for _, m := range mods {
		m(p)
	}
	return p
}

func annotated(kv ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		for i := 0; i < len(kv); i += 2 {
			p.Annotations[kv[i]] = kv[i+1]
		}
	}
}

// status puts statuses of the pod's containers.
func status(s ...corev1.ContainerStatus) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = s }
}

func uri(id string) string {
	if id == "" {
		return ""
	}
	return "containerd://" + id
}

func running(id string, restarts int32) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: "app", ContainerID: uri(id), ImageID: "sha256:app", RestartCount: restarts,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: epoch}}}
}

func terminated(id string, code int32) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{ContainerID: uri(id), ExitCode: code, Reason: "Error", StartedAt: epoch, FinishedAt: metav1.Unix(1_800_000_009, 0)}
}

func dead(id string, restarts, code int32) corev1.ContainerStatus {
	s := running(id, restarts)
	s.State = corev1.ContainerState{Terminated: terminated(id, code)}
	return s
}

// waiting is that of a container that is not started anew yet.
func waiting(id string, restarts, code int32) corev1.ContainerStatus {
	s := running(id, restarts)
	s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	s.LastTerminationState.Terminated = terminated(id, code)
	return s
}

func after(s corev1.ContainerStatus, last *corev1.ContainerStateTerminated) corev1.ContainerStatus {
	s.LastTerminationState.Terminated = last
	return s
}

func code(c containers.Container) string {
	if c.ExitCode == nil {
		return "none"
	}
	return fmt.Sprint(*c.ExitCode)
}

// wantLife checks one life of a container.
func (f *fixture) wantLife(id string, state containers.State, restarts int, exit string) {
	f.t.Helper()
	if c := f.get(id); c.State != state || c.RestartCount != restarts || code(c) != exit {
		f.t.Errorf("%s is %q, restart %d, exit code %s; want %q, restart %d, exit code %s", id, c.State, c.RestartCount, code(c), state, restarts, exit)
	}
}

// What is large or secret does not stay in memory, and what is needed does.
func TestTrim(t *testing.T) {
	long := strings.Repeat("x", maxAnnotation+1)
	p := podOf("shop", "web", "u1", status(after(running("a", 1), terminated("b", 3))), annotated(
		"kubectl.kubernetes.io/last-applied-configuration", long, AnnotationRecord, "false", AnnotationPayload, long, "team", "red"))
	want := p.DeepCopy()
	delete(want.Annotations, "kubectl.kubernetes.io/last-applied-configuration")
	want.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "rs", Controller: &yes}}
	want.Spec.NodeName = ""

	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(long)}}
	p.Finalizers = []string{"x"}
	p.OwnerReferences[1].UID = "owner"
	p.Spec.Volumes = []corev1.Volume{{Name: "v"}}
	p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PASSWORD", Value: "secret"}}
	p.Spec.Containers[0].Command = []string{long}
	p.Status.Conditions = []corev1.PodCondition{{Message: long}}
	p.Status.ContainerStatuses[0].LastTerminationState.Terminated.Message = long
	p.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Message: long}
	kept := p.Status.ContainerStatuses[0].LastTerminationState.Terminated
	if d := cmp.Diff(want, trimmed(t, p)); d != "" {
		t.Errorf("pod, - want + got:\n%s", d)
	}
	if kept.Message != long {
		t.Error("trimming changed what it was given")
	}

	n := namespaceOf("shop", map[string]string{AnnotationRecord: "false", "other": "x"})
	n.Labels = map[string]string{"l": "v"}
	n.ManagedFields = p.ManagedFields
	if d := cmp.Diff(namespaceOf("shop", map[string]string{AnnotationRecord: "false"}), trimmed(t, n)); d != "" {
		t.Errorf("namespace, - want + got:\n%s", d)
	}
}

func TestKindsAndNames(t *testing.T) {
	f := newFixture(t, containers.Options{})
	always := corev1.ContainerRestartPolicyAlways
	named := func(name string, s corev1.ContainerStatus) corev1.ContainerStatus {
		s.Name = name
		return s
	}
	f.see(podOf("shop", "web", "u1", annotated("team", "red", "kubernetes.io/config.seen", "now"), func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "setup", Image: "setup:1"}, {Name: "proxy", Image: "proxy:1", RestartPolicy: &always}}
		debug := corev1.EphemeralContainer{}
		debug.Name, debug.Image = "debugger", "busybox"
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{debug}
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{named("setup", dead("s", 0, 0)), named("proxy", running("p", 0))}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{running("a", 4)}
		p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{named("debugger", running("d", 0))}
	}))
	zero := 0
	base := containers.Container{Runtime: "containerd", Namespace: "shop", Pod: "web", PodUID: "u1", Node: "n1", ImageID: "sha256:app",
		Labels: map[string]string{"pod": "u1"}, Annotations: map[string]string{"team": "red"}, Owner: containers.Owner{Kind: "ReplicaSet", Name: "rs"},
		State: containers.StateRunning, Started: epoch.Time}
	want := func(id, name, image string, kind containers.Kind, mods ...func(*containers.Container)) {
		t.Helper()
		w := base
		w.ID, w.Name, w.Image, w.Kind = id, name, image, kind
		for _, m := range mods {
			m(&w)
		}
		if d := cmp.Diff(w, f.get(id)); d != "" {
			t.Errorf("%s, - want + got:\n%s", name, d)
		}
	}
	want("s", "setup", "setup:1", containers.KindInit, func(c *containers.Container) {
		c.State, c.ExitCode, c.Reason, c.Finished = containers.StateExited, &zero, "Error", time.Unix(1_800_000_009, 0)
	})
	want("p", "proxy", "proxy:1", containers.KindInit)
	want("a", "app", "app:1", containers.KindContainer, func(c *containers.Container) { c.RestartCount = 4 })
	want("d", "debugger", "busybox", containers.KindEphemeral)
}

// A container that could not be made is none.
func TestNoContainer(t *testing.T) {
	f := newFixture(t, containers.Options{})
	for _, reason := range []string{"ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError", "PodInitializing"} {
		f.see(podOf("shop", "web", "u1", status(corev1.ContainerStatus{Name: "app", Image: "app:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}})))
	}
	f.see(podOf("shop", "web", "u1", status(corev1.ContainerStatus{Name: "app", ContainerID: "containerd://"}, corev1.ContainerStatus{Name: "app", ContainerID: "what"})))
	if cs := f.coll.Select(containers.Selector{Exited: true}); len(cs) != 0 || len(f.cache.byID) != 0 {
		t.Errorf("containers %v, and %d in the cache", cs, len(f.cache.byID))
	}
}

// Whatever the watch skips: each life has its own number and its own end.
func TestLives(t *testing.T) {
	steps := []corev1.ContainerStatus{
		running("a", 0),
		dead("a", 0, 3),
		waiting("a", 0, 3),
		after(running("b", 1), terminated("a", 3)),
		after(dead("b", 1, 4), terminated("a", 3)),
		waiting("b", 1, 4),
	}
	last := after(running("c", 2), terminated("b", 4))
	for seen := range 1 << len(steps) {
		f := newFixture(t, containers.Options{})
		first := false
		for i, s := range steps {
			if seen&(1<<i) != 0 {
				first = true
				f.see(podOf("shop", "web", "u1", status(s)))
			}
		}
		f.see(podOf("shop", "web", "u1", status(last)))
		f.wantLife("b", containers.StateExited, 1, "4")
		f.wantLife("c", containers.StateRunning, 2, "none")
		// Of the first, only what it was seen in can be known.
		switch _, ok := f.coll.Get("a"); {
		case seen&0b011110 != 0:
			f.wantLife("a", containers.StateExited, 0, "3")
		case seen&1 != 0:
			f.wantLife("a", containers.StateExited, 0, "none")
		case ok:
			t.Errorf("a is there, and was never seen (%v)", first)
		}
		if t.Failed() {
			t.Fatalf("seen of the steps: %06b", seen)
		}
	}
}

// In a crash loop the end is told while the next life is not there yet, also to one who
// comes late.
func TestCrashLoopBackOff(t *testing.T) {
	f := newFixture(t, containers.Options{})
	f.see(podOf("shop", "web", "u1", status(waiting("a", 7, 3))))
	f.wantLife("a", containers.StateExited, 7, "3")
}

// An end that nobody knew is told when somebody does; 137 in place of it is not believed.
func TestEndKnownLate(t *testing.T) {
	lost := running("a", 0)
	lost.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown"}}
	for name, how := range map[string]func(f *fixture){
		"the kubelet did not know": func(f *fixture) { f.see(podOf("shop", "web", "u1", status(lost))) },
		"another took its place":   func(f *fixture) { f.see(podOf("shop", "web", "u1", status(running("b", 1)))) },
		"its cgroup went":          func(f *fixture) { f.coll.Exit("a", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, containers.Options{})
			f.see(podOf("shop", "web", "u1", status(running("a", 0))))
			how(f)
			f.wantLife("a", containers.StateExited, 0, "none")
			f.see(podOf("shop", "web", "u1", status(after(running("b", 1), terminated("a", 3)))))
			f.wantLife("a", containers.StateExited, 0, "3")
			f.see(podOf("shop", "web", "u1", status(lost), func(p *corev1.Pod) { p.Status.ContainerStatuses[0].ContainerID = uri("b") }))
			f.see(podOf("shop", "web", "u1", status(lost)))
			f.wantLife("a", containers.StateExited, 0, "3")
		})
	}

	// The collection hears of the container when all is over.
	f := newFixture(t, containers.Options{MaxExited: 1})
	p := podOf("shop", "web", "u1", status(after(running("b", 1), terminated("a", 3))))
	f.see(p)
	f.coll.Update("other", func(c *containers.Container) { c.State = containers.StateExited })
	f.coll.Select(containers.Selector{})
	f.see(p)
	if c, ok := f.coll.Get("a"); ok {
		t.Errorf("told again of one that was let go: %+v", c)
	}
	f.coll.Update("a", func(c *containers.Container) { c.PodUID, c.State = "u1", containers.StateExited })
	f.wantLife("a", containers.StateExited, 0, "3")

	// How it ended is known when the collection has let it go.
	f = newFixture(t, containers.Options{MaxExited: 1})
	f.see(podOf("shop", "web", "u1", status(running("a", 0))))
	f.see(podOf("shop", "web", "u1", status(running("b", 1))))
	f.coll.Update("other", func(c *containers.Container) { c.State = containers.StateExited })
	f.see(podOf("shop", "web", "u1", status(after(running("b", 1), terminated("a", 3)))))
	if c, ok := f.coll.Get("a"); ok {
		t.Errorf("told again of one that was let go: %+v", c)
	}
}

// Whoever comes first, the container is the same: API server, runtime, cgroup.
func TestOrderOfSources(t *testing.T) {
	exact := epoch.Add(123 * time.Millisecond)
	sources := []func(f *fixture){
		func(f *fixture) {
			f.see(podOf("shop", "web", "u1", status(after(running("a", 2), terminated("z", 9)))))
		},
		func(f *fixture) {
			f.coll.Update("a", func(c *containers.Container) {
				if c.Labels == nil {
					c.Labels = map[string]string{"old": "label"}
				}
				c.Name, c.Namespace, c.Pod, c.PodUID, c.Sandbox = "app", "shop", "web", "u1", "s"
				c.State, c.Started, c.PID, c.Runtime = containers.StateRunning, exact, 7, "containerd"
			})
		},
		func(f *fixture) {
			f.coll.Update("a", func(c *containers.Container) { c.PodUID, c.CgroupID, c.Cgroup = "u1", 8, "/a" })
		},
		func(f *fixture) {
			f.coll.Update("a", func(c *containers.Container) { c.State = containers.StateExited })
			f.see(podOf("shop", "web", "u1", status(dead("a", 2, 3))))
		},
	}
	want := containers.Container{ID: "a", Runtime: "containerd", Sandbox: "s", Kind: containers.KindContainer, Name: "app", Namespace: "shop",
		Pod: "web", PodUID: "u1", Labels: map[string]string{"pod": "u1"}, Annotations: map[string]string{}, Owner: containers.Owner{Kind: "ReplicaSet", Name: "rs"},
		Image: "app:1", ImageID: "sha256:app", RestartCount: 2, Node: "n1", State: containers.StateExited, Started: exact, PID: 7,
		Finished: time.Unix(1_800_000_009, 0), ExitCode: new(int), Reason: "Error", Cgroup: "/a", CgroupID: 8}
	*want.ExitCode = 3
	for _, order := range [][]int{{0, 1, 2, 3}, {0, 2, 1, 3}, {1, 0, 2, 3}, {1, 2, 0, 3}, {2, 0, 1, 3}, {2, 1, 0, 3}, {0, 3, 1, 2}, {0, 3, 2, 1}, {1, 0, 3, 2}, {2, 0, 3, 1}} {
		f := newFixture(t, containers.Options{})
		for _, i := range order {
			sources[i](f)
		}
		if d := cmp.Diff(want, f.get("a")); d != "" {
			t.Errorf("order %v, - want + got:\n%s", order, d)
		}
		f.wantLife("z", containers.StateExited, 1, "9")
	}
}

// A container that the status does not name yet gets what its pod's specification says.
func TestNameFromSpecification(t *testing.T) {
	f := newFixture(t, containers.Options{})
	f.coll.Update("a", func(c *containers.Container) { c.PodUID = "u1" })
	f.coll.Update("b", func(c *containers.Container) { c.PodUID, c.Name = "u1", "setup" })
	f.coll.Update("s", func(c *containers.Container) { c.PodUID, c.Name, c.Kind = "u1", "app", containers.KindSandbox })
	f.see(podOf("shop", "web", "u1", func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "setup", Image: "setup:1"}} }))
	for id, want := range map[string]containers.Container{
		"a": {},
		"b": {Name: "setup", Image: "setup:1", Kind: containers.KindInit},
		"s": {Name: "app", Kind: containers.KindSandbox},
	} {
		if c := f.get(id); c.Pod != "web" || c.Name != want.Name || c.Image != want.Image || c.Kind != want.Kind {
			t.Errorf("%s: pod %q, %q %q %q; want web, %q %q %q", id, c.Pod, c.Name, c.Image, c.Kind, want.Name, want.Image, want.Kind)
		}
	}
}

// A new image in the specification is the next life's.
func TestImageOfEachLife(t *testing.T) {
	f := newFixture(t, containers.Options{})
	f.see(podOf("shop", "web", "u1", status(running("a", 0))))
	two := func(p *corev1.Pod) { p.Spec.Containers[0].Image = "app:2" }
	f.see(podOf("shop", "web", "u1", two, status(running("a", 0))))
	f.see(podOf("shop", "web", "u1", two, status(after(running("b", 1), terminated("a", 3)))))
	if a, b := f.get("a").Image, f.get("b").Image; a != "app:1" || b != "app:2" {
		t.Errorf("images %q, %q; want app:1, app:2", a, b)
	}
}

// A pod that is being deleted has the time at which that was asked for, as it comes from the
// informer: the API has the time at which the pod is to be gone at the latest.
func TestPodBeingDeleted(t *testing.T) {
	f := newFixture(t, containers.Options{})
	f.see(podOf("shop", "web", "u1", status(running("a", 0))))
	if c := f.get("a"); !c.Deletion.IsZero() {
		t.Errorf("nobody deletes it: %v", c.Deletion)
	}
	grace := int64(30)
	f.see(podOf("shop", "web", "u1", status(running("a", 0)), func(p *corev1.Pod) {
		at := metav1.NewTime(epoch.Add(30 * time.Second))
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
	}))
	if c := f.get("a"); !c.Deletion.Equal(epoch.Time) {
		t.Errorf("it was asked to go at %v, not at %v", epoch, c.Deletion)
	}
}

// A crash whose pod is gone keeps its name, for a while.
func TestDeletedPod(t *testing.T) {
	f := newFixture(t, containers.Options{})
	p := podOf("shop", "web", "u1", status(dead("a", 2, 3)))
	f.see(podOf("shop", "web", "u1"))
	f.delete(p)
	late := func() containers.Container {
		coll := containers.New(containers.Options{Enrichers: []containers.Enricher{f}})
		coll.Update("a", func(c *containers.Container) { c.PodUID, c.CgroupID, c.State = "u1", 8, containers.StateExited })
		c, _ := coll.Get("a")
		return c
	}
	if c := late(); c.Pod != "web" || c.Name != "app" || c.RestartCount != 2 || code(c) != "3" {
		t.Errorf("after the pod was deleted: %+v", c)
	}
	f.time = f.time.Add(keepDeleted)
	f.delete(podOf("shop", "db", "u2"))
	if c := late(); c.Pod != "web" {
		t.Errorf("%v after the pod was deleted: %+v", keepDeleted, c)
	}
	f.time = f.time.Add(time.Second)
	f.delete(podOf("shop", "db", "u3"))
	if c := late(); c.Pod != "" {
		t.Errorf("it is never forgotten: %+v", c)
	}
}

// A container that only the API server knew goes with its pod; one that was seen on the
// node is left to who sees it there.
func TestDeletedPodsContainers(t *testing.T) {
	f := newFixture(t, containers.Options{})
	both := running("b", 0)
	both.Name = "other"
	p := podOf("shop", "web", "u1", status(running("a", 0), both))
	f.see(p)
	f.coll.Update("b", func(c *containers.Container) { c.CgroupID = 8 })
	f.delete(p)
	f.wantLife("a", containers.StateExited, 0, "none")
	f.wantLife("b", containers.StateRunning, 0, "none")
}

// Nothing grows: not with restarts, not with pods that come and go.
func TestMemoryIsBounded(t *testing.T) {
	f := newFixture(t, containers.Options{MaxExited: 10})
	sizes := func() [5]int {
		return [5]int{len(f.cache.byUID), len(f.cache.byID), len(f.cache.told), len(f.cache.deleted), len(f.cache.namespaces)}
	}
	f.cache.namespace(namespaceOf("shop", nil))
	var p *corev1.Pod
	for i := range int32(1000) {
		p = podOf("shop", "web", "u", status(running(fmt.Sprint("c", i), i)))
		if i > 0 {
			p.Status.ContainerStatuses[0].LastTerminationState.Terminated = terminated(fmt.Sprint("c", i-1), 1)
		}
		f.see(p)
	}
	if got, want := sizes(), [5]int{1, maxLives + 2, 1, 0, 1}; got != want {
		t.Errorf("after 1000 restarts the sizes are %v, want %v", got, want)
	}
	f.delete(p)
	for i := range 2 * maxDeleted {
		f.delete(podOf("shop", "web", fmt.Sprint("u", i), status(running(fmt.Sprint("d", i), 0))))
	}
	if got, want := sizes(), [5]int{maxDeleted, maxDeleted, maxDeleted, maxDeleted, 1}; got != want {
		t.Errorf("after many pods the sizes are %v, want %v", got, want)
	}
	f.time = f.time.Add(2 * keepDeleted)
	f.delete(podOf("shop", "web", "last"))
	f.cache.forgetNamespace("shop")
	if got, want := sizes(), [5]int{1, 0, 1, 1, 0}; got != want {
		t.Errorf("after all is over the sizes are %v, want %v", got, want)
	}
}

// The same name again, or elsewhere, is another pod.
func TestNamesNeverMix(t *testing.T) {
	f := newFixture(t, containers.Options{})
	f.cache.namespace(namespaceOf("shop", nil))
	f.cache.namespace(namespaceOf("bank", nil))
	first := podOf("shop", "web", "u1", status(running("a", 3)), annotated(AnnotationRecord, "false"))
	f.see(first)
	f.see(podOf("bank", "web", "u2", status(running("b", 1))))
	f.see(podOf("shop", "web", "u3", status(running("c", 0)))) // before the end of the first is seen
	f.delete(first)
	for id, want := range map[string]string{"a": "u1 shop 3", "b": "u2 bank 1", "c": "u3 shop 0", "x": "u1 shop 0", "y": "u3 shop 0"} {
		f.coll.Update(id, func(c *containers.Container) {
			switch id {
			case "x":
				c.PodUID = "u1"
			case "y":
				c.PodUID = "u3"
			}
		})
		c := f.get(id)
		if got := fmt.Sprint(c.PodUID, " ", c.Namespace, " ", c.RestartCount); got != want || c.Labels["pod"] != c.PodUID {
			t.Errorf("%s is %s with labels %v, want %s", id, got, c.Labels, want)
		}
	}
	f.wantTold("u1 record=false payload=true", "u2 record=true payload=true", "u3 record=true payload=true")
}

// A status that claims the container of another pod gets nothing.
func TestClaimedContainer(t *testing.T) {
	f := newFixture(t, containers.Options{})
	thief := podOf("bad", "thief", "u2", status(running("a", 5), running("b", 5)))
	f.see(podOf("shop", "web", "u1", status(running("a", 0))))
	f.coll.Update("b", func(c *containers.Container) { c.PodUID = "u1" }) // its cgroup says so
	f.see(thief)
	f.see(thief)
	f.coll.Refresh(containers.Selector{})
	for _, id := range []string{"a", "b"} {
		if c := f.get(id); c.Namespace != "shop" || c.PodUID != "u1" || c.RestartCount != 0 {
			t.Errorf("%s: %+v", id, c)
		}
	}
}

func mirror(hash string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		annotated(corev1.MirrorPodAnnotationKey, hash, "kubernetes.io/config.hash", hash)(p)
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "Node", Name: "n1", Controller: &yes}}
	}
}

// A static pod's cgroup has another UID than its mirror.
func TestMirrorPod(t *testing.T) {
	f := newFixture(t, containers.Options{})
	f.cache.namespace(namespaceOf("kube-system", nil))
	f.coll.Update("a", func(c *containers.Container) { c.PodUID, c.CgroupID = "hash", 8 })
	old := podOf("kube-system", "etcd-n1", "api1", mirror("hash"), status(running("a", 1)))
	f.see(old)
	anew := podOf("kube-system", "etcd-n1", "api2", mirror("hash"), status(running("a", 1)), annotated(AnnotationRecord, "false"))
	f.see(anew)
	f.gone(f.coll, "api1")
	f.gone(f.coll, "api1")
	// Neither of these is the pod.
	f.see(podOf("bad", "etcd-n1", "u2", mirror("hash"), annotated(AnnotationPayload, "none")))
	f.see(podOf("bad", "web", "u3", func(p *corev1.Pod) { annotated(corev1.MirrorPodAnnotationKey, "hash")(p) }))
	f.coll.Update("b", func(c *containers.Container) { c.PodUID = "hash" })
	for _, id := range []string{"a", "b"} {
		if c := f.get(id); c.Namespace != "kube-system" || c.Pod != "etcd-n1" || c.PodUID != "hash" {
			t.Errorf("%s: %+v", id, c)
		}
	}
	f.wantLife("a", containers.StateRunning, 1, "none")
	f.wantTold("hash record=true payload=true", "hash record=false payload=true", "u2 record=true payload=false")

	// The mirror goes, the pod lives on; then another is made.
	f.delete(anew)
	f.wantLife("a", containers.StateRunning, 1, "none")
	f.see(podOf("kube-system", "etcd-n1", "api3", mirror("hash"), status(running("a", 1)), annotated(AnnotationRecord, "false")))
	f.wantTold()

	f.time = f.time.Add(2 * keepDeleted)
	f.delete(podOf("shop", "db", "u4"))
	if got := slices.Sorted(maps.Keys(f.cache.byUID)); !slices.Equal(got, []string{"api3", "hash", "u2", "u3", "u4"}) {
		t.Errorf("pods that are remembered: %v", got)
	}
}

func TestConsent(t *testing.T) {
	f := newFixture(t, containers.Options{})
	no := map[string]string{AnnotationRecord: "false"}
	f.cache.namespace(namespaceOf("shop", nil))
	web := podOf("shop", "web", "web")
	own := podOf("shop", "own", "own", annotated(AnnotationRecord, "true", AnnotationPayload, "none"))
	f.see(web)
	f.see(own)
	f.see(podOf("bank", "web", "bank"))
	f.wantTold("web record=true payload=true", "own record=true payload=false")

	// A namespace is of all its pods, but for what they say themselves.
	f.cache.namespace(namespaceOf("shop", no))
	f.wantTold("web record=false payload=true")
	f.see(podOf("shop", "db", "db"))
	f.wantTold("db record=false payload=true")
	f.see(podOf("shop", "own", "own"))
	f.wantTold("own record=false payload=true")
	f.see(own)
	f.wantTold("own record=true payload=false")

	// Neither the end of the namespace nor that of the pod gives anything back.
	f.cache.forgetNamespace("shop")
	f.see(web)
	f.delete(web)
	f.cache.namespace(namespaceOf("shop", nil))
	f.wantTold("db record=true payload=true")
	f.cache.namespace(namespaceOf("bank", map[string]string{AnnotationPayload: "none"}))
	f.wantTold("bank record=true payload=false")
}

// What an earlier life of the service was told holds until the namespace is known; what a
// pod itself refuses holds at once.
func TestConsentBeforeNamespace(t *testing.T) {
	f := newFixture(t, containers.Options{})
	f.see(podOf("shop", "web", "web"))
	f.see(podOf("shop", "half", "half", annotated(AnnotationRecord, "true")))
	f.wantTold()
	f.see(podOf("shop", "no", "no", annotated(AnnotationRecord, "false")))
	f.see(podOf("shop", "all", "all", annotated(AnnotationRecord, "true", AnnotationPayload, "full")))
	f.wantTold("no record=false payload=true", "all record=true payload=true")
	f.cache.namespace(namespaceOf("shop", map[string]string{AnnotationRecord: "false", AnnotationPayload: "none"}))
	slices.Sort(f.told)
	f.wantTold("half record=true payload=false", "no record=false payload=false", "web record=false payload=false")
}
