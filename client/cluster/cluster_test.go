package cluster_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"
	"k8s.io/klog/v2"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/api/apitest"
	"github.com/swoll-recorder/swoll/client"
	"github.com/swoll-recorder/swoll/client/cluster"
	"github.com/swoll-recorder/swoll/client/cluster/clustertest"
)

func TestMain(m *testing.M) {
	// Libraries log that connections were closed under them.
	var flags flag.FlagSet
	klog.InitFlags(&flags)
	flags.Set("logtostderr", "false")
	flags.Set("stderrthreshold", "FATAL")
	klog.SetOutput(io.Discard)
	goleak.VerifyTestMain(m,
		// It notices at its next beat that its connection is gone.
		goleak.IgnoreTopFunction("k8s.io/client-go/tools/remotecommand.(*heartbeat).start"),
		// Where a dial is canceled, they end when the connection's reader has noticed.
		goleak.IgnoreAnyFunction("k8s.io/client-go/tools/remotecommand.(*stream).Read"),
		goleak.IgnoreAnyFunction("k8s.io/client-go/tools/remotecommand.(*wsStreamCreator).readDemuxLoop"),
		goleak.IgnoreAnyFunction("k8s.io/client-go/tools/remotecommand.(*wsStreamExecutor).StreamWithContext.func1"),
		// It waits for the other end to close its streams.
		goleak.IgnoreTopFunction("github.com/moby/spdystream.(*Connection).shutdown"),
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

func swollPod(name, node string) clustertest.Pod {
	return clustertest.Pod{Namespace: "swoll-system", Name: name, Node: node, Labels: map[string]string{"app.kubernetes.io/name": "swoll"}}
}

// connect reaches a server as a user would: by a kubeconfig file and flags.
func connect(t *testing.T, s *clustertest.Server, token string, args ...string) *cluster.Cluster {
	t.Helper()
	s.Token = "secret"
	srv := s.Serve()
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, s.Kubeconfig(srv.URL, token, "shop"), 0o600); err != nil {
		t.Fatal(err)
	}
	var f cluster.Flags
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.AddTo(flags)
	if err := flags.Parse(append([]string{"--kubeconfig", file}, args...)); err != nil {
		t.Fatal(err)
	}
	c, err := f.Connect()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNamespace(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "shop"},
		{[]string{"-n", "bank"}, "bank"},
		{[]string{"--context=plain"}, "default"},
		{[]string{"--context=plain", "--namespace=bank"}, "bank"},
	} {
		if c := connect(t, &clustertest.Server{}, "secret", test.args...); c.Namespace != test.want {
			t.Errorf("%q: namespace %q, want %q", test.args, c.Namespace, test.want)
		}
	}
	var f cluster.Flags
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.AddTo(flags)
	if err := flags.Parse([]string{"--kubeconfig=/nonexistent/config"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Connect(); !errors.Is(err, api.ErrBadRequest) {
		t.Errorf("without a kubeconfig file: %v", err)
	}
}

func TestNodes(t *testing.T) {
	deleting := swollPod("old", "b")
	deleting.Deleting, deleting.Created = true, "2026-11-20T05:00:00Z"
	pending := swollPod("pending", "c")
	pending.Phase = "Pending"
	older := swollPod("aa", "a")
	older.Created = "2026-11-19T03:00:00Z"
	other := swollPod("not swoll's", "z")
	other.Labels = nil
	elsewhere := swollPod("elsewhere", "y")
	elsewhere.Namespace = "shop"
	leaving := swollPod("leaving", "d")
	leaving.Deleting = true
	s := &clustertest.Server{Pods: []clustertest.Pod{
		deleting, swollPod("bb", "b"), pending, older, swollPod("ab", "a"), other, elsewhere, leaving, swollPod("nowhere", ""),
	}, Exec: func(p clustertest.Pod, _ []string, _ io.Reader, stdout, _ io.Writer) error {
		_, err := io.WriteString(stdout, cluster.Greeting+p.Name)
		return err
	}}
	c := connect(t, s, "secret")
	nodes, down, err := c.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range nodes {
		conn, err := c.Dial(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		pod, err := io.ReadAll(conn)
		if err != nil {
			t.Errorf("node %s: %v", n.Name, err)
		}
		conn.Close()
		got = append(got, n.Name+"="+string(pod))
	}
	if want := []string{"a=ab", "b=bb", "d=leaving"}; !slices.Equal(got, want) {
		t.Errorf("nodes and their pods: %v, want %v", got, want)
	}
	if !slices.Equal(down, []string{"c"}) {
		t.Errorf("down: %v, want c", down)
	}
	for _, e := range s.Execs() {
		if !strings.HasSuffix(e, " swolld swoll-dump proxy WebSocket") {
			t.Errorf("exec: %s", e)
		}
	}

	if _, _, err := connect(t, &clustertest.Server{}, "secret").Nodes(t.Context()); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("without swoll: %v", err)
	}
	if _, _, err := connect(t, s, "wrong").Nodes(t.Context()); !errors.Is(err, api.ErrDenied) {
		t.Errorf("with a wrong token: %v", err)
	}
	var dial *client.DialError
	if _, _, err := connect(t, s, "secret", "--server=https://127.0.0.1:1").Nodes(t.Context()); !errors.As(err, &dial) {
		t.Errorf("without an API server: %v", err)
	}
}

func TestNodeOf(t *testing.T) {
	c := connect(t, &clustertest.Server{Pods: []clustertest.Pod{
		{Namespace: "shop", Name: "web", Node: "a"}, {Namespace: "bank", Name: "web", Node: "b"}, {Namespace: "bank", Name: "waits"},
	}}, "secret")
	for _, test := range []struct{ namespace, name, want string }{
		{"shop", "web", "a"}, {"bank", "web", "b"}, {"bank", "waits", ""}, {"shop", "gone", ""}, {"a/../../b", "x?y", ""},
	} {
		node, err := c.NodeOf(t.Context(), test.namespace, test.name)
		if node != test.want || (err == nil) != (test.want != "") || err != nil && !errors.Is(err, api.ErrNotFound) {
			t.Errorf("%s/%s is on %q, %v; want %q", test.namespace, test.name, node, err, test.want)
		}
	}
}

// TestDial: requests and their answers pass through exec unchanged, whatever the server
// speaks, with large bodies and on connections that are used again.
func TestDial(t *testing.T) {
	for _, old := range []bool{false, true} {
		b := apitest.NewBackend()
		b.Calls = strings.Repeat(b.Calls, 20000) // some MB
		socket := filepath.Join(t.TempDir(), "s")
		ln, err := api.Listen(socket, "")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() {
			served <- api.NewServer(api.Config{Backend: b, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, ln)
		}()
		s := &clustertest.Server{Pods: []clustertest.Pod{swollPod("p", "a")}, NoWebSocket: old, Exec: pipeTo(socket)}
		c := connect(t, s, "secret")
		nodes, _, err := c.Nodes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		remote := &client.Client{Dial: func(ctx context.Context) (net.Conn, error) { return c.Dial(ctx, nodes[0]) }}
		local := &client.Client{Socket: socket}
		var got, want strings.Builder
		sel := api.Selector{Namespace: "prod", Pod: "web"}
		for range 3 {
			if err := errors.Join(remote.Dump(t.Context(), sel, api.DumpQuery{}, &got), local.Dump(t.Context(), sel, api.DumpQuery{}, &want)); err != nil {
				t.Fatal(err)
			}
		}
		if got.String() != want.String() || got.Len() < 1<<20 {
			t.Errorf("a dump has %d bytes through exec, %d without; or they differ", got.Len(), want.Len())
		}
		if _, err := remote.SnapshotByID(t.Context(), "none"); !errors.Is(err, api.ErrNotFound) {
			t.Errorf("what is not there: %v", err)
		}
		how := "WebSocket"
		if old {
			how = "SPDY"
		}
		if e := s.Execs(); len(e) != 1 || !strings.HasSuffix(e[0], how) {
			t.Errorf("execs: %q, want one by %s", e, how)
		}
		remote.Close()
		local.Close()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// pipeTo is what swoll-dump proxy does.
func pipeTo(socket string) func(clustertest.Pod, []string, io.Reader, io.Writer, io.Writer) error {
	return func(_ clustertest.Pod, _ []string, stdin io.Reader, stdout, stderr io.Writer) error {
		c, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		defer c.Close()
		io.WriteString(stdout, cluster.Greeting)
		go func() {
			io.Copy(c, stdin)
			c.(*net.UnixConn).CloseWrite()
		}()
		_, err = io.Copy(stdout, c)
		return err
	}
}

func TestDialErrors(t *testing.T) {
	began, hangs := make(chan struct{}), make(chan struct{})
	s := &clustertest.Server{
		Pods: []clustertest.Pod{swollPod("fails", "a"), swollPod("hangs", "b"), swollPod("other", "c")},
		Exec: func(p clustertest.Pod, _ []string, stdin io.Reader, stdout, stderr io.Writer) error {
			switch p.Name {
			case "fails":
				io.WriteString(stderr, "swoll-dump: no socket there\n")
				return errors.New("failed")
			case "hangs":
				close(began)
				io.Copy(io.Discard, stdin) // until the client leaves
				close(hangs)
				return nil
			}
			_, err := io.WriteString(stdout, "what do you want from me?")
			return err
		},
	}
	c := connect(t, s, "secret")
	nodes, _, err := c.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"no socket there", "canceled", "no proxy"} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if i == 1 {
			go func() {
				<-began
				cancel() // by who waits for the proxy's first word
			}()
		}
		conn, err := c.Dial(ctx, nodes[i])
		if err == nil {
			conn.Close()
		}
		if i == 0 && !errors.Is(err, api.ErrUnavailable) || err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "node "+nodes[i].Name) {
			t.Errorf("node %s: %v, want %q", nodes[i].Name, err, want)
		}
	}
	select {
	case <-hangs:
	case <-time.After(30 * time.Second):
		t.Error("the proxy of a connection that was given up runs on")
	}
	if _, err := connect(t, s, "secret-reader").Dial(t.Context(), nodes[0]); !errors.Is(err, api.ErrDenied) {
		t.Errorf("without the right to exec: %v", err)
	}
}
