package ringstore_test

import (
	"bytes"
	"encoding/json"
	"iter"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/verdict"
)

// TestStream: going through a history event by event shows what having it all shows, and so
// again the second time.
func TestStream(t *testing.T) {
	img := ringstore.MakeImage(t, 5000)
	want := img.History(ringstore.Meta{Pod: "web"})
	events := want.Events
	got, stream := img.Stream(ringstore.Meta{Pod: "web"})
	want.Events, got.Stream = nil, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the head (-want +got):\n%s", diff)
	}
	for range 2 {
		n := 0
		for e := range stream {
			if n >= len(events) || !cmp.Equal(events[n], *e) {
				t.Fatalf("event %d differs: %+v", n, e)
			}
			n++
		}
		if n != len(events) {
			t.Fatalf("%d events of %d", n, len(events))
		}
	}
}

// death is of the one process of MakeImage.
func dying(img *ringstore.Image) ringstore.Meta {
	return ringstore.Meta{Arch: "amd64", Pod: "web"}
}

const million = 1_000_000

// TestExplainIsBounded: what is kept of a history while it is explained does not grow with
// it, and the whole of it, with the history, stays below 200 MB.
func TestExplainIsBounded(t *testing.T) {
	img := ringstore.MakeImage(t, million)
	var file bytes.Buffer
	if _, err := ringstore.WriteSnapshot(&file, dying(img), json.RawMessage("null"), img); err != nil {
		t.Fatal(err)
	}
	img = nil
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	snap, err := ringstore.ReadSnapshot(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	h, events := snap.Stream()
	opened := heap()
	var kept []uint64
	watched := iter.Seq[*ringstore.Event](func(yield func(*ringstore.Event) bool) {
		n := 0
		for e := range events {
			if n%(million/4) == million/8 {
				kept = append(kept, max(heap(), opened)-opened)
			}
			n++
			if !yield(e) {
				return
			}
		}
	})
	v := verdict.Explain(h, watched)
	most := slices.Max(kept)
	t.Logf("the history takes %d MB with its order, the explanation at most %d KB more: %s", (opened-before)>>20, most>>10, v.Summary)
	if len(kept) < 6 {
		t.Fatalf("looked %d times", len(kept))
	}
	if most > 4<<20 {
		t.Errorf("%d bytes are kept of a million records: %d", most, kept)
	}
	if all := opened - before + most; all > 200<<20 {
		t.Errorf("it takes %d MB", all>>20)
	}
	runtime.KeepAlive(snap)
}

// BenchmarkExplainMillion is what opening and explaining a snapshot of a million records
// takes.
func BenchmarkExplainMillion(b *testing.B) {
	img := ringstore.MakeImage(b, million)
	var file bytes.Buffer
	if _, err := ringstore.WriteSnapshot(&file, dying(img), json.RawMessage("null"), img); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		snap, err := ringstore.ReadSnapshot(bytes.NewReader(file.Bytes()), int64(file.Len()))
		if err != nil {
			b.Fatal(err)
		}
		h, events := snap.Stream()
		verdict.Explain(h, events)
	}
}
