package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/api/apitest"
	"github.com/swoll-recorder/swoll/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve makes a client of a service.
func serve(t *testing.T, b *apitest.Backend) *client.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := api.Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	srv := api.NewServer(api.Config{Backend: b, Log: slog.New(slog.DiscardHandler), Metrics: http.NotFoundHandler()})
	go func() { done <- srv.Serve(ctx, ln) }()
	c := &client.Client{Socket: socket}
	t.Cleanup(func() {
		c.Close()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// answer makes a client of something that answers every request with h.
func answer(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(ln) })
	c := &client.Client{Socket: socket}
	t.Cleanup(func() {
		c.Close()
		srv.Close()
		wg.Wait()
	})
	return c
}

// TestClient: what the methods ask for is what the backend gives.
func TestClient(t *testing.T) {
	b := apitest.NewBackend()
	c := serve(t, b)
	ctx := t.Context()
	check := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	text := func(f func(io.Writer) error) (string, error) {
		var out bytes.Buffer
		err := f(&out)
		return out.String(), err
	}

	want, _ := b.Pods(ctx)
	want[1].Labels, want[2].Labels = api.Map[string]{}, api.Map[string]{} // {} on the wire
	pods, err := c.Pods(ctx)
	check("Pods", pods, want, err)
	pods, err = c.Pod(ctx, "prod", "web")
	check("Pod", pods, want[1:2], err)

	zero := 0
	sel := api.Selector{Namespace: "default", Pod: "web", Container: "app", Instance: &zero}
	q := api.DumpQuery{Format: "json", Since: 1500 * time.Millisecond, Last: 3, Syscalls: []string{"a", "b"}, Errors: true, PID: 7, All: true, FDs: true, Split: true, NoHeader: true}
	asked := " format=json since=1.5s last=3 syscalls=a,b errors=true pid=7 all=true fds=true split=true header=false\n" + b.Calls
	dump, err := text(func(w io.Writer) error { return c.Dump(ctx, sel, q, w) })
	check("Dump", dump, "# default/web/app"+asked, err)
	dump, err = text(func(w io.Writer) error { return c.DumpNode(ctx, q, w) })
	check("DumpNode", dump, "# default/web/app default/web/sidecar prod/web/app host/job/"+asked, err)
	verdict, err := text(func(w io.Writer) error { return c.ExplainPod(ctx, sel, "json", w) })
	check("ExplainPod", verdict, b.Verdict+"\n", err)

	n, err := c.Freeze(ctx, &sel)
	check("Freeze", n, 1, err)
	n, err = c.Freeze(ctx, nil)
	check("Freeze of the node", n, 3, err)
	n, err = c.Thaw(ctx, nil)
	check("Thaw of the node", n, 4, err)
	n, err = c.Thaw(ctx, &sel)
	check("Thaw", n, 0, err)

	made, err := c.Snapshot(ctx, api.Selector{Namespace: "default", Pod: "web"}, "to see")
	saved, _ := b.Snapshots(ctx)
	for i := range saved {
		saved[i].Labels = api.Map[string]{} // {} on the wire
	}
	check("Snapshot", made, saved, err)
	if len(made) != 2 || made[0].Reason != "to see" {
		t.Fatalf("Snapshot: %+v", made)
	}
	snaps, err := c.Snapshots(ctx)
	check("Snapshots", snaps, saved, err)
	id := made[1].ID
	snap, err := c.SnapshotByID(ctx, id)
	check("SnapshotByID", snap, made[1], err)
	dump, err = text(func(w io.Writer) error { return c.SnapshotDump(ctx, id, q, w) })
	check("SnapshotDump", dump, "# "+id+asked, err)
	verdict, err = text(func(w io.Writer) error { return c.Explain(ctx, id, "", w) })
	check("Explain", verdict, "exit 3\n", err)
	file, err := text(func(w io.Writer) error { return c.SnapshotFile(ctx, id, w) })
	check("SnapshotFile", file, "snapshot "+id+"\n", err)
	check("DeleteSnapshot", nil, nil, c.DeleteSnapshot(ctx, id))
	if _, err := c.SnapshotByID(ctx, id); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("SnapshotByID of a deleted one: %v", err)
	}

	pod, err := c.Record(ctx, "/c/x", "a b/ü%2F?#")
	check("Record", pod.Name, "a b/ü%2F?#", err)
	pods, err = c.Pod(ctx, api.HostNamespace, "a b/ü%2F?#")
	check("Pod of that name", len(pods), 1, err)
	check("Forget", nil, nil, c.Forget(ctx, "a b/ü%2F?#"))
	version, err := c.Version(ctx)
	check("Version", version, b.Version(), err)
	check("Ready", nil, nil, c.Ready(ctx))
	b.NotReady = errors.New("no ring memory")
	if err := c.Ready(ctx); !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("Ready: %v", err)
	}
}

