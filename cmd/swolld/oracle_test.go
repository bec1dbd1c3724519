package main_test

import (
	"bufio"
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/swoll-recorder/swoll/ringstore/decode/perfettotest"
)

var oracleDifferences = flag.String("oracle.differences", "", "write every line that differs from strace's to this `file`")

// How many lines of ten thousand must be strace's; how many programs there must be, and of
// how many calls, signals and ends one at least; and how many calls must be exercised by
// programs made for that: they succeed, they fail, and have arguments of leastForms forms,
// numbers aside. And how many calls must be told of by a run that they belong to.
const (
	leastSame      = 9950
	leastPrograms  = 40
	leastKinds     = 300
	leastExercised = 200
	leastForms     = 3
	leastFolded    = 3000
)

// A difference that is known: lines of strace that the recorder writes otherwise.
type knownDifference struct {
	strace *regexp.Regexp // of strace's line or, where strace has none, of the recorder's
	reason string
}

// readDifferences reads the file of known differences: a regular expression, tabs, and
// why the lines that it matches may differ.
func readDifferences(t testing.TB, path string) []knownDifference {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var known []knownDifference
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		expression, reason, ok := strings.Cut(line, "\t")
		if reason = strings.TrimSpace(reason); !ok || reason == "" {
			t.Fatalf("%s:%d: a difference without its reason", path, i+1)
		}
		known = append(known, knownDifference{regexp.MustCompile(expression), reason})
	}
	return known
}

var (
	oracleLine     = regexp.MustCompile(`^(\d+) +\d+\.\d{6} (.*)$`)
	oracleDuration = regexp.MustCompile(` <(\d+\.\d{6}|unavailable)>$`)
	oracleResumed  = regexp.MustCompile(`^<\.\.\. [\w?]+ resumed>(.*)$`)
	oracleAligned  = regexp.MustCompile(`\) += `)
	oracleKey      = regexp.MustCompile(`^(?:--- |\+\+\+ )?[\w?]+`)
)

// A traceLine is one event of a thread, without its thread, time and duration.
type traceLine struct {
	text   string
	joined bool // written in two parts: where its result stands says nothing
}

// key is by what lines are aligned.
func (l traceLine) key() string { return oracleKey.FindString(l.text) }

// same tells whether the two are the same, byte for byte; of what was written in two
// parts, all but where the result is aligned to.
func (l traceLine) same(other traceLine) bool {
	if !l.joined && !other.joined {
		return l.text == other.text
	}
	return oracleAligned.ReplaceAllString(l.text, ") = ") == oracleAligned.ReplaceAllString(other.text, ") = ")
}

// parseTrace splits a trace by thread. Calls that were written in two parts are joined.
// One that another thread's death or exec ended is what was written when it began. Of a run
// there are as many calls as it says.
func parseTrace(t testing.TB, lines []string) map[int][]traceLine {
	t.Helper()
	threads := map[int][]traceLine{}
	begun := map[int]int{} // thread -> place of the line that is not finished
	for _, line := range lines {
		if m := runLine.FindStringSubmatch(line); m != nil {
			tid, _ := strconv.Atoi(m[1])
			more, err := strconv.Atoi(m[2])
			made := threads[tid]
			if _, running := begun[tid]; running || len(made) == 0 || err != nil {
				t.Fatalf("not behind its call: %s", line)
			}
			threads[tid] = append(made, slices.Repeat(made[len(made)-1:], more)...)
			continue
		}
		// Strace says so when it meets calls of another ABI; the names of calls say it.
		if strings.HasPrefix(line, "# ") || line == "" || strings.Contains(line, " runs in ") && strings.Contains(line, " bit mode. ]") {
			continue
		}
		m := oracleLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("not a line of strace: %s", line)
		}
		tid, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		text := oracleDuration.ReplaceAllString(m[2], "")
		if s := straceSuper.FindStringSubmatch(text); s != nil {
			// The call that ends under another id is dropped: the recorder has it under
			// the id that called.
			old, err := strconv.Atoi(s[1])
			if err != nil {
				t.Fatal(err)
			}
			if at, ok := begun[old]; ok && old != tid {
				threads[tid] = append(threads[tid], threads[old][at])
				threads[old] = slices.Delete(threads[old], at, at+1)
				delete(begun, old)
				begun[tid] = len(threads[tid]) - 1
			}
			continue
		}
		if r := oracleResumed.FindStringSubmatch(text); r != nil {
			at, ok := begun[tid]
			if !ok {
				t.Fatalf("resumed, but not begun: %s", line)
			}
			delete(begun, tid)
			threads[tid][at].text += r[1]
			continue
		}
		if strings.HasSuffix(text, "<unfinished ...>") {
			begun[tid] = len(threads[tid])
			threads[tid] = append(threads[tid], traceLine{strings.TrimSuffix(strings.TrimSuffix(text, "<unfinished ...>"), " "), true})
			continue
		}
		threads[tid] = append(threads[tid], traceLine{text, false})
	}
	for tid, at := range begun {
		threads[tid][at].text += " <unfinished ...>"
	}
	return threads
}

