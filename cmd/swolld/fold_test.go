package main_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// times is how often the program "numbers" makes the call of a number in its mode "runs".
func times(n uint32) int {
	if h := hash(n); h%4 == 0 {
		return int(2 + h/4%100)
	}
	return 1
}

// TestExactRuns: of calls that are made many times at once, mixed with others, from however
// many threads, moved between CPUs while they run, a dump unfolds to exactly the newest, in
// their order, and what the boot lane keeps before them. What is held and what is said to
// be overwritten are together all that were made.
func TestExactRuns(t *testing.T) {
	t.Parallel()
	s := newService(t, "--memory", "16MiB", "--ring-size", "1MiB")
	for _, threads := range []int{1, 4} {
		t.Run(strconv.Itoa(threads), func(t *testing.T) { exactRuns(t, s.in(t), threads) })
	}
}

func exactRuns(t *testing.T, s *service, threads int) {
	const count = 12000
	c := s.container(fmt.Sprint("runs-", threads))
	_, tids, ring := makeNumbers(t, s, c, "runs", threads, count, 100)
	made := threads // each says "done"
	for n := range uint32(count) {
		made += threads * times(n)
	}

	held, runs := 0, 0
	lines := s.text(c.name, "all=true")
	calls, _, err := parseText(lines)
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range calls {
		if call.count > 1 {
			runs++
		}
		if call.name == "write" && strings.HasPrefix(call.args, `1, "done `) {
			held++
		}
	}
	if runs < 100 {
		t.Errorf("%d runs only; the test shows nothing", runs)
	}
	for tid, numbers := range numbersByThread(t, lines) {
		if !tids[tid] {
			t.Errorf("numbered calls of thread %d, which made none", tid)
		}
		held += len(numbers)
		checkCounts(t, numbers, false)
	}
	if held+int(ring.Overwritten) != made {
		t.Errorf("%d held and %d overwritten make %d, but %d calls were made", held, ring.Overwritten, held+int(ring.Overwritten), made)
	}
	for tid, numbers := range numbersByThread(t, s.text(c.name, "")) {
		if !checkCounts(t, numbers, true) {
			t.Errorf("thread %d: nothing was overwritten; the test shows nothing", tid)
		}
	}
	// JSON says the same.
	total := 0
	for _, e := range s.dump(c.name, "all=true") {
		switch e.name() {
		case "lseek", "connect", "pwrite64", "pread64":
			if e.Seq != 0 && tids[e.TID] {
				total += int(e.calls())
			}
		case "write":
			if text, ok := e.Args["buf"].(string); ok && strings.HasPrefix(text, "done ") {
				total++
			}
		}
		if e.Count == 1 || e.Count > 1 && (e.Finish == nil || e.Last <= *e.Finish || e.Total < *e.Finish-e.Start) {
			t.Errorf("a run that cannot be: %v", &e)
		}
	}
	if total != held {
		t.Errorf("JSON tells of %d calls, text of %d", total, held)
	}
}

// checkCounts checks what one thread's part of a dump must be: its numbers in order, none
// more often than its call was made. If it is the complete part: first what the boot lane
// keeps, 0 and on, each as often as it was made; then, lane by lane, the newest ones. It
// tells whether any are missing.
func checkCounts(t testing.TB, numbers []uint32, complete bool) (missing bool) {
	t.Helper()
	held := map[uint32]int{}
	for i, n := range numbers {
		if i > 0 && n < numbers[i-1] {
			t.Fatalf("%d follows %d", n, numbers[i-1])
		}
		held[n]++
	}
	newest := numbers[len(numbers)-1]
	boot := uint32(0)
	for held[boot] == times(boot) && boot < newest {
		boot++
	}
	gone := map[string]bool{} // lanes in which something older is missing
	for n := int64(newest); n >= 0; n-- {
		n := uint32(n)
		lane := []string{"recent", "error", "life", "recent", "recent"}[n%5]
		switch {
		case held[n] > times(n):
			t.Fatalf("the call of %d is there %d times, it was made %d times", n, held[n], times(n))
		case n <= boot || !complete:
			// The boot lane may have ended in the middle of a run.
		case gone[lane] && held[n] > 0:
			t.Fatalf("lane %s holds %d, though younger ones are not there", lane, n)
		case held[n] < times(n):
			gone[lane], missing = true, true
		}
	}
	return missing
}

// counts is what a thread of the program "again" counts in its file.
type counts struct{ tid, begun, done uint64 }

// again reads the file of the program "again".
func again(t testing.TB, file string) (all []counts) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for ; len(b) >= 32; b = b[32:] {
		if tid := binary.NativeEndian.Uint64(b); tid != 0 {
			all = append(all, counts{tid, binary.NativeEndian.Uint64(b[8:]), binary.NativeEndian.Uint64(b[16:])})
		}
	}
	return all
}

// agains counts the program's calls in a dump, by thread; and the events that tell of them.
func agains(t testing.TB, events []event) (calls map[uint64]uint64, records int) {
	t.Helper()
	calls = map[uint64]uint64{}
	for _, e := range events {
		if e.name() == "lseek" && e.Error == "EBADF" && e.Return != nil && integer(t, e.Args["offset"]) == 424242 {
			calls[uint64(e.TID)] += e.calls()
			records++
		}
	}
	return calls, records
}

// goOn waits until each thread has made n more calls.
func goOn(t testing.TB, file string, threads int, n uint64) {
	t.Helper()
	before := map[uint64]uint64{}
	for _, c := range again(t, file) {
		before[c.tid] = c.done
	}
	eventually(t, "more calls", func() error {
		now := again(t, file)
		if len(now) < threads {
			return fmt.Errorf("%d threads", len(now))
		}
		for _, c := range now {
			if c.done < before[c.tid]+n {
				return fmt.Errorf("thread %d made %d", c.tid, c.done)
			}
		}
		return nil
	})
}

