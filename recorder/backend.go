package recorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/decode"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/verdict"
)

// all returns the present instances, ordered by name, pod and time of arming.
func (r *Recorder) all() []*instance {
	r.mu.Lock()
	list := slices.Collect(maps.Values(r.instances))
	r.mu.Unlock()
	sort.Slice(list, func(a, b int) bool {
		x, y := list[a].who(), list[b].who()
		return cmp.Or(cmp.Compare(x.namespace, y.namespace), cmp.Compare(x.pod, y.pod), cmp.Compare(x.uid, y.uid),
			cmp.Compare(x.container, y.container), cmp.Compare(list[a].life, list[b].life)) < 0
	})
	return list
}

// refresh takes in rings that were armed since the loop last looked.
func (r *Recorder) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ring := range r.k.shape.Rings {
		if r.k.rings != nil && atomic.LoadUint64(&r.k.control(ring).Life) != 0 {
			r.adoptRing(ring, "")
		}
	}
}

// alive runs f while the instance's ring cannot be freed. False: it was freed.
func (i *instance) alive(f func()) bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if i.freed {
		return false
	}
	f()
	return true
}

// Pods implements api.Backend.
func (r *Recorder) Pods(context.Context) ([]api.Pod, error) {
	r.refresh()
	var pods []api.Pod
	offset := r.wallOffset()
	for _, i := range r.all() {
		var c api.Container
		var err error
		if !i.alive(func() { c, err = r.container(i, offset) }) {
			continue
		}
		if err != nil {
			return nil, err
		}
		w := i.who()
		if n := len(pods); n > 0 && pods[n-1].Namespace == w.namespace && pods[n-1].Name == w.pod && pods[n-1].UID == w.uid {
			pods[n-1].Containers = append(pods[n-1].Containers, c)
			pods[n-1].Labels = w.labels // as the newest of them has it
			continue
		}
		pods = append(pods, api.Pod{
			Namespace: w.namespace, Name: w.pod, UID: w.uid, Labels: w.labels,
			Containers: []api.Container{c},
		})
	}
	return pods, nil
}

// container describes an instance. Called while it is alive.
func (r *Recorder) container(i *instance, offset int64) (api.Container, error) {
	ring, err := ringstore.NewRing(r.k.ring(i.ring), r.k.shape)
	if err != nil {
		return api.Container{}, err
	}
	stat := ring.Stat(monotonic)
	at := func(ns int64) time.Time {
		if ns == 0 {
			return time.Time{}
		}
		return time.Unix(0, ns+offset).UTC()
	}
	w, c := i.who(), r.k.control(i.ring)
	return api.Container{
		Name: w.container, ID: w.containerID, Image: w.image, Instance: w.number,
		Cgroup: r.relative(i), State: i.state(c),
		Ring: api.Ring{
			Bytes:       int64(r.k.shape.Bytes),
			Records:     stat.Records(),
			Overwritten: stat.TotalOverwritten(),
			Lost:        stat.Lost,
			Oldest:      at(stat.Oldest), Newest: at(stat.Newest), CompleteSince: at(stat.CompleteSince),
			Late: atomic.LoadUint32(&c.Late) != 0, Gaps: int(atomic.LoadUint32(&c.Gaps)),
			IOUring:       atomic.LoadUint32(&r.k.control(i.ring).Flags)&layout.RingFlagUsesUring != 0,
			IOUringUnseen: !r.k.uring.sees(),
		},
	}, nil
}

