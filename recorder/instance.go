package recorder

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/recorder/containers"
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// An instance is one life of a container: the use of one ring.
type instance struct {
	ring     uint32
	life     uint64
	cgroupID uint64
	dir      string // the cgroup's directory; empty if it was gone before it was found
	below    string // the cgroup's name, below its parent's
	byHand   bool   // not below a watched cgroup
	known    atomic.Pointer[known]

	filesMu  sync.Mutex
	files    []*ringstore.FileList // what its processes had open at times, the oldest first
	listedAt atomic.Uint64         // pages handed out of the recent lane by the last of them

	noteMu sync.Mutex
	notes  []string // what readers of its dumps must know

	// The service is the only one that frees a ring; it does not while somebody copies it.
	mu      sync.RWMutex
	freed   bool
	saving  sync.RWMutex // read-held from the copy of a snapshot until it is saved; before mu
	leaving sync.Mutex   // one frees it at a time

	stack   atomic.Pointer[deadStack] // of the last death, unwound
	handled atomic.Uint64             // time of the last death that was dealt with
	ended   atomic.Bool               // the collection of containers was told of its end

	// Only the recorder's loop uses these.
	retry time.Time // when to try again to save a death
	tries int
}

// newInstance is the present use of a ring, by what its control area says.
func newInstance(ring uint32, c *layout.Ring) *instance {
	name, parent := cString(c.Name[:]), cString(c.Parent[:])
	i := &instance{ring: ring, life: c.Life, cgroupID: c.Cgroup, below: filepath.Join(parent, name)}
	i.handled.Store(atomic.LoadUint64(&c.Handled))
	i.known.Store(&known{identity: identify(parent, name)})
	return i
}

// identify says what the names of a cgroup and its parent tell.
func identify(parent, name string) identity {
	if n, ok := containers.ParseCgroup("/" + parent + "/" + name); ok && n.PodUID != "" {
		return identity{namespace: unknown, pod: "pod" + n.PodUID, uid: n.PodUID, container: shortID(n.ID), containerID: n.ID}
	}
	return identity{namespace: api.HostNamespace, pod: name, container: name}
}

// cString is a C string in a fixed array.
func cString(b []uint8) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// state is what api.Container calls it.
func (i *instance) state(c *layout.Ring) string {
	switch {
	case atomic.LoadUint64(&c.Gone) != 0:
		return api.StateExited
	case atomic.LoadUint32(&c.Flags)&(layout.RingFlagFrozen|layout.RingFlagDying) != 0:
		return api.StateFrozen
	case (i.handled.Load() != 0 || atomic.LoadUint64(&c.Exited) != 0) && !populated(i.dir):
		return api.StateExited
	}
	return api.StateRecording
}

// maxNotes bounds the notes of an instance; the first one is kept.
const maxNotes = 16

// note adds something that readers of the instance's dumps must know.
func (i *instance) note(text string) {
	i.noteMu.Lock()
	defer i.noteMu.Unlock()
	if i.notes = append(i.notes, text); len(i.notes) > maxNotes {
		i.notes = append(i.notes[:1:1], i.notes[2:]...)
	}
}

func (i *instance) allNotes() []string {
	i.noteMu.Lock()
	defer i.noteMu.Unlock()
	return slices.Clone(i.notes)
}

// gap ends a time in which nothing was recorded, by thaw, and enters it where readers of the
// ring find it, also those of later services: before thaw, so that none is ever missing.
func (i *instance) gap(c *layout.Ring, from uint64, thaw func()) {
	i.noteMu.Lock()
	defer i.noteMu.Unlock()
	g := &c.Gap[min(int(c.Gaps), len(c.Gap)-1)]
	g.From, g.To = from, uint64(monotonic())
	c.Gaps++
	thaw()
	g.To = uint64(monotonic())
	// What was recorded before is not connected with what comes.
	atomic.StoreUint64(&c.Thawed, g.To)
}

// String names the instance for people.
func (i *instance) String() string { return fmt.Sprintf("%s#%d", i.who().identity, i.who().number) }

