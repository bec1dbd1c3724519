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

// A runner is a thread that makes calls, some of them again and again, and remembers what
// it did.
type runner struct {
	tid     uint32
	thread  kernelThread
	running atomic.Pointer[Running]
	// A call is marked running right after its time was taken; see task.
	entering atomic.Bool
	made     []Event // each call apart
}

// call makes the call of a number as a CPU; the same number is the same call.
func (u *runner) call(k *kernel, cpu, number int) {
	u.entering.Store(true)
	e := Event{Kind: KindCall, Start: k.now(), TID: u.tid, PID: 1, Nr: uint16(number), Ret: int64(number)}
	for i := range number % (maxArgs + 1) {
		e.Args = append(e.Args, uint64(number)<<(8*i))
	}
	if number%2 == 0 {
		e.Captures = []Capture{{Data: fmt.Append(nil, number)}}
	}
	r := &Running{TID: e.TID, PID: e.PID, Life: 1, InCall: true, Start: e.Start, Nr: e.Nr, Captures: e.Captures}
	copy(r.Args[:], e.Args)
	u.running.Store(r)
	u.entering.Store(false)
	for range number % 3 {
		k.now()
	}
	finish := k.now()
	e.Duration = finish - e.Start
	if k.writeBy(&u.thread, cpu, Lane(1+number%3), finish, appendRecord(nil, &e)) {
		u.made = append(u.made, e)
	}
	u.running.Store(nil)
}

// mix makes n random calls, on changing CPUs, until stop is set.
func (u *runner) mix(k *kernel, r *rand.Rand, n int, stop *atomic.Bool, cpu func() int) {
	number := 0
	for range n {
		if stop != nil && stop.Load() {
			return
		}
		if r.IntN(8) == 0 {
			number = r.IntN(100)
		}
		u.call(k, cpu(), number)
	}
}

// checkRuns fails unless every event is a run of calls that its thread made one after the
// other, none of which is in two events, and none is missing where the history is complete.
func checkRuns(h *History, runners []*runner) error {
	var held, made uint64
	for _, u := range runners {
		made += uint64(len(u.made))
		seen := make(map[int]bool)
		for i := range h.Events {
			e := &h.Events[i]
			if e.TID != u.tid {
				continue
			}
			at, ok := slices.BinarySearchFunc(u.made, *e, byStart)
			if e.Unfinished {
				if e.Seq != 0 || e.Run != nil || e.Start > h.Now {
					return fmt.Errorf("a running call: %+v", e)
				}
				if ok {
					if seen[at] {
						return fmt.Errorf("the call of %d is shown as running, and in a run", e.Start)
					}
					seen[at] = true
				}
				continue
			}
			if !ok || at+int(e.Calls()) > len(u.made) {
				return fmt.Errorf("thread %d made no such call: %+v, run %+v", u.tid, e, e.Run)
			}
			first := bare(*e)
			first.Run = nil
			if !reflect.DeepEqual(u.made[at], first) {
				return fmt.Errorf("another call than was made (-made +read):\n%s", cmp.Diff(u.made[at], first))
			}
			total := int64(0)
			for n, c := range u.made[at:][:e.Calls()] {
				if seen[at+n] {
					return fmt.Errorf("the call of %d is in two events", c.Start)
				}
				if c.Nr != e.Nr {
					return fmt.Errorf("call %d of a run of %d is %d, the run is of %d", n, e.Run.Count, c.Nr, e.Nr)
				}
				seen[at+n] = true
				total += c.Duration
			}
			held += e.Calls()
			if e.Run == nil {
				continue
			}
			last := u.made[at+int(e.Run.Count)-1]
			if want := (Run{Count: e.Run.Count, Last: last.Start + last.Duration, Total: total}); want != *e.Run || want.Count < 2 {
				return fmt.Errorf("a run is %+v, and was %+v", *e.Run, want)
			}
		}
		first, _ := slices.BinarySearchFunc(u.made, Event{Start: h.CompleteSince}, byStart)
		for i := first; i < len(u.made) && u.made[i].Start <= h.Now; i++ {
			if c := u.made[i]; !seen[i] {
				return fmt.Errorf("the call of %d is missing, though it is complete from %d to %d", c.Start, h.CompleteSince, h.Now)
			}
		}
	}
	if held != sum(h.Held) || held+sum(h.Overwritten) > made {
		return fmt.Errorf("it shows %d calls, says %v held and %v overwritten, of %d made", held, h.Held, h.Overwritten, made)
	}
	if h.Damaged != 0 {
		return fmt.Errorf("%d pages are said to be damaged", h.Damaged)
	}
	return nil
}

