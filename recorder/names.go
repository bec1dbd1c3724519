package recorder

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/renameio/v2"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/recorder/containers"
	"github.com/swoll-recorder/swoll/ringstore"
)

// A ring is armed before anybody can say whose it is: what its cgroup is called tells no
// more than a pod's UID and a container's ID. The names follow from the collection of
// containers, in any order and at any time, also after the container's death, also after
// its ring was freed: then the snapshots that were saved meanwhile are named.

// nameWait is how long the snapshot of a death waits for the container's name. The ring is
// frozen: nothing is lost by waiting.
const nameWait = 500 * time.Millisecond

// known is what is known of whose history an instance is. It is replaced, never changed.
type known struct {
	identity
	named  bool   // the collection of containers knows the container, not just its pod
	number int    // the restart count; where the name is not known, counts the lives under this identity
	image  string // empty where it is not known
	labels map[string]string
	// deletion is when its pod was asked to go away; zero: nobody said so.
	deletion time.Time
}

// identity is whose history it is.
type identity struct {
	namespace, pod, uid, container, containerID string
}

func (id identity) String() string { return id.namespace + "/" + id.pod + "/" + id.container }

// lives is the identity that all lives of a container have in common.
func (id identity) lives() identity {
	id.containerID = ""
	return id
}

// unknown stands for a name that is not known yet. It is never guessed.
const unknown = "unknown"

// who is what is known of the instance's container at present.
func (i *instance) who() *known { return i.known.Load() }

// knownOf is what the collection says of a container; nil if not even its pod is known. A
// container without a name is called by its ID, cut short.
func knownOf(c *containers.Container) *known {
	if c.Namespace == "" || c.Pod == "" || c.Kind == containers.KindSandbox {
		return nil
	}
	return &known{
		identity: identity{namespace: c.Namespace, pod: c.Pod, uid: c.PodUID, container: cmp.Or(c.Name, shortID(c.ID)), containerID: c.ID},
		named:    c.Name != "",
		number:   c.RestartCount,
		image:    c.Image,
		labels:   c.Labels,
		deletion: c.Deletion,
	}
}

// shortID is a container's ID as people write it.
func shortID(id string) string { return id[:min(12, len(id))] }

func (k *known) equal(o *known) bool {
	return k.identity == o.identity && k.named == o.named && k.number == o.number && k.image == o.image && k.deletion.Equal(o.deletion) && maps.Equal(k.labels, o.labels)
}

// fill puts what is known into a history's metadata.
func (k *known) fill(m *ringstore.Meta) {
	m.Namespace, m.Pod, m.PodUID = k.namespace, k.pod, k.uid
	m.Container, m.ContainerID = k.container, k.containerID
	m.Instance, m.Image, m.Labels = k.number, k.image, k.labels
	if !k.deletion.IsZero() {
		at := k.deletion.UTC()
		m.Deletion = &at
	}
}

// introduce tells the collection of a ring's container. What the collection knows of it
// already is the answer; nil: not enough.
func (r *Recorder) introduce(i *instance) *known {
	w := i.who()
	if r.cfg.Containers == nil || w.containerID == "" || w.uid == "" {
		return nil
	}
	r.cfg.Containers.Update(w.containerID, func(c *containers.Container) {
		if c.PodUID == "" {
			c.PodUID = w.uid
		}
		c.Cgroup, c.CgroupID = r.relative(i), i.cgroupID
	})
	c, ok := r.cfg.Containers.Get(w.containerID)
	if !ok {
		return nil
	}
	return knownOf(&c)
}

// ended tells the collection that a container's cgroup is gone.
func (r *Recorder) ended(i *instance) {
	if w := i.who(); r.cfg.Containers != nil && w.containerID != "" && w.uid != "" && !i.ended.Swap(true) {
		r.cfg.Containers.Exit(w.containerID, nil)
	}
}

// followNames takes in what the collection learns until ctx is done.
func (r *Recorder) followNames(ctx context.Context) {
	for ev := range r.cfg.Containers.Events(ctx, containers.Selector{Exited: true}) {
		r.learn(&ev.Container)
	}
}

// learn names the instances and the snapshots of a container, and lets go of sandboxes:
// they hold a pod's namespaces open, and sleep.
func (r *Recorder) learn(c *containers.Container) {
	if c.Kind == containers.KindSandbox {
		for _, i := range r.all() {
			if i.who().containerID != c.ID {
				continue
			}
			if err := r.release(i); err != nil {
				r.log.Error("freeing the ring of a sandbox", "container", i.String(), "err", err)
			}
		}
		return
	}
	k := knownOf(c)
	if k == nil {
		return
	}
	for _, i := range r.all() {
		if w := i.who(); w.containerID == c.ID && !w.equal(k) && (k.named || !w.named) {
			r.rename(i, k)
		}
	}
	r.nameSnapshots(k)
}

// rename gives an instance what is known of it now.
func (r *Recorder) rename(i *instance, k *known) {
	old := i.known.Swap(k)
	r.names.changed.Store(true)
	if !old.named {
		r.log.Debug("named", "container", i.String(), "was", old.String(), "ring", i.ring)
	}
}

