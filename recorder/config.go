// Package recorder is the flight recorder of one node: it loads the kernel side, keeps
// its rings, knows whose they are, and turns deaths into snapshots. A Recorder is an
// api.Backend. What it loaded stays in the kernel when it ends, if it was given a
// directory to pin it in, and goes on recording; the next Recorder adopts it.
package recorder

import (
	"fmt"
	"log/slog"
	"math/bits"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/recorder/containers"
	"github.com/swoll-recorder/swoll/recorder/secrets"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// Config is what a Recorder is to do. Zero values are the defaults of swolld, but for
// PinDir and StateDir, where they mean that nothing is pinned or saved.
type Config struct {
	PinDir   string // below a bpffs; empty: recording ends with the process
	StateDir string // of the snapshots; empty: none are saved

	Memory   int64 // ring memory of the node, bytes; 0: 256 MiB
	RingSize int64 // ring memory of one container, bytes; 0: 1 MiB

	// WatchCgroups are directories of cgroups; every cgroup made in one of them is a
	// container. Empty: the kubepods cgroup, where there is one.
	WatchCgroups []string

	DataLimit   int // bytes kept of a data buffer; 0: 64; NoData: none
	StringLimit int // bytes kept of a string, and of what is written to standard error; 0: 256
	// PayloadCalls are bytes kept of the data buffers of single calls, by the name of a call,
	// or of a group or class of calls. Where several limits concern a buffer, the smallest
	// holds.
	PayloadCalls map[string]int
	// StackLimit is how many bytes of its stack's memory a thread that dies by a signal is
	// asked for, to unwind it: at most, and by default (0), 16 KiB. Negative: none.
	StackLimit int64
	// NoFold lets every call have a record of its own; else a run of the same call, with
	// the same result, is one with a count.
	NoFold bool

	// Secrets are masked in all that leaves the rings: dumps, snapshots, verdicts. Nil:
	// nothing is.
	Secrets *secrets.Patterns

	SnapshotMaxBytes int64 // quota of the state directory; 0: 1 GiB
	SnapshotKeep     int   // snapshots kept per container; 0: 8
	SnapshotsPerHour int   // of deaths, saved per container; 0: 60

	// KeepExited is how long the history of a container that is gone stays in its ring,
	// while the pool has others; 0: 1 hour.
	KeepExited time.Duration

	// Containers names what is recorded, and is told of it; nil: pods are known by what
	// their cgroups are called only.
	Containers *containers.Collection
	// OnSnapshot is called for each snapshot that was saved, once its pod is known by name.
	// It must not block. May be nil.
	OnSnapshot func(api.Snapshot)

	NodeName   string                // names the node in snapshots; empty: the host name
	Logger     *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// The bounds of what a Config may say.
const (
	minRingSize = 64 << 10
	maxRingSize = 128 << 20
	maxMemory   = 64 << 30
)

// withDefaults fills in and checks a Config.
func (c Config) withDefaults() (Config, error) {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Memory, 256<<20)
	def(&c.RingSize, 1<<20)
	def(&c.SnapshotMaxBytes, 1<<30)
	if c.SnapshotKeep == 0 {
		c.SnapshotKeep = 8
	}
	if c.SnapshotsPerHour == 0 {
		c.SnapshotsPerHour = 60
	}
	if c.KeepExited == 0 {
		c.KeepExited = time.Hour
	}
	if c.DataLimit == 0 {
		c.DataLimit = 64
	}
	if c.StackLimit == 0 {
		c.StackLimit = layout.SizesStackMemory
	}
	if c.StringLimit == 0 {
		c.StringLimit = 256
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.NodeName == "" {
		c.NodeName, _ = os.Hostname()
	}
	switch {
	case c.RingSize < minRingSize || c.RingSize > maxRingSize:
		return c, fmt.Errorf("ring size of %d bytes: must be %d KiB to %d MiB", c.RingSize, minRingSize>>10, maxRingSize>>20)
	case c.RingSize%layout.SizesPage != 0:
		return c, fmt.Errorf("ring size of %d bytes: must be a multiple of %d", c.RingSize, layout.SizesPage)
	case c.Memory < c.RingSize:
		return c, fmt.Errorf("memory of %d bytes holds no ring of %d bytes: raise the memory or lower the ring size", c.Memory, c.RingSize)
	case c.Memory > maxMemory:
		return c, fmt.Errorf("memory of %d bytes: must be at most %d GiB", c.Memory, maxMemory>>30)
	case c.DataLimit != NoData && (c.DataLimit < 8 || c.DataLimit > layout.SizesMaxLimit):
		return c, fmt.Errorf("data limit of %d bytes: must be 8 to %d, or 0 for none", c.DataLimit, layout.SizesMaxLimit)
	case c.StringLimit < 8 || c.StringLimit > layout.SizesMaxLimit:
		return c, fmt.Errorf("string limit of %d bytes: must be 8 to %d", c.StringLimit, layout.SizesMaxLimit)
	case c.StackLimit > layout.SizesStackMemory:
		return c, fmt.Errorf("stack limit of %d bytes: must be at most %d", c.StackLimit, layout.SizesStackMemory)
	case c.KeepExited < 0:
		return c, fmt.Errorf("keeping exited containers for %v: must not be negative", c.KeepExited)
	case c.SnapshotMaxBytes < 0 || c.SnapshotKeep < 0 || c.SnapshotsPerHour < 0:
		return c, fmt.Errorf("snapshot quota: must not be negative")
	}
	_, err := c.captureLimits()
	return c, err
}

// shapeOf lays out the rings: how many pages each lane has, and how many cursors.
//
// A lane needs several pages per cursor, since each cursor keeps one open: where CPUs
// outnumber that, they share cursors, and may wait for each other.
func shapeOf(memory, ringSize int64, cpus int) (layout.Shape, error) {
	slots := 1 << bits.Len(uint(cpus-1))
	control := (layout.SizesSlotsAt + slots*layout.SizesSlot + layout.SizesPage - 1) / layout.SizesPage
	pages := int(ringSize)/layout.SizesPage - control
	if pages < 8 {
		return layout.Shape{}, fmt.Errorf("ring size of %d bytes is too small for %d CPUs: it needs at least %d", ringSize, cpus, (control+8)*layout.SizesPage)
	}
	s := layout.Shape{
		Layout: layout.SizesLayout,
		Bytes:  uint32(ringSize),
		Pages:  uint32(pages),
		Rings:  uint32(memory / ringSize),
		Slots:  uint32(slots),
	}
	var first uint32
	for lane, share := range [layout.LaneLanes]int{
		layout.LaneBoot:   pages / 16,
		layout.LaneLife:   pages / 8,
		layout.LaneError:  pages / 8,
		layout.LaneRecent: pages, // what is left
	} {
		n := max(share, 2)
		if lane == layout.LaneRecent {
			n = pages - int(first)
		}
		// At least three pages for each cursor, but one cursor in any case.
		cursors := 1
		for cursors < slots && cursors*2*3 <= n {
			cursors *= 2
		}
		s.Lane[lane] = layout.LaneShape{First: first, Pages: uint32(n), Mask: uint32(cursors - 1)}
		if cursors < slots && cpus > cursors {
			s.Lane[lane].Shared = 1
		}
		first += uint32(n)
	}
	return s, nil
}
