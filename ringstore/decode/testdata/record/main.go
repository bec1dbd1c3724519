// Record makes the fixtures that the rendering is compared with: it runs a program
// twice at the same addresses, once under strace and once under ptrace, where it reads
// what the table of system calls says, as the recorder does in the kernel. It needs
// strace and setarch. From the package's directory:
//
//	go run ./testdata/record testdata/NAME.c
//
// writes testdata/NAME.strace and testdata/NAME.events.
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/layout"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// The limits of the recorder as it is shipped.
const (
	limitData   = 64
	limitString = 256
	limitBytes  = layout.SizesMaxLimit
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run(source string) error {
	base := strings.TrimSuffix(source, ".c")
	dir, err := os.MkdirTemp("", "record")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// A fixed name: it is among the arguments that are compared.
	program := filepath.Join(dir, filepath.Base(base))
	if out, err := exec.Command("gcc", "-static", "-pthread", "-w", "-O0", "-o", program, source).CombinedOutput(); err != nil {
		return fmt.Errorf("compiling %s: %w: %s", source, err, out)
	}
	output, err := filepath.Abs(base + ".strace")
	if err != nil {
		return err
	}
	environment := []string{"PATH=/usr/bin:/bin"}
	fresh := func() string {
		work := filepath.Join(dir, "work")
		os.RemoveAll(work)
		os.Mkdir(work, 0o755)
		return work
	}
	cmd := exec.Command("setarch", "-R", "strace", "-f", "-ttt", "-T", "-o", output, program)
	cmd.Env, cmd.Dir = environment, fresh()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return err
	}
	events, err := trace(program, environment, fresh())
	if err != nil {
		return err
	}
	file, err := os.Create(base + ".events")
	if err != nil {
		return err
	}
	defer file.Close()
	for i := range events {
		data, err := json.Marshal(&events[i])
		if err != nil {
			return err
		}
		if _, err := file.Write(append(data, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// A task is a traced thread.
type task struct {
	inside bool
	event  ringstore.Event
	row    *syscalls.Call
}

func trace(program string, environment []string, dir string) ([]ringstore.Event, error) {
	runtime.LockOSThread()
	cmd := exec.Command("setarch", "-R", program)
	cmd.Env, cmd.Dir = environment, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	first := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(first, &status, unix.WALL, nil); err != nil {
		return nil, err
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK |
		unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(first, options); err != nil {
		return nil, err
	}
	tasks := map[int]*task{first: {}}
	var events []ringstore.Event
	var clock int64
	next := func() int64 { clock += 1000; return clock }
	running := false // setarch's own calls are left out: recording begins with its execve
	pid, signal := first, 0
	for {
		if pid != 0 {
			if err := unix.PtraceSyscall(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
				return nil, err
			}
		}
		var err error
		if pid, err = unix.Wait4(-1, &status, unix.WALL, nil); err != nil {
			return events, nil // no child is left
		}
		signal = 0
		t := tasks[pid]
		if t == nil {
			t = &task{}
			tasks[pid] = t
		}
		e := ringstore.Event{TID: uint32(pid), PID: uint32(pid), Start: next()}
		switch {
		case status.Exited(), status.Signaled():
			if t.inside && running {
				t.event.Unfinished = true
				events = append(events, t.event)
			}
			code := uint32(status.ExitStatus()) << 8
			if status.Signaled() {
				code = uint32(status.Signal())
				if status.CoreDump() {
					code |= 0x80
				}
			}
			e.Kind, e.Exit = ringstore.KindExit, &ringstore.Exit{Status: code, Group: true}
			events = append(events, e)
			delete(tasks, pid)
			pid = 0
		case status.StopSignal() == unix.SIGTRAP|0x80:
			var regs unix.PtraceRegs
			if err := unix.PtraceGetRegs(pid, &regs); err != nil {
				return nil, err
			}
			if t.inside {
				t.inside = false
				t.event.Ret, t.event.Duration = int64(regs.Rax), 1000
				if t.row != nil {
					t.captures(pid, true)
				}
				if running {
					events = append(events, t.event)
				}
				break
			}
			t.enter(pid, &regs, e)
			if t.row != nil && t.row.Name == "execve" && !running {
				// setarch's execve of the program.
				running = len(t.event.Captures) > 0 && string(t.event.Captures[0].Data) == program
			}
		case status.StopSignal() == unix.SIGTRAP && status.TrapCause() > 0:
			// A fork or an exec.
		case status.StopSignal() == unix.SIGSTOP && t.row == nil:
			// A new child's first stop.
			t.row = &syscalls.Call{}
		default:
			signal = int(status.StopSignal())
			s, err := siginfo(pid)
			if err != nil {
				// Not a delivery: the process is stopped. It stays so.
				signal = 0
				break
			}
			e.Kind, e.Signal = ringstore.KindSignal, s
			events = append(events, e)
		}
	}
}

// enter begins a call.
func (t *task) enter(pid int, regs *unix.PtraceRegs, e ringstore.Event) {
	t.inside = true
	e.Kind, e.Nr = ringstore.KindCall, uint16(regs.Orig_rax)
	t.row = syscalls.Lookup("amd64", ringstore.ABINative, e.Nr)
	args := []uint64{regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9}
	if t.row != nil {
		args = args[:t.row.NArgs]
	}
	e.Args = args
	t.event = e
	if t.row == nil {
		t.row = &syscalls.Call{}
		return
	}
	t.captures(pid, false)
}

// captures reads what the rules of the entry or the exit say, as the kernel side does.
func (t *task) captures(pid int, exit bool) {
	e := &t.event
	if exit && e.Ret < 0 && e.Ret >= -4095 {
		return
	}
	for _, r := range t.row.RulesFor(e.Args) {
		if r.Flags&syscalls.AtExit != 0 != exit {
			continue
		}
		e.Captures = append(e.Captures, capture(pid, r, e.Args, e.Ret))
	}
}

func capture(pid int, r syscalls.Rule, args []uint64, ret int64) ringstore.Capture {
	c := ringstore.Capture{Arg: int(r.Arg)}
	if r.Flags&syscalls.AtExit != 0 {
		c.Status = ringstore.CaptureExit
	}
	from := args[r.Arg]
	if from == 0 {
		return c
	}
	limit := uint64(limitString)
	if r.Flags&syscalls.Data != 0 || r.How == syscalls.HowIovec {
		limit = limitData
	}
	var count uint64
	switch r.Count {
	case syscalls.CountOne:
		count = 1
	case syscalls.CountReturn:
		count = uint64(max(ret, 0))
	case syscalls.CountInside:
	default:
		count = args[r.Count]
	}
	fault := func() ringstore.Capture { c.Status |= ringstore.CaptureFault; return c }
	take := func(from, n uint64) bool {
		b, ok := read(pid, from, int(n))
		if ok {
			c.Data = append(c.Data, b...)
		}
		return ok
	}
	if r.Flags&syscalls.RuleAt != 0 {
		size := 8
		if r.Flags&syscalls.Count4 != 0 {
			size = 4
		}
		if r.Count == syscalls.CountInside {
			b, ok := read(pid, from+uint64(r.CountAt), size)
			if !ok {
				return fault()
			}
			count = binary.LittleEndian.Uint64(append(b, 0, 0, 0, 0))
		}
		b, ok := read(pid, from+uint64(r.At), 8)
		if !ok {
			return fault()
		}
		if from = binary.LittleEndian.Uint64(b); from == 0 {
			return c
		}
	} else {
		from += uint64(r.At)
	}
	switch r.How {
	case syscalls.HowPointers, syscalls.HowEntries:
		n := uint32(0)
		for at := uint64(0); r.How == syscalls.HowPointers || at < count; n++ {
			place, size := from+uint64(n)*8, 8
			if r.How == syscalls.HowEntries {
				place, size = from+at+uint64(r.Size), 2
			}
			b, ok := read(pid, place, size)
			if !ok {
				return fault()
			}
			next := binary.LittleEndian.Uint64(append(b, make([]byte, 6)...))
			if next == 0 {
				break
			}
			at += next
		}
		c.Data = binary.LittleEndian.AppendUint32(nil, n)
	case syscalls.HowString:
		s, cut, ok := readString(pid, from, int(limit)-1)
		if !ok {
			return fault()
		}
		c.Data = s
		if cut {
			c.Status |= ringstore.CaptureCut
		}
	case syscalls.HowBytes, syscalls.HowSockaddr, syscalls.HowBits, syscalls.HowOption, syscalls.HowPages:
		n := count * uint64(r.Size)
		switch r.How {
		case syscalls.HowBits:
			n = (count + 63) / 64 * 8
		case syscalls.HowPages:
			n = (count + 4095) / 4096
		}
		switch {
		case r.How == syscalls.HowSockaddr, r.How == syscalls.HowOption:
			if n = uint64(uint32(count)); r.How == syscalls.HowSockaddr {
				limit = 128
			}
			if r.Flags&syscalls.AtExit != 0 {
				b, ok := read(pid, count, 4)
				if count == 0 || !ok {
					return fault()
				}
				n = uint64(binary.LittleEndian.Uint32(b))
			}
		case r.Flags&syscalls.Data == 0:
			limit = limitBytes
		}
		if n > limit {
			c.Status |= ringstore.CaptureCut
			n = limit
			if r.Flags&syscalls.Data == 0 && r.Size > 1 {
				n -= n % uint64(r.Size)
			}
		}
		if !take(from, n) {
			c.Data = nil
			return fault()
		}
	case syscalls.HowStrings:
		for i := range 33 {
			b, ok := read(pid, from+uint64(i)*8, 8)
			if !ok {
				return fault()
			}
			p := binary.LittleEndian.Uint64(b)
			if p == 0 {
				return c
			}
			s, _, ok := readString(pid, p, 127)
			if !ok {
				return fault()
			}
			c.Data = append(append(c.Data, s...), 0)
		}
		c.Status |= ringstore.CaptureCut
	case syscalls.HowIovec:
		left, most := ^uint64(0), uint64(layout.SizesPiece)
		if r.Flags&syscalls.AtExit != 0 && r.Size == 0 {
			left = uint64(ret)
		}
		if count > 1 {
			most = max(layout.SizesPieceMin, limit/2) &^ 7
			limit *= 4
			c.Each = int(most)
		}
		for i := range min(count, 16) {
			b, ok := read(pid, from+i*16, 16)
			if !ok {
				return fault()
			}
			n := min(binary.LittleEndian.Uint64(b[8:]), left)
			left -= n
			if part := min(n, most, limit-uint64(len(c.Data))); part < n {
				n = part
				c.Status |= ringstore.CaptureCut
			}
			if !take(binary.LittleEndian.Uint64(b), n) {
				return fault()
			}
		}
	}
	return c
}

// read reads n bytes, all or nothing.
func read(pid int, from uint64, n int) ([]byte, bool) {
	if n == 0 {
		return nil, true
	}
	b := make([]byte, n)
	got, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: uint64(n)}}, []unix.RemoteIovec{{Base: uintptr(from), Len: n}}, 0)
	return b, err == nil && got == n
}

// readString reads up to a NUL, at most n bytes.
func readString(pid int, from uint64, n int) (s []byte, cut, ok bool) {
	for len(s) <= n {
		b, ok := read(pid, from+uint64(len(s)), 1)
		if !ok {
			return nil, false, false
		}
		if b[0] == 0 {
			return s, false, true
		}
		s = append(s, b[0])
	}
	return s[:n], true, true
}

// siginfo reads what a signal carries.
func siginfo(pid int) (*ringstore.Signal, error) {
	var raw [128]byte
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GETSIGINFO, uintptr(pid), 0, address(&raw), 0, 0); errno != 0 {
		return nil, errno
	}
	s := &ringstore.Signal{
		Signal: binary.LittleEndian.Uint32(raw[0:]),
		Errno:  int32(binary.LittleEndian.Uint32(raw[4:])),
		Code:   int32(binary.LittleEndian.Uint32(raw[8:])),
	}
	for i := range s.More {
		s.More[i] = binary.LittleEndian.Uint64(raw[24+8*i:])
	}
	switch unix.Signal(s.Signal) {
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP:
		if s.Code > 0 {
			s.Addr = binary.LittleEndian.Uint64(raw[16:])
			return s, nil
		}
	}
	s.PID, s.UID = binary.LittleEndian.Uint32(raw[16:]), binary.LittleEndian.Uint32(raw[20:])
	return s, nil
}

func address(b *[128]byte) uintptr { return uintptr(unsafe.Pointer(b)) }
