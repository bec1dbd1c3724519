package decode

import (
	"bufio"
	"container/heap"
	"fmt"
	"io"
	"iter"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// A Stream is a history whose events are read one after the other; the Events of History
// are not looked at. Events can be gone through more than once, and an event is valid until
// the next one is asked for.
type Stream struct {
	History *ringstore.History
	Events  iter.Seq[*ringstore.Event]
}

// A Style says how text is written. Its zero value is as Write does it.
type Style struct {
	// Split writes all in the order of time, as strace does: a call that is not back when
	// another line comes is written in two parts, `<unfinished ...>` and `resumed`, each at
	// its time. Otherwise a call is one line, at the time at which it began.
	Split bool
	// NoHeader leaves out what Header writes: some readers know a trace of strace by its
	// first line.
	NoHeader bool
}

// CheckFormat returns an error for a format other than Text and JSON.
func CheckFormat(format string) error {
	switch format {
	case "", Text, JSON:
		return nil
	}
	return fmt.Errorf("unknown format %q: it is %s or %s", format, Text, JSON)
}

// Write is WriteStreams for histories whose events are all there.
func Write(w io.Writer, format string, hs []*ringstore.History, f Filter) error {
	streams := make([]Stream, len(hs))
	for i, h := range hs {
		streams[i] = Stream{h, h.All()}
	}
	return WriteStreams(w, format, streams, f, Style{})
}

// WriteStreams writes the wanted events of histories, merged by time. In text each history's
// Header comes first, and with f.All a line `# complete from here` stands where the
// complete part of all of them begins; f.Last counts what has a line there, so events that
// strace has no line for do not count. What is held meanwhile does not grow with the
// histories, but with the tasks that lived at once.
func WriteStreams(w io.Writer, format string, streams []Stream, f Filter, style Style) error {
	if format == Perfetto {
		return writePerfetto(w, streams, f)
	}
	if err := CheckFormat(format); err != nil {
		return err
	}
	isText := format != JSON
	var took []takeovers
	for i := range streams {
		if isText {
			took = append(took, findTakeovers(streams[i]))
		}
	}
	wants := func(i int, e *ringstore.Event) bool {
		// Of the end of a first thread whose id another takes over, strace writes then.
		return f.wants(streams[i].History, e) && (!isText || hasLine(e) && !took[i].replaced(e))
	}
	skip := f.skip(streams, wants)
	containers := make([][]byte, len(streams)) // their JSON
	var complete int64                         // Unix ns
	for i, s := range streams {
		containers[i] = appendContainer(nil, &s.History.Meta)
		complete = max(complete, s.History.CompleteSince+s.History.Meta.WallOffset)
	}

	out := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	if isText && !style.NoHeader {
		for _, s := range streams {
			out.Write(appendHeader(line[:0], s.History))
		}
	}
	var split *splitter
	if isText && style.Split {
		split = newSplitter(out, streams, took)
	}
	resumed := resumptions{}
	mark, first := false, true
	marker := func() {
		if split != nil {
			split.interrupt()
		}
		out.WriteString("# complete from here\n")
		mark = false
	}
	for i, e := range inOrder(streams) {
		m := &streams[i].History.Meta
		goesOn := resumed.of(i, m.Arch, e)
		if split != nil && e.Kind == ringstore.KindExit {
			split.cutOff(i, e.TID, e.Start+m.WallOffset)
		}
		if !wants(i, e) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		at := e.Start + m.WallOffset
		if first {
			// The marker stands only where something older is above it.
			mark, first = isText && f.All && at < complete, false
		}
		if mark && at >= complete {
			marker()
		}
		switch line = line[:0]; {
		case split != nil:
			split.add(i, e, goesOn)
		case isText:
			line = appendTextOf(line, m, e, goesOn)
		default:
			line = appendJSON(line, m, containers[i], e)
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	if split != nil {
		split.done()
	}
	if mark {
		marker()
	}
	return out.Flush()
}

// skip returns how many of the wanted events come before the last f.Last of them.
func (f *Filter) skip(streams []Stream, wants func(int, *ringstore.Event) bool) int {
	if f.Last <= 0 {
		return 0
	}
	n := -f.Last
	for i := range streams {
		for e := range streams[i].Events {
			if wants(i, e) {
				n++
			}
		}
	}
	return max(n, 0)
}

// inOrder yields the events of all streams by the time at which they began, with the number
// of their stream.
func inOrder(streams []Stream) iter.Seq2[int, *ringstore.Event] {
	return func(yield func(int, *ringstore.Event) bool) {
		if len(streams) == 1 {
			for e := range streams[0].Events {
				if !yield(0, e) {
					return
				}
			}
			return
		}
		var heads heads
		for i, s := range streams {
			next, stop := iter.Pull(s.Events)
			defer stop()
			if e, ok := next(); ok {
				heads = append(heads, head{e.Start + s.History.Meta.WallOffset, i, e, next})
			}
		}
		heap.Init(&heads)
		for len(heads) > 0 {
			h := &heads[0]
			if !yield(h.stream, h.e) {
				return
			}
			if e, ok := h.next(); ok {
				h.e, h.at = e, e.Start+streams[h.stream].History.Meta.WallOffset
				heap.Fix(&heads, 0)
			} else {
				heap.Pop(&heads)
			}
		}
	}
}

// A head is the next event of a stream.
type head struct {
	at     int64 // Unix ns
	stream int
	e      *ringstore.Event
	next   func() (*ringstore.Event, bool)
}

// heads is a heap.
type heads []head

func (h heads) Len() int { return len(h) }
func (h heads) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].stream < h[j].stream
}
func (h heads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)   { *h = append(*h, x.(head)) }
func (h *heads) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// takeovers are the calls to execve of threads that were not the first of their process.
// The kernel gives such a thread the first one's id, so its record is the first one's, too.
type takeovers map[uint32][]takeover // by the id that was taken over

type takeover struct {
	at  int64 // ns CLOCK_MONOTONIC
	old uint32
}

func findTakeovers(s Stream) takeovers {
	var all takeovers
	for e := range s.Events {
		if e.Kind != ringstore.KindExec || e.Exec == nil || e.Exec.OldTID == 0 || e.Exec.OldTID == e.TID {
			continue
		}
		if all == nil {
			all = takeovers{}
		}
		all[e.TID] = append(all[e.TID], takeover{e.Start, e.Exec.OldTID})
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
		if e.Start <= x.at && x.at <= e.Start+e.Duration {
			return x.old
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
		if e.Start <= x.at && !e.Exit.Group {
			return true
		}
	}
	return false
}

// resumptions tell which call a restart_syscall goes on with: its thread's last one.
type resumptions map[task]string

// A task is a thread that a stream is of.
type task struct {
	stream int
	tid    uint32
}

// of takes the events in order, and returns the name of the call that this one goes on
// with; empty: it is none of that kind, or that is not known.
func (r resumptions) of(stream int, arch string, e *ringstore.Event) string {
	if e.Kind != ringstore.KindCall {
		return ""
	}
	const restartBlock = -516
	interrupted := e.Ret == restartBlock && !e.Unfinished
	if !interrupted && len(r) == 0 {
		return ""
	}
	key := task{stream, e.TID}
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
