package kube

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/swoll-recorder/swoll/recorder/containers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually waits until ok is true. The limit is for a test that would fail anyway.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// start runs a client until stop is called.
func start(t testing.TB, c *Client, coll *containers.Collection) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, coll) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(2 * time.Minute):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// consents takes what is told of consent.
type consents struct {
	mu   sync.Mutex
	told []string
}

func (c *consents) tell(uid string, k Consent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, fmt.Sprintf("%s record=%v payload=%v", uid, !k.NoRecord, !k.NoPayload))
}

func (c *consents) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.told, ", ")
}

func collectionOf(c *Client) *containers.Collection {
	return containers.New(containers.Options{Enrichers: []containers.Enricher{c}})
}

// names are the containers of the collection, with what the API says of them.
func names(coll *containers.Collection) string {
	var s []string
	for _, c := range coll.Select(containers.Selector{Exited: true}) {
		s = append(s, fmt.Sprintf("%s=%s/%s/%s#%d:%s", c.ID, c.Namespace, c.PodUID, c.Name, c.RestartCount, c.State))
	}
	slices.Sort(s)
	return strings.Join(s, " ")
}

func wantNames(t *testing.T, coll *containers.Collection, want string) {
	t.Helper()
	eventually(t, want, func() bool { return names(coll) == want })
}

func TestFollow(t *testing.T) {
	s := newAPIServer(t)
	var told consents
	c := s.client(Config{Consent: told.tell})
	coll := collectionOf(c)
	web := podOf("shop", "web", "u1", status(running("a", 0)))
	s.set(namespaceOf("shop", nil), web)
	stop := start(t, c, coll)
	wantNames(t, coll, "a=shop/u1/app#0:running")
	eventually(t, "synced", c.Synced)
	if err := c.Run(t.Context(), coll); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("a second Run at the same time: %v", err)
	}
	if got := slices.Collect(maps.Keys(s.selectors)); !slices.Equal(got, []string{"spec.nodeName=n1"}) {
		t.Errorf("pods are watched by %q", got)
	}

	s.set(podOf("shop", "web", "u1", status(after(running("b", 1), terminated("a", 3)))), podOf("shop", "new", "u2", status(running("c", 0))))
	wantNames(t, coll, "a=shop/u1/app#0:exited b=shop/u1/app#1:running c=shop/u2/app#0:running")
	s.set(namespaceOf("shop", map[string]string{AnnotationRecord: "no"}))
	eventually(t, "consent", func() bool { return strings.Count(told.all(), "record=false") == 2 })
	// A value that cannot be read is a refusal; deletion takes none back.
	s.remove(web)
	s.remove(namespaceOf("shop", nil))
	wantNames(t, coll, "a=shop/u1/app#0:exited b=shop/u1/app#1:exited c=shop/u2/app#0:running")
	before := told.all()

	// What changes between two Runs is found by the second.
	stop()
	stop()
	s.remove(podOf("shop", "new", "u2"))
	s.set(namespaceOf("bank", nil), podOf("bank", "web", "u3", status(running("d", 0))))
	start(t, c, coll)
	wantNames(t, coll, "a=shop/u1/app#0:exited b=shop/u1/app#1:exited c=shop/u2/app#0:exited d=bank/u3/app#0:running")
	eventually(t, "consent", func() bool { return told.all() == before+", u3 record=true payload=true" })
	if alive := c.cache.unlisted(func(string, string, string) bool { return false }); !slices.Equal(alive, []string{"u3"}) {
		t.Errorf("pods that are thought alive: %v", alive)
	}
}

