package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leastNamed is how many of ten thousand names that strace -y -yy has of descriptors must
// be there, of programs that are recorded from their first call on.
const leastNamed = 9900

// A namedLine is a line without the names of descriptors, and these by where they stood.
type namedLine struct {
	plain string
	names map[int]string
}

// takeNames takes the names of descriptors out of a line: what stands in angle brackets
// behind a number or AT_FDCWD, outside of quotes.
func takeNames(line string) namedLine {
	n := namedLine{names: map[int]string{}}
	var plain []byte
	quoted := false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quoted && c == '\\' && i+1 < len(line):
			plain = append(plain, c)
			i++
			c = line[i]
		case c == '"':
			quoted = !quoted
		case !quoted && c == '<' && namesDescriptor(plain) && i+1 < len(line) && beginsName.MatchString(line[i+1:]):
			depth, j := 0, i
			for ; j < len(line); j++ {
				if line[j] == '<' {
					depth++
				} else if line[j] == '>' && line[j-1] != '-' {
					if depth--; depth == 0 {
						break
					}
				}
			}
			if j == len(line) {
				break
			}
			n.names[len(plain)] = line[i+1 : j]
			i = j
			if strings.HasPrefix(line[i+1:], "(deleted)") {
				i += len("(deleted)")
			}
			continue
		}
		plain = append(plain, c)
	}
	n.plain = string(plain)
	return n
}

var beginsName = regexp.MustCompile(`^[/.A-Za-z]`)

func namesDescriptor(before []byte) bool {
	if strings.HasSuffix(string(before), "AT_FDCWD") {
		return true
	}
	return len(before) > 0 && before[len(before)-1] >= '0' && before[len(before)-1] <= '9'
}

// A nameCount counts names of descriptors.
type nameCount struct {
	all, same, unknown, other int
}

// Why a name may differ: strace reads it when it prints the line, and keeps the names of
// sockets that it has seen once.
var otherNames = []struct{ strace, recorded *regexp.Regexp }{
	// The file was removed or renamed since it was opened.
	{regexp.MustCompile(`^/.* \(deleted\)$`), regexp.MustCompile(`^/`)},
	// The connection has ended, or the socket is not bound yet where strace looked.
	{regexp.MustCompile(`^(TCP|UDP)(v6)?:\[\d+\]$`), regexp.MustCompile(`^(TCP|UDP)(v6)?:\[.*:\d+`)},
	// What strace has kept from before the socket was connected, or renamed.
	{regexp.MustCompile(`^(TCP|UDP)(v6)?:\[[^>]*:\d+\]$`), regexp.MustCompile(`^(TCP|UDP)(v6)?:\[.*->`)},
	{regexp.MustCompile(`^NETLINK:\[\d+\]$`), regexp.MustCompile(`^NETLINK:`)},
	// The other end was not accepted yet when one looked.
	{regexp.MustCompile(`^UNIX`), regexp.MustCompile(`^UNIX`)},
}

// compareNames compares what both traces of one thread call descriptors.
func compareNames(t testing.TB, tid int, want, got []traceLine) (c nameCount) {
	t.Helper()
	for i, j := 0, 0; i < len(want) && j < len(got); i, j = i+1, j+1 {
		w, g := takeNames(want[i].text), takeNames(got[j].text)
		for ok := false; !ok; {
			if ok = want[i].key() == got[j].key(); ok {
				break
			}
			// Lines that only one of them has: the nearest place where both go on alike.
			a, b := nearest(want[i:], got[j:])
			if a < 0 {
				return c
			}
			i, j = i+a, j+b
			w, g = takeNames(want[i].text), takeNames(got[j].text)
		}
		if stripSpaces(w.plain) != stripSpaces(g.plain) {
			continue // another test's
		}
		positions := func(n namedLine) (list []int) {
			for at := range n.names {
				list = append(list, at)
			}
			slices.Sort(list)
			return list
		}
		// The result moves with what stands before it.
		end := func(n namedLine) int { return strings.LastIndex(n.plain, ") ") }
		place := func(n namedLine, at int) int {
			if e := end(n); e >= 0 && at > e {
				return at - len(n.plain) + 1<<20
			}
			return at
		}
		have := map[int]string{}
		for _, at := range positions(g) {
			have[place(g, at)] = g.names[at]
		}
		for _, at := range positions(w) {
			name, ok := have[place(w, at)]
			delete(have, place(w, at))
			c.all++
			switch {
			case !ok:
				c.unknown++
				if testing.Verbose() {
					t.Logf("thread %d: unknown: %s", tid, want[i].text)
				}
			case name == w.names[at]:
				c.same++
			default:
				c.other++
				allowed := slices.ContainsFunc(otherNames, func(o struct{ strace, recorded *regexp.Regexp }) bool {
					return o.strace.MatchString(w.names[at]) && o.recorded.MatchString(name)
				})
				if !allowed {
					t.Errorf("thread %d: a descriptor has another name than strace's\nstrace   %s\nrecorded %s", tid, want[i].text, got[j].text)
				}
			}
		}
		for _, name := range have {
			if testing.Verbose() {
				t.Logf("thread %d: strace does not know %s: %s", tid, name, want[i].text)
			}
		}
	}
	return c
}

