package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/client"
	"github.com/swoll-recorder/swoll/client/cluster"
)

// Swoll-dump asks the service of its own machine, by its socket. Under the name of
// kubectl's plugin it asks those of a cluster's nodes: the one that has the pod or the
// snapshot that is meant, or all, with their answers put together.

const (
	// askAtOnce is how many nodes are asked at the same time.
	askAtOnce = 16
	// dialTimeout and askTimeout are how long a node may take to be connected to, and to
	// answer what is asked of all nodes.
	dialTimeout = 15 * time.Second
	askTimeout  = 30 * time.Second
)

// A service is a swolld.
type service struct {
	*client.Client
	node string // empty: this machine
}

// A fleet is the services of a cluster.
type fleet struct {
	connect func() (*cluster.Cluster, error)
	only    string // the one node that is meant; empty: all
	warn    func(string)

	cluster  *cluster.Cluster // nil until list was called
	services []service
	down     []string // nodes whose service does not run
}

// list finds the cluster and its nodes, once.
func (f *fleet) list(ctx context.Context) error {
	if f.cluster != nil {
		return nil
	}
	where, err := f.connect()
	if err != nil {
		return err
	}
	nodes, down, err := where.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if f.only != "" && f.only != n.Name {
			continue
		}
		c := &client.Client{Warn: func(msg string) { f.warn("node " + n.Name + ": " + msg) }}
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			return where.Dial(ctx, n)
		}
		f.services = append(f.services, service{c, n.Name})
	}
	for _, name := range down {
		if f.only == "" || f.only == name {
			f.down = append(f.down, name)
		}
	}
	if f.only != "" && f.services == nil {
		return f.notThere(f.only)
	}
	f.cluster = where
	return nil
}

func (f *fleet) close() {
	for _, s := range f.services {
		s.Close()
	}
}

// notThere is the error for a node whose service does not run.
func (f *fleet) notThere(node string) error {
	return &client.DialError{Err: api.Errorf(api.CodeUnavailable, "node %s has no pod of swoll that runs", node).
		WithHint("kubectl get pods -A -o wide -l app.kubernetes.io/name=swoll")}
}

// one is the service of a node.
func (f *fleet) one(node string) (service, error) {
	for _, s := range f.services {
		if s.node == node {
			return s, nil
		}
	}
	if f.only != "" {
		return service{}, usagef("it is on node %s, not on %s", node, f.only)
	}
	return service{}, f.notThere(node)
}

// A partialError says that some nodes did not answer, which was told by warnings.
type partialError struct{ failed, of int }

func (e *partialError) Error() string {
	return fmt.Sprintf("%d of %s did not answer", e.failed, count(e.of, "node"))
}

