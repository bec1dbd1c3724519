package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/api/apitest"
	"github.com/swoll-recorder/swoll/client"
)

// askEnv makes the test's binary ask for "SOCKET METHOD PATH", print the status and the
// body, and exit: how another user is asked for.
const askEnv = "SWOLL_TEST_ASK"

// activatedEnv makes the test's binary take over the service manager's socket, print its
// path and group, and exit.
const activatedEnv = "SWOLL_TEST_ACTIVATED"

func TestMain(m *testing.M) {
	if ask := strings.Fields(os.Getenv(askEnv)); len(ask) == 3 {
		req, _ := http.NewRequest(ask[1], "http://swoll"+ask[2], nil)
		resp, err := dialer(ask[0]).RoundTrip(req)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(resp.StatusCode)
		io.Copy(os.Stdout, resp.Body)
		os.Exit(0)
	}
	if os.Getenv(activatedEnv) != "" {
		ln, err := api.ListenActivated()
		if ln == nil || err != nil {
			fmt.Println(ln, err)
			os.Exit(1)
		}
		fmt.Println(ln.Path(), ln.Group)
		ln.Close()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func dialer(socket string) *http.Transport {
	return &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
}

// A service is a Server on a socket, and a client that checks every answer against the
// OpenAPI description.
type service struct {
	*client.Client
	backend *apitest.Backend
	socket  string
	http    *http.Client
	log     *log
}

// log keeps what a service logs: JSON, one line each.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// find returns the lines with that msg.
func (l *log) find(t *testing.T, msg string) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for line := range bytes.Lines(l.b.Bytes()) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if m["msg"] == msg {
			found = append(found, m)
		}
	}
	return found
}

func start(t *testing.T, change func(*api.Config, *apitest.Backend)) *service {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // other users come by, too
		t.Fatal(err)
	}
	s := &service{backend: apitest.NewBackend(), socket: filepath.Join(dir, "s"), log: new(log)}
	cfg := api.Config{
		Backend: s.backend,
		Log:     slog.New(slog.NewJSONHandler(s.log, nil)),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			io.WriteString(w, "up 1\n")
		}),
	}
	if change != nil {
		change(&cfg, s.backend)
	}
	ln, err := api.Listen(s.socket, "")
	if err != nil {
		t.Fatal(err)
	}
	srv := api.NewServer(cfg)
	srv.DontWait()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	transport := dialer(s.socket)
	s.http = &http.Client{Transport: &checker{t: t, next: transport}}
	s.Client = &client.Client{Socket: s.socket}
	t.Cleanup(func() {
		s.Close()
		transport.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

// loadSpec returns the description as it is served.
var loadSpec = sync.OnceValues(func() (*openapi3.T, error) {
	b, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	return openapi3.NewLoader().LoadFromData(b)
})

var router = sync.OnceValues(func() (routers.Router, error) {
	doc, err := loadSpec()
	if err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

// A checker fails the test where an answer is not as the OpenAPI description says.
type checker struct {
	t    *testing.T
	next http.RoundTripper
}

func (c *checker) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err != nil || req.Header.Get("Accept-Encoding") != "" {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r, err := router()
	if err != nil {
		c.t.Fatal(err)
	}
	plain := req.Clone(req.Context())
	plain.URL, _ = url.Parse("http://swoll" + req.URL.RequestURI())
	route, params, err := r.FindRoute(plain)
	if err != nil {
		if resp.StatusCode < 400 {
			c.t.Errorf("%s %s is answered with %s, and not described: %v", req.Method, req.URL, resp.Status, err)
		}
		return resp, nil
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: plain, PathParams: params, Route: route},
		Status:                 resp.StatusCode,
		Header:                 resp.Header,
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	}
	in.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(context.Background(), in); err != nil {
		c.t.Errorf("%s %s: the answer is not as described: %v\n%s", req.Method, req.URL, err, body)
	}
	return resp, nil
}

func init() {
	for _, ct := range []string{"application/x-ndjson", "application/vnd.swoll.snapshot"} {
		openapi3filter.RegisterBodyDecoder(ct, openapi3filter.PlainBodyDecoder)
	}
}

// ask returns status and body.
func (s *service) ask(t *testing.T, method, path string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://swoll"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.http.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, string(b)
}

func TestOpenAPI(t *testing.T) {
	doc, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	var described [][2]string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, [2]string{method, path})
		}
	}
	order := cmpopts.SortSlices(func(a, b [2]string) bool { return a[1]+a[0] < b[1]+b[0] })
	if diff := cmp.Diff(api.Routes(), described, order); diff != "" {
		t.Errorf("routed (-) and described (+) differ:\n%s", diff)
	}

	s := start(t, nil)
	var served bytes.Buffer
	if err := s.OpenAPI(t.Context(), &served); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(file), served.String()); diff != "" {
		t.Error(diff)
	}
}