// What the informers keep is trimmed, also of what comes later.
func TestInformersTrim(t *testing.T) {
	s := newAPIServer(t)
	c := s.client(Config{})
	fat := func(p *corev1.Pod) {
		p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(`{"f:x": {}}`)}}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PASSWORD", Value: "secret"}}
	}
	s.set(podOf("shop", "web", "u1", fat))
	inf := coreinformers.NewPodInformer(c.api, metav1.NamespaceAll, 0, cache.Indexers{})
	done, err := c.follow(inf, "pods", logr.Discard(), cache.ResourceEventHandlerFuncs{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { inf.RunWithContext(ctx) })
	defer func() { cancel(); wg.Wait() }()
	<-done
	s.set(podOf("shop", "later", "u2", fat))
	eventually(t, "the second pod", func() bool { return has(inf, "shop/later", "u2") })
	for _, o := range inf.GetStore().List() {
		if p := o.(*corev1.Pod); p.ManagedFields != nil || p.Spec.Containers[0].Env != nil || p.Spec.Containers[0].Image != "app:1" {
			t.Errorf("kept: %+v", p)
		}
	}
}

// The server is away at the start, goes away later, and what happened meanwhile is found:
// also that a name was used again.
func TestOutage(t *testing.T) {
	for name, f := range map[string]fault{"connection cut": cut, "no answer": hang, "503": code503} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer(t)
			var told consents
			c := s.client(Config{Consent: told.tell})
			c.namespaceWait = time.Millisecond
			coll := collectionOf(c)
			all := []string{"pods", "namespaces"}
			atStart := f
			if f == hang {
				atStart = cut // the client waits for an answer to a list as long as it takes
			}
			s.fail(atStart, all...)
			web := podOf("shop", "web", "u1", status(running("a", 0)))
			s.set(namespaceOf("shop", map[string]string{AnnotationRecord: "false"}), web, podOf("shop", "db", "u9", status(running("z", 0))))
			start(t, c, coll)
			eventually(t, "an outage is noticed", c.away.Load)
			// The runtime and the recorder go on.
			coll.Update("a", func(x *containers.Container) { x.PodUID, x.CgroupID = "u1", 8 })
			if c.Synced() {
				t.Error("synced without a server")
			}
			s.fail(none, all...)
			wantNames(t, coll, "a=shop/u1/app#0:running z=shop/u9/app#0:running")
			eventually(t, "consent", func() bool { return strings.Count(told.all(), "record=false") == 2 })
			refused := told.all()

			s.fail(f, all...)
			coll.Update("b", func(x *containers.Container) { x.PodUID, x.CgroupID = "u2", 9 })
			coll.Update("y", func(x *containers.Container) { x.PodUID = "u9" })
			wantNames(t, coll, "a=shop/u1/app#0:running b=/u2/#0: y=shop/u9/#0: z=shop/u9/app#0:running")
			s.set(podOf("shop", "web", "u2", status(running("b", 0)), annotated(AnnotationRecord, "true")), podOf("shop", "db", "u9", status(running("z", 0))))
			if got := told.all(); got != refused {
				t.Errorf("told in an outage: %s; before: %s", got, refused)
			}
			if f == hang {
				s.CloseClientConnections() // as the client's own checks of a connection do, in time
			}
			s.fail(none, all...)
			eventually(t, "the new pod", func() bool {
				b, _ := coll.Get("b")
				return b.Pod == "web" && b.RestartCount == 0 && b.State == containers.StateRunning
			})
			eventually(t, "consent", func() bool { return told.all() == refused+", u2 record=true payload=true" })
			if a, _ := coll.Get("a"); a.PodUID != "u1" || a.Labels["pod"] != "u1" {
				t.Errorf("the old pod's container is now %+v", a)
			}
			alive := c.cache.unlisted(func(string, string, string) bool { return false })
			if slices.Sort(alive); !slices.Equal(alive, []string{"u2", "u9"}) {
				t.Errorf("pods that are thought alive: %v", alive)
			}
		})
	}
}