func TestError(t *testing.T) {
	c := serve(t, apitest.NewBackend())
	_, err := c.Pod(t.Context(), "x", "y")
	e := new(api.Error)
	if !errors.As(err, &e) || e.Code != api.CodeNotFound || e.Status != 404 || e.Hint == "" || !errors.Is(err, api.ErrNotFound) || errors.Is(err, api.ErrDenied) {
		t.Errorf("an unknown pod: %#v", err)
	}
}

func TestDialError(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	for _, test := range []struct {
		socket string
		cause  error
		text   string
	}{
		{filepath.Join(dir, "none"), fs.ErrNotExist, "/none: no such file or directory. Try: start swolld"},
		{stale, syscall.ECONNREFUSED, "/stale: connection refused. Try: swolld has ended there"},
	} {
		c := &client.Client{Socket: test.socket}
		_, err := c.Pods(t.Context())
		var dial *client.DialError
		if !errors.As(err, &dial) || dial.Socket != test.socket || !errors.Is(err, test.cause) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%v; want it to be %v, with %q", err, test.cause, test.text)
		}
	}
}

// TestZero: the zero client asks the default socket.
func TestZero(t *testing.T) {
	var c client.Client
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Pods(ctx)
	var dial *client.DialError
	if !errors.Is(err, context.Canceled) && !errors.As(err, &dial) {
		t.Errorf("Pods: %v", err)
	}
	if dial != nil && dial.Socket != api.DefaultSocket {
		t.Errorf("asked %s", dial.Socket)
	}
}

func TestContext(t *testing.T) {
	asked := make(chan struct{})
	c := answer(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := c.Pods(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Pods: %v", err)
	}
}

func TestOtherVersion(t *testing.T) {
	server := "swolld/v9.9.9"
	c := answer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", server)
		io.WriteString(w, `{"items":[{"namespace":"n","name":"p","new":{"field":1}}]}`)
	})
	var warnings []string
	c.Warn = func(msg string) { warnings = append(warnings, msg) }
	for range 2 {
		pods, err := c.Pods(t.Context())
		if err != nil || len(pods) != 1 || pods[0].Name != "p" {
			t.Errorf("Pods: %v, %v", pods, err)
		}
	}
	want := []string{"the service is version v9.9.9, this client is " + api.BuildVersion().Version}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}

	server = "swolld/" + api.BuildVersion().Version
	same := answer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", server)
		io.WriteString(w, `{"items":[]}`)
	})
	same.Warn = func(msg string) { t.Errorf("warned: %s", msg) }
	if _, err := same.Pods(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNotSwolld: whatever else answers on the socket gives an error that says so.
func TestNotSwolld(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"plain 404": func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"empty problem": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(500)
		},
		"no JSON": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") },
		"cut off": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"items":[`)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := answer(t, h)
			pods, err := c.Pods(t.Context())
			var e *api.Error
			if err == nil || errors.As(err, &e) || !strings.Contains(err.Error(), "GET /v1/pods") {
				t.Errorf("%v, %v", pods, err)
			}
		})
	}
}
