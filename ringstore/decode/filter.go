package decode

import (
	"slices"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
)

// A Filter says what of a history is wanted. Its zero value is all that is complete:
// of each lane, what is not older than the youngest record of it that was overwritten.
type Filter struct {
	Since    time.Duration // only what ended within this time before the history's instant; 0: all
	Last     int           // of what is left, only the last N; 0: all
	Syscalls []string      // only calls of these names; empty: all, and events that are no calls
	Errors   bool          // only calls that failed
	PID      uint32        // only this process or thread; 0: all
	All      bool          // also what is older than the complete part
	FDs      bool          // in text, what file descriptors stand for
}

// Apply returns the wanted events of a history, in its order. They are those of h, not
// copies.
func (f *Filter) Apply(h *ringstore.History) []*ringstore.Event {
	var events []*ringstore.Event
	for i := range h.Events {
		if e := &h.Events[i]; f.wants(h, e) {
			events = append(events, e)
		}
	}
	return f.last(events)
}

// last leaves the last f.Last events.
func (f *Filter) last(events []*ringstore.Event) []*ringstore.Event {
	if f.Last > 0 && len(events) > f.Last {
		return events[len(events)-f.Last:]
	}
	return events
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
	if e.Kind != ringstore.KindCall {
		return false
	}
	if f.Errors && !failed(e) {
		return false
	}
	return len(f.Syscalls) == 0 || slices.Contains(f.Syscalls, CallName(h.Meta.Arch, e))
}

// ended is when an event ended; a running call has not.
func ended(h *ringstore.History, e *ringstore.Event) int64 {
	if e.Kind != ringstore.KindCall || e.NoEnter {
		return e.Start
	}
	if e.Unfinished {
		return h.Now
	}
	return e.Start + e.Duration
}

// failed tells that a call returned an error that its program could see.
func failed(e *ringstore.Event) bool {
	const firstInterrupted = -512 // the kernel's own numbers from here on
	return e.Kind == ringstore.KindCall && !e.Unfinished && e.Ret < 0 && e.Ret > firstInterrupted
}

// CallName is the name of the call e, as the text has it.
func CallName(arch string, e *ringstore.Event) string {
	v := viewOf(arch, e)
	if v.call != nil {
		return v.call.Name
	}
	return string(v.appendName(nil))
}
