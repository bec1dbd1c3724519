package ringstore

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// checkEvents fails unless the events are such as the kernel side could have written.
func checkEvents(t *testing.T, h *History) {
	t.Helper()
	if len(h.Events) == 0 && (h.Oldest != 0 || h.Newest != 0) {
		t.Fatalf("no events from %d to %d", h.Oldest, h.Newest)
	}
	var a arena
	for i := range h.Events {
		e := h.Events[i]
		if i > 0 && e.Start < h.Events[i-1].Start {
			t.Fatalf("event %d is not in order", i)
		}
		if e.Start <= 0 || e.Start > h.Now && e.Kind != KindExit && e.Kind != KindFiles || e.TID == 0 || e.PID == 0 || e.Duration < 0 {
			t.Fatalf("event %d has impossible fields: %+v", i, e)
		}
		if e.Seq == 0 {
			continue // as of the instant it has no record
		}
		if r := e.Run; r != nil && (r.Count < 2 || r.Last < e.Start || r.Total < e.Duration || e.Kind != KindCall) {
			t.Fatalf("event %d has an impossible run: %+v", i, r)
		}
		e.Run = nil // a record of its own
		if e.Kind == KindFiles {
			continue // FuzzFiles is about them
		}
		b := appendRecord(nil, &e)
		if recordLen(b) != len(b) {
			t.Fatalf("event %d cannot have been written: %+v", i, e)
		}
		var again Event
		a.decode(b, &again)
		if e = bare(e); !reflect.DeepEqual(e, again) {
			t.Fatalf("event %d is another when it is written (-read +written and read):\n%s", i, cmp.Diff(e, again))
		}
	}
}

// Whatever a page holds: no panic, no endless loop, and no event that is not exactly the
// next bytes of the page.
func FuzzWalk(f *testing.F) {
	shape := testShape(1, [Lanes]int{1, 1, 1, 1}, [Lanes]int{1, 1, 1, 1})
	const recent = 3 * layout.SizesPage
	r := rand.New(rand.NewPCG(21, 21))
	for range 8 {
		page := make([]byte, layout.SizesPageHead)
		for range 12 {
			e := randomEvent(r)
			e.Start = 1 + r.Int64N(1000)
			page = appendRecord(page, &e)
		}
		f.Add(page, false)
	}
	k, _ := newKernel(f, shape)
	k.or(k.control+layout.RingAtFlags, layout.RingFlagBootDone)
	k.call(5, 100, 110)
	f.Add(bytes.Clone(k.bytes[recent:][:layout.SizesPage]), true)
	f.Add([]byte{}, true)
	k, _ = newKernel(f, shape)
	k.or(k.control+layout.RingAtFlags, layout.RingFlagBootDone)
	u := &runner{tid: 5}
	for n := range 40 {
		u.call(k, 0, 2+n/6*3) // all of lane recent
	}
	f.Add(bytes.Clone(k.bytes[recent:][:layout.SizesPage]), false)
	f.Add(bytes.Clone(k.bytes[recent:][:layout.SizesPage]), true)
	f.Fuzz(func(t *testing.T, data []byte, head bool) {
		k, ring := newKernel(t, shape)
		used := copy(k.bytes[recent:][:layout.SizesPage], data) &^ 7
		if !head {
			// The page itself is sound.
			used = max(used, layout.SizesPageHead)
			clear(k.bytes[recent:][:layout.SizesPageHead])
			k.put(recent+layout.PageAtState, 1<<layout.PageStateSeqShift|uint64(used))
			k.put(recent+layout.PageAtSlot, uint64(LaneRecent)<<32)
			k.put(recent+layout.PageAtLife, 1)
		}
		k.clock.Store(1 << 40)
		h := history(t, k, ring)
		checkEvents(t, h)
		if head {
			return
		}
		// Written one after the other, in the order of their numbers, the events are the
		// page, up to what is no record; padding apart, which says nothing.
		at := recent + layout.SizesPageHead
		for n := uint64(0); n < h.Held[LaneRecent]; n++ {
			b := k.bytes[at:]
			size := int(le.Uint16(b))
			if recordKind(b) == kindFold {
				n += parseFold(b).count - 1
			}
			if at += size; size < layout.SizesRecordHead || at > recent+used {
				t.Fatalf("record %d of %d ends %d bytes behind the page's start, %d are used", n, h.Held[LaneRecent], at-recent, used)
			}
		}
	})
}

// Whatever a file holds: no panic, no endless loop, no event that cannot have been
// written, and an error unless all of it is as WriteSnapshot writes it.
func FuzzSnapshot(f *testing.F) {
	img := testImage(f, tinyShape, 40, 22)
	whole := writeTo(f, img, 8<<10)
	f.Add(whole, uint32(0))
	f.Add(whole[:len(whole)/2], uint32(0))
	f.Add(img.running[0].append(nil), uint32(frameRunning))
	f.Add(img.running[2].append(nil), uint32(frameRunning))
	for _, page := range img.pages[:2] {
		raw := le.AppendUint32(nil, page.index)
		raw = le.AppendUint32(raw, uint32(len(page.b)))
		f.Add(append(raw, page.b...), uint32(framePages))
	}
	f.Add(ringFrame(f, img), uint32(frameRing))
	f.Fuzz(func(t *testing.T, data []byte, kind uint32) {
		if kind > 0 && len(data) < maxRaw {
			// data are the raw bytes of a frame in a file that is sound.
			data = craft(t, "{}", func(f *frameWriter) {
				if kind != frameRing {
					f.ring(img)
				}
				f.frame(kind, data)
			})
		}
		s, err := read(data)
		var damage *DamageError
		if err != nil && !errors.As(err, &damage) && !errors.Is(err, ErrNotSnapshot) && !errors.Is(err, ErrNewer) {
			t.Fatalf("error %v", err)
		}
		if s == nil {
			if err == nil {
				t.Fatal("neither snapshot nor error")
			}
			return
		}
		h := s.History()
		checkEvents(t, h)
		if err != nil || s.Image() == nil {
			return
		}
		again, err := read(writeTo(t, s.Image(), frameGoal))
		if err != nil {
			t.Fatal(err)
		}
		got := again.History()
		if got.Meta = h.Meta; !reflect.DeepEqual(h, got) {
			t.Fatalf("written again it is another history:\n%s", cmp.Diff(h, got))
		}
	})
}

// ringFrame returns the raw bytes of an image's first frame.
func ringFrame(t testing.TB, img *Image) []byte {
	t.Helper()
	b := craft(t, "{}", func(f *frameWriter) { f.ring(img) })
	f := &frameReader{r: bytes.NewReader(b)}
	if _, err := f.meta(); err != nil {
		t.Fatal(err)
	}
	dec, err := newDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	_, raw, err := f.frame(dec)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
