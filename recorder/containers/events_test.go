package containers

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A slow reads one event each time that it is asked, so that a test decides what it has
// not read. The subscription begins with open, which reads the first event.
type slow struct {
	t    *testing.T
	next func() (Event, bool)
	stop func()
}

func open(t *testing.T, c *Collection, s Selector, want string) *slow {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	next, stop := iter.Pull(c.Events(ctx, s))
	t.Cleanup(stop)
	r := &slow{t, next, stop}
	r.want(want)
	return r
}

func (r *slow) want(want ...string) {
	r.t.Helper()
	for _, w := range want {
		ev, ok := r.next()
		if !ok {
			r.t.Fatalf("no more events; want %q", w)
		}
		if got := fmt.Sprint(ev.Kind, " ", ev.Container.ID, ":", ev.Container.Name); got != w {
			r.t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func name(n string) func(*Container) { return func(c *Container) { c.Name = n } }
func label(v string) func(*Container) {
	return func(c *Container) { c.Labels = map[string]string{"app": v} }
}

func TestEventsInOrder(t *testing.T) {
	c := New(Options{})
	c.Update("a", name("x"))
	c.Update("b", name("y"))
	c.Update("c", name("z"))
	c.Exit("c", nil)
	r := open(t, c, Selector{}, "start a:x")
	c.Update("d", name("1"))
	c.Update("a", name("x")) // is no change
	c.Exit("b", nil)
	c.Update("e", nil)
	r.want("start b:y", "start d:1", "exit b:y", "start e:")
	c.Update("e", name("2"))
	r.want("update e:2")
	c.Exit("e", nil)
	c.Exit("e", nil)
	c.Update("e", name("3")) // not selected any more
	c.Update("f", nil)
	r.want("exit e:2", "start f:")

	all := open(t, c, Selector{Exited: true}, "start f:")
	all.stop()
	if n := len(c.readers); n != 1 {
		t.Errorf("%d readers, not 1, after one left", n)
	}
}

func TestSlowReader(t *testing.T) {
	c := New(Options{})
	c.Update("first", nil)
	r := open(t, c, Selector{Exited: true}, "start first:")

	// Updates go into the unread start, and into the unread exit; they stay apart.
	c.Update("a", nil)
	for i := range 100 {
		c.Update("a", name(strconv.Itoa(i)))
		c.Update("first", name(strconv.Itoa(i)))
	}
	c.Exit("a", nil)
	c.Update("a", name("dead"))
	if n := subscriber(c).unread.Len(); n != 3 {
		t.Errorf("%d unread events of two containers, not 3", n)
	}
	r.want("start a:99", "update first:99", "exit a:dead")
	c.Update("a", name("buried"))
	r.want("update a:buried")
	if s := subscriber(c); s.unread.Len() != 0 || len(s.newest) != 0 {
		t.Errorf("all read, but %d and %d are kept", s.unread.Len(), len(s.newest))
	}

	// Another life in another cgroup is another start, also if nothing was read meanwhile.
	cgroup := func(id uint64) func(*Container) { return func(c *Container) { c.CgroupID = id } }
	c.Update("b", cgroup(1))
	c.Exit("b", nil)
	c.Update("b", cgroup(2))
	c.Exit("b", nil)
	r.want("start b:", "exit b:", "start b:", "exit b:")
}

// subscriber is the one that there is.
func subscriber(c *Collection) *reader {
	for r := range c.readers {
		return r
	}
	return nil
}

// To be selected no more is an exit; a flapping label does not fill the memory.
func TestSelectedByLabel(t *testing.T) {
	c := New(Options{})
	c.Update("first", label("web"))
	r := open(t, c, Selector{Labels: map[string]string{"app": "web"}}, "start first:")
	c.Update("a", label("db"))
	c.Update("a", label("web"))
	r.want("start a:")
	c.Update("a", label("db"))
	r.want("exit a:")
	c.Update("a", label("web"))
	r.want("start a:")
	for range 100 {
		c.Update("a", label("db"))
		c.Update("a", label("web"))
		c.Update("new", label("db"))
		c.Update("new", label("web"))
	}
	if n := subscriber(c).unread.Len(); n != 2 {
		t.Errorf("%d unread events, not 2", n)
	}
	r.want("update a:", "start new:")
	c.Update("a", label("db"))
	c.Exit("a", nil)
	c.Update("end", label("web"))
	r.want("exit a:", "start end:")
}

func TestEventsEnd(t *testing.T) {
	c := New(Options{})
	c.Update("a", nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for range c.Events(ctx, Selector{}) {
		n++
		c.Update("b", nil) // the loop may call the collection
		cancel()
	}
	if n != 1 {
		t.Errorf("%d events, not 1: the loop goes on after its context is done", n)
	}
	for range c.Events(ctx, Selector{}) {
		t.Error("an event after the context is done")
	}
	if len(c.readers) != 0 {
		t.Errorf("%d readers are left", len(c.readers))
	}
}

// replay is the set that events tell of.
func replay(have map[string]Container, s Selector, ev Event) error {
	old, was := have[ev.Container.ID]
	switch ev.Kind {
	case EventStart:
		if was && old.State != StateExited {
			return fmt.Errorf("start of %s, which is there", ev.Container.ID)
		}
	case EventUpdate, EventExit:
		if !was {
			return fmt.Errorf("%s of %s, which has not started", ev.Kind, ev.Container.ID)
		}
	}
	if s.Matches(&ev.Container) {
		have[ev.Container.ID] = ev.Container
	} else if ev.Kind == EventExit {
		delete(have, ev.Container.ID)
	} else {
		return fmt.Errorf("%s of %s, which is not selected", ev.Kind, ev.Container.ID)
	}
	return nil
}

// change does one random thing.
func change(c *Collection, rnd *rand.Rand) {
	id := string(rune('a' + rnd.IntN(12)))
	switch rnd.IntN(8) {
	case 0, 1:
		c.Exit(id, nil)
	case 2:
		c.Update(id, func(c *Container) { c.State = StateExited })
	case 3:
		c.Update(id, func(c *Container) { c.CgroupID = uint64(1 + rnd.IntN(5)) })
	case 4:
		c.Update(id, label([]string{"web", "db"}[rnd.IntN(2)]))
	case 5:
		c.Refresh(Selector{Exited: rnd.IntN(2) == 0})
	default:
		c.Update(id, func(c *Container) { c.Name = strconv.Itoa(rnd.IntN(50)); c.State = StateRunning })
	}
}

// Whatever happens in whatever order, and however slow the reader is: who replays the
// events has what Select gives.
func TestReplayIsSelect(t *testing.T) {
	selectors := []Selector{{}, {Exited: true}, {Labels: map[string]string{"app": "web"}}, {Labels: map[string]string{"app": "web"}, Exited: true}}
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := selectors[seed%4]
		n := 0
		c := New(Options{Enrichers: []Enricher{EnrichFunc(func(c *Container) {
			if n++; n%7 == 0 {
				c.Reason = strconv.Itoa(n)
			}
		})}})
		for range rnd.IntN(60) {
			change(c, rnd)
		}
		next, stop := iter.Pull(c.Events(t.Context(), s))
		have := map[string]Container{}
		read := func() {
			ev, ok := next()
			if !ok {
				t.Fatalf("seed %d: the events ended", seed)
			}
			if err := replay(have, s, ev); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		for range 400 {
			if r := subscriber(c); r != nil && r.unread.Len() > 0 && rnd.IntN(3) == 0 || r == nil && len(c.selected(s)) > 0 {
				read()
			}
			change(c, rnd)
		}
		for subscriber(c) == nil && len(c.selected(s)) > 0 || subscriber(c) != nil && subscriber(c).unread.Len() > 0 {
			read()
		}
		want := map[string]Container{}
		for _, x := range c.Select(s) {
			want[x.ID] = x
		}
		if !maps.EqualFunc(have, want, func(a, b Container) bool { return equal(&a, &b) }) {
			t.Fatalf("seed %d, %+v: the events give\n%v\nbut Select\n%v", seed, s, have, want)
		}
		if r := subscriber(c); r != nil && len(r.newest) != 0 {
			t.Fatalf("seed %d: all read, but %d are kept", seed, len(r.newest))
		}
		stop()
	}
}

// With many writers, readers and subscribers at once: each subscriber ends with the same
// set. The race detector looks on.
func TestConcurrentReplay(t *testing.T) {
	c := New(Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var writers, readers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 2))
			for range 2000 {
				change(c, rnd)
				c.ByCgroup(1)
				c.ByNetNamespace(1)
			}
		})
	}
	for i := range 4 {
		s := Selector{Exited: i%2 == 0}
		readers.Go(func() {
			have := map[string]Container{}
			for ev := range c.Events(ctx, s) {
				if ev.Container.ID == "last" {
					break
				}
				if err := replay(have, s, ev); err != nil {
					t.Error(err)
					return
				}
			}
			delete(have, "last")
			want := slices.DeleteFunc(c.Select(s), func(c Container) bool { return c.ID == "last" })
			if len(have) != len(want) {
				t.Errorf("%+v: %d containers by the events, %d by Select", s, len(have), len(want))
			}
			for _, w := range want {
				if h, ok := have[w.ID]; !ok || !equal(&h, &w) {
					t.Errorf("%+v: %s is\n%+v by the events, but\n%+v", s, w.ID, h, w)
				}
			}
		})
	}
	writers.Wait()
	c.Update("last", nil)
	readers.Wait()
	if len(c.readers) != 0 {
		t.Errorf("%d readers are left", len(c.readers))
	}
}

// What is unread is bounded by the containers, and what is kept by those that are there.
func TestMemoryIsBounded(t *testing.T) {
	now := newClock()
	c := New(Options{Keep: time.Second, Now: now.now})
	c.Update("first", nil)
	r := open(t, c, Selector{Exited: true}, "start first:")
	for i := range 1000 {
		id := strconv.Itoa(i)
		c.Update(id, func(c *Container) { c.CgroupID = uint64(i + 1) })
		c.Exit(id, nil)
		now.pass(time.Second)
	}
	c.Update("end", nil)
	for i := range 1000 {
		id := strconv.Itoa(i)
		r.want("start "+id+":", "exit "+id+":")
	}
	r.want("start end:")
	s := subscriber(c)
	for what, n := range map[string]int{"containers": len(c.all), "known": len(s.in)} {
		if n != 2 {
			t.Errorf("%d %s, not 2", n, what)
		}
	}
	for what, n := range map[string]int{"cgroups": len(c.byCgroup), "unread": s.unread.Len(), "newest": len(s.newest), "exited": len(c.exited)} {
		if n != 0 {
			t.Errorf("%d %s, not 0", n, what)
		}
	}
}
