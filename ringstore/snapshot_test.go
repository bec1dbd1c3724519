package ringstore

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/swoll-recorder/swoll/ringstore/layout"
)

var testMeta = Meta{
	Version: 1, ID: "s1", Namespace: "default", Pod: "web-0", Container: "app", Labels: map[string]string{"a": "b"},
	Arch: "amd64", State: "frozen", Trigger: "manual", Created: time.Unix(1_800_000_000, 0).UTC(), WallOffset: 17, CgroupID: testCgroup,
}

// testImage is the copy of a ring with n random records, and some running tasks.
func testImage(t testing.TB, shape layout.Shape, n int, seed uint64) *Image {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 11))
	k, ring := newKernel(t, shape)
	for range n {
		write1(k, r)
	}
	start := k.now()
	img, err := ring.Copy(k.now, func() ([]Running, error) {
		return []Running{
			{Life: 1, TID: 30, PID: 30, UID: 1, Comm: "waits", InCall: true, Start: start, Nr: 7,
				Captures: []Capture{{Arg: 1, Status: CaptureCut, Data: []byte("abcde")}}},
			{Life: 1, TID: 31, PID: 31, Comm: "works"},
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func writeTo(t testing.TB, img *Image) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := WriteSnapshot(&b, testMeta, json.RawMessage(`{"summary":"fine"}`), img)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(b.Len()) {
		t.Fatalf("%d bytes are written, %d are said to be", b.Len(), n)
	}
	return b.Bytes()
}

func read(b []byte) (*Snapshot, error) { return ReadSnapshot(bytes.NewReader(b), int64(len(b))) }

// A snapshot tells the history that the ring did.
func TestSnapshot(t *testing.T) {
	for seed, n := range []int{0, 1, 100, 5000} {
		img := testImage(t, smallShape, n, uint64(seed))
		b := writeTo(t, img)
		s, err := read(b)
		if err != nil {
			t.Fatal(err)
		}
		want, got := img.History(testMeta), s.History()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%d records: history (-ring +snapshot):\n%s", n, diff)
		}
		wantMeta := SnapshotMeta{Meta: want.Meta, Now: want.Now, Records: sum(want.Held), Overwritten: sum(want.Overwritten),
			RingBytes: img.Stat().Bytes, Oldest: img.Stat().Oldest, Newest: img.Stat().Newest,
			CompleteSince: want.CompleteSince, Verdict: json.RawMessage(`{"summary":"fine"}`)}
		if diff := cmp.Diff(wantMeta, s.Meta); diff != "" {
			t.Errorf("%d records: metadata (-want +got):\n%s", n, diff)
		}
		// The head is enough for a list.
		end := headLen + int(le.Uint32(b[16:]))
		meta, err := ReadSnapshotMeta(bytes.NewReader(b[:end]))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.Meta, *meta); diff != "" {
			t.Errorf("%d records: metadata (-file +head):\n%s", n, diff)
		}
		// Written again, it is the same file.
		s.Meta.Meta.Lost, s.Meta.Meta.Death = nil, nil
		if again := writeTo(t, s.Image()); !bytes.Equal(b, again) {
			t.Errorf("%d records: a copy of the snapshot is another file", n)
		}
	}
}

// checkDamaged fails unless a damaged file gives an error, and nothing that is not in
// the whole one; and nothing that is missing where it says that it is complete.
func checkDamaged(t *testing.T, whole *History, b []byte, what string) {
	t.Helper()
	s, err := read(b)
	if err == nil {
		t.Fatalf("%s: no error", what)
	}
	var damage *DamageError
	if !errors.As(err, &damage) && !errors.Is(err, ErrNotSnapshot) && !errors.Is(err, ErrNewer) {
		t.Fatalf("%s: the error is %v", what, err)
	}
	if !strings.Contains(err.Error(), "Try: ") {
		t.Fatalf("%s: the error gives no advice: %v", what, err)
	}
	if s == nil {
		return
	}
	h := s.History()
	if h.Now != whole.Now || !reflect.DeepEqual(h.Meta, whole.Meta) {
		t.Fatalf("%s: the metadata differ", what)
	}
	bySeq := make(map[uint64]int)
	for i, e := range whole.Events {
		bySeq[e.Seq] = i
	}
	have := make([]bool, len(whole.Events))
	for _, e := range h.Events {
		i, ok := bySeq[e.Seq]
		if !ok || !reflect.DeepEqual(bare(whole.Events[i]), bare(e)) {
			t.Fatalf("%s: event %d is not that of the whole file", what, e.Seq)
		}
		have[i] = true
	}
	for i, e := range whole.Events {
		if !have[i] && e.Start >= h.CompleteSince {
			t.Fatalf("%s: the record of %d is missing, though it is complete from %d", what, e.Start, h.CompleteSince)
		}
	}
	if sum(h.Held)+sum(h.Overwritten) != sum(whole.Held)+sum(whole.Overwritten) {
		t.Fatalf("%s: %v held and %v overwritten, in the whole file %v and %v", what, h.Held, h.Overwritten, whole.Held, whole.Overwritten)
	}
}

// A file that ends early holds what it held until then.
func TestSnapshotCut(t *testing.T) {
	img := testImage(t, smallShape, 400, 1)
	b := writeTo(t, img)
	whole := img.History(testMeta)
	for n := range b {
		checkDamaged(t, whole, b[:n:n], fmt.Sprintf("%d of %d bytes", n, len(b)))
	}
	checkDamaged(t, whole, append(b[:len(b):len(b)], 0), "with another byte")
	// The longer, the more; all but the trailer is all.
	s, _ := read(b[:len(b)-trailerLen])
	if diff := cmp.Diff(whole, s.History()); diff != "" {
		t.Errorf("without its trailer the history is another (-whole +got):\n%s", diff)
	}
}

// smallFrames makes files of many frames, though they are small.
func smallFrames(t *testing.T, img *Image) []byte {
	t.Helper()
	f := &frameWriter{w: new(bytes.Buffer)}
	var err error
	if f.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)); err != nil {
		t.Fatal(err)
	}
	_ = f
	return nil
}

// No byte can be changed unnoticed.
func TestSnapshotFlipped(t *testing.T) {
	img := testImage(t, smallShape, 400, 2)
	b := writeTo(t, img)
	whole := img.History(testMeta)
	r := rand.New(rand.NewPCG(12, 12))
	for i := range b {
		flipped := bytes.Clone(b)
		flipped[i] ^= byte(1 + r.IntN(255))
		checkDamaged(t, whole, flipped, fmt.Sprintf("byte %d of %d changed", i, len(b)))
	}
}
