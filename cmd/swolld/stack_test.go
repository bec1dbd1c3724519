package main_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/swoll-recorder/swoll/ringstore"
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
	})
	t.Run("C++", func(t *testing.T) {
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
		dir := t.TempDir()
		write(t, filepath.Join(dir, "go.mod"), "module app\n\ngo 1.26\n")
		write(t, filepath.Join(dir, "main.go"), `package main

import ("fmt"; "os"; "runtime/debug"; "syscall")

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
	handle(len(os.Args))
}
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
		}
	})
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
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
		name  string
		flags []string
		found bool
	}{
		{"on", nil, true},
		{"off", []string{"--stack-limit=0"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t, test.flags...)
			s.kill() // so that nobody wipes what is taken
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
	for _, name := range []string{"there", "replaced", "overwritten", "removed"} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			app := compile(t, "stack", "-O2", "-fno-builtin")
			s.kill()
			c := s.container(name)
			p := c.start(app, "libc")
			p.expect("ready")
			p.send()
			p.wait()
			time.Sleep(20 * time.Millisecond) // so that times of files differ
			other := compile(t, "stack", "-O0", "-fno-builtin")
			switch name {
			case "replaced":
				if err := os.Rename(other, app); err != nil {
					t.Fatal(err)
				}
			case "overwritten":
				data, err := os.ReadFile(other)
				if err != nil {
					t.Fatal(err)
				}
				info, _ := os.Stat(app)
				data = append(data, make([]byte, max(0, int(info.Size())-len(data)))...)
				if err := os.WriteFile(app, data[:info.Size()], 0o755); err != nil {
					t.Fatal(err)
				}
			case "removed":
				os.Remove(app)
			}
			s.start()
			stack := s.stackOf(s.waitSnapshot(name).ID)
			if name == "there" {
				expectChain(t, stack, chain...)
				return
			}
			for _, f := range stack.Frames {
				if f.File == app && f.Function != "" {
					t.Errorf("frame %+v is named by another file", f)
				}
			}
			at := slices.IndexFunc(stack.Mappings, func(m ringstore.StackMapping) bool { return m.File == app })
			if at < 0 || stack.Mappings[at].Unread == "" || stack.Mappings[at].BuildID == "" {
				t.Errorf("the mappings do not tell why: %+v", stack.Mappings)
			}
		})
	}
}
