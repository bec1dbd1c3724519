package cri

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/swoll-recorder/swoll/recorder/containers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A runtimeServer speaks the CRI, and does what real runtimes do only now and then: hang,
// fail, lie about their containers, forget them.
type runtimeServer struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	events chan *runtimeapi.ContainerEventResponse // nil: this runtime has none

	mu         sync.Mutex
	sandboxes  map[string]*runtimeapi.PodSandbox
	containers map[string]*runtimeapi.ContainerStatus
	sandboxOf  map[string]string
	info       map[string]string // by id
	hangs      map[string]bool   // by id, or "list"
	listErr    error
	lists      int
	asked      map[string]int // status calls by id
	streams    int
}

func newRuntimeServer() *runtimeServer {
	return &runtimeServer{
		sandboxes:  map[string]*runtimeapi.PodSandbox{},
		containers: map[string]*runtimeapi.ContainerStatus{},
		sandboxOf:  map[string]string{},
		info:       map[string]string{},
		hangs:      map[string]bool{},
		asked:      map[string]int{},
	}
}

// do changes the server's state.
func (s *runtimeServer) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// pod adds a sandbox, and container one in it. They are called in do.
func (s *runtimeServer) pod(id, namespace, name string) {
	s.sandboxes[id] = &runtimeapi.PodSandbox{
		Id: id, State: runtimeapi.PodSandboxState_SANDBOX_READY, CreatedAt: 1,
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: namespace, Uid: "uid-" + name},
		Labels:   map[string]string{labelPod: name, "app": name},
	}
}

func (s *runtimeServer) container(id, pod, name string, st runtimeapi.ContainerState) {
	p := s.sandboxes[pod]
	s.sandboxOf[id] = pod
	s.containers[id] = &runtimeapi.ContainerStatus{
		Id: id, State: st, CreatedAt: 2, StartedAt: 3,
		Metadata: &runtimeapi.ContainerMetadata{Name: name},
		Image:    &runtimeapi.ImageSpec{Image: "sha256:1234", UserSpecifiedImage: "shop/" + name},
		ImageRef: "sha256:1234",
		Labels:   map[string]string{labelContainer: name, labelPod: p.Metadata.Name, labelNamespace: p.Metadata.Namespace, labelUID: p.Metadata.Uid},
	}
}

func (s *runtimeServer) wait(ctx context.Context, what string) error {
	if !s.hangs[what] {
		return nil
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	return ctx.Err()
}

func (s *runtimeServer) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: "cri-o", RuntimeVersion: "1.36.0"}, nil
}

func (s *runtimeServer) ListContainers(ctx context.Context, _ *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	if err := s.wait(ctx, "list"); err != nil {
		return nil, err
	}
	if s.listErr != nil {
		return nil, s.listErr
	}
	r := &runtimeapi.ListContainersResponse{}
	for _, c := range s.containers {
		r.Containers = append(r.Containers, &runtimeapi.Container{
			Id: c.Id, PodSandboxId: s.sandboxOf[c.Id], Metadata: c.Metadata, Image: c.Image, ImageRef: c.ImageRef, State: c.State,
			CreatedAt: c.CreatedAt, Labels: c.Labels, Annotations: c.Annotations,
		})
	}
	return r, nil
}

func (s *runtimeServer) ListPodSandbox(context.Context, *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &runtimeapi.ListPodSandboxResponse{}
	for _, p := range s.sandboxes {
		r.Items = append(r.Items, p)
	}
	return r, nil
}

func (s *runtimeServer) ContainerStatus(ctx context.Context, q *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[q.ContainerId]++
	if err := s.wait(ctx, q.ContainerId); err != nil {
		return nil, err
	}
	c := s.containers[q.ContainerId]
	if c == nil {
		return nil, status.Error(codes.NotFound, "no such container")
	}
	r := &runtimeapi.ContainerStatusResponse{Status: c}
	if i, ok := s.info[c.Id]; ok {
		r.Info = map[string]string{"info": i}
	}
	return r, nil
}

func (s *runtimeServer) PodSandboxStatus(_ context.Context, q *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[q.PodSandboxId]++
	p := s.sandboxes[q.PodSandboxId]
	if p == nil {
		return nil, status.Error(codes.NotFound, "no such sandbox")
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: &runtimeapi.PodSandboxStatus{Id: p.Id, State: p.State, Metadata: p.Metadata}}, nil
}

