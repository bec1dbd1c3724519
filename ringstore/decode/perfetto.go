package decode

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// What Perfetto and chrome://tracing read: the Trace Event Format. Facts that this file
// stands on, of Perfetto's importer:
//
//   - Times are doubles of microseconds. Unix time would leave a quarter of a microsecond,
//     and calls that follow each other would overlap. So they count from the midnight (UTC)
//     before the first event, which is in the metadata: ns stay exact.
//   - Threads are told apart by tid and pid, and nothing ends one. So an id that is used
//     again gets another number.
//   - What begins (B) and does not end is drawn open-ended. Instants of a thread are slices
//     of no duration, and flows bind to slices: that which is open, or which comes next.
//   - What is async (b, e, n) belongs to a process if its id is a local one (id2); with a
//     plain id it would belong to none. All of one name stand together, on as many rows as
//     overlap. An e ends what has its id, category and name.
//   - A number that does not fit 64 bits, signed, is read as garbage.

const (
	// mostPID is the highest id that the kernel gives to a task.
	mostPID = 1 << 22
	// againStep is added to an id each time that it is used again, and mostAgain how often.
	againStep, mostAgain = 10_000_000, 420
	// recorderPID and up are the recorder's own tracks, ten for each history.
	recorderPID = 5_000_000
)

// writePerfetto writes the wanted events of histories on one time line.
func writePerfetto(w io.Writer, hs []*ringstore.History, f Filter) error {
	oldest, from := int64(math.MaxInt64), int64(math.MaxInt64)
	var sources []*source
	for _, h := range hs {
		sources = append(sources, &source{h: h, order: len(sources)})
		at := h.Now
		if h.Oldest != 0 {
			at = h.Oldest
		}
		oldest = min(oldest, at+h.Meta.WallOffset)
		for e := range f.Each(h) {
			from = min(from, e.Start+h.Meta.WallOffset)
			break
		}
	}
	wants := func(s *source, e *ringstore.Event) bool { return f.wants(s.h, e) }
	skip := make([]int, len(hs))
	if n := f.skip(sources, wants); n > 0 {
		for e, s := range merge(sources) {
			if !wants(s, e) {
				continue
			}
			if n == 0 {
				from = e.Start + s.h.Meta.WallOffset
				break
			}
			n--
			skip[s.order]++
		}
	}
	if len(hs) == 0 {
		oldest, from = 0, 0
	}
	t := NewTimeLine(w, f, min(oldest, from), from)
	for i, s := range sources {
		if err := t.add(s, skip[i]); err != nil {
			return err
		}
	}
	return t.Close()
}

// A TimeLine writes histories, one after the other, as one trace for Perfetto: so only one
// of them has to be at hand at a time.
type TimeLine struct{ p perfetto }

// NewTimeLine begins a trace. Nothing in it may be older than oldest, and what is missing
// from a history since from is told; both are Unix ns. Of each history the events that f
// wants are shown.
func NewTimeLine(w io.Writer, f Filter, oldest, from int64) *TimeLine {
	const day = int64(24 * time.Hour)
	base := oldest - (oldest%day+day)%day
	t := &TimeLine{perfetto{out: bufio.NewWriterSize(w, 64<<10), filter: f, used: map[uint32]uint32{}, from: max(from, oldest), base: base}}
	p := &t.p
	p.buf = append(p.buf, `{"metadata":{"recorder":"swoll","timeZero":"`...)
	p.buf = appendWall(p.buf, base)
	p.buf = append(p.buf, `","timeZeroUnixNanos":"`...)
	p.buf = strconv.AppendInt(p.buf, base, 10)
	p.buf = append(p.buf, `"},"traceEvents":[`...)
	return t
}

// Add writes a history.
func (t *TimeLine) Add(h *ringstore.History) error {
	s := &source{h: h}
	return t.add(s, t.p.filter.skip([]*source{s}, func(s *source, e *ringstore.Event) bool { return t.p.filter.wants(s.h, e) }))
}