// find returns the instances that a selector names: the newest of each container, if it
// names no instance. Of pods that had one name after the other it is the newest; the
// others can be named by their UID.
func (r *Recorder) find(sel api.Selector) ([]*instance, error) {
	r.refresh()
	var pod *instance // the newest of those that the selector names
	all := r.all()
	for _, i := range all {
		w := i.who()
		if w.namespace != sel.Namespace || w.pod != sel.Pod && (w.uid == "" || w.uid != sel.Pod) {
			continue
		}
		if pod == nil || i.life > pod.life {
			pod = i
		}
	}
	newest := map[string]*instance{}
	for _, i := range all {
		w := i.who()
		if pod == nil || w.namespace != sel.Namespace || w.pod != pod.who().pod || w.uid != pod.who().uid {
			continue
		}
		if sel.Container != "" && w.container != sel.Container || sel.Instance != nil && w.number != *sel.Instance {
			continue
		}
		newest[w.container] = i // all() is ordered by life
	}
	list := slices.Collect(maps.Values(newest))
	sort.Slice(list, func(a, b int) bool { return list[a].who().container < list[b].who().container })
	switch {
	case pod == nil:
		return nil, api.Errorf(api.CodeNotFound, "no pod %s/%s is recorded", sel.Namespace, sel.Pod).
			WithHint("swoll-dump list shows the recorded ones")
	case len(list) == 0:
		var what []string
		if sel.Container != "" {
			what = append(what, "container "+sel.Container)
		}
		if sel.Instance != nil {
			what = append(what, fmt.Sprintf("instance %d", *sel.Instance))
		}
		return nil, api.Errorf(api.CodeNotFound, "pod %s/%s has no %s", sel.Namespace, sel.Pod, strings.Join(what, ", ")).
			WithHint("swoll-dump list shows the recorded ones")
	}
	return list, nil
}

// copyRings copies the rings of several instances as of one instant.
func (r *Recorder) copyRings(list []*instance) (metas []*ringstore.Meta, images []*ringstore.Image, err error) {
	// The order counts: calls that end between these two have a record by the time that
	// the ring is copied. A ring that was overwritten meanwhile takes an instant and a
	// list of its own: at the common one, nothing of it is left.
	// What processes have open is listed before: what they do after the instant is not
	// known.
	open := r.openFiles()
	instant := monotonic()
	shared := sync.OnceValues(r.k.running)
	for _, i := range list {
		tries := 0
		now := func() int64 {
			if tries++; tries > 1 {
				return monotonic()
			}
			return instant
		}
		running := func() ([]ringstore.Running, error) {
			if tries > 1 {
				return r.k.running()
			}
			return shared()
		}
		var img *ringstore.Image
		var meta *ringstore.Meta
		ok := i.alive(func() {
			var ring *ringstore.Ring
			if ring, err = ringstore.NewRing(r.k.ring(i.ring), r.k.shape); err == nil {
				meta = r.meta(i)
				img, err = ring.Copy(now, running)
			}
		})
		if err != nil {
			return nil, nil, fmt.Errorf("copying the ring of %s: %w", i, err)
		}
		if ok {
			meta.Peers = r.peers(img)
			i.addFiles(img, open[i.life])
			r.redact(meta, img)
			metas, images = append(metas, meta), append(images, img)
		}
	}
	if len(images) == 0 {
		return nil, nil, api.Errorf(api.CodeNotFound, "the history was just freed")
	}
	return metas, images, nil
}

// redact masks secrets in what was copied from a ring, before anybody sees it.
func (r *Recorder) redact(meta *ringstore.Meta, img *ringstore.Image) {
	if n := img.Redact(r.cfg.Secrets.Mask); n > 0 {
		meta.Notes = append(meta.Notes, fmt.Sprintf("%d secrets, by what they look like, are masked with asterisks", n))
	}
}

// histories are those of several instances as of one instant. They stream, until done is
// called.
func (r *Recorder) histories(ctx context.Context, list []*instance) (_ []*ringstore.History, done func(), err error) {
	if done, err = r.turns.take(ctx, uint64(len(list))*uint64(r.k.shape.Bytes)); err != nil {
		return nil, nil, err
	}
	metas, images, err := r.copyRings(list)
	if err != nil {
		done()
		return nil, nil, err
	}
	hs := make([]*ringstore.History, len(images))
	for n, img := range images {
		hs[n], _ = img.Stream(*metas[n])
	}
	return hs, done, nil
}

