package decode

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/fds"
)

// The formats of Write. An empty format is Text.
const (
	Text     = "text"
	JSON     = "json"
	Perfetto = "perfetto" // one JSON document, for a time line
)

// Header writes what a reader must know of a history before its calls, in lines that
// begin with `# `, which strace has no use for.
func Header(w io.Writer, h *ringstore.History) error {
	_, err := w.Write(appendHeader(nil, h))
	return err
}

func appendHeader(dst []byte, h *ringstore.History) []byte {
	m := &h.Meta
	line := func(name, format string, args ...any) {
		dst = fmt.Appendf(dst, "# %s: "+format+"\n", append([]any{name}, args...)...)
	}
	pod := m.Pod
	if m.Namespace != "" {
		pod = m.Namespace + "/" + pod
	}
	line("pod", "%s", clean(orUnknown(pod)))
	line("container", "%s, life %d", clean(orUnknown(m.Container)), m.Instance)
	state := m.State
	if m.Trigger != "" {
		state += ", snapshot by " + m.Trigger
	}
	if m.Reason != "" {
		state += " (" + m.Reason + ")"
	}
	line("state", "%s", clean(orUnknown(state)))
	if h.Oldest != 0 || h.Newest != 0 {
		line("span", "%s to %s, %s", wallString(m, h.Oldest), wallString(m, h.Newest), time.Duration(h.Newest-h.Oldest).Round(time.Microsecond))
	} else {
		line("span", "no events")
	}
	if h.CompleteSince <= m.Armed {
		began := "since recording began, %s"
		if m.Late {
			began += ", after the container had started"
		}
		line("complete", began, wallString(m, m.Armed))
	} else {
		line("complete", "since %s", wallString(m, h.CompleteSince))
	}
	var held, overwritten uint64
	var lanes []string
	for l := range ringstore.Lanes {
		held += h.Held[l]
		overwritten += h.Overwritten[l]
		if h.Overwritten[l] > 0 {
			lanes = append(lanes, laneNames[l]+" "+strconv.FormatUint(h.Overwritten[l], 10))
		}
	}
	if overwritten > 0 {
		line("records", "%d held, %d overwritten (%s)", held, overwritten, strings.Join(lanes, ", "))
	} else {
		line("records", "%d held, none overwritten", held)
	}
	var lost []string
	for _, cause := range slices.Sorted(maps.Keys(m.Lost)) {
		if n := m.Lost[cause]; n > 0 {
			lost = append(lost, clean(cause)+" "+strconv.FormatUint(n, 10))
		}
	}
	if len(lost) > 0 {
		line("lost", "%s", strings.Join(lost, ", "))
	}
	if m.Late {
		line("note", "recording began after the container had started, at %s: what it did before is not here", wallString(m, m.Armed))
	}
	if n := m.MoreGaps; n > 0 {
		line("note", "it was frozen and thawed %d times; where the gaps are is known of the first ones and the last one", n+len(m.Gaps))
	}
	switch {
	case m.Uring && m.UringUnseen:
		line("io_uring", "used; what was done through it is not seen here: the kernel has no tracepoints for it that are known")
	case m.UringUnseen:
		line("io_uring", "what is done through it is not seen here: the kernel has no tracepoints for it that are known")
	case m.Uring:
		line("io_uring", `used; what was done through it are the lines "# TID TIME io_uring ..."`)
	}
	for _, note := range m.Notes {
		line("note", "%s", clean(note))
	}
	return dst
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// clean keeps what others named from ending the line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func wallString(m *ringstore.Meta, ns int64) string {
	return string(appendWall(nil, ns+m.WallOffset))
}

// CheckFormat returns an error for a format other than Text and JSON.
func CheckFormat(format string) error {
	switch format {
	case "", Text, JSON:
		return nil
	}
	return fmt.Errorf("unknown format %q: it is %s or %s", format, Text, JSON)
}

