package main_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// linksBelow lists the ids of the pinned links.
func (s *service) linksBelow() (ids []link.ID) {
	s.t.Helper()
	for _, path := range strings.Fields(s.pinned()) {
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			continue // a map
		}
		info, err := l.Info()
		if err != nil {
			s.t.Fatal(err)
		}
		ids = append(ids, info.ID)
		l.Close()
	}
	return ids
}

// startAndKill starts the service, waits until a file is below the directory of pins, and some
// time more, and kills it. It tells whether the file was there.
func (s *service) startAndKill(file string, after time.Duration) bool {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(built, "swolld"), s.flags()...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	serves := make(chan struct{}) // it cannot be there any more
	go func() {
		for !s.ready() && cmd.ProcessState == nil {
			time.Sleep(time.Millisecond)
		}
		close(serves)
	}()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
		if _, err := os.Lstat(filepath.Join(s.pins, file)); err == nil {
			time.Sleep(after)
			return true
		}
		select {
		case <-serves:
			return false
		default:
		}
	}
	s.t.Fatalf("the service did not start:\n%s", s.log)
	return false
}

// ready tells whether the service answers.
func (s *service) ready() bool {
	_, _, _, err := s.try("GET", "/readyz", nil)
	return err == nil
}

// expectGone waits until links are no longer in the kernel.
func expectGone(t testing.TB, links []link.ID) {
	t.Helper()
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
}

// TestNewPrograms: a service whose programs are others than those that are pinned (other
// flags make others, as another build does) puts its own in their place, over the same
// rings: no call of running threads is missing or there twice, whenever the service is
// killed, and what is captured from then on is what the new flags say. The old programs are
// gone from the kernel. Where nothing differs, nothing is replaced.
func TestNewPrograms(t *testing.T) {
	t.Parallel()
	const threads = 3
	s := newService(t, "--memory", "64MiB", "--ring-size", "16MiB", "--string-limit", "64")
	c := s.container("traffic")
	p := c.start(program(t, "numbers"), "recent", fmt.Sprint(threads), "0", "2000000")
	p.expect("ready")
	p.send()
	newest := uint32(0)
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
	limit := func(n int) { s.args = append(s.args, "--string-limit", fmt.Sprint(n)) }
	long := "/nowhere/" + strings.Repeat("x", 150)
	captured := func(name string) int {
		t.Helper()
		c := s.container(name)
		c.start("/bin/sh", "-c", "exec 2>/dev/null 3<"+long).wait()
		for _, line := range s.text(name, "all=true&syscall=openat") {
			if _, path, ok := strings.Cut(line, `"/nowhere/`); ok {
				return strings.Count(path, "x") + len("/nowhere/")
			}
		}
		t.Fatalf("%s: no call has the path", name)
		return 0
	}
	progress()
	if n := captured("short"); n >= len(long) {
		t.Fatalf("%d bytes of a path are there, the limit is 64", n)
	}

	first := s.linksBelow()
	s.stop()
	s.start()
	if same := s.linksBelow(); fmt.Sprint(same) != fmt.Sprint(first) {
		t.Errorf("the same version with the same flags has other programs: links %v, were %v", same, first)
	}
	s.stop()
	limit(200)
	s.start()
	progress()
	if n := captured("longer"); n != len(long) {
		t.Errorf("%d bytes of a path of %d are there, with a limit of 200", n, len(long))
	}
	second := s.linksBelow()
	if len(second) != len(first) {
		t.Errorf("%d links are pinned, were %d", len(second), len(first))
	}
	expectGone(t, first)
	s.kill()

	// Killed anywhere while it replaces them.
	for i, moment := range []string{"new", "new/link_running", "new/link_running", "gone"} {
		limit(100 + i)
		s.startAndKill(moment, time.Duration(i%3)*10*time.Millisecond)
	}
	s.start()
	progress()
	if got := s.linksBelow(); len(got) != len(first) {
		t.Errorf("%d links are pinned, were %d:\n%s", len(got), len(first), s.pinned())
	}
	expectGone(t, second)
	if n := captured("longest"); n < 100 || n >= len(long) {
		t.Errorf("%d bytes of a path are there, the limit is 103", n)
	}
	p.in.Close()
	for range threads {
		p.expect("done")
	}
	progressed, err := whole(t, s, c.name, threads)
	if err != nil {
		t.Error(err)
	}
	ring := s.ring(c.name).Ring
	if ring.Overwritten != 0 || len(ring.Lost) != 0 {
		t.Errorf("%d overwritten, lost %v: the ring was too small for this test, or something was lost", ring.Overwritten, ring.Lost)
	}
	for _, line := range strings.Split(s.log.String(), "\n") {
		if strings.Contains(line, "replaced the pinned") {
			t.Log(line)
		}
	}
	t.Logf("%d calls of each of %d threads", progressed+1, threads)
}

// TestForeignLayout: what is pinned with a newer layout, or with one that nobody knows, is
// left alone, whole and recording; an error says what to do. The version that pinned it
// finds everything.
func TestForeignLayout(t *testing.T) {
	t.Parallel()
	s := newService(t)
	c := s.container("stays")
	p := c.start(program(t, "death"), "wait")
	p.expect("ready")
	s.stop()
	links := s.linksBelow()
	m, err := ebpf.LoadPinnedMap(filepath.Join(s.pins, "recorder", "node"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	node, err := unix.Mmap(m.FD(), 0, int(m.ValueSize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(node)
	own := binary.LittleEndian.Uint32(node)
	for layout, says := range map[uint32]string{own + 1: "newer swolld", 0: "cannot be taken over"} {
		binary.LittleEndian.PutUint32(node, layout)
		if code, out := runSwolld(t, nil, s.flags()...); code != 1 || !strings.Contains(out, says) || !strings.Contains(out, "--uninstall") {
			t.Errorf("layout %d: exit status %d\n%s", layout, code, out)
		}
	}
	p.send()
	p.expect("waiting")
	binary.LittleEndian.PutUint32(node, own)
	s.start()
	if got := deathNumbers(t, s.dump("stays", "all=true")); len(got) != 100 {
		t.Errorf("%d of 100 calls that were made meanwhile", len(got))
	}
	if same := s.linksBelow(); fmt.Sprint(same) != fmt.Sprint(links) {
		t.Errorf("links %v, were %v", same, links)
	}
	s.stop()
	binary.LittleEndian.PutUint32(node, own+1)
	if code, out := s.uninstall(); code != 0 || s.pinned() != "" {
		t.Errorf("--uninstall of a newer layout: exit status %d\n%s\nstill there:\n%s", code, out, s.pinned())
	}
}
