package ringstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// smallShape wraps around after a few hundred records.
var smallShape = testShape(4, [Lanes]int{2, 9, 11, 30}, [Lanes]int{1, 2, 4, 4})

// history copies a ring without running tasks.
func history(t testing.TB, k *kernel, ring *Ring) *History {
	t.Helper()
	img, err := ring.Copy(k.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	return img.History(Meta{})
}

// write1 writes a random record of one CPU and returns it as a reader is to see it,
// but for its lane, number and who made it; ok is false if it was lost.
func write1(k *kernel, r seed) (e Event, ok bool) {
	e = randomEvent(r)
	e.Start = k.now()
	finish := k.now()
	for range e.Duration {
		finish = k.now()
	}
	if e.Kind.timed() && !e.NoEnter && !e.Unfinished {
		e.Duration = finish - e.Start
	}
	return e, k.write(r.IntN(int(k.shape.Slots)), Lane(1+r.IntN(Lanes-1)), finish, appendRecord(nil, &e))
}

// bare is an event without what a record does not hold.
func bare(e Event) Event {
	e.Lane, e.Seq = 0, 0
	if e.Kind.timed() {
		e.Known, e.UID, e.GID, e.Comm = false, 0, 0, ""
	}
	return e
}

// checkHistory fails unless the history has the records of written that it must have,
// none twice and none that was not written. Starts are unique.
func checkHistory(t testing.TB, h *History, written []Event) {
	t.Helper()
	byStart := make(map[int64]Event)
	for _, e := range written {
		byStart[e.Start] = e
	}
	seqs, held := make(map[uint64]bool), [Lanes]uint64{}
	for i := range h.Events {
		e := &h.Events[i]
		want, ok := byStart[e.Start]
		if got := bare(*e); !ok || !reflect.DeepEqual(want, got) {
			t.Fatalf("event %d is not what was written, or is there twice (-written +read):\n%s", i, cmp.Diff(want, got))
		}
		delete(byStart, e.Start)
		if seqs[e.Seq] || e.Seq == 0 {
			t.Fatalf("event %d has number %d, which is not its own", i, e.Seq)
		}
		seqs[e.Seq] = true
		held[e.Lane]++
		if i > 0 && e.Start < h.Events[i-1].Start {
			t.Fatalf("event %d starts at %d, the one before at %d", i, e.Start, h.Events[i-1].Start)
		}
	}
	for start := range byStart {
		if start >= h.CompleteSince && start <= h.Now {
			t.Fatalf("the record of %d is missing, though the history is complete from %d", start, h.CompleteSince)
		}
	}
	if held != h.Held {
		t.Fatalf("%v records are there, %v are said to be held", held, h.Held)
	}
	if h.Damaged != 0 {
		t.Fatalf("%d pages are said to be damaged", h.Damaged)
	}
}

// Whatever is written, by which CPU and to which lane: what a dump shows is what was
// written, and what it does not show is counted.
func TestHistory(t *testing.T) {
	for round := range uint64(60) {
		r := rand.New(rand.NewPCG(round, 3))
		k, ring := newKernel(t, smallShape)
		var written []Event
		for range r.IntN(4000) {
			if e, ok := write1(k, r); ok {
				written = append(written, e)
			}
		}
		h := history(t, k, ring)
		checkHistory(t, h, written)
		stat := ring.Stat(k.now)
		for lane := range Lanes {
			made := k.lanes[lane].made.Load()
			if got := h.Held[lane] + h.Overwritten[lane]; got != made {
				t.Errorf("%s lane: %d held and %d overwritten are not the %d made",
					Lane(lane), h.Held[lane], h.Overwritten[lane], made)
			}
		}
		if h.Overwritten[LaneBoot] != 0 {
			t.Errorf("%d records of the boot lane were overwritten", h.Overwritten[LaneBoot])
		}
		wantStat := Stat{Bytes: stat.Bytes, Held: h.Held, Overwritten: h.Overwritten, Lost: h.Meta.Lost,
			Oldest: h.Oldest, Newest: h.Newest, CompleteSince: h.CompleteSince, LaneCompleteSince: h.LaneCompleteSince}
		if diff := cmp.Diff(wantStat, stat); diff != "" {
			t.Errorf("figures (-history +stat):\n%s", diff)
		}
		if lost := uint64(0); stat.Lost != nil {
			for _, n := range stat.Lost {
				lost += n
			}
			if lost == 0 {
				t.Error("losses without a loss")
			}
		}

		again := history(t, k, ring)
		again.Now = h.Now
		if !reflect.DeepEqual(h, again) {
			t.Fatalf("the second dump differs:\n%s", cmp.Diff(h, again))
		}
		// A later dump shows the same records under the same numbers.
		seqs := make(map[int64]uint64)
		for _, e := range h.Events {
			seqs[e.Start] = e.Seq
		}
		for range 100 {
			if e, ok := write1(k, r); ok {
				written = append(written, e)
			}
		}
		later := history(t, k, ring)
		checkHistory(t, later, written)
		for _, e := range later.Events {
			if seq, ok := seqs[e.Start]; ok && seq != e.Seq {
				t.Fatalf("the record of %d was number %d and is number %d", e.Start, seq, e.Seq)
			}
		}
	}
}

// A load is threads that make calls, one on each CPU.
type load struct {
	k     *kernel
	tasks []task
	text  int // how often a call's capture repeats its text
	stop  atomic.Bool
}

type task struct {
	tid uint32
	// A call is marked running right after its time was taken; no list of tasks, which
	// takes far longer, falls between the two.
	entering atomic.Bool
	running  atomic.Pointer[Running]
	calls    []Event // that were written
}

// run makes calls until it is told to stop.
func (l *load) run(cpu int) {
	task := &l.tasks[cpu]
	task.tid = uint32(cpu + 1)
	for n := 0; !l.stop.Load(); n++ {
		task.entering.Store(true)
		e := Event{Kind: KindCall, Start: l.k.now(), TID: task.tid, PID: 1, Nr: uint16(n)}
		// Each argument is a function of the call, so that mixed records are found out.
		for i := range n % (maxArgs + 1) {
			e.Args = append(e.Args, uint64(n)<<(8*i)^uint64(task.tid))
		}
		e.Captures = []Capture{{Data: bytes.Repeat(fmt.Append(nil, e.Start), l.text)}}
		running := &Running{TID: e.TID, PID: e.PID, Life: 1, InCall: true, Start: e.Start, Nr: e.Nr, Captures: e.Captures}
		copy(running.Args[:], e.Args)
		task.running.Store(running)
		task.entering.Store(false)
		finish := l.k.now()
		e.Duration, e.Ret = finish-e.Start, int64(n)
		if l.k.write(cpu, Lane(1+n%3), finish, appendRecord(nil, &e)) {
			task.calls = append(task.calls, e)
		}
		task.running.Store(nil)
	}
}

// list is the list of running tasks.
func (l *load) list() ([]Running, error) {
	var all []Running
	for i := range l.tasks {
		for l.tasks[i].entering.Load() {
			runtime.Gosched()
		}
		if r := l.tasks[i].running.Load(); r != nil {
			all = append(all, *r)
		}
	}
	return all, nil
}

// made returns the calls that were written, by start.
func (l *load) made() []Event {
	var all []Event
	for i := range l.tasks {
		all = append(all, l.tasks[i].calls...)
	}
	slices.SortFunc(all, byStart)
	return all
}

func byStart(a, b Event) int { return int(a.Start - b.Start) }

// Readers copy while all CPUs write: no record is torn, invented, or missing where the
// history is complete, running calls included.
func TestCopyWhileWriting(t *testing.T) {
	for _, test := range []struct {
		name  string
		shape layout.Shape
		dumps int
		text  int
	}{
		{"a cursor for each CPU", testShape(4, [Lanes]int{2, 12, 12, 40}, [Lanes]int{1, 2, 4, 4}), 60, 1},
		// Pages are taken again while they are copied.
		{"one cursor", testShape(4, [Lanes]int{1, 3, 2, 3}, [Lanes]int{1, 1, 1, 1}), 700, 40},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, ring := newKernel(t, test.shape)
			l := &load{k: k, tasks: make([]task, k.shape.Slots), text: test.text}
			var writers sync.WaitGroup
			for cpu := range l.tasks {
				writers.Go(func() { l.run(cpu) })
			}
			var histories []*History
			for len(histories) < test.dumps {
				if k.clock.Load() < int64(100*len(histories)) {
					runtime.Gosched() // until something happened
					continue
				}
				img, err := ring.Copy(k.now, l.list)
				if err != nil {
					t.Fatal(err)
				}
				histories = append(histories, img.History(Meta{}))
			}
			l.stop.Store(true)
			writers.Wait()

			made := l.made()
			for i, h := range histories {
				if err := checkDump(h, made); err != nil {
					t.Fatalf("dump %d as of %d: %v", i, h.Now, err)
				}
			}
			last := history(t, k, ring)
			if err := checkDump(last, made); err != nil {
				t.Fatalf("when all is quiet: %v", err)
			}
			if total := sum(last.Held) + sum(last.Overwritten); total != uint64(len(made)) {
				t.Errorf("%v held and %v overwritten are not the %d made", last.Held, last.Overwritten, len(made))
			}
		})
	}
}

