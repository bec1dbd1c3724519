package ringstore

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What mask overwrites is nowhere in the image afterwards, nor in its file's pages, also
// where a page is damaged; nothing else changes; and it is asked for each capture once.
func TestRedact(t *testing.T) {
	secret := []byte("s3cr3t!")
	mask := func(b []byte) int {
		n := 0
		for {
			i := bytes.Index(b, secret)
			if i < 0 {
				return n
			}
			copy(b[i:], "*******")
			n++
		}
	}
	for round := range uint64(16) {
		r := rand.New(rand.NewPCG(round, 11))
		k, ring := newKernel(t, smallShape)
		for range r.IntN(2000) {
			e := randomEvent(r)
			e.Start = k.now()
			finish := k.now() + e.Duration
			if e.Kind.timed() && !e.NoEnter && !e.Unfinished {
				e.Duration = finish - e.Start
			}
			captures := e.Captures
			if e.Kind == KindExec {
				captures = []Capture{e.Exec.Filename}
			}
			for _, c := range captures {
				if len(c.Data) >= len(secret) && r.IntN(2) == 0 {
					copy(c.Data[r.IntN(len(c.Data)-len(secret)+1):], secret)
				}
			}
			k.write(r.IntN(int(k.shape.Slots)), Lane(1+r.IntN(Lanes-1)), finish, appendRecord(nil, &e))
		}
		// Two copies: in one the test masks what its events show, the other is redacted.
		at := k.now()
		copied := func() *Image {
			running := []Running{{Ring: 0, Life: 1, TID: 7, PID: 7, InCall: true, Start: at, Captures: []Capture{{Data: []byte("a s3cr3t! b")}}}}
			img, err := ring.Copy(func() int64 { return at }, func() ([]Running, error) { return running, nil })
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
		expected, img := copied(), copied()
		if round%4 == 3 && len(img.pages) > 0 {
			// A page that is damaged in the midst of its records.
			if n := r.IntN(len(img.pages)); len(img.pages[n].b) > 200 {
				at := 120 + r.IntN(len(img.pages[n].b)-160)
				img.pages[n].b[at] ^= 0xff
				expected.pages[n].b[at] ^= 0xff
			}
		}
		want := expected.History(Meta{})
		for i := range want.Events {
			e := &want.Events[i]
			captures := e.Captures
			if e.Kind == KindExec {
				captures = []Capture{e.Exec.Filename}
			}
			for _, c := range captures {
				mask(c.Data)
			}
		}
		planted := bytes.Count(img.running[0].Captures[0].Data, secret)
		for i := range img.pages {
			planted += bytes.Count(img.pages[i].b, secret)
		}
		if n := img.Redact(mask); n != planted {
			t.Fatalf("round %d: %d pieces are masked of %d", round, n, planted)
		}
		for i := range img.pages {
			if bytes.Contains(img.pages[i].b, secret) {
				t.Fatalf("round %d: page %d still has a secret", round, img.pages[i].index)
			}
		}
		if got := img.History(Meta{}); !reflect.DeepEqual(want, got) {
			t.Fatalf("round %d: the history is not what it was, without the secrets (-want +got):\n%s", round, cmp.Diff(want, got))
		}
	}
}
