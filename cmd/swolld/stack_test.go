package main_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/swoll-recorder/swoll/recorder/unwind"
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
)

// compile builds a program of testdata/programs, or of a directory of Go files.
func compile(t testing.TB, name string, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app")
	args := append(slices.Clone(flags), "-Wall", "-Wextra", "-Werror", "-pthread", "-o", path, filepath.Join("../../testdata/programs", name+".c"))
	if out, err := exec.Command(need(t, "gcc"), args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc %q: %v\n%s", args, err, out)
	}
	return path
}

// stackOf is the stack in a snapshot's verdict.
func (s *service) stackOf(id string) *ringstore.Stack {
	s.t.Helper()
	var v struct{ Stack *ringstore.Stack }
	unmarshal(s.t, s.get("/v1/snapshots/"+id+"/explain?format=json"), &v)
	if v.Stack == nil {
		s.t.Fatalf("snapshot %s has no stack", id)
	}
	return v.Stack
}

func functions(s *ringstore.Stack) []string {
	var names []string
	for _, f := range s.Frames {
		// Of what is seldom, the compiler makes a function apart.
		names = append(names, strings.TrimSuffix(f.Function, ".cold"))
	}
	return names
}

// crash runs a program until it is dead, and returns its stack.
func (s *service) crash(pod string, argv ...string) (*process, *ringstore.Stack) {
	s.t.Helper()
	p := s.container(pod).start(argv...)
	p.expect("ready")
	p.send()
	p.wait()
	return p, s.stackOf(s.waitSnapshot(pod).ID)
}

// expectNames checks that functions are among the frames, one after the other, and returns
// the place of the first; -1: they are not.
func expectNames(t *testing.T, s *ringstore.Stack, names ...string) int {
	t.Helper()
	all := functions(s)
	at := slices.Index(all, names[0])
	if at < 0 || len(all) < at+len(names) || !slices.Equal(all[at:at+len(names)], names) {
		t.Errorf("frames %q have no %q in a row; end: %q; notes %q", all, names, s.End, s.Notes)
		return -1
	}
	return at
}

// expectChain is expectNames, of frames that are sure and have a place.
func expectChain(t *testing.T, s *ringstore.Stack, names ...string) {
	t.Helper()
	at := expectNames(t, s, names...)
	if at < 0 {
		return
	}
	for _, f := range s.Frames[at : at+len(names)] {
		if f.Confidence != "high" || f.File == "" || f.Offset == 0 || f.BuildID == "" {
			t.Errorf("frame %+v is not sure, or has no place", f)
		}
	}
}

// TestStack: of a thread that a signal kills, the frames are named in their order, however
// it dies, and however the program was built.
func TestStack(t *testing.T) {
	t.Parallel()
	s := newService(t)
	chain := []string{"gamma_", "beta", "alpha", "main"}

	t.Run("ways", func(t *testing.T) {
		// Where there is no compiler, this one is there already. It has neither frame
		// pointers nor a loader.
		app := program(t, "stack")
		for _, how := range []string{"libc", "abort", "handler", "jump", "divide", "trap", "vdso"} {
			s := s.in(t)
			_, stack := s.crash("way-"+how, app, how)
			if how == "jump" {
				// Nothing but the stack's top tells where it came from.
				if f := stack.Frames[1]; f.Function != "gamma_" || f.How != "return-register" || f.Confidence != "medium" {
					t.Errorf("jump: the second frame is %+v", f)
				}
				expectNames(t, stack, chain...)
				continue
			}
			expectChain(t, stack, chain...)
			if stack.End != "" {
				t.Errorf("%s: it ends since %s", how, stack.End)
			}
			if how == "handler" {
				expectChain(t, stack, "handler", "<signal handler called>", "gamma_")
			}
			if how == "vdso" && stack.Frames[0].File != "[vdso]" {
				t.Errorf("vdso: the innermost frame is %+v", stack.Frames[0])
			}
		}
	})
	t.Run("thread", func(t *testing.T) {
		s := s.in(t)
		p, stack := s.crash("thread", program(t, "stack"), "thread")
		expectChain(t, stack, "gamma_", "beta", "alpha", "thread", "start_thread")
		if int(stack.PID) != p.pid || stack.TID == stack.PID {
			t.Errorf("thread %d of process %d, want another one of %d", stack.TID, stack.PID, p.pid)
		}
	})
	t.Run("overflow", func(t *testing.T) {
		s := s.in(t)
		_, stack := s.crash("overflow", program(t, "stack"), "overflow")
		names := functions(stack)
		if len(names) < 100 || strings.Trim(strings.Join(slices.Compact(names), " "), " ") != "recurse" || stack.End == "" {
			t.Errorf("%d frames, %q; end: %q", len(names), slices.Compact(names), stack.End)
		}
	})
	t.Run("waiting", func(t *testing.T) {
		// Not a fault: it was in a call.
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGKILL} {
			s := s.in(t)
			name := "signal-" + fmt.Sprint(int(sig))
			c := s.container(name)
			p := c.start(program(t, "stack"), "pause")
			p.expect("ready")
			p.send()
			eventually(t, "it waits", func() error {
				for _, e := range c.s.dump(name, "last=1") {
					if (e.name() == "pause" || e.name() == "ppoll") && e.Return == nil {
						return nil
					}
				}
				return fmt.Errorf("it does not")
			})
			syscall.Kill(p.pid, sig)
			p.wait()
			expectChain(t, s.stackOf(s.waitSnapshot(name).ID), chain...)
		}
	})
}