// Write writes the wanted events of histories, merged by time. In text each history's
// Header comes first, and with f.All a line `# complete from here` stands where the
// complete part of all of them begins; f.Last counts lines there, so events that strace
// has no line for do not count. The stack of a thread that died stands below the header; in
// JSON, where no calls are chosen, it comes last, as an object whose "event" is "stack".
func Write(w io.Writer, format string, hs []*ringstore.History, f Filter) error {
	if format == Perfetto {
		return writePerfetto(w, hs, f)
	}
	if err := CheckFormat(format); err != nil {
		return err
	}
	isText := format != JSON
	var sources []*source
	var complete int64 // Unix ns
	for _, h := range hs {
		s := &source{h: h, container: appendContainer(nil, &h.Meta), order: len(sources)}
		if isText {
			s.took = takeoversOf(h)
		}
		if !isText || f.FDs {
			s.names = &namer{fds.Of(h), f.FDs}
		}
		sources = append(sources, s)
		complete = max(complete, h.CompleteSince+h.Meta.WallOffset)
	}
	// What has no line does not count among the last ones either.
	wants := func(s *source, e *ringstore.Event) bool {
		return f.wants(s.h, e) && (!isText || hasLine(e) && !s.took.replaced(e))
	}
	skip := f.skip(sources, wants)

	out := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	if isText && !f.NoHeader {
		for _, h := range hs {
			out.Write(appendHeader(line[:0], h))
			if h.Meta.Stack != nil {
				WriteStack(out, "# ", h.Meta.Stack, 0)
			}
		}
	}
	var split *splitter
	if isText && f.Split {
		split = &splitter{out: out, stuck: map[task]*inCall{}}
	}
	resumed := resumptions{}
	// The marker stands only where something older is above it.
	var gaps []gap
	first, mark := true, false
	marker := func() {
		if split != nil {
			split.interrupt()
		}
		out.WriteString("# complete from here\n")
		mark = false
	}
	for e, s := range merge(sources) {
		goesOn := resumed.of(s, e)
		if split != nil && e.Kind == ringstore.KindExit {
			split.cutOff(s, e.TID, e.Start+s.h.Meta.WallOffset)
		}
		if !wants(s, e) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		at := e.Start + s.h.Meta.WallOffset
		if first {
			first, mark = false, isText && f.All && at < complete
			gaps = within(gapsOf(format, hs), at)
		}
		if len(gaps) > 0 {
			var lines []byte
			if lines, gaps = before(gaps, at); len(lines) > 0 {
				if split != nil {
					split.interrupt()
				}
				out.Write(lines)
			}
		}
		if mark && at >= complete {
			marker()
		}
		switch line = line[:0]; {
		case split != nil:
			split.add(s, e, goesOn)
		case isText:
			line = appendTextOf(line, &s.h.Meta, e, goesOn, s.names)
		default:
			line = appendJSON(line, &s.h.Meta, s.container, e, s.names)
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
	for _, g := range gaps {
		out.Write(g.line)
	}
	if format == JSON && len(f.Syscalls) == 0 {
		for _, h := range hs {
			if s := h.Meta.Stack; s != nil {
				if err := writeStackJSON(out, &h.Meta); err != nil {
					return err
				}
			}
		}
	}
	return out.Flush()
}

// skip returns how many of the wanted events come before the last f.Last of them. To count
// first takes another walk, but no memory.
func (f *Filter) skip(sources []*source, wants func(*source, *ringstore.Event) bool) int {
	if f.Last <= 0 {
		return 0
	}
	n := -f.Last
	for _, s := range sources {
		for e := range s.h.All() {
			if wants(s, e) {
				n++
			}
		}
	}
	return max(n, 0)
}

// A source is a history that is being written.
type source struct {
	h         *ringstore.History
	container []byte // its JSON
	names     *namer
	took      takeovers
	order     int
	next      *ringstore.Event // nil: there is none
}

// merge yields the events of all sources by time; those of the same time in the order of
// the sources. Each is valid until the next one is asked for.
func merge(sources []*source) iter.Seq2[*ringstore.Event, *source] {
	return func(yield func(*ringstore.Event, *source) bool) {
		if len(sources) == 1 {
			for e := range sources[0].h.All() {
				if !yield(e, sources[0]) {
					return
				}
			}
			return
		}
		pull := make([]func() (*ringstore.Event, bool), len(sources))
		for i, s := range sources {
			next, stop := iter.Pull(s.h.All())
			defer stop()
			pull[i] = next
			s.next, _ = next()
		}
		for {
			var least *source
			for _, s := range sources {
				if s.next != nil && (least == nil || s.time() < least.time()) {
					least = s
				}
			}
			if least == nil || !yield(least.next, least) {
				return
			}
			least.next, _ = pull[least.order]()
		}
	}
}

// time is when the next event began, Unix ns.
func (s *source) time() int64 { return s.next.Start + s.h.Meta.WallOffset }
