package main_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// What a service of layout 4 was, as far as it matters here: its object is kept in testdata
// with the tables that it was given, and what follows are the structures of that layout.
// Nothing of it changes with later layouts.
type (
	lane4  struct{ First, Pages, Mask, Shared uint32 }
	shape4 struct {
		Layout, Bytes, Pages, Rings, Slots, Hierarchy, Subsystem, Pad uint32
		Lane                                                          [4]lane4
	}
	watch4 struct{ Depth, Kubepods, Consent, Pad uint32 }
)

// unpack returns what a file in testdata has, compressed with zstd.
func unpack(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var b bytes.Buffer
	if _, err := d.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pinLayout4 leaves in the service's pin directory what a service of layout 4 that has died
// left there: it records what is made below the service's watched cgroups. change may
// change the shape before it is loaded.
func (s *service) pinLayout4(watches map[string]watch4, noRecord ...string) {
	t := s.t
	t.Helper()
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(unpack(t, "layout4.o.zst")))
	if err != nil {
		t.Fatal(err)
	}
	const size, rings = 1 << 20, 24
	// For up to 16 CPUs the control area has one page.
	shape := shape4{Layout: 4, Bytes: size, Pages: size/4096 - 1, Rings: rings, Slots: 16}
	shape.Lane = [4]lane4{{0, 15, 3, 1}, {15, 31, 7, 1}, {46, 31, 7, 1}, {77, 178, 15, 0}}
	spec.Maps["rings"].ValueSize, spec.Maps["rings"].MaxEntries = size, rings
	spec.Maps["pool"].MaxEntries = rings
	tables := unpack(t, "layout4.tables.zst")
	for _, name := range []string{"calls", "variants", "routine"} {
		tables = tables[copy(spec.Variables[name].Value, tables):]
	}
	if err := spec.Variables["shape"].Set(shape); err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	node := coll.Maps[".bss"]
	mem, err := unix.Mmap(node.FD(), 0, int(node.ValueSize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, shape)
	copy(mem, b.Bytes())
	for i := range uint32(rings) {
		if err := coll.Maps["pool"].Update(nil, i, ebpf.UpdateAny); err != nil {
			t.Fatal(err)
		}
	}
	for dir, w := range watches {
		var st syscall.Stat_t
		if err := syscall.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		if err := coll.Maps["watches"].Update(st.Ino, w, ebpf.UpdateAny); err != nil {
			t.Fatal(err)
		}
	}
	for _, pod := range noRecord {
		var key [128]byte
		copy(key[:], pod)
		if err := coll.Maps["consents"].Update(key, uint32(1), ebpf.UpdateAny); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(s.pins, "recorder")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, m := range coll.Maps {
		if name == ".bss" {
			name = "node"
		}
		if strings.HasPrefix(name, ".") {
			continue // constants
		}
		if err := m.Pin(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, p := range coll.Programs {
		var l link.Link
		if name == "running" {
			l, err = link.AttachIter(link.IterOptions{Program: p})
		} else {
			l, err = link.AttachTracing(link.TracingOptions{Program: p})
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Pin(filepath.Join(dir, "link_"+name)); err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

const (
	secretUID   = "1dd8c5e1-77c6-11e7-9350-020968147796"
	containerID = "8a5a4e1dd8c58a5a4e1dd8c58a5a4e1dd8c58a5a4e1dd8c58a5a4e1dd8c50123"
	secretID    = "9a5a4e1dd8c58a5a4e1dd8c58a5a4e1dd8c58a5a4e1dd8c58a5a4e1dd8c50123"
)

// TestUpgrade: a service that finds the pinned recorder of an older layout saves all that it
// holds, each once, whatever moment it is killed at: deaths that nobody saved as such, with
// the names that were known; the history of what runs, and of what ended well, as manual. It
// records what runs on, without a gap: where the snapshot ends, the new ring has begun. What
// did not consent is not recorded. Nothing of the older one is left in the kernel.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	const threads = 2
	s := prepareService(t, unified(t), "--memory", "32MiB", "--ring-size", "1MiB")
	kubepods := s.kubepods()
	elsewhere := makeCgroup(t, unified(t)) // what is below it, somebody recorded by hand
	s.pinLayout4(map[string]watch4{s.watch: {Depth: 1}, elsewhere: {Depth: 1}, kubepods: {Depth: 2, Kubepods: 1}}, "pod"+secretUID)
	old := s.linksBelow()
	s.names(podName{"ns", "web", podUID, "app", containerID, 3})

	traffic := s.container("traffic")
	p := traffic.start(program(t, "numbers"), "recent", fmt.Sprint(threads), "0", "2000000")
	p.expect("ready")
	p.send()
	crash := s.podContainer(kubepods, podUID, containerID)
	victim := crash.start(program(t, "death"), "segv")
	victim.expect("ready")
	victim.send()
	victim.wait()
	eventually(t, "the dead container's cgroup is removed", func() error { return os.Remove(crash.dir) })
	well := s.container("well")
	done := well.start(program(t, "death"), "clean")
	done.expect("ready")
	done.send()
	done.wait()
	eventually(t, "the container's cgroup is removed", func() error { return os.Remove(well.dir) })
	s.container("empty")
	s.podContainer(kubepods, secretUID, secretID).start("/bin/true").wait()

	byHand := &container{s, "by-hand", filepath.Join(elsewhere, "by-hand")}
	if err := os.Mkdir(byHand.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeCgroup(t, byHand.dir) })
	waiting := byHand.start(program(t, "death"), "wait")
	waiting.expect("ready")

	between := s.container("between").start(program(t, "death"), "wait")
	between.expect("ready")
	between.send()
	between.expect("waiting")

	// Killed at every step: while it pins its own, after it put the older one aside, when
	// the first snapshot is there, and while it removes the older one.
	for _, moment := range []string{"new", "old-4", "gone"} {
		s.startAndKill(moment, 0)
		if moment == "old-4" {
			between.kill() // seen by both recorders, maybe
		}
	}
	s.start()

	byPod := map[string]snapshot{}
	snaps := slices.DeleteFunc(s.snapshots(""), func(snap snapshot) bool { return snap.Pod == "between" })
	deaths := func() (n int) {
		for _, snap := range s.snapshots("between") {
			if snap.Trigger == "signal" {
				n++
			}
		}
		return n
	}
	eventually(t, "the death between two services is saved", func() error {
		if deaths() == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	for _, snap := range snaps {
		byPod[snap.Namespace+"/"+snap.Pod] = snap
	}
	if len(snaps) != 4 || len(byPod) != 4 {
		t.Fatalf("%d snapshots, want one each of traffic, web, well and by-hand: %+v", len(snaps), snaps)
	}
	waiting.send()
	waiting.expect("waiting")
	if got := deathNumbers(t, s.dump(byHand.name, "all=true")); len(got) != 100 {
		t.Errorf("%d of the 100 calls of what was recorded by hand", len(got))
	}
	checkSnapshot(t, byPod["ns/web"], "signal", 139, "SIGSEGV")
	if got := byPod["ns/web"]; got.Container != "app" || got.Instance != 3 {
		t.Errorf("the death is that of container %s, life %d; want app, 3", got.Container, got.Instance)
	}
	checkDeath(t, s.snapshotEvents(byPod["ns/web"].ID), victim.pid)
	for _, pod := range []string{"host/traffic", "host/well", "host/by-hand"} {
		if snap := byPod[pod]; snap.Trigger != "manual" || !strings.Contains(snap.Reason, "layout 4") {
			t.Errorf("%s: trigger %s (%s), want manual, with a reason", pod, snap.Trigger, snap.Reason)
		}
	}
	if got := deathNumbers(t, s.snapshotEvents(byPod["host/well"].ID)); len(got) != 100 {
		t.Errorf("%d of the 100 calls of what ended well", len(got))
	}

	// Of what runs, each number is in the snapshot or in the ring.
	before := numbersByThread(t, strings.Split(s.mustCLI("show", "--all", byPod["host/traffic"].ID), "\n"))
	lines := s.text("traffic", "all=true")
	after := numbersByThread(t, lines)
	if len(before) != threads || len(after) != threads {
		t.Fatalf("numbered calls of %d threads in the snapshot, of %d since", len(before), len(after))
	}
	for tid, numbers := range before {
		for i, n := range numbers {
			if n != uint32(i) {
				t.Fatalf("snapshot: call %d of thread %d has number %d", i, tid, n)
			}
		}
		for i, n := range after[tid] {
			if n != after[tid][0]+uint32(i) {
				t.Fatalf("after the upgrade: call %d of thread %d has number %d, the first one %d", i, tid, n, after[tid][0])
			}
		}
		if last, first := numbers[len(numbers)-1], after[tid][0]; first > last+1 {
			t.Errorf("thread %d: the snapshot ends with %d, the new ring begins with %d", tid, last, first)
		}
	}
	if text := strings.Join(lines, "\n"); !strings.Contains(text, "recording began after") {
		t.Errorf("the dump does not say that recording began late:\n%.600s", text)
	}
	if pods := strings.Join(s.podNames(), " "); strings.Contains(pods, secretUID) {
		t.Errorf("what did not consent is recorded: %s", pods)
	}
	s.podContainer(kubepods, secretUID, secretID[1:]+"0").start("/bin/true").wait()
	if pods := strings.Join(s.podNames(), " "); strings.Contains(pods, secretUID) {
		t.Errorf("what did not consent is recorded: %s", pods)
	}
	expectGone(t, old)
	if entries, _ := os.ReadDir(s.pins); len(entries) != 1 || entries[0].Name() != "recorder" {
		t.Errorf("pinned: %v, want recorder alone", entries)
	}
	// A death is one, also after all this.
	p.kill()
	died := s.snapshots("traffic")
	eventually(t, "the death of what runs is saved", func() error {
		if died = s.snapshots("traffic"); len(died) != 2 {
			return fmt.Errorf("%d snapshots", len(died))
		}
		return nil
	})
	s.stop()
	s.start()
	again := slices.DeleteFunc(s.snapshots(""), func(snap snapshot) bool { return snap.Pod == "between" })
	if len(again) != 5 || deaths() != 1 {
		t.Errorf("%d snapshots after another start, and %d of the death between two services: %+v", len(again), deaths(), again)
	}
}

// TestUpgradeUnsaved: where what an older recorder holds cannot be saved, nothing is lost: an
// error says what to do, and it records on, until it can be. --uninstall removes it with all
// that stands beside it.
func TestUpgradeUnsaved(t *testing.T) {
	t.Parallel()
	s := prepareService(t, unified(t))
	s.pinLayout4(map[string]watch4{s.watch: {Depth: 1}})
	old := s.linksBelow()
	c := s.container("waits")
	p := c.start(program(t, "death"), "wait")
	p.expect("ready")
	if code, out := runSwolld(t, nil, append(s.flags(), "--state-dir", "")...); code != 1 || !strings.Contains(out, "layout") || !strings.Contains(out, "--uninstall") {
		t.Errorf("without a state directory: exit status %d\n%s", code, out)
	}
	p.send()
	p.expect("waiting")
	s.start()
	snap := s.waitSnapshot("waits")
	kept := deathNumbers(t, s.snapshotEvents(snap.ID))
	since := deathNumbers(t, s.dump("waits", "all=true"))
	if len(kept)+len(since) < 100 {
		t.Errorf("of 100 calls that were made meanwhile, the snapshot has %d, the ring %d", len(kept), len(since))
	}
	s.stop()
	expectGone(t, old)
	own := s.linksBelow()

	// And again, to remove it.
	if code, out := s.uninstall(); code != 0 {
		t.Fatalf("--uninstall: exit status %d\n%s", code, out)
	}
	s.pinLayout4(map[string]watch4{s.watch: {Depth: 1}})
	c2 := s.container("unwanted")
	c2.start("/bin/true").wait()
	runSwolld(t, nil, append(s.flags(), "--state-dir", "")...)
	links := s.linksBelow()
	if code, out := s.uninstall(); code != 0 {
		t.Fatalf("--uninstall: exit status %d\n%s", code, out)
	}
	if _, err := os.Stat(s.pins); !os.IsNotExist(err) {
		t.Errorf("the pin directory: %v, with\n%s", err, s.pinned())
	}
	if len(links) != len(old)+len(own) {
		t.Errorf("%d links were pinned, want %d of the older recorder, and %d", len(links), len(old), len(own))
	}
	expectGone(t, links)
}