// checkDump compares a dump with the calls that were made until later.
func checkDump(h *History, made []Event) error {
	seen, held := make(map[int64]bool), uint64(0)
	for i := range h.Events {
		e := &h.Events[i]
		if seen[e.Start] {
			return fmt.Errorf("the call of %d is there twice", e.Start)
		}
		seen[e.Start] = true
		got := bare(*e)
		at, ok := slices.BinarySearchFunc(made, got, byStart)
		if e.Unfinished {
			if e.Seq != 0 || e.Start > h.Now {
				return fmt.Errorf("the running call of %d has number %d", e.Start, e.Seq)
			}
			if !ok {
				continue // its record was lost
			}
			// The list of running tasks has all six arguments.
			want := &made[at]
			got.Args = got.Args[:len(want.Args)]
			got.Unfinished, got.Ret, got.Duration = false, want.Ret, want.Duration
			if len(got.Args) == 0 {
				got.Args = nil
			}
		} else {
			held++
			if e.Start+e.Duration > h.Now {
				return fmt.Errorf("the call of %d ended at %d", e.Start, e.Start+e.Duration)
			}
		}
		if !ok || !reflect.DeepEqual(made[at], got) {
			return fmt.Errorf("event %d was not made so: %+v", i, *e)
		}
	}
	first, _ := slices.BinarySearchFunc(made, Event{Start: h.CompleteSince}, byStart)
	for _, e := range made[first:] {
		if e.Start <= h.Now && !seen[e.Start] {
			return fmt.Errorf("the call of %d is missing, though it is complete from %d", e.Start, h.CompleteSince)
		}
	}
	if held != sum(h.Held) || held+sum(h.Overwritten) > uint64(len(made)) {
		return fmt.Errorf("it shows %d records, says %v held and %v overwritten, of %d made", held, h.Held, h.Overwritten, len(made))
	}
	return nil
}