func stripSpaces(s string) string { return strings.Join(strings.Fields(s), " ") }

// nearest returns how far to go in both until their lines are of the same kind; -1: too
// far.
func nearest(want, got []traceLine) (int, int) {
	const near = 8
	for n := 1; n <= 2*near; n++ {
		for a := 0; a <= n; a++ {
			if b := n - a; a < len(want) && b < len(got) && want[a].key() == got[b].key() {
				return a, b
			}
		}
	}
	return -1, -1
}

// TestNamesOfDescriptors: what the recorder says that descriptors stand for is what
// strace -y -yy says of the same run, or nothing.
func TestNamesOfDescriptors(t *testing.T) {
	t.Parallel()
	strace, sh, python := need(t, "strace"), need(t, "sh"), realPython(t)
	// A run has one name, that of its first call.
	s := newService(t, "--memory", "64MiB", "--ring-size", "4MiB", "--fold=false")
	work, program := t.TempDir(), mustAbs(t, "testdata/oracle/program.py")
	script, err := os.ReadFile("testdata/fds.py")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "fds.py"), script, 0o644); err != nil {
		t.Fatal(err)
	}
	programs := []struct {
		name string
		argv []string
	}{
		{"ls", []string{need(t, "ls"), "-la", "/etc"}},
		{"pipes", []string{sh, "-c", `cat /etc/passwd | sort | uniq -c | while read a b; do echo $b $a; done > out 2>&1; exec 7<out 8>&7; cat <&7; cd /tmp; ls >/dev/null; (cd /; ls nothing 2>/dev/null); true`}},
		{"python", []string{python, "fds.py", "all"}},
		{"sockets", []string{python, program, "sockets"}},
		{"subprocess", []string{python, program, "subprocess"}},
		{"threads", []string{python, program, "threads"}},
		{"asyncio", []string{python, program, "asyncio"}},
	}
	var total nameCount
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			s := s.in(t)
			c := s.container("fds-" + p.name)
			out := filepath.Join(work, p.name+".strace")
			argv := []string{"-f", "-ttt", "-T", "-y", "-yy", "-o", out, sh, "-c", `echo $$ > "$0/cgroup.procs"; exec "$@"`, c.dir}
			cmd := exec.Command(strace, append(argv, p.argv...)...)
			cmd.Dir = work
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + work, "LANG=C.UTF-8"}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var output logBuffer
			cmd.Stdout, cmd.Stderr = &output, &output
			cmd.WaitDelay = time.Second
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, output.String())
			}
			data, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(data), "\n")
			root, err := strconv.Atoi(strings.Fields(lines[0])[0])
			if err != nil {
				t.Fatal(err)
			}
			recorded := s.text(c.name, "all=true&fds=true")
			want, got := parseTrace(t, lines), parseTrace(t, recorded)
			exec := regexp.MustCompile(`^execve\(.*\) += 0$`)
			want[root] = fromExec(t, want[root], exec, 2)
			got[root] = fromExec(t, got[root], exec, 1)
			var n nameCount
			for tid := range want {
				c := compareNames(t, tid, want[tid], got[tid])
				n.all, n.same, n.unknown, n.other = n.all+c.all, n.same+c.same, n.unknown+c.unknown, n.other+c.other
			}
			total.all, total.unknown = total.all+n.all, total.unknown+n.unknown
			t.Logf("%+v", n)
		})
	}
	if total.all < 500 || (total.all-total.unknown)*10000 < total.all*leastNamed {
		t.Errorf("of %d names, %d are unknown", total.all, total.unknown)
	}
}