// TestStackOfBuilds: dynamic, static and stripped programs, with and without frame pointers,
// of C, C++ and Go.
func TestStackOfBuilds(t *testing.T) {
	t.Parallel()
	s := newService(t)
	chain := []string{"gamma_", "beta", "alpha", "main"}
	for name, flags := range map[string][]string{
		"dynamic":        {"-O2", "-fomit-frame-pointer", "-fno-builtin"},
		"no-pie":         {"-O2", "-no-pie", "-fno-pie"},
		"static-pie":     {"-O2", "-static-pie"},
		"frame-pointers": {"-O1", "-fno-omit-frame-pointer"},
		"no-tables":      {"-O1", "-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := compile(t, "stack", flags...)
			s := s.in(t)
			_, stack := s.crash(name, app, "libc")
			if name != "no-tables" {
				expectChain(t, stack, chain...)
				return
			}
			// The C library's own tables lead out of it; then there are frame pointers.
			if names := functions(stack); len(names) < 5 || !slices.Equal(names[1:5], chain) {
				t.Errorf("frames %q", names)
			}
			for _, f := range stack.Frames[2:5] {
				if f.How != "frame-pointer" || f.Confidence != "medium" {
					t.Errorf("frame %+v, want one by its frame pointer", f)
				}
			}
		})
	}
	t.Run("stripped", func(t *testing.T) {
		t.Parallel()
		s := s.in(t)
		app := compile(t, "stack", "-O2", "-s", "-rdynamic")
		_, stack := s.crash("stripped", app, "libc")
		// Only alpha and main are among the dynamic symbols.
		expectChain(t, stack, "alpha", "main")
		at := slices.Index(functions(stack), "alpha")
		if names := functions(stack); at < 2 || names[at-1] != "" || names[at-2] != "" {
			t.Errorf("frames %q: those without a symbol have a name", names)
		}
		for _, f := range stack.Frames[at-2 : at] {
			if f.File != app || f.Offset == 0 || f.BuildID == "" {
				t.Errorf("frame %+v does not say where it is", f)
			}
		}
		text := s.mustCLI("explain", s.snapshots("stripped")[0].ID)
		if !strings.Contains(text, "\nstack of thread ") || !strings.Contains(text, ", build id "+stack.Frames[at-1].BuildID+")\n") {
			t.Errorf("explain does not show it:\n%s", text)
		}
		// A file of it tells the same on any machine.
		file := filepath.Join(t.TempDir(), "snapshot.swoll")
		s.mustCLI("export", s.snapshots("stripped")[0].ID, file)
		for _, command := range []string{"explain", "show"} {
			out, err := exec.Command(filepath.Join(built, "swoll-dump"), "--socket", "/nowhere", command, file).Output()
			if err != nil || !strings.Contains(string(out), "stack of thread ") || !strings.Contains(string(out), " alpha+0x") {
				t.Errorf("%s of a file: %v\n%s", command, err, out)
			}
		}
	})
	t.Run("C++", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		source, app := filepath.Join(dir, "app.cc"), filepath.Join(dir, "app")
		write(t, source, `#include <stdexcept>
#include <unistd.h>
#include <stdio.h>
namespace shop { struct Cart { template<class T> __attribute__((noinline)) T pay(T n) { if (n >= 0) throw std::runtime_error("no money"); return n; } }; }
int main(int argc, char **) { char c; puts("ready"); fflush(stdout); if (read(0, &c, 1) != 1) return 0; close(2); shop::Cart cart; return cart.pay(argc) + 1; }
`)
		if out, err := exec.Command(need(t, "g++"), "-O2", "-o", app, source).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		s := s.in(t)
		_, stack := s.crash("cpp", app)
		names := functions(stack)
		at := slices.IndexFunc(names, func(n string) bool { return strings.Contains(n, "shop::Cart::pay") })
		if at < 0 || at+1 >= len(names) || names[at+1] != "main" || !slices.Contains(names, "std::terminate") || !slices.Contains(names, "abort") {
			t.Errorf("frames %q", names)
		}
	})
	t.Run("Go", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "go.mod"), "module app\n\ngo 1.26\n")
		write(t, filepath.Join(dir, "main.go"), `package main

import ("fmt"; "os"; "runtime/debug"; "sync"; "syscall")

type order struct{ items map[string]int }

//go:noinline
func (o *order) add(n int) { if n > 0 { var p *int; *p = n }; o.items["x"]++ }

//go:noinline
func handle(n int) { (&order{}).add(n); fmt.Println(n) }

func main() {
	fmt.Println("ready")
	var b [1]byte
	os.Stdin.Read(b[:])
	syscall.Close(2) // what it says is long
	debug.SetTraceback("crash")
	if len(os.Args) > 1 { unlock() }
	handle(len(os.Args))
}

//go:noinline
func unlock() { var mu sync.Mutex; mu.Unlock(); fmt.Println() }
`)
		for _, strip := range []string{"", "-s -w"} {
			app := filepath.Join(dir, "app"+strings.ReplaceAll(strip, " ", ""))
			cmd := exec.Command("go", "build", "-ldflags", strip, "-o", app, ".")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			s := s.in(t)
			_, stack := s.crash("go"+strings.ReplaceAll(strip, " ", ""), app)
			expectNames(t, stack, "main.(*order).add", "main.handle", "main.main", "runtime.main")
			// The runtime leaves the goroutine's stack for the thread's own to die on.
			_, stack = s.crash("go-thread"+strings.ReplaceAll(strip, " ", ""), app, "unlock")
			expectNames(t, stack, "main.unlock", "main.main", "runtime.main")
		}
	})
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestStackAgainstDebugger: gdb, which sees the process as it dies, finds the same addresses.
func TestStackAgainstDebugger(t *testing.T) {
	t.Parallel()
	gdb := need(t, "gdb")
	s := newService(t)
	for _, test := range []struct {
		how   string
		flags []string
	}{
		{"libc", []string{"-O2", "-fno-builtin"}},
		{"handler", []string{"-O2"}},
		{"abort", []string{"-O2", "-static-pie"}},
		{"divide", []string{"-O3", "-no-pie"}},
	} {
		t.Run(test.how, func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			app := compile(t, "stack", test.flags...)
			// The signal that kills it goes through the debugger first. The same addresses are
			// used in each run where they are not at random.
			script := []string{"-q", "-batch", "-nx", "-ex", "set disable-randomization on", "-ex", "set debuginfod enabled off",
				"-ex", "set backtrace past-main on", "-ex", "set debug-file-directory /nowhere", // it would tell of inlined functions
				"-ex", "handle SIGSEGV nostop noprint pass"}
			if test.how != "handler" {
				script = script[:len(script)-2]
			}
			script = append(script, "-ex", "run "+test.how+" < "+input(t), "-ex", "backtrace", "-ex", "continue", "--args", app)
			c := s.container("gdb-" + test.how)
			dir, err := os.Open(c.dir)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(gdb, script...)
			cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
			out, err := cmd.Output()
			dir.Close()
			if err != nil {
				t.Fatalf("gdb: %v\n%s", err, out)
			}
			// #0  0x00007ffff7ee1ad8 in ?? () from /lib/...
			var want []ringstore.Address
			inner := true
			for _, line := range strings.Split(string(out), "\n") {
				f := strings.Fields(line)
				if len(f) < 2 || !strings.HasPrefix(f[0], "#") {
					continue
				}
				var a ringstore.Address
				if a.UnmarshalText([]byte(f[1])) == nil {
					want = append(want, a)
				} else if inner || strings.Contains(line, "<signal handler called>") {
					want = append(want, 0) // it does not say
				}
				inner = false
			}
			stack := s.stackOf(s.waitSnapshot(c.name).ID)
			var got []ringstore.Address
			for i, f := range stack.Frames {
				if i < len(want) && want[i] == 0 {
					want[i] = f.Address
				}
				got = append(got, f.Address)
			}
			if len(want) < 5 || !slices.Equal(got, want) {
				t.Errorf("%s: addresses %v, gdb has %v\n%s%+v", test.how, got, want, out, stack.Frames)
			}
		})
	}
}