// An oracle collects what comparisons found.
type oracle struct {
	known       []knownDifference
	same, all   int
	differences map[string]int // by key
	calls       map[string]bool
	exercises   map[string]*exercise
	out         *bufio.Writer
}

// An exercise is what programs made a call do.
type exercise struct {
	succeeded, failed bool
	forms             map[string]bool
}

var (
	oracleCall   = regexp.MustCompile(`^(\w+)\((.*)\) += (-1 E)?`)
	oracleNumber = regexp.MustCompile(`0x[0-9a-f]+|\d+`)
)

// exercise notes what calls do in a program that was made for that.
func (o *oracle) exercise(lines []traceLine) {
	for _, l := range lines {
		m := oracleCall.FindStringSubmatch(l.text)
		if m == nil {
			continue
		}
		x := o.exercises[m[1]]
		if x == nil {
			x = &exercise{forms: map[string]bool{}}
			o.exercises[m[1]] = x
		}
		x.succeeded = x.succeeded || m[3] == ""
		x.failed = x.failed || m[3] != ""
		x.forms[oracleNumber.ReplaceAllString(m[2], "N")] = true
	}
}

// compare counts the lines of one thread that are the same in both traces.
func (o *oracle) compare(t testing.TB, tid int, want, got []traceLine) {
	t.Helper()
	differs := func(w, g *traceLine) {
		line := g
		if w != nil {
			line = w
		}
		o.differences[line.key()]++
		texts := [2]string{"(nothing)", "(nothing)"}
		if w != nil {
			texts[0] = w.text
		}
		if g != nil {
			texts[1] = g.text
		}
		reason := ""
		for _, k := range o.known {
			if k.strace.MatchString(line.text) {
				reason = k.reason
				break
			}
		}
		if reason == "" {
			t.Errorf("thread %d differs from strace in a new way\nstrace   %s\nrecorded %s", tid, texts[0], texts[1])
		}
		if o.out != nil {
			fmt.Fprintf(o.out, "%s\t%s\n strace   %s\n recorded %s\n", line.key(), reason, texts[0], texts[1])
		}
	}
	o.all += len(want)
	for i, j := 0, 0; i < len(want) || j < len(got); {
		if i < len(want) && j < len(got) && (want[i].same(got[j]) || want[i].key() == got[j].key()) {
			o.calls[want[i].key()] = true
			if want[i].same(got[j]) {
				o.same++
			} else {
				differs(&want[i], &got[j])
			}
			i, j = i+1, j+1
			continue
		}
		// The nearest place at which both go on alike.
		const near = 8
		a, b := 1, 1
	search:
		for n := 1; n <= 2*near; n++ {
			for a = 0; a <= n; a++ {
				b = n - a
				if i+a < len(want) && j+b < len(got) && want[i+a].key() == got[j+b].key() {
					break search
				}
			}
			a, b = 1, 1
		}
		for ; a > 0 && i < len(want); a-- {
			differs(&want[i], nil)
			i++
		}
		for ; b > 0 && j < len(got); b-- {
			differs(nil, &got[j])
			j++
		}
	}
}

