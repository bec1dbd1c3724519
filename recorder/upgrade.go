package recorder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// A service that finds the pinned recorder of an older layout attaches its own beside it,
// arms the containers that run, saves what the old rings hold as snapshots, and only then
// removes the old recorder: see "Upgrade" in ARCHITECTURE.md.

// succeed puts an own kernel side in the place of that of an older layout, which becomes a
// predecessor and records on.
func (k *kernel) succeed(cfg Config, h hierarchy) error {
	if err := k.openPredecessor(pinsCurrent); err != nil {
		return err // before anything is touched
	}
	old := k.predecessors[len(k.predecessors)-1]
	if err := k.build(cfg, h); err != nil {
		return err
	}
	if err := k.pin(); err != nil {
		return err
	}
	if err := k.exchange(); err != nil {
		return errors.Join(err, k.putAway(pinsNew))
	}
	name := fmt.Sprint(pinsOld, old.shape.Layout)
	if err := os.Rename(k.sub(pinsNew), k.sub(name)); err != nil {
		return fmt.Errorf("putting the pins of the older recorder aside: %w", err)
	}
	old.pinDir = k.sub(name)
	k.log.Info("the pinned recorder has an older layout: another one records beside it, and what it holds is saved", "layout", old.shape.Layout, "own", layout.SizesLayout)
	return nil
}

