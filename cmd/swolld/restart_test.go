package main_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
)

// whole returns the newest number in a dump, or an error unless each thread's numbers in it
// are 0, 1, ... without a gap.
func whole(t testing.TB, s *service, pod string, threads int) (newest uint32, err error) {
	t.Helper()
	byThread := numbersByThread(t, s.text(pod, "all=true"))
	if len(byThread) != threads {
		return 0, fmt.Errorf("numbered calls of %d threads, want %d", len(byThread), threads)
	}
	for tid, numbers := range byThread {
		for i, n := range numbers {
			if n != uint32(i) {
				return 0, fmt.Errorf("thread %d: call %d has number %d", tid, i, n)
			}
			newest = max(newest, n)
		}
	}
	return newest, nil
}

// TestKilledService: killed without warning under traffic, the service misses nothing:
// the kernel side goes on, and the next start finds what was recorded before, meanwhile and
// since, without a gap; arms containers made meanwhile; makes a snapshot of a crash that
// happened meanwhile; and minds no stale socket. A clean stop and start does the same.
func TestKilledService(t *testing.T) {
	t.Parallel()
	const threads = 2
	s := newService(t, "--memory", "64MiB", "--ring-size", "16MiB")
	c := s.container("traffic")
	p := c.start(program(t, "numbers"), "recent", fmt.Sprint(threads), "0", "200000")
	p.expect("ready")
	p.send()
	var newest uint32
	progress := func() {
		t.Helper()
		before := newest
		eventually(t, "further calls", func() error {
			var err error
			if newest, err = whole(t, s, c.name, threads); err == nil && newest < before+100 {
				err = fmt.Errorf("%d now, %d before", newest, before)
			}
			return err
		})
	}
	progress()

	s.kill()
	if _, err := os.Stat(s.socket); err != nil {
		t.Errorf("a stale socket is part of this test: %v", err)
	}
	crash := s.container("crash-meanwhile")
	victim := crash.start(program(t, "death"), "segv")
	victim.expect("ready")
	victim.send()
	victim.wait()
	// Its cgroup goes, its history stays: each death is saved once, by whichever service.
	eventually(t, "the dead container's cgroup is removed", func() error { return os.Remove(crash.dir) })
	born := s.container("born-meanwhile")
	alive := born.start(program(t, "death"), "wait")
	alive.expect("ready")
	alive.send()
	alive.expect("waiting")
	time.Sleep(200 * time.Millisecond) // traffic that no service sees
	s.start()

	progress()
	snap := s.waitSnapshot(crash.name)
	checkSnapshot(t, snap, "signal", 139, "SIGSEGV")
	checkDeath(t, s.snapshotEvents(snap.ID), victim.pid)
	if got := deathNumbers(t, s.dump(born.name, "all=true")); len(got) != 100 {
		t.Errorf("the container that was born meanwhile: %d of its 100 calls", len(got))
	}

	// Again and again, also while it starts.
	for range 3 {
		s.kill()
		s.start()
	}
	progress()
	s.stop()
	if _, err := os.Stat(s.socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there after a clean stop: %v", err)
	}
	time.Sleep(100 * time.Millisecond)
	s.start()
	progress()
	if snaps := s.snapshots(""); len(snaps) != 1 || snaps[0].ID != snap.ID {
		t.Errorf("snapshots after the restarts: %+v, want %s alone", snaps, snap.ID)
	}

	p.in.Close()
	for range threads {
		p.expect("done")
	}
	if _, err := whole(t, s, c.name, threads); err != nil {
		t.Error(err)
	}
	if ring := s.ring(c.name).Ring; ring.Overwritten != 0 {
		t.Errorf("%d overwritten: the ring was too small for this test", ring.Overwritten)
	}
}

