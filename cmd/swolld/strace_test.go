package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A call is what both strace and the recorder know of one: its name and what it
// returned, as a decimal number, the name of an errno, or "?".
type call struct{ Name, Ret string }

var (
	straceStart   = regexp.MustCompile(`^(\d+) +\d+\.\d+ (.*)$`)
	straceCall    = regexp.MustCompile(`^(\w+|\?\?\?)\(`)
	straceRet     = regexp.MustCompile(`^.*\) += (\S+)(?: (E\w+))?`)
	straceRestart = regexp.MustCompile(`^<\.\.\. (\w+|\?\?\?) resumed>`)
	straceSuper   = regexp.MustCompile(`^\+\+\+ superseded by execve in pid (\d+) \+\+\+$`)
)

// parseStrace reads the output of strace -f -ttt -o: the calls of each thread, in order.
// A call that never returned has Ret "?".
func parseStrace(output string) (map[int][]call, error) {
	calls := map[int][]call{}
	pending := map[int]string{} // thread -> name of the call that it is in
	for i, line := range strings.Split(strings.TrimSuffix(output, "\n"), "\n") {
		m := straceStart.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("line %d: no thread and time in %q", i+1, line)
		}
		tid, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, err
		}
		rest := m[2]
		if s := straceSuper.FindStringSubmatch(rest); s != nil {
			// The thread that called execve goes on under the leader's id.
			old, err := strconv.Atoi(s[1])
			if err != nil {
				return nil, err
			}
			pending[tid] = pending[old]
			delete(pending, old)
			continue
		}
		if strings.HasPrefix(rest, "--- ") || strings.HasPrefix(rest, "+++ ") {
			if name, ok := pending[tid]; ok && strings.HasPrefix(rest, "+++ ") {
				// "???" is what strace calls a call at whose entry the thread was
				// killed: it knows no more.
				if name != "???" {
					calls[tid] = append(calls[tid], call{name, "?"})
				}
				delete(pending, tid)
			}
			continue
		}
		var name string
		if r := straceRestart.FindStringSubmatch(rest); r != nil {
			if pending[tid] != r[1] {
				return nil, fmt.Errorf("line %d: %s resumed, but %q was unfinished", i+1, r[1], pending[tid])
			}
			name = r[1]
			delete(pending, tid)
			if name == "???" {
				continue // as below: the thread is being killed
			}
		} else if c := straceCall.FindStringSubmatch(rest); c != nil {
			name = c[1]
			if strings.HasSuffix(rest, "<unfinished ...>") {
				pending[tid] = name
				continue
			}
		} else {
			return nil, fmt.Errorf("line %d: no call in %q", i+1, line)
		}
		if strings.HasSuffix(rest, "<unfinished ...>) = ?") {
			calls[tid] = append(calls[tid], call{name, "?"})
			continue
		}
		r := straceRet.FindStringSubmatch(rest)
		if r == nil {
			return nil, fmt.Errorf("line %d: no return value in %q", i+1, line)
		}
		ret := r[1]
		if r[2] != "" && (ret == "-1" || ret == "?") {
			ret = r[2]
		} else if ret != "?" {
			// Numbers are decimal, hexadecimal or, for umask, octal.
			v, err := strconv.ParseInt(ret, 0, 64)
			if err != nil {
				u, err := strconv.ParseUint(ret, 0, 64)
				if err != nil {
					return nil, fmt.Errorf("line %d: %v", i+1, err)
				}
				v = int64(u)
			}
			ret = strconv.FormatInt(v, 10)
		}
		calls[tid] = append(calls[tid], call{name, ret})
	}
	return calls, nil
}