// filterOf is what decode calls a query. Names that no call has are an error: the answer
// would be empty, and read as "it made no such call".
func filterOf(q api.DumpQuery) (decode.Filter, error) {
	for _, name := range q.Syscalls {
		if !decode.KnownCall(goarch, name) {
			return decode.Filter{}, api.Errorf(api.CodeBadRequest, "no system call is named %q", name)
		}
	}
	return decode.Filter{Since: q.Since, Last: q.Last, Syscalls: q.Syscalls, Errors: q.Errors, PID: q.PID, All: q.All, FDs: q.FDs, Split: q.Split, NoHeader: q.NoHeader}, nil
}

// Dump implements api.Backend.
func (r *Recorder) Dump(ctx context.Context, sel api.Selector, q api.DumpQuery, w io.Writer) error {
	list, err := r.find(sel)
	if err != nil {
		return err
	}
	return r.dump(ctx, list, q, w)
}

func (r *Recorder) dump(ctx context.Context, list []*instance, q api.DumpQuery, w io.Writer) error {
	filter, err := filterOf(q)
	if err != nil {
		return err
	}
	hs, done, err := r.histories(ctx, list)
	if err != nil {
		return err
	}
	defer done()
	return decode.Write(w, q.Format, hs, filter)
}

// DumpNode implements api.Backend. One ring is copied at a time: all of them at once might
// be more than the service may hold.
func (r *Recorder) DumpNode(ctx context.Context, q api.DumpQuery, w io.Writer) error {
	filter, err := filterOf(q)
	if err != nil {
		return err
	}
	r.refresh()
	list := r.all()
	var line *decode.TimeLine
	if q.Format == decode.Perfetto {
		oldest, err := r.oldest(list)
		if err != nil {
			return err
		}
		from := oldest
		if q.Since > 0 {
			from = monotonic() + r.wallOffset() - int64(q.Since)
		}
		line = decode.NewTimeLine(w, filter, oldest, from)
	}
	done, err := r.turns.take(ctx, uint64(r.k.shape.Bytes))
	if err != nil {
		return err
	}
	defer done()
	for _, i := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		metas, images, err := r.copyRings([]*instance{i})
		if errors.Is(err, api.ErrNotFound) {
			continue // it was freed meanwhile
		}
		if err != nil {
			return err
		}
		h, _ := images[0].Stream(*metas[0])
		if line != nil {
			err = line.Add(h)
		} else {
			err = decode.Write(w, q.Format, []*ringstore.History{h}, filter)
		}
		if err != nil {
			return err
		}
		r.turns.giveBack(uint64(r.k.shape.Bytes))
	}
	if line != nil {
		return line.Close()
	}
	return nil
}

// oldest is when the oldest record of all instances began, Unix ns; without any, now.
func (r *Recorder) oldest(list []*instance) (int64, error) {
	oldest := monotonic()
	for _, i := range list {
		var err error
		i.alive(func() {
			var ring *ringstore.Ring
			if ring, err = ringstore.NewRing(r.k.ring(i.ring), r.k.shape); err == nil {
				if stat := ring.Stat(monotonic); stat.Oldest != 0 {
					oldest = min(oldest, stat.Oldest)
				}
			}
		})
		if err != nil {
			return 0, err
		}
	}
	return oldest + r.wallOffset(), nil
}

// DumpCgroup implements api.Backend.
func (r *Recorder) DumpCgroup(ctx context.Context, path string, q api.DumpQuery, w io.Writer) error {
	r.refresh()
	want := strings.Trim(path, "/")
	var found *instance
	for _, i := range r.all() {
		rel := strings.Trim(r.relative(i), "/")
		if want != "" && (rel == want || strings.HasSuffix(rel, "/"+want) || i.dir != "" && strings.Trim(i.dir, "/") == want) {
			found = i
		}
	}
	if found == nil {
		return api.Errorf(api.CodeNotFound, "no recorded cgroup ends in %q", path).WithHint("swoll-dump list -o wide shows the recorded ones")
	}
	return r.dump(ctx, []*instance{found}, q, w)
}

