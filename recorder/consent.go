package recorder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// A pod's consent is kept in a map of the kernel side, under the names that the pod's
// cgroup may have: so it holds before the cgroup is made, from the first call of its
// first container, and while no service runs. Only the service writes that map; what is
// recorded already when consent is withdrawn is the service's business, too.

// Consent is what a pod does not consent to. The zero value is a pod that consents to all.
type Consent struct {
	NoRecord  bool // its containers are not recorded
	NoPayload bool // the bytes of data buffers, such as those of read and write, stay out
	// Payload is how many bytes of a data buffer it consents to, beside other limits; 0: it
	// sets no limit.
	Payload uint16
}

// with is what two pods consent to.
func (c Consent) with(other Consent) Consent {
	least := other.Payload
	if least == 0 || c.Payload != 0 && c.Payload < least {
		least = c.Payload
	}
	return Consent{NoRecord: c.NoRecord || other.NoRecord, NoPayload: c.NoPayload || other.NoPayload, Payload: least}
}

// payload is how many bytes of a data buffer a ring may have.
func (c Consent) payload() int {
	switch {
	case c.NoPayload:
		return 0
	case c.Payload != 0:
		return min(int(c.Payload), layout.SizesMaxLimit)
	}
	return layout.SizesMaxLimit
}

func (c Consent) flags() uint32 {
	f := uint32(c.Payload) << layout.ConsentPayload
	if c.NoRecord {
		f |= layout.ConsentNoRecord
	}
	if c.NoPayload {
		f |= layout.ConsentNoPayload
	}
	return f
}

func consentOfFlags(f uint32) Consent {
	return Consent{
		NoRecord: f&layout.ConsentNoRecord != 0, NoPayload: f&layout.ConsentNoPayload != 0,
		Payload: uint16(f >> layout.ConsentPayload & layout.ConsentMost),
	}
}

// consentPending marks, in the kernel's map, a consent that is not applied yet to what is
// recorded already. The kernel side takes no notice of it.
const consentPending = 1 << 31

const (
	// keepConsent is how long a consent is kept of a pod that has no cgroup: it has not
	// been made yet, or is gone.
	keepConsent = time.Hour
	// lookForPods is how often the service looks which pods have one.
	lookForPods = time.Minute
	maxPodUID   = 64
)

// consents are those of all pods that do not consent to all.
type consents struct {
	// mu is held while consent changes, and while something is armed that the kernel side
	// does not arm: so none is armed that a pod has just withdrawn its consent to. It comes
	// before all other locks.
	mu     sync.Mutex
	of     map[string]*podConsent // by the pod's UID
	looked time.Time
}

type podConsent struct {
	Consent
	pending bool
	names   []string  // of the pod's cgroup
	missing time.Time // since when it has no cgroup; zero: it has one
}

// errNoConsent is why a cgroup is not recorded.
var errNoConsent = errors.New("its pod's consent to be recorded is withdrawn")

// podCgroups lists the names that a pod's cgroup may have: with the cgroupfs driver, and
// with systemd's for each QoS class, which in kind has a prefix.
func podCgroups(uid string) []string {
	names := []string{"pod" + uid}
	escaped := strings.ReplaceAll(uid, "-", "_")
	for _, root := range []string{"kubepods", "kubelet-kubepods"} {
		for _, qos := range []string{"", "-burstable", "-besteffort"} {
			names = append(names, root+qos+"-pod"+escaped+".slice")
		}
	}
	return names
}

// SetConsent says what a pod, given by its UID, does not consent to. When it returns, all
// of that is done: with NoRecord, none of the pod's containers is recorded, and their
// rings are zeroed and free; with NoPayload, no byte of a data buffer is left in their
// rings; with Payload, nothing of a data buffer of which there was more. All hold for containers that come later, whether or not the pod has a cgroup
// yet, and as long as the kernel side is loaded: also while no service runs. What is given
// back is recorded again from now on. Snapshots that were saved before stay.
//
// A pod that never has a cgroup is forgotten after an hour. After an error what is
// recorded is not known to be right, and SetConsent can be called again. To call it with
// what holds already costs nothing.
func (r *Recorder) SetConsent(podUID string, c Consent) error {
	if podUID == "" || len(podUID) > maxPodUID || strings.ContainsAny(podUID, "/\x00") || podUID == "." || podUID == ".." {
		return fmt.Errorf("consent of pod %q: that is no pod's UID", podUID)
	}
	r.consents.mu.Lock()
	defer r.consents.mu.Unlock()
	if err := r.Ready(); err != nil {
		return err
	}
	p := r.consents.of[podUID]
	switch {
	case p == nil && c == Consent{}, p != nil && !p.pending && p.Consent == c:
		return nil
	case p == nil:
		p = &podConsent{names: podCgroups(podUID), missing: time.Now()}
		if r.consents.of == nil {
			r.consents.of = map[string]*podConsent{}
		}
		r.consents.of[podUID] = p
	}
	if err := r.applyConsent(podUID, p, c); err != nil {
		return fmt.Errorf("changing what pod %s consents to: %w. Try: the same again", podUID, err)
	}
	r.log.Info("consent changed", "pod", podUID, "record", !c.NoRecord, "payloadBytes", c.payload())
	return nil
}

