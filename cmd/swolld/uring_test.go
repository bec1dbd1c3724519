package main_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// needUring fails a test where nobody may use io_uring: there it would test nothing.
func needUring(t testing.TB) {
	t.Helper()
	if data, err := os.ReadFile("/proc/sys/kernel/io_uring_disabled"); err == nil && strings.TrimSpace(string(data)) != "0" {
		t.Fatalf("io_uring is disabled on this machine (kernel.io_uring_disabled = %s), and this test needs it. Try: sysctl kernel.io_uring_disabled=0",
			strings.TrimSpace(string(data)))
	}
	var params [120]byte
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		t.Fatalf("io_uring_setup: %v; this test needs a kernel with io_uring, and to be allowed to use it", errno)
	}
	unix.Close(int(fd))
}

// operations are the events of io_uring in a dump.
func operations(events []event) []event {
	return slices.DeleteFunc(events, func(e event) bool { return e.Event != "io_uring" })
}

func (e event) userData(t testing.TB) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(e.UserData, "0x"), 16, 64)
	if err != nil {
		t.Fatalf("user_data of %v: %v", e, err)
	}
	return n
}

// A told is what the kernel told the program "uring" of a completion.
type told struct {
	userData uint64
	result   int64
	more     bool
}

// hearAll returns what the program says of its completions until it is done.
func hearAll(p *process) (all []told) {
	p.t.Helper()
	for {
		line := p.line()
		if line == "done" {
			return all
		}
		var c told
		var flags int
		if _, err := fmt.Sscanf(line, "cqe %d %d %d", &c.userData, &c.result, &flags); err != nil {
			p.t.Fatalf("%q: %v", line, err)
		}
		c.more = flags != 0
		all = append(all, c)
	}
}

// toldOf returns what finished operations say they told their program.
func toldOf(t testing.TB, events []event) (all []told) {
	t.Helper()
	for _, e := range events {
		if e.Return != nil {
			all = append(all, told{e.userData(t), *e.Return, slices.Contains(e.CompletionFlags, "IORING_CQE_F_MORE")})
		}
	}
	return all
}

func sortTold(all []told) []told {
	slices.SortStableFunc(all, func(a, b told) int { return int(a.userData) - int(b.userData) })
	return all
}

var uringLine = regexp.MustCompile(`^# (\d+) +\d+\.\d{6} io_uring (\w+)\((.*)$`)