// Freeze implements api.Backend.
func (r *Recorder) Freeze(_ context.Context, sel *api.Selector) (int, error) {
	return r.each(sel, func(i *instance) bool {
		c := r.k.control(i.ring)
		if atomic.LoadUint32(&c.Flags)&(layout.RingFlagFrozen|layout.RingFlagDying) != 0 {
			return false
		}
		return r.freeze(c)
	})
}

func (r *Recorder) freeze(c *layout.Ring) bool {
	atomic.StoreUint64(&c.Frozen, uint64(monotonic()))
	return atomic.OrUint32(&c.Flags, layout.RingFlagFrozen)&layout.RingFlagFrozen == 0
}

// Thaw implements api.Backend. A ring that a death froze is thawed by the recorder
// itself, once its snapshot is saved.
func (r *Recorder) Thaw(_ context.Context, sel *api.Selector) (int, error) {
	return r.each(sel, func(i *instance) bool {
		c := r.k.control(i.ring)
		if atomic.LoadUint64(&c.Death.Ready) != 0 {
			return false
		}
		return r.thaw(i, c)
	})
}

func (r *Recorder) thaw(i *instance, c *layout.Ring) bool {
	if atomic.LoadUint32(&c.Flags)&layout.RingFlagFrozen == 0 {
		return false
	}
	i.gap(c, atomic.LoadUint64(&c.Frozen), func() { atomic.AndUint32(&c.Flags, ^uint32(layout.RingFlagFrozen)) })
	return true
}

// each applies f to the selected instances, or to all, and counts where it is true.
func (r *Recorder) each(sel *api.Selector, f func(*instance) bool) (int, error) {
	var list []*instance
	if sel == nil {
		r.refresh()
		list = r.all()
	} else {
		var err error
		if list, err = r.find(*sel); err != nil {
			return 0, err
		}
	}
	n := 0
	for _, i := range list {
		i.alive(func() {
			if f(i) {
				n++
			}
		})
	}
	return n, nil
}

// Snapshot implements api.Backend.
func (r *Recorder) Snapshot(_ context.Context, sel api.Selector, reason string) ([]api.Snapshot, error) {
	list, err := r.find(sel)
	if err != nil {
		return nil, err
	}
	var snaps []api.Snapshot
	for _, i := range list {
		s, err := r.save(i, api.TriggerManual, reason, false)
		if err != nil {
			return nil, err
		}
		snaps = append(snaps, s)
	}
	return snaps, nil
}

// deathTriggers name what froze a ring.
var deathTriggers = map[uint32]string{
	layout.DeathKindSignal: api.TriggerSignal,
	layout.DeathKindOOM:    api.TriggerOOM,
	layout.DeathKindExit:   api.TriggerExit,
}