// TestOracle: what the recorder writes of real programs is what strace writes of the
// same run, thread by thread, line by line, byte by byte after the time.
func TestOracle(t *testing.T) {
	strace, sh := need(t, "strace"), need(t, "sh")
	o := &oracle{
		known:       readDifferences(t, "testdata/oracle/differences.txt"),
		differences: map[string]int{}, calls: map[string]bool{}, exercises: map[string]*exercise{},
	}
	// The same of the text that is split where strace splits it.
	split := &oracle{known: o.known, differences: map[string]int{}, calls: map[string]bool{}}
	if *oracleDifferences != "" {
		file, err := os.Create(*oracleDifferences)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		o.out = bufio.NewWriter(file)
		defer o.out.Flush()
	}
	work := t.TempDir()
	// A ring for each container of a service: those that are gone keep theirs for a while.
	n := 0
	folded := 0 // calls that have no line of their own, since they repeat another
	programs := corpus(t, work)
	for part := range slices.Chunk(programs, 12) {
		n++
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			s := newService(t, "--memory", "128MiB", "--ring-size", "8MiB")
			for _, p := range part {
				t.Run(p.name, func(t *testing.T) {
					s := s.in(t)
					c := s.container("oracle-" + p.name)
					out := filepath.Join(s.dir, p.name+".strace")
					argv := []string{"-f", "-ttt", "-T", "-o", out, sh, "-c", `echo $$ > "$0/cgroup.procs"; exec "$@"`, c.dir}
					cmd := exec.Command(strace, append(argv, p.argv...)...)
					cmd.Dir = work
					cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + work, "LANG=C.UTF-8", "GIT_CONFIG_NOSYSTEM=1",
						"GOCACHE=" + filepath.Join(work, "gocache"), "GOFLAGS=-mod=mod", "TMPDIR=" + work}
					cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
					var output logBuffer
					cmd.Stdout, cmd.Stderr = &output, &output
					cmd.WaitDelay = time.Second
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					if p.while != nil {
						p.while(t)
					}
					timer := time.AfterFunc(2*patience, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
					cmd.Wait()
					if !timer.Stop() {
						t.Fatalf("still running after %v\n%s", 2*patience, output.String())
					}
					if code := cmd.ProcessState.ExitCode(); code != p.code {
						t.Fatalf("exit status %d, want %d\n%s", code, p.code, output.String())
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
					inTime := s.text(c.name, "all=true&split=true")
					for _, wrong := range orderErrors(lines) {
						t.Errorf("strace's own order, by this test: %s", wrong)
					}
					for _, wrong := range orderErrors(inTime) {
						t.Errorf("the order of lines: %s", wrong)
					}
					want, got, parts := parseTrace(t, lines), parseTrace(t, s.text(c.name, "all=true")), parseTrace(t, inTime)
					// Strace begins with the shell; recording, when it wrote into cgroup.procs.
					exec := regexp.MustCompile(`^execve\(.*\) += 0$`)
					want[root] = fromExec(t, want[root], exec, 2)
					got[root] = fromExec(t, got[root], exec, 1)
					parts[root] = fromExec(t, parts[root], exec, 1)
					if ring := s.ring(c.name).Ring; ring.Overwritten != 0 || len(ring.Lost) != 0 && slices.Max(values(ring.Lost)) != 0 {
						t.Errorf("records are missing, the ring was too small for this test: %+v", ring)
					}
					// The same events as JSON, and for Perfetto.
					calls, rows := 0, 0
					events := s.dump(c.name, "all=true")
					var trace *perfettotest.Trace
					for range 10 {
						trace, err = perfettotest.Read(bytes.NewReader(s.get("/v1/pods/host/" + c.name + "/dump?format=perfetto&all=true")))
						if err != nil {
							t.Fatal(err)
						}
						// The stack of a death comes a moment after it: maybe between the two.
						before := events
						if events = s.dump(c.name, "all=true"); reflect.DeepEqual(before, events) {
							break
						}
					}
					drawing{trace, events}.check(t)
					for _, e := range events {
						if e.Syscall != nil {
							calls++
						}
					}
					for _, l := range s.text(c.name, "all=true") {
						if m := runLine.FindStringSubmatch(l); m != nil {
							more, _ := strconv.Atoi(m[2])
							folded += more
						}
						if m := oracleLine.FindStringSubmatch(l); m != nil && !strings.HasPrefix(m[2], "--- ") && !strings.HasPrefix(m[2], "+++ ") {
							rows++
						}
					}
					if calls != rows {
						t.Errorf("JSON has %d calls, the text %d", calls, rows)
					}
					before, all := o.same, o.all
					for tid := range want {
						if strings.HasPrefix(p.name, "calls-") {
							o.exercise(want[tid])
						}
						o.compare(t, tid, want[tid], got[tid])
						split.compare(t, tid, want[tid], parts[tid])
					}
					for tid := range got {
						if want[tid] == nil {
							t.Errorf("thread %d is recorded, but strace did not see it: %v", tid, got[tid])
						}
					}
					t.Logf("%d of %d lines of %d threads are strace's", o.same-before, o.all-all, len(want))
				})
			}
		})
	}
	var kinds []string
	for k := range o.differences {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b string) int {
		return cmp.Or(cmp.Compare(o.differences[b], o.differences[a]), cmp.Compare(a, b))
	})
	for _, k := range kinds {
		t.Logf("%6d %s", o.differences[k], k)
	}
	t.Logf("%d of %d lines are strace's: %.3f %%; %d kinds of lines; %d with calls in two parts", o.same, o.all,
		100*float64(o.same)/float64(max(o.all, 1)), len(o.calls), split.same)
	exercised := 0
	for _, x := range o.exercises {
		if x.succeeded && x.failed && len(x.forms) >= leastForms {
			exercised++
		}
	}
	t.Logf("%d programs; %d calls are exercised with their flags and errors, %d of %d fail at least once",
		len(programs), exercised, failures(o.exercises), len(o.exercises))
	if len(programs) < leastPrograms || exercised < leastExercised {
		t.Errorf("%d programs and %d calls exercised; there must be %d and %d", len(programs), exercised, leastPrograms, leastExercised)
	}
	if t.Logf("%d calls are folded", folded); folded < leastFolded {
		t.Errorf("%d calls are folded; that is too few to show that they are right", folded)
	}
	if len(o.calls) < leastKinds {
		t.Errorf("the corpus has %d kinds of lines only", len(o.calls))
	}
	if o.same*10000 < o.all*leastSame {
		t.Errorf("less than %.2f %% of the lines are strace's", float64(leastSame)/100)
	}
	if split.same < o.same {
		t.Errorf("of the text with calls in two parts less is strace's: %d lines, else %d", split.same, o.same)
	}
}

