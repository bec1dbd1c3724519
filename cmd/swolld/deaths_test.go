package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/verdict"
)

var update = flag.Bool("update", false, "keep the recordings of the deaths, and what is told of them, as fixtures of the verdict's tests")

// fixtures is where the recordings are kept, for tests without root.
const fixtures = "../../ringstore/verdict/testdata/deaths"

// A dying program is run in a container of its own.
type dying struct {
	t    *testing.T
	s    *service
	c    *container
	die  string // the program
	dir  string // of its own, and its working directory
	cmd  *exec.Cmd
	out  *bufio.Reader
	core bool

	namespaces uintptr // that the program gets of its own
}

// start starts a program in the container, by its own path if it has one.
func (d *dying) start(argv ...string) {
	d.t.Helper()
	d.startAs(nil, argv...)
}

// startAs is start with a standard output; nil: a pipe that is read.
func (d *dying) startAs(stdout *os.File, argv ...string) {
	d.t.Helper()
	cgroup, err := os.Open(d.c.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer cgroup.Close()
	d.cmd = exec.Command(argv[0], argv[1:]...)
	d.cmd.Dir = d.dir
	d.cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C"}
	d.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd()), Cloneflags: d.namespaces}
	errs, err := os.Create(filepath.Join(d.dir, "stderr"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer errs.Close()
	d.cmd.Stderr = errs
	if stdout != nil {
		d.cmd.Stdout = stdout
	} else {
		pipe, err := d.cmd.StdoutPipe()
		if err != nil {
			d.t.Fatal(err)
		}
		d.out = bufio.NewReader(pipe)
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	cmd := d.cmd
	d.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
}

// startInit is start in a pid namespace of its own.
func (d *dying) startInit(argv ...string) {
	d.t.Helper()
	d.namespaces = syscall.CLONE_NEWPID
	d.start(argv...)
}

// run is start of the program that dies.
func (d *dying) run(args ...string) {
	d.t.Helper()
	d.start(append([]string{d.die}, args...)...)
}

func (d *dying) ready() {
	d.t.Helper()
	if line, err := d.out.ReadString('\n'); line != "ready\n" {
		d.t.Fatalf("the program said %q, %v", line, err)
	}
}

func (d *dying) pid() string { return strconv.Itoa(d.cmd.Process.Pid) }

// file makes an empty file that only root may read.
func (d *dying) file(name string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// limited returns a command that runs another with that much memory.
func (d *dying) limited(bytes int, argv ...string) []string {
	d.t.Helper()
	root := legacy(d.t, "memory")
	if root == "" {
		limitMemory(d.t, d.c, 0, bytes)
		return argv
	}
	dir := makeCgroup(d.t, root)
	for name, value := range map[string]string{"memory.limit_in_bytes": strconv.Itoa(bytes), "memory.swappiness": "0"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0); err != nil {
			d.t.Fatal(err)
		}
	}
	return append([]string{"/bin/sh", "-c", `echo $$ > "$0/cgroup.procs"; exec "$@"`, dir}, argv...)
}

// killer runs the program under another name, to send signals; in a container if there is
// one.
func (d *dying) killer(name string, c *container, signals ...syscall.Signal) {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	data, err := os.ReadFile(d.die)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o755); err != nil {
		d.t.Fatal(err)
	}
	args := []string{"kill", d.pid()}
	for _, sig := range signals {
		args = append(args, strconv.Itoa(int(sig)))
	}
	cmd := exec.Command(path, args...)
	if c != nil {
		cgroup, err := os.Open(c.dir)
		if err != nil {
			d.t.Fatal(err)
		}
		defer cgroup.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}

// closedPort is a port of the loopback device on which nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// takenPort is a port of the loopback device on which the test listens.
func (d *dying) takenPort() string {
	d.t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { l.Close() })
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// A death is one way to die, and what is to be told of it.
type death struct {
	name string
	run  func(d *dying)
	kind string // of how
	code int
	// Expected where they are not empty.
	signal, sicode, address, comm string
	// why is the planted cause: a claim that must be there and, as the surest, first.
	why     string
	subject string // contained in the claim's
	sure    string // verdict.High or Medium
	// proof holds for one of the events that the claim points to.
	proof func(e event) bool
	// never are claims that would be wrong.
	never []string
	check func(d *dying, v *verdict.Verdict)
}

func failedCall(name, errno string) func(event) bool {
	return func(e event) bool { return e.name() == name && e.Error == errno }
}

func signalled(signal string) func(event) bool {
	return func(e event) bool { return e.Event == "signal" && e.Signal == signal }
}

func ended(e event) bool { return e.Event == "exit" || e.Event == "oom" }

// deaths are of a program that needs nothing but the kernel, in the order of the causes that
// users meet.
func deaths() []death {
	const high = verdict.High
	return []death{
		{name: "config-missing", run: func(d *dying) { d.run("config") }, kind: "exit", code: 1,
			why: "missing_file", subject: "/etc/die/config.yaml", sure: high, proof: failedCall("openat", "ENOENT")},
		{name: "config-search", run: func(d *dying) { d.run("search") }, kind: "exit", code: 2,
			why: "missing_file", subject: "die.conf", sure: high, proof: failedCall("openat", "ENOENT")},
		{name: "found-elsewhere", run: func(d *dying) { d.run("found") }, kind: "exit", code: 3, never: []string{"missing_file"}},
		{name: "refused-loop", run: func(d *dying) { d.run("connects", "127.0.0.1", closedPort(d.t), "14") }, kind: "exit", code: 1,
			why: "refused", subject: "127.0.0.1:", sure: high, proof: failedCall("connect", "ECONNREFUSED"),
			check: func(d *dying, v *verdict.Verdict) {
				if !strings.Contains(v.Claims[0].Text, "14 times") {
					d.t.Errorf("the claim does not say how often: %s", v.Claims[0].Text)
				}
			}},
		{name: "no-answer", run: func(d *dying) { d.run("unanswered") }, kind: "exit", code: 1,
			why: "timeout", subject: "127.0.0.1:", sure: high, proof: func(e event) bool { return e.name() == "close" }},
		{name: "denied", run: func(d *dying) { d.run("denied", d.file("secret.key")) }, kind: "exit", code: 1,
			why: "denied", subject: "secret.key", sure: high, proof: failedCall("openat", "EACCES")},
		{name: "no-space", run: func(d *dying) {
			disk := filepath.Join(d.dir, "disk")
			mount(d.t, "tmpfs", disk, 0, "size=64k")
			d.run("nospace", filepath.Join(disk, "journal"))
		}, kind: "exit", code: 1, why: "no_space", subject: "/disk/journal", sure: high, proof: failedCall("write", "ENOSPC")},
		{name: "no-files", run: func(d *dying) { d.run("nofiles") }, kind: "exit", code: 1,
			why: "no_files", subject: "/etc/passwd", sure: high, proof: failedCall("openat", "EMFILE")},
		{name: "no-memory", run: func(d *dying) { d.run("nomemory") }, kind: "exit", code: 1,
			why: "no_memory", sure: high, proof: failedCall("mmap", "ENOMEM")},
		{name: "bad-address", run: func(d *dying) { d.run("badaddress") }, kind: "exit", code: 1,
			why: "bad_address", sure: high, proof: failedCall("write", "EFAULT")},
		{name: "segv-null", run: func(d *dying) { d.run("null") }, kind: "signal", code: 139, signal: "SIGSEGV", sicode: "SEGV_MAPERR",
			address: "0x0", why: "bad_address", sure: high, proof: signalled("SIGSEGV")},
		{name: "segv-wild", run: func(d *dying) { d.run("wild") }, kind: "signal", code: 139, signal: "SIGSEGV", sicode: "SEGV_MAPERR",
			address: "0x414141414000", why: "bad_address", subject: "0x414141414000", sure: high, proof: signalled("SIGSEGV")},
		{name: "segv-thread", run: func(d *dying) { d.run("inthread") }, kind: "signal", code: 139, signal: "SIGSEGV", sicode: "SEGV_MAPERR",
			address: "0x18", why: "bad_address", sure: high, proof: signalled("SIGSEGV"),
			check: func(d *dying, v *verdict.Verdict) {
				if v.Thread.TID == v.Thread.PID {
					d.t.Errorf("thread %+v is the first one", v.Thread)
				}
				blocked := 0
				for _, r := range v.Running {
					if r.Call == "futex" {
						blocked++
					}
				}
				if blocked < 3 {
					d.t.Errorf("running: %+v, want two waiting threads and one that joins", v.Running)
				}
			}},
		{name: "abort", run: func(d *dying) { d.run("abort") }, kind: "signal", code: 134, signal: "SIGABRT", sicode: "SI_TKILL",
			why: "killed", subject: "die", sure: high, proof: signalled("SIGABRT"),
			check: func(d *dying, v *verdict.Verdict) {
				if !strings.Contains(v.Summary, "raised by the process itself") {
					d.t.Errorf("summary %q", v.Summary)
				}
			}},
		{name: "sigbus", run: func(d *dying) { d.run("bus", d.file("short.db")) }, kind: "signal", code: 135, signal: "SIGBUS", sicode: "BUS_ADRERR",
			why: "bad_address", subject: "short.db", sure: high, proof: signalled("SIGBUS")},
		{name: "sigfpe", run: func(d *dying) { d.run("fpe") }, kind: "signal", code: 136, signal: "SIGFPE", sicode: "FPE_INTDIV",
			why: "killed", subject: "kernel", sure: high, proof: signalled("SIGFPE")},
		{name: "stack-overflow", run: func(d *dying) { d.run("overflow") }, kind: "signal", code: 139, signal: "SIGSEGV",
			why: "bad_address", subject: "stack", sure: high, proof: signalled("SIGSEGV")},
		{name: "sigpipe", run: func(d *dying) { d.startAs(closedPipe(d.t), d.die, "piped") }, kind: "signal", code: 141, signal: "SIGPIPE",
			why: "broken_pipe", subject: "standard output", sure: high, proof: failedCall("write", "EPIPE"), never: []string{"killed"}},
		{name: "epipe", run: func(d *dying) { d.startAs(closedPipe(d.t), d.die, "epipe") }, kind: "exit", code: 1,
			why: "broken_pipe", subject: "standard output", sure: high, proof: failedCall("write", "EPIPE")},
		{name: "sigterm-handled", run: func(d *dying) {
			d.run("term", "0")
			d.ready()
			d.killer("operator", nil, syscall.SIGTERM)
			d.cmd.Wait()
			d.save()
		}, kind: "none", code: 0, never: []string{"killed", "hang"},
			check: func(d *dying, v *verdict.Verdict) {
				if !strings.Contains(v.Summary, " after SIGTERM from operator (pid ") {
					d.t.Errorf("it is not told who told it to end: %s", v.Summary)
				}
			}},
		{name: "sigterm-failed", run: func(d *dying) {
			d.run("term", "143")
			d.ready()
			d.killer("operator", d.s.in(d.t).container("ops"), syscall.SIGTERM)
		}, kind: "exit", code: 143, why: "killed", subject: "operator", sure: high, proof: signalled("SIGTERM"), never: []string{"hang"},
			check: func(d *dying, v *verdict.Verdict) {
				if !strings.Contains(v.Claims[0].Text, ") of host/ops told it to end") {
					d.t.Errorf("the container of who told it to end is not named: %s", v.Claims[0].Text)
				}
			}},
		{name: "sigterm-unhandled", run: func(d *dying) {
			d.run("waiting")
			d.ready()
			d.killer("operator", nil, syscall.SIGTERM)
		}, kind: "signal", code: 143, signal: "SIGTERM", sicode: "SI_USER", comm: "operator", why: "killed", subject: "operator", sure: high,
			proof: ended, never: []string{"hang"}},
		{name: "sigkill-by-container", run: func(d *dying) {
			d.run("waiting")
			d.ready()
			d.killer("reaper", d.s.in(d.t).container("grim"), syscall.SIGKILL)
		}, kind: "signal", code: 137, signal: "SIGKILL", sicode: "SI_USER", comm: "reaper", why: "killed", subject: "reaper", sure: high,
			proof: ended, never: []string{"no_memory", "hang"},
			check: func(d *dying, v *verdict.Verdict) {
				if s := v.How.Sender; s.Pod == nil || *s.Pod != "host/grim" || s.Container == nil || *s.Container != "grim" {
					d.t.Errorf("the sender is not named: %s", v.Summary)
				}
			}},
		{name: "oom", run: func(d *dying) { d.start(d.limited(24<<20, d.die, "eat")...) }, kind: "oom", code: 137, signal: "SIGKILL",
			why: "no_memory", subject: "die", sure: high, proof: ended, never: []string{"killed"}, check: checkOOM},
		{name: "oom-child", run: func(d *dying) { d.start(d.limited(24<<20, d.die, "eatchild")...) }, kind: "oom", code: 137, signal: "SIGKILL",
			why: "no_memory", subject: "glutton", sure: high, proof: ended, never: []string{"killed"},
			check: func(d *dying, v *verdict.Verdict) {
				checkOOM(d, v)
				if !strings.HasPrefix(v.Summary, "glutton (pid ") {
					d.t.Errorf("the victim is not named: %s", v.Summary)
				}
				if int(v.Thread.PID) == d.cmd.Process.Pid {
					d.t.Errorf("it is told of the parent")
				}
			}},
		{name: "exit-137", run: func(d *dying) { d.run("leave", "137") }, kind: "exit", code: 137, never: []string{"killed", "no_memory", "hang"},
			check: func(d *dying, v *verdict.Verdict) {
				if strings.Contains(v.Summary, "OOM") || strings.Contains(v.Summary, "SIGKILL") || v.How.Signal != nil || v.How.OOM != nil {
					d.t.Errorf("what it did on purpose is taken for a kill: %s", v.Summary)
				}
			}},
		{name: "seccomp-errno", run: func(d *dying) { d.run("filtered") }, kind: "exit", code: 1,
			why: "seccomp", subject: "mkdirat", sure: high, proof: failedCall("mkdirat", "EPERM"), never: []string{"denied"}},
		{name: "seccomp-kill", run: func(d *dying) { d.run("trapped") }, kind: "seccomp", code: 159, signal: "SIGSYS", sicode: "SYS_SECCOMP",
			why: "seccomp", subject: "mkdirat", sure: high, proof: signalled("SIGSYS")},
		{name: "seccomp-last-thread", run: func(d *dying) { d.run("lastthread") }, kind: "seccomp", code: 159, signal: "SIGSYS", sicode: "SYS_SECCOMP",
			why: "seccomp", subject: "mkdirat", sure: high, proof: signalled("SIGSYS")},
		{name: "seccomp-kill-thread", run: func(d *dying) { d.run("killthread") }, kind: "exit", code: 1,
			why: "seccomp", subject: "mkdirat", sure: verdict.Medium,
			proof: func(e event) bool { return e.name() == "mkdirat" && e.Return == nil }},
		{name: "port-in-use", run: func(d *dying) { d.run("inuse", d.takenPort(), "1") }, kind: "exit", code: 1,
			why: "repeated_failure", subject: "127.0.0.1:", sure: high, proof: failedCall("bind", "EADDRINUSE")},
		{name: "port-in-use-loop", run: func(d *dying) { d.run("inuse", d.takenPort(), "6") }, kind: "exit", code: 1,
			why: "repeated_failure", subject: "127.0.0.1:", sure: high, proof: failedCall("bind", "EADDRINUSE"),
			check: func(d *dying, v *verdict.Verdict) {
				if !strings.Contains(v.Summary, " = EADDRINUSE, 6 times in ") {
					d.t.Errorf("the summary does not say how often: %s", v.Summary)
				}
			}},
		{name: "exec-missing", run: func(d *dying) { d.run("missing") }, kind: "exit", code: 127,
			why: "exec_failed", subject: "frobnicate-all", sure: high, proof: failedCall("execve", "ENOENT"), never: []string{"missing_file"}},
		{name: "exec-thread", run: func(d *dying) { d.run("execthread") }, kind: "exit", code: 5, never: []string{"exec_failed", "missing_file", "hang"}},
		{name: "deadlock", run: func(d *dying) {
			d.run("deadlock")
			d.ready()
			// As a runtime does when a liveness probe has failed.
			d.killer("containerd-shim", nil, 0, syscall.SIGTERM, syscall.SIGKILL)
		}, kind: "signal", code: 137, signal: "SIGKILL", sicode: "SI_USER", comm: "containerd-shim", why: "killed", subject: "containerd-shim", sure: high,
			proof: signalled("SIGTERM"), never: []string{"no_memory"},
			check: func(d *dying, v *verdict.Verdict) {
				i := slices.IndexFunc(v.Claims, func(c verdict.Claim) bool { return c.Kind == "hang" })
				if i < 0 || v.Claims[i].Confidence != high || v.Claims[i].Subject != "futex" {
					d.t.Errorf("no claim of the deadlock: %+v", v.Claims)
				}
				if len(v.Running) != 2 || v.Running[0].Call != "futex" || v.Running[1].Call != "futex" || v.Running[0].Seconds < 2 {
					d.t.Errorf("running: %+v", v.Running)
				}
			}},
		{name: "sigterm-ignored", run: func(d *dying) {
			// The first process of a pid namespace, as containers have one.
			d.startInit(d.die, "waiting")
			d.ready()
			d.killer("containerd-shim", nil, syscall.SIGTERM, syscall.SIGKILL)
		}, kind: "signal", code: 137, signal: "SIGKILL", sicode: "SI_USER", comm: "containerd-shim", why: "killed", subject: "containerd-shim", sure: high,
			proof: ended, never: []string{"no_memory", "hang"},
			check: func(d *dying, v *verdict.Verdict) {
				if !strings.HasSuffix(v.Summary, " after SIGTERM, which it ignored") {
					d.t.Errorf("summary %q", v.Summary)
				}
				if !strings.Contains(v.Claims[0].Text, "SIGTERM came from containerd-shim") || !strings.Contains(v.Claims[0].Text, "was ignored") {
					d.t.Errorf("the SIGTERM that it ignored is not told of: %s", v.Claims[0].Text)
				}
			}},
		{name: "clean", run: func(d *dying) {
			d.run("leave", "0")
			d.cmd.Wait()
			d.save()
		}, kind: "none", code: 0, never: []string{"missing_file", "killed", "hang", "last_words"}},
	}
}

// otherDeaths are of programs that the node has.
func otherDeaths(t *testing.T) []death {
	node, python := need(t, "node"), "/usr/bin/python3"
	panics := filepath.Join(built, "gopanic")
	build := exec.Command("go", "build", "-trimpath", "-o", panics, "../../testdata/programs/gopanic")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	const high = verdict.High
	return []death{
		{name: "unreachable", run: func(d *dying) {
			d.start(need(d.t, "unshare"), "--net", d.die, "connects", "10.9.9.9", "5432", "3")
		}, kind: "exit", code: 1, why: "unreachable", subject: "10.9.9.9:5432", sure: high, proof: failedCall("connect", "ENETUNREACH")},
		{name: "no-such-host", run: func(d *dying) { d.start(need(d.t, "unshare"), "--net", d.die, "noname") }, kind: "exit", code: 1,
			why: "unreachable", subject: "db.shop.invalid", sure: high, proof: func(e event) bool { return e.name() == "recvfrom" }},
		{name: "segv-core", run: func(d *dying) {
			d.core = true
			d.start("/bin/sh", "-c", `ulimit -c unlimited; exec "$0" null`, d.die)
		}, kind: "signal", code: 139, signal: "SIGSEGV", sicode: "SEGV_MAPERR", address: "0x0", why: "bad_address", sure: high, proof: signalled("SIGSEGV")},
		{name: "shell-missing", run: func(d *dying) { d.start("/bin/sh", "-c", "frobnicate-all --now") }, kind: "exit", code: 127,
			why: "exec_failed", subject: "frobnicate-all", sure: high, proof: func(e event) bool { return e.Error == "ENOENT" }, never: []string{"missing_file"}},
		{name: "shell-child", run: func(d *dying) { d.start("/bin/sh", "-c", `"$0" config || exit $?`, d.die) }, kind: "exit", code: 1,
			why: "missing_file", subject: "/etc/die/config.yaml", sure: high, proof: failedCall("openat", "ENOENT")},
		{name: "python", run: func(d *dying) {
			d.start(python, "-S", "-c", "import json\ndef load(path):\n    with open(path) as f:\n        return json.load(f)\n\nload('/etc/die/settings.json')\n")
		}, kind: "exit", code: 1, why: "missing_file", subject: "/etc/die/settings.json", sure: high, proof: failedCall("openat", "ENOENT"),
			check: func(d *dying, v *verdict.Verdict) { d.said(v, "FileNotFoundError") }},
		{name: "go-panic", run: func(d *dying) { d.start(panics) }, kind: "exit", code: 2, why: "last_words", subject: "panic", sure: high,
			proof: func(e event) bool { return e.name() == "write" }, never: []string{"missing_file", "denied"}},
		{name: "node", run: func(d *dying) {
			d.start(node, "-e", "const fs = require('fs');\nconst conf = JSON.parse(fs.readFileSync('/etc/die/node.json'));\n")
		}, kind: "exit", code: 1, why: "missing_file", subject: "/etc/die/node.json", sure: high, proof: func(e event) bool { return e.Error == "ENOENT" }},
	}
}

func (d *dying) said(v *verdict.Verdict, what string) {
	d.t.Helper()
	for _, c := range v.Claims {
		if c.Kind == "last_words" && strings.Contains(c.Text, what) {
			return
		}
	}
	d.t.Errorf("no claim tells what it said, %s: %+v, of %+v", what, v.Claims, v.LastWords)
}

func checkOOM(d *dying, v *verdict.Verdict) {
	d.t.Helper()
	o := v.How.OOM
	switch {
	case o == nil:
		d.t.Error("no figures")
	case o.LimitBytes == nil || *o.LimitBytes != 24<<20:
		d.t.Errorf("the limit is not 24 MiB: %s", v.Summary)
	case o.RSSBytes == nil || *o.RSSBytes < 8<<20 || *o.RSSBytes > 32<<20:
		d.t.Errorf("the victim did not hold that: %s", v.Summary)
	}
}

// closedPipe is the end of a pipe that nobody reads.
func closedPipe(t testing.TB) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() { w.Close() })
	return w
}

