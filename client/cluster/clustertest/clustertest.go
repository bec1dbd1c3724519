// Package clustertest has an API server of Kubernetes for tests, in this process: it knows
// pods and runs exec, over WebSockets and SPDY as a real one does.
package clustertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// A Pod is what the server tells of one.
type Pod struct {
	Namespace, Name, Node string
	Phase                 string // "" is Running
	Deleting              bool
	Created               string // RFC 3339; "" is some time
	Labels                map[string]string
}

// A Server is an API server. Its fields must not change while it serves.
type Server struct {
	Pods []Pod
	// Token is the bearer token of a user who may do all; that of one who may not exec is
	// Token + "-reader". Others may do nothing.
	Token string
	// Exec is what exec does in a pod. An error ends it with exit status 1.
	Exec func(pod Pod, command []string, stdin io.Reader, stdout, stderr io.Writer) error
	// NoWebSocket makes it refuse them, as older servers do.
	NoWebSocket bool

	mu    sync.Mutex
	execs []string
}

// Serve starts the server. The caller closes it.
func (s *Server) Serve() *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/pods", s.list)
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/pods/{pod}", s.get)
	mux.HandleFunc("/api/v1/namespaces/{namespace}/pods/{pod}/exec", s.exec)
	return httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case strings.TrimSuffix(token, "-reader") != s.Token:
			refuse(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
		case token != s.Token && strings.HasSuffix(r.URL.Path, "/exec"):
			refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, `pods "x" is forbidden: User "reader" cannot create resource "pods/exec"`)
		default:
			mux.ServeHTTP(w, r)
		}
	}))
}

// Kubeconfig is a file that leads to a server that Serve started.
func (s *Server) Kubeconfig(url, token, namespace string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: main, context: {cluster: c, user: u, namespace: %q}}, {name: plain, context: {cluster: c, user: u}}]
current-context: main
`, url, token, namespace)
}

// Execs lists the pods that exec was called in, and how, in order.
func (s *Server) Execs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.execs)
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, msg string) {
	answer(w, code, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: msg,
	})
}

func answer(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(b)
}

func (p *Pod) json() map[string]any {
	phase, created := p.Phase, p.Created
	if phase == "" {
		phase = "Running"
	}
	if created == "" {
		created = "2026-11-20T03:00:00Z"
	}
	meta := map[string]any{"namespace": p.Namespace, "name": p.Name, "labels": p.Labels, "creationTimestamp": created}
	if p.Deleting {
		meta["deletionTimestamp"] = "2026-11-20T04:00:00Z"
	}
	spec := map[string]any{}
	if p.Node != "" {
		spec["nodeName"] = p.Node
	}
	return map[string]any{"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": spec, "status": map[string]any{"phase": phase}}
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	items := []any{}
	key, value, selective := strings.Cut(r.URL.Query().Get("labelSelector"), "=")
	for _, p := range s.Pods {
		if p.Namespace == r.PathValue("namespace") && (!selective || p.Labels[key] == value) {
			items = append(items, p.json())
		}
	}
	answer(w, http.StatusOK, map[string]any{"kind": "PodList", "apiVersion": "v1", "items": items})
}

func (s *Server) find(w http.ResponseWriter, r *http.Request) *Pod {
	i := slices.IndexFunc(s.Pods, func(p Pod) bool {
		return p.Namespace == r.PathValue("namespace") && p.Name == r.PathValue("pod")
	})
	if i < 0 {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("pods %q not found", r.PathValue("pod")))
		return nil
	}
	return &s.Pods[i]
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	if p := s.find(w, r); p != nil {
		answer(w, http.StatusOK, p.json())
	}
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	p := s.find(w, r)
	if p == nil {
		return
	}
	q := r.URL.Query()
	isWebSocket := websocket.IsWebSocketUpgrade(r)
	if isWebSocket && s.NoWebSocket {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "unable to upgrade: unrecognized protocol")
		return
	}
	how := "SPDY"
	if isWebSocket {
		how = "WebSocket"
	}
	s.mu.Lock()
	s.execs = append(s.execs, fmt.Sprintf("%s/%s %s %s %s", p.Namespace, p.Name, q.Get("container"), strings.Join(q["command"], " "), how))
	s.mu.Unlock()
	run := func(stdin io.Reader, stdout, stderr io.Writer) []byte {
		status := metav1.Status{Status: metav1.StatusSuccess}
		if err := s.Exec(*p, q["command"], stdin, stdout, stderr); err != nil {
			status = metav1.Status{Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason, Details: &metav1.StatusDetails{
				Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: "1"}},
			}}
		}
		b, err := json.Marshal(status)
		if err != nil {
			panic(err)
		}
		return b
	}
	if isWebSocket {
		serveWebSocket(w, r, run)
	} else {
		serveSPDY(w, r, run)
	}
}

type runFunc func(stdin io.Reader, stdout, stderr io.Writer) []byte

// wsWriter writes to one channel: a message's first byte says which.
type wsWriter struct {
	c       *websocket.Conn
	mu      *sync.Mutex
	channel byte
}

func (w wsWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(p), w.c.WriteMessage(websocket.BinaryMessage, append([]byte{w.channel}, p...))
}

func serveWebSocket(w http.ResponseWriter, r *http.Request, run runFunc) {
	up := websocket.Upgrader{Subprotocols: []string{remotecommand.StreamProtocolV5Name}, CheckOrigin: func(*http.Request) bool { return true }}
	c, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	stdin, in := io.Pipe()
	go func() {
		for {
			_, msg, err := c.ReadMessage()
			if err != nil || bytes.Equal(msg, []byte{remotecommand.StreamClose, remotecommand.StreamStdIn}) {
				in.Close()
				if err != nil {
					return
				}
				continue
			}
			if len(msg) > 0 && msg[0] == remotecommand.StreamStdIn {
				in.Write(msg[1:])
			}
		}
	}()
	var mu sync.Mutex
	status := run(stdin, wsWriter{c, &mu, remotecommand.StreamStdOut}, wsWriter{c, &mu, remotecommand.StreamStdErr})
	stdin.Close()
	wsWriter{c, &mu, remotecommand.StreamErr}.Write(status)
	mu.Lock()
	defer mu.Unlock()
	c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
}

func serveSPDY(w http.ResponseWriter, r *http.Request, run runFunc) {
	if _, err := httpstream.Handshake(r, w, []string{remotecommand.StreamProtocolV4Name}); err != nil {
		return
	}
	made := make(chan httpstream.Stream, 4)
	c := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, replied <-chan struct{}) error {
		go func() { <-replied; made <- s }()
		return nil
	})
	if c == nil {
		return
	}
	defer c.Close()
	streams := map[string]httpstream.Stream{}
	for len(streams) < 4 { // error, stdin, stdout, stderr
		select {
		case s := <-made:
			streams[s.Headers().Get("streamType")] = s
		case <-c.CloseChan():
			return
		}
	}
	status := run(streams["stdin"], streams["stdout"], streams["stderr"])
	streams["error"].Write(status)
	for _, s := range streams {
		s.Close()
	}
	<-c.CloseChan() // the client has read it
}