// TestParseStrace: the oracle's text is understood: calls that other threads interrupt,
// signals, exits, restarts, and strings that look like a call's end.
func TestParseStrace(t *testing.T) {
	t.Parallel()
	calls, err := parseStrace(`100 1700000000.000001 execve("/bin/x", ["x"], 0x7ffd /* 3 vars */) = 0 <0.000100>
100 1700000000.000002 brk(NULL)         = 0x55d0c0e7a000 <0.000001>
100 1700000000.000003 umask(022)        = 022 <0.000001>
100 1700000000.000004 write(1, "a) = 7 <x>\n", 11) = 11 <0.000001>
100 1700000000.000005 wait4(-1,  <unfinished ...>
101 1700000000.000006 openat(AT_FDCWD, "/none", O_RDONLY) = -1 ENOENT (No such file or directory) <0.000001>
101 1700000000.000007 poll([{fd=3, events=POLLIN}], 1, -1 <unfinished ...>
100 1700000000.000008 <... wait4 resumed>0x7ffd, 0, NULL) = ? ERESTARTSYS (To be restarted if SA_RESTART is set) <0.1>
100 1700000000.000009 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=101} ---
101 1700000000.000010 <... poll resumed>) = 1 ([{fd=3, revents=POLLIN}]) <0.2>
101 1700000000.000011 lseek(-1, 5, SEEK_SET <unfinished ...>
100 1700000000.000012 exit_group(0)     = ?
101 1700000000.000013 <... lseek resumed>) = ?
100 1700000000.000014 +++ exited with 0 +++
101 1700000000.000015 pause( <unfinished ...>
101 1700000000.000016 +++ killed by SIGKILL +++
102 1700000000.000017 ???( <unfinished ...>
102 1700000000.000018 +++ exited with 0 +++
103 1700000000.000019 ???( <unfinished ...>
103 1700000000.000020 <... ??? resumed>) = ?
103 1700000000.000021 +++ exited with 0 +++
`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int][]call{
		100: {{"execve", "0"}, {"brk", "94355077963776"}, {"umask", "18"}, {"write", "11"},
			{"wait4", "ERESTARTSYS"}, {"exit_group", "?"}},
		101: {{"openat", "ENOENT"}, {"poll", "1"}, {"lseek", "?"}, {"pause", "?"}},
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Error(diff)
	}
}

// recorded turns a dump into the calls of each thread. Of a run each call is one.
func recorded(events []event) map[int][]call {
	calls := map[int][]call{}
	for _, e := range events {
		if e.Syscall == nil {
			continue
		}
		c := call{e.Syscall.Name, "?"}
		if e.Error != "OK" && e.Error != "" {
			c.Ret = e.Error
		} else if e.Return != nil {
			c.Ret = strconv.FormatInt(*e.Return, 10)
		}
		for range e.calls() {
			calls[e.TID] = append(calls[e.TID], c)
		}
	}
	return calls
}

// afterExec drops the calls of a thread up to its n-th successful execve, that one
// included.
func afterExec(t testing.TB, calls []call, n int) []call {
	t.Helper()
	for i, c := range calls {
		if c == (call{"execve", "0"}) {
			if n--; n == 0 {
				return calls[i+1:]
			}
		}
	}
	t.Fatalf("no such execve in %v", calls)
	return nil
}