// monotonic is the clock of all records, in ns.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// clockStep is by how much the wall clock must have moved before times are told anew.
const clockStep = int64(time.Millisecond)

// wallOffset added to a time of CLOCK_MONOTONIC gives Unix time in ns. It stays the same
// as long as the wall clock is not set, so that a record has the same time in each dump.
func (r *Recorder) wallOffset() int64 {
	before := monotonic()
	wall := time.Now().UnixNano()
	now := wall - (before+monotonic())/2
	old := r.offset.Load()
	if d := now - old; d > -clockStep && d < clockStep {
		return old
	}
	r.offset.CompareAndSwap(old, now)
	return r.offset.Load()
}

// findCgroup finds the directory of a recorded cgroup; empty: it is gone. byHand tells
// that it is below no watched one.
func findCgroup(h hierarchy, roots []watchRoot, c *layout.Ring) (dir string, byHand bool) {
	name, parent := escapeGlob(cString(c.Name[:])), escapeGlob(cString(c.Parent[:]))
	for _, r := range roots {
		patterns := []string{filepath.Join(r.dir, name)}
		if r.kubepods {
			patterns = []string{filepath.Join(r.dir, parent, name), filepath.Join(r.dir, "*", parent, name)}
		}
		for _, p := range patterns {
			found, _ := filepath.Glob(p)
			for _, dir := range found {
				if got, err := cgroupID(dir); err == nil && got == c.Cgroup {
					return dir, false
				}
			}
		}
		if filepath.Base(r.dir) == cString(c.Parent[:]) && !r.kubepods {
			return "", false // gone from here
		}
	}
	if atomic.LoadUint64(&c.Gone) != 0 {
		return "", false
	}
	// Recorded by hand, under any name, before this service began: look everywhere.
	_ = filepath.WalkDir(h.mount, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		if got, err := cgroupID(p); err == nil && got == c.Cgroup {
			dir = p
			return fs.SkipAll
		}
		return nil
	})
	return dir, dir != ""
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// meta describes an instance for its dumps and snapshots.
func (r *Recorder) meta(i *instance) *ringstore.Meta { return r.metaOf(i, r.k.control(i.ring)) }

func (r *Recorder) metaOf(i *instance, c *layout.Ring) *ringstore.Meta {
	m := &ringstore.Meta{
		Version:    1,
		Cgroup:     r.relative(i),
		CgroupID:   i.cgroupID,
		Node:       r.cfg.NodeName,
		Arch:       goarch,
		Kernel:     r.kernelRelease,
		State:      i.state(c),
		Created:    time.Now().UTC(),
		Armed:      int64(c.Armed),
		WallOffset: r.wallOffset(),
		PageSize:   os.Getpagesize(),
		Notes:      i.allNotes(),
		Stack:      i.stackOf(&c.Death),

		UringUnseen: !r.k.uring.sees(),
	}
	i.who().fill(m)
	return m
}

// relative is the cgroup's path below the root of its hierarchy.
func (r *Recorder) relative(i *instance) string {
	if i.dir == "" {
		return "…/" + i.below
	}
	rel, err := filepath.Rel(r.h.mount, i.dir)
	if err != nil {
		return i.dir
	}
	return "/" + rel
}

// firstProcess finds the process of a cgroup that the others come from: the one whose
// parent is outside. 0: there is none.
func firstProcess(dir string) uint32 {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return 0
	}
	inside := map[string]bool{}
	pids := strings.Fields(string(data))
	for _, p := range pids {
		inside[p] = true
	}
	for _, p := range pids {
		stat, err := os.ReadFile("/proc/" + p + "/stat")
		if err != nil {
			continue
		}
		// proc_pid_stat(5): the name in parentheses may hold anything, also ')'.
		s := string(stat)
		f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
		if len(f) > 1 && !inside[f[1]] {
			var pid uint32
			if _, err := fmt.Sscan(p, &pid); err == nil {
				return pid
			}
		}
	}
	return 0
}