// input is a file with the byte that programs wait for.
func input(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "input")
	write(t, path, "x")
	return path
}

// TestStackWithoutPayload: where a pod does not consent to payloads, no byte of the stack is
// in the kernel's maps, and the frames that need none are told.
func TestStackWithoutPayload(t *testing.T) {
	t.Parallel()
	const secret = "correct-horse-battery-staple-0123456789"
	planted := make([]byte, len(secret))
	for i := range planted {
		planted[i] = secret[i] ^ 1 // so it stands on the stack, and in no argument
	}
	app := compile(t, "stack", "-O1", "-fno-omit-frame-pointer")
	for _, test := range []struct {
		name    string
		flags   []string
		consent uint32
		found   bool
	}{
		{"on", nil, 0, true},
		{"off", []string{"--stack-limit=0"}, 0, false},
		{"no consent", nil, layout.ConsentNoPayload, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			s.kill()
			s.args = test.flags // they hold for a recorder that was adopted, too
			s.start()
			s.kill() // so that nobody wipes what is taken
			if test.consent != 0 {
				consents, err := ebpf.LoadPinnedMap(filepath.Join(s.pins, "recorder", "consents"), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer consents.Close()
				var name layout.CgroupName
				copy(name.Name[:], "secretive")
				if err := consents.Put(name, test.consent); err != nil {
					t.Fatal(err)
				}
			}
			c := s.container("secretive")
			p := c.start(app, "libc", secret)
			p.expect("ready")
			p.send()
			p.wait()
			if found := bytes.Contains(s.stackMap(), planted); found != test.found {
				t.Errorf("the bytes of the stack are in the map: %v, want %v", found, test.found)
			}
			s.start()
			snap := s.waitSnapshot(c.name)
			stack := s.stackOf(snap.ID)
			if names := functions(stack); !test.found && (!slices.Equal(names[1:4], []string{"beta", "alpha", "main"}) || len(stack.Notes) == 0) {
				t.Errorf("frames %q, notes %q", names, stack.Notes)
			}
			eventually(t, "the stack is wiped", func() error {
				if m := s.stackMap(); len(bytes.Trim(m, "\x00")) > 0 {
					return fmt.Errorf("there is something left of it")
				}
				return nil
			})
			if bytes.Contains(s.get("/v1/snapshots/"+snap.ID+"/file"), planted) {
				t.Error("the bytes of the stack are in the snapshot")
			}
		})
	}
}