// nameSnapshots names the snapshots that were saved before the container's name was known.
func (r *Recorder) nameSnapshots(k *known) {
	for _, old := range r.store.unnamed(k) {
		snap, err := r.store.rename(old.ID, k)
		if err != nil {
			r.log.Error("naming a snapshot", "id", old.ID, "container", k.String(), "err", err)
			continue
		}
		r.log.Info("named a snapshot", "id", old.ID, "container", k.String())
		if old.Namespace == unknown {
			r.announce(snap)
		}
	}
}

// announce tells of a snapshot, once its pod is known: then who can be told.
func (r *Recorder) announce(s api.Snapshot) {
	if r.cfg.OnSnapshot != nil && s.Namespace != unknown {
		r.cfg.OnSnapshot(s)
	}
}

// isSandbox tells whether a directory is the cgroup of something that is not recorded: a
// sandbox, or the program that watches over a container for its runtime.
func (r *Recorder) isSandbox(dir string) bool {
	name := filepath.Base(dir)
	if strings.HasPrefix(name, "crio-conmon-") {
		return true
	}
	id := identify(filepath.Base(filepath.Dir(dir)), name)
	if id.uid == "" || r.cfg.Containers == nil {
		return false
	}
	c, ok := r.cfg.Containers.Get(id.containerID)
	return ok && c.Kind == containers.KindSandbox
}

// podGone tells whether the cgroup of the instance's pod is gone; true where it is no pod's,
// or was gone before it was found.
func (i *instance) podGone() bool {
	if i.dir == "" || i.who().uid == "" {
		return true
	}
	_, err := os.Stat(filepath.Dir(i.dir))
	return errors.Is(err, os.ErrNotExist)
}

// forgetLives forgets the numbering of a container that nothing is left of. Called with
// mu held.
func (r *Recorder) forgetLives(id identity) {
	id = id.lives()
	for _, i := range r.instances {
		if i.who().lives() == id {
			return
		}
	}
	if !slices.ContainsFunc(r.store.list(), func(s api.Snapshot) bool { return owner(&s) == id }) {
		delete(r.numbers, id)
	}
}

// goneFor is how long ago the instance's cgroup was removed; negative: it is there.
func (r *Recorder) goneFor(i *instance) time.Duration {
	gone := atomic.LoadUint64(&r.k.control(i.ring).Gone)
	if gone == 0 {
		return -1
	}
	return time.Duration(monotonic() - int64(gone))
}

// namesFile, in the state directory, keeps the names of what is in the rings for the next
// service: of a container that ended long ago, nobody else may know them then.
const namesFile = "names.json"

// names is what was read from that file, and whether it is to be written.
type names struct {
	read    map[string]*known // by container ID
	changed atomic.Bool
	failed  string // why it could not be written
}

// A savedName is a known in the file.
type savedName struct {
	Namespace   string            `json:"namespace"`
	Pod         string            `json:"pod"`
	UID         string            `json:"uid"`
	Container   string            `json:"container"`
	ContainerID string            `json:"containerID"`
	Instance    int               `json:"instance"`
	Image       string            `json:"image,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
}

// loadNames reads the file. Without it, names come as if from nothing.
func (r *Recorder) loadNames() {
	if r.store.dir == "" {
		return
	}
	data, err := os.ReadFile(filepath.Join(r.store.dir, namesFile))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var saved []savedName
	if err == nil {
		err = json.Unmarshal(data, &saved)
	}
	if err != nil {
		r.log.Warn("the names that the last service knew cannot be read; those of containers that are gone stay unknown", "file", namesFile, "err", err)
		return
	}
	r.names.read = map[string]*known{}
	for _, s := range saved {
		r.names.read[s.ContainerID] = &known{
			identity: identity{namespace: s.Namespace, pod: s.Pod, uid: s.UID, container: s.Container, containerID: s.ContainerID},
			named:    true, number: s.Instance, image: s.Image, labels: s.Labels,
		}
	}
}

// saveNames writes the file if something changed since. Only the recorder's loop uses it.
func (r *Recorder) saveNames() {
	if r.store.dir == "" || !r.names.changed.Swap(false) {
		return
	}
	saved := []savedName{}
	for _, i := range r.all() {
		if k := i.who(); k.named && k.containerID != "" {
			saved = append(saved, savedName{k.namespace, k.pod, k.uid, k.container, k.containerID, k.number, k.image, k.labels})
		}
	}
	data, err := json.Marshal(saved)
	if err == nil {
		err = renameio.WriteFile(filepath.Join(r.store.dir, namesFile), data, 0o600, renameio.WithTempDir(r.store.dir))
	}
	failed := ""
	if err != nil {
		failed = err.Error()
		r.names.changed.Store(true)
		if failed != r.names.failed {
			r.log.Warn("the names of containers cannot be kept for the next service", "file", namesFile, "err", err)
		}
	}
	r.names.failed = failed
}
