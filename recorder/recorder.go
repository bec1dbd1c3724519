package recorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/verdict"
)

const goarch = runtime.GOARCH

const (
	// tick is how often the loop looks at all rings though nothing told it to.
	tick = time.Second
	// deathWait is how long a snapshot waits for the last thread of a dying process,
	// which may be writing its core.
	deathWait = 700 * time.Millisecond
	// stackTick is how often it is looked whether the stack of a death was taken.
	stackTick = time.Millisecond
	// saveTries is how often saving is tried before a ring with living tasks goes on.
	saveTries = 3
	// keepNewest instances of a container are freed last, like its first.
	keepNewest = 3
)

// A Recorder records the containers of one node. Make one with New; it serves as soon as
// it is made, and saves snapshots of deaths while Run runs.
type Recorder struct {
	listed time.Time // when what processes have open was listed last; only the loop uses it

	cfg           Config
	log           *slog.Logger
	h             hierarchy
	roots         []watchRoot
	k             *kernel
	store         *store
	kernelRelease string
	metrics       *metrics

	mu        sync.Mutex
	instances map[uint32]*instance // by ring
	numbers   map[identity]int     // next instance number, of cgroups that are no pod's
	carried   map[uint64]int       // numbers of lives that an older recorder has rings of, by cgroup
	limits    limits
	deletions limits // of deaths by deletion, for each namespace
	names     names
	consents  consents
	turns     turns
	unwinding atomic.Int32          // stacks whose files are being read
	leftOut   atomic.Bool           // a container that runs found no free ring
	failure   atomic.Pointer[error] // why nothing is recorded
	offset    atomic.Int64          // see wallOffset
}

var _ api.Backend = (*Recorder)(nil)