// Whatever is made how often, by which thread on which CPU: unfolded it is what was made,
// and what is overwritten is counted call by call.
func TestRuns(t *testing.T) {
	folded := 0
	for round := range uint64(60) {
		r := rand.New(rand.NewPCG(round, 31))
		k, ring := newKernel(t, smallShape)
		runners := []*runner{{tid: 1}, {tid: 2}, {tid: 3}}
		cpu := 0
		for range r.IntN(500) {
			runners[r.IntN(3)].mix(k, r, 1+r.IntN(40), nil, func() int {
				if r.IntN(20) == 0 {
					cpu = r.IntN(int(k.shape.Slots))
				}
				return cpu
			})
		}
		h := history(t, k, ring)
		if err := checkRuns(h, runners); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for lane := range Lanes {
			if made := k.lanes[lane].made.Load(); h.Held[lane]+h.Overwritten[lane] != made {
				t.Errorf("round %d, lane %s: %d held and %d overwritten are not the %d made", round, Lane(lane), h.Held[lane], h.Overwritten[lane], made)
			}
		}
		seqs := make(map[uint64]bool)
		for _, e := range h.Events {
			if e.Run != nil {
				folded++
			}
			if seqs[e.Seq] {
				t.Fatalf("number %d is there twice", e.Seq)
			}
			seqs[e.Seq] = true
		}
		// Read one by one they are the same, and so they are from a file.
		img, err := ring.Copy(k.now, nil)
		if err != nil {
			t.Fatal(err)
		}
		saved, err := read(writeTo(t, img, frameGoal))
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for e := range saved.Image().Events() {
			if !reflect.DeepEqual(&h.Events[i], e) {
				t.Fatalf("event %d of the file differs:\n%s", i, cmp.Diff(&h.Events[i], e))
			}
			i++
		}
		if i != len(h.Events) {
			t.Fatalf("the file has %d events, the ring has %d", i, len(h.Events))
		}
		if stat := img.Stat(); stat.Newest != h.Newest || stat.Oldest != h.Oldest || stat.Held != h.Held {
			t.Fatalf("figures %+v of a history from %d to %d, %v held", stat, h.Oldest, h.Newest, h.Held)
		}
	}
	if folded < 1000 {
		t.Errorf("%d runs only; the test shows little", folded)
	}
}

// Readers copy while runs grow: no run has more calls than were made, or times of other ones.
func TestRunsWhileWriting(t *testing.T) {
	k, ring := newKernel(t, testShape(4, [Lanes]int{2, 12, 12, 40}, [Lanes]int{1, 2, 4, 4}))
	var (
		stop    atomic.Bool
		writers sync.WaitGroup
		runners []*runner
	)
	for cpu := range 4 {
		u := &runner{tid: uint32(cpu + 1)}
		runners = append(runners, u)
		r := rand.New(rand.NewPCG(uint64(cpu), 32))
		writers.Go(func() { u.mix(k, r, 1<<30, &stop, func() int { return cpu }) })
	}
	list := func() (all []Running, _ error) {
		for _, u := range runners {
			for u.entering.Load() {
				runtime.Gosched()
			}
			if r := u.running.Load(); r != nil {
				all = append(all, *r)
			}
		}
		return all, nil
	}
	var histories []*History
	for len(histories) < 100 {
		if k.clock.Load() < int64(200*len(histories)) {
			runtime.Gosched() // until something happened
			continue
		}
		img, err := ring.Copy(k.now, list)
		if err != nil {
			t.Fatal(err)
		}
		histories = append(histories, img.History(Meta{}))
	}
	stop.Store(true)
	writers.Wait()
	grown := 0
	for i, h := range histories {
		if err := checkRuns(h, runners); err != nil {
			t.Fatalf("dump %d as of %d: %v", i, h.Now, err)
		}
		grown += len(slices.DeleteFunc(h.Events, func(e Event) bool { return e.Run == nil }))
	}
	last := history(t, k, ring)
	if err := checkRuns(last, runners); err != nil {
		t.Fatalf("when all is quiet: %v", err)
	}
	made := uint64(0)
	for _, u := range runners {
		made += uint64(len(u.made))
	}
	if sum(last.Held)+sum(last.Overwritten) != made || grown == 0 {
		t.Errorf("%v held and %v overwritten are not the %d made; %d runs were seen", last.Held, last.Overwritten, made, grown)
	}
}

// A writer may be stopped while it counts, for as long as may be: what it has not counted
// yet is not there, what it has counted is.
func TestRunStalled(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	k.or(k.control+layout.RingAtFlags, layout.RingFlagBootDone)
	u := &runner{tid: 1}
	for range 5 {
		u.call(k, 0, 7)
	}
	want := history(t, k, ring)
	fold := (u.thread.page-1)*layout.SizesPage + u.thread.fold
	count := k.mem.load(fold + layout.FoldAtCount)
	k.put(fold+layout.FoldAtAt+int((count+1)&1)*layout.SizeofRepeats, 1<<63-1) // and no further
	got := history(t, k, ring)
	got.Now = want.Now
	if diff := cmp.Diff(want, got); diff != "" || len(got.Events) != 1 || got.Events[0].Calls() != 5 {
		t.Errorf("a run that is being counted (-before +meanwhile):\n%s", diff)
	}
}

