package recorder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// emptyImage is the copy of a ring that was armed and holds nothing.
func emptyImage(t *testing.T) *ringstore.Image {
	t.Helper()
	shape, err := shapeOf(minRingSize, minRingSize, 2)
	if err != nil {
		t.Fatal(err)
	}
	mem := make([]byte, minRingSize)
	control := mem[int(shape.Pages)*layout.SizesPage:]
	binary.LittleEndian.PutUint64(control[layout.RingAtLife:], 1)
	ring, err := ringstore.NewRing(mem, shape)
	if err != nil {
		t.Fatal(err)
	}
	img, err := ring.Copy(monotonic, nil)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func testStore(t *testing.T, dir string, maxBytes int64, keep int) *store {
	t.Helper()
	s, err := openStore(dir, maxBytes, keep, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func metaOf(container string, n int) *ringstore.Meta {
	return &ringstore.Meta{
		Version: 1, Namespace: "ns", Pod: "pod", Container: container, Arch: "amd64", Instance: n,
		Trigger: api.TriggerExit, Reason: fmt.Sprint("life ", n), Created: time.Unix(int64(1_000_000+n), 0).UTC(),
	}
}

// Of each container the first snapshot and the newest ones are kept, as many as asked
// for; other containers do not suffer; what is listed is what is in the directory, also
// after the service starts anew.
func TestStoreKeepsTheFirst(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir, 1<<30, 3)
	img := emptyImage(t)
	other := metaOf("other", 0)
	other.Created = other.Created.Add(-time.Hour)
	if _, err := s.save(other, img); err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		if _, err := s.save(metaOf("loop", n), img); err != nil {
			t.Fatal(err)
		}
	}
	check := func(s *store) {
		t.Helper()
		var got []string
		for _, x := range s.list() {
			got = append(got, fmt.Sprint(x.Container, x.Instance))
		}
		if want := []string{"other0", "loop0", "loop8", "loop9"}; !slices.Equal(got, want) {
			t.Errorf("kept %v, want %v", got, want)
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		if len(files) != len(got) {
			t.Errorf("%d files for %d snapshots: %v", len(files), len(got), files)
		}
	}
	check(s)
	s.close()
	check(testStore(t, dir, 1<<30, 3))
}

// The bytes of all snapshots stay below the quota, and the first one of a container is
// the last of it to go.
func TestStoreQuota(t *testing.T) {
	dir := t.TempDir()
	img := emptyImage(t)
	one, err := testStore(t, t.TempDir(), 1<<30, 8).save(metaOf("a", 0), img)
	if err != nil {
		t.Fatal(err)
	}
	quota := 4*one.Bytes + one.Bytes/2
	s := testStore(t, dir, quota, 100)
	for n := range 20 {
		if _, err := s.save(metaOf("a", n), img); err != nil {
			t.Fatal(err)
		}
		if _, bytes := s.usage(); bytes > quota {
			t.Fatalf("%d bytes are stored, the quota is %d", bytes, quota)
		}
		if first := s.list()[0]; first.Instance != 0 {
			t.Fatalf("after %d lives the first snapshot is gone", n+1)
		}
	}
	tiny := testStore(t, t.TempDir(), 10, 100)
	if _, err := tiny.save(metaOf("a", 0), img); err == nil || !strings.Contains(err.Error(), "quota") {
		t.Errorf("a snapshot larger than the quota: %v", err)
	}
	if files, _ := os.ReadDir(tiny.dir); len(files) != 0 {
		t.Errorf("the refused snapshot left %v", files)
	}
}

// One container that dies again and again takes from others neither their first snapshot
// nor their newest, and has its own first and newest.
func TestStoreQuotaIsFair(t *testing.T) {
	img := emptyImage(t)
	one, err := testStore(t, t.TempDir(), 1<<30, 8).save(metaOf("noisy", 10), img)
	if err != nil {
		t.Fatal(err)
	}
	s := testStore(t, t.TempDir(), 6*one.Bytes+one.Bytes/2, 100)
	for n := range 3 {
		if _, err := s.save(metaOf("quiet", n), img); err != nil {
			t.Fatal(err)
		}
	}
	for n := 10; n < 30; n++ {
		if _, err := s.save(metaOf("noisy", n), img); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, x := range s.list() {
		got = append(got, fmt.Sprint(x.Container, x.Instance))
	}
	if want := []string{"quiet0", "quiet2", "noisy10", "noisy27", "noisy28", "noisy29"}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}

// What a service that died while saving left is removed; files that are no snapshots, or
// damaged, are left alone and do no harm.
func TestStoreForeignFiles(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir, 1<<30, 8)
	snap, err := s.save(metaOf("a", 0), emptyImage(t))
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	foreign := map[string]bool{"README": true, "bad.swoll": true, ".x.swoll123": false}
	for name := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("no snapshot"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = testStore(t, dir, 1<<30, 8)
	if got := s.list(); len(got) != 1 || got[0].ID != snap.ID {
		t.Errorf("listed %v", got)
	}
	for name, stays := range foreign {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: there: %v, want %v", name, err == nil, stays)
		}
	}
	if _, err := s.get("bad"); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("a damaged file: %v", err)
	}
}

// One service has a state directory; a second one is told so.
func TestStoreLocked(t *testing.T) {
	dir := t.TempDir()
	testStore(t, dir, 1<<30, 8)
	var log bytes.Buffer
	if _, err := openStore(dir, 1<<30, 8, slog.New(slog.NewTextHandler(&log, nil))); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("opened twice: %v", err)
	}
}
