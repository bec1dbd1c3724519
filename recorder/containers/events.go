package containers

import (
	"container/list"
	"context"
	"iter"
	"maps"
)

// An EventKind is what happened to a container.
type EventKind string

const (
	EventStart  EventKind = "start"  // it appeared; or was there at the subscription
	EventUpdate EventKind = "update" // more, or something else, is known of it
	EventExit   EventKind = "exit"   // it ended; or the selector, by its labels or names, does not select it any more
)

// An Event is a change of a collection. Container is as it was after it, or newer.
type Event struct {
	Kind      EventKind
	Container Container
}

// Events yields first a start for each selected container that is there, exited ones too
// if they are selected, then every change, in order and without a gap, until ctx is done
// or the loop ends. A slow reader misses nothing: updates of one container that it has not
// read are merged into its newest event, but never a start with the exit that follows.
// So there are two unread events, at most three, for each life of a container.
//
// A container that comes to be selected starts then, and one that is known to have ended
// before it was known at all is a start with StateExited, and no exit. After an exit,
// there are updates only where exited containers are selected.
//
// The subscription begins when the loop does: each loop has its own. The loop may call the
// collection.
func (c *Collection) Events(ctx context.Context, s Selector) iter.Seq[Event] {
	s.Labels = maps.Clone(s.Labels)
	return func(yield func(Event) bool) {
		r := &reader{
			selector: s,
			in:       make(map[string]bool),
			newest:   make(map[string]*pending),
			wake:     make(chan struct{}, 1),
		}
		c.lock()
		for _, e := range c.selected(s) {
			r.changed(e.c)
		}
		c.readers[r] = struct{}{}
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			delete(c.readers, r)
			c.mu.Unlock()
		}()

		for ctx.Err() == nil {
			c.mu.Lock()
			p := r.pop()
			c.mu.Unlock()
			if p == nil {
				select {
				case <-ctx.Done():
				case <-r.wake:
				}
				continue
			}
			if !yield(Event{Kind: p.kind, Container: p.c.clone()}) {
				return
			}
		}
	}
}

// A reader is a loop over Events. Its fields belong to the collection's lock.
type reader struct {
	selector Selector
	in       map[string]bool     // the containers that it knows once it has read all; true: as exited
	unread   list.List           // of *pending
	newest   map[string]*pending // of each container that has any
	wake     chan struct{}       // has a token if something came since the reader looked
}

// A pending is an event that is not read.
type pending struct {
	kind         EventKind
	c            *Container // newer after a merge
	left         bool       // an exit that only the selector sees: what was known before is in exited
	exited       bool
	older, newer *pending // of the same container
	at           *list.Element
}

// changed takes in what a container is now.
func (r *reader) changed(c *Container) {
	exited, in := r.in[c.ID]
	selects := r.selector.Matches(c)
	out := c.State == StateExited
	p := r.newest[c.ID]
	switch {
	case !in && !selects:
	case !in && p != nil && p.left:
		// It was not selected for a while, and the reader has not heard of that: forget it.
		// Else there were ever more unread events of one container.
		r.drop(p)
		r.in[c.ID] = p.exited
		r.changed(c)
	case !in, selects && exited && !out: // or lives again
		r.in[c.ID] = out
		r.push(&pending{kind: EventStart, c: c})
	case !exited && out:
		if selects {
			r.in[c.ID] = true
		} else {
			delete(r.in, c.ID)
		}
		r.push(&pending{kind: EventExit, c: c})
	case !selects:
		delete(r.in, c.ID)
		r.push(&pending{kind: EventExit, c: c, left: true, exited: exited})
	case p != nil:
		p.c = c
	default:
		r.push(&pending{kind: EventUpdate, c: c})
	}
}

// forget takes in that a container's time in the collection is over.
func (r *reader) forget(id string) { delete(r.in, id) }

func (r *reader) push(p *pending) {
	if o := r.newest[p.c.ID]; o != nil {
		o.newer, p.older = p, o
	}
	r.newest[p.c.ID] = p
	p.at = r.unread.PushBack(p)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// drop takes back the newest event of a container.
func (r *reader) drop(p *pending) {
	r.unread.Remove(p.at)
	if p.older == nil {
		delete(r.newest, p.c.ID)
		return
	}
	p.older.newer = nil
	r.newest[p.c.ID] = p.older
}

// pop returns the oldest event, or nil.
func (r *reader) pop() *pending {
	e := r.unread.Front()
	if e == nil {
		return nil
	}
	p := r.unread.Remove(e).(*pending)
	if p.newer != nil {
		p.newer.older = nil
	} else {
		delete(r.newest, p.c.ID)
	}
	return p
}
