package kube

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// An apiServer serves pods and namespaces as the API server does, to list and to watch,
// and takes events. It is real to the client: requests go over a socket.
type apiServer struct {
	*httptest.Server
	t testing.TB

	mu      sync.Mutex
	objects map[string]map[string]object // by resource, by namespace/name
	log     []change
	changed chan struct{} // closed and replaced with each change, here or in what follows

	fault     map[string]fault // by resource: pods, namespaces, events
	selectors map[string]bool  // field selectors asked for pods
	events    []*corev1.Event  // created
	patches   int

	hanging atomic.Int32 // requests that wait for an answer
}

type object interface {
	runtime.Object
	metav1.Object
}

type change struct {
	version        int
	kind, resource string
	object         object
}

// A fault is what goes wrong with a resource.
type fault int

const (
	none fault = iota
	cut        // the connection is cut
	hang       // no answer
	code503
	forbid
)

func newAPIServer(t testing.TB) *apiServer {
	s := &apiServer{t: t, objects: map[string]map[string]object{"pods": {}, "namespaces": {}}, changed: make(chan struct{}),
		fault: map[string]fault{}, selectors: map[string]bool{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// client returns a client of the server.
func (s *apiServer) client(cfg Config) *Client {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": [{"name": "c", "cluster": {"server": %q}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}]}`, s.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cfg.Kubeconfig, cfg.Node = path, "n1"
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	c, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *apiServer) note() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// set makes or changes objects.
func (s *apiServer) set(os ...object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range os {
		s.put(o, false)
	}
}

func (s *apiServer) remove(o object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(o, true)
}

func (s *apiServer) put(o object, gone bool) {
	o = o.DeepCopyObject().(object)
	resource := "pods"
	if _, ok := o.(*corev1.Namespace); ok {
		resource = "namespaces"
	}
	key := o.GetNamespace() + "/" + o.GetName()
	_, was := s.objects[resource][key]
	kind := "ADDED"
	switch {
	case gone:
		kind = "DELETED"
		delete(s.objects[resource], key)
	case was:
		kind = "MODIFIED"
	}
	if !gone {
		s.objects[resource][key] = o
	}
	version := len(s.log) + 1
	o.SetResourceVersion(strconv.Itoa(version))
	s.log = append(s.log, change{version, kind, resource, o})
	s.note()
}

// fail makes a fault in resources, and ends the watches on them.
func (s *apiServer) fail(f fault, resources ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range resources {
		s.fault[r] = f
	}
	s.note()
}

func (s *apiServer) failed(resource string) fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault[resource]
}

func (s *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
	resource := path[0]
	if len(path) > 2 {
		resource = path[2]
	}
	switch s.failed(resource) {
	case cut:
		panic(http.ErrAbortHandler)
	case hang:
		io.Copy(io.Discard, r.Body) // else the server does not see that the client went
		s.hanging.Add(1)
		<-r.Context().Done()
		s.hanging.Add(-1)
		return
	case code503:
		s.status(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)
		return
	case forbid:
		s.status(w, http.StatusForbidden, metav1.StatusReasonForbidden)
		return
	}
	switch {
	case resource == "events":
		s.takeEvent(w, r)
	case r.URL.Query().Get("watch") != "":
		s.watch(w, r, resource)
	default:
		s.list(w, resource)
	}
}

func (s *apiServer) status(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(&metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: reason, Code: int32(code)})
}

func encode(o runtime.Object) json.RawMessage {
	data, err := runtime.Encode(scheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion), o)
	if err != nil {
		panic(err)
	}
	return data
}

func (s *apiServer) list(w http.ResponseWriter, resource string) {
	s.mu.Lock()
	kind := map[string]string{"pods": "PodList", "namespaces": "NamespaceList"}[resource]
	items := []json.RawMessage{}
	for _, key := range slices.Sorted(maps.Keys(s.objects[resource])) {
		items = append(items, encode(s.objects[resource][key]))
	}
	version := strconv.Itoa(len(s.log))
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"resourceVersion": version}, "items": items})
}

func (s *apiServer) watch(w http.ResponseWriter, r *http.Request, resource string) {
	q := r.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	send := func(kind string, o runtime.Object) { out.Encode(map[string]any{"type": kind, "object": encode(o)}) }
	s.mu.Lock()
	if resource == "pods" {
		s.selectors[q.Get("fieldSelector")] = true
	}
	at, _ := strconv.Atoi(q.Get("resourceVersion"))
	if q.Get("sendInitialEvents") == "true" {
		for _, key := range slices.Sorted(maps.Keys(s.objects[resource])) {
			send("ADDED", s.objects[resource][key])
		}
		at = len(s.log)
		m := metav1.ObjectMeta{ResourceVersion: strconv.Itoa(at), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}
		if resource == "pods" {
			send("BOOKMARK", &corev1.Pod{ObjectMeta: m})
		} else {
			send("BOOKMARK", &corev1.Namespace{ObjectMeta: m})
		}
	}
	s.mu.Unlock()
	for {
		s.mu.Lock()
		for ; at < len(s.log); at++ {
			if c := s.log[at]; c.resource == resource {
				send(c.kind, c.object)
			}
		}
		f, changed := s.fault[resource], s.changed
		s.mu.Unlock()
		w.(http.Flusher).Flush()
		if f != none {
			panic(http.ErrAbortHandler)
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

func (s *apiServer) takeEvent(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	ev := &corev1.Event{}
	if r.Method == http.MethodPatch {
		err = json.Unmarshal(data, ev)
	} else {
		_, _, err = scheme.Codecs.UniversalDeserializer().Decode(data, nil, ev)
	}
	if err != nil {
		s.t.Errorf("%s of an event: %v", r.Method, err)
	}
	s.mu.Lock()
	if r.Method == http.MethodPost {
		s.events = append(s.events, ev)
	} else {
		s.patches++
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Write(encode(ev))
}

func (s *apiServer) taken() []*corev1.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}