// A reader may be stopped between any two pages, for as long as it takes to write any
// number of records.
func TestStalledCopy(t *testing.T) {
	for round := range uint64(40) {
		r := rand.New(rand.NewPCG(round, 9))
		k, ring := newKernel(t, smallShape)
		var written []Event
		write := func(n int) *Image {
			for range n {
				if e, ok := write1(k, r); ok {
					written = append(written, e)
				}
			}
			img, err := ring.Copy(k.now, nil)
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
		wraps := round%2 == 1
		before := write(100 + 900*int(round%2))
		after := write(r.IntN(150))
		if got := sum(after.Stat().Overwritten) > 0; got != wraps {
			t.Fatalf("round %d: records are overwritten: %v, want %v", round, got, wraps)
		}
		for at := range smallShape.Pages + 1 {
			img := *before
			img.pages = nil
			for _, page := range before.pages {
				if page.index < at {
					img.pages = append(img.pages, page)
				}
			}
			for _, page := range after.pages {
				if page.index >= at {
					img.pages = append(img.pages, page)
				}
			}
			h := img.History(Meta{})
			seen := make(map[int64]bool)
			for _, e := range h.Events {
				seen[e.Start] = true
			}
			for _, e := range written {
				if e.Start >= h.CompleteSince && e.Start+e.Duration <= h.Now && !seen[e.Start] {
					t.Fatalf("round %d, stopped before page %d: the record of %d is missing, though it is complete from %d to %d",
						round, at, e.Start, h.CompleteSince, h.Now)
				}
			}
			if !wraps && sum(h.Overwritten) > 0 {
				t.Fatalf("round %d, stopped before page %d: %v are said to be overwritten, nothing was", round, at, h.Overwritten)
			}
		}
	}
}

// call writes one call by CPU 0 with the given times, of a process with one thread.
func (k *kernel) call(tid uint32, start, finish int64) { k.threadCall(tid, tid, start, finish) }

func (k *kernel) threadCall(tid, pid uint32, start, finish int64) {
	k.clock.Store(max(k.clock.Load(), finish))
	e := Event{Kind: KindCall, TID: tid, PID: pid, Start: start, Duration: finish - start, Nr: 1, Captures: []Capture{
		{Arg: 0, Data: []byte("in")}, {Arg: 1, Status: CaptureExit, Data: []byte("out")}}}
	k.write(0, LaneRecent, finish, appendRecord(nil, &e))
}

// The history is as of the instant: what had not ended then is running, even if there is
// a record of it by now; what had not begun is not there.
func TestInstant(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	k.call(5, 100, 110)
	now := func() int64 {
		// They commit between the instant and the copying.
		k.call(6, 190, 210)
		k.call(7, 205, 215)
		return 200
	}
	running := func() ([]Running, error) {
		return []Running{
			{TID: 6, PID: 6, Life: 1, InCall: true, Start: 190, Nr: 1},             // has its record
			{TID: 8, PID: 8, Life: 1, InCall: true, Start: 150, Nr: 2, Comm: "me"}, // hangs
			{TID: 9, PID: 9, Life: 1, InCall: true, Start: 201, Nr: 3},             // began later
			{TID: 10, PID: 10, Life: 1, Comm: "idle"},                              // in no call
			{TID: 11, PID: 11, Life: 2, InCall: true, Start: 150},                  // another use of the ring
			{TID: 12, PID: 12, Life: 1, Ring: 1, InCall: true, Start: 150},         // another ring
		}, nil
	}
	img, err := ring.Copy(now, running)
	if err != nil {
		t.Fatal(err)
	}
	h := img.History(Meta{})
	want := []Event{
		{Kind: KindCall, Seq: 1, Start: 100, Duration: 10, TID: 5, PID: 5, Nr: 1, Captures: []Capture{
			{Arg: 0, Data: []byte("in")}, {Arg: 1, Status: CaptureExit, Data: []byte("out")}}},
		{Kind: KindCall, Lane: LaneRecent, Start: 150, TID: 8, PID: 8, Nr: 2, Args: make([]uint64, 6), Unfinished: true, Known: true, Comm: "me"},
		{Kind: KindCall, Lane: LaneRecent, Start: 190, TID: 6, PID: 6, Nr: 1, Unfinished: true, Captures: []Capture{
			{Arg: 0, Data: []byte("in")}}},
	}
	want[2].Known = true // the list of tasks says who 6 is
	if diff := cmp.Diff(want, h.Events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if h.Now != 200 || sum(h.Held) != 1 || sum(h.Overwritten) != 0 || h.Oldest != 100 || h.Newest != 190 {
		t.Errorf("now %d, held %v, overwritten %v, from %d to %d", h.Now, h.Held, h.Overwritten, h.Oldest, h.Newest)
	}

	failure := errors.New("no iterator")
	if _, err := ring.Copy(now, func() ([]Running, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Errorf("a failing list of tasks gives %v, want %v", err, failure)
	}
}

// A writer counts its record before it commits it: that is no record overwritten.
func TestCountedNotCommitted(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	k.call(5, 100, 110)
	k.put(k.control+layout.SizesSlotsAt+layout.CursorAtRecords, 2) // of the boot lane
	if h := history(t, k, ring); sum(h.Overwritten) != 0 || sum(h.Held) != 1 {
		t.Errorf("%v held, %v overwritten; want 1, none", h.Held, h.Overwritten)
	}
}

// Events, one at a time, are those of the history.
func TestEvents(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	k, ring := newKernel(t, smallShape)
	for range 1000 {
		write1(k, r)
	}
	img, err := ring.Copy(k.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, n := img.History(Meta{}).Events, 0
	for e := range img.Events() {
		if diff := cmp.Diff(&want[n], e); diff != "" {
			t.Fatalf("event %d (-history +events):\n%s", n, diff)
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d events, want %d", n, len(want))
	}
	for range img.Events() {
		break // must not go on
	}
}

// A frozen ring shows the time of freezing, whenever it is looked at.
func TestFrozen(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	k.call(5, 100, 110)
	frozen := k.freeze()
	k.call(5, frozen+5, frozen+6) // a CPU that had not seen the flag
	h := history(t, k, ring)
	if h.Now != frozen || len(h.Events) != 1 {
		t.Errorf("%d events as of %d, want 1 as of %d", len(h.Events), h.Now, frozen)
	}
	if got := ring.Control().Frozen; got != frozen {
		t.Errorf("frozen at %d, want %d", got, frozen)
	}
}

// A death stops the clock when it begins; the exit that it still owes is shown.
func TestDeath(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	k.call(5, 100, 110)
	death := k.control + layout.RingAtDeath
	k.put(k.control+layout.RingAtFrozen, 120)
	k.or(k.control+layout.RingAtFlags, layout.RingFlagDying)
	k.put(death+layout.DeathAtTime, 120)
	k.put(death+layout.DeathAtKind, layout.DeathKindSignal|5<<32) // kind, tgid
	k.put(death+layout.DeathAtTID, 6|11<<32)                      // tid, status
	k.put(death+layout.DeathAtSignal, 11|1<<32)                   // signal, code
	k.put(death+layout.DeathAtAddr, 0xbad)
	k.put(death+layout.DeathAtPID, 77|88<<32)                     // pid, uid
	k.put(death+layout.DeathAtFlags, layout.DeathFlagFirst|1<<32) // flags, limit
	k.put(death+layout.DeathAtComm, le.Uint64([]byte("app\x00\x00\x00\x00\x00")))
	if c := ring.Control(); c.Death != nil || !c.Dying || c.Frozen != 0 {
		t.Errorf("before it is ready the death is %+v, dying %v, frozen %d", c.Death, c.Dying, c.Frozen)
	}
	k.put(death+layout.DeathAtMore, 31)
	k.put(death+layout.DeathAtSender, 78|layout.SenderKnownProcess<<32) // tgid, known
	k.put(death+layout.DeathAtSender+layout.SenderAtCgroup, 4712)
	k.put(death+layout.DeathAtSender+layout.SenderAtComm, le.Uint64([]byte("killer\x00\x00")))
	for i, v := range []uint64{0x401000, 0x7ffc0000, 9, 10, 11, 90} {
		k.put(death+layout.DeathAtIP+8*i, v) // ip, sp, rss, used, limit, told
	}
	k.put(death+layout.DeathAtTeller, layout.SenderKnownKernel<<32)
	k.put(death+layout.DeathAtReady, 1)
	unfinished := Event{Kind: KindCall, Start: 115, TID: 7, PID: 5, Nr: 202, Unfinished: true}
	k.write(1, LaneRecent, 130, appendRecord(nil, &unfinished))
	exit := Event{Kind: KindExit, Start: 131, TID: 6, PID: 5, Exit: &Exit{Status: 0x8b, Group: true}}
	k.write(1, LaneLife, 131, appendRecord(nil, &exit))
	late := Event{Kind: KindExit, Start: 150, TID: 9, PID: 9, Exit: &Exit{}}
	k.write(1, LaneLife, 150, appendRecord(nil, &late))
	k.put(death+layout.DeathAtDone, 131)
	k.put(death+layout.DeathAtTID, 6|0x8b<<32)
	k.put(death+layout.DeathAtFlags, layout.DeathFlagFirst|layout.DeathFlagGroup|1<<32)
	k.or(k.control+layout.RingAtFlags, layout.RingFlagFrozen)
	k.clock.Store(1000)

	want := &Death{Kind: "signal", Time: 120, PID: 5, TID: 6, Comm: "app", First: true, Status: 0x8b, Final: true,
		Signal: 11, Code: 1, Addr: 0xbad, SenderPID: 77, SenderUID: 88, More: 31,
		Sender: &Sender{PID: 78, Cgroup: 4712, Comm: "killer"}, IP: 0x401000, SP: 0x7ffc0000,
		RSSPages: 9, UsedPages: 10, LimitPages: 11, Told: 90, Teller: &Sender{Kernel: true}}
	h := history(t, k, ring)
	if diff := cmp.Diff(want, h.Meta.Death); diff != "" {
		t.Errorf("death (-want +got):\n%s", diff)
	}
	var starts []int64
	for _, e := range h.Events {
		starts = append(starts, e.Start)
	}
	if diff := cmp.Diff([]int64{100, 115, 131}, starts); diff != "" || h.Now != 120 {
		t.Errorf("events as of %d (-want +got):\n%s", h.Now, diff)
	}
}

// Where the service does not wait for the last thread of a process that dies, the ends of the
// others are shown.
func TestDeathGoesOn(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	k.call(5, 100, 110)
	death := k.control + layout.RingAtDeath
	k.put(k.control+layout.RingAtFrozen, 120)
	k.put(death+layout.DeathAtTime, 120)
	k.put(death+layout.DeathAtKind, layout.DeathKindSignal|5<<32)
	k.put(death+layout.DeathAtReady, 1)
	k.or(k.control+layout.RingAtFlags, layout.RingFlagDying)
	exit := Event{Kind: KindExit, Start: 131, TID: 6, PID: 5, Exit: &Exit{Status: 9}}
	k.write(1, LaneLife, 131, appendRecord(nil, &exit))
	k.or(k.control+layout.RingAtFlags, layout.RingFlagFrozen)
	k.clock.Store(1000)
	h := history(t, k, ring)
	if len(h.Events) != 2 || h.Events[1].Kind != KindExit || h.Now != 120 {
		t.Errorf("%d events as of %d: %+v; want the call and the exit, as of 120", len(h.Events), h.Now, h.Events)
	}
}

func TestControl(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	k.put(k.control+layout.RingAtFlags, layout.RingFlagNoPayload|3<<32)
	k.put(k.control+layout.RingAtArmed, 50)
	k.put(k.control+layout.RingAtBootDone, 60)
	k.put(k.control+layout.RingAtFirst, 70|layout.FirstInit<<32)
	k.put(k.control+layout.RingAtGone, 80)
	k.put(k.control+layout.RingAtExited, 90)
	k.put(k.control+layout.RingAtLimitData, 64|256<<32)
	k.put(k.control+layout.RingAtName, le.Uint64([]byte("box\x00junk")))
	k.put(k.control+layout.RingAtParent, le.Uint64([]byte("podlong\x00")))
	want := Control{Index: 3, Life: 1, CgroupID: testCgroup, Name: "box", Parent: "podlong", Armed: 50, BootDone: 60,
		Gone: 80, Exited: 90, NoPayload: true, FirstPID: 70, FirstBy: layout.FirstInit, LimitData: 64, LimitString: 256}
	if diff := cmp.Diff(want, ring.Control()); diff != "" {
		t.Errorf("control (-want +got):\n%s", diff)
	}
	for cause := range layout.LostNames {
		for range cause + 1 {
			k.lose(cause%4, cause)
		}
	}
	wantLost := map[string]uint64{"no_page": 1, "busy": 2, "storage": 3, "frozen": 4, "too_long": 5, "copy": 6, "death": 7}
	if diff := cmp.Diff(wantLost, ring.Stat(k.now).Lost); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
}

// A ring that is freed, or given to another container, is nobody's history.
func TestFreed(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	k.call(5, 100, 110)
	_, err := ring.Copy(func() int64 {
		k.put(k.control+layout.RingAtLife, 2)
		return 200
	}, nil)
	if !errors.Is(err, ErrFree) {
		t.Errorf("a ring given away while it was copied: %v, want %v", err, ErrFree)
	}
	// What is left of the use before is not the new container's.
	if h := history(t, k, ring); len(h.Events) != 0 || sum(h.Overwritten) != 1 {
		t.Errorf("%d events of another container, %v overwritten", len(h.Events), h.Overwritten)
	}
	k.put(k.control+layout.RingAtLife, 0)
	if _, err := ring.Copy(k.now, nil); !errors.Is(err, ErrFree) {
		t.Errorf("a free ring: %v, want %v", err, ErrFree)
	}
	if diff := cmp.Diff(Stat{}, ring.Stat(k.now)); diff != "" {
		t.Errorf("figures of a free ring (-want +got):\n%s", diff)
	}
}

// What is no record ends its page: it is counted, and the history is not complete before.
func TestDamagedPage(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	for i := range int64(10) {
		k.call(5, 100+10*i, 105+10*i)
	}
	at := int(stateUsed(k.mem.load(layout.SizesPage))) // page 1 of the boot lane
	size := (at - layout.SizesPageHead) / 10
	k.put(layout.SizesPage+layout.SizesPageHead+3*size, 0)
	h := history(t, k, ring)
	if len(h.Events) != 3 || h.Damaged != 1 || h.LaneCompleteSince[LaneBoot] != 196 {
		t.Errorf("%d events, %d damaged, complete since %d; want 3, 1, 196", len(h.Events), h.Damaged, h.LaneCompleteSince[LaneBoot])
	}
	for _, damage := range []struct {
		name string
		at   int
		v    uint64
	}{
		{"used more than there is", layout.PageAtState, k.mem.load(layout.SizesPage)&^layout.PageStateUsed | layout.SizesPage + 8},
		{"used no multiple of 8", layout.PageAtState, k.mem.load(layout.SizesPage) + 1},
		{"of another place", layout.PageAtState, k.mem.load(layout.SizesPage) + 1<<layout.PageStateSeqShift},
		{"of no slot", layout.PageAtSlot, 1 << 20},
		{"of another lane", layout.PageAtSlot, 1 << 32},
		{"of no number", layout.PageAtFirst, 1 << 60},
		{"of no time", layout.PageAtLast, 1 << 63},
	} {
		k, ring := newKernel(t, smallShape)
		k.call(5, 100, 110)
		k.put(layout.SizesPage+damage.at, damage.v)
		if h := history(t, k, ring); len(h.Events) != 0 || h.Damaged != 1 || h.LaneCompleteSince[LaneBoot] <= h.Now {
			t.Errorf("page %s: %d events, %d damaged, complete since %d at %d", damage.name,
				len(h.Events), h.Damaged, h.LaneCompleteSince[LaneBoot], h.Now)
		}
	}
}

// A page that was just taken says so before its head is set: it has lost what it held.
func TestPageJustTaken(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	k.or(k.control+layout.RingAtFlags, layout.RingFlagBootDone)
	k.call(5, 100, 110)
	at := int(smallShape.Lane[LaneRecent].First+1) * layout.SizesPage
	k.put(at, uint64(1+smallShape.Lane[LaneRecent].Pages)<<layout.PageStateSeqShift|layout.PageStateOpen)
	h := history(t, k, ring)
	if len(h.Events) != 0 || h.Damaged != 0 || h.Overwritten[LaneRecent] != 1 || h.CompleteSince != 111 {
		t.Errorf("%d events, %d damaged, %v overwritten, complete since %d; want none, none, 1, 111",
			len(h.Events), h.Damaged, h.Overwritten, h.CompleteSince)
	}
}

func TestShapes(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*layout.Shape)
	}{
		{"another layout", func(s *layout.Shape) { s.Layout++ }},
		{"no pages", func(s *layout.Shape) { s.Pages = 0 }},
		{"no slots", func(s *layout.Shape) { s.Slots = 0 }},
		{"no room for the slots", func(s *layout.Shape) { s.Slots = 100 }},
		{"too many slots", func(s *layout.Shape) { s.Slots = maxSlots + 1; s.Bytes = MaxRing }},
		{"more than there can be", func(s *layout.Shape) { s.Bytes = MaxRing + 8 }},
		{"no room for the pages", func(s *layout.Shape) { s.Pages = 1 << 31 }},
		{"lanes that overlap", func(s *layout.Shape) { s.Lane[2].First-- }},
		{"a lane behind the pages", func(s *layout.Shape) { s.Lane[3].Pages++ }},
		{"a lane of many pages", func(s *layout.Shape) { s.Lane[3].Pages = 1<<32 - 1 }},
		{"a mask with holes", func(s *layout.Shape) { s.Lane[1].Mask = 2 }},
		{"a mask beyond the slots", func(s *layout.Shape) { s.Lane[1].Mask = 7 }},
	} {
		shape := smallShape
		test.change(&shape)
		if _, err := NewRing(make([]byte, smallShape.Bytes), shape); err == nil {
			t.Errorf("a ring with %s is none", test.name)
		}
	}
	if _, err := NewRing(make([]byte, smallShape.Bytes-8), smallShape); err == nil {
		t.Error("a ring that is not all mapped is none")
	}
	if _, err := NewRing(make([]byte, smallShape.Bytes+8)[1:], smallShape); err == nil {
		t.Error("a ring that is not aligned is none")
	}
}

// Calls are named by what is known of their thread, else of their process, nearest first.
func TestIdentities(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	event := func(start int64, tid, pid uint32, comm string, e Event) {
		e.Start, e.TID, e.PID, e.Comm, e.UID, e.GID = start, tid, pid, comm, uint32(len(comm)), 9
		k.write(0, LaneLife, start, appendRecord(nil, &e))
	}
	cred, exit := Event{Kind: KindCred}, Event{Kind: KindExit, Exit: &Exit{Group: true}}
	fork := func(tid, pid uint32) Event { return Event{Kind: KindFork, Fork: &Fork{ChildTID: tid, ChildPID: pid}} }
	type who struct {
		tid, pid uint32
		start    int64
		want     string
	}
	calls := []who{
		{5, 5, 100, "five"},    // only seen later
		{5, 5, 210, "five"},    // seen before
		{6, 6, 230, "five"},    // a child, so far
		{6, 6, 250, "six"},     // after its exec
		{7, 5, 235, "worker"},  // a thread by its own name
		{8, 5, 236, "worker"},  // a thread of that process, whoever was seen last
		{9, 9, 237, ""},        // nobody ever saw it
		{6, 6, 310, "fresh"},   // the id is used again, by an unseen task
		{12, 12, 320, ""},      // nor is one a task that is born later
		{20, 20, 330, "alive"}, // listed as running
		{21, 20, 331, "alive"}, // a thread of that
	}
	for _, c := range calls {
		k.threadCall(c.tid, c.pid, c.start, c.start+1)
	}
	event(200, 5, 5, "five", cred)
	event(220, 5, 5, "five", fork(6, 6))
	event(240, 6, 6, "six", Event{Kind: KindExec, Exec: &Exec{OldTID: 6}})
	event(225, 7, 5, "worker", cred)
	event(300, 6, 6, "six", exit)
	event(315, 6, 6, "fresh", cred)
	event(340, 5, 5, "five", fork(12, 12))
	k.clock.Store(400)
	img, err := ring.Copy(k.now, func() ([]Running, error) {
		return []Running{{TID: 20, PID: 20, Life: 1, Comm: "alive", UID: 5, GID: 9}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[int64]Event)
	for _, e := range img.History(Meta{}).Events {
		if e.Kind == KindCall {
			got[e.Start] = e
		}
	}
	for _, c := range calls {
		e := got[c.start]
		if e.Comm != c.want || e.Known != (c.want != "") || e.Known && (e.UID != uint32(len(c.want)) || e.GID != 9) {
			t.Errorf("thread %d at %d is %q (known: %v, uid %d), want %q", c.tid, c.start, e.Comm, e.Known, e.UID, c.want)
		}
	}
}

func TestParseRunning(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var want []Running
	var b []byte
	for i := range 300 {
		task := Running{Ring: uint32(r.IntN(5)), Life: r.Uint64N(5), TID: 1 + r.Uint32N(99), PID: 1 + r.Uint32N(99),
			UID: r.Uint32N(9), GID: r.Uint32N(9), Comm: fmt.Sprintf("task-%d", i)}
		if task.InCall = r.IntN(3) > 0; task.InCall {
			task.Start, task.Nr, task.ABI = 1+r.Int64N(1<<40), uint16(r.IntN(400)), ABI(r.IntN(3))
			for i := range task.Args {
				task.Args[i] = randomWord(r)
			}
			for range r.IntN(layout.SizesCallCaptures + 1) {
				task.Captures = append(task.Captures, randomCapture(r, maxArgs))
			}
		}
		want = append(want, task)
		b = task.append(b)
	}
	got, err := ParseRunning(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tasks (-written +read):\n%s", diff)
	}
	// Cut anywhere, it gives the tasks before that, and an error unless between two.
	starts := []int{}
	at := 0
	for i := range want {
		starts = append(starts, at)
		at += len(want[i].append(nil))
	}
	for n := 0; n < 4000; n++ {
		whole, between := slices.BinarySearch(starts, n)
		if !between {
			whole--
		}
		got, err := ParseRunning(b[:n:n])
		if (err == nil) != between || len(got) != whole {
			t.Fatalf("%d bytes give %d tasks and %v, want %d", n, len(got), err, whole)
		}
	}
}

func TestInvalidRunning(t *testing.T) {
	task := Running{TID: 1, PID: 1, InCall: true, Start: 1, Captures: []Capture{{Data: []byte("abc")}}}
	for _, test := range []struct {
		name string
		at   int
		v    uint32
	}{
		{"no thread", layout.RunningAtTID, 0},
		{"no process", layout.RunningAtTGID, 0},
		{"unknown flag", layout.RunningAtFlags, 1 << 30},
		{"no start", layout.RunningAtStart, 0},
		{"unknown ABI or five captures", layout.RunningAtNr, 5 << 24},
		{"more captures than bytes", layout.RunningAtNr, 2 << 24},
		{"less captures than bytes", layout.RunningAtCaptureLen, 16},
		{"captures behind the end", layout.RunningAtCaptureLen, 1<<32 - 1},
	} {
		b := append(task.append(nil), make([]byte, 8)...)
		le.PutUint32(b[test.at:], test.v)
		if got, err := ParseRunning(b); err == nil {
			t.Errorf("%s: is %+v", test.name, got)
		}
	}
}