// TestNamesWithoutOpens: a descriptor has its name also where the call that opened it is
// not held any more: where it was overwritten, where recording began later, where the
// process died while no service ran. And so in a file, without the service.
func TestNamesWithoutOpens(t *testing.T) {
	t.Parallel()
	s := newService(t, "--memory", "2MiB", "--ring-size", "256KiB", "--fold=false")
	argv := []string{realPython(t), mustAbs(t, "testdata/fds.py"), "hold"}
	const name, json = "pread64(20</etc/passwd>, ", `"fds":{"20":"/etc/passwd"}`
	named := func(t *testing.T, what, text, want string, least int) {
		t.Helper()
		calls, right := 0, 0
		for line := range strings.Lines(text) {
			if !strings.Contains(line, "pread64(20") && !strings.Contains(line, `"name":"pread64"`) || strings.Contains(line, `"fd":3`) {
				continue
			}
			calls++
			if strings.Contains(line, want) {
				right++
			} else if calls-right < 3 {
				t.Errorf("%s: %s", what, line)
			}
		}
		if calls < least || right != calls {
			t.Errorf("%s: of %d calls, %d have the name", what, calls, right)
		}
		if strings.Contains(text, `"/etc/passwd", O_RDONLY`) {
			t.Errorf("%s: the call that opened it is still there: the ring is too large for this test", what)
		}
	}

	// One that is closed by the time of the dump: only a list of before tells.
	paced := s.container("paced")
	slow := paced.start(argv[0], argv[1], "pace")

	// Somebody else's cgroup, recorded when its process has opened all.
	dir := makeCgroup(t, unified(t))
	late := startProcess(t, nil, argv...)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(late.pid)), 0); err != nil {
		t.Fatal(err)
	}
	late.expect("ready")
	s.post("/v1/recordings", map[string]string{"cgroup": dir, "name": "late"})
	late.send()
	late.expect("done")
	named(t, "recorded late", strings.Join(s.text("late", "fds"), "\n"), name, 1000)
	named(t, "recorded late, as JSON", string(s.get("/v1/pods/host/late/dump?format=json")), json, 1000)
	if text := strings.Join(s.text("late", ""), "\n"); strings.Contains(text, "</etc/passwd>") {
		t.Error("names are in the text though nobody asked for them")
	}

	slow.expect("done")
	named(t, "closed since", strings.Join(s.text(paced.name, "fds"), "\n"), name, 500)

	c := s.container("overwritten")
	p := c.start(argv...)
	p.expect("ready")
	s.kill() // nobody is there
	p.send()
	p.expect("done")
	p.send()
	p.wait()
	s.start()
	snap := s.waitSnapshot(c.name)
	named(t, "died without a service", s.mustCLI("show", snap.ID, "--fds"), name, 1000)
	file := filepath.Join(s.dir, "snapshot")
	s.mustCLI("export", snap.ID, file)
	named(t, "from a file", s.mustCLI("show", file, "--fds"), name, 1000)
}

// TestNamesOnThisKernel: a path, a device and a pipe have their names, without strace or
// Python: so the test also runs where there is nothing else.
func TestNamesOnThisKernel(t *testing.T) {
	t.Parallel()
	s := newService(t)
	c := s.container("names")
	p := c.start(program(t, "death"), "clean")
	p.expect("ready")
	cwd, err := os.Readlink("/proc/" + strconv.Itoa(p.pid) + "/cwd")
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Readlink("/proc/" + strconv.Itoa(p.pid) + "/fd/1")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(s.text(c.name, "fds&all"), "\n")
	if want := "write(1<" + out + ">, "; !strings.Contains(text, want) {
		t.Errorf("no %q", want)
	}
	for _, line := range strings.Split(text, "\n") {
		if strings.Contains(line, "openat(AT_FDCWD") && !strings.Contains(line, "openat(AT_FDCWD<"+cwd+">") {
			t.Errorf("the working directory is %s: %s", cwd, line)
		}
		if strings.Contains(line, `"/dev/null"`) && !strings.Contains(line, "</dev/null<char 1:3>>") {
			t.Errorf("it opened /dev/null: %s", line)
		}
		if strings.Contains(line, `"/etc/ld.so.cache"`) && !strings.Contains(line, "= 3</etc/ld.so.cache>") {
			t.Errorf("it opened /etc/ld.so.cache: %s", line)
		}
	}
}