// applyConsent makes a pod's consent what it is to be. Called with consents.mu held.
func (r *Recorder) applyConsent(uid string, p *podConsent, c Consent) error {
	lifted, again := p.NoRecord && !c.NoRecord, p.pending
	p.Consent, p.pending = c, true
	if err := r.k.setConsent(p.names, c.flags()|consentPending); err != nil {
		return err
	}
	dirs, err := r.watchPod(p.names, c)
	if err != nil {
		return err
	}
	r.refresh()
	var concerned []*instance
	for _, i := range r.all() {
		if r.concerns(i, p.names) {
			concerned = append(concerned, i)
		}
	}
	if c.NoRecord {
		err = r.releaseAll(concerned)
	} else {
		err = r.applyPayload(concerned, again)
	}
	if err != nil {
		return err
	}
	if lifted {
		for _, dir := range dirs {
			if err := r.watchDir(dir, layout.Watch{Depth: 1, Kubepods: layout.WatchKubepodsKubepods}); err != nil {
				return err
			}
		}
	}
	if c == (Consent{}) {
		delete(r.consents.of, uid)
	} else {
		p.pending = false
	}
	return r.k.setConsent(p.names, c.flags())
}

// watchPod lets the containers of a pod that are made from now on be recorded as it
// consents to, by what the consent map says already. It returns the directories of the
// pod's cgroup. No program that saw something else is running by then.
func (r *Recorder) watchPod(names []string, c Consent) (dirs []string, err error) {
	for again := true; again; {
		again = dirs == nil
		dirs = r.podDirs(names)
		for _, dir := range dirs {
			changed, err := r.watchPodDir(dir, c)
			if err != nil {
				return nil, err
			}
			again = again || changed
		}
		if dirs == nil {
			dirs = []string{}
		}
		// A program that looked the pod up before, as its cgroup was being made, enters
		// that only now: so look again.
		if again {
			if err := waitForPrograms(); err != nil {
				return nil, err
			}
		}
	}
	return dirs, nil
}

