package ringstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	operation := Event{Kind: KindUring, Start: start, TID: 32, PID: 30, Nr: 18, Unfinished: true, Args: []uint64{1, 2, 3, 4},
		Captures: []Capture{{Arg: 3, Data: []byte("/etc/x")}}}
	img, err := ring.Copy(k.now, func() ([]Running, error) {
		return []Running{
			{Life: 1, TID: 30, PID: 30, UID: 1, Comm: "waits", InCall: true, Start: start, Nr: 7,
				Captures: []Capture{{Arg: 1, Status: CaptureCut, Data: []byte("abcde")}}},
			{Life: 1, TID: 31, PID: 31, Comm: "works"},
			{Life: 1, TID: 32, PID: 30, InCall: true, Start: start, Operation: appendRecord(nil, &operation)},
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// writeTo returns the snapshot of img, in frames of about goal raw bytes.
func writeTo(t testing.TB, img *Image, goal int) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := writeSnapshot(&b, testMeta, json.RawMessage(`{"summary":"fine"}`), img, goal)
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
		b := writeTo(t, img, frameGoal)
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
		if again := writeTo(t, s.Image(), frameGoal); !bytes.Equal(b, again) {
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
	type key struct { // what is in flight has number 0
		seq uint64
		tid uint32
	}
	bySeq := make(map[key]int)
	for i, e := range whole.Events {
		bySeq[key{e.Seq, e.TID}] = i
	}
	have := make([]bool, len(whole.Events))
	for _, e := range h.Events {
		i, ok := bySeq[key{e.Seq, e.TID}]
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
	if s.Image() != nil && sum(h.Held)+sum(h.Overwritten) != sum(whole.Held)+sum(whole.Overwritten) {
		t.Fatalf("%s: %v held and %v overwritten, in the whole file %v and %v", what, h.Held, h.Overwritten, whole.Held, whole.Overwritten)
	}
}

// tinyShape makes small files, which hold little enough to try each byte of them.
var tinyShape = testShape(2, [Lanes]int{1, 1, 2, 2}, [Lanes]int{1, 1, 1, 2})

// A file that ends early holds what it held until then.
func TestSnapshotCut(t *testing.T) {
	t.Parallel()
	img := testImage(t, tinyShape, 120, 1)
	b := writeTo(t, img, 8<<10)
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

// No byte can be changed unnoticed.
func TestSnapshotFlipped(t *testing.T) {
	t.Parallel()
	img := testImage(t, tinyShape, 120, 2)
	b := writeTo(t, img, 8<<10)
	whole := img.History(testMeta)
	r := rand.New(rand.NewPCG(12, 12))
	for i := range b {
		flipped := bytes.Clone(b)
		flipped[i] ^= byte(1 + r.IntN(255))
		checkDamaged(t, whole, flipped, fmt.Sprintf("byte %d of %d changed", i, len(b)))
	}
}

// craft returns a file with valid checksums whose content the test chooses.
func craft(t testing.TB, meta string, frames func(f *frameWriter)) []byte {
	t.Helper()
	var b bytes.Buffer
	f, err := newFrameWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	f.head(layout.SizesLayout, []byte(meta))
	frames(f)
	f.trailer()
	return b.Bytes()
}

// What is well wrapped can still be wrong.
func TestSnapshotCrafted(t *testing.T) {
	img := testImage(t, smallShape, 400, 3)
	page := func(index uint32, b []byte) []byte {
		raw := le.AppendUint32(nil, index)
		return append(le.AppendUint32(raw, uint32(len(b))), b...)
	}
	changed := func(change func(img *Image)) func(*frameWriter) {
		return func(f *frameWriter) {
			other := *img
			change(&other)
			f.ring(&other)
		}
	}
	first := img.pages[0]
	for _, test := range []struct {
		name   string
		frames func(f *frameWriter)
	}{
		{"nothing", func(*frameWriter) {}},
		{"no ring", func(f *frameWriter) { f.pages(img, frameGoal) }},
		{"two rings", func(f *frameWriter) { f.ring(img); f.ring(img) }},
		{"a short ring", func(f *frameWriter) { f.frame(frameRing, make([]byte, 100)) }},
		{"a ring without control area", changed(func(img *Image) { img.control = nil })},
		{"a ring of another layout", changed(func(img *Image) { img.shape.Layout++ })},
		{"a ring of any size", changed(func(img *Image) { img.shape.Pages = 1<<32 - 1; img.shape.Bytes = 1<<32 - 8 })},
		{"a ring of no time", changed(func(img *Image) { img.instant = 0 })},
		{"a ring with doubts of no time", changed(func(img *Image) { img.unvouched[1] = -1 })},
		{"fewer pages than said", changed(func(*Image) {})},
		{"a page twice", func(f *frameWriter) {
			f.ring(img)
			f.frame(framePages, append(page(first.index, first.b), page(first.index, first.b)...))
		}},
		{"a page in no lane", func(f *frameWriter) { f.ring(img); f.frame(framePages, page(1<<20, first.b)) }},
		{"a page that is too long", func(f *frameWriter) { f.ring(img); f.frame(framePages, page(0, make([]byte, layout.SizesPage+8))) }},
		{"a page that is too short", func(f *frameWriter) { f.ring(img); f.frame(framePages, page(0, make([]byte, 8))) }},
		{"half a page", func(f *frameWriter) { f.ring(img); f.frame(framePages, page(0, make([]byte, 128))[:100]) }},
		{"a page's index alone", func(f *frameWriter) { f.ring(img); f.frame(framePages, []byte{1, 0, 0, 0}) }},
		{"running nonsense", func(f *frameWriter) { f.ring(img); f.frame(frameRunning, make([]byte, 200)) }},
		{"running tasks without end", func(f *frameWriter) {
			f.ring(img)
			task := img.running[0].append(nil)
			for range maxRunningFrames + 1 {
				f.frame(frameRunning, task)
			}
		}},
		{"a frame of kind 0", func(f *frameWriter) { f.ring(img); f.frame(0, nil) }},
		{"a frame that is too long", func(f *frameWriter) { f.ring(img); f.frame(framePages, make([]byte, maxRaw+1)) }},
	} {
		s, err := read(craft(t, "{}", test.frames))
		var damage *DamageError
		if !errors.As(err, &damage) || s == nil {
			t.Errorf("%s: snapshot %v, error %v; want both, the error for damage", test.name, s, err)
			continue
		}
		s.History()
	}

	// A frame of a kind that is not known is for a later reader.
	s, err := read(craft(t, "{}", func(f *frameWriter) {
		f.ring(img)
		f.frame(77, []byte("news"))
		f.pages(img, frameGoal)
	}))
	if err != nil || len(s.History().Events) == 0 {
		t.Errorf("with a frame of another kind: %v", err)
	}
	if _, err := read(craft(t, "[]", func(f *frameWriter) { f.ring(img) })); err == nil {
		t.Error("metadata that are none are accepted")
	}
}

// A short file that claims, or holds, a lot of data takes no more memory than the bounds
// allow.
func TestSnapshotBomb(t *testing.T) {
	img := testImage(t, smallShape, 10, 4)
	bomb := craft(t, "{}", func(f *frameWriter) {
		f.ring(img)
		// Says 100 bytes, holds 64 MiB.
		f.frame(framePages, make([]byte, 64<<20))
	})
	at := bytes.LastIndex(bomb[:len(bomb)-trailerLen], le.AppendUint32(le.AppendUint32(nil, framePages), 64<<20))
	if at < 0 {
		t.Fatal("the frame is not there")
	}
	head := bomb[at:][:frameHead]
	le.PutUint32(head[4:], 100)
	le.PutUint32(head[16:], checksum(head[:16]))
	for _, b := range [][]byte{bomb, func() []byte { // claims more metadata than there can be
		b := bytes.Clone(bomb)
		le.PutUint32(b[16:], 1<<31)
		le.PutUint32(b[28:], checksum(b[:28]))
		return b
	}()} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := read(b)
		runtime.ReadMemStats(&after)
		var damage *DamageError
		if !errors.As(err, &damage) {
			t.Errorf("error %v, want one for damage", err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
			t.Errorf("reading allocates %d bytes", got)
		}
	}
}

func TestSnapshotErrors(t *testing.T) {
	b := writeTo(t, testImage(t, smallShape, 10, 5), frameGoal)
	newer := bytes.Clone(b)
	newer[8]++
	le.PutUint32(newer[28:], checksum(newer[:28]))
	for _, test := range []struct {
		name string
		b    []byte
		want error
	}{
		{"an empty file", nil, ErrNotSnapshot},
		{"a text", []byte(strings.Repeat("hello, world\n", 10)), ErrNotSnapshot},
		{"a later format", newer, ErrNewer},
	} {
		if s, err := read(test.b); !errors.Is(err, test.want) || s != nil {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if _, err := ReadSnapshotMeta(bytes.NewReader(test.b)); !errors.Is(err, test.want) {
			t.Errorf("%s, metadata: %v, want %v", test.name, err, test.want)
		}
	}
	// What fails to be written or read is said as it is.
	failure := errors.New("disk full")
	for n := range 3 {
		w := &failingWriter{left: n, err: failure}
		if _, err := WriteSnapshot(w, testMeta, nil, testImage(t, smallShape, 10, 5)); !errors.Is(err, failure) {
			t.Errorf("write %d fails: %v, want %v", n, err, failure)
		}
	}
	if _, err := ReadSnapshot(failingReader{failure}, 1000); !errors.Is(err, failure) {
		t.Errorf("a failing read: %v, want %v", err, failure)
	}
	large := testMeta
	large.Reason = strings.Repeat("x", maxMeta)
	if _, err := WriteSnapshot(new(bytes.Buffer), large, nil, testImage(t, smallShape, 10, 5)); err == nil {
		t.Error("metadata that no reader accepts are written")
	}
}

type failingWriter struct {
	left int
	err  error
}

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left--; w.left < 0 {
		return 0, w.err
	}
	return len(b), nil
}

type failingReader struct{ err error }

func (r failingReader) ReadAt([]byte, int64) (int, error) { return 0, r.err }

// Tasks beyond the bound are left out, and the snapshot says so.
func TestSnapshotManyTasks(t *testing.T) {
	img := testImage(t, smallShape, 10, 6)
	img.running = nil
	for i := range 70 {
		img.running = append(img.running, Running{Life: 1, TID: uint32(i + 1), PID: 1, InCall: true, Start: 1})
	}
	s, err := read(writeTo(t, img, 1)) // a frame for each
	if err != nil {
		t.Fatal(err)
	}
	if got := len(s.Image().running); got != maxRunningFrames {
		t.Errorf("%d tasks are there, want %d", got, maxRunningFrames)
	}
	if diff := cmp.Diff([]string{"6 running tasks are left out"}, s.Meta.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// Snapshots of an older layout with the same records are read as they were written.
func TestSnapshotOfOlderLayout(t *testing.T) {
	t.Parallel()
	for old := uint32(oldestLayout); old < layout.SizesLayout; old++ {
		img := testImage(t, tinyShape, 120, 3)
		want := img.History(testMeta)
		img.shape.Layout = old
		s, err := read(writeTo(t, img, frameGoal))
		if err != nil {
			t.Fatalf("layout %d: %v", old, err)
		}
		if diff := cmp.Diff(want, s.History()); diff != "" {
			t.Errorf("layout %d: it is another history (-want +got):\n%s", old, diff)
		}
	}
}