// inheritConsents tells the kernel side what an older one knew of pods' consent.
func (k *kernel) inheritConsents(old *kernel) error {
	var key layout.CgroupName
	var flags uint32
	it := old.maps["consents"].Iterate()
	for it.Next(&key, &flags) {
		if err := k.maps["consents"].Update(key, flags, ebpf.UpdateAny); err != nil {
			return fmt.Errorf("taking over what pods consent to: %w", err)
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("taking over what pods consent to: %w", err)
	}
	return nil
}

// A legacy is what one ring of a predecessor holds.
type legacy struct {
	*instance
	k *kernel // whose ring it is
	c *layout.Ring
}

// inherit finds what the rings of the predecessors hold, and says whose it is. The numbers
// of lives go on from there. Called before any container is armed anew.
func (r *Recorder) inherit() (list []legacy) {
	for _, old := range r.k.predecessors {
		from := len(list)
		for ring := range old.shape.Rings {
			c := old.control(ring)
			if life := atomic.LoadUint64(&c.Life); life != 0 {
				list = append(list, legacy{newInstance(ring, c), old, c})
			}
		}
		sort.Slice(list[from:], func(a, b int) bool { return list[from+a].life < list[from+b].life })
		for _, l := range list[from:] {
			r.nameInstance(l.instance, l.c, nil)
			l.dir, l.byHand = findCgroup(r.h, r.roots, l.c)
			if l.dir != "" && l.who().uid == "" {
				r.carried[l.cgroupID] = l.who().number // the same life, in another ring
			}
		}
	}
	return list
}

// replacePredecessors arms what was recorded by hand, saves what the predecessors' rings
// hold, and removes them. Everything else is armed anew already.
func (r *Recorder) replacePredecessors(list []legacy) error {
	if len(r.k.predecessors) == 0 {
		return nil
	}
	began := time.Now()
	for _, l := range list {
		if !l.byHand || atomic.LoadUint64(&l.c.Gone) != 0 {
			continue
		}
		err := r.arm(l.dir, cString(l.c.Name[:]))
		if err != nil && !errors.Is(err, errRecorded) && !errors.Is(err, errNoConsent) && !errors.Is(err, fs.ErrNotExist) {
			r.log.Warn("what was recorded by hand is not recorded any more", "cgroup", l.dir, "err", err)
		}
	}
	// From here on nothing is written there but what a death owes: who dies later dies in
	// the new rings.
	for _, l := range list {
		if atomic.LoadUint32(&l.c.Flags)&(layout.RingFlagFrozen|layout.RingFlagDying) == 0 {
			r.freeze(l.c)
		}
	}
	if err := waitForPrograms(); err != nil {
		return err
	}
	saved := 0
	for _, l := range list {
		did, err := r.saveLegacy(l)
		if err != nil {
			return fmt.Errorf("what is pinned in %s has an older layout, and what it holds cannot be saved: of %s: %w; nothing is lost, it is kept and recording goes on. Try: a state directory with room (--state-dir, --snapshot-max-bytes), or swolld --uninstall, which gives up the history in it", l.k.pinDir, l.instance, err)
		}
		if did {
			saved++
		}
	}
	for _, old := range r.k.predecessors {
		if err := r.k.putAway(filepath.Base(old.pinDir)); err != nil {
			return err
		}
		old.close()
	}
	r.log.Info("replaced the recorder of an older layout", "snapshots", saved, "took", time.Since(began).Round(time.Millisecond))
	r.k.predecessors = nil
	return nil
}

// saveLegacy saves what a ring holds, unless it is saved already, or is in a new ring as
// well. It tells whether it saved anything.
func (r *Recorder) saveLegacy(l legacy) (bool, error) {
	c := l.c
	died := atomic.LoadUint64(&c.Death.Ready) != 0
	if died && atomic.LoadUint64(&c.Death.Done) == 0 {
		time.Sleep(deathWait - time.Duration(monotonic()-int64(c.Death.Time)))
	}
	atomic.OrUint32(&c.Flags, layout.RingFlagFrozen)
	consent := r.consentFor(l.dir, cString(c.Parent[:]), cString(c.Name[:]))
	if consent.NoRecord {
		return false, nil
	}
	trigger, reason := api.TriggerManual, fmt.Sprintf("saved before a recorder of layout %d was replaced by one of layout %d", l.k.shape.Layout, layout.SizesLayout)
	origin := origin{cgroup: c.Cgroup, armed: int64(c.Armed), reason: reason}
	if died {
		trigger, reason = deathTriggers[c.Death.Kind], ""
		origin.reason, origin.death = "", int64(c.Death.Time)
	}
	if r.store.has(origin) {
		return false, r.settleLegacy(l, died, "")
	}
	ring, err := ringstore.NewRing(l.k.ring(l.ring), l.k.shape)
	if err != nil {
		return false, err
	}
	if consent.NoPayload {
		atomic.OrUint32(&c.Flags, layout.RingFlagNoPayload)
		ring.Scrub(isPayload)
	}
	img, err := ring.Copy(monotonic, l.k.running)
	if err != nil {
		return false, err
	}
	stat := img.Stat()
	newer := r.recordedAnew(l)
	if !died && stat.Records() == 0 || newer != nil && stat.Oldest >= int64(r.k.control(newer.ring).Armed) {
		return false, nil // it holds nothing, or nothing that the new ring does not hold
	}
	meta := r.metaOf(l.instance, c)
	meta.Trigger, meta.Reason = trigger, reason
	meta.Peers = r.peers(img)
	r.redact(meta, img)
	snap, err := r.store.save(meta, img)
	if err != nil {
		return false, err
	}
	r.metrics.saved(trigger)
	if snap.Namespace != unknown {
		r.announce(snap)
	}
	return true, r.settleLegacy(l, died, snap.ID)
}

// consentFor is what the pod does not consent to that a cgroup belongs to, which may be gone.
func (r *Recorder) consentFor(dir, parent, name string) Consent {
	r.consents.mu.Lock()
	defer r.consents.mu.Unlock()
	c := r.consentIn(dir)
	for _, p := range r.consents.of {
		if slices.Contains(p.names, parent) || slices.Contains(p.names, name) {
			c.NoRecord = c.NoRecord || p.NoRecord
			c.NoPayload = c.NoPayload || p.NoPayload
		}
	}
	return c
}

// recordedAnew is the instance that records the same cgroup now; nil: there is none.
func (r *Recorder) recordedAnew(l legacy) *instance {
	r.refresh()
	for _, i := range r.all() {
		if i.cgroupID == l.cgroupID && i.cgroupID != 0 {
			return i
		}
	}
	return nil
}

// settleLegacy sees to it that a death that is saved from an old ring is not saved from the
// new one again, which may have seen it, too, or its end.
func (r *Recorder) settleLegacy(l legacy, died bool, id string) error {
	i := r.recordedAnew(l)
	if i == nil {
		return nil
	}
	if id != "" {
		i.note("what was recorded before, up to the replacement of the recorder, is in snapshot " + id)
	}
	if !died {
		return nil
	}
	c := r.k.control(i.ring)
	atomic.StoreUint32(&c.Mourned, l.c.Death.TGID)
	if err := waitForPrograms(); err != nil {
		return err
	}
	if atomic.LoadUint64(&c.Death.Ready) != 0 && c.Death.TGID == l.c.Death.TGID {
		r.dealtWith(i)
	}
	if atomic.LoadUint64(&l.c.Death.Done) != 0 {
		atomic.CompareAndSwapUint32(&c.Mourned, l.c.Death.TGID, 0)
	}
	return nil
}