// save writes a snapshot of an instance. For a manual one the ring is frozen meanwhile.
func (r *Recorder) save(i *instance, trigger, reason string, death bool) (api.Snapshot, error) {
	var meta *ringstore.Meta
	var img *ringstore.Image
	var err error
	// Consent is not withdrawn between the copy and its file.
	i.saving.RLock()
	saved := sync.OnceFunc(i.saving.RUnlock)
	defer saved()
	defer r.turns.giveBack(uint64(r.k.shape.Bytes)) // a death waits for nobody's turn
	// A death says itself what its process had open; what is listed after it counts for
	// nothing.
	var open map[uint64]*ringstore.FileList
	if !death {
		open = r.openFiles()
	}
	ok := i.alive(func() {
		c := r.k.control(i.ring)
		if death {
			// Whatever its last thread still does: this is what the snapshot holds.
			atomic.OrUint32(&c.Flags, layout.RingFlagFrozen)
		} else if atomic.LoadUint32(&c.Flags)&(layout.RingFlagFrozen|layout.RingFlagDying) == 0 && r.freeze(c) {
			// The copy is taken in well under a millisecond; then recording goes on. Where
			// somebody was refused meanwhile, that is a gap.
			from, refused := atomic.LoadUint64(&c.Frozen), r.refused(i)
			defer func() {
				atomic.AndUint32(&c.Flags, ^uint32(layout.RingFlagFrozen))
				if r.refused(i) != refused {
					i.gap(c, from, func() {})
				}
			}()
		}
		var ring *ringstore.Ring
		if ring, err = ringstore.NewRing(r.k.ring(i.ring), r.k.shape); err != nil {
			return
		}
		meta = r.meta(i)
		meta.Deleted = death && byDeletion(&c.Death, i.who())
		img, err = ring.Copy(monotonic, r.k.running)
		if err == nil {
			i.addFiles(img, open[i.life])
		}
		if !death && err == nil {
			meta.State = api.StateFrozen
		}
	})
	if err != nil {
		return api.Snapshot{}, fmt.Errorf("copying the ring of %s: %w", i, err)
	}
	if !ok {
		return api.Snapshot{}, api.Errorf(api.CodeNotFound, "the history of %s was just freed", i)
	}
	meta.Trigger, meta.Reason = trigger, reason
	meta.Peers = r.peers(img)
	r.redact(meta, img)
	snap, err := r.store.save(meta, img)
	saved()
	if err != nil {
		if errors.Is(err, errNoStore) {
			return snap, api.Errorf(api.CodeUnavailable, "%w", err).WithHint("start swolld with --state-dir")
		}
		return snap, err
	}
	r.metrics.saved(trigger)
	if snap.Namespace != unknown {
		r.announce(snap)
	}
	if w := i.who(); w.namespace != unknown && w.uid != "" {
		r.nameSnapshots(w) // it may have got its name while the snapshot was written
	}
	return snap, nil
}

// refused is how many records an instance's ring has refused so far, since it was frozen.
func (r *Recorder) refused(i *instance) (n uint64) {
	for slot := range r.k.shape.Slots {
		n += atomic.LoadUint64(&r.k.slot(i.ring, slot).Lost[layout.LostFrozen])
	}
	return n
}

// peers names the containers that signals came from, of those that are recorded here.
func (r *Recorder) peers(img *ringstore.Image) []ringstore.Peer {
	ids := img.Senders()
	if len(ids) == 0 {
		return nil
	}
	r.refresh() // the sender's container may be younger than the loop's last look
	all := r.all()
	var peers []ringstore.Peer
	for _, id := range ids {
		var arm layout.Arm
		below := r.k.maps["cgroups"].Lookup(id, &arm) == nil
		for _, i := range all {
			if i.cgroupID == id || below && i.ring == arm.Ring && i.life == arm.Life {
				w := i.who()
				peers = append(peers, ringstore.Peer{Cgroup: id, Namespace: w.namespace, Pod: w.pod, Container: w.container})
				break
			}
		}
	}
	return peers
}

// Snapshots implements api.Backend.
func (r *Recorder) Snapshots(context.Context) ([]api.Snapshot, error) { return r.store.list(), nil }

// SnapshotByID implements api.Backend.
func (r *Recorder) SnapshotByID(_ context.Context, id string) (api.Snapshot, error) {
	return r.store.get(id)
}

