package unwind

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A fixture is a stack as the kernel side took it, and the program that it is of. Those of
// testdata were recorded by cmd/swolld's TestStackFixtures.
type fixture struct {
	*Thread
	program []byte
}

func load(t testing.TB, name string) fixture {
	t.Helper()
	var f fixture
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &f.Thread); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if f.program, err = os.ReadFile(filepath.Join("testdata", name+".elf")); err != nil {
		t.Fatal(err)
	}
	return f
}

// with lets all mappings be of a program.
func (f fixture) with(t testing.TB, program []byte) *Thread {
	t.Helper()
	e, err := Open(bytes.NewReader(program), int64(len(program)))
	if err != nil {
		t.Fatal(err)
	}
	thread := *f.Thread
	thread.Mappings = slices.Clone(f.Mappings)
	for n := range thread.Mappings {
		thread.Mappings[n].File = e
	}
	return &thread
}

func texts(frames []Frame) string {
	var all []string
	for _, f := range frames {
		all = append(all, strings.Join([]string{f.Function, f.How, f.Confidence}, " "))
	}
	return strings.Join(all, "\n") + "\n"
}

func TestRecordings(t *testing.T) {
	for name, want := range map[string]string{
		"tables": "die registers high\ngamma_ cfi high\nbeta cfi high\nalpha cfi high\nstart cfi high\n_start cfi high\n",
		// The linker made no table to search.
		"unsorted": "die registers high\ngamma_ cfi high\nbeta cfi high\nalpha cfi high\nstart cfi high\n_start cfi high\n",
		// The innermost function has saved no frame pointer; who called it left its address
		// on top of the stack.
		"pointers": "die registers high\ngamma_ return-register medium\nbeta frame-pointer medium\nalpha frame-pointer medium\nstart frame-pointer medium\n_start frame-pointer medium\n",
		"handler":  "die registers high\nhandler cfi high\n<signal handler called> cfi high\ndie signal high\ngamma_ cfi high\nbeta cfi high\nalpha cfi high\nstart cfi high\n_start cfi high\n",
		"stripped": " registers high\n cfi high\n cfi high\n cfi high\n cfi high\n cfi high\n",
	} {
		f := load(t, name)
		frames, end := Unwind(f.with(t, f.program))
		if got := texts(frames); got != want || end != "" {
			t.Errorf("%s: frames\n%swant\n%send %q", name, got, want, end)
		}
		for _, frame := range frames {
			if frame.Function != "" && frame.Function != trampoline && (frame.Start > frame.Address || frame.Address-frame.Start > 4096) {
				t.Errorf("%s: %+v begins at %#x", name, frame, frame.Start)
			}
		}
	}
}

// TestWithoutFile: what cannot be read is not guessed. The address of the fault stays, and
// what the frame pointers say.
func TestWithoutFile(t *testing.T) {
	f := load(t, "tables")
	frames, end := Unwind(f.Thread)
	if got := texts(frames); got != " registers high\n" || end == "" {
		t.Errorf("frames\n%send %q", got, end)
	}
	f = load(t, "pointers")
	frames, _ = Unwind(f.Thread)
	if len(frames) != 5 || frames[1].How != ByFramePointer || frames[1].Confidence != Medium || frames[1].Function != "" {
		t.Errorf("frames\n%s", texts(frames))
	}
	// With payloads off, the chain has been walked already. It does not have who called the
	// innermost function, which has saved no frame pointer.
	f.Memory = nil
	frames, _ = Unwind(f.with(t, f.program))
	if got, want := texts(frames), "die registers high\nbeta frame-pointer medium\nalpha frame-pointer medium\nstart frame-pointer medium\n_start frame-pointer medium\n"; got != want {
		t.Errorf("without memory: frames\n%swant\n%s", got, want)
	}
}

// TestMemoryEnds: where the stack was not taken as far as it goes, the frames say so.
func TestMemoryEnds(t *testing.T) {
	f := load(t, "tables")
	sp := f.Regs[7]
	for n := range f.Memory {
		// gamma_'s frame is the last one in it.
		if m := &f.Memory[n]; m.At > sp {
			m.Bytes = nil
		} else {
			m.Bytes = m.Bytes[:min(uint64(len(m.Bytes)), (sp-m.At+8)&^7)]
		}
	}
	frames, end := Unwind(f.with(t, f.program))
	if len(frames) > 2 || end != endMemory {
		t.Errorf("frames\n%send %q", texts(frames), end)
	}
}

// TestScan: with neither tables nor frame pointers only addresses behind calls count, and are
// marked as guesses.
func TestScan(t *testing.T) {
	f := load(t, "scan")
	frames, _ := Unwind(f.with(t, f.program))
	if len(frames) < 3 || frames[0].How != ByRegisters {
		t.Fatalf("frames\n%s", texts(frames))
	}
	for _, frame := range frames[1:] {
		if frame.How == ByScan && frame.Confidence != Low || frame.How != ByScan && frame.How != ByCFI && frame.How != ByLink {
			t.Errorf("frame %+v", frame)
		}
	}
	if frames[1].Function != "gamma_" {
		t.Errorf("frames\n%s", texts(frames))
	}
}

