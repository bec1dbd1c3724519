package decode

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// A splitter writes events in the order in which they happened: a call where it began, and
// again where it returned if something else was written in between.
type splitter struct {
	out    *bufio.Writer
	line   []byte // not ended: the call that began last, if open is not nil
	open   *inCall
	ends   returns
	stuck  map[task]*inCall // calls of which no return is known, by who made them
	number int

	free    []*inCall // to be used again, so that garbage does not double the memory
	entered ringstore.Event
	whole   []byte
}

// An inCall is a call that has begun, and has not returned.
type inCall struct {
	tid    uint32 // that it returns in
	name   []byte
	more   bool   // strace shows some arguments when it returns
	rest   []byte // of the arguments: what strace shows then
	result []byte // with the duration and the line's end; and the line that a run has besides
	end    int64  // Unix ns
	number int
}

// add takes the next event by time; of those that have no line, none.
func (s *splitter) add(of *source, e *ringstore.Event, resumed string) {
	m := &of.h.Meta
	at := e.Start + m.WallOffset
	s.until(at)
	if e.Kind == ringstore.KindCall && !e.NoEnter {
		s.begin(of, e, resumed)
		return
	}
	s.interrupt()
	s.line = appendTextOf(s.line[:0], m, e, "", of.names)
	s.out.Write(s.line)
}

// begin writes a call as it looks at its entry.
func (s *splitter) begin(of *source, e *ringstore.Event, resumed string) {
	m := &of.h.Meta
	v := viewOf(m.Arch, e)
	v.resumed, v.namer = resumed, of.names
	s.interrupt()
	if e.Unfinished && v.ret.Format == syscalls.RetNone {
		s.line = appendTextOf(s.line[:0], m, e, "", of.names) // it never returns: strace knows that
		s.out.Write(s.line)
		return
	}
	caller := of.took.caller(e)
	s.line = appendLeader(s.line[:0], caller, e.Start+m.WallOffset)
	c := s.newCall()
	c.tid, c.end = e.TID, e.Start+e.Duration+m.WallOffset
	c.name = v.appendName(c.name)
	s.line = append(append(s.line, c.name...), '(')

	entry := v
	s.entered = *e
	s.entered.Unfinished = true
	entry.e = &s.entered
	args := len(s.line)
	line, complete := entry.appendArgs(s.line, true)
	s.line, c.more, s.open = line, !complete, c
	if e.Unfinished {
		s.stuck[task{of, e.TID}] = c
		return
	}
	s.whole, _ = v.appendArgs(s.whole[:0], false)
	shown := commonArgs(s.line[args:], s.whole)
	s.line = s.line[:args+shown]
	c.rest = append(c.rest, s.whole[shown:]...)
	c.result = appendRun(v.appendReturn(c.result), m, e)
	heap.Push(&s.ends, c)
}

// commonArgs is how much of what an entry shows of the arguments its return shows the same,
// whole arguments only.
func commonArgs(entry, whole []byte) int {
	if bytes.HasPrefix(whole, entry) {
		return len(entry)
	}
	n := 0
	for n < len(entry) && n < len(whole) && entry[n] == whole[n] {
		n++
	}
	return bytes.LastIndex(entry[:n], []byte(", ")) + len(", ")
}

// until writes the returns up to a time, that included: a thread returns before it calls
// again.
func (s *splitter) until(at int64) {
	for len(s.ends) > 0 && s.ends[0].end <= at {
		c := heap.Pop(&s.ends).(*inCall)
		s.resume(c, c.end)
		s.line = append(s.line, c.rest...)
		s.line = appendClosed(s.line, 0)
		s.line = append(s.line, c.result...)
		s.out.Write(s.line)
		s.free = append(s.free, c)
	}
}

func (s *splitter) newCall() *inCall {
	var c *inCall
	if n := len(s.free); n > 0 {
		c, s.free = s.free[n-1], s.free[:n-1]
	} else {
		c = new(inCall)
	}
	s.number++
	*c = inCall{name: c.name[:0], rest: c.rest[:0], result: c.result[:0], number: s.number}
	return c
}

// resume goes on with a call's line, or begins its second one.
func (s *splitter) resume(c *inCall, at int64) {
	if s.open == c {
		s.open = nil
		return
	}
	s.interrupt()
	s.line = appendLeader(s.line[:0], c.tid, at)
	s.line = append(append(append(s.line, "<... "...), c.name...), " resumed>"...)
}

// cutOff ends the call that a thread died in.
func (s *splitter) cutOff(of *source, tid uint32, at int64) {
	c := s.stuck[task{of, tid}]
	if c == nil {
		return
	}
	delete(s.stuck, task{of, tid})
	s.until(at)
	s.resume(c, at)
	if c.more {
		s.line = append(s.line, " <unfinished ...>"...)
	}
	s.line = appendClosed(s.line, 0)
	s.line = append(s.line, "?\n"...)
	s.out.Write(s.line)
}

// interrupt ends the line of a call that has not returned.
func (s *splitter) interrupt() {
	if s.open != nil {
		s.open = nil
		s.line = append(s.line, " <unfinished ...>\n"...)
		s.out.Write(s.line)
	}
}

// done writes what is left: the calls that return after all others began, and the one that
// began last, if it runs.
func (s *splitter) done() {
	for len(s.ends) > 0 {
		s.until(s.ends[0].end)
	}
	s.interrupt()
}

// returns is a heap of calls by their return.
type returns []*inCall

func (r returns) Len() int { return len(r) }
func (r returns) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(r[i].end, r[j].end), cmp.Compare(r[i].number, r[j].number)) < 0
}
func (r returns) Swap(i, j int) { r[i], r[j] = r[j], r[i] }
func (r *returns) Push(x any)   { *r = append(*r, x.(*inCall)) }
func (r *returns) Pop() any {
	old := *r
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*r = old[:len(old)-1]
	return last
}