// ask calls f for each service that is meant, several at a time. On this machine, that is
// one, and its error is the error. In a cluster, a node that fails is told as a warning,
// and a *partialError is what is returned after the others; if all fail, the first's error.
// f must be safe for concurrent use with different i, which counts from 0 in the order of
// the nodes' names.
func (a *app) ask(ctx context.Context, f func(ctx context.Context, i int, s service) error) error {
	if a.fleet == nil {
		return f(ctx, 0, service{Client: a.client})
	}
	if err := a.fleet.list(ctx); err != nil {
		return err
	}
	errs := make([]error, len(a.fleet.services))
	var g errgroup.Group
	g.SetLimit(askAtOnce)
	for i, s := range a.fleet.services {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			errs[i] = f(ctx, i, s)
			return nil
		})
	}
	_ = g.Wait()
	var failed []int
	for i, err := range errs {
		if err != nil {
			failed = append(failed, i)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(failed) == len(errs) && len(failed) > 0 {
		return errs[0]
	}
	for _, i := range failed {
		a.warn(fmt.Sprintf("node %s: %s", a.fleet.services[i].node, withHint(errs[i])))
	}
	for _, node := range a.fleet.down {
		a.warn(withHint(a.fleet.notThere(node)))
	}
	if n := len(failed) + len(a.fleet.down); n > 0 {
		return &partialError{failed: n, of: len(errs) + len(a.fleet.down)}
	}
	return nil
}

// withHint is an error's message on one line.
func withHint(err error) string {
	msg := err.Error()
	if e := (*api.Error)(nil); errors.As(err, &e) && e.Hint != "" {
		msg += ". Try: " + e.Hint
	}
	return strings.Join(strings.Fields(msg), " ")
}

// size is how many services ask calls f for.
func (a *app) size(ctx context.Context) (int, error) {
	if a.fleet == nil {
		return 1, nil
	}
	err := a.fleet.list(ctx)
	return len(a.fleet.services), err
}

// gather is what ask gets from each service, in the order of the nodes. What it returns
// beside an error is what the others answered.
func gather[T any](ctx context.Context, a *app, f func(ctx context.Context, s service) (T, error)) ([]T, error) {
	n, err := a.size(ctx)
	if err != nil {
		return nil, err
	}
	answers, ok := make([]T, n), make([]bool, n)
	err = a.ask(ctx, func(ctx context.Context, i int, s service) (err error) {
		answers[i], err = f(ctx, s)
		ok[i] = err == nil
		return err
	})
	var got []T
	for i := range answers {
		if ok[i] {
			got = append(got, answers[i])
		}
	}
	return got, err
}

// partial tells whether there are answers in spite of the error.
func partial(err error) bool {
	var p *partialError
	return err == nil || errors.As(err, &p)
}

// search finds the one service that has something.
func (a *app) search(ctx context.Context, what string, has func(context.Context, service) error) (service, error) {
	found, err := gather(ctx, a, func(ctx context.Context, s service) (*service, error) {
		err := has(ctx, s)
		if errors.Is(err, api.ErrNotFound) {
			return nil, nil
		}
		return &s, err
	})
	found = slices.DeleteFunc(found, func(s *service) bool { return s == nil })
	switch {
	case len(found) == 1:
		return *found[0], nil // whatever others would have said
	case len(found) > 1:
		var names []string
		for _, s := range found {
			names = append(names, s.node)
		}
		return service{}, usagef("%s is on several nodes; choose one of --node %s", what, strings.Join(names, ", "))
	case err != nil:
		return service{}, err
	}
	return service{}, api.Errorf(api.CodeNotFound, "there is no %s on any node", what)
}

// pod finds the pod that arg means, and the service that has it.
func (a *app) pod(ctx context.Context, arg string) (s service, namespace, name string, err error) {
	namespace, name, ok := strings.Cut(arg, "/")
	if ok && (namespace == "" || name == "" || strings.Contains(name, "/")) {
		return s, "", "", usagef("%q is no POD: use NAMESPACE/NAME or NAME", arg)
	}
	if a.fleet == nil {
		s = service{Client: a.client}
		if !ok {
			namespace, name, err = a.podByName(ctx, arg)
		}
		return s, namespace, name, err
	}
	if err := a.fleet.list(ctx); err != nil {
		return s, "", "", err
	}
	if !ok {
		namespace, name = a.fleet.cluster.Namespace, arg
	}
	s, err = a.serviceOfPod(ctx, namespace, name)
	return s, namespace, name, err
}

// oneNode is the service of the one node that is meant.
func (a *app) oneNode(ctx context.Context) (service, error) {
	if a.fleet == nil {
		return service{Client: a.client}, nil
	}
	if err := a.fleet.list(ctx); err != nil {
		return service{}, err
	}
	if len(a.fleet.services) != 1 {
		return service{}, usagef("the cluster has %s: name one with --node", count(len(a.fleet.services), "node"))
	}
	return a.fleet.services[0], nil
}

// podByName finds the one namespace, on this machine, that has a pod of that name.
func (a *app) podByName(ctx context.Context, arg string) (namespace, name string, err error) {
	pods, err := a.client.Pods(ctx)
	if err != nil {
		return "", "", err
	}
	var found []string
	for _, p := range pods {
		if p.Name == arg && !slices.Contains(found, p.Namespace) {
			found = append(found, p.Namespace)
		}
	}
	if len(found) == 0 {
		// It may be gone; its snapshots stay.
		snaps, err := a.client.Snapshots(ctx)
		if err != nil {
			return "", "", err
		}
		for _, s := range snaps {
			if s.Pod == arg && !slices.Contains(found, s.Namespace) {
				found = append(found, s.Namespace)
			}
		}
	}
	switch len(found) {
	case 0:
		return "", "", api.Errorf(api.CodeNotFound, "no pod %s is recorded, and there is no snapshot of one", arg).WithHint("%s list, or %[1]s snapshots", a.name)
	case 1:
		return found[0], arg, nil
	}
	for i, namespace := range found {
		found[i] = namespace + "/" + arg
	}
	return "", "", usagef("%s is the name of several pods; choose one of %s", arg, strings.Join(found, ", "))
}

// serviceOfPod is, in a cluster, the service of the node that the cluster says has the pod. A pod that
// the cluster does not know (any more), or that is a cgroup of the host, is looked for on
// all nodes.
func (a *app) serviceOfPod(ctx context.Context, namespace, name string) (service, error) {
	f := a.fleet
	if f.only != "" {
		return f.one(f.only)
	}
	if namespace != api.HostNamespace {
		node, err := f.cluster.NodeOf(ctx, namespace, name)
		if err == nil {
			return f.one(node)
		}
		if !errors.Is(err, api.ErrNotFound) {
			return service{}, err
		}
	}
	s, err := a.search(ctx, "pod "+namespace+"/"+name, func(ctx context.Context, s service) error {
		pods, err := s.Pod(ctx, namespace, name)
		if err == nil && len(pods) > 0 || err != nil && !errors.Is(err, api.ErrNotFound) {
			return err
		}
		snaps, err := s.Snapshots(ctx) // they outlive it
		if err == nil && !slices.ContainsFunc(snaps, func(x api.Snapshot) bool { return x.Namespace == namespace && x.Pod == name }) {
			err = api.ErrNotFound
		}
		return err
	})
	if errors.Is(err, api.ErrNotFound) {
		err = api.Errorf(api.CodeNotFound, "no pod %s/%s is recorded on any node", namespace, name).
			WithHint("%s list, or -n NAMESPACE", a.name)
	}
	return s, err
}

// snapshotID matches the id that a service gives to a snapshot: time, name, chance.
var snapshotID = regexp.MustCompile(`^\d{8}T\d{6}-`)

// serviceOfSnapshot is the service that has a snapshot.
func (a *app) serviceOfSnapshot(ctx context.Context, id string) (service, error) {
	if a.fleet == nil {
		return service{Client: a.client}, nil
	}
	s, err := a.search(ctx, "snapshot "+id, func(ctx context.Context, s service) error {
		_, err := s.SnapshotByID(ctx, id)
		return err
	})
	if errors.Is(err, api.ErrNotFound) {
		err = api.Errorf(api.CodeNotFound, "there is no snapshot %s on any node", id).WithHint("%s snapshots", a.name)
	}
	return s, err
}