// stackMap is all of the kernel's memory for stacks.
func (s *service) stackMap() []byte {
	s.t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join(s.pins, "recorder", "stacks"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer m.Close()
	var all []byte
	for n := range m.MaxEntries() {
		b, err := m.LookupBytes(n)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// TestStackWithoutService: a thread that died while no service ran has its frames named by
// the next one, if its files are still there: the very same. Of others no name is told.
func TestStackWithoutService(t *testing.T) {
	t.Parallel()
	chain := []string{"gamma_", "beta", "alpha", "main"}
	s := newService(t)
	s.kill()
	names := []string{"there", "replaced", "overwritten", "removed"}
	apps := map[string]string{}
	for _, name := range names {
		apps[name] = compile(t, "stack", "-O2", "-fno-builtin")
		p := s.container(name).start(apps[name], "libc")
		p.expect("ready")
		p.send()
		p.wait()
	}
	time.Sleep(20 * time.Millisecond) // so that times of files differ
	other, err := os.ReadFile(compile(t, "stack", "-O0", "-fno-builtin"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(apps["overwritten"])
	if err != nil {
		t.Fatal(err)
	}
	// It also has the size of the one before.
	other = append(other, make([]byte, max(0, int(info.Size())-len(other)))...)[:info.Size()]
	write(t, apps["overwritten"], string(other))
	write(t, apps["replaced"]+".new", string(other))
	if err := errors.Join(os.Rename(apps["replaced"]+".new", apps["replaced"]), os.Remove(apps["removed"])); err != nil {
		t.Fatal(err)
	}
	s.start()
	for _, name := range names {
		stack, app := s.stackOf(s.waitSnapshot(name).ID), apps[name]
		if name == "there" {
			expectChain(t, stack, chain...)
			continue
		}
		for _, f := range stack.Frames {
			if f.File == app && f.Function != "" {
				t.Errorf("%s: frame %+v is named by another file", name, f)
			}
		}
		at := slices.IndexFunc(stack.Mappings, func(m ringstore.StackMapping) bool { return m.File == app })
		if at < 0 || stack.Mappings[at].Unread == "" || stack.Mappings[at].BuildID == "" {
			t.Errorf("%s: the mappings do not tell why: %+v", name, stack.Mappings)
		}
		// Where the C library was called from is known all the same.
		if len(stack.Frames) < 2 || stack.Frames[1].File != app || stack.Frames[1].Offset == 0 {
			t.Errorf("%s: frames %+v", name, stack.Frames)
		}
	}
}

// TestStackFixtures: the recordings of the unwinder's tests are as this kernel side makes
// them. With -update they are made anew, with their programs.
func TestStackFixtures(t *testing.T) {
	t.Parallel()
	const dir = "../../recorder/unwind/testdata"
	s := newService(t)
	s.kill() // it would wipe them
	common := []string{"-static", "-nostdlib", "-fno-builtin", "-fno-stack-protector", "-fcf-protection=none", "-no-pie", "-fno-pie", "-Wl,--build-id", "-Wl,-z,max-page-size=4096"}
	pointers := []string{"-O1", "-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer"}
	noTables := []string{"-fno-asynchronous-unwind-tables", "-fno-unwind-tables"}
	for name, flags := range map[string][]string{
		"tables":   {"-O2"},
		"unsorted": {"-O2", "-Wl,--no-eh-frame-hdr"},
		"pointers": append(pointers, noTables...),
		"handler":  {"-O2", "-DHANDLER"},
		"stripped": {"-O2", "-s"},
		"scan":     append([]string{"-O2"}, noTables...),
	} {
		app := filepath.Join(t.TempDir(), name)
		args := slices.Concat(common, flags, []string{"-o", app, filepath.Join(dir, "tiny.c")})
		if out, err := exec.Command(need(t, "gcc"), args...).CombinedOutput(); err != nil {
			t.Fatalf("gcc %q: %v\n%s", args, err, out)
		}
		c := s.container("fixture-" + name)
		cgroup, err := os.Open(c.dir)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(app)
		cmd.Env = []string{"LANG=C"}
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
		err = cmd.Run()
		cgroup.Close()
		if err == nil {
			t.Fatalf("%s lives", name)
		}
		thread := s.thread(cmd.Process.Pid)
		file, err := os.ReadFile(app)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			data, err := json.Marshal(thread)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(filepath.Join(dir, name+".json"), append(data, '\n'), 0o644),
				os.WriteFile(filepath.Join(dir, name+".elf"), file, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		var kept *unwind.Thread
		data, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		unmarshal(t, data, &kept)
		if kept.Known != thread.Known || kept.Arch != thread.Arch || len(kept.Memory) == 0 || len(thread.Memory) == 0 ||
			len(kept.Chain) != len(thread.Chain) || len(kept.Mappings) != len(thread.Mappings) {
			t.Errorf("%s: recorded %d pieces, %d links, %d mappings; kept are %d, %d, %d", name, len(thread.Memory), len(thread.Chain),
				len(thread.Mappings), len(kept.Memory), len(kept.Chain), len(kept.Mappings))
		}
	}
}

// thread is the stack of a thread that died, as it is in the kernel's map.
func (s *service) thread(tid int) *unwind.Thread {
	s.t.Helper()
	all := s.stackMap()
	for ; len(all) >= layout.SizeofStack; all = all[layout.SizeofStack:] {
		var taken layout.Stack
		if _, err := binary.Decode(all, binary.LittleEndian, &taken); err != nil {
			s.t.Fatal(err)
		}
		if int(taken.TID) == tid && taken.Time != 0 {
			return unwind.ThreadOf(runtime.GOARCH, &taken)
		}
	}
	s.t.Fatalf("no stack of thread %d was taken", tid)
	return nil
}
