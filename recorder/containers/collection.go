package containers

import (
	"slices"
	"sync"
	"time"
)

const (
	defaultKeep      = 10 * time.Minute
	defaultMaxExited = 1000
)

// Options of a Collection. The zero value is usable.
type Options struct {
	Keep      time.Duration    // how long an exited container stays; 0: 10 minutes
	MaxExited int              // and how many of them at most, the oldest go first; 0: 1,000
	Enrichers []Enricher       // asked in this order
	Now       func() time.Time // the clock for Keep; nil: time.Now
}

// An Enricher adds what it knows to a container. It is called with the collection locked:
// it must not block, and not call the collection, and c is not valid afterwards. Fields
// that others filled in it leaves alone, unless it knows better. The same question must get
// the same answer while it learns nothing.
type Enricher interface {
	Enrich(c *Container)
}

// EnrichFunc makes a function an Enricher.
type EnrichFunc func(c *Container)

// Enrich calls the function.
func (f EnrichFunc) Enrich(c *Container) { f(c) }

// A Collection is a set of containers. What it hands out are copies: they change neither
// with the collection nor it with them.
//
// A container that ended stays for a while, so that those who hear of it late can still
// ask. It then goes without an event.
type Collection struct {
	enrichers []Enricher
	keep      time.Duration
	maxExited int
	now       func() time.Time

	mu       sync.Mutex
	all      map[string]*entry
	byCgroup map[uint64]*entry // the newest that had this cgroup
	exited   []*entry          // in the order of their end
	readers  map[*reader]struct{}
}

// An entry is a container in the collection.
type entry struct {
	c        *Container // replaced, never changed: readers share it
	exitedAt time.Time  // by the collection's clock
}