// TestUninstall: after a stop, what is pinned records on; --uninstall removes all of it,
// also from the kernel, and is content to find nothing.
func TestUninstall(t *testing.T) {
	t.Parallel()
	s := newService(t)
	c := s.container("stays")
	p := c.start(program(t, "death"), "wait")
	p.expect("ready")
	if code, out := s.uninstall(); code == 0 {
		t.Errorf("--uninstall under a running service succeeded:\n%s", out)
	}
	s.stop()
	p.send()
	p.expect("waiting")
	s.start()
	if got := deathNumbers(t, s.dump(c.name, "")); len(got) != 100 {
		t.Errorf("%d of the 100 calls that were made without the service", len(got))
	}
	s.stop()

	var links []link.ID
	for _, path := range strings.Fields(s.pinned()) {
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			continue // a map, or a program
		}
		info, err := l.Info()
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, info.ID)
		l.Close()
	}
	if len(links) == 0 {
		t.Fatalf("no link is pinned below %s: %s", s.pins, s.pinned())
	}
	if code, out := s.uninstall(); code != 0 {
		t.Fatalf("--uninstall: exit status %d\n%s", code, out)
	}
	if _, err := os.Stat(s.pins); !os.IsNotExist(err) {
		t.Errorf("the pin directory: %v", err)
	}
	if left := s.pinned(); left != "" {
		t.Errorf("still pinned:\n%s", left)
	}
	for _, id := range links {
		eventually(t, fmt.Sprint("link ", id, " is gone"), func() error {
			l, err := link.NewFromID(id)
			if err != nil {
				return nil
			}
			l.Close()
			return fmt.Errorf("it is still there")
		})
	}
	if code, out := s.uninstall(); code != 0 {
		t.Errorf("--uninstall with nothing there: exit status %d\n%s", code, out)
	}
}

// TestNotPinned: with an empty --pin-dir nothing is left behind by a service that ended.
func TestNotPinned(t *testing.T) {
	t.Parallel()
	s := prepareService(t, unified(t), "--pin-dir", "")
	s.start()
	c := s.container("unpinned")
	p := c.start(program(t, "death"), "clean")
	p.expect("ready")
	p.send()
	p.wait()
	if got := deathNumbers(t, s.dump(c.name, "all=true")); len(got) != 100 {
		t.Errorf("%d of 100 calls", len(got))
	}
	s.stop()
	if left := s.pinned(); left != "" {
		t.Errorf("left in the bpffs:\n%s", left)
	}
	s.start()
	if pods := s.podNames(); len(pods) > 1 || len(pods) == 1 && pods[0] != "host/unpinned" {
		t.Errorf("pods after a start from nothing: %v", pods)
	}
	s.stop()
	s.args = nil // for the clean-up
}

// metric reads a metric without labels.
func (s *service) metric(name string) string {
	s.t.Helper()
	for _, line := range strings.Split(string(s.get("/metrics")), "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return value
		}
	}
	s.t.Fatalf("there is no metric %s", name)
	return ""
}