// SnapshotDump implements api.Backend.
func (r *Recorder) SnapshotDump(ctx context.Context, id string, q api.DumpQuery, w io.Writer) error {
	filter, err := filterOf(q)
	if err != nil {
		return err
	}
	snap, done, err := r.readSnapshot(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	return verdict.Show(w, q.Format, snap, filter)
}

// readSnapshot reads a snapshot of the store when it is its turn, until done is called.
func (r *Recorder) readSnapshot(ctx context.Context, id string) (snap *ringstore.Snapshot, done func(), err error) {
	bytes, err := r.store.ringBytes(id)
	if err != nil {
		return nil, nil, err
	}
	if done, err = r.turns.take(ctx, bytes); err != nil {
		return nil, nil, err
	}
	if snap, err = r.store.read(id); err != nil {
		done()
		return nil, nil, err
	}
	return snap, done, nil
}

// Explain implements api.Backend.
func (r *Recorder) Explain(ctx context.Context, id, format string, w io.Writer) error {
	snap, done, err := r.readSnapshot(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	h, events := snap.Stream()
	return verdict.Write(w, format, verdict.Explain(h, events), h)
}

// ExplainPod implements api.Backend. How a container died is in the snapshot of its newest
// death; its ring may have gone on since, or be another life's.
func (r *Recorder) ExplainPod(ctx context.Context, sel api.Selector, format string, w io.Writer) error {
	list, err := r.find(sel)
	if err != nil {
		return r.explainGone(ctx, sel, format, w, err)
	}
	var died []string
	for _, i := range list {
		if id := r.store.newestOf(i.who().identity, sel.Instance); id != "" {
			died = append(died, id)
		}
	}
	if format == "json" && len(list) > 1 && len(died) != 1 {
		names := make([]string, len(list))
		for n, i := range list {
			names[n] = i.who().container
		}
		return api.Errorf(api.CodeBadRequest, "pod %s/%s has several containers: %s", sel.Namespace, sel.Pod, strings.Join(names, ", ")).
			WithHint("name one of them")
	}
	if len(died) > 0 {
		return r.explainAll(ctx, died, format, w)
	}
	hs, done, err := r.histories(ctx, list)
	if err != nil {
		return err
	}
	defer done()
	for _, h := range hs {
		if err := verdict.Write(w, format, verdict.ExplainHistory(h), h); err != nil {
			return err
		}
	}
	return nil
}

func (r *Recorder) explainAll(ctx context.Context, ids []string, format string, w io.Writer) error {
	for _, id := range ids {
		if err := r.Explain(ctx, id, format, w); err != nil {
			return err
		}
	}
	return nil
}

// explainGone explains a pod whose rings are gone by its snapshots; notFound: there are none.
func (r *Recorder) explainGone(ctx context.Context, sel api.Selector, format string, w io.Writer, notFound error) error {
	newest := map[string]string{} // by container
	var uid string
	snaps := r.store.list()
	slices.Reverse(snaps)
	for i := range snaps {
		s := &snaps[i]
		if s.Namespace != sel.Namespace || s.Pod != sel.Pod && (s.UID == "" || s.UID != sel.Pod) || s.Trigger == api.TriggerManual ||
			sel.Container != "" && s.Container != sel.Container || sel.Instance != nil && s.Instance != *sel.Instance {
			continue
		}
		if len(newest) == 0 {
			uid = s.UID
		}
		if s.UID == uid && newest[s.Container] == "" {
			newest[s.Container] = s.ID
		}
	}
	if len(newest) == 0 || format == "json" && len(newest) > 1 {
		return notFound
	}
	return r.explainAll(ctx, slices.Sorted(maps.Values(newest)), format, w)
}

// SnapshotFile implements api.Backend.
func (r *Recorder) SnapshotFile(_ context.Context, id string) (io.ReadSeekCloser, api.Snapshot, error) {
	return r.store.open(id)
}

// DeleteSnapshot implements api.Backend.
func (r *Recorder) DeleteSnapshot(_ context.Context, id string) error { return r.store.remove(id) }

// Record implements api.Backend.
func (r *Recorder) Record(_ context.Context, cgroup, name string) (api.Pod, error) {
	dir, err := filepath.EvalSymlinks(cgroup)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return api.Pod{}, api.Errorf(api.CodeNotFound, "cgroup %s does not exist", cgroup)
		}
		return api.Pod{}, api.Errorf(api.CodeBadRequest, "cgroup %s: %w", cgroup, err)
	}
	mounted, err := mountedHierarchies()
	if err != nil {
		return api.Pod{}, err
	}
	h, err := hierarchyOf(dir, mounted)
	if err != nil {
		return api.Pod{}, api.Errorf(api.CodeBadRequest, "%w", err)
	}
	if h.id != r.h.id {
		return api.Pod{}, api.Errorf(api.CodeConflict, "cgroup %s is in hierarchy %s, and this service records by %s", cgroup, h, r.h).
			WithHint("give the cgroup's path below %s", r.h.mount)
	}
	if dir == h.mount {
		return api.Pod{}, api.Errorf(api.CodeBadRequest, "%s is the root of all cgroups; give one below it", cgroup)
	}
	if name == "" {
		name = filepath.Base(dir)
	}
	if len(name) > layout.SizesName-1 || strings.ContainsAny(name, "/\x00") {
		return api.Pod{}, api.Errorf(api.CodeBadRequest, "name %q: must have no slash, and at most %d bytes", name, layout.SizesName-1)
	}
	if _, err := r.find(api.Selector{Namespace: api.HostNamespace, Pod: name}); err == nil && !r.allGone(name) {
		return api.Pod{}, api.Errorf(api.CodeConflict, "the name %s is taken", name).WithHint("give another --name, or swoll-dump forget %s", name)
	}
	r.consents.mu.Lock()
	err = r.arm(dir, name)
	r.consents.mu.Unlock()
	if err != nil {
		switch {
		case errors.Is(err, errNoConsent):
			return api.Pod{}, api.Errorf(api.CodeConflict, "cgroup %s: %w", cgroup, err).
				WithHint("remove the annotation swoll.dev/record from the pod")
		case errors.Is(err, errRecorded):
			return api.Pod{}, api.Errorf(api.CodeConflict, "cgroup %s: %w", cgroup, err)
		case errors.Is(err, errNoRing):
			return api.Pod{}, api.Errorf(api.CodeUnavailable, "cgroup %s: %w", cgroup, err).WithHint("raise swolld's --memory, or forget others")
		}
		return api.Pod{}, err
	}
	pods, err := r.Pods(context.Background())
	if err != nil {
		return api.Pod{}, err
	}
	for _, p := range pods {
		if p.Namespace == api.HostNamespace && p.Name == name {
			return p, nil
		}
	}
	return api.Pod{}, api.Errorf(api.CodeNotFound, "%s was removed meanwhile", name)
}