func (s *runtimeServer) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream runtimeapi.RuntimeService_GetContainerEventsServer) error {
	s.do(func() { s.streams++ })
	if s.events == nil {
		return status.Error(codes.Unimplemented, "no events")
	}
	for {
		select {
		case ev := <-s.events:
			if ev == nil {
				return status.Error(codes.Internal, "the stream breaks")
			}
			if err := stream.Send(ev); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

// event makes an event as CRI-O does: with the status of the whole pod. It is called in do.
func (s *runtimeServer) event(kind runtimeapi.ContainerEventType, id string) *runtimeapi.ContainerEventResponse {
	p := s.sandboxes[s.sandboxOf[id]]
	ev := &runtimeapi.ContainerEventResponse{
		ContainerId: id, ContainerEventType: kind,
		PodSandboxStatus: &runtimeapi.PodSandboxStatus{Id: p.Id, State: p.State, Metadata: p.Metadata, Labels: p.Labels},
	}
	for _, c := range s.containers {
		if s.sandboxOf[c.Id] == p.Id {
			ev.ContainersStatuses = append(ev.ContainersStatuses, c)
		}
	}
	return ev
}

// serve serves until the test ends, or stop is called.
func (s *runtimeServer) serve(t *testing.T, socket string) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(g, s)
	done := make(chan struct{})
	go func() { defer close(done); g.Serve(l) }()
	stop = sync.OnceFunc(func() { g.Stop(); <-done })
	t.Cleanup(stop)
	return stop
}

func socketName(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "c.sock")
}

const (
	running = runtimeapi.ContainerState_CONTAINER_RUNNING
	exited  = runtimeapi.ContainerState_CONTAINER_EXITED
)

// With events, a container need not be in any list: one that came and went between two
// lists is known, with its names and how it ended.
func TestEvents(t *testing.T) {
	s := newRuntimeServer()
	s.events = make(chan *runtimeapi.ContainerEventResponse)
	socket := socketName(t)
	s.serve(t, socket)
	c, coll := run(t, Config{Socket: socket, Poll: time.Hour})
	until(t, "connected", c.Connected)
	seen := make(chan string, 100)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev := range coll.Events(ctx, containers.Selector{Container: "migrate"}) {
			seen <- fmt.Sprint(ev.Kind, " ", ev.Container.Pod)
		}
		close(seen)
	}()
	t.Cleanup(func() { cancel(); <-done })

	var ev *runtimeapi.ContainerEventResponse
	s.do(func() {
		s.pod("p1", "shop", "web-0")
		s.container("c1", "p1", "migrate", running)
		ev = s.event(runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, "c1")
	})
	s.events <- ev
	if got := <-seen; got != "start web-0" {
		t.Errorf("got %q", got)
	}
	s.do(func() {
		s.container("c1", "p1", "migrate", exited)
		s.containers["c1"].ExitCode, s.containers["c1"].Reason = 7, "Error"
		ev = s.event(runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, "c1")
		delete(s.containers, "c1") // before anybody could ask for its status
	})
	s.events <- ev
	var x containers.Container
	until(t, "the end is known", func() bool { x, _ = coll.Get("c1"); return x.ExitCode != nil })
	if *x.ExitCode != 7 || x.Reason != "Error" || x.Labels["app"] != "web-0" || x.Image != "shop/migrate" || x.Runtime != "cri-o" || x.Sandbox != "p1" {
		t.Errorf("known by events: %+v", x)
	}
	for {
		got, ok := <-seen
		if !ok {
			t.Fatal("no exit was told")
		}
		if got == "exit web-0" {
			break
		}
		if got != "update web-0" {
			t.Errorf("got %q", got)
		}
	}
	s.do(func() { ev = s.event(runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, "c1") })
	s.events <- ev
	s.events <- &runtimeapi.ContainerEventResponse{} // tells nothing
	s.do(func() {
		s.container("c2", "p1", "proxy", running)
		ev = s.event(runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, "c2")
	})
	s.events <- ev
	until(t, "the next is known", func() bool { x, _ = coll.Get("c2"); return x.State == containers.StateRunning })
	s.do(func() { ev = s.event(runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, "c2") })
	s.events <- ev
	until(t, "what is deleted is gone", func() bool { x, _ = coll.Get("c2"); return x.State == containers.StateExited })
	if p, ok := coll.Get("p1"); !ok || p.Kind != containers.KindSandbox || p.Pod != "web-0" {
		t.Errorf("the sandbox is known by events: %+v", p)
	}
}

