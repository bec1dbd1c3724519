// Package apitest has an api.Backend that lives in memory, for tests of what serves one
// and of what asks the service.
package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/swoll-recorder/swoll/api"
)

// Time is when everything in a Backend happened.
var Time = time.Date(2026, 11, 20, 3, 12, 4, 118204000, time.UTC)

// A Backend has pods and snapshots, but no history: a dump tells what was asked for, then
// repeats Calls; for Perfetto, it is an empty trace. Its fields must not change while it is served.
type Backend struct {
	Calls    string                // of every container, in whatever format
	Verdict  string                // of every history; JSON
	NotReady error                 // returned by Ready
	OnDump   func(io.Writer) error // if not nil, is called in place of every dump and verdict
	OnRecord func(api.Pod)         // if not nil, is called after each Record

	mu        sync.Mutex
	pods      []api.Pod
	snapshots []api.Snapshot
	files     map[string][]byte
}

// NewBackend has the pods default/web (containers app and sidecar), prod/web, and
// host/job, a cgroup recorded by hand.
func NewBackend() *Backend {
	container := func(name, id string) api.Container {
		return api.Container{
			Name: name, ID: id, Cgroup: "/kubepods/" + id, State: api.StateRecording,
			Ring: api.Ring{
				Bytes: 1 << 20, Records: 1234, Overwritten: 77, Lost: map[string]uint64{"nested": 1},
				Oldest: Time.Add(-time.Minute), Newest: Time, CompleteSince: Time.Add(-30 * time.Second),
			},
		}
	}
	return &Backend{
		Calls:   "812 1795144324.118204 openat(AT_FDCWD, \"/etc/app/config.yaml\", O_RDONLY) = -1 ENOENT (No such file or directory) <0.000012>\n",
		Verdict: `{"how":{"kind":"exit","exitCode":3},"summary":"exit 3"}`,
		files:   map[string][]byte{},
		pods: []api.Pod{
			{Namespace: "default", Name: "web", UID: "u1", Labels: map[string]string{"app": "web"},
				Containers: []api.Container{container("app", "c1"), container("sidecar", "c2")}},
			{Namespace: "prod", Name: "web", UID: "u2", Containers: []api.Container{container("app", "c3")}},
			{Namespace: api.HostNamespace, Name: "job", Containers: []api.Container{container("", "")}},
		},
	}
}

// Pods returns copies.
func (b *Backend) Pods(context.Context) ([]api.Pod, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pods := slices.Clone(b.pods)
	for i := range pods {
		pods[i].Containers = slices.Clone(pods[i].Containers)
	}
	return pods, nil
}

// find calls f with the selected containers, locked.
func (b *Backend) find(sel *api.Selector, f func(*api.Pod, *api.Container)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := sel == nil
	for i := range b.pods {
		p := &b.pods[i]
		for j := range p.Containers {
			c := &p.Containers[j]
			if sel == nil || p.Namespace == sel.Namespace && p.Name == sel.Pod &&
				(sel.Container == "" || sel.Container == c.Name) && (sel.Instance == nil || *sel.Instance == c.Instance) {
				found = true
				f(p, c)
			}
		}
	}
	if !found {
		return api.Errorf(api.CodeNotFound, "%s/%s is not recorded", sel.Namespace, sel.Pod)
	}
	return nil
}

func (b *Backend) write(w io.Writer, what string, q api.DumpQuery) error {
	if b.OnDump != nil {
		return b.OnDump(w)
	}
	if q.Format == "perfetto" {
		_, err := fmt.Fprintf(w, `{"metadata":{"of":%q},"traceEvents":[]}`, what)
		return err
	}
	_, err := fmt.Fprintf(w, "# %s format=%s since=%s last=%d syscalls=%s errors=%t pid=%d all=%t fds=%t split=%t header=%t\n%s", what,
		q.Format, q.Since, q.Last, strings.Join(q.Syscalls, ","), q.Errors, q.PID, q.All, q.FDs, q.Split, !q.NoHeader, b.Calls)
	return err
}

// Dump writes a line for each selected container and what was asked for, and Calls.
func (b *Backend) Dump(_ context.Context, sel api.Selector, q api.DumpQuery, w io.Writer) error {
	var what []string
	err := b.find(&sel, func(p *api.Pod, c *api.Container) {
		what = append(what, p.Namespace+"/"+p.Name+"/"+c.Name)
	})
	if err != nil {
		return err
	}
	return b.write(w, strings.Join(what, " "), q)
}

// DumpNode is Dump of all.
func (b *Backend) DumpNode(_ context.Context, q api.DumpQuery, w io.Writer) error {
	var what []string
	b.find(nil, func(p *api.Pod, c *api.Container) { what = append(what, p.Namespace+"/"+p.Name+"/"+c.Name) })
	return b.write(w, strings.Join(what, " "), q)
}

// DumpCgroup is Dump by cgroup.
func (b *Backend) DumpCgroup(_ context.Context, cgroup string, q api.DumpQuery, w io.Writer) error {
	found := false
	b.find(nil, func(_ *api.Pod, c *api.Container) { found = found || strings.HasSuffix(c.Cgroup, cgroup) })
	if !found {
		return api.Errorf(api.CodeNotFound, "no cgroup %s is recorded", cgroup)
	}
	return b.write(w, cgroup, q)
}

func (b *Backend) change(sel *api.Selector, from, to string) (n int, err error) {
	err = b.find(sel, func(_ *api.Pod, c *api.Container) {
		if c.State == from {
			c.State = to
			n++
		}
	})
	return n, err
}

// Freeze changes states.
func (b *Backend) Freeze(_ context.Context, sel *api.Selector) (int, error) {
	return b.change(sel, api.StateRecording, api.StateFrozen)
}

