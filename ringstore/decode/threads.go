package decode

import (
	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// takeovers are those of a history, by the id that was taken over.
type takeovers map[uint32][]ringstore.Takeover

func takeoversOf(h *ringstore.History) takeovers {
	var all takeovers
	for _, x := range h.Takeovers {
		if all == nil {
			all = takeovers{}
		}
		all[x.TID] = append(all[x.TID], x)
	}
	return all
}

// caller is the thread that made a call, whose own id is that of the thread it returned in:
// the first thread is gone by the time that another takes its id over.
func (t takeovers) caller(e *ringstore.Event) uint32 {
	if e.Unfinished || e.NoEnter {
		return e.TID
	}
	for _, x := range t[e.TID] {
		if e.Start <= x.Time && x.Time <= e.Start+e.Duration {
			return x.Old
		}
	}
	return e.TID
}

// replaced tells that a thread that ended, but not with its process, was a first one whose
// id another took over.
func (t takeovers) replaced(e *ringstore.Event) bool {
	if e.Kind != ringstore.KindExit || e.Exit == nil || len(t) == 0 {
		return false
	}
	for _, x := range t[e.TID] {
		if e.Start <= x.Time && !e.Exit.Group {
			return true
		}
	}
	return false
}

// resumptions tell which call a restart_syscall goes on with: its thread's last one.
type resumptions map[task]string

// A task is a thread that a history tells of.
type task struct {
	source *source
	tid    uint32
}

// of takes the events in order, and returns the name of the call that this one goes on
// with; empty: it is none of that kind, or that is not known.
func (r resumptions) of(s *source, e *ringstore.Event) string {
	if e.Kind != ringstore.KindCall {
		return ""
	}
	const restartBlock = -516
	interrupted := e.Ret == restartBlock && !e.Unfinished
	if !interrupted && len(r) == 0 {
		return ""
	}
	key, arch := task{s, e.TID}, s.h.Meta.Arch
	name := r[key]
	delete(r, key)
	call := syscalls.Lookup(arch, e.ABI, e.Nr)
	if interrupted {
		r[key] = CallName(arch, e)
	}
	if call == nil || !call.Resumes() {
		return ""
	}
	return name
}
