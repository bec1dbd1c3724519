package containers

import (
	"context"
	"iter"
	"time"
)

// Options of a Collection. The zero value is usable.
type Options struct {
	Keep      time.Duration // how long an exited container stays; 0: 10 minutes
	MaxExited int           // and how many of them at most, the oldest go first; 0: 1,000
	Enrichers []Enricher    // asked in this order
	Now       func() time.Time
}

// An Enricher adds what it knows to a container. It is called with the collection locked:
// it must not block, and not call the collection. Fields that others filled in it leaves
// alone, unless it knows better.
type Enricher interface {
	Enrich(c *Container)
}

// EnrichFunc makes a function an Enricher.
type EnrichFunc func(c *Container)

// Enrich calls the function.
func (f EnrichFunc) Enrich(c *Container) { f(c) }

// A Collection is a set of containers.
type Collection struct{}

// New returns an empty collection.
func New(o Options) *Collection { return nil }

// Update lets change fill in what the caller knows of the container with this id, which is
// added if it is new; then the enrichers are asked. change must not block or call the
// collection. An event is sent if anything changed.
func (c *Collection) Update(id string, change func(*Container)) {}

// Exit notes that a container ended. change, if it is not nil, may say how.
func (c *Collection) Exit(id string, change func(*Container)) {}

// Refresh asks the enrichers again about the containers that the selector selects: after
// an enricher has learned something.
func (c *Collection) Refresh(s Selector) {}

// Get returns a container by its id.
func (c *Collection) Get(id string) (Container, bool) { return Container{}, false }

// ByCgroup returns the container that has this cgroup now, or had it last.
func (c *Collection) ByCgroup(id uint64) (Container, bool) { return Container{}, false }

// ByMountNamespace, ByPIDNamespace and ByNetNamespace return the containers in a
// namespace: more than one where a pod or the host shares it.
func (c *Collection) ByMountNamespace(inode uint64) []Container { return nil }
func (c *Collection) ByPIDNamespace(inode uint64) []Container   { return nil }
func (c *Collection) ByNetNamespace(inode uint64) []Container   { return nil }

// Select returns the selected containers, ordered by namespace, pod, name and time of
// creation.
func (c *Collection) Select(s Selector) []Container { return nil }

// A Selector selects containers; empty fields select all.
type Selector struct {
	Namespace string
	Pod       string
	PodUID    string
	Container string
	Labels    map[string]string // all must match
	Exited    bool              // select exited ones, too
}

// Matches tells whether the selector selects a container.
func (s Selector) Matches(c *Container) bool { return false }

// An EventKind is what happened to a container.
type EventKind string

const (
	EventStart  EventKind = "start"  // it appeared; or was there at the subscription
	EventUpdate EventKind = "update" // more, or something else, is known of it
	EventExit   EventKind = "exit"   // it ended
)

// An Event is a change of a collection. Container is as it was after it.
type Event struct {
	Kind      EventKind
	Container Container
}

// Events yields first a start for each selected container that is there, exited ones too
// if they are selected, then every change, in order and without a gap, until ctx is done
// or the loop ends. A slow reader misses nothing: updates of one container that it has not
// read are merged.
func (c *Collection) Events(ctx context.Context, s Selector) iter.Seq[Event] { return nil }