// Thaw changes states.
func (b *Backend) Thaw(_ context.Context, sel *api.Selector) (int, error) {
	return b.change(sel, api.StateFrozen, api.StateRecording)
}

// Snapshot invents snapshots whose file says "snapshot" and the id.
func (b *Backend) Snapshot(_ context.Context, sel api.Selector, reason string) ([]api.Snapshot, error) {
	var made []api.Snapshot
	err := b.find(&sel, func(p *api.Pod, c *api.Container) {
		id := fmt.Sprintf("s%d", len(b.files)+1)
		b.files[id] = []byte("snapshot " + id + "\n")
		made = append(made, api.Snapshot{
			ID: id, Namespace: p.Namespace, Pod: p.Name, Container: c.Name, Trigger: api.TriggerManual, Reason: reason,
			Created: Time, Bytes: int64(len(b.files[id])), Records: c.Ring.Records,
		})
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.snapshots = append(b.snapshots, made...)
	return made, err
}

// Die adds the snapshot of a container that exited with code 3.
func (b *Backend) Die(namespace, pod, container string) api.Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	code := 3
	id := fmt.Sprintf("s%d", len(b.files)+1)
	b.files[id] = []byte("snapshot " + id + "\n")
	snap := api.Snapshot{
		ID: id, Namespace: namespace, Pod: pod, Container: container, Trigger: api.TriggerExit, Reason: "exit 3", ExitCode: &code,
		Created: Time, Bytes: int64(len(b.files[id])), Records: 99, Verdict: json.RawMessage(b.Verdict),
	}
	b.snapshots = append(b.snapshots, snap)
	return snap
}

// Snapshots returns a copy.
func (b *Backend) Snapshots(context.Context) ([]api.Snapshot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.snapshots), nil
}

// SnapshotByID finds one.
func (b *Backend) SnapshotByID(_ context.Context, id string) (api.Snapshot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.snapshots, func(s api.Snapshot) bool { return s.ID == id })
	if i < 0 {
		return api.Snapshot{}, api.Errorf(api.CodeNotFound, "there is no snapshot %s", id)
	}
	return b.snapshots[i], nil
}

// SnapshotDump is Dump of a snapshot.
func (b *Backend) SnapshotDump(ctx context.Context, id string, q api.DumpQuery, w io.Writer) error {
	if _, err := b.SnapshotByID(ctx, id); err != nil {
		return err
	}
	return b.write(w, id, q)
}

func (b *Backend) explain(format string, w io.Writer) error {
	if b.OnDump != nil {
		return b.OnDump(w)
	}
	if format == "text" {
		_, err := io.WriteString(w, "exit 3\n")
		return err
	}
	_, err := io.WriteString(w, b.Verdict+"\n")
	return err
}

// Explain writes Verdict.
func (b *Backend) Explain(ctx context.Context, id, format string, w io.Writer) error {
	if _, err := b.SnapshotByID(ctx, id); err != nil {
		return err
	}
	return b.explain(format, w)
}

// ExplainPod writes Verdict.
func (b *Backend) ExplainPod(_ context.Context, sel api.Selector, format string, w io.Writer) error {
	if err := b.find(&sel, func(*api.Pod, *api.Container) {}); err != nil {
		return err
	}
	return b.explain(format, w)
}

type file struct{ *bytes.Reader }

func (file) Close() error { return nil }

// SnapshotFile opens the file.
func (b *Backend) SnapshotFile(ctx context.Context, id string) (io.ReadSeekCloser, api.Snapshot, error) {
	snap, err := b.SnapshotByID(ctx, id)
	if err != nil {
		return nil, snap, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return file{bytes.NewReader(b.files[id])}, snap, nil
}

// DeleteSnapshot removes one.
func (b *Backend) DeleteSnapshot(ctx context.Context, id string) error {
	if _, err := b.SnapshotByID(ctx, id); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.snapshots = slices.DeleteFunc(b.snapshots, func(s api.Snapshot) bool { return s.ID == id })
	return nil
}

// Record adds a pod to the namespace of the host.
func (b *Backend) Record(_ context.Context, cgroup, name string) (api.Pod, error) {
	pod, err := b.record(cgroup, name)
	if err == nil && b.OnRecord != nil {
		b.OnRecord(pod)
	}
	return pod, err
}

func (b *Backend) record(cgroup, name string) (api.Pod, error) {
	if name == "" {
		name = path.Base(cgroup)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.ContainsFunc(b.pods, func(p api.Pod) bool { return p.Namespace == api.HostNamespace && p.Name == name }) {
		return api.Pod{}, api.Errorf(api.CodeConflict, "%s is recorded already", name).WithHint("another name")
	}
	pod := api.Pod{Namespace: api.HostNamespace, Name: name,
		Containers: []api.Container{{Cgroup: cgroup, State: api.StateRecording, Ring: api.Ring{Bytes: 1 << 20}}}}
	b.pods = append(b.pods, pod)
	return pod, nil
}

// Forget removes what Record added.
func (b *Backend) Forget(_ context.Context, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.pods)
	b.pods = slices.DeleteFunc(b.pods, func(p api.Pod) bool { return p.Namespace == api.HostNamespace && p.Name == name })
	if len(b.pods) == n {
		return api.Errorf(api.CodeNotFound, "no recording is named %s", name)
	}
	return nil
}

// Version is the test's.
func (b *Backend) Version() api.Version {
	v := api.BuildVersion()
	v.Kernel, v.Node = "6.18.0", "node1"
	return v
}

// Ready returns NotReady.
func (b *Backend) Ready() error { return b.NotReady }