// TestSameAsStrace: of real programs, run under strace and recorded at once, the
// recorder has exactly the calls that strace saw, thread by thread: same names, same
// order, same results.
func TestSameAsStrace(t *testing.T) {
	t.Parallel()
	strace := need(t, "strace")
	s := newService(t, "--memory", "64MiB", "--ring-size", "16MiB")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(strings.Repeat("swoll\n", 5000)))
	}))
	defer web.Close()

	work := t.TempDir()
	for i := range 40 {
		dir := filepath.Join(work, "tree", strconv.Itoa(i%4))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), []byte(strings.Repeat("x\n", i*300)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(work, "main.go"), []byte("package main\nfunc main(){}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sh := need(t, "sh")
	// Pipelines whose parts end in any order, all with status 0.
	pipes := `cat tree/*/* | sort | uniq -c | while read a b; do echo $b $a; done; (sleep 0.05; exit 0) & wait; umask; trap : USR1; kill -USR1 $$; echo end`
	python := `
import os, socket, subprocess, threading, time
a, b = socket.socketpair()
def reader():
    while a.recv(100):
        pass
t = threading.Thread(target=reader)
t.start()
for i in range(50):
    b.send(b'x' * i + b'y')
b.close()
t.join()
print(subprocess.run(['ls', '/nonexistent'], capture_output=True).returncode)
try:
    os.open('/nonexistent/file', os.O_RDONLY)
except OSError as e:
    print(e)
`
	git := need(t, "git")
	programs := []struct {
		name string
		argv []string
	}{
		{"ls", []string{need(t, "ls"), "-la", "/etc"}},
		{"cat", []string{need(t, "cat"), "/etc/passwd", "/etc/group", "/proc/self/maps"}},
		{"tar", []string{need(t, "tar"), "cf", "tree.tar", "tree"}},
		{"python3", []string{realPython(t), "-c", python}},
		{"pipes", []string{sh, "-c", pipes}},
		{"curl", []string{need(t, "curl"), "-s", "-o", "curl.out", web.URL + "/"}},
		{"dd", []string{need(t, "dd"), "if=/dev/zero", "of=dd.out", "bs=512", "count=2000"}},
		{"git", []string{sh, "-c", git + ` init -q repo && cd repo && cp -r ../tree . && ` + git + ` add . && ` +
			git + ` -c user.name=a -c user.email=a@b commit -qm one && ` + git + ` log --stat | cat`}},
		{"find", []string{need(t, "find"), "/usr/share/doc", "-name", "*copy*"}},
		{"go", []string{need(t, "gofmt"), "-l", "."}},
		{"gcc", []string{need(t, "gcc"), "-c", "-o", "once.o", mustAbs(t, "../../testdata/programs/once.c")}},
		{"swoll-dump", []string{filepath.Join(built, "swoll-dump"), "--socket", s.socket, "list"}},
	}
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			s := s.in(t)
			c := s.container(p.name)
			out := filepath.Join(s.dir, p.name+".strace")
			argv := []string{"-f", "-ttt", "-T", "-o", out, sh, "-c",
				`echo $$ > "$0/cgroup.procs"; exec "$@"`, c.dir}
			cmd := exec.Command(strace, append(argv, p.argv...)...)
			cmd.Dir = work
			cmd.Env = append(os.Environ(), "HOME="+work, "GIT_CONFIG_NOSYSTEM=1", "PAGER=cat")
			if code, text := run(t, cmd); code != 0 {
				t.Fatalf("strace: exit status %d\n%s", code, text)
			}
			text, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			want, err := parseStrace(string(text))
			if err != nil {
				t.Fatal(err)
			}
			// The first thread of strace's output is the shell; its second execve
			// is the program's.
			root, err := strconv.Atoi(strings.Fields(string(text))[0])
			if err != nil {
				t.Fatal(err)
			}
			got := recorded(s.dump(c.name, ""))
			want[root] = afterExec(t, want[root], 2)
			got[root] = afterExec(t, got[root], 1)
			total := 0
			for tid := range want {
				total += len(want[tid])
				compareCalls(t, tid, want[tid], got[tid])
			}
			for tid := range got {
				if _, ok := want[tid]; !ok {
					t.Errorf("thread %d is recorded, but strace did not see it: %v", tid, got[tid])
				}
			}
			if ring := s.ring(c.name).Ring; ring.Overwritten != 0 {
				t.Errorf("%d records were overwritten: the ring was too small for this test", ring.Overwritten)
			}
			t.Logf("%d calls of %d threads", total, len(want))
		})
	}
}

// compareCalls reports the first difference between what strace saw and what was recorded.
func compareCalls(t testing.TB, tid int, want, got []call) {
	t.Helper()
	// Where another thread ends this one, strace reads the registers of a thread that is
	// already on its way out: of its last call the "result" may be any number, exit_group,
	// which the other one made, or nothing. The recorder sees what the kernel returned, or
	// that it never did.
	killed := len(got) > 0 && !strings.HasPrefix(got[len(got)-1].Name, "exit")
	if n := len(want); killed && n > 0 && len(got) == n+1 && got[n].Ret == "?" {
		got = got[:n] // on its way into a call, before strace could look
	}
	for i := 0; i < len(want) || i < len(got); i++ {
		if i < len(want) && i < len(got) {
			last := killed && i == len(want)-1 && i == len(got)-1
			if want[i] == got[i] || last && (want[i].Name == got[i].Name || want[i] == (call{"exit_group", "?"}) && got[i].Ret == "?") {
				continue
			}
			// What strace ends a thread with as "?" never returned to the program.
			// The recorder may know what it was about to return.
			if i == len(want)-1 && want[i] == (call{got[i].Name, "?"}) {
				continue
			}
		}
		around := func(calls []call) []call {
			return calls[max(0, min(i-5, len(calls))):min(len(calls), i+5)]
		}
		t.Errorf("thread %d: call %d differs (strace has %d, recorded are %d)\nstrace:   %v\nrecorded: %v",
			tid, i, len(want), len(got), around(want), around(got))
		return
	}
}

// realPython is the interpreter itself, not a script that looks for it.
func realPython(t testing.TB) string {
	t.Helper()
	out, err := exec.Command(need(t, "python3"), "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func mustAbs(t testing.TB, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