// New returns an empty collection. It needs no closing: nothing runs in it.
func New(o Options) *Collection {
	c := &Collection{
		enrichers: slices.Clone(o.Enrichers),
		keep:      o.Keep,
		maxExited: o.MaxExited,
		now:       o.Now,
		all:       make(map[string]*entry),
		byCgroup:  make(map[uint64]*entry),
		readers:   make(map[*reader]struct{}),
	}
	if c.keep == 0 {
		c.keep = defaultKeep
	}
	if c.maxExited == 0 {
		c.maxExited = defaultMaxExited
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

// lock locks the collection, with those gone from it whose time is over: they need no
// goroutine to watch over them.
func (c *Collection) lock() {
	c.mu.Lock()
	now := c.now()
	for len(c.exited) > 0 {
		e := c.exited[0]
		if len(c.exited) <= c.maxExited && now.Sub(e.exitedAt) < c.keep {
			return
		}
		c.exited[0] = nil
		c.exited = c.exited[1:]
		c.remove(e)
	}
}

func (c *Collection) remove(e *entry) {
	delete(c.all, e.c.ID)
	if c.byCgroup[e.c.CgroupID] == e {
		delete(c.byCgroup, e.c.CgroupID)
	}
	for r := range c.readers {
		r.forget(e.c.ID)
	}
}

// Update lets change fill in what the caller knows of the container with this id, which is
// added if it is new; then the enrichers are asked. change must not block or call the
// collection, and its argument is not valid afterwards. An event is sent if anything
// changed.
//
// A container that ended stays exited, whatever change says: sources may be late. It lives
// again only in another cgroup (another CgroupID where one was known), as after a `docker
// restart`; how it ended before is then forgotten.
func (c *Collection) Update(id string, change func(*Container)) {
	if id == "" {
		return
	}
	c.lock()
	defer c.mu.Unlock()
	e := c.all[id]
	if e == nil {
		e = &entry{c: &Container{ID: id}}
	}
	c.apply(e, change, false)
}

// Exit notes that a container ended. change, if it is not nil, may say how; it may be
// called again when more is known of that. A container that is not in the collection is
// left alone.
func (c *Collection) Exit(id string, change func(*Container)) {
	c.lock()
	defer c.mu.Unlock()
	if e := c.all[id]; e != nil {
		c.apply(e, change, true)
	}
}

// Refresh asks the enrichers again about the containers that the selector selects: after
// an enricher has learned something.
func (c *Collection) Refresh(s Selector) {
	c.lock()
	defer c.mu.Unlock()
	for _, e := range c.selected(s) {
		c.apply(e, nil, false)
	}
}

// apply changes one container, and tells the readers.
func (c *Collection) apply(e *entry, change func(*Container), exit bool) {
	old := e.c
	id, was, cgroup := old.ID, old.State, old.CgroupID
	next := old.clone()
	if change != nil {
		change(&next)
	}
	next.ID = id // who changes it is wrong, and must not hurt others
	again := was == StateExited && !exit && cgroup != 0 && next.CgroupID != 0 && next.CgroupID != cgroup
	switch {
	case again:
		if next.State == StateExited {
			next.State = StateRunning
		}
		next.Finished, next.ExitCode, next.Reason = time.Time{}, nil, ""
	case exit || was == StateExited:
		next.State = StateExited
	}
	state := next.State
	for _, f := range c.enrichers {
		f.Enrich(&next)
		next.ID = id
		if state == StateExited {
			next.State = state
		}
	}

	known := c.all[id] == e
	if known && equal(old, &next) {
		return
	}
	// Whoever made the change may keep the maps that they put in.
	stored := next.clone()
	e.c = &stored
	c.all[id] = e
	c.index(e, old, known)

	isOut := stored.State == StateExited
	switch wasOut := known && was == StateExited; {
	case isOut && !wasOut:
		e.exitedAt = c.now()
		c.exited = append(c.exited, e)
	case !isOut && wasOut:
		c.exited = slices.DeleteFunc(c.exited, func(x *entry) bool { return x == e })
	}
	for r := range c.readers {
		r.changed(&stored)
	}
}

// index enters a container's cgroup. Ids of cgroups are used again: the newest container
// has it, but one that ended takes it from none that is alive.
func (c *Collection) index(e *entry, old *Container, known bool) {
	id := e.c.CgroupID
	if known && old.CgroupID == id {
		return
	}
	if c.byCgroup[old.CgroupID] == e {
		delete(c.byCgroup, old.CgroupID)
	}
	if id == 0 {
		return
	}
	if o := c.byCgroup[id]; o != nil && o.c.State != StateExited && e.c.State == StateExited {
		return
	}
	c.byCgroup[id] = e
}

// Get returns a container by its id.
func (c *Collection) Get(id string) (Container, bool) {
	c.lock()
	defer c.mu.Unlock()
	e := c.all[id]
	if e == nil {
		return Container{}, false
	}
	return e.c.clone(), true
}

// ByCgroup returns the container that has this cgroup now, or had it last.
func (c *Collection) ByCgroup(id uint64) (Container, bool) {
	c.lock()
	defer c.mu.Unlock()
	e := c.byCgroup[id]
	if e == nil {
		return Container{}, false
	}
	return e.c.clone(), true
}

// ByMountNamespace returns the containers in a mount namespace: more than one where they
// share it, ordered as by Select. Those that ended are not in it any more: the kernel uses
// the number again at once.
func (c *Collection) ByMountNamespace(inode uint64) []Container {
	return c.byNamespace(inode, func(c *Container) uint64 { return c.MountNS })
}

// ByPIDNamespace returns the containers in a pid namespace, as ByMountNamespace does.
func (c *Collection) ByPIDNamespace(inode uint64) []Container {
	return c.byNamespace(inode, func(c *Container) uint64 { return c.PIDNS })
}

// ByNetNamespace returns the containers in a network namespace, as ByMountNamespace does:
// those of a pod, or all that use the host's.
func (c *Collection) ByNetNamespace(inode uint64) []Container {
	return c.byNamespace(inode, func(c *Container) uint64 { return c.NetNS })
}

func (c *Collection) byNamespace(inode uint64, of func(*Container) uint64) []Container {
	if inode == 0 {
		return nil
	}
	c.lock()
	defer c.mu.Unlock()
	var cs []Container
	for _, e := range c.all {
		if e.c.State != StateExited && of(e.c) == inode {
			cs = append(cs, e.c.clone())
		}
	}
	sortContainers(cs)
	return cs
}

// Select returns the selected containers, ordered by namespace, pod, name and time of
// creation.
func (c *Collection) Select(s Selector) []Container {
	c.lock()
	defer c.mu.Unlock()
	es := c.selected(s)
	cs := make([]Container, len(es))
	for i, e := range es {
		cs[i] = e.c.clone()
	}
	return cs
}

// selected is sorted.
func (c *Collection) selected(s Selector) []*entry {
	var es []*entry
	for _, e := range c.all {
		if s.Matches(e.c) {
			es = append(es, e)
		}
	}
	slices.SortFunc(es, func(a, b *entry) int { return compare(a.c, b.c) })
	return es
}

func sortContainers(cs []Container) {
	slices.SortFunc(cs, func(a, b Container) int { return compare(&a, &b) })
}
