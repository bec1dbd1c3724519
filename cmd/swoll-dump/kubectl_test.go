package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/api/apitest"
	"github.com/swoll-recorder/swoll/client/cluster/clustertest"
)

// TestKubectl runs testdata/kubectl: scripts that run kubectl-swoll against a cluster with
// an API server of clustertest, and a service for each of the nodes:
//
//	a  has default/web and host/job, and a snapshot of default/web
//	b  has prod/web and host/job, and a snapshot of prod/web
//	c  has a pod of swoll whose exec fails, and default/lost
//	d  has a pod of swoll that does not run, and default/dark
//	e  has no pod of swoll, and default/bare
//
// The variable KUBECONFIG is for all four of them, HEALTHY for a cluster with a and b only,
// READER for a user who may not exec, EMPTY for a cluster without swoll.
func TestKubectl(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/kubectl",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
		Setup: func(env *testscript.Env) error {
			sockets := map[string]string{}
			for node, backend := range map[string]*nodeBackend{
				"a": newNode("a", "default/web", "default/web", "host/job"),
				"b": newNode("b", "prod/web", "prod/web", "host/job"),
			} {
				sockets[node] = filepath.Join(env.WorkDir, node)
				if err := serveOn(env, t, sockets[node], backend); err != nil {
					return err
				}
			}
			all := []clustertest.Pod{
				{Namespace: "default", Name: "web", Node: "a"},
				{Namespace: "prod", Name: "web", Node: "b"},
				{Namespace: "default", Name: "lost", Node: "c"},
				{Namespace: "default", Name: "dark", Node: "d"},
				{Namespace: "default", Name: "bare", Node: "e"},
			}
			for _, node := range []string{"a", "b", "c", "d"} {
				p := clustertest.Pod{Namespace: "swoll-system", Name: "swoll-" + node, Node: node, Labels: map[string]string{"app.kubernetes.io/name": "swoll"}}
				if node == "d" {
					p.Phase = "Pending"
				}
				all = append(all, p)
			}
			exec := func(p clustertest.Pod, command []string, stdin io.Reader, stdout, stderr io.Writer) error {
				if strings.Join(command, " ") != "swoll-dump proxy" {
					return fmt.Errorf("exec of %q", command)
				}
				socket, ok := sockets[p.Node]
				if !ok {
					io.WriteString(stderr, "swoll-dump: cannot reach swolld on /run/swoll/swoll.sock\n")
					return errors.New("exit status 4")
				}
				c, err := net.Dial("unix", socket)
				if err != nil {
					return err
				}
				return proxy(c.(*net.UnixConn), stdin, stdout)
			}
			for name, pods := range map[string][]clustertest.Pod{
				"KUBECONFIG": all,
				"HEALTHY":    append(all[:5:5], all[5:7]...),
				"EMPTY":      all[:5],
			} {
				s := &clustertest.Server{Pods: pods, Token: "secret", Exec: exec}
				srv := s.Serve()
				env.Defer(srv.Close)
				file := filepath.Join(env.WorkDir, name)
				if err := os.WriteFile(file, s.Kubeconfig(srv.URL, "secret", "default"), 0o600); err != nil {
					return err
				}
				env.Setenv(name, file)
				if name == "HEALTHY" {
					if err := os.WriteFile(file+"-reader", s.Kubeconfig(srv.URL, "secret-reader", "default"), 0o600); err != nil {
						return err
					}
					env.Setenv("READER", file+"-reader")
				}
			}
			return os.WriteFile(filepath.Join(env.WorkDir, "crash.swoll"), snapshotFile(t), 0o600)
		},
	})
}

// A nodeBackend is a backend with some of the pods of apitest's, and one snapshot, whose id
// is like a real one.
type nodeBackend struct {
	*apitest.Backend
	node string
	pods []string
}

func newNode(node string, snapshotOf string, pods ...string) *nodeBackend {
	b := &nodeBackend{apitest.NewBackend(), node, pods}
	namespace, name, _ := strings.Cut(snapshotOf, "/")
	b.Die(namespace, name, "app")
	return b
}

// id is the outer id of s1.
func (b *nodeBackend) id(inner string) string { return "20261120T031204-" + b.node + "-" + inner }

func (b *nodeBackend) inner(id string) string {
	inner, ok := strings.CutPrefix(id, b.id(""))
	if !ok {
		return "not mine"
	}
	return inner
}

func (b *nodeBackend) Pods(ctx context.Context) ([]api.Pod, error) {
	pods, err := b.Backend.Pods(ctx)
	return slices.DeleteFunc(pods, func(p api.Pod) bool { return !slices.Contains(b.pods, p.Namespace+"/"+p.Name) }), err
}

func (b *nodeBackend) Snapshots(ctx context.Context) ([]api.Snapshot, error) {
	snaps, err := b.Backend.Snapshots(ctx)
	for i := range snaps {
		snaps[i].ID = b.id(snaps[i].ID)
	}
	return snaps, err
}

func (b *nodeBackend) SnapshotByID(ctx context.Context, id string) (api.Snapshot, error) {
	snap, err := b.Backend.SnapshotByID(ctx, b.inner(id))
	snap.ID = id
	return snap, err
}

func (b *nodeBackend) SnapshotDump(ctx context.Context, id string, q api.DumpQuery, w io.Writer) error {
	fmt.Fprintf(w, "# node %s\n", b.node)
	return b.Backend.SnapshotDump(ctx, b.inner(id), q, w)
}

func (b *nodeBackend) Explain(ctx context.Context, id, format string, w io.Writer) error {
	if _, err := b.SnapshotByID(ctx, id); err != nil {
		return err
	}
	if format == "text" {
		fmt.Fprintf(w, "node %s: ", b.node)
	}
	return b.Backend.Explain(ctx, b.inner(id), format, w)
}

func (b *nodeBackend) ExplainPod(ctx context.Context, sel api.Selector, format string, w io.Writer) error {
	if format == "text" {
		fmt.Fprintf(w, "pod on node %s: ", b.node)
	}
	return b.Backend.ExplainPod(ctx, sel, format, w)
}

func (b *nodeBackend) SnapshotFile(ctx context.Context, id string) (io.ReadSeekCloser, api.Snapshot, error) {
	return b.Backend.SnapshotFile(ctx, b.inner(id))
}

func (b *nodeBackend) DeleteSnapshot(ctx context.Context, id string) error {
	return b.Backend.DeleteSnapshot(ctx, b.inner(id))
}

func (b *nodeBackend) Dump(ctx context.Context, sel api.Selector, q api.DumpQuery, w io.Writer) error {
	fmt.Fprintf(w, "# node %s\n", b.node)
	return b.Backend.Dump(ctx, sel, q, w)
}

// serveOn serves a backend until the script ends.
func serveOn(env *testscript.Env, t *testing.T, socket string, b api.Backend) error {
	ln, err := api.Listen(socket, "")
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	srv := api.NewServer(api.Config{Backend: b, Log: slog.New(slog.DiscardHandler)})
	go func() { done <- srv.Serve(ctx, ln) }()
	env.Defer(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return nil
}