// New loads the kernel side, or adopts what an earlier Recorder pinned, and begins to
// record. The error is one line that says what is missing and what to try. The caller
// closes the Recorder.
func New(ctx context.Context, cfg Config) (*Recorder, error) {
	if err := checkCapabilities(); err != nil {
		return nil, err // before anything is touched that another service may hold
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	roots, h, err := chooseRoots(cfg.WatchCgroups)
	if err != nil {
		return nil, err
	}
	st, err := openStore(cfg.StateDir, cfg.SnapshotMaxBytes, cfg.SnapshotKeep, cfg.Logger)
	if err != nil {
		return nil, err
	}
	k, err := openKernel(cfg, h)
	if err != nil {
		st.close()
		return nil, err
	}
	r := &Recorder{
		cfg: cfg, log: cfg.Logger, h: h, roots: roots, k: k, store: st,
		kernelRelease: kernelRelease(),
		instances:     map[uint32]*instance{},
		numbers:       map[identity]int{},
		carried:       map[uint64]int{},
		limits:        limits{perHour: cfg.SnapshotsPerHour},
		deletions:     limits{perHour: max(1, cfg.SnapshotsPerHour/deletionsShare)},
		turns:         newTurns(),
	}
	for _, s := range st.list() {
		if id := owner(&s); id.uid == "" {
			r.numbers[id] = max(r.numbers[id], s.Instance+1)
		}
	}
	r.metrics = newMetrics(r)
	r.loadNames()
	if err := r.start(); err != nil {
		k.close()
		st.close()
		return nil, err
	}
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(r.metrics); err != nil {
			k.close()
			st.close()
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	r.log.Info("recording", "hierarchy", h.String(), "watched", len(roots), "rings", k.shape.Rings,
		"ringBytes", k.shape.Bytes, "adopted", k.adopted)
	return r, nil
}

// start takes stock of what is pinned, watches the roots, and records the containers that
// are there already.
func (r *Recorder) start() error {
	if r.k.adopted {
		if err := r.recoverPool(); err != nil {
			return err
		}
	}
	if err := r.loadConsents(); err != nil {
		return err
	}
	inherited := r.inherit()
	if err := r.watchAbove(); err != nil {
		return err
	}
	for _, root := range r.roots {
		if err := r.watchRoot(root); err != nil {
			return err
		}
	}
	// Before any death is looked at: it may be in an older ring as well.
	if err := r.replacePredecessors(inherited); err != nil {
		return err
	}
	r.reconcile()
	if r.k.dataOff {
		if err := r.wipeData(); err != nil {
			return fmt.Errorf("taking data buffers out of the rings, as --data-limit is 0 now: %w", err)
		}
	}
	if n := atomic.LoadUint64(&r.k.nodeState().Unarmed); n > 0 {
		r.log.Warn("containers found no free ring since the recorder was loaded, and are not recorded, or not from their start. Try: more --memory, or a smaller --ring-size", "containers", n)
	}
	return r.finishConsents()
}

// watchAbove lets the kernel side watch kubepods from the moment that the kubelet makes it,
// so that the first containers of a node are there from their first call, too.
func (r *Recorder) watchAbove() error {
	if len(r.cfg.WatchCgroups) > 0 {
		return nil
	}
	for _, dir := range aboveKubepods {
		id, err := cgroupID(filepath.Join(r.h.mount, dir))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = r.k.watch(id, layout.Watch{Depth: 1, Kubepods: layout.WatchKubepodsAbove})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// watchRoots takes in containers that run and are not recorded.
func (r *Recorder) watchRoots() {
	r.mu.Lock()
	roots := r.roots
	r.mu.Unlock()
	r.consents.mu.Lock()
	defer r.consents.mu.Unlock()
	for _, root := range roots {
		if err := r.watchRoot(root); err != nil {
			r.log.Error("watching cgroups", "cgroup", root.dir, "err", err)
		}
	}
}

// watchRoot watches a root, and what is below it down to the containers.
func (r *Recorder) watchRoot(root watchRoot) error {
	if !root.kubepods {
		return r.watchDir(root.dir, layout.Watch{Depth: 1})
	}
	return r.watchDir(root.dir, layout.Watch{Depth: 2, Kubepods: layout.WatchKubepodsKubepods})
}

func (r *Recorder) watchDir(dir string, w layout.Watch) error {
	id, err := cgroupID(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	consent := r.consentIn(dir)
	if w.Depth == 1 {
		if consent.NoRecord {
			return r.k.unwatch(id)
		}
		w.Consent = consent.flags()
	}
	if err := r.k.watch(id, w); err != nil {
		return err
	}
	names, err := children(dir)
	if err != nil {
		return fmt.Errorf("listing cgroup %s: %w", dir, err)
	}
	for _, name := range names {
		child := filepath.Join(dir, name)
		if w.Depth > 1 {
			below := layout.Watch{Depth: w.Depth - 1, Kubepods: w.Kubepods}
			if w.Kubepods != 0 && isQoSDir(name) {
				below.Depth = w.Depth
			}
			if err := r.watchDir(child, below); err != nil {
				return err
			}
			continue
		}
		if r.isSandbox(child) {
			continue
		}
		err := r.arm(child, "")
		if errors.Is(err, errNoRing) && r.leftOut.Swap(true) {
			continue // said already
		}
		if err != nil && !errors.Is(err, errRecorded) && !errors.Is(err, errNoConsent) {
			r.log.Warn("a container that runs already is not recorded", "cgroup", child, "err", err)
		}
	}
	return nil
}

// Why a cgroup cannot be given a ring.
var (
	errRecorded = errors.New("it is recorded already")
	errNoRing   = errors.New("no ring is free")
)

// arm gives a ring to a cgroup that exists, and to all below it. A name is given where
// it is recorded by hand. Called with consents.mu held, or before anybody else knows the
// Recorder.
func (r *Recorder) arm(dir, name string) error {
	id, err := cgroupID(dir)
	if err != nil {
		return err
	}
	var arm layout.Arm
	if err := r.k.maps["cgroups"].Lookup(id, &arm); err == nil {
		return errRecorded
	}
	consent := r.consentIn(dir)
	if consent.NoRecord {
		return errNoConsent
	}
	ring, ok, err := r.k.take()
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: all %d are in use", errNoRing, r.k.shape.Rings)
	}
	byHand := name != ""
	if !byHand {
		name = filepath.Base(dir)
	}
	c := r.k.control(ring)
	c.Index = ring
	c.Cgroup = id
	c.Armed = uint64(monotonic())
	c.LimitData, c.LimitString = uint32(max(r.cfg.DataLimit, 0)), uint32(r.cfg.StringLimit)
	if consent.NoPayload {
		c.Flags = layout.RingFlagNoPayload
	}
	c.Payload = uint32(consent.Payload)
	copy(c.Name[:len(c.Name)-1], name)
	copy(c.Parent[:len(c.Parent)-1], filepath.Base(filepath.Dir(dir)))
	if pid := firstProcess(dir); pid != 0 {
		c.First, c.FirstBy = pid, layout.FirstExec
	}
	life := atomic.AddUint64(&r.k.nodeState().Life, 1)
	atomic.StoreUint64(&c.Life, life)
	entered, err := r.k.enter(id, layout.Arm{Ring: ring, Own: 1, Life: life})
	if err == nil && !entered {
		err = errRecorded
	}
	if err != nil {
		return errors.Join(err, r.k.free(ring))
	}
	if err := r.enterBelow(dir, layout.Arm{Ring: ring, Life: life}); err != nil {
		r.log.Warn("a cgroup below a recorded one is left out", "cgroup", dir, "err", err)
	}
	r.k.invalidate()

	if populated(dir) {
		c.Late = 1
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.adoptRing(ring, dir)
	i.byHand = byHand
	if populated(dir) {
		i.keepFiles(r.openFiles()[life])
	}
	return nil
}

// enterBelow enters all cgroups below a recorded one. Those that are made meanwhile are
// entered by the kernel side, since their parent is.
func (r *Recorder) enterBelow(dir string, arm layout.Arm) error {
	names, err := children(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		child := filepath.Join(dir, name)
		id, err := cgroupID(child)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			_, err = r.k.enter(id, arm)
		}
		if err == nil {
			err = r.enterBelow(child, arm)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recoverPool finds the rings that an earlier service lost: taken from the pool and not
// yet used, or freed and not yet returned.
func (r *Recorder) recoverPool() error {
	pooled := map[uint32]bool{}
	for {
		ring, ok, err := r.k.take()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		pooled[ring] = true
	}
	var lost []uint32
	for i := range r.k.shape.Rings {
		if pooled[i] {
			if err := r.k.maps["pool"].Update(nil, i, 0); err != nil {
				return fmt.Errorf("returning ring %d to the pool: %w", i, err)
			}
		} else if atomic.LoadUint64(&r.k.control(i).Life) == 0 {
			lost = append(lost, i)
		}
	}
	if lost == nil {
		return nil
	}
	// The kernel side may just be arming one of them; it is done when this returns.
	if err := waitForPrograms(); err != nil {
		return err
	}
	for _, i := range lost {
		if atomic.LoadUint64(&r.k.control(i).Life) == 0 {
			if err := r.k.free(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// Run reads the kernel side's alerts, saves snapshots of deaths, and retires rings, until
// ctx is done. It returns nil then, or what ended it.
func (r *Recorder) Run(ctx context.Context) error {
	alerts, err := ringbuf.NewReader(r.k.maps["alerts"])
	if err != nil {
		return fmt.Errorf("reading alerts: %w", err)
	}
	defer alerts.Close()
	stop := context.AfterFunc(ctx, func() { _ = alerts.Close() })
	defer stop()
	defer r.saveNames()
	if r.cfg.Containers != nil {
		named := make(chan struct{})
		following, cancel := context.WithCancel(ctx)
		go func() {
			defer close(named)
			r.followNames(following)
		}()
		defer func() { cancel(); <-named }()
	}
	var rec ringbuf.Record
	next := time.Now()
	for ctx.Err() == nil {
		alerts.SetDeadline(next)
		err := alerts.ReadInto(&rec)
		switch {
		case errors.Is(err, ringbuf.ErrClosed):
			return nil
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("reading alerts: %w", err)
		}
		// An alert is only a hint: what there is to do stands in the rings.
		next = time.Now().Add(r.reconcile())
	}
	return nil
}

// Close lets go of the kernel side. What is pinned goes on recording.
func (r *Recorder) Close() error {
	r.consents.mu.Lock()
	defer r.consents.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cfg.Registerer != nil {
		r.cfg.Registerer.Unregister(r.metrics)
	}
	for _, i := range r.instances {
		i.mu.Lock()
		i.freed = true
		i.mu.Unlock()
	}
	clear(r.instances)
	err := error(api.Errorf(api.CodeUnavailable, "the service is stopping"))
	r.failure.Store(&err)
	r.k.close()
	r.store.close()
	return nil
}

// adoptRing makes an instance of an armed ring. Called with mu held.
func (r *Recorder) adoptRing(ring uint32, dir string) *instance {
	if i := r.instances[ring]; i != nil {
		return i
	}
	c := r.k.control(ring)
	i := newInstance(ring, c)
	if i.dir = dir; dir == "" {
		i.dir, i.byHand = findCgroup(r.h, r.roots, c)
	}
	r.instances[ring] = i
	r.nameInstance(i, c, r.introduce(i))
	return i
}

// nameInstance gives an instance its name and number, as far as they are known: named is
// what the collection of containers says of it; nil: nothing. Called with mu held.
func (r *Recorder) nameInstance(i *instance, c *layout.Ring, named *known) {
	k := i.who()
	if named == nil || !named.named {
		named = cmp.Or(r.names.read[k.containerID], named)
	}
	if named != nil && named.uid == k.uid {
		i.known.Store(named)
		r.names.changed.Store(true)
		return
	}
	if k.uid != "" {
		return
	}
	// What the node itself runs: its lives are counted by name.
	if c.Number == 0 {
		number, ok := r.carried[i.cgroupID]
		if !ok {
			number, ok = r.store.numberOf(origin{cgroup: c.Cgroup, armed: int64(c.Armed)})
		}
		if !ok {
			number = r.numbers[k.lives()]
		}
		c.Number = uint32(number) + 1 // for the next service
	}
	k.number = int(c.Number - 1)
	r.numbers[k.lives()] = max(r.numbers[k.lives()], k.number+1)
}

// reconcile looks at all rings and does what they call for. It returns when to look
// again at the latest.
func (r *Recorder) reconcile() time.Duration {
	wait := tick
	r.mu.Lock()
	type armed struct {
		ring uint32
		life uint64
	}
	var found []armed
	for ring := range r.k.shape.Rings {
		life := atomic.LoadUint64(&r.k.control(ring).Life)
		if life != 0 && r.instances[ring] == nil {
			found = append(found, armed{ring, life})
		}
	}
	sort.Slice(found, func(a, b int) bool { return found[a].life < found[b].life })
	for _, f := range found {
		i := r.adoptRing(f.ring, "")
		c := r.k.control(f.ring)
		var arm layout.Arm
		if c.Gone == 0 && r.k.maps["cgroups"].Lookup(c.Cgroup, &arm) != nil {
			// Retired half-way by a service that died.
			atomic.CompareAndSwapUint64(&c.Gone, 0, uint64(monotonic()))
		}
		r.log.Debug("armed", "container", i.String(), "ring", f.ring, "cgroup", i.cgroupID)
	}
	all := make([]*instance, 0, len(r.instances))
	for _, i := range r.instances {
		all = append(all, i)
	}
	r.mu.Unlock()

	r.listFiles(all, time.Now())
	for _, i := range all {
		if atomic.LoadUint64(&r.k.control(i.ring).Gone) != 0 {
			r.ended(i)
		}
		if d := r.attend(i); d < wait {
			wait = d
		}
	}
	r.retire()
	r.saveNames()
	r.forgetConsents(time.Now())
	if len(r.cfg.WatchCgroups) == 0 {
		// The kernel side watches what is new already; findCgroup wants to know it, too.
		if roots := kubepodsIn(r.h); roots != nil && !slices.Equal(roots, r.roots) {
			r.log.Info("kubepods appeared", "cgroup", roots[len(roots)-1].dir)
			r.mu.Lock()
			r.roots = roots
			r.mu.Unlock()
			r.watchRoots()
		}
	}
	return wait
}

// attend deals with a death that a ring tells of. It returns when to look again.
func (r *Recorder) attend(i *instance) time.Duration {
	c := r.k.control(i.ring)
	if atomic.LoadUint64(&c.Death.Ready) == 0 || c.Death.Time == i.handled.Load() {
		return tick
	}
	// The container's files may be gone any moment. What is not going to be saved is not
	// worth the work.
	if !r.limits.exhausted(i.who().identity, time.Now()) && !r.unwindDeath(i) {
		return stackTick
	}
	if atomic.LoadUint64(&c.Death.Done) == 0 {
		if left := deathWait - time.Duration(monotonic()-int64(c.Death.Time)); left > 0 {
			return left
		}
	}
	if left := time.Until(i.retry); left > 0 {
		return left
	}
	if r.store.has(origin{cgroup: c.Cgroup, armed: int64(c.Armed), death: int64(c.Death.Time)}) {
		r.dealtWith(i) // by a service that died before it could say so
		return tick
	}
	if w := i.who(); !w.named && w.uid != "" && r.cfg.Containers != nil {
		if left := nameWait - time.Duration(monotonic()-int64(c.Death.Time)); left > 0 {
			return min(left, nameWait/10)
		}
	}
	trigger := deathTriggers[c.Death.Kind]
	if byDeletion(&c.Death, i.who()) {
		// Each of them is another pod: so they are counted together.
		if w := i.who(); i.tries == 0 && !r.deletions.allow(identity{namespace: w.namespace}, time.Now()) {
			r.metrics.saveLimited()
			r.log.Info("no snapshot of a deletion: there were enough in the last hour", "container", i.String(), "limit", r.deletions.perHour)
			i.note("it was ended since its pod was being deleted; of that no snapshot was saved")
			r.dealtWith(i)
			return tick
		}
	} else if i.tries == 0 && !r.limits.allow(i.who().identity, time.Now()) {
		r.metrics.saveLimited()
		r.log.Warn("no snapshot of a death: the container died too often in the last hour", "container", i.String(), "limit", r.cfg.SnapshotsPerHour)
		i.note(fmt.Sprintf("of a death at %s no snapshot was saved: it was the container's %dth in an hour", time.Now().UTC().Format(time.RFC3339), r.cfg.SnapshotsPerHour+1))
		r.dealtWith(i)
		return tick
	}
	snap, err := r.save(i, trigger, "", true)
	if err != nil {
		i.tries++
		i.retry = time.Now().Add(time.Duration(i.tries) * time.Second)
		r.metrics.saveFailed()
		r.log.Error("saving the snapshot of a death", "container", i.String(), "try", i.tries, "err", err)
		if i.tries < saveTries || !populated(i.dir) && i.tries < 10*saveTries {
			return tick
		}
		i.note(fmt.Sprintf("the snapshot of a death at %s could not be saved: %v", time.Now().UTC().Format(time.RFC3339), err))
	} else {
		r.log.Info("saved the snapshot of a death", "id", snap.ID, "container", i.String(), "reason", snap.Reason)
	}
	r.dealtWith(i)
	return tick
}

// deletionsShare is of how many deaths saved in an hour one may be a deletion.
const deletionsShare = 10

// byDeletion tells that a container runtime ended a container by a signal, while its pod
// was known to be being deleted. So the kubelet ends what has no handler for SIGTERM, or
// does not end in time; it does the same when a probe failed, but then the pod stays.
func byDeletion(d *layout.Death, k *known) bool {
	const sigKILL, sigTERM = 9, 15
	return !k.deletion.IsZero() && d.Kind == layout.DeathKindSignal && d.Flags&layout.DeathFlagFirst != 0 &&
		(d.Signal == sigKILL || d.Signal == sigTERM) &&
		d.Sender.Known == layout.SenderKnownProcess && verdict.IsRuntime(cString(d.Sender.Comm[:]))
}

// dealtWith notes that nothing more is to be done about a death; what lives on in the
// cgroup is recorded again.
func (r *Recorder) dealtWith(i *instance) {
	c := r.k.control(i.ring)
	i.saving.RLock() // not while consent is being withdrawn
	r.k.wipeStack(i.ring)
	i.saving.RUnlock()
	i.handled.Store(c.Death.Time)
	atomic.StoreUint64(&c.Handled, c.Death.Time) // for the next service
	i.tries, i.retry = 0, time.Time{}
	if atomic.LoadUint64(&c.Gone) == 0 {
		r.resume(i)
	}
}

// resume lets a ring that a death froze record again: what lives in the cgroup, or comes
// to live there.
func (r *Recorder) resume(i *instance) {
	i.saving.RLock() // not while consent is being withdrawn
	defer i.saving.RUnlock()
	c := r.k.control(i.ring)
	from := c.Frozen
	c.First, c.FirstBy = 0, 0
	if pid := firstProcess(i.dir); pid != 0 {
		c.First, c.FirstBy = pid, layout.FirstExec
	}
	if atomic.LoadUint64(&c.Death.Done) == 0 {
		atomic.StoreUint32(&c.Mourned, c.Death.TGID)
		if atomic.LoadUint64(&c.Death.Done) != 0 {
			atomic.CompareAndSwapUint32(&c.Mourned, c.Death.TGID, 0) // its last thread went just now
		}
	}
	c.Death = layout.Death{}
	i.gap(c, from, func() {
		atomic.StoreUint64(&c.Frozen, 0)
		atomic.AndUint32(&c.Flags, ^uint32(layout.RingFlagFrozen|layout.RingFlagDying))
	})
}

// retire frees rings of containers that are gone: those that have been for KeepExited,
// and as many more as the pool needs.
func (r *Recorder) retire() {
	r.mu.Lock()
	free := int(r.k.shape.Rings) - len(r.instances)
	reserve := max(1, min(32, int(r.k.shape.Rings)/4))
	candidates := r.retirable()
	r.mu.Unlock()
	for _, c := range candidates {
		i := c.instance
		if free >= reserve && (r.goneFor(i) < r.cfg.KeepExited || c.wanted && !i.podGone()) {
			continue
		}
		if err := r.release(i); err != nil {
			r.log.Error("freeing a ring", "container", i.String(), "err", err)
			continue
		}
		r.log.Debug("freed the ring of a container that is gone", "container", i.String())
		free++
	}
	if free > 0 && r.leftOut.Swap(false) {
		r.watchRoots()
	}
}

// A retiree is an instance whose container is gone. Wanted are the first and the newest
// ones of each container: they tell how a crash loop began, and where it is.
type retiree struct {
	*instance
	wanted bool
}

// retirable lists the instances whose containers are gone, the least wanted first. Called
// with mu held.
func (r *Recorder) retirable() []retiree {
	lives := map[identity][]*instance{}
	for _, i := range r.instances {
		id := i.who().lives()
		lives[id] = append(lives[id], i)
	}
	var list []retiree
	for _, l := range lives {
		sort.Slice(l, func(a, b int) bool { return l[a].life < l[b].life })
		for n, i := range l {
			c := r.k.control(i.ring)
			if atomic.LoadUint64(&c.Gone) == 0 {
				continue
			}
			if atomic.LoadUint64(&c.Death.Ready) != 0 && c.Death.Time != i.handled.Load() {
				continue // its snapshot comes first
			}
			list = append(list, retiree{i, n == 0 || n >= len(l)-keepNewest})
		}
	}
	sort.Slice(list, func(a, b int) bool {
		if list[a].wanted != list[b].wanted {
			return !list[a].wanted
		}
		return list[a].life < list[b].life
	})
	return list
}

// release ends the recording of an instance and frees its ring. It may be called more
// than once, and by several at a time.
func (r *Recorder) release(i *instance) error {
	i.leaving.Lock()
	defer i.leaving.Unlock()
	if !i.alive(func() {}) {
		return nil
	}
	if err := r.k.leave(i.ring, i.life); err != nil {
		return err
	}
	i.mu.Lock()
	i.freed = true
	i.mu.Unlock()
	r.mu.Lock()
	// At once: a ring with a life and without an instance is taken for one that was just armed.
	atomic.StoreUint64(&r.k.control(i.ring).Life, 0)
	delete(r.instances, i.ring)
	r.names.changed.Store(true)
	r.forgetLives(i.who().identity)
	r.mu.Unlock()
	return r.k.free(i.ring)
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