// watchPodDir is watchPod for one directory. It tells whether something else held.
func (r *Recorder) watchPodDir(dir string, c Consent) (changed bool, err error) {
	id, err := cgroupID(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var is layout.Watch
	want := layout.Watch{Depth: 1, Kubepods: layout.WatchKubepodsKubepods, Consent: c.flags()}
	watched := r.k.maps["watches"].Lookup(id, &is) == nil
	switch {
	case c.NoRecord:
		return watched, r.k.unwatch(id)
	case watched && is == want:
		return false, nil
	}
	return true, r.k.watch(id, want)
}

// releaseAll frees the rings of several instances.
func (r *Recorder) releaseAll(list []*instance) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for n, i := range list {
		if r.abovePods(i.dir) {
			r.log.Warn("ending a recording by hand: a pod below it does not consent to be recorded", "cgroup", i.dir)
		}
		wg.Go(func() {
			// A snapshot in the making is saved before, or not at all.
			i.saving.Lock()
			defer i.saving.Unlock()
			errs[n] = r.release(i)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// applyPayload lets as many bytes of data buffers into the rings of those instances as their
// pods consent to, and takes what is more out of them; of what may be more than before, only
// if it is done again, since it may not have been done whole.
func (r *Recorder) applyPayload(list []*instance, again bool) error {
	var less []scrubbing
	for _, i := range list {
		to := r.payloadOf(i)
		i.alive(func() {
			c := r.k.control(i.ring)
			is := Consent{NoPayload: atomic.LoadUint32(&c.Flags)&layout.RingFlagNoPayload != 0, Payload: uint16(atomic.LoadUint32(&c.Payload))}
			if to.payload() < is.payload() || again && to.payload() < layout.SizesMaxLimit {
				less = append(less, scrubbing{instance: i, c: c, most: to.payload()})
			}
			if to.payload() == 0 {
				atomic.OrUint32(&c.Flags, layout.RingFlagNoPayload)
			}
			atomic.StoreUint32(&c.Payload, uint32(to.Payload))
			if !to.NoPayload {
				atomic.AndUint32(&c.Flags, ^uint32(layout.RingFlagNoPayload))
			}
		})
	}
	return r.scrub(less)
}

// A scrubbing takes what is too long of data buffers out of a ring.
type scrubbing struct {
	*instance
	c    *layout.Ring
	most int    // bytes of a data buffer
	from uint64 // when it was frozen; 0: it was already
	ours bool   // nobody else had frozen it
}

// wipeData takes all data buffers out of all rings.
func (r *Recorder) wipeData() error {
	var all []scrubbing
	for _, i := range r.all() {
		i.alive(func() { all = append(all, scrubbing{instance: i, c: r.k.control(i.ring)}) })
	}
	return r.scrub(all)
}

func (r *Recorder) scrub(less []scrubbing) error {
	var scrub []scrubbing
	for _, s := range less {
		// Nobody copies, saves, freezes or thaws the ring until its old bytes are gone.
		i := s.instance
		i.saving.Lock()
		defer i.saving.Unlock()
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.freed {
			continue
		}
		if atomic.LoadUint32(&s.c.Flags)&(layout.RingFlagFrozen|layout.RingFlagDying) == 0 {
			s.from = uint64(monotonic())
			s.ours = r.freeze(s.c)
		} else {
			// Its time is that of the death.
			s.ours = atomic.OrUint32(&s.c.Flags, layout.RingFlagFrozen)&layout.RingFlagFrozen == 0
		}
		scrub = append(scrub, s)
	}
	// Each task looks again at what it may read, and who writes is done writing.
	r.k.invalidate()
	var err error
	if len(scrub) > 0 {
		err = waitForPrograms()
	}
	for _, s := range scrub {
		if err == nil {
			var ring *ringstore.Ring
			if ring, err = ringstore.NewRing(r.k.ring(s.ring), r.k.shape); err == nil {
				n := ring.Scrub(func(c ringstore.CaptureOf) bool { return c.Len > s.most && isPayload(c) })
				r.k.wipeStack(s.ring)
				s.stack.Store(nil)
				r.log.Debug("took the bytes of data buffers out", "container", s.String(), "captures", n)
			}
		}
		if s.ours {
			thaw := func() { atomic.AndUint32(&s.c.Flags, ^uint32(layout.RingFlagFrozen)) }
			if s.from != 0 && atomic.LoadUint32(&s.c.Flags)&layout.RingFlagDying == 0 {
				s.gap(s.c, s.from, thaw)
			} else {
				thaw()
			}
		}
	}
	return err
}

// isPayload tells whether a capture holds the bytes of a data buffer: what the kernel side
// leaves out where payloads are off.
func isPayload(c ringstore.CaptureOf) bool {
	abi := c.ABI
	if abi == ringstore.ABIX32 {
		abi = ringstore.ABINative // the kernel side has no table of its own for it
	}
	table := syscalls.Table(goarch, abi)
	if int(c.Nr) >= len(table) || table[c.Nr] == nil {
		return true
	}
	call, nth := table[c.Nr], c.Nth
	at := func(rule *syscalls.Rule) bool {
		return int(rule.Arg) == c.Arg && rule.Flags&syscalls.AtExit != 0 == (c.Status&ringstore.CaptureExit != 0)
	}
	payload := func(rule *syscalls.Rule) bool {
		return rule.Flags&(syscalls.Data|layout.CaptureRuleFlagEnviron) != 0
	}
	if call.Select != nil {
		// Which form of the call it was is not asked: what may be payload is.
		found := false
		rules := slices.Clone(call.Rules)
		for i := range call.Variants {
			rules = append(rules, call.Variants[i].Rules...)
		}
		for i := range rules {
			if at(&rules[i]) {
				found = true
				if payload(&rules[i]) {
					return true
				}
			}
		}
		return !found
	}
	for i := range call.Rules {
		if !at(&call.Rules[i]) {
			continue
		}
		if nth--; nth < 0 {
			return payload(&call.Rules[i])
		}
	}
	return true
}

// podDirs lists the directories of a pod's cgroup, given by its names, below what is
// watched.
func (r *Recorder) podDirs(names []string) []string {
	r.mu.Lock()
	roots := r.roots
	r.mu.Unlock()
	var dirs []string
	for _, root := range roots {
		parents := []string{root.dir}
		below, _ := children(root.dir)
		for _, name := range below {
			if isQoSDir(name) {
				parents = append(parents, filepath.Join(root.dir, name))
			}
		}
		if slices.Contains(names, filepath.Base(root.dir)) {
			dirs = append(dirs, root.dir)
		}
		for _, parent := range parents {
			for _, name := range names {
				dir := filepath.Join(parent, name)
				if _, err := os.Stat(dir); err == nil {
					dirs = append(dirs, dir)
				}
			}
		}
	}
	return dirs
}

// abovePods tells whether pods are below a directory: what it records, they make.
func (r *Recorder) abovePods(dir string) bool {
	if dir == "" {
		return false
	}
	r.mu.Lock()
	roots := r.roots
	r.mu.Unlock()
	for _, root := range roots {
		if root.kubepods && (dir == root.dir || strings.HasPrefix(root.dir, dir+"/") ||
			filepath.Dir(dir) == root.dir && isQoSDir(filepath.Base(dir))) {
			return true
		}
	}
	return false
}

// within tells whether a directory is that of a pod's cgroup, given by its names, or below.
func within(dir string, names []string) bool {
	for part := range strings.SplitSeq(dir, "/") {
		if slices.Contains(names, part) {
			return true
		}
	}
	return false
}

// concerns tells whether an instance records what a pod does.
func (r *Recorder) concerns(i *instance, names []string) bool {
	found := false
	i.alive(func() {
		c := r.k.control(i.ring)
		found = slices.Contains(names, cString(c.Parent[:])) || slices.Contains(names, cString(c.Name[:]))
	})
	return found || within(i.dir, names) || r.abovePods(i.dir)
}

// payloadOf is what the pods that an instance records consent to of payloads.
func (r *Recorder) payloadOf(i *instance) Consent {
	var c Consent
	for _, p := range r.consents.of {
		if r.concerns(i, p.names) {
			c = c.with(p.Consent)
		}
	}
	return c
}

// consentIn is what the pods that a directory belongs to, or that are below it, do not
// consent to. Called with consents.mu held, or before anybody else knows the Recorder.
func (r *Recorder) consentIn(dir string) Consent {
	var c Consent
	for _, p := range r.consents.of {
		if within(dir, p.names) || r.abovePods(dir) {
			c = c.with(p.Consent)
		}
	}
	return c
}

// loadConsents takes over what an earlier service was told.
func (r *Recorder) loadConsents() error {
	r.consents.of = map[string]*podConsent{}
	var key layout.CgroupName
	var flags uint32
	it := r.k.maps["consents"].Iterate()
	for it.Next(&key, &flags) {
		// Of its names, this one has the UID as it is.
		uid, ok := strings.CutPrefix(cString(key.Name[:]), "pod")
		if !ok {
			continue
		}
		r.consents.of[uid] = &podConsent{
			Consent: consentOfFlags(flags), pending: flags&consentPending != 0, names: podCgroups(uid), missing: time.Now(),
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("reading what pods consent to: %w", err)
	}
	return nil
}

// finishConsents does what an earlier service was about to do when it died.
func (r *Recorder) finishConsents() error {
	for uid, p := range r.consents.of {
		if !p.pending {
			continue
		}
		if err := r.applyConsent(uid, p, p.Consent); err != nil {
			return fmt.Errorf("changing what pod %s consents to: %w", uid, err)
		}
	}
	return nil
}

// forgetConsents forgets, once in a while, those of pods that have had no cgroup for long.
func (r *Recorder) forgetConsents(now time.Time) {
	r.consents.mu.Lock()
	defer r.consents.mu.Unlock()
	if now.Sub(r.consents.looked) < lookForPods {
		return
	}
	r.consents.looked = now
	for uid, p := range r.consents.of {
		switch {
		case len(r.podDirs(p.names)) > 0:
			p.missing = time.Time{}
		case p.missing.IsZero():
			p.missing = now
		case now.Sub(p.missing) > keepConsent && !p.pending:
			if err := r.k.setConsent(p.names, 0); err != nil {
				r.log.Error("forgetting the consent of a pod that is gone", "pod", uid, "err", err)
				continue
			}
			delete(r.consents.of, uid)
		}
	}
}

// setConsent enters what is not consented to under all names of a pod's cgroup. The first
// name is entered first and removed last: it is the one that is read at start.
func (k *kernel) setConsent(names []string, flags uint32) error {
	for n := range names {
		if flags == 0 {
			n = len(names) - 1 - n
		}
		var key layout.CgroupName
		if len(names[n]) >= len(key.Name) {
			return fmt.Errorf("cgroup name %s is too long", names[n])
		}
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&key.Name[0])), len(key.Name)), names[n])
		var err error
		if flags != 0 {
			err = k.maps["consents"].Update(key, flags, ebpf.UpdateAny)
		} else if err = k.maps["consents"].Delete(key); errors.Is(err, ebpf.ErrKeyNotExist) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("telling the kernel side of %s: %w", names[n], err)
		}
	}
	return nil
}

// unwatch lets no cgroup that is made below the one with this id be a container.
func (k *kernel) unwatch(id uint64) error {
	if err := k.maps["watches"].Delete(id); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("no longer watching cgroup %d: %w", id, err)
	}
	return nil
}