// The first that is told of a pod's consent counts its namespace.
func TestNamespacesFirst(t *testing.T) {
	s := newAPIServer(t)
	var told consents
	c := s.client(Config{Consent: told.tell})
	c.namespaceWait = time.Hour
	coll := collectionOf(c)
	s.fail(code503, "namespaces")
	s.set(namespaceOf("shop", map[string]string{AnnotationRecord: "false"}), podOf("shop", "web", "u1", annotated(AnnotationPayload, "none"), status(running("a", 0))))
	start(t, c, coll)
	eventually(t, "the pods are listed", func() bool {
		if !c.away.Load() {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.selectors) > 0
	})
	if n := names(coll); n != "" {
		t.Errorf("before the namespaces there are %s", n)
	}
	s.fail(none, "namespaces")
	eventually(t, "consent", func() bool { return told.all() != "" })
	if got := told.all(); got != "u1 record=false payload=false" {
		t.Errorf("told %s", got)
	}
}

// Namespaces that cannot be listed hold up nothing, but the consent that they may refuse.
func TestNoNamespaces(t *testing.T) {
	s := newAPIServer(t)
	var told consents
	c := s.client(Config{Consent: told.tell})
	c.namespaceWait = time.Millisecond
	coll := collectionOf(c)
	s.fail(forbid, "namespaces")
	s.set(namespaceOf("shop", map[string]string{AnnotationRecord: "false"}), podOf("shop", "web", "u1", status(running("a", 0))),
		podOf("shop", "db", "u2", annotated(AnnotationPayload, "none")))
	start(t, c, coll)
	wantNames(t, coll, "a=shop/u1/app#0:running")
	eventually(t, "consent", func() bool { return told.all() == "u2 record=true payload=false" })
	if c.Synced() {
		t.Error("synced without namespaces")
	}
	s.fail(none, "namespaces")
	eventually(t, "the namespace's refusal", func() bool { return strings.Count(told.all(), "record=false") == 2 })
}

// Run ends although nobody answers: neither lists nor events.
func TestStopWhileAway(t *testing.T) {
	for name, f := range map[string]fault{"connection cut": cut, "no answer": hang} {
		t.Run(name, func(t *testing.T) {
			s := newAPIServer(t)
			s.fail(f, "pods", "namespaces", "events")
			c := s.client(Config{})
			c.eventTimeout, c.eventRetry = time.Hour, time.Hour
			stop := start(t, c, collectionOf(c))
			eventually(t, "announced", func() bool { return c.Announce(Announcement{Namespace: "shop", Pod: "web", UID: "u1"}) == nil })
			if f == hang {
				eventually(t, "all wait", func() bool { return s.hanging.Load() == 3 })
			} else {
				eventually(t, "a failure", func() bool { return c.FailedEvents() == 1 })
			}
			stop()
			eventually(t, "all requests are ended", func() bool { return s.hanging.Load() == 0 })
			if err := c.Announce(Announcement{Namespace: "shop", Pod: "web"}); err == nil {
				t.Error("announced after the end")
			}
		})
	}
}

// An outage is two lines in the log, however many attempts fail.
func TestOutageIsLoggedOnce(t *testing.T) {
	s := newAPIServer(t)
	var text lockedBuffer
	c := s.client(Config{Logger: slog.New(slog.NewTextHandler(&text, nil))})
	c.eventRetry = time.Millisecond
	stop := start(t, c, collectionOf(c))
	eventually(t, "synced", c.Synced)
	// Of events alone: else a request that fails may be noticed after one that does not.
	s.fail(cut, "events")
	announce(t, c, Announcement{Namespace: "shop", Pod: "web"})
	eventually(t, "failures", func() bool { return c.FailedEvents() >= 5 })
	s.fail(none, "events")
	eventually(t, "the server is back", func() bool { return !c.away.Load() })
	stop()
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "cannot be reached") || !strings.Contains(lines[1], "is back") {
		t.Errorf("log:\n%s", text.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestConfigErrors(t *testing.T) {
	for want, cfg := range map[string]Config{
		"--node-name":                {},
		"kubeconfig /does/not/exist": {Node: "n1", Kubeconfig: "/does/not/exist"},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Try: ") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
