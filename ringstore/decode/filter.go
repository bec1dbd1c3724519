package decode

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// A Filter says what of a history is wanted. Its zero value is all that is complete:
// of each lane, what is not older than the youngest record of it that was overwritten.
type Filter struct {
	Since    time.Duration // only what ended within this time before the history's instant, of a run the last call; 0: all
	Last     int           // of what is left, only the last N, where a run is one; 0: all
	Syscalls []string      // only calls, and operations of io_uring, of these names; empty: all, and events that are none
	Errors   bool          // only calls and operations that failed
	PID      uint32        // only this process or thread; 0: all
	All      bool          // also what is older than the complete part
	FDs      bool          // in text, what file descriptors stand for

	// Split writes text in the order of time, as strace does: a call that is not back when
	// another line comes is written in two parts, `<unfinished ...>` and `resumed`, each at
	// its time. Otherwise a call is one line, at the time at which it began.
	Split bool
	// NoHeader leaves out of text what Header writes: some readers know a trace of strace
	// by its first line.
	NoHeader bool
}

// Each yields the wanted events of a history, in its order, as its All does; but Last,
// which counts from the end, is left to Write.
func (f *Filter) Each(h *ringstore.History) iter.Seq[*ringstore.Event] {
	return func(yield func(*ringstore.Event) bool) {
		for e := range h.All() {
			if f.wants(h, e) && !yield(e) {
				return
			}
		}
	}
}

func (f *Filter) wants(h *ringstore.History, e *ringstore.Event) bool {
	if !f.All && !h.Complete(e) || e.Kind == ringstore.KindFiles {
		return false
	}
	if f.PID != 0 && e.PID != f.PID && e.TID != f.PID {
		return false
	}
	if f.Since > 0 && ended(h, e) < h.Now-int64(f.Since) {
		return false
	}
	if len(f.Syscalls) == 0 && !f.Errors {
		return true
	}
	if e.Kind != ringstore.KindCall && e.Kind != ringstore.KindUring {
		return false
	}
	if f.Errors && !failed(e) {
		return false
	}
	return len(f.Syscalls) == 0 || slices.Contains(f.Syscalls, CallName(h.Meta.Arch, e)) ||
		e.Kind == ringstore.KindUring && slices.Contains(f.Syscalls, allOperations)
}

// ended is when an event ended; a running call has not.
func ended(h *ringstore.History, e *ringstore.Event) int64 {
	if (e.Kind == ringstore.KindCall || e.Kind == ringstore.KindUring) && e.Unfinished {
		return h.Now
	}
	return e.End()
}

// failed tells that a call, or an operation, returned an error that its program could see.
func failed(e *ringstore.Event) bool {
	const firstInterrupted = -512 // the kernel's own numbers from here on
	return (e.Kind == ringstore.KindCall || e.Kind == ringstore.KindUring) && !e.Unfinished && e.Ret < 0 && e.Ret > firstInterrupted
}

// KnownCall tells whether Filter.Syscalls can have a name: of a call of the architecture, of
// a call that has no name, of an operation of io_uring; "io_uring" is all of these.
func KnownCall(arch, name string) bool {
	return name == allOperations || strings.HasPrefix(name, "syscall_") || strings.HasPrefix(name, "op_0x") ||
		slices.ContainsFunc(uringOps, func(op uringOp) bool { return op.name == name }) || syscalls.ByName(arch, name) != nil
}

// allOperations is what a filter calls all operations of io_uring.
const allOperations = "io_uring"

// CallName is the name of the call, or operation, e, as the text has it.
func CallName(arch string, e *ringstore.Event) string {
	if e.Kind == ringstore.KindUring {
		return uringName(e.Nr)
	}
	v := viewOf(arch, e)
	if v.call != nil {
		return v.call.Name
	}
	return string(v.appendName(nil))
}