// TestEveryRoute asks each route at least once for something that it has; checker
// compares the answers with the description.
func TestEveryRoute(t *testing.T) {
	s := start(t, nil)
	s.backend.Die("default", "web", "app") // s1
	tests := []struct {
		method, path, body string
		status             int
		contentType, want  string // want: part of the body
	}{
		{"GET", "/v1/pods", "", 200, "application/json", `"completeSince":"2026-11-20T03:11:34.118204Z"`},
		{"GET", "/v1/pods/prod/web", "", 200, "application/json", `{"items":[{"namespace":"prod","name":"web","uid":"u2","labels":{},`},
		{"GET", "/v1/pods/default/web/dump", "", 200, "text/plain; charset=utf-8", "# default/web/app default/web/sidecar format=text since=0s last=0"},
		{"GET", "/v1/pods/default/web/dump?container=app&instance=0&format=json&since=1m30s&last=5&syscall=openat,read&syscall=write&errors&pid=7&all=true&fds",
			"", 200, "application/x-ndjson", "# default/web/app format=json since=1m30s last=5 syscalls=openat,read,write errors=true pid=7 all=true fds=true split=false header=true"},
		{"GET", "/v1/pods/default/web/dump?split&header=false", "", 200, "text/plain; charset=utf-8", "split=true header=false\n"},
		{"GET", "/v1/pods/default/web/dump?format=perfetto", "", 200, "application/json", `{"of":"default/web/app default/web/sidecar"},"traceEvents":[]`},
		{"GET", "/v1/dump?last=3&header=true", "", 200, "text/plain; charset=utf-8", "# default/web/app default/web/sidecar prod/web/app host/job/ format=text since=0s last=3 "},
		{"GET", "/v1/pods/default/web/explain?container=app", "", 200, "text/plain; charset=utf-8", "exit 3"},
		{"GET", "/v1/pods/default/web/explain?format=json", "", 200, "application/json", `"summary":"exit 3"`},
		{"POST", "/v1/pods/default/web/freeze?container=app", "", 200, "application/json", `{"changed":1}`},
		{"GET", "/v1/pods/default/web", "", 200, "application/json", `"state":"frozen"`},
		{"POST", "/v1/pods/default/web/thaw", "{}", 200, "application/json", `{"changed":1}`},
		{"POST", "/v1/freeze", "", 200, "application/json", `{"changed":4}`},
		{"POST", "/v1/thaw", "", 200, "application/json", `{"changed":4}`},
		{"POST", "/v1/pods/default/web/snapshots", `{"reason":"to see"}`, 201, "application/json", `{"id":"s2","namespace":"default","pod":"web","container":"app"`},
		{"POST", "/v1/pods/default/web/snapshots?container=sidecar", "", 201, "application/json", `"items":[{"id":"s4"`},
		{"GET", "/v1/snapshots", "", 200, "application/json", `"verdict":{"how"`},
		{"GET", "/v1/snapshots/s2", "", 200, "application/json", `"reason":"to see","exitCode":null,"signal":null`},
		{"GET", "/v1/snapshots/s1/dump?last=3", "", 200, "text/plain; charset=utf-8", "# s1 format=text since=0s last=3"},
		{"GET", "/v1/snapshots/s1/explain?format=json", "", 200, "application/json", `"exitCode":3`},
		{"GET", "/v1/snapshots/s1/file", "", 200, "application/vnd.swoll.snapshot", "snapshot s1"},
		{"DELETE", "/v1/snapshots/s1", "", 204, "", ""},
		{"GET", "/v1/snapshots/s1", "", 404, "application/problem+json", `"code":"not_found"`},
		{"POST", "/v1/recordings", `{"cgroup":"/sys/fs/cgroup/a%2Fb c"}`, 201, "application/json", `"name":"a%2Fb c"`},
		{"DELETE", "/v1/recordings/a%252Fb%20c", "", 204, "", ""},
		{"GET", "/v1/version", "", 200, "application/json", `"kernel":"6.18.0"`},
		{"GET", "/v1/openapi.yaml", "", 200, "application/yaml", "openapi: 3"},
		{"GET", "/healthz", "", 200, "text/plain; charset=utf-8", "ok\n"},
		{"GET", "/readyz", "", 200, "text/plain; charset=utf-8", "ok\n"},
		{"GET", "/metrics", "", 200, "text/plain; version=0.0.4", "up 1\n"},

		{"GET", "/list", "", 200, "text/plain; charset=utf-8", `idx=1  container="sidecar"`},
		{"GET", "/dump-pod?namespace=default&podname=web&idx=1", "", 200, "text/plain; charset=utf-8", "# default/web/sidecar format=text"},
		{"GET", "/dump-pod?namespace=default&podname=web&idx=2", "", 404, "application/problem+json", "there is no idx 2"},
		{"GET", "/dump-pod?namespace=default&podname=web&idx=", "", 200, "text/plain; charset=utf-8", "# default/web/app default/web/sidecar"},
		{"GET", "/dump-pod?namespace=default", "", 400, "application/problem+json", "podname is missing"},
		{"GET", "/dump-by-cgroup?cgroup=/kubepods/c2", "", 200, "text/plain; charset=utf-8", "# /kubepods/c2 format=text"},
		{"GET", "/dump-by-cgroup?cgroup=/nowhere", "", 404, "application/problem+json", "no cgroup /nowhere"},
		{"GET", "/add?name=x&cgrouppath=/sys/fs/cgroup/x", "", 200, "text/plain; charset=utf-8", `added "x"`},
		{"GET", "/add?name=x&cgrouppath=/sys/fs/cgroup/x", "", 409, "application/problem+json", `"code":"conflict"`},
		{"GET", "/close?id=x", "", 200, "text/plain; charset=utf-8", `closed "x"`},
		{"GET", "/close?id=x", "", 404, "application/problem+json", "no recording is named x"},
	}
	asked := map[[2]string]bool{}
	r, err := router()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		resp, body := s.ask(t, test.method, test.path, strings.NewReader(test.body))
		if resp.StatusCode != test.status || resp.Header.Get("Content-Type") != test.contentType || !strings.Contains(body, test.want) {
			t.Errorf("%s %s is answered with %d, %q:\n%s\nwant %d, %q, with:\n%s", test.method, test.path,
				resp.StatusCode, resp.Header.Get("Content-Type"), body, test.status, test.contentType, test.want)
		}
		if route, _, err := r.FindRoute(resp.Request); err == nil {
			asked[[2]string{test.method, route.Path}] = true
		}
	}
	for _, route := range api.Routes() {
		if !asked[route] {
			t.Errorf("%s %s was not asked for", route[0], route[1])
		}
	}
}

