package main_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A textCall is one line of a text dump. Its text is strace's, so the tests read it with
// what they know of strace, not with the code under test.
type textCall struct {
	tid        int
	name, args string
	ret        string // "" if unfinished
	unfinished bool
	seconds    string // what stands in <>: how long it took
	count      int    // how often it was made at once
}

var (
	finishedLine   = regexp.MustCompile(`^(\d+) +(\d+\.\d{6}) (\w+)\((.*)\) += (.*?)(?: <(\d+\.\d+)>)?$`)
	unfinishedLine = regexp.MustCompile(`^(\d+) +(\d+\.\d{6}) (\w+)\((.*?),? ?<unfinished \.\.\.>(?: .*?<(\d+\.\d+)>)?$`)
	runLine        = regexp.MustCompile(`^# (\d+) made this call (\d+) times more until \d+\.\d{6}; all (\d+) took <\d+\.\d{6}>$`)
	eventLine      = regexp.MustCompile(`^\d+ +\d+\.\d{6} (---|\+\+\+) .* (---|\+\+\+)$`)
)

// parseText parses a text dump; lines that are neither calls nor events nor comments
// are an error: a torn record would be one.
func parseText(lines []string) (calls []textCall, comments []string, err error) {
	for _, line := range lines {
		if m := unfinishedLine.FindStringSubmatch(line); m != nil {
			tid, _ := strconv.Atoi(m[1])
			calls = append(calls, textCall{tid: tid, name: m[3], args: m[4], unfinished: true, seconds: m[5], count: 1})
		} else if m := finishedLine.FindStringSubmatch(line); m != nil {
			tid, _ := strconv.Atoi(m[1])
			calls = append(calls, textCall{tid: tid, name: m[3], args: m[4], ret: m[5], seconds: m[6], count: 1})
		} else if m := runLine.FindStringSubmatch(line); m != nil {
			// It tells of the call above it.
			more, _ := strconv.Atoi(m[2])
			last := len(calls) - 1
			if last < 0 || calls[last].count != 1 || calls[last].unfinished || more < 1 ||
				m[1] != strconv.Itoa(calls[last].tid) || m[3] != strconv.Itoa(more+1) {
				return nil, nil, fmt.Errorf("a run of nothing: %q", line)
			}
			calls[last].count += more
		} else if strings.HasPrefix(line, "# ") {
			comments = append(comments, line)
		} else if !eventLine.MatchString(line) && line != "" {
			return nil, nil, fmt.Errorf("a line that is nothing: %q", line)
		}
	}
	return calls, comments, nil
}

// hash is the function of testdata/programs/common.h.
func hash(n uint32) uint32 {
	n ^= n >> 16
	n *= 0x7feb352d
	n ^= n >> 15
	n *= 0x846ca68b
	n ^= n >> 16
	return n
}

var (
	lseekArgs   = regexp.MustCompile(`^(-?\d+), (\d+), SEEK_SET$`)
	payloadArgs = regexp.MustCompile(`^\d+, "(.*)"(\.*), (\d+), (\d+)$`)
	connectArgs = regexp.MustCompile(`^\d+, \{sa_family=AF_INET, sin_port=htons\((\d+)\), sin_addr=inet_addr\("127\.1\.(\d+)\.(\d+)"\)\}, 16$`)
)

// number returns the number that a call of the program "numbers" carries; ok is false for
// other calls. An altered call is an error.
func number(c textCall) (n uint32, ok bool, err error) {
	altered := func() (uint32, bool, error) {
		return 0, false, fmt.Errorf("a record that the program did not make so: %+v", c)
	}
	num := func(s string) uint32 {
		v, e := strconv.ParseUint(s, 10, 32)
		if e != nil {
			err = e
		}
		return uint32(v)
	}
	var want string
	switch c.name {
	case "lseek":
		m := lseekArgs.FindStringSubmatch(c.args)
		if m == nil {
			return altered()
		}
		n, want = num(m[2]), m[2]
		if m[1] == "-1" {
			want = "-1 EBADF (Bad file descriptor)"
		}
	case "pwrite64":
		m := payloadArgs.FindStringSubmatch(c.args)
		if m == nil || m[2] != "" || m[3] != "32" {
			return altered()
		}
		n, want = num(m[4]), "32"
		if m[1] != fmt.Sprintf("%010d %010d ..........", n, hash(n)) {
			return altered()
		}
	case "connect":
		m := connectArgs.FindStringSubmatch(c.args)
		if m == nil {
			return altered()
		}
		n, want = num(m[1])|num(m[2])<<24|num(m[3])<<16, "0"
	case "pread64":
		m := payloadArgs.FindStringSubmatch(c.args)
		if m == nil || strings.Trim(m[1], `\0`) != "" {
			return altered()
		}
		n, want = num(m[4]), m[3]
		if m[3] != strconv.Itoa(int(1+n%7)) {
			return altered()
		}
	default:
		return 0, false, nil
	}
	if err != nil || !c.unfinished && c.ret != want {
		return altered()
	}
	return n, true, nil
}