func failures(m map[string]*exercise) int {
	n := 0
	for _, x := range m {
		if x.failed {
			n++
		}
	}
	return n
}

func values(m map[string]uint64) []uint64 {
	var v []uint64
	for _, n := range m {
		v = append(v, n)
	}
	return v
}

// fromExec drops the lines of a thread before its n-th successful execve.
func fromExec(t testing.TB, lines []traceLine, exec *regexp.Regexp, n int) []traceLine {
	t.Helper()
	for i, l := range lines {
		if exec.MatchString(l.text) {
			if n--; n == 0 {
				return lines[i:]
			}
		}
	}
	t.Fatalf("no such execve in %v", lines[:min(len(lines), 10)])
	return nil
}

// An oracleProgram is one of the corpus.
type oracleProgram struct {
	name  string
	argv  []string
	code  int              // exit status
	while func(testing.TB) // done while it runs
}

// corpus makes what the programs work on, below a directory, and lists them.
func corpus(t testing.TB, work string) []oracleProgram {
	t.Helper()
	write := func(name, text string) {
		path := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 40 {
		write(fmt.Sprintf("tree/%d/file%d", i%4, i), strings.Repeat("some words\n", i*30))
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(strings.Repeat("swoll\n", 5000)))
	}))
	t.Cleanup(web.Close)
	sources, err := filepath.Glob("testdata/oracle/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range sources {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(filepath.Base(path), string(data))
	}
	build := func(compiler, source string, flags ...string) string {
		program := filepath.Join(work, "bin", strings.ReplaceAll(source, ".", "-")+strings.Join(flags, ""))
		os.MkdirAll(filepath.Dir(program), 0o755)
		args := append([]string{"-w", "-O1", "-g", "-pthread", "-o", program, source}, flags...)
		cmd := exec.Command(need(t, compiler), args...)
		cmd.Dir = work
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
		return program
	}
	goProgram := filepath.Join(work, "bin", "go")
	os.MkdirAll(filepath.Dir(goProgram), 0o755)
	cmd := exec.Command(need(t, "go"), "build", "-o", goProgram, filepath.Join(work, "program.go"))
	cmd.Dir = work
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}

	sh, python := need(t, "sh"), realPython(t)
	var programs []oracleProgram
	add := func(name string, argv ...string) {
		programs = append(programs, oracleProgram{name: name, argv: argv})
	}
	script := func(name, text string) { add(name, sh, "-c", text) }
	tool := func(name string, args ...string) {
		path := need(t, name)
		for i := 1; ; i++ {
			unique := name
			if i > 1 {
				unique += strconv.Itoa(i)
			}
			if !slices.ContainsFunc(programs, func(p oracleProgram) bool { return p.name == unique }) {
				add(unique, append([]string{path}, args...)...)
				return
			}
		}
	}
	tool("ls", "-la", "/etc")
	tool("ls", "-laR", "tree")
	tool("cat", "/etc/passwd", "/etc/group", "/proc/self/maps")
	tool("cp", "-a", "tree", "copy")
	tool("mv", "copy", "moved")
	tool("rm", "-rf", "moved")
	tool("stat", "tree", "/dev/null", "/etc/passwd")
	tool("df")
	tool("du", "-s", "/usr/share/doc")
	tool("touch", "touched", "-d", "2020-01-01")
	tool("chmod", "-R", "u+x", "tree")
	tool("ln", "-s", "tree", "link")
	tool("sort", "-u", "tree/3/file39")
	tool("wc", "tree/3/file39")
	tool("head", "-c", "100", "tree/3/file39")
	tool("tail", "-n", "3", "tree/3/file39")
	tool("date")
	tool("id")
	tool("env")
	tool("timeout", "5", "true")
	tool("sleep", "0.01")
	tool("mktemp", "-p", ".")
	tool("uname", "-a")
	tool("md5sum", "tree/3/file39")
	tool("dd", "if=/dev/zero", "of=dd.out", "bs=512", "count=500")
	tool("find", "/usr/share/doc", "-maxdepth", "2", "-name", "*copy*")
	tool("tar", "cf", "tree.tar", "tree")
	tool("tar", "xf", "tree.tar", "-C", "bin")
	tool("gzip", "-k", "tree.tar")
	tool("grep", "-r", "nothing", "tree")
	programs[len(programs)-1].code = 1
	tool("sed", "-i", "s/some/more/", "tree/2/file38")
	tool("awk", "{ n += NF } END { print n }", "tree/3/file39")
	tool("perl", "program.pl")
	tool("curl", "-s", "-o", "curl.out", web.URL+"/")
	tool("sqlite3", "test.db", "create table t(a,b); insert into t values(1,'x'),(2,'y'); select * from t; drop table t; vacuum;")
	tool("node", "program.js")
	tool("gcc", "-O1", "-c", "-o", "program.o", "program.c")
	tool("make", "-s", "-j2", "-f", "program.mk")
	git := need(t, "git")
	script("git", git+` init -q repo && cd repo && cp -r ../tree . && `+git+` add . && `+git+
		` -c user.name=a -c user.email=a@b commit -qm one && `+git+` log --stat | cat; `+git+` status; `+git+` diff; `+git+` gc -q`)
	script("pipes", `cat tree/*/* | sort | uniq -c | while read a b; do echo $b $a; done; (sleep 0.05; exit 0) & wait; umask; trap : USR1; kill -USR1 $$; echo end`)
	add("bash", need(t, "bash"), "-c", `set -m; sleep 0.2 & sleep 0.1 & jobs; kill -STOP %1; kill -CONT %1; fg %1; wait; trap 'echo usr' USR1; kill -USR1 $$; ulimit -n; (exit 3) || echo $?; echo done | cat; exec true`)
	for _, name := range []string{"sockets", "subprocess", "threads", "asyncio", "sqlite3"} {
		add("python-"+name, python, "program.py", name)
	}
	add("python-poll", python, "-c", "import select\np = select.poll()\nfor i in range(3672): p.poll(0)")
	add("c", build("gcc", "program.c"))
	add("c++", build("g++", "program.cc"))
	add("c32", build("gcc", "program.c", "-m32"))
	add("int80", build("gcc", "int80.c"))
	add("go", goProgram)
	threads := build("gcc", "threads.c")
	for what, code := range map[string]int{"join": 0, "exit": 1, "kill": -1, "segv": -1, "term": -1, "exec": 0, "stop": 0} {
		programs = append(programs, oracleProgram{name: "threads-" + what, argv: []string{threads, what}, code: code})
	}
	redis, busybox, nginx := need(t, "redis-server"), need(t, "busybox"), need(t, "nginx")
	script("redis", redis+` --port 0 --unixsocket redis.sock --save "" --daemonize no > redis.log & 
		for i in 1 2 3 4 5 6 7 8 9; do [ -S redis.sock ] && break; sleep 0.3; done
		`+python+` program.py redis; wait`)
	script("httpd", busybox+` httpd -f -p 127.0.0.1:18231 -h . & 
		sleep 0.3; curl -s http://127.0.0.1:18231/tree/1/file1 http://127.0.0.1:18231/none | wc -c; kill $!; wait; true`)
	script("nginx", `mkdir -p nginx/logs; `+nginx+` -p $PWD/nginx -c $PWD/nginx.conf & 
		for i in 1 2 3 4 5 6 7 8 9; do [ -S nginx.sock ] && break; sleep 0.3; done
		curl -s --unix-socket nginx.sock http://localhost/tree/1/file1 http://localhost/none | wc -c; kill -QUIT $!; wait; true`)
	sources, err = filepath.Glob("testdata/oracle/calls-*.c")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range sources {
		source := filepath.Base(path)
		add(strings.TrimSuffix(source, ".c"), build("gcc", source))
	}
	return programs
}