// A stream of events that breaks is opened again, while lists go on.
func TestEventsBreak(t *testing.T) {
	s := newRuntimeServer()
	s.events = make(chan *runtimeapi.ContainerEventResponse)
	socket := socketName(t)
	s.serve(t, socket)
	run(t, Config{Socket: socket})
	s.events <- nil
	s.events <- nil
	s.do(func() { s.pod("p1", "shop", "web-0"); s.container("c1", "p1", "nginx", running) })
	var ev *runtimeapi.ContainerEventResponse
	s.do(func() { ev = s.event(runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, "c1") })
	s.events <- ev
	s.do(func() {
		if s.streams < 3 {
			t.Errorf("%d streams", s.streams)
		}
	})
}

// Without events lists do, and they are light: each status is asked once for each state.
func TestListing(t *testing.T) {
	s := newRuntimeServer()
	s.do(func() {
		s.pod("p1", "shop", "web-0")
		s.container("c1", "p1", "nginx", running)
		s.container("c2", "p1", "proxy", running)
		s.containers["c2"].Annotations = map[string]string{annotationRestartCount: "5"}
		s.info["c1"] = `{"pid": "four"`
		s.info["c2"] = `{"pid": 0, "runtimeSpec": {"linux": {"cgroupsPath": "kubepods-burstable-pod1.slice:crio:c2"}}}`
	})
	socket := socketName(t)
	_, coll := run(t, Config{Socket: socket}) // before the socket is there
	s.serve(t, socket)
	var x containers.Container
	until(t, "the list is known", func() bool { x, _ = coll.Get("c2"); return x.Cgroup != "" })
	if x.RestartCount != 5 || x.Cgroup != "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/crio-c2.scope" {
		t.Errorf("listed: %+v", x)
	}
	// What makes no sense in a container's info costs its process, not its names.
	until(t, "the other is known", func() bool { x, _ = coll.Get("c1"); return !x.Started.IsZero() })
	if x.Name != "nginx" || x.Pod != "web-0" || x.Namespace != "shop" || x.PID != 0 {
		t.Errorf("with malformed info: %+v", x)
	}

	lists := func(n int) {
		var at int
		s.do(func() { at = s.lists })
		until(t, "more lists", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.lists >= at+n })
	}
	lists(5)
	s.do(func() {
		if !maps.Equal(s.asked, map[string]int{"p1": 1, "c1": 1, "c2": 1}) {
			t.Errorf("status asked %v times", s.asked)
		}
		if s.streams != 1 {
			t.Errorf("events asked for %d times of a runtime that has none", s.streams)
		}
	})

	// The kubelet's news are newer than the runtime's.
	coll.Update("c1", func(c *containers.Container) { c.Labels, c.RestartCount, c.Image = map[string]string{}, 3, "as/in:pod" })
	s.do(func() {
		s.container("c1", "p1", "nginx", exited)
		s.containers["c1"].ExitCode = 1
		delete(s.containers, "c2")
	})
	until(t, "one ended", func() bool { x, _ = coll.Get("c1"); return x.ExitCode != nil })
	if len(x.Labels) != 0 || x.RestartCount != 3 || x.Image != "as/in:pod" {
		t.Errorf("the runtime undid what another source knows: %+v", x)
	}
	until(t, "one is gone", func() bool { x, _ = coll.Get("c2"); return x.State == containers.StateExited })
	if x.ExitCode != nil {
		t.Errorf("an exit code that nobody told: %+v", x)
	}
}

// A status call that hangs delays no other container, a list that fails or hangs removes
// none, and what happened meanwhile is found afterwards.
func TestTrouble(t *testing.T) {
	s := newRuntimeServer()
	s.do(func() {
		s.pod("p1", "shop", "web-0")
		for i := range 5 {
			s.container(fmt.Sprint("c", i), "p1", "n", running)
		}
		s.hangs["c0"], s.hangs["c1"] = true, true
	})
	socket := socketName(t)
	stop := s.serve(t, socket)
	client, coll := run(t, Config{Socket: socket, Timeout: 100 * time.Millisecond})
	started := func(id string) bool { c, _ := coll.Get(id); return !c.Started.IsZero() }
	until(t, "those that don't hang are known", func() bool { return started("c2") && started("c3") && started("c4") })
	for _, id := range []string{"c0", "c1"} {
		if c, _ := coll.Get(id); c.Name != "n" || c.State != containers.StateRunning {
			t.Errorf("by the list alone: %+v", c)
		}
	}
	until(t, "both were asked", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.asked["c0"] > 0 && s.asked["c1"] > 0 })
	s.do(func() {
		if n := s.asked["c0"] + s.asked["c1"]; n > s.lists {
			t.Errorf("%d calls that hang, but %d lists: one call in each round may hang, not more", n, s.lists)
		}
	})
	s.do(func() { clear(s.hangs) })
	until(t, "those that hung are known", func() bool { return started("c0") && started("c1") })

	alive := func(when string, n int) {
		t.Helper()
		if cs := coll.Select(containers.Selector{Container: "n"}); len(cs) != n {
			t.Errorf("%s: %d containers are alive, not %d", when, len(cs), n)
		}
	}
	s.do(func() { s.listErr = status.Error(codes.Internal, "no list today"); clear(s.containers) })
	until(t, "the failure is seen", func() bool { return !client.Connected() })
	alive("while lists fail", 5)
	s.do(func() { s.listErr = nil; s.hangs["list"] = true })
	s.do(func() { s.container("c2", "p1", "n", running) })
	var at int
	s.do(func() { at = s.lists })
	until(t, "lists hang, one after the other", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.lists >= at+2 })
	alive("while lists hang", 5)
	stop()
	alive("while the runtime is away", 5)
	s.do(func() { clear(s.hangs) })
	s.serve(t, socket)
	until(t, "connected again", client.Connected)
	alive("after it came back", 1)
}