// numbersByThread collects the numbers that a dump holds, in its order; of a run, as often
// as the call was made.
func numbersByThread(t testing.TB, lines []string) map[int][]uint32 {
	t.Helper()
	calls, _, err := parseText(lines)
	if err != nil {
		t.Fatal(err)
	}
	byThread := map[int][]uint32{}
	for _, c := range calls {
		n, ok, err := number(c)
		if err != nil {
			t.Fatal(err)
		}
		for range c.count {
			if ok {
				byThread[c.tid] = append(byThread[c.tid], n)
			}
		}
	}
	return byThread
}

// lanes says how many lanes the modes of the program use, and which one a number goes to.
func laneOf(mode string, n uint32) string {
	switch mode {
	case "mixed":
		return []string{"recent", "error", "life", "recent"}[n%4]
	case "error":
		return "error"
	}
	return "recent"
}

// checkNewest checks what one thread's part of a dump must be: first the numbers that the
// boot lane keeps, 0 and on without a gap; then, lane by lane, the newest ones up to
// count-1 without a gap; each once, in order. It returns how many are not held.
func checkNewest(t testing.TB, mode string, held []uint32, count uint32) (missing int) {
	t.Helper()
	for i := 1; i < len(held); i++ {
		if held[i] <= held[i-1] {
			t.Fatalf("%d follows %d: not in order, or not once", held[i], held[i-1])
		}
	}
	if len(held) == 0 || held[len(held)-1] != count-1 {
		t.Fatalf("the newest call, %d, is not there; held: %d calls", count-1, len(held))
	}
	boot := 0
	for boot < len(held) && held[boot] == uint32(boot) {
		boot++
	}
	if boot == 0 {
		t.Errorf("the boot lane kept nothing; the oldest is %d", held[0])
	}
	have := map[uint32]bool{}
	for _, n := range held {
		have[n] = true
	}
	gone := map[string]uint32{} // lane -> youngest number that is not held
	for n := int64(count) - 1; n >= int64(boot); n-- {
		lane := laneOf(mode, uint32(n))
		youngest, seen := gone[lane]
		if !have[uint32(n)] {
			missing++
			if !seen {
				gone[lane] = uint32(n)
			}
		} else if seen {
			t.Fatalf("lane %s holds %d though %d is not there", lane, n, youngest)
		}
	}
	return missing
}

// stir moves the threads of a process from CPU to CPU until done is closed, and returns
// how often it moved one.
func stir(t testing.TB, p *process, cpus []int, done <-chan struct{}) int {
	tids, moved := p.tids(), 0
	for round := 0; ; round++ {
		for i, tid := range tids {
			select {
			case <-done:
				return moved
			default:
			}
			var one unix.CPUSet
			one.Set(cpus[(round+i)%len(cpus)])
			if err := unix.SchedSetaffinity(tid, &one); err != nil {
				t.Errorf("sched_setaffinity %d: %v", tid, err)
				return moved
			}
			moved++
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// TestExact: of a known number of numbered calls, whatever lanes they go to, from however
// many threads, moved between CPUs while they run, a dump shows exactly the newest, and
// before them those that the boot lane keeps. With what is older added, what is held and
// what is said to be overwritten are together all that were made: nothing is lost in silence.
func TestExact(t *testing.T) {
	t.Parallel()
	s := newService(t, "--memory", "8MiB", "--ring-size", "512KiB")
	for _, mode := range []string{"recent", "error", "mixed", "payload"} {
		for _, threads := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s by %d", mode, threads), func(t *testing.T) {
				exact(t, s.in(t), mode, threads)
			})
		}
	}
}