// TestRefused has what must be refused, and how.
func TestRefused(t *testing.T) {
	s := start(t, func(_ *api.Config, b *apitest.Backend) { b.NotReady = errors.New("no ring memory") })
	dump := "/v1/pods/default/web/dump"
	tests := []struct {
		name, method, path, body string
		header                   []string
		code                     api.Code
		detail, hint             string // parts
	}{
		{"unknown pod", "GET", "/v1/pods/default/nope", "", nil, api.CodeNotFound, "default/nope", "/v1/pods, which lists"},
		{"unknown pod's dump", "GET", "/v1/pods/nope/web/dump", "", nil, api.CodeNotFound, "nope/web", ""},
		{"unknown snapshot", "DELETE", "/v1/snapshots/x", "", nil, api.CodeNotFound, "snapshot x", ""},
		{"unknown path", "GET", "/v1/pod", "", nil, api.CodeNotFound, "/v1/pod", "openapi"},
		{"trailing slash", "GET", "/v1/pods/", "", nil, api.CodeNotFound, "/v1/pods/", ""},
		{"not yet", "GET", "/v1/events", "", nil, api.CodeNotFound, "/v1/events", ""},
		{"wrong method", "DELETE", "/v1/pods", "", nil, api.CodeNotAllowed, "DELETE", "use GET"},
		{"wrong method of two", "POST", "/v1/snapshots/x", "", nil, api.CodeNotAllowed, "POST", "use GET or DELETE"},
		{"unknown parameter", "GET", dump + "?lst=5", "", nil, api.CodeBadRequest, `"lst"`, "container, instance, format, since, last"},
		{"unknown parameter where none is", "GET", "/v1/pods?x", "", nil, api.CodeBadRequest, `"x"`, "none"},
		{"parameter twice", "GET", dump + "?last=5&last=6", "", nil, api.CodeBadRequest, `"last" is given 2 times`, ""},
		{"malformed query", "GET", dump + "?last=%zz", "", nil, api.CodeBadRequest, "query", ""},
		{"format", "GET", dump + "?format=xml", "", nil, api.CodeBadRequest, `format: "xml" is not one of text, json`, ""},
		{"empty format", "GET", dump + "?format=", "", nil, api.CodeBadRequest, "format", ""},
		{"since", "GET", dump + "?since=5", "", nil, api.CodeBadRequest, `since: "5" is not a duration`, ""},
		{"negative since", "GET", dump + "?since=-5s", "", nil, api.CodeBadRequest, "since", ""},
		{"last", "GET", dump + "?last=0", "", nil, api.CodeBadRequest, `last: "0" is not a whole number of 1 or more`, ""},
		{"huge last", "GET", dump + "?last=99999999999", "", nil, api.CodeBadRequest, "last", ""},
		{"pid", "GET", dump + "?pid=sh", "", nil, api.CodeBadRequest, "pid", ""},
		{"errors", "GET", dump + "?errors=maybe", "", nil, api.CodeBadRequest, "errors: \"maybe\" is not true or false", ""},
		{"syscall", "GET", dump + "?syscall=a,,b", "", nil, api.CodeBadRequest, "syscall", ""},
		{"instance", "GET", dump + "?instance=-1", "", nil, api.CodeBadRequest, "instance", ""},
		{"body that is no JSON", "POST", "/v1/recordings", "cgroup=/x", nil, api.CodeBadRequest, "body", ""},
		{"unknown field", "POST", "/v1/recordings", `{"cgroup":"/x","nam":"y"}`, nil, api.CodeBadRequest, `"nam"`, ""},
		{"two bodies", "POST", "/v1/recordings", `{"cgroup":"/x"}{}`, nil, api.CodeBadRequest, "more than one", ""},
		{"no cgroup", "POST", "/v1/recordings", `{}`, nil, api.CodeBadRequest, "cgroup is missing", "cgroup"},
		{"no body", "POST", "/v1/recordings", "", nil, api.CodeBadRequest, "cgroup is missing", ""},
		{"field where none is", "POST", "/v1/freeze", `{"all":true}`, nil, api.CodeBadRequest, `"all"`, ""},
		{"name taken", "POST", "/v1/recordings", `{"cgroup":"/x","name":"job"}`, nil, api.CodeConflict, "job", "another name"},
		{"not ready", "GET", "/readyz", "", nil, api.CodeUnavailable, "no ring memory", ""},
		{"long URL", "GET", dump + "?syscall=" + strings.Repeat("a", 1<<20-1000), "", nil, api.CodeBadRequest, "the URL has 1047", ""},
		{"long name", "GET", "/v1/pods/default/" + strings.Repeat("x", 5000), "", nil, api.CodeNotFound, "xxx… is", ""},
		{"foreign host", "GET", "/v1/pods", "", []string{"Host", "evil.example"}, api.CodeDenied, "evil.example", "http://swoll"},
		{"address as host", "GET", "/v1/pods", "", []string{"Host", "127.0.0.1:8080"}, api.CodeDenied, "127.0.0.1", ""},
		{"origin", "GET", "/v1/pods", "", []string{"Origin", "http://swoll"}, api.CodeDenied, "Origin", ""},
		{"opaque origin", "POST", "/v1/freeze", "", []string{"Origin", "null"}, api.CodeDenied, "Origin", ""},
		{"fetched by a page", "GET", "/v1/pods", "", []string{"Sec-Fetch-Site", "cross-site"}, api.CodeDenied, "Sec-Fetch-Site", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			resp, body := s.ask(t, test.method, test.path, strings.NewReader(test.body), test.header...)
			if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
				t.Fatalf("Content-Type %q, status %s:\n%s", ct, resp.Status, body)
			}
			var e api.Error
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				t.Fatal(err)
			}
			want := api.Error{Type: "about:blank", Title: http.StatusText(resp.StatusCode), Status: test.code.Status(), Code: test.code,
				Detail: e.Detail, Hint: e.Hint}
			if diff := cmp.Diff(want, e, cmpopts.IgnoreUnexported(api.Error{})); diff != "" || resp.StatusCode != e.Status {
				t.Errorf("status %s, (-want +got):\n%s", resp.Status, diff)
			}
			if len(body) > 1000 {
				t.Errorf("the problem has %d bytes", len(body))
			}
			if !strings.Contains(e.Detail, test.detail) || !strings.Contains(e.Hint, test.hint) {
				t.Errorf("detail %q, hint %q; want them with %q, %q", e.Detail, e.Hint, test.detail, test.hint)
			}
		})
	}
	if resp, _ := s.ask(t, "POST", "/v1/snapshots/x", nil); resp.Header.Get("Allow") != "GET, DELETE" {
		t.Errorf("Allow: %q", resp.Header.Get("Allow"))
	}
	if pods, err := s.Pods(t.Context()); err != nil || len(pods) != 3 {
		t.Errorf("after all that: %v, %v", pods, err)
	}
}