// The number of a process that ended may be another's: its namespaces are not the
// container's.
func TestProcess(t *testing.T) {
	id := strings.Repeat("ab", 32)
	proc := t.TempDir()
	add := func(pid, cgroup string) {
		if err := os.MkdirAll(filepath.Join(proc, pid, "ns"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "cgroup"), []byte(cgroup), 0o600); err != nil {
			t.Fatal(err)
		}
		for i, ns := range []string{"mnt", "net", "pid"} {
			if err := os.Symlink(fmt.Sprintf("%s:[%d]", ns, 4026531840+i), filepath.Join(proc, pid, "ns", ns)); err != nil {
				t.Fatal(err)
			}
		}
	}
	add("10", "4:memory:/kubepods/pod1/"+id+"\n0::/\n")
	add("11", "4:memory:/\n0::/other/kubepods/pod1/crio-"+id+".scope/container/x\n")
	add("12", "0::/user.slice\n")
	c, err := New(Config{Socket: "unix:///run/x.sock", Proc: proc})
	if err != nil {
		t.Fatal(err)
	}
	told := info{}
	told.RuntimeSpec.Linux.CgroupsPath = "/told/" + id
	for pid, want := range map[uint32]process{
		0:  {0, "/told/" + id, 0, 0, 0},
		10: {10, "/kubepods/pod1/" + id, 4026531840, 4026531841, 4026531842},
		11: {11, "/other/kubepods/pod1/crio-" + id + ".scope", 4026531840, 4026531841, 4026531842},
		12: {12, "/told/" + id, 0, 0, 0}, // another's
		13: {13, "/told/" + id, 0, 0, 0}, // gone
	} {
		told.PID = pid
		if got := c.process(id, told); got != want {
			t.Errorf("process %d: got %+v, want %+v", pid, got, want)
		}
	}
}

func TestCgroupPath(t *testing.T) {
	for in, want := range map[string]string{
		"/kubepods/besteffort/pod1/abc":          "/kubepods/besteffort/pod1/abc",
		"/kubepods/../abc/":                      "/abc",
		"kubepods-pod1.slice:cri-containerd:abc": "/kubepods.slice/kubepods-pod1.slice/cri-containerd-abc.scope",
		"system.slice:docker:abc":                "/system.slice/docker-abc.scope",
		":docker:abc":                            "/system.slice/docker-abc.scope",
		"-.slice:crio:abc":                       "/crio-abc.scope",
		"a-b-c.slice::abc":                       "/a.slice/a-b.slice/a-b-c.slice/abc.scope",
		"a.slice:x:b.slice":                      "/a.slice/b.slice",
		"":                                       "",
		"abc":                                    "",
		"a:b":                                    "",
		"a.slice:crio:":                          "",
		"notaslice:crio:abc":                     "",
	} {
		if got := cgroupPath(in); got != want {
			t.Errorf("cgroupPath(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, socket := range []string{"", "containerd.sock", "tcp://1.2.3.4:5"} {
		if _, err := New(Config{Socket: socket}); err == nil || !strings.Contains(err.Error(), "Try: ") {
			t.Errorf("socket %q: error %v", socket, err)
		}
	}
	socket := socketName(t)
	if got := find([]string{socket}); got != "" {
		t.Errorf("found %q, which is not there", got)
	}
	newRuntimeServer().serve(t, socket)
	if got := find([]string{filepath.Dir(socket), socket, "/run/other.sock"}); got != socket {
		t.Errorf("found %q, not %q", got, socket)
	}
}