// save makes a snapshot of a container whose process ended well, which makes none by itself.
func (d *dying) save() {
	d.t.Helper()
	eventually(d.t, "state exited", func() error {
		if state := d.s.ring(d.c.name).State; state != "exited" {
			return errors.New("state is " + state)
		}
		return nil
	})
	d.s.post("/v1/pods/host/"+d.c.name+"/snapshots", nil)
}

// TestDeaths: of each way to die the verdict says how, and why; its claims point at the
// records of the planted cause. With -update the recordings become the fixtures of the
// verdict's own tests, which need no root.
func TestDeaths(t *testing.T) { die(t, deaths()) }

// TestDeathsOfOthers is the same of programs in several languages.
func TestDeathsOfOthers(t *testing.T) { die(t, otherDeaths(t)) }

// TestDeathsAreKept: there is a recording of each death, and of no other.
func TestDeathsAreKept(t *testing.T) {
	var want, got []string
	for _, x := range append(deaths(), otherDeaths(t)...) {
		want = append(want, x.name+".json", x.name+".swoll", x.name+".txt")
	}
	entries, err := os.ReadDir(fixtures)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("make them with go test -run TestDeaths -update (-want +got):\n%s", diff)
	}
}

// die lets the programs die, all at once.
func die(t *testing.T, all []death) {
	s := newService(t, "--memory", "32MiB", "--ring-size", "256KiB", "--node-name", "node-1")
	program := program(t, "die")
	if *update {
		if err := os.MkdirAll(fixtures, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("each", func(t *testing.T) {
		for _, x := range all {
			t.Run(x.name, func(t *testing.T) {
				t.Parallel()
				s := s.in(t)
				d := &dying{t: t, s: s, c: s.container(x.name), dir: t.TempDir(), die: program}
				x.run(d)
				snap := s.waitSnapshot(x.name)
				v := new(verdict.Verdict)
				unmarshal(t, s.get("/v1/snapshots/"+snap.ID+"/explain?format=json"), v)
				x.compare(d, v, eventsByJSON(t, s.get("/v1/snapshots/"+snap.ID+"/dump?format=json&all=true")))
				if x.check != nil && !t.Failed() {
					x.check(d, v)
				}
				file := s.get("/v1/snapshots/" + snap.ID + "/file")
				text, page := explainFile(t, file)
				if !bytes.Equal(text, s.get("/v1/snapshots/"+snap.ID+"/explain?format=json")) {
					t.Error("the file's verdict is not the service's")
				}
				if t.Failed() {
					t.Logf("%s", page)
				}
				if *update {
					for suffix, data := range map[string][]byte{".swoll": file, ".json": text, ".txt": page} {
						if err := os.WriteFile(filepath.Join(fixtures, x.name+suffix), data, 0o644); err != nil {
							t.Fatal(err)
						}
					}
				}
			})
		}
	})
}

// explainFile tells of a snapshot's file as swoll-dump explain does.
func explainFile(t testing.TB, file []byte) (text, page []byte) {
	t.Helper()
	snap, err := ringstore.ReadSnapshot(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	h, events := snap.Stream()
	v := verdict.Explain(h, events)
	for format, to := range map[string]*[]byte{"json": &text, "text": &page} {
		var b bytes.Buffer
		if err := verdict.Write(&b, format, v, h); err != nil {
			t.Fatal(err)
		}
		*to = b.Bytes()
	}
	return text, page
}

// compare checks the typed fields, and the claims with their evidence.
func (x *death) compare(d *dying, v *verdict.Verdict, events map[uint64]event) {
	t := d.t
	t.Helper()
	same := func(what, want string, got *string) {
		t.Helper()
		if want != "" && (got == nil || *got != want) {
			t.Errorf("%s: got %s, want %s", what, show(got), want)
		}
		if want == "" && what == "signal" && got != nil {
			t.Errorf("%s: got %s, want none", what, *got)
		}
	}
	if v.How.Kind != x.kind || v.How.ExitCode == nil || *v.How.ExitCode != x.code || v.How.Core != d.core {
		data, _ := json.Marshal(v.How)
		t.Errorf("how: got %s, want %s with exit code %d, core %t", data, x.kind, x.code, d.core)
	}
	same("signal", x.signal, v.How.Signal)
	same("code", x.sicode, v.How.Code)
	same("address", x.address, v.How.Address)
	if x.comm != "" && (v.How.Sender == nil || v.How.Sender.Comm == nil || *v.How.Sender.Comm != x.comm) {
		t.Errorf("sender: got %+v, want %s", v.How.Sender, x.comm)
	}
	for _, c := range v.Claims {
		if slices.Contains(x.never, c.Kind) && c.Confidence != verdict.Low {
			t.Errorf("a wrong claim: %+v", c)
		}
		for _, seq := range c.Evidence {
			if _, ok := events[seq]; !ok {
				t.Errorf("record %d is not in the snapshot, and so no evidence of %+v", seq, c)
			}
		}
		if len(c.Evidence) == 0 && c.Confidence != verdict.Low {
			t.Errorf("without evidence: %+v", c)
		}
	}
	if x.why == "" {
		return
	}
	if len(v.Claims) == 0 || v.Claims[0].Kind != x.why || !strings.Contains(v.Claims[0].Subject, x.subject) || v.Claims[0].Confidence != x.sure {
		t.Errorf("claims: %+v\nwant first %s %q, %s", v.Claims, x.why, x.subject, x.sure)
		return
	}
	for _, seq := range v.Claims[0].Evidence {
		if x.proof(events[seq]) {
			return
		}
	}
	t.Errorf("%+v points at none of the records of its cause", v.Claims[0])
}

func show(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

// eventsByJSON reads a dump, by the events' numbers.
func eventsByJSON(t testing.TB, dump []byte) map[uint64]event {
	t.Helper()
	events := map[uint64]event{}
	for line := range bytes.Lines(dump) {
		var e event
		unmarshal(t, line, &e)
		events[e.Seq] = e
	}
	return events
}

// TestDiff: a pod that crashed is compared with a sibling that runs, by its snapshot and by
// its name: the call that made the difference is the first that is told, and the snapshot
// that it took is gone again.
func TestDiff(t *testing.T) {
	t.Parallel()
	s := newService(t)
	start := func(name string) *dying {
		d := &dying{t: t, s: s, c: s.container(name), dir: t.TempDir()}
		if name == "healthy" {
			d.file("app.conf")
		}
		d.start("/bin/sh", "-c", "cat app.conf && echo ready && exec sleep 1000")
		return d
	}
	healthy, crashed := start("healthy"), start("crashed")
	healthy.ready()
	crashed.cmd.Wait()
	id := s.waitSnapshot("crashed").ID
	for _, a := range []string{id, "crashed"} {
		var c verdict.Comparison
		unmarshal(t, []byte(s.mustCLI("diff", a, "host/healthy", "-o", "json")), &c)
		if c.First == nil || c.First.Role != "cat" || !strings.HasSuffix(c.First.A.Call, `app.conf")`) || c.First.A.Result != "ENOENT" || c.First.B.Result != "ok" {
			t.Errorf("diff %s: %+v", a, c)
		}
		if !slices.ContainsFunc(c.OnlyB, func(o verdict.Only) bool { return strings.Contains(o.Call, "/sleep") && o.Result == "ok" }) {
			t.Errorf("diff %s: only the healthy one executes sleep: %+v", a, c.OnlyB)
		}
	}
	if left := s.snapshots("healthy"); len(left) != 0 {
		t.Errorf("left are %+v", left)
	}
	text := s.mustCLI("diff", id, "healthy")
	if !strings.Contains(text, "\nthe first call with another result, in cat:\n  a: openat(") || !strings.Contains(text, "app.conf\") = ENOENT [seq ") {
		t.Errorf("as text:\n%s", text)
	}
}

// TestLives: of a container that died three times, each life can be asked for without its
// number, also when its ring is gone.
func TestLives(t *testing.T) {
	t.Parallel()
	s := newService(t)
	leaves := program(t, "die")
	for i := range 3 {
		cgroup := filepath.Join(s.watch, "lives")
		if err := os.Mkdir(cgroup, 0o755); err != nil {
			t.Fatal(err)
		}
		d := &dying{t: t, s: s, c: &container{s, "lives", cgroup}, dir: t.TempDir(), die: leaves}
		d.run("leave", strconv.Itoa(i+1))
		d.cmd.Wait()
		eventually(t, "the snapshot", func() error {
			if n := len(s.snapshots("lives")); n != i+1 {
				return errors.New("there are " + strconv.Itoa(n))
			}
			return nil
		})
		removeCgroup(t, cgroup)
	}
	for _, x := range []struct {
		flags []string
		code  string
	}{{nil, "3"}, {[]string{"--previous"}, "2"}, {[]string{"--previous=2"}, "1"}, {[]string{"--first"}, "1"}, {[]string{"--instance", "1"}, "2"}} {
		text := s.mustCLI(append([]string{"explain", "host/lives"}, x.flags...)...)
		if !strings.HasPrefix(text, "exit "+x.code) {
			t.Errorf("explain %v:\n%s", x.flags, text)
		}
		if x.flags == nil {
			continue // a dump is of all lives then
		}
		text = s.mustCLI(append([]string{"dump", "host/lives"}, x.flags...)...)
		if !strings.Contains(text, "exit_group("+x.code+")") || strings.Count(text, "exit_group(") != 1 {
			t.Errorf("dump %v:\n%s", x.flags, text)
		}
	}
	if r := s.cli("explain", "host/lives", "--previous=3"); r.code != 3 {
		t.Errorf("a life too many: exit status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}