// zeros is a body whose length is not announced, and counts what was read of it.
type zeros struct {
	left int
	read atomic.Int64
}

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), z.left)
	clear(p[:n])
	z.left -= n
	z.read.Add(int64(n))
	return n, nil
}

func TestLargeBody(t *testing.T) {
	const size = 10 << 20
	s := start(t, nil)
	for _, method := range []string{"POST", "GET"} {
		for _, announced := range []bool{true, false} {
			path := map[string]string{"POST": "/v1/recordings", "GET": "/v1/pods"}[method]
			z := &zeros{left: size}
			req, err := http.NewRequest(method, "http://swoll"+path, z)
			if err != nil {
				t.Fatal(err)
			}
			if announced {
				req.ContentLength = size
			}
			resp, err := s.http.Do(req)
			if err != nil {
				t.Fatalf("%s, announced %t: %v", method, announced, err)
			}
			var e api.Error
			err = json.NewDecoder(resp.Body).Decode(&e)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 400 || !strings.Contains(e.Detail, "larger than 65536 bytes") {
				t.Errorf("%s, announced %t: %s, %+v, %v", method, announced, resp.Status, e, err)
			}
			if z.read.Load() == size {
				t.Errorf("%s, announced %t: all of the body was taken", method, announced)
			}
		}
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestPanic: a handler that panics costs its request, not the service.
func TestPanic(t *testing.T) {
	var early bool
	s := start(t, func(_ *api.Config, b *apitest.Backend) {
		b.OnDump = func(w io.Writer) error {
			if !early {
				w.Write(make([]byte, 1<<20))
			}
			panic("oh dear")
		}
	})
	sel := api.Selector{Namespace: "default", Pod: "web"}
	var e *api.Error
	err := s.Dump(t.Context(), sel, api.DumpQuery{}, io.Discard)
	if err == nil || errors.As(err, &e) || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("panic in the midst of the answer: %v", err)
	}
	early = true
	err = s.Dump(t.Context(), sel, api.DumpQuery{}, io.Discard)
	if !errors.As(err, &e) || e.Code != api.CodeInternal {
		t.Errorf("panic before the answer: %v", err)
	}
	lines := s.log.find(t, "panic in a handler")
	if len(lines) != 2 || lines[0]["panic"] != "oh dear" || !strings.Contains(lines[0]["stack"].(string), "OnDump") && !strings.Contains(lines[0]["stack"].(string), "TestPanic") {
		t.Errorf("log: %v", lines)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestBackendFails: an error before the first byte is told, one after it cuts the answer.
func TestBackendFails(t *testing.T) {
	var lead int
	s := start(t, func(_ *api.Config, b *apitest.Backend) {
		b.OnDump = func(w io.Writer) error {
			w.Write(make([]byte, lead))
			return fmt.Errorf("wrapped: %w", api.Errorf(api.CodeUnavailable, "it is being replaced").WithHint("Wait."))
		}
	})
	sel := api.Selector{Namespace: "default", Pod: "web"}
	err := s.Dump(t.Context(), sel, api.DumpQuery{}, io.Discard)
	if e := new(api.Error); !errors.As(err, &e) || !errors.Is(err, api.ErrUnavailable) || e.Detail != "wrapped: it is being replaced" || e.Hint != "Wait." {
		t.Errorf("before the first byte: %#v", err)
	}
	lead = 1 << 20
	for _, gz := range []string{"identity", "gzip"} {
		req, _ := http.NewRequest("GET", "http://swoll/v1/pods/default/web/dump", nil)
		req.Header.Set("Accept-Encoding", gz)
		resp, err := s.http.Do(req)
		if err != nil {
			continue // cut before the header: nobody takes it for whole either
		}
		if _, err = io.Copy(io.Discard, resp.Body); err == nil {
			t.Errorf("%s: the answer looks whole", gz)
		}
		resp.Body.Close()
	}
}

// TestTurns: no more histories are written at a time than the limit says.
func TestTurns(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	s := start(t, func(cfg *api.Config, b *apitest.Backend) {
		cfg.MaxHistories = 2
		b.OnDump = func(w io.Writer) error {
			inside <- struct{}{}
			<-release
			return nil
		}
	})
	sel := api.Selector{Namespace: "default", Pod: "web"}
	results := make(chan error)
	for range 2 {
		go func() { results <- s.Dump(t.Context(), sel, api.DumpQuery{}, io.Discard) }()
		<-inside
	}
	err := s.ExplainPod(t.Context(), sel, "", io.Discard)
	if e := new(api.Error); !errors.As(err, &e) || !errors.Is(err, api.ErrUnavailable) || e.Hint == "" {
		t.Errorf("the third: %v", err)
	}
	if _, err := s.Pods(t.Context()); err != nil {
		t.Errorf("what is no history must not wait: %v", err)
	}
	close(release)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	go func() { results <- s.Dump(t.Context(), sel, api.DumpQuery{}, io.Discard) }()
	select {
	case <-inside:
		err = <-results
	case err = <-results: // refused
	}
	if err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestGzip(t *testing.T) {
	s := start(t, func(_ *api.Config, b *apitest.Backend) { b.Calls = strings.Repeat(b.Calls, 1000) })
	_, plain := s.ask(t, "GET", "/v1/pods/default/web/dump", nil)
	resp, packed := s.ask(t, "GET", "/v1/pods/default/web/dump", nil, "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" || len(packed) > len(plain)/10 {
		t.Fatalf("Content-Encoding %q, %d bytes of %d", resp.Header.Get("Content-Encoding"), len(packed), len(plain))
	}
	z, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || string(got) != plain {
		t.Errorf("unpacks to something else, %v", err)
	}
	snap := s.backend.Die("default", "web", "app")
	resp, _ = s.ask(t, "GET", "/v1/snapshots/"+snap.ID+"/file", nil, "Accept-Encoding", "gzip")
	if enc := resp.Header.Get("Content-Encoding"); enc != "" {
		t.Errorf("a snapshot's file, compressed already, is sent with %s", enc)
	}
}

// TestPeers asks as other users. The test runs as root, as the recorder does.
func TestPeers(t *testing.T) {
	const nobody, group = 65534, 4242
	member := &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{7, group}}
	tests := []struct {
		name         string
		as           *syscall.Credential
		permit       api.Permission
		method, path string
		want         string
	}{
		{"outsider", &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{7}}, api.PermitWrite, "GET", "/v1/pods", "403"},
		{"outsider, unknown path", &syscall.Credential{Uid: nobody, Gid: nobody}, api.PermitWrite, "GET", "/x", "403"},
		{"member reads", member, api.PermitWrite, "GET", "/v1/pods/default/web/dump", "200"},
		{"member writes", member, api.PermitWrite, "POST", "/v1/freeze", "200"},
		{"by primary group", &syscall.Credential{Uid: nobody, Gid: group}, api.PermitWrite, "POST", "/v1/freeze", "200"},
		{"reader reads", member, api.PermitRead, "GET", "/v1/pods/default/web/dump", "200"},
		{"reader writes", member, api.PermitRead, "POST", "/v1/freeze", "403"},
		{"reader writes by GET", member, api.PermitRead, "GET", "/add?name=x&cgrouppath=/x", "403"},
		{"group without permission", member, api.PermitNone, "GET", "/v1/pods", "403"},
		{"root", &syscall.Credential{}, api.PermitNone, "POST", "/v1/freeze", "200"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, func(cfg *api.Config, _ *apitest.Backend) { cfg.Group, cfg.GroupPermit = group, test.permit })
			if err := os.Chmod(s.socket, 0o666); err != nil { // the gate is on its own
				t.Fatal(err)
			}
			out, pid := askAs(t, test.as, s.socket, test.method, test.path)
			status, body, _ := strings.Cut(out, "\n")
			if status != test.want {
				t.Fatalf("answered with %s", out)
			}
			if status == "403" && !strings.Contains(body, `"code":"denied"`) {
				t.Errorf("the problem: %s", body)
			}
			who := map[string]any{"uid": float64(test.as.Uid), "pid": float64(pid)}
			logged := slices.Concat(s.log.find(t, "dump"), s.log.find(t, "freeze"), s.log.find(t, "request"), s.log.find(t, "record"))
			if len(logged) != 1 || logged[0]["uid"] != who["uid"] || logged[0]["pid"] != who["pid"] {
				t.Errorf("logged %v, want one line with %v", logged, who)
			}
		})
	}

	t.Run("kept out by the file's mode", func(t *testing.T) {
		s := start(t, nil)
		if out, _ := askAs(t, member, s.socket, "GET", "/v1/pods"); !strings.Contains(out, "permission denied") {
			t.Errorf("answered with %s", out)
		}
	})
}

// askAs asks from a child process, and returns what it printed and its pid.
func askAs(t *testing.T, as *syscall.Credential, socket, method, path string) (string, int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe") // its directory is closed to others
	cmd.Dir = "/"
	cmd.Env = []string{askEnv + "=" + socket + " " + method + " " + path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, _ := cmd.CombinedOutput() // it fails where the dial does
	if cmd.ProcessState == nil {
		t.Fatal("could not start as another user: is the test run by root?")
	}
	return string(out), cmd.ProcessState.Pid()
}

// TestManyGroups: a peer may be in more groups than anybody expected.
func TestManyGroups(t *testing.T) {
	groups := make([]uint32, 5000)
	for i := range groups {
		groups[i] = 10_000 + uint32(i)
	}
	s := start(t, func(cfg *api.Config, _ *apitest.Backend) {
		cfg.Group, cfg.GroupPermit = groups[len(groups)-1], api.PermitRead
	})
	if err := os.Chmod(s.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	out, _ := askAs(t, &syscall.Credential{Uid: 65534, Gid: 65534, Groups: groups}, s.socket, "GET", "/healthz")
	if !strings.HasPrefix(out, "200\n") {
		t.Error(out)
	}
}

// TestAudit: who dumped, froze, deleted, … is logged; lists are not.
func TestAudit(t *testing.T) {
	s := start(t, nil)
	snap := s.backend.Die("default", "web", "app")
	s.ask(t, "GET", "/v1/pods", nil)
	for _, test := range []struct{ method, path, body, msg string }{
		{"GET", "/v1/pods/default/web/dump?last=1", "", "dump"},
		{"GET", "/v1/snapshots/" + snap.ID + "/explain", "", "explain"},
		{"GET", "/v1/snapshots/" + snap.ID + "/file", "", "export"},
		{"POST", "/v1/freeze", "", "freeze"},
		{"POST", "/v1/pods/default/web/thaw", "", "thaw"},
		{"POST", "/v1/pods/default/web/snapshots", "", "snapshot"},
		{"DELETE", "/v1/snapshots/" + snap.ID, "", "delete"},
		{"POST", "/v1/recordings", `{"cgroup":"/c/x"}`, "record"},
		{"DELETE", "/v1/recordings/x", "", "forget"},
	} {
		resp, _ := s.ask(t, test.method, test.path, strings.NewReader(test.body))
		logged := s.log.find(t, test.msg)
		if len(logged) != 1 {
			t.Errorf("%s %s: logged %v", test.method, test.path, logged)
			continue
		}
		delete(logged[0], "time")
		delete(logged[0], "bytes")
		want := map[string]any{"level": "INFO", "msg": test.msg, "method": test.method, "path": test.path,
			"status": float64(resp.StatusCode), "uid": float64(0), "pid": float64(os.Getpid())}
		if diff := cmp.Diff(want, logged[0]); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", test.method, test.path, diff)
		}
	}
	if logged := s.log.find(t, "request"); len(logged) != 0 {
		t.Errorf("what needs no line: %v", logged)
	}
}

// TestNoPeer: without a Unix domain socket under it there are no credentials, and no way in.
func TestNoPeer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- api.NewServer(api.Config{Backend: apitest.NewBackend(), Log: slog.New(slog.DiscardHandler)}).Serve(ctx, ln)
	}()
	req, _ := http.NewRequest("GET", "http://"+ln.Addr().String()+"/healthz", nil)
	req.Host = "swoll"
	transport := &http.Transport{}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("answered with %s", resp.Status)
	}
	transport.CloseIdleConnections()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