// TestAbsence: while no service runs, more containers die than there are rings. What froze
// is there, each death as its snapshot; a second death in a cgroup, and containers that
// found no ring, are counted by cause; and what of those still runs is recorded as soon as
// a ring is free, and says that it ran before.
func TestAbsence(t *testing.T) {
	t.Parallel()
	s := newService(t, "--memory", "4MiB")
	s.kill()
	dies := func(name, how string) {
		t.Helper()
		c := s.container(name)
		p := c.start(program(t, "death"), how)
		p.expect("ready")
		p.send()
		p.wait()
		if name == "twice" {
			c.start("/bin/sh", "-c", "kill -SEGV $$").wait()
			return // its cgroup stays
		}
		eventually(t, "the cgroup is removed", func() error { return os.Remove(c.dir) })
	}
	for _, name := range []string{"one", "two", "three", "twice", "five", "six"} {
		dies(name, "segv")
	}
	late := s.container("late").start(program(t, "death"), "wait")
	late.expect("ready")
	s.start()
	for _, name := range []string{"one", "two", "three", "twice"} {
		snap := s.waitSnapshot(name)
		checkSnapshot(t, snap, "signal", 139, "SIGSEGV")
		if got := deathNumbers(t, s.snapshotEvents(snap.ID)); len(got) != 100 {
			t.Errorf("%s: %d of its 100 calls", name, len(got))
		}
	}
	if n := len(s.snapshots("")); n != 4 {
		t.Errorf("%d snapshots of 4 rings", n)
	}
	if n := s.metric("swoll_containers_unrecorded_total"); n != "3" {
		t.Errorf("%s containers found no ring, want 3", n)
	}
	if lost := s.ring("twice").Ring.Lost; lost["death"] != 1 || lost["frozen"] == 0 {
		t.Errorf("twice: lost %v, want one death, and what was refused since the first one", lost)
	}
	if !strings.Contains(s.log.String(), "found no free ring") {
		t.Error("the log does not tell of the containers that found no ring")
	}
	eventually(t, "what still runs is recorded", func() error {
		if !strings.Contains(strings.Join(s.podNames(), " "), "host/late") {
			return fmt.Errorf("recorded: %v", s.podNames())
		}
		return nil
	})
	late.send()
	late.expect("waiting")
	dump := strings.Join(s.text("late", "all=true"), "\n")
	if got := deathNumbers(t, s.dump("late", "all=true")); len(got) != 100 || !strings.Contains(dump, "recording began after the container had started") {
		t.Errorf("%d of 100 calls, in a dump that begins\n%.500s", len(got), dump)
	}
}

// TestGaps: where a ring was frozen and thawed, dumps and snapshots say from when to when,
// at that place, also after the service was started anew; a dump of what came later does not.
func TestGaps(t *testing.T) {
	t.Parallel()
	s := newService(t)
	c := s.container("gaps")
	p := c.start("/bin/sh", "-c", "while read x; do echo $x >/dev/null; kill -0 $$; echo $x; done")
	step := func() {
		t.Helper()
		p.in.WriteString("step\n")
		p.expect("step")
	}
	step()
	const gaps = 6
	for range gaps {
		s.post("/v1/pods/host/gaps/freeze", nil)
		step()
		s.post("/v1/pods/host/gaps/thaw", nil)
		step()
	}
	check := func(what string, lines []string, want int) {
		t.Helper()
		found, calls := 0, 0
		for _, line := range lines {
			if strings.HasPrefix(line, "# gap: nothing was recorded from ") {
				if found++; calls == 0 {
					t.Errorf("%s: the gap stands above all calls", what)
				}
			} else if !strings.HasPrefix(line, "#") {
				calls++
			}
		}
		text := strings.Join(lines, "\n")
		if found != want || want > 0 && !strings.Contains(text, fmt.Sprintf("frozen and thawed %d times", gaps)) {
			t.Errorf("%s: %d gaps, want %d:\n%s", what, found, want, text)
		}
	}
	check("dump", s.text("gaps", "all=true"), 4) // of which the times are kept
	if lines := s.text("gaps", "last=1"); strings.Contains(strings.Join(lines, "\n"), "# gap:") {
		t.Errorf("the newest call came after all gaps: %q", lines)
	}
	n := 0
	for _, e := range s.dump("gaps", "all=true") {
		if e.Event == "gap" {
			if n++; e.Finish == nil || *e.Finish <= e.Start {
				t.Errorf("a gap from %d to %v", e.Start, e.Finish)
			}
		}
	}
	if n != 4 {
		t.Errorf("%d gaps as JSON, want 4", n)
	}
	s.kill()
	s.start()
	check("dump after a start", s.text("gaps", "all=true"), 4)
	id := strings.TrimSpace(s.mustCLI("snapshot", "gaps"))
	check("snapshot", strings.Split(s.mustCLI("show", "--all", id), "\n"), 4)
	if text := s.mustCLI("explain", id, "-o", "json"); !strings.Contains(text, `"complete":false`) && !strings.Contains(text, `"complete": false`) {
		t.Errorf("the verdict takes a history with gaps for complete:\n%s", text)
	}
}