// TestRunsCut: whatever happens in the middle of a run, every call of it is counted, once.
func TestRunsCut(t *testing.T) {
	t.Parallel()
	s := newService(t)
	begin := func(t *testing.T, s *service, name, how string) (*container, *process, string) {
		c := s.container(name)
		file := filepath.Join(t.TempDir(), "counts")
		p := c.start(program(t, "again"), file, how)
		p.expect("ready")
		p.send()
		return c, p, file
	}
	end := func(p *process, threads int) {
		p.in.Close()
		for range threads {
			p.expect("done")
		}
	}
	// Each call that returned is there, and at most the one that was returning besides.
	check := func(t *testing.T, events []event, file string) {
		t.Helper()
		calls, records := agains(t, events)
		made := uint64(0)
		for _, c := range again(t, file) {
			if n := calls[c.tid]; n < c.done || n > c.begun {
				t.Errorf("thread %d made %d calls and began %d; %d are recorded", c.tid, c.done, c.begun, n)
			}
			made += c.done
		}
		if uint64(records)*5 > made {
			t.Errorf("%d calls have %d records: hardly folded", made, records)
		}
	}

	t.Run("killed", func(t *testing.T) {
		s := s.in(t)
		c, p, file := begin(t, s, "cut-killed", "1")
		goOn(t, file, 1, 2000)
		p.kill()
		p.wait()
		snap := s.waitSnapshot(c.name)
		checkSnapshot(t, snap, "signal", 137, "SIGKILL")
		check(t, s.snapshotEvents(snap.ID), file)
	})
	t.Run("killed beside others", func(t *testing.T) {
		s := s.in(t)
		c := s.container("cut-beside")
		first := c.start(program(t, "death"), "wait")
		first.expect("ready")
		file := filepath.Join(t.TempDir(), "counts")
		p := c.start(program(t, "again"), file, "3")
		p.expect("ready")
		p.send()
		goOn(t, file, 3, 1000)
		p.kill()
		p.wait()
		check(t, s.dump(c.name, "all=true"), file)
	})
	t.Run("frozen", func(t *testing.T) {
		s := s.in(t)
		c, p, file := begin(t, s, "cut-frozen", "2")
		goOn(t, file, 2, 1000)
		before := again(t, file)
		s.post("/v1/pods/host/"+c.name+"/freeze", nil)
		after := again(t, file)
		frozen, _ := agains(t, s.dump(c.name, "all=true"))
		for i, b := range before {
			if n := frozen[b.tid]; n < b.done || n > after[i].done+1 {
				t.Errorf("thread %d made %d calls before and %d after the freeze, %d are there", b.tid, b.done, after[i].done, n)
			}
		}
		goOn(t, file, 2, 1000)
		if still, _ := agains(t, s.dump(c.name, "all=true")); fmt.Sprint(still) != fmt.Sprint(frozen) {
			t.Errorf("frozen, it has %v calls, and later %v", frozen, still)
		}
		s.post("/v1/pods/host/"+c.name+"/thaw", nil)
		goOn(t, file, 2, 1000)
		end(p, 2)
		calls, _ := agains(t, s.dump(c.name, "all=true"))
		ring := s.ring(c.name).Ring
		held, made := ring.Lost["frozen"], uint64(0)
		for _, c := range again(t, file) {
			held += calls[c.tid]
			made += c.done
		}
		if held != made || ring.Lost["frozen"] == 0 {
			t.Errorf("%v recorded and %d lost to the freeze are not the %d made", calls, ring.Lost["frozen"], made)
		}
	})
	t.Run("executed", func(t *testing.T) {
		s := s.in(t)
		c, p, file := begin(t, s, "cut-executed", "exec")
		p.expect("done")
		events := s.dump(c.name, "all=true")
		check(t, events, file)
		all := again(t, file)
		if calls, _ := agains(t, events); len(all) != 2 || calls[all[0].tid] != 1000 || calls[all[1].tid] != 500 || all[1].tid != uint64(p.pid) {
			t.Errorf("%v recorded of %v", calls, all)
		}
		at := indexOf(events, func(e event) bool {
			return e.name() == "execve" && e.TID == p.pid && e.Error == "OK" && e.Start > events[0].Start
		})
		for i, e := range events {
			if at >= 0 && e.name() == "lseek" && e.TID == p.pid && i < at {
				t.Errorf("a call of after the exec stands before it: %v", &e)
			}
		}
	})
	t.Run("without a service", func(t *testing.T) {
		s := prepareService(t, unified(t), "--memory", "64MiB", "--ring-size", "32MiB")
		s.start()
		c, p, file := begin(t, s, "cut-alone", "1")
		goOn(t, file, 1, 1000)
		s.kill()
		goOn(t, file, 1, 2000)
		s.start()
		goOn(t, file, 1, 1000)
		end(p, 1)
		check(t, s.dump(c.name, "all=true"), file)
		if ring := s.ring(c.name).Ring; ring.Overwritten != 0 {
			t.Errorf("%d overwritten: the ring was too small for this test", ring.Overwritten)
		}
		// Another service, of another opinion, keeps each call apart from now on.
		s.stop()
		s.args = append(s.args, "--fold=false")
		s.start()
		c, p, _ = begin(t, s, "cut-apart", "exec")
		p.expect("done")
		if calls, records := agains(t, s.dump(c.name, "all=true")); records != 1500 {
			t.Errorf("with --fold=false %v calls have %d records", calls, records)
		}
	})
}