// add is Add without the first of the wanted events.
func (t *TimeLine) add(s *source, skip int) error {
	p, h := &t.p, s.h
	k := &track{
		h: h, number: p.tracks, name: trackName(&h.Meta), took: takeoversOf(h),
		processes: map[uint32]*process{}, threads: map[uint32]*thread{},
	}
	p.tracks++
	p.describe(k)
	resumed := resumptions{}
	for e := range h.All() {
		wanted := p.filter.wants(h, e)
		if wanted && skip > 0 {
			wanted, skip = false, skip-1
		}
		p.event(k, e, wanted, resumed.of(s, e))
		if err := p.flush(); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the trace.
func (t *TimeLine) Close() error {
	t.p.buf = append(t.p.buf, "\n]}\n"...)
	if err := t.p.flush(); err != nil {
		return err
	}
	return t.p.out.Flush()
}

// trackName names the container of a history.
func trackName(m *ringstore.Meta) string {
	name := orUnknown(m.Pod)
	if m.Namespace != "" {
		name = m.Namespace + "/" + name
	}
	if m.Container != "" {
		name += "/" + m.Container
	}
	if m.Instance > 0 {
		name += " life " + strconv.Itoa(m.Instance)
	}
	return name
}

// A perfetto is the writing of a trace.
type perfetto struct {
	out    *bufio.Writer
	buf    []byte // written by flush
	result []byte
	filter Filter
	tracks int
	used   map[uint32]uint32 // how often an id was given away
	comma  bool
	from   int64 // since when it is told what is missing, Unix ns
	base   int64 // what times count from, Unix ns
	flows  uint64
	asyncs uint64 // ids given to operations of io_uring
}

// A track is what is drawn of one history.
type track struct {
	h         *ringstore.History
	number    int
	name      string
	took      takeovers
	processes map[uint32]*process // those that live, by their id
	threads   map[uint32]*thread
}

type process struct {
	id   uint32 // in the trace
	name string
}

type thread struct {
	id      uint32 // in the trace
	process *process
	name    string
	named   bool
	marked  bool // where its history becomes complete, as far as that is in question
	running bool // a call is drawn that has not ended
	begun   bool // something is drawn on it
}

func (p *perfetto) flush() error {
	_, err := p.out.Write(p.buf)
	p.buf = p.buf[:0]
	return err
}

// describe draws what a reader must know of a history, so that nobody takes what is missing
// for idleness: since when it is complete, what was lost, and what is left out.
func (p *perfetto) describe(t *track) {
	h, m := t.h, &t.h.Meta
	pid := uint32(recorderPID + 10*t.number)
	p.named("process_name", pid, pid, "recorder of "+t.name)
	p.sorted(pid, 2*t.number)
	from, to := p.from, h.Now+m.WallOffset
	slice := func(tid uint32, name string, from, to int64, args string) {
		if from >= to {
			return
		}
		p.open("X", "recorder", name, pid, tid, from)
		p.buf = append(p.buf, `,"dur":`...)
		p.buf = appendMicrosOf(p.buf, to-from)
		p.buf = append(append(append(p.buf, `,"args":{`...), args...), "}}"...)
	}
	row := pid
	p.named("thread_name", pid, row, "complete")
	if armed := m.Armed + m.WallOffset; armed > from && armed <= to {
		from = armed
		p.instant("recorder", "recording began", pid, row, armed)
		p.buf = append(p.buf, '}')
	}
	complete := min(max(h.CompleteSince+m.WallOffset, from), to)
	if h.CompleteSince <= m.Armed {
		complete = from
	}
	var lanes []string
	for l := range ringstore.Lanes {
		if n := h.Overwritten[l]; n > 0 {
			lanes = append(lanes, `"`+laneNames[l]+`":`+strconv.FormatUint(min(n, math.MaxInt64), 10))
		}
	}
	slice(row, "incomplete: calls of this time may have been overwritten", from, complete, `"overwritten":{`+strings.Join(lanes, ",")+`}`)
	for n, g := range m.Gaps {
		begin, end := max(g.From+m.WallOffset, complete), min(g.To+m.WallOffset, to)
		if begin < end {
			before := "complete"
			if m.MoreGaps > 0 && n == len(m.Gaps)-1 {
				before = fmt.Sprintf("complete, but for %d gaps at times that are not known", m.MoreGaps)
			}
			slice(row, before, complete, begin, "")
			slice(row, "gap: nothing was recorded", begin, end, "")
			complete = end
		}
	}
	if complete < to {
		slice(row, "complete", complete, to, `"overwritten":{`+strings.Join(lanes, ",")+`}`)
	}
	var lost []string
	var sum uint64
	for _, cause := range slices.Sorted(maps.Keys(m.Lost)) {
		if n := m.Lost[cause]; n > 0 {
			sum += n
			lost = append(lost, string(appendJSONString(nil, cause))+":"+strconv.FormatUint(min(n, math.MaxInt64), 10))
		}
	}
	if sum > 0 || h.Damaged > 0 {
		row++
		p.named("thread_name", pid, row, "lost")
		if sum > 0 {
			slice(row, fmt.Sprintf("%d records were not written, at times that are not known", sum), from, to, strings.Join(lost, ","))
		}
		if h.Damaged > 0 {
			slice(row, fmt.Sprintf("%d pages are damaged: what they held is missing", h.Damaged), from, to, "")
		}
	}
	if what := p.filter.String(); what != "" {
		row++
		p.named("thread_name", pid, row, "shown")
		slice(row, "shown is only: "+what, from, to, "")
	}
	if len(m.Notes) > 0 {
		row++
		p.named("thread_name", pid, row, "notes")
		for _, note := range m.Notes {
			p.instant("recorder", clean(note), pid, row, from)
			p.buf = append(p.buf, '}')
		}
	}
}

// String says what a filter leaves; empty: all.
func (f *Filter) String() string {
	var parts []string
	if f.Since > 0 {
		parts = append(parts, "the last "+f.Since.String())
	}
	if f.Last > 0 {
		parts = append(parts, "the last "+strconv.Itoa(f.Last)+" events")
	}
	if len(f.Syscalls) > 0 {
		parts = append(parts, "calls of "+strings.Join(f.Syscalls, ", "))
	}
	if f.Errors {
		parts = append(parts, "failed calls")
	}
	if f.PID != 0 {
		parts = append(parts, "process or thread "+strconv.FormatUint(uint64(f.PID), 10))
	}
	return strings.Join(parts, "; ")
}

// open begins an event; what follows is up to the caller.
func (p *perfetto) open(phase, class, name string, pid, tid uint32, at int64) {
	if p.comma {
		p.buf = append(p.buf, ',')
	}
	p.comma = true
	p.buf = append(p.buf, "\n{\"ph\":\""...)
	p.buf = append(p.buf, phase...)
	p.buf = append(p.buf, `","pid":`...)
	p.buf = strconv.AppendUint(p.buf, uint64(pid), 10)
	p.buf = append(p.buf, `,"tid":`...)
	p.buf = strconv.AppendUint(p.buf, uint64(tid), 10)
	p.buf = append(p.buf, `,"ts":`...)
	p.buf = appendMicrosOf(p.buf, at-p.base)
	p.buf = append(p.buf, `,"cat":`...)
	p.buf = appendJSONString(p.buf, class)
	p.buf = append(p.buf, `,"name":`...)
	p.buf = appendJSONString(p.buf, name)
}

// instant begins an instant of a thread.
func (p *perfetto) instant(class, name string, pid, tid uint32, at int64) {
	p.open("i", class, name, pid, tid, at)
	p.buf = append(p.buf, `,"s":"t"`...)
}

// flow draws one end of an arrow: "s" leaves the slice that is open, "f" comes in at the
// next that begins.
func (p *perfetto) flow(phase, name string, t *thread, at int64) {
	p.open(phase, "process", name, t.process.id, t.id, at)
	p.buf = append(p.buf, `,"id":`...)
	p.buf = strconv.AppendUint(p.buf, p.flows, 10)
	p.buf = append(p.buf, '}')
}

// named gives a process or thread its name.
func (p *perfetto) named(what string, pid, tid uint32, name string) {
	p.open("M", "__metadata", what, pid, tid, p.base)
	p.buf = append(p.buf, `,"args":{"name":`...)
	p.buf = appendJSONString(p.buf, name)
	p.buf = append(p.buf, "}}"...)
}

func (p *perfetto) sorted(pid uint32, index int) {
	p.open("M", "__metadata", "process_sort_index", pid, pid, p.base)
	p.buf = append(p.buf, `,"args":{"sort_index":`...)
	p.buf = strconv.AppendInt(p.buf, int64(index), 10)
	p.buf = append(p.buf, "}}"...)
}

// appendMicrosOf appends ns as microseconds with their fraction.
func appendMicrosOf(dst []byte, ns int64) []byte {
	if ns < 0 {
		dst = append(dst, '-')
		ns = -ns
	}
	u := uint64(ns)
	dst = strconv.AppendUint(dst, u/1000, 10)
	if u %= 1000; u != 0 {
		dst = append(dst, '.', '0'+byte(u/100), '0'+byte(u/10%10), '0'+byte(u%10))
	}
	return dst
}

// number gives a task's id, or where it was given away before, another one that shows it.
func (p *perfetto) number(id uint32) uint32 {
	if id == 0 || id > mostPID {
		id = id%mostPID + 1 // no kernel gives such a one
	}
	n := p.used[id]
	p.used[id] = min(n+1, mostAgain)
	return id + n*againStep
}

// processOf returns the process that has the id now.
func (p *perfetto) processOf(t *track, pid uint32) *process {
	if x := t.processes[pid]; x != nil {
		return x
	}
	x := &process{id: p.number(pid)}
	t.processes[pid] = x
	return x
}

// threadOf returns the thread that has the id now. Born says that it was seen to be born.
func (p *perfetto) threadOf(t *track, tid, pid uint32, born bool) *thread {
	owner := p.processOf(t, pid)
	if x := t.threads[tid]; x != nil && x.process == owner {
		return x
	}
	x := &thread{id: owner.id, process: owner, marked: born}
	if tid != pid {
		x.id = p.number(tid)
	}
	t.threads[tid] = x
	return x
}

// show is called before something of a thread is drawn.
func (p *perfetto) show(t *track, x *thread, e *ringstore.Event) {
	if x.process.name == "" {
		// Until its own name is known.
		p.nameProcess(t, x.process, "pid "+strconv.FormatUint(uint64(x.process.id%againStep), 10), x.process.id)
	}
	x.begun = x.begun || e.Kind != ringstore.KindUring
	if e.Known {
		p.name(t, x, e)
	}
	if e.Kind == ringstore.KindUring {
		return // it is not drawn on the thread
	}
	if complete := t.h.CompleteSince; !x.marked && complete > t.h.Meta.Armed && complete <= t.h.Now && complete+t.h.Meta.WallOffset > p.from {
		p.instant("recorder", "complete from here", x.process.id, x.id, complete+t.h.Meta.WallOffset)
		p.buf = append(p.buf, `,"args":{"before":"earlier calls may have been overwritten"}}`...)
	}
	x.marked = true
}

// name names a thread, and by its first thread a process, as it is called from now on.
func (p *perfetto) name(t *track, x *thread, e *ringstore.Event) {
	if !x.named || x.name != e.Comm {
		x.named, x.name = true, e.Comm
		p.named("thread_name", x.process.id, x.id, cmp.Or(clean(e.Comm), "no name"))
	}
	if x.id == x.process.id || strings.HasPrefix(x.process.name, "pid ") {
		p.nameProcess(t, x.process, e.Comm, x.process.id)
	}
}

func (p *perfetto) nameProcess(t *track, x *process, name string, id uint32) {
	if x.name == name && name != "" {
		return
	}
	first := x.name == ""
	x.name = cmp.Or(name, "no name")
	shown := clean(x.name) + " (" + t.name + ")"
	if id > againStep {
		shown += ", pid " + strconv.FormatUint(uint64(id%againStep), 10) + " again"
	}
	p.named("process_name", id, id, shown)
	if first {
		p.sorted(id, 2*t.number+1)
	}
}

// event draws one event, if it is wanted; who lives is followed in any case.
func (p *perfetto) event(t *track, e *ringstore.Event, wanted bool, resumed string) {
	at := e.Start + t.h.Meta.WallOffset
	if e.Kind == ringstore.KindCall {
		if caller := t.took.caller(e); caller != e.TID {
			// It is drawn where it was made. Whose name is known is who it became.
			made := *e
			made.TID, made.Known = caller, false
			e = &made
		}
	}
	x := p.threadOf(t, e.TID, e.PID, false)
	if x.running && (e.Kind == ringstore.KindExit || e.Kind == ringstore.KindCall) {
		x.running = false
		p.open("E", "", "", x.process.id, x.id, at)
		p.buf = append(p.buf, `,"args":{"end":`...)
		if e.Kind == ringstore.KindExit {
			p.buf = append(p.buf, `"the thread ended in this call"}}`...)
		} else {
			p.buf = append(p.buf, `"not seen: at the latest here"}}`...)
		}
	}
	if wanted {
		p.show(t, x, e)
		switch e.Kind {
		case ringstore.KindCall:
			p.call(t, x, e, at, resumed)
		case ringstore.KindUring:
			p.operation(t, x, e, at)
		default:
			p.happened(t, x, e, at)
		}
	}
	p.follow(t, x, e, at, wanted)
}

// call draws a call, or as one slice a run of it.
func (p *perfetto) call(t *track, x *thread, e *ringstore.Event, at int64, resumed string) {
	v := viewOf(t.h.Meta.Arch, e)
	class := "Unknown"
	if v.call != nil {
		class = v.call.Class
	}
	name := CallName(t.h.Meta.Arch, e)
	switch {
	case e.NoEnter:
		p.instant(class, name, x.process.id, x.id, at)
	case e.Unfinished:
		x.running = true
		p.open("B", class, name, x.process.id, x.id, at)
	default:
		if e.Run != nil {
			name += " × " + strconv.FormatUint(e.Run.Count, 10)
		}
		p.open("X", class, name, x.process.id, x.id, at)
		p.buf = append(p.buf, `,"dur":`...)
		p.buf = appendMicrosOf(p.buf, max(e.End()-e.Start, 0))
	}
	from := len(p.buf)
	p.buf = append(p.buf, `,"args":{"args":{`...)
	p.buf = v.appendJSONArgs(p.buf)
	p.buf = append(p.buf, '}')
	if resumed != "" {
		p.buf = append(p.buf, `,"resumes":`...)
		p.buf = appendJSONString(p.buf, resumed)
	}
	switch {
	case e.Unfinished && v.ret.Format == syscalls.RetNone:
	case e.Unfinished:
		p.buf = append(p.buf, `,"unfinished":true`...)
	default:
		p.buf = append(p.buf, `,"result":`...)
		p.result = v.appendResult(p.result[:0])
		p.buf = appendJSONString(p.buf, string(p.result))
		p.buf = append(p.buf, `,"return":`...)
		p.buf = strconv.AppendInt(p.buf, e.Ret, 10)
		if v.failed() {
			p.buf = append(p.buf, `,"error":`...)
			p.buf = v.appendError(p.buf)
		}
	}
	if e.NoEnter {
		p.buf = append(p.buf, `,"entry":"not seen"`...)
	}
	if e.Run != nil {
		p.buf = append(p.buf, `,"count":`...)
		p.buf = strconv.AppendUint(p.buf, e.Run.Count, 10)
		p.buf = append(p.buf, `,"totalNanos":`...)
		p.buf = strconv.AppendInt(p.buf, e.Run.Total, 10)
		p.buf = append(p.buf, `,"firstNanos":`...)
		p.buf = strconv.AppendInt(p.buf, max(e.Duration, 0), 10)
	}
	if isCut(e) {
		p.buf = append(p.buf, `,"cut":true`...)
	}
	p.buf = appendSeq(p.buf, e)
	p.buf = append(quoteLarge(p.buf, from), "}}"...)
}

// operation draws an operation of io_uring, in its process but beside the threads: it overlaps
// their calls, and other operations. One whose begin or end is not known is an instant; one
// that is in flight has no end.
func (p *perfetto) operation(t *track, x *thread, e *ringstore.Event, at int64) {
	const class = "io_uring"
	o := e.Operation()
	asked := told(e, &o)
	phase, name := "b", uringName(e.Nr)
	if e.NoEnter || asked {
		phase = "n"
	}
	p.asyncs++
	open := func(phase string, at int64) {
		p.open(phase, class, name, x.process.id, x.id, at)
		p.buf = append(p.buf, `,"id2":{"local":"`...)
		p.buf = appendHexJSON(p.buf, p.asyncs)
		p.buf = append(p.buf, `"}`...)
	}
	open(phase, at)
	from := len(p.buf)
	call, row := asCall(t.h.Meta.Arch, e, &o)
	v := uringView(t.h.Meta.Arch, e, &call, row)
	p.buf = append(p.buf, `,"args":{"args":{`...)
	if !e.NoEnter {
		p.buf = v.appendJSONArgs(p.buf)
	}
	p.buf = append(p.buf, '}')
	switch {
	case asked:
		p.buf = append(p.buf, `,"result":"?","end":"not told: it asked to be told of failures only"`...)
	case e.Unfinished:
		p.buf = append(p.buf, `,"unfinished":true`...)
	default:
		p.buf = append(p.buf, `,"result":`...)
		p.result = v.appendResult(p.result[:0])
		p.buf = appendJSONString(p.buf, string(p.result))
		p.buf = append(p.buf, `,"return":`...)
		p.buf = strconv.AppendInt(p.buf, e.Ret, 10)
		if v.failed() {
			p.buf = append(p.buf, `,"error":`...)
			p.buf = v.appendError(p.buf)
		}
	}
	p.buf = append(p.buf, `,"user_data":"`...)
	p.buf = appendHexJSON(p.buf, o.UserData)
	p.buf = append(p.buf, `","tid":`...)
	p.buf = strconv.AppendUint(p.buf, uint64(e.TID), 10)
	if o.Flags != 0 {
		p.buf = append(p.buf, `,"flags":`...)
		p.buf = appendNames(p.buf, sqeFlags, uint64(o.Flags))
	}
	if o.CompletionFlags != 0 {
		p.buf = append(p.buf, `,"completionFlags":`...)
		p.buf = appendNames(p.buf, cqeFlags, uint64(o.CompletionFlags&0xffff))
	}
	if e.NoEnter {
		p.buf = append(p.buf, `,"entry":"not seen"`...)
	}
	if isCut(e) {
		p.buf = append(p.buf, `,"cut":true`...)
	}
	p.buf = appendSeq(p.buf, e)
	p.buf = append(quoteLarge(p.buf, from), "}}"...)
	if phase == "b" && !e.Unfinished {
		open("e", at+max(e.Duration, 0))
		p.buf = append(p.buf, '}')
	}
}

// appendSeq appends what a verdict's evidence names; a call that runs has no record yet.
func appendSeq(dst []byte, e *ringstore.Event) []byte {
	if e.Seq == 0 {
		return dst
	}
	dst = append(dst, `,"seq":`...)
	return strconv.AppendUint(dst, e.Seq, 10)
}

// happened draws what is no call.
func (p *perfetto) happened(t *track, x *thread, e *ringstore.Event, at int64) {
	class, name := "process", eventName(e)
	switch {
	case e.Exec != nil:
		if old := e.Exec.OldTID; old != 0 && old != e.TID {
			caller := p.threadOf(t, old, e.PID, false)
			if caller.begun {
				p.flows++
				p.flow("s", "exec", caller, at)
				p.flow("f", "exec", x, at)
			}
		}
		if file := clean(string(e.Exec.Filename.Data)); file != "" {
			name += " " + file
		}
	case e.Exit != nil:
		class = "exit"
		text := appendExit(nil, e.Exit.Status)
		name = string(bytes.TrimSuffix(bytes.TrimPrefix(text, []byte("+++ ")), []byte(" +++\n")))
		if e.Exit.OOM && e.Exit.Group {
			name += " by the OOM killer"
		}
	case e.Signal != nil:
		class = "signal"
		name = string(appendSignal(nil, uint64(e.Signal.Signal)))
	case e.Fork != nil && e.Fork.ChildPID == e.PID:
		name = "new thread"
	}
	p.instant(class, name, x.process.id, x.id, at)
	from := len(p.buf)
	p.buf = append(p.buf, `,"args":{"event":"`...)
	p.buf = append(append(p.buf, eventName(e)...), '"')
	p.buf = appendPayload(p.buf, e)
	if e.Kind == ringstore.KindCred && e.Known {
		p.buf = append(p.buf, `,"uid":`...)
		p.buf = strconv.AppendUint(p.buf, uint64(e.UID), 10)
		p.buf = append(p.buf, `,"gid":`...)
		p.buf = strconv.AppendUint(p.buf, uint64(e.GID), 10)
		p.buf = append(p.buf, `,"comm":`...)
		p.buf = appendJSONString(p.buf, e.Comm)
	}
	p.buf = appendSeq(p.buf, e)
	p.buf = append(quoteLarge(p.buf, from), "}}"...)
	if e.Exec != nil && (e.Exec.OldTID == 0 || e.Exec.OldTID == e.TID) {
		p.flows++
		p.flow("s", "exec", x, at)
		p.flow("f", "exec", x, at)
	}
}

// follow keeps account of who lives.
func (p *perfetto) follow(t *track, x *thread, e *ringstore.Event, at int64, wanted bool) {
	switch {
	case e.Fork != nil:
		f := e.Fork
		if f.ChildPID != e.PID {
			delete(t.processes, f.ChildPID) // whoever had the id is gone
		}
		delete(t.threads, f.ChildTID)
		child := p.threadOf(t, f.ChildTID, f.ChildPID, e.Start >= t.h.CompleteSince)
		if wanted {
			p.flows++
			p.flow("s", "fork", x, at)
			p.flow("f", "fork", child, at)
		}
	case e.Exec != nil && e.Exec.OldTID != 0 && e.Exec.OldTID != e.TID:
		delete(t.threads, e.Exec.OldTID)
	case e.Exit != nil && e.Exit.Group:
		delete(t.threads, e.TID)
		delete(t.processes, e.PID)
	case e.Exit != nil && e.TID != e.PID:
		delete(t.threads, e.TID)
	}
}

// quoteLarge makes strings of the numbers behind from that do not fit 64 bits, signed.
func quoteLarge(b []byte, from int) []byte {
	const digits = 19 // of the largest that fits
	isString := false
	for i := from; i < len(b); i++ {
		switch c := b[i]; {
		case isString && c == '\\':
			i++
		case c == '"':
			isString = !isString
		case !isString && c >= '0' && c <= '9':
			start, end, most := i, i, "9223372036854775807"
			if b[start-1] == '-' {
				start, most = start-1, "9223372036854775808"
			}
			for end < len(b) && b[end] >= '0' && b[end] <= '9' {
				end++
			}
			if n := end - i; n > digits || n == digits && string(b[i:end]) > most {
				b = slices.Insert(b, end, '"')
				b = slices.Insert(b, start, '"')
				end += 2
			}
			i = end - 1
		}
	}
	return b
}