// TestUringOperations: operations of many kinds, by themselves, linked, cancelled, refused,
// on registered files, told of only if they fail, are each there with what they were
// given and what became of them, just as the kernel told the program.
func TestUringOperations(t *testing.T) {
	t.Parallel()
	needUring(t)
	s := newService(t)
	c := s.container("each")
	dir := t.TempDir()
	p := c.start(program(t, "uring"), "each", dir)
	want := sortTold(hearAll(p))

	events := operations(s.dump(c.name, ""))
	if got := sortTold(toldOf(t, events)); !slices.Equal(got, want) {
		t.Errorf("completions recorded:\n%v\nthe kernel told:\n%v", got, want)
	}
	for _, e := range events {
		if e.PID != p.pid || e.TID != p.pid || e.Comm != "uring" || e.Start == 0 || e.Finish != nil && *e.Finish < e.Start {
			t.Errorf("not this program's: %v", e)
		}
	}

	// By user_data, the two that are told of only if they fail apart.
	lines := map[string][]string{}
	for _, line := range s.text(c.name, "") {
		if m := uringLine.FindStringSubmatch(line); m != nil {
			_, after, _ := strings.Cut(m[3], "/* user_data=")
			ud, _, _ := strings.Cut(strings.TrimSuffix(after, " */"), ",")
			lines[ud] = append(lines[ud], m[2]+"("+m[3])
		}
	}
	const seconds = ` <0\.\d{6}> /\* user_data=0x[0-9a-f]+`
	for ud, want := range map[string][]string{
		"0x1": {`openat\(AT_FDCWD, "nowhere/openat", O_RDONLY\) = -1 ENOENT \(No such file or directory\)` + seconds + ` \*/`},
		"0x2": {`statx\(AT_FDCWD, "nowhere/statx", AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS, 0x[0-9a-f]+\) = -1 ENOENT .*`},
		"0x3": {`unlinkat\(AT_FDCWD, "nowhere/unlinkat", 0\) = -1 ENOENT .*`},
		"0x4": {`renameat\(AT_FDCWD, "nowhere/from", AT_FDCWD, "nowhere/to", 0\) = -1 ENOENT .*`},
		"0x5": {`mkdirat\(AT_FDCWD, "nowhere/mkdirat", 0755\) = -1 ENOENT .*`},
		"0x6": {`symlinkat\("target", AT_FDCWD, "nowhere/to"\) = -1 ENOENT .*`},
		"0x7": {`linkat\(AT_FDCWD, "nowhere/from", AT_FDCWD, "nowhere/to", 0\) = -1 ENOENT .*`},
		"0x8": {`openat\(AT_FDCWD, "` + regexp.QuoteMeta(dir) + `/there", O_WRONLY\|O_CREAT\|O_EXCL, 0640\) = \d+` + seconds + ` \*/`},
		"0x9": {`read\(0, 0x[0-9a-f]+, 1, 0\) += 1` + seconds + `, IOSQE_FIXED_FILE \*/`},
		"0xa": {`read\(1, 0x[0-9a-f]+, 1, 0\) += -1 EBADF .*IOSQE_FIXED_FILE \*/`},
		"0xb": {`op_0xc8\(0, addr=0, len=0, off=0, flags=0\) = -1 EINVAL .*`},
		"0xc": {`nop\(\) += -1 EINVAL .*, 0x80 \*/`},
		"0xd": {`openat\(AT_FDCWD, 0x8, O_RDONLY\) = -1 EFAULT .*`},
		// A link breaks behind what failed.
		"0xe":  {`openat\(AT_FDCWD, "nowhere/linked", O_RDONLY\) = -1 ENOENT .*, IOSQE_IO_LINK \*/`},
		"0x10": {`nop\(\) += -1 ECANCELED \(Operation canceled\).*`},
		"0x12": {`link_timeout\(ts=0x[0-9a-f]+, flags=0\) = -1 ETIME .*`},
		"0x13": {`nop\(\) += \? /\* user_data=0x13, IOSQE_CQE_SKIP_SUCCESS \*/`},
		"0x14": {`openat\(AT_FDCWD, "nowhere/skip", O_RDONLY\) = \? /\* .*`, `openat\(AT_FDCWD, "nowhere/skip", O_RDONLY\) = -1 ENOENT .*`},
		"0x16": {`async_cancel\(-1, user_data=0x15, flags=0\) = 0 .*`},
	} {
		got := lines[ud]
		if len(got) != len(want) {
			t.Errorf("user_data %s: %d lines, want %d: %q", ud, len(got), len(want), got)
			continue
		}
		// The same start: which one comes first is not told.
		slices.SortFunc(got, func(a, b string) int { return strings.Index(b, "= ?") - strings.Index(a, "= ?") })
		for i := range want {
			if !regexp.MustCompile("^" + want[i] + "$").MatchString(got[i]) {
				t.Errorf("user_data %s:\n%s\nis not\n%s", ud, got[i], want[i])
			}
		}
	}

	// What is asked for by name, or as a failure, is found among the calls.
	if got := operations(s.dump(c.name, "syscall=mkdirat")); len(got) != 1 || got[0].Args["pathname"] != "nowhere/mkdirat" {
		t.Errorf("syscall=mkdirat: %v", got)
	}
	if got := s.dump(c.name, "syscall=nop&syscall=io_uring"); len(got) != len(events) {
		t.Errorf("syscall=io_uring: %d events, want %d", len(got), len(events))
	}
	failures := 0
	for _, w := range want {
		if w.result < 0 {
			failures++
		}
	}
	if got := operations(s.dump(c.name, "errors=true")); len(got) != failures {
		t.Errorf("errors=true: %d operations, want %d: %v", len(got), failures, got)
	}
	if got := operations(s.dump(c.name, "pid=1")); len(got) != 0 {
		t.Errorf("pid=1: %v", got)
	}
	// It says that it uses io_uring, and others do not.
	other := s.container("other")
	other.start(program(t, "once"))
	if header := strings.Join(s.text(c.name, "last=1"), "\n"); !strings.Contains(header, "\n# io_uring: used; ") || !s.ring(c.name).Ring.IOUring {
		t.Errorf("nothing says that io_uring was used:\n%s", header)
	}
	eventually(t, "a call of the other container", func() error {
		if len(s.dump(other.name, "")) == 0 {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	if header := strings.Join(s.text(other.name, "last=1"), "\n"); strings.Contains(header, "# io_uring") || s.ring(other.name).Ring.IOUring {
		t.Errorf("a program that does not use io_uring:\n%s", header)
	}
}

// TestUringExact: of numbered operations each is there exactly once, with its own result,
// whoever submits them (threads with rings of their own, the kernel's thread that polls) and
// wherever they complete (at once, in the kernel's workers); and of more than fit, all of each kind from some
// number on.
func TestUringExact(t *testing.T) {
	t.Parallel()
	needUring(t)
	s := newService(t, "--ring-size", "4MiB", "--memory", "64MiB")
	for _, test := range []struct {
		how          string
		rings, count int // of each ring
		fits         bool
	}{
		{"plain", 1, 10000, true},
		{"plain", 4, 2500, true},
		{"sqpoll", 2, 5000, true},
		{"async", 2, 5000, true},
		{"drain", 1, 2000, true},
		{"wide", 1, 2000, true},
		{"plain", 4, 25000, false},
	} {
		t.Run(fmt.Sprint(test.how, test.rings, "x", test.count), func(t *testing.T) {
			s := s.in(t)
			c := s.container(fmt.Sprint(test.how, "-", test.rings, "-", test.count))
			p := c.start(program(t, "uring"), "numbers", test.how, strconv.Itoa(test.rings), strconv.Itoa(test.count))
			p.expect("ready")
			p.send()
			p.expect("done")
			state := s.ring(c.name)
			if len(state.Ring.Lost) != 0 {
				t.Errorf("lost: %v", state.Ring.Lost)
			}
			if (state.Ring.Overwritten == 0) != test.fits {
				t.Fatalf("%d records overwritten", state.Ring.Overwritten)
			}
			seen := make([][]int, test.rings) // how often each number
			boot := make([]int, test.rings)   // the last number among the first records
			for i := range seen {
				seen[i] = make([]int, test.count)
			}
			for _, e := range operations(s.dump(c.name, "")) {
				ud := e.userData(t)
				ring, n := int(ud>>32), int(uint32(ud))
				if ring >= test.rings || n >= test.count || e.Return == nil || e.PID != p.pid {
					t.Fatalf("an operation that the program did not make so: %v", e)
				}
				want := []struct {
					name   string
					result int64
					fd     bool
					lane   string
				}{{"nop", 0, false, "recent"}, {"read", -int64(syscall.EBADF), false, "error"}, {"read", int64(n % 64), true, "recent"},
					{"write", int64(n % 64), true, "recent"}}[n%4]
				if e.Opcode.Name != want.name || *e.Return != want.result || want.fd && (e.FD == nil || *e.FD < 3) ||
					e.Lane != want.lane && e.Lane != "boot" {
					t.Fatalf("number %d: %v, want %+v", n, e, want)
				}
				if n%4 == 3 && fmt.Sprint(e.Args["pos"]) != fmt.Sprint(float64(n)) {
					t.Fatalf("number %d: %v", n, e)
				}
				seen[ring][n]++
				if e.Lane == "boot" {
					boot[ring] = max(boot[ring], n)
				}
			}
			for ring := range seen {
				// By lane: failures stand in one of their own.
				for _, failed := range []bool{false, true} {
					held, gap := 0, 0
					for n := test.count - 1; n >= 0; n-- {
						if n%4 == 1 != failed {
							continue
						}
						switch times := seen[ring][n]; {
						case times > 1:
							t.Fatalf("ring %d: number %d is there %d times", ring, n, times)
						case times == 1 && gap != 0 && n > boot[ring]:
							t.Fatalf("ring %d: number %d is there, %d is not", ring, n, gap)
						case times == 1:
							held++
						case gap == 0:
							gap = n
						}
					}
					if held == 0 || test.fits && gap != 0 {
						t.Errorf("ring %d: %d of its numbers are held, %d is not", ring, held, gap)
					}
				}
			}
		})
	}
}

// TestUringUnderInterrupts: what completes because an interrupt on the same CPU delivered
// something is recorded as exactly as the system calls around it.
func TestUringUnderInterrupts(t *testing.T) {
	t.Parallel()
	needUring(t)
	const messages = 4000
	s := newService(t, "--ring-size", "4MiB")
	c := s.container("load")
	p := c.start(program(t, "uring"), "load", strconv.Itoa(messages))
	p.expect("ready")
	cpus := ownCPUs(t)
	confine(t, p.pid, cpus[len(cpus)-1])
	p.send()
	p.expect("done")
	if lost := s.ring(c.name).Ring.Lost; len(lost) != 0 {
		t.Errorf("lost: %v", lost)
	}
	sent, received, sought := make([]int, messages), make([]int, messages), make([]int, messages)
	for _, e := range s.dump(c.name, "all=true") {
		switch {
		case e.name() == "lseek":
			if n, ok := e.Args["offset"].(float64); ok && e.Return != nil && *e.Return == int64(n) {
				sought[int(n)]++
			}
		case e.Event == "io_uring":
			ud := e.userData(t)
			if e.Return == nil || *e.Return != 64 || e.Opcode.Name != []string{"send", "recv"}[ud>>32] {
				t.Fatalf("not as it was made: %v", e)
			}
			if ud>>32 == 0 {
				sent[uint32(ud)]++
			} else {
				received[uint32(ud)]++
			}
		}
	}
	for n := range messages {
		if sent[n] != 1 || received[n] != 1 || sought[n] != 1 {
			t.Fatalf("message %d: sent %d times, received %d times; the call after it is there %d times", n, sent[n], received[n], sought[n])
		}
	}
}

// TestUringMultishot: each completion of an operation that goes on is an event, and the
// operation is in flight.
func TestUringMultishot(t *testing.T) {
	t.Parallel()
	needUring(t)
	s := newService(t)
	c := s.container("multishot")
	p := c.start(program(t, "uring"), "multishot", "5")
	want := hearAll(p)
	var got, running []event
	for _, e := range operations(s.dump(c.name, "")) {
		if e.Finish == nil {
			running = append(running, e)
			continue
		}
		got = append(got, e)
	}
	if all := sortTold(toldOf(t, got)); !slices.Equal(all, sortTold(want)) {
		t.Errorf("completions recorded:\n%v\nthe kernel told:\n%v", all, want)
	}
	last := map[string]int64{}
	for _, e := range got {
		if name := map[uint64]string{1: "accept", 2: "poll_add"}[e.userData(t)]; e.Opcode.Name != name || e.FD == nil || *e.FD < 3 {
			t.Errorf("want a completion of %s: %v", name, e)
		}
		if e.Start < last[e.UserData] {
			t.Errorf("it began before the one before ended: %v", e)
		}
		last[e.UserData] = *e.Finish
	}
	if len(running) != 2 || running[0].Opcode.Name == running[1].Opcode.Name {
		t.Errorf("in flight: %v, want accept and poll_add", running)
	}
}

// TestUringOverflow: a result for which the completion queue has no room is recorded, too.
func TestUringOverflow(t *testing.T) {
	t.Parallel()
	needUring(t)
	const count = 100
	s := newService(t)
	c := s.container("overflow")
	p := c.start(program(t, "uring"), "overflow", strconv.Itoa(count))
	p.expect("done")
	seen := make([]int, count)
	for _, e := range operations(s.dump(c.name, "")) {
		if n := e.userData(t); n >= count || e.Opcode.Name != "nop" || e.Return == nil || *e.Return != 0 {
			t.Fatalf("not as it was made: %v", e)
		} else {
			seen[n]++
		}
	}
	for n, times := range seen {
		if times != 1 {
			t.Fatalf("number %d is there %d times", n, times)
		}
	}
}

// TestUringFlood: of more operations in flight than can be kept, each has its one record; some
// tell only of their end.
func TestUringFlood(t *testing.T) {
	t.Parallel()
	needUring(t)
	const count, kept = 20000, 16384 // max_entries of uring_ops
	s := newService(t, "--ring-size", "4MiB")
	c := s.container("flood")
	p := c.start(program(t, "uring"), "flood", strconv.Itoa(count))
	p.expect("ready")
	if n := len(operations(s.dump(c.name, ""))); n == 0 || n > kept {
		t.Errorf("%d operations are shown in flight, want %d at most", n, kept)
	}
	p.send()
	p.expect("done")
	seen, known := make([]int, count), 0
	for _, e := range operations(s.dump(c.name, "")) {
		ud := e.userData(t)
		if ud >= count || e.Opcode.Name != "poll_add" || e.Return == nil || *e.Return != 1 || e.PID != p.pid {
			t.Fatalf("not as it was made: %v", e)
		}
		seen[ud]++
		if e.Start != 0 {
			known++
			if e.FD == nil || *e.FD < 3 {
				t.Fatalf("not as it was submitted: %v", e)
			}
		}
	}
	for n, times := range seen {
		if times != 1 {
			t.Fatalf("number %d is there %d times", n, times)
		}
	}
	if known == 0 || known > kept {
		t.Errorf("the submission of %d is known, want %d at most", known, kept)
	}
	if lost := s.ring(c.name).Ring.Lost; len(lost) != 0 {
		t.Errorf("lost: %v", lost)
	}
}

// TestUringInFlight: what is in flight is shown as unfinished, also by a service that came
// later, and only in the dumps of its own container; a frozen ring takes in nothing; and what a
// killed process had in flight is in its snapshot.
func TestUringInFlight(t *testing.T) {
	t.Parallel()
	needUring(t)
	s := newService(t)
	c, other := s.container("pending"), s.container("other")
	p := c.start(program(t, "uring"), "pending")
	p.expect("ready")
	n := other.start(program(t, "uring"), "numbers", "plain", "2", "100")
	n.expect("ready")
	check := func() {
		t.Helper()
		var got []string
		for _, line := range s.text(c.name, "") {
			if m := uringLine.FindStringSubmatch(line); m != nil {
				got = append(got, m[2]+"("+m[3])
			}
		}
		if len(got) != 2 || !regexp.MustCompile(`^read\(\d+, 0x[0-9a-f]+, 1, 0 <unfinished \.\.\.> /\* user_data=0x4d \*/$`).MatchString(got[0]) ||
			!strings.HasPrefix(got[1], `openat(AT_FDCWD, "nowhere/pending", O_RDONLY) = -1 ENOENT`) {
			t.Errorf("operations: %q", got)
		}
	}
	check()
	n.send()
	n.expect("done")
	check()
	for _, e := range operations(s.dump(other.name, "")) {
		if e.PID != n.pid || e.Finish == nil {
			t.Fatalf("not this container's: %v", e)
		}
	}
	s.kill()
	s.start()
	check()

	s.post("/v1/pods/host/"+other.name+"/freeze", nil)
	before := len(operations(s.dump(other.name, "")))
	m := other.start(program(t, "uring"), "numbers", "plain", "1", "100")
	m.expect("ready")
	m.send()
	m.expect("done")
	if got := len(operations(s.dump(other.name, ""))); got != before {
		t.Errorf("a frozen ring took in %d operations", got-before)
	}
	s.post("/v1/pods/host/"+other.name+"/thaw", nil)
	if lost := s.ring(other.name).Ring.Lost["frozen"]; lost < 100 {
		t.Errorf("the frozen ring refused %d records, want 100 at least", lost)
	}

	p.kill()
	snap := s.waitSnapshot(c.name)
	found := false
	for _, e := range operations(s.events("/v1/snapshots/" + snap.ID + "/dump?format=json")) {
		if e.UserData == "0x4d" {
			found = true
			if e.Return != nil && *e.Return != -int64(syscall.ECANCELED) {
				t.Errorf("the operation in flight at the death: %v", e)
			}
		}
	}
	if !found {
		t.Errorf("what was in flight at the death is not in the snapshot")
	}
}

// TestUringBegunBefore: of an operation that was submitted before recording began, what its
// completion tells is recorded, and nothing that is not known.
func TestUringBegunBefore(t *testing.T) {
	t.Parallel()
	needUring(t)
	s := newService(t)
	outside := &container{s: s, name: "begun", dir: makeCgroup(t, unified(t))}
	p := outside.start(program(t, "uring"), "pending")
	p.expect("ready")
	s.post("/v1/recordings", map[string]string{"cgroup": outside.dir, "name": outside.name})
	p.in.Close()
	p.expect("done")
	events := operations(s.dump(outside.name, ""))
	if len(events) != 1 {
		t.Fatalf("operations: %v, want the read", events)
	}
	e := events[0]
	if e.Opcode.Name != "read" || e.UserData != "0x4d" || e.Return == nil || *e.Return != 1 || e.PID != p.pid ||
		e.Start != 0 || e.FD != nil || len(e.Args) != 0 {
		t.Errorf("the read: %v", e)
	}
	if line := strings.Join(s.text(outside.name, "syscall=io_uring"), "\n"); !regexp.MustCompile(`io_uring read\(\?\) += 1 /\* user_data=0x4d \*/`).MatchString(line) {
		t.Errorf("as text: %s", line)
	}
	if !s.ring(outside.name).Ring.IOUring {
		t.Error("nothing says that io_uring was used")
	}
}

// TestUringVerdict: what failed through io_uring is why a program died.
func TestUringVerdict(t *testing.T) {
	t.Parallel()
	needUring(t)
	s := newService(t)
	// A port that somebody had, and nobody has.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	for _, test := range []struct{ how, arg, kind, subject string }{
		{"missing", "/nonexistent/etc/app.conf", "missing_file", "/nonexistent/etc/app.conf"},
		{"refused", port, "refused", address},
	} {
		c := s.container(test.how)
		c.start(program(t, "uring"), test.how, test.arg).wait()
		snap := s.waitSnapshot(c.name)
		var verdict struct {
			Claims []struct {
				Kind, Subject, Confidence string
				Evidence                  []uint64
			}
		}
		path := "/v1/snapshots/" + snap.ID
		unmarshal(t, s.get(path+"/explain?format=json"), &verdict)
		if len(verdict.Claims) == 0 {
			t.Errorf("%s: no claim", test.how)
			continue
		}
		claim := verdict.Claims[0]
		if claim.Kind != test.kind || claim.Subject != test.subject || claim.Confidence != "high" || len(claim.Evidence) != 1 {
			t.Errorf("%s: the surest claim is %+v, want %s of %s", test.how, claim, test.kind, test.subject)
			continue
		}
		evidence := slices.DeleteFunc(s.events(path+"/dump?format=json"), func(e event) bool { return e.Seq != claim.Evidence[0] })
		if len(evidence) != 1 || evidence[0].Event != "io_uring" {
			t.Errorf("%s: the evidence is %v", test.how, evidence)
		}
		text := string(s.get(path + "/explain"))
		if !strings.Contains(text, " io_uring ") || !strings.Contains(string(s.get(path+"/dump")), "\n# io_uring: used; ") {
			t.Errorf("%s: explained without io_uring:\n%s", test.how, text)
		}
		if status, _, body := s.do("GET", path, nil); status != http.StatusOK || !strings.Contains(string(body), `"ioUring":true`) {
			t.Errorf("%s: the metadata do not tell that io_uring was used: %s", test.how, body)
		}
	}
}