// makeNumbers lets threads in a container make count numbered calls each, or runs of them, as
// the mode of the program "numbers" says, while they are moved between CPUs. It returns the
// program, which waits for its end, the threads' ids, and what the ring holds then, of which
// nothing may be lost.
func makeNumbers(t *testing.T, s *service, c *container, mode string, threads, count, pace int) (*process, map[int]bool, ring) {
	t.Helper()
	p := c.start(program(t, "numbers"), mode, strconv.Itoa(threads), strconv.Itoa(count), strconv.Itoa(pace))
	t.Cleanup(p.kill)
	p.expect("ready")
	cpus := ownCPUs(t)
	done, moves := make(chan struct{}), make(chan int)
	go func() { moves <- stir(t, p, cpus, done) }()
	p.send()
	tids := map[int]bool{}
	for range threads {
		var tid, n int
		if _, err := fmt.Sscan(p.expect("done"), &tid, &n); err != nil || n != count {
			t.Errorf("a thread made %d of %d numbers (%v)", n, count, err)
		}
		tids[tid] = true
	}
	close(done)
	if n := <-moves; n < 100 {
		t.Errorf("the threads were moved %d times only", n)
	}

	ring := s.ring(c.name).Ring
	for cause, n := range ring.Lost {
		if n != 0 {
			t.Errorf("%d calls lost: %s", n, cause)
		}
	}
	return p, tids, ring
}

func exact(t *testing.T, s *service, mode string, threads int) {
	const count = 20000
	c := s.container(fmt.Sprintf("exact-%s-%d", mode, threads))
	_, tids, ring := makeNumbers(t, s, c, mode, threads, count, 10000)

	held := numbersByThread(t, s.text(c.name, ""))
	complete := 0
	for tid := range tids {
		missing := checkNewest(t, mode, held[tid], count)
		complete += count - missing
		if missing == 0 {
			t.Errorf("thread %d: nothing was overwritten; the test shows nothing", tid)
		}
		delete(held, tid)
	}
	if len(held) != 0 {
		t.Errorf("numbered calls of other threads: %v", held)
	}

	lines := s.text(c.name, "all=true")
	heldAll, said := 0, 0
	for tid, numbers := range numbersByThread(t, lines) {
		if !tids[tid] {
			t.Errorf("numbered calls of thread %d, which made none", tid)
		}
		for i := 1; i < len(numbers); i++ {
			if numbers[i] <= numbers[i-1] {
				t.Fatalf("with --all, %d follows %d", numbers[i], numbers[i-1])
			}
		}
		heldAll += len(numbers)
	}
	calls, comments, err := parseText(lines)
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range calls {
		// "done" is said at a thread's end, among the calls of the others: it is made
		// behind what boot keeps, so it may be overwritten as well.
		if call.name == "write" && strings.HasPrefix(call.args, `1, "done `) {
			said++
		}
	}
	if heldAll < complete {
		t.Errorf("--all shows %d, fewer than without it, %d", heldAll, complete)
	}
	made := threads*count + threads
	if got := heldAll + said + int(ring.Overwritten); got != made {
		t.Errorf("%d held and %d overwritten make %d, but %d calls were made; lost: %v",
			heldAll+said, ring.Overwritten, got, made, ring.Lost)
	}
	// Where some of what is held is older than the complete part, a line says so.
	if marks := strings.Count(strings.Join(comments, "\n"), "# complete from here"); heldAll > complete && marks != 1 {
		t.Errorf("%d lines \"# complete from here\", want one", marks)
	}

	// Dumping twice gives the same history twice: nothing is consumed.
	first, second := s.dump(c.name, "all=true"), s.dump(c.name, "all=true")
	if len(first) != len(second) {
		t.Errorf("two dumps of a quiet container have %d and %d events", len(first), len(second))
	}
	seen := map[uint64]bool{}
	for i, e := range first {
		if i < len(second) && e.Seq != second[i].Seq {
			t.Fatalf("event %d of two dumps differs: %v, %v", i, &e, &second[i])
		}
		if e.Seq != 0 && seen[e.Seq] {
			t.Fatalf("seq %d is there twice", e.Seq)
		}
		seen[e.Seq] = true
		if want, ok := jsonLane(mode, e); ok && e.Lane != "boot" && e.Lane != want {
			t.Fatalf("in lane %s, want %s: %v", e.Lane, want, &e)
		}
	}
}

// jsonLane is the lane that a numbered call belongs to, unless boot keeps it.
func jsonLane(mode string, e event) (string, bool) {
	switch e.name() {
	case "lseek":
		if e.Error != "OK" {
			return "error", true
		}
		return "recent", true
	case "connect":
		return "life", true
	case "pwrite64":
		return "recent", true
	}
	return "", false
}
