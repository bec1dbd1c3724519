package ringstore

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// After Scrub no byte of a data buffer is anywhere in the ring's memory, be it in a record,
// behind the last one of a page, or in one that was never finished; and every other thing
// of every record is as it was.
func TestScrub(t *testing.T) {
	t.Parallel()
	const secret = "secret!!" // in random bytes it does not come up
	const most = 4            // bytes that may stay
	data := func(c CaptureOf) bool { return c.Nr%2 == 0 && c.Arg < 4 && c.ABI != ABI32 && c.Len > most }
	scrubbed := 0
	for n := range uint64(60) {
		r := rand.New(rand.NewPCG(40, n))
		k, ring := newKernel(t, smallShape)
		for range r.IntN(3000) {
			e := randomEvent(r)
			e.Start = k.now()
			for i := range e.Captures {
				c := &e.Captures[i]
				if r.IntN(4) == 0 {
					c.Data = bytes.Repeat([]byte("a"), r.IntN(most+1))
				}
				if e.Kind == KindCall && data(CaptureOf{e.Nr, e.ABI, c.Arg, c.Status, len(c.Data), 0}) {
					c.Data = bytes.Repeat([]byte(secret), 1+len(c.Data)/16)
				}
			}
			k.write(r.IntN(int(k.shape.Slots)), Lane(1+r.IntN(Lanes-1)), k.now(), appendRecord(nil, &e))
		}
		// A writer left its record unfinished, and others left theirs behind the end.
		for page := range int(k.shape.Pages) {
			at := page * layout.SizesPage
			state := k.mem.load(at)
			if used := max(stateUsed(state), layout.SizesPageHead); state != 0 && used < layout.SizesPage {
				copy(k.bytes[at+used:at+layout.SizesPage], bytes.Repeat([]byte(secret), 1+r.IntN(100)))
			}
		}
		k.freeze()
		want := history(t, k, ring)
		for i := range want.Events {
			e := &want.Events[i]
			for j := range e.Captures {
				c := &e.Captures[j]
				if e.Kind == KindCall && data(CaptureOf{e.Nr, e.ABI, c.Arg, c.Status, len(c.Data), 0}) {
					c.Data, c.Status = make([]byte, len(c.Data)), c.Status|CaptureNone
				}
			}
		}
		scrubbed += ring.Scrub(data)
		if at := bytes.Index(k.bytes, []byte(secret)[:6]); at >= 0 {
			t.Fatalf("ring %d: a data buffer is left at byte %d", n, at)
		}
		if got := history(t, k, ring); !reflect.DeepEqual(want, got) {
			diff := cmp.Diff(want, got)
			t.Fatalf("ring %d: it holds something else (-want +got):\n%s", n, diff)
		}
		// It can be written again.
		k.put(k.control+layout.RingAtFlags, k.mem.load(k.control+layout.RingAtFlags)&^layout.RingFlagFrozen)
		before := want.Held
		for range 20 {
			write1(k, r)
		}
		if after := history(t, k, ring); after.Damaged > want.Damaged || after.Held == before {
			t.Fatalf("ring %d: after 20 more records it holds %v, and had %v", n, after.Held, before)
		}
	}
	if scrubbed == 0 {
		t.Error("no capture was overwritten")
	}
}

// Whatever a page holds: no panic, and nothing is left behind what readers read.
func TestScrubOfDamagedPages(t *testing.T) {
	t.Parallel()
	shape := testShape(1, [Lanes]int{1, 1, 1, 1}, [Lanes]int{1, 1, 1, 1})
	r := rand.New(rand.NewPCG(41, 41))
	for range 300 {
		k, ring := newKernel(t, shape)
		for i := range int(shape.Pages) * layout.SizesPage {
			k.bytes[i] = byte(r.IntN(256))
		}
		ring.Scrub(func(CaptureOf) bool { return true })
		for page := range int(shape.Pages) {
			b := k.bytes[page*layout.SizesPage:][:layout.SizesPage]
			if rest := bytes.TrimRight(b[layout.SizesPageHead:], "\x00"); len(rest) > 0 && recordLen(b[layout.SizesPageHead:]) == 0 {
				t.Fatalf("page %d: %d bytes are left that are no record", page, len(rest))
			}
		}
	}
}