// As of an instant in the middle of a run it has at least the calls that had returned, and
// none if none but the first had begun.
func TestRunInstant(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	k.or(k.control+layout.RingAtFlags, layout.RingFlagBootDone)
	u := &runner{tid: 1}
	for range 5 {
		u.call(k, 0, 7)
	}
	u.call(k, 0, 8)
	for _, at := range []struct {
		instant int64
		calls   []uint64
	}{
		{u.made[0].Start - 1, nil},
		{u.made[0].Start, []uint64{1}}, // unfinished
		{u.made[1].Start - 1, []uint64{1}},
		{u.made[1].Start, []uint64{5}}, // how many of them were later it does not tell
		{u.made[5].Start - 1, []uint64{5}},
		{u.made[5].Start + 9, []uint64{5, 1}},
	} {
		img, err := ring.Copy(func() int64 { return at.instant }, nil)
		if err != nil {
			t.Fatal(err)
		}
		h := img.History(Meta{})
		var calls []uint64
		held := uint64(0)
		for _, e := range h.Events {
			calls = append(calls, e.Calls())
			if !e.Unfinished {
				held += e.Calls()
			}
		}
		if diff := cmp.Diff(at.calls, calls); diff != "" || held != sum(h.Held) {
			t.Errorf("as of %d, %v held (-want +got):\n%s", at.instant, h.Held, diff)
		}
	}
	// The fifth call was seen running, and counted meanwhile: it is not there twice.
	img, err := ring.Copy(func() int64 { return u.made[4].Start }, func() ([]Running, error) {
		return []Running{{TID: 1, PID: 1, Life: 1, InCall: true, Start: u.made[4].Start, Nr: 7}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if h := img.History(Meta{}); len(h.Events) != 1 || h.Events[0].Calls() != 5 {
		t.Errorf("a call that was running and is counted: %+v", h.Events)
	}
}

// A fold of which something is not as it can be ends what is read of its page.
func TestInvalidFolds(t *testing.T) {
	u32 := func(at int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[at:], v) } }
	for name, corrupt := range map[string]func(b []byte){
		"none":                 nil,
		"no count":             u32(layout.FoldAtCount, 0),
		"of nothing":           u32(layout.FoldAtOf, 0),
		"of itself":            u32(layout.FoldAtOf, layout.SizesPageHead+32),
		"of the page behind":   u32(layout.FoldAtOf, layout.SizesPage+layout.SizesPageHead),
		"of half a call":       u32(layout.FoldAtOf, layout.SizesPageHead+8),
		"of an odd place":      u32(layout.FoldAtOf, layout.SizesPageHead+1),
		"with flags":           func(b []byte) { b[layout.FoldAtFlags] = 1 },
		"ends before it began": u32(layout.FoldAtSecond, 1<<30),
		"took longer than it could": func(b []byte) {
			le.PutUint32(b[layout.FoldAtAt+layout.RepeatsAtTotal:], 1<<30)
			le.PutUint32(b[layout.FoldAtAt+layout.SizeofRepeats+layout.RepeatsAtTotal:], 1<<30)
		},
	} {
		k, ring := newKernel(t, smallShape)
		k.or(k.control+layout.RingAtFlags, layout.RingFlagBootDone)
		u := &runner{tid: 1}
		for range 3 {
			u.call(k, 0, 7)
		}
		if u.thread.fold != u.thread.at+48 && u.thread.fold != u.thread.at+32 {
			t.Fatalf("the fold is at %d, its call at %d", u.thread.fold, u.thread.at)
		}
		fold := k.bytes[(u.thread.page-1)*layout.SizesPage+u.thread.fold:]
		if corrupt != nil {
			corrupt(fold)
		}
		h := history(t, k, ring)
		if corrupt == nil && (h.Damaged != 0 || len(h.Events) != 1 || h.Events[0].Calls() != 3) {
			t.Errorf("%s: %d damaged, %+v", name, h.Damaged, h.Events)
		}
		if corrupt != nil && (h.Damaged != 1 || len(h.Events) != 1 || h.Events[0].Calls() != 1) {
			t.Errorf("%s: %d damaged, %+v", name, h.Damaged, h.Events)
		}
	}
	// A second fold of one call.
	k, ring := newKernel(t, smallShape)
	k.or(k.control+layout.RingAtFlags, layout.RingFlagBootDone)
	u := &runner{tid: 1}
	u.call(k, 0, 7)
	u.call(k, 0, 7)
	u.thread.fold = 0
	u.call(k, 0, 7)
	if h := history(t, k, ring); h.Damaged != 1 || len(h.Events) != 1 || h.Events[0].Calls() != 2 {
		t.Errorf("two folds of one call: %d damaged, %+v", h.Damaged, h.Events)
	}
}

// A ring that is freed while a fold is read again and again does not keep the reader.
func TestRunFreed(t *testing.T) {
	k, ring := newKernel(t, smallShape)
	u := &runner{tid: 1}
	u.call(k, 0, 7)
	u.call(k, 0, 7)
	k.put(k.control+layout.RingAtLife, 0)
	if _, err := ring.Copy(k.now, nil); !errors.Is(err, ErrFree) {
		t.Errorf("a freed ring: %v", err)
	}
	if !bytes.Contains(k.bytes, []byte{layout.SizeofFold, 0, layout.KindFold, 0}) {
		t.Error("there is no fold in the ring; the test shows nothing")
	}
}