// allGone tells whether no living cgroup has a name.
func (r *Recorder) allGone(name string) bool {
	for _, i := range r.all() {
		if i.who().namespace == api.HostNamespace && i.who().pod == name &&
			atomic.LoadUint64(&r.k.control(i.ring).Gone) == 0 {
			return false
		}
	}
	return true
}

// Forget implements api.Backend. It also frees what containers left that are gone.
func (r *Recorder) Forget(_ context.Context, name string) error {
	r.refresh()
	var found, watched bool
	for _, i := range r.all() {
		if i.who().namespace != api.HostNamespace || i.who().pod != name {
			continue
		}
		found = true
		if !i.byHand && atomic.LoadUint64(&r.k.control(i.ring).Gone) == 0 {
			watched = true
			continue
		}
		if err := r.release(i); err != nil {
			return err
		}
	}
	switch {
	case !found:
		return api.Errorf(api.CodeNotFound, "no recording is named %s", name).WithHint("swoll-dump list shows the recorded ones")
	case watched:
		return api.Errorf(api.CodeConflict, "%s is recorded because it is below a watched cgroup", name).
			WithHint("only recordings made by hand can be forgotten")
	}
	return nil
}

// Version implements api.Backend.
func (r *Recorder) Version() api.Version {
	v := api.BuildVersion()
	v.Kernel, v.Node = r.kernelRelease, r.cfg.NodeName
	return v
}

// Ready implements api.Backend.
func (r *Recorder) Ready() error {
	if p := r.failure.Load(); p != nil {
		return *p
	}
	return nil
}