// TestARM64 has no recording: the chain of frame pointers alone.
func TestARM64(t *testing.T) {
	thread := &Thread{Arch: "arm64", Mappings: []Mapping{{Start: 0x400000, End: 0x500000}}}
	thread.Regs[29], thread.Regs[31], thread.Regs[32] = 0xffff0010, 0xffff0000, 0x400100
	thread.Known = 1<<29 | 1<<31 | 1<<32
	thread.Chain = []Link{{0xffff0010, 0x400200}, {0xffff0050, 0x400300}, {0xffff0090, 0x400400}}
	frames, end := Unwind(thread)
	var addresses []uint64
	for _, f := range frames {
		addresses = append(addresses, f.Address)
	}
	if !slices.Equal(addresses, []uint64{0x400100, 0x400200, 0x400300, 0x400400}) || end == "" {
		t.Errorf("addresses %#x, end %q", addresses, end)
	}
}

// TestGo unwinds this very test: by the table of Go's functions, checked against the
// runtime's own.
func TestGo(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	pcs := make([]uintptr, 16)
	pcs = pcs[:runtime.Callers(1, pcs)]
	for _, pc := range append(pcs, uintptr(0)) {
		address := uint64(pc) - 1
		got, ok := f.goFunction(address)
		want := runtime.FuncForPC(pc - 1)
		if want == nil {
			if ok {
				t.Errorf("%#x is in %s, want none", address, got.name)
			}
			continue
		}
		if !ok || got.name != want.Name() || got.start != uint64(want.Entry()) {
			t.Errorf("%#x is in %+v, want %s at %#x", address, got, want.Name(), want.Entry())
		}
		if size, ok := f.goFrameSize(got, address); !ok || size < 0 || size > 1<<20 {
			t.Errorf("the frame of %s has %d bytes, %v", got.name, size, ok)
		}
		if _, ok := f.goFrameSize(got, got.start+1<<40); ok {
			t.Errorf("%s has a frame where it has no code", got.name)
		}
	}
}

func TestReadable(t *testing.T) {
	for name, want := range map[string]string{
		"main":                       "main",
		"memcpy@@GLIBC_2.14":         "memcpy",
		"_ZN4shop4Cart3payIiEET_S2_": "shop::Cart::pay",
		"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE": "core::fmt::Formatter::pad",
		"bad\x00\n\xff name":                             "bad??? name",
		strings.Repeat("_Z", 2000):                       strings.Repeat("_Z", 128) + "…",
	} {
		if got := readable(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}

// FuzzUnwind: whatever a file, a stack and registers hold, the frames are bounded, each but
// the first is in an executable mapping or was interrupted by a signal, and it ends.
func FuzzUnwind(f *testing.F) {
	for _, name := range []string{"tables", "unsorted", "pointers", "handler", "stripped", "scan"} {
		x := load(f, name)
		var memory []byte
		for _, m := range x.Memory {
			memory = append(memory, m.Bytes...)
		}
		f.Add(x.program, memory[:min(len(memory), 4096)], x.Regs[16], x.Regs[7], x.Regs[6], x.Mappings[0].Start, x.Mappings[0].Offset, x.Arch == "arm64")
	}
	f.Fuzz(func(t *testing.T, program, memory []byte, ip, sp, fp, start, offset uint64, arm bool) {
		e, err := Open(bytes.NewReader(program), int64(len(program)))
		if err != nil {
			return
		}
		_ = e.BuildID()
		thread := &Thread{Arch: "amd64", Known: 1<<34 - 1}
		thread.Regs[16], thread.Regs[7], thread.Regs[6] = ip, sp, fp
		if arm {
			thread.Arch = "arm64"
			thread.Regs[32], thread.Regs[31], thread.Regs[29] = ip, sp, fp
		}
		thread.Memory = []Memory{{At: sp &^ 1023, Bytes: memory}}
		thread.Mappings = []Mapping{{Start: start, End: start + uint64(len(program)), Offset: offset, File: e}}
		frames, _ := Unwind(thread)
		if len(frames) == 0 || len(frames) > MaxFrames {
			t.Fatalf("%d frames", len(frames))
		}
		for n, frame := range frames[1:] {
			if frame.Mapping < 0 && frame.How != BySignal {
				t.Errorf("frame %d, %+v, is nowhere", n+1, frame)
			}
			if len(frame.Function) > maxShown+len("…") {
				t.Errorf("frame %d has a name of %d bytes", n+1, len(frame.Function))
			}
		}
		if e.reads > maxReads+1 || e.bytes > maxRead+maxEntry {
			t.Errorf("%d reads of %d bytes", e.reads, e.bytes)
		}
	})
}
